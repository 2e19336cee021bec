"""What a learner of faces needs to know of its training set before it begins."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.data.ahead import read_ahead
from facedis_jax.data.faces.face_set import ArraySource, FaceSet
from facedis_jax.data.faces.features import map_vertices
from facedis_jax.errors import InputError
from facedis_jax.evaluation.baselines import PcaModel, fit_pca
from facedis_jax.evaluation.faces import evenly_spaced_faces
from facedis_jax.learners import FaceConstants, FaceStart, IbVaeConfig, LinearFaces, face_functions
from facedis_jax.learners.recombination import OwnWays, random_person
from facedis_jax.models import FaceVaeConfig
from facedis_jax.models.surface_fit import linear_surface
from facedis_jax.models.surfaces import Cloud, CloudConfig, draw_cloud
from facedis_jax.progress import track

# Root mean square length of a cloud's centred moments as the encoder sees them; 1 and 3 train equally well.
_MOMENT_LENGTH = 3.0
# Of a large set, so many faces evenly spaced, for the linear model and for the statistics of surfaces.
_MOST_FACES, _MOST_SEEN = 2000, 200
# Faces or clouds to which a linear estimate by moments is fitted, four for each training face, at most so many. An
# encoder that sees surfaces needs none: its fit's leading components are the estimate.
_CLOUDS_OF_A_FACE, _MOST_CLOUDS, _CHUNK = 4, 6000, 100
# Weight of the estimate's squared length, relative to the moments' mean variance; 1e-4 to 1e-2 come out alike.
_RIDGE = 1e-3


def check_faces(face_set: FaceSet, learner: IbVaeConfig, clouds: CloudConfig) -> None:
    """Checks that a learner can be trained on faces; to be called before a run's folder is made.

    Args:
      face_set, learner, clouds: as of `face_constants`.

    Raises:
      InputError: the encoder gets fewer points than it has centres, or nothing to make its linear estimate from; or
        someone has one training face where two of each person are asked for (of sets in memory).
    """
    model, num_vertices = learner.model, face_set.neutrals.shape[1]
    features, anchors = model.encoder.features, min(model.surface.anchors, num_vertices)
    points = anchors or clouds.points or num_vertices
    if points < features.centres[0]:
        source = "surface.anchors" if anchors else "clouds.points" if clouds.points else "vertices"
        raise InputError(source, f"{features.centres[0]} or more, the encoder's centres", str(points))
    if model.linear and not anchors and not features.harmonics:
        raise InputError("learner.model.linear", "an encoder that sees surfaces, or moments", "neither")
    if learner.recombination.pairs and isinstance(face_set.train, ArraySource):
        people, counts = np.unique(face_set.train.subject, return_counts=True)
        if counts.min() < 2:
            expected = "two training faces or more of each person, or 0"
            found = f"one of {face_set.subjects[people[counts.argmin()]]}"
            raise InputError("recombination.pairs", expected, found)


def face_constants(
    face_set: FaceSet, learner: IbVaeConfig, clouds: CloudConfig, *, seed: int = 0
) -> tuple[FaceConstants, FaceStart]:
    """Mean face, scale, counts and moments of the training set, and what a learner begins with.

    Args:
      face_set: the data, whose training half is read through once.
      learner: networks, and whether people are recombined.
      clouds: that are drawn from the training faces.
      seed: of the clouds to which a linear estimate is fitted.
    """
    total = np.zeros(face_set.neutrals.shape[1:], np.float64)
    subjects = set()
    for i in track(range(len(face_set.train)), "reading training faces"):
        face = face_set.train[i]
        total += face["vertices"]
        subjects.add(int(face["subject"]))
    model = learner.model
    neutrals = face_set.neutrals[sorted(subjects)]
    constants = FaceConstants(
        mean_face=(total / len(face_set.train)).astype(np.float32),
        scale=face_set.scale,
        num_faces=len(face_set.train),
        num_expressions=len(face_set.expressions),
        moment_mean=np.zeros((), np.float32),
        moment_deviation=1.0,
        triangles=face_set.triangles if clouds.points or model.surface.anchors else None,
        clouds=clouds,
    )
    found = np.zeros(0, bool)
    if model.surface.anchors or model.linear or learner.recombination.own_ways:
        some = evenly_spaced_faces(face_set.train, _MOST_FACES)
    if model.surface.anchors:
        linear = _linear_model(face_set, some, neutrals, model.surface.components, seed)
        # Components that there are; of few faces there are fewer than asked for.
        found = np.abs(linear.faces.basis).max((1, 2)) > 0
        basis = linear.faces.basis[found]
        surface = linear_surface(linear.faces.face, basis, face_set.triangles, model.surface.anchors)
        constants = replace(
            constants,
            surface_mean=surface.mean,
            surface_basis=surface.basis,
            surface_places=surface.places,
            surface_near=surface.near,
        )
    constants = _with_moments(face_set, learner, constants)
    ways = _ways(face_set, some) if learner.recombination.own_ways else None
    if not model.linear:
        return constants, FaceStart(neutrals, ways=ways)
    size = (model.identity_latents, model.expression_latents)
    linear = _linear_model(face_set, some, neutrals, size, seed)
    if model.surface.anchors:
        kernel = _leading_codes(constants, model, found)
    else:
        kernel = _fit_estimate(face_set, neutrals, learner, constants, linear, seed)
    return replace(constants, estimate=kernel), FaceStart(neutrals, linear.faces, ways)


def _with_moments(face_set: FaceSet, learner: IbVaeConfig, constants: FaceConstants) -> FaceConstants:
    """The constants with mean and deviation of the moments."""
    functions = face_functions(_without_estimate(learner), constants)
    moments = np.zeros((len(face_set.train), 0), np.float32)
    if learner.model.surface.anchors:
        some = evenly_spaced_faces(face_set.train, _MOST_SEEN)
        moments = map_vertices(lambda face: functions.features(face).moments, some, "looking at surfaces")
    elif learner.model.encoder.features.harmonics:
        moments = map_vertices(lambda face: functions.features(face).moments, face_set.train, "computing moments")
    deviation = float(np.sqrt(moments.var(0).sum())) / _MOMENT_LENGTH
    return replace(constants, moment_mean=moments.mean(0), moment_deviation=deviation)


def _without_estimate(learner: IbVaeConfig) -> IbVaeConfig:
    return replace(learner, model=replace(learner.model, linear=False))


def _ways(face_set: FaceSet, faces: ArraySource) -> OwnWays:
    offsets = faces.vertices - face_set.neutrals[faces.subject]
    return OwnWays.of(offsets, faces.subject, faces.expression, faces.level, len(face_set.expressions))


class _Linear(NamedTuple):
    """A linear model of the training faces, and what it was made from.

    Attributes:
      faces: the model.
      identity, expression: its parts; of one person's faces, no identity.
      offsets: [faces, vertices, 3] mm, of some faces from their subjects' neutrals.
      subject: [faces].
    """

    faces: LinearFaces
    identity: PcaModel | None
    expression: PcaModel
    offsets: np.ndarray
    subject: np.ndarray


def _linear_model(
    face_set: FaceSet, faces: ArraySource, neutrals: np.ndarray, size: tuple[int, int], seed: int
) -> _Linear:
    """A linear model of so many identity and expression components, by some faces of the set."""
    offsets = faces.vertices - face_set.neutrals[faces.subject]
    identity = fit_pca(neutrals, size[0], seed=seed) if len(neutrals) > 1 else None
    expression = fit_pca(offsets, size[1], seed=seed)
    neutral = neutrals.mean(0) if identity is None else identity.mean
    basis = np.concatenate([_basis(identity, neutral, size[0]), _basis(expression, neutral, size[1])])
    linear = LinearFaces(neutral, neutral + expression.mean, basis)
    return _Linear(linear, identity, expression, offsets, faces.subject)


def _leading_codes(constants: FaceConstants, model: FaceVaeConfig, found: np.ndarray) -> np.ndarray:
    """The kernel [moments + 1, latents] that takes the leading components of a fit as the codes.

    Args:
      constants: with the moments of fits.
      model: how many latents there are.
      found: [components] which of the components asked for there are, those of identity first.
    """
    people = int(model.surface.components[0])
    parts = (found[:people].sum(), found[people:].sum())
    kernel = np.zeros((sum(parts) + 1, model.identity_latents + model.expression_latents), np.float32)
    firsts = ((0, 0, model.identity_latents), (parts[0], model.identity_latents, model.expression_latents))
    for (first, latent, latents), part in zip(firsts, parts, strict=True):
        for i in range(min(latents, part)):
            kernel[first + i, latent + i] = constants.moment_deviation
            kernel[-1, latent + i] = constants.moment_mean[first + i]
    return kernel


def _fit_estimate(
    face_set: FaceSet,
    neutrals: np.ndarray,
    learner: IbVaeConfig,
    constants: FaceConstants,
    linear: _Linear,
    seed: int,
) -> np.ndarray:
    """The kernel [moments + 1, latents] of an estimate of a linear model's codes by the moments of drawn clouds."""
    size = (learner.model.identity_latents, learner.model.expression_latents)
    moments, whose, rows = _draw(
        face_set,
        neutrals,
        learner,
        constants,
        linear.offsets,
        linear.subject,
        lambda people: _codes(linear.identity, people, size[0]),
        seed,
    )
    codes = [whose, _codes(linear.expression, linear.offsets, size[1])[rows]]
    return _ridge(moments, np.concatenate(codes, axis=1))


def _draw(
    face_set: FaceSet,
    neutrals: np.ndarray,
    learner: IbVaeConfig,
    constants: FaceConstants,
    offsets: np.ndarray,
    subject: np.ndarray,
    codes: Callable[[np.ndarray], np.ndarray],
    seed: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Moments [clouds, moments] of clouds, codes [clouds, latents] of their people, rows [clouds] of their offsets."""
    functions = face_functions(_without_estimate(learner), constants)
    new_people = learner.recombination.share * learner.recombination.new_people
    everyone, triangles = face_set.neutrals, constants.triangles

    @jax.jit
    def draw(keys: jax.Array, people: jax.Array, everyone: jax.Array, offsets: jax.Array) -> tuple[jax.Array, ...]:
        def one(key: jax.Array) -> tuple[jax.Array, ...]:
            keys = jax.random.split(key, 4)
            row = jax.random.randint(keys[0], (), 0, len(offsets))
            is_new = jax.random.uniform(keys[1]) < new_people
            person = jnp.where(is_new, random_person(keys[2], people), everyone[jnp.asarray(subject)[row]])
            face = person + offsets[row]
            if not constants.clouds.points:
                return functions.features(face).moments, person, row
            cloud: Cloud = draw_cloud(keys[3], face, jnp.asarray(triangles), constants.clouds)
            return functions.features_of_cloud(cloud, face).moments, person, row

        return jax.lax.map(one, keys)

    arrays = [jnp.asarray(array) for array in (neutrals, everyone, offsets)]
    count = -(-min(_CLOUDS_OF_A_FACE * len(offsets), _MOST_CLOUDS) // _CHUNK)
    keys = jax.random.split(jax.random.key(seed), count * _CHUNK)

    def chunks() -> Iterator[jax.Array]:
        yield from (keys[i : i + _CHUNK] for i in range(0, len(keys), _CHUNK))

    def compute(chunk: jax.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        moments, people, rows = jax.device_get(draw(chunk, *arrays))
        return moments, codes(people), rows

    parts = [*track(read_ahead(compute, chunks()), "fitting a linear model", total=count)]
    moments, whose, rows = (np.concatenate(part) for part in zip(*parts, strict=True))
    return moments, whose, rows


def _codes(model: PcaModel | None, faces: np.ndarray, latents: int) -> np.ndarray:
    """Codes [faces, latents] in standard deviations; zeros beyond the model's components."""
    codes = np.zeros((len(faces), latents), np.float32)
    if model is not None:
        codes[:, : len(model.directions)] = model.encode(faces) / model.deviations
    return codes


def _basis(model: PcaModel | None, mean: np.ndarray, latents: int) -> np.ndarray:
    """What a code of 1 adds to a face, [latents, vertices, 3] mm."""
    basis = np.zeros((latents, *mean.shape), np.float32)
    if model is not None:
        basis[: len(model.directions)] = model.directions * model.deviations[:, None, None]
    return basis


def _ridge(moments: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The kernel [moments + 1, latents] of ridge regression from moments and 1 to codes."""
    mean, centre = moments.mean(0, dtype=np.float64), codes.mean(0, dtype=np.float64)
    centred = moments - mean
    covariance = centred.T @ centred
    covariance += _RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    kernel = np.linalg.solve(covariance, centred.T @ (codes - centre))
    return np.concatenate([kernel, (centre - mean @ kernel)[None]]).astype(np.float32)
