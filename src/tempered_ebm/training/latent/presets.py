"""Named configurations of training: those of papers, and reduced ones for two CPU cores.

The ``pang2020`` presets follow the official script of Pang et al. (2020) for SVHN: 100 latent
dimensions, an energy network of 200-200, a transposed-convolution generator of 512-256-128
channels, sigma 0.3, 60 prior and 20 posterior steps from N(0, I) with noise scales 0.4 and 0.1,
learning rates 2e-5 and 1e-4 times 0.998 an epoch, batches of 100, no weight decay, 201 epochs. On
CIFAR-10 and CelebA they are the same settings, with a generator of one more doubling for 64
pixels: no script for these was published. The ``thermo`` presets follow the settings file of
JAX-ThermoEBM (2024): ten temperatures, frozen thermodynamic integration, batches of 32, an energy
network of 100-100. Its power is an axis of its study; here it is 1.

Two things differ from both: one activation serves both networks (gelu; the originals' generator
has leaky rectifiers), and the generator's first-moment decay is 0.9 (theirs is 0.5).
"""

from __future__ import annotations

from tempered_ebm.training import named_presets
from tempered_ebm.training.data import DataConfig, Dataset
from tempered_ebm.training.latent import config as configs

_EPOCHS = 201
_TRAINING_IMAGES: dict[Dataset, int] = {
    "svhn": 73_257,
    "cifar10": 50_000,
    "celeba": 162_770,
}


def _paper(
    dataset: Dataset,
    *,
    batch_size: int,
    energy_widths: tuple[int, int],
    learning: configs.EstimatorConfig,
) -> configs.LatentConfig:
    epoch = _TRAINING_IMAGES[dataset] // batch_size
    rates = configs.RateConfig(
        prior_rate_schedule="exponential",
        generator_rate_schedule="exponential",
        rate_decay=0.998,
        rate_decay_every=epoch,
    )
    return configs.LatentConfig(
        data=DataConfig(dataset=dataset),
        model=configs.ModelConfig(
            latent_dim=100,
            sigma=0.3,
            energy_widths=energy_widths,
            generator="deconv",
            generator_width=64,
            activation="gelu",
        ),
        chain=configs.ChainConfig(chains="short_run"),
        learning=learning,
        optimizer=configs.OptimizerConfig(
            num_steps=_EPOCHS * epoch,
            batch_size=batch_size,
            prior_learning_rate=2e-5,
            generator_learning_rate=1e-4,
            weight_decay=0.0,
        ),
        rates=rates,
    )


def _pang2020(dataset: Dataset) -> configs.LatentConfig:
    return _paper(
        dataset, batch_size=100, energy_widths=(200, 200), learning=configs.EstimatorConfig()
    )


def _thermo(dataset: Dataset) -> configs.LatentConfig:
    learning = configs.EstimatorConfig(
        estimator="path", path_weight="frozen_ti", num_temperatures=10, power=1.0
    )
    return _paper(dataset, batch_size=32, energy_widths=(100, 100), learning=learning)


PRESETS: dict[str, configs.LatentConfig] = {
    **{f"pang2020-{name}": _pang2020(name) for name in _TRAINING_IMAGES},
    **{f"thermo-{name}": _thermo(name) for name in _TRAINING_IMAGES},
    "digits": configs.LatentConfig(),
    "mnist": configs.LatentConfig(data=DataConfig(dataset="mnist")),
    "svhn-small": configs.LatentConfig(
        data=DataConfig(dataset="svhn"),
        model=configs.ModelConfig(latent_dim=64, generator_width=16),
    ),
}
"""Configurations by name. Data files are not part of them, but for the embedded digits."""


def preset(name: str) -> configs.LatentConfig:
    """Configuration by name, to be resolved with the data.

    Raises:
        InputError: for a name that is none of ``PRESETS``.

    Example:
        >>> from tempered_ebm.training.latent.presets import preset
        >>> preset("pang2020-svhn").optimizer.batch_size
        100
    """
    return named_presets.find(PRESETS, name)
