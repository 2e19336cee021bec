"""Synthetic videos with known truth: clips of a face model that goes from neutral to an emotion and back.

Every clip shows one person, look and light throughout, and draws from a random stream of its own, so that a clip is the
same however many others are made. Time is continuous: more frames show the same performance in smaller steps.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from facedis_jax.data.synthetic.camera import FaceCamera, Lights, Looks, Poses, rows
from facedis_jax.data.synthetic.expressions import BU3DFE_EXPRESSIONS, unit_weights
from facedis_jax.data.synthetic.face_model import FaceModel
from facedis_jax.data.synthetic.faces import SyntheticFaceConfig, draw_people
from facedis_jax.data.synthetic.looks import STYLES, draw_background, draw_person
from facedis_jax.data.videos.clip_set import ArrayClips, ClipSet, ClipSplit
from facedis_jax.errors import InputError, check_power_of_two

EXPRESSIONS = tuple(BU3DFE_EXPRESSIONS)

# Kinds of random streams.
_TRAIN, _TEST = range(2)
_PERSON, _CLIP, _SITTING = range(3)


@dataclass(frozen=True)
class SyntheticClipConfig:
    """Which people perform which expressions, and how the clips are rendered.

    Attributes:
      subjects: how many people in the training set.
      test_subjects: how many people in the test set.
      is_test_of_new_people: whether they are other people than those of the training set; if not, its first ones in
        new clips.
      expressions: what each of them performs, names out of `EXPRESSIONS`; labels number them in this order.
      takes: how often each person performs each expression.
      frames: of a clip, evenly spaced over the performance, with its first and its last moment.
      tempo: range of the shares of a clip that the onset and the offset take, each drawn on its own; the rest of the
        clip is neutral before the onset and holds the expression before the offset. Where the shares are too large, the
        clip ends during the offset.
      apex: range of the highest level of a clip.
      tilt: standard deviation of a clip's yaw, pitch and roll, degrees.
      sway: standard deviation of the amplitude of the head's motion in yaw and pitch within a clip, degrees.
      zoom: median scale, 1 for `camera.SPAN`; at 1.35 the image is cropped around the face, as the paper crops MUG's.
      shift: standard deviation of the position in the image, as a share of its height.
      scale: standard deviation of the logarithm of the size.
      lamp_share: range of the share of the light that comes from the lamp; the rest is ambient.
      sitting: what shares a lamp and a background: the frames of one "clip", all clips of a "person", or the whole
        "set", as in MUG's laboratory.
      style: a name among `facedis_jax.data.synthetic.looks.STYLES`.
      seed: of everything that is drawn.

    Raises:
      InputError: for counts below 1, fewer than 2 frames, standard deviations below 0, values that are no range, or an
        unknown expression or style.
    """

    subjects: int = 40
    test_subjects: int = 10
    is_test_of_new_people: bool = True
    expressions: tuple[str, ...] = EXPRESSIONS
    takes: int = 1
    frames: int = 60
    tempo: tuple[float, float] = (0.15, 0.4)
    apex: tuple[float, float] = (0.6, 1.0)
    tilt: float = 2.0
    sway: float = 1.5
    zoom: float = 1.35
    shift: float = 0.008
    scale: float = 0.02
    lamp_share: tuple[float, float] = (0.2, 0.5)
    sitting: Literal["clip", "person", "set"] = "clip"
    style: str = "studio"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("subjects", 1), ("test_subjects", 1), ("takes", 1), ("frames", 2)):
            if getattr(self, name) < least:
                raise InputError(name, f"{least} or more", f"{getattr(self, name)}")
        for name in ("tilt", "sway", "shift", "scale", "seed"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(name, "0 or more", f"{getattr(self, name)}")
        for name in ("tempo", "apex", "lamp_share"):
            low, high = getattr(self, name)
            if not 0 <= low <= high <= 1:
                raise InputError(name, "a range of shares from 0 to 1", f"{getattr(self, name)}")
        for name, low in (("tempo", self.tempo[0]), ("zoom", self.zoom)):
            if not 0 < low < float("inf"):
                raise InputError(name, "more than 0", f"{getattr(self, name)}")
        if not self.is_test_of_new_people and self.test_subjects > self.subjects:
            raise InputError(
                "test_subjects", f"at most the {self.subjects} of the training set", f"{self.test_subjects}"
            )
        if not self.expressions or not set(self.expressions) <= set(EXPRESSIONS):
            raise InputError("expressions", f"some of {', '.join(EXPRESSIONS)}", ", ".join(self.expressions) or "none")
        if len(set(self.expressions)) < len(self.expressions):
            raise InputError("expressions", "each once", ", ".join(self.expressions))
        if self.sitting not in ("clip", "person", "set"):
            raise InputError("sitting", "clip, person or set", self.sitting)
        if self.style not in STYLES:
            raise InputError("style", f"one of {', '.join(STYLES)}", self.style)


def synthetic_clips(model: FaceModel, config: SyntheticClipConfig, *, size: int = 64) -> ClipSet:
    """A set of clips of synthetic people who show an emotion.

    Args:
      model: whose identity modes and expression units make the faces.
      config: what is drawn.
      size: height and width in pixels, a power of two.

    Returns:
      The set, with the truth of each clip as labels. Of the frames, [clips, frames, ...], in addition to "level" and
      "landmarks" (as in `anatomy.LANDMARKS`):
        "units" [units]: model.vertices(identity, units) is the face; "view", "pitch": degrees.
      Of the clips, [clips, ...], in addition to "subject" and "expression":
        "identity" [modes]; "roll": degrees; "shift" [2], as a share of the image's height, and "scale": position
        and size; "skin" [3]: RGB under white light; "colors", "background", "hairline" and "hair_length" as in
        `camera.Looks`; "light" [3]: unit vector to the lamp, to the viewer's right, up and to the camera;
        "light_strength", "ambient" and "tint" [3] as in `camera.Lights`.
      All but the integers are float32; together they determine every pixel. `classes` names the expressions.

    Raises:
      InputError: where the size is no power of two, or the model lacks the features or units that are needed.

    Example:
      >>> from facedis_jax.data.synthetic.face_model import load_face_model
      >>> config = SyntheticClipConfig(subjects=1, test_subjects=1, expressions=("happy", "sad"), frames=4)
      >>> videos = synthetic_clips(load_face_model(), config, size=16)
      >>> videos.train.names, videos.train.source[0]["frames"].shape
      (['00000/happy/take000', '00000/sad/take000'], (4, 16, 16, 3))
    """
    check_power_of_two("size", size, least=8)
    camera = FaceCamera(model)
    people = [(_TRAIN, s) for s in range(config.subjects)]
    tested = [(_TEST, s) for s in range(config.test_subjects)] if config.is_test_of_new_people else people
    made_from = ["videos", model.content_hash, asdict(config), size]
    return ClipSet(
        name=f"synthetic videos of {model.name}/{config.style}",
        train=_split(model, camera, config, _TRAIN, people, size),
        test=_split(model, camera, config, _TEST, tested[: config.test_subjects], size),
        shape=(config.frames, size, size, 3),
        content_hash=hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest(),
        classes={"expression": config.expressions},
    )


def film(model: FaceModel, camera: FaceCamera, clip: Mapping[str, np.ndarray], *, size: int) -> np.ndarray:
    """The frames of a clip, rendered from its labels.

    Args:
      model: whose identity modes and expression units make the face.
      camera: of this model.
      clip: labels of one clip by name, those of `synthetic_clips` without their first axis. Any of them may be changed,
        to show for example the same person in another expression.
      size: height and width in pixels.

    Returns:
      [frames, size, size, 3] uint8.
    """
    faces, neutrals, poses = _sitting(model, clip)
    # Frames between which nothing moves are rendered once.
    _, first, again = np.unique(
        np.concatenate([clip["units"], poses.degrees], 1), axis=0, return_index=True, return_inverse=True
    )
    same = np.zeros(len(first), int)
    looks = [clip[key] for key in ("colors", "background", "hairline", "hair_length")]
    lights = [clip[key] for key in ("light", "light_strength", "ambient", "tint")]
    images = camera.render(
        faces[first],
        neutrals[first],
        rows(Looks(*(look[None] for look in looks)), same),
        rows(poses, first),
        rows(Lights(*(light[None] for light in lights)), same),
        size=size,
    )
    return images[again.ravel()]


def _sitting(model: FaceModel, clip: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, Poses]:
    """The faces of a clip's frames, their neutral, once for each frame, and the poses."""
    # One at a time: a product of many at once may round differently, and frames would depend on their number.
    faces = np.stack([model.vertices(clip["identity"], units) for units in clip["units"]])
    neutral = model.vertices(clip["identity"], np.zeros_like(clip["units"][0]))
    roll, shift, scale = (np.repeat(clip[key][None], len(faces), 0) for key in ("roll", "shift", "scale"))
    poses = Poses(np.stack([clip["view"], clip["pitch"], roll], -1), shift, scale)
    return faces, np.broadcast_to(neutral, faces.shape), poses


def _rng(config: SyntheticClipConfig, *stream: int) -> np.random.Generator:
    return np.random.default_rng([config.seed, list(STYLES).index(config.style), *stream])


def _draw_subject(model: FaceModel, config: SyntheticClipConfig, person: tuple[int, int]) -> dict[str, np.ndarray]:
    """A random person: all that stays the same from clip to clip."""
    rng = _rng(config, _PERSON, *person)
    shape = draw_people(rng, model, 1, SyntheticFaceConfig())
    look = draw_person(rng, STYLES[config.style])
    return {"identity": shape.identity[0], "gains": shape.gains[0]} | look


def _draw_clip(
    model: FaceModel,
    config: SyntheticClipConfig,
    person: dict[str, np.ndarray],
    expression: str,
    stream: tuple[int, ...],
) -> dict[str, np.ndarray]:
    """A random clip: the labels of `synthetic_clips`, but for the landmarks."""
    rng = _rng(config, _CLIP, *stream)
    yaw, pitch, roll = rng.normal(0, config.tilt, 3)
    # Division gives the same moment the same number, however many frames there are.
    time = np.arange(config.frames) / (config.frames - 1)
    level = _performance(rng, config, time) if BU3DFE_EXPRESSIONS[expression] else np.zeros_like(time)
    level = level.astype(np.float32)
    truth = {
        "level": level,
        "units": level[:, None]
        * unit_weights(model.recipes.instead_of(BU3DFE_EXPRESSIONS)[expression], model.expression_names)
        * person["gains"],
        "view": yaw + _sway(rng, config, time),
        "pitch": pitch + _sway(rng, config, time),
        "roll": roll,
        "shift": rng.normal(0, config.shift, 2),
        "scale": config.zoom * np.exp(rng.normal(0, config.scale)),
        "identity": person["identity"],
        "skin": person["colors"][0],
        "colors": person["colors"],
        "hairline": person["hairline"],
        "hair_length": person["hair_length"],
    }
    if config.sitting == "clip":
        truth |= _draw_sitting(rng, config, person["background"])
    elif config.sitting == "person":
        truth |= _draw_sitting(_rng(config, _SITTING, *stream[1:-2]), config, person["background"])
    else:
        rng = _rng(config, _SITTING)
        truth |= _draw_sitting(rng, config, draw_person(rng, STYLES[config.style])["background"])
    # Labels are kept as float32; the pixels are rendered from the same numbers.
    return {key: np.asarray(value, np.float32) for key, value in truth.items()}


def _draw_sitting(rng: np.random.Generator, config: SyntheticClipConfig, background: np.ndarray) -> dict[str, Any]:
    """A random lamp, and a random background near a hue, saturation and brightness."""
    azimuth, elevation = np.radians([rng.uniform(-70, 70), rng.uniform(-10, 50)])
    total, share = rng.uniform(1.0, 1.2), rng.uniform(*config.lamp_share)
    return {
        "light": [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)],
        "light_strength": total * share,
        "ambient": total * (1 - share),
        "tint": np.array(STYLES[config.style].tint) * rng.normal(1, 0.02, 3),
        "background": draw_background(rng, background),
    }


def _performance(rng: np.random.Generator, config: SyntheticClipConfig, time: np.ndarray) -> np.ndarray:
    """Levels at times 0..1: neutral, a smooth onset, a hold, and a smooth offset."""
    onset, offset = rng.uniform(*config.tempo, 2)
    rest, hold = rng.uniform(0, [0.15, 0.3])
    apex = rng.uniform(*config.apex)
    moments = np.cumsum([rest, onset, hold, offset])
    way = np.interp(time, moments, [0.0, 1.0, 1.0, 0.0])
    return apex * np.sin(way * np.pi / 2) ** 2


def _sway(rng: np.random.Generator, config: SyntheticClipConfig, time: np.ndarray) -> np.ndarray:
    """Degrees at times 0..1: a sine of less than two periods."""
    extent, phase = rng.normal(0, config.sway), rng.uniform(0, 2 * np.pi)
    return extent * np.sin(2 * np.pi * rng.uniform(0.4, 1.2) * time + phase)


def _split(
    model: FaceModel,
    camera: FaceCamera,
    config: SyntheticClipConfig,
    half: int,
    people: Sequence[tuple[int, int]],
    size: int,
) -> ClipSplit:
    """The half of a set with a clip of each person in each expression and take."""
    takes = [(p, e, t) for p in range(len(people)) for e in range(len(config.expressions)) for t in range(config.takes)]
    subject = [config.subjects * (group == _TEST) + s for group, s in people]
    drawn = [_draw_subject(model, config, person) for person in people]
    clips = np.empty((len(takes), config.frames, size, size, 3), np.uint8)
    labels: dict[str, np.ndarray] = {}
    for i, (p, e, take) in enumerate(takes):
        name = config.expressions[e]
        stream = (half, *people[p], EXPRESSIONS.index(name), take)
        truth = _draw_clip(model, config, drawn[p], name, stream)
        clips[i] = film(model, camera, truth, size=size)
        truth["landmarks"] = camera.landmarks(*_sitting(model, truth), size=size)
        for key, value in truth.items():
            labels.setdefault(key, np.empty((len(takes), *value.shape), np.float32))[i] = value
    labels["subject"] = np.array([subject[p] for p, _, _ in takes], np.int32)
    labels["expression"] = np.array([e for _, e, _ in takes], np.int32)
    names = [f"{subject[p]:05d}/{config.expressions[e]}/take{take:03d}" for p, e, take in takes]
    return ClipSplit(source=ArrayClips(clips), names=names, labels=labels)
