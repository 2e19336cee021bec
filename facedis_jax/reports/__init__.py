"""Reports of finished runs: figures, tables, and one HTML page for each run."""

from facedis_jax.extras import require_extra

require_extra(__name__, "run", "matplotlib", "PIL", "jinja2")
