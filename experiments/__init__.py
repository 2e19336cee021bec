"""One file per experiment: its card, its settings, its presets and a short main."""

from facedis_jax.extras import exit_where_jax_refuses, exit_without_extra
from facedis_jax.stopping import stop_on_signals_as_command

# Before the imports that take seconds.
stop_on_signals_as_command("stopped; the same command resumes")
exit_without_extra(__name__, "run", "flax", "optax", "orbax", "grain", "tyro")
exit_where_jax_refuses()
