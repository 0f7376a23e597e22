"""Chains and replicas over time: energies along a short run, and paths through a ladder."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from tempered_ebm import _checks as checks
from tempered_ebm import diagnostics
from tempered_ebm.errors import InputError
from tempered_ebm.plotting import figures

_COLORS = np.array([figures.GREY, figures.SECOND, figures.INK])
_LEGEND = ("has seen no end yet", "comes from the prior", "comes from the posterior")


def short_run(trace: diagnostics.EnergyTrace) -> Figure:
    """Draw energy and gradient norm along a run: the mean over chains, and one sd either side.

    The grey ground marks the second half of the run, whose drift the title reports: see
    :func:`tempered_ebm.diagnostics.energy_drift`.

    Args:
        trace: energies and gradient norms, (num_steps, num_chains), at least 4 steps and 2
            chains. Of a ladder, take one rung.

    Raises:
        InputError: if ``trace`` has another shape.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm import diagnostics
        >>> from tempered_ebm.plotting import short_run
        >>> falling = np.linspace(5, 1, 20)[:, None] + np.linspace(0, 1, 8)
        >>> figure = short_run(diagnostics.EnergyTrace(falling, falling))
        >>> [axis.get_ylabel() for axis in figure.axes]
        ['energy', 'gradient norm']
    """
    shape = np.shape(trace.energy)
    if len(shape) != 2:
        raise InputError(f"trace must hold arrays of shape (num_steps, num_chains), got {shape}")
    drift = diagnostics.energy_drift(trace)
    figure, (left, right) = figures.figure_with_axes(1, 2, 9.0, 3.4)
    _draw_band(left, np.asarray(trace.energy), figures.INK, "energy")
    _draw_band(right, np.asarray(trace.gradient_norm), figures.SECOND, "gradient norm")
    figure.suptitle(
        f"{shape[1]} chains; the energy drifts by {float(drift.drift_per_step):+.3g} a step "
        f"over the second half (z = {float(drift.drift_z_score):+.1f})",
        fontsize=11,
    )
    return figure


def _draw_band(axis: Axes, values: np.ndarray, color: str, label: str) -> None:
    steps = np.arange(1, len(values) + 1)
    mean, deviation = values.mean(-1), values.std(-1, ddof=1)
    axis.axvspan(steps[len(steps) // 2], steps[-1], color=figures.GREY, alpha=0.12, linewidth=0)
    axis.fill_between(steps, mean - deviation, mean + deviation, color=color, alpha=0.2)
    axis.plot(steps, mean, color=color, linewidth=1.5)
    axis.set(xlabel="step", ylabel=label, xlim=(steps[0], steps[-1]))
    figures.remove_box(axis)


def replica_flow(
    replicas: Int[np.ndarray, "num_states K *chains"], *, num_lines: int = 3
) -> Figure:
    r"""Draw paths of replicas through the ladder, and the flow fraction by rung.

    Left, a few replicas of the first ladder, evenly chosen by their first rung, a strip
    each: red since the last visit to the prior, blue since the last visit to the
    posterior, so that a restart is a red rise that turns blue. Right, the flow fraction of
    every ladder (thin) and of all together. Between the end rungs a straight line, dashed,
    is ideal and a steep piece a bottleneck (Katzgraber et al. 2006).

    Args:
        replicas: index of the replica on each rung, (num_states, K, \*chains).
        num_lines: replicas to show, at least 1; all K of them if it is larger.

    Raises:
        InputError: if a state is not a permutation of 0 ... K-1, K at least 2, or
            ``num_lines`` is below 1.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm.plotting import replica_flow
        >>> figure = replica_flow(np.array([[0, 1], [1, 0], [0, 1], [1, 0]]))
        >>> len(figure.axes)
        3
    """
    checks.at_least("num_lines", num_lines, 1)
    flow = diagnostics.replica_flow(jnp.asarray(replicas))
    states = np.asarray(replicas)
    states = states.reshape(*states.shape[:2], -1)
    num_rungs = states.shape[1]
    num_lines = min(num_lines, num_rungs)
    figure = figures.empty_figure(9.5, 1.2 + 1.1 * num_lines)
    names = [f"replica {i}" for i in range(num_lines)]
    axes: dict[str, Axes] = figure.subplot_mosaic(
        [[name, "flow"] for name in names], width_ratios=[2.4, 1]
    )
    first_rungs = np.linspace(0, num_rungs - 1, num_lines).round().astype(int)
    strips = [axes[name] for name in names]
    for axis, rung in zip(strips, first_rungs, strict=True):
        _draw_replica(axis, np.argmax(states[..., 0] == states[0, rung, 0], axis=1), num_rungs)
        axis.set_title(f"replica {states[0, rung, 0]}", fontsize=9, loc="left", pad=2)
        axis.label_outer()
    strips[num_lines // 2].set_ylabel("rung k")
    strips[-1].set_xlabel("step")
    handles = [LineCollection([], colors=[color], label=label, linewidths=2)
               for color, label in zip(_COLORS, _LEGEND, strict=True)]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower left", ncols=3, frameon=False, fontsize=8)
    _draw_flow_fraction(axes["flow"], flow)
    restarts, trips = int(flow.restarts.sum()), int(flow.round_trips.sum())
    of = "" if states.shape[2] == 1 else f" of {states.shape[2]} ladders"
    figure.suptitle(
        f"{restarts} restarts and {trips} round trips{of} in {int(flow.num_steps)} steps",
        fontsize=11,
    )
    return figure


def _draw_replica(axis: Axes, rungs: np.ndarray, num_rungs: int) -> None:
    """Draw the rung of a replica over time, each step in the colour of the end it comes from."""
    visited = np.where(rungs == 0, 1, np.where(rungs == num_rungs - 1, 2, 0))
    last_visit = np.maximum.accumulate(np.where(visited > 0, np.arange(rungs.size), -1))
    last_end = np.where(last_visit >= 0, visited[last_visit], 0)
    points = np.stack([np.arange(rungs.size), rungs], -1)
    segments = np.stack([points[:-1], points[1:]], 1)
    axis.add_collection(
        LineCollection(list(segments), colors=_COLORS[last_end[:-1]], linewidths=0.9)
    )
    margin = 0.06 * num_rungs
    axis.set(xlim=(0, max(rungs.size - 1, 1)), ylim=(-margin, num_rungs - 1 + margin))
    axis.set_yticks([0, num_rungs - 1])
    figures.remove_box(axis)


def _draw_flow_fraction(axis: Axes, flow: diagnostics.ReplicaFlow) -> None:
    num_rungs = flow.from_prior.shape[0]
    rungs = np.arange(num_rungs)
    from_prior = np.asarray(flow.from_prior).reshape(num_rungs, -1).sum(1)
    from_posterior = np.asarray(flow.from_posterior).reshape(num_rungs, -1).sum(1)
    seen = np.maximum(from_prior + from_posterior, 1)
    together = np.where(from_prior + from_posterior > 0, from_prior / seen, np.nan)
    fractions = np.asarray(flow.flow_fraction).reshape(num_rungs, -1)
    if fractions.shape[1] > 1:
        axis.plot(rungs, fractions[:, :20], color=figures.GREY, linewidth=0.5, alpha=0.5)
    axis.plot(rungs, together, color=figures.INK, marker="o", markersize=3.5, linewidth=1.4)
    if num_rungs > 3:
        inner = [1, -2]
        axis.plot(rungs[inner], together[inner], "--", color=figures.SECOND, linewidth=1.2)
    axis.set(xlabel="rung k", ylim=(-0.03, 1.03))
    axis.set_title("flow fraction $f_k$: comes from the prior", fontsize=9)
    figures.remove_box(axis)
