"""What a trained energy-based model of data is worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tempered_ebm.datasets import PointDataset
from tempered_ebm.training.data import AnyDataset
from tempered_ebm.training.data_ebm import images, points
from tempered_ebm.training.run_folder import RunFolder
from tempered_ebm.types import Params


def evaluate(
    folder: RunFolder,
    dataset: AnyDataset,
    params: Params,
    step: int,
    *,
    seed: int = 0,
    others: Sequence[Path] = (),
) -> Any:
    """Measure a trained model, write ``evaluation.json`` and the pictures of the run.

    Args:
        folder: the run folder.
        dataset: its data.
        params: its parameters.
        step: updates behind them.
        seed: seed of all draws here.
        others: npz files of other images, to be told from the held-out ones; none for points.

    Raises:
        InputError: if one of the files cannot be used.
        DivergedError: if chains of the trained model are not finite.
        OSError: if the folder cannot be written.
    """
    if isinstance(dataset, PointDataset):
        return points.evaluate(folder, dataset, params, step, seed=seed)
    return images.evaluate(folder, dataset, params, step, seed=seed, others=others)
