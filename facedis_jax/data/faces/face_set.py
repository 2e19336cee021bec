"""What every data set of 3D faces becomes before it is learned from: registered faces in mm, with their names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypedDict

import numpy as np

from facedis_jax.data.sources import Source


class Face(TypedDict):
    """One registered face; the fields of an example of a `FaceSource`.

    `vertices` is [vertices, 3] float32 in mm; `subject` and `expression` (int32) index the names of the `FaceSet`;
    `level` (float32, 0..1) is the expression's level; `index` (int32) is the face's index in `FaceSet.names`.
    """

    vertices: np.ndarray
    subject: np.ndarray
    expression: np.ndarray
    level: np.ndarray
    index: np.ndarray


FaceSource: TypeAlias = Source[Face]


@dataclass(frozen=True)
class ArraySource:
    """Faces held in memory.

    Attributes:
      vertices: [faces, vertices, 3] float32, mm.
      subject, expression: [faces] int32.
      level: [faces] float32.
      index: [faces] int32, each face's index in `FaceSet.names`.
    """

    vertices: np.ndarray
    subject: np.ndarray
    expression: np.ndarray
    level: np.ndarray
    index: np.ndarray

    def __len__(self) -> int:
        return len(self.vertices)

    def __getitem__(self, index: int) -> Face:
        return Face(
            vertices=self.vertices[index],
            subject=self.subject[index],
            expression=self.expression[index],
            level=self.level[index],
            index=self.index[index],
        )

    def take(self, rows: np.ndarray) -> "ArraySource":
        """The faces of some rows, in their order."""
        return ArraySource(*(getattr(self, key)[rows] for key in Face.__annotations__))


@dataclass(frozen=True)
class FaceTruth:
    """The factors of which the faces of a synthetic set are made, in the order of `FaceSet.names`.

    Attributes:
      clean: [faces, vertices, 3] float32, mm, before registration noise.
      neutrals: [subjects, vertices, 3] float32, mm, each subject's true neutral.
      expression_units: [units, vertices, 3] float32, mm, what the weights of the units stand for.
      factors: name -> [faces, dims] float32, such as "subject", "level", "performed" (the weights of the units that
        anyone could perform) and "gains" (the subject's own, by which these are multiplied).
    """

    clean: np.ndarray
    neutrals: np.ndarray
    expression_units: np.ndarray
    factors: Mapping[str, np.ndarray]

    def transferred(self, people: np.ndarray, donors: np.ndarray) -> np.ndarray:
        """The people of some faces performing, in their own way, what other faces perform; without noise.

        Args:
          people: [pairs] indices of faces.
          donors: [pairs] indices of faces.

        Returns:
          [pairs, vertices, 3] float32, mm.
        """
        subject = self.factors["subject"][people, 0].astype(int)
        weights = self.factors["performed"][donors] * self.factors["gains"][people]
        return self.neutrals[subject] + np.tensordot(weights, self.expression_units, 1)


@dataclass(frozen=True)
class FaceSet:
    """A data set of registered faces, split and ready to be piped to the device.

    Attributes:
      name: what the set is called in reports, with its split ("coma/paper").
      train, test: the two halves of the split.
      neutrals: [subjects, vertices, 3] float32, mm, each subject's neutral target.
      triangles: [triangles, 3] int32.
      subjects, expressions: the names that `subject` and `expression` index.
      names: one name per face ("FaceTalk_170725_00137_TA/bareteeth/bareteeth.000001"), train and test together.
      scale: the divisor that brings mm to the unit of the networks (260 for CoMA, 156 for BU-3DFE).
      landmarks: named vertex indices, where known.
      truth: the factors of which each face is made, for synthetic sets.
      content_hash: sha256 over what the set was made from; part of a run's identity.
      skipped: damaged examples that are not in the set, by name, with what is wrong with them.
      older_copies: prepared copies that changes of the folder have left behind, with their bytes.
      data_files: what was found of the set's files, and how they are taken.
    """

    name: str
    train: FaceSource
    test: FaceSource
    neutrals: np.ndarray
    triangles: np.ndarray
    subjects: Sequence[str]
    expressions: Sequence[str]
    names: Sequence[str]
    scale: float
    content_hash: str
    landmarks: Mapping[str, int] = field(default_factory=dict)
    truth: FaceTruth | None = None
    skipped: Mapping[str, str] = field(default_factory=dict)
    older_copies: Mapping[str, int] = field(default_factory=dict)
    data_files: Mapping[str, str] = field(default_factory=dict)

    def true_levels(self, index: np.ndarray, measured: np.ndarray) -> np.ndarray:
        """The levels [faces] by which faces are chosen: the true ones where they are known, else the measured ones.

        Registration noise makes the measured level of a weak expression large: a raised brow at a true level below 0.1
        measures 0.49.

        Args:
          index, measured: [faces], as `index` and `level` of a `Face`.
        """
        return measured if self.truth is None else self.truth.factors["level"][index, 0]


def stack(source: FaceSource) -> ArraySource:
    """Reads a whole source into memory."""
    faces = [source[i] for i in range(len(source))]
    return ArraySource(*(np.stack([face[key] for face in faces]) for key in Face.__annotations__))  # type: ignore[literal-required]
