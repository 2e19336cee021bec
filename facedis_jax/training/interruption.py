"""Ctrl-C and a scheduler's SIGTERM as requests to finish the step and save."""

import os
import signal
import threading
from contextlib import ExitStack
from types import FrameType, TracebackType
from typing import Any

import numpy as np
from jax import process_count
from jax.experimental import multihost_utils

from facedis_jax import stopping


class Interruption:
    """Notes the first SIGINT or SIGTERM while it is entered; the second one ends the process at once.

    In a command (`facedis_jax.stopping`), one process alone notes it from its first step on: before, nothing is there
    to be saved, and the signal ends the command. In a run of several processes, JAX's runtime takes SIGTERM as a notice
    of preemption and passes it on to all. Outside the main thread, where Python sets no signal handlers, nothing is
    noted.
    """

    def __init__(self) -> None:
        self._noted: int | None = None
        self._previous: dict[int, Any] = {}
        self._stack = ExitStack()
        self._hold: stopping.Hold | None = None

    @property
    def signal(self) -> int | None:
        """The number of the signal that came, or None."""
        return self._noted if self._hold is None else self._hold.signal

    def __enter__(self) -> "Interruption":
        if stopping.is_command():
            if process_count() > 1:
                self._hold_on()
        elif threading.current_thread() is threading.main_thread():
            numbers = (signal.SIGINT,) if process_count() > 1 else (signal.SIGINT, signal.SIGTERM)
            self._previous = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        for number, handler in self._previous.items():
            # None stands for a handler that Python did not set and cannot set again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noted = number
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
        if stopping.is_command() and self._hold is None:
            self._hold_on()
        if process_count() == 1:
            return self.signal
        if multihost_utils.reached_preemption_sync_point(step):
            return signal.SIGTERM
        if step % every:
            return None
        return int(np.max(multihost_utils.process_allgather(np.int32(self.signal or 0)))) or None

    def _hold_on(self) -> None:
        self._hold = self._stack.enter_context(stopping.hold("saving after this step"))


def exit_code(signal_number: int | None) -> int:
    """What a shell calls the end by a signal: 130 for SIGINT, 143 for SIGTERM; 0 for none."""
    return 0 if signal_number is None else 128 + signal_number
