"""Text, wrong objects and wrong counts in the place of any argument of this package."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC

import tempered_ebm as te
from tests.numpyro.models import constrained_scalars as model

KEY = jax.random.key(0)
SITES = {"scale": jnp.zeros(()), "p": jnp.zeros(())}
PAIR = dist.Normal(0.0, 1.0).expand([2])


@functools.cache
def parts():
    return te.numpyro.split(model)


def evidence(rng_key=KEY, model=model, **arguments):
    return te.numpyro.log_evidence(rng_key, model, **arguments)


def exchange(**arguments):
    return te.numpyro.Kernel(model, algorithm="replica_exchange", **arguments)


def run(init_params=None, **arguments):
    kernel = te.numpyro.Kernel(model, **arguments)
    MCMC(kernel, num_warmup=1, num_samples=1, progress_bar=False).run(KEY, init_params=init_params)


def energy(fn=jnp.sum, event_shape=(2,), **arguments):
    return te.numpyro.EnergyPrior(fn, event_shape, **arguments)


CASES = {
    "rng_key": lambda: te.numpyro.split(model, rng_key=jax.random.split(KEY)),
    "model": lambda: te.numpyro.split("model"),
    "likelihood_sites": lambda: te.numpyro.split(model, likelihood_sites=3),
    "likelihood_sites ": lambda: te.numpyro.split(model, likelihood_sites="scale"),
    "likelihood_sites  ": lambda: te.numpyro.split(model, likelihood_sites=[["y"]]),
    "likelihood_sites   ": lambda: te.numpyro.split(model, likelihood_sites=np.array("y")),
    "position": lambda: parts().target.logprior_fn(jnp.zeros(2)),
    "rng_key ": lambda: parts().sample_prior("key", 2),
    "num_samples": lambda: parts().sample_prior(KEY, 2.0),
    "rng_key  ": lambda: evidence(rng_key=0),
    "model ": lambda: evidence(model=SITES),
    "num_ensembles": lambda: evidence(num_ensembles="many"),
    "position ": lambda: evidence(initial_positions=jnp.zeros((8, 2))),
    "initial_positions": lambda: evidence(initial_positions=SITES),
    "options": lambda: evidence(options="num_samples"),
    "options ": lambda: evidence(options={"num_sample": 10}),
    "model  ": lambda: te.numpyro.Kernel(SITES),
    "potential_fn": lambda: te.numpyro.Kernel(potential_fn="energy"),
    "algorithm": lambda: run(algorithm=object()),
    "algorithm ": lambda: run(algorithm=lambda target: target),
    "step_size": lambda: run(step_size="small"),
    "step_size ": lambda: exchange(temperatures=3, step_size=np.ones(4)),
    "inverse_mass_matrix": lambda: run(inverse_mass_matrix="diagonal"),
    "inverse_mass_matrix ": lambda: run(inverse_mass_matrix=np.ones(3)),
    "temperatures": lambda: exchange(temperatures="power"),
    "swap_every": lambda: exchange(swap_every=1.5),
    "adapt_step_size": lambda: run(adapt_step_size="yes"),
    "adapt_mass_matrix": lambda: run(adapt_mass_matrix=1),
    "target_accept_prob": lambda: run(target_accept_prob="high"),
    "likelihood_sites    ": lambda: exchange(likelihood_sites=object()),
    "init_strategy": lambda: run(init_strategy="uniform"),
    "init_params": lambda: run(jnp.zeros(2)),
    "init_params ": lambda: run({**SITES, "p": jnp.zeros(3)}),
    "negative_energy_fn": lambda: energy("energy"),
    "event_shape": lambda: energy(event_shape=2),
    "event_shape ": lambda: energy(event_shape="2"),
    "base": lambda: energy(base=jnp.sum),
    "base ": lambda: energy(base=PAIR),
    "sampler": lambda: energy(sampler="normal"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_argument_is_named(case):
    with pytest.raises(te.InputError, match=rf"^{case.strip()}\b.* must .*got "):
        CASES[case]()
