"""Trained generators of images and of clips that can be handed over: infer, decode, recombine, traverse, sample."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.errors import InputError
from facedis_jax.formats.settings import as_json, from_json_in_part
from facedis_jax.inference.codecs import image_codec, video_codec
from facedis_jax.inference.model_files import ModelFile, Origin, named_arrays
from facedis_jax.inference.videos import match_distribution
from facedis_jax.learners import (
    AbpConfig,
    AbpVideoConfig,
    ImageFunctions,
    ImageVaeConfig,
    VideoFunctions,
    abp_functions,
    abp_video_functions,
    image_vae_functions,
)
from facedis_jax.learners.rivals.images import DeformingAutoencoderConfig, deforming_autoencoder_functions
from facedis_jax.models import inference_network
from facedis_jax.models.rivals.images.deforming import DeformingEncoder

__all__ = ["TrainedImageModel", "TrainedVideoModel"]

Array: TypeAlias = np.ndarray | jax.Array
Part: TypeAlias = Literal["appearance", "geometry"]
GeneratorSettings: TypeAlias = AbpConfig | ImageVaeConfig | DeformingAutoencoderConfig | AbpVideoConfig
Model = TypeVar("Model", bound="TrainedImageModel")

# By the name of a method in a card: its settings, and what makes the functions of them.
_METHODS: Mapping[str, tuple[type, Callable[[Any], ImageFunctions]]] = {
    "abp": (AbpConfig, abp_functions),
    "vae": (ImageVaeConfig, image_vae_functions),
    "deforming_autoencoder": (DeformingAutoencoderConfig, deforming_autoencoder_functions),
    "abp_video": (AbpVideoConfig, abp_video_functions),
}
# Of a part of a learner's settings, what matters in training alone, by all the names that it has had, and what came
# later with a default that means what was there before.
_UNNEEDED = {"model": ("initial_flow", "compute"), "langevin": ("num_steps",)}
_MOST_CODES = 5000
_LARGEST_SIDE, _MOST_FRAMES = 1 << 14, 100_000


@dataclass(frozen=True, eq=False)
class TrainedImageModel:
    """A trained generator of images [..., size, size, channels] in [0, 1], of `Latents` [..., latents].

    Attributes:
      config: of its learner.
      params: what training has found, the first argument of `functions`.
      functions: the model as pure functions of its parameters, in the range of its output.
      codes: latents of training images, [images, ...]; None for a learner that keeps none.
      frames: of a training clip; 1 for images.
      origin: how it came about.

    Example:
      >>> from facedis_jax.inference.example import example_image_model
      >>> model = example_image_model()
      >>> images = np.zeros([2, 8, 8, 3], np.uint8)
      >>> latents = model.infer(images)
      >>> model.decode(latents).shape, model.canonical(latents.appearance).shape, model.flow(latents.geometry).shape
      ((2, 8, 8, 3), (2, 8, 8, 3), (2, 8, 8, 2))
      >>> model.recombine(latents, model.sample(jax.random.key(0), 2)).shape
      (2, 8, 8, 3)
      >>> model.traverse(latents, "geometry", 1, [-2.0, 0.0, 2.0]).shape
      (3, 2, 8, 8, 3)
    """

    config: GeneratorSettings
    params: Any
    functions: ImageFunctions
    codes: Any
    frames: int
    origin: Origin
    kind: ClassVar[str] = "images"

    @classmethod
    def of(
        cls: type[Model],
        config: GeneratorSettings,
        params: Any,
        origin: Origin,
        *,
        codes: Any = None,
        frames: int = 1,
    ) -> Model:
        """The model of what a run has found.

        Args:
          config: of the learner.
          params: the run's; those of other networks than the model's own, such as a critic, are left behind.
          origin: how it came about.
          codes: latents of training examples, of which a few thousand are kept.
          frames: of a training clip.

        Example:
          >>> from facedis_jax.inference.example import example_image_model
          >>> model = example_image_model()
          >>> TrainedImageModel.of(model.config, model.params, model.origin).codes is None
          True
        """
        functions = _METHODS[_method(config)][1](config)
        own = _own_params(config, functions)
        if codes is not None:
            count = len(jax.tree.leaves(codes)[0])
            rows = np.linspace(0, count - 1, min(count, _MOST_CODES)).round().astype(int)
            codes = jax.tree.map(lambda z: np.asarray(z, np.float32)[rows], codes)
        return cls(config, {name: params[name] for name in own}, functions, codes, frames, origin)

    @cached_property
    def codec(self) -> Any:
        """The same in batches of any size on the host, as evaluation and reports take it.

        Example:
          >>> from facedis_jax.inference.example import example_image_model
          >>> model = example_image_model()
          >>> model.codec.decode(model.codes).shape  # of its six training images
          (6, 8, 8, 3)
        """
        return image_codec(self.functions, self.params, seed=self.origin.seed)

    def infer(self, images: Array, key: jax.Array | None = None, **known: Any) -> Any:
        """The latents of images, or of clips.

        Args:
          images: [n, size, size, channels], or clips [n, frames, size, size, channels]; uint8, or in [0, 1].
          key: of the noise, where inference samples; one that is always the same by default.
          **known: what the learner's inference takes beside, such as `appearance` that is held fixed.

        Raises:
          InputError: for images of another size.

        Example:
          >>> from facedis_jax.inference.example import example_image_model
          >>> model = example_image_model()
          >>> latents = model.infer(np.zeros([2, 8, 8, 3], np.uint8))
          >>> latents.appearance.shape, latents.geometry.shape
          ((2, 3), (2, 4))
        """
        wanted = (self.functions.config.size,) * 2 + (self.functions.config.channels,)
        if np.shape(images)[-3:] != wanted or np.ndim(images) != self._axes:
            raise InputError(
                "images", f"[n, {'frames, ' * (self._axes - 4)}{str(list(wanted))[1:]}", str(np.shape(images))
            )
        keys = jax.random.split(jax.random.key(0) if key is None else key, len(images))
        return self._infer(self.params, jnp.asarray(images), keys, known)

    def decode(self, latents: Any) -> jax.Array:
        """Images from latents [..., latents].

        Example:
          >>> from facedis_jax.inference.example import example_image_model
          >>> model = example_image_model()
          >>> images = model.decode(model.sample(jax.random.key(0), 2))  # in [0, 1]
          >>> images.shape, bool((images >= 0).all() and (images <= 1).all())
          ((2, 8, 8, 3), True)
        """
        return self._decode(self.params, latents)

    def canonical(self, appearance: Array) -> jax.Array:
        """Canonical images, before the warp, from appearance codes; of a clip's frames [..., frames, latents].

        Example:
          >>> from facedis_jax.inference.example import example_image_model
          >>> model = example_image_model()
          >>> latents = model.sample(jax.random.key(0), 2)
          >>> model.canonical(latents.appearance).shape
          (2, 8, 8, 3)
        """
        return self.functions.to_unit_range(self.functions.canonical(self.params, jnp.asarray(appearance)))

    def flow(self, geometry: Array) -> jax.Array:
        """Flows [..., size, size, 2] as (dx, dy) in pixels from geometric codes; of a clip's frames as `canonical`.

        Example:
          >>> from facedis_jax.inference.example import example_image_model
          >>> model = example_image_model()
          >>> latents = model.sample(jax.random.key(0), 2)
          >>> model.flow(latents.geometry).shape
          (2, 8, 8, 2)
        """
        return self.functions.flow(self.params, jnp.asarray(geometry))

    def recombine(self, appearance: Any, geometry: Any) -> jax.Array:
        """Images with the appearance of some latents and the geometry of others.

        Example:
          >>> from facedis_jax.inference.example import example_image_model
          >>> model = example_image_model()
          >>> looks, poses = (model.sample(jax.random.key(seed), 2) for seed in (0, 1))
          >>> model.recombine(looks, poses).shape
          (2, 8, 8, 3)
        """
        return self.decode(appearance._replace(geometry=geometry.geometry))

    def traverse(self, latents: Any, part: Part, dimension: int, values: Any) -> jax.Array:
        """Images of latents one dimension of which is set to each of some values in turn.

        Args:
          latents: [..., latents].
          part: "appearance" or "geometry".
          dimension: of that code.
          values: [values], in standard deviations of the prior.

        Returns:
          [values, ..., size, size, channels].

        Raises:
          InputError: for a part or a dimension that the model has not.

        Example:
          >>> from facedis_jax.inference.example import example_image_model
          >>> model = example_image_model()
          >>> latents = model.sample(jax.random.key(0), 2)
          >>> model.traverse(latents, "geometry", 1, [-2.0, 0.0, 2.0]).shape
          (3, 2, 8, 8, 3)
        """
        length = {name: getattr(self.functions.config, f"{name}_latents") for name in ("appearance", "geometry")}
        if part not in length or not 0 <= dimension < length[part]:
            found = f"{dimension} of {part}"
            raise InputError(
                "dimension", " or ".join(f"0 to {n - 1} of {name}" for name, n in length.items() if n), found
            )
        code = self._first(getattr(latents, part))
        moved = [jnp.asarray(code).at[..., dimension].set(value) for value in np.asarray(values, np.float32)]
        return jnp.stack([self.decode(latents._replace(**{part: self._with_first(latents, part, x)})) for x in moved])

    def sample(self, key: jax.Array, count: int) -> Any:
        """Latents of new examples: of the prior, as wide as those of training examples where these are known.

        Example:
          >>> from facedis_jax.inference.example import example_image_model
          >>> model = example_image_model()
          >>> model.sample(jax.random.key(0), 2).geometry.shape
          (2, 4)
        """
        return self._sample(key, count, self.frames)

    def save(self, path: Path) -> None:
        """Writes the model file whole or not at all; raises an OSError where it cannot be written.

        Example:
          >>> from facedis_jax.inference.example import example_image_model
          >>> model = example_image_model()
          >>> import facedis_jax, tempfile
          >>> with tempfile.TemporaryDirectory() as folder:
          ...     path = Path(folder, "model.safetensors")
          ...     model.save(path)
          ...     facedis_jax.load(path).config.model.size
          8
        """
        leaves = [] if self.codes is None else jax.tree.leaves(self.codes)
        arrays = {f"codes/{i}": leaf for i, leaf in enumerate(leaves)}
        arrays |= named_arrays("params", self.params)
        card = {"method": _method(self.config), "learner": as_json(self.config), "frames": self.frames}
        ModelFile(path, self.kind, self.origin, card, arrays).write()

    @classmethod
    def from_file(cls: type[Model], file: ModelFile) -> Model:
        """The model of a file.

        Raises:
          InputError: something is missing, or its parts do not belong together.

        Example:
          >>> from facedis_jax.inference.example import example_image_model
          >>> model = example_image_model()
          >>> import tempfile
          >>> with tempfile.TemporaryDirectory() as folder:
          ...     path = Path(folder, "model.safetensors")
          ...     model.save(path)
          ...     TrainedImageModel.from_file(ModelFile.read(path)).frames
          1
        """
        method, frames = str(file.card.get("method")), file.card.get("frames")
        if method not in _METHODS or (method == "abp_video") != (file.kind == "videos"):
            raise file.refusal(f"the method {ascii(method)[:40]}")
        if type(frames) is not int or not 1 <= frames <= _MOST_FRAMES:
            raise file.refusal(f"clips of {ascii(frames)[:40]} frames")
        config: Any = _settings(file, _METHODS[method][0])

        def build() -> tuple[ImageFunctions, Any, Any]:
            # Larger than any generator of this program has been, and small enough to build one.
            if config.model.size > _LARGEST_SIDE:
                raise ValueError(f"images of {config.model.size} pixels")
            functions = _METHODS[method][1](config)
            like = _own_params(config, functions)
            return functions, like, jax.eval_shape(lambda key: functions.prior(key, (frames,)), jax.random.key(0))

        functions, like, example = file.built(build)
        params = file.weights("params", like)
        return cls(config, params, functions, _codes(file, example), frames, file.origin)

    @property
    def _axes(self) -> int:
        return 4

    @cached_property
    def _infer(self) -> Any:
        functions = self.functions

        def infer(params: Any, images: jax.Array, keys: jax.Array, known: Any) -> Any:
            return functions.infer(params, functions.to_model_range(images), keys, **known)

        return jax.jit(infer)

    @cached_property
    def _decode(self) -> Any:
        return jax.jit(lambda params, latents: self.functions.to_unit_range(self.functions.decode(params, latents)))

    def _first(self, code: Any) -> Any:
        """The code that is traversed."""
        return code

    def _with_first(self, latents: Any, part: Part, code: Any) -> Any:
        return code

    def _sample(self, key: jax.Array, count: int, frames: int) -> Any:
        draws = jax.vmap(lambda key: self.functions.prior(key, (frames,)))(jax.random.split(key, count))
        return draws if self.codes is None else match_distribution(jax.device_get(draws), self.codes)


@dataclass(frozen=True, eq=False)
class TrainedVideoModel(TrainedImageModel):
    """A trained generator of clips [..., frames, size, size, channels] in [0, 1], of `DynamicLatents` [..., latents].

    Its verbs are those of `TrainedImageModel`. A traversal moves Z_0, so that all frames change; canonical images and
    flows are of the codes of frames, which `frame_codes` gives.

    Example:
      >>> from facedis_jax.inference.example import example_video_model
      >>> model = example_video_model()
      >>> clips = model.sample(jax.random.key(0), 2)
      >>> model.decode(clips).shape
      (2, 4, 16, 16, 3)
      >>> model.traverse(clips, "appearance", 0, [-1.0, 1.0]).shape
      (2, 2, 4, 16, 16, 3)
      >>> model.flow(model.frame_codes(clips).geometry).shape
      (2, 4, 16, 16, 2)
    """

    kind: ClassVar[str] = "videos"

    @cached_property
    def codec(self) -> Any:
        """As of `TrainedImageModel`.

        Example:
          >>> from facedis_jax.inference.example import example_video_model
          >>> model = example_video_model()
          >>> model.codec.decode(model.codes).shape  # of its five training clips
          (5, 4, 16, 16, 3)
        """
        functions: Any = self.functions
        return video_codec(functions, self.params, seed=self.origin.seed)

    def frame_codes(self, latents: Any) -> Any:
        """`Latents` of all frames, Z_t [..., frames, latents] of either kind.

        Example:
          >>> from facedis_jax.inference.example import example_video_model
          >>> model = example_video_model()
          >>> model.frame_codes(model.sample(jax.random.key(0), 2)).geometry.shape  # two clips of four frames
          (2, 4, 4)
        """
        functions: Any = self.functions
        assert isinstance(functions, VideoFunctions)
        return functions.codes(self.params, latents)

    def sample(self, key: jax.Array, count: int, frames: int | None = None) -> Any:
        """Latents of new clips, as of `TrainedImageModel.sample`.

        Args:
          key, count: of what is drawn.
          frames: of a clip; as many as a training clip has by default.

        Example:
          >>> from facedis_jax.inference.example import example_video_model
          >>> model = example_video_model()
          >>> model.sample(jax.random.key(0), 2, frames=9).geometry.noise.shape  # xi of all frames but the first
          (2, 8, 2)
        """
        return self._sample(key, count, self.frames if frames is None else frames)

    @property
    def _axes(self) -> int:
        return 5

    def _first(self, code: Any) -> Any:
        return code.first

    def _with_first(self, latents: Any, part: Part, code: Any) -> Any:
        return getattr(latents, part)._replace(first=code)


def _method(config: GeneratorSettings) -> str:
    return next(name for name, (kind, _) in _METHODS.items() if isinstance(config, kind))


def _settings(file: ModelFile, kind: type) -> Any:
    """The settings of a file's learner: strictly what decoding and inference need, and the rest as far as it fits."""
    saved = file.card.get("learner")
    if not isinstance(saved, dict):
        raise file.refusal("no settings of a learner")
    names = {field.name for field in fields(kind)}
    whole: Any = from_json_in_part(
        kind, saved, unneeded={*saved, *names} - {"sigma", "noise_step"}, where=file.path, key="learner"
    )
    hints = get_type_hints(kind)
    parts = {
        name: from_json_in_part(
            hints[name], saved.get(name), unneeded=_UNNEEDED[name], where=file.path, key=f"learner.{name}"
        )
        for name in _UNNEEDED.keys() & names
    }
    return replace(whole, **parts)


def _own_params(config: GeneratorSettings, functions: ImageFunctions) -> Any:
    """Shapes of the parameters of a model's own networks."""
    own = jax.eval_shape(functions.init, jax.random.key(0))
    encoders: dict[str, Any] = {}
    if isinstance(config, ImageVaeConfig):
        encoders["inference"] = inference_network(config.model)
    elif isinstance(config, DeformingAutoencoderConfig):
        encoders["encoder"] = DeformingEncoder(config.model)
    image = np.zeros((1, config.model.size, config.model.size, config.model.channels), np.float32)
    for name, network in encoders.items():
        own[name] = jax.eval_shape(network.init, jax.random.key(0), image)["params"]
    return own


def _codes(file: ModelFile, example: Any) -> Any:
    """Latents of training examples, each as one example's; None where a file has none."""
    if "codes/0" not in file.arrays:
        return None
    leaves, structure = jax.tree.flatten(example)
    count = len(file.array("codes/0", (-1, *leaves[0].shape), "f"))
    found = [file.array(f"codes/{i}", (count, *leaf.shape), "f") for i, leaf in enumerate(leaves)]
    if not count:
        raise file.refusal("codes of no examples")
    return jax.tree.unflatten(structure, found)
