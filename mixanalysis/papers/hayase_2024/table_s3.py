"""HK Table S.3: memory, operations and time of SW-MLP, RP-Mixer and Mixer of equal width, measured.

Weights and masks are stored densely, as the modules have them and as HK's implementation does; step memory is weights,
gradients, AdamW's two moments, and what the forward pass saves for the backward one. Operations are those of the matrix
products that run (torch's own counter), a product and a sum each; the few of layer norms and activations don't count.
Times are medians of some steps: a measurement, which differs from machine to machine. Printed sizes aren't known to us.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from mixanalysis.families import FAMILIES
from mixanalysis.families.sizes import Sizes, configure
from mixanalysis.network import Config, Patches, to_dict
from mixanalysis.network.blocks import MaskedLinear, SharedLinear
from mixanalysis.papers.experiment import Context, Drawing, Experiment, Rows, Tables, notes
from mixanalysis.papers.hayase_2024.figures import costs
from mixanalysis.papers.hayase_2024.schemas import PAPER_COSTS
from mixanalysis.papers.runs import Scale
from mixanalysis.papers.statistics import Estimate
from mixanalysis.papers.tables import claim
from mixanalysis.report.style import TEXT

MOMENTS = 2
"""Tensors of the size of a weight that AdamW keeps."""


@dataclass(frozen=True)
class TableS3:
    """Networks of equal width m = S C.

    Attributes:
        channels: S = C.
        depth: base blocks; the SW-MLP has twice as many blocks.
        batch_size: images of a step.
        steps: that are timed, after one that isn't.
    """

    channels: int
    depth: int
    batch_size: int
    steps: int


PRESETS: dict[Scale, TableS3] = {
    "demo": TableS3(16, 3, 128, 20),
    "small": TableS3(32, 3, 128, 20),
    "paper": TableS3(64, 3, 128, 50),
}


def configurations(spec: TableS3) -> dict[str, Config]:
    """SW-MLP of the Mixer's density, RP-Mixer and Mixer; 10 classes, 64 patches of 4 x 4 pixels in colour."""
    patches = Patches(32, 32, 3, 4)
    shared = Sizes(channels=spec.channels, tokens=spec.channels, depth=spec.depth)
    sparse = Sizes(width=spec.channels**2, density=1 / spec.channels, depth=2 * spec.depth)
    return {
        family: configure(family, patches, 10, sizes)
        for family, sizes in (("sw-mlp", sparse), ("rp-mixer", shared), ("mixer", shared))
    }


def tables(spec: TableS3, context: Context) -> Tables:
    """`schemas.PAPER_COSTS`."""
    device = context.ledger.devices[0]
    rows = []
    for family, config in configurations(spec).items():
        content = [family, to_dict(config), spec.batch_size, spec.steps, device, torch.__version__]

        def measured(chosen: Config = config) -> dict[str, Any]:
            return measure(chosen, spec.batch_size, spec.steps, device)

        rows.append(context.ledger.cached("costs", content, measured))
    return {"paper_costs": PAPER_COSTS.frame(rows)}


def measure(config: Config, batch_size: int, steps: int, device: str) -> dict[str, Any]:
    """A row of `schemas.PAPER_COSTS`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = FAMILIES[config.family].module(config).to(device)
        images = torch.randn(batch_size, *config.input_shape).to(device)
    layers = [layer for name, layer in module.named_modules() if isinstance(layer, _LAYERS) and ".carry" not in name]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(images[:1])
    weights = sum(parameter.nbytes for parameter in module.parameters())
    connections = [_connections(layer) for layer in layers]
    masked_away = sum(int((~layer.mask).sum()) for layer in module.modules() if isinstance(layer, MaskedLinear))
    return {
        "family": config.family,
        "width": config.width,
        "density": statistics.fmean(kept / cells for kept, cells in connections),
        "connections": sum(kept for kept, _ in connections),
        "parameters": sum(parameter.numel() for parameter in module.parameters()) - masked_away,
        "stored_bytes": weights + sum(buffer.nbytes for buffer in module.buffers()),
        "step_bytes": (2 + MOMENTS) * weights + _saved(module, images),
        "flops": counter.get_total_flops(),
        "step_seconds": _step_seconds(module, images, steps),
        "batch_size": batch_size,
        "device": device,
    }


_LAYERS = (MaskedLinear, SharedLinear)


def _connections(layer: nn.Module) -> tuple[int, int]:
    """Connections and cells of a layer's effective matrix."""
    if isinstance(layer, SharedLinear):
        return layer.weight.numel() * layer.copies, layer.weight.numel() * layer.copies**2
    assert isinstance(layer, MaskedLinear)
    return int(layer.mask.sum()), layer.mask.numel()


def _saved(module: nn.Module, images: Tensor) -> int:
    """Bytes that the forward pass saves for the backward pass, each storage once, weights and buffers left out."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = _loss(module, images)
    del loss
    return sum(kept.values())


def _loss(module: nn.Module, images: Tensor) -> Tensor:
    labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    return F.cross_entropy(module(images), labels)


def _step_seconds(module: nn.Module, images: Tensor, steps: int) -> float:
    """Median time of a training step with AdamW."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    times = []
    for _ in range(steps + 1):
        started = time.perf_counter()
        optimizer.zero_grad()
        _loss(module, images).backward()
        optimizer.step()
        if images.is_cuda:
            torch.cuda.synchronize(images.device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def drawings(found: Tables) -> list[Drawing]:
    """Bars of each cost over the Mixer's."""
    return [("table-s3", (TEXT, 2.4), costs, (found["paper_costs"],))]


def claims(found: Tables) -> Rows:
    """An SW-MLP needs more memory than a Mixer, an RP-Mixer as many operations."""
    table = found["paper_costs"].set_index("family")
    memory = _ratio(table, "sw-mlp", "step_bytes")
    work = _ratio(table, "rp-mixer", "flops")
    text = "A static mask of the Mixer's width costs much more memory than a Mixer"
    same = "An RP-Mixer costs as many operations as a Mixer"
    where = f"m = {table.loc['mixer', 'width']}"
    return [
        claim(
            "table-s3",
            text,
            where,
            "bytes of a training step, SW-MLP over Mixer",
            memory,
            "agrees above 1, disagrees below",
            memory.decides(above=1.0),
        ),
        claim(
            "table-s3",
            same,
            where,
            "operations, RP-Mixer over Mixer",
            work,
            "agrees within 1%, disagrees outside",
            work.decides(above=0.99, below=1.01),
        ),
    ]


def _ratio(table: pd.DataFrame, family: str, column: str) -> Estimate:
    """A cost over the Mixer's, which isn't random."""
    ratio = float(table.loc[family, column] / table.loc["mixer", column])
    return Estimate(ratio, ratio, ratio, 1)


EXPERIMENT = Experiment(
    name="table-s3",
    title="Costs at equal width",
    notes=notes(__doc__),
    presets=PRESETS,
    tables=tables,
    drawings=drawings,
    claims=claims,
)
