from functools import partial

import jax
import numpy as np
import pytest

from facedis_jax.errors import InputError
from facedis_jax.models import (
    ClipEncoder,
    MocoganConfig,
    MocoganGenerator,
    MocoganLatents,
    VideoCritic,
    mocogan_critics,
)

SMALL = MocoganConfig(size=8, content_latents=3, motion_latents=4, motion_noise=2, filters=8, critic_filters=4)


def latents(*leading, frames=5):
    rng = np.random.default_rng(0)
    shapes = (*leading, 3), (*leading, 4), (*leading, frames, 2)
    return MocoganLatents(*(rng.normal(size=shape).astype(np.float32) for shape in shapes))


@pytest.fixture(scope="module")
def variables(random_variables):
    return random_variables(MocoganGenerator(SMALL), latents(2))


@pytest.fixture(scope="module")
def generate():
    return jax.jit(MocoganGenerator(SMALL).apply)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_motion_codes_are_those_of_a_gated_recurrent_unit(variables):
    """Cho et al. 2014 in float64, from the state that is drawn."""
    z = latents(2)
    found = MocoganGenerator(SMALL).apply(variables, z, method="codes").motion
    cell = variables["params"]["recurrent_network"]["cell"]
    weights = {name: np.float64(layer["kernel"]) for name, layer in cell.items()}
    biases = {name: np.float64(layer.get("bias", 0)) for name, layer in cell.items()}
    for clip in range(2):
        state = np.float64(z.start[clip])
        for t, noise in enumerate(np.float64(z.noise[clip])):
            parts = {name: (noise if name[0] == "i" else state) @ weights[name] + biases[name] for name in weights}
            reset, update = sigmoid(parts["ir"] + parts["hr"]), sigmoid(parts["iz"] + parts["hz"])
            state = (1 - update) * np.tanh(parts["in"] + reset * parts["hn"]) + update * state
            np.testing.assert_allclose(found[clip, t], state, rtol=1e-4, atol=1e-5)


def test_frames_follow_from_content_and_what_has_happened_so_far(variables, generate):
    z = latents(2)
    clips = generate(variables, z)
    assert clips.shape == (2, 5, 8, 8, 3)
    assert np.abs(clips).max() <= 1
    later = z._replace(noise=z.noise.copy())
    later.noise[:, 3] += 1
    changed = np.abs(generate(variables, later) - clips).max(axis=(0, 2, 3, 4))
    assert (changed[:3] == 0).all()
    assert (changed[3:] > 1e-3).all()
    other = np.abs(generate(variables, z._replace(content=z.content + 1)) - clips).max(axis=(0, 2, 3, 4))
    assert (other > 1e-3).all()


def test_clips_may_have_any_length_and_batch_axes(variables, generate):
    z = latents(2)
    clips, short = generate(variables, z), generate(variables, z._replace(noise=z.noise[:, :2]))
    np.testing.assert_allclose(short, clips[:, :2], rtol=1e-4, atol=1e-5)
    one = generate(variables, MocoganLatents(*(part[1] for part in z)))
    np.testing.assert_allclose(one, clips[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 5, 16])
def test_the_critic_of_clips_takes_any_length(frames):
    critic, clips = VideoCritic((4, 8)), np.zeros((2, frames, 16, 16, 3), np.float32)
    logits, variables = jax.eval_shape(critic.init_with_output, jax.random.key(0), clips)
    assert logits.shape == (2,)
    assert variables["params"]["Dense_0"]["kernel"].shape == (4 * 4 * 8, 1)


@pytest.mark.parametrize("frames", [1, 2, 5, 8])
def test_the_critic_of_clips_convolves_over_time_and_space(frames, random_variables):
    """The same weights as kernels of 3 x 3 x 3, by JAX's convolution of three axes."""
    critic = VideoCritic((4, 5))
    clips = np.random.default_rng(frames).normal(size=(2, frames, 8, 8, 3)).astype(np.float32)
    variables = random_variables(critic, clips)
    layers = variables["params"]

    def plain(x):
        for name in ("Conv_0", "Conv_1"):
            height, width, channels, filters = layers[name]["kernel"].shape
            # Channels of a triple are those of its first frame, then of its second and third.
            kernel = layers[name]["kernel"].reshape(height, width, 3, channels // 3, filters).transpose(2, 0, 1, 3, 4)
            axes = ("NDHWC", "DHWIO", "NDHWC")
            # Over time, of as many frames as there are; where there are fewer than three, of zeros after them.
            padding = [(0, max(3 - x.shape[1], 0)), (0, 1), (0, 1)]
            x = jax.lax.conv_general_dilated(x, kernel, (1, 2, 2), padding, dimension_numbers=axes)
            x = jax.nn.leaky_relu(x + layers[name]["bias"], 0.2)
        x = x.mean(axis=1).reshape(len(x), -1)
        return (x @ layers["Dense_0"]["kernel"] + layers["Dense_0"]["bias"])[:, 0]

    def slopes(function):
        return jax.jit(jax.grad(lambda x: function(x).sum()))(clips)

    ours = partial(critic.apply, variables)
    np.testing.assert_allclose(jax.jit(ours)(clips), jax.jit(plain)(clips), rtol=1e-4, atol=1e-5)
    expected = slopes(plain)
    np.testing.assert_allclose(slopes(ours), expected, rtol=1e-4, atol=1e-5)
    assert np.abs(expected).max() > 1e-2


def test_the_critic_of_clips_judges_each_alone_and_sees_the_order_of_frames(random_variables):
    critic = mocogan_critics(SMALL)[1]
    clips = np.random.default_rng(1).normal(size=(3, 4, 8, 8, 3)).astype(np.float32)
    variables = random_variables(critic, clips)
    judge = jax.jit(critic.apply)
    logits = judge(variables, clips)
    np.testing.assert_allclose(judge(variables, clips[::-1])[::-1], logits, rtol=1e-4, atol=1e-5)
    assert np.abs(judge(variables, clips[:, ::-1]) - logits).min() > 1e-3


def test_the_encoder_reads_frames_beside_each_other(random_variables):
    encoder = ClipEncoder(SMALL)
    clips = np.random.default_rng(1).normal(size=(2, 5, 8, 8, 3)).astype(np.float32)
    variables = random_variables(encoder, clips)
    encode = jax.jit(encoder.apply)
    codes = encode(variables, clips)
    assert (codes.content.shape, codes.motion.shape) == ((2, 3), (2, 5, 4))
    # What is the same of all frames does not depend on their order, and each frame's motion goes with it.
    turned = encode(variables, clips[:, ::-1])
    np.testing.assert_allclose(turned.content, codes.content, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(turned.motion[:, ::-1], codes.motion, rtol=1e-4, atol=1e-5)
    assert np.abs(codes.motion[:, 0] - codes.motion[:, 1]).max() > 1e-3


def test_the_defaults_are_as_large_as_table_5s_appearance_generator():
    z = MocoganLatents(*(np.zeros(shape, np.float32) for shape in (50, 10, (2, 10))))
    _, variables = jax.eval_shape(MocoganGenerator(MocoganConfig()).init_with_output, jax.random.key(0), z)
    network = variables["params"]["frame_network"]
    kernels = [leaf.shape for name, leaf in network.items() if name.endswith("kernel")]
    assert kernels[0] == (60, 16 * 512)
    assert [shape[-1] for shape in kernels[1:]] == [512, 256, 128, 64, 3]
    image, video = mocogan_critics(MocoganConfig())
    assert list(image.filters) == list(video.filters) == [64, 128, 256, 512]


@pytest.mark.parametrize("changes", [{"size": 12}, {"size": 4}, {"output": "relu"}])
def test_bad_settings_are_refused(changes):
    with pytest.raises(InputError, match=r"power of two|tanh or sigmoid"):
        MocoganConfig(**changes)
