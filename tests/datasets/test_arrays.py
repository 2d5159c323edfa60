"""Images from .npz files: every kind that is read, and every one that is refused."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
import torch

import mixanalysis as mx
from mixanalysis.errors import DataError

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (5, 3, 4, 6), dtype=np.uint8)
FLOATS = RNG.normal(size=(5, 3, 4, 6))
LABELS = np.array([2, 0, 1, 1, 0])


def written(path, **arrays):
    np.savez_compressed(path, **arrays)
    return str(path)


class TestKinds:
    def test_bytes_are_mapped_to_minus_one_and_one(self, tmp_path):
        images = BYTES.copy()
        images[0, 0, 0, :3] = (0, 255, 51)
        data = mx.open_dataset(written(tmp_path / "a.npz", images=images))
        assert data.images.dtype == torch.float32
        assert data.images[0, 0, 0, :3].tolist() == pytest.approx([-1, 1, -0.6])
        np.testing.assert_allclose(data.images, images / 127.5 - 1, atol=1e-6)

    @pytest.mark.parametrize("kind", ["<f8", "<f4", "<f2", ">f4"])
    def test_floats_are_taken_as_they_are(self, kind, tmp_path):
        images = FLOATS.astype(kind)
        data = mx.open_dataset(written(tmp_path / "a.npz", images=images))
        assert data.images.dtype == torch.float32
        np.testing.assert_array_equal(data.images, images.astype(np.float32))

    def test_grey_images_get_their_channel(self, tmp_path):
        data = mx.open_dataset(written(tmp_path / "a.npz", images=FLOATS[:, 0]))
        assert data.images.shape == (5, 1, 4, 6)

    @pytest.mark.parametrize("kind", [np.int64, np.uint8, np.int32])
    def test_labels(self, kind, tmp_path):
        data = mx.open_dataset(written(tmp_path / "a.npz", images=BYTES, labels=LABELS.astype(kind)))
        assert data.labels.tolist() == LABELS.tolist()
        assert data.labels.dtype == torch.int64
        assert data.classes == 3

    def test_no_labels(self, tmp_path):
        data = mx.open_dataset(written(tmp_path / "a.npz", images=BYTES))
        assert (data.labels, data.classes) == (None, 0)

    @pytest.mark.parametrize(
        "names",
        [("x_test", "y_test"), ("X", "y"), ("test_images", "test_labels"), ("data", "target"), ("arr_0", "arr_1")],
    )
    def test_usual_names_of_arrays(self, names, tmp_path):
        images, labels = names
        others = {"x_train": BYTES[:2], "y_train": LABELS[:2]} if images == "x_test" else {}
        path = written(tmp_path / "a.npz", **others, **{images: BYTES, labels: LABELS[:, None]})
        data = mx.open_dataset(path)
        np.testing.assert_allclose(data.images, BYTES / 127.5 - 1, atol=1e-6)
        assert data.labels.tolist() == LABELS.tolist()

    def test_channels_as_the_last_axis(self, tmp_path):
        first = mx.open_dataset(written(tmp_path / "first.npz", images=BYTES))
        last = mx.open_dataset(written(tmp_path / "last.npz", images=BYTES.transpose(0, 2, 3, 1)))
        assert torch.equal(last.images, first.images)
        assert (first.note, last.note) == ("", "channels were the last axis")

    def test_three_rows_of_three_channels_are_channels_first(self, tmp_path):
        data = mx.open_dataset(written(tmp_path / "a.npz", images=FLOATS[:, :, :3, :3]))
        np.testing.assert_array_equal(data.images, FLOATS[:, :, :3, :3].astype(np.float32))

    def test_one_array(self, tmp_path):
        np.save(tmp_path / "a.npy", BYTES)
        data = mx.open_dataset(str(tmp_path / "a.npy"))
        assert data.fingerprint == mx.open_dataset(written(tmp_path / "a.npz", images=BYTES)).fingerprint
        assert data.labels is None
        assert [stamp.path for stamp in data.files] == [tmp_path / "a.npy"]

    def test_one_set_serves_as_both(self, tmp_path):
        path = written(tmp_path / "a.npz", images=BYTES, labels=LABELS)
        train, test = mx.open_dataset(path, "train"), mx.open_dataset(path, "test")
        assert train.fingerprint == test.fingerprint
        assert (train.split, test.split) == ("train", "test")

    def test_two_sets(self, tmp_path):
        path = written(
            tmp_path / "a.npz",
            images_train=BYTES,
            labels_train=LABELS,
            images_test=BYTES[:2],
            labels_test=np.array([4, 4]),
            extra=np.zeros(3),
        )
        train, test = mx.open_dataset(path, "train"), mx.open_dataset(path, "test")
        assert (len(train), len(test)) == (5, 2)
        assert test.labels.tolist() == [4, 4]
        assert train.name == path

    def test_images_keep_their_size(self, tmp_path):
        data = mx.open_dataset(written(tmp_path / "a.npz", images=BYTES))
        assert not data.resizable
        with pytest.raises(DataError, match=r"its images have shape 3 x 4 x 6, the network takes 3 x 8 x 12"):
            data.at((3, 8, 12))


REFUSED = {
    "a vector": ({"images": np.zeros(5)}, r"images must have shape \(N, channels, height, width\).*, got \(5,\)"),
    "a number": ({"images": np.float64(3)}, r"images must have shape .*, got \(\)"),
    "five axes": ({"images": np.zeros((1, 2, 3, 4, 5))}, r"images must have shape .*, got \(1, 2, 3, 4, 5\)"),
    "no image": ({"images": np.zeros((0, 3, 4, 4))}, r"images must have shape .*, got \(0, 3, 4, 4\)"),
    "whole numbers": ({"images": BYTES.astype(np.int32)}, r"images must be bytes or floating-point .*, got int32"),
    "complex numbers": ({"images": FLOATS.astype(complex)}, r"images must be bytes or .*, got complex128"),
    "text": ({"images": np.full((2, 3, 4, 4), "x")}, r"images must be bytes or .*, got <U1"),
    "other names": ({"u": BYTES, "v": LABELS}, r"holds u, v, but no images: none of images_test, images, x, X, data"),
    "nothing": ({}, r"holds no array, but no images: none of images_test, images"),
    "only the other set": ({"images_train": BYTES}, r"holds images_train, but no images: none of images_test, "),
    "labels of another length": ({"images": BYTES, "labels": LABELS[:4]}, r"labels must be 5 integers from 0, got"),
    "labels of another rank": (
        {"images": BYTES, "labels": np.stack([LABELS] * 2, axis=1)},
        r"got int64 of shape \(5, 2\)",
    ),
    "one label": (
        {"images": BYTES, "labels": np.int64(3)},
        r"labels must be 5 integers from 0, got int64 of shape \(\)",
    ),
    "real labels": ({"images": BYTES, "labels": LABELS * 1.0}, r"labels must be 5 integers from 0, got float64"),
    "negative labels": ({"images": BYTES, "labels": LABELS - 1}, r"labels must be 5 integers from 0"),
    "objects": ({"images": np.array([None] * 5)}, r"not a .npz file of plain arrays: Object arrays cannot be loaded"),
}


@pytest.mark.parametrize(("arrays", "message"), REFUSED.values(), ids=REFUSED)
def test_arrays_that_are_refused(arrays, message, tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=message) as caught:
        mx.open_dataset(str(path))
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_are_not_finite(value, tmp_path):
    images = FLOATS.copy()
    images[[2, 4], 1, 0, 0] = value
    path = written(tmp_path / "a.npz", images=images)
    with pytest.raises(DataError, match=r"image 2 holds NaN or infinite values in float32 \(2 images do\)"):
        mx.open_dataset(path)


def damaged(path, change):
    np.savez_compressed(path, images=RNG.integers(0, 256, (50, 8, 8), dtype=np.uint8))
    path.write_bytes(change(bytearray(path.read_bytes())))


def flipped(content):
    for position in range(100, 160):
        content[position] ^= 0xFF
    return content


DAMAGE = {
    "truncated": lambda content: content[:300],
    "flipped bits": flipped,
    "empty": lambda _content: b"",
    "text": lambda _content: b"this is no archive\n",
    "a pickle": lambda _content: b"\x80\x04K\x01.",
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE)
def test_damaged_files(change, tmp_path):
    path = tmp_path / "a.npz"
    damaged(path, change)
    with pytest.raises(DataError, match=r"not a .npz file of plain arrays: \S"):
        mx.open_dataset(str(path))


def test_a_single_array_under_the_wrong_name(tmp_path):
    path = tmp_path / "a.npz"
    with path.open("wb") as file:
        np.save(file, BYTES)
    with pytest.raises(DataError, match=r"not a .npz file of plain arrays: it is a single array without a name"):
        mx.open_dataset(str(path))


def test_an_archive_of_something_else(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images", "hello")
    with pytest.raises(DataError, match=r"images must have shape .*, got \(\)"):
        mx.open_dataset(str(path))


def test_a_missing_file(tmp_path):
    path = tmp_path / "none.npz"
    with pytest.raises(DataError, match=r"none.npz: no such file; give the path of a .npz file with images"):
        mx.open_dataset(str(path))


def test_a_folder(tmp_path):
    (tmp_path / "a.npz").mkdir()
    with pytest.raises(DataError, match=r"a.npz: not a .npz file of plain arrays: .*directory"):
        mx.open_dataset(str(tmp_path / "a.npz"))


def test_one_array_that_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"a\.npy: no such file; give the path of a \.npy file with images"):
        mx.open_dataset(str(tmp_path / "a.npy"))


def test_one_array_of_objects_is_never_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}, {}]), allow_pickle=True)
    with pytest.raises(DataError, match=r"a\.npy: not a \.npy file of a plain array: "):
        mx.open_dataset(str(tmp_path / "a.npy"))


def test_an_archive_under_the_name_of_an_array(tmp_path):
    np.savez(tmp_path / "a.npz", images=BYTES)
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(DataError, match=r"a\.npy: holds several arrays; rename it to \.npz"):
        mx.open_dataset(str(tmp_path / "a.npy"))
