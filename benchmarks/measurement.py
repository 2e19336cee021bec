"""What the benchmarks share: timing of calls, peak speeds of the device, and results as tables and JSON."""

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import rich.console
import rich.table
import tyro

from facedis_jax.data.ahead import num_cores
from facedis_jax.errors import InputError, reason
from facedis_jax.formats.json_files import write_json
from facedis_jax.formats.settings import as_json
from facedis_jax.runs.back_end import check_back_end
from facedis_jax.runs.command_line import exit_with, typed_command
from facedis_jax.runs.options import option_names

Config = TypeVar("Config", bound="BenchmarkOptions")


@dataclass(frozen=True)
class BenchmarkOptions:
    """Options of every benchmark.

    Attributes:
      json: a file for the figures, with device, versions and settings.
      repeats: measured calls of everything that is timed, after one that is not.

    Raises:
      InputError: for no repeats, or a file in a folder that does not exist.
    """

    json: Path | None = None
    repeats: int = 5

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise InputError("--repeats", "1 or more", str(self.repeats))
        if self.json is not None and not self.json.parent.is_dir():
            raise InputError("--json", "a file in a folder that exists", str(self.json))


@dataclass(frozen=True)
class Timing:
    """Wall-clock seconds of one call.

    Attributes:
      median_s, low_s, high_s: median and quartiles.
      repeats: how many calls they are of.
    """

    median_s: float
    low_s: float
    high_s: float
    repeats: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Timing":
        """Of single measurements."""
        low, median, high = np.quantile(seconds, (0.25, 0.5, 0.75)).tolist()
        return cls(median, low, high, len(seconds))

    def divided_by(self, parts: int) -> "Timing":
        """Of one of the equal parts that every call had."""
        return Timing(self.median_s / parts, self.low_s / parts, self.high_s / parts, self.repeats)

    def __str__(self) -> str:
        median, low, high = (1000 * s for s in (self.median_s, self.low_s, self.high_s))
        return f"{median:.4g} ms ({low:.4g} to {high:.4g})"


def time_in_turn(calls: Mapping[str, Callable[[], Any]], *, repeats: int, warmup: int = 1) -> dict[str, Timing]:
    """Times several calls, each once in every round, so that a machine that slows down slows them all alike.

    Args:
      calls: by name. What one returns is waited for where it is a pytree of jax arrays; a call of another library
        waits for its device by itself.
      repeats: rounds that are measured.
      warmup: rounds before, for compilation and caches.

    Returns:
      A `Timing` by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for round_number in range(warmup + repeats):
        for name, call in calls.items():
            began = time.perf_counter()
            jax.block_until_ready(call())
            elapsed = time.perf_counter() - began
            if round_number >= warmup:
                seconds[name].append(elapsed)
    return {name: Timing.of(values) for name, values in seconds.items()}


def time_call(call: Callable[[], Any], *, repeats: int, warmup: int = 1) -> Timing:
    """Times one call; see `time_in_turn`."""
    return time_in_turn({"call": call}, repeats=repeats, warmup=warmup)["call"]


def matmul_rate(dtype: Any = jnp.float32, *, size: int | None = None, repeats: int = 7) -> float:
    """Floating-point operations per second of a large matrix product, the most that this device gives.

    Taken at jax's default precision of the moment, as the models' own products are, from the fastest of the repeats:
    a limit, where medians are what is compared with it.

    Args:
      dtype: of the matrices.
      size: their rows and columns; by default 2,048 on a CPU and 8,192 elsewhere.
      repeats: products that are timed.
    """
    size = size or (2048 if jax.default_backend() == "cpu" else 8192)
    left, right = jax.random.normal(jax.random.key(0), (2, size, size)).astype(dtype)
    product = jax.jit(jnp.matmul)
    return 2 * size**3 / _fastest(lambda: product(left, right), repeats)


def memory_rate(*, megabytes: int | None = None, repeats: int = 7) -> float:
    """Bytes per second, read and written together, of an array that no cache holds, changed in its place.

    Args:
      megabytes: the array's size, in 2^20 bytes; by default 256 on a CPU and 2,048 elsewhere.
      repeats: passes that are timed, of which the fastest counts.
    """
    megabytes = megabytes or (256 if jax.default_backend() == "cpu" else 2048)
    array = jnp.zeros(megabytes * 2**18, jnp.float32)
    change = jax.jit(lambda x: x + 1, donate_argnums=0)

    def call() -> jax.Array:
        nonlocal array
        array = change(array)
        return array

    return 2 * array.nbytes / _fastest(call, repeats)


def _fastest(call: Callable[[], Any], repeats: int) -> float:
    jax.block_until_ready(call())
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def device_description() -> dict[str, Any]:
    """The machine and the versions that results belong to."""
    devices = jax.devices()
    return {
        "device": devices[0].device_kind,
        "devices": len(devices),
        "platform": devices[0].platform,
        "processor": processor_name(),
        "cores": num_cores(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "python": platform.python_version(),
    }


def processor_name() -> str:
    """The processor's name by the kernel, or the architecture where the kernel has none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints rows as a table whose columns are all their keys, with numbers to four digits."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = rich.table.Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")
    for row in rows:
        table.add_row(*(_shown(row.get(name)) for name in columns))
    # Where nobody watches, rich would wrap at 80 columns.
    rich.console.Console(width=None if sys.stdout.isatty() else 200).print(table)


def write_results(path: str | os.PathLike, name: str, config: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes results as JSON, whole or not at all, with all that is needed to measure them again.

    Args:
      path: of the file.
      name: of the benchmark.
      config: its settings, a dataclass.
      rows: the figures; a `Timing` becomes its fields.

    Raises:
      InputError: the file cannot be written.
    """
    results = {
        "benchmark": name,
        "command": typed_command("benchmarks"),
        "device": device_description(),
        "config": as_json(config),
        "rows": [{key: asdict(x) if isinstance(x, Timing) else x for key, x in row.items()} for row in rows],
    }
    try:
        write_json(path, results)
    except OSError as error:
        raise InputError(path, "a file that can be written", reason(error)) from None


def run_benchmark(name: str, card: str, default: Config, main: Callable[[Config], Sequence[Mapping[str, Any]]]) -> None:
    """Parses the command line, measures, writes the JSON and exits: 2, with one line, for a wrong request.

    Args:
      name: the benchmark's module name.
      card: its docstring, shown by --help.
      default: its settings, a `BenchmarkOptions` with fields of its own.
      main: measures and prints; returns the rows for the JSON.
    """

    def command() -> int:
        parse: Any = tyro.cli
        config = parse(type(default), prog=f"python -m benchmarks.{name}", description=card, default=default)
        check_back_end()
        rows = main(config)
        if config.json is not None:
            write_results(config.json, name, config, rows)
        return 0

    exit_with(command, option_names(default))


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return str(value)
