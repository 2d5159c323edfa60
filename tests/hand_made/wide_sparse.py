"""MLP1 of wide-sparse-nets: sparse at random places, batch normalisation after the activation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hand_made.parts import Draw, Effective, HandMade


def made(
    image: tuple[int, int, int],
    hidden: int,
    *,
    kept: float | None = None,
    batch_norm: bool = True,
    bias: bool = True,
    assume: dict[str, object] | None = None,
) -> HandMade:
    draw, inputs, assume = Draw(hidden), math.prod(image), assume or {}
    state = draw.linear("layers.fc", hidden, inputs, bias=bias) | draw.linear("layers.cl", 4, hidden, bias=bias)
    if kept is not None:
        for name in ("layers.fc.weight", "layers.cl.weight"):
            state[name] *= torch.rand(state[name].shape, generator=draw.generator) < kept
    if batch_norm:
        state |= draw.norm("layers.bn", hidden)
        state |= {"layers.bn.running_mean": draw.normal(hidden)}
        # small variances, so that the epsilon shows
        state |= {"layers.bn.running_var": 1e-3 * (0.5 + draw.normal(hidden) ** 2)}
        state |= {"layers.bn.num_batches_tracked": torch.tensor(7)}
    ntk, linear = assume.get("parametrisation") == "ntk", assume.get("activation") == "identity"

    def layer(name: str, x: Tensor) -> Tensor:
        weight = state[f"layers.{name}.weight"]
        factor = 1 / math.sqrt(weight.shape[1]) if ntk else 1.0
        return factor * (x @ weight.T + state.get(f"layers.{name}.bias", 0.0))

    def logits(images: Tensor) -> Tensor:
        h = layer("fc", images.reshape(-1, inputs))
        h = h if linear else torch.where(h > 0, h, 0.0)
        if batch_norm:
            centred = h - state["layers.bn.running_mean"]
            h = centred / torch.sqrt(state["layers.bn.running_var"] + 1e-5)
            h = h * state["layers.bn.weight"] + state["layers.bn.bias"]
        return layer("cl", h)

    def effective(name: str, into: int, expansion: float) -> Effective:
        weight = state[f"layers.{name}.weight"]
        density = int(weight.count_nonzero()) / weight.numel()
        return Effective(lambda x: layer(name, x.T).T, (into, 1), "dense", density, expansion)

    return HandMade(
        layout="wide-sparse-nets",
        state=state,
        image=image,
        logits=logits,
        width=hidden,
        layers=(effective("fc", inputs, inputs / hidden), effective("cl", hidden, 4 / hidden)),
        taps=("hidden",),
        assume=assume,
        skips=False,
    )


CASES = {
    "wide MLP": made((1, 6, 6), 20, kept=0.3),
    "wide MLP, dense": made((1, 4, 4), 16),
    "wide MLP, colours, bare": made((3, 4, 4), 30, kept=0.5, batch_norm=False, bias=False),
    "wide MLP, linear, NTK": made((1, 4, 4), 30, kept=0.5, assume={"activation": "identity", "parametrisation": "ntk"}),
    "wide MLP, not square": made((1, 3, 4), 10, kept=0.5, assume={"image": "3x4"}),
}
