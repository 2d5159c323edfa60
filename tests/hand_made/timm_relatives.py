"""timm's ResMLP (and Facebook's), gMixer and gMLP (formats: timm/models/mlp_mixer.py)."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from hand_made.parts import (
    Draw,
    Effective,
    HandMade,
    gelu,
    normed,
    on_channels,
    on_tokens,
    patches_by_convolution,
    silu,
)

State = dict[str, Tensor]


def stem_and_head(draw: Draw, channels: int, patch: int, colours: int, classes: int) -> State:
    state = {"stem.proj.weight": draw.normal(channels, colours, patch, patch), "stem.proj.bias": draw.normal(channels)}
    return state | (draw.linear("head", classes, channels) if classes else {})


def headed(state: State, pooled: Tensor) -> Tensor:
    return pooled @ state["head.weight"].T + state["head.bias"] if "head.weight" in state else pooled


def resmlp_state(side: int, channels: int, hidden: int, patch: int, *, depth: int = 2, classes: int = 5) -> State:
    draw, tokens = Draw(side + 10 * channels), side**2
    state = stem_and_head(draw, channels, patch, 3, classes)

    def affine(name: str) -> State:
        return {key: value[None, None] for key, value in draw.norm(name, channels, names=("alpha", "beta")).items()}

    for block in (f"blocks.{index}" for index in range(depth)):
        state |= affine(f"{block}.norm1") | draw.linear(f"{block}.linear_tokens", tokens, tokens)
        state |= {f"{block}.ls{number}": 0.5 + draw.normal(channels) for number in (1, 2)}
        state |= affine(f"{block}.norm2") | draw.linear(f"{block}.mlp_channels.fc1", hidden, channels)
        state |= draw.linear(f"{block}.mlp_channels.fc2", channels, hidden)
    return state | affine("norm")


def resmlp_logits(state: State, images: Tensor) -> Tensor:
    x = patches_by_convolution(images, state["stem.proj.weight"], state["stem.proj.bias"])

    def affine(name: str, x: Tensor) -> Tensor:
        return state[f"{name}.alpha"].reshape(-1) * x + state[f"{name}.beta"].reshape(-1)

    def linear(name: str) -> tuple[Tensor, Tensor]:
        return state[f"{name}.weight"], state[f"{name}.bias"]

    index = 0
    while f"blocks.{index}.ls1" in state:
        block = f"blocks.{index}"
        x = x + state[f"{block}.ls1"] * on_tokens(*linear(f"{block}.linear_tokens"))(affine(f"{block}.norm1", x))
        hidden = gelu(on_channels(*linear(f"{block}.mlp_channels.fc1"))(affine(f"{block}.norm2", x)))
        x = x + state[f"{block}.ls2"] * on_channels(*linear(f"{block}.mlp_channels.fc2"))(hidden)
        index += 1
    return headed(state, affine("norm", x).mean(dim=1))


def facebook(state: State) -> State:
    """The same weights under Facebook's names."""
    names = (("stem.", "patch_embed."), ("linear_tokens.", "attn."), ("mlp_channels.", "mlp."), (".ls", ".gamma_"))
    renamed = {}
    for timm, value in state.items():
        name = timm
        for part, theirs in names:
            name = name.replace(part, theirs)
        renamed[name] = value.reshape(-1) if name.endswith(("alpha", "beta")) else value
    return renamed


def resmlp(side: int, channels: int, hidden: int, patch: int, *, theirs: bool = False, classes: int = 5) -> HandMade:
    state, tokens = resmlp_state(side, channels, hidden, patch, classes=classes), side**2

    def vector(name: str) -> Tensor:
        return state[name].reshape(-1)

    layers = []
    for block in ("blocks.0", "blocks.1"):
        token, mlp = f"{block}.linear_tokens", f"{block}.mlp_channels"

        def mixed(x: Tensor, block: str = block, token: str = token) -> Tensor:
            x = vector(f"{block}.norm1.alpha") * x + vector(f"{block}.norm1.beta")
            return state[f"{block}.ls1"] * (state[f"{token}.weight"] @ x + state[f"{token}.bias"][:, None])

        def expanded(x: Tensor, block: str = block, mlp: str = mlp) -> Tensor:
            x = vector(f"{block}.norm2.alpha") * x + vector(f"{block}.norm2.beta")
            return x @ state[f"{mlp}.fc1.weight"].T + state[f"{mlp}.fc1.bias"]

        def reduced(x: Tensor, block: str = block, mlp: str = mlp) -> Tensor:
            return state[f"{block}.ls2"] * (x @ state[f"{mlp}.fc2.weight"].T + state[f"{mlp}.fc2.bias"])

        layers += [
            Effective(mixed, (tokens, channels), "token", 1 / channels, 1.0),
            Effective(expanded, (tokens, channels), "channel", 1 / tokens, hidden / channels),
            Effective(reduced, (tokens, hidden), "channel", 1 / tokens, hidden / channels),
        ]
    return HandMade(
        layout="facebook-resmlp" if theirs else "timm-resmlp",
        state=facebook(state) if theirs else state,
        image=(3, side * patch, side * patch),
        logits=partial(resmlp_logits, state),
        width=tokens * channels,
        layers=tuple(layers),
        taps=("0.token", "0.channel", "1.token", "1.channel"),
    )


def gmixer(
    side: int, channels: int, hidden: tuple[int, int], patch: int, *, stem_norm: bool = False, classes: int = 5
) -> HandMade:
    draw, tokens = Draw(side + 10 * channels + 1), side**2
    state = stem_and_head(draw, channels, patch, 3, classes) | draw.norm("norm", channels)
    if stem_norm:
        state |= draw.norm("stem.norm", channels)
    for block in ("blocks.0", "blocks.1"):
        for number, name, size, inner in ((1, "tokens", tokens, hidden[0]), (2, "channels", channels, hidden[1])):
            state |= draw.norm(f"{block}.norm{number}", channels)
            state |= draw.linear(f"{block}.mlp_{name}.fc1", 2 * inner, size)
            state |= draw.linear(f"{block}.mlp_{name}.fc2", size, inner)

    def logits(images: Tensor) -> Tensor:
        x = patches_by_convolution(images, state["stem.proj.weight"], state["stem.proj.bias"])
        if stem_norm:
            x = normed(x, state["stem.norm.weight"], state["stem.norm.bias"], 1e-6)
        for block in ("blocks.0", "blocks.1"):
            for number, name, inner in ((1, "tokens", hidden[0]), (2, "channels", hidden[1])):
                z = normed(x, state[f"{block}.norm{number}.weight"], state[f"{block}.norm{number}.bias"], 1e-6)
                z = z.transpose(1, 2) if name == "tokens" else z
                h = z @ state[f"{block}.mlp_{name}.fc1.weight"].T + state[f"{block}.mlp_{name}.fc1.bias"]
                h = h[..., :inner] * silu(h[..., inner:])
                y = h @ state[f"{block}.mlp_{name}.fc2.weight"].T + state[f"{block}.mlp_{name}.fc2.bias"]
                x = x + (y.transpose(1, 2) if name == "tokens" else y)
        return headed(state, normed(x, state["norm.weight"], state["norm.bias"], 1e-6).mean(dim=1))

    layers = []
    for block in ("blocks.0", "blocks.1"):
        for name, on, size, inner in (
            ("tokens", on_tokens, tokens, hidden[0]),
            ("channels", on_channels, channels, hidden[1]),
        ):
            fc1, fc2 = (
                (state[f"{block}.mlp_{name}.{fc}.weight"], state[f"{block}.mlp_{name}.{fc}.bias"])
                for fc in ("fc1", "fc2")
            )
            role, into = name.removesuffix("s"), (tokens, channels)
            after = (inner, channels) if name == "tokens" else (tokens, inner)
            density = 1 / channels if name == "tokens" else 1 / tokens
            layers += [
                Effective(on(fc1[0][:inner], fc1[1][:inner]), into, role, density, inner / size),
                Effective(on(fc1[0][inner:], fc1[1][inner:]), into, "gate", density, inner / size),
                Effective(on(*fc2), after, role, density, inner / size),
            ]
    return HandMade(
        layout="timm-gmixer",
        state=state,
        image=(3, side * patch, side * patch),
        logits=logits,
        width=tokens * channels,
        layers=tuple(layers),
        taps=("0.token", "0.channel", "1.token", "1.channel"),
    )


def gmlp(side: int, channels: int, half: int, patch: int, *, classes: int = 5) -> HandMade:
    draw, tokens = Draw(side + 10 * channels + 2), side**2
    state = stem_and_head(draw, channels, patch, 3, classes) | draw.norm("norm", channels)
    for block in ("blocks.0", "blocks.1"):
        mlp = f"{block}.mlp_channels"
        state |= draw.norm(f"{block}.norm", channels) | draw.linear(f"{mlp}.fc1", 2 * half, channels)
        state |= draw.norm(f"{mlp}.gate.norm", half) | draw.linear(f"{mlp}.gate.proj", tokens, tokens)
        state |= draw.linear(f"{mlp}.fc2", channels, half)
        # small values before the gate's norm, so that its epsilon shows
        state[f"{mlp}.fc1.weight"][half:] *= 1e-2
        state[f"{mlp}.fc1.bias"][half:] *= 1e-2

    def parts(name: str) -> tuple[Tensor, Tensor]:
        return state[f"{name}.weight"], state[f"{name}.bias"]

    def logits(images: Tensor) -> Tensor:
        x = patches_by_convolution(images, state["stem.proj.weight"], state["stem.proj.bias"])
        for block in ("blocks.0", "blocks.1"):
            mlp = f"{block}.mlp_channels"
            h = gelu(on_channels(*parts(f"{mlp}.fc1"))(normed(x, *parts(f"{block}.norm"), 1e-6)))
            u, v = h[..., :half], h[..., half:]
            v = on_tokens(*parts(f"{mlp}.gate.proj"))(normed(v, *parts(f"{mlp}.gate.norm"), 1e-5))
            x = x + on_channels(*parts(f"{mlp}.fc2"))(u * v)
        return headed(state, normed(x, *parts("norm"), 1e-6).mean(dim=1))

    layers = []
    for block in ("blocks.0", "blocks.1"):
        mlp = f"{block}.mlp_channels"
        layers += [
            Effective(
                on_channels(*parts(f"{mlp}.fc1")), (tokens, channels), "channel", 1 / tokens, 2 * half / channels
            ),
            Effective(on_tokens(*parts(f"{mlp}.gate.proj")), (tokens, half), "gate", 1 / half, 1.0),
            Effective(on_channels(*parts(f"{mlp}.fc2")), (tokens, half), "channel", 1 / tokens, half / channels),
        ]
    return HandMade(
        layout="timm-gmlp",
        state=state,
        image=(3, side * patch, side * patch),
        logits=logits,
        width=tokens * channels,
        layers=tuple(layers),
        taps=("0", "1"),
    )


CASES = {
    "resmlp": resmlp(2, 6, 10, 3),
    "resmlp, S = C": resmlp(3, 9, 9, 1),
    "resmlp, no head": resmlp(2, 3, 5, 2, classes=0),
    "Facebook's resmlp": resmlp(2, 6, 10, 3, theirs=True),
    "gmixer": gmixer(2, 6, (3, 8), 2),
    "gmixer, all equal": gmixer(3, 9, (9, 9), 1, stem_norm=True),
    "gmixer, no head": gmixer(2, 5, (2, 4), 2, classes=0),
    "gmlp": gmlp(2, 6, 9, 2),
    "gmlp, S = C = hidden": gmlp(3, 9, 9, 1),
}
