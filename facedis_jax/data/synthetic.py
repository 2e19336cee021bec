"""Synthetic faces with known truth: a face model performs CoMA's sequences and sits for BU-3DFE's scans.

Not purely additive: each subject has gains of its own for every expression unit and a left-right asymmetry, and each
scan has registration noise. All factors come along as `FaceTruth`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from facedis_jax.data.expressions import (
    BU3DFE_EXPRESSIONS,
    COMA_EXPRESSIONS,
    TWO_SIDED,
    Recipe,
    mirrored,
    split_side,
    unit_weights,
)
from facedis_jax.data.face_model import FaceModel
from facedis_jax.data.faces import ArraySource, FaceSet, FaceTruth
from facedis_jax.data.levels import sequence_levels, subject_neutrals
from facedis_jax.data.splits import split_indices


@dataclass(frozen=True)
class SyntheticConfig:
    """How synthetic subjects differ and how their scans are disturbed.

    Attributes:
      num_subjects: how many people; 0 for the number of the set that is imitated (12 for CoMA, 100 for BU-3DFE).
      frames: shortest and longest sequence, in frames (CoMA's arrangement only).
      gain_spread: standard deviation of the logarithm of a subject's gain on an expression unit.
      asymmetry: standard deviation of the relative difference between a subject's left and right side.
      noise_mm: registration noise, standard deviation per coordinate; 0.2 puts 0.32 mm under every vertex distance.
      seed: of everything that is drawn.
    """

    num_subjects: int = 0
    frames: tuple[int, int] = (14, 26)
    gain_spread: float = 0.25
    asymmetry: float = 0.12
    noise_mm: float = 0.2
    seed: int = 0


@dataclass(frozen=True)
class _Subjects:
    """What tells the subjects apart: identity weights [subjects, modes] and unit gains [subjects, units]."""

    identity: np.ndarray
    gains: np.ndarray
    asymmetry: np.ndarray


def synthetic_sequences(model: FaceModel, config: SyntheticConfig, *, split: str = "paper") -> FaceSet:
    """Faces in CoMA's arrangement: subjects x 12 named expressions, each neutral -> apex -> neutral at its own tempo.

    `mouth_side` goes to one side and then to the other under one label, as in CoMA. Level and neutral targets are
    computed from the noisy frames by the same rule as CoMA's; the truth is kept beside them.
    """
    rng = np.random.default_rng(config.seed)
    num_subjects = config.num_subjects or 12
    people = _draw_subjects(rng, model, num_subjects, config)
    subjects = tuple(f"subject_{i:02d}" for i in range(1, num_subjects + 1))
    expressions = tuple(COMA_EXPRESSIONS)
    names, subject, expression, level, weights = [], [], [], [], []
    for s, subject_name in enumerate(subjects):
        for e, (expression_name, recipe) in enumerate(COMA_EXPRESSIONS.items()):
            tempo = _tempo(rng, config.frames, cycles=2 if expression_name in TWO_SIDED else 1)
            sides = np.where(np.arange(len(tempo)) < len(tempo) // 2, 0, 1) * (expression_name in TWO_SIDED)
            for f, (t, side) in enumerate(zip(tempo, sides, strict=True)):
                performed = mirrored(recipe) if side else recipe
                names.append(f"{subject_name}/{expression_name}/{expression_name}.{f + 1:06d}")
                subject.append(s)
                expression.append(e)
                level.append(t)
                weights.append(t * _performance(model, performed, people.gains[s]))
    clean, faces, factors = _scan(
        rng, model, people, np.array(subject), np.array(weights), np.array(level), np.array(expression), config
    )
    sequence = np.array(subject) * len(expressions) + np.array(expression)
    measured = sequence_levels(faces, sequence)
    neutrals = subject_neutrals(faces, np.array(subject), measured, subjects)
    return _face_set(
        f"synthetic sequences of {model.name}", model, config, split, names, faces, np.array(subject),
        np.array(expression), measured, subjects, expressions, neutrals, clean, people, factors, scale=260.0,
    )  # fmt: skip


def synthetic_scans(model: FaceModel, config: SyntheticConfig, *, split: str = "paper") -> FaceSet:
    """Faces in BU-3DFE's arrangement: 100 subjects x 6 expressions x 4 levels, and a neutral scan of each."""
    rng = np.random.default_rng(config.seed)
    num_subjects = config.num_subjects or 100
    people = _draw_subjects(rng, model, num_subjects, config)
    women = round(num_subjects * 0.56)
    subjects = tuple(
        f"F{i + 1:04d}" if i < women else f"M{i + 1 - women:04d}" for i in range(num_subjects)
    )
    expressions = ("NE", *BU3DFE_EXPRESSIONS)
    names, subject, expression, level, weights = [], [], [], [], []
    for s, subject_name in enumerate(subjects):
        for e, expression_name in enumerate(expressions):
            recipe = BU3DFE_EXPRESSIONS.get(expression_name, {})
            for grade in range(1, 5) if recipe else (0,):
                names.append(f"{subject_name}/{subject_name}_{expression_name}{grade:02d}")
                subject.append(s)
                expression.append(e)
                level.append(grade / 4)
                weights.append(grade / 4 * _performance(model, recipe, people.gains[s]))
    subject_of, level_of = np.array(subject), np.array(level, np.float32)
    clean, faces, factors = _scan(
        rng, model, people, subject_of, np.array(weights), level_of, np.array(expression), config
    )
    neutrals = np.stack([faces[(subject_of == s) & (level_of == 0)].mean(0) for s in range(num_subjects)])
    return _face_set(
        f"synthetic scans of {model.name}", model, config, split, names, faces, subject_of, np.array(expression),
        level_of, subjects, expressions, neutrals, clean, people, factors, scale=156.0,
    )  # fmt: skip


def _draw_subjects(rng: np.random.Generator, model: FaceModel, count: int, config: SyntheticConfig) -> _Subjects:
    units = sorted({split_side(name)[0] for name in model.expression_names})
    identity = rng.standard_normal((count, len(model.identity))).astype(np.float32)
    unit_gains = np.exp(config.gain_spread * rng.standard_normal((count, len(units))))
    asymmetry = config.asymmetry * rng.standard_normal(count)
    side = np.array([{"left": 1, "right": -1, "both": 0}[split_side(n)[1]] for n in model.expression_names])
    place = [units.index(split_side(name)[0]) for name in model.expression_names]
    gains = unit_gains[:, place] * (1 + asymmetry[:, None] * side)
    return _Subjects(identity, gains.astype(np.float32), asymmetry.astype(np.float32))


def _performance(model: FaceModel, recipe: Recipe, gains: np.ndarray) -> np.ndarray:
    return np.asarray(unit_weights(recipe, model.expression_names), np.float32) * gains


def _tempo(rng: np.random.Generator, frames: tuple[int, int], *, cycles: int) -> np.ndarray:
    """Levels [frames] in [0, 1] of a performance that starts and ends neutral; onset and offset have paces of their own."""
    length = int(rng.integers(frames[0], frames[1] + 1))
    halves = [length // cycles + (length % cycles if c == cycles - 1 else 0) for c in range(cycles)]
    levels = []
    for half in halves:
        apex = rng.uniform(0.35, 0.65)
        time = np.linspace(0, 1, half)
        phase = np.where(time < apex, time / apex, (1 - time) / (1 - apex))
        levels.append(rng.uniform(0.85, 1.0) * np.sin(phase * np.pi / 2) ** rng.uniform(1.2, 2.4))
    return np.concatenate(levels).clip(0, 1).astype(np.float32)


def _scan(
    rng: np.random.Generator,
    model: FaceModel,
    people: _Subjects,
    subject: np.ndarray,
    weights: np.ndarray,
    level: np.ndarray,
    expression: np.ndarray,
    config: SyntheticConfig,
) -> tuple[np.ndarray, np.ndarray, Mapping[str, np.ndarray]]:
    """Clean and noisy faces [faces, vertices, 3] in mm, and the factors behind them."""
    neutrals = model.vertices(people.identity, np.zeros((len(people.identity), len(model.expression)), np.float32))
    flat = model.expression.reshape(len(model.expression), -1)
    clean = neutrals[subject] + (weights.astype(np.float32) @ flat).reshape(len(subject), -1, 3)
    noise = rng.standard_normal(clean.shape, np.float32) * np.float32(config.noise_mm)
    factors = {
        "subject": subject[:, None].astype(np.float32),
        "identity": people.identity[subject],
        "asymmetry": people.asymmetry[subject, None],
        "expression": expression[:, None].astype(np.float32),
        "level": np.asarray(level, np.float32)[:, None],
        "units": weights.astype(np.float32),
    }
    return clean, clean + noise, factors


def _face_set(
    name: str,
    model: FaceModel,
    config: SyntheticConfig,
    split: str,
    names: list[str],
    faces: np.ndarray,
    subject: np.ndarray,
    expression: np.ndarray,
    level: np.ndarray,
    subjects: tuple[str, ...],
    expressions: tuple[str, ...],
    neutrals: np.ndarray,
    clean: np.ndarray,
    people: _Subjects,
    factors: Mapping[str, np.ndarray],
    *,
    scale: float,
) -> FaceSet:
    index = np.arange(len(names), dtype=np.int32)
    everything = ArraySource(
        faces, subject.astype(np.int32), expression.astype(np.int32), level.astype(np.float32), index
    )
    train, test = split_indices(split, names)
    no_expression = np.zeros((len(subjects), len(model.expression)), np.float32)
    settings = json.dumps({"config": asdict(config), "split": split, "name": name}, sort_keys=True)
    return FaceSet(
        name=f"{name}/{split}",
        train=everything.take(train),
        test=everything.take(test),
        neutrals=neutrals.astype(np.float32),
        triangles=model.triangles,
        subjects=subjects,
        expressions=expressions,
        names=tuple(names),
        scale=scale,
        content_hash=hashlib.sha256((settings + model.content_hash).encode()).hexdigest(),
        landmarks=model.landmarks,
        truth=FaceTruth(clean, model.vertices(people.identity, no_expression), factors),
    )
