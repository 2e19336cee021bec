import json
import shutil
import struct
from dataclasses import fields

import jax
import numpy as np
import pytest

import facedis_jax
from facedis_jax.errors import InputError
from facedis_jax.evaluation.faces import evaluate, predict
from facedis_jax.formats.tensors import read_tensors, write_tensors
from facedis_jax.inference.example import example_face_model
from facedis_jax.inference.faces import codec_of
from facedis_jax.inference.model_files import MODEL_FILE
from facedis_jax.training import Checkpoints
from tests.small_runs import small_config, train

pytestmark = pytest.mark.usefixtures("few_points")


@pytest.fixture(scope="module")
def run(tmp_path_factory, small_face_set):
    """A run that is finished, though it has learned next to nothing."""
    return train(tmp_path_factory.mktemp("run"), small_face_set, small_config(conditional=True, epochs=2.0))


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    model = example_face_model()
    path = tmp_path_factory.mktemp("example") / MODEL_FILE
    model.save(path)
    return model, path


def numbers(results, name=""):
    if isinstance(results, dict):
        return {key: each for part in results for key, each in numbers(results[part], f"{name}/{part}").items()}
    return {name: results}


def test_results_of_the_file_alone_are_those_of_the_checkpoint(run, tmp_path):
    """Of a copy of the file elsewhere, without the run."""
    shutil.copyfile(run.path / MODEL_FILE, tmp_path / "elsewhere.safetensors")
    model = facedis_jax.load(tmp_path / "elsewhere.safetensors")
    with Checkpoints(run.path / "checkpoints", read_only=True) as checkpoints:
        here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        state = checkpoints.restore(
            jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype, sharding=here), run.state)
        ).state
    expected = codec_of(run.config.learner, model.trained.constants, state, run.face_set.expressions)
    found, wanted = (
        numbers(evaluate(codec, run.face_set, predict(codec, run.face_set.test, run.face_set.neutrals)))
        for codec in (model.codec, expected)
    )
    assert found.keys() == wanted.keys()
    for name, number in wanted.items():
        if isinstance(number, float):
            np.testing.assert_allclose(found[name], number, rtol=1e-6, err_msg=name)


def test_a_folder_says_the_same_as_its_file(run):
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    models = [facedis_jax.load(path) for path in (run.path, str(run.path / MODEL_FILE))]
    for model in models:
        assert model.expressions == tuple(run.face_set.expressions)
        assert model.config.model == run.config.learner.model
        assert model.config.conditional == run.config.learner.conditional
        assert (model.origin.experiment, model.origin.data_hash) == ("small", run.face_set.content_hash)
        assert model.origin.version == facedis_jax.__version__
        np.testing.assert_array_equal(model.triangles, run.face_set.triangles)
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_what_is_saved_is_loaded(example):
    model, path = example
    loaded = facedis_jax.load(path)
    for record, original in (
        (loaded.trained, model.trained),
        (loaded.trained.constants, model.trained.constants),
    ):
        for field in fields(record):
            if field.name != "constants":
                found, expected = getattr(record, field.name), getattr(original, field.name)
                np.testing.assert_array_equal(found, expected, err_msg=field.name)
                assert getattr(found, "dtype", None) == getattr(expected, "dtype", None)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, model.params)
    assert loaded.origin == model.origin
    assert [each.name for each in path.parent.iterdir()] == [MODEL_FILE]


def test_a_failed_save_leaves_the_last_one_and_nothing_else(example, tmp_path, monkeypatch):
    model, path = example
    shutil.copyfile(path, tmp_path / MODEL_FILE)

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="disk full"):
        model.save(tmp_path / MODEL_FILE)
    assert (tmp_path / MODEL_FILE).read_bytes() == path.read_bytes()
    assert [each.name for each in tmp_path.iterdir()] == [MODEL_FILE]


def changed(path, change):
    """A copy of the file, its card and arrays changed in place."""
    card, arrays = read_tensors(path, "a model")
    change(card, arrays)
    write_tensors(path, card, arrays)


def encoder(card):
    return card["learner"]["model"]["encoder"]


def with_header(path, length):
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])


def flipped(path):
    data = bytearray(path.read_bytes())
    data[60:90] = bytes(30)
    path.write_bytes(data)


HEAD = "params/mean/kernel"
MEAN = example_face_model().trained.constants.mean_face
SPOILED = {
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-300]), "model file of a finished run"),
    "flipped": (flipped, "model file of a finished run"),
    "empty": (lambda path: path.write_bytes(b""), "no safetensors file"),
    "archive": (lambda path: np.savez(path.open("wb"), a=np.zeros(3)), "no safetensors file"),
    "long header": (lambda path: with_header(path, 1 << 40), "a header of 1099511627776 bytes in a file of"),
    "no card": (lambda path: changed(path, lambda card, arrays: card.clear()), "none of a model's"),
    "later": (
        lambda path: changed(path, lambda card, arrays: card.update(format=2)),
        "of version 1, found .* 2",
    ),
    "odd": (lambda path: changed(path, lambda card, arrays: card.update(format="a")), "none of a model's"),
    "kind": (lambda path: changed(path, lambda card, arrays: card.update(kind="texts")), "found one of 'texts'"),
    "setting": (
        lambda path: changed(path, lambda card, arrays: card["learner"]["model"].pop("head")),
        r"no learner\.model\.head",
    ),
    "nan": (lambda path: changed(path, lambda card, arrays: arrays[HEAD].fill(np.nan)), f"infinite numbers in {HEAD}"),
    "lost": (lambda path: changed(path, lambda card, arrays: arrays.pop(HEAD)), "another mean/kernel"),
    "more": (lambda path: changed(path, lambda card, arrays: arrays.update({"params/x": np.zeros(2)})), "another x"),
    "shape": (lambda path: changed(path, lambda card, arrays: arrays.update({HEAD: arrays[HEAD].T})), "mean/kernel"),
    "codes": (
        lambda path: changed(path, lambda card, arrays: arrays.update(codes=arrays["codes"][:, :4])),
        "codes of another shape",
    ),
    "faces": (
        lambda path: changed(path, lambda card, arrays: arrays.update(level=arrays["level"][:4])),
        "level of another shape",
    ),
    "triangles": (lambda path: changed(path, lambda card, arrays: arrays["triangles"].fill(36)), "triangles beyond 36"),
    "subject": (lambda path: changed(path, lambda card, arrays: arrays["subject"].fill(-1)), "subject beyond 4"),
    "vertices": (
        lambda path: changed(path, lambda card, arrays: arrays.update(neutrals=arrays["neutrals"][:, :30])),
        "neutrals of another shape",
    ),
    "names": (lambda path: changed(path, lambda card, arrays: card["expressions"].append("grin")), "3 expressions"),
    "no names": (lambda path: changed(path, lambda card, arrays: card.pop("subjects")), "names of subjects"),
    "constants": (lambda path: changed(path, lambda card, arrays: card.pop("constants")), "no constants"),
    "moments": (
        lambda path: changed(path, lambda card, arrays: arrays.update({"constants/moment_mean": np.zeros(3, "f")})),
        "settings that a model can be built of",
    ),
    "layers": (
        lambda path: changed(path, lambda card, arrays: encoder(card).update(attention_layers=10**9)),
        "1000000000 attention layers",
    ),
    "width": (
        lambda path: changed(path, lambda card, arrays: card["learner"]["model"].update(decoder_hidden=10**12)),
        "networks that are larger than the file",
    ),
    "harmonics": (
        lambda path: changed(path, lambda card, arrays: encoder(card)["features"].update(harmonics=10**9)),
        "networks that are larger than the file",
    ),
    "other": (lambda path: changed(path, lambda card, arrays: card.update(kind="images")), "the method 'None'"),
    "text": (
        lambda path: changed(path, lambda card, arrays: card["origin"].update(seed="one")),
        r"origin\.seed to be int",
    ),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_file_that_cannot_be_used_is_one_clear_line(example, tmp_path, name):
    spoil, message = SPOILED[name]
    path = tmp_path / MODEL_FILE
    shutil.copyfile(example[1], path)
    spoil(path)
    with pytest.raises(InputError, match=message) as error:
        facedis_jax.load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400 + len(str(path))


def test_settings_of_training_that_have_changed_since_do_not_matter(example, tmp_path):
    shutil.copyfile(example[1], tmp_path / MODEL_FILE)
    changed(tmp_path / MODEL_FILE, lambda card, arrays: card["learner"].update(decay_steps=3, weights=None))
    loaded = facedis_jax.load(tmp_path)
    np.testing.assert_array_equal(loaded.decode(loaded.encode(MEAN)).full, example[0].decode(loaded.encode(MEAN)).full)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (lambda card: card["learner"], "recombination"),
        (lambda card: card["learner"], "optimiser"),
        (lambda card: card["learner"]["model"], "initial_logvar"),
        (lambda card: card["constants"]["clouds"], "least"),
        (lambda card: card["constants"]["clouds"], "tilt"),
    ],
)
@pytest.mark.parametrize("change", [dict.pop, lambda settings, name: settings.update({name: "x"})], ids=["no", "x"])
def test_a_setting_of_training_may_be_missing_or_another(example, tmp_path, place, name, change):
    """As in a file of an earlier or a later version."""
    shutil.copyfile(example[1], tmp_path / MODEL_FILE)
    changed(tmp_path / MODEL_FILE, lambda card, arrays: change(place(card), name))
    loaded = facedis_jax.load(tmp_path)
    for found, expected in zip(jax.tree.leaves(loaded.params), jax.tree.leaves(example[0].params), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card["constants"]["clouds"].pop("points"), r"no constants\.clouds\.points"),
        (lambda card: card["constants"]["clouds"].update(points=-1), r"constants\.clouds\.points to be 0 or more"),
        (lambda card: card["learner"]["model"].update(depth=3), r"learner\.model\.depth as well"),
        (lambda card: card["learner"]["model"].update(linear=1), r"learner\.model\.linear to be bool"),
    ],
)
def test_a_setting_of_the_model_may_not(example, tmp_path, change, message):
    shutil.copyfile(example[1], tmp_path / MODEL_FILE)
    changed(tmp_path / MODEL_FILE, lambda card, arrays: change(card))
    with pytest.raises(InputError, match=message):
        facedis_jax.load(tmp_path)


def begun(folder):
    (folder / "config.json").write_text("{}")


def earlier(folder):
    begun(folder)
    (folder / "results.json").write_text(json.dumps({}))
    (folder / "model.npz").write_bytes(b"PK")


@pytest.mark.parametrize(
    ("prepare", "name", "message"),
    [
        (lambda folder: None, ".", r"expected the folder of a run, found no model.safetensors in it"),
        (begun, ".", "expected a finished run"),
        (earlier, ".", "an earlier version; its command evaluates it anew"),
        (lambda folder: None, "other.safetensors", "expected a model file, found nothing there"),
        (lambda folder: (folder / MODEL_FILE).mkdir(), ".", "no regular file|a folder"),
    ],
)
def test_a_place_without_a_model_is_one_clear_line(tmp_path, prepare, name, message):
    prepare(tmp_path)
    with pytest.raises(InputError, match=message):
        facedis_jax.load(tmp_path / name)


def test_an_unknown_name_lists_those_that_exist(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    shutil.copyfile(example[1], tmp_path / "runs" / "mine" / MODEL_FILE)
    with pytest.raises(InputError, match=r"ours: expected a model file, .*, cc0-face, cc0-images, ict-face, runs/mine"):
        facedis_jax.load("ours")
