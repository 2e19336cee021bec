import shutil

import jax
import numpy as np
import pytest

import facedis_jax
from facedis_jax.errors import InputError
from facedis_jax.inference.codecs import image_codec, video_codec
from facedis_jax.inference.example import example_image_model, example_video_model
from facedis_jax.inference.generator_models import TrainedImageModel
from facedis_jax.inference.load import load_faces
from facedis_jax.inference.model_files import MODEL_FILE
from facedis_jax.learners import ImageVaeConfig, image_vae_learner
from tests.inference.test_load import changed


@pytest.fixture(scope="module", params=[example_image_model, example_video_model], ids=["images", "videos"])
def model(request):
    return request.param()


def test_what_is_saved_is_loaded_and_works_alike(model, tmp_path):
    """Also as codecs, by which evaluation measures models."""
    model.save(tmp_path / MODEL_FILE)
    loaded = facedis_jax.load(tmp_path)
    assert type(loaded) is type(model)
    assert (loaded.config, loaded.origin, loaded.frames) == (model.config, model.origin, model.frames)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, model.params)
    jax.tree.map(np.testing.assert_array_equal, loaded.codes, model.codes)
    codec = image_codec if type(model) is TrainedImageModel else video_codec
    latents = jax.tree.map(lambda z: z[:2], model.codes)
    for found in (loaded.decode(latents), codec(loaded.functions, loaded.params).decode(latents)):
        np.testing.assert_allclose(found, codec(model.functions, model.params).decode(latents), atol=1e-6)


def test_latents_are_inferred_recombined_and_traversed(model):
    examples = np.random.default_rng(0).integers(256, size=model.decode(model.codes).shape, dtype=np.uint8)
    latents = model.infer(examples[:2], jax.random.key(1))
    assert jax.tree.map(np.shape, latents) == jax.tree.map(lambda z: (2, *z.shape[1:]), model.codes)
    again = model.infer(examples[:2], jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, latents, again)
    one, other = (jax.tree.map(lambda z, i=i: z[i], model.codes) for i in (0, 1))
    np.testing.assert_array_equal(model.recombine(one, one), model.decode(one))
    expected = model.decode(type(one)(appearance=one.appearance, geometry=other.geometry))
    np.testing.assert_array_equal(model.recombine(one, other), expected)
    first = one.appearance if type(model) is TrainedImageModel else one.appearance.first
    way = model.traverse(one, "appearance", 2, [first[2], first[2] + 3])
    np.testing.assert_allclose(way[0], model.decode(one), atol=1e-6)
    assert np.abs(way[1] - way[0]).max() > 1e-4


def test_new_latents_are_distributed_as_those_of_training(model):
    drawn = model.sample(jax.random.key(0), 2000)
    first = drawn.appearance if type(model) is TrainedImageModel else drawn.appearance.first
    known = model.codes.appearance if type(model) is TrainedImageModel else model.codes.appearance.first
    # Four standard errors.
    assert (np.abs(first.mean(0) - known.mean(0)) < 4 * known.std(0) / np.sqrt(2000)).all()
    np.testing.assert_allclose(first.std(0), known.std(0), rtol=4 / np.sqrt(2 * 2000))


def test_what_the_model_has_not_is_refused(model):
    with pytest.raises(InputError, match="dimension: expected 0 to 2 of appearance or 0 to 3 of geometry, found 4 of"):
        model.traverse(model.codes, "geometry", 4, [0.0])
    with pytest.raises(InputError, match=r"images: expected \[n, "):
        model.infer(np.zeros([2, 4, 4, 3], np.uint8))


def test_a_vae_keeps_its_inference_network_and_no_critic(tmp_path):
    config = ImageVaeConfig(example_image_model().config.model)
    batch = {"image": np.zeros([1, 8, 8, 3], np.uint8), "index": np.zeros(1, np.int32)}
    learner = image_vae_learner(config, steps_per_epoch=1, num_steps=1)
    shapes = jax.eval_shape(learner.init, jax.random.key(0), batch).params
    params = jax.tree.map(lambda x: np.full(x.shape, 0.1, x.dtype), shapes)
    model = TrainedImageModel.of(config, {**params, "critic": {"a": np.zeros(1)}}, example_image_model().origin)
    model.save(tmp_path / MODEL_FILE)
    loaded = facedis_jax.load(tmp_path)
    assert loaded.params.keys() == params.keys()
    images = np.full([2, 8, 8, 3], 99, np.uint8)
    jax.tree.map(np.testing.assert_array_equal, loaded.infer(images), model.infer(images))
    assert loaded.codes is None
    assert loaded.sample(jax.random.key(0), 3).appearance.shape == (3, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card, arrays: card.update(kind="videos"), "the method 'abp'"),
        (lambda card, arrays: card.update(frames=0), "clips of 0 frames"),
        (lambda card, arrays: card["learner"]["model"].update(size=1 << 40), "images of 1099511627776 pixels"),
        (lambda card, arrays: card["learner"]["model"].update(size=16), "weights of the networks"),
        (
            lambda card, arrays: card["learner"]["model"].update(appearance_latents=-1),
            "settings that a model can be built of",
        ),
        (lambda card, arrays: arrays.pop("codes/1"), "no codes/1"),
        (lambda card, arrays: arrays.update({"codes/1": np.zeros((6, 5), np.float32)}), "codes/1 of another shape"),
    ],
)
def test_files_that_cannot_be_used_are_one_clear_line(tmp_path, change, message):
    path = tmp_path / MODEL_FILE
    example_image_model().save(path)
    changed(path, change)
    with pytest.raises(InputError, match=message) as error:
        facedis_jax.load(path)
    assert "\n" not in str(error.value)


def test_a_run_of_several_models_gives_its_main_one_or_names_them(tmp_path):
    for name in ("abp", "vae"):
        (tmp_path / name).mkdir()
        example_image_model().save(tmp_path / name / MODEL_FILE)
    with pytest.raises(InputError, match=r"expected one of its models: .*abp, .*vae, found several"):
        facedis_jax.load(tmp_path)
    (tmp_path / "deformable").mkdir()
    shutil.copyfile(tmp_path / "abp" / MODEL_FILE, tmp_path / "deformable" / MODEL_FILE)
    assert isinstance(facedis_jax.load(tmp_path), TrainedImageModel)
    with pytest.raises(InputError, match="expected a model of faces, found one of images"):
        load_faces(tmp_path)


def test_settings_of_training_may_be_missing_or_others(model, tmp_path):
    model.save(tmp_path / MODEL_FILE)

    def change(card, arrays):
        learner = card["learner"]
        learner["optimiser"], learner["frozen_since"] = {"name": "sgd"}, 3
        del learner["model"]["initial_flow"], learner["langevin"]["num_steps"]

    changed(tmp_path / MODEL_FILE, change)
    loaded = facedis_jax.load(tmp_path)
    latents = jax.tree.map(lambda z: z[:2], model.codes)
    np.testing.assert_array_equal(loaded.decode(latents), model.decode(latents))


@pytest.mark.parametrize(("part", "name"), [("model", "geometry_gain"), ("langevin", "inference_steps")])
def test_settings_of_decoding_and_inference_may_not(model, tmp_path, part, name):
    model.save(tmp_path / MODEL_FILE)
    changed(tmp_path / MODEL_FILE, lambda card, arrays: card["learner"][part].pop(name))
    with pytest.raises(InputError, match=rf"no learner\.{part}\.{name}"):
        facedis_jax.load(tmp_path)
