"""The two-layer perceptron that predicts landmarks from deformation fields (section 5.5)."""

import flax.linen as nn
import jax


class Regressor(nn.Module):
    """One hidden layer of ReLUs, then one output per coordinate: of section 5.5 of the deformable generator.

    Attributes:
      hidden: width of the hidden layer.
      outputs: number of outputs.

    Example:
      >>> import jax.numpy as jnp
      >>> regressor = Regressor(hidden=100, outputs=10)
      >>> jax.eval_shape(regressor.init_with_output, jax.random.key(0), jnp.zeros([5, 64]))[0].shape
      (5, 10)
    """

    hidden: int = 100
    outputs: int = 10

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """Predictions [..., outputs] from features [..., inputs]."""
        hidden = nn.relu(nn.Dense(self.hidden, name="hidden_layer")(features))
        return nn.Dense(self.outputs, name="output_layer")(hidden)
