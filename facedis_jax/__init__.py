"""Disentangled faces in JAX.

Two published methods: an information-bottleneck VAE that separates identity from expression on 3D faces, and a
deformable generator that separates appearance from geometry in images and videos. Each subpackage states its own
contract; nothing is imported here before it is needed, so that `import facedis_jax.losses` costs only jax and numpy.
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from facedis_jax.inference.load import TrainedModel

__all__ = ["load"]

__version__ = "0.1.0"


def load(name_or_path: str | os.PathLike[str]) -> "TrainedModel":
    """A trained model at work: one that comes with the package, of a model file, or of a finished run.

    Nothing is executed of what the file holds, and neither the data set nor the run's checkpoints are needed.

    Args:
      name_or_path: the name of a model that comes with the package; or a run's folder, that of one of its models, or
        the `model.safetensors` in it, wherever it was copied to. A name that is also a path means the path.

    Returns:
      The model: `TrainedFaceModel` of `facedis_jax.inference.face_model`, or `TrainedImageModel` or
      `TrainedVideoModel` of `facedis_jax.inference.generator_models`.

    Raises:
      InputError: nothing is there (it lists the names that there are), the run is not finished, or the file is damaged,
        of another kind or of a later version.

    Example:
      >>> import tempfile, pathlib
      >>> from facedis_jax.inference.example import example_face_model
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "model.safetensors")
      ...     example_face_model().save(path)
      ...     model = load(path)
      >>> ann, ben = model.trained.neutrals[:2]  # meshes in the model's topology, [vertices, 3] mm
      >>> codes = model.encode(ann)
      >>> model.neutral(codes).shape
      (36, 3)
      >>> model.transfer(codes, model.encode(ben)).shape
      (36, 3)
      >>> model.between(codes, model.encode(ben), [0.25, 0.5, 0.75]).shape
      (3, 36, 3)
      >>> model.origin.licence
      'CC0-1.0'
    """
    from facedis_jax.inference.load import load as load_model

    return load_model(name_or_path)
