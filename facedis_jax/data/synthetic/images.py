"""Synthetic photographs with known truth: images of a face model in many poses, lights and expressions.

Every image draws from a random stream of its own, so that image i of subject s is the same however many others are
made.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from facedis_jax.data.images.image_set import ArrayImages, ImageSet, ImageSplit
from facedis_jax.data.synthetic.camera import FaceCamera, Lights, Looks, Poses, rows
from facedis_jax.data.synthetic.expressions import BU3DFE_EXPRESSIONS, unit_weights
from facedis_jax.data.synthetic.face_model import FaceModel
from facedis_jax.data.synthetic.faces import SyntheticFaceConfig, draw_people
from facedis_jax.data.synthetic.looks import STYLES, draw_background, draw_person
from facedis_jax.errors import InputError, check_power_of_two
from facedis_jax.geometry import farthest_point_sample

EXPRESSIONS = tuple(BU3DFE_EXPRESSIONS)

_SURFACE_POINTS = 120  # of the face, spread evenly, whose places in each image are known
_CHUNK = 64  # images whose faces are in memory together
# Kinds of random streams; the halves of the split have streams of their own.
_PERSON, _TRAIN, _TEST = range(3)


@dataclass(frozen=True)
class SyntheticImageConfig:
    """Which people are shown, how often, and from which views.

    The test set shows each of its subjects at all `views` under equal conditions: the same light, background,
      expression
    and position in the image. In the training set all of these change from image to image.

    Attributes:
      train_subjects: how many people in the training set.
      images_per_subject: how many images of each of them.
      test_subjects: how many people in the test set.
      is_test_of_new_people: whether they are other people than those of the training set; if not, its first ones.
      views: yaws of the test set, degrees; positive: the nose points to the viewer's right.
      train_views: yaws of the training set, one of them for each image; if empty, any within `max_yaw`.
      max_yaw: degrees.
      tilt: standard deviation of pitch and roll, degrees.
      shift: standard deviation of the position in the image, as a share of its height.
      scale: standard deviation of the logarithm of the size.
      neutral_share: share of images of a neutral face; the others show the six emotions at any level.
      lamp_share: range of the share of the light that comes from the lamp; the rest is ambient. The lamp stays where it
        is while the head turns, so that the larger its share, the more the view changes a face's colours.
      style: a name among `facedis_jax.data.synthetic.looks.STYLES`.
      seed: of everything that is drawn.

    Raises:
      InputError: for counts below 1, standard deviations below 0, angles of 90 degrees or more, or an unknown style.
    """

    train_subjects: int = 150
    images_per_subject: int = 16
    test_subjects: int = 40
    is_test_of_new_people: bool = True
    views: tuple[float, ...] = (-30.0, -15.0, 0.0, 15.0, 30.0)
    train_views: tuple[float, ...] = ()
    max_yaw: float = 45.0
    tilt: float = 3.0
    shift: float = 0.012
    scale: float = 0.03
    neutral_share: float = 0.25
    lamp_share: tuple[float, float] = (0.2, 0.5)
    style: str = "studio"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("train_subjects", "images_per_subject", "test_subjects"):
            if getattr(self, name) < 1:
                raise InputError(name, "1 or more", f"{getattr(self, name)}")
        for name in ("tilt", "shift", "scale", "seed"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(name, "0 or more", f"{getattr(self, name)}")
        if not self.views or not all(abs(yaw) < 90 for yaw in (*self.views, *self.train_views, self.max_yaw)):
            found = f"{self.views}, {self.train_views} and {self.max_yaw}"
            raise InputError("views, train_views, max_yaw", "yaws between -90 and 90 degrees", found)
        if not 0 <= self.neutral_share <= 1:
            raise InputError("neutral_share", "a share from 0 to 1", f"{self.neutral_share}")
        if not 0 <= self.lamp_share[0] <= self.lamp_share[1] <= 1:
            raise InputError("lamp_share", "a range of shares from 0 to 1", f"{self.lamp_share}")
        if self.style not in STYLES:
            raise InputError("style", f"one of {', '.join(STYLES)}", self.style)


class TransferSets(NamedTuple):
    """Two sets of images, of different people and styles; see `transfer_images`."""

    source: ImageSet
    target: ImageSet


def synthetic_images(model: FaceModel, config: SyntheticImageConfig, *, size: int = 64) -> ImageSet:
    """A set of images of synthetic people.

    Args:
      model: whose identity modes and expression units make the faces.
      config: what is drawn.
      size: height and width in pixels, a power of two.

    Returns:
      The set, with the truth of each image as labels, in addition to those of `ImageSet` ("subject", "expression",
      "view", "landmarks" as in `anatomy.LANDMARKS`):
        "points" [points, 2], of test images: where points of the face are, (x, y) in pixels, the same of all faces;
        "points_seen" [points]: int32, 1 where they are seen;
        "sitting": int32, equal for images that differ in nothing but the view;
        "pitch", "roll": degrees; "shift" [2], as a share of the image's height, and "scale": position and size;
        "level": of the expression, 0..1; "identity" [modes] and "units" [units]: model.vertices(identity, units) is
        the face; "skin" [3]: RGB under white light; "light" [3]: unit vector to the lamp, to the viewer's right, up
        and to the camera; "light_strength" and "ambient".
      All but the integers are float32. `classes` names the expressions.

    Raises:
      InputError: where the size is no power of two, or the model lacks the features or units that are needed.

    Example:
      >>> from facedis_jax.data.synthetic.face_model import load_face_model
      >>> config = SyntheticImageConfig(train_subjects=2, images_per_subject=3, test_subjects=1)
      >>> images = synthetic_images(load_face_model(), config, size=16)
      >>> len(images.train.source), images.test.labels["view"].tolist()
      (6, [-30.0, -15.0, 0.0, 15.0, 30.0])
    """
    check_power_of_two("size", size, least=8)
    camera = FaceCamera(model)
    train = [(_TRAIN, s, i) for s in range(config.train_subjects) for i in range(config.images_per_subject)]
    first = config.train_subjects if config.is_test_of_new_people else 0
    test = [(_TEST, first + s, 0) for s in range(config.test_subjects)]
    people = {s: _draw_subject(model, config, s) for s in {s for _, s, _ in train + test}}
    made_from = ["photographs", model.content_hash, asdict(config), size]
    return ImageSet(
        name=f"synthetic photographs of {model.name}/{config.style}",
        train=_split(model, camera, config, people, train, None, size),
        test=_split(model, camera, config, people, test, config.views, size),
        shape=(size, size, 3),
        content_hash=hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest(),
        classes={"expression": EXPRESSIONS},
    )


def transfer_images(
    model: FaceModel, config: SyntheticImageConfig, *, size: int = 64, target_model: FaceModel | None = None
) -> TransferSets:
    """Two sets of images for the transfer of geometry: learn on the source, fine-tune on frontal faces of the target.

    Args:
      model: as of `synthetic_images`.
      config: the source. The target shows other people in another style ("garden", or "studio" if the source is in
        "garden"), in its training set from the front alone, in its test set at all views.
      size: height and width in pixels, a power of two.
      target_model: whose people the target shows; the source's model if None.
    """
    other = next(style for style in STYLES if style != config.style)
    target = replace(config, style=other, train_views=(0.0,))
    return TransferSets(
        synthetic_images(model, config, size=size), synthetic_images(target_model or model, target, size=size)
    )


def _spread_points(model: FaceModel) -> np.ndarray:
    """Indices of vertices that are spread evenly over a face."""
    count = min(_SURFACE_POINTS, len(model.neutral))
    return np.asarray(farthest_point_sample(jnp.asarray(model.neutral, jnp.float32), count))


def _rng(config: SyntheticImageConfig, *stream: int) -> np.random.Generator:
    return np.random.default_rng([config.seed, list(STYLES).index(config.style), *stream])


def _draw_subject(model: FaceModel, config: SyntheticImageConfig, subject: int) -> dict[str, np.ndarray]:
    """A random person: all that stays the same from image to image."""
    rng = _rng(config, _PERSON, subject)
    person = draw_people(rng, model, 1, SyntheticFaceConfig())
    neutral = model.vertices(person.identity[0], np.zeros(len(model.expression)))
    shape = {"identity": person.identity[0], "gains": person.gains[0], "neutral": neutral}
    return shape | draw_person(rng, STYLES[config.style])


def _draw_image(
    model: FaceModel, config: SyntheticImageConfig, person: dict[str, np.ndarray], stream: tuple[int, int, int]
) -> dict[str, np.ndarray]:
    """A random image of a person: all that it is rendered from."""
    rng = _rng(config, *stream)
    yaw = rng.choice(config.train_views) if config.train_views else rng.uniform(-config.max_yaw, config.max_yaw)
    is_neutral = rng.uniform() < config.neutral_share
    emotion = str(rng.choice([name for name in EXPRESSIONS if name != "neutral"]))
    level = rng.uniform(0.2, 1.0)
    if is_neutral:
        emotion, level = "neutral", 0.0
    azimuth, elevation = np.radians([rng.uniform(-70, 70), rng.uniform(-10, 50)])
    total, share = rng.uniform(1.0, 1.2), rng.uniform(*config.lamp_share)
    tint = np.array(STYLES[config.style].tint) * rng.normal(1, 0.02, 3)
    return person | {
        "subject": np.int32(stream[1]),
        "expression": np.int32(EXPRESSIONS.index(emotion)),
        "level": np.float32(level),
        "units": np.float32(level)
        * unit_weights(model.recipes.instead_of(BU3DFE_EXPRESSIONS)[emotion], model.expression_names)
        * person["gains"],
        "background": draw_background(rng, person["background"]),
        "degrees": np.array([yaw, *rng.normal(0, config.tilt, 2)]),
        "shift": rng.normal(0, config.shift, 2),
        "scale": np.exp(rng.normal(0, config.scale)),
        "direction": np.array(
            [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
        ),
        "strength": total * share,
        "ambient": total * (1 - share),
        "tint": tint,
    }


def _split(
    model: FaceModel,
    camera: FaceCamera,
    config: SyntheticImageConfig,
    people: dict[int, dict[str, np.ndarray]],
    streams: Sequence[tuple[int, int, int]],
    views: Sequence[float] | None,
    size: int,
) -> ImageSplit:
    """The half of a set whose images have these keys of random streams, each at all views or at the one it drew."""
    drawn = [_draw_image(model, config, people[stream[1]], stream) for stream in streams]
    names = [f"{subject:05d}_{i:03d}" for _, subject, i in streams]
    sitting = np.arange(len(streams), dtype=np.int32)
    truth = {key: np.stack([each[key] for each in drawn]) for key in drawn[0] if key != "neutral"}
    if views is not None:
        names = [f"{name}_{yaw:+g}" for name in names for yaw in views]
        sitting = np.repeat(sitting, len(views))
        truth = {key: np.repeat(array, len(views), 0) for key, array in truth.items()}
        truth["degrees"][:, 0] = np.tile(views, len(streams))
    looks = Looks(*(truth[key] for key in ("colors", "background", "hairline", "hair_length")))
    poses = Poses(*(truth[key] for key in ("degrees", "shift", "scale")))
    lights = Lights(*(truth[key] for key in ("direction", "strength", "ambient", "tint")))

    images, landmarks, points = [], [], []
    chosen = _spread_points(model) if views is not None else None
    for start in range(0, len(names), _CHUNK):
        batch = np.arange(start, min(start + _CHUNK, len(names)))
        # One at a time: a product of many at once may round differently, and images would depend on their number.
        faces = np.stack([model.vertices(truth["identity"][i], truth["units"][i]) for i in batch])
        neutrals = np.stack([people[s]["neutral"] for s in truth["subject"][batch]])
        shown = rows(poses, batch)
        images.append(camera.render(faces, neutrals, rows(looks, batch), shown, rows(lights, batch), size=size))
        landmarks.append(camera.landmarks(faces, neutrals, shown, size=size))
        if chosen is not None:
            points.append(camera.surface_points(faces, neutrals, shown, chosen, size=size))
    labels = {
        "sitting": sitting,
        "view": truth["degrees"][:, 0],
        "pitch": truth["degrees"][:, 1],
        "roll": truth["degrees"][:, 2],
        "skin": truth["colors"][:, 0],
        "light": truth["direction"],
        "light_strength": truth["strength"],
        "landmarks": np.concatenate(landmarks),
    }
    if chosen is not None:
        places, seen = (np.concatenate(values) for values in zip(*points, strict=True))
        labels |= {"points": places, "points_seen": seen.astype(np.int32)}
    same = ("subject", "expression", "level", "identity", "units", "shift", "scale", "ambient")
    labels |= {key: truth[key] for key in same}
    return ImageSplit(
        source=ArrayImages(np.concatenate(images)),
        names=names,
        labels={key: array if array.dtype == np.int32 else array.astype(np.float32) for key, array in labels.items()},
    )
