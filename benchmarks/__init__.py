"""Benchmarks: commands that print a table and write JSON. Their results are in `RESULTS.md`."""

from facedis_jax.extras import exit_where_jax_refuses, exit_without_extra
from facedis_jax.stopping import stop_on_signals_as_command

stop_on_signals_as_command()
exit_without_extra(__name__, "run", "flax", "optax", "orbax", "grain", "tyro")
exit_where_jax_refuses()
