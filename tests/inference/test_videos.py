import jax
import numpy as np

from facedis_jax.inference.videos import match_distribution, recombine, select_clips
from facedis_jax.models import DynamicLatents, Trajectory


def test_draws_take_on_the_mean_and_the_covariance_of_latents():
    rng = np.random.default_rng(0)

    def clips(count, frames):
        return DynamicLatents(
            Trajectory(rng.normal(size=(count, 4)), None),
            Trajectory(rng.normal(size=(count, 3)), rng.normal(size=(count, frames, 2))),
        )

    mixing = rng.normal(size=(4, 4))
    known = clips(50, 3)
    known = known._replace(appearance=Trajectory(known.appearance.first @ mixing + 5, None))
    found = match_distribution(clips(20_000, 4), known)
    for draws, of in zip(jax.tree.leaves(found), jax.tree.leaves(known), strict=True):
        draws, of = (np.float64(x).reshape(-1, x.shape[-1]) for x in (draws, of))
        # Five standard errors of either.
        scale = np.sqrt(np.diag(np.cov(of.T)))
        assert np.all(np.abs(draws.mean(axis=0) - of.mean(axis=0)) < 5 * scale / np.sqrt(len(draws)))
        error = np.cov(draws.T) - np.cov(of.T, bias=True)
        assert np.all(np.abs(error) < 5 * np.sqrt(2 / len(draws)) * np.outer(scale, scale))
    assert found.appearance.noise is None


def test_recombined_latents_are_of_either_donor():
    rng = np.random.default_rng(0)

    def trajectory(latents, noise):
        return Trajectory(rng.normal(size=(4, latents)), rng.normal(size=(4, 2, noise)))

    latents = DynamicLatents(trajectory(3, 2), trajectory(4, 5))
    one, other = select_clips(latents, np.array([0, 3])), select_clips(latents, np.array([2, 1]))
    found = recombine(one, other)
    np.testing.assert_array_equal(found.appearance.noise, latents.appearance.noise[[0, 3]])
    np.testing.assert_array_equal(found.geometry.first, latents.geometry.first[[2, 1]])
