import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import jax
import pytest

from facedis_jax.errors import InputError
from facedis_jax.runs.command_line import chosen_devices, exit_with, run_experiment
from facedis_jax.training import SaveFailed, TrainingDiverged


@dataclass(frozen=True)
class Inner:
    """Attributes:
    width: of the thing.
    """

    width: int = 4


@dataclass(frozen=True)
class Config:
    """Attributes:
    epochs: how long.
    inner: what is inside.
    """

    epochs: float = 1.0
    inner: Inner = field(default_factory=Inner)


CARD = """The card of the toy.

Question   What for?
Command    python -m toy
           python -m toy --preset tiny
"""
PRESETS = {"tiny": Config(0.1), "demo": Config(1.0, Inner(5)), "paper": Config(300.0)}


@pytest.fixture
def run(monkeypatch):
    """Runs the command with some arguments; returns the exit code and what `main` was given."""

    def run(*arguments, result=0):
        calls = []

        def main(config, options):
            calls.append((config, options))
            if isinstance(result, BaseException):
                raise result
            return result

        monkeypatch.setattr(sys, "argv", ["toy.py", *arguments])
        with pytest.raises(SystemExit) as exited:
            run_experiment("toy", CARD, PRESETS, main)
        return exited.value.code, calls[0] if calls else None

    return run


def test_demo_is_the_default(run):
    code, (config, options) = run()
    assert code == 0
    assert config == PRESETS["demo"]
    assert options.workdir == Path("runs/toy-demo")


@pytest.mark.parametrize("arguments", [["--preset", "paper"], ["--preset=paper"]])
def test_options_override_a_preset(run, arguments):
    _, (config, options) = run(*arguments, "--inner.width", "7", "--workdir", "w", "--devices", "2")
    assert config == Config(300.0, Inner(7))
    assert (options.preset, options.workdir, options.devices) == ("paper", Path("w"), 2)


def test_help_shows_the_card_and_the_presets_values(run, capsys):
    code, call = run("--preset", "tiny", "--help")
    printed = capsys.readouterr().out
    assert (code, call) == (0, None)
    assert "The card of the toy." in printed
    assert "\n Question   What for?\n Command    python -m toy\n            python -m toy --preset tiny\n" in printed
    assert "--inner.width" in printed
    assert "0.1" in printed


@pytest.mark.parametrize(
    "arguments", [["--preset", "huge"], ["--preset"], ["--widht", "3"], ["--epochs", "many"]], ids=" ".join
)
def test_wrong_options_end_with_code_2_before_anything_runs(run, capsys, arguments):
    code, call = run(*arguments)
    printed = capsys.readouterr()
    assert (code, call) == (2, None)
    assert arguments[-1] in printed.err
    assert "Traceback" not in printed.err
    assert not printed.out


def test_bad_input_is_one_line_and_code_2(run, capsys):
    code, _ = run(result=InputError("faces.ply", "5023 vertices", "7"))
    assert code == 2
    assert capsys.readouterr().err == "error: faces.ply: expected 5023 vertices, found 7\n"


@pytest.mark.parametrize("code", [0, 3, 143])
def test_exit_code_is_the_commands(run, code):
    assert run(result=code)[0] == code


def test_ctrl_c_is_code_130_and_a_run_that_diverged_code_1(run, capsys):
    assert run(result=KeyboardInterrupt())[0] == 130
    assert run(result=TrainingDiverged(7, {"loss": float("nan")}, Path("diverged.json")))[0] == 1
    said = "error: training diverged at step 7: loss nan; its examples are listed in diverged.json\n"
    assert capsys.readouterr().err == said


def test_what_cannot_be_written_is_one_line_and_code_74(run, capsys):
    assert run(result=SaveFailed(Path("run/checkpoints"), 5, "No space left on device"))[0] == 74
    assert run(result=OSError(28, "No space left on device", "run/report.html"))[0] == 74
    assert capsys.readouterr().err == (
        "error: run/checkpoints: cannot save a checkpoint (No space left on device); the last good one is that of "
        "step 5\nerror: run/report.html: No space left on device\n"
    )


def test_errors_of_the_program_itself_keep_their_traceback():
    def broken():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        exit_with(broken)


@pytest.mark.parametrize(("divide", "count"), [((), 4), ((8, 12), 4), ((20, 6), 2), ((6,), 3), ((7,), 1)])
def test_as_many_of_a_processors_devices_as_divide_the_batches(divide, count):
    assert jax.local_device_count("cpu") == jax.device_count() == 4
    assert chosen_devices(0, divide) == jax.devices()[:count]


def test_devices_that_were_asked_for_are_not_made_fewer():
    assert len(chosen_devices(3, (8,))) == 3
    with pytest.raises(InputError, match="0 to 4"):
        chosen_devices(5)


def test_a_device_for_each_core_unless_told_otherwise():
    code = (
        "import jax; from facedis_jax.data.ahead import num_cores; "
        "from facedis_jax.runs.command_line import one_device_per_core; "
        "one_device_per_core(); print(jax.device_count(), num_cores())"
    )

    def counts(**env):
        kept = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")}
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env={**kept, **env}, capture_output=True, text=True, check=True).stdout.split()

    devices, cores = counts()
    assert devices == cores
    assert counts(XLA_FLAGS="--xla_force_host_platform_device_count=3")[0] == "3"
    assert counts(JAX_NUM_CPU_DEVICES="5")[0] == "5"


def test_an_option_that_has_another_name_now_is_refused_with_it(run, capsys, monkeypatch):
    monkeypatch.setattr("facedis_jax.runs.renamed.RENAMED_OPTIONS", {"--inner.breadth": "--inner.width"})
    assert run("--inner.breadth", "3") == (2, None)
    assert capsys.readouterr().err == "error: --inner.breadth: expected its new name --inner.width, found the old one\n"


def test_an_error_about_a_field_names_its_option(run, capsys):
    assert run(result=InputError("width", "8 or less", "9"))[0] == 2
    assert capsys.readouterr().err == "error: --inner.width: expected 8 or less, found 9\n"
