"""Which layout a file has, and what several networks are called."""

from __future__ import annotations

import re
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cases import NETWORKS, checkpoint_of
from mixanalysis.errors import CheckpointError, UsageError
from mixanalysis.families import LAYOUTS
from mixanalysis.families.loading import load, load_all

TIMM = LAYOUTS["timm-mixer"].sought


@pytest.fixture(name="path")
def _path(tmp_path):
    return checkpoint_of(NETWORKS["mixer"], tmp_path / "given.safetensors")


def test_a_layout_may_be_named(path):
    assert load(path, "mixanalysis").config == load(path).config == NETWORKS["mixer"]


def test_an_unknown_layout_is_a_usage_error(path):
    with pytest.raises(UsageError, match="unknown layout 'flax'; known are mixanalysis, timm-mixer, flax-mixer, "):
        load(path, "flax")
    assert all(name == layout.name for name, layout in LAYOUTS.items())


def test_tensors_of_no_known_layout_are_refused_with_what_was_looked_for(tmp_path):
    torch.save({f"encoder.{index}": torch.ones(2) for index in range(5)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path / "a.pt")
    assert str(caught.value).startswith(
        f"{tmp_path / 'a.pt'}: no known layout has these tensors (encoder.0, encoder.1, encoder.2, and 2 more); "
        "found none of the names looked for: mixanalysis (safetensors metadata `mixanalysis`, ...), "
        "timm-mixer (stem.proj.weight, ...), flax-mixer (stem/kernel, ...), "
    )


def test_the_closest_layout_is_named_with_what_it_lacks(tmp_path):
    torch.save({name: torch.ones(2) for name in (*TIMM[:-2], "patcher.weight")}, tmp_path / "a.pt")
    message = (
        rf"no known layout .*; found of the names looked for: timm-mixer 6 of 8, .*jaketae-mixer 1 of 7.*"
        r" other layouts none; closest is timm-mixer, but it lacks "
        rf"{re.escape(TIMM[-2])}, {re.escape(TIMM[-1])}; inspect and spectrum take its matrices alone, cka --model "
    )
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path / "a.pt")


def test_few_tensors_of_no_known_layout_are_all_named(tmp_path):
    torch.save({"a": torch.ones(2), "b": torch.ones(2)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"no known layout has these tensors \(a, b\); found none "):
        load(tmp_path / "a.pt")


def test_a_layout_that_is_named_but_does_not_fit_says_what_it_lacks(path, tmp_path):
    with pytest.raises(CheckpointError, match=r"isn't in the timm-mixer layout: it lacks blocks\.0\.norm1\.weight, "):
        load(path, "timm-mixer")
    torch.save(load_file(path), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="isn't in the mixanalysis layout: it lacks safetensors metadata `mix"):
        load(tmp_path / "a.pt", "mixanalysis")


def test_a_file_of_two_layouts_asks_for_one(path):
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    timm = {name: torch.ones(2) if "norm" in name else torch.ones(2, 2) for name in TIMM}
    save_file(load_file(path) | timm, path, metadata=metadata)
    with pytest.raises(CheckpointError, match=r"fits several layouts \(mixanalysis, timm-mixer\); name one with"):
        load(path)


LABELS = {
    "different names": (["a.safetensors", "b.safetensors"], ["a", "b"]),
    "two dots": (["mixer.v1.safetensors", "mixer.v2.pt"], ["mixer.v1", "mixer.v2"]),
    "no ending": (["mixer"], ["mixer"]),
    "hidden": ([".mixer"], [".mixer"]),
    "two folders": (["x/a.pt", "y/a.pt", "y/b.pt"], ["x/a", "y/a", "b"]),
    "two endings": (["x/a.pt", "x/a.safetensors"], ["x/a", "x/a (2)"]),
    "folders of one name": (["x/run/a.pt", "y/run/a.pt"], ["run/a", "run/a (2)"]),
    "same file twice": (["x/a.pt", "x/a.pt", "b.pt", "x/a.pt"], ["x/a", "x/a (2)", "b", "x/a (3)"]),
    "a name like a number": (
        ["x/a.pt", "x/a.pt", "x/a (2).pt", "y/a (2).pt"],
        ["x/a", "x/a (2)", "x/a (2) (2)", "y/a (2)"],
    ),
}
"""Files, and what the networks are called."""


@pytest.mark.parametrize(("names", "labels"), LABELS.values(), ids=LABELS)
def test_each_network_has_a_label_of_its_own(tmp_path, path, names, labels):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / name)
    networks = load_all([tmp_path / name for name in names])
    assert [network.label for network in networks] == labels
    assert [network.provenance.path for network in networks] == [tmp_path / name for name in names]
    assert len(set(labels)) == len(labels)


def test_no_networks_are_no_networks():
    assert load_all([]) == []
