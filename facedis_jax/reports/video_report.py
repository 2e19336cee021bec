"""The page of a dynamic generator: its clips as they play, and what was measured of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facedis_jax.data.videos import ClipSet
from facedis_jax.models import DynamicLatents, Latents
from facedis_jax.reports.figures import training_curves
from facedis_jax.reports.image_evaluation import strongest_dimensions, traversal
from facedis_jax.reports.image_figures import bent_grid, image_grid
from facedis_jax.reports.page import Fact
from facedis_jax.reports.spread import evenly_spread
from facedis_jax.reports.video_codec import VideoCodec, as_distributed, frame_codec, of_clips, recombined
from facedis_jax.reports.video_evaluation import unit_pixels
from facedis_jax.reports.video_figures import SECONDS, MovingPage
from facedis_jax.training import RunFolder

MODEL_NAMES = {"dynamic": "dynamic deformable generator", "image": "deformable generator of single frames"}
LEVEL_BAR, DONOR_BAR = 0.8, 0.95
_STILLS = 8  # frames of a clip that are shown side by side
_PLAYED = 6  # clips side by side


@dataclass(frozen=True)
class VideoResults:
    """What was found out about a dynamic generator.

    Attributes:
      numbers: as in results.json.
      codec: of the generator.
      clips: [clips, frames, size, size, channels] uint8, unseen ones.
      latents, predictions: of those.
      frame_predictions: what the generator of single frames makes of them, or None.
      rows: of metrics.jsonl, by model.
      labels: of the clips, "subject" at least.
      expressions: their names, which the label "expression" indexes.
    """

    numbers: Mapping[str, Any]
    codec: VideoCodec
    clips: np.ndarray
    latents: DynamicLatents
    predictions: np.ndarray
    frame_predictions: np.ndarray | None
    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    labels: Mapping[str, np.ndarray]
    expressions: Sequence[str]

    @property
    def moving(self) -> np.ndarray:
        """Which clips show an expression [clips]; all of them where levels are not known."""
        if "level" not in self.labels:
            return np.ones(len(self.clips), bool)
        return np.any(self.labels["level"] > 0, axis=1)

    def clip_name(self, row: int) -> str:
        """What a clip is called on the page."""
        if "expression" not in self.labels:
            return f"clip {row}"
        return str(self.expressions[self.labels["expression"][row]])


def write_video_report(
    folder: RunFolder, clip_set: ClipSet, results: VideoResults, *, command: str, reach: tuple[float, float]
) -> None:
    """Writes one self-contained HTML page, and every picture on it as a PNG or GIF.

    Args:
      folder: of the run.
      clip_set: the data.
      results: what was measured.
      command: what made the run, as it is typed.
      reach: how far dimensions of the appearance and of the geometric code are moved.
    """
    numbers = results.numbers
    steps, minutes = numbers["dynamic"]["steps"], numbers["dynamic"]["seconds"] / 60
    subtitle = f"{clip_set.name}, {clip_set.size} x {clip_set.size} x {clip_set.frames} frames"
    subtitle += f", {steps} steps in {minutes:.1f} min on {numbers['device']}"
    page = MovingPage("Motion, shape and appearance of videos apart", subtitle, folder.figures)
    _glance(page, results)
    page.command(command)
    _reconstructions(page, results)
    _recombinations(page, results)
    _basis_functions(page, results, reach)
    _edited_shapes(page, results)
    _bent_grids(page, results)
    _new_clips(page, results)
    _tables(page, results)
    page.write(folder.report_file)


def _glance(page: MovingPage, results: VideoResults) -> None:
    numbers = results.numbers
    page.heading("At a glance")
    note = ""
    if "image" in numbers:
        won = 100 * numbers["frames_won"]
        note = f"single frames: {numbers['image']['squared_error']['mean']:.2f}; lower in {won:.0f}% of the frames"
    facts = [Fact("Squared error per unseen frame", f"{numbers['dynamic']['squared_error']['mean']:.2f}", note)]
    scores = numbers.get("recombination", {})
    if "level" in scores:
        level = scores["level"]
        note = f"with the geometry donor's, mean r; of real clips {level['real']['mean']:.2f}"
        if "donors" in level:
            note += f", of any two performances {level['donors']['mean']:.2f}"
        known = numbers.get("recombination_of_training_clips", {}).get("level")
        if known is not None:
            note += f"; of training clips recombined {known['recombined']['mean']:.2f}"
        facts.append(Fact("Expression level of recombined clips", f"{level['recombined']['mean']:.2f}", note))
    if "donor" in scores:
        donor = scores["donor"]
        note = f"whose nearest colours are those of the appearance donor; by chance {100 * donor['chance_person']:.0f}%"
        facts.append(Fact("Recombined clips that look like their donor", f"{100 * donor['person']:.1f}%", note))
    page.facts(facts)


def _reconstructions(page: MovingPage, results: VideoResults) -> None:
    page.heading("Unseen clips reconstructed")
    rows = _spread(results, _PLAYED)
    shown = [list(unit_pixels(results.clips[rows])), list(results.predictions[rows])]
    labels = ["unseen clip", "dynamic generator"]
    if results.frame_predictions is not None:
        shown.append(list(results.frame_predictions[rows]))
        labels.append("generator of single frames")
    names = [results.clip_name(row) for row in rows]
    page.clips(
        "reconstructions",
        shown,
        row_labels=labels,
        column_labels=names,
        alt="Unseen clips and their reconstructions, playing",
        caption="Unseen clips, and what either generator makes of them with as many latents per clip.",
    )
    page.illustration(
        "reconstruction_frames",
        image_grid([_stills(clips[0]) for clips in shown], row_labels=labels),
        alt="Frames of an unseen clip and of its reconstructions",
        caption=f"Frames of the first of them ({names[0]}).",
    )


def _recombinations(page: MovingPage, results: VideoResults) -> None:
    people = np.unique(results.labels["subject"])
    if len(people) < 2:
        return
    page.heading("Appearance and geometry recombined")
    for number, pair in zip((15, 16), (people[:2], people[2:4]), strict=True):
        if len(pair) == 2:
            _recombined_people(page, results, pair, number)


def _recombined_people(page: MovingPage, results: VideoResults, pair: np.ndarray, number: int) -> None:
    """Figure 15 or 16: clips of two people, and both ways to recombine them."""
    own = [np.flatnonzero((results.labels["subject"] == person) & results.moving) for person in pair]
    count = min(3, *map(len, own))
    if not count:
        return
    # Not the same expressions of both, or the recombined clips would not show whose they have.
    one, other = own[0][evenly_spread(len(own[0]), count)], np.roll(own[1], -1)[evenly_spread(len(own[1]), count)]
    first, second = of_clips(results.latents, one), of_clips(results.latents, other)
    clips = unit_pixels(results.clips)
    shown = [
        clips[one],
        clips[other],
        results.codec.decode(recombined(first, second)),
        results.codec.decode(recombined(second, first)),
    ]
    labels = ["(a) one person", "(b) another", "(c) looks of (a), geometry of (b)", "(d) looks of (b), geometry of (a)"]
    names = [f"{results.clip_name(i)} / {results.clip_name(j)}" for i, j in zip(one, other, strict=True)]
    page.clips(
        f"recombined_{number}",
        [list(row) for row in shown],
        row_labels=labels,
        column_labels=names,
        alt="Clips of two people, and their appearance and geometry recombined, playing",
        caption="Unseen clips of two people, and new clips of the appearance of one with the shape and motion of the "
        f"other, both ways (the paper's Figure {number}).",
    )
    page.illustration(
        f"recombined_{number}_frames",
        image_grid([_stills(clips[0]) for clips in shown], row_labels=labels),
        alt="Frames of two clips and of their recombinations",
        caption=f"Frames of the first column ({names[0]}).",
    )


def _basis_functions(page: MovingPage, results: VideoResults, reach: tuple[float, float]) -> None:
    """Figure 17, of the codes of first frames."""
    page.heading("What the dimensions of the first frame's codes do")
    codec = frame_codec(results.codec)
    base = _origin(results.codec)
    values = [np.linspace(-r, r, 10, dtype=np.float32) for r in reach]
    rows, labels = [], []
    # A face at least, where the middle of all codes is none.
    row = _spread(results, 1)[0]
    person = base._replace(appearance=np.asarray(results.latents.appearance.first[row]))
    for which, origin, steps, r in zip(("appearance", "geometry"), (base, person), values, reach, strict=True):
        for k in strongest_dimensions(codec, which, origin, r, 2):
            rows.append(list(traversal(codec, which, origin, int(k), steps)))
            labels.append(f"{which} {k}")
    strongest = strongest_dimensions(codec, "geometry", person, reach[1], 1)[0]
    bent = np.zeros((10, results.codec.geometry_latents), np.float32)
    bent[:, strongest] = values[1]
    dressed = np.zeros((10, results.codec.appearance_latents), np.float32)
    dressed[:, strongest_dimensions(codec, "appearance", base, reach[0], 1)[0]] = values[0]
    rows.append(list(codec.decode(Latents(dressed, bent))))
    labels.append("the first of either together")
    page.illustration(
        "first_frames",
        image_grid(rows, row_labels=labels),
        alt="First frames along dimensions of both codes",
        caption=f"The two dimensions of either code of the first frame, Z_0, that change it most, from one end to the "
        f"other (the appearance within ±{reach[0]:g}, the geometry within ±{reach[1]:g}), all others at zero; the "
        "geometry's on the appearance of an unseen clip; and the first of either at once (the paper's Figure 17).",
    )


def _edited_shapes(page: MovingPage, results: VideoResults) -> None:
    """Figure 18: other first geometric codes, with the motion of the clip."""
    page.heading("The shape edited, the expression kept")
    rows = np.flatnonzero(results.moving)
    rows = rows[evenly_spread(len(rows), _PLAYED)]
    latents = of_clips(results.latents, rows)
    subjects = results.labels["subject"]
    shown, labels = [results.codec.decode(latents)], ["reconstruction"]
    for person in np.unique(subjects)[:2]:
        donor = np.flatnonzero(subjects == person)[0]
        geometry = latents.geometry
        shape = np.repeat(np.asarray(results.latents.geometry.first[donor])[None], len(rows), axis=0)
        shown.append(results.codec.decode(latents._replace(geometry=geometry._replace(first=shape))))
        labels.append(f"shape of {'one' if len(shown) == 2 else 'another'} person")
    page.clips(
        "edited_shapes",
        [list(clips) for clips in shown],
        row_labels=labels,
        column_labels=[results.clip_name(row) for row in rows],
        alt="Clips with other shapes and the same motion, playing",
        caption="The geometric code of the first frame, Z_0, replaced by that of other people's clips; the hidden "
        "states s_t and the appearance stay: another shape of face, the same expression (the paper's Figure 18).",
    )
    page.illustration(
        "edited_shapes_frames",
        image_grid([_stills(clips[0]) for clips in shown], row_labels=labels),
        alt="Frames of a clip with other shapes",
        caption=f"Frames of the first of them ({results.clip_name(rows[0])}).",
    )


def _bent_grids(page: MovingPage, results: VideoResults) -> None:
    """Figure 19: one unseen clip of every expression with the grid that its geometry bends."""
    page.heading("How expressions bend the picture")
    rows = _one_of_each(results)
    latents = of_clips(results.latents, rows)
    places = evenly_spread(results.clips.shape[1], _STILLS)
    flows = results.codec.flow(results.codec.codes(latents).geometry)[:, places]
    frames = results.predictions[rows][:, places]
    page.illustration(
        "bent_grids",
        image_grid(
            [
                [bent_grid(frame, flow) for frame, flow in zip(clip, bends, strict=True)]
                for clip, bends in zip(frames, flows, strict=True)
            ],
            row_labels=[results.clip_name(row) for row in rows],
            column_labels=[f"frame {place + 1}" for place in places],
        ),
        alt="Grids bent over the frames of clips",
        caption="Reconstructed clips of one unseen person, with the canonical grid bent as the geometry bends the "
        "appearance (the paper's Figure 19).",
    )


def _new_clips(page: MovingPage, results: VideoResults) -> None:
    page.heading("New clips")
    frames = 2 * results.clips.shape[1]
    prior = results.codec.prior(2 * _PLAYED, frames)
    usual = as_distributed(of_clips(prior, np.arange(_PLAYED)), results.latents)
    beyond = of_clips(prior, np.arange(_PLAYED, 2 * _PLAYED))
    page.clips(
        "new_clips",
        [list(results.codec.decode(latents)) for latents in (usual, beyond)],
        row_labels=["latents as the clips have them", "latents of the prior"],
        seconds=2 * SECONDS,
        alt="Clips of people and performances that nobody filmed, playing",
        caption=f"Clips of {frames} frames, twice as long as those that were learned from. Their latents are drawn "
        "from a normal distribution with the mean and covariance of those of the unseen clips, or from the prior, "
        "N(0, I): where chains are short, latents are narrower than it, and its draws go beyond what was learned.",
    )


def _tables(page: MovingPage, results: VideoResults) -> None:
    numbers = results.numbers
    page.heading("Results")
    rows = []
    for name, label in MODEL_NAMES.items():
        if name in numbers:
            error = numbers[name]["squared_error"]
            rows.append(
                {
                    "model": label,
                    "squared error per frame": f"{error['mean']:.2f} ± {error['std']:.2f}",
                    "median": error["median"],
                    "latents per clip": numbers["latents_per_clip"][name],
                    "steps": numbers[name]["steps"],
                    "minutes": numbers[name]["seconds"] / 60,
                }
            )
    caption = f"Squared error of every frame of {numbers['clips']['test']} unseen clips, summed over pixels and "
    caption += "channels in [0, 1], mean and standard deviation over frames."
    if "image" in numbers:
        caption += (
            " The generator of single frames learns from the same frames, as many of them in a step and in as many "
            "steps; its latents per frame are rounded up, so that it has no fewer per clip. The dynamic generator's "
            f"error is the lower one in {100 * numbers['frames_won']:.1f}% of the frames."
        )
    page.table(rows, decimals={"median": 2, "minutes": 1}, caption=caption)
    for name, whose in (("recombination", "unseen"), ("recombination_of_training_clips", "training")):
        if name in numbers:
            _recombination_table(page, numbers[name], whose)
    page.paragraph(
        "The paper learns from MUG and shows by pictures alone that recombined clips take after their donors "
        "(Figures 15 and 16), and that shapes can be edited (Figure 18); it gives no numbers for either."
    )
    page.heading("Training")
    for name, curve in results.rows.items():
        page.illustration(
            f"curves_{name}",
            training_curves(curve),
            alt=f"Curves of the {MODEL_NAMES[name]}",
            caption=f"The {MODEL_NAMES[name]}: training {'clips' if name == 'dynamic' else 'frames'} with the latents "
            "of their chains, unseen ones with latents inferred from the prior on; errors are per frame.",
        )


def _recombination_table(page: MovingPage, scores: Mapping[str, Any], whose: str) -> None:
    rows = []
    if "level" in scores:
        level = scores["level"]
        mean = level["recombined"]["mean"]
        rows.append(
            {
                "measure": "level of the geometry donor's expression, mean r",
                "recombined clips": mean,
                "reconstructions": level["reconstructed"]["mean"],
                "real clips": level["real"]["mean"],
                "floor": level["donors"]["mean"] if "donors" in level else None,
                "bar": f"above {LEVEL_BAR}: {_met(mean > LEVEL_BAR)}",
            }
        )
        rows.append(
            {
                "measure": "the same, median r",
                "recombined clips": level["recombined"]["median"],
                "reconstructions": level["reconstructed"]["median"],
                "real clips": level["real"]["median"],
                "floor": level["donors"]["median"] if "donors" in level else None,
            }
        )
        if "closer" in level:
            rows.append(
                {
                    "measure": "level nearer to the geometry donor's than to the appearance donor's",
                    "recombined clips": f"{100 * level['closer']:.1f}%",
                    "floor": "50.0%",
                }
            )
    donor = scores["donor"]
    bar = f"above {100 * DONOR_BAR:.0f}%: {_met(donor['person'] > DONOR_BAR)}"
    for kind, what in (("person", "the appearance donor's person"), ("clip", "the appearance donor's very clip")):
        rows.append(
            {
                "measure": f"nearest colours are those of {what}",
                "recombined clips": f"{100 * donor[kind]:.1f}%",
                "real clips": f"{100 * donor[f'halves_{kind}']:.1f}%",
                "floor": f"{100 * donor[f'chance_{kind}']:.1f}%",
                "bar": bar if kind == "person" else None,
            }
        )
    rows.append(
        {
            "measure": "nearest colours are those of the geometry donor's person",
            "recombined clips": f"{100 * donor['geometry_person']:.1f}%",
        }
    )
    page.table(
        rows,
        columns=["measure", "recombined clips", "reconstructions", "real clips", "floor", "bar"],
        caption=f"{scores['pairs']} recombinations of {whose} clips, of different people with different expressions"
        f"{', with the latents of their chains' if whose == 'training' else ''}. Levels are read by a ridge regression "
        "for each expression, on the differences of pixels to the clip's first frame, fitted to the real training "
        "clips; what it reads of the real clips is the ceiling, and how alike the two donors' true levels are is the "
        "floor. Colours are a clip's means over time in 4 x 4 cells, compared with those of all the clips; the ceiling "
        "compares the halves of real clips, the floor is chance.",
    )


def _met(reached: bool) -> str:
    return "met" if reached else "missed"


def _origin(codec: VideoCodec) -> Latents:
    return Latents(
        np.zeros(codec.appearance_latents, np.float32),
        np.zeros(codec.geometry_latents, np.float32),
    )


def _stills(clip: np.ndarray) -> list[np.ndarray]:
    return list(clip[evenly_spread(len(clip), _STILLS)])


def _spread(results: VideoResults, count: int) -> np.ndarray:
    """Clips of several people and expressions, as many as asked for or as there are."""
    people = np.unique(results.labels["subject"])
    chosen: list[int] = []
    for i in range(min(count, len(people))):
        own = np.flatnonzero((results.labels["subject"] == people[i]) & results.moving)
        chosen.extend(own[i % len(own) :][:1] if len(own) else ())
    rest = np.setdiff1d(evenly_spread(len(results.clips), count), chosen)
    return np.array([*chosen, *rest][:count])


def _one_of_each(results: VideoResults) -> np.ndarray:
    """One person's clips, one of each expression; of other people for what this one does not show."""
    if "expression" not in results.labels:
        return evenly_spread(len(results.clips), _PLAYED)
    expressions, subjects = results.labels["expression"], results.labels["subject"]
    people, counts = np.unique(subjects, return_counts=True)
    person = people[np.argmax(counts)]
    return np.array(
        [
            rows[np.argmax(subjects[rows] == person)]
            for rows in (np.flatnonzero(expressions == e) for e in np.unique(expressions))
        ]
    )
