"""Files as they were reported elsewhere to be misread: each is read right, or refused with what it is."""

from __future__ import annotations

import io
import json
import re
import struct
import sys
import zipfile

import pytest
import torch
from safetensors.torch import save as safetensors_bytes
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations

from families.test_timm_mixer import SIZES, timm_state
from mixanalysis.checkpoints import open_checkpoint
from mixanalysis.checkpoints.foreign_files import described
from mixanalysis.errors import CheckpointError, UsageError
from mixanalysis.families.loading import load
from mixanalysis.similarity.sources.factories import Factory, UserModel


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def saved(tmp_path, state, name="a.pt"):
    torch.save(state, tmp_path / name)
    return tmp_path / name


def layers(path, **options):
    """Density and matrix of each layer, by its name."""
    network = load(path, weights_only=True, **options)
    return {
        layer.name: (layer.connections / (layer.shape[0] * layer.shape[1]), layer.operator.dense())
        for layer in network.layers
    }


def assert_equal(matrix, expected):
    torch.testing.assert_close(matrix, expected, check_dtype=False, rtol=1e-6, atol=1e-7)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 240152344\n"


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return buffer.getvalue()


FOREIGN = {
    "git lfs": (LFS, r"a Git LFS pointer, .* \(the file itself has 240152344 bytes\); fetch that with git lfs pull"),
    "html": (b"\n<!DOCTYPE html>\n<html><title>Sign in</title>", "an HTML page, such as a server's error"),
    "html in capitals": (b"\xef\xbb\xbf<HTML><body>", "an HTML page"),
    "json": (b'{"error":"Access to this model is restricted"}', r'JSON text, not weights: {"error":"Access'),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(64), "an HDF5 file, as Keras writes them; save the weights with"),
    "keras": (zipped(config__json="{}", model__weights__h5="x"), "a Keras model; save the weights with"),
    "onnx": (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:" + bytes(64), "an ONNX model; save the weights with"),
    "gguf": (b"GGUF\x03\x00\x00\x00" + bytes(64), r"a GGUF file of llama\.cpp"),
    "msgpack": (b"\x81\xa6params\x81\xa5Dense" + bytes(64), "a msgpack file, as Flax writes them"),
    "gzip": (b"\x1f\x8b\x08\x00" + bytes(64), "a gzip archive; unpack it first"),
    "tar": (b"a.pt".ljust(257, b"\0") + b"ustar\x0000" + bytes(248), "a tar archive; unpack it first"),
    "zip of a checkpoint": (zipped(model__pt="x"), r"a zip archive with model\.pt; unpack it first"),
    "npy": (b"\x93NUMPY\x01\x00" + bytes(64), "a single array of numpy; save the arrays by name with numpy.savez"),
    "pickle of text": (b"(dp0\nS'a'\np1\nI1\ns.", r"a Python pickle \(protocol 0\), which may hold code"),
}


@pytest.mark.parametrize(("content", "match"), FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("name", ["weights.pth", "model.safetensors", "pytorch_model.bin", "weights.npz"])
def test_what_is_no_checkpoint_is_called_what_it_is(tmp_path, content, match, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{re.escape(name)}: (not a checkpoint but )?{match}"):
        open_checkpoint(tmp_path / name)


def test_sound_checkpoints_are_no_foreign_files(tmp_path):
    torch.save({"a": normal(3, 4)}, tmp_path / "a.pt")
    torch.save({"a": normal(3, 4)}, tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    contents = [path.read_bytes() for path in tmp_path.iterdir()]
    for content in (*contents, safetensors_bytes({"a": normal(3, 4)}), bytes(600), b"\xff" * 600, b"\x08", b"\x08\x01"):
        assert described(content[:512]) == ""


FOLDERS = {
    "SavedModel": (["saved_model.pb", "variables"], "a TensorFlow SavedModel"),
    "Orbax": (["_CHECKPOINT_METADATA", "manifest.ocdbt"], "an Orbax checkpoint"),
    "TensorFlow": (["model.ckpt.data-00000-of-00001", "model.ckpt.index", "checkpoint"], "a TensorFlow checkpoint"),
    "DCP": (["__0_0.distcp"], r"a torch\.distributed\.checkpoint folder without its \.metadata"),
}


@pytest.mark.parametrize(("names", "match"), FOLDERS.values(), ids=FOLDERS)
def test_a_folder_of_another_library_is_called_what_it_is(tmp_path, names, match):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(CheckpointError, match=f"not a checkpoint but {match}"):
        open_checkpoint(tmp_path)


def test_a_clone_without_lfs_says_so(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(LFS)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: not a checkpoint but a Git LFS pointer"):
        open_checkpoint(tmp_path)


def test_weights_flattened_by_fsdp_are_named(tmp_path):
    state = {"_flat_param": normal(100), "blocks.0._fsdp_wrapped_module._flat_param": normal(100)}
    with pytest.raises(CheckpointError, match="holds weights flattened by FSDP; save them with"):
        open_checkpoint(saved(tmp_path, state))


NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))

class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.module = Net()

class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        import torch
        self.fc = nn.Linear(6, 5)
        self.fc.register_buffer("mask", torch.ones(5, 6))
        self.register_buffer("causal", torch.ones(4, 4))
"""


@pytest.fixture(name="nets")
def _nets(tmp_path, monkeypatch):
    (tmp_path / "reported_nets.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    yield __import__("reported_nets")
    sys.modules.pop("reported_nets")


@pytest.mark.parametrize("name", ["Net", "Student"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module."])
def test_an_own_network_with_an_attribute_called_model(tmp_path, nets, name, prefix):
    """What load_state_dict(strict=True) takes is taken, also with a trainer's prefixes around it."""
    module = getattr(nets, name)()
    path = saved(tmp_path, {f"{prefix}{key}": value for key, value in module.state_dict().items()})
    filled = UserModel.of(open_checkpoint(path), Factory(f"reported_nets:{name}")).module
    for key, value in module.state_dict().items():
        assert torch.equal(filled.state_dict()[key], value)


def test_an_own_network_keeps_its_mask_buffers_and_infinite_ones(tmp_path, nets):
    module = nets.Masked()
    module.fc.mask[0] = 0
    module.causal.copy_(torch.triu(torch.full((4, 4), -torch.inf), 1))
    filled = UserModel.of(open_checkpoint(saved(tmp_path, module.state_dict())), Factory("reported_nets:Masked")).module
    for key, value in module.state_dict().items():
        assert torch.equal(filled.state_dict()[key], value)


def test_an_own_network_that_fits_no_reading_is_told_of_the_first(tmp_path, nets):
    path = saved(tmp_path, {"model.0.weight": normal(5, 6)})
    with pytest.raises(
        CheckpointError, match=r"its tensors aren't those of reported_nets:Net: missing: model.0.weight"
    ):
        UserModel.of(open_checkpoint(path), Factory("reported_nets:Net"))


def within_blocks(wrapper):
    def rename(name):
        parts = name.split(".")
        return ".".join([*parts[:2], wrapper, *parts[2:]]) if parts[0] == "blocks" else name

    return rename


PREFIXES = {
    "fsdp": lambda name: "_fsdp_wrapped_module." + within_blocks("_fsdp_wrapped_module")(name),
    "activation checkpointing": within_blocks("_checkpoint_wrapped_module"),
    "forward": lambda name: f"_forward_module.{name}",
    "lightning in forward": lambda name: f"_forward_module.model.{name}",
    **{prefix: lambda name, prefix=prefix: f"{prefix}.{name}" for prefix in ("student", "backbone", "encoder", "a.b")},
}


@pytest.mark.parametrize("rename", PREFIXES.values(), ids=PREFIXES)
def test_a_mixer_is_seen_below_any_prefix(tmp_path, rename):
    state = timm_state(**SIZES["unequal"])
    plain = load(saved(tmp_path, state))
    network = load(saved(tmp_path, {rename(name): value for name, value in state.items()}, "b.pt"))
    assert network.provenance.layout == plain.provenance.layout == "timm-mixer"
    assert network.config == plain.config
    for layer, other in zip(network.layers, plain.layers, strict=True):
        assert torch.equal(layer.operator.dense(), other.operator.dense())


def test_two_networks_in_one_table_are_chosen_by_their_prefix(tmp_path):
    state = timm_state(**SIZES["unequal"])
    both = {
        f"{one}.{name}": value * (1 + (one == "teacher"))
        for one in ("student", "teacher")
        for name, value in state.items()
    }
    path = saved(tmp_path, {**both, "center": torch.ones(1, 4)})
    with pytest.raises(
        CheckpointError, match=r"below student\. is in the timm-mixer layout and below teacher\. is in the"
    ):
        load(path)
    checkpoint = open_checkpoint(path, prefix="teacher")
    assert torch.equal(checkpoint.tensor("head.weight"), 2 * state["head.weight"])
    assert "center" in checkpoint.ignored
    assert "student.head.weight" in checkpoint.ignored
    assert load(path, prefix="teacher.").provenance.wrapper == "teacher."
    with pytest.raises(UsageError, match=r"no tensor's name begins with pupil\.; names begin with student\. \(\d+\)"):
        open_checkpoint(path, prefix="pupil")


def test_a_table_under_an_unknown_key_is_listed_and_chosen(tmp_path):
    state = {"fc.weight": normal(5, 4), "fc.bias": normal(5)}
    path = saved(tmp_path, {"epoch": 3, "my.nets": {"generator": state, "critic": {"w": normal(3, 3)}}})
    listed = r"by key: my\.nets\.generator \(2 tensors\), my\.nets\.critic \(1 tensor\)"
    with pytest.raises(CheckpointError, match=f"holds no table of named tensors; .*{listed}"):
        open_checkpoint(path)
    checkpoint = open_checkpoint(path, key="my.nets.generator")
    assert torch.equal(checkpoint.tensor("fc.weight"), state["fc.weight"])
    assert checkpoint.wrapper == "my.nets.generator"
    with pytest.raises(UsageError, match=rf"a\.pt: there is no table under the key 'my\.net'; .*{listed}"):
        open_checkpoint(path, key="my.net")


def test_a_chosen_part_is_the_same_in_another_process(tmp_path):
    import pickle

    path = saved(tmp_path, {"mine": {"a.fc.weight": normal(5, 4), "b.fc.weight": normal(5, 4, seed=1)}})
    checkpoint = open_checkpoint(path, key="mine", prefix="b").with_inferred_masks(["fc.weight"])
    again = pickle.loads(pickle.dumps(checkpoint))
    assert again.names == checkpoint.names == ("fc.weight",)
    assert torch.equal(again.tensor("fc.weight"), normal(5, 4, seed=1))
    assert again.masked("fc.weight")


FC = {"blocks.0.fc1.weight": normal(96, 48) / 7, "blocks.0.fc2.weight": normal(48, 96, seed=1) / 10}
ANGLES = torch.arange(64.0)[:, None] / 10000 ** (torch.arange(0, 48, 2.0)[None] / 48)
BUFFERS = {
    "tril": {"blocks.0.sa.tril": torch.tril(torch.ones(64, 64))},
    "minus infinity": {"blocks.0.sa.mask": torch.triu(torch.full((64, 64), -torch.inf), 1)},
    "rotary": {"rotary.cos_cached": ANGLES.cos(), "rotary.sin_cached": ANGLES.sin()},
    "sinusoidal": {"pos_encoder.pe": torch.cat([ANGLES.sin(), ANGLES.cos()], 1)[:, None], "pe2": ANGLES.sin()},
}


@pytest.mark.parametrize("buffers", BUFFERS.values(), ids=BUFFERS)
def test_causal_masks_and_tables_of_positions_are_no_layers(tmp_path, buffers):
    found = layers(saved(tmp_path, FC | buffers))
    assert list(found) == [name.removesuffix(".weight") for name in FC]
    for name, (density, matrix) in found.items():
        assert density == 1
        assert_equal(matrix, FC[f"{name}.weight"])


def test_scales_of_gptq_are_no_layers(tmp_path):
    state = {
        "up.qweight": torch.ones(16, 96, dtype=torch.int32),
        "up.qzeros": torch.ones(8, 12, dtype=torch.int32),
        "up.scales": torch.rand(8, 96).half(),
        "up.g_idx": torch.arange(128, dtype=torch.int32),
    }
    with pytest.raises(CheckpointError, match=r"nor does it hold a matrix .*; its weights are quantised"):
        load(saved(tmp_path, state), weights_only=True)
    found = layers(saved(tmp_path, state | FC))
    assert list(found) == [name.removesuffix(".weight") for name in FC]


@pytest.mark.parametrize("ending", ["_scale_inv", "_scale"])
@pytest.mark.parametrize("blocks", [(8, 4), (256, 1), (1, 1)], ids=["blocks", "rows", "one"])
@pytest.mark.parametrize("write", [save_file, torch.save])
def test_fp8_weights_are_multiplied_by_their_scales(tmp_path, write, blocks, ending):
    weight = normal(256, 128) * 0.02
    rows, columns = 256 // blocks[0], 128 // blocks[1]
    scale = weight.reshape(blocks[0], rows, blocks[1], columns).abs().amax((1, 3)) / 448
    full = scale.repeat_interleave(rows, 0).repeat_interleave(columns, 1)
    quantised = (weight / full).to(torch.float8_e4m3fn)
    state = {"up.weight": quantised, f"up.weight{ending}": scale, "gate.weight": normal(64, 48).bfloat16()}
    write(state, tmp_path / "a.pt")
    found = layers(tmp_path / "a.pt")
    assert sorted(found) == ["gate", "up"]
    assert_equal(found["up"][1], quantised.float() * full)
    assert open_checkpoint(tmp_path / "a.pt").wrapper == "none; quantised, multiplied by their scales: up.weight"


def test_blocks_of_fp8_scales_that_are_cut_off(tmp_path):
    weight, scale = normal(200, 130).to(torch.float8_e5m2), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    save_file({"up.weight": weight, "up.weight_scale_inv": scale}, tmp_path / "a.safetensors")
    full = scale.repeat_interleave(128, 0).repeat_interleave(128, 1)[:200, :130]
    assert torch.equal(open_checkpoint(tmp_path / "a.safetensors").tensor("up.weight"), weight.float() * full)


def test_int8_weights_with_scales_and_without(tmp_path):
    weight, scale = torch.randint(-128, 127, (8, 6), dtype=torch.int8), torch.rand(8, 1)
    checkpoint = open_checkpoint(saved(tmp_path, {"up.weight": weight, "up.weight_scale": scale}))
    assert torch.equal(checkpoint.tensor("up.weight"), weight.float() * scale)
    network = load(saved(tmp_path, {"up.weight": weight, **FC}), weights_only=True)
    assert "up.weight (int8, not a weight, or a quantised one without its scales)" in network.provenance.unused


WEIGHT = normal(96, 64, seed=5)
HEAD = normal(10, 33) / 9
"""Fits no other layer, so that the names stay what they are."""

PRUNED = (torch.rand(96, 64, generator=torch.Generator().manual_seed(6)) < 0.1).float()
TWO_OF_FOUR = torch.zeros(96, 16, 4).scatter_(2, WEIGHT.reshape(96, 16, 4).abs().topk(2, -1).indices, 1).reshape(96, 64)
MASKS = {
    "apex": ({"fc.weight": WEIGHT * TWO_OF_FOUR, "fc.__weight_mma_mask": TWO_OF_FOUR.bool()}, TWO_OF_FOUR, 1),
    "float": ({"fc.weight": WEIGHT * PRUNED, "fc.mask": PRUNED}, PRUNED, 1),
    "not applied": ({"fc.weight": WEIGHT, "fc.mask": PRUNED}, PRUNED, 1),
    "weight_mask": ({"fc.weight": WEIGHT * PRUNED, "fc.weight_mask": PRUNED}, PRUNED, 1),
    "bool": ({"fc.weight": WEIGHT, "fc.mask": PRUNED.bool()}, PRUNED, 1),
    "bytes": ({"fc.weight": WEIGHT, "fc.mask": PRUNED.to(torch.uint8)}, PRUNED, 1),
    "beside its layer": ({"fc.weight": WEIGHT, "fc_mask": PRUNED}, PRUNED, 1),
    "before its layer": ({"mask_fc": PRUNED, "fc.weight": WEIGHT}, PRUNED, 1),
    "below the weight": ({"fc.weight": WEIGHT, "fc.weight.mask": PRUNED}, PRUNED, 1),
    "scaled": ({"fc.weight": WEIGHT, "fc.mask": PRUNED * 3}, PRUNED, 3),
    "removed": ({"fc.weight": WEIGHT * PRUNED, "fc.mask": 1 - PRUNED}, PRUNED, 1),
    "wrapped": ({"module.fc.weight": WEIGHT, "module.fc.mask": PRUNED}, PRUNED, 1),
}


@pytest.mark.parametrize(("state", "mask", "scale"), MASKS.values(), ids=MASKS)
def test_masks_in_buffers_belong_to_their_weights(tmp_path, state, mask, scale):
    prefix = "module." if any(name.startswith("module.") for name in state) else ""
    found = layers(saved(tmp_path, {**state, f"{prefix}head.weight": HEAD}))
    assert list(found) == ["fc", "head"]
    density, matrix = found["fc"]
    assert density == pytest.approx(float(mask.double().mean()), abs=1e-12)
    assert_equal(matrix, scale * WEIGHT * mask)
    assert found["head"][0] == 1
    assert_equal(found["head"][1], HEAD)


def test_masks_in_buffers_belong_to_the_weights_of_a_known_network(tmp_path):
    network = load(saved(tmp_path, {"fc.weight": WEIGHT, "fc.mask": PRUNED, "head.weight": normal(10, 96)}))
    assert network.provenance.layout == "mlp-chain"
    assert network.layers[0].connections == int(PRUNED.sum())
    assert_equal(network.layers[0].operator.dense(), WEIGHT * PRUNED)


def test_a_mask_that_is_used_is_named(tmp_path):
    assert open_checkpoint(saved(tmp_path, MASKS["float"][0])).wrapper == "none; mask fc.mask"
    scaled = "none; mask fc.mask, weights multiplied by its value 3"
    assert open_checkpoint(saved(tmp_path, MASKS["scaled"][0])).wrapper == scaled
    assert open_checkpoint(saved(tmp_path, MASKS["removed"][0])).wrapper == "none; fc.mask marks the removed weights"


NO_MASKS = {
    "other values": (normal(96, 64, seed=8), "it holds other values than 0 and one more"),
    "two values": (PRUNED + 1, "it holds other values than 0 and one more"),
    "negative": (-PRUNED, "it holds other values than 0 and one more"),
    "zeros": (torch.zeros(96, 64), "it is zero throughout"),
    "infinite": (torch.full((96, 64), -torch.inf), "it can't be read, or isn't finite"),
}


@pytest.mark.parametrize(("mask", "reason"), NO_MASKS.values(), ids=NO_MASKS)
def test_what_looks_like_a_mask_and_is_none_is_neither_used_nor_a_layer(tmp_path, mask, reason):
    path = saved(tmp_path, {"fc.weight": WEIGHT, "fc.mask": mask, "head.weight": HEAD})
    assert open_checkpoint(path).wrapper == f"none; fc.mask not used as a mask: {reason}"
    found = layers(path)
    assert list(found) == ["fc", "head"]
    assert found["fc"][0] == 1
    assert_equal(found["fc"][1], WEIGHT)


def test_a_mask_of_another_shape_is_left_alone(tmp_path):
    checkpoint = open_checkpoint(saved(tmp_path, {"fc.weight": WEIGHT, "fc.mask": torch.ones(64, 64)}))
    assert checkpoint.names == ("fc.weight", "fc.mask")
    assert not checkpoint.masked("fc.weight")


def test_masks_stay_with_the_parts_of_a_weight(tmp_path):
    """Fused projections, stacks of matrices and 1 x 1 convolutions."""
    generator = torch.Generator().manual_seed(9)
    shapes = {"qkv": (30, 10), "c_attn": (10, 30), "experts": (3, 8, 6), "conv": (9, 7, 1, 1)}
    state, expected = {}, {}
    for name, shape in shapes.items():
        weight, mask = torch.randn(shape, generator=generator), torch.rand(shape, generator=generator) < 0.4
        state |= {f"{name}.weight": weight, f"{name}.mask": mask}
        effective = weight * mask
        parts = {
            "qkv": lambda w: dict(zip(("qkv.q", "qkv.k", "qkv.v"), w.chunk(3), strict=True)),
            "c_attn": lambda w: dict(zip(("c_attn.q", "c_attn.k", "c_attn.v"), w.T.chunk(3), strict=True)),
            "experts": lambda w: {f"experts[{index}]": w[index] for index in range(3)},
            "conv": lambda w: {"conv": w[:, :, 0, 0]},
        }[name]
        expected |= {
            part: (matrix, kept)
            for (part, matrix), kept in zip(parts(effective).items(), parts(mask).values(), strict=True)
        }
    found = layers(saved(tmp_path, state))
    assert found.keys() == expected.keys()
    for name, (matrix, kept) in expected.items():
        assert found[name][0] == pytest.approx(float(kept.double().mean()))
        assert_equal(found[name][1], matrix)


def pruned(rows, columns, keep, seed):
    """A weight of which so large a share of each row is kept, as SparseGPT and Wanda do it."""
    weight = normal(rows, columns, seed=seed)
    return weight * (weight.abs() >= weight.abs().topk(int(keep * columns), 1).values[:, -1:])


def test_zeros_are_masks_where_the_user_says_so(tmp_path):
    state = {"fc1.weight": pruned(128, 96, 0.5, 1), "fc2.weight": pruned(96, 128, 0.1, 2), "fc3.weight": normal(8, 30)}
    path = saved(tmp_path, state)
    assert [density for density, _ in layers(path).values()] == [1, 1, 1]
    found = layers(path, zeros_are_masked=True)
    densities = {"fc1": 0.5, "fc2": 12 / 128, "fc3": 1}
    for name, (density, matrix) in found.items():
        assert density == densities[name]
        assert_equal(matrix, state[f"{name}.weight"])
    assert (
        load(path, weights_only=True, zeros_are_masked=True).provenance.wrapper
        == "none; zeros taken for the masks of fc1.weight, fc2.weight"
    )


def test_scores_of_edge_popup_are_no_layers(tmp_path):
    state = {f"fc{i}.{leaf}": normal(96, 64) for i in range(2) for leaf in ("weight", "scores")}
    network = load(saved(tmp_path, state), weights_only=True)
    assert [layer.name for layer in network.layers] == ["fc0", "fc1"]
    assert sum("scores that choose a mask (edge-popup)" in line for line in network.provenance.unused) == 2


@pytest.mark.parametrize("transposed", [False, True])
def test_fused_projections_are_split_in_both_orientations(tmp_path, transposed):
    parts = [normal(48, 48, seed=seed) * scale for seed, scale in enumerate((0.02, 0.1, 0.5))]
    fused = torch.cat([part.T for part in parts], 1) if transposed else torch.cat(parts)
    path = saved(tmp_path, {"h.0.attn.c_attn.weight": fused})
    network = load(path, weights_only=True)
    assert [layer.name for layer in network.layers] == [f"h.0.attn.c_attn.{letter}" for letter in "qkv"]
    for layer, part in zip(network.layers, parts, strict=True):
        torch.testing.assert_close(layer.operator.dense(), part)


@pytest.mark.parametrize(
    "names", [("fc.lora_A.default.weight", "fc.lora_B.default.weight"), ("fc.lora_B", "fc.lora_A")[::-1]]
)
@pytest.mark.parametrize("base", [True, False], ids=["unmerged", "adapter"])
def test_factors_of_an_adapter_are_one_layer(tmp_path, names, base):
    down, up, weight = normal(4, 64), normal(96, 4, seed=1) * 0.2, normal(96, 64, seed=2) / 8
    path = saved(
        tmp_path, dict(zip(names, (down, up), strict=True)) | ({"fc.base_layer.weight": weight} if base else {})
    )
    found = layers(path)
    assert set(found) == {"fc.lora"} | ({"fc.base_layer"} if base else set())
    assert_equal(found["fc.lora"][1], up @ down)
    assert "without their factor alpha/r, not added to their weights: fc.lora" in open_checkpoint(path).wrapper


def header(table, body):
    text = json.dumps(table).encode()
    return struct.pack("<Q", len(text)) + text + body


def test_safetensors_with_trailing_bytes_holes_and_overlaps_are_refused(tmp_path):
    raw = safetensors_bytes({"a.weight": normal(32, 16), "b.weight": normal(16, 32)})
    size = 8 + int.from_bytes(raw[:8], "little")
    table, body, path = json.loads(raw[8:size]), raw[size:], tmp_path / "a.safetensors"
    hole = {**table, "b.weight": {**table["b.weight"], "data_offsets": [2064, 4112]}}
    overlap = {**table, "b.weight": {**table["b.weight"], "data_offsets": [0, 2048]}}
    for content in (raw + bytes(64), header(hole, body + bytes(16)), header(overlap, body[:2048])):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"a\.safetensors: truncated or damaged safetensors file"):
            open_checkpoint(path)


def test_numbers_of_kinds_that_are_not_read_are_listed(tmp_path):
    table = {
        "a.weight": {"dtype": "F32", "shape": [8, 16], "data_offsets": [0, 512]},
        "idx": {"dtype": "U32", "shape": [4], "data_offsets": [512, 528]},
        "z": {"dtype": "C64", "shape": [2, 2], "data_offsets": [528, 560]},
    }
    (tmp_path / "a.safetensors").write_bytes(header(table, normal(140).numpy().tobytes()))
    network = load(tmp_path / "a.safetensors", weights_only=True)
    assert [layer.name for layer in network.layers] == ["a"]
    told = {"idx (the dtype U32, which isn't read)", "z (the dtype C64, which isn't read)"}
    assert told <= set(network.provenance.unused)


ORTHOGONAL = {
    "square": (8, 8, {}),
    "tall": (12, 7, {}),
    "wide": (7, 12, {}),
    "householder without a base": (8, 8, {"orthogonal_map": "householder", "use_trivialization": False}),
    "wide without a base": (5, 9, {"orthogonal_map": "householder", "use_trivialization": False}),
}


@pytest.mark.parametrize(("rows", "columns", "options"), ORTHOGONAL.values(), ids=ORTHOGONAL)
def test_an_orthogonal_weight_is_computed_as_torch_does(tmp_path, rows, columns, options):
    torch.manual_seed(0)
    module = parametrizations.orthogonal(nn.Linear(columns, rows), **options)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    for _ in range(5):
        optimizer.zero_grad()
        (module(normal(16, columns)) - normal(16, rows, seed=1)).square().mean().backward()
        optimizer.step()
    checkpoint = open_checkpoint(saved(tmp_path, module.state_dict()))
    torch.testing.assert_close(checkpoint.tensor("weight"), module.weight.detach(), rtol=1e-5, atol=1e-6)
    kind = "matrix exponential" if rows == columns and not options else "Householder reflections"
    assert checkpoint.wrapper == f"none; orthogonal by torch's default map: weight ({kind})"
    ones = torch.ones(min(rows, columns))
    torch.testing.assert_close(torch.linalg.svdvals(checkpoint.tensor("weight")), ones, rtol=1e-5, atol=1e-5)
