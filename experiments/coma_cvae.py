"""Faces from named expressions: the conditional IB-VAE (Sun, Pears and Gu, section 4.6).

Question   With labels x level given to encoder and decoder, how many expression latents are left idle, and do faces
           made from a named level look like it?
Data       As coma_ib.
Command    python -m experiments.coma_cvae
           python -m experiments.coma_cvae --preset paper --data.folder COMA
Output     As coma_ib; its Figures 6 and 7 are made from labels, and collapsed latents are counted.
Presets    As coma_ib; demo: nine minutes on one core.
Expected   Paper, on CoMA: 3 of 4 expression latents collapse, and the one left holds the mouth's side; reconstruction
           0.740 mm, disentanglement 0.008 mm. demo: 2 collapse; 0.474 mm and 0.008 mm.
"""

from dataclasses import replace

from experiments import coma_ib
from facedis_jax.runs.command_line import RunOptions, run_experiment
from facedis_jax.runs.face_config import FaceRunConfig

# On registered vertices, as the paper: with a label, little is left for the latents to find.
_BASES = {"tiny": coma_ib.TINY_VERTICES, "demo": coma_ib.VERTICES, "paper": coma_ib.PAPER}

PRESETS = {name: replace(base, learner=replace(base.learner, conditional=True)) for name, base in _BASES.items()}


def main(config: FaceRunConfig, options: RunOptions) -> int:
    # Imported here, or `--help` would wait for all that a run needs.
    from facedis_jax.runs.faces import train_faces

    return train_faces("coma_cvae", config, options, "coma", title="Faces from named expressions")


if __name__ == "__main__":
    run_experiment("coma_cvae", __doc__ or "", PRESETS, main)
