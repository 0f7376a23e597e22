import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import metrics
from tests import ground_truths as gt


def test_the_distance_is_the_mean_over_pairs():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(5, 3)) + 1
    between = np.mean([np.linalg.norm(a - b) for a in x for b in y])

    def within(z):
        return np.mean([np.linalg.norm(z[i] - z[j]) for i in range(len(z)) for j in range(len(z))
                        if i != j])  # fmt: skip

    expected = 2 * between - within(x) - within(y)
    assert metrics.energy_distance(x, y) == pytest.approx(expected, rel=1e-12)


@pytest.mark.statistical
def test_it_is_unbiased_for_equal_laws():
    """In one dimension, for two normals of the same law, its mean is zero."""
    rng = gt.rng(400)
    values = [
        metrics.energy_distance(rng.normal(size=(20, 1)), rng.normal(size=(20, 1)))
        for _ in range(2000)
    ]
    gt.assert_expectations(np.array(values)[:, None], 0.0, "energy distance")


@pytest.mark.statistical
def test_it_has_its_closed_form_for_shifted_normals():
    """E|N(m, 2)| by the folded normal; E|N(0, 2)| = 2 / sqrt(pi)."""
    from scipy import stats

    rng, shift = gt.rng(401), 1.5
    folded = stats.foldnorm.mean(shift / np.sqrt(2), scale=np.sqrt(2))
    values = [
        metrics.energy_distance(rng.normal(size=(20, 1)), rng.normal(size=(20, 1)) + shift)
        for _ in range(2000)
    ]
    expected = 2 * folded - 4 / np.sqrt(np.pi)
    gt.assert_expectations(np.array(values)[:, None], expected, "energy distance")


@pytest.mark.parametrize("shapes", [((1, 2), (3, 2)), ((3, 2), (3, 1)), ((3,), (3, 1))])
def test_other_shapes_are_named(shapes):
    with pytest.raises(te.InputError, match="x and y must have shapes"):
        metrics.energy_distance(*(np.zeros(shape) for shape in shapes))
