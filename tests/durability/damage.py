"""Damages the newest checkpoint in every way a disk can: `python -m tests.durability.damage --count 30`.

Files of it are cut short, emptied, removed, overwritten with noise, or have one bit flipped. What is restored must be a
checkpoint as it was saved, bit for bit: the damaged one, where the damage touched nothing that is read, or else
the one before it.
"""

import logging
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from facedis_jax.errors import InputError
from facedis_jax.runs.command_line import exit_with
from facedis_jax.runs.options import parse_options
from facedis_jax.training import Checkpoints
from tests.durability.small_runs import host_array

STEPS = (10, 20, 30)


def cut(data: bytes, rng: random.Random) -> bytes:
    """The first part of a file, as a disk that filled up leaves it."""
    return data[: rng.randrange(len(data))] if data else data


def flip(data: bytes, rng: random.Random) -> bytes:
    """A file with one bit the other way."""
    changed = bytearray(data)
    if changed:
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def noise(data: bytes, rng: random.Random) -> bytes:
    """A file with a stretch of random bytes in it."""
    start = rng.randrange(len(data) + 1)
    return data[:start] + rng.randbytes(64) + data[start + 64 :]


def empty(data: bytes, rng: random.Random) -> bytes:
    """A file of no length."""
    return b""


# "remove" is the one that leaves no file.
DAMAGE: Mapping[str, Callable[[bytes, random.Random], bytes] | None] = {
    "cut": cut,
    "flip": flip,
    "noise": noise,
    "empty": empty,
    "remove": None,
}


@dataclass(frozen=True)
class Damage:
    """How often to damage a checkpoint.

    Attributes:
      count: cases.
      seed: of the damage.
    """

    count: int = 30
    seed: int = 0


def state_at(step: int) -> dict[str, Any]:
    """What is saved at a step: weights that compress badly and some that compress well, chains, a key."""
    key = jax.random.key(step)
    return {
        "params": {"kernel": jax.random.normal(key, (40, 30)), "bias": jnp.full(30, float(step))},
        "chains": jax.random.normal(jax.random.fold_in(key, 1), (960, 4)),
        "key": key,
        "step": jnp.int32(step),
    }


def abstract_state() -> dict[str, Any]:
    """What `state_at` is restored by, on one device."""
    sharding = SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state_at(0))


def damage_checkpoints(folder: Path, count: int, seed: int = 0) -> Counter[str]:
    """Damages copies of a run's newest checkpoint, and restores.

    Returns:
      How many cases ended in which way: "newest" and "before" for what was restored right, "wrong" and "unread"
      for what must not be.
    """
    whole = folder / "whole"
    with Checkpoints(whole) as checkpoints:
        for step in STEPS:
            checkpoints.save(step, state_at(step), {"seconds": step / 7})
    abstract = abstract_state()
    rng = random.Random(seed)
    kinds = list(DAMAGE.items())
    outcomes: Counter[str] = Counter()
    for case in range(count):
        copy = folder / f"case{case}"
        shutil.copytree(whole, copy)
        files = sorted(path for path in (copy / str(STEPS[-1])).rglob("*") if path.is_file())
        file = rng.choice(files)
        _, change = kinds[case % len(kinds)]
        if change is None:
            file.unlink()
        else:
            file.write_bytes(change(file.read_bytes(), rng))
        outcomes[_restored(copy, abstract)] += 1
        shutil.rmtree(copy)
    return outcomes


def _restored(folder: Path, abstract: Any) -> str:
    with Checkpoints(folder) as checkpoints:
        try:
            restored = checkpoints.restore(abstract)
        except InputError:
            return "unread"
    if restored is None:
        return "unread"
    right = restored.progress == {"seconds": restored.step / 7} and jax.tree.all(
        jax.tree.map(
            lambda found, saved: host_array(found).tobytes() == host_array(saved).tobytes(),
            restored.state,
            state_at(restored.step),
        )
    )
    if not right:
        return "wrong"
    return "newest" if restored.step == STEPS[-1] else "before"


def _main() -> int:
    config = parse_options(Damage, prog="python -m tests.durability.damage", description=__doc__)
    logging.getLogger("facedis_jax").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        outcomes = damage_checkpoints(Path(folder), config.count, config.seed)
    print(
        f"{config.count} damaged checkpoints: {outcomes['before']} gave way to the one before, {outcomes['newest']} "
        f"were damaged where nothing is read, {outcomes['wrong']} gave wrong numbers, {outcomes['unread']} nothing"
    )
    return 0 if outcomes["wrong"] == outcomes["unread"] == 0 else 1


if __name__ == "__main__":
    exit_with(_main)
