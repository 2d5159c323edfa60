"""Networks that the user's own code builds, filled from checkpoints."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.errors import CheckpointError, NothingToAnalyseError, UsageError
from mixanalysis.families.assemble import label
from mixanalysis.features import Pooling, module_paths
from mixanalysis.network import Provenance
from mixanalysis.selection import matching
from mixanalysis.similarity.sources.batches import Shape
from mixanalysis.similarity.sources.extractors import FeatureExtractor
from mixanalysis.similarity.sources.source import Control

_folder: ContextVar[Path | None] = ContextVar("_folder", default=None)
"""Where the user's code is looked for, other than in the current folder."""


@contextlib.contextmanager
def code_from(folder: Path) -> Iterator[None]:
    """Look for the user's code in a folder, whatever the current one is meanwhile: that may be anybody's.

    Args:
        folder: put on the path of imports; the current folder is not on it.
    """
    token, path = _folder.set(folder), sys.path[:]
    sys.path[:] = [str(folder) if each in ("", ".") else each for each in path]
    try:
        yield
    finally:
        _folder.reset(token)
        sys.path[:] = path


@dataclass(frozen=True)
class Factory:
    """Code of the user's that builds a module.

    Attributes:
        spec: package.module:factory; the factory is called without arguments.
        option: who named it, for messages.
    """

    spec: str
    option: str = "--model"

    def build(self) -> nn.Module:
        """Import the code, with the current folder (or that of `code_from`) on the path, and call it.

        Returns:
            The module.

        Raises:
            UsageError: the text isn't of that form, the import or the call fails, or it gives no module.
        """
        name, _, attribute = self.spec.partition(":")
        if not name or not attribute:
            raise UsageError(f"{self.option} must be package.module:factory, got {self.spec!r}")
        folder = str(_folder.get() or Path.cwd())
        if folder not in sys.path:
            # as Python itself has it for `python -m`; stays, because the code may import more when it runs
            sys.path.insert(0, folder)
        try:
            code = importlib.import_module(name)
        except Exception as error:  # the user's code may raise anything
            raise self._failed(f"importing {name} failed", error) from error
        try:
            factory = functools.reduce(getattr, attribute.split("."), code)
        except AttributeError as error:
            raise self._failed(f"{name} has no {attribute}", error) from None
        if not callable(factory):
            raise UsageError(f"{self.option} {self.spec}: is a {type(factory).__name__}, not a function or class")
        try:
            module = factory()
        except Exception as error:
            raise self._failed("calling it without arguments failed", error) from error
        if not isinstance(module, nn.Module):
            raise UsageError(f"{self.option} {self.spec}: gives a {type(module).__name__}, expected a torch.nn.Module")
        return module

    def _failed(self, what: str, error: Exception) -> UsageError:
        return UsageError(f"{self.option} {self.spec}: {what}: {type(error).__name__}: {error}")


@dataclass(frozen=True, eq=False)
class UserModel:
    """A module of the user's own code with the weights of a checkpoint.

    Attributes:
        label: short name, from the file.
        module: in eval mode.
        provenance: where its weights came from; its layout is the factory.
    """

    label: str
    module: nn.Module = field(repr=False)
    provenance: Provenance

    @classmethod
    def of(cls, checkpoint: Checkpoint, factory: Factory) -> UserModel:
        """Build the module and fill it.

        A factory of no use is a UsageError; tensors that aren't those of the module are a CheckpointError.

        Returns:
            The module with the checkpoint's weights, in eval mode.
        """
        module = filled(factory.build(), checkpoint, factory.spec).eval()
        path = checkpoint.path
        provenance = Provenance(path, checkpoint.format, checkpoint.wrapper, factory.spec, checkpoint.ignored)
        return cls(label(path), module, provenance)

    def subject(
        self,
        layers: Sequence[str] = (),
        exclude: Sequence[str] = (),
        *,
        pooling: Pooling = "flatten",
        device: str = "cpu",
        dtype: torch.dtype | None = None,
        control: Control = "",
        image: Shape | None = None,
        batch_axis: int | None = None,
    ) -> FeatureExtractor:
        """Its submodules that match, as taps; all without parts by default.

        Args:
            layers: patterns of submodules to keep.
            exclude: patterns of submodules to leave out.
            pooling: what of an example's features is kept.
            device: where it runs.
            dtype: its precision, as it is by default.
            control: what it stands for.
            image: (channels, height, width) that it takes; None to take images as they are.
            batch_axis: axis of examples in outputs of three or more axes; found by trial runs by default.

        Returns:
            The extractor.

        Raises:
            NothingToAnalyseError: none matches.
        """
        try:
            matched = module_paths(self.module, layers)
        except UsageError as error:
            raise NothingToAnalyseError(f"{self.label}: {error}") from None
        paths = {name: path for name, path in matched.items() if matching(exclude=exclude)(name)}
        if not paths:
            some = ", ".join(list(matched)[:4])
            raise NothingToAnalyseError(f"{self.label}: no module left to analyse; modules are called {some}, ...")
        # its own instance: nothing else uses it
        module = self.module.to(device, dtype)
        options: Any = {"pooling": pooling, "control": control, "batch_axis": batch_axis}
        return FeatureExtractor(self.label, module, paths, input_shape=image, **options)

    @functools.cached_property
    def code(self) -> str:
        """SHA-256 of the files in which the classes of its parts are written, torch's own left out."""
        modules = {type(part).__module__ for part in self.module.modules()}
        files = {getattr(sys.modules[name], "__file__", None) for name in modules if name.partition(".")[0] != "torch"}
        digest = hashlib.sha256()
        for file in sorted(filter(None, files)):
            digest.update(hashlib.sha256(Path(file).read_bytes()).digest())
        return digest.hexdigest()


def filled(module: nn.Module, checkpoint: Checkpoint, name: str) -> nn.Module:
    """Load a checkpoint's tensors into a module, in the module's own precision; every name must be in both.

    Prefixes that were taken off names are left on where the module has them, and masks are its own where it has
    buffers for them. Of tensors that the module shares under several names, one is enough.

    Args:
        module: the network.
        checkpoint: its tensors.
        name: what the network is called, for messages.

    Returns:
        The module.

    Raises:
        CheckpointError: names are missing or unexpected, or shapes differ.
    """
    state = {key: value for key, value in module.state_dict().items() if isinstance(value, Tensor)}
    readings = checkpoint.readings()
    reading = next((each for each in readings if not _problems(state, each)), None)
    if reading is None:
        raise CheckpointError(f"{checkpoint.path}: its tensors aren't those of {name}: {_problems(state, checkpoint)}")
    buffers = {key for key, _ in module.named_buffers(remove_duplicate=False)}
    tensors = {key: reading.buffer(key) if key in buffers else reading.tensor(key) for key in state if key in reading}
    module.load_state_dict(tensors, strict=False)
    return module


def _problems(state: Mapping[str, Tensor], checkpoint: Checkpoint) -> str:
    """Return why tensors aren't those of a module, in words; or nothing."""
    present = {_place(value) for key, value in state.items() if key in checkpoint}
    missing = [key for key, value in state.items() if key not in checkpoint and _place(value) not in present]
    unexpected = [key for key in checkpoint.names if key not in state]
    misshaped = [
        f"{key} ({_shape(checkpoint.shape(key))}, expected {_shape(tuple(value.shape))})"
        for key, value in state.items()
        if key in checkpoint and checkpoint.shape(key) != tuple(value.shape)
    ]
    problems = {"missing": missing, "unexpected": unexpected, "of another shape": misshaped}
    return "; ".join(f"{what}: {_some(names)}" for what, names in problems.items() if names)


def _place(tensor: Tensor) -> tuple[object, ...]:
    return tensor.device, tensor.data_ptr(), tensor.shape


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a number"


def _some(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
