"""Recombined people and exchanged codes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.errors import InputError
from facedis_jax.learners.recombination import OwnWays, RecombinationConfig, Wearers, random_person, recombine

made_of = partial(jax.jit, static_argnums=6)(recombine)
RNG = np.random.default_rng(0)
NEUTRALS = jnp.asarray(RNG.normal(0, 10, (5, 7, 3)), jnp.float32)
SUBJECT = jnp.array([0, 1, 0, 2, 3, 0, 1, 4])
OFFSETS = jnp.asarray(RNG.normal(0, 1, (8, 7, 3)), jnp.float32)
FACES = NEUTRALS[SUBJECT] + OFFSETS
PLACE = np.arange(8)


def recombined(seed=0, **settings):
    keys = jax.random.split(jax.random.key(seed), 16)
    config = RecombinationConfig(**settings)
    return made_of(keys[:8], keys[8 + PLACE // 4], FACES, NEUTRALS[SUBJECT], SUBJECT, NEUTRALS, config)


def test_random_people_have_the_mean_and_the_covariance_of_the_neutrals():
    keys = jax.random.split(jax.random.key(0), 40_000)
    people = np.asarray(jax.jit(jax.vmap(random_person, (0, None)))(keys, NEUTRALS), np.float64).reshape(len(keys), -1)
    flat = np.asarray(NEUTRALS, np.float64).reshape(5, -1)
    # Four deviations of the mean and of a covariance of so many draws.
    spread = np.sqrt(np.diag(np.cov(flat.T)))
    np.testing.assert_allclose((people.mean(0) - flat.mean(0)) / spread, 0, atol=4 / 200)
    np.testing.assert_allclose((np.cov(people.T) - np.cov(flat.T)) / np.outer(spread, spread), 0, atol=4 * 1.5 / 200)


@pytest.mark.parametrize("new_people", [0.0, 1.0])
def test_two_people_wear_two_offsets_and_have_their_codes_exchanged(new_people):
    made = recombined(share=1.0, new_people=new_people)
    worn = made.vertices - made.neutral
    np.testing.assert_allclose(worn, OFFSETS[PLACE // 2 * 2], atol=2e-5)
    assert made.offset_from.tolist() == [0, 0, 2, 2, 4, 4, 6, 6]
    assert made.identity_from.tolist() == PLACE.tolist()
    assert made.expression_from.tolist() == [1, 0, 3, 2, 5, 4, 7, 6]
    assert made.same_person.tolist() == [2, 3, 0, 1, 6, 7, 4, 5]
    np.testing.assert_array_equal(made.neutral, made.neutral[made.same_person])
    is_known = [(np.abs(NEUTRALS - person).max((1, 2)) < 1e-5).any() for person in made.neutral]
    assert all(is_known) if not new_people else not any(is_known)


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7])
def test_groups_that_the_batch_cuts_are_made_of_what_is_there(size):
    keys = jax.random.split(jax.random.key(0), 2 * size)
    config = RecombinationConfig(share=1.0)
    place = np.arange(size)
    given = (FACES[:size], NEUTRALS[SUBJECT[:size]], SUBJECT[:size], NEUTRALS, config)
    made = made_of(keys[:size], keys[size + place // 4], *given)
    for others in (made.offset_from, made.expression_from, made.same_person):
        assert ((np.asarray(others) >= 0) & (np.asarray(others) < size)).all()
    np.testing.assert_allclose(made.neutral, made.neutral[made.same_person], atol=1e-5)


def test_other_faces_are_decoded_with_another_face_of_the_same_person():
    mates = np.array([recombined(seed, pairs=1.0).identity_from for seed in range(30)])
    for place, subject in enumerate(SUBJECT.tolist()):
        others = {other for other in PLACE.tolist() if SUBJECT[other] == subject and other != place}
        assert set(mates[:, place].tolist()) == (others or {place})
    made = recombined(pairs=1.0)
    np.testing.assert_array_equal(made.vertices, FACES)
    assert made.expression_from.tolist() == PLACE.tolist()
    np.testing.assert_array_equal(SUBJECT[made.same_person], SUBJECT)


def test_nobody_is_decoded_with_the_code_of_a_recombined_face_of_their_subject():
    for seed in range(20):
        made = recombined(seed, share=0.5, pairs=1.0)
        is_new = np.abs(made.neutral - NEUTRALS[SUBJECT]).max((1, 2)) > 1e-5
        mate = np.asarray(made.identity_from)
        np.testing.assert_array_equal(mate[is_new], PLACE[is_new])
        assert not is_new[mate[~is_new]].any()


def test_nothing_is_recombined_by_default():
    assert not RecombinationConfig().used
    made = recombined()
    np.testing.assert_array_equal(made.vertices, FACES)
    assert made.identity_from.tolist() == made.expression_from.tolist() == PLACE.tolist()


def test_shares_are_parts():
    for name in ("share", "new_people", "exchange", "pairs", "same_person"):
        for value in (-0.1, 1.1)[: 1 if name == "same_person" else 2]:
            with pytest.raises(InputError, match=name):
                RecombinationConfig(**{name: value})


def test_people_wear_offsets_in_their_own_way():
    # Two expressions, the second of which goes two ways; everyone's gains are their own.
    expression, level = np.array([0, 1, 1, 0, 0, 1, 1, 0]), np.float32([1, 0.5, 1, 0.25, 1, 0.75, 1, 0.5])
    way = np.array([1, 1, -1, 1, 1, -1, 1, 1])
    units = RNG.normal(0, 1, (2, 7, 3)).astype(np.float32)
    gains = np.exp(0.3 * RNG.normal(size=(5, 2))).astype(np.float32)

    def offset(person, expression, level, way):
        return gains[person, expression] * level * way * units[expression]

    grid = np.stack(np.meshgrid(np.arange(5), [0, 1], [0.4, 1.0], [1, -1], indexing="ij"), -1).reshape(-1, 4)
    grid = grid[(grid[:, 1] == 1) | (grid[:, 3] == 1)]
    people, names, levels, ways = grid[:, 0].astype(int), grid[:, 1].astype(int), grid[:, 2], grid[:, 3]
    shown = np.stack([offset(*row) for row in zip(people, names, levels, ways, strict=True)])
    known = OwnWays.of(shown, people, names, levels, 2)
    subject = np.asarray(SUBJECT)
    worn = np.stack([offset(*row) for row in zip(subject, expression, level, way, strict=True)])
    keys = jax.random.split(jax.random.key(3), 16)
    made = made_of(
        keys[:8],
        keys[8 + PLACE // 4],
        NEUTRALS[SUBJECT] + worn,
        NEUTRALS[SUBJECT],
        SUBJECT,
        NEUTRALS,
        RecombinationConfig(share=1.0, new_people=0.0, own_ways=True),
        Wearers(SUBJECT, jnp.asarray(expression), jnp.asarray(level), known),
    )
    wearer = np.linalg.norm(np.asarray(made.neutral)[:, None] - NEUTRALS, axis=(2, 3)).argmin(1)
    for face, source in enumerate(PLACE // 2 * 2):
        expected = offset(wearer[face], expression[source], level[source], way[source])
        np.testing.assert_allclose(made.vertices[face] - made.neutral[face], expected, atol=1e-4)


def test_random_people_wear_offsets_as_they_are():
    ways = OwnWays.of(np.asarray(OFFSETS), np.asarray(SUBJECT), np.zeros(8, int), np.ones(8), 1)
    keys = jax.random.split(jax.random.key(0), 16)
    config = RecombinationConfig(share=1.0, own_ways=True)
    wearers = Wearers(SUBJECT, jnp.zeros(8, int), jnp.ones(8), ways)
    given = (FACES, NEUTRALS[SUBJECT], SUBJECT, NEUTRALS, config, wearers)
    made = made_of(keys[:8], keys[8 + PLACE // 4], *given)
    np.testing.assert_allclose(made.vertices - made.neutral, OFFSETS[PLACE // 2 * 2], atol=2e-5)


def test_who_does_not_show_an_expression_has_the_others_way():
    offsets = np.float32([[1], [3], [5]])[:, None] * np.ones((3, 4, 3), np.float32)
    ways = OwnWays.of(offsets, np.array([0, 1, 2]), np.array([0, 0, 1]), np.ones(3), 3)
    np.testing.assert_allclose(ways.apex[2, 0, 0], 2)
    np.testing.assert_allclose(ways.apex[0, 1, 0], 5)
    assert not ways.apex[:, 2].any()
