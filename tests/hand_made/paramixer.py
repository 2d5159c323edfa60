"""paramixer's vanilla (serial), parallel, symmetric and asymmetric Mixers."""

from __future__ import annotations

from functools import partial
from typing import Literal

from torch import Tensor

from hand_made.parts import Draw, Effective, HandMade, gelu, normed, on_channels, on_tokens, patches_by_convolution

Kind = Literal["vanilla", "para", "sym", "asym"]


def made(
    kind: Kind,
    side: int,
    channels: int,
    hidden: tuple[int, int],
    patch: int,
    *,
    repeated: int = 1,
    bias: bool = False,
) -> HandMade:
    draw, tokens = Draw(side + 10 * channels + len(kind)), side**2
    state = {"stem.proj.weight": draw.normal(channels, 3, patch, patch), "stem.proj.bias": draw.normal(channels)}
    # small features, so that the epsilon of the first norm shows
    state = {name: 1e-2 * value for name, value in state.items()}
    for block in ("blocks.0", "blocks.1"):
        for norm in ("norm1", "norm2") if kind == "vanilla" else ("norm",):
            state |= draw.norm(f"{block}.{norm}", tokens, channels)
        for name, size, inner in (("tokens", tokens, hidden[0]), ("channels", channels, hidden[1])):
            if kind == "sym":
                state |= draw.linear(f"{block}.mlp_{name}.fc2", inner, size, bias=False)
            else:
                state |= draw.linear(f"{block}.mlp_{name}.fc1", inner, size, bias=bias)
                state |= draw.linear(f"{block}.mlp_{name}.fc2", size, inner, bias=bias)
    state |= draw.norm("norm", channels) | draw.linear("head", 4, channels)

    def maps(block: str, name: str) -> tuple[partial, partial]:
        """The two matrices of an MLP with their biases, as maps along its axis."""
        on = on_tokens if name == "tokens" else on_channels
        first = "fc2" if kind == "sym" else "fc1"
        into = state[f"{block}.mlp_{name}.{first}.weight"]
        second = state[f"{block}.mlp_{name}.fc2.weight"]
        out = into.T if kind == "sym" else into.T + second if kind == "asym" else second
        shifts = (state.get(f"{block}.mlp_{name}.{fc}.bias", 0.0) for fc in ("fc1", "fc2"))
        return tuple(on(weight, shift) for weight, shift in zip((into, out), shifts, strict=True))

    def mlp(block: str, name: str, z: Tensor) -> Tensor:
        into, out = maps(block, name)
        return out(gelu(into(z)))

    def logits(images: Tensor) -> Tensor:
        x = patches_by_convolution(images, state["stem.proj.weight"], state["stem.proj.bias"])

        def norm(name: str, x: Tensor) -> Tensor:
            return normed(x, state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

        for block in ("blocks.0", "blocks.1"):
            for _ in range(repeated):
                if kind == "vanilla":
                    x = x + mlp(block, "tokens", norm(f"{block}.norm1", x))
                    x = x + mlp(block, "channels", norm(f"{block}.norm2", x))
                else:
                    z = norm(f"{block}.norm", x)
                    x = x + mlp(block, "tokens", z) + mlp(block, "channels", z)
        return norm("norm", x).mean(dim=1) @ state["head.weight"].T + state["head.bias"]

    layers = []
    for block in ("blocks.0", "blocks.1"):
        into, out = maps(block, "tokens")
        layers += [
            Effective(into, (tokens, channels), "token", 1 / channels, hidden[0] / tokens),
            Effective(out, (hidden[0], channels), "token", 1 / channels, hidden[0] / tokens),
        ]
        into, out = maps(block, "channels")
        layers += [
            Effective(into, (tokens, channels), "channel", 1 / tokens, hidden[1] / channels),
            Effective(out, (tokens, hidden[1]), "channel", 1 / tokens, hidden[1] / channels),
        ]
    times = [f".{repetition}" for repetition in range(repeated)] if repeated > 1 else [""]
    axes = (".token", ".channel") if kind == "vanilla" else ("",)
    assume = ({"iterations": repeated} if repeated > 1 else {}) | ({"mlp": "asymmetric"} if kind == "asym" else {})
    return HandMade(
        layout="vanillamixer" if kind == "vanilla" else "paramixer",
        state=state,
        image=(3, side * patch, side * patch),
        logits=logits,
        width=tokens * channels,
        layers=tuple(layers),
        taps=tuple(f"{block}{time}{axis}" for block in (0, 1) for time in times for axis in axes),
        assume=assume,
    )


CASES = {
    "vanillamixer": made("vanilla", 2, 6, (3, 8), 2),
    "vanillamixer, all equal": made("vanilla", 2, 4, (4, 4), 2),
    "vanillamixer, biases": made("vanilla", 2, 6, (3, 8), 2, bias=True),
    "vanillamixer, three times": made("vanilla", 2, 6, (3, 8), 2, repeated=3),
    "paramixer": made("para", 2, 6, (3, 8), 2),
    "paramixer, all equal, twice": made("para", 2, 4, (4, 4), 2, repeated=2),
    "symmixer": made("sym", 2, 6, (3, 8), 2),
    "symmixer, all equal": made("sym", 2, 4, (4, 4), 2),
    "asymmixer": made("asym", 2, 6, (3, 8), 2),
    "asymmixer, all equal, twice": made("asym", 2, 4, (4, 4), 2, repeated=2),
}
