from functools import cache, partial

import jax
import numpy as np
import pytest
from PIL import Image

from facedis_jax.cli import edit as edit_module
from facedis_jax.cli.edit import EditOptions, Neutral, Sample, edit
from facedis_jax.cli.edit_images import Recombine, Traverse, read_image
from facedis_jax.errors import InputError
from facedis_jax.inference.example import example_face_model, example_image_model, example_video_model
from facedis_jax.inference.generator_models import TrainedImageModel


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Images of other sizes, modes and formats than the model's; models by the names of their kinds."""
    rng = np.random.default_rng(0)
    for name, size, mode in (("one.png", (9, 12), "RGBA"), ("two.jpg", (16, 8), "RGB"), ("grey.png", (8, 8), "L")):
        noise = rng.integers(0, 256, (*size[::-1], 4), np.uint8)
        Image.fromarray(noise, "RGBA").convert(mode).save(tmp_path / name)
    monkeypatch.setattr(edit_module, "load", lambda path: models(str(path)))
    # Inference proper is compiled for seconds.
    monkeypatch.setattr(TrainedImageModel, "infer", lambda self, images, key: self.sample(key, len(images)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@cache
def models(kind):
    made = {"faces": example_face_model, "images": example_image_model, "videos": example_video_model}
    return made[kind]()


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def edited(place, kind, output, action, capsys):
    assert edit(EditOptions(kind, place / output, action)) == 0
    return [place / line for line in capsys.readouterr().out.split()]


def test_every_appearance_is_combined_with_every_geometry(place, capsys):
    appearance, geometry = (place / "one.png", place / "grey.png"), (place / "two.jpg", place / "one.png")
    action = Recombine(appearance=appearance, geometry=geometry, seed=3)
    paths = edited(place, "images", "out.png", action, capsys)
    assert [path.name for path in paths] == [*(f"out_{i}.png" for i in range(1, 5)), "out_grid.png"]
    model = models("images")
    read = np.stack([read_image(model, each) for each in appearance + geometry])
    latents = model.infer(read, jax.random.key(3))
    one, other = (jax.tree.map(partial(np.take, indices=rows, axis=0), latents) for rows in ([0, 0, 1, 1], [2, 3] * 2))
    expected = np.round(255 * np.asarray(model.recombine(one, other)))
    for path, image in zip(paths[:4], expected, strict=True):
        np.testing.assert_allclose(pixels(path), image, atol=1)
    assert pixels(paths[4]).std() > 10


@pytest.mark.parametrize("image", ["one.png", None])
def test_a_dimension_is_traversed(place, capsys, image):
    image = None if image is None else place / image
    action = Traverse(part="geometry", dimension=1, image=image, traversal_range=2, steps=3)
    paths = edited(place, "images", "way.png", action, capsys)
    assert [path.name for path in paths] == ["way_1.png", "way_2.png", "way_3.png", "way_grid.png"]
    first, _, last = (pixels(path).astype(int) for path in paths[:3])
    assert first.shape == (8, 8, 3)
    assert np.abs(first - last).max() > 1


def test_new_images_are_drawn_by_a_seed(place, capsys):
    (one, _), (same, _), (other, _) = (
        edited(place, "images", f"{name}.png", Sample(seed=seed), capsys)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    np.testing.assert_array_equal(pixels(one), pixels(same))
    assert (pixels(one) != pixels(other)).any()


@pytest.mark.parametrize(
    ("kind", "output", "action", "line"),
    [
        ("images", "a.ply", Sample(), r"an image to write \(.png\)"),
        ("images", "none/a.png", Sample(), "a folder that exists"),
        ("images", "a.png", Sample(0), "1 to 1000"),
        ("images", "a.png", Traverse(steps=0), "1 to 1000"),
        ("images", "a.png", Traverse(traversal_range=float("nan")), "0 or more"),
        ("images", "a.png", Traverse(dimension=99), "0 to .* of geometry"),
        ("images", "a.png", Recombine(appearance=("no.png",), geometry=("one.png",)), "no.png"),
        ("images", "a.ply", Neutral(face="a.ply"), "a model of faces, for neutral, found one of images"),
        ("images", "a.png", Neutral(face="a.ply"), "a model of faces, for neutral, found one of images"),
        ("faces", "a.png", Traverse(), "a model of images, for traverse, found one of faces"),
        ("videos", "a.png", Sample(), "a model of faces or of images, found one of clips"),
    ],
)
def test_what_a_model_cannot_do_is_refused(place, kind, output, action, line):
    if isinstance(action, Recombine):
        action = Recombine(appearance=(place / "no.png",), geometry=(place / "one.png",))
    before = set(place.iterdir())
    with pytest.raises(InputError, match=line):
        edit(EditOptions(kind, place / output, action))
    assert set(place.iterdir()) == before
