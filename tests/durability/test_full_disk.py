"""The short form of `python -m tests.durability.full_disk`."""

import errno
import os
import subprocess
import threading
import time

import pytest

from facedis_jax.training import Checkpoints, SaveFailed
from tests.durability.damage import abstract_state, state_at


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder):
    """Saves, and keeps all, until nothing goes any more."""
    with Checkpoints(folder, keep=100) as checkpoints:
        for step in range(10, 500, 10):
            checkpoints.save(step, state_at(step), {"seconds": 1.0})


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_is_told_of_and_leaves_the_last_checkpoint_whole(small_disk):
    with pytest.raises(SaveFailed) as raised:
        fill(small_disk / "checkpoints")
    assert "(No space left on device); the last good one is that of step" in str(raised.value)
    assert "\n" not in str(raised.value)
    # Every name is a number: what was half-written is gone.
    steps = sorted(int(path.name) for path in (small_disk / "checkpoints").iterdir())
    with Checkpoints(small_disk / "checkpoints", read_only=True) as checkpoints:
        restored = checkpoints.restore(abstract_state())
    assert restored.step == steps[-1]
    assert str(raised.value).endswith(f"step {restored.step}")
    assert (restored.state["chains"] == state_at(restored.step)["chains"]).all()


def test_what_a_failed_save_writes_afterwards_is_gone_too(tmp_path, monkeypatch):
    """Orbax fails in one thread while others still make folders and files."""
    late = tmp_path / "10.orbax-checkpoint-tmp" / "state.orbax-checkpoint-tmp"

    def write():
        for i in range(10):
            time.sleep(0.02)
            late.mkdir(parents=True, exist_ok=True)
            (late / f"{i}").touch()

    writer = threading.Thread(target=write)

    def fail(*_, **__):
        writer.start()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Checkpoints(tmp_path) as checkpoints:
        monkeypatch.setattr(checkpoints._manager, "save", fail)
        with pytest.raises(SaveFailed):
            checkpoints.save(10, state_at(10), {})
    writer.join()
    assert not list(tmp_path.iterdir())
