import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tempered_ebm as te
from tempered_ebm import metrics
from tempered_ebm.metrics import memorization
from tests.metrics import checks_image_metrics as checks


def informed(*sets, **options):
    return metrics.memorization_informed_frechet_distance(*sets, **options)


def test_it_agrees_with_the_double_loop():
    checks.memorization_distance_agrees_with_the_double_loop()


def test_copies_are_multiplied_by_one_over_epsilon():
    checks.copies_are_multiplied_by_one_over_epsilon()


def test_new_images_keep_their_frechet_distance():
    rng = np.random.default_rng(0)
    new, held_out, training = rng.normal(size=(3, 50, 10))
    assert metrics.memorization_distance(new, training) > 0.1
    assert informed(new, held_out, training) == metrics.frechet_distance(new, held_out)


def test_copies_score_worse_than_new_images_though_their_frechet_distance_is_smaller():
    rng = np.random.default_rng(1)
    training, held_out = rng.normal(size=(2, 100, 10))
    new = 1.2 * rng.normal(size=(100, 10))
    assert metrics.frechet_distance(training, held_out) < metrics.frechet_distance(new, held_out)
    assert informed(training, held_out, training) > 100 * informed(new, held_out, training)


@pytest.mark.filterwarnings("ignore:features_:RuntimeWarning")
def test_the_threshold_itself_is_not_punished():
    training, generated = np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[3.0, 4.0], [3.0, -4.0]])
    assert metrics.memorization_distance(generated, training) == pytest.approx(0.4)
    threshold = metrics.memorization_distance(generated, training)
    plain = metrics.frechet_distance(generated, 2 * generated)
    at = informed(generated, 2 * generated, training, threshold=threshold)
    above = informed(generated, 2 * generated, training, threshold=threshold + 1e-9)
    assert at == plain
    assert above == pytest.approx(plain / 0.4, rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 100.0), st.integers(1, 7))
def test_it_does_not_change_with_scale_axes_or_blocks(seed, factor, rows):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(8, 3))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    value = metrics.memorization_distance(x, y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memorization, "_ROWS", rows)
        turned = metrics.memorization_distance(factor * x @ rotation, y @ rotation)
    np.testing.assert_allclose(turned, value, atol=1e-12)
    assert 0 <= value <= 1
    assert metrics.memorization_distance(y, y) < 1e-12


def test_bad_arguments_are_named():
    x = np.random.default_rng(0).normal(size=(6, 3))
    with pytest.raises(te.InputError, match=r"training must have a direction in every row.* row 1"):
        metrics.memorization_distance(x, np.array([[1.0, 0, 0], [0, 0, 0]]))
    with pytest.raises(te.InputError, match="training must have 3 columns, got 2"):
        metrics.memorization_distance(x, x[:, :2])
    with pytest.raises(te.InputError, match="generated must be finite"):
        informed(np.full((6, 3), np.nan), x, x)
    with pytest.raises(te.InputError, match="threshold must be between 0 and 1"):
        informed(x, x, x, threshold=2.0)
    with pytest.raises(te.InputError, match="epsilon must be positive"):
        informed(x, x, x, epsilon=0.0)
