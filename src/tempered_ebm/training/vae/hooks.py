"""The variational autoencoder as training, sampling and evaluation see it."""

from typing import Any

from tempered_ebm.datasets import ImageDataset
from tempered_ebm.training.kinds import Hooks
from tempered_ebm.training.learner import Learner, Shard
from tempered_ebm.training.vae import build, evaluation


def _build_learner(config: Any, dataset: ImageDataset, shard: Shard) -> Learner:
    return build.build_learner(config, dataset.image_shape, len(dataset.x_train), shard=shard)


HOOKS = Hooks(_build_learner, build.init_params, build.generate, evaluation.evaluate)
