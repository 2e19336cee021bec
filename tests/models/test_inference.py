import jax
import numpy as np
import pytest

from facedis_jax.models import GeneratorConfig, inference_network

SMALL = GeneratorConfig(size=16, filters=16, appearance_latents=3, geometry_latents=4)


def images(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def test_layers_mirror_the_geometric_generator():
    network = inference_network(GeneratorConfig())
    params = jax.eval_shape(network.init, jax.random.key(0), images(1, 64, 64, 3))["params"]
    assert [params[f"Conv_{i}"]["kernel"].shape for i in range(4)] == [
        (5, 5, 3, 16),
        (5, 5, 16, 32),
        (3, 3, 32, 64),
        (3, 3, 64, 128),
    ]
    # Mean and log-variance of 128 latents, from 4 x 4.
    assert params["Dense_0"]["kernel"].shape == (4 * 4 * 128, 2 * 128)


@pytest.mark.parametrize("size", [8, 16, 128, 256])
def test_any_size_is_halved_to_4(size):
    config = GeneratorConfig(size=size, channels=1, geometry_latents=0)
    network = inference_network(config)
    variables = jax.eval_shape(network.init, jax.random.key(0), images(2, size, size, 1))
    posterior = jax.eval_shape(network.apply, variables, images(2, size, size, 1))
    assert posterior.mean.shape == posterior.logvar.shape == (2, 64)
    assert variables["params"]["Dense_0"]["kernel"].shape[0] % 16 == 0


def test_a_posterior_depends_on_its_own_image_alone(random_variables):
    network = inference_network(SMALL)
    batch = images(4, 16, 16, 3)
    variables = random_variables(network, batch)
    apply = jax.jit(network.apply)
    others = np.concatenate([batch[:1], images(3, 16, 16, 3, seed=1)])
    for one, other in zip(apply(variables, batch), apply(variables, others), strict=True):
        assert one.shape == (4, 7)
        np.testing.assert_allclose(one[0], other[0], atol=1e-6)
        assert np.abs(one[1:] - other[1:]).max() > 1e-3
        assert np.abs(one[0] - one[1]).max() > 1e-3
