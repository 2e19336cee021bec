"""The page of a face model, with its figures as files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from facedis_jax.data.faces.face_set import FaceSet
from facedis_jax.data.splits import evenly_spaced
from facedis_jax.evaluation.faces import Predictions, vertex_distances
from facedis_jax.evaluation.true_faces import PERFORMED
from facedis_jax.inference.face_model import TrainedFaceModel
from facedis_jax.inference.faces import FaceCodec
from facedis_jax.progress import track
from facedis_jax.reports.faces import figures, named_expressions, tables
from facedis_jax.reports.faces.figures import Scene
from facedis_jax.reports.faces.live import live_face
from facedis_jax.reports.faces.published import DATA_NAMES, Paper
from facedis_jax.reports.figures import error_histogram, metric_names, share_bars
from facedis_jax.reports.page import Fact, IllustratedPage
from facedis_jax.reports.sections import percent, show_training_curves
from facedis_jax.training import RunFolder

_FACES_IN_A_FIGURE = 6


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
      model: the trained model, to be moved on the page; None for no such face.
    """

    numbers: Mapping[str, Any]
    codec: FaceCodec
    face_set: FaceSet
    predictions: Predictions
    rows: Sequence[Mapping[str, object]] = ()
    paper: Paper = "coma"
    model: TrainedFaceModel | None = None


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
        partial(_live, page, results.model),
        partial(_reconstructions, page, scene),
        partial(_kept_motion, page, results),
        partial(_codes, page, scene, numbers),
        expressions,
        partial(_recombinations, page, scene, numbers),
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


def _live(page: IllustratedPage, model: TrainedFaceModel | None) -> None:
    if model is None:
        return
    page.heading("A face to move")
    page.live_face(
        live_face(model),
        alt="The average person, moved by the sliders beside it; drag to turn",
        caption="The average person of the training faces. Expressions are the model's at level 1, and identities what "
        "one deviation of a training code changes; sliders add up, as morph targets do. Drag to turn.",
    )


def _training(page: IllustratedPage, results: FaceResults) -> None:
    if metric_names(results.rows):
        page.heading("Training")
        caption = "Metrics over the steps of training, from metrics.jsonl. The loss is a weighted sum, without a unit."
        show_training_curves(page, results.rows, model="face model", caption=caption)


def _glance(page: IllustratedPage, numbers: Mapping[str, Any], *, conditional: bool) -> None:
    page.heading("At a glance")
    facts = [*_error_facts(numbers), *_leak_facts(numbers)]
    if conditional:
        collapsed = f"{numbers['collapsed_latents']['expression']} of {numbers['latents']['expression']}"
        facts.append(Fact("Collapsed expression latents", collapsed, "the labels stand in for them"))
    page.facts(facts)
    page.paragraph(_who_is_tested(numbers["people"]))
    if "truth" in numbers:
        truth = numbers["truth"]
        page.paragraph(
            f"The test faces have {truth['input_noise_mm']:.3f} mm of registration noise, which no model can predict, "
            f"and the neutrals of the training are {truth['neutral_target_noise_mm']:.3f} mm from those without noise: "
            "an error below that comes from faces that are known by heart. Errors against the truth are against faces "
            "without noise."
        )


def _error_facts(numbers: Mapping[str, Any]) -> list[Fact]:
    """The paper's errors and that of transferred expressions, beside the truth and the linear models'."""
    pca, linear, truth = numbers["baselines"]["pca"], numbers["baselines"]["linear"], numbers.get("truth", {})

    def fact(label: str, name: str, *notes: str) -> Fact:
        return Fact(label, f"{numbers[name]['mean']:.3f} mm", "; ".join(filter(None, notes)))

    def truly(name: str) -> str:
        return f"against the truth {truth[name]:.3f} mm" if truth else ""

    def beside(name: str) -> str:
        return f"linear model: {linear[name]['mean']:.3f} mm" if linear and linear[name] else ""

    facts = [
        fact(
            "Reconstruction error, test faces",
            "reconstruction_mm",
            truly("reconstruction_mm"),
            f"PCA with {pca['components']} components: {pca['reconstruction_mm']['mean']:.3f} mm",
        ),
        fact("Error of the predicted neutral", "neutral_mm", truly("neutral_mm"), beside("neutral_mm")),
        fact("Disentanglement error", "disentanglement_mm", beside("disentanglement_mm")),
    ]
    if numbers["transfer_mm"]:
        own = f"reconstruction of the same faces {numbers['transfer']['reconstruction_mm']['mean']:.3f} mm"
        facts.append(fact("Error of expressions on other people", "transfer_mm", own, beside("transfer_mm")))
    return facts


def _leak_facts(numbers: Mapping[str, Any]) -> list[Fact]:
    """What either code holds of the other's, and what motion is lost."""
    linear, probes = numbers["baselines"]["linear"] or {}, numbers["probes"]
    facts = []
    if numbers["donor_share"] is not None:
        notes = ["0% is right, 100% is the donor"]
        if linear.get("donor_share") is not None:
            notes.append(f"linear model: {percent(linear['donor_share'])}")
        facts.append(Fact("Donor's share of that error", percent(numbers["donor_share"]), "; ".join(notes)))
    for label, name in (
        ("Subject read from the expression code", "subject_from_expression"),
        ("Expression read from the identity code", "expression_from_identity"),
    ):
        if not probes[name]:
            continue
        notes = [f"chance {percent(probes[name]['chance'])}"]
        if name == "subject_from_expression" and probes["subject_from_true_offsets"]:
            notes.append(f"from true offsets {percent(probes['subject_from_true_offsets']['accuracy'])}")
        if linear.get("probes", {}).get(name):
            notes.append(f"linear model: {percent(linear['probes'][name]['accuracy'])}")
        facts.append(Fact(label, percent(probes[name]["accuracy"]), "; ".join(notes)))
    kept = numbers["kept_motion"]
    if kept:
        weakest = min(kept, key=kept.__getitem__)
        note = weakest.replace("_", " ")
        if linear.get("kept_motion"):
            note += f"; linear model's weakest: {percent(min(linear['kept_motion'].values()))}"
        facts.append(Fact("Motion kept of the weakest expression", percent(kept[weakest]), note))
    return facts


def _who_is_tested(people: Mapping[str, int]) -> str:
    tested, seen = people["test"], people["of_them_in_training"]
    if not seen:
        return f"Tested on faces of people of whom none was learned from, {tested} in number."
    if seen == tested:
        return f"Tested on other faces of people who were learned from: all {tested} have faces in the training half."
    return f"Tested on faces of {tested} people, {seen} of whom have faces in the training half."


def _reconstructions(page: IllustratedPage, scene: Scene) -> None:
    page.heading("Reconstructions and predicted neutrals")
    rows = figures.every_expression(scene.true)
    scale = figures.error_scale(np.stack(figures.reconstruction_errors(scene, rows)))
    for number, part in enumerate(np.array_split(rows, -(-len(rows) // _FACES_IN_A_FIGURE)), 1):
        page.illustration(
            "reconstructions" if number == 1 else f"reconstructions_{number}",
            figures.reconstructions(scene, part, scale=scale),
            alt="Test faces, their reconstructions, neutral faces and maps of the errors",
            caption="One strong test face of each expression that test faces show (the paper's Figure 4). Each row is "
            "one face: the input, its reconstruction from both codes, the person's neutral, and the neutral that is "
            "predicted from the identity code alone. All error maps have one scale."
            if number == 1
            else "The other expressions.",
        )


def _kept_motion(page: IllustratedPage, results: FaceResults) -> None:
    kept, linear = results.numbers["kept_motion"], results.numbers["baselines"]["linear"]
    if kept:
        beside = linear["kept_motion"] if linear else None
        page.illustration(
            "kept_motion",
            share_bars(
                {"this model": kept} | ({"linear model of as many latents": beside} if beside else {}),
                label="share of the true motion (1: all of it)",
            ),
            alt="Bars: the share of the true motion that is reconstructed, for each expression",
            caption="How much of each expression is reconstructed: the part of the true offset from the neutral that "
            "is in the offset between reconstruction and predicted neutral, by least squares, over test faces from "
            f"level {PERFORMED:g} on.",
        )
    page.table(
        tables.expression_rows(results.numbers, results.predictions, results.face_set),
        decimals={"mean level": 2, "kept motion": 2, "linear model's": 2},
        caption="Kept motion (1: all of it), and mean errors of the test faces, by expression.",
    )


def _codes(page: IllustratedPage, scene: Scene, numbers: Mapping[str, Any]) -> None:
    page.heading("Identity and expression codes")
    if scene.codec.identity_latents > 1 and len(scene.predictions) > 1:
        page.illustration(
            "identity_codes",
            figures.identity_scatter(scene),
            alt="Identity codes in the plane of their first two principal components",
            caption="Identity codes of all test faces in the plane of their two principal components (the paper's "
            "Figure 5). One point is one face; one colour and shape is one person. How far a person's points lie apart "
            "is what the expression changes in the code; the classifiers below say how much.",
        )
    page.table(
        tables.code_rows(numbers),
        decimals=2,
        caption="Contents of the codes. The classifiers are logistic regressions on posterior means of training faces, "
        "fitted to 70 % and scored on the rest; expressions are of faces from level 0.5 on. The subject read from the "
        "expression code, and the expression read from the identity code, are leaks; as people move in their own ways, "
        "true offsets (as many principal components as expression latents) give some of them away too.",
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
    donors, persons = figures.showcase(scene.true, 6), figures.people(scene.true, 6)
    page.heading("Expressions transferred between people")
    page.illustration(
        "expressions_on_one_identity",
        figures.borrowed_expressions(scene, int(persons[0]), donors),
        alt="One person with the expressions of others",
        caption="First row: test faces of several people. Second row: one person with their expression codes (the "
        f"upper row of the paper's Figure 6). Third row: {_truth(scene)}. Fourth row: how far the two are apart.",
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
    persons = figures.people(scene.true, 6)
    page.heading("Faces of named expressions")
    for part, names in enumerate(np.array_split(every, -(-len(every) // 6)), 1):
        page.illustration(
            f"named_expressions_{part}",
            named_expressions.named_expressions(scene, persons[:2], names),
            alt="People with named expressions",
            caption="People with the labels of expressions at level 1, and an expression code of zero (the upper row "
            "of the paper's Figure 6).",
        )
    donor = int(figures.showcase(scene.true, 1)[0])
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
        f"row of the paper's Figure 6). Third row: {_truth(scene)}.",
    )


def _truth(scene: Scene) -> str:
    """What pictures of transferred expressions are compared with."""
    if scene.true.truth is None:
        return "their own neutrals with the donor's offset from the donor's neutral"
    return "the truth, their own neutrals performing the donor's expression units in their own way"


def _recombinations(page: IllustratedPage, scene: Scene, numbers: Mapping[str, Any]) -> None:
    page.heading("Recombined codes and sampled faces")
    persons, donors = figures.people(scene.true, 4), figures.showcase(scene.true, 5)
    page.illustration(
        "swaps",
        figures.swaps(scene, persons, donors),
        alt="Identities in rows, expressions in columns",
        caption="Identity codes of the faces in the first column with the expression codes of the faces in the first "
        "row. A row should show one person, a column one expression; the table below says how near they come.",
    )
    rows = tables.transfer_rows(numbers, is_synthetic=scene.true.truth is not None)
    if rows:
        pairs = numbers["transfer"].get("pairs")
        drawn = f"{pairs} pairs of test faces drawn at random, the donors from level {PERFORMED:g} on" if pairs else ""
        page.table(
            rows,
            caption=f"One person's identity code with another's expression code: {drawn or 'faces at rest'}. Where the "
            "error leads to the donor, the expression code holds who the donor is; where it leads to the average face, "
            "the identity code holds too little of the person, which raises the donor's share too. At rest nobody "
            "moves, so that both distances should be equal. The last rows are of one identity with the strongest faces "
            "of several people.",
        )
    aggregate = figures.Aggregate.of(scene.predictions)
    means, deviation = float(np.abs(aggregate.mean).max()), aggregate.deviation
    codes = f"Means of the codes are within ±{means:.2f}, their deviations from {deviation.min():.2f} to "
    codes += f"{deviation.max():.2f}; those of the prior are 0 and 1."
    if aggregate.is_prior:
        caption = f"Faces of codes drawn from that distribution, and from the prior. {codes}"
    else:
        caption = f"Faces of codes drawn from that distribution. {codes} Samples of the prior are not shown."
    page.illustration(
        "samples",
        figures.samples(scene),
        alt="Sampled faces",
        caption=f"The normal distribution has the mean and covariance of the test faces' codes. {caption}",
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
        tables.paper_rows(results.paper),
        caption=f"For scale: the paper's comparison, means, all on the real {DATA_NAMES[results.paper]} scans.",
    )
