import dataclasses

import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import metrics
from tempered_ebm.metrics import classifier_cache


@pytest.fixture(scope="module")
def digits():
    return te.datasets.load_digits()


def load(folder, digits, **changes):
    options = {"num_steps": 5, "seed": 0} | changes
    return metrics.cached_classifier_features(folder, digits.x_train, digits.y_train, **options)


@pytest.fixture
def fits(monkeypatch):
    """The number of classifiers trained."""
    made, fit = [], classifier_cache.fit_classifier_params

    def counted(*args):
        made.append(args)
        return fit(*args)

    monkeypatch.setattr(classifier_cache, "fit_classifier_params", counted)
    return made


def test_it_is_trained_once_and_read_again(tmp_path, digits, fits):
    first, again = load(tmp_path / "new" / "folder", digits), load(tmp_path / "new/folder", digits)
    assert len(fits) == 1
    fresh = metrics.fit_classifier_features(digits.x_train, digits.y_train, num_steps=5)
    for network in (first, again):
        for output in ("features", "predict", "probabilities"):
            np.testing.assert_array_equal(
                getattr(network, output)(digits.x_test), getattr(fresh, output)(digits.x_test)
            )


def test_other_settings_data_or_versions_are_other_files(tmp_path, digits, fits, monkeypatch):
    load(tmp_path, digits)
    load(tmp_path, digits, seed=1)
    load(tmp_path, digits, num_steps=6)
    changed = digits.x_train.copy()
    changed[0, 0, 0] += 0.5
    load(tmp_path, dataclasses.replace(digits, x_train=changed))
    load(tmp_path, dataclasses.replace(digits, y_train=digits.y_train[::-1].copy()))
    monkeypatch.setattr(classifier_cache, "version", lambda name: "0.0")
    load(tmp_path, digits)
    assert len(fits) == len(list(tmp_path.iterdir())) == 6


def test_a_damaged_file_is_named_and_made_anew(tmp_path, digits, fits):
    expected = load(tmp_path, digits).features(digits.x_test)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    with np.load(path) as archive:
        arrays = dict(archive)
    name = next(key for key in arrays if key.endswith("w"))
    arrays[name] = arrays[name] + 1e-3
    damages = [lambda: path.write_bytes(whole[:200]), lambda: path.write_bytes(b"")]
    damages += [lambda: np.savez(path, **arrays), lambda: np.savez(path, x=np.zeros(2))]
    for damage in damages:
        damage()
        with pytest.warns(RuntimeWarning, match=f"{path.name} .*; it is trained anew"):
            found = load(tmp_path, digits)
        np.testing.assert_array_equal(found.features(digits.x_test), expected)
        assert path.read_bytes() == whole
    assert len(fits) == 5


def test_bad_arguments_are_named(tmp_path, digits):
    with pytest.raises(te.InputError, match="num_steps must be an integer >= 1"):
        load(tmp_path, digits, num_steps=0)
    with pytest.raises(te.InputError, match="labels must have shape"):
        metrics.cached_classifier_features(tmp_path, digits.x_train, digits.y_test)
    with pytest.raises(te.InputError, match="labels must be integers from 0, got -1"):
        metrics.cached_classifier_features(tmp_path, digits.x_train, digits.y_train - 1)
    assert list(tmp_path.iterdir()) == []
