from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from facedis_jax.errors import InputError
from facedis_jax.metrics import fold_share
from facedis_jax.models import DeformableGenerator, DynamicConfig, GeneratorConfig, Latents, Refiner
from facedis_jax.models.deformable import mirrored, scaled_flow, with_principal_fields
from facedis_jax.models.upsampling import enlarge

SMALL = GeneratorConfig(size=8, filters=16, appearance_latents=3, geometry_latents=4)


def codes(config, *leading, seed=0):
    rng = np.random.default_rng(seed)
    widths = (config.appearance_latents, config.geometry_latents)
    return Latents(*(rng.normal(size=(*leading, n)).astype(np.float32) if n else None for n in widths))


def shapes(config):
    module = DeformableGenerator(config)
    latents = codes(config, 2)
    variables = jax.eval_shape(module.init, jax.random.key(0), latents)
    return variables["params"], jax.eval_shape(module.apply, variables, latents)


def method(name, config=SMALL):
    return jax.jit(partial(DeformableGenerator(config).apply, method=name))


def kernels(params, network):
    return {name: leaf.shape for name, leaf in params[network].items() if name.endswith("kernel")}


@pytest.mark.parametrize("size", [8, 16, 32, 64, 128, 256])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_have_the_size_and_channels_that_are_asked_for(size, channels):
    params, images = shapes(GeneratorConfig(size=size, channels=channels))
    assert images.shape == (2, size, size, channels)
    # From 4 x 4, each layer doubles.
    assert len(kernels(params, "geometry_network")) == 1 + np.log2(size / 4)


def test_layers_at_size_64_are_table_4s():
    params, _ = shapes(GeneratorConfig())
    assert set(params) == {"appearance_network", "geometry_network"}
    assert kernels(params, "appearance_network") == {
        "dense_kernel": (64, 16 * 80),
        "upsample_0_kernel": (3, 3, 80, 40),
        "upsample_1_kernel": (3, 3, 40, 20),
        "upsample_2_kernel": (5, 5, 20, 10),
        "upsample_3_kernel": (5, 5, 10, 3),
    }
    assert kernels(params, "geometry_network") == {
        "dense_kernel": (64, 16 * 128),
        "upsample_0_kernel": (3, 3, 128, 64),
        "upsample_1_kernel": (3, 3, 64, 32),
        "upsample_2_kernel": (5, 5, 32, 16),
        "upsample_3_kernel": (5, 5, 16, 2),
    }


def test_wider_images_go_on_with_as_few_filters():
    params, _ = shapes(GeneratorConfig(size=256, filter_balance=0.5))
    assert [shape[-1] for shape in kernels(params, "geometry_network").values()] == [16 * 128, 64, 32, 16, 16, 16, 2]
    assert [shape[-1] for shape in kernels(params, "appearance_network").values()] == [16 * 64, 32, 16, 8, 8, 8, 3]


@pytest.fixture(scope="module")
def saturated(random_variables):
    """A generator of 64 x 64 with few filters, and weights so large that its squashing functions reach their ends."""
    config = GeneratorConfig(filters=16, appearance_latents=3, geometry_latents=4)
    latents = codes(config, 5)
    variables = random_variables(DeformableGenerator(config), latents)
    return config, jax.tree.map(lambda x: 10 * x, variables), latents


def test_displacements_reach_20_pixels_of_64_and_no_further(saturated):
    config, variables, latents = saturated
    flow = np.asarray(method("flow", config)(variables, latents.geometry))
    assert flow.shape == (5, 64, 64, 2)
    for direction in np.moveaxis(flow, -1, 0):
        np.testing.assert_allclose([direction.min(), direction.max()], [-20, 20], rtol=1e-3)
    np.testing.assert_array_less(np.abs(flow), 20 + 1e-4)


@pytest.mark.parametrize(("output", "low"), [("sigmoid", 0), ("tanh", -1)])
def test_images_are_in_the_range_of_the_output(saturated, output, low):
    config, variables, latents = saturated
    generator = DeformableGenerator(replace(config, output=output))
    images = np.asarray(jax.jit(generator.apply)(variables, latents))
    np.testing.assert_allclose([images.min(), images.max()], [low, 1], atol=1e-3)


@pytest.fixture(scope="module")
def small(random_variables):
    latents = codes(SMALL, 2, 3)
    variables = random_variables(DeformableGenerator(SMALL), latents)
    return variables, latents, np.asarray(jax.jit(DeformableGenerator(SMALL).apply)(variables, latents))


def test_an_image_is_the_canonical_one_warped_by_the_flow(small):
    variables, latents, images = small
    canonical = np.asarray(method("canonical")(variables, latents.appearance))
    flow = np.asarray(method("flow")(variables, latents.geometry))
    assert images.shape == canonical.shape == (2, 3, 8, 8, 3)
    assert np.abs(flow).max() > 0.5
    y, x = np.mgrid[:8, :8].astype(np.float64)
    for place in np.ndindex(2, 3):
        coordinates = [y + flow[place][..., 1], x + flow[place][..., 0]]
        for channel in range(3):
            warped = map_coordinates(canonical[place][..., channel], coordinates, order=1, mode="nearest")
            np.testing.assert_allclose(images[place][..., channel], warped, atol=1e-5)


def test_without_geometry_an_image_is_its_appearance(small):
    variables, latents, _ = small
    config = replace(SMALL, geometry_latents=0)
    generator = DeformableGenerator(config)
    params, _ = shapes(config)
    assert set(params) == {"appearance_network"}
    assert not config.deformable
    canonical = method("canonical", config)(variables, latents.appearance)
    np.testing.assert_array_equal(jax.jit(generator.apply)(variables, Latents(latents.appearance, None)), canonical)


def test_the_refiner_changes_nothing_at_first(small):
    variables, latents, images = small
    config = replace(SMALL, refine=True)
    assert set(shapes(config)[0]) == {"appearance_network", "geometry_network", "refiner"}
    generator, first = DeformableGenerator(config), jax.jit(Refiner(3).init)(jax.random.key(0), images)["params"]
    params = {**variables["params"], "refiner": first}
    apply = jax.jit(generator.apply)
    np.testing.assert_allclose(apply({"params": params}, latents), images, rtol=1e-6)
    params["refiner"] = jax.tree.map(lambda x: x + 0.1, first)
    assert np.abs(apply({"params": params}, latents) - images).max() > 0.05


def test_beta_scales_the_weights_of_the_geometric_generator_alone(small):
    """Its kernels are multiplied by beta: the same map as of parameters that were multiplied beforehand."""
    variables, latents, _ = small
    balanced, scaled = (replace(SMALL, weight_balance=beta) for beta in (1.0, 0.3))
    geometry = {
        name: 0.3 * leaf if name.endswith("kernel") else leaf
        for name, leaf in variables["params"]["geometry_network"].items()
    }
    beforehand = {"params": {**variables["params"], "geometry_network": geometry}}
    found, flow_of = method("flow", scaled)(variables, latents.geometry), method("flow", balanced)
    np.testing.assert_allclose(found, flow_of(beforehand, latents.geometry), rtol=1e-5, atol=1e-6)
    assert np.abs(found - flow_of(variables, latents.geometry)).max() > 0.1
    of_appearance = [method("canonical", config)(variables, latents.appearance) for config in (scaled, balanced)]
    np.testing.assert_array_equal(*of_appearance)


def test_the_initial_flow_scales_the_last_layer_and_nothing_else():
    def first_weights(initial_flow: float):
        config = GeneratorConfig(
            size=16, filters=16, appearance_latents=3, geometry_latents=3, initial_flow=initial_flow
        )
        codes = Latents(jnp.zeros(3), jnp.zeros(3))
        return jax.jit(DeformableGenerator(config).init)(jax.random.key(0), codes)["params"]

    whole, small = first_weights(1.0), first_weights(0.05)
    last = sorted(name for name in whole["geometry_network"] if name.startswith("upsample"))[-2:]
    for name, values in whole["geometry_network"].items():
        factor = 0.05 if name in last else 1.0
        np.testing.assert_allclose(small["geometry_network"][name], factor * values, rtol=1e-5)
    chex.assert_trees_all_equal(whole["appearance_network"], small["appearance_network"])


def test_the_gain_multiplies_the_geometric_code():
    config = GeneratorConfig(size=8, filters=16, appearance_latents=3, geometry_latents=3)
    code = jax.random.normal(jax.random.key(1), (3,))
    variables = jax.jit(DeformableGenerator(config).init)(jax.random.key(0), Latents(jnp.zeros(3), code))
    gained = method("flow", replace(config, geometry_gain=2.0))
    np.testing.assert_array_equal(gained(variables, code), method("flow", config)(variables, 2 * code))


def test_a_coarse_flow_is_interpolated_between_fewer_displacements():
    config = GeneratorConfig(size=32, filters=16, appearance_latents=3, geometry_latents=4, flow_scale=4)
    latents = codes(config)
    variables = jax.jit(DeformableGenerator(config).init)(jax.random.key(0), latents)
    # From 4 x 4 to 8 x 8 in one layer, and no further.
    assert list(kernels(variables["params"], "geometry_network")) == ["dense_kernel", "upsample_0_kernel"]
    flow = method("flow", config)(variables, latents.geometry)
    coarse = replace(config, size=8, flow_scale=1)
    small = method("flow", coarse)(variables, latents.geometry) * 4  # the same part of an image four times as large
    # Displacement k of the coarse ones belongs to the middle of the pixels 4k to 4k + 3.
    places = (np.arange(32) + 0.5) / 4 - 0.5
    rows, columns = np.meshgrid(places, places, indexing="ij")
    for axis in range(2):
        expected = map_coordinates(np.asarray(small[..., axis], np.float64), [rows, columns], order=1, mode="nearest")
        np.testing.assert_allclose(flow[..., axis], expected, atol=1e-5)


@pytest.mark.parametrize("scale", [0, 3, 8])
def test_scales_that_leave_no_flow_are_refused(scale):
    with pytest.raises(InputError, match=f"model.flow_scale: expected a power of two from 1 to 4, found {scale}"):
        GeneratorConfig(size=32, flow_scale=scale)


@pytest.mark.parametrize("size", [0, 4, 48, 100])
def test_sizes_that_are_no_power_of_two_from_8_are_refused(size):
    with pytest.raises(InputError, match=f"power of two of at least 8, found {size}"):
        GeneratorConfig(size=size)


def test_unknown_outputs_are_refused():
    with pytest.raises(InputError, match="sigmoid or tanh, found 'relu'"):
        GeneratorConfig(output="relu")  # type: ignore[arg-type]


def test_codes_may_have_any_number_of_batch_axes(small):
    variables, latents, images = small
    generator = DeformableGenerator(SMALL)
    one = jax.jit(generator.apply)(variables, Latents(*(jnp.asarray(z)[1, 2] for z in latents)))
    np.testing.assert_allclose(one, images[1, 2], rtol=1e-5)


@pytest.mark.parametrize("flow_scale", [1, 4])
def test_an_integrated_velocity_does_not_fold_where_the_same_maps_as_a_flow_do(flow_scale):
    noise = np.random.default_rng(0).normal(size=(10, 8, 8, 2))
    maps = jnp.asarray(6 * gaussian_filter(noise, (0, 1.5, 1.5, 0)), jnp.float32)
    config = replace(SMALL, size=8 * flow_scale, flow_scale=flow_scale, displacement=0.3)
    flow, integrated = (scaled_flow(replace(config, squarings=number), maps) for number in (0, 6))
    assert fold_share(flow).mean() > 0.02
    assert fold_share(integrated).mean() < 0.1 * fold_share(flow).mean()
    assert integrated.shape == (10, config.size, config.size, 2)
    assert np.abs(integrated).mean() > 0.3 * np.abs(flow).mean()


def test_a_linear_flow_is_a_weighted_sum_of_fields_up_to_its_limit():
    config = replace(SMALL, size=16, flow_scale=2, linear_flow=True, geometry_gain=2.0)
    fields = np.random.default_rng(0).normal(size=(4, 8 * 8 * 2)).astype(np.float32)
    variables = {"params": {"geometry_network": {"fields": fields}}}
    code = codes(config, 3).geometry
    flow = method("flow", config)(variables, code)
    limited = config.displacement * 16 * np.tanh(2 * code @ fields).reshape(3, 8, 8, 2)
    np.testing.assert_allclose(flow, enlarge(jnp.asarray(limited), 2), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(method("flow", config)(variables, -code), -flow, rtol=1e-5)
    np.testing.assert_array_equal(method("flow", config)(variables, 0 * code), 0)
    assert shapes(config)[0]["geometry_network"]["fields"].shape == fields.shape


def test_what_is_mirrored_is_symmetric_but_for_what_is_coarse():
    maps = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
    made = np.asarray(mirrored(jnp.asarray(maps), 8))
    even, odd = ((each + sign * each[:, :, ::-1]) / 2 for each, sign in ((made, 1), (made, -1)))
    np.testing.assert_allclose(even, (maps + maps[:, :, ::-1]) / 2, atol=1e-6)
    assert np.abs(odd).max() > 0.05
    # Along a row, interpolated between two blocks: flat, a ramp, flat.
    np.testing.assert_allclose(odd[:, :, :4], np.repeat(odd[:, :, :1], 4, axis=2), atol=1e-6)
    np.testing.assert_allclose(np.diff(odd[:, :, 4:12], n=2, axis=2), 0, atol=1e-6)
    blocks = (maps - maps[:, :, ::-1])[:, :8, :8].mean(axis=(1, 2)) / 2
    np.testing.assert_allclose(odd[:, 0, 0], blocks, atol=1e-6)


def test_a_single_block_leaves_no_asymmetry():
    maps = np.random.default_rng(0).normal(size=(8, 8, 3)).astype(np.float32)
    made = np.asarray(mirrored(jnp.asarray(maps), 8))
    np.testing.assert_allclose(made, made[:, ::-1], atol=1e-6)
    assert replace(SMALL, asymmetry_scale=8).asymmetry_scale == 8


def test_canonical_images_are_mirrored_where_that_is_asked_for(small):
    variables, latents, _ = small
    free = np.asarray(method("canonical")(variables, latents.appearance))
    images = method("canonical", replace(SMALL, asymmetry_scale=2))(variables, latents.appearance)
    expected = jax.nn.sigmoid(mirrored(jnp.asarray(np.log(free) - np.log1p(-free)), 2))
    np.testing.assert_allclose(images, expected, atol=1e-4)
    assert np.abs(free - images).max() > 0.01


@pytest.mark.parametrize(("setting", "value"), [("squarings", -1), ("squarings", 11), ("asymmetry_scale", 3)])
def test_a_setting_of_the_flow_or_of_symmetry_that_makes_no_sense_is_refused(setting, value):
    with pytest.raises(InputError, match=f"model.{setting}"):
        replace(SMALL, **{setting: value})


def test_computing_in_bfloat16_rounds_images_and_gradients_and_changes_no_type(random_variables):
    latents = codes(SMALL, 6)
    variables = random_variables(DeformableGenerator(SMALL), latents)

    def images_and_gradients(compute):
        model = DeformableGenerator(replace(SMALL, compute=compute))
        parts = [partial(model.apply, method=name) for name in ("canonical", "flow")]

        def total(variables, latents):
            images = model.apply(variables, latents)
            maps = [part(variables, code) for part, code in zip(parts, latents, strict=True)]
            return jnp.square(images - 0.3).sum(), [images, *maps]

        return jax.grad(total, (0, 1), has_aux=True)(variables, latents)

    assert "bf16" not in str(jax.make_jaxpr(lambda: images_and_gradients("float32"))())
    assert "bf16[6,4,4,16]" in str(jax.make_jaxpr(lambda: images_and_gradients("bfloat16"))())
    (narrow, narrow_maps), (wide, wide_maps) = (
        jax.jit(partial(images_and_gradients, compute))() for compute in ("bfloat16", "float32")
    )
    chex.assert_trees_all_equal_dtypes((narrow, narrow_maps), (wide, wide_maps))
    # 8 bits, through three layers and back.
    for found, expected, error in ((narrow_maps, wide_maps, 0.02), (narrow, wide, 0.1)):
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert 0 < np.linalg.norm(one - other) < error * np.linalg.norm(other)


@pytest.mark.parametrize("config", [GeneratorConfig, DynamicConfig])
def test_unknown_types_are_refused(config):
    with pytest.raises(InputError, match=r"model\.compute: expected float32 or bfloat16, found 'float16'"):
        config(compute="float16")


def test_principal_fields_are_the_same_generator_with_what_moves_most_first():
    config = replace(SMALL, size=16, flow_scale=2, linear_flow=True)
    rng = np.random.default_rng(0)
    fields = rng.normal(size=(4, 8 * 8 * 2)).astype(np.float32) * np.float32([[1], [3], [0.5], [2]])
    params, code = {"geometry_network": {"fields": fields}, "other": 1}, codes(config, 5).geometry
    turned, turned_code = with_principal_fields(params, code)
    flow = method("flow", config)
    before = flow({"params": {"geometry_network": params["geometry_network"]}}, code)
    after = flow({"params": {"geometry_network": turned["geometry_network"]}}, turned_code)
    np.testing.assert_allclose(after, before, atol=1e-4)
    np.testing.assert_allclose(np.square(turned_code).sum(-1), np.square(code).sum(-1), rtol=1e-5)
    made = turned["geometry_network"]["fields"]
    products = made @ made.T
    np.testing.assert_allclose(products, np.diag(np.diag(products)), atol=1e-2)
    assert np.all(np.diff(np.diag(products)) < 0)
    assert turned["other"] == 1
