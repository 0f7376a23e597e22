import sys
import types

import numpy as np
import pytest
from PIL import Image as Pillow

import tempered_ebm as te
from tempered_ebm.datasets.dataset import split_indices
from tests.datasets import formats


class Image:
    """A feature by the name that the package gives it."""


class ClassLabel:
    pass


class Table(list):
    """As much of a table as a reader uses: rows that are dictionaries, and typed columns."""

    def __init__(self, rows, features):
        super().__init__(rows)
        self.features = features


def table(n, shape=(6, 6, 3), seed=0, labels=True):
    images = formats.pixels(n, shape, seed)
    rows = [{"label": i % 3, "img": Pillow.fromarray(image)} for i, image in enumerate(images)]
    if not labels:
        rows = [{"img": row["img"]} for row in rows]
    return images, Table(
        rows, {"label": ClassLabel(), "img": Image()} if labels else {"img": Image()}
    )


@pytest.fixture
def package(monkeypatch):
    module = types.ModuleType("datasets")
    module.known = {}

    def load_dataset(name):
        if name not in module.known:
            raise FileNotFoundError(f"Dataset '{name}' doesn't exist\non the hub")
        return module.known[name]

    module.load_dataset = load_dataset
    module.load_from_disk = lambda name: load_dataset(f"disk:{name}")
    monkeypatch.setitem(sys.modules, "datasets", module)
    return module


def test_splits_become_parts_with_labels(package):
    (a, train), (b, test), (c, validation) = table(5), table(3, seed=1), table(2, seed=2)
    package.known["who/shapes"] = {"train": train, "test": test, "validation": validation}
    data = te.datasets.load_huggingface("hf:who/shapes")
    assert data.name == "shapes"
    for part, images in (("train", a), ("test", b), ("validation", c)):
        np.testing.assert_array_equal(getattr(data, f"x_{part}"), te.datasets.from_bytes(images))
        assert getattr(data, f"y_{part}").tolist() == [i % 3 for i in range(len(images))]


def test_a_single_table_without_labels_on_disk_has_a_fifth_held_out(package, tmp_path):
    images, whole = table(10, (6, 6), labels=False)
    package.known[f"disk:{tmp_path}"] = whole
    data = te.datasets.load_huggingface(tmp_path)
    train, test = split_indices(10)
    assert data.y_train is None
    np.testing.assert_array_equal(data.x_train[..., 0], te.datasets.from_bytes(images[train]))
    np.testing.assert_array_equal(data.x_test[..., 0], te.datasets.from_bytes(images[test]))


def test_settings_reach_every_picture(package):
    package.known["a"] = {"train": table(5)[1], "test": table(3, (8, 9, 3))[1]}
    data = te.datasets.load_huggingface("a", 4, grayscale=True)
    assert data.image_shape == (4, 4, 1)
    with pytest.raises(
        te.InputError, match=r"a has images of shapes .*\(8, 9, 3\).*; expected one"
    ):
        te.datasets.load_huggingface("a")


def test_what_cannot_be_loaded_is_named(package):
    with pytest.raises(te.InputError, match=r"datasets cannot load b: Dataset 'b' doesn't exist$"):
        te.datasets.load_huggingface("hf:b")
    package.known["b"] = {"test": table(3)[1]}
    with pytest.raises(te.InputError, match="b has no split train; it has test"):
        te.datasets.load_huggingface("b")
    package.known["b"] = {"train": Table([{"text": "x"}], {"text": None})}
    with pytest.raises(te.InputError, match="b has no column of images; it has text"):
        te.datasets.load_huggingface("b")
    rows = [*table(2)[1], *table(1, (5, 6, 3))[1]]
    package.known["b"] = {"train": Table(rows, {"img": Image()})}
    with pytest.raises(te.InputError, match=r"image 2 of b \(train\) has shape \(5, 6, 3\)"):
        te.datasets.load_huggingface("b")
    package.known["b"] = {"train": table(1)[1]}
    with pytest.raises(te.InputError, match="has 1 images; expected at least 2"):
        te.datasets.load_huggingface("b")


def test_a_missing_package_is_named_with_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(te.InputError, match=r"datasets is not installed.*\[huggingface\]"):
        te.datasets.load_huggingface("hf:a")


def test_the_package_itself_reads_what_it_saved(tmp_path):
    hf = pytest.importorskip("datasets")
    images = formats.pixels(6, (5, 5, 3))
    features = hf.Features({"image": hf.Image(), "label": hf.ClassLabel(names=["a", "b"])})
    rows = {"image": [Pillow.fromarray(x) for x in images], "label": [0, 1] * 3}
    saved = hf.Dataset.from_dict(rows, features=features)
    hf.DatasetDict({"train": saved, "test": saved}).save_to_disk(tmp_path / "toy")
    data = te.datasets.load_huggingface(tmp_path / "toy")
    assert data.name == "toy"
    np.testing.assert_array_equal(data.x_test, te.datasets.from_bytes(images))
    assert data.y_train.tolist() == [0, 1] * 3
    saved.save_to_disk(tmp_path / "single")
    assert len(te.datasets.load_huggingface(tmp_path / "single").x_train) == 5
