import numpy as np
import pytest

from facedis_jax.data.images.image_set import ArrayImages, stack_images
from facedis_jax.data.pipeline import evaluation_batches, train_batches
from facedis_jax.data.videos.clip_set import ArrayClips, Clip, clip_frames, stack_clips

_FRAMES = np.random.default_rng(0).integers(0, 256, (5, 4, 8, 8, 3), dtype=np.uint8)


class _Read:
    """Clips that are not in memory."""

    def __len__(self):
        return len(_FRAMES)

    def __getitem__(self, index):
        return Clip(frames=_FRAMES[index].copy(), index=np.int32(index))


@pytest.mark.parametrize("source", [ArrayClips(_FRAMES), _Read()])
def test_a_source_gives_its_clips_and_their_indices(source):
    np.testing.assert_array_equal(stack_clips(source), _FRAMES)
    clip = source[3]
    np.testing.assert_array_equal(clip["frames"], _FRAMES[3])
    assert (clip["index"], clip["index"].dtype) == (3, np.int32)


def test_taken_clips_get_indices_of_their_own():
    taken = ArrayClips(_FRAMES).take(np.array([4, 1]))
    np.testing.assert_array_equal(stack_clips(taken), _FRAMES[[4, 1]])
    assert taken[1]["index"] == 1


@pytest.mark.parametrize("source", [ArrayClips(_FRAMES), _Read()])
def test_frames_of_clips_are_images_clip_by_clip(source):
    images = clip_frames(source)
    assert len(images) == 20
    np.testing.assert_array_equal(stack_images(images), _FRAMES.reshape(20, 8, 8, 3))
    for place in (0, 7, 19):
        image = images[place]
        np.testing.assert_array_equal(image["image"], _FRAMES[place // 4, place % 4])
        assert (image["index"], image["index"].dtype) == (place, np.int32)


def test_frames_in_memory_are_not_copied():
    images = clip_frames(ArrayClips(_FRAMES))
    assert isinstance(images, ArrayImages)
    assert np.shares_memory(images.pixels, _FRAMES)


def test_the_pipeline_batches_clips():
    batch = next(iter(train_batches(ArrayClips(_FRAMES), batch_size=3, seed=0)))
    assert (batch["frames"].shape, batch["index"].shape) == ((3, 4, 8, 8, 3), (3,))
    np.testing.assert_array_equal(batch["frames"], _FRAMES[batch["index"]])
    batches = list(evaluation_batches(_Read(), batch_size=3))
    assert [each["mask"].tolist() for each in batches] == [[1, 1, 1], [1, 1, 0]]
    np.testing.assert_array_equal(np.concatenate([each["frames"] for each in batches])[:5], _FRAMES)
