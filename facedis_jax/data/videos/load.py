"""Sets of real videos, loaded by the name of their arrangement in files."""

from pathlib import Path
from typing import Any

from facedis_jax.data.prepared_pixels import load_pixels
from facedis_jax.data.videos.clip_set import ClipSet
from facedis_jax.data.videos.folders import FrameFolders, VideoFiles
from facedis_jax.data.videos.prepared import ClipBuilder

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
    links_out: bool = True,
    verify: bool = False,
    **settings: Any,
) -> ClipSet:
    """The clips of a set of real videos, prepared at the first call and opened at once from then on.

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
      skip_damaged: skip recordings that cannot be used, and list them in the set's `skipped`.
      links_out: follow links that lead out of the folder; refuse them if False.
      verify: read all files again, where a prepared copy is there, and prepare anew if their content differs.
      **settings: others of `ClipSettings`. None stands for the value there.

    Returns:
      The set; its clips are read from disk as they are asked for.

    Raises:
      InputError: where the kind or a setting is unknown, or the folder or a file in it cannot be used.
    """
    given = {"size": size, "frames": frames, **settings}
    return load_pixels(
        VIDEO_SETS,
        kind,
        folder,
        given,
        prepared_dir=prepared_dir,
        skip_damaged=skip_damaged,
        links_out=links_out,
        verify=verify,
    )
