"""Figures of a dynamic generator's page: clips that play, and their frames side by side."""

from collections.abc import Mapping, Sequence

import numpy as np

from facedis_jax.data.splits import evenly_spaced
from facedis_jax.evaluation.images import strongest_dimensions, to_unit_range, zero_latents
from facedis_jax.inference.codecs import frame_codec
from facedis_jax.inference.videos import match_distribution, recombine, select_clips
from facedis_jax.models import Latents
from facedis_jax.reports.images.figures import Traversal, grid_overlays, image_grid
from facedis_jax.reports.videos.moving_page import SECONDS, MovingPage
from facedis_jax.reports.videos.results import VideoResults, clip_of_each_expression, varied_clips

_FRAMES_SHOWN = 8  # of a clip, side by side
_CLIPS_SHOWN = 6  # side by side


def show_reconstructions(page: MovingPage, results: VideoResults) -> None:
    """Adds unseen clips and their reconstructions by each generator."""
    page.heading("Reconstructions of unseen clips")
    rows = varied_clips(results, _CLIPS_SHOWN)
    shown = {"unseen clip": to_unit_range(results.clips[rows]), "dynamic generator": results.predictions[rows]}
    if results.frame_predictions is not None:
        shown["generator of single frames"] = results.frame_predictions[rows]
    names = [results.clip_name(row) for row in rows]
    _show_clips(
        page,
        ("reconstructions", "reconstruction_frames"),
        shown,
        names,
        what="unseen clips and their reconstructions",
        caption="Unseen clips, and their reconstructions by each generator; both have as many latents per clip.",
    )


def show_recombinations(page: MovingPage, results: VideoResults) -> None:
    """Adds Figures 15 and 16, each if there are the two people that it needs."""
    people = np.unique(results.labels["subject"])
    if len(people) < 2:
        return
    page.heading("Appearance and geometry recombined")
    for number, pair in zip((15, 16), (people[:2], people[2:4]), strict=True):
        if len(pair) == 2:
            _show_recombined_people(page, results, pair, number)


def _show_recombined_people(page: MovingPage, results: VideoResults, pair: np.ndarray, number: int) -> None:
    """Figure 15 or 16: clips of two people, and both ways to recombine them."""
    own = [np.flatnonzero((results.labels["subject"] == person) & results.moving) for person in pair]
    count = min(3, *map(len, own))
    if not count:
        return
    # With the same expression of both people, one could not tell whose expression a recombined clip shows.
    one, other = own[0][evenly_spaced(len(own[0]), count)], np.roll(own[1], -1)[evenly_spaced(len(own[1]), count)]
    first, second = select_clips(results.latents, one), select_clips(results.latents, other)
    shown = {
        "(a) one person": to_unit_range(results.clips[one]),
        "(b) another person": to_unit_range(results.clips[other]),
        "appearance of (a), geometry of (b)": results.codec.decode(recombine(first, second)),
        "appearance of (b), geometry of (a)": results.codec.decode(recombine(second, first)),
    }
    names = [f"{results.clip_name(i)} / {results.clip_name(j)}" for i, j in zip(one, other, strict=True)]
    _show_clips(
        page,
        (f"recombined_{number}", f"recombined_{number}_frames"),
        shown,
        names,
        what="clips of two people, and their appearance and geometry recombined",
        caption="Unseen clips of two people, and clips of the appearance of one with the shape and the motion of the "
        f"other, both ways. Columns: the expressions of (a) / (b) (the paper's Figure {number}).",
    )


def show_traversals(page: MovingPage, results: VideoResults, traversal_range: tuple[float, float]) -> None:
    """Adds Figure 17: traversals of the strongest dimensions of the codes of first frames.

    Args:
      page: to add to.
      results: of the model.
      traversal_range: of the appearance and of the geometric code, in standard deviations of the prior.
    """
    page.heading("Traversals of the first frame's codes")
    codec = frame_codec(results.codec)
    origin = zero_latents(results.codec)
    # The geometric code is shown on the appearance of a clip, because the mean of the prior need not be a face.
    appearance = np.asarray(results.latents.appearance.first[varied_clips(results, 1)[0]])
    bases = {"appearance": origin, "geometry": origin._replace(appearance=appearance)}
    traversals = [
        Traversal(which, base, int(dimension), span)
        for (which, base), span in zip(bases.items(), traversal_range, strict=True)
        for dimension in strongest_dimensions(codec, which, base, span, 2)
    ]
    rows = {f"{each.which} {each.dimension}": each.images(codec) for each in traversals}
    codes = []
    for which, latents in (("appearance", codec.appearance_latents), ("geometry", codec.geometry_latents)):
        strongest = next(each for each in traversals if each.which == which)
        codes.append(np.zeros((len(strongest.values), latents), np.float32))
        codes[-1][:, strongest.dimension] = strongest.values
    rows["the strongest of both together"] = list(codec.decode(Latents(*codes)))
    page.illustration(
        "first_frames",
        image_grid(list(rows.values()), row_labels=list(rows)),
        alt="First frames along dimensions of both codes",
        caption="The two dimensions of each code of the first frame, Z_0, that change it most, from minus to plus "
        f"{traversal_range[0]:g} (appearance) and {traversal_range[1]:g} (geometry, on the appearance of an unseen "
        "clip) standard deviations of the prior, all others at zero; last row: the strongest dimension of each at once "
        "(the paper's Figure 17).",
    )


def show_edited_shapes(page: MovingPage, results: VideoResults) -> None:
    """Adds Figure 18: clips whose first geometric code is replaced by that of another clip."""
    page.heading("Edited shapes")
    rows = np.flatnonzero(results.moving)
    rows = rows[evenly_spaced(len(rows), _CLIPS_SHOWN)]
    latents = select_clips(results.latents, rows)
    subjects = results.labels["subject"]
    shown = {"reconstruction": results.codec.decode(latents)}
    for person, label in zip(np.unique(subjects)[:2], ("shape of one person", "shape of another"), strict=False):
        donor = np.flatnonzero(subjects == person)[0]
        shape = np.repeat(np.asarray(results.latents.geometry.first[donor])[None], len(rows), axis=0)
        shown[label] = results.codec.decode(latents._replace(geometry=latents.geometry._replace(first=shape)))
    _show_clips(
        page,
        ("edited_shapes", "edited_shapes_frames"),
        shown,
        [results.clip_name(row) for row in rows],
        what="clips with other shapes and the same motion",
        caption="Reconstructed clips, and the same with the geometric code of the first frame, Z_0, of another "
        "person's clip. The hidden states s_t and the appearance stay: the shape of the face should change and its "
        "expression should not (the paper's Figure 18).",
    )


def show_warped_grids(page: MovingPage, results: VideoResults) -> None:
    """Adds Figure 19: one unseen clip of each expression under the grid that its flows warp."""
    page.heading("Warped grids")
    rows = clip_of_each_expression(results, _CLIPS_SHOWN)
    frames = evenly_spaced(results.frames, _FRAMES_SHOWN)
    flows = results.codec.flow(results.codec.codes(select_clips(results.latents, rows)).geometry)[:, frames]
    clips = results.predictions[rows][:, frames]
    page.illustration(
        "warped_grids",
        image_grid(
            [grid_overlays(clip, own) for clip, own in zip(clips, flows, strict=True)],
            row_labels=[results.clip_name(row) for row in rows],
            column_labels=[f"frame {frame + 1}" for frame in frames],
        ),
        alt="Grids warped over the frames of clips",
        caption="Reconstructed clips of one unseen person, under the canonical grid warped by the flow of each frame "
        "(the paper's Figure 19).",
    )


def show_new_clips(page: MovingPage, results: VideoResults) -> None:
    """Adds clips of sampled latents, twice as long as those of the training."""
    page.heading("Sampled clips")
    frames = 2 * results.frames
    prior = results.codec.prior(2 * _CLIPS_SHOWN, frames)
    fitted = match_distribution(select_clips(prior, np.arange(_CLIPS_SHOWN)), results.latents)
    standard = select_clips(prior, np.arange(_CLIPS_SHOWN, 2 * _CLIPS_SHOWN))
    page.clips(
        "new_clips",
        [list(results.codec.decode(latents)) for latents in (fitted, standard)],
        row_labels=["fitted normal distribution", "prior"],
        seconds=2 * SECONDS,
        alt="Sampled clips, playing",
        caption=f"Clips of {frames} frames, twice as many as in training. Latents are drawn from the normal "
        "distribution with the mean and covariance of the unseen clips' latents, and from the prior, N(0, I). After "
        "short chains the latents are narrower than the prior, so that its samples lie outside of what was learned.",
    )


def _show_clips(
    page: MovingPage,
    names: tuple[str, str],
    shown: Mapping[str, np.ndarray],
    columns: Sequence[str],
    *,
    what: str,
    caption: str,
) -> None:
    """Adds clips that play, and frames of those in the first column.

    Args:
      page: to add to.
      names: of the files of both figures.
      shown: clips [columns, frames, size, size, channels] in [0, 1], by the label of their row.
      columns: labels.
      what: what the clips are of, for the description of both figures.
      caption: below the clips.
    """
    name, name_of_frames = names
    page.clips(
        name,
        [list(clips) for clips in shown.values()],
        row_labels=list(shown),
        column_labels=columns,
        alt=f"Playing: {what}",
        caption=caption,
    )
    frames = [clips[0][evenly_spaced(len(clips[0]), _FRAMES_SHOWN)] for clips in shown.values()]
    page.illustration(
        name_of_frames,
        image_grid(frames, row_labels=list(shown)),
        alt=f"Frames: {what}",
        caption=f"Frames of the clips in the first column ({columns[0]}).",
    )
