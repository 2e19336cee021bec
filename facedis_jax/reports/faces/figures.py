"""Figures of reconstructed, neutralised, recombined and sampled faces (the paper's Figures 4 to 7)."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from facedis_jax.data.faces.face_set import FaceSet
from facedis_jax.data.splits import evenly_spaced
from facedis_jax.evaluation.faces import Predictions, vertex_distances
from facedis_jax.inference.faces import FaceCodec
from facedis_jax.rendering.faces import Camera, render_faces
from facedis_jax.reports.figures import code_scatter
from facedis_jax.reports.grids import ColorScale, grid_figure

SIZE = (240, 300)  # width and height of the image of one face, in pixels

Images = list[np.ndarray | None]


@dataclass(frozen=True)
class Scene:
    """What all figures of a report share: the model, its test faces, and one camera.

    Attributes:
      codec: the trained model.
      face_set: the data, for names and triangles.
      predictions: of the model for the test faces.
      camera: sees every test face. With one camera for all images, sizes can be compared.
    """

    codec: FaceCodec
    face_set: FaceSet
    predictions: Predictions
    camera: Camera

    @classmethod
    def of(cls, codec: FaceCodec, face_set: FaceSet, predictions: Predictions) -> "Scene":
        """The scene of a model, with a camera that sees all test faces."""
        return cls(codec, face_set, predictions, Camera.framing(predictions.vertices, size=SIZE))

    def render(self, faces: np.ndarray, *, scalars: np.ndarray | None = None, high: float = 1.0) -> Images:
        """Images of faces [faces, vertices, 3] mm, or heat maps of scalars [faces, vertices] on them, 0 to `high`."""
        clim = None if scalars is None else (0.0, high)
        return list(
            render_faces(faces, self.face_set.triangles, size=SIZE, scalars=scalars, clim=clim, camera=self.camera)
        )

    def identity(self, rows: np.ndarray) -> np.ndarray:
        """Identity codes [rows, d_id] of some test faces, by their indices [rows]."""
        return self.predictions.mean[rows, : self.codec.identity_latents]

    def expression(self, rows: np.ndarray) -> np.ndarray:
        """Expression codes [rows, d_exp] of some test faces, by their indices [rows]."""
        return self.predictions.mean[rows, self.codec.identity_latents :]

    def labels(self, rows: np.ndarray) -> np.ndarray | None:
        """Labels of some test faces; None for the unconditional model."""
        return self.codec.labels(self.predictions.expression[rows], self.predictions.level[rows])

    def render_codes(self, identity: np.ndarray, expression: np.ndarray, labels: np.ndarray | None) -> Images:
        """Images of the faces that codes [faces, dims] decode to; a code [dims] is used for all faces."""
        count = max(len(code) for code in (identity, expression) if code.ndim == 2)
        identity, expression = (
            np.broadcast_to(code, (count, code.shape[-1])).astype(np.float32) for code in (identity, expression)
        )
        return self.render(self.codec.decode(identity, expression, labels)[0])

    def subject_name(self, row: int) -> str:
        """A short name of a test face's subject."""
        return self.face_set.subjects[self.predictions.subject[row]].removeprefix("FaceTalk_").replace("_", " ")

    def expression_name(self, row: int) -> str:
        """The name of a test face's expression, with spaces."""
        return self.face_set.expressions[self.predictions.expression[row]].replace("_", " ")


def showcase(predictions: Predictions, count: int) -> np.ndarray:
    """Indices of at most `count` test faces of strong expressions, of as many expressions and people as there are."""
    strongest: dict[tuple[int, int], int] = {}
    for row in np.argsort(-predictions.level, kind="stable").tolist():
        strongest.setdefault((int(predictions.subject[row]), int(predictions.expression[row])), row)
    candidates = list(strongest.values())
    chosen: list[int] = []
    while candidates and len(chosen) < count:

        def order(row: int) -> tuple[bool, int, float]:
            repeats = np.sum(predictions.subject[chosen] == predictions.subject[row])
            repeats += np.sum(predictions.expression[chosen] == predictions.expression[row])
            return bool(predictions.level[row] < 0.6), int(repeats), -float(predictions.level[row])

        chosen.append(min(candidates, key=order))
        candidates.remove(chosen[-1])
    return np.array(chosen)


def people(predictions: Predictions, count: int) -> np.ndarray:
    """Indices of one test face for each of at most `count` subjects, the face of the lowest expression level."""
    order = np.argsort(predictions.level, kind="stable")
    _, first = np.unique(predictions.subject[order], return_index=True)
    return order[first[evenly_spaced(len(first), count)]]


def reconstructions(scene: Scene, rows: np.ndarray) -> Figure:
    """Input, reconstruction, neutral target and predicted neutral of test faces, with errors in mm (Figure 4)."""
    shown = scene.predictions
    error = vertex_distances(shown.reconstruction[rows], shown.vertices[rows])
    neutral_error = vertex_distances(shown.neutral[rows], shown.neutral_target[rows])
    high = _round_up(float(np.quantile(error, 0.99)))
    columns = {
        "input": scene.render(shown.vertices[rows]),
        "reconstruction": scene.render(shown.reconstruction[rows]),
        "its error": scene.render(shown.vertices[rows], scalars=error, high=high),
        "neutral target": scene.render(shown.neutral_target[rows]),
        "predicted neutral": scene.render(shown.neutral[rows]),
        "its error ": scene.render(shown.neutral_target[rows], scalars=neutral_error, high=high),
    }
    return grid_figure(
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
    """One person with the expressions of others (Figure 6, upper row); all given by indices of test faces."""
    borrowed = scene.render_codes(scene.identity(np.array([person]))[0], scene.expression(donors), scene.labels(donors))
    return grid_figure(
        [scene.render(scene.predictions.vertices[donors]), borrowed],
        row_labels=["expression of", f"on {scene.subject_name(person)}"],
        column_labels=[f"{scene.subject_name(row)}, {scene.expression_name(row)}" for row in donors],
    )


def one_expression(scene: Scene, donor: int, persons: np.ndarray) -> Figure:
    """One expression on several people (Figure 6, lower row); all given by indices of test faces."""
    labels = scene.labels(np.full(len(persons), donor))
    given = scene.render_codes(scene.identity(persons), scene.expression(np.array([donor]))[0], labels)
    return grid_figure(
        [scene.render(scene.predictions.neutral[persons]), given],
        row_labels=["predicted neutral", f"{scene.expression_name(donor)} of {scene.subject_name(donor)}"],
        column_labels=[scene.subject_name(row) for row in persons],
    )


def level_sweep(scene: Scene, rows: np.ndarray, *, steps: int = 5) -> Figure:
    """Expression codes interpolated from a person's neutral to a test face, one row per face (Figure 7)."""
    shown = scene.predictions
    targets = shown.neutral_target[rows]
    mean, _ = scene.codec.encode(targets, scene.codec.labels(shown.expression[rows], np.zeros(len(rows))))
    neutral = mean[:, scene.codec.identity_latents :]
    amounts = np.linspace(0, 1, steps)[:, None]
    images = []
    for row, start in zip(rows, neutral, strict=True):
        between = start + amounts * (scene.expression(np.array([row])) - start)
        labels = scene.codec.labels(np.full(steps, shown.expression[row]), amounts[:, 0] * shown.level[row])
        sweep = scene.render_codes(scene.identity(np.array([row]))[0], between, labels)
        images.append([*sweep, *scene.render(shown.vertices[row][None])])
    return grid_figure(
        images,
        row_labels=[f"{scene.subject_name(row)}, {scene.expression_name(row)}" for row in rows],
        column_labels=[*(f"{amount:.0%}" for amount in amounts[:, 0]), "input"],
    )


def swaps(scene: Scene, persons: np.ndarray, donors: np.ndarray) -> Figure:
    """Every identity (rows) with every expression (columns), given by indices of test faces."""
    shown = scene.predictions
    images: list[Images] = [[None, *scene.render(shown.vertices[donors])]]
    for person, image in zip(persons, scene.render(shown.vertices[persons]), strict=True):
        code = scene.identity(np.array([person]))[0]
        images.append([image, *scene.render_codes(code, scene.expression(donors), scene.labels(donors))])
    return grid_figure(
        images,
        row_labels=["expression of", *(f"identity of {scene.subject_name(row)}" for row in persons)],
        column_labels=["", *(f"{scene.subject_name(row)}, {scene.expression_name(row)}" for row in donors)],
    )


@dataclass(frozen=True)
class Aggregate:
    """Mean and covariance of the aggregate posterior, the codes of all test faces.

    Attributes:
      mean: [latents].
      covariance: [latents, latents], of the posterior means, plus the mean of the posteriors' variances.
    """

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, predictions: Predictions) -> "Aggregate":
        """The aggregate of the posteriors of the test faces."""
        own = np.exp(predictions.logvar.astype(np.float64)).mean(axis=0)
        return cls(
            predictions.mean.mean(axis=0, dtype=np.float64),
            np.cov(predictions.mean, rowvar=False, bias=True) + np.diag(own),
        )

    @property
    def is_prior(self) -> bool:
        """Whether samples of the prior are likely codes: all means below 0.5, deviations from 2/3 to 1.5."""
        deviation = np.sqrt(np.diag(self.covariance))
        return bool((np.abs(self.mean) < 0.5).all() and (deviation > 2 / 3).all() and (deviation < 1.5).all())


def samples(scene: Scene, *, count: int = 6, seed: int = 0) -> Figure:
    """Sampled faces: codes from the prior, and from the normal distribution fitted to the test faces' codes."""
    rng = np.random.default_rng(seed)
    aggregate, split = Aggregate.of(scene.predictions), scene.codec.identity_latents
    prior = rng.standard_normal((count, len(aggregate.mean)))
    fitted = rng.multivariate_normal(aggregate.mean, aggregate.covariance, count)
    names = scene.codec.label_names
    labels = None
    if names:
        labels = scene.codec.labels(rng.integers(0, len(names), count), rng.uniform(size=count))
    return grid_figure(
        [scene.render_codes(codes[:, :split], codes[:, split:], labels) for codes in (prior, fitted)],
        row_labels=["prior", "fitted normal distribution"],
    )


def _round_up(value: float) -> float:
    """The smallest of 1, 1.5, 2, 3, 5, 7 times a power of ten that is not below a value, to end a scale at."""
    power = 10.0 ** np.floor(np.log10(max(value, 1e-9)))
    return float(next(step * power for step in (1, 1.5, 2, 3, 5, 7, 10) if step * power >= value * (1 - 1e-9)))
