"""Every method that the IB-VAE's paper compares with, and ours, on one table (Sun, Pears and Gu, Tables 1 and 2).

Question   Trained on the same faces by the same loop, which method reconstructs best, which keeps expression out of
           identity, and at what cost?
Data       As coma_ib. A mesh of several pieces, as CoMA's with its eyeballs, needs `--jiang.join-pieces` (or
           `--methods` without jiang).
Command    python -m experiments.coma_rivals
           python -m experiments.coma_rivals --methods ib_vae mesh_ae spiral_net pca --seeds 3
           python -m experiments.coma_rivals --data.split subject --identity-latents 32 --expression-latents 32
           python -m experiments.coma_rivals --preset paper --data.folder COMA
Output     report.html with the tables and faces side by side; results.json with every measure of every method and
           seed; a folder for each method with its model.safetensors.
Presets    tiny: the whole path in two minutes, nothing is learned well. demo: smaller networks and fewer epochs than
           the papers', one seed, about 50 minutes of a core, added up from parts. paper: each method's own settings,
           three seeds.
Expected   Paper, on CoMA, disentanglement: FLAME 0.599 mm, Jiang et al. 0.064, Zhang et al. 0.019, IB-VAE 0.006;
           reconstruction: 1.451, 1.413, 0.665 and 0.663 mm, MeshAE 0.845, SpiralNet++ 0.543 (with 16 latents).
           demo, disentanglement: linear 0.089 mm, Jiang et al. 0.064, Zhang et al. 0.040, WSDF 0.032, IB-VAE 0.007.
"""

from dataclasses import replace

from experiments import coma_ib
from facedis_jax.data.synthetic.faces import SyntheticFaceConfig
from facedis_jax.learners.optimiser import OptimiserConfig
from facedis_jax.learners.rivals.faces import (
    GuConfig,
    JiangConfig,
    MeshAeConfig,
    RivalTraining,
    SpiralNetConfig,
    WsdfConfig,
    ZhangConfig,
)
from facedis_jax.models.rivals.faces.mesh_nets import MeshNetConfig
from facedis_jax.runs.command_line import RunOptions, run_experiment
from facedis_jax.runs.face_config import FaceDataConfig, FaceRunConfig
from facedis_jax.runs.rival_config import OursConfig, RivalsConfig


def ours_of(run: FaceRunConfig) -> OursConfig:
    """Our own method's settings in a run of its own."""
    return OursConfig(run.learner, run.epochs, run.batch_size, run.precompute)


PAPER = RivalsConfig(jiang=JiangConfig(join_pieces=True))


def _cosine(epochs: float, batch_size: int, learning_rate: float) -> RivalTraining:
    """Fewer epochs, at whose end the rate is as low as after all of the papers'."""
    return RivalTraining(
        epochs,
        batch_size,
        OptimiserConfig(learning_rate=learning_rate, weight_decay=0.0, schedule="cosine", warmup_steps=100),
    )


DEMO = RivalsConfig(
    data=FaceDataConfig(clouds=coma_ib.DEMO.data.clouds),
    seeds=1,
    ours=ours_of(coma_ib.DEMO),
    mesh_ae=MeshAeConfig(training=_cosine(40, 16, 5e-3)),
    spiral_net=SpiralNetConfig(training=_cosine(20, 16, 2e-3)),
    jiang=JiangConfig(
        filters=(16, 16, 16, 16),
        hidden=100,
        fusion=(24, 16, 16),
        training=_cosine(12, 16, 1e-3),
    ),
    zhang=ZhangConfig(training=_cosine(24, 16, 3e-3)),
    gu=GuConfig(widths=(32, 32, 64, 256), training=_cosine(24, 16, 1e-3)),
    wsdf=WsdfConfig(training=_cosine(16, 16, 1e-3)),
    evaluate_every_steps=2000,
)


def _short(training: RivalTraining) -> RivalTraining:
    return replace(training, epochs=2.0, batch_size=16)


_SMALL = MeshNetConfig((8, 8, 8), 3)


def tiny_of(demo: RivalsConfig, ours: FaceRunConfig, synthetic: SyntheticFaceConfig) -> RivalsConfig:
    """The whole path in two minutes."""
    return replace(
        demo,
        data=replace(ours.data, synthetic=synthetic),
        ours=ours_of(ours),
        mesh_ae=MeshAeConfig(_SMALL, _short(demo.mesh_ae.training)),
        spiral_net=SpiralNetConfig(MeshNetConfig((8, 8, 8), 6), _short(demo.spiral_net.training)),
        jiang=JiangConfig((8,), 32, (8, 8, 8), 1, 2, training=_short(demo.jiang.training)),
        zhang=ZhangConfig(_SMALL, (32,), training=_short(demo.zhang.training)),
        gu=GuConfig((16, 64), 64, training=_short(demo.gu.training)),
        wsdf=WsdfConfig(MeshNetConfig((8, 8), 6), 8, 1, 16, 4, (32,), training=_short(demo.wsdf.training)),
        log_every_steps=10,
        evaluate_every_steps=1000,
        checkpoint_every_steps=1000,
    )


PRESETS = {
    "tiny": tiny_of(DEMO, coma_ib.TINY_VERTICES, SyntheticFaceConfig(num_subjects=3, frames=(6, 8))),
    "demo": DEMO,
    "paper": PAPER,
}


def main(config: RivalsConfig, options: RunOptions) -> int:
    # Imported here, or `--help` would wait for all that a run needs.
    from facedis_jax.runs.rivals import compare_rivals

    return compare_rivals("coma_rivals", config, options, "coma", title="All methods on one table")


if __name__ == "__main__":
    run_experiment("coma_rivals", __doc__ or "", PRESETS, main)
