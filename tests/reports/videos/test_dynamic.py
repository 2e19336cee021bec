import io

import numpy as np
import pytest
from PIL import Image

from facedis_jax.data.videos.clip_set import ArrayClips, ClipSet, ClipSplit
from facedis_jax.evaluation.images import summary
from facedis_jax.evaluation.videos import frame_errors
from facedis_jax.inference.codecs import VideoCodec
from facedis_jax.models import DynamicLatents, Latents, Trajectory
from facedis_jax.reports.images import figures as image_figures
from facedis_jax.reports.videos import figures as video_pictures
from facedis_jax.reports.videos import moving_page as video_figures
from facedis_jax.reports.videos.dynamic import write_video_report
from facedis_jax.reports.videos.results import VideoResults
from facedis_jax.training import RunFolder
from tests.pages import ShownPage, check_figures, metric_rows

pytestmark = pytest.mark.usefixtures("small_figures")

SIZE, FRAMES = 8, 4
COMMAND = "python -m experiments.faces_video --preset tiny --note '<&>'"
RNG = np.random.default_rng(0)
APPEARANCE = RNG.normal(size=(3, SIZE, SIZE, 3)).astype(np.float32) / 10
EXPRESSIONS = ("happy", "neutral", "sad")


def states(noise):
    """The sum of the noise so far, zero at first."""
    first = np.zeros((len(noise), 1, noise.shape[-1]), np.float32)
    return np.concatenate([first, np.cumsum(noise, axis=1)], axis=1)


def codes(latents):
    return Latents(*(path.first[:, None] + states(path.noise) for path in latents))


def frames(codes):
    """Images warped by whole pixels."""
    shifts = np.round(codes.geometry[..., :2]).astype(int)
    images = np.clip(0.5 + np.tensordot(codes.appearance, APPEARANCE, 1), 0, 1)
    return np.stack(
        [
            np.stack([np.roll(image, (-dy, -dx), (0, 1)) for image, (dx, dy) in zip(clip, shift, strict=True)])
            for clip, shift in zip(images, shifts, strict=True)
        ]
    )


def prior(count, num_frames):
    def path(width):
        first, later = RNG.normal(size=(count, width)), RNG.normal(size=(count, num_frames - 1, width))
        return Trajectory(np.float32(first), np.float32(later))

    return DynamicLatents(path(3), path(2))


CODEC = VideoCodec(
    infer=lambda clips: None,
    decode=lambda latents: frames(codes(latents)),
    codes=codes,
    frames=frames,
    flow=lambda geometry: np.broadcast_to(geometry[..., None, None, :], (*geometry.shape[:2], SIZE, SIZE, 2)),
    prior=prior,
    appearance_latents=3,
    geometry_latents=2,
)


def results(*, people, labels, compare):
    """So many people, each in three clips."""
    count = 3 * people
    latents = prior(count, FRAMES)
    predictions, clips = CODEC.decode(latents), RNG.integers(256, size=(count, FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
    error = summary(frame_errors(clips, predictions))
    numbers = {"clips": {"train": 30, "test": count}, "frames": FRAMES, "device": "1 x cpu (cpu)"}
    numbers["latents_per_clip"] = {"dynamic": 285, "image": 304}
    for i, name in enumerate(("dynamic", "image") if compare else ("dynamic",)):
        numbers[name] = {"squared_error": {**error, "mean": 40.0 + i}, "steps": 9, "seconds": 60.0}
    if compare:
        numbers["share_of_frames_with_lower_error"] = 0.75
    known = {"subject": np.repeat(np.arange(people), 3)}
    if people > 1:
        donor = {"clip": 0.9, "person": 0.96, "geometry_person": 0.01, "chance_clip": 0.02, "chance_person": 0.1}
        scores = {"pairs": 7, "donor": {**donor, "halves_clip": 1.0, "halves_person": 1.0}}
        if labels:
            named = zip(("recombined", "reconstructed", "real", "donors"), (0.7, 0.85, 0.95, 0.3), strict=True)
            scores["level"] = {name: {"mean": r, "median": r + 0.02, "clips": 5} for name, r in named} | {"closer": 0.8}
            scores["person"] = {"appearance": 0.9, "geometry": 0.05, "real": 0.97, "chance": 0.1}
        numbers["recombination"] = scores
    if labels:
        known["expression"] = np.tile(np.arange(3), people)
        known["level"] = (known["expression"] != 1)[:, None] * np.linspace(0, 1, FRAMES, dtype=np.float32)
    return VideoResults(
        numbers=numbers,
        codec=CODEC,
        clips=clips,
        latents=latents,
        predictions=predictions,
        frame_predictions=predictions if compare else None,
        rows={name: metric_rows("squared_error", "energy_nats") for name in ("dynamic", "image") if name in numbers},
        labels=known,
        expressions=EXPRESSIONS if labels else (),
    )


def write(path, found):
    split = ClipSplit(ArrayClips(found.clips), [str(i) for i in range(len(found.clips))], found.labels)
    folder = RunFolder.open(path, {})
    clips = ClipSet("made-up people", split, split, (FRAMES, SIZE, SIZE, 3), "hash")
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in (
            (video_figures, "CELL", 16),
            (image_figures, "DISPLAY_SIZE", 16),
            (video_pictures, "_FRAMES_SHOWN", 3),
        ):
            patch.setattr(module, name, value)
        write_video_report(folder, clips, found, command=COMMAND, traversal_range=(3.0, 2.0))
    return folder, ShownPage(folder.report_file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write(tmp_path_factory.mktemp("full") / "run", results(people=4, labels=True, compare=True))


MOVING = {"reconstructions.gif", "edited_shapes.gif", "new_clips.gif"}
STILL = {
    "reconstruction_frames.png", "first_frames.png", "edited_shapes_frames.png", "warped_grids.png",
    "curves_dynamic.png",
}  # fmt: skip
OF_TWO = {"recombined_15.gif", "recombined_15_frames.png"}
OF_FOUR = {"recombined_16.gif", "recombined_16_frames.png"}


def names(folder):
    return {path.name for path in folder.figures.iterdir()}


def test_the_page_holds_every_figure_and_the_folder_has_them_as_files(written):
    folder, page = written
    assert check_figures(page, folder.figures) == MOVING | STILL | OF_TWO | OF_FOUR | {"curves_image.png"}


def test_new_clips_are_twice_as_long(written):
    data = (written[0].figures / "new_clips.gif").read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        # Frames that do not differ from the one before may be joined.
        assert FRAMES < image.n_frames <= 2 * FRAMES


RECOMBINED = ("measure", "recombined clips", "reconstructions", "real clips", "by chance", "required")


def test_the_page_names_its_command_and_its_data(written):
    _, page = written
    assert page.commands == [COMMAND]
    assert page.subtitle == "made-up people, 8 x 8 x 4 frames, 9 steps in 1.0 min on 1 x cpu (cpu)"


def test_numbers_on_the_page_are_those_of_the_results(written):
    _, page = written
    errors = page.table("model", "squared error per frame", "latents per clip")
    shown = [(row["squared error per frame"].split(" ± ")[0], row["latents per clip"]) for row in errors.rows]
    assert shown == [("40.00", "285"), ("41.00", "304")]
    (error, _), (level, _), (donor, _) = page.facts.values()
    assert (error, level, donor) == ("40.00", "0.70", "96.0%")
    level, median, closer, seen, unseen, person, clip, geometry = (
        list(row.values())[1:] for row in page.table(*RECOMBINED).rows
    )
    # The level misses its requirement, the donor's accuracy meets it.
    assert level == ["0.700", "0.850", "0.950", "0.300", "above 0.8: missed"]
    assert median == ["0.720", "0.870", "0.970", "0.320", "–"]
    assert closer == ["80.0%", "–", "–", "50.0%", "–"]
    assert seen == ["90.0%", "–", "97.0%", "10.0%", "–"]
    assert unseen == ["5.0%", "–", "–", "10.0%", "–"]
    assert person == ["96.0%", "–", "100.0%", "10.0%", "above 95%: met"]
    assert clip == ["90.0%", "–", "100.0%", "2.0%", "–"]
    assert geometry == ["1.0%", "–", "–", "–", "–"]


def test_of_clips_without_labels_only_what_needs_none(tmp_path):
    folder, page = write(tmp_path / "run", results(people=2, labels=False, compare=False))
    assert names(folder) == MOVING | STILL | OF_TWO
    assert [value for value, *_ in page.facts.values()] == ["40.00", "96.0%"]
    assert [row["required"] for row in page.table(*RECOMBINED).rows] == ["above 95%: met", "–", "–"]
    assert len(page.table("model", "squared error per frame").rows) == 1


def test_of_one_person_nothing_is_recombined(tmp_path):
    folder, page = write(tmp_path / "run", results(people=1, labels=True, compare=False))
    assert names(folder) == MOVING | STILL
    assert len(page.facts) == len(page.tables) == 1
