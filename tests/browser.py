"""A headless Chromium by its DevTools protocol, for tests of pages; needs `websockets`, which viser brings."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu-sandbox", "--use-angle=swiftshader", "--hide-scrollbars")
_FLAGS += ("--enable-unsafe-swiftshader", "--remote-debugging-port=0", "--no-first-run", "--disable-extensions")
_QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-default-browser-check",
)


class Browser:
    """One page of a browser.

    Attributes:
      requests: addresses that the page has asked for.
      received: sizes in bytes, and times, of what has come over its WebSockets.
      complaints: errors of its scripts.
    """

    def __init__(self, socket: Any):
        self._socket, self._number = socket, 0
        self.requests: list[str] = []
        self.received: list[tuple[float, int]] = []
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        # Workers too, where viser has its WebSocket.
        self.send("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=False, flatten=True)

    def post(self, method: str, session: str | None = None, **params: Any) -> int:
        """Sends a command, without waiting for its result; returns its number."""
        self._number += 1
        to = {} if session is None else {"sessionId": session}
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params, **to}))
        return self._number

    def send(self, method: str, **params: Any) -> Any:
        """The result of a command."""
        number = self.post(method, **params)
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def wait(self, seconds: float) -> None:
        """Lets time pass."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                self._note(json.loads(self._socket.recv(timeout=left)))
            except TimeoutError:
                return

    def until(self, script: str, seconds: float = 40) -> Any:
        """The value of an expression, as soon as it is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := self.value(script):
                return value
            self.wait(0.1)
        raise AssertionError(f"not true within {seconds} s: {script}")

    def value(self, script: str) -> Any:
        """The value of an expression on the page."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def open(self, address: str, width: int = 1300, height: int = 900, *, dark: bool = False) -> None:
        """Goes to an address, in a window of this size."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        theme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", features=theme)
        self.send("Page.navigate", url=address)
        self.until("document.readyState == 'complete'")

    def mouse(self, kind: str, x: float, y: float) -> None:
        """A `mousePressed`, `mouseMoved` or `mouseReleased` at a place."""
        held = kind != "mouseReleased"
        self.post("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=int(held), clickCount=1)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drags the mouse from one place to another."""
        self.mouse("mousePressed", *start)
        self.wait(0.2)
        for step in range(1, 5):
            self.mouse("mouseMoved", *(a + (b - a) * step / 4 for a, b in zip(start, end, strict=True)))
            self.wait(0.1)
        self.mouse("mouseReleased", *end)

    def screenshot(self, path: Path) -> None:
        """A picture of what is seen."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    def _note(self, message: Any) -> None:
        params = message.get("params", {})
        match message.get("method"):
            case "Target.attachedToTarget":
                self.post("Network.enable", session=params["sessionId"])
            case "Network.requestWillBeSent" if not params["request"]["url"].startswith(("data:", "blob:")):
                self.requests.append(params["request"]["url"])
            case "Network.webSocketCreated":
                self.requests.append(params["url"])
            case "Network.webSocketFrameReceived":
                self.received.append((time.monotonic(), len(params["response"]["payloadData"])))
            case "Runtime.exceptionThrown":
                self.complaints.append(params["exceptionDetails"].get("exception", {}).get("description", "?"))
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """A browser with a profile in a folder; the test is skipped where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("without chromium")
    client = pytest.importorskip("websockets.sync.client")
    folder.mkdir(parents=True, exist_ok=True)
    flags = [*_FLAGS, *_QUIET, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    process = subprocess.Popen([program, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        found = folder / "profile" / "DevToolsActivePort"
        end = time.monotonic() + 60
        while not (found.exists() and found.read_text().count("\n")) and time.monotonic() < end:
            time.sleep(0.05)
        port, place = found.read_text().split("\n")[:2]
        with client.connect(f"ws://127.0.0.1:{port}{place}", max_size=None) as whole:
            whole.send(json.dumps({"id": 1, "method": "Target.getTargets"}))
            page = next(t for t in json.loads(whole.recv(timeout=30))["result"]["targetInfos"] if t["type"] == "page")
            address = f"ws://127.0.0.1:{port}/devtools/page/{page['targetId']}"
            with client.connect(address, max_size=None) as socket:
                yield Browser(socket)
    finally:
        process.terminate()
        process.wait(20)
