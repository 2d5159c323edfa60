from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from cases import NETWORKS, PATCHES, images_of, network_of
from mixanalysis.datasets import open_dataset
from mixanalysis.families.loading import load
from mixanalysis.families.s_mixer.network import SMixerConfig
from mixanalysis.families.sizes import Sizes
from mixanalysis.operators import Dense, Lift, Permuted
from mixanalysis.training import TrainingConfig, plan, train
from wide import unvec, vec, wide_forward

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_wide_sparse_network_returns_the_logits(name, dtype, tmp_path):
    config = NETWORKS[name]
    network = network_of(config, tmp_path / "net.safetensors", dtype=dtype)
    images = images_of(config, dtype=dtype)
    expected = network.module()(images)
    assert expected.dtype == dtype
    assert expected.std() > 1e-2
    torch.testing.assert_close(wide_forward(network, images), expected, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("family", ["mixer", "rp-mixer", "s-mixer", "rp-s-mixer"])
def test_wide_sparse_network_holds_on_trained_ones(family, tmp_path):
    config, data = plan(family, Sizes(channels=6, depth=1), limit=256)
    network = load(train(config, data, tmp_path / "net.safetensors", TrainingConfig(epochs=2)))
    images = open_dataset("digits").at(config.input_shape).images[:32]
    expected = network.module()(images)
    torch.testing.assert_close(wide_forward(network, images), expected, rtol=0, atol=1e-5)


def test_proposition_3_2():
    """vec(phi(phi(W X) V)) = phi(Jc^T (I_S kron V^T) phi(Jc (I_C kron W) vec X)) (HK Prop. 3.2)."""
    tokens, channels = 4, 3
    generator = torch.Generator().manual_seed(0)
    w, v, x = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((tokens, tokens), (channels, channels), (tokens, channels))
    )
    commutation = torch.arange(tokens * channels).view(channels, tokens).T.reshape(-1)
    assert torch.equal(vec(x[None])[0][commutation], vec(x.T[None])[0])
    token = Permuted(Lift(Dense(w), channels, "left"), rows=commutation)
    channel = Permuted(Lift(Dense(v.T.contiguous()), tokens, "left"), rows=torch.argsort(commutation))
    h = F.gelu(channel.apply(F.gelu(token.apply(vec(x[None])))))
    torch.testing.assert_close(h, vec(F.gelu(F.gelu(w @ x) @ v)[None]), rtol=0, atol=1e-12)
    # Jc^T (I_S kron V^T) Jc is the right lift that channel mixing is written with
    right = Lift(Dense(v.T.contiguous()), tokens, "right")
    middle = Permuted(Lift(Dense(v.T.contiguous()), tokens, "left"), torch.argsort(commutation), commutation)
    torch.testing.assert_close(right.dense(), middle.dense())


def test_s_mixer_is_the_formula(tmp_path):
    """One base block is U = X + phi(W LN(X)), then U + phi(LN(U) V^T) (HK 5), written out."""
    config = SMixerConfig(PATCHES, 3, 6, 5, 1)
    network = network_of(config, tmp_path / "net.safetensors", dtype=torch.float64)
    module = network.module()
    token, channel = module.blocks[0].token, module.blocks[0].channel
    images = images_of(config, dtype=torch.float64)
    x = module.stem(images)
    u = x + F.gelu(torch.einsum("ts,bsc->btc", token.mlp.fc1.weight, token.norm(x)) + token.mlp.fc1.bias[:, None])
    y = u + F.gelu(torch.einsum("bsc,dc->bsd", channel.norm(u), channel.mlp.fc1.weight) + channel.mlp.fc1.bias)
    torch.testing.assert_close(module(images), module.head(module.norm(y).mean(dim=1)), rtol=0, atol=1e-12)


def test_vec_stacks_columns():
    x = torch.tensor([[[1, 2], [3, 4], [5, 6]]])
    assert vec(x).tolist() == [[1, 3, 5, 2, 4, 6]]
    assert torch.equal(unvec(vec(x), 3), x)
