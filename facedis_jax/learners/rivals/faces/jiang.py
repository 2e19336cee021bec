"""Jiang et al. (2019): two branches of deformation features, identity and expression, each of which removes the other.

As in their public code: features are brought to [-0.9, 0.9] by their bounds, the losses are mean absolute errors of
features as they are, the identity branch learns a person's neutral, the expression branch the same expression on the
mean face, either of the other's result the mean face, and the fusion the face itself.

Otherwise here: the bounds are those of the training faces (theirs see the test faces too); faces are not aligned to one
another first (CoMA's are already); everything is learned together from the start, in batches (theirs one branch after
the other, of one face at a time, with interpolated people); no re-alignment is needed to measure, since decoded faces
are placed so that the vertices that hardly move in training lie where they do.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.errors import InputError, check_least
from facedis_jax.learners.learner import Batch
from facedis_jax.learners.optimiser import OptimiserConfig
from facedis_jax.learners.rivals.faces.rival import Latents, Rival, RivalConstants, RivalTraining, initial, sampled
from facedis_jax.losses import gaussian_kl
from facedis_jax.metrics import Average
from facedis_jax.models import Posterior
from facedis_jax.models.rivals.faces.deformation import DeformationSpace
from facedis_jax.models.rivals.faces.deformation_nets import DeformationDecoder, DeformationEncoder, Fusion
from facedis_jax.models.rivals.faces.hierarchy import MeshLevel
from facedis_jax.models.rivals.faces.layers import chebyshev_convolution
from facedis_jax.models.rivals.faces.topology import check_surface

_BOUND = 0.9
# The way back from features is a matrix of as many rows and columns.
_MOST_VERTICES = 20_000


@dataclass(frozen=True)
class JiangConfig:
    """Jiang et al.; the defaults are those of their public code.

    References:
      Jiang et al., "Disentangled Representation Learning for 3D Face Shape", 2019.

    Attributes:
      filters: of either encoder's convolutions but the last.
      hidden: width of the encoders' and decoders' layers.
      fusion: filters of the fusion's layers before and after its residual ones.
      residual_layers: how many of these.
      orders: Chebyshev polynomials of each convolution.
      kl_weight: of the codes' divergence from their prior (theirs is half as large, of twice the divergence).
      join_pieces: take a mesh of several pieces, such as FLAME's with its eyeballs, and carry each along with the
        nearest vertex of the largest; else it is refused, since features do not tell where pieces lie.
      training: how it is trained.

    Raises:
      InputError: for sizes below 1.

    Example:
      >>> JiangConfig().orders, JiangConfig().fusion
      (3, (256, 128, 64))
    """

    filters: tuple[int, ...] = (128, 64, 64, 64)
    hidden: int = 300
    fusion: tuple[int, int, int] = (256, 128, 64)
    residual_layers: int = 3
    orders: int = 3
    kl_weight: float = 2e-5
    join_pieces: bool = False
    training: RivalTraining = field(
        default_factory=lambda: RivalTraining(20, 1, OptimiserConfig(learning_rate=1e-4, weight_decay=0.0))
    )

    def __post_init__(self) -> None:
        check_least(self, hidden=1, residual_layers=0, orders=1, kl_weight=0)
        for name in ("filters", "fusion"):
            if not getattr(self, name) or min(getattr(self, name)) < 1:
                raise InputError(name, "numbers of 1 or more", str(getattr(self, name)))


# Weights of the squared weights of the identity branch, the expression branch and the fusion.
_DECAYS = {"identity": 3e-5, "expression": 1e-6, "fusion": 1e-5}


def deformation_space(config: JiangConfig, template: np.ndarray, triangles: np.ndarray) -> DeformationSpace:
    """The representation of a topology; raises an InputError where the mesh is no surface, or of several pieces.

    Example:
      >>> from facedis_jax.inference.example import example_face_model
      >>> trained = example_face_model().trained
      >>> space = deformation_space(JiangConfig(), trained.constants.mean_face, trained.triangles)
      >>> type(space).__name__
      'DeformationSpace'
    """
    check_surface(triangles, len(template), where="jiang", one_piece=not config.join_pieces)
    if len(template) > _MOST_VERTICES:
        raise InputError("jiang", f"a mesh of at most {_MOST_VERTICES:,} vertices", f"{len(template):,}")
    return DeformationSpace(np.asarray(template, np.float64), np.asarray(triangles))


def jiang(config: JiangConfig, constants: RivalConstants, latents: Latents) -> Rival:
    """Jiang et al.'s branches and fusion.

    Batches may have `features`, the deformation features of each face and of its expression on the template, as
    `jiang_features` gives them; else they are computed in the step.
    """
    space = deformation_space(config, constants.template, constants.triangles)
    convolve = chebyshev_convolution(MeshLevel(np.asarray(space.reference), space.triangles).scaled_laplacian)
    vertices = len(constants.mean_face)
    encoder = partial(DeformationEncoder, hidden=config.hidden, orders=config.orders, convolve=convolve)
    encoders = {
        "identity": encoder(config.filters, 3, latents=latents.identity),
        "expression": encoder(config.filters, 1, latents=latents.expression),
    }
    decoder = DeformationDecoder(config.hidden, vertices)
    fusion = Fusion(config.fusion, config.residual_layers, config.orders, convolve)
    low, high = _bounds(constants, vertices)
    middle, half = (high + low) / 2, (high - low) / (2 * _BOUND)
    # Vertices that move the least in training tell where a face lies.
    steady = 1 / np.square(constants.deviation).sum(-1)
    steady = (steady / steady.sum())[:, None].astype(np.float32)
    rest = (steady * constants.mean_face).sum(0)

    def init(key: jax.Array) -> Any:
        keys, features = jax.random.split(key, 5), (1, vertices, 9)
        model: dict[str, Any] = {}
        for place, (name, encoder) in enumerate(encoders.items()):
            length = getattr(latents, name)
            model[name] = {
                "encoder": initial(encoder, keys[2 * place], features),
                "decoder": initial(decoder, keys[2 * place + 1], (1, length)),
            }
        model["fusion"] = initial(fusion, keys[4], features, features)
        return {"model": model}

    def branch(params: Any, name: str, features: jax.Array) -> Posterior:
        found: Any = encoders[name].apply({"params": params["model"][name]["encoder"]}, (features - middle) / half)
        return Posterior(*found)

    def drawn(params: Any, name: str, code: jax.Array) -> jax.Array:
        """Features of a branch's code, normalised."""
        made: Any = decoder.apply({"params": params["model"][name]["decoder"]}, code)
        return made

    def fused(params: Any, identity: jax.Array, expression: jax.Array) -> Any:
        made: Any = fusion.apply({"params": params["model"]["fusion"]}, identity, expression)
        return made * half + middle

    def encode(params: Any, faces: jax.Array) -> Posterior:
        features = space.features(faces)
        found = [branch(params, name, features) for name in encoders]
        return Posterior(*(jnp.concatenate(parts, -1) for parts in zip(*found, strict=True)))

    def placed(features: jax.Array) -> jax.Array:
        faces = space.faces(features)
        return faces + rest - (steady * faces).sum(-2, keepdims=True)

    def decode(params: Any, identity: jax.Array, expression: jax.Array) -> tuple[jax.Array, jax.Array]:
        person, offset = drawn(params, "identity", identity), drawn(params, "expression", expression)
        return placed(fused(params, person, offset)), placed(person * half + middle)

    def loss(params: Any, batch: Batch, keys: jax.Array) -> tuple[jax.Array, dict[str, Average], None]:
        seen: Any = batch.get("features")
        if seen is None:
            seen = jiang_features(space, batch["vertices"], batch["neutral"])
        face, expression, neutral = (seen[name] for name in ("face", "expression", "neutral"))
        person, offset = branch(params, "identity", face), branch(params, "expression", face)
        each = jax.vmap(lambda key: jax.random.split(key, 4))(keys)
        made_person = drawn(params, "identity", sampled(person, each[:, 0]))
        made_offset = drawn(params, "expression", sampled(offset, each[:, 1]))
        person_features, offset_features = made_person * half + middle, made_offset * half + middle
        # Of the mean face nobody is left, and no expression.
        nobody = branch(params, "identity", offset_features)
        at_rest = branch(params, "expression", person_features)
        nobody_features = drawn(params, "identity", sampled(nobody, each[:, 2])) * half + middle
        rest_features = drawn(params, "expression", sampled(at_rest, each[:, 3])) * half + middle
        errors = {
            "neutral": person_features - neutral,
            "expression": offset_features - expression,
            "nobody": nobody_features,
            "at_rest": rest_features,
            "face": fused(params, made_person, made_offset) - face,
        }
        sizes = {name: jnp.abs(error).mean((1, 2)) for name, error in errors.items()}
        kl = gaussian_kl(*person) + gaussian_kl(*offset)
        decay = sum(
            weight * sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(params["model"][name])) / 2
            for name, weight in _DECAYS.items()
        )
        metrics = {f"{name}_features": Average.of(size) for name, size in sizes.items()}
        return sum(sizes.values()) + config.kl_weight * kl + decay, {**metrics, "kl_nats": Average.of(kl)}, None

    return Rival(latents, True, config.training.optimiser, init, encode, decode, loss)


def jiang_features(space: DeformationSpace, faces: jax.Array, neutrals: jax.Array) -> dict[str, jax.Array]:
    """Jiang et al.'s deformation features [..., vertices, 9] of faces, expressions on the template, and neutrals.

    Args:
      space: the representation.
      faces, neutrals: [..., vertices, 3] mm.

    Example:
      >>> from facedis_jax.inference.example import example_face_model
      >>> trained = example_face_model().trained
      >>> space = deformation_space(JiangConfig(), trained.constants.mean_face, trained.triangles)
      >>> found = jax.eval_shape(lambda faces: jiang_features(space, faces, faces), trained.neutrals)
      >>> {name: feature.shape for name, feature in found.items()}
      {'expression': (4, 36, 9), 'face': (4, 36, 9), 'neutral': (4, 36, 9)}
    """
    template = jnp.asarray(space.reference, jnp.float32)
    three = jnp.stack([faces, template + faces - neutrals, neutrals])
    face, expression, neutral = space.features(three)
    return {"face": face, "expression": expression, "neutral": neutral}


def _bounds(constants: RivalConstants, vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the features; of none that were found, those of faces that hardly differ from the template."""
    if constants.low is None or constants.high is None:
        return -np.ones((vertices, 9), np.float32), np.ones((vertices, 9), np.float32)
    centre, half = (constants.high + constants.low) / 2, (constants.high - constants.low) / 2
    # A feature that hardly varies is not scaled up.
    half = np.maximum(half, 0.05 * half.mean())
    return centre - half, centre + half
