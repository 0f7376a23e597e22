import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tests import ground_truths as gt

PATHS = pytest.mark.parametrize("path", gt.REFERENCE_PATHS.values(), ids=gt.REFERENCE_PATHS.keys())
QUICK = {"pilot_rounds": 4, "pilot_steps": 50}


def prior_draws(path, n, seed=0):
    return jnp.asarray(path.sample(gt.rng(seed), 0.0, n), jnp.float32)


def says(report, *words):
    text = " | ".join(report.warnings)
    assert all(word in text for word in words), text


@pytest.mark.statistical
@PATHS
def test_it_finds_the_evidence_of_the_reference_paths(path):
    report = te.log_evidence(
        gt.key(0), path.target, prior_draws(path, 40), num_temperatures=7, num_samples=500, **QUICK
    )
    # 40 independent ensembles: Student's with 39 degrees of freedom.
    limit = gt.z_threshold(len(report.estimates), 40)
    for name, estimate in report.estimates.items():
        z = (float(estimate.log_evidence) - path.log_z(1.0)) / float(estimate.standard_error)
        slack = 0.1 / float(estimate.standard_error) if name == "trapezoid" else 0.3
        assert abs(z) < limit + slack, f"{name}: z = {z}"
    assert report.warnings == ()
    assert report.standard_error < 0.03
    assert report.ensemble_log_evidence.shape == (40,)
    assert report.round_trips > 100
    assert "log p(x) = " in str(report)
    assert "requested 500 steps" in report.stopped
    assert len(report.plot().axes) == 2


def test_the_cost_is_what_was_spent():
    calls = []

    def count(x):
        calls.append(1)
        return x

    target = te.TemperedTarget(
        lambda z: -0.5 * z**2 - 0.9189385,
        lambda z: (
            jax.pure_callback(
                count,
                jax.ShapeDtypeStruct((), z.dtype),
                jax.lax.stop_gradient(z),
                vmap_method="sequential",
            )
            * 0.0
            - z**2
        ),
    )
    report = te.log_evidence(
        jax.random.key(0),
        target,
        jnp.linspace(-1, 1, 4),
        num_temperatures=3,
        num_samples=20,
        pilot_rounds=2,
        pilot_steps=10,
    )
    # The kernel that records starts from the pilot's state; nothing is evaluated twice.
    assert report.cost.gradient_evaluations == len(calls) == 4 * 3 * (1 + 10 * 3 + 20)
    assert report.cost.pilot_evaluations == 4 * 3 * (1 + 10 * 3)


def test_it_runs_until_the_error_is_small_or_the_budget_spent():
    path = gt.SKEWED_GAMMA
    start = prior_draws(path, 20)
    report = te.log_evidence(
        jax.random.key(0), path.target, start, num_temperatures=5, num_samples=100,
        target_standard_error=0.02, **QUICK,
    )  # fmt: skip
    assert report.standard_error <= 0.02
    assert "at most 0.02 as requested" in report.stopped
    report = te.log_evidence(
        jax.random.key(0), path.target, start, num_temperatures=5, num_samples=100,
        target_standard_error=1e-4, max_num_samples=400, **QUICK,
    )  # fmt: skip
    assert "budget of 400 steps spent" in report.stopped
    assert report.cost.gradient_evaluations - report.cost.pilot_evaluations == 20 * 5 * 400


def test_an_interrupt_reports_what_there_is(monkeypatch):
    from tempered_ebm.evidence_runs import run as evidence_run

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(evidence_run, "_standard_error", interrupted)
    path = gt.SKEWED_GAMMA
    report = te.log_evidence(
        jax.random.key(0), path.target, prior_draws(path, 4), num_temperatures=4, num_samples=50,
        target_standard_error=0.01, **QUICK,
    )  # fmt: skip
    assert "interrupted after 50 steps" in report.stopped
    assert np.isfinite(report.log_evidence)


def steep(dimension, scale):
    return te.TemperedTarget(
        lambda z: -0.5 * jnp.sum(z**2) - 0.5 * dimension * jnp.log(2 * jnp.pi),
        lambda z: -0.5 * jnp.sum((z - 1) ** 2) / scale**2,
    )


def test_too_few_temperatures_are_named():
    start = jax.random.normal(jax.random.key(0), (8, 10))
    report = te.log_evidence(
        jax.random.key(1), steep(10, 1e-3), start, num_temperatures=4, num_samples=100, **QUICK
    )
    says(report, "neighbours hardly swap", "raise num_temperatures", "round trips")


def test_separated_modes_that_do_not_mix_are_named():
    """Ensembles that stay where they began disagree, or have not travelled."""
    target = te.TemperedTarget(
        lambda z: jnp.logaddexp(*(-0.5 * jnp.sum((z - c) ** 2) / 0.01 for c in (5.0, -5.0))),
        lambda z: -jnp.sum((z - 5.0) ** 2) / 10.0,
    )
    start = 5.0 * jnp.where(jnp.arange(12) % 2 == 0, 1.0, -1.0)[:, None] * jnp.ones((12, 2))
    report = te.log_evidence(
        jax.random.key(0), target, start, num_temperatures=4, num_samples=200, **QUICK
    )
    assert report.standard_error > 1
    assert report.warnings


def test_a_likelihood_that_is_zero_on_part_of_the_prior():
    target = te.TemperedTarget(
        lambda z: -0.5 * jnp.sum(z**2) - 0.5 * jnp.log(2 * jnp.pi),
        lambda z: jnp.where(z[0] > 0, 0.0, -jnp.inf) * jnp.ones(()),
    )
    start = jnp.abs(jax.random.normal(jax.random.key(0), (20, 1)))
    report = te.log_evidence(
        jax.random.key(1), target, start, num_temperatures=3, num_samples=400, **QUICK
    )
    says(report, "temperature index 0 is not finite", "only the reweighting estimates count")
    assert abs(report.log_evidence - np.log(0.5)) < 0.1


def test_too_few_draws_are_named():
    report = te.log_evidence(
        jax.random.key(0), steep(1, 1.0), jnp.zeros((2, 1)), num_temperatures=3, num_samples=10,
        pilot_rounds=2, pilot_steps=10,
    )  # fmt: skip
    says(report, "20 draws per temperature are too few", "raise num_samples")


@pytest.mark.parametrize(
    ("positions", "options", "message"),
    [
        (jnp.zeros((4, 2)), {"num_samples": 5}, "num_samples must be an integer >= 10"),
        (jnp.zeros((4, 2)), {"max_num_samples": 5}, "max_num_samples must be an integer >= 1000"),
        (jnp.zeros((4, 2)), {"target_standard_error": -1.0}, "target_standard_error must be"),
        (jnp.zeros((4, 2)), {"num_temperatures": 1}, "num_temperatures must be an integer >= 2"),
        (jnp.zeros(()), {}, "initial_positions must share one leading axis"),
        ({"a": jnp.zeros((4, 2)), "b": jnp.zeros((3, 2))}, {}, "must share one leading axis"),
        (jnp.zeros((4, 3, 2)), {}, r"must return a scalar for one position, got shape \(3,\)"),
    ],
)
def test_bad_arguments_are_named(positions, options, message):
    target = te.TemperedTarget(lambda z: -jnp.sum(z**2, -1), lambda z: -jnp.sum(z, -1))
    with pytest.raises(te.InputError, match=message):
        te.log_evidence(jax.random.key(0), target, positions, **options)
