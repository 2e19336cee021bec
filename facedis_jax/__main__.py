"""`python -m facedis_jax`, the same as `facedis`."""

import sys

from facedis_jax.commands import begin_command


def command() -> int:
    """Runs `facedis` as a process of its own, which signals end in one line; returns the exit code."""
    begin_command()
    from facedis_jax.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(command())
