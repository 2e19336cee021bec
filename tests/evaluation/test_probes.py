import numpy as np
import pytest

from facedis_jax.evaluation.probes import leakage, probe


def test_classes_that_a_plane_parts_are_read_at_any_scale():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, 300)
    codes = np.stack([classes * 1e-4 + 1e-5 * rng.normal(size=300), 1e3 * rng.normal(size=300)], axis=1)
    found = probe(codes, classes)
    assert found.accuracy > 0.95
    assert found.chance == pytest.approx(1 / 3, abs=0.12)


def test_codes_that_say_nothing_are_read_at_chance():
    rng = np.random.default_rng(1)
    found = probe(rng.normal(size=(2000, 4)), rng.integers(0, 4, 2000))
    assert found.accuracy == pytest.approx(0.25, abs=0.06)


def test_groups_are_fitted_to_whole_or_not_at_all():
    """Each person's class is told by who it is, and by nothing that the people have in common."""
    people = np.repeat(np.arange(40), 10)
    classes = people % 2
    codes = np.eye(40)[people]
    assert probe(codes, classes).accuracy == 1
    assert probe(codes, classes, groups=people).accuracy < 0.75
    assert probe(codes, classes, groups=np.zeros(400)) is None


@pytest.mark.parametrize(("counts", "chance"), [([90, 10], 1 / 2), ([11] * 90, 1 / 90)])
def test_chance_is_one_over_the_number_of_classes(counts: list[int], chance: float):
    classes = np.repeat(np.arange(len(counts)), counts)
    assert probe(np.random.default_rng(2).normal(size=(len(classes), 2)), classes).chance == pytest.approx(chance)


@pytest.mark.parametrize("classes", [[0, 0, 0, 0, 0], [0, 1, 2]])
def test_too_little_to_classify_is_no_probe(classes: list[int]):
    assert probe(np.zeros((len(classes), 2)), np.array(classes)) is None


def test_expressions_are_asked_for_where_they_show():
    rng = np.random.default_rng(3)
    subject, expression = rng.integers(0, 3, 600), rng.integers(0, 3, 600)
    level = rng.uniform(size=600)
    shown = (level >= 0.5)[:, None]
    identity = np.eye(3)[subject] + 0.01 * rng.normal(size=(600, 3))
    codes = np.eye(3)[expression] * shown + 0.01 * rng.normal(size=(600, 3))
    probes = leakage(identity, codes, subject, expression, level)
    assert probes["subject_from_identity"]["accuracy"] == 1
    assert probes["expression_from_expression"]["accuracy"] == 1
    for leak in ("subject_from_expression", "expression_from_identity"):
        assert probes[leak]["accuracy"] < 0.5


def test_offsets_tell_what_people_give_away_by_moving_and_rest_what_the_code_does():
    rng = np.random.default_rng(4)
    subject, expression = rng.integers(0, 3, 600), rng.integers(0, 3, 600)
    level = rng.uniform(size=600)
    own_ways = np.eye(3)[subject] * level[:, None] + 0.01 * rng.normal(size=(600, 3))
    nobody = rng.normal(size=(600, 3))
    probes = leakage(nobody, own_ways * (level > 0.2)[:, None], subject, expression, level, offset_codes=own_ways)
    assert probes["subject_from_true_offsets"]["accuracy"] > 0.9
    assert probes["subject_from_expression_at_rest"]["accuracy"] < 0.6
    few = leakage(nobody[:30], own_ways[:30], np.arange(30) % 10, expression[:30], np.zeros(30))
    assert few["subject_from_expression_at_rest"] is None
    assert few["subject_from_true_offsets"] is None
