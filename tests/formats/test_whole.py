import errno
import os
import stat

import pytest

from facedis_jax.formats.whole import open_whole, write_text, write_together, write_whole


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def test_a_file_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    write_whole(tmp_path / "a.txt", b"new")
    assert (tmp_path / "a.txt").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_file_has_the_permissions_of_any_new_one(tmp_path, umask):
    write_whole(tmp_path / "a", b"")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("failure", [ValueError("no"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, failure):
    write_text(tmp_path / "a", "old")

    def write():
        with open_whole(tmp_path / "a") as file:
            file.write(b"half")
            raise failure

    with pytest.raises(type(failure)):
        write()
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_text_that_is_not_unicode_leaves_the_old_file(tmp_path):
    write_text(tmp_path / "a", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a", "half \ud800")
    assert (tmp_path / "a").read_text() == "old"


def test_until_the_block_ends_the_name_begins_with_a_dot(tmp_path):
    with open_whole(tmp_path / "a"):
        (name,) = os.listdir(tmp_path)
    assert name.startswith(".a.")


def test_errors_name_the_file_that_was_asked_for(tmp_path):
    (tmp_path / "folder").mkdir()
    for path, kind in ((tmp_path / "folder", IsADirectoryError), (tmp_path / "nowhere" / "a", FileNotFoundError)):
        with pytest.raises(kind) as raised:
            write_whole(path, b"")
        assert raised.value.filename == str(path)
    with pytest.raises(OSError, match="full") as raised, open_whole(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "full")
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(tmp_path / "a"))


def test_errors_about_other_files_stay_as_they_are(tmp_path):
    with pytest.raises(FileNotFoundError) as raised, open_whole(tmp_path / "copy") as file:
        file.write((tmp_path / "original").read_bytes())
    assert raised.value.filename == str(tmp_path / "original")


def test_files_are_written_together_or_not_at_all(tmp_path):
    write_text(tmp_path / "a", "old")
    with pytest.raises(FileNotFoundError):
        write_together({tmp_path / "a": b"1", tmp_path / "nowhere" / "b": b"2"})
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]
    write_together({tmp_path / "a": b"1", tmp_path / "b": b"2"})
    assert [(tmp_path / name).read_bytes() for name in "ab"] == [b"1", b"2"]
