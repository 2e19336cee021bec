"""The dense equivariant embedding and the masked autoencoder, on images of 8 x 8."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.errors import InputError
from facedis_jax.geometry import warp
from facedis_jax.learners import OptimiserConfig
from facedis_jax.learners.rivals.images import (
    EmbeddingConfig,
    EmbeddingNetworks,
    MaskedAutoencoderConfig,
    MaskedNetworks,
    WarpConfig,
    embedding_features,
    embedding_learner,
    masked_autoencoder_learner,
    masked_features,
)
from facedis_jax.learners.rivals.images.embedding import warped_pair
from facedis_jax.models.rivals.images.features import MaskedAutoencoder, patches_of

FAST = OptimiserConfig(learning_rate=3e-3, weight_decay=0.0, schedule="cosine")
LEARNERS = {
    "embedding": (
        embedding_learner,
        embedding_features,
        EmbeddingConfig(
            EmbeddingNetworks(dimensions=4, filters=(8, 8), taps=(3, 3)), WarpConfig(), third_image=True, optimiser=FAST
        ),
    ),
    "masked": (
        masked_autoencoder_learner,
        masked_features,
        MaskedAutoencoderConfig(MaskedNetworks(2, 8, 1, 2, 8, 1), masked=0.5, optimiser=FAST),
    ),
}
FEATURES = {"embedding": 4 * 4 * 4, "masked": 16 * 8}


@pytest.mark.parametrize("name", LEARNERS)
def test_it_learns_repeats_itself_and_leaves_padding_out(name, small):
    make, features, config = LEARNERS[name]
    learner = make(config, steps_per_epoch=5, num_steps=60)
    begun, step, losses = small.make_state(learner), jax.jit(learner.step), []
    state = begun
    for i in range(60):
        state, metrics = step(state, small.batch((np.arange(10) + 10 * i) % 20))
        losses.append(next(iter(metrics.values())).compute())
    assert np.mean(losses[-10:]) < 0.95 * np.mean(losses[:5])
    assert step(begun, small.batch(np.arange(10)))[1].popitem()[1].compute() == losses[0]
    evaluate, batch = jax.jit(learner.evaluate), small.batch(np.arange(4))
    whole = evaluate(state, batch).popitem()[1]
    # A mask of its own: the first one may still be read while the second is written.
    part = evaluate(state, {**batch, "mask": np.float32([1, 1, 1, 0])}).popitem()[1]
    assert (whole.count, part.count) == (4, 3)
    assert part.sum < whole.sum
    images = (small.images([0, 1, 1]) / 255).astype(np.float32)
    found = np.asarray(jax.jit(lambda params, x: features(config, params, x))(state.params, images))
    assert found.shape == (3, FEATURES[name])
    np.testing.assert_array_equal(found[1], found[2])
    assert np.abs(found[0] - found[1]).max() > 1e-4


def test_a_pair_is_an_image_and_the_same_one_read_elsewhere():
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(8, 8, 3)), jnp.float32)
    still = WarpConfig(0.0, 0.0, 0.0, 0.0, 0.0)
    flow, same = warped_pair(still, image, jax.random.key(0))
    np.testing.assert_allclose(flow, 0, atol=1e-6)
    np.testing.assert_allclose(same, image, atol=1e-5)
    flow, other = warped_pair(WarpConfig(light=0.0), image, jax.random.key(1))
    assert 0.1 < np.abs(flow).mean() < 4
    np.testing.assert_allclose(other, warp(image, flow), atol=1e-6)


def test_what_is_masked_is_not_seen():
    config = MaskedNetworks(4, 8, 1, 2, 8, 1)
    images = np.random.default_rng(0).uniform(size=(2, 8, 8, 3)).astype(np.float32)
    other = images.copy()
    other[:, 4:, 4:] = 0  # the last of four patches
    assert np.any(np.all(patches_of(jnp.asarray(other), 4) == 0, axis=-1)[:, 3])
    model, seen = MaskedAutoencoder(config, 3), jnp.array([[2, 0, 1]] * 2)
    weights, draw = jax.jit(model.init)(jax.random.key(0), jnp.zeros((2, 4, 48)), seen), jax.jit(model.apply)
    drawn = draw(weights, patches_of(jnp.asarray(images), 4), seen)
    np.testing.assert_array_equal(drawn, draw(weights, patches_of(jnp.asarray(other), 4), seen))
    # In whatever order they are seen.
    shuffled = draw(weights, patches_of(jnp.asarray(images), 4), jnp.array([[0, 1, 2]] * 2))
    np.testing.assert_allclose(drawn, shuffled, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: MaskedAutoencoderConfig(masked=1.0), "masked"),
        (lambda: MaskedAutoencoderConfig(epochs=0), "epochs"),
        (lambda: EmbeddingConfig(epochs=-1), "epochs"),
        (lambda: MaskedNetworks(width=30), "networks.width"),
        (lambda: EmbeddingNetworks(taps=(3,)), "networks.taps"),
        (lambda: EmbeddingNetworks(dimensions=0), "dimensions"),
    ],
)
def test_settings_of_no_sense_are_refused(make, named):
    with pytest.raises(InputError, match=f"^{named}: expected"):
        make()
