"""What is measured of a trained model, and of the methods that it is compared with."""

from facedis_jax.extras import require_extra

require_extra(__name__, "run", "sklearn")
