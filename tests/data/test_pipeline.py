import itertools

import numpy as np
import pytest

from facedis_jax.data.faces.face_set import ArraySource
from facedis_jax.data.images.image_set import ArrayImages, stack_images
from facedis_jax.data.pipeline import evaluation_batches, train_batches
from facedis_jax.errors import InputError

_NEUTRALS = np.arange(3 * 4 * 3, dtype=np.float32).reshape(3, 4, 3)


def _source(count):
    index = np.arange(count, dtype=np.int32)
    vertices = np.broadcast_to(index[:, None, None], (count, 4, 3)).astype(np.float32)
    return ArraySource(vertices, index % 3, index % 2, index.astype(np.float32) / count, index + 100)


def _indices(batches, count):
    return [batch["index"].tolist() for batch in itertools.islice(iter(batches), count)]


def test_batches_hold_whole_faces_with_their_neutrals():
    batch = next(iter(train_batches(_source(10), _NEUTRALS, batch_size=4, seed=0)))
    shapes = {key: (value.shape, value.dtype.name) for key, value in batch.items()}
    assert shapes == {
        "vertices": ((4, 4, 3), "float32"),
        "neutral": ((4, 4, 3), "float32"),
        "subject": ((4,), "int32"),
        "expression": ((4,), "int32"),
        "level": ((4,), "float32"),
        "index": ((4,), "int32"),
    }
    place = batch["index"] - 100
    np.testing.assert_array_equal(batch["vertices"][:, 0, 0], place)
    np.testing.assert_array_equal(batch["neutral"], _NEUTRALS[place % 3])
    np.testing.assert_array_equal(batch["expression"], place % 2)


def test_every_epoch_uses_every_face_once_in_an_order_of_its_own():
    epochs = np.reshape(_indices(train_batches(_source(12), _NEUTRALS, batch_size=4, seed=1), 9), (3, 12))
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(12) + 100)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_no_face_is_dropped_where_batches_do_not_divide_the_epoch():
    seen = np.ravel(_indices(train_batches(_source(10), _NEUTRALS, batch_size=4, seed=1), 5))
    np.testing.assert_array_equal(np.sort(seen[:10]), np.arange(10) + 100)
    np.testing.assert_array_equal(np.sort(seen[10:]), np.arange(10) + 100)


def test_the_seed_decides():
    first, same, other = (
        _indices(train_batches(_source(30), _NEUTRALS, batch_size=5, seed=seed), 6) for seed in (3, 3, 4)
    )
    assert first == same
    assert first != other


@pytest.mark.parametrize("count", [2, 3])
def test_processes_share_every_batch(count):
    options = {"batch_size": 6, "seed": 2}
    whole = _indices(train_batches(_source(13), _NEUTRALS, **options), 13)
    shares = [
        _indices(train_batches(_source(13), _NEUTRALS, process_index=i, process_count=count, **options), 13)
        for i in range(count)
    ]
    for step, together in enumerate(whole):
        assert all(len(share[step]) == 6 // count for share in shares)
        assert sorted(itertools.chain(*(share[step] for share in shares))) == sorted(together)


@pytest.mark.parametrize("num_threads", [0, 2])
@pytest.mark.parametrize("steps", [0, 1, 7])
def test_an_iterator_continues_from_its_state(num_threads, steps):
    batches = train_batches(_source(11), _NEUTRALS, batch_size=4, seed=5, num_threads=num_threads)
    iterator = iter(batches)
    for _ in range(steps):
        next(iterator)
    state = iterator.get_state()
    expected = [next(iterator) for _ in range(6)]
    resumed = iter(train_batches(_source(11), _NEUTRALS, batch_size=4, seed=5))
    resumed.set_state(state)
    for batch in expected:
        again = next(resumed)
        assert again.keys() == batch.keys()
        for key in batch:
            np.testing.assert_array_equal(again[key], batch[key])


def test_threads_change_nothing():
    plain, threaded = (
        _indices(train_batches(_source(20), _NEUTRALS, batch_size=4, seed=5, num_threads=n), 15) for n in (0, 3)
    )
    assert plain == threaded


@pytest.mark.parametrize(("batch_size", "processes"), [(11, 1), (0, 1), (6, 4)])
def test_batches_that_cannot_be_filled_are_refused(batch_size, processes):
    with pytest.raises(InputError, match="batch_size"):
        train_batches(_source(10), _NEUTRALS, batch_size=batch_size, seed=0, process_count=processes)


@pytest.mark.parametrize("num_threads", [0, 2])
@pytest.mark.parametrize(("count", "batch_size"), [(10, 4), (8, 4), (3, 8), (1, 1)])
def test_evaluation_sees_every_face_once_in_order(count, batch_size, num_threads):
    batches = list(evaluation_batches(_source(count), _NEUTRALS, batch_size=batch_size, num_threads=num_threads))
    assert {len(value) for batch in batches for value in batch.values()} == {batch_size}
    mask = np.concatenate([batch["mask"] for batch in batches])
    index = np.concatenate([batch["index"] for batch in batches])
    assert mask.dtype == np.float32
    np.testing.assert_array_equal(index[mask == 1], np.arange(count) + 100)
    np.testing.assert_array_equal(mask, np.arange(len(mask)) < count)
    neutral = np.concatenate([batch["neutral"] for batch in batches])
    np.testing.assert_array_equal(neutral[mask == 1], _NEUTRALS[np.arange(count) % 3])


def test_an_empty_evaluation_is_refused():
    with pytest.raises(InputError, match="one or more, found none"):
        evaluation_batches(_source(0), _NEUTRALS, batch_size=4)
    with pytest.raises(InputError, match="batch_size"):
        evaluation_batches(_source(3), _NEUTRALS, batch_size=0)


IMAGES = ArrayImages(np.random.default_rng(0).integers(256, size=(10, 8, 8, 3), dtype=np.uint8))


def test_images_come_with_the_index_of_their_chain_and_without_neutrals():
    seen = []
    for batch in itertools.islice(iter(train_batches(IMAGES, batch_size=4, seed=0)), 5):
        shapes = {key: (value.shape, value.dtype.name) for key, value in batch.items()}
        assert shapes == {"image": ((4, 8, 8, 3), "uint8"), "index": ((4,), "int32")}
        np.testing.assert_array_equal(batch["image"], IMAGES.pixels[batch["index"]])
        seen += batch["index"].tolist()
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]


def test_images_are_evaluated_once_in_order():
    batches = list(evaluation_batches(IMAGES, batch_size=4))
    assert set(batches[0]) == {"image", "index", "mask"}
    mask = np.concatenate([batch["mask"] for batch in batches])
    images = np.concatenate([batch["image"] for batch in batches])
    np.testing.assert_array_equal(images[mask == 1], IMAGES.pixels)


def test_taken_images_get_indices_of_their_own():
    some = IMAGES.take(np.array([7, 2]))
    np.testing.assert_array_equal(some[1]["image"], IMAGES.pixels[2])
    assert (len(some), some[1]["index"]) == (2, 1)

    class Listed:
        def __len__(self):
            return len(some)

        def __getitem__(self, index):
            return some[index]

    np.testing.assert_array_equal(stack_images(Listed()), IMAGES.pixels[[7, 2]])
