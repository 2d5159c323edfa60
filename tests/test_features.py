"""Taps: what they give, and that nothing of them stays."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cases import NETWORKS, images_of, network_of
from mixanalysis.errors import CheckpointError, UsageError
from mixanalysis.features import accuracy, capturing, outputs, tap_paths

networks = pytest.mark.parametrize("config", NETWORKS.values(), ids=NETWORKS)


def taken(module, paths, images):
    features = {}
    with torch.no_grad(), capturing(module, paths, features.__setitem__) as aliases:
        module(images)
    return {call.label: value for call, value in features.items()} | {
        call.label: features[first] for call, first in aliases.items()
    }


def hooks(module):
    return [hook for part in module.modules() for hook in part._forward_hooks]


class Mean(nn.Module):
    def forward(self, x):
        return x.mean(dim=1)


@networks
def test_after_is_before_plus_the_skip(config, tmp_path):
    network = network_of(config, tmp_path / "a.safetensors", dtype=torch.float64)
    module, images = network.module(), images_of(config, dtype=torch.float64)
    before = taken(module, tap_paths(network, "before-skip"), images)
    after = taken(module, tap_paths(network, "after-skip"), images)
    assert list(before) == list(after) == [tap.name for tap in network.taps]
    for tap in network.taps:
        block = module.get_submodule(tap.after)
        entered = []
        handle = block.register_forward_pre_hook(lambda _m, inputs, to=entered: to.append(inputs[0]))
        with torch.no_grad():
            module(images)
            skip = block.carry(entered[0])
        handle.remove()
        assert before[tap.name].shape == (len(images), config.width)
        torch.testing.assert_close(after[tap.name], before[tap.name] + skip.flatten(1), rtol=0, atol=1e-12)
        # a plain MLP carries nothing past its blocks
        plain = getattr(config, "skip", True) is False
        assert torch.allclose(before[tap.name], after[tap.name], atol=1e-3) == plain


def test_each_example_is_one_row():
    module = nn.Sequential(nn.Conv2d(2, 3, 1))
    images = torch.randn(5, 2, 4, 6)
    features = taken(module, {"conv": "0"}, images)["conv"]
    assert torch.equal(features, module(images).reshape(5, -1).detach())


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(torch.float32, torch.float32), (torch.float64, torch.float64), (torch.bfloat16, torch.float32)],
)
def test_precision_of_features(dtype, expected):
    module = nn.Linear(3, 2).to(dtype)
    features = taken(module, {"all": ""}, torch.ones(4, 3, dtype=dtype))["all"]
    assert features.dtype == expected
    assert torch.equal(features, module(torch.ones(4, 3, dtype=dtype)).detach().to(expected))


def test_a_tap_sees_the_output_before_the_next_layer_changes_it():
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True))
    seen = []
    images = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), capturing(module, {"linear": "0"}, lambda _c, x: seen.append(float(x.min()))):
        module(images)
    assert seen == [float(module[0](images).detach().min())]
    assert seen[0] < 0


def test_two_labels_of_one_module():
    features = taken(nn.Sequential(nn.Linear(3, 4)), {"x": "0", "y": "0"}, torch.ones(2, 3))
    assert torch.equal(features["x"], features["y"])


def test_hooks_go_with_the_context():
    module = nn.Sequential(nn.Linear(3, 4))
    with capturing(module, {"x": "0", "y": ""}, lambda *_: None):
        assert len(hooks(module)) == 2
    assert hooks(module) == []


def test_hooks_go_after_an_error():
    module = nn.Sequential(nn.Linear(3, 4))
    with pytest.raises(ZeroDivisionError), capturing(module, {"x": "0"}, lambda *_: 1 / 0):
        module(torch.ones(2, 3))
    assert hooks(module) == []


def test_no_such_submodule():
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    with (
        pytest.raises(UsageError, match=r"the model has no submodule '2'; it has 0, 1$"),
        capturing(module, {"x": "0", "y": "2"}, lambda *_: None),
    ):
        pass
    assert hooks(module) == []


def test_outputs_that_have_no_row_per_example():
    message = r"tap 'odd' gives a tensor of shape \(2,\); choose a module that gives a row of features for each example"
    module = Mean()
    with pytest.raises(UsageError, match=message), capturing(module, {"odd": ""}, lambda *_: None):
        module(torch.ones(2, 3))


def test_outputs_of_all_batches(tmp_path):
    network = network_of(NETWORKS["mixer"], tmp_path / "a.safetensors")
    images = images_of(NETWORKS["mixer"])
    together = outputs(network.module(), iter(images.split(3)))
    torch.testing.assert_close(together, network.module()(images))
    assert not together.requires_grad


def test_accuracy_counts_right_answers(tmp_path):
    network = network_of(NETWORKS["mixer"], tmp_path / "a.safetensors")
    images = images_of(NETWORKS["mixer"], 7)
    answers = [max(range(3), key=row.__getitem__) for row in network.module()(images).tolist()]
    labels = torch.tensor([answers[0], answers[1], *((answer + 1) % 3 for answer in answers[2:])])
    assert accuracy(network, iter(images.split(4)), labels) == 2 / 7


def test_accuracy_needs_a_classifier(tmp_path):
    network = network_of(NETWORKS["mixer-bare"], tmp_path / "bare.safetensors")
    images = images_of(NETWORKS["mixer-bare"], 7)
    with pytest.raises(CheckpointError, match=r"^bare: has no classifier, so that it has no accuracy$"):
        accuracy(network, iter([images]), torch.zeros(7))
