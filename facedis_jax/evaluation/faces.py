"""Measures of a trained face model: errors in mm, information in nats, scores, and linear models to compare with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from facedis_jax.data.faces.face_set import ArraySource, Face, FaceSet, FaceSource, FaceTruth
from facedis_jax.data.splits import evenly_spaced
from facedis_jax.evaluation.alignment import aligned
from facedis_jax.evaluation.baselines import LinearModel, fit_linear_model, fit_pca
from facedis_jax.evaluation.face_motion import kept_motion
from facedis_jax.evaluation.face_recognition import rank_1
from facedis_jax.evaluation.face_surfaces import surface_errors
from facedis_jax.evaluation.face_transfer import expression_errors, transfer_measures
from facedis_jax.evaluation.latent_scores import latent_scores
from facedis_jax.evaluation.probes import leakage
from facedis_jax.evaluation.true_faces import CodedFaces, TrueFaces
from facedis_jax.inference.faces import FaceCodec
from facedis_jax.losses import aggregate_mutual_information, gaussian_kl
from facedis_jax.metrics import (
    collapsed_dimensions,
    disentanglement_error,
    distance_statistics,
    self_intersections,
    vertex_distance,
)
from facedis_jax.progress import track

_FACES_AT_A_TIME = 256


@dataclass(frozen=True)
class Predictions:
    """Reconstructions and predicted neutrals of faces, from posterior means, in the order of the faces.

    Attributes:
      vertices, neutral_target: the faces and their subjects' neutrals, [faces, vertices, 3] mm.
      reconstruction, neutral: the model's predictions of these, [faces, vertices, 3] mm.
      mean, logvar: posteriors, [faces, latents], identity latents first.
      subject, expression, level, index: [faces], as in `Face`.
    """

    vertices: np.ndarray
    neutral_target: np.ndarray
    reconstruction: np.ndarray
    neutral: np.ndarray
    mean: np.ndarray
    logvar: np.ndarray
    subject: np.ndarray
    expression: np.ndarray
    level: np.ndarray
    index: np.ndarray

    def __len__(self) -> int:
        return len(self.vertices)


def evenly_spaced_faces(source: FaceSource, count: int) -> ArraySource:
    """At most `count` faces of a source, evenly spaced; all of them where it has no more."""
    if isinstance(source, ArraySource) and len(source) <= count:
        return source
    rows = evenly_spaced(len(source), count)
    if isinstance(source, ArraySource):
        return source.take(rows)
    return _stacked(source, rows.tolist())


def predict(codec: FaceCodec, source: FaceSource, neutrals: np.ndarray, *, batch_size: int = 64) -> Predictions:
    """The model's predictions for every face of a source, computed in batches.

    Args:
      codec: the trained model.
      source: the faces, read once and in order.
      neutrals: [subjects, vertices, 3] mm, such as `FaceSet.neutrals`.
      batch_size: how many faces the model gets at a time.
    """
    faces, shape, width = len(source), neutrals.shape[1:], codec.identity_latents + codec.expression_latents
    made = Predictions(
        vertices=np.empty((faces, *shape), np.float32),
        neutral_target=np.empty((faces, *shape), np.float32),
        reconstruction=np.empty((faces, *shape), np.float32),
        neutral=np.empty((faces, *shape), np.float32),
        mean=np.empty((faces, width), np.float32),
        logvar=np.empty((faces, width), np.float32),
        subject=np.empty(faces, np.int32),
        expression=np.empty(faces, np.int32),
        level=np.empty(faces, np.float32),
        index=np.empty(faces, np.int32),
    )
    split = codec.identity_latents
    for start in track(range(0, faces, batch_size), "predicting test faces"):
        rows = slice(start, min(start + batch_size, faces))
        batch = _stacked(source, range(rows.start, rows.stop))
        labels = codec.labels(batch.expression, batch.level)
        mean, logvar = codec.encode(batch.vertices, labels)
        full, neutral = codec.decode(mean[:, :split], mean[:, split:], labels)
        parts = {"reconstruction": full, "neutral": neutral, "mean": mean, "logvar": logvar}
        parts |= {"neutral_target": neutrals[batch.subject]}
        parts |= {name: getattr(batch, name) for name in Face.__annotations__}
        for name, part in parts.items():
            getattr(made, name)[rows] = part
    return made


@dataclass(frozen=True)
class EncodedFaces:
    """Posteriors of faces, and their labels.

    Attributes:
      mean, logvar: [faces, latents], identity latents first.
      subject, expression, level, index: [faces], as in `Face`.
    """

    mean: np.ndarray
    logvar: np.ndarray
    subject: np.ndarray
    expression: np.ndarray
    level: np.ndarray
    index: np.ndarray


def encode_faces(codec: FaceCodec, source: FaceSource, count: int, *, batch_size: int = 64) -> EncodedFaces:
    """At most `count` faces of a source, evenly spaced, of which a batch is in memory at a time."""
    rows = evenly_spaced(len(source), count).tolist()
    encoded = []
    for start in track(range(0, len(rows), batch_size), "encoding training faces"):
        faces = _stacked(source, rows[start : start + batch_size])
        posterior = codec.encode(faces.vertices, codec.labels(faces.expression, faces.level))
        encoded.append((*posterior, faces.subject, faces.expression, faces.level, faces.index))
    return EncodedFaces(*(np.concatenate(parts) for parts in zip(*encoded, strict=True)))


def register(predictions: Predictions) -> Predictions:
    """Predictions with every predicted face moved rigidly onto its target, as in some evaluations of BU-3DFE.

    This removes errors of pose, and changes the disentanglement error as well.
    """
    return replace(
        predictions,
        reconstruction=aligned(predictions.reconstruction, predictions.vertices),
        neutral=aligned(predictions.neutral, predictions.neutral_target),
    )


def _parts(faces: np.ndarray) -> list[np.ndarray]:
    return [faces[i : i + _FACES_AT_A_TIME] for i in range(0, len(faces), _FACES_AT_A_TIME)]


def _distances_of(function: Callable[[np.ndarray], np.ndarray], faces: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Distances [faces, vertices] of what a function makes of faces, some of them at a time."""
    made = zip(_parts(faces), _parts(target), strict=True)
    return np.concatenate([vertex_distances(function(part), goal) for part, goal in made])


def vertex_distances(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Distances [faces, vertices] between faces [faces, vertices, 3], vertex by vertex, computed in chunks."""
    rows = range(0, len(prediction), _FACES_AT_A_TIME)
    parts = [
        vertex_distance(*(jnp.asarray(faces[i : i + _FACES_AT_A_TIME]) for faces in (prediction, target))) for i in rows
    ]
    return np.concatenate([np.asarray(part) for part in parts])


def evaluate(
    codec: FaceCodec,
    face_set: FaceSet,
    predictions: Predictions,
    *,
    baseline_faces: int = 3000,
    code_faces: int = 1024,
    intersection_faces: int = 20,
    surface_faces: int = 24,
    seed: int = 0,
) -> dict[str, Any]:
    """Results of a model on the test faces, as in results.json, and of linear models beside it.

    Errors are averaged over meshes (`reconstruction_mm`) and, as in CoMA and SpiralNet++, over all vertices of all
    meshes at once (`reconstruction_pooled_mm`). Scores, probes and mutual information are of codes of training faces,
    of which there are many for every subject and expression.

    Args:
      codec: the trained model.
      face_set: the data; the linear models are fitted to its training half.
      predictions: of the model for `face_set.test`.
      baseline_faces: the linear models are fitted to at most this many training faces, evenly spaced.
      code_faces: scores and information are computed from at most this many training faces, evenly spaced.
      intersection_faces: self-intersections are counted on at most this many test faces, evenly spaced.
      surface_faces: so many test faces at most, evenly spaced, are also read by random points of their surfaces.
      seed: of the sampled codes, of the splits for scores and probes, and of the linear models.

    Returns:
      JSON values by name, with units in the names; None where there is nothing to measure.
    """
    split = codec.identity_latents
    fitted_to = evenly_spaced_faces(face_set.train, baseline_faces)
    trained_on = np.unique(fitted_to.subject)
    linear = _fit_linear_model(fitted_to, face_set.neutrals, codec, seed)
    true, average = true_faces(face_set, predictions), face_set.neutrals[trained_on].mean(axis=0)
    coded = CodedFaces(codec, predictions.mean, codec.labels(predictions.expression, predictions.level))
    results: dict[str, Any] = {
        "faces": {"train": len(face_set.train), "test": len(predictions)},
        "people": {
            "test": len(np.unique(predictions.subject)),
            "of_them_in_training": len(np.intersect1d(predictions.subject, trained_on)),
        },
        "latents": {"identity": split, "expression": codec.expression_latents},
        **face_errors(predictions),
        **both_ways(coded, true, average, face_set.expressions, seed),
        "self_intersections": intersections(predictions, face_set.triangles, intersection_faces),
        **posterior_measures(predictions.mean, predictions.logvar, split),
    }
    if face_set.truth is not None:
        results["truth"] = errors_against_truth(predictions, face_set.truth)
    results["surface_points_mm"] = _by_points(codec, predictions, face_set.triangles, surface_faces)
    codes = encode_faces(codec, face_set.train, code_faces)
    levels = face_set.true_levels(codes.index, codes.level)
    of_linear = None if linear is None else _linear_codes(linear, face_set, code_faces)
    offset_codes = None if of_linear is None else of_linear.offset
    results.update(code_measures(replace(codes, level=levels), offset_codes, split, seed))
    results["baselines"] = _baselines(fitted_to, linear, predictions, codec, seed)
    if linear is not None and of_linear is not None:
        mean = np.concatenate([linear.encode(part) for part in _parts(predictions.vertices)])
        results["baselines"]["linear"] |= {
            **both_ways(CodedFaces(linear.codec(), mean), true, average, face_set.expressions, seed),
            "probes": leakage(
                *of_linear.parts, codes.subject, codes.expression, levels, offset_codes=offset_codes, seed=seed
            ),
        }
    return results


def true_faces(face_set: FaceSet, predictions: Predictions) -> TrueFaces:
    """What the predictions for a set's test faces are measured against."""
    return TrueFaces(
        vertices=predictions.vertices,
        neutral=predictions.neutral_target,
        subject=predictions.subject,
        expression=predictions.expression,
        index=predictions.index,
        level=face_set.true_levels(predictions.index, predictions.level),
        truth=face_set.truth,
    )


def both_ways(
    model: CodedFaces, true: TrueFaces, average: np.ndarray, expressions: Sequence[str], seed: int
) -> dict[str, Any]:
    """What a model keeps of either code without the other: transfers, motion and recognition of people."""
    return {
        **transfer_measures(model, true, average, seed=seed),
        **expression_errors(model, true, average),
        "kept_motion": kept_motion(model, true, expressions),
        "rank_1": rank_1(model, true),
    }


@dataclass(frozen=True)
class _LinearCodes:
    """Codes of faces by a linear model.

    Attributes:
      parts: identity and expression codes, [faces, components] each.
      offset: principal components [faces, components] of the faces' true offsets from their neutrals.
    """

    parts: tuple[np.ndarray, np.ndarray]
    offset: np.ndarray


def _linear_codes(model: LinearModel, face_set: FaceSet, count: int, *, batch_size: int = 64) -> _LinearCodes:
    """Of the faces that `encode_faces` takes."""
    rows = evenly_spaced(len(face_set.train), count).tolist()
    codes, offsets = [], []
    for start in range(0, len(rows), batch_size):
        faces = _stacked(face_set.train, rows[start : start + batch_size])
        codes.append(model.encode(faces.vertices))
        clean, neutrals = faces.vertices, face_set.neutrals
        if face_set.truth is not None:
            clean, neutrals = face_set.truth.clean[faces.index], face_set.truth.neutrals
        offsets.append(model.expression.encode(clean - neutrals[faces.subject]))
    identity, expression = np.split(np.concatenate(codes), [len(model.identity.directions)], axis=1)
    return _LinearCodes((identity, expression), np.concatenate(offsets))


def face_errors(predictions: Predictions) -> dict[str, dict[str, float]]:
    """The paper's three errors in mm, each averaged over meshes and over vertices (Eq. 13 and 14)."""
    return {
        **distance_errors("reconstruction", vertex_distances(predictions.reconstruction, predictions.vertices)),
        **distance_errors("neutral", vertex_distances(predictions.neutral, predictions.neutral_target)),
        **_disentanglement(predictions.neutral, predictions.subject),
    }


def _stacked(source: FaceSource, rows: Sequence[int]) -> ArraySource:
    """Some faces of a source in memory, read one after the other."""
    arrays: dict[str, np.ndarray] = {}
    for place, row in enumerate(rows):
        for name, value in source[row].items():
            array = np.asarray(value)
            if not place:
                arrays[name] = np.empty((len(rows), *array.shape), array.dtype)
            arrays[name][place] = array
    return ArraySource(**{name: arrays[name] for name in Face.__annotations__})


def distance_errors(name: str, distances: np.ndarray) -> dict[str, dict[str, float]]:
    return {
        f"{name}_mm": distance_statistics(distances)._asdict(),
        f"{name}_pooled_mm": distance_statistics(distances, pooling="vertex")._asdict(),
    }


def _disentanglement(neutrals: np.ndarray, subject: np.ndarray) -> dict[str, dict[str, float]]:
    pooled = disentanglement_error(neutrals, subject, variant="pooled")
    per_vertex = disentanglement_error(neutrals, subject, variant="per_vertex")
    return {
        name: {"mean": float(np.mean(errors)), "median": float(np.median(errors))}
        for name, errors in (("disentanglement_mm", pooled), ("disentanglement_per_vertex_mm", per_vertex))
    }


def intersections(predictions: Predictions, triangles: np.ndarray, count: int) -> dict[str, float]:
    """Mean number of self-intersecting triangles per mesh."""
    rows = evenly_spaced(len(predictions), count)
    kinds = {"true": predictions.vertices, "reconstructed": predictions.reconstruction}
    counts = {name: [self_intersections(faces[row], triangles) for row in rows] for name, faces in kinds.items()}
    return {name: float(np.mean(count)) for name, count in counts.items()} | {"meshes": len(rows)}


def _by_points(
    codec: FaceCodec, predictions: Predictions, triangles: np.ndarray, count: int
) -> dict[str, float] | None:
    """`surface_errors` of some test faces."""
    rows = evenly_spaced(len(predictions), count)
    labels = codec.labels(predictions.expression[rows], predictions.level[rows])
    return surface_errors(codec, predictions.vertices[rows], labels, triangles)


def posterior_measures(mean: ArrayLike, logvar: ArrayLike, split: int) -> dict[str, dict[str, Any]]:
    """KL to the prior per face, and the numbers of active and of collapsed latents."""
    mean, logvar = jnp.asarray(mean), jnp.asarray(logvar)
    parts = {
        "identity": (mean[:, :split], logvar[:, :split]),
        "expression": (mean[:, split:], logvar[:, split:]),
    }
    collapsed = {name: int(collapsed_dimensions(*part)) for name, part in parts.items()}
    return {
        "kl_nats": {name: float(jnp.mean(gaussian_kl(*part))) for name, part in parts.items()},
        "active_latents": {name: part[0].shape[1] - collapsed[name] for name, part in parts.items()},
        "collapsed_latents": collapsed,
    }


def errors_against_truth(predictions: Predictions, truth: FaceTruth) -> dict[str, float]:
    """Mean vertex distances to faces without noise, of the predictions and of the faces themselves."""

    def mean(faces: np.ndarray, targets: np.ndarray, index: np.ndarray) -> float:
        parts = zip(_parts(faces), _parts(index), strict=True)
        return float(
            np.concatenate([vertex_distances(part, targets[rows]) for part, rows in parts]).mean(dtype=np.float64)
        )

    return {
        "reconstruction_mm": mean(predictions.reconstruction, truth.clean, predictions.index),
        "input_noise_mm": mean(predictions.vertices, truth.clean, predictions.index),
        "neutral_mm": mean(predictions.neutral, truth.neutrals, predictions.subject),
        "neutral_target_noise_mm": mean(predictions.neutral_target, truth.neutrals, predictions.subject),
    }


def code_measures(faces: EncodedFaces, offset_codes: np.ndarray | None, split: int, seed: int) -> dict[str, Any]:
    """Mutual information, scores and probes of the codes of some faces."""
    mean, logvar = faces.mean, faces.logvar
    noise = np.random.default_rng(seed).standard_normal(mean.shape, np.float32)
    drawn, means, logvars = (jnp.asarray(a) for a in (mean + noise * np.exp(0.5 * logvar), mean, logvar))

    def information(part: slice) -> float:
        nats = aggregate_mutual_information(drawn[:, part], means[:, part], logvars[:, part])
        return float(jnp.mean(nats))

    factors = {"subject": faces.subject, "expression": faces.expression, "level": faces.level}
    scored = len(mean) > 9 and mean.shape[1] > 1 and sum(np.ptp(f) > 0 for f in factors.values()) > 1
    return {
        "code_faces": len(mean),
        "mutual_information_nats": {
            "identity": information(np.s_[:split]),
            "expression": information(np.s_[split:]),
            "upper_bound": float(np.log(len(mean))),
        },
        "latent_scores": latent_scores(mean, factors, seed=seed) if scored else None,
        "probes": leakage(
            mean[:, :split],
            mean[:, split:],
            faces.subject,
            faces.expression,
            faces.level,
            offset_codes=offset_codes,
            seed=seed,
        ),
    }


def _fit_linear_model(train: ArraySource, neutrals: np.ndarray, codec: FaceCodec, seed: int) -> LinearModel | None:
    """The linear model with as many identity and expression components; None for faces of one subject."""
    if len(np.unique(train.subject)) < 2:
        return None
    return fit_linear_model(
        train.vertices,
        train.subject,
        neutrals,
        identity_components=codec.identity_latents,
        expression_components=codec.expression_latents,
        seed=seed,
    )


def _baselines(
    train: ArraySource, model: LinearModel | None, predictions: Predictions, codec: FaceCodec, seed: int
) -> dict[str, Any]:
    """Errors of a PCA with as many components, and of the linear identity + expression model."""
    components = codec.identity_latents + codec.expression_latents
    pca = fit_pca(train.vertices, components, seed=seed)
    rebuilt = _distances_of(pca.reconstruct, predictions.vertices, predictions.vertices)
    rivals: dict[str, Any] = {
        "faces": len(train),
        "pca": {"components": len(pca.directions), **distance_errors("reconstruction", rebuilt)},
        "linear": None,
    }
    if model is not None:
        rebuilt = _distances_of(model.reconstruct, predictions.vertices, predictions.vertices)
        neutral = np.concatenate([model.neutralise(part) for part in _parts(predictions.vertices)])
        rivals["linear"] = {
            **distance_errors("reconstruction", rebuilt),
            **distance_errors("neutral", vertex_distances(neutral, predictions.neutral_target)),
            **_disentanglement(neutral, predictions.subject),
        }
    return rivals
