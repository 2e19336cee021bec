"""The PyTorch steps compute what ours do, given the same weights."""

import importlib.util
import sys
import time
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import peers
from benchmarks.measurement import run_benchmark
from benchmarks.models import TrainingStep, fake_face, fake_faces
from facedis_jax.errors import InputError
from facedis_jax.geometry import farthest_point_sample
from facedis_jax.learners import Learner
from facedis_jax.learners.rivals.faces import MeshAeConfig, SpiralNetConfig
from facedis_jax.losses import IbVaeCodes, IbVaeFaces, IbVaeLossOptions, IbVaeWeights, ib_vae_loss, log_joint
from facedis_jax.models import (
    DeformableGenerator,
    DynamicConfig,
    DynamicGenerator,
    DynamicLatents,
    FaceVae,
    FaceVaeConfig,
    GeneratorConfig,
    Latents,
    PctConfig,
    PointFeatureConfig,
    Trajectory,
    point_features,
)
from facedis_jax.models.rivals.faces.mesh_nets import MeshNetConfig, mesh_net
from tests.rival_meshes import random_surface

FACES = FaceVaeConfig(
    PctConfig(PointFeatureConfig(centres=(12, 8), neighbours=4), embedding=4, width=8, attention_layers=1),
    head=(8,),
    decoder_hidden=8,
)


@pytest.fixture(scope="module")
def torch():
    """PyTorch and the modules that need it."""
    torch = pytest.importorskip("torch")
    from benchmarks import torch_deformable, torch_dynamic, torch_ib_vae

    return SimpleNamespace(
        tensor=torch.as_tensor, lib=torch, deformable=torch_deformable, dynamic=torch_dynamic, ib_vae=torch_ib_vae
    )


def test_without_torch_there_is_one_line(monkeypatch, capsys):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find_spec(name, *rest)
    )
    monkeypatch.setattr(sys, "argv", ["peers.py"])
    with pytest.raises(SystemExit) as exit_info:
        run_benchmark("peers", "", peers.PeersConfig(), peers.main)
    assert exit_info.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert (
        output.err
        == "error: torch: expected PyTorch to compare with, as by `pip install torch`, found no such package\n"
    )


def test_no_examples_are_refused():
    with pytest.raises(InputError, match="--batch-size"):
        peers.PeersConfig(batch_size=0)


@pytest.mark.parametrize("form", ["eager", "tuned"])
def test_farthest_points_are_the_same(torch, form):
    clouds = fake_faces(fake_face(200), 3, seed=0)["vertices"]
    ours = jax.vmap(lambda cloud: farthest_point_sample(cloud, 50))(clouds)
    theirs = torch.ib_vae.sampler(form)(torch.tensor(clouds), 50)
    np.testing.assert_array_equal(theirs.numpy(), ours)


@pytest.mark.parametrize("convolutions", [False, True])
def test_faces_have_the_same_loss_and_gradient(torch, convolutions):
    mean_face, scale = fake_face(40), 260.0
    batch = fake_faces(mean_face, 3, seed=1)
    points, neutral, centre = batch["vertices"] / scale, batch["neutral"] / scale, mean_face / scale
    noise = np.random.default_rng(2).normal(size=(3, 8)).astype(np.float32)
    model = FaceVae(FACES, len(mean_face))
    features = jax.jit(jax.vmap(lambda cloud: point_features(cloud, FACES.encoder.features)))(points)
    variables = jax.jit(partial(model.init, train=True))(jax.random.key(0), points, features, noise)
    # All weights of one size, so that every part of the networks shows in the result.
    params = randomised(variables["params"], 3)

    def loss(params):
        made, _ = model.apply(
            {**variables, "params": params}, points, features, noise, train=True, mutable="batch_stats"
        )
        (mean, logvar), z, offsets = made
        total, parts = ib_vae_loss(
            IbVaeFaces(centre + offsets.full, points, centre + offsets.identity, neutral),
            IbVaeCodes(z[:, :4], mean[:, :4], logvar[:, :4], mean[:, 4:], logvar[:, 4:]),
            IbVaeWeights(),
            IbVaeLossOptions(dataset_size=100),
        )
        return total.mean(), parts

    (expected, expected_parts), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)

    peer = torch.ib_vae.FaceVae(FACES, len(mean_face), convolutions=convolutions)
    load_face_set(torch, peer, params)
    inputs = [torch.tensor(x) for x in (points, neutral, centre, noise)]
    groups = torch.ib_vae.group_points(inputs[0], FACES.encoder.features)
    for theirs, ours in zip(groups, features.grouping, strict=True):
        np.testing.assert_array_equal(theirs.numpy(), ours)
    mean, logvar, z, full, identity = peer(inputs[0], groups, inputs[3])
    parts = torch.ib_vae.loss_parts(
        inputs[2] + full, inputs[0], inputs[2] + identity, inputs[1], z[:, :4], mean, logvar, 100
    )
    assert parts.keys() == expected_parts.keys()
    for name, ours in expected_parts.items():
        np.testing.assert_allclose(parts[name].detach().numpy(), ours, rtol=1e-4, err_msg=name)
    total = torch.ib_vae.weighted(parts, IbVaeWeights()).mean()
    np.testing.assert_allclose(total.item(), expected, rtol=1e-5)
    total.backward()
    theirs = peer.encoder.embed[0].linear.weight.grad.T
    ours = gradient["encoder"]["LinearNormRelu_0"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-3, atol=1e-4 * np.abs(ours).max())


@pytest.mark.parametrize("form", ["eager", "tuned"])
def test_images_and_a_sweep_are_the_same(torch, monkeypatch, form):
    config = GeneratorConfig(size=32, filters=16, appearance_latents=5, geometry_latents=4)
    random = np.random.default_rng(0)
    appearance, geometry = (random.normal(size=(3, n)).astype(np.float32) for n in (5, 4))
    images = random.uniform(size=(3, 32, 32, 3)).astype(np.float32)
    model = DeformableGenerator(config)
    params = jax.jit(model.init)(jax.random.key(0), Latents(appearance, geometry))["params"]
    sigma, size = 1.5, 0.1

    @jax.jit
    def expected(appearance, geometry):
        def energy(appearance, geometry):
            latents = Latents(appearance, geometry)
            return -log_joint(images, model.apply({"params": params}, latents), latents, sigma=sigma)

        made = model.apply({"params": params}, Latents(appearance, geometry))
        appearance = appearance - size**2 / 2 * jax.grad(energy)(appearance, geometry)
        geometry = geometry - size**2 / 2 * jax.grad(energy, 1)(appearance, geometry)
        return made, appearance, geometry, energy(appearance, geometry)

    ours, *ours_moved, ours_energy = expected(appearance, geometry)

    peer = torch.deformable.DeformableGenerator(config)
    load_network(torch, peer.appearance_network, params["appearance_network"])
    load_network(torch, peer.geometry_network, params["geometry_network"], sign=-1)
    codes = [torch.tensor(x) for x in (appearance, geometry)]
    made = torch.deformable.warp(peer.canonical(codes[0]), peer.flow(codes[1]))
    np.testing.assert_allclose(upright(made), ours, atol=2e-5)

    monkeypatch.setattr(torch.lib, "randn_like", torch.lib.zeros_like)
    # Among more chains than examples, in another order.
    index = torch.tensor(np.array([4, 0, 2]))
    chains = [(torch.lib.zeros(5, x.shape[1]).index_copy(0, index, x),) for x in codes]
    step = torch.deformable.alternating_step(
        peer,
        mirrored(torch, images),
        index,
        chains,
        num_sweeps=1,
        step_sizes=[(size,), (size,)],
        sigma=sigma,
        optimiser=torch.lib.optim.Adam,
        form=form,
    )
    np.testing.assert_allclose(step().item(), ours_energy / 3, rtol=1e-4)
    for (chain,), moved in zip(chains, ours_moved, strict=True):
        np.testing.assert_allclose(chain[index].numpy(), moved, rtol=1e-3, atol=1e-3)
        assert not chain[[1, 3]].any()


def test_clips_are_the_same(torch):
    # At 32 x 32 the flow's layers multiply the size by 4 and by 2.
    config = DynamicConfig(size=32, appearance_filters=16, geometry_filters=16)
    random = np.random.default_rng(0)

    def trajectory(latents, noise):
        return Trajectory(*(random.normal(size=s).astype(np.float32) for s in ((2, latents), (2, 3, noise))))

    latents = DynamicLatents(trajectory(60, 3), trajectory(30, 10))
    model = DynamicGenerator(config)
    clips, variables = jax.jit(model.init_with_output)(jax.random.key(0), latents)
    params = variables["params"]

    peer = torch.dynamic.DynamicGenerator(config)
    load_network(torch, peer.appearance_network, params["appearance_network"])
    load_network(torch, peer.geometry_network, params["geometry_network"], sign=-1)
    for name in ("appearance_transition", "geometry_transition"):
        layers = getattr(peer, name).layers
        for i, layer in enumerate((layers[0], layers[2], layers[4])):
            load_linear(torch, layer, params[name][f"Dense_{i}"])
    appearance, geometry = ([torch.tensor(x) for x in path] for path in latents)
    made = torch.deformable.warp(peer.canonical(*appearance), peer.flow(*geometry))
    np.testing.assert_allclose(upright(made).reshape(clips.shape), clips, atol=1e-4)


@pytest.mark.parametrize("what", ["ib_vae", "deformable", "dynamic", "farthest_points"])
def test_every_comparison_is_measured(torch, small_steps, monkeypatch, capsys, what):
    monkeypatch.setattr(peers, "NUM_POINTS", 20)
    monkeypatch.setattr(peers, "NUM_CENTRES", 5)
    # Our steps, which would compile for seconds, are in the other benchmarks' tests.
    monkeypatch.setattr(peers, "_on_one_device", lambda step: lambda: None)
    monkeypatch.setattr(peers, "RunningStep", lambda step, count: lambda: None)
    (row,) = peers.main(peers.PeersConfig(what=(what,), batch_size=4, compile=False, repeats=2))
    ours = ["jax"] if what == "farthest_points" else ["jax", "jax_per_core"]
    forms = ["eager", "tuned"]
    ratios = [f"{form} / {our}" for our in ours for form in forms]
    assert row.keys() == {"what", "batch", "torch", *ours, *forms, *ratios}
    assert (row["what"], row["batch"]) == (what, 4)
    assert all(row[name].repeats == 2 and row[name].median_s > 0 for name in forms)
    assert "eager / jax" in capsys.readouterr().out


def test_ratios_are_pytorchs_time_over_ours(monkeypatch):
    """Of calls that take a known time; PyTorch itself is not needed."""
    seconds = {"jax": 0.03, "eager": 0.12, "tuned": 0.06}
    stub = SimpleNamespace(
        set_num_threads=lambda number: None, manual_seed=lambda seed: None, __version__="0", __spec__=object()
    )
    monkeypatch.setitem(sys.modules, "torch", stub)
    calls = {name: partial(time.sleep, duration) for name, duration in seconds.items()}
    monkeypatch.setattr(peers, "steps", lambda what, batch_size: ({"jax": calls["jax"]}, calls.get))
    (row,) = peers.main(peers.PeersConfig(what=("farthest_points",), compile=False, repeats=3))
    assert row["eager / jax"] == pytest.approx(4, rel=0.3)
    assert row["tuned / jax"] == pytest.approx(2, rel=0.3)


def test_each_call_of_ours_takes_a_step():
    learner = Learner(
        init=lambda key, batch: batch["count"][0],
        step=lambda state, batch: (state + 1, {}),
        evaluate=lambda state, batch: {},
    )
    call = peers._on_one_device(TrainingStep(learner, None, lambda seed: {"count": np.array([seed])}, None))
    assert [int(call()[0]) for _ in range(3)] == [1, 2, 3]


def randomised(params, seed):
    """As many weights, all from N(0, 0.3)."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(random.normal(0, 0.3, x.shape), x.dtype), params)


def load_linear(torch, layer, params):
    with torch.lib.no_grad():
        layer.weight.copy_(torch.tensor(np.array(params["kernel"]).T))
        if "bias" in params:
            layer.bias.copy_(torch.tensor(np.array(params["bias"])))


def load_norm_relu(torch, layer, params):
    load_linear(torch, layer.linear, params["Dense_0"])
    load_batch_norm(torch, layer.norm, params["Normalise_0"]["BatchNorm_0"])


def load_batch_norm(torch, norm, params):
    with torch.lib.no_grad():
        norm.weight.copy_(torch.tensor(np.array(params["scale"])))
        norm.bias.copy_(torch.tensor(np.array(params["bias"])))


def load_face_set(torch, peer, params):
    encoder = params["encoder"]
    for layer, name in zip([*peer.encoder.embed, peer.encoder.fuse], ("0", "1", "2"), strict=True):
        load_norm_relu(torch, layer, encoder[f"LinearNormRelu_{name}"])
    for i, group in enumerate((peer.encoder.fine, peer.encoder.coarse)):
        values = encoder[f"GroupedFeatures_{i}"]
        rest = values["NormalisedMaximum_0"]
        for j, kernel in enumerate((values["kernel"], rest["kernel"])):
            load_linear(torch, group.layers[j].linear, {"kernel": kernel})
            load_batch_norm(torch, group.layers[j].norm, rest[f"BatchAffine_{j}"])
    for i, layer in enumerate(peer.encoder.attention):
        values = encoder[f"OffsetAttention_{i}"]
        load_linear(torch, layer.query_key, values["query_key"])
        load_linear(torch, layer.value, values["value"])
        load_norm_relu(torch, layer.update, values["LinearNormRelu_0"])
    load_linear(torch, peer.head[0], params["head_0"])
    for name in ("mean", "logvar"):
        load_linear(torch, getattr(peer, name), params[name])
    for name in ("identity_decoder", "full_decoder"):
        load_linear(torch, getattr(peer, name)[0], params[name]["Dense_0"])
        load_linear(torch, getattr(peer, name)[2], params[name]["Dense_1"])


def load_network(torch, peer, params, sign=1):
    """Weights of an `UpsamplingNetwork`.

    JAX pads "SAME" so that PyTorch's layers, with the padding that their users give them, make the mirror image of
    ours: all maps are turned by 180 degrees, and displacements, by `sign`, point the other way.
    """
    with torch.lib.no_grad():
        first = np.array(params["dense_kernel"]).reshape(-1, 4, 4, peer.first_filters)[:, ::-1, ::-1]
        first = first.transpose(3, 1, 2, 0).reshape(-1, len(first))
        peer.dense.layer.weight.copy_(torch.tensor(first))
        bias = np.array(params["dense_bias"]).reshape(4, 4, -1)[::-1, ::-1].transpose(2, 0, 1).reshape(-1)
        peer.dense.layer.bias.copy_(torch.tensor(bias))
        last = len(peer.upsample) - 1
        for i, layer in enumerate(peer.upsample):
            factor = sign if i == last else 1
            kernel = np.array(params[f"upsample_{i}_kernel"]).transpose(2, 3, 0, 1)
            layer.layer.weight.copy_(torch.tensor(factor * kernel))
            layer.layer.bias.copy_(torch.tensor(factor * np.array(params[f"upsample_{i}_bias"])))


def mirrored(torch, images):
    """Images [..., height, width, channels] as PyTorch's, turned by 180 degrees."""
    return torch.tensor(np.ascontiguousarray(np.moveaxis(images[..., ::-1, ::-1, :], -1, -3)))


def upright(images):
    """PyTorch's images as ours."""
    return np.moveaxis(images.detach().numpy(), -3, -1)[..., ::-1, ::-1, :]


@pytest.mark.parametrize("form", ["eager", "tuned"])
@pytest.mark.parametrize("kind", ["chebyshev", "spiral"])
def test_mesh_autoencoders_agree(torch, kind, form):
    from benchmarks import torch_meshes

    template, triangles = random_surface(0, 80)
    sizes = MeshNetConfig((4, 6), 4)
    config = MeshAeConfig(sizes) if kind == "chebyshev" else SpiralNetConfig(sizes)
    net = mesh_net(kind, sizes, template, triangles, "mesh")
    faces = np.random.default_rng(0).standard_normal((2, *template.shape)).astype(np.float32)
    encoder, decoder = net.encoder(3), net.decoder()
    ours = [
        encoder.init(jax.random.key(0), faces)["params"],
        decoder.init(jax.random.key(1), np.zeros((1, 3)))["params"],
    ]
    codes = encoder.apply({"params": ours[0]}, faces)
    expected = decoder.apply({"params": ours[1]}, codes)

    def array(values):
        return torch.tensor(np.array(values))

    theirs = torch_meshes.MeshAutoencoder(config, net.hierarchy, 3, messages=form == "eager")
    name = "ChebyshevConvolution" if kind == "chebyshev" else "SpiralConvolution"
    layers = [(ours[0][f"{name}_{i}"], theirs.encoder[i]) for i in range(2)]
    layers += [(ours[1][f"{name}_{i}"], each) for i, each in enumerate([*theirs.decoder, theirs.last])]
    with torch.lib.no_grad():
        for weights, layer in layers:
            if kind == "chebyshev":
                layer.weight.copy_(array(weights["kernel"]))
                if layer.bias is not None:
                    layer.bias.copy_(array(weights["bias"]))
            else:
                layer.layer.weight.copy_(array(weights["kernel"]).T)
                layer.layer.bias.copy_(array(weights["bias"]))
        for weights, layer in ((ours[0]["Dense_0"], theirs.code), (ours[1]["Dense_0"], theirs.spread)):
            layer.weight.copy_(array(weights["kernel"]).T)
            layer.bias.copy_(array(weights["bias"]))
        np.testing.assert_allclose(theirs(array(faces)).numpy(), expected, atol=1e-4)
