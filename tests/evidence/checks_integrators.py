"""Decisive checks of Simpson's rule, quadrature and control variates."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy import integrate

import tempered_ebm as te
from tests import ground_truths as gt
from tests.evidence import checks_evidence as checks

make_quadrature = checks.compiled(te.schedules, "gauss_legendre", "K")
apply_quadrature = checks.compiled(te.evidence, "gauss_legendre")
control_variates = checks.compiled(te.evidence, "control_variates", "degree", "rule")
controlled_draws = checks.compiled(te.evidence, "controlled_draws", "degree")

LADDERS = (
    *(checks.power_ladder(K, 1.6) for K in (2, 3, 4, 9)),
    np.array([0.0, 0.05, 0.07, 0.2, 0.55, 0.6, 1.0]),
    np.array([0.0, 0.3, 0.31, 0.4, 0.8, 1.0]),
)


def rule_value(path, ladder: np.ndarray, rule: str) -> float:
    """The rule applied to the exact integrand."""
    if rule != "simpson":
        return checks.rule_value(path, ladder, rule)
    mean = [path.mean_loglikelihood(t) for t in ladder]
    return float(integrate.simpson(mean, x=ladder))


def simpson_is_that_of_scipy() -> None:
    """Even and odd numbers of uneven intervals, the ladder traced, to 1e-12."""
    estimator = jax.jit(lambda t, draws: te.thermodynamic_integration(t, draws, rule="simpson"))
    with jax.enable_x64(True):
        for path in gt.REFERENCE_PATHS.values():
            for ladder in LADDERS:
                draws = checks.draws_with_exact_moments(path, ladder)
                expected = rule_value(path, ladder, "simpson")
                estimate = estimator(ladder, draws)
                np.testing.assert_allclose(estimate.log_evidence, expected, rtol=1e-12)
                plain, corrected = (checks.rule_value(path, ladder, r) for r in checks.RULES)
                np.testing.assert_allclose(
                    estimate.discretization_error, corrected - plain, rtol=1e-9, atol=1e-14
                )


def assert_near(estimate, expected: float, label: str, largest_error: float) -> None:
    """One decision: the estimate is within Monte Carlo error of an expectation."""
    error = float(estimate.standard_error)
    assert 0 < error < largest_error, f"{label}: standard error {error}"
    z = (float(estimate.log_evidence) - expected) / error
    # Batch means of 32 batches: Student's with 31 degrees of freedom.
    assert abs(z) < gt.z_threshold(1, 32), f"{label}: z = {z}"


def simpson_ground_truth(path, num: int, discretization: float) -> None:
    """Exact draws: within Monte Carlo error of the rule, which is near the truth."""
    ladder = checks.power_ladder(num, 2.0)
    draws = jnp.asarray(checks.exact_draws(path, ladder, 40_000, seed=num), jnp.float32)
    estimate = checks.thermodynamic_integration(
        jnp.asarray(ladder, jnp.float32), draws, rule="simpson"
    )
    expected = rule_value(path, ladder, "simpson")
    assert abs(expected - path.log_z(1.0)) < discretization
    assert_near(estimate, expected, f"simpson, K={num}", 0.05)


# --------------------------------------------------------------------- quadrature


def noisy_pilot(path, M: int, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A ladder and its variances, each wrong by a factor."""
    ladder = checks.power_ladder(M)
    variances = np.array([path.variance_loglikelihood(t) for t in ladder])
    return ladder, variances * np.exp(noise * np.random.default_rng(seed).standard_normal(M))


def quadrature_integrates_whatever_the_pilot() -> None:
    """From good, noisy and tiny pilots smooth functions of t are integrated, to 1e-9."""
    integrals = {
        "decay": (lambda t: np.exp(-3 * t), (1 - np.exp(-3)) / 3),
        "pole": (lambda t: 1 / (0.2 + t), np.log(6.0)),
        "wave": (lambda t: np.sin(5 * t), (1 - np.cos(5.0)) / 5),
    }
    with jax.enable_x64(True):
        for M, noise in ((2, 0.0), (4, 0.3), (9, 0.3)):
            pilot = noisy_pilot(gt.LINEAR_GAUSSIAN, M, noise, seed=M)
            nodes, weights = make_quadrature(*pilot, 24)
            assert np.all(np.diff(nodes) > 0)
            assert 0 < nodes[0] < nodes[-1] < 1
            for name, (function, integral) in integrals.items():
                np.testing.assert_allclose(
                    weights @ function(np.asarray(nodes)), integral, atol=1e-9, err_msg=name
                )


def quadrature_follows_thermodynamic_length() -> None:
    """For Var = (c + t)^-2 the map is t = c ((1 + 1/c)^u - 1) with u the share of the length."""
    c, pilot = 0.02, checks.power_ladder(400)
    u = 0.5 * (np.polynomial.legendre.leggauss(7)[0] + 1)
    with jax.enable_x64(True):
        nodes, _ = make_quadrature(pilot, (c + pilot) ** -2.0, 7)
    np.testing.assert_allclose(nodes, c * ((1 + 1 / c) ** u - 1), rtol=1e-3)


def quadrature_value(path, quadrature) -> float:
    mean = [path.mean_loglikelihood(float(t)) for t in quadrature.temperatures]
    return float(np.asarray(quadrature.weights) @ mean)


def quadrature_ground_truth(path, K: int) -> None:
    """Exact draws at the nodes: within Monte Carlo error of the truth; the rule is near it."""
    with jax.enable_x64(True):
        quadrature = make_quadrature(*noisy_pilot(path, 8, 0.1, seed=1), K)
        assert abs(quadrature_value(path, quadrature) - path.log_z(1.0)) < 1e-5
        draws = checks.exact_draws(path, np.asarray(quadrature.temperatures), 40_000, seed=K)
        estimate = apply_quadrature(quadrature, draws)
    assert_near(estimate, path.log_z(1.0), f"gauss_legendre, K={K}", 0.05)


def a_constant_is_carried_through() -> None:
    """Adding c to every log-likelihood adds c to every estimate, whatever the weights."""
    path = gt.LINEAR_GAUSSIAN
    with jax.enable_x64(True):
        quadrature = make_quadrature(*noisy_pilot(path, 5, 0.3, seed=0), 3)
        draws = checks.exact_draws(path, np.asarray(quadrature.temperatures), 50, seed=0)
        low, high = (apply_quadrature(quadrature, draws + c) for c in (0.0, 1e5))
    np.testing.assert_allclose(high.log_evidence - low.log_evidence, 1e5, rtol=1e-14)
    np.testing.assert_allclose(high.discretization_error, low.discretization_error, rtol=1e-6)


# --------------------------------------------------------------- control variates


def draws_and_gradients(path, ladder, n: int, seed: int) -> tuple[np.ndarray, ...]:
    """Log-likelihoods (K, n), positions and gradients (K, n, d) of exact draws."""
    rng = gt.rng(seed)
    positions = [path.sample(rng, t, n) for t in ladder]
    loglikelihoods = np.stack([path.loglikelihood(z) for z in positions])
    gradients = [path.grad(z, t) for z, t in zip(positions, ladder, strict=True)]
    K = len(ladder)
    return (
        loglikelihoods,
        np.stack(positions).reshape(K, n, -1),
        np.stack(gradients).reshape(K, n, -1),
    )


def nothing_is_left_of_a_gaussian() -> None:
    """With degree 2 controlled means are exact, and the error bar sees that, to rounding."""
    path, ladder = gt.LINEAR_GAUSSIAN, checks.power_ladder(6, 2.0)
    exact = [path.mean_loglikelihood(t) for t in ladder]
    with jax.enable_x64(True):
        data = draws_and_gradients(path, ladder, 150, seed=0)
        shifted = (data[0], data[1] * np.array([1e3, 1e-3]) + 7.0, data[2] / np.array([1e3, 1e-3]))
        for some in (data, shifted):
            controlled = control_variates(ladder, *some, rule="simpson")
            assert controlled.is_used.all(), controlled.r_squared
            estimate = controlled.estimate
            np.testing.assert_allclose(estimate.mean_loglikelihood, exact, rtol=1e-9)
            expected = rule_value(path, ladder, "simpson")
            np.testing.assert_allclose(estimate.log_evidence, expected, rtol=1e-9)
            assert float(estimate.standard_error) < 1e-9


def chains_are_controlled() -> None:
    """The gradients that a tempered kernel caches are those that control its draws."""
    path, temperatures = gt.LINEAR_GAUSSIAN, te.schedules.power(5, 2.0)
    kernel = te.tempered_mala(path.target, temperatures, 0.05)

    def keep(state, info):
        _, gradient = te.target.tempered_logdensity(state, temperatures)
        return state.loglikelihood, state.position, gradient

    @jax.jit
    def run(key):
        start = kernel.init(jax.random.normal(key, (5, 8, 2)))
        _, kept = te.inference.trace(key, kernel, start, 200, statistic_fn=keep)
        kept = jax.tree.map(lambda x: x.swapaxes(0, 1), kept)
        return te.evidence.control_variates(temperatures, *kept, rule="trapezoid")

    controlled = run(jax.random.key(0))
    exact = [path.mean_loglikelihood(float(t)) for t in temperatures]
    np.testing.assert_allclose(controlled.estimate.mean_loglikelihood, exact, rtol=1e-3)


def controlled_ground_truth(path, rule: str, discretization: float) -> None:
    """Exact draws in float32: within Monte Carlo error of the rule, and near the truth."""
    ladder = checks.power_ladder(13, 2.0)
    data = [jnp.asarray(x, jnp.float32) for x in draws_and_gradients(path, ladder, 10_000, seed=5)]
    estimator = jax.jit(lambda *a: te.evidence.control_variates(*a, rule=rule))
    controlled = estimator(jnp.asarray(ladder, jnp.float32), *data)
    assert controlled.is_used.all()
    expected = rule_value(path, ladder, rule)
    assert abs(expected - path.log_z(1.0)) < discretization
    if path is gt.LINEAR_GAUSSIAN and rule != "corrected_trapezoid":
        np.testing.assert_allclose(controlled.estimate.log_evidence, expected, rtol=1e-5)
        return
    assert_near(controlled.estimate, expected, f"{rule}, controlled", 0.05)


def many_controlled(data: tuple, **options):
    """Controlled estimates of independent data sets, in float32."""
    ladder, *draws = (jnp.asarray(x, jnp.float32) for x in data)
    return jax.jit(
        lambda draws: jax.lax.map(
            lambda one: te.evidence.control_variates(ladder, *one, **options),
            draws,
            batch_size=50,
        )
    )(tuple(draws))


def gamma_data(ladder, sets: int, n: int, seed: int) -> tuple[np.ndarray, ...]:
    """Independent data sets (sets, K, n) of the skewed path."""
    every = draws_and_gradients(gt.SKEWED_GAMMA, ladder, sets * n, seed)
    K = len(ladder)
    return tuple(
        np.moveaxis(x.reshape(K, sets, n, *x.shape[2:]), 1, 0).astype(np.float32) for x in every
    )


def controlled_means_are_unbiased() -> None:
    """On a skewed path and few draws the controlled means are right on average."""
    ladder = np.array([0.0, 0.2, 1.0])
    data = gamma_data(ladder, 6_000, 40, seed=2)
    controlled = many_controlled((ladder, *data), rule="trapezoid")
    exact = np.array([gt.SKEWED_GAMMA.mean_loglikelihood(t) for t in ladder])
    gt.assert_expectations(controlled.estimate.mean_loglikelihood, exact, "controlled means")


def useless_gradients_change_nothing() -> None:
    """Gradients of nothing explain nothing: the plain estimate is returned."""
    ladder, rng = checks.power_ladder(4), np.random.default_rng(0)
    loglikelihoods, positions, _ = draws_and_gradients(gt.LINEAR_GAUSSIAN, ladder, 300, seed=1)
    with jax.enable_x64(True):
        noise = rng.standard_normal(positions.shape)
        controlled = control_variates(ladder, loglikelihoods, positions, noise)
        plain = checks.thermodynamic_integration(ladder, loglikelihoods)
    assert not controlled.is_used.any(), controlled.r_squared
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), controlled.estimate, plain
    )


def a_bad_rung_falls_back_alone() -> None:
    """A draw that is not finite leaves its rung as it is, and the others controlled."""
    ladder = checks.power_ladder(4)
    data = draws_and_gradients(gt.LINEAR_GAUSSIAN, ladder, 300, seed=1)
    with jax.enable_x64(True):
        good = controlled_draws(*data)
        for which, bad in ((0, -np.inf), (1, np.nan), (2, np.inf)):
            spoilt = [x.copy() for x in data]
            spoilt[which][1, 7] = bad
            controlled = controlled_draws(*spoilt)
            np.testing.assert_array_equal(controlled.is_used, [True, False, True, True])
            assert np.isnan(controlled.r_squared[1])
            np.testing.assert_array_equal(controlled.loglikelihoods[1], spoilt[0][1])
            kept = np.array([0, 2, 3])
            np.testing.assert_allclose(
                controlled.loglikelihoods[kept], good.loglikelihoods[kept], rtol=1e-9
            )


# -------------------------------------------------------------------- calibration

NUM_SETS = 500


def gaussian_data(ladder, kind: str) -> tuple[np.ndarray, ...]:
    """Independent data sets of the Gaussian path; chains follow draws where there are any."""
    shape = (NUM_SETS, len(ladder), {"across draws": 640, "chains": 96}.get(kind, 256))
    shape += (8, 2) if kind == "chains" else (2,)
    rng = gt.rng(13)
    if kind == "independent":
        noise = rng.standard_normal(shape)
    else:
        rho, axis = (0.95, 1) if kind == "across rungs" else (0.8, 2)
        noise = checks.autoregressive(rng, shape, rho, axis)
    rungs = []
    for k, t in enumerate(ladder):
        mean, covariance = gt.LINEAR_GAUSSIAN.moments(t)
        rungs.append(mean + noise[:, k] @ np.linalg.cholesky(covariance).T)
    flat = [z.reshape(-1, 2) for z in rungs]
    loglikelihoods = [
        gt.LINEAR_GAUSSIAN.loglikelihood(z).reshape(shape[0], *shape[2:-1]) for z in flat
    ]
    gradients = [gt.LINEAR_GAUSSIAN.grad(z, t) for z, t in zip(rungs, ladder, strict=True)]
    return tuple(np.stack(x, axis=1) for x in (loglikelihoods, rungs, gradients))


def calibration(name: str, kind: str) -> None:
    """The standard error is honest. Control variates are linear, so that something is left."""
    path, ladder = gt.LINEAR_GAUSSIAN, checks.power_ladder(5, 2.0)
    if name == "gauss_legendre":
        with jax.enable_x64(True):
            rule = make_quadrature(*noisy_pilot(path, 6, 0.0, seed=0), 5)
        draws = gaussian_data(np.asarray(rule.temperatures), kind)[0].astype(np.float32)
        rule, expected = jax.tree.map(jnp.float32, rule), quadrature_value(path, rule)
        estimate = jax.jit(jax.vmap(lambda d: te.evidence.gauss_legendre(rule, d)))(draws)
    elif name == "simpson":
        draws, expected = gaussian_data(ladder, kind)[0], rule_value(path, ladder, name)
        estimate = jax.jit(
            jax.vmap(lambda d: te.thermodynamic_integration(jnp.asarray(ladder), d, rule=name))
        )(jnp.asarray(draws, jnp.float32))
    else:
        data, expected = gaussian_data(ladder, kind), rule_value(path, ladder, name)
        controlled = many_controlled((ladder, *data), degree=1, rule=name)
        assert np.mean(controlled.is_used) > 0.5
        estimate = controlled.estimate
    assert_honest(estimate, expected, f"{name}, {kind}")


def controlled_gamma_calibration() -> None:
    """On a skewed path and with all features of degree 2."""
    ladder = checks.power_ladder(5, 2.0)
    controlled = many_controlled((ladder, *gamma_data(ladder, NUM_SETS, 256, seed=4)))
    assert np.mean(controlled.is_used) > 0.9
    expected = rule_value(gt.SKEWED_GAMMA, ladder, "corrected_trapezoid")
    assert_honest(controlled.estimate, expected, "controlled, skewed")


def assert_honest(estimate, expected: float, label: str) -> None:
    """Squared errors in squared error bars average to 1, within the limits of honesty."""
    values, errors = (np.asarray(v, np.float64) for v in estimate[:2])
    low, high = (limit**2 for limit in checks.HONEST)
    squares = ((values - expected) / errors) ** 2
    gt.assert_expectations(squares, (high + low) / 2, label, slack=(high - low) / 2)
