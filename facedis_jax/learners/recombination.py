"""Faces that nobody has seen: people who wear the offsets of others, and whose codes are exchanged.

Neither is in the paper, whose people are few and known. A code that the decoder has only seen beside the face it was
read from may keep who the person is; a code that is exchanged between two people who do the same may not.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.errors import InputError, check_least


@dataclass(frozen=True)
class RecombinationConfig:
    """How many faces of a batch are recombined; the default is none, as in the paper.

    Attributes:
      share: part of each batch in which other people wear the offsets of true faces: of four faces, two people wear two
        offsets each.
      new_people: part of these people who are drawn at random, by the mean and the covariance of the training set's
        neutrals; the others are people of the training set.
      exchange: part of these fours in which the two people's expression codes are exchanged before the full decoder.
      pairs: part of the other faces that are decoded with the identity code of another face of the same person, where
        the batch has one.
      own_ways: people of the training set wear an offset in their own way, see `OwnWays`.
      same_person: weight of the squared difference between the neutrals that are predicted from two faces of one
        person, relative to that of the neutral's own error.

    Raises:
      InputError: for parts below 0 or above 1, or a weight below 0.
    """

    share: float = 0.0
    new_people: float = 1.0
    exchange: float = 1.0
    pairs: float = 0.0
    own_ways: bool = False
    same_person: float = 0.0

    def __post_init__(self) -> None:
        check_least(self, share=0, new_people=0, exchange=0, pairs=0, same_person=0)
        for name in ("share", "new_people", "exchange", "pairs"):
            if getattr(self, name) > 1:
                raise InputError(name, "1 or less", str(getattr(self, name)))

    @property
    def used(self) -> bool:
        """Whether a batch differs from what it was."""
        return self.share > 0 or self.pairs > 0


class OwnWays(NamedTuple):
    """How each person of a training set moves in each expression: one smiles more widely, another to one side.

    Faces of one expression and level are taken to be the same expression of different people. What a person wears of
    another is then the other's offset, less the other's way at that level, and with their own.

    Attributes:
      subject: [people], ascending, by which number the training set knows them.
      apex: [people, expressions, 2, vertices, 3] mm, offsets at a level of 1, of expressions that go two ways under one
        name (CoMA's mouth_side) each way apart; zeros of one that nobody shows.
      direction: [expressions, vertices, 3], along which an offset goes the first way.
    """

    subject: jax.Array | np.ndarray
    apex: jax.Array | np.ndarray
    direction: jax.Array | np.ndarray

    @classmethod
    def of(
        cls, offsets: np.ndarray, subject: np.ndarray, expression: np.ndarray, level: np.ndarray, expressions: int
    ) -> "OwnWays":
        """The ways of the people of some faces.

        An apex is fitted to a person's offsets of an expression by least squares through zero. Who does not show it has
        the mean of the others'.

        Args:
          offsets: [faces, vertices, 3] mm, from the people's neutrals.
          subject, expression: [faces] integers.
          level: [faces].
          expressions: how many there are.

        Example:
          >>> offsets = np.array([1.0, 2, 3, -3])[:, None, None] * np.ones((4, 5, 3))
          >>> ways = OwnWays.of(offsets, np.array([0, 0, 7, 7]), np.zeros(4, int), np.array([0.5, 1, 1, 1]), 1)
          >>> ways.subject, ways.apex[:, 0, :, 0, 0]
          (array([0, 7]), array([[ 2., -3.],
                 [ 3., -3.]], dtype=float32))
        """
        people, row = np.unique(subject, return_inverse=True)
        apex = np.zeros((len(people), expressions, 2, *offsets.shape[1:]), np.float32)
        direction = np.zeros((expressions, *offsets.shape[1:]), np.float32)
        for name in range(expressions):
            shown = np.flatnonzero((expression == name) & (level > 0))
            if not len(shown):
                continue
            flat = offsets[shown].reshape(len(shown), -1).astype(np.float64)
            # The first principal direction about zero; the strongest face goes the first way.
            main = np.linalg.eigh(flat @ flat.T)[1][:, -1] @ flat
            main = main * np.sign(flat[np.square(flat).sum(1).argmax()] @ main)
            direction[name] = main.reshape(offsets.shape[1:])
            way = (flat @ main < 0).astype(int)
            for side in (0, 1):
                fitted = {}
                for person in range(len(people)):
                    of = (row[shown] == person) & (way == side)
                    if of.any():
                        weights = level[shown][of].astype(np.float64)
                        fitted[person] = weights @ flat[of] / (weights @ weights)
                if fitted:
                    apex[:, name, side] = np.mean([*fitted.values()], axis=0).reshape(offsets.shape[1:])
                for person, offset in fitted.items():
                    apex[person, name, side] = offset.reshape(offsets.shape[1:])
        return cls(people, apex, direction)


class Wearers(NamedTuple):
    """Whose offsets a batch has, for people to wear them in their own way.

    Attributes:
      subject, expression: [batch].
      level: [batch].
      ways: of the people of the training set.
    """

    subject: jax.Array
    expression: jax.Array
    level: jax.Array
    ways: OwnWays

    def change(self, offset: jax.Array, face: jax.Array, person: jax.Array) -> jax.Array:
        """What a person [] of the ways, by row, does in another way than who has this offset [vertices, 3], a face."""
        ways = OwnWays(*map(jnp.asarray, self.ways))
        name = self.expression[face]
        side = (jnp.vdot(offset, ways.direction[name]) < 0).astype(int)
        before = jnp.searchsorted(ways.subject, self.subject[face])
        return self.level[face] * (ways.apex[person, name, side] - ways.apex[before, name, side])


class Recombined(NamedTuple):
    """A batch whose faces are decoded with the codes of others.

    Attributes:
      vertices, neutral: [batch, vertices, 3], mm.
      offset_from: [batch], of which face of the batch each shows the expression.
      identity_from, expression_from: [batch], with which faces' codes each is decoded.
      same_person: [batch], another face of each one's person; the face itself where there is none.
    """

    vertices: jax.Array
    neutral: jax.Array
    offset_from: jax.Array
    identity_from: jax.Array
    expression_from: jax.Array
    same_person: jax.Array


def random_person(key: jax.Array, neutrals: jax.Array) -> jax.Array:
    """The neutral face [vertices, 3] of a person drawn by the mean and the covariance of some neutrals.

    Args:
      key: typed PRNG key.
      neutrals: [subjects, vertices, 3], mm.

    Example:
      >>> people = jax.vmap(random_person, (0, None))(jax.random.split(jax.random.key(0), 5000), jnp.eye(3)[:, None])
      >>> print(jnp.cov(people[:, 0].T).round(1))
      [[ 0.3 -0.2 -0.2]
       [-0.2  0.3 -0.2]
       [-0.2 -0.2  0.3]]
    """
    mean = neutrals.mean(0)
    weights = jax.random.normal(key, (len(neutrals),)) / jnp.sqrt(jnp.maximum(len(neutrals) - 1, 1))
    # The weights' mean would add a part of the mean face, around which the people lie.
    return mean + jnp.tensordot(weights - weights.mean(), neutrals, 1)


def recombine(
    keys: jax.Array,
    group_keys: jax.Array,
    vertices: jax.Array,
    neutral: jax.Array,
    subject: jax.Array,
    neutrals: jax.Array,
    config: RecombinationConfig,
    wearers: Wearers | None = None,
) -> Recombined:
    """A batch of which some faces are recombined.

    The faces 4i to 4i + 3 are a group. If it is recombined, its people wear, in this order, a and b the offset of the
    first face from its neutral, then a and b that of the third.

    Args:
      keys: [batch], a key for each face.
      group_keys: [batch], a key for each group, that of all its faces.
      vertices, neutral: [batch, vertices, 3], mm.
      subject: [batch].
      neutrals: [subjects, vertices, 3] mm, of the training set.
      config: how many.
      wearers: where people of the training set wear offsets in their own way; the ways are of the same people as
        `neutrals`, in their order.
    """
    place = jnp.arange(len(vertices))

    def at(other: jax.Array) -> jax.Array:
        """Places of the group, and the face itself where the batch has no such place."""
        return jnp.where(other < len(vertices), other, place)

    draws = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(group_keys)
    is_new, is_exchanged = draws[:, 0] < config.share, draws[:, 1] < config.exchange
    who = jax.vmap(jax.random.fold_in)(group_keys, place % 2)
    people, known = jax.vmap(lambda key: _person(key, neutrals, config.new_people))(who)
    offset_from = jnp.where(is_new, place // 2 * 2, place)
    offsets = (vertices - neutral)[offset_from]
    if wearers is not None:
        change = jax.vmap(wearers.change)(offsets, offset_from, known)
        offsets = offsets + jnp.where((known >= 0)[:, None, None], change, 0)
    # Of the faces of the same person that are not recombined, one at random; the face itself where it is the only one.
    chances = jax.vmap(lambda key: jax.random.uniform(key, (len(vertices) + 1,)))(keys)
    same = (subject[:, None] == subject) & ~is_new & (place[:, None] != place)
    mate = jnp.where(same.any(1), jnp.argmax(jnp.where(same, chances[:, 1:], -1), axis=1), place)
    new, is_known = is_new[:, None, None], ~is_new & (chances[:, 0] < config.pairs)
    return Recombined(
        vertices=jnp.where(new, people + offsets, vertices),
        neutral=jnp.where(new, people, neutral),
        offset_from=offset_from,
        identity_from=jnp.where(is_known, mate, place),
        expression_from=jnp.where(is_new & is_exchanged, at(place ^ 1), place),
        same_person=jnp.where(is_new, at(place ^ 2), mate),
    )


def _person(key: jax.Array, neutrals: jax.Array, new_people: float) -> tuple[jax.Array, jax.Array]:
    """The neutral face [vertices, 3] of a person of the training set, and which; or of a random one, and -1."""
    keys = jax.random.split(key, 3)
    which = jax.random.randint(keys[0], (), 0, len(neutrals))
    if not new_people:
        return neutrals[which], which
    is_random = jax.random.uniform(keys[1]) < new_people
    return jnp.where(is_random, random_person(keys[2], neutrals), neutrals[which]), jnp.where(is_random, -1, which)
