import pytest

import tempered_ebm as te
from tempered_ebm import metrics


@pytest.fixture(scope="session")
def digits():
    return te.datasets.load_digits()


@pytest.fixture(scope="session")
def classifier(digits):
    return metrics.fit_classifier_features(digits.x_train, digits.y_train, num_steps=300)
