"""Ctrl-C and a scheduler's SIGTERM as requests to finish the step and save."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import numpy as np
from jax import process_count
from jax.experimental import multihost_utils


class Interruption:
    """Notes the first SIGINT or SIGTERM while it is entered; the second one ends the process at once.

    In a run of several processes, JAX's runtime takes SIGTERM as a notice of preemption and passes it on to all.
    Outside the main thread, where Python sets no signal handlers, nothing is noted.

    Attributes:
      signal: the number of the signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            numbers = (signal.SIGINT,) if process_count() > 1 else (signal.SIGINT, signal.SIGTERM)
            self._previous = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            # None stands for a handler that Python did not set and cannot set again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        for each in self._previous:
            signal.signal(each, signal.SIG_DFL)
        # Not print, which may be interrupted half-way through a print.
        os.write(
            2,
            f"\n{signal.Signals(number).name}: saving after this step; once more to stop at once\n".encode(),
        )

    def agreed_signal(self, step: int, *, every: int) -> int | None:
        """The signal that any process received, at one and the same step on all of them.

        Args:
          step: of the run; to be asked after every one.
          every: steps from one exchange about Ctrl-C to the next, which is a collective.
        """
        if process_count() == 1:
            return self.signal
        if multihost_utils.reached_preemption_sync_point(step):
            return signal.SIGTERM
        if step % every:
            return None
        return int(np.max(multihost_utils.process_allgather(np.int32(self.signal or 0)))) or None


def exit_code(signal_number: int | None) -> int:
    """What a shell calls the end by a signal: 130 for SIGINT, 143 for SIGTERM; 0 for none."""
    return 0 if signal_number is None else 128 + signal_number
