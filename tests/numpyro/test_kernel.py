import os
import pickle
import subprocess
import sys

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC
from scipy import stats

import numpyro
import tempered_ebm as te
from tests import ground_truths as gt
from tests.ground_truths import LINEAR_GAUSSIAN, assert_expectations
from tests.numpyro import models

KEY = gt.key(0)
SCALES = np.array([0.1, 1.0, 10.0])


def anisotropic():
    numpyro.sample("z", dist.Normal(0.0, SCALES).to_event(1))


def run(kernel, *, extra_fields=(), key=KEY, init_params=None, args=(), **settings):
    defaults = {"num_warmup": 0, "num_samples": 5, "progress_bar": False}
    mcmc = MCMC(kernel, **{**defaults, **settings})
    mcmc.run(key, *args, extra_fields=extra_fields, init_params=init_params)
    return mcmc


def last_draws(kernel, num_chains, num_warmup, num_samples):
    mcmc = run(
        kernel,
        num_warmup=num_warmup,
        num_samples=num_samples,
        thinning=num_samples,
        num_chains=num_chains,
        chain_method="vectorized",
    )
    return np.asarray(mcmc.get_samples(group_by_chain=True)["z"][:, -1])


def assert_linear_gaussian(draws, t=1.0):
    assert_expectations(LINEAR_GAUSSIAN.statistics(draws), LINEAR_GAUSSIAN.expected(t))


@pytest.mark.statistical
def test_mala_draws_follow_the_posterior():
    kernel = te.numpyro.Kernel(models.linear_gaussian)
    assert_linear_gaussian(last_draws(kernel, 3_000, num_warmup=80, num_samples=20))


@pytest.mark.slow
@pytest.mark.statistical
def test_replica_exchange_draws_follow_the_posterior():
    kernel = te.numpyro.Kernel(models.linear_gaussian, algorithm="replica_exchange", temperatures=3)
    assert_linear_gaussian(last_draws(kernel, 3_000, num_warmup=60, num_samples=20))


@pytest.mark.slow
@pytest.mark.statistical
def test_a_custom_algorithm_runs_on_the_split_target():
    kernel = te.numpyro.Kernel(
        models.linear_gaussian, algorithm=lambda target: te.tempered_mala(target, 0.5, 0.2)
    )
    assert_linear_gaussian(last_draws(kernel, 8_000, num_warmup=0, num_samples=60), t=0.5)


@pytest.mark.slow
@pytest.mark.statistical
def test_ula_draws_have_the_variance_of_the_biased_chain():
    h = 0.1
    mean, covariance = LINEAR_GAUSSIAN.moments(1.0)
    biased = covariance @ np.linalg.inv(np.eye(2) - 0.5 * h * LINEAR_GAUSSIAN.precision(1.0))
    kernel = te.numpyro.Kernel(models.linear_gaussian, algorithm="ula", step_size=h)
    draws = last_draws(kernel, 8_000, num_warmup=0, num_samples=60) - mean
    products = np.einsum("ni,nj->nij", draws, draws).reshape(-1, 4)
    assert_expectations(
        np.column_stack([draws, products[:, [0, 1, 3]]]),
        np.concatenate([np.zeros(2), biased.ravel()[[0, 1, 3]]]),
    )


def test_warm_up_tunes_step_size_and_metric_and_freezes_them():
    mcmc = run(
        te.numpyro.Kernel(anisotropic),
        num_warmup=500,
        num_samples=200,
        num_chains=20,
        chain_method="vectorized",
        extra_fields=("adapt_state.step_size", "adapt_state.inverse_mass_matrix", "accept_prob"),
    )
    fields = mcmc.get_extra_fields(group_by_chain=True)
    step_size = fields["adapt_state.step_size"]
    metric = fields["adapt_state.inverse_mass_matrix"]
    assert (step_size == step_size[:, :1]).all()
    assert (metric == metric[:, :1]).all()
    # Estimates from the last slow window of a few hundred correlated draws.
    assert np.all(np.abs(np.log(metric[:, 0].mean(0) / SCALES**2)) < np.log(1.5))
    rates = fields["accept_prob"].mean(axis=1)
    assert abs(rates.mean() - 0.574) < 0.08


@pytest.fixture(scope="module")
def sampled():
    mcmc = run(
        te.numpyro.Kernel(models.deterministic),
        num_warmup=100,
        num_samples=10,
        thinning=2,
        num_chains=2,
        chain_method="sequential",
        progress_bar=True,
        extra_fields=("accept_prob", "potential_energy", "diverging", "adapt_state.step_size"),
    )
    return mcmc


def test_the_driver_thins_groups_and_adds_deterministic_sites(sampled, capsys):
    draws = sampled.get_samples(group_by_chain=True)
    assert draws["z"].shape == draws["square"].shape == (2, 5)
    np.testing.assert_allclose(draws["square"], draws["z"] ** 2, rtol=1e-6)
    assert sampled.get_samples()["z"].shape == (10,)
    sampled.print_summary()
    printed = capsys.readouterr().out
    assert "r_hat" in printed
    assert "Number of divergences: 0" in printed


def test_extra_fields_describe_the_draws(sampled):
    fields = sampled.get_extra_fields()
    z = np.asarray(sampled.get_samples()["z"])
    logdensity = np.log(0.5) + np.log(z * (2 - z) / 2)
    logdensity += stats.norm(z[:, None] ** 2).logpdf(models.Y).sum(1)
    np.testing.assert_allclose(fields["potential_energy"], -logdensity, rtol=1e-4)
    assert ((fields["accept_prob"] >= 0) & (fields["accept_prob"] <= 1)).all()
    assert not fields["diverging"].any()


def test_a_run_continues_from_its_warm_up_and_its_last_state(sampled):
    first = sampled.last_state
    sampled.post_warmup_state = first
    sampled.run(jax.random.key(5), extra_fields=("adapt_state.step_size",))
    steps = sampled.get_extra_fields(group_by_chain=True)["adapt_state.step_size"]
    np.testing.assert_array_equal(steps[:, -1], first.adapt_state.step_size)

    mcmc = MCMC(
        te.numpyro.Kernel(models.masked),
        num_warmup=10,
        num_samples=4,
        num_chains=2,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.warmup(KEY)
    warm = mcmc.post_warmup_state
    assert (warm.i == 10).all()
    mcmc.run(jax.random.key(1))
    assert (mcmc.last_state.i == 14).all()
    np.testing.assert_array_equal(mcmc.last_state.adapt_state.step_size, warm.adapt_state.step_size)


def test_initial_values_are_where_the_chains_start():
    kernel = te.numpyro.Kernel(models.plates, algorithm="ula", step_size=1e-12)
    start = {"mean": jnp.array([[1.0, 2.0], [3.0, 4.0]])}
    mcmc = run(kernel, num_chains=2, chain_method="vectorized", init_params=start)
    draws = mcmc.get_samples(group_by_chain=True)["mean"]
    np.testing.assert_allclose(draws[:, -1], start["mean"], atol=1e-4)


def test_an_unadjusted_kernel_reports_no_acceptance_and_keeps_its_step_size():
    kernel = te.numpyro.Kernel(models.plates, algorithm="ula", step_size=0.1)
    mcmc = run(kernel, num_warmup=20, extra_fields=("accept_prob", "adapt_state.step_size"))
    fields = mcmc.get_extra_fields()
    assert np.isnan(fields["accept_prob"]).all()
    assert (fields["adapt_state.step_size"] == np.float32(0.1)).all()
    assert "acc" not in kernel.get_diagnostics_str(mcmc.last_state)


def test_an_exploding_chain_is_counted_as_diverging():
    kernel = te.numpyro.Kernel(potential_fn=lambda z: z**4, algorithm="ula", step_size=10.0)
    mcmc = run(kernel, init_params=jnp.array(3.0), num_samples=20)
    assert mcmc.get_extra_fields()["diverging"][-1]


def test_a_potential_function_needs_no_model():
    kernel = te.numpyro.Kernel(potential_fn=lambda z: 0.5 * jnp.sum(z["a"] ** 2))
    mcmc = run(kernel, init_params={"a": jnp.ones(2)}, num_warmup=5)
    assert mcmc.get_samples()["a"].shape == (5, 2)
    with pytest.raises(te.InputError, match="init_params must be given"):
        run(te.numpyro.Kernel(potential_fn=lambda z: z**2))


def test_replica_exchange_tunes_every_rung_and_reports_swaps():
    temperatures = te.schedules.uniform(3)
    kernel = te.numpyro.Kernel(
        models.plates, algorithm="replica_exchange", temperatures=temperatures
    )
    mcmc = run(
        kernel,
        num_warmup=150,
        extra_fields=("info.swap_acceptance_rate", "adapt_state", "potential_energy"),
    )
    fields = mcmc.get_extra_fields()
    assert fields["info.swap_acceptance_rate"].shape == (5, 2)
    steps, metric = fields["adapt_state"].step_size[-1], fields["adapt_state"].inverse_mass_matrix
    assert len(set(np.asarray(steps).tolist())) == 3
    assert metric.shape == (5, 3, 2)
    assert "step size" in kernel.get_diagnostics_str(mcmc.last_state)


def test_a_kernel_of_blackjax_runs_through_the_same_door():
    def algorithm(target):
        return blackjax.hmc(lambda z: target.logdensity(z, 1.0), 0.1, jnp.ones(2), 3)

    kernel = te.numpyro.Kernel(models.plates, algorithm=algorithm)
    mcmc = run(kernel, extra_fields=("accept_prob",))
    assert (mcmc.get_extra_fields()["accept_prob"] > 0).all()
    assert "acc. prob" in kernel.get_diagnostics_str(mcmc.last_state)


def test_data_may_be_arguments_of_the_compiled_program():
    def model(y):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(z, 0.01), obs=y)

    kernel = te.numpyro.Kernel(model)
    mcmc = MCMC(kernel, num_warmup=100, num_samples=5, progress_bar=False, jit_model_args=True)
    for y in (-2.0, 2.0):
        mcmc.run(KEY, jnp.array(y))
        np.testing.assert_allclose(mcmc.get_samples()["z"], y, atol=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "exactly one of model and potential_fn must be given, got neither"),
        ({"model": anisotropic, "algorithm": "nuts"}, "algorithm must be one of .*got 'nuts'"),
        ({"model": anisotropic, "algorithm": "ula"}, "step_size must be given .*'ula'"),
        ({"model": anisotropic, "step_size": 0.0}, "step_size must be positive"),
        ({"model": anisotropic, "temperatures": 3}, "temperatures belong to"),
        ({"model": anisotropic, "target_accept_prob": 1.0}, r"target_accept_prob .* got 1\.0"),
        (
            {"model": anisotropic, "algorithm": lambda target: target, "step_size": 0.1},
            "step_size must be set inside the function",
        ),
        (
            {"potential_fn": jnp.sum, "algorithm": "replica_exchange"},
            "expected a model for algorithm='replica_exchange'",
        ),
    ],
)
def test_bad_arguments_are_named(settings, message):
    with pytest.raises(te.InputError, match=message):
        te.numpyro.Kernel(**settings)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (models.discrete, {}, "discrete site 'k'"),
        (anisotropic, {"algorithm": "replica_exchange"}, "no observed site"),
    ],
)
def test_models_that_cannot_be_walked_are_refused(model, options, message):
    with pytest.raises(te.InputError, match=message):
        run(te.numpyro.Kernel(model, **options))


def test_initial_values_of_other_sites_or_at_nan_are_refused():
    with pytest.raises(te.InputError, match=r"sites {'z': \(\)}, got {'y': \(\)}"):
        run(te.numpyro.Kernel(models.masked), init_params={"y": jnp.zeros(())})
    with pytest.raises(te.InputError, match="must be a number at the initial position"):
        run(te.numpyro.Kernel(models.masked), init_params={"z": jnp.array(jnp.nan)})


def test_a_used_kernel_can_be_pickled():
    kernel = te.numpyro.Kernel(models.masked)
    run(kernel)
    again = pickle.loads(pickle.dumps(kernel))
    assert again.model is models.masked


@pytest.mark.slow
def test_chains_run_on_devices_in_parallel():
    code = (
        "import jax, numpyro, tempered_ebm as te\n"
        "from tests.numpyro import models\n"
        "mcmc = numpyro.infer.MCMC(te.numpyro.Kernel(models.subsampled), num_warmup=20,\n"
        "    num_samples=5, num_chains=2, chain_method='parallel', progress_bar=False)\n"
        "mcmc.run(jax.random.key(0))\n"
        "print(mcmc.get_samples(group_by_chain=True)['rate'].shape)"
    )
    flags = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
    )
    assert result.stdout.strip() == "(2, 5)", result.stderr


def test_a_model_without_latent_sites_is_refused():
    def model():
        numpyro.sample("y", dist.Normal(0.0, 1.0), obs=0.3)

    with pytest.raises(te.InputError, match="model must have a latent site to sample, got none"):
        te.numpyro.Kernel(model).init(jax.random.key(0), 0, None)
