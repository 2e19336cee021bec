"""The dynamic deformable generator (section 4, Table 5): clips from two codes that change over time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from facedis_jax.errors import InputError, check_power_of_two
from facedis_jax.geometry import warp
from facedis_jax.models.deformable import Latents, check_squarings, output_activation, scaled_flow
from facedis_jax.models.upsampling import Compute, FanIn, UpsamplingNetwork, check_compute, narrowed

FEWEST_FILTERS = 8  # of a hidden layer


@dataclass(frozen=True)
class DynamicConfig:
    """Sizes of the generators and of the transitions; defaults are those of the deformable generator's Table 5.

    The same weights make clips of any length.

    Attributes:
      size: height and width of a frame, a power of two of at least 16. Table 5 is of 64; other sizes leave out or add
        layers at the end of either network: the appearance's, which double, and the geometry's, two or more that
        multiply the size by 4 as long as that fits and by 2 after that (4, 4 at 64; 4, 2 at 32; 2, 2 at 16).
      channels: of a frame.
      appearance_latents, geometry_latents: lengths of Z^a_t and Z^g_t, and of the hidden states s_t.
      appearance_noise, geometry_noise: lengths of xi^a_t and xi^g_t; 0 for one of the two codes to stay the same over
        a clip, without a transition.
      transition_hidden: width of the two hidden layers of either transition.
      appearance_filters, geometry_filters: of the networks' 4 x 4 maps. The appearance's next layer has as many, every
        other one half as many as the one before, down to 8.
      weight_balance: beta, by which the geometric generator's weights are scaled at run time; None scales neither's.
      he_fan_in: what He's constant counts at that, see `UpsamplingNetwork`: "kernel" as the authors, "pixel" ours.
        At first, Table 5's flows then differ from code to code by 0.01 or 0.14 pixels (root mean square), around one
        shift of all codes of 2 pixels, from the authors' biases, or of 0.2 (three seeds, `tests/models/test_dynamic`).
      transition: "residual" is s' = tanh(MLP([s, xi]) + s), as in the public code that comes nearest to the paper's;
        "plain" is Table 5 as printed, s' = tanh(MLP([s, xi])).
      output: of the appearance generator: "tanh" for frames in [-1, 1], "sigmoid" for frames in [0, 1].
      displacement, geometry_gain, initial_flow, flow_scale, squarings: as of `GeneratorConfig`.
      frames_at_once: how many frames are made together; None for all. It bounds the memory of long clips: feature maps
        of so many frames are held at a time, and recomputed for gradients.
      compute: as of `GeneratorConfig`; transitions stay float32.

    Raises:
      InputError: for a size or a flow scale that is no power of two, fewer than 8 x 8 displacements, more than
        `MOST_SQUARINGS`, an unknown output, transition or type, no noise for either code, or no frames at once.

    Example:
      >>> config = DynamicConfig(size=32, appearance_noise=0)  # looks that do not change over a clip
      >>> config.appearance_latents, config.geometry_latents, config.geometry_noise
      (60, 30, 10)
    """

    size: int = 64
    channels: int = 3
    appearance_latents: int = 60
    geometry_latents: int = 30
    appearance_noise: int = 3
    geometry_noise: int = 10
    transition_hidden: int = 20
    appearance_filters: int = 512
    geometry_filters: int = 256
    weight_balance: float | None = 0.3
    he_fan_in: FanIn = "kernel"
    transition: Literal["residual", "plain"] = "residual"
    output: Literal["tanh", "sigmoid"] = "tanh"
    displacement: float = 20 / 64
    geometry_gain: float = 1.0
    initial_flow: float = 1.0
    flow_scale: int = 1
    squarings: int = 0
    frames_at_once: int | None = None
    compute: Compute = "float32"

    def __post_init__(self) -> None:
        check_power_of_two("model.size", self.size, least=16)
        check_power_of_two("model.flow_scale", self.flow_scale, most=self.size // 8)
        check_squarings(self.squarings)
        if self.output not in ("tanh", "sigmoid"):
            raise InputError("model.output", "tanh or sigmoid", repr(self.output))
        if self.transition not in ("residual", "plain"):
            raise InputError("model.transition", "residual or plain", repr(self.transition))
        if min(self.appearance_noise, self.geometry_noise) < 0 or not self.appearance_noise + self.geometry_noise:
            found = f"{self.appearance_noise} and {self.geometry_noise}"
            raise InputError("model.appearance_noise, model.geometry_noise", "0 or more, and one of them more", found)
        if self.frames_at_once is not None and self.frames_at_once < 1:
            raise InputError("model.frames_at_once", "at least 1, or None", str(self.frames_at_once))
        check_compute(self.compute)


class Trajectory(NamedTuple):
    """The latents of one code over a clip, a priori N(0, I): Z_0 and xi of Eq. 10 and 11 of the deformable generator.

    The hidden states depend on `noise` alone, so that another `first` with the same noise is another shape (or person)
    with the same motion.

    Attributes:
      first: [..., latents], Z_0.
      noise: [..., frames - 1, noise], xi_1 to xi_T; None for a code that does not change.

    Example:
      >>> import numpy as np
      >>> trajectory = Trajectory(first=np.zeros(30), noise=np.zeros([7, 10]))  # of a clip of eight frames
      >>> trajectory.first.shape, trajectory.noise.shape
      ((30,), (7, 10))
    """

    first: Any
    noise: Any


class DynamicLatents(NamedTuple):
    """The latents of a clip, or of a batch of them: a `Trajectory` for appearance and one for geometry.

    Those of Eq. 13 of the deformable generator.

    Example:
      >>> import numpy as np
      >>> clip = DynamicLatents(Trajectory(np.zeros(60), None), Trajectory(np.zeros(30), np.zeros([7, 10])))
      >>> other = clip.geometry._replace(first=np.ones(30))  # another shape with the same motion
      >>> DynamicLatents(clip.appearance, other).geometry.noise.shape
      (7, 10)
    """

    appearance: Trajectory
    geometry: Trajectory


class Transition(nn.Module):
    """f of Eq. 11 of the deformable generator, the next hidden state from the last one and noise.

    Attributes:
      hidden: width of the two hidden layers.
      latents: length of the state.
      residual: add the last state before the hyperbolic tangent.

    Example:
      >>> transition = Transition(hidden=20, latents=30, residual=True)
      >>> state, noise = jnp.zeros([2, 30]), jnp.zeros([2, 10])
      >>> jax.eval_shape(transition.init_with_output, jax.random.key(0), state, noise)[0].shape
      (2, 30)
    """

    hidden: int
    latents: int
    residual: bool

    @nn.compact
    def __call__(self, state: jax.Array, noise: jax.Array) -> jax.Array:
        """s_{t+1} [..., latents] from s_t [..., latents] and xi_{t+1} [..., noise]."""
        x = jnp.concatenate([state, noise], axis=-1)
        for _ in range(2):
            x = nn.relu(nn.Dense(self.hidden)(x))
        x = nn.Dense(self.latents)(x)
        return jnp.tanh(x + state if self.residual else x)


class DynamicGenerator(nn.Module):
    """F(Z^a, Z^g) of Eq. 13 of the deformable generator, from latents to clips; any number of batch axes in front.

    Example:
      >>> config = DynamicConfig(size=16, appearance_filters=8, geometry_filters=8)
      >>> model = DynamicGenerator(config)
      >>> def latents(frames):
      ...     appearance = Trajectory(jnp.ones(60), jnp.ones([frames - 1, 3]))
      ...     return DynamicLatents(appearance, Trajectory(jnp.ones(30), jnp.ones([frames - 1, 10])))
      >>> clip, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), latents(5))
      >>> clip.shape
      (5, 16, 16, 3)
    """

    config: DynamicConfig

    def setup(self) -> None:
        config = self.config
        beta, residual = config.weight_balance, config.transition == "residual"
        self.appearance_transition = Transition(config.transition_hidden, config.appearance_latents, residual)
        self.geometry_transition = Transition(config.transition_hidden, config.geometry_latents, residual)
        doublings = config.size.bit_length() - 3
        self.appearance_network = UpsamplingNetwork(
            first_filters=config.appearance_filters,
            filters=(*_halved(config.appearance_filters, doublings), config.channels),
            kernels=[3] * doublings + [5],
            strides=[2] * doublings + [1],
            weight_balance=None if beta is None else 1.0,
            he_fan_in=config.he_fan_in,
            compute=config.compute,
        )
        strides = flow_strides(config.size // config.flow_scale)
        self.geometry_network = UpsamplingNetwork(
            first_filters=config.geometry_filters,
            filters=(*_halved(config.geometry_filters // 2, len(strides)), 2),
            kernels=[4] * len(strides) + [5],
            strides=[*strides, 1],
            weight_balance=beta,
            he_fan_in=config.he_fan_in,
            initial_output=config.initial_flow,
            compute=config.compute,
        )

    def __call__(self, latents: DynamicLatents) -> jax.Array:
        """Clips [..., frames, size, size, channels]."""
        appearance = _codes(self.appearance_transition, latents.appearance)
        return self.frames(Latents(appearance, _codes(self.geometry_transition, latents.geometry)))

    def codes(self, latents: DynamicLatents) -> Latents:
        """Z_t of Eq. 10, [..., frames, latents] of either kind."""
        states = self.states(latents)
        return Latents(*(path.first[..., None, :] + s for path, s in zip(latents, states, strict=True)))

    def states(self, latents: DynamicLatents) -> Latents:
        """s_t of Eq. 11, [..., frames, latents] of either kind; zero in the first frame, and in all without noise."""
        paths = zip(latents, (self.appearance_transition, self.geometry_transition), strict=True)
        states = Latents(*(None if path.noise is None else _states(step, path.noise) for path, step in paths))
        frames = next(s.shape[-2] for s in states if s is not None)

        def unchanged(first: jax.Array) -> jax.Array:
            return jnp.zeros((*first.shape[:-1], frames, first.shape[-1]), first.dtype)

        pairs = zip(states, latents, strict=True)
        return Latents(*(unchanged(path.first) if s is None else s for s, path in pairs))

    def frames(self, codes: Latents) -> jax.Array:
        """Frames [..., frames, size, size, channels] from codes [..., frames, latents], Eq. 12.

        Codes of one kind may be those of a single frame, and are then the same in all.
        """
        return self._in_chunks(
            lambda self, codes: self.combine(self._canonical(codes.appearance), self._flow(codes.geometry)), codes
        )

    def canonical(self, appearance: jax.Array) -> jax.Array:
        """Canonical images [..., frames, size, size, channels] from codes [..., frames, latents]."""
        return self._in_chunks(DynamicGenerator._canonical, appearance)

    def flow(self, geometry: jax.Array) -> jax.Array:
        """Flows [..., frames, size, size, 2] as (dx, dy) in pixels, from codes [..., frames, latents]."""
        return self._in_chunks(DynamicGenerator._flow, geometry)

    def appearance_part(self, appearance: Trajectory) -> jax.Array:
        """Canonical images of a clip, of the appearance alone: of one frame where it does not change over the clip."""
        return self.canonical(_codes(self.appearance_transition, appearance))

    def geometry_part(self, geometry: Trajectory) -> jax.Array:
        """Flows of a clip, of the geometry alone: of one frame where it does not change over the clip."""
        return self.flow(_codes(self.geometry_transition, geometry))

    def combine(self, canonical: jax.Array, flow: jax.Array) -> jax.Array:
        """Clips, from what both parts make of their latents."""
        return _warp(narrowed(canonical, self.config.compute), flow).astype(canonical.dtype)

    def _canonical(self, appearance: jax.Array) -> jax.Array:
        return output_activation(self.config.output)(self.appearance_network(appearance))

    def _flow(self, geometry: jax.Array) -> jax.Array:
        return scaled_flow(self.config, self.geometry_network(self.config.geometry_gain * geometry))

    def _in_chunks(self, make: Callable[["DynamicGenerator", Any], jax.Array], codes: Any) -> jax.Array:
        """`make` of all codes, of as many frames at once as configured."""
        frames, chunk = max(x.shape[-2] for x in jax.tree.leaves(codes)), self.config.frames_at_once
        if chunk is None or frames <= chunk:
            return make(self, codes)

        def split(x: jax.Array) -> jax.Array:
            if x.shape[-2] == 1:
                return jnp.broadcast_to(x, (-(-frames // chunk), *x.shape))
            x = jnp.moveaxis(x, -2, 0)
            # The last chunk is padded, so that one program makes all chunks.
            x = jnp.pad(x, [(0, -frames % chunk)] + [(0, 0)] * (x.ndim - 1))
            return jnp.moveaxis(x.reshape(-1, chunk, *x.shape[1:]), 1, -2)

        def one(self: "DynamicGenerator", carry: tuple[()], codes: Any) -> tuple[tuple[()], jax.Array]:
            return carry, make(self, codes)

        scan = nn.scan(nn.remat(one, prevent_cse=False), variable_broadcast="params", split_rngs={"params": False})
        _, made = scan(self, (), jax.tree.map(split, codes))  # [chunks, ..., chunk, size, size, channels]
        made = jnp.moveaxis(made, -4, 1)
        return jnp.moveaxis(made.reshape(-1, *made.shape[2:])[:frames], 0, -4)


def flow_strides(size: int) -> list[int]:
    """Strides of the geometric generator's layers from maps of 4 x 4 to `size`, but for the last layer's 1.

    Example:
      >>> [flow_strides(size) for size in (8, 16, 32, 64, 128)]
      [[2, 1], [2, 2], [4, 2], [4, 4], [4, 4, 2]]
    """
    doublings = size.bit_length() - 3
    layers = max(2, -(-doublings // 2))
    return [2 ** (-(-(doublings - i) // layers)) for i in range(layers)]


def _halved(filters: int, layers: int) -> list[int]:
    return [max(FEWEST_FILTERS, filters >> i) for i in range(layers)]


def _codes(transition: Transition, path: Trajectory) -> jax.Array:
    """Z_t [..., frames, latents] of one kind, or Z_0 [..., 1, latents] where it does not change."""
    first = path.first[..., None, :]
    return first if path.noise is None else first + _states(transition, path.noise)


def _states(transition: Transition, noise: jax.Array) -> jax.Array:
    # The backward pass keeps some hundred numbers per frame, much fewer than its pixels: not worth recomputing.
    def step(transition: Transition, state: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = transition(state, noise)
        return state, state

    scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False}, in_axes=-2, out_axes=-2)
    first = jnp.zeros((*noise.shape[:-2], transition.latents), noise.dtype)
    _, later = scan(transition, first, noise)
    return jnp.concatenate([first[..., None, :], later], axis=-2)


_warp = jnp.vectorize(warp, signature="(h,w,c),(h,w,d)->(h,w,c)")
