"""Several processes of one command on this machine."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

# A process that waits for one that is gone gives up by itself only after minutes.
_GRACE = 5.0


def launch(commands: Sequence[Sequence[str]], **options: Any) -> int:
    """Runs commands at once; signals are passed on, and where one fails the others are ended.

    Args:
      commands: each with its arguments.
      **options: of `subprocess.Popen`.

    Returns:
      0 where all ended well, else the exit code of the first that did not.
    """
    processes = [subprocess.Popen(command, **options) for command in commands]

    def pass_on(number: int, _: object) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    before = signal.signal(signal.SIGTERM, pass_on)
    failed: int | None = None
    deadline = float("inf")
    while any(process.poll() is None for process in processes):
        codes = [process.poll() for process in processes]
        failed = next((code for code in codes if code), failed)
        if failed is not None:
            deadline = min(deadline, time.monotonic() + _GRACE)
        if time.monotonic() > deadline:
            for process in processes:
                process.kill()
        time.sleep(0.05)
    signal.signal(signal.SIGTERM, before)
    code = failed or next((process.returncode for process in processes if process.returncode), 0)
    # As a shell tells of a process that a signal ended.
    return 128 - code if code < 0 else code


def commands(module: str, arguments: Sequence[str], num_processes: int) -> list[list[str]]:
    """What each process runs, a module and its arguments; together they meet at a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = [sys.executable, "-m", module, *arguments]
    together = ["--coordinator", f"127.0.0.1:{port}", "--num-processes", str(num_processes)]
    return [[*program, *together, "--process-id", str(i)] for i in range(num_processes)]
