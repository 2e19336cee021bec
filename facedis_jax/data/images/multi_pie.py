"""CMU Multi-PIE (Gross et al., 2010): 337 people seen by many cameras at once, under 20 lights."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facedis_jax.data.images.lists import list_images
from facedis_jax.data.images.prepared import ImageBuilder, ImageSettings, survey_images
from facedis_jax.data.prepared_pixels import PixelSurvey
from facedis_jax.data.refusals import STRICT, Refusals, refuse_lost_folders
from facedis_jax.data.splits import first_by_hash, split_indices
from facedis_jax.errors import InputError
from facedis_jax.formats.images import open_images

WHERE_TO_GET_IT = "https://www.cs.cmu.edu/afs/cs/project/PIE/MultiPie/Multi-Pie/Home.html"

VIEWS = {
    "11_0": -90,
    "12_0": -75,
    "09_0": -60,
    "08_0": -45,
    "13_0": -30,
    "14_0": -15,
    "05_1": 0,
    "05_0": 15,
    "04_1": 30,
    "19_0": 45,
    "20_0": 60,
    "01_0": 75,
    "24_0": 90,
}
"""Degrees of yaw by camera, positive where the nose points to the viewer's right (the camera sees the person's right
cheek). The two cameras above head height, 08_1 and 19_1, have no yaw here and are not used."""

_LAYOUT = f"Multi-PIE's 001_01_01_051_06.png (order it at {WHERE_TO_GET_IT})"
_STEM = re.compile(r"(\d{3})_(\d\d)_(\d\d)_(\d\d)(\d)_(\d\d)(?:_.*)?")
_HIGH_CAMERAS = ("08_1", "19_1")


@dataclass(frozen=True)
class MultiPieSettings(ImageSettings):
    """See `ImageSettings`.

    Attributes:
      views: which cameras, by their degrees in `VIEWS`; the paper's five by default (section 5.1).
      max_test_per_view: how many images to keep of each view of the test half, chosen as by `max_test`; all if None.
      illuminations: which lights, by their numbers 0 to 19; all if None. 7 is the flash in front.
    """

    views: tuple[int, ...] = (-30, -15, 0, 15, 30)
    max_test_per_view: int | None = None
    illuminations: tuple[int, ...] | None = None


class MultiPie(ImageBuilder):
    """Multi-PIE from `<subject>_<session>_<recording>_<camera>_<light>.png` anywhere in the manual directory.

    Images with other names, such as those of high resolution, are skipped.

    | images | people | pixels | train / test |
    | --- | --- | --- | --- |
    | 755,370 | 337 | 640 x 480, RGB; or cropped before to one size | 303 / 34 people |

    Camera 05_1 is written 051 in a name. The label "expression" indexes "<session>_<recording>", since recordings of
    one number show other expressions in other sessions (01_01 neutral, 01_02 smile, 02_02 surprise, 02_03 squint, 03_02
    smile, 03_03 disgust, 04_02 scream).
    """

    name = "multi_pie_images"
    settings_type = MultiPieSettings
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Order Multi-PIE at {WHERE_TO_GET_IT}."

    @classmethod
    def survey(cls, folder: Path, settings: MultiPieSettings, refusals: Refusals = STRICT) -> PixelSurvey:
        unknown = set(settings.views) - set(VIEWS.values())
        if unknown or not settings.views:
            found = ", ".join(map(str, sorted(unknown))) or "none"
            raise InputError("views", f"degrees of Multi-PIE's cameras ({', '.join(map(str, VIEWS.values()))})", found)
        paths, subjects, recordings, views = [], [], [], []
        seen: dict[str, Path] = {}
        other_names = 0
        refuse_lost_folders(folder, refusals)
        for path in list_images(folder, _LAYOUT, deep=True):
            stem = _STEM.fullmatch(path.stem)
            if not stem:
                other_names += 1
                continue
            camera = f"{stem[4]}_{stem[5]}"
            with refusals.of(path.relative_to(folder).as_posix()):
                if camera not in VIEWS and camera not in _HIGH_CAMERAS:
                    raise InputError(path, f"a camera of Multi-PIE ({', '.join(VIEWS)})", camera)
                if path.stem in seen:
                    raise InputError(path, "each image once", f"it in {seen[path.stem].parent} too")
                seen[path.stem] = path
                wanted = settings.illuminations is None or int(stem[6]) in settings.illuminations
                if VIEWS.get(camera) in settings.views and wanted:
                    paths.append(path)
                    subjects.append(stem[1])
                    recordings.append(f"{stem[2]}_{stem[3]}")
                    views.append(VIEWS[camera])
        if not paths:
            wanted_views = ", ".join(map(str, settings.views))
            raise InputError(
                folder, f"{_LAYOUT} in it, of the views {wanted_views} and the lights asked for", f"none{refusals.note}"
            )
        people, expressions = sorted(set(subjects)), sorted(set(recordings))
        names = [path.relative_to(folder).as_posix() for path in paths]
        is_test = np.zeros(len(names), bool)
        is_test[split_indices("subject", [f"{subject}/" for subject in subjects])[1]] = True
        tested = len({subjects[i] for i in np.flatnonzero(is_test)})
        is_train, most = ~is_test, settings.max_test_per_view
        if most is not None and most < 1:
            raise InputError("max_test_per_view", "at least 1", str(most))
        for view in settings.views:
            rows = np.flatnonzero(is_test & (np.array(views) == view))
            is_test[np.setdiff1d(rows, first_by_hash(rows, names, most))] = False
        return survey_images(
            "multi_pie",
            open_images(paths, settings.framing),
            names,
            is_test,
            settings,
            is_train=is_train,
            labels={
                "subject": np.array([people.index(subject) for subject in subjects], np.int32),
                "expression": np.array([expressions.index(recording) for recording in recordings], np.int32),
                "view": np.array(views, np.float32),
            },
            classes={"subject": tuple(people), "expression": tuple(expressions)},
            refused=refusals.lines,
            data_files={
                "images": f"{len(names):,}",
                "split": f"by person: {tested} of {len(people)} are tested",
                "not used": f"{len(seen) - len(names):,} of other views or lights, {other_names:,} with other names",
            },
        )
