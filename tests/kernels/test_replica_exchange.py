import dataclasses
import functools
from typing import NamedTuple

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tempered_ebm as te
from tests import ground_truths as gt
from tests.kernels import checks_replica_exchange as checks

PATHS = {"gamma": gt.SKEWED_GAMMA, "gaussian": gt.LINEAR_GAUSSIAN}
BIMODAL = te.TemperedTarget(
    logprior_fn=lambda z: -0.5 * jnp.sum(z**2, -1) / 9.0,
    loglikelihood_fn=lambda z: jnp.logaddexp(
        -0.5 * jnp.sum((z - 4.0) ** 2, -1) / 0.09 + jnp.log(0.7),
        -0.5 * jnp.sum((z + 4.0) ** 2, -1) / 0.09 + jnp.log(0.3),
    ),
)


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("path", "num_rungs"),
    [("gamma", 5), ("gaussian", 4), slow("gamma", 4), slow("gaussian", 5)],
)
def test_every_rung_keeps_its_law(path, num_rungs):
    checks.every_rung_keeps_its_law(PATHS[path], num_rungs)


@pytest.mark.statistical
@pytest.mark.parametrize("num_rungs", [slow(4), 5])
def test_swaps_happen_as_often_as_they_should(num_rungs):
    checks.swaps_happen_as_often_as_they_should(gt.LINEAR_GAUSSIAN, num_rungs)


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("path", ["gamma", "gaussian"])
def test_exact_draws_at_the_prior_keep_every_law(path):
    checks.exact_draws_at_the_prior_keep_every_law(PATHS[path], 4)


def test_exact_draws_are_not_for_unadjusted_moves():
    path = gt.SKEWED_GAMMA
    with pytest.raises(te.InputError, match="sample_prior must be None for unadjusted moves"):
        te.replica_exchange(
            path.target,
            checks.LADDERS[4],
            0.1,
            metropolis=False,
            sample_prior=checks.prior_sampler(path),
        )


@pytest.mark.slow
@pytest.mark.parametrize("num_rungs", [4, 5])
def test_caches_follow_their_positions(num_rungs):
    checks.caches_follow_their_positions(gt.LINEAR_GAUSSIAN, num_rungs)


@pytest.mark.parametrize("num_rungs", [4, slow(5)])
def test_replicas_are_permuted_and_both_parities_swap(num_rungs):
    checks.replicas_are_permuted_and_both_parities_swap(gt.LINEAR_GAUSSIAN, num_rungs)


def test_swaps_move_and_never_copy():
    checks.swaps_move_and_never_copy(gt.LINEAR_GAUSSIAN, 5)


@pytest.mark.statistical
def test_each_ladder_swaps_on_its_own():
    checks.each_ladder_swaps_on_its_own(gt.SKEWED_GAMMA, 4)


def test_a_swap_evaluates_nothing_and_one_trace_serves_every_ladder():
    evaluated = []
    target = te.TemperedTarget(
        lambda z: -0.5 * jnp.sum(z**2), lambda z: (evaluated.append(1), -jnp.sum(z**2))[1]
    )

    @jax.jit
    def step(key, state, temperatures, step_size):
        return te.replica_exchange(target, temperatures, step_size).step(key, state)

    state = te.replica_exchange(target, te.schedules.uniform(4), 0.1).init(jnp.zeros((4, 2)))
    evaluated.clear()
    for p in (1.0, 2.0):
        state, _ = step(jax.random.key(0), state, te.schedules.power(4, p), 0.1 * p)
    assert len(evaluated) == 1


@pytest.mark.statistical
def test_every_data_point_has_a_ladder_of_its_own():
    """Three observations in one batch, each behind many ladders: every one finds its posterior."""
    base, ladder = gt.LINEAR_GAUSSIAN, checks.LADDERS[4]
    paths = [
        dataclasses.replace(base, x=np.asarray(x))
        for x in ((1.5, -0.7, 2.0), (-3.0, 0.5, 0.0), (0.0, 4.0, -1.0))
    ]
    xs = jnp.stack([jnp.asarray(path.x - path.b, jnp.float32) for path in paths])
    W = jnp.asarray(base.W, jnp.float32)
    target = te.TemperedTarget(
        base.target.logprior_fn,
        lambda z: base.constant - 0.5 * jnp.sum((xs - z @ W.T) ** 2, -1) / base.s2,
    )
    rng = gt.rng(0)
    draws = [[path.sample(rng, t, 20_000) for path in paths] for t in ladder]
    start = jnp.asarray(np.array(draws).swapaxes(1, 2), jnp.float32)
    kernel = te.replica_exchange(target, ladder, base.step_size)
    state = jax.jit(lambda key, z: te.inference.short_run(key, kernel, z, 5))(gt.key(0), start)
    assert state.replica.shape == (4, 20_000, 3)
    assert np.mean(np.asarray(state.replica) != np.arange(4)[:, None, None]) > 0.3
    for k, t in enumerate(ladder):
        for i, path in enumerate(paths):
            end = np.asarray(state.position[k, :, i], np.float64)
            gt.assert_expectations(path.statistics(end), path.expected(t), f"t={t}, x={path.x}")


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("build", [checks.hamiltonian, checks.preconditioned])
def test_foreign_kernels_keep_the_law(build):
    checks.foreign_kernels_keep_the_law(build, gt.LINEAR_GAUSSIAN, 5)


@pytest.mark.slow
def test_any_kernel_in_the_shape_of_blackjax_moves_the_rungs():
    """BlackJAX's own and ours, with their memories: momenta, slices, drifts, counters."""
    target = te.TemperedTarget(lambda z: -0.5 * jnp.sum(z**2), lambda z: -jnp.sum((z - 1) ** 2))
    hmc = blackjax.smc.extend_params({"inverse_mass_matrix": jnp.ones(2)})
    shared = {"step_size": jnp.array([0.1])}
    drift = optax.clip_by_global_norm(1.0)
    kernels = {
        "nuts": (blackjax.nuts.build_kernel(), blackjax.nuts.init, hmc | shared),
        "barker": (blackjax.barker_proposal.build_kernel(), blackjax.barker_proposal.init, shared),
        "mala": (blackjax.mala.build_kernel(), blackjax.mala.init, shared),
        "ula": (
            te.kernels.ula.build_kernel(drift),
            lambda z, logdensity_fn: te.kernels.ula.init(z, logdensity_fn, drift),
            shared,
        ),
        "random_walk": (
            lambda key, state, logdensity_fn, scale: blackjax.rmh.build_kernel()(
                key,
                state,
                logdensity_fn,
                lambda key, z: z + scale * jax.random.normal(key, z.shape),
            ),
            blackjax.rmh.init,
            {"scale": jnp.linspace(0.2, 0.1, 3)},
        ),
    }
    for name, (step_fn, init_fn, parameters) in kernels.items():
        kernel = te.replica_exchange_from_mcmc(
            target, te.schedules.uniform(3), step_fn, init_fn, parameters
        )
        state, infos = blackjax.util.run_inference_algorithm(
            jax.random.key(0), kernel, 20, initial_position=jnp.zeros((3, 2))
        )
        fresh = jax.vmap(target.evaluate)(state.position)
        np.testing.assert_allclose(state.loglikelihood, fresh.loglikelihood, rtol=1e-5)
        assert np.asarray(infos[1].is_swapped).any(), name
        assert len(np.unique(infos[0].position[:, 0, 0])) > 5, name


def test_around_a_foreign_kernel_a_swap_evaluates_nothing():
    """The kernel's own evaluation and one more a step, whatever happens at the swap."""
    evaluated = []
    target = te.TemperedTarget(
        lambda z: -0.5 * jnp.sum(z**2), lambda z: (evaluated.append(1), -jnp.sum(z**2))[1]
    )
    kernel = te.replica_exchange_from_mcmc(
        target,
        te.schedules.uniform(4),
        blackjax.mala.build_kernel(),
        blackjax.mala.init,
        {"step_size": jnp.array([0.1])},
    )
    state = kernel.init(jnp.zeros((4, 2)))
    evaluated.clear()
    jax.jit(kernel.step)(jax.random.key(0), state)
    assert len(evaluated) == 2


def test_a_foreign_kernel_that_does_not_fit_is_named():
    target = te.TemperedTarget(lambda z: -0.5 * jnp.sum(z**2), lambda z: -jnp.sum(z**2))
    ladder, step_fn = te.schedules.uniform(4), blackjax.mala.build_kernel()
    for bad in (0.1, jnp.full(3, 0.1)):
        with pytest.raises(
            te.InputError, match="step_size must lead with an axis of 1 or of the 4"
        ):
            te.replica_exchange_from_mcmc(
                target, ladder, step_fn, blackjax.mala.init, {"step_size": bad}
            )

    class Odd(NamedTuple):
        position: jax.Array
        curvature: jax.Array

    kernel = te.replica_exchange_from_mcmc(
        target, ladder, step_fn, lambda z, logdensity_fn: Odd(z, z), {"step_size": jnp.ones(1)}
    )
    with pytest.raises(te.InputError, match=r"mcmc_init_fn must return a NamedTuple.*got Odd"):
        kernel.init(jnp.zeros((4, 2)))


@pytest.mark.statistical
@pytest.mark.slow
def test_the_cold_chain_visits_both_modes_where_plain_mala_stays():
    temperatures = te.schedules.geometric(12, 0.002)
    step_size = 0.5 / (1 / 9 + temperatures / 0.09)
    kernel = te.replica_exchange(BIMODAL, temperatures, step_size)
    start = jnp.full((12, 400, 1), 4.0)

    @jax.jit
    def occupancy(key):
        state, _ = te.inference.run_with_moments(key, kernel, jax.jit(kernel.init)(start), 1500)
        return te.inference.run_with_moments(
            jax.random.fold_in(key, 1), kernel, state, 1500,
            statistic_fn=lambda state, info: 1.0 * (state.position[-1, :, 0] > 0),
        )[1].mean  # fmt: skip

    gt.assert_expectations(np.asarray(occupancy(gt.key(0)))[:, None], 0.7)
    plain = te.tempered_mala(BIMODAL, 1.0, step_size[-1])
    state = te.inference.short_run(gt.key(0), plain, start[0], 3000)
    assert np.all(np.asarray(state.position) > 0)


def test_one_ladder_of_a_scalar_log_density_with_a_pytree_position():
    target = te.TemperedTarget(
        lambda z: -0.5 * (jnp.sum(z["a"] ** 2) + z["b"] ** 2), lambda z: -jnp.sum(z["a"] ** 2)
    )
    kernel = te.replica_exchange(target, te.schedules.uniform(3), jnp.array([0.3, 0.2, 0.1]))
    state = kernel.init({"a": jnp.ones((3, 2)), "b": jnp.zeros(3)})
    state, info = jax.jit(kernel.step)(jax.random.key(0), state)
    assert state.loglikelihood.shape == info.acceptance_rate.shape == (3,)
    assert info.swap_acceptance_rate.shape == (2,)


def test_unadjusted_local_moves_have_no_acceptance_rate():
    target = te.TemperedTarget(lambda z: -0.5 * jnp.sum(z**2), lambda z: -jnp.sum(z**2))
    kernel = te.replica_exchange(target, te.schedules.uniform(3), 0.1, metropolis=False)
    state = jax.jit(kernel.init)(jnp.zeros((3, 2)))
    _, info = jax.jit(kernel.step)(jax.random.key(0), state)
    assert not hasattr(info, "acceptance_rate")
    assert info.swap_acceptance_rate.shape == (2,)


def test_swaps_come_every_so_often():
    target = te.TemperedTarget(lambda z: -0.5 * jnp.sum(z**2), lambda z: 0.0 * jnp.sum(z))
    kernel = te.replica_exchange(target, te.schedules.uniform(4), 0.1, swap_every=3)
    state, tried = jax.jit(kernel.init)(jnp.zeros((4, 2))), []
    step = jax.jit(kernel.step)
    for i in range(6):
        state, info = step(jax.random.key(i), state)
        tried.append(np.asarray(info.is_swapped).tolist())
    nothing = [False] * 3
    assert tried == [[True, False, True], nothing, nothing, [False, True, False], nothing, nothing]


def test_it_runs_in_the_loop_of_blackjax():
    target = te.TemperedTarget(lambda z: -0.5 * jnp.sum(z**2), lambda z: -jnp.sum(z**2))
    kernel = te.replica_exchange(target, te.schedules.uniform(4), 0.1)
    state, (_, info) = blackjax.util.run_inference_algorithm(
        jax.random.key(0), kernel, 5, initial_position=jnp.zeros((4, 2))
    )
    assert int(state.num_steps) == 5
    assert info.swap_acceptance_rate.shape == (5, 3)


def test_bad_arguments_are_named():
    target = te.TemperedTarget(lambda z: -0.5 * jnp.sum(z**2), lambda z: -jnp.sum(z**2))
    ladder = te.schedules.uniform(4)
    with pytest.raises(te.InputError, match="temperatures must increase strictly"):
        te.replica_exchange(target, jnp.array([0.5, 1.0]), 0.1)
    with pytest.raises(te.InputError, match=r"step_size must be a scalar or have shape \(4,\)"):
        te.replica_exchange(target, ladder, jnp.ones(3))
    with pytest.raises(te.InputError, match="swap_every must be an integer >= 1, got 0"):
        te.replica_exchange(target, ladder, 0.1, swap_every=0)
    with pytest.raises(te.InputError, match="position must lead with the 4 temperatures, got 3"):
        te.replica_exchange(target, ladder, 0.1).init(jnp.zeros((3, 2)))
    with pytest.raises(te.InputError, match="must lead with one axis K"):
        te.replica_exchange(target, ladder, 0.1).init((jnp.zeros((4, 2)), jnp.zeros((3, 2))))


def test_at_the_prior_a_foreign_kernel_does_not_see_a_likelihood_without_gradient():
    """HMC differentiates the tempered density; at t = 0 a NaN gradient must not reach it."""
    target = te.TemperedTarget(
        lambda z: -0.5 * jnp.sum(z**2), lambda z: jnp.where(z[0] > -9, jnp.sum(jnp.sqrt(z)), 0.0)
    )
    kernel = te.replica_exchange_from_mcmc(
        target,
        te.schedules.uniform(2),
        blackjax.hmc.build_kernel(),
        blackjax.hmc.init,
        {
            "step_size": jnp.array([0.5]),
            **blackjax.smc.extend_params(
                {"inverse_mass_matrix": jnp.ones(2), "num_integration_steps": 3}
            ),
        },
    )
    rates = jax.jit(
        lambda key: te.inference.trace(
            key,
            kernel,
            jax.jit(kernel.init)(jnp.ones((2, 2))),
            50,
            statistic_fn=lambda state, info: info.acceptance_rate,
        )[1]
    )(jax.random.key(0))
    assert float(rates[:, 0].mean()) > 0.8


def test_kernels_with_a_key_at_the_start_are_bound_first():
    target = te.TemperedTarget(lambda z: -0.5 * jnp.sum(z**2), lambda z: -jnp.sum(z**2))
    ladder, step_fn = te.schedules.uniform(3), blackjax.ghmc.build_kernel()
    parameters = blackjax.smc.extend_params(
        {"step_size": 0.3, "momentum_inverse_scale": jnp.ones(2), "alpha": 0.5, "delta": 0.1}
    )
    bare = te.replica_exchange_from_mcmc(target, ladder, step_fn, blackjax.ghmc.init, parameters)
    with pytest.raises(te.InputError, match=r"have every other argument bound.*rng_key"):
        bare.init(jnp.zeros((3, 2)))
    init_fn = functools.partial(blackjax.ghmc.init, rng_key=jax.random.key(1))
    kernel = te.replica_exchange_from_mcmc(target, ladder, step_fn, init_fn, parameters)
    state, _ = jax.jit(kernel.step)(jax.random.key(0), kernel.init(jnp.zeros((3, 2))))
    assert np.isfinite(state.loglikelihood).all()
    with pytest.raises(te.InputError, match=r"proposal is a function.*functools\.partial"):
        te.replica_exchange_from_mcmc(target, ladder, step_fn, init_fn, {"proposal": jnp.sin})


def test_a_metric_is_one_diagonal_a_rung():
    """With as many rungs as coordinates a single diagonal must not pass for numbers of rungs."""
    target = te.TemperedTarget(lambda z: -0.5 * jnp.sum(z**2), lambda z: -jnp.sum(z**2))

    def start(metric):
        kernel = te.replica_exchange(
            target, te.schedules.uniform(2), 0.1, inverse_mass_matrix=metric
        )
        return kernel.init(jnp.zeros((2, 2)))

    for shared in (jnp.ones((1, 2)), jnp.ones((2, 2))):
        start(shared)
    for bad in (jnp.array([1.0, 100.0]), jnp.ones((2, 7)), {"a": jnp.ones((2, 2))}):
        with pytest.raises(te.InputError, match="inverse_mass_matrix"):
            start(bad)


def test_the_info_has_what_the_local_moves_report_and_no_more():
    target, ladder = gt.LINEAR_GAUSSIAN.target, te.schedules.uniform(3)

    def info_of(metropolis):
        kernel = te.replica_exchange(target, ladder, 0.1, metropolis=metropolis)
        return jax.eval_shape(
            lambda z: kernel.step(jax.random.key(0), kernel.init(z))[1], jnp.zeros((3, 2))
        )

    adjusted, unadjusted = info_of(True), info_of(False)
    assert type(adjusted) is type(unadjusted)
    assert adjusted._fields == ("local_info", "swap_acceptance_rate", "is_swapped")
    assert adjusted.acceptance_rate is adjusted.local_info.acceptance_rate
    assert adjusted.is_accepted is adjusted.local_info.is_accepted
    assert unadjusted.drift_norm is unadjusted.local_info.drift_norm
    for info, name in ((adjusted, "drift_norm"), (unadjusted, "acceptance_rate")):
        assert not hasattr(info, name)
        with pytest.raises(AttributeError, match=f"local moves report no {name}: their info is "):
            getattr(info, name)
