"""Our kernels inside the algorithms of BlackJAX."""

import inspect
import math
import pickle

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tests import ground_truths as gt
from tests.ground_truths import LINEAR_GAUSSIAN, assert_expectations, z_threshold

NUM_PARTICLES = 300
NUM_REPLICATES = 100
SCALES = np.array([0.1, 1.0, 10.0])


def smc_arguments():
    target = LINEAR_GAUSSIAN.target
    return {
        "logprior_fn": target.logprior_fn,
        "loglikelihood_fn": target.loglikelihood_fn,
        "mcmc_step_fn": te.mala.build_kernel(),
        "mcmc_init_fn": te.mala.init,
        "mcmc_parameters": blackjax.smc.extend_params({"step_size": jnp.array(0.1)}),
        "resampling_fn": blackjax.smc.resampling.systematic,
        "num_mcmc_steps": 3,
    }


def tempered_run(rng_key, particles):
    smc = blackjax.tempered_smc(**smc_arguments())

    def step(state, inputs):
        key, temperature = inputs
        state, info = smc.step(key, state, temperature)
        return state, info.log_likelihood_increment

    temperatures = te.schedules.power(8, 3.0)[1:]
    keys = jax.random.split(rng_key, len(temperatures))
    state, increments = jax.lax.scan(step, smc.init(particles), (keys, temperatures))
    return state.weights @ state.particles, increments.sum()


def adaptive_run(rng_key, particles):
    smc = blackjax.adaptive_tempered_smc(**smc_arguments(), target_ess=0.7)

    def step(carry):
        key, state, log_evidence = carry
        key, step_key = jax.random.split(key)
        state, info = smc.step(step_key, state)
        return key, state, log_evidence + info.log_likelihood_increment

    start = smc.init(particles)
    start = start._replace(tempering_param=jnp.asarray(start.tempering_param, float))
    carry = (rng_key, start, jnp.zeros(()))
    _, state, log_evidence = jax.lax.while_loop(lambda c: c[1].tempering_param < 1.0, step, carry)
    return state.weights @ state.particles, log_evidence


@pytest.mark.statistical
@pytest.mark.parametrize("run", [tempered_run, adaptive_run])
def test_sequential_monte_carlo_finds_the_evidence_and_the_posterior(run):
    rng = gt.rng(0)
    exact = LINEAR_GAUSSIAN.sample(rng, 0.0, NUM_REPLICATES * NUM_PARTICLES)
    particles = jnp.asarray(exact.reshape(NUM_REPLICATES, NUM_PARTICLES, 2), jnp.float32)
    keys = jax.random.split(gt.key(0), NUM_REPLICATES)
    means, log_evidence = jax.jit(jax.vmap(run))(keys, particles)

    # On a fixed ladder the estimate of the evidence itself is unbiased. An adaptive ladder
    # and the ratio of a weighted mean add biases of the order of one over the particles.
    ratios = np.exp(np.asarray(log_evidence, np.float64) - LINEAR_GAUSSIAN.log_z(1.0))
    if run is tempered_run:
        assert_expectations(ratios, 1.0)
    results = np.column_stack([ratios, means]).astype(np.float64)
    expected = np.concatenate([[1.0], LINEAR_GAUSSIAN.moments(1.0).mean])
    error = results.std(0, ddof=1) / math.sqrt(NUM_REPLICATES)
    assert np.all(np.abs(results.mean(0) - expected) < z_threshold(3) * error + 2 / NUM_PARTICLES)


def test_window_adaptation_tunes_the_step_size_and_the_metric():
    def logdensity_fn(z):
        return -0.5 * jnp.sum((z / SCALES) ** 2)

    warmup = blackjax.window_adaptation(
        te.mala, logdensity_fn, target_acceptance_rate=te.adaptation.MALA_TARGET_ACCEPTANCE
    )

    @jax.jit
    @jax.vmap
    def tune_and_run(rng_key):
        warmup_key, run_key = jax.random.split(rng_key)
        (state, parameters), _ = warmup.run(warmup_key, jnp.ones(3), num_steps=1000)
        kernel = te.mala(logdensity_fn, **parameters)
        _, moments = te.inference.run_with_moments(
            run_key,
            kernel,
            kernel.init(state.position),
            2_000,
            statistic_fn=lambda state, info: (state.position**2, info.acceptance_rate),
        )
        return parameters, *moments.mean

    parameters, squares, rates = tune_and_run(jax.random.split(jax.random.key(0), 8))
    assert set(parameters) == {"step_size", "inverse_mass_matrix"}
    assert np.all((parameters["step_size"] > 0.2) & (parameters["step_size"] < 4.0))
    metric = np.exp(np.log(parameters["inverse_mass_matrix"]).mean(0))
    assert np.all(np.abs(np.log(metric / SCALES**2)) < np.log(1.5))
    assert abs(float(rates.mean()) - 0.574) < 0.1
    # 16,000 correlated draws of each coordinate.
    assert np.all(np.abs(squares.mean(0) / SCALES**2 - 1) < 0.15)


SAMPLERS = ("ula", "mala", "tempered_ula", "tempered_mala", "replica_exchange")


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_reads_like_the_function_that_it_stands_for(name):
    sampler = getattr(te, name)
    assert sampler.__name__ == sampler.__qualname__ == name
    parameters = inspect.signature(sampler).parameters
    first = "logdensity_fn" if name in ("ula", "mala") else "target"
    assert next(iter(parameters)) == first
    assert "step_size" in parameters
    assert repr(sampler).startswith(f"<tempered_ebm.{name}({first}, ")
    assert sampler.__doc__.startswith("Build ")
    assert pickle.loads(pickle.dumps(sampler)) is sampler


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_parts_of_a_sampler_make_the_steps_of_the_whole(name):
    target, ladder = LINEAR_GAUSSIAN.target, te.schedules.uniform(3)
    position = jnp.asarray(LINEAR_GAUSSIAN.sample(gt.rng(5), 0.5, 3), jnp.float32)
    densities = {"ula": [target.logprior_fn], "mala": [target.logprior_fn]}
    bound = {"tempered_ula": [ladder], "tempered_mala": [ladder], "replica_exchange": [ladder]}
    density, settings = densities.get(name, [target]), [*bound.get(name, []), 0.1]
    sampler = getattr(te, name)
    whole = sampler(*density, *settings)
    of_init = settings[:1] if name == "replica_exchange" else []
    key, kernel = jax.random.key(0), sampler.build_kernel()

    @jax.jit
    def both(key, position):
        state = sampler.init(position, *density, *of_init)
        return whole.step(key, whole.init(position)), kernel(key, state, *density, *settings)

    ours, parts = both(key, position)
    jax.tree.map(np.testing.assert_array_equal, ours, parts)


@pytest.mark.statistical
def test_the_generic_driver_of_blackjax_runs_a_batch_of_chains():
    target = LINEAR_GAUSSIAN.target
    kernel = te.mala(lambda z: target.logdensity(z, 1.0), 0.1)
    start = LINEAR_GAUSSIAN.sample(gt.rng(1), 1.0, 50_000).astype(np.float32)

    @jax.jit
    def run(rng_key, position):
        return blackjax.util.run_inference_algorithm(
            rng_key,
            kernel,
            num_steps=3,
            initial_position=position,
            transform=lambda state, info: info.acceptance_rate.mean(),
        )

    state, rates = run(gt.key(2), start)
    assert rates.shape == (3,)
    z = np.asarray(state.position)
    assert_expectations(LINEAR_GAUSSIAN.statistics(z), LINEAR_GAUSSIAN.expected(1.0))
