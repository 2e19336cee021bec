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
from facedis_jax.runs.faces import FaceRunConfig, train_faces

PRESETS = {
    name: replace(preset, learner=replace(preset.learner, conditional=True)) for name, preset in coma_ib.PRESETS.items()
}


def main(config: FaceRunConfig, options: RunOptions) -> int:
    return train_faces("coma_cvae", config, options, "coma", title="Faces from named expressions")


if __name__ == "__main__":
    run_experiment("coma_cvae", __doc__ or "", PRESETS, main)
