"""Our own format gives back what was put in: every family, bit for bit, with its masks."""

from __future__ import annotations

import pytest
import torch

from cases import NETWORKS, checkpoint_of, images_of, module_of, network_of
from checkpoints.rewriting import description_of
from mixanalysis import __version__
from mixanalysis.checkpoints import open_checkpoint, save_checkpoint
from mixanalysis.families.loading import load
from mixanalysis.network import to_dict

MASKED = [name for name in NETWORKS if name.startswith("sw-mlp")]


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().numpy().tobytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_comes_back_bit_for_bit(tmp_path, name, dtype):
    written = module_of(NETWORKS[name], dtype=dtype)
    network = network_of(NETWORKS[name], tmp_path / "a.safetensors", dtype=dtype)
    read = network.module().state_dict()
    assert network.config == NETWORKS[name]
    assert list(read) == list(written.state_dict())
    for key, value in written.state_dict().items():
        mask = written.state_dict().get(key.removesuffix("weight") + "mask") if key.endswith("weight") else None
        assert read[key].dtype == value.dtype
        if mask is None:
            assert bits(read[key]) == bits(value), key
        else:
            assert bits(read[key][mask]) == bits(value[mask]), key
            assert not read[key][~mask].any(), key
    images = images_of(NETWORKS[name], dtype=dtype)
    torch.testing.assert_close(network.module()(images), written(images))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_network_gives_the_same_bytes(tmp_path, name):
    first = checkpoint_of(NETWORKS[name], tmp_path / "a.safetensors")
    second = checkpoint_of(NETWORKS[name], tmp_path / "b.safetensors")
    assert first.read_bytes() == second.read_bytes()
    assert open_checkpoint(first).sha256 == open_checkpoint(second).sha256
    assert first.read_bytes() != checkpoint_of(NETWORKS[name], second, seed=1).read_bytes()


@pytest.mark.parametrize("name", MASKED)
def test_a_mask_is_data_of_the_file(tmp_path, name):
    module, path = module_of(NETWORKS[name]), checkpoint_of(NETWORKS[name], tmp_path / "a.safetensors")
    checkpoint = open_checkpoint(path)
    masks = {key: value for key, value in module.named_buffers() if key.endswith(".mask")}
    assert masks
    for key, mask in masks.items():
        weight = key.removesuffix("mask") + "weight"
        support = checkpoint.support(weight)
        assert checkpoint.masked(weight)
        assert torch.equal(torch.stack([support.rows, support.columns], dim=1), mask.nonzero())
        assert checkpoint.connections(weight) == int(mask.sum())
        assert checkpoint.shape(weight) == tuple(mask.shape)
        assert checkpoint.dtype(weight) == torch.float32
        assert torch.equal(checkpoint.tensor(weight), module.get_parameter(weight))
    assert all(not part.endswith(".mask") for part in checkpoint.names)


def test_connections_of_value_zero_stay_connections(tmp_path):
    module = module_of(NETWORKS["sw-mlp"])
    layer = module.blocks[0].mlp.fc1
    row, column = layer.mask.nonzero()[3].tolist()
    with torch.no_grad():
        layer.weight[row] = 0
        layer.weight[:, column] = 0
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, NETWORKS["sw-mlp"], module.state_dict())
    network = load(path)
    operator = next(found for found in network.layers if found.name == "blocks.0.mlp.fc1").operator
    assert torch.equal(network.module().blocks[0].mlp.fc1.mask, layer.mask)
    assert network.layers[0].connections == operator.nnz == int(layer.mask.sum())
    support = open_checkpoint(path).support("blocks.0.mlp.fc1.weight")
    assert int((support.values == 0).sum()) == int((layer.mask & (layer.weight == 0)).sum()) > 0


def test_an_empty_mask_comes_back(tmp_path):
    module = module_of(NETWORKS["sw-mlp"])
    layer = module.blocks[0].mlp.fc1
    layer.mask.zero_()
    layer.mask[4, 7] = True
    layer.mask[-1] = True
    module.blocks[1].mlp.fc2.mask.zero_()
    save_checkpoint(tmp_path / "a.safetensors", NETWORKS["sw-mlp"], module.state_dict())
    read = load(tmp_path / "a.safetensors").module()
    assert torch.equal(read.blocks[0].mlp.fc1.mask, layer.mask)
    assert not read.blocks[1].mlp.fc2.mask.any()
    assert not read.blocks[1].mlp.fc2.weight.any()


def test_the_metadata_say_what_it_is(tmp_path):
    training = {"seed": 3, "epochs": 2, "data": "digits", "last_loss": None}
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, NETWORKS["rp-mixer"], module_of(NETWORKS["rp-mixer"]).state_dict(), training)
    assert description_of(path) == {
        "format": 1,
        "written_by": f"mixanalysis {__version__}",
        "family": "rp-mixer",
        "config": to_dict(NETWORKS["rp-mixer"]),
        "training": training,
    }
    provenance = load(path).provenance
    assert (provenance.format, provenance.wrapper, provenance.layout) == ("safetensors", "none", "mixanalysis")
    assert provenance.path == path
    assert provenance.unused == ()
    assert provenance.training == training
    assert load(path).trained


def test_the_files_name_does_not_matter(tmp_path):
    path = checkpoint_of(NETWORKS["mixer"], tmp_path / "model.pt")
    assert load(path).provenance.format == "safetensors"


def test_tensors_may_be_views(tmp_path):
    state = module_of(NETWORKS["mixer"]).state_dict()
    name = "blocks.0.channel.mlp.fc1.weight"
    state[name] = state[name].T.contiguous().T
    save_checkpoint(tmp_path / "a.safetensors", NETWORKS["mixer"], state)
    assert torch.equal(open_checkpoint(tmp_path / "a.safetensors").tensor(name), state[name])


def test_a_record_that_is_no_json_leaves_no_file(tmp_path):
    state = module_of(NETWORKS["mixer"]).state_dict()
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_checkpoint(tmp_path / "a.safetensors", NETWORKS["mixer"], state, {"last_loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_names_come_in_the_order_of_the_file_and_only_once(tmp_path):
    checkpoint = open_checkpoint(checkpoint_of(NETWORKS["sw-mlp"], tmp_path / "a.safetensors"))
    parameters = [name for name, _ in module_of(NETWORKS["sw-mlp"]).named_parameters()]
    assert sorted(checkpoint.names) == sorted(parameters)
    assert "blocks.0.mlp.fc1.weight" in checkpoint
    assert "blocks.0.mlp.fc1.weight.values" not in checkpoint
    with pytest.raises(KeyError, match=r"blocks\.9\.weight"):
        checkpoint.tensor("blocks.9.weight")
