"""A folder of one's own images with a `labels.csv`."""

import shutil

import numpy as np
import pytest
from PIL import Image

from facedis_jax.data.images.folders import FolderSettings, ImageFolder
from facedis_jax.data.images.labels import LANDMARK_COLUMNS
from facedis_jax.data.images.load import load_images
from facedis_jax.data.refusals import Refusals
from facedis_jax.errors import InputError

_NAMES = [f"{person}/{number}.png" for person in ("anna", "bob", "eve") for number in range(3)]
_POINTS = [4, 5, 11, 5, 8, 8, 5, 12, 10, 12]


@pytest.fixture
def folder(tmp_path):
    """Nine images of three people."""
    folder = tmp_path / "mine"
    for number, name in enumerate(_NAMES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (number, 0, 0)).save(folder / name)
    return folder


def _write(folder, columns, rows, *, separator=",", **options):
    lines = [separator.join(columns), *(separator.join(map(str, row)) for row in rows)]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", **options)


def _survey(folder, **options):
    return ImageFolder.survey(folder, FolderSettings(size=16, **options))


def _all_columns(folder, **options):
    columns = ["file", "Person", "view", "age", "expression", *LANDMARK_COLUMNS]
    rows = [(n, n.split("/")[0], 15 * (i % 3), 30, "joy" if i % 2 else "rest", *_POINTS) for i, n in enumerate(_NAMES)]
    _write(folder, columns, rows, **options)


def test_labels_come_with_their_images(folder, tmp_path):
    _all_columns(folder)
    images = load_images("folder", folder, size=8, prepared_dir=tmp_path / "prepared")
    assert {name.split("/")[0] for name in images.test.names} == {"anna"}
    assert images.classes == {"subject": ("anna", "bob", "eve"), "expression": ("joy", "rest")}
    np.testing.assert_array_equal(images.train.labels["subject"], [1, 1, 1, 2, 2, 2])
    np.testing.assert_array_equal(images.train.labels["expression"], [0, 1, 0, 1, 0, 1])
    np.testing.assert_array_equal(images.train.labels["view"], [0, 15, 30] * 2)
    points = np.reshape(_POINTS, (5, 2))
    np.testing.assert_allclose(images.train.labels["landmarks"][0], (points + 0.5) / 2 - 0.5)
    assert images.data_files == {
        "images": "9",
        "split": "by person: 1 of 3 are tested",
        "labels": "person, view, expression, landmarks from labels.csv, whose columns age are not used",
    }


def _with_mark(folder):
    _all_columns(folder)
    path = folder / "labels.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n").replace(b"/", b"\\"))
    return path.rename(folder / "Labels.CSV").parent


def _other_endings(folder):
    _all_columns(folder)
    for name in _NAMES:
        (folder / name).rename((folder / name).with_suffix(".PNG"))
    return folder


def _wrapped(folder):
    _all_columns(folder)
    shutil.move(folder, folder.parent / "inside")
    folder.mkdir()
    shutil.move(folder.parent / "inside", folder / "inside")
    return folder


def _names_alone(folder):
    for i, name in enumerate(_NAMES):
        (folder / name).rename((folder / name).parent / f"{i}.png")
    _write(folder, ["file", "person"], [(f"{i}.png", name.split("/")[0]) for i, name in enumerate(_NAMES)])
    return folder


def _by_semicolons(folder):
    _write(folder, ["file", "person", "view"], [(n, n.split("/")[0], "0,0") for n in _NAMES], separator=";")
    return folder


@pytest.mark.parametrize("arranged", [_with_mark, _other_endings, _wrapped, _names_alone, _by_semicolons])
def test_lists_as_other_systems_write_them_are_read(folder, arranged):
    survey = _survey(arranged(folder))
    np.testing.assert_array_equal(survey.labels["subject"], np.repeat([0, 1, 2], 3))
    assert len(survey.test) == 3
    assert "not used" not in survey.data_files


def test_images_without_all_labels_are_not_used_and_counted(folder):
    rows = [(name, name.split("/")[0], 15) for name in _NAMES]
    rows[3] = (_NAMES[3], "", 15)
    rows[8] = (_NAMES[8].replace("2", "77"), "eve", 15)
    _write(folder, ["file", "person", "view"], rows)
    survey = _survey(folder)
    assert survey.names == [*_NAMES[:3], *_NAMES[4:8]]
    assert survey.data_files["images"] == "7 of 8 listed images are there"
    assert survey.data_files["not used"] == "2 that are not in labels.csv"
    assert survey.data_files["labels"] == "person, view from labels.csv; 1 of its lines are not complete"


def test_one_person_is_split_by_the_images_names(folder):
    _write(folder, ["file", "person"], [(name, "anna") for name in _NAMES])
    survey = _survey(folder)
    assert survey.test.tolist() == [0]
    assert survey.data_files["split"] == "every tenth image is tested (a person may be in both halves)"


@pytest.mark.parametrize(
    ("columns", "row", "found"),
    [
        (["name", "person"], ("a", "anna"), "line 1: expected names of columns, file among them"),
        (["file", "age"], (_NAMES[0], 3), "line 1: expected one or more of the columns person, view"),
        (["file", *LANDMARK_COLUMNS[:9]], (_NAMES[0], *_POINTS[:9]), "line 1: .* rightmouth_y among them"),
        (["file", "view"], (_NAMES[0], "left"), "line 2, view: expected degrees .* 'left'"),
        (["file", "view"], (_NAMES[0], "nan"), "line 2, view: .*'nan'"),
        (["file", "view"], (_NAMES[0], "200"), "line 2, view: .*'200'"),
        (["file", "view"], (_NAMES[0], 1, 2), "line 2: expected 2 values, found 3"),
        (["file", "view"], ("", 1), "line 2: expected the name of a file"),
        (["file", "view"], (f"{_NAMES[0]}\n{_NAMES[0]},1", 1), "line 2: expected 2 values, found 1"),
        (
            ["file", *LANDMARK_COLUMNS],
            (_NAMES[0], *_POINTS[:9], 16),
            "line 2, rightmouth_y: expected a point in 16 x 16",
        ),
        (["file", *LANDMARK_COLUMNS], (_NAMES[0], *_POINTS[:9], ""), "line 2, rightmouth_y: .*''"),
        (["file", "person"], ("../../secret.png", "anna"), "some of the 9 images that are there, found .*secret"),
    ],
)
def test_a_wrong_line_is_named(folder, columns, row, found):
    _write(folder, columns, [row])
    with pytest.raises(InputError, match=found) as caught:
        _survey(folder)
    assert str(caught.value).startswith(str(folder / "labels.csv"))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (
            "file,person\nanna/0.png,J\u00f6rg\n".encode("latin-1"),
            "a text file in UTF-8, found byte 0xf6, which is of an",
        ),
        (
            "file,person\nanna/0.png,anna\n".encode("utf-16"),
            "a text file in UTF-8, found byte 0xff, which is of another",
        ),
        (b"file,person\n", "some of the 9 images that are there, found none"),
    ],
)
def test_texts_of_other_encodings_and_empty_lists_are_named(folder, content, found):
    (folder / "labels.csv").write_bytes(content)
    with pytest.raises(InputError, match=rf"labels\.csv: expected {found}"):
        _survey(folder)


def test_an_image_is_listed_once(folder):
    _write(folder, ["file", "view"], [(name, 0) for name in [*_NAMES, _NAMES[1]]])
    with pytest.raises(InputError, match=r"line 11: expected each image once, found anna/1\.png again"):
        _survey(folder)


def test_images_with_wrong_lines_can_be_skipped(folder):
    _write(folder, ["file", "view"], [(name, "left" if name == _NAMES[1] else 0) for name in _NAMES])
    survey = ImageFolder.survey(folder, FolderSettings(size=16), Refusals(skip=True))
    assert survey.names == [name for name in _NAMES if name != _NAMES[1]]
    assert list(survey.refused) == [_NAMES[1]]


@pytest.mark.parametrize(
    ("modes", "given", "channels"),
    [("LL", None, 1), ("L1", None, 1), ("LR", None, 3), ("RR", None, 3), ("RL", 1, 1), ("LR", 3, 3), ("LLL?", None, 1)],
)
def test_channels_follow_the_files_unless_they_are_given(tmp_path, modes, given, channels):
    folder = tmp_path / "mine"
    folder.mkdir()
    for number, mode in enumerate(modes):
        image = Image.new({"R": "RGB", "?": "L"}.get(mode, mode), (16, 16))
        image.save(folder / f"{number}.png")
        if mode == "?":
            (folder / f"{number}.png").write_bytes(b"damaged")
    damaged = "?" in modes
    images = load_images("folder", folder, size=16, channels=given, prepared_dir=tmp_path / "p", skip_damaged=damaged)
    assert images.channels == channels


def test_what_is_no_image_is_counted(folder):
    for name in ("a.gif", "anna/b.gif", "c.heic", "notes", ".hidden"):
        (folder / name).write_bytes(b"")
    assert _survey(folder).data_files["not read"] == "2 .gif, 1 .heic, 1 no ending"
