import jax
import numpy as np
import pytest

from facedis_jax.models import SequenceClassifier

pytestmark = pytest.mark.usefixtures("quick_compilation")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(("pooling", "dense"), [("last", 0), ("mean", 0), ("last", 4)])
def test_logits_are_those_of_a_one_layer_lstm(random_variables, pooling, dense):
    """Hochreiter and Schmidhuber 1997 with a forget gate, in float64, from a state of zeros."""
    network = SequenceClassifier(classes=3, hidden=5, dense=dense, pooling=pooling)
    sequences = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)
    variables = random_variables(network, sequences)
    found = jax.jit(network.apply)(variables, sequences)
    params = jax.tree.map(np.float64, variables["params"])
    cell, output = params["recurrent_cell"], params["output_layer"]
    for logits, sequence in zip(found, np.float64(sequences), strict=True):
        state, carry, outputs = np.zeros(5), np.zeros(5), []
        for x in sequence:
            parts = {
                g: x @ cell[f"i{g}"]["kernel"] + state @ cell[f"h{g}"]["kernel"] + cell[f"h{g}"]["bias"] for g in "ifgo"
            }
            carry = sigmoid(parts["f"]) * carry + sigmoid(parts["i"]) * np.tanh(parts["g"])
            state = sigmoid(parts["o"]) * np.tanh(carry)
            outputs.append(state)
        read = outputs[-1] if pooling == "last" else np.mean(outputs, axis=0)
        if dense:
            read = np.maximum(read @ params["dense_layer"]["kernel"] + params["dense_layer"]["bias"], 0)
        np.testing.assert_allclose(logits, read @ output["kernel"] + output["bias"], rtol=1e-4, atol=1e-5)


def test_the_defaults_are_the_papers_layers():
    sequences = np.zeros((2, 3, 4), np.float32)
    logits, variables = jax.eval_shape(SequenceClassifier(7).init_with_output, jax.random.key(0), sequences)
    assert logits.shape == (2, 7)
    assert variables["params"]["dense_layer"]["kernel"].shape == (30, 30)
    assert variables["params"]["output_layer"]["kernel"].shape == (30, 7)
