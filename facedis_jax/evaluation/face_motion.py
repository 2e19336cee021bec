"""How much of each expression's motion a model keeps."""

from collections.abc import Sequence

import numpy as np

from facedis_jax.evaluation.true_faces import PERFORMED, CodedFaces, TrueFaces
from facedis_jax.metrics import LeastSquares

_FACES_AT_A_TIME = 64


def kept_motion(model: CodedFaces, true: TrueFaces, expressions: Sequence[str]) -> dict[str, float] | None:
    """The share of the true motion that is in the reconstructions, by expression; 1 where all of it is.

    It is the least-squares coefficient of the reconstruction's offset from the predicted neutral on the true offset of
    the face from its subject's neutral, over the test faces of level 0.5 and more.

    Args:
      model: to measure.
      true: the test faces.
      expressions: names that `true.expression` indexes.

    Returns:
      Shares by name, of the expressions that test faces show; None where they show none.
    """
    shares: dict[str, float] = {}
    performed = true.level >= PERFORMED
    for number in np.unique(true.expression[performed]):
        rows = np.flatnonzero(performed & (true.expression == number))
        sums = LeastSquares(np.zeros((1, 1)), np.zeros(1))
        for part in np.array_split(rows, -(-len(rows) // _FACES_AT_A_TIME)):
            full, neutral = model.decode(part, part)
            sums = sums.merge(LeastSquares.of(full - neutral, true.offsets(part)))
        share = float(sums.coefficients()[0])
        if not np.isnan(share):
            shares[expressions[number]] = share
    return shares or None
