"""Test faces as they truly are, and a model's codes of them: what transfers and kept motion are measured on."""

from dataclasses import dataclass

import numpy as np

from facedis_jax.data.faces.face_set import FaceTruth
from facedis_jax.inference.faces import FaceCodec

PERFORMED = 0.5
"""The level from which on a face counts as showing its expression; near the neutral all expressions are alike."""

AT_REST = 0.1
"""The level up to which a face counts as being at rest."""


@dataclass(frozen=True)
class TrueFaces:
    """What test faces are measured against: synthetic ones without their noise, real ones as they were recorded.

    Attributes:
      vertices, neutral: [faces, vertices, 3] mm, the faces and their subjects' neutrals, as recorded.
      subject, expression, index: [faces], as in `Face`.
      level: [faces], as `FaceSet.true_levels`.
      truth: of a synthetic set.
    """

    vertices: np.ndarray
    neutral: np.ndarray
    subject: np.ndarray
    expression: np.ndarray
    index: np.ndarray
    level: np.ndarray
    truth: FaceTruth | None = None

    @property
    def side(self) -> np.ndarray:
        """Which side performs, [faces]: 1 left, -1 right, 0 both or unknown."""
        if self.truth is None:
            return np.zeros(len(self.subject), np.float32)
        return self.truth.factors["side"][self.index, 0]

    def faces(self, rows: np.ndarray) -> np.ndarray:
        """Some of the faces [rows, vertices, 3]."""
        return self.vertices[rows] if self.truth is None else self.truth.clean[self.index[rows]]

    def neutrals(self, rows: np.ndarray) -> np.ndarray:
        """The neutral faces [rows, vertices, 3] of the subjects of some faces."""
        return self.neutral[rows] if self.truth is None else self.truth.neutrals[self.subject[rows]]

    def offsets(self, rows: np.ndarray) -> np.ndarray:
        """How some faces are away from their subjects' neutrals, [rows, vertices, 3]."""
        return self.faces(rows) - self.neutrals(rows)

    def transferred(self, people: np.ndarray, donors: np.ndarray) -> np.ndarray:
        """People of some faces with the expressions of others, [pairs, vertices, 3]; both given by rows [pairs].

        Synthetic people perform what the donor performs, by their own gains and asymmetry. What real people would do is
        not known: theirs is the donor's offset.
        """
        if self.truth is None:
            return self.neutrals(people) + self.offsets(donors)
        return self.truth.transferred(self.index[people], self.index[donors])


@dataclass(frozen=True)
class CodedFaces:
    """A model, and its codes of the test faces.

    Attributes:
      codec: the model.
      mean: posterior means, [faces, latents], identity latents first.
      labels: [faces, expressions] of the conditional model; None otherwise.
    """

    codec: FaceCodec
    mean: np.ndarray
    labels: np.ndarray | None = None

    @property
    def identity(self) -> np.ndarray:
        """Identity codes [faces, d_id]."""
        return self.mean[:, : self.codec.identity_latents]

    def decode(self, people: np.ndarray, donors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Full and neutral faces [pairs, vertices, 3] of the identities and expressions of two faces each."""
        return self.decode_identity(self.identity[people], donors)

    def decode_identity(self, identity: np.ndarray, donors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `decode`, of identity codes [pairs, d_id]."""
        expression = self.mean[donors, self.codec.identity_latents :]
        return self.codec.decode(identity, expression, None if self.labels is None else self.labels[donors])
