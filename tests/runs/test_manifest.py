"""Manifests read back, and the inputs of a run found again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cases import NETWORKS, network_of
from mixanalysis.errors import ReportError
from mixanalysis.runs import Invocation, opened
from mixanalysis.runs.manifest import Manifest, find_inputs, unlike


@pytest.fixture(name="home")
def _home(tmp_path, monkeypatch):
    """A working folder with a checkpoint, and a run of it in reports/x."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    network = network_of(NETWORKS["mlp"], Path("w.safetensors"))
    with opened(Path("reports/x"), Invocation("width"), networks=[network]):
        pass
    return home


def manifest_of(home, **changes):
    path = home / "reports" / "x" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return Manifest.read(path)


def test_no_path_of_the_machine_is_in_it(home, tmp_path):
    text = (home / "reports" / "x" / "manifest.json").read_text()
    assert str(tmp_path) not in text
    assert json.loads(text)["working_folder"] == "../.."


def test_an_output_folder_elsewhere_does_not_tell_where_the_work_was_done(home, tmp_path):
    with opened(tmp_path / "elsewhere", Invocation("width")):
        pass
    assert Manifest.read(tmp_path / "elsewhere").content["working_folder"] is None


def test_the_folder_or_the_file(home):
    folder = home / "reports" / "x"
    assert Manifest.read(folder).content == Manifest.read(folder / "manifest.json").content
    assert Manifest.read(folder / "manifest.json").folder == folder


def test_inputs_are_found_from_the_folder_of_the_run(home, tmp_path):
    found = find_inputs(Manifest.read(home / "reports" / "x"), tmp_path)
    assert (found.base, found.missing, found.changed) == (home, (), ())


def test_inputs_are_found_where_all_was_moved_to(home, tmp_path):
    shutil.move(home, tmp_path / "moved")
    found = find_inputs(Manifest.read(tmp_path / "moved" / "reports" / "x"), tmp_path)
    assert (found.base, found.missing) == (tmp_path / "moved", ())


@pytest.mark.parametrize("working_folder", ["../..", None])
def test_inputs_are_found_from_here(home, tmp_path, working_folder):
    manifest_of(home, working_folder=working_folder)
    shutil.move(home / "reports" / "x", tmp_path / "x")
    found = find_inputs(Manifest.read(tmp_path / "x"), home)
    assert (found.base, found.missing) == (home, ())


def test_inputs_are_found_beside_the_manifest(home, tmp_path):
    manifest = manifest_of(home, working_folder=None)
    shutil.move(home / "w.safetensors", manifest.folder)
    found = find_inputs(manifest, tmp_path)
    assert (found.base, found.missing) == (manifest.folder, ())


def test_unchanged_inputs_are_preferred(home, tmp_path):
    """Of two files of that name, the one with the content is meant."""
    (tmp_path / "w.safetensors").write_bytes((home / "w.safetensors").read_bytes())
    (home / "w.safetensors").write_bytes(b"another")
    found = find_inputs(Manifest.read(home / "reports" / "x"), tmp_path)
    assert (found.base, found.changed) == (tmp_path, ())


def test_a_changed_and_a_missing_input_are_named(home, tmp_path):
    (home / "w.safetensors").write_bytes(b"another")
    manifest = Manifest.read(home / "reports" / "x")
    assert find_inputs(manifest, tmp_path).changed == ("w.safetensors",)
    (home / "w.safetensors").unlink()
    assert find_inputs(manifest, tmp_path).missing == ("w.safetensors",)
    (home / "w.safetensors").mkdir()
    assert find_inputs(manifest, tmp_path).changed == ("w.safetensors",)


def test_a_checkpoint_that_the_run_makes_is_no_input(tmp_path):
    out = tmp_path / "out"
    network = network_of(NETWORKS["mlp"], out / "checkpoints" / "w.safetensors")
    with opened(out, Invocation("demo"), networks=[network], ours=["checkpoints"]):
        pass
    manifest = Manifest.read(out)
    assert manifest.content["inputs"][0]["path"] == "checkpoints/w.safetensors"
    assert manifest.inputs == []


GOOD = {"schema_version": 1, "command": "cka", "parameters": {}, "inputs": [], "versions": {}, "outputs": {}}

BAD = {
    "no json": ("{", r"manifest\.json: not a readable manifest: Expecting"),
    "deep": ('{"a":' * 50_000, r"manifest\.json: not a readable manifest: is nested more than 64 levels deep"),
    "no table": ("[]", r"manifest\.json: not a manifest: it holds no table of names and values"),
    "newer": (json.dumps(GOOD | {"schema_version": 99}), r"its schema version 99 is newer than 1; update mixanalysis"),
    "another file": ('{"a": 1}', r"lacks command, parameters, inputs, versions, outputs$"),
    "of another type": (json.dumps(GOOD | {"outputs": []}), r"lacks outputs$"),
    "input": (
        json.dumps(GOOD | {"inputs": [{"path": 3}]}),
        r"an input is no table with label, path and sha256: \{'path'",
    ),
}


@pytest.mark.parametrize(("text", "said"), BAD.values(), ids=BAD)
def test_what_is_no_manifest(tmp_path, text, said):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ReportError, match=said):
        Manifest.read(tmp_path)


def test_no_manifest(tmp_path):
    with pytest.raises(
        ReportError, match=r"manifest\.json: no such file; give an output folder, or its manifest\.json"
    ):
        Manifest.read(tmp_path)


def test_what_is_not_the_same(tmp_path):
    before = Manifest(
        tmp_path, GOOD | {"outputs": {"a": "1", "b": "2", "c": "3"}, "data": {"name": "x", "fingerprint": "1"}}
    )
    assert unlike(before, before) == {}
    other = {"versions": {"numpy": "2"}, "mixanalysis": "9", "data": {"fingerprint": "2"}}
    assert unlike(before, Manifest(tmp_path, before.content | other)) == {}
    after = Manifest(tmp_path, before.content | other | {"outputs": {"a": "1", "b": "3", "d": "4"}})
    assert unlike(before, after) == {
        "changed": ["b"],
        "not written": ["c"],
        "new": ["d"],
        "other versions": ["mixanalysis None then, 9 now", "numpy None then, 2 now"],
        "other data": ["x"],
    }
