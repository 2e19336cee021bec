"""The arrangements of videos by name, each ready to be learned from with one call."""

import dataclasses
from pathlib import Path
from typing import Any

from facedis_jax.data.videos.clip_set import ClipSet
from facedis_jax.data.videos.folders import FrameFolders, VideoFiles
from facedis_jax.data.videos.prepared import ClipBuilder, ClipSettings, load_prepared_clips
from facedis_jax.errors import InputError

VIDEO_SETS: dict[str, type[ClipBuilder]] = {"folders": FrameFolders, "files": VideoFiles}
"""The builder of each arrangement; its docstring says which files it reads."""


def load_videos(
    kind: str,
    folder: str | Path,
    *,
    size: int | None = None,
    frames: int | None = None,
    prepared_dir: str | Path | None = None,
    skip_damaged: bool = False,
    **settings: Any,
) -> ClipSet:
    """A set of videos, prepared at the first call and opened at once from then on.

    Example:
      ```
      emotions = load_videos("folders", "data/mug", size=64, frames=60, cut="middle")
      talk = load_videos("files", "data/talk", size=32, frames=16, stride=2, cut="all", test_subjects=("anna", "ben"))
      ```

    Args:
      kind: one of `VIDEO_SETS`.
      folder: where the set's files are.
      size: height and width of the frames, a power of two from 8.
      frames: of a clip.
      prepared_dir: holds the prepared copies, frames * size * size * channels bytes a clip; a folder in the user's
        cache if None.
      skip_damaged: leave out recordings that cannot be read, and list them in the set's `skipped`.
      **settings: others of `ClipSettings`. None stands for the value there.

    Returns:
      The clips, which are read from disk as they are asked for, with what is known of them.

    Raises:
      InputError: where the kind or a setting is unknown, or the folder or a file in it cannot be used.
    """
    if kind not in VIDEO_SETS:
        raise InputError("the set of videos", f"one of {', '.join(VIDEO_SETS)}", repr(kind))
    given = {name: value for name, value in {"size": size, "frames": frames, **settings}.items() if value is not None}
    known = [field.name for field in dataclasses.fields(ClipSettings)]
    for name in given:
        if name not in known:
            raise InputError(f"the set {kind}", f"settings among {', '.join(known)}", name)
    return load_prepared_clips(VIDEO_SETS[kind], folder, ClipSettings(**given), prepared_dir, skip_damaged=skip_damaged)
