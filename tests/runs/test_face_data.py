"""Which faces a run's settings stand for."""

import numpy as np
import pytest

from facedis_jax.errors import InputError
from facedis_jax.formats.meshes import Mesh, write_mesh
from facedis_jax.runs.face_config import FaceDataConfig
from facedis_jax.runs.faces import data_files, load_face_set

PATTERN = "{subject}/{expression}/{frame}.ply"


@pytest.fixture
def folder(tmp_path):
    """Three people, one expression, two frames each, laid out as VOCASET and by numbers alike."""
    rng = np.random.default_rng(0)
    for person in ("ann", "bob", "cem"):
        face = rng.uniform(-0.1, 0.1, (16, 3))
        for frame in (1, 2):
            path = tmp_path / "set" / person / "joy" / f"joy.{frame}.ply"
            path.parent.mkdir(parents=True, exist_ok=True)
            mesh = Mesh((face + 0.002 * frame).astype(np.float32), np.arange(15, dtype=np.int32).reshape(5, 3))
            write_mesh(path, mesh)
    return tmp_path / "set"


@pytest.mark.parametrize("settings", [{"kind": "meshes", "pattern": PATTERN}, {"kind": "vocaset"}, {"kind": "famos"}])
@pytest.mark.parametrize("arrangement", ["coma", "bu3dfe"])
def test_every_experiment_learns_from_any_kind(folder, settings, arrangement, tmp_path):
    data = FaceDataConfig(folder=folder, split="subject", prepared=tmp_path / "prepared", **settings)
    faces = load_face_set(data, arrangement)
    assert (len(faces.train), len(faces.test), faces.expressions) == (4, 2, ("joy",))
    (found,) = data_files(data, faces).values()
    assert found["faces"] == "6 of 3 people"
    assert found["pattern"].endswith("for ann/joy/joy.1.ply")
    assert ("people" in found) == (settings["kind"] == "vocaset")


def test_a_public_layout_may_be_changed(folder, tmp_path):
    data = FaceDataConfig("famos", folder, unit="mm", split="subject", prepared=tmp_path)
    with pytest.raises(InputError, match=r"in mm .* \(looks like m\), where unit=m reads it"):
        load_face_set(data, "coma")


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"kind": "meshes"}, r"pattern: .*\{subject\}/\{expression\}/\{frame\}.ply, found none"),
        ({"pattern": PATTERN}, "kind: expected meshes .*whose pattern is given, found none"),
        ({"kind": "bu3dfe", "neutral_name": "NE"}, "whose neutral name is given, found bu3dfe"),
        ({"unit": "mm"}, "whose unit is given"),
        ({"align": False}, "whose align is given"),
        ({"kind": "meshes", "pattern": ""}, "pattern: expected a pattern for paths"),
        ({"kind": "facescape", "folder": None}, r"folder: expected the folder of the faces \(facescape\)"),
        ({"kind": "coma", "folder": None}, r"folder: "),
        ({"kind": "meshes", "pattern": "{who}/{frame}.ply"}, r"pattern: .*found \{who\}"),
        ({"kind": "meshes", "pattern": "{subject}.ply", "landmarks": "points.txt"}, "--data.landmarks"),
    ],
)
def test_settings_that_do_not_belong_together(folder, settings, line):
    with pytest.raises(InputError, match=line) as told:
        load_face_set(FaceDataConfig(**{"folder": folder, **settings}), "coma")
    assert "\n" not in str(told.value)
