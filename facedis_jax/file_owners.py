"""Files whose owner has no name: in containers that run under a number, and on shared disks."""

import os
import stat
from importlib import import_module
from importlib.util import find_spec
from typing import Any


def allow_unknown_owners() -> None:
    """Lets `etils.epath`, through which TFDS and Orbax ask for the size of a file, do without its owner's name.

    It looks the name up for every file, and ends with a KeyError where the system knows the number alone. From here on
    the number, as text, stands for the name there.
    """
    # It comes with those two. A private name: other versions of it may have another, and no such look-up.
    if find_spec("etils") is None:
        return
    local: Any = getattr(import_module("etils.epath.backend"), "_OsPathBackend", None)
    result: Any = import_module("etils.epath.stat_utils").StatResult
    look_up = getattr(local, "stat", None)
    if look_up is None or getattr(look_up, "allows_unknown_owners", False):
        return

    def status(self: Any, path: Any) -> Any:
        try:
            return look_up(self, path)
        except KeyError:
            found = os.stat(path)
            return result(
                is_directory=stat.S_ISDIR(found.st_mode),
                length=found.st_size,
                mtime=int(found.st_mtime),
                owner=str(found.st_uid),
                group=str(found.st_gid),
                mode=found.st_mode,
            )

    status.allows_unknown_owners = True  # type: ignore[attr-defined]
    local.stat = status
