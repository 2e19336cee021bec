from dataclasses import fields, replace

import numpy as np
import pytest

from facedis_jax.data.synthetic.camera import SPAN, FaceCamera, Lights, Looks, Poses, rows
from facedis_jax.data.synthetic.expressions import BU3DFE_EXPRESSIONS, unit_weights
from facedis_jax.data.synthetic.face_model import load_face_model
from facedis_jax.data.synthetic.portrait import MATERIALS

SIZE = 64
BELOW = np.array([0, 5])  # pixels
COLORS = {
    "skin": (0.8, 0.6, 0.5),
    "lips": (0.8, 0.2, 0.2),
    "hair": (0.1, 0.1, 0.1),
    "brow": (0.1, 0.1, 0.1),
    "iris": (0.1, 0.1, 0.1),
    "eye": (0.1, 0.1, 0.1),
    "tooth": (0.9, 0.9, 0.9),
    "dark": (0.05, 0.05, 0.05),
    "clothes": (0.1, 0.2, 0.8),
}


@pytest.fixture(scope="module")
def model():
    return load_face_model()


@pytest.fixture(scope="module")
def camera(model):
    return FaceCamera(model)


def looks(count: int, **other) -> Looks:
    """Equal looks; `other` are fields of one of them."""
    colors = np.array([COLORS[name] for name in MATERIALS])
    one = {"colors": colors, "background": np.full((2, 3), 0.5), "hairline": -14.0, "hair_length": 90.0} | other
    return Looks(**{key: np.stack([value] * count) for key, value in one.items()})


def poses(degrees, *, shift=(0.0, 0.0), scale=1.0) -> Poses:
    degrees = np.array(degrees, float).reshape(-1, 3)
    return Poses(degrees, np.tile(np.array(shift, float), (len(degrees), 1)), np.full(len(degrees), scale))


def lights(count: int, direction=(0.0, 0.0, 1.0), strength=0.6, ambient=0.4) -> Lights:
    direction = np.array(direction) / np.linalg.norm(direction)
    return Lights(
        np.tile(direction, (count, 1)), np.full(count, strength), np.full(count, ambient), np.ones((count, 3))
    )


def shoot(camera, model, pose: Poses, light: Lights | None = None, look: Looks | None = None, units=None) -> np.ndarray:
    count = len(pose.degrees)
    neutrals = np.tile(model.neutral, (count, 1, 1))
    weights = np.zeros(len(model.expression)) if units is None else units
    faces = np.tile(model.vertices(np.zeros(len(model.identity)), weights), (count, 1, 1))
    return camera.render(faces, neutrals, look or looks(count), pose, light or lights(count), size=SIZE)


def points_of(camera, model, pose: Poses) -> np.ndarray:
    neutrals = np.tile(model.neutral, (len(pose.degrees), 1, 1))
    return camera.landmarks(neutrals, neutrals, pose, size=SIZE)


def at(image: np.ndarray, point: np.ndarray, radius: int = 1) -> np.ndarray:
    """The mean colour around a point (x, y)."""
    x, y = np.round(point).astype(int)
    return image[y - radius : y + radius + 1, x - radius : x + radius + 1].reshape(-1, 3).mean(0)


@pytest.mark.parametrize("yaw", [-30.0, 0.0, 30.0])
def test_landmarks_fall_on_the_drawn_features(camera, model, yaw: float):
    pose = poses((yaw, 4, -5), shift=(0.05, -0.03), scale=1.1)
    image = shoot(camera, model, pose)[0].astype(float)
    left, right, nose, left_corner, right_corner = points_of(camera, model, pose)[0]
    mouth = (left_corner + right_corner) / 2
    for eye in (left, right):
        under_the_eye = at(image, eye + BELOW)
        assert at(image, eye, 0).sum() < 0.6 * under_the_eye.sum()
    redness = image[..., 0] / image[..., 1]
    assert at(np.repeat(redness[..., None], 3, -1), mouth)[0] > 1.5 * np.median(redness[30:40, 24:40])
    # The tip is what the light from the camera meets most directly.
    assert at(image, nose).sum() > at(image, left_corner, 0).sum()


def test_a_positive_yaw_points_the_nose_to_the_viewers_right(camera, model):
    yaws = (-45.0, -15.0, 0.0, 15.0, 45.0)
    points = points_of(camera, model, poses([(y, 0, 0) for y in yaws]))
    offset = points[:, 2, 0] - points[:, :2, 0].mean(-1)
    assert abs(offset[2]) < 0.3
    assert (np.diff(offset) > 1).all()


def test_positive_pitch_and_roll_raise_the_nose_and_tilt_the_crown_to_the_left(camera, model):
    degrees = [(0, 0, 0), (0, 20, 0), (0, 0, 20)]
    level, raised, tilted = points_of(camera, model, poses(degrees))
    assert raised[2, 1] - raised[:2, 1].mean() < level[2, 1] - level[:2, 1].mean() - 1
    eyes, mouth = tilted[:2].mean(0), tilted[3:].mean(0)
    assert eyes[0] < mouth[0] - 3
    assert tilted[0, 1] > tilted[1, 1] + 3


def test_landmarks_are_measured_in_pixels_of_the_image(camera, model):
    points = points_of(camera, model, poses((0, 0, 0)))[0]
    in_mm = camera.anatomy.points(model.neutral)
    np.testing.assert_allclose(points[1, 0] - points[0, 0], (in_mm[1, 0] - in_mm[0, 0]) * SIZE / SPAN, rtol=1e-4)
    # Between pixel 31 and 32, the middle of an image.
    assert points[:2, 0].mean() == pytest.approx(31.5, abs=0.01)
    moved = points_of(camera, model, poses((0, 0, 0), shift=(0.25, -0.125)))[0]
    np.testing.assert_allclose(moved - points, np.tile([16.0, -8.0], (5, 1)), atol=1e-3)


def test_a_mark_on_the_nose_is_drawn_at_its_landmark(model):
    """Paints the nose blue and compares its middle with the landmark, to a fraction of a pixel."""
    camera = FaceCamera(model)
    tip = model.neutral[model.landmarks["nose_tip"]]
    near = np.linalg.norm(model.neutral - tip, axis=-1) < 9
    camera.anatomy.scalp[:] = np.where(near, 0, -1000)
    for degrees in ((0, 0, 0), (-20, 10, 15)):
        pose = poses(degrees)
        look = looks(1)
        look.colors[0, MATERIALS.index("hair")] = (0, 0, 1)
        image = shoot(camera, model, pose, lights(1, strength=0.0, ambient=1.0), look)[0].astype(float)
        blue = np.clip(image[..., 2] - image[..., 0], 0, None)
        blue[:20] = 0  # the hair itself
        blue[50:] = 0
        blue[:, :16] = blue[:, 48:] = 0
        rows_, columns = np.indices(blue.shape)
        middle = np.array([(columns * blue).sum(), (rows_ * blue).sum()]) / blue.sum()
        expected = points_of(camera, model, pose)[0, 2]
        assert np.abs(middle - expected).max() < 1.5


@pytest.mark.parametrize(("direction", "brighter"), [((-1, 0, 0.5), "left"), ((1, 0, 0.5), "right")])
def test_light_from_a_side_brightens_that_side(camera, model, direction, brighter: str):
    image = shoot(camera, model, poses((0, 0, 0)), lights(1, direction))[0].astype(float)
    left, right, nose, *_ = points_of(camera, model, poses((0, 0, 0)))[0]
    cheeks = {"left": at(image, [left[0], nose[1]]).sum(), "right": at(image, [right[0], nose[1]]).sum()}
    other = {"left": "right", "right": "left"}[brighter]
    assert cheeks[brighter] > 1.3 * cheeks[other]


def test_opposite_views_of_a_symmetric_face_mirror_each_other(camera, model):
    left, front, right = shoot(camera, model, poses([(-30, 0, 0), (0, 0, 0), (30, 0, 0)])).astype(float)
    turned = np.abs(left - front).mean()
    # The face is not quite symmetric, nor are the triangles of its parts.
    assert np.abs(left - right[:, ::-1]).mean() < 0.15 * turned
    assert np.abs(front - front[:, ::-1]).mean() < 0.15 * turned


@pytest.mark.parametrize("yaw", [-45.0, 0.0, 45.0])
def test_heads_have_no_holes(camera, model, yaw: float):
    """On a green screen, nothing green is enclosed by the head."""
    look = looks(1, background=np.tile([0.0, 1.0, 0.0], (2, 1)))
    image = shoot(camera, model, poses((yaw, 0, 0)), look=look)[0].astype(int)
    green = (image[..., 1] > 1.6 * image[..., 0]) & (image[..., 1] > 1.6 * image[..., 2])
    for line in ~green:
        inside = np.flatnonzero(line)
        assert len(inside) == 0 or len(inside) == np.ptp(inside) + 1


def test_the_near_side_hides_the_far_side(camera, model):
    """Of two green eyes a profile shows one, the one on the viewer's side."""
    look = looks(2)
    look.colors[:, [MATERIALS.index("iris"), MATERIALS.index("eye")]] = (0, 1, 0)
    pose = poses([(0, 0, 0), (80, 0, 0)])
    images = shoot(camera, model, pose, look=look).astype(int)
    green = images[..., 1] - np.maximum(images[..., 0], images[..., 2]) > 20
    front, profile = points_of(camera, model, pose)
    split = int(front[:2, 0].mean())
    assert green[0, :, :split].any()
    assert green[0, :, split:].any()
    columns = np.flatnonzero(green[1].any(0))
    assert len(columns)
    assert np.abs(columns - profile[0, 0]).max() < 5  # the eye that is the left one from the front
    assert np.abs(columns - profile[1, 0]).min() > 1


def test_closed_eyes_hide_the_eyeballs_and_open_mouths_show_their_inside(camera, model):
    names = model.expression_names
    pose = poses((0, 0, 0))
    points = points_of(camera, model, pose)[0]
    mouth = points[3:].mean(0)
    awake = shoot(camera, model, pose)[0].astype(float)
    asleep = shoot(camera, model, pose, units=unit_weights({"eyeBlink": 1.0}, names))[0].astype(float)
    surprised = shoot(camera, model, pose, units=unit_weights(BU3DFE_EXPRESSIONS["surprise"], names))[0].astype(float)
    for eye in points[:2]:
        assert at(asleep, eye - (0, 1), 0).sum() > 1.3 * at(awake, eye - (0, 1), 0).sum()
    assert at(surprised, mouth + BELOW, 0).sum() < 0.5 * at(awake, mouth + BELOW, 0).sum()


def test_an_image_does_not_depend_on_its_neighbours(camera, model):
    pose = poses([(-20, 0, 0), (10, 3, 2), (25, 0, 0)])
    together = shoot(camera, model, pose, lights(3, (0.5, 0.2, 1)))
    alone = shoot(camera, model, rows(pose, [1]), lights(1, (0.5, 0.2, 1)))
    np.testing.assert_array_equal(together[1], alone[0])
    np.testing.assert_array_equal(together, shoot(camera, model, pose, lights(3, (0.5, 0.2, 1))))


def test_every_factor_changes_the_faces(camera, model):
    """Each field of looks, poses and lights changes the image when it alone changes."""
    pose, light, look = poses((10, 0, 0)), lights(1, (0.5, 0.2, 1)), looks(1)
    before = shoot(camera, model, pose, light, look)
    for given in (pose, light, look):
        for field in fields(given):
            value = np.array(getattr(given, field.name), float)
            other = np.roll(value, 1, -1) if field.name == "direction" else 0.7 * value + 0.05
            changed = {"pose": pose, "light": light, "look": look}
            name = next(key for key, each in changed.items() if each is given)
            changed[name] = replace(given, **{field.name: other})
            assert (shoot(camera, model, *changed.values()) != before).mean() > 0.005, field.name


def test_each_material_is_visible(camera, model):
    """What is made of each material changes with its colour; the teeth in a smile."""
    happy = unit_weights(BU3DFE_EXPRESSIONS["happy"], model.expression_names)
    before = shoot(camera, model, poses((0, 0, 0)), units=happy)
    for m, name in enumerate(MATERIALS):
        look = looks(1)
        look.colors[0, m] = (0.2, 0.9, 0.9)
        after = shoot(camera, model, poses((0, 0, 0)), look=look, units=happy)
        assert 4 <= (after != before).any(-1).sum() < 0.5 * SIZE**2, name


def test_a_video_changes_only_where_the_face_moves(camera, model):
    """A blink under one look, pose and light: hair, neck, clothes and background stand still."""
    blink = unit_weights({"eyeBlink": 1.0}, model.expression_names)
    faces = np.stack([model.vertices(np.zeros(len(model.identity)), level * blink) for level in (0.0, 0.5, 1.0)])
    still = [0] * 3
    frames = camera.render(
        faces, faces[still], rows(looks(1), still), rows(poses((15, 0, 0)), still), rows(lights(1), still), size=SIZE
    )
    moving = (frames[1:] != frames[0]).any((0, 3))
    assert moving.sum() > 10
    points = points_of(camera, model, poses((15, 0, 0)))[0]
    lines = np.flatnonzero(moving.any(1))
    assert points[:2, 1].min() - 12 < lines.min()
    assert lines.max() < points[2, 1]


def test_points_of_the_surface_move_with_the_landmarks_and_are_seen_from_one_side(camera, model):
    """The nose's tip is seen from everywhere, a cheek from its own side, and what the nose hides from the other."""
    view = poses([[-30, 0, 0], [0, 0, 0], [30, 0, 0]], shift=(0.02, 0.01))
    faces = np.tile(model.neutral, (3, 1, 1))
    nose = camera.anatomy.landmarks[2]
    side = np.argmin(np.linalg.norm(model.neutral - camera.anatomy.points(model.neutral)[0] - (-25, -10, -30), axis=1))
    places, seen = camera.surface_points(faces, faces, view, np.array([*nose, side]), size=SIZE)
    landmarks = camera.landmarks(faces, faces, view, size=SIZE)
    np.testing.assert_allclose(places[:, :2].mean(axis=1), landmarks[:, 2], atol=1e-3)
    assert seen[:, :2].all()
    # The viewer's left cheek turns to the camera where the nose points to the viewer's right.
    assert not seen[0, 2]
    assert seen[2, 2]
    assert 0.4 < camera.surface_points(faces, faces, view, np.arange(0, 1900, 20), size=SIZE)[1].mean() < 0.9
