"""Tables that tests are crossed with: small networks of every family, and checkpoints of them."""

from __future__ import annotations

from pathlib import Path

import torch

from mixanalysis.checkpoints import save_checkpoint
from mixanalysis.families import FAMILIES
from mixanalysis.families.loading import load
from mixanalysis.families.mixer.network import MixerConfig
from mixanalysis.families.pk.network import PKConfig
from mixanalysis.families.s_mixer.network import SMixerConfig
from mixanalysis.families.structured_mlp.network import StructuredMLPConfig
from mixanalysis.families.sw_mlp.network import SWMLPConfig
from mixanalysis.network import Config, Network, Patches
from mixanalysis.network.structured import Structure, Structures

PATCHES = Patches(height=8, width=12, channels=2, size=4)
"""Six patches, from images that are not square and have two colours."""

SQUARE = Patches(height=8, width=8, channels=1, size=4)
"""Four patches; with four channels S = C, so that shapes can't tell tokens from channels."""

NETWORKS: dict[str, Config] = {
    "mixer": MixerConfig.of(PATCHES, 3, channels=5, depth=2, expansion=(1.5, 3.0)),
    "mixer-square": MixerConfig.of(SQUARE, 3, channels=4, depth=2),
    "mixer-resized": MixerConfig.of(PATCHES, 3, channels=5, depth=2, tokens=4),
    "mixer-tanh-flat": MixerConfig(PATCHES, 3, 6, 5, 4, 7, 2, norm_eps=1e-2, gelu="tanh", pooling="flatten"),
    "mixer-bare": MixerConfig(PATCHES, 0, 6, 5, 4, 7, 1, final_norm=False, stem_norm=True),
    "mixer-class-token": MixerConfig(
        PATCHES, 3, 7, 5, 4, 7, 2, pooling="class-token", class_token=True, gelu="identity", stem_bias=False
    ),
    "mixer-structured": MixerConfig(
        PATCHES,
        3,
        6,
        5,
        4,
        7,
        2,
        structures=Structures(
            Structure("block-diagonal", 2, shuffle=True), Structure("monarch", 2), channel_fc2=Structure("monarch", 3)
        ),
        mixing_bias=False,
    ),
    "rp-mixer": MixerConfig.of(PATCHES, 3, channels=5, depth=2, expansion=(1.5, 3.0), permutation="random"),
    "rp-mixer-resized": MixerConfig.of(PATCHES, 3, channels=5, depth=2, tokens=4, permutation="random"),
    "s-mixer": SMixerConfig(PATCHES, 3, 6, 5, 2),
    "s-mixer-resized": SMixerConfig(PATCHES, 3, 4, 5, 2),
    "rp-s-mixer": SMixerConfig(PATCHES, 3, 6, 5, 2, "random"),
    "sw-mlp": SWMLPConfig.of(PATCHES, 3, size=30, depth=2, density=0.3),
    "sw-mlp-fc-exact": SWMLPConfig.of(
        PATCHES, 3, size=30, depth=2, density=0.3, block="fc", mask="exact", mask_value="one"
    ),
    "sw-mlp-resized": SWMLPConfig.of(PATCHES, 3, size=20, depth=2, density=0.4),
    "mlp": SWMLPConfig.of(PATCHES, 3, size=30, depth=2, density=1.0),
    "pk-mixer": PKConfig.of(
        PATCHES, 3, channels=5, depth=3, expansion=(1.5, 3.0), permutations="normal,none/commutation,random/none"
    ),
    "pk-mixer-resized": PKConfig.of(PATCHES, 3, channels=5, depth=2, tokens=4, permutations="none,commutation"),
    "pk-s-mixer": PKConfig.of(PATCHES, 3, channels=5, depth=2, expansion=None, permutations="random,none"),
    "monarch-mlp": StructuredMLPConfig.of(PATCHES, 3, "monarch", blocks=4, size=40, expansion=1.4),
    "monarch-mlp-deep": StructuredMLPConfig.of(
        PATCHES, 3, "monarch", blocks=6, depth=2, features=5, size=36, expansion=0.5, skip=True, activation="gelu"
    ),
    "kronecker-mlp": StructuredMLPConfig.of(PATCHES, 3, "kronecker", size=24, depth=3, expansion=2.0),
    "kronecker-mlp-skip": StructuredMLPConfig.of(
        PATCHES, 3, "kronecker", blocks=5, depth=2, features=5, expansion=2.0, skip=True
    ),
}
"""Configurations by name, every family and option among them."""


def module_of(config: Config, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """A module with random weights everywhere, biases and norms too."""
    torch.manual_seed(seed)
    module = FAMILIES[config.family].module(config).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return module.to(dtype)


def checkpoint_of(config: Config, path: Path, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    """A checkpoint of `module_of`."""
    module = module_of(config, seed=seed, dtype=dtype)
    save_checkpoint(path, config, module.state_dict(), {"seed": seed, "epochs": 1})
    return path


def network_of(config: Config, path: Path, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Network:
    """The network loaded from `checkpoint_of`."""
    return load(checkpoint_of(config, path, seed=seed, dtype=dtype))


def images_of(config: Config, count: int = 7, *, seed: int = 1, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Random images for a network."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *config.input_shape, generator=generator, dtype=dtype)
