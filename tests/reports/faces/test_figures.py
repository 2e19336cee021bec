import dataclasses

import numpy as np
import pytest

from facedis_jax.evaluation.faces import predict
from facedis_jax.reports.faces import figures as face_figures
from facedis_jax.reports.faces.figures import Aggregate, Scene
from tests.pages import cells


@pytest.fixture(scope="module")
def scene(codec, face_set):
    return Scene.of(codec, face_set, predict(codec, face_set.test, face_set.neutrals))


@pytest.fixture(scope="module")
def named_scene(named_codec, face_set):
    return Scene.of(named_codec, face_set, predict(named_codec, face_set.test, face_set.neutrals))


def test_the_faces_shown_are_strong_and_as_different_as_there_are(scene):
    every = np.arange(3 * 4 * 5)
    subject, expression, level = every // 20, every // 5 % 4, (every % 5 / 4).astype(np.float32)
    made_up = dataclasses.replace(scene.true, subject=subject, expression=expression, level=level)
    shown = face_figures.showcase(made_up, 4)
    assert (level[shown] == 1).all()
    assert sorted(expression[shown]) == [0, 1, 2, 3]
    assert set(subject[shown]) == {0, 1, 2}
    assert len(set(face_figures.showcase(made_up, 99).tolist())) == 12


def test_faint_expressions_are_shown_after_all_others(scene):
    level = np.array([0.1, 0.3, 0.9, 0.2], np.float32)
    subject, expression = np.array([0, 1, 2, 2]), np.array([0, 1, 2, 2])
    made_up = dataclasses.replace(scene.true, subject=subject, expression=expression, level=level)
    assert face_figures.showcase(made_up, 3).tolist() == [2, 1, 0]


def test_people_are_shown_once_each_and_as_neutral_as_can_be(scene):
    shown = face_figures.people(scene.true, 6)
    subjects = scene.predictions.subject
    assert subjects[shown].tolist() == np.unique(subjects).tolist()
    for row in shown:
        assert scene.true.level[row] == scene.true.level[subjects == subjects[row]].min()
    assert len(face_figures.people(scene.true, 2)) == 2


def test_reconstructions_share_one_scale(scene):
    figure = face_figures.reconstructions(scene, face_figures.showcase(scene.true, 2))
    assert len(cells(figure)) == 12
    bar = figure.axes[-1]
    assert bar.get_ylabel().startswith("distance (mm)")
    assert bar.get_ylim()[0] == 0


def test_scales_that_are_cut_say_so():
    errors = np.concatenate([np.linspace(0, 1, 1000), [20.0]])
    assert face_figures.error_scale(errors).is_cut
    assert face_figures.error_scale(errors).largest == 20
    assert not face_figures.error_scale(errors[:1000]).is_cut


def test_every_expression_that_is_performed_is_shown_once(scene):
    rows = face_figures.every_expression(scene.true)
    performed = scene.true.level >= 0.5
    assert scene.true.expression[rows].tolist() == np.unique(scene.true.expression[performed]).tolist()
    for row in rows:
        own = performed & (scene.true.expression == scene.true.expression[row])
        assert scene.true.level[row] >= 0.9 * scene.true.level[own].max()
    nothing = dataclasses.replace(scene.true, level=np.zeros_like(scene.true.level))
    assert len(face_figures.every_expression(nothing)) == 5


def test_transferred_expressions_stand_beside_the_truth(scene):
    person, donors = int(face_figures.people(scene.true, 1)[0]), face_figures.showcase(scene.true, 2)
    *_, truth, _ = np.array_split(np.array(cells(face_figures.borrowed_expressions(scene, person, donors))), 4)
    expected = scene.render(scene.true.transferred(np.array([person, person]), donors))
    np.testing.assert_array_equal(truth, expected)
    shown = cells(face_figures.one_expression(scene, int(donors[0]), np.array([person])))
    np.testing.assert_array_equal(shown[-1], expected[0])


@pytest.mark.parametrize("which", ["scene", "named_scene"])
def test_a_face_with_its_own_expression_is_its_reconstruction(which: str, request):
    scene = request.getfixturevalue(which)
    row = int(face_figures.showcase(scene.true, 1)[0])
    (expected,) = scene.render(scene.predictions.reconstruction[[row]])
    _, borrowed, *_ = cells(face_figures.borrowed_expressions(scene, row, np.array([row])))
    _, given, _ = cells(face_figures.one_expression(scene, row, np.array([row])))
    *_, swapped = cells(face_figures.swaps(scene, np.array([row]), np.array([row])))
    *_, last, _ = cells(face_figures.level_sweep(scene, np.array([row])))
    for image in (borrowed, given, swapped, last):
        np.testing.assert_allclose(image.astype(int), expected, atol=3)


def test_swaps_have_people_in_rows_and_expressions_in_columns(scene):
    persons, donors = face_figures.people(scene.true, 2), face_figures.showcase(scene.true, 3)
    images = cells(face_figures.swaps(scene, persons, donors))
    assert len(images) == 3 + 2 * 4
    z = np.concatenate([scene.identity(persons)[1], scene.expression(donors)[2]]).astype(np.float32)[None]
    (expected,) = scene.render(scene.codec.decode(z[:, :2], z[:, 2:], None)[0])
    np.testing.assert_array_equal(images[-1], expected)


def test_the_codes_distribution_is_that_of_their_samples(scene):
    predictions, rng = scene.predictions, np.random.default_rng(0)
    rows = rng.integers(0, len(predictions), 100_000)
    noise = rng.normal(size=(len(rows), 5)) * np.exp(0.5 * predictions.logvar[rows])
    drawn = predictions.mean[rows] + noise
    aggregate = Aggregate.of(predictions)
    np.testing.assert_allclose(aggregate.mean, drawn.mean(axis=0), atol=0.02)
    np.testing.assert_allclose(aggregate.covariance, np.cov(drawn.T), atol=0.04)


@pytest.mark.parametrize(("mean", "deviation", "fits"), [(0.1, 1.0, True), (1.0, 1.0, False), (0.0, 0.3, False)])
def test_the_prior_is_told_from_other_distributions(mean: float, deviation: float, fits: bool):
    assert Aggregate(np.array([0.0, mean]), np.diag([1.0, deviation**2])).is_prior is fits


@pytest.mark.parametrize("fits", [True, False])
def test_samples_of_the_prior_are_shown_only_where_they_are_faces(scene, fits: bool):
    rng, shape = np.random.default_rng(0), scene.predictions.mean.shape
    mean = rng.normal(size=shape).astype(np.float32) * (1.0 if fits else 0.1)
    spread = dataclasses.replace(scene, predictions=dataclasses.replace(scene.predictions, mean=mean))
    assert Aggregate.of(spread.predictions).is_prior is fits
    first, second = (cells(face_figures.samples(spread, count=2)) for _ in range(2))
    assert len(first) == (4 if fits else 2)
    np.testing.assert_array_equal(first, second)
