"""Linear models of faces, fitted to the same training faces, to compare a learned model with."""

from dataclasses import dataclass

import numpy as np
from scipy import linalg
from threadpoolctl import threadpool_limits

from facedis_jax.inference.faces import FaceCodec

_FACES_AT_A_TIME = 256


@dataclass(frozen=True)
class PcaModel:
    """A PCA of faces, in the unit of the faces that it was fitted to.

    Attributes:
      mean: [vertices, 3].
      directions: [components, vertices, 3], orthonormal over the 3V coordinates.
      deviations: [components], the standard deviation of the training faces along each direction.
    """

    mean: np.ndarray
    directions: np.ndarray
    deviations: np.ndarray

    def encode(self, faces: np.ndarray) -> np.ndarray:
        """Coordinates [faces, components] of `faces` [faces, vertices, 3] along the directions."""
        return _flat(faces - self.mean) @ _flat(self.directions).T

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Faces [faces, vertices, 3] from coordinates [faces, components]."""
        return self.mean + np.tensordot(codes, self.directions, axes=1)

    def reconstruct(self, faces: np.ndarray) -> np.ndarray:
        """The faces [faces, vertices, 3] of the model that are nearest to `faces` [faces, vertices, 3]."""
        return self.decode(self.encode(faces))


def fit_pca(faces: np.ndarray, components: int, *, seed: int = 0, overwrite: bool = False) -> PcaModel:
    """The PCA of faces, by a randomised SVD, whose cost grows with faces x vertices x components.

    It is scikit-learn's on one core, to the last bit, without its import, which takes a second of each run's start.

    Args:
      faces: [faces, vertices, 3].
      components: how many directions; at most one fewer than faces, since no more exist.
      seed: of the random projection.
      overwrite: whether the memory of the faces may be used, which are lost then; it saves a copy of them.

    Raises:
      ValueError: for fewer than two faces.
    """
    if len(faces) < 2:
        raise ValueError(f"principal components need at least two faces, got {len(faces)}")
    components = min(components, len(faces) - 1)
    # By itself it would make two copies.
    flat = _flat(faces) if overwrite else np.array(_flat(faces))
    mean = flat.mean(0)
    flat -= mean
    # NumPy and SciPy have a BLAS each, whose threads wait for each other's cores: with two cores it took ten times as
    # long. By one thread, results do not depend on how many there are, either.
    with threadpool_limits(1, "blas"):
        directions, values = _leading_directions(flat, components, seed)
    shape = faces.shape[1:]
    return PcaModel(
        mean=mean.reshape(shape),
        directions=directions.reshape(-1, *shape),
        deviations=np.sqrt(values**2 / (len(flat) - 1)),
    )


# Random directions beside those that are asked for.
_OVERSAMPLES = 10


def _leading_directions(rows: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The first right singular vectors [count, columns] of a matrix, and their singular values [count].

    By power iterations on random directions (Halko, Martinsson and Tropp, "Finding Structure with Randomness", 2011),
    in the order and with the signs of scikit-learn's `PCA(svd_solver="randomized")`.
    """
    iterations = 7 if count < 0.1 * min(rows.shape) else 4
    # Of the matrix or its transpose, the one with fewer columns.
    transposed = rows.shape[0] < rows.shape[1]
    matrix = rows.T if transposed else rows
    random = np.random.RandomState(seed).normal(size=(matrix.shape[1], count + _OVERSAMPLES))
    span = random.astype(np.float32) if rows.dtype == np.float32 else random
    for _ in range(iterations):
        span, _ = linalg.lu(matrix @ span, permute_l=True, check_finite=False)
        span, _ = linalg.lu(matrix.T @ span, permute_l=True, check_finite=False)
    span, _ = linalg.qr(matrix @ span, mode="economic", check_finite=False)
    left, values, right = linalg.svd(span.T @ matrix, full_matrices=False, lapack_driver="gesdd")
    directions = (span @ left)[:, :count].T if transposed else right[:count]
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], axis=1)
    return directions * np.sign(largest), values[:count]


@dataclass(frozen=True)
class LinearModel:
    """A linear model of faces as in FLAME: mean neutral + identity + mean offset + expression.

    Codes are in standard deviations of the training faces. Those of both parts are fitted jointly, as the most probable
    ones under a standard normal prior and independent noise on the coordinates.

    Attributes:
      identity: PCA of the subjects' neutral faces.
      expression: PCA of the faces' offsets from their subject's neutral.
      noise: variance of the noise, in the squared unit of the faces.
    """

    identity: PcaModel
    expression: PcaModel
    noise: float

    def encode(self, faces: np.ndarray) -> np.ndarray:
        """Codes [faces, identity components + expression components] of `faces` [faces, vertices, 3]."""
        basis = self._basis()
        penalty = max(self.noise, 1e-12 * float(np.square(basis).sum())) * np.eye(len(basis))
        normal = (basis @ basis.T).astype(np.float64) + penalty
        rest = _flat(faces - self.identity.mean - self.expression.mean)
        return np.linalg.solve(normal, (rest @ basis.T).T.astype(np.float64)).T.astype(faces.dtype)

    def decode(self, identity: np.ndarray, expression: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Full and neutral faces [faces, vertices, 3] from codes [faces, components] of both parts."""
        parts = [
            np.tensordot(codes, part.directions * part.deviations[:, None, None], axes=1)
            for codes, part in ((identity, self.identity), (expression, self.expression))
        ]
        neutral = self.identity.mean + parts[0]
        return neutral + (self.expression.mean + parts[1]), neutral

    def codec(self) -> FaceCodec:
        """The model as a codec whose posteriors have unit variance, so that it is measured as a learned model is."""

        def encode(faces: np.ndarray, labels: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
            codes = self.encode(faces)
            return codes, np.zeros_like(codes)

        return FaceCodec(
            encode,
            lambda identity, expression, labels: self.decode(identity, expression),
            identity_latents=len(self.identity.directions),
            expression_latents=len(self.expression.directions),
        )

    def reconstruct(self, faces: np.ndarray) -> np.ndarray:
        """The model's reconstructions [faces, vertices, 3] of `faces` [faces, vertices, 3]."""
        return self.decode(*self._split(self.encode(faces)))[0]

    def neutralise(self, faces: np.ndarray) -> np.ndarray:
        """The neutral faces [faces, vertices, 3] of the people of `faces`, from the identity part alone."""
        return self.decode(*self._split(self.encode(faces)))[1]

    def _split(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        split = len(self.identity.directions)
        return codes[:, :split], codes[:, split:]

    def _basis(self) -> np.ndarray:
        """Both models' directions, one standard deviation long, [components, 3 vertices]."""
        parts = [_flat(part.directions) * part.deviations[:, None] for part in (self.identity, self.expression)]
        return np.concatenate(parts)


def fit_linear_model(
    faces: np.ndarray,
    subjects: np.ndarray,
    neutrals: np.ndarray,
    *,
    identity_components: int,
    expression_components: int,
    seed: int = 0,
) -> LinearModel:
    """A linear model whose identity is fitted to neutral faces, and whose expression to the faces' offsets from them.

    The noise is the mean squared error of the reconstructed offsets.

    Args:
      faces: training faces, [faces, vertices, 3].
      subjects: [faces] integers, indices into `neutrals`.
      neutrals: [subjects, vertices, 3]; those of subjects without a training face are not used.
      identity_components: how many identity directions; at most one fewer than subjects, since no more exist.
      expression_components: how many expression directions.
      seed: of the random projections.

    Raises:
      ValueError: for faces of fewer than two subjects.
    """
    identity = fit_pca(neutrals[np.unique(subjects)], identity_components, seed=seed)
    offsets = np.empty_like(faces)
    for offset, face, subject in zip(offsets, faces, subjects, strict=True):
        np.subtract(face, neutrals[subject], out=offset)
    expression = fit_pca(offsets, expression_components, seed=seed, overwrite=True)
    del offsets
    squares = 0.0
    for rows in np.array_split(np.arange(len(faces)), -(-len(faces) // _FACES_AT_A_TIME)):
        offset = faces[rows] - neutrals[subjects[rows]]
        squares += float(np.square(offset - expression.reconstruct(offset)).sum(dtype=np.float64))
    return LinearModel(identity, expression, noise=squares / faces.size)


def _flat(faces: np.ndarray) -> np.ndarray:
    return faces.reshape(len(faces), -1)
