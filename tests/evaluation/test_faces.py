import dataclasses
import json
import math
import weakref

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facedis_jax.evaluation.faces import (
    encode_faces,
    evaluate,
    evenly_spaced_faces,
    predict,
    register,
    vertex_distances,
)
from facedis_jax.inference.faces import FaceCodec
from facedis_jax.metrics import disentanglement_error


class Listed:
    """A source that is not in memory at once."""

    def __init__(self, source):
        self.source = source

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        return self.source[index]


@pytest.fixture(scope="module")
def predictions(codec, face_set):
    return predict(codec, face_set.test, face_set.neutrals)


@pytest.fixture(scope="module")
def results(codec, face_set, predictions):
    return evaluate(codec, face_set, predictions, intersection_faces=3)


def distances(a, b):
    return np.sqrt(np.square(a.astype(np.float64) - b.astype(np.float64)).sum(axis=-1))


def test_predictions_are_the_models_in_the_order_of_the_source(codec, face_set, predictions):
    test = face_set.test
    for key in ("vertices", "subject", "expression", "level", "index"):
        np.testing.assert_array_equal(getattr(predictions, key), getattr(test, key))
    mean, logvar = codec.encode(test.vertices, None)
    full, neutral = codec.decode(mean[:, :2], mean[:, 2:], None)
    np.testing.assert_allclose(predictions.mean, mean, atol=1e-4)
    np.testing.assert_allclose(predictions.logvar, logvar)
    np.testing.assert_allclose(predictions.reconstruction, full, atol=1e-3)
    np.testing.assert_allclose(predictions.neutral, neutral, atol=1e-3)
    np.testing.assert_array_equal(predictions.neutral_target, face_set.neutrals[test.subject])


def test_batches_and_sources_do_not_matter(codec, face_set, predictions):
    by_sevens = predict(codec, Listed(face_set.test), face_set.neutrals, batch_size=7)
    for field in dataclasses.fields(predictions):
        one, other = getattr(predictions, field.name), getattr(by_sevens, field.name)
        assert one.dtype == other.dtype
        np.testing.assert_allclose(other, one, atol=1e-3, err_msg=field.name)


def test_the_conditional_model_gets_labels_of_expression_and_level(named_codec, face_set):
    seen = []

    def encode(vertices, labels):
        seen.append(labels)
        return named_codec.encode(vertices, labels)

    predict(dataclasses.replace(named_codec, encode=encode), face_set.test, face_set.neutrals)
    labels = np.concatenate(seen)
    np.testing.assert_array_equal(labels.sum(axis=1), face_set.test.level)
    shown = face_set.test.level > 0
    np.testing.assert_array_equal(labels.argmax(axis=1)[shown], face_set.test.expression[shown])


def test_faces_are_spread_over_the_whole_source(face_set):
    train = face_set.train
    some = evenly_spaced_faces(train, 10)
    assert len(some) == 10
    assert some.index[[0, -1]].tolist() == train.index[[0, -1]].tolist()
    steps = np.diff(np.searchsorted(train.index, some.index))
    assert steps.max() - steps.min() <= 1
    np.testing.assert_array_equal(evenly_spaced_faces(Listed(train), 10).vertices, some.vertices)
    assert evenly_spaced_faces(train, len(train)) is train


def test_distances_do_not_depend_on_how_many_faces_are_taken_at_a_time():
    a, b = np.random.default_rng(0).normal(size=(2, 600, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(vertex_distances(a, b), distances(a, b), rtol=1e-5)


@pytest.mark.parametrize("name", ["reconstruction", "neutral"])
def test_errors_are_those_of_the_definition(results, predictions, name: str):
    pair = {
        "reconstruction": (predictions.reconstruction, predictions.vertices),
        "neutral": (predictions.neutral, predictions.neutral_target),
    }[name]
    every = distances(*pair)
    for key, values in ((f"{name}_mm", every.mean(axis=1)), (f"{name}_pooled_mm", every)):
        expected = {"mean": values.mean(), "std": values.std(), "median": np.median(values)}
        assert results[key] == pytest.approx(expected, rel=1e-4)


def test_disentanglement_is_summed_up_over_subjects(results, predictions):
    for key, variant in (("disentanglement_mm", "pooled"), ("disentanglement_per_vertex_mm", "per_vertex")):
        errors = disentanglement_error(predictions.neutral, predictions.subject, variant=variant)
        assert results[key] == pytest.approx({"mean": errors.mean(), "median": np.median(errors)})


def test_a_linear_model_stands_on_itself(results):
    linear = results["baselines"]["linear"]
    for name in ("reconstruction_mm", "neutral_mm", "disentanglement_mm", "disentanglement_per_vertex_mm"):
        assert linear[name] == pytest.approx(results[name], rel=1e-3), name
    for name in ("transfer_mm", "donor_share", "kept_motion", "rank_1"):
        assert linear[name] == pytest.approx(results[name], rel=1e-3, abs=1e-4), name
    assert linear["transfer"].keys() == results["transfer"].keys()
    for name, found in linear["probes"].items():
        assert found == (results["probes"][name] and pytest.approx(results["probes"][name])), name


def test_the_pca_is_the_best_linear_one_of_its_size(results, face_set):
    train, test = (s.vertices.reshape(len(s), -1).astype(np.float64) for s in (face_set.train, face_set.test))
    directions = np.linalg.svd(train - train.mean(axis=0), full_matrices=False)[2][:5]
    rebuilt = train.mean(axis=0) + (test - train.mean(axis=0)) @ directions.T @ directions
    expected = distances(rebuilt.reshape(-1, 42, 3), test.reshape(-1, 42, 3)).mean()
    pca = results["baselines"]["pca"]
    assert pca["components"] == 5
    assert pca["reconstruction_mm"]["mean"] == pytest.approx(expected, rel=1e-3)


def test_noise_is_known_and_the_truth_is_looked_up_by_face(results, face_set, predictions):
    truth = results["truth"]
    # The mean length of a vector of three normal numbers of deviation 0.2 mm.
    assert truth["input_noise_mm"] == pytest.approx(0.2 * math.sqrt(8 / math.pi), rel=0.02)
    clean = distances(predictions.reconstruction, face_set.truth.clean[face_set.test.index]).mean()
    neutral = distances(predictions.neutral, face_set.truth.neutrals[face_set.test.subject]).mean()
    assert truth["reconstruction_mm"] == pytest.approx(clean, rel=1e-4)
    assert truth["neutral_mm"] == pytest.approx(neutral, rel=1e-4)
    assert truth["neutral_target_noise_mm"] < truth["input_noise_mm"]


def test_information_is_in_nats_and_collapsed_latents_are_counted(named_codec, face_set):
    predictions = predict(named_codec, face_set.test, face_set.neutrals)
    results = evaluate(named_codec, face_set, predictions, intersection_faces=1)
    mean, logvar = predictions.mean.astype(np.float64), predictions.logvar.astype(np.float64)
    kl = 0.5 * (mean**2 + np.exp(logvar) - logvar - 1)
    assert results["kl_nats"]["identity"] == pytest.approx(kl[:, :2].sum(axis=1).mean(), rel=1e-4)
    assert results["kl_nats"]["expression"] == pytest.approx(kl[:, 2:].sum(axis=1).mean(), rel=1e-4)
    assert results["active_latents"] == {"identity": 2, "expression": 1}
    assert results["collapsed_latents"] == {"identity": 0, "expression": 1}


def test_codes_of_the_subject_alone_say_who_and_nothing_else(face_set):
    def encode(vertices, labels):
        place = np.linalg.norm(vertices[:, None] - face_set.neutrals[None], axis=-1).mean(axis=-1).argmin(axis=1)
        mean = np.stack([place, place], axis=1).astype(np.float32) * np.float32([50, 0])
        return mean, np.zeros_like(mean)

    def decode(identity, expression, labels):
        neutral = face_set.neutrals[np.round(identity[:, 0] / 50).astype(int)]
        return neutral, neutral

    codec = FaceCodec(encode, decode, identity_latents=1, expression_latents=1)
    results = evaluate(codec, face_set, predict(codec, face_set.test, face_set.neutrals), intersection_faces=1)
    place = encode(face_set.train.vertices, None)[0][:, 0]
    shares = np.unique(place, return_counts=True)[1] / len(place)
    information = results["mutual_information_nats"]
    assert information["identity"] == pytest.approx(-np.sum(shares * np.log(shares)), abs=1e-3)
    assert information["expression"] == pytest.approx(0, abs=1e-4)
    assert information["upper_bound"] == pytest.approx(math.log(len(place)))
    assert results["probes"]["subject_from_identity"]["accuracy"] > 0.95
    # From nothing, a classifier names one person always, who has a third of the faces or so.
    leak = results["probes"]["subject_from_expression"]
    assert leak["chance"] == pytest.approx(1 / 3)
    assert leak["accuracy"] <= shares.max() + 0.05


def test_self_intersections_are_counted_on_as_many_meshes_as_asked(results, predictions):
    assert results["self_intersections"]["meshes"] == min(3, len(predictions))


def test_results_are_json(results):
    assert json.loads(json.dumps(results, allow_nan=False)) == results


def test_one_subject_is_enough_to_be_evaluated(codec, face_set):
    alone = dataclasses.replace(
        face_set,
        train=face_set.train.take(np.flatnonzero(face_set.train.subject == 1)),
        test=face_set.test.take(np.flatnonzero(face_set.test.subject == 1)),
        truth=None,
    )
    results = evaluate(codec, alone, predict(codec, alone.test, alone.neutrals), intersection_faces=1)
    assert results["baselines"]["linear"] is None
    assert results["probes"]["subject_from_expression"] is None
    assert "truth" not in results
    assert [results[name] for name in ("transfer_mm", "donor_share", "rank_1")] == [None] * 3
    assert results["people"] == {"test": 1, "of_them_in_training": 1}
    assert results["kept_motion"]


def test_one_face_of_each_person_is_enough_to_be_evaluated(codec, face_set):
    """Of real people: no pairs at rest, no probes, no levels."""
    _, rows = np.unique(face_set.test.subject, return_index=True)
    test = dataclasses.replace(face_set.test.take(rows), level=np.zeros(len(rows), np.float32))
    scans = dataclasses.replace(face_set, test=test, truth=None)
    results = evaluate(codec, scans, predict(codec, scans.test, scans.neutrals), intersection_faces=1)
    for measured in (results, results["baselines"]["linear"]):
        assert [measured[name] for name in ("transfer_mm", "donor_share", "kept_motion", "rank_1")] == [None] * 4
        assert measured["expression_disentanglement_mm"] is None
    json.dumps(results, allow_nan=False)


def test_the_conditional_model_transfers_labels_with_codes(named_codec, face_set):
    results = evaluate(
        named_codec, face_set, predict(named_codec, face_set.test, face_set.neutrals), intersection_faces=1
    )
    assert results["transfer"]["rest_mm"].keys() == {"own", "donor"}
    assert results["transfer_mm"]["mean"] < 2 * results["transfer"]["reconstruction_mm"]["mean"]
    assert abs(results["donor_share"]) < 0.5


def test_levels_that_noise_makes_are_not_used_where_true_ones_are_known(codec, face_set, predictions):
    """All faces are measured at the apex; only those that truly show their expression count."""
    noisy = dataclasses.replace(predictions, level=np.ones_like(predictions.level))
    shown = face_set.truth.factors["level"][predictions.index, 0] >= 0.5
    names = {face_set.expressions[number] for number in predictions.expression[shown]}
    found = evaluate(codec, face_set, noisy, intersection_faces=1)
    expected = evaluate(codec, face_set, predictions, intersection_faces=1)
    assert found["kept_motion"] == expected["kept_motion"]
    assert found["kept_motion"].keys() == names
    assert found["transfer_mm"] == expected["transfer_mm"]
    assert found["rank_1"] == expected["rank_1"]


def test_registration_takes_the_pose_away_and_nothing_else(predictions):
    turn = Rotation.from_euler("xyz", [3, -4, 5], degrees=True).as_matrix()
    exact = dataclasses.replace(
        predictions,
        reconstruction=(predictions.vertices @ turn.T + [1.0, 2.0, -3.0]).astype(np.float32),
        neutral=predictions.neutral_target + np.float32([4, 0, 0]),
    )
    registered = register(exact)
    np.testing.assert_allclose(registered.reconstruction, predictions.vertices, atol=2e-3)
    np.testing.assert_allclose(registered.neutral, predictions.neutral_target, atol=2e-3)
    before = distances(predictions.reconstruction, predictions.vertices)
    after = distances(register(predictions).reconstruction, predictions.vertices)
    assert np.square(after).sum() <= np.square(before).sum()
    assert after.mean() > 0.5 * before.mean()


def test_faces_are_encoded_a_batch_at_a_time(face_set, codec):
    """Of a set on disk, no more than a batch is in memory."""
    alive, most = set(), []

    class Vertices(np.ndarray):
        pass

    class Read(Listed):
        def __getitem__(self, index):
            vertices = super().__getitem__(index)["vertices"].view(Vertices)
            alive.add(id(vertices))
            weakref.finalize(vertices, alive.discard, id(vertices))
            return {**super().__getitem__(index), "vertices": vertices}

    def encode(vertices, labels):
        most.append((len(alive), len(vertices)))
        return codec.encode(vertices, labels)

    found = encode_faces(dataclasses.replace(codec, encode=encode), Read(face_set.train), 20, batch_size=8)
    assert max(faces for faces, _ in most) <= 2
    assert [batch for _, batch in most] == [8, 8, 4]
    faces = evenly_spaced_faces(face_set.train, 20)
    np.testing.assert_allclose(found.mean, codec.encode(faces.vertices, None)[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.subject, faces.subject)
