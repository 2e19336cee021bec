"""A small regressor on features of trained models, fitted in one go: no files, no clock, no test set."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from facedis_jax.models import Regressor


@dataclass(frozen=True)
class RegressionConfig:
    """How a regressor is fitted; where the paper says nothing, the values that validation likes on faces.

    Attributes:
      hidden: width of the hidden layer.
      epochs: the longest fit; validation chooses how much of it is run.
      batch_size: examples of a step.
      learning_rate: Adam's, which falls to zero along a cosine over all `epochs`.
      weight_decays: of AdamW, among which validation chooses.
      validation_share: the part of the training set that validates.
    """

    hidden: int = 100
    epochs: int = 60
    batch_size: int = 50
    learning_rate: float = 1e-3
    weight_decays: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0)
    validation_share: float = 0.2


class Standardisation(NamedTuple):
    """What training features and targets are brought to zero mean and unit scale by.

    Attributes:
      mean, scale: [inputs], of each feature.
      target_mean: [outputs].
      target_scale: a scalar, the same for all outputs, so that the L1 loss weighs them as they are.
    """

    mean: jax.Array
    scale: jax.Array
    target_mean: jax.Array
    target_scale: jax.Array


class FittedRegressor(NamedTuple):
    """A regressor and how it was chosen.

    Attributes:
      weights: of the network.
      standardisation: of its inputs and outputs.
      weight_decay, epochs: that validation chose.
      validation_error: mean absolute error there, in the targets' unit.
    """

    weights: Any
    standardisation: Standardisation
    weight_decay: float
    epochs: int
    validation_error: float


def fit_regressor(
    features: np.ndarray,
    targets: np.ndarray,
    config: RegressionConfig,
    key: jax.Array,
    *,
    groups: np.ndarray | None = None,
) -> FittedRegressor:
    """Fits a two-layer perceptron with the L1 loss, as section 5.5 of the deformable generator.

    The weight decay and the number of epochs are those of the lowest error on a part of the training set that is held
    out; the regressor itself is then fitted with them on all of it.

    Args:
      features: [examples, inputs] float32.
      targets: [examples, outputs] float32.
      config: the choices.
      key: of the held-out part, the initial weights and the order of the examples.
      groups: [examples], who is on the picture: no group is both fitted and validated on. Each example alone if None.

    Raises:
      ValueError: where the shapes do not match or there are fewer than two groups.

    Example:
      >>> x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
      >>> fitted = fit_regressor(x, 3 * x + 5, RegressionConfig(hidden=16), jax.random.key(0))
      >>> bool(np.abs(predict(fitted, x) - (3 * x + 5)).mean() < 0.3)
      True
    """
    features, targets = np.asarray(features, np.float32), np.asarray(targets, np.float32)
    if features.ndim != 2 or targets.ndim != 2 or len(features) != len(targets):
        raise ValueError(f"need [examples, n] twice, got shapes {features.shape} and {targets.shape}")
    split_key, fit_key = jax.random.split(key)
    held = validation_rows(len(features), config.validation_share, split_key, groups)
    examples = standardised(features[~held], targets[~held])
    decays = jnp.asarray(config.weight_decays, jnp.float32)
    errors = np.asarray(
        _validation_errors(config, *examples, jnp.asarray(features[held]), jnp.asarray(targets[held]), decays, fit_key)
    )
    decay, epoch = np.unravel_index(np.nanargmin(errors), errors.shape)
    standardisation, inputs, outputs = standardised(features, targets)
    weights = _fitted(config, inputs, outputs, decays[decay], jnp.int32(epoch + 1), fit_key)
    return FittedRegressor(
        jax.device_get(weights),
        jax.device_get(standardisation),
        weight_decay=config.weight_decays[decay],
        epochs=int(epoch) + 1,
        validation_error=float(errors[decay, epoch]),
    )


def predict(fitted: FittedRegressor, features: jax.Array | np.ndarray) -> np.ndarray:
    """Predictions [examples, outputs] from features [examples, inputs]."""
    return np.asarray(_predict(fitted.weights, fitted.standardisation, jnp.asarray(features, jnp.float32)))


def validation_rows(count: int, share: float, key: jax.Array, groups: np.ndarray | None = None) -> np.ndarray:
    """Which of `count` examples validate, [count] bool: whole groups at random, until they make up the share.

    At least one group is on either side.

    Raises:
      ValueError: where there are fewer than two groups.
    """
    members = np.unique(np.arange(count) if groups is None else groups, return_inverse=True)[1]
    sizes = np.bincount(members)
    if len(sizes) < 2:
        raise ValueError(f"need two groups or more to validate, got {len(sizes)}")
    order = np.asarray(jax.random.permutation(key, len(sizes)))
    enough = int(np.searchsorted(np.cumsum(sizes[order]), share * count)) + 1
    return np.isin(members, order[: min(enough, len(sizes) - 1)])


def standardised(features: np.ndarray, targets: np.ndarray) -> tuple[Standardisation, jax.Array, jax.Array]:
    """Statistics of training examples, and the examples brought to zero mean and unit scale by them."""
    deviation = features.std(axis=0)
    target_mean = targets.mean(axis=0)
    target_scale = np.sqrt(np.mean(np.square(targets - target_mean)))
    # What hardly varies in training stays as small as it is: blown up, it would throw off what is predicted later.
    scale = np.maximum(deviation, 1e-3 * deviation.max())
    standardisation = Standardisation(
        *(jnp.asarray(x) for x in (features.mean(axis=0), np.where(scale > 0, scale, 1), target_mean)),
        target_scale=jnp.asarray(np.where(target_scale > 0, target_scale, np.float32(1))),
    )
    inputs = (features - standardisation.mean) / standardisation.scale
    return standardisation, inputs, (targets - standardisation.target_mean) / standardisation.target_scale


@jax.jit
def _predict(weights: Any, standardisation: Standardisation, features: jax.Array) -> jax.Array:
    inputs = (features - standardisation.mean) / standardisation.scale
    outputs = _network(weights).apply({"params": weights}, inputs)
    return outputs * standardisation.target_scale + standardisation.target_mean


def _network(weights: Any) -> Regressor:
    return Regressor(*weights["output_layer"]["kernel"].shape)


@partial(jax.jit, static_argnums=0)
def _validation_errors(
    config: RegressionConfig,
    standardisation: Standardisation,
    inputs: jax.Array,
    outputs: jax.Array,
    held_features: jax.Array,
    held_targets: jax.Array,
    weight_decays: jax.Array,
    key: jax.Array,
) -> jax.Array:
    """Mean absolute error on held-out examples after each epoch: [decays, epochs]."""

    def errors(weight_decay: jax.Array) -> jax.Array:
        start, epoch = _training(config, inputs, outputs, weight_decay, key)

        def validated(state: Any, number: jax.Array) -> tuple[Any, jax.Array]:
            state = epoch(number, state)
            predictions = _predict(state[0], standardisation, held_features)
            return state, jnp.abs(predictions - held_targets).mean()

        return jax.lax.scan(validated, start, jnp.arange(config.epochs))[1]

    return jax.vmap(errors)(weight_decays)


@partial(jax.jit, static_argnums=0)
def _fitted(
    config: RegressionConfig,
    inputs: jax.Array,
    outputs: jax.Array,
    weight_decay: jax.Array,
    num_epochs: jax.Array,
    key: jax.Array,
) -> Any:
    """Weights after some of the epochs of a fit."""
    start, epoch = _training(config, inputs, outputs, weight_decay, key)
    return jax.lax.fori_loop(0, num_epochs, epoch, start)[0]


def _training(
    config: RegressionConfig, inputs: jax.Array, outputs: jax.Array, weight_decay: jax.Array, key: jax.Array
) -> tuple[Any, Any]:
    """The state at the start, (weights, the optimiser's), and a function (number of the epoch, state) -> state."""
    network = Regressor(config.hidden, outputs.shape[1])
    batch_size = min(config.batch_size, len(inputs))
    num_batches = len(inputs) // batch_size
    rate = optax.cosine_decay_schedule(config.learning_rate, config.epochs * num_batches)
    optimiser = optax.chain(
        optax.scale_by_adam(), optax.add_decayed_weights(weight_decay), optax.scale_by_learning_rate(rate)
    )
    weights = network.init(jax.random.fold_in(key, 0), inputs[0])["params"]

    def loss(weights: Any, rows: jax.Array) -> jax.Array:
        predictions: Any = network.apply({"params": weights}, inputs[rows])
        return jnp.abs(predictions - outputs[rows]).mean()

    def step(state: Any, rows: jax.Array) -> tuple[Any, None]:
        weights, opt_state = state
        updates, opt_state = optimiser.update(jax.grad(loss)(weights, rows), opt_state, weights)
        return (optax.apply_updates(weights, updates), opt_state), None

    def epoch(number: jax.Array, state: Any) -> Any:
        order = jax.random.permutation(jax.random.fold_in(key, number + 1), len(inputs))
        batches = order[: num_batches * batch_size].reshape(num_batches, batch_size)
        return jax.lax.scan(step, state, batches)[0]

    return (weights, optimiser.init(weights)), epoch
