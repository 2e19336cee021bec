"""What is measured, as commands that print a table and write JSON; `RESULTS.md` has what they gave."""

from facedis_jax.extras import exit_without_extra

exit_without_extra(__name__, "run", "flax", "optax", "orbax", "grain", "tyro")
