"""CK+ (Lucey et al., 2010): 593 sequences of 123 people, from a neutral face to the peak of an expression."""

import re
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from facedis_jax.data.images.layouts import beside, folders_in, shown, subfolders
from facedis_jax.data.images.lists import list_images, read_lines
from facedis_jax.data.images.prepared import ImageBuilder, ImageSettings, survey_images
from facedis_jax.data.prepared_pixels import PixelSurvey
from facedis_jax.data.refusals import STRICT, Refusals, refuse_lost_folders
from facedis_jax.data.splits import split_indices
from facedis_jax.errors import InputError
from facedis_jax.formats.files import list_files
from facedis_jax.formats.images import open_images

WHERE_TO_GET_IT = "https://www.jeffcohn.net/resources/"

EXPRESSIONS = ("unlabelled", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
"""A sequence's emotion by its number in the folder `Emotion`; 266 of the 593 have none."""

_LAYOUT = f"CK+'s S005/001/S005_001_00000001.png (ask for it at {WHERE_TO_GET_IT})"
_EMOTIONS = "Emotion"
_IMAGE_FOLDERS = ("cohn-kanade-images", "extended-cohn-kanade-images")
_EMOTION_FOLDERS = ("emotion", "emotion_labels", "emotions")
_SIZES = ((640, 490), (640, 480))


@dataclass(frozen=True)
class CkPlusSettings(ImageSettings):
    """See `ImageSettings`; grey by default, as most of CK+ is."""

    channels: int = 1


class CkPlus(ImageBuilder):
    """CK+ from `cohn-kanade-images/<subject>/<sequence>/*.png` in the manual directory, and `Emotion` beside it.

    | images | pixels | train / test |
    | --- | --- | --- |
    | 10,708 | 640 x 490 and 640 x 480, most of them grey; or all cropped to one size | 110 / 13 people |

    All frames of a sequence have its emotion for their "expression", though the first is neutral. The folder
    `Emotion` may lie in `Emotion_labels`, or around the manual directory; without it there is no such label.
    """

    name = "ck_plus_images"
    settings_type = CkPlusSettings
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Ask for CK+ at {WHERE_TO_GET_IT}."

    @classmethod
    def survey(cls, folder: Path, settings: CkPlusSettings, refusals: Refusals = STRICT) -> PixelSurvey:
        frames = _find_frames(folder)
        lists = _find_emotions(folder, frames)
        emotion: dict[str, int] = {}
        for path in lists:
            with refusals.of(shown(path, folder)):
                emotion[_sequence(path)] = -1
                emotion[_sequence(path)] = _emotion(path)
        refuse_lost_folders(frames, refusals)
        paths = []
        for path in list_images(frames, _LAYOUT, deep=True):
            with refusals.of(path.relative_to(frames).as_posix()):
                sequence = path.relative_to(frames).parent.as_posix()
                start = f"{sequence.replace('/', '_')}_".lower()
                if sequence.count("/") != 1 or not path.stem.lower().startswith(start):
                    raise InputError(path, f"a name as in {_LAYOUT}", path.relative_to(frames).as_posix())
                if emotion.get(_sequence(path), 0) >= 0:
                    paths.append(path)
        if not paths:
            raise InputError(frames, f"{_LAYOUT} in it", f"none{refusals.note}")
        names = [path.relative_to(frames).as_posix() for path in paths]
        subjects = [name.split("/")[0].upper() for name in names]
        people = sorted(set(subjects))
        labels = {"subject": np.array([people.index(subject) for subject in subjects], np.int32)}
        classes: dict[str, tuple[str, ...]] = {"subject": tuple(people)}
        sequences = {_sequence(path) for path in paths}
        labelled = len(sequences & emotion.keys())
        data_files = {"expression": f"none ({_EMOTIONS} is not there)"}
        where = shown(lists[0].parents[2], folder) if lists else ""
        if lists and not labelled:
            data_files = {"expression": f"none ({where} has none of these sequences)"}
        if labelled:
            labels["expression"] = np.array([emotion.get(_sequence(path), 0) for path in paths], np.int32)
            classes["expression"] = EXPRESSIONS
            data_files = {"expression": f"{where}, of {labelled:,} of {len(sequences):,} sequences"}
        is_test = np.zeros(len(names), bool)
        is_test[split_indices("subject", [f"{subject}/" for subject in subjects])[1]] = True
        tested = len({subjects[i] for i in np.flatnonzero(is_test)})
        images = open_images(paths, settings.framing, usual_sizes=_SIZES)
        return survey_images(
            "ck_plus",
            images,
            names,
            is_test,
            settings,
            lists=lists,
            labels=labels,
            classes=classes,
            refused=refusals.lines,
            data_files={
                "images": f"{len(names):,} in {shown(frames, folder)}",
                "split": f"by person: {tested} of {len(people)} are tested",
                **data_files,
            },
        )


def _find_frames(folder: Path) -> Path:
    """The folder of the people's folders."""
    for found in folders_in(folder) if folder.is_dir() else ():
        name = found.resolve().name if found == folder else found.name
        if name.lower() in _IMAGE_FOLDERS and _has_people(found):
            return found
    return folder if folder.is_dir() and _has_people(folder) else folder / _IMAGE_FOLDERS[0]


def _has_people(folder: Path) -> bool:
    return any(re.fullmatch(r"s\d{3}", found.name, re.IGNORECASE) for found in list(folders_in(folder, 1))[1:])


def _find_emotions(folder: Path, frames: Path) -> list[Path]:
    """The files of emotions, in a folder beside the images or around them."""
    inside = [parent for parent in frames.parents if parent.is_relative_to(folder)]
    for root in [*inside, *beside(folder / "..", _IMAGE_FOLDERS)]:
        # What lies around the folder may be anybody's.
        with suppress(InputError):
            for emotions in subfolders(root, _EMOTION_FOLDERS):
                if lists := list_files(emotions, ("_emotion.txt",), depth=4):
                    return lists
    return []


def _sequence(path: Path) -> str:
    """The sequence that a file is of, by its folders."""
    return "/".join(path.parts[-3:-1]).upper()


def _emotion(path: Path) -> int:
    """The number in a file of the folder `Emotion`, written as 3.0000000e+00."""
    text = " ".join(islice(filter(str.strip, read_lines(path)), 2)).strip()
    try:
        return [str(float(number)) for number in range(len(EXPRESSIONS))].index(str(float(text)))
    except ValueError:
        raise InputError(path, f"a number from 0 to {len(EXPRESSIONS) - 1}", repr(text[:100])) from None
