"""Each command on tiny networks: what it says, what it writes, and where."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from typer.main import get_command
from typer.testing import CliRunner

from cases import NETWORKS, checkpoint_of
from hand_made import timm_relatives
from mixanalysis.families.loading import load
from mixanalysis.runs.costs import PLAN
from mixanalysis_cli import terminal
from mixanalysis_cli.app import app

NAMES = [command.name for command in app.registered_commands]
TINY = ("--epochs", 1, "--limit", 64, "--depth", 1)


def strict(text: str):
    """Parse JSON that must not hold what JSON doesn't have."""

    def refuse(constant):
        raise AssertionError(f"{constant} in JSON")

    return json.loads(text, parse_constant=refuse)


def manifest(folder: str) -> dict:
    return strict(Path(folder, "manifest.json").read_text(encoding="utf-8"))


def facts(stdout: str) -> dict[str, str]:
    """Names and values of `inspect`, which two or more blanks separate."""
    lines = [line.partition("  ") for line in stdout.splitlines() if "  " in line]
    return {name: value.strip() for name, _, value in lines}


class TestInspect:
    def test_for_reading(self, run, networks):
        answer = run("inspect", networks["mixer"])
        assert (answer.code, answer.stderr) == (0, "")
        found = facts(answer.stdout)
        assert found["file"] == str(networks["mixer"])
        assert found["format"] == "safetensors, wrapper none, layout mixanalysis"
        assert found["family"] == "mixer"
        assert found["config"].startswith("patches (height 8, width 8, channels 1, size 4), classes 3, tokens 4, chan")
        assert found["effective width"] == "m = 16"
        assert found["density"] == "p = 0.25"
        assert found["expansion"] == "γ = 2 (token 2, channel 2)"
        assert found["connections"] == "Ω = 128 per layer"
        assert found["blocks"] == "0.token, 0.channel, 1.token, 1.channel"
        assert found["training"] == "epochs 1, seed 0"
        assert found["not used"] == "nothing: every tensor is used"
        rows = [line.split() for line in answer.stdout.splitlines() if line.startswith(" blocks.")]
        assert rows[0] == ["blocks.0.token.mlp.fc1", "token", "32", "16", "16", "2", "0.25", "128"]
        assert [row[0] for row in rows] == [layer.name for layer in load(networks["mixer"]).layers]
        assert run.files() == []

    def test_expansions_that_differ_within_a_role(self, run):
        gmlp = timm_relatives.gmlp(4, 12, 16, 4)
        torch.save(gmlp.state, "gmlp.pt")
        assert facts(run("inspect", "gmlp.pt").stdout)["expansion"] == "γ = 1.926 (channel 1.333 to 2.667, gate 1)"

    def test_as_json(self, run, networks):
        answer = run("inspect", networks["sw-mlp"], networks["mlp"], "--json")
        assert (answer.code, answer.stderr) == (0, "")
        sparse, dense = strict(answer.stdout)
        network = load(networks["sw-mlp"])
        assert sparse["label"] == "sw-mlp"
        assert (sparse["family"], dense["family"]) == ("sw-mlp", "mlp")
        assert sparse["path"] == str(networks["sw-mlp"])
        assert (sparse["width"], sparse["omega"], sparse["density"]) == (30, network.omega, network.density)
        assert (dense["density"], dense["expansions"]) == (1, {"dense": 2})
        assert sparse["config"]["density"] == 0.3
        assert sparse["training"] == {"epochs": 1, "seed": 0}
        assert [layer["connections"] for layer in sparse["layers"]] == [item.connections for item in network.layers]
        assert sparse["unused"] == []

    def test_a_checkpoint_of_no_class(self, run):
        checkpoint_of(NETWORKS["mixer-bare"], run.folder / "a.safetensors")
        assert strict(run("inspect", "a.safetensors", "--json").stdout)[0]["config"]["classes"] == 0

    def test_names_of_files_are_no_markup(self, run):
        checkpoint_of(NETWORKS["mlp"], run.folder / "[bold]a[red] :smile:.safetensors")
        answer = run("spectrum", "[bold]a[red] :smile:.safetensors")
        assert answer.code == 0
        assert "[bold]a[red] :smile: " in answer.stdout


class TestCKA:
    def test_of_two(self, run, networks):
        answer = run("cka", networks["mlp"], networks["sw-mlp"], "--limit", 128)
        assert (answer.code, answer.stderr) == (0, "")
        lines = answer.stdout.splitlines()
        assert lines[-1] == "reports/cka"
        table = pd.read_csv("reports/cka/tables/cka.csv")
        assert set(table["layer_a"]) == set(table["layer_b"].astype(int)) == {0, 1}
        assert (table["n"] == 128).all()
        assert f"{table['value'][0]:.4g}" in answer.stdout
        outputs = ["figures/cka_means.png", "figures/cka_mlp_sw-mlp.png", "figures/cka_profile.png"]
        assert run.files("reports/cka") == [
            *outputs,
            "manifest.json",
            "tables/cka.csv",
            "tables/cka_diagonal.csv",
            "tables/cka_layers.csv",
        ]
        said = manifest("reports/cka")
        assert said["command"] == "cka"
        assert said["parameters"]["limit"] == 128
        assert (said["parameter_sources"]["limit"], said["parameter_sources"]["seed"]) == ("commandline", "default")
        assert [item["label"] for item in said["inputs"]] == ["mlp", "sw-mlp"]
        assert said["data"]["images"] == 128

    def test_of_one_with_itself_as_json(self, run, networks):
        answer = run("cka", networks["rp-mixer"], "--limit", 64, "--json", "--layers", "*.token", "-o", "out")
        assert answer.code == 0
        assert answer.stderr.startswith("mixanalysis: there are no intervals: they need two batches at least; ")
        found = strict(answer.stdout)
        assert found["cka_diagonal"][0]["relation"] == "itself"
        assert found["cka_diagonal"][0]["mean"] == pytest.approx(1, abs=1e-12)
        assert {row["layer_a"] for row in found["cka"]} == {"0.token", "1.token"}
        assert found["cka_diagonal"][0]["low"] is None, "one batch gives no interval"
        assert not Path("reports").exists()

    def test_what_is_left_out_is_noted_on_stderr(self, run, networks):
        arguments = ("cka", networks["mlp"], "--limit", 65, "--batch-size", 64)
        answer = run(*arguments)
        assert answer.code == 0
        assert answer.stderr.startswith("mixanalysis: the last image was left out")
        quiet = run(*arguments, "--quiet")
        assert (quiet.code, quiet.stderr, quiet.stdout) == (0, "", answer.stdout)


class TestSpectrum:
    def test_for_reading(self, run, networks):
        answer = run("spectrum", networks["mixer"])
        assert (answer.code, answer.stderr) == (0, "")
        assert answer.stdout.splitlines()[-1] == "reports/spectrum"
        table = pd.read_csv("reports/spectrum/tables/spectrum.csv")
        assert list(table["layer"]) == [layer.name for layer in load(networks["mixer"]).layers]
        for _, row in table.iterrows():
            assert f"{row['s_max']:.4g}" in answer.stdout
        assert run.files("reports/spectrum") == [
            "figures/spectrum_edges.png",
            "figures/spectrum_mixer.png",
            "manifest.json",
            "tables/singular_values.csv",
            "tables/spectrum.csv",
            "tables/spectrum_outliers.csv",
        ]

    def test_as_json_of_some_layers_in_another_format(self, run, networks):
        arguments = ("--layers", "*.token.*", "--exclude", "*.fc2", "--format", "svg", "-o", "out", "--json")
        answer = run("spectrum", networks["mixer"], networks["rp-mixer"], *arguments)
        assert (answer.code, answer.stderr) == (0, "")
        rows = strict(answer.stdout)["spectrum"]
        layers = ["blocks.0.token.mlp.fc1", "blocks.1.token.mlp.fc1"]
        assert [(row["network"], row["layer"]) for row in rows] == [
            (network, layer) for network in ("mixer", "rp-mixer") for layer in layers
        ]
        assert "figures/spectrum_mixer.svg" in run.files("out")
        assert not any(name.endswith(".png") for name in run.files("out"))

    def test_products_shuffles_and_threads(self, run, networks):
        options = ("--product", "--shuffles", 2, "--jobs", 2, "-o", "out", "--json")
        answer = run("spectrum", networks["rp-mixer"], *options)
        assert (answer.code, answer.stderr) == (0, "")
        rows = strict(answer.stdout)["spectrum"]
        assert [(row["layer"], row["null"], row["shuffles"]) for row in rows] == [
            ("product.0", "free product", 2),
            ("product.1", "free product", 2),
        ]

    def test_over_training_and_from_the_start(self, run):
        assert run("train", "mixer", "--depth", 1, "--epochs", 2, "--keep-every", 1, "--limit", 64, "-q").code == 0
        names = ("mixer-epoch0", "mixer-epoch1", "mixer")
        files = [f"checkpoints/{name}.safetensors" for name in names]
        answer = run("spectrum", *files, "--over-training", "-o", "out")
        assert (answer.code, answer.stderr) == (0, "")
        assert "figures/spectrum_training.png" in run.files("out")
        answer = run("spectrum", files[0], files[2], "--init", files[0], "-o", "out", "--json")
        rows = strict(answer.stdout)["spectrum"]
        assert {row["s_max"] == 0 for row in rows if row["network"] == "mixer-epoch0"} == {True}
        assert {row["s_max"] > 0 for row in rows if row["network"] == "mixer"} == {True}
        inputs = manifest("out")["inputs"]
        assert [item["label"] for item in inputs] == ["mixer-epoch0", "mixer", "mixer-epoch0"]
        answer = run("spectrum", files[0], "--over-training")
        assert (answer.code, answer.error) == (2, "--over-training needs several checkpoints of one run")

    def test_sweep(self, run):
        options = ("--omega", "2^10", "--expansion", 2, "--width", 64, "--width", 128, "--seeds", 2)
        answer = run("spectrum", "--sweep", *options)
        assert (answer.code, answer.stderr) == (0, "")
        assert run.files("reports/spectrum") == [
            "figures/spectrum_sweep.png",
            "manifest.json",
            "tables/spectrum_sweep.csv",
        ]
        rows = strict(run("spectrum", "--sweep", *options, "--json").stdout)["spectrum_sweep"]
        assert [(row["width"], row["density"]) for row in rows] == [(64, 2**10 / 2 / 64**2), (128, 2**10 / 2 / 128**2)]
        assert run("spectrum", "--sweep", *options, "--dry-run", "-o", "dry").code == 0
        assert not Path("dry").exists()

    def test_checkpoints_or_a_sweep(self, run, networks):
        for arguments in ((), ("--sweep", networks["mixer"])):
            answer = run("spectrum", *arguments)
            assert (answer.code, answer.error) == (2, "give checkpoints, or --sweep without any")

    def test_an_unknown_architecture(self, run):
        torch.save({"fc.weight": torch.randn(9, 7), "fc.bias": torch.ones(9)}, "own.pt")
        answer = run("spectrum", "own.pt")
        assert answer.code == 0
        assert answer.stderr.splitlines() == [
            "mixanalysis: own: unknown architecture, its one matrix alone; skipped fc.bias (a vector)"
        ]
        assert "fc" in answer.stdout
        said = run("inspect", "own.pt").stdout
        assert "unknown: its matrices alone can be analysed" in said
        assert "fc.bias (a vector)" in said
        assert strict(run("inspect", "own.pt", "--json").stdout)[0]["omega"] is None

    def test_what_is_skipped_stands_by_its_reason(self, run):
        state = {"fc.weight": torch.randn(9, 7), "step": torch.tensor(3)}
        state |= {f"{index}.bias": torch.ones(9) for index in range(5)}
        torch.save(state, "own.pt")
        told = "; skipped step (int64, not a weight); 0.bias, 1.bias, 2.bias, and 2 more (a vector)"
        assert run("spectrum", "own.pt").stderr.strip().endswith(told)
        said = facts(run("inspect", "own.pt").stdout)["not used"]
        assert said == "step (int64, not a weight); 0.bias, 1.bias, 2.bias, 3.bias, 4.bias (a vector)"

    def test_a_layer_without_a_law_says_why(self, run):
        torch.save({"a.weight": torch.randn(9, 7), "b.weight": torch.zeros(8, 6)}, "own.pt")
        answer = run("spectrum", "own.pt")
        assert answer.stderr.splitlines()[-1] == ("mixanalysis: own b: no edge and no p-value, all weights are zero")
        assert run("spectrum", "own.pt", "--quiet").stderr == ""

    def test_columns_without_any_value_are_not_shown(self, run, networks):
        lines = run("spectrum", "--product", networks["mixer"]).stdout.splitlines()
        assert lines[1].split() == [
            "network",
            "layer",
            "m",
            "γ",
            "edge",
            "of",
            "null",
            "threshold",
            "s_max",
            "c_γ",
            "p-value",
            "q-value",
            "outliers",
        ]
        assert "–" not in "".join(lines)
        assert not any(line.startswith("No p-values") for line in lines)

    def test_places_of_outliers_are_those_of_hubs(self, run):
        flat = torch.randn(64, 48, generator=torch.Generator().manual_seed(0))
        signs = torch.tensor([1.0, -1.0, -1.0, 1.0])
        torch.save({"a.weight": flat + torch.outer(signs.repeat(16), signs.repeat(12))}, "own.pt")
        said = run("spectrum", "own.pt").stdout
        assert "Outliers" in said
        assert "degree" not in said

    def test_files_of_one_name_are_told_apart(self, run, networks):
        for folder in ("first", "second"):
            Path(folder).mkdir()
            Path(folder, "a.safetensors").write_bytes(networks["mlp"].read_bytes())
        answer = run("spectrum", "first/a.safetensors", "second/a.safetensors", "--json", "-o", "out")
        assert {row["network"] for row in strict(answer.stdout)["spectrum"]} == {"first/a", "second/a"}


class TestWidth:
    def test_the_widest_mixer(self, run):
        answer = run("width", "--omega", "2^19", "--expansion", 2)
        assert (answer.code, answer.stderr) == (0, "")
        values = next(line.split() for line in answer.stdout.splitlines() if line.strip().startswith("524,288"))
        assert values[:7] == ["524,288", "2", "2", "64", "64", "4096", "0.01562"]
        assert answer.stdout.splitlines()[-1] == "reports/width"
        assert "tables/width_optima.csv" in run.files("reports/width")

    @pytest.mark.parametrize("omega", ["2^19", "2**19", "524288", "5.24288e5"])
    def test_as_json(self, run, omega):
        answer = run("width", "--omega", omega, "--expansion", 2, "--json")
        (optimum,) = strict(answer.stdout)["width_optima"]
        assert optimum["width"] == pytest.approx(4096)
        assert optimum["density"] == pytest.approx(1 / 64)
        assert optimum["omega"] == 2**19

    def test_expansions_of_their_own(self, run):
        options = ("--expansion", 2, "--expansion-token", 0.5, "--json")
        (optimum,) = strict(run("width", "--omega", "1e6", *options).stdout)["width_optima"]
        assert (optimum["expansion_token"], optimum["expansion_channel"]) == (0.5, 2)
        assert 0.5 * optimum["tokens"] == pytest.approx(2 * optimum["channels"])

    def test_points_of_checkpoints(self, run, networks):
        answer = run("width", networks["mixer"], networks["mlp"], "--json", "-o", "out")
        found = strict(answer.stdout)
        assert [(row["network"], row["width"], row["omega"]) for row in found["width_points"]] == [
            ("mixer", 16, 128),
            ("mlp", 30, 1800),
        ]
        assert {row["omega"] for row in found["width_optima"]} == {128, 1800}
        said = run("width", networks["mixer"], "-o", "out").stdout
        assert "Checkpoints" in said


class TestTrain:
    def test_a_network_and_again(self, run):
        arguments = ("train", "mixer", *TINY)
        answer = run(*arguments)
        assert (answer.code, answer.stderr) == (0, "")
        assert answer.stdout.startswith("checkpoints/mixer.safetensors: mixer, ")
        assert run.files() == ["checkpoints/mixer.safetensors"]
        path = Path("checkpoints/mixer.safetensors")
        record = load(path).provenance.training
        assert (record["epochs"], record["images"], record["data"]) == (1, 64, "digits")
        assert f"test accuracy {record['test_accuracy']:.2%}" in answer.stdout
        before = path.stat().st_mtime_ns
        assert run(*arguments).stdout == answer.stdout
        assert path.stat().st_mtime_ns == before, "a finished run is kept"
        content = path.read_bytes()
        assert run(*arguments, "--no-resume").code == 0
        assert path.stat().st_mtime_ns != before
        assert path.read_bytes() == content, "the same run gives the same bytes"

    def test_sizes_and_json(self, run):
        sizes = ("--width", 20, "--density", 0.5, "--block", "fc", "--mask", "exact", "--mask-value", "one")
        answer = run(
            "train", "sw-mlp", *TINY, *sizes, "--optimizer", "sgd", "--seed", 3, "-o", "a.safetensors", "--json"
        )
        assert (answer.code, answer.stderr) == (0, "")
        found = strict(answer.stdout)
        config = found["config"]
        assert (config["size"], config["density"], config["hidden"]) == (20, 0.5, 0)
        assert (config["mask"], config["mask_value"]) == ("exact", "one")
        assert (found["training"]["optimizer"], found["training"]["seed"]) == ("sgd", 3)
        assert run.files() == ["a.safetensors"]

    def test_expansions_and_image_size(self, run):
        sizes = ("--expansion", 3, "--expansion-token", 1.5, "--image-size", 8, "--channels", 4, "--tokens", 2)
        answer = run("train", "rp-mixer", "--epochs", 0, "--depth", 1, *sizes, "--json")
        config = strict(answer.stdout)["config"]
        assert config["patches"] == {"height": 8, "width": 8, "channels": 1, "size": 4}
        assert (config["tokens"], config["channels"]) == (2, 4)
        assert (config["token_hidden"], config["channel_hidden"]) == (3, 12)


class TestReport:
    def test_of_two(self, run, networks):
        arguments = ("report", networks["mixer"], networks["sw-mlp"], "--limit", 64)
        answer = run(*arguments)
        assert (answer.code, answer.stderr) == (0, "")
        assert answer.stdout == "reports/report/report.pdf\nreports/report/report.html\n"
        files = run.files("reports/report")
        assert {"report.pdf", "report.html", "manifest.json", "tables/networks.csv", "figures/width.png"} <= set(files)
        said = manifest("reports/report")
        assert said["command"] == "report"
        assert said["data"]["images"] == 64
        assert sorted([*said["outputs"], "manifest.json"]) == files
        contents = {name: Path("reports/report", name).read_bytes() for name in files if name != "manifest.json"}
        answer = run(*arguments, "--json", "-o", "again")
        assert (answer.code, answer.stderr) == (0, "")
        assert strict(answer.stdout) == manifest("again")
        assert contents == {name: Path("again", name).read_bytes() for name in contents}

    def test_against_a_floor_for_slides(self, run, networks):
        arguments = ("report", networks["mixer"], "--floor", networks["sw-mlp"], "--limit", 32)
        answer = run(*arguments, "--style", "slides", "--format", "svg", "--dtype", "float64", "-o", "out")
        assert (answer.code, answer.stderr) == (0, "")
        (row,) = pd.read_csv("out/tables/cka_diagonal.csv").to_dict("records")
        assert (row["network_a"], row["network_b"], row["relation"]) == ("mixer", "sw-mlp", "floor")
        said = manifest("out")["parameters"]
        assert [said[name] for name in ("style", "format", "dtype", "floor")] == [
            "slides",
            "svg",
            "float64",
            [str(networks["sw-mlp"])],
        ]
        assert 'width="899.1pt"' in Path("out/figures/width.svg").read_text(encoding="utf-8")


DRY = {
    "demo": ((), "reports/demo: report.pdf, report.html, figures, tables, checkpoints, manifest.json"),
    "cka": (
        ("mixer", "mlp"),
        "reports/cka: tables/cka.csv, tables/cka_diagonal.csv, tables/cka_layers.csv, figures, manifest.json",
    ),
    "features": (("mixer",), "reports/features: a .features.safetensors file for each, manifest.json"),
    "spectrum": (
        ("mixer",),
        "reports/spectrum: tables/spectrum.csv, tables/singular_values.csv, figures, manifest.json",
    ),
    "width": (
        ("mixer",),
        "reports/width: tables/width_line.csv, tables/width_channels.csv, tables/width_optima.csv, "
        "tables/width_points.csv, figures, manifest.json",
    ),
    "convert": (("mixer", "--to", "timm", "-o", "b.pt"), "b.pt: the mixer of "),
    "expand": (("mlp", "-o", "b.safetensors"), "connections  8,160, which take "),
    "report": (("mixer", "mlp"), "reports/report: report.pdf, report.html, figures, tables, manifest.json"),
    "train": ((), "checkpoints/rp-mixer.safetensors: rp-mixer, m = 256, "),
    "reproduce": (("fig3",), "reports/reproduce: README.md and the folders fig3; 0 runs are finished, "),
}
"""Checkpoints, and the last line of what would be done."""

EXACT = {"convert", "expand"}
"""Commands whose dry run knows exactly what would be written."""


@pytest.mark.parametrize(("command", "checkpoints", "last"), [(name, *rest) for name, rest in DRY.items()], ids=DRY)
def test_a_dry_run_writes_nothing(run, networks, command, checkpoints, last):
    arguments = ["rp-mixer"] if command == "train" else [networks.get(name, name) for name in checkpoints]
    answer = run(command, *arguments, "--dry-run")
    assert (answer.code, answer.stderr) == (0, "")
    *before, final = answer.stdout.splitlines()
    assert final.startswith(last)
    assert [line for line in before if line.startswith("estimate: about ")] == ([] if command in EXACT else before[-1:])
    assert list(run.folder.iterdir()) == []


@pytest.mark.parametrize("command", sorted(set(DRY) - EXACT - {"demo"}))
def test_a_dry_run_as_json(run, networks, command):
    checkpoints, last = DRY[command]
    arguments = ["rp-mixer"] if command == "train" else [networks.get(name, name) for name in checkpoints]
    found = strict(run(command, *arguments, "--dry-run", "--json").stdout)
    assert found["outputs"].startswith(last)
    named = {"rp-mixer"} if command == "train" else set() if command in ("width", "reproduce") else set(checkpoints)
    assert {row["network"] for row in found["plan"]} - {""} == named
    assert list(found["plan"][0]) == [column.name for column in PLAN.columns]
    assert found["estimate"]["operations"] == sum(row["operations"] for row in found["plan"])


def test_every_command_that_writes_has_a_dry_run():
    assert set(DRY) == set(NAMES) - {"inspect", "diff", "rerun", "doctor", "schema"}


def test_a_dry_run_of_the_demo_names_every_network(run):
    names = [
        line.split()[0] for line in run("demo", "--dry-run", "-o", "out").stdout.splitlines() if " weights " in line
    ]
    assert names == ["mixer", "mixer-seed1", "rp-mixer", "sw-mlp", "mlp", "mixer-untrained"]


def test_a_long_plan_shows_what_costs_most(run):
    said = run("reproduce", "all", "--dry-run", "--seeds", 1).stdout
    whole = strict(run("reproduce", "all", "--dry-run", "--seeds", 1, "--json").stdout)["plan"]
    operations = sorted((row["operations"] for row in whole), reverse=True)
    assert said.count(" all layers ") == terminal.PLANNED < operations.index(min(operations))
    assert f"and {len(whole) - terminal.PLANNED} that take less; --json lists all" in said


def test_what_training_would_do_is_told_in_words(run):
    last = run("train", "mixer", "--dry-run", "--epochs", 3, "--limit", 64).stdout.splitlines()[-1]
    assert last.startswith(
        "checkpoints/mixer.safetensors: mixer, m = 256, 64 training images, epochs 3, optimizer adamw, "
    )


@pytest.mark.parametrize("name", NAMES)
def test_help_of_every_command(run, name):
    answer = run(name, "--help")
    assert (answer.code, answer.stderr) == (0, "")
    assert f"mixanalysis {name} " in answer.stdout
    assert "--config" in answer.stdout
    assert run(name, "-h") == answer


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("name", [None, *NAMES], ids=str)
def test_help_is_whole_at_any_width(name, columns):
    arguments = ["--help"] if name is None else [name, "--help"]
    said = CliRunner().invoke(app, arguments, terminal_width=columns).stdout
    assert "…" not in said
    # choices of an option are one word, which may be longer
    assert max(len(line) for line in said.splitlines() if "|" not in line) <= columns
    group = get_command(app)
    told = solid(said)  # words with a hyphen may go on in the next line
    if name is None:
        assert all(solid(each + command.help) in told for each, command in group.commands.items())
    else:
        options = [each for each in group.commands[name].params if each.param_type_name == "option"]
        assert all(solid(each.help) in told for each in options)


def solid(text: str) -> str:
    """Without any blanks."""
    return "".join(text.split())


def test_help_of_the_application(run):
    answer = run("--help")
    assert (answer.code, answer.stderr) == (0, "")
    assert all(f" {name} " in answer.stdout for name in NAMES)
    without = run()
    assert (without.code, without.stdout.strip(), without.stderr) == (2, answer.stdout.strip(), "")
