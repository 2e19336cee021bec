"""Benchmarks: commands that print a table and write JSON. Their results are in `RESULTS.md`."""

from facedis_jax.extras import exit_without_extra

exit_without_extra(__name__, "run", "flax", "optax", "orbax", "grain", "tyro")
