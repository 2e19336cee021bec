"""The whole data set on the device, for sets that fit its memory: steps gather their examples by index.

Reading and batching one example after the other on the host gives some thousands a second; an accelerator needs more.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from facedis_jax.data.faces.features import FeatureSource
from facedis_jax.data.shared_memory import shareable_array
from facedis_jax.data.sources import Source
from facedis_jax.progress import track


class DeviceDataset(NamedTuple):
    """All examples of a source as arrays, and the function that gathers a batch of them.

    Attributes:
      arrays: "fields" of the examples, a pytree of host arrays [examples] or [examples, numbers], and for faces
        "neutrals" [subjects, numbers]. They are flat because a TPU would pad a last axis of three to 128.
      take: `(arrays, batch) -> batch`, from such arrays, on any device, and a batch of `index_batches` to the batch of
        `train_batches`. It does not hold the arrays itself.
    """

    arrays: Mapping[str, Any]
    take: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]


def device_dataset(source: Source[Any], neutrals: np.ndarray | None = None) -> DeviceDataset:
    """Reads a whole source into host arrays that can be put on devices; CPU devices use them as they are.

    Args:
      source: faces, images or clips; features of faces, which are in memory already, are not copied.
      neutrals: [subjects, vertices, 3], for faces.
    """
    example = _shapes_of(dict(source[0]))
    read, computed = (
        (source.source, {"features": source.features}) if isinstance(source, FeatureSource) else (source, {})
    )
    shapes = _shapes_of(dict(read[0]))
    fields = jax.tree.map(lambda one: shareable_array((len(source), *one.shape), one.dtype), shapes)
    for index in track(range(len(source)), "reading training examples"):
        for array, value in zip(jax.tree.leaves(fields), jax.tree.leaves(dict(read[index])), strict=True):
            array[index] = value
    fields |= computed
    arrays = {"fields": jax.tree.map(_as_rows, fields)}
    neutral = None
    if neutrals is not None:
        arrays["neutrals"] = _as_rows(neutrals)
        neutral = jax.ShapeDtypeStruct(neutrals.shape[1:], neutrals.dtype)
    return DeviceDataset(arrays, partial(_take, example, neutral))


def dataset_bytes(source: Source[Any]) -> int:
    """Bytes that the `DeviceDataset` of a source takes, without neutrals; from the first example alone."""
    shapes = jax.tree.leaves(_shapes_of(dict(source[0])))
    return len(source) * sum(math.prod(one.shape) * one.dtype.itemsize for one in shapes)


def _take(
    example: Any, neutral: jax.ShapeDtypeStruct | None, arrays: Mapping[str, Any], batch: Mapping[str, Any]
) -> dict[str, Any]:
    def rows(array: Any, indices: Any, one: jax.ShapeDtypeStruct) -> Any:
        return array[indices].reshape(len(indices), *one.shape)

    fields = jax.tree.map(lambda array, one: rows(array, batch["index"], one), arrays["fields"], example)
    if neutral is not None:
        fields["neutral"] = rows(arrays["neutrals"], fields["subject"], neutral)
    return fields


def _shapes_of(example: Any) -> Any:
    return jax.tree.map(lambda value: jax.ShapeDtypeStruct(np.shape(value), np.asarray(value).dtype), example)


def _as_rows(array: np.ndarray) -> np.ndarray:
    return array if array.ndim == 1 else array.reshape(len(array), math.prod(array.shape[1:]))
