"""Every public argument that is given text, integers of images, or a wrong object says so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te

KEY = jax.random.key(0)
LADDER = np.array([0.0, 0.5, 1.0])
DRAWS = np.zeros((3, 20))
STARTS = jnp.zeros((4, 2))
IMAGES = np.zeros((3, 20), np.uint8)
TARGET = te.TemperedTarget(lambda z: -jnp.sum(z**2), lambda z: -jnp.sum(z))
NODES = te.schedules.Quadrature(np.array([0.25, 0.75]), np.array([0.5, 0.5]))


def evidence(**changes):
    given = {"rng_key": KEY, "target": TARGET, "initial_positions": STARTS} | changes
    return te.log_evidence(**given)


def annealed(fn=te.annealed_importance_sampling, **changes):
    given = {"temperatures": LADDER, "step_size": 0.1} | changes
    key, target = given.pop("rng_key", KEY), given.pop("target", TARGET)
    return fn(key, target, given.pop("positions", STARTS), **given)


CASES = {
    "rng_key": lambda: evidence(rng_key=0),
    "target": lambda: evidence(target="posterior"),
    "target ": lambda: evidence(target=(TARGET.logprior_fn, 3)),
    "position": lambda: evidence(initial_positions="prior"),
    "position ": lambda: evidence(initial_positions=IMAGES),
    "ladder": lambda: evidence(ladder="steep"),
    "path": lambda: evidence(path=3),
    "num_samples": lambda: evidence(num_samples="many"),
    "num_temperatures": lambda: evidence(num_temperatures=2.5),
    "target_standard_error": lambda: evidence(target_standard_error="small"),
    "budget": lambda: evidence(budget="large"),
    "pilot_rounds": lambda: evidence(pilot_rounds=1),
    "pilot_steps": lambda: evidence(pilot_steps="ten"),
    "negative_energy_fn": lambda: te.log_normalizer(KEY, "energy", 2),
    "options": lambda: te.log_normalizer(KEY, jnp.sum, 2, options="num_samples"),
    "options ": lambda: te.log_normalizer(KEY, jnp.sum, 2, options={"num_sample": 10}),
    "position  ": lambda: te.log_normalizer(KEY, jnp.sum, "two"),
    "temperatures": lambda: te.mbar("posterior", DRAWS),
    "loglikelihoods": lambda: te.mbar(LADDER, "posterior"),
    "loglikelihoods ": lambda: te.mbar(LADDER, IMAGES),
    "loglikelihoods  ": lambda: te.bar(LADDER, object()),
    "prior_loglikelihoods": lambda: te.mbar(LADDER, DRAWS, prior_loglikelihoods="prior"),
    "direction": lambda: te.stepping_stone(LADDER, DRAWS, direction=["forward"]),
    "rule": lambda: te.thermodynamic_integration(LADDER, DRAWS, rule=IMAGES),
    "loglikelihoods   ": lambda: te.thermodynamic_integration(LADDER, IMAGES),
    "rung": lambda: te.evidence.pooled_log_weights(LADDER, DRAWS, rung="last"),
    "rung ": lambda: te.evidence.pooled_log_weights(LADDER, DRAWS, rung=3),
    "temperatures ": lambda: te.evidence.simpson_weights("uniform"),
    "temperatures  ": lambda: te.evidence.trapezoid_weights(0.5),
    "series": lambda: te.evidence.batch_means_standard_error(np.zeros(5)),
    "quadrature": lambda: te.evidence.gauss_legendre("nodes", DRAWS[:2]),
    "quadrature ": lambda: te.evidence.gauss_legendre(("a", "b"), DRAWS[:2]),
    "loglikelihoods    ": lambda: te.evidence.gauss_legendre(NODES, IMAGES[:2]),
    "degree": lambda: te.evidence.controlled_draws(DRAWS, DRAWS, DRAWS, degree="two"),
    "positions": lambda: te.evidence.controlled_draws(DRAWS, "draws", DRAWS),
    "gradients": lambda: te.evidence.controlled_draws(DRAWS, DRAWS, IMAGES),
    "loglikelihoods     ": lambda: te.evidence.controlled_draws("draws", DRAWS, DRAWS),
    "log_weights": lambda: te.evidence.annealed_estimate("weights"),
    "log_weights ": lambda: te.evidence.annealed_estimate(IMAGES[0]),
    "direction ": lambda: te.evidence.annealed_estimate(DRAWS[0], direction=1),
    "target  ": lambda: annealed(target=jnp.sum),
    "position   ": lambda: annealed(positions="prior"),
    "temperatures   ": lambda: annealed(temperatures="power"),
    "step_size": lambda: annealed(step_size="small"),
    "num_steps": lambda: annealed(num_steps=1.5),
    "position    ": lambda: annealed(te.reverse_annealed_importance_sampling, positions=IMAGES),
    "report_a": lambda: te.bayes_factor(-3.0, -4.0),
    "reports": lambda: te.model_probabilities("abc"),
    "reports ": lambda: te.model_probabilities([1.0, 2.0]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_argument_is_named(case):
    name = case.strip()
    with pytest.raises(te.InputError, match=rf"(^|\b){name}\b.* must ") as caught:
        CASES[case]()
    assert "got" in str(caught.value)
