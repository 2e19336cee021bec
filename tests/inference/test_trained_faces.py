from dataclasses import replace

import numpy as np

from facedis_jax.learners import FaceConstants
from facedis_jax.runs.faces import trained_faces


def test_expressions_are_edited_by_true_levels_and_labels_are_those_of_training(face_set, codec, named_codec):
    """Noise makes the measured levels of weak expressions."""
    constants = FaceConstants(face_set.neutrals[0], 260.0, len(face_set.train), 12, np.zeros(0, np.float32), 1.0)
    true = face_set.truth.factors["level"][face_set.train.index, 0]
    np.testing.assert_array_equal(trained_faces(codec, constants, face_set).level, true)
    np.testing.assert_array_equal(trained_faces(named_codec, constants, face_set).level, face_set.train.level)
    recorded = replace(face_set, truth=None)
    np.testing.assert_array_equal(trained_faces(codec, constants, recorded).level, face_set.train.level)
