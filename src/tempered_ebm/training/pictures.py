"""The pictures of a run folder."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from tempered_ebm import _files, plotting
from tempered_ebm.training import metrics_log
from tempered_ebm.training.run_folder import RunFolder


def write(folder: RunFolder, figures: Mapping[str, Figure]) -> None:
    """Write figures by name, and the curves of the run if it has any.

    Raises:
        OSError: if the folder cannot be written.
    """
    every = dict(figures)
    if folder.metrics.exists():
        held_out = metrics_log.read(folder.validation) if folder.validation.exists() else None
        every["training_curves"] = plotting.training_curves(
            metrics_log.read(folder.metrics), held_out
        )
    folder.figures.mkdir(exist_ok=True)
    for name, figure in every.items():
        _files.write_atomically(folder.figures / f"{name}.png", plotting.to_png(figure))
