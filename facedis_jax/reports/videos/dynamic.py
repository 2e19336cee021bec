"""The page of a dynamic generator (sections 4 and 5.6): clips that play, and what was measured."""

from collections.abc import Mapping
from typing import Any

from facedis_jax.data.videos.clip_set import ClipSet
from facedis_jax.reports.page import Fact
from facedis_jax.reports.sections import (
    mean_and_deviation,
    run_details,
    show_training_curves,
    training_time,
    verdict,
)
from facedis_jax.reports.videos.figures import (
    show_edited_shapes,
    show_new_clips,
    show_recombinations,
    show_reconstructions,
    show_traversals,
    show_warped_grids,
)
from facedis_jax.reports.videos.moving_page import MovingPage
from facedis_jax.reports.videos.results import VideoResults
from facedis_jax.training import RunFolder

MODEL_NAMES = {"dynamic": "dynamic deformable generator", "image": "deformable generator of single frames"}
REQUIRED_LEVEL, REQUIRED_DONOR = 0.8, 0.95  # mean r of expression levels; share of clips that resemble their donor


def write_video_report(
    folder: RunFolder, clip_set: ClipSet, results: VideoResults, *, command: str, traversal_range: tuple[float, float]
) -> None:
    """Writes one self-contained HTML page, and every figure on it as a PNG or GIF.

    Args:
      folder: of the run.
      clip_set: the data.
      results: what was measured.
      command: what made the run, as it is typed.
      traversal_range: of the appearance and of the geometric code, in standard deviations of the prior.
    """
    numbers = results.numbers
    shape = clip_set.size, clip_set.size, f"{clip_set.frames} frames"
    subtitle = run_details(clip_set.name, shape, numbers["dynamic"], numbers["device"])
    page = MovingPage("Motion, shape and appearance of videos apart", subtitle, folder.figures)
    _glance(page, numbers)
    page.command(command)
    show_reconstructions(page, results)
    show_recombinations(page, results)
    show_traversals(page, results, traversal_range)
    show_edited_shapes(page, results)
    show_warped_grids(page, results)
    show_new_clips(page, results)
    page.heading("Results")
    _error_table(page, numbers)
    for name, whose in (("recombination", "unseen"), ("recombination_of_training_clips", "training")):
        if name in numbers:
            _recombination_table(page, numbers[name], whose)
    if "folds" in numbers:
        page.paragraph(
            f"Flows of unseen frames fold in {100 * numbers['folds']:.2f}% of the pixels (Jacobian determinant of the "
            f"warp at most 0); their bending energy is {numbers['bending_energy']:.4f} per pixel."
        )
    page.paragraph(
        "The paper trains on MUG. It shows in images that recombined clips resemble their donors (Figures 15 and 16) "
        "and that shapes can be edited (Figure 18), and gives no numbers for either."
    )
    page.heading("Training")
    for name, curve in results.rows.items():
        label, examples = MODEL_NAMES[name], "clips" if name == "dynamic" else "frames"
        caption = f"The {label}: training {examples} with the latents of their chains, test {examples} with latents "
        caption += "inferred from the prior; errors are per frame."
        show_training_curves(page, curve, model=label, caption=caption, name=f"curves_{name}")
    page.write(folder.report_file)


def _glance(page: MovingPage, numbers: Mapping[str, Any]) -> None:
    page.heading("At a glance")
    note = ""
    if "image" in numbers:
        lower = 100 * numbers["share_of_frames_with_lower_error"]
        note = f"single frames: {numbers['image']['squared_error']['mean']:.2f}; lower in {lower:.0f}% of the frames"
    facts = [Fact("Squared error per unseen frame", f"{numbers['dynamic']['squared_error']['mean']:.2f}", note)]
    scores = numbers.get("recombination", {})
    if "level" in scores:
        level = scores["level"]
        note = f"mean r with the geometry donor's; of real clips {level['real']['mean']:.2f}"
        if "donors" in level:
            note += f", between both donors {level['donors']['mean']:.2f}"
        of_training = numbers.get("recombination_of_training_clips", {}).get("level")
        if of_training is not None:
            note += f"; of recombined training clips {of_training['recombined']['mean']:.2f}"
        facts.append(Fact("Expression level of recombined clips", f"{level['recombined']['mean']:.2f}", note))
    if "donor" in scores:
        donor = scores["donor"]
        note = f"by the clip of nearest colours; by chance {100 * donor['chance_person']:.0f}%"
        facts.append(Fact("Recombined clips that resemble their donor", f"{100 * donor['person']:.1f}%", note))
    page.facts(facts)


def _error_table(page: MovingPage, numbers: Mapping[str, Any]) -> None:
    caption = f"Squared error of every frame of {numbers['clips']['test']} unseen clips, summed over pixels and "
    caption += "channels in [0, 1], mean and standard deviation over frames."
    if "image" in numbers:
        caption += (
            " The generator of single frames is trained on the same frames, with as many of them in a step and as many "
            "steps; its latents per frame are rounded up, so that it has no fewer per clip. The dynamic generator's "
            f"error is the lower one in {100 * numbers['share_of_frames_with_lower_error']:.1f}% of the frames."
        )
    page.table(
        [
            {
                "model": label,
                "squared error per frame": mean_and_deviation(numbers[name]["squared_error"]),
                "median": numbers[name]["squared_error"]["median"],
                "latents per clip": numbers["latents_per_clip"][name],
                **training_time(numbers[name]),
            }
            for name, label in MODEL_NAMES.items()
            if name in numbers
        ],
        decimals={"median": 2, "minutes": 1},
        caption=caption,
    )


def _recombination_table(page: MovingPage, scores: Mapping[str, Any], whose: str) -> None:
    rows = _level_rows(scores["level"]) if "level" in scores else []
    if "person" in scores:
        rows = rows + _person_rows(scores["person"])
    page.table(
        rows + _donor_rows(scores["donor"]),
        columns=["measure", "recombined clips", "reconstructions", "real clips", "by chance", "required"],
        caption=f"{scores['pairs']} recombinations of {whose} clips, of different people with different "
        f"expressions{', with the latents of their chains' if whose == 'training' else ''}. Levels are read by one "
        "ridge regression for each expression, from the differences of pixels to the clip's first frame, fitted to "
        "the real training clips; r is the correlation with the true level over the frames of a clip. Colours are a "
        "clip's means over time in 4 x 4 cells, compared with those of all the clips. Real clips show what a measure "
        "reaches without a generator: levels read from real clips, and second halves of real clips among first "
        "halves. People are told by a linear classifier that is fitted to frames of the real clips (for real clips: to "
        "two in three of them). By chance: the correlation between the true levels of both donors, and how frequent "
        "a person or clip is.",
    )


def _level_rows(level: Mapping[str, Any]) -> list[dict[str, object]]:
    """How well the level of the geometry donor's expression is kept."""
    rows: list[dict[str, object]] = [
        {
            "measure": f"level of the geometry donor's expression, {statistic} r",
            "recombined clips": level["recombined"][statistic],
            "reconstructions": level["reconstructed"][statistic],
            "real clips": level["real"][statistic],
            "by chance": level["donors"][statistic] if "donors" in level else None,
        }
        for statistic in ("mean", "median")
    ]
    met = level["recombined"]["mean"] > REQUIRED_LEVEL
    rows[0]["required"] = f"above {REQUIRED_LEVEL}: {verdict(met)}"
    if "closer" in level:
        rows.append(
            {
                "measure": "level closer to the geometry donor's than to the appearance donor's",
                "recombined clips": f"{100 * level['closer']:.1f}%",
                "by chance": "50.0%",
            }
        )
    return rows


def _person_rows(person: Mapping[str, float]) -> list[dict[str, object]]:
    """Whom a classifier of people, fitted to real frames, sees in recombined clips."""
    rows: list[dict[str, object]] = [
        {
            "measure": f"classified as the {donor} donor's person",
            "recombined clips": f"{100 * person[donor]:.1f}%",
            "by chance": f"{100 * person['chance']:.1f}%",
        }
        for donor in ("appearance", "geometry")
    ]
    if person["real"] == person["real"]:
        rows[0]["real clips"] = f"{100 * person['real']:.1f}%"
    return rows


def _donor_rows(donor: Mapping[str, float]) -> list[dict[str, object]]:
    """How often the clip of the nearest colours is one of the appearance donor."""
    rows: list[dict[str, object]] = [
        {
            "measure": f"nearest colours are those of {what}",
            "recombined clips": f"{100 * donor[kind]:.1f}%",
            "real clips": f"{100 * donor[f'halves_{kind}']:.1f}%",
            "by chance": f"{100 * donor[f'chance_{kind}']:.1f}%",
        }
        for kind, what in (("person", "the appearance donor"), ("clip", "the appearance donor's clip itself"))
    ]
    met = donor["person"] > REQUIRED_DONOR
    rows[0]["required"] = f"above {100 * REQUIRED_DONOR:.0f}%: {verdict(met)}"
    rows.append(
        {
            "measure": "nearest colours are those of the geometry donor",
            "recombined clips": f"{100 * donor['geometry_person']:.1f}%",
        }
    )
    return rows
