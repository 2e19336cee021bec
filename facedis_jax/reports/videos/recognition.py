"""The page of expressions recognised from sequences of features (section 5.6), with its figures as files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from facedis_jax.data.splits import evenly_spaced
from facedis_jax.data.videos.clip_set import ClipSet
from facedis_jax.evaluation.images import to_unit_range
from facedis_jax.inference.codecs import VideoCodec
from facedis_jax.inference.videos import select_clips
from facedis_jax.learners import FoldResults
from facedis_jax.models import DynamicLatents
from facedis_jax.reports.figures import COLORS, INK, STYLE, WIDTH
from facedis_jax.reports.images.figures import grid_overlays
from facedis_jax.reports.page import Fact
from facedis_jax.reports.sections import mean_and_deviation, show_training_curves, training_time, verdict
from facedis_jax.reports.videos.moving_page import MovingPage
from facedis_jax.training import RunFolder

FEATURES = {
    "ddf": "deformation fields (Ddf)",
    "dglf": "geometric codes (Dglf)",
    "frames": "raw frames",
    "frame_network": "a recurrent network on frames",
    "optical_flow": "optical flow on frames",
    "mocogan": "MoCoGAN's motion codes",
}
MODEL_NAMES = {"dynamic": "dynamic deformable generator", "mocogan": "MoCoGAN"}

TABLE_3: Mapping[str, float] = {"ddf": 92.0, "dglf": 85.5, "mocogan": 83.1}
TABLE_3_OTHERS: Mapping[str, float] = {
    "UPSM": 87.7,
    "HiNet": 87.2,
    "RADAP": 85.6,
    "Multi-stream CNN": 85.4,
    "DAGSVM-GT": 82.3,
}
"""The paper's accuracies on MUG, in percent."""

REQUIRED_ACCURACY = 0.85  # from deformation fields
_CLIPS_SHOWN = 7  # side by side, at most
_MOTIONS = {"relative": "relative to the first frame", "absolute": "as they are"}


@dataclass(frozen=True)
class RecognitionResults:
    """Results of the recognition of expressions, for each kind of features.

    Attributes:
      numbers: as in results.json.
      codec: of the dynamic generator.
      clips: [clips, frames, size, size, channels] uint8.
      latents: of those clips.
      labels: [clips], indices into `expressions`.
      subjects: [clips], who is on them.
      expressions: names.
      recognised: results of cross-validation over people, by name of the features.
      rows: of metrics.jsonl, by model; without models that were not trained in this run.
    """

    numbers: Mapping[str, Any]
    codec: VideoCodec
    clips: np.ndarray
    latents: DynamicLatents
    labels: np.ndarray
    subjects: np.ndarray
    expressions: Sequence[str]
    recognised: Mapping[str, FoldResults]
    rows: Mapping[str, Sequence[Mapping[str, Any]]]


def write_recognition_report(
    folder: RunFolder, clip_set: ClipSet, results: RecognitionResults, *, command: str
) -> None:
    """Writes one self-contained HTML page, and every figure on it as a PNG or GIF.

    Args:
      folder: of the run.
      clip_set: the data.
      results: what was measured.
      command: what made the run, as it is typed.
    """
    numbers = results.numbers
    subtitle = f"{clip_set.name}, {clip_set.size} x {clip_set.size} x {clip_set.frames} frames, "
    subtitle += f"{numbers['clips']} clips of {numbers['people']} people, on {numbers['device']}"
    page = MovingPage("Expressions recognised from deformations", subtitle, folder.figures)
    _glance(page, numbers)
    page.command(command)
    _accuracies(page, results)
    _confusions(page, results)
    _examples(page, results)
    _generators(page, numbers)
    _training(page, results)
    page.write(folder.report_file)


def _glance(page: MovingPage, numbers: Mapping[str, Any]) -> None:
    page.heading("At a glance")
    ddf = numbers["accuracy"][numbers["motion"]]["ddf"]
    required = f"above {100 * REQUIRED_ACCURACY:.0f}%: {verdict(ddf['mean'] > REQUIRED_ACCURACY)}"
    note = f"{required}; by chance {100 * numbers['chance']:.0f}%"
    facts = [Fact("Accuracy from deformation fields", f"{_percent(ddf)}%", note)]
    for name in ("dglf", "optical_flow", "mocogan"):
        if name in numbers["margin_of_ddf"]:
            ahead = numbers["margin_of_ddf"][name]
            facts.append(
                Fact(
                    f"More than from {FEATURES[name]}",
                    f"{100 * ahead['mean']:+.1f}",
                    f"± {100 * ahead['std']:.1f} percentage points; above 0: {verdict(ahead['mean'] > 0)}",
                )
            )
    page.facts(facts)


def _accuracies(page: MovingPage, results: RecognitionResults) -> None:
    numbers = results.numbers
    page.heading("Results")
    chosen = numbers["motion"]
    shown = [chosen, *(motion for motion in _MOTIONS if motion != chosen)]
    rows: list[dict[str, object]] = []
    for name in results.recognised:
        entry: dict[str, object] = {"expression from": FEATURES[name], "per frame": numbers["features"][name]}
        for motion in shown:
            entry[f"{_MOTIONS[motion]} (%)"] = _percent(numbers["accuracy"][motion][name])
        ahead = numbers["margin_of_ddf"].get(name)
        entry["behind Ddf"] = _percent(ahead) if ahead else None
        entry["paper"] = TABLE_3.get(name)
        rows.append(entry)
    rows += [{"expression from": name, "paper": accuracy} for name, accuracy in TABLE_3_OTHERS.items()]
    sizes = numbers["clips_per_fold"]
    page.table(
        rows,
        decimals={"paper": 1},
        caption="Table 3: accuracy in percent on clips of people who are not in the classifier's training, mean and "
        f"standard deviation over {len(sizes)} folds of {_range(sizes)} clips. Features are {_MOTIONS[chosen]}, as in "
        "all "
        f'else on this page, and {_MOTIONS[shown[1]]}; "behind Ddf" is the difference fold by fold, in percentage '
        f"points. The paper's figures are of MUG. The most frequent expression is {100 * numbers['chance']:.1f}% of "
        "the clips. All classifiers are one-layer LSTMs with the same settings, but for the network on frames, "
        "which has convolutions of its own; many features are reduced to the principal components of the training "
        "clips.",
    )
    page.illustration(
        "folds",
        fold_points({FEATURES[name]: each.accuracy for name, each in results.recognised.items()}),
        alt="Accuracy of every fold",
        caption=f"Accuracy of every fold, and their means, from features {_MOTIONS[chosen]}.",
    )


def _confusions(page: MovingPage, results: RecognitionResults) -> None:
    page.heading("Confusions")
    counts = {FEATURES[name]: np.asarray(results.numbers["confusions"][name]) for name in results.recognised}
    page.illustration(
        "confusions",
        confusion_panels(counts, results.expressions),
        alt="Confusion matrices",
        caption="Percent of the clips of each expression (rows) that were classified as each (columns), over all "
        "folds.",
    )


def _examples(page: MovingPage, results: RecognitionResults) -> None:
    """Clips that were recognised from their deformation fields, and clips that were not, with warped grids."""
    page.heading("Clips")
    predictions = results.recognised["ddf"].predictions
    right = _one_of_each(results, predictions == results.labels)
    wrong = np.flatnonzero(predictions != results.labels)
    wrong = wrong[evenly_spaced(len(wrong), _CLIPS_SHOWN)]
    for name, rows, heading in (
        ("recognised", right, "Clips of different people, recognised from their deformation fields"),
        ("mistaken", wrong, "Clips that were not recognised from their deformation fields"),
    ):
        if not len(rows):
            continue
        truth, found = ([results.expressions[k] for k in numbers[rows]] for numbers in (results.labels, predictions))
        names = [one if one == other else f"{one} as {other}" for one, other in zip(truth, found, strict=True)]
        latents = select_clips(results.latents, rows)
        flows = results.codec.flow(np.asarray(results.codec.codes(latents).geometry))
        warped = [
            to_unit_range(np.stack(grid_overlays(clip, own)))
            for clip, own in zip(results.codec.decode(latents), flows, strict=True)
        ]
        page.clips(
            name,
            [list(to_unit_range(results.clips[rows])), warped],
            row_labels=["clip", "reconstruction"],
            column_labels=names,
            alt=f"{heading}, playing",
            caption=f"{heading}, and their reconstructions under the grid that the deformation fields warp.",
        )


def _generators(page: MovingPage, numbers: Mapping[str, Any]) -> None:
    page.heading("The generators")
    page.table(
        [
            {
                "model": label,
                "parameters": numbers[name]["parameters"],
                "squared error per frame": mean_and_deviation(numbers[name]["squared_error"]),
                **training_time(numbers[name]),
            }
            for name, label in MODEL_NAMES.items()
            if name in numbers
        ],
        decimals={"minutes": 1},
        caption="Both generators learn from the same clips, without labels. Squared error of every frame, summed over "
        "pixels and channels in [0, 1], of reconstructions from the latents that expressions are recognised from.",
    )


def _training(page: MovingPage, results: RecognitionResults) -> None:
    captions = {
        "dynamic": "training clips with the latents of their chains, some of them with latents inferred from the prior "
        "(test); errors are per frame.",
        "mocogan": "cross-entropies and penalties of the critics, and the error per frame of clips whose latents are "
        "inferred (test).",
    }
    for name, curve in results.rows.items():
        label = MODEL_NAMES[name]
        caption = f"The {label}: {captions[name]}"
        show_training_curves(page, curve, model=label, caption=caption, name=f"curves_{name}")


@matplotlib.rc_context(STYLE)
def fold_points(accuracies: Mapping[str, np.ndarray]) -> Figure:
    """Scatter plot of the accuracies [folds] of each kind of features, one row for each, with a line at the mean."""
    figure = Figure(figsize=(WIDTH * 0.85, 0.5 + 0.55 * len(accuracies)), layout="constrained")
    axes = figure.add_subplot(xlabel="accuracy (%)")
    for i, ((_, values), color) in enumerate(zip(accuracies.items(), COLORS, strict=False)):
        # Each fold has its own height within a row, so that equal accuracies do not hide each other.
        offsets = np.linspace(-0.22, 0.22, len(values))
        axes.scatter(100 * values, i + offsets, color=color, s=20, alpha=0.75, linewidths=0)
        axes.plot([100 * values.mean()] * 2, [i - 0.32, i + 0.32], color=INK, linewidth=1.6)
    axes.set_yticks(range(len(accuracies)), list(accuracies))
    axes.set_ylim(len(accuracies) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.set_xlim(right=101)
    return figure


@matplotlib.rc_context(STYLE)
def confusion_panels(counts: Mapping[str, np.ndarray], classes: Sequence[str]) -> Figure:
    """Confusion matrices of counts [truth, prediction] by name, side by side, in percent of each truth."""
    columns = min(2, len(counts))
    rows = -(-len(counts) // columns)
    figure = Figure(figsize=(WIDTH, 3.9 * rows), layout="constrained")
    for i, (name, matrix) in enumerate(counts.items()):
        axes = figure.add_subplot(rows, columns, i + 1, title=name)
        shares = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
        for (truth, prediction), share in np.ndenumerate(shares):
            if share >= 0.5:
                color = "white" if share > 55 else INK
                axes.text(prediction, truth, f"{share:.0f}", ha="center", va="center", color=color, fontsize=8)
        axes.set_xticks(range(len(classes)), classes, rotation=30, ha="right")
        axes.set_yticks(range(len(classes)), classes)
        axes.grid(False)
    return figure


def _one_of_each(results: RecognitionResults, chosen: np.ndarray) -> np.ndarray:
    """Indices of one of the chosen clips of each expression, of different people where possible."""
    rows: list[int] = []
    for expression in np.unique(results.labels)[:_CLIPS_SHOWN]:
        own = np.flatnonzero(chosen & (results.labels == expression))
        new = own[~np.isin(results.subjects[own], results.subjects[rows])]
        rows.extend((new if len(new) else own)[:1])
    return np.array(rows, int)


def _percent(entry: Mapping[str, float]) -> str:
    return mean_and_deviation(entry, decimals=1, scale=100)


def _range(sizes: Sequence[int]) -> str:
    low, high = min(sizes), max(sizes)
    return str(low) if low == high else f"{low} to {high}"
