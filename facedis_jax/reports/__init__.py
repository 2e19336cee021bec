"""What a finished run looks like: measures, baselines, renders, figures and one HTML page."""

from facedis_jax.extras import require_extra

require_extra(__name__, "run", "matplotlib", "PIL")
