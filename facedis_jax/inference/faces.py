"""A trained face model as functions on the host, to encode and decode faces."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from facedis_jax.errors import InputError
from facedis_jax.inference.chunks import in_chunks
from facedis_jax.learners import FaceConstants, IbVaeConfig, IbVaeState, face_functions
from facedis_jax.models.surfaces import Cloud

# Of a face that is seen as a surface; with fewer, most windows are empty.
_FEWEST_POINTS = 100
# Faces per call of the compiled functions.
_CHUNK = 32


@dataclass(frozen=True)
class FaceCodec:
    """Encode and decode faces in mm, in batches of any size.

    Labels are [faces, expressions] float32, one-hot times level, for the conditional model; None otherwise.

    Attributes:
      encode: (vertices [faces, vertices, 3] mm, labels) -> mean and logvar, [faces, latents], identity
        latents first.
      decode: (z_identity [faces, d_id], z_expression [faces, d_exp], labels) -> full and neutral faces,
        [faces, vertices, 3] mm each.
      identity_latents, expression_latents: lengths of the codes.
      label_names: expressions that labels stand for; empty for the unconditional model.
      encode_points: (clouds, each [points, 3] mm on the surface of a face that lies where the training faces do, of any
        number of points; labels) -> as `encode`. None for a model of vertices alone.
    """

    encode: Callable[[np.ndarray, np.ndarray | None], tuple[np.ndarray, np.ndarray]]
    decode: Callable[[np.ndarray, np.ndarray, np.ndarray | None], tuple[np.ndarray, np.ndarray]]
    identity_latents: int
    expression_latents: int
    label_names: Sequence[str] = ()
    encode_points: Callable[[Sequence[np.ndarray], np.ndarray | None], tuple[np.ndarray, np.ndarray]] | None = None

    def labels(self, expression: np.ndarray, level: np.ndarray) -> np.ndarray | None:
        """One-hot expressions [faces] times levels [faces]; None for the unconditional model."""
        if not self.label_names:
            return None
        one_hot = np.eye(len(self.label_names), dtype=np.float32)[expression]
        return one_hot * np.asarray(level, np.float32)[:, None]


def codec_of(config: IbVaeConfig, constants: FaceConstants, state: IbVaeState, expressions: Sequence[str]) -> FaceCodec:
    """The codec of a trained IB-VAE.

    Args:
      config: of its learner.
      constants: of its training set.
      state: the learner's last state.
      expressions: names of the training set's expressions.
    """
    return codecs_of(config, constants, [state], expressions)[0]


def codecs_of(
    config: IbVaeConfig, constants: FaceConstants, states: Sequence[IbVaeState], expressions: Sequence[str]
) -> list[FaceCodec]:
    """The codecs of several states of one learner, which share their compiled functions."""
    functions = face_functions(config, constants)

    @jax.jit
    def encode(state, vertices, labels):
        features = jax.vmap(functions.features)(vertices)
        return tuple(functions.encode(state, vertices, features, labels))

    @jax.jit
    def encode_cloud(state, cloud, labels):
        features = functions.features_of_cloud(cloud)
        points, one = jax.tree.map(lambda x: x[None], (cloud.points, features))
        posterior = functions.encode(state, points, one, labels)
        return tuple(part[0] for part in posterior)

    least = _FEWEST_POINTS if config.model.surface.anchors else config.model.encoder.features.centres[0]

    def encode_points(state, points, labels):
        few = min(map(len, points))
        if few < least:
            raise InputError("points", f"{least} or more of a face", str(few))
        made = _padded if config.model.surface.anchors else _whole
        clouds = [made(np.asarray(cloud, np.float32)) for cloud in points]
        each = [None if labels is None else labels[i : i + 1] for i in range(len(clouds))]
        codes = [jax.device_get(encode_cloud(state, *pair)) for pair in zip(clouds, each, strict=True)]
        mean, logvar = (np.stack(part) for part in zip(*codes, strict=True))
        return mean, logvar

    decode = jax.jit(functions.decode)
    return [
        FaceCodec(
            encode=lambda *arrays, state=state: in_chunks(partial(encode, state), _as_float32(arrays), _CHUNK),
            encode_points=partial(encode_points, state),
            decode=lambda *arrays, state=state: in_chunks(partial(decode, state), _as_float32(arrays), _CHUNK),
            identity_latents=config.model.identity_latents,
            expression_latents=config.model.expression_latents,
            label_names=tuple(expressions) if config.conditional else (),
        )
        for state in states
    ]


def _as_float32(arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    return jax.tree.map(lambda x: np.asarray(x, np.float32), arrays)


def _whole(points: np.ndarray) -> Cloud:
    return Cloud(points, np.ones(len(points), np.float32))


def _padded(points: np.ndarray) -> Cloud:
    """A cloud of the next power of two points, so that few sizes are compiled."""
    missing = (1 << max(len(points) - 1, 1).bit_length()) - len(points)
    weights = np.concatenate([np.ones(len(points)), np.zeros(missing)])
    return Cloud(np.concatenate([points, np.repeat(points[:1], missing, axis=0)]), weights.astype(np.float32))
