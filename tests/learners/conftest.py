"""Learners small enough to compile in seconds, and made-up faces and images for them."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.learners import (
    AbpConfig,
    FaceConstants,
    IbVaeConfig,
    LangevinConfig,
    OptimiserConfig,
    abp_learner,
    ib_vae_learner,
)
from facedis_jax.models import (
    DeformableGenerator,
    FaceVaeConfig,
    GeneratorConfig,
    Latents,
    PctConfig,
    PointFeatureConfig,
)

VERTICES = 30
SCALE = 100.0

PAPER_LIKE = PctConfig(
    PointFeatureConfig(centres=(6, 4), neighbours=3),
    embedding=4,
    width=8,
    attention_layers=1,
    global_features=8,
)
DEMO_LIKE = replace(
    PAPER_LIKE,
    features=PointFeatureConfig(centres=(6, 4), neighbours=3, start="foremost", harmonics=1),
    frequencies=2,
    pooling="max_mean",
    moment_features=4,
)


def make_config(encoder=DEMO_LIKE, normalisation="layer", **changes):
    model = FaceVaeConfig(
        replace(encoder, normalisation=normalisation),
        head=(8,),
        identity_latents=2,
        expression_latents=2,
        decoder_hidden=8,
    )
    optimiser = OptimiserConfig(learning_rate=1e-3, weight_decay=0.0)
    return replace(IbVaeConfig(model=model, optimiser=optimiser), **changes)


def make_constants(config):
    moments = (2 * config.model.encoder.features.harmonics + 1) ** 3 - 1
    rng = np.random.default_rng(3)
    return FaceConstants(
        mean_face=make_batch(64)["neutral"].mean(0),
        scale=SCALE,
        num_faces=100,
        num_expressions=3,
        moment_mean=rng.normal(size=moments).astype(np.float32),
        moment_deviation=0.7,
    )


def make_learner(config, **settings):
    settings = {"steps_per_epoch": 10, "num_steps": 100, **settings}
    return ib_vae_learner(config, make_constants(config), **settings)


def make_batch(size, seed=0):
    """Faces in mm: 4 people, 3 expressions, any level."""
    basis = np.random.default_rng(100)
    sheet = basis.uniform(-80, 80, (VERTICES, 3))
    people, motions = (
        basis.normal(scale=5, size=(4, VERTICES, 3)),
        basis.normal(scale=5, size=(3, VERTICES, 3)),
    )
    rng = np.random.default_rng(seed)
    subject, expression, level = (
        rng.integers(4, size=size),
        rng.integers(3, size=size),
        rng.uniform(size=size),
    )
    level[::4] = 0
    neutral = sheet + people[subject]
    return {
        "vertices": (neutral + level[:, None, None] * motions[expression]).astype(np.float32),
        "neutral": neutral.astype(np.float32),
        "expression": expression.astype(np.int32),
        "level": level.astype(np.float32),
        "mask": np.ones(size, np.float32),
    }


@pytest.fixture(scope="session")
def tiny():
    return SimpleNamespace(
        paper=PAPER_LIKE,
        demo=DEMO_LIKE,
        config=make_config,
        constants=make_constants,
        learner=make_learner,
        batch=make_batch,
    )


NUM_IMAGES = 20
# Two steps are an epoch, the one whose images are taken to be noisier.
ABP = AbpConfig(
    model=GeneratorConfig(size=8, filters=16, appearance_latents=3, geometry_latents=4),
    langevin=LangevinConfig(num_steps=2, inference_steps=3),
    sigma=0.3,
    early_sigma=0.6,
    early_epochs=1,
    optimiser=OptimiserConfig(learning_rate=3e-3, weight_decay=0.0),
)


def make_abp(config=ABP, **settings):
    return abp_learner(config, **{"num_images": NUM_IMAGES, "steps_per_epoch": 2, "num_steps": 100, **settings})


def make_images(index):
    """Images [images, 8, 8, 3] uint8 of coloured discs, each at its own place."""
    y, x = np.mgrid[:8, :8]
    images = []
    for i in index:
        rng = np.random.default_rng(i)
        row, column = rng.uniform(2, 5, 2)
        disc = np.exp(-((x - column) ** 2 + (y - row) ** 2) / 4)
        images.append(disc[..., None] * rng.uniform(0.2, 1, 3))
    return np.round(255 * np.stack(images)).astype(np.uint8)


def make_image_batch(index):
    index = np.asarray(index, np.int32)
    return {"image": make_images(index), "index": index, "mask": np.ones(len(index), np.float32)}


def make_state(learner):
    """A first state without the initialisers, whose compilation takes seconds: normal weights and chains."""
    shapes = jax.eval_shape(learner.init, jax.random.key(0), make_image_batch([0]))
    rng = np.random.default_rng(2)

    def draw(leaf):
        fan_in = np.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 10
        return rng.normal(scale=fan_in**-0.5, size=leaf.shape).astype(np.float32)

    fields = {"key": jax.random.key(1), "step": jnp.int32(0)}
    for name in ("params", "critic"):
        fields[name] = jax.tree.map(draw, getattr(shapes, name, None))
    for name in ("opt_state", "critic_opt_state"):
        fields[name] = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), getattr(shapes, name, None))
    if hasattr(shapes, "chains"):
        fields["chains"] = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes.chains)
    return shapes.replace(**{name: value for name, value in fields.items() if hasattr(shapes, name)})


@partial(jax.jit, static_argnums=0)
def _decode(config, params, latents):
    return DeformableGenerator(config).apply({"params": params}, latents)


def decode_in_float64(config, params, latents):
    """Predictions of a generator, computed and returned in float64."""
    with jax.enable_x64(True):
        params, latents = jax.tree.map(np.float64, (jax.device_get(params), Latents(*latents)))
        predictions = _decode(config, params, latents)
        assert predictions.dtype == np.float64
        return np.asarray(predictions)


def directional_derivatives(function, params, directions, step=1e-6):
    """Central differences of a function of float64 parameters along each direction."""

    def moved(direction, amount):
        return jax.tree.map(lambda x, d: x + amount * d, params, direction)

    return [(function(moved(d, step)) - function(moved(d, -step))) / (2 * step) for d in directions]


def random_directions(params, seed=0):
    """One random direction for each network of the parameters, the others at rest; float64."""
    rng = np.random.default_rng(seed)
    draw = {name: jax.tree.map(lambda x: rng.normal(size=x.shape), tree) for name, tree in params.items()}
    rest = jax.tree.map(np.zeros_like, draw)
    return [{**rest, name: draw[name]} for name in params]


@pytest.fixture(scope="session")
def small():
    """Learners of 8 x 8 images, a first state of 20 of them, and the compiled step, for batches of 12."""
    state = jax.jit(make_abp().init)(jax.random.key(0), make_image_batch([0]))
    return SimpleNamespace(
        config=ABP,
        learner=make_abp,
        images=make_images,
        batch=make_image_batch,
        make_state=make_state,
        state=state,
        step=jax.jit(make_abp().step),
        decode=decode_in_float64,
        derivatives=directional_derivatives,
        directions=random_directions,
    )
