"""Checks that a wheel holds facedis_jax as it is tracked and nothing else. Arguments: the wheel, a copy of the tree."""

import sys
import zipfile
from pathlib import Path

names = {name for name in zipfile.ZipFile(sys.argv[1]).namelist() if not name.endswith("/")}
metadata = {name for name in names if name.partition("/")[0].endswith(".dist-info")}
source = Path(sys.argv[2])
tracked = {path.relative_to(source).as_posix() for path in (source / "facedis_jax").rglob("*") if path.is_file()}
assert names - metadata == tracked, (names - metadata) ^ tracked
assert "facedis_jax/py.typed" in tracked
assert any(name.endswith("/licenses/LICENSE") for name in metadata)
print(f"wheel: {len(tracked)} files in one top-level package")
