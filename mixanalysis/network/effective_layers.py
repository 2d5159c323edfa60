"""Shared and masked weights as effective layers on vec(features), straight from a checkpoint's tensors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from mixanalysis.network.blocks import Axis, mask_scale
from mixanalysis.network.network import ROLES_OF_BASE_BLOCK, MixingLayer, Role, Stage, Weights, base_block_taps
from mixanalysis.operators import Dense, Lift, Masked, Operator, Permuted


def shared_layer(
    weights: Weights,
    name: str,
    *,
    block: int,
    axis: Axis,
    copies: int,
    permuted: bool = False,
    role: Role | None = None,
    swapped: bool = False,
) -> MixingLayer:
    """A `SharedLinear` as its effective layer.

    With W of shape out x in: token mixing is I_copies kron W, channel mixing W kron I_copies, and between
    permutations J2 (I_copies kron W) J1 in either case (HK table of section 2, Def. 5.1).

    Args:
        weights: the tensors.
        name: the layer's path; `name.weight`, `name.bias`, `name.perm_in` and `name.perm_out` are its tensors.
        block: index of its mixing block.
        axis: what it mixes.
        copies: length of the other axis.
        permuted: whether it stands between permutations.
        role: where it is another than to mix the axis, such as that of a resizing skip.
        swapped: whether it has the other axis' permutations: those of row-major blocks for token mixing, none in the
            column vec for channel mixing.

    Returns:
        A lift of the matrix, between permutations where it has some.
    """
    out, into = weights.shape(f"{name}.weight")
    return MixingLayer(
        name=name,
        block=block,
        role=axis if role is None else role,
        stage=_stage(name),
        shape=(out * copies, into * copies),
        connections=weights.connections(f"{name}.weight") * copies,
        declared_variance=1.0 / into,
        build=partial(_shared_operator, weights, name, axis, copies, permuted, swapped),
        build_bias=partial(_shared_bias, weights, name, axis, copies, permuted, swapped),
    )


def base_block_layers(
    weights: Weights, depth: int, sizes: tuple[int, int], names: Sequence[str], *, permuted: bool, resized: bool
) -> tuple[MixingLayer, ...]:
    """The effective layers of base blocks, token mixing before channel mixing, in forward order.

    Args:
        weights: the tensors.
        depth: base blocks.
        sizes: tokens S and channels C.
        names: the layers of a mixing block, such as ("fc1", "fc2").
        permuted: whether each stands between permutations.
        resized: whether the first block maps S0 to S tokens, with a skip of its own.

    Returns:
        Two to four layers of each base block, the resizing skip first.
    """
    copies: dict[Axis, int] = {"token": sizes[1], "channel": sizes[0]}
    layers = [
        shared_layer(weights, f"{tap.before}.{name}", block=block, axis=axis, copies=copies[axis], permuted=permuted)
        for block, tap in enumerate(base_block_taps(depth))
        for axis in ROLES_OF_BASE_BLOCK
        if axis == tap.role
        for name in names
    ]
    if resized:
        name = "blocks.0.token.carry.proj"
        skip = shared_layer(weights, name, block=0, axis="token", copies=sizes[1], role="skip")
        layers.insert(0, skip)
    return tuple(layers)


def matrix(weights: Weights, name: str) -> Operator:
    """A weight of shape (out, in) as it is stored: dense, or masked where it was pruned."""
    support = weights.support(name)
    if support is None:
        return Dense(weights.tensor(name))
    rows, columns = weights.shape(name)
    return Masked(*support, (rows, columns))


def _shared_operator(weights: Weights, name: str, axis: Axis, copies: int, permuted: bool, swapped: bool) -> Operator:
    factor = matrix(weights, f"{name}.weight")
    if not _by_rows(axis, permuted, swapped):
        return Lift(factor, copies, "right" if axis == "channel" and not swapped else "left")
    out, into = factor.shape
    columns = row_to_vec(into, copies, axis)
    if permuted:
        columns = columns[weights.tensor(f"{name}.perm_in")]
    return Permuted(Lift(factor, copies, "left"), _output_order(weights, name, out, copies, axis, permuted), columns)


def _shared_bias(weights: Weights, name: str, axis: Axis, copies: int, permuted: bool, swapped: bool) -> Tensor | None:
    if f"{name}.bias" not in weights:
        return None
    bias = weights.tensor(f"{name}.bias")
    if not _by_rows(axis, permuted, swapped):
        return bias.repeat_interleave(copies) if axis == "channel" and not swapped else bias.repeat(copies)
    return bias.repeat(copies)[_output_order(weights, name, len(bias), copies, axis, permuted)]


def _by_rows(axis: Axis, permuted: bool, swapped: bool) -> bool:
    """True where the blocks are of the row-major features in an order that the column vec has to be brought to."""
    return permuted or (swapped and axis == "token")


def _output_order(weights: Weights, name: str, size: int, copies: int, axis: Axis, permuted: bool) -> Tensor:
    rows = vec_to_row(size, copies, axis)
    return weights.tensor(f"{name}.perm_out")[rows] if permuted else rows


def along(values: Tensor, copies: int, axis: Axis) -> Tensor:
    """Values along an axis, such as a bias or a norm's gain, on vec(features)."""
    return values.repeat(copies) if axis == "token" else values.repeat_interleave(copies)


def vec_to_row(size: int, copies: int, axis: Axis) -> Tensor:
    """Where each entry of vec(X) stands in the row-major flattened X; X has `size` along the axis."""
    tokens, channels = (size, copies) if axis == "token" else (copies, size)
    return torch.arange(tokens * channels).view(tokens, channels).T.reshape(-1)


def row_to_vec(size: int, copies: int, axis: Axis) -> Tensor:
    """Where each entry of the row-major flattened X stands in vec(X)."""
    tokens, channels = (size, copies) if axis == "token" else (copies, size)
    return torch.arange(tokens * channels).view(channels, tokens).T.reshape(-1)


def masked_layer(
    weights: Weights, name: str, *, block: int, density: float, root_scaling: bool, role: Role = "dense"
) -> MixingLayer:
    """A `MaskedLinear` as its effective layer scale * (M * A); a dense one where there is no mask."""
    rows, columns = weights.shape(f"{name}.weight")
    scale = mask_scale(density, root_scaling=root_scaling)
    return MixingLayer(
        name=name,
        block=block,
        role=role,
        stage=_stage(name),
        shape=(rows, columns),
        connections=weights.connections(f"{name}.weight"),
        declared_variance=1.0 / columns,
        build=partial(_masked_operator, weights, f"{name}.weight", scale),
        build_bias=partial(plain_bias, weights, f"{name}.bias"),
    )


def _masked_operator(weights: Weights, name: str, scale: float) -> Operator:
    support = weights.support(name)
    if support is None:
        return Dense(weights.tensor(name) * scale)
    rows, columns = weights.shape(name)
    return Masked(support.rows, support.columns, support.values * scale, (rows, columns))


def plain_bias(weights: Weights, name: str) -> Tensor | None:
    """The bias of that name as it is stored; None where there is none."""
    return weights.tensor(name) if name in weights else None


def _stage(name: str) -> Stage:
    return "out" if name.endswith("fc2") else "in"
