"""A model of images or clips on a page: sliders for appearance and geometry; canonical image, flow and image."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facedis_jax.inference.generator_models import TrainedImageModel
from facedis_jax.learners import VideoFunctions
from facedis_jax.reports.images.figures import display_image, grid_overlay
from facedis_jax.viewer.server import Redraw

_RANGE, _STEP = 3.0, 0.05
_MOST_SLIDERS = 10
_SIDE, _GAP, _LINE = 320, 24, 40
_PAPER, _INK = (255, 255, 255), (60, 60, 60)
PARTS = ("appearance", "geometry")


class ImagePage:
    """What a server shows of a generator; whoever looks at it sees and moves the same image."""

    def __init__(self, server: Any, model: TrainedImageModel, seed: int = 0):
        self._server, self._model, self._seed = server, model, seed
        self._lock = threading.RLock()
        self._latents: Any = jax.tree.map(lambda z: np.zeros_like(z[0]), self._drawn())
        self._parts = [part for part in PARTS if _first(getattr(self._latents, part)) is not None]
        self._scales = {part: self._deviations(part) for part in self._parts}
        self._decode = decoder(model)
        self._sheet: Any = None
        # An image's rows run along y of the scene, and it is seen against z.
        server.scene.set_up_direction("-y")
        server.initial_camera.position, server.initial_camera.look_at = (0.4, 0.0, -2.4), (0.4, 0.0, 0.0)
        self._add_controls()
        self._redraw = Redraw(self._draw, rate=30.0)
        self._redraw()

    def _add_controls(self) -> None:
        gui = self._server.gui
        with gui.add_folder("Image"):
            buttons = gui.add_button_group("set to", ["random", "reset"])
            buttons.on_click(lambda event: self._random() if event.target.value == "random" else self._reset())
            if self._model.codes is not None:
                last = len(jax.tree.leaves(self._model.codes)[0]) - 1
                for part in self._parts:
                    chosen = gui.add_slider(f"{part} of", min=0, max=max(last, 1), step=1, initial_value=0)
                    chosen.on_update(lambda event, part=part: self._take(part, event))
            self._frame = gui.add_slider(
                "frame",
                min=0,
                max=max(self._model.frames - 1, 1),
                step=1,
                initial_value=0,
                visible=self._model.frames > 1,
            )
            self._frame.on_update(lambda event: self._redraw())
        self._sliders: dict[str, list[Any]] = {}
        for part in self._parts:
            count = len(self._scales[part])
            self._sliders[part] = []
            for first in range(0, count, _MOST_SLIDERS):
                last = min(first + _MOST_SLIDERS, count)
                title = part.capitalize() if not first else f"{part.capitalize()} {first + 1}-{last}"
                with gui.add_folder(title, expand_by_default=not first):
                    for index in range(first, last):
                        slider = gui.add_slider(
                            f"{part} {index + 1}", min=-_RANGE, max=_RANGE, step=_STEP, initial_value=0.0
                        )
                        slider.on_update(lambda event, part=part, index=index: self._by_code(part, index, event))
                        self._sliders[part].append(slider)

    def _drawn(self) -> Any:
        key = jax.random.key(self._seed % 2**32)
        self._seed += 1
        return jax.device_get(self._model.sample(key, 1))

    def _deviations(self, part: str) -> np.ndarray:
        """Of the part's codes in training; those of the prior where none are kept."""
        shape = _first(getattr(self._latents, part)).shape
        if self._model.codes is None:
            return np.ones(shape, np.float32)
        deviations = np.asarray(_first(getattr(self._model.codes, part))).std(0)
        return np.where(deviations > 0, deviations, 1).astype(np.float32)

    # What the page's controls do. An event without a client is an echo of what was set here.

    def _random(self) -> None:
        self._go_to(jax.tree.map(lambda z: z[0], self._drawn()))

    def _reset(self) -> None:
        self._go_to(jax.tree.map(np.zeros_like, self._latents))

    def _take(self, part: str, event: Any) -> None:
        if event.client is not None:
            example = jax.tree.map(lambda z: np.asarray(z[int(event.target.value)]), getattr(self._model.codes, part))
            self._go_to(self._latents._replace(**{part: example}))

    def _by_code(self, part: str, index: int, event: Any) -> None:
        if event.client is None:
            return
        with self._lock:
            whole = getattr(self._latents, part)
            code = np.array(_first(whole))
            code[index] = event.target.value * self._scales[part][index]
            changed = whole._replace(first=code) if hasattr(whole, "first") else code
            self._latents = self._latents._replace(**{part: changed})
        self._redraw()

    def _go_to(self, latents: Any) -> None:
        with self._lock:
            self._latents = latents
            for part, sliders in self._sliders.items():
                places = (_first(getattr(latents, part)) / self._scales[part]).clip(-_RANGE, _RANGE)
                for slider, place in zip(sliders, places, strict=True):
                    slider.value = round(float(place) / _STEP) * _STEP
        self._redraw()

    def _draw(self) -> bool:
        picture = panels(self._decode(self._latents), int(self._frame.value))
        if self._sheet is None:
            height, width = (float(length) / _SIDE for length in picture.shape[:2])
            self._sheet = self._server.scene.add_image(
                "/image", picture, width, height, format="png", cast_shadow=False
            )
        else:
            self._sheet.image = picture
        return False


def decoder(model: TrainedImageModel) -> Callable[[Any], dict[str, np.ndarray]]:
    """From latents of one example its images [frames, size, size, channels], canonical images, and flows, by name."""
    functions = model.functions

    @jax.jit
    def decode(params: Any, latents: Any) -> dict[str, jax.Array]:
        if isinstance(functions, VideoFunctions):
            codes = functions.codes(params, latents)
            found = {"image": functions.decode(params, latents)}
        else:
            codes = jax.tree.map(lambda z: z[None], latents)
            found = {"image": functions.decode(params, codes)}
        if _first(codes.geometry) is not None:
            found |= {"canonical": functions.canonical(params, codes.appearance)}
        shown = {name: functions.to_unit_range(x) for name, x in found.items()}
        return shown | ({"flow": functions.flow(params, codes.geometry)} if "canonical" in found else {})

    return lambda latents: jax.device_get(decode(model.params, latents))


def panels(decoded: Mapping[str, np.ndarray], frame: int = 0) -> np.ndarray:
    """A frame's canonical image, its warp as a grid, and the image, RGB uint8 side by side."""
    decoded = {name: each[min(frame, len(each) - 1)] for name, each in decoded.items()}
    shown = {"image": display_image(decoded["image"])}
    if "flow" in decoded:
        shown = {
            "canonical image": display_image(decoded["canonical"]),
            "warp": grid_overlay(decoded["image"], decoded["flow"]),
            "warped image": shown["image"],
        }
    width, height = len(shown) * (_SIDE + _GAP) + _GAP, _SIDE + _LINE
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, (name, picture) in enumerate(shown.items()):
        left = _GAP + column * (_SIDE + _GAP)
        sheet.paste(Image.fromarray(picture).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC), (left, 0))
        draw.text((left + _SIDE / 2, _SIDE + 26), name, _INK, ImageFont.load_default(18), anchor="ms")
    return np.asarray(sheet)


def _first(code: Any) -> Any:
    """The code itself, of a clip that of its first frame; None for a model without such a code."""
    code = getattr(code, "first", code)
    return None if code is None or not np.shape(code)[-1] else code
