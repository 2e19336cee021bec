"""Four virtual devices, made before jax is imported, so that every test may use one, two or four."""

import gc
import os
import tempfile
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pytest

from facedis_jax.commands import keep_freed_memory

# As in users' processes, and before jax begins its threads.
keep_freed_memory()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
FLAGS = ["--xla_force_host_platform_device_count=4"]
if version("jaxlib").startswith("0.10."):
    # A third less to compile. Later versions do not know it, and end on a flag that they do not know.
    FLAGS.append("--xla_cpu_use_fusion_emitters=false")
# Programs here run for milliseconds and would compile for seconds; those of processes that tests start, too. With 0 in
# the environment, all run as users' do.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *FLAGS])
# Tests build the same programs again and again, in several processes, which find them here; never in the user's cache.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _programs = tempfile.TemporaryDirectory(prefix="facedis_jax_programs_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _programs.name
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")


# Made-up people, models of them and small runs, that tests of several folders share.
pytest_plugins = ["tests.made_up_faces", "tests.small_runs"]

# A worker gathers millions of objects that live as long as it does, traced and compiled programs, which by default are
# looked through at every few hundred new ones.
gc.set_threshold(50_000, 20, 100)


def pytest_xdist_auto_num_workers(config):
    """One worker more than there are cores: some tests wait, for processes that they start or for a disk."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture
def real_data():
    """Gives the folder of a real data set by its name, and skips the test where it is absent.

    They are looked for in $FACEDIS_DATA, or in `shared/data` beside the checkout.
    """
    base = Path(os.environ.get("FACEDIS_DATA") or Path(__file__).parents[2] / "shared" / "data")

    def folder(name: str) -> Path:
        if not (base / name).is_dir():
            pytest.skip(f"needs real data: no {base / name} (set FACEDIS_DATA)")
        return base / name

    return folder


@pytest.fixture(scope="module")
def small_figures():
    """For the modules that write pages: figures at a low resolution, which are drawn fast."""
    from facedis_jax.reports import page
    from facedis_jax.reports.figures import png

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "png", partial(png, dpi=40))
        yield
