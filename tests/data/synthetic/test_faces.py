import collections
import dataclasses

import numpy as np
import pytest

from facedis_jax.data.splits import SPLITS
from facedis_jax.data.synthetic.expressions import BU3DFE_EXPRESSIONS, COMA_EXPRESSIONS, split_side
from facedis_jax.data.synthetic.face_model import FaceModel
from facedis_jax.data.synthetic.faces import SyntheticFaceConfig, synthetic_bu3dfe, synthetic_coma
from facedis_jax.errors import InputError

_BOTH = [synthetic_coma, synthetic_bu3dfe]
_UNITS = sorted(
    {unit for recipe in (COMA_EXPRESSIONS | BU3DFE_EXPRESSIONS).values() for unit in recipe}
    | {"mouthRight", "jawRight"}
)
_SINGLE = ("jaw", "mouthLeft", "mouthRight", "mouthRoll", "mouthShrug", "mouthPucker", "cheekPuff")
_NAMES = [name for unit in _UNITS for name in ([unit] if unit.startswith(_SINGLE) else [f"{unit}_L", f"{unit}_R"])]


@pytest.fixture(scope="module")
def model():
    """40 random vertices: the arrangement does not depend on what the face looks like."""
    rng = np.random.default_rng(0)
    return FaceModel(
        name="toy",
        neutral=rng.uniform(-90, 90, (40, 3)).astype(np.float32),
        identity=rng.standard_normal((6, 40, 3)).astype(np.float32),
        expression=3 * rng.standard_normal((len(_NAMES), 40, 3)).astype(np.float32),
        expression_names=tuple(_NAMES),
        triangles=np.array([[0, 1, 2]], np.int32),
        landmarks={"nose_tip": 3},
        content_hash="toy",
    )


@pytest.fixture(scope="module")
def sequences(model):
    return synthetic_coma(model, SyntheticFaceConfig())


@pytest.fixture(scope="module")
def scans(model):
    return synthetic_bu3dfe(model, SyntheticFaceConfig())


@pytest.fixture(params=["sequences", "scans"])
def faces(request):
    return request.getfixturevalue(request.param)


def _in_order(faces):
    """Vertices, subject, expression and level of all faces in the order of their names."""
    order = np.argsort(np.concatenate([faces.train.index, faces.test.index]))
    keys = ("vertices", "subject", "expression", "level")
    both = {key: np.concatenate([getattr(faces.train, key), getattr(faces.test, key)]) for key in keys}
    return {key: array[order] for key, array in both.items()}


def test_known_truth_makes_the_faces(model, faces):
    factors = faces.truth.factors
    for clean, identity, units in zip(faces.truth.clean, factors["identity"], factors["units"], strict=True):
        np.testing.assert_allclose(clean, model.vertices(identity, units), atol=1e-3)
    for key, array in factors.items():
        assert array.shape[0] == len(faces.names), key
        assert array.dtype == np.float32, key


def test_true_neutrals_are_the_people_at_rest(model, faces):
    factors = faces.truth.factors
    subject = factors["subject"][:, 0].astype(int)
    at_rest = factors["level"][:, 0] == 0
    assert set(subject[at_rest]) == set(range(len(faces.subjects)))
    np.testing.assert_allclose(faces.truth.clean[at_rest], faces.truth.neutrals[subject[at_rest]], atol=1e-4)


def test_noise_has_the_stated_size(faces):
    noise = _in_order(faces)["vertices"] - faces.truth.clean
    distance = np.linalg.norm(noise, axis=-1)
    # Chi distribution with three degrees of freedom: mean 2 sqrt(2 / pi), deviation 0.673, times 0.2.
    error = 4 * 0.2 * 0.673 / np.sqrt(distance.size)
    assert abs(distance.mean() - 0.2 * 2 * np.sqrt(2 / np.pi)) < error
    assert abs(noise.mean()) < 4 * 0.2 / np.sqrt(noise.size)


def test_faces_are_float32(faces):
    for array in (faces.train.vertices, faces.test.vertices, faces.neutrals, faces.truth.clean):
        assert array.dtype == np.float32
    for source in (faces.train, faces.test):
        assert (source.subject.dtype, source.expression.dtype, source.level.dtype) == (
            np.int32,
            np.int32,
            np.float32,
        )


def test_sequences_have_comas_arrangement(sequences):
    assert len(sequences.subjects) == 12
    assert tuple(sequences.expressions) == tuple(COMA_EXPRESSIONS)
    assert list(sequences.names) == sorted(set(sequences.names))
    assert sequences.names[0] == "subject_01/bareteeth/bareteeth.000001"
    assert sequences.scale == 260
    count = collections.Counter(name.rsplit("/", 1)[0] for name in sequences.names)
    assert len(count) == 144
    assert (min(count.values()), max(count.values())) == (14, 26)
    # The paper's rule: ten of every hundred.
    total = len(sequences.names)
    assert len(sequences.test) == total // 100 * 10 + min(total % 100, 10)


def test_faces_have_bu3dfes_arrangement(scans):
    assert len(scans.names) == 2500
    assert list(scans.names) == sorted(set(scans.names))
    assert scans.names[:2] == ("F0001/angry/F0001_AN01", "F0001/angry/F0001_AN02")
    assert "M0044/neutral/M0044_NE00" in scans.names
    assert tuple(scans.expressions) == tuple(BU3DFE_EXPRESSIONS)
    assert scans.scale == 156
    assert (len(scans.train), len(scans.test)) == (2250, 250)
    assert {scans.subjects[s] for s in scans.test.subject} == {f"F{i:04d}" for i in range(1, 11)}
    per_level = collections.Counter(_in_order(scans)["level"].tolist())
    assert per_level == {0.0: 100, 0.25: 600, 0.5: 600, 0.75: 600, 1.0: 600}


def test_a_neutral_target_is_the_registered_neutral_face_with_its_noise(scans):
    rows = _in_order(scans)
    at_rest = rows["level"] == 0
    np.testing.assert_array_equal(scans.neutrals[rows["subject"][at_rest]], rows["vertices"][at_rest])


def test_labels_agree_with_the_names(faces):
    rows = _in_order(faces)
    for i, name in enumerate(faces.names):
        subject, expression, _ = name.split("/")
        assert faces.subjects[rows["subject"][i]] == subject
        assert faces.expressions[rows["expression"][i]] == expression
    np.testing.assert_array_equal(rows["subject"], faces.truth.factors["subject"][:, 0])
    np.testing.assert_array_equal(rows["expression"], faces.truth.factors["expression"][:, 0])


def _sequences_of(faces):
    rows = collections.defaultdict(list)
    for i, name in enumerate(faces.names):
        rows[name.rsplit("/", 1)[0]].append(i)
    return rows


def test_sequences_start_and_end_neutral(sequences):
    true, measured = sequences.truth.factors["level"][:, 0], _in_order(sequences)["level"]
    assert true.min() >= 0
    assert true.max() <= 1
    tempos = set()
    for rows in _sequences_of(sequences).values():
        assert true[rows[0]] < 1e-3
        assert true[rows[-1]] < 1e-3
        assert true[rows].max() > 0.6
        assert measured[rows[0]] == 0
        assert measured[rows].max() == 1
        assert measured[rows[-1]] < 0.35
        tempos.add(true[rows].tobytes())
    assert len(tempos) == 144


def test_mouth_side_goes_both_ways_in_one_sequence(model, sequences):
    side, units = (sequences.truth.factors[key] for key in ("side", "units"))
    left, right = (units[:, model.expression_names.index(f"mouth{way}")] for way in ("Left", "Right"))
    for name, rows in _sequences_of(sequences).items():
        if "mouth_side" not in name:
            assert not side[rows].any()
            continue
        assert side[rows, 0].tolist() == sorted(side[rows, 0], reverse=True)
        assert set(side[rows, 0]) == {1, -1}
        for way, other, sign in ((left, right, 1), (right, left, -1)):
            going = [i for i in rows if side[i, 0] == sign]
            assert way[going].max() > 0.2
            assert not other[going].any()


def test_subjects_have_gains_and_asymmetry_of_their_own(model, faces):
    factors = faces.truth.factors
    subject = factors["subject"][:, 0].astype(int)
    _, first = np.unique(subject, return_index=True)
    gains, asymmetry = factors["gains"][first], factors["asymmetry"][first, 0]
    np.testing.assert_array_equal(factors["gains"], gains[subject])
    assert gains.std(axis=0).min() > 0.05
    left, right = (model.expression_names.index(f"mouthSmile{end}") for end in ("_L", "_R"))
    expected = (1 + asymmetry) / (1 - asymmetry)
    np.testing.assert_allclose(gains[:, left] / gains[:, right], expected, rtol=1e-5)
    # The units are the recipe's weights times gain times level; the level cancels here.
    happy = faces.expressions.index("happy" if "happy" in faces.expressions else "high_smile")
    rows = (factors["expression"][:, 0] == happy) & (factors["level"][:, 0] > 0.1)
    applied = factors["units"][rows][:, left] / factors["level"][rows, 0] / factors["gains"][rows][:, left]
    assert np.ptp(applied) < 1e-5


def test_without_spread_faces_are_additive(model):
    config = SyntheticFaceConfig(num_subjects=3, gain_spread=0, asymmetry=0, noise_mm=0)
    faces = synthetic_bu3dfe(model, config)
    offsets = faces.truth.clean - faces.truth.neutrals[faces.truth.factors["subject"][:, 0].astype(int)]
    one, other = offsets[:25], offsets[25:50]
    np.testing.assert_allclose(one, other, atol=1e-3)
    np.testing.assert_array_equal(_in_order(faces)["vertices"], faces.truth.clean)


def test_gain_spread_is_the_deviation_of_the_logarithm(model):
    gains = synthetic_bu3dfe(model, SyntheticFaceConfig(num_subjects=300, asymmetry=0)).truth.factors["gains"]
    singles = [i for i, name in enumerate(model.expression_names) if split_side(name)[1] == "both"]
    logs = np.log(gains[::25][:, singles])
    assert abs(logs.std() - 0.25) < 4 * 0.25 / np.sqrt(2 * logs.size)
    assert abs(logs.mean()) < 4 * 0.25 / np.sqrt(logs.size)


@pytest.mark.parametrize("make", _BOTH)
@pytest.mark.parametrize("split", SPLITS)
def test_splits_divide_the_faces(model, make, split):
    faces = make(model, SyntheticFaceConfig(num_subjects=4), split=split)
    index = np.concatenate([faces.train.index, faces.test.index])
    assert sorted(index.tolist()) == list(range(len(faces.names)))
    assert faces.name.endswith(f"/{split}")
    held_out = {faces.names[i].rsplit("/", 1)[0] for i in faces.test.index}
    learned = {faces.names[i].rsplit("/", 1)[0] for i in faces.train.index}
    if split == "sequence":
        assert not held_out & learned
    if split == "subject":
        assert not set(faces.test.subject.tolist()) & set(faces.train.subject.tolist())


@pytest.mark.parametrize("make", _BOTH)
def test_the_seed_decides_everything(model, make):
    one, same, other = (make(model, SyntheticFaceConfig(num_subjects=2, seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.train.vertices, same.train.vertices)
    np.testing.assert_array_equal(one.neutrals, same.neutrals)
    assert one.content_hash == same.content_hash
    assert one.names == same.names
    assert not np.array_equal(one.truth.neutrals, other.truth.neutrals)


@pytest.mark.parametrize("make", _BOTH)
def test_the_content_hash_follows_all_that_faces_are_made_from(model, make):
    config = SyntheticFaceConfig(num_subjects=4)
    changes = {
        "num_subjects": 5,
        "seed": 1,
        "frames": (5, 6),
        "gain_spread": 0.1,
        "asymmetry": 0.1,
        "noise_mm": 0.1,
    }
    configs = [config, *(dataclasses.replace(config, **{key: value}) for key, value in changes.items())]
    hashes = [make(model, each).content_hash for each in configs]
    hashes.append(make(model, config, split="subject").content_hash)
    hashes.append(make(dataclasses.replace(model, content_hash="other"), config).content_hash)
    assert len(set(hashes)) == len(hashes)
    assert synthetic_bu3dfe(model, config).content_hash != synthetic_coma(model, config).content_hash


def test_some_of_the_expressions(model):
    config = SyntheticFaceConfig(num_subjects=2, expressions=("mouth_open", "eyebrow"))
    assert synthetic_coma(model, config).expressions == ("eyebrow", "mouth_open")
    # Scans always have the neutral, which is the target.
    scans = synthetic_bu3dfe(model, SyntheticFaceConfig(num_subjects=2, expressions=("sad",)))
    assert scans.expressions == ("neutral", "sad")
    assert len(scans.names) == 10


def test_the_faces_names_stay_sorted_beyond_ninety_nine_people(model):
    config = SyntheticFaceConfig(num_subjects=101, expressions=("eyebrow",), frames=(4, 4))
    names = synthetic_coma(model, config).names
    assert list(names) == sorted(names)


def test_bad_settings_are_refused(model):
    with pytest.raises(InputError, match=r"expressions: expected some of bareteeth, .* found smirk, wink"):
        synthetic_coma(model, SyntheticFaceConfig(expressions=("smirk", "eyebrow", "wink")))
    with pytest.raises(InputError, match="found mouth_open"):
        synthetic_bu3dfe(model, SyntheticFaceConfig(expressions=("mouth_open",)))
    with pytest.raises(InputError, match="split"):
        synthetic_coma(model, SyntheticFaceConfig(num_subjects=2), split="random")
    bare = dataclasses.replace(model, expression=model.expression[:1], expression_names=("tongueOut",))
    with pytest.raises(InputError, match=r"one of the expression units mouthUpperUp.* found tongueOut"):
        synthetic_coma(bare, SyntheticFaceConfig())


@pytest.mark.parametrize(
    "settings",
    [{"num_subjects": -1}, {"noise_mm": -0.1}, {"noise_mm": np.nan}, {"frames": (3, 9)}, {"frames": (9, 8)}],
)
def test_settings_out_of_range(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        SyntheticFaceConfig(**settings)
