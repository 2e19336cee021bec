"""The page of a dynamic generator: its clips as they play, and what was measured of it."""

from collections.abc import Mapping
from typing import Any

from facedis_jax.data.videos.clip_set import ClipSet
from facedis_jax.reports.figures import training_curves
from facedis_jax.reports.page import Fact
from facedis_jax.reports.videos.figures import (
    show_basis_functions,
    show_bent_grids,
    show_edited_shapes,
    show_new_clips,
    show_recombinations,
    show_reconstructions,
)
from facedis_jax.reports.videos.moving_page import MovingPage
from facedis_jax.reports.videos.results import VideoResults
from facedis_jax.training import RunFolder

MODEL_NAMES = {"dynamic": "dynamic deformable generator", "image": "deformable generator of single frames"}
LEVEL_BAR, DONOR_BAR = 0.8, 0.95


def write_video_report(
    folder: RunFolder, clip_set: ClipSet, results: VideoResults, *, command: str, traversal_range: tuple[float, float]
) -> None:
    """Writes one self-contained HTML page, and every picture on it as a PNG or GIF.

    Args:
      folder: of the run.
      clip_set: the data.
      results: what was measured.
      command: what made the run, as it is typed.
      traversal_range: how far dimensions of the appearance and of the geometric code are moved.
    """
    numbers = results.numbers
    steps, minutes = numbers["dynamic"]["steps"], numbers["dynamic"]["seconds"] / 60
    subtitle = f"{clip_set.name}, {clip_set.size} x {clip_set.size} x {clip_set.frames} frames"
    subtitle += f", {steps} steps in {minutes:.1f} min on {numbers['device']}"
    page = MovingPage("Motion, shape and appearance of videos apart", subtitle, folder.figures)
    _glance(page, results)
    page.command(command)
    show_reconstructions(page, results)
    show_recombinations(page, results)
    show_basis_functions(page, results, traversal_range)
    show_edited_shapes(page, results)
    show_bent_grids(page, results)
    show_new_clips(page, results)
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
