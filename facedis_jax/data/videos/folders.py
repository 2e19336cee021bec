"""Videos by subject and expression: MUG (Aifanti et al., 2010) and others as folders of frames, or as video files.

Under a subject there may be folders of sessions, as MUG has them: `<subject>/session0/<expression>/<take>`. The name of
such a take is `<subject>/<expression>/session0/<take>`.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from facedis_jax.data.images.lists import list_images
from facedis_jax.data.prepared_pixels import PixelSurvey
from facedis_jax.data.refusals import STRICT, Refusals, refuse_lost_folders
from facedis_jax.data.splits import first_by_hash
from facedis_jax.data.videos.prepared import ClipBuilder, ClipSettings
from facedis_jax.errors import InputError
from facedis_jax.formats.files import file_digest, is_clutter, list_files, read_bytes, unwrap
from facedis_jax.formats.images import IMAGE_SUFFIXES, open_images
from facedis_jax.formats.videos import VIDEO_SUFFIXES, read_video

WHERE_TO_GET_MUG = "https://mug.ee.auth.gr/fed/"

_FRAMES = "<subject>/<expression>/<take>/img_0000.jpg"
_FILES = "<subject>/<expression>/<take>.mp4"
_STEM = re.compile(r"img_(\d{1,9})", re.IGNORECASE)
_DEEPEST_TAKE = 3  # folders around it: a subject's, a session's, an expression's
_SESSION = re.compile(r"session[ _-]?\d+", re.IGNORECASE)


class FrameFolders(ClipBuilder):
    """Videos as frames `<subject>/<expression>/<take>/img_NNNN.jpg` in the manual directory, as MUG has them.

    MUG shows 86 people in six emotions, 896 x 896 pixels of head and shoulders. The paper cuts out the faces first,
    with OpenFace (section 5.6); here `crop` keeps the middle.

    The numbers of a take's frames must be consecutive, from any number on. All frames of a take have one size; takes
    may differ in it where `crop` allows. Other image formats are read too.
    """

    name = "frame_folders"
    VERSION = tfds.core.Version("1.1.0")  # from 1.1.0 on with what is see-through shown over white
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Ask for MUG at {WHERE_TO_GET_MUG}."

    @classmethod
    def home(cls, folder: Path) -> Path:
        return unwrap(
            folder, lambda home: any(_is_take(home, path.parent) for path in list_files(home, IMAGE_SUFFIXES))
        )

    @classmethod
    def survey(cls, folder: Path, settings: ClipSettings, refusals: Refusals = STRICT) -> PixelSurvey:
        frames: dict[str, list[Path]] = {}
        refuse_lost_folders(folder, refusals, depth=_DEEPEST_TAKE)
        for path in list_images(folder, _FRAMES, deep=True):
            with refusals.of(path.relative_to(folder).as_posix()):
                frames.setdefault(_take_name(folder, path.parent, path, _FRAMES), []).append(path)
        there = {_take_name(folder, take, take, _FRAMES): take for take in _take_folders(folder)}
        takes: dict[str, list[Path]] = {}
        for name in _of_expressions(sorted(frames.keys() | there.keys()), settings):
            with refusals.of(name):
                if name not in frames:
                    raise InputError(there[name], "frames img_0000.jpg and so on in it", "none")
                take = frames[name][0].parent
                paths = _in_order(take, frames[name])
                settings.cutting.frame_indices(take, len(paths))
                takes[name] = paths
        names = list(takes)
        rules: Counter[str] = Counter()

        def read(index: int) -> tuple[np.ndarray, bytes]:
            paths = takes[names[index]]
            return _read_frames(paths[0].parent, paths, settings, rules)

        def content(index: int) -> bytes:
            paths = takes[names[index]]
            return _digest(read_bytes(paths[i]) for i in _wanted(paths[0].parent, len(paths), settings)[0])

        return replace(_survey(folder, takes, read, content, settings, refusals), rules=rules)


class VideoFiles(ClipBuilder):
    """Videos as files `<subject>/<expression>/<take>.mp4` in the manual directory.

    MP4, QuickTime, AVI, WebM, Matroska, MPEG program and transport streams, ASF, FLV and Ogg, with any codec that
    FFmpeg decodes. Sound is skipped. Where the clip ends before the file does, the rest of the file is not checked.
    """

    name = "video_files"
    VERSION = tfds.core.Version("1.1.0")  # from 1.1.0 on in the shape, and at the times, in which frames are shown
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put video files in folders, by their subjects and expressions."

    @classmethod
    def home(cls, folder: Path) -> Path:
        return unwrap(folder, lambda home: any(_is_take(home, path) for path in list_files(home, VIDEO_SUFFIXES)))

    @classmethod
    def survey(cls, folder: Path, settings: ClipSettings, refusals: Refusals = STRICT) -> PixelSurvey:
        files: dict[str, list[Path]] = {}
        refuse_lost_folders(folder, refusals, depth=_DEEPEST_TAKE)
        for path in _list_videos(folder):
            with refusals.of(path.relative_to(folder).as_posix()):
                take = _take_name(folder, path.with_suffix(""), path, _FILES)
                if take in files:
                    raise InputError(path, "each take once", f"{files[take][0].name} too")
                files[take] = [path]
        takes = {name: files[name] for name in _of_expressions(sorted(files), settings)}
        names, cutting = list(takes), settings.cutting

        def read(index: int) -> tuple[np.ndarray, bytes]:
            (path,) = takes[names[index]]
            frames = read_video(path, settings.framing, most=cutting.span if cutting.cut == "first" else None)
            return frames[cutting.frame_indices(path, len(frames))], file_digest(path)

        def content(index: int) -> bytes:
            return file_digest(takes[names[index]][0])

        return _survey(folder, takes, read, content, settings, refusals)


def _list_videos(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(folder, f"a folder with {_FILES}", "no such folder")
    paths = list_files(folder, VIDEO_SUFFIXES)
    if not paths:
        raise InputError(folder, f"{_FILES} in it", f"no video ({', '.join(VIDEO_SUFFIXES)})")
    return paths


def _take_name(folder: Path, take: Path, path: Path, layout: str) -> str:
    """`<subject>/<expression>/<take>`, with a session's folder before the take.

    Args:
      folder: of the set.
      take: a take's folder, or its file without its ending.
      path: the file or folder that is named in errors.
      layout: what was expected of the path.
    """
    parts = take.relative_to(folder).parts
    if len(parts) == 4 and _SESSION.fullmatch(parts[1]):
        subject, session, *others = parts
        return "/".join([subject, others[0], session, others[1]])
    if len(parts) != 3 or _SESSION.fullmatch(parts[1]):
        raise InputError(path, f"a path as {layout}", path.relative_to(folder).as_posix())
    return "/".join(parts)


def _is_take(folder: Path, take: Path) -> bool:
    """Whether a take's folder or file lies where takes do."""
    parts = take.relative_to(folder).parts
    in_session = len(parts) > 1 and bool(_SESSION.fullmatch(parts[1]))
    return len(parts) == 3 + in_session


def _take_folders(folder: Path) -> list[Path]:
    """All folders that lie where takes do, also those without a frame."""
    three = [path for path in folder.glob("*/*/*") if path.is_dir()]
    of_sessions = [path for path in three if _SESSION.fullmatch(path.parent.name)]
    deeper = [path for session in of_sessions for path in session.glob("*") if path.is_dir()]
    found = sorted({*three, *deeper} - {*of_sessions})
    return [path for path in found if not any(is_clutter(part) for part in path.relative_to(folder).parts)]


def _in_order(take: Path, paths: Iterable[Path]) -> list[Path]:
    """The frames of a take in the order of their numbers; raises an InputError where one is missing."""
    numbered: dict[int, Path] = {}
    for path in paths:
        stem = _STEM.fullmatch(path.stem)
        if not stem:
            raise InputError(path, "a name as img_0000.jpg", path.name)
        if int(stem[1]) in numbered:
            raise InputError(path, "each frame once", f"{numbered[int(stem[1])].name} too")
        numbered[int(stem[1])] = path
    first, last = min(numbered), max(numbered)
    if last - first >= len(numbered):
        missing = next(number for number in range(first, last) if number not in numbered)
        expected = f"frames {first} to {last} without a gap"
        raise InputError(take, expected, f"none of number {missing}")
    return [numbered[number] for number in sorted(numbered)]


def _read_frames(
    take: Path, paths: Sequence[Path], settings: ClipSettings, rules: Counter[str]
) -> tuple[np.ndarray, bytes]:
    wanted, places = _wanted(take, len(paths), settings)
    images = open_images([paths[i] for i in wanted], settings.framing, rules=rules)
    frames, contents = zip(*map(images.read, range(len(wanted))), strict=True)
    return np.stack(frames)[places], _digest(contents)


def _wanted(take: Path, count: int, settings: ClipSettings) -> tuple[np.ndarray, np.ndarray]:
    """The frames of a take that are in its clips, each once, and for each frame of each clip which of these it is."""
    indices = settings.cutting.frame_indices(take, count)
    wanted = np.unique(indices)
    return wanted, np.searchsorted(wanted, indices)


def _digest(contents: Iterable[bytes]) -> bytes:
    """The sha256 of several files."""
    digest = hashlib.sha256()
    for data in contents:
        digest.update(f"{len(data)}\0".encode() + data)
    return digest.digest()


def _of_expressions(names: Sequence[str], settings: ClipSettings) -> list[str]:
    """The takes of the expressions that are asked for."""
    there = sorted({name.split("/")[1] for name in names})
    unknown = [expression for expression in settings.expressions if expression not in there]
    if unknown:
        raise InputError("expressions", f"some of {', '.join(there)}", ", ".join(unknown))
    return [name for name in names if not settings.expressions or name.split("/")[1] in settings.expressions]


def _survey(
    folder: Path,
    takes: Mapping[str, Sequence[Path]],
    read: Callable[[int], tuple[np.ndarray, bytes]],
    content: Callable[[int], bytes],
    settings: ClipSettings,
    refusals: Refusals,
) -> PixelSurvey:
    """The survey of takes, sorted by name: people, expressions and halves follow from the names."""
    names = list(takes)
    if not names:
        raise InputError(folder, "takes that can be used", f"none{refusals.note}")
    subject, expression = ([name.split("/")[i] for name in names] for i in (0, 1))
    people = sorted(set(subject))
    expressions = list(settings.expressions or sorted(set(expression)))
    tested = _tested(people, settings, refusals)
    is_test = np.array([each in tested for each in subject])
    train = first_by_hash(np.flatnonzero(~is_test), names, settings.max_train)
    test = first_by_hash(np.flatnonzero(is_test), names, settings.max_test)
    return PixelSurvey(
        title=f"videos of {folder.resolve().name}",
        names=names,
        train=train,
        test=test,
        files=[path for i in np.union1d(train, test) for path in takes[names[i]]],
        read=read,
        content=content,
        labels={
            "subject": np.array([people.index(each) for each in subject], np.int32),
            "expression": np.array([expressions.index(each) for each in expression], np.int32),
        },
        classes={"subject": tuple(people), "expression": tuple(expressions)},
        refused=refusals.lines,
        data_files={
            "takes": f"{len(names):,} of {len(people)} people",
            "split": f"by person: {len(tested)} of {len(people)} are tested",
        },
    )


def _tested(people: Sequence[str], settings: ClipSettings, refusals: Refusals) -> set[str]:
    """The people who are tested."""
    if len(people) < 2:
        raise InputError("subjects", "people to train on and others to test", f"{people[0]} alone{refusals.note}")
    unknown = [name for name in settings.test_subjects if name not in people]
    if unknown:
        raise InputError("test_subjects", f"some of {', '.join(people)}", ", ".join(unknown) + refusals.note)
    count = -(-len(people) // 10) if settings.num_test_subjects is None else settings.num_test_subjects
    tested = settings.test_subjects or [people[i] for i in first_by_hash(np.arange(len(people)), people, count)]
    if len(set(tested)) == len(people):
        raise InputError("test_subjects", f"1 to {len(people) - 1} of {len(people)} people", "all of them")
    return set(tested)
