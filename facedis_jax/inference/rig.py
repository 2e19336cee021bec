"""A person's rig: the neutral and a shape for each named expression, whose weights make all faces of that person."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from facedis_jax.errors import InputError
from facedis_jax.inference.face_model import FaceCodes, TrainedFaceModel

# A shape that moves no vertex further, mm, is none: BU-3DFE has "neutral" among its expressions.
_LEAST = 0.05


@dataclass(frozen=True)
class FaceRig:
    """A linear rig: a face is the neutral and the sum of weights times what the shapes add to it.

    Attributes:
      neutral: [vertices, 3] mm.
      names: of the shapes.
      shapes: [shapes, vertices, 3] mm, each expression at level 1.
    """

    neutral: np.ndarray
    names: Sequence[str]
    shapes: np.ndarray

    @property
    def offsets(self) -> np.ndarray:
        """[shapes, vertices, 3] mm, what each shape adds to the neutral."""
        return self.shapes - self.neutral

    def faces(self, weights: np.ndarray) -> np.ndarray:
        """Faces [..., vertices, 3] mm of weights [..., shapes]."""
        return self.neutral + np.tensordot(np.asarray(weights, np.float64), self.offsets, 1)

    def moved(self, offset: np.ndarray | float) -> "FaceRig":
        """The rig with an offset [vertices, 3] mm added to the neutral and to all shapes."""
        return FaceRig(self.neutral + offset, self.names, self.shapes + offset)

    def weights(self, faces: np.ndarray) -> np.ndarray:
        """The weights [frames, shapes] float64, none negative, whose faces are nearest to some [frames, vertices, 3].

        Nearest in squared distance of vertices, as non-negative least squares finds it.
        """
        basis = self.offsets.reshape(len(self.names), -1).T.astype(np.float64)
        targets = (np.asarray(faces, np.float64) - self.neutral).reshape(len(faces), -1)
        # The same problem in as many rows as there are shapes.
        directions, small = np.linalg.qr(basis)
        return np.stack([nnls(small, each)[0] for each in targets @ directions])


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
    return FaceRig(neutral, tuple(names), np.stack(shapes))


def linearisation_error(model: TrainedFaceModel, codes: FaceCodes, rig: FaceRig) -> np.ndarray:
    """Mean distances [shapes] in mm between the rig's shapes at weight 1/2 and the model's expressions at level 1/2."""
    halves = np.stack([np.asarray(model.expression(codes, name, 0.5)) for name in rig.names])
    return np.linalg.norm(halves - rig.faces(np.eye(len(rig.names)) / 2), axis=-1).mean(-1)
