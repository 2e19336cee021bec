"""A trained model at work: examples to codes and codes to examples."""

from facedis_jax.extras import require_extra

require_extra(__name__, "run", "flax", "optax")
