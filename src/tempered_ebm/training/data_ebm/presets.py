"""Named configurations of energy-based models of data: of papers, and of data sets.

``igebm`` is the unconditional model of CIFAR-10 of Du and Mordatch (2019), by their released code:
60 steps from a replay buffer that starts 5 % of its chains afresh, every coordinate of the gradient
bounded, spectral normalisation, squared energies in the loss with weight 1, batches of 128,
first-moment decay 0, 121,200 updates (the model they published). Their pixels are in [0, 1], where
the step size is 10, the noise scale 0.005 and the bound of the gradient 0.01. A pixel of [-1, 1] is
twice one of those and a gradient half, so here they are 40, 0.01 and 0.005: the same chains. What
differs: their buffer holds 50,000 chains and their learning rate is 3e-4 (here 10,000 and 1e-4, as
reimplementations have it); they clamp pixels to their box after every step, clip the gradient of
every weight at about three of its running standard deviations, and normalise all weights but the
last layer's, with a learned gain; their network has nine residual blocks of 128 to 512 channels
(here eight of 64 to 512) and dropout. Pixels are dequantised by uniform noise there, by normal
noise of the same variance here.

``anatomy`` and ``anatomy-persistent`` are those of CIFAR-10 of Nijkamp, Hill et al. (2020), by the
settings files ``cifar10_nonconvergent`` and ``cifar10_oscillate`` of their code: 150 steps of new
chains from uniform noise, or 500 steps of chains that persist, one for each training image and
never started afresh; normal noise of 0.03 on the data, Adam at 1e-4, batches of 100, 100,000
updates, and the same network but for the slope of its leaky rectifiers (0.05; here 0.2). Their step
is x' = x - f'(x) + 0.01 noise, which is step size 1 here. They read it as temperature 1 of the
energy 2f / 0.01^2, and multiply the loss by the same factor, to which Adam is blind. Their
convergent models descend by plain stochastic gradients, which is none of the options here.

``toy`` is the default for points of the plane by a name. The other presets are of no paper:
``mnist``, ``fashion_mnist``, ``svhn`` and ``cifar10`` are sized for an accelerator, and those that
end in ``-small`` for two CPU cores, at the cost of narrow networks and short chains. Grey images
have plain convolutions, or a perceptron where they are small, and colours residual ones, all with
swish. Chains of the small perceptrons start from the normal of each pixel: from uniform noise they
lose their way with two of three seeds.
"""

from __future__ import annotations

import math

from tempered_ebm.training import named_presets
from tempered_ebm.training.data import AnyDataConfig, Dataset
from tempered_ebm.training.data_ebm import config as configs
from tempered_ebm.training.network_options import Network
from tempered_ebm.training.options import AdamConfig

_TRAINING_IMAGES = 50_000


def _igebm() -> configs.DataEBMConfig:
    one_level = 2 / 256
    return configs.DataEBMConfig(
        data=AnyDataConfig(dataset="cifar10"),
        model=configs.ModelConfig(
            network="residual", width=64, depth=2, activation="leaky_relu", spectral_norm=True
        ),
        objective=configs.ObjectiveConfig(
            energy_penalty=1.0, data_noise=round(one_level / math.sqrt(12), 5)
        ),
        chain=configs.ChainConfig(steps=60, step_size=40.0, noise_scale=0.01, max_drift=0.005),
        replay=configs.ReplayConfig(
            capacity=10_000, restart=0.05, start="uniform", start_low=-1.0, start_high=1.0
        ),
        optimizer=AdamConfig(
            num_steps=121_200,
            batch_size=128,
            learning_rate=1e-4,
            rate_schedule="constant",
            first_moment_decay=0.0,
        ),
    )


def _anatomy(*, steps: int, restart: float, capacity: int) -> configs.DataEBMConfig:
    return configs.DataEBMConfig(
        data=AnyDataConfig(dataset="cifar10"),
        model=configs.ModelConfig(network="conv", width=32, activation="leaky_relu"),
        objective=configs.ObjectiveConfig(energy_penalty=0.0, data_noise=0.03),
        chain=configs.ChainConfig(
            steps=steps, step_size=1.0, noise_scale=0.01, sampling_steps=steps
        ),
        replay=configs.ReplayConfig(
            capacity=capacity, restart=restart, start="uniform", start_low=-1.0, start_high=1.0
        ),
        optimizer=AdamConfig(
            num_steps=100_000, batch_size=100, learning_rate=1e-4, rate_schedule="constant"
        ),
    )


def _images(dataset: Dataset, network: Network, num_steps: int) -> configs.DataEBMConfig:
    """For an accelerator."""
    return configs.DataEBMConfig(
        data=AnyDataConfig(dataset=dataset),
        model=configs.ModelConfig(network=network, width=64, depth=2),
        chain=configs.ChainConfig(steps=40),
        optimizer=AdamConfig(
            num_steps=num_steps, batch_size=128, learning_rate=1e-4, average_decay=0.999
        ),
    )


def _small_gray(dataset: Dataset) -> configs.DataEBMConfig:
    """For two CPU cores."""
    return configs.DataEBMConfig(
        data=AnyDataConfig(dataset=dataset),
        model=configs.ModelConfig(network="mlp", width=512, depth=2),
        chain=configs.ChainConfig(steps=10, sampling_steps=500),
        replay=configs.ReplayConfig(start="gaussian"),
        optimizer=AdamConfig(num_steps=4_000, batch_size=200, average_decay=0.998),
    )


def _small_colour(dataset: Dataset, num_steps: int) -> configs.DataEBMConfig:
    """For two CPU cores."""
    return configs.DataEBMConfig(
        data=AnyDataConfig(dataset=dataset),
        model=configs.ModelConfig(network="residual", width=8, depth=1),
        chain=configs.ChainConfig(steps=10, sampling_steps=500),
        replay=configs.ReplayConfig(capacity=2_000),
        optimizer=AdamConfig(
            num_steps=num_steps, batch_size=50, learning_rate=5e-4, average_decay=0.998
        ),
    )


PRESETS: dict[str, configs.DataEBMConfig] = {
    "igebm": _igebm(),
    "anatomy": _anatomy(steps=150, restart=1.0, capacity=100),
    "anatomy-persistent": _anatomy(steps=500, restart=0.0, capacity=_TRAINING_IMAGES),
    "mnist": _images("mnist", "conv", 50_000),
    "fashion_mnist": _images("fashion_mnist", "conv", 50_000),
    "svhn": _images("svhn", "residual", 100_000),
    "cifar10": _images("cifar10", "residual", 100_000),
    "toy": configs.DataEBMConfig(),
    "mnist-small": _small_gray("mnist"),
    "fashion-small": _small_gray("fashion_mnist"),
    "svhn-small": _small_colour("svhn", 3_000),
    "cifar10-small": _small_colour("cifar10", 3_000),
}
"""Configurations by name. Data files are not part of them; points of the plane need none."""


def preset(name: str) -> configs.DataEBMConfig:
    """Configuration by name, to be resolved with the data.

    Raises:
        InputError: for a name that is none of ``PRESETS``.

    Example:
        >>> from tempered_ebm.training.data_ebm.presets import preset
        >>> preset("igebm").chain.steps
        60
    """
    return named_presets.find(PRESETS, name)
