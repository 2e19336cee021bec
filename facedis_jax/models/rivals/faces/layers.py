"""Convolutions on meshes of one topology: by Chebyshev polynomials of the Laplacian, and along spirals."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse

from facedis_jax.geometry.batches import one_by_one_on_cpu
from facedis_jax.models.linear import linear
from facedis_jax.models.rivals.faces.sparse import SparseOperator, sparse_operator

Convolution = Callable[[jax.Array, jax.Array], jax.Array]


def chebyshev_convolution(laplacian: SparseOperator) -> Convolution:
    """The function (features [vertices, ..., channels], kernel [orders, channels, filters]) of a scaled Laplacian.

    It gives the sum over k of T_k(L) x W_k, [vertices, ..., filters], with the Chebyshev polynomials T_0, T_1, ... of
    the Laplacian L. Vertices come first, so that one gather moves whole rows of a batch; whichever has fewer channels
    goes through the Laplacian, and the gradients need but the polynomials of the cotangent.

    Args:
      laplacian: symmetric, scaled to [-1, 1].

    References:
      Defferrard et al., "Convolutional Neural Networks on Graphs with Fast Localized Spectral Filtering", 2016.
    """

    def through(features: jax.Array) -> jax.Array:
        return laplacian(features.reshape(len(features), -1)).reshape(features.shape)

    @jax.custom_vjp
    def convolve(features: jax.Array, kernel: jax.Array) -> jax.Array:
        zero = jnp.zeros((*features.shape[:-1], kernel.shape[-1]), features.dtype)
        if kernel.shape[-1] < features.shape[-1]:
            # Clenshaw's recurrence, of what the kernel has made of the features.
            def add(carry: tuple[jax.Array, jax.Array], weights: jax.Array) -> tuple[Any, None]:
                latest, later = carry
                return (features @ weights + 2 * through(latest) - later, latest), None

            (latest, later), _ = jax.lax.scan(add, (zero, zero), kernel[:0:-1])
            return features @ kernel[0] + through(latest) - later
        return _polynomials(
            through, features, lambda total, term, weights: (total + term @ weights, None), zero, kernel
        )[0]

    def forward(features: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        return convolve(features, kernel), (features, kernel)

    def backward(kept: tuple[jax.Array, jax.Array], cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
        features, kernel = kept
        rows = features.reshape(-1, features.shape[-1]).T

        def add(total: jax.Array, term: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
            return total + term @ weights.T, rows @ term.reshape(rows.shape[1], -1)

        return _polynomials(through, cotangent, add, jnp.zeros_like(features), kernel)

    convolve.defvjp(forward, backward)
    return convolve


def _polynomials(
    through: SparseOperator,
    features: jax.Array,
    add: Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, Any]],
    total: jax.Array,
    kernel: jax.Array,
) -> tuple[jax.Array, Any]:
    """Adds up what `add` makes of T_k(L) features and kernel[k], and stacks what else it gives."""

    def step(carry: Any, weights: jax.Array) -> tuple[Any, Any]:
        total, term, before = carry
        total, other = add(total, term, weights)
        return (total, 2 * through(term) - before, term), other

    total, first = add(total, features, kernel[0])
    if len(kernel) == 1:
        return total, None if first is None else first[None]
    final, others = jax.lax.scan(step, (total, through(features), features), kernel[1:])
    return final[0], None if first is None else jnp.concatenate([first[None], others])


def spiral_convolution(indices: np.ndarray) -> Convolution:
    """The function (features [..., vertices, channels], kernel [length * channels, filters]) of fixed spirals.

    Each vertex gets a linear function of the features along its spiral, [..., vertices, filters].

    Args:
      indices: [vertices, length].
    """
    vertices, length = indices.shape
    entries, shape = np.ones(indices.size), (vertices, indices.size)
    numbers = np.arange(indices.size)
    # What the features along all spirals give back to the vertices.
    gather_back = sparse_operator(sparse.csr_array((entries, (indices.ravel(), numbers)), shape=shape))
    # The sum along each spiral of what its kernel has made of the features, [vertices * length, filters].
    places = (indices * length + np.arange(length)).ravel()
    sum_along = sparse_operator(sparse.csr_array((entries, (numbers // length, places)), shape=shape))

    def along(features: jax.Array) -> jax.Array:
        return jnp.take(features, np.ascontiguousarray(indices.T), axis=0, mode="clip")

    # Rows of what the kernel has made are added where they lie; rows of features would be copied side by side.
    def made(features: jax.Array, kernel: jax.Array) -> jax.Array:
        channels, filters = features.shape[-1], kernel.shape[-1]
        of_each = jnp.moveaxis(kernel.reshape(length, channels, filters), 0, 1).reshape(channels, -1)
        return sum_along(linear(features, of_each).reshape(-1, filters))

    @jax.custom_vjp
    def one(features: jax.Array, kernel: jax.Array) -> jax.Array:
        channels, filters = features.shape[-1], kernel.shape[-1]
        if filters < 4 * channels:
            return made(features, kernel)
        return jnp.einsum("jvc,jcf->vf", along(features), kernel.reshape(length, channels, filters))

    def forward(features: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        return one(features, kernel), (features, kernel)

    def backward(kept: tuple[jax.Array, jax.Array], cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
        features, kernel = kept
        d_along = (cotangent @ kernel.T).reshape(indices.size, features.shape[-1])
        d_kernel = jnp.einsum("jvc,vf->jcf", along(features), cotangent)
        return gather_back(d_along), d_kernel.reshape(kernel.shape)

    one.defvjp(forward, backward)

    def batched(features: jax.Array, kernel: jax.Array) -> jax.Array:
        # Of few filters, the gradients go back through the sums too.
        convolved_face = made if kernel.shape[-1] * 8 <= features.shape[-1] else one
        if features.ndim == 2:
            return convolved_face(features, kernel)
        flat = features.reshape(-1, *features.shape[-2:])
        convolved = one_by_one_on_cpu(lambda face: convolved_face(face, kernel))(flat)
        return convolved.reshape(*features.shape[:-1], kernel.shape[-1])

    return batched


class ChebyshevConvolution(nn.Module):
    """`chebyshev_convolution` with a kernel of its own, of features [vertices, ..., channels].

    Attributes:
      filters: how many.
      orders: how many polynomials, T_0 among them.
      convolve: of the Laplacian.
      use_bias: whether one bias per filter is added.
    """

    filters: int
    orders: int
    convolve: Convolution
    use_bias: bool = True

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        shape = (self.orders, features.shape[-1], self.filters)
        initial = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")
        hidden = self.convolve(features, self.param("kernel", initial, shape))
        return hidden + self.param("bias", nn.initializers.zeros, (self.filters,)) if self.use_bias else hidden


class SpiralConvolution(nn.Module):
    """`spiral_convolution` with a kernel of its own, of features [..., vertices, channels].

    Attributes:
      filters: how many.
      length: of the spirals.
      convolve: of their indices.
    """

    filters: int
    length: int
    convolve: Convolution

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        shape = (self.length * features.shape[-1], self.filters)
        kernel = self.param("kernel", nn.initializers.xavier_uniform(), shape)
        return self.convolve(features, kernel) + self.param("bias", nn.initializers.zeros, (self.filters,))
