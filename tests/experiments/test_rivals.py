"""Runs of several methods on one table, from files to a report, with networks of a few units."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import facedis_jax
from experiments import bu3dfe_rivals, coma_rivals
from facedis_jax.data.synthetic.faces import SyntheticFaceConfig
from facedis_jax.errors import InputError
from facedis_jax.formats.meshes import Mesh, write_mesh
from facedis_jax.learners.optimiser import OptimiserConfig
from facedis_jax.learners.rivals.faces import MeshAeConfig, RivalTraining, ZhangConfig, jiang_features
from facedis_jax.models.rivals.faces.deformation import DeformationSpace
from facedis_jax.models.rivals.faces.mesh_nets import MeshNetConfig
from facedis_jax.reports.faces.rivals import MEASURES, summarise
from facedis_jax.runs.command_line import RunOptions
from facedis_jax.runs.faces import FaceDataConfig
from facedis_jax.runs.rival_config import METHODS, RivalsConfig
from facedis_jax.runs.rivals import DeformationSource, Deformed
from tests.made_up_faces import made_up_face_model
from tests.pages import ShownPage

pytestmark = pytest.mark.usefixtures("small_figures")

TRAINING = RivalTraining(1.0, 16, OptimiserConfig(learning_rate=3e-3, weight_decay=0.0, schedule="cosine"))
NETS = MeshNetConfig((4, 4), 3)


def options(workdir, **changes):
    return RunOptions(preset="tiny", workdir=workdir, quiet=True, devices=1, **changes)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """A face model of 42 vertices as a `.npz`."""
    model, path = made_up_face_model(), tmp_path_factory.mktemp("model") / "made_up.npz"
    parts = {name: getattr(model, name) for name in ("neutral", "identity", "expression", "triangles")}
    np.savez(path, **parts, expression_names=np.array(model.expression_names))
    return path


@pytest.fixture(scope="module")
def table(model_file, tmp_path_factory):
    """A finished run of three methods."""
    path = tmp_path_factory.mktemp("rivals") / "run"
    data = FaceDataConfig(face_model=model_file, synthetic=SyntheticFaceConfig(num_subjects=2, frames=(4, 5)))
    config = RivalsConfig(
        data=data,
        methods=("zhang", "linear", "pca"),
        seeds=1,
        zhang=ZhangConfig(NETS, (8,), training=TRAINING),
    )
    assert coma_rivals.main(config, options(path)) == 0
    return config, path


def test_a_table_has_every_method_and_seed(table):
    config, path = table
    results = json.loads((path / "results.json").read_text())
    assert [row["method"] for row in results["methods"]] == list(config.methods)
    by_name = {row["method"]: row for row in results["methods"]}
    for name in ("reconstruction_mm", "neutral_mm", "disentanglement_mm", "disentanglement_per_vertex_mm"):
        assert 0 <= by_name["zhang"][name]["mean"] < 100
        assert 0 <= by_name["linear"][name]["mean"] < 100
    assert by_name["zhang"]["probes"].keys() == by_name["linear"]["probes"].keys()
    # Components alone say nothing of who it is.
    assert "neutral_mm" not in by_name["pca"]
    assert by_name["pca"]["reconstruction_mm"]["mean"] < by_name["linear"]["reconstruction_mm"]["mean"]
    assert by_name["pca"]["parameters"] == 9 * 42 * 3
    assert by_name["zhang"]["seconds"] > 0
    assert by_name["pca"]["self_intersections"].keys() == {"true", "reconstructed", "meshes"}
    page = ShownPage((path / "report.html").read_text())
    assert [row["method"] for row in page.table("method", "neutral (mm)").rows] == [
        "in the manner of Zhang et al.", "linear, as FLAME", "PCA",
    ]  # fmt: skip
    assert len(page.images) == len(list((path / "figures").iterdir())) == 3


def test_several_seeds_and_a_folder_of_another_run(table):
    config, path = table
    before = json.loads((path / "results.json").read_text())
    other = path.parent / "other"
    assert coma_rivals.main(replace(config, methods=("pca",), seeds=2), options(other)) == 0
    found = json.loads((other / "results.json").read_text())
    assert [(row["method"], row["seed"]) for row in found["methods"]] == [("pca", 0), ("pca", 1)]
    # A method's numbers do not depend on what stands beside it.
    assert found["methods"][0]["reconstruction_mm"] == before["methods"][2]["reconstruction_mm"]
    assert found["summary"][0]["reconstruction_mm_interval"] < 1e-3
    with pytest.raises(InputError, match=r"config\.methods"):
        coma_rivals.main(config, options(other))


def test_a_rival_is_a_model_that_can_be_loaded_and_edited_with(table, tmp_path):
    _, path = table
    results = json.loads((path / "results.json").read_text())
    model = facedis_jax.load(path / "zhang")
    faces = model.trained.neutrals
    codes = model.encode(faces)
    assert codes.identity.mean.shape == codes.expression.mean.shape == (2, 4)
    assert model.neutral(codes).shape == model.expression(codes, model.shown_expressions[0]).shape == faces.shape
    assert model.transfer(codes, codes).shape == faces.shape
    assert model.between(codes, codes, [0.0, 0.5]).shape == (2, *faces.shape)
    assert model.sample(jax.random.key(0), 3).shape == (3, *faces.shape[1:])
    np.testing.assert_allclose(model.decode(codes).full, model.codec.decode(*map(np.asarray, (
        codes.identity.mean, codes.expression.mean)), None)[0], atol=1e-4)  # fmt: skip
    assert (
        sum(leaf.size for leaf in jax.tree.leaves(model.params.params["model"])) == results["methods"][0]["parameters"]
    )
    again = tmp_path / "model.safetensors"
    model.save(again)
    np.testing.assert_array_equal(facedis_jax.load(again).decode(codes).full, model.decode(codes).full)
    with pytest.raises(InputError, match="registered meshes alone"):
        model.encode_points([faces[0]])


def test_deformation_features_that_are_computed_ahead_are_those_of_the_step(face_set):
    template, people = face_set.neutrals.mean(0), face_set.neutrals
    space = DeformationSpace(template, face_set.triangles)
    deformed = Deformed(face_set.train, np.arange(len(face_set.train)), people, template)
    face = face_set.train[3]
    neutral = people[int(face["subject"])]
    expected = jax.jit(lambda *pair: jiang_features(space, *pair))(face["vertices"], neutral)
    features = np.asarray(
        jax.jit(jax.vmap(space.features))(np.stack([deformed[i]["vertices"] for i in range(len(deformed))]))
    )
    found = DeformationSource(face_set.train, features)[3]
    assert found["index"] == face["index"]
    for name, values in expected.items():
        np.testing.assert_allclose(found["features"][name], values, atol=1e-5)


BAD = {
    "an unknown method": ({"methods": ("mesh_ae", "flame")}, "methods: expected some of ib_vae, mesh_ae"),
    "a method twice": ({"methods": ("pca", "pca")}, "pca twice"),
    "no methods": ({"methods": ()}, "found none"),
    "no seeds": ({"seeds": 0}, "seeds"),
    "no latents": ({"identity_latents": 0}, "identity_latents"),
}


@pytest.mark.parametrize("name", BAD)
def test_settings_that_make_no_table(name):
    changes, named = BAD[name]
    with pytest.raises(InputError, match=named):
        replace(coma_rivals.DEMO, **changes)


@pytest.mark.parametrize("method", ["mesh_ae", "spiral_net", "jiang", "zhang"])
@pytest.mark.parametrize("kind", ["torn", "few", "two pieces"])
def test_meshes_that_a_rival_cannot_take_leave_no_run_behind(method, kind, tmp_path):
    if kind != "two pieces" or method == "jiang":
        model = made_up_face_model()
        vertices, triangles = model.neutral, model.triangles
        if kind == "torn":
            triangles = np.concatenate([triangles, triangles[:1, ::-1]])
        if kind == "two pieces":
            triangles = np.concatenate([triangles, triangles + len(vertices)])
            vertices = np.concatenate([vertices, vertices + np.float32([0, 0, -40])])
        if kind == "few" and method == "jiang":
            pytest.skip("it samples no mesh")
        for person in ("anna", "ben"):
            for frame in range(3):
                moved = vertices + np.float32([0, frame, 0]) * (vertices[:, 1:2] < 0)
                path = tmp_path / "data" / person / "smile" / f"{frame}.ply"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_mesh(path, Mesh(moved + np.float32(ord(person[0])) % 5, triangles))
        data = FaceDataConfig(
            kind="meshes",
            folder=tmp_path / "data",
            pattern="{subject}/{expression}/{frame}.ply",
            split="subject",
            prepared=tmp_path / "prepared",
        )
        one_epoch = replace(TRAINING, batch_size=1)
        nets = MeshNetConfig((4, 4, 4, 4) if kind == "few" else (4,), 3)
        changes = {"jiang": replace(coma_rivals.DEMO.jiang, training=one_epoch)}
        if method != "jiang":
            changes = {method: replace(getattr(coma_rivals.DEMO, method), model=nets, training=one_epoch)}
        with pytest.raises(InputError, match=f"^{method}: ") as refused:
            coma_rivals.main(RivalsConfig(data=data, methods=(method,), **changes), options(tmp_path / "run"))
        assert "\n" not in str(refused.value)
        assert not (tmp_path / "run").exists()


def test_presets():
    paper = coma_rivals.PRESETS["paper"]
    assert (paper.methods, paper.seeds) == (METHODS, 3)
    assert paper.mesh_ae == MeshAeConfig()
    assert bu3dfe_rivals.PRESETS["paper"].gu.reconstruction_weight == 250
    for experiment in (coma_rivals, bu3dfe_rivals):
        assert {preset.seeds for name, preset in experiment.PRESETS.items() if name != "paper"} == {1}
        assert Path(experiment.__file__).stem in experiment.__doc__


def test_intervals_are_over_seeds_and_missing_where_a_method_has_no_measure():
    rows = [
        {"method": "a", "reconstruction_mm": {"mean": value, "median": value}, "parameters": 3, "seconds": 2.0}
        for value in (1.0, 2.0, 3.0)
    ]
    (entry,) = summarise(rows)
    assert entry["reconstruction_mm"] == 2
    # Student's t for two degrees of freedom, 4.303, times 1 / sqrt(3).
    assert entry["reconstruction_mm_interval"] == pytest.approx(2.484, abs=1e-3)
    assert entry["neutral_mm"] is None
    assert set(entry) == {"method", "seeds", *MEASURES, *(f"{name}_interval" for name in MEASURES)}
