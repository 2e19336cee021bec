"""From a command line to a function call: presets, options, and errors as one line with exit code 2."""

import argparse
import logging
import os
import shlex
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Generic, Literal, NoReturn, TypeVar

import jax
import tyro

from facedis_jax.commands import end_command
from facedis_jax.data.ahead import num_cores
from facedis_jax.errors import InputError
from facedis_jax.formats.json_files import write_json
from facedis_jax.geometry.platforms import traced_only_for
from facedis_jax.progress import showing_progress
from facedis_jax.runs.back_end import check_back_end
from facedis_jax.runs.compiled_programs import keep_compiled_programs
from facedis_jax.runs.options import in_options, option_names, parse_options, typed_options
from facedis_jax.runs.renamed import check_renamed
from facedis_jax.stopping import leave, wait_if_leaving
from facedis_jax.training import FitResult, RunFolder, SaveFailed, TrainingDiverged
from facedis_jax.training.parallel import Method, dividing_prefix

Config = TypeVar("Config")


@dataclass(frozen=True)
class RunOptions:
    """Where and how a run is carried out; none of it changes the results.

    Attributes:
      preset: a named set of settings; every other option overrides one of them.
      workdir: the run's folder; the same command resumes it. By default runs/NAME-PRESET.
      devices: how many devices take part; 0 for all accelerators. On a CPU, experiments on images and videos make a
        device of each core, and 0 is as many of these as divide the batches.
      parallel: how the devices share the work.
      keep_on_device: keep all training examples in the memory of every device, and send only their indices: for
        accelerators that train on more examples a second than the host reads. They stay in the host's memory as well,
        which the devices of a CPU share. CoMA has 1.1 GB, and 1.9 more with --precompute.
      keep_programs: keep compiled programs in the user's cache, so that the same settings start faster next time;
        `facedis cache` tells their size.
      tensorboard: also write TensorBoard's event files.
      quiet: no progress bar.
      coordinator: of a run over several processes, the first one's address, "host:port"; "auto" on TPU VMs, under SLURM
        and Open MPI, which know the rest too. `python -m experiments.launch` sets these three for processes on one
        machine.
      num_processes, process_id: how many processes there are and which one this is, where "auto" does not know.
    """

    preset: Literal["tiny", "demo", "paper"] = "demo"
    workdir: Path | None = None
    devices: int = 0
    parallel: Method = "pmap"
    keep_on_device: bool = False
    keep_programs: bool = True
    tensorboard: bool = False
    quiet: bool = False
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


class RunInterrupted(Exception):
    """Training ended early by a signal, with a checkpoint saved; the command's exit code says so.

    Args:
      result: of the training that was stopped.
      num_steps: of the whole of it.
    """

    def __init__(self, result: FitResult, num_steps: int):
        self.exit_code = result.exit_code
        super().__init__(f"stopped at step {result.step} of {num_steps}; the same command resumes")


@dataclass(frozen=True)
class _Command(Generic[Config]):
    options: Annotated[RunOptions, tyro.conf.arg(name="")]
    config: Annotated[Config, tyro.conf.arg(name="")]


def run_experiment(
    name: str,
    card: str,
    presets: Mapping[str, Config],
    main: Callable[[Config, RunOptions], int],
    *,
    device_per_core: bool = False,
) -> None:
    """Parses the command line over a preset, runs `main` and exits with its code.

    Args:
      name: the experiment's module name.
      card: its docstring, which --help shows.
      presets: settings by name.
      main: `(config, options) -> exit code`.
      device_per_core: make a device of each of the CPU's cores, see `one_device_per_core`.
    """
    # The preset gives the full parser its defaults, so it is parsed first.
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--preset", default="demo")
    preset = early.parse_known_args()[0].preset
    default = presets.get(preset, presets["demo"])

    known = [*option_names(RunOptions()), *option_names(default)]

    def command() -> int:
        check_renamed(typed_options(sys.argv[1:]), known)
        parsed: Any = parse_options(
            _Command[type(default)],  # type: ignore[misc]
            prog=f"python -m experiments.{name}",
            description=_as_written(card),
            default=_Command(RunOptions(preset=preset if preset in presets else "demo"), default),
        )
        options = parsed.options
        if device_per_core and options.coordinator is None:
            one_device_per_core()
        join_processes(options.coordinator, options.num_processes, options.process_id)
        if options.keep_programs:
            keep_compiled_programs()
        check_back_end()
        platforms = {device.platform for device in jax.devices()}
        workdir = options.workdir or Path("runs") / f"{name}-{options.preset}"
        with ExitStack() as stack:
            stack.enter_context(showing_progress(quiet=options.quiet or jax.process_index() > 0))
            if platforms == {"cpu"}:
                stack.enter_context(traced_only_for("cpu"))
            return main(parsed.config, replace(options, workdir=workdir))

    exit_with(command, known)


def _as_written(card: str) -> str:
    """The docstring, indented so that tyro keeps its line breaks."""
    title, _, table = card.partition("\n\n")
    return f"{title}\n{textwrap.indent(table, ' ')}"


def exit_with(command: Callable[[], int], known: Sequence[str] = ()) -> NoReturn:
    """Runs a command and exits with its own code, or with that of an error, which it prints in one line.

    Args:
      command: returns its exit code.
      known: names of its options; errors about the fields that they set name them.

    The code is 2 for bad input, 1 for a run that diverged, 74 (EX_IOERR) where the disk is full or fails, and 130 for
    Ctrl-C.
    """
    # Grain and absl expect their own flags to have been parsed, and XLA's log lines are of no use to a user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from absl import flags

    flags.FLAGS.mark_as_parsed()
    # Orbax logs the tracebacks of its threads, and then raises the error, which is printed below.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    sys.excepthook = _without_late_writes
    only_told = False
    try:
        code, line = command(), ""
    except InputError as error:
        code, line = 2, f"error: {in_options(error, known, typed_options(sys.argv[1:]))}"
    except RunInterrupted as interrupted:
        # Without the interpreter's shutdown, which other threads that still compute may not survive.
        leave(interrupted.exit_code, str(interrupted))
        code, line = interrupted.exit_code, str(interrupted)
    except TrainingDiverged as error:
        code, line = 1, f"error: {error}"
    except SaveFailed as error:
        code, line = os.EX_IOERR, f"error: {error}"
    except OSError as error:
        # A file that cannot be read is an InputError by now; what is left is a file that cannot be written.
        code, line = os.EX_IOERR, f"error: {error.filename or 'writing'}: {error.strerror or error}"
    except KeyboardInterrupt:
        code, line = 130, ""
    except SystemExit as asked:
        # Of `--help`, and of options that cannot be read.
        if not isinstance(asked.code, int):
            raise
        code, line, only_told = asked.code, "", True
    end_command(code, line, at_once=only_told)


def _without_late_writes(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """An excepthook that hides what TensorStore's other threads raise after one write of a checkpoint failed."""
    wait_if_leaving()
    if not (kind is RuntimeError and str(error) == "Event loop is closed"):
        sys.__excepthook__(kind, error, trace)


def one_device_per_core() -> None:
    """Makes a device of each of the CPU's cores, unless XLA_FLAGS or JAX_NUM_CPU_DEVICES set their number.

    XLA runs scatters and short reductions, of which the generators have many, on one core of a device. Must come before
    anything is computed; where there are accelerators, nothing changes.
    """
    is_set = "host_platform_device_count" in os.environ.get("XLA_FLAGS", "") or "JAX_NUM_CPU_DEVICES" in os.environ
    if not is_set:
        jax.config.update("jax_num_cpu_devices", num_cores())


def join_processes(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Makes this process one of several (`jax.distributed`); must come before anything is computed.

    Args:
      coordinator, num_processes, process_id: as in `RunOptions`; nothing is done where all are None.

    Raises:
      InputError: only some of them are given, or the others cannot be found or reached.
    """
    given = (coordinator, num_processes, process_id)
    if given == (None, None, None):
        return
    automatic = coordinator == "auto"
    if not automatic and None in given:
        raise InputError("--coordinator, --num-processes, --process-id", "all three, or --coordinator auto", str(given))
    try:
        jax.distributed.initialize(
            None if automatic else coordinator,
            num_processes,
            process_id,
            # The other processes wait while the first one draws the report.
            shutdown_timeout_seconds=3600,
        )
    except (RuntimeError, ValueError) as error:
        raise InputError("--coordinator", "processes that find each other", str(error)) from error


def typed_command(package: str = "experiments") -> str:
    """The command line of this process, a module of `package`, as a person types it."""
    return shlex.join(["python", "-m", f"{package}.{Path(sys.argv[0]).stem}", *sys.argv[1:]])


def say(options: RunOptions, line: str) -> None:
    """Prints a line, in the first process alone, unless the run is quiet."""
    if not options.quiet and jax.process_index() == 0:
        print(line, flush=True)


def report_data_files(options: RunOptions, data_files: Mapping[str, Mapping[str, str]]) -> None:
    """Prints a line for each set of what was found of its files."""
    for name, found in data_files.items():
        say(options, f"{name}: {'; '.join(f'{what}: {text}' for what, text in found.items())}")


def report_skipped(folder: RunFolder, options: RunOptions, skipped: Mapping[str, str]) -> None:
    """Prints how many damaged examples a run skips, with one of them, and lists all in `skipped.json`."""
    if not skipped:
        return
    write_json(folder.path / "skipped.json", skipped)
    say(options, f"skipped {len(skipped)} damaged examples, such as {next(iter(skipped.values()))}")


def report_copies(options: RunOptions, older: Mapping[str, int]) -> None:
    """Says that prepared copies are kept that changes of the data have left behind, by place, and their bytes."""
    if older:
        count = f"{len(older)} older prepared cop{'y' if len(older) == 1 else 'ies'} of this data"
        say(options, f"{count} kept, {sum(older.values()) / 1e6:,.1f} MB (facedis cache --prune removes what is old)")


def chosen_devices(count: int, divide: Sequence[int] = ()) -> list[jax.Device]:
    """The devices that take part: the first `count`; for 0 all, or on a CPU as many as divide some numbers.

    Args:
      count: as `RunOptions.devices`.
      divide: numbers that the CPU's devices have to divide; the caller checks it for accelerators.

    Raises:
      InputError: there are fewer, or only some are to take part in a run of several processes.
    """
    devices = jax.devices()
    if count and jax.process_count() > 1:
        raise InputError("--devices", "0, all of them, for several processes", str(count))
    if not 0 <= count <= len(devices):
        raise InputError("--devices", f"0 to {len(devices)}", str(count))
    if not count and devices[0].platform == "cpu" and jax.process_count() == 1:
        return list(dividing_prefix(devices, divide))
    return devices[: count or None]


def device_label(devices: Sequence[jax.Device]) -> str:
    """Number, kind and platform of the devices that took part, for results.json."""
    return f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})"
