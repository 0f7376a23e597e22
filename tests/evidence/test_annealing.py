import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tests import ground_truths as gt
from tests.evidence import checks_annealed as checks

PATHS = pytest.mark.parametrize("path", gt.REFERENCE_PATHS.values(), ids=gt.REFERENCE_PATHS.keys())
ONE_QUICK = pytest.mark.parametrize(
    "path",
    [pytest.param(gt.LINEAR_GAUSSIAN, marks=pytest.mark.slow), gt.SKEWED_GAMMA],
    ids=["linear_gaussian", "skewed_gamma"],
)
DIRECTIONS = pytest.mark.parametrize("direction", checks.RUNS)
BACKWARD_IS_SLOW = pytest.mark.parametrize(
    "direction", ["forward", pytest.param("reverse", marks=pytest.mark.slow)]
)

LADDER = np.array([0.0, 0.1, 0.4, 1.0])


def log_normal(z, mean, scale):
    return jnp.sum(jax.scipy.stats.norm.logpdf(z, mean, scale))


TARGET = te.TemperedTarget(lambda z: log_normal(z, 0, 1), lambda z: log_normal(z, 1, 0.5))


@pytest.mark.statistical
@ONE_QUICK
@DIRECTIONS
def test_weights_are_unbiased(path, direction):
    checks.weights_are_unbiased(path, direction, num_steps=3)


def test_weights_are_the_sums_they_should_be():
    checks.weights_are_the_sums_they_should_be()


@pytest.mark.statistical
def test_moves_are_at_their_temperatures():
    checks.moves_are_at_their_temperatures()


@pytest.mark.slow
@pytest.mark.statistical
@PATHS
def test_bounds_are_on_their_sides_and_close(path):
    checks.bounds_are_on_their_sides_and_close(path)


@pytest.mark.statistical
@ONE_QUICK
@DIRECTIONS
def test_standard_errors_are_honest(path, direction):
    checks.calibration(path, direction)


def test_evaluations_are_one_a_step():
    checks.evaluations_are_one_a_step()


def test_step_sizes_are_tuned():
    checks.step_sizes_are_tuned()


@pytest.mark.statistical
def test_a_latent_variable_repeated_bounds_the_evidence_of_its_data_from_above():
    """Data sets of z ~ prior, x ~ p(x|z): the one z bounds log p(x), on average over data sets."""
    num_sets, copies, ladder = 1_000, 4, te.schedules.power(4, 2.0)
    rng = gt.rng(20)
    z = rng.standard_normal(num_sets)
    x = z + 0.3 * rng.standard_normal(num_sets)
    truth = -0.5 * np.log(2 * np.pi * 1.09) - 0.5 * x**2 / 1.09
    prior_draws = rng.standard_normal((num_sets, copies))

    @jax.jit
    @jax.vmap
    def bounds(key, x, z, prior_draws):
        target = te.TemperedTarget(lambda z: log_normal(z, 0, 1), lambda z: log_normal(z, x, 0.3))
        repeated = jnp.full(copies, z)
        result = te.bidirectional_bounds(key, target, prior_draws, repeated, ladder, 0.1)
        return result.lower, result.upper, result.gap

    keys = jax.random.split(gt.key(20), num_sets)
    arrays = (jnp.asarray(a, jnp.float32) for a in (x, z, prior_draws))
    lower, upper, gap = (np.asarray(v, np.float64) for v in bounds(keys, *arrays))
    assert gt.z_scores(truth - lower, 0.0) > gt.z_threshold(1, num_sets)
    assert gt.z_scores(upper - truth, 0.0) > gt.z_threshold(1, num_sets)
    np.testing.assert_allclose(gap, upper - lower, atol=1e-4)


def test_both_runs_of_the_bounds_are_those_of_the_two_directions():
    prior_draws, posterior_draws = jnp.zeros((3, 1)), jnp.ones((5, 1))
    both = te.bidirectional_bounds(
        jax.random.key(0), TARGET, prior_draws, posterior_draws, LADDER, 0.1, num_steps=2
    )
    assert both.forward.log_weights.shape == (3,)
    assert both.reverse.log_weights.shape == (5,)
    assert both.lower == both.forward.estimate.log_evidence
    assert both.upper == both.reverse.estimate.log_evidence
    assert both.forward.acceptance_rate.shape == both.reverse.acceptance_rate.shape == (3,)


@BACKWARD_IS_SLOW
def test_one_trace_serves_all_ladders_and_step_sizes(direction):
    traces = []

    @jax.jit
    def run(key, starts, ladder, step_size):
        traces.append(direction)
        return checks.RUNS[direction](key, TARGET, starts, ladder, step_size).log_weights

    starts = jnp.linspace(-1, 1, 6)[:, None]
    weights = {
        tuple(np.asarray(run(jax.random.key(0), starts, te.schedules.power(4, p), h)))
        for p, h in ((1.0, jnp.full(4, 0.1)), (3.0, jnp.full(4, 0.1)), (3.0, jnp.full(4, 0.2)))
    }
    assert len(weights) == 3
    assert len(traces) == 1


@BACKWARD_IS_SLOW
def test_jit_changes_nothing(direction):
    arguments = jax.random.key(0), TARGET, jnp.linspace(-1, 1, 6)[:, None], LADDER, 0.1
    plain, compiled = (runs[direction](*arguments) for runs in (checks.RUNS, checks.JITTED))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), plain, compiled
    )


@BACKWARD_IS_SLOW
def test_a_nested_position_is_that_of_its_pieces(direction):
    """Two leaves: the laws of two separate targets, with their own metrics and noise."""
    starts = {"a": jnp.ones((40, 2)), "b": (jnp.ones(40),)}
    target = te.TemperedTarget(
        lambda z: log_normal(z["a"], 0, 1) + log_normal(z["b"][0], 0, 1),
        lambda z: log_normal(z["a"], 1, 0.5) + log_normal(z["b"][0], 1, 0.5),
    )
    still = checks.JITTED[direction](jax.random.key(0), target, starts, LADDER, 1e-30)
    sign = checks.SIGN[direction]
    expected = sign * 3 * float(log_normal(1.0, 1, 0.5))
    np.testing.assert_allclose(still.log_weights, np.full(40, expected), rtol=1e-5)
    moved = checks.JITTED[direction](jax.random.key(0), target, starts, LADDER, 0.1)
    assert jax.tree.structure(moved.state.position) == jax.tree.structure(starts)
    assert np.all(moved.acceptance_rate > 0.5)


@pytest.mark.slow
@DIRECTIONS
def test_double_precision_stays_double(direction):
    with jax.enable_x64(True):
        starts = np.linspace(-1, 1, 6)[:, None]
        result = checks.JITTED[direction](jax.random.key(0), TARGET, starts, LADDER, 0.1)
        assert {leaf.dtype for leaf in jax.tree.leaves(result)} == {jnp.dtype("float64")}
        single = checks.JITTED[direction](
            jax.random.key(0), TARGET, starts.astype(np.float32), LADDER, 0.1
        )
        assert single.log_weights.dtype == single.state.position.dtype == jnp.float32
        te.annealing_step_sizes(
            jax.random.key(0), TARGET, starts, LADDER.astype(np.float32), num_steps=2
        )


def test_long_ladders_lose_nothing_to_single_precision():
    """A thousand temperatures that telescope to a known sum of some -1e5 nats."""
    ladder = te.schedules.power(1_000, 3.0)
    target = te.TemperedTarget(TARGET.logprior_fn, lambda z: -1e5 * (1 + 0 * jnp.sum(z)))
    result = checks.JITTED["forward"](jax.random.key(0), target, jnp.zeros((2, 1)), ladder, 0.1)
    np.testing.assert_allclose(result.log_weights, -1e5, rtol=1e-5)


@pytest.mark.parametrize(
    "metric",
    [
        jnp.array([[4.0, 0.25]]),
        jnp.tile(jnp.array([4.0, 0.25]), (4, 1)),
    ],
    ids=["behind 1", "behind K"],
)
def test_a_metric_is_a_change_of_coordinates(metric):
    """With D = A^2, A times the plain walk on the law of A^-1 z, noise for noise."""
    scale = jnp.array([2.0, 0.5])
    plain = te.TemperedTarget(*(lambda z, fn=fn: fn(scale * z) for fn in TARGET))
    starts = jax.random.normal(jax.random.key(1), (50, 2))
    a = checks.JITTED["forward"](jax.random.key(0), plain, starts / scale, LADDER, 0.1)
    b = checks.JITTED["forward"](
        jax.random.key(0), TARGET, starts, LADDER, 0.1, inverse_mass_matrix=metric
    )
    np.testing.assert_allclose(a.log_weights, b.log_weights, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scale * a.state.position, b.state.position, rtol=1e-4, atol=1e-4)


def test_the_tuning_of_a_pilot_fits_by_name():
    tuning = te.pilot.Tuning(jnp.asarray(LADDER), jnp.full(4, 0.1), jnp.ones((4, 2)))
    starts = jnp.ones((5, 2))
    result = te.annealed_importance_sampling(jax.random.key(2), TARGET, starts, **tuning._asdict())
    plain = checks.JITTED["forward"](jax.random.key(2), TARGET, starts, LADDER, 0.1)
    np.testing.assert_allclose(result.log_weights, plain.log_weights, rtol=1e-5)


@pytest.mark.statistical
def test_impossible_prior_draws_have_no_weight():
    """Zero likelihood, with a gradient that is none, on the half line: Z is that of the other."""
    target = te.TemperedTarget(
        lambda z: log_normal(z, 0, 1), lambda z: jnp.where(z > 0, jnp.log(jnp.sqrt(z)), -jnp.inf)
    )
    draws = jnp.asarray(gt.rng(30).standard_normal(20_000), jnp.float32)
    assert np.isnan(jax.vmap(jax.grad(target.loglikelihood_fn))(draws)[draws < 0]).any()
    result = checks.JITTED["forward"](gt.key(30), target, draws, LADDER, 0.1)
    weights = np.exp(np.asarray(result.log_weights, np.float64))
    np.testing.assert_array_equal(weights == 0, draws <= 0)
    # E[sqrt(z); z > 0] of a standard normal.
    gt.assert_expectations(weights, 2**-0.75 / np.sqrt(np.pi) * 1.2254167024651776, "half line")


def test_unadjusted_transitions_are_refused():
    batched = te.TemperedTarget(*map(jax.vmap, TARGET))
    state = te.kernels.tempered.init(jnp.zeros((3, 1)), batched)
    tuning = te.pilot.Tuning(jnp.asarray(LADDER), jnp.full(4, 0.1), None)
    arguments = (state, tuning, 1)

    def ula(rung):
        return te.tempered_ula(batched, rung.temperatures, rung.step_size)

    def mala(rung):
        return te.tempered_mala(batched, rung.temperatures, rung.step_size)

    anneal = te.evidence.anneal_weights
    weights, *_ = anneal(jax.random.key(0), mala, *arguments, direction="forward")
    assert weights.shape == (3,)
    with pytest.raises(te.InputError, match="an unadjusted one leaves no q_t invariant"):
        anneal(jax.random.key(0), ula, *arguments, direction="forward")
    with pytest.raises(te.InputError, match="direction must be 'forward' or 'reverse', got 'up'"):
        anneal(jax.random.key(0), mala, *arguments, direction="up")


GOOD = {"starts": jnp.zeros((5, 2)), "temperatures": LADDER, "step_size": 0.1}


@DIRECTIONS
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rng_key": 0}, "rng_key must be one key"),
        ({"temperatures": LADDER[:-1]}, "temperatures must increase strictly from 0 to 1"),
        ({"temperatures": LADDER[::-1]}, "temperatures must increase strictly from 0 to 1"),
        ({"step_size": 0.0}, "step_size must be positive and finite"),
        ({"step_size": jnp.ones(3)}, r"step_size must be a scalar or have shape \(4,\), got \(3,"),
        ({"num_steps": 0}, "num_steps must be an integer >= 1, got 0"),
        ({"starts": jnp.zeros(())}, "must share one leading axis"),
        ({"starts": jnp.zeros((5, 2), int)}, "position must have a floating dtype, got int32"),
        ({"starts": {"a": jnp.zeros(3), "b": jnp.zeros(2)}}, "must share one leading axis"),
        (
            {"starts": jnp.zeros((5, 2)).at[3, 1].set(jnp.nan)},
            r"position must be finite at the initial position of chain 3, got nan",
        ),
        ({"inverse_mass_matrix": jnp.ones(3)}, "inverse_mass_matrix must be like one position"),
        ({"inverse_mass_matrix": jnp.ones((3, 2))}, "behind an axis of 1 or of the 4 temperatures"),
        ({"inverse_mass_matrix": {"a": jnp.ones(2)}}, "inverse_mass_matrix must be like one"),
        ({"inverse_mass_matrix": -jnp.ones(2)}, "inverse_mass_matrix must be positive"),
    ],
)
def test_bad_arguments_are_named(direction, changes, message):
    arguments = {"rng_key": jax.random.key(0), **GOOD, **changes}
    first = [arguments.pop(name) for name in ("rng_key", "starts", "temperatures", "step_size")]
    with pytest.raises(te.InputError, match=message):
        checks.RUNS[direction](first[0], TARGET, *first[1:], **arguments)


@DIRECTIONS
def test_a_chain_that_starts_at_nan_is_named(direction):
    """At t = 0 no kernel sees the likelihood; the weight does."""
    target = te.TemperedTarget(TARGET.logprior_fn, lambda z: jnp.sum(jnp.log(z)))
    starts = jnp.array([[1.0], [2.0], [-1.0]])
    with pytest.raises(te.InputError, match=r"loglikelihood_fn must be finite .* of chain 2, got"):
        checks.RUNS[direction](jax.random.key(0), target, starts, LADDER, 0.1)


def test_a_posterior_draw_of_zero_likelihood_is_named():
    target = te.TemperedTarget(TARGET.logprior_fn, lambda z: jnp.sum(jnp.log(z)))
    with pytest.raises(te.InputError, match=r"finite log-likelihood, got -inf of chain 1"):
        te.reverse_annealed_importance_sampling(
            jax.random.key(0), target, jnp.array([[1.0], [0.0]]), LADDER, 0.1
        )


def test_a_target_of_many_positions_is_refused():
    target = te.TemperedTarget(lambda z: -jnp.sum(z**2, -1), lambda z: -jnp.sum(z**2, -1))
    with pytest.raises(te.InputError, match=r"must return a scalar for one position, got shape"):
        te.annealed_importance_sampling(
            jax.random.key(0), target, jnp.zeros((4, 3, 2)), LADDER, 0.1
        )


def test_bad_arguments_of_the_tuning_are_named():
    starts = jnp.zeros((5, 2))
    with pytest.raises(te.InputError, match="target_acceptance must be between 0 and 1"):
        te.annealing_step_sizes(jax.random.key(0), TARGET, starts, LADDER, target_acceptance=1.5)
    with pytest.raises(te.InputError, match="num_steps must be an integer >= 1"):
        te.annealing_step_sizes(jax.random.key(0), TARGET, starts, LADDER, num_steps=0)
