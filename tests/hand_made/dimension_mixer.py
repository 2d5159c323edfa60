"""Dimension-Mixer's Mixers: dense, sparse_linear and sparse_mlp mixing of patches, and PatchMlpMixer."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from hand_made.parts import Draw, Effective, HandMade, Map, gelu, normed

Kind = Literal["dense", "sparse_linear", "sparse_mlp"]


def grouped(weight: Tensor, bias: Tensor | float = 0.0) -> Map:
    """A grouped 1 x 1 convolution of vectors: group g maps its own inputs to its own rows of the weight."""
    into = weight.shape[1]

    def apply(x: Tensor) -> Tensor:
        groups = x.shape[-1] // into
        rows = weight.reshape(groups, -1, into)
        return torch.cat([x[..., g * into : (g + 1) * into] @ rows[g].T for g in range(groups)], dim=-1) + bias

    return apply


def ordered(index: list[int], after: Map) -> Map:
    return lambda x: after(x[..., index])


def along(axis: str, apply: Map) -> Map:
    """A map of vectors, applied to columns (tokens) or rows (channels) of features."""
    return (lambda x: apply(x.transpose(-1, -2)).transpose(-1, -2)) if axis == "token" else apply


def mlp_state(draw: Draw, name: str, kind: Kind, size: int, h: int) -> dict[str, Tensor]:
    b = math.isqrt(size)

    def conv(name: str, groups: int, out: int, into: int, *, bias: bool = True) -> dict[str, Tensor]:
        drawn = draw.linear(name, groups * out, into, bias=bias)
        return {key: value[:, :, None, None] if key.endswith("weight") else value for key, value in drawn.items()}

    if kind == "dense":
        return draw.linear(f"{name}.mlp.0", h * size, size) | draw.linear(f"{name}.mlp.2", size, h * size)
    if kind == "sparse_linear":
        return (
            conv(f"{name}.linear0_0.conv", b, b * h, b, bias=False)
            | conv(f"{name}.linear0_1.conv", b * h, b, b)
            | conv(f"{name}.linear1_0.conv", b * h, b, b, bias=False)
            | conv(f"{name}.linear1_1.conv", b, b, b * h)
        )
    state = {}
    for factor in (0, 1):
        state |= conv(f"{name}.facto_nets.{factor}.mlp.0.conv", b, b * h, b)
        state |= conv(f"{name}.facto_nets.{factor}.mlp.2.conv", b, b, b * h)
    return state


def mlp_maps(state: dict[str, Tensor], name: str, kind: Kind, size: int, h: int) -> list[Map]:
    """The linear maps of vectors, in their order."""
    b = math.isqrt(size)

    def of(part: str) -> tuple[Tensor, Tensor | float]:
        weight = state[f"{name}.{part}.weight"]
        return weight.reshape(weight.shape[:2]), state.get(f"{name}.{part}.bias", 0.0)

    if kind == "dense":
        return [lambda x, part=part: x @ of(part)[0].T + of(part)[1] for part in ("mlp.0", "mlp.2")]
    if kind == "sparse_linear":
        # written as b rows of b h, read by columns; then as b h rows of b
        down = [i * b * h + j for j in range(b * h) for i in range(b)]
        back = [j * b + i for i in range(b) for j in range(b * h)]
        return [
            grouped(*of("linear0_0.conv")),
            ordered(down, grouped(*of("linear0_1.conv"))),
            grouped(*of("linear1_0.conv")),
            ordered(back, grouped(*of("linear1_1.conv"))),
        ]
    maps: list[Map] = []
    for factor in (0, 1):
        gap = b**factor
        # group after group of b gap entries: first the block of those at 0, gap, 2 gap, ..., then that at 1, gap + 1
        gathered = [start + p * gap + q for start in range(0, size, b * gap) for q in range(gap) for p in range(b)]
        inverse = [gathered.index(entry) for entry in range(size)]
        first = grouped(*of(f"facto_nets.{factor}.mlp.0.conv"))
        second = grouped(*of(f"facto_nets.{factor}.mlp.2.conv"))
        maps += [ordered(gathered, first), lambda x, second=second, inverse=inverse: second(x)[..., inverse]]
    return maps


def mlp(state: dict[str, Tensor], name: str, kind: Kind, size: int, h: int, x: Tensor) -> Tensor:
    maps = mlp_maps(state, name, kind, size, h)
    if kind == "dense":
        return maps[1](gelu(maps[0](x)))
    if kind == "sparse_linear":
        x = maps[1](maps[0](x))
        return maps[3](maps[2](torch.where(x > 0, x, torch.exp(x) - 1)))
    return maps[3](gelu(maps[2](maps[1](gelu(maps[0](x))))))


def expansions(kind: Kind, size: int, h: int) -> list[tuple[int, float, float]]:
    """Inputs of each linear map along its axis, its gamma, and its density there."""
    b = math.isqrt(size)
    if kind == "dense":
        return [(size, h, 1.0), (h * size, h, 1.0)]
    if kind == "sparse_linear":
        return [(size, h, 1 / b), (h * size, 1.0, 1 / (b * h)), (h * size, 1.0, 1 / (b * h)), (h * size, h, 1 / b)]
    return [(size, h, 1 / b), (h * size, h, 1 / b)] * 2


def mixer(side: int, channels: int, patch: int, kinds: tuple[Kind, Kind], *, h: int = 2, colours: int = 3) -> HandMade:
    draw, tokens = Draw(side + 10 * channels), side**2
    state = draw.linear("channel_change", channels, colours * patch**2)
    # small features, so that the epsilon of the first norm shows
    state = {name: 3e-2 * value for name, value in state.items()}
    axes = (("token", "patch", 0, kinds[0], tokens), ("channel", "channel", 1, kinds[1], channels))
    blocks = ("mixer_blocks.0", "mixer_blocks.1")
    for block in blocks:
        for _, name, number, kind, size in axes:
            state |= draw.norm(f"{block}.ln{number}", channels) | mlp_state(draw, f"{block}.mlp_{name}", kind, size, h)
    state |= draw.linear("linear", 5, tokens * channels)

    def logits(images: Tensor) -> Tensor:
        pixels = images.reshape(-1, colours, side, patch, side, patch).permute(0, 2, 4, 1, 3, 5)
        x = pixels.reshape(-1, tokens, colours * patch**2) @ state["channel_change.weight"].T
        x = x + state["channel_change.bias"]
        for block in blocks:
            for axis, name, number, kind, size in axes:
                z = normed(x, state[f"{block}.ln{number}.weight"], state[f"{block}.ln{number}.bias"], 1e-5)
                at = f"{block}.mlp_{name}"
                x = x + along(axis, lambda z, at=at, kind=kind, size=size: mlp(state, at, kind, size, h, z))(z)
        return x.reshape(len(x), -1) @ state["linear.weight"].T + state["linear.bias"]

    layers = []
    for block in blocks:
        for axis, name, _, kind, size in axes:
            maps = mlp_maps(state, f"{block}.mlp_{name}", kind, size, h)
            for apply, (into, gamma, density) in zip(maps, expansions(kind, size, h), strict=True):
                shape = (into, channels) if axis == "token" else (tokens, into)
                copies = channels if axis == "token" else tokens
                layers.append(Effective(along(axis, apply), shape, axis, density / copies, gamma))
    return HandMade(
        layout="dimension-mixer",
        state=state,
        image=(colours, side * patch, side * patch),
        logits=logits,
        width=tokens * channels,
        layers=tuple(layers),
        taps=("0.token", "0.channel", "1.token", "1.channel"),
    )


def patch_mixer(colours: int, channels: int, sizes: tuple[int, ...]) -> HandMade:
    draw, side = Draw(channels), math.prod(sizes)
    state = {}
    if colours != channels:
        state |= {"conv1x1.weight": draw.normal(channels, colours, 1, 1), "conv1x1.bias": draw.normal(channels)}
        state = {name: 1e-2 * value for name, value in state.items()}
    blocks = [(f"mixer_blocks.{index}", size) for index, size in enumerate(sizes * 2)]
    for block, size in blocks:
        features = size**2 * channels
        state |= draw.norm(f"{block}.ln0", features) | draw.linear(f"{block}.mlp_patch.mlp.0", 2 * features, features)
        state |= draw.linear(f"{block}.mlp_patch.mlp.2", features, 2 * features)
    state |= draw.linear("linear", 5, side**2 * channels)

    def unfolded(x: Tensor, size: int) -> Tensor:
        """(..., c, H, W) to (..., patches, c p p)."""
        n = side // size
        axes = x.reshape(*x.shape[:-3], channels, n, size, n, size)
        return torch.einsum("...kiajc->...ijkac", axes).reshape(*x.shape[:-3], n * n, size**2 * channels)

    def folded(x: Tensor, size: int) -> Tensor:
        n = side // size
        axes = x.reshape(*x.shape[:-2], n, n, channels, size, size)
        return torch.einsum("...ijkac->...kiajc", axes).reshape(*x.shape[:-2], channels, side, side)

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def logits(images: Tensor) -> Tensor:
        x = images
        if colours != channels:
            x = torch.einsum("dk,bkhw->bdhw", state["conv1x1.weight"][:, :, 0, 0], x)
            x = x + state["conv1x1.bias"][:, None, None]
        for block, size in blocks:
            z = normed(unfolded(x, size), state[f"{block}.ln0.weight"], state[f"{block}.ln0.bias"], 1e-5)
            x = x + folded(linear(f"{block}.mlp_patch.mlp.2", gelu(linear(f"{block}.mlp_patch.mlp.0", z))), size)
        return linear("linear", x.reshape(len(x), -1))

    def image(x: Tensor) -> Tensor:
        """Pixels x channels as an image."""
        return x.T.reshape(channels, side, side)

    layers = []
    for block, size in blocks:
        first, second, count = f"{block}.mlp_patch.mlp.0", f"{block}.mlp_patch.mlp.2", (side // size) ** 2

        def fc1(x: Tensor, name: str = first, size: int = size) -> Tensor:
            return linear(name, unfolded(image(x), size))

        def fc2(x: Tensor, name: str = second, size: int = size) -> Tensor:
            return folded(linear(name, x), size).reshape(channels, side**2).T

        layers += [
            Effective(fc1, (side**2, channels), "patch", 1 / count, 2.0),
            Effective(fc2, (count, 2 * size**2 * channels), "patch", 1 / count, 2.0),
        ]
    return HandMade(
        layout="dimension-mixer-patches",
        state=state,
        image=(colours, side, side),
        logits=logits,
        width=side**2 * channels,
        layers=tuple(layers),
        taps=tuple(str(index) for index in range(len(blocks))),
    )


CASES = {
    "dimension mixer, dense": mixer(2, 6, 2, ("dense", "dense")),
    "dimension mixer, sparse linear": mixer(2, 9, 2, ("sparse_linear", "sparse_linear")),
    "dimension mixer, sparse MLP": mixer(2, 9, 2, ("sparse_mlp", "sparse_mlp"), h=3),
    "dimension mixer, mixed": mixer(3, 4, 1, ("sparse_linear", "sparse_mlp"), colours=1),
    "dimension mixer, mixed, all equal": mixer(2, 4, 2, ("dense", "sparse_linear")),
    "patch mixer": patch_mixer(3, 2, (2, 3)),
    "patch mixer, images as they are": patch_mixer(3, 3, (3, 1)),
    "patch mixer, one colour": patch_mixer(1, 1, (2, 2)),
}
