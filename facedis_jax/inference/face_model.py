"""A trained model of faces that can be handed over: encode, decode, edit, sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.errors import InputError
from facedis_jax.formats.settings import as_json
from facedis_jax.inference.face_codes import Array, Code, DecodedFaces, FaceCodes, FaceParams, draw_like, split_codes
from facedis_jax.inference.face_functions import FaceModelFunctions, face_model_functions, face_settings, state_shapes
from facedis_jax.inference.faces import FaceCodec, codec_of
from facedis_jax.inference.model_files import ModelFile, Origin, named_arrays
from facedis_jax.inference.sequences import (
    effective_count,
    likeliest_correlation,
    people_spread,
    shared_code,
    smoothed,
    strangers,
)
from facedis_jax.inference.trained_faces import TrainedFaces
from facedis_jax.learners import IbVaeConfig

if TYPE_CHECKING:
    from facedis_jax.inference.fitting.fit import Fitter
    from facedis_jax.inference.fitting.results import FaceFit, FitConfig, Unit

__all__ = ["DecodedFaces", "TrainedFaceModel"]


@dataclass(frozen=True, eq=False)
class TrainedFaceModel:
    """A trained IB-VAE. Faces are [..., vertices, 3] in mm, in the topology of its training set.

    Attributes:
      config: of its learner; of a model from a file, its networks, and defaults for what matters in training alone.
      params: what training has found, the first argument of `functions`.
      functions: encoding and decoding as pure functions.
      trained: topology, names, and codes of training faces.
      origin: how it came about.

    Example:
      >>> from facedis_jax.inference.example import example_face_model
      >>> model = example_face_model()
      >>> model.triangles.shape, model.expressions
      ((50, 3), ('jaw_open', 'smile'))
      >>> codes = model.encode(model.trained.neutrals)
      >>> codes.identity.mean.shape, codes.expression.std.shape
      ((4, 3), (4, 2))
      >>> model.neutral(codes).shape, model.expression(codes, "smile", 0.7).shape
      ((4, 36, 3), (4, 36, 3))
      >>> model.sample(jax.random.key(0), 6).shape
      (6, 36, 3)

      Below the verbs are pure functions, here with the gradient of a face by the code of its expression:

      >>> decode = lambda code: model.functions.decode(model.params, codes.identity.mean[0], code, None).full
      >>> jax.jacobian(decode)(codes.expression.mean[0]).shape
      (36, 3, 2)
    """

    config: IbVaeConfig
    params: FaceParams
    functions: FaceModelFunctions
    trained: TrainedFaces
    origin: Origin

    @classmethod
    def of(cls, config: IbVaeConfig, params: FaceParams, trained: TrainedFaces, origin: Origin) -> "TrainedFaceModel":
        """The model of what a run has found.

        Example:
          >>> from facedis_jax.inference.example import example_face_model
          >>> model = example_face_model()
          >>> same = TrainedFaceModel.of(model.config, model.params, model.trained, model.origin)
          >>> same.expressions
          ('jaw_open', 'smile')
        """
        return cls(config, params, face_model_functions(config, trained.constants), trained, origin)

    @property
    def triangles(self) -> np.ndarray:
        """[triangles, 3] int32.

        Example:
          >>> from facedis_jax.inference.example import example_face_model
          >>> model = example_face_model()
          >>> model.triangles.shape, model.triangles.dtype
          ((50, 3), dtype('int32'))
        """
        return self.trained.triangles

    @property
    def expressions(self) -> tuple[str, ...]:
        """Names of the training set's expressions.

        Example:
          >>> from facedis_jax.inference.example import example_face_model
          >>> model = example_face_model()
          >>> model.expressions
          ('jaw_open', 'smile')
        """
        return tuple(self.trained.expressions)

    @property
    def shown_expressions(self) -> tuple[str, ...]:
        """Of `expressions`, those that `expression` can show: all that training faces show at some level.

        Example:
          >>> from facedis_jax.inference.example import example_face_model
          >>> model = example_face_model()
          >>> model.shown_expressions
          ('jaw_open', 'smile')
        """
        if self.config.conditional:
            return self.expressions
        return self.trained.shown_expressions

    @cached_property
    def codec(self) -> FaceCodec:
        """The same in batches of any size on the host, as evaluation and reports take it.

        Example:
          >>> from facedis_jax.inference.example import example_face_model
          >>> model = example_face_model()
          >>> mean, logvar = model.codec.encode(model.trained.neutrals, None)  # of identity and expression
          >>> mean.shape
          (4, 5)
        """
        state: Any = self.params
        return codec_of(self.config, self.trained.constants, state, self.expressions)

    @cached_property
    def fitter(self) -> "Fitter":
        """What fits the model to scans, compiled once.

        Example:
          >>> import facedis_jax
          >>> model = facedis_jax.load("cc0-face")  # doctest: +SKIP
          >>> model.fitter.mean_face.shape == (model.triangles.max() + 1, 3)  # mm  # doctest: +SKIP
          True
        """
        # Who only decodes does not wait for what fitting imports.
        from facedis_jax.inference.fitting.fit import Fitter

        return Fitter.of(self.config, self.params, self.trained)

    def fit(
        self,
        points: np.ndarray,
        triangles: np.ndarray | None = None,
        *,
        unit: "Unit | None" = None,
        landmarks: Mapping[str, Sequence[float]] | None = None,
        config: "FitConfig | None" = None,
        key: jax.Array | None = None,
        where: object = "points",
        landmarks_where: object = "landmarks",
    ) -> "FaceFit":
        """The face of a scan: of a mesh of any topology or of bare points, in any pose and place.

        Args:
          points: [points, 3], of the face, of a part of it, or of a head with neck and shoulders.
          triangles: [triangles, 3]; None for bare points.
          unit: of the points; found where it is None.
          landmarks: places [3] of three points of the scan or more, by the names that `landmark_names` lists or the
            numbers of the model's vertices, for scans in which the face is not found without them.
          config: how it is fitted; the default configuration where it is None.
          key: of the samples of the posterior, where there are some.
          where, landmarks_where: what errors call the scan and the landmarks.

        Raises:
          InputError: for points that are no surface with a face, a unit in which they would not be one, two faces, or
            landmarks that cannot be used.

        Example:
          A face of the model as a scan, in metres and 2 m away. `neutral(fit.codes)` is the person at rest:

          >>> import facedis_jax
          >>> model = facedis_jax.load("cc0-face")  # doctest: +SKIP
          >>> face = np.asarray(model.sample(jax.random.key(0), 1)[0])  # doctest: +SKIP
          >>> fit = model.fit(face / 1000 + [0, 0, 2], model.triangles)  # doctest: +SKIP
          >>> fit.unit, fit.is_bad, fit.vertices.shape == face.shape  # doctest: +SKIP
          ('m', False, True)
        """
        from facedis_jax.inference.fitting.landmarks import read_landmarks
        from facedis_jax.inference.fitting.results import FitConfig
        from facedis_jax.inference.fitting.scans import Scan

        scan = Scan.of(points, triangles, where)
        places = None
        if landmarks is not None:
            places = read_landmarks(landmarks, self.fitter.landmarks, len(self.fitter.mean_face), landmarks_where)
        return self.fitter.fit(scan, unit, places, config or FitConfig(), key)

    def fit_many(
        self,
        scans: Sequence[tuple[np.ndarray, np.ndarray | None]],
        *,
        unit: "Unit | None" = None,
        config: "FitConfig | None" = None,
        names: Sequence[object] = (),
    ) -> "list[FaceFit | InputError]":
        """The faces of many scans, each as `TrainedFaceModel.fit` finds it, on all cores of the machine.

        Args:
          scans: points and triangles of each, as of `TrainedFaceModel.fit`.
          unit, config: as of `TrainedFaceModel.fit`.
          names: what errors call each scan; their numbers without.

        Returns:
          For each scan its face, or why there is none.

        Example:
          >>> from facedis_jax.inference.example import example_face_model
          >>> model = example_face_model()
          >>> found = model.fit_many([(np.zeros([100, 3]), None), (np.zeros([9, 3]), None)], names=["a.ply", "b.ply"])
          >>> for error in found:
          ...     print(error)
          a.ply: expected points of a surface, found all points in one place
          b.ply: expected 100 points of a face or more, found 9
        """
        from facedis_jax.inference.fitting.many import on_all_cores

        called = list(names) or [f"scan {i}" for i in range(len(scans))]

        def one(points: np.ndarray, triangles: np.ndarray | None, where: object) -> "FaceFit | InputError":
            try:
                return self.fit(points, triangles, unit=unit, config=config, where=where)
            except InputError as error:
                return error

        return on_all_cores(one, [(*scan, name) for scan, name in zip(scans, called, strict=True)])

    @property
    def landmark_names(self) -> tuple[str, ...]:
        """Names of points of the face that scans may be given.

        Example:
          >>> import facedis_jax
          >>> model = facedis_jax.load("cc0-face")  # doctest: +SKIP
          >>> "nose_tip" in model.landmark_names  # doctest: +SKIP
          True
        """
        return tuple(self.fitter.landmarks)

    def labels(self, name: str | None, level: float | Array = 1.0, *, where: str = "label") -> Array | None:
        """Labels [..., expressions] of faces that show an expression; None for a model that takes none.

        Args:
          name: of the expression; None for a neutral face.
          level: how much of it, 0 to 1, [...].
          where: what the name is called in errors.

        Raises:
          InputError: for an unknown expression, a level outside 0 to 1, or a name where the model takes none.

        Example:
          >>> from facedis_jax.inference.example import example_face_model
          >>> model = example_face_model(conditional=True)
          >>> model.labels("smile", 0.5).tolist(), model.labels(None).tolist()
          ([0.0, 0.5], [0.0, 0.0])
          >>> print(example_face_model().labels(None))  # a model that takes none
          None
        """
        if not self.config.conditional:
            if name is not None:
                raise InputError(where, "nothing, as this run's model takes no labels", name)
            return None
        one_hot = np.zeros(len(self.expressions), np.float32)
        if name is not None:
            check_between(f"{where}_level", level, 0, 1)
            one_hot[self._index(where, name)] = 1
        return one_hot * jnp.asarray(level, jnp.float32)[..., None]

    def encode(self, vertices: Array, labels: Array | None = None) -> FaceCodes:
        """The codes of faces.

        Args:
          vertices: [..., vertices, 3] mm, registered as the training faces are.
          labels: of the expressions that they show, as `labels` gives them; neutral without them.

        Raises:
          InputError: for another number of vertices.

        Example:
          >>> from facedis_jax.inference.example import example_face_model
          >>> model = example_face_model()
          >>> codes = model.encode(model.trained.neutrals)  # of four people
          >>> codes.identity.mean.shape, codes.expression.std.shape
          ((4, 3), (4, 2))
        """
        expected = self.trained.constants.mean_face.shape
        if np.shape(vertices)[-2:] != expected:
            raise InputError("vertices", f"[..., {expected[0]}, 3]", f"{list(np.shape(vertices))}")
        if labels is None:
            labels = self.labels(None)
        return self.functions.encode(self.params, vertices, labels)

    def encode_points(self, clouds: Sequence[np.ndarray], labels: Array | None = None) -> FaceCodes:
        """The codes of points on the surfaces of faces, with or without a mesh.

        Args:
          clouds: of each face points [points, 3] in mm, as many as there are, where the training faces lie.
          labels: [faces, expressions], as of `encode`.

        Raises:
          InputError: for too few points of a face.

        Example:
          >>> from facedis_jax.inference.example import example_face_model
          >>> model = example_face_model()
          >>> clouds = [model.trained.neutrals[0], model.trained.neutrals[1][:30]]
          >>> model.encode_points(clouds).identity.mean.shape
          (2, 3)
        """
        if labels is None and self.config.conditional:
            labels = np.broadcast_to(np.asarray(self.labels(None)), (len(clouds), len(self.expressions)))
        encode = self.codec.encode_points
        assert encode is not None
        return self._codes(*encode(clouds, None if labels is None else np.asarray(labels)), labels)

    def encode_sequence(
        self, frames: Array, labels: Array | None = None, *, smoothing: float | None = 0.0, check: bool = True
    ) -> FaceCodes:
        """The codes of the frames of one person, all with one identity; see `of_one_person`.

        Args:
          frames: [frames, vertices, 3] mm, registered as the training faces are, in the order of time.
          labels: [frames, expressions] or [expressions], as of `encode`.
          smoothing, check: as of `of_one_person`.

        Raises:
          InputError: for another number of vertices, or as `of_one_person`.

        Example:
          >>> from facedis_jax.inference.example import example_face_model
          >>> model = example_face_model()
          >>> face = model.trained.neutrals[0]
          >>> frames = face + np.linspace(0, 1, 5)[:, None, None]  # one person, five frames
          >>> codes = model.encode_sequence(frames, smoothing=0.5)
          >>> codes.expression.mean.shape, bool((codes.identity.mean == codes.identity.mean[0]).all())
          ((5, 2), True)
        """
        shape, expected = np.shape(frames), self.trained.constants.mean_face.shape
        if len(shape) != 3 or shape[1:] != expected or not shape[0]:
            raise InputError("frames", f"[frames, {expected[0]}, 3]", f"{list(shape)}")
        if labels is None:
            labels = self.labels(None)
        rows = None if labels is None else np.broadcast_to(np.asarray(labels), (shape[0], len(self.expressions)))
        # In batches, whatever the length: one program for sequences of all lengths.
        mean, logvar = self.codec.encode(np.asarray(frames), rows)
        return self.of_one_person(self._codes(mean, logvar, rows), smoothing=smoothing, check=check)

    def of_one_person(self, codes: FaceCodes, *, smoothing: float | None = 0.0, check: bool = True) -> FaceCodes:
        """Codes of the frames of one person, all with the one identity that fits them best, and smoothed on demand.

        The identity is the product of the frames' posteriors, less the prior that each of them has; it counts as many
        frames as are independent of each other. See `facedis_jax.inference.sequences`.

        Args:
          codes: [frames, latents] in the order of time, as `encode` and `encode_points` find them in each frame.
          smoothing: the correlation of a frame's expression with the next one's, 0 (none, each frame by itself) to 1
            (one expression in all of them); None for the likeliest in each latent.
          check: refuse frames of several people.

        Raises:
          InputError: there are no frames, the smoothing is not 0 to 1, or frames are clearly of several people.

        Example:
          >>> from facedis_jax.inference.example import example_face_model
          >>> model = example_face_model()
          >>> codes = model.encode(model.trained.neutrals)
          >>> one = model.of_one_person(codes, check=False)  # for the example, four people pass for one
          >>> bool((one.identity.mean == one.identity.mean[0]).all()), one.expression is codes.expression
          (True, True)
        """
        number = np.shape(codes.identity.mean)[0] if np.ndim(codes.identity.mean) == 2 else 0
        if not number:
            raise InputError("frames", "codes [frames, latents]", f"{list(np.shape(codes.identity.mean))}")
        if check:
            self._check_one_person(codes.identity.mean)
        expression = codes.expression
        if smoothing is None:
            expression = smoothed(expression, likeliest_correlation(expression))
        elif smoothing != 0:
            check_between("smoothing", smoothing, 0, 1)
            expression = smoothed(expression, smoothing)
        one = shared_code(codes.identity, effective_count(codes.identity))
        identity = Code(*(jnp.broadcast_to(part, np.shape(codes.identity.mean)) for part in one))
        return FaceCodes(identity, expression, codes.labels)

    def _check_one_person(self, means: Array) -> None:
        """Raises an InputError where identity codes [frames, latents] are clearly of several people."""
        if isinstance(means, jax.core.Tracer):
            return
        known = self.trained.codes[:, : self.config.model.identity_latents]
        is_strange, distance = strangers(np.asarray(means), people_spread(known, self.trained.subject))
        if is_strange.any():
            found = f"{is_strange.sum()} of {len(is_strange)} that differ from most as people do, such as frame "
            found += f"{distance.argmax() + 1} ({distance.max():.1f} times the distance of people who are alike)"
            raise InputError("frames", "frames of one person", found)

    def decode(self, codes: FaceCodes) -> DecodedFaces:
        """The faces of the means of codes, and their neutrals.

        Example:
          >>> from facedis_jax.inference.example import example_face_model
          >>> model = example_face_model()
          >>> faces = model.decode(model.encode(model.trained.neutrals))
          >>> faces.full.shape, faces.neutral.shape
          ((4, 36, 3), (4, 36, 3))
        """
        return self._decode(codes.identity.mean, codes.expression.mean, codes.labels)

    def neutral(self, codes: FaceCodes) -> jax.Array:
        """The people at rest, as the identity decoder shows them.

        Example:
          >>> from facedis_jax.inference.example import example_face_model
          >>> model = example_face_model()
          >>> model.neutral(model.encode(model.trained.neutrals)).shape
          (4, 36, 3)
        """
        return self.decode(codes).neutral

    def expression(self, codes: FaceCodes, name: str, level: float | Array = 1.0) -> jax.Array:
        """The people with an expression of the training set; see `expression_code`.

        Example:
          >>> from facedis_jax.inference.example import example_face_model
          >>> model = example_face_model()
          >>> codes = model.encode(model.trained.neutrals)
          >>> model.expression(codes, "smile", 0.7).shape
          (4, 36, 3)
        """
        code, labels = self.expression_code(name, level)
        return self._decode(codes.identity.mean, code, labels).full

    def expression_code(self, name: str, level: float | Array = 1.0) -> tuple[Array, Array | None]:
        """Expression code [..., latents] and labels of an expression at a level.

        With labels the code is the prior's mean. Without, it lies on the line from the mean code of neutral training
        faces to that of the expression's strongest; of one that goes both ways under one name, the more typical way.

        Args:
          name: one of `expressions`.
          level: how much of it, from 0 (neutral) to 1, [...].

        Raises:
          InputError: for an unknown expression, or a level outside 0 to 1.

        Example:
          >>> from facedis_jax.inference.example import example_face_model
          >>> model = example_face_model()
          >>> code, labels = model.expression_code("smile", 0.5)
          >>> code.shape, labels is None
          ((2,), True)
        """
        index = self._index("expression", name)
        check_between("level", level, 0, 1)
        amount = jnp.asarray(level, jnp.float32)[..., None]
        if self.config.conditional:
            code = jnp.zeros((*amount.shape[:-1], self.config.model.expression_latents))
            return code, self.labels(name, level)
        neutral, apex = self.trained.neutral_and_apex(index, self.config.model.identity_latents)
        return neutral + amount * (apex - neutral), None

    def transfer(self, who: FaceCodes, what: FaceCodes) -> jax.Array:
        """The people of some faces with the expressions of others.

        Example:
          >>> from facedis_jax.inference.example import example_face_model
          >>> model = example_face_model()
          >>> codes = model.encode(model.trained.neutrals)
          >>> backwards = jax.tree.map(lambda code: code[::-1], codes)
          >>> model.transfer(who=codes, what=backwards).shape
          (4, 36, 3)
        """
        return self._decode(who.identity.mean, what.expression.mean, what.labels).full

    def between(self, one: FaceCodes, other: FaceCodes, amount: float | Sequence[float] | Array) -> jax.Array:
        """Faces on the straight line between the codes of two.

        Args:
          one, other: codes [..., latents].
          amount: where on the line, from 0 (one) to 1 (other), [amounts] or a number.

        Returns:
          [amounts, ..., vertices, 3] mm.

        Example:
          >>> from facedis_jax.inference.example import example_face_model
          >>> model = example_face_model()
          >>> codes = model.encode(model.trained.neutrals)
          >>> ann, ben = (jax.tree.map(lambda code: code[person], codes) for person in (0, 1))
          >>> model.between(ann, ben, [0.0, 0.5, 1.0]).shape
          (3, 36, 3)
        """

        amounts = jnp.asarray(amount)

        def mix(first: Array, second: Array) -> jax.Array:
            weights = amounts.reshape(*amounts.shape, *[1] * jnp.ndim(first))
            return (1 - weights) * first + weights * second

        labels = None if one.labels is None or other.labels is None else mix(one.labels, other.labels)
        identity = mix(one.identity.mean, other.identity.mean)
        return self._decode(identity, mix(one.expression.mean, other.expression.mean), labels).full

    def sample(self, key: jax.Array, count: int) -> jax.Array:
        """New faces [count, vertices, 3]: identity and expression drawn apart, as the training codes are distributed.

        They are of two normal distributions. Labels, where the model takes them, are those of training faces drawn at
        random.

        Example:
          >>> from facedis_jax.inference.example import example_face_model
          >>> model = example_face_model()
          >>> model.sample(jax.random.key(0), 6).shape
          (6, 36, 3)
        """
        keys = jax.random.split(key, 3)
        parts = np.split(self.trained.codes.astype(np.float64), [self.config.model.identity_latents], axis=1)
        drawn = [draw_like(part, each, count) for part, each in zip(parts, keys[:2], strict=True)]
        row = jax.random.randint(keys[2], (count,), 0, len(self.trained.codes))
        labels = None
        if self.config.conditional:
            shown = jax.nn.one_hot(jnp.asarray(self.trained.expression)[row], len(self.expressions))
            labels = shown * jnp.asarray(self.trained.level)[row, None]
        return self._decode(drawn[0], drawn[1], labels).full

    def save(self, path: Path) -> None:
        """Writes the model file whole or not at all; raises an OSError where it cannot be written.

        Example:
          >>> from facedis_jax.inference.example import example_face_model
          >>> model = example_face_model()
          >>> import facedis_jax, tempfile
          >>> with tempfile.TemporaryDirectory() as folder:
          ...     path = Path(folder, "model.safetensors")
          ...     model.save(path)
          ...     facedis_jax.load(path).expressions
          ('jaw_open', 'smile')
        """
        self._write(path, {"learner": as_json(self.config)}, {})

    @classmethod
    def from_file(cls, file: ModelFile) -> "TrainedFaceModel":
        """The model of a file.

        Raises:
          InputError: something is missing, or its parts do not belong together.

        Example:
          >>> from facedis_jax.inference.example import example_face_model
          >>> model = example_face_model()
          >>> import tempfile
          >>> with tempfile.TemporaryDirectory() as folder:
          ...     path = Path(folder, "model.safetensors")
          ...     model.save(path)
          ...     TrainedFaceModel.from_file(ModelFile.read(path)).expressions
          ('jaw_open', 'smile')
        """
        config = face_settings(file)
        trained = TrainedFaces.from_file(file, config.model.identity_latents + config.model.expression_latents)
        like = file.built(lambda: state_shapes(config, trained.constants))
        params = FaceParams(*(file.weights(name, getattr(like, name)) for name in FaceParams._fields))
        return cls.of(config, params, trained, file.origin)

    def _write(self, path: Path, card: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Writes the model file, with what its method alone has of a card and of arrays."""
        params = named_arrays("params", self.params.params) | named_arrays("batch_stats", self.params.batch_stats)
        card, arrays = {**card, **self.trained.card()}, {**params, **arrays, **self.trained.arrays()}
        ModelFile(path, "faces", self.origin, card, arrays).write()

    def _codes(self, mean: np.ndarray, logvar: np.ndarray, labels: Array | None) -> FaceCodes:
        """Codes of posteriors [faces, latents], as a codec finds them."""
        return split_codes(mean, np.exp(0.5 * logvar), self.config.model.identity_latents, labels)

    def _decode(self, identity: Array, expression: Array, labels: Array | None) -> DecodedFaces:
        return self.functions.decode(self.params, identity, expression, labels)

    def _index(self, where: str, name: str) -> int:
        if name not in self.expressions:
            raise InputError(where, f"one of {', '.join(self.expressions)}", name)
        return self.expressions.index(name)


def check_between(where: str, value: float | Array | Sequence[float], low: float, high: float) -> None:
    """Checks that numbers lie within bounds; values that are not known yet, as in `jax.jit`, are not looked at.

    Raises:
      InputError: for one that does not.
    """
    if not isinstance(value, jax.core.Tracer) and not ((low <= np.asarray(value)) & (np.asarray(value) <= high)).all():
        limits = f"{low:g} or more" if np.isinf(high) else f"{low:g} to {high:g}"
        raise InputError(where, limits, str(value))
