"""The kinds of models that can be trained, by name: where the loop meets each of them.

A kind is a configuration, light enough to be loaded for ``--help``, and hooks into the code of
the model, loaded when they are first asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tempered_ebm.errors import InputError
from tempered_ebm.training.autoencoder import config as autoencoder
from tempered_ebm.training.config import BaseConfig
from tempered_ebm.training.data_ebm import config as data_ebm
from tempered_ebm.training.jem import config as jem
from tempered_ebm.training.latent import config as latent
from tempered_ebm.training.vae import config as vae

if TYPE_CHECKING:
    import numpy as np

    from tempered_ebm.models import DataEBM
    from tempered_ebm.training.learner import Learner
    from tempered_ebm.training.walks import Walk
    from tempered_ebm.types import Params


class Hooks(NamedTuple):
    """What training, sampling and evaluation ask of a kind of model.

    Attributes:
        build_learner: ``(config, dataset, shard) -> learner``.
        init_params: ``(config, event_shape, rng_key) -> params``.
        generate: ``(config, folder, params, rng_key, num_samples) -> observations``.
        evaluate: ``(folder, dataset, params, step, seed=) -> table`` to be printed; writes it,
            and pictures, into the folder.
        walk: ``(config, folder, params, rng_key, num_samples, num_frames) -> walk`` of chains that
            start as sampling does, or None for a model that is sampled without chains.
        takes_others: whether ``evaluate`` takes ``others``, files of images to be told from the
            data.
        density: ``(config, event_shape, num_steps) -> model`` of observations, a ``DataEBM`` that
            shares the parameters and has the chain of sampling, of ``num_steps`` steps if that is
            not None; None for a model without a density of observations.
        num_classes: ``(config) -> number``, if ``generate`` and ``walk`` take the ``label`` of
            each chain.
    """

    build_learner: Callable[..., Learner]
    init_params: Callable[..., Params]
    generate: Callable[..., np.ndarray]
    evaluate: Callable[..., Any]
    walk: Callable[..., Walk] | None = None
    takes_others: bool = False
    density: Callable[..., DataEBM] | None = None
    num_classes: Callable[..., int] | None = None


@dataclass(frozen=True)
class Kind:
    """One kind of model.

    Attributes:
        name: as on the command line and in ``config.json``.
        config: class of its configurations.
        validate: checks what can be checked without the data.
        resolve: fills in what depends on the data.
        scaled: ``(config, factor) -> config`` with other learning rates and step sizes.
        package: with a module ``hooks``.
    """

    name: str
    config: type[BaseConfig]
    validate: Callable[[Any], None]
    resolve: Callable[[Any, Any], Any]
    scaled: Callable[[Any, float], Any]
    package: str

    @property
    def hooks(self) -> Hooks:
        """The code of the model."""
        return importlib.import_module(f"{self.package}.hooks").HOOKS


KINDS: dict[str, Kind] = {
    "latent": Kind(
        "latent",
        latent.LatentConfig,
        latent.validate,
        latent.resolve,
        latent.scaled,
        "tempered_ebm.training.latent",
    ),
    "data": Kind(
        "data",
        data_ebm.DataEBMConfig,
        data_ebm.validate,
        data_ebm.resolve,
        data_ebm.scaled,
        "tempered_ebm.training.data_ebm",
    ),
    "autoencoder": Kind(
        "autoencoder",
        autoencoder.AutoencoderConfig,
        autoencoder.validate,
        autoencoder.resolve,
        autoencoder.scaled,
        "tempered_ebm.training.autoencoder",
    ),
    "jem": Kind(
        "jem", jem.JEMConfig, jem.validate, jem.resolve, jem.scaled, "tempered_ebm.training.jem"
    ),
    "vae": Kind(
        "vae",
        vae.VAEConfig,
        vae.validate,
        vae.resolve,
        vae.scaled,
        "tempered_ebm.training.vae",
    ),
}
"""Every kind, by name."""


def named(name: Any) -> Kind:
    """The kind of a name.

    Raises:
        InputError: if there is none.
    """
    if name not in KINDS:
        raise InputError(f"kind must be one of {', '.join(KINDS)}, got {name!r}")
    return KINDS[name]


def of(config: BaseConfig) -> Kind:
    """The kind that a configuration belongs to.

    Raises:
        InputError: if it is a subclass of none.
    """
    for kind in KINDS.values():
        if isinstance(config, kind.config):
            return kind
    raise InputError(f"config must belong to one of {', '.join(KINDS)}, got {type(config)}")
