"""What an analysis will cost, from shapes alone: right to an order of magnitude, and said to be no more."""

from __future__ import annotations

import functools
import math
import operator
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from mixanalysis.families import FAMILIES
from mixanalysis.network import UNKNOWN, Config, MixingLayer, Network
from mixanalysis.operators import Masked, Operator
from mixanalysis.report.spectra.section import PANELS
from mixanalysis.results import NETWORK, Schema
from mixanalysis.spectra import nulls, targets
from mixanalysis.spectra.layer import PROBES, STEPS, TOP
from mixanalysis.spectra.nulls.masked import SIGN_LIMIT
from mixanalysis.spectra.nulls.signs import SIGN_DRAWS
from mixanalysis.spectra.targets import Target

PLAN = Schema.of(
    "plan",
    NETWORK,
    ("layer", "", "block or layer, or what is done with all of them"),
    ("size", "", "features of an image, shape of the matrix that is decomposed, or weights"),
    ("operations", "", "floating-point operations, estimated from shapes"),
    ("memory", "bytes", "held for it at once, estimated from shapes"),
    keys=("network", "layer"),
)

SMALL_CALL = 2e-5
"""Seconds that one operation on tensors takes at least."""

SVD = 4.0
"""Operations of all singular values of an a x b matrix, over a b^2: bidiagonal form and what it loses to memory."""

SPARSE = 8.0
"""Operations of a dense product that take as long as one of a sparse product."""

SIGN_PRODUCTS = 100
"""The same for one draw of random signs."""

FIGURE, FIGURE_BYTES = 0.5, 1e8
"""Seconds and bytes of a figure."""

LANCZOS = 300
"""Products with the matrix and its transpose until the largest values have converged."""


@dataclass(frozen=True, eq=False)
class Cost:
    """What an analysis will cost.

    Attributes:
        rows: a row per layer (`PLAN`).
        calls: operations on tensors, which take their time however small the tensors are.
        memory: bytes held at once.
        unknown: what it couldn't be told of.
    """

    rows: pd.DataFrame
    calls: float
    memory: float
    unknown: tuple[str, ...] = ()

    @property
    def operations(self) -> float:
        """Floating-point operations."""
        return float(self.rows["operations"].sum())

    def seconds(self, speed: float) -> float:
        """Time at a speed in operations a second."""
        return self.operations / speed + self.calls * SMALL_CALL

    def __add__(self, other: Cost) -> Cost:
        """One after the other."""
        return Cost(
            pd.concat([self.rows, other.rows], ignore_index=True),
            self.calls + other.calls,
            max(self.memory, other.memory),
            (*self.unknown, *other.unknown),
        )

    def to_json(self, speed: float) -> dict[str, Any]:
        """JSON-ready totals."""
        return {
            "operations": self.operations,
            "seconds": self.seconds(speed),
            "memory": self.memory,
            "speed": speed,
            "unknown": list(self.unknown),
        }


def of_cka(
    networks: Sequence[object],
    images: int,
    batch_size: int,
    keep: Callable[[str], bool] = lambda _name: True,
    *,
    permutations: int = 0,
    pairs: bool = True,
) -> Cost:
    """Forward passes of all networks, a Gram matrix of each block, and HSIC of all pairs.

    Args:
        networks: those that aren't a `Network` are unknown.
        images: how many.
        batch_size: images of a Gram matrix.
        keep: which blocks are compared, by name.
        permutations: random pairings for p-values.
        pairs: whether they are compared, and figures drawn.

    Returns:
        Operations, calls and bytes of all networks and pairs.
    """
    rows, unknown, widest, weights = [], [], 0.0, 0.0
    for network in networks:
        if not isinstance(network, Network) or network.family == UNKNOWN:
            unknown.append(str(getattr(network, "label", network)))
            continue
        widest = max(widest, *(max(layer.shape) for layer in network.layers))
        weights += 4.0 * network.parameters
        rows += [_block(network, index, images, batch_size, keep) for index in range(len(network.taps))]
    kept = sum(1 for row in rows if row["memory"])
    memory = weights + kept * 16.0 * batch_size**2 + 16.0 * batch_size * widest
    calls = -(-images // batch_size) * 30.0 * max(kept, 1)
    if not pairs:
        return Cost(PLAN.frame(rows), calls, memory, tuple(unknown))
    products = 2.0 * images * batch_size * kept**2 * (1 + permutations)
    rows.append(_row("", "all pairs", f"{kept} x {kept}", products, 8.0 * kept**2))
    maps = len(networks) * (len(networks) + 1) // 2
    return Cost(PLAN.frame(rows), calls, memory, tuple(unknown)) + of_figures(2 + maps)


def _block(network: Network, index: int, images: int, batch_size: int, keep: Callable[[str], bool]) -> dict[str, Any]:
    """A mixing block's forward pass, and its Gram matrices where it is compared."""
    own = [layer for layer in network.layers if layer.block == index]
    size = own[-1].shape[0] if own else network.width
    compared = keep(network.taps[index].name)
    operations = sum(2.0 * images * _products(layer) for layer in own) + float(images) * batch_size * size * compared
    return _row(network.label, network.taps[index].name, f"{size} features", operations, 4.0 * batch_size**2 * compared)


def of_spectra(targets: Iterable[Target], shuffles: int = 0) -> Cost:
    """Singular values of every matrix with independent entries.

    Args:
        targets: the layers, or products of layers; their weights are read, one after the other.
        shuffles: draws of the model-free null.

    Returns:
        Operations, calls and bytes of all layers.
    """
    rows = []
    for target in targets:
        operators = target.operators()
        factors = [nulls.independent_factor(each) for each in operators]
        shape = factors[0].shape if len(operators) == 1 else (operators[-1].shape[0], operators[0].shape[1])
        own = [_spectrum(factor) for factor in factors]
        operations, held = sum(first for first, _ in own) * (1 + shuffles), max(second for _, second in own)
        rows.append(_row(target.network, target.layer, f"{shape[0]} x {shape[1]}", operations, held))
    cost = Cost(PLAN.frame(rows), 200.0 * (1 + shuffles) * len(rows), max(row["memory"] for row in rows))
    return cost + of_figures(1 + -(-len(rows) // PANELS))


def of_sweep(omega: float, expansion: float, widths: Sequence[int], seeds: int) -> Cost:
    """The largest singular value of masked noise and its graph edge, for each width and seed."""
    operations = 4.0 * SPARSE * LANCZOS * omega * seeds
    rows = [
        _row("", f"width {width}", f"{round(expansion * width)} x {width}", operations, 16.0 * omega + 500.0 * width)
        for width in widths
    ]
    return Cost(PLAN.frame(rows), 2000.0 * seeds * len(widths), max(row["memory"] for row in rows))


def of_training(label: str, config: Config, images: int, epochs: int, batch_size: int) -> Cost:
    """Forward and backward passes.

    Args:
        label: of the network.
        config: its configuration.
        images: of the training set.
        epochs: passes over it.
        batch_size: images per step.

    Returns:
        Operations, calls and bytes of all epochs.
    """
    with torch.device("meta"):
        module = FAMILIES[config.family].module(config)
    calls, kept = 0, 0.0

    def count(_module: object, _inputs: object, output: object) -> None:
        nonlocal calls, kept
        calls += 1
        kept += output.numel() * 4.0 if isinstance(output, torch.Tensor) else 0.0

    for part in module.modules():
        part.register_forward_hook(count)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.empty(batch_size, *config.input_shape, device="meta"))
    steps = epochs * -(-images // batch_size)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    operations = 3.0 * counter.get_total_flops() * steps
    row = _row(label, "all layers", f"{parameters} weights", operations, 16.0 * parameters + kept)
    return Cost(PLAN.frame([row]), steps * (6.0 * calls + 100), float(row["memory"]))


def of_report(networks: Sequence[Network], images: int, batch_size: int) -> Cost:
    """CKA and spectra of all networks, and figures again on pages."""
    parts = [of_cka(networks, images, batch_size), of_spectra(targets.chosen(networks, lambda _name: True))]
    pages = 4 + sum(-(-len(network.layers) // PANELS) for network in networks)
    return functools.reduce(operator.add, [*parts, of_figures(pages)])


def of_figures(count: int) -> Cost:
    """Drawing figures and writing them."""
    row = _row("", "figures", str(count), 0.0, FIGURE_BYTES)
    return Cost(PLAN.frame([row]), count * FIGURE / SMALL_CALL, FIGURE_BYTES)


def measured_speed(device: str = "cpu", size: int = 512) -> float:
    """Floating-point operations a second of a product of matrices of that size, the best of three."""
    matrix = torch.ones(size, size, device=device)
    best = math.inf
    for _ in range(3):
        start = time.perf_counter()
        (matrix @ matrix)[0, 0].item()
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best


def _products(layer: MixingLayer) -> float:
    """Multiplications of one image with a layer; a mask saves none of a dense weight's."""
    cells = float(layer.shape[0] * layer.shape[1])
    return cells if layer.role == "dense" else float(layer.connections)


def _spectrum(factor: Operator) -> tuple[float, float]:
    """Operations and bytes of one matrix's singular values."""
    a, b = sorted(factor.shape, reverse=True)
    if factor.exact:
        operations, memory = SVD * a * b**2, 8.0 * 3 * a * b
    else:
        products = LANCZOS + 2 * PROBES * STEPS
        operations, memory = 4.0 * SPARSE * products * factor.nnz, 8.0 * (2 * factor.nnz + (2 * TOP + 40) * (a + b))
    if isinstance(factor, Masked) and factor.nnz <= SIGN_LIMIT:
        # the fluctuations of a mask's largest value come from draws of random signs
        operations += 4.0 * SPARSE * SIGN_DRAWS * SIGN_PRODUCTS * factor.nnz
    return operations, memory


def _row(network: str, layer: str, size: str, operations: float, memory: float) -> dict[str, Any]:
    return {"network": network, "layer": layer, "size": size, "operations": operations, "memory": memory}
