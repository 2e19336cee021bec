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
      share: part of each batch in which other people wear the offsets of true faces, two of them the same one.
      new_people: part of these people who are drawn at random, by the mean and the covariance of the training set's
        neutrals; the others are people of the training set.
      exchange: part of these pairs whose expression codes are exchanged before the full decoder.
      pairs: part of the other faces that are decoded with the identity code of another face of the same person, where
        the batch has one.

    Raises:
      InputError: for parts below 0 or above 1.
    """

    share: float = 0.0
    new_people: float = 1.0
    exchange: float = 1.0
    pairs: float = 0.0

    def __post_init__(self) -> None:
        check_least(self, share=0, new_people=0, exchange=0, pairs=0)
        for name in ("share", "new_people", "exchange", "pairs"):
            if getattr(self, name) > 1:
                raise InputError(name, "1 or less", str(getattr(self, name)))

    @property
    def used(self) -> bool:
        """Whether a batch differs from what it was."""
        return self.share > 0 or self.pairs > 0


class Recombined(NamedTuple):
    """A batch that the codes of other faces are decoded with.

    Attributes:
      vertices, neutral: [batch, vertices, 3], mm.
      offset_from: [batch], of which face of the batch each shows the expression.
      identity_from, expression_from: [batch], with which faces' codes each is decoded.
    """

    vertices: jax.Array
    neutral: jax.Array
    offset_from: jax.Array
    identity_from: jax.Array
    expression_from: jax.Array


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
    pair_keys: jax.Array,
    vertices: jax.Array,
    neutral: jax.Array,
    subject: jax.Array,
    neutrals: jax.Array,
    config: RecombinationConfig,
) -> Recombined:
    """A batch of which some faces are recombined.

    The faces 2i and 2i + 1 are a pair: if they are recombined, both wear the offset of the first one from its neutral.

    Args:
      keys: [batch], a key for each face.
      pair_keys: [batch], a key for each pair, that of both its faces.
      vertices, neutral: [batch, vertices, 3], mm.
      subject: [batch].
      neutrals: [subjects, vertices, 3] mm, of the training set.
      config: how many.
    """
    place = jnp.arange(len(vertices))
    first = place // 2 * 2
    other = jnp.minimum(place + 1 - 2 * (place % 2), len(vertices) - 1)
    draws = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(pair_keys)
    is_new, is_exchanged = draws[:, 0] < config.share, draws[:, 1] < config.exchange
    people = jax.vmap(lambda key: _person(jax.random.fold_in(key, 0), neutrals, config.new_people))(keys)
    offset_from = jnp.where(is_new, first, place)
    offsets = (vertices - neutral)[offset_from]
    is_known = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 1)))(keys) < config.pairs
    noise = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 2), place.shape))(keys)
    # Of the faces of the same person that are not recombined, one at random; the face itself where it is the only one.
    same = (subject[:, None] == subject) & ~is_new & ((place[:, None] != place) | ~is_known[:, None])
    mate = jnp.where(same.any(1), jnp.argmax(jnp.where(same, noise, -1), axis=1), place)
    new = is_new[:, None, None]
    return Recombined(
        vertices=jnp.where(new, people + offsets, vertices),
        neutral=jnp.where(new, people, neutral),
        offset_from=offset_from,
        identity_from=jnp.where(is_new | ~is_known, place, mate),
        expression_from=jnp.where(is_new & is_exchanged, other, place),
    )


def _person(key: jax.Array, neutrals: jax.Array, new_people: float) -> jax.Array:
    """The neutral face [vertices, 3] of a person of the training set, or of a random one."""
    keys = jax.random.split(key, 3)
    known = neutrals[jax.random.randint(keys[0], (), 0, len(neutrals))]
    if not new_people:
        return known
    return jnp.where(jax.random.uniform(keys[1]) < new_people, random_person(keys[2], neutrals), known)
