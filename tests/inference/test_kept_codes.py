import numpy as np
import pytest

from facedis_jax.inference import kept_codes
from facedis_jax.inference.faces import FaceCodec
from facedis_jax.inference.kept_codes import KeptCodes

FACES = np.random.default_rng(0).normal(size=(8, 5, 3)).astype(np.float32)
LABELS = np.eye(8, dtype=np.float32)


@pytest.fixture
def encoded():
    """A codec, and the batches that it has encoded."""
    calls = []

    def encode(vertices, labels):
        calls.append(len(vertices))
        scale = 1 if labels is None else labels.argmax(axis=1)[:, None]
        return vertices[:, 0] * scale, vertices[:, 1]

    return FaceCodec(encode, lambda *_: (FACES, FACES), 1, 2), calls


@pytest.fixture
def slow(monkeypatch):
    """An evaluation of which every batch takes longer than from one writing to the next."""
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr(kept_codes.time, "monotonic", lambda: next(clock))


@pytest.mark.usefixtures("slow")
def test_an_evaluation_that_was_stopped_goes_on(encoded, tmp_path):
    codec, calls = encoded
    expected = [codec.encode(FACES[:4], None), codec.encode(FACES[4:7], LABELS[4:7])]
    calls.clear()
    first = KeptCodes(tmp_path / "codes.npz", "model 7").codec(codec)
    first.encode(FACES[:4], None)
    kept = KeptCodes(tmp_path / "codes.npz", "model 7")
    second = kept.codec(codec)
    for batch, wanted in zip([(FACES[:4], None), (FACES[4:7], LABELS[4:7])], expected, strict=True):
        for found, array in zip(second.encode(*batch), wanted, strict=True):
            np.testing.assert_array_equal(found, array)
    assert calls == [4, 3]
    # Another model, other faces and other labels are encoded anew.
    KeptCodes(tmp_path / "codes.npz", "model 8").codec(codec).encode(FACES[:4], None)
    second.encode(FACES[1:5], None)
    second.encode(FACES[4:7], LABELS[:3])
    assert calls == [4, 3, 4, 4, 3]
    kept.remove()
    kept.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 half of one"])
def test_a_damaged_file_counts_as_none(encoded, tmp_path, content):
    codec, calls = encoded
    (tmp_path / "codes.npz").write_bytes(content)
    KeptCodes(tmp_path / "codes.npz", "model").codec(codec).encode(FACES, None)
    KeptCodes(tmp_path / "codes.npz", "model").codec(codec).encode(FACES, None)
    assert calls == [8]


def test_a_short_evaluation_writes_nothing(encoded, tmp_path):
    KeptCodes(tmp_path / "codes.npz", "model").codec(encoded[0]).encode(FACES, None)
    assert not list(tmp_path.iterdir())
