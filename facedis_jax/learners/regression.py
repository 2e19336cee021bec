"""A small regressor on features of trained models, fitted by one call."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from facedis_jax.errors import InputError, check_least
from facedis_jax.learners.optimiser import apply_gradients
from facedis_jax.models import Regressor


@dataclass(frozen=True)
class RegressionConfig:
    """How a regressor is fitted; where the paper says nothing, values that validate well on faces.

    Attributes:
      hidden: width of the hidden layer.
      epochs: epochs of the longest fit; validation chooses how many of them are run.
      batch_size: examples of a step.
      learning_rate: Adam's, which falls to zero along a cosine over all `epochs`.
      weight_decays: of AdamW, of all but the biases; validation chooses among them.
      validation_share: the part of the training set that validates.

    Raises:
      InputError: for no hidden units, epochs, examples in a step or weight decays.

    Example:
      >>> RegressionConfig(hidden=20, epochs=10).weight_decays
      (0.3, 1.0, 3.0, 10.0)
    """

    hidden: int = 100
    epochs: int = 60
    batch_size: int = 50
    learning_rate: float = 1e-3
    weight_decays: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0)
    validation_share: float = 0.2

    def __post_init__(self) -> None:
        check_least(self, hidden=1, epochs=1, batch_size=1)
        if not self.weight_decays:
            raise InputError("weight_decays", "one or more", "none")


class Standardisation(NamedTuple):
    """Statistics that bring training features and targets to zero mean and unit scale.

    Attributes:
      mean, scale: [inputs], of each feature.
      target_mean: [outputs].
      target_scale: one for all outputs, so that the L1 loss weighs them as they are.
    """

    mean: np.ndarray
    scale: np.ndarray
    target_mean: np.ndarray
    target_scale: np.float32


class FittedRegressor(NamedTuple):
    """A regressor and how it was chosen.

    Attributes:
      weights: of the network.
      standardisation: of its inputs and outputs.
      weight_decay, epochs: that validation chose.
      validation_error: mean absolute error there, in the targets' unit.

    Example:
      >>> def layer(inputs, outputs):
      ...     return {"kernel": np.zeros([inputs, outputs]), "bias": np.zeros(outputs)}
      >>> weights = {"hidden_layer": layer(1, 4), "output_layer": layer(4, 1)}
      >>> x = np.array([[1.0], [2.0]])
      >>> statistics = standardisation_of(x, 3 * x)
      >>> fitted = FittedRegressor(weights, statistics, weight_decay=1.0, epochs=20, validation_error=0.5)
      >>> fitted.predict(x).tolist()  # without weights, the mean of the targets
      [[4.5], [4.5]]
    """

    weights: Any
    standardisation: Standardisation
    weight_decay: float
    epochs: int
    validation_error: float

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Predictions [examples, outputs] from features [examples, inputs].

        Example:
          >>> layers = [("hidden_layer", (1, 4)), ("output_layer", (4, 1))]
          >>> weights = {name: {"kernel": np.zeros(shape), "bias": np.zeros(shape[1])} for name, shape in layers}
          >>> x = np.array([[1.0], [2.0]])
          >>> fitted = FittedRegressor(weights, standardisation_of(x, 3 * x), 1.0, epochs=20, validation_error=0.5)
          >>> fitted.predict(x).tolist()  # without weights, the mean of the targets
          [[4.5], [4.5]]
        """
        network, statistics = Regressor(*self.weights["output_layer"]["kernel"].shape), self.standardisation
        outputs: Any = network.apply({"params": self.weights}, _scaled(features, statistics.mean, statistics.scale))
        return np.asarray(outputs) * statistics.target_scale + statistics.target_mean


def fit_regressor(
    features: np.ndarray,
    targets: np.ndarray,
    config: RegressionConfig,
    key: jax.Array,
    *,
    groups: np.ndarray | None = None,
) -> FittedRegressor:
    """A two-layer perceptron fitted with the L1 loss, as in section 5.5 of the deformable generator.

    The weight decay and the number of epochs are those of the lowest error on a part of the training set that is held
    out; the regressor itself is then fitted with them on all of it, in as many steps.

    Args:
      features: [examples, inputs] float32.
      targets: [examples, outputs] float32.
      config: the choices.
      key: of the initial weights, the held-out part and the order of the examples.
      groups: [examples], such as the person in each image: each group is either fitted or validated on. Each example
        is its own group if None.

    Raises:
      ValueError: where the shapes do not match or there are fewer than two groups.

    Example:
      >>> x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
      >>> fitted = fit_regressor(x, 3 * x + 5, RegressionConfig(batch_size=8), jax.random.key(0))
      >>> bool(np.abs(fitted.predict(x) - (3 * x + 5)).mean() < 0.2)
      True
    """
    features, targets = np.asarray(features, np.float32), np.asarray(targets, np.float32)
    if features.ndim != 2 or targets.ndim != 2 or len(features) != len(targets):
        raise ValueError(f"need [examples, n] twice, got shapes {features.shape} and {targets.shape}")
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    start = _initial_weights(rng, Regressor(config.hidden, targets.shape[1]), features.shape[1])
    held = validation_rows(len(features), config.validation_share, rng, groups)

    def fit(rows: np.ndarray, weight_decay: float, epochs: int) -> tuple[Any, np.ndarray, Standardisation]:
        statistics = standardisation_of(features[rows], targets[rows])
        inputs = _scaled(features, statistics.mean, statistics.scale)
        outputs = _scaled(targets, statistics.target_mean, statistics.target_scale)
        batches = shuffled_rows(rng, rows, len(features), batch_size=config.batch_size, epochs=config.epochs)
        weights, errors = _fitted(config, start, inputs, outputs, batches, held, np.float32(weight_decay), epochs)
        return weights, np.asarray(errors) * statistics.target_scale, statistics

    searched = [fit(np.flatnonzero(~held), decay, config.epochs)[1] for decay in config.weight_decays]
    decay, epoch = np.unravel_index(np.argmin(searched), (len(searched), config.epochs))
    weights, _, statistics = fit(np.arange(len(features)), config.weight_decays[decay], int(epoch) + 1)
    return FittedRegressor(
        jax.device_get(weights),
        statistics,
        weight_decay=config.weight_decays[decay],
        epochs=int(epoch) + 1,
        validation_error=float(searched[decay][epoch]),
    )


def validation_rows(count: int, share: float, rng: np.random.Generator, groups: np.ndarray | None = None) -> np.ndarray:
    """Mask [count] of the examples that validate: whole groups at random, until they make up the share.

    At least one group validates, and at least one does not.

    Raises:
      ValueError: where there are fewer than two groups.
    """
    members = np.unique(np.arange(count) if groups is None else groups, return_inverse=True)[1]
    sizes = np.bincount(members)
    if len(sizes) < 2:
        raise ValueError(f"need two groups or more to validate, got {len(sizes)}")
    order = rng.permutation(len(sizes))
    enough = int(np.searchsorted(np.cumsum(sizes[order]), share * count)) + 1
    return np.isin(members, order[: min(enough, len(sizes) - 1)])


def standardisation_of(features: np.ndarray, targets: np.ndarray) -> Standardisation:
    """Statistics of training examples, [examples, inputs] and [examples, outputs]."""
    deviation = features.std(axis=0)
    # Features that hardly vary in training are not scaled up to unit deviation: a small change of them at prediction
    # would become a large one.
    scale = np.maximum(deviation, 1e-3 * deviation.max())
    target_mean = targets.mean(axis=0)
    target_scale = np.sqrt(np.mean(np.square(targets - target_mean)))
    return Standardisation(
        features.mean(axis=0), np.where(scale > 0, scale, 1), target_mean, np.float32(target_scale or 1.0)
    )


def _scaled(values: np.ndarray, mean: np.ndarray, scale: np.ndarray | np.float32) -> np.ndarray:
    return ((values - mean) / scale).astype(np.float32)


def shuffled_rows(
    rng: np.random.Generator, rows: np.ndarray, count: int, *, batch_size: int, epochs: int
) -> np.ndarray:
    """Rows of every batch, [epochs, steps, batch] int32, drawn from `rows`; as many steps as `count` examples need."""
    size = min(batch_size, count)
    used = count // size * size
    repeats = -(-used // len(rows))
    orders = [np.concatenate([rng.permutation(rows) for _ in range(repeats)])[:used] for _ in range(epochs)]
    return np.stack(orders).astype(np.int32).reshape(epochs, -1, size)


def _initial_weights(rng: np.random.Generator, network: Regressor, inputs: int) -> Any:
    """Initial kernels that keep the variance, and biases of zero."""

    # Drawn on the host, since a compiled draw takes longer to compile than all else here.
    def draw(entry: jax.ShapeDtypeStruct) -> np.ndarray:
        std = 1 / np.sqrt(entry.shape[0]) if len(entry.shape) == 2 else 0.0
        return rng.normal(scale=std, size=entry.shape).astype(np.float32)

    return jax.tree.map(draw, jax.eval_shape(network.init, jax.random.key(0), jnp.zeros(inputs))["params"])


@partial(jax.jit, static_argnums=0)
def _fitted(
    config: RegressionConfig,
    weights: Any,
    inputs: jax.Array,
    outputs: jax.Array,
    batches: jax.Array,
    held: jax.Array,
    weight_decay: jax.Array,
    num_epochs: jax.Array,
) -> tuple[Any, jax.Array]:
    """Weights after some of the epochs, and the mean absolute error on the held-out rows after each, [epochs]."""
    network = Regressor(config.hidden, outputs.shape[1])
    rate = optax.cosine_decay_schedule(config.learning_rate, config.epochs * batches.shape[1])
    optimiser = optax.chain(
        optax.scale_by_adam(),
        optax.add_decayed_weights(weight_decay, mask=lambda weights: jax.tree.map(lambda x: x.ndim > 1, weights)),
        optax.scale_by_learning_rate(rate),
    )

    def distances(weights: Any, inputs: jax.Array, outputs: jax.Array) -> jax.Array:
        predictions: Any = network.apply({"params": weights}, inputs)
        return jnp.abs(predictions - outputs).mean(axis=-1)

    def step(state: Any, rows: jax.Array) -> tuple[Any, None]:
        weights, opt_state = state
        gradients = jax.grad(lambda weights: distances(weights, inputs[rows], outputs[rows]).mean())(weights)
        return apply_gradients(optimiser, gradients, opt_state, weights), None

    def epoch(number: jax.Array, carry: Any) -> Any:
        state, errors = carry
        state, _ = jax.lax.scan(step, state, batches[number])
        error = distances(state[0], inputs, outputs).mean(where=held)
        return state, errors.at[number].set(error)

    state = (weights, optimiser.init(weights))
    (weights, _), errors = jax.lax.fori_loop(0, num_epochs, epoch, (state, jnp.full(config.epochs, jnp.inf)))
    return weights, errors
