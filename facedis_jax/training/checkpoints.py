"""Checkpoints: all that a run needs to go on where it stopped, in one Orbax composite a step."""

import errno
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from facedis_jax.errors import InputError, damage
from facedis_jax.file_owners import allow_unknown_owners
from facedis_jax.formats.json_files import read_json, to_jsonable, write_json
from facedis_jax.learners.learner import State

allow_unknown_owners()

_logger = logging.getLogger(__name__)

_ITEMS = ("state", "progress")
# Of a checkpoint's files, with their hashes.
_MANIFEST = "manifest.json"
# After a failed save, clean-up stops when no new temporary file has come for the first, or after the second.
_QUIET_S = 0.3
_PATIENCE_S = 5.0


class SaveFailed(RuntimeError):
    """A checkpoint could not be written, such as on a full disk; those before it are as they were.

    Args:
      folder: of the checkpoints.
      step: of the last good one, or None.
      reason: what the file system or the writer said.

    Example:
      >>> print(SaveFailed(Path("run/checkpoints"), 500, "no space left on device"))
      run/checkpoints: cannot save a checkpoint (no space left on device); the last good one is that of step 500
    """

    def __init__(self, folder: Path, step: int | None, reason: str):
        kept = "none was saved before" if step is None else f"the last good one is that of step {step}"
        super().__init__(f"{folder}: cannot save a checkpoint ({reason}); {kept}")


class Checkpoint(NamedTuple):
    """What was restored.

    Attributes:
      step: the number of steps behind it.
      state: the learner's state, laid out as asked for.
      progress: plain values beside it: the data iterator's state, the seconds trained.

    Example:
      >>> Checkpoint(step=500, state={"weights": 1.0}, progress={"seconds": 12.5}).step
      500
    """

    step: int
    state: State
    progress: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run; a context manager, which waits for the last save when left.

    Args:
      folder: where they lie; made if it is missing.
      keep: how many of the newest to keep.
      read_only: nothing is made or removed, for reading a run.

    Raises:
      InputError: the metadata of a checkpoint is damaged.

    Example:
      >>> import tempfile
      >>> state = {"weights": jnp.ones(3), "step": jnp.int32(7)}
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     with Checkpoints(Path(folder)) as checkpoints:
      ...         checkpoints.save(7, state, {"seconds": 1.5})
      ...     with Checkpoints(Path(folder), read_only=True) as checkpoints:
      ...         restored = checkpoints.restore(jax.eval_shape(lambda: state))
      >>> restored.step, restored.progress, restored.state["weights"].tolist()
      (7, {'seconds': 1.5}, [1.0, 1.0, 1.0])
    """

    def __init__(self, folder: Path, *, keep: int = 3, read_only: bool = False):
        # Imported where it is used, or every `--help` would wait for it.
        import orbax.checkpoint as ocp

        self._folder = folder
        self._read_only = read_only
        self._saving: int | None = None
        options = ocp.CheckpointManagerOptions(
            preservation_policy=ocp.checkpoint_managers.LatestN(keep),
            cleanup_tmp_directories=not read_only,
            create=not read_only,
            async_options=ocp.options.AsyncOptions(post_finalization_callback=self._list_files),
        )
        handlers = {"state": ocp.StandardCheckpointHandler(), "progress": ocp.JsonCheckpointHandler()}
        try:
            self._manager = ocp.CheckpointManager(folder.absolute(), options=options, item_handlers=handlers)
        except OSError:
            raise
        except Exception as error:  # Orbax reads the metadata of every checkpoint at once, before `_read` can check it.
            raise InputError(folder, "checkpoints with whole metadata", _one_line(error)) from error

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is not None:
            # The error that ended the run is the one to show, not that the last save failed as well.
            with suppress(Exception):
                self._manager.close()
            return
        with self._as_save_failed():
            self._manager.close()

    @property
    def latest_step(self) -> int | None:
        """The step of the newest checkpoint, or None."""
        return self._manager.latest_step()

    def save(self, step: int, state: State, progress: Mapping[str, Any]) -> None:
        """Saves in the background, once the state is copied from the device and may be donated.

        Args:
          step: the number of steps behind the state; one that is saved already is left alone.
          state: a pytree of arrays, typed PRNG keys among them.
          progress: plain values that become JSON; of several processes, the first one's are kept.

        Raises:
          SaveFailed: this save, or the one before it that ended in the background, could not be written.
        """
        import orbax.checkpoint as ocp

        if step == self.latest_step:
            return
        with self._as_save_failed():
            # Its files are listed by the name of their step; the manager would itself wait for them below.
            self._manager.wait_until_finished()
            self._saving = step
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(_with_raw_keys(state)),
                    progress=ocp.args.JsonSave(to_jsonable(progress)),
                ),
            )

    def restore(self, abstract_state: State) -> Checkpoint | None:
        """Restores the newest checkpoint that is whole, and drops the damaged ones after it.

        Args:
          abstract_state: a tree of `jax.ShapeDtypeStruct` with shardings, which may be of other devices
            than those that the checkpoint was written from.

        Returns:
          The checkpoint, or None if there is none.

        Raises:
          InputError: if there are checkpoints and none can be read; they are left as they are.
        """
        damaged: list[int] = []
        reason = ""
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                checkpoint = self._read(step, abstract_state)
            except Exception as error:  # What Orbax and TensorStore raise depends on which file is damaged, and how.
                damaged.append(step)
                reason = _one_line(error)
                _logger.warning("%s: cannot read the checkpoint of step %d (%s)", self._folder, step, reason)
                continue
            if damaged:
                _logger.warning("%s: going on from step %d", self._folder, step)
            if not self._read_only:
                for newer in damaged:
                    self._manager.delete(newer)
            return checkpoint
        if damaged:
            raise InputError(self._folder, "checkpoints of this model", f"none that can be read ({reason})")
        return None

    def _read(self, step: int, abstract_state: State) -> Checkpoint:
        import orbax.checkpoint as ocp

        # Before Orbax sees them: compression finds a flipped bit only where it makes no sense to it.
        folder = self._folder / str(step)
        listed, found = read_json(folder / _MANIFEST), _sha256_of_files(folder)
        changed = sorted(name for name in listed.keys() | found.keys() if listed.get(name) != found.get(name))
        if changed:
            raise ValueError(f"{changed[0]} is missing or not as it was written")
        items = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(_with_raw_keys(abstract_state)), progress=ocp.args.JsonRestore()
            ),
        )
        return Checkpoint(step, _with_typed_keys(items["state"], abstract_state), items["progress"])

    def _list_files(self) -> None:
        """Writes the manifest, in the first process and its saving thread, just before a checkpoint gets its name."""
        for unfinished in self._folder.glob(f"{self._saving}.orbax-checkpoint-tmp*"):
            write_json(unfinished / _MANIFEST, _sha256_of_files(unfinished))

    @contextmanager
    def _as_save_failed(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if jax.process_index() == 0:
                self._drop_unfinished()
            raise SaveFailed(self._folder, self.latest_step, _one_line(error)) from error

    def _drop_unfinished(self) -> None:
        """Removes what a failed save has written, and what its other threads, which are not waited for, still write."""
        start = seen = time.monotonic()
        while time.monotonic() < min(seen + _QUIET_S, start + _PATIENCE_S):
            for unfinished in self._folder.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(unfinished, ignore_errors=True)
                seen = time.monotonic()
            time.sleep(_QUIET_S / 10)


def _sha256_of_files(folder: Path) -> dict[str, str]:
    """Of every file of the items, by its path in the checkpoint's folder."""
    files = sorted(path for item in _ITEMS for path in (folder / item).rglob("*") if path.is_file())
    digests = {}
    for path in files:
        with path.open("rb") as file:
            digests[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _with_raw_keys(state: State) -> State:
    """Typed PRNG keys as the integers behind them: Orbax fails on those that several processes share."""

    def raw(leaf: Any) -> Any:
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf
        if isinstance(leaf, jax.Array):
            return jax.jit(jax.random.key_data)(leaf)
        data = jax.eval_shape(jax.random.key_data, leaf)
        return jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=leaf.sharding)

    return jax.tree.map(raw, state)


def _with_typed_keys(state: State, abstract_state: State) -> State:
    def typed(leaf: jax.Array, abstract: jax.ShapeDtypeStruct) -> jax.Array:
        if not jnp.issubdtype(abstract.dtype, jax.dtypes.prng_key):
            return leaf
        implementation = jax.random.key_impl(jnp.empty((), abstract.dtype))
        return jax.jit(partial(jax.random.wrap_key_data, impl=implementation))(leaf)

    return jax.tree.map(typed, state, abstract_state)


def _one_line(error: Exception) -> str:
    """What went wrong, in as few words as there are: of a full disk, what the system calls it."""
    text = " ".join(str(error).split()) or damage(error)
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO):
        if os.strerror(number) in text:
            return os.strerror(number)
    return text[:200]
