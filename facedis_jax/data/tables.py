"""All examples of a source in one piece, of which each step takes its own on the device: for sets that fit its memory.

Reading and batching one example after the other gives some thousands a second, of which an accelerator takes more.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from facedis_jax.data.faces import FaceSource
from facedis_jax.data.images import ImageSource
from facedis_jax.data.videos import ClipSource


@dataclass(frozen=True)
class ExampleTables:
    """Every example of a source, to be kept in the memory of the devices.

    Attributes:
      arrays: "fields" of the examples, a pytree of host arrays [examples] or [examples, numbers], and for faces
        "neutrals" [subjects, numbers]: a TPU would fill up a last axis of three to 128.
      example: shapes of one example's fields, the neutral face among them.
    """

    arrays: Mapping[str, Any]
    example: Mapping[str, Any]

    def take(self, arrays: Mapping[str, Any], batch: Mapping[str, Any]) -> dict[str, Any]:
        """The batch of the examples at `batch["place"]` [batch], as `train_batches` would give it.

        Args:
          arrays: as `self.arrays`, wherever they are.
          batch: as `place_batches` gives it.
        """
        places = batch["place"]

        def rows(table: Any, places: Any, example: jax.ShapeDtypeStruct) -> Any:
            return table[places].reshape(len(places), *example.shape)

        example = dict(self.example)
        neutral = example.pop("neutral", None)
        fields = jax.tree.map(lambda table, one: rows(table, places, one), arrays["fields"], example)
        if neutral is not None:
            fields["neutral"] = rows(arrays["neutrals"], fields["subject"], neutral)
        return fields


def example_tables(source: FaceSource | ImageSource | ClipSource, neutrals: np.ndarray | None = None) -> ExampleTables:
    """Reads a whole source.

    Args:
      source: faces, images or clips.
      neutrals: [subjects, vertices, 3], for faces.
    """
    first = dict(source[0])
    example = _shapes_of(first)
    fields = jax.tree.map(lambda one: np.empty((len(source), *one.shape), one.dtype), example)
    for place in range(len(source)):
        for table, values in zip(jax.tree.leaves(fields), jax.tree.leaves(dict(source[place])), strict=True):
            table[place] = values
    arrays = {"fields": jax.tree.map(_as_rows, fields)}
    if neutrals is not None:
        arrays["neutrals"] = _as_rows(neutrals)
        example["neutral"] = jax.ShapeDtypeStruct(neutrals.shape[1:], neutrals.dtype)
    return ExampleTables(arrays, example)


def bytes_of_tables(source: FaceSource | ImageSource | ClipSource) -> int:
    """About how large the tables of a source are, from its first example."""
    shapes = jax.tree.leaves(_shapes_of(dict(source[0])))
    return len(source) * sum(math.prod(one.shape) * one.dtype.itemsize for one in shapes)


def _shapes_of(example: Any) -> Any:
    return jax.tree.map(lambda value: jax.ShapeDtypeStruct(np.shape(value), np.asarray(value).dtype), example)


def _as_rows(array: np.ndarray) -> np.ndarray:
    return array if array.ndim == 1 else array.reshape(len(array), math.prod(array.shape[1:]))
