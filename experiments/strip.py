"""The faces at the top of the README, drawn from a finished run of `coma_ib` on the embedded face.

Shows      Above, a held-out face and three of other people; below, the first one's neutral as the model has it, and the
           others' expressions on the first person.
Command    python -m experiments.strip --run runs/coma_ib-demo --output experiments/strip.png
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facedis_jax.data.faces.face_set import FaceSet
from facedis_jax.errors import InputError
from facedis_jax.evaluation.faces import Predictions, predict
from facedis_jax.inference.load import load_faces
from facedis_jax.rendering.faces import Camera, render_faces
from facedis_jax.reports.figures import save_figure
from facedis_jax.reports.grids import grid_figure
from facedis_jax.runs.command_line import exit_with
from facedis_jax.runs.face_config import FaceDataConfig
from facedis_jax.runs.faces import load_face_set
from facedis_jax.runs.options import parse_options

SIZE = (270, 300)  # pixels of one face as it is rendered
DPI = 90  # of the strip, ten inches wide
# Subject and expression of the face at the left, and of those whose expressions it is given.
PERSON = ("subject_08", "bareteeth")
DONORS = (("subject_04", "high_smile"), ("subject_01", "mouth_open"), ("subject_10", "cheeks_in"))


@dataclass(frozen=True)
class StripConfig:
    """What is drawn.

    Attributes:
      run: folder of a finished run of `coma_ib` on the embedded face.
      output: the PNG.
    """

    run: Path
    output: Path = Path("experiments/strip.png")


def draw_strip(config: StripConfig) -> int:
    """Draws the strip; returns the exit code."""
    model = load_faces(config.run)
    faces, codec = load_face_set(FaceDataConfig(), "coma"), model.codec
    if model.origin.data_hash != faces.content_hash:
        raise InputError(config.run, "a run on the demo's synthetic faces", "one on other faces")
    held_out = predict(codec, faces.test, faces.neutrals)
    person = np.array([_strongest(faces, held_out, *PERSON)])
    donors = np.array([_strongest(faces, held_out, *donor) for donor in DONORS])

    identity = np.repeat(held_out.mean[person, : codec.identity_latents], len(donors), axis=0)
    expression = held_out.mean[donors, codec.identity_latents :]
    transferred, _ = codec.decode(identity, expression, None)
    above = held_out.vertices[np.concatenate([person, donors])]
    below = np.concatenate([held_out.neutral[person], transferred])
    camera = Camera.framing(np.concatenate([above, below]), size=SIZE)
    images = [list(render_faces(row, faces.triangles, size=SIZE, camera=camera)) for row in (above, below)]
    rows = ["four held-out faces", "the first one: its neutral, others' expressions"]
    columns = ["one person", *(name.replace("_", " ") for _, name in DONORS)]
    save_figure(grid_figure(images, row_labels=rows, column_labels=columns), config.output, dpi=DPI)
    return 0


def _strongest(faces: FaceSet, held_out: Predictions, subject: str, expression: str) -> int:
    """The held-out face of a subject that shows an expression most."""
    shows = held_out.subject == list(faces.subjects).index(subject)
    shows &= held_out.expression == list(faces.expressions).index(expression)
    return int(np.where(shows, held_out.level, -1).argmax())


if __name__ == "__main__":
    exit_with(lambda: draw_strip(parse_options(StripConfig, prog="python -m experiments.strip", description=__doc__)))
