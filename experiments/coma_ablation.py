"""What the bottleneck's weights do: Figure 3 and the ablation rows of Table 1 (Sun, Pears and Gu, section 4.4).

Question   How do beta_mi and beta_id trade disentanglement against reconstruction, and how much of it is chance?
Data       As coma_ib.
Command    python -m experiments.coma_ablation
           python -m experiments.coma_ablation --preset paper --run.data.folder COMA
Method     beta_mi x beta_id x seeds, trained together in one compiled program (jax.vmap over weights and seeds) on the
           same batches. In the demo the members' networks are smaller than coma_ib's, so compare within the table.
Output     report.html with Figure 3 and Table 1's rows, results.json with every member's errors.
Presets    tiny: the whole path, eight members. demo: six people, 54 members, 25 minutes on one core.
           paper: the members are coma_ib's.
Expected   Paper, on CoMA: disentanglement 0.025 mm without the bottleneck, 0.016 with beta_mi = 0, 0.006 with both.
           demo: 0.129, 0.112 and 0.088 mm, which three seeds do not tell apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING

import jax
import numpy as np

from experiments import coma_ib
from facedis_jax.data.synthetic.faces import SyntheticFaceConfig
from facedis_jax.errors import InputError
from facedis_jax.formats.json_files import write_json
from facedis_jax.inference.faces import codecs_of
from facedis_jax.learners import IbVaeState, ensemble_learner, members
from facedis_jax.losses import IbVaeWeights
from facedis_jax.runs.command_line import RunOptions, device_label, run_experiment, say, typed_command
from facedis_jax.runs.face_config import FaceRunConfig

if TYPE_CHECKING:
    from facedis_jax.runs.faces import FaceRun


@dataclass(frozen=True)
class AblationConfig:
    """The grid, and the experiment that each of its members is.

    Attributes:
      run: settings that the members share, all but the two betas.
      beta_mi, beta_id: the weights to combine.
      seeds: how many seeds of each combination.
    """

    run: FaceRunConfig = field(default_factory=FaceRunConfig)
    beta_mi: tuple[float, ...] = (0.0, 10.0, 25.0, 50.0, 75.0, 100.0)
    beta_id: tuple[float, ...] = (0.0, 1.0, 10.0)
    seeds: int = 3

    def __post_init__(self) -> None:
        for name in ("beta_mi", "beta_id"):
            values = getattr(self, name)
            if not values or min(values) < 0 or not np.isfinite(values).all():
                raise InputError(f"--{name.replace('_', '-')}", "weights of at least 0", str(values))
        if self.seeds < 1:
            raise InputError("--seeds", "at least 1", str(self.seeds))


# Fifty-four of them are trained at once: the moments of the whole cloud, which are computed before training, carry
# almost all, and the transformer beside them is tiny.
_SMALL = replace(
    coma_ib.VERTEX_MODEL,
    encoder=replace(
        coma_ib.VERTEX_MODEL.encoder,
        features=replace(coma_ib.VERTEX_MODEL.encoder.features, centres=(8, 4), neighbours=4),
        embedding=8,
        width=16,
        attention_layers=1,
        global_features=16,
        moment_features=64,
    ),
    head=(64,),
    decoder_hidden=48,
)
_DEMO_EPOCHS = 36.0

PRESETS = {
    "tiny": AblationConfig(
        run=replace(coma_ib.TINY_VERTICES, learner=replace(coma_ib.TINY_VERTICES.learner, model=_SMALL)),
        beta_mi=(0.0, 50.0),
        beta_id=(1.0, 10.0),
        seeds=2,
    ),
    "demo": AblationConfig(
        run=replace(
            coma_ib.VERTICES,
            data=replace(coma_ib.VERTICES.data, synthetic=SyntheticFaceConfig(num_subjects=6, frames=(10, 16))),
            learner=replace(coma_ib.VERTICES.learner, model=_SMALL, decay_epochs=_DEMO_EPOCHS * 350 / 300),
            epochs=_DEMO_EPOCHS,
            batch_size=16,
        ),
    ),
    "paper": AblationConfig(run=coma_ib.PAPER),
}


def main(config: AblationConfig, options: RunOptions) -> int:
    # Imported here and below, or `--help` would wait for all that a run needs.
    from facedis_jax.reports.faces.ablation import summarise, write_ablation_report
    from facedis_jax.runs.faces import fit_faces, open_face_run

    grid = {"beta_mi": config.beta_mi, "beta_id": config.beta_id, "seeds": config.seeds}
    run = open_face_run("coma_ablation", config.run, options, "coma", beside={"grid": grid})
    settings = list(product(config.beta_id, config.beta_mi, range(config.seeds)))
    weights = [
        replace(config.run.learner.weights, beta_id=beta_id, beta_mi=beta_mi) for beta_id, beta_mi, _ in settings
    ]
    learner = ensemble_learner(run.learner(), weights, [seed for *_, seed in settings])
    result = fit_faces(run, learner)
    if jax.process_index() == 0:
        say(options, f"evaluating {len(settings)} models")
        rows = evaluate_members(run, result.state, weights, [seed for *_, seed in settings])
        summary = summarise(rows)
        write_json(
            run.folder.results_file,
            {
                "command": typed_command(),
                "device": device_label(run.devices),
                "steps": result.step,
                "seconds": round(result.seconds, 1),
                "members": rows,
                "summary": summary,
            },
        )
        write_ablation_report(
            run.folder,
            rows,
            summary,
            subtitle=f"{len(rows)} models trained together in {result.seconds / 60:.1f} min on "
            f"{run.devices[0].device_kind}; {run.face_set.name}, {config.seeds} seeds",
            command=typed_command(),
        )
        say(options, f"report: {run.folder.report_file}")
    return 0


def evaluate_members(
    run: "FaceRun", state: IbVaeState, weights: Sequence[IbVaeWeights], seeds: Sequence[int]
) -> list[dict[str, float]]:
    """The errors of each member on the test faces, in mm."""
    from facedis_jax.evaluation.faces import face_errors, predict

    codecs = codecs_of(run.config.learner, run.constants, members(state), run.face_set.expressions)
    rows = []
    for codec, member_weights, seed in zip(codecs, weights, seeds, strict=True):
        errors = face_errors(predict(codec, run.face_set.test, run.face_set.neutrals))
        rows.append(
            {
                "beta_id": member_weights.beta_id,
                "beta_mi": member_weights.beta_mi,
                "seed": seed,
                "disentanglement_mm": errors["disentanglement_mm"]["mean"],
                "reconstruction_mm": errors["reconstruction_mm"]["mean"],
                "neutral_mm": errors["neutral_mm"]["mean"],
            }
        )
    return rows


if __name__ == "__main__":
    run_experiment("coma_ablation", __doc__ or "", PRESETS, main)
