"""Edits of faces by a trained model: the neutral, other expressions, in-betweens, new faces."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from facedis_jax.errors import InputError
from facedis_jax.formats.meshes import UNITS, check_topology, check_unit, read_mesh
from facedis_jax.geometry import rigid_registration
from facedis_jax.inference.faces import FaceCodec
from facedis_jax.inference.trained_faces import TrainedFaces

_MOST_FACES = 100
# Mean distance in mm: a face that lies further from the training faces was not registered as they were, and its codes
# would be meaningless.
_FURTHEST = 50.0
_NEUTRAL_LEVEL, _APEX_LEVEL = 0.1, 0.9


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
    """A face that was read from a file, in the pose of the training faces, and its codes.

    Attributes:
      vertices: [1, vertices, 3] mm.
      identity, expression: codes, [1, latents] each.
      labels: [1, expressions]; None for a model without labels.
      detail: [1, vertices, 3] mm to add to results; zero unless asked for.
      pose: the motion from the file's pose to that of the training faces.
    """

    vertices: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    labels: np.ndarray | None
    detail: np.ndarray
    pose: Pose


@dataclass(frozen=True)
class FaceEditor:
    """Edits faces with the model of a run; results are [faces, vertices, 3] in mm.

    Attributes:
      codec: the run's model.
      trained: the faces that it learned from.
      unit: of mesh files.
    """

    codec: FaceCodec
    trained: TrainedFaces
    unit: str = "mm"

    def labels(self, name: str | None, level: float, *, where: str = "label") -> np.ndarray | None:
        """Labels [1, expressions] of a face that shows an expression, for a model that takes labels.

        Args:
          name: of the expression; None for a neutral face.
          level: how much of it, 0 to 1.
          where: what the name is called in errors.

        Raises:
          InputError: for an unknown expression, a level outside 0 to 1, or a name where the model takes none.
        """
        if name is None:
            return self.codec.labels(np.zeros(1, int), np.zeros(1))
        if not self.codec.label_names:
            raise InputError(where, "nothing, as this run's model takes no labels", name)
        _check(f"{where}_level", level, 0, 1)
        return self.codec.labels(np.array([self._index(where, name)]), np.array([level]))

    def encode(self, path: Path, labels: np.ndarray | None, *, align: bool, keep_detail: bool = False) -> EncodedFace:
        """A face from a mesh file, with its codes.

        Args:
          path: of the mesh.
          labels: of the expression that the face shows, as `labels` gives them.
          align: move the face rigidly onto the training faces first.
          keep_detail: add to results how the face differs from its reconstruction.

        Raises:
          InputError: the file is no mesh, or its topology, unit or pose is not that of the training faces.
        """
        mesh, mean_face = read_mesh(path), self.trained.constants.mean_face
        check_topology(path, mesh, len(mean_face), self.trained.triangles)
        check_unit(path, mesh.vertices, self.unit, setting="unit")
        vertices = mesh.vertices.astype(np.float64) * UNITS[self.unit]
        pose = _pose(vertices, mean_face)
        distance = float(np.linalg.norm(pose.apply(vertices) - vertices, axis=-1).mean())
        if align:
            vertices = pose.apply(vertices)
        elif distance > _FURTHEST:
            expected = f"a face within {_FURTHEST:g} mm of where the training faces lie, or align=True"
            raise InputError(path, expected, f"one {distance:.0f} mm away")
        else:
            pose = Pose()
        face = vertices[None].astype(np.float32)
        codes, _ = self.codec.encode(face, labels)
        identity, expression = np.split(codes, [self.codec.identity_latents], axis=1)
        detail = np.zeros_like(face)
        if keep_detail:
            detail = face - self.codec.decode(identity, expression, labels)[0]
        return EncodedFace(face, identity, expression, labels, detail, pose)

    def named_expression(self, name: str, level: float) -> tuple[np.ndarray, np.ndarray | None]:
        """Expression code [1, d_exp] and labels of an expression at a level.

        With labels the code is the prior's mean. Without, it lies on the line from the mean code of neutral
        training faces to that of the expression's strongest.

        Raises:
          InputError: for an unknown expression, or a level outside 0 to 1.
        """
        index = self._index("expression", name)
        _check("level", level, 0, 1)
        if self.codec.label_names:
            labels = self.codec.labels(np.array([index]), np.array([level]))
            return np.zeros((1, self.codec.expression_latents), np.float32), labels
        codes = self.trained.codes[:, self.codec.identity_latents :]
        levels, shows = self.trained.level, self.trained.expression == index
        if not shows.any():
            raise InputError("expression", "one that training faces show", f"{name}, which none of them does")
        neutral = codes[levels <= max(_NEUTRAL_LEVEL, levels.min())].mean(0)
        apex = codes[shows & (levels >= _APEX_LEVEL * levels[shows].max())]
        # Of two sides under one name, the mean would be neither: take the side of the most central face.
        distances = np.linalg.norm(apex[:, None] - apex, axis=-1)
        central = apex[distances.sum(1).argmin()]
        same_side = np.linalg.norm(apex - central, axis=1) <= np.linalg.norm(apex - neutral, axis=1)
        return (neutral + level * (apex[same_side].mean(0) - neutral))[None], None

    def neutral(self, face: EncodedFace) -> np.ndarray:
        """The person at rest, as the identity decoder shows it."""
        return self.codec.decode(face.identity, face.expression, face.labels)[1] + face.detail

    def expression(self, face: EncodedFace, name: str, level: float) -> np.ndarray:
        """The person with an expression of the training set; see `named_expression`."""
        code, labels = self.named_expression(name, level)
        return self.codec.decode(face.identity, code, labels)[0] + face.detail

    def transfer(self, face: EncodedFace, donor: EncodedFace) -> np.ndarray:
        """The person of one face with the expression of the other."""
        return self.codec.decode(face.identity, donor.expression, donor.labels)[0] + face.detail

    def between(self, face: EncodedFace, other: EncodedFace, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Evenly spaced faces on the straight line between the codes of two.

        Returns:
          Where each lies on the line, [steps] between 0 and 1, and the faces [steps, vertices, 3].

        Raises:
          InputError: for no steps, or too many.
        """
        _check("steps", steps, 1, _MOST_FACES)
        amounts = np.arange(1, steps + 1) / (steps + 1)

        def mix(one: np.ndarray, two: np.ndarray) -> np.ndarray:
            weights = amounts.reshape(-1, *[1] * (one.ndim - 1))
            return (1 - weights) * one + weights * two

        labels = None
        if face.labels is not None and other.labels is not None:
            labels = mix(face.labels, other.labels)
        full, _ = self.codec.decode(mix(face.identity, other.identity), mix(face.expression, other.expression), labels)
        return amounts, full + mix(face.detail, other.detail)

    def sample(self, number: int, seed: int) -> np.ndarray:
        """New faces: identity and expression codes from two normal distributions fitted to training codes.

        Labels, where the model takes them, are those of training faces drawn at random.

        Raises:
          InputError: for no faces, too many, or a seed below 0.
        """
        _check("number", number, 1, _MOST_FACES)
        _check("seed", seed, 0, np.inf)
        rng = np.random.default_rng(seed)
        codes = np.split(self.trained.codes.astype(np.float64), [self.codec.identity_latents], axis=1)
        identity, expression = (
            rng.multivariate_normal(part.mean(0), np.atleast_2d(np.cov(part, rowvar=False)), number) for part in codes
        )
        row = rng.integers(len(self.trained.codes), size=number)
        labels = self.codec.labels(self.trained.expression[row], self.trained.level[row])
        return self.codec.decode(identity, expression, labels)[0]

    def _index(self, where: str, name: str) -> int:
        names = list(self.trained.expressions)
        if name not in names:
            raise InputError(where, f"one of {', '.join(names)}", name)
        return names.index(name)


def _pose(vertices: np.ndarray, mean_face: np.ndarray) -> Pose:
    source, target = (points.mean(0, dtype=np.float64) for points in (vertices, mean_face))
    # Both centred, so that single precision suffices wherever the face lies.
    rotation, _ = rigid_registration(
        jnp.asarray(vertices - source, jnp.float32), jnp.asarray(mean_face - target, jnp.float32)
    )
    return Pose(np.asarray(rotation, np.float64), source, target)


def _check(where: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        limits = f"{low:g} or more" if np.isinf(high) else f"{low:g} to {high:g}"
        raise InputError(where, limits, str(value))
