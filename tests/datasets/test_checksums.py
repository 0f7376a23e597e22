import dataclasses
import hashlib

import pytest

import tempered_ebm as te
from tempered_ebm.datasets import checksums
from tempered_ebm.training import run_folder

DIGITS = te.datasets.load_digits()


def test_the_checksum_is_that_of_run_folders_and_of_existing_ones():
    assert te.datasets.checksum(DIGITS) == run_folder.fingerprint(DIGITS) == 2195647720


def test_the_checksum_knows_order_and_strides_do_not_matter():
    reversed_twice = dataclasses.replace(DIGITS, x_train=DIGITS.x_train[::-1].copy()[::-1])
    assert te.datasets.checksum(reversed_twice) == te.datasets.checksum(DIGITS)
    backwards = dataclasses.replace(DIGITS, x_train=DIGITS.x_train[::-1])
    assert te.datasets.checksum(backwards) != te.datasets.checksum(DIGITS)


def test_every_published_checksum_is_an_md5():
    digests = [d for table in te.datasets.PUBLISHED_MD5.values() for d in table.values()]
    assert len(set(digests)) == len(digests) == 20
    assert all(len(bytes.fromhex(d)) == 16 for d in digests)


def test_files_are_compared_with_what_was_published(tmp_path, monkeypatch):
    table = {"svhn": {"a.mat": hashlib.md5(b"a").hexdigest()}}
    monkeypatch.setattr(checksums, "PUBLISHED_MD5", table)
    with pytest.raises(te.InputError, match=r"has no file a\.mat"):
        te.datasets.verify_published("svhn", tmp_path)
    (tmp_path / "a.mat").write_bytes(b"a")
    te.datasets.verify_published("svhn", tmp_path)
    (tmp_path / "a.mat").write_bytes(b"b")
    expected = r"a\.mat has MD5 92eb.*; expected 0cc1.*, as published"
    with pytest.raises(te.InputError, match=expected):
        te.datasets.verify_published("svhn", tmp_path)
