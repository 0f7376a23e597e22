"""Pictures of the results: growth along each axis, devices, and the pod by formula."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LABELS = {
    "temperatures": "temperatures",
    "chains": "chains a temperature",
    "latent_dim": "latent dimension",
    "image_size": "height = width of an image",
}
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9")


def _plain_ticks(axes: Any, values: list[int]) -> None:
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log", base=2)
    axes.set_xticks(values, [str(n) for n in values])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3, which="major")
    axes.spines[["top", "right"]].set_visible(False)


def _fit(axes: Any, sizes: list[int], values: list[float], slope: float, label: str) -> None:
    """The fitted line over the upper half, through the middle of what it was fitted to."""
    upper = slice(len(sizes) // 2, None)
    x = sizes[upper]
    logs = [(math.log(a), math.log(b)) for a, b in zip(x, values[upper], strict=True)]
    centre_x, centre_y = (sum(column) / len(logs) for column in zip(*logs, strict=True))
    ends = (x[0], x[-1])
    line = [math.exp(centre_y + slope * (math.log(end) - centre_x)) for end in ends]
    axes.plot(ends, line, "--", color="black", lw=1.2, label=label, zorder=4)
    axes.legend(frameon=False, loc="upper left")


def growth(result: dict[str, Any]) -> Figure:
    """Time above, memory below, a column for each axis; the fitted slope in each legend."""
    import matplotlib.pyplot as plt

    rows = result["axes"]
    figure, panels = plt.subplots(
        2, len(rows), figsize=(3.3 * len(rows), 5.6), sharex="col", sharey="row", squeeze=False
    )
    for (name, row), (above, below), colour in zip(rows.items(), panels.T, _COLOURS):
        sizes, times = row["sizes"], row["milliseconds"]
        low, middle, high = map(list, zip(*times, strict=True))
        spread = [
            [m - q for m, q in zip(middle, low)], [q - m for m, q in zip(middle, high)]
        ]  # fmt: skip
        above.errorbar(sizes, middle, spread, fmt="o-", color=colour, capsize=3)
        megabytes = [n / 1e6 for n in row["bytes"]]
        below.plot(sizes, megabytes, "s-", color=colour)
        _fit(above, sizes, middle, row["time_slope"][1], f"slope {row['time_slope'][1]:.2f}")
        _fit(below, sizes, megabytes, row["memory_slope"], f"slope {row['memory_slope']:.2f}")
        above.set_yscale("log")
        below.set_yscale("log")
        for axes in (above, below):
            _plain_ticks(axes, sizes)
        below.set_xlabel(_LABELS[name])
    panels[0, 0].set_ylabel(f"milliseconds of {result['steps']} steps")
    panels[1, 0].set_ylabel("memory, MB")
    figure.tight_layout()
    return figure


def devices(result: dict[str, Any], cores: int) -> Figure:
    """Work per second against one device: the same work on the left, work a device on the right."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(9.5, 4.0), sharey=True)
    titles = {"strong": "strong: the same work", "weak": "weak: the same work a device"}
    for axes, (kind, title) in zip(panels, titles.items()):
        for shift, (name, row), colour in zip((-2, -1, 0, 1, 2), result["works"].items(), _COLOURS):
            counts = [int(n) for n in row[kind]]
            low, middle, high = map(
                list, zip(*(cell["speedup"] for cell in row[kind].values()), strict=True)
            )
            spread = [
                [m - q for m, q in zip(middle, low)], [q - m for m, q in zip(middle, high)]
            ]  # fmt: skip
            shifted = [n * 2 ** (0.05 * shift) for n in counts]
            axes.errorbar(
                shifted, middle, spread, fmt="o-", color=colour, capsize=3, ms=4, label=name
            )
        axes.plot(
            counts,
            [min(n, cores) for n in counts],
            ":",
            color="0.25",
            label=f"ceiling of {cores} cores",
        )
        _plain_ticks(axes, counts)
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("host devices")
    panels[0].set_ylim(bottom=0)
    panels[0].set_ylabel("work per second, against one device")
    panels[1].legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.tight_layout()
    return figure


def pod(result: dict[str, Any]) -> Figure:
    """Efficiency by formula against the number of chips, the same batch and the same share."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.8))
    for (name, row), colour in zip(result["sizes"].items(), _COLOURS):
        chips = [line["chips"] for line in row["table"]]
        for kind, style, label in (
            ("weak", "o-", "100 images a chip"),
            ("strong", "s--", "4,096 images in all"),
        ):
            values = [100 * line[kind] for line in row["table"]]
            axes.plot(chips, values, style, color=colour, label=f"{name}, {label}")
    _plain_ticks(axes, chips)
    axes.set_ylim(0, 105)
    axes.set_xlabel("chips")
    axes.set_ylabel("efficiency by formula, %")
    axes.legend(frameon=False, loc="lower left")
    figure.tight_layout()
    return figure


def write(results: dict[str, Any], folder: Path) -> list[Path]:
    """Draw all pictures of a result into a folder."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    setting = next(iter(results["devices"].values()))
    figures = {
        "growth": growth(results["growth"]),
        "devices": devices(setting, results["environment"]["cpu_count"]),
        "pod": pod(results["pod"]),
    }
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"scaling-{name}.png")
        figure.savefig(paths[-1], dpi=110)
        plt.close(figure)
    return paths
