from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from cases import PATCHES
from mixanalysis.errors import UsageError
from mixanalysis.families.sizes import Sizes, configure
from mixanalysis.families.wide_sparse_mlp.network import TokenNorm, WideSparseBlock, WideSparseConfig
from mixanalysis.network import from_dict, to_dict

TOKEN = WideSparseBlock("0.token", "token", 30, 45, 20, norm=5, skip="resized", skip_norm=5)
CHANNEL = WideSparseBlock("0.channel", "channel", 20, 60, 20, norm=5)
CONFIG = WideSparseConfig(
    PATCHES,
    3,
    (TOKEN, CHANNEL),
    embedding=True,
    embedding_norm=0,
    final_norm=5,
    tokens=4,
    pooling="mean",
    activation="gelu",
)


def test_numbers():
    assert (CONFIG.family, CONFIG.depth, CONFIG.width, CONFIG.pixels) == ("wide-sparse-mlp", 2, 20, 192)
    assert CONFIG.input_shape == (2, 8, 12)


def test_configuration_survives_json():
    assert from_dict(WideSparseConfig, json.loads(json.dumps(to_dict(CONFIG)))) == CONFIG


def block(**values):
    return {"blocks": (TOKEN, replace(CHANNEL, **values))}


BAD = {
    "no block": ({"blocks": ()}, "depth must be at least 1, got 0"),
    "no token": ({"tokens": 0}, "tokens must be at least 1, got 0"),
    "sizes that don't follow": (
        {"blocks": (TOKEN, replace(CHANNEL, name="b", inputs=25, outputs=25))},
        "block 0.token gives 20 features, but b takes 25",
    ),
    "two of one name": ({"blocks": (CHANNEL, CHANNEL)}, "names of their own, got 0.channel, 0.channel"),
    "pixels": ({"embedding": False}, "without an embedding the first block takes the 192 pixels, got 30"),
    "embedding norm": ({"embedding_norm": 7}, "embedding_norm must be 0 or divide 30 features, got 7"),
    "final norm": ({"final_norm": -5}, "final_norm must be 0 or divide 20 features, got -5"),
    "tokens": ({"tokens": 3}, "tokens must divide 20 features, got 3"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_configurations_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)


BAD_BLOCKS = {
    "inputs": ({"inputs": 0}, "inputs must be at least 1, got 0"),
    "hidden": ({"hidden": -1}, "hidden must be at least 0, got -1"),
    "identity": ({"outputs": 30}, "the skip of block 0.channel is the identity, but it takes 20 and gives 30"),
    "norm": ({"norm": 3}, "norm must be 0 or divide 20 features, got 3"),
    "norm of no skip": ({"skip_norm": 5}, "skip_norm must be 0 or divide 0 features, got 5"),
    "norm of a skip": (
        {"outputs": 30, "skip": "resized", "skip_norm": 4},
        "skip_norm must be 0 or divide 30 features, got 4",
    ),
}


@pytest.mark.parametrize(("change", "message"), BAD_BLOCKS.values(), ids=BAD_BLOCKS)
def test_blocks_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CHANNEL, **change)


def test_lists_in_json_are_checked():
    data = to_dict(CONFIG)
    with pytest.raises(ValueError, match=r"config\.blocks must be a list, got 'none'"):
        from_dict(WideSparseConfig, data | {"blocks": "none"})
    wrong = [to_dict(TOKEN), to_dict(CHANNEL) | {"hidden": "60"}]
    with pytest.raises(ValueError, match=r"config\.blocks\[1\]\.hidden must be int, got '60'"):
        from_dict(WideSparseConfig, data | {"blocks": wrong})


def test_tokens_are_normalised_one_by_one():
    norm = TokenNorm(3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0]))
    # two tokens of three channels, columns stacked: channel by channel
    v = torch.tensor([[0.0, 5.0, 1.0, 5.0, 2.0, 8.0]])
    high = 1.5**0.5
    expected = torch.tensor([[-high, -(0.5**0.5), 0.0, -2 * 0.5**0.5, 3 * high, 3 * 2**0.5]])
    torch.testing.assert_close(norm(v), expected, rtol=0, atol=1e-4)


def test_it_is_not_made_from_sizes():
    with pytest.raises(UsageError, match="a wide-sparse-mlp is read from checkpoints, not made anew; made are mixer, "):
        configure("wide-sparse-mlp", PATCHES, 3, Sizes())
    with pytest.raises(UsageError, match=r"unknown family 'cnn'; known are mixer, rp-mixer, (?!.*wide-sparse)"):
        configure("cnn", PATCHES, 3, Sizes())
