import importlib.util
import sys

import jax
import jax.numpy as jnp
import pytest

from benchmarks import tpu
from benchmarks.measurement import run_benchmark
from benchmarks.tpu import TpuConfig, exchanged, topology_devices
from facedis_jax.errors import InputError
from facedis_jax.geometry import warp
from facedis_jax.models.attention_kernel import attend
from facedis_jax.models.neighbourhood_kernel import linear_moments_and_extreme
from facedis_jax.training import DataParallel

with_libtpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")


def exit_line(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["benchmarks/tpu.py", *arguments])
    with pytest.raises(SystemExit) as exit_info:
        run_benchmark("tpu", "", TpuConfig(), tpu.main)
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_without_libtpu_there_is_one_line(monkeypatch, capsys):
    monkeypatch.delenv("TPU_LIBRARY_PATH", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "libtpu: expected it installed" in exit_line(monkeypatch, capsys)


def test_no_batch_is_refused(monkeypatch, capsys):
    assert "--batch-per-device: expected 1 or more" in exit_line(monkeypatch, capsys, "--batch-per-device", "0")


@with_libtpu
@pytest.mark.parametrize("name", ["v5e:3x5", "v99:2x2", "nonsense"])
def test_a_topology_that_does_not_exist_is_one_line(name):
    with pytest.raises(
        InputError, match=f"--topologies: expected one that libtpu knows, such as v5e:2x4, found {name}"
    ):
        topology_devices(name)


@with_libtpu
@pytest.mark.parametrize(("name", "count"), [("v5e:2x4", 8), ("v5e:16x16", 256), ("v6e:4x4", 16), ("v5p:2x2x2", 8)])
def test_topologies_have_their_chips(name, count):
    devices = topology_devices(name)
    assert len(devices) == count
    assert devices[0].device_kind in tpu.CHIPS
    # Nothing that runs here is moved to where nothing can run.
    assert jax.devices()[0].platform == "cpu"


@with_libtpu
def test_a_step_compiles_for_a_tpu_and_exchanges_what_it_must(small_steps, monkeypatch):
    row = tpu.compile_step(small_steps["ib_vae"], topology_devices("v5e:2x4"), 2, "pmap")
    assert row["compiles"]
    assert (row["chips"], row["batch"], row["in_loops"]) == (8, 16, 0)
    assert 0 < row["of_hbm"] < 0.1
    # Five sums and their count, and codes of four latents: two gathered, and their gradients.
    assert row["other_bytes"] == 6 * 4 + 2 * 2 * 16 * 4 * 4


# The paper's two groupings, and as much as either kernel takes.
@with_libtpu
@pytest.mark.parametrize("name", ["v4:2x2x1", "v5e:2x2", "v5p:2x2x1", "v6e:2x2"])
@pytest.mark.parametrize(
    ("neighbourhoods", "channels", "points", "query"), [(512, 128, 128, 32), (256, 256, 256, 64), (64, 512, 512, 256)]
)
@pytest.mark.parametrize("precision", ["default", "float32"])
def test_kernels_find_room_on_every_chip(name, neighbourhoods, channels, points, query, precision):
    place = jax.sharding.SingleDeviceSharding(topology_devices(name)[0])

    def compiles(function, *shapes):
        def with_gradients(*inputs):
            results, pull = jax.vjp(function, *inputs)
            return pull(jax.tree.map(jnp.ones_like, results))

        inputs = [jax.ShapeDtypeStruct(shape, dtype, sharding=place) for shape, dtype in shapes]
        with tpu.without_xla_flags(), jax.default_matmul_precision(precision):
            program = jax.jit(with_gradients).lower(*inputs).compile()
        return program.cost_analysis()["flops"] > 0

    of_channels = ((channels,), "float32")
    assert compiles(
        linear_moments_and_extreme,
        ((neighbourhoods, 32, channels), "bfloat16"),
        ((neighbourhoods, channels), "bfloat16"),
        *[of_channels] * 3,
        ((channels, channels), "bfloat16"),
        of_channels,
    )
    assert compiles(attend, ((2, points, query), "bfloat16"), ((2, points, 4 * query), "bfloat16"))


# The papers' images, the smallest and the largest ones.
@with_libtpu
@pytest.mark.parametrize("name", ["v4:2x2x1", "v5e:2x2", "v5p:2x2x1", "v6e:2x2"])
@pytest.mark.parametrize(
    ("shape", "dtype"), [((2, 64, 64, 3), "bfloat16"), ((2, 16, 8, 1), "bfloat16"), ((2, 128, 128, 4), "float32")]
)
def test_the_warp_finds_room_on_every_chip(name, shape, dtype):
    place = jax.sharding.SingleDeviceSharding(topology_devices(name)[0])
    images = jax.ShapeDtypeStruct(shape, dtype, sharding=place)
    flows = jax.ShapeDtypeStruct((*shape[:3], 2), "float32", sharding=place)

    def with_gradients(images, flows):
        warped, pull = jax.vjp(jax.vmap(warp), images, flows)
        return warped, pull(warped)

    with tpu.without_xla_flags():
        program = jax.jit(with_gradients).lower(images, flows).compile()
    assert program.cost_analysis()["flops"] > 0


def test_a_step_that_does_not_compile_gives_a_row_that_says_why(small_steps, monkeypatch):
    def refuse(*args):
        raise RuntimeError("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.00G of 15.75G hbm. More")

    monkeypatch.setattr(DataParallel, "lower", refuse)
    row = tpu.compile_step(small_steps["ib_vae"], jax.devices()[:2], 4, "pmap")
    assert not row["compiles"]
    assert row["why"] == "Ran out of memory in memory space hbm. Used 20.00G of 15.75G hbm"
    assert row["batch"] == 8


def test_gradients_are_told_from_the_rest():
    program = "  %r = (f32[3]{0}, f32[]) all-reduce(%a, %b), to_apply=%add\n"
    numbers = exchanged(program, {"kernel": jax.ShapeDtypeStruct((3,), jnp.float32)})
    assert numbers["collectives"] == 1
    assert numbers["gradients_mb"] == pytest.approx(12e-6)
    assert numbers["exchanged_mb"] == pytest.approx(16e-6)
    assert numbers["other_bytes"] == 4
