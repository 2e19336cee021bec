import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facedis_jax.data.videos.cutting import CUTS, Cutting
from facedis_jax.errors import InputError


@pytest.mark.parametrize(
    ("cutting", "length", "places"),
    [
        (Cutting(3), 3, [[0, 1, 2]]),
        (Cutting(3), 9, [[0, 1, 2]]),
        (Cutting(3, stride=3), 7, [[0, 3, 6]]),
        (Cutting(3, cut="middle"), 9, [[3, 4, 5]]),
        (Cutting(2, stride=3, cut="middle"), 9, [[2, 5]]),
        (Cutting(3, cut="all"), 8, [[0, 1, 2], [3, 4, 5]]),
        (Cutting(2, stride=2, cut="all"), 7, [[0, 2], [4, 6]]),
        (Cutting(4, cut="evenly_spaced"), 10, [[0, 3, 6, 9]]),
        (Cutting(3, cut="evenly_spaced"), 3, [[0, 1, 2]]),
        (Cutting(1, cut="evenly_spaced"), 3, [[0]]),
    ],
)
def test_cuts_keep_the_frames_that_they_name(cutting, length, places):
    np.testing.assert_array_equal(cutting.frame_indices("x", length), places)


@given(frames=st.integers(1, 12), stride=st.integers(1, 5), cut=st.sampled_from(CUTS), more=st.integers(0, 60))
def test_clips_lie_in_the_recording_in_order(frames, stride, cut, more):
    cutting = Cutting(frames, stride if cut != "evenly_spaced" else 1, cut)
    length = cutting.span + more
    places = cutting.frame_indices("x", length)
    assert places.shape[1] == frames
    assert len(places) == 1 or cut == "all"
    assert (np.diff(places.ravel()) > 0).all()
    assert places.min() >= 0
    assert places.max() < length
    if cut == "middle":
        assert abs(places.min() - (length - 1 - places.max())) <= 1
    if cut == "all":
        # Behind the last clip there is no room for another.
        assert places.max() + stride + cutting.span > length
    if cut == "evenly_spaced" and frames > 1:
        assert (places.min(), places.max()) == (0, length - 1)
        assert np.ptp(np.diff(places)) <= 1
    elif frames > 1:
        assert (np.diff(places) == stride).all()


@given(frames=st.integers(2, 12), stride=st.integers(1, 5), cut=st.sampled_from(CUTS[:3]))
def test_a_recording_that_is_too_short_is_named(frames, stride, cut):
    cutting = Cutting(frames, stride, cut)
    assert len(cutting.frame_indices("x", cutting.span)) == 1
    found = cutting.span - 1
    with pytest.raises(InputError, match=f"^take7: expected at least {cutting.span} frames .* found {found}$"):
        cutting.frame_indices("take7", found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 0}, "frames: expected 1 or more, found 0"),
        ({"frames": 2, "stride": 0}, "stride: expected 1 or more, found 0"),
        ({"frames": 2, "cut": "last"}, "cut: expected one of first, middle, all, evenly_spaced, found 'last'"),
        ({"frames": 2, "cut": "evenly_spaced", "stride": 2}, "stride: expected 1 with the cut evenly_spaced, found 2"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Cutting(**options)
