import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from facedis_jax.geometry import canonical_grid, integrated_flow, warp, warp_kernel

# The package's name for it is the function.
MODULE = sys.modules["facedis_jax.geometry.warp"]


def draw_image(seed, height, width, channels=3, dtype=np.float32):
    return np.random.default_rng(seed).uniform(size=(height, width, channels)).astype(dtype)


def draw_flow(seed, height, width, scale=5.0, dtype=np.float32):
    return np.random.default_rng(seed).normal(scale=scale, size=(height, width, 2)).astype(dtype)


def reference(image, flow):
    """SciPy's interpolation in float64."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float64)
    coordinates = [y + flow[..., 1], x + flow[..., 0]]
    channels = np.moveaxis(image.astype(np.float64), 2, 0)
    return np.stack([map_coordinates(c, coordinates, order=1, mode="nearest") for c in channels], axis=2)


# Few sizes, as each is compiled anew; one pixel, one row and one column among them.
SIZES = [(64, 64, 3), (17, 40, 3), (31, 8, 1), (1, 9, 2), (9, 1, 2), (1, 1, 4)]


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(SIZES), st.integers(0, 2**31), st.sampled_from([0.1, 3.0, 50.0]), st.booleans())
def test_values_are_scipys(size, seed, scale, whole):
    image, flow = draw_image(seed, *size), draw_flow(seed + 1, *size[:2], scale)
    flow = np.round(flow) if whole else flow
    np.testing.assert_allclose(jax.jit(warp)(image, flow), reference(image, flow), atol=1e-5)


def test_values_keep_their_accuracy_on_large_images():
    image, flow = draw_image(0, 256, 300), draw_flow(1, 256, 300)
    np.testing.assert_allclose(warp(image, flow), reference(image, flow), atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_no_displacement_is_the_identity_bit_for_bit(size):
    image = 100 * draw_image(0, *size) - 50
    np.testing.assert_array_equal(jax.jit(warp)(image, jnp.zeros([*size[:2], 2])), image)


def test_axes_are_x_then_y_and_the_border_is_repeated():
    image = np.arange(12, dtype=np.float32).reshape(3, 4, 1)
    right = warp(image, jnp.broadcast_to(jnp.array([1.0, 0.0]), [3, 4, 2]))
    down = warp(image, jnp.broadcast_to(jnp.array([0.0, 1.0]), [3, 4, 2]))
    np.testing.assert_array_equal(right[..., 0], [[1, 2, 3, 3], [5, 6, 7, 7], [9, 10, 11, 11]])
    np.testing.assert_array_equal(down[..., 0], [[4, 5, 6, 7], [8, 9, 10, 11], [8, 9, 10, 11]])
    far = warp(image, jnp.broadcast_to(jnp.array([-1e30, jnp.inf]), [3, 4, 2]))
    np.testing.assert_array_equal(far, np.full([3, 4, 1], 8.0))


def test_the_grid_is_where_the_warp_reads():
    height, width = 5, 7
    coordinates = canonical_grid(height, width)
    flow = draw_flow(0, height, width, 1.0)
    read = coordinates + flow
    inside = np.all((read >= 0) & (read <= np.array([width - 1, height - 1])), axis=-1)
    assert inside.sum() > 10
    np.testing.assert_allclose(warp(coordinates, flow)[inside], read[inside], atol=1e-5)


HEIGHT, WIDTH = 5, 7
FLOWS = {
    "random": draw_flow(3, HEIGHT, WIDTH, 2.0, np.float64),
    "zero": np.zeros([HEIGHT, WIDTH, 2]),
    "integer": np.round(draw_flow(4, HEIGHT, WIDTH, 3.0, np.float64)),
    "integer along x": draw_flow(5, HEIGHT, WIDTH, 2.0, np.float64) * [0, 1] + [1, 0],
    "onto the far border": np.stack(np.broadcast_arrays(WIDTH - 1.0, HEIGHT - 1.0), -1)
    - np.asarray(canonical_grid(HEIGHT, WIDTH), np.float64),
    "beyond the border": draw_flow(6, HEIGHT, WIDTH, 30.0, np.float64),
    "half a pixel out": np.full([HEIGHT, WIDTH, 2], -0.5),
}


@pytest.mark.parametrize("name", FLOWS)
def test_gradients_are_central_differences(name):
    """In float64; the step is below the distance of the random flows to the next integer."""
    flow, step = FLOWS[name], 1e-6
    image = draw_image(7, HEIGHT, WIDTH, 2, np.float64)
    cotangent = np.random.default_rng(8).normal(size=image.shape)

    def loss(image, flow):
        return np.sum(reference(image, flow) * cotangent)

    def central(function, at):
        gradient = np.zeros_like(at)
        for index in np.ndindex(at.shape):
            shift = np.zeros_like(at)
            shift[index] = step
            gradient[index] = (function(at + shift) - function(at - shift)) / (2 * step)
        return gradient

    with jax.enable_x64(True):
        of_image, of_flow = jax.jit(lambda i, f, c: jax.vjp(warp, i, f)[1](c))(image, flow, cotangent)
        assert of_flow.dtype == np.float64
    np.testing.assert_allclose(of_flow, central(lambda f: loss(image, f), flow), atol=1e-7)
    np.testing.assert_allclose(of_image, central(lambda i: loss(i, flow), image), atol=1e-7)


def test_a_zero_flow_is_drawn_towards_the_target():
    """Gradient descent from zero displacement undoes a shift: the interpolators with no gradient there cannot."""
    x = np.asarray(canonical_grid(16, 16))
    image = np.exp(-((x[..., :1] - 8) ** 2 + (x[..., 1:] - 8) ** 2) / 20).astype(np.float32)
    target = warp(image, jnp.broadcast_to(jnp.array([1.5, -1.0]), [16, 16, 2]))

    @jax.jit
    def gradient(shift):
        return jax.grad(lambda s: jnp.sum((warp(image, jnp.broadcast_to(s, [16, 16, 2])) - target) ** 2))(shift)

    shift = jnp.zeros(2)
    for _ in range(100):
        shift -= 0.1 * gradient(shift)
    np.testing.assert_allclose(shift, [1.5, -1.0], atol=0.02)


def test_batches_come_from_vmap():
    images, flows = draw_image(0, 4 * 6, 5).reshape(4, 6, 5, 3), draw_flow(1, 4 * 6, 5).reshape(4, 6, 5, 2)

    @jax.jit
    def gradients(image, flow):
        return jax.grad(lambda i, f: jnp.sum(jnp.sin(warp(i, f))), (0, 1))(image, flow)

    batched = jax.jit(jax.vmap(gradients))(images, flows)
    shared = jax.vmap(gradients, (None, 0))(images[0], flows)
    for i in range(4):
        for found, expected in zip(batched, gradients(images[i], flows[i]), strict=True):
            np.testing.assert_allclose(found[i], expected, atol=1e-5)
        for found, expected in zip(shared, gradients(images[0], flows[i]), strict=True):
            np.testing.assert_allclose(found[i], expected, atol=1e-5)


@pytest.mark.parametrize("outer", [(0, 0), (0, None), (None, 0)])
@pytest.mark.parametrize("inner", [(0, 0), (0, None), (None, 0)])
def test_batches_of_batches_come_from_vmap_twice(outer, inner):
    images, flows = draw_image(0, 6 * 4, 5).reshape(2, 3, 4, 5, 3), draw_flow(1, 6 * 4, 5).reshape(2, 3, 4, 5, 2)

    def taken(array, argument, rest):
        """Where an axis is not mapped, `rest` of it."""
        return array[tuple(slice(None) if axes[argument] == 0 else rest for axes in (outer, inner))]

    def value_and_gradients(image, flow):
        value, pull = jax.vjp(warp, image, flow)
        return value, *pull(jnp.cos(value))

    batched = jax.jit(jax.vmap(jax.vmap(value_and_gradients, inner), outer))
    results = batched(taken(images, 0, 0), taken(flows, 1, 0))
    each = [np.broadcast_to(taken(x, i, slice(1)), x.shape) for i, x in enumerate((images, flows))]
    one = jax.jit(value_and_gradients)
    for i, j in np.ndindex(2, 3):
        for found, expected in zip(results, one(each[0][i, j], each[1][i, j]), strict=True):
            np.testing.assert_allclose(found[i, j], expected, atol=1e-5)


@pytest.mark.parametrize("size", [(3, 17, 40, 3), (2, 31, 8, 1), (1, 1, 9, 2), (1, 1, 1, 4)])
@pytest.mark.parametrize("whole", [False, True])
def test_matrix_products_give_what_gathers_give(size, whole):
    rows = size[0] * size[1], size[2]
    images, cotangents = (jnp.asarray(draw_image(seed, *rows, size[3]).reshape(size)) for seed in (0, 1))
    flows = draw_flow(2, *rows).reshape(*size[:3], 2)
    x, y = jax.vmap(MODULE._axes)(jnp.round(flows) if whole else flows)
    for name, arguments in {
        "interpolation": (images, x, y),
        "image_gradient": (cotangents, x, y),
        "flow_gradient": (images, x, y, cotangents),
    }.items():
        gather, matmul = (jax.jit(getattr(MODULE, f"_{name}_by_{way}")) for way in ("gather", "matmul"))
        np.testing.assert_allclose(matmul(*arguments), gather(*arguments), atol=2e-5)


# Chunks of 128, 256 and 512 pixels, one and several of them, wide and tall.
@pytest.mark.parametrize(
    ("size", "dtype"), [((2, 8, 16, 3), "float32"), ((2, 24, 32, 2), "float32"), ((2, 64, 32, 3), "bfloat16")]
)
def test_kernels_give_what_gathers_give(size, dtype):
    rows = size[0] * size[1], size[2]
    images, cotangents = (jnp.asarray(draw_image(seed, *rows, size[3]).reshape(size), dtype) for seed in (0, 1))
    flows = jnp.asarray(draw_flow(2, *rows).reshape(*size[:3], 2))
    flows = flows.at[0].set(jnp.round(flows[0]))
    axes = jax.vmap(MODULE._axes)(flows)
    wide_images, wide_cotangents = images.astype(np.float32), cotangents.astype(np.float32)
    for name, arguments, gathered in (
        ("interpolation", (images, flows), (wide_images, *axes)),
        ("image_gradient", (cotangents, flows), (wide_cotangents, *axes)),
        ("flow_gradient", (images, flows, cotangents), (wide_images, *axes, wide_cotangents)),
    ):
        found = jax.jit(partial(getattr(warp_kernel, name), interpret=True))(*arguments)
        assert found.dtype == ("float32" if name == "flow_gradient" else dtype)
        expected = np.asarray(getattr(MODULE, f"_{name}_by_gather")(*gathered))
        # In bfloat16 a weight, and what is made of it, in 8 bits each, but no sum on the way.
        error = 2e-5 if dtype == "float32" else 2**-7 * np.abs(expected).max()
        np.testing.assert_allclose(found.astype(np.float32), expected, atol=error)


def test_a_displacement_that_is_no_number_gives_none_by_the_kernel_too():
    image, flow = jnp.ones([1, 16, 8, 3]), jnp.zeros([1, 16, 8, 2]).at[0, 5, 3, 1].set(jnp.nan)
    found = warp_kernel.interpolation(image, flow, interpret=True)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(jax.vmap(warp)(image, flow)))
    assert np.isnan(found).sum() == 3


@pytest.mark.parametrize(
    ("platform", "size", "dtype", "way"),
    [
        ("tpu", 128, "float32", "kernels"),
        ("tpu", 64, "bfloat16", "kernels"),
        ("tpu", 20, "float32", "products"),  # neither rows nor pixels fill vectors
        ("tpu", 64, "float16", "products"),
        ("tpu", 256, "float32", "gathers"),
        ("cuda", 64, "float32", "gathers"),
    ],
)
def test_tpus_multiply_where_images_are_small(platform, size, dtype, way):
    image, flow = (jax.ShapeDtypeStruct((2, size, size, n), t) for n, t in ((3, dtype), (2, "float32")))

    def with_gradients(image, flow):
        warped, pull = jax.vjp(jax.vmap(warp), image, flow)
        return warped, pull(warped)

    program = jax.export.export(jax.jit(with_gradients), platforms=[platform])(image, flow).mlir_module()
    assert program.count("@tpu_custom_call") == (3 if way == "kernels" else 0)
    assert ("stablehlo.gather" in program) is (way == "gathers")
    # Gathers sum over channels by a product with ones, and over nothing else.
    assert ("batching_dims" in program) is (way == "products")


def test_sums_of_16_bit_numbers_are_not_rounded_on_the_way():
    """All 1,000 pixels of an image read one of them, whose gradient is their sum."""
    image, flow = jnp.ones([25, 40, 1], jnp.bfloat16), jnp.full([25, 40, 2], -50.0)
    gradient = jax.jit(jax.grad(lambda i: warp(i, flow).astype(np.float32).sum()))(image)
    assert gradient.dtype == jnp.bfloat16
    assert float(gradient[0, 0, 0]) == 1000


def test_a_batch_may_be_empty_but_not_endless():
    assert jax.vmap(warp)(jnp.zeros([0, 4, 4, 3]), jnp.zeros([0, 4, 4, 2])).shape == (0, 4, 4, 3)
    images, flows = (jax.ShapeDtypeStruct((2**15, 256, 256, n), jnp.float32) for n in (3, 2))
    with pytest.raises(ValueError, match=r"2\^31 - 1 pixels .* 32768 images of 256 x 256"):
        jax.eval_shape(jax.vmap(warp), images, flows)


def test_only_the_gradient_that_is_asked_for_is_computed():
    image, flow = draw_image(0, 8, 8), draw_flow(1, 8, 8)

    def compiled(argument):
        gradient = jax.grad(lambda i, f: jnp.sum(jnp.sin(warp(i, f))), argument)
        return jax.jit(gradient).lower(image, flow).compile().as_text()

    # The image's gradient scatters, that of the flow sums over the channels by a product with ones.
    assert "scatter" in compiled(0)
    assert "dot(" not in compiled(0)
    assert "scatter" not in compiled(1)
    assert "dot(" in compiled(1)


def test_the_dtype_is_the_images():
    image, flow = draw_image(0, 6, 6), draw_flow(1, 6, 6, 1.0)
    low = warp(jnp.asarray(image, jnp.bfloat16), flow)
    assert low.dtype == jnp.bfloat16
    np.testing.assert_allclose(low.astype(np.float32), warp(image, flow), atol=0.02)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"\(4, 5, 3\).*\(5, 4, 2\)"):
        warp(jnp.zeros([4, 5, 3]), jnp.zeros([5, 4, 2]))
    with pytest.raises(ValueError, match=r"\(4, 5\)"):
        warp(jnp.zeros([4, 5]), jnp.zeros([4, 5, 2]))
    with pytest.raises(ValueError, match="uint8"):
        warp(np.zeros([4, 5, 3], np.uint8), jnp.zeros([4, 5, 2]))


def test_a_velocity_is_integrated_as_by_many_small_steps():
    """A turning field: after unit time every place has turned by its angle, and the same field backwards undoes it."""
    size, angle = 33, 0.6
    middle = (size - 1) / 2
    places = np.asarray(canonical_grid(size, size), np.float64) - middle
    velocity = angle * np.stack([-places[..., 1], places[..., 0]], -1)
    turned = np.asarray(integrated_flow(velocity.astype(np.float32), 7)) + places
    cos, sin = np.cos(angle), np.sin(angle)
    inside = np.hypot(*np.moveaxis(places, -1, 0)) < 10
    expected = places @ np.array([[cos, sin], [-sin, cos]])
    np.testing.assert_allclose(turned[inside], expected[inside], atol=0.15)
    back = np.asarray(integrated_flow(-velocity.astype(np.float32), 7))
    read = np.asarray(warp(jnp.asarray(back), jnp.asarray(turned - places, jnp.float32)))
    np.testing.assert_allclose((turned + read)[inside], places[inside], atol=0.1)


@pytest.mark.parametrize("squarings", [0, 3])
def test_a_constant_velocity_is_its_own_flow_in_any_batch(squarings):
    velocity = np.broadcast_to(np.float32([0.7, -1.2]), (2, 3, 6, 5, 2))
    np.testing.assert_allclose(integrated_flow(jnp.asarray(velocity), squarings), velocity, rtol=1e-6)
