from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.decomposition import PCA

from facedis_jax.learners import OptimiserConfig, RecognitionConfig, classify_folds, recognition, recognition_learner
from facedis_jax.learners.recognition import principal_axes
from facedis_jax.models import SequenceClassifier

CONFIG = RecognitionConfig(
    hidden=8,
    epochs=30,
    batch_size=10,
    components=4,
    optimiser=OptimiserConfig(learning_rate=2e-2, weight_decay=0.0, schedule="cosine"),
)
KEY = jax.random.key(0)
CLIPS, FRAMES = 60, 5


def examples(features=3, seed=0):
    """Three motions along one direction, up, down and there and back, which start and end anywhere; 5 folds."""
    rng = np.random.default_rng(seed)
    labels, folds = np.arange(CLIPS) % 3, np.arange(CLIPS) // 3 % 5
    time = np.linspace(-1, 1, FRAMES)
    motions = np.stack([time, -time, 1 - 2 * np.abs(time)])[labels]
    direction = np.random.default_rng(9).normal(size=features)
    still = rng.normal(size=(CLIPS, 1, features))
    noise = 0.05 * rng.normal(size=(CLIPS, FRAMES, features))
    return (2 * motions[..., None] * direction + 0.3 * still + noise).astype(np.float32), labels, folds


@pytest.fixture(scope="module")
def results():
    return classify_folds(*examples(), KEY, CONFIG)


def test_motions_are_told_apart_by_people_that_were_not_trained_on(results):
    _, labels, folds = examples()
    assert results.accuracy.shape == (5,)
    assert results.accuracy.mean() > 0.95
    right = results.predictions == labels
    np.testing.assert_allclose(results.accuracy, [right[folds == fold].mean() for fold in range(5)])
    np.testing.assert_allclose(results.probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(results.probabilities.argmax(axis=1), results.predictions)


def test_labels_that_mean_nothing_are_not_recognised(results):
    sequences, labels, folds = examples()
    shuffled = np.random.default_rng(1).permutation(labels)
    assert classify_folds(sequences, shuffled, folds, KEY, CONFIG).accuracy.mean() < 0.6


@pytest.mark.parametrize("features", [3, 40], ids=["as they are", "projected"])
def test_nothing_of_a_fold_is_known_to_its_classifier(features):
    """What a fold's clips look like, or are labelled, changes nothing of what is said of its other clips."""
    config = replace(CONFIG, epochs=3)
    sequences, labels, folds = examples(features)
    before = classify_folds(sequences, labels, folds, KEY, config)
    changed, relabelled, clip = sequences.copy(), labels.copy(), 7
    changed[clip] = 100 * np.random.default_rng(2).normal(size=changed[clip].shape)
    relabelled[clip] = (labels[clip] + 1) % 3
    after = classify_folds(changed, relabelled, folds, KEY, config)
    same = (folds == folds[clip]) & (np.arange(CLIPS) != clip)
    np.testing.assert_allclose(after.probabilities[same], before.probabilities[same], rtol=1e-3, atol=1e-5)
    others = np.abs(after.probabilities - before.probabilities)[folds != folds[clip]]
    assert others.max() > 1e-3


@pytest.mark.parametrize("scaling", ["each", "common"])
def test_many_features_are_recognised_by_their_principal_components(scaling):
    config = replace(CONFIG, scaling=scaling)
    assert classify_folds(*examples(features=40), KEY, config).accuracy.mean() > 0.9


def test_units_do_not_matter(results):
    sequences, labels, folds = examples()
    other = classify_folds(sequences * np.float32([0.25, 1, 8]) + 16, labels, folds, KEY, CONFIG)
    np.testing.assert_array_equal(other.predictions, results.predictions)


def test_principal_axes_are_those_of_each_subset():
    rng = np.random.default_rng(0)
    used = rng.uniform(size=(3, 90)) < 0.7
    rows = rng.normal(size=(90, 50)) * 0.85 ** np.arange(50) + rng.normal(size=50)
    mean, axes = principal_axes(rows.astype(np.float32), used, 4)
    for subset in range(3):
        exact = PCA(4, svd_solver="full").fit(rows[used[subset]])
        np.testing.assert_allclose(mean[subset], exact.mean_, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(np.abs(exact.components_ @ axes[subset]), np.eye(4), atol=1e-2)


def test_metrics_are_accuracy_and_cross_entropy(random_state):
    learner, state, batch = random_state
    network = SequenceClassifier(3, CONFIG.hidden)
    logits = np.float64(jax.jit(network.apply)({"params": state.params}, batch["sequence"]))
    entropy = -log_softmax(logits, axis=1)[np.arange(6), batch["label"]]
    right = logits.argmax(axis=1) == batch["label"]
    after, metrics = jax.jit(learner.step)(state, batch)
    np.testing.assert_allclose(metrics["cross_entropy_nats"].compute(), entropy.mean(), rtol=1e-4)
    assert metrics["accuracy"].compute() == pytest.approx(right.mean())
    assert int(after.step) == 1
    masked = {**batch, "mask": np.float32([1, 1, 0, 1, 0, 1])}
    masked["sequence"] = np.where(masked["mask"][:, None, None] > 0, batch["sequence"], np.nan)
    found = jax.jit(learner.evaluate)(state, masked)
    assert found["accuracy"].count == 4
    np.testing.assert_allclose(found["cross_entropy_nats"].sum, entropy[[0, 1, 3, 5]].sum(), rtol=1e-4)


@pytest.fixture
def random_state():
    sequences, labels, _ = examples()
    batch = {"sequence": sequences[:6], "label": labels[:6].astype(np.int32)}
    learner = recognition_learner(CONFIG, num_classes=3, steps_per_epoch=6, num_steps=100)
    return learner, jax.jit(learner.init)(KEY, batch), batch


@pytest.mark.parametrize(
    ("labels", "folds", "message"),
    [
        ([0, 1, 0], [0, 1, 0, 1], "got shapes"),
        ([0, 1, 0, 1], [0, 0, 0, 0], "two folds or more"),
        ([0, 1, 0, 1], [0, 2, 2, 0], "none empty"),
        ([0, 1, 0, 1], [-1, 0, 1, 0], "from 0 on"),
        ([0, -1, 0, 1], [0, 1, 0, 1], "got -1"),
    ],
)
def test_folds_and_labels_that_make_no_sense_are_refused(labels, folds, message):
    with pytest.raises(ValueError, match=message):
        classify_folds(np.zeros((4, 2, 3)), labels, folds, KEY, CONFIG)


def test_folds_that_see_the_same_run_one_after_the_other_as_they_would_side_by_side():
    sequences, labels, folds = examples(features=3)
    config = replace(CONFIG, components=None, dense=4)
    inputs = np.broadcast_to(sequences, (5, *sequences.shape))
    training = folds[None] != np.arange(5)[:, None]
    orders = np.stack([np.flatnonzero(rows)[:40].reshape(4, 10) for rows in training])
    used = np.repeat(training, FRAMES, axis=1)
    states = recognition._initial_states(config, 3, 4, inputs, jax.random.split(KEY, 5))
    shared, own = (
        recognition._cross_validated(config, 3, seen, labels, used, orders, states)
        for seen in (sequences[None], inputs)
    )
    np.testing.assert_allclose(shared, own, atol=1e-5)
