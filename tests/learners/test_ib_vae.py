from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from facedis_jax.errors import InputError
from facedis_jax.learners import IbVaeConfig, face_functions
from facedis_jax.losses import IbVaeWeights
from facedis_jax.models import group_points


@pytest.fixture(scope="module")
def default(tiny):
    """A learner with the demo's kind of encoder, its compiled step and a first state."""
    config = tiny.config()
    learner = tiny.learner(config)
    state = jax.jit(learner.init)(jax.random.key(0), tiny.batch(8))
    return config, learner, jax.jit(learner.step), state


@pytest.fixture(
    scope="module",
    params=[("paper", "batch"), ("paper", "none"), ("demo", "layer"), ("demo", "batch")],
    ids="-".join,
)
def encode(request, tiny):
    """`(vertices, start) -> posterior`, of an encoder whose running statistics are the data's."""
    kind, normalisation = request.param
    config = tiny.config(getattr(tiny, kind), normalisation)
    learner, constants, encoder = tiny.learner(config), tiny.constants(config), config.model.encoder.features
    functions = face_functions(config, constants)
    state = jax.jit(learner.init)(jax.random.key(0), tiny.batch(8))
    if normalisation == "batch":
        step = jax.jit(learner.step)
        for seed in range(3):
            state, _ = step(state, tiny.batch(8, seed))

    @jax.jit
    def encode(vertices, start):
        features = jax.vmap(functions.features)(vertices)
        if encoder.start == "first":
            groups = jax.vmap(lambda points: group_points(points, encoder, start=start))
            features = features._replace(grouping=groups(vertices / constants.scale))
        return functions.encode(state, vertices, features, None)

    return encode


def test_code_does_not_depend_on_the_order_of_the_points(tiny, encode):
    vertices = tiny.batch(32, seed=9)["vertices"]
    codes = encode(vertices, 0)
    assert np.abs(codes.mean - codes.mean[::-1]).max() > 1e-3
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(vertices.shape[1])
        permuted = encode(vertices[:, order], np.argsort(order)[0])
        np.testing.assert_allclose(permuted.mean, codes.mean, atol=1e-4, rtol=0)
        np.testing.assert_allclose(permuted.logvar, codes.logvar, atol=1e-4, rtol=0)


def test_code_does_not_depend_on_what_else_is_in_the_batch(tiny, encode):
    vertices = tiny.batch(32, seed=9)["vertices"]
    together = encode(vertices, 0)
    for i in (0, 13, 31):
        alone = encode(vertices[i : i + 1], 0)
        np.testing.assert_allclose(alone.mean[0], together.mean[i], atol=1e-5, rtol=0)
        np.testing.assert_allclose(alone.logvar[0], together.logvar[i], atol=1e-5, rtol=0)
    others = vertices[::-1].copy()
    others[:5] = vertices[:5]
    np.testing.assert_allclose(encode(others, 0).mean[:5], together.mean[:5], atol=1e-5, rtol=0)


def test_step_is_a_pure_function_of_the_state(tiny, default):
    _, _, step, state = default
    one, other = step(state, tiny.batch(8)), step(state, tiny.batch(8))
    jax.tree.map(np.testing.assert_array_equal, _raw(one), _raw(other))
    assert int(one[0].step) == 1


def test_noise_changes_with_the_step_and_with_the_key(tiny, default):
    _, _, step, state = default
    errors = [
        float(step(changed, tiny.batch(8))[1]["reconstruction_mm"].sum)
        for changed in (state, state.replace(step=jnp.int32(1)), state.replace(key=jax.random.key(5)))
    ]
    assert len(set(errors)) == 3


def test_noise_is_drawn_for_each_face_by_its_place_in_the_batch(tiny, default):
    _, _, step, state = default
    batch = tiny.batch(1)
    first, both = (
        float(step(state, jax.tree.map(lambda x, n=n: np.repeat(x, n, axis=0), batch))[1]["reconstruction_mm"].sum)
        for n in (1, 2)
    )
    assert abs(both - first - first) > 1e-3 * first


def test_information_that_rises_costs_nothing_at_first(tiny, default):
    config, _, step, state = default
    rising = jax.jit(tiny.learner(replace(config, rise_epochs=2.0)).step)

    def loss(step, state):
        return float(step(state, tiny.batch(8))[1]["loss"].compute())

    free = state.replace(weights=replace(state.weights, lambda_2=jnp.float32(0.0)))
    assert loss(rising, state) == pytest.approx(loss(step, free), rel=1e-5)
    # Ten steps to an epoch: half the price after one, the whole after two.
    later = state.replace(step=jnp.int32(10))
    half = later.replace(weights=replace(state.weights, lambda_2=state.weights.lambda_2 / 2))
    assert loss(rising, later) == pytest.approx(loss(step, half), rel=1e-5)
    assert loss(rising, later) != pytest.approx(loss(step, later), rel=1e-5)
    last = state.replace(step=jnp.int32(20))
    assert loss(rising, last) == pytest.approx(loss(step, last), rel=1e-5)


@pytest.mark.parametrize("wrong", [{"rise_epochs": -1.0}, {"decay_epochs": 0.0}])
def test_schedules_of_no_time_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        IbVaeConfig(**wrong)


def test_metrics_are_finite_and_count_the_batch(tiny, default):
    _, _, step, state = default
    metrics = step(state, tiny.batch(8))[1]
    assert set(metrics) == {"loss", "reconstruction_mm", "neutral_mm", "kl_nats", "mutual_information_nats"}
    for average in metrics.values():
        assert np.isfinite(average.compute())
        assert average.count == 8


def test_evaluation_is_of_posterior_means_in_mm_without_masked_faces(tiny, default):
    config, learner, _, state = default
    functions = face_functions(config, tiny.constants(config))
    batch = tiny.batch(6)
    batch["mask"][4:] = 0
    batch["vertices"][5] = np.nan
    metrics = jax.jit(learner.evaluate)(state, batch)

    @jax.jit
    def encode(vertices):
        return functions.encode(state, vertices, jax.vmap(functions.features)(vertices), None)

    mean, logvar = (np.float64(x) for x in encode(batch["vertices"]))
    full, neutral = functions.decode(state, jnp.float32(mean[:, :2]), jnp.float32(mean[:, 2:]), None)

    def distance(a, b):
        return np.linalg.norm(np.float64(a) - b, axis=-1).mean(axis=-1)[:4].mean()

    kl = 0.5 * (mean**2 + np.exp(logvar) - 1 - logvar).sum(axis=1)[:4].mean()
    expected = distance(full, batch["vertices"]), distance(neutral, batch["neutral"]), kl
    for name, value in zip(("reconstruction_mm", "neutral_mm", "kl_nats"), expected, strict=True):
        np.testing.assert_allclose(metrics[name].compute(), value, rtol=1e-5)
        assert metrics[name].count == 4


@pytest.mark.parametrize("exempt_neutral", [False, True])
def test_codes_that_say_nothing_have_no_information(tiny, default, exempt_neutral):
    state = default[-1]
    params = {**state.params}
    for head in ("mean", "logvar"):
        params[head] = jax.tree.map(jnp.zeros_like, params[head])
    step = jax.jit(tiny.learner(tiny.config(exempt_neutral=exempt_neutral)).step)
    batch = tiny.batch(8)
    metrics = step(state.replace(params=params), batch)[1]

    np.testing.assert_allclose(metrics["mutual_information_nats"].compute(), 0, atol=1e-5)
    np.testing.assert_allclose(metrics["kl_nats"].compute(), 0, atol=1e-6)
    counted = (batch["level"] > 0.1).sum()
    assert 0 < counted < 8
    assert metrics["mutual_information_nats"].count == (counted if exempt_neutral else 8)


def test_a_few_faces_are_learned_and_nothing_is_compiled_twice(tiny):
    config = tiny.config(weights=IbVaeWeights(lambda_2=1e-6))
    learner = tiny.learner(config)
    step = jax.jit(learner.step, donate_argnums=0)
    batch = tiny.batch(8)
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    history = []
    for _ in range(800):
        state, metrics = step(state, batch)
        history.append({name: x.compute() for name, x in metrics.items()})
    # Codes are sampled: a single step says little.
    last = {name: np.mean([metrics[name] for metrics in history[-50:]]) for name in history[0]}
    for name in ("loss", "reconstruction_mm", "neutral_mm"):
        assert last[name] < 0.5 * history[0][name], name
    assert last["mutual_information_nats"] > history[0]["mutual_information_nats"]
    assert int(state.step) == 800
    assert step._cache_size() == 1


def test_many_weights_train_in_one_program_as_they_do_alone(tiny, default):
    _, _, step, state = default
    settings = [IbVaeWeights(beta_id=1.0, beta_mi=0.0), IbVaeWeights(lambda_2=0.1)]
    weights = jax.tree.map(lambda *x: jnp.stack([jnp.float32(value) for value in x]), *settings)
    axes = jax.tree.map(lambda _: None, state).replace(weights=0)
    together = jax.jit(jax.vmap(lambda s, b: step(s, b), in_axes=(axes, None)))(
        state.replace(weights=weights), tiny.batch(8)
    )
    for i, setting in enumerate(settings):
        alone = step(state.replace(weights=jax.tree.map(jnp.float32, setting)), tiny.batch(8))
        mu, metrics = optax.tree_utils.tree_get(alone[0].opt_state, "mu"), alone[1]
        mus = optax.tree_utils.tree_get(together[0].opt_state, "mu")
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-3, atol=1e-6), mus, mu)
        for name, average in metrics.items():
            np.testing.assert_allclose(together[1][name].sum[i], average.sum, rtol=1e-5, atol=1e-5)
    assert together[1]["loss"].sum[0] != together[1]["loss"].sum[1]


def test_features_computed_ahead_give_the_same_step(tiny, default):
    config, learner, step, state = default
    functions = face_functions(config, tiny.constants(config))
    batch = tiny.batch(8)
    ahead = {**batch, "features": jax.jit(jax.vmap(functions.features))(batch["vertices"])}

    expected, metrics = step(state, batch)
    found, found_metrics = step(state, ahead)
    mu, found_mu = (optax.tree_utils.tree_get(s.opt_state, "mu") for s in (expected, found))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), found_mu, mu)
    for name, average in metrics.items():
        np.testing.assert_allclose(found_metrics[name].sum, average.sum, rtol=1e-5, atol=1e-5)
    assert jax.tree.structure(jax.eval_shape(learner.init, state.key, ahead)) == jax.tree.structure(state)


def test_the_conditional_learner_takes_labels_from_the_batch(tiny):
    learner = tiny.learner(tiny.config(conditional=True))
    batch = tiny.batch(8)
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    assert state.params["mean"]["kernel"].shape == (8 + 3, 4)
    assert state.params["full_decoder"]["Dense_0"]["kernel"].shape == (2 + 2 + 3, 8)

    evaluate = jax.jit(learner.evaluate)
    unnamed = {**batch, "level": np.zeros_like(batch["level"])}
    other = {**unnamed, "expression": (batch["expression"] + 1) % 3}
    errors = [evaluate(state, x)["reconstruction_mm"].compute() for x in (batch, unnamed, other)]
    assert errors[0] != errors[1]
    assert errors[1] == errors[2]


def _raw(tree):
    """Keys as plain integers, which NumPy can compare."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x, tree)
