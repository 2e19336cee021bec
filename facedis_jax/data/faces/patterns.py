"""Whose face a mesh file holds, and in which expression and frame, by a pattern for its path."""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from facedis_jax.errors import InputError
from facedis_jax.formats.files import list_files, natural_key
from facedis_jax.formats.meshes import MESH_SUFFIXES, mesh_ending, mesh_stem

PLACEHOLDERS = ("subject", "expression", "frame")
"""What a pattern may ask of a path; "subject" is needed."""

EXAMPLE = "{subject}/{expression}/{frame}.ply"

# What a placeholder may be restricted to, after a colon.
_SORTS = {"digits": r"[0-9]+", "letters": r"[^\W\d_]+"}
_TOKENS = re.compile(r"\{([^{}]*)\}|(\*\*/)|(\*)|(\?)|([{}])|([^{}*?]+)")
_MOST_WILDCARDS, _LONGEST = 20, 500


@dataclass(frozen=True)
class MeshFile:
    """A mesh file, and what its path says.

    Attributes:
      path: the file.
      subject, expression, frame: parts of the path; empty where the pattern does not ask for them.
      take: tells several of one subject and expression apart, by what stands in place of wildcards; empty where there
        is one.
    """

    path: Path
    subject: str
    expression: str = ""
    frame: str = ""
    take: str = ""

    @property
    def course(self) -> tuple[str, str, str]:
        """What the frames of one sequence have in common."""
        return self.subject, self.expression, self.take


@dataclass(frozen=True)
class Pattern:
    """A pattern that was understood.

    Attributes:
      text: as it was given.
      asks: the placeholders in it.
      expression: of a path in a folder, with slashes and without its mesh ending.
      endings: of the files, in small letters.
      depth: how many folders to enter; None for all.
    """

    text: str
    asks: frozenset[str]
    expression: re.Pattern[str]
    endings: tuple[str, ...]
    depth: int | None

    @property
    def has_frames(self) -> bool:
        """Whether faces are frames of sequences, and not single scans."""
        return "frame" in self.asks


def parse_pattern(text: str, where: str = "pattern") -> Pattern:
    """The pattern that a text stands for.

    Placeholders `{subject}`, `{expression}` and `{frame}` stand for a part of a folder's or file's name each, as short
    as it can be, and may be restricted, `{frame:digits}` or `{subject:letters}`; one that comes again stands for the
    same. `*` and `?` stand for what does not matter in a name, `**/` for any folders. Capitals of all else do not
    matter. A mesh ending is that of the files, also compressed; with none, or `.*`, all that are read.

    Args:
      text: relative to the data's folder.
      where: what it is called in errors.

    Raises:
      InputError: an unknown placeholder, braces that do not close, or none for the subject.

    Example:
      >>> pattern = parse_pattern("{subject}_{expression}_{frame:digits}.obj")
      >>> pattern.expression.fullmatch("anna_lips_up_012").groupdict()
      {'subject': 'anna', 'expression': 'lips_up', 'frame': '012'}
    """
    plain = text.replace("\\", "/").removeprefix("./")
    if not plain or len(plain) > _LONGEST or plain.startswith("/"):
        raise InputError(where, f"a pattern for paths in the folder, such as {EXAMPLE}", repr(text[:80]))
    ending = mesh_ending(plain) or (".*" if plain.endswith(".*") else "")
    body, parts, asks, wildcards = plain[: len(plain) - len(ending)], [], set[str](), 0
    for name, folders, star, one, brace, letters in _TOKENS.findall(body):
        if letters:
            parts.append(re.escape(letters))
        elif folders or star or one:
            wildcards += 1
            parts.append(f"(?P<_{wildcards}>{'(?:[^/]+/)*?' if folders else '[^/]*?' if star else '[^/]'})")
        else:
            parts.append(_placeholder(where, name, asks, brace))
    if "subject" not in asks:
        raise InputError(where, f"{{subject}} in it, as in {EXAMPLE}", repr(text))
    if wildcards > _MOST_WILDCARDS:
        raise InputError(where, f"at most {_MOST_WILDCARDS} wildcards", str(wildcards))
    endings = tuple(suffix for suffix in MESH_SUFFIXES if ending in ("", ".*") or suffix.startswith(ending.lower()))
    return Pattern(
        text,
        frozenset(asks),
        re.compile("".join(parts), re.IGNORECASE | re.DOTALL),
        endings,
        None if "**/" in body else body.count("/"),
    )


def _placeholder(where: str, text: str, asks: set[str], brace: str) -> str:
    """The regular expression of what stands in braces; adds it to those that are asked for."""
    name, colon, sort = text.partition(":")
    if brace or name not in PLACEHOLDERS or (colon and sort not in _SORTS):
        known = ", ".join(f"{{{each}}}" for each in PLACEHOLDERS)
        found = f"a single {brace}" if brace else f"{{{text}}}"
        raise InputError(where, f"placeholders {known}, or restricted, {{frame:digits}}, {{subject:letters}}", found)
    if name in asks:
        return f"(?P={name})"
    asks.add(name)
    return f"(?P<{name}>{_SORTS.get(sort, '[^/]+?')})"


def pattern_files(folder: Path, pattern: Pattern) -> tuple[list[MeshFile], list[Path]]:
    """The meshes of a folder by a pattern, by subject, expression, take and frame as a person would count them.

    Of a face that lies there in several formats, the first of `MESH_SUFFIXES` counts.

    Returns:
      The files, and other meshes that the pattern does not fit.

    Raises:
      InputError: where a folder cannot be read.
    """
    files: dict[str, tuple[int, MeshFile, tuple[str, ...]]] = {}
    others = []
    for path in list_files(folder, MESH_SUFFIXES, depth=pattern.depth):
        ending = mesh_ending(path) or ""
        stem = path.relative_to(folder).as_posix()[: -len(ending)]
        match = pattern.expression.fullmatch(stem) if ending in pattern.endings else None
        if match is None:
            others.append(path)
            continue
        found = {name: text for name, text in match.groupdict().items() if not name.startswith("_")}
        wildcards = tuple(text.strip("/") for name, text in match.groupdict().items() if name.startswith("_"))
        rank = MESH_SUFFIXES.index(ending)
        if stem not in files or rank < files[stem][0]:
            files[stem] = rank, MeshFile(path, **found), wildcards
    return _with_takes([(file, wildcards) for _, file, wildcards in files.values()]), others


def _with_takes(files: Sequence[tuple[MeshFile, tuple[str, ...]]]) -> list[MeshFile]:
    """The files in their order; where several would be one frame of a course, what wildcards stand for is its take."""
    courses: dict[tuple[str, str, str], list[tuple[MeshFile, tuple[str, ...]]]] = defaultdict(list)
    for file, wildcards in files:
        courses[file.course].append((file, wildcards))
    done = []
    for course in courses.values():
        if len({file.frame for file, _ in course}) == len(course):
            done += [file for file, _ in course]
            continue
        # The first of those that are not the same in all of them, and as many as it needs.
        differ = [i for i in range(len(course[0][1])) if len({wildcards[i] for _, wildcards in course}) > 1]
        for count in range(1, len(differ) + 1):
            takes = ["_".join(wildcards[i] for i in differ[:count]) for _, wildcards in course]
            if len({(take, file.frame) for take, (file, _) in zip(takes, course, strict=True)}) == len(course):
                break
        else:
            takes = [""] * len(course)
        done += [replace(file, take=take) for take, (file, _) in zip(takes, course, strict=True)]
    return sorted(done, key=_order)


def _order(file: MeshFile) -> tuple[object, ...]:
    return tuple(natural_key(part) for part in (*file.course, file.frame, mesh_stem(file.path)))


def none_fits(folder: Path, pattern: Pattern, others: Sequence[Path], shown: Callable[[Path], str]) -> InputError:
    """The error of a folder in which a pattern fits no file; it names two of those that are there."""
    here = list(others[:2]) or (list_files(folder)[:2] if folder.is_dir() else [])
    kinds = "" if pattern.endings == MESH_SUFFIXES else f" ({', '.join(pattern.endings)})"
    found = f"none, but {' and '.join(shown(path) for path in here)}" if here else "no file at all"
    if not folder.is_dir():
        found = "no such folder"
    return InputError(folder, f"meshes at {pattern.text}{kinds}", found)
