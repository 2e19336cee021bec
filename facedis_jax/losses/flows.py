"""What a warp costs beside what it explains, and what an embedding loses that does not follow one."""

import jax
import jax.numpy as jnp


def flow_variation(flow: jax.Array) -> jax.Array:
    """Total variation of a flow: the mean over pixels of the absolute differences between neighbours.

    The sum over both components and both axes; 0 for a shift.

    Args:
      flow: [..., height, width, 2] in pixels.

    Returns:
      [...].

    References:
      Shu et al., "Deforming Autoencoders", 2018.

    Example:
      >>> print(flow_variation(jnp.zeros([4, 4, 2]).at[:, 2:, 0].set(1.5)))  # 1.5 between two of four columns
      0.375
    """
    down, right = jnp.diff(flow, axis=-3), jnp.diff(flow, axis=-2)
    pixels = flow.shape[-3] * flow.shape[-2]
    sums = [jnp.sum(jnp.abs(change), axis=(-3, -2, -1)) for change in (down, right)]
    return (sums[0] + sums[1]) / pixels


def equivariance_loss(
    first: jax.Array,
    second: jax.Array,
    places: jax.Array,
    *,
    third: jax.Array | None = None,
    power: float = 0.5,
) -> jax.Array:
    """How far an embedding matches the cells of a warped image from where they come from.

    Each cell of the second image is matched with all of the first, with probabilities that are the softmax of inner
    products; the loss is the mean distance of the matches from the true place, raised to a power. Cells that come from
    outside of the first image do not count.

    Args:
      first, second: [height, width, dimensions], embeddings of an image and of the same one warped.
      places: [height, width, 2], where in the first image each cell of the second comes from, (x, y) in cells.
      third: the embedding of another image, by whose cells those of the first are expressed before they are matched;
        None matches them as they are.
      power: of the distance.

    References:
      Thewlis et al., "Unsupervised Learning of Object Frames by Dense Equivariant Image Labelling", 2017; with a third
      image "Unsupervised Learning of Landmarks by Descriptor Vector Exchange", 2019.

    Example:
      >>> cells = 100 * jnp.eye(4).reshape(2, 2, 4)  # each cell is like itself alone
      >>> grid = jnp.stack(jnp.meshgrid(jnp.arange(2.0), jnp.arange(2.0)), -1)
      >>> print(equivariance_loss(cells, cells, grid))
      0.0
      >>> print(equivariance_loss(cells, cells[:, ::-1], grid, power=1.0))  # all matches are one cell off
      1.0
    """
    height, width, dimensions = first.shape
    known, seen = first.reshape(-1, dimensions), second.reshape(-1, dimensions)
    if third is not None:
        others = third.reshape(-1, dimensions)
        known = jax.nn.softmax(known @ others.T, axis=-1) @ others
    matches = jax.nn.softmax(seen @ known.T, axis=-1)
    y, x = jnp.divmod(jnp.arange(height * width), width)
    places = places.reshape(-1, 2)
    squares = jnp.square(places[:, :1] - x) + jnp.square(places[:, 1:] - y)
    expected = jnp.sum(matches * squares ** (power / 2), axis=-1)
    inside = jnp.all((places >= 0) & (places <= jnp.array([width - 1, height - 1])), axis=-1)
    return jnp.sum(expected * inside) / jnp.maximum(inside.sum(), 1)
