"""CKA against pytorch-cka 1.1, torch_cka 0.21 and bare forward passes: ratios of CPU time and memory, medians.

OMP_NUM_THREADS=1 python -m pytest -m benchmark benchmarks/test_cka_bench.py

The peers aren't dependencies; where one can't be imported a line says so and the rest is measured. Both measure
pairs of networks only, and keep the features of all layers until the end of a batch.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from measuring import medians
from mixanalysis.families.mixer.network import Mixer, MixerConfig
from mixanalysis.network import Patches
from mixanalysis.similarity import FeatureExtractor, cka

pytestmark = pytest.mark.benchmark


@pytest.fixture(name="peers")
def _peers(tell):
    """compute(first, second, batches, layers) of each peer that can be imported."""
    found = {}
    for name, module in (("pytorch-cka", "cka"), ("torch_cka", "torch_cka")):
        try:
            found[name] = getattr(importlib.import_module(module), "compute_cka", None)
            if module == "torch_cka":
                found[name] = _torch_cka(importlib.import_module(module))
            else:
                found[name] = _pytorch_cka(importlib.import_module(module))
        except ImportError as error:
            tell(f"{name} can't be imported ({error}): it isn't measured")
    return found


def _pytorch_cka(module):
    def compute(first, second, batches, layers):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (matrix,) = module.compute_cka(first, second, batches, layers=layers, progress=False, device="cpu")
        return matrix

    # a sequence of loaders would be taken apart
    return lambda first, second, batches, layers: compute(first, second, Loader(batches), layers)


def _torch_cka(module):
    def compute(first, second, batches, layers):
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stderr(io.StringIO()),
            torch.no_grad(),
        ):
            warnings.simplefilter("ignore")
            comparison = module.CKA(first, second, "a", "b", layers, layers, device="cpu")
            comparison.compare(Loader([(batch,) for batch in batches]))
        for part in (*first.modules(), *second.modules()):
            part._forward_hooks.clear()
        return comparison.hsic_matrix

    return compute


class Loader:
    """What the peers want of a DataLoader."""

    def __init__(self, batches):
        self.batches, self.dataset = batches, "batches"

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


def mlp(depth, seed, width=1024):
    torch.manual_seed(seed)
    module = nn.Sequential()
    for index in range(depth):
        module.append(nn.Linear(width, width)).append(nn.ReLU())
        nn.init.normal_(module[2 * index].weight, std=(2 / width) ** 0.5)
    return module.eval()


def batches_of(count, size, *shape, seed=0):
    return list(torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed)).split(size))


def forward(modules, batches):
    with torch.no_grad():
        for batch in batches:
            for module in modules:
                module(batch)


def ours(modules, batches, layers, **more):
    subjects = [
        FeatureExtractor(str(i), module, {layer: layer for layer in layers}) for i, module in enumerate(modules)
    ]
    return cka(*subjects, data=batches, **more)


class Emit(nn.Module):
    """Gives one layer's features of the batches, one batch after the other."""

    def __init__(self, features):
        super().__init__()
        self.features, self.at = features, 0

    def forward(self, x):
        self.at = (self.at + 1) % len(self.features)
        return self.features[self.at - 1]


def replay(module, batches, layers):
    """A network that costs nothing and has the features of another one, so that time beyond forward passes is seen."""
    outputs = {layer: [] for layer in layers}
    with torch.no_grad():
        for batch in batches:
            x = batch
            for index, part in enumerate(module):
                x = part(x)
                if str(index) in outputs:
                    outputs[str(index)].append(x)
    return nn.Sequential(*(Emit(features) for features in outputs.values())).eval()


@pytest.mark.parametrize(("depth", "count", "size"), [(10, 2048, 256), (48, 1024, 128)])
def test_all_pairs_of_two_networks(depth, count, size, peers, tell):
    batches, taps = batches_of(count, size, 1024), [str(2 * index + 1) for index in range(depth)]
    doubles = [mlp(depth, seed).double() for seed in (0, 1)]
    exact = ours(doubles, [batch.double() for batch in batches], taps).matrix.to_numpy()
    modules = [replay(mlp(depth, seed), batches, taps) for seed in (0, 1)]
    layers = [str(index) for index in range(depth)]
    names = [name for name in peers if depth == 10 or name != "torch_cka"]
    own, products, *others = medians(
        lambda: ours(modules, batches, layers),
        lambda: [x @ x.mT for module in modules for part in module for x in part.features],
        *(lambda name=name: peers[name](*modules, batches, layers) for name in names),
        repeats=9 if depth > 10 else 5,
    )
    error = np.abs(ours(modules, batches, layers).matrix.to_numpy() - exact).max()
    tell(
        f"2 MLPs of {depth} layers, {depth**2} pairs: {own * 1e3:.0f} ms beyond the forward passes, "
        f"{own / products:.2f} of the bare products x x'; error {error:.1e}"
    )
    for name, seconds in zip(names, others, strict=True):
        theirs = np.abs(peers[name](*modules, batches, layers).numpy() - exact).max()
        tell(f"  {own / seconds:.2f} of {name}'s {seconds * 1e3:.0f} ms, whose error is {theirs:.1e}")
        if name == "pytorch-cka":
            assert own <= seconds
    assert error < 1e-5


def test_features_with_a_large_common_mean(peers, tell):
    """Float32 against float64 where squared mean over spread is 3000."""
    modules, batches = [Shifted(0), Shifted(1)], batches_of(512, 128, 256)
    doubles = [Shifted(seed).double() for seed in (0, 1)]
    exact = ours(doubles, [batch.double() for batch in batches], ["wide"]).matrix.to_numpy()
    error = np.abs(ours(modules, batches, ["wide"]).matrix.to_numpy() - exact).max()
    tell(f"squared mean / spread 3000: error {error:.1e}")
    assert error < 1e-6
    for name, compute in peers.items():
        try:
            theirs = np.abs(compute(*modules, batches, ["wide"]).numpy() - exact).max()
            tell(f"  {name}: {theirs:.1e}")
            assert theirs > 1000 * error
        except AssertionError as refusal:
            if "NAN" not in str(refusal):
                raise
            tell(f"  {name}: stops ({refusal})")


class Shifted(nn.Module):
    """Noise in 2048 directions beside a mean of sqrt(3000) times its spread."""

    def __init__(self, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.wide = nn.Linear(256, 2048)
        with torch.no_grad():
            self.wide.weight.copy_(torch.randn(2048, 256, generator=generator) / 16)
            self.wide.bias.copy_(torch.randn(2048, generator=generator).sign() * 3000**0.5)

    def forward(self, x):
        return self.wide(x)


def test_six_networks_in_one_pass(peers, tell):
    batches, taps = batches_of(2048, 256, 1024), [str(2 * index + 1) for index in range(10)]
    modules = [replay(mlp(10, seed), batches, taps) for seed in range(6)]
    layers = [str(index) for index in range(10)]
    if "pytorch-cka" not in peers:
        pytest.skip("pytorch-cka can't be imported")
    compute = peers["pytorch-cka"]
    own, pairwise = medians(
        lambda: ours(modules, batches, layers),
        lambda: [compute(*pair, batches, layers) for pair in itertools.combinations(modules, 2)],
        repeats=3,
    )
    tell(f"6 MLPs, 15 pairs: {own * 1e3:.0f} ms, {pairwise / own:.1f} times faster than 15 calls of pytorch-cka")
    assert pairwise >= 4 * own


def test_share_of_the_forward_pass_of_mixer_b16(tell):
    config = MixerConfig(Patches(224, 224, 3, 16), 1000, 196, 768, 384, 3072, 12)
    modules, batches = [Mixer(config).eval(), Mixer(config).eval()], batches_of(32, 32, 3, 224, 224)
    taps = [f"blocks.{index}.{role}.mlp" for index in range(12) for role in ("token", "channel")]
    bare, own = medians(lambda: forward(modules, batches), lambda: ours(modules, batches, taps), repeats=3)
    tell(f"2 Mixer-B/16, 24 taps each: forward {bare:.1f} s, CKA {100 * (own / bare - 1):.1f}% more")
    assert own < 1.1 * bare


def test_full_data(peers, tell):
    """All 2048 examples in one HSIC, 100 pairs of layers."""
    batches, taps = batches_of(2048, 256, 1024), [str(2 * index + 1) for index in range(10)]
    modules = [replay(mlp(10, seed), batches, taps) for seed in (0, 1)]
    layers = [str(index) for index in range(10)]
    features = [[torch.cat(part.features) for part in module] for module in modules]
    all_pairs = importlib.import_module("cka").cka_from_features if "pytorch-cka" in peers else None

    def pairwise():
        for x in features[0]:
            for y in features[1][:1]:
                _unbiased(x, y)

    own, pairs = medians(lambda: ours(modules, batches, layers, estimator="full"), pairwise, repeats=3)
    tell(f"full data, 2048 images, 100 pairs: {own:.2f} s; {10 * pairs / own:.1f} times faster than pair by pair")
    assert 10 * pairs >= 5 * own
    if all_pairs is not None:
        (theirs,) = medians(lambda: all_pairs(*features), repeats=3)
        tell(f"  {theirs / own:.2f} times faster than pytorch-cka's function of all pairs")
        assert theirs >= 1.7 * own


def _unbiased(x, y):
    """CKA of one pair as the best of those who take pairs compute it: two Gram matrices and the debiased terms."""
    terms = []
    for features in (x, y):
        matrix = features @ features.mT
        terms.append(matrix.fill_diagonal_(0))
    k, ell = terms
    n = len(k)

    def hsic(a, b):
        sums = a.sum(0), b.sum(0)
        return (a * b).sum() + sums[0].sum() * sums[1].sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * sums[0] @ sums[1]

    return hsic(k, ell) / (hsic(k, k) * hsic(ell, ell)).sqrt()


MEMORY = """
import resource, sys, torch
from torch import nn
torch.set_num_threads(1)
torch.manual_seed(0)
net = nn.Sequential(*(nn.Conv2d(3 if i == 0 else 64, 64, 3, padding=1) for i in range(16))).eval()
other = nn.Sequential(*(nn.Conv2d(3 if i == 0 else 64, 64, 3, padding=1) for i in range(16))).eval()
batches = list(torch.randn({count}, 3, 32, 32).split(128))
layers = [str(i) for i in range(16)]
if "{who}" == "forward":
    with torch.no_grad():
        for batch in batches:
            net(batch), other(batch)
elif "{who}" == "ours":
    from mixanalysis.similarity import FeatureExtractor, cka
    from mixanalysis.results import records
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cka(*(FeatureExtractor(str(i), m, dict(zip(layers, layers))) for i, m in enumerate((net, other))), data=batches)
else:
    from cka import compute_cka
    class Loader(list): dataset = ""
    class Wrapped:
        def __len__(self): return len(batches)
        def __iter__(self): return iter(batches)
    compute_cka(net, other, Wrapped(), layers=layers, progress=False, device="cpu")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def _resident(who, count):
    """Peak resident KiB of a process that does this."""
    warm = "import pandas, scipy.special, safetensors.torch, mixanalysis.similarity, tqdm, matplotlib\n"
    code = warm + MEMORY.format(who=who, count=count)
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def test_memory_of_a_convolution_network(peers, tell):
    bare, own = _resident("forward", 256), _resident("ours", 256)
    tell(f"16 convolutions 64 x 32 x 32, batch 128: {(own - bare) / 1024:.0f} MiB beyond the forward pass")
    if "pytorch-cka" in peers:
        theirs = _resident("peer", 256)
        tell(f"  {(own - bare) / (theirs - bare):.3f} of pytorch-cka's {(theirs - bare) / 1024:.0f} MiB")
        assert own - bare <= 0.15 * (theirs - bare)
    more = _resident("ours", 768) - _resident("forward", 768)
    tell(f"  with three times the images {more / 1024:.0f} MiB")
    assert more <= (own - bare) + 16 * 1024
