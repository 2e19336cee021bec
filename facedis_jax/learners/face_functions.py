"""Encoding and decoding of faces, as pure functions of parameters, independent of how these were learned."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from facedis_jax.errors import InputError, check_least
from facedis_jax.geometry import spread_over_surface
from facedis_jax.learners.optimiser import OptimiserConfig
from facedis_jax.learners.recombination import RecombinationConfig
from facedis_jax.losses import (
    IbVaeWeights,
)
from facedis_jax.losses.information import Estimator
from facedis_jax.losses.reconstruction import Reduction
from facedis_jax.models import FaceVae, FaceVaeConfig, Grouping, PointFeatures, Posterior, point_features
from facedis_jax.models.surface_fit import LinearSurface, codes_of, face_of, fit_surface
from facedis_jax.models.surfaces import Cloud, CloudConfig


@dataclass(frozen=True)
class IbVaeConfig:
    """Networks, loss and optimiser; the defaults are those of section 3.5 of the information-bottlenecked VAE.

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


@dataclass(frozen=True)
class FaceConstants:
    """Constants of a training set that its learner needs.

    Attributes:
      mean_face: [vertices, 3], mm; the networks predict offsets from it.
      scale: mm per unit of the networks.
      num_faces: size of the training set, N of Eq. 11 of the information-bottlenecked VAE.
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
    model = face_vae(config, constants, axis_name=None)
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
        points = spread_over_surface(vertices, triangles_of(constants), count)
        # The vertices tell nearly where the fit ends.
        return features_of_cloud(Cloud(points, jnp.ones(count, points.dtype)), vertices)

    def encode(state, vertices, features, labels):
        points = points_seen(vertices / constants.scale, features)
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


_PRECISE = jax.lax.Precision.HIGHEST


def _linear(moments: jax.Array, kernel: jax.Array | np.ndarray) -> jax.Array:
    """The product of moments [moments] and 1 with a kernel [moments + 1, codes]."""
    return jnp.matmul(moments, jnp.asarray(kernel[:-1]), precision=_PRECISE) + kernel[-1]


def points_seen(vertices: jax.Array, features: PointFeatures) -> jax.Array:
    """What the encoder's groups are of: points of their own, or the vertices."""
    return vertices if features.points is None else features.points


def triangles_of(constants: FaceConstants) -> jax.Array:
    """The triangles of the training set's faces.

    Raises:
      ValueError: none are known.
    """
    if constants.triangles is None:
        raise ValueError("clouds and surfaces need the triangles of the faces")
    return jnp.asarray(constants.triangles)


def face_vae(config: IbVaeConfig, constants: FaceConstants, *, axis_name: str | None) -> FaceVae:
    """The networks, for the vertices and labels of a training set."""
    num_labels = constants.num_expressions if config.conditional else 0
    return FaceVae(config.model, len(constants.mean_face), num_labels, axis_name)
