"""Travel of replicas along a ladder: the communication barrier and the flow between the ends."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from tempered_ebm import _checks as checks
from tempered_ebm import schedules
from tempered_ebm.errors import InputError

_NEITHER, _PRIOR, _POSTERIOR = 0, 1, 2


class CommunicationBarrier(NamedTuple):
    r"""Communication barrier and round-trip rates, from the rejection rates of a ladder.

    The two rates count round trips of *all K replicas of one ladder together, per round of
    swaps*. One replica makes a K-th of them; with ``swap_every=n``, a step makes an n-th.

    Attributes:
        cumulative: :math:`\Lambda(t_k) = \sum_{j<k} r_j`, (K,), from 0 to ``total``. Equal
            steps mean equal rejection rates; where it climbs, temperatures are missing.
        total: the barrier :math:`\Lambda`, which depends on the path more than on the
            ladder; ladders much longer than :math:`2\Lambda` gain little.
        predicted_round_trip_rate: of the alternating even/odd scheme of
            :func:`tempered_ebm.replica_exchange`.
        reversible_round_trip_rate: of the scheme that draws even or odd at random.
    """

    cumulative: Float[Array, "K"]
    total: Float[Array, ""]
    predicted_round_trip_rate: Float[Array, ""]
    reversible_round_trip_rate: Float[Array, ""]


def communication_barrier(
    temperatures: Float[Array, "K"], swap_acceptance_rates: Float[Array, "K-1"]
) -> CommunicationBarrier:
    r"""Estimate the communication barrier and the round trips of a ladder (Syed et al. 2022).

    With :math:`r_k` the rejection rate between rungs k and k+1, the round trips of a ladder
    per round of swaps are

    .. math::
        \Big(2 + 2\sum_k \frac{r_k}{1 - r_k}\Big)^{-1}
        \quad\text{alternating}, \qquad
        \Big(2(K-1) + 2\sum_k \frac{r_k}{1 - r_k}\Big)^{-1}
        \quad\text{drawn at random},

    if every try is rejected independently of the others, that is, if the local moves
    forget the log-likelihood between two swaps. Real chains mostly make fewer trips; by how
    many is a measure of their local moves.

    *Why.* A replica on rung k is about to try upwards or downwards, each with stationary
    probability 1/(2K), and turns round when rejected. Let :math:`u_k` and :math:`d_k` be
    the parts of these probabilities whose last visited end was the prior. Their balance is
    :math:`u_{k+1} = (1-r_k)u_k + r_k d_{k+1}` and :math:`d_k = (1-r_k)d_{k+1} + r_k u_k`,
    hence :math:`u_k - d_k = J` on every rung, the flux of round trips per replica, and
    :math:`u_{k+1} = u_k - J r_k/(1-r_k)`. At the ends :math:`u_0 = 1/(2K)` and
    :math:`u_{K-1} = J`, so :math:`K J` is the first rate. Drawn at random, replicas
    diffuse: :math:`J = (1-r_k)(f_k - f_{k+1})/(2K)` with f falling from 1 to 0 gives the
    second.

    Args:
        temperatures: ladder, shape (K,).
        swap_acceptance_rates: mean acceptance probability of a swap between neighbours,
            (K-1,): ``info.swap_acceptance_rate`` averaged over the steps on which swaps
            are tried.

    Raises:
        InputError: if ``temperatures`` is not a ladder, or the rates are not K-1 values in
            [0, 1].

    Example:
        >>> import jax.numpy as jnp, tempered_ebm as te
        >>> from tempered_ebm import diagnostics
        >>> barrier = diagnostics.communication_barrier(
        ...     te.schedules.uniform(3), jnp.array([0.5, 0.75])
        ... )
        >>> barrier.cumulative.tolist()
        [0.0, 0.5, 0.75]
        >>> round(float(barrier.predicted_round_trip_rate), 4)
        0.2143
    """
    temperatures = schedules.validate(temperatures)
    swap_acceptance_rates = checks.real_array("swap_acceptance_rates", swap_acceptance_rates)
    num_pairs = temperatures.shape[0] - 1
    if np.shape(swap_acceptance_rates) != (num_pairs,):
        raise InputError(
            f"swap_acceptance_rates must have shape ({num_pairs},), one rate per pair of "
            f"neighbours, got {np.shape(swap_acceptance_rates)}"
        )
    checks.in_unit_interval("swap_acceptance_rates", swap_acceptance_rates)
    acceptance = jnp.asarray(swap_acceptance_rates, temperatures.dtype)
    rejection = 1 - acceptance
    cumulative = jnp.pad(jnp.cumsum(rejection), (1, 0))
    turns = jnp.sum(rejection / acceptance)
    return CommunicationBarrier(
        cumulative, cumulative[-1], 0.5 / (1 + turns), 0.5 / (num_pairs + turns)
    )


class ReplicaFlow(NamedTuple):
    r"""Journeys of the replicas of a ladder, counted in constant memory.

    A *restart* is a journey of one replica from the prior, rung 0, to the posterior, rung
    K-1, with any wandering in between: it brings the posterior a state that has forgotten
    the last one (Syed et al. 2022). A *round trip* is a restart and the way back to rung
    0. Whatever a replica does before its first visit to rung 0 is neither.

    Attributes:
        num_steps: updates made.
        restarts: restarts of all replicas of each ladder, (\*chains).
        round_trips: round trips of all replicas of each ladder, (\*chains).
        from_prior: states in which the replica on each rung had visited the prior last of
            the two ends, (K, \*chains).
        from_posterior: the same of the posterior, (K, \*chains).
        last_end: the end that each replica, not rung, visited last, (K, \*chains): 0 for
            neither, 1 for the prior, 2 for the posterior.
        has_restarted: whether each replica has made a restart, (K, \*chains).
    """

    num_steps: Int[Array, ""]
    restarts: Int[Array, "*chains"]
    round_trips: Int[Array, "*chains"]
    from_prior: Int[Array, "K *chains"]
    from_posterior: Int[Array, "K *chains"]
    last_end: Int[Array, "K *chains"]
    has_restarted: Bool[Array, "K *chains"]

    @property
    def flow_fraction(self) -> Float[Array, "K *chains"]:
        r"""Of the replicas on each rung, the fraction whose last visited end was the prior.

        .. math:: f_k = \frac{n_k^{\text{prior}}}{n_k^{\text{prior}} + n_k^{\text{posterior}}}

        falls from :math:`f_0 = 1` to :math:`f_{K-1} = 0` (Katzgraber et al. 2006). Where it
        drops steeply the ladder has a bottleneck; an even fall is ideal. NaN on rungs that
        no replica has reached from either end.
        """
        return self.from_prior / (self.from_prior + self.from_posterior)


def _count(flow: ReplicaFlow, replica: Int[Array, "K *chains"]) -> ReplicaFlow:
    names = jnp.arange(replica.shape[0]).reshape(-1, *(1,) * (replica.ndim - 1))
    at_prior, at_posterior = names == replica[0], names == replica[-1]
    is_restart = at_posterior & (flow.last_end == _PRIOR)
    is_round_trip = at_prior & (flow.last_end == _POSTERIOR) & flow.has_restarted
    last_end = jnp.where(at_prior, _PRIOR, jnp.where(at_posterior, _POSTERIOR, flow.last_end))
    end_by_rung = jnp.take_along_axis(last_end, replica, axis=0)
    return ReplicaFlow(
        flow.num_steps,
        flow.restarts + is_restart.sum(0),
        flow.round_trips + is_round_trip.sum(0),
        flow.from_prior + (end_by_rung == _PRIOR),
        flow.from_posterior + (end_by_rung == _POSTERIOR),
        last_end,
        flow.has_restarted | is_restart,
    )


def init_replica_flow(replica: Int[Array, "K *chains"]) -> ReplicaFlow:
    r"""Start counting: nothing has travelled yet, two replicas stand at an end.

    Args:
        replica: which replica stands on each rung, (K, \*chains), the field ``replica`` of
            the state of :func:`tempered_ebm.replica_exchange`.

    Raises:
        InputError: if ``replica`` is not a permutation of 0 ... K-1, K at least 2, along
            its first axis.
    """
    replica = _validated("replica", replica, axis=0)
    zeros = jnp.zeros(replica.shape, jnp.int32)
    flow = ReplicaFlow(
        num_steps=jnp.zeros((), jnp.int32),
        restarts=zeros[0],
        round_trips=zeros[0],
        from_prior=zeros,
        from_posterior=zeros,
        last_end=zeros,
        has_restarted=zeros > 0,
    )
    return _count(flow, replica)


def update_replica_flow(flow: ReplicaFlow, replica: Int[Array, "K *chains"]) -> ReplicaFlow:
    r"""Count the journeys that end with one more step. Carry it through ``jax.lax.scan``.

    Args:
        flow: what was counted so far.
        replica: which replica stands on each rung after the step, (K, \*chains).

    Raises:
        InputError: if ``replica`` has another shape than at the start.

    Example:
        >>> import jax.numpy as jnp
        >>> from tempered_ebm import diagnostics
        >>> flow = diagnostics.init_replica_flow(jnp.array([0, 1]))
        >>> flow = diagnostics.update_replica_flow(flow, jnp.array([1, 0]))
        >>> int(flow.restarts), int(flow.round_trips)
        (1, 0)
    """
    replica = checks.real_array("replica", replica)
    checks.shape("replica", replica, flow.last_end.shape)
    flow = _count(flow, replica)
    return flow._replace(num_steps=flow.num_steps + 1)


def replica_flow(replicas: Int[Array, "num_states K *chains"]) -> ReplicaFlow:
    r"""Count the journeys in a whole trace.

    Args:
        replicas: which replica stands on each rung, state by state, (num_states, K,
            \*chains). Chain axes are ladders of their own.

    Raises:
        InputError: if a state is not a permutation of 0 ... K-1, K at least 2.

    Example:
        Two rungs, whose replicas swap at every step:

        >>> import jax.numpy as jnp
        >>> from tempered_ebm import diagnostics
        >>> flow = diagnostics.replica_flow(jnp.array([[0, 1], [1, 0], [0, 1], [1, 0]]))
        >>> int(flow.restarts), int(flow.round_trips)
        (3, 2)
        >>> flow.flow_fraction.tolist()
        [1.0, 0.0]
    """
    replicas = _validated("replicas", replicas, axis=1)

    def one_step(flow: ReplicaFlow, replica: Array) -> tuple[ReplicaFlow, None]:
        return update_replica_flow(flow, replica), None

    return jax.lax.scan(one_step, init_replica_flow(replicas[0]), replicas[1:])[0]


def _validated(name: str, replica: Array, axis: int) -> Array:
    replica = checks.real_array(name, replica)
    layout = "(K, *chains)" if axis == 0 else "(num_states, K, *chains)"
    if replica.ndim <= axis or replica.shape[axis] < 2 or replica.size == 0:
        raise InputError(
            f"{name} must have shape {layout} with K at least 2, got shape {replica.shape}"
        )
    if not jnp.issubdtype(replica.dtype, jnp.integer):
        raise InputError(f"{name} must hold integers, got {replica.dtype}")
    known = checks.concrete(replica)
    if known is not None:
        ladders = np.moveaxis(known, axis, -1)
        num_rungs = ladders.shape[-1]
        wrong = ladders[(np.sort(ladders, axis=-1) != np.arange(num_rungs)).any(-1)]
        if wrong.size:
            raise InputError(
                f"{name} must be a permutation of 0 ... {num_rungs - 1} along axis {axis}, "
                f"got {np.array2string(wrong[0], threshold=20, separator=', ')}"
            )
    return replica
