import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import tempered_ebm as te
from tempered_ebm import diagnostics
from tests import ground_truths as gt
from tests.diagnostics import checks_diagnostics as checks

TARGET = gt.LINEAR_GAUSSIAN.target
LADDER = jnp.array([0.0, 0.3, 1.0])
KERNELS = {
    "ula": (te.ula(lambda z: TARGET.logdensity(z, 1.0), 0.05), None),
    "mala": (te.mala(lambda z: TARGET.logdensity(z, 1.0), 0.05), None),
    "tempered_ula": (te.tempered_ula(TARGET, 0.3, 0.05), 0.3),
    "tempered_mala": (te.tempered_mala(TARGET, LADDER, 0.05), LADDER),
    "replica_exchange": (te.replica_exchange(TARGET, LADDER, 0.05), LADDER),
}


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_reports_its_energy(name):
    kernel, temperature = KERNELS[name]
    position = jax.random.normal(jax.random.key(0), (3, 4, 2))
    t = jnp.asarray(1.0 if temperature is None else temperature)
    t = jnp.broadcast_to(t.reshape(-1, 1), (3, 4))

    @jax.jit
    def run(position):
        _, (trace, positions) = te.inference.trace(
            jax.random.key(1),
            kernel,
            kernel.init(position),
            6,
            statistic_fn=lambda state, info: (
                diagnostics.energy_statistic(temperature)(state, info),
                state.position,
            ),
        )
        one = jax.value_and_grad(TARGET.logdensity)
        return trace, jax.vmap(jax.vmap(jax.vmap(one)), (0, None))(positions, t)

    trace, (value, grad) = run(position)
    assert trace.energy.shape == (6, 3, 4)
    np.testing.assert_allclose(trace.energy, -value, rtol=1e-4)
    np.testing.assert_allclose(trace.gradient_norm, jnp.linalg.norm(grad, axis=-1), rtol=1e-4)


def test_a_missing_or_needless_temperature_is_named():
    tempered, _ = KERNELS["tempered_ula"]
    with pytest.raises(te.InputError, match=r"temperature must be given for a TemperedState"):
        diagnostics.energy_statistic()(jax.jit(tempered.init)(jnp.zeros(2)), None)
    plain, _ = KERNELS["mala"]
    with pytest.raises(te.InputError, match=r"temperature must be None for a MALAState.* got 0.5"):
        diagnostics.energy_statistic(0.5)(jax.jit(plain.init)(jnp.zeros(2)), None)


def test_means_and_errors_by_step_and_rung():
    values = np.random.default_rng(0).normal(3.0, 1.0, (5, 2, 9))
    drift = diagnostics.energy_drift(diagnostics.EnergyTrace(values, 2 * values))
    np.testing.assert_allclose(drift.mean_energy, values.mean(-1), rtol=1e-6)
    np.testing.assert_allclose(drift.energy_standard_error, stats.sem(values, axis=-1), rtol=1e-5)
    np.testing.assert_allclose(drift.mean_gradient_norm, 2 * values.mean(-1), rtol=1e-6)
    error = 2 * stats.sem(values, axis=-1)
    np.testing.assert_allclose(drift.gradient_norm_standard_error, error, rtol=1e-5)
    assert drift.drift_z_score.shape == (2,)


@pytest.mark.parametrize("num_steps", [8, 9])
def test_the_slope_is_that_of_the_second_half(num_steps):
    rng = np.random.default_rng(1)
    energy = rng.normal(size=(num_steps, 20)) + 100.0
    later = np.arange(num_steps // 2, num_steps)
    slopes = np.polyfit(later, energy[later], 1)[0]
    changed = energy.copy()
    changed[: num_steps // 2] += 50.0
    drift = diagnostics.energy_drift(checks.trace_of(changed))
    np.testing.assert_allclose(drift.drift_per_step, slopes.mean(), rtol=1e-3)
    np.testing.assert_allclose(drift.drift_z_score, slopes.mean() / stats.sem(slopes), rtol=1e-3)


@pytest.mark.statistical
def test_without_drift_the_score_follows_students_law():
    checks.drift_scores_follow_students_law()


@pytest.mark.statistical
def test_a_run_that_is_too_short_is_seen_and_one_in_equilibrium_is_not():
    kernel = te.mala(lambda z: -0.5 * jnp.sum(z**2, -1), 0.05)

    @jax.jit
    def drift_z_score(key, start):
        _, trace = te.inference.trace(
            key, kernel, kernel.init(start), 24, statistic_fn=diagnostics.energy_statistic()
        )
        return diagnostics.energy_drift(trace).drift_z_score

    draws = jax.random.normal(gt.key(0), (4000, 5))
    assert drift_z_score(gt.key(1), draws + 3.0) < -20
    assert drift_z_score(gt.key(2), 0.1 * draws) > 10
    assert abs(drift_z_score(gt.key(3), draws)) < gt.z_threshold(1)


def test_a_diverged_chain_is_not_good_news():
    energy = np.random.default_rng(3).normal(size=(8, 4))
    energy[6:, 2] = np.inf
    assert np.isnan(diagnostics.energy_drift(checks.trace_of(energy)).drift_z_score)


@pytest.mark.parametrize(
    ("energy", "norm", "message"),
    [
        (np.ones(8), np.ones(8), r"trace must hold two arrays of one shape .* energy \(8,\)"),
        (np.ones((8, 3)), np.ones((8, 2)), r"gradient_norm \(8, 2\)"),
        (np.ones((3, 5)), np.ones((3, 5)), r"at least 4 steps and 2 chains, got shape \(3, 5\)"),
        (np.ones((8, 1)), np.ones((8, 1)), r"at least 4 steps and 2 chains, got shape \(8, 1\)"),
    ],
)
def test_bad_traces_are_named(energy, norm, message):
    with pytest.raises(te.InputError, match=message):
        diagnostics.energy_drift(diagnostics.EnergyTrace(energy, norm))
