"""What is no sound relative of MLP-Mixer, and what is said of it."""

from __future__ import annotations

import pytest
import torch

from hand_made import CASES
from mixanalysis.errors import CheckpointError, MixanalysisError, UsageError
from mixanalysis.families.dimension_mixer.block_sparse import block_root
from mixanalysis.families.gmlp.network import GMLPConfig
from mixanalysis.families.loading import load
from mixanalysis.families.paramixer.network import ParaMixerConfig
from mixanalysis.families.patch_mlp_mixer.network import PatchMlpMixerConfig
from mixanalysis.families.permutator.network import PermutatorConfig
from mixanalysis.families.sizes import Sizes, configure
from mixanalysis.network import Patches, from_dict


def put(**tensors):
    """Replace tensors; dots of their names are double underscores."""
    named = {name.replace("__", "."): value for name, value in tensors.items()}
    return lambda state: state | named


def without(*parts):
    return lambda state: {name: value for name, value in state.items() if not any(part in name for part in parts)}


def renamed(old, new):
    return lambda state: {name.replace(old, new): value for name, value in state.items()}


ones = torch.ones

REFUSED = {
    "stem that is no convolution": (
        "resmlp",
        put(stem__proj__weight=ones(6, 27)),
        {},
        r"not a network of the timm-resmlp layout: stem\.proj\.weight of shape \(6, 27\) is not a square patch emb",
    ),
    "token mixing that is no matrix": (
        "resmlp",
        put(blocks__0__linear_tokens__weight=ones(4, 4, 1)),
        {},
        r"blocks\.0\.linear_tokens\.weight of shape \(4, 4, 1\) is not a matrix$",
    ),
    "block missing": (
        "gmixer",
        renamed("blocks.1", "blocks.3"),
        {},
        "not a network of the timm-gmixer layout: it has 2 blocks up to number 3, but no block 1$",
    ),
    "tokens not square": (
        "gmlp",
        put(blocks__0__mlp_channels__gate__proj__weight=ones(6, 6)),
        {},
        "6 patches are not a square number",
    ),
    "part of a tensor missing": (
        "gmixer",
        put(blocks__1__mlp_channels__fc1__weight=ones(17, 6)),
        {},
        r"doesn't hold the gmixer that its timm-gmixer layout describes: blocks\.1\.mlp_channels\.fc1\.weight has "
        "shape 9 x 6, expected 8 x 6$",
    ),
    "halves of other sizes": (
        "gmlp",
        put(blocks__0__mlp_channels__fc1__weight=ones(17, 6)),
        {},
        "hidden must be even, got 17: its halves are multiplied$",
    ),
    "LayerScale missing": (
        "Facebook's resmlp",
        without("blocks.1.gamma_2"),
        {},
        r"doesn't hold the resmlp that its facebook-resmlp layout describes: blocks\.1\.gamma_2 is missing$",
    ),
    "symmetric MLPs are not asymmetric": (
        "symmixer",
        dict,
        {"mlp": "asymmetric"},
        "its MLPs have one matrix, so that they can't be assumed to be asymmetric$",
    ),
    "norm over one axis": (
        "paramixer",
        put(blocks__1__norm__weight=ones(6)),
        {},
        r"blocks\.1\.norm\.weight has shape 6, expected 4 x 6$",
    ),
    "mixing of no known kind": (
        "dimension mixer, dense",
        renamed("mlp_channel.mlp.0", "mlp_channel.fc"),
        {},
        r"its mixer_blocks\.0\.mlp_channel\. is neither dense nor sparse_linear nor sparse_mlp$",
    ),
    "sparse mixing of no square": (
        "dimension mixer, sparse linear",
        put(
            channel_change__weight=ones(8, 12),
            channel_change__bias=ones(8),
            linear__weight=ones(5, 32),
            mixer_blocks__0__mlp_channel__linear0_0__conv__weight=ones(16, 2, 1, 1),
        ),
        {},
        "sparse mixing needs a square number of features along its axis, got 8$",
    ),
    "patches of no colours": (
        "dimension mixer, dense",
        put(channel_change__weight=ones(6, 14)),
        {},
        "14 features are no square of pixels of 3 or 1 colours; assume another number",
    ),
    "patches of two colours": (
        "dimension mixer, dense",
        dict,
        {"colours": 2},
        "12 features are no square of pixels of 2 colours; assume another number",
    ),
    "blocks of patches that are no squares": (
        "patch mixer",
        put(mixer_blocks__1__ln0__weight=ones(10)),
        {},
        r"72 features and patches of \[8, 10, 8, 18\] are no square numbers of pixels with 2 channels$",
    ),
    "blocks of patches that don't divide the image": (
        "patch mixer",
        put(mixer_blocks__1__ln0__weight=ones(50)),
        {},
        "patches of 5 pixels don't divide an image of 6 x 6$",
    ),
    "permutator's patches without three colours": (
        "permutator",
        put(**{"1__weight": ones(6, 16)}),
        {"segments": 3},
        "patches of 16 features are no square of RGB pixels$",
    ),
    "segments that don't divide the channels": (
        "permutator",
        dict,
        {},
        "segments of 8 channels don't divide its 6 channels and the 6 features of its height and a segment; assume",
    ),
    "more inputs than an image has": (
        "wide MLP, dense",
        dict,
        {"image": "3x4"},
        "an image of 3 x 4 has 12 patches of 1 pixels, but the network mixes 16$",
    ),
    "permutator's block missing": (
        "permutator",
        renamed("3.", "7."),
        {"segments": 3},
        "it has 2 blocks up to number 7, but no block 3$",
    ),
    "permutator's classifier missing": ("permutator", without("6."), {"segments": 3}, r"6\.weight is missing$"),
    "patch mixer's convolution with a kernel": (
        "patch mixer",
        put(conv1x1__weight=ones(2, 3, 3, 3)),
        {},
        r"conv1x1\.weight of shape \(2, 3, 3, 3\) is not a 1 x 1 convolution$",
    ),
    "stem of patches that are not square": (
        "gmlp",
        put(stem__proj__weight=ones(6, 3, 2, 3)),
        {},
        r"stem\.proj\.weight of shape \(6, 3, 2, 3\) is not a square patch embedding$",
    ),
    "gate missing": (
        "ninformer",
        without("model.1.mgu.proj"),
        {},
        r"model\.1\.mgu\.proj\.weight is missing; model\.1\.mgu\.proj\.bias is missing$",
    ),
}
"""Which checkpoint, how it is changed, what is assumed, and what is said."""


@pytest.mark.parametrize(("name", "change", "assume", "match"), REFUSED.values(), ids=REFUSED)
def test_refused(name, change, assume, match, tmp_path):
    torch.save(change(dict(CASES[name].state)), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=rf"a\.pt: .*{match}"):
        load(tmp_path / "a.pt", assume=assume)


ONE_OF_EACH = {case.layout: case for case in CASES.values()}


@pytest.mark.parametrize("layout", ONE_OF_EACH)
def test_no_damage_is_a_crash(layout, tmp_path):
    """A file of which a tensor is missing, or of another shape, is refused, or as good as before."""
    case, refused = ONE_OF_EACH[layout], 0
    names = [name for name in case.state if ".1." not in name or "block" not in name]
    for name in names:
        for shape in (None, (), (0, 0), (2, 1, 1, 1)):
            state = {key: value for key, value in case.state.items() if key != name}
            if shape is not None:
                state[name] = ones(shape, dtype=torch.float64)
            torch.save(state, tmp_path / "a.pt")
            try:
                load(tmp_path / "a.pt", assume=case.assume)
            except MixanalysisError:
                refused += 1
    assert refused > 3 * len(names)


OBJECTIONS = {
    ("vanillamixer", "timm-mixer"): r"its norms are over tokens and channels, as in vanillamixer_\*",
    ("gmixer", "timm-mixer"): r"its fc1 gives value and gate, as in a gated gmixer_\*",
    ("gmixer", "vanillamixer"): "its norms aren't over tokens and channels",
    ("vanillamixer", "timm-gmixer"): "its fc1 doesn't give twice what fc2 takes, value and gate",
    ("dimension mixer, dense", "dimension-mixer-patches"): r"it has mixer_blocks\.0\.ln1, so that it mixes two axes",
}


@pytest.mark.parametrize(("name", "layout", "match"), [(*key, said) for key, said in OBJECTIONS.items()])
def test_a_layout_that_is_named_says_why_it_is_another(name, layout, match, tmp_path):
    torch.save(CASES[name].state, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=f"isn't in the {layout} layout: {match}$"):
        load(tmp_path / "a.pt", layout)


PATCHES = Patches(4, 4, 3, 2)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: GMLPConfig(PATCHES, 5, 0, 1, 4), "channels must be at least 1, got 0"),
        (lambda: GMLPConfig(PATCHES, 5, 6, 1, 5), "hidden must be even, got 5"),
        (
            lambda: ParaMixerConfig(PATCHES, 5, 6, 1, 3, 4, True, "symmetric", bias=True),
            "an MLP with biases is a plain one, not symmetric",
        ),
        (lambda: PermutatorConfig(PATCHES, 5, 6, 1, 8, 4), "segments of 4 channels don't divide 6 of them"),
        (lambda: PatchMlpMixerConfig(6, 3, 2, 5, (2, 4)), "patches of 4 pixels don't divide an image of 6 x 6"),
        (lambda: PatchMlpMixerConfig(6, 3, 0, 5, (2,)), "channels must be at least 1, got 0"),
        (lambda: block_root(8), "sparse mixing needs a square number of features along its axis, got 8"),
        (
            lambda: from_dict(PatchMlpMixerConfig, {"side": 6, "colours": 1, "channels": 1, "classes": 2, "sizes": 2}),
            r"config\.sizes must be a list, got 2",
        ),
        (
            lambda: from_dict(
                PatchMlpMixerConfig, {"side": 6, "colours": 1, "channels": 1, "classes": 2, "sizes": [2, "3"]}
            ),
            r"config\.sizes\[1\] must be int, got '3'",
        ),
    ],
)
def test_configurations_that_make_no_sense(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_families_of_others_are_not_made_anew():
    with pytest.raises(UsageError, match="a gmlp is read from checkpoints, not made anew; made are mixer, "):
        configure("gmlp", PATCHES, 3, Sizes())
