"""Recognition of expressions from sequences of features, and its cross-validation in one program (Table 3)."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from facedis_jax.learners.learner import Batch, GradientState, Learner, Metrics
from facedis_jax.learners.optimiser import OptimiserConfig, apply_gradients, make_optimiser
from facedis_jax.learners.regression import shuffled_rows
from facedis_jax.metrics import Average
from facedis_jax.models import SequenceClassifier

RECOGNITION_OPTIMISER = OptimiserConfig(learning_rate=3e-3, weight_decay=0.0, schedule="cosine")


@dataclass(frozen=True)
class RecognitionConfig:
    """The classifier and how it is trained.

    Attributes:
      hidden, dense, pooling, filters, channels: of `SequenceClassifier`; of images, there are no `components`.
      epochs: in which every training clip is seen once.
      batch_size: clips of a step.
      components: features beyond so many are first projected on the training clips' principal axes; None for none, as
        in the paper.
      scaling: of the features: "each" to unit deviation; "common" by one number, so that they keep their proportions.
      optimiser: Adam's settings.

    Example:
      >>> RecognitionConfig(hidden=20, pooling="mean").epochs
      60
    """

    hidden: int = 30
    dense: int = 30
    pooling: Literal["last", "mean"] = "last"
    filters: tuple[int, ...] = ()
    channels: int = 3
    epochs: int = 60
    batch_size: int = 32
    components: int | None = None
    scaling: Literal["each", "common"] = "each"
    optimiser: OptimiserConfig = RECOGNITION_OPTIMISER


class FoldResults(NamedTuple):
    """Predictions of cross-validation, each by a classifier that was not trained on the clip.

    Attributes:
      accuracy: [folds], the share of a fold's clips that are classified right.
      predictions: [clips] int, each by the classifier of its own fold.
      probabilities: [clips, classes], by the same.

    Example:
      >>> results = FoldResults(np.array([1.0, 0.5]), np.array([0, 1, 1, 1]), np.full([4, 2], 0.5))
      >>> f"{results.accuracy.mean():.0%}"
      '75%'
    """

    accuracy: np.ndarray
    predictions: np.ndarray
    probabilities: np.ndarray


def recognition_learner(
    config: RecognitionConfig,
    *,
    num_classes: int,
    steps_per_epoch: float,
    num_steps: int,
    axis_name: str | None = None,
) -> Learner:
    """The learner of a `SequenceClassifier` (section 5.6 of the deformable generator).

    Batches have `sequence` [batch, frames, features] float32, standardised, and `label` [batch] int32; at evaluation
    `mask` [batch].

    Args:
      config: the classifier and its optimiser.
      num_classes: number of classes.
      steps_per_epoch: steps in which the training set is seen once.
      num_steps: length of the run.
      axis_name: the device axis over which batch means are collective; None on one device.

    Returns:
      A `Learner`, whose metrics are `accuracy` and `cross_entropy_nats`.

    Example:
      >>> learner = recognition_learner(RecognitionConfig(hidden=4), num_classes=7, steps_per_epoch=3, num_steps=6)
      >>> batch = {"sequence": jnp.zeros([2, 8, 5]), "label": jnp.array([0, 6])}
      >>> state = jax.eval_shape(learner.init, jax.random.key(0), batch)
      >>> state, metrics = jax.eval_shape(learner.step, state, batch)
      >>> sorted(metrics)
      ['accuracy', 'cross_entropy_nats']
    """
    network = _network(config, num_classes)
    optimiser = make_optimiser(config.optimiser, steps_per_epoch=steps_per_epoch, num_steps=num_steps)

    def init(key: jax.Array, batch: Batch) -> GradientState:
        params = network.init(jax.random.fold_in(key, 0), batch["sequence"][:1])["params"]
        return GradientState(params, optimiser.init(params), jax.random.fold_in(key, 1), jnp.int32(0))

    def scores(params: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
        logits: Any = network.apply({"params": params}, batch["sequence"])
        right = jnp.argmax(logits, axis=-1) == batch["label"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]), right.astype(jnp.float32)

    def step(state: GradientState, batch: Batch) -> tuple[GradientState, Metrics]:
        def loss(params: Any) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            entropy, right = scores(params, batch)
            return entropy.mean(), (entropy, right)

        gradients, (entropy, right) = jax.grad(loss, has_aux=True)(state.params)
        params, opt_state = apply_gradients(optimiser, gradients, state.opt_state, state.params, axis_name=axis_name)
        state = state.replace(params=params, opt_state=opt_state, step=state.step + 1)
        return state, {"accuracy": Average.of(right), "cross_entropy_nats": Average.of(entropy)}

    def evaluate(state: GradientState, batch: Batch) -> Metrics:
        entropy, right = scores(state.params, batch)
        return {
            "accuracy": Average.of(right, batch["mask"]),
            "cross_entropy_nats": Average.of(entropy, batch["mask"]),
        }

    return Learner(init, step, evaluate)


def classify_folds(
    sequences: np.ndarray, labels: np.ndarray, folds: np.ndarray, key: jax.Array, config: RecognitionConfig
) -> FoldResults:
    """Cross-validated predictions: one classifier per fold, trained on all other folds, all of them in one program.

    As section 5.6 of the deformable generator, which has ten folds of different people.

    Weights, mean and scale of the features and, where there are more features than `config.components`, their principal
    axes are fitted on the training clips alone.

    Args:
      sequences: [clips, frames, features] float32, not standardised.
      labels: [clips] int, from 0 on.
      folds: [clips] int, the fold that tests each; from 0 on, and none empty.
      key: of the initial weights and of the order of the clips.
      config: the choices.

    Raises:
      ValueError: where the shapes do not match, labels are negative, or there are fewer than two folds or an empty one.

    Example:
      >>> rng = np.random.default_rng(0)
      >>> labels, folds = np.arange(40) % 2, np.arange(40) // 10
      >>> slope = np.where(labels, 1, -1)[:, None, None] * np.linspace(-1, 1, 5)[:, None]
      >>> sequences = slope + 0.1 * rng.normal(size=(40, 5, 1))
      >>> results = classify_folds(sequences, labels, folds, jax.random.key(0), RecognitionConfig(batch_size=10))
      >>> results.accuracy.tolist()
      [1.0, 1.0, 1.0, 1.0]
    """
    sequences = np.asarray(sequences, np.float32)
    labels, folds = np.asarray(labels, np.int32), np.asarray(folds, np.int32)
    num_folds = _count_folds(sequences, labels, folds)
    training = folds[None] != np.arange(num_folds)[:, None]
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    longest = int(training.sum(axis=1).max())
    orders = [
        shuffled_rows(rng, np.flatnonzero(rows), longest, batch_size=config.batch_size, epochs=config.epochs)
        for rows in training
    ]
    batches = np.stack(orders).reshape(len(training), -1, orders[0].shape[-1])
    # Projections and first states are computed outside the program of all folds: with both in it, the program at times
    # never ended on two cores (jax 0.10.2). The batched decompositions of axes and kernels are the likely cause.
    inputs = _fold_inputs(sequences, training, config.components)
    classes = int(labels.max()) + 1
    keys = jax.random.split(jax.random.fold_in(key, 1), len(training))
    states = _initial_states(config, classes, batches.shape[1], inputs, keys)
    used = np.repeat(training, sequences.shape[1], axis=1)
    probabilities = _cross_validated(config, classes, inputs, labels, used, batches, states)
    own = np.asarray(probabilities)[folds, np.arange(len(folds))]
    predictions = own.argmax(axis=-1)
    right = predictions == labels
    return FoldResults(np.array([right[folds == fold].mean() for fold in range(num_folds)]), predictions, own)


def _count_folds(sequences: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> int:
    """Number of folds, of arguments that are as `classify_folds` takes them.

    Raises:
      ValueError: where they are not.
    """
    if sequences.ndim != 3 or labels.shape != folds.shape or labels.shape != (len(sequences),):
        shapes = f"{sequences.shape}, {labels.shape} and {folds.shape}"
        raise ValueError(f"need [clips, frames, features], [clips] and [clips], got shapes {shapes}")
    sizes = np.bincount(folds) if folds.size and folds.min() >= 0 else np.zeros(0)
    if len(sizes) < 2 or not sizes.all():
        raise ValueError(f"need two folds or more, numbered from 0 on and none empty, got {np.unique(folds).tolist()}")
    if labels.min() < 0:
        raise ValueError(f"labels must be 0 or more, got {labels.min()}")
    return len(sizes)


def _fold_inputs(sequences: np.ndarray, training: np.ndarray, components: int | None) -> np.ndarray:
    """Features of all clips for each fold's classifier, projected on its principal axes where there are too many.

    Returns:
      [folds, clips, frames, features], or [1, clips, frames, features] where they are the same for all folds.
    """
    clips, frames, features = sequences.shape
    if components is None or features <= components:
        return sequences[None]
    rows, used = sequences.reshape(clips * frames, features), np.repeat(training, frames, axis=1)
    fitted = zip(*principal_axes(rows, used, min(components, int(used.sum(axis=1).min()))), strict=True)
    return np.stack([(rows - mean) @ axes for mean, axes in fitted]).reshape(len(training), clips, frames, -1)


def _initial_states(
    config: RecognitionConfig, num_classes: int, num_steps: int, inputs: np.ndarray, keys: jax.Array
) -> GradientState:
    """The initial state of each fold's classifier, [folds, ...]."""
    states = [_initial_state(config, num_classes, num_steps, key, inputs[0, :1]) for key in keys]
    return jax.tree.map(lambda *x: jnp.stack(x), *states)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _initial_state(
    config: RecognitionConfig, num_classes: int, num_steps: int, key: jax.Array, sequence: jax.Array
) -> GradientState:
    return _fold_learner(config, num_classes, num_steps).init(key, {"sequence": sequence})


def principal_axes(rows: np.ndarray, used: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and principal axes of many subsets of the same rows.

    Args:
      rows: [rows, features].
      used: [subsets, rows] bool, the rows of each subset.
      count: of axes, at most as many as each subset has rows, or features.

    Returns:
      [subsets, features] and [subsets, features, count], axes of length 1, of the largest variance first.
    """
    # Here, since its import takes a second, which all who load a model would wait for.
    from sklearn.decomposition import PCA

    fitted = [PCA(count, svd_solver="randomized", random_state=0).fit(rows[subset]) for subset in used]
    return np.stack([pca.mean_ for pca in fitted]), np.stack([pca.components_.T for pca in fitted])


def _network(config: RecognitionConfig, num_classes: int) -> SequenceClassifier:
    return SequenceClassifier(num_classes, config.hidden, config.dense, config.pooling, config.filters, config.channels)


def _fold_learner(config: RecognitionConfig, num_classes: int, num_steps: int) -> Learner:
    return recognition_learner(
        config, num_classes=num_classes, steps_per_epoch=num_steps / config.epochs, num_steps=num_steps
    )


@partial(jax.jit, static_argnums=(0, 1))
def _cross_validated(
    config: RecognitionConfig,
    num_classes: int,
    sequences: jax.Array,
    labels: jax.Array,
    used: jax.Array,
    batches: jax.Array,
    states: GradientState,
) -> jax.Array:
    """Probabilities [folds, clips, classes] by the classifier of each fold.

    `sequences` are what each fold sees, [folds or 1, clips, frames, features], of which `used` [folds, clips * frames]
    says the training rows; `batches` are [folds, steps, batch], `states` the folds' first ones.
    """
    learner = _fold_learner(config, num_classes, batches.shape[1])
    network = _network(config, num_classes)

    def one(fold: Any) -> jax.Array:
        seen = fold.get("sequences", sequences[0])
        rows = seen.reshape(-1, sequences.shape[-1])
        inputs = _standardised(rows, fold["used"], config.scaling).reshape(sequences.shape[1:])

        def step(state: GradientState, index: jax.Array) -> tuple[GradientState, None]:
            return learner.step(state, {"sequence": inputs[index], "label": labels[index]})[0], None

        state, _ = jax.lax.scan(step, fold["state"], fold["batches"])
        logits: Any = network.apply({"params": state.params}, inputs)
        return jax.nn.softmax(logits)

    each = {"used": used.astype(jnp.float32), "batches": batches, "state": states}
    if len(sequences) == 1:
        # Features of every pixel of every frame take the memory of one fold at a time.
        return jax.lax.map(one, each)
    return jax.vmap(one)(each | {"sequences": sequences})


def _standardised(inputs: jax.Array, used: jax.Array, scaling: str) -> jax.Array:
    """Rows [rows, features] with the mean and scale of those that are used."""
    weights = (used / used.sum())[:, None]
    mean = jnp.sum(weights * inputs, axis=0)
    variance = jnp.sum(weights * jnp.square(inputs - mean), axis=0)
    if scaling == "common":
        scale = jnp.sqrt(variance.mean())
    else:
        # As in `regression.standardisation_of`: features that hardly vary are not scaled up.
        scale = jnp.sqrt(jnp.maximum(variance, 1e-6 * variance.max()))
    return (inputs - mean) / jnp.where(scale > 0, scale, 1)
