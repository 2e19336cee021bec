from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.errors import InputError
from facedis_jax.models import (
    OffsetAttention,
    PctConfig,
    PointCloudTransformer,
    PointFeatureConfig,
    pct,
    point_features,
)
from facedis_jax.models.pct import fourier_features

PAPER = PctConfig(
    PointFeatureConfig(centres=(8, 5), neighbours=3),
    embedding=6,
    width=8,
    attention_layers=1,
    global_features=10,
)
DEMO = replace(
    PAPER,
    features=PointFeatureConfig(centres=(8, 5), neighbours=3, start="foremost", harmonics=1),
    normalisation="layer",
    frequencies=3,
    pooling="max_mean",
    moment_features=7,
)
CLOUDS = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 30, 3)).astype(np.float32)


def features_of(config):
    return jax.jit(jax.vmap(lambda points: point_features(points, config.features)))(CLOUDS)


@pytest.mark.parametrize(
    ("config", "width"),
    [
        (PAPER, 10),
        (DEMO, 10 + 10 + 7),
        (replace(DEMO, pooling="max"), 10 + 7),
        (replace(PAPER, pooling="max_mean"), 20),
    ],
)
def test_width_of_the_code(config, width):
    encoder = PointCloudTransformer(config)
    variables = jax.eval_shape(encoder.init, jax.random.key(0), CLOUDS, features_of(config))
    code = jax.eval_shape(encoder.apply, variables, CLOUDS, features_of(config))
    assert code.shape == (2, width)


def test_defaults_are_the_papers():
    clouds = jax.ShapeDtypeStruct((1, 600, 3), jnp.float32)
    features = jax.eval_shape(jax.vmap(lambda points: point_features(points, PointFeatureConfig())), clouds)
    params = jax.eval_shape(PointCloudTransformer().init, jax.random.key(0), clouds, features)["params"]

    assert params["LinearNormRelu_0"]["Dense_0"]["kernel"].shape == (3, 64)
    assert params["LinearNormRelu_1"]["Dense_0"]["kernel"].shape == (64, 64)
    assert params["GroupedFeatures_0"]["kernel"].shape == (128, 128)
    assert params["GroupedFeatures_1"]["kernel"].shape == (256, 256)
    assert sum(name.startswith("OffsetAttention") for name in params) == 4
    assert params["OffsetAttention_3"]["query_key"]["kernel"].shape == (256, 64)
    assert params["LinearNormRelu_2"]["Dense_0"]["kernel"].shape == (1280, 1024)
    assert features.grouping.coarse_neighbours.shape == (1, 256, 32)


@pytest.mark.parametrize(
    ("settings", "parameters"),
    [
        ({"between_layers": 1}, 66_048),
        ({"between_layers": 2}, 132_096),
        ({"position_embedding": True}, 1_024),
        ({"between_layers": 1, "position_embedding": True}, 67_072),
    ],
)
def test_public_variants_have_their_parameters(settings, parameters):
    """Linear layers without bias, their batch normalisation, and an embedding of the coordinates with one."""
    clouds = jax.ShapeDtypeStruct((1, 600, 3), jnp.float32)
    features = jax.eval_shape(jax.vmap(lambda points: point_features(points, PointFeatureConfig())), clouds)

    def count(config):
        params = jax.eval_shape(PointCloudTransformer(config).init, jax.random.key(0), clouds, features)["params"]
        return sum(leaf.size for leaf in jax.tree.leaves(params))

    assert count(PctConfig(**settings)) - count(PctConfig()) == parameters


def pct_in_numpy(params, config, points, grouping):
    """The encoder of one cloud without normalisation, step by step, in float64."""

    def layer(name, x, slope=0.0, of=None):
        dense = (of or params)[name]["Dense_0"]
        y = x @ dense["kernel"] + dense["bias"]
        return np.where(y > 0, y, slope * y)

    def grouped(name, x, centres, neighbours):
        near = x[neighbours]
        pairs = np.concatenate([near - x[centres][:, None], np.broadcast_to(x[centres][:, None], near.shape)], axis=-1)
        hidden = np.maximum(pairs @ params[name]["kernel"], 0)
        return layer("LinearNormRelu_0", hidden, of=params[name]).max(axis=1)

    hidden = layer("LinearNormRelu_1", layer("LinearNormRelu_0", points))
    hidden = grouped("GroupedFeatures_0", hidden, grouping.centres, grouping.neighbours)
    first = grouped("GroupedFeatures_1", hidden, grouping.coarse_centres, grouping.coarse_neighbours)
    x, found = first, []
    for i in range(config.between_layers):
        x = layer(f"between_{i}", x)
    position = 0.0
    if config.position_embedding:
        coordinates = points[grouping.centres][grouping.coarse_centres]
        position = coordinates @ params["position"]["kernel"] + params["position"]["bias"]
    for i in range(config.attention_layers):
        own, x = params[f"OffsetAttention_{i}"], x + position
        shared, value = x @ own["query_key"]["kernel"], x @ own["value"]["kernel"] + own["value"]["bias"]
        attention = np.exp(shared @ shared.T)
        attention /= attention.sum(axis=1, keepdims=True)
        attention /= 1e-9 + attention.sum(axis=0, keepdims=True)
        x = x + layer("LinearNormRelu_0", x - attention.T @ value, of=own)
        found.append(x)
    return layer("LinearNormRelu_2", np.concatenate([*found, first], axis=-1), slope=0.2).max(axis=0)


@pytest.mark.parametrize(("between", "position"), [(0, False), (1, True), (2, False)])
def test_public_variants_in_numpy(random_variables, between, position):
    config = replace(
        PAPER, attention_layers=2, normalisation="none", between_layers=between, position_embedding=position
    )
    features = features_of(config)
    variables = random_variables(PointCloudTransformer(config), CLOUDS, features)
    found = jax.jit(PointCloudTransformer(config).apply)(variables, CLOUDS, features)
    exact = jax.tree.map(lambda x: np.asarray(x, np.float64), variables["params"])
    groupings = [jax.tree.map(lambda x, i=i: np.asarray(x[i]), features.grouping) for i in range(len(CLOUDS))]
    expected = [
        pct_in_numpy(exact, config, cloud.astype(np.float64), grouping)
        for cloud, grouping in zip(CLOUDS, groupings, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("normalisation", ["batch", "layer", "none"])
def test_computing_in_bfloat16_changes_codes_by_its_rounding_and_no_type(random_variables, normalisation):
    config = replace(DEMO, normalisation=normalisation)
    features = features_of(config)
    variables = random_variables(PointCloudTransformer(config), CLOUDS, features)

    def code_and_gradients(compute):
        encoder = PointCloudTransformer(replace(config, compute=compute))

        def code(params):
            return encoder.apply(variables | {"params": params}, CLOUDS, features, train=True, mutable=["batch_stats"])

        def total(params):
            found, updates = code(params)
            return jnp.square(found).sum(), (found, updates)

        gradients, results = jax.jit(jax.grad(total, has_aux=True))(variables["params"])
        return *results, gradients

    narrow, wide = code_and_gradients("bfloat16"), code_and_gradients("float32")
    jaxpr = jax.make_jaxpr(lambda: code_and_gradients("bfloat16"))()
    assert "bf16" in str(jaxpr)
    assert jax.tree.map(lambda x: x.dtype, narrow) == jax.tree.map(lambda x: x.dtype, wide)
    for one, other in zip(narrow[:2], wide[:2], strict=True):
        for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            # 8 bits, through six layers.
            np.testing.assert_allclose(x, y, atol=0.05 * np.abs(y).max())
    # Which of several equal values is the largest may change, and with it single gradients.
    flat = [np.concatenate([np.ravel(x) for x in jax.tree.leaves(result[2])]) for result in (narrow, wide)]
    assert np.corrcoef(*flat)[0, 1] > 0.98


def test_unknown_type_is_refused():
    with pytest.raises(InputError, match=r"encoder\.compute: expected float32 or bfloat16, found 'float16'"):
        PctConfig(compute="float16")  # type: ignore[arg-type]


@pytest.mark.parametrize("normalisation", ["layer", "none"])
def test_points_in_no_neighbourhood_can_be_left_out(monkeypatch, random_variables, normalisation):
    config = replace(DEMO, normalisation=normalisation)
    encoder, features = PointCloudTransformer(config), features_of(config)
    params = random_variables(encoder, CLOUDS, features)
    gathered, calls = pct._gathered, []

    def value_and_gradient():
        # A new function each time: jit must not know it already.
        return jax.jit(jax.value_and_grad(lambda p: jnp.sin(encoder.apply(p, CLOUDS, features)).sum()))(params)

    monkeypatch.setattr(pct, "_gathered", lambda *arrays: calls.append(arrays) or gathered(*arrays))
    short = value_and_gradient()
    assert len(calls) == 1, "24 places for 30 points, and yet all points were embedded"
    monkeypatch.setattr(pct, "_gathered", lambda *arrays: arrays)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), short, value_and_gradient())


def test_batch_statistics_are_of_all_points(monkeypatch, random_variables):
    monkeypatch.setattr(pct, "_gathered", lambda *arrays: pytest.fail("points were left out"))
    encoder = PointCloudTransformer(PAPER)
    features = features_of(PAPER)

    variables = random_variables(encoder, CLOUDS, features)

    @jax.jit
    def first_mean(variables):
        _, updates = encoder.apply(variables, CLOUDS, features, train=True, mutable=["batch_stats"])
        return mean_of(updates)

    def mean_of(variables):
        return variables["batch_stats"]["LinearNormRelu_0"]["Normalise_0"]["BatchNorm_0"]["mean"]

    kernel = np.asarray(variables["params"]["LinearNormRelu_0"]["Dense_0"]["kernel"], np.float64)
    expected = 0.9 * mean_of(variables) + 0.1 * (CLOUDS @ kernel).mean((0, 1))
    np.testing.assert_allclose(first_mean(variables), expected, rtol=1e-5, atol=1e-6)


def test_offset_attention_is_pcts(random_variables):
    inputs = np.random.default_rng(1).normal(size=(2, 6, 8)).astype(np.float32)
    layer = OffsetAttention("none")
    variables = random_variables(layer, inputs)

    exact = jax.tree.map(lambda x: x.astype(np.float64), variables["params"])
    for cloud, ours in zip(inputs, layer.apply(variables, inputs), strict=True):
        x = cloud.astype(np.float64)
        shared = x @ exact["query_key"]["kernel"]
        value = x @ exact["value"]["kernel"] + exact["value"]["bias"]
        attention = np.exp(shared @ shared.T)
        attention /= attention.sum(axis=1, keepdims=True)
        attention /= 1e-9 + attention.sum(axis=0, keepdims=True)
        dense = exact["LinearNormRelu_0"]["Dense_0"]
        update = (x - attention.T @ value) @ dense["kernel"] + dense["bias"]
        np.testing.assert_allclose(ours, x + np.maximum(update, 0), rtol=1e-4, atol=1e-5)


def test_offset_attention_survives_large_energies(random_variables):
    inputs = 30 * np.random.default_rng(1).normal(size=(1, 6, 8)).astype(np.float32)
    layer = OffsetAttention("layer")
    assert np.isfinite(layer.apply(random_variables(layer, inputs), inputs)).all()


def test_fourier_features_are_octaves_from_one_wave_over_two_units():
    features = fourier_features(CLOUDS, 3)
    exact = CLOUDS.astype(np.float64)
    angles = [np.pi * octave * exact[..., [axis]] for axis in range(3) for octave in (1, 2, 4)]
    waves = [function(angle) for function in (np.sin, np.cos) for angle in angles]
    np.testing.assert_allclose(features, np.concatenate([exact, *waves], axis=-1), atol=1e-6)
    np.testing.assert_array_equal(fourier_features(CLOUDS, 0), CLOUDS)
