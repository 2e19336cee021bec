"""Which faces a page can show: people, expressions, and what lies between, as codes of a model."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from facedis_jax.errors import InputError
from facedis_jax.formats.meshes import UNITS, Mesh, check_topology, check_unit
from facedis_jax.formats.scans import parse_scan
from facedis_jax.inference.face_editor import FaceEditor
from facedis_jax.inference.face_model import FaceCodes, TrainedFaceModel

AVERAGE, NEUTRAL = "average person", "neutral"


class Shown(NamedTuple):
    """What is shown: identity [latents], expression [latents], and labels [expressions] of a model that takes them."""

    identity: np.ndarray
    expression: np.ndarray
    labels: np.ndarray | None

    def towards(self, other: "Shown", amount: float) -> "Shown":
        """On the straight line to another, from 0 (this) to 1."""
        parts = [
            None if a is None or b is None else (1 - amount) * a + amount * b for a, b in zip(self, other, strict=True)
        ]
        return Shown(*parts)  # type: ignore[arg-type]

    def distance(self, other: "Shown") -> float:
        """The largest difference of a number in the codes."""
        pairs = zip(self, other, strict=True)
        return max(float(np.abs(a - b).max()) for a, b in pairs if a is not None and b is not None)


class Loaded(NamedTuple):
    """A scan that was loaded.

    Attributes:
      vertices: [vertices, 3] mm, where the training faces lie.
      triangles: [triangles, 3]; none of bare points.
      codes: of the face in it.
      doubt: why they are not to be trusted; empty where they are.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    codes: Shown
    doubt: str = ""


class Scale(NamedTuple):
    """Of the codes of training faces, [latents] each: a slider counts in deviations from the mean."""

    mean: np.ndarray
    deviation: np.ndarray


@dataclass(frozen=True)
class FaceChoices:
    """People and expressions by name.

    Attributes:
      model: that shows them.
      people: identity codes [latents].
      expressions: codes [latents], and labels, of expressions at level 1.
      rest: those of a face at rest.
      identity_scale, expression_scale: of the sliders.
    """

    model: TrainedFaceModel
    people: Mapping[str, np.ndarray]
    expressions: Mapping[str, tuple[np.ndarray, np.ndarray | None]]
    rest: tuple[np.ndarray, np.ndarray | None]
    identity_scale: Scale
    expression_scale: Scale

    @classmethod
    def of(cls, model: TrainedFaceModel) -> "FaceChoices":
        """The people of the training set and its expressions."""
        trained, length = model.trained, model.config.model.identity_latents
        identity, expression = np.split(trained.codes.astype(np.float32), [length], axis=1)
        people = {AVERAGE: identity.mean(0)}
        for index, name in enumerate(trained.subjects):
            if (trained.subject == index).any():
                people[name] = identity[trained.subject == index].mean(0)
        shown = model.shown_expressions
        rest = _arrays(expression.mean(0), model.labels(None))
        if shown:
            rest = _arrays(*model.expression_code(shown[0], 0.0))
        expressions = {NEUTRAL: rest, **{name: _arrays(*model.expression_code(name)) for name in shown}}
        return cls(model, people, expressions, rest, _scale(identity), _scale(expression))

    def face(self, who: str, what: str, level: float) -> Shown:
        """A person in an expression at a level from 0 to 1."""
        code, labels = self.expressions[what]
        rest, rest_labels = self.rest
        mixed = None if labels is None or rest_labels is None else rest_labels + level * (labels - rest_labels)
        return Shown(self.people[who], rest + np.float32(level) * (code - rest), mixed)

    def random(self, rng: np.random.Generator) -> Shown:
        """Somebody new: identity and expression drawn apart, as the codes of training faces are distributed."""
        length = self.model.config.model.identity_latents
        codes = np.split(self.model.trained.codes.astype(np.float64), [length], axis=1)
        drawn = [
            rng.multivariate_normal(x.mean(0), np.atleast_2d(np.cov(x, rowvar=False)), method="eigh") for x in codes
        ]
        return Shown(drawn[0].astype(np.float32), drawn[1].astype(np.float32), self.rest[1])

    def decode(self, shown: Shown) -> np.ndarray:
        """The face, [vertices, 3] mm."""
        model = self.model
        return np.asarray(model.functions.decode(model.params, *shown).full)

    def load(self, name: str, content: bytes) -> Loaded:
        """A mesh's file, with its codes; moved rigidly to where the training faces lie.

        A mesh of the model's topology is encoded; to any other the model is fitted, which takes longer.

        Raises:
          InputError: it is no mesh, or there is no face in it.
        """
        scan, model = parse_scan(name, content), self.model
        mesh = Mesh(scan.points, np.zeros([0, 3], np.int32) if scan.triangles is None else scan.triangles)
        try:
            check_topology(name, mesh, len(model.trained.constants.mean_face), model.triangles)
        except InputError:
            found = model.fit(scan.points, scan.triangles, where=name)
            doubt = f"not to be trusted: {found.reason}" if found.is_bad else ""
            return Loaded(found.pose.to_model(mesh.vertices), mesh.triangles, _shown(found.codes), doubt)
        vertices, _ = FaceEditor(model, likely_unit(name, mesh)).place(name, mesh, align=True)
        return Loaded(vertices, model.triangles, _shown(model.encode(vertices.astype(np.float32))))

    def with_loaded(self, name: str, loaded: Loaded) -> "FaceChoices":
        """Also who was loaded, and the expression."""
        codes = loaded.codes
        return replace(
            self,
            people={**self.people, name: codes.identity},
            expressions={**self.expressions, name: (codes.expression, codes.labels)},
        )


def likely_unit(where: object, mesh: Mesh) -> str:
    """The only unit in which a mesh has the size of a face; raises an InputError where there is none."""
    problem = None
    for unit in UNITS:
        try:
            check_unit(where, mesh.vertices, unit)
            return unit
        except InputError as error:
            problem = error
    assert problem is not None
    raise InputError(where, "a mesh of the size of a face", problem.found)


def _shown(codes: FaceCodes) -> Shown:
    """Of the codes of one face [latents]."""
    labels = None if codes.labels is None else np.asarray(codes.labels, np.float32)
    return Shown(np.asarray(codes.identity.mean), np.asarray(codes.expression.mean), labels)


def _arrays(code: object, labels: object) -> tuple[np.ndarray, np.ndarray | None]:
    return np.asarray(code, np.float32), None if labels is None else np.asarray(labels, np.float32)


def _scale(codes: np.ndarray) -> Scale:
    deviation = codes.std(0)
    return Scale(codes.mean(0), np.where(deviation > 0, deviation, 1).astype(np.float32))
