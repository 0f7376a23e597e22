import numpy as np
import pytest

from tempered_ebm.datasets import load_npz
from tempered_ebm.study import config as configs
from tempered_ebm.training.config import DataConfig


@pytest.fixture(scope="session")
def data_file(tmp_path_factory):
    """Noisy bars in four places: 4x4 images of four classes."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 160).astype(np.int32)
    images = np.full((160, 4, 4), 30.0)
    images[np.arange(160), labels] = 225.0
    images = (images + 12 * rng.normal(size=images.shape)).clip(0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("bars") / "bars.npz"
    np.savez(path, x_train=images[:120], x_test=images[120:], y_train=labels[:120],
             y_test=labels[120:])  # fmt: skip
    return path


@pytest.fixture(scope="session")
def dataset(data_file):
    return load_npz(data_file)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, data_file):
    """A study of two cells, each a job of its own, that share their programs."""

    def make(output_dir=None, estimators=("covariance",), powers=(1.0, 3.0), **place):
        return configs.StudyConfig(
            data=DataConfig(dataset="npz", data_file=data_file),
            grid=configs.GridConfig(
                estimators=estimators,
                powers=powers,
                num_temperatures=(3,),
                batch_sizes=(8,),
                posterior_steps=(2,),
                repeats=2,
            ),
            runs=configs.RunsConfig(num_steps=4, prior_steps=2),
            measure=configs.MeasureConfig(
                record_every=2,
                gradient_batches=3,
                gradient_repeats=2,
                num_quality=1,
                num_bias=1,
                num_images=40,
                sampling_steps=2,
                reference_steps=12,
            ),
            place=configs.PlaceConfig(
                output_dir=output_dir or tmp_path_factory.mktemp("studies"),
                most_runs_at_once=2,
                **place,
            ),
        )

    return make
