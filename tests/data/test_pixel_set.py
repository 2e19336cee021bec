import numpy as np

from facedis_jax.data.images.image_set import ArrayImages, ImageSet, ImageSplit, stack_images
from facedis_jax.data.videos.clip_set import ArrayClips, ClipSet, ClipSplit, stack_clips

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8, 3), np.uint8)


class _Listed:
    """A source that is no array."""

    def __init__(self, source):
        self._examples = [source[i] for i in range(len(source))]

    def __len__(self):
        return len(self._examples)

    def __getitem__(self, index):
        return self._examples[index]


def test_a_set_has_the_size_channels_and_frames_of_its_shape():
    images = ImageSet(
        "a", ImageSplit(ArrayImages(PIXELS[0]), []), ImageSplit(ArrayImages(PIXELS[1]), []), (8, 8, 3), ""
    )
    clips = ClipSet("a", ClipSplit(ArrayClips(PIXELS), []), ClipSplit(ArrayClips(PIXELS), []), (3, 8, 8, 3), "")
    assert (images.size, images.channels) == (8, 3)
    assert (clips.frames, clips.size, clips.channels) == (3, 8, 3)


def test_examples_hold_their_pixels_and_index():
    image, clip = ArrayImages(PIXELS[0])[2], ArrayClips(PIXELS)[2]
    np.testing.assert_array_equal(image["image"], PIXELS[0, 2])
    np.testing.assert_array_equal(clip["frames"], PIXELS[2])
    assert (image.keys(), clip.keys()) == ({"image", "index"}, {"frames", "index"})
    assert (image["index"], clip["index"], image["index"].dtype) == (2, 2, np.int32)


def test_sources_are_stacked_in_order_and_arrays_are_not_copied():
    for source, stack, pixels in (
        (ArrayImages(PIXELS[0]), stack_images, PIXELS[0]),
        (ArrayClips(PIXELS), stack_clips, PIXELS),
    ):
        np.testing.assert_array_equal(stack(_Listed(source)), pixels)
        assert stack(source) is source.pixels


def test_taken_rows_keep_their_kind():
    taken = ArrayClips(PIXELS).take(np.array([3, 1]))
    assert isinstance(taken, ArrayClips)
    np.testing.assert_array_equal(stack_clips(taken), PIXELS[[3, 1]])
    assert taken[1]["index"] == 1
