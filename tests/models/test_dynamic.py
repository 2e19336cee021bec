from dataclasses import replace
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.errors import InputError
from facedis_jax.geometry import warp
from facedis_jax.losses import log_joint
from facedis_jax.models import DynamicConfig, DynamicGenerator, DynamicLatents, Latents, Trajectory
from facedis_jax.models.dynamic import flow_strides

SMALL = DynamicConfig(
    size=16,
    appearance_latents=3,
    geometry_latents=4,
    appearance_noise=2,
    geometry_noise=3,
    transition_hidden=5,
    appearance_filters=8,
    geometry_filters=8,
)


def draw(config, frames, *leading, seed=0):
    """Latents from the prior; a longer clip begins as a shorter one does."""
    rngs = [np.random.default_rng([seed, i]) for i in range(4)]

    def trajectory(latents, noise, first_rng, noise_rng):
        later = noise_rng.normal(size=(frames - 1, *leading, noise)).astype(np.float32)
        return Trajectory(first_rng.normal(size=(*leading, latents)).astype(np.float32), np.moveaxis(later, 0, -2))

    return DynamicLatents(
        trajectory(config.appearance_latents, config.appearance_noise, *rngs[:2]),
        trajectory(config.geometry_latents, config.geometry_noise, *rngs[2:]),
    )


def method(name, config=SMALL):
    return jax.jit(partial(DynamicGenerator(config).apply, method=name))


@pytest.fixture(scope="module")
def small(random_variables):
    """Weights under which the flow moves pixels by pixels."""
    variables = random_variables(DynamicGenerator(SMALL), draw(SMALL, 2))
    geometry = {name: 3 * leaf for name, leaf in variables["params"]["geometry_network"].items()}
    return {"params": {**variables["params"], "geometry_network": geometry}}


def shapes(config):
    module, latents = DynamicGenerator(config), draw(config, 3, 2)
    variables = jax.eval_shape(module.init, jax.random.key(0), latents)
    layers = {
        name: [leaf.shape for key, leaf in tree.items() if key.endswith("kernel")]
        for name, tree in variables["params"].items()
        if name.endswith("network")
    }
    return variables["params"], layers, jax.eval_shape(module.apply, variables, latents).shape


def test_layers_at_size_64_are_table_5s():
    params, layers, clips = shapes(DynamicConfig())
    assert clips == (2, 3, 64, 64, 3)
    assert layers["appearance_network"] == [
        (60, 16 * 512),
        (3, 3, 512, 512),
        (3, 3, 512, 256),
        (3, 3, 256, 128),
        (3, 3, 128, 64),
        (5, 5, 64, 3),
    ]
    assert layers["geometry_network"] == [(30, 16 * 256), (4, 4, 256, 128), (4, 4, 128, 64), (5, 5, 64, 2)]
    for name, sizes in {"appearance": [63, 20, 20, 60], "geometry": [40, 20, 20, 30]}.items():
        kernels = [params[f"{name}_transition"][f"Dense_{i}"]["kernel"].shape for i in range(3)]
        assert kernels == list(pairwise(sizes))


@pytest.mark.parametrize("size", [16, 32, 64, 128, 256])
@pytest.mark.parametrize("flow_scale", [1, 2])
def test_frames_have_the_size_that_is_asked_for(size, flow_scale):
    config = DynamicConfig(size=size, channels=1, flow_scale=flow_scale, appearance_filters=32, geometry_filters=16)
    _, layers, clips = shapes(config)
    assert clips == (2, 3, size, size, 1)
    assert np.prod(flow_strides(size // flow_scale)) == size / flow_scale / 4
    assert min(shape[-1] for shape in layers["appearance_network"][:-1]) >= 8


def numpy_states(params, noise, *, residual):
    """Eq. 11 for one clip, in float64."""
    kernels, biases = ([np.float64(params[f"Dense_{i}"][name]) for i in range(3)] for name in ("kernel", "bias"))
    states = [np.zeros(len(biases[-1]))]
    for xi in np.float64(noise):
        x = np.concatenate([states[-1], xi])
        for i in range(2):
            x = np.maximum(x @ kernels[i] + biases[i], 0)
        x = x @ kernels[2] + biases[2]
        states.append(np.tanh(x + states[-1] if residual else x))
    return np.stack(states)


@pytest.mark.parametrize("transition", ["residual", "plain"])
def test_codes_follow_equations_10_and_11(small, transition):
    config, latents = replace(SMALL, transition=transition), draw(SMALL, 5, 2)
    codes, states = (method(name, config)(small, latents) for name in ("codes", "states"))
    for kind in ("appearance", "geometry"):
        path = getattr(latents, kind)
        for clip in range(2):
            params = small["params"][f"{kind}_transition"]
            expected = numpy_states(params, path.noise[clip], residual=transition == "residual")
            np.testing.assert_allclose(getattr(states, kind)[clip], expected, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(getattr(codes, kind)[clip], path.first[clip] + expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("still", ["appearance", "geometry"])
def test_a_code_without_noise_does_not_change_and_has_no_transition(still, random_variables):
    config = replace(SMALL, **{f"{still}_noise": 0})
    latents = draw(SMALL, 4, 2)
    path = getattr(latents, still)
    latents = latents._replace(**{still: path._replace(noise=None)})
    variables = random_variables(DynamicGenerator(config), latents)
    assert f"{still}_transition" not in variables["params"]
    codes = method("codes", config)(variables, latents)
    np.testing.assert_array_equal(getattr(codes, still), np.repeat(path.first[:, None], 4, axis=1))
    other = codes.geometry if still == "appearance" else codes.appearance
    assert np.abs(np.diff(other, axis=1)).max(axis=(1, 2)).min() > 0.01
    assert method("__call__", config)(variables, latents).shape == (2, 4, 16, 16, 3)


@pytest.mark.parametrize("still", ["appearance", "geometry"])
@pytest.mark.parametrize("frames_at_once", [None, 3])
def test_what_does_not_change_is_made_once_and_warped_as_if_for_each_frame(still, frames_at_once, random_variables):
    """Values and gradients of seven frames against the plain way, by the codes of every frame."""
    config = replace(SMALL, **{f"{still}_noise": 0})
    latents = draw(SMALL, 7, 2)
    latents = latents._replace(**{still: getattr(latents, still)._replace(noise=None)})
    variables = random_variables(DynamicGenerator(config), latents)
    target = np.random.default_rng(5).uniform(-1, 1, (2, 7, 16, 16, 3))
    made = []

    def value_and_gradients(draw_clip):
        def energy(variables, latents):
            clip = draw_clip(variables, latents)
            made.append(clip.shape)
            return -log_joint(target, clip, latents)

        return jax.jit(jax.value_and_grad(energy, argnums=(0, 1)))(variables, latents)

    def plain(variables, latents):
        model = DynamicGenerator(config)
        return model.apply(variables, model.apply(variables, latents, method="codes"), method="frames")

    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=2e-3)
    once = DynamicGenerator(replace(config, frames_at_once=frames_at_once)).apply
    jax.tree.map(close, value_and_gradients(once), value_and_gradients(plain))
    assert made == [(2, 7, 16, 16, 3)] * 2


def test_what_does_not_change_costs_less(random_variables):
    """By the compiled program's count of operations: the canonical images of eight frames are made once."""

    def operations(appearance_noise):
        config = replace(SMALL, appearance_noise=appearance_noise, appearance_filters=64)
        latents = draw(config, 8)
        if not appearance_noise:
            latents = latents._replace(appearance=latents.appearance._replace(noise=None))
        variables = random_variables(DynamicGenerator(config), latents)
        return jax.jit(DynamicGenerator(config).apply).lower(variables, latents).compile().cost_analysis()["flops"]

    assert operations(0) < operations(2) / 4


def test_another_first_code_keeps_the_motion(small):
    latents, other = draw(SMALL, 4), draw(SMALL, 4, seed=1)
    edited = latents._replace(geometry=latents.geometry._replace(first=other.geometry.first))
    before, after = (method("codes")(small, each) for each in (latents, edited))
    np.testing.assert_array_equal(*(method("states")(small, each).geometry for each in (latents, edited)))
    shift = np.broadcast_to(other.geometry.first - latents.geometry.first, (4, 4))
    np.testing.assert_allclose(after.geometry - before.geometry, shift, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(after.appearance, before.appearance)


def test_frames_are_canonical_ones_warped_by_the_flow(small):
    latents = draw(SMALL, 3, 2)
    codes = method("codes")(small, latents)
    canonical, flow = method("canonical")(small, codes.appearance), method("flow")(small, codes.geometry)
    assert flow.shape == (2, 3, 16, 16, 2)
    assert 0.5 < np.abs(flow).max() <= 5
    assert -1 <= canonical.min() < 0 < canonical.max() <= 1
    expected = jax.vmap(jax.vmap(warp))(canonical, flow)
    np.testing.assert_allclose(method("frames")(small, codes), expected, atol=1e-6)
    np.testing.assert_allclose(method("__call__")(small, latents), expected, atol=1e-6)


def test_a_coarse_flow_is_made_for_every_other_pixel_and_interpolated(random_variables):
    config = replace(SMALL, flow_scale=2)
    variables = random_variables(DynamicGenerator(config), draw(config, 2))
    codes = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    flow = np.asarray(method("flow", config)(variables, codes))
    assert flow.shape == (3, 16, 16, 2)
    # Of the rows between two that were made, a quarter and three quarters of the way lie two: either side tells the
    # same of the row that they meet at.
    before, after = 3 * flow[:, 2:14:2] - flow[:, 1:13:2], 3 * flow[:, 3:15:2] - flow[:, 4:16:2]
    assert np.abs(before).max() > 0.1
    np.testing.assert_allclose(before, after, atol=1e-4)


def test_frames_at_once_change_nothing_but_the_memory(small):
    latents, target = draw(SMALL, 7, 2), np.random.default_rng(5).uniform(-1, 1, (2, 7, 16, 16, 3))

    def value_and_gradients(frames_at_once):
        model = DynamicGenerator(replace(SMALL, frames_at_once=frames_at_once))

        def energy(variables, latents):
            return -log_joint(target, model.apply(variables, latents), latents)

        return jax.jit(jax.value_and_grad(energy, argnums=(0, 1)))(small, latents)

    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=2e-3)
    jax.tree.map(close, value_and_gradients(3), value_and_gradients(None))


def count_equations(jaxpr):
    inner = [value for eqn in jaxpr.eqns for value in jax.tree.leaves(list(eqn.params.values()), is_leaf=is_jaxpr)]
    return len(jaxpr.eqns) + sum(count_equations(getattr(j, "jaxpr", j)) for j in inner if is_jaxpr(j))


def is_jaxpr(value):
    return hasattr(value, "eqns") or hasattr(getattr(value, "jaxpr", None), "eqns")


@pytest.mark.parametrize("frames_at_once", [None, 4])
def test_long_clips_are_the_same_program_and_begin_as_short_ones(small, frames_at_once):
    """60 frames and 600: neither does the program grow, nor does what is made first depend on what follows."""
    model = DynamicGenerator(replace(SMALL, frames_at_once=frames_at_once))

    def energy(latents):
        return jnp.sum(jnp.square(model.apply(small, latents)))

    programs = [jax.make_jaxpr(jax.grad(energy))(draw(SMALL, frames)) for frames in (60, 600)]
    sizes = [count_equations(program.jaxpr) for program in programs]
    assert sizes[0] == sizes[1] > 100
    short, long = (jax.jit(model.apply)(small, draw(SMALL, frames)) for frames in (6, 40))
    assert long.shape == (40, 16, 16, 3)
    np.testing.assert_allclose(long[:6], short, rtol=1e-4, atol=1e-5)


def test_frames_at_once_bound_the_memory_of_gradients(small):
    def megabytes(frames_at_once):
        model = DynamicGenerator(replace(SMALL, frames_at_once=frames_at_once))
        gradient = jax.jit(jax.grad(lambda latents: jnp.sum(jnp.square(model.apply(small, latents)))))
        return gradient.lower(draw(SMALL, 128)).compile().memory_analysis().temp_size_in_bytes / 1e6

    whole, bounded = megabytes(None), megabytes(4)
    assert bounded < whole / 4


def hand_gradients(params, path, deltas, *, residual):
    """Eq. 18 for one kind of latents, in float64: back through Eq. 11 from `deltas` [frames, latents], the derivatives
    of the log-density with respect to Z_t through the frame's own pixels."""
    kernels, biases = ([np.float64(params[f"Dense_{i}"][name]) for i in range(3)] for name in ("kernel", "bias"))
    first, noise = np.float64(path.first), np.float64(path.noise)
    states = numpy_states(params, noise, residual=residual)
    of_noise, carried = np.zeros_like(noise), np.zeros_like(first)
    for t in range(len(noise), 0, -1):
        x = np.concatenate([states[t - 1], noise[t - 1]])
        hidden_1 = np.maximum(x @ kernels[0] + biases[0], 0)
        hidden_2 = np.maximum(hidden_1 @ kernels[1] + biases[1], 0)
        outer = (deltas[t] + carried) * (1 - states[t] ** 2)
        back = (kernels[2] @ outer) * (hidden_2 > 0)
        back = kernels[0] @ ((kernels[1] @ back) * (hidden_1 > 0))
        carried = back[: len(first)] + (outer if residual else 0)
        of_noise[t - 1] = back[len(first) :] - noise[t - 1]
    return Trajectory(deltas.sum(axis=0) - first, of_noise)


@pytest.mark.parametrize("transition", ["residual", "plain"])
def test_gradients_are_equation_18s_for_an_emission_that_is_differentiated_by_hand(small, transition):
    """F_a and F_g linear, F_w their product: nothing but Eq. 11 is shared with the model."""
    config, latents = replace(SMALL, transition=transition), draw(SMALL, 6)
    rng = np.random.default_rng(3)
    paint, move, clip = rng.normal(size=(3, 11)), rng.normal(size=(4, 11)), rng.normal(size=(6, 11))
    model, sigma = DynamicGenerator(config), 0.7

    def density(latents):
        codes = model.apply(small, latents, method="codes")
        return log_joint(clip, (codes.appearance @ paint) * (codes.geometry @ move), latents, sigma=sigma)

    found = jax.jit(jax.grad(density))(latents)
    residual = transition == "residual"
    params = small["params"]
    appearance, geometry = (
        np.float64(path.first) + numpy_states(params[f"{name}_transition"], path.noise, residual=residual)
        for name, path in latents._asdict().items()
    )
    error = (clip - (appearance @ paint) * (geometry @ move)) / sigma**2
    deltas = {
        "appearance": (error * (geometry @ move)) @ paint.T,
        "geometry": (error * (appearance @ paint)) @ move.T,
    }
    for name, delta in deltas.items():
        path = getattr(latents, name)
        expected = hand_gradients(params[f"{name}_transition"], path, delta, residual=residual)
        for a, b in zip(getattr(found, name), expected, strict=True):
            assert np.abs(b).max() > 1
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())


def test_gradients_of_the_generator_itself_are_equation_18s(small):
    """Per frame by automatic differentiation, over time by hand; float64, in which both agree to the last digits."""
    latents = draw(SMALL, 5)
    with jax.enable_x64(True):
        variables, latents = jax.tree.map(np.float64, (jax.device_get(small), latents))
        clip = np.random.default_rng(4).uniform(-1, 1, (5, 16, 16, 3))
        model = DynamicGenerator(replace(SMALL, frames_at_once=2))

        @jax.jit
        def gradients(latents):
            return jax.grad(lambda latents: log_joint(clip, model.apply(variables, latents), latents))(latents)

        @jax.jit
        def frame_by_frame(codes):
            frames, back = jax.vjp(lambda codes: model.apply(variables, codes, method="frames"), codes)
            return back(clip - frames)[0]

        found = jax.device_get(gradients(latents))
        codes = Latents(
            *(
                path.first + numpy_states(variables["params"][f"{name}_transition"], path.noise, residual=True)
                for name, path in latents._asdict().items()
            )
        )
        deltas = jax.device_get(frame_by_frame(codes))
    for name, path in latents._asdict().items():
        params = variables["params"][f"{name}_transition"]
        expected = hand_gradients(params, path, getattr(deltas, name), residual=True)
        for a, b in zip(getattr(found, name), expected, strict=True):
            assert np.abs(b).max() > 1e-2
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)


def test_beta_scales_the_geometric_generators_weights_alone(small):
    codes = method("codes")(small, draw(SMALL, 3))
    geometry = {
        name: leaf if name.endswith("bias") else 0.3 * leaf
        for name, leaf in small["params"]["geometry_network"].items()
    }
    beforehand = {"params": {**small["params"], "geometry_network": geometry}}
    whole = replace(SMALL, weight_balance=1.0)
    found, expected = method("flow")(small, codes.geometry), method("flow", whole)(beforehand, codes.geometry)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(found - method("flow", whole)(small, codes.geometry)).max() > 0.1
    of_appearance = [method("canonical", config)(small, codes.appearance) for config in (SMALL, whole)]
    np.testing.assert_array_equal(*of_appearance)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 8}, "power of two of at least 16, found 8"),
        ({"size": 48}, "power of two"),
        ({"flow_scale": 3}, "power of two from 1 to"),
        ({"size": 16, "flow_scale": 4}, "power of two from 1 to 2, found 4"),
        ({"output": "relu"}, "tanh or sigmoid, found 'relu'"),
        ({"transition": "linear"}, "residual or plain, found 'linear'"),
        ({"frames_at_once": 0}, "at least 1"),
        ({"appearance_noise": 0, "geometry_noise": 0}, "one of them more, found 0 and 0"),
        ({"geometry_noise": -1}, "0 or more"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        DynamicConfig(**changes)


@pytest.mark.parametrize(("fan_in", "between_codes", "shift"), [("kernel", 0.01, 2.0), ("pixel", 0.14, 0.2)])
def test_first_flows_of_table_5(fan_in, between_codes, shift):
    """By the authors' constant the geometry begins 16 times as small as by ours, which two strides of 4 make."""
    model = DynamicGenerator(DynamicConfig(he_fan_in=fan_in))
    geometry = jax.random.normal(jax.random.key(0), (8, 1, 30))
    latents = DynamicLatents(
        Trajectory(jnp.zeros(60), jnp.zeros((1, 3))), Trajectory(jnp.zeros(30), jnp.zeros((1, 10)))
    )

    @jax.jit
    def spread(key):
        flow = model.apply(model.init(key, latents), geometry, method="flow")
        centred = flow - flow.mean(axis=0)
        return jnp.sqrt(jnp.mean(centred**2)), jnp.sqrt(jnp.mean(flow.mean(axis=0) ** 2))

    found = np.mean([spread(jax.random.key(seed)) for seed in range(3)], axis=0)
    np.testing.assert_allclose(found[0], between_codes, rtol=0.25)
    np.testing.assert_allclose(found[1], shift, rtol=0.5)


def test_computing_in_bfloat16_rounds_clips_and_leaves_codes_as_they_are(small):
    latents = draw(SMALL, 3, 2)

    def clips_and_codes(compute):
        module = DynamicGenerator(replace(SMALL, compute=compute))
        return module.apply(small, latents), module.apply(small, latents, method="codes")

    narrow, wide = (jax.jit(partial(clips_and_codes, compute))() for compute in ("bfloat16", "float32"))
    assert narrow[0].dtype == np.float32
    jax.tree.map(np.testing.assert_array_equal, narrow[1], wide[1])
    assert 1e-4 < np.abs(narrow[0] - wide[0]).max() < 0.1
