"""Host arrays that JAX's CPU devices use as they are, in place of copies of their own."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

# Of a page; XLA asks for 64 bytes, of which NumPy's own arrays begin 16 off.
_ALIGNMENT = 4096


def shareable_array(shape: Sequence[int], dtype: DTypeLike) -> np.ndarray:
    """An array to be filled, in memory that `jax.device_put` shares with any number of CPU devices.

    It must not be written to afterwards.

    Example:
      >>> shareable_array((3, 2), np.float32).shape
      (3, 2)
    """
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    buffer = np.empty(size + _ALIGNMENT, np.uint8)
    first = -buffer.ctypes.data % _ALIGNMENT
    return buffer[first : first + size].view(dtype).reshape(tuple(shape))
