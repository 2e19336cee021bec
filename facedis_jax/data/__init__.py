"""Where examples come from: file formats, TFDS builders, synthetic faces, Grain pipelines."""

from facedis_jax.extras import require_extra

require_extra(__name__, "run", "grain", "tensorflow_datasets", "PIL", "matplotlib")
