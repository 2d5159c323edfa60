"""NiNformer, whose blocks hold a Mixer that gates, and lucidrains' Permutator."""

from __future__ import annotations

import torch
from torch import Tensor

from hand_made.parts import Draw, Effective, HandMade, gelu, normed, on_channels, on_tokens, patches_by_convolution


def ninformer(side: int, channels: int, hidden: tuple[int, int, int], patch: int) -> HandMade:
    """Hidden sizes are those of token mixing, channel mixing and the outer FFN."""
    draw, tokens = Draw(side + 10 * channels), side**2
    state = {"patcher.weight": draw.normal(channels, 3, patch, patch), "patcher.bias": draw.normal(channels)}
    # small features, so that the epsilon of the first norm shows
    state = {name: 3e-2 * value for name, value in state.items()}
    blocks = ("model.0", "model.1")
    for block in blocks:
        state |= draw.norm(f"{block}.norm", channels) | draw.linear(f"{block}.mgu.proj", channels, channels)
        for mix, number, size, inner in (("token_mix", 2, tokens, hidden[0]), ("channel_mix", 1, channels, hidden[1])):
            at = f"{block}.mgu.Mixer.{mix}"
            state |= draw.norm(f"{at}.0", channels) | draw.linear(f"{at}.{number}.net.0", inner, size)
            state |= draw.linear(f"{at}.{number}.net.3", size, inner)
        state |= draw.linear(f"{block}.ffn.net.0", hidden[2], channels)
        state |= draw.linear(f"{block}.ffn.net.3", channels, hidden[2])
    state |= draw.linear("classifier", 5, channels)

    def parts(name: str) -> tuple[Tensor, Tensor]:
        return state[f"{name}.weight"], state[f"{name}.bias"]

    def logits(images: Tensor) -> Tensor:
        x = patches_by_convolution(images, *parts("patcher"))
        for block in blocks:
            token, channel = f"{block}.mgu.Mixer.token_mix", f"{block}.mgu.Mixer.channel_mix"
            z = normed(x, *parts(f"{block}.norm"), 1e-5)
            v = gelu(on_tokens(*parts(f"{token}.2.net.0"))(normed(z, *parts(f"{token}.0"), 1e-5)))
            v = z + on_tokens(*parts(f"{token}.2.net.3"))(v)
            w = gelu(on_channels(*parts(f"{channel}.1.net.0"))(normed(v, *parts(f"{channel}.0"), 1e-5)))
            v = v + on_channels(*parts(f"{channel}.1.net.3"))(w)
            x = x + on_channels(*parts(f"{block}.mgu.proj"))(z) * v
            z = normed(x, *parts(f"{block}.norm"), 1e-5)
            x = x + on_channels(*parts(f"{block}.ffn.net.3"))(gelu(on_channels(*parts(f"{block}.ffn.net.0"))(z)))
        return x.mean(dim=1) @ state["classifier.weight"].T + state["classifier.bias"]

    layers = []
    for block in blocks:
        token, channel = f"{block}.mgu.Mixer.token_mix.2.net", f"{block}.mgu.Mixer.channel_mix.1.net"
        for at, on, size, inner in ((token, on_tokens, tokens, hidden[0]), (channel, on_channels, channels, hidden[1])):
            role, copies = ("token", channels) if at == token else ("channel", tokens)
            after = (inner, channels) if at == token else (tokens, inner)
            layers += [
                Effective(on(*parts(f"{at}.0")), (tokens, channels), role, 1 / copies, inner / size),
                Effective(on(*parts(f"{at}.3")), after, role, 1 / copies, inner / size),
            ]
        ffn, gamma = f"{block}.ffn.net", hidden[2] / channels
        layers += [
            Effective(on_channels(*parts(f"{block}.mgu.proj")), (tokens, channels), "gate", 1 / tokens, 1.0),
            Effective(on_channels(*parts(f"{ffn}.0")), (tokens, channels), "channel", 1 / tokens, gamma),
            Effective(on_channels(*parts(f"{ffn}.3")), (tokens, hidden[2]), "channel", 1 / tokens, gamma),
        ]
    return HandMade(
        layout="ninformer",
        state=state,
        image=(3, side * patch, side * patch),
        logits=logits,
        width=tokens * channels,
        layers=tuple(layers),
        taps=tuple(f"{block}.{name}" for block in (0, 1) for name in ("token", "channel", "gate", "ffn")),
    )


def permutator(side: int, channels: int, hidden: int, patch: int, s: int) -> HandMade:
    draw, tokens, size = Draw(side + 10 * channels), side**2, side * s
    state = draw.linear("1", channels, 3 * patch**2)
    # small features, so that the epsilon of the first norm shows
    state = {name: 3e-2 * value for name, value in state.items()}
    for block in ("2", "3"):
        state |= draw.norm(f"{block}.0.norm", channels)
        for number in (0, 1):
            state |= draw.linear(f"{block}.0.fn.0.fns.{number}.1", size, size)
        state |= draw.linear(f"{block}.0.fn.0.fns.2", channels, channels)
        state |= draw.linear(f"{block}.0.fn.1", channels, channels) | draw.norm(f"{block}.1.norm", channels)
        state |= draw.linear(f"{block}.1.fn.0", hidden, channels) | draw.linear(f"{block}.1.fn.3", channels, hidden)
    state |= draw.norm("4", channels) | draw.linear("6", 5, channels)

    def parts(name: str) -> tuple[Tensor, Tensor]:
        return state[f"{name}.weight"], state[f"{name}.bias"]

    def height(name: str, x: Tensor) -> Tensor:
        """(..., S, C): every row h and channel i of segment c from all rows and channels of it, in column w."""
        weight, bias = parts(name)
        axes = x.reshape(*x.shape[:-2], side, side, channels // s, s)
        mixed = torch.einsum("gjhi,...hwci->...gwcj", weight.reshape(side, s, side, s), axes)
        return (mixed + bias.reshape(side, 1, 1, s)).reshape(x.shape)

    def width(name: str, x: Tensor) -> Tensor:
        weight, bias = parts(name)
        axes = x.reshape(*x.shape[:-2], side, side, channels // s, s)
        mixed = torch.einsum("vjwi,...hwci->...hvcj", weight.reshape(side, s, side, s), axes)
        return (mixed + bias.reshape(side, 1, s)).reshape(x.shape)

    def logits(images: Tensor) -> Tensor:
        pixels = images.reshape(-1, 3, side, patch, side, patch)
        # a patch's pixels in the order (row, column, colour)
        x = torch.einsum("bkhpwq->bhwpqk", pixels).reshape(-1, tokens, 3 * patch**2)
        x = on_channels(*parts("1"))(x)
        for block in ("2", "3"):
            z = normed(x, *parts(f"{block}.0.norm"), 1e-5)
            fns = f"{block}.0.fn.0.fns"
            total = height(f"{fns}.0.1", z) + width(f"{fns}.1.1", z) + on_channels(*parts(f"{fns}.2"))(z)
            x = x + on_channels(*parts(f"{block}.0.fn.1"))(total)
            h = gelu(on_channels(*parts(f"{block}.1.fn.0"))(normed(x, *parts(f"{block}.1.norm"), 1e-5)))
            x = x + on_channels(*parts(f"{block}.1.fn.3"))(h)
        return normed(x, *parts("4"), 1e-5).mean(dim=1) @ state["6.weight"].T + state["6.bias"]

    layers, into, gamma = [], (tokens, channels), hidden / channels
    for block in ("2", "3"):
        fns, line = f"{block}.0.fn.0.fns", s / (side * channels)
        layers += [
            Effective(lambda x, at=f"{fns}.0.1": height(at, x), into, "token", line, 1.0),
            Effective(lambda x, at=f"{fns}.1.1": width(at, x), into, "token", line, 1.0),
            Effective(on_channels(*parts(f"{fns}.2")), into, "channel", 1 / tokens, 1.0),
            Effective(on_channels(*parts(f"{block}.0.fn.1")), into, "channel", 1 / tokens, 1.0),
            Effective(on_channels(*parts(f"{block}.1.fn.0")), into, "channel", 1 / tokens, gamma),
            Effective(
                on_channels(*parts(f"{block}.1.fn.3")), (tokens, hidden), "channel", 1 / tokens, hidden / channels
            ),
        ]
    return HandMade(
        layout="lucidrains-permutator",
        state=state,
        image=(3, side * patch, side * patch),
        logits=logits,
        width=tokens * channels,
        layers=tuple(layers),
        taps=("0.token", "0.channel", "1.token", "1.channel"),
        assume={} if s == 8 else {"segments": s},
    )


CASES = {
    "ninformer": ninformer(2, 6, (3, 8, 7), 2),
    "ninformer, all equal": ninformer(2, 4, (4, 4, 4), 2),
    "permutator": permutator(2, 6, 8, 2, 3),
    "permutator, all equal": permutator(2, 4, 4, 2, 2),
    "permutator, segments of 8": permutator(2, 16, 5, 1, 8),
    "permutator, segments of one": permutator(3, 4, 5, 2, 1),
}
