"""A face for the page that is moved by sliders: morph targets of a model, small enough to be a part of the page."""

import numpy as np

from facedis_jax.inference.face_model import TrainedFaceModel
from facedis_jax.reports.page import LiveFace, MorphSlider

# With more targets, or of larger faces, the page would be heavy.
_MOST_NUMBERS = 900_000
_MOST_IDENTITIES = 8


def live_face(model: TrainedFaceModel) -> LiveFace:
    """The average person of a model, whom sliders change: expressions by name, and the identity code.

    A target of the identity is what one standard deviation of the training faces' codes adds; a slider adds what its
    code changes around the average person, and several add up.
    """
    trained, length = model.trained, model.config.model.identity_latents
    codes = trained.codes[:, :length]
    mean, deviations = codes.mean(0), codes.std(0)
    names = model.shown_expressions
    rest, labels = (
        model.expression_code(names[0], 0.0) if names else (trained.codes[:, length:].mean(0), model.labels(None))
    )

    def decode(identity: np.ndarray, expression: object, labels: object) -> np.ndarray:
        return np.asarray(model.functions.decode(model.params, identity, expression, labels).full)  # type: ignore[arg-type]

    base = decode(mean, rest, labels)
    most = max(1, _MOST_NUMBERS // base.size)
    order = np.argsort(-deviations, kind="stable")[: min(_MOST_IDENTITIES, max(most // 3, 1))]
    sliders, targets = [], []
    for name in names[: most - len(order)]:
        sliders.append(MorphSlider("Expression", name.replace("_", " "), 0.0))
        targets.append(decode(mean, *model.expression_code(name)) - base)
    for number, index in enumerate(sorted(order), 1):
        step = np.zeros_like(mean)
        step[index] = 2 * deviations[index]
        sliders.append(MorphSlider("Identity", f"identity {number}", -3.0))
        targets.append((decode(mean + step, rest, labels) - decode(mean - step, rest, labels)) / 4)
    return LiveFace(base, np.asarray(model.triangles), sliders, targets)
