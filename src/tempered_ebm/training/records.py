"""What a run writes while it trains: rows of metrics, of validation, events, pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from tempered_ebm import _files
from tempered_ebm.training import metrics_log
from tempered_ebm.training.run_folder import RunFolder
from tempered_ebm.training.tensorboard import EventLog

Row = Mapping[str, float]


def _rows(path: Path) -> list[dict[str, float]]:
    if not path.exists():
        return []
    table = metrics_log.read(path)
    return [dict(zip(table, map(float, values))) for values in zip(*table.values())]


class Records:
    """The records of a run up to a step, and those to come.

    Args:
        folder: the run folder.
        step: later rows and pictures are removed.
        writes: whether this process writes; the others only remember.

    Attributes:
        rows: rows of metrics until now.
    """

    def __init__(self, folder: RunFolder, step: int, *, writes: bool = True):
        self._folder, self._writes = folder, writes
        self._events: EventLog | None = None
        if writes:
            self._truncate(step)
        self.rows = [row for row in _rows(folder.metrics) if row["step"] <= step]
        validated = [row for row in _rows(folder.validation) if row["step"] <= step]
        self._validation = validated[-1] if validated else {}
        if writes and folder.config.logging.tensorboard:
            measured = [row for row in _rows(folder.gradients) if row["step"] <= step]
            tables = {"training": self.rows, "validation": validated, "gradients": measured}
            self._events = EventLog(folder.tensorboard, tables)

    def _truncate(self, step: int) -> None:
        for table in (self._folder.metrics, self._folder.validation, self._folder.gradients):
            metrics_log.truncate(table, step)
        for picture in self._folder.figures.glob("chains-*.png"):
            if int(picture.stem.removeprefix("chains-")) > step:
                picture.unlink()

    @property
    def seconds(self) -> float:
        """Seconds of training until the newest row."""
        return self.rows[-1]["seconds"] if self.rows else 0.0

    @property
    def newest(self) -> dict[str, float]:
        """Newest metrics and validation metrics by name."""
        both = {**(self.rows[-1] if self.rows else {}), **self._validation}
        return {name: value for name, value in both.items() if name not in ("step", "seconds")}

    def add(self, row: Row) -> None:
        """Append a row of metrics."""
        self.rows.append(dict(row))
        self._append("training", self._folder.metrics, row)

    def add_validation(self, row: Row) -> None:
        """Append a row of validation metrics."""
        self._validation = dict(row)
        self._append("validation", self._folder.validation, row)

    def add_gradients(self, row: Row) -> None:
        """Append a row of statistics of the learning gradient."""
        self._append("gradients", self._folder.gradients, row)

    def _append(self, group: str, path: Path, row: Row) -> None:
        if self._writes:
            metrics_log.append(path, row)
            if self._events is not None:
                self._events.append(group, row)

    def add_picture(self, step: int, images: Float[np.ndarray, "n h w c"]) -> None:
        """Write a picture of images in [-1, 1] into the folder of figures."""
        from tempered_ebm import plotting

        figure = plotting.image_panels({f"prior chains after {step} updates": images})
        path = self._folder.figures / f"chains-{step:08d}.png"
        _files.write_atomically(path, plotting.to_png(figure))

    def close(self) -> None:
        """Close what is open."""
        if self._events is not None:
            self._events.close()
