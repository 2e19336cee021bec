"""Figures of reconstructed, neutralised, recombined and sampled faces (the paper's Figures 4 to 7)."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from facedis_jax.data.faces.face_set import FaceSet
from facedis_jax.data.splits import evenly_spaced
from facedis_jax.evaluation.faces import Predictions, true_faces, vertex_distances
from facedis_jax.evaluation.true_faces import PERFORMED, TrueFaces
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
      true: what the test faces truly are, by whose levels they are chosen.
      camera: sees every test face. With one camera for all images, sizes can be compared.
    """

    codec: FaceCodec
    face_set: FaceSet
    predictions: Predictions
    true: TrueFaces
    camera: Camera

    @classmethod
    def of(cls, codec: FaceCodec, face_set: FaceSet, predictions: Predictions) -> "Scene":
        """The scene of a model, with a camera that sees all test faces."""
        camera = Camera.framing(predictions.vertices, size=SIZE)
        return cls(codec, face_set, predictions, true_faces(face_set, predictions), camera)

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
        return self.render(self.decode_codes(identity, expression, labels))

    def decode_codes(self, identity: np.ndarray, expression: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        """The faces [faces, vertices, 3] mm of codes, as `render_codes`."""
        count = max(len(code) for code in (identity, expression) if code.ndim == 2)
        identity, expression = (
            np.broadcast_to(code, (count, code.shape[-1])).astype(np.float32) for code in (identity, expression)
        )
        return self.codec.decode(identity, expression, labels)[0]

    def subject_name(self, row: int) -> str:
        """A short name of a test face's subject."""
        return self.face_set.subjects[self.predictions.subject[row]].removeprefix("FaceTalk_").replace("_", " ")

    def expression_name(self, row: int) -> str:
        """The name of a test face's expression, with spaces."""
        return self.face_set.expressions[self.predictions.expression[row]].replace("_", " ")


def showcase(faces: TrueFaces, count: int) -> np.ndarray:
    """Indices of at most `count` test faces of strong expressions, of as many expressions and people as there are."""
    strongest: dict[tuple[int, int], int] = {}
    for row in np.argsort(-faces.level, kind="stable").tolist():
        strongest.setdefault((int(faces.subject[row]), int(faces.expression[row])), row)
    candidates = list(strongest.values())
    chosen: list[int] = []
    while candidates and len(chosen) < count:

        def order(row: int) -> tuple[bool, int, float]:
            repeats = np.sum(faces.subject[chosen] == faces.subject[row])
            repeats += np.sum(faces.expression[chosen] == faces.expression[row])
            return bool(faces.level[row] < 0.6), int(repeats), -float(faces.level[row])

        chosen.append(min(candidates, key=order))
        candidates.remove(chosen[-1])
    return np.array(chosen)


def every_expression(faces: TrueFaces) -> np.ndarray:
    """Indices of one strong test face of each expression that test faces show, of as many people as can be.

    Where none shows an expression, a few faces as they are.
    """
    performed = np.flatnonzero(faces.level >= PERFORMED)
    chosen: list[int] = []
    for number in np.unique(faces.expression[performed]):
        rows = performed[faces.expression[performed] == number]
        rows = rows[faces.level[rows] >= 0.9 * faces.level[rows].max()]
        shown = [int(np.sum(faces.subject[chosen] == faces.subject[row])) for row in rows]
        chosen.append(int(rows[np.lexsort([-faces.level[rows], shown])[0]]))
    return np.array(chosen) if chosen else showcase(faces, 5)


def people(faces: TrueFaces, count: int) -> np.ndarray:
    """Indices of one test face for each of at most `count` subjects, the face of the lowest expression level."""
    order = np.argsort(faces.level, kind="stable")
    _, first = np.unique(faces.subject[order], return_index=True)
    return order[first[evenly_spaced(len(first), count)]]


def error_scale(errors: np.ndarray) -> ColorScale:
    """A scale in mm for errors of any shape, which ends near the 99th percentile of those that are shown."""
    high = _round_up(float(np.quantile(errors, 0.99)))
    return ColorScale(0.0, high, "distance (mm)", largest=float(errors.max()))


def reconstruction_errors(scene: Scene, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances [rows, vertices] of test faces to their reconstructions, and of neutrals to the predicted ones."""
    shown = scene.predictions
    return (
        vertex_distances(shown.reconstruction[rows], shown.vertices[rows]),
        vertex_distances(shown.neutral[rows], shown.neutral_target[rows]),
    )


def reconstructions(scene: Scene, rows: np.ndarray, *, scale: ColorScale | None = None) -> Figure:
    """Input, reconstruction, neutral target and predicted neutral of test faces, with errors in mm (Figure 4).

    Args:
      scene: the model and its test faces.
      rows: indices of test faces.
      scale: of both errors; by default that of these faces.
    """
    shown = scene.predictions
    error, neutral_error = reconstruction_errors(scene, rows)
    scale = scale or error_scale(np.stack([error, neutral_error]))
    columns = {
        "input": scene.render(shown.vertices[rows]),
        "reconstruction": scene.render(shown.reconstruction[rows]),
        "its error": scene.render(shown.vertices[rows], scalars=error, high=scale.high),
        "neutral target": scene.render(shown.neutral_target[rows]),
        "predicted neutral": scene.render(shown.neutral[rows]),
        "its error ": scene.render(shown.neutral_target[rows], scalars=neutral_error, high=scale.high),
    }
    return grid_figure(
        list(zip(*columns.values(), strict=True)),
        row_labels=[f"{scene.expression_name(row)}, {scene.subject_name(row)}" for row in rows],
        column_labels=[name.strip() for name in columns],
        colorbar=scale,
    )


def identity_scatter(scene: Scene) -> Figure:
    """Identity codes of the test faces in the plane of their two principal components (Figure 5)."""
    codes = scene.identity(np.arange(len(scene.predictions)))
    pca = PCA(2).fit(codes)
    share = pca.explained_variance_ratio_
    # Of a hundred people ten may be tested, whose names and points are large enough to be told apart.
    _, first, place = np.unique(scene.predictions.subject, return_index=True, return_inverse=True)
    return code_scatter(
        pca.transform(codes),
        place,
        [scene.subject_name(int(row)) for row in first],
        explained=(float(share[0]), float(share[1])),
    )


def borrowed_expressions(scene: Scene, person: int, donors: np.ndarray) -> Figure:
    """One person with the expressions of others (Figure 6, upper row), beside the truth; given by indices of faces."""
    code = scene.identity(np.array([person]))[0]
    given = scene.decode_codes(code, scene.expression(donors), scene.labels(donors))
    truly = scene.true.transferred(np.full(len(donors), person), donors)
    error = vertex_distances(given, truly)
    scale = error_scale(error)
    return grid_figure(
        [
            scene.render(scene.predictions.vertices[donors]),
            scene.render(given),
            scene.render(truly),
            scene.render(truly, scalars=error, high=scale.high),
        ],
        row_labels=["expression of", f"on {scene.subject_name(person)}", _truth_label(scene), "distance of the two"],
        column_labels=[f"{scene.subject_name(row)}, {scene.expression_name(row)}" for row in donors],
        colorbar=scale,
    )


def one_expression(scene: Scene, donor: int, persons: np.ndarray) -> Figure:
    """One expression on several people (Figure 6, lower row), beside the truth; all given by indices of test faces."""
    donors = np.full(len(persons), donor)
    given = scene.render_codes(scene.identity(persons), scene.expression(np.array([donor]))[0], scene.labels(donors))
    return grid_figure(
        [
            scene.render(scene.predictions.neutral[persons]),
            given,
            scene.render(scene.true.transferred(persons, donors)),
        ],
        row_labels=[
            "predicted neutral",
            f"{scene.expression_name(donor)} of {scene.subject_name(donor)}",
            _truth_label(scene),
        ],
        column_labels=[scene.subject_name(row) for row in persons],
    )


def _truth_label(scene: Scene) -> str:
    return "own neutral + donor's offset" if scene.true.truth is None else "the truth"


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
    def deviation(self) -> np.ndarray:
        """Standard deviations [latents]."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def is_prior(self) -> bool:
        """Whether samples of the prior are likely codes: all means below 0.5, deviations from 2/3 to 1.5."""
        deviation = self.deviation
        return bool((np.abs(self.mean) < 0.5).all() and (deviation > 2 / 3).all() and (deviation < 1.5).all())


def samples(scene: Scene, *, count: int = 6, seed: int = 0) -> Figure:
    """Sampled faces: codes from the normal distribution fitted to the test faces' codes, and from the prior.

    Those from the prior are shown only where the codes are distributed nearly as it is: else they are no faces.
    """
    rng = np.random.default_rng(seed)
    aggregate, split = Aggregate.of(scene.predictions), scene.codec.identity_latents
    prior = rng.standard_normal((count, len(aggregate.mean)))
    fitted = rng.multivariate_normal(aggregate.mean, aggregate.covariance, count)
    names = scene.codec.label_names
    labels = None
    if names:
        labels = scene.codec.labels(rng.integers(0, len(names), count), rng.uniform(size=count))
    shown = {"fitted normal distribution": fitted} | ({"prior": prior} if aggregate.is_prior else {})
    return grid_figure(
        [scene.render_codes(codes[:, :split], codes[:, split:], labels) for codes in shown.values()],
        row_labels=list(shown),
    )


def _round_up(value: float) -> float:
    """The smallest of 1, 1.5, 2, 3, 5, 7 times a power of ten that is not below a value, to end a scale at."""
    power = 10.0 ** np.floor(np.log10(max(value, 1e-9)))
    return float(next(step * power for step in (1, 1.5, 2, 3, 5, 7, 10) if step * power >= value * (1 - 1e-9)))
