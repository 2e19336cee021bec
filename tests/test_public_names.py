"""The signatures that other code relies on: arguments by name, in this order, with these defaults."""

import importlib
import inspect

import pytest

SIGNATURES = {
    "losses.gaussian_kl": "(mean, logvar)",
    "losses.mutual_information": "(z, mean, logvar, dataset_size, *, estimator='mws')",
    "losses.ib_vae_loss": "(faces, codes, weights, options)",
    "losses.log_joint": "(image, prediction, latents, *, sigma=1.0)",
    "metrics.average_vertex_distance": "(prediction, target)",
    "metrics.disentanglement_error": "(neutrals, subjects, *, variant='pooled')",
    "metrics.landmark_error": "(prediction, target, *, eyes=(0, 1))",
    "metrics.view_covariance": "(mean_latents, angles)",
    "geometry.farthest_point_sample": "(points, num_samples, *, start=0)",
    "geometry.k_nearest": "(queries, points, k)",
    "geometry.warp": "(image, flow)",
    "geometry.rigid_registration": "(source, target, *, landmarks=None)",
    "geometry.sample_surface": "(key, vertices, triangles, num_points)",
    "sampling.langevin": "(log_density, z, key, *, num_steps, step_size)",
    "sampling.alternating_langevin": "(log_density, z, key, *, num_steps, step_size, block=1, parts=None)",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_are_kept(name):
    package, _, function = name.partition(".")
    signature = inspect.signature(getattr(importlib.import_module(f"facedis_jax.{package}"), function))
    found = {each.name: (each.kind, each.default) for each in signature.parameters.values()}
    promised = inspect.signature(eval(f"lambda {SIGNATURES[name][1:-1]}: None")).parameters
    in_order = [each.name for each in promised.values() if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert list(found)[: len(in_order)] == in_order
    for each in promised.values():
        assert found.pop(each.name) == (each.kind, each.default)
    # What was added since may be left out.
    assert all(default is not inspect.Parameter.empty for _, default in found.values())
