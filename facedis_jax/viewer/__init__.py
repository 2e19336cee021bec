"""A trained model on a page of this machine, by viser: sliders, named expressions, loaded scans, saved files.

Viser is of the extra `viewer`, which the modules that open pages ask for; what they show needs `run`.
"""

from facedis_jax.extras import require_extra

require_extra(__name__, "run", "flax", "PIL")
