"""What model files say of themselves, read without their weights."""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facedis_jax.errors import InputError
from facedis_jax.formats.json_files import read_json
from facedis_jax.formats.tensors import read_card
from facedis_jax.inference.model_files import MODEL_FILE, Origin, opened_card
from facedis_jax.inference.shipped import shipped_models

RESULTS_FILE, CONFIG_FILE = "results.json", "config.json"
_DEEPEST = 4


@dataclass(frozen=True)
class ModelCard:
    """A model's card.

    Attributes:
      name: by which it is loaded.
      path: of its file.
      kind: "faces", "images" or "videos".
      origin: how it came about.
      about: what it can and cannot do; empty of a run's.
      figures: errors in mm, or squared errors of an image, by name, as far as they are known.
      numbers: how many vertices, people and expressions it knows, or the size of its images, by name.
      names: of people and expressions, by what they are.
    """

    name: str
    path: Path
    kind: str
    origin: Origin
    about: str
    figures: Mapping[str, float]
    numbers: Mapping[str, int]
    names: Mapping[str, list[str]]

    @classmethod
    def read(cls, path: Path, name: str = "") -> "ModelCard":
        """The card of a model file.

        Args:
          path: of the file.
          name: by which it is loaded; the path by default, of a run its folder.

        Raises:
          InputError: the file is missing, is damaged or something else, or is of a later version.
        """
        card, shapes = read_card(path, "a model file")
        kind, origin = opened_card(path, card)
        is_of_run = path.name == MODEL_FILE
        names = {key: _texts(card.get(key)) for key in ("expressions", "subjects") if kind == "faces"}
        model = _within(card, "learner", "model")
        numbers = {key: model.get(key) for key in ("size", "appearance_latents", "geometry_latents")}
        if kind == "faces":
            numbers = {"vertices": shapes.get("constants/mean_face", [0])[0], "people": len(names["subjects"])}
            numbers |= {key: model.get(key) for key in ("identity_latents", "expression_latents")}
        elif kind == "videos":
            numbers["frames"] = card.get("frames")
        about = card.get("about")
        return cls(
            name or str(path.parent if is_of_run else path),
            path,
            kind,
            origin,
            about if isinstance(about, str) else "",
            _numbers(card.get("figures")) or (figures_beside(path) if is_of_run else {}),
            {key: number for key, number in numbers.items() if type(number) is int},
            names,
        )


def shipped_cards() -> list[ModelCard]:
    """The cards of the models that come with the package."""
    return [ModelCard.read(path, name) for name, path in shipped_models().items()]


def run_folders(folder: Path) -> Iterator[Path]:
    """The folders of runs, and of their models, at or below a folder, in the order of their names."""
    for place, folders, files in os.walk(folder):
        depth = len(Path(place).relative_to(folder).parts)
        hidden = {name for name in folders if name.startswith(".") or name in ("checkpoints", "figures")}
        folders[:] = sorted(set(folders) - hidden) if depth < _DEEPEST else []
        if MODEL_FILE in files or CONFIG_FILE in files:
            yield Path(place)


def figures_of(results: Any) -> dict[str, float]:
    """Errors in mm, by name, of a run's results: of each figure that is one, its mean.

    Example:
      >>> figures_of({"faces": {"test": 3}, "reconstruction_mm": {"mean": 0.5, "std": 0.1}, "rank_1": 1})
      {'reconstruction_mm': 0.5}
    """
    if not isinstance(results, Mapping):
        return {}
    means = {name: each.get("mean") if isinstance(each, Mapping) else each for name, each in results.items()}
    return _numbers({name: mean for name, mean in means.items() if name.endswith("_mm")})


def figures_beside(path: Path) -> dict[str, float]:
    """Errors of a run's model, by name, as far as there are results: those beside it, or those of a run of several."""
    with suppress(InputError):
        return figures_of(read_json(path.parent / RESULTS_FILE))
    with suppress(InputError):
        error = _within(read_json(path.parent.parent / RESULTS_FILE), path.parent.name, "squared_error")
        return _numbers({"squared_error": error.get("mean")})
    return {}


def _numbers(found: Any) -> dict[str, float]:
    if not isinstance(found, Mapping):
        return {}
    return {name: round(float(each), 4) for name, each in found.items() if isinstance(each, int | float)}


def _texts(found: Any) -> list[str]:
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def _within(card: Any, *keys: str) -> Mapping[str, Any]:
    for key in keys:
        card = card.get(key) if isinstance(card, Mapping) else None
    return card if isinstance(card, Mapping) else {}
