"""From a family's name, a few numbers and a data set to what the trainer needs."""

from __future__ import annotations

from mixanalysis.datasets import Dataset, open_dataset
from mixanalysis.errors import DataError, UsageError
from mixanalysis.families.sizes import Sizes, configure
from mixanalysis.network import Config, Patches

DIGITS_SIZE = 16
"""Side to which the 8 x 8 digits are resized unless something else is asked for."""


def plan(
    family: str,
    sizes: Sizes,
    data: str = "digits",
    *,
    patch: int = 4,
    image_size: int | None = None,
    limit: int | None = None,
) -> tuple[Config, tuple[Dataset, Dataset]]:
    """A network's configuration, and the training and test set that fit it.

    Args:
        family: name of the family.
        sizes: the numbers that name the network.
        data: name of a data set with labels.
        patch: side of a patch in pixels.
        image_size: side of the square images that resizable data become; 16 for digits, else their own by default.
        limit: use only the first training images.

    Returns:
        The configuration, and training and test set of its input shape.

    Raises:
        UsageError: a size is out of range or doesn't apply.
        DataError: the data can't be read or have no labels.
    """
    patches, classes, datasets = prepared(data, patch=patch, image_size=image_size, limit=limit)
    return configure(family, patches, classes, sizes), datasets


def prepared(
    data: str, *, patch: int = 4, image_size: int | None = None, limit: int | None = None
) -> tuple[Patches, int, tuple[Dataset, Dataset]]:
    """Patches, number of classes, and training and test set, without a network; arguments and errors as of `plan`."""
    square = None if image_size is None else (3, image_size, image_size)
    training, test = open_dataset(data, "train", shape=square).first(limit), open_dataset(data, "test", shape=square)
    if training.labels is None:
        raise DataError(f"{data}: has no labels to train on")
    channels, height, width = training.shape
    if data == "digits" and image_size is None:
        height = width = DIGITS_SIZE
    elif training.resizable:
        height, width = (height, width) if image_size is None else (image_size, image_size)
    elif image_size not in (None, height):
        raise UsageError(f"--image-size applies to resizable data only; the images of {data} keep their size")
    try:
        patches = Patches(height, width, channels, patch)
    except ValueError as error:
        raise UsageError(f"--patch {patch}: {error}") from None
    return patches, max(training.classes, test.classes), (training, test)
