import jax
import numpy as np
import optax
import pytest

from facedis_jax.errors import InputError
from facedis_jax.learners import OptimiserConfig, make_optimiser

GRADIENTS = np.random.default_rng(0).normal(size=(14, 3))
START = np.array([1.0, -2.0, 0.5])


def adam_in_numpy(rates, *, l2=0.0, decay=0.0, beta_1=0.9):
    """Kingma and Ba's algorithm 1 in float64, with an L2 penalty in the gradient or decay of the weights."""
    weights, mean, square = START.copy(), np.zeros(3), np.zeros(3)
    for t, (rate, gradient) in enumerate(zip(rates, GRADIENTS, strict=True), start=1):
        gradient = gradient + l2 * weights
        mean = beta_1 * mean + (1 - beta_1) * gradient
        square = 0.999 * square + 0.001 * gradient**2
        direction = mean / (1 - beta_1**t) / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)
        weights = weights - rate * (direction + decay * weights)
    return weights


def adam_of(config, **settings):
    optimiser = make_optimiser(config, **{"steps_per_epoch": 2, "num_steps": 14, **settings})
    weights = START.astype(np.float32)
    state = optimiser.init(weights)
    update = jax.jit(optimiser.update)
    for gradient in GRADIENTS.astype(np.float32):
        updates, state = update(gradient, state, weights)
        weights = optax.apply_updates(weights, updates)
    return weights


def staircase(every):
    return 0.1 * 0.7 ** (np.arange(14) // every)


@pytest.mark.parametrize(
    ("name", "penalty"), [("adam", {}), ("adam", {"l2": 0.3}), ("adamw", {"decay": 0.3}), ("adamw", {})]
)
def test_adam_couples_the_penalty_and_adamw_does_not(name, penalty):
    config = OptimiserConfig(name, 0.1, weight_decay=0.3 if penalty else 0.0, decay_epochs=2)
    expected = adam_in_numpy(staircase(4), **penalty)
    np.testing.assert_allclose(adam_of(config), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("epochs", "steps_per_epoch", "every"), [(2, 2, 4), (3, 1.25, 4), (0.1, 1, 1)])
def test_staircase_falls_after_whole_epochs(epochs, steps_per_epoch, every):
    config = OptimiserConfig(learning_rate=0.1, weight_decay=0.0, decay_epochs=epochs)
    expected = adam_in_numpy(staircase(every))
    np.testing.assert_allclose(adam_of(config, steps_per_epoch=steps_per_epoch), expected, rtol=1e-5)


def test_rate_rises_in_the_warm_up():
    config = OptimiserConfig(learning_rate=0.1, weight_decay=0.0, decay_epochs=2, warmup_steps=5)
    expected = adam_in_numpy(np.minimum(1, np.arange(14) / 5) * staircase(4))
    np.testing.assert_allclose(adam_of(config), expected, rtol=1e-5)


@pytest.mark.parametrize("warmup", [0, 3])
def test_cosine_falls_to_a_hundredth_by_the_end(warmup):
    config = OptimiserConfig(learning_rate=0.1, weight_decay=0.0, schedule="cosine", warmup_steps=warmup)
    steps = np.arange(14)
    # The last four steps come after the end of the schedule.
    cosine = 0.1 * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * np.minimum(1, steps / 10))))
    np.testing.assert_allclose(cosine[10:], 1e-3)
    rates = cosine * np.minimum(1, steps / warmup) if warmup else cosine
    np.testing.assert_allclose(adam_of(config, num_steps=10), adam_in_numpy(rates), rtol=1e-5)


def test_steps_take_on_their_rates_after_their_epochs():
    config = OptimiserConfig(learning_rate=0.1, weight_decay=0.0, schedule="steps", steps=((2, 0.05), (2.5, 0.2)))
    rates = np.repeat([0.1, 0.05, 0.2], [8, 2, 4])
    np.testing.assert_allclose(adam_of(config, steps_per_epoch=4), adam_in_numpy(rates), rtol=1e-5)


def test_without_steps_the_rate_stays_and_beta_1_is_the_first_moments_decay():
    config = OptimiserConfig(learning_rate=0.1, weight_decay=0.0, schedule="steps", beta_1=0.5)
    np.testing.assert_allclose(adam_of(config), adam_in_numpy(np.full(14, 0.1), beta_1=0.5), rtol=1e-5)


def test_defaults_are_the_papers():
    config = OptimiserConfig()
    assert (config.name, config.learning_rate, config.weight_decay) == ("adam", 5e-5, 1e-4)
    assert (config.schedule, config.decay_rate, config.decay_epochs) == ("staircase", 0.7, 50)


@pytest.mark.parametrize("config", [OptimiserConfig(name="sgd"), OptimiserConfig(schedule="linear")])  # type: ignore[arg-type]
def test_unknown_names_are_refused(config):
    with pytest.raises(ValueError, match=r"must be .*, got '(sgd|linear)'"):
        make_optimiser(config, steps_per_epoch=1, num_steps=1)


@pytest.mark.parametrize("steps", [0, 1, 5, 30])
def test_the_geometrys_warmup_is_of_its_updates_and_not_of_their_moments(steps):
    config = OptimiserConfig(learning_rate=0.1, weight_decay=0.0, decay_epochs=2, geometry_warmup=steps)
    optimiser = make_optimiser(config, steps_per_epoch=2, num_steps=14)
    weights = dict.fromkeys(("geometry_network", "geometry_transition", "appearance_network"), np.float32(START))
    state = optimiser.init(weights)
    update = jax.jit(optimiser.update)
    for gradient in np.float32(GRADIENTS):
        updates, state = update(dict.fromkeys(weights, gradient), state, weights)
        weights = optax.apply_updates(weights, updates)

    rates = staircase(4)
    np.testing.assert_allclose(weights["appearance_network"], adam_in_numpy(rates), rtol=1e-5)
    rising = rates * np.minimum(np.arange(14) / steps, 1) if steps else rates
    for name in ("geometry_network", "geometry_transition"):
        np.testing.assert_allclose(weights[name], adam_in_numpy(rising), rtol=1e-5)


@pytest.mark.parametrize("name", ["warmup_steps", "geometry_warmup"])
def test_steps_of_a_warmup_are_not_negative(name):
    with pytest.raises(InputError, match=f"{name}: expected 0 or more, found -1"):
        OptimiserConfig(**{name: -1})
