"""Bugs in energy-based models of data."""

import jax
import jax.numpy as jnp

from tempered_ebm.models import DataEBM
from tests.models import checks_data_ebm
from tests.mutants.registry import caught_by


@caught_by(checks_data_ebm.chains_follow_the_sign_of_f)
def a_density_with_the_energy_for_its_negative(patch):
    correct = DataEBM.logdensity

    def logdensity(self, params, x):
        return correct(self, params, x) - 2 * self.negative_energy(params, x)

    patch.setattr(DataEBM, "logdensity", logdensity)


@caught_by(checks_data_ebm.descent_is_ascent_of_the_likelihood)
def a_loss_that_raises_the_energy_of_data(patch):
    correct = DataEBM.contrastive_loss

    def loss(self, params, x, negatives, **options):
        return -correct(self, params, x, negatives, **options)

    patch.setattr(DataEBM, "contrastive_loss", loss)


@caught_by(checks_data_ebm.ladders_find_the_weights_of_modes)
def ladders_that_take_the_density_for_f(patch):
    """The reference normal then counts twice at the model."""

    def run(self, rng_key, params, initial):
        doubled = DataEBM(
            self.network, self.event_shape, self.chain, self.base_scale, self.temperatures
        )
        object.__setattr__(
            doubled, "negative_energy", lambda params, x: DataEBM.logdensity(self, params, x)
        )
        return correct(doubled, rng_key, params, initial)

    correct = DataEBM._run_ladders
    patch.setattr(DataEBM, "_run_ladders", run)


@caught_by(checks_data_ebm.score_matching_has_its_closed_form)
def a_score_of_the_wrong_sign(patch):
    def loss(self, rng_key, params, x, noise_scale):
        noise = jax.random.normal(rng_key, x.shape)
        score = jax.grad(lambda y: self.logdensity(params, y).sum())(x + noise_scale * noise)
        return 0.5 * jnp.mean(jnp.sum((noise_scale * score - noise) ** 2, -1))

    patch.setattr(DataEBM, "score_matching_loss", loss)


@caught_by(checks_data_ebm.the_reference_normal_is_a_full_log_density)
def a_reference_normal_without_its_constant(patch):
    def log_base(self, x):
        return -0.5 * jnp.sum((x / self.base_scale) ** 2, -1)

    patch.setattr(DataEBM, "_log_base", log_base)
