from dataclasses import replace

import numpy as np
import pytest

from facedis_jax.data.images.image_set import stack_images
from facedis_jax.data.synthetic.face_model import load_face_model
from facedis_jax.data.synthetic.images import (
    EXPRESSIONS,
    SyntheticImageConfig,
    synthetic_images,
    transfer_images,
)
from facedis_jax.errors import InputError

CONFIG = SyntheticImageConfig(train_subjects=4, images_per_subject=6, test_subjects=3)
SIZE = 32


@pytest.fixture(scope="module")
def model():
    return load_face_model()


@pytest.fixture(scope="module")
def image_set(model):
    return synthetic_images(model, CONFIG, size=SIZE)


def test_the_counts_are_those_of_the_configuration(image_set):
    assert len(image_set.train.source) == 24
    assert len(image_set.test.source) == 15
    assert (image_set.size, image_set.channels) == (SIZE, 3)
    assert image_set.classes == {"expression": EXPRESSIONS}
    for half in (image_set.train, image_set.test):
        images = stack_images(half.source)
        assert images.shape == (len(half.names), SIZE, SIZE, 3)
        assert images.dtype == np.uint8
        assert len(set(half.names)) == len(half.names)
        for key, array in half.labels.items():
            assert len(array) == len(images), key
            assert array.dtype == (
                np.int32 if key in ("subject", "sitting", "expression", "points_seen") else np.float32
            ), key
            assert np.isfinite(array).all(), key


def test_nobody_is_in_both_halves_unless_asked(model, image_set):
    assert set(image_set.train.labels["subject"]) == {0, 1, 2, 3}
    assert set(image_set.test.labels["subject"]) == {4, 5, 6}
    same = synthetic_images(model, replace(CONFIG, is_test_of_new_people=False), size=SIZE)
    assert set(same.test.labels["subject"]) == {0, 1, 2}
    identity = dict(zip(same.train.labels["subject"], same.train.labels["identity"], strict=True))
    for subject, weights in zip(same.test.labels["subject"], same.test.labels["identity"], strict=True):
        np.testing.assert_array_equal(weights, identity[subject])
    # New images of them, all the same.
    train, test = stack_images(same.train.source), stack_images(same.test.source)
    assert not any((image == train).all((1, 2, 3)).any() for image in test)


def test_the_views_of_a_sitting_differ_in_the_view_alone(image_set):
    labels, images = image_set.test.labels, stack_images(image_set.test.source)
    for sitting in set(labels["sitting"]):
        rows = np.flatnonzero(labels["sitting"] == sitting)
        np.testing.assert_array_equal(labels["view"][rows], CONFIG.views)
        for key, array in labels.items():
            if key not in ("view", "landmarks", "points", "points_seen"):
                np.testing.assert_array_equal(array[rows], np.broadcast_to(array[rows[:1]], array[rows].shape))
        for row in rows[1:]:
            assert (images[row] != images[rows[0]]).mean() > 0.2
            # The upper corners show the background, which no view changes.
            np.testing.assert_array_equal(images[row, :2, [0, -1]], images[rows[0], :2, [0, -1]])


def test_a_sitting_of_the_training_set_is_one_image(image_set):
    labels = image_set.train.labels
    assert len(set(labels["sitting"])) == len(labels["sitting"])
    for key in ("view", "pitch", "level", "light_strength"):
        assert len(np.unique(labels[key])) > 12, key


def test_the_nose_follows_the_view(image_set):
    labels = image_set.test.labels
    offset = labels["landmarks"][:, 2, 0] - labels["landmarks"][:, :2, 0].mean(-1)
    assert (np.diff(offset.reshape(3, 5), axis=1) > 0.5).all()


def test_landmarks_are_in_the_image_and_in_order(image_set):
    for half in (image_set.train, image_set.test):
        points = half.labels["landmarks"]
        assert points.shape[1:] == (5, 2)
        assert points.min() > 0
        assert points.max() < SIZE - 1
        assert (points[:, 0, 0] < points[:, 1, 0]).all()
        assert (points[:, 3, 0] < points[:, 4, 0]).all()
        assert (points[:, :2, 1].max(1) < points[:, 3:, 1].min(1)).all()


def test_points_of_the_face_are_known_in_test_images(image_set):
    labels = image_set.test.labels
    assert "points" not in image_set.train.labels
    assert labels["points"].shape == (*labels["points_seen"].shape, 2)
    moved = labels["points"][labels["view"] == 30] - labels["points"][labels["view"] == -30]
    both = (labels["points_seen"][labels["view"] == 30] & labels["points_seen"][labels["view"] == -30]) > 0
    assert np.all(moved[both][:, 0] > 0)  # in front of the axis, to the viewer's right


def test_labels_tell_what_is_seen(model, image_set):
    labels, images = image_set.train.labels, stack_images(image_set.train.source).astype(float)
    # On the cheek that is turned to the camera, the hue of the skin, whatever the light; the lamp's own is near white.
    near = (labels["view"] < 0).astype(int)
    cheek = labels["landmarks"][np.arange(len(images)), near] + np.array([0, 5])
    x, y = np.round(cheek).astype(int).T
    seen, skin = images[np.arange(len(images)), y, x], labels["skin"]
    np.testing.assert_allclose(seen[:, 0] / seen[:, 2], skin[:, 0] / skin[:, 2], rtol=0.2)
    np.testing.assert_allclose(np.linalg.norm(labels["light"], axis=-1), 1, rtol=1e-5)
    neutral = labels["expression"] == EXPRESSIONS.index("neutral")
    np.testing.assert_array_equal(neutral, labels["level"] == 0)
    np.testing.assert_array_equal(neutral, ~labels["units"].any(-1))
    assert 0 < neutral.sum() < len(neutral)
    assert labels["identity"].shape[1] == len(model.identity)
    assert labels["units"].shape[1] == len(model.expression)


def test_the_same_configuration_makes_the_same_bytes(model, image_set):
    again = synthetic_images(model, CONFIG, size=SIZE)
    assert again.content_hash == image_set.content_hash
    for before, after in ((image_set.train, again.train), (image_set.test, again.test)):
        np.testing.assert_array_equal(stack_images(before.source), stack_images(after.source))
        for key in before.labels:
            np.testing.assert_array_equal(before.labels[key], after.labels[key])


def test_an_image_does_not_depend_on_how_many_there_are(model, image_set):
    fewer = synthetic_images(model, replace(CONFIG, train_subjects=2, images_per_subject=2), size=SIZE)
    places = [image_set.train.names.index(name) for name in fewer.train.names]
    assert places == [0, 1, 6, 7]
    np.testing.assert_array_equal(stack_images(fewer.train.source), stack_images(image_set.train.source)[places])


@pytest.mark.parametrize("change", [{"seed": 1}, {"style": "garden"}, {"max_yaw": 20.0}, {"tilt": 6.0}])
def test_what_changes_the_images_changes_the_hash(model, image_set, change: dict):
    config = replace(CONFIG, train_subjects=1, images_per_subject=1, test_subjects=1, **change)
    other = synthetic_images(model, config, size=SIZE)
    assert other.content_hash != image_set.content_hash
    assert (stack_images(other.train.source)[0] != stack_images(image_set.train.source)[0]).mean() > 0.1


def test_training_views_can_be_named(model):
    config = replace(CONFIG, train_views=(-15.0, 15.0))
    labels = synthetic_images(model, config, size=SIZE).train.labels
    assert set(labels["view"]) == {-15.0, 15.0}


def test_transfer_goes_to_other_people_in_another_style_from_the_front(model):
    config = replace(CONFIG, train_subjects=3, images_per_subject=2, test_subjects=2)
    source, target = transfer_images(model, config, size=SIZE)
    assert source.content_hash == synthetic_images(model, config, size=SIZE).content_hash
    assert (target.train.labels["view"] == 0).all()
    np.testing.assert_array_equal(target.test.labels["view"], 2 * config.views)
    people = np.concatenate([half.labels["identity"] for half in (target.train, target.test)])
    assert not any((weights == people).all(-1).any() for weights in source.train.labels["identity"])
    # Backgrounds are warm in the garden, and cool or grey in the studio.
    warmth = [stack_images(each.train.source)[:, 0, 0].astype(int) @ (1, 0, -1) for each in (source, target)]
    assert warmth[0].mean() < 10 < warmth[1].mean()


def test_transfer_may_go_to_the_people_of_another_face_model(model):
    config = replace(CONFIG, train_subjects=1, images_per_subject=1, test_subjects=1)
    narrow = replace(model, neutral=model.neutral * np.float32([0.8, 1, 1]), name="narrow")
    source, target = transfer_images(model, config, size=SIZE, target_model=narrow)
    assert source.content_hash == synthetic_images(model, config, size=SIZE).content_hash
    assert "narrow" in target.name
    plain = transfer_images(model, config, size=SIZE).target
    np.testing.assert_array_equal(target.train.labels["identity"], plain.train.labels["identity"])
    widths = [np.ptp(each.test.labels["points"][..., 0], axis=1).mean() for each in (target, plain)]
    assert widths[0] < 0.95 * widths[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_subjects": 0}, "train_subjects: expected 1 or more, found 0"),
        ({"test_subjects": -1}, "test_subjects"),
        ({"images_per_subject": 0}, "images_per_subject"),
        ({"views": ()}, "views"),
        ({"views": (95.0,)}, "views"),
        ({"max_yaw": float("nan")}, "between -90 and 90"),
        ({"tilt": -1.0}, "tilt: expected 0 or more"),
        ({"neutral_share": 1.5}, "share from 0 to 1"),
        ({"style": "passport"}, "style: expected one of studio, garden, found passport"),
    ],
)
def test_bad_configurations_are_refused(change: dict, message: str):
    with pytest.raises(InputError, match=message):
        replace(CONFIG, **change)


@pytest.mark.parametrize("size", [0, 4, 48])
def test_sizes_are_powers_of_two(model, size: int):
    with pytest.raises(InputError, match="power of two"):
        synthetic_images(model, CONFIG, size=size)


def test_another_face_model_works_too(real_data):
    model = load_face_model(real_data("face_models") / "ict_face.npz")
    image_set = synthetic_images(model, replace(CONFIG, train_subjects=1), size=SIZE)
    test_landmarks_are_in_the_image_and_in_order(image_set)
    test_the_nose_follows_the_view(image_set)
