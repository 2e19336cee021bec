import subprocess
import sys

import pytest

from facedis_jax.cli import COMMANDS, main


def test_help_lists_the_commands(capsys):
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("usage: facedis COMMAND")
    assert all(name in printed for name in COMMANDS)
    assert max(map(len, printed.splitlines())) <= 100


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("facedis_jax ")


@pytest.mark.parametrize("words", [["emit"], ["--run"], [], ["edit\n"]])
def test_an_unknown_command_is_one_line_and_code_2(words, capsys):
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: command: expected one of {', '.join(COMMANDS)}, found ")
    assert printed.err.count("\n") == 1
    assert not printed.out


@pytest.mark.parametrize("words", [["--help"], ["nothing"]])
def test_neither_imports_jax(words):
    program = (
        "import sys; from facedis_jax.cli import main; main(sys.argv[1:]);"
        "heavy = {'jax', 'numpy', 'tyro', 'flax', 'matplotlib'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program, *words], check=True, capture_output=True)


def test_the_package_is_the_command():
    ended = subprocess.run([sys.executable, "-m", "facedis_jax", "nothing"], capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: command: ")
