"""What happens along a ladder of temperatures."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tempered_ebm.evidence import EvidenceEstimate
from tempered_ebm.plotting.figures import INK, SECOND, figure_with_axes, remove_box


def integrand(temperatures: Float[np.ndarray, "K"], estimate: EvidenceEstimate) -> Figure:
    r"""The integrand :math:`E_t[\ell]` of thermodynamic integration on its ladder.

    Left, the integrand on the temperature axis with one line per observation, the ladder
    as ticks. Right, the same against the rung, where a good ladder gives an even climb.

    Args:
        temperatures: ladder, shape (K,).
        estimate: one estimate, or a batch of them with a leading axis on every field.
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
    figure.suptitle("thermodynamic integrand of held-out images; the ladder in red", fontsize=11)
    return figure


def _use_symmetric_log_scale(axis: Axes, values: np.ndarray) -> None:
    """A prior draw explains an image badly; a linear axis would show nothing else."""
    if values.max() - values.min() > 300:
        axis.set_yscale("symlog", linthresh=100)
