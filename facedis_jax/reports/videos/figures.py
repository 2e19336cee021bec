"""The pictures of a dynamic generator's page: clips as they play, and frames of them side by side."""

from collections.abc import Sequence

import numpy as np

from facedis_jax.data.splits import evenly_spaced
from facedis_jax.evaluation.images import strongest_dimensions, traversal
from facedis_jax.evaluation.videos import unit_pixels
from facedis_jax.inference.videos import VideoCodec, as_distributed, frame_codec, of_clips, recombined
from facedis_jax.models import Latents
from facedis_jax.reports.images.figures import bent_grid, image_grid
from facedis_jax.reports.videos.moving_page import SECONDS, MovingPage
from facedis_jax.reports.videos.results import VideoResults, clips_of_many, one_of_each

_STILLS = 8  # frames of a clip that are shown side by side
_PLAYED = 6  # clips side by side


def show_reconstructions(page: MovingPage, results: VideoResults) -> None:
    """Unseen clips beside what each generator makes of them."""
    page.heading("Unseen clips reconstructed")
    rows = clips_of_many(results, _PLAYED)
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
    _show_stills(
        page,
        "reconstruction_frames",
        shown,
        labels,
        alt="Frames of an unseen clip and of its reconstructions",
        caption=f"Frames of the first of them ({names[0]}).",
    )


def show_recombinations(page: MovingPage, results: VideoResults) -> None:
    """Figures 15 and 16, where there are people enough."""
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
    one, other = own[0][evenly_spaced(len(own[0]), count)], np.roll(own[1], -1)[evenly_spaced(len(own[1]), count)]
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
    _show_stills(
        page,
        f"recombined_{number}_frames",
        shown,
        labels,
        alt="Frames of two clips and of their recombinations",
        caption=f"Frames of the first column ({names[0]}).",
    )


def show_basis_functions(page: MovingPage, results: VideoResults, traversal_range: tuple[float, float]) -> None:
    """Figure 17, of the codes of first frames."""
    page.heading("What the dimensions of the first frame's codes do")
    codec = frame_codec(results.codec)
    base = _origin(results.codec)
    values = [np.linspace(-r, r, 10, dtype=np.float32) for r in traversal_range]
    rows, labels = [], []
    # A face at least, where the middle of all codes is none.
    row = clips_of_many(results, 1)[0]
    person = base._replace(appearance=np.asarray(results.latents.appearance.first[row]))
    for which, origin, steps, r in zip(
        ("appearance", "geometry"), (base, person), values, traversal_range, strict=True
    ):
        for k in strongest_dimensions(codec, which, origin, r, 2):
            rows.append(list(traversal(codec, which, origin, int(k), steps)))
            labels.append(f"{which} {k}")
    strongest = strongest_dimensions(codec, "geometry", person, traversal_range[1], 1)[0]
    bent = np.zeros((10, results.codec.geometry_latents), np.float32)
    bent[:, strongest] = values[1]
    dressed = np.zeros((10, results.codec.appearance_latents), np.float32)
    dressed[:, strongest_dimensions(codec, "appearance", base, traversal_range[0], 1)[0]] = values[0]
    rows.append(list(codec.decode(Latents(dressed, bent))))
    labels.append("the first of either together")
    page.illustration(
        "first_frames",
        image_grid(rows, row_labels=labels),
        alt="First frames along dimensions of both codes",
        caption="The two dimensions of either code of the first frame, Z_0, that change it most, from one end to the "
        f"other (the appearance within ±{traversal_range[0]:g}, the geometry within ±{traversal_range[1]:g}), all "
        "others at zero; the geometry's on the appearance of an unseen clip; and the first of either at once (the "
        "paper's Figure 17).",
    )


def show_edited_shapes(page: MovingPage, results: VideoResults) -> None:
    """Figure 18: other first geometric codes, with the motion of the clip."""
    page.heading("The shape edited, the expression kept")
    rows = np.flatnonzero(results.moving)
    rows = rows[evenly_spaced(len(rows), _PLAYED)]
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
    _show_stills(
        page,
        "edited_shapes_frames",
        shown,
        labels,
        alt="Frames of a clip with other shapes",
        caption=f"Frames of the first of them ({results.clip_name(rows[0])}).",
    )


def show_bent_grids(page: MovingPage, results: VideoResults) -> None:
    """Figure 19: one unseen clip of every expression with the grid that its geometry bends."""
    page.heading("How expressions bend the picture")
    rows = one_of_each(results, _PLAYED)
    latents = of_clips(results.latents, rows)
    places = evenly_spaced(results.clips.shape[1], _STILLS)
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


def show_new_clips(page: MovingPage, results: VideoResults) -> None:
    """Clips of latents that nobody had, twice as long as those that were learned from."""
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


def _origin(codec: VideoCodec) -> Latents:
    return Latents(
        np.zeros(codec.appearance_latents, np.float32),
        np.zeros(codec.geometry_latents, np.float32),
    )


def _show_stills(
    page: MovingPage,
    name: str,
    shown: Sequence[Sequence[np.ndarray] | np.ndarray],
    labels: Sequence[str],
    *,
    alt: str,
    caption: str,
) -> None:
    """Frames of the first clip of every row."""
    grid = image_grid([_stills(clips[0]) for clips in shown], row_labels=labels)
    page.illustration(name, grid, alt=alt, caption=caption)


def _stills(clip: np.ndarray) -> list[np.ndarray]:
    return list(clip[evenly_spaced(len(clip), _STILLS)])
