"""The training faces of a finished run, as codes: what editing needs in place of the data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facedis_jax.errors import InputError
from facedis_jax.learners import FaceConstants
from facedis_jax.models.surfaces import CloudConfig
from facedis_jax.training.arrays import load_arrays, save_arrays

_MOST_BYTES_OF_NAMES = 1 << 20
# Constants of a model that begins as a linear one, or looks twice.
_LINEAR = ("estimate", "look_kernel", "look_mean", "look_basis", "look_side")


@dataclass(frozen=True)
class TrainedFaces:
    """The topology and names of a run, and the codes of the faces that it learned from.

    Attributes:
      constants: of the training set.
      triangles: [triangles, 3] int32.
      subjects, expressions: names.
      neutrals: [subjects, vertices, 3] float32, mm.
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

    def save(self, path: Path) -> None:
        """Writes one `.npz` of plain arrays, whole or not at all."""
        constants = self.constants
        save_arrays(
            path,
            {
                "mean_face": constants.mean_face,
                "scale": constants.scale,
                "num_faces": constants.num_faces,
                "moment_mean": constants.moment_mean,
                "moment_deviation": constants.moment_deviation,
                "cloud_points": constants.clouds.points,
                **{name: array for name in _LINEAR if (array := getattr(constants, name)) is not None},
                "triangles": self.triangles,
                "subjects": np.array(self.subjects),
                "expressions": np.array(self.expressions),
                "neutrals": self.neutrals,
                "codes": self.codes,
                "subject": self.subject,
                "expression": self.expression,
                "level": self.level,
            },
        )

    @classmethod
    def load(cls, path: Path) -> "TrainedFaces":
        """Reads what `save` wrote.

        Raises:
          InputError: the file is missing or something else.
        """
        expected = "the model file of a finished run"
        arrays = load_arrays(path, expected)
        try:
            _check_shapes(arrays)
            expressions = [str(name) for name in arrays["expressions"]]
            return cls(
                constants=FaceConstants(
                    mean_face=arrays["mean_face"],
                    scale=float(arrays["scale"]),
                    num_faces=int(arrays["num_faces"]),
                    num_expressions=len(expressions),
                    moment_mean=arrays["moment_mean"],
                    moment_deviation=float(arrays["moment_deviation"]),
                    triangles=arrays["triangles"],
                    # How clouds are drawn matters in training alone.
                    clouds=CloudConfig(points=int(arrays["cloud_points"]), least=1),
                    **{name: arrays.get(name) for name in _LINEAR},
                ),
                subjects=[str(name) for name in arrays["subjects"]],
                expressions=expressions,
                **{name: arrays[name] for name in ("triangles", "neutrals", "codes", "subject", "expression", "level")},
            )
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise InputError(path, expected, ascii(f"{error}"[:200])[1:-1]) from error


def _check_shapes(arrays: Mapping[str, np.ndarray]) -> None:
    """Raises a ValueError where the arrays of a file do not belong together."""
    for name in ("subjects", "expressions"):
        array = arrays[name]
        if array.dtype.kind != "U" or array.ndim != 1 or array.nbytes > _MOST_BYTES_OF_NAMES:
            raise ValueError(f"{name} that are no short list of names")
    vertices, subjects = len(arrays["mean_face"]), len(arrays["subjects"])
    faces, latents = arrays["codes"].shape
    wanted: dict[str, tuple[tuple[int, ...], str]] = {
        "mean_face": ((vertices, 3), "f"),
        "triangles": ((len(arrays["triangles"]), 3), "iu"),
        "neutrals": ((subjects, vertices, 3), "f"),
        "codes": ((faces, latents), "f"),
        "subject": ((faces,), "iu"),
        "expression": ((faces,), "iu"),
        "level": ((faces,), "f"),
    }
    if "estimate" in arrays:
        wanted["estimate"] = ((arrays["moment_mean"].size + 1, latents), "f")
    if "look_kernel" in arrays:
        codes, anchors = arrays["look_kernel"].shape[1], len(arrays["look_side"])
        wanted["look_kernel"] = ((len(arrays["look_kernel"]), codes), "f")
        wanted["look_mean"], wanted["look_side"] = ((anchors, 5, 3), "f"), ((anchors,), "f")
        wanted["look_basis"] = ((codes, anchors, 5, 3), "f")
    if not 0 <= int(arrays["cloud_points"]) < 2**31:
        raise ValueError("clouds of no number of points")
    for name, (shape, kinds) in wanted.items():
        array = arrays[name]
        if array.shape != shape or array.dtype.kind not in kinds:
            raise ValueError(f"{name} of another shape or type")
        if kinds == "f" and not np.isfinite(array).all():
            raise ValueError(f"NaN or infinite numbers in {name}")
    most = {"triangles": vertices, "subject": subjects, "expression": len(arrays["expressions"])}
    for name, count in most.items():
        if arrays[name].size and not 0 <= arrays[name].min() <= arrays[name].max() < count:
            raise ValueError(f"{name} beyond {count}")
    if not 1 <= int(arrays["num_faces"]) < 2**31 or not np.isfinite(float(arrays["scale"])):
        raise ValueError("no faces, or faces of no size")
