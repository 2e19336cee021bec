"""Faces that nobody has seen: people who wear the offsets of others, and whose codes are exchanged.

Neither is in the paper, whose people are few and known. A code that the decoder has only seen beside the face it was
read from may keep who the person is; a code that is exchanged between two people who do the same may not.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

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
      same_person: weight of the squared difference between the neutrals that are predicted from two faces of one
        person, relative to that of the neutral's own error.

    Raises:
      InputError: for parts below 0 or above 1, or a weight below 0.
    """

    share: float = 0.0
    new_people: float = 1.0
    exchange: float = 1.0
    pairs: float = 0.0
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
    """
    place = jnp.arange(len(vertices))

    def at(other: jax.Array) -> jax.Array:
        """Places of the group, and the face itself where the batch has no such place."""
        return jnp.where(other < len(vertices), other, place)

    draws = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(group_keys)
    is_new, is_exchanged = draws[:, 0] < config.share, draws[:, 1] < config.exchange
    who = jax.vmap(jax.random.fold_in)(group_keys, place % 2)
    people = jax.vmap(lambda key: _person(key, neutrals, config.new_people))(who)
    offset_from = jnp.where(is_new, place // 2 * 2, place)
    offsets = (vertices - neutral)[offset_from]
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


def _person(key: jax.Array, neutrals: jax.Array, new_people: float) -> jax.Array:
    """The neutral face [vertices, 3] of a person of the training set, or of a random one."""
    keys = jax.random.split(key, 3)
    known = neutrals[jax.random.randint(keys[0], (), 0, len(neutrals))]
    if not new_people:
        return known
    return jnp.where(jax.random.uniform(keys[1]) < new_people, random_person(keys[2], neutrals), known)
