from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from facedis_jax.learners import LangevinConfig, OptimiserConfig, abp_functions
from facedis_jax.learners.abp import PAPER_OPTIMISER, current_sigma
from facedis_jax.learners.generator_functions import image_functions
from facedis_jax.models import Latents

EPSILON = 1e-5


@pytest.fixture(scope="module")
def stepped(small):
    """The state and the metrics after a first step on twelve images in no order."""
    index = np.random.default_rng(0).permutation(20)[:12]
    return index, *small.step(small.state, small.batch(index))


def rows(latents, index):
    """The codes of some images, appearance and geometry side by side, float64."""
    return np.concatenate([np.float64(z)[np.asarray(index)] for z in latents], axis=1)


def split(codes):
    return Latents(codes[:, :3], codes[:, 3:])


def energies(small, params, images, codes, sigma):
    """Minus Eq. 8 in float64, one value per image."""
    residual = images / 255 - small.decode(small.config.model, params, split(codes))
    return np.square(residual).sum(axis=(1, 2, 3)) / (2 * sigma**2) + np.square(codes).sum(axis=1) / 2


def test_chains_of_images_outside_the_batch_do_not_move(small, stepped):
    index, state, _ = stepped
    moved = (rows(state.chains, range(3840)) != rows(small.state.chains, range(3840))).all(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(moved), np.sort(index))
    still = (rows(state.chains, range(3840)) == rows(small.state.chains, range(3840))).all(axis=1)
    np.testing.assert_array_equal(still, ~moved)


def test_first_chains_are_from_the_prior_and_do_not_depend_on_their_number(small):
    codes = rows(small.state.chains, range(3840))
    assert abs(codes.mean()) < 0.05
    np.testing.assert_allclose(codes.std(axis=0), 1, atol=0.1)
    more = jax.eval_shape(small.learner(num_images=3841).init, jax.random.key(0), small.batch([0]))
    assert more.chains.appearance.shape == (7680, 3)


def test_chains_begin_and_begin_anew_as_far_apart_as_asked(small):
    def first_and_anew(initial_std):
        langevin = replace(small.config.langevin, initial_std=initial_std, num_steps=0)
        learner = small.learner(replace(small.config, langevin=langevin))
        state = jax.jit(learner.init)(jax.random.key(0), small.batch([0]))
        diverged = state.replace(chains=jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), state.chains))
        anew = jax.jit(learner.step)(diverged, small.batch(range(12)))[0]
        return rows(state.chains, range(3840)), rows(anew.chains, range(12))

    for near, far in zip(first_and_anew(0.25), first_and_anew(1.0), strict=True):
        assert np.abs(far).min() > 0
        np.testing.assert_array_equal(near, far / 4)


def test_appearance_stays_at_its_mean_while_geometry_goes_first(small):
    step = jax.jit(small.learner(replace(small.config, geometry_first_epochs=1)).step)
    index = np.arange(12)
    before = jax.tree.map(lambda z: z[index], small.state.chains)
    for at_step, held in ((1, True), (2, False)):  # two steps are an epoch
        state = small.state.replace(step=jnp.int32(at_step))
        found = step(state, small.batch(index))[0].chains
        assert np.all(found.geometry[index] != before.geometry)
        if held:
            np.testing.assert_array_equal(found.appearance[index], 0)
        else:
            plain = small.step(state, small.batch(index))[0].chains
            np.testing.assert_allclose(rows(found, index), rows(plain, index), rtol=1e-5)


@pytest.mark.parametrize(("at_step", "sigma"), [(0, 0.6), (1, 0.6), (2, 0.3)])
def test_a_step_moves_the_chains_by_equation_7_in_turn(small, at_step, sigma):
    """Two sweeps in float64 with central differences for gradients, and the noise of the image's index."""
    state = small.state.replace(step=jnp.int32(at_step))
    index = np.array([7, 3, 0, 1, 2, 4, 5, 6, 8, 9, 10, 11])
    found = rows(small.step(state, small.batch(index))[0].chains, index)
    for place in (0, 1):
        image = small.images(index[[place]])
        key = jax.random.fold_in(jax.random.fold_in(state.key, at_step), index[place])
        z = rows(state.chains, index[[place]])[0]
        for sweep in range(2):
            for part, which in enumerate((slice(0, 3), slice(3, 7))):
                nearby = np.concatenate([z + EPSILON * np.eye(7), z - EPSILON * np.eye(7)])
                around = energies(small, state.params, image, nearby, sigma)
                gradient = (around[7:] - around[:7]) / (2 * EPSILON)
                noise_key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(key, sweep), part), 0)
                noise = jax.random.normal(jax.random.split(noise_key, 1)[0], z[which].shape)
                z[which] += 0.1**2 / 2 * gradient[which] + 0.1 * np.float64(noise)
        np.testing.assert_allclose(found[place], z, rtol=1e-4, atol=1e-4)


def test_a_bent_flow_costs_what_is_asked_for(small):
    """One sweep with the price and one without differ by the step along the price's gradient, and by its value."""
    index, flow_of = np.arange(12), jax.jit(image_functions(small.config.model).flow)

    def swept(bending):
        model = replace(small.config.model, bending=bending)
        langevin = replace(small.config.langevin, num_steps=1)
        learner = small.learner(replace(small.config, model=model, langevin=langevin))
        return jax.jit(learner.step)(small.state, small.batch(index))

    def price(params, geometry):
        flow = np.asarray(flow_of(params, geometry))
        xx, yy = np.diff(flow, n=2, axis=2)[:, 1:-1], np.diff(flow, n=2, axis=1)[:, :, 1:-1]
        xy = (flow[:, 2:, 2:] - flow[:, 2:, :-2] - flow[:, :-2, 2:] + flow[:, :-2, :-2]) / 4
        return 0.02 * 64 * (xx**2 + 2 * xy**2 + yy**2).sum(-1).mean((1, 2))

    (free, plain), (bent, priced) = swept(0.0), swept(0.02)
    np.testing.assert_array_equal(bent.chains.appearance, free.chains.appearance)
    before, params = np.asarray(small.state.chains.geometry[index]), small.state.params
    step = 1e-2 * np.eye(4, dtype=np.float32)
    slopes = [(price(params, before + d) - price(params, before - d)) / 2e-2 for d in step]
    moved = bent.chains.geometry[index] - free.chains.geometry[index]
    np.testing.assert_allclose(moved, -(0.1**2) / 2 * np.stack(slopes, -1), rtol=0.05, atol=2e-4)
    codes = rows(bent.chains, index)
    expected = energies(small, params, small.images(index), codes, 0.6) + price(params, bent.chains.geometry[index])
    np.testing.assert_allclose(priced["energy_nats"].compute(), expected.mean(), rtol=1e-4)
    assert plain["energy_nats"].compute() < priced["energy_nats"].compute()
    learned = jax.tree.map(lambda a, b: np.abs(a - b).max(), bent.params, free.params)
    assert max(jax.tree.leaves(learned["geometry_network"])) > 0


@pytest.mark.parametrize("at_step", [0, 2])
def test_the_weights_gradient_is_equation_9s_mean_over_the_batch_at_the_new_latents(small, at_step):
    state = small.state.replace(step=jnp.int32(at_step))
    index = np.arange(5, 17)
    after, _ = small.step(state, small.batch(index))
    # Adam's first moment is a tenth of its first gradient.
    gradient = jax.tree.map(lambda x: np.float64(x) / 0.1, optax.tree_utils.tree_get(after.opt_state, "mu"))
    codes, images = rows(after.chains, index), small.images(index)

    def loss(params):
        return energies(small, params, images, codes, sigma=0.3 if at_step else 0.6).mean()

    params = jax.tree.map(np.float64, jax.device_get(state.params))
    directions = small.directions(params)
    for direction, expected in zip(directions, small.derivatives(loss, params, directions), strict=True):
        found = sum(jax.tree.leaves(jax.tree.map(lambda g, d: np.sum(g * d), gradient, direction)))
        assert abs(expected) > 1e-2
        np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_metrics_are_of_the_new_latents_and_the_old_weights(small, stepped):
    index, state, metrics = stepped
    images, codes = small.images(index), rows(state.chains, index)
    expected = energies(small, small.state.params, images, codes, sigma=0.6)
    predictions = small.decode(small.config.model, small.state.params, split(codes))
    errors = np.square(images / 255 - predictions).sum(axis=(1, 2, 3))
    assert metrics["energy_nats"].count == metrics["squared_error"].count == 12
    np.testing.assert_allclose(metrics["energy_nats"].compute(), expected.mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["squared_error"].compute(), errors.mean(), rtol=1e-4)


def test_sampled_latents_do_not_depend_on_the_batch(small, stepped):
    index, state, _ = stepped
    for place in (0, 11):
        alone, _ = small.step(small.state, small.batch(index[[place]]))
        np.testing.assert_allclose(
            rows(alone.chains, index[[place]]), rows(state.chains, index[[place]]), rtol=1e-5, atol=1e-5
        )


def test_an_image_that_a_batch_has_twice_moves_once(small, stepped):
    """As where a batch reaches over the end of an epoch."""
    index, state, _ = stepped
    twice = np.concatenate([index[:6], index[:6]])
    again, _ = small.step(small.state, small.batch(twice))
    np.testing.assert_allclose(rows(again.chains, index[:6]), rows(state.chains, index[:6]), rtol=1e-5, atol=1e-5)


def test_noise_differs_between_steps_images_and_runs(small):
    batch = small.batch([0] * 12)
    batch["index"] = np.arange(12, dtype=np.int32)
    same = jax.tree.map(lambda x: jnp.broadcast_to(x[0], x.shape), small.state.chains)
    # Steps 2 and 3 have the same sigma.
    start = small.state.replace(chains=same, step=jnp.int32(2))
    runs = [start, start.replace(step=jnp.int32(3)), start.replace(key=jax.random.key(5))]
    codes = np.concatenate([rows(small.step(state, batch)[0].chains, range(12)) for state in runs])
    apart = np.abs(codes[:, None] - codes[None]).max(axis=-1)
    assert apart[~np.eye(36, dtype=bool)].min() > 1e-3
    np.testing.assert_array_equal(rows(small.step(start, batch)[0].chains, range(12)), codes[:12])


def test_a_few_images_are_learned_and_nothing_is_compiled_twice(small):
    state, _ = small.step(small.state, small.batch(range(12)))
    programs = small.step._cache_size()
    order, errors = np.random.default_rng(0), []
    for _ in range(40):
        index = order.permutation(20)
        for part in (index[:12], index[8:]):
            state, metrics = small.step(state, small.batch(part))
            errors.append(metrics["squared_error"].compute())
    assert small.step._cache_size() == programs
    assert int(state.step) == 81
    # The first step is of the early sigma.
    assert np.mean(errors[-10:]) < 0.6 * np.mean(errors[1:5])


@pytest.fixture(scope="module")
def digits(small):
    """A learner with known appearance, whose networks are frozen but for one, and a state after two steps."""
    config = replace(
        small.config,
        model=replace(small.config.model, refine=True),
        frozen=("appearance", "refiner"),
        optimiser=OptimiserConfig(learning_rate=1e-3, weight_decay=0.1),
    )
    codes = np.eye(3)[np.arange(20) % 3]
    first = {**jax.device_get(small.state.params), "refiner": refiner_of(config.model)}
    learner = small.learner(config, codes=codes, params=first)
    state = jax.jit(learner.init)(jax.random.key(0), small.batch([0]))
    step = jax.jit(learner.step)
    after, _ = step(state, small.batch([1, 4, 5]))
    after, _ = step(after, small.batch([2, 4, 7]))
    return config, codes, first, state, after


def refiner_of(config):
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(image_functions(config).init, jax.random.key(0))
    return jax.tree.map(lambda x: rng.normal(scale=0.1, size=x.shape).astype(np.float32), shapes["refiner"])


def test_known_codes_stay_and_the_geometry_moves(digits):
    _, codes, _, state, after = digits
    np.testing.assert_array_equal(after.chains.appearance[:20], codes)
    np.testing.assert_array_equal(after.chains.appearance[20:], state.chains.appearance[20:])
    moved = np.any(after.chains.geometry != state.chains.geometry, axis=1)
    np.testing.assert_array_equal(np.flatnonzero(moved), [1, 2, 4, 5, 7])


def test_frozen_networks_keep_their_weights_whatever_the_decay(digits):
    _, _, first, state, after = digits
    jax.tree.map(np.testing.assert_array_equal, state.params, first)
    for name in ("appearance_network", "refiner"):
        jax.tree.map(np.testing.assert_array_equal, after.params[name], first[name])
    for leaf, before in zip(*(jax.tree.leaves(p["geometry_network"]) for p in (after.params, first)), strict=True):
        assert np.all(leaf != before)


def test_known_codes_are_kept_at_evaluation_and_masked_images_do_not_count(small, digits):
    """Shown on a generator without a warp, so that its images are of the known codes alone."""
    config, codes, _, _, after = digits
    params = {**after.params, "geometry_network": jax.tree.map(jnp.zeros_like, after.params["geometry_network"])}
    batch = {**small.batch([1, 4, 5, 0]), "code": np.float32(codes[[1, 4, 5, 0]])}
    batch["image"] = np.float32(batch["image"] / 255)
    batch["mask"][3], batch["image"][3] = 0, np.nan
    evaluate = jax.jit(small.learner(config, codes=codes).evaluate)
    error = evaluate(after.replace(params=params), batch)["squared_error"]
    predictions = small.decode(config.model, params, (codes[[1, 4, 5]], np.zeros((3, 4))))
    assert error.count == 3
    np.testing.assert_allclose(error.sum, np.square(batch["image"][:3] - predictions).sum(), rtol=1e-4)


def test_of_several_restarts_the_one_of_lowest_energy_is_kept(small):
    images, params = np.float32(small.images(range(6)) / 255), small.state.params
    keys = jax.random.split(jax.random.key(3), 6)

    def infer(restarts):
        config = replace(small.config, langevin=replace(small.config.langevin, restarts=restarts))
        compiled = jax.jit(abp_functions(config).infer)
        return lambda keys: rows(compiled(params, images, keys), range(6))

    found, alone, own = infer(3)(keys), infer(1), jax.vmap(lambda key: jax.random.split(key, 3))(keys)
    codes = np.stack([alone(own[:, i]) for i in range(3)])
    energy = np.stack([energies(small, params, small.images(range(6)), z, sigma=0.3) for z in codes])
    best = energy.argmin(axis=0)
    assert len(set(best.tolist())) > 1
    assert np.ptp(energy, axis=0).min() > 1e-3
    np.testing.assert_allclose(found, codes[best, np.arange(6)], rtol=1e-4, atol=1e-5)


def test_sigma_is_early_sigma_before_the_early_epochs_end(small):
    config = replace(small.config, early_epochs=2.5)
    values = [float(current_sigma(config, jnp.int32(s), steps_per_epoch=4)) for s in (0, 9, 10, 1000)]
    np.testing.assert_allclose(values, [0.6, 0.6, 0.3, 0.3])


@pytest.mark.parametrize(("output", "low"), [("sigmoid", 0), ("tanh", -1)])
def test_pixels_come_in_the_range_of_the_output_and_errors_in_that_of_images(small, output, low):
    config = replace(small.config, model=replace(small.config.model, output=output))
    functions = abp_functions(config)
    bytes_ = small.images([0, 1])
    pixels = functions.to_model_range(jnp.asarray(bytes_))
    np.testing.assert_allclose(pixels, low + (1 - low) * np.float64(bytes_) / 255, atol=1e-6)
    np.testing.assert_allclose(functions.to_model_range(jnp.asarray(bytes_ / np.float32(255))), pixels, atol=1e-6)
    np.testing.assert_allclose(functions.to_unit_range(pixels), bytes_ / 255, atol=1e-6)
    expected = np.square(np.diff(bytes_ / 255, axis=0)).sum()
    np.testing.assert_allclose(functions.squared_error(pixels[:1], pixels[1:]), [expected], rtol=1e-5)


def test_defaults_are_the_papers_and_its_code():
    config = LangevinConfig()
    assert (config.scheme, config.num_steps, config.step_size, config.block) == ("alternating", 20, 0.1, 1)
    assert config.inference_steps == 300
    assert (PAPER_OPTIMISER.name, PAPER_OPTIMISER.learning_rate, PAPER_OPTIMISER.weight_decay) == ("adam", 1e-3, 0)


@pytest.mark.parametrize("code", [np.nan, 3e4])
def test_a_chain_that_diverged_is_drawn_anew_from_the_prior_and_counted(small, code):
    index = np.arange(12)
    chains = small.state.chains._replace(appearance=small.state.chains.appearance.at[5].set(code))
    state, metrics = small.step(small.state.replace(chains=chains), small.batch(index))
    assert metrics["redrawn_chains"].compute() == pytest.approx(1 / 12)
    expected, usual = small.step(small.state, small.batch(index))
    assert usual["redrawn_chains"].compute() == 0
    found = rows(state.chains, index)
    assert np.isfinite(found).all()
    assert np.abs(found[5]).max() < 5
    others = np.delete(index, 5)
    np.testing.assert_array_equal(rows(state.chains, others), rows(expected.chains, others))
    lengths = np.sqrt(np.square(rows(expected.chains, others)).mean(axis=1))
    np.testing.assert_allclose(metrics["latent_norm"].compute(), lengths.mean(), rtol=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
