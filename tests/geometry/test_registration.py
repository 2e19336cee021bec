import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from facedis_jax.geometry import rigid_registration


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def motion(seed):
    return Rotation.random(rng=seed).as_matrix().astype(np.float32), draw(seed, 3)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31))
def test_a_rigid_motion_is_found(seed):
    source = draw(seed, 20, 3)
    rotation, translation = motion(seed)
    found = rigid_registration(source, source @ rotation.T + translation)
    np.testing.assert_allclose(found[0], rotation, atol=1e-5)
    np.testing.assert_allclose(found[1], translation, atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31))
def test_noisy_data_agree_with_scipy_in_float64(seed):
    source, target = draw(seed, 15, 3), draw(seed + 1, 15, 3)
    rotation, translation = motion(seed)
    target = source @ rotation.T + translation + 0.3 * target
    a, b = source.astype(np.float64), target.astype(np.float64)
    expected = Rotation.align_vectors(b - b.mean(axis=0), a - a.mean(axis=0))[0].as_matrix()
    found = rigid_registration(source, target)
    np.testing.assert_allclose(found[0], expected, atol=1e-5)
    np.testing.assert_allclose(found[1], b.mean(axis=0) - expected @ a.mean(axis=0), atol=1e-5)


def test_landmarks_alone_decide():
    source = draw(0, 30, 3)
    rotation, translation = motion(0)
    target = source @ rotation.T + translation
    landmarks = jnp.array([2, 5, 11, 17])
    target[np.setdiff1d(np.arange(30), landmarks)] += 5
    found = rigid_registration(source, target, landmarks=landmarks)
    np.testing.assert_allclose(found[0], rotation, atol=1e-5)
    np.testing.assert_allclose(found[1], translation, atol=1e-5)


DEGENERATE = {
    "mirrored": draw(1, 10, 3) * np.float32([-1, 1, 1]),
    "flat": draw(1, 10, 3) * np.float32([1, 1, 0]),
    "on one line": draw(1, 10, 3) * np.float32([1, 0, 0]),
    "in one point": np.ones([10, 3], np.float32),
    "two points": draw(1, 2, 3),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_the_rotation_is_proper_for_degenerate_data(name):
    target = DEGENERATE[name]
    for source in (draw(1, 10, 3)[: len(target)], target):
        rotation, translation = map(np.asarray, rigid_registration(source, target))
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)
        np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-5)
        if source is target:
            np.testing.assert_allclose(source @ rotation.T + translation, target, atol=1e-5)


def test_batches_come_from_vmap():
    source, target = draw(0, 4, 12, 3), draw(1, 4, 12, 3)
    rotations, translations = jax.jit(jax.vmap(rigid_registration))(source, target)
    for i in range(4):
        rotation, translation = rigid_registration(source[i], target[i])
        np.testing.assert_allclose(rotations[i], rotation, atol=1e-5)
        np.testing.assert_allclose(translations[i], translation, atol=1e-5)


def test_unequal_shapes_are_an_error():
    with pytest.raises(ValueError, match=r"\(4, 3\).*\(5, 3\)"):
        rigid_registration(jnp.zeros([4, 3]), jnp.zeros([5, 3]))
