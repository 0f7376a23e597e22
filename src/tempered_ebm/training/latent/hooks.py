"""The latent EBM as training, sampling and evaluation see it."""

from typing import Any

import numpy as np

from tempered_ebm.datasets import ImageDataset
from tempered_ebm.training.kinds import Hooks
from tempered_ebm.training.latent import build, evaluation
from tempered_ebm.training.learner import Learner, Shard
from tempered_ebm.training.run_folder import RunFolder
from tempered_ebm.training.walks import Walk
from tempered_ebm.types import Params, PRNGKey


def _build_learner(config: Any, dataset: ImageDataset, shard: Shard) -> Learner:
    return build.build_learner(config, dataset.image_shape, len(dataset.x_train), shard=shard)


def _generate(
    config: Any, folder: RunFolder, params: Params, rng_key: PRNGKey, num_samples: int
) -> np.ndarray:
    shape: Any = folder.event_shape
    return build.generate(config, shape, params, rng_key, num_samples)


def _walk(
    config: Any,
    folder: RunFolder,
    params: Params,
    rng_key: PRNGKey,
    num_samples: int,
    num_frames: int,
) -> Walk:
    shape: Any = folder.event_shape
    return build.walk(config, shape, params, rng_key, num_samples, num_frames)


HOOKS = Hooks(_build_learner, build.init_params, _generate, evaluation.evaluate, _walk)
