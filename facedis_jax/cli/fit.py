"""Fit a model's face to a scan: any mesh or bare points, in any pose and unit.

Command    facedis fit --model NAME_RUN_OR_FILE --scan FILE --output OUT

Examples
           facedis fit --model RUN --scan scan.ply --output face.ply
           facedis fit --model RUN --scan bust.obj --output face.obj --json face.json --landmarks points.json
           facedis fit --model RUN --scan half.ply --output face.ply --posterior 200
           facedis fit --model RUN --scan scan.ply --output face.ply --detail

Input      PLY, OBJ, WRL or STL of any triangles; PLY and OBJ without faces; .xyz, .txt, .pts, .asc, .csv with a point
           in each line; .npy. Landmarks are JSON, {"nose_tip": [x, y, z], ...}, three or more, in the scan's place and
           unit; a wrong name lists all; the number of a vertex of the model is a name too.

Output     PLY, OBJ or GLB: the face in the model's topology, in the scan's place and unit, and beside it an image, OUT
           with the ending .png. A fit that is not to be trusted says why in a line.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, NoReturn

import jax

from facedis_jax.formats.json_files import read_json
from facedis_jax.formats.scans import read_scan
from facedis_jax.inference.face_model import check_between
from facedis_jax.inference.fitting.results import FaceFit, FitConfig
from facedis_jax.inference.load import load_faces
from facedis_jax.reports.faces.fitted import check_fit_output, write_fit
from facedis_jax.runs.back_end import check_back_end
from facedis_jax.runs.command_line import exit_with
from facedis_jax.runs.compiled_programs import keep_compiled_programs
from facedis_jax.runs.options import parse_options

_MOST_SAMPLES = 10_000


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """Which model is fitted to which scan.

    Attributes:
      model: a model that comes with the package, the folder of a finished run, or its model.safetensors.
      scan: the scan.
      output: the mesh to write: .ply, .obj or .glb.
      json: also write codes, pose and distances.
      landmarks: a JSON file of places in the scan by name, for scans in which the face is not found without them.
      unit: of the scan's coordinates; found without it.
      detail: move the face onto the scan, as far as its codes cannot.
      posterior: samples of the codes given the scan, by Langevin dynamics, for the standard deviation of each vertex.
      seed: of what is drawn.
    """

    model: Path
    scan: Path
    output: Path
    json: Path | None = None
    landmarks: Path | None = None
    unit: Literal["mm", "cm", "dm", "m"] | None = None
    detail: bool = False
    posterior: int = 0
    seed: int = 0


def fit(options: FitOptions) -> int:
    """Fits and writes, and prints the names of the files and how well the face fits; returns the exit code."""
    check_fit_output(options.output, options.json)
    check_between("posterior", options.posterior, 0, _MOST_SAMPLES)
    check_between("seed", options.seed, 0, 2**32 - 1)
    keep_compiled_programs()
    check_back_end()
    model = load_faces(options.model)
    scan = read_scan(options.scan)
    landmarks = None if options.landmarks is None else read_json(options.landmarks)
    config = FitConfig(posterior_samples=options.posterior, detail=options.detail, seed=options.seed)
    found = model.fit(
        scan.points,
        scan.triangles,
        unit=options.unit,
        landmarks=landmarks,
        config=config,
        key=jax.random.key(options.seed),
        where=options.scan,
        landmarks_where=options.landmarks or "landmarks",
    )
    about = {"model": str(options.model), "scan": str(options.scan)}
    for path in write_fit(options.output, options.json, found, model.triangles, scan, about):
        print(path)
    print(summary(found))
    return 0


def summary(found: FaceFit) -> str:
    """How well a face fits, in one line."""
    far = found.distances
    sizes = f"{far.scan_to_face:.2f} mm from the scan to the face, {far.face_to_scan:.2f} mm back (medians)"
    line = f"{sizes}, {far.covered:.0%} of the face covered, unit {found.unit}"
    return f"{line}; not to be trusted: {found.reason}" if found.is_bad else line


def main(arguments: Sequence[str]) -> NoReturn:
    """Runs the command, and exits with its code."""
    known = [f"--{field.name.replace('_', '-')}" for field in fields(FitOptions)]

    def command() -> int:
        return fit(parse_options(FitOptions, args=arguments, prog="facedis fit", description=__doc__))

    exit_with(command, known)
