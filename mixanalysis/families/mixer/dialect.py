"""A Mixer under another project's names: a frozen record of them, and the network that follows from it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from mixanalysis.checkpoints import Checkpoint
from mixanalysis.families.assemble import Renamed, View, assemble
from mixanalysis.families.assume import GUESSED, patches_of
from mixanalysis.families.layout import Layout
from mixanalysis.families.mixer.network import MixerConfig
from mixanalysis.network import Gelu, Network, Structures
from mixanalysis.network.structured import ALL_DENSE

BLOCK = (
    "blocks.{i}.token.norm",
    "blocks.{i}.token.mlp.fc1",
    "blocks.{i}.token.mlp.fc2",
    "blocks.{i}.channel.norm",
    "blocks.{i}.channel.mlp.fc1",
    "blocks.{i}.channel.mlp.fc2",
)
"""Modules of a base block, under our names."""


class Arrangement(NamedTuple):
    """How a tensor of theirs becomes one of ours, and the other way round where that is needed."""

    read: Callable[..., Tensor]
    write: Callable[[Tensor], Tensor] | None = None


class Whereabouts(NamedTuple):
    """Where a checkpoint has the modules of a dialect.

    Attributes:
        prefix: what stands before all names.
        depth: number of blocks.
        last: number of the last module.
        colours: of the images.
    """

    prefix: str
    depth: int
    last: int = 0
    colours: int = 3


class MixerSizes(NamedTuple):
    """S, its hidden size, C, its hidden size."""

    tokens: int
    token_hidden: int
    channels: int
    channel_hidden: int


@dataclass(frozen=True)
class Dialect:
    """How a project names and shapes the tensors of its Mixer.

    Attributes:
        name: the layout's name.
        stem: their name of the patch embedding.
        block: their names of the modules `BLOCK`.
        norm: of the final LayerNorm; "" where there is none.
        head: of the classifier; its tensors may be missing.
        norm_eps: epsilon of the LayerNorms.
        gelu: the activation.
        first: number of the first block.
        prefixes: what may stand before all names.
        stem_norm: of a LayerNorm after the patch embedding, where one is possible.
        class_token: of the class token, where one is possible.
        stem_bias: whether the patch embedding has a bias.
        stem_weight: arrangement of its weight; from a matrix, it takes the number of colours.
        flat_stem: whether that weight is a matrix.
        matrix: arrangement of every other matrix.
        vector: arrangement of biases and norms.
        varies: what of its assumptions the project's own networks have this way or that.

    In a name, {i} stands for the number of a block, {after} for the one behind the last block's, {last} for the last
    module's, and {kernel} or {scale} for that word in a weight and "bias" in a bias; without one of these two,
    ".weight" and ".bias" follow.
    """

    name: str
    stem: str
    block: tuple[str, str, str, str, str, str]
    norm: str
    head: str
    norm_eps: float
    gelu: Gelu = "erf"
    first: int = 0
    prefixes: tuple[str, ...] = ("",)
    stem_norm: str = ""
    class_token: str = ""
    stem_bias: bool = True
    stem_weight: Arrangement | None = None
    flat_stem: bool = False
    matrix: Arrangement | None = None
    vector: Arrangement | None = None
    varies: tuple[str, ...] = ()

    @property
    def modules(self) -> dict[str, str]:
        """Their module for each of ours."""
        others = {"stem.proj": self.stem, "stem.norm": self.stem_norm, "norm": self.norm, "head": self.head}
        return {ours: theirs for ours, theirs in (others | dict(zip(BLOCK, self.block, strict=True))).items() if theirs}

    @property
    def assumes(self) -> dict[str, Any]:
        """Everything that its tensors don't tell, and the value that is assumed."""
        assumes: dict[str, Any] = {"gelu": self.gelu, "norm_eps": self.norm_eps, "image": "square"}
        if not self.class_token:
            assumes["pooling"] = "mean"
        if self.flat_stem:
            assumes["colours"] = GUESSED
        return assumes

    def layout(self) -> Layout:
        """The layout of this dialect."""
        return Layout(
            self.name, self.sought(), partial(network, self), self.assumes, finds=self._finds, varies=self._varies
        )

    def sought(self) -> tuple[str, ...]:
        """Names of the weights of the patch embedding, the first block and the final norm."""
        modules = [theirs for ours, theirs in self.modules.items() if ours not in ("stem.norm", "head")]
        return tuple(
            self._fill(module, "weight", 0, Whereabouts("", 0)) for module in modules if "{after}" not in module
        )

    def _varies(self, _checkpoint: Checkpoint) -> tuple[str, ...]:
        return self.varies

    def _finds(self, checkpoint: Checkpoint, sought: str) -> bool:
        return any(prefix + sought in checkpoint for prefix in self.prefixes)

    def view(self, ours: str, where: Whereabouts) -> View:
        """Their tensor for one of ours."""
        if ours == "class_token":
            return View(where.prefix + self.class_token)
        module, _, leaf = ours.rpartition(".")
        block = re.match(r"blocks\.([0-9]+)\.", module)
        index = int(block[1]) if block else 0
        generic = module.replace(f"blocks.{index}.", "blocks.{i}.", 1) if block else module
        name = self._fill(self.modules.get(generic, module), leaf, index, where)
        arrangement = self.arrangement(ours)
        if arrangement is None:
            return View(name)
        flat = self.flat_stem and ours == "stem.proj.weight"
        return View(name, partial(arrangement.read, colours=where.colours) if flat else arrangement.read)

    def arrangement(self, ours: str) -> Arrangement | None:
        """That of one of our tensors."""
        if ours == "stem.proj.weight":
            return self.stem_weight
        return self.matrix if re.search(r"(fc[12]|head)\.weight$", ours) else self.vector

    def find(self, checkpoint: Checkpoint, assumed: Mapping[str, Any]) -> Whereabouts:
        """Where the modules are.

        Returns:
            Prefix, number of blocks, and the other facts that names follow from.

        Raises:
            ValueError: there are no blocks, one of them is missing, or the patches' colours can't be told.
        """
        some = self.sought()
        prefix = max(self.prefixes, key=lambda prefix: sum(prefix + name in checkpoint for name in some))
        depth = self._depth(checkpoint, prefix)
        numbered = (re.match(r"([0-9]{1,9})\.weight$", name) for name in checkpoint.names)
        last = max((int(match[1]) for match in numbered if match), default=0)
        # the module behind the last block is the final norm, no head
        where = Whereabouts(prefix, depth, -1 if last == self.first + depth else last)
        return where._replace(colours=self._colours(checkpoint, assumed)) if self.flat_stem else where

    def _depth(self, checkpoint: Checkpoint, prefix: str) -> int:
        """Number of blocks: of those numbers that stand in names of a block's modules."""
        ends = [[re.escape(end.partition("{")[0]) for end in module.split("{i}")] for module in self.block]
        pattern = re.compile("|".join(f"{re.escape(prefix)}{before}([0-9]{{1,9}}){after}" for before, after in ends))
        matches = filter(None, map(pattern.match, checkpoint.names))
        blocks = {int(match[match.lastindex or 0]) - self.first for match in matches}
        missing = sorted(set(range(len(blocks))) - blocks)
        if missing:
            number, last = missing[0] + self.first, max(blocks) + self.first
            msg = f"it has {len(blocks)} blocks up to number {last}, but no block {number}"
            raise ValueError(msg)
        return len(blocks)

    def shape(self, checkpoint: Checkpoint, ours: str, where: Whereabouts) -> tuple[int, ...]:
        """Shape of one of our tensors; () where it isn't there."""
        weights = Renamed(checkpoint, {ours: self.view(ours, where)})
        return weights.shape(ours) if ours in weights else ()

    def config(
        self,
        checkpoint: Checkpoint,
        where: Whereabouts,
        assumed: Mapping[str, Any],
        sizes: MixerSizes,
        structures: Structures = ALL_DENSE,
    ) -> MixerConfig:
        """The configuration, from sizes that the shapes tell and what is assumed.

        Returns:
            A Mixer's; the pooling is that of the class token where there is one.

        Raises:
            ValueError: the patch embedding isn't one of square patches, or no image has that many of them.
        """
        stem = self.shape(checkpoint, "stem.proj.weight", where)
        if len(stem) != 4 or stem[2] != stem[3]:
            msg = f"{self.view('stem.proj.weight', where).name} of shape {stem} is not an embedding of square patches"
            raise ValueError(msg)
        class_token = bool(self.class_token) and where.prefix + self.class_token in checkpoint
        biases = (self.view(f"{module.format(i=0)}.bias", where).name for module in BLOCK if "fc" in module)
        return MixerConfig(
            patches=patches_of(sizes.tokens - class_token, stem[2], stem[1], assumed["image"]),
            classes=self._classes(checkpoint, where),
            tokens=sizes.tokens,
            channels=sizes.channels,
            token_hidden=sizes.token_hidden,
            channel_hidden=sizes.channel_hidden,
            depth=where.depth,
            norm_eps=assumed["norm_eps"],
            gelu=assumed["gelu"],
            pooling="class-token" if class_token else assumed.get("pooling", "mean"),
            final_norm=bool(self.norm),
            stem_norm=bool(self.stem_norm and self.shape(checkpoint, "stem.norm.weight", where)),
            class_token=class_token,
            stem_bias=self.stem_bias,
            mixing_bias=any(bias in checkpoint for bias in biases),
            structures=structures,
        )

    def _classes(self, checkpoint: Checkpoint, where: Whereabouts) -> int:
        name = self.view("head.weight", where).name
        shape = self.shape(checkpoint, "head.weight", where)
        if name in checkpoint and (not shape or shape[0] < 1):
            msg = f"{name} of shape {shape} is no classifier"
            raise ValueError(msg)
        return shape[0] if shape else 0

    def _fill(self, module: str, leaf: str, index: int, where: Whereabouts) -> str:
        if "{kernel}" not in module and "{scale}" not in module:
            module += ".{leaf}"
        name = module.format(
            i=index + self.first,
            after=where.depth + self.first,
            last=where.last,
            leaf=leaf,
            kernel="kernel" if leaf == "weight" else leaf,
            scale="scale" if leaf == "weight" else leaf,
        )
        return where.prefix + name

    def _colours(self, checkpoint: Checkpoint, assumed: Mapping[str, Any]) -> int:
        name = self._fill(self.stem, "weight", 0, Whereabouts("", 0))
        numbers = (*checkpoint.shape(name), 0, 0)[1]
        asked = assumed["colours"]
        for colours in (3, 1) if asked == GUESSED else (asked,):
            if numbers % colours == 0 and math.isqrt(numbers // colours) ** 2 == numbers // colours:
                return int(colours)
        msg = (
            f"{name} takes {numbers} numbers, which are no square patch of {'3 or 1' if asked == GUESSED else asked} "
            "colours; assume another number (colours=N)"
        )
        raise ValueError(msg)


def network(dialect: Dialect, checkpoint: Checkpoint, assumed: Mapping[str, Any]) -> Network:
    """The network of a checkpoint in that dialect, all matrices of which are dense.

    Returns:
        Its tensors are the checkpoint's, arranged as the dialect says.

    Raises:
        ValueError: the shapes contradict each other, or what is assumed.
        CheckpointError: tensors are missing or misshaped.
    """
    where = dialect.find(checkpoint, assumed)
    first = ["blocks.0.token.mlp.fc1.weight", "blocks.0.channel.mlp.fc1.weight"]
    token, channel = (dialect.shape(checkpoint, name, where) for name in first)
    for name, shape in zip(first, (token, channel), strict=True):
        if len(shape) != 2:
            msg = f"{dialect.view(name, where).name} of shape {shape} is not a matrix"
            raise ValueError(msg)
    sizes = MixerSizes(token[1], token[0], channel[1], channel[0])
    config = dialect.config(checkpoint, where, assumed, sizes)
    return assemble(checkpoint, config, layout=dialect.name, rename=partial(dialect.view, where=where))
