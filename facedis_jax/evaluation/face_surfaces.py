"""How well a model reads faces by other points and triangles of their surfaces than their own."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.geometry import sample_surface, spread_over_surface
from facedis_jax.inference.faces import FaceCodec

_POINTS = (1000, 2000, 5000, 10_000)
_NOISE_MM, _NOISY_POINTS = 0.3, 5000


def surface_errors(
    codec: FaceCodec, faces: np.ndarray, labels: np.ndarray | None, triangles: np.ndarray, *, seed: int = 0
) -> dict[str, float] | None:
    """Mean vertex distance of faces to their reconstructions in mm, by what of each face the encoder is given.

    Args:
      codec: the trained model.
      faces: [faces, vertices, 3] mm.
      labels: of the faces, for a model that takes them.
      triangles: [triangles, 3].
      seed: of the points and their noise.

    Returns:
      `mesh`, the registered mesh; `points_1000` and so on, random points of its surface; `noise_0.3_mm`, 5,000 of them
      moved by normal noise of 0.3 mm along each axis; `four_times_the_triangles`, 5,000 points of the same surface
      whose triangles were split. None for a model that reads no points.
    """
    encode = codec.encode_points
    if encode is None:
        return None

    def error(mean: np.ndarray) -> float:
        split = codec.identity_latents
        full, _ = codec.decode(mean[:, :split], mean[:, split:], labels)
        return float(np.linalg.norm(full - faces, axis=-1).mean(dtype=np.float64))

    errors = {"mesh": error(codec.encode(faces, labels)[0])}
    for name, clouds in _clouds(faces, triangles, seed):
        errors[name] = error(encode(clouds, labels)[0])
    return errors


def _clouds(faces: np.ndarray, triangles: np.ndarray, seed: int) -> Iterator[tuple[str, list[np.ndarray]]]:
    keys = jax.random.split(jax.random.key(seed), len(faces))

    def drawn(points: int) -> list[np.ndarray]:
        draw = jax.jit(jax.vmap(lambda key, face: sample_surface(key, face, jnp.asarray(triangles), points)))
        return [*np.asarray(draw(keys, faces))]

    for points in _POINTS:
        yield f"points_{points}", drawn(points)
    rng = np.random.default_rng(seed)
    noise = [_NOISE_MM * rng.standard_normal((_NOISY_POINTS, 3)) for _ in faces]
    yield f"noise_{_NOISE_MM}_mm", [points + moved for points, moved in zip(drawn(_NOISY_POINTS), noise, strict=True)]
    # Imported here, or every run would wait for it before its first step.
    import trimesh

    split = [trimesh.remesh.subdivide(face, triangles) for face in faces]
    yield "four_times_the_triangles", [np.asarray(_spread(*mesh)) for mesh in split]


def _spread(vertices: np.ndarray, triangles: np.ndarray) -> jax.Array:
    return spread_over_surface(jnp.asarray(vertices, jnp.float32), jnp.asarray(triangles), _NOISY_POINTS)
