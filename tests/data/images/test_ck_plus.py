import numpy as np
import pytest
from PIL import Image

from facedis_jax.data.images.ck_plus import CkPlus, CkPlusSettings
from facedis_jax.data.images.image_set import stack_images
from facedis_jax.data.images.load import load_images
from facedis_jax.data.refusals import Refusals
from facedis_jax.errors import InputError


def _write(path, text):
    path.parent.mkdir(parents=True)
    path.write_text(text)


_SEQUENCES = (("S005", "001"), ("S010", "001"), ("S010", "002"), ("S999", "003"))


@pytest.fixture
def folder(tmp_path):
    """Four sequences of three frames; one is of the other size that CK+ has, and in colour."""
    folder = tmp_path / "ck_plus"
    rng = np.random.default_rng(0)
    for subject, sequence in _SEQUENCES:
        path = folder / "cohn-kanade-images" / subject / sequence
        path.mkdir(parents=True)
        shape = (480, 640, 3) if subject == "S999" else (490, 640)
        for frame in range(1, 4):
            image = np.broadcast_to(rng.integers(0, 256, shape[2:], dtype=np.uint8), shape)
            Image.fromarray(image.copy()).save(path / f"{subject}_{sequence}_{frame:08d}.png")
    (folder / "cohn-kanade-images" / "S005" / ".DS_Store").write_bytes(b"left by a file manager")
    for subject, sequence, text in (("S005", "001", "   3.0000000e+00\n"), ("S999", "003", "   7.0000000e+00\n")):
        path = folder / "Emotion" / subject / sequence
        path.mkdir(parents=True)
        (path / f"{subject}_{sequence}_00000003_emotion.txt").write_text(text)
    (folder / "Emotion" / "S010" / "002").mkdir(parents=True)
    return folder


@pytest.fixture
def load(folder, tmp_path):
    return lambda **options: load_images(
        "ck_plus", folder, **{"size": 32, "prepared_dir": tmp_path / "prepared", **options}
    )


def test_grey_faces_with_their_people_and_emotions(load):
    faces = load()
    assert (faces.name, faces.channels) == ("ck_plus", 1)
    assert stack_images(faces.train.source).shape == (9, 32, 32, 1)
    assert {name.split("/")[0] for name in faces.test.names} == {"S005"}
    emotions = [faces.classes["expression"][i] for i in faces.train.labels["expression"]]
    assert emotions == ["unlabelled"] * 6 + ["surprise"] * 3
    assert [faces.classes["subject"][i] for i in faces.train.labels["subject"]] == ["S010"] * 6 + ["S999"] * 3
    assert set(faces.test.labels["expression"]) == {faces.classes["expression"].index("disgust")}


def test_emotions_may_be_missing(folder, load):
    for path in (folder / "Emotion").glob("*/*/*"):
        path.unlink()
    faces = load()
    assert "expression" not in faces.train.labels
    assert faces.data_files["expression"] == "none (Emotion is not there)"
    _write(folder / "Emotion/S123/001/S123_001_00000003_emotion.txt", "3")
    assert CkPlus.survey(folder, CkPlusSettings()).data_files["expression"] == (
        "none (Emotion has none of these sequences)"
    )


def _zips_unpacked(folder):
    (folder / "Emotion_labels").mkdir()
    (folder / "Emotion").rename(folder / "Emotion_labels" / "Emotion")
    (folder / "extended-cohn-kanade-images").mkdir()
    (folder / "cohn-kanade-images").rename(folder / "extended-cohn-kanade-images" / "cohn-kanade-images")
    return folder


def _small_letters(folder):
    for path in sorted(folder.rglob("*"), key=lambda path: len(path.parts), reverse=True):
        path.rename(path.with_name(path.name.lower()))
    return folder


def _one_folder_beside(folder):
    (folder / "images").mkdir()
    (folder / "cohn-kanade-images").rename(folder / "images" / "cohn-kanade-images")
    return folder / "images"


_EDITIONS = {
    "archives unpacked": _zips_unpacked,
    "archives unpacked, the images": lambda folder: _zips_unpacked(folder) / "extended-cohn-kanade-images",
    "the images' folder": lambda folder: folder / "cohn-kanade-images",
    "emotions one folder beside": _one_folder_beside,
    "a folder around it": lambda folder: folder.parent,
    "small letters": _small_letters,
}


@pytest.mark.parametrize("edition", _EDITIONS)
def test_editions_are_read_alike(folder, edition):
    expected = CkPlus.survey(folder, CkPlusSettings())
    found = CkPlus.survey(_EDITIONS[edition](folder), CkPlusSettings())
    assert [name.upper() for name in found.names] == [name.upper() for name in expected.names]
    np.testing.assert_array_equal(found.labels["expression"], expected.labels["expression"])
    assert found.classes == expected.classes
    assert found.data_files["expression"].endswith(", of 2 of 4 sequences")
    assert found.data_files["split"] == "by person: 1 of 3 are tested"


def test_a_sequence_with_a_damaged_emotion_can_be_skipped(folder):
    next((folder / "Emotion").glob("S999/*/*")).write_text("happy")
    refusals = Refusals(skip=True)
    found = CkPlus.survey(folder, CkPlusSettings(), refusals)
    assert "S999" not in found.classes["subject"]
    assert list(refusals.lines) == ["Emotion/S999/003/S999_003_00000003_emotion.txt"]


def test_colour_is_not_made_from_grey(load):
    with pytest.raises(InputError, match=r"S005_001_00000001.png: expected a colour image"):
        load(channels=3)


def test_a_third_size_beside_the_two_is_refused(folder, load):
    path = folder / "cohn-kanade-images/S010/001/S010_001_00000002.png"
    Image.new("L", (720, 480)).save(path)
    with pytest.raises(InputError, match=r"640 x 480 or 640 x 490 pixels, .* found 720 x 480") as caught:
        load()
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("text", ["happy", "3.5", "8", "", "nan"])
def test_an_emotion_that_does_not_exist_is_named(folder, load, text):
    path = next((folder / "Emotion").glob("S005/*/*"))
    path.write_text(text)
    with pytest.raises(InputError, match=f"a number from 0 to 7, found '{text}'") as caught:
        load()
    assert str(caught.value).startswith(str(path))


def test_a_frame_at_another_depth_is_named(folder, load):
    images = folder / "cohn-kanade-images"
    (images / "S005/001/S005_001_00000001.png").rename(images / "S005/001/S006_001_00000001.png")
    with pytest.raises(InputError, match=r"a name as in CK.'s"):
        load()


def test_a_missing_folder_says_where_to_ask_for_the_set(tmp_path):
    with pytest.raises(InputError, match=r"cohn-kanade-images: expected .*ask for it at .*no such folder"):
        load_images("ck_plus", tmp_path, prepared_dir=tmp_path)
