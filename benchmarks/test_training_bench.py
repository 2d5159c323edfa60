"""A training step of each family against the same network and loop written plainly in torch: medians in one run.

python -m pytest -m benchmark benchmarks/test_training_bench.py
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mixanalysis.datasets import Dataset
from mixanalysis.families import FAMILIES
from mixanalysis.families.sizes import Sizes, configure
from mixanalysis.families.structured_mlp.network import KroneckerLinear, MonarchLinear
from mixanalysis.network import Patches
from mixanalysis.network.blocks import MaskedLinear, SharedLinear
from mixanalysis.training import TrainingConfig, train

pytestmark = pytest.mark.benchmark

PATCHES = Patches(32, 32, 3, 4)
BATCH, STEPS, ROUNDS = 64, 9, 3

CASES = {
    "mixer": Sizes(channels=64, depth=2),
    "rp-mixer": Sizes(channels=64, depth=2),
    "s-mixer": Sizes(channels=64, depth=2),
    "rp-s-mixer": Sizes(channels=64, depth=2),
    "pk-mixer": Sizes(channels=64, depth=2, permutations="random,normal"),
    "pk-s-mixer": Sizes(channels=64, depth=2, permutations="none"),
    "sw-mlp": Sizes(width=1024, channels=16, depth=2, density=0.3),
    "sparse sw-mlp": Sizes(width=1024, channels=16, depth=2, density=1 / 32),
    "mlp": Sizes(width=1024, channels=16, depth=2),
    "monarch-mlp": Sizes(depth=2),
    "kronecker-mlp": Sizes(depth=2),
}
"""Widths of 4096 for Mixers, 1024 for MLPs with dense or masked weights, 3072 for structured ones."""


class Plain(nn.Module):
    """A layer as one writes it down, with the weights of ours."""

    def __init__(self, layer):
        super().__init__()
        for name, parameter in layer.named_parameters():
            setattr(self, name, nn.Parameter(parameter.detach().clone()))
        for name, buffer in layer.named_buffers():
            self.register_buffer(name, buffer.clone())


class PlainShared(Plain):
    def __init__(self, layer):
        super().__init__(layer)
        self.kind = "random" if layer.permuted else ("swapped " if layer.swapped else "") + layer.axis
        self.copies, self.axis = layer.copies, layer.axis

    def forward(self, x):
        if self.kind == "channel":
            return x @ self.weight.T + self.bias
        if self.kind == "token":
            return (x.transpose(1, 2) @ self.weight.T + self.bias).transpose(1, 2)
        flat = x.transpose(1, 2).flatten(1) if self.kind == "swapped channel" else x.flatten(1)
        if self.kind == "random":
            flat = flat[:, self.perm_in]
        y = (flat.view(len(x), self.copies, -1) @ self.weight.T + self.bias).flatten(1)
        if self.kind == "random":
            y = y[:, self.perm_out]
        if self.kind == "swapped channel":
            return y.view(len(x), -1, self.copies).transpose(1, 2)
        return y.view(len(x), -1, self.copies) if self.axis == "token" else y.view(len(x), self.copies, -1)


class PlainMasked(Plain):
    def __init__(self, layer):
        super().__init__(layer)
        self.scale = layer.scale

    def forward(self, x):
        weight = self.weight * self.mask * self.scale if hasattr(self, "mask") else self.weight
        return F.linear(x, weight, self.bias)


class PlainMonarch(Plain):
    def forward(self, x):
        k = len(self.first)
        x = torch.einsum("bkp,kqp->bkq", x.view(len(x), k, -1), self.first)
        x = x.reshape(len(x), -1, k).transpose(1, 2)
        x = torch.einsum("bkr,ksr->bks", x, self.second)
        return x.transpose(1, 2).reshape(len(x), -1) + self.bias


class PlainKronecker(Plain):
    def forward(self, x):
        x = x.view(len(x), self.left.shape[1], self.right.shape[1])
        return (self.left @ (x @ self.right.T)).flatten(1) + self.bias


WRITTEN = {
    SharedLinear: PlainShared,
    MaskedLinear: PlainMasked,
    MonarchLinear: PlainMonarch,
    KroneckerLinear: PlainKronecker,
}


def plainly(module):
    """The same network with every mixing layer written plainly."""
    plain = copy.deepcopy(module)
    for name, layer in list(module.named_modules()):
        if type(layer) in WRITTEN:
            plain.set_submodule(name, WRITTEN[type(layer)](layer))
    return plain


def plain_steps(module, data, settings):
    """The loop of a tutorial; CPU seconds of each step."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * step / STEPS)) / 2)
    seconds, images, labels = [], data.images, data.labels
    module.train()
    order = torch.randperm(len(data))
    for number in range(STEPS):
        start = time.process_time()
        chosen = order[number * BATCH : (number + 1) * BATCH]
        loss = F.cross_entropy(module(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        seconds.append(time.process_time() - start)
    return seconds


def our_steps(config, data, settings, path):
    """CPU seconds between two steps of the trainer."""
    stamps = []
    train(config, (data, data.first(1)), path, settings, progress=lambda *_: stamps.append(time.process_time()))
    return [after - before for before, after in pairwise(stamps)]


@pytest.mark.parametrize("name", CASES)
def test_step_against_plain_torch(name, tell, tmp_path):
    config = configure(name.removeprefix("sparse "), PATCHES, 10, CASES[name])
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(BATCH * STEPS, 3, 32, 32, generator=generator)
    data = Dataset("noise", "train", images, torch.arange(len(images)) % 10, 10)
    settings = TrainingConfig(epochs=1, batch_size=BATCH, lr=1e-3)
    torch.manual_seed(0)
    module = FAMILIES[config.family].module(config)
    plain = plainly(module)
    with torch.no_grad():
        torch.testing.assert_close(plain(images[:4]), module(images[:4]), rtol=1e-3, atol=1e-4)
    ours, theirs = [], []
    for number in range(ROUNDS):
        ours += our_steps(config, data, settings, tmp_path / f"{number}.safetensors")
        theirs += plain_steps(plain, data, settings)
    seconds, bare = statistics.median(ours), statistics.median(theirs)
    tell(f"{name}, m = {config.width}: {seconds * 1e3:.1f} ms a step, {seconds / bare:.2f} of plain torch")
    assert seconds < 1.05 * bare
