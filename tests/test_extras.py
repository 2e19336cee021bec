import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Runs Python where jax, numpy and what they need are installed, and nothing else."""
    site = tmp_path_factory.mktemp("site")
    for name in ("jax", "jaxlib", "numpy", "ml_dtypes", "opt_einsum", "scipy"):
        package = Path(find_spec(name).origin).parent
        # With the package its metadata (jax-0.10.2.dist-info) and its libraries (numpy.libs).
        for path in (package, *package.parent.glob(f"{name}[-.]*")):
            (site / path.name).symlink_to(path)

    def alone(*arguments):
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{site}", "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, "-S", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=site)

    return alone


@pytest.mark.parametrize(
    "command",
    ["experiments.coma_ib --preset tiny", "experiments.faces_video", "facedis_jax edit", "benchmarks.train_step"],
)
def test_a_command_without_its_extra_is_one_line_and_code_2(alone, command):
    ended = alone("-m", *command.split())
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.endswith(", which pip install 'facedis-jax[run]' brings\n")
    assert ended.stderr.count("\n") == 1
    assert not ended.stdout


def test_help_needs_no_extra(alone):
    ended = alone("-m", "facedis_jax", "--help")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("usage: facedis COMMAND")


def test_pure_functions_need_none(alone):
    ended = alone("-c", "import facedis_jax.losses, facedis_jax.metrics, facedis_jax.geometry, facedis_jax.sampling")
    assert ended.returncode == 0, ended.stderr
