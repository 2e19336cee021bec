import dataclasses

import numpy as np
import pytest

from benchmarks.sequences import Performance, SequenceBenchmarkConfig, measure, performances
from facedis_jax.data.synthetic.face_model import load_face_model
from facedis_jax.data.synthetic.faces import SyntheticFaceConfig, synthetic_coma
from facedis_jax.errors import InputError
from facedis_jax.inference.example import example_face_model
from facedis_jax.inference.face_model import DecodedFaces
from facedis_jax.inference.faces import FaceCodec


def test_performances_are_of_every_person_in_order_with_their_truth():
    synthetic = SyntheticFaceConfig(expressions=("mouth_open", "mouth_side"), frames=(5, 6))
    shown = list(performances(SequenceBenchmarkConfig(synthetic=synthetic), 3))
    assert [(p.person, p.expression) for p in shown] == [(i, e) for i in (0, 1) for e in ("mouth_open", "mouth_side")]
    for performance in shown:
        assert 5 <= len(performance.level) <= 6
        assert performance.level.argmax() not in (0, len(performance.level) - 1)
        for noisy in (performance.noisy, performance.again):
            np.testing.assert_allclose(np.linalg.norm(noisy - performance.clean, axis=-1).mean(), 0.32, atol=0.02)


@pytest.fixture
def linear():
    """A model whose codes are the first and the last of orthogonal directions, and what it knows of two expressions."""
    model = example_face_model()
    directions = np.linalg.qr(np.random.default_rng(0).normal(size=(108, 5)))[0].T
    mean_face, known = model.trained.constants.mean_face, model.trained

    def encode(vertices, labels):
        codes = (vertices - mean_face).reshape(len(vertices), -1) @ directions.T / 10
        return codes.astype(np.float32), np.full_like(codes, np.log(0.01))

    def decode(identity, expression, labels):
        parts = (
            np.atleast_2d(code) @ own * 10 for code, own in ((identity, directions[:3]), (expression, directions[3:]))
        )
        neutral, offset = (part.reshape(len(part), -1, 3) for part in parts)
        return mean_face + neutral + offset, mean_face + neutral

    moves = np.eye(2)[known.expression] * known.level[:, None]
    codes = np.concatenate([3 * np.eye(4)[known.subject][:, :3], 4 * moves], 1)
    functions = model.functions._replace(decode=lambda params, *codes: DecodedFaces(*decode(*codes)))
    model = dataclasses.replace(
        model, functions=functions, trained=dataclasses.replace(known, codes=codes.astype(np.float32))
    )
    model.__dict__["codec"] = FaceCodec(encode, decode, 3, 2)
    return model


def test_measures_of_a_model_that_is_known(linear):
    rng = np.random.default_rng(2)
    level = np.sin(np.linspace(0, np.pi, 25)).astype(np.float32)
    shown = []
    for person in range(2):
        for index, name in enumerate(linear.expressions):
            identity = np.tile(3 * np.eye(3)[person], (len(level), 1))
            clean = linear.codec.decode(identity, 4 * level[:, None] * np.eye(2)[index], None)[0]
            noisy, again = (clean + rng.normal(scale=0.5, size=clean.shape) for _ in range(2))
            shown.append(Performance(person, name, noisy, again, clean, level))
    found = measure(linear, shown)
    assert found["frames"] == 25
    # Independent noise falls with the root of the number of frames, and there is nothing else here.
    for name in ("noise", "no_noise"):
        np.testing.assert_allclose(found[f"{name}_sequence_mm"] / found[f"{name}_frames_mm"], 0.2, rtol=0.5)
    assert found["recording_sequence_mm"] < 0.3 * found["recording_frames_mm"]
    assert found["level_correlation_frames_lowest"] > 0.99
    assert (
        found["jitter_smoothed_mm"] < found["jitter_sequence_mm"] < found["jitter_frames_mm"] < found["jitter_noise_mm"]
    )
    assert (found["one_person_refused"], found["two_people_refused"]) == (0, 1)


def test_known_people_perform_anew():
    model, frames = load_face_model(), SyntheticFaceConfig(num_subjects=3, expressions=("mouth_open",), frames=(5, 6))
    config = SequenceBenchmarkConfig(synthetic=frames, known=True)
    learned = synthetic_coma(model, frames).truth
    for seed in (1, 2):
        shown = list(performances(config, seed))
        assert [len(performance.level) in (5 + seed, 6 + seed) for performance in shown] == [True, True]
        for performance, neutral in zip(shown, learned.neutrals, strict=False):
            np.testing.assert_allclose(performance.clean[0], neutral, atol=1e-3)


def test_too_few_people_are_refused():
    with pytest.raises(InputError, match="--people"):
        SequenceBenchmarkConfig(people=1)
