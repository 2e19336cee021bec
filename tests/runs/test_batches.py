import os
from dataclasses import dataclass, replace

import numpy as np
import pytest

from facedis_jax.data.images.image_set import ArrayImages
from facedis_jax.errors import InputError
from facedis_jax.runs.batches import check_room, training_batches
from facedis_jax.runs.command_line import RunOptions

KEPT = RunOptions(keep_on_device=True)
IMAGES = ArrayImages(np.random.default_rng(0).integers(256, size=(10, 4, 4, 3), dtype=np.uint8))


@dataclass(frozen=True)
class Device:
    """With a memory of 1 GB, of this process or of another, which cannot be asked."""

    process_index: int = 0

    def memory_stats(self):
        assert self.process_index == 0
        return {"bytes_limit": 10**9}


class Processor(Device):
    def memory_stats(self):
        return None


def test_examples_that_no_device_holds_are_refused():
    with pytest.raises(InputError, match=r"--keep-on-device: expected at most 0\.8 GB .*, found 0\.9 GB"):
        check_room(KEPT, [10**8, 9 * 10**8], [Device()])


def test_a_processors_devices_share_the_hosts_memory():
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    check_room(KEPT, [memory // 2], [Processor()])
    with pytest.raises(InputError, match="--keep-on-device"):
        check_room(KEPT, [memory // 2], [Processor(), Processor()])


@pytest.mark.parametrize(
    ("options", "size", "devices"),
    [
        (RunOptions(), 3 * 10**9, [Device()]),
        (KEPT, 8 * 10**8, [Device()]),
        (KEPT, 3 * 10**9, [Device(process_index=1)]),
    ],
    ids=["not asked for", "fits", "another process"],
)
def test_other_examples_are_not(options, size, devices):
    check_room(options, [size], devices)


def test_batches_are_the_same_kept_or_not():
    settings = {"batch_size": 4, "seed": 1, "in_memory": True}
    read, nothing = training_batches(replace(KEPT, keep_on_device=False), IMAGES, **settings)
    places, tables = training_batches(KEPT, IMAGES, **settings)
    assert nothing is None
    assert tables is not None
    for _ in range(5):
        batch = next(read)
        kept = tables.take(tables.arrays, next(places))
        assert kept.keys() == batch.keys()
        for name in batch:
            np.testing.assert_array_equal(kept[name], batch[name])
