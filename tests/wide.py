"""A network as a wide sparse MLP on vec(x), built from effective operators, biases, norms and residuals alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor
from torch.nn import functional as F

from mixanalysis.network import Config, MixingLayer, Network


def vec(x: Tensor) -> Tensor:
    """Stack the columns of each S x C matrix: (B, S, C) -> (B, S C), entry (s, c) at c S + s."""
    return x.mT.reshape(len(x), -1)


def unvec(v: Tensor, tokens: int) -> Tensor:
    """The S x C matrices whose columns were stacked."""
    return v.reshape(len(v), -1, tokens).mT


def apply(layer: MixingLayer, v: Tensor) -> Tensor:
    """The layer's operator on each row of v, and its bias."""
    y = layer.operator.to(v.dtype).apply(v)
    return y if layer.bias is None else y + layer.bias.to(v.dtype)


def gelu(config: Config) -> Callable[[Tensor], Tensor]:
    """The configuration's variant of the activation."""
    if getattr(config, "gelu", "erf") == "identity":
        return lambda x: x
    return partial(F.gelu, approximate="tanh" if getattr(config, "gelu", "erf") == "tanh" else "none")


def wide_forward(network: Network, images: Tensor) -> Tensor:
    """Logits of the network, every mixing layer replaced by its effective operator on vec(features)."""
    config, module = network.config, network.module()
    mixer = hasattr(config, "tokens")
    # a plain MLP has no skip, and its last layer no activation
    plain = getattr(config, "skip", True) is False
    phi = F.relu if getattr(config, "activation", "gelu") == "relu" else gelu(config)
    x = module.embed(images) if hasattr(module, "embed") else module.stem(images)
    v = vec(x) if mixer else x.flatten(1)
    for index, tap in enumerate(network.taps):
        block = module.get_submodule(tap.after)
        layers = [layer for layer in network.layers if layer.block == index and layer.role != "skip"]
        skip = [layer for layer in network.layers if layer.block == index and layer.role == "skip"]
        tokens = (x.shape[1] if index == 0 else config.tokens) if mixer else 0
        h = vec(block.norm(unvec(v, tokens))) if mixer else block.norm(v)
        for number, layer in enumerate(layers):
            h = apply(layer, h)
            last = number == len(layers) - 1
            # a Mixer's two-layer block ends without an activation, all others end with one
            if not (last and len(layers) == 2 and (mixer or (plain and index == len(network.taps) - 1))):
                h = phi(h)
        if skip:
            v = apply(skip[0], v)
            v = vec(block.carry.norm(unvec(v, config.tokens))) if mixer else block.carry.norm(v)
        v = h if plain else v + h
    if mixer:
        x = unvec(v, config.tokens)
        x = module.norm(x)
        v = {"mean": x.mean(dim=1), "flatten": x.flatten(1), "class-token": x[:, 0]}[config.pooling]
    logits: Tensor = module.head(v)
    return logits
