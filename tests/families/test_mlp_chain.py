"""Plain MLPs under anybody's names: the order of their layers, masks wherever they are, and what can't be told."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune
from typer.testing import CliRunner

import mixanalysis as mx
from hand_made import CASES
from mixanalysis.errors import CheckpointError, UsageError
from mixanalysis.families.convert import convert
from mixanalysis.families.loading import load
from mixanalysis.operators import Masked, Scaled
from mixanalysis_cli.app import app

MLPS = {name: case for name, case in CASES.items() if name.startswith("MLP")}


def weights(**sizes):
    """Weights of those (out, in) shapes; __ in a name stands for a dot."""
    draw = torch.Generator().manual_seed(0)
    return {f"{name.replace('__', '.')}.weight": torch.randn(*size, generator=draw) for name, size in sizes.items()}


def names(network):
    return [layer.name for layer in network.config.layers]


@pytest.mark.parametrize("case", MLPS.values(), ids=MLPS)
def test_safetensors_which_sort_names_give_the_same_network(case, tmp_path):
    """Where the order can't be told from sorted names, it isn't guessed; elsewhere logits are the original's."""
    save_file(case.state, tmp_path / "a.safetensors")
    network = load(tmp_path / "a.safetensors", assume=case.assume)
    torch.testing.assert_close(network.module()(case.images()), case.logits(case.images()), rtol=0, atol=1e-9)


SORTED = {
    "the classifier first": ({"classifier": (3, 9), "fc1": (9, 8), "fc2": (9, 9)}, ["fc1", "fc2", "classifier"]),
    "ten and more": ({f"fc{i}": (8, 8) for i in (0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9)}, [f"fc{i}" for i in range(12)]),
    "down and up": (
        {"b__0__down": (4, 6), "b__0__up": (6, 4), "b__1__down": (4, 7), "b__1__up": (7, 4)},
        ["b.0.up", "b.0.down", "b.1.up", "b.1.down"],
    ),
    "hidden, input, output": ({"hidden": (9, 9), "input": (9, 8), "output": (2, 9)}, ["input", "hidden", "output"]),
}


@pytest.mark.parametrize(("sizes", "expected"), SORTED.values(), ids=SORTED)
def test_the_only_order_that_fits(sizes, expected, tmp_path):
    save_file(weights(**sizes), tmp_path / "a.safetensors")
    assert names(load(tmp_path / "a.safetensors")) == expected


def test_the_order_of_registration_is_kept_where_the_file_keeps_it(tmp_path):
    state = weights(beta=(8, 8), alpha=(8, 8), gamma=(8, 8))
    torch.save(state, tmp_path / "a.pt")
    assert names(load(tmp_path / "a.pt")) == ["beta", "alpha", "gamma"]
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"its shapes don't tell whether \w+\.weight comes before \w+\.weight or"):
        load(tmp_path / "a.safetensors")


REFUSED = {
    "a gap": (weights(fc1=(9, 8), fc2=(3, 7)), r"fc2\.weight takes 7 features, but fc1\.weight gives 9"),
    "a norm of another size": (
        weights(fc1=(9, 8), fc2=(3, 9)) | {"bn.weight": torch.ones(5), "bn.bias": torch.ones(5)},
        r"bn normalises 5 features, but where it stands there are 3",
    ),
    "two norms": (
        {
            **weights(fc1=(9, 8)),
            **{f"{bn}.{leaf}": torch.ones(9) for bn in ("bn", "ln") for leaf in ("weight", "bias")},
            **weights(fc2=(3, 9)),
        },
        r"ln is a norm that follows the norm bn",
    ),
}


@pytest.mark.parametrize(("state", "message"), REFUSED.values(), ids=REFUSED)
def test_the_first_contradiction_is_named(state, message, tmp_path):
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=f"no known layout .*closest is mlp-chain, but {message}"):
        load(tmp_path / "a.pt")


NOT_A_CHAIN = {
    "one layer": weights(fc=(4, 3)),
    "attention": weights(**{f"{name}_proj": (8, 8) for name in "qkv"}, out=(8, 8)),
    "attention in a module": weights(self_attn__query=(8, 8), self_attn__key=(8, 8), fc1=(8, 8)),
    "a Mixer": weights(embed=(8, 8), layers__0__token_mix__fc1=(8, 8), layers__0__channel_mix__fc1=(8, 8)),
    "experts": weights(fc=(8, 8), experts__0=(8, 8), experts__1=(8, 8)),
    "an adapter": weights(fc__lora_A=(2, 8), fc__lora_B=(8, 2)),
    "a shortcut": weights(fc1=(8, 8), shortcut=(8, 8), fc2=(8, 8)),
    "an embedding": weights(wte=(8, 8), fc1=(8, 8), fc2=(8, 8)),
    "a convolution": weights(fc1=(4, 3), fc2=(2, 4)) | {"conv.weight": torch.ones(3, 3, 2, 2)},
    "a token": weights(fc1=(4, 3), fc2=(2, 4)) | {"cls_token": torch.ones(1, 1, 4)},
    "a gain alone": weights(fc1=(4, 3), fc2=(2, 4)) | {"norm.weight": torch.ones(4)},
    "a bias of another size": weights(fc1=(4, 3), fc2=(2, 4)) | {"fc2.bias": torch.ones(4)},
    "integers": {"fc1.weight": torch.ones(4, 3, dtype=torch.int32), "fc2.weight": torch.ones(2, 4, dtype=torch.int32)},
    "no outputs": weights(fc1=(4, 3), fc2=(0, 4)),
}


@pytest.mark.parametrize("state", NOT_A_CHAIN.values(), ids=NOT_A_CHAIN)
def test_what_is_no_chain_of_linear_layers(state, tmp_path):
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="no known layout") as error:
        load(tmp_path / "a.pt")
    assert "mlp-chain 1 of 1" not in str(error.value)


@pytest.mark.parametrize("names", ["linear_in linear_out", "input output", "l1 l2", "encoder.0 decoder.0"])
def test_usual_names(names, tmp_path):
    first, second = names.replace(".", "__").split()
    torch.save(weights(**{first: (7, 9), second: (3, 7)}), tmp_path / "a.pt")
    assert load(tmp_path / "a.pt").family == "mlp-chain"


def test_another_layouts_file_is_that_layouts(tmp_path):
    torch.save(CASES["wide MLP, dense"].state, tmp_path / "a.pt")
    assert load(tmp_path / "a.pt").family == "wide-mlp"
    with pytest.raises(CheckpointError, match="isn't in the mlp-chain layout: it is in the wide-sparse-nets layout"):
        load(tmp_path / "a.pt", layout="mlp-chain")


def test_norms_of_sorted_names_that_could_stand_in_two_places(tmp_path):
    state = weights(fc1=(6, 6), fc2=(6, 6)) | {f"ln2.{leaf}": torch.ones(6) for leaf in ("weight", "bias")}
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"ln2 normalises 6 features, .*where it stands can't be told"):
        load(tmp_path / "a.safetensors")


IMAGES = {
    "grey": (64, {}, (1, 8, 8)),
    "colours": (192, {}, (3, 8, 8)),
    "a row": (13, {}, (1, 1, 13)),
    "said": (24, {"image": "2x4"}, (3, 2, 4)),
    "colours said": (50, {"colours": 2}, (2, 5, 5)),
}


@pytest.mark.parametrize(("inputs", "assume", "shape"), IMAGES.values(), ids=IMAGES)
def test_the_image(inputs, assume, shape, tmp_path):
    torch.save(weights(fc1=(9, inputs), fc2=(3, 9)), tmp_path / "a.pt")
    network = load(tmp_path / "a.pt", assume=assume)
    assert network.config.input_shape == shape
    assert network.provenance.assumed["activation"] == ("relu", "layout")


IMPOSSIBLE = {
    "no square": ({"image": "square"}, "13 features are no square of pixels of 3 or 1 colours"),
    "another image": ({"image": "2x4"}, "takes 13 numbers, which are no image of 2 x 4 pixels"),
    "other colours": ({"image": "13x1", "colours": 3}, "no image of 13 x 1 pixels and 3 colours"),
}


@pytest.mark.parametrize(("assume", "message"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_an_image_that_is_impossible(assume, message, tmp_path):
    torch.save(weights(fc1=(9, 13), fc2=(3, 9)), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path / "a.pt", assume=assume)


def test_activations_are_those_that_are_known(tmp_path):
    torch.save(weights(fc1=(9, 13), fc2=(3, 9)), tmp_path / "a.pt")
    with pytest.raises(UsageError, match=r"assumed activation must be relu or identity or leaky-relu .*'swish'"):
        load(tmp_path / "a.pt", assume={"activation": "swish"})
    torch.save(CASES["wide MLP, dense"].state, tmp_path / "b.pt")
    with pytest.raises(CheckpointError, match="activation must be relu or identity, got tanh"):
        load(tmp_path / "b.pt", assume={"activation": "tanh"})


def test_two_linear_layers_side_by_side_have_no_activation_between(tmp_path):
    module = nn.Sequential(nn.Linear(9, 8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    torch.save(module.state_dict(), tmp_path / "a.pt")
    images = torch.randn(5, 1, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(load(tmp_path / "a.pt").module()(images), module(images.flatten(1)), rtol=0, atol=1e-12)


MODULES = ("0.weight", "0.bias", "2.weight", "2.bias")


def pruned(kind, path):
    """A sparse MLP in one of the forms in which masks are kept, and its two masked weights."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(16, 20), nn.ReLU(), nn.Linear(20, 5)).double()
    for layer in (module[0], module[2]):
        prune.random_unstructured(layer, "weight", amount=0.7)
    kept = {f"{i}.weight": module[i].weight.detach().clone() for i in (0, 2)}
    masks = {f"{i}.weight": module[i].weight_mask.clone() for i in (0, 2)}
    state = module.state_dict()
    if kind != "prune pairs":
        form = {"sparse": torch.Tensor.to_sparse, "CSR": torch.Tensor.to_sparse_csr}.get(kind, torch.Tensor.clone)
        state = {name: form(kept[name]) if name in kept else state[name] for name in MODULES}
    torch.save({"state_dict": state, "masks": masks} if kind == "beside" else state, path)
    return module, masks


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
@pytest.mark.parametrize("kind", ["prune pairs", "sparse", "CSR", "beside"])
def test_masks_are_kept(kind, tmp_path):
    module, masks = pruned(kind, tmp_path / "a.pt")
    network = load(tmp_path / "a.pt")
    images = torch.randn(5, 1, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(network.module()(images), module(images.flatten(1)), rtol=0, atol=1e-12)
    for layer, mask in zip(network.layers, masks.values(), strict=True):
        assert isinstance(layer.operator, Masked)
        assert layer.connections == int(mask.sum())
        assert layer.density == pytest.approx(float(mask.mean()))
    kept = sum(int(mask.sum()) for mask in masks.values())
    assert network.omega == kept / 2
    assert network.width == 20
    assert network.parameters == kept + 25
    assert all(null.startswith("mask") for null in mx.spectrum(network).summary["null"])


def test_masked_layers_with_batch_norm_stay_masked(tmp_path):
    module = nn.Sequential(nn.Linear(16, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 5)).double().eval()
    with torch.no_grad():
        module[1].running_var.uniform_(0.5, 2)
        module[1].weight.uniform_(-1, 1)
    prune.random_unstructured(module[0], "weight", amount=0.5)
    torch.save(module.state_dict(), tmp_path / "a.pt")
    layer = load(tmp_path / "a.pt").layers[0]
    assert isinstance(layer.operator, Scaled)
    assert layer.connections == layer.operator.nnz == 160
    factor = module[1].weight / torch.sqrt(module[1].running_var + module[1].eps)
    torch.testing.assert_close(layer.operator.dense(), factor[:, None] * module[0].weight, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["MLP, batch norm", "MLP, LayerNorm"])
def test_our_own_format_keeps_it(name, tmp_path):
    case = CASES[name]
    torch.save(case.state, tmp_path / "a.pt")
    convert(load(tmp_path / "a.pt"), tmp_path / "own.safetensors", "own")
    torch.testing.assert_close(load(tmp_path / "own.safetensors").module()(case.images()), case.logits(case.images()))


def test_it_is_no_wide_sparse_mlp_of_patches(tmp_path):
    torch.save(CASES["MLP, Sequential"].state, tmp_path / "a.pt")
    with pytest.raises(UsageError, match="a mlp-chain can't be written as a wide sparse MLP"):
        mx.expand(load(tmp_path / "a.pt"), tmp_path / "wide.safetensors")


def test_from_the_shell(tmp_path):
    torch.manual_seed(0)
    for name, sizes in {"a": (64, 32, 32, 10), "b": (64, 48, 24, 10)}.items():
        layers = [nn.Linear(*pair) for pair in pairwise(sizes)]
        torch.save(nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2]).state_dict(), tmp_path / name)
    files = [str(tmp_path / name) for name in ("a", "b")]
    runner = CliRunner()
    for command in (
        ["inspect", files[0], "--json"],
        ["cka", *files, "--limit", "100", "-o", str(tmp_path / "cka")],
        ["spectrum", *files, "-o", str(tmp_path / "spectrum")],
        ["width", *files, "-o", str(tmp_path / "width")],
        ["report", *files, "--limit", "100", "-o", str(tmp_path / "report")],
    ):
        result = runner.invoke(app, command)
        assert result.exit_code == 0, result.output
        if command[0] == "inspect":
            (told,) = json.loads(result.stdout)
            assert (told["family"], told["layout"], told["width"]) == ("mlp-chain", "mlp-chain", 32)
    assert (tmp_path / "report" / "report.pdf").exists()
    assert (tmp_path / "report" / "report.html").exists()
