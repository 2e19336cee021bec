"""Measures of trained models, and of the linear models that they are compared with."""

from facedis_jax.extras import require_extra

require_extra(__name__, "run", "sklearn")
