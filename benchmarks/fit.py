"""How well a model is fitted to scans with known truth: `python -m benchmarks.fit --model RUN_OR_FILE`.

Synthetic faces of the model's topology, of people and frames that it has not seen, become scans of other points, in any
pose and unit. Prints a table of mean vertex distances to the truth, beside those of the model's own reconstruction of
the registered faces, and how many of the scans were found; then times, and how often intervals hold the truth.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np
import pyvista
import trimesh

from facedis_jax.data.faces.face_set import stack
from facedis_jax.data.synthetic.face_model import load_face_model
from facedis_jax.data.synthetic.faces import SyntheticFaceConfig, synthetic_coma
from facedis_jax.errors import InputError
from facedis_jax.formats.json_files import write_json
from facedis_jax.formats.meshes import UNITS
from facedis_jax.inference.face_model import TrainedFaceModel
from facedis_jax.inference.fitting.fit import Fitter
from facedis_jax.inference.fitting.results import FaceFit, FitConfig
from facedis_jax.inference.fitting.scans import Scan
from facedis_jax.inference.load import load_faces
from facedis_jax.runs.command_line import exit_with
from facedis_jax.runs.options import parse_options

_ROWS = ("registered", "points", "quarter", "four_times", "noise", "cropped", "half", "posterior", "other", "time")

# Scans of which the time of a hundred is reckoned.
_TIMED = 24
# A face whose vertices lie so far from the truth on average was not found.
_LOST_MM = 8.0


@dataclass(frozen=True)
class FitTrial:
    """What is measured.

    Attributes:
      model: the folder of a finished run of synthetic faces, or its model.safetensors.
      face_model: the face model that the run learned from; none for the embedded face.
      other_face_model: another one, whose faces have no truth in this topology; none for the embedded face.
      people: "known" for test frames of the people that were learned from, "new" for people never seen.
      rows: what becomes of the faces.
      number: of scans in each row.
      seed: of faces, poses and noise.
      json: write the figures down.
    """

    model: Path
    face_model: Path | None = None
    other_face_model: Path | None = None
    people: str = "known"
    rows: tuple[str, ...] = _ROWS
    number: int = 20
    seed: int = 0
    json: Path | None = None


@dataclass(frozen=True)
class Truth:
    """Faces without noise [faces, vertices, 3], and as they were recorded."""

    clean: np.ndarray
    recorded: np.ndarray
    triangles: np.ndarray


def faces_of(path: Path | None, people: str, number: int, seed: int, *, model_seed: int = 0) -> Truth:
    """Test faces: of the set that a run learned from, or of new people."""
    config = SyntheticFaceConfig(seed=model_seed if people == "known" else 1000 + seed)
    face_set = synthetic_coma(load_face_model(path), config)
    test = stack(face_set.test)
    rows = np.random.default_rng(seed).permutation(len(test))[:number]
    assert face_set.truth is not None
    return Truth(face_set.truth.clean[test.index[rows]], test.vertices[rows], face_set.triangles)


Mesh = tuple[np.ndarray, np.ndarray | None]


def _points(rng: np.random.Generator, face: np.ndarray, triangles: np.ndarray, count: int) -> np.ndarray:
    mesh = trimesh.Trimesh(face, triangles, process=False)
    return trimesh.sample.sample_surface(mesh, count, seed=int(rng.integers(1 << 31)))[0]


def _quarter(rng: np.random.Generator, face: np.ndarray, triangles: np.ndarray) -> Mesh:
    corners = np.concatenate([np.full((len(triangles), 1), 3), triangles], axis=1)
    fewer = pyvista.PolyData(face, corners.ravel()).decimate(0.75)
    return np.asarray(fewer.points, np.float64), fewer.regular_faces


def _noise(rng: np.random.Generator, face: np.ndarray, triangles: np.ndarray) -> Mesh:
    more, faces = trimesh.remesh.subdivide(face, triangles)
    return more + 0.3 * rng.normal(size=more.shape), faces


def _cut(rng: np.random.Generator, face: np.ndarray, triangles: np.ndarray, share: float) -> Mesh:
    middles = face[triangles].mean(1)
    areas = np.linalg.norm(np.cross(*(face[triangles[:, i]] - face[triangles[:, 0]] for i in (1, 2))), axis=1)
    along = middles @ rng.normal(size=3)
    order = np.argsort(along)
    kept = order[np.cumsum(areas[order]) > share * areas.sum()]
    return face, triangles[kept]


SCANS: dict[str, Callable[[np.random.Generator, np.ndarray, np.ndarray], Mesh]] = {
    "registered": lambda rng, face, triangles: (face, triangles),
    "points": lambda rng, face, triangles: (_points(rng, face, triangles, 5000), None),
    "quarter": _quarter,
    "four_times": lambda rng, face, triangles: trimesh.remesh.subdivide(face, triangles),
    "noise": _noise,
    "cropped": lambda rng, face, triangles: _cut(rng, face, triangles, 0.3),
    "half": lambda rng, face, triangles: _cut(rng, face, triangles, 0.5),
}


def posed(
    rng: np.random.Generator, points: np.ndarray, unit: str
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Points turned at random and 500 mm away in a unit, and what brings faces in that place back to mm."""
    turn = trimesh.transformations.random_rotation_matrix(rng.random(3))[:3, :3]
    shift = rng.normal(size=3)
    shift *= 500 / np.linalg.norm(shift)
    return (points @ turn.T + shift) / UNITS[unit], lambda there: (there * UNITS[unit] - shift) @ turn


def fitted(
    model: TrainedFaceModel, truth: Truth, row: str, seed: int
) -> Iterator[tuple[FaceFit | str, float, np.ndarray]]:
    """Of each face's scan the fit or why it was refused, the seconds, and the distance of each vertex to the truth."""
    for i, face in enumerate(truth.clean.astype(np.float64)):
        rng = np.random.default_rng([seed, i])
        points, triangles = SCANS[row](rng, face, truth.triangles)
        unit = list(UNITS)[i % len(UNITS)]
        points, back = posed(rng, points, unit)
        began = time.perf_counter()
        try:
            fit = model.fit(points, triangles)
        except InputError as error:
            yield str(error), time.perf_counter() - began, np.full(len(face), np.inf)
            continue
        seconds = time.perf_counter() - began
        yield fit, seconds, np.linalg.norm(back(fit.vertices * UNITS[fit.unit] / UNITS[unit]) - face, axis=1)


def fit_rows(model: TrainedFaceModel, truth: Truth, config: FitTrial) -> Iterator[tuple[str, dict[str, float]]]:
    """The table's rows that have a truth."""
    codes = model.encode(truth.recorded)
    own = np.linalg.norm(np.asarray(model.decode(codes).full) - truth.clean, axis=-1).mean()
    yield "reconstruction of the registered", {"vertex_mm": float(own), "ratio": 1.0}
    for row in (row for row in SCANS if row in config.rows):
        errors, found, flagged, seconds = [], 0, 0, []
        for fit, time_taken, distances in fitted(model, truth, row, config.seed):
            is_found = distances.mean() < _LOST_MM
            found += is_found
            is_flagged = isinstance(fit, str) or fit.is_bad
            flagged += is_flagged and not is_found
            if is_found:
                errors.append(distances.mean())
            if isinstance(fit, str) or (is_flagged and is_found):
                print(f"   {row}: {distances.mean():.2f} mm, {fit if isinstance(fit, str) else fit.reason}")
            seconds.append(time_taken)
        mean = float(np.mean(errors)) if errors else float("nan")
        count = len(truth.clean)
        yield (
            row,
            {
                "vertex_mm": mean,
                "ratio": mean / float(own),
                "found": found,
                "not_found_flagged": flagged,
                "of": count,
                "median_seconds": float(np.median(seconds)),
            },
        )


def posterior_rows(model: TrainedFaceModel, truth: Truth, config: FitTrial) -> Iterator[tuple[str, dict[str, float]]]:
    """How often 90 % intervals of coordinates of vertices hold the truth, given half a face."""
    inside: dict[str, list[np.ndarray]] = {"all": [], "hidden": [], "seen": []}
    deviations = []
    for i, face in enumerate(truth.clean.astype(np.float64)):
        rng = np.random.default_rng([config.seed, i])
        points, triangles = SCANS["half"](rng, face, truth.triangles)
        points, back = posed(rng, points, "mm")
        try:
            fit = model.fit(points, triangles, unit="mm", config=FitConfig(posterior_samples=64))
        except InputError as error:
            print(f"   posterior: {error}")
            continue
        away = back(fit.vertices) - face
        assert fit.std_mm is not None
        assert triangles is not None
        if np.linalg.norm(away, axis=1).mean() > _LOST_MM:
            print(f"   posterior: {np.linalg.norm(away, axis=1).mean():.1f} mm, {fit.reason or 'not flagged'}")
            continue
        held = np.abs(away) < 1.645 * fit.std_mm[:, None]
        seen = np.isin(np.arange(len(face)), triangles)
        for name, rows in (("all", slice(None)), ("hidden", ~seen), ("seen", seen)):
            inside[name].append(held[rows].ravel())
        deviations.append([fit.std_mm[seen].mean(), fit.std_mm[~seen].mean()])
    shares = {name: float(np.concatenate(parts).mean()) for name, parts in inside.items() if parts}
    means = np.mean(deviations, axis=0)
    yield (
        "posterior of half a face",
        {**shares, "std_seen_mm": means[0], "std_hidden_mm": means[1], "of": len(deviations)},
    )


def linear_fitter(model: TrainedFaceModel, faces: np.ndarray) -> Fitter:
    """The fitter of the linear model of as many numbers as the model has, the principal components of some faces."""
    numbers = sum(model.fitter.sizes[:2])
    mean = faces.mean(0)
    _, values, basis = np.linalg.svd((faces - mean).reshape(len(faces), -1), full_matrices=False)
    scale = values[:numbers] / np.sqrt(len(faces) - 1)
    components = (scale[:, None] * basis[:numbers]).reshape(numbers, -1, 3)
    codes = ((faces - mean).reshape(len(faces), -1) @ basis[:numbers].T) / scale

    def face(params, codes):
        return params[0] + jax.numpy.tensordot(codes, params[1], 1, precision="highest")

    params = tuple(np.asarray(part, np.float32) for part in (mean, components))
    return Fitter.of_face(face, params, codes, (numbers, 0, 0), mean, model.triangles)


def other_rows(model: TrainedFaceModel, config: FitTrial) -> Iterator[tuple[str, dict[str, float]]]:
    """Faces of another face model, against a linear model that is fitted by the same registration."""
    own = load_face_model(config.face_model)
    train = stack(synthetic_coma(own, SyntheticFaceConfig()).train).vertices
    linear = linear_fitter(model, train)
    other = faces_of(config.other_face_model, "new", config.number, config.seed)
    distances: dict[str, list[float]] = {"model": [], "linear": []}
    bad = 0
    for i, face in enumerate(other.clean.astype(np.float64)):
        points, _ = posed(np.random.default_rng([config.seed, i]), face, "mm")
        scan = Scan.of(points, other.triangles)
        for name, fitter in (("model", model.fitter), ("linear", linear)):
            try:
                fit = fitter.fit(scan, "mm", None, FitConfig(), None)
                distances[name].append(fit.distances.scan_to_face)
                bad += name == "model" and fit.is_bad
                if fit.is_bad:
                    print(f"   other, {name}: {fit.reason}")
            except InputError as error:
                bad += name == "model"
                print(f"   other, {name}: {error}")
    medians = {name: float(np.median(values)) for name, values in distances.items()}
    yield (
        "other face model",
        {
            "scan_to_face_mm": medians["model"],
            "linear_mm": medians["linear"],
            "ratio": medians["model"] / medians["linear"],
            "bad": bad,
            "of": config.number,
        },
    )


def time_rows(model: TrainedFaceModel, truth: Truth, config: FitTrial) -> Iterator[tuple[str, dict[str, float]]]:
    """Seconds of the first scan of 20,000 points, and of a hundred more, by the clock and of the processor."""
    scans = []
    for i in range(1 + _TIMED):
        rng = np.random.default_rng([config.seed, i])
        face = truth.clean[i % len(truth.clean)].astype(np.float64)
        scans.append(posed(rng, _points(rng, face, truth.triangles, 20_000), "mm")[0])
    fresh = replace(model)
    times = []
    for some in (scans[:1], scans[1:]):
        began = time.perf_counter(), time.process_time()
        fresh.fit_many([(points, None) for points in some])
        times.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    yield (
        "time",
        {
            "first_seconds": times[0][0],
            "hundred_seconds": 100 / _TIMED * times[1][0],
            "first_processor_seconds": times[0][1],
            "hundred_processor_seconds": 100 / _TIMED * times[1][1],
        },
    )


def _main() -> int:
    config = parse_options(FitTrial, prog="python -m benchmarks.fit", description=__doc__)
    model = load_faces(config.model)
    truth = faces_of(config.face_model, config.people, config.number, config.seed)
    rows: dict[str, dict[str, float]] = {}
    parts = [time_rows(model, truth, config)] if "time" in config.rows else []
    parts.append(fit_rows(model, truth, config))
    if "posterior" in config.rows:
        parts.append(posterior_rows(model, truth, config))
    if "other" in config.rows:
        parts.append(other_rows(model, config))
    for part in parts:
        for name, row in part:
            rows[name] = row
            print(f"{name:<34}" + "  ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)
    if config.json:
        write_json(
            config.json, {"model": str(config.model), "people": config.people, "seed": config.seed, "rows": rows}
        )
    return 0


if __name__ == "__main__":
    exit_with(_main)
