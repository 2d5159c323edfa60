"""timm's mixer_*: its logits, from formulas written here alone, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import save_file

from mixanalysis.errors import CheckpointError
from mixanalysis.families.loading import load
from mixanalysis.families.mixer.network import MixerConfig
from mixanalysis.network import Patches

SIZES = {
    "square": {"tokens": 16, "channels": 16, "token_hidden": 8, "channel_hidden": 64, "patch": 2},
    "all equal": {"tokens": 9, "channels": 9, "token_hidden": 9, "channel_hidden": 9, "patch": 1},
    "unequal": {"tokens": 4, "channels": 6, "token_hidden": 3, "channel_hidden": 25, "patch": 3},
    "wide tokens": {"tokens": 25, "channels": 3, "token_hidden": 40, "channel_hidden": 2, "patch": 2},
    "one token": {"tokens": 1, "channels": 5, "token_hidden": 2, "channel_hidden": 7, "patch": 4},
}
"""S, C, hidden sizes and patch; S = C leaves only names to tell tokens from channels."""


def timm_state(
    tokens, channels, token_hidden, channel_hidden, patch, *, depth=2, colours=3, classes=5, stem_norm=False
):
    """A state dict with timm's names and float64 values, none of them zero or one."""
    generator = torch.Generator().manual_seed(tokens + 100 * channels)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64) / math.sqrt(shape[-1])

    def norm(name):
        return {f"{name}.weight": 1 + 0.3 * normal(channels), f"{name}.bias": 0.3 * normal(channels)}

    def linear(name, out, into):
        return {f"{name}.weight": normal(out, into), f"{name}.bias": 0.5 * normal(out)}

    state = {"stem.proj.weight": normal(channels, colours, patch, patch), "stem.proj.bias": normal(channels)}
    if stem_norm:
        state |= norm("stem.norm")
    for block in (f"blocks.{index}" for index in range(depth)):
        state |= norm(f"{block}.norm1")
        state |= linear(f"{block}.mlp_tokens.fc1", token_hidden, tokens)
        state |= linear(f"{block}.mlp_tokens.fc2", tokens, token_hidden)
        state |= norm(f"{block}.norm2")
        state |= linear(f"{block}.mlp_channels.fc1", channel_hidden, channels)
        state |= linear(f"{block}.mlp_channels.fc2", channels, channel_hidden)
    state |= norm("norm")
    if classes:
        state |= linear("head", classes, channels)
    return state


def timm_logits(state, images):
    """timm's forward pass: every step as its formula."""
    patch = state["stem.proj.weight"].shape[-1]
    count, colours, height, width = images.shape
    pixels = images.reshape(count, colours, height // patch, patch, width // patch, patch)
    x = torch.einsum("bkiajc,dkac->bijd", pixels, state["stem.proj.weight"]) + state["stem.proj.bias"]
    x = x.reshape(count, -1, x.shape[-1])

    def norm(name, x):
        centred = x - x.sum(dim=-1, keepdim=True) / x.shape[-1]
        variance = (centred**2).sum(dim=-1, keepdim=True) / x.shape[-1]
        return centred / torch.sqrt(variance + 1e-6) * state[f"{name}.weight"] + state[f"{name}.bias"]

    def mlp(name, x):
        hidden = x @ state[f"{name}.fc1.weight"].T + state[f"{name}.fc1.bias"]
        hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
        return hidden @ state[f"{name}.fc2.weight"].T + state[f"{name}.fc2.bias"]

    if "stem.norm.weight" in state:
        x = norm("stem.norm", x)
    index = 0
    while f"blocks.{index}.norm1.weight" in state:
        block = f"blocks.{index}"
        x = x + mlp(f"{block}.mlp_tokens", norm(f"{block}.norm1", x).transpose(1, 2)).transpose(1, 2)
        x = x + mlp(f"{block}.mlp_channels", norm(f"{block}.norm2", x))
        index += 1
    x = norm("norm", x).sum(dim=1) / x.shape[1]
    return x @ state["head.weight"].T + state["head.bias"] if "head.weight" in state else x


def images_for(sizes, colours=3):
    side = math.isqrt(sizes["tokens"]) * sizes["patch"]
    return torch.randn(7, colours, side, side, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.mark.parametrize("stem_norm", [False, True], ids=["", "stem norm"])
@pytest.mark.parametrize("classes", [5, 0], ids=["head", "no head"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_logits_are_those_of_timm(tmp_path, sizes, classes, stem_norm):
    state = timm_state(**sizes, classes=classes, stem_norm=stem_norm)
    torch.save(state, tmp_path / "mixer.pth")
    network, images = load(tmp_path / "mixer.pth"), images_for(sizes)
    logits = network.module()(images)
    assert logits.dtype == torch.float64
    torch.testing.assert_close(logits, timm_logits(state, images), rtol=0, atol=1e-10)
    assert logits.std() > 0.01


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_the_configuration_is_read_from_shapes(tmp_path, sizes):
    save_file(timm_state(**sizes, depth=3, colours=1), tmp_path / "a.safetensors")
    network = load(tmp_path / "a.safetensors")
    side = math.isqrt(sizes["tokens"]) * sizes["patch"]
    assert network.config == MixerConfig(
        patches=Patches(side, side, 1, sizes["patch"]),
        classes=5,
        tokens=sizes["tokens"],
        channels=sizes["channels"],
        token_hidden=sizes["token_hidden"],
        channel_hidden=sizes["channel_hidden"],
        depth=3,
        norm_eps=1e-6,
        gelu="erf",
        pooling="mean",
        final_norm=True,
        stem_norm=False,
    )
    assert network.provenance.layout == "timm-mixer"
    assert network.trained is None


def test_layers_are_the_effective_matrices(tmp_path):
    sizes = SIZES["unequal"]
    state = timm_state(**sizes)
    torch.save(state, tmp_path / "a.pt")
    layers = load(tmp_path / "a.pt").layers
    expected = []
    for block in (0, 1):
        for kind, copies in (("tokens", sizes["channels"]), ("channels", sizes["tokens"])):
            for fc in ("fc1", "fc2"):
                weight, eye = state[f"blocks.{block}.mlp_{kind}.{fc}.weight"], torch.eye(copies, dtype=torch.float64)
                expected.append(torch.kron(eye, weight) if kind == "tokens" else torch.kron(weight, eye))
    assert len(layers) == len(expected)
    for layer, matrix in zip(layers, expected, strict=True):
        assert torch.equal(torch.as_tensor(layer.operator.dense()), matrix)


WRAPPED = {
    "lightning": (lambda state: {"state_dict": state | {"criterion.weight": torch.ones(5)}, "epoch": 3}, "state_dict"),
    "compiled": (lambda state: {f"_orig_mod.{name}": value for name, value in state.items()}, "_orig_mod."),
    "parallel": (
        lambda state: {"model": {f"module.{name}": value for name, value in state.items()}},
        "model > module.",
    ),
}


@pytest.mark.parametrize(("wrap", "wrapper"), WRAPPED.values(), ids=WRAPPED)
def test_wrapped_checkpoints_are_read(tmp_path, wrap, wrapper):
    state = timm_state(**SIZES["unequal"])
    torch.save(wrap(state), tmp_path / "a.pt")
    network, images = load(tmp_path / "a.pt"), images_for(SIZES["unequal"])
    assert network.provenance.wrapper == wrapper
    torch.testing.assert_close(network.module()(images), timm_logits(state, images), rtol=0, atol=1e-10)


def test_what_is_not_used_is_listed(tmp_path):
    state = timm_state(**SIZES["unequal"], classes=0)
    extra = {"criterion.weight": torch.ones(5), "blocks.0.mlp_tokens.scale": torch.ones(2), "head.bias": torch.ones(5)}
    torch.save({"state_dict": state | extra, "epoch": 3, "args": None}, tmp_path / "a.pt")
    assert load(tmp_path / "a.pt").provenance.unused == (*extra, "epoch", "args")


def test_pruned_weights_are_multiplied_by_their_masks(tmp_path):
    state = timm_state(**SIZES["unequal"])
    generator = torch.Generator().manual_seed(0)
    stored = dict(state)
    for name in ("stem.proj.weight", "blocks.0.mlp_tokens.fc1.weight", "blocks.1.mlp_channels.fc2.bias"):
        mask = (torch.rand(state[name].shape, generator=generator) < 0.5).double()
        stored |= {f"{name}_orig": stored.pop(name), f"{name}_mask": mask}
        state[name] = state[name] * mask
    torch.save(stored, tmp_path / "a.pt")
    network, images = load(tmp_path / "a.pt"), images_for(SIZES["unequal"])
    torch.testing.assert_close(network.module()(images), timm_logits(state, images), rtol=0, atol=1e-10)
    assert network.provenance.unused == ()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_the_dtype_of_the_file_is_kept(tmp_path, dtype):
    state = {name: value.to(dtype) for name, value in timm_state(**SIZES["unequal"]).items()}
    torch.save(state, tmp_path / "a.pt")
    assert {value.dtype for value in load(tmp_path / "a.pt").module().state_dict().values()} == {dtype}


def resized(name, *shape):
    return lambda state: state.update({name: torch.ones(*shape, dtype=torch.float64)})


def without(*parts):
    def remove(state):
        for name in [name for name in state if any(part in name for part in parts)]:
            del state[name]

    return remove


NOT = "not a network of the timm-mixer layout: "
HOLDS = "doesn't hold the mixer that its timm-mixer layout describes: "

REFUSED = {
    "tokens not square": (
        resized("blocks.0.mlp_tokens.fc1.weight", 3, 6),
        NOT + r"6 patches are not a square number, so that the image's height and width can't be told; assume them "
        r"\(image=HEIGHTxWIDTH\)$",
    ),
    "no tokens": (
        resized("blocks.0.mlp_tokens.fc1.weight", 3, 0),
        NOT + "height must be at least 1, got 0$",
    ),
    "no hidden units": (
        resized("blocks.0.mlp_channels.fc1.weight", 0, 6),
        NOT + "channel_hidden must be at least 1, got 0$",
    ),
    "patches not square": (
        resized("stem.proj.weight", 6, 3, 2, 3),
        NOT + r"stem\.proj\.weight of shape \(6, 3, 2, 3\) is not an embedding of square patches$",
    ),
    "linear stem": (
        resized("stem.proj.weight", 6, 27),
        NOT + r"stem\.proj\.weight of shape \(6, 27\) is not an embedding of square patches$",
    ),
    "token mixing by a vector": (
        resized("blocks.0.mlp_tokens.fc1.weight", 3),
        NOT + r"blocks\.0\.mlp_tokens\.fc1\.weight of shape \(3,\) is not a matrix$",
    ),
    "weight missing": (
        without("blocks.1.mlp_tokens.fc2.weight"),
        HOLDS + r"blocks\.1\.mlp_tokens\.fc2\.weight is missing$",
    ),
    "norm missing": (
        without("blocks.1.norm2", "blocks.0.norm1.bias"),
        HOLDS + r"blocks\.0\.norm1\.bias is missing; blocks\.1\.norm2\.weight is missing; blocks\.1\.norm2\.bias is",
    ),
    "block missing": (
        lambda state: [state.update({name.replace("blocks.1", "blocks.3"): state.pop(name)}) for name in list(state)],
        NOT + "it has 2 blocks up to number 3, but no block 1$",
    ),
    "misshaped": (
        resized("blocks.1.mlp_channels.fc2.weight", 6, 24),
        HOLDS + r"blocks\.1\.mlp_channels\.fc2\.weight has shape 6 x 24, expected 6 x 25$",
    ),
    "second matrix of another size": (
        resized("blocks.0.mlp_tokens.fc2.weight", 4, 2),
        HOLDS + r"blocks\.0\.mlp_tokens\.fc2\.weight has shape 4 x 2, expected 4 x 3$",
    ),
    "head of one row": (
        resized("head.weight", 6),
        HOLDS + r"head\.weight has shape 6, expected 6 x 6; head\.bias has shape 5, expected 6$",
    ),
    "norm over both axes": (
        resized("blocks.0.norm1.weight", 4, 6),
        r"no known layout .* closest is timm-mixer, but its norms are over tokens and channels, as in vanillamixer_\*;",
    ),
}
"""Changes of a checkpoint of S = 4 and C = 6, and what is said."""


@pytest.mark.parametrize(("change", "match"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_plain_mixer_is_refused(tmp_path, change, match):
    state = timm_state(**SIZES["unequal"])
    change(state)
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=rf"a\.pt: .*{match}"):
        load(tmp_path / "a.pt")
