"""A linear model of the embedded face, fitted to scans of its own faces: one compilation serves all tests."""

import contextlib
import doctest
import inspect
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

import facedis_jax
from facedis_jax.data.synthetic.face_model import load_face_model
from facedis_jax.errors import InputError
from facedis_jax.formats.meshes import UNITS
from facedis_jax.inference.example import example_face_model
from facedis_jax.inference.face_model import TrainedFaceModel
from facedis_jax.inference.fitting.fit import Fitter
from facedis_jax.inference.fitting.results import FitConfig
from facedis_jax.inference.fitting.scans import Scan

CODES = 6
CONFIG = FitConfig(steps=4, points=1024, places=2)


def linear_face(params, codes):
    return params[0] + jnp.tensordot(codes, params[1], 1, precision="highest")


@pytest.fixture(scope="module")
def model():
    return load_face_model()


@pytest.fixture(scope="module")
def fitter(model):
    codes = np.random.default_rng(0).normal(size=(200, CODES))
    params = (model.neutral, model.identity[:CODES])
    return Fitter.of_face(linear_face, params, codes, (CODES, 0, 0), model.neutral, model.triangles, looking=600)


@pytest.fixture(scope="module")
def face(fitter, model):
    codes = np.array([1.0, -0.5, 0.5, 1.0, -1.0, 0.3])
    return np.asarray(model.neutral + np.tensordot(codes, model.identity[:CODES], 1), np.float64)


def posed(points, seed, unit="mm"):
    """Points in a random pose 500 mm away, and the way back of faces there."""
    turn = Rotation.random(rng=seed).as_matrix()
    shift = np.random.default_rng(seed).normal(size=3)
    shift *= 500 / np.linalg.norm(shift)
    return (points @ turn.T + shift) / UNITS[unit], lambda there: (there * UNITS[unit] - shift) @ turn


def error(fit, back, face):
    return np.linalg.norm(back(fit.vertices) - face, axis=1).mean()


def fitted(fitter, points, triangles, unit=None, places=None, **changes):
    return fitter.fit(Scan.of(points, triangles, "scan.ply"), unit, places, replace(CONFIG, **changes), None)


@pytest.mark.parametrize(("seed", "unit"), [(0, "mm"), (1, "m"), (2, "cm"), (3, "dm")])
def test_a_face_is_found_in_any_pose_and_unit(fitter, face, model, seed, unit):
    points, back = posed(face, seed, unit)
    fit = fitted(fitter, points, model.triangles)
    assert (fit.unit, fit.is_bad, fit.reason, fit.is_inside_out) == (unit, False, "", False)
    assert error(fit, back, face) < 0.3
    assert fit.inside.all()
    np.testing.assert_allclose(fit.pose.to_scan(fit.pose.to_model(points)), points, rtol=1e-6)
    assert fit.distances.face_to_scan < 0.3
    assert fit.distances.covered > 0.95
    assert np.isfinite(fit.codes.identity.mean).all()
    assert (fit.codes.identity.std > 0).all()


def test_no_scan_is_compiled_for_anew(fitter, face, model):
    fitted(fitter, face, model.triangles)
    before = {name: function._cache_size() for name, function in fitter.compiled.items()}
    for points, triangles in ((face[:1500], None), trimesh.remesh.subdivide(face, model.triangles)):
        fitted(fitter, points, triangles)
    assert {name: function._cache_size() for name, function in fitter.compiled.items()} == before


def bare(face, triangles):
    return trimesh.sample.sample_surface(trimesh.Trimesh(face, triangles, process=False), 3000, seed=0)[0], None


def half(face, triangles):
    return face, triangles[face[triangles].mean(1)[:, 0] > 0]


def on_a_head(face, triangles):
    """With a head behind it and a neck below, whose triangles outnumber those of the face."""
    ball = trimesh.creation.icosphere(subdivisions=4)
    head = ball.vertices * np.array([75, 110, 90]) + np.array([0, 5, -75])
    behind = ball.faces[(head[:, 2] < -40)[ball.faces].all(1)]
    neck = trimesh.creation.cylinder(50, 120, sections=40)
    neck.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, (1, 0, 0), (0, 0, 0)))
    parts = [(face, triangles), (head, behind), (neck.vertices + np.array([0, -150, -75]), neck.faces)]
    starts = np.cumsum([0, *(len(points) for points, _ in parts)])
    return (
        np.concatenate([points for points, _ in parts]),
        np.concatenate([faces + start for (_, faces), start in zip(parts, starts, strict=False)]),
    )


@pytest.mark.parametrize(("change", "worst"), [(bare, 0.4), (half, 1.5), (on_a_head, 0.6)])
def test_a_face_is_found_by_other_points_of_it_or_more(fitter, face, model, change, worst):
    points, triangles = change(face, model.triangles)
    points, back = posed(points, 4)
    fit = fitted(fitter, points, triangles)
    assert not fit.is_bad
    assert error(fit, back, face) < worst
    # Points of the neck and of the back of the head are none of the face's.
    assert fit.inside[: len(face)].mean() > 0.9 if change is not half else True
    assert not fit.inside[len(face) :].mean() > 0.3 if change is on_a_head else True


def test_triangles_that_face_inwards_are_accepted_and_reported(fitter, face, model):
    points, back = posed(face, 5)
    fit = fitted(fitter, points, model.triangles[:, ::-1])
    assert fit.is_inside_out
    assert not fit.is_bad
    assert error(fit, back, face) < 0.3


def test_deviations_are_wide_where_the_scan_has_a_hole(fitter, face, model):
    points, triangles = half(face, model.triangles)
    fit = fitted(fitter, points, triangles, posterior_samples=32)
    seen = np.isin(np.arange(len(face)), triangles)
    assert fit.std_mm[~seen].mean() > 1.2 * fit.std_mm[seen].mean()
    assert np.isinf(fit.vertex_mm[face[:, 0] < -30]).all()


def test_detail_is_what_codes_cannot_hold(fitter, face, model):
    bump = 4 * np.exp(-np.square((face - face[300]) / 15).sum(1))
    points, back = posed(face + bump[:, None] * (0, 0, 1), 6)
    fit = fitted(fitter, points, model.triangles, detail=True)
    target = face + bump[:, None] * (0, 0, 1)
    codes_alone, with_detail = (np.linalg.norm(back(v) - target, axis=1).mean() for v in (fit.vertices, fit.detail))
    assert with_detail < 0.7 * codes_alone


def test_landmarks_bring_the_face_to_its_place(fitter, face, model):
    points, back = posed(face, 7, "cm")
    chosen = np.array(list(fitter.landmarks.values()))
    fit = fitted(fitter, points, model.triangles, places=(chosen, points[chosen]))
    assert fit.unit == "cm"
    assert error(fit, back, face) < 0.3


def two_faces(face, triangles):
    return np.concatenate([face, face + np.array([300, 0, 0])]), np.concatenate([triangles, triangles + len(face)])


def noise(_face, _triangles):
    return np.random.default_rng(0).normal(scale=60, size=(3000, 3)), None


def test_a_ball_is_refused_or_flagged(fitter):
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=95)
    reason = ""
    with contextlib.suppress(InputError):
        reason = fitted(fitter, mesh.vertices, mesh.faces).reason or "none"
    assert reason != "none"


@pytest.mark.parametrize(("change", "found"), [(noise, "no face"), (two_faces, "two faces")])
def test_scans_without_one_face_are_refused(fitter, face, model, change, found):
    points, triangles = change(face, model.triangles)
    with pytest.raises(InputError, match=f"scan.ply: .*{found}"):
        fitted(fitter, points, triangles)


GRID = np.random.default_rng(0).uniform(-90, 90, size=(500, 3))


@pytest.mark.parametrize(
    ("points", "triangles", "found"),
    [
        (GRID[:50], None, "expected 100 points of a face or more, found 50"),
        (np.ones((500, 3)), None, "all points in one place"),
        (np.where(np.arange(500)[:, None] == 7, np.nan, GRID), None, "finite coordinates.*at point 7"),
        (np.where(np.arange(500)[:, None] == 7, np.inf, GRID), None, "finite coordinates"),
        (GRID[:, :2], None, r"points \[points, 3\]"),
        (GRID.astype(complex), None, r"points \[points, 3\]"),
        (GRID, [[0, 1, 500]], "triangles of 500 points"),
        (GRID, [[0, 1, -1]], "triangles of 500 points"),
        (GRID, [[0.0, 1, 2]], r"triangles \[triangles, 3\]"),
        (GRID, [[0, 0, 1], [3, 3, 3]], "none that has an area"),
    ],
)
def test_points_that_are_no_surface_are_refused(points, triangles, found):
    with pytest.raises(InputError, match=found):
        Scan.of(points, None if triangles is None else np.array(triangles), "scan.ply")


@pytest.mark.parametrize(
    ("scale", "unit", "found"),
    [
        (20.0, None, "scan 60 to 2500 mm in size in mm, cm, dm or m"),
        (1e-6, None, "found a diagonal of"),
        (1.0, "m", "size in m,"),
        (1.0, "inch", "unit: expected one of"),
    ],
)
def test_a_unit_in_which_no_face_would_fit_is_refused(scale, unit, found):
    with pytest.raises(InputError, match=found):
        Scan.of(GRID * scale).units(unit)


@pytest.mark.parametrize(("scale", "units"), [(1.0, ["mm"]), (0.001, ["m"]), (0.0055, ["dm", "m"])])
def test_units_in_which_a_face_would_fit_are_tried(scale, units):
    assert Scan.of(GRID * scale).units(None) == units


@pytest.mark.parametrize("name", ["fit", "fitter", "landmark_names"])
def test_examples_of_docstrings_run(fitter, model, face, monkeypatch, name):
    """Examples that a trained model would be compiled for half a minute: the linear one stands in for it."""

    class LinearFaces(TrainedFaceModel):
        triangles = model.triangles

        def sample(self, key, count):
            return face[None].repeat(count, 0)

        def fit(self, points, triangles):
            return super().fit(points, triangles, config=CONFIG)

    linear = LinearFaces(**{key: vars(example_face_model())[key] for key in LinearFaces.__dataclass_fields__})
    vars(linear)["fitter"] = fitter
    monkeypatch.setattr(facedis_jax, "load", {"cc0-face": linear}.__getitem__)
    member = inspect.getattr_static(TrainedFaceModel, name)
    text = inspect.getdoc(member).replace("# doctest: +SKIP", "")
    variables = dict(vars(inspect.getmodule(TrainedFaceModel)))
    test = doctest.DocTestParser().get_doctest(text, variables, name, None, 0)
    assert test.examples
    assert not doctest.DocTestRunner().run(test).failed
