"""Edits of faces in mesh files by a trained model: the neutral, other expressions, in-betweens, new faces."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.data.faces.levels import sequence_levels
from facedis_jax.errors import InputError
from facedis_jax.formats.meshes import UNITS, Mesh, check_topology, check_unit, read_mesh
from facedis_jax.geometry import rigid_registration
from facedis_jax.inference.face_model import Array, FaceCodes, TrainedFaceModel, check_between

_MOST_FACES = 100
# Mean distance in mm: a face that lies further from the training faces was not registered as they were, and its codes
# would be meaningless.
_FURTHEST = 50.0


class Pose(NamedTuple):
    """A rigid motion of points x [..., 3] in mm: (x - source) @ rotation.T + target."""

    rotation: np.ndarray = np.eye(3)
    source: np.ndarray = np.zeros(3)
    target: np.ndarray = np.zeros(3)

    def apply(self, points: np.ndarray) -> np.ndarray:
        """The points moved."""
        return (points - self.source) @ self.rotation.T + self.target

    def undo(self, points: np.ndarray) -> np.ndarray:
        """The points moved back."""
        return (points - self.target) @ self.rotation + self.source


@dataclass(frozen=True)
class EncodedFace:
    """Faces that were read from files, in the pose of the training faces, and their codes.

    Attributes:
      vertices: [faces, vertices, 3] mm, one face or the frames of one person.
      codes: of these faces.
      detail: [1, vertices, 3] mm to add to results; zero unless asked for.
      pose: the motion from the first file's pose to that of the training faces.
    """

    vertices: np.ndarray
    codes: FaceCodes
    detail: np.ndarray
    pose: Pose

    @property
    def first(self) -> "EncodedFace":
        """The first of the faces; of frames, the person, whose identity all of them tell."""
        codes = jax.tree.map(lambda part: part[:1] if np.ndim(part) == 2 else part, self.codes)
        return replace(self, vertices=self.vertices[:1], codes=codes)


@dataclass(frozen=True)
class FaceEditor:
    """Edits faces of files with a trained model; results are [faces, vertices, 3] in mm.

    Attributes:
      model: at work.
      unit: of mesh files.
    """

    model: TrainedFaceModel
    unit: str = "mm"

    def read(self, path: Path, *, align: bool) -> tuple[np.ndarray, Pose]:
        """A face from a mesh file where the training faces lie, [vertices, 3] float64 mm, and its motion to there.

        Args:
          path: of the mesh.
          align: move the face rigidly onto the training faces.

        Raises:
          InputError: the file is no mesh, or its topology, unit or pose is not that of the training faces.
        """
        return self.place(path, read_mesh(path), align=align)

    def place(self, where: object, mesh: Mesh, *, align: bool) -> tuple[np.ndarray, Pose]:
        """As `read`, of a mesh that was read; `where` is what it is called in errors."""
        mean_face = self.model.trained.constants.mean_face
        check_topology(where, mesh, len(mean_face), self.model.triangles)
        check_unit(where, mesh.vertices, self.unit, setting="unit")
        vertices = mesh.vertices.astype(np.float64) * UNITS[self.unit]
        pose = _pose(vertices, mean_face)
        if align:
            return pose.apply(vertices), pose
        distance = float(np.linalg.norm(pose.apply(vertices) - vertices, axis=-1).mean())
        if distance > _FURTHEST:
            expected = f"a face within {_FURTHEST:g} mm of where the training faces lie, or align=True"
            raise InputError(where, expected, f"one {distance:.0f} mm away")
        return vertices, Pose()

    def encode(self, path: Path, labels: Array | None = None, *, align: bool, keep_detail: bool = False) -> EncodedFace:
        """A face from a mesh file, with its codes.

        Args:
          path: of the mesh.
          labels: of the expression that the face shows, as the model's `labels` gives them.
          align: move the face rigidly onto the training faces first.
          keep_detail: add to results how the face differs from its reconstruction.

        Raises:
          InputError: the file is no mesh, or its topology, unit or pose is not that of the training faces.
        """
        vertices, pose = self.read(path, align=align)
        face = vertices[None].astype(np.float32)
        codes = self.model.encode(face, labels)
        detail = np.zeros_like(face)
        if keep_detail:
            detail = face - np.asarray(self.model.decode(codes).full)
        return EncodedFace(face, codes, detail, pose)

    def encode_frames(
        self,
        where: object,
        paths: Sequence[Path],
        labels: Array | None = None,
        *,
        align: bool,
        keep_detail: bool = False,
        smoothing: float | None = 0.0,
        several_people: bool = False,
    ) -> EncodedFace:
        """Frames of one person from mesh files, with one identity; see the model's `encode_sequence`.

        Args:
          where: what the sequence is called in errors, such as its folder.
          paths: of the meshes, in the order of time.
          labels: of the expression that all frames show, which each shows the more the further it is from the first,
            as in the training of CoMA.
          align: move each frame rigidly onto the training faces first.
          keep_detail: add to results how the frames differ on the mean from their reconstructions.
          smoothing: as of `encode_sequence`.
          several_people: take frames that seem to be of several people for one person's.

        Raises:
          InputError: as `encode`, or frames are clearly of several people.
        """
        placed = [self.read(path, align=align) for path in paths]
        frames = np.stack([vertices.astype(np.float32) for vertices, _ in placed])
        if labels is not None:
            labels = sequence_levels(frames)[:, None] * np.asarray(labels)
        try:
            codes = self.model.encode_sequence(frames, labels, smoothing=smoothing, check=not several_people)
        except InputError as error:
            if error.where != "frames":
                raise
            raise InputError(where, f"{error.expected}, or several_people=True", error.found) from None
        detail = np.zeros_like(frames[:1])
        if keep_detail:
            rows = None if codes.labels is None else np.asarray(codes.labels)
            shown = self.model.codec.decode(np.asarray(codes.identity.mean), np.asarray(codes.expression.mean), rows)[0]
            detail = (frames - shown).mean(0, keepdims=True)
        return EncodedFace(frames, codes, detail, placed[0][1])

    def neutral(self, face: EncodedFace) -> np.ndarray:
        """The person at rest, as the identity decoder shows it."""
        return np.asarray(self.model.neutral(face.codes)) + face.detail

    def expression(self, face: EncodedFace, name: str, level: float) -> np.ndarray:
        """The person with an expression of the training set; see the model's `expression_code`."""
        return np.asarray(self.model.expression(face.codes, name, level)) + face.detail

    def transfer(self, face: EncodedFace, donor: EncodedFace) -> np.ndarray:
        """The person of one face with the expression of the other."""
        return np.asarray(self.model.transfer(face.codes, donor.codes)) + face.detail

    def between(self, face: EncodedFace, other: EncodedFace, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Evenly spaced faces on the straight line between the codes of two.

        Returns:
          Where each lies on the line, [steps] between 0 and 1, and the faces [steps, vertices, 3].

        Raises:
          InputError: for no steps, or too many.
        """
        check_between("steps", steps, 1, _MOST_FACES)
        amounts = np.arange(1, steps + 1) / (steps + 1)
        faces = np.asarray(self.model.between(face.codes, other.codes, amounts))[:, 0]
        weights = amounts[:, None, None]
        return amounts, faces + (1 - weights) * face.detail + weights * other.detail

    def sample(self, number: int, seed: int) -> np.ndarray:
        """New faces, see the model's `sample`.

        Raises:
          InputError: for no faces, too many, or a seed below 0.
        """
        check_between("number", number, 1, _MOST_FACES)
        check_between("seed", seed, 0, np.inf)
        return np.asarray(self.model.sample(jax.random.key(seed % 2**32), number))


def _pose(vertices: np.ndarray, mean_face: np.ndarray) -> Pose:
    source, target = (points.mean(0, dtype=np.float64) for points in (vertices, mean_face))
    # Both centred, so that single precision suffices wherever the face lies.
    rotation, _ = rigid_registration(
        jnp.asarray(vertices - source, jnp.float32), jnp.asarray(mean_face - target, jnp.float32)
    )
    return Pose(np.asarray(rotation, np.float64), source, target)
