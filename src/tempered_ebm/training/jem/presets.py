"""Named configurations of joint energy-based models: of the paper, and for two CPU cores.

``jem`` is the model of CIFAR-10 of Grathwohl et al. (2020), by their released code: 20 steps of
size 1 with noise of 0.01 on pixels in [-1, 1], a buffer of 10,000 chains of which 5 % start afresh
in uniform noise, normal noise of 0.03 on the data, both parts of the loss with weight 1 and no
other, Adam at 1e-4, batches of 64, leaky rectifiers, and no normalisation in the network. A tenth
of the training images is set apart for validation, and 200 epochs of the rest are 140,600 updates.

What differs: their network is a wide residual one, 28 layers of 160, 320 and 640 channels; here 12
residual blocks of 64 to 512. Their learning rate rises over the first 1,000 updates and falls to
0.3 of itself after 160 and after 180 epochs; here only the fall after 160 is left. They crop images
of a padded border at random and flip them, and classify images with the noise on them. Both are
left out. They stop by hand where training diverges; here the run returns to its last good
checkpoint.

``mnist-small`` and ``fashion-small`` are of no paper: a perceptron, short chains, and five times
the weight on the class, for two cores.
"""

from __future__ import annotations

from tempered_ebm.training import named_presets
from tempered_ebm.training.data import DataConfig, Dataset
from tempered_ebm.training.jem import config as configs
from tempered_ebm.training.options import AdamConfig

_EPOCH = 45_000 // 64


def _jem() -> configs.JEMConfig:
    return configs.JEMConfig(
        data=DataConfig(dataset="cifar10", validation=0.1),
        model=configs.ModelConfig(
            network="residual", width=64, depth=3, activation="leaky_relu", num_classes=10
        ),
        objective=configs.ObjectiveConfig(
            density="marginal", classify=1.0, weight=1.0, energy_penalty=0.0, data_noise=0.03
        ),
        chain=configs.ChainConfig(steps=20, step_size=1.0, noise_scale=0.01, sampling_steps=1000),
        replay=configs.ReplayConfig(
            capacity=10_000, restart=0.05, start="uniform", start_low=-1.0, start_high=1.0
        ),
        optimizer=AdamConfig(
            num_steps=200 * _EPOCH,
            batch_size=64,
            learning_rate=1e-4,
            rate_schedule="step",
            rate_decay=0.3,
            rate_decay_every=160 * _EPOCH,
        ),
    )


def _small(dataset: Dataset, width: int) -> configs.JEMConfig:
    return configs.JEMConfig(
        data=DataConfig(dataset=dataset),
        model=configs.ModelConfig(network="mlp", width=width, depth=2),
        objective=configs.ObjectiveConfig(classify=5.0),
        chain=configs.ChainConfig(steps=10),
        optimizer=AdamConfig(num_steps=6_000, average_decay=0.998),
    )


PRESETS: dict[str, configs.JEMConfig] = {
    "jem": _jem(),
    "mnist-small": _small("mnist", 512),
    "fashion-small": _small("fashion_mnist", 256),
}
"""Configurations by name. Data files are not part of them."""


def preset(name: str) -> configs.JEMConfig:
    """Configuration by name, to be resolved with the data.

    Raises:
        InputError: for a name that is none of ``PRESETS``.

    Example:
        >>> from tempered_ebm.training.jem.presets import preset
        >>> preset("jem").optimizer.batch_size
        64
    """
    return named_presets.find(PRESETS, name)
