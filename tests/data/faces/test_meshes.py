import numpy as np
import pytest

from facedis_jax.data.faces import meshes
from facedis_jax.data.faces.layouts import LAYOUTS, MeshLayout, neutral_names
from facedis_jax.data.faces.levels import sequence_levels
from facedis_jax.data.faces.meshes import load_meshes
from facedis_jax.errors import InputError
from facedis_jax.formats.meshes import UNITS, Mesh, write_mesh

PEOPLE = ("ann", "Bob", "cem")
_TRIANGLES = np.array([[i, i + 1, i + 2] for i in range(14)], np.int32)


def face_of(person, expression="neutral", level=0.0):
    """A face of 16 vertices in mm that a person makes up; the expression moves it as far as the level says."""
    rng = np.random.default_rng(abs(hash_of(person)))
    face = rng.uniform(-90, 90, (16, 3))
    motion = np.random.default_rng(hash_of(expression)).normal(0, 5, (16, 3))
    return (face + level * motion).astype(np.float32)


def hash_of(text):
    return sum(ord(letter) * 31**i for i, letter in enumerate(text.lower())) % 2**31


def write(folder, name, vertices, unit="mm", triangles=_TRIANGLES):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mesh(path, Mesh((vertices / UNITS[unit]).astype(np.float32), triangles))


def courses(folder, name, expressions=("joy", "fear"), levels=(0, 0.005, 0.4, 1, 0.3), unit="mm", people=PEOPLE):
    """Sequences of people, whose frames are numbered as people do, 9 before 10."""
    for person in people:
        for expression in expressions:
            for frame, level in enumerate(levels):
                names = {"subject": person, "expression": expression, "frame": frame + 8}
                write(folder, name.format(**names), face_of(person, expression, level), unit)
    return folder


def scans(folder, name, expressions=("neutral", "joy", "fear"), unit="mm", people=PEOPLE):
    for person in people:
        for expression in expressions:
            vertices = face_of(person, expression, 0 if "neutral" in expression else 1)
            write(folder, name.format(subject=person, expression=expression), vertices, unit)
    return folder


def load(folder, pattern="{subject}/{expression}/{frame}.ply", *, split="sequence", **settings):
    how = {name: settings.pop(name) for name in ("skip_damaged", "links_out", "verify") if name in settings}
    layout = MeshLayout(pattern, **settings)
    return load_meshes(folder, layout, split=split, prepared_dir=folder.parent / "prepared", **how)


def faces_of(face_set):
    """All faces in the order of their names, stacked by field."""
    faces = [source[i] for source in (face_set.train, face_set.test) for i in range(len(source))]
    faces = sorted(faces, key=lambda face: int(face["index"]))
    return {key: np.stack([face[key] for face in faces]) for key in faces[0]}


@pytest.mark.parametrize("unit", list(UNITS))
@pytest.mark.parametrize("named", [True, False])
def test_frames_are_there_in_mm_in_their_order_with_their_levels(tmp_path, unit, named):
    folder = courses(tmp_path / "set", "{subject}/{expression}/{frame}.ply", unit=unit)
    found = load(folder, unit=unit if named else None)
    assert (found.subjects, found.expressions) == (("ann", "Bob", "cem"), ("fear", "joy"))
    assert found.names[:5] == tuple(f"ann/fear/{frame}" for frame in (8, 9, 10, 11, 12))
    assert (len(found.train), len(found.test)) == (15, 15)
    faces = faces_of(found)
    expected = [face_of(p, e, level) for p in PEOPLE for e in ("fear", "joy") for level in (0, 0.005, 0.4, 1, 0.3)]
    np.testing.assert_allclose(faces["vertices"], expected, atol=1e-3)
    np.testing.assert_allclose(faces["level"], np.tile([0, 0.005, 0.4, 1, 0.3], 6), atol=1e-3)
    # As in CoMA, the mean of all frames that hardly differ from the first of their sequence.
    np.testing.assert_allclose(found.neutrals[1], np.mean([expected[i] for i in (10, 11, 15, 16)], 0), atol=1e-3)
    assert found.data_files["unit"] == (unit if named else f"{unit}, by the size of the first")
    assert found.data_files["neutral"].startswith("frames within 1% of the first")
    assert "such as ann, fear, 8 for ann/fear/8.ply" in found.data_files["pattern"]
    np.testing.assert_array_equal(found.triangles, _TRIANGLES)


def test_neutral_faces_are_first_frames_on_demand(tmp_path):
    folder = courses(tmp_path / "set", "{subject}/{expression}/{frame}.ply", levels=(0.1, 0.1, 1))
    found = load(folder, neutral="first")
    firsts = [face_of("ann", expression, 0.1) for expression in ("fear", "joy")]
    np.testing.assert_allclose(found.neutrals[0], np.mean(firsts, 0), atol=1e-3)
    np.testing.assert_allclose(faces_of(found)["level"][:3], [0, 0, 1], atol=1e-3)


@pytest.mark.parametrize("name", ["neutral", "Neutral_Face", "00", "REST"])
def test_a_named_neutral_is_what_levels_are_measured_from(tmp_path, name):
    folder = courses(tmp_path / "set", "{expression}-{subject}-{frame}.obj", ("1",), levels=(0.5, 1, 0.25))
    for person in PEOPLE:
        for frame in range(2):
            write(folder, f"{name}-{person}-{frame}.obj", face_of(person) + frame)
    found = load(folder, "{expression}-{subject:letters}-{frame:digits}", split="subject")
    np.testing.assert_allclose(found.neutrals[2], face_of("cem") + 0.5, atol=1e-3)
    faces = faces_of(found)
    at_rest = faces["expression"] == found.expressions.index(name)
    assert not faces["level"][at_rest].any()
    vertices = faces["vertices"][(faces["subject"] == 2) & ~at_rest]
    expected = sequence_levels(vertices, neutral=face_of("cem") + 0.5)
    np.testing.assert_allclose(faces["level"][(faces["subject"] == 2) & ~at_rest], expected, atol=1e-4)
    assert expected.min() > 0.2
    assert found.data_files["neutral"] == f"by name, {name}"


def test_single_scans_have_levels_of_none_and_all(tmp_path):
    folder = scans(tmp_path / "set", "{subject}_{expression}.obj")
    write(folder, "template.obj", face_of("nobody"))
    found = load(folder, "{subject}_{expression}.obj", split="paper")
    assert found.expressions == ("fear", "joy", "neutral")
    np.testing.assert_array_equal(faces_of(found)["level"], [1, 1, 0] * 3)
    np.testing.assert_allclose(found.neutrals, [face_of(person) for person in PEOPLE], atol=1e-3)
    # As of BU-3DFE, whole people are tested.
    assert {found.names[found.test[i]["index"]].split("/")[0] for i in range(len(found.test))} == {"Bob"}
    assert found.data_files["not used"] == "1 other meshes, such as template.obj"


@pytest.mark.parametrize(
    ("pattern", "name", "expressions"),
    [
        ("{subject}/{frame}.ply", "{subject}/{frame}.ply", ("course",)),
        ("{subject}.ply", "{subject}.ply", ("neutral",)),
        ("{subject}/*.ply", "{subject}/{frame}.ply", ("neutral",)),
    ],
)
def test_what_a_pattern_does_not_ask_for_has_one_name(tmp_path, pattern, name, expressions):
    found = load(courses(tmp_path / "set", name, ("joy",)), pattern, split="subject")
    assert found.expressions == expressions
    assert len(found.subjects) == 3
    assert faces_of(found)["level"].max() == (expressions == ("course",))


def test_a_second_start_reads_no_mesh_and_a_change_is_seen(tmp_path, monkeypatch):
    folder = courses(tmp_path / "set", "{subject}/{expression}/{frame}.ply")
    first = load(folder, unit="mm")
    with monkeypatch.context() as patched:
        patched.setattr(meshes, "parse_mesh", None)
        patched.setattr(meshes, "read_mesh", None)
        patched.setattr(meshes, "most_common_topology", None)
        again = load(folder, unit="mm")
    assert again.content_hash == first.content_hash
    write(folder, "ann/joy/8.ply", face_of("ann", "joy", 0.001))
    assert load(folder, unit="mm").content_hash != first.content_hash
    assert load(folder, neutral="first").older_copies == {}


def test_a_set_may_lie_deeper_and_links_out_are_refused_on_demand(tmp_path):
    folder = courses(tmp_path / "set", "{subject}/{expression}/{frame}.ply")
    (tmp_path / "home" / "data").mkdir(parents=True)
    (tmp_path / "home" / "data" / "faces").symlink_to(folder)
    assert load(tmp_path / "home").content_hash == load(folder).content_hash
    with pytest.raises(InputError, match="a link out of it"):
        load(tmp_path / "home", links_out=False)


BAD = {
    "vertices": (lambda: (np.tile(face_of("Bob"), (2, 1)), _TRIANGLES), "a mesh of 16 vertices, found 32"),
    "topology": (lambda: (face_of("Bob"), _TRIANGLES[:, ::-1]), "all faces wound the other way round"),
    "unit": (lambda: (face_of("Bob") / 10, _TRIANGLES), r"looks like cm"),
    "nan": (lambda: (face_of("Bob") * np.nan, _TRIANGLES), "finite coordinates"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_face_that_cannot_be_used_is_named_or_skipped(tmp_path, kind):
    folder = courses(tmp_path / "set", "{subject}/{expression}/{frame}.ply")
    make, line = BAD[kind]
    write(folder, "Bob/joy/9.ply", *make()[:1], triangles=make()[1])
    with pytest.raises(InputError, match=line) as told:
        load(folder, unit="mm")
    assert str(told.value).startswith(str(folder / "Bob/joy/9.ply"))
    assert not list((tmp_path / "prepared").glob("**/*.array_record*"))
    found = load(folder, unit="mm", skip_damaged=True)
    assert list(found.skipped) == ["Bob/joy/9"]
    assert len(found.names) == 29


def test_a_subject_without_a_neutral_is_named_or_skipped(tmp_path):
    folder = scans(tmp_path / "set", "{subject}_{expression}.obj")
    (folder / "Bob_neutral.obj").unlink()
    with pytest.raises(InputError, match=r"Bob_fear.obj: expected a neutral face of Bob \(neutral\), found none"):
        load(folder, "{subject}_{expression}.obj")
    found = load(folder, "{subject}_{expression}.obj", split="subject", skip_damaged=True)
    assert (found.subjects, len(found.skipped)) == (("ann", "cem"), 2)
    (folder / "cem_neutral.obj").write_text("v 0 0 0\n")
    (folder / "ann_neutral.obj").write_text("v 0 0 0\n")
    with pytest.raises(InputError, match="a neutral face of"):
        load(folder, "{subject}_{expression}.obj", split="subject", skip_damaged=True)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"pattern": "{subject}/{frame}.wrl"},
            r"meshes at .*\(.wrl, .wrl.gz\), found none, but Bob/fear/10.ply and Bob",
        ),
        ({"pattern": "**/scan_{subject}.ply"}, "found none, but Bob/fear/10.ply and"),
        ({"unit": "inch"}, "unit: expected one of m, dm, cm, mm, found 'inch'"),
        ({"unit": "m"}, r"a face in m .* \(looks like mm\), where unit=mm reads it"),
        ({"neutral": "name"}, "an expression called neutral, or neutral_name=NAME, found fear, joy"),
        ({"neutral_name": "calm"}, r"neutral_name: .* found calm \(fear, joy\)"),
        ({"neutral_name": "joy", "neutral": "first"}, "neutral: expected name"),
        ({"pattern": "{subject}/{expression}/*.ply"}, "an expression called neutral"),
        ({"split": "random"}, "paper, sequence, subject, found 'random'"),
    ],
)
def test_what_does_not_belong_together_is_one_line(tmp_path, settings, line):
    folder = courses(tmp_path / "set", "{subject}/{expression}/{frame}.ply")
    with pytest.raises(InputError, match=line) as told:
        load(folder, **settings)
    assert "\n" not in str(told.value)
    assert not list((tmp_path / "prepared").glob("**/*.array_record*"))


@pytest.mark.parametrize(("make", "line"), [(False, "no such folder"), (True, "no file at all")])
def test_a_missing_or_empty_folder_is_named(tmp_path, make, line):
    if make:
        (tmp_path / "set").mkdir()
    with pytest.raises(InputError, match=line):
        load(tmp_path / "set")


def test_heads_that_turn_are_brought_onto_the_first(tmp_path):
    levels = (0, 0.005, 0.4, 1, 0.3)
    turned = np.float32([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    for person in PEOPLE:
        for frame, level in enumerate(levels):
            vertices = face_of("ann", "joy", level) @ (turned if frame % 2 else np.eye(3)) + 400 * frame
            write(tmp_path / "set", f"{person}/joy/{frame}.ply", vertices)
    found = load(tmp_path / "set", align=True, split="subject")
    faces = faces_of(found)
    np.testing.assert_allclose(faces["level"][:5], levels, atol=0.05)
    distances = np.linalg.norm(faces["vertices"] - face_of("ann"), axis=-1).mean(-1)
    assert distances.max() < 10
    assert found.data_files["aligned"] == "rigidly, onto the first"
    apart = load(tmp_path / "set", split="subject")
    assert np.linalg.norm(faces_of(apart)["vertices"] - face_of("ann"), axis=-1).mean(-1).max() > 100


def test_public_sets_are_read_as_they_are_distributed(tmp_path):
    people = (*LAYOUTS["vocaset"].test_subjects, "FaceTalk_170725_00137_TA")
    name = "{subject}/{expression}/{expression}.{frame:06d}.ply"
    for kind in ("vocaset", "famos"):
        courses(tmp_path / kind, name, ("sentence01",), unit="m", people=people)
        found = load_meshes(tmp_path / kind, LAYOUTS[kind], split="paper", prepared_dir=tmp_path / "prepared")
        assert (found.name, found.expressions, len(found.names)) == (f"{kind}/paper", ("sentence01",), 15)
        np.testing.assert_allclose(faces_of(found)["level"][:5], [0, 0.005, 0.4, 1, 0.3], atol=0.02)
        tested = {found.names[found.test[i]["index"]].split("/")[0] for i in range(len(found.test))}
        # Whole people as VOCASET's authors, or of every hundred frames the first ten.
        assert tested == (set(people[:2]) if kind == "vocaset" else {people[2], people[0]})
    people, expressions = ("1", "2", "10"), ("1_neutral", "2_smile", "12_lip_roll")
    scans(tmp_path / "facescape", "trainset_001_100/{subject}/models_reg/{expression}.obj", expressions, people=people)
    found = load_meshes(tmp_path / "facescape", LAYOUTS["facescape"], split="paper", prepared_dir=tmp_path / "prepared")
    assert (found.subjects, found.expressions) == (people, ("lip_roll", "neutral", "smile"))
    np.testing.assert_allclose(found.neutrals[2], face_of("10"), atol=1e-3)
    assert "one distance between the eyes" in found.data_files["people"]


def test_neutral_names_are_guessed_with_care():
    layout = MeshLayout("{subject}/{expression}.ply")
    assert neutral_names(layout, ["1_neutral", "neutral2", "neutral_to_joy", "joy"]) == {"1_neutral", "neutral2"}
    assert neutral_names(layout, ["00", "01", "02"]) == {"00"}
    assert neutral_names(layout, ["0", "joy"]) == set()
