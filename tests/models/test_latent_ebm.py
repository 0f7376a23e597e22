import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import tempered_ebm as te
from tempered_ebm import densities as toy
from tempered_ebm.models import ChainSettings, LatentEBM
from tests import ground_truths as gt
from tests.models import checks_model_evidence
from tests.models import checks_models as checks

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def ebm():
    return checks.mlp_ebm()


@pytest.fixture(scope="module")
def params(ebm):
    return jax.jit(ebm.init)(jax.random.key(0))


# ---------------------------------------------------------------- laws and gradients


@pytest.mark.statistical
def test_the_prior_chains_go_where_exp_f_says():
    checks.prior_follows_the_sign_of_f()


@pytest.mark.statistical
def test_the_posterior_chains_have_the_closed_form_law():
    checks.posterior_chains()


def test_one_ascent_step_raises_the_contrast_of_f():
    checks.ascent_raises_the_contrast()


def test_no_gradient_passes_through_samples():
    checks.no_gradient_through_samples()


BATCHES = {"posterior": 120, "covariance": 60, "pooled": 30}
"""Observations for each estimator, such that its gradient is as precise as the others'."""


@pytest.mark.statistical
@pytest.mark.parametrize(
    "name",
    [
        "posterior",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("covariance", "pooled")),
    ],
)
def test_the_learning_gradient_is_that_of_the_closed_form_evidence(name):
    checks.learning_gradient(name, batch=BATCHES[name])


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("name", ["covariance", "pooled"])
def test_the_learning_gradient_with_replica_exchange(name):
    checks.learning_gradient(name, batch=60, replica_exchange=True)


@pytest.mark.statistical
def test_the_evidence_of_each_observation_is_that_of_the_closed_form():
    checks_model_evidence.evidence_of_each_observation()


@pytest.mark.slow
@pytest.mark.statistical
def test_the_evidence_of_a_posterior_with_two_modes():
    """x = z^2 + noise: a mode on either side, of unequal weight."""
    ebm = LatentEBM(
        prior_network=checks.Pure(lambda k, z: 0.0, lambda p, z: 0.5 * z[:, 0]),
        generator=checks.Pure(lambda k, z: 0.0, lambda p, z: z**2),
        likelihood=te.likelihoods.gaussian(0.2),
        latent_dim=1,
        prior_chain=ChainSettings(10, 0.5),
        posterior_chain=ChainSettings(10, 0.005),
    )
    x = jnp.array([[2.0], [0.5]])
    estimate = ebm.log_evidence(
        gt.key(1), te.models.LatentEBMParams(0.0, 0.0), x, num_warmup=200, num_samples=200
    )
    assert estimate.log_evidence.shape == (2,)
    assert estimate.mean_loglikelihood.shape == (2, 24)
    grid = np.linspace(-8, 8, 20_001)
    weights = stats.norm(0.5).pdf(grid) * (grid[1] - grid[0])
    density = stats.norm(grid**2, 0.2).pdf(np.asarray(x, np.float64))
    truth = np.log(density @ weights)
    error = np.asarray(estimate.standard_error)
    assert np.all(error < 0.1)
    z = (np.asarray(estimate.log_evidence) - truth) / error
    assert np.all(np.abs(z) < gt.z_threshold(2, 16)), z


@pytest.mark.slow
def test_a_ladder_on_which_nothing_swaps_is_warned_about():
    ebm = checks.linear_ebm()
    x = jnp.concatenate([checks.OBSERVATIONS, jnp.full((1, 3), 60.0)])
    with pytest.warns(
        UserWarning, match=r"for 1 of 4 observations .* index \[\d.*add temperatures"
    ):
        ebm.log_evidence(
            KEY,
            checks.LINEAR_PARAMS,
            x,
            temperatures=jnp.array([0.0, 0.01, 0.1, 0.4, 1.0]),
            num_warmup=50,
            num_samples=50,
        )


@pytest.mark.slow
@pytest.mark.statistical
def test_the_normalizer_of_the_prior_is_that_of_the_closed_form():
    """f = a.z shifts N(0, I) to N(a, I): log Z = |a|^2 / 2."""
    report = checks.linear_ebm().log_normalizer(
        gt.key(2), checks.LINEAR_PARAMS, num_ensembles=20, **checks_model_evidence.QUICK
    )
    a = np.asarray(checks.LINEAR_PARAMS.prior, np.float64)
    checks_model_evidence.agrees(report, 0.5 * float(a @ a), "log Z")


def test_densities_are_those_of_the_definition(ebm, params):
    z = np.random.default_rng(0).normal(size=(3, 6, 2)).astype(np.float32)

    @jax.jit
    def evaluate(z):
        output = ebm.decode(params, z)
        expected = te.likelihoods.gaussian(0.3).log_prob(checks.IMAGES, output, event_ndim=3)
        x = checks.IMAGES
        densities = ebm.logprior(params, z), ebm.loglikelihood(params, x, z)
        joint = ebm.log_joint(params, x, z)
        return ebm.negative_energy(params, z), output, expected, *densities, joint

    f, output, expected, logprior, loglikelihood, joint = map(np.asarray, evaluate(z))
    normal = -0.5 * np.sum(z**2, -1) - np.log(2 * np.pi)
    np.testing.assert_allclose(logprior, f + normal, rtol=1e-5)
    assert output.shape == (3, 6, 2, 2, 1)
    np.testing.assert_allclose(loglikelihood, expected, rtol=1e-5)
    np.testing.assert_allclose(joint, f + normal + expected, rtol=1e-5)


@pytest.mark.statistical
@pytest.mark.slow
def test_geweke_joint_distribution():
    """Exact (z, x), then rounds of posterior chains and fresh observations: the law stays.

    The prior is the egg crate, whose exact draws are known; the generator is not linear.
    """
    n, sigma = 100_000, 0.5
    density = toy.egg_crate()
    likelihood = te.likelihoods.gaussian(sigma)
    ebm = LatentEBM(
        prior_network=checks.Pure(lambda k, z: 0.0, lambda p, z: toy.egg_crate_negative_energy(z)),
        generator=checks.Pure(
            lambda k, z: 0.0, lambda p, z: jnp.stack([z[:, 0] + 0.3 * z[:, 1] ** 2, z.prod(1)], 1)
        ),
        likelihood=likelihood,
        latent_dim=2,
        posterior_chain=ChainSettings(1, 0.15),
        metropolis=True,
    )
    params = te.models.LatentEBMParams(0.0, 0.0)
    z_key, x_key, run_key = jax.random.split(gt.key(0), 3)
    z = density.sample(z_key, n)
    x = likelihood.sample(x_key, ebm.decode(params, z))

    def statistics(z, x):
        z, x = np.asarray(z, np.float64), np.asarray(x, np.float64)
        return np.column_stack([z, z**2, x, x**2, z * x, z[:, ::-1] * x, np.sin(z), np.cos(2 * z)])

    @jax.jit
    def round_trip(carry, key):
        z, x = carry
        chain_key, observation_key = jax.random.split(key)
        kernel = ebm.posterior_kernel(params, x, jnp.ones(1))
        z = te.inference.short_run(chain_key, kernel, z[None], 3).position[0]
        return (z, likelihood.sample(observation_key, ebm.decode(params, z))), None

    (end_z, end_x), _ = jax.lax.scan(round_trip, (z, x), jax.random.split(run_key, 20))
    assert np.mean(np.any(np.asarray(end_z != z), 1)) > 0.9
    fresh_key, noise_key = jax.random.split(gt.key(9))
    fresh_z = density.sample(fresh_key, n)
    fresh_x = likelihood.sample(noise_key, ebm.decode(params, fresh_z))
    gt.assert_expectations(statistics(end_z, end_x) - statistics(fresh_z, fresh_x), 0.0, "Geweke")


def test_path_estimators_train_through_the_model(ebm, params):
    """Frozen TI leaves the prior exactly alone; the others move both networks."""
    ladder = te.schedules.power(3, 2.0)

    def largest(tree):
        return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))

    for weight in ("frozen_ti", "inverse"):
        estimator = te.learning.path(weight)
        gradient = jax.jit(
            jax.grad(
                lambda p, estimator=estimator: ebm.loss(
                    KEY, p, checks.IMAGES, estimator=estimator, temperatures=ladder
                )
            )
        )(params)
        assert largest(gradient.generator) > 1e-3
        assert (largest(gradient.prior) > 1e-4) == (weight == "inverse")
        if weight == "frozen_ti":
            assert largest(gradient.prior) == 0.0


# ----------------------------------------------------------------------- temperatures


@pytest.mark.parametrize("metropolis", [pytest.param(False, marks=pytest.mark.slow), True])
def test_batched_temperatures_equal_one_by_one_runs(metropolis):
    """The same key and shape give the same noise, so each rung can be drawn alone."""
    ebm = checks.mlp_ebm(metropolis=metropolis)
    params = jax.jit(ebm.init)(KEY)
    ladder = te.schedules.power(3, 2.0)
    draw = jax.jit(lambda t: ebm.draw(KEY, params, checks.IMAGES, t).posterior)
    together = draw(ladder)
    assert together.position.shape == (3, 1, 6, 2)
    for k, t in enumerate(ladder):
        alone = draw(jnp.full(3, t))
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_allclose(a[k], b[k], rtol=1e-4, atol=1e-5)


def test_step_sizes_interpolate_the_precision(ebm):
    got = ebm.step_sizes(jnp.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(got, [0.08, 2 / (1 / 0.08 + 1 / 0.01), 0.01], rtol=1e-6)


def test_the_prior_rung_does_not_see_the_data():
    ebm = checks.linear_ebm(3, 3)
    ladder = jnp.array([0.0, 1.0])
    run = jax.jit(lambda x: ebm.draw(KEY, checks.LINEAR_PARAMS, x, ladder).posterior)
    good = run(checks.OBSERVATIONS).position
    bad = run(jnp.full((3, 3), jnp.nan)).position
    np.testing.assert_array_equal(good[0], bad[0])
    assert not np.allclose(good[1], bad[1])


# ---------------------------------------------------------------------------- shapes


def test_shapes_of_samples(ebm, params):
    x = checks.IMAGES
    shape_of = lambda fn: jax.eval_shape(fn).shape  # noqa: E731
    assert shape_of(lambda: ebm.sample_prior(KEY, params, 5)) == (5, 2)
    assert shape_of(lambda: ebm.generate(KEY, params, 5)) == (5, 2, 2, 1)
    assert shape_of(lambda: ebm.sample_posterior(KEY, params, x)) == (6, 2)
    ladder = te.schedules.uniform(3)
    assert shape_of(lambda: ebm.sample_posterior(KEY, params, x, ladder)) == (3, 6, 2)
    assert shape_of(lambda: ebm.reconstruct(KEY, params, x)) == x.shape


def test_shapes_of_draws(ebm, params):
    draws = jax.eval_shape(
        lambda: ebm.draw(
            KEY, params, checks.IMAGES, te.schedules.uniform(3), num_chains=4, num_prior=5
        )
    )
    assert draws.posterior.position.shape == (3, 4, 6, 2)
    assert draws.posterior.loglikelihood.shape == (3, 4, 6)
    assert draws.prior.position.shape == (5, 2)
    assert draws.posterior_statistic.shape == (3, 4, 6)
    assert draws.swap_acceptance_rate is None
    assert draws.prior_statistic.shape == (5,)


def test_chains_start_where_they_are_told(ebm, params):
    start = 50 + jnp.arange(12.0).reshape(6, 2)
    np.testing.assert_allclose(ebm.sample_prior(KEY, params, 6, start), start, atol=25)
    near = ebm.sample_posterior(KEY, params, checks.IMAGES, None, start)
    np.testing.assert_allclose(near, start, atol=25)


# ----------------------------------------------------------------------- compilation


def test_parameters_are_data():
    traces = []

    def apply(params, z):
        traces.append(1)
        return z @ params

    linear = checks.linear_ebm(3, 3, metropolis=False)
    ebm = LatentEBM(
        checks.Pure(lambda k, z: jnp.zeros(2), apply),
        linear.generator,
        linear.likelihood,
        2,
        linear.prior_chain,
        linear.posterior_chain,
    )
    results, counts = [], []
    for shift in (0.0, 1.0, 2.0):
        params = checks.LINEAR_PARAMS._replace(prior=checks.LINEAR_PARAMS.prior + shift)
        z = ebm.sample_prior(KEY, params, 4)
        y = ebm.sample_posterior(KEY, params, checks.OBSERVATIONS)
        results.append((float(z[0, 0]), float(y[0, 0])))
        counts.append(len(traces))
    assert counts[0] > 0
    assert counts == [counts[0]] * 3
    assert len(set(results)) == 3


# -------------------------------------------------------------------------- networks


def energy(z):
    return hk.nets.MLP([4, 1])(z)


def generator(z):
    return hk.Linear(3)(z)


@pytest.mark.parametrize(
    "wrap",
    [lambda fn: fn, hk.transform, lambda fn: hk.without_apply_rng(hk.transform(fn))],
    ids=["function", "with rng", "without rng"],
)
def test_networks_of_haiku_in_three_forms(wrap):
    """All of them give the same initial parameters and the same negative energy."""
    ebm = LatentEBM(wrap(energy), wrap(generator), te.likelihoods.gaussian(0.3), 2)
    params = jax.jit(ebm.init)(KEY)
    z = jnp.array([[0.5, -1.0]])
    reference = hk.without_apply_rng(hk.transform(energy))
    expected = jax.jit(reference.apply)(params.prior, z)[:, 0]
    np.testing.assert_allclose(jax.jit(ebm.negative_energy)(params, z), expected, rtol=1e-6)
    assert jax.eval_shape(ebm.decode, params, z).shape == (1, 3)


def test_what_is_no_network_is_named():
    with pytest.raises(te.InputError, match="prior_network must have init and apply"):
        LatentEBM(3, generator, te.likelihoods.gaussian(0.3), 2)
    with pytest.raises(te.InputError, match="generator must have init and apply"):
        LatentEBM(energy, "mlp", te.likelihoods.gaussian(0.3), 2)


# ---------------------------------------------------------------------------- errors


@pytest.mark.parametrize("width", [2, 3])
def test_an_energy_with_several_outputs_is_named(width):
    ebm = LatentEBM(
        lambda z: hk.Linear(width)(z), generator, te.likelihoods.gaussian(0.3), latent_dim=2
    )
    with pytest.raises(te.InputError, match=r"prior_network returned shape .*one value each"):
        jax.eval_shape(ebm.init, KEY)


@pytest.mark.parametrize("output", [(), (5,)])
def test_an_energy_that_forgets_the_batch_is_named(output):
    network = checks.Pure(lambda k, z: 0.0, lambda p, z: jnp.zeros(output))
    ebm = LatentEBM(network, generator, te.likelihoods.gaussian(0.3), latent_dim=2)
    with pytest.raises(te.InputError, match=r"prior_network returned shape"):
        jax.eval_shape(ebm.init, KEY)


def test_an_energy_that_sums_over_the_batch_is_named():
    network = checks.Pure(lambda k, z: 0.0, lambda p, z: z.sum(0))
    ebm = LatentEBM(network, generator, te.likelihoods.gaussian(0.3), latent_dim=2)
    with pytest.raises(te.InputError, match=r"prior_network returned shape \(2,\)"):
        jax.eval_shape(ebm.init, KEY)


def test_counts_and_starts_that_do_not_fit_are_named(ebm, params):
    with pytest.raises(te.InputError, match="num_samples must be an integer >= 1, got 0"):
        ebm.sample_prior(KEY, params, 0)
    with pytest.raises(te.InputError, match=r"initial must have shape \(5, \d+\), got \(2, 1\)"):
        ebm.sample_prior(KEY, params, 5, initial=jnp.zeros((2, 1)))
    ladder = te.schedules.uniform(3)
    with pytest.raises(te.InputError, match=r"initial must have shape \(3, .*"):
        ebm.sample_posterior(
            KEY, params, checks.IMAGES, temperatures=ladder, initial=jnp.zeros((3, 1))
        )
    with pytest.raises(te.InputError, match=r"initial_prior must have shape \(2, "):
        ebm.draw(KEY, params, checks.IMAGES, num_prior=2, initial_prior=jnp.zeros((3, 1)))
    with pytest.raises(te.InputError, match="num_warmup must be an integer >= 1, got 0"):
        ebm.log_evidence(KEY, params, checks.IMAGES, num_warmup=0)


@pytest.mark.parametrize("estimator", [te.learning.path("inverse"), te.learning.path("frozen_ti")])
def test_a_path_estimator_needs_a_ladder(ebm, params, estimator):
    with pytest.raises(te.InputError, match=r"temperatures must be a ladder .*'path:.*got None"):
        ebm.loss(KEY, params, checks.IMAGES, estimator=estimator)


def test_temperatures_that_are_no_ladder_are_named(ebm, params):
    bad = jnp.array([0.1, 1.0])
    with pytest.raises(te.InputError, match="increase strictly from 0 to 1"):
        ebm.loss(
            KEY, params, checks.IMAGES, estimator=te.learning.path("inverse"), temperatures=bad
        )
    with pytest.raises(te.InputError, match="increase strictly from 0 to 1"):
        ebm.sample_posterior(KEY, params, checks.IMAGES, bad)
    with pytest.raises(te.InputError, match="increase strictly from 0 to 1"):
        ebm.log_evidence(KEY, params, checks.IMAGES, temperatures=bad)


def test_observations_that_do_not_fit_the_generator_are_named(ebm, params):
    with pytest.raises(te.InputError, match=r"x has observations of shape \(3, 3, 1\)"):
        ebm.sample_posterior(KEY, params, jnp.zeros((4, 3, 3, 1)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latent_dim": 0}, "latent_dim must be an integer >= 1, got 0"),
        ({"prior_chain": ChainSettings(0, 0.1)}, r"prior_chain.num_steps must be an integer >= 1"),
        ({"posterior_chain": ChainSettings(5, -1)}, r"posterior_chain.step_size must be positive"),
    ],
)
def test_bad_settings_are_named(settings, message):
    arguments = {"latent_dim": 2} | settings
    with pytest.raises(te.InputError, match=message):
        LatentEBM(energy, generator, te.likelihoods.gaussian(0.3), **arguments)


def test_bad_counts_are_named(ebm, params):
    for count in ("num_chains", "num_samples", "num_warmup"):
        with pytest.raises(te.InputError, match=r"must be an integer >= 1, got 0"):
            ebm.log_evidence(KEY, params, checks.IMAGES, **{count: 0})
