import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.models import FaceVae, FaceVaeConfig, PctConfig, PointFeatureConfig, point_features

CONFIG = FaceVaeConfig(
    PctConfig(
        PointFeatureConfig(centres=(6, 4), neighbours=3),
        embedding=4,
        width=8,
        attention_layers=1,
        global_features=8,
        normalisation="layer",
    ),
    head=(8,),
    identity_latents=2,
    expression_latents=3,
    decoder_hidden=8,
    initial_logvar=-4.0,
)
POINTS = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 20, 3)).astype(np.float32)
FEATURES = jax.jit(jax.vmap(lambda points: point_features(points, CONFIG.encoder.features)))(POINTS)
NOISE = np.random.default_rng(1).normal(size=(2, 5)).astype(np.float32)
LABELS = np.float32([[0, 0.7, 0, 0], [0, 0, 0, 1.0]])


@pytest.fixture(scope="module")
def plain(random_variables):
    model = FaceVae(CONFIG, num_vertices=20)
    return model, random_variables(model, POINTS, FEATURES, NOISE)


@pytest.fixture(scope="module")
def conditional(random_variables):
    model = FaceVae(CONFIG, num_vertices=20, num_labels=4)
    return model, random_variables(model, POINTS, FEATURES, NOISE, LABELS)


def largest(tree):
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


def test_sample_is_mean_plus_deviation_times_noise(plain):
    model, variables = plain
    posterior, z, offsets = jax.jit(model.apply)(variables, POINTS, FEATURES, NOISE)

    assert posterior.mean.shape == posterior.logvar.shape == z.shape == (2, 5)
    assert offsets.full.shape == offsets.identity.shape == (2, 20, 3)
    expected = posterior.mean + np.exp(np.float64(posterior.logvar) / 2) * NOISE
    np.testing.assert_allclose(z, expected, rtol=1e-5, atol=1e-6)
    decoded = model.apply(variables, z[:, :2], z[:, 2:], method="decode")
    np.testing.assert_allclose(offsets.full, decoded.full, atol=1e-7)
    np.testing.assert_allclose(offsets.identity, decoded.identity, atol=1e-7)


def test_posterior_starts_as_narrow_as_asked():
    @jax.jit
    def bias(key):
        return FaceVae(CONFIG, num_vertices=20).init(key, POINTS, FEATURES, NOISE)["params"]["logvar"]["bias"]

    np.testing.assert_array_equal(bias(jax.random.key(0)), -4.0)


@pytest.mark.parametrize(("kind", "labels"), [("plain", None), ("conditional", LABELS)])
def test_error_of_the_full_face_does_not_reach_the_identity_code(request, kind, labels):
    model, variables = request.getfixturevalue(kind)

    def energy(z_identity, z_expression, part):
        decoded = model.apply(variables, z_identity, z_expression, labels, method="decode")
        return jnp.square(getattr(decoded, part)).sum()

    gradient = jax.grad(energy, argnums=(0, 1))
    to_identity, to_expression = gradient(NOISE[:, :2], NOISE[:, 2:], "full")
    assert largest(to_identity) == 0
    assert largest(to_expression) > 0
    to_identity, to_expression = gradient(NOISE[:, :2], NOISE[:, 2:], "identity")
    assert largest(to_identity) > 0
    assert largest(to_expression) == 0


def test_error_of_the_full_face_does_not_reach_the_identity_head(plain):
    model, variables = plain

    @jax.jit
    def gradients(params):
        def energy(params, part):
            offsets = model.apply({"params": params}, POINTS, FEATURES, NOISE)[2]
            return jnp.square(getattr(offsets, part)).sum()

        return [jax.grad(energy)(params, part) for part in ("full", "identity")]

    full, identity = gradients(variables["params"])
    for head in ("mean", "logvar"):
        assert largest(full[head]["kernel"][:, :2]) == 0
        assert largest(full[head]["kernel"][:, 2:]) > 0
        assert largest(identity[head]["kernel"][:, :2]) > 0
        assert largest(identity[head]["kernel"][:, 2:]) == 0
    assert largest(full["identity_decoder"]) == 0
    assert largest(identity["full_decoder"]) == 0
    assert largest(full["encoder"]) > 0


def test_full_face_depends_on_the_identity_code_all_the_same(plain):
    model, variables = plain
    one, other = (model.apply(variables, NOISE[:, :2] + shift, NOISE[:, 2:], method="decode").full for shift in (0, 1))
    assert largest(one - other) > 1e-4


def test_labels_enter_the_encoder_and_the_full_decoder_but_not_the_neutral_face(conditional):
    model, variables = conditional
    encode = jax.jit(lambda labels: model.apply(variables, POINTS, FEATURES, labels, method="encode"))
    one, other = encode(LABELS), encode(LABELS[::-1])
    assert largest(one.mean - other.mean) > 1e-3
    assert largest(one.logvar - other.logvar) > 1e-3

    codes = NOISE[:, :2], NOISE[:, 2:]
    one, other = (model.apply(variables, *codes, x, method="decode") for x in (LABELS, LABELS[::-1]))
    assert largest(one.full - other.full) > 1e-4
    assert largest(one.identity - other.identity) == 0


@pytest.mark.parametrize(("labels", "found"), [(None, "none"), (LABELS[:, :3], r"shape \(2, 3\)")])
def test_the_conditional_model_refuses_missing_and_misshapen_labels(conditional, labels, found):
    model, variables = conditional
    message = rf"takes labels \[batch, 4\], got {found}"
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: model.apply(variables, POINTS, FEATURES, labels, method="encode"))
    with pytest.raises(ValueError, match=message):
        model.apply(variables, NOISE[:, :2], NOISE[:, 2:], labels, method="decode")
