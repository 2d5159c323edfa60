"""MLPs of anybody's own making: a chain of linear layers, norms among them, under any names."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from hand_made.parts import Draw, Effective, HandMade, gelu, normed

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": lambda x: torch.where(x > 0, x, 0.0),
    "leaky-relu": lambda x: torch.where(x > 0, x, 0.01 * x),
    "elu": lambda x: torch.where(x > 0, x, torch.exp(x) - 1),
    "gelu": gelu,
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "tanh": lambda x: (torch.exp(x) - torch.exp(-x)) / (torch.exp(x) + torch.exp(-x)),
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "identity": lambda x: x,
}


def made(
    image: tuple[int, int, int],
    sizes: tuple[int, ...],
    linear: tuple[str, ...],
    *,
    norms: tuple[str, ...] = (),
    batch: bool = True,
    last: bool = False,
    input_norm: str = "",
    bias: bool = True,
    assume: dict[str, object] | None = None,
) -> HandMade:
    """Hidden layers norm(W x + b) then phi, or the norm last; `norms` names one for each hidden layer."""
    draw, assume = Draw(sum(sizes)), assume or {}
    all_sizes = [math.prod(image), *sizes]
    state: dict[str, Tensor] = {}

    def add_norm(name: str, size: int) -> None:
        state.update(draw.norm(name, size))
        if batch:
            # small variances, so that the epsilon shows
            variance = 1e-3 * (0.5 + draw.normal(size) ** 2)
            state.update({f"{name}.running_mean": draw.normal(size), f"{name}.running_var": variance})
            state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    if input_norm:
        add_norm(input_norm, all_sizes[0])
    for index, name in enumerate(linear):
        state |= draw.linear(name, all_sizes[index + 1], all_sizes[index], bias=bias)
        if index < len(norms):
            add_norm(norms[index], all_sizes[index + 1])
    phi = ACTIVATIONS[str(assume.get("activation", "relu"))]

    def apply_norm(name: str, x: Tensor) -> Tensor:
        gain, shift = state[f"{name}.weight"], state[f"{name}.bias"]
        if not batch:
            return normed(x, gain, shift, 1e-5)
        return (x - state[f"{name}.running_mean"]) / torch.sqrt(state[f"{name}.running_var"] + 1e-5) * gain + shift

    def affine(index: int, x: Tensor) -> Tensor:
        return x @ state[f"{linear[index]}.weight"].T + state.get(f"{linear[index]}.bias", 0.0)

    def logits(images: Tensor) -> Tensor:
        x = images.flatten(1)
        x = apply_norm(input_norm, x) if input_norm else x
        for index in range(len(linear)):
            x = affine(index, x)
            norm = norms[index] if index < len(norms) else ""
            x = apply_norm(norm, x) if norm and not last else x
            x = phi(x) if index < len(linear) - 1 else x
            x = apply_norm(norm, x) if norm and last else x
        return x

    def effective(index: int, x: Tensor) -> Tensor:
        """Between two activations: the batch norms on either side belong to the layer."""
        before = (norms[index - 1] if last and index <= len(norms) else "") if index else input_norm
        x = apply_norm(before, x) if batch and before else x
        x = affine(index, x)
        return apply_norm(norms[index], x) if batch and not last and index < len(norms) else x

    width = max(sizes[:-1])
    layers = tuple(
        Effective(
            lambda x, index=index: effective(index, x.T).T,
            (all_sizes[index], 1),
            "dense",
            1.0,
            all_sizes[index] / all_sizes[index + 1] if index == 0 else all_sizes[index + 1] / all_sizes[index],
        )
        for index in range(len(linear))
    )
    return HandMade(
        layout="mlp-chain",
        state=state,
        image=image,
        logits=logits,
        width=width,
        layers=layers,
        taps=linear[:-1],
        assume=assume,
        skips=False,
    )


CASES = {
    "MLP, Sequential": made((1, 6, 6), (20, 20, 4), ("0", "2", "4")),
    "MLP, eleven layers": made((1, 3, 3), (*[6] * 10, 4), tuple(f"stack.{2 * i}" for i in range(11))),
    "MLP, attributes": made((3, 4, 4), (10, 15, 4), ("fc1", "fc2", "head"), bias=False),
    "MLP, batch norm": made((1, 4, 4), (12, 14, 4), ("stack.0", "stack.3", "stack.6"), norms=("stack.1", "stack.4")),
    "MLP, batch norm last": made((1, 4, 4), (12, 9, 4), ("0", "3", "6"), norms=("2", "5"), last=True),
    "MLP, batch norm by name": made((1, 4, 4), (12, 9, 4), ("fc1", "fc2", "out"), norms=("bn1", "bn2"), bias=False),
    "MLP, batch norm last, said so": made(
        (1, 4, 4),
        (12, 9, 4),
        ("fc1", "fc2", "out"),
        norms=("bn1", "bn2"),
        last=True,
        bias=False,
        assume={"norms": "after-activation", "activation": "tanh"},
    ),
    "MLP, LayerNorm": made(
        (1, 1, 13),
        (12, 9, 4),
        ("layers.0.linear", "layers.1.linear", "out"),
        norms=("layers.0.norm", "layers.1.norm"),
        batch=False,
        input_norm="start",
    ),
    "MLP, input norm": made((2, 3, 4), (12, 4), ("a", "b"), input_norm="n", assume={"image": "3x4"}),
    "MLP, norm of the logits": made((1, 2, 2), (5, 4), ("0", "3"), norms=("1", "4")),
} | {
    f"MLP, {name}": made((1, 5, 5), (7, 4), ("hidden", "output"), assume={"activation": name})
    for name in ACTIVATIONS
    if name != "relu"
}
