import numpy as np
import pytest
from PIL import Image

from facedis_jax.data.images.celeba import Celeba, CelebaSettings
from facedis_jax.data.images.image_set import stack_images
from facedis_jax.data.images.load import load_images
from facedis_jax.errors import InputError
from facedis_jax.formats import images as image_files

_COLUMNS = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
_NAMES = [f"{number:06d}.png" for number in range(1, 13)]
_POINTS = np.array([[69, 111], [108, 111], [89, 134], [72, 152], [106, 152]])


def _points(number):
    return _POINTS + np.array([number % 3, number % 5])


@pytest.fixture
def folder(tmp_path):
    """Twelve images of CelebA's size, black but for a white spot at each landmark, and all its lists."""
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    for number, name in enumerate(_NAMES):
        image = np.zeros((218, 178, 3), np.uint8)
        image[0, 0] = number
        for x, y in _points(number):
            image[y - 1 : y + 2, x - 1 : x + 2] = 255
        Image.fromarray(image).save(folder / "img_align_celeba" / name)
    rows = list(enumerate(_NAMES))
    _write(folder, "list_eval_partition.txt", [f"{name} {0 if i < 7 else i % 2 + 1}" for i, name in rows])
    _write(folder, "identity_CelebA.txt", [f"{name} {2880 - 7 * (i // 2)}" for i, name in rows])
    points = [f"{name}  {'  '.join(map(str, _points(i).ravel()))} " for i, name in rows]
    _write(folder, "list_landmarks_align_celeba.txt", [str(len(_NAMES)), _COLUMNS + " ", *points])
    return folder


def _write(folder, name, lines):
    (folder / name).write_text("\n".join(lines) + "\n")


def _edit(path, number, line):
    lines = path.read_text().splitlines()
    lines[number - 1 : number] = [] if line is None else [line]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def load(folder, tmp_path):
    return lambda kind="celeba", **options: load_images(
        kind, folder, **{"size": 64, "prepared_dir": tmp_path / "prepared", **options}
    )


def test_the_partition_people_and_landmarks_come_with_the_images(load):
    faces = load()
    assert (faces.name, faces.size, faces.channels) == ("celeba", 64, 3)
    assert list(faces.train.names) == _NAMES[:7]
    assert list(faces.test.names) == [_NAMES[i] for i in (7, 9, 11)]
    people = faces.classes["subject"]
    assert [people[i] for i in faces.train.labels["subject"]] == [str(2880 - 7 * (i // 2)) for i in range(7)]
    assert faces.train.labels["landmarks"].shape == (7, 5, 2)
    assert list(load(held_out="validation").test.names) == [_NAMES[i] for i in (8, 10)]


@pytest.mark.parametrize("crop", ["celeba_140", "celeba_108", "center_square"])
def test_landmarks_lie_on_their_features(load, crop):
    faces = load(crop=crop)
    for image, points in zip(stack_images(faces.train.source), faces.train.labels["landmarks"], strict=True):
        rows, columns = np.nonzero(image[..., 0] > 40)
        spots = np.stack([columns, rows], -1)
        for point in points:
            near = spots[np.abs(spots - point).max(-1) < 3]
            weights = image[near[:, 1], near[:, 0], 0].astype(float)
            np.testing.assert_allclose(np.average(near, axis=0, weights=weights), point, atol=0.3)


def test_an_images_index_is_that_in_its_half(load):
    faces = load(max_train=5)
    assert [int(faces.train.source[i]["index"]) for i in range(5)] == list(range(5))
    assert len(faces.train.source) == len(faces.train.names) == len(faces.train.labels["subject"]) == 5
    # A smaller choice is part of a larger one.
    assert set(load(max_train=2).train.names) < set(faces.train.names)
    assert faces.content_hash != load().content_hash


def test_the_same_images_in_other_halves_are_another_set(folder, load):
    """The eighth image is trained on in place of being tested: both ways, files come in the same order."""
    first = load()
    _edit(folder / "list_eval_partition.txt", 8, f"{_NAMES[7]} 0")
    other = load()
    assert [*first.train.names, *first.test.names] == [*other.train.names, *other.test.names]
    assert first.content_hash != other.content_hash


def test_lists_may_be_missing(folder, load):
    for name in ("list_eval_partition.txt", "identity_CelebA.txt", "list_landmarks_align_celeba.txt"):
        (folder / name).unlink()
    faces = load()
    assert list(faces.test.names) == [_NAMES[0], _NAMES[10]]
    assert faces.train.labels == {}


@pytest.mark.parametrize(
    ("name", "number", "line", "found"),
    [
        ("list_eval_partition.txt", 3, "000003.png 4", "line 3: .* 0, 1 or 2, found '4'"),
        ("list_eval_partition.txt", 3, "000001.png 0", "line 3: .*000001.png again"),
        ("list_eval_partition.txt", 3, "000003.png", "line 3: .*0 values"),
        ("list_eval_partition.txt", 3, "", "line 3: .*an empty line"),
        ("identity_CelebA.txt", 5, "000005.png someone", "line 5: .*'someone'"),
        ("list_landmarks_align_celeba.txt", 1, "11", "line 1: .*12, found '11'"),
        ("list_landmarks_align_celeba.txt", 2, "a b", "line 2: .*lefteye_x"),
        ("list_landmarks_align_celeba.txt", 4, "000002.png 1 2 3", "line 4: .*3 values"),
        ("list_landmarks_align_celeba.txt", 4, "000002.png" + " nan" * 10, "line 4: .*178 x 218"),
        ("list_landmarks_align_celeba.txt", 4, "000002.png" + " 200" * 10, "line 4: .*178 x 218"),
    ],
)
def test_a_wrong_line_of_a_list_is_named(folder, load, name, number, line, found):
    _edit(folder / name, number, line)
    with pytest.raises(InputError, match=found) as caught:
        load()
    assert str(caught.value).startswith(str(folder / name))


def test_lists_of_another_set_are_refused(folder, load):
    path = folder / "list_eval_partition.txt"
    _write(folder, path.name, ["1.png 0", "2.png 2"])
    with pytest.raises(InputError, match=r"expected some of the 12 images that are there, found 1\.png"):
        load()
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"list_eval_partition.txt: expected a text file"):
        load()
    path.write_text("")
    with pytest.raises(InputError, match=r"list_eval_partition.txt: expected some of the 12 images"):
        load()


def _to_csv(folder, name, columns):
    """A list as Kaggle has it."""
    lines = (folder / f"{name}.txt").read_text().splitlines()
    rows = [line.split() for line in lines[2 if "landmarks" in name else 0 :]]
    _write(folder, f"{name}.csv", [",".join(["image_id", *columns]), *(",".join(row) for row in rows)])
    (folder / f"{name}.txt").unlink()


def _as_authors(folder):
    for part, name in (("Img", "img_align_celeba"), ("Eval", "list_eval_partition.txt")):
        (folder / part).mkdir()
        (folder / name).rename(folder / part / name)
    (folder / "Anno").mkdir()
    for name in ("identity_CelebA.txt", "list_landmarks_align_celeba.txt"):
        (folder / name).rename(folder / "Anno" / name)
    return folder


def _as_kaggle(folder):
    (folder / "img_align_celeba").rename(folder / "images")
    (folder / "img_align_celeba").mkdir()
    (folder / "images").rename(folder / "img_align_celeba" / "img_align_celeba")
    _to_csv(folder, "list_eval_partition", ["partition"])
    _to_csv(folder, "identity_CelebA", ["identity"])
    _to_csv(folder, "list_landmarks_align_celeba", _COLUMNS.split())
    return folder


def _as_pandas_writes(folder):
    """With a column of numbers before, and columns in another order."""
    lines = (folder / "list_eval_partition.txt").read_text().splitlines()
    rows = [f"{i},{line.split()[1]},{line.split()[0]}" for i, line in enumerate(lines)]
    _write(folder, "list_eval_partition.csv", [",partition,image_id", *rows])
    (folder / "list_eval_partition.txt").unlink()
    return folder


def _as_png(folder):
    (folder / "img_align_celeba").rename(folder / "img_align_celeba_png")
    for path in folder.glob("*.txt"):
        path.write_text(path.read_text().replace(".png", ".jpg"))
    return folder


def _as_windows(folder):
    for path in folder.glob("*.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
        path.rename(folder / path.name.upper())
    (folder / "img_align_celeba").rename(folder / "IMG_ALIGN_CELEBA")
    for path in (folder / "IMG_ALIGN_CELEBA").iterdir():
        path.rename(path.with_suffix(".PNG"))
    return folder


_EDITIONS = {
    "the authors'": _as_authors,
    "the authors', the images' folder": lambda folder: _as_authors(folder) / "Img" / "img_align_celeba",
    "the authors', its Img": lambda folder: _as_authors(folder) / "Img",
    "Kaggle's": _as_kaggle,
    "Kaggle's, the images' folder": lambda folder: _as_kaggle(folder) / "img_align_celeba",
    "a folder around it": lambda folder: folder.parent,
    "another name": lambda folder: (folder / "img_align_celeba").rename(folder / "images").parent,
    "pandas'": _as_pandas_writes,
    "PNG": _as_png,
    "Windows'": _as_windows,
}


@pytest.mark.parametrize("edition", _EDITIONS)
def test_editions_are_read_alike(folder, load, edition):
    expected = Celeba.survey(folder, CelebaSettings())
    found = Celeba.survey(_EDITIONS[edition](folder), CelebaSettings())
    assert [name.lower() for name in found.names] == expected.names
    for half in ("train", "test"):
        np.testing.assert_array_equal(getattr(found, half), getattr(expected, half))
    for label, values in expected.labels.items():
        np.testing.assert_array_equal(found.labels[label], values)
    assert found.classes == expected.classes
    assert "not used" not in found.data_files
    assert found.data_files["images"].split()[0] == "12"
    assert all("none" not in text for text in found.data_files.values())


def test_the_run_is_told_which_lists_there_are(folder, load):
    assert load().data_files == {
        "images": "12 in img_align_celeba",
        "split": "list_eval_partition.txt",
        "subject": "identity_CelebA.txt",
        "landmarks": "list_landmarks_align_celeba.txt",
    }
    (folder / "list_eval_partition.txt").unlink()
    assert load().data_files["split"].endswith("there is no list_eval_partition; 2 of 2 people are in both")
    (folder / "identity_CelebA.txt").unlink()
    found = load().data_files
    assert found["split"] == (
        "every tenth image is tested (a person may be in both halves), since there is no list_eval_partition"
    )
    assert found["subject"] == "none (identity_CelebA is not there)"


def test_lists_and_images_may_differ(folder, load):
    for name in (_NAMES[4], _NAMES[9]):
        (folder / "img_align_celeba" / name).unlink()
    faces = load()
    assert list(faces.train.names) == [_NAMES[i] for i in (0, 1, 2, 3, 5, 6)]
    assert list(faces.test.names) == [_NAMES[i] for i in (7, 11)]
    np.testing.assert_allclose(
        faces.test.labels["landmarks"][1], (_points(11) - [19, 39] + 0.5) * 64 / 140 - 0.5, rtol=1e-5
    )
    assert faces.data_files["images"] == "10 of 12 listed images are there, in img_align_celeba"
    # An image of which a list says nothing is not used, whichever list it is.
    _edit(folder / "list_landmarks_align_celeba.txt", 14, None)
    _edit(folder / "list_eval_partition.txt", 1, None)
    faces = load()
    assert [*faces.train.names, *faces.test.names] == [_NAMES[i] for i in (1, 2, 3, 5, 6, 7)]
    assert faces.data_files["not used"] == (
        "1 that are not in list_eval_partition.txt, 1 that are not in list_landmarks_align_celeba.txt"
    )


def test_images_with_wrong_lines_can_be_skipped(folder, load):
    _edit(folder / "list_landmarks_align_celeba.txt", 5, f"{_NAMES[2]} 1 2 3")
    faces = load(skip_damaged=True)
    assert list(faces.train.names) == [_NAMES[i] for i in (0, 1, 3, 4, 5, 6)]
    assert list(faces.skipped) == [_NAMES[2]]
    assert "line 5" in faces.skipped[_NAMES[2]]


def test_a_part_without_images_to_test_says_that_it_is_split_otherwise(folder, load):
    for name in _NAMES[7:]:
        (folder / "img_align_celeba" / name).unlink()
    faces = load()
    assert list(faces.test.names) == [_NAMES[0]]
    assert "since list_eval_partition.txt has none of these to test" in faces.data_files["split"]


def test_mafl_names_its_images_in_two_lists(folder, load):
    (folder / "MAFL").mkdir()
    _write(folder, "MAFL/training.txt", _NAMES[2:6])
    _write(folder, "MAFL/testing.txt", _NAMES[8:10])
    faces = load("mafl")
    assert (list(faces.train.names), list(faces.test.names)) == (_NAMES[2:6], _NAMES[8:10])
    expected = (_points(8) - [19, 39] + 0.5) * 64 / 140 - 0.5
    np.testing.assert_allclose(faces.test.labels["landmarks"][0], expected, rtol=1e-5)
    _write(folder, "MAFL/testing.txt", [*_NAMES[8:10], _NAMES[3]])
    with pytest.raises(InputError, match=r"testing.txt.*other images than in training.txt, found 000004.png"):
        load("mafl")
    (folder / "MAFL/testing.txt").unlink()
    with pytest.raises(InputError, match=r"testing.txt: expected a list of MAFL"):
        load("mafl")


def test_mafls_images_alone_come_with_all_of_celebas_lists(folder, load):
    _write(folder, "training.txt", _NAMES[2:7])
    _write(folder, "testing.txt", _NAMES[8:10])
    for name in (*_NAMES[:2], _NAMES[6], _NAMES[7], *_NAMES[10:]):
        (folder / "img_align_celeba" / name).unlink()
    faces = load("mafl")
    assert (list(faces.train.names), list(faces.test.names)) == (_NAMES[2:6], _NAMES[8:10])
    assert faces.data_files["split"] == "4 of 5 in training.txt, 2 of 2 in testing.txt"


def test_generators_for_mafl_learn_all_but_its_test_images(folder, load):
    (folder / "MAFL").mkdir()
    _write(folder, "MAFL/testing.txt", _NAMES[8:10])
    faces = load("celeba_without_mafl")
    assert (list(faces.train.names), list(faces.test.names)) == ([*_NAMES[:8], *_NAMES[10:]], _NAMES[8:10])


def test_an_unknown_partition_is_refused(load):
    with pytest.raises(InputError, match="held_out: expected test or validation, found 'train'"):
        load(held_out="train")


def test_a_second_start_reads_one_image_and_prepares_nothing(load, monkeypatch):
    first = load()
    read = []
    decode = image_files.decode_image
    monkeypatch.setattr(image_files, "decode_image", lambda path, data: read.append(path) or decode(path, data))
    second = load()
    assert len(read) == 1
    assert second.content_hash == first.content_hash
    np.testing.assert_array_equal(stack_images(second.test.source), stack_images(first.test.source))


def test_real_faces(real_data, tmp_path):
    faces = load_images("celeba", real_data("celeba_layout"), size=32, max_train=60, max_test=10, prepared_dir=tmp_path)
    train = set(faces.train.labels["subject"])
    assert not train & set(faces.test.labels["subject"])
    eyes, mouth = faces.train.labels["landmarks"][:, :2], faces.train.labels["landmarks"][:, 3:]
    assert (eyes[:, 0, 0] < eyes[:, 1, 0]).all()
    assert (eyes.mean(1)[:, 1] < mouth.mean(1)[:, 1]).all()
    assert stack_images(faces.train.source).std() > 30
