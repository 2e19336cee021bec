import numpy as np
from scipy.spatial.transform import Rotation

from facedis_jax.data.faces.alignment import align, align_to_mean, steady_vertices


def _moved(faces, rng, degrees=15.0, millimetres=20.0):
    turns = Rotation.from_rotvec(rng.normal(0, np.radians(degrees), (len(faces), 3))).as_matrix()
    return np.einsum("fvj,fij->fvi", faces, turns) + rng.normal(0, millimetres, (len(faces), 1, 3))


def _face(rng, num_vertices=60):
    return rng.uniform(-100, 100, (num_vertices, 3))


def test_align_undoes_rigid_motion_by_the_landmarks_alone():
    rng = np.random.default_rng(0)
    face = _face(rng)
    scans = np.repeat(face[None], 4, axis=0)
    scans[:, 20:] += rng.normal(0, 10, (4, 40, 3))
    aligned = align(_moved(scans, rng), face, np.arange(20))
    np.testing.assert_allclose(aligned, scans, atol=2e-3)


def test_align_agrees_with_scipy_far_from_the_origin():
    rng = np.random.default_rng(1)
    source, target = _face(rng) + 5000, _face(rng) - 3000
    rotation, _ = Rotation.align_vectors(target - target.mean(0), source - source.mean(0))
    expected = rotation.apply(source - source.mean(0)) + target.mean(0)
    np.testing.assert_allclose(align(source[None], target)[0], expected, atol=5e-3)


def test_neutrals_that_differ_by_rigid_motion_coincide_in_the_pose_of_the_first():
    rng = np.random.default_rng(2)
    face = _face(rng)
    neutrals = _moved(np.repeat(face[None], 5, axis=0), rng)
    np.testing.assert_allclose(align_to_mean(neutrals), np.repeat(neutrals[:1], 5, axis=0), atol=2e-3)


def test_neutrals_end_aligned_to_their_own_mean():
    rng = np.random.default_rng(3)
    neutrals = _moved(_face(rng) + rng.normal(0, 3, (6, 60, 3)), rng)
    aligned = align_to_mean(neutrals)
    np.testing.assert_allclose(align(aligned, aligned.mean(0)), aligned, atol=2e-3)


def test_steady_vertices_are_those_that_expressions_leave_in_place():
    rng = np.random.default_rng(4)
    neutrals = _face(rng) + rng.normal(0, 3, (3, 60, 3))
    subject = np.repeat(np.arange(3), 6)
    scans = neutrals[subject]
    scans[:, 20:] += rng.normal(0, 8, (18, 40, 3))
    steady = steady_vertices(_moved(scans, rng, 4, 5), neutrals, subject)
    assert len(steady) == 15
    assert set(steady) <= set(range(20))
