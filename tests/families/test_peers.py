"""Logits against the projects themselves, where they can be imported (the extra `peers`)."""

from __future__ import annotations

import importlib

import pytest
import torch

from mixanalysis.families.loading import load

FLAWED = {
    "timm": "timm needs a torchvision that fits torch",
    "mlp_mixer_pytorch": "mlp-mixer-pytorch isn't installed",
}


def peer(name):
    """The module, or a skip that says why it can't be imported."""
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:  # torchvision without its operators raises RuntimeError
        pytest.skip(f"{FLAWED[name]}: {error}")


def check(module, path, shape, layout, assume=None):
    """The module's logits on random images are those of the network loaded from its state dict."""
    module = module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        torch.save(module.state_dict(), path)
        images = torch.randn(5, *shape, dtype=torch.float64)
        network = load(path, assume=assume)
        assert network.provenance.layout == layout
        assert network.provenance.unused == ()
        expected = module(images)
        torch.testing.assert_close(network.module()(images), expected, rtol=0, atol=1e-9)
    assert expected.std() > 0.01


@pytest.mark.parametrize("options", [{}, {"stem_norm": True}, {"num_classes": 0}], ids=str)
def test_timm(tmp_path, options):
    timm = peer("timm")
    torch.manual_seed(0)
    sizes = {"img_size": 12, "patch_size": 4, "num_blocks": 2, "embed_dim": 9, "num_classes": 5}
    module = timm.models.mlp_mixer.MlpMixer(**(sizes | options))
    check(module, tmp_path / "a.pth", (3, 12, 12), "timm-mixer")


@pytest.mark.parametrize("channels", [1, 3])
def test_lucidrains(tmp_path, channels):
    mixer = peer("mlp_mixer_pytorch").MLPMixer
    torch.manual_seed(0)
    module = mixer(image_size=12, channels=channels, patch_size=4, dim=9, depth=2, num_classes=5)
    check(module, tmp_path / "a.pth", (channels, 12, 12), "lucidrains-mixer")


RELATIVES = {
    "timm-resmlp": ("ResBlock", "Affine", None, {"mlp_ratio": 4}),
    "timm-gmixer": ("MixerBlock", None, "GluMlp", {"mlp_ratio": (1.0, 4.0)}),
    "timm-gmlp": ("SpatialGatingBlock", None, "GatedMlp", {"mlp_ratio": 6}),
}


@pytest.mark.parametrize("layout", RELATIVES)
def test_relatives_of_timm(tmp_path, layout):
    timm = peer("timm")
    mixers, layers = timm.models.mlp_mixer, timm.layers
    block, norm, mlp, options = RELATIVES[layout]
    options = {**options, "block_layer": getattr(mixers, block)}
    if norm is not None:
        options["norm_layer"] = getattr(mixers, norm)
    if mlp is not None:
        options["mlp_layer"] = getattr(layers, mlp)
    if mlp == "GluMlp":
        options["act_layer"] = torch.nn.SiLU
    torch.manual_seed(0)
    sizes = {"img_size": 12, "patch_size": 4, "num_blocks": 2, "embed_dim": 8, "num_classes": 5}
    check(mixers.MlpMixer(**sizes, **options), tmp_path / "a.pth", (3, 12, 12), layout)


def test_permutator_of_lucidrains(tmp_path):
    permutator = peer("mlp_mixer_pytorch").Permutator
    torch.manual_seed(0)
    module = permutator(image_size=12, patch_size=4, dim=9, depth=2, num_classes=5, segments=3)
    check(module, tmp_path / "a.pth", (3, 12, 12), "lucidrains-permutator", {"segments": 3})
