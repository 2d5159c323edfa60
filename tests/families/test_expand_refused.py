"""What isn't equal to a wide sparse MLP, is too large or was written wrongly is refused, and nothing is written."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import mixanalysis as mx
from cases import NETWORKS, network_of
from hand_made import CASES
from mixanalysis.errors import CheckFailedError, CheckpointError, UsageError
from mixanalysis.families import FAMILIES
from mixanalysis.families.loading import load
from mixanalysis.families.mixer.network import MixerConfig
from mixanalysis.families.wide_sparse_mlp.expansion import Expansion
from mixanalysis.network import Patches


def test_what_is_too_large_is_refused_with_its_size(tmp_path):
    network = network_of(NETWORKS["mixer"], tmp_path / "net.safetensors")
    message = (
        r"net\.safetensors: its wide sparse MLP of width 30 has 3,840 connections, which take 34\.9 KiB; "
        r"the limit is 1,000 bytes, see --max-bytes$"
    )
    with pytest.raises(UsageError, match=message):
        mx.expand(network, tmp_path / "wide.safetensors", max_bytes=1000)
    assert not (tmp_path / "wide.safetensors").exists()
    size = mx.expand(network, tmp_path / "wide.safetensors", dry_run=True)
    assert not (tmp_path / "wide.safetensors").exists()
    assert mx.expand(network, tmp_path / "wide.safetensors", max_bytes=size.bytes).bytes == size.bytes


class Shapes:
    """Weights without memory: what a module's skeleton says of them."""

    def __init__(self, module):
        self.state = module.state_dict()

    def __contains__(self, name):
        return name in self.state

    def tensor(self, name):
        return self.state[name]

    def shape(self, name):
        return tuple(self.state[name].shape)

    def connections(self, name):
        return self.state[name].numel()


def test_a_mixer_b_16_is_refused_by_the_default_limit(tmp_path):
    """24 blocks of 2.601e8 connections on average in each of two layers, and 196 x 768 x 768 of the embedding."""
    config = MixerConfig(Patches(224, 224, 3, 16), 0, 196, 768, 384, 3072, 12)
    with torch.device("meta"):
        module = FAMILIES["mixer"].module(config)
    small = network_of(NETWORKS["mixer"], tmp_path / "net.safetensors")
    family = FAMILIES["mixer"]
    network = replace(
        small,
        config=config,
        layers=family.layers(config, Shapes(module)),
        taps=family.taps(config),
        make_module=lambda: module,
    )
    connections = 24 * (768 * 384 * 196 + 196 * 3072 * 768) + 196 * 768 * 768
    message = rf"width 150528 has {connections:,} connections, which take 94\.0 GiB; the limit is 2\.0 GiB"
    with pytest.raises(UsageError, match=message):
        mx.expand(network, tmp_path / "wide.safetensors")


def with_module(change):
    """A network whose module is changed."""

    def changed(network):
        module = network.module()
        change(module)
        return replace(network, make_module=lambda: module)

    return changed


def with_config(**values):
    return lambda network: replace(network, config=replace(network.config, **values))


def put(path, part):
    return with_module(lambda module: module.set_submodule(path, part()))


class Strange(nn.Module):
    """A part that no family of ours has."""


def tap(**values):
    return lambda network: replace(network, taps=(replace(network.taps[0], **values), *network.taps[1:]))


REFUSED = {
    "embedding": ("mixer", put("stem", Strange), "its images aren't cut into patches by one linear map"),
    "activation": ("monarch-mlp", with_config(activation="tanh"), "its activation is tanh"),
    "gelu": ("mixer", with_config(gelu="quick"), "its activation is quick"),
    "pooling": ("mixer", with_config(pooling="max"), "its features are pooled by max"),
    "more tensors": (
        "mixer",
        with_module(lambda module: module.register_parameter("scale", nn.Parameter(torch.ones(2)))),
        "it has scale besides",
    ),
    "class token and norm": (
        "mixer-class-token",
        with_module(lambda module: setattr(module.stem, "norm", nn.LayerNorm(5))),
        "its patches are normalised without its class token",
    ),
    "block": (
        "mixer",
        put("blocks.0.token", nn.Sequential),
        "block 0.token is a Sequential that mixes token",
    ),
    "role": ("mixer", tap(role="gate"), "block 0.token is a Residual that mixes gate"),
    "layers": (
        "mixer",
        lambda network: replace(network, layers=network.layers[2:]),
        "block 0.token has 0 layers",
    ),
    "branch": (
        "mixer",
        put("blocks.0.token.mlp", Strange),
        "block 0.token is made of Strange and Identity",
    ),
    "skip": ("mixer", put("blocks.1.channel.carry", Strange), "block 1.channel is made of Mlp and Strange"),
    "norm": ("mixer", put("blocks.1.token.norm", lambda: nn.BatchNorm1d(5)), "1.token is normalised by a BatchNorm1d"),
    "norm of two axes": (
        "mixer",
        put("blocks.1.token.norm", lambda: nn.LayerNorm((6, 5))),
        "1.token is normalised by a LayerNorm over 2 axes",
    ),
    "final norm": ("mixer", put("norm", lambda: nn.RMSNorm(5)), "the end is normalised by a RMSNorm"),
    "epsilons": (
        "mixer",
        put("norm", lambda: nn.LayerNorm(5, eps=1e-5)),
        r"its LayerNorms have several epsilons \(1e-06, 1e-05\)",
    ),
}
"""A network, what is done to it, and why it is refused."""


@pytest.mark.parametrize(("name", "change", "message"), REFUSED.values(), ids=REFUSED)
def test_what_a_wide_sparse_mlp_lacks_is_refused(name, change, message, tmp_path):
    network = change(network_of(NETWORKS[name], tmp_path / "net.safetensors"))
    family = network.family
    with pytest.raises(
        UsageError, match=rf"net.safetensors: a {family} can't be written as a wide sparse MLP: {message}$"
    ):
        mx.expand(network, tmp_path / "wide.safetensors")
    assert not (tmp_path / "wide.safetensors").exists()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_relatives_of_other_forms_are_refused_with_the_reason(case, tmp_path):
    torch.save(case.state, tmp_path / "net.pt")
    network = load(tmp_path / "net.pt", assume=case.assume)
    with pytest.raises(UsageError, match=r"net\.pt: a [\w-]+ can't be written as a wide sparse MLP: (?!.*\bNone\b)"):
        mx.expand(network, tmp_path / "wide.safetensors")
    assert not (tmp_path / "wide.safetensors").exists()


def test_a_wide_sparse_mlp_is_one_already(tmp_path):
    mx.expand(network_of(NETWORKS["mlp"], tmp_path / "net.safetensors"), tmp_path / "wide.safetensors")
    with pytest.raises(UsageError, match="a wide-sparse-mlp can't be written as a wide sparse MLP: it is one already"):
        mx.expand(load(tmp_path / "wide.safetensors"), tmp_path / "wider.safetensors")


def test_an_unknown_architecture_is_refused(tmp_path):
    save_file({"fc.weight": torch.randn(4, 3)}, tmp_path / "net.safetensors")
    with pytest.raises(CheckpointError, match="no known layout"):
        mx.expand(load(tmp_path / "net.safetensors", weights_only=True), tmp_path / "wide.safetensors")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (1e-3, r"differ by up to [\d.e-]+ on 8 random images, more than [\d.e-]+; nothing was written"),
        (float("inf"), "holds 1 NaN or infinite values"),
    ],
    ids=["wrong", "infinite"],
)
def test_what_is_not_equal_is_not_written(tmp_path, monkeypatch, error, message):
    network = network_of(NETWORKS["mixer"], tmp_path / "net.safetensors")
    state = Expansion.state

    def damaged(expansion):
        found = state(expansion)
        found["blocks.1.mlp.fc2.weight"].values()[0] += error
        return found

    monkeypatch.setattr(Expansion, "state", damaged)
    (tmp_path / "wide.safetensors").write_text("mine")
    with pytest.raises((CheckFailedError, CheckpointError), match=message):
        mx.expand(network, tmp_path / "wide.safetensors")
    assert (tmp_path / "wide.safetensors").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.safetensors", "wide.safetensors"]


def test_logits_that_are_not_numbers_are_not_equal(tmp_path):
    network = network_of(NETWORKS["mixer"], tmp_path / "net.safetensors")
    with torch.no_grad():
        network.module().head.weight[0, 0] = float("nan")
    with pytest.raises(CheckpointError, match="holds 1 NaN"):
        mx.expand(network, tmp_path / "wide.safetensors")
