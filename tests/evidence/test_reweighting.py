import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tests import ground_truths as gt
from tests.evidence import checks_reference
from tests.evidence import checks_reweighting as checks

SLOW = pytest.mark.slow
NAMES = pytest.mark.parametrize("name", checks.ESTIMATORS)
PATHS = pytest.mark.parametrize("path", gt.REFERENCE_PATHS.values(), ids=gt.REFERENCE_PATHS.keys())


def test_every_estimator_solves_its_equation():
    checks.equations_are_solved()


@pytest.mark.statistical
@PATHS
@NAMES
def test_ground_truth(path, name):
    checks.ground_truth(path, name, 4)


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("stepping_stone", "independent"),
        ("stepping_stone", "across draws"),
        ("bar", "independent"),
        ("mbar", "across rungs"),
        pytest.param("stepping_stone", "across rungs", marks=SLOW),
        pytest.param("bar", "across draws", marks=SLOW),
        pytest.param("bar", "across rungs", marks=SLOW),
        pytest.param("mbar", "independent", marks=SLOW),
        pytest.param("mbar", "across draws", marks=SLOW),
    ],
)
def test_standard_errors_are_honest(name, kind):
    checks.calibration(name, kind)


@pytest.mark.statistical
def test_the_two_directions_are_biased_apart():
    checks.jensen_biases_point_apart()


@pytest.mark.slow
def test_mbar_is_the_sharpest():
    """On one set of draws its error bar is below those of the others."""
    path, ladder = gt.LINEAR_GAUSSIAN, np.linspace(0, 1, 8) ** 3
    draws = checks.checks.exact_draws(path, ladder, 5_000, seed=3).astype(np.float32)
    errors = {n: float(f(ladder, draws).standard_error) for n, f in checks.ESTIMATORS.items()}
    assert min(errors, key=errors.get) == "mbar", errors


def test_single_precision_stands_log_likelihoods_of_minus_a_million():
    """A geometric ladder down to 1e-8: products are formed from differences."""
    rng = np.random.default_rng(0)
    ladder = np.concatenate([[0], np.geomspace(1e-8, 1, 60)])
    scale, d = 1e-4, 10
    variance = 1 / (1 + ladder / scale**2)
    squares = variance[:, None] * rng.chisquare(d, (61, 500))
    draws = -0.5 * squares / scale**2
    truth = -0.5 * d * np.log1p(1 / scale**2)
    for name in ("mbar", "bar", "stepping_stone"):
        single = checks.JITTED[name](
            jnp.asarray(ladder, jnp.float32), jnp.asarray(draws, jnp.float32)
        )
        assert single.log_evidence.dtype == jnp.float32
        with jax.enable_x64(True):
            double = checks.JITTED[name](ladder, draws)
        gap = abs(float(single.log_evidence) - float(double.log_evidence))
        assert gap < 0.3 * float(double.standard_error), (name, gap)
        assert abs(float(double.log_evidence) - truth) < 6 * float(double.standard_error)


def test_impossible_prior_draws_leave_a_finite_estimate():
    """Where the likelihood is zero on part of the prior, reweighting still counts."""
    rng = np.random.default_rng(0)
    prior = np.where(rng.random(20_000) < 0.25, 0.0, -np.inf)
    draws = np.stack([prior, np.zeros(20_000)]).astype(np.float32)
    for name in ("stepping_stone", "mbar", "bar"):
        estimate = checks.JITTED[name](np.array([0.0, 1.0]), draws)
        assert abs(float(estimate.log_evidence) - np.log(0.25)) < 0.1, name
        assert np.isfinite(estimate.standard_error), name


@NAMES
def test_shapes_and_vmap(name):
    draws = np.random.default_rng(0).normal(size=(3, 4, 50, 2)).astype(np.float32)
    ladder = te.schedules.uniform(4)
    together = jax.jit(jax.vmap(lambda d: checks.ESTIMATORS[name](ladder, d)))(draws)
    alone = checks.JITTED[name](ladder, draws[1])
    assert together.log_evidence.shape == (3,)
    np.testing.assert_allclose(together.log_evidence[1], alone.log_evidence, atol=1e-4)
    assert alone.mean_loglikelihood.shape == (4,)


def test_bad_arguments_are_named():
    draws = np.zeros((3, 10))
    with pytest.raises(te.InputError, match="direction must be 'forward' or 'reverse', got 'up'"):
        te.stepping_stone(te.schedules.uniform(3), draws, direction="up")
    for estimator in checks.ESTIMATORS.values():
        with pytest.raises(te.InputError, match="loglikelihoods must have shape"):
            estimator(te.schedules.uniform(4), draws)
        with pytest.raises(te.InputError, match="temperatures must increase strictly"):
            estimator(np.array([0.1, 0.5, 1.0]), draws)


@pytest.mark.statistical
@pytest.mark.parametrize("name", ["mbar", "bar"])
def test_a_heavy_tail_under_the_prior_does_not_lose_the_solver(name):
    """One prior draw in a hundred has a log-likelihood of -1e9, and no posterior draw."""
    path, share = gt.SKEWED_GAMMA, 0.01
    ladder, rng = np.array([0.0, 0.02, 0.1, 0.3, 1.0]), gt.rng(11)
    z = np.stack([path.sample(rng, t, 40_000) for t in ladder])
    draws = path.loglikelihood(z)
    draws[0, rng.random(40_000) < share] = -1e9
    estimate = checks.JITTED[name](
        jnp.asarray(ladder, jnp.float32), jnp.asarray(draws, jnp.float32).reshape(5, 1000, 40)
    )
    truth = np.log1p(-share) + path.log_z(1.0)
    assert 0 < estimate.standard_error < 0.1
    z = (float(estimate.log_evidence) - truth) / float(estimate.standard_error)
    assert abs(z) < gt.z_threshold(1, 40), z


def test_mbar_solves_its_equation_with_more_draws_of_the_prior():
    checks_reference.unequal_numbers_solve_the_equation()


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("num", "num_extra"),
    [(2, 500), *(pytest.param(*case, marks=SLOW) for case in ((2, 5000), (4, 500), (4, 5000)))],
)
def test_more_draws_of_the_prior_keep_the_error_honest(num, num_extra):
    checks_reference.extra_draws_keep_errors_honest(num, num_extra)


def test_more_draws_of_the_prior_lower_the_error():
    path, ladder = gt.LINEAR_GAUSSIAN, np.array([0.0, 1.0])
    draws = checks.checks.exact_draws(path, ladder, 1_000, seed=3).astype(np.float32)
    extra = checks.checks.exact_draws(path, ladder[:1], 20_000, seed=4)[0].astype(np.float32)
    errors = [
        float(jax.jit(te.mbar)(ladder, draws, prior_loglikelihoods=extra[:m]).standard_error)
        for m in (0, 1_000, 20_000)
    ]
    assert errors[2] < 0.9 * errors[1] < 0.81 * errors[0], errors
    alone = jax.jit(te.mbar)(ladder, draws)
    assert float(alone.standard_error) == errors[0]


def test_impossible_ones_among_more_draws_of_the_prior():
    checks_reference.impossible_extra_draws_leave_a_binomial_error()


@pytest.mark.parametrize("shape", [(), (3, 2), (1, 2, 3)])
def test_more_draws_of_the_prior_of_another_shape_are_named(shape):
    draws = np.zeros((2, 10))
    with pytest.raises(te.InputError, match=r"prior_loglikelihoods must have shape \(M,\), got"):
        te.mbar(np.array([0.0, 1.0]), draws, prior_loglikelihoods=np.zeros(shape))
