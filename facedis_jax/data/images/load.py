"""Sets of real images, loaded by name."""

from pathlib import Path
from typing import Any

from facedis_jax.data.images.celeba import Celeba, CelebaWithoutMafl, Mafl
from facedis_jax.data.images.cifar10 import Cifar10
from facedis_jax.data.images.ck_plus import CkPlus
from facedis_jax.data.images.folders import Ffhq, ImageFolder
from facedis_jax.data.images.image_set import ImageSet
from facedis_jax.data.images.mnist import Mnist
from facedis_jax.data.images.multi_pie import MultiPie
from facedis_jax.data.images.prepared import ImageBuilder
from facedis_jax.data.prepared_pixels import load_pixels

IMAGE_SETS: dict[str, type[ImageBuilder]] = {
    "celeba": Celeba,
    "mafl": Mafl,
    "celeba_without_mafl": CelebaWithoutMafl,
    "ck_plus": CkPlus,
    "multi_pie": MultiPie,
    "ffhq": Ffhq,
    "cifar10": Cifar10,
    "mnist": Mnist,
    "folder": ImageFolder,
}
"""The builder of each set; its docstring says which files it reads, and its `settings_type` what it can be asked."""


def load_images(
    kind: str,
    folder: str | Path,
    *,
    size: int | None = None,
    prepared_dir: str | Path | None = None,
    skip_damaged: bool = False,
    links_out: bool = True,
    verify: bool = False,
    **settings: Any,
) -> ImageSet:
    """A set of real images, prepared at the first call and opened at once from then on.

    Example:
      ```
      faces = load_images("celeba", "data/celeba", size=64, max_train=10_000)
      cars = load_images("cifar10", "data/cifar-10-batches-bin", category="automobile")
      views = load_images("multi_pie", "data/multi_pie", size=64, views=(-30, 0, 30))
      ```

    Args:
      kind: one of `IMAGE_SETS`.
      folder: where the set's files are.
      size: height and width of the images, a power of two from 8.
      prepared_dir: holds the prepared copies, size * size * channels bytes an image; a folder in the user's cache if
        None.
      skip_damaged: skip images that cannot be used, and list them in the set's `skipped`.
      links_out: follow links that lead out of the folder; refuse them if False.
      verify: read all files again, where a prepared copy is there, and prepare anew if their content differs.
      **settings: others of the set's `settings_type`: `channels`, `crop`, `max_train`, `max_test`, and its own. None
        stands for the set's own value.

    Returns:
      The set; its images are read from disk as they are asked for.

    Raises:
      InputError: where the kind or a setting is unknown, or the folder or a file in it cannot be used.
    """
    given = {"size": size, **settings}
    return load_pixels(
        IMAGE_SETS,
        kind,
        folder,
        given,
        prepared_dir=prepared_dir,
        skip_damaged=skip_damaged,
        links_out=links_out,
        verify=verify,
    )
