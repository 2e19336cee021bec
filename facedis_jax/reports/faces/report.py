"""The page of a face model, with its figures as files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from facedis_jax.data.faces.face_set import FaceSet
from facedis_jax.data.splits import evenly_spaced
from facedis_jax.evaluation.faces import Predictions, vertex_distances
from facedis_jax.inference.faces import FaceCodec
from facedis_jax.progress import track
from facedis_jax.reports.faces import figures, named_expressions, tables
from facedis_jax.reports.faces.figures import Scene
from facedis_jax.reports.faces.published import DATA_NAMES, Paper
from facedis_jax.reports.figures import error_histogram, metric_names
from facedis_jax.reports.page import Fact, IllustratedPage
from facedis_jax.reports.sections import show_training_curves
from facedis_jax.training import RunFolder


@dataclass(frozen=True)
class FaceResults:
    """Results of a face model.

    Attributes:
      numbers: from `evaluate`, as in results.json.
      codec: the trained model.
      face_set: the data.
      predictions: of the model for `face_set.test`.
      rows: of metrics.jsonl, of both splits.
      paper: which of the paper's data sets to compare with.
    """

    numbers: Mapping[str, Any]
    codec: FaceCodec
    face_set: FaceSet
    predictions: Predictions
    rows: Sequence[Mapping[str, object]] = ()
    paper: Paper = "coma"


def write_face_report(folder: RunFolder, results: FaceResults, *, title: str, subtitle: str, command: str) -> None:
    """Writes one self-contained HTML page, and every figure on it as a PNG.

    Args:
      folder: of the run; the page is written last, so that a page that is there is complete.
      results: what was measured.
      title, subtitle: at the top of the page.
      command: what made the run, as it is typed.
    """
    page = IllustratedPage(title, subtitle, folder.figures)
    numbers, conditional = results.numbers, bool(results.codec.label_names)
    scene = Scene.of(results.codec, results.face_set, results.predictions)
    expressions = (
        partial(_named_expressions, page, scene, numbers) if conditional else partial(_expressions, page, scene)
    )
    parts: list[Callable[[], None]] = [
        partial(_glance, page, numbers, conditional=conditional),
        partial(page.command, command),
        partial(_reconstructions, page, scene),
        partial(_codes, page, scene, numbers),
        expressions,
        partial(_recombinations, page, scene),
        partial(page.heading, "Results"),
        partial(_result_table, page, results),
        partial(page.command, command),
        partial(_errors, page, results),
        partial(_training, page, results),
        partial(page.heading, "Data"),
        lambda: page.table(tables.data_rows(results.face_set)),
    ]
    for draw in track(parts, "drawing the report"):
        draw()
    page.write(folder.report_file)


def _training(page: IllustratedPage, results: FaceResults) -> None:
    if metric_names(results.rows):
        page.heading("Training")
        caption = "Metrics over the steps of training, from metrics.jsonl."
        show_training_curves(page, results.rows, model="face model", caption=caption)


def _glance(page: IllustratedPage, numbers: Mapping[str, Any], *, conditional: bool) -> None:
    pca, linear = numbers["baselines"]["pca"], numbers["baselines"]["linear"]

    def value(name: str) -> str:
        return f"{numbers[name]['mean']:.3f} mm"

    def beside(name: str) -> str:
        return f"linear model: {linear[name]['mean']:.3f} mm" if linear else ""

    page.heading("At a glance")
    components = f"PCA with {pca['components']} components: {pca['reconstruction_mm']['mean']:.3f} mm"
    facts = [
        Fact("Reconstruction error, test faces", value("reconstruction_mm"), components),
        Fact("Error of the predicted neutral", value("neutral_mm"), beside("neutral_mm")),
        Fact("Disentanglement error", value("disentanglement_mm"), beside("disentanglement_mm")),
    ]
    leak = numbers["probes"]["expression_from_identity"]
    if conditional:
        collapsed = f"{numbers['collapsed_latents']['expression']} of {numbers['latents']['expression']}"
        facts.append(Fact("Collapsed expression latents", collapsed, "the labels stand in for them"))
    elif leak:
        chance = f"by a linear classifier; by chance {100 * leak['chance']:.0f}%"
        facts.append(Fact("Expressions read from the identity code", f"{100 * leak['accuracy']:.0f}%", chance))
    page.facts(facts)
    if "truth" in numbers:
        truth = numbers["truth"]
        page.paragraph(
            f"The test faces have {truth['input_noise_mm']:.3f} mm of registration noise, which no model can predict. "
            f"Compared with the faces without noise, the reconstruction error is {truth['reconstruction_mm']:.3f} mm "
            f"and the error of the predicted neutral {truth['neutral_mm']:.3f} mm; the neutrals of the training are "
            f"{truth['neutral_target_noise_mm']:.3f} mm from those without noise."
        )


def _reconstructions(page: IllustratedPage, scene: Scene) -> None:
    page.heading("Reconstructions and predicted neutrals")
    page.illustration(
        "reconstructions",
        figures.reconstructions(scene, figures.showcase(scene.predictions, 5)),
        alt="Test faces, their reconstructions, neutral faces and maps of the errors",
        caption="Test faces with strong expressions (the paper's Figure 4). Each row is one face: the input, its "
        "reconstruction from both codes, the person's neutral, and the neutral that is predicted from the identity "
        "code alone. Both error maps have one scale.",
    )


def _codes(page: IllustratedPage, scene: Scene, numbers: Mapping[str, Any]) -> None:
    page.heading("Identity and expression codes")
    if scene.codec.identity_latents > 1 and len(scene.predictions) > 1:
        page.illustration(
            "identity_codes",
            figures.identity_scatter(scene),
            alt="Identity codes in the plane of their first two principal components",
            caption="Identity codes of all test faces in the plane of their two principal components (the paper's "
            "Figure 5). One point is one face; one colour and shape is one person. The tighter the clusters, the less "
            "the code depends on the expression.",
        )
    page.table(
        tables.code_rows(numbers),
        decimals=2,
        caption="Contents of the codes. The classifiers are logistic regressions on posterior means of training faces, "
        "fitted to 70 % and scored on the rest; expressions are of faces from level 0.5 on. The subject read from the "
        "expression code, and the expression read from the identity code, are leaks.",
    )
    scores = tables.score_rows(numbers)
    if scores:
        page.table(
            scores,
            caption="Scores of all latents together against subject, expression and level. They are high where a "
            "single latent stands for a single factor, and low where several latents share the identity. All are from "
            "0 to 1, but for informativeness, whose R² of the level may be negative.",
        )


def _expressions(page: IllustratedPage, scene: Scene) -> None:
    """Figures 6 and 7 of the model without labels."""
    donors, persons = figures.showcase(scene.predictions, 6), figures.people(scene.predictions, 6)
    page.heading("Expressions transferred between people")
    page.illustration(
        "expressions_on_one_identity",
        figures.borrowed_expressions(scene, int(persons[0]), donors),
        alt="One person with the expressions of others",
        caption="First row: test faces of several people. Second row: one person with their expression codes (the "
        "upper row of the paper's Figure 6).",
    )
    _one_expression(page, scene, int(donors[0]), persons, given="one expression code")
    page.illustration(
        "level_sweep",
        figures.level_sweep(scene, donors[1:4] if len(donors) > 1 else donors),
        alt="Expressions of growing level",
        caption="Expression codes in equal steps from that of the person's neutral face to that of the input at the "
        "right, with the identity code of the input (the paper's Figure 7).",
    )


def _named_expressions(page: IllustratedPage, scene: Scene, numbers: Mapping[str, Any]) -> None:
    """Figures 6 and 7 of the conditional model."""
    labels = list(scene.codec.label_names)
    every = np.arange(len(labels))
    persons = figures.people(scene.predictions, 6)
    page.heading("Faces of named expressions")
    for part, names in enumerate(np.array_split(every, -(-len(every) // 6)), 1):
        page.illustration(
            f"named_expressions_{part}",
            named_expressions.named_expressions(scene, persons[:2], names),
            alt="People with named expressions",
            caption="People with the labels of expressions at level 1, and an expression code of zero (the upper row "
            "of the paper's Figure 6).",
        )
    donor = int(figures.showcase(scene.predictions, 1)[0])
    _one_expression(page, scene, donor, persons, given="the label and the expression code of one test face")
    page.illustration(
        "named_levels",
        named_expressions.named_levels(scene, int(persons[0]), every[evenly_spaced(len(every), 4)]),
        alt="Named expressions of growing level",
        caption="Labels of expressions from level 0 to 1, with an expression code of zero (the paper's Figure 7).",
    )
    shown = labels.index("mouth_side") if "mouth_side" in labels else 0
    collapsed, total = numbers["collapsed_latents"]["expression"], numbers["latents"]["expression"]
    page.illustration(
        "free_latent",
        named_expressions.free_latent_sweep(scene, int(persons[0]), np.array([shown])),
        alt="A named expression along one latent",
        caption=f"{collapsed} of {total} expression latents have collapsed to the prior. With a fixed label, the "
        "latent of the largest KL goes from -2 to 2 standard deviations of the prior. In the paper, one such latent "
        "holds the side to which the mouth moves, which is not in CoMA's labels.",
    )


def _one_expression(page: IllustratedPage, scene: Scene, donor: int, persons: np.ndarray, *, given: str) -> None:
    page.illustration(
        "one_expression_on_many",
        figures.one_expression(scene, donor, persons),
        alt="One expression on several people",
        caption=f"First row: predicted neutrals of several people. Second row: the same people with {given} (the lower "
        "row of the paper's Figure 6).",
    )


def _recombinations(page: IllustratedPage, scene: Scene) -> None:
    page.heading("Recombined codes and sampled faces")
    persons, donors = figures.people(scene.predictions, 4), figures.showcase(scene.predictions, 5)
    page.illustration(
        "swaps",
        figures.swaps(scene, persons, donors),
        alt="Identities in rows, expressions in columns",
        caption="Identity codes of the faces in the first column with the expression codes of the faces in the first "
        "row. A row should show one person, a column one expression.",
    )
    if figures.Aggregate.of(scene.predictions).is_prior:
        comparison = "The codes are distributed nearly as the prior, so that both rows are samples of the model."
    else:
        comparison = "The codes are not distributed as the prior, so that its samples may not look like faces."
    page.illustration(
        "samples",
        figures.samples(scene),
        alt="Sampled faces",
        caption="Faces of codes drawn from the prior, and from the normal distribution with the mean and covariance of "
        f"the test faces' codes. {comparison}",
    )


def _result_table(page: IllustratedPage, results: FaceResults) -> None:
    numbers, rivals = results.numbers, results.numbers["baselines"]
    fitted = f"{rivals['faces']} of the {numbers['faces']['train']}"
    if rivals["faces"] == numbers["faces"]["train"]:
        fitted = f"all {rivals['faces']}"
    page.table(
        tables.result_rows(numbers, results.paper, conditional=bool(results.codec.label_names)),
        caption=f"Errors of {numbers['faces']['test']} test faces: statistics over meshes or, where pooled, over all "
        "vertices of all meshes; of disentanglement, over subjects. With ±, the standard deviation. The PCA has "
        f"{rivals['pca']['components']} components and the linear model (mean + identity + expression) as many as this "
        f"model has latents; both are fitted to {fitted} training faces. Self-intersections are means over "
        f"{numbers['self_intersections']['meshes']} test meshes. The paper's numbers are for the real "
        f"{DATA_NAMES[results.paper]} scans: they compare in their order, not in their size.",
    )


def _errors(page: IllustratedPage, results: FaceResults) -> None:
    predictions = results.predictions
    errors = {
        "reconstruction": vertex_distances(predictions.reconstruction, predictions.vertices),
        "predicted neutral": vertex_distances(predictions.neutral, predictions.neutral_target),
    }
    page.illustration(
        "errors",
        error_histogram({name: d.mean(axis=1) for name, d in errors.items()}, label="error per face (mm)"),
        alt="Histogram of errors per face",
        caption="Mean vertex distance of each test face to its reconstruction, and of the predicted neutral to the "
        "person's neutral.",
    )
    page.table(
        tables.expression_rows(predictions, results.face_set),
        decimals={"mean level": 2},
        caption="Mean errors of the test faces by expression.",
    )
    page.table(
        tables.paper_rows(results.paper),
        caption=f"For scale: the paper's comparison, means, all on the real {DATA_NAMES[results.paper]} scans.",
    )
