import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from facedis_jax.metrics import disentanglement_error

VARIANTS = ("pooled", "per_vertex")


def draw(seed, frames=12, vertices=15):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(frames, vertices, 3)).astype(np.float32), rng.permutation(frames) % 3


def by_hand(neutrals, subjects, variant):
    """Eq. 14, and the variant of Jiang et al., one distance at a time."""
    values = []
    for subject in sorted(set(subjects.tolist())):
        faces = [face.astype(np.float64) for face, s in zip(neutrals, subjects, strict=True) if s == subject]
        mean = sum(faces) / len(faces)
        distances = np.array([[np.linalg.norm(face[j] - mean[j]) for j in range(len(mean))] for face in faces])
        if variant == "pooled":
            values.append(np.sqrt(np.mean((distances - distances.mean()) ** 2)))
        else:
            variances = np.var(np.stack(faces), axis=0)
            values.append(np.mean(np.sqrt(variances[:, 0] + variances[:, 1] + variances[:, 2])))
    return values


@pytest.mark.parametrize("variant", VARIANTS)
def test_is_the_formula_in_float64(variant):
    neutrals, subjects = draw(0)
    value = disentanglement_error(neutrals, subjects, variant=variant)
    np.testing.assert_allclose(value, by_hand(neutrals, subjects, variant), rtol=1e-5)


def test_values_known_by_hand():
    """Two frames of two vertices: one vertex stays, the other is 1 mm to either side of its mean."""
    neutrals = np.zeros([2, 2, 3])
    neutrals[0, 1, 0], neutrals[1, 1, 0] = 1.0, -1.0
    assert disentanglement_error(neutrals, np.zeros(2, int)) == pytest.approx([0.5])
    assert disentanglement_error(neutrals, np.zeros(2, int), variant="per_vertex") == pytest.approx([0.5])
    neutrals[:, 0] = neutrals[:, 1]
    assert disentanglement_error(neutrals, np.zeros(2, int)) == pytest.approx([0.0])
    assert disentanglement_error(neutrals, np.zeros(2, int), variant="per_vertex") == pytest.approx([1.0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_values_come_in_the_order_of_the_subjects_numbers(variant):
    neutrals = np.zeros([6, 4, 3])
    subjects = np.array([7, 2, 7, 2, 5, 5])
    neutrals[[0, 2], 0, 0] = 1.0, -1.0
    neutrals[[1, 3], 0, 0] = 10.0, -10.0
    two, five, seven = disentanglement_error(neutrals, subjects, variant=variant)
    assert five == 0
    assert seven > 0
    assert two == pytest.approx(10 * seven)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.sampled_from(VARIANTS))
def test_order_rigid_motion_and_what_the_subjects_look_like_do_not_matter(seed, variant):
    neutrals, subjects = draw(seed)
    rng = np.random.default_rng(seed)
    value = disentanglement_error(neutrals, subjects, variant=variant)
    frames, vertices = rng.permutation(12), rng.permutation(15)
    changed = disentanglement_error(neutrals[frames][:, vertices], subjects[frames], variant=variant)
    np.testing.assert_allclose(changed, value, rtol=1e-6)
    looks = rng.normal(scale=10, size=(3, 15, 3))
    rotation = Rotation.random(rng=seed).as_matrix()
    changed = disentanglement_error((neutrals + looks[subjects]) @ rotation, subjects, variant=variant)
    np.testing.assert_allclose(changed, value, rtol=1e-6)
    changed = disentanglement_error(3 * neutrals, subjects, variant=variant)
    np.testing.assert_allclose(changed, 3 * value, rtol=1e-5)


def test_one_frame_or_equal_frames_have_none():
    neutrals = np.repeat(draw(0)[0][:1], 4, axis=0)
    for variant in VARIANTS:
        assert disentanglement_error(neutrals, np.array([0, 0, 0, 1]), variant=variant).tolist() == [0, 0]


def test_bad_arguments_are_named():
    neutrals, subjects = draw(0)
    with pytest.raises(ValueError, match="per_vertex"):
        disentanglement_error(neutrals, subjects, variant="jiang")
    with pytest.raises(ValueError, match=r"\(12, 15, 3\) and \(11,\)"):
        disentanglement_error(neutrals, subjects[:-1])
