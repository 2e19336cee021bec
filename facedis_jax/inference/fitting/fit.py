"""Faces of scans of any mesh: found, fitted, and measured against the scan."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial import cKDTree

from facedis_jax.errors import check_least
from facedis_jax.formats.meshes import UNITS
from facedis_jax.geometry import farthest_point_sample, rigid_registration, rotation_matrix, vertex_normals
from facedis_jax.inference.face_codes import Code, FaceCodes, FaceParams
from facedis_jax.inference.fitting.landmarks import named_vertices, read_landmarks
from facedis_jax.inference.fitting.placement import Placed, Pose, Table, find_places, table_of
from facedis_jax.inference.fitting.refinement import (
    Agreement,
    Estimate,
    Misfit,
    Prior,
    Surface,
    Template,
    agreement,
    refine,
    template_of,
)
from facedis_jax.inference.fitting.scans import Samples, Scan, draw_samples
from facedis_jax.inference.trained_faces import TrainedFaces
from facedis_jax.learners import IbVaeConfig, face_functions
from facedis_jax.models.surfaces import Cloud

Unit: TypeAlias = Literal["mm", "cm", "dm", "m"]

# Points of a face that are looked for in all poses.
_TABLE_POINTS = 128
# mm around the face in which the scan is drawn anew.
_AROUND = 30.0
# mm from the face within which a point of the scan counts as face.
_INSIDE = 8.0
# Places of one scan whose middles are so far apart, in mm, are of two faces.
_APART = 100.0
_ENCODED = 1024


@dataclass(frozen=True)
class FitConfig:
    """How a face is fitted.

    Attributes:
      coarse_points, points: drawn from the scan to find the face, and to fit it.
      places: where the face may lie that are looked at with the model's shapes.
      looking: most vertices of the model that look for the scan.
      steps: of Gauss-Newton at the end.
      misfit: how far the scan may lie from the model.
      posterior_samples: of the codes, for the standard deviation of each vertex; 0 for none.
      seed: of the points that are drawn.

    Raises:
      InputError: for numbers that are too small.
    """

    coarse_points: int = 1024
    points: int = 3072
    places: int = 8
    looking: int = 2048
    steps: int = 8
    misfit: Misfit = field(default_factory=Misfit)
    posterior_samples: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        check_least(self, coarse_points=256, points=256, places=1, looking=64, steps=1, posterior_samples=0, seed=0)


@dataclass(frozen=True)
class Placement:
    """Where the model's face lies in a scan: `points @ rotation.T + translation`, in mm, over `scale`.

    Attributes:
      rotation: [3, 3].
      translation: [3] mm.
      scale: millimetres in the scan's unit.
    """

    rotation: np.ndarray
    translation: np.ndarray
    scale: float

    def to_scan(self, points: np.ndarray) -> np.ndarray:
        """Points [..., 3] in mm from the model's place, in the scan's place and unit."""
        return (points @ self.rotation.T + self.translation) / self.scale

    def to_model(self, points: np.ndarray) -> np.ndarray:
        """Points [..., 3] from the scan's place and unit, in mm in the model's place."""
        return (points * self.scale - self.translation) @ self.rotation


class Distances(NamedTuple):
    """Distances between a scan and the face that was fitted to it, in mm.

    Attributes:
      scan_to_face, face_to_scan: median; from the scan over points that count as face, from the face over what of it
        lies over the scan.
      scan_to_face_trimmed, face_to_scan_trimmed: mean of the nearest nine tenths of them.
      covered: share of the face that lies over the scan and within 5 mm of it.
    """

    scan_to_face: float
    face_to_scan: float
    scan_to_face_trimmed: float
    face_to_scan_trimmed: float
    covered: float


@dataclass(frozen=True)
class FaceFit:
    """A face that was fitted to a scan.

    Attributes:
      codes: its mean and deviation, of no batch: [latents].
      vertices: [vertices, 3] float64, the face in the model's topology, in the scan's place and unit.
      pose: from the model's place to the scan's.
      unit: of the scan, as it was named or found.
      distances: between scan and face, mm.
      inside: [points] which points of the scan count as face.
      is_bad: whether the fit is not to be trusted, for a `reason` in one line, empty where it is good.
      is_inside_out: whether the scan's triangles face inwards.
      std_mm: [vertices] standard deviation along each axis, where samples of the posterior were asked for.
    """

    codes: FaceCodes
    vertices: np.ndarray
    pose: Placement
    unit: str
    distances: Distances
    inside: np.ndarray
    is_bad: bool
    reason: str
    is_inside_out: bool = False
    std_mm: np.ndarray | None = None


class _Constants(NamedTuple):
    """Of a model, for all scans: a pytree."""

    params: FaceParams
    mean: jax.Array
    basis: jax.Array
    prior: Prior
    coarse: Template
    fine: Template
    table: Table


Encode: TypeAlias = Callable[[FaceParams, Cloud, jax.Array], jax.Array]


@dataclass(frozen=True, eq=False)
class Fitter:
    """Fits a model of faces to scans.

    Attributes:
      constants: of the model.
      face: (params, codes) -> vertices, codes being identity, expression and labels.
      encode: (params, cloud, codes) -> codes by the encoder; None for a model that reads no clouds.
      sizes: lengths of the identity, of the expression, and of the labels.
      landmarks: named vertices.
      mean_face: [vertices, 3] mm.
    """

    constants: _Constants
    face: Callable[[FaceParams, jax.Array], jax.Array]
    encode: Encode | None
    sizes: tuple[int, int, int]
    landmarks: Mapping[str, int]
    mean_face: np.ndarray
    compiled: Mapping[str, Callable[..., Any]]

    @classmethod
    def of(cls, config: IbVaeConfig, params: FaceParams, trained: TrainedFaces, looking: int = 2048) -> "Fitter":
        """The fitter of a trained model."""
        functions: Any = face_functions(config, trained.constants)
        identity, expression = config.model.identity_latents, config.model.expression_latents
        labels = len(trained.expressions) if config.conditional else 0
        mean_face = np.asarray(trained.constants.mean_face, np.float32)
        triangles = np.asarray(trained.triangles)

        def split(codes: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array | None]:
            parts = jnp.split(codes, [identity, identity + expression], axis=-1)
            return parts[0], parts[1], parts[2] if labels else None

        def face(params: FaceParams, codes: jax.Array) -> jax.Array:
            return functions.face(params, *split(codes))

        def encode(params: FaceParams, cloud: Cloud, codes: jax.Array) -> jax.Array:
            rows = codes[None, identity + expression :] if labels else None
            features = jax.tree.map(lambda x: x[None], functions.features_of_cloud(cloud))
            found = functions.encode(params, jnp.asarray(cloud.points)[None], features, rows).mean[0]
            return jnp.concatenate([found, codes[identity + expression :]])

        shown = np.eye(len(trained.expressions))[trained.expression] * trained.level[:, None]
        codes = np.concatenate([trained.codes, shown[:, :labels]], axis=1)
        cloud_encoder = encode if config.model.surface.anchors else None
        sizes = (identity, expression, labels)
        return cls.of_face(face, params, codes, sizes, mean_face, triangles, encode=cloud_encoder, looking=looking)

    @classmethod
    def of_face(
        cls,
        face: Callable[[Any, jax.Array], jax.Array],
        params: Any,
        codes: np.ndarray,
        sizes: tuple[int, int, int],
        mean_face: np.ndarray,
        triangles: np.ndarray,
        *,
        encode: Encode | None = None,
        looking: int = 2048,
    ) -> "Fitter":
        """The fitter of any function that makes faces.

        Args:
          face: (params, codes [codes]) -> vertices [vertices, 3], mm, differentiable.
          params: its parameters, a pytree of arrays.
          codes: [faces, codes], as which codes are distributed.
          sizes: lengths of the identity, of the expression, and of the labels.
          mean_face: [vertices, 3] mm, y up, looking along +z.
          triangles: [triangles, 3].
          encode: (params, cloud, codes) -> codes, by which to begin.
          looking: most vertices of the model that look for the scan.
        """
        mean_face, triangles = np.asarray(mean_face, np.float32), np.asarray(triangles)
        prior = _prior(codes)
        mean = jnp.asarray(prior.mean)
        basis = jax.jit(jax.jacfwd(partial(face, params)))(mean)
        fine, coarse = (template_of(mean_face, triangles, min(looking, most)) for most in (looking, 512))
        chosen = np.asarray(
            farthest_point_sample(jnp.asarray(mean_face[fine.looking]), min(_TABLE_POINTS, len(fine.looking)))
        )
        normals = vertex_normals(jnp.asarray(mean_face), jnp.asarray(triangles), jnp.asarray(fine.rings))
        spots = fine.looking[chosen]
        table = jax.jit(table_of)(jnp.asarray(mean_face[spots]), normals[spots])
        constants = _Constants(params, face(params, mean), basis, prior, coarse, fine, table)
        compiled = {
            "find": jax.jit(_find, static_argnames="count"),
            "compare": jax.jit(_compare, static_argnames="misfit"),
            "finish": jax.jit(
                partial(_finish, face, encode),
                static_argnames=("misfit", "steps"),
            ),
        }
        names = named_vertices(mean_face, triangles)
        return cls(constants, face, encode, sizes, names, mean_face, compiled)

    def fit(
        self,
        scan: Scan,
        unit: str | None,
        landmarks: Mapping[str, Sequence[float]] | None,
        config: FitConfig,
        key: jax.Array | None,
    ) -> FaceFit:
        """See `TrainedFaceModel.fit`."""
        units = scan.units(unit)
        places = None
        if landmarks is not None:
            places = read_landmarks(landmarks, self.landmarks, len(self.mean_face))
            units = [self._unit_of(places, units)]
        tried = []
        for each in units:
            found = self._fit_in(scan, each, places, config)
            tried.append(found)
            if not found.is_bad:
                break
        best = next((found for found in tried if not found.is_bad), None)
        if best is None:
            best = max(tried, key=lambda found: found.distances.covered)
        self._refuse(scan, best, unit is None and len(units) > 1)
        return best

    def _unit_of(self, places: tuple[np.ndarray, np.ndarray], units: Sequence[str]) -> str:
        own, given = (np.linalg.norm(x - x.mean(0)) for x in (self.mean_face[places[0]], places[1]))
        return min(units, key=lambda unit: abs(np.log(given * UNITS[unit] / own)))

    def _fit_in(
        self, scan: Scan, unit: str, places: tuple[np.ndarray, np.ndarray] | None, config: FitConfig
    ) -> FaceFit:
        scale = UNITS[unit]
        drawn = draw_samples(scan, scale, config.coarse_points, seed=config.seed)
        centre = drawn.points.mean(0, dtype=np.float64)
        if places is not None:
            centre = places[1].mean(0) * scale
            start = _poses_at(self.mean_face[places[0]], places[1] * scale - centre, config.places)
            near = float(np.linalg.norm(np.ptp(self.mean_face, axis=0))) / 2 + _AROUND
            drawn = draw_samples(scan, scale, config.coarse_points, centre=centre, radius=near, seed=config.seed)
            surface = _surface(drawn, centre)
        else:
            surface = _surface(drawn, centre)
            start = self.compiled["find"](
                self.constants.table, surface.points, surface.normals, count=config.places
            ).pose
        estimates, agreements = self.compiled["compare"](self.constants, surface, start, misfit=config.misfit)
        estimates, agreements = jax.device_get((estimates, agreements))
        best = int(np.argmax(agreements.score))
        second = self._second_face(estimates, agreements, best) if places is None else False
        estimate = jax.tree.map(lambda x: x[best], estimates)
        face = np.asarray(estimate.pose.to_scan(self.constants.mean))
        middle = (face.min(0) + face.max(0)) / 2
        radius = float(np.linalg.norm(face - middle, axis=1).max()) + _AROUND
        drawn = draw_samples(scan, scale, config.points, centre=centre + middle, radius=radius, seed=config.seed)
        surface = _surface(drawn, centre)
        result = self.compiled["finish"](self.constants, surface, estimate, misfit=config.misfit, steps=config.steps)
        estimate, vertices, agreed = jax.device_get(result)
        return self._result(scan, unit, centre, estimate, vertices, agreed, second)

    def _second_face(self, estimates: Estimate, agreements: Agreement, best: int) -> bool:
        """Whether another place, apart from the best, holds as good a face."""
        centre = np.asarray(
            estimates.pose.to_scan(jnp.broadcast_to(self.constants.mean.mean(0), (len(agreements.score), 1, 3)))
        )[:, 0]
        apart = np.linalg.norm(centre - centre[best], axis=1) > _APART
        distance = np.array([_median(x) for x in agreements.face_to_scan])
        as_good = (agreements.covered > 0.8 * agreements.covered[best]) & (distance < 1.5 * distance[best] + 0.2)
        return bool((apart & as_good).any())

    def _result(
        self,
        scan: Scan,
        unit: str,
        centre: np.ndarray,
        estimate: Estimate,
        vertices: np.ndarray,
        agreed: Agreement,
        second: bool,
    ) -> FaceFit:
        identity, expression, labels = self.sizes
        codes = np.asarray(estimate.codes)
        pose = Placement(
            np.asarray(estimate.pose.rotation, np.float64),
            np.asarray(estimate.pose.translation, np.float64) + centre,
            UNITS[unit],
        )
        face = np.asarray(vertices, np.float64)
        near, found = cKDTree(face).query(pose.to_model(scan.points), distance_upper_bound=_INSIDE)
        inside = np.isfinite(near)
        inside[inside] = (np.asarray(self.constants.fine.border)[found[inside]] < 1) | (near[inside] < 2)
        of_scan = np.asarray(agreed.scan_to_face)[agreed.scan_to_face < _INSIDE]
        of_face = np.asarray(agreed.face_to_scan)[np.isfinite(agreed.face_to_scan)]
        distances = Distances(
            _median(of_scan), _median(of_face), _trimmed(of_scan), _trimmed(of_face), float(agreed.covered)
        )
        reason = _fault(distances, agreed, second)
        std = np.ones_like(codes)
        parts = np.split(codes, [identity, identity + expression])
        deviations = np.split(std, [identity, identity + expression])
        return FaceFit(
            codes=FaceCodes(Code(parts[0], deviations[0]), Code(parts[1], deviations[1]), parts[2] if labels else None),
            vertices=pose.to_scan(face),
            pose=pose,
            unit=unit,
            distances=distances,
            inside=inside,
            is_bad=bool(reason),
            reason=reason,
            is_inside_out=scan.triangles is not None and bool(agreed.same_side < -0.5),
        )

    def _refuse(self, scan: Scan, fit: FaceFit, guessed: bool) -> None:
        return


def _prior(codes: np.ndarray) -> Prior:
    """The normal distribution of codes [faces, codes]."""
    codes = codes.astype(np.float64)
    covariance = np.atleast_2d(np.cov(codes, rowvar=False)) if len(codes) > 1 else np.eye(codes.shape[1])
    # A few people do not span what people are.
    covariance = (
        0.95 * covariance
        + 0.05 * np.diag(np.diag(covariance))
        + 1e-4 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    )
    return Prior(codes.mean(0).astype(np.float32), np.linalg.inv(covariance).astype(np.float32))


def _surface(drawn: Samples, centre: np.ndarray) -> Surface:
    return Surface((drawn.points - centre).astype(np.float32), drawn.normals, np.float32(drawn.spacing))


def _poses_at(own: np.ndarray, given: np.ndarray, count: int) -> Pose:
    """Poses by landmarks, and some beside it."""
    rotation, translation = rigid_registration(jnp.asarray(own, jnp.float32), jnp.asarray(given, jnp.float32))
    middle = jnp.asarray(own, jnp.float32).mean(0)
    turns = 0.15 * np.random.default_rng(0).normal(size=(count, 3)) * (np.arange(count) > 0)[:, None]
    rotations = jnp.matmul(rotation, rotation_matrix(jnp.asarray(turns, jnp.float32)), precision="highest")
    moved = jnp.matmul(rotation, middle, precision="highest") - jnp.matmul(rotations, middle, precision="highest")
    return Pose(rotations, translation + moved)


def _find(face: Table, points: jax.Array, normals: jax.Array, *, count: int) -> Placed:
    return find_places(face, table_of(points, normals), count)


_COMPARE_SCALES = (12.0, 10.0, 8.0, 7.0, 6.0, 5.0, 5.0, 5.0)


def _compare(constants: _Constants, surface: Surface, starts: Pose, *, misfit: Misfit) -> tuple[Estimate, Agreement]:
    """Where a linear model leads from several poses, and how well each agrees with the scan."""
    mean, basis, prior = constants.mean, constants.basis, constants.prior

    def face(codes: jax.Array) -> jax.Array:
        return mean + jnp.matmul(basis, codes - prior.mean, precision=jax.lax.Precision.HIGHEST)

    def one(pose: Pose) -> tuple[Estimate, Agreement]:
        start = Estimate(jnp.asarray(prior.mean), pose)
        found = refine(face, constants.coarse, prior, surface, start, misfit, _COMPARE_SCALES)
        return found, agreement(face, constants.coarse, prior, surface, found)

    return jax.lax.map(one, starts)


def _finish(
    face_of: Callable[[FaceParams, jax.Array], jax.Array],
    encode: Encode | None,
    constants: _Constants,
    surface: Surface,
    estimate: Estimate,
    *,
    misfit: Misfit,
    steps: int,
) -> tuple[Estimate, jax.Array, Agreement]:
    face = partial(face_of, constants.params)
    prior, template = constants.prior, constants.fine
    if encode is not None:
        before = agreement(face, template, prior, surface, estimate)
        points = estimate.pose.to_model(jnp.asarray(surface.points))
        cloud = Cloud(points[:_ENCODED], (before.scan_to_face[:_ENCODED] < _INSIDE).astype(points.dtype))
        seen = estimate._replace(codes=encode(constants.params, cloud, estimate.codes))
        is_better = agreement(face, template, prior, surface, seen).score > before.score
        estimate = jax.tree.map(lambda one, other: jnp.where(is_better, one, other), seen, estimate)
    scales = np.concatenate([np.geomspace(5.0, 3.0, steps // 2), np.full(steps - steps // 2, 3.0)])
    estimate = refine(face, template, prior, surface, estimate, misfit, scales)
    return estimate, face(estimate.codes), agreement(face, template, prior, surface, estimate)


def _median(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("inf")


def _trimmed(values: np.ndarray) -> float:
    kept = np.sort(values)[: max(1, round(0.9 * len(values)))]
    return float(kept.mean()) if len(values) else float("inf")


def _fault(distances: Distances, agreed: Agreement, second: bool) -> str:
    """What is wrong with a fit; nothing where all is well."""
    if distances.covered < 0.35:
        return f"the scan covers {distances.covered:.0%} of the face"
    if max(distances.scan_to_face, distances.face_to_scan) > 2.5:
        return f"scan and face lie {max(distances.scan_to_face, distances.face_to_scan):.1f} mm apart"
    if agreed.unlikely > 6:
        return "a face unlike those that the model was trained on"
    if second:
        return "a second face in the scan"
    return ""
