"""Trained rivals at work: the same verbs as those of our own model, as far as a method can do them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.errors import InputError
from facedis_jax.formats.settings import as_json, from_json
from facedis_jax.inference.chunks import in_chunks
from facedis_jax.inference.face_codes import Array, DecodedFaces, FaceCodes, FaceParams, broadcast_codes, split_codes
from facedis_jax.inference.face_functions import FaceModelFunctions
from facedis_jax.inference.face_model import TrainedFaceModel
from facedis_jax.inference.faces import FaceCodec
from facedis_jax.inference.model_files import ModelFile, Origin
from facedis_jax.inference.trained_faces import TrainedFaces
from facedis_jax.learners import FaceConstants, IbVaeConfig
from facedis_jax.learners.rivals.faces import RIVALS, Latents, Rival, RivalConstants
from facedis_jax.models import FaceVaeConfig

_CHUNK = 32
_ARRAYS = ("mean_face", "deviation", "template", "low", "high")


def rival_codec(rival: Rival, params: Any) -> FaceCodec:
    """A trained rival as functions on the host."""
    encode, decode = jax.jit(rival.encode), jax.jit(rival.decode)

    def as_float32(arrays: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(np.asarray(array, np.float32) for array in arrays)

    return FaceCodec(
        encode=lambda vertices, labels: in_chunks(
            lambda faces: tuple(encode(params, faces)), as_float32([vertices]), _CHUNK
        ),
        decode=lambda identity, expression, labels: in_chunks(
            partial(decode, params), as_float32([identity, expression]), _CHUNK
        ),
        identity_latents=rival.latents.identity,
        expression_latents=rival.latents.expression,
    )


@dataclass(frozen=True, eq=False)
class TrainedRival(TrainedFaceModel):
    """A trained rival. What it shares with our own model is called as there; it is not fitted to scans.

    Attributes:
      method: its name among `facedis_jax.learners.rivals.faces.RIVALS`.
      settings: of its networks and training.
      rival: its functions.
      rival_constants: of its training faces.
    """

    method: str
    settings: Any
    rival: Rival
    rival_constants: RivalConstants

    @classmethod
    def of_rival(
        cls,
        method: str,
        settings: Any,
        rival: Rival,
        constants: RivalConstants,
        params: Any,
        trained: TrainedFaces,
        origin: Origin,
    ) -> "TrainedRival":
        """The model of what a run has found; `trained` has the constants that `face_constants` gives."""
        identity, expression = rival.latents
        config = IbVaeConfig(model=FaceVaeConfig(identity_latents=identity, expression_latents=expression))
        return cls(
            config, FaceParams(params, {}), _functions(rival), trained, origin, method, settings, rival, constants
        )

    @staticmethod
    def face_constants(constants: RivalConstants, num_faces: int, num_expressions: int) -> FaceConstants:
        """The constants of a training set that all models of faces have."""
        return FaceConstants(constants.mean_face, constants.scale, num_faces, num_expressions, np.zeros(0), 1.0)

    @cached_property
    def codec(self) -> FaceCodec:
        """The same in batches of any size on the host, as evaluation and reports take it."""
        return rival_codec(self.rival, self.params.params)

    @property
    def fitter(self) -> Any:
        """Raises an InputError: only our own model is fitted to scans."""
        raise InputError(self.method, "a model that is fitted to scans", "a rival, which is not")

    def encode_points(self, clouds: Sequence[np.ndarray], labels: Array | None = None) -> FaceCodes:
        """Raises an InputError: rivals see registered meshes alone."""
        raise InputError(self.method, "a model that reads points", "a rival, which reads registered meshes alone")

    def expression_code(self, name: str, level: float | Array = 1.0) -> tuple[Array, Array | None]:
        """As of our own model; raises an InputError for a method that does not tell expressions apart."""
        self._check_separates()
        return super().expression_code(name, level)

    def neutral(self, codes: FaceCodes) -> jax.Array:
        """As of our own model; raises an InputError for a method that does not tell expressions apart."""
        self._check_separates()
        return super().neutral(codes)

    def transfer(self, who: FaceCodes, what: FaceCodes) -> jax.Array:
        """As of our own model; raises an InputError for a method that does not tell expressions apart."""
        self._check_separates()
        return super().transfer(who, what)

    def sample(self, key: jax.Array, count: int) -> jax.Array:
        """New faces [count, vertices, 3], as of our own model."""
        if self.rival.separates:
            return super().sample(key, count)
        codes = np.asarray(self.trained.codes, np.float64)
        drawn = np.random.default_rng(np.asarray(jax.random.key_data(key))).multivariate_normal(
            codes.mean(0), np.atleast_2d(np.cov(codes, rowvar=False, ddof=int(len(codes) > 1))), count
        )
        return self._decode(drawn.astype(np.float32), np.zeros((count, 0), np.float32), None).full

    def save(self, path: Path) -> None:
        """Writes the model file whole or not at all; raises an OSError where it cannot be written."""
        constants = {f"rival/{name}": getattr(self.rival_constants, name) for name in _ARRAYS}
        latents = self.rival.latents
        card = {
            "rival": self.method,
            "settings": as_json(self.settings),
            # Where cards of our own model have theirs, for lists of models.
            "learner": {"model": {"identity_latents": latents.identity, "expression_latents": latents.expression}},
        }
        arrays = {name: np.asarray(array, np.float32) for name, array in constants.items() if array is not None}
        self._write(path, card, arrays)

    @classmethod
    def from_file(cls, file: ModelFile) -> "TrainedRival":
        """The model of a file.

        Raises:
          InputError: something is missing, or its parts do not belong together.
        """
        method = file.card.get("rival")
        if not isinstance(method, str) or method not in RIVALS:
            raise file.refusal(f"an unknown rival, {ascii(method)[:40]}")
        kind = RIVALS[method]
        settings: Any = from_json(kind.config, file.card.get("settings"), where=file.path, key="settings")
        learner = file.card.get("learner")
        model = learner.get("model") if isinstance(learner, Mapping) else None
        sizes = from_json(dict[str, int], model, where=file.path, key="learner.model")
        latents = Latents(sizes.get("identity_latents", 0), sizes.get("expression_latents", -1))
        if not (1 <= latents.identity < 1 << 16 and 0 <= latents.expression < 1 << 16):
            raise file.refusal("codes of no length")
        trained = TrainedFaces.from_file(file, sum(latents))
        constants = _constants(file, trained)
        rival = file.built(lambda: kind.make(settings, constants, latents))
        like = file.built(lambda: jax.eval_shape(rival.init, jax.random.key(0)))
        if rival.latents != latents:
            raise file.refusal("codes of two kinds, of a method that has one")
        params = file.weights("params", like)
        return cls.of_rival(method, settings, rival, constants, params, trained, file.origin)

    def _check_separates(self) -> None:
        if not self.rival.separates:
            raise InputError(self.method, "a model that tells identity from expression", "one code for both")


def _constants(file: ModelFile, trained: TrainedFaces) -> RivalConstants:
    shape = trained.constants.mean_face.shape
    found: dict[str, Any] = {
        name: file.array(f"rival/{name}", shape, "f") for name in ("mean_face", "deviation", "template")
    }
    if not (found["deviation"] > 0).all():
        raise file.refusal("deviations that are not positive")
    bounds: dict[str, Any] = {
        name: file.array(f"rival/{name}", (shape[0], 9), "f") if f"rival/{name}" in file.arrays else None
        for name in ("low", "high")
    }
    return RivalConstants(**found, triangles=trained.triangles, scale=trained.constants.scale, **bounds)


def _functions(rival: Rival) -> FaceModelFunctions:
    """A rival as the functions of a model of faces, compiled once for each shape."""

    @jax.jit
    def encode(params: FaceParams, vertices: Array, labels: Array | None) -> FaceCodes:
        before = vertices.shape[:-2]
        found = rival.encode(params.params, jnp.asarray(vertices, jnp.float32).reshape(-1, *vertices.shape[-2:]))
        mean, std = (x.reshape(*before, -1) for x in (found.mean, jnp.exp(0.5 * found.logvar)))
        return split_codes(mean, std, rival.latents.identity, labels)

    @jax.jit
    def decode(params: FaceParams, identity: Array, expression: Array, labels: Array | None) -> DecodedFaces:
        codes = broadcast_codes(identity, expression, None)[:2]
        shape = codes[0].shape[:-1]
        flat = [code.reshape(int(np.prod(shape)), code.shape[-1]) for code in codes]
        faces = rival.decode(params.params, *flat)
        return DecodedFaces(*(face.reshape(*shape, *face.shape[-2:]) for face in faces))

    def face(params: FaceParams, identity: Array, expression: Array, labels: Array | None) -> jax.Array:
        return decode(params, identity, expression, labels).full

    return FaceModelFunctions(encode, decode, face)
