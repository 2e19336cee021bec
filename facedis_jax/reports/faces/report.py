"""The page that a finished run of the IB-VAE leaves behind, and its pictures as files."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facedis_jax.data.faces.face_set import FaceSet
from facedis_jax.data.splits import evenly_spaced
from facedis_jax.evaluation.faces import Predictions, vertex_distances
from facedis_jax.inference.faces import FaceCodec
from facedis_jax.reports.faces import (
    figures as face_figures,
)
from facedis_jax.reports.faces import (
    named_expressions as named_figures,
)
from facedis_jax.reports.faces import (
    tables as result_tables,
)
from facedis_jax.reports.faces.figures import Scene
from facedis_jax.reports.faces.published import DATA_NAMES, Paper
from facedis_jax.reports.figures import error_histogram, metric_names, training_curves
from facedis_jax.reports.page import Fact, IllustratedPage


def write_face_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    subtitle: str,
    command: str,
    face_set: FaceSet,
    codec: FaceCodec,
    predictions: Predictions,
    results: Mapping[str, Any],
    metrics_rows: Sequence[Mapping[str, object]] = (),
    paper: Paper = "coma",
    figures_folder: str | os.PathLike[str],
) -> None:
    """Writes one self-contained HTML page, and every picture on it as a PNG.

    Args:
      path: of the page; written last, so that a page that is there is whole.
      title, subtitle: at the top of the page.
      command: what made the run, as it is typed.
      face_set: the data.
      codec: the trained model.
      predictions: of the model for `face_set.test`.
      results: from `evaluate`.
      metrics_rows: the lines of `metrics.jsonl`, of both splits.
      paper: whose published figures stand beside ours.
      figures_folder: where the PNGs go; made if it is missing.
    """
    report = IllustratedPage(title, subtitle, Path(figures_folder))
    scene = Scene.of(codec, face_set, predictions)
    _glance(report, results, conditional=bool(codec.label_names))
    report.command(command)
    _reconstructions(report, scene)
    _codes(report, scene, results)
    if codec.label_names:
        _named_expressions(report, scene, results)
    else:
        _expressions(report, scene)
    _mixtures(report, scene)
    _results(report, scene, results, command, paper)
    _training(report, metrics_rows)
    report.heading("Data")
    report.table(result_tables.data_rows(face_set))
    report.write(path)


def _glance(report: IllustratedPage, results: Mapping[str, Any], *, conditional: bool) -> None:
    pca, linear = results["baselines"]["pca"], results["baselines"]["linear"]
    reconstruction, neutral = results["reconstruction_mm"]["mean"], results["neutral_mm"]["mean"]
    spread = results["disentanglement_mm"]["mean"]

    def beside(name: str) -> str:
        return f"linear model: {linear[name]['mean']:.3f} mm" if linear else ""

    report.heading("At a glance")
    facts = [
        Fact(
            "Reconstruction error, test faces",
            f"{reconstruction:.3f} mm",
            f"PCA with {pca['components']} components: {pca['reconstruction_mm']['mean']:.3f} mm",
        ),
        Fact("Error of the predicted neutral", f"{neutral:.3f} mm", beside("neutral_mm")),
        Fact("Disentanglement error", f"{spread:.3f} mm", beside("disentanglement_mm")),
    ]
    if conditional:
        collapsed, of = results["collapsed_latents"]["expression"], results["latents"]["expression"]
        facts.append(Fact("Collapsed expression latents", f"{collapsed} of {of}", "the labels carry what they carried"))
    elif results["probes"]["expression_from_identity"]:
        leak = results["probes"]["expression_from_identity"]
        facts.append(
            Fact(
                "Expressions read from the identity code",
                f"{100 * leak['accuracy']:.0f}%",
                f"by a linear classifier; chance: {100 * leak['chance']:.0f}%",
            )
        )
    report.facts(facts)
    if "truth" in results:
        truth = results["truth"]
        report.paragraph(
            f"The test faces carry {truth['input_noise_mm']:.3f} mm of registration noise that no model can "
            "foresee. Against the noise-free faces, the reconstruction is off by "
            f"{truth['reconstruction_mm']:.3f} mm, and the predicted neutral is {truth['neutral_mm']:.3f} "
            "mm from the true one; the neutral it was trained towards is "
            f"{truth['neutral_target_noise_mm']:.3f} mm from it."
        )


def _reconstructions(report: IllustratedPage, scene: Scene) -> None:
    report.heading("Faces taken apart")
    report.illustration(
        "reconstructions",
        face_figures.reconstructions(scene, face_figures.showcase(scene.predictions, 5)),
        alt="Test faces, their reconstructions, neutral faces and maps of the errors",
        caption="Test faces with strong expressions (the paper's Figure 4). Each row is one face: what the "
        "model was shown, what it rebuilt from its codes, the person's neutral, and the neutral that it "
        "predicted from the identity code alone. Both error maps have one scale.",
    )


def _codes(report: IllustratedPage, scene: Scene, results: Mapping[str, Any]) -> None:
    report.heading("What the codes hold")
    if scene.codec.identity_latents > 1 and len(scene.predictions) > 1:
        report.illustration(
            "identity_codes",
            face_figures.identity_scatter(scene),
            alt="Identity codes in the plane of their first two principal components",
            caption="Identity codes of all test faces in the plane of their two principal components (the "
            "paper's Figure 5). One point is one face and one colour and shape one person: the tighter the "
            "clusters, the less the expression moves the code.",
        )
    report.table(
        result_tables.code_rows(results),
        decimals=2,
        caption="What each code says. The classifiers are logistic regressions on posterior means of "
        "training faces, fitted to 70 % and scored on the rest; expressions are asked for from level 0.5 "
        "on. The subject read from the expression code, or the expression from the identity code, is a "
        "leak.",
    )
    scores = result_tables.score_rows(results)
    if scores:
        report.table(
            scores,
            caption="Scores of all latents together against subject, expression and level. They are high "
            "where a single latent stands for a single factor; several latents that share the identity "
            "lower them. All are from 0 to 1, but for informativeness, whose R² of the level may be "
            "negative.",
        )


def _expressions(report: IllustratedPage, scene: Scene) -> None:
    donors = face_figures.showcase(scene.predictions, 6)
    persons = face_figures.people(scene.predictions, 6)
    report.heading("One person, many expressions; one expression, many people")
    report.illustration(
        "expressions_on_one_identity",
        face_figures.borrowed_expressions(scene, int(persons[0]), donors),
        alt="One person with the expressions of others",
        caption="Above, test faces of several people; below, one person given their expression codes (the "
        "upper row of the paper's Figure 6).",
    )
    report.illustration(
        "one_expression_on_many",
        face_figures.one_expression(scene, int(donors[0]), persons),
        alt="One expression on several people",
        caption="Above, the neutrals that the model predicts for several people; below, all of them given "
        "one expression code (the lower row of the paper's Figure 6).",
    )
    report.illustration(
        "level_sweep",
        face_figures.level_sweep(scene, donors[1:4] if len(donors) > 1 else donors),
        alt="Expressions of growing level",
        caption="From the code of the person's neutral face to that of the test face at the right, in "
        "equal steps (the paper's Figure 7). The identity code stays as it is.",
    )


def _named_expressions(report: IllustratedPage, scene: Scene, results: Mapping[str, Any]) -> None:
    every = np.arange(len(scene.codec.label_names))
    persons = face_figures.people(scene.predictions, 6)
    two, one = persons[:2], int(persons[0])
    report.heading("Faces from named expressions")
    for part, names in enumerate(np.array_split(every, -(-len(every) // 6)), 1):
        report.illustration(
            f"named_expressions_{part}",
            named_figures.named_expressions(scene, two, names),
            alt="People with named expressions",
            caption="People with expressions asked for by name, at level 1, with an expression code of "
            "zero (the upper row of the paper's Figure 6).",
        )
    donor = int(face_figures.showcase(scene.predictions, 1)[0])
    report.illustration(
        "one_expression_on_many",
        face_figures.one_expression(scene, donor, persons),
        alt="One expression on several people",
        caption="Above, the neutrals that the model predicts; below, all of them with the label and the "
        "code of one test face (the lower row of the paper's Figure 6).",
    )
    some = every[evenly_spaced(len(every), 4)]
    report.illustration(
        "named_levels",
        named_figures.named_levels(scene, one, some),
        alt="Named expressions of growing level",
        caption="Named expressions from level 0 to 1, the expression code at zero (the paper's Figure 7).",
    )
    known = list(scene.codec.label_names)
    name = known.index("mouth_side") if "mouth_side" in known else 0
    collapsed, of = results["collapsed_latents"]["expression"], results["latents"]["expression"]
    report.illustration(
        "free_latent",
        named_figures.free_latent_sweep(scene, one, np.array([name])),
        alt="A named expression with one latent swept",
        caption=f"{collapsed} of {of} expression latents have collapsed to the prior. Here the label stays "
        "and the latent that says most is swept from -2 to 2 standard deviations of the prior. In the "
        "paper, one such latent holds the side to which the mouth goes, which CoMA's labels do not tell.",
    )


def _mixtures(report: IllustratedPage, scene: Scene) -> None:
    report.heading("Mixed and new faces")
    persons, donors = face_figures.people(scene.predictions, 4), face_figures.showcase(scene.predictions, 5)
    report.illustration(
        "swaps",
        face_figures.swaps(scene, persons, donors),
        alt="Identities in rows, expressions in columns",
        caption="Identity codes of the faces at the left with the expression codes of the faces at the "
        "top. A row should be one person, a column one expression.",
    )
    if face_figures.Aggregate.of(scene.predictions).is_prior:
        verdict = "The codes fill the prior, so that both rows are faces that the model stands for."
    else:
        verdict = (
            "The codes do not fill the prior evenly: the lower row is what the model stands for, and the "
            "upper one may leave the range of faces."
        )
    report.illustration(
        "samples",
        face_figures.samples(scene),
        alt="Sampled faces",
        caption="Faces of nobody: codes drawn from the prior, and from the normal distribution with the "
        f"mean and covariance of the test faces' codes. {verdict}",
    )


def _results(report: IllustratedPage, scene: Scene, results: Mapping[str, Any], command: str, paper: Paper) -> None:
    data, floors = DATA_NAMES[paper], results["baselines"]
    fitted = f"{floors['faces']} of the {results['faces']['train']}"
    if floors["faces"] == results["faces"]["train"]:
        fitted = f"all {floors['faces']}"
    report.heading("Results")
    report.table(
        result_tables.result_rows(results, paper, conditional=bool(scene.codec.label_names)),
        caption=f"Errors of {results['faces']['test']} test faces: statistics over meshes or, where pooled, "
        "over all vertices of all meshes; of disentanglement, over subjects. With ±, the standard "
        f"deviation. The PCA has {floors['pca']['components']} components and the linear model (mean + "
        f"identity + expression) as many as this model has latents; both are fitted to {fitted} training "
        f"faces. Self-intersections are means over {results['self_intersections']['meshes']} test meshes. "
        f"The paper's figures are for its own data, the real {data} scans, and compare in kind, not in "
        "size.",
    )
    report.command(command)
    errors = {
        "reconstruction": vertex_distances(scene.predictions.reconstruction, scene.predictions.vertices),
        "predicted neutral": vertex_distances(scene.predictions.neutral, scene.predictions.neutral_target),
    }
    report.illustration(
        "errors",
        error_histogram({name: d.mean(axis=1) for name, d in errors.items()}, label="error per face (mm)"),
        alt="Histogram of errors per face",
        caption="Mean vertex distance of each test face, and of its predicted neutral to the person's neutral.",
    )
    report.table(
        result_tables.expression_rows(scene.predictions, scene.face_set),
        decimals={"mean level": 2},
        caption="Errors of the test faces by expression.",
    )
    report.table(
        result_tables.paper_rows(paper),
        caption=f"For scale: the paper's comparison, means, all on the real {data} scans.",
    )


def _training(report: IllustratedPage, rows: Sequence[Mapping[str, object]]) -> None:
    if not metric_names(rows):
        return
    report.heading("Training")
    report.illustration(
        "curves",
        training_curves(rows),
        alt="Curves of training and test metrics",
        caption="Metrics over the steps of training, from metrics.jsonl.",
    )
