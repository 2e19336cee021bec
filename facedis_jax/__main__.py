"""`python -m facedis_jax`, the same as `facedis`."""

import sys

from facedis_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
