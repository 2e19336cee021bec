"""How often a second the page of a model follows a slider: `python -m tests.viewer.updates --model ict-face`.

A headless Chromium drags a slider from side to side, and counts the faces that come over its WebSocket; it draws them
without a GPU. Needs chromium and the extra `viewer`; run it on a machine that does nothing else.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from facedis_jax.inference.load import load_faces
from facedis_jax.viewer.face_page import FacePage
from facedis_jax.viewer.server import open_server
from tests.browser import Browser, chromium

SLIDER = """(() => {const r = [...document.querySelectorAll('[role=slider]')].filter(e =>
  e.getBoundingClientRect().width)[1].getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]})()"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="ict-face")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--port", type=int, default=8479)
    options = parser.parse_args()
    model = load_faces(options.model)
    page = FacePage(open_server("updates", "127.0.0.1", options.port), model)
    with tempfile.TemporaryDirectory() as folder, chromium(Path(folder)) as browser:
        browser.open(f"http://127.0.0.1:{options.port}", 1000, 800)
        browser.until("document.querySelectorAll('[role=slider]').length > 5", 120)
        browser.wait(4)
        found = dragged(browser, page, options.seconds, len(model.trained.constants.mean_face))
    print(json.dumps({"model": options.model, **found}))
    return 0


def dragged(browser: Browser, page: FacePage, seconds: float, vertices: int) -> dict[str, float]:
    """Updates a second and their bytes, and what one costs the server's process, in ms of processor time."""
    draws, draw = [0], page._redraw._draw

    def counted() -> bool:
        draws[0] += 1
        return draw()

    page._redraw._draw = counted
    x, y = browser.value(SLIDER)
    browser.received.clear()
    browser.mouse("mousePressed", x, y)
    begun, worked = time.monotonic(), time.process_time()
    while (now := time.monotonic() - begun) < seconds:
        browser.mouse("mouseMoved", x + 40 * math.sin(3 * now), y)
        browser.wait(0.012)
    browser.mouse("mouseReleased", x, y)
    worked = time.process_time() - worked
    # Positions of all vertices take 12 bytes each; text of the protocol has them in base 64.
    sizes = [size * 3 / 4 for when, size in browser.received if when < begun + seconds and size > 12 * vertices]
    return {
        "vertices": vertices,
        "updates_per_second": round(len(sizes) / seconds, 1),
        "draws_per_second": round(draws[0] / seconds, 1),
        "bytes": float(np.median(sizes)) if sizes else 0.0,
        "server_ms": round(1e3 * worked / max(draws[0], 1), 2),
    }


if __name__ == "__main__":
    sys.exit(main())
