"""From a command line to a function call: presets, options, and errors as one line with exit code 2."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import tyro

from facedis_jax.errors import InputError
from facedis_jax.training import TrainingDiverged
from facedis_jax.training.parallel import Method

Config = TypeVar("Config")


@dataclass(frozen=True)
class RunOptions:
    """Where and how a run is carried out; none of it changes what comes out.

    Attributes:
      preset: a named set of settings; every other option overrides one of them.
      workdir: the run's folder; the same command resumes it. By default runs/NAME-PRESET.
      devices: how many devices take part; 0 for all of them.
      parallel: how the devices share the work.
      tensorboard: also write TensorBoard's event files.
      quiet: no progress bar.
    """

    preset: Literal["tiny", "demo", "paper"] = "demo"
    workdir: Path | None = None
    devices: int = 0
    parallel: Method = "pmap"
    tensorboard: bool = False
    quiet: bool = False


@dataclass(frozen=True)
class _Command(Generic[Config]):
    options: Annotated[RunOptions, tyro.conf.arg(name="")]
    config: Annotated[Config, tyro.conf.arg(name="")]


def run_experiment(
    name: str, card: str, presets: Mapping[str, Config], main: Callable[[Config, RunOptions], int]
) -> None:
    """Parses the command line over a preset, runs `main` and exits with its code.

    Args:
      name: the experiment's module name.
      card: its docstring, shown by --help.
      presets: settings by name.
      main: `(config, options) -> exit code`.
    """
    # The preset decides the defaults that the full parser shows, so it is looked for first.
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--preset", default="demo")
    preset = early.parse_known_args()[0].preset
    default = presets.get(preset, presets["demo"])

    def command() -> int:
        parsed: Any = tyro.cli(  # type: ignore[call-overload]
            _Command[type(default)],  # type: ignore[misc]
            prog=f"python -m experiments.{name}",
            description=card,
            default=_Command(RunOptions(preset=preset if preset in presets else "demo"), default),
        )
        options = parsed.options
        workdir = options.workdir or Path("runs") / f"{name}-{options.preset}"
        return main(parsed.config, replace(options, workdir=workdir))

    exit_with(command)


def exit_with(command: Callable[[], int]) -> None:
    """Runs a command and exits: its own code, 2 for bad input, 1 for a run that diverged, 130 for Ctrl-C."""
    # Grain and absl expect their own flags to have been parsed, and XLA's log lines say nothing to a user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from absl import flags

    flags.FLAGS.mark_as_parsed()
    try:
        code = command()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except TrainingDiverged as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
