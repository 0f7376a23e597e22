"""The energy-based model of data as training, sampling and evaluation see it."""

import numpy as np

from tempered_ebm.training import run_folder
from tempered_ebm.training.data_ebm import build, evaluation
from tempered_ebm.training.data_ebm.config import DataEBMConfig
from tempered_ebm.training.kinds import Hooks
from tempered_ebm.training.run_folder import RunFolder
from tempered_ebm.training.walks import Walk
from tempered_ebm.types import Params, PRNGKey


def _generate(
    config: DataEBMConfig, folder: RunFolder, params: Params, rng_key: PRNGKey, num_samples: int
) -> np.ndarray:
    x_train = run_folder.load_dataset(folder).x_train
    return build.generate(config, x_train, params, rng_key, num_samples)


def _walk(
    config: DataEBMConfig,
    folder: RunFolder,
    params: Params,
    rng_key: PRNGKey,
    num_samples: int,
    num_frames: int,
) -> Walk:
    x_train = run_folder.load_dataset(folder).x_train
    return build.walk(config, x_train, params, rng_key, num_samples, num_frames)


HOOKS = Hooks(
    build.build_learner,
    build.init_params,
    _generate,
    evaluation.evaluate,
    _walk,
    takes_others=True,
    density=build.density,
)
