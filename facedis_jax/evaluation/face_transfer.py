"""Whether codes of different people can be combined: transferred expressions against the truth, and what leaks."""

from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from facedis_jax.data.splits import evenly_spaced
from facedis_jax.evaluation.alignment import aligned
from facedis_jax.evaluation.true_faces import AT_REST, PERFORMED, CodedFaces, TrueFaces
from facedis_jax.metrics import LeastSquares, disentanglement_error, distance_statistics

_PAIRS = 512
_PAIRS_AT_A_TIME = 64
# Comparisons of whole faces, for the share of transfers that are nearest to their own person.
_MOST_COMPARISONS = 10_000
_MOST_PERFORMERS = 64


class Pairs(NamedTuple):
    """Pairs of test faces of different subjects, given by rows [pairs]: who, and whose expression."""

    people: np.ndarray
    donors: np.ndarray


def draw_pairs(
    subject: np.ndarray, people: np.ndarray, donors: np.ndarray, *, count: int = _PAIRS, seed: int = 0
) -> Pairs | None:
    """Random pairs of faces of different subjects, the same for every model; None where there are none.

    Args:
      subject: [faces] integers.
      people, donors: rows to draw from.
      count: how many pairs; faces may be in several.
      seed: of what is drawn.
    """
    others = {one: people[subject[people] != one] for one in np.unique(subject[donors])}
    donors = donors[[len(others[one]) > 0 for one in subject[donors]]] if len(donors) else donors
    if not len(donors):
        return None
    rng = np.random.default_rng(seed)
    chosen = rng.choice(donors, count)
    return Pairs(np.array([rng.choice(others[one]) for one in subject[chosen]]), chosen)


def transfer_measures(
    model: CodedFaces, true: TrueFaces, average: np.ndarray, *, count: int = _PAIRS, seed: int = 0
) -> dict[str, Any]:
    """How well expressions go from one test face to another person, and how much of the donor comes along.

    Pairs are of one test face, for the identity, and a test face of another person that shows an expression.

    Args:
      model: to measure.
      true: the test faces.
      average: [vertices, 3] mm, the mean of the training people's neutrals.
      count: how many pairs.
      seed: of the pairs.

    Returns:
      "transfer_mm": mean, deviation and median over the pairs of the error against the truth.
      "donor_share": least-squares coefficient of this error on the difference of the two people's neutrals. 1 means
        that the result is the donor. Where the person is shown more like the average than is true, the coefficient is
        above 0 as well: "transfer" tells one from the other.
      "transfer": "pairs"; "reconstruction_mm" of the donors' faces; "error_shares", coefficients of the error on the
        donor's neutral and on the average face jointly, each relative to the person's; "own_person", the share of
        transfers whose nearest is their own person among all test people with that expression, with "people", their
        number; "rest_mm", distances to a person's neutral with their own and with another's expression code at rest.
      None for each that cannot be measured.
    """
    every = np.arange(len(true.subject))
    rest = every[true.level <= AT_REST]
    pairs = draw_pairs(true.subject, every, every[true.level >= PERFORMED], count=count, seed=seed)
    at_rest = draw_pairs(true.subject, rest, rest, count=count, seed=seed)
    details: dict[str, Any] = {"rest_mm": None if at_rest is None else _rest_errors(model, true, at_rest)}
    if pairs is None:
        return {"transfer_mm": None, "donor_share": None, "transfer": details}
    errors, own_errors, sums = [], [], []
    for people, donors in _parts(pairs):
        error = model.decode(people, donors)[0] - true.transferred(people, donors)
        errors.append(_distances(error))
        own_errors.append(_distances(model.decode(donors, donors)[0] - true.faces(donors)))
        person = true.neutrals(people)
        sums.append(LeastSquares.of(error, true.neutrals(donors) - person, average - person))
    total = reduce(LeastSquares.merge, sums)
    donor, averaged = (None if np.isnan(share) else float(share) for share in total.coefficients())
    alone = LeastSquares(total.gram[:1, :1], total.products[:1]).coefficients()[0]
    return {
        "transfer_mm": distance_statistics(np.concatenate(errors))._asdict(),
        "donor_share": None if np.isnan(alone) else float(alone),
        "transfer": {
            "pairs": len(pairs.people),
            "reconstruction_mm": distance_statistics(np.concatenate(own_errors))._asdict(),
            "error_shares": {"donor": donor, "average": averaged},
            **_own_person(model, true, pairs),
            **details,
        },
    }


def expression_errors(model: CodedFaces, true: TrueFaces, average: np.ndarray) -> dict[str, Any]:
    """How much each expression varies over its performers, on one identity: Eq. 14's twin, and Jiang et al.'s error.

    The identity is the mean of the people's mean codes; of each person, the strongest test face of an expression counts
    (of each side, where sides are known).

    Args:
      model: to measure.
      true: the test faces.
      average: [vertices, 3] mm, the neutral on which true offsets are compared.

    Returns:
      "expression_disentanglement_mm", pooled as Eq. 14, and "expression_disentanglement_per_vertex_mm", Jiang et al.'s,
      before which faces are moved rigidly onto the first: mean and median over expressions, and "true", the mean for
      the true offsets on one neutral, since people perform in their own ways. None where no expression is shown by two
      people.
    """
    people = np.stack([model.identity[true.subject == one].mean(axis=0) for one in np.unique(true.subject)])
    identity = people.mean(axis=0, keepdims=True)
    found: dict[str, tuple[list[float], list[float]]] = {"pooled": ([], []), "per_vertex": ([], [])}
    for rows in _performers(true):
        code = np.repeat(identity, len(rows), axis=0)
        one = np.zeros(len(rows), int)
        truly = average + true.offsets(rows)
        for faces, place in ((model.decode_identity(code, rows)[0], 0), (truly, 1)):
            onto_the_first = aligned(faces, np.repeat(faces[:1], len(faces), axis=0))
            found["pooled"][place].extend(disentanglement_error(faces, one, variant="pooled"))
            found["per_vertex"][place].extend(disentanglement_error(onto_the_first, one, variant="per_vertex"))
    names = {"pooled": "expression_disentanglement_mm", "per_vertex": "expression_disentanglement_per_vertex_mm"}
    return {
        names[variant]: {"mean": float(np.mean(ours)), "median": float(np.median(ours)), "true": float(np.mean(theirs))}
        if ours
        else None
        for variant, (ours, theirs) in found.items()
    }


def _performers(true: TrueFaces) -> list[np.ndarray]:
    """For each expression and side that two people or more show, the rows of their strongest faces."""
    strongest = np.argsort(-true.level, kind="stable")
    strongest = strongest[true.level[strongest] >= PERFORMED]
    kinds = np.stack([true.expression, true.side.astype(int)], axis=1)
    groups = []
    for kind in np.unique(kinds[strongest], axis=0):
        rows = strongest[(kinds[strongest] == kind).all(axis=1)]
        rows = rows[np.unique(true.subject[rows], return_index=True)[1]]
        if len(rows) > 1:
            groups.append(rows[evenly_spaced(len(rows), _MOST_PERFORMERS)])
    return groups


def _rest_errors(model: CodedFaces, true: TrueFaces, pairs: Pairs) -> dict[str, float]:
    """Mean distances to the person's neutral with their own expression code at rest, and with the donor's."""
    own, donor = [], []
    for people, donors in _parts(pairs):
        target = true.neutrals(people)
        own.append(_distances(model.decode(people, people)[0] - target))
        donor.append(_distances(model.decode(people, donors)[0] - target))
    return {name: float(np.concatenate(d).mean(dtype=np.float64)) for name, d in (("own", own), ("donor", donor))}


def _own_person(model: CodedFaces, true: TrueFaces, pairs: Pairs) -> dict[str, Any]:
    """The share of transfers that are nearest to the true face of their own person, among all people's."""
    subjects, faces = np.unique(true.subject, return_index=True)
    chosen = evenly_spaced(len(pairs.people), max(1, _MOST_COMPARISONS // len(faces)))
    hits = []
    some = Pairs(pairs.people[chosen], pairs.donors[chosen])
    for people, donors in _parts(some, max(1, _PAIRS_AT_A_TIME // len(faces))):
        everyone = true.transferred(np.tile(faces, len(donors)), np.repeat(donors, len(faces)))
        everyone = everyone.reshape(len(donors), len(faces), *everyone.shape[1:])
        distances = _distances(everyone - model.decode(people, donors)[0][:, None]).mean(axis=-1)
        hits.append(subjects[distances.argmin(axis=1)] == true.subject[people])
    return {"own_person": float(np.concatenate(hits).mean()), "people": len(faces)}


def _parts(pairs: Pairs, size: int = _PAIRS_AT_A_TIME) -> list[Pairs]:
    starts = range(0, len(pairs.people), size)
    return [Pairs(*(rows[start : start + size] for rows in pairs)) for start in starts]


def _distances(differences: np.ndarray) -> np.ndarray:
    """Lengths [..., vertices] of differences [..., vertices, 3]."""
    return np.linalg.norm(differences, axis=-1)
