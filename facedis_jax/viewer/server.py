"""The page's server, and a thread that redraws what it shows."""

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from facedis_jax.errors import InputError, reason


def open_server(title: str, host: str, port: int) -> Any:
    """A viser server, which serves its page at once; nothing that the page needs lies elsewhere.

    Raises:
      InputError: the port is taken, or the host is none of this machine's.
    """
    # viser would take the next free port without a word.
    try:
        with socket.create_server((host, port)):
            pass
    except (OSError, OverflowError) as error:
        raise InputError("port", f"a free port of {host}", f"{port}: {reason(error)}") from error
    import viser

    server = viser.ViserServer(host=host, port=port, label=title, verbose=False)
    server.gui.configure_theme(show_logo=False, show_share_button=False, brand_color=(138, 75, 35))
    return server


class Redraw:
    """Draws in a thread of its own whenever something has changed, what is newest, and no more often than it can.

    Args:
      draw: draws what is newest; whether it is to be called again, as what is shown still moves.
      rate: at most so many times a second.
    """

    def __init__(self, draw: Callable[[], bool], rate: float = 60.0):
        self._draw, self._pause = draw, 1 / rate
        self._changed = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def __call__(self) -> None:
        """Says that something has changed."""
        self._changed.set()

    def _run(self) -> None:
        while True:
            self._changed.wait()
            self._changed.clear()
            begun = time.monotonic()
            if self._draw():
                self._changed.set()
            time.sleep(max(0.0, begun + self._pause - time.monotonic()))
