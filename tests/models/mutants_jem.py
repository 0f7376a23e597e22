"""Bugs in the joint energy-based model."""

import jax
import jax.numpy as jnp

from tempered_ebm.models import JEM
from tests.models import checks_jem
from tests.mutants.registry import caught_by


@caught_by(checks_jem.one_step_raises_data_above_negatives)
def a_loss_that_prefers_negatives(patch):
    """Sampler and loss both flipped: nothing in the loss curve tells."""
    correct = JEM.loss

    def loss(self, params, x, label, negatives=None, negative_label=None, **options):
        options["density"] = -options.get("density", 1.0)
        return correct(self, params, x, label, negatives, negative_label, **options)

    patch.setattr(JEM, "loss", loss)


@caught_by(checks_jem.densities_and_probabilities_are_those_of_the_mixture)
def a_density_of_the_largest_logit(patch):
    def negative_energy(self, params, x):
        return jnp.max(self.logits(params, x), -1)

    patch.setattr(JEM, "negative_energy", negative_energy)


@caught_by(checks_jem.conditional_chains_keep_their_class)
def chains_whose_labels_are_shuffled(patch):
    correct = JEM.run_chains

    def run_chains(self, rng_key, params, initial, label=None):
        label = None if label is None else jax.random.permutation(rng_key, label)
        return correct(self, rng_key, params, initial, label)

    patch.setattr(JEM, "run_chains", run_chains)


@caught_by(checks_jem.conditional_chains_keep_their_class)
def conditional_chains_on_the_marginal(patch):
    correct = JEM.run_chains

    def run_chains(self, rng_key, params, initial, label=None):
        return correct(self, rng_key, params, initial)

    patch.setattr(JEM, "run_chains", run_chains)
