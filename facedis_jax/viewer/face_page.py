"""A model of faces on a page: who, in which expression, by names and by codes; loaded scans, and saved files."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from scipy.spatial import cKDTree

from facedis_jax.errors import InputError
from facedis_jax.formats.meshes import WRITABLE_SUFFIXES, Mesh, encode_mesh
from facedis_jax.formats.scans import SCAN_SUFFIXES
from facedis_jax.inference.face_model import TrainedFaceModel
from facedis_jax.viewer.face_choices import AVERAGE, NEUTRAL, FaceChoices, Loaded, Scale, Shown
from facedis_jax.viewer.server import Redraw

_SKIN, _SCAN = (214, 178, 158), (120, 150, 185)
# The scene is in decimetres: its camera and its lights are made for things of a few units.
_SCENE = 0.01
_RANGE, _STEP = 3.0, 0.05
# More sliders of one code are folded up.
_MOST_SLIDERS = 12
# Of what is left to the face that is asked for, the part that is gone in each frame: sliders are read at steps, and
# faces move.
_EASE, _THERE = 0.5, 1e-3
_HEAT_MM = 4.0


class FacePage:
    """What a server shows of a model of faces; whoever looks at it sees and moves the same face."""

    def __init__(self, server: Any, model: TrainedFaceModel, seed: int = 0):
        self._server, self._model = server, model
        self._choices = FaceChoices.of(model)
        self._rng = np.random.default_rng(seed)
        self._lock = threading.RLock()
        self._target = self._now = self._choices.face(AVERAGE, NEUTRAL, 1.0)
        self._ends: list[Shown] = [self._now, self._now]
        self._scan: Loaded | None = None
        self._heat: Any = None
        self._vertices = self._choices.decode(self._now)
        self._add_scene()
        self._add_controls()
        self._redraw = Redraw(self._draw)

    def _add_scene(self) -> None:
        scene, mean = self._server.scene, self._model.trained.constants.mean_face
        low, high = mean.min(0), mean.max(0)
        self._centre = (low + high) / 2
        scene.set_up_direction("+y")
        camera = self._server.initial_camera
        camera.position = (0.0, 0.0, 1.35 * float((high - low)[:2].max()) * _SCENE)
        camera.look_at = (0.0, 0.0, 0.0)
        at = tuple(float(x) for x in -self._centre * _SCENE)
        triangles = self._model.triangles
        self._face = scene.add_mesh_simple(
            "/face", self._vertices, triangles, color=_SKIN, side="double", scale=_SCENE, position=at, cast_shadow=False
        )
        self._place = at

    def _add_controls(self) -> None:
        gui, choices = self._server.gui, self._choices
        with gui.add_folder("Face"):
            self._who = gui.add_dropdown("person", list(choices.people), initial_value=AVERAGE)
            self._what = gui.add_dropdown("expression", list(choices.expressions), initial_value=NEUTRAL)
            self._level = gui.add_slider("level", min=0.0, max=1.0, step=0.01, initial_value=1.0)
            for each in (self._who, self._what, self._level):
                each.on_update(self._named)
            buttons = gui.add_button_group("set to", ["random", "reset"])
            buttons.on_click(lambda event: self._random() if event.target.value == "random" else self._reset())
        with gui.add_folder("Between two", expand_by_default=False):
            keep = gui.add_button_group("this face is", ["one", "the other"])
            keep.on_click(lambda event: self._keep(int(event.target.value == "the other")))
            self._way = gui.add_slider("from one to other", min=0.0, max=1.0, step=0.01, initial_value=0.0)
            self._way.on_update(self._between)
        self._sliders = {
            "identity": self._add_sliders("Identity", choices.identity_scale),
            "expression": self._add_sliders("Expression", choices.expression_scale),
        }
        with gui.add_folder("Files"):
            upload = gui.add_upload_button("load a scan", mime_type=",".join(SCAN_SUFFIXES))
            upload.on_upload(self._load)
            self._scan_shown = gui.add_checkbox("show the loaded one", False, disabled=True)
            self._scan_shown.on_update(lambda event: self._show_scan())
            self._heat_shown = gui.add_checkbox(f"distance to it, 0 to {_HEAT_MM:g} mm", False, disabled=True)
            self._heat_shown.on_update(lambda event: self._redraw())
            self._note = gui.add_markdown("", visible=False)
            self._format = gui.add_dropdown("format", [suffix[1:] for suffix in WRITABLE_SUFFIXES])
            gui.add_button("save").on_click(self._save)

    def _add_sliders(self, title: str, scale: Scale) -> list[Any]:
        gui, sliders = self._server.gui, []
        count = len(scale.mean)
        for first in range(0, count, _MOST_SLIDERS):
            last = min(first + _MOST_SLIDERS, count)
            with gui.add_folder(title if not first else f"{title} {first + 1}-{last}", expand_by_default=not first):
                for index in range(first, last):
                    slider = gui.add_slider(
                        f"{title.lower()} {index + 1}", min=-_RANGE, max=_RANGE, step=_STEP, initial_value=0.0
                    )
                    slider.on_update(self._by_codes)
                    sliders.append(slider)
        return sliders

    # What the page's controls do. An event without a client is an echo of what was set here.

    def _named(self, event: Any) -> None:
        if event.client is not None:
            self._go_to(self._choices.face(self._who.value, self._what.value, self._level.value))

    def _by_codes(self, event: Any) -> None:
        if event.client is None:
            return
        scales = {"identity": self._choices.identity_scale, "expression": self._choices.expression_scale}
        with self._lock:
            for name, sliders in self._sliders.items():
                index = next((i for i, slider in enumerate(sliders) if slider is event.target), None)
                if index is not None:
                    code = getattr(self._target, name).copy()
                    code[index] = scales[name].mean[index] + event.target.value * scales[name].deviation[index]
                    self._target = self._target._replace(**{name: code})
        self._redraw()

    def _random(self) -> None:
        with self._lock:
            self._go_to(self._choices.random(self._rng))

    def _reset(self) -> None:
        self._who.value, self._what.value, self._level.value = AVERAGE, NEUTRAL, 1.0
        self._go_to(self._choices.face(AVERAGE, NEUTRAL, 1.0))

    def _keep(self, end: int) -> None:
        with self._lock:
            self._ends[end] = self._target
            self._way.value = float(end)

    def _between(self, event: Any) -> None:
        if event.client is not None:
            self._go_to(self._ends[0].towards(self._ends[1], self._way.value))

    def _go_to(self, shown: Shown) -> None:
        """Asks for a face, and sets the sliders to its codes."""
        with self._lock:
            self._target = shown
            for name, scale in zip(
                ("identity", "expression"), (self._choices.identity_scale, self._choices.expression_scale), strict=True
            ):
                places = (getattr(shown, name) - scale.mean) / scale.deviation
                for slider, place in zip(self._sliders[name], places.clip(-_RANGE, _RANGE), strict=True):
                    slider.value = round(float(place) / _STEP) * _STEP
        self._redraw()

    def _load(self, event: Any) -> None:
        file = event.target.value
        self._say(f"looking for the face in {file.name}")
        try:
            loaded = self._choices.load(file.name, file.content)
        except InputError as error:
            self._say(str(error))
            return
        self._say(loaded.doubt)
        with self._lock:
            name = f"file: {Path(file.name).name}"
            self._choices = self._choices.with_loaded(name, loaded)
            self._who.options, self._what.options = list(self._choices.people), list(self._choices.expressions)
            self._who.value, self._what.value, self._level.value = name, name, 1.0
            self._scan = loaded
        for box in (self._scan_shown, self._heat_shown):
            box.disabled = False
        self._show_scan()
        self._go_to(loaded.codes)

    def _say(self, text: str) -> None:
        """Shows a line below the files, as it is written; none where it is empty."""
        self._note.content, self._note.visible = f"```\n{text}\n```", bool(text)

    def _show_scan(self) -> None:
        if self._scan is None:
            return
        scene, vertices = self._server.scene, self._scan.vertices.astype(np.float32)
        place: dict[str, Any] = {"position": self._place, "visible": bool(self._scan_shown.value)}
        if len(self._scan.triangles):
            scene.add_mesh_simple(
                "/loaded",
                vertices,
                self._scan.triangles,
                color=_SCAN,
                opacity=0.55,
                side="double",
                scale=_SCENE,
                **place,
            )
        else:
            scene.add_point_cloud("/loaded", vertices * _SCENE, _SCAN, point_size=0.008, **place)

    def _save(self, event: Any) -> None:
        name = f"face.{self._format.value}"
        mesh = Mesh(self._choices.decode(self._target).astype(np.float32), self._model.triangles)
        event.client.send_file_download(name, encode_mesh(Path(name), mesh), save_immediately=True)

    def _draw(self) -> bool:
        """Moves what is shown towards what is asked for; whether it is not there yet."""
        with self._lock:
            target, scan = self._target, self._scan if self._heat_shown.value else None
        is_near = self._now.distance(target) < _THERE
        self._now = target if is_near else self._now.towards(target, _EASE)
        self._vertices = self._choices.decode(self._now)
        if scan is None:
            self._face.vertices = self._vertices
        self._draw_heat(scan if is_near else None, keep=scan is not None)
        return not is_near

    def _draw_heat(self, scan: Loaded | None, *, keep: bool) -> None:
        """Shows the distances of a face at rest to the loaded mesh; of one that moves, those of before."""
        self._face.visible = not keep
        if not keep and self._heat is not None:
            self._heat.remove()
            self._heat = None
        if scan is None:
            return
        import trimesh

        points = scan.vertices
        if len(scan.triangles):
            points = np.concatenate([points, points[scan.triangles].mean(1)])
        distances = cKDTree(points).query(self._vertices)[0]
        colors = (colormaps["viridis"](np.clip(distances / _HEAT_MM, 0, 1)) * 255).astype(np.uint8)
        surface = trimesh.Trimesh(self._vertices, self._model.triangles, vertex_colors=colors, process=False)
        _ = surface.vertex_normals  # Without being asked for, they are not sent, and the surface has facets.
        self._heat = self._server.scene.add_mesh_trimesh("/heat", surface, scale=_SCENE, position=self._place)
