import numpy as np
import pytest

from facedis_jax.data.synthetic.face_model import load_face_model
from facedis_jax.errors import InputError
from facedis_jax.inference.fitting.landmarks import named_vertices, read_landmarks

PLACES = {"nose_tip": [0.0, 0, 30], "chin": [0.0, -60, 10], "7": [40.0, 30, 0]}
NAMES = {"nose_tip": 3, "chin": 5}


@pytest.fixture(scope="module")
def embedded_face():
    return load_face_model()


def test_features_of_a_face_are_named(embedded_face):
    face = embedded_face.neutral
    names = named_vertices(face, embedded_face.triangles)
    at = {name: face[vertex] for name, vertex in names.items()}
    assert len(at) == 8
    assert at["left_eye_outer"][0] > at["left_eye_inner"][0] > at["right_eye_inner"][0] > at["right_eye_outer"][0]
    assert at["left_eye_inner"][1] > at["nose_tip"][1] > at["mouth_left"][1] > at["chin"][1]
    assert at["mouth_left"][0] > 15
    assert at["mouth_right"][0] < -15
    assert at["nose_tip"][2] == max(place[2] for place in at.values())


def test_landmarks_are_read_by_names_and_by_numbers_of_vertices():
    vertices, places = read_landmarks(PLACES, NAMES, 10)
    assert vertices.tolist() == [3, 5, 7]
    np.testing.assert_array_equal(places, list(PLACES.values()))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({**PLACES, "nose": [1, 2, 3]}, "expected names among nose_tip, chin, 0 to 9"),
        ({**PLACES, "10": [1, 2, 3]}, "found 10"),
        ({**PLACES, "-1": [1, 2, 3]}, "found -1"),
        ({**PLACES, "²": [1, 2, 3]}, "found"),
        ({"nose_tip": [0, 0, 1], "chin": [0, 1, 0]}, "expected 3 landmarks or more, found 2"),
        ({"nose_tip": [0, 0, 1], "3": [0, 0, 1], "chin": [0, 1, 0]}, "expected 3 landmarks or more, found 2"),
        ({}, "found 0"),
        ({**PLACES, "chin": [1, 2]}, "three finite numbers of chin"),
        ({**PLACES, "chin": [1, 2, float("nan")]}, "three finite numbers of chin"),
        ({**PLACES, "chin": "here"}, "three finite numbers of chin"),
        ({**PLACES, "chin": {"x": 1}}, "three finite numbers of chin"),
        ({"1": [0, 0, 0], "2": [1, 1, 1], "3": [5, 5, 5]}, "not all on one line"),
        ({"1": [2, 2, 2], "2": [2, 2, 2], "3": [2, 2, 2]}, "not all on one line"),
        ([1, 2, 3], "by name"),
    ],
)
def test_landmarks_that_cannot_be_used(given, found):
    with pytest.raises(InputError, match=found):
        read_landmarks(given, NAMES, 10)
