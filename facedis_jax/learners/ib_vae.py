"""The information-bottlenecked VAE of Sun, Pears and Gu, which separates identity from expression, as a learner."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.geometry.batches import one_by_one_on_cpu
from facedis_jax.learners.face_functions import (
    FaceConstants,
    FaceFunctions,
    IbVaeConfig,
    IbVaeState,
    face_functions,
    face_vae,
    points_seen,
    triangles_of,
)
from facedis_jax.learners.learner import Batch, Learner, Metrics
from facedis_jax.learners.optimiser import apply_gradients, make_optimiser
from facedis_jax.learners.recombination import OwnWays, Recombined, Wearers, recombine
from facedis_jax.losses import (
    IbVaeCodes,
    IbVaeFaces,
    IbVaeLossOptions,
    WholeBatch,
    gaussian_kl,
    ib_vae_loss,
    lambda_2_schedule,
    mutual_information_offset,
)
from facedis_jax.losses.reconstruction import reconstruction_loss
from facedis_jax.metrics import Average, average_vertex_distance
from facedis_jax.models import PointFeatures, Posterior
from facedis_jax.models.face_vae import FACE_STEP
from facedis_jax.models.surfaces import draw_cloud


class LinearFaces(NamedTuple):
    """A linear model of faces, in mm.

    Attributes:
      neutral: [vertices, 3], the neutral face of the identity code 0.
      face: [vertices, 3], the face of the codes 0.
      basis: [latents, vertices, 3], what a code of 1 adds, identity first.

    Example:
      >>> linear = LinearFaces(np.zeros([36, 3]), np.zeros([36, 3]), np.ones([2, 36, 3]))
      >>> float((linear.face + np.tensordot([0.5, 1.0], linear.basis, 1)).max())
      1.5
    """

    neutral: np.ndarray
    face: np.ndarray
    basis: np.ndarray


class FaceStart(NamedTuple):
    """What a learner needs in training alone, beside its constants.

    Attributes:
      neutrals: [subjects, vertices, 3], mm, of the people in the training set, who are recombined.
      linear: the linear model as which both decoders begin.
      ways: of the same people, where they wear offsets in their own way.

    Example:
      >>> FaceStart().neutrals is None  # the paper's learner needs nothing
      True
      >>> FaceStart(neutrals=np.zeros([12, 36, 3])).neutrals.shape
      (12, 36, 3)
    """

    neutrals: np.ndarray | None = None
    linear: LinearFaces | None = None
    ways: OwnWays | None = None


_NO_START = FaceStart()


def ib_vae_learner(
    config: IbVaeConfig,
    constants: FaceConstants,
    start: FaceStart = _NO_START,
    *,
    steps_per_epoch: float,
    num_steps: int,
    axis_name: str | None = None,
) -> Learner:
    """The learner of Eq. 12 of the information-bottlenecked VAE.

    Batches have `vertices` and `neutral` [batch, vertices, 3] in mm, `expression` [batch] int32, `level`
    [batch], at evaluation `mask` [batch], and optionally `features`, the `PointFeatures` of each mesh, which
    are computed in the step where they are missing.

    The weights of Eq. 12 stand in the state, so that `jax.vmap` can train many settings in one program.

    Args:
      config: networks, weights, optimiser.
      constants: of the training set.
      start: what is needed where people are recombined, or the model begins as a linear one.
      steps_per_epoch: steps in which the training set is seen once.
      num_steps: length of the run, for schedules that end with it.
      axis_name: the device axis over which batch means are collective; None on one device.

    Returns:
      A `Learner`; its training metrics are of sampled codes, those of `evaluate` of posterior means.

    Example:
      >>> from facedis_jax.inference.example import example_face_model
      >>> model = example_face_model()
      >>> learner = ib_vae_learner(model.config, model.trained.constants, steps_per_epoch=5, num_steps=10)
      >>> faces = model.trained.neutrals
      >>> batch = {"vertices": faces, "neutral": faces, "expression": jnp.zeros(4, int), "level": jnp.zeros(4)}
      >>> state = jax.eval_shape(learner.init, jax.random.key(0), batch)
      >>> state, metrics = jax.eval_shape(learner.step, state, batch)
      >>> [name for name in sorted(metrics) if name.endswith("_mm")]
      ['neutral_mm', 'reconstruction_mm']
    """
    setup = _Setup(
        config,
        constants,
        start,
        face_functions(config, constants),
        jnp.asarray(constants.mean_face) / constants.scale,
        steps_per_epoch,
        axis_name,
    )
    optimiser = make_optimiser(config.optimiser, steps_per_epoch=steps_per_epoch, num_steps=num_steps)

    def init(key: jax.Array, batch: Batch) -> IbVaeState:
        variables = _initial_variables(setup, jax.random.fold_in(key, 0), batch)
        params = _linear_start(variables["params"], config, constants, start.linear)
        return IbVaeState(
            params=params,
            batch_stats=variables.get("batch_stats", {}),
            opt_state=optimiser.init(params),
            weights=jax.tree.map(jnp.float32, config.weights),
            key=jax.random.fold_in(key, 1),
            step=jnp.int32(0),
        )

    def step(state: IbVaeState, batch: Batch) -> tuple[IbVaeState, Metrics]:
        gradients, (batch_stats, metrics) = jax.grad(partial(_loss, setup), has_aux=True)(state.params, state, batch)
        params, opt_state = apply_gradients(optimiser, gradients, state.opt_state, state.params, axis_name=axis_name)
        state = state.replace(params=params, batch_stats=batch_stats, opt_state=opt_state, step=state.step + 1)
        return state, metrics

    def evaluate(state: IbVaeState, batch: Batch) -> Metrics:
        return _evaluation(setup, state, batch)

    return Learner(init, step, evaluate)


class _Setup(NamedTuple):
    """Values that are fixed for a run and shared by the learner's functions.

    Attributes:
      config, constants, start: the choices, the training set's constants, what training begins with.
      functions: encoding and decoding.
      mean_face: [vertices, 3], in the unit of the networks.
      steps_per_epoch, axis_name: as of `ib_vae_learner`.
    """

    config: IbVaeConfig
    constants: FaceConstants
    start: FaceStart
    functions: FaceFunctions
    mean_face: jax.Array
    steps_per_epoch: float
    axis_name: str | None

    @property
    def num_latents(self) -> int:
        return self.config.model.identity_latents + self.config.model.expression_latents


def _features(setup: _Setup, batch: Batch) -> PointFeatures:
    """The batch's own features, or those computed of its vertices."""
    features: Any = batch.get("features")
    if features is not None:
        return features
    return jax.vmap(setup.functions.features)(batch["vertices"])


def _labels(setup: _Setup, batch: Batch) -> jax.Array | None:
    """Labels [batch, expressions] of the conditional variant, one-hot times level; None of the plain one."""
    if not setup.config.conditional:
        return None
    return jax.nn.one_hot(batch["expression"], setup.constants.num_expressions) * batch["level"][:, None]


def _initial_variables(setup: _Setup, key: jax.Array, batch: Batch) -> Any:
    """Fresh parameters and batch statistics; made outside any device axis."""
    one = jax.tree.map(lambda x: x[:1], dict(batch))
    features = _features(setup, one)
    return face_vae(setup.config, setup.constants, axis_name=None).init(
        key,
        points_seen(one["vertices"] / setup.constants.scale, features),
        features,
        jnp.zeros((1, setup.num_latents)),
        _labels(setup, one),
    )


def _linear_start(params: Any, config: IbVaeConfig, constants: FaceConstants, linear: LinearFaces | None) -> Any:
    """The parameters with those of the decoders that make them the linear model, but for what is near zero."""
    if not config.model.linear or linear is None:
        return params
    unit = constants.scale * FACE_STEP
    kernel = jnp.asarray(linear.basis.reshape(len(linear.basis), -1) / unit, jnp.float32)

    def started(decoder: Any, kernel: jax.Array, mean: np.ndarray) -> Any:
        # Labels, whose rows come last, add nothing yet.
        kernel = jnp.pad(kernel, ((0, len(decoder["linear"]["kernel"]) - len(kernel)), (0, 0)))
        bias = jnp.asarray((mean - constants.mean_face).reshape(-1) / unit, jnp.float32)
        return decoder | {"linear": {"kernel": kernel}, "Dense_1": decoder["Dense_1"] | {"bias": bias}}

    begun = {"full_decoder": started(params["full_decoder"], kernel, linear.face)}
    if config.model.linear_identity:
        of_identity = kernel[: config.model.identity_latents]
        begun["identity_decoder"] = started(params["identity_decoder"], of_identity, linear.neutral)
    return params | begun


def _loss(setup: _Setup, params: Any, state: IbVaeState, batch: Batch) -> tuple[jax.Array, tuple[Any, Metrics]]:
    """Eq. 12 of this device's batch; batch statistics and metrics beside it."""
    config, constants = setup.config, setup.constants
    size = len(batch["vertices"])
    first = _first_of_batch(size, setup.axis_name)
    seen = _recombined(setup, state, batch, first)
    points, neutral = seen.vertices / constants.scale, seen.neutral / constants.scale
    features = _training_features(setup, state, batch, seen.vertices, first)
    level = batch["level"][seen.offset_from]
    labels = _labels(setup, {"expression": batch["expression"][seen.offset_from], "level": level})
    (posterior, z, offsets), updates = face_vae(config, constants, axis_name=setup.axis_name).apply(
        {"params": params, "batch_stats": state.batch_stats},
        points_seen(points, features),
        features,
        _noise(setup, state, first, size),
        labels,
        exchange=(seen.identity_from, seen.expression_from) if config.recombination.used else None,
        train=True,
        mutable=["batch_stats"],
    )
    faces = IbVaeFaces(setup.mean_face + offsets.full, points, setup.mean_face + offsets.identity, neutral)
    codes = _codes(posterior, z, config.model.identity_latents)
    exempt = level <= 0.1 if config.exempt_neutral else None
    per_face, parts = ib_vae_loss(
        faces,
        codes,
        state.weights,
        IbVaeLossOptions(constants.num_faces, config.reduction, constants.scale, config.estimator),
        lambda_2_factor=lambda_2_schedule(state.step / setup.steps_per_epoch, config.decay_epochs, config.rise_epochs),
        whole_batch=_whole_batch(codes, first, setup.axis_name),
        neutral_mask=exempt,
    )
    counted = None if exempt is None else 1.0 - exempt
    information = parts["mutual_information"] - mutual_information_offset(
        constants.num_faces, estimator=config.estimator
    )
    full_mm, neutral_mm = (
        average_vertex_distance(prediction, target) * constants.scale for prediction, target in (faces[:2], faces[2:])
    )
    if config.recombination.same_person:
        difference = _between_faces(setup, params, state, posterior, labels, seen.same_person)
        weight = state.weights.lambda_1 * state.weights.beta_id * config.recombination.same_person
        per_face = per_face + weight * difference
    metrics = {
        "loss": Average.of(per_face),
        "reconstruction_mm": Average.of(full_mm),
        "neutral_mm": Average.of(neutral_mm),
        "kl_nats": Average.of(parts["kl"]),
        "mutual_information_nats": Average.of(information, counted),
    }
    return per_face.mean(), (updates.get("batch_stats", {}), metrics)


def _between_faces(
    setup: _Setup, params: Any, state: IbVaeState, posterior: Posterior, labels: jax.Array | None, other: jax.Array
) -> jax.Array:
    """Squared difference [batch] of the neutrals predicted from each face and from another one of the same person."""
    codes = jnp.split(posterior.mean, [setup.config.model.identity_latents], axis=-1)
    variables = {"params": params, "batch_stats": state.batch_stats}
    model = face_vae(setup.config, setup.constants, axis_name=setup.axis_name)
    offsets: Any = model.apply(variables, *codes, labels, method="decode")
    reduction, scale = setup.config.reduction, setup.constants.scale
    return reconstruction_loss(offsets.identity, offsets.identity[other], reduction=reduction, scale=scale)


def _keys(state: IbVaeState, purpose: int, places: jax.Array) -> jax.Array:
    """Keys of this step for places in the whole batch."""
    # The noise of the codes uses the step's key itself, as before there was anything else to draw.
    key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), purpose)
    return jax.vmap(lambda place: jax.random.fold_in(key, place))(places)


def _recombined(setup: _Setup, state: IbVaeState, batch: Batch, first: jax.Array | int) -> Recombined:
    """The batch with its recombined faces; as it is where there are none."""
    place = jnp.arange(len(batch["vertices"]))
    config = setup.config.recombination
    if not config.used:
        return Recombined(batch["vertices"], batch["neutral"], place, place, place, place)
    if setup.start.neutrals is None:
        raise ValueError("people are recombined from the neutrals of the training set")
    wearers = None
    if setup.start.ways is not None:
        wearers = Wearers(batch["subject"], batch["expression"], batch["level"], setup.start.ways)
    return recombine(
        _keys(state, _FACES, first + place),
        _keys(state, _GROUPS, first + place // 4 * 4),
        batch["vertices"],
        batch["neutral"],
        batch["subject"],
        jnp.asarray(setup.start.neutrals),
        config,
        wearers,
    )


# What is drawn in a step beside the noise of the codes, which has the keys of the places in the batch themselves.
_FACES, _GROUPS, _CLOUDS = range(1 << 30, (1 << 30) + 3)


def _training_features(
    setup: _Setup, state: IbVaeState, batch: Batch, vertices: jax.Array, first: jax.Array | int
) -> PointFeatures:
    """Features of the faces that are learned from, or of clouds that are drawn anew from their surfaces."""
    clouds = setup.constants.clouds
    if not clouds.points:
        is_as_read = not setup.config.recombination.share
        return _features(setup, batch if is_as_read else {"vertices": vertices})
    triangles = triangles_of(setup.constants)

    def seen(key: jax.Array, face: jax.Array) -> PointFeatures:
        return setup.functions.features_of_cloud(draw_cloud(key, face, triangles, clouds), face)

    return one_by_one_on_cpu(seen)(_keys(state, _CLOUDS, first + jnp.arange(len(vertices))), vertices)


def _noise(setup: _Setup, state: IbVaeState, first: jax.Array | int, size: int) -> jax.Array:
    """The noise of the sampled codes, [batch, latents], by the step and the place in the whole batch."""
    step_key = jax.random.fold_in(state.key, state.step)
    keys = jax.vmap(lambda i: jax.random.fold_in(step_key, i))(first + jnp.arange(size))
    return jax.vmap(lambda k: jax.random.normal(k, (setup.num_latents,)))(keys)


def _codes(posterior: Posterior, z: jax.Array, identity_latents: int) -> IbVaeCodes:
    """The posterior and its sample, split into identity and expression."""
    mean_id, mean_exp = jnp.split(posterior.mean, [identity_latents], axis=-1)
    logvar_id, logvar_exp = jnp.split(posterior.logvar, [identity_latents], axis=-1)
    return IbVaeCodes(z[:, :identity_latents], mean_id, logvar_id, mean_exp, logvar_exp)


def _whole_batch(codes: IbVaeCodes, first: jax.Array | int, axis_name: str | None) -> WholeBatch | None:
    """Identity posteriors gathered from all devices; None on one device."""
    if axis_name is None:
        return None
    mean, logvar = (jax.lax.all_gather(x, axis_name, tiled=True) for x in (codes.identity_mean, codes.identity_logvar))
    return WholeBatch(mean, logvar, first)


def _first_of_batch(size: int, axis_name: str | None) -> jax.Array | int:
    """Index of this device's first example in the whole batch of `size` examples a device."""
    if axis_name is None:
        return 0
    return jax.lax.axis_index(axis_name) * size


def _evaluation(setup: _Setup, state: IbVaeState, batch: Batch) -> Metrics:
    """Metrics of faces that are decoded from posterior means."""
    labels = _labels(setup, batch)
    posterior = setup.functions.encode(state, batch["vertices"], _features(setup, batch), labels)
    z_identity, z_expression = jnp.split(posterior.mean, [setup.config.model.identity_latents], axis=-1)
    full, neutral = setup.functions.decode(state, z_identity, z_expression, labels)
    mask = batch["mask"]
    return {
        "reconstruction_mm": Average.of(average_vertex_distance(full, batch["vertices"]), mask),
        "neutral_mm": Average.of(average_vertex_distance(neutral, batch["neutral"]), mask),
        "kl_nats": Average.of(gaussian_kl(*posterior), mask),
    }
