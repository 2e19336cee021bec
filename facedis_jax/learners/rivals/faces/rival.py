"""What all rivals share: the constants of a training set, the functions of a model, and the steps that train it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.errors import InputError, check_least
from facedis_jax.learners.learner import Batch, GradientState, Learner, Metrics
from facedis_jax.learners.optimiser import OptimiserConfig, apply_gradients, make_optimiser
from facedis_jax.metrics import Average, average_vertex_distance
from facedis_jax.models import Posterior


@dataclass(frozen=True)
class RivalTraining:
    """How a rival is trained.

    Attributes:
      epochs: how often the training set is seen.
      batch_size: faces of a step, over all devices.
      optimiser: Adam's settings.

    Raises:
      InputError: for no epochs or faces.

    Example:
      >>> RivalTraining(epochs=100).batch_size
      16
    """

    epochs: float = 300
    batch_size: int = 16
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    def __post_init__(self) -> None:
        check_least(self, batch_size=1)
        if not self.epochs > 0:
            raise InputError("epochs", "more than 0", str(self.epochs))


class Latents(NamedTuple):
    """Lengths of the codes; a model that does not tell them apart has as many in all.

    Example:
      >>> Latents(identity=4, expression=4).identity
      4
    """

    identity: int
    expression: int


@dataclass(frozen=True, eq=False)
class RivalConstants:
    """What rivals need to know of a training set.

    Attributes:
      mean_face: [vertices, 3] mm, of the training faces.
      deviation: [vertices, 3] mm, the standard deviation of each coordinate; never so small that noise would be scaled
        up (public code divides by zero where a coordinate never changes).
      template: [vertices, 3] mm, the mean of the training people's neutrals, from which coarser meshes are made.
      triangles: [triangles, 3].
      scale: mm per unit of the networks that see one scale for all coordinates.
      low, high: [vertices, 9], bounds of the deformation features of the training faces; None where they are not used.

    Example:
      >>> from facedis_jax.inference.example import example_face_model
      >>> trained = example_face_model().trained
      >>> mean, triangles = trained.constants.mean_face, trained.triangles
      >>> constants = RivalConstants(mean, 0 * mean + 1, mean, triangles, scale=100.0)
      >>> constants.template.shape, constants.low is None
      ((36, 3), True)
    """

    mean_face: np.ndarray
    deviation: np.ndarray
    template: np.ndarray
    triangles: np.ndarray
    scale: float
    low: np.ndarray | None = None
    high: np.ndarray | None = None

    def standardised(self, faces: jax.Array) -> jax.Array:
        """Faces in mm as deviations from the mean face."""
        return (faces - self.mean_face) / self.deviation


class Rival(NamedTuple):
    """A rival as pure functions of its parameters and of batches of faces in mm.

    Attributes:
      latents: of its codes.
      separates: whether it tells identity from expression; else its codes are one, and so are its two faces.
      optimiser: of its training.
      init: key -> parameters, with an entry "model" and, of those with a discriminator, one "critic".
      encode: (parameters, vertices [batch, vertices, 3]) -> `Posterior` of the codes, identity latents first.
      decode: (parameters, identity codes, expression codes) -> full and neutral faces.
      loss: (parameters, batch, keys [batch]) -> loss of each face [batch], metrics, and what the discriminator sees.
      critic_loss: (the discriminator's parameters, what it sees) -> its loss; None without one.

    Example:
      >>> from facedis_jax.inference.example import example_face_model
      >>> trained = example_face_model().trained
      >>> mean, triangles = trained.constants.mean_face, trained.triangles
      >>> from facedis_jax.learners.rivals.faces import RIVALS, GuConfig
      >>> constants = RivalConstants(mean, 0 * mean + 1, mean, triangles, scale=100.0)
      >>> rival = RIVALS["gu"].make(GuConfig(widths=(8, 16), hidden=8), constants, Latents(2, 2))
      >>> params = jax.eval_shape(rival.init, jax.random.key(0))
      >>> rival.separates, jax.eval_shape(rival.encode, params, trained.neutrals).mean.shape
      (True, (4, 4))
    """

    latents: Latents
    separates: bool
    optimiser: OptimiserConfig
    init: Callable[[jax.Array], Any]
    encode: Callable[[Any, jax.Array], Posterior]
    decode: Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    loss: Callable[[Any, Batch, jax.Array], tuple[jax.Array, Mapping[str, Average], Any]]
    critic_loss: Callable[[Any, Any], jax.Array] | None = None


def rival_learner(rival: Rival, *, steps_per_epoch: float, num_steps: int, axis_name: str | None = None) -> Learner:
    """The learner of a rival; batches as those of `ib_vae_learner`.

    A discriminator takes a step of its own after the model's, with the same optimiser.

    Args:
      rival: the model.
      steps_per_epoch: steps in which the training set is seen once.
      num_steps: length of the run, for schedules that end with it.
      axis_name: the device axis over which gradients are averaged; None on one device.

    Example:
      >>> from facedis_jax.inference.example import example_face_model
      >>> trained = example_face_model().trained
      >>> mean, triangles = trained.constants.mean_face, trained.triangles
      >>> from facedis_jax.learners.rivals.faces import RIVALS, GuConfig
      >>> constants = RivalConstants(mean, 0 * mean + 1, mean, triangles, scale=100.0)
      >>> rival = RIVALS["gu"].make(GuConfig(widths=(8, 16), hidden=8), constants, Latents(2, 2))
      >>> learner = rival_learner(rival, steps_per_epoch=5, num_steps=10)
      >>> batch = {"vertices": trained.neutrals, "neutral": trained.neutrals}
      >>> jax.eval_shape(learner.init, jax.random.key(0), batch).step.dtype
      dtype('int32')
    """
    optimiser = make_optimiser(rival.optimiser, steps_per_epoch=steps_per_epoch, num_steps=num_steps)

    def init(key: jax.Array, batch: Batch) -> GradientState:
        params = rival.init(jax.random.fold_in(key, 0))
        opt_state = {name: optimiser.init(part) for name, part in params.items()}
        return GradientState(params, opt_state, jax.random.fold_in(key, 1), jnp.int32(0))

    def step(state: GradientState, batch: Batch) -> tuple[GradientState, Metrics]:
        keys = _keys(state, len(batch["vertices"]), axis_name)

        def loss(model: Any) -> tuple[jax.Array, tuple[Metrics, Any]]:
            per_face, metrics, seen = rival.loss(state.params | {"model": model}, batch, keys)
            return per_face.mean(), ({"loss": Average.of(per_face), **metrics}, seen)

        gradients, (metrics, seen) = jax.grad(loss, has_aux=True)(state.params["model"])
        parts = {"model": gradients}
        if rival.critic_loss is not None:
            parts["critic"] = jax.grad(rival.critic_loss)(state.params["critic"], jax.lax.stop_gradient(seen))
        moved = {
            name: apply_gradients(optimiser, part, state.opt_state[name], state.params[name], axis_name=axis_name)
            for name, part in parts.items()
        }
        params, opt_state = ({name: pair[i] for name, pair in moved.items()} for i in range(2))
        return state.replace(params=params, opt_state=opt_state, step=state.step + 1), metrics

    def evaluate(state: GradientState, batch: Batch) -> Metrics:
        codes = rival.encode(state.params, batch["vertices"]).mean
        full, neutral = rival.decode(state.params, *split(codes, rival.latents))
        mask = batch["mask"]
        found = {"reconstruction_mm": Average.of(average_vertex_distance(full, batch["vertices"]), mask)}
        if rival.separates:
            found["neutral_mm"] = Average.of(average_vertex_distance(neutral, batch["neutral"]), mask)
        return found

    return Learner(init, step, evaluate)


def split(codes: jax.Array, latents: Latents) -> tuple[jax.Array, jax.Array]:
    """Codes [..., latents] as those of identity and of expression.

    Example:
      >>> identity, expression = split(jnp.zeros([5, 6]), Latents(4, 2))
      >>> identity.shape, expression.shape
      ((5, 4), (5, 2))
    """
    return codes[..., : latents.identity], codes[..., latents.identity :]


def initial(module: nn.Module, key: jax.Array, *shapes: tuple[int, ...]) -> Any:
    """Fresh parameters of a network of inputs of some shapes, without computing what it makes of them."""
    inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return module.lazy_init(key, *inputs)["params"]


def sampled(posterior: Posterior, keys: jax.Array) -> jax.Array:
    """A draw [batch, latents] of posteriors, by one key for each."""
    noise = jax.vmap(lambda key: jax.random.normal(key, posterior.mean.shape[1:]))(keys)
    return posterior.mean + jnp.exp(0.5 * posterior.logvar) * noise


def without_spread(codes: jax.Array) -> Posterior:
    """Codes of an autoencoder as posteriors of no width that would matter."""
    return Posterior(codes, jnp.full_like(codes, -20.0))


def distances(pairs: tuple[tuple[jax.Array, jax.Array], ...]) -> dict[str, Average]:
    """Mean vertex distances of faces and of neutrals, made and wanted."""
    names = ("reconstruction_mm", "neutral_mm")
    return {name: Average.of(average_vertex_distance(*pair)) for name, pair in zip(names, pairs, strict=True)}


def _keys(state: GradientState, size: int, axis_name: str | None) -> jax.Array:
    """Keys [size] of this step for the places of the whole batch that this device has."""
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * size
    key = jax.random.fold_in(state.key, state.step)
    return jax.vmap(lambda place: jax.random.fold_in(key, place))(first + jnp.arange(size))
