"""Files of a face that was fitted to a scan: the mesh, an image beside it, and figures in JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from facedis_jax.errors import InputError, reason
from facedis_jax.formats.json_files import to_jsonable
from facedis_jax.formats.meshes import Mesh, encode_mesh
from facedis_jax.formats.scans import ScanFile
from facedis_jax.formats.whole import write_together
from facedis_jax.inference.fitting.results import FaceFit
from facedis_jax.rendering.faces import Camera, render_face
from facedis_jax.reports.faces.edited import check_output
from facedis_jax.reports.figures import png
from facedis_jax.reports.grids import ColorScale, grid_figure

# What the heat map's colours end at, mm.
_FARTHEST_MM = 3.0
# Of a scan that is drawn: triangles, and points as triangles of this length in mm.
_MOST_DRAWN, _DOT_MM = 60_000, 2.0
_AROUND_MM = 15.0


def check_fit_output(output: Path, json_file: Path | None) -> None:
    """Checks that a fitted face can be written under these names, before anything is computed.

    Raises:
      InputError: the ending of the mesh is no format's, a folder does not exist, or two files have one name.
    """
    check_output(output)
    for path in (output, output.with_suffix(".png"), *([] if json_file is None else [json_file])):
        if path.is_dir():
            raise InputError(path, "a file to write", "a folder")
    if json_file is not None:
        if not json_file.parent.is_dir():
            raise InputError(json_file, "a folder that exists", f"no {json_file.parent}")
        if json_file.absolute() in (output.absolute(), output.with_suffix(".png").absolute()):
            raise InputError(json_file, "a file of its own", f"that of {output}")


def write_fit(
    output: Path, json_file: Path | None, fit: FaceFit, triangles: np.ndarray, scan: ScanFile, about: Mapping[str, Any]
) -> list[Path]:
    """Writes the mesh in the scan's place and unit, the image beside it, and the figures, all of these files or none.

    Args:
      output: the mesh; the image ends in .png.
      json_file: for the figures; None for none.
      fit: the face.
      triangles: [triangles, 3], of the face.
      scan: that it was fitted to.
      about: what else is to stand among the figures.

    Returns:
      The paths of the files.

    Raises:
      InputError: one of them cannot be written.
    """
    vertices = fit.vertices if fit.detail is None else fit.detail
    contents = {
        output: encode_mesh(output, Mesh(vertices, triangles), unit=fit.unit),
        output.with_suffix(".png"): png(_figure(fit, triangles, scan)),
    }
    if json_file is not None:
        contents[json_file] = (json.dumps(to_jsonable({**about, **figures(fit)}), indent=2) + "\n").encode()
    try:
        write_together(contents)
    except OSError as error:
        raise InputError(output, "a place to write to", reason(error)) from error
    return list(contents)


def figures(fit: FaceFit) -> dict[str, Any]:
    """What a fit found, for JSON: all but the vertices."""
    return {
        "unit": fit.unit,
        "is_bad": fit.is_bad,
        "reason": fit.reason,
        "distances_mm": fit.distances._asdict(),
        "identity": np.asarray(fit.codes.identity.mean),
        "expression": np.asarray(fit.codes.expression.mean),
        "labels": None if fit.codes.labels is None else np.asarray(fit.codes.labels),
        "pose": {
            "rotation": fit.pose.rotation,
            "translation_mm": fit.pose.translation,
            "millimetres_per_unit": fit.pose.scale,
        },
        "points": len(fit.inside),
        "points_of_the_face": int(fit.inside.sum()),
        "is_inside_out": fit.is_inside_out,
        "vertex_distances_mm": fit.vertex_mm,
        "vertex_std_mm": fit.std_mm,
    }


def _figure(fit: FaceFit, triangles: np.ndarray, scan: ScanFile) -> Figure:
    face = fit.pose.to_model(fit.vertices)
    shown = face if fit.detail is None else fit.pose.to_model(fit.detail)
    camera = Camera.framing(face)
    images = [_scan_image(fit, face, scan, camera), render_face(shown, triangles, camera=camera)]
    near = np.minimum(np.where(np.isfinite(fit.vertex_mm), fit.vertex_mm, np.inf), _FARTHEST_MM)
    images.append(render_face(face, triangles, camera=camera, scalars=near, clim=(0, _FARTHEST_MM)))
    labels = ["scan", "face" if fit.detail is None else "face with detail", "distance to the scan"]
    if fit.std_mm is not None:
        std = np.minimum(fit.std_mm, _FARTHEST_MM)
        images.append(render_face(face, triangles, camera=camera, scalars=std, clim=(0, _FARTHEST_MM)))
        labels.append("standard deviation")
    largest = float(fit.vertex_mm[np.isfinite(fit.vertex_mm)].max(initial=0))
    scale = ColorScale(0, _FARTHEST_MM, "mm", largest=largest)
    return grid_figure([images], column_labels=labels, colorbar=scale)


def _scan_image(fit: FaceFit, face: np.ndarray, scan: ScanFile, camera: Camera) -> np.ndarray:
    """The part of a scan that lies around the face, in the model's place."""
    points = fit.pose.to_model(np.asarray(scan.points, np.float64))
    low, high = face.min(0) - _AROUND_MM, face.max(0) + _AROUND_MM
    near = ((points >= low) & (points <= high)).all(1)
    rng = np.random.default_rng(0)
    if scan.triangles is None:
        chosen = np.flatnonzero(near)
        chosen = rng.permutation(chosen)[: _MOST_DRAWN // 3]
        dots = points[chosen][:, None] + _DOT_MM * np.array([[-0.5, -0.3, 0], [0.5, -0.3, 0], [0, 0.6, 0]])
        corners = np.arange(3 * len(chosen)).reshape(-1, 3)
        return render_face(dots.reshape(-1, 3), corners, camera=camera)
    faces = scan.triangles[near[scan.triangles].all(1)]
    if fit.is_inside_out:
        faces = faces[:, ::-1]
    used, corners = np.unique(faces, return_inverse=True)
    corners = corners.reshape(-1, 3)
    if len(corners) > _MOST_DRAWN:
        corners = corners[np.sort(rng.permutation(len(corners))[:_MOST_DRAWN])]
    return render_face(points[used], corners, camera=camera)
