import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tests import ground_truths as gt
from tests.evidence import checks_reference

PATHS = pytest.mark.parametrize(
    "path",
    [pytest.param(gt.LINEAR_GAUSSIAN, marks=pytest.mark.slow), gt.SKEWED_GAMMA],
    ids=["linear_gaussian", "skewed_gamma"],
)
QUICK = {"path": "prior", "pilot_rounds": 4, "pilot_steps": 50}
"""The path from the prior, with a short pilot."""
SHARED = {"num_temperatures": 7, "num_samples": 500, "num_ensembles": 32, "pilot_rounds": 4,
          "pilot_steps": 50}  # fmt: skip
"""With a skewed Gamma, the programs of one run serve the next."""


def prior_draws(path, n, seed=0):
    return jnp.asarray(path.sample(gt.rng(seed), 0.0, n), jnp.float32)


def says(report, *words):
    text = " | ".join(report.warnings)
    assert all(word in text for word in words), text


@pytest.mark.statistical
@PATHS
def test_from_the_prior_it_finds_the_evidence_of_the_reference_paths(path):
    report = te.log_evidence(gt.key(0), path.target, prior_draws(path, 256), path="prior", **SHARED)
    # 32 independent ensembles: Student's with 31 degrees of freedom.
    limit = gt.z_threshold(len(report.estimates), 32)
    for name, estimate in report.estimates.items():
        z = (float(estimate.log_evidence) - path.log_z(1.0)) / float(estimate.standard_error)
        slack = 0.1 / float(estimate.standard_error) if name == "trapezoid" else 0.3
        assert abs(z) < limit + slack, f"{name}: z = {z}"
    assert report.warnings == ()
    assert report.standard_error < 0.03
    assert report.ensemble_log_evidence.shape == (32,)
    assert report.round_trips > 100
    assert "log p(x) = " in str(report)
    assert "requested 500 steps" in report.stopped
    assert len(report.plot().axes) == 2


@pytest.mark.statistical
@PATHS
def test_from_a_reference_it_finds_the_evidence_of_the_reference_paths(path):
    report = checks_reference.a_whole_job_is_within_its_error(path)
    assert report.path == "reference"
    assert report.temperatures.tolist() == [0.0, 1.0]
    assert report.ensemble_log_evidence.shape == (32,)
    assert 0.5 < report.between_ensembles_error / report.standard_error < 2
    for name in ("bar", "stepping_stone", "reverse_stepping"):
        other = report.estimates[name]
        assert abs(other.log_evidence - path.log_z(1.0)) < 6 * other.standard_error + 0.005, name
    assert float(report.estimate.lower_bound) < path.log_z(1.0) < float(report.estimate.upper_bound)


def counted(calls):
    """A target in one dimension that appends to ``calls`` with every log-likelihood."""

    def count(x):
        calls.append(1)
        return x

    return te.TemperedTarget(
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


def test_from_the_prior_the_cost_is_what_was_spent():
    calls = []
    report = te.log_evidence(
        jax.random.key(0),
        counted(calls),
        jnp.linspace(-1, 1, 2),
        path="prior",
        num_temperatures=3,
        num_samples=10,
        pilot_rounds=2,
        pilot_steps=10,
    )
    says(report, "20 draws per temperature are too few", "raise num_samples")
    # The start is looked at once; the kernel that records starts from the pilot's state.
    assert report.cost.gradient_evaluations == len(calls) == 2 + 2 * 3 * (1 + 10 * 3 + 10)
    assert report.cost.pilot_evaluations == 2 + 2 * 3 * (1 + 10 * 3)
    assert report.cost.value_evaluations == 0


@pytest.mark.slow
def test_from_a_reference_nothing_is_left_out_of_the_cost():
    """Every call is charged: a gradient or a value is one, a Hessian two gradients here."""
    calls = []
    report = te.log_evidence(
        jax.random.key(0), counted(calls), jnp.linspace(-1, 1, 256), num_samples=10, num_ensembles=4
    )
    charged = report.cost.gradient_evaluations + report.cost.value_evaluations
    assert charged / 1.1 < len(calls) <= charged


@pytest.mark.slow
def test_a_budget_is_kept_to():
    path = gt.SKEWED_GAMMA
    start = prior_draws(path, 256)
    for options in ({}, {"path": "prior", "num_temperatures": 6, "num_ensembles": 8}):
        report = te.log_evidence(jax.random.key(0), path.target, start, budget=20_000, **options)
        cost = report.cost
        units = cost.gradient_evaluations + cost.value_evaluations / 3
        assert 0.85 * 20_000 < units <= 20_000, options
    report = te.log_evidence(
        jax.random.key(0), path.target, start, budget=40_000, target_standard_error=1e-7
    )
    assert "spent at a standard error of" in report.stopped


def test_a_budget_that_is_too_small_is_refused():
    start = prior_draws(gt.SKEWED_GAMMA, 256)
    with pytest.raises(te.InputError, match=r"budget must be at least [\d,]+ evaluations here"):
        te.log_evidence(jax.random.key(0), gt.SKEWED_GAMMA.target, start, budget=1_000)


@pytest.mark.slow
def test_one_compilation_serves_every_key():
    """Programs are found again for the same target: the second call traces nothing."""
    path, traces = gt.SKEWED_GAMMA, []

    def loglikelihood(z):
        traces.append(1)
        return path.target.loglikelihood_fn(z)

    target = te.TemperedTarget(path.target.logprior_fn, loglikelihood)
    te.log_evidence(jax.random.key(0), target, prior_draws(path, 256), num_samples=100)
    first = len(traces)
    te.log_evidence(jax.random.key(1), target, prior_draws(path, 256, seed=1), num_samples=100)
    assert len(traces) - first <= 2, traces  # its shape is looked at, and its program


@pytest.mark.slow
def test_a_plain_pair_of_functions_may_read_other_data_the_next_time():
    """The same function objects of a pytree, after the array that one closes over was replaced."""
    data = {"y": jnp.zeros(2)}

    def logprior(z):
        return jax.scipy.stats.norm.logpdf(z["a"]) + jax.scipy.stats.norm.logpdf(z["b"]).sum()

    def loglikelihood(z):
        return jax.scipy.stats.norm.logpdf(data["y"], z["a"] + z["b"], 0.5).sum()

    keys = jax.random.split(jax.random.key(0))
    start = {"a": jax.random.normal(keys[0], (256,)), "b": jax.random.normal(keys[1], (256, 2))}
    for value in (0.0, 2.0):
        data["y"] = jnp.array([value, 1.0])
        report = te.log_evidence(
            keys[0],
            (logprior, loglikelihood),
            start,
            num_temperatures=4,
            num_samples=50,
            num_ensembles=16,
            **QUICK,
        )
        truth = jax.scipy.stats.multivariate_normal.logpdf(
            data["y"], jnp.zeros(2), 1.0 + 1.25 * jnp.eye(2)
        )
        assert abs(report.log_evidence - truth) < 6 * report.standard_error + 1e-3


@pytest.mark.slow
def test_modes_that_particles_could_forget_are_found():
    """Four modes of .4, .3, .2 and .1 of the mass in five dimensions."""
    problem = pytest.importorskip("benchmarks.evidence.gaussian").mixture(5)
    start = problem.sample_prior(jax.random.key(3), 256).astype(jnp.float32)
    report = te.log_evidence(jax.random.key(4), problem.target, start, num_samples=20)
    assert abs(report.log_evidence - problem.log_evidence) < 6 * report.standard_error
    assert report.standard_error < 0.01


def test_where_no_reference_is_close_the_path_starts_at_the_prior(monkeypatch):
    from tempered_ebm.evidence import _reference_path as reference_path

    monkeypatch.setattr(reference_path, "LONGEST_PATH", -1.0)
    path = gt.SKEWED_GAMMA
    start = prior_draws(path, 256)
    report = te.log_evidence(jax.random.key(0), path.target, start, path="auto", **SHARED)
    assert report.path == "prior"
    assert "effective share of reference draws" in report.why
    assert abs(report.log_evidence - path.log_z(1.0)) < 6 * report.standard_error
    wide = te.TemperedTarget(lambda z: -0.5 * jnp.sum(z**2), lambda z: -jnp.sum(z**2))
    with pytest.raises(te.InputError, match="path must be 'prior' or 'auto' for 300 coordinates"):
        te.log_evidence(jax.random.key(0), wide, jnp.zeros((2, 300)), path="reference")


def test_it_runs_until_the_error_is_small_or_the_budget_spent():
    path = gt.SKEWED_GAMMA
    start = prior_draws(path, 256)
    report = te.log_evidence(
        jax.random.key(0), path.target, start, path="prior", target_standard_error=0.0035, **SHARED
    )
    assert report.standard_error <= 0.0035
    assert report.cost.gradient_evaluations > 2 * report.cost.pilot_evaluations
    assert "at most 0.0035 as requested" in report.stopped
    report = te.log_evidence(
        jax.random.key(0), path.target, start, path="prior", target_standard_error=1e-4,
        max_num_samples=1000, **SHARED,
    )  # fmt: skip
    assert "budget of 1,000 steps spent" in report.stopped
    assert report.cost.gradient_evaluations - report.cost.pilot_evaluations == 32 * 7 * 1000


def test_an_interrupt_reports_what_there_is(monkeypatch):
    from tempered_ebm.evidence import _frozen_run as recorder

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(recorder, "_standard_error", interrupted)
    path = gt.SKEWED_GAMMA
    report = te.log_evidence(
        jax.random.key(0), path.target, prior_draws(path, 256), path="prior",
        target_standard_error=0.001, **SHARED,
    )  # fmt: skip
    assert "interrupted after 500 steps" in report.stopped
    assert np.isfinite(report.log_evidence)


def steep(dimension, scale):
    return te.TemperedTarget(
        lambda z: -0.5 * jnp.sum(z**2) - 0.5 * dimension * jnp.log(2 * jnp.pi),
        lambda z: -0.5 * jnp.sum((z - 1) ** 2) / scale**2,
    )


@pytest.mark.slow
def test_too_few_temperatures_are_named():
    start = jax.random.normal(jax.random.key(0), (8, 10))
    report = te.log_evidence(
        jax.random.key(1), steep(10, 1e-3), start, num_temperatures=4, num_samples=100, **QUICK
    )
    says(report, "neighbours hardly swap", "raise num_temperatures", "round trips")


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("positions", "options", "message"),
    [
        (jnp.zeros((4, 2)), {"num_samples": 5}, "num_samples must be an integer >= 10"),
        (jnp.zeros((4, 2)), {"max_num_samples": 5}, "max_num_samples must be an integer >= 100"),
        (jnp.zeros((4, 2)), {"target_standard_error": -1.0}, "target_standard_error must be"),
        (jnp.zeros((4, 2)), {"num_temperatures": 1}, "num_temperatures must be an integer >= 2"),
        (jnp.zeros(()), {}, "initial_positions must share one leading axis"),
        ({"a": jnp.zeros((4, 2)), "b": jnp.zeros((3, 2))}, {}, "must share one leading axis"),
        (jnp.zeros((4, 2)), {"path": "short"}, "path must be 'auto', 'reference' or 'prior'"),
        (jnp.zeros((4, 2)), {"budget": 0}, "budget must be an integer >= 1"),
        (jnp.zeros((4, 2)), {"num_ensembles": 0}, "num_ensembles must be an integer >= 1"),
        (jnp.zeros((4, 3, 2)), {}, r"must return a scalar for one position, got shape \(3,\)"),
    ],
)
def test_bad_arguments_are_named(positions, options, message):
    target = te.TemperedTarget(lambda z: -jnp.sum(z**2, -1), lambda z: -jnp.sum(z, -1))
    with pytest.raises(te.InputError, match=message):
        te.log_evidence(jax.random.key(0), target, positions, **options)
