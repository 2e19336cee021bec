import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.models import SequenceClassifier

SEQUENCES = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)


def test_the_mean_over_time_is_that_of_the_last_outputs_of_all_beginnings(random_variables):
    last, mean = (SequenceClassifier(classes=3, hidden=5, dense=0, pooling=pooling) for pooling in ("last", "mean"))
    variables = random_variables(last, SEQUENCES)
    beginnings = [last.apply(variables, SEQUENCES[:, :frames]) for frames in (1, 2, 3)]
    np.testing.assert_allclose(
        mean.apply(variables, SEQUENCES[:, :3]), np.mean(beginnings, axis=0), rtol=1e-4, atol=1e-5
    )
    assert np.std(beginnings, axis=0).min() > 1e-3


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_logits_are_of_a_rectified_dense_layer_on_the_lstm(random_variables, pooling):
    network = SequenceClassifier(classes=3, hidden=5, dense=16, pooling=pooling)
    variables = random_variables(network, SEQUENCES)
    params = jax.tree.map(np.float64, variables["params"])
    # With an identity in place of the output layer, logits are what the LSTM gives.
    identity = {"kernel": jnp.eye(5), "bias": jnp.zeros(5)}
    bare = {"params": {"recurrent_cell": variables["params"]["recurrent_cell"], "output_layer": identity}}
    recurrent = SequenceClassifier(classes=5, hidden=5, dense=0, pooling=pooling).apply(bare, SEQUENCES)
    dense, output = params["dense_layer"], params["output_layer"]
    hidden = np.maximum(recurrent @ dense["kernel"] + dense["bias"], 0)
    assert 0 < np.mean(hidden == 0) < 1
    logits = network.apply(variables, SEQUENCES)
    np.testing.assert_allclose(logits, hidden @ output["kernel"] + output["bias"], rtol=1e-4, atol=1e-5)


def test_a_class_is_told_by_the_order_of_the_frames(random_variables):
    network = SequenceClassifier(classes=3, hidden=5, dense=0)
    variables = random_variables(network, SEQUENCES)
    forward, backward = (network.apply(variables, frames) for frames in (SEQUENCES, SEQUENCES[:, ::-1]))
    assert np.abs(forward - backward).max() > 1e-3


def test_frames_are_convolved_one_by_one(random_variables):
    images = np.random.default_rng(0).normal(size=(2, 3, 6, 6, 2)).astype(np.float32)
    network = SequenceClassifier(classes=3, hidden=5, dense=0, filters=(4, 5), channels=2)
    variables = random_variables(network, images.reshape(2, 3, -1))
    params = variables["params"]
    hidden = images
    for number, filters in enumerate((4, 5)):
        layer = params[f"convolution_{number}"]
        kernel = layer["kernel"].reshape(2, 2, -1, filters)
        frames = hidden.reshape(-1, *hidden.shape[2:])
        # An odd row and column at the end are followed by zeros.
        made = jax.lax.conv_general_dilated(
            frames, kernel, (2, 2), [(0, frames.shape[1] % 2)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        hidden = jax.nn.elu(made + layer["bias"]).reshape(2, 3, *made.shape[1:])
        assert hidden.shape[-1] == filters
    rest = {"params": {name: params[name] for name in ("recurrent_cell", "output_layer")}}
    expected = SequenceClassifier(classes=3, hidden=5, dense=0).apply(rest, hidden.reshape(2, 3, -1))
    np.testing.assert_allclose(network.apply(variables, images.reshape(2, 3, -1)), expected, rtol=1e-4, atol=1e-5)


def test_the_defaults_are_the_papers_layers():
    sequences = np.zeros((2, 3, 4), np.float32)
    logits, variables = jax.eval_shape(SequenceClassifier(7).init_with_output, jax.random.key(0), sequences)
    assert logits.shape == (2, 7)
    # Four gates, each with weights of the input, of the last output, and a bias.
    recurrent = jax.tree.leaves(variables["params"]["recurrent_cell"])
    assert sum(leaf.size for leaf in recurrent) == 4 * (4 * 30 + 30 * 30 + 30)
    assert variables["params"]["dense_layer"]["kernel"].shape == (30, 30)
    assert variables["params"]["output_layer"]["kernel"].shape == (30, 7)
