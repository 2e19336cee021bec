#!/usr/bin/env bash
# Builds the wheel, installs it into an empty environment away from the checkout, and uses it there: first with jax and
# numpy alone, then with [run]. `bash tests/wheel/check.sh` from anywhere; PYTHON chooses the interpreter.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
lock=$root/requirements.lock
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset PYTHONPATH
export JAX_PLATFORMS=cpu

"${PYTHON:-python3}" -m venv "$work/venv"
python="$work/venv/bin/python -I"

# A copy of what git tracks, since setuptools leaves a build/ behind whose old files the next wheel would hold.
mkdir "$work/source"
(cd "$root" && git ls-files -z | xargs -0 cp --parents -t "$work/source")
cd "$work"
$python -m pip wheel -q --no-deps --wheel-dir "$work" "$work/source"
wheel=$(echo "$work"/facedis_jax-*.whl)
$python "$here/contents.py" "$wheel" "$work/source"
rm -r "$work/source"

$python -m pip install -q --no-compile "$wheel" -c "$lock"
$python "$here/bare.py"

$python -m pip install -q --no-compile "$wheel[run]" -c "$lock"
$python -m pip check
$python "$here/tiny_training.py" "$work/run"
$python "$here/shipped.py"
