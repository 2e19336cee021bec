import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facedis_jax.evaluation.face_motion import kept_motion
from facedis_jax.evaluation.face_recognition import rank_1
from facedis_jax.evaluation.face_transfer import draw_pairs, expression_errors, transfer_measures
from facedis_jax.evaluation.true_faces import CodedFaces, TrueFaces
from facedis_jax.inference.faces import FaceCodec


@pytest.fixture(scope="module")
def synthetic(face_set):
    test = face_set.test
    return TrueFaces(
        vertices=test.vertices,
        neutral=face_set.neutrals[test.subject],
        subject=test.subject,
        expression=test.expression,
        index=test.index,
        level=face_set.true_levels(test.index, test.level),
        truth=face_set.truth,
    )


@pytest.fixture(params=["synthetic", "recorded"])
def true(request, synthetic):
    return synthetic if request.param == "synthetic" else dataclasses.replace(synthetic, truth=None)


def model_of(true, decode):
    """A model whose codes are rows of test faces, whom `decode` shows."""
    rows = np.arange(len(true.subject))

    def shown(identity, expression, labels):
        return decode(identity[:, 0].astype(int), expression[:, 0].astype(int))

    mean = np.stack([rows, rows], axis=1).astype(np.float32)
    return CodedFaces(FaceCodec(lambda vertices, labels: None, shown, 1, 1), mean)


def average_of(true):
    _, rows = np.unique(true.subject, return_index=True)
    return true.neutrals(rows).mean(axis=0)


def perfect(true):
    return model_of(true, lambda people, donors: (true.transferred(people, donors), true.neutrals(people)))


def test_a_model_that_is_right_has_no_error(true):
    found = transfer_measures(perfect(true), true, average_of(true))
    assert found["transfer_mm"] == pytest.approx({"mean": 0, "std": 0, "median": 0}, abs=1e-4)
    assert found["donor_share"] == pytest.approx(0, abs=1e-5)
    details = found["transfer"]
    assert details["error_shares"] == pytest.approx({"donor": 0, "average": 0}, abs=1e-5)
    assert (details["own_person"], details["people"], details["pairs"]) == (1, 3, 512)
    assert details["reconstruction_mm"]["mean"] == pytest.approx(0, abs=1e-4)


def test_a_model_that_shows_the_donor_is_all_donor(true):
    donor = model_of(true, lambda people, donors: (true.neutrals(donors) + true.offsets(donors), true.neutrals(people)))
    found = transfer_measures(donor, true, average_of(true))
    # Synthetic people have gains of their own, which the donor's offset does not follow.
    assert found["donor_share"] == pytest.approx(1, abs=1e-5 if true.truth is None else 0.1)
    assert found["transfer"]["error_shares"]["donor"] == pytest.approx(1, abs=1e-5 if true.truth is None else 0.1)
    assert found["transfer"]["own_person"] < 0.1
    rest = found["transfer"]["rest_mm"]
    assert rest["donor"] > 3 * rest["own"]


def test_a_model_that_shows_the_average_is_told_from_one_that_shows_the_donor(true):
    average = average_of(true)
    model = model_of(true, lambda people, donors: (average + true.offsets(donors), average))
    found = transfer_measures(model, true, average)
    assert found["transfer"]["error_shares"] == pytest.approx({"donor": 0, "average": 1}, abs=0.1)
    assert 0.3 < found["donor_share"] < 0.7


def test_what_people_perform_in_their_own_way_is_the_truth(synthetic, face_set):
    """A's neutral, B's units, A's gains."""
    truth, factors = face_set.truth, face_set.truth.factors
    person, donor = synthetic.index[3], synthetic.index[-3]
    units = factors["units"][donor] / factors["gains"][donor] * factors["gains"][person]
    expected = truth.neutrals[int(factors["subject"][person, 0])] + np.tensordot(units, truth.expression_units, 1)
    (found,) = synthetic.transferred(np.array([3]), np.array([len(synthetic.index) - 3]))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    rows = np.arange(len(synthetic.index))
    np.testing.assert_allclose(synthetic.transferred(rows, rows), synthetic.faces(rows), atol=1e-4)


def test_pairs_are_of_different_people_and_the_same_for_every_model(true):
    every = np.arange(len(true.subject))
    shown = every[true.level >= 0.5]
    pairs = draw_pairs(true.subject, every, shown, count=300)
    assert (true.subject[pairs.people] != true.subject[pairs.donors]).all()
    assert np.isin(pairs.donors, shown).all()
    assert set(true.subject[pairs.people]) == set(true.subject)
    again = draw_pairs(true.subject, every, shown, count=300)
    np.testing.assert_array_equal(pairs.people, again.people)
    np.testing.assert_array_equal(pairs.donors, again.donors)


@pytest.mark.parametrize(("people", "donors"), [([], [0]), ([0], []), ([0, 1], [0, 1])])
def test_where_there_are_no_pairs_there_are_none(people: list[int], donors: list[int]):
    pairs = draw_pairs(np.array([5, 5]), np.array(people, int), np.array(donors, int))
    assert pairs is None


@pytest.mark.parametrize("share", [0.05, 0.7, 1.0])
def test_kept_motion_is_the_share_of_each_expression(true, face_set, share: float):
    weak = int(np.unique(true.expression[true.level >= 0.5])[0])

    def decode(people, donors):
        kept = np.where(true.expression[donors] == weak, share, 1.0)[:, None, None]
        neutral = true.neutrals(people) + 1.0  # a wrong neutral takes nothing from the motion
        return neutral + kept * true.offsets(donors), neutral

    found = kept_motion(model_of(true, decode), true, face_set.expressions)
    assert found.keys() == {face_set.expressions[e] for e in true.expression[true.level >= 0.5]}
    assert found.pop(face_set.expressions[weak]) == pytest.approx(share, rel=1e-4)
    assert list(found.values()) == pytest.approx([1.0] * len(found), rel=1e-4)


def test_people_are_recognised_by_what_tells_them_apart(true):
    shown = perfect(true)
    _, first, subject = np.unique(true.subject, return_index=True, return_inverse=True)
    by_name = dataclasses.replace(shown, mean=np.stack([first[subject]] * 2, axis=1).astype(np.float32))
    assert rank_1(by_name, true) == {
        "identity_codes": 1, "neutrals": 1, "people": 3,
        "probes": len(true.subject) - 3, "chance": pytest.approx(1 / 3),
    }  # fmt: skip
    # Where all look alike, the first of the gallery is the nearest.
    silent = dataclasses.replace(shown, mean=np.zeros_like(by_name.mean))
    share = (np.sum(subject == 0) - 1) / (len(subject) - 3)
    found = rank_1(silent, true)
    assert (found["identity_codes"], found["neutrals"]) == pytest.approx((share, share))


def performers(offset):
    """A made-up set of one expression, whose people perform it from their own neutrals by an offset of their own."""
    count = len(offset)
    rows = np.arange(count)
    neutral = 100.0 * rows[:, None, None] + np.zeros((count, *offset.shape[1:]))
    return TrueFaces(neutral + offset, neutral, rows, np.zeros(count, int), rows, np.ones(count))


def test_an_expression_varies_by_what_its_performers_leave_in_it():
    """As published: over people, by vertex, the root of the summed variances of the coordinates, whatever the pose."""
    rng = np.random.default_rng(0)
    average, offset = 50 * rng.normal(size=(30, 3)), rng.normal(size=(5, 30, 3))
    # Without a part that is a rigid motion of the average, so that alignment finds none.
    centred = average - average.mean(axis=0)
    rigid = [np.broadcast_to(axis, average.shape) for axis in np.eye(3)] + [
        np.cross(axis, centred) for axis in np.eye(3)
    ]
    basis = np.linalg.qr(np.stack([part.ravel() for part in rigid], axis=1))[0]
    flat = offset.reshape(5, -1)
    offset = (flat - flat @ basis @ basis.T).reshape(offset.shape)
    true = performers(offset)
    turns = Rotation.from_euler("xyz", rng.uniform(-5, 5, size=(5, 3)), degrees=True).as_matrix()

    def posed(people, donors):
        return np.einsum("fvi,fji->fvj", average + 0.5 * offset[donors], turns[donors]) + 3.0 * donors[
            :, None, None
        ], None

    found = expression_errors(model_of(true, posed), true, average)["expression_disentanglement_per_vertex_mm"]
    expected = np.sqrt(offset.var(axis=0).sum(axis=-1)).mean()
    assert found["true"] == pytest.approx(expected, rel=0.03)
    assert found["mean"] == pytest.approx(0.5 * expected, rel=0.03)


def test_faces_that_are_alike_do_not_vary_and_one_performer_is_no_measure():
    average = np.random.default_rng(1).normal(size=(30, 3))
    true = performers(np.ones((3, 30, 3)))
    alike = model_of(true, lambda people, donors: (np.repeat(average[None], len(donors), axis=0), None))
    assert expression_errors(alike, true, average)["expression_disentanglement_mm"]["mean"] == pytest.approx(
        0, abs=1e-9
    )
    one = performers(np.ones((1, 30, 3)))
    assert expression_errors(perfect(one), one, average)["expression_disentanglement_mm"] is None
