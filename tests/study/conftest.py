import numpy as np
import pytest

from tempered_ebm.datasets import ImageDataset
from tempered_ebm.study import config as configs


@pytest.fixture(scope="session")
def dataset():
    """Noisy bars in four places: 4x4 images of four classes."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 160).astype(np.int32)
    images = -np.ones((160, 4, 4, 1), np.float32)
    images[np.arange(160), labels] = 1.0
    images += 0.1 * rng.normal(size=images.shape).astype(np.float32)
    return ImageDataset("bars", images[:120], images[120:], labels[:120], labels[120:])


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A study of two cells, each a job of its own, that takes seconds."""

    def make(output_dir=None, estimators=("covariance",), **place):
        return configs.StudyConfig(
            grid=configs.GridConfig(
                estimators=estimators,
                powers=(0.0, 3.0),
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
                output_dir=output_dir or tmp_path_factory.mktemp("studies"), **place
            ),
        )

    return make
