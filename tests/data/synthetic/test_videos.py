from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facedis_jax.data.synthetic import videos as module
from facedis_jax.data.synthetic.camera import FaceCamera, Poses
from facedis_jax.data.synthetic.expressions import BU3DFE_EXPRESSIONS, unit_weights
from facedis_jax.data.synthetic.face_model import load_face_model
from facedis_jax.data.synthetic.videos import EXPRESSIONS, SyntheticClipConfig, film, synthetic_clips
from facedis_jax.data.videos.clip_set import stack_clips
from facedis_jax.errors import InputError

CONFIG = SyntheticClipConfig(subjects=2, test_subjects=1, frames=5)
SIZE = 16


@pytest.fixture(scope="module")
def model():
    return load_face_model()


@pytest.fixture(scope="module")
def camera(model):
    return FaceCamera(model)


@pytest.fixture(scope="module")
def videos(model):
    return synthetic_clips(model, CONFIG, size=SIZE)


def _clip(split, i):
    return {key: array[i] for key, array in split.labels.items()}


def test_the_counts_are_those_of_the_configuration(videos, model):
    assert (videos.frames, videos.size, videos.channels) == (5, SIZE, 3)
    assert videos.classes == {"expression": EXPRESSIONS}
    for half, subjects in ((videos.train, [0, 1]), (videos.test, [2])):
        clips = stack_clips(half.source)
        assert (clips.shape, clips.dtype) == ((7 * len(subjects), 5, SIZE, SIZE, 3), np.uint8)
        assert len(set(half.names)) == len(half.names) == len(clips)
        assert half.labels["subject"].tolist() == np.repeat(subjects, 7).tolist()
        assert half.labels["expression"].tolist() == [*range(7)] * len(subjects)
        for key, array in half.labels.items():
            assert len(array) == len(clips), key
            assert array.dtype == (np.int32 if key in ("subject", "expression") else np.float32), key
            assert np.isfinite(array).all(), key
        for key, shape in {
            "level": (),
            "units": (len(model.expression),),
            "view": (),
            "pitch": (),
            "landmarks": (5, 2),
        }.items():
            assert half.labels[key].shape == (len(clips), 5, *shape)


def test_names_tell_subject_expression_and_take(model):
    config = SyntheticClipConfig(subjects=1, test_subjects=1, expressions=("sad", "happy"), takes=2, frames=2)
    videos = synthetic_clips(model, config, size=8)
    assert list(videos.train.names) == [f"00000/{name}/take00{take}" for name in ("sad", "happy") for take in (0, 1)]
    assert videos.train.labels["expression"].tolist() == [0, 0, 1, 1]
    assert videos.classes["expression"] == ("sad", "happy")
    assert videos.test.names[0] == "00001/sad/take000"
    clips = stack_clips(videos.train.source)
    assert (clips[0] != clips[1]).mean() > 0.1


@pytest.mark.parametrize(("sitting", "lamps"), [("clip", 8), ("person", 2), ("set", 1)])
def test_lamp_and_background_belong_to_a_clip_a_person_or_everybody(model, sitting, lamps):
    config = SyntheticClipConfig(
        subjects=2, test_subjects=1, expressions=("sad", "happy"), takes=2, frames=2, sitting=sitting
    )
    videos = synthetic_clips(model, config, size=8)
    for key in ("light", "light_strength", "ambient", "tint", "background"):
        values = videos.train.labels[key].reshape(8, -1)
        assert len(np.unique(values, axis=0)) == lamps
        assert len(np.unique(values[:4], axis=0)) == max(1, lamps // 2)
        # Other people come to the same laboratory, but do not share a sitting.
        assert (videos.test.labels[key][0].ravel() == values[0]).all() == (sitting == "set")
    assert len(np.unique(videos.train.labels["view"], axis=0)) == 8


def test_the_labels_make_the_pixels(model, camera, videos):
    for half in (videos.train, videos.test):
        for i in (0, 3, 4):
            np.testing.assert_array_equal(film(model, camera, _clip(half, i), size=SIZE), half.source[i]["frames"])


def test_landmarks_are_where_the_labelled_faces_have_them(model, camera, videos):
    labels = videos.train.labels
    for i in (2, 6):
        roll, shift, scale = (np.repeat(labels[key][i][None], 5, 0) for key in ("roll", "shift", "scale"))
        degrees = np.stack([labels["view"][i], labels["pitch"][i], roll], -1)
        faces = model.vertices(np.repeat(labels["identity"][i][None], 5, 0), labels["units"][i])
        neutrals = model.vertices(labels["identity"][i][None].repeat(5, 0), 0 * labels["units"][i])
        expected = camera.landmarks(faces, neutrals, Poses(degrees, shift, scale), size=SIZE)
        np.testing.assert_allclose(labels["landmarks"][i], expected, atol=1e-3)
    points = np.concatenate([half.labels["landmarks"] for half in (videos.train, videos.test)])
    assert 0 < points.min() < points.max() < SIZE - 1
    assert (points[:, :, :2, 1].max(-1) < points[:, :, 3:, 1].min(-1)).all()


def test_units_are_the_emotion_at_its_level(model, videos):
    for half in (videos.train, videos.test):
        for i, name in enumerate(EXPRESSIONS[e] for e in half.labels["expression"]):
            level, units = half.labels["level"][i], half.labels["units"][i]
            recipe = unit_weights(BU3DFE_EXPRESSIONS[name], model.expression_names)
            assert not units[:, recipe == 0].any()
            if name == "neutral":
                assert not level.any()
                continue
            # A person has gains of their own, which do not change with the level.
            gains = units[level > 0][:, recipe > 0] / (level[level > 0, None] * recipe[recipe > 0])
            np.testing.assert_allclose(gains, np.broadcast_to(gains[:1], gains.shape), rtol=1e-4)
            assert 0.2 < gains.min() < gains.max() < 5


def test_an_emotion_is_seen(model):
    """With the head still, a surprised face changes with its level, and the hair above it hardly."""
    config = replace(CONFIG, subjects=3, expressions=("surprise", "neutral"), frames=9, sway=0.0)
    videos = synthetic_clips(model, config, size=32)
    clips, labels = stack_clips(videos.train.source).astype(float), videos.train.labels
    change = np.abs(clips - clips[:, :1]).mean((2, 3, 4))
    for i in (0, 2, 4):
        assert np.corrcoef(change[i], labels["level"][i])[0, 1] > 0.9
        assert change[i].max() > 2
        assert not change[i + 1].any()
        assert np.abs(clips[i, :, :2] - clips[i, :1, :2]).mean() < 0.1 * change[i].mean()


def test_heads_sway_smoothly_and_a_little(model):
    config = replace(CONFIG, subjects=4, frames=40, expressions=("neutral",))
    labels = synthetic_clips(model, config, size=8).train.labels
    for key in ("view", "pitch"):
        away = labels[key] - labels[key].mean(1, keepdims=True)
        assert 0.1 < np.abs(away).max() < 6
        assert np.abs(np.diff(labels[key], axis=1)).max() < 1
        assert len(np.unique(labels[key].mean(1))) == 4
    still = synthetic_clips(model, replace(config, sway=0.0), size=8)
    frames = stack_clips(still.train.source)
    np.testing.assert_array_equal(frames, frames[:, :1].repeat(40, 1))


@given(seed=st.integers(0, 10_000), low=st.floats(0.05, 0.4), more=st.floats(0, 0.3), apex=st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_a_performance_rises_to_its_apex_and_falls(seed, low, more, apex):
    config = SyntheticClipConfig(tempo=(low, low + more), apex=(apex, 1.0))
    level = module._performance(np.random.default_rng(seed), config, np.linspace(0, 1, 500))
    top = int(level.argmax())
    assert level[0] == 0
    assert apex - 1e-9 <= level.max() <= 1
    assert (np.diff(level[: top + 1]) >= 0).all()
    held = level >= level.max() - 1e-9
    assert (np.diff(level[held.nonzero()[0].max() :]) <= 0).all()
    # A raised cosine of that length is no steeper.
    assert np.abs(np.diff(level)).max() * 499 <= np.pi / 2 * level.max() / low + 1e-6


def test_more_frames_show_the_same_performance(model, videos):
    finer = synthetic_clips(model, replace(CONFIG, frames=9), size=SIZE)
    np.testing.assert_array_equal(stack_clips(finer.train.source)[:, ::2], stack_clips(videos.train.source))
    for key in ("level", "units", "landmarks"):
        np.testing.assert_array_equal(finer.train.labels[key][:, ::2], videos.train.labels[key])


@given(
    subjects=st.integers(1, 3),
    tests=st.integers(1, 2),
    takes=st.integers(1, 2),
    expressions=st.lists(st.sampled_from(EXPRESSIONS), min_size=1, max_size=2, unique=True),
)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_clip_does_not_depend_on_how_many_others_there_are(model, videos, subjects, tests, takes, expressions):
    config = SyntheticClipConfig(subjects, tests, expressions=tuple(expressions), takes=takes, frames=5)
    others = synthetic_clips(model, config, size=SIZE)
    known = dict(zip(videos.train.names, stack_clips(videos.train.source), strict=True))
    seen = dict(zip(others.train.names, stack_clips(others.train.source), strict=True))
    shared = known.keys() & seen.keys()
    assert len(shared) == min(subjects, 2) * len(expressions)
    for name in shared:
        np.testing.assert_array_equal(seen[name], known[name])
    # The people who are tested are the same ones, however many are trained on.
    for i, name in enumerate(others.test.names):
        if name.endswith("take000") and others.test.labels["subject"][i] == subjects:
            at = EXPRESSIONS.index(name.split("/")[1])
            np.testing.assert_array_equal(others.test.source[i]["frames"], videos.test.source[at]["frames"])


def test_nobody_is_in_both_halves_unless_asked(model, videos):
    identity = videos.train.labels["identity"]
    assert not any((each == identity).all(-1).any() for each in videos.test.labels["identity"])
    same = synthetic_clips(model, replace(CONFIG, is_test_of_new_people=False), size=SIZE)
    assert set(same.test.labels["subject"]) == {0}
    np.testing.assert_array_equal(same.test.labels["identity"], identity[:7])
    np.testing.assert_array_equal(same.test.labels["colors"], videos.train.labels["colors"][:7])
    # In new clips.
    assert (stack_clips(same.test.source) != stack_clips(same.train.source)[:7]).mean() > 0.1
    assert not any(level in same.train.labels["level"].max(1) for level in same.test.labels["level"].max(1) if level)


def test_the_same_configuration_makes_the_same_bytes(model, videos):
    again = synthetic_clips(model, CONFIG, size=SIZE)
    assert again.content_hash == videos.content_hash
    np.testing.assert_array_equal(stack_clips(again.train.source), stack_clips(videos.train.source))


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"style": "garden"}, {"tilt": 9.0}, {"zoom": 1.0}, {"apex": (0.1, 0.2)}, {"sway": 9.0}]
)
def test_what_changes_the_clips_changes_the_hash(model, videos, change):
    config = replace(CONFIG, subjects=1, frames=3, expressions=("angry",), **change)
    other = synthetic_clips(model, config, size=SIZE)
    assert other.content_hash != videos.content_hash
    assert (other.train.source[0]["frames"] != videos.train.source[0]["frames"][::2]).mean() > 0.05


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subjects": 0}, "subjects: expected 1 or more, found 0"),
        ({"test_subjects": -1}, "test_subjects"),
        ({"takes": 0}, "takes"),
        ({"frames": 1}, "frames: expected 2 or more, found 1"),
        ({"sway": -1.0}, "sway: expected 0 or more"),
        ({"tilt": float("nan")}, "tilt"),
        ({"zoom": 0.0}, "zoom: expected more than 0"),
        ({"tempo": (0.5, 0.2)}, "tempo: expected a range of shares"),
        ({"tempo": (0.0, 0.2)}, "tempo: expected more than 0"),
        ({"apex": (0.5, 1.2)}, "apex"),
        ({"lamp_share": (-0.1, 0.2)}, "lamp_share"),
        ({"expressions": ()}, "expressions: expected some of angry, .* found none"),
        ({"expressions": ("joy",)}, "expressions: .* found joy"),
        ({"expressions": ("happy", "happy")}, "expressions: expected each once"),
        ({"style": "passport"}, "style: expected one of studio, garden, found passport"),
        ({"test_subjects": 3, "is_test_of_new_people": False}, "at most the 2 of the training set, found 3"),
    ],
)
def test_bad_configurations_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        replace(CONFIG, **change)


@pytest.mark.parametrize("size", [0, 4, 48])
def test_sizes_are_powers_of_two(model, size):
    with pytest.raises(InputError, match="power of two"):
        synthetic_clips(model, CONFIG, size=size)


def test_another_face_model_works_too(real_data):
    model = load_face_model(real_data("face_models") / "ict_face.npz")
    config = replace(CONFIG, subjects=1, expressions=("happy",), frames=3)
    videos = synthetic_clips(model, config, size=SIZE)
    clip = videos.train.source[0]["frames"].astype(int)
    assert np.abs(clip[1] - clip[0]).mean() > 0.5
