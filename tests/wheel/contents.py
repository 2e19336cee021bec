"""Checks what a wheel holds: facedis_jax alone, marked as typed, with the embedded face. Argument: the wheel."""

import sys
import zipfile

names = zipfile.ZipFile(sys.argv[1]).namelist()
top = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
assert top == {"facedis_jax"}, top
for wanted in ("py.typed", "data/assets/makehuman_face.npz", "data/assets/README.md"):
    assert f"facedis_jax/{wanted}" in names, wanted
assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
print(f"wheel: {len(names)} files, one top-level package")
