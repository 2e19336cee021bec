"""Frames of one person: how steady identity and expression are, against the truth of synthetic sequences.

    python -m benchmarks.sequences --model runs/coma_ib-demo
    python -m benchmarks.sequences --model runs/coma_ib-demo --known
    python -m benchmarks.sequences --model runs/coma_ib-demo --people 4 --synthetic.expressions mouth_open high_smile

The people are new to the model, or those that it learned from, and perform every expression. Distances are mean vertex
distances in mm: of identities, between their neutral faces. Identities deviate
  by noise: from what the same frames with other registration noise have;
  by its absence: from what the same frames without noise have;
  by expression: from what the person's other performances have together;
  by recording: of every other performance, from the rest.
Jitter is the second difference in time of a face's error. Levels are how far a face is on the way to the person with
the whole expression, as the model has it by its name, correlated with the true ones in each performance. Frames of two
people together should be refused, and those of one should not.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.measurement import BenchmarkOptions, print_table, run_benchmark
from facedis_jax.data.synthetic.expressions import TWO_SIDED
from facedis_jax.data.synthetic.face_model import load_face_model
from facedis_jax.data.synthetic.faces import SyntheticFaceConfig, synthetic_coma
from facedis_jax.errors import InputError
from facedis_jax.inference.face_codes import Code, FaceCodes
from facedis_jax.inference.face_model import TrainedFaceModel
from facedis_jax.inference.load import load_faces
from facedis_jax.inference.sequences import effective_count, people_spread, strangers


@dataclass(frozen=True)
class SequenceBenchmarkConfig(BenchmarkOptions):
    """What is measured.

    Attributes:
      model: a model of faces or the folder of its run.
      face_model: that it learned from: None for the embedded face, a .npz, or a checkout of ICT-FaceKit.
      seeds: of the people, their performances and the noise.
      people: of each seed.
      known: those whom the model learned from, in other performances than these: of a run on synthetic sequences, with
        its options below; each seed then makes the performances a frame longer.
      synthetic: how they differ and perform.
    """

    model: Path = Path("runs/coma_ib-demo")
    face_model: Path | None = None
    seeds: tuple[int, ...] = (11, 12, 13)
    people: int = 2
    known: bool = False
    synthetic: SyntheticFaceConfig = field(default_factory=lambda: SyntheticFaceConfig(frames=(24, 36)))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.people < 2 or not self.seeds:
            raise InputError("--people", "2 or more, and seeds", f"{self.people} and {len(self.seeds)} seeds")


class Performance(NamedTuple):
    """What a person did once.

    Attributes:
      person, expression: whose, and its name.
      noisy, again, clean: [frames, vertices, 3] mm, with registration noise, with another draw of it, and without.
      level: [frames], true.
    """

    person: int
    expression: str
    noisy: np.ndarray
    again: np.ndarray
    clean: np.ndarray
    level: np.ndarray


def performances(config: SequenceBenchmarkConfig, seed: int) -> Iterator[Performance]:
    """All performances of the people of a seed."""
    synthetic = replace(config.synthetic, num_subjects=config.people, seed=seed)
    if config.known:
        # People are drawn before their performances, which other lengths make others.
        shortest, longest = config.synthetic.frames
        synthetic = replace(config.synthetic, frames=(shortest + seed, longest + seed))
    faces = synthetic_coma(load_face_model(config.face_model), synthetic)
    truth = faces.truth
    assert truth is not None
    noisy = np.empty_like(truth.clean)
    for half in (faces.train, faces.test):
        noisy[half.index] = half.vertices  # type: ignore[attr-defined]
    noise = np.random.default_rng((seed, 1)).normal(scale=synthetic.noise_mm, size=truth.clean.shape)
    again = (truth.clean + noise).astype(np.float32)
    subject, expression, level = (truth.factors[name][:, 0] for name in ("subject", "expression", "level"))
    for person in range(config.people):
        for index, name in enumerate(faces.expressions):
            rows = np.flatnonzero((subject == person) & (expression == index))
            yield Performance(person, name, noisy[rows], again[rows], truth.clean[rows], level[rows])


def measure(model: TrainedFaceModel, shown: Sequence[Performance]) -> dict[str, float]:
    """The measures of performances of several people; means over performances."""
    labels = [model.labels(p.expression if model.config.conditional else None, p.level) for p in shown]
    single, again, clean = (
        [_encoded(model, getattr(p, name), rows) for p, rows in zip(shown, labels, strict=True)]
        for name in ("noisy", "again", "clean")
    )
    return {
        "frames": float(np.mean([len(p.level) for p in shown])),
        "worth_frames": float(np.mean([effective_count(codes.identity) for codes in single])),
        **_identity(model, shown, single, {"noise": again, "no_noise": clean}),
        **_motion(model, shown, single),
        **_refusals(model, shown, single),
    }


def _encoded(model: TrainedFaceModel, frames: np.ndarray, labels: Any) -> FaceCodes:
    """Each frame by itself; in batches, of which all programs are one."""
    mean, logvar = model.codec.encode(frames, None if labels is None else np.asarray(labels))
    split = model.config.model.identity_latents
    std = np.exp(0.5 * logvar)
    return FaceCodes(Code(mean[:, :split], std[:, :split]), Code(mean[:, split:], std[:, split:]), labels)


def _together(model: TrainedFaceModel, codes: Sequence[FaceCodes], smoothing: float | None = 0.0) -> FaceCodes:
    joined = jax.tree.map(lambda *parts: np.concatenate(parts), *codes)
    return model.of_one_person(joined, smoothing=smoothing, check=False)


def _neutrals(model: TrainedFaceModel, identity: Any) -> np.ndarray:
    """Neutral faces [..., vertices, 3] of identities [..., latents]."""
    rows = np.atleast_2d(np.asarray(identity))
    labels = np.zeros((len(rows), len(model.expressions)), np.float32) if model.config.conditional else None
    return model.codec.decode(rows, np.zeros((len(rows), model.config.model.expression_latents)), labels)[1]


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other, axis=-1).mean())


def _identity(
    model: TrainedFaceModel,
    shown: Sequence[Performance],
    single: Sequence[FaceCodes],
    others: Mapping[str, Sequence[FaceCodes]],
) -> dict[str, float]:
    """How far identities of frames and of sequences deviate, in mm."""
    found: dict[str, list[float]] = {}

    def add(name: str, frames: float, sequence: float) -> None:
        found.setdefault(f"{name}_frames_mm", []).append(frames)
        found.setdefault(f"{name}_sequence_mm", []).append(sequence)

    def one(codes: Sequence[FaceCodes]) -> np.ndarray:
        return _neutrals(model, _together(model, codes).identity.mean[0])

    for i, performance in enumerate(shown):
        frames, sequence = _neutrals(model, single[i].identity.mean), one([single[i]])
        for name, codes in others.items():
            add(name, _apart(frames, _neutrals(model, codes[i].identity.mean)), _apart(sequence, one([codes[i]])))
        more = [k for k, p in enumerate(shown) if p.person == performance.person and k != i]
        rest = one([single[k] for k in more])
        add("expression", _apart(frames, rest), _apart(sequence, rest))
    for person in {p.person for p in shown}:
        own = [i for i, p in enumerate(shown) if p.person == person]
        rest = one([single[i] for i in own[1::2]])
        frames = _neutrals(model, np.concatenate([single[i].identity.mean for i in own[::2]]))
        add("recording", _apart(frames, rest), _apart(one([single[i] for i in own[::2]]), rest))
    return {name: float(np.mean(values)) for name, values in found.items()}


def _motion(model: TrainedFaceModel, shown: Sequence[Performance], single: Sequence[FaceCodes]) -> dict[str, float]:
    """Correlation of levels, and jitter in mm, of frames by themselves, with one identity, and smoothed."""
    found: dict[str, list[float]] = {}

    def add(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    for performance, codes in zip(shown, single, strict=True):
        add("jitter_noise_mm", _jitter(performance.noisy - performance.clean))
        ways = {
            "frames": codes,
            "sequence": model.of_one_person(codes, check=False),
            "smoothed": model.of_one_person(codes, smoothing=None, check=False),
        }
        for name, way in ways.items():
            labels = None if way.labels is None else np.asarray(way.labels)
            full, _ = model.codec.decode(np.asarray(way.identity.mean), np.asarray(way.expression.mean), labels)
            add(f"jitter_{name}_mm", _jitter(full - performance.clean))
            level = _levels(model, performance.expression, way, full)
            add(f"level_correlation_{name}", float(np.corrcoef(level, performance.level)[0, 1]))
            add(f"error_{name}_mm", _apart(full, performance.clean))
    lowest = {f"{name}_lowest": min(values) for name, values in found.items() if name.startswith("level_")}
    return {name: float(np.mean(values)) for name, values in found.items()} | lowest


def _levels(model: TrainedFaceModel, expression: str, codes: FaceCodes, faces: np.ndarray) -> np.ndarray:
    """How far faces [frames, vertices, 3] are on the way from a person's rest to a whole expression, [frames]."""
    person = jax.tree.map(lambda part: part[:1], codes)
    rest, whole = (np.asarray(model.expression(person, expression, level))[0] for level in (0.0, 1.0))
    way = whole - rest
    level = np.tensordot(faces - rest, way, 2) / (way**2).sum()
    # One that goes both ways under one name has a level on either.
    return np.abs(level) if expression in TWO_SIDED else level


def _jitter(error: np.ndarray) -> float:
    return float(np.linalg.norm(error[2:] - 2 * error[1:-1] + error[:-2], axis=-1).mean())


def _refusals(model: TrainedFaceModel, shown: Sequence[Performance], single: Sequence[FaceCodes]) -> dict[str, float]:
    """Shares of sequences that are refused: of one person, all performances too, and of two people."""
    spread = people_spread(model.trained.codes[:, : model.config.model.identity_latents], model.trained.subject)

    def is_refused(means: Sequence[np.ndarray]) -> bool:
        return bool(strangers(np.concatenate(means), spread)[0].any())

    one = [is_refused([np.asarray(codes.identity.mean)]) for codes in single]
    means: dict[int, list[np.ndarray]] = {}
    for performance, codes in zip(shown, single, strict=True):
        means.setdefault(performance.person, []).append(np.asarray(codes.identity.mean))
    one += [is_refused(own) for own in means.values()]
    people = list(means)
    two = [
        is_refused([mine, theirs]) for a, b in pairwise(people) for mine, theirs in zip(means[a], means[b], strict=True)
    ]
    return {"one_person_refused": float(np.mean(one)), "two_people_refused": float(np.mean(two))}


def main(config: SequenceBenchmarkConfig) -> list[dict[str, Any]]:
    model = load_faces(config.model)
    rows: list[dict[str, Any]] = []
    for seed in config.seeds:
        rows.append({"seed": seed, **measure(model, list(performances(config, seed)))})
    print_table(
        f"sequences of people {'known' if config.known else 'who are new'} to {config.model}",
        [{"measure": name, **{f"seed {row['seed']}": row[name] for row in rows}} for name in rows[0] if name != "seed"],
    )
    return rows


if __name__ == "__main__":
    run_benchmark("sequences", __doc__ or "", SequenceBenchmarkConfig(), main)
