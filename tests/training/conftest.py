"""A small learner and its data: linear regression with noise on the inputs, so that the seed matters."""

from typing import Any, NamedTuple

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from facedis_jax.learners.learner import Learner
from facedis_jax.metrics import Average

DIMS = 3


class RegressionState(NamedTuple):
    weights: jax.Array
    optimizer: Any
    key: jax.Array
    step: jax.Array


class ChainState(NamedTuple):
    chains: jax.Array
    scale: jax.Array
    key: jax.Array
    step: jax.Array


def regression(axis_name=None, *, centred=False, noise=0.0, learning_rate=0.1):
    """Linear regression; `centred` subtracts the batch's mean prediction, a collective inside the loss."""
    optimizer = optax.adam(learning_rate)

    def mean_over_devices(x):
        return x if axis_name is None else jax.lax.pmean(x, axis_name)

    def errors(weights, batch):
        prediction = jnp.tanh(batch["x"] @ weights)
        if centred:
            prediction = prediction - mean_over_devices(prediction.mean())
        return (prediction - batch["y"]) ** 2

    def init(key, batch):
        weights = jax.random.normal(key, batch["x"].shape[-1:])
        return RegressionState(weights, optimizer.init(weights), key, jnp.int32(0))

    def step(state, batch):
        def loss(weights):
            each = errors(weights, batch)
            return each.mean(), each

        key = jax.random.fold_in(state.key, state.step)
        gradient, each = jax.grad(loss, has_aux=True)(state.weights)
        gradient = mean_over_devices(gradient) + noise * jax.random.normal(key, gradient.shape)
        updates, optimizer_state = optimizer.update(gradient, state.optimizer)
        weights = optax.apply_updates(state.weights, updates)
        return RegressionState(weights, optimizer_state, state.key, state.step + 1), {
            "loss": Average.of(each),
            "weight": Average.of(jnp.abs(state.weights)),
        }

    def evaluate(state, batch):
        return {"loss": Average.of(errors(state.weights, batch), batch["mask"])}

    return Learner(init, step, evaluate)


def chains(axis_name):
    """One chain for each of eight examples, moved by the mean over all of them and by its own datum."""

    def init(key, batch):
        return ChainState(jnp.arange(16.0).reshape(8, 2), jnp.float32(1.0), key, jnp.int32(0))

    def step(state, batch):
        mean = jax.lax.pmean(state.chains.mean(0), axis_name)
        moved = state.chains + 0.5 * (mean - state.chains) + state.scale * batch["x"][:, :2]
        loss = Average.of(moved.sum(-1))
        return ChainState(moved, state.scale * 0.9, state.key, state.step + 1), {"loss": loss}

    return Learner(init, step, lambda state, batch: {"loss": Average.of(state.chains.sum(-1), batch["mask"])})


def make_batch(seed, size=8):
    generator = np.random.default_rng(seed)
    return {
        "x": generator.normal(size=(size, DIMS)).astype(np.float32),
        "y": generator.normal(size=size).astype(np.float32),
        "mask": np.ones(size, np.float32),
    }


def make_batches(size=8):
    """An endless, shuffled and resumable stream, as Grain makes them."""
    data = make_batch(0, 40)
    rows = [{"index": np.int32(i)} | {name: column[i] for name, column in data.items()} for i in range(40)]
    dataset = grain.MapDataset.source(rows).seed(1).shuffle().repeat().batch(size)
    # By default Grain starts 16 threads, which read 500 batches ahead.
    return iter(dataset.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)))


class Toys:
    ChainState = ChainState
    regression = staticmethod(regression)
    chains = staticmethod(chains)
    make_batch = staticmethod(make_batch)
    make_batches = staticmethod(make_batches)


@pytest.fixture(scope="session")
def toys():
    return Toys
