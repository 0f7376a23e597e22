"""The joint energy-based model as training, sampling and evaluation see it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tempered_ebm.training import run_folder
from tempered_ebm.training.jem import build, evaluation
from tempered_ebm.training.jem.config import JEMConfig
from tempered_ebm.training.kinds import Hooks
from tempered_ebm.training.run_folder import RunFolder
from tempered_ebm.training.walks import Walk
from tempered_ebm.types import Params, PRNGKey


def _generate(
    config: JEMConfig,
    folder: RunFolder,
    params: Params,
    rng_key: PRNGKey,
    num_samples: int,
    label: np.ndarray | None = None,
) -> np.ndarray:
    dataset: Any = run_folder.load_dataset(folder)
    return build.generate(config, dataset, params, rng_key, num_samples, label)


def _walk(
    config: JEMConfig,
    folder: RunFolder,
    params: Params,
    rng_key: PRNGKey,
    num_samples: int,
    num_frames: int,
    label: np.ndarray | None = None,
) -> Walk:
    dataset: Any = run_folder.load_dataset(folder)
    return build.walk(config, dataset, params, rng_key, num_samples, num_frames, label)


def _num_classes(config: JEMConfig) -> int:
    return config.model.num_classes or 0


HOOKS = Hooks(
    build.build_learner,
    build.init_params,
    _generate,
    evaluation.evaluate,
    _walk,
    takes_others=True,
    density=build.density,
    num_classes=_num_classes,
)
