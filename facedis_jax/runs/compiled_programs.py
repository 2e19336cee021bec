"""Compiled programs that are kept in the user's cache, so that a command starts faster the second time."""

import hashlib
import os
import platform
from contextlib import suppress
from pathlib import Path

import jax

from facedis_jax.data.cache import cache_dir
from facedis_jax.errors import InputError

# Programs that compile faster than they are read are not worth a file.
_LEAST_SECONDS = 0.02
# A demo's programs take 10 to 40 MB.
_MOST_BYTES = 2 << 30


def keep_compiled_programs() -> Path | None:
    """The folder where JAX keeps compiled programs from now on; must come before the first one is compiled.

    It is `facedis_jax/programs` in the user's cache, apart by what the processor can do, since homes are shared between
    machines. What was not used for longest is removed where it has grown beyond 2 GiB. Whoever has told JAX where or
    whether to keep them (`JAX_COMPILATION_CACHE_DIR`, `JAX_ENABLE_COMPILATION_CACHE`) is obeyed.

    Returns:
      The folder; None where nothing is kept, also since the cache cannot be written.
    """
    wanted, told = (getattr(jax.config, name) for name in ("jax_enable_compilation_cache", "jax_compilation_cache_dir"))
    if not wanted or told:
        return None
    with suppress(InputError, OSError):
        folder = programs_dir(cache_dir()) / _processor()
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            return None
        remove_oldest(folder.parent, _MOST_BYTES)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
        return folder
    return None


def programs_dir(cache: Path) -> Path:
    """Where compiled programs lie in a cache."""
    return cache / "programs"


def remove_oldest(programs: Path, most_bytes: int) -> int:
    """Removes the programs that were not used for longest until the rest fit in these bytes; returns how many.

    JAX writes each into a file `NAME-cache`, and when it was used last into `NAME-atime`. Another process that is about
    to read one compiles it anew.
    """
    sizes, used = {}, {}
    for path in programs.glob("*/*-cache"):
        with suppress(OSError):
            sizes[path] = path.stat().st_size
            used[path] = _atime(path).stat().st_mtime if _atime(path).exists() else path.stat().st_mtime
    too_much, removed = sum(sizes.values()) - most_bytes, 0
    for path in sorted(used, key=used.__getitem__):
        if too_much <= 0:
            break
        with suppress(OSError):
            path.unlink()
            too_much -= sizes[path]
            removed += 1
            _atime(path).unlink(missing_ok=True)
    return removed


def _atime(program: Path) -> Path:
    return program.with_name(program.name.removesuffix("-cache") + "-atime")


def _processor() -> str:
    """A name for what this machine's processor can do: a program that was compiled for another may not run here."""
    found = platform.machine() + platform.processor()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        found += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(found.encode()).hexdigest()[:12]
