"""The autoencoder with a latent EBM as training, sampling and evaluation see it."""

import numpy as np

from tempered_ebm.models import AutoencoderEBMParams
from tempered_ebm.training.autoencoder import build, evaluation
from tempered_ebm.training.autoencoder.config import AutoencoderConfig
from tempered_ebm.training.kinds import Hooks
from tempered_ebm.training.run_folder import RunFolder
from tempered_ebm.training.walks import Walk
from tempered_ebm.types import PRNGKey


def _generate(
    config: AutoencoderConfig,
    folder: RunFolder,
    params: AutoencoderEBMParams,
    rng_key: PRNGKey,
    num_samples: int,
) -> np.ndarray:
    return build.generate(config, folder.event_shape, params, rng_key, num_samples)


def _walk(
    config: AutoencoderConfig,
    folder: RunFolder,
    params: AutoencoderEBMParams,
    rng_key: PRNGKey,
    num_samples: int,
    num_frames: int,
) -> Walk:
    return build.walk(config, folder.event_shape, params, rng_key, num_samples, num_frames)


HOOKS = Hooks(build.build_learner, build.init_params, _generate, evaluation.evaluate, _walk)
