"""Named points of a model's mean face, and those of a scan that are given by the same names."""

from collections.abc import Mapping, Sequence

import numpy as np

from facedis_jax.errors import InputError
from facedis_jax.rendering.surfaces import boundary_loops

FEWEST_LANDMARKS = 3


def named_vertices(vertices: np.ndarray, triangles: np.ndarray) -> dict[str, int]:
    """Vertices by the names of what they are, as far as a mean face shows it; left and right are the person's.

    The corners of eyes and mouth are those of the mesh's holes. A face without such holes has a nose tip and a chin.

    Args:
      vertices: [vertices, 3] mm, y up, looking along +z.
      triangles: [triangles, 3].
    """
    face = np.asarray(vertices, np.float64)
    used = np.unique(triangles)
    low, high = face[used].min(0), face[used].max(0)
    aside = (face[:, 0] - (low[0] + high[0]) / 2) / (high[0] - low[0])
    middle = used[np.abs(aside[used]) < 0.08]
    if not len(middle):
        return {}
    found = {"nose_tip": int(middle[face[middle, 2].argmax()])}
    holes = boundary_loops(np.asarray(triangles), len(face))[:-1]
    sides = [face[hole, 0].mean() for hole in holes]
    places = (np.array(sides) - (low[0] + high[0]) / 2) / (high[0] - low[0]) if holes else np.empty(0)
    left, right = ([h for h, x in zip(holes, places, strict=True) if 0.1 <= side * x < 0.4] for side in (1, -1))
    mouths = [h for h, x in zip(holes, places, strict=True) if abs(x) < 0.1]
    if left and right:
        for side, rims, outwards in (("left", left, 1), ("right", right, -1)):
            rim = max(rims, key=len)
            found[f"{side}_eye_outer"] = int(rim[(outwards * face[rim, 0]).argmax()])
            found[f"{side}_eye_inner"] = int(rim[(outwards * face[rim, 0]).argmin()])
    if mouths:
        rim = max(mouths, key=len)
        found["mouth_left"], found["mouth_right"] = int(rim[face[rim, 0].argmax()]), int(rim[face[rim, 0].argmin()])
        below = middle[face[middle, 1] < face[rim, 1].min() - 10]
        if len(below):
            found["chin"] = int(below[face[below, 2].argmax()])
    return found


def read_landmarks(
    given: Mapping[str, Sequence[float]], names: Mapping[str, int], num_vertices: int, where: object = "landmarks"
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [landmarks] of the model and their places [landmarks, 3] in a scan.

    Args:
      given: places by name, or by the number of a vertex.
      names: vertices by name.
      num_vertices: of the model.
      where: what errors call them.

    Raises:
      InputError: for names that the model does not have, places that are none, fewer than three, or all on one line.
    """
    if not isinstance(given, Mapping):
        raise InputError(where, "places [x, y, z] by name", type(given).__name__)
    vertices, places = [], []
    for name, place in given.items():
        known = names.get(str(name))
        if known is None and str(name).isascii() and str(name).isdigit() and int(name) < num_vertices:
            known = int(name)
        if known is None:
            expected = f"names among {', '.join([*names, f'0 to {num_vertices - 1} (vertices)'])}"
            raise InputError(where, expected, str(name)[:60])
        try:
            point = np.asarray(place, np.float64)
        except (TypeError, ValueError):
            point = np.empty(0)
        if point.shape != (3,) or not np.isfinite(point).all():
            raise InputError(where, f"three finite numbers of {name}", str(place)[:60])
        vertices.append(known)
        places.append(point)
    if len(set(vertices)) < FEWEST_LANDMARKS:
        raise InputError(where, f"{FEWEST_LANDMARKS} landmarks or more", str(len(set(vertices))))
    spread = np.linalg.svd(np.array(places) - np.mean(places, axis=0), compute_uv=False)
    if not spread[1] > 1e-3 * spread[0]:
        raise InputError(where, "landmarks that are not all on one line", "three or more that are")
    return np.array(vertices), np.array(places)
