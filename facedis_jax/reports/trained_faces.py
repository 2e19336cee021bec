"""What a finished run keeps beside its checkpoint so that faces can be edited without the data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facedis_jax.errors import InputError
from facedis_jax.learners import FaceConstants
from facedis_jax.training.arrays import load_arrays, save_arrays


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
            expressions = [str(name) for name in arrays["expressions"]]
            return cls(
                constants=FaceConstants(
                    mean_face=arrays["mean_face"],
                    scale=float(arrays["scale"]),
                    num_faces=int(arrays["num_faces"]),
                    num_expressions=len(expressions),
                    moment_mean=arrays["moment_mean"],
                    moment_deviation=float(arrays["moment_deviation"]),
                ),
                subjects=[str(name) for name in arrays["subjects"]],
                expressions=expressions,
                **{name: arrays[name] for name in ("triangles", "neutrals", "codes", "subject", "expression", "level")},
            )
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(path, expected, f"{error}") from error
