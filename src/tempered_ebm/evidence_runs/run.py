"""The evidence in one call: pilot, replica exchange with everything frozen, and a report."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from tempered_ebm import checks, diagnostics, evidence, pilot, streaming
from tempered_ebm.evidence_runs import ensembles, report
from tempered_ebm.evidence_runs.report import Cost, EvidenceReport
from tempered_ebm.kernels import replica_exchange
from tempered_ebm.target import TemperedTarget
from tempered_ebm.types import Position, PRNGKey

if TYPE_CHECKING:
    from blackjax.base import SamplingAlgorithm


def log_evidence(
    rng_key: PRNGKey,
    target: TemperedTarget,
    initial_positions: Position,
    *,
    num_temperatures: int = 16,
    num_samples: int = 1000,
    target_standard_error: float | None = None,
    max_num_samples: int = 64_000,
    ladder: pilot.LadderRule = "equal_length",
    pilot_rounds: int = 6,
    pilot_steps: int = 100,
) -> EvidenceReport:
    r"""Estimate log p(x), with reasons to believe it or not.

    A pilot run tunes a ladder of equal thermodynamic length, step sizes and metrics
    (:func:`tempered_ebm.pilot.run`). Then, with everything frozen, replica exchange runs
    one ensemble for every initial position, and MBAR turns the log-likelihoods into
    log p(x), the default because it has no error of discretisation; every other
    estimator stands beside it in the report.

    Args:
        rng_key: key of the whole run.
        target: *normalised* log prior and *full* log-likelihood. Missing constants are
            missing in the result.
        initial_positions: where the ensembles start, pytree with a leading axis of N;
            draws from the prior are best, and 16 or more give the most honest errors.
        num_temperatures: length of the ladder, at least 2.
        num_samples: steps per ensemble; with ``target_standard_error`` the first ones.
        target_standard_error: go on, doubling the run, until the standard error in nats is
            at most this.
        max_num_samples: steps per ensemble at which to give up on it.
        ladder: what the pilot makes equal along the ladder.
        pilot_rounds: rounds of the pilot, each twice as long as the last.
        pilot_steps: steps of its first round.

    Returns:
        The report; ``print`` it. With ``target_standard_error``, an interrupt (Ctrl-C) after
        the first ``num_samples`` steps ends the run and reports what there is.

    Raises:
        InputError: if an argument is out of range, the initial positions do not share a
            leading axis, or a chain starts at NaN.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> target = te.TemperedTarget(
        ...     lambda z: jax.scipy.stats.norm.logpdf(z).sum(),
        ...     lambda z: jax.scipy.stats.norm.logpdf(2.0, z, 0.5).sum(),
        ... )
        >>> prior_draws = jax.random.normal(jax.random.key(0), (16, 1))
        >>> report = te.log_evidence(
        ...     jax.random.key(1), target, prior_draws, num_temperatures=6, num_samples=400
        ... )
        >>> truth = jax.scipy.stats.norm.logpdf(2.0, 0.0, jnp.sqrt(1.25))
        >>> bool(abs(report.log_evidence - truth) < 5 * report.standard_error)
        True
    """
    checks.at_least("num_samples", num_samples, 10)
    checks.at_least("max_num_samples", max_num_samples, num_samples)
    if target_standard_error is not None:
        checks.positive("target_standard_error", target_standard_error)
    num_ensembles = ensembles.num_ensembles(initial_positions)
    batched = TemperedTarget(*(ensembles.per_ensemble(fn, initial_positions) for fn in target))
    started = time.perf_counter()
    pilot_key, run_key = jax.random.split(rng_key)
    tuned = pilot.run(
        pilot_key,
        batched,
        initial_positions,
        num_temperatures,
        num_rounds=pilot_rounds,
        num_steps=pilot_steps,
        ladder=ladder,
    )
    pilot_steps_made = 1 + 2 * (pilot_steps // 2) * (2**pilot_rounds - 1)
    kernel = replica_exchange.as_top_level_api(batched, **tuned.tuning._asdict())
    recorder = _Recorder(kernel, tuned.state, num_samples)
    stopped = recorder.run(
        run_key, tuned.tuning.temperatures, target_standard_error, max_num_samples
    )
    steps_made = recorder.num_steps
    evaluations = num_ensembles * num_temperatures
    return report.build(
        tuned.tuning.temperatures,
        recorder.draws(),
        swap_acceptance_rate=recorder.rates.mean,
        flow=recorder.flow,
        stopped=stopped,
        cost=Cost(
            evaluations * (pilot_steps_made + steps_made),
            evaluations * pilot_steps_made,
            time.perf_counter() - started,
        ),
    )


class _Recorder:
    """Replica exchange in blocks of one length, compiled once, keeping what the report needs."""

    def __init__(self, kernel: SamplingAlgorithm, state: Any, block: int) -> None:
        self._block = block
        self._blocks: list[Array] = []
        self._advance = self._compiled(kernel, block)
        self._state = state
        self.flow = diagnostics.init_replica_flow(state.replica)
        self.rates = streaming.init_moments(state.loglikelihood[1:, 0])

    @staticmethod
    def _compiled(kernel: SamplingAlgorithm, block: int) -> Callable:
        @jax.jit
        def advance(rng_key: PRNGKey, carry: tuple) -> tuple:
            def step(carry: tuple, key: PRNGKey) -> tuple:
                state, flow, rates = carry
                state, info = kernel.step(key, state)
                flow = diagnostics.update_replica_flow(flow, state.replica)
                rates = streaming.update_moments(rates, info.swap_acceptance_rate)
                return (state, flow, rates), state.loglikelihood

            return jax.lax.scan(step, carry, jax.random.split(rng_key, block))

        return advance

    @property
    def num_steps(self) -> int:
        return self._block * len(self._blocks)

    def draws(self) -> Array:
        return jnp.swapaxes(jnp.concatenate(self._blocks), 0, 1)

    def _one_block(self, rng_key: PRNGKey) -> None:
        key = jax.random.fold_in(rng_key, len(self._blocks))
        carry, block = self._advance(key, (self._state, self.flow, self.rates))
        jax.block_until_ready(block)
        self._state, self.flow, self.rates = carry
        self._blocks.append(block)

    def run(
        self,
        rng_key: PRNGKey,
        temperatures: Array,
        target_error: float | None,
        max_num_steps: int,
    ) -> str:
        """Record one block, or double the record until the error is small; say why it ended."""
        self._one_block(rng_key)
        if target_error is None:
            return f"after the requested {self.num_steps} steps"
        try:
            while True:
                error = float(_standard_error(temperatures, self.draws()))
                if error <= target_error:
                    return f"standard error {error:.3g} at most {target_error:g} as requested"
                if 2 * self.num_steps > max_num_steps:
                    return (
                        f"budget of {max_num_steps} steps spent at a standard error of "
                        f"{error:.3g}; {target_error:g} was requested"
                    )
                for _ in range(len(self._blocks)):
                    self._one_block(rng_key)
        except KeyboardInterrupt:
            return f"interrupted after {self.num_steps} steps"


@jax.jit
def _standard_error(temperatures: Array, draws: Array) -> Array:
    return evidence.mbar(temperatures, draws).standard_error
