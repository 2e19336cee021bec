"""Many runs of the IB-VAE, which differ in weights and seeds, in one compiled program."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from facedis_jax.learners.face_functions import IbVaeState
from facedis_jax.learners.learner import Batch, Learner, Metrics
from facedis_jax.losses import IbVaeWeights
from facedis_jax.metrics import Average


def ensemble_learner(learner: Learner, weights: Sequence[IbVaeWeights], seeds: Sequence[int]) -> Learner:
    """A learner of one member per pair of weights and seed, on the same batches, by `jax.vmap` over their states.

    Members with the same seed start from the same parameters and draw the same noise: they differ by their weights
    alone.

    Args:
      learner: of one member, whose state holds its weights, as `ib_vae_learner` makes it.
      weights, seeds: one of each per member.

    Returns:
      A learner whose state is the members' states, [members, ...] in every field, and whose metrics are averages over
      the members.

    Raises:
      ValueError: where there are not as many weights as seeds, or none.

    Example:
      >>> from facedis_jax.inference.example import example_face_model
      >>> from facedis_jax.learners.ib_vae import ib_vae_learner
      >>> model = example_face_model()
      >>> one = ib_vae_learner(model.config, model.trained.constants, steps_per_epoch=5, num_steps=10)
      >>> with_and_without = [IbVaeWeights(), IbVaeWeights(beta_id=1.0, beta_mi=0.0)]
      >>> both = ensemble_learner(one, with_and_without, seeds=[0, 0])
      >>> faces = model.trained.neutrals
      >>> batch = {"vertices": faces, "neutral": faces, "expression": jnp.zeros(4, int), "level": jnp.zeros(4)}
      >>> jax.eval_shape(both.init, jax.random.key(0), batch).weights.beta_id.shape
      (2,)
    """
    if len(weights) != len(seeds) or not weights:
        raise ValueError(f"need one seed per weight, got {len(weights)} weights and {len(seeds)} seeds")
    stacked = jax.tree.map(lambda *values: jnp.array(values, jnp.float32), *weights)

    def init(key: jax.Array, batch: Batch) -> IbVaeState:
        def member(seed: jax.Array, member_weights: IbVaeWeights) -> IbVaeState:
            return learner.init(jax.random.fold_in(key, seed), batch).replace(weights=member_weights)

        return jax.vmap(member)(jnp.array(seeds), stacked)

    def step(state: IbVaeState, batch: Batch) -> tuple[IbVaeState, Metrics]:
        state, metrics = jax.vmap(learner.step, in_axes=(0, None))(state, batch)
        return state, _over_members(metrics)

    def evaluate(state: IbVaeState, batch: Batch) -> Metrics:
        return _over_members(jax.vmap(learner.evaluate, in_axes=(0, None))(state, batch))

    return Learner(init, step, evaluate)


def members(state: IbVaeState) -> list[IbVaeState]:
    """The states of an ensemble, one by one.

    Example:
      >>> state = IbVaeState({}, {}, {}, IbVaeWeights(), jnp.zeros(2), jnp.array([7, 7]))
      >>> stacked = state.replace(weights=jax.tree.map(lambda w: jnp.array([w, 2 * w]), IbVaeWeights()))
      >>> [float(member.weights.beta_id) for member in members(stacked)]
      [10.0, 20.0]
    """
    return [jax.tree.map(lambda x, i=i: x[i], state) for i in range(len(state.step))]


def _over_members(metrics: Metrics) -> Metrics:
    return {name: Average(average.sum.sum(), average.count.sum()) for name, average in metrics.items()}
