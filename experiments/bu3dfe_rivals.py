"""All methods that the IB-VAE's paper compares, on people who were never seen (Sun, Pears and Gu, Table 3).

Question   As coma_rivals, of a hundred people, ten of whom are tested.
Data       As bu3dfe_ib.
Command    python -m experiments.bu3dfe_rivals
           python -m experiments.bu3dfe_rivals --identity-latents 32 --expression-latents 32
           python -m experiments.bu3dfe_rivals --preset paper --data.folder BU_3DFE
Output     As coma_rivals.
Presets    As coma_rivals.
Expected   Paper, on BU-3DFE, disentanglement: FLAME 0.600 mm, Jiang et al. 0.611, Zhang et al. 0.361, IB-VAE 0.328;
           reconstruction: 2.596, 2.054, 1.551 and 1.628 mm.
           demo, embedded face, 4 + 4 latents, disentanglement: IB-VAE 0.041 mm, linear 0.083, Zhang et al. 0.088,
           Jiang et al. 0.118, WSDF 0.203; reconstruction: 1.82 mm, 1.72, 2.04, 2.55 and 2.40.
"""

from dataclasses import replace

from experiments import bu3dfe_ib, coma_rivals
from facedis_jax.data.synthetic.faces import SyntheticFaceConfig
from facedis_jax.learners.rivals.faces import GuConfig
from facedis_jax.runs.command_line import RunOptions, run_experiment
from facedis_jax.runs.rival_config import RivalsConfig

_DEMO = replace(
    coma_rivals.DEMO,
    data=replace(bu3dfe_ib.PRESETS["demo"].data),
    ours=coma_rivals.ours_of(bu3dfe_ib.PRESETS["demo"]),
)
# Gu et al.'s weights for 40 + 40 latents on BU-3DFE, as far as their terms are here.
_GU = GuConfig(reconstruction_weight=250.0, neutral_weight=0.5, kl_weight=3e-5, again_weight=5e-2)

PRESETS = {
    "tiny": coma_rivals.tiny_of(_DEMO, bu3dfe_ib.PRESETS["tiny"], SyntheticFaceConfig(num_subjects=12)),
    "demo": _DEMO,
    "paper": replace(
        coma_rivals.PAPER,
        data=bu3dfe_ib.PRESETS["paper"].data,
        ours=coma_rivals.ours_of(bu3dfe_ib.PRESETS["paper"]),
        gu=replace(_GU, training=replace(_GU.training, epochs=280, batch_size=8)),
    ),
}


def main(config: RivalsConfig, options: RunOptions) -> int:
    # Imported here, or `--help` would wait for all that a run needs.
    from facedis_jax.runs.rivals import compare_rivals

    return compare_rivals("bu3dfe_rivals", config, options, "bu3dfe", title="All methods, people never seen")


if __name__ == "__main__":
    run_experiment("bu3dfe_rivals", __doc__ or "", PRESETS, main)
