"""CK+ (Lucey et al., 2010): 593 sequences of 123 people, from a neutral face to the peak of an expression."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from facedis_jax.data.images.lists import list_images, read_lines
from facedis_jax.data.images.prepared import ImageBuilder, ImageSettings, survey_images
from facedis_jax.data.prepared_pixels import PixelSurvey
from facedis_jax.data.refusals import STRICT, Refusals
from facedis_jax.data.splits import split_indices
from facedis_jax.errors import InputError
from facedis_jax.formats.files import list_files
from facedis_jax.formats.images import open_images

WHERE_TO_GET_IT = "https://www.jeffcohn.net/resources/"

EXPRESSIONS = ("unlabelled", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
"""A sequence's emotion by its number in the folder `Emotion`; 266 of the 593 have none."""

_LAYOUT = f"CK+'s S005/001/S005_001_00000001.png (ask for it at {WHERE_TO_GET_IT})"
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

    All frames of a sequence have its emotion for their "expression", though the first is neutral. Without the folder
    `Emotion` there is no such label.
    """

    name = "ck_plus_images"
    settings_type = CkPlusSettings
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Ask for CK+ at {WHERE_TO_GET_IT}."

    @classmethod
    def survey(cls, folder: Path, settings: CkPlusSettings, refusals: Refusals = STRICT) -> PixelSurvey:
        frames = folder / "cohn-kanade-images"
        paths = []
        for path in list_images(frames, _LAYOUT, deep=True):
            with refusals.of(path.relative_to(frames).as_posix()):
                sequence = path.relative_to(frames).parent.as_posix()
                if sequence.count("/") != 1 or not path.stem.startswith(sequence.replace("/", "_") + "_"):
                    raise InputError(path, f"a name as in {_LAYOUT}", path.relative_to(frames).as_posix())
                paths.append(path)
        if not paths:
            raise InputError(frames, f"{_LAYOUT} in it", f"none{refusals.note}")
        names = [path.relative_to(frames).as_posix() for path in paths]
        people = sorted({name.split("/")[0] for name in names})
        labels = {"subject": np.array([people.index(name.split("/")[0]) for name in names], np.int32)}
        classes: dict[str, tuple[str, ...]] = {"subject": tuple(people)}
        emotions = folder / "Emotion"
        lists = list_files(emotions, ("_emotion.txt",), depth=2) if emotions.is_dir() else []
        if lists:
            emotion = {path.relative_to(emotions).parent.as_posix(): _emotion(path) for path in lists}
            labels["expression"] = np.array([emotion.get(name.rsplit("/", 1)[0], 0) for name in names], np.int32)
            classes["expression"] = EXPRESSIONS
        is_test = np.zeros(len(names), bool)
        is_test[split_indices("subject", names)[1]] = True
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
        )


def _emotion(path: Path) -> int:
    """The number in a file of the folder `Emotion`, written as 3.0000000e+00."""
    text = " ".join(islice(filter(str.strip, read_lines(path)), 2)).strip()
    try:
        return [str(float(number)) for number in range(len(EXPRESSIONS))].index(str(float(text)))
    except ValueError:
        raise InputError(path, f"a number from 0 to {len(EXPRESSIONS) - 1}", repr(text[:100])) from None
