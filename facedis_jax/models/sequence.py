"""The classifier of sequences that reads expressions off codes and deformation fields (section 5.6)."""

from typing import Any, Literal

import flax.linen as nn
import jax


class SequenceClassifier(nn.Module):
    """A one-layer LSTM and a linear layer on what it makes of a sequence.

    Attributes:
      classes: how many.
      hidden: units of the LSTM.
      pooling: "last" reads its last output, "mean" the mean over time.
    """

    classes: int
    hidden: int = 30
    pooling: Literal["last", "mean"] = "last"

    @nn.compact
    def __call__(self, sequences: jax.Array) -> jax.Array:
        """Logits [..., classes] from sequences [..., frames, features]."""
        outputs: Any = nn.RNN(nn.OptimizedLSTMCell(self.hidden, name="recurrent_cell"))(sequences)
        read = outputs[..., -1, :] if self.pooling == "last" else outputs.mean(axis=-2)
        return nn.Dense(self.classes, name="output_layer")(read)
