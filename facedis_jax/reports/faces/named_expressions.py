"""Figures of the conditional model: faces of named expressions at several levels (section 4.6)."""

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from facedis_jax.losses import gaussian_kl
from facedis_jax.reports.faces.figures import Scene
from facedis_jax.reports.grids import grid_figure


def named_expressions(scene: Scene, persons: np.ndarray, names: np.ndarray) -> Figure:
    """People (indices of test faces) with expressions (indices of labels) at level 1 (Figure 6)."""
    images = [
        scene.render_codes(code, _prior_mean(scene, len(names)), scene.codec.labels(names, np.ones(len(names))))
        for code in scene.identity(persons)
    ]
    return grid_figure(
        images,
        row_labels=[scene.subject_name(row) for row in persons],
        column_labels=_titles(scene, names),
    )


def named_levels(scene: Scene, person: int, names: np.ndarray, *, steps: int = 6) -> Figure:
    """One person (index of a test face) with expressions (indices of labels, rows) from level 0 to 1 (Figure 7)."""
    levels = np.linspace(0, 1, steps)
    code = scene.identity(np.array([person]))[0]
    images = [
        scene.render_codes(code, _prior_mean(scene, steps), scene.codec.labels(np.full(steps, name), levels))
        for name in names
    ]
    return grid_figure(
        images,
        row_labels=_titles(scene, names),
        column_labels=[f"level {level:g}" for level in levels.round(2)],
    )


def free_latent(scene: Scene) -> int:
    """Index of the expression latent with the largest KL to the prior, which holds most beside the labels."""
    split = scene.codec.identity_latents
    posteriors = (scene.predictions.mean[:, split:, None], scene.predictions.logvar[:, split:, None])
    return int(jnp.argmax(gaussian_kl(*map(jnp.asarray, posteriors)).mean(axis=0)))


def free_latent_sweep(scene: Scene, person: int, names: np.ndarray, *, steps: int = 6) -> Figure:
    """Expressions (indices of labels, rows) at level 1 with `free_latent` from -2 to 2 standard deviations."""
    values = np.linspace(-2, 2, steps)
    codes = _prior_mean(scene, steps)
    codes[:, free_latent(scene)] = values
    code = scene.identity(np.array([person]))[0]
    images = [
        scene.render_codes(code, codes, scene.codec.labels(np.full(steps, name), np.ones(steps))) for name in names
    ]
    return grid_figure(images, row_labels=_titles(scene, names), column_labels=[f"{value:+.1f}" for value in values])


def _prior_mean(scene: Scene, count: int) -> np.ndarray:
    return np.zeros((count, scene.codec.expression_latents), np.float32)


def _titles(scene: Scene, names: np.ndarray) -> list[str]:
    return [scene.codec.label_names[name].replace("_", " ") for name in names]
