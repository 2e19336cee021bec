"""Which files a data folder holds: links, clutter, capitals, and folders that cannot be listed whole."""

from pathlib import Path

import pytest

from facedis_jax.data.images.layouts import find_file, folders_in
from facedis_jax.errors import InputError
from facedis_jax.formats.files import list_files, lost_folders, read_bytes, refuse_links_out, unwrap


def _listed(folder, *args, **kwargs):
    return [path.relative_to(folder).as_posix() for path in list_files(folder, *args, **kwargs)]


def _write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def test_files_are_known_by_endings_in_any_capitals_and_sorted_by_their_paths(tmp_path):
    _write(tmp_path, "b/2.ply", "b/1.PLY", "b.x/3.Ply", "a.ply", "a.plyx", "a.txt", "c/d/e.ply")
    assert _listed(tmp_path, (".ply",)) == ["a.ply", "b.x/3.Ply", "b/1.PLY", "b/2.ply", "c/d/e.ply"]
    assert _listed(tmp_path, (".ply",), depth=0) == ["a.ply"]
    assert _listed(tmp_path, (".ply",), depth=1) == ["a.ply", "b.x/3.Ply", "b/1.PLY", "b/2.ply"]
    assert len(_listed(tmp_path)) == 7


@pytest.mark.parametrize(
    "clutter",
    [
        "._face.ply",
        ".hidden/face.ply",
        "__MACOSX/face.ply",
        "__macosx/._face.ply",
        "person/@eaDir/face.ply",
        "#recycle/face.ply",
        "$RECYCLE.BIN/face.ply",
        "System Volume Information/face.ply",
        "lost+found/face.ply",
        ".dvc/cache/face.ply",
    ],
)
def test_what_systems_leave_behind_is_no_data(tmp_path, clutter):
    _write(tmp_path, clutter, "person/face.ply")
    assert _listed(tmp_path, (".ply",)) == ["person/face.ply"]


def test_links_are_followed_wherever_they_lead_and_nothing_vanishes(tmp_path):
    home, store = tmp_path / "data", tmp_path / "store"
    _write(home, "anna/1.ply")
    _write(store, "ab/cdef", "ben/1.ply", "ben/2.ply")
    (home / "anna/2.ply").symlink_to(store / "ab/cdef")
    (home / "ben").symlink_to(store / "ben")
    (home / "carl").symlink_to("anna")
    (home / "dora.ply").symlink_to("nowhere")
    assert _listed(home, (".ply",)) == [
        "anna/1.ply",
        "anna/2.ply",
        "ben/1.ply",
        "ben/2.ply",
        "carl/1.ply",
        "carl/2.ply",
        "dora.ply",
    ]
    with pytest.raises(InputError, match=r"dora\.ply: expected .*, found a link to nowhere: No such file"):
        read_bytes(home / "dora.ply")
    (tmp_path / "there").symlink_to("data")
    assert len(_listed(tmp_path / "there", (".ply",))) == 7


def test_links_to_folders_that_are_not_there_are_found(tmp_path):
    _write(tmp_path, "anna/1.ply", "anna/joy/face", "__MACOSX/ben")
    (tmp_path / "ben").symlink_to("/mnt/disk/ben")
    (tmp_path / "anna/pain").symlink_to("pain")
    (tmp_path / "anna/notes.txt").symlink_to("nowhere")
    (tmp_path / "carl").symlink_to("anna")
    found = [path.relative_to(tmp_path).as_posix() for path in lost_folders(tmp_path)]
    assert found == ["anna/pain", "ben", "carl/pain"]
    assert lost_folders(tmp_path, depth=0) == [tmp_path / "ben"]
    assert lost_folders(tmp_path / "nowhere") == []


def test_links_that_lead_back_are_entered_once(tmp_path):
    _write(tmp_path, "a/1.ply", "b/2.ply")
    (tmp_path / "a/up").symlink_to("..")
    (tmp_path / "a/b").symlink_to("../b")
    (tmp_path / "b/a").symlink_to("../a")
    assert set(_listed(tmp_path, (".ply",))) == {"a/1.ply", "a/b/2.ply", "b/2.ply", "b/a/1.ply"}


def test_links_of_all_folders_to_all_others_are_refused_and_do_not_hang(tmp_path):
    names = [f"{i:02d}" for i in range(12)]
    for name in names:
        (tmp_path / name).mkdir()
        for other in names:
            if other != name:
                (tmp_path / name / other).symlink_to(Path("..", other))
    with pytest.raises(InputError, match="ways to a folder, found more, by links"):
        list_files(tmp_path)


def test_links_out_are_found_where_they_lie(tmp_path):
    home = tmp_path / "data"
    _write(home, "a/1.ply")
    _write(tmp_path, "secret/2.ply")
    (home / "b").symlink_to("a")
    (home / ".hidden").symlink_to(tmp_path)
    refuse_links_out(home)
    (home / "a/out").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match=r"a/out: expected .*, found a link out of it to .*secret"):
        refuse_links_out(home)


def test_a_folder_that_cannot_be_listed_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="expected a folder that can be read, found No such file"):
        list_files(tmp_path / "missing")


def test_a_set_in_a_folder_of_its_own_is_found_unless_there_are_several(tmp_path):
    def has_face(home):
        return bool(list_files(home, (".ply",), depth=0))

    _write(tmp_path, "a/b/face.ply", "a/readme.txt", "__MACOSX/a/face.ply", ".git/config")
    assert unwrap(tmp_path, has_face) == tmp_path / "a" / "b"
    assert unwrap(tmp_path / "a" / "b", has_face) == tmp_path / "a" / "b"
    assert unwrap(tmp_path, lambda home: False) == tmp_path
    assert unwrap(tmp_path / "nowhere", has_face) == tmp_path / "nowhere"
    _write(tmp_path, "other/face.txt")
    assert unwrap(tmp_path, has_face) == tmp_path / "a" / "b"
    _write(tmp_path, "other/b/face.ply")
    with pytest.raises(InputError, match=r"expected the set in one folder, found 2, such as .*a/b and .*other/b"):
        unwrap(tmp_path, has_face)
    _write(tmp_path, *(f"{i}/face.txt" for i in range(10)))
    assert unwrap(tmp_path, has_face) == tmp_path


def test_links_to_themselves_are_files_that_cannot_be_read(tmp_path):
    _write(tmp_path, "a.png")
    for name, target in (("b.png", "b.png"), ("c.png", "d"), ("d", "c.png")):
        (tmp_path / name).symlink_to(target)
    assert _listed(tmp_path, (".png",)) == ["a.png", "b.png", "c.png"]
    assert [path.name for path in folders_in(tmp_path)] == [tmp_path.name]
    assert find_file([tmp_path], ["b.png"]) == tmp_path / "b.png"
    with pytest.raises(InputError, match=r"a link to b\.png: Too many levels"):
        read_bytes(tmp_path / "b.png")


def test_folders_that_are_all_linked_in_each_other_are_searched_once(tmp_path):
    for number in range(50):
        (tmp_path / f"{number}").mkdir()
        for other in range(50):
            (tmp_path / f"{number}" / f"to{other}").symlink_to(tmp_path / f"{other}")
    assert len(list(folders_in(tmp_path))) == 51
