"""One file per experiment: its card, its settings, its presets and a short main."""

from facedis_jax.commands import begin_command_of_package
from facedis_jax.extras import exit_where_jax_refuses, exit_without_extra

# Before the imports that take seconds.
begin_command_of_package("stopped; the same command resumes")
exit_without_extra(__name__, "run", "flax", "optax", "orbax", "grain", "tyro")
exit_where_jax_refuses()
