"""Steps as small as they get, in the place of the full-size ones."""

from functools import partial

import pytest

from benchmarks import models
from facedis_jax.learners import AbpConfig, AbpVideoConfig, IbVaeConfig, LangevinConfig
from facedis_jax.models import DynamicConfig, FaceVaeConfig, GeneratorConfig, PctConfig, PointFeatureConfig

LANGEVIN = LangevinConfig(num_steps=3, inference_steps=1)
IB_VAE = IbVaeConfig(
    model=FaceVaeConfig(
        encoder=PctConfig(
            features=PointFeatureConfig(centres=(8, 4), neighbours=3),
            embedding=8,
            width=8,
            attention_layers=1,
            global_features=8,
            normalisation="layer",
        ),
        head=(8,),
        decoder_hidden=8,
    )
)
DEFORMABLE = AbpConfig(model=GeneratorConfig(size=8, appearance_latents=3, geometry_latents=2, filters=16))
DYNAMIC = AbpVideoConfig(
    model=DynamicConfig(size=16, appearance_latents=4, geometry_latents=3, appearance_filters=8, geometry_filters=8),
    langevin=LANGEVIN,
)
SMALL_STEPS = {
    "ib_vae": partial(models.ib_vae_step, vertices=16, config=IB_VAE),
    "deformable": partial(models.deformable_step, size=8, langevin_steps=3, config=DEFORMABLE),
    "dynamic": partial(models.dynamic_step, frames=3, config=DYNAMIC),
}


@pytest.fixture
def small_steps(monkeypatch):
    """Every command takes the small steps."""
    for name, step in SMALL_STEPS.items():
        monkeypatch.setitem(models.STEPS, name, step)
    return SMALL_STEPS
