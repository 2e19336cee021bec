"""All examples of a source in one piece, of which each step takes its own on the device: for sets that fit its memory.

Reading and batching one example after the other gives some thousands a second, of which an accelerator takes more.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from facedis_jax.data.sources import Source


class DeviceDataset(NamedTuple):
    """Every example of a source, to be kept in the memory of the devices.

    Attributes:
      arrays: "fields" of the examples, a pytree of host arrays [examples] or [examples, numbers], and for faces
        "neutrals" [subjects, numbers]: a TPU would fill up a last axis of three to 128.
      take: `(arrays, batch) -> batch`: of such arrays, wherever they are, and of a batch of `index_batches` that of
        `train_batches`. It does not hold the arrays.
    """

    arrays: Mapping[str, Any]
    take: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]


def device_dataset(source: Source[Any], neutrals: np.ndarray | None = None) -> DeviceDataset:
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
    neutral = None
    if neutrals is not None:
        arrays["neutrals"] = _as_rows(neutrals)
        neutral = jax.ShapeDtypeStruct(neutrals.shape[1:], neutrals.dtype)
    return DeviceDataset(arrays, partial(_take, example, neutral))


def dataset_bytes(source: Source[Any]) -> int:
    """About how large the tables of a source are, from its first example."""
    shapes = jax.tree.leaves(_shapes_of(dict(source[0])))
    return len(source) * sum(math.prod(one.shape) * one.dtype.itemsize for one in shapes)


def _take(
    example: Any, neutral: jax.ShapeDtypeStruct | None, arrays: Mapping[str, Any], batch: Mapping[str, Any]
) -> dict[str, Any]:
    places = batch["index"]

    def rows(table: Any, places: Any, one: jax.ShapeDtypeStruct) -> Any:
        return table[places].reshape(len(places), *one.shape)

    fields = jax.tree.map(lambda table, one: rows(table, places, one), arrays["fields"], example)
    if neutral is not None:
        fields["neutral"] = rows(arrays["neutrals"], fields["subject"], neutral)
    return fields


def _shapes_of(example: Any) -> Any:
    return jax.tree.map(lambda value: jax.ShapeDtypeStruct(np.shape(value), np.asarray(value).dtype), example)


def _as_rows(array: np.ndarray) -> np.ndarray:
    return array if array.ndim == 1 else array.reshape(len(array), math.prod(array.shape[1:]))
