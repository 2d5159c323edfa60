"""Folders of images: a class is a sub-folder, the order is that of names, and what can't be read is named."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from PIL import Image

import mixanalysis as mx
from mixanalysis.errors import DataError

RNG = np.random.default_rng(0)


def save(path, height=6, width=4, channels=3):
    """An image of random pixels, stored without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (height, width, channels) if channels > 1 else (height, width), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels if channels > 1 else pixels[..., None]


def stored(data):
    return data.pixels.permute(0, 2, 3, 1).numpy()


def test_classes_and_order_are_those_of_names(tmp_path):
    images = {name: save(tmp_path / name) for name in ("b/2.png", "b/10.png", "a/z.PNG", "c/deep/1.bmp", "a/y.png")}
    data = mx.open_dataset(f"folder:{tmp_path}")
    order = ["a/y.png", "a/z.PNG", "b/10.png", "b/2.png", "c/deep/1.bmp"]
    np.testing.assert_array_equal(stored(data), np.stack([images[name] for name in order]))
    assert (data.labels.tolist(), data.classes, data.shape) == ([0, 0, 1, 1, 2], 3, (3, 6, 4))
    train = mx.open_dataset(f"folder:{tmp_path}", "train")
    assert (train.fingerprint, train.split) == (data.fingerprint, "train")
    assert float(data.images.min()) >= -1
    assert float(data.images.max()) <= 1


@pytest.mark.parametrize("test_name", ["test", "val", "validation"])
def test_splits_share_their_classes(test_name, tmp_path):
    for name in ("train/cat/1.png", "train/dog/1.png", f"{test_name}/dog/1.png", f"{test_name}/elk/1.png"):
        save(tmp_path / name)
    train, test = (mx.open_dataset(f"folder:{tmp_path}", split) for split in ("train", "test"))
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 1], [1, 2])
    assert train.classes == test.classes == 3


def test_grey_where_all_are_grey(tmp_path):
    grey = save(tmp_path / "a" / "1.png", channels=1)
    data = mx.open_dataset(f"folder:{tmp_path}")
    np.testing.assert_array_equal(stored(data)[0], grey)
    mean = sum((0.485, 0.456, 0.406)) / 3
    standard = mx.open_dataset(f"folder/standard:{tmp_path}").images[0, 0]
    np.testing.assert_allclose(standard, (grey[..., 0] / 255 - mean) / np.mean([0.229, 0.224, 0.225]), atol=1e-5)
    save(tmp_path / "b" / "1.png")
    coloured = mx.open_dataset(f"folder:{tmp_path}")
    assert coloured.shape == (3, 6, 4)
    np.testing.assert_array_equal(stored(coloured)[0], grey.repeat(3, axis=2))


def test_images_cover_the_shape_and_are_cropped_in_the_middle(tmp_path):
    (tmp_path / "a").mkdir()
    halves = np.zeros((8, 32, 3), np.uint8)
    halves[:, 12:20] = 200
    Image.fromarray(halves).save(tmp_path / "a" / "1.png")
    Image.fromarray(np.full((64, 64, 3), 77, np.uint8)).save(tmp_path / "a" / "2.png")
    with pytest.raises(DataError, match=r"images differ in size, 1.png has 32 x 8 pixels, 2.png 64 x 64; choose one w"):
        mx.open_dataset(f"folder:{tmp_path}")
    data = mx.open_dataset(f"folder:{tmp_path}", shape=(3, 8, 8))
    assert data.shape == (3, 8, 8)
    np.testing.assert_array_equal(stored(data)[0], 200)
    np.testing.assert_array_equal(stored(data)[1], 77)


def test_files_that_are_no_images_are_told(tmp_path):
    save(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "notes.txt").write_text("hello")
    (tmp_path / "README.md").write_text("not of a class")
    data = mx.open_dataset(f"folder:{tmp_path}")
    assert len(data) == 1
    assert data.note == "1 files that aren't images are left out, such as notes.txt"


def broken(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"no image at all")


def truncated(path):
    save(path, 64, 64)
    path.write_bytes(path.read_bytes()[:2000])


def deep(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 2**16, (4, 4), dtype=np.uint16)).save(path)


REFUSED = {
    "no image": (broken, r"1\.png: not an image that can be read: .*; remove it or store it again"),
    "truncated": (truncated, r"1\.png: not an image that can be read: .*; remove it or store it again"),
    "16 bits": (deep, r"1\.png: has pixels of mode I;16; store it with 8 bits a channel"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_images_that_are_refused(make, message, tmp_path):
    make(tmp_path / "a" / "1.png")
    with pytest.raises(DataError, match=message):
        mx.open_dataset(f"folder:{tmp_path}")


def test_no_images(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"holds no images \(\.bmp .*\), neither directly nor in sub-folders by class"):
        mx.open_dataset(f"folder:{tmp_path}")


def test_images_without_classes(tmp_path):
    for name in ("b", "a", ".hidden"):
        save(tmp_path / f"{name}.png")
    (tmp_path / "notes.txt").write_text("hello")
    data = mx.open_dataset(f"folder:{tmp_path}")
    assert (len(data), data.labels, data.classes) == (2, None, 0)
    assert [stamp.path.name for stamp in data.files] == ["a.png", "b.png"]
    assert data.note == "1 files that aren't images are left out, such as notes.txt"


def test_hidden_files_and_folders_are_no_images(tmp_path):
    for name in ("a/1", "a/2", "b/1"):
        save(tmp_path / f"{name}.png")
    before = mx.open_dataset(f"folder:{tmp_path}").fingerprint
    for name in ("a/._1", "a/.cache/0", ".git/0", "__MACOSX/.x/1"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.png").write_bytes(b"AppleDouble")
    data = mx.open_dataset(f"folder:{tmp_path}")
    assert (len(data), data.note) == (3, "")
    assert torch.equal(data.labels, torch.tensor([0, 0, 1]))
    assert data.fingerprint == before


def test_images_beside_the_classes_are_told(tmp_path):
    for name in ("a/1", "loose"):
        save(tmp_path / f"{name}.png")
    data = mx.open_dataset(f"folder:{tmp_path}")
    assert len(data) == 1
    assert data.note == "1 images outside of the sub-folders are left out, such as loose.png"


def test_a_folder_alone(tmp_path):
    with pytest.raises(DataError, match=r"is a folder; say what it holds: mnist:.*, fashion-mnist:.*, folder:"):
        mx.open_dataset(str(tmp_path))


def test_the_other_split_only(tmp_path):
    save(tmp_path / "train" / "a" / "1.png")
    with pytest.raises(DataError, match=r"holds train, but no test or val or validation$"):
        mx.open_dataset(f"folder:{tmp_path}", "test")


def test_without_pillow(tmp_path, monkeypatch):
    save(tmp_path / "a" / "1.png")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match=r"reading images needs Pillow; python -m pip install 'pillow>="):
        mx.open_dataset(f"folder:{tmp_path}")
