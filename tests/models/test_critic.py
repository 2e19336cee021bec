import jax
import numpy as np
import pytest

from facedis_jax.models import GeneratorConfig, critic_of


def images(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


@pytest.mark.parametrize("size", [8, 64, 256])
def test_one_number_an_image_of_any_size(size):
    critic = critic_of(GeneratorConfig(size=size))
    variables = jax.eval_shape(critic.init, jax.random.key(0), images(2, size, size, 3))
    assert jax.eval_shape(critic.apply, variables, images(2, size, size, 3)).shape == (2,)
    assert len(variables["params"]) == np.log2(size / 4) + 1


def test_a_small_critic_is_its_layers_in_float64(random_variables):
    critic = critic_of(GeneratorConfig(size=8, filters=16))
    batch = images(3, 8, 8, 3)
    variables = random_variables(critic, batch)
    params = jax.tree.map(np.float64, variables["params"])
    kernel, bias = params["Conv_0"]["kernel"], params["Conv_0"]["bias"]
    # "SAME" for 5 taps and stride 2 of 8 pixels: one before, two behind.
    padded = np.pad(np.float64(batch), ((0, 0), (1, 2), (1, 2), (0, 0)))
    hidden = np.empty((3, 4, 4, 16))
    for row, column in np.ndindex(4, 4):
        window = padded[:, 2 * row : 2 * row + 5, 2 * column : 2 * column + 5]
        hidden[:, row, column] = np.einsum("nabi,abio->no", window, kernel) + bias
    hidden = np.where(hidden > 0, hidden, 0.2 * hidden)
    expected = hidden.reshape(3, -1) @ params["Dense_0"]["kernel"][:, 0] + params["Dense_0"]["bias"]
    np.testing.assert_allclose(jax.jit(critic.apply)(variables, batch), expected, rtol=1e-4, atol=1e-5)
    assert len(set(np.round(expected, 3))) == 3
