"""Everything that a run needs to go on where it stopped, in one Orbax composite a step."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orbax.checkpoint as ocp

from facedis_jax.errors import InputError
from facedis_jax.learners.learner import State
from facedis_jax.training.run_folder import plain

_logger = logging.getLogger(__name__)


class Checkpoint(NamedTuple):
    """What was restored.

    Attributes:
      step: the number of steps behind it.
      state: the learner's state, laid out as asked for.
      progress: plain values beside it: the data iterator's state, the seconds trained.
    """

    step: int
    state: State
    progress: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run; a context manager, which waits for the last save when left.

    Args:
      folder: where they lie; made if it is missing.
      keep: how many of the newest to keep.
      read_only: for who looks at a run: nothing is made or dropped.
    """

    def __init__(self, folder: Path, *, keep: int = 3, read_only: bool = False):
        self._folder = folder
        self._read_only = read_only
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=ocp.checkpoint_managers.LatestN(keep),
                cleanup_tmp_directories=not read_only,
                create=not read_only,
            ),
            item_handlers={"state": ocp.StandardCheckpointHandler(), "progress": ocp.JsonCheckpointHandler()},
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
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
        """
        if step != self.latest_step:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(plain(progress))
                ),
            )

    def restore(self, abstract_state: State) -> Checkpoint | None:
        """Restores the newest checkpoint that can be read, and drops the damaged ones after it.

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
                items = self._manager.restore(
                    step,
                    args=ocp.args.Composite(
                        state=ocp.args.StandardRestore(abstract_state), progress=ocp.args.JsonRestore()
                    ),
                )
            except Exception as error:  # What Orbax and TensorStore raise depends on which file is damaged, and how.
                damaged.append(step)
                reason = str(error).partition("\n")[0][:200]
                continue
            if damaged:
                _logger.warning("%s: cannot read step %d (%s), using step %d", self._folder, damaged[0], reason, step)
            if not self._read_only:
                for newer in damaged:
                    self._manager.delete(newer)
            return Checkpoint(step, items["state"], items["progress"])
        if damaged:
            raise InputError(self._folder, "checkpoints of this model", f"none that can be read ({reason})")
        return None
