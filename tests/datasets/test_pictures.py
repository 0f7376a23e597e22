import errno
import os

import numpy as np
import pytest
from PIL import Image

import tempered_ebm as te
from tempered_ebm import _files
from tempered_ebm.datasets import pictures
from tempered_ebm.datasets.dataset import split_indices
from tests.datasets import formats


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def write_folder(root, n=10, shape=(6, 6, 3), names="{:02d}.png"):
    images = formats.pixels(n, shape)
    for i, pixels in enumerate(images):
        save(root / names.format(i), pixels)
    return images


def caches(root):
    return sorted((root / ".tempered_ebm_cache").iterdir())


def test_pictures_of_one_size_come_as_they_are_in_order_of_their_names(tmp_path):
    images = write_folder(tmp_path / "faces")
    data = te.datasets.load_folder(tmp_path / "faces")
    train, test = split_indices(10)
    assert data.name == "faces"
    assert data.y_train is None
    np.testing.assert_array_equal(data.x_train, te.datasets.from_bytes(images[train]))
    np.testing.assert_array_equal(data.x_test, te.datasets.from_bytes(images[test]))


def test_subfolders_are_classes_in_alphabetical_order(tmp_path):
    for name, level in (("dog", 200), ("cat", 100), (".hidden", 0)):
        for i in range(5):
            save(tmp_path / name / f"{i}.PNG", np.full((4, 4), level + i, np.uint8))
    data = te.datasets.load_folder(tmp_path, grayscale=True)
    assert data.image_shape == (4, 4, 1)
    level = (data.x_train[:, 0, 0, 0] + 1) * 127.5
    np.testing.assert_array_equal(data.y_train, (level > 150).astype(int))
    assert len(data.y_train) + len(data.y_test) == 10


def test_folders_train_and_test_are_the_parts(tmp_path):
    for part, names in (("train", "abc"), ("test", "bc")):
        for name in names:
            for i in range(2):
                save(tmp_path / part / name / f"{i}.png", np.zeros((4, 4, 3), np.uint8))
    data = te.datasets.load_folder(tmp_path)
    assert data.y_train.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.y_test.tolist() == [1, 1, 2, 2]
    save(tmp_path / "test" / "d" / "0.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(te.InputError, match=r"has a subfolder d; expected classes .* a, b, c"):
        te.datasets.load_folder(tmp_path)


@pytest.mark.parametrize("is_tall", [True, False])
def test_the_centre_square_is_resized(tmp_path, is_tall):
    pixels = np.zeros((4, 10, 3), np.uint8)
    pixels[:, 3:5] = 40
    pixels[:, 5:7] = 240
    pixels = np.ascontiguousarray(np.swapaxes(pixels, 0, 1)) if is_tall else pixels
    for i in range(3):
        save(tmp_path / f"{i}.png", pixels)
    data = te.datasets.load_folder(tmp_path, 2)
    # A triangle two pixels wide on either side weighs the three nearest by 3, 3 and 1.
    expected = te.datasets.from_bytes(np.array([69, 211], np.uint8))
    image = data.x_train[0, :, :, 1].T if is_tall else data.x_train[0, :, :, 1]
    np.testing.assert_array_equal(image, [expected, expected])


def test_sideways_photographs_are_turned_upright(tmp_path):
    pixels = formats.pixels(1, (4, 4, 3))[0]
    exif = Image.Exif()
    exif[0x0112] = 6
    for i in range(2):
        save(tmp_path / f"{i}.png", pixels, exif=exif)
    row = pictures.read_picture(tmp_path / "0.png", pictures.PictureSettings())
    np.testing.assert_array_equal(row, np.rot90(pixels, -1))


def test_decoded_pictures_are_kept_until_a_file_or_a_setting_changes(tmp_path, monkeypatch):
    write_folder(tmp_path)
    first = te.datasets.load_folder(tmp_path, 4)
    kept = caches(tmp_path)
    assert len(kept) == 1
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "read_picture", lambda *_: pytest.fail("decoded again"))
        again = te.datasets.load_folder(tmp_path, 4)
        np.testing.assert_array_equal(first.x_train, again.x_train)
        moved = tmp_path.with_name(tmp_path.name + "-moved")
        tmp_path.rename(moved)
        te.datasets.load_folder(moved, 4)
        moved.rename(tmp_path)
    te.datasets.load_folder(tmp_path, 4, grayscale=True)
    assert len(caches(tmp_path)) == 2
    os.utime(tmp_path / "03.png", ns=(0, 0))
    te.datasets.load_folder(tmp_path, 4)
    assert len(caches(tmp_path)) == 3
    save(tmp_path / "03.png", np.zeros((6, 6, 3), np.uint8))
    changed = te.datasets.load_folder(tmp_path, 4)
    assert len(caches(tmp_path)) == 4
    assert te.datasets.checksum(changed) != te.datasets.checksum(first)


def test_a_damaged_cache_is_made_again(tmp_path):
    write_folder(tmp_path)
    whole = te.datasets.load_folder(tmp_path, 4)
    [path] = caches(tmp_path)
    good = path.read_bytes()
    for content in (b"", b"hello", good[:200]):
        path.write_bytes(content)
        np.testing.assert_array_equal(te.datasets.load_folder(tmp_path, 4).x_train, whole.x_train)
        assert path.read_bytes() == good


def test_a_picture_that_fails_leaves_no_cache(tmp_path):
    write_folder(tmp_path)
    path = tmp_path / "09.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(te.InputError, match=r"09\.png cannot be read as a picture"):
        te.datasets.load_folder(tmp_path)
    assert caches(tmp_path) == []


def test_a_folder_that_cannot_be_written_to_is_read_with_a_warning(tmp_path, monkeypatch):
    images = write_folder(tmp_path)
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="cannot keep decoded pictures in .*file"):
        data = te.datasets.load_folder(tmp_path, cache_dir=tmp_path / "file")
    train, _ = split_indices(10)
    np.testing.assert_array_equal(data.x_train, te.datasets.from_bytes(images[train]))

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_files.os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*\.npy"):
        te.datasets.load_folder(tmp_path)
    assert caches(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot identify image file"),
        (b"\xff\xd8\xff\xe0 not a jpeg", ""),
        (None, "truncated"),
    ],
)
def test_a_damaged_jpeg_is_named(tmp_path, content, message):
    for i in range(3):
        save(tmp_path / f"{i}.jpg", formats.pixels(1, (40, 40, 3))[0])
    path = tmp_path / "1.jpg"
    path.write_bytes(path.read_bytes()[:700] if content is None else content)
    with pytest.raises(te.InputError, match=rf"1\.jpg cannot be read as a picture.*{message}"):
        te.datasets.load_folder(tmp_path)


def test_what_a_folder_must_not_be_is_named(tmp_path):
    with pytest.raises(te.InputError, match="has 0 pictures; expected at least 2 PNG or JPEG"):
        te.datasets.load_folder(tmp_path)
    write_folder(tmp_path)
    save(tmp_path / "a" / "0.png", np.zeros((6, 6, 3), np.uint8))
    with pytest.raises(te.InputError, match=r"both in it \(00\.png\) and in subfolders \(a/0\.png"):
        te.datasets.load_folder(tmp_path)
    (tmp_path / "a" / "0.png").unlink()
    save(tmp_path / "05.png", np.zeros((6, 7, 3), np.uint8))
    with pytest.raises(te.InputError, match=r"05\.png has 7x6 pixels, and .*00\.png 6x6"):
        te.datasets.load_folder(tmp_path)
    save(tmp_path / "05.png", np.zeros((6, 6), np.uint16))
    with pytest.raises(te.InputError, match=r"05\.png .*mode I;16; expected 8 bits a channel"):
        te.datasets.load_folder(tmp_path)


def test_bad_settings_are_named_before_anything_is_read(tmp_path):
    with pytest.raises(te.InputError, match="image_size must be an integer >= 1, got 0"):
        te.datasets.load_folder(tmp_path, 0)
