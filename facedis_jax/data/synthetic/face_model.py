"""Linear 3D face models: a neutral face, identity modes and expression units, from an `.npz` or OBJ files."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path

import numpy as np

from facedis_jax.data.synthetic.expressions import Recipes, read_recipes
from facedis_jax.errors import InputError
from facedis_jax.formats.meshes import UNITS, read_mesh
from facedis_jax.formats.npz import read_npz

_NEEDED = ("neutral", "identity", "expression", "expression_names")
_OPTIONAL = ("triangles", "quads", "unit", "landmark_names", "landmark_indices")
# Vertices 0..6705 of ICT-FaceKit's topology are what its authors call the narrow face.
_ICT_NARROW_FACE = 6706
# Vertices and units of ICT-FaceKit's "Light" selection, which has the back of the head and the neck too.
_ICT_LIGHT = (9409, 53)
# From a cropped face to a whole head with its neck, mm: less than a factor of ten, so at most one unit fits.
_DIAGONAL_MM = (120.0, 600.0)
# A closed surface has two. These limits keep memory in proportion to the file.
_MOST_TRIANGLES_PER_VERTEX = 4
_MOST_NAMES, _LONGEST_NAME = 10_000, 200


@dataclass(frozen=True)
class FaceModel:
    """A linear face model: vertices = neutral + identity weights @ identity + expression weights @ expression.

    Attributes:
      name: what reports call it.
      neutral: [vertices, 3] float32, mm; y up, the face looks along +z.
      identity: [modes, vertices, 3] float32, mm; weights are drawn from N(0, 1).
      expression: [units, vertices, 3] float32, mm; weights lie in [0, 1].
      expression_names: one ARKit-style name per unit.
      triangles: [triangles, 3] int32.
      landmarks: named vertex indices.
      content_hash: sha256 over the arrays, and over recipes of its own.
      recipes: how it performs named expressions.
    """

    name: str
    neutral: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    expression_names: Sequence[str]
    triangles: np.ndarray
    landmarks: Mapping[str, int] = field(default_factory=dict)
    content_hash: str = ""
    recipes: Recipes = field(default_factory=Recipes)

    def vertices(self, identity: np.ndarray, expression: np.ndarray) -> np.ndarray:
        """Faces [..., vertices, 3] float32 in mm from weights [..., modes] and [..., units]."""
        faces = np.tensordot(np.asarray(identity, np.float32), self.identity, 1)
        faces += np.tensordot(np.asarray(expression, np.float32), self.expression, 1)
        faces += self.neutral
        return faces


def load_face_model(path: str | Path | None = None, recipes: str | Path | None = None) -> FaceModel:
    """A face model from a file or a folder, in mm.

    Args:
      path: None for the embedded CC0 face; an `.npz` with `neutral`, `identity`, `expression`, `expression_names` and
        `triangles` or `quads` (optionally `unit`, `landmark_names` and `landmark_indices`); or a checkout of
        ICT-FaceKit, or its folder of OBJ files. Without `unit`, the unit is the only one in which the model has the
        size of a face.
      recipes: how it performs expressions, as `facedis_jax.data.synthetic.expressions.read_recipes` reads it; None for
        units with ARKit's names.

    Returns:
      The model, cropped to the narrow face if it is ICT-FaceKit's.

    Raises:
      InputError: where the path is none of these, or holds no face model; or the recipes cannot be used, or are for
        units that the model does not have.
    """
    model = _load(path)
    return model if recipes is None else _with_recipes(model, recipes)


def _with_recipes(model: FaceModel, path: str | Path) -> FaceModel:
    recipes = read_recipes(path)
    names = recipes.renamed(path, model.expression_names)
    made_from = json.dumps([model.content_hash, names, asdict(recipes)], sort_keys=True, default=sorted)
    content_hash = hashlib.sha256(made_from.encode(errors="surrogateescape")).hexdigest()
    return replace(model, expression_names=names, recipes=recipes, content_hash=content_hash)


def _load(path: str | Path | None) -> FaceModel:
    if path is None:
        asset = resources.files("facedis_jax.data") / "assets" / "makehuman_face.npz"
        with resources.as_file(asset) as embedded:
            return _build(embedded, "embedded face", _read_npz(embedded))
    try:
        path = Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(path, "a face model (.npz) or a checkout of ICT-FaceKit", str(error)) from None
    if path.is_dir():
        return _build(path, "ICT-FaceKit", _read_facekit(path))
    if not path.is_file():
        raise InputError(path, "a face model (.npz) or a checkout of ICT-FaceKit", "nothing there")
    return _build(path, path.stem, _read_npz(path))


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    raw = read_npz(path, "an .npz of plain arrays", _NEEDED + _OPTIONAL)
    missing = set(_NEEDED) - raw.keys()
    if not raw.keys() & {"triangles", "quads"}:
        missing.add("triangles")
    if missing:
        found = f"only {', '.join(sorted(raw)) or 'others'}"
        raise InputError(path, f"the arrays {', '.join(sorted(missing))}", found)
    return raw


def _read_facekit(folder: Path) -> dict[str, np.ndarray]:
    """Reads `generic_neutral_mesh.obj`, `identityNNN.obj` and one OBJ per expression unit."""
    candidates = [folder / "FaceXModel", folder]
    home = next((each for each in candidates if (each / "generic_neutral_mesh.obj").is_file()), None)
    if home is None:
        expected = "a checkout of ICT-FaceKit (FaceXModel/generic_neutral_mesh.obj)"
        raise InputError(folder, expected, "no such file in it")
    neutral_path = home / "generic_neutral_mesh.obj"
    identity_paths = sorted(home.glob("identity[0-9]*.obj"))
    expression_paths = sorted(set(home.glob("*.obj")) - {*identity_paths, neutral_path})
    if not identity_paths or not expression_paths:
        found = f"{len(identity_paths)} identity and {len(expression_paths)} expression files"
        raise InputError(home, "identityNNN.obj and one OBJ per expression", found)
    neutral = read_mesh(neutral_path)

    def offsets(paths: Sequence[Path]) -> np.ndarray:
        deltas = []
        for path in paths:
            vertices = read_mesh(path).vertices
            if vertices.shape != neutral.vertices.shape:
                raise InputError(path, f"{len(neutral.vertices)} vertices as the neutral", f"{len(vertices)}")
            deltas.append((vertices - neutral.vertices)[:_ICT_NARROW_FACE])
        return np.stack(deltas)

    return {
        "neutral": neutral.vertices[:_ICT_NARROW_FACE],
        "identity": offsets(identity_paths),
        "expression": offsets(expression_paths),
        "expression_names": np.array([path.stem for path in expression_paths]),
        "triangles": neutral.triangles[(neutral.triangles < _ICT_NARROW_FACE).all(axis=1)],
    }


def _build(where: Path, name: str, raw: dict[str, np.ndarray]) -> FaceModel:
    """The model in mm without the vertices that no triangle uses, once the arrays are checked; empties `raw`."""
    neutral, names = raw["neutral"], raw["expression_names"]
    _check(where, "neutral", neutral, "fiu", (None, 3))
    for key in ("identity", "expression"):
        _check(where, key, raw[key], "fiu", (None, len(neutral), 3))
    _check(where, "expression_names", names, "U", (len(raw["expression"]),))
    triangles = _triangles(where, raw, len(neutral))
    scale = _millimetres(where, neutral, raw.get("unit"))
    landmarks = _landmarks(where, raw, len(neutral))

    kept = np.unique(triangles)
    if (len(neutral), len(names)) == _ICT_LIGHT:
        kept = kept[kept < _ICT_NARROW_FACE]
    new_index = np.full(len(neutral), -1, np.int32)
    new_index[kept] = np.arange(len(kept), dtype=np.int32)
    triangles = new_index[triangles]
    arrays = {"triangles": triangles[(triangles >= 0).all(axis=1)]}
    del neutral, triangles
    for key in ("neutral", "identity", "expression"):
        with np.errstate(over="ignore"):
            # `take` gives C order, with which `vertices` is many times faster. Arrays as large as the file are freed as
            # soon as possible.
            taken = np.take(raw.pop(key), kept, axis=-2)
            arrays[key] = taken.astype(np.float32, copy=False)
            arrays[key] *= np.float32(scale)
        del taken
        if not np.isfinite(arrays[key]).all():
            raise InputError(where, f"finite numbers in {key}", "NaN or infinite values")
    digest = hashlib.sha256("\n".join(names).encode(errors="surrogateescape"))
    for key in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[key]).data)
    return FaceModel(
        name=name,
        expression_names=tuple(map(str, names)),
        landmarks={key: int(new_index[index]) for key, index in landmarks.items() if new_index[index] >= 0},
        content_hash=digest.hexdigest(),
        **arrays,
    )


def _check(where: Path, name: str, array: np.ndarray, kinds: str, shape: tuple[int | None, ...]) -> None:
    """Raises an InputError unless the array is of one of the dtype kinds, not empty, and of this shape."""
    is_shaped = array.ndim == len(shape) and all(b in (None, a) for a, b in zip(array.shape, shape, strict=True))
    if array.dtype.kind not in kinds or not is_shaped or not array.size:
        expected = ", ".join("n" if length is None else str(length) for length in shape)
        what = "text" if kinds == "U" else "numbers" if "f" in kinds else "integers"
        raise InputError(where, f"{name} as {what} [{expected}]", f"{array.dtype} {list(array.shape)}"[:100])
    if kinds == "U" and (array.size > _MOST_NAMES or array.dtype.itemsize > 4 * _LONGEST_NAME):
        expected = f"at most {_MOST_NAMES} {name} of {_LONGEST_NAME} letters"
        raise InputError(where, expected, f"{array.size} of {array.dtype.itemsize // 4}")


def _triangles(where: Path, raw: Mapping[str, np.ndarray], num_vertices: int) -> np.ndarray:
    key, corners = ("triangles", 3) if "triangles" in raw else ("quads", 4)
    faces = raw[key]
    _check(where, key, faces, "iu", (None, corners))
    if faces.min() < 0 or faces.max() >= num_vertices:
        raise InputError(where, f"{key} from 0 to {num_vertices - 1}", f"{faces.min()}..{faces.max()}")
    if len(faces) * (corners - 2) > _MOST_TRIANGLES_PER_VERTEX * num_vertices:
        raise InputError(where, f"{key} of a surface", f"{len(faces)} over {num_vertices} vertices")
    faces = faces.astype(np.int32)
    return faces if corners == 3 else np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]])


def _landmarks(where: Path, raw: Mapping[str, np.ndarray], num_vertices: int) -> dict[str, int]:
    if "landmark_names" not in raw or "landmark_indices" not in raw:
        return {}
    names, indices = raw["landmark_names"], raw["landmark_indices"]
    _check(where, "landmark_names", names, "U", (None,))
    _check(where, "landmark_indices", indices, "iu", (len(names),))
    if indices.min() < 0 or indices.max() >= num_vertices:
        found = f"{indices.min()}..{indices.max()}"
        raise InputError(where, f"landmark_indices from 0 to {num_vertices - 1}", found)
    return dict(zip(names.tolist(), indices.tolist(), strict=True))


def _millimetres(where: Path, neutral: np.ndarray, unit: np.ndarray | None) -> float:
    """Millimetres per unit of the file: as it says, or the only unit in which it is the size of a face."""
    if unit is not None and str(unit) not in UNITS:
        raise InputError(where, f"a unit among {', '.join(UNITS)}", repr(str(unit)[:32]))
    units = UNITS if unit is None else {str(unit): UNITS[str(unit)]}
    with np.errstate(all="ignore"):
        diagonal = float(np.linalg.norm(np.ptp(neutral.astype(np.float64), axis=0)))
    if not np.isfinite(diagonal):
        raise InputError(where, "finite numbers in neutral", "NaN or infinite values")
    low, high = _DIAGONAL_MM
    for millimetres in units.values():
        if low <= diagonal * millimetres <= high:
            return millimetres
    expected = f"a face with a diagonal of {low:g} to {high:g} mm"
    raise InputError(where, expected, f"{diagonal:g} {'in an unknown unit' if unit is None else unit}")
