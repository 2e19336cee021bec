"""A model of faces as pure functions of its parameters, and what a file tells of them: settings, and shapes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.formats.settings import from_json, from_json_in_part
from facedis_jax.inference.face_codes import Array, DecodedFaces, FaceCodes, FaceParams, broadcast_codes, split_codes
from facedis_jax.inference.model_files import ModelFile
from facedis_jax.learners import FaceConstants, IbVaeConfig, IbVaeState, face_functions, feature_shapes, ib_vae_learner
from facedis_jax.models import FaceVaeConfig

# Settings of networks that matter to their first weights alone, by all the names that they have had.
_AT_THE_START = ("initial_logvar",)


class FaceModelFunctions(NamedTuple):
    """A model as pure functions of its parameters, to be jitted, vmapped and differentiated in other code.

    Attributes:
      encode: (params, vertices [..., vertices, 3] mm, labels [..., expressions] or None) -> `FaceCodes`.
      decode: (params, identity [..., latents], expression [..., latents], labels or None) -> `DecodedFaces`.
      face: as `decode`, the face [..., vertices, 3] alone. Its gradients are those of all codes; those of `decode`
        leave out what the identity does to the face, as training does (section 3.1).
    """

    encode: Callable[[FaceParams, Array, Array | None], FaceCodes]
    decode: Callable[[FaceParams, Array, Array, Array | None], DecodedFaces]
    face: Callable[[FaceParams, Array, Array, Array | None], jax.Array]


def face_model_functions(config: IbVaeConfig, constants: FaceConstants) -> FaceModelFunctions:
    """The functions of a model of these settings, compiled once for each shape."""
    functions: Any = face_functions(config, constants)

    @jax.jit
    def encode(params: FaceParams, vertices: Array, labels: Array | None) -> FaceCodes:
        before = vertices.shape[:-2]
        faces = jnp.asarray(vertices, jnp.float32).reshape(-1, *vertices.shape[-2:])
        rows = None
        if labels is not None:
            rows = jnp.broadcast_to(labels, (*before, labels.shape[-1])).reshape(len(faces), -1)
        found = functions.encode(params, faces, jax.vmap(functions.features)(faces), rows)
        mean, std = (x.reshape(*before, -1) for x in (found.mean, jnp.exp(0.5 * found.logvar)))
        return split_codes(mean, std, config.model.identity_latents, labels)

    @jax.jit
    def decode(params: FaceParams, identity: Array, expression: Array, labels: Array | None) -> DecodedFaces:
        return DecodedFaces(*functions.decode(params, *broadcast_codes(identity, expression, labels)))

    @jax.jit
    def face(params: FaceParams, identity: Array, expression: Array, labels: Array | None) -> jax.Array:
        return functions.face(params, *broadcast_codes(identity, expression, labels))

    return FaceModelFunctions(encode, decode, face)


def face_settings(file: ModelFile) -> IbVaeConfig:
    """The settings of a file's learner: what decoding and encoding need, and defaults for the rest.

    Raises:
      InputError: some are missing, or ask for more than the file holds.
    """
    learner = file.card.get("learner")
    if not isinstance(learner, dict):
        raise file.refusal("no settings of a learner")
    # Those of its training tell how it came about; a model is as good without those that have changed since.
    config = IbVaeConfig(
        model=from_json_in_part(
            FaceVaeConfig, learner.get("model"), unneeded=_AT_THE_START, where=file.path, key="learner.model"
        ),
        conditional=from_json(bool, learner.get("conditional"), where=file.path, key="learner.conditional"),
    )
    if not min(config.model.identity_latents, config.model.expression_latents) >= 1:
        raise file.refusal("codes of no length")
    _check_sizes(file, config)
    return config


def state_shapes(config: IbVaeConfig, constants: FaceConstants) -> IbVaeState:
    """The learner's state in shapes alone, by computing its model of one face in shapes alone."""
    face = constants.mean_face[None]
    features = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), feature_shapes(config, constants))
    batch = {"vertices": face, "expression": np.zeros(1, np.int32), "level": np.zeros(1, np.float32)}
    batch["features"] = features
    learner = ib_vae_learner(config, constants, steps_per_epoch=1.0, num_steps=1)
    return jax.eval_shape(learner.init, jax.random.key(0), batch)


def _check_sizes(file: ModelFile, config: IbVaeConfig) -> None:
    """Raises an InputError where settings ask for more than a file can hold, before networks are built of them."""
    encoder = config.model.encoder
    most = sum(array.size for array in file.arrays.values())
    if not 0 <= encoder.attention_layers <= len(file.arrays):
        raise file.refusal(f"{encoder.attention_layers} attention layers of {len(file.arrays)} arrays")
    sizes = (encoder.width, encoder.embedding, encoder.global_features, encoder.frequencies, encoder.features.harmonics)
    if max(*sizes, config.model.decoder_hidden, *config.model.head) > most:
        raise file.refusal("networks that are larger than the file")
