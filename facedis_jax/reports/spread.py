"""Which of many are looked at."""

import numpy as np


def evenly_spread(total: int, count: int) -> np.ndarray:
    """At most `count` of `total` places, from the first to the last; all of them where there are no more.

    Example:
      >>> evenly_spread(10, 4).tolist()
      [0, 3, 6, 9]
    """
    return np.linspace(0, total - 1, min(count, total)).round().astype(int)
