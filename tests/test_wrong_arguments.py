"""Text, bytes, objects and complex numbers in the place of any public argument of the core."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te

KEY = jax.random.key(0)
LADDER = te.schedules.uniform(3)
PAIR = jnp.zeros((3, 2))
BAD = ("0.1", b"abc", object(), 1j, np.array("abc"), [1.0, [2.0, 3.0]])


def logdensity(z):
    return -0.5 * jnp.sum(z**2, -1)


TARGET = te.TemperedTarget(logdensity, logdensity)
KERNEL = te.mala(logdensity, 0.1)
LADDERS = te.replica_exchange(TARGET, LADDER, 0.1)
LOOPS = (te.inference.trace, te.inference.run_with_moments, te.inference.run_with_covariance)
PARAMETERS = {"step_size": jnp.ones(1)}


def state():
    return KERNEL.init(PAIR)


def samplers(make, name):
    """The same argument of both kernels on a density, or of all three on a target."""
    kinds = {
        "plain": lambda **k: [te.ula(logdensity, **k), te.mala(logdensity, **k)],
        "tempered": lambda **k: [
            te.tempered_ula(TARGET, 0.5, **k),
            te.tempered_mala(TARGET, 0.5, **k),
            te.replica_exchange(TARGET, LADDER, **k),
        ],
    }
    defaults = {"step_size": 0.1}
    return {
        f"{kind}, {name}": (name, lambda bad, k=kind: make(kinds[k], defaults | {name: bad}))
        for kind in kinds
    }


def each(build, arguments):
    return build(**arguments)


FUNCTIONS = {
    "ula, logdensity_fn": ("logdensity_fn", lambda bad: te.ula(bad, 0.1)),
    "mala, logdensity_fn": ("logdensity_fn", lambda bad: te.mala(bad, 0.1)),
    "preset": ("logdensity_fn", te.presets.jem.kernel),
    "logprior_fn": (
        "logprior_fn",
        lambda bad: te.tempered_ula(te.TemperedTarget(bad, logdensity), 0.5, 0.1),
    ),
    "loglikelihood_fn": (
        "loglikelihood_fn",
        lambda bad: te.replica_exchange(te.TemperedTarget(logdensity, bad), LADDER, 0.1),
    ),
    "tempered_ula, target": ("target", lambda bad: te.tempered_ula(bad, 0.5, 0.1)),
    "tempered_mala, target": ("target", lambda bad: te.tempered_mala(bad, 0.5, 0.1)),
    "replica_exchange, target": ("target", lambda bad: te.replica_exchange(bad, LADDER, 0.1)),
    "pilot, target": ("target", lambda bad: te.pilot.run(KEY, bad, PAIR, 3)),
    "drift": ("drift", lambda bad: te.ula(logdensity, 0.1, drift=bad)),
    "sample_prior": (
        "sample_prior",
        lambda bad: te.replica_exchange(TARGET, LADDER, 0.1, sample_prior=bad),
    ),
    "metropolis": (
        "metropolis",
        lambda bad: te.replica_exchange(TARGET, LADDER, 0.1, metropolis=bad),
    ),
    "pilot, metropolis": (
        "metropolis",
        lambda bad: te.pilot.run(KEY, TARGET, PAIR, 3, metropolis=bad),
    ),
    "mcmc_step_fn": (
        "mcmc_step_fn",
        lambda bad: te.replica_exchange_from_mcmc(TARGET, LADDER, bad, te.mala.init, PARAMETERS),
    ),
    "mcmc_init_fn": (
        "mcmc_init_fn",
        lambda bad: te.replica_exchange_from_mcmc(
            TARGET, LADDER, te.mala.build_kernel(), bad, PARAMETERS
        ),
    ),
    "mcmc_parameters": (
        "mcmc_parameters",
        lambda bad: te.replica_exchange_from_mcmc(
            TARGET, LADDER, te.mala.build_kernel(), te.mala.init, bad
        ),
    ),
    "advance, kernel": ("kernel", lambda bad: te.inference.advance(KEY, bad, state(), 3)),
    "short_run, kernel": ("kernel", lambda bad: te.inference.short_run(KEY, bad, PAIR, 3)),
    "build_kernel": (
        "build_kernel",
        lambda bad: te.adaptation.dual_averaging(KEY, bad, state(), jnp.full(3, 0.1), 3),
    ),
    "trace of energies": ("trace", te.diagnostics.energy_drift),
    "mesh": ("mesh", lambda bad: te.sharding.shard_chains(PAIR, bad)),
    "devices": ("devices", te.sharding.data_mesh),
    **{
        f"{loop.__name__}, kernel": ("kernel", lambda bad, loop=loop: loop(KEY, bad, state(), 3))
        for loop in LOOPS
    },
    **{
        f"{loop.__name__}, statistic_fn": (
            "statistic_fn",
            lambda bad, loop=loop: loop(KEY, KERNEL, state(), 3, statistic_fn=bad),
        )
        for loop in LOOPS
    },
    **samplers(each, "noise"),
}
NUMBERS = {
    **samplers(each, "step_size"),
    "noise_temperature": (
        "noise_temperature",
        lambda bad: te.ula(logdensity, 0.1, noise_temperature=bad),
    ),
    "noise_scale": ("noise_scale", lambda bad: te.ula(logdensity, 0.1, noise_scale=bad)),
    "temperature": ("temperature", lambda bad: te.tempered_ula(TARGET, bad, 0.1)),
    "temperatures": ("temperatures", lambda bad: te.replica_exchange(TARGET, bad, 0.1)),
    "swap_every": (
        "swap_every",
        lambda bad: te.replica_exchange(TARGET, LADDER, 0.1, swap_every=bad),
    ),
    "mala, position": ("position", lambda bad: KERNEL.init(bad)),
    "tempered, position": ("position", lambda bad: te.tempered_mala(TARGET, 0.5, 0.1).init(bad)),
    "replica_exchange, position": ("position", LADDERS.init),
    "pilot, position": ("position", lambda bad: te.pilot.run(KEY, TARGET, bad, 3)),
    "rng_key of a step": ("rng_key", lambda bad: KERNEL.step(bad, state())),
    "rng_key of a loop": ("rng_key", lambda bad: te.inference.advance(bad, KERNEL, state(), 3)),
    "rng_key of a pilot": ("rng_key", lambda bad: te.pilot.run(bad, TARGET, PAIR, 3)),
    "num_steps": ("num_steps", lambda bad: te.inference.short_run(KEY, KERNEL, PAIR, bad)),
    "K": ("K", te.schedules.uniform),
    "p": ("p", lambda bad: te.schedules.power(3, bad)),
    "a": ("a", lambda bad: te.schedules.sigmoid(3, bad)),
    "t_min": ("t_min", lambda bad: te.schedules.geometric(3, bad)),
    "alpha": ("alpha", lambda bad: te.schedules.beta(3, bad)),
    "p_min": ("p_min", lambda bad: te.schedules.cyclic_power(10, bad, 2.0)),
    "ladder of a pilot": (
        "temperatures",
        lambda bad: te.schedules.equal_length(bad, jnp.ones(3), 3),
    ),
    "variances": (
        "loglikelihood_variances",
        lambda bad: te.schedules.equal_length(LADDER, bad, 3),
    ),
    "rates": ("swap_acceptance_rates", lambda bad: te.schedules.equal_rejection(LADDER, bad, 3)),
    "rates of a barrier": (
        "swap_acceptance_rates",
        lambda bad: te.diagnostics.communication_barrier(LADDER, bad),
    ),
    "replica": ("replica", te.diagnostics.init_replica_flow),
    "replicas": ("replicas", te.diagnostics.replica_flow),
    "positions": ("positions", lambda bad: te.diagnostics.mode_occupancy(bad, PAIR)),
    "modes": ("modes", lambda bad: te.diagnostics.mode_occupancy(PAIR, bad)),
    "virial, position": ("position", lambda bad: te.diagnostics.virial_temperature(bad, PAIR)),
    "trace.energy": (
        "trace.energy",
        lambda bad: te.diagnostics.energy_drift(te.diagnostics.EnergyTrace(bad, bad)),
    ),
    "decay": ("decay", lambda bad: te.kernels.preconditioning.rmsprop(bad)),
    "damping": ("damping", lambda bad: te.kernels.preconditioning.rmsprop(0.9, bad)),
    "effective_temperature": ("step_size", lambda bad: te.effective_temperature(bad, 0.1)),
    "step_size_from_noise_scale": ("noise_scale", te.step_size_from_noise_scale),
    "initial_step_size": (
        "initial_step_size",
        lambda bad: te.adaptation.dual_averaging(
            KEY, lambda h: te.mala(logdensity, h), state(), bad, 3
        ),
    ),
    "target_acceptance": ("target_acceptance", te.adaptation.step_size_rule),
}


@pytest.mark.parametrize("case", FUNCTIONS | NUMBERS)
def test_a_wrong_argument_is_named_with_what_was_expected(case):
    name, call = (FUNCTIONS | NUMBERS)[case]
    # Lists in lists are a position: a pytree.
    for bad in BAD[: 5 if name == "position" else None]:
        with pytest.raises(te.InputError, match=rf"^{name}\b.* (must|expected) "):
            call(bad)


@pytest.mark.parametrize(
    "call",
    [KERNEL.init, LADDERS.init, lambda z: te.inference.short_run(KEY, KERNEL, z, 1)],
    ids=["mala", "replica_exchange", "short_run"],
)
def test_images_of_bytes_are_no_position(call):
    with pytest.raises(te.InputError, match=r"^position must have a floating dtype, got uint8"):
        call(np.zeros((3, 4), np.uint8))
