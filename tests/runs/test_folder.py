"""Output folders: all or nothing, a manifest that lists everything, and nobody else's files."""

from __future__ import annotations

import csv
import datetime
import hashlib
import json
import math
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mixanalysis as mx
from cases import NETWORKS, network_of
from mixanalysis.errors import CheckpointError, DataError, UsageError
from mixanalysis.report.style import FigureStyle
from mixanalysis.runs import Invocation, opened
from mixanalysis.runs.folder import MANIFEST, inputs, previous_outputs

TABLE = pd.DataFrame({"x": [1, 2], "y": [0.1, math.nan]})


def nothing(_fig):
    """Draws nothing."""


def written(out, tables=("one",), **options):
    """A run that writes some tables."""
    with opened(out, Invocation("test"), **options) as folder:
        for name in tables:
            folder.table(name, TABLE)
    return out


def data_of(kind, folder):
    """A data set from files, and one of these."""
    if kind == "npz":
        path = folder / "data.npz"
        np.savez(path, images=np.zeros((2, 4, 4), np.uint8))
        return mx.open_dataset(str(path)), path
    path = folder / "images" / "class" / "0.png"
    path.parent.mkdir(parents=True)
    Image.new("L", (4, 4)).save(path)
    return mx.open_dataset(f"folder:{folder / 'images'}"), path


def files_of(out):
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())


def manifest_of(out):
    return json.loads((out / MANIFEST).read_text(encoding="utf-8"))


class TestTables:
    def test_numbers_go_round_exactly_and_undefined_ones_are_empty(self, tmp_path):
        values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, math.pi * 1e-7, math.nan]
        frame = pd.DataFrame({"value": values, "count": np.arange(7), "name": list("abcdefg"), "flag": [True] * 7})
        with opened(tmp_path / "out", Invocation("test")) as folder:
            folder.table("some", frame)
        content = (tmp_path / "out" / "tables" / "some.csv").read_bytes()
        assert b"\r" not in content
        rows = list(csv.DictReader(content.decode().splitlines()))
        assert [row["value"] for row in rows][-1] == ""
        assert [float(row["value"]) for row in rows[:-1]] == values[:-1]
        assert [row["count"] for row in rows] == list("0123456")
        assert [(row["name"], row["flag"]) for row in rows] == [(name, "True") for name in "abcdefg"]

    def test_a_table_without_rows_has_its_header(self, tmp_path):
        with opened(tmp_path / "out", Invocation("test")) as folder:
            folder.table("some", TABLE.head(0))
        assert (tmp_path / "out" / "tables" / "some.csv").read_text() == "x,y\n"

    @pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
    def test_figures_have_the_folder_s_format(self, kind, tmp_path):
        with opened(tmp_path / "out", Invocation("test"), look=FigureStyle(kind)) as folder:
            folder.figure("some", nothing, (1, 1))
        magic = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[kind]
        assert (tmp_path / "out" / "figures" / f"some.{kind}").read_bytes().startswith(magic)


class TestManifest:
    def test_what_it_tells(self, tmp_path):
        network = network_of(NETWORKS["mixer"], tmp_path / "net.safetensors")
        dataset = mx.open_dataset("digits").first(5)
        parameters = {"limit": 5, "seed": None}
        request = Invocation("cka", ["cka", "a b"], parameters, {"limit": "command line"})
        before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        with opened(tmp_path / "out", request, networks=[network], dataset=dataset, device="meta") as folder:
            folder.table("one", TABLE)
        found = manifest_of(tmp_path / "out")
        assert (found["schema_version"], found["status"], found["mixanalysis"]) == (1, "ok", mx.__version__)
        assert (found["command"], found["argv"], found["device"]) == ("cka", ["cka", "a b"], "meta")
        assert (found["parameters"], found["parameter_sources"]) == (parameters, {"limit": "command line"})
        path = tmp_path / "net.safetensors"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        (source,) = found["inputs"]
        assert source.pop("assumed") == {}
        assert source == {
            "label": "net",
            "path": str(path),
            "sha256": digest,
            "format": "safetensors",
            "layout": "mixanalysis",
        }
        assert found["data"] == {
            "name": "digits",
            "split": "test",
            "images": 5,
            "fingerprint": dataset.fingerprint,
        }
        started = datetime.datetime.fromisoformat(found["started"])
        assert started.utcoffset() == datetime.timedelta(0)
        assert before <= started <= datetime.datetime.now(datetime.UTC)
        assert found["seconds"] >= 0
        assert set(found["versions"]) == {
            "python",
            "torch",
            "numpy",
            "scipy",
            "pandas",
            "matplotlib",
            "seaborn",
            "safetensors",
        }
        assert found["versions"]["numpy"] == np.__version__

    def test_every_output_with_its_content(self, tmp_path):
        with opened(tmp_path / "out", Invocation("test")) as folder:
            folder.table("one", TABLE)
            folder.figure("two", nothing, (1, 1))
            folder.path("notes.txt").write_text("hello")
        found = manifest_of(tmp_path / "out")
        assert found["data"] is None
        assert [*found["outputs"], MANIFEST] == ["figures/two.png", "notes.txt", "tables/one.csv", MANIFEST]
        assert files_of(tmp_path / "out") == sorted([*found["outputs"], MANIFEST])
        for name, digest in found["outputs"].items():
            assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == digest

    def test_it_is_json_without_nan(self, tmp_path):
        with (
            pytest.raises(ValueError, match="not JSON compliant"),
            opened(tmp_path / "out", Invocation("test", parameters={"omega": math.nan})),
        ):
            pass
        assert list(tmp_path.iterdir()) == []


class TestAllOrNothing:
    def test_a_failure_leaves_nothing(self, tmp_path):
        def fail():
            with opened(tmp_path / "out", Invocation("test")) as folder:
                folder.table("one", TABLE)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
    def test_a_failure_keeps_the_old_folder(self, error, tmp_path):
        out = written(tmp_path / "out")
        before = {name: (out / name).read_bytes() for name in files_of(out)}

        def fail():
            with opened(out, Invocation("test")) as folder:
                folder.table("two", TABLE)
                folder.table("one", TABLE.head(1))
                raise error

        with pytest.raises(error):
            fail()
        assert {name: (out / name).read_bytes() for name in files_of(out)} == before
        assert list(tmp_path.iterdir()) == [out]

    def test_an_output_that_was_never_written(self, tmp_path):
        out = written(tmp_path / "out")

        def fail():
            with opened(out, Invocation("test")) as folder:
                folder.path("promised.txt")

        with pytest.raises(FileNotFoundError):
            fail()
        assert files_of(out) == ["manifest.json", "tables/one.csv"]
        assert list(tmp_path.iterdir()) == [out]

    def test_nothing_shows_before_all_is_written(self, tmp_path):
        with opened(tmp_path / "deep" / "out", Invocation("test")) as folder:
            folder.table("one", TABLE)
            assert not (tmp_path / "deep" / "out").exists()
        assert files_of(tmp_path) == ["deep/out/manifest.json", "deep/out/tables/one.csv"]


class TestChanges:
    def test_a_checkpoint_that_changes_meanwhile(self, tmp_path):
        network = network_of(NETWORKS["mixer"], tmp_path / "net.safetensors")
        message = r"net\.safetensors: has changed while it was read; nothing was written, start again"

        def change():
            with opened(tmp_path / "out", Invocation("test"), networks=[network]) as folder:
                folder.table("one", TABLE)
                network_of(NETWORKS["mixer"], tmp_path / "net.safetensors")

        with pytest.raises(CheckpointError, match=message):
            change()
        assert files_of(tmp_path) == ["net.safetensors"]

    @pytest.mark.parametrize("kind", ["npz", "folder"])
    @pytest.mark.parametrize("change", [Path.touch, Path.unlink, lambda path: path.write_bytes(b"other")])
    def test_data_that_change_meanwhile(self, kind, change, tmp_path):
        data, path = data_of(kind, tmp_path)
        message = rf"{path.name}: has changed while it was read; nothing was written, start again"

        def run():
            with opened(tmp_path / "out", Invocation("test"), dataset=data.first(1)) as folder:
                folder.table("one", TABLE)
                change(path)

        with pytest.raises(DataError, match=message):
            run()
        # where only what is known of the data is given
        with pytest.raises(DataError, match=message):
            written(tmp_path / "out", dataset={}, read=data.files)
        assert not (tmp_path / "out").exists()

    def test_data_that_stay(self, tmp_path):
        for kind in ("npz", "folder"):
            data, _ = data_of(kind, tmp_path)
            written(tmp_path / kind, dataset=data.at(data.shape))
            assert manifest_of(tmp_path / kind)["data"]["fingerprint"] == data.fingerprint

    def test_a_run_that_meets_another(self, tmp_path):
        out = tmp_path / "out"
        message = r"out: another run is writing there; wait until it ends, or choose another --output"
        with opened(out, Invocation("test")), pytest.raises(UsageError, match=message):
            written(out)
        assert files_of(written(out)) == ["manifest.json", "tables/one.csv"]
        assert list(tmp_path.iterdir()) == [out]

    def test_something_else_in_the_place_of_an_output(self, tmp_path):
        out = tmp_path / "out"
        (out / "tables" / "one.csv").mkdir(parents=True)
        message = r"one\.csv: something else stands in its place; move it away, or choose another --output"
        with pytest.raises(UsageError, match=message):
            written(out, force=True)
        (out / "tables" / "one.csv").rmdir()
        (out / "tables").rmdir()
        (out / "tables").write_text("mine")
        with pytest.raises(UsageError, match=message):
            written(out, force=True)
        assert files_of(out) == ["tables"]

    def test_modes_of_a_new_folder_are_those_of_any_other(self, tmp_path):
        out = written(tmp_path / "out")
        (tmp_path / "other").mkdir()
        assert stat.S_IMODE(out.stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


class TestPreviousRuns:
    def test_stale_files_go(self, tmp_path):
        out = written(tmp_path / "out", ("one", "two"))
        (out / "mine.txt").write_text("mine")
        written(out, ("two", "three"))
        assert files_of(out) == ["manifest.json", "mine.txt", "tables/three.csv", "tables/two.csv"]
        assert list(manifest_of(out)["outputs"]) == ["tables/three.csv", "tables/two.csv"]
        assert list(tmp_path.iterdir()) == [out]

    def test_stale_files_outside_stay(self, tmp_path):
        out = written(tmp_path / "out")
        precious = tmp_path / "precious.txt"
        precious.write_text("mine")
        manifest = manifest_of(out)
        manifest["outputs"] |= {"../precious.txt": "", str(precious): ""}
        (out / MANIFEST).write_text(json.dumps(manifest))
        written(out, ("two",))
        assert precious.read_text() == "mine"
        assert files_of(out) == ["manifest.json", "tables/two.csv"]

    def test_stale_files_that_are_gone_already(self, tmp_path):
        out = written(tmp_path / "out")
        (out / "tables" / "one.csv").unlink()
        assert files_of(written(out, ("two",))) == ["manifest.json", "tables/two.csv"]

    def test_what_an_earlier_run_wrote(self, tmp_path):
        assert previous_outputs(tmp_path / "none", force=False) == []
        out = written(tmp_path / "out", ("one", "two"))
        assert previous_outputs(out, force=False) == ["tables/one.csv", "tables/two.csv", MANIFEST]


class TestFilesOfOthers:
    MANIFESTS = {  # noqa: RUF012
        "none": None,
        "of something else": '{"name": "a web page"}',
        "a list": "[1]",
        "damaged": '{"outputs": ',
        "outputs is null": '{"outputs": null}',
    }

    @pytest.mark.parametrize("manifest", MANIFESTS.values(), ids=MANIFESTS)
    def test_they_are_refused_unless_forced(self, manifest, tmp_path):
        out = tmp_path / "out"
        out.mkdir()
        (out / "mine.txt").write_text("mine")
        if manifest is not None:
            (out / MANIFEST).write_text(manifest)
        before = files_of(out)
        message = r"out: holds files, but no manifest of an earlier run; choose another --output, or --force"
        with pytest.raises(UsageError, match=message):
            written(out)
        assert files_of(out) == before
        written(out, force=True)
        assert files_of(out) == ["manifest.json", "mine.txt", "tables/one.csv"]
        assert (out / "mine.txt").read_text() == "mine"

    def test_an_empty_folder_is_fine(self, tmp_path):
        (tmp_path / "out").mkdir()
        assert files_of(written(tmp_path / "out")) == ["manifest.json", "tables/one.csv"]

    def test_a_file_is_no_folder(self, tmp_path):
        out = tmp_path / "out"
        out.write_text("mine")
        for force in (False, True):
            with pytest.raises(UsageError, match=r"out: is a file; choose another --output"):
                written(out, force=force)
        assert out.read_text() == "mine"

    def test_names_that_are_ours_without_a_manifest(self, tmp_path):
        out = tmp_path / "out"
        (out / "checkpoints").mkdir(parents=True)
        (out / "checkpoints" / "a.safetensors").write_text("weights")
        with pytest.raises(UsageError, match=r"holds files, but no manifest"):
            written(out)
        written(out, ours=["checkpoints"])
        assert files_of(out) == ["checkpoints/a.safetensors", "manifest.json", "tables/one.csv"]


def test_a_checkpoint_is_hashed_again_only_where_it_has_changed(tmp_path, monkeypatch):
    network = network_of(NETWORKS["mixer"], tmp_path / "net.safetensors")
    read = []
    counted = "mixanalysis.runs.folder.sha256_of"
    monkeypatch.setattr(counted, lambda path: read.append(path) or mx.open_checkpoint(path).sha256)
    found = [inputs([network])[0]["sha256"] for _ in range(3)]
    assert found == [hashlib.sha256((tmp_path / "net.safetensors").read_bytes()).hexdigest()] * 3
    assert len(read) == 1
    network_of(NETWORKS["mlp"], tmp_path / "net.safetensors")
    again = inputs([network])[0]["sha256"]
    assert again == hashlib.sha256((tmp_path / "net.safetensors").read_bytes()).hexdigest() != found[0]
    assert len(read) == 2
