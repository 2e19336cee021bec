"""Whole runs, from files to a report, with networks of a few units."""

import json
from dataclasses import replace

import numpy as np
import pytest

from experiments import bu3dfe_ib, coma_ablation, coma_cvae, coma_ib
from facedis_jax.data.faces.face_set import stack
from facedis_jax.data.synthetic.faces import SyntheticFaceConfig
from facedis_jax.errors import InputError
from facedis_jax.formats.meshes import Mesh, write_mesh
from facedis_jax.learners import IbVaeConfig
from facedis_jax.reports.faces.ablation import TABLE_1
from facedis_jax.runs.command_line import RunOptions
from facedis_jax.runs.face_config import FaceDataConfig, FaceRunConfig
from facedis_jax.runs.faces import fit_faces, open_face_run
from tests.made_up_faces import UNITS
from tests.pages import ShownPage
from tests.small_runs import MODEL, OPTIMISER, WEIGHTS

pytestmark = pytest.mark.usefixtures("few_points", "small_figures")

LEARNER = IbVaeConfig(model=MODEL, weights=WEIGHTS, optimiser=OPTIMISER)


def small(data, **changes):
    return FaceRunConfig(
        data=data, learner=LEARNER, epochs=2.0, batch_size=16, log_every_steps=2, evaluate_every_steps=10, **changes
    )


def options(workdir, **changes):
    return RunOptions(preset="tiny", workdir=workdir, quiet=True, **changes)


@pytest.fixture(scope="module")
def coma_folder(tmp_path_factory, small_face_set):
    """Some of the small face set's frames as CoMA's files, in metres."""
    folder = tmp_path_factory.mktemp("COMA")
    faces = stack(small_face_set.train)
    for vertices, index in zip(faces.vertices, faces.index, strict=True):
        path = folder / f"{small_face_set.names[index]}.ply"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mesh(path, Mesh(vertices / 1000, small_face_set.triangles))
    return folder


@pytest.fixture(scope="module")
def model_file(tmp_path_factory, small_face_set):
    """A face model as a `.npz`."""
    rng = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("model") / "made_up.npz"
    num_vertices = small_face_set.neutrals.shape[1]
    units = (*UNITS, "browDown", "noseSneer")
    np.savez(
        path,
        neutral=small_face_set.neutrals[0],
        identity=rng.normal(scale=4, size=(3, num_vertices, 3)).astype(np.float32),
        expression=rng.normal(scale=6, size=(len(units), num_vertices, 3)).astype(np.float32),
        expression_names=np.array(units),
        triangles=small_face_set.triangles,
    )
    return path


def test_the_main_job_on_a_coma_folder(coma_folder, tmp_path, capsys):
    config = small(FaceDataConfig(folder=coma_folder, prepared=tmp_path / "prepared"))
    run = tmp_path / "run"
    assert coma_ib.main(config, options(run)) == 0
    results = json.loads((run / "results.json").read_text())
    for name in ("reconstruction_mm", "neutral_mm", "disentanglement_mm"):
        assert 0 < results[name]["mean"] < 100
    assert results["baselines"]["pca"]["reconstruction_mm"]["mean"] > 0
    ((name, found),) = results["data_files"].items()
    assert (name, found["split"].split(",")[0]) == ("coma/paper", "paper")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    # The loop's own evaluation and the report's agree.
    assert lines[-1]["split"] == "test"
    np.testing.assert_allclose(lines[-1]["reconstruction_mm"], results["reconstruction_mm"]["mean"], rtol=1e-4)
    assert len(ShownPage((run / "report.html").read_text()).images) == len(list((run / "figures").iterdir())) >= 6
    assert {path.name for path in run.iterdir()} >= {"config.json", "checkpoints", "figures", "model.safetensors"}

    # The same command on a finished run trains no more and measures the same.
    metrics = (run / "metrics.jsonl").read_bytes()
    assert coma_ib.main(config, options(run)) == 0
    assert (run / "metrics.jsonl").read_bytes() == metrics
    again = json.loads((run / "results.json").read_text())
    assert again["disentanglement_mm"] == results["disentanglement_mm"]

    # Another configuration does not touch it.
    with pytest.raises(InputError, match=r"config\.seed"):
        coma_ib.main(replace(config, seed=1), options(run))
    assert capsys.readouterr().out == ""


@pytest.mark.thorough
def test_faces_with_labels_and_features_computed_ahead(model_file, tmp_path):
    data = FaceDataConfig(face_model=model_file, synthetic=SyntheticFaceConfig(num_subjects=2, frames=(4, 5)))
    config = with_labels(small(data, precompute=True))
    assert coma_cvae.main(config, options(tmp_path / "run", devices=1)) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert set(results["collapsed_latents"]) == {"identity", "expression"}
    # What the report computes anew for every face is what training was given ahead.
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    np.testing.assert_allclose(lines[-1]["reconstruction_mm"], results["reconstruction_mm"]["mean"], rtol=1e-4)


@pytest.mark.thorough
@pytest.mark.parametrize("precompute", [False, True])
def test_faces_that_stay_on_the_devices_change_nothing(model_file, tmp_path, precompute):
    data = FaceDataConfig(face_model=model_file, synthetic=SyntheticFaceConfig(num_subjects=2, frames=(4, 5)))
    config = small(data, precompute=precompute)
    lines = []
    for keep in (False, True):
        workdir = tmp_path / str(keep)
        run = open_face_run("coma_ib", config, options(workdir, devices=2, keep_on_device=keep), "coma")
        fit_faces(run, run.learner())
        lines.append([json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()])
    for one, other in zip(*lines, strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() - {"step", "split"}:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-5)


def with_labels(config):
    return replace(config, learner=replace(config.learner, conditional=True))


def test_scans_of_many_people(model_file, tmp_path):
    data = FaceDataConfig(face_model=model_file, synthetic=SyntheticFaceConfig(num_subjects=11))
    config = small(data, register_predictions=True)
    assert bu3dfe_ib.main(config, options(tmp_path / "run", devices=1)) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    # Test people are unseen: 2 of 11, 25 scans of each.
    assert results["faces"] == {"train": 225, "test": 50}
    registered = results["registered"]["reconstruction_mm"]["mean"]
    assert registered < results["reconstruction_mm"]["mean"]


@pytest.mark.thorough
def test_the_ablation_trains_its_grid_at_once(model_file, tmp_path):
    data = FaceDataConfig(face_model=model_file, synthetic=SyntheticFaceConfig(num_subjects=2, frames=(4, 5)))
    config = coma_ablation.AblationConfig(run=small(data), beta_mi=(0.0, 50.0), beta_id=(1.0, 10.0), seeds=2)
    assert coma_ablation.main(config, options(tmp_path / "run")) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert len(results["members"]) == 8
    assert len({row["reconstruction_mm"] for row in results["members"]}) == 8
    assert [(row["beta_id"], row["beta_mi"]) for row in results["summary"]] == [
        (1.0, 0.0), (1.0, 50.0), (10.0, 0.0), (10.0, 50.0),
    ]  # fmt: skip
    page = ShownPage((tmp_path / "run" / "report.html").read_text())
    assert len(page.images) == 1
    assert [row["model"] for row in page.table("model", "beta_mi").rows] == list(TABLE_1)
    for shown, entry in zip(page.tables[-1].rows, results["summary"], strict=True):
        assert shown["disentanglement (mm)"].startswith(f"{entry['disentanglement_mm']:.4f} ± ")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"data": FaceDataConfig(folder="nowhere")}, "nowhere"),
        ({"data": FaceDataConfig(face_model="nothing.npz")}, "nothing.npz"),
        ({"batch_size": 30}, "batch_size"),
        ({"data": FaceDataConfig(synthetic=SyntheticFaceConfig(expressions=("grin",)))}, "grin"),
        ({"epochs": 0.0}, "epochs: expected enough for one step"),
    ],
)
def test_bad_input_leaves_no_run_behind(tmp_path, changes, named):
    with pytest.raises(InputError, match=named) as raised:
        coma_ib.main(replace(coma_ib.TINY, **changes), options(tmp_path / "run", devices=4))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_more_devices_than_there_are(tmp_path):
    with pytest.raises(InputError, match="--devices"):
        coma_ib.main(coma_ib.TINY, options(tmp_path / "run", devices=99))


def test_the_paper_preset_is_the_paper():
    learner = coma_ib.PRESETS["paper"].learner
    weights, optimiser, encoder = learner.weights, learner.optimiser, learner.model.encoder
    assert (weights.lambda_1, weights.lambda_2, weights.beta_id, weights.beta_mi) == (6.6e-2, 3e-3, 10, 50)
    assert (optimiser.name, optimiser.learning_rate, optimiser.weight_decay) == ("adam", 5e-5, 1e-4)
    assert (optimiser.decay_rate, optimiser.decay_epochs, learner.decay_epochs) == (0.7, 50, 350)
    assert (encoder.features.centres, encoder.features.neighbours) == ((512, 256), 32)
    assert (encoder.width, encoder.attention_layers, encoder.global_features) == (256, 4, 1024)
    assert encoder.features.harmonics == encoder.frequencies == 0
    assert (learner.model.head, learner.model.decoder_hidden) == ((256, 64), 256)
    assert (coma_ib.PRESETS["paper"].epochs, coma_ib.PRESETS["paper"].batch_size) == (300, 32)
    assert bu3dfe_ib.PRESETS["paper"].learner.weights.beta_id == 1
