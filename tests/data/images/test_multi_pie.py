import numpy as np
import pytest
from PIL import Image

from facedis_jax.data.images.image_set import stack_images
from facedis_jax.data.images.load import load_images
from facedis_jax.data.images.multi_pie import VIEWS
from facedis_jax.errors import InputError

_CAMERAS = ("05_1", "05_0", "14_0", "04_1", "13_0", "11_0", "19_1")


def _place(folder, subject, session, recording, camera, light):
    """The path that an image has in the set as it is distributed."""
    name = f"{subject}_{session}_{recording}_{camera.replace('_', '')}_{light}.png"
    return folder / f"session{session}" / "multiview" / subject / recording / camera / name


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "multi_pie"
    rng = np.random.default_rng(0)
    for subject in ("001", "002", "250"):
        for session, recording in (("01", "01"), ("01", "02"), ("03", "02")):
            for camera in _CAMERAS:
                for light in ("00", "07"):
                    path = _place(folder, subject, session, recording, camera, light)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(path)
    highres = folder / "session01" / "highres" / "001_01_01.png"
    highres.parent.mkdir()
    Image.new("RGB", (99, 90)).save(highres)
    return folder


@pytest.fixture
def load(folder, tmp_path):
    return lambda **options: load_images(
        "multi_pie", folder, **{"size": 16, "prepared_dir": tmp_path / "prepared", **options}
    )


def test_the_papers_five_views_by_default(load):
    faces = load()
    assert (len(faces.train.source), len(faces.test.source)) == (2 * 3 * 5 * 2, 3 * 5 * 2)
    assert set(faces.train.labels["view"].tolist()) == {-30.0, -15.0, 0.0, 15.0, 30.0}
    assert faces.train.labels["view"].dtype == np.float32
    assert faces.data_files == {
        "images": "90",
        "split": "by person: 1 of 3 are tested",
        "not used": "36 of other views or lights, 1 with other names",
    }
    assert stack_images(faces.test.source).shape == (30, 16, 16, 3)
    for split in (faces.train, faces.test):
        for i, name in enumerate(split.names):
            stem = name.rsplit("/", 1)[1].removesuffix(".png")
            camera = name.rsplit("/", 2)[1]
            assert VIEWS[camera] == split.labels["view"][i]
            assert faces.classes["subject"][split.labels["subject"][i]] == stem[:3]
            assert faces.classes["expression"][split.labels["expression"][i]] == stem[4:9]


def test_people_are_tested_who_were_not_trained_on(load):
    faces = load()
    assert set(faces.train.labels["subject"]) == {1, 2}
    assert set(faces.test.labels["subject"]) == {0}


def test_views_and_lights_are_chosen(load):
    frontal = load(views=(0,), illuminations=(7,))
    assert len(frontal.train.source) == 2 * 3
    assert set(frontal.test.labels["view"].tolist()) == {0.0}
    assert {name[-6:] for name in frontal.train.names} == {"07.png"}
    assert set(load(views=(-90, 30)).test.labels["view"].tolist()) == {-90.0, 30.0}


def test_as_many_test_images_of_each_view(load):
    whole, chosen = load(), load(max_test_per_view=1)
    assert np.unique(chosen.test.labels["view"], return_counts=True)[1].tolist() == [1] * 5
    assert len(chosen.train.source) == len(whole.train.source)
    assert set(chosen.test.names) < set(whole.test.names)
    with pytest.raises(InputError, match="max_test_per_view: expected at least 1, found 0"):
        load(max_test_per_view=0)


def test_cameras_on_opposite_sides_have_opposite_views():
    assert sorted(VIEWS.values()) == list(range(-90, 91, 15))
    assert (VIEWS["05_1"], VIEWS["05_0"], VIEWS["04_1"]) == (0, 15, 30)
    assert (VIEWS["14_0"], VIEWS["13_0"]) == (-15, -30)


@pytest.mark.parametrize("views", [(10,), (0, 20), ()])
def test_views_that_do_not_exist_are_refused(load, views):
    with pytest.raises(InputError, match="views: expected degrees of Multi-PIE's cameras"):
        load(views=views)


def test_missing_files_are_named(load, folder):
    with pytest.raises(InputError, match="of the views 45 and the lights asked for, found none"):
        load(views=(45,))
    with pytest.raises(InputError, match="found none"):
        load(illuminations=(12,))
    odd = _place(folder, "001", "01", "01", "07_1", "00")
    odd.parent.mkdir()
    Image.new("RGB", (32, 24)).save(odd)
    with pytest.raises(InputError, match=r"a camera of Multi-PIE .* found 07_1"):
        load()


def test_an_image_in_two_places_is_named(load, folder):
    path = _place(folder, "001", "01", "01", "05_1", "00")
    (folder / "copy").mkdir()
    (folder / "copy" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="each image once"):
        load()


def test_a_missing_or_empty_folder_says_where_to_get_the_set(tmp_path):
    for found in ("no such folder", "no image"):
        with pytest.raises(InputError, match=f"Multi-PIE's 001_01_01_051_06.png .order it at .* found {found}"):
            load_images("multi_pie", tmp_path / "empty", prepared_dir=tmp_path / "prepared")
        (tmp_path / "empty").mkdir(exist_ok=True)
