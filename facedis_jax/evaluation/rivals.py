"""Measures of one method among several that are compared, on the same faces and by the same names as in a run's own."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from facedis_jax.data.faces.face_set import FaceSet
from facedis_jax.evaluation.baselines import LinearModel, PcaModel, fit_linear_model, fit_pca
from facedis_jax.evaluation.faces import (
    Predictions,
    both_ways,
    code_measures,
    distance_errors,
    encode_faces,
    errors_against_truth,
    evenly_spaced_faces,
    face_errors,
    intersections,
    posterior_measures,
    register,
    true_faces,
    vertex_distances,
)
from facedis_jax.evaluation.true_faces import CodedFaces
from facedis_jax.inference.faces import FaceCodec

# As many training faces, evenly spaced, as the linear models of a run are fitted to.
_MOST_FACES = 3000


def method_measures(
    codec: FaceCodec,
    face_set: FaceSet,
    predictions: Predictions,
    *,
    separates: bool,
    code_faces: int = 1024,
    intersection_faces: int = 20,
    seed: int = 0,
) -> dict[str, Any]:
    """Errors and scores of a method on the test faces, by the names of results.json.

    Args:
      codec: the trained method.
      face_set: the data.
      predictions: of the method for `face_set.test`.
      separates: whether it tells identity from expression; else only its reconstruction is measured.
      code_faces: scores are computed from at most this many training faces, evenly spaced.
      intersection_faces: self-intersections are counted on at most this many test faces, evenly spaced.
      seed: of what is drawn.
    """
    against_truth = None if face_set.truth is None else errors_against_truth(predictions, face_set.truth)
    crossed = intersections(predictions, face_set.triangles, intersection_faces)
    moved = register(predictions)
    if not separates:
        errors = {
            **distance_errors("reconstruction", vertex_distances(predictions.reconstruction, predictions.vertices)),
            "self_intersections": crossed,
            "registered": distance_errors("reconstruction", vertex_distances(moved.reconstruction, moved.vertices)),
        }
        if against_truth is not None:
            errors["truth"] = {"reconstruction_mm": against_truth["reconstruction_mm"]}
        return errors
    trained_on = np.unique(evenly_spaced_faces(face_set.train, _MOST_FACES).subject)
    coded = CodedFaces(codec, predictions.mean, codec.labels(predictions.expression, predictions.level))
    average = face_set.neutrals[trained_on].mean(axis=0)
    codes = encode_faces(codec, face_set.train, code_faces)
    codes = replace(codes, level=face_set.true_levels(codes.index, codes.level))
    return {
        **face_errors(predictions),
        **both_ways(coded, true_faces(face_set, predictions), average, face_set.expressions, seed),
        "self_intersections": crossed,
        **posterior_measures(predictions.mean, predictions.logvar, codec.identity_latents),
        **({} if against_truth is None else {"truth": against_truth}),
        "registered": face_errors(moved),
        **code_measures(codes, None, codec.identity_latents, seed),
    }


def fitted_linear(face_set: FaceSet, identity: int, expression: int, *, seed: int = 0) -> LinearModel:
    """The linear identity + expression model of the training faces; raises a ValueError for fewer than two people."""
    faces = evenly_spaced_faces(face_set.train, _MOST_FACES)
    return fit_linear_model(
        faces.vertices,
        faces.subject,
        face_set.neutrals,
        identity_components=identity,
        expression_components=expression,
        seed=seed,
    )


def fitted_pca(face_set: FaceSet, components: int, *, seed: int = 0) -> PcaModel:
    """The principal components of the training faces."""
    return fit_pca(evenly_spaced_faces(face_set.train, _MOST_FACES).vertices, components, seed=seed)


def pca_codec(model: PcaModel) -> FaceCodec:
    """Principal components as a codec, whose codes are of one kind and whose two faces are one."""

    def encode(faces: np.ndarray, labels: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        codes = model.encode(faces) / model.deviations
        return codes, np.zeros_like(codes)

    def decode(identity: np.ndarray, expression: np.ndarray, labels: object) -> tuple[np.ndarray, np.ndarray]:
        faces = model.decode(identity * model.deviations)
        return faces, faces

    decoded: Callable[..., tuple[np.ndarray, np.ndarray]] = decode
    return FaceCodec(encode, decoded, identity_latents=len(model.directions), expression_latents=0)
