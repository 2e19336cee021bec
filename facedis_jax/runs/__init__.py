"""What experiments share: the command line, the run, its batches, and runs on faces, images and videos."""

from facedis_jax.extras import require_extra

require_extra(__name__, "run", "cattrs", "grain", "tyro")
