import jax
import jax.numpy as jnp
import pytest

from benchmarks.models import AXIS, NUM_IMAGES
from benchmarks.programs import (
    Collective,
    Cost,
    collectives,
    compiled_cost,
    loops_cost,
)
from facedis_jax.geometry import farthest_point_sample
from facedis_jax.learners.chains import num_chains
from facedis_jax.training import data_parallel

SIZE = 32
PRODUCT = 2 * SIZE**3
MATRIX = jax.ShapeDtypeStruct((SIZE, SIZE), jnp.float32)


def total_flops(function, *args):
    once = compiled_cost(jax.jit(function).lower(*args).compile())
    return once.plus(1, loops_cost(function, *args)).flops


def products(x, number):
    return jax.lax.scan(lambda carry, _: (carry @ x, None), x, None, length=number)[0]


def test_xla_counts_the_body_of_a_loop_once():
    # If this changes, `loops_cost` has nothing left to add.
    counts = {n: compiled_cost(jax.jit(lambda x, n=n: products(x, n)).lower(MATRIX).compile()).flops for n in (2, 20)}
    assert counts[2] == counts[20] == pytest.approx(PRODUCT, rel=0.01)


def test_loops_are_counted_as_often_as_they_run():
    assert total_flops(lambda x: products(x, 20), MATRIX) == pytest.approx(20 * PRODUCT, rel=0.01)
    assert total_flops(lambda x: products(x, 1), MATRIX) == pytest.approx(PRODUCT, rel=0.01)
    assert loops_cost(lambda x: x @ x, MATRIX) == Cost(0.0, 0.0, 0.0)


def test_loops_in_loops_and_in_functions_are_found():
    @jax.jit
    def nested(x):
        return jax.lax.fori_loop(0, 3, lambda _, y: products(x, 5) + y, x)

    assert total_flops(nested, MATRIX) == pytest.approx(15 * PRODUCT, rel=0.02)
    both = total_flops(lambda x: jax.vmap(nested)(jnp.stack([x, x])), MATRIX)
    assert both == pytest.approx(30 * PRODUCT, rel=0.02)


def test_unrolled_trips_are_not_counted_twice():
    def unrolled(x):
        return jax.lax.scan(lambda carry, _: (carry @ x, None), x, None, length=6, unroll=2)[0]

    # XLA counts a body of two trips, and two thirds of the six are missing.
    once = compiled_cost(jax.jit(unrolled).lower(MATRIX).compile()).flops
    assert once == pytest.approx(2 * PRODUCT, rel=0.01)
    assert loops_cost(unrolled, MATRIX).flops == pytest.approx(4 * PRODUCT, rel=0.01)


@pytest.mark.parametrize(("own", "trips"), [("cpu", 20), ("tpu", 7)])
def test_of_code_for_several_platforms_the_devices_is_counted(own, trips):
    def choice(x):
        branches = {own: lambda x: products(x, 20), "default": lambda x: products(x, 7)}
        return jax.lax.platform_dependent(x, **branches)

    assert total_flops(choice, MATRIX) == pytest.approx(trips * PRODUCT, rel=0.01)


def test_loops_of_a_kernel_for_tpus_are_not_counted_on_a_cpu():
    clouds = jax.ShapeDtypeStruct((8, 5000, 3), jnp.float32)

    def loop(clouds):
        return jax.vmap(lambda cloud: farthest_point_sample(cloud, 64))(clouds)

    # Nine operations for each distance, and those that find the largest.
    assert 5000 * 8 * 63 * 9 < total_flops(loop, clouds) < 5000 * 8 * 63 * 30


def test_an_estimate_that_is_missing_stays_missing():
    assert Cost(1.0, 2.0, 3.0).plus(2, Cost(10.0, 20.0, 30.0)) == Cost(21.0, 42.0, 63.0)
    assert Cost(1.0, 2.0, 3.0).plus(2, Cost(10.0, 20.0, None)) == Cost(21.0, 42.0, None)


PROGRAM = """
HloModule jit_step

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  ROOT %sum = f32[] add(%a, %b)
}

%inner.1 (p: f32[8]) -> f32[8] {
  ROOT %permuted = f32[8]{0} collective-permute(%p), source_target_pairs={{0,1},{1,0}}
}

%body (arg: (s32[], f32[8])) -> (s32[], f32[8]) {
  %fused = f32[8]{0} fusion(%x), kind=kLoop, calls=%inner.1
}

%condition (arg: (s32[], f32[8])) -> pred[] {
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

%beside.1 (p: f32[2,3]) -> f32[8,3] {
  %part = f32[8,3]{1,0} all-gather(%p), channel_id=5, dimensions={0}, frontend_attributes={chain_id="0"}
}

%beside.2 (p: f32[2,3]) -> f32[8,3] {
  %same = f32[8,3]{1,0} all-gather(%p), channel_id=5, dimensions={0}, frontend_attributes={chain_id="0"}
}

ENTRY %main (p: f32[4,3]) -> f32[4,3] {
  %reduced = (f32[4,3]{1,0:T(8,128)S(1)}, /*index=1*/bf16[5]{0}) all-reduce(%p, %q), channel_id=1, to_apply=%add
  %gather-start = (f32[2,3]{1,0:T(4,128)}, f32[8,3]{1,0}) all-gather-start(%p), channel_id=2, dimensions={0}
  %gather-done = f32[8,3]{1,0} all-gather-done(%gather-start)
  %many = ((f32[2]{0}, s32[1]{0}), (f32[8]{0}, s32[4]{0})) all-gather-start(%p, %q), channel_id=3, dimensions={0}
  %flag = pred[] all-reduce-start(%r), channel_id=4, to_apply=%add
  %loop = (s32[], f32[8]{0}) while(%t), condition=%condition, body=%body
}
"""


def test_collectives_are_read_from_a_programs_text():
    assert collectives(PROGRAM) == [
        Collective("collective-permute", 8 * 4, True),
        Collective("all-gather", 8 * 3 * 4, False),
        Collective("all-reduce", 4 * 3 * 4 + 5 * 2, False),
        Collective("all-gather", 8 * 3 * 4, False),
        Collective("all-gather", 8 * 4 + 4 * 4, False),
        Collective("all-reduce", 1, False),
    ]


def on_devices(step, number, method="pmap"):
    return data_parallel(
        step.learner.step, devices=jax.devices()[:number], method=method, axis_name=AXIS, state_axes=step.state_axes
    )


def shapes_of(step):
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), step.make_batch(0))
    return jax.eval_shape(step.learner.init, jax.random.key(0), batch), batch


def bytes_of(tree):
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def test_faces_exchange_gradients_metrics_and_codes_and_no_more(small_steps):
    batch_size, devices = 8, 4
    step = small_steps["ib_vae"](batch_size)
    state, batch = shapes_of(step)
    found = collectives(on_devices(step, devices).lower(state, batch).compile().as_text())
    # Mean and log-variance of everyone's identity codes, for Eq. 11; of their gradients each device gets back its own.
    codes = 2 * batch_size * step.config.model.identity_latents * 4
    total = sum(one.bytes for one in found)
    # Five sums, and their counts, which are one number.
    assert total - bytes_of(state.params) - codes - codes // devices == 6 * 4
    assert not any(one.in_loop for one in found)


def test_images_exchange_gradients_metrics_and_latents_and_no_more(small_steps):
    batch_size, devices = 8, 4
    step = small_steps["deformable"](batch_size)
    batch = step.make_batch(0)
    parallel = on_devices(step, devices)
    state = parallel.place_state(jax.jit(step.learner.init)(jax.random.key(0), batch))
    state, metrics = parallel(state, batch)
    found = collectives(parallel.compiled(state, batch).as_text())
    latents = step.config.model.appearance_latents + step.config.model.geometry_latents
    # Latents come from where their chains are and go back there, found by the images' places.
    chains = batch_size * (2 * latents + 1) * 4
    total = sum(one.bytes for one in found)
    # Every sum is sent, and every count that is a number of its own.
    assert bytes_of(metrics) / 2 < total - bytes_of(state.params) - chains <= bytes_of(metrics)
    assert not any(one.in_loop for one in found)
    assert not state.chains.appearance.is_deleted()


def test_a_program_is_lowered_by_either_method(small_steps):
    step = small_steps["deformable"](8)
    inputs = {
        method: [x.shape for x in jax.tree.leaves(on_devices(step, 4, method).lower(*shapes_of(step)).in_avals)]
        for method in ("pmap", "shard_map")
    }
    # pmap takes the devices as an axis; the chains and 8 images are split over them.
    chains = num_chains(NUM_IMAGES)
    assert {(4, chains // 4, 3), (4, 2, 8, 8, 3)} <= set(inputs["pmap"])
    assert {(chains, 3), (8, 8, 8, 3)} <= set(inputs["shard_map"])
    for method in inputs:
        with pytest.raises(ValueError, match="divi"):
            on_devices(step, 3, method).lower(*shapes_of(step))
