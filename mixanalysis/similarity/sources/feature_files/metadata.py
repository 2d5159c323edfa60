"""Metadata of feature files, checked against a schema and against the tensors of the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from mixanalysis.errors import CheckpointError, MixanalysisError
from mixanalysis.families import FAMILIES
from mixanalysis.files import parse_json, regular_size
from mixanalysis.network import from_dict
from mixanalysis.similarity.estimators.kernels import Kernel
from mixanalysis.similarity.sources.source import Layer

KEY = "mixanalysis.features"
"""The metadata key of these files."""

FORMAT = 1
SUFFIX = ".features.safetensors"
DIGESTS = "inputs.sha256"

What = Literal["grams", "features"]
"""Lower triangles of each batch's Gram matrices in float32, or the features themselves."""


def triangle(n: int) -> int:
    """Count the cells of the lower triangle of an n x n matrix, diagonal included.

    Returns:
        n (n + 1) / 2.
    """
    return n * (n + 1) // 2


def tensor_name(what: What, layer: str) -> str:
    """Name under which the file holds a layer.

    Returns:
        The tensor's name.
    """
    return f"{what}/{layer}"


@dataclass(frozen=True)
class Facts:
    """What a file says of its network.

    Attributes:
        label: name of the network.
        what: Gram matrices or features.
        kernel: of the Gram matrices.
        layers: of the network.
        reasons: for a layer's position, why it has no similarity in the first batch where it has none.
        rows: images of each batch.
        data: name, split and fingerprint of the data.
        description: which tensors these are, and what of them was kept.
        config: the network's configuration, where it is known.
        seed: of its training, where that was recorded.
        trained: whether it was trained at all, None where that wasn't recorded.
        density: mean density p of its mixing layers, None where that isn't known.
    """

    label: str
    what: What
    kernel: Kernel
    layers: tuple[Layer, ...]
    reasons: Mapping[int, str]
    rows: tuple[int, ...]
    data: Mapping[str, str]
    description: str
    config: object
    seed: int | None
    trained: bool | None
    density: float | None


def metadata_of(path: Path) -> str | None:
    """The text of a file's metadata.

    Args:
        path: any file.

    Returns:
        JSON as it was written; None where the file holds no features.
    """
    try:
        regular_size(path)
        with path.open("rb") as file:
            if file.read(16)[8:9] != b"{":
                return None
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get(KEY)
    except (OSError, SafetensorError):
        return None


def read_facts(path: Path) -> Facts:
    """Read a file's metadata, and check them and the shapes of its tensors.

    Args:
        path: a file of features.

    Returns:
        The facts.

    Raises:
        CheckpointError: the file holds no features, is damaged, or is of another version of the format.
    """
    text = metadata_of(path)
    if text is None:
        raise CheckpointError(f"{path}: holds no features; `mixanalysis features` writes such files")
    try:
        table = parse_json(text)
        _require(isinstance(table, dict), "metadata must be a table")
        version = _get(table, "format", int)
        if version != FORMAT:
            message = f"{path}: has version {version} of the format, not {FORMAT}; update mixanalysis"
            raise CheckpointError(message)
        with safe_open(path, framework="pt") as file:
            shapes = {
                name: (part.get_dtype(), tuple(part.get_shape()))
                for name in file.keys()  # noqa: SIM118
                for part in [file.get_slice(name)]
            }
        return _facts(table, shapes)
    except CheckpointError:
        raise
    except (ValueError, KeyError, MixanalysisError, SafetensorError, OSError) as error:
        told = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise CheckpointError(f"{path}: damaged metadata: {told}; write the file again") from None


def _facts(table: dict[str, Any], shapes: Mapping[str, tuple[str, tuple[int, ...]]]) -> Facts:
    size, examples = _get(table, "batch_size", int), _get(table, "examples", int)
    _require(size > 0 and examples > 0, f"{examples} examples in batches of {size}")
    batches = -(-examples // size)
    _require(shapes.get(DIGESTS) == ("U8", (batches, 32)), f"{DIGESTS} doesn't hold {batches} digests")
    kernel, data = _get(table, "kernel", dict), _get(table, "data", dict)
    layers = tuple(map(_layer, _get(table, "layers", list)))
    _require(bool(layers), "there are no layers")
    names = [layer.name for layer in layers]
    _require(len(set(names)) == len(names), "two layers have one name")
    reasons = _get(table, "reasons", dict)
    _require(all(key.isdecimal() and int(key) < len(layers) for key in reasons), "reasons of layers that aren't there")
    density = _get(table, "density", int, float, type(None))
    _require(density is None or 0 <= density <= 1, f"density is {density}")
    facts = Facts(
        label=_get(table, "label", str),
        what=_choice(table, "what", "grams", "features"),
        kernel=Kernel(_choice(kernel, "name", "linear", "rbf"), float(_get(kernel, "bandwidth", int, float))),
        layers=layers,
        reasons={int(key): _get(reasons, key, str) for key in reasons},
        rows=tuple(min(size, examples - first) for first in range(0, examples, size)),
        data={name: _get(data, name, str) for name in ("name", "fingerprint")}
        | {"split": _choice(data, "split", "train", "test")},
        description=_get(table, "description", str),
        config=_config(table),
        seed=_get(table, "seed", int, type(None)),
        trained=_get(table, "trained", bool, type(None)),
        density=density,
    )
    for layer in layers:
        _check_shape(facts, layer, shapes)
    return facts


def _check_shape(facts: Facts, layer: Layer, shapes: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    if layer.size == 0:
        return
    name = tensor_name(facts.what, layer.name)
    _require(name in shapes, f"tensor {name} is missing")
    grams = facts.what == "grams"
    shape = (sum(map(triangle, facts.rows)),) if grams else (sum(facts.rows), layer.size)
    dtypes = ("F32",) if grams else ("F32", "F64")
    dtype, actual = shapes[name]
    expected = f"{' or '.join(dtypes)} {list(shape)}"
    _require(dtype in dtypes and actual == shape, f"tensor {name} is {dtype} {list(actual)}, expected {expected}")


def _layer(entry: Any) -> Layer:
    _require(isinstance(entry, list) and len(entry) == 4, "a layer must have name, role, size and aliases")
    name, role, size, aliases = entry
    texts = isinstance(name, str) and isinstance(role, str) and isinstance(aliases, list)
    _require(
        texts and all(isinstance(alias, str) for alias in aliases), "a layer's name, role and aliases must be text"
    )
    _require(type(size) is int and size >= 0, f"layer {name} has {size} features")
    return Layer(name, role, size, tuple(aliases))


def _config(table: dict[str, Any]) -> object:
    config, family = _get(table, "config", dict, type(None)), _get(table, "family", str, type(None))
    if config is None or family not in FAMILIES:
        return None
    return from_dict(FAMILIES[family].config, config)


def _choice(table: Mapping[str, Any], key: str, *values: str) -> Any:
    value = _get(table, key, str)
    _require(value in values, f"{key} must be {' or '.join(values)}, got {value!r}")
    return value


def _get(table: Mapping[str, Any], key: str, *types: type) -> Any:
    value = table[key]
    names = " or ".join(kind.__name__ for kind in types)
    _require(type(value) in types, f"{key} must be {names}, got {type(value).__name__}")
    return value


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)
