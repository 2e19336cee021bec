"""Shaded images of meshes, without a display."""

from facedis_jax.extras import require_extra

require_extra(__name__, "run", "matplotlib")
