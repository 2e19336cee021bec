"""Networks whose features tell where parts of a face are: a dense embedding, and a masked autoencoder."""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp

from facedis_jax.errors import InputError, check_least


@dataclass(frozen=True)
class EmbeddingNetworks:
    """Sizes of a dense embedding.

    Attributes:
      dimensions: of the embedding; 3 in the first paper, up to 64 with a third image.
      filters: of the convolutions before the last, the first of which halves the image.
      taps: of these along either axis. Public code has dilated ones for faces of 70 pixels.

    Raises:
      InputError: for no dimensions, or other numbers of filters than of taps.

    Example:
      >>> EmbeddingNetworks(dimensions=16).filters
      (16, 24, 32, 32)
    """

    dimensions: int = 3
    filters: tuple[int, ...] = (16, 24, 32, 32)
    taps: tuple[int, ...] = (5, 5, 3, 3)

    def __post_init__(self) -> None:
        check_least(self, dimensions=1)
        if len(self.filters) != len(self.taps):
            raise InputError("networks.taps", f"{len(self.filters)}, as of the filters", str(len(self.taps)))


class DenseEmbedding(nn.Module):
    """Embeddings [batch, height / 2, width / 2, dimensions] of images [batch, height, width, channels].

    Example:
      >>> network = DenseEmbedding(EmbeddingNetworks(dimensions=3))
      >>> jax.eval_shape(network.init_with_output, jax.random.key(0), jnp.zeros([2, 16, 16, 3]))[0].shape
      (2, 8, 8, 3)
    """

    config: EmbeddingNetworks

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        x = images - 0.5
        for i, (filters, taps) in enumerate(zip(self.config.filters, self.config.taps, strict=True)):
            x = nn.leaky_relu(nn.Conv(filters, (taps, taps), strides=1 if i else 2)(x), 0.2)
            x = nn.GroupNorm(num_groups=1)(x)
        return nn.Conv(self.config.dimensions, (1, 1))(x)


@dataclass(frozen=True)
class MaskedNetworks:
    """Sizes of a masked autoencoder.

    Attributes:
      patch: pixels along either side of a patch.
      width, layers, heads: of the encoder.
      decoder_width, decoder_layers: of the decoder.

    Raises:
      InputError: where one of them is 0, or the heads do not divide a width.

    Example:
      >>> MaskedNetworks(patch=8).width
      64
    """

    patch: int = 4
    width: int = 64
    layers: int = 4
    heads: int = 4
    decoder_width: int = 32
    decoder_layers: int = 1

    def __post_init__(self) -> None:
        check_least(self, patch=1, width=1, layers=1, heads=1, decoder_width=1, decoder_layers=1)
        for name in ("width", "decoder_width"):
            if getattr(self, name) % self.heads:
                raise InputError(f"networks.{name}", f"a multiple of {self.heads} heads", str(getattr(self, name)))


class MaskedAutoencoder(nn.Module):
    """A transformer that sees some patches of an image and draws them all (He et al., 2022).

    Example:
      >>> model = MaskedAutoencoder(MaskedNetworks(width=16, layers=1), channels=3)
      >>> patches, seen = jnp.zeros([2, 16, 48]), jnp.zeros([2, 4], int)
      >>> drawn, params = jax.eval_shape(model.init_with_output, jax.random.key(0), patches, seen)
      >>> drawn.shape
      (2, 16, 48)
    """

    config: MaskedNetworks
    channels: int

    def setup(self) -> None:
        config = self.config
        self.embed = nn.Dense(config.width)
        self.layers = [_Block(config.heads) for _ in range(config.layers)]
        self.norm = nn.LayerNorm()
        self.narrow = nn.Dense(config.decoder_width)
        self.missing = self.param("missing", nn.initializers.normal(0.02), (config.decoder_width,))
        self.decoder = [_Block(config.heads) for _ in range(config.decoder_layers)]
        self.decoder_norm = nn.LayerNorm()
        self.draw = nn.Dense(config.patch**2 * self.channels)

    def __call__(self, patches: jax.Array, seen: jax.Array) -> jax.Array:
        """All patches [batch, patches, pixels], from those at the indices `seen` [batch, seen]."""
        batch, count = patches.shape[:2]
        rows = jnp.arange(batch)[:, None]
        known = self.narrow(self.encode(patches[rows, seen], seen, count))
        tokens = jnp.broadcast_to(self.missing, (batch, count, known.shape[-1])).at[rows, seen].set(known)
        tokens = tokens + sinusoids(jnp.arange(count), count, known.shape[-1])
        for block in self.decoder:
            tokens = block(tokens)
        return self.draw(self.decoder_norm(tokens))

    def encode(self, patches: jax.Array, places: jax.Array, count: int) -> jax.Array:
        """Tokens [batch, seen, width] of patches at some of `count` places, [batch, seen] or [seen]."""
        tokens = self.embed(patches - 0.5) + sinusoids(places, count, self.config.width)
        for block in self.layers:
            tokens = block(tokens)
        return self.norm(tokens)


class _Block(nn.Module):
    heads: int

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        width = tokens.shape[-1]
        x = nn.LayerNorm()(tokens)
        tokens = tokens + nn.MultiHeadDotProductAttention(self.heads)(x)
        return tokens + nn.Dense(width)(nn.gelu(nn.Dense(2 * width)(nn.LayerNorm()(tokens))))


def sinusoids(places: jax.Array, count: int, width: int) -> jax.Array:
    """Codes [..., width] of places in a square of `count` patches: sines and cosines of either coordinate.

    Example:
      >>> print(jax.device_get(sinusoids(jnp.array([0, 3]), 4, 4)).round(2))
      [[0.   1.   0.   1.  ]
       [0.84 0.54 0.84 0.54]]
    """
    side = round(count**0.5)
    rates = 100.0 ** (-jnp.arange(-(-width // 4)) / max(1, -(-width // 4)))
    angles = [place[..., None] * rates for place in jnp.divmod(places, side)]
    waves = [wave(angle) for angle in angles for wave in (jnp.sin, jnp.cos)]
    return jnp.concatenate(waves, axis=-1)[..., :width]


def patches_of(images: jax.Array, patch: int) -> jax.Array:
    """Square patches [batch, patches, pixels] of square images [batch, size, size, channels], row by row.

    Example:
      >>> patches_of(jnp.arange(16.0).reshape(1, 4, 4, 1), 2)[0].astype(int).tolist()
      [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    """
    batch, size, _, channels = images.shape
    side = size // patch
    squares = images.reshape(batch, side, patch, side, patch, channels).transpose(0, 1, 3, 2, 4, 5)
    return squares.reshape(batch, side * side, patch * patch * channels)
