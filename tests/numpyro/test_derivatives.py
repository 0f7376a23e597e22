"""Models whose derivatives exist in one mode only: loops of unknown length, and ODE solvers."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from jax.experimental.ode import odeint
from scipy import integrate, stats

import numpyro
import tempered_ebm as te
from tests.models import checks_model_evidence as checks

TIMES = jnp.array([0.0, 0.5, 1.0, 1.5])
DECAY = np.exp(-np.asarray(TIMES)) + 0.05


def loop():
    """``x <- x / 2 + k`` five times: 31/16 k."""
    k = numpyro.sample("k", dist.Normal(0.0, 0.5))
    steps = jnp.where(k > 1e9, 1, 5)
    x = jax.lax.while_loop(
        lambda carry: carry[1] < steps,
        lambda carry: (0.5 * carry[0] + k, carry[1] + 1),
        (0.0 * k, 0),
    )[0]
    numpyro.sample("y", dist.Normal(x, 0.1), obs=jnp.array([0.3, 0.2]))


def decay():
    rate = numpyro.sample("rate", dist.LogNormal(0.0, 0.5))
    y = odeint(lambda y, t, rate: -rate * y, jnp.array(1.0), TIMES, rate)
    numpyro.sample("y", dist.Normal(y, 0.1), obs=jnp.asarray(DECAY))


@pytest.mark.statistical
def test_a_loop_of_unknown_length_has_its_evidence_in_forward_mode():
    options = {"num_samples": 50}
    report = checks.model_evidence(loop, forward_mode_differentiation=True, options=options)
    slope = 31 / 16 * 0.5
    covariance = 0.01 * np.eye(2) + slope**2
    truth = stats.multivariate_normal(np.zeros(2), covariance).logpdf([0.3, 0.2])
    checks.agrees(report, truth, "loop")


@pytest.mark.slow
@pytest.mark.statistical
def test_an_ode_whose_solver_has_its_own_backward_pass_has_its_evidence():
    report = checks.model_evidence(decay, options={"num_samples": 50})

    def joint(rate):
        means = np.exp(-rate * np.asarray(TIMES))
        return np.exp(stats.norm.logpdf(DECAY, means, 0.1).sum()) * stats.lognorm.pdf(rate, 0.5)

    truth = np.log(integrate.quad(joint, 0, 10, points=[0.9])[0])
    checks.agrees(report, truth, "decay")


@pytest.mark.parametrize("algorithm", ["mala", "replica_exchange"])
def test_kernels_run_in_forward_mode(algorithm):
    temperatures = 3 if algorithm == "replica_exchange" else None
    kernel = te.numpyro.Kernel(
        loop, algorithm=algorithm, temperatures=temperatures, forward_mode_differentiation=True
    )
    mcmc = numpyro.infer.MCMC(kernel, num_warmup=20, num_samples=20, progress_bar=False)
    mcmc.run(jax.random.key(0))
    assert np.isfinite(mcmc.get_samples()["k"]).all()
