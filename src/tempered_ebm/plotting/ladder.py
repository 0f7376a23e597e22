"""What happens along a ladder of temperatures."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tempered_ebm import diagnostics
from tempered_ebm.evidence import EvidenceEstimate
from tempered_ebm.plotting.figures import INK, SECOND, figure_with_axes, remove_box


def integrand(
    temperatures: Float[np.ndarray, "K"],
    estimate: EvidenceEstimate,
    *,
    title: str = "thermodynamic integrand; the ladder in red",
) -> Figure:
    r"""The integrand :math:`E_t[\ell]` of thermodynamic integration on its ladder.

    Left, the integrand on the temperature axis with one line per observation, the ladder
    as ticks. Right, the same against the rung, where a good ladder gives an even climb.

    Args:
        temperatures: ladder, shape (K,).
        estimate: one estimate, or a batch of them with a leading axis on every field.
        title: what stands above both panels.
    """
    t = np.asarray(temperatures)
    mean = np.atleast_2d(np.asarray(estimate.mean_loglikelihood))
    spread = np.sqrt(np.atleast_2d(np.asarray(estimate.variance_loglikelihood)))
    figure, (left, right) = figure_with_axes(1, 2, 9.0, 3.6)
    for axis, x, label in ((left, t, "temperature t"), (right, np.arange(t.size), "rung k")):
        for row, deviation in zip(mean, spread, strict=True):
            axis.plot(x, row, color=INK, marker="o", markersize=2.5, linewidth=1)
            axis.fill_between(x, row - deviation, row + deviation, color=INK, alpha=0.08)
        axis.set_xlabel(label)
        remove_box(axis)
        _use_symmetric_log_scale(axis, mean)
    left.set_ylabel(r"$E_t[\ell]$ ± sd (nats)")
    left.plot(
        t,
        np.zeros_like(t),
        "|",
        color=SECOND,
        transform=left.get_xaxis_transform(),
        markersize=14,
        clip_on=False,
    )
    figure.suptitle(title, fontsize=11)
    return figure


def swap_rates(
    temperatures: Float[np.ndarray, "K"], swap_acceptance_rates: Float[np.ndarray, "K-1"]
) -> Figure:
    r"""How often neighbours swap, and the barrier that this leaves.

    Left, the acceptance rate of every pair with their mean. Right, the cumulative
    communication barrier against the temperature (Syed et al. 2022): where it is steep, the
    path is hard and a good ladder has many rungs.

    Args:
        temperatures: ladder, shape (K,).
        swap_acceptance_rates: mean acceptance probability of a swap between neighbours,
            (K-1,).

    Raises:
        InputError: as :func:`tempered_ebm.diagnostics.communication_barrier`.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm.plotting import swap_rates
        >>> figure = swap_rates(np.array([0.0, 0.5, 1.0]), np.array([0.4, 0.6]))
        >>> len(figure.axes[0].patches)
        2
    """
    barrier = diagnostics.communication_barrier(
        jnp.asarray(temperatures), jnp.asarray(swap_acceptance_rates)
    )
    rates = np.asarray(swap_acceptance_rates)
    figure, (left, right) = figure_with_axes(1, 2, 9.0, 3.6)
    left.bar(np.arange(rates.size) + 0.5, rates, width=0.85, color=INK, alpha=0.75)
    mean = float(rates.mean())
    left.axhline(mean, color=SECOND, linewidth=1.2, label=f"mean {mean:.2f}")
    left.set(xlabel="swaps between rungs k and k+1", ylabel="acceptance rate", ylim=(0, 1))
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.legend(frameon=False, fontsize=9, loc="upper right")
    right.plot(temperatures, barrier.cumulative, color=INK, marker="o", markersize=4, linewidth=1.2)
    right.set(xlabel="temperature t", ylabel="rejections up to t, summed")
    for axis in (left, right):
        remove_box(axis)
    figure.suptitle(_barrier_in_words(barrier), fontsize=11)
    return figure


def _barrier_in_words(barrier: diagnostics.CommunicationBarrier) -> str:
    rate = float(barrier.predicted_round_trip_rate)
    trips = (
        f"predicts one round trip in {1 / rate:.3g} rounds of swaps"
        if rate > 0
        else "allows no round trip"
    )
    return rf"communication barrier $\Lambda$ = {float(barrier.total):.3g} {trips}"


def _use_symmetric_log_scale(axis: Axes, values: np.ndarray) -> None:
    """A prior draw explains an image badly; a linear axis would show nothing else."""
    if values.max() - values.min() > 300:
        axis.set_yscale("symlog", linthresh=100)
