"""MNIST, CIFAR and STL-10 from files that are made here byte by byte, and every file that is refused."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct

import numpy as np
import pytest
import torch

import mixanalysis as mx
from mixanalysis.datasets import cifar, local, mnist, official, stl10
from mixanalysis.errors import DataError
from mixanalysis.families.sizes import Sizes
from mixanalysis.training import plan

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (7, 5, 4), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
LARGE = RNG.integers(0, 256, (3, 3, 96, 96), dtype=np.uint8)
DIGITS = [7, 2, 1, 0, 4, 1, 9]
CLASSES = [3, 8, 8, 0, 6, 9]
FINE = [3, 99, 8, 0, 61, 9]


def idx_images(images):
    return struct.pack(">4B3i", 0, 0, 8, 3, *images.shape) + images.tobytes()


def idx_labels(labels):
    return struct.pack(">4Bi", 0, 0, 8, 1, len(labels)) + bytes(labels)


def write_mnist(folder, *, packed=False):
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "train-images-idx3-ubyte": idx_images(GREY),
        "train-labels-idx1-ubyte": idx_labels(DIGITS),
        "t10k-images-idx3-ubyte": idx_images(GREY[:2]),
        "t10k-labels-idx1-ubyte": idx_labels(DIGITS[:2]),
    }
    for name, data in contents.items():
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(data) if packed else data)
    return contents


def cifar_records(images, *labels):
    return b"".join(bytes(each) + image.tobytes() for image, *each in zip(images, *labels, strict=True))


def write_cifar10(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(5):
        (folder / f"data_batch_{number + 1}.bin").write_bytes(
            cifar_records(np.roll(COLOUR, number, axis=0), np.roll(CLASSES, number).tolist())
        )
    (folder / "test_batch.bin").write_bytes(cifar_records(COLOUR[:2], CLASSES[:2]))


def write_cifar100(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.bin").write_bytes(cifar_records(COLOUR, [19] * 6, FINE))
    (folder / "test.bin").write_bytes(cifar_records(COLOUR[:2], [0, 1], FINE[:2]))


def write_stl10(folder):
    folder.mkdir(parents=True, exist_ok=True)
    # column by column: the transposed image in C order
    stored = LARGE.transpose(0, 1, 3, 2).copy().tobytes()
    for split in ("train", "test"):
        (folder / f"{split}_X.bin").write_bytes(stored)
        (folder / f"{split}_y.bin").write_bytes(bytes([1, 10, 4]))


def bytes_of(data):
    return ((data.images + 1) * 127.5).round().to(torch.uint8).numpy()


class TestMnist:
    @pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
    @pytest.mark.parametrize("place", ["", "raw", "MNIST/raw"])
    def test_both_splits(self, place, packed, tmp_path):
        write_mnist(tmp_path / place, packed=packed)
        name = f"mnist:{tmp_path}"
        train, test = mx.open_dataset(name, "train"), mx.open_dataset(name, "test")
        np.testing.assert_array_equal(bytes_of(train), GREY[:, None])
        assert (train.labels.tolist(), test.labels.tolist()) == (DIGITS, DIGITS[:2])
        assert (len(train), train.shape, train.classes, train.name, train.split) == (7, (1, 5, 4), 10, name, "train")
        assert (len(test), test.split, test.labels.dtype) == (2, "test", torch.int64)

    def test_the_plain_file_comes_first(self, tmp_path):
        write_mnist(tmp_path, packed=True)
        (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_images(GREY[::-1].copy()))
        np.testing.assert_array_equal(bytes_of(mx.open_dataset(f"mnist:{tmp_path}", "train")), GREY[::-1, None])


def test_cifar10(tmp_path):
    write_cifar10(tmp_path / "cifar-10-batches-bin")
    train, test = (mx.open_dataset(f"cifar10:{tmp_path}", split) for split in ("train", "test"))
    assert (train.images.shape, train.classes, train.images.dtype) == ((30, 3, 32, 32), 10, torch.float32)
    np.testing.assert_array_equal(bytes_of(test), COLOUR[:2])
    # the batches in their order
    np.testing.assert_array_equal(bytes_of(train)[6:12], np.roll(COLOUR, 1, axis=0))
    assert train.labels[6:12].tolist() == np.roll(CLASSES, 1).tolist()
    assert mx.open_dataset(f"cifar10:{tmp_path / 'cifar-10-batches-bin'}", "train").fingerprint == train.fingerprint


def test_cifar100_has_the_fine_labels(tmp_path):
    write_cifar100(tmp_path)
    train, test = (mx.open_dataset(f"cifar100:{tmp_path}", split) for split in ("train", "test"))
    np.testing.assert_array_equal(bytes_of(train), COLOUR)
    assert (train.labels.tolist(), test.labels.tolist(), train.classes) == (FINE, FINE[:2], 100)


def test_stl10_needs_no_unlabelled_images(tmp_path):
    write_stl10(tmp_path / "stl10_binary")
    train = mx.open_dataset(f"stl10:{tmp_path}", "train")
    np.testing.assert_array_equal(bytes_of(train), LARGE)
    assert (train.labels.tolist(), train.classes) == ([0, 9, 3], 10)


def test_stl10_trains_at_the_size_asked_for(tmp_path):
    write_stl10(tmp_path)
    config, (training, _) = plan("mixer", Sizes(channels=4, depth=1), f"stl10:{tmp_path}", image_size=32)
    assert config.input_shape == (3, 32, 32)
    assert training.at(config.input_shape).images.shape == (3, 3, 32, 32)
    assert plan("mixer", Sizes(channels=4, depth=1), f"stl10:{tmp_path}")[0].input_shape == (3, 96, 96)


class TestScales:
    def test_of_bytes(self, tmp_path):
        write_cifar10(tmp_path)
        symmetric, default, unit, standard = (
            mx.open_dataset(f"{kind}:{tmp_path}").images
            for kind in ("cifar10/symmetric", "cifar10", "cifar10/unit", "cifar10/standard")
        )
        assert torch.equal(symmetric, default)
        torch.testing.assert_close(default, 2 * unit - 1)
        np.testing.assert_allclose(unit, COLOUR[:2] / 255, atol=1e-7)
        mean, std = np.array([0.4914, 0.4822, 0.4465]), np.array([0.2470, 0.2435, 0.2616])
        expected = (COLOUR[:2] / 255 - mean[:, None, None]) / std[:, None, None]
        np.testing.assert_allclose(standard, expected, atol=1e-5)

    def test_of_mnist(self, tmp_path):
        write_mnist(tmp_path)
        images = mx.open_dataset(f"mnist/standard:{tmp_path}", "train").images
        np.testing.assert_allclose(images[:, 0], (GREY / 255 - 0.1307) / 0.3081, atol=1e-5)

    def test_unknown(self, tmp_path):
        with pytest.raises(DataError, match=r"mnist/log:.*: unknown scale 'log' .*; known are symmetric, unit, stand"):
            mx.open_dataset(f"mnist/log:{tmp_path}")


class TestLazy:
    def test_bytes_stay_bytes(self, tmp_path):
        write_cifar10(tmp_path)
        data = mx.open_dataset(f"cifar10:{tmp_path}", "train")
        assert data.pixels.dtype == torch.uint8
        assert torch.equal(torch.cat(list(data.batches(7))), data.images)
        index = torch.tensor([4, 0, 29])
        assert torch.equal(data.take(index), data.images[index])
        assert torch.equal(data.first(3).images, data.images[:3])

    def test_resized_ones_too(self, tmp_path):
        write_cifar10(tmp_path)
        data = mx.open_dataset(f"cifar10:{tmp_path}", "train")
        resized = data.at((3, 20, 12))
        expected = torch.nn.functional.interpolate(data.images, (20, 12), mode="bilinear", antialias=True)
        torch.testing.assert_close(resized.images, expected)
        assert resized.shape == (3, 20, 12)
        assert torch.equal(torch.cat(list(resized.batches(4))), resized.images)
        settled = resized.settled()
        assert torch.equal(settled.pixels, resized.images)
        assert settled.fingerprint == resized.fingerprint != data.fingerprint
        # resizing again starts from the resized images
        twice = torch.nn.functional.interpolate(resized.images, (8, 8), mode="bilinear", antialias=True)
        torch.testing.assert_close(resized.at((3, 8, 8)).images, twice)

    def test_grey_for_a_network_of_colours(self, tmp_path):
        write_mnist(tmp_path)
        data = mx.open_dataset(f"mnist:{tmp_path}", "train")
        coloured = data.at((3, 5, 4)).images
        assert all(torch.equal(coloured[:, colour], data.images[:, 0]) for colour in range(3))

    def test_files_are_read_once_unless_they_change(self, tmp_path, monkeypatch):
        write_cifar100(tmp_path)
        reads = []
        kind = local.KINDS["cifar100"]
        counted = kind._replace(read=lambda *args: reads.append(args) or kind.read(*args))
        monkeypatch.setitem(local.KINDS, "cifar100", counted)
        local._read.cache_clear()
        first = mx.open_dataset(f"cifar100:{tmp_path}", "train")
        again = mx.open_dataset(f"cifar100/unit:{tmp_path}", "train")
        assert first.pixels is again.pixels
        assert len(reads) == 1
        (tmp_path / "train.bin").write_bytes(cifar_records(COLOUR[::-1], [0] * 6, FINE))
        os.utime(tmp_path / "train.bin", ns=(1, 1))
        changed = mx.open_dataset(f"cifar100:{tmp_path}", "train")
        assert len(reads) == 2
        np.testing.assert_array_equal(bytes_of(changed), COLOUR[::-1])


@pytest.mark.parametrize(
    ("kind", "source"), [("fashion-mnist", mnist.FASHION), ("kmnist", mnist.KUZUSHIJI)], ids=["fashion", "kmnist"]
)
def test_other_sets_of_the_same_format(kind, source, tmp_path):
    write_mnist(tmp_path / source.folders[0])
    data = mx.open_dataset(f"{kind}:{tmp_path}", "train")
    np.testing.assert_array_equal(bytes_of(data), GREY[:, None])
    assert data.labels.tolist() == DIGITS
    assert set(source.sums or source.packed) == set(mnist.MNIST.sums)
    with pytest.raises(DataError, match=rf"get the four files \*-ubyte.gz.*described at {source.home}"):
        mx.open_dataset(f"{kind}:{tmp_path.parent}")


class TestEMNIST:
    @staticmethod
    def write(folder, variant, images=GREY):
        folder.mkdir(parents=True, exist_ok=True)
        for split in ("train", "test"):
            (folder / f"emnist-{variant}-{split}-images-idx3-ubyte").write_bytes(idx_images(images))
            (folder / f"emnist-{variant}-{split}-labels-idx1-ubyte").write_bytes(idx_labels(DIGITS))

    def test_the_only_variant(self, tmp_path):
        self.write(tmp_path / "gzip", "letters")
        data = mx.open_dataset(f"emnist:{tmp_path}")
        np.testing.assert_array_equal(bytes_of(data), GREY[:, None])
        assert data.note.startswith("no checksum is known for: emnist-letters-test-images-idx3-ubyte")

    def test_several_variants(self, tmp_path):
        self.write(tmp_path, "letters")
        self.write(tmp_path, "digits", GREY[::-1])
        with pytest.raises(DataError, match=r"several variants of EMNIST; use emnist-digits:.* or emnist-letters:"):
            mx.open_dataset(f"emnist:{tmp_path}")
        np.testing.assert_array_equal(bytes_of(mx.open_dataset(f"emnist-digits:{tmp_path}")), GREY[::-1, None])

    def test_none(self, tmp_path):
        with pytest.raises(DataError, match=r"emnist-balanced-test-images-idx3-ubyte.*get gzip.zip"):
            mx.open_dataset(f"emnist:{tmp_path}")


class TestChecksums:
    def test_other_files_are_told_and_not_refused(self, tmp_path):
        contents = write_mnist(tmp_path)
        note = "differs from the official file: train-images-idx3-ubyte, train-labels-idx1-ubyte"
        assert mx.open_dataset(f"mnist:{tmp_path}", "train").note == note
        assert set(contents) == set(mnist.MNIST.sums)

    @pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
    def test_official_ones(self, packed, tmp_path, monkeypatch):
        contents = write_mnist(tmp_path, packed=packed)
        sums = {name: hashlib.md5(data).hexdigest() for name, data in contents.items()}
        files = mnist.Files(mnist.MNIST._replace(sums=sums))
        monkeypatch.setitem(local.KINDS, "mnist", local._idx(files, local.KINDS["mnist"].standard))
        local._read.cache_clear()
        assert mx.open_dataset(f"mnist:{tmp_path}", "train").note == "official files"
        sums["train-labels-idx1-ubyte"] = "0" * 32
        local._read.cache_clear()
        data = mx.open_dataset(f"mnist:{tmp_path}", "train")
        assert data.note == "differs from the official file: train-labels-idx1-ubyte"
        assert data.first(3).at((3, 5, 4)).note == data.note

    def test_sums_of_packed_files_only(self, tmp_path):
        contents = write_mnist(tmp_path, packed=True)
        name = "t10k-labels-idx1-ubyte"
        packed = {name: hashlib.md5((tmp_path / f"{name}.gz").read_bytes()).hexdigest()}
        source = mnist.KUZUSHIJI._replace(packed=packed)
        files = [tmp_path / f"{name}.gz"]
        assert official.compared(source, {name: contents[name]}, files) == "official files"
        files[0].write_bytes(gzip.compress(contents[name], mtime=1))
        assert official.compared(source, {name: contents[name]}, files) == f"no checksum is known for: {name}"

    def test_sha1_where_the_sum_is_one(self):
        source = official.Source("X", "home", "x.tar", (), {"a": hashlib.sha1(b"content").hexdigest()})
        assert official.compared(source, {"a": b"content"}) == "official files"
        assert official.compared(source, {"a": b"contenT"}) == "differs from the official file: a"

    def test_every_file_has_a_sum(self):
        for kind in (cifar.CIFAR10, cifar.CIFAR100):
            assert {name for names in kind.names.values() for name in names} == set(kind.source.sums)
        assert set(stl10.SOURCE.sums) == {f"{split}_{part}.bin" for split in ("train", "test") for part in "Xy"}
        digests = [
            each
            for s in (cifar.CIFAR10.source, cifar.CIFAR100.source, mnist.MNIST, stl10.SOURCE)
            for each in s.sums.values()
        ]
        assert len(set(digests)) == len(digests) == 16
        assert all(set(digest) <= set("0123456789abcdef") for digest in digests)


def write(kind, folder):
    {"mnist": write_mnist, "cifar10": write_cifar10, "cifar100": write_cifar100, "stl10": write_stl10}[kind](folder)


def replaced(name, data):
    return lambda folder: (folder / name).write_bytes(data)


def cut(name, count):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-count])


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"

DAMAGED = {
    "labels for images": (
        "mnist",
        replaced(IMAGES, idx_labels(DIGITS)),
        IMAGES,
        r"starts with 0x00000801, not the "
        r"0x00000803 of an IDX file of bytes with 3 axes; get MNIST's file of that name$",
    ),
    "images for labels": (
        "mnist",
        replaced(LABELS, idx_images(GREY)),
        LABELS,
        r"starts with 0x00000803, not the "
        r"0x00000801 of an IDX file of bytes with 1 axis; get",
    ),
    "gzip without its ending": (
        "mnist",
        replaced(IMAGES, gzip.compress(idx_images(GREY))),
        IMAGES,
        r"starts with 0x1f8b0800, not the 0x00000803",
    ),
    "empty": ("mnist", replaced(IMAGES, b""), IMAGES, r"starts with 0x, not the 0x00000803"),
    "truncated images": (
        "mnist",
        cut(IMAGES, 3),
        IMAGES,
        r"holds 153 bytes, expected 156 for its sizes 7 x 5 x 4; "
        r"get the file again$",
    ),
    "longer images": ("mnist", replaced(IMAGES, idx_images(GREY) + b"x"), IMAGES, r"holds 157 bytes, expected 156"),
    "truncated header": (
        "mnist",
        replaced(IMAGES, idx_images(GREY)[:10]),
        IMAGES,
        r"holds 10 bytes, expected at least 16; get the file again$",
    ),
    "negative sizes": (
        "mnist",
        replaced(IMAGES, struct.pack(">4B3i", 0, 0, 8, 3, -1, -1, 4) + b"abcd"),
        IMAGES,
        r"holds 20 bytes, expected 20 for its sizes -1 x -1 x 4",
    ),
    "no image": ("mnist", replaced(IMAGES, struct.pack(">4B3i", 0, 0, 8, 3, 0, 5, 4)), IMAGES, r"sizes 0 x 5 x 4"),
    "fewer labels": (
        "mnist",
        replaced(LABELS, idx_labels(DIGITS[:5])),
        IMAGES,
        rf"holds 7 images, but {LABELS} 5 labels; get both files again$",
    ),
    "truncated record": (
        "cifar10",
        cut("data_batch_3.bin", 1),
        "data_batch_3.bin",
        r"holds 18437 bytes, not a multiple of the 3073 of a record of CIFAR-10's binary version; it "
        r"is truncated or another file: get cifar-10-binary.tar.gz, described at www\.cs\.toronto",
    ),
    "CIFAR-100 as CIFAR-10": (
        "cifar10",
        replaced("data_batch_1.bin", cifar_records(COLOUR, [1] * 6, FINE)),
        "data_batch_1.bin",
        r"holds 18444 bytes, not a multiple of the 3073",
    ),
    "empty batch": ("cifar10", replaced("data_batch_1.bin", b""), "data_batch_1.bin", r"holds 0 bytes"),
    "label out of range": (
        "cifar10",
        replaced("data_batch_2.bin", cifar_records(COLOUR, [0, 1, 10, 3, 4, 5])),
        "data_batch_2.bin",
        r"image 2 has the label 10, out of the range of CIFAR-10: get cifar-10",
    ),
    "fine label out of range": (
        "cifar100",
        replaced("train.bin", cifar_records(COLOUR, [0] * 6, [0] * 5 + [100])),
        "train.bin",
        r"image 5 has the label 0, 100, out of the range of CIFAR-100: get",
    ),
    "coarse label out of range": (
        "cifar100",
        replaced("train.bin", cifar_records(COLOUR, [20] * 6, FINE)),
        "train.bin",
        r"image 0 has the label 20, 3, out of the range",
    ),
    "truncated STL-10": (
        "stl10",
        cut("train_X.bin", 5),
        "train_X.bin",
        r"holds 82939 bytes, not a multiple of the 27648 of an image; it is truncated or another file",
    ),
    "STL-10 without an image": ("stl10", replaced("train_X.bin", b""), "train_X.bin", r"holds 0 bytes"),
    "another count of labels": (
        "stl10",
        replaced("train_y.bin", bytes([1, 2])),
        "train_X.bin",
        r"holds 3 images, but train_y.bin 2 labels; get stl10_binary.tar.gz, described at",
    ),
    "label zero": (
        "stl10",
        replaced("train_y.bin", bytes([1, 0, 2])),
        "train_y.bin",
        r"image 1 has the label 0, not 1 \.\. 10; get stl10_binary",
    ),
    "label eleven": ("stl10", replaced("train_y.bin", bytes([11, 1, 2])), "train_y.bin", r"image 0 has the label 11"),
}


@pytest.mark.parametrize(("kind", "damage", "name", "message"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_files(kind, damage, name, message, tmp_path):
    write(kind, tmp_path)
    damage(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        mx.open_dataset(f"{kind}:{tmp_path}", "train")
    assert str(caught.value).startswith(f"{tmp_path / name}: ")


@pytest.mark.parametrize("change", [lambda data: data[:-12], lambda _: b"plain", lambda data: data[:40] + b"xx" * 20])
def test_damaged_gzip(change, tmp_path):
    write_mnist(tmp_path, packed=True)
    path = tmp_path / f"{IMAGES}.gz"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=rf"{IMAGES}.gz: can't be read: .*; get the file again"):
        mx.open_dataset(f"mnist:{tmp_path}", "train")


class TestMissing:
    @pytest.mark.parametrize("kind", local.KINDS)
    def test_folder(self, kind, tmp_path):
        with pytest.raises(DataError, match=r"nowhere: no such folder; give (the )?one (that holds the files|with)"):
            mx.open_dataset(f"{kind}:{tmp_path / 'nowhere'}")

    def test_files_are_named(self, tmp_path):
        write_cifar10(tmp_path)
        for number in (2, 4):
            (tmp_path / f"data_batch_{number}.bin").unlink()
        message = (
            r"data_batch_2\.bin, data_batch_4\.bin of CIFAR-10 are missing; get cifar-10-binary\.tar\.gz, described at "
            r"www\.cs\.toronto\.edu/~kriz/cifar\.html$"
        )
        with pytest.raises(DataError, match=message):
            mx.open_dataset(f"cifar10:{tmp_path}", "train")
        assert len(mx.open_dataset(f"cifar10:{tmp_path}", "test")) == 2

    def test_one_file(self, tmp_path):
        write_stl10(tmp_path)
        (tmp_path / "test_y.bin").unlink()
        with pytest.raises(DataError, match=r"test_y\.bin of STL-10 is missing; get stl10_binary\.tar\.gz, described"):
            mx.open_dataset(f"stl10:{tmp_path}")

    def test_archive_that_is_not_unpacked(self, tmp_path):
        (tmp_path / "cifar-100-binary.tar.gz").write_bytes(b"")
        with pytest.raises(DataError, match=r"test\.bin of CIFAR-100 is missing; unpack cifar-100-binary\.tar\.gz$"):
            mx.open_dataset(f"cifar100:{tmp_path}")

    @pytest.mark.parametrize(
        ("kind", "place"),
        [("cifar10", "cifar-10-batches-py/batches.meta"), ("cifar10", "batches.meta"), ("cifar100", "meta")],
    )
    def test_the_version_for_python_is_never_opened(self, kind, place, tmp_path):
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
        message = r"whose pickles are never opened: get the binary one, cifar-100?-binary\.tar\.gz, described at"
        with pytest.raises(DataError, match=message):
            mx.open_dataset(f"{kind}:{tmp_path}", "train")
