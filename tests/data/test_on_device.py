"""Batches that are taken from tables on the device are those that are read on the host."""

import itertools

import jax
import numpy as np
import pytest

from facedis_jax.data.faces.face_set import ArraySource
from facedis_jax.data.faces.features import FeatureSource, map_vertices
from facedis_jax.data.images.image_set import ArrayImages
from facedis_jax.data.on_device import dataset_bytes, device_dataset
from facedis_jax.data.pipeline import index_batches, train_batches
from facedis_jax.data.videos.clip_set import ArrayClips
from facedis_jax.errors import InputError

RNG = np.random.default_rng(0)
PLACES = np.arange(11, dtype=np.int32)
NEUTRALS = RNG.normal(size=(3, 4, 3)).astype(np.float32)
FACES = ArraySource(
    RNG.normal(size=(11, 4, 3)).astype(np.float32),
    PLACES % 3,
    PLACES % 2,
    PLACES.astype(np.float32) / 11,
    PLACES + 100,
)
FEATURES = {
    "groups": (RNG.integers(4, size=(11, 2, 3), dtype=np.int32), PLACES),
    "moments": np.zeros((11, 0), np.float32),
}
SOURCES = {
    "faces": (FACES, NEUTRALS),
    "faces with features": (FeatureSource(FACES, FEATURES), NEUTRALS),
    "photographs": (ArrayImages(RNG.integers(256, size=(11, 8, 8, 3), dtype=np.uint8)), None),
    "clips": (ArrayClips(RNG.integers(256, size=(11, 2, 8, 8, 1), dtype=np.uint8)), None),
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("share", [{}, {"process_index": 1, "process_count": 2}], ids=["whole", "share"])
def test_batches_gathered_on_the_device_are_those_read_on_the_host(name, share):
    source, neutrals = SOURCES[name]
    tables = device_dataset(source, neutrals)
    on_device, take = jax.device_put(tables.arrays), jax.jit(tables.take)
    batches = train_batches(source, neutrals, batch_size=4, seed=3, **share)
    places = index_batches(len(source), batch_size=4, seed=3, **share)
    for expected, batch in itertools.islice(zip(batches, places, strict=False), 9):
        for found in (take(on_device, batch), tables.take(tables.arrays, batch)):
            assert jax.tree.structure(found) == jax.tree.structure(expected)
            for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
                assert one.dtype == other.dtype
                np.testing.assert_array_equal(one, other)


def test_arrays_on_the_device_have_flat_rows():
    arrays = device_dataset(*SOURCES["faces with features"]).arrays
    assert arrays["fields"]["vertices"].shape == (11, 12)
    assert arrays["neutrals"].shape == (3, 12)
    assert all(leaf.ndim <= 2 for leaf in jax.tree.leaves(arrays))


@pytest.mark.parametrize("name", SOURCES)
def test_the_size_on_the_device_is_known_beforehand(name):
    source, _ = SOURCES[name]
    fields = jax.tree.leaves(device_dataset(source).arrays["fields"])
    assert dataset_bytes(source) == sum(leaf.nbytes for leaf in fields)


def test_an_iterator_of_either_kind_continues_the_other():
    batches, places = (
        iter(train_batches(FACES, batch_size=4, seed=5)),
        iter(index_batches(len(FACES), batch_size=4, seed=5)),
    )
    for _ in range(7):
        next(batches)
    places.set_state(batches.get_state())
    for _ in range(3):
        np.testing.assert_array_equal(next(places)["index"] + 100, next(batches)["index"])
    batches.set_state(places.get_state())
    np.testing.assert_array_equal(next(places)["index"] + 100, next(batches)["index"])


@pytest.mark.parametrize(("batch_size", "processes"), [(12, 1), (0, 1), (6, 4)])
def test_batches_that_cannot_be_filled_are_refused(batch_size, processes):
    with pytest.raises(InputError, match="batch_size"):
        index_batches(11, batch_size=batch_size, seed=0, process_count=processes)


@pytest.mark.parametrize("name", ["faces with features", "photographs"])
@pytest.mark.parametrize("num_devices", [1, 2])
def test_a_processors_devices_have_no_copies_of_their_own(name, num_devices):
    source, neutrals = SOURCES[name]
    if name == "faces with features":
        source = FeatureSource(FACES, map_vertices(lambda vertices: {"doubled": 2 * vertices}, FACES))
    fields = device_dataset(source, neutrals).arrays["fields"]
    devices = jax.sharding.Mesh(np.array(jax.devices()[:num_devices]), ("devices",))
    sharding = jax.sharding.NamedSharding(devices, jax.sharding.PartitionSpec())
    for array in jax.tree.leaves(fields):
        shards = jax.device_put(array, sharding).addressable_shards
        assert {shard.data.unsafe_buffer_pointer() for shard in shards} == {array.ctypes.data}


def test_features_that_are_in_memory_are_not_copied():
    source = FeatureSource(FACES, map_vertices(lambda vertices: {"doubled": 2 * vertices}, FACES))
    found = device_dataset(source, NEUTRALS).arrays["fields"]["features"]["doubled"]
    assert np.shares_memory(found, source.features["doubled"])
