from pathlib import Path

import pytest

from facedis_jax.data.faces.patterns import parse_pattern, pattern_files
from facedis_jax.errors import InputError


def found(folder, pattern, *paths):
    """What a pattern finds in a folder of such files: courses with frames, and how many other meshes."""
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    files, others = pattern_files(folder, parse_pattern(pattern))
    return [(*file.course, file.frame) for file in files], len(others)


@pytest.mark.parametrize(
    ("pattern", "paths", "expected"),
    [
        ("{subject}/{expression}/{frame}.ply", ["ann/joy/2.ply", "ann/joy/10.ply"], ["ann joy  2", "ann joy  10"]),
        ("{expression}/{subject}/{frame}", ["joy/ann/a1.ply", "joy/ann/a2.OBJ"], ["ann joy  a1", "ann joy  a2"]),
        ("{subject}_{expression}_{frame:digits}.obj", ["a_lips_up_007.OBJ"], ["a lips_up  007"]),
        ("{subject:letters}{expression}.ply", ["ann01.ply", "bob7x.ply"], ["ann 01  ", "bob 7x  "]),
        ("{subject}/{frame}.ply", ["ann/1.ply", "Bob/1.PLY"], ["ann   1", "Bob   1"]),
        ("{subject}.obj", ["10.obj", "9.obj"], ["9   ", "10   "]),
        ("{subject}/*/{expression}.ply", ["ann/x/joy.ply", "ann/y/fear.ply"], ["ann fear  ", "ann joy  "]),
        (
            "**/{subject:digits}/m/*_{expression}.obj",
            ["a/b/1/m/1_mouth_o.obj", "2/m/3_x.obj"],
            ["1 mouth_o  ", "2 x  "],
        ),
        ("{subject}/{expression}/{expression}.{frame}.ply", ["a/joy/joy.01.ply", "a/joy/sad.02.ply"], ["a joy  01"]),
        ("./Scans\\{subject:letters}?{frame}.*", ["scans/ann-1.wrl", "scans/ann-2.ply.gz"], ["ann   1", "ann   2"]),
        ("{subject}.ply", ["ann.ply.gz", "ann.ply", "bob.obj"], ["ann   "]),
        # A place in time that does not matter, and sessions in which a frame comes twice.
        ("{subject}/{expression}/*_{frame}.ply", ["a/joy/x9_1.ply", "a/joy/y8_2.ply"], ["a joy  1", "a joy  2"]),
        (
            "{subject}/*/{expression}_*_{frame}.ply",
            ["a/s1/joy_x_1.ply", "a/s1/joy_y_2.ply", "a/s2/joy_z_1.ply"],
            ["a joy s1 1", "a joy s1 2", "a joy s2 1"],
        ),
        ("{subject}/*.ply", ["ann/p.ply", "ann/q.ply"], ["ann  p ", "ann  q "]),
        ("[{subject}] (1+1).ply", ["[ann] (1+1).ply", "ann.ply"], ["ann   "]),
    ],
)
def test_what_paths_say(tmp_path, pattern, paths, expected):
    courses, _ = found(tmp_path, pattern, *paths)
    assert [" ".join(course) for course in courses] == expected


def test_other_meshes_are_told_and_clutter_is_not(tmp_path):
    paths = ["ann/joy/1.ply", "template.obj", "ann/joy/._1.ply", "ann/joy/notes.txt", "ann/joy/deep/1.ply"]
    courses, others = found(tmp_path, "{subject}/{expression}/{frame}.ply", *paths)
    assert (len(courses), others) == (1, 1)
    assert found(tmp_path, "**/{subject}/{expression}/{frame}.ply")[1] == 1


def test_a_face_in_several_formats_counts_once(tmp_path):
    files, _ = pattern_files(_touched(tmp_path, "a/1.obj", "a/1.ply", "a/2.obj"), parse_pattern("{subject}/{frame}"))
    assert [file.path.name for file in files] == ["1.ply", "2.obj"]


def _touched(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        ("{person}/{frame}.ply", r"pattern: expected placeholders \{subject\}, .*, found \{person\}"),
        ("{subject}/{frame:number}.ply", r"found \{frame:number\}"),
        ("{subject}/{}.ply", r"found \{\}"),
        ("{subject/{frame}.ply", r"found a single \{"),
        ("subject}/{frame}.ply", r"found a single \}"),
        ("{expression}/{frame}.ply", r"expected \{subject\} in it, as in \{subject\}/"),
        ("", "expected a pattern for paths in the folder"),
        ("/data/{subject}.ply", "expected a pattern for paths in the folder"),
        ("{subject}" + "*" * 30, "expected at most 20 wildcards, found 30"),
        ("{subject}" + "x" * 600, "expected a pattern"),
    ],
)
def test_what_is_no_pattern_is_refused(pattern, line):
    with pytest.raises(InputError, match=line) as told:
        parse_pattern(pattern)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 300
