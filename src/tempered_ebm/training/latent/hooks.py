"""The latent EBM as training, sampling and evaluation see it."""

from tempered_ebm.training.kinds import Hooks
from tempered_ebm.training.latent import build, evaluation

HOOKS = Hooks(build.build_learner, build.init_params, build.generate, evaluation.evaluate)
