"""Rivals as learners: each learns, repeats itself, and does what its paper says."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from facedis_jax.errors import InputError
from facedis_jax.learners.optimiser import OptimiserConfig
from facedis_jax.learners.rivals.faces import RIVALS, Latents, RivalConstants, RivalTraining, rival_learner
from facedis_jax.learners.rivals.faces.wsdf import log_density_in_batch, outside
from facedis_jax.models import Posterior
from facedis_jax.models.rivals.faces.mesh_nets import MeshNetConfig, mesh_net
from tests.rival_meshes import random_surface

LATENTS = Latents(2, 3)
TRAINING = RivalTraining(2, 8, OptimiserConfig(learning_rate=1e-2, weight_decay=0.0, schedule="cosine"))
NETS = MeshNetConfig((4, 6), 4)
SMALL = {
    "mesh_ae": {"model": NETS},
    "spiral_net": {"model": NETS},
    "jiang": {"filters": (8,), "hidden": 16, "fusion": (8, 8, 4), "residual_layers": 1, "orders": 2},
    "zhang": {"model": NETS, "critic_hidden": (16,)},
    "gu": {"widths": (8, 16), "hidden": 32},
    "wsdf": {"model": NETS, "width": 6, "residual_layers": 1, "hidden": 16, "mixed": 4, "decoder_hidden": (16,)},
}


@pytest.fixture(scope="module")
def faces():
    """Four people with six expressions each, of 60 vertices, and the constants of this set."""
    template, triangles = random_surface(0, 60)
    rng = np.random.default_rng(1)

    def waves(count, size):
        return size * np.sin(template @ rng.normal(scale=0.03, size=(count, 3, 3)) + rng.uniform(0, 6, (count, 1, 3)))

    neutral, offset = template + waves(4, 4.0), waves(6, 3.0)
    neutral, offset = np.repeat(neutral, 6, 0).astype(np.float32), np.tile(offset, (4, 1, 1)).astype(np.float32)
    vertices = neutral + offset
    deviation = np.maximum(vertices.std(0), 0.1)
    constants = RivalConstants(vertices.mean(0), deviation, template.astype(np.float32), triangles, 150.0)
    return {"vertices": vertices, "neutral": neutral, "mask": np.ones(24, np.float32)}, constants


def rival_of(name, constants, **changes):
    kind = RIVALS[name]
    rate = 3e-3 if name == "gu" else TRAINING.optimiser.learning_rate
    training = replace(TRAINING, optimiser=replace(TRAINING.optimiser, learning_rate=rate))
    return kind.make(kind.config(**SMALL[name], training=training, **changes), constants, LATENTS)


@pytest.mark.parametrize("name", RIVALS)
def test_a_rival_learns_and_repeats_itself(name, faces):
    batch, constants = faces
    rival = rival_of(name, constants)
    learner = rival_learner(rival, steps_per_epoch=1.0, num_steps=25)
    step = jax.jit(learner.step)
    begun = jax.jit(learner.init)(jax.random.key(0), batch)
    state, losses = begun, []
    for _ in range(25):
        state, metrics = step(state, batch)
        losses.append(metrics["loss"].compute())
    assert np.mean(losses[-3:]) < 0.9 * losses[0]
    again = step(begun, batch)[1]["loss"].compute()
    assert again == losses[0]
    assert int(state.step) == 25
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
    evaluation = {key: value.compute() for key, value in jax.jit(learner.evaluate)(state, batch).items()}
    assert set(evaluation) == {"reconstruction_mm", *(["neutral_mm"] if rival.separates else [])}
    # A neutral is of the identity's code alone, and a face of both.
    if rival.separates:
        full, neutral = jax.jit(rival.decode)(state.params, jnp.ones((2, 2)), jnp.array([[0.0, 1, 2], [1, -1, 0]]))
        np.testing.assert_array_equal(neutral[0], neutral[1])
        assert np.abs(full[0] - full[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("kind", "filters", "size"), [("chebyshev", (16, 16, 16, 32), 6), ("spiral", (32, 32, 32, 64), 9)]
)
def test_as_many_parameters_as_in_public_code(kind, filters, size):
    template, triangles = random_surface(1, 700)
    net = mesh_net(kind, MeshNetConfig(filters, size), template, triangles, "mesh")
    latents, coarsest = {"chebyshev": 8, "spiral": 16}[kind], len(net.hierarchy.levels[-1])
    shapes = [
        jax.eval_shape(net.encoder(latents).init, jax.random.key(0), jnp.zeros((1, *template.shape))),
        jax.eval_shape(net.decoder().init, jax.random.key(0), jnp.zeros((1, latents))),
    ]
    found = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    # Of theirs, the coarsest of five meshes of FLAME's 5,023 vertices has 20.
    theirs = {"chebyshev": 30_056, "spiral": 154_899}[kind]
    assert found == theirs + (coarsest - 20) * filters[-1] * (2 * latents + 1)


def test_the_discriminator_learns_that_codes_belong_together(faces):
    _, constants = faces
    rival = rival_of("zhang", constants)
    params = jax.jit(rival.init)(jax.random.key(0))["critic"]
    identity = jax.random.normal(jax.random.key(1), (64, 2))
    together = jnp.concatenate([identity, identity[:, :1] * jnp.ones(3)], -1)

    @jax.jit
    def descend(params):
        loss, gradient = jax.value_and_grad(rival.critic_loss)(params, together)
        return jax.tree.map(lambda x, g: x - 0.1 * g, params, gradient), loss

    losses = []
    for _ in range(100):
        params, loss = descend(params)
        losses.append(float(loss))
    assert losses[-1] < 0.7 * losses[0]


def test_wsdf_prices_information_and_bounds_how_a_face_follows_its_expression(faces):
    batch, constants = faces
    rng = np.random.default_rng(0)
    z, mean, logvar = rng.normal(size=(3, 6, 4))
    of_each = stats.norm.logpdf(z[:, None], mean, np.exp(0.5 * logvar)).sum(-1)
    found = log_density_in_batch(jnp.asarray(z), Posterior(jnp.asarray(mean), jnp.asarray(logvar)))
    np.testing.assert_allclose(found, logsumexp(of_each, axis=1), rtol=1e-5)
    np.testing.assert_array_equal(outside(jnp.array([-2.0, 1, 5]), jnp.array([3.0, 3, 3])), [2, 0, 2])
    # With a bound that nothing reaches the term is what lies below zero alone; with none, also the rest.
    keys = jax.random.split(jax.random.key(1), 24)
    totals = []
    for steepest in (0.0, 1e9):
        rival = rival_of("wsdf", constants, steepest=steepest, jacobian_weight=1.0)
        params = jax.jit(rival.init)(jax.random.key(0))
        totals.append(jax.jit(rival.loss)(params, batch, keys)[0])
    assert (totals[0] >= totals[1]).all()
    assert (totals[0] > totals[1] + 1e-3).any()


@pytest.mark.parametrize("name", ["mesh_ae", "spiral_net", "jiang", "zhang", "wsdf"])
def test_topologies_that_a_rival_cannot_take(name, faces):
    _, constants = faces
    torn = replace(constants, triangles=np.concatenate([constants.triangles, constants.triangles[:1, ::-1]]))
    with pytest.raises(InputError, match=f"^{name}: ") as refused:
        rival_of(name, torn)
    assert "\n" not in str(refused.value)


def test_only_one_rival_needs_a_mesh_in_one_piece(faces):
    _, constants = faces
    far = constants.template + np.float32([0, 0, 50])
    template, count = np.concatenate([constants.template, far]), len(constants.template)
    two = np.concatenate([constants.triangles, constants.triangles + count])
    parts = {"template": template, "triangles": two, "mean_face": template, "deviation": np.ones_like(template)}
    pieces = replace(constants, **parts)
    with pytest.raises(InputError, match=r"^jiang: expected a mesh in one piece, found 2 pieces"):
        rival_of("jiang", pieces)
    rival_of("jiang", pieces, join_pieces=True)
    for name in ("mesh_ae", "spiral_net", "zhang", "gu", "wsdf"):
        rival_of(name, pieces)
