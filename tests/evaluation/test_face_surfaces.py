"""Errors of faces that are read by other points of their surfaces than their own."""

import numpy as np

from facedis_jax.evaluation.face_surfaces import surface_errors
from facedis_jax.inference.faces import FaceCodec


def flat_faces():
    """Three squares of 100 mm, at heights of 0, 3 and 6 mm."""
    square = np.array([[0, 0, 0], [100, 0, 0], [100, 100, 0], [0, 100, 0]], np.float32)
    return square + np.array([0, 0, 1]) * np.arange(0, 9, 3)[:, None, None], np.array([[0, 1, 2], [0, 2, 3]])


def codec(encode_points):
    """A model that knows a face by its mean height."""

    def decode(identity, expression, labels):
        square = flat_faces()[0][0]
        faces = square + np.array([0, 0, 1]) * identity[:, None]
        return faces, faces

    def encode(vertices, labels):
        mean = vertices.mean(axis=1)[:, 2:]
        return mean, np.zeros_like(mean)

    return FaceCodec(encode, decode, 1, 0, encode_points=encode_points)


def test_errors_are_of_the_points_that_are_named():
    faces, triangles = flat_faces()
    given = []

    def encode_points(points, labels):
        given.append(points)
        mean = np.stack([cloud.mean(axis=0)[2:] for cloud in points]) + 0.5
        return mean, np.zeros_like(mean)

    errors = surface_errors(codec(encode_points), faces, None, triangles)
    assert list(errors) == [
        "mesh",
        "points_1000",
        "points_2000",
        "points_5000",
        "points_10000",
        "noise_0.3_mm",
        "four_times_the_triangles",
    ]
    assert errors.pop("mesh") == 0
    np.testing.assert_allclose(list(errors.values()), 0.5, atol=0.02)
    assert [len(clouds[0]) for clouds in given] == [1000, 2000, 5000, 10_000, 5000, 5000]
    # All on the surface, but for the noise of 0.3 mm along each axis.
    heights = [np.stack([cloud[:, 2] for cloud in clouds]) - [[0], [3], [6]] for clouds in given]
    deviations = [height.std() for height in heights]
    np.testing.assert_allclose(deviations, [0, 0, 0, 0, 0.3, 0], atol=0.01)


def test_a_model_of_vertices_alone_has_none():
    faces, triangles = flat_faces()
    assert surface_errors(codec(None), faces, None, triangles) is None
