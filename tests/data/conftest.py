"""Real data, for the tests that want to see some."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def real_data():
    """Gives the folder of a real data set by its name, and skips the test where it is absent.

    They are looked for in $FACEDIS_DATA, or in `shared/data` beside the checkout.
    """
    base = Path(os.environ.get("FACEDIS_DATA") or Path(__file__).parents[3] / "shared" / "data")

    def folder(name: str) -> Path:
        if not (base / name).is_dir():
            pytest.skip(f"needs real data: no {base / name} (set FACEDIS_DATA)")
        return base / name

    return folder
