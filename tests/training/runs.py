"""Tiny runs on the digits, shared by the tests of training."""

import dataclasses

import jax
import numpy as np

import tempered_ebm as te
from tempered_ebm.training import loop, run_folder
from tempered_ebm.training.config import RunConfig
from tempered_ebm.training.latent import config as configs
from tempered_ebm.training.logging import read_table

DIGITS = te.datasets.load_digits()


def tiny_config(tmp_path, name="run", *, num_steps=12, **groups):
    """A resolved configuration; ``groups`` replace whole groups of options."""
    run = RunConfig(output_dir=tmp_path, name=name, log_every=5, checkpoint_every=4)
    config = configs.LatentConfig(
        model=configs.LatentModelConfig(latent_dim=3, energy_widths=(8,), generator_width=8),
        chain=configs.LatentChainConfig(prior_steps=3, posterior_steps=2, sampling_steps=4),
        optimizer=configs.LatentOptimizerConfig(num_steps=num_steps, batch_size=400),
        run=run,
    )
    return dataclasses.replace(config, **groups).resolve(DIGITS)


def create(tmp_path, name="run", **changes):
    return run_folder.create(tiny_config(tmp_path, name, **changes), DIGITS)


def train(folder, **options):
    return loop.train(folder, DIGITS, show_progress=False, **options)


class InterruptAfter:
    """Stands in for the signal: asks to stop once it was consulted ``count`` times."""

    def __init__(self, count):
        self.left = count

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return None

    @property
    def is_set(self):
        self.left -= 1
        return self.left <= 0


def stop_after(monkeypatch, count):
    monkeypatch.setattr(loop, "InterruptFlag", lambda acknowledge: InterruptAfter(count))


def assert_same_tree(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def without_seconds(path):
    table = read_table(path)
    table.pop("seconds")
    return table
