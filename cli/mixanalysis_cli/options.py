"""Options that mean the same in every command."""

from __future__ import annotations

import math
import sys
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypedDict

import typer

from mixanalysis.errors import UsageError
from mixanalysis.files import output_errors
from mixanalysis.selection import did_you_mean
from mixanalysis_cli import completion


class Format(StrEnum):
    """File formats of figures."""

    png = "png"
    svg = "svg"
    pdf = "pdf"


class Style(StrEnum):
    """Style of figures."""

    paper = "paper"
    slides = "slides"


class Position(StrEnum):
    """Where a block's features are read."""

    before_skip = "before-skip"
    after_skip = "after-skip"


class Pooling(StrEnum):
    """What of an image's features is kept."""

    flatten = "flatten"
    mean = "mean"
    first = "first"


class Kernel(StrEnum):
    """Similarity of two images' features."""

    linear = "linear"
    rbf = "rbf"


class Dtype(StrEnum):
    """Precision of the forward pass."""

    float32 = "float32"
    float64 = "float64"
    bfloat16 = "bfloat16"


class WeightsChoice(StrEnum):
    """Which of raw and averaged (EMA) weights are read where a checkpoint holds both."""

    auto = "auto"
    raw = "raw"
    ema = "ema"


class Part(TypedDict):
    """Which part of a checkpoint is read, and how; arguments of `load`."""

    key: str
    prefix: str
    zeros_are_masked: bool


def _read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make the file's values the command's defaults; a name that the command doesn't know is an error."""
    if path is None or context.resilient_parsing:
        return path
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise typer.BadParameter(f"{path}: not a readable TOML file: {error}") from None
    values = {name.replace("-", "_"): value for name, value in values.items()}
    known = {parameter.name for parameter in context.command.params if parameter.name} - {"config"}
    unknown = sorted(set(values) - known)
    if unknown:
        hints = "".join(did_you_mean(name, sorted(known)) for name in unknown)
        raise typer.BadParameter(f"{path}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}{hints}")
    context.default_map = {**(context.default_map or {}), **values}
    return path


# text, because a Path would make one of the two slashes of hf://
Checkpoints = Annotated[
    list[str],
    typer.Argument(help="Checkpoint files, folders, or names on the hub (hf://owner/name).", show_default=False),
]
Floor = Annotated[
    list[str] | None,
    typer.Option("--floor", help="Checkpoint of an untrained network, the floor; repeatable.", show_default=False),
]
Ceiling = Annotated[
    list[str] | None,
    typer.Option(
        "--ceiling", help="Checkpoint of the first network from another seed; repeatable.", show_default=False
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Folder for tables, figures and the manifest.", show_default=False),
]
FigureFormat = Annotated[Format, typer.Option("--format", help="File format of the figures.")]
FigureStyle = Annotated[
    Style, typer.Option("--style", help="Figures as wide as a column or the text of a paper, or large for slides.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        autocompletion=completion.data,
        help="Images: digits (embedded), noise, FILE.npz, FILE.npy, or your files: mnist:DIR, fashion-mnist:DIR, "
        "kmnist:DIR, emnist:DIR, cifar10:DIR, cifar100:DIR, "
        "stl10:DIR, folder:DIR. Bytes are mapped to [-1, 1]; to [0, 1] with cifar10/unit:DIR, by the usual mean and "
        "deviation with cifar10/standard:DIR.",
    ),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Use only the first images.", show_default="all")]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Images per batch.")]
Device = Annotated[str, typer.Option("--device", help="Where the networks run: cpu, cuda, cuda:1, ...")]
Precision = Annotated[
    Dtype | None,
    typer.Option("--dtype", help="Precision of the forward pass.", show_default="the checkpoint's"),
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of whatever is random.")]
Layers = Annotated[
    list[str] | None,
    typer.Option("--layers", help="Only layers whose names match, e.g. '*.token*'; repeatable.", show_default="all"),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", help="Not the layers whose names match; repeatable.", show_default="none"),
]
Layout = Annotated[
    str | None,
    typer.Option(
        "--layout",
        help="Name of the checkpoints' layout.",
        show_default="recognised",
        autocompletion=completion.layouts,
    ),
]
Assume = Annotated[
    list[str] | None,
    typer.Option(
        "--assume",
        help="NAME=VALUE, what tensors can't tell: gelu=tanh, norm_eps=1e-5, image=224x160, ...; repeatable.",
        show_default="the layout's",
    ),
]
Weights = Annotated[
    WeightsChoice,
    typer.Option("--weights", help="Raw or averaged (EMA) weights; auto: the averaged ones where both are there."),
]
Key = Annotated[
    str,
    typer.Option("--key", help="Where in the file the table of weights is, keys joined by dots.", show_default="found"),
]
Prefix = Annotated[
    str,
    typer.Option("--prefix", help="Take only tensors whose names begin with this, as backbone.", show_default="all"),
]
ZerosAreMasked = Annotated[
    bool,
    typer.Option(
        "--zeros-are-masked", help="Take exact zeros for pruned connections, in weights with more than 5% of them."
    ),
]
Features = Annotated[
    Position, typer.Option("--features", help="Outputs of mixing blocks, before or after the skip is added.")
]
Pool = Annotated[
    Pooling, typer.Option("--pool", help="All of an image's features, their mean over tokens, or the first token's.")
]
KernelChoice = Annotated[Kernel, typer.Option("--kernel", help="Similarity of two images' features.")]
Bandwidth = Annotated[float, typer.Option("--bandwidth", help="Of the RBF kernel, in median distances.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Your own code that builds the networks, package.module:factory, filled from the checkpoints; --layers "
        "then means its modules.",
        show_default=False,
    ),
]
BatchAxis = Annotated[
    int | None,
    typer.Option(
        "--batch-axis",
        min=0,
        help="Axis of examples in the outputs of your own --model, such as 1 for time-major modules.",
        show_default="found by trial runs",
    ),
]
Resize = Annotated[bool, typer.Option("--resize", help="Resize the images to each network's input size.")]
Colour = Annotated[
    bool, typer.Option("--colour", help="Convert the images between grey and RGB as each network takes them.")
]
Image = Annotated[
    str | None,
    typer.Option(
        "--image",
        help="Images that --model takes, such as 3x224x224, where the data can be resized.",
        show_default="as they are",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes on stderr.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the traceback of an unexpected error.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Force = Annotated[bool, typer.Option("--force", help="Also write where files of others are.")]
Resume = Annotated[
    bool,
    typer.Option("--resume/--no-resume", help="Go on from what an interrupted run has finished."),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="TOML file with values for these options.",
        callback=_read_config,
        is_eager=True,
        show_default=False,
    ),
]


def argv() -> list[str]:
    """The command line, without the path at which the program is installed."""
    return ["mixanalysis", *sys.argv[1:]]


def given(context: typer.Context, name: str) -> bool:
    """Whether an option was given, on the command line or in a file."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def resolved(context: typer.Context) -> tuple[dict[str, Any], dict[str, str]]:
    """Every parameter's value, JSON-ready, and where it came from."""
    values = {name: plain(value) for name, value in context.params.items()}
    sources = {}
    for name in context.params:
        source = context.get_parameter_source(name)
        sources[name] = "unknown" if source is None else source.name.lower().replace("_", " ")
    return values, sources


def plain(value: Any) -> Any:
    """A parameter's value, JSON-ready."""
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path | StrEnum) else value


def assumed(texts: list[str] | None) -> dict[str, str]:
    """Names and values of --assume."""
    values = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--assume must be NAME=VALUE, such as gelu=tanh, got {text!r}")
        if name in values:
            raise UsageError(f"--assume {name} is given twice")
        values[name] = value
    return values


def image_shape(text: str | None) -> tuple[int, int, int] | None:
    """Channels, height and width such as 3x224x224."""
    if text is None:
        return None
    parts = [int(part) for part in text.split("x") if part.isdecimal()]
    if len(parts) != 3 or len(text.split("x")) != 3 or 0 in parts:
        raise UsageError(f"--image must be channels x height x width, such as 3x224x224, got {text!r}")
    return parts[0], parts[1], parts[2]


def number(text: str, option: str) -> float:
    """A number such as 5e5, 2^19 or 2**19."""
    base, power, exponent = text.replace("**", "^").partition("^")
    try:
        value = float(base) ** float(exponent) if power else float(base)
    except (ValueError, OverflowError, ZeroDivisionError):
        value = math.nan
    if isinstance(value, complex) or not math.isfinite(value):
        raise UsageError(f"{option} must be a number such as 1e8 or 2^19, got {text!r}")
    return value


def pair(text: str, option: str) -> tuple[float, float]:
    """One number for both, or two with a comma between them."""
    first, comma, second = text.partition(",")
    value = number(first.strip(), option)
    return value, number(second.strip(), option) if comma else value


def check_free(output: Path, *, force: bool) -> None:
    """Refuse to write over a file.

    Raises:
        UsageError: it is there, and `force` is not given.
        OutputError: its place can't be looked at.
    """
    with output_errors(output):
        if output.exists() and not force:
            raise UsageError(f"{output}: is there already; --force replaces it")


def check_file(output: Path) -> None:
    """Refuse a folder where a file is to be written.

    Raises:
        UsageError: it is one.
        OutputError: its place can't be looked at.
    """
    with output_errors(output):
        if output.is_dir():
            raise UsageError(f"{output}: is a folder; give the path of the checkpoint to write")
