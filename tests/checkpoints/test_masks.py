"""Masks and parametrisations, each made by torch itself or by hand, give the weights that the module uses."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations, parametrize, spectral_norm, weight_norm

from mixanalysis.checkpoints import open_checkpoint
from mixanalysis.checkpoints.sparse_weights import BITMASK_PARTS, SPARSE_PARTS
from mixanalysis.errors import CheckpointError
from mixanalysis.families.loading import load


class Mask(nn.Module):
    """A user's parametrisation by a mask."""

    def __init__(self, mask):
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight):
        return weight * self.mask


class Scale(nn.Module):
    """A parametrisation that nobody knows."""

    def __init__(self, scale):
        super().__init__()
        self.register_buffer("scale", scale)

    def forward(self, weight):
        return weight * self.scale


class Fake(nn.Module):
    """A parametrisation that keeps its mask to itself, as torch.ao.pruning's does."""

    def __init__(self, mask):
        super().__init__()
        self.mask = mask

    def forward(self, weight):
        return weight * self.mask


def opened(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    return open_checkpoint(tmp_path / "a.pt")


def linear(rows=4, columns=6):
    torch.manual_seed(0)
    return nn.Linear(rows, columns)


def mask_of(shape, dtype=torch.bool):
    torch.manual_seed(1)
    return (torch.rand(shape) < 0.4).to(dtype)


def trained(module, shape):
    """The module after forward passes that update its power iteration, in eval mode."""
    for _ in range(3):
        module(torch.randn(2, *shape))
    return module.eval()


def with_norm(wrap, make, *arguments, **options):
    return lambda: wrap(make(), *arguments, **options)


def convolution():
    torch.manual_seed(0)
    return nn.Conv2d(3, 4, 2)


def transposed():
    torch.manual_seed(0)
    return nn.ConvTranspose2d(3, 4, 2)


COMPUTED = {
    "weight norm": (with_norm(parametrizations.weight_norm, linear), (4,)),
    "weight norm, other axis": (with_norm(parametrizations.weight_norm, linear, dim=1), (4,)),
    "weight norm, whole": (with_norm(parametrizations.weight_norm, linear, dim=None), (4,)),
    "weight norm, convolution": (with_norm(parametrizations.weight_norm, convolution), (3, 5, 5)),
    "old weight norm": (with_norm(weight_norm, linear), (4,)),
    "old weight norm, whole": (with_norm(weight_norm, linear, dim=None), (4,)),
    "old weight norm, convolution": (with_norm(weight_norm, convolution), (3, 5, 5)),
    "spectral norm": (with_norm(parametrizations.spectral_norm, linear), (4,)),
    "spectral norm, convolution": (with_norm(parametrizations.spectral_norm, convolution), (3, 5, 5)),
    "spectral norm, transposed": (with_norm(parametrizations.spectral_norm, transposed), (3, 5, 5)),
    "old spectral norm": (with_norm(spectral_norm, linear), (4,)),
    "old spectral norm, transposed": (with_norm(spectral_norm, transposed), (3, 5, 5)),
}
"""Modules whose weight is computed from what is stored, and the shape of their input."""


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize(("make", "shape"), COMPUTED.values(), ids=COMPUTED)
def test_computed_weights_are_those_of_the_module(tmp_path, make, shape):
    module = trained(make(), shape)
    with torch.no_grad():
        module(torch.randn(2, *shape))
    checkpoint = opened(tmp_path, {f"fc.{name}": value for name, value in module.state_dict().items()})
    assert sorted(checkpoint.names) == ["fc.bias", "fc.weight"]
    assert checkpoint.shape("fc.weight") == tuple(module.weight.shape)
    torch.testing.assert_close(checkpoint.tensor("fc.weight"), module.weight.detach(), rtol=1e-5, atol=1e-6)
    assert not checkpoint.masked("fc.weight")
    assert checkpoint.support("fc.weight") is None
    assert checkpoint.connections("fc.weight") == module.weight.numel()
    assert checkpoint.dtype("fc.weight") == torch.float32
    assert checkpoint.wrapper == "none"


def masked_alike(checkpoint, name, weight, mask):
    support = checkpoint.support(name)
    return (
        checkpoint.masked(name)
        and checkpoint.shape(name) == tuple(weight.shape)
        and checkpoint.dtype(name) == weight.dtype
        and checkpoint.connections(name) == int(mask.sum())
        and torch.equal(checkpoint.tensor(name), weight * mask)
        and torch.equal(torch.stack([support.rows, support.columns], dim=1), mask.nonzero())
        and torch.equal(support.values, weight[mask.bool()])
    )


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.uint8, torch.int64])
@pytest.mark.parametrize("half", [torch.float32, torch.bfloat16], ids=["float", "bfloat16"])
def test_a_mask_that_is_a_parametrisation(tmp_path, dtype, half):
    module = linear().to(half)
    weight, mask = module.weight.detach().clone(), mask_of(module.weight.shape, dtype)
    parametrize.register_parametrization(module, "weight", Mask(mask), unsafe=True)
    checkpoint = opened(tmp_path, module.state_dict())
    assert masked_alike(checkpoint, "weight", weight, mask)
    assert "bias" in checkpoint
    assert checkpoint.wrapper == "none"


def test_two_masks_keep_what_both_keep(tmp_path):
    module = linear()
    weight, first = module.weight.detach().clone(), mask_of(module.weight.shape)
    second = first.flip(0)
    for mask in (first, second):
        parametrize.register_parametrization(module, "weight", Mask(mask))
    assert masked_alike(opened(tmp_path, module.state_dict()), "weight", weight, first & second)


def test_a_parametrisation_without_anything_stored_is_said(tmp_path):
    module = nn.Sequential(linear(), linear(6, 2))
    weights = [layer.weight.detach().clone() for layer in module]
    for layer in module:
        parametrize.register_parametrization(layer, "weight", Fake(mask_of(layer.weight.shape)))
    checkpoint = opened(tmp_path, {"state_dict": module.state_dict()})
    assert checkpoint.wrapper == "state_dict; 2 parametrised without a mask or a norm, taken as stored"
    for index, weight in enumerate(weights):
        assert torch.equal(checkpoint.tensor(f"{index}.weight"), weight)
        assert not checkpoint.masked(f"{index}.weight")


def parametrised(**parts):
    return {f"fc.parametrizations.weight.{name.replace('__', '.')}": value for name, value in parts.items()}


UNKNOWN = {
    "two originals": parametrised(original0=torch.ones(4, 2), original1=torch.ones(2, 6)),
    "three originals": parametrised(original0=torch.ones(4, 1), original1=torch.ones(4, 6), original2=torch.ones(1)),
    "norm and more": parametrised(original0=torch.ones(4, 1), original1=torch.ones(4, 6), _0__scale=torch.ones(4)),
    "another shape": {**parametrised(original=torch.ones(4, 6)), "fc.parametrizations.weight.0.scale": torch.ones(4)},
    "no original": {"fc.parametrizations.weight.0.scale": torch.ones(4)},
}
"""Parts of weights whose meaning isn't known."""


@pytest.mark.parametrize("state", UNKNOWN.values(), ids=UNKNOWN)
def test_parametrisations_that_are_not_known_are_named_and_refused(tmp_path, state):
    checkpoint = opened(tmp_path, {**state, "good": torch.ones(1)})
    assert checkpoint.names == ("fc.weight", "good")
    assert checkpoint.connections("fc.weight") > 0
    assert not checkpoint.masked("fc.weight")
    for question in (checkpoint.tensor, checkpoint.dtype, checkpoint.support):
        with pytest.raises(
            CheckpointError, match=r"fc\.parametrizations\.weight\.\S+ belongs to a parametrisation that is"
        ):
            question("fc.weight")


def test_a_buffer_that_is_no_mask_is_refused(tmp_path):
    module = linear()
    parametrize.register_parametrization(module, "weight", Scale(torch.full((6, 4), 0.5)))
    checkpoint = opened(tmp_path, module.state_dict())
    with pytest.raises(
        CheckpointError, match=r"parametrizations\.weight\.0\.scale stands where a mask is expected, but"
    ):
        checkpoint.tensor("weight")


def test_vectors_that_do_not_fit_a_spectral_norm(tmp_path):
    state = {"weight_orig": torch.ones(4, 6), "weight_u": torch.ones(5), "weight_v": torch.ones(6)}
    with pytest.raises(CheckpointError, match=r"weight_orig doesn't fit its vectors of shapes \(5,\) and \(6,\)"):
        opened(tmp_path, state).tensor("weight")


NOT_NORMS = {
    "two matrices": {"q_g": torch.ones(4, 6), "q_v": torch.ones(4, 6)},
    "two vectors": {"q_g": torch.ones(4), "q_v": torch.ones(4)},
    "other rows": {"q_g": torch.ones(5, 1), "q_v": torch.ones(4, 6)},
    "original alone": {"q_orig": torch.ones(4), "q_u": torch.ones(4)},
}


@pytest.mark.parametrize("state", NOT_NORMS.values(), ids=NOT_NORMS)
def test_names_that_only_look_like_norms_are_plain(tmp_path, state):
    checkpoint = opened(tmp_path, state)
    assert checkpoint.names == tuple(state)
    assert not any(checkpoint.masked(name) for name in state)


ONE = torch.ones(2, 2)
TWICE = {
    "pruned and plain": {"w": ONE, "w_orig": ONE, "w_mask": ONE},
    "pruned and normed": {"w_orig": ONE, "w_mask": ONE, "w_g": torch.ones(2, 1), "w_v": ONE},
    "parametrised and plain": {"w": ONE, "parametrizations.w.original": ONE},
    "sparse and plain": {"w": ONE, "w.values": ONE, "w.columns": ONE, "w.starts": ONE, "w.shape": ONE},
    "two kinds of sparse": {f"w.{part}": ONE for part in (*SPARSE_PARTS, *BITMASK_PARTS)},
}


@pytest.mark.parametrize("state", TWICE.values(), ids=TWICE)
@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
def test_a_weight_that_is_stored_in_two_ways_is_refused(tmp_path, state, backwards):
    state = dict(reversed(state.items())) if backwards else state
    with pytest.raises(CheckpointError, match=r"a\.pt: stores w in two ways: as .* and as "):
        opened(tmp_path, state)


# masks beside the state dict

STATE = {
    "fc1.weight": torch.arange(1.0, 25.0).view(6, 4),
    "norm.weight": torch.ones(6),
    "fc2.weight": torch.arange(1.0, 13.0).view(2, 6),
}
KEEP = {"fc1.weight": mask_of((6, 4)), "fc2.weight": mask_of((2, 6))}


def pruner(masks):
    return {"dense_allocation": 0.1, "step": 3, "backward_masks": masks}


BESIDE = {
    "masks": ({"state_dict": STATE, "masks": KEEP}, "state_dict; masks from masks"),
    "masks of floats": ({"model": STATE, "mask": {k: v.float() for k, v in KEEP.items()}}, "model; masks from mask"),
    "masks of prefixed names": (
        {
            "state_dict": {f"module.{k}": v for k, v in STATE.items()},
            "masks": {f"module.{k}": v for k, v in KEEP.items()},
        },
        "state_dict > module.; masks from masks",
    ),
    "masks of modules": (
        {"state_dict": STATE, "masks": {k.removesuffix(".weight"): v for k, v in KEEP.items()}},
        "state_dict; masks from masks",
    ),
    "rigl": (
        {"state_dict": STATE, "pruner": pruner([KEEP["fc1.weight"], KEEP["fc2.weight"]])},
        "state_dict; masks from pruner.backward_masks",
    ),
}
"""Content of a file with masks beside the weights, and what is said of it."""


@pytest.mark.parametrize(("content", "wrapper"), BESIDE.values(), ids=BESIDE)
def test_masks_beside_a_state_dict_are_used(tmp_path, content, wrapper):
    checkpoint = opened(tmp_path, content)
    assert checkpoint.wrapper == wrapper
    assert checkpoint.names == tuple(STATE)
    for name, mask in KEEP.items():
        assert masked_alike(checkpoint, name, STATE[name], mask)
    assert not checkpoint.masked("norm.weight")
    assert "masks" not in checkpoint.ignored


def test_a_layer_without_a_mask_in_the_list_is_dense(tmp_path):
    checkpoint = opened(tmp_path, {"state_dict": STATE, "pruner": pruner([None, KEEP["fc2.weight"]])})
    assert not checkpoint.masked("fc1.weight")
    assert masked_alike(checkpoint, "fc2.weight", STATE["fc2.weight"], KEEP["fc2.weight"])


MISFITS = {
    "stranger": (
        {"masks": {"fc3.weight": torch.ones(2)}},
        r"masks in masks not used: fc3\.weight is the name of no weight",
    ),
    "shape": ({"masks": {"fc1.weight": torch.ones(2)}}, r"the mask of fc1\.weight has shape \(2,\), not \(6, 4\)"),
    "too few": ({"pruner": pruner([None])}, r"masks in pruner\.backward_masks not used: 1 masks for 2 weights"),
    "listed shape": (
        {"pruner": pruner([torch.ones(1), None])},
        r"the mask of fc1\.weight has shape \(1,\), not \(6, 4\)",
    ),
}


@pytest.mark.parametrize(("beside", "match"), MISFITS.values(), ids=MISFITS)
def test_masks_that_do_not_fit_are_said(tmp_path, beside, match):
    checkpoint = opened(tmp_path, {"state_dict": STATE, **beside})
    assert re.search(match, checkpoint.wrapper)
    assert not any(map(checkpoint.masked, STATE))
    assert checkpoint.ignored == tuple(beside)


def test_a_table_called_masks_without_tensors_is_nothing(tmp_path):
    checkpoint = opened(tmp_path, {"state_dict": STATE, "masks": {"a": None}})
    assert (checkpoint.wrapper, checkpoint.ignored) == ("state_dict", ("masks",))


def test_values_beside_that_are_no_masks_are_refused(tmp_path):
    checkpoint = opened(tmp_path, {"state_dict": STATE, "masks": {"fc2.weight": STATE["fc2.weight"]}})
    with pytest.raises(
        CheckpointError, match=r"masks > fc2\.weight stands where a mask is expected, but holds other values"
    ):
        checkpoint.connections("fc2.weight")


# zeros as masks


def test_zeros_are_masks_only_where_that_is_asked_for(tmp_path):
    state = {**{name: value * KEEP.get(name, 1) for name, value in STATE.items()}, "conv": torch.ones(2, 2, 1, 1)}
    state["conv"][0] = 0
    plain = opened(tmp_path, {"state_dict": state})
    assert not any(map(plain.masked, plain.names))
    checkpoint = plain.with_inferred_masks(["fc1.weight", "conv"])
    assert checkpoint.wrapper == "state_dict; zeros taken for the masks of fc1.weight, conv"
    for again in (checkpoint, pickle.loads(pickle.dumps(checkpoint))):
        assert masked_alike(again, "fc1.weight", STATE["fc1.weight"], KEEP["fc1.weight"])
        assert not again.masked("fc2.weight")
        assert (again.masked("conv"), again.connections("conv"), again.support("conv")) == (True, 2, None)
        assert again.wrapper == checkpoint.wrapper
    assert plain.wrapper == "state_dict"
    assert not plain.masked("fc1.weight")
    with pytest.raises(KeyError):
        plain.with_inferred_masks(["nope"])


def test_a_weight_that_has_a_mask_keeps_it(tmp_path):
    weight = STATE["fc1.weight"] * 0
    checkpoint = opened(tmp_path, {"w_orig": weight, "w_mask": KEEP["fc1.weight"].float()}).with_inferred_masks(["w"])
    assert (checkpoint.connections("w"), checkpoint.wrapper) == (int(KEEP["fc1.weight"].sum()), "none")


# sparse tensors

DENSE = torch.tensor([[0.0, 2.0, 0.0, 1.0], [3.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 4.0], [0.0, 0.0, 5.0, 0.0]])
LAYOUTS = {
    "coo": lambda dense: dense.to_sparse(),
    "csr": lambda dense: dense.to_sparse_csr(),
    "csc": lambda dense: dense.to_sparse_csc(),
    "bsr": lambda dense: dense.to_sparse_bsr((2, 2)),
    "bsc": lambda dense: dense.to_sparse_bsc((2, 2)),
}


@pytest.mark.filterwarnings("ignore:Sparse \\w+ tensor support")
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_sparse_tensors_have_their_stored_cells_as_connections(tmp_path, layout, dtype, zipped):
    dense = DENSE.to(dtype)
    sparse = layout(dense)
    torch.save({"w": sparse}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    mask = DENSE != 0
    if sparse.layout in (torch.sparse_bsr, torch.sparse_bsc):  # whole blocks are stored
        mask = mask.view(2, 2, 2, 2).any(3).any(1)[:, None, :, None].expand(2, 2, 2, 2).reshape(4, 4)
    assert masked_alike(checkpoint, "w", dense, mask)


def test_values_of_one_cell_add_up(tmp_path):
    sparse = torch.sparse_coo_tensor([[1, 1, 0], [2, 2, 3]], [1.0, 2.0, 4.0], (2, 4), check_invariants=True)
    checkpoint = opened(tmp_path, {"w": sparse})
    assert torch.equal(checkpoint.tensor("w"), sparse.to_dense())
    assert checkpoint.connections("w") == 2


def test_sparse_tensors_that_are_no_matrices(tmp_path):
    sparse = torch.arange(8.0).view(2, 2, 2).to_sparse()
    checkpoint = opened(tmp_path, {"w": sparse})
    assert torch.equal(checkpoint.tensor("w"), sparse.to_dense())
    assert checkpoint.support("w") is None


def test_a_sparse_tensor_too_large_to_be_dense_still_has_its_connections(tmp_path):
    sparse = torch.sparse_coo_tensor([[70_000], [5]], [3.0], (10**5, 10**5), check_invariants=True)
    checkpoint = opened(tmp_path, {"w": sparse})
    support = checkpoint.support("w")
    assert [part.tolist() for part in support] == [[70_000], [5], [3.0]]
    with pytest.raises(CheckpointError, match="w of shape 100000 x 100000 is too large to be made dense"):
        checkpoint.tensor("w")


@pytest.mark.parametrize(("axis", "value"), [(0, 4), (1, -1)], ids=["row too large", "column negative"])
def test_sparse_tensors_whose_indices_lie_outside_are_refused(tmp_path, axis, value):
    tensor = DENSE.to_sparse()
    tensor._indices()[axis, 0] = value
    checkpoint = opened(tmp_path, {"w": tensor})
    for question in (checkpoint.tensor, checkpoint.support, checkpoint.connections):
        with pytest.raises(CheckpointError, match="sparse tensor w: its indices point outside of it"):
            question("w")


@pytest.mark.filterwarnings("ignore:Sparse \\w+ tensor support")
@pytest.mark.parametrize("layout", ["csr", "csc", "bsr"])
@pytest.mark.parametrize(("part", "value"), [("starts", 99), ("starts", -1), ("others", 9), ("others", -1)])
def test_compressed_tensors_whose_indices_lie_outside_are_refused(tmp_path, layout, part, value):
    tensor = LAYOUTS[layout](DENSE)
    names = ("ccol_indices", "row_indices") if layout == "csc" else ("crow_indices", "col_indices")
    getattr(tensor, names[part == "others"])()[1] = value
    checkpoint = opened(tmp_path, {"w": tensor})
    with pytest.raises(CheckpointError, match="sparse tensor w: its starts or columns point outside of the matrix"):
        checkpoint.tensor("w")


# bit masks


def bitmask(dense):
    mask = dense != 0
    return {
        "w.compressed": dense[mask],
        "w.bitmask": torch.from_numpy(np.packbits(mask.numpy(), axis=-1, bitorder="little")),
        "w.shape": torch.tensor(dense.shape),
        "w.row_offsets": torch.cat([torch.zeros(1, dtype=torch.int64), mask.sum(1).cumsum(0)[:-1]]),
    }


@pytest.mark.parametrize("columns", [4, 8, 11])
def test_bit_masks(tmp_path, columns):
    dense = torch.randn(3, columns) * mask_of((3, columns))
    save_file(bitmask(dense), tmp_path / "a.safetensors")
    checkpoint = open_checkpoint(tmp_path / "a.safetensors")
    assert checkpoint.names == ("w",)
    assert masked_alike(checkpoint, "w", dense, dense != 0)


BITS = {
    "too few values": ("compressed", torch.ones(1)),
    "bits of other rows": ("bitmask", torch.ones(2, 1, dtype=torch.uint8)),
    "bits of another kind": ("bitmask", torch.ones(4, 1)),
    "three sizes": ("shape", torch.tensor([4, 4, 1])),
    "no rows": ("shape", torch.tensor([0, 4])),
}


@pytest.mark.parametrize(("part", "value"), BITS.values(), ids=BITS)
def test_damaged_bit_masks_are_refused(tmp_path, part, value):
    save_file({**bitmask(DENSE), f"w.{part}": value}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="w: its shape, bit mask and values don't belong together"):
        open_checkpoint(tmp_path / "a.safetensors").support("w")


@pytest.mark.parametrize("shape", [torch.ones(2), torch.ones(65, dtype=torch.int64)], ids=["floats", "long"])
def test_a_part_that_is_no_shape(tmp_path, shape):
    save_file({**bitmask(DENSE), "w.shape": shape}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"tensor w\.shape is no shape"):
        open_checkpoint(tmp_path / "a.safetensors").shape("w")


def test_masked_weights_reach_the_network(tmp_path):
    content = {"state_dict": STATE, "masks": KEEP}
    torch.save(content, tmp_path / "a.pt")
    network = load(tmp_path / "a.pt", weights_only=True)
    assert [layer.connections for layer in network.layers] == [int(mask.sum()) for mask in KEEP.values()]
    assert network.provenance.wrapper == "state_dict; masks from masks"
