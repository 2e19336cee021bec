"""The classifier of sequences that predicts expressions from codes or deformation fields (section 5.6)."""

import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp


class SequenceClassifier(nn.Module):
    """A one-layer LSTM, a dense layer and a linear layer that gives logits: section 5.6 of the deformable generator.

    Attributes:
      classes: number of classes.
      hidden: units of the LSTM, which the paper does not state.
      dense: units of the layer after it, whose activation the paper does not state (ReLU here); 0 for no such layer.
      pooling: "last" takes the LSTM's last output, "mean" the mean over time.
      filters: of convolutions before the LSTM, each of which halves its images; then features are square images.
      channels: of these.

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
    filters: tuple[int, ...] = ()
    channels: int = 3

    @nn.compact
    def __call__(self, sequences: jax.Array) -> jax.Array:
        """Logits [..., classes] from sequences [..., frames, features]."""
        if self.filters:
            sequences = self._convolved(sequences)
        outputs: Any = nn.RNN(nn.OptimizedLSTMCell(self.hidden, name="recurrent_cell"))(sequences)
        read = outputs[..., -1, :] if self.pooling == "last" else outputs.mean(axis=-2)
        if self.dense:
            read = nn.relu(nn.Dense(self.dense, name="dense_layer")(read))
        return nn.Dense(self.classes, name="output_layer")(read)

    def _convolved(self, sequences: jax.Array) -> jax.Array:
        size = math.isqrt(sequences.shape[-1] // self.channels)
        images = sequences.reshape(*sequences.shape[:-1], size, size, self.channels)
        for number, filters in enumerate(self.filters):
            # Of 2 x 2 pixels and a step of 2: on CPUs, products of matrices train many times as fast as convolutions.
            *lead, height, width, channels = images.shape
            images = jnp.pad(images, [(0, 0)] * len(lead) + [(0, height % 2), (0, width % 2), (0, 0)])
            blocks = images.reshape(*lead, -(-height // 2), 2, -(-width // 2), 2, channels)
            patches = jnp.moveaxis(blocks, -3, -4).reshape(*blocks.shape[:-4], blocks.shape[-3], 4 * channels)
            images = nn.elu(nn.Dense(filters, name=f"convolution_{number}")(patches))
        return images.reshape(*sequences.shape[:-1], -1)
