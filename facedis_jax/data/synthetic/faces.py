"""Synthetic faces with known truth, in the arrangements of CoMA (sequences) and of BU-3DFE (levels of expressions).

Faces are more than a sum of identity and expression: each subject has gains of their own for the expression units, and
  a
left-right asymmetry; and each face has registration noise. All factors are in `FaceTruth`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from facedis_jax.data.faces.face_set import ArraySource, FaceSet, FaceTruth
from facedis_jax.data.faces.levels import sequence_levels, subject_neutrals
from facedis_jax.data.splits import split_indices
from facedis_jax.data.synthetic.expressions import (
    BU3DFE_EXPRESSIONS,
    COMA_EXPRESSIONS,
    Recipe,
    mirrored,
    split_side,
    unit_weights,
)
from facedis_jax.data.synthetic.face_model import FaceModel
from facedis_jax.errors import InputError, check_least

_WOMEN = 0.56  # of BU-3DFE's hundred


@dataclass(frozen=True)
class SyntheticFaceConfig:
    """How synthetic subjects differ, and the noise of their faces.

    Attributes:
      num_subjects: how many people; 0 for as many as the set that is imitated (12 for CoMA, 100 for BU-3DFE).
      expressions: names out of the set that is imitated; all of them if empty.
      frames: shortest and longest sequence, in frames (CoMA's arrangement only).
      levels: how many scans of each expression, the last of them at its strongest (BU-3DFE's arrangement only).
      gain_spread: standard deviation of the logarithm of a subject's gain on an expression unit.
      asymmetry: standard deviation of the relative difference between a subject's left and right side.
      noise_mm: standard deviation of the registration noise of each coordinate, mm; with 0.2, no prediction has a mean
        vertex distance below 0.32 mm.
      seed: of everything that is drawn.

    Raises:
      InputError: for counts or standard deviations below 0, no level, or sequences of fewer than four frames.
    """

    num_subjects: int = 0
    expressions: tuple[str, ...] = ()
    frames: tuple[int, int] = (14, 26)
    levels: int = 4
    gain_spread: float = 0.25
    asymmetry: float = 0.12
    noise_mm: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_subjects", "gain_spread", "asymmetry", "noise_mm", "seed"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(name, "0 or more", f"{getattr(self, name)}")
        check_least(self, levels=1)
        if not 4 <= self.frames[0] <= self.frames[1]:
            found = f"{self.frames[0]} and {self.frames[1]}"
            raise InputError("frames", "a shortest sequence of 4 frames or more, then a longest", found)


@dataclass(frozen=True)
class People:
    """The factors by which subjects differ.

    Attributes:
      identity: [subjects, modes].
      gains: [subjects, units], on each unit of the model, left and right.
      asymmetry: [subjects], the relative difference by which the left side moves more and the right side less.
    """

    identity: np.ndarray
    gains: np.ndarray
    asymmetry: np.ndarray


@dataclass(frozen=True)
class _Rows:
    """For each of [faces]: its name, subject, expression, level, side and unit weights.

    Attributes:
      performed: [faces, units], weights of the model's expression units before the subject's gains.
      units: [faces, units], after them.
    """

    names: Sequence[str]
    subject: np.ndarray
    expression: np.ndarray
    level: np.ndarray
    side: np.ndarray
    performed: np.ndarray
    units: np.ndarray

    @classmethod
    def joined(cls, parts: Iterable["_Rows"]) -> "_Rows":
        parts = list(parts)
        arrays = {
            key: np.concatenate([getattr(part, key) for part in parts])
            for key in ("subject", "expression", "level", "side", "performed", "units")
        }
        return cls(names=tuple(name for part in parts for name in part.names), **arrays)


def synthetic_coma(model: FaceModel, config: SyntheticFaceConfig, *, split: str = "paper") -> FaceSet:
    """Synthetic faces in CoMA's arrangement: 12 subjects x 12 expressions, neutral -> apex -> neutral at varying tempo.

    `mouth_side` goes to one side and then to the other under one label, as in CoMA. Levels and neutral targets are
    measured on the noisy frames by CoMA's rules (`facedis_jax.data.faces.levels`); the true ones are in `truth`.

    Args:
      model: whose identity modes and expression units make the faces.
      config: what is drawn.
      split: one of `facedis_jax.data.splits.SPLITS`.

    Returns:
      The face set in mm, of scale 260. `truth.factors` holds, for each face, its "subject", "identity",
      "gains", "asymmetry", "expression", "level", "side" (1 left, -1 right, 0 both), "performed", the weights of
      the model's expression units before the gains, and "units", these times the gains: model.vertices(identity,
      units) is the face without its noise.

    Raises:
      InputError: where an expression or the split is unknown, or the model has no unit of an expression.
    """
    rng = np.random.default_rng(config.seed)
    recipes = _recipes(model.recipes.of(COMA_EXPRESSIONS, model.expression_names), config)
    count = config.num_subjects or 12
    subjects = [f"subject_{i:0{max(2, len(str(count)))}d}" for i in range(1, count + 1)]
    people = draw_people(rng, model, count, config)

    def perform(s: int, e: int, name: str, recipe: Recipe) -> _Rows:
        level, side = _tempo(rng, config.frames, is_two_sided=name in model.recipes.two_sided)
        sides = recipe, mirrored(recipe, model.recipes.opposite)
        towards = np.stack([unit_weights(each, model.expression_names) for each in sides])
        apex = towards[(side < 0).astype(int)]
        return _Rows(
            names=[f"{subjects[s]}/{name}/{name}.{f:06d}" for f in range(1, len(level) + 1)],
            subject=np.full(len(level), s, np.int32),
            expression=np.full(len(level), e, np.int32),
            level=level,
            side=side,
            performed=level[:, None] * apex,
            units=level[:, None] * (apex * people.gains[s]),
        )

    rows = _Rows.joined(
        perform(s, e, name, recipe) for s in range(count) for e, (name, recipe) in enumerate(recipes.items())
    )
    faces, truth = _noisy_faces(rng, model, people, rows, config)
    level = sequence_levels(faces, rows.subject * len(recipes) + rows.expression)
    index = np.arange(len(faces), dtype=np.int32)
    everything = ArraySource(faces, rows.subject, rows.expression, level, index)
    train, test = split_indices(split, rows.names)
    return FaceSet(
        name=f"synthetic sequences of {model.name}/{split}",
        train=everything.take(train),
        test=everything.take(test),
        neutrals=subject_neutrals(faces, rows.subject, level, subjects),
        triangles=model.triangles,
        subjects=subjects,
        expressions=tuple(recipes),
        names=rows.names,
        scale=260.0,
        content_hash=_content_hash("sequences", model, config, split, recipes),
        landmarks=model.landmarks,
        truth=truth,
    )


def synthetic_bu3dfe(model: FaceModel, config: SyntheticFaceConfig, *, split: str = "paper") -> FaceSet:
    """Synthetic faces in BU-3DFE's arrangement: 100 subjects x 6 expressions x 4 levels, and a neutral face of each.

    A subject's neutral target is the neutral face with its noise, as in BU-3DFE; the true one is in `truth`.

    Args:
      model: whose identity modes and expression units make the faces.
      config: what is drawn.
      split: one of `facedis_jax.data.splits.SPLITS`; "paper" is "subject" here, as in BU-3DFE.

    Returns:
      The face set in mm, of scale 156, with the factors of `synthetic_coma`.

    Raises:
      InputError: as `synthetic_coma`.
    """
    rng = np.random.default_rng(config.seed)
    performed_ones = model.recipes.of(BU3DFE_EXPRESSIONS, model.expression_names)
    # Scans are taken of the face at rest as well, whatever else is performed.
    recipes = _recipes(dict(sorted({**performed_ones, "neutral": {}}.items())), config, always="neutral")
    count = config.num_subjects or 100
    women = round(_WOMEN * count)
    subjects = [f"F{i:04d}" for i in range(1, women + 1)]
    subjects += [f"M{i:04d}" for i in range(1, count - women + 1)]
    people = draw_people(rng, model, count, config)

    def show(s: int, e: int, name: str, recipe: Recipe) -> _Rows:
        grades = np.arange(1, config.levels + 1) if recipe else np.zeros(1, int)
        level = (grades / config.levels).astype(np.float32)
        performed = level[:, None] * unit_weights(recipe, model.expression_names)
        return _Rows(
            names=[f"{subjects[s]}/{name}/{subjects[s]}_{name[:2].upper()}{grade:02d}" for grade in grades],
            subject=np.full(len(level), s, np.int32),
            expression=np.full(len(level), e, np.int32),
            level=level,
            side=np.zeros(len(level), np.float32),
            performed=performed,
            units=performed * people.gains[s],
        )

    rows = _Rows.joined(
        show(s, e, name, recipe) for s in range(count) for e, (name, recipe) in enumerate(recipes.items())
    )
    faces, truth = _noisy_faces(rng, model, people, rows, config)
    index = np.arange(len(faces), dtype=np.int32)
    everything = ArraySource(faces, rows.subject, rows.expression, rows.level, index)
    train, test = split_indices("subject" if split == "paper" else split, rows.names)
    return FaceSet(
        name=f"synthetic scans of {model.name}/{split}",
        train=everything.take(train),
        test=everything.take(test),
        neutrals=faces[rows.level == 0],
        triangles=model.triangles,
        subjects=subjects,
        expressions=tuple(recipes),
        names=rows.names,
        scale=156.0,
        content_hash=_content_hash("scans", model, config, split, recipes),
        landmarks=model.landmarks,
        truth=truth,
    )


def _recipes(
    known: Mapping[str, Recipe], config: SyntheticFaceConfig, *, always: str | None = None
) -> dict[str, Recipe]:
    unknown = [name for name in config.expressions if name not in known]
    if unknown:
        raise InputError("expressions", f"some of {', '.join(known)}", ", ".join(unknown))
    chosen = {*(config.expressions or known), always}
    return {name: recipe for name, recipe in known.items() if name in chosen}


def draw_people(rng: np.random.Generator, model: FaceModel, count: int, config: SyntheticFaceConfig) -> People:
    """Random people: their identities, gains and asymmetries."""
    names, sides = zip(*map(split_side, model.expression_names), strict=True)
    units, unit_of = np.unique(names, return_inverse=True)
    identity = rng.standard_normal((count, len(model.identity)))
    gains = np.exp(config.gain_spread * rng.standard_normal((count, len(units))))
    asymmetry = config.asymmetry * rng.standard_normal(count)
    side = np.array([{"left": 1, "right": -1, "both": 0}[side] for side in sides])
    both_sides = gains[:, unit_of] * (1 + asymmetry[:, None] * side)
    return People(*(array.astype(np.float32) for array in (identity, both_sides, asymmetry)))


def _tempo(rng: np.random.Generator, frames: tuple[int, int], *, is_two_sided: bool) -> tuple[np.ndarray, np.ndarray]:
    """Levels [frames] from 0 to an apex and back, onset and offset each at its own pace, and sides [frames].

    A two-sided performance is two of these in a sequence, to the left and to the right.
    """
    length = int(rng.integers(frames[0], frames[1] + 1))
    parts = [length // 2, length - length // 2] if is_two_sided else [length]
    levels = []
    for part in parts:
        apex = rng.uniform(0.35, 0.65)
        time = np.linspace(0, 1, part)
        phase = np.where(time < apex, time / apex, (1 - time) / (1 - apex))
        levels.append(rng.uniform(0.85, 1.0) * np.sin(phase * np.pi / 2) ** rng.uniform(1.2, 2.4))
    sides = [np.ones(parts[0]), -np.ones(parts[1])] if is_two_sided else [np.zeros(length)]
    return np.concatenate(levels).astype(np.float32), np.concatenate(sides).astype(np.float32)


def _noisy_faces(
    rng: np.random.Generator, model: FaceModel, people: People, rows: _Rows, config: SyntheticFaceConfig
) -> tuple[np.ndarray, FaceTruth]:
    """The faces [faces, vertices, 3] in mm with their noise, and the truth behind them."""
    neutrals = model.vertices(people.identity, np.zeros((len(people.identity), len(model.expression))))
    # In place: at the size of ICT-FaceKit each copy of all faces takes 0.2 GiB.
    clean: np.ndarray = np.tensordot(rows.units, model.expression, 1)
    for s, neutral in enumerate(neutrals):
        clean[rows.subject == s] += neutral
    faces = rng.standard_normal(clean.shape, dtype=np.float32)
    faces *= np.float32(config.noise_mm)
    faces += clean
    factors = {
        "subject": rows.subject[:, None],
        "identity": people.identity[rows.subject],
        "gains": people.gains[rows.subject],
        "asymmetry": people.asymmetry[rows.subject, None],
        "expression": rows.expression[:, None],
        "level": rows.level[:, None],
        "side": rows.side[:, None],
        "performed": rows.performed,
        "units": rows.units,
    }
    truth = FaceTruth(
        clean, neutrals, model.expression, {name: np.asarray(f, np.float32) for name, f in factors.items()}
    )
    return faces, truth


def _content_hash(
    arrangement: str, model: FaceModel, config: SyntheticFaceConfig, split: str, recipes: Mapping[str, Recipe]
) -> str:
    settings = asdict(config)
    # A setting that is newer than runs that still go on.
    if config.levels == SyntheticFaceConfig.levels:
        del settings["levels"]
    made_from = [arrangement, model.content_hash, settings, split, recipes]
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
