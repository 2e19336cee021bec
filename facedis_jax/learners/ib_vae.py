"""The information-bottlenecked VAE of Sun, Pears and Gu, which separates identity from expression, as a learner."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from facedis_jax.errors import InputError, check_least
from facedis_jax.geometry import spread_over_surface
from facedis_jax.geometry.batches import one_by_one_on_cpu
from facedis_jax.learners.learner import Batch, Learner, Metrics
from facedis_jax.learners.optimiser import OptimiserConfig, apply_gradients, make_optimiser
from facedis_jax.learners.recombination import OwnWays, RecombinationConfig, Recombined, Wearers, recombine
from facedis_jax.losses import (
    IbVaeCodes,
    IbVaeFaces,
    IbVaeLossOptions,
    IbVaeWeights,
    WholeBatch,
    gaussian_kl,
    ib_vae_loss,
    lambda_2_schedule,
    mutual_information_offset,
)
from facedis_jax.losses.information import Estimator
from facedis_jax.losses.reconstruction import Reduction, reconstruction_loss
from facedis_jax.metrics import Average, average_vertex_distance
from facedis_jax.models import FaceVae, FaceVaeConfig, Grouping, PointFeatures, Posterior, point_features
from facedis_jax.models.face_vae import FACE_STEP
from facedis_jax.models.surface_fit import LinearSurface, codes_of, face_of, fit_surface
from facedis_jax.models.surfaces import Cloud, CloudConfig, draw_cloud


@dataclass(frozen=True)
class IbVaeConfig:
    """Networks, loss and optimiser; the defaults are the paper's (section 3.5).

    Attributes:
      model: sizes of the networks.
      weights: of Eq. 12.
      decay_epochs: epochs over which lambda_2 falls linearly to 0.
      rise_epochs: epochs at the start over which lambda_2 rises from 0, see `losses.lambda_2_schedule`; 0 as in the
        paper.
      reduction: of the squared errors, see `losses.reconstruction_loss`.
      estimator: of the mutual information, see `losses.mutual_information`.
      exempt_neutral: exempt faces of a level of at most 0.1 from the mutual information, as the fragment of code that
        the authors published.
      conditional: give labels to encoder and decoder (section 3.2.4).
      recombination: of people and of codes in training; by default none, as in the paper.
      optimiser: Adam's settings.

    Raises:
      InputError: for negative `rise_epochs`, or `decay_epochs` that are not positive.

    Example:
      >>> config = IbVaeConfig()
      >>> config.weights.beta_id, config.weights.beta_mi, config.decay_epochs
      (10.0, 50.0, 350.0)
      >>> IbVaeConfig(weights=IbVaeWeights(beta_id=1.0, beta_mi=0.0)).weights.beta_mi  # without the bottleneck
      0.0
    """

    model: FaceVaeConfig = field(default_factory=FaceVaeConfig)
    weights: IbVaeWeights = field(default_factory=IbVaeWeights)
    decay_epochs: float = 350.0
    rise_epochs: float = 0.0
    reduction: Reduction = "sum"
    estimator: Estimator = "mws"
    exempt_neutral: bool = False
    conditional: bool = False
    recombination: RecombinationConfig = field(default_factory=RecombinationConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    def __post_init__(self) -> None:
        check_least(self, rise_epochs=0)
        if not self.decay_epochs > 0:
            raise InputError("decay_epochs", "more than 0", str(self.decay_epochs))


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


@dataclass(frozen=True)
class FaceConstants:
    """Constants of a training set that its learner needs.

    Attributes:
      mean_face: [vertices, 3], mm; the networks predict offsets from it.
      scale: mm per unit of the networks.
      num_faces: size of the training set, N of Eq. 11.
      num_expressions: length of the conditional variant's labels.
      moment_mean: [moments], mean of the training clouds' moments.
      moment_deviation: what all moments are divided by: one number, since scaling each to unit variance would raise
        moments of mere noise to the level of the others.
      triangles: [triangles, 3]; needed where clouds are drawn or the encoder sees surfaces.
      clouds: that are drawn from the training faces.
      surface_mean, surface_basis, surface_places, surface_near: the parts of the `LinearSurface` that is fitted to
        points, where the encoder sees surfaces.
      estimate: the kernel [moments + 1, latents] of a linear estimate of the codes; needed where the model begins as a
        linear one.

    Example:
      >>> mean_face = np.zeros([36, 3], np.float32)
      >>> constants = FaceConstants(
      ...     mean_face, scale=260.0, num_faces=8, num_expressions=2, moment_mean=np.zeros(0), moment_deviation=1.0
      ... )
      >>> constants.mean_face.shape, constants.surface_mean is None
      ((36, 3), True)
    """

    mean_face: np.ndarray
    scale: float
    num_faces: int
    num_expressions: int
    moment_mean: np.ndarray
    moment_deviation: float
    triangles: np.ndarray | None = None
    clouds: CloudConfig = field(default_factory=CloudConfig)
    surface_mean: np.ndarray | None = None
    surface_basis: np.ndarray | None = None
    surface_places: np.ndarray | None = None
    surface_near: np.ndarray | None = None
    estimate: np.ndarray | None = None

    @property
    def surface(self) -> LinearSurface | None:
        """The linear model that is fitted to points; None for an encoder of the points themselves."""
        parts = (self.surface_mean, self.surface_basis, self.triangles, self.surface_places, self.surface_near)
        known = [part for part in parts if part is not None]
        return LinearSurface(*known) if len(known) == len(parts) else None


class IbVaeState(struct.PyTreeNode):
    """Everything that a run of the learner carries from step to step.

    Example:
      >>> state = IbVaeState({}, {}, {}, IbVaeWeights(beta_mi=500.0), jax.random.key(0), jnp.int32(0))
      >>> state.replace(step=state.step + 1).weights.beta_mi
      500.0
    """

    params: Any
    batch_stats: Any
    opt_state: Any
    weights: IbVaeWeights
    key: jax.Array
    step: jax.Array


POINTS_OF_MESH = 4096
"""Points that are spread over a mesh for an encoder that sees its surface; twice as many change a code by less than its
noise."""
# Of a fit that begins at the face of registered vertices. More would drift along the surface, as from anywhere else.
_STEPS_FROM_A_FACE = 1


class FaceFunctions(NamedTuple):
    """A trained model as pure functions of batches of faces in mm.

    Attributes:
      features: vertices [vertices, 3] -> `PointFeatures` of one mesh, which depend on it alone.
      features_of_cloud: (`Cloud`, face) -> those of any points on a face's surface. Where a face that is nearly the
        same is given, [vertices, 3] mm, the fit takes one step from it.
      encode: (state, vertices, features, labels) -> `Posterior` of the codes, identity latents first.
      decode: (state, z_identity, z_expression, labels) -> full and neutral faces.
      face: (state, z_identity, z_expression, labels) -> full faces, as `decode`, but differentiable in z_identity too.

    Example:
      >>> from facedis_jax.inference.example import example_face_model
      >>> model = example_face_model()
      >>> functions = face_functions(model.config, model.trained.constants)
      >>> def encode(faces):
      ...     return functions.encode(model.params, faces, jax.vmap(functions.features)(faces), None)
      >>> jax.eval_shape(encode, model.trained.neutrals).mean.shape
      (4, 5)
    """

    features: Callable[[jax.Array], PointFeatures]
    features_of_cloud: Callable[..., PointFeatures]  # the face may be left out
    encode: Callable[[IbVaeState, jax.Array, PointFeatures, jax.Array | None], Posterior]
    decode: Callable[[IbVaeState, jax.Array, jax.Array, jax.Array | None], tuple[jax.Array, jax.Array]]
    face: Callable[[IbVaeState, jax.Array, jax.Array, jax.Array | None], jax.Array]


def face_functions(config: IbVaeConfig, constants: FaceConstants) -> FaceFunctions:
    """Encoding and decoding with the parameters in a state, independent of how they were learned.

    Example:
      >>> from facedis_jax.inference.example import example_face_model
      >>> model = example_face_model()
      >>> functions = face_functions(model.config, model.trained.constants)
      >>> codes = jnp.zeros([1, 3]), jnp.zeros([1, 2])
      >>> full, neutral = jax.eval_shape(lambda z_id, z_exp: functions.decode(model.params, z_id, z_exp, None), *codes)
      >>> full.shape, neutral.shape
      ((1, 36, 3), (1, 36, 3))
    """
    model = _model(config, constants, axis_name=None)
    mean_face = jnp.asarray(constants.mean_face)

    def variables(state: IbVaeState) -> dict[str, Any]:
        return {"params": state.params, "batch_stats": state.batch_stats}

    surface, groups = _surface(config, constants), config.model.encoder.features

    def features_of_cloud(cloud: Cloud, face: jax.Array | None = None) -> PointFeatures:
        if surface is None:
            points = jnp.asarray(cloud.points) / constants.scale
            return finished(point_features(points, groups)._replace(points=points))
        if face is None:
            fit = fit_surface(cloud, surface, steps=config.model.surface.steps)
        else:
            fit = fit_surface(cloud, surface, codes_of(face, surface), steps=_STEPS_FROM_A_FACE)
        points = face_of(fit.codes, surface)[surface.triangles[surface.places, 0]] / constants.scale
        grouping = point_features(points, replace(groups, harmonics=0)).grouping
        return finished(PointFeatures(grouping, fit.codes, points))

    def finished(raw: PointFeatures) -> PointFeatures:
        moments = (raw.moments - constants.moment_mean) / constants.moment_deviation
        codes = None
        if config.model.linear and constants.estimate is not None:
            codes = _linear(moments, constants.estimate)
        return raw._replace(moments=moments, codes=codes)

    def features(vertices: jax.Array) -> PointFeatures:
        if surface is None and not constants.clouds.points:
            return finished(point_features(vertices / constants.scale, groups))
        count = POINTS_OF_MESH if surface is not None else constants.clouds.points
        points = spread_over_surface(vertices, _triangles(constants), count)
        # The vertices tell nearly where the fit ends.
        return features_of_cloud(Cloud(points, jnp.ones(count, points.dtype)), vertices)

    def encode(state, vertices, features, labels):
        points = _points(vertices / constants.scale, features)
        return model.apply(variables(state), points, features, labels, method="encode")

    def decode(state, z_identity, z_expression, labels):
        offsets: Any = model.apply(variables(state), z_identity, z_expression, labels, method="decode")
        return mean_face + offsets.full * constants.scale, mean_face + offsets.identity * constants.scale

    def face(state, z_identity, z_expression, labels):
        codes = (z_identity, z_expression, labels)
        offsets: Any = model.apply(variables(state), *codes, attached=True, method="decode_full")
        return mean_face + offsets * constants.scale

    return FaceFunctions(features, features_of_cloud, encode, decode, face)


def _surface(config: IbVaeConfig, constants: FaceConstants) -> LinearSurface | None:
    """What is fitted to points; None for an encoder of the points themselves."""
    if not config.model.surface.anchors:
        return None
    if constants.surface is None:
        raise ValueError("an encoder that sees surfaces needs a linear model of them")
    return constants.surface


def feature_shapes(config: IbVaeConfig, constants: FaceConstants) -> PointFeatures:
    """Shapes and types of what `FaceFunctions.features` returns, without tracing it.

    Raises:
      ValueError: the settings ask for more groups than there are points, or the constants are of other features.

    Example:
      >>> from facedis_jax.inference.example import example_face_model
      >>> model = example_face_model()
      >>> feature_shapes(model.config, model.trained.constants).grouping.neighbours.shape
      (8, 3)
    """
    groups = config.model.encoder.features
    (fine, coarse), near = groups.centres, groups.neighbours
    fitted = _surface(config, constants)
    number = constants.clouds.points or len(constants.mean_face)
    if fitted is not None:
        number = len(fitted.places)
    if not (1 <= coarse <= fine <= number and 1 <= near <= fine):
        raise ValueError(f"groups of {near} around {fine} and {coarse} of {number} points")
    moments = (2 * groups.harmonics + 1) ** 3 - 1
    if fitted is not None:
        moments = len(fitted.basis)
    if constants.moment_mean.shape != (moments,):
        raise ValueError(f"moments {list(constants.moment_mean.shape)} where there are {moments}")
    if constants.clouds.points and constants.triangles is None:
        raise ValueError("clouds need the triangles of the faces")
    shape: Any = jax.ShapeDtypeStruct
    sizes = ((fine,), (fine, near), (coarse,), (coarse, near))
    return PointFeatures(
        Grouping(*(shape(size, jnp.int32) for size in sizes)),
        shape((moments,), jnp.float32),
        shape((number, 3), jnp.float32) if fitted is not None or constants.clouds.points else None,
        None
        if constants.estimate is None or not config.model.linear
        else shape((constants.estimate.shape[1],), jnp.float32),
    )


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
    """The learner of Eq. 12.

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


_PRECISE = jax.lax.Precision.HIGHEST


def _linear(moments: jax.Array, kernel: jax.Array | np.ndarray) -> jax.Array:
    """The product of moments [moments] and 1 with a kernel [moments + 1, codes]."""
    return jnp.matmul(moments, jnp.asarray(kernel[:-1]), precision=_PRECISE) + kernel[-1]


def _points(vertices: jax.Array, features: PointFeatures) -> jax.Array:
    """What the encoder's groups are of: points of their own, or the vertices."""
    return vertices if features.points is None else features.points


def _triangles(constants: FaceConstants) -> jax.Array:
    if constants.triangles is None:
        raise ValueError("clouds and surfaces need the triangles of the faces")
    return jnp.asarray(constants.triangles)


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
    return _model(setup.config, setup.constants, axis_name=None).init(
        key,
        _points(one["vertices"] / setup.constants.scale, features),
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
    (posterior, z, offsets), updates = _model(config, constants, axis_name=setup.axis_name).apply(
        {"params": params, "batch_stats": state.batch_stats},
        _points(points, features),
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
    model = _model(setup.config, setup.constants, axis_name=setup.axis_name)
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
    triangles = _triangles(setup.constants)

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


def _model(config: IbVaeConfig, constants: FaceConstants, *, axis_name: str | None) -> FaceVae:
    num_labels = constants.num_expressions if config.conditional else 0
    return FaceVae(config.model, len(constants.mean_face), num_labels, axis_name)
