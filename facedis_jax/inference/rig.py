"""A person's rig: the neutral and a shape for each named expression, whose weights make all faces of that person."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from facedis_jax.data.synthetic.expressions import ARKIT_NAMES
from facedis_jax.errors import InputError
from facedis_jax.inference.face_model import FaceCodes, TrainedFaceModel

__all__ = ["FaceRig", "PersonWeights", "face_rig", "linearisation_error", "person_weights"]

# A shape that moves no vertex further, mm, is none: BU-3DFE has "neutral" among its expressions.
_LEAST = 0.05
# Of `person_weights`: mm^2 for each vertex that a weight of 1 costs, mm^2 of a vertex for a squared deviation of an
# identity code, and how often weights and person are found in turn; measured by `benchmarks.rig`.
_PRICE, _RIDGE, _TURNS = 0.05, 0.05, 40
# Of a shape's motion, what ARKit's units leave of it where they make it up: a smile's are two halves of one.
_LEFT = 0.3


@dataclass(frozen=True)
class FaceRig:
    """A linear rig: a face is the neutral and the sum of weights times what the shapes add to it.

    Attributes:
      neutral: [vertices, 3] mm.
      names: of the shapes.
      shapes: [shapes, vertices, 3] mm, each expression at level 1.
      rest: [vertices, 3] mm, the expressions at level 0, from which their motion is counted; None for the neutral. A
        model whose neutral is decoded apart has them a little away from it.

    Example:
      >>> neutral = np.zeros([2, 3])
      >>> rig = FaceRig(neutral, ("jawOpen",), np.array([[[0.0, 0.0, 0.0], [0.0, -10.0, 0.0]]]))
      >>> rig.faces([0.5])[1].tolist(), rig.weights(rig.faces([[0.5]])).round(3).tolist()
      ([0.0, -5.0, 0.0], [[0.5]])
    """

    neutral: np.ndarray
    names: Sequence[str]
    shapes: np.ndarray
    rest: np.ndarray | None = None

    @property
    def offsets(self) -> np.ndarray:
        """[shapes, vertices, 3] mm, what each shape adds to the neutral.

        Example:
          >>> rig = FaceRig(np.zeros([2, 3]), ("jawOpen",), np.array([[[0.0, 0.0, 0.0], [0.0, -10.0, 0.0]]]))
          >>> rig.offsets[0].tolist()
          [[0.0, 0.0, 0.0], [0.0, -10.0, 0.0]]
        """
        return self.shapes - self.neutral

    @property
    def motions(self) -> np.ndarray:
        """[shapes, vertices, 3] mm, how each expression moves the face.

        Example:
          >>> rig = FaceRig(np.zeros([2, 3]), ("jawOpen",), np.array([[[0.0, 0.0, 0.0], [0.0, -10.0, 0.0]]]))
          >>> rig.motions[0].tolist()
          [[0.0, 0.0, 0.0], [0.0, -10.0, 0.0]]
        """
        return self.shapes - (self.neutral if self.rest is None else self.rest)

    @cached_property
    def weighed(self) -> np.ndarray:
        """[shapes] bool, which shapes get weights: of a rig with units of ARKit's names, none that these make up.

        Example:
          >>> down = np.array([[0.0, 0.0, 0.0], [0.0, -10.0, 0.0]])
          >>> FaceRig(np.zeros([2, 3]), ("jawOpen", "surprise"), np.stack([down, 2 * down])).weighed.tolist()
          [True, False]
        """
        is_unit, flat = np.isin(self.names, ARKIT_NAMES), self.motions.reshape(len(self.names), -1)
        weighed = np.ones(len(self.names), bool)
        if is_unit.any():
            directions, small = np.linalg.qr(flat[is_unit].T.astype(np.float64))
            for i in np.flatnonzero(~is_unit):
                along = flat[i] @ directions
                beside = max(flat[i] @ flat[i] - along @ along, 0)
                weighed[i] = beside + nnls(small, along)[1] ** 2 > _LEFT**2 * (flat[i] @ flat[i])
        return weighed

    def faces(self, weights: np.ndarray) -> np.ndarray:
        """Faces [..., vertices, 3] mm of weights [..., shapes].

        Example:
          >>> rig = FaceRig(np.zeros([2, 3]), ("jawOpen",), np.array([[[0.0, 0.0, 0.0], [0.0, -10.0, 0.0]]]))
          >>> rig.faces([0.5])[1].tolist()
          [0.0, -5.0, 0.0]
        """
        return self.neutral + np.tensordot(np.asarray(weights, np.float64), self.offsets, 1)

    def moved(self, offset: np.ndarray | float) -> "FaceRig":
        """The rig with an offset [vertices, 3] mm added to the neutral and to all shapes.

        Example:
          >>> rig = FaceRig(np.zeros([2, 3]), ("jawOpen",), np.array([[[0.0, 0.0, 0.0], [0.0, -10.0, 0.0]]]))
          >>> rig.moved(1.0).faces([0.5])[1].tolist()
          [1.0, -4.0, 1.0]
        """
        rest = None if self.rest is None else self.rest + offset
        return FaceRig(self.neutral + offset, self.names, self.shapes + offset, rest)

    def weights(self, faces: np.ndarray) -> np.ndarray:
        """The weights [frames, shapes] float64, none negative, whose faces are nearest to some [frames, vertices, 3].

        Nearest in squared distance of vertices, as non-negative least squares finds it; of the shapes that are
        `weighed`, the others have 0.

        Example:
          >>> rig = FaceRig(np.zeros([2, 3]), ("jawOpen",), np.array([[[0.0, 0.0, 0.0], [0.0, -10.0, 0.0]]]))
          >>> rig.weights(rig.faces([[0.0], [0.5]])).round(3).tolist()
          [[0.0], [0.5]]
        """
        basis = self.offsets[self.weighed].reshape(self.weighed.sum(), -1).T.astype(np.float64)
        targets = (np.asarray(faces, np.float64) - self.neutral).reshape(len(faces), -1)
        # The same problem in as many rows as there are shapes.
        directions, small = np.linalg.qr(basis)
        return self._all(np.stack([nnls(small, each)[0] for each in targets @ directions]))

    def _all(self, weights: np.ndarray) -> np.ndarray:
        """Weights [frames, shapes] of those [frames, weighed]."""
        found = np.zeros((len(weights), len(self.names)))
        found[:, self.weighed] = weights
        return found


class PersonWeights(NamedTuple):
    """What is found of the faces of one person.

    Attributes:
      weights: [frames, shapes] float64, none negative.
      offset: [vertices, 3] mm, by what the person at rest differs from the rig's neutral.

    Example:
      >>> found = PersonWeights(weights=np.array([[0.0, 0.8]]), offset=np.zeros([2, 3]))
      >>> found.weights.shape  # of one frame and two shapes
      (1, 2)
    """

    weights: np.ndarray
    offset: np.ndarray


def person_weights(
    rig: FaceRig, faces: np.ndarray, identity: np.ndarray, *, neutral: np.ndarray | None = None
) -> PersonWeights:
    """Weights of faces, and how their person differs from the rig's neutral, which would pass for expressions else.

    The two are found in turn. The difference is what all faces have in common: of many, whatever is left of them on the
    mean; of few, rather what an identity code can change. Weights bear a small price, so that few are not zero.

    Args:
      rig: of the person.
      faces: [frames, vertices, 3] mm, where the rig lies.
      identity: [latents, vertices, 3] mm, as of `identity_basis`.
      neutral: [vertices, 3] mm, the person at rest, where that is known.

    Example:
      >>> neutral = np.zeros([2, 3])
      >>> rig = FaceRig(neutral, ("jawOpen",), np.array([[[0.0, 0.0, 0.0], [0.0, -10.0, 0.0]]]))
      >>> identity = np.ones([1, 2, 3])  # what the identity code can change: here, both vertices alike
      >>> found = person_weights(rig, rig.faces([[0.0], [0.5]]), identity, neutral=neutral)
      >>> found.weights.round(1).tolist()
      [[0.0], [0.5]]
    """
    targets = (np.asarray(faces, np.float64) - rig.neutral).reshape(len(faces), -1)
    size = targets.shape[1]
    directions, small = np.linalg.qr(rig.motions[rig.weighed].reshape(rig.weighed.sum(), -1).T)
    price = np.linalg.lstsq(small.T, np.full(len(small), _PRICE * size / 3), rcond=None)[0]

    def found(offset: np.ndarray) -> np.ndarray:
        return np.stack([nnls(small, each - price)[0] for each in (targets - offset) @ directions])

    if neutral is not None:
        offset = np.asarray(neutral, np.float64).ravel() - rig.neutral.ravel()
        return PersonWeights(rig._all(found(offset)), offset.reshape(-1, 3))
    basis, offset = identity.reshape(len(identity), -1).astype(np.float64), np.zeros(size)
    scatter = basis @ basis.T + _RIDGE * size / len(faces) * np.eye(len(basis))
    for _ in range(_TURNS):
        weights = found(offset)
        rest = (targets - weights @ (small.T @ directions.T)).mean(0)
        by_code = np.linalg.solve(scatter, basis @ rest) @ basis
        # A longer step than to what the weights at hand leave, which comes nearer in fewer turns.
        offset += 1.8 * (by_code + (1 - 1 / len(faces)) * (rest - by_code) - offset)
    return PersonWeights(rig._all(found(offset)), offset.reshape(-1, 3))


def identity_basis(model: TrainedFaceModel, codes: FaceCodes) -> np.ndarray:
    """What a deviation of training faces' identity codes adds to a person's neutral, [latents, vertices, 3] mm."""
    mean = np.asarray(codes.identity.mean)
    deviations = model.trained.codes[:, : mean.shape[-1]].std(0)
    moved = [
        np.asarray(model.neutral(codes._replace(identity=codes.identity._replace(mean=mean + step))))
        for step in np.concatenate([np.diag(deviations), -np.diag(deviations)]).astype(np.float32)
    ]
    up, down = np.split(np.stack(moved).astype(np.float64), 2)
    return (up - down) / 2


def face_rig(model: TrainedFaceModel, codes: FaceCodes) -> FaceRig:
    """The rig of a person.

    Args:
      model: whose named expressions become shapes; those that no training face shows, or that move nothing, are none.
      codes: of the person, whose identity [latents] counts.

    Raises:
      InputError: no expression of the model can be shown.

    Example:
      >>> from facedis_jax.inference.example import example_face_model
      >>> model = example_face_model()
      >>> rig = face_rig(model, model.encode(model.trained.neutrals[0]))
      >>> rig.names, rig.shapes.shape
      (('jaw_open', 'smile'), (2, 36, 3))
      >>> rig.weights(rig.faces([[0.0, 0.5]])).round(3).tolist()
      [[0.0, 0.5]]
    """
    neutral = np.asarray(model.neutral(codes), np.float64)
    names, shapes = [], []
    for name in model.shown_expressions:
        shape = np.asarray(model.expression(codes, name), np.float64)
        if np.linalg.norm(shape - neutral, axis=-1).max() >= _LEAST:
            names.append(name)
            shapes.append(shape)
    if not names:
        raise InputError("model", "one with expressions that training faces show", "none that moves a face")
    return FaceRig(
        neutral, tuple(names), np.stack(shapes), np.asarray(model.expression(codes, names[0], 0.0), np.float64)
    )


def linearisation_error(model: TrainedFaceModel, codes: FaceCodes, rig: FaceRig) -> np.ndarray:
    """Mean distances [shapes] in mm between the rig's shapes at weight 1/2 and the model's expressions at level 1/2.

    Example:
      >>> from facedis_jax.inference.example import example_face_model
      >>> from facedis_jax.inference.face_codes import Code
      >>> model = example_face_model()
      >>> codes = FaceCodes(Code(np.zeros(3), np.ones(3)), Code(np.zeros(2), np.ones(2)), None)
      >>> linearisation_error(model, codes, face_rig(model, codes)).shape  # of two shapes
      (2,)
    """
    halves = np.stack([np.asarray(model.expression(codes, name, 0.5)) for name in rig.names])
    return np.linalg.norm(halves - rig.faces(np.eye(len(rig.names)) / 2), axis=-1).mean(-1)
