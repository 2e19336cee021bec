"""An experiment's docstring is its card: what it asks, and the commands that answer it, which the parser must take."""

import importlib
import pkgutil
import re
import shlex
import sys

import pytest

import experiments
from facedis_jax.runs.command_line import run_experiment

ALL = [
    module
    for info in pkgutil.iter_modules(experiments.__path__)
    if hasattr(module := importlib.import_module(f"experiments.{info.name}"), "PRESETS")
]


def entries(card: str) -> dict[str, str]:
    """The text of each entry, by its heading, which stands at the start of a line and is followed by two spaces."""
    parts = re.split(r"^([A-Z]\w+) {2,}", card, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def commands(card: str) -> list[list[str]]:
    """Every command of the entry "Command", without the remarks in parentheses."""
    text = re.sub(r"\s\([^)]*\)", " ", entries(card)["Command"])
    return [shlex.split(command) for command in text.split("python -m experiments.")[1:]]


@pytest.mark.parametrize("experiment", ALL, ids=lambda experiment: experiment.__name__)
def test_every_command_of_the_card_is_understood(experiment, monkeypatch):
    name = experiment.__name__.removeprefix("experiments.")
    card, found = experiment.__doc__, []
    assert {"Question", "Data", "Command", "Output"} <= set(entries(card))
    assert set(experiment.PRESETS) == {"tiny", "demo", "paper"}
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    for command, *typed in commands(card):
        assert command == name
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *typed])
        with pytest.raises(SystemExit) as ended:
            run_experiment(name, card, experiment.PRESETS, lambda config, options: found.append((config, options)) or 0)
        assert ended.value.code == 0, typed
    # The first command is the demo as it is.
    config, options = found[0]
    assert (config, options.preset) == (experiment.PRESETS["demo"], "demo")
    assert len({id(config) for config, _ in found}) == len(found)
