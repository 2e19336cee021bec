import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from facedis_jax.cli.cache import CacheOptions, cache
from facedis_jax.runs.compiled_programs import keep_compiled_programs, remove_oldest

FOLDER = Path(__file__).parents[2]
SETTINGS = (
    "jax_compilation_cache_dir",
    "jax_enable_compilation_cache",
    "jax_persistent_cache_min_compile_time_secs",
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user's cache, and JAX as it starts; what it was told before is told again at the end."""
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def test_programs_are_kept_in_the_users_cache_and_told_and_removed(home, capsys):
    folder = keep_compiled_programs()
    assert folder is not None
    assert folder.parent == home / "facedis_jax" / "programs"
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.jit(lambda x: jnp.sin(x) * 17.25 + jnp.cos(x))(jnp.arange(5.0)).block_until_ready()
    assert [*folder.glob("*-cache")]
    cache(CacheOptions())
    assert "compiled programs" in capsys.readouterr().out
    cache(CacheOptions(all=True))
    assert not [*folder.glob("*-cache")]


@pytest.mark.parametrize(
    ("name", "value"), [("jax_compilation_cache_dir", "elsewhere"), ("jax_enable_compilation_cache", False)]
)
def test_whoever_has_told_jax_is_obeyed(home, name, value):
    jax.config.update(name, value)
    assert keep_compiled_programs() is None
    assert getattr(jax.config, name) == value
    assert not [*home.iterdir()]


@pytest.mark.parametrize("variables", [{"XDG_CACHE_HOME": "/dev/null"}, {"XDG_CACHE_HOME": "/proc/nowhere"}])
def test_a_cache_that_cannot_be_written_is_no_error(home, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert keep_compiled_programs() is None
    assert jax.config.jax_compilation_cache_dir is None


def test_what_was_not_used_for_longest_is_removed(tmp_path):
    folder = tmp_path / "processor"
    folder.mkdir()
    for age, name in enumerate(["new", "older", "oldest"]):
        for ending in ("cache", "atime"):
            path = folder / f"{name}-{ending}"
            path.write_bytes(bytes(100))
            os.utime(path, (1e9 - age, 1e9 - age))
    assert remove_oldest(tmp_path, 300) == 0
    assert remove_oldest(tmp_path, 250) == 1
    assert sorted(path.name for path in folder.iterdir()) == ["new-atime", "new-cache", "older-atime", "older-cache"]
    assert remove_oldest(tmp_path, 0) == 2
    assert not [*folder.iterdir()]


def test_help_waits_for_nothing_that_only_a_run_needs():
    names = [path.stem for path in (FOLDER / "experiments").glob("[a-z]*.py") if path.stem not in ("strip", "launch")]
    assert len(names) > 10
    program = (
        f"import sys; {'; '.join(f'import experiments.{name}' for name in names)}; print(*sorted("
        "{'sklearn', 'scipy.stats', 'matplotlib', 'tensorflow_datasets', 'grain', 'orbax', 'trimesh', 'PIL'}"
        " & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=FOLDER)
    assert ended.stdout.split() == []
