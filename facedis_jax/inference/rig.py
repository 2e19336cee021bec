"""A person's rig: the neutral and a shape for each named expression, whose weights make all faces of that person."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from facedis_jax.data.splits import evenly_spaced
from facedis_jax.data.synthetic.expressions import ARKIT_NAMES
from facedis_jax.errors import InputError
from facedis_jax.inference.face_model import FaceCodes, TrainedFaceModel

__all__ = ["FaceRig", "PersonWeights", "face_rig", "linearisation_error", "person_weights"]

# A shape that moves no vertex further, mm, is none: BU-3DFE has "neutral" among its expressions.
_LEAST = 0.05
# Of `person_weights`: mm^2 of a vertex for a squared deviation of an identity code, and how often weights and person
# are found in turn, at the price of turns and at last at that of the result; measured by `benchmarks.rig`, as are the
# numbers below, on seeds 10 and 11.
_RIDGE, _TURNS, _LAST_TURNS = 0.05, 30, 10
# mm^2 for each vertex that a weight of 1 of a shape of middling size costs: where the person at rest is known; what
# comes to it for a person who is found from some frames (the fewer, the less certain, and what is missed would pass for
# weights), at most; and while the person is being found, when only what is clearly shown may count as an expression.
_PRICE, _PRICE_OF_A_FRAME, _MOST_OF_FRAMES, _PRICE_OF_TURNS = 0.02, 0.2, 0.05, 0.1
# mm^2, the variance of a face along any direction that is none of `expression_ways`: what neighbours have in common
# counts once, so it is much more than a vertex's.
_BESIDE = 2.0
# Of `expression_ways`: training faces that are looked at, their least level, and the least share of the largest
# variance.
_MOST_FACES, _LEAST_LEVEL, _LEAST_VARIANCE = 400, 0.5, 1e-3
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
    rig: FaceRig,
    faces: np.ndarray,
    identity: np.ndarray,
    *,
    neutral: np.ndarray | None = None,
    ways: np.ndarray | None = None,
) -> PersonWeights:
    """Weights of faces, and how their person differs from the rig's neutral, which would pass for expressions else.

    The two are found in turn. The difference is what all faces have in common: of many, whatever is left of them on the
    mean; of few, rather what an identity code can change. Weights bear a small price, so that few are not zero: a
    higher one where the person is found from few frames. Where it is known how people's expressions differ from the
    rig's, faces may differ in these ways (generalised least squares), and no other expression is shown to make up for
    it; but not one face of a person who is not known, whose own shape would be taken for such a difference.

    Args:
      rig: of the person.
      faces: [frames, vertices, 3] mm, where the rig lies.
      identity: [latents, vertices, 3] mm, as of `identity_basis`.
      neutral: [vertices, 3] mm, the person at rest, where that is known.
      ways: [ways, vertices, 3] mm, as of `expression_ways`.

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
    motions = rig.motions[rig.weighed].reshape(rig.weighed.sum(), -1)
    if ways is None or (neutral is None and len(faces) == 1):
        ways = np.zeros((0, size))
    _, deviations, along = np.linalg.svd(ways.reshape(-1, size), full_matrices=False)
    less = 1 - np.sqrt(_BESIDE / (_BESIDE + deviations**2))

    def whitened(offsets: np.ndarray) -> np.ndarray:
        return offsets - (offsets @ along.T * less) @ along

    directions, small = np.linalg.qr(whitened(motions).T)
    counted = (small**2).sum() / (motions**2).sum()
    # By the root of a shape's size: of one price for all, shapes that move a face least get no weight; of prices in
    # proportion, they get too much.
    sizes = np.linalg.norm(small, axis=0)
    prices = counted * size / 3 * np.sqrt(sizes / np.median(sizes))
    priced = np.linalg.lstsq(small.T, prices, rcond=None)[0]

    def found(offset: np.ndarray, price: float) -> np.ndarray:
        return np.stack([nnls(small, each - price * priced)[0] for each in whitened(targets - offset) @ directions])

    if neutral is not None:
        offset = np.asarray(neutral, np.float64).ravel() - rig.neutral.ravel()
        return PersonWeights(rig._all(found(offset, _PRICE)), offset.reshape(-1, 3))
    basis, offset = identity.reshape(len(identity), -1).astype(np.float64), np.zeros(size)
    scatter = basis @ basis.T + _RIDGE * size / len(faces) * np.eye(len(basis))
    price = _PRICE + min(_PRICE_OF_A_FRAME / len(faces), _MOST_OF_FRAMES)
    for turn in range(_TURNS + _LAST_TURNS):
        weights = found(offset, _PRICE_OF_TURNS if turn < _TURNS else price)
        rest = (targets - weights @ motions).mean(0)
        by_code = np.linalg.solve(scatter, basis @ rest) @ basis
        # A longer step than to what the weights at hand leave, which comes nearer in fewer turns.
        offset += 1.8 * (by_code + (1 - 1 / len(faces)) * (rest - by_code) - offset)
    return PersonWeights(rig._all(found(offset, price)), offset.reshape(-1, 3))


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


def expression_ways(model: TrainedFaceModel, codes: FaceCodes, rig: FaceRig) -> np.ndarray:
    """How training people's expressions differ from the rig's of the same name and strength, [ways, vertices, 3] mm.

    Their expression codes are put on the rig's person. Ways are principal directions, each as long as its standard
    deviation.

    Args:
      model: whose training faces are looked at.
      codes: of the person, whose identity [latents] counts.
      rig: of this person.
    """
    trained, identity = model.trained, np.asarray(codes.identity.mean, np.float32)
    shape = np.array([rig.names.index(name) if name in rig.names else -1 for name in trained.expressions])
    rows = np.flatnonzero((shape[trained.expression] >= 0) & (trained.level >= _LEAST_LEVEL))
    rows = rows[evenly_spaced(len(rows), _MOST_FACES)]
    if not len(rows):
        return np.zeros((0, *rig.neutral.shape))
    labels = np.eye(len(trained.expressions), dtype=np.float32)[trained.expression[rows]] * trained.level[rows, None]
    expression = trained.codes[rows, len(identity) :]
    people = np.tile(identity, (len(rows), 1))
    faces = model.codec.decode(people, expression, labels if model.config.conditional else None)[0]
    moved = (faces - (rig.neutral if rig.rest is None else rig.rest)).reshape(len(rows), -1)
    motions = rig.motions.reshape(len(rig.names), -1)[shape[trained.expression[rows]]]
    strength = (moved * motions).sum(1) / (motions**2).sum(1)
    # Who shows it to the other side shows something else.
    beside = (moved - strength[:, None] * motions)[strength > 0] / np.sqrt(max(1, (strength > 0).sum()))
    variances, mixed = np.linalg.eigh(beside @ beside.T)
    kept = variances > _LEAST_VARIANCE * variances.max(initial=0)
    return (mixed[:, kept].T @ beside).reshape(-1, *rig.neutral.shape)


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
