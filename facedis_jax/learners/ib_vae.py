"""The information-bottlenecked VAE of Sun, Pears and Gu as a learner: identity apart from expression."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from facedis_jax.errors import InputError, check_least
from facedis_jax.learners.learner import Batch, Learner, Metrics
from facedis_jax.learners.optimiser import OptimiserConfig, apply_gradients, make_optimiser
from facedis_jax.losses import (
    IbVaeWeights,
    gaussian_kl,
    ib_vae_loss,
    lambda_2_schedule,
    mutual_information_offset,
)
from facedis_jax.losses.information import Estimator
from facedis_jax.losses.reconstruction import Reduction
from facedis_jax.metrics import Average, average_vertex_distance
from facedis_jax.models import FaceVae, FaceVaeConfig, PointFeatures, Posterior, point_features


@dataclass(frozen=True)
class IbVaeConfig:
    """What is learned and how; the defaults are the paper's (section 3.5).

    Attributes:
      model: sizes of the networks.
      weights: of Eq. 12.
      decay_epochs: lambda_2 falls linearly to 0 over so many epochs.
      rise_epochs: lambda_2 is brought up from 0 over so many epochs at first, see `losses.lambda_2_schedule`; the
        paper's is there from the start.
      reduction: of the squared errors, see `losses.reconstruction_loss`.
      estimator: of the mutual information.
      exempt_neutral: leave faces with a level of at most 0.1 out of the mutual information, as the authors'
        fragment.
      conditional: give labels to encoder and decoder (section 3.2.4).
      optimiser: Adam's settings.

    Raises:
      InputError: for epochs of a schedule that there cannot be.
    """

    model: FaceVaeConfig = field(default_factory=FaceVaeConfig)
    weights: IbVaeWeights = field(default_factory=IbVaeWeights)
    decay_epochs: float = 350.0
    rise_epochs: float = 0.0
    reduction: Reduction = "sum"
    estimator: Estimator = "mws"
    exempt_neutral: bool = False
    conditional: bool = False
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    def __post_init__(self) -> None:
        check_least(self, rise_epochs=0)
        if not self.decay_epochs > 0:
            raise InputError("decay_epochs", "more than 0", str(self.decay_epochs))


@dataclass(frozen=True)
class FaceConstants:
    """What a learner knows of its training set.

    Attributes:
      mean_face: [vertices, 3], mm; the networks predict offsets from it.
      scale: mm per unit of the networks.
      num_faces: size of the training set, N of Eq. 11.
      num_expressions: length of the conditional variant's labels.
      moment_mean: [moments], of the training clouds' moments.
      moment_deviation: what all moments are divided by: one number, since to bring each to the same variance would
        raise those that hold nothing but noise to the level of the others.
    """

    mean_face: np.ndarray
    scale: float
    num_faces: int
    num_expressions: int
    moment_mean: np.ndarray
    moment_deviation: float


class IbVaeState(struct.PyTreeNode):
    """Everything that a run of the learner carries from step to step."""

    params: Any
    batch_stats: Any
    opt_state: Any
    weights: IbVaeWeights
    key: jax.Array
    step: jax.Array


class FaceFunctions(NamedTuple):
    """A trained model as pure functions of faces in mm; batches throughout.

    Attributes:
      features: vertices [vertices, 3] -> `PointFeatures` of one mesh, to be computed once and kept with it.
      encode: (state, vertices, features, labels) -> `Posterior` of the codes, identity latents first.
      decode: (state, z_identity, z_expression, labels) -> full and neutral faces.
    """

    features: Callable[[jax.Array], PointFeatures]
    encode: Callable[[IbVaeState, jax.Array, PointFeatures, jax.Array | None], Posterior]
    decode: Callable[[IbVaeState, jax.Array, jax.Array, jax.Array | None], tuple[jax.Array, jax.Array]]


def face_functions(config: IbVaeConfig, constants: FaceConstants) -> FaceFunctions:
    """Encoding and decoding with the parameters in a state, independent of how they were learned."""
    model = _model(config, constants, axis_name=None)
    mean_face = jnp.asarray(constants.mean_face)

    def variables(state: IbVaeState) -> dict[str, Any]:
        return {"params": state.params, "batch_stats": state.batch_stats}

    def features(vertices: jax.Array) -> PointFeatures:
        raw = point_features(vertices / constants.scale, config.model.encoder.features)
        moments = (raw.moments - constants.moment_mean) / constants.moment_deviation
        return raw._replace(moments=moments)

    def encode(state, vertices, features, labels):
        points = vertices / constants.scale
        return model.apply(variables(state), points, features, labels, method="encode")

    def decode(state, z_identity, z_expression, labels):
        offsets: Any = model.apply(variables(state), z_identity, z_expression, labels, method="decode")
        return mean_face + offsets.full * constants.scale, mean_face + offsets.identity * constants.scale

    return FaceFunctions(features, encode, decode)


def ib_vae_learner(
    config: IbVaeConfig,
    constants: FaceConstants,
    *,
    steps_per_epoch: float,
    num_steps: int,
    axis_name: str | None = None,
) -> Learner:
    """The learner of Eq. 12.

    Batches have `vertices` and `neutral` [batch, vertices, 3] in mm, `expression` [batch] int32, `level`
    [batch], at evaluation `mask` [batch], and optionally `features`, the `PointFeatures` of each mesh, which
    are computed in the step where they are missing.

    The weights of Eq. 12 stand in the state, so that `jax.vmap` can train many settings in one program.

    Args:
      config: networks, weights, optimiser.
      constants: of the training set.
      steps_per_epoch: steps in which the training set is seen once.
      num_steps: length of the run, for schedules that end with it.
      axis_name: the device axis over which batch means are collective; None on one device.

    Returns:
      A `Learner`; its training metrics are of sampled codes, those of `evaluate` of posterior means.
    """
    model = _model(config, constants, axis_name=axis_name)
    # The tree of parameters is made outside any device axis.
    initial_model = _model(config, constants, axis_name=None)
    functions = face_functions(config, constants)
    optimiser = make_optimiser(config.optimiser, steps_per_epoch=steps_per_epoch, num_steps=num_steps)
    mean_face = jnp.asarray(constants.mean_face) / constants.scale
    identity_latents = config.model.identity_latents
    latents = identity_latents + config.model.expression_latents

    def features_of(batch: Batch) -> PointFeatures:
        features: Any = batch.get("features")
        if features is not None:
            return features
        return jax.vmap(functions.features)(batch["vertices"])

    def labels_of(batch: Batch) -> jax.Array | None:
        if not config.conditional:
            return None
        return jax.nn.one_hot(batch["expression"], constants.num_expressions) * batch["level"][:, None]

    def init(key: jax.Array, batch: Batch) -> IbVaeState:
        one = jax.tree.map(lambda x: x[:1], dict(batch))
        variables = initial_model.init(
            jax.random.fold_in(key, 0),
            one["vertices"] / constants.scale,
            features_of(one),
            jnp.zeros((1, latents)),
            labels_of(one),
        )
        params = variables["params"]
        return IbVaeState(
            params=params,
            batch_stats=variables.get("batch_stats", {}),
            opt_state=optimiser.init(params),
            weights=jax.tree.map(jnp.float32, config.weights),
            key=jax.random.fold_in(key, 1),
            step=jnp.int32(0),
        )

    def loss(params, state: IbVaeState, batch: Batch):
        points, neutral = batch["vertices"] / constants.scale, batch["neutral"] / constants.scale
        first = _first_of_batch(len(points), axis_name)
        step_key = jax.random.fold_in(state.key, state.step)
        keys = jax.vmap(lambda i: jax.random.fold_in(step_key, i))(first + jnp.arange(len(points)))
        noise = jax.vmap(lambda k: jax.random.normal(k, (latents,)))(keys)
        (posterior, z, offsets), updates = model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            points,
            features_of(batch),
            noise,
            labels_of(batch),
            train=True,
            mutable=["batch_stats"],
        )
        mean_id, mean_exp = jnp.split(posterior.mean, [identity_latents], axis=-1)
        logvar_id, logvar_exp = jnp.split(posterior.logvar, [identity_latents], axis=-1)
        all_mean, all_logvar = mean_id, logvar_id
        if axis_name is not None:
            all_mean, all_logvar = (jax.lax.all_gather(x, axis_name, tiled=True) for x in (mean_id, logvar_id))
        exempt = batch["level"] <= 0.1 if config.exempt_neutral else None
        per_face, parts = ib_vae_loss(
            prediction=mean_face + offsets.full,
            target=points,
            neutral_prediction=mean_face + offsets.identity,
            neutral_target=neutral,
            identity_code=z[:, :identity_latents],
            identity_mean=mean_id,
            identity_logvar=logvar_id,
            expression_mean=mean_exp,
            expression_logvar=logvar_exp,
            dataset_size=constants.num_faces,
            weights=state.weights,
            lambda_2_factor=lambda_2_schedule(state.step / steps_per_epoch, config.decay_epochs, config.rise_epochs),
            reduction=config.reduction,
            scale=constants.scale,
            estimator=config.estimator,
            all_identity_mean=all_mean,
            all_identity_logvar=all_logvar,
            offset=first,
            neutral_mask=exempt,
        )
        information = parts["mutual_information"]
        counted = None if exempt is None else 1.0 - exempt
        offset = mutual_information_offset(constants.num_faces, estimator=config.estimator)
        metrics = {
            "loss": Average.of(per_face),
            "reconstruction_mm": Average.of(_distance(mean_face + offsets.full, points)),
            "neutral_mm": Average.of(_distance(mean_face + offsets.identity, neutral)),
            "kl_nats": Average.of(parts["kl"]),
            "mutual_information_nats": Average.of(information - offset, counted),
        }
        return per_face.mean(), (updates.get("batch_stats", {}), metrics)

    def step(state: IbVaeState, batch: Batch) -> tuple[IbVaeState, Metrics]:
        gradients, (batch_stats, metrics) = jax.grad(loss, has_aux=True)(state.params, state, batch)
        params, opt_state = apply_gradients(optimiser, gradients, state.opt_state, state.params, axis_name=axis_name)
        state = state.replace(params=params, batch_stats=batch_stats, opt_state=opt_state, step=state.step + 1)
        return state, metrics

    def evaluate(state: IbVaeState, batch: Batch) -> Metrics:
        labels = labels_of(batch)
        posterior = functions.encode(state, batch["vertices"], features_of(batch), labels)
        z_identity, z_expression = jnp.split(posterior.mean, [identity_latents], axis=-1)
        full, neutral = functions.decode(state, z_identity, z_expression, labels)
        mask = batch["mask"]
        return {
            "reconstruction_mm": Average.of(average_vertex_distance(full, batch["vertices"]), mask),
            "neutral_mm": Average.of(average_vertex_distance(neutral, batch["neutral"]), mask),
            "kl_nats": Average.of(gaussian_kl(*posterior), mask),
        }

    def _distance(prediction: jax.Array, target: jax.Array) -> jax.Array:
        return average_vertex_distance(prediction, target) * constants.scale

    return Learner(init, step, evaluate)


def _model(config: IbVaeConfig, constants: FaceConstants, *, axis_name: str | None) -> FaceVae:
    num_labels = constants.num_expressions if config.conditional else 0
    return FaceVae(config.model, len(constants.mean_face), num_labels, axis_name)


def _first_of_batch(size: int, axis_name: str | None) -> jax.Array | int:
    """Index of this device's first example in the whole batch of `size` examples a device."""
    if axis_name is None:
        return 0
    return jax.lax.axis_index(axis_name) * size
