import functools
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from facedis_jax.cli import main
from facedis_jax.cli.edit import Between, EditOptions, Expression, Neutral, Sample, Transfer, edit
from facedis_jax.data.faces.levels import sequence_levels
from facedis_jax.errors import InputError
from facedis_jax.formats.meshes import Mesh, read_mesh, write_mesh
from facedis_jax.inference.face_editor import FaceEditor
from facedis_jax.inference.face_model import DecodedFaces
from facedis_jax.inference.load import load_faces

TURN = np.float32([[0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # a quarter, about the vertical axis


load_once = functools.cache(load_faces)


@pytest.fixture(autouse=True)
def _each_run_is_loaded_once(monkeypatch):
    monkeypatch.setattr("facedis_jax.cli.edit.load", load_once)


@pytest.fixture(scope="module")
def editor(plain_run):
    return FaceEditor(load_once(plain_run.path))


def strongest(face_set, subject, expression):
    """The strongest training frame of a person in an expression."""
    train = face_set.train
    shows = (train.subject == subject) & (train.expression == face_set.expressions.index(expression))
    return train.vertices[np.where(shows, train.level, -1).argmax()]


@pytest.fixture(scope="module")
def faces(small_face_set):
    return strongest(small_face_set, 0, "mouth_open"), strongest(small_face_set, 1, "high_smile")


@pytest.fixture
def files(faces, small_face_set, tmp_path):
    paths = []
    for name, vertices in zip(("one.ply", "two.obj"), faces, strict=True):
        write_mesh(tmp_path / name, Mesh(vertices, small_face_set.triangles))
        paths.append(tmp_path / name)
    return paths


def distance(one, two):
    return np.linalg.norm(one - two, axis=-1).mean()


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb"])
def test_the_neutral_is_written_in_every_format(plain_run, editor, files, small_face_set, tmp_path, suffix):
    output = tmp_path / f"out{suffix}"
    assert edit(EditOptions(plain_run.path, output, Neutral(face=files[0]))) == 0
    expected = editor.neutral(editor.encode(files[0], None, align=False))[0]
    if suffix == ".glb":
        mesh = trimesh.load(output, force="mesh", process=False)
        vertices, triangles = mesh.vertices * 1000, mesh.faces
    else:
        mesh = read_mesh(output)
        vertices, triangles = mesh.vertices, mesh.triangles
    np.testing.assert_allclose(vertices, expected, atol=1e-4)
    np.testing.assert_array_equal(triangles, small_face_set.triangles)
    with Image.open(tmp_path / "out.png") as picture:
        assert np.asarray(picture).std() > 10
    assert {path.name for path in tmp_path.iterdir()} == {"one.ply", "two.obj", output.name, "out.png"}


def test_the_neutral_is_nearer_to_the_persons_neutral_than_the_input(editor, files, faces, small_face_set):
    neutral = editor.neutral(editor.encode(files[0], None, align=False))[0]
    truth = small_face_set.neutrals[0]
    assert distance(neutral, truth) < 0.5 * distance(faces[0], truth)


@pytest.mark.parametrize("kind", ["plain_run", "labelled_run"])
def test_a_named_expression_grows_with_its_level(kind, request, files, small_face_set):
    editor = FaceEditor(load_once(request.getfixturevalue(kind).path))
    face = editor.encode(files[0], editor.model.labels(None, 1.0), align=False)
    neutral = editor.neutral(face)
    without, weak, strong = (editor.expression(face, "high_smile", level) for level in (0.0, 0.5, 1.0))
    assert 0.2 * distance(strong, without) < distance(weak, without) < 0.8 * distance(strong, without)
    levels = [distance(one, neutral) for one in (without, weak, strong)]
    assert levels == sorted(levels)
    assert levels[0] < 0.5 * levels[2]


def test_expression_codes_are_those_of_strong_training_faces(editor):
    """Neutral at (1, 1), a smile at (1, 3), and under one name sides at (-2, 1) and, more often, (4, 1)."""
    codes = [(1, 1), (1, 1), (1, 3.1), (1, 2.9), (1, 2), (-2, 1), (4, 0.9), (4, 1.0), (4, 1.1)]
    known = replace(
        editor.model.trained,
        expressions=("high_smile", "mouth_side", "unseen"),
        codes=np.array([(7, *code) for code in codes], np.float32),
        expression=np.array([0, 1, 0, 0, 0, 1, 1, 1, 1]),
        level=np.float32([0, 0.05, 0.8, 0.79, 0.4, 1, 1, 1, 0.95]),
    )
    config = editor.model.config
    config = replace(config, model=replace(config.model, identity_latents=1, expression_latents=2))
    named = replace(editor.model, config=config, trained=known).expression_code
    for name, level, expected in [
        ("high_smile", 0.0, (1, 1)),
        ("high_smile", 0.5, (1, 2)),
        ("high_smile", 1.0, (1, 3)),
        ("mouth_side", 1.0, (4, 1)),
    ]:
        np.testing.assert_allclose(named(name, level)[0], expected, rtol=1e-6)
    with pytest.raises(InputError, match="unseen"):
        named("unseen", 1.0)


def test_a_transfer_joins_one_person_and_the_others_expression(editor, files):
    one, two = (editor.encode(path, None, align=False) for path in files)
    own, model = editor.transfer(one, one), editor.model
    for donor in (one, two):
        expected = model.functions.decode(model.params, one.codes.identity.mean, donor.codes.expression.mean, None)
        np.testing.assert_array_equal(editor.transfer(one, donor), expected.full)
    assert distance(own, editor.transfer(one, two)) > 0.5


def test_in_betweens_lead_from_one_face_to_the_other(editor, files):
    one, two = (editor.encode(path, None, align=False) for path in files)
    amounts, way = editor.between(one, two, 4)
    np.testing.assert_allclose(amounts, [0.2, 0.4, 0.6, 0.8])
    start = [distance(face, editor.transfer(one, one)[0]) for face in way]
    end = [distance(face, editor.transfer(two, two)[0]) for face in way]
    assert start == sorted(start)
    assert end == sorted(end, reverse=True)
    np.testing.assert_allclose(editor.between(one, one, 1)[1], editor.transfer(one, one), atol=1e-4)


def test_samples_follow_the_seed(editor):
    few, again, other = editor.sample(3, 1), editor.sample(3, 1), editor.sample(3, 2)
    np.testing.assert_array_equal(few, again)
    assert distance(few, other) > 0.1


def test_samples_have_the_spread_of_the_codes(editor):
    """With a decoder that shows its codes as they are, samples have their mean and spread, to Monte Carlo error."""

    def show(params, z_identity, z_expression, labels):
        codes = np.concatenate([z_identity, z_expression], axis=1)
        return DecodedFaces(codes, codes)

    functions = editor.model.functions._replace(decode=show)
    samples = FaceEditor(replace(editor.model, functions=functions)).sample(100, 0)
    codes = editor.model.trained.codes
    # Four standard errors of the mean and of the standard deviation of 100 draws.
    assert (np.abs(samples.mean(0) - codes.mean(0)) < 4 * codes.std(0) / np.sqrt(100)).all()
    assert (np.abs(samples.std(0) / codes.std(0) - 1) < 4 / np.sqrt(2 * 100)).all()


def test_kept_detail_gives_the_input_back_under_no_edit(editor, files, faces):
    one, two = (editor.encode(path, None, align=False, keep_detail=True) for path in files)
    np.testing.assert_allclose(editor.transfer(one, one)[0], faces[0], atol=1e-3)
    plain = editor.encode(files[0], None, align=False)
    np.testing.assert_allclose(editor.transfer(one, two) - editor.transfer(plain, two), one.detail, atol=1e-4)


def test_the_output_is_in_the_unit_of_the_input(plain_run, files, faces, small_face_set, tmp_path):
    write_mesh(tmp_path / "metres.ply", Mesh(faces[0] / 1000, small_face_set.triangles))
    for unit, path in (("m", tmp_path / "metres.ply"), ("mm", files[0])):
        edit(EditOptions(plain_run.path, tmp_path / f"out_{unit}.ply", Neutral(face=path), unit=unit))
    metres, millimetres = (read_mesh(tmp_path / f"out_{unit}.ply").vertices for unit in ("m", "mm"))
    np.testing.assert_allclose(metres * 1000, millimetres, atol=0.02)


def test_a_face_elsewhere_is_refused_or_aligned(editor, plain_run, files, faces, small_face_set, tmp_path):
    moved = faces[0] @ TURN.T + np.float32([300, -20, 1000])
    write_mesh(tmp_path / "moved.ply", Mesh(moved, small_face_set.triangles))
    with pytest.raises(InputError, match=r"moved.ply.*align=True"):
        editor.encode(tmp_path / "moved.ply", None, align=False)
    for name, path in (("there", tmp_path / "moved.ply"), ("here", files[0])):
        edit(EditOptions(plain_run.path, tmp_path / f"{name}.ply", Neutral(face=path, align=True)))
    there, here = (read_mesh(tmp_path / f"{name}.ply").vertices for name in ("there", "here"))
    np.testing.assert_allclose(there, here @ TURN.T + np.float32([300, -20, 1000]), atol=0.05)


def test_labels_matter_to_a_run_with_labels(labelled_run, files):
    editor = FaceEditor(load_once(labelled_run.path))
    codes = [
        editor.encode(files[0], editor.model.labels(name, 1.0), align=False).codes.expression.mean
        for name in (None, "mouth_open")
    ]
    assert np.abs(codes[0] - codes[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("action", "names"),
    [
        (lambda one, two: Expression(face=one, name="mouth_open"), ["out.ply"]),
        (lambda one, two: Transfer(face=one, donor=two, donor_label="high_smile"), ["out.ply"]),
        (lambda one, two: Between(face=one, to=two, steps=2, label="mouth_open"), ["out_1.ply", "out_2.ply"]),
        (lambda one, two: Sample(number=10), [f"out_{i:02d}.ply" for i in range(1, 11)]),
    ],
)
def test_every_action_writes_its_files(labelled_run, files, tmp_path, capsys, action, names):
    (tmp_path / "out").mkdir()
    edit(EditOptions(labelled_run.path, tmp_path / "out" / "out.ply", action(*files)))
    written = [tmp_path / "out" / name for name in (*names, "out.png")]
    assert sorted((tmp_path / "out").iterdir()) == sorted(written)
    assert capsys.readouterr().out.split() == [str(path) for path in written]
    assert all(read_mesh(path).vertices.shape == (42, 3) for path in written[:-1])


def broken(tmp_path, vertices, triangles):
    write_mesh(tmp_path / "broken.ply", Mesh(vertices, triangles))
    return tmp_path / "broken.ply"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v, t: (v / 1000, t), r"looks like m\), where unit=m reads it"),
        (lambda v, t: (v / 10, t), r"looks like cm\), where unit=cm reads it"),
        (lambda v, t: (v * 10, t), "a face in mm"),
        (lambda v, t: (v, t[:, [0, 2, 1]]), "topology"),
        (lambda v, t: (v, t[:-1]), "60 triangles"),
        (lambda v, t: (np.concatenate([v, v[:1]]), t), "42 vertices"),
        (lambda v, t: (np.where(np.arange(42)[:, None] == 5, np.nan, v), t), "finite coordinates"),
    ],
)
def test_a_face_that_cannot_be_used(plain_run, faces, small_face_set, tmp_path, change, message):
    face = broken(tmp_path, *change(faces[0], small_face_set.triangles))
    with pytest.raises(InputError, match=message) as error:
        edit(EditOptions(plain_run.path, tmp_path / "out.ply", Neutral(face=face)))
    assert str(face) in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["broken.ply"]


@pytest.mark.parametrize(
    ("output", "action", "message"),
    [
        ("out.stl", lambda one, two: Neutral(face=one), "ending '.stl'"),
        ("nowhere/out.ply", lambda one, two: Neutral(face=one), "folder that exists"),
        ("folder.ply", lambda one, two: Neutral(face=one), "a folder"),
        ("out.ply", lambda one, two: Neutral(face=Path("missing.ply")), "missing.ply"),
        ("out.ply", lambda one, two: Neutral(face=one, label="mouth_open"), "label: .* takes no labels"),
        ("out.ply", lambda one, two: Expression(face=one, name="grin"), "one of bareteeth, .*found grin"),
        (
            "out.ply",
            lambda one, two: Expression(face=one, name="mouth_open", level=1.5),
            "level: .* 0 to 1",
        ),
        ("out.ply", lambda one, two: Expression(face=one, name="mouth_open", level=np.nan), "level"),
        ("out.ply", lambda one, two: Between(face=one, to=two, steps=0), "steps: .* 1 to 100"),
        ("out.ply", lambda one, two: Sample(number=101), "number"),
        ("out.ply", lambda one, two: Sample(seed=-1), "seed"),
    ],
)
def test_options_that_cannot_be_used(plain_run, files, tmp_path, output, action, message):
    (tmp_path / "folder.ply").mkdir()
    before = set(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=message):
        edit(EditOptions(plain_run.path, tmp_path / output, action(*files)))
    assert set(tmp_path.rglob("*")) == before


def test_bad_labels_of_a_labelled_run(labelled_run, files, tmp_path):
    for options, message in (
        ({"label": "grin"}, "label: .*one of"),
        ({"label": "mouth_open", "label_level": -0.1}, "label_level"),
    ):
        with pytest.raises(InputError, match=message):
            edit(EditOptions(labelled_run.path, tmp_path / "out.ply", Neutral(face=files[0], **options)))


@pytest.fixture
def command(monkeypatch):
    """Runs `facedis edit` with some arguments; returns the exit code."""

    def command(*arguments):
        words = ["edit", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", ["facedis", *words])
        with pytest.raises(SystemExit) as exited:
            main()
        return exited.value.code

    return command


@pytest.mark.parametrize(("name", "code"), [("mouth_open", 0), ("grin", 2)])
def test_the_command_line(plain_run, files, tmp_path, command, capsys, name, code):
    words = ["--model", plain_run.path, "expression", name, "--level", "0.5", "--face", files[0], "--keep-detail"]
    assert command(*words, "--output", tmp_path / "out.ply") == code
    assert (tmp_path / "out.ply").exists() == (code == 0)
    errors = capsys.readouterr().err
    if code:
        assert errors.startswith("error: expression: expected one of bareteeth")
        assert errors.count("\n") == 1
    else:
        assert not errors


def test_errors_name_the_options(plain_run, labelled_run, files, faces, small_face_set, tmp_path, command, capsys):
    moved = tmp_path / "moved.ply"
    write_mesh(moved, Mesh(faces[0] @ TURN.T + np.float32([300, -20, 1000]), small_face_set.triangles))
    one, two = files
    for run, words, line in [
        (plain_run, ["neutral", "--face", moved], f"{moved}: expected a face within 50 mm .*, or --align, found"),
        (plain_run, ["sample", "--number", 101], "--number: expected 1 to 100, found 101"),
        (plain_run, ["expression", "mouth_open", "--level", 2, "--face", one], "--level: expected 0 to 1, found 2.0"),
        (labelled_run, ["neutral", "--face", one, "--label", "grin"], "--label: expected one of"),
        (
            labelled_run,
            ["transfer", "--face", one, "--from", two, "--from-label", "mouth_open", "--from-label-level", 3],
            "--from-label-level: expected 0 to 1, found 3.0",
        ),
        (labelled_run, ["between", "--face", one, "--to", two, "--to-label", "grin"], "--to-label: expected one of"),
    ]:
        assert command("--model", run.path, "--output", tmp_path / "out.ply", *words) == 2
        errors = capsys.readouterr().err
        assert re.match(f"error: {line}", errors), errors
        assert errors.count("\n") == 1
    assert not (tmp_path / "out.ply").exists()


def test_the_old_name_of_an_option_gives_the_new_one(plain_run, command, capsys):
    assert command("--run", plain_run.path, "--output", "out.ply", "sample") == 2
    assert capsys.readouterr().err == "error: --run: expected its new name --model, found the old one\n"


def test_a_run_that_is_not_finished_and_a_name_that_is_unknown_are_one_line(tmp_path, command, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "begun").mkdir(parents=True)
    (tmp_path / "runs" / "begun" / "config.json").write_text("{}")
    for name, line in (("runs/begun", "a finished run"), ("smile", "a model file, the folder of a finished run")):
        assert command("--model", name, "--output", "out.ply", "sample") == 2
        errors = capsys.readouterr().err
        assert errors.startswith(f"error: {name}: expected {line}")
        assert ", found " in errors
        assert errors.count("\n") == 1


def test_an_action_shows_its_options(command, capsys):
    assert command("between", "--help") == 0
    assert "--steps" in capsys.readouterr().out


@pytest.fixture
def frames(small_face_set, tmp_path):
    """A folder of the frames of a person in an expression, numbered as people do, and their vertices."""
    faces = small_face_set.train
    rows = np.flatnonzero((faces.subject == 0) & (faces.expression == small_face_set.expressions.index("mouth_open")))
    (tmp_path / "frames").mkdir()
    for number, row in enumerate(rows, 8):
        write_mesh(tmp_path / "frames" / f"f{number}.ply", Mesh(faces.vertices[row], small_face_set.triangles))
    return tmp_path / "frames", faces.vertices[rows]


@pytest.mark.parametrize("kind", ["plain_run", "labelled_run"])
def test_a_persons_frames_become_steady(kind, request, frames, tmp_path, capsys):
    folder, vertices = frames
    run = request.getfixturevalue(kind)
    label = "mouth_open" if kind == "labelled_run" else None
    action = Transfer(sequence=folder, donor=folder, label=label, donor_label=label)
    assert edit(EditOptions(run.path, tmp_path / "steady.obj", action)) == 0
    names = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert names == [*(f"steady_{i}.obj" for i in range(1, len(vertices) + 1)), "steady.png"]
    written = np.stack([read_mesh(tmp_path / name).vertices for name in names[:-1]])
    model = load_once(run.path)
    labels = None if label is None else sequence_levels(vertices)[:, None] * model.labels(label)
    codes = model.encode_sequence(vertices, labels)
    np.testing.assert_allclose(written, model.decode(codes).full, atol=1e-3)
    assert distance(written, vertices) < 3


def test_a_sequence_has_one_neutral_and_one_person(plain_run, editor, frames, files, tmp_path):
    folder, vertices = frames
    codes = editor.model.encode_sequence(vertices)
    for action, expected in (
        (Neutral(sequence=folder), editor.model.neutral(codes)[0]),
        (Expression(sequence=folder, name="high_smile"), editor.model.expression(codes, "high_smile")[0]),
        (
            Transfer(sequence=folder, donor=files[1]),
            editor.model.transfer(codes, editor.encode(files[1], align=False).codes)[0],
        ),
    ):
        assert edit(EditOptions(plain_run.path, tmp_path / "out.ply", action)) == 0
        np.testing.assert_allclose(read_mesh(tmp_path / "out.ply").vertices, expected, atol=1e-3)


def test_frames_are_smoothed_and_keep_what_codes_cannot_hold(editor, frames):
    folder, vertices = frames
    paths = sorted(folder.iterdir(), key=lambda path: int(path.stem[1:]))
    still = editor.encode_frames(folder, paths, align=True, keep_detail=True, smoothing=1.0)
    assert np.ptp(still.codes.expression.mean, axis=0).max() < 1e-4
    moved = np.stack([still.pose.apply(face) for face in vertices[:1]])
    np.testing.assert_allclose(still.vertices[:1], moved, atol=1e-3)
    shown = editor.model.decode(still.codes).full
    np.testing.assert_allclose(still.detail[0], (still.vertices - shown).mean(0), atol=1e-3)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda folder, files: Neutral(), "face: expected a face, or a sequence of one person, found neither"),
        (lambda folder, files: Neutral(face=files[0], sequence=folder), "found both"),
        (lambda folder, files: Neutral(sequence=files[0]), "a folder of meshes, found a file"),
        (lambda folder, files: Neutral(sequence=folder / "none"), "a folder of meshes, found nothing there"),
        (lambda folder, files: Transfer(face=files[0], donor=folder, smoothing=2.0), "smoothing: expected 0 to 1"),
    ],
)
def test_what_is_no_sequence_is_refused(plain_run, frames, files, tmp_path, make, line):
    with pytest.raises(InputError, match=line):
        edit(EditOptions(plain_run.path, tmp_path / "out.ply", make(frames[0], files)))
    assert not (tmp_path / "out.ply").exists()


def test_frames_of_several_people_are_named_by_their_folder(plain_run, editor, frames, files, monkeypatch):
    folder, _ = frames
    monkeypatch.setattr("facedis_jax.inference.face_model.strangers", lambda *_: (np.eye(1, 6)[0] > 0, np.ones(6)))
    paths = list(folder.iterdir())
    line = r"frames: expected frames of one person, or several_people=True, found 1 of 6"
    with pytest.raises(InputError, match=line) as told:
        editor.encode_frames(folder, paths, align=False)
    assert str(told.value).startswith(str(folder))
    found = editor.encode_frames(folder, paths, align=False, several_people=True)
    assert np.ptp(found.codes.identity.mean, axis=0).max() == 0
