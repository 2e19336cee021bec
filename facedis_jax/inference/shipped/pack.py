"""Makes a model that comes with the package of a finished run.

    python -m facedis_jax.inference.shipped.pack RUN NAME --about about.txt --notice LICENSE.txt --licence MIT

RUN is a run's folder. The about text says what the model can and cannot do; the notice is what its data asks for.
"""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from facedis_jax.errors import InputError
from facedis_jax.formats.tensors import read_tensors, write_tensors
from facedis_jax.formats.whole import write_text
from facedis_jax.inference.load import model_path
from facedis_jax.inference.model_cards import RESULTS_FILE, figures_beside
from facedis_jax.inference.model_files import ModelFile

# Smaller arrays matter little to the size of a file, and some of them are coordinates.
_LEAST_HALVED = 10_000
_LARGEST = 12_000_000
# Training faces whose codes are kept: enough for the distribution and for every expression.
_MOST_CODES = 800
_OF_FACES = ("codes", "subject", "expression", "level")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make a model that comes with the package of a finished run.")
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("name", help="of the model")
    parser.add_argument("--about", type=Path, required=True, help="text: what it can and cannot do")
    parser.add_argument("--notice", type=Path, help="text: the notice that its data asks for")
    parser.add_argument("--licence", help="of the data, where the run does not know it")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="where it is written")
    options = parser.parse_args(arguments)
    try:
        texts = {"about": options.about, "notice": options.notice, "licence": options.licence}
        size = pack(options.run, options.name, options.folder, **texts)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.name}: {size / 1e6:.1f} MB")
    return 0


def pack(
    run: Path, name: str, folder: Path, *, about: Path, notice: Path | None = None, licence: str | None = None
) -> int:
    """Writes NAME.safetensors, and NAME.LICENSE.txt where there is a notice, into a folder; returns the file's bytes.

    Raises:
      InputError: the run has no model, or one that is too large to be shipped.
    """
    path = model_path(run)
    kind = ModelFile.read(path).kind
    card, arrays = read_tensors(path, "a model file")
    card["origin"]["command"] = portable_command(card["origin"]["command"])
    card["origin"]["licence"] = licence or card["origin"]["licence"]
    card["about"] = about.read_text(encoding="utf-8").strip()
    card["figures"] = figures_beside(path)
    if not card["figures"]:
        raise InputError(path.parent / RESULTS_FILE, "the results of a finished run", "no error of the model")
    if kind == "faces":
        arrays["neutrals"] = arrays["neutrals"][:0]
        arrays |= fewer_codes(arrays)
        if np.array_equal(arrays.get("constants/triangles", ()), arrays["triangles"]):
            del arrays["constants/triangles"]
    small = {key: _smaller(key, array) for key, array in arrays.items()}
    size = sum(array.nbytes for array in small.values())
    if size > _LARGEST:
        raise InputError(path, f"a model of at most {_LARGEST / 1e6:g} MB", f"one of {size / 1e6:.1f}")
    target = folder / f"{name}.safetensors"
    write_tensors(target, card, small)
    if notice is not None:
        write_text(folder / f"{name}.LICENSE.txt", notice.read_text(encoding="utf-8"))
    return target.stat().st_size


def fewer_codes(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Codes of some faces: as many of each expression and level, about as many of everyone, with the means of all.

    By these means expressions are shown; of a few dozen faces they would have the noise of a few dozen.
    """
    share = min(1, _MOST_CODES / len(arrays["codes"]))
    shown = np.stack([arrays["expression"], np.round(100 * arrays["level"])], 1)
    groups, group = np.unique(shown, axis=0, return_inverse=True)
    codes, chosen = arrays["codes"].copy(), list[int]()
    times = np.zeros(arrays["subject"].max() + 1, int)
    for alike in (np.flatnonzero(group == i) for i in range(len(groups))):
        rarest = np.argsort(times[arrays["subject"][alike]], kind="stable")
        some = alike[rarest[: max(1, int(share * len(alike)))]]
        times += np.bincount(arrays["subject"][some], minlength=len(times))
        codes[some] += codes[alike].mean(0) - codes[some].mean(0)
        chosen.extend(some)
    faces = np.sort(chosen)
    return {key: array[faces] for key, array in {**arrays, "codes": codes}.items() if key in _OF_FACES}


def portable_command(command: str) -> str:
    """A command line without the places of the machine that it ran on."""
    words, kept = shlex.split(command), []
    for i, word in enumerate(words):
        if word == "--workdir" or (i and words[i - 1] == "--workdir") or word.startswith("--workdir="):
            continue
        option, sign, value = word.partition("=")
        path = value if sign else word
        kept.append(f"{option}=" * bool(sign) + (Path(path).name if path.startswith(("/", "~")) else path))
    return shlex.join(kept)


def _smaller(name: str, array: np.ndarray) -> np.ndarray:
    """The array in 16 bits, where that is enough."""
    if array.dtype == np.int32 and array.size and 0 <= array.min() <= array.max() < 1 << 16:
        return array.astype(np.uint16)
    if array.dtype != np.float32 or array.size < _LEAST_HALVED or name == "constants/mean_face":
        return array
    half = array.astype(np.float16)
    if not np.isfinite(half).all():
        raise InputError(name, "numbers that half precision can hold", "larger ones")
    return half


if __name__ == "__main__":
    sys.exit(main())
