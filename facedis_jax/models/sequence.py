"""The classifier of sequences that predicts expressions from codes or deformation fields (section 5.6)."""

from typing import Any, Literal

import flax.linen as nn
import jax


class SequenceClassifier(nn.Module):
    """A one-layer LSTM, a dense layer and a linear layer that gives logits: section 5.6 of the deformable generator.

    Attributes:
      classes: number of classes.
      hidden: units of the LSTM, which the paper does not state.
      dense: units of the layer after it, whose activation the paper does not state (ReLU here); 0 for no such layer.
      pooling: "last" takes the LSTM's last output, "mean" the mean over time.

    Example:
      >>> import jax.numpy as jnp
      >>> classifier = SequenceClassifier(classes=7)
      >>> jax.eval_shape(classifier.init_with_output, jax.random.key(0), jnp.zeros([2, 8, 64]))[0].shape
      (2, 7)
    """

    classes: int
    hidden: int = 30
    dense: int = 30
    pooling: Literal["last", "mean"] = "last"

    @nn.compact
    def __call__(self, sequences: jax.Array) -> jax.Array:
        """Logits [..., classes] from sequences [..., frames, features]."""
        outputs: Any = nn.RNN(nn.OptimizedLSTMCell(self.hidden, name="recurrent_cell"))(sequences)
        read = outputs[..., -1, :] if self.pooling == "last" else outputs.mean(axis=-2)
        if self.dense:
            read = nn.relu(nn.Dense(self.dense, name="dense_layer")(read))
        return nn.Dense(self.classes, name="output_layer")(read)
