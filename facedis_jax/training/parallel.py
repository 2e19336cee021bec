"""The one place that knows about devices: a learner's step, written for one device, on all of them.

The batch is split over the devices and the state is replicated, or split along its first axis where a field
belongs to the data (such as one chain per example). `jax.pmap` and `jax.shard_map` are two ways to say the
same program. The latter runs with `check_vma=False`, as pmap does: by its default the gradient with respect
to a replicated parameter already is a sum over devices, and after the `pmean` of a step it would be too large
by the number of devices, which Adam hides.

Between processes prefer `shard_map`: pmap passes typed PRNG keys by way of the host, and so waits for the
step before. Within one process the two cost the same.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from facedis_jax.errors import InputError
from facedis_jax.learners.learner import Batch, State

Method = Literal["pmap", "shard_map"]


def check_batch_size(batch_size: int, num_devices: int) -> None:
    """Checks that the devices divide the batch.

    Raises:
      InputError: if they do not. Means over devices are exact only where each has as many examples.

    Example:
      >>> check_batch_size(16, num_devices=8)
      >>> check_batch_size(10, num_devices=8)
      Traceback (most recent call last):
          ...
      facedis_jax.errors.InputError: batch_size: expected a positive multiple of the number of devices (8), found 10
    """
    if batch_size < 1 or batch_size % num_devices:
        expected = f"a positive multiple of the number of devices ({num_devices})"
        raise InputError("batch_size", expected, str(batch_size))


class DeviceDataset(Protocol):
    """A data set that stays on the devices, whole on each; `facedis_jax.data.on_device` makes one.

    Attributes:
      arrays: a pytree of host arrays.
      take: `(arrays, batch) -> batch`: the examples of a batch of indices, on the device. It is compiled with the
        function that it makes batches for, so it should not hold the arrays, which would be kept as long.
    """

    @property
    def arrays(self) -> Any: ...

    @property
    def take(self) -> Callable[[Any, Any], Any]: ...


@dataclass(frozen=True)
class Parallel:
    """How devices share the work of a learner.

    Attributes:
      devices: all local devices of all processes by default.
      method: "pmap" or "shard_map".
      axis_name: the name that the learner's collectives use; bound on one device as well.
      state_axes: a prefix of the state's tree, None where it is replicated and 0 where it is split along its first
        axis.

    Example:
      >>> Parallel().method, Parallel(method="shard_map").axis_name
      ('pmap', 'devices')
    """

    devices: Sequence[jax.Device] | None = None
    method: Method = "pmap"
    axis_name: str = "devices"
    state_axes: Any = None


class DataParallel:
    """A learner's function on all devices, as `data_parallel` makes it.

    Called with the state as `place_state` gives it and one batch of host arrays [batch, ...], of which each
    process holds its own share. Compiles once per shape of the batch and never waits for the device.

    Args:
      function, returns_state, donate, dataset: as of `data_parallel`.
      parallel: how devices share the work.

    Example:
      >>> from facedis_jax.metrics import Average
      >>> def step(state, batch):
      ...     return {"step": state["step"] + 1}, {"x": Average.of(batch["x"])}
      >>> parallel = DataParallel(step, Parallel(jax.devices()[:1]))
      >>> state, metrics = parallel(parallel.place_state({"step": jnp.int32(0)}), {"x": np.array([1.0, 3.0])})
      >>> int(state["step"]), float(metrics["x"].sum), float(metrics["x"].count)
      (1, 4.0, 2.0)
    """

    def __init__(
        self,
        function: Callable[..., Any],
        parallel: Parallel,
        *,
        returns_state: bool = True,
        donate: bool | None = None,
        dataset: DeviceDataset | None = None,
    ):
        devices = jax.devices() if parallel.devices is None else parallel.devices
        self._mesh = Mesh(np.asarray(devices), (parallel.axis_name,))
        self._method, self._returns_state = parallel.method, returns_state
        self._split, replicated = PartitionSpec(parallel.axis_name), PartitionSpec()
        self._state_specs = jax.tree.map(
            lambda axis: replicated if axis is None else self._split, parallel.state_axes, is_leaf=_is_none
        )
        self._result_specs = (self._state_specs, replicated) if returns_state else replicated
        self._state_shardings = jax.tree.map(
            lambda spec: NamedSharding(self._mesh, spec), self._state_specs, is_leaf=_is_spec
        )
        on_each_device = _on_each_device(
            function, parallel.axis_name, returns_state, None if dataset is None else dataset.take
        )
        donate = returns_state if donate is None else donate
        if parallel.method == "pmap":
            self._function = self._mapped_by_pmap(on_each_device, parallel.state_axes, donate)
        elif parallel.method == "shard_map":
            mapped = jax.shard_map(
                on_each_device,
                mesh=self._mesh,
                in_specs=(self._state_specs, self._split, replicated),
                out_specs=self._result_specs,
                check_vma=False,
            )
            self._function = jax.jit(mapped, donate_argnums=(0,) if donate else ())
        else:
            raise ValueError(f"method is 'pmap' or 'shard_map', not {parallel.method!r}")
        whole = NamedSharding(self._mesh, replicated)
        self._arrays = () if dataset is None else jax.tree.map(lambda x: _place(x, whole), dataset.arrays)

    def _mapped_by_pmap(self, on_each_device: Callable[..., Any], state_axes: Any, donate: bool) -> Any:
        """The function of a stacked state and batch [devices, ...], with what stacks split fields and unstacks them."""
        axis_name = self._mesh.axis_names[0]
        self._has_split_fields = bool(jax.tree.leaves(state_axes))

        # Not methods: an object that holds itself keeps its arrays on the devices until garbage is collected.
        def of_split_fields(function: Callable[[jax.Array], jax.Array]) -> Callable[[State], State]:
            return partial(_map_fields, function, self._state_specs, self._split)

        split = of_split_fields(partial(_split_axis, parts=self._mesh.size))
        donated = (0,) if donate else ()
        self._stack = jax.jit(split, out_shardings=self._state_shardings, donate_argnums=donated)
        self._unstack = jax.jit(of_split_fields(_join_axes), out_shardings=self._state_shardings, donate_argnums=0)
        return jax.pmap(
            on_each_device,
            axis_name=axis_name,
            in_axes=(state_axes, 0, None),
            out_axes=(state_axes, None) if self._returns_state else None,
            devices=list(self._mesh.devices),
            donate_argnums=donated,
        )

    def place_state(self, state: State) -> State:
        """Copies a state to the devices; every process gives the same one, its split fields whole."""
        if jax.process_count() == 1:
            # device_put shares memory where it can, whatever `may_alias` says, and the first step gives that up.
            state = jax.jit(partial(jax.tree.map, jnp.copy))(state)
        return jax.tree.map(_place, state, jax.tree.broadcast(self._state_shardings, state))

    def abstract_state(self, state: State) -> State:
        """Shapes, types and shardings of a state as `place_state` lays it out, to restore a checkpoint by."""
        return jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            state,
            jax.tree.broadcast(self._state_shardings, state),
        )

    def place_batch(self, batch: Batch) -> Batch:
        """Sends this process's share of a batch, [batch, ...] host arrays, to its devices."""
        sharding = NamedSharding(self._mesh, self._split)
        num_devices = len(self._mesh.local_devices)

        def place(array):
            array = np.asarray(array)
            check_batch_size(len(array), num_devices)
            if self._method == "pmap":
                array = _split_axis(array, num_devices)
            return jax.make_array_from_process_local_data(sharding, array)

        return jax.tree.map(place, batch)

    def __call__(self, state: State, batch: Batch) -> Any:
        batch = self.place_batch(batch)
        if self._method == "shard_map":
            return self._function(state, batch, self._arrays)

        if self._has_split_fields:
            state = self._stack(state)
        result = self._function(state, batch, self._arrays)
        if jax.process_count() > 1:
            # Between processes pmap takes global arrays and returns local ones.
            result = multihost_utils.host_local_array_to_global_array(result, self._mesh, self._result_specs)
        if self._has_split_fields and self._returns_state:
            state, metrics = result
            return self._unstack(state), metrics
        return result

    def compiled(self, state: State, batch: Batch) -> Any:
        """The compiled program of a state and a batch, as they were called with; compiled before, it is not again.

        Args:
          state: as `place_state` takes it; copied.
          batch: this process's share, host arrays [batch, ...].
        """
        state = self.place_state(state)
        if self._method == "pmap" and self._has_split_fields:
            state = self._stack(state)
        return self._function.lower(state, self.place_batch(batch), self._arrays).compile()

    def lower(self, state: State, batch: Batch) -> Any:
        """The lowered program for shapes alone, and for devices that need not be there.

        Args:
          state, batch: pytrees of shapes, whole.

        Raises:
          ValueError: the devices do not divide what is split over them.
        """
        if self._method == "pmap":
            stack = partial(_stacked_shape, parts=self._mesh.size)
            state = _map_fields(stack, self._state_specs, self._split, state)
            return self._function.lower(state, jax.tree.map(stack, batch), self._arrays)
        sharding = NamedSharding(self._mesh, self._split)
        batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), batch)
        return self._function.lower(self.abstract_state(state), batch, self._arrays)


def _on_each_device(
    function: Callable[..., Any], axis_name: str, returns_state: bool, take: Callable[[Any, Any], Any] | None
) -> Callable[..., Any]:
    """The function of a device's share, its metrics added up over all devices."""

    def on_each_device(state, batch, arrays):
        if take is not None:
            batch = take(arrays, batch)
        if returns_state:
            state, metrics = function(state, batch)
            return state, jax.lax.psum(metrics, axis_name)
        return jax.lax.psum(function(state, batch), axis_name)

    return on_each_device


def data_parallel(
    function: Callable[..., Any],
    *,
    devices: Sequence[jax.Device] | None = None,
    method: Method = "pmap",
    axis_name: str = "devices",
    state_axes: Any = None,
    returns_state: bool = True,
    donate: bool | None = None,
    dataset: DeviceDataset | None = None,
) -> DataParallel:
    """Runs a learner's `step` (or `evaluate`) on all devices, with the same result as on one.

    The function sees its device's share of the batch and takes its means over the batch with collectives over
    `axis_name`, gradients included. The metrics that it returns are sums and counts over its share; they come
    back added up over all devices.

    Args:
      function: `(state, batch) -> (state, metrics)`, or `(state, batch) -> metrics`.
      devices, method, axis_name, state_axes: as in `Parallel`.
      returns_state: False for a learner's `evaluate`.
      donate: whether the memory of the state that goes in is given up and used again; a step's is by default.
      dataset: what the function's batches, of indices, are taken from; copied to each of the devices here.

    Returns:
      A callable of the state and a batch of host arrays [batch, ...], with `place_state` to make the former.

    Example:
      step = data_parallel(learner.step)
      state = step.place_state(learner.init(key, batch))
      state, metrics = step(state, batch)

    Example:
      >>> from facedis_jax.metrics import Average
      >>> def step(state, batch):
      ...     return {"step": state["step"] + 1}, {"x": Average.of(batch["x"])}
      >>> parallel = data_parallel(step, devices=jax.devices()[:1])
      >>> state = parallel.place_state({"step": jnp.int32(0)})
      >>> state, metrics = parallel(state, {"x": np.array([1.0, 3.0])})
      >>> int(state["step"]), float(metrics["x"].sum), float(metrics["x"].count)
      (1, 4.0, 2.0)
    """
    parallel = Parallel(devices, method, axis_name, state_axes)
    return DataParallel(function, parallel, returns_state=returns_state, donate=donate, dataset=dataset)


def dividing_prefix(devices: Sequence[jax.Device], numbers: Sequence[int]) -> Sequence[jax.Device]:
    """The longest prefix of the devices whose length divides all of some numbers."""
    return next(devices[:n] for n in range(len(devices), 0, -1) if not any(number % n for number in numbers))


def split_examples(function: Callable[..., Any], size: int, devices: Sequence[jax.Device] | None) -> Any:
    """A compiled function of batches of one size, of which each device of this process takes its share.

    Args:
      function: of some weights and then of any number of batches, pytrees of arrays [size, ...]; an example's results
        depend on that example alone, and begin with the same axis.
      size: of a batch.
      devices: as many of them are used as divide it; the first of all for None.

    Example:
      >>> double = split_examples(lambda weight, x: weight * x, size=4, devices=jax.local_devices()[:1])
      >>> double(2.0, np.arange(4.0)).tolist()
      [0.0, 2.0, 4.0, 6.0]
    """
    local = [device for device in devices or () if device.process_index == jax.process_index()]
    sharing = dividing_prefix(local, [size]) if local else ()
    if len(sharing) < 2:
        return jax.jit(function)
    mesh, share = Mesh(np.asarray(sharing), ("devices",)), PartitionSpec("devices")

    def on_each_device(params: Any, batches: tuple[Any, ...]) -> Any:
        return function(params, *batches)

    mapped = jax.shard_map(
        on_each_device, mesh=mesh, in_specs=(PartitionSpec(), share), out_specs=share, check_vma=False
    )
    return jax.jit(lambda params, *batches: mapped(params, batches))


def _place(x: Any, sharding: NamedSharding) -> jax.Array:
    """An array that every process has whole, copied to the devices."""
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        # Neither device_put nor an operation outside of jit takes typed keys to the devices of other processes.
        wrap = partial(jax.random.wrap_key_data, impl=jax.random.key_impl(x))
        return jax.jit(wrap, out_shardings=sharding)(_place(jax.random.key_data(x), sharding))
    if jax.process_count() > 1:
        # Between processes device_put makes arrays of one device whose shards cannot be read.
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])
    return jax.device_put(x, sharding)


def _map_fields(function: Callable[[Any], Any], specs: Any, split: PartitionSpec, state: State) -> State:
    """Applies a function to the fields of a state that are split."""
    specs = jax.tree.broadcast(specs, state, is_leaf=_is_spec)
    return jax.tree.map(lambda x, spec: function(x) if spec == split else x, state, specs)


def _split_axis(array: Any, parts: int) -> Any:
    """[examples, ...] as [parts, examples / parts, ...]; arrays without numbers, for which reshape infers none, too."""
    return array.reshape(parts, len(array) // parts, *array.shape[1:])


def _stacked_shape(leaf: Any, parts: int) -> jax.ShapeDtypeStruct:
    if leaf.shape[0] % parts:
        raise ValueError(f"{parts} devices do not divide an axis of {leaf.shape[0]}")
    return jax.ShapeDtypeStruct((parts, leaf.shape[0] // parts, *leaf.shape[1:]), leaf.dtype)


def _join_axes(array: Any) -> Any:
    return array.reshape(math.prod(array.shape[:2]), *array.shape[2:])


def _is_none(x: Any) -> bool:
    return x is None


def _is_spec(x: Any) -> bool:
    return isinstance(x, PartitionSpec)
