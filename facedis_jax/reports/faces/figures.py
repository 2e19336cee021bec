"""Figures of faces that a model rebuilt, neutralised, mixed and made up (the paper's Figures 4 to 7)."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from facedis_jax.data.faces.face_set import FaceSet
from facedis_jax.data.splits import evenly_spaced
from facedis_jax.evaluation.faces import Predictions, vertex_distances
from facedis_jax.inference.faces import FaceCodec
from facedis_jax.rendering.faces import Camera, render_faces
from facedis_jax.reports.figures import ColorScale, code_scatter, face_grid

SIZE = (240, 300)  # pixels of one face

Pictures = list[np.ndarray | None]


@dataclass(frozen=True)
class Scene:
    """All that the figures of one report share: the model, its faces, and one camera for them all.

    Attributes:
      codec: the trained model.
      face_set: the data, for names and triangles.
      predictions: of the model for the test faces.
      camera: sees every test face.
    """

    codec: FaceCodec
    face_set: FaceSet
    predictions: Predictions
    camera: Camera

    @classmethod
    def of(cls, codec: FaceCodec, face_set: FaceSet, predictions: Predictions) -> "Scene":
        """A scene whose camera sees all test faces."""
        return cls(codec, face_set, predictions, Camera.framing(predictions.vertices, size=SIZE))

    def pictures(self, faces: np.ndarray, *, scalars: np.ndarray | None = None, high: float = 1.0) -> Pictures:
        """Pictures of faces [faces, vertices, 3] mm, or of scalars [faces, vertices] on them, 0 to `high`."""
        clim = None if scalars is None else (0.0, high)
        return list(
            render_faces(faces, self.face_set.triangles, size=SIZE, scalars=scalars, clim=clim, camera=self.camera)
        )

    def identity(self, rows: np.ndarray) -> np.ndarray:
        """Identity codes of some test faces, [rows, d_id]."""
        return self.predictions.mean[rows, : self.codec.identity_latents]

    def expression(self, rows: np.ndarray) -> np.ndarray:
        """Expression codes of some test faces, [rows, d_exp]."""
        return self.predictions.mean[rows, self.codec.identity_latents :]

    def labels(self, rows: np.ndarray) -> np.ndarray | None:
        """Labels of some test faces; None for the unconditional model."""
        return self.codec.labels(self.predictions.expression[rows], self.predictions.level[rows])

    def decoded(self, identity: np.ndarray, expression: np.ndarray, labels: np.ndarray | None) -> Pictures:
        """Pictures of the full faces that codes stand for; a code [dims] is shared by all faces."""
        count = max(len(code) for code in (identity, expression) if code.ndim == 2)
        identity, expression = (
            np.broadcast_to(code, (count, code.shape[-1])).astype(np.float32) for code in (identity, expression)
        )
        return self.pictures(self.codec.decode(identity, expression, labels)[0])

    def subject_name(self, row: int) -> str:
        """A short name of a test face's subject."""
        return self.face_set.subjects[self.predictions.subject[row]].removeprefix("FaceTalk_").replace("_", " ")

    def expression_name(self, row: int) -> str:
        """A name of a test face's expression, to be read."""
        return self.face_set.expressions[self.predictions.expression[row]].replace("_", " ")


def showcase(predictions: Predictions, count: int) -> np.ndarray:
    """Test faces worth looking at: strong expressions, as many different ones and people as there are.

    Returns:
      At most `count` rows of `predictions`.
    """
    strongest: dict[tuple[int, int], int] = {}
    for row in np.argsort(-predictions.level, kind="stable").tolist():
        strongest.setdefault((int(predictions.subject[row]), int(predictions.expression[row])), row)
    left = list(strongest.values())
    chosen: list[int] = []
    while left and len(chosen) < count:

        def order(row: int) -> tuple[bool, int, float]:
            repeats = np.sum(predictions.subject[chosen] == predictions.subject[row])
            repeats += np.sum(predictions.expression[chosen] == predictions.expression[row])
            return bool(predictions.level[row] < 0.6), int(repeats), -float(predictions.level[row])

        chosen.append(min(left, key=order))
        left.remove(chosen[-1])
    return np.array(chosen)


def people(predictions: Predictions, count: int) -> np.ndarray:
    """One row of `predictions` for each of at most `count` subjects, their faces of the lowest level."""
    order = np.argsort(predictions.level, kind="stable")
    _, first = np.unique(predictions.subject[order], return_index=True)
    return order[first[evenly_spaced(len(first), count)]]


def reconstructions(scene: Scene, rows: np.ndarray) -> Figure:
    """Input, reconstruction, neutral target and predicted neutral with their errors (Figure 4)."""
    shown = scene.predictions
    error = vertex_distances(shown.reconstruction[rows], shown.vertices[rows])
    neutral_error = vertex_distances(shown.neutral[rows], shown.neutral_target[rows])
    high = _round_up(float(np.quantile(error, 0.99)))
    columns = {
        "input": scene.pictures(shown.vertices[rows]),
        "reconstruction": scene.pictures(shown.reconstruction[rows]),
        "its error": scene.pictures(shown.vertices[rows], scalars=error, high=high),
        "neutral target": scene.pictures(shown.neutral_target[rows]),
        "predicted neutral": scene.pictures(shown.neutral[rows]),
        "its error ": scene.pictures(shown.neutral_target[rows], scalars=neutral_error, high=high),
    }
    return face_grid(
        list(zip(*columns.values(), strict=True)),
        row_labels=[f"{scene.subject_name(row)}, {scene.expression_name(row)}" for row in rows],
        column_labels=[name.strip() for name in columns],
        colorbar=ColorScale(0.0, high, "distance (mm)"),
    )


def identity_scatter(scene: Scene) -> Figure:
    """Identity codes of the test faces in the plane of their two principal components (Figure 5)."""
    codes = scene.identity(np.arange(len(scene.predictions)))
    pca = PCA(2).fit(codes)
    share = pca.explained_variance_ratio_
    names = [name.removeprefix("FaceTalk_").replace("_", " ") for name in scene.face_set.subjects]
    return code_scatter(
        pca.transform(codes),
        scene.predictions.subject,
        names,
        explained=(float(share[0]), float(share[1])),
    )


def borrowed_expressions(scene: Scene, person: int, donors: np.ndarray) -> Figure:
    """One person with the expressions of others (Figure 6, upper row); both are rows of the predictions."""
    borrowed = scene.decoded(scene.identity(np.array([person]))[0], scene.expression(donors), scene.labels(donors))
    return face_grid(
        [scene.pictures(scene.predictions.vertices[donors]), borrowed],
        row_labels=["expression of", f"on {scene.subject_name(person)}"],
        column_labels=[f"{scene.subject_name(row)}, {scene.expression_name(row)}" for row in donors],
    )


def one_expression(scene: Scene, donor: int, persons: np.ndarray) -> Figure:
    """One expression on several people (Figure 6, lower row); both are rows of the predictions."""
    labels = scene.labels(np.full(len(persons), donor))
    given = scene.decoded(scene.identity(persons), scene.expression(np.array([donor]))[0], labels)
    return face_grid(
        [scene.pictures(scene.predictions.neutral[persons]), given],
        row_labels=["predicted neutral", f"{scene.expression_name(donor)} of {scene.subject_name(donor)}"],
        column_labels=[scene.subject_name(row) for row in persons],
    )


def level_sweep(scene: Scene, rows: np.ndarray, *, steps: int = 5) -> Figure:
    """From a person's neutral to an expression, the expression code on a straight line (Figure 7)."""
    shown = scene.predictions
    targets = shown.neutral_target[rows]
    mean, _ = scene.codec.encode(targets, scene.codec.labels(shown.expression[rows], np.zeros(len(rows))))
    neutral = mean[:, scene.codec.identity_latents :]
    amounts = np.linspace(0, 1, steps)[:, None]
    images = []
    for row, start in zip(rows, neutral, strict=True):
        between = start + amounts * (scene.expression(np.array([row])) - start)
        labels = scene.codec.labels(np.full(steps, shown.expression[row]), amounts[:, 0] * shown.level[row])
        sweep = scene.decoded(scene.identity(np.array([row]))[0], between, labels)
        images.append([*sweep, *scene.pictures(shown.vertices[row][None])])
    return face_grid(
        images,
        row_labels=[f"{scene.subject_name(row)}, {scene.expression_name(row)}" for row in rows],
        column_labels=[*(f"{amount:.0%}" for amount in amounts[:, 0]), "input"],
    )


def swaps(scene: Scene, persons: np.ndarray, donors: np.ndarray) -> Figure:
    """Every identity (rows) with every expression (columns), all from test faces."""
    shown = scene.predictions
    images: list[Pictures] = [[None, *scene.pictures(shown.vertices[donors])]]
    for person, picture in zip(persons, scene.pictures(shown.vertices[persons]), strict=True):
        code = scene.identity(np.array([person]))[0]
        images.append([picture, *scene.decoded(code, scene.expression(donors), scene.labels(donors))])
    return face_grid(
        images,
        row_labels=["expression of", *(f"identity of {scene.subject_name(row)}" for row in persons)],
        column_labels=["", *(f"{scene.subject_name(row)}, {scene.expression_name(row)}" for row in donors)],
    )


@dataclass(frozen=True)
class Aggregate:
    """The codes of all test faces taken together, as a normal distribution.

    Attributes:
      mean: [latents].
      covariance: [latents, latents], the spread of the posterior means and the posteriors' own.
    """

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, predictions: Predictions) -> "Aggregate":
        """Fits mean and covariance to the posteriors of the test faces."""
        own = np.exp(predictions.logvar.astype(np.float64)).mean(axis=0)
        return cls(
            predictions.mean.mean(axis=0, dtype=np.float64),
            np.cov(predictions.mean, rowvar=False, bias=True) + np.diag(own),
        )

    @property
    def is_prior(self) -> bool:
        """Whether a sample of the prior is a likely code: means within 0.5, deviations within 1.5x."""
        deviation = np.sqrt(np.diag(self.covariance))
        return bool((np.abs(self.mean) < 0.5).all() and (deviation > 2 / 3).all() and (deviation < 1.5).all())


def samples(scene: Scene, *, count: int = 6, seed: int = 0) -> Figure:
    """Faces that nobody has: codes from the prior, and from the normal distribution fitted to the codes."""
    rng = np.random.default_rng(seed)
    aggregate, split = Aggregate.of(scene.predictions), scene.codec.identity_latents
    prior = rng.standard_normal((count, len(aggregate.mean)))
    fitted = rng.multivariate_normal(aggregate.mean, aggregate.covariance, count)
    names = scene.codec.label_names
    labels = None
    if names:
        labels = scene.codec.labels(rng.integers(0, len(names), count), rng.uniform(size=count))
    return face_grid(
        [scene.decoded(codes[:, :split], codes[:, split:], labels) for codes in (prior, fitted)],
        row_labels=["from the prior", "from the codes' distribution"],
    )


def _round_up(value: float) -> float:
    """The next of 1, 1.5, 2, 3, 5, 7 times a power of ten, for the end of a scale."""
    power = 10.0 ** np.floor(np.log10(max(value, 1e-9)))
    return float(next(step * power for step in (1, 1.5, 2, 3, 5, 7, 10) if step * power >= value * (1 - 1e-9)))
