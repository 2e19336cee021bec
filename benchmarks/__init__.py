"""Benchmarks: commands that print a table and write JSON. Their results are in `RESULTS.md`."""

from facedis_jax.commands import begin_command_of_package
from facedis_jax.extras import exit_where_jax_refuses, exit_without_extra

begin_command_of_package()
exit_without_extra(__name__, "run", "flax", "optax", "orbax", "grain", "tyro")
exit_where_jax_refuses()
