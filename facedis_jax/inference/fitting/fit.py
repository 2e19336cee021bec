"""Faces of scans of any mesh: found, fitted, and measured against the scan."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial import cKDTree

from facedis_jax.errors import InputError
from facedis_jax.formats.meshes import UNITS
from facedis_jax.geometry import (
    farthest_point_sample,
    nearest_both_ways,
    rigid_registration,
    rotation_matrix,
    vertex_normals,
)
from facedis_jax.inference.face_codes import Code, FaceCodes, FaceParams
from facedis_jax.inference.fitting.detail import detailed
from facedis_jax.inference.fitting.landmarks import named_vertices
from facedis_jax.inference.fitting.placement import Placed, Pose, Table, find_places, table_of
from facedis_jax.inference.fitting.posterior import sample_posterior, vertex_moments
from facedis_jax.inference.fitting.refinement import (
    Agreement,
    Estimate,
    Misfit,
    Prior,
    Surface,
    Template,
    agreement,
    deviation_mm,
    misfit_mm,
    pairs_of,
    refine,
    template_of,
)
from facedis_jax.inference.fitting.results import (
    INSIDE_MM,
    SURE_MM,
    FaceFit,
    FitConfig,
    Placement,
    distances_of,
    farthest,
    fault,
    is_clear,
)
from facedis_jax.inference.fitting.scans import Samples, Scan, draw_samples
from facedis_jax.inference.trained_faces import TrainedFaces
from facedis_jax.learners import IbVaeConfig, face_functions
from facedis_jax.models.surfaces import Cloud

# Points of a face that are looked for in all poses.
_TABLE_POINTS = 128
# mm around the face in which the scan is drawn anew.
_AROUND = 30.0
# Of a scan that has a face at all. Balls, barrels and bumpy lumps have reliefs of 0.25 to 0.61, a box lies 3.4 mm away.
_NO_RELIEF, _NO_FACE_MM, _LEAST_COVERED = 0.7, 3.0, 0.05
# How often as many places are looked at where none holds a clear face, and where one does.
_TRIES, _TRIES_IF_CLEAR = 8, 3
# How often a fit goes on from where it ended.
_AGAIN = 4
# Points that the encoder is given, and mm from the mean face within which they lie.
_ENCODED, _ENCODED_MM = 1024, 15.0
_DETAIL_POINTS = 20_000


class _Constants(NamedTuple):
    """Of a model, for all scans: a pytree."""

    params: FaceParams
    mean: jax.Array
    basis: jax.Array
    prior: Prior
    coarse: Template
    fine: Template
    table: Table


class Fitted(NamedTuple):
    """What compiled functions give of a scan.

    Attributes:
      estimate: codes and pose.
      vertices: [vertices, 3] mm, in the model's place.
      agreed: how well both agree.
      covariance: [6 + codes, 6 + codes] of turn, shift and codes.
    """

    estimate: Estimate
    vertices: jax.Array
    agreed: Agreement
    covariance: jax.Array


Encode: TypeAlias = Callable[[FaceParams, Cloud, jax.Array], jax.Array]


@dataclass(frozen=True, eq=False)
class Fitter:
    """Fits a model of faces to scans.

    Attributes:
      constants: of the model.
      sizes: lengths of the identity, of the expression, and of the labels.
      landmarks: named vertices.
      mean_face: [vertices, 3] mm.
      compiled: functions by name: "find", "compare", "finish", "sample". They are compiled once for all scans.
    """

    constants: _Constants
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
            "compare": jax.jit(_compare),
            "sample": jax.jit(partial(_sample, face), static_argnames="count"),
            "finish": jax.jit(partial(_finish, face, encode), static_argnames="steps"),
        }
        names = named_vertices(mean_face, triangles)
        return cls(constants, sizes, names, mean_face, compiled)

    def fit(
        self,
        scan: Scan,
        unit: str | None,
        places: tuple[np.ndarray, np.ndarray] | None,
        config: FitConfig,
        key: jax.Array | None,
    ) -> FaceFit:
        """See `TrainedFaceModel.fit`; `places` are landmarks as `read_landmarks` gives them."""
        units = scan.units(unit)
        if places is not None:
            units = [self._unit_of(places, units)]
        tried = []
        for each in units:
            found = self._fit_in(scan, each, places, config, key)
            tried.append(found)
            if not found.is_bad:
                break
        best = min(tried, key=lambda found: (found.is_bad, -found.relief))
        is_near = best.distances.covered >= _LEAST_COVERED and farthest(best.distances) <= _NO_FACE_MM
        # Written so that what is no number is no face.
        if not (is_near and best.relief >= _NO_RELIEF):
            of_unit = "" if unit is not None or len(units) == 1 else f" in {' or '.join(units)}"
            raise InputError(scan.where, f"a scan of a face{of_unit}", f"no face in it ({best.reason})")
        return best

    @cached_property
    def _nearest_looking(self) -> np.ndarray:
        """[vertices] which of the looking vertices is nearest."""
        return cKDTree(self.mean_face[self.constants.fine.looking]).query(self.mean_face)[1]

    def _unit_of(self, places: tuple[np.ndarray, np.ndarray], units: Sequence[str]) -> str:
        own, given = (np.linalg.norm(x - x.mean(0)) for x in (self.mean_face[places[0]], places[1]))
        return min(units, key=lambda unit: abs(np.log(given * UNITS[unit] / own)))

    def _fit_in(
        self,
        scan: Scan,
        unit: str,
        places: tuple[np.ndarray, np.ndarray] | None,
        config: FitConfig,
        key: jax.Array | None,
    ) -> FaceFit:
        scale = UNITS[unit]
        drawn = draw_samples(scan, scale, config.coarse_points, seed=config.seed)
        centre = drawn.points.mean(0, dtype=np.float64)
        if places is not None:
            centre = places[1].mean(0) * scale
            near = float(np.linalg.norm(np.ptp(self.mean_face, axis=0))) / 2 + _AROUND
            drawn = draw_samples(scan, scale, config.coarse_points, centre=centre, radius=near, seed=config.seed)
            starts = _poses_at(self.mean_face[places[0]], places[1] * scale - centre, config.places)
            estimates, agreements = self._compare(_surface(drawn, centre), starts, config)
        else:
            estimates, agreements = self._search(_surface(drawn, centre), config)
        best = _best(agreements)
        if places is None and self._is_second_face(estimates, agreements, best):
            raise InputError(scan.where, "a scan of one face", "two faces; landmarks say which is meant")
        estimate = jax.tree.map(lambda x: x[best], estimates)
        face = np.asarray(estimate.pose.to_scan(self.constants.mean))
        middle = (face.min(0) + face.max(0)) / 2
        radius = float(np.linalg.norm(face - middle, axis=1).max()) + _AROUND
        ball = {"centre": centre + middle, "radius": radius, "seed": config.seed}
        surface = _surface(draw_samples(scan, scale, config.points, **ball), centre)
        result = self._finish(surface, estimate, config)
        found = self._result(scan, unit, centre, jax.device_get(result))
        if config.posterior_samples:
            key = jax.random.key(config.seed) if key is None else key
            variance = self.compiled["sample"](
                self.constants, surface, result, key, config.misfit, count=config.posterior_samples
            )
            found = replace(found, std_mm=np.sqrt(np.asarray(variance, np.float64)))
        if config.detail and not found.is_bad:
            dense = draw_samples(scan, scale, _DETAIL_POINTS, **ball)
            moved = detailed(found.vertices * scale, np.asarray(self.constants.fine.triangles), dense)
            found = replace(found, detail=moved / scale)
        return found

    def _compare(self, surface: Surface, starts: Pose, config: FitConfig) -> tuple[Estimate, Agreement]:
        return jax.device_get(self.compiled["compare"](self.constants, surface, starts, config.misfit))

    def _finish(self, surface: Surface, estimate: Estimate, config: FitConfig) -> Fitted:
        """The fit that an estimate leads to, and on from there while it is far from the scan and gets nearer."""
        finish = partial(self.compiled["finish"], misfit=config.misfit, steps=config.steps)
        result = finish(self.constants, surface, estimate)
        for _ in range(_AGAIN):
            if is_clear(jax.device_get(result.agreed), SURE_MM):
                break
            further = finish(self.constants, surface, result.estimate)
            if not further.agreed.score > result.agreed.score + 1e-3:
                break
            result = further
        return result

    def _search(self, surface: Surface, config: FitConfig) -> tuple[Estimate, Agreement]:
        """Estimates from the places where a face may lie, of more and more places until one is beyond doubt."""
        find = self.compiled["find"]
        starts = find(self.constants.table, surface.points, surface.normals, count=_TRIES * config.places).pose
        tried: list[tuple[Estimate, Agreement]] = []
        for first in range(0, _TRIES * config.places, config.places):
            some = jax.tree.map(lambda x: x[first : first + config.places], starts)  # noqa: B023
            tried.append(self._compare(surface, some, config))
            found = jax.tree.map(lambda *parts: np.concatenate(parts), *tried)
            best = jax.tree.map(lambda x: x[_best(found[1])], found[1])  # noqa: B023
            if is_clear(best, SURE_MM) or (is_clear(best) and len(tried) >= _TRIES_IF_CLEAR):
                break
        return found

    def _is_second_face(self, estimates: Estimate, agreements: Agreement, best: int) -> bool:
        """Whether another place, on other points of the scan than the best, holds as good a face."""
        near = agreements.scan_to_face < INSIDE_MM
        shared = (near & near[best]).sum(1) / np.maximum(np.minimum(near.sum(1), near[best].sum()), 1)
        clear = np.array([is_clear(jax.tree.map(lambda x: x[i], agreements)) for i in range(len(near))])  # noqa: B023
        as_good = clear & (agreements.covered > 0.8 * agreements.covered[best])
        return bool(clear[best] and (as_good & (shared < 0.3)).any())

    def _result(self, scan: Scan, unit: str, centre: np.ndarray, fitted: Fitted) -> FaceFit:
        estimate, agreed = fitted.estimate, fitted.agreed
        identity, expression, labels = self.sizes
        codes = np.asarray(estimate.codes)
        pose = Placement(
            _orthonormal(np.asarray(estimate.pose.rotation, np.float64)),
            np.asarray(estimate.pose.translation, np.float64) + centre,
            UNITS[unit],
        )
        face = np.asarray(fitted.vertices, np.float64)
        near, found = cKDTree(face).query(pose.to_model(scan.points), distance_upper_bound=INSIDE_MM)
        inside = np.isfinite(near)
        inside[inside] = (np.asarray(self.constants.fine.border)[found[inside]] < 1) | (near[inside] < 2)
        distances = distances_of(agreed)
        reason = fault(distances, agreed)
        std = np.sqrt(np.maximum(np.diag(fitted.covariance)[6:], 0))
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
            relief=float(agreed.relief),
            vertex_mm=np.asarray(agreed.face_to_scan)[self._nearest_looking],
        )


def _best(agreements: Agreement) -> int:
    return int(np.nan_to_num(np.asarray(agreements.score), nan=-np.inf).argmax())


def _orthonormal(rotation: np.ndarray) -> np.ndarray:
    u, _, vt = np.linalg.svd(rotation)
    return u @ vt


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


# Of the robust weights, mm, while places are compared, and at last.
_COMPARE_SCALES, _LAST_SCALE = (12.0, 9.0, 7.0, 6.0, 5.0, 5.0), 3.0


def _compare(constants: _Constants, surface: Surface, starts: Pose, misfit: Misfit) -> tuple[Estimate, Agreement]:
    """Where a linear model leads from several poses, and how well each agrees with the scan."""
    mean, basis, prior = constants.mean, constants.basis, constants.prior

    def face(codes: jax.Array) -> jax.Array:
        return mean + jnp.matmul(basis, codes - prior.mean, precision=jax.lax.Precision.HIGHEST)

    def one(pose: Pose) -> tuple[Estimate, Agreement]:
        start = Estimate(jnp.asarray(prior.mean), pose)
        found, _ = refine(face, constants.coarse, prior, surface, start, misfit, _COMPARE_SCALES)
        return found, agreement(face, constants.coarse, prior, surface, found)

    return jax.lax.map(one, starts)


def _finish(
    face_of: Callable[[FaceParams, jax.Array], jax.Array],
    encode: Encode | None,
    constants: _Constants,
    surface: Surface,
    estimate: Estimate,
    misfit: Misfit,
    *,
    steps: int,
) -> Fitted:
    face = partial(face_of, constants.params)
    prior, template = constants.prior, constants.fine
    if encode is not None:
        points = estimate.pose.to_model(jnp.asarray(surface.points[:_ENCODED]))
        near = nearest_both_ways(points, constants.mean[jnp.asarray(template.looking)])[0]
        gap = jnp.linalg.norm(points - constants.mean[jnp.asarray(template.looking)][near], axis=1)
        cloud = Cloud(points, (gap < _ENCODED_MM).astype(points.dtype))
        seen = estimate._replace(codes=encode(constants.params, cloud, estimate.codes))
        both = jax.tree.map(lambda *parts: jnp.stack(parts), estimate, seen)
        better = jax.lax.map(lambda one: agreement(face, template, prior, surface, one).score, both).argmax()
        estimate = jax.tree.map(lambda x: x[better], both)
    last = np.full(steps - steps // 2, _LAST_SCALE)
    scales = np.concatenate([np.geomspace(5.0, _LAST_SCALE, steps // 2), last])
    estimate, covariance = refine(face, template, prior, surface, estimate, misfit, scales)
    agreed = agreement(face, template, prior, surface, estimate)
    return Fitted(estimate, face(estimate.codes), agreed, covariance)


def _sample(
    face_of: Callable[[FaceParams, jax.Array], jax.Array],
    constants: _Constants,
    surface: Surface,
    fitted: Fitted,
    key: jax.Array,
    misfit: Misfit,
    *,
    count: int,
) -> jax.Array:
    """Variance [vertices] along each axis of the face given the scan, mm^2."""
    face = partial(face_of, constants.params)
    prior, template = constants.prior, constants.fine
    scale = jnp.float32(_LAST_SCALE)
    pairs = pairs_of(template, fitted.vertices, surface, fitted.estimate.pose, scale, misfit)
    deviation = misfit_mm(pairs, misfit)
    off_model = misfit.off_model * deviation_mm(pairs) * jnp.minimum(1, deviation_mm(pairs) / misfit.usual_mm)
    samples = sample_posterior(key, face, template, prior, pairs, deviation, fitted.estimate, fitted.covariance, count)
    return vertex_moments(face, fitted.estimate, samples)[1] + off_model**2
