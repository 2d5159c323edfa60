"""From a few numbers to a configuration and data that fit it."""

from __future__ import annotations

import numpy as np
import pytest

from mixanalysis.errors import DataError, UsageError
from mixanalysis.families.mixer.network import MixerConfig
from mixanalysis.families.sizes import Sizes
from mixanalysis.network import Patches
from mixanalysis.training import plan

FAMILY_OF = ["mixer", "rp-mixer", "s-mixer", "rp-s-mixer", "sw-mlp", "mlp"]


@pytest.mark.parametrize("family", FAMILY_OF)
def test_defaults(family):
    config, (training, test) = plan(family, Sizes())
    assert config.family == family
    assert config.patches == Patches(16, 16, 1, 4)
    assert config.classes == 10
    assert config.width == 256
    assert (len(training), len(test)) == (1437, 360)


def test_sizes_reach_the_configuration():
    sizes = Sizes(channels=8, tokens=6, expansion_token=1.5, expansion_channel=3.0, depth=2)
    config, _ = plan("mixer", sizes, patch=8, image_size=32)
    assert config == MixerConfig(Patches(32, 32, 1, 8), 10, 6, 8, 9, 24, 2)


def test_the_sparse_network_has_the_mixer_s_density():
    config, _ = plan("sw-mlp", Sizes())
    assert config.density == (1 / 16 + 1 / 16) / 2


def test_limit_takes_the_first_training_images():
    _, (training, test) = plan("mixer", Sizes(), limit=100)
    assert (len(training), len(test)) == (100, 360)


def written(path, **more):
    images = np.zeros((5, 3, 12, 8), dtype=np.uint8)
    np.savez(path, images_train=images, images_test=images[:2], **more)
    return str(path)


def test_data_from_a_file(tmp_path):
    path = written(tmp_path / "a.npz", labels_train=np.arange(5) % 3, labels_test=np.array([3, 0]))
    config, (training, test) = plan("mixer", Sizes(channels=4), path)
    assert config.patches == Patches(12, 8, 3, 4)
    assert config.classes == 4
    assert (len(training), len(test)) == (5, 2)


class TestRefused:
    def test_data_without_labels(self, tmp_path):
        with pytest.raises(DataError, match=r"a.npz: has no labels to train on"):
            plan("mixer", Sizes(), written(tmp_path / "a.npz"))
        with pytest.raises(DataError, match=r"noise: has no labels to train on"):
            plan("mixer", Sizes(), "noise")

    def test_an_unknown_family(self):
        with pytest.raises(UsageError, match=r"unknown family 'resnet'; known are mixer, rp-mixer, s-mixer"):
            plan("resnet", Sizes())

    @pytest.mark.parametrize("patch", [3, 0, 32])
    def test_patches_that_do_not_divide(self, patch):
        with pytest.raises(UsageError, match=rf"--patch {patch}: "):
            plan("mixer", Sizes(), patch=patch)

    def test_an_image_of_no_size(self):
        with pytest.raises(UsageError, match=r"height must be at least 1, got 0"):
            plan("mixer", Sizes(), image_size=0)

    def test_another_image_size_of_fixed_data(self, tmp_path):
        path = written(tmp_path / "a.npz", labels_train=np.arange(5), labels_test=np.arange(2))
        with pytest.raises(UsageError, match=r"--image-size applies to resizable data only; the images of .* keep"):
            plan("mixer", Sizes(), path, image_size=16)
        assert plan("mixer", Sizes(), path, image_size=12)[0].patches.height == 12

    def test_limit_out_of_range(self):
        with pytest.raises(DataError, match=r"digits: --limit must be at least 1, got 0"):
            plan("mixer", Sizes(), limit=0)


NOT_APPLICABLE = {
    ("mixer", "density", 0.5): r"--density doesn't apply to the family mixer",
    ("mixer", "block", "fc"): r"--block doesn't apply to the family mixer",
    ("rp-mixer", "width", 64): r"--width doesn't apply to the family rp-mixer",
    ("s-mixer", "expansion", 2.0): r"--expansion doesn't apply to the family s-mixer",
    ("rp-s-mixer", "expansion_token", 2.0): r"--expansion-token doesn't apply to the family rp-s-mixer",
    ("sw-mlp", "tokens", 16): r"--tokens doesn't apply to the family sw-mlp",
    ("mlp", "density", 0.5): r"--density doesn't apply to the family mlp",
    ("mlp", "mask", "exact"): r"--mask doesn't apply to the family mlp",
}
OUT_OF_RANGE = {
    ("mixer", "channels", 0): r"mixer: an expansion of 2.0 of 0 features leaves no hidden unit",
    ("mixer", "depth", 0): r"mixer: depth must be at least 1, got 0",
    ("mixer", "expansion", 0.001): r"mixer: an expansion of 0.001 of 16 features leaves no hidden unit",
    ("s-mixer", "tokens", -1): r"s-mixer: tokens must be at least 1, got -1",
    ("sw-mlp", "density", 1.0): r"sw-mlp: density must be below 1, got 1.0; .* of the family mlp",
    ("sw-mlp", "density", 0.0): r"sw-mlp: density must be in \(0, 1\], got 0.0",
    ("mlp", "width", 0): r"mlp: an expansion of 2.0 of 0 features leaves no hidden unit",
}


@pytest.mark.parametrize(("request_", "message"), NOT_APPLICABLE.items(), ids=map(str, NOT_APPLICABLE))
def test_numbers_that_do_not_apply(request_, message):
    family, name, value = request_
    with pytest.raises(UsageError, match=message):
        plan(family, Sizes(**{name: value}))


@pytest.mark.parametrize(("request_", "message"), OUT_OF_RANGE.items(), ids=map(str, OUT_OF_RANGE))
def test_numbers_out_of_range(request_, message):
    family, name, value = request_
    with pytest.raises(UsageError, match=message):
        plan(family, Sizes(**{name: value}))
