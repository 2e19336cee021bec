"""Figures of the conditional model: faces made from named expressions and their levels (section 4.6)."""

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from facedis_jax.losses import gaussian_kl
from facedis_jax.reports.faces.figures import Scene
from facedis_jax.reports.figures import face_grid


def named_expressions(scene: Scene, persons: np.ndarray, names: np.ndarray) -> Figure:
    """People (rows of the predictions) with named expressions (indices) at full level (Figure 6)."""
    images = [
        scene.decoded(code, _prior_mean(scene, len(names)), scene.codec.labels(names, np.ones(len(names))))
        for code in scene.identity(persons)
    ]
    return face_grid(
        images,
        row_labels=[scene.subject_name(row) for row in persons],
        column_labels=_titles(scene, names),
    )


def named_levels(scene: Scene, person: int, names: np.ndarray, *, steps: int = 6) -> Figure:
    """One person with named expressions (indices, one a row) from level 0 to 1 (Figure 7)."""
    levels = np.linspace(0, 1, steps)
    code = scene.identity(np.array([person]))[0]
    images = [
        scene.decoded(code, _prior_mean(scene, steps), scene.codec.labels(np.full(steps, name), levels))
        for name in names
    ]
    return face_grid(
        images,
        row_labels=_titles(scene, names),
        column_labels=[f"level {level:g}" for level in levels.round(2)],
    )


def free_latent(scene: Scene) -> int:
    """The expression latent that says most beside the labels: the one of the largest KL to the prior."""
    split = scene.codec.identity_latents
    posteriors = (scene.predictions.mean[:, split:, None], scene.predictions.logvar[:, split:, None])
    return int(jnp.argmax(gaussian_kl(*map(jnp.asarray, posteriors)).mean(axis=0)))


def free_latent_sweep(scene: Scene, person: int, names: np.ndarray, *, steps: int = 6) -> Figure:
    """What the labels leave open: named expressions with `free_latent` from -2 to 2 standard deviations."""
    values = np.linspace(-2, 2, steps)
    codes = _prior_mean(scene, steps)
    codes[:, free_latent(scene)] = values
    code = scene.identity(np.array([person]))[0]
    images = [scene.decoded(code, codes, scene.codec.labels(np.full(steps, name), np.ones(steps))) for name in names]
    return face_grid(images, row_labels=_titles(scene, names), column_labels=[f"{value:+.1f}" for value in values])


def _prior_mean(scene: Scene, count: int) -> np.ndarray:
    return np.zeros((count, scene.codec.expression_latents), np.float32)


def _titles(scene: Scene, names: np.ndarray) -> list[str]:
    return [scene.codec.label_names[name].replace("_", " ") for name in names]
