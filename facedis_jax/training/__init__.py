"""The training loop and what it touches: devices, checkpoints, logs, signals, the run's folder."""

from facedis_jax.extras import require_extra

require_extra(__name__, "run", "flax", "orbax", "rich")

from facedis_jax.training.checkpoints import Checkpoint, Checkpoints, SaveFailed
from facedis_jax.training.loop import BatchIterator, FitResult, LoopConfig, fit
from facedis_jax.training.parallel import DataParallel, Parallel, check_batch_size, data_parallel, split_examples
from facedis_jax.training.record import TrainingDiverged
from facedis_jax.training.run_folder import RunFolder

__all__ = [
    "BatchIterator",
    "Checkpoint",
    "Checkpoints",
    "DataParallel",
    "FitResult",
    "LoopConfig",
    "Parallel",
    "RunFolder",
    "SaveFailed",
    "TrainingDiverged",
    "check_batch_size",
    "data_parallel",
    "fit",
    "split_examples",
]
