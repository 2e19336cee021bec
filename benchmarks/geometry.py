"""Speed of point sampling, neighbours, grouping and the warp, at the sizes of the papers' experiments.

    python -m benchmarks.geometry
    python -m benchmarks.geometry --batch 32 --images 128

Points are those of fake faces of 5,023 vertices. Each call is one jitted program over the whole batch; the last column
is its inputs (faces or images) per second.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.measurement import BenchmarkOptions, print_table, run_benchmark, time_in_turn
from benchmarks.models import COMA_SCALE, fake_face, fake_faces
from facedis_jax.errors import InputError
from facedis_jax.geometry import farthest_point_sample, k_nearest, warp
from facedis_jax.models import GeneratorConfig, PctConfig
from facedis_jax.models.point_features import group_points, grouped_linear, grouped_linear_plain


@dataclass(frozen=True)
class GeometryConfig(BenchmarkOptions):
    """What is measured.

    Attributes:
      batch: faces of a call.
      vertices: of a face.
      images: of a call.
      size: their height and width.
    """

    batch: int = 16
    vertices: int = 5023
    images: int = 64
    size: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("batch", "images", "size"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name}", "1 or more", str(getattr(self, name)))
        fewest = PctConfig().features.centres[0]
        if self.vertices < fewest:
            raise InputError("--vertices", f"{fewest} or more, as many as are sampled", str(self.vertices))


def point_calls(batch: int, vertices: int) -> dict[str, Callable[[], Any]]:
    """What the paper's encoder does with the points of a batch, by name."""
    encoder = PctConfig()
    features = encoder.features
    centres, neighbours = features.centres[0], features.neighbours
    points = jnp.asarray(fake_faces(fake_face(vertices), batch, seed=0)["vertices"] / COMA_SCALE)

    sample = jax.jit(jax.vmap(lambda cloud: farthest_point_sample(cloud, centres)))
    nearest = jax.jit(jax.vmap(lambda chosen, cloud: k_nearest(cloud[chosen], cloud, neighbours)))
    group = jax.jit(jax.vmap(lambda cloud: group_points(cloud, features)))
    chosen = sample(points)
    groups = nearest(chosen, points)

    keys = jax.random.split(jax.random.key(0))
    hidden = jax.random.normal(keys[0], (batch, vertices, encoder.embedding))
    kernel = jax.random.normal(keys[1], (2 * encoder.embedding, encoder.width // 2))

    def gradients(layer: Callable[..., jax.Array]) -> Callable[[], Any]:
        def loss(hidden: jax.Array, kernel: jax.Array) -> jax.Array:
            return jnp.sum(jnp.square(jax.vmap(layer, in_axes=(0, 0, 0, None))(hidden, chosen, groups, kernel)))

        gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
        return lambda: gradient(hidden, kernel)

    return {
        f"farthest points, {vertices} -> {centres}": lambda: sample(points),
        f"{neighbours} neighbours of {centres}": lambda: nearest(chosen, points),
        "both rounds of grouping": lambda: group(points),
        "first layer over neighbours, gradients": gradients(grouped_linear),
        "the same as PCT writes it": gradients(grouped_linear_plain),
    }


def warp_calls(images: int, size: int) -> dict[str, Callable[[], Any]]:
    """The warp of a batch of images of 3 channels, and its gradients, by name."""
    image_key, flow_key = jax.random.split(jax.random.key(1))
    image = jax.random.uniform(image_key, (images, size, size, 3))
    largest = GeneratorConfig().displacement * size
    flow = jax.random.uniform(flow_key, (images, size, size, 2), minval=-largest, maxval=largest)

    def loss(image: jax.Array, flow: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(jax.vmap(warp)(image, flow)))

    forward = jax.jit(jax.vmap(warp))
    calls: dict[str, Callable[[], Any]] = {"warp": lambda: forward(image, flow)}
    for name, arguments in (("image", 0), ("flow", 1), ("both", (0, 1))):
        calls[f"warp, gradient of {name}"] = partial(jax.jit(jax.grad(loss, argnums=arguments)), image, flow)
    return calls


def main(config: GeometryConfig) -> list[dict[str, Any]]:
    parts = (
        (config.batch, point_calls(config.batch, config.vertices)),
        (config.images, warp_calls(config.images, config.size)),
    )
    rows = []
    for count, calls in parts:
        for name, timing in time_in_turn(calls, repeats=config.repeats).items():
            rows.append({"what": name, "batch": count, "call": timing, "per_s": count / timing.median_s})
    print_table("Geometry", rows)
    return rows


if __name__ == "__main__":
    run_benchmark("geometry", __doc__ or "", GeometryConfig(), main)
