"""The wide sparse MLP that a network is equal to: its configuration, and its weights connection by connection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn, get_args

import torch
from torch import Tensor, nn

from mixanalysis.errors import UsageError
from mixanalysis.families.wide_sparse_mlp.network import (
    Activation,
    Mixes,
    Pooling,
    Skip,
    WideSparseBlock,
    WideSparseConfig,
)
from mixanalysis.network.blocks import Branch, Mlp, NoSkip, PatchEmbedding, Residual, Resize
from mixanalysis.network.config import Patches
from mixanalysis.network.effective_layers import vec_to_row
from mixanalysis.network.network import MixingLayer, Network, Tap
from mixanalysis.network.sparse_linear import csr_matrix
from mixanalysis.operators import Dense, Lift, Operator, Permuted, coordinates

_GELUS: dict[str, Activation] = {"erf": "gelu", "tanh": "gelu-tanh", "identity": "identity"}
"""A configuration's `gelu`, and the wide network's name for it."""

_ACTIVATIONS: dict[str, Activation] = {"gelu": "gelu", "relu": "relu"}
"""A configuration's `activation`."""

_POOLINGS: dict[str, Pooling] = {"mean": "mean", "class-token": "first", "flatten": "flatten"}

_SKIPS: dict[type[nn.Module], Skip] = {nn.Identity: "identity", Resize: "resized", NoSkip: "none"}

_BRANCHES = (Mlp, Branch)


@dataclass(frozen=True, eq=False)
class Expansion:
    """The wide sparse MLP that a network is equal to.

    Every layer is the matrix that `MixingLayer.operator` stands for: copies of shared weights are written out,
    permutations are absorbed into the indices, and products of factors (Monarch) are multiplied out, so that
    connections, density and singular values are those of the network. The embedding of the patches becomes a sparse
    layer too. Features are vec(X), which stacks columns; those of a network that flattens its patches keep their order.

    Attributes:
        network: the original; of residual blocks of one or two linear layers, with LayerNorms and skips or without.
    """

    network: Network

    @cached_property
    def config(self) -> WideSparseConfig:
        """The wide network's configuration.

        Raises:
            UsageError: the network has parts that a wide sparse MLP lacks.
            CheckpointError: its architecture isn't known, or its file is damaged.
        """
        module, config = self._module, self.network.config
        if isinstance(config, WideSparseConfig):
            self._cannot("it is one already")
        patches, stem = getattr(config, "patches", None), getattr(module, "stem", None)
        if not isinstance(patches, Patches) or type(stem) not in (PatchEmbedding, nn.Identity):
            self._cannot("its images aren't cut into patches by one linear map")
        blocks = tuple(self._block(index, tap) for index, tap in enumerate(self.network.taps))
        named = getattr(config, "gelu", None), getattr(config, "activation", None)
        activation = _GELUS.get(str(named[0])) or _ACTIVATIONS.get(str(named[1]))
        if activation is None:
            self._cannot(f"its activation is {named[0] or named[1] or 'not named'}")
        pooling = getattr(config, "pooling", None if self._stacked else "flatten")
        if pooling not in _POOLINGS:
            self._cannot(f"its features are pooled by {pooling}")
        if left := [name for name in module.state_dict() if not name.startswith(self._used)]:
            self._cannot(f"it has {', '.join(left[:3])}{', ...' if len(left) > 3 else ''} besides")
        if self._class_token is not None and any(name.startswith("stem.norm.") for name in module.state_dict()):
            self._cannot("its patches are normalised without its class token")
        return WideSparseConfig(
            patches=patches,
            classes=getattr(config, "classes", 0),
            blocks=blocks,
            embedding=isinstance(stem, PatchEmbedding),
            embedding_norm=self._norm("the embedding", stem.norm) if isinstance(stem, PatchEmbedding) else 0,
            final_norm=self._norm("the end", getattr(module, "norm", nn.Identity())),
            tokens=int(getattr(config, "tokens", 1)),
            pooling=_POOLINGS[pooling],
            activation=activation,
            bias=self.network.mixing_layers[0].bias is not None,
            norm_eps=self._eps,
        )

    @property
    def dtype(self) -> torch.dtype:
        """Of the wide network's weights: the original's, at least float32."""
        floating = (value.dtype for value in self._module.state_dict().values() if value.is_floating_point())
        return torch.promote_types(next(floating), torch.float32)

    @property
    def connections(self) -> int:
        """Weights of all its sparse layers, skip and embedding included."""
        patches, stem = self.config.patches, self._module.stem
        embedding = stem.proj.weight.numel() * patches.count if isinstance(stem, PatchEmbedding) else 0
        return sum(layer.connections for layer in self.network.layers) + embedding

    @property
    def bytes(self) -> int:
        """Memory of its sparse layers: a value and an index of 4 bytes a connection, a bias and 8 bytes a row."""
        value = torch.finfo(self.dtype).bits // 8
        rows = [layer.shape[0] for layer in self.network.layers]
        return self.connections * (value + 4) + (sum(rows) + self._embedded) * (value + 8)

    def state(self) -> dict[str, Tensor]:
        """The wide network's state dict, layers as CSR tensors; all of it in memory."""
        return {name: tensor.detach().to(self.dtype) for name, tensor in self._tensors()}

    @property
    def _module(self) -> nn.Module:
        return self.network.module()

    @property
    def _stacked(self) -> bool:
        """True where features are S x C matrices, rather than vectors from the start."""
        return self.network.taps[0].role != "dense"

    @property
    def _embedded(self) -> int:
        """Outputs of the embedding; 0 where there is none."""
        return self.config.blocks[0].inputs if self.config.embedding else 0

    @property
    def _used(self) -> tuple[str, ...]:
        """Beginnings of the names of all tensors that are accounted for."""
        parts = ("norm", "carry", "mlp.fc1", "mlp.fc2")
        blocks = [f"{tap.after}.{part}." for tap in self.network.taps for part in parts]
        return ("stem.", "class_token", "norm.", "head.", *blocks)

    @property
    def _class_token(self) -> Tensor | None:
        """A learnt token before those of the patches, shape (features,)."""
        token = getattr(self._module, "class_token", None)
        return None if token is None else token.detach().flatten()

    @property
    def _eps(self) -> float:
        epsilons = {part.eps for part in self._module.modules() if isinstance(part, nn.LayerNorm)}
        if len(epsilons) > 1:
            self._cannot(f"its LayerNorms have several epsilons ({', '.join(map(str, sorted(epsilons)))})")
        return epsilons.pop() if epsilons else 1e-6

    def _cannot(self, why: str) -> NoReturn:
        path, family = self.network.provenance.path, self.network.family
        raise UsageError(f"{path}: a {family} can't be written as a wide sparse MLP: {why}")

    def _layers(self, block: int) -> list[MixingLayer]:
        return [layer for layer in self.network.mixing_layers if layer.block == block]

    def _skip(self, block: int) -> MixingLayer | None:
        return next((layer for layer in self.network.layers if layer.block == block and layer.role == "skip"), None)

    def _block(self, index: int, tap: Tap) -> WideSparseBlock:
        residual, layers = self._module.get_submodule(tap.after), self._layers(index)
        if type(residual) is not Residual or tap.before != f"{tap.after}.mlp" or tap.role not in get_args(Mixes):
            self._cannot(f"block {tap.name} is a {type(residual).__name__} that mixes {tap.role}")
        branch, carry = residual.mlp, residual.carry
        if type(branch) not in _BRANCHES or type(carry) not in _SKIPS:
            self._cannot(f"block {tap.name} is made of {type(branch).__name__} and {type(carry).__name__}")
        if not 1 <= len(layers) <= 2:
            self._cannot(f"block {tap.name} has {len(layers)} layers")
        return WideSparseBlock(
            name=tap.name,
            role=tap.role,  # type: ignore[arg-type]  # one of Mixes, as checked above
            inputs=layers[0].shape[1],
            hidden=layers[0].shape[0] if len(layers) > 1 else 0,
            outputs=layers[-1].shape[0],
            norm=self._norm(tap.name, residual.norm),
            skip=_SKIPS[type(carry)],
            skip_norm=self._norm(tap.name, carry.norm) if isinstance(carry, Resize) else 0,
            # a block of one layer always ends with its activation
            output_activation=len(layers) == 1 or bool(branch.output_activation),
        )

    def _norm(self, where: str, norm: nn.Module) -> int:
        """Features that are normalised together."""
        if type(norm) is nn.LayerNorm and len(norm.normalized_shape) == 1:
            return norm.normalized_shape[0]
        if type(norm) is not nn.Identity:
            axes = f" over {len(norm.normalized_shape)} axes" if isinstance(norm, nn.LayerNorm) else ""
            self._cannot(f"{where} is normalised by a {type(norm).__name__}{axes}")
        return 0

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        module, config = self._module, self.config
        if isinstance(module.stem, PatchEmbedding):
            yield from self._embedding(module.stem)
            yield from _parameters("stem.norm", module.stem.norm)
        for index, tap in enumerate(self.network.taps):
            path = f"blocks.{index}"
            skip = self._skip(index)
            if skip is not None:
                yield f"{path}.carry.proj.weight", self._matrix(skip.operator)
                yield from _parameters(f"{path}.carry.norm", module.get_submodule(f"{tap.after}.carry.norm"))
            yield from _parameters(f"{path}.norm", module.get_submodule(f"{tap.after}.norm"))
            for name, layer in zip(("fc1", "fc2"), self._layers(index), strict=False):
                yield f"{path}.mlp.{name}.weight", self._matrix(layer.operator)
                if (bias := layer.bias) is not None:
                    yield f"{path}.mlp.{name}.bias", bias
        if config.final_norm:
            yield from _parameters("norm", module.get_submodule("norm"))
        if config.classes:
            head = dict(module.get_submodule("head").named_parameters())
            yield "head.weight", self._classifier(head["weight"].detach())
            yield "head.bias", head["bias"]

    def _matrix(self, operator: Operator) -> Tensor:
        return csr_matrix(*coordinates(operator.to(self.dtype)), operator.shape)

    def _embedding(self, stem: PatchEmbedding) -> Iterator[tuple[str, Tensor]]:
        """The patch embedding on the flattened pixels: one kernel for all patches, whose pixels lie apart."""
        patches, kernel, bias = self.config.patches, stem.proj.weight.detach().flatten(1), stem.proj.bias
        down, across, size = patches.height // patches.size, patches.width // patches.size, patches.size
        pixels = torch.arange(self.config.pixels).view(patches.channels, down, size, across, size)
        by_patch = pixels.permute(1, 3, 0, 2, 4).reshape(-1)
        shared = Permuted(Lift(Dense(kernel), patches.count, "left"), columns=by_patch)
        rows, columns, values = coordinates(shared.to(self.dtype))
        biases = (torch.zeros(len(kernel)) if bias is None else bias.detach()).repeat(patches.count)
        if self._class_token is not None:
            # a token without connections comes first
            rows, biases = rows + len(kernel), torch.cat([self._class_token, biases])
        if self._stacked:
            order = vec_to_row(len(biases) // len(kernel), len(kernel), "token")
            rows, biases = torch.argsort(order)[rows], biases[order]
        yield "stem.proj.weight", csr_matrix(rows, columns, values, (len(biases), self.config.pixels))
        yield "stem.proj.bias", biases

    def _classifier(self, weight: Tensor) -> Tensor:
        """The classifier's weight on x: where features were flattened row by row, its columns move."""
        tokens = self.config.tokens
        if self.config.pooling != "flatten" or tokens == 1:
            return weight
        return weight[:, vec_to_row(tokens, self.config.width // tokens, "token")]


def _parameters(path: str, norm: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in norm.named_parameters():
        yield f"{path}.{name}", parameter
