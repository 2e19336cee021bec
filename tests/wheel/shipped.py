"""Loads the models that come with the package, and makes a new face or image by each."""

import jax
import numpy as np

import facedis_jax
from facedis_jax.inference.shipped import shipped_models

models = shipped_models()
assert {"cc0-face", "cc0-images", "ict-face"} <= models.keys(), models
for name, path in models.items():
    model = facedis_jax.load(name)
    made = model.sample(jax.random.key(0), 1)
    made = np.asarray(made if hasattr(model, "expressions") else model.decode(made))
    assert np.isfinite(made).all()
    print(f"{name}: {path.stat().st_size / 1e6:.1f} MB, {list(made.shape[1:])}")
assert "USC Institute for Creative Technologies" in models["ict-face"].with_name("ict-face.LICENSE.txt").read_text()
