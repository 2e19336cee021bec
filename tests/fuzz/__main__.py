"""Feeds hostile files to every reader of the project, and counts how many it reads, refuses or fails on.

A reader must read each file or refuse it in one line, within 2 seconds of processor time, or 1 for each MiB of the
file, and within 10 times the file's size and 64 MiB of memory. An input on which it fails is kept, with the command
that repeats it.

Inputs are first large files that are made to be costly, then changes of valid files: with atheris
(`pip install 'facedis-jax[fuzz]'`) changes of those that have reached new branches, without it random ones.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import rich.console
import rich.table
import tyro

from facedis_jax.errors import InputError
from tests.fuzz.readers import READERS
from tests.fuzz.worker import Feeder, Job, save_failure

# Seconds of wall time after which a worker counts as hanging; the limit of processor time is lower.
_PATIENCE = 60.0
_MOST_DEATHS = 20


@dataclass(frozen=True)
class Options:
    """Which readers are fed, and with how many inputs.

    Attributes:
      reader: names of readers, all of them if none.
      count: inputs for each.
      seed: of the random numbers.
      engine: "coverage" needs atheris; by default it is used where it is installed.
      failures: the folder where inputs are kept on which a reader failed.
      results: a JSON file for the table.
      repeat: a kept input to feed again, with its traceback.
    """

    reader: tuple[str, ...] = ()
    count: int = 10_000
    seed: int = 0
    engine: Literal["coverage", "mutation"] | None = None
    failures: Path = Path("fuzz-failures")
    results: Path | None = None
    repeat: Path | None = None


@dataclass(frozen=True)
class Row:
    """The outcomes of a reader's inputs.

    Attributes:
      reader: its name.
      inputs, refused: how many.
      slowest: most processor time of an input, seconds.
      memory: most memory of an input, as a share of what its size allows.
      failures: how many inputs failed, by what happened.
      kept: a kept input for each.
    """

    reader: str
    inputs: int
    refused: int
    slowest: float
    memory: float
    failures: dict[str, int]
    kept: dict[str, str]


def main(options: Options) -> int:
    """Runs the command; returns its exit code, 1 where a reader failed."""
    unknown = [name for name in options.reader if name not in READERS]
    if unknown:
        raise InputError("--reader", f"some of {', '.join(READERS)}", ", ".join(unknown))
    if options.repeat is not None:
        return _repeat(options.repeat, options.reader)
    has_atheris = importlib.util.find_spec("atheris") is not None
    if options.engine == "coverage" and not has_atheris:
        raise InputError("--engine", "mutation, or pip install 'facedis-jax[fuzz]'", "no package atheris")
    engine = options.engine or ("coverage" if has_atheris else "mutation")
    rows: list[Row] = []
    for name in options.reader or READERS:
        print(f"{name}: {options.count} inputs", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            failures = options.failures.absolute()
            rows.append(_run(Job(name, engine, options.count, 0, options.seed, folder, str(failures))))
        _show_failures(rows[-1])
        if options.results is not None:
            results = {"engine": engine, "readers": [asdict(row) for row in rows]}
            options.results.write_text(json.dumps(results, indent=2))
    _show(rows, engine)
    return int(any(row.failures for row in rows))


def _run(job: Job) -> Row:
    """Runs a worker that feeds a reader, and another one after each that dies."""
    deaths: list[dict] = []
    while True:
        reason = _work(job)
        fed = _count_lines(job.records)
        if not reason:
            break
        if not job.last_input.exists() or len(deaths) == _MOST_DEATHS:
            error = Path(job.folder, "stderr").read_text(errors="replace")[-2000:]
            sys.exit(f"the worker that feeds {job.reader} {reason}\n{error}")
        kept = save_failure(Path(job.failures), job.reader, job.last_input.read_bytes())
        deaths.append({"outcome": f"failed: {reason}", "input": str(kept)})
        with job.records.open("a") as file:
            cost = {"size": 0, "seconds": 0.0, "memory": 0, "noise": 0, "share": 0.0}
            file.write(json.dumps({**cost, **deaths[-1]}) + "\n")
        if fed + 1 >= job.count:
            break
        job = replace(job, start=fed + 1)
    records = [json.loads(line) for line in job.records.read_text().splitlines()]
    failed = [record for record in records if record["outcome"].startswith("failed")]
    kept_of = {record["outcome"]: record["input"] for record in reversed(failed) if "input" in record}
    return Row(
        job.reader,
        len(records),
        sum(record["outcome"] == "refused" for record in records),
        max(record["seconds"] for record in records),
        max(record["share"] for record in records),
        dict(Counter(record["outcome"].removeprefix("failed: ") for record in failed)),
        {outcome.removeprefix("failed: "): kept for outcome, kept in kept_of.items()},
    )


def _work(job: Job) -> str:
    """Why a worker died; empty where it fed all inputs."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
    with Path(job.folder, "stderr").open("wb") as errors:
        command = [sys.executable, "-m", "tests.fuzz.worker", json.dumps(asdict(job))]
        process = subprocess.Popen(command, stdout=errors, stderr=errors, env=environment)
        size, since = -1, time.monotonic()
        while process.poll() is None:
            time.sleep(0.2)
            now = job.records.stat().st_size if job.records.exists() else 0
            if now != size:
                size, since = now, time.monotonic()
            elif time.monotonic() - since > _PATIENCE:
                process.kill()
                process.wait()
                return "hangs"
    return f"died of {process.returncode}" if process.returncode else ""


def _count_lines(path: Path) -> int:
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def _repeat(path: Path, readers: tuple[str, ...]) -> int:
    name = readers[0] if readers else path.name.rpartition("-")[0]
    if name not in READERS:
        raise InputError(path, "the name of a kept input, or --reader beside it", path.name)
    with tempfile.TemporaryDirectory() as folder:
        feeder = Feeder(READERS[name], Path(folder))
        feeder.feed(feeder.seeds[0])
        record = feeder.feed(path.read_bytes())
    print(record.pop("details", ""), end="")
    print(json.dumps(record))
    return int(record["outcome"].startswith("failed"))


def _show_failures(row: Row) -> None:
    for what, count in row.failures.items():
        print(f"{row.reader}: {count} x {what}; python -m tests.fuzz --repeat {row.kept.get(what, '?')}", flush=True)


def _show(rows: list[Row], engine: str) -> None:
    table = rich.table.Table(title=f"hostile files ({engine})")
    for column in ("reader", "inputs", "refused", "slowest, s", "memory, of what is allowed", "failures"):
        table.add_column(column, justify="left" if column == "reader" else "right")
    for row in rows:
        cells = (row.inputs, row.refused, f"{row.slowest:.2f}", f"{row.memory:.0%}", sum(row.failures.values()))
        table.add_row(row.reader, *map(str, cells))
    rich.console.Console().print(table)


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    try:
        sys.exit(main(tyro.cli(Options, prog="python -m tests.fuzz", description=__doc__)))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
