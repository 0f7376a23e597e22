"""Measurements that models share: anomalies by a held-out class, and outliers."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.training import evaluation, loop, run_folder
from tempered_ebm.training.config import DataConfig, load_dataset
from tempered_ebm.training.latent import task
from tests.training.runs import DIGITS, tiny_config

DATA = DataConfig(held_out_label=3, validation=0.1)


def is_three(x):
    """An oracle: whether an image is one of the threes."""
    digits = te.datasets.load_digits()
    threes = {image.tobytes() for image in digits.x_test[digits.y_test == 3]}
    return np.array([float(image.tobytes() in threes) for image in x])


def test_every_test_image_is_scored_and_the_oracle_is_perfect():
    digits, dataset = te.datasets.load_digits(), load_dataset(DATA)
    scorers = {"oracle": is_three, "some": lambda x: is_three(x[:20])}
    oracle, some = evaluation.detect_anomalies(DATA, dataset, scorers)
    threes = int((digits.y_test == 3).sum())
    assert oracle.num_images == (len(digits.y_test) - threes, threes)
    assert some.num_images == (20, 20)
    assert (oracle.roc, oracle.precision_recall, oracle.protocol_precision_recall) == (1, 1, 1)
    assert oracle.prevalence == some.prevalence == pytest.approx(threes / len(digits.y_test))


def test_the_protocol_tests_with_the_whole_class_and_a_fifth_of_the_others():
    digits = te.datasets.load_digits()
    labels = np.concatenate([digits.y_train, digits.y_test])
    of_class, others = (labels == 3).sum(), (labels != 3).sum()
    (blind,) = evaluation.detect_anomalies(
        DATA, load_dataset(DATA), {"blind": lambda x: np.zeros(len(x))}
    )
    assert blind.protocol_prevalence == pytest.approx(of_class / (of_class + 0.2 * others))
    assert blind.protocol_precision_recall == pytest.approx(blind.protocol_prevalence)
    assert blind.precision_recall == pytest.approx(blind.prevalence)
    assert blind.roc == 0.5


def test_nothing_is_looked_for_without_a_held_out_class():
    assert evaluation.detect_anomalies(DataConfig(), te.datasets.load_digits(), {"no": None}) == []


@pytest.fixture
def cheap(monkeypatch):
    monkeypatch.setattr(task, "_MOST_EVIDENCES", 8)
    monkeypatch.setattr(task, "_CHEAP_STEPS", 3)
    monkeypatch.setattr(task, "_EVIDENCE_STEPS", 5)


@pytest.mark.slow
@pytest.mark.usefixtures("cheap")
def test_the_evaluation_of_such_a_run_has_both_scores(tmp_path):
    data = DataConfig(held_out_label=3)
    dataset = load_dataset(data)
    config = dataclasses.replace(tiny_config(tmp_path), data=data)
    folder = run_folder.create(config.resolve(dataset), dataset)
    result = loop.train(folder, dataset, show_progress=False)
    found = loop.evaluate(folder, dataset, result.params, result.step)
    assert [row.score for row in found.anomalies] == ["joint energy", "log-evidence"]
    assert found.anomalies[1].num_images == (8, 8)
    assert "class 3 found among held-out images" in str(found)
    assert all(0 <= row.roc <= 1 for row in found.anomalies)
    saved = json.loads(folder.evaluation.read_text())
    assert saved["held_out_label"] == 3
    assert [row["score"] for row in saved["anomalies"]] == ["joint energy", "log-evidence"]


@pytest.mark.filterwarnings("ignore:.*hardly swap")
def test_images_far_from_the_data_have_the_larger_scores(tmp_path):
    """Signs: noise has less evidence and a higher joint energy than digits, even untrained."""
    config = tiny_config(tmp_path)
    model = task.build_model(config, (8, 8, 1), sampling=True)
    params = jax.jit(model.init)(jax.random.key(0))
    scorers = task._scorers(jax.random.key(1), model, params)
    mild, wild = np.zeros((6, 8, 8, 1), np.float32), np.full((6, 8, 8, 1), 3.0, np.float32)
    for scorer in scorers.values():
        assert scorer(wild).min() > scorer(mild).max()


def test_other_images_are_none_of_the_data():
    x = DIGITS.x_test[:20]
    others = evaluation.other_images(np.random.default_rng(0), x)
    assert set(others) == {"shuffled pixels", "uniform noise", "inverted images"}
    shuffled = others["shuffled pixels"].reshape(20, -1)
    np.testing.assert_array_equal(np.sort(shuffled), np.sort(x.reshape(20, -1)))
    assert not np.array_equal(others["shuffled pixels"], x)
    np.testing.assert_array_equal(others["inverted images"], -x)


def test_areas_count_pairs_in_the_right_order():
    """Three of the four pairs are ordered as they should be; the second score has them reversed."""
    x, other = np.array([1.0, 3.0]), np.array([0.0, 2.0])
    *_, row = evaluation.detect_outliers(
        ("score", "reversed"), lambda x: jnp.stack([x, -x], -1), x, {"other": other}, seed=0
    )
    assert row == evaluation.OutlierRow("other", {"score": 0.75, "reversed": 0.25})
    assert evaluation.outlier_lines([row])[1].split() == ["other", "0.7500", "0.2500"]
    assert evaluation.outlier_lines([]) == []


def archive(path, shape, n=10):
    images = np.random.default_rng(0).integers(0, 256, (n, *shape), np.uint8)
    np.savez(path, x_train=images, x_test=images[:4])
    return path


def test_files_are_brought_to_the_shape_of_the_model(tmp_path):
    paths = [archive(tmp_path / "gray.npz", (8, 8)), archive(tmp_path / "colour.npz", (16, 16, 3))]
    others = evaluation.load_others(paths, (8, 8, 1), 3)
    assert {name: x.shape for name, x in others.items()} == {
        "gray": (3, 8, 8, 1),
        "colour": (3, 8, 8, 1),
    }
    np.savez(tmp_path / "tested.npz", x_test=np.load(paths[0])["x_test"])
    alone = evaluation.load_others([tmp_path / "tested.npz"], (8, 8, 1), 3)["tested"]
    np.testing.assert_array_equal(alone, others["gray"])
    expected = np.load(paths[0])["x_test"][:3, ..., None] / 127.5 - 1
    np.testing.assert_allclose(others["gray"], expected, atol=1e-6)


def test_files_that_do_not_fit_are_named(tmp_path):
    gray = archive(tmp_path / "gray.npz", (8, 8))
    with pytest.raises(te.InputError, match=r"gray.npz must hold images .* shape \(8, 8, 3\)"):
        evaluation.load_others([gray], (8, 8, 3), 5)
    with pytest.raises(te.InputError, match="got gray twice"):
        evaluation.load_others([gray, gray], (8, 8, 1), 5)
