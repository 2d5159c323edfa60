"""A run again from its manifest, and two output folders compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest


@pytest.fixture(name="done")
def _done(run, networks):
    """A run of spectra, of a checkpoint beside it."""
    shutil.copy(networks["mixer"], run.folder / "w.safetensors")
    arguments = ("--layers", "*.token.*", "--layers", "*.channel.*.fc1", "--exclude", "*.1.*", "--format", "svg", "-q")
    answer = run("spectrum", "w.safetensors", *arguments, "-o", "out/x")
    assert answer.code == 0
    return Path("out/x")


def manifest(folder):
    return json.loads(Path(folder, "manifest.json").read_text())


def change(folder, **changes):
    path = Path(folder, "manifest.json")
    path.write_text(json.dumps(manifest(folder) | changes))


class TestRerun:
    def test_the_same_bytes(self, run, done, monkeypatch):
        answer = run("rerun", done)
        assert (answer.code, answer.stderr) == (0, "")
        count = len(manifest(done)["outputs"])
        assert answer.stdout == f"reports/rerun: all {count} outputs have the same bytes\n"
        old, new = manifest(done), manifest("reports/rerun")
        assert old["outputs"] == new["outputs"]
        shown = {"output": "reports/rerun", "quiet": False}
        assert new["parameters"] == {name: shown.get(name, value) for name, value in old["parameters"].items()}
        assert new["argv"][:2] == ["mixanalysis", "spectrum"]
        assert {"--layers=*.token.*", "--format=svg"} <= set(new["argv"])
        given = {name for name, source in new["parameter_sources"].items() if source != "default"}
        assert given == {"checkpoints", "layers", "exclude", "format", "output"}
        # from elsewhere, and of a run again
        (run.folder / "sub").mkdir()
        monkeypatch.chdir(run.folder / "sub")
        answer = run("rerun", "../reports/rerun/manifest.json", "-o", "here", "--json", "-q")
        assert (answer.code, answer.stderr) == (0, "")
        assert json.loads(answer.stdout) == {"output": "here", "identical": True, "differences": {}}
        assert manifest("here")["parameters"]["output"] == "sub/here"

    def test_what_would_be_run(self, run, done):
        answer = run("rerun", done, "--dry-run")
        assert answer.code == 0
        assert answer.stdout.startswith("in .: mixanalysis spectrum ")
        assert "'--layers=*.token.*' '--layers=*.channel.*.fc1' '--exclude=*.1.*'" in answer.stdout
        assert answer.stdout.endswith(" --output=reports/rerun -- w.safetensors\n")
        assert " --level" not in answer.stdout
        assert "--product" not in answer.stdout
        assert not Path("reports").exists()

    def test_a_default_that_has_changed(self, run, done):
        old = manifest(done)
        change(done, parameters=old["parameters"] | {"level": 0.05, "product": True})
        answer = run("rerun", done, "--dry-run")
        assert " --level=0.05 " in answer.stdout
        assert " --product " in answer.stdout

    def test_another_input(self, run, done, networks):
        shutil.copy(networks["mlp"], "w.safetensors")
        answer = run("rerun", done)
        assert answer.code == 5
        assert answer.error == "inputs are not those of the manifest: w.safetensors; --force runs with what is there"
        assert not Path("reports").exists()
        shutil.copy(networks["rp-mixer"], "w.safetensors")
        answer = run("rerun", done, "--force")
        assert (answer.code, answer.stdout) == (5, "")
        note, error = answer.stderr.splitlines()
        assert note == "mixanalysis: w.safetensors is not that of the manifest"
        assert error.startswith("mixanalysis: error: reports/rerun is not the same as out/x: changed: figures/")
        assert "tables/singular_values.csv" in error
        assert error.endswith("(`mixanalysis diff` says how)")

    def test_no_input(self, run, done):
        Path("w.safetensors").unlink()
        answer = run("rerun", done)
        assert (answer.code, answer.error) == (3, "out/x: inputs are missing: w.safetensors; run it where they are")

    def test_other_bytes(self, run, done):
        outputs = manifest(done)["outputs"]
        change(done, outputs=outputs | {"tables/spectrum.csv": "0", "gone.txt": "1"}, mixanalysis="0.0.1")
        answer = run("rerun", done, "--json")
        assert answer.code == 5
        found = json.loads(answer.stdout)
        assert (found["output"], found["identical"]) == ("reports/rerun", False)
        (version,) = found["differences"].pop("other versions")
        assert version.startswith("mixanalysis 0.0.1 then, ")
        assert found["differences"] == {"changed": ["tables/spectrum.csv"], "not written": ["gone.txt"]}
        assert "changed: tables/spectrum.csv; not written: gone.txt; other versions: mixanal" in answer.stderr

    def test_a_run_that_fails_again(self, run, done):
        parameters = manifest(done)["parameters"]
        change(done, parameters=parameters | {"layers": ["zzz"]})
        answer = run("rerun", done)
        assert answer.code == 4
        assert "left to analyse" in answer.error

    def test_where_the_first_run_is(self, run, done):
        answer = run("rerun", done / "manifest.json", "-o", done)
        assert (answer.code, answer.error) == (
            2,
            "out/x: holds the run that is to be compared with; choose another --output",
        )

    def test_what_is_no_command(self, run, done):
        change(done, command="write_report")
        answer = run("rerun", done)
        assert answer.code == 2
        assert answer.error.startswith("the manifest is not that of a command, but of 'write_report', which")

    def test_a_parameter_of_another_version(self, run, done):
        change(done, parameters=manifest(done)["parameters"] | {"bogus": 1})
        answer = run("rerun", done)
        assert answer.code == 2
        assert answer.error == "the manifest's spectrum has parameters that this version doesn't know: bogus"


class TestDiff:
    def test_equal(self, run, done):
        answer = run("diff", done, done / "manifest.json")
        assert (answer.code, answer.stdout, answer.stderr) == (0, "equal\n", "")
        answer = run("diff", done, done, "--json")
        assert (answer.code, json.loads(answer.stdout)) == (0, {"equal": True, "differences": []})

    def test_different(self, run, done):
        path = Path(shutil.copytree(done, "other"), "tables", "spectrum_outliers.csv")
        change("other", versions=manifest(done)["versions"] | {"numpy": "1"})
        path.write_text(path.read_text().replace("network", "netwerk"))
        answer = run("diff", done, "other")
        assert (answer.code, answer.stderr) == (5, "")
        lines = [line.split() for line in answer.stdout.splitlines()]
        assert lines[0] == ["out/x", "(a)", "and", "other", "(b)"]
        assert ["versions", "changed", "1", "–"] in lines
        assert ["numpy", manifest(done)["versions"]["numpy"], "1"] in lines
        assert ["spectrum_outliers"] in lines
        answer = run("diff", done, "other", "--json", "--tables-only")
        assert answer.code == 5
        found = json.loads(answer.stdout)["differences"]
        assert [(row["part"], row["kind"], row["column"]) for row in found] == [
            ("spectrum_outliers", "only in a", "network"),
            ("spectrum_outliers", "only in b", "netwerk"),
        ]

    def test_a_tolerance(self, run, done):
        path = Path(shutil.copytree(done, "other"), "tables", "spectrum.csv")
        header, first, *rest = path.read_text().splitlines()
        cells = first.split(",")
        place = header.split(",").index("s_max")
        cells[place] = repr(float(cells[place]) * (1 + 1e-9))
        path.write_text("\n".join([header, ",".join(cells), *rest]) + "\n")
        assert run("diff", done, "other").code == 5
        assert run("diff", done, "other", "--tolerance", "1e-8").code == 0

    def test_many(self, run, done):
        path = Path(shutil.copytree(done, "other"), "tables", "singular_values.csv")
        path.write_text(path.read_text().replace(".0", ".1"))
        answer = run("diff", done, "other")
        assert answer.code == 5
        assert answer.stdout.endswith("Parts with more than 20 differences are shown in whole with --json.\n")

    def test_no_report(self, run, done):
        answer = run("diff", done, "nowhere")
        assert answer.code == 3
        assert answer.error == "nowhere: no such file; give an output folder, or its manifest.json"
