"""How well a rig finds known expressions again: `python -m benchmarks.rig --model RUN --face-model ict_face.npz`.

Faces of people whom the model has not seen, each in a few of its expressions at random levels, which are known; the
weights are found as `facedis rig` finds them, of all frames of a person. Of each expression the table has how far it
moves a vertex, the correlation of its weights with the true levels, and the weight where it is not shown. `--neutral`
also gives each person's face at rest, and `--frames 1` asks for more of a model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.measurement import BenchmarkOptions, print_table, run_benchmark
from facedis_jax.data.synthetic.expressions import ARKIT_NAMES, BU3DFE_EXPRESSIONS, COMA_EXPRESSIONS, unit_weights
from facedis_jax.data.synthetic.face_model import FaceModel, load_face_model
from facedis_jax.errors import InputError
from facedis_jax.inference.face_model import TrainedFaceModel
from facedis_jax.inference.load import load_faces
from facedis_jax.inference.rig import FaceRig, expression_ways, face_rig, identity_basis, person_weights

_MOVES = 1.0


@dataclass(frozen=True)
class RigBenchmarkConfig(BenchmarkOptions):
    """What is measured.

    Attributes:
      model: a model that comes with the package, the folder of a finished run, or its model.safetensors.
      face_model: what the model learned from; none for the embedded face.
      people: how many, none of whom it has seen.
      frames: of each.
      shown: expressions of a frame.
      neutral: whether each person's face at rest is known.
      seed: of people and levels.
    """

    model: Path = Path("ict-face")
    face_model: Path | None = None
    people: int = 10
    frames: int = 24
    shown: int = 2
    neutral: bool = False
    seed: int = 0


def measure(config: RigBenchmarkConfig) -> list[dict[str, Any]]:
    """A row for each expression, and one for all that move a vertex by more than 1 mm."""
    model, source = load_faces(config.model), load_face_model(config.face_model)
    if len(source.neutral) != len(model.trained.constants.mean_face):
        expected = f"a face model of {len(model.trained.constants.mean_face)} vertices, as {config.model} learned from"
        raise InputError("--face-model", expected, str(len(source.neutral)))
    # Where there are ARKit's units, all else is made up of them and gets no weights.
    arkit = [name for name in model.shown_expressions if name in ARKIT_NAMES]
    names = arkit or list(model.shown_expressions)
    units = np.stack([expression_units(name, source) for name in names])
    rng = np.random.default_rng(config.seed)
    true, found = np.zeros((2, config.people, config.frames, len(names)))
    for person in range(config.people):
        identity = np.tile(rng.standard_normal(len(source.identity)), (config.frames, 1))
        for frame in true[person]:
            chosen = rng.choice(len(names), min(config.shown, len(names)), replace=False)
            frame[chosen] = rng.uniform(0.2, 1, len(chosen))
        # Where two expressions share a unit, it is moved no further than it goes.
        faces = source.vertices(identity, np.clip(true[person] @ units, -1, 1))
        neutral = source.vertices(identity[0], np.zeros(len(source.expression)))
        rig, weights = _rig(model, faces, neutral if config.neutral else None)
        for i, name in enumerate(names):
            found[person][:, i] = weights[:, rig.names.index(name)] if name in rig.names else 0
    moves = np.linalg.norm(np.tensordot(units, source.expression, 1), axis=-1).max(-1)
    rows = [_row(name, moves[i], true[..., i].ravel(), found[..., i].ravel()) for i, name in enumerate(names)]
    known = [row["correlation"] for row in rows if row["moves (mm)"] > _MOVES]
    rows.append({"expression": f"{len(known)} that move more than {_MOVES:g} mm, least", "correlation": min(known)})
    rows.append({"expression": "mean", "correlation": float(np.mean(known))})
    return rows


def expression_units(name: str, source: FaceModel) -> np.ndarray:
    """Weights [units] of a face model for an expression: that of a unit, or a built-in one."""
    recipes: Mapping[str, Mapping[str, float]] = {**COMA_EXPRESSIONS, **BU3DFE_EXPRESSIONS}
    return unit_weights(recipes.get(name, {name: 1.0}), source.expression_names)


def _rig(model: TrainedFaceModel, faces: np.ndarray, neutral: np.ndarray | None) -> tuple[FaceRig, np.ndarray]:
    """A person's rig, and the weights of the frames."""
    codes = model.encode_sequence(faces.astype(np.float32), check=False)
    person = jax.tree.map(lambda x: x[0], codes)
    rig = face_rig(model, person)
    ways = expression_ways(model, person, rig)
    return rig, person_weights(rig, faces, identity_basis(model, person), neutral=neutral, ways=ways).weights


def _row(name: str, moves: float, true: np.ndarray, found: np.ndarray) -> dict[str, Any]:
    varies = true.std() > 0 and found.std() > 0
    return {
        "expression": name,
        "moves (mm)": float(moves),
        "correlation": float(np.corrcoef(true, found)[0, 1]) if varies else 0.0,
        "found of 1": float((true * found).sum() / max((true**2).sum(), 1e-9)),
        "where not shown": float(found[true == 0].mean()) if (true == 0).any() else None,
    }


def main(config: RigBenchmarkConfig) -> Sequence[Mapping[str, Any]]:
    rows = measure(config)
    print_table(f"weights of {config.people} people in {config.frames} frames each", rows)
    return rows


if __name__ == "__main__":
    run_benchmark("rig", __doc__ or "", RigBenchmarkConfig(), main)
