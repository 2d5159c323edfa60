"""A folder of images, in sub-folders by class or without classes, read with Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mixanalysis.datasets.dataset import Shape, Split
from mixanalysis.datasets.official import Raw
from mixanalysis.errors import DataError

ENDINGS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
SPLITS: dict[Split, tuple[str, ...]] = {"train": ("train",), "test": ("test", "val", "validation")}
"""Sub-folders that hold a split; without them the folder itself serves as both."""

_GREY = {"1", "L"}
_DEEP = ("I", "F")
"""Pillow's modes of more than 8 bits a channel, such as I;16."""


def paths(directory: Path, split: Split) -> list[Path]:
    """The images of a split, ordered by class, then by path; those of a folder without sub-folders by name.

    Returns:
        Paths, at least one.

    Raises:
        DataError: the folder isn't there, or holds no image.
    """
    root = _root(directory, split)
    images = [path for path in _files(root) if path.suffix.lower() in ENDINGS]
    if not images:
        raise DataError(f"{root}: holds no images ({' '.join(ENDINGS)}), neither directly nor in sub-folders by class")
    return images


def read(directory: Path, split: Split, shape: Shape | None = None) -> Raw:
    """Images, with the number of their class among the sorted names of sub-folders, of both splits where there are two.

    Images that lie directly in the folder have no labels. Hidden files and folders are left out.

    Images are grey where all are, colour otherwise. With a shape each is scaled to cover it (bicubic) and cropped in
    the middle; without one they keep the size that they share.

    Args:
        directory: the folder.
        split: which images.
        shape: (channels, height, width), of which height and width count.

    Returns:
        Pixels as bytes, labels, the number of classes and a note on what is left out.

    Raises:
        DataError: an image can't be read or has more than 8 bits a channel, or they differ in size and there is no
            shape, or Pillow isn't installed.
    """
    root, files = _root(directory, split), paths(directory, split)
    classes = sorted({name for each in SPLITS for name in _classes(_root(directory, each))})
    modes, sizes = zip(*map(_header, files), strict=True)
    if shape is None and len(set(sizes)) > 1:
        other = next(index for index, size in enumerate(sizes) if size != sizes[0])
        raise DataError(
            f"{directory}: images differ in size, {files[0].name} has {sizes[0][0]} x {sizes[0][1]} pixels, "
            f"{files[other].name} {sizes[other][0]} x {sizes[other][1]}; choose one with --image-size"
        )
    size = sizes[0] if shape is None else (shape[2], shape[1])
    mode = "L" if set(modes) <= _GREY else "RGB"
    pixels = np.empty((len(files), len(mode), size[1], size[0]), np.uint8)
    for index, path in enumerate(files):
        pixels[index] = _pixels(path, mode, size)
    images = torch.from_numpy(pixels)
    if files[0].parent == root:
        return Raw(images, None, 0, _left_out(root, files))
    labels = torch.tensor([classes.index(path.relative_to(root).parts[0]) for path in files])
    return Raw(images, labels, len(classes), _left_out(root, files))


def _left_out(root: Path, used: list[Path]) -> str:
    """Return a note on the files that aren't used, hidden ones aside; nothing where there are none."""
    others = [path for path in _files(root) if path.suffix.lower() not in ENDINGS]
    loose = [path for path in sorted(root.iterdir()) if path.suffix.lower() in ENDINGS and not _hidden(path, root)]
    told = {
        "files that aren't images": others,
        "images outside of the sub-folders": [path for path in loose if path not in set(used)],
    }
    return "; ".join(
        f"{len(paths)} {what} are left out, such as {paths[0].name}" for what, paths in told.items() if paths
    )


def _hidden(path: Path, root: Path) -> bool:
    """Return whether a part of a path below `root` begins with a dot, as .git and macOS's ._name files."""
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _root(directory: Path, split: Split) -> Path:
    if not directory.is_dir():
        raise DataError(
            f"{directory}: no such folder; give one with images, or with a sub-folder of images for each class"
        )
    parts = {each: [root for name in names if (root := directory / name).is_dir()] for each, names in SPLITS.items()}
    if not any(parts.values()):
        return directory
    if not parts[split]:
        names = " or ".join(SPLITS[split])
        raise DataError(f"{directory}: holds {', '.join(r.name for p in parts.values() for r in p)}, but no {names}")
    return parts[split][0]


def _classes(root: Path) -> list[str]:
    return [entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")]


def _files(root: Path) -> list[Path]:
    """Return all files of the classes, by the parts of their paths; without classes, those in the folder itself."""
    below = [path for name in _classes(root) for path in (root / name).rglob("*")]
    by_class = any(path.suffix.lower() in ENDINGS for path in below)
    files = (path for path in (below if by_class else root.iterdir()) if path.is_file() and not _hidden(path, root))
    return sorted(files, key=lambda path: path.parts)


def _header(path: Path) -> tuple[str, tuple[int, int]]:
    """Return mode and (width, height), without decoding the pixels.

    Raises:
        DataError: Pillow isn't installed, or the file is no image of 8 bits a channel.
    """
    try:
        from PIL import Image
    except ImportError:
        raise DataError("folder: reading images needs Pillow; python -m pip install 'pillow>=10.0'") from None
    try:
        with Image.open(path) as image:
            mode, size = image.mode, image.size
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not an image that can be read: {error}; remove it or store it again") from None
    if mode.startswith(_DEEP):
        raise DataError(f"{path}: has pixels of mode {mode}; store it with 8 bits a channel")
    return mode, size


def _pixels(path: Path, mode: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the pixels of an image, shape (channels, height, width).

    Raises:
        DataError: the image can't be decoded.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            decoded = image.convert(mode)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path}: not an image that can be read: {error}; remove it or store it again") from None
    if decoded.size != size:
        decoded = ImageOps.fit(decoded, size, Image.Resampling.BICUBIC)
    return np.asarray(decoded).reshape(size[1], size[0], -1).transpose(2, 0, 1)
