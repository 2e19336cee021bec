"""The process that feeds one reader, and that an input may kill; `python -m tests.fuzz` starts it."""

import hashlib
import importlib
import json
import os
import random
import resource
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facedis_jax.errors import InputError
from tests.fuzz.measure import give_memory_back_at_once, measure, memory_share, most_seconds
from tests.fuzz.mutations import mutate
from tests.fuzz.readers import READERS, Reader

_LONGEST_LINE = 4000
_TOO_SLOW = "failed: too slow"
# Beyond what the process has when it begins to feed.
_MOST_MEMORY = 6 << 30
_SAVED_OF_A_KIND = 3


@dataclass(frozen=True)
class Job:
    """The task of a worker.

    Attributes:
      reader: its name.
      engine: "coverage" or "mutation".
      count: how many inputs.
      start: how many of them earlier workers have fed.
      seed: of the random numbers.
      folder: an empty one to work in.
      failures: the folder where inputs are kept on which the reader fails.
    """

    reader: str
    engine: str
    count: int
    start: int
    seed: int
    folder: str
    failures: str

    @property
    def records(self) -> Path:
        """One line of JSON for each input."""
        return Path(self.folder, "records.jsonl")

    @property
    def last_input(self) -> Path:
        """The input that is being fed, as `Feeder` takes it; where it is missing, no input killed the worker."""
        return Path(self.folder, "last_input")


class Feeder:
    """Feeds inputs to a reader and measures what they cost.

    An input is one byte, the index of the file that it replaces, and the content of that file.
    """

    def __init__(self, reader: Reader, folder: Path):
        self.reader = reader
        self.folder = folder / "files"
        self.folder.mkdir(parents=True, exist_ok=True)
        pairs = reader.seeds(self.folder)
        self.names = list(dict.fromkeys(name for name, _ in pairs))
        self.seeds = [self.packed(*pair) for pair in pairs]
        # A file of its own is left as it is; one among others is put back for the next input.
        self._whole = dict(pairs) if len(self.names) > 1 else {}

    def packed(self, name: str, content: bytes) -> bytes:
        return bytes([self.names.index(name)]) + content

    def dense(self) -> list[bytes]:
        return [self.packed(*pair) for pair in self.reader.dense()]

    def feed(self, data: bytes) -> dict:
        """The outcome, cost and size of an input, with a traceback where there is one."""
        name = self.names[data[0] % len(self.names)] if data else self.names[0]
        path, content = self.folder / name, data[1:]
        path.write_bytes(content)
        outcome, details = "read", ""

        def read() -> None:
            nonlocal outcome, details
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("always")
                    warnings.simplefilter("ignore", DeprecationWarning)
                    self.reader.read(self.folder, name)
            except InputError as error:
                outcome, line = "refused", str(error)
                if not line.isprintable() or len(line) > _LONGEST_LINE:
                    outcome, details = "failed: a refusal that is no short line", line[:1000]
            except Exception as error:
                last = traceback.extract_tb(error.__traceback__)[-1]
                outcome = f"failed: {type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
                details = traceback.format_exc()

        cost = measure(read)
        share = memory_share(cost.memory, len(content))
        if outcome in ("read", "refused"):
            if share > 1:
                outcome = "failed: too much memory"
            elif cost.seconds > most_seconds(len(content)):
                outcome = _TOO_SLOW
            elif cost.noise:
                outcome = "failed: writes to standard error"
        if name in self._whole:
            path.write_bytes(self._whole[name])
        record = {"outcome": outcome, "size": len(content), **asdict(cost), "share": share}
        return {**record, "details": details} if details else record


def work(job: Job) -> None:
    """Feeds the inputs of a job, and adds a line to its records for each."""
    reader = READERS[job.reader]
    atheris: Any = None
    if job.engine == "coverage":
        atheris = importlib.import_module("atheris")
        with atheris.instrument_imports(include=list(reader.instrument)):
            feeder = Feeder(reader, Path(job.folder))
            feeder.feed(feeder.seeds[0])  # Imports what the reader needs.
    else:
        feeder = Feeder(reader, Path(job.folder))
        feeder.feed(feeder.seeds[0])
    give_memory_back_at_once()
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + _MOST_MEMORY, size + _MOST_MEMORY))
    failures = Path(job.failures)
    saved: dict[str, int] = {}

    with job.records.open("a", encoding="utf-8") as records:

        def feed(data: bytes) -> None:
            job.last_input.write_bytes(data)
            record = feeder.feed(data)
            if atheris is not None and record["outcome"] == _TOO_SLOW:
                record = _uninstrumented(job, record)
            job.last_input.unlink()
            if record["outcome"].startswith("failed"):
                kind = record["outcome"]
                saved[kind] = saved.get(kind, 0) + 1
                if saved[kind] <= _SAVED_OF_A_KIND:
                    record["input"] = str(save_failure(failures, job.reader, data))
            records.write(json.dumps(record) + "\n")
            records.flush()

        dense = feeder.dense()
        for data in dense[job.start :]:
            feed(data)
        fed = max(job.start, len(dense))
        del dense
        if atheris is None:
            _mutate(feeder, feed, job.count - fed, job.seed + fed)
        else:
            _explore(atheris, feeder, feed, job.count - fed, job.seed + fed, Path(job.folder))


def _uninstrumented(job: Job, record: dict) -> dict:
    """The record of the last input without instrumentation, which can make reading ten times slower."""
    command = [sys.executable, "-m", "tests.fuzz", "--repeat", str(job.last_input), "--reader", job.reader]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return json.loads(lines[-1]) if lines else record


def save_failure(folder: Path, reader: str, data: bytes) -> Path:
    """Keeps an input, named after its reader and content."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{reader}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path


def _changed(feeder: Feeder, randoms: random.Random, data: bytes) -> bytes:
    how = feeder.reader.mutate if randoms.random() < 0.5 else mutate
    if how is mutate:
        return data[:1] + mutate(randoms, data[1:], [seed[1:] for seed in feeder.seeds])
    return data[:1] + how(randoms, data[1:])


def _mutate(feeder: Feeder, feed: Callable[[bytes], None], count: int, seed: int) -> None:
    randoms = random.Random(seed)
    for _ in range(count):
        feed(_changed(feeder, randoms, randoms.choice(feeder.seeds)))


def _explore(atheris: Any, feeder: Feeder, feed: Callable[[bytes], None], count: int, seed: int, folder: Path) -> None:
    """Feeds changes of inputs that have reached new branches, made by libFuzzer and by `mutations`."""
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for i, data in enumerate(feeder.seeds):
        (corpus / f"seed{i:03d}").write_bytes(data)

    def change(data: bytes, longest: int, seed: int) -> bytes:
        randoms = random.Random(seed)
        # Nearly all inputs that reach new branches are refused, and so are changes of them.
        data = data if randoms.random() < 0.6 else randoms.choice(feeder.seeds)
        if randoms.random() < 0.3:
            return data[:1] + atheris.Mutate(data[1:], longest - 1)
        return _changed(feeder, randoms, data)[:longest]

    options = [f"-runs={count}", f"-seed={seed % 2**31 or 1}", "-max_len=1048576", "-rss_limit_mb=0", "-timeout=600"]
    atheris.Setup(
        [sys.argv[0], *options, "-len_control=0", "-mutate_depth=1", str(corpus)], feed, custom_mutator=change
    )
    atheris.Fuzz()


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    work(Job(**json.loads(sys.argv[1])))
