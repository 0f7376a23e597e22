"""How hard it is to carry a replica along a ladder, from the swap rates alone."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm import _checks as checks
from tempered_ebm import schedules
from tempered_ebm.errors import InputError


class CommunicationBarrier(NamedTuple):
    r"""What the rejection rates of a ladder say about its replicas' journeys.

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
    r"""Communication barrier and predicted round trips of a ladder (Syed et al. 2022).

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
