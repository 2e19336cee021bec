"""One file per experiment: its card, its settings, its presets and a short main."""

from facedis_jax.extras import exit_without_extra

exit_without_extra(__name__, "run", "flax", "optax", "orbax", "grain", "tyro")
