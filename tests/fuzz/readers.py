"""Every reader of files in the project, with its seeds and mutations."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import dense, seeds
from tests.fuzz.mutations import Mutation, mutate, mutate_gzip, mutate_json, mutate_png, mutate_tensors, mutate_zip
from tests.fuzz.seeds import Seeds

# Imports stand in the functions, since modules are instrumented when they are first imported.


@dataclass(frozen=True)
class Reader:
    """A reader of files and how it is fuzzed.

    Attributes:
      name: what the command calls it.
      seeds: writes the files that the reader needs beside its own into a folder, and returns valid files for it.
      read: reads the file of a name in the folder.
      mutate: changes a file within its format; plain changes of bytes are made as often.
      dense: makes large files that cost as much memory or time for their size as possible.
      instrument: modules whose branches guide the search.
    """

    name: str
    seeds: Callable[[Path], Seeds]
    read: Callable[[Path, str], object]
    mutate: Mutation = mutate
    dense: Callable[[], Seeds] = list
    instrument: tuple[str, ...] = ("facedis_jax.data", "facedis_jax.formats")


def _mesh(folder: Path, name: str) -> None:
    from facedis_jax.formats.meshes import read_mesh

    read_mesh(folder / name)


def _scan(folder: Path, name: str) -> None:
    from facedis_jax.formats.scans import read_scan

    read_scan(folder / name)


def _face_model(folder: Path, name: str) -> None:
    from facedis_jax.data.synthetic.face_model import load_face_model

    load_face_model(folder / name)


def _codes(folder: Path, name: str) -> None:
    from facedis_jax.training.arrays import load_arrays

    load_arrays(folder / name, "codes of faces")


def _model(folder: Path, name: str) -> None:
    from facedis_jax.inference.load import load

    load(folder / name)


def _model_card(folder: Path, name: str) -> None:
    from facedis_jax.inference.model_cards import ModelCard

    ModelCard.read(folder / name)


def _image(folder: Path, name: str) -> None:
    from facedis_jax.formats.images import Framing, open_images

    open_images([folder / name], Framing(16, channels=1)).read(0)


def _idx(folder: Path, name: str) -> None:
    from facedis_jax.data.images.mnist import read_idx

    read_idx(folder / name)


def _cifar(folder: Path, name: str) -> None:
    from facedis_jax.data.images.cifar10 import read_cifar_batch

    read_cifar_batch(folder / name)


def _list(folder: Path, name: str) -> None:
    from facedis_jax.data.images.celeba import Celeba, CelebaSettings, Mafl, MaflSettings
    from facedis_jax.data.images.ck_plus import CkPlus, CkPlusSettings
    from facedis_jax.data.images.folders import FolderSettings, ImageFolder
    from facedis_jax.data.images.lists import ImageNames, read_list

    if name == "own/labels.csv":
        ImageFolder.survey(folder / "own", FolderSettings(size=16, channels=1))
    elif name.endswith(".csv"):
        read_list(folder / name, ImageNames(["000001.jpg", "000002.jpg"]), ["partition"], lambda _: None, "a number")
    elif name.startswith("Emotion"):
        CkPlus.survey(folder, CkPlusSettings())
    elif name in ("training.txt", "testing.txt"):
        Mafl.survey(folder, MaflSettings())
    else:
        Celeba.survey(folder, CelebaSettings())


def _vertex_list(folder: Path, name: str) -> None:
    from facedis_jax.data.faces.bu3dfe import read_landmarks

    read_landmarks(folder / name)


def _recipes(folder: Path, name: str) -> None:
    from facedis_jax.data.synthetic.expressions import (
        ARKIT_UNITS,
        COMA_EXPRESSIONS,
        mirrored,
        read_recipes,
        unit_weights,
    )

    recipes = read_recipes(folder / name)
    names = recipes.renamed(name, ["Kiefer", "SmileL", *ARKIT_UNITS])
    for recipe in recipes.of(COMA_EXPRESSIONS, names).values():
        unit_weights(mirrored(recipe, recipes.opposite), names)


def _video(folder: Path, name: str) -> None:
    from facedis_jax.formats.images import Framing
    from facedis_jax.formats.videos import read_video

    read_video(folder / name, Framing(16))


def _config(folder: Path, name: str) -> None:
    from facedis_jax.formats.settings import from_json
    from facedis_jax.runs.face_config import FaceRunConfig
    from facedis_jax.training import RunFolder
    from facedis_jax.training.run_folder import first_difference

    config = RunFolder.read(folder).config
    first_difference(config, {"experiment": "coma_ib", "config": {"epochs": 3}})
    saved = config.get("config") if isinstance(config, dict) else None
    from_json(FaceRunConfig, saved, where=folder / name)


def _metrics(folder: Path, name: str) -> None:
    from facedis_jax.training.logs import read_metrics

    read_metrics(folder / name, "train")


def _checkpoint(folder: Path, name: str) -> None:
    import logging

    import jax

    from facedis_jax.training import Checkpoints

    # The reader should warn of the damage; output that is no warning is what is looked for.
    logging.disable()
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shapes = {"weights": ((2, 3), "float32"), "step": ((), "int32")}
    abstract = {key: jax.ShapeDtypeStruct(*what, sharding=here) for key, what in shapes.items()}
    with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
        checkpoints.restore(abstract)


_ARCHIVES = ("facedis_jax", "zipfile", "numpy.lib")
_MODELS = ("facedis_jax.inference", "facedis_jax.formats", "cattrs")
_RECIPES = ("facedis_jax.data.synthetic.expressions", "facedis_jax.formats.json_files")
_RUNS = ("facedis_jax.training", "facedis_jax.formats.settings", "facedis_jax.formats.json_files", "cattrs")

READERS = {
    reader.name: reader
    for reader in (
        Reader("ply", seeds.plys, _mesh, dense=dense.plys),
        Reader("obj", seeds.objs, _mesh, dense=dense.objs),
        Reader("wrl", seeds.wrls, _mesh, dense=dense.wrls),
        Reader("scan", seeds.scans, _scan, dense=dense.scans),
        Reader("face_model", seeds.face_models, _face_model, mutate_zip, dense.face_models, _ARCHIVES),
        Reader("codes", seeds.codes, _codes, mutate_zip, dense.codes, _ARCHIVES),
        Reader("model", seeds.models, _model, mutate_tensors, dense.models, _MODELS),
        Reader("model_card", seeds.models, _model_card, mutate_tensors, dense.models, _MODELS),
        Reader("image", seeds.images, _image, mutate_png, dense.images, ("facedis_jax.formats", "PIL")),
        Reader("idx", seeds.idx_files, _idx, mutate_gzip, dense.idx_files),
        Reader("cifar", seeds.cifar_batches, _cifar, dense=dense.cifar_batches),
        Reader("lists", seeds.lists, _list, dense=dense.lists),
        Reader("vertex_list", seeds.vertex_lists, _vertex_list, dense=dense.vertex_lists),
        Reader("recipes", seeds.recipes, _recipes, mutate_json, dense.recipes, _RECIPES),
        Reader("video", seeds.videos, _video, dense=dense.videos),
        Reader("config", seeds.configs, _config, mutate_json, dense.configs, _RUNS),
        Reader("metrics", seeds.metrics, _metrics, mutate_json, dense.metrics, _RUNS),
        Reader("checkpoint", seeds.checkpoints, _checkpoint, mutate_json, instrument=_RUNS),
    )
}
"""By name."""
