"""The training faces of a finished run, as codes: what editing needs in place of the data set."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any, get_args, get_type_hints

import numpy as np

from facedis_jax.errors import InputError
from facedis_jax.formats.settings import from_json, from_json_in_part
from facedis_jax.inference.model_files import ModelFile
from facedis_jax.learners import FaceConstants
from facedis_jax.models.surfaces import CloudConfig

# No scan has as many.
_MOST_POINTS = 10_000_000
_NEUTRAL_LEVEL, _APEX_LEVEL = 0.1, 0.9
_ARRAYS = ("triangles", "neutrals", "codes", "subject", "expression", "level")


@dataclass(frozen=True)
class TrainedFaces:
    """The topology and names of a run, and the codes of the faces that it learned from.

    Attributes:
      constants: of the training set.
      triangles: [triangles, 3] int32.
      subjects, expressions: names.
      neutrals: [subjects, vertices, 3] float32, mm; of a model that is shipped with the package none, [0, vertices, 3].
      codes: [faces, latents] float32, posterior means of training faces, identity latents first.
      subject, expression: [faces] int32.
      level: [faces] float32.
    """

    constants: FaceConstants
    triangles: np.ndarray
    subjects: Sequence[str]
    expressions: Sequence[str]
    neutrals: np.ndarray
    codes: np.ndarray
    subject: np.ndarray
    expression: np.ndarray
    level: np.ndarray

    @property
    def shown_expressions(self) -> tuple[str, ...]:
        """Of `expressions`, those that training faces show at some level."""
        shown = set(self.expression[self.level > _NEUTRAL_LEVEL].tolist())
        return tuple(name for index, name in enumerate(self.expressions) if index in shown)

    def neutral_and_apex(self, index: int, identity_latents: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean expression codes [latents] of neutral training faces, and of those that show an expression the most.

        Of an expression that goes both ways under one name, the more typical way.

        Raises:
          InputError: no face shows the expression.
        """
        codes, shows = self.codes[:, identity_latents:], self.expression == index
        if not shows.any():
            found = f"{self.expressions[index]}, which none of them does"
            raise InputError("expression", "one that training faces show", found)
        neutral = codes[self.level <= max(_NEUTRAL_LEVEL, self.level.min())].mean(0)
        apex = codes[shows & (self.level >= _APEX_LEVEL * self.level[shows].max())]
        # Of two sides under one name, the mean would be neither: take the side of the most central face, whoever moves
        # little among it.
        distances = np.linalg.norm(apex[:, None] - apex, axis=-1)
        central = apex[distances.sum(1).argmin()]
        same_side = (apex - neutral) @ (central - neutral) >= 0
        return neutral, apex[same_side].mean(0)

    def card(self) -> dict[str, Any]:
        """What a model file's card says of it: names, and the constants that are no arrays."""
        constants = {field.name: getattr(self.constants, field.name) for field in fields(self.constants)}
        plain = {name: value for name, value in constants.items() if not _is_array(name) and value is not None}
        return {
            "subjects": list(self.subjects),
            "expressions": list(self.expressions),
            "constants": {name: asdict(value) if is_dataclass(value) else value for name, value in plain.items()},  # type: ignore[arg-type]
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """What a model file holds of it beside the card, by name."""
        constants = {field.name: getattr(self.constants, field.name) for field in fields(self.constants)}
        return {
            **{f"constants/{name}": _narrow(constants[name]) for name in constants if _is_array(name, constants[name])},
            **{name: _narrow(getattr(self, name)) for name in _ARRAYS},
        }

    @classmethod
    def from_file(cls, file: ModelFile, num_latents: int) -> "TrainedFaces":
        """Of a model file, with codes of so many latents.

        Raises:
          InputError: something is missing, or its parts do not belong together.
        """
        file = _with_triangles(file)
        subjects, expressions = file.names("subjects"), file.names("expressions")
        constants = _constants(file)
        vertices, faces = len(constants.mean_face), len(file.array("codes", (-1, num_latents), "f"))
        if constants.num_expressions != len(expressions):
            raise file.refusal(f"{len(expressions)} expressions, where its constants have {constants.num_expressions}")
        found = {
            "triangles": file.array("triangles", (-1, 3), "i"),
            "neutrals": file.array("neutrals", (-1, vertices, 3), "f"),
            "codes": file.array("codes", (faces, num_latents), "f"),
            "subject": file.array("subject", (faces,), "i"),
            "expression": file.array("expression", (faces,), "i"),
            "level": file.array("level", (faces,), "f"),
        }
        if len(found["neutrals"]) not in (0, len(subjects)):
            raise file.refusal(f"neutrals of {len(found['neutrals'])} people of {len(subjects)}")
        for name, count in {"triangles": vertices, "subject": len(subjects), "expression": len(expressions)}.items():
            if found[name].size and not 0 <= found[name].min() <= found[name].max() < count:
                raise file.refusal(f"{name} beyond {count}")
        if not faces:
            raise file.refusal("no codes of faces")
        return cls(constants=constants, subjects=subjects, expressions=expressions, **found)


def _with_triangles(file: ModelFile) -> ModelFile:
    """The file, where it has one list of triangles with those of the surface that the encoder sees."""
    if "constants/surface_mean" not in file.arrays or "constants/triangles" in file.arrays:
        return file
    return replace(file, arrays={**file.arrays, "constants/triangles": file.array("triangles", (-1, 3), "i")})


def _constants(file: ModelFile) -> FaceConstants:
    """The constants of a file: arrays by their names, all else from the card."""
    saved = file.card.get("constants")
    if not isinstance(saved, Mapping):
        raise file.refusal("no constants")
    found: dict[str, Any] = {}
    for field in fields(FaceConstants):
        hint, key = _HINTS[field.name], f"constants/{field.name}"
        missing = key not in file.arrays if _is_array(field.name) else field.name not in saved
        if missing and type(None) in get_args(hint):
            found[field.name] = None
        elif hint is CloudConfig:
            found[field.name] = _clouds(file, saved.get(field.name))
        elif not _is_array(field.name):
            found[field.name] = from_json(hint, saved.get(field.name), where=file.path, key=f"constants.{field.name}")
        elif missing:
            raise file.refusal(f"no {key}")
        else:
            found[field.name] = file.arrays[key]
    if found["mean_face"].ndim != 2 or found["mean_face"].shape[1:] != (3,) or not len(found["mean_face"]):
        raise file.refusal("a mean face of another shape")
    if not (1 <= found["num_faces"] < 2**31 and found["scale"] > 0 and found["moment_deviation"] >= 0):
        raise file.refusal("no faces, or faces of no size")
    constants = FaceConstants(**found)
    _check_surface(file, constants)
    return constants


def _clouds(file: ModelFile, saved: Any) -> CloudConfig:
    """How clouds were drawn: of how many points matters, as meshes are seen by as many; the rest is of training."""
    if not isinstance(saved, dict):
        raise file.refusal("no clouds")
    unneeded = {*saved, *(field.name for field in fields(CloudConfig))} - {"points"}
    if type(saved.get("points")) is int:
        saved = {"least": max(1, min(CloudConfig.least, saved["points"])), **saved}
    return from_json_in_part(CloudConfig, saved, unneeded=unneeded, where=file.path, key="constants.clouds")


def _check_surface(file: ModelFile, constants: FaceConstants) -> None:
    """Raises an InputError where what a model knows of surfaces does not belong together."""
    vertices, triangles = len(constants.mean_face), constants.triangles
    if triangles is not None:
        file.array("constants/triangles", (-1, 3), "i")
        if triangles.size and not 0 <= triangles.min() <= triangles.max() < vertices:
            raise file.refusal(f"triangles beyond {vertices}")
    if constants.clouds.points > _MOST_POINTS:
        raise file.refusal(f"clouds of {constants.clouds.points} points")
    moments = constants.moment_mean.size
    if constants.estimate is not None:
        file.array("constants/estimate", (moments + 1, -1), "f")
    parts = [name for name in _HINTS if name.startswith("surface_")]
    missing = [name for name in parts if getattr(constants, name) is None]
    if len(missing) == len(parts):
        return
    if missing or triangles is None:
        raise file.refusal(f"no constants/{(missing or ['triangles'])[0]}")
    file.array("constants/surface_mean", (vertices, 3), "f")
    file.array("constants/surface_basis", (moments, vertices, 3), "f")
    places = file.array("constants/surface_places", (-1,), "i")
    near = file.array("constants/surface_near", (len(places), -1), "i")
    for name, indices in {"surface_places": places, "surface_near": near}.items():
        if not indices.size or not 0 <= indices.min() <= indices.max() < len(triangles):
            raise file.refusal(f"{name} beyond {len(triangles)} triangles")


_HINTS = get_type_hints(FaceConstants)


def _is_array(name: str, value: Any = ()) -> bool:
    """Whether a constant is an array, and there."""
    return np.ndarray in (_HINTS[name], *get_args(_HINTS[name])) and value is not None


def _narrow(array: Any) -> np.ndarray:
    """The array as float32 or int32, of which models are made."""
    found = np.asarray(array)
    return found.astype(np.float32 if found.dtype.kind == "f" else np.int32)
