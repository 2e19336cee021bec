"""Where the numbers of a run go: one JSON line per logged step, and TensorBoard for those who ask for it."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from facedis_jax.errors import InputError
from facedis_jax.formats.files import file_size
from facedis_jax.formats.json_files import to_jsonable
from facedis_jax.formats.whole import write_text

_LONGEST_LINE = 1 << 16


class MetricWriter(Protocol):
    """Takes the metrics of one step of one split ("train" or "test"), already read from the device."""

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class JsonLinesWriter:
    """Writes `{"step": 10, "split": "train", "loss": 0.25, ...}`; null stands for non-finite.

    No line has a time in it, so that a run that was interrupted leaves the very bytes of one that was not.

    Args:
      path: the file, such as `metrics.jsonl`.
      resume_from: the step of the checkpoint that the run goes on from. What the file has beyond it will
        be written again, and is dropped here with any half-written line.
    """

    def __init__(self, path: Path, resume_from: int = 0):
        kept = [line for line in _lines(path) if line["step"] <= resume_from]
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        line = {"step": step, "split": split, **values}
        self._file.write(json.dumps(to_jsonable(line)) + "\n")

    def close(self) -> None:
        self._file.close()


class TensorBoardWriter:
    """Writes scalars named `train/loss` for TensorBoard.

    Args:
      folder: where the event files go.
      resume_from: events beyond this step are hidden, as they will be written again.

    Raises:
      InputError: if the package is not installed.
    """

    def __init__(self, folder: Path, resume_from: int = 0):
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise InputError(
                "tensorboard",
                "the extra: pip install 'facedis-jax[tensorboard]'",
                "no package tensorboardX",
            ) from error
        self._writer = SummaryWriter(str(folder), purge_step=resume_from + 1)

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{split}/{name}", value, step)

    def close(self) -> None:
        self._writer.close()


def read_metrics(path: Path, split: str) -> list[dict]:
    """The lines of one split, in order of step; none where the file is missing."""
    return [line for line in _lines(path) if line["split"] == split]


def _lines(path: Path) -> list[dict]:
    """What a file holds up to its end, or to the first line that `JsonLinesWriter` did not write whole."""
    lines: list[dict] = []
    if not path.exists():
        return lines
    file_size(path, "a file of metrics")
    # A run that was killed while it wrote leaves half a line.
    with path.open(encoding="utf-8") as file, suppress(ValueError, RecursionError):
        while text := file.readline(_LONGEST_LINE):
            line = json.loads(text)
            if not _is_of_a_step(line):
                break
            lines.append(line)
    return lines


def _is_of_a_step(line: object) -> bool:
    return (
        isinstance(line, dict)
        and type(line.get("step")) is int
        and isinstance(line.get("split"), str)
        and not any(isinstance(value, dict | list) for value in line.values())
    )
