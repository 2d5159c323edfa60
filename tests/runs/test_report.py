"""The whole report of two small networks: files, tables, manifest, pages, and that it comes out the same."""

from __future__ import annotations

import csv
import hashlib
import html
import json
import math
import re
from urllib.parse import unquote

import pandas as pd
import pypdfium2
import pytest
import torch
from matplotlib.image import imread

import mixanalysis as mx
from cases import module_of
from mixanalysis.checkpoints import save_checkpoint
from mixanalysis.datasets import Dataset
from mixanalysis.errors import CheckpointError, NothingToAnalyseError, UsageError
from mixanalysis.families.loading import load
from mixanalysis.families.sizes import Sizes, configure
from mixanalysis.network import Patches
from mixanalysis.network.tables import layer_table
from mixanalysis.report.similarity.findings import ranking
from mixanalysis.report.spectra.section import drawings
from mixanalysis.report.style import SHEETS, TEXT
from mixanalysis.results import plain, to_json
from mixanalysis.runs import Invocation
from mixanalysis.runs import report as writer
from mixanalysis.runs.diff import compare, read_table
from mixanalysis.runs.inspect import describe, facts
from mixanalysis.runs.manifest import Manifest
from mixanalysis.runs.networks import network_table
from mixanalysis.runs.schemas import SCHEMAS
from mixanalysis.runs.spectra import spectrum_report
from mixanalysis.runs.width import width_report
from mixanalysis.similarity import FeatureExtractor
from mixanalysis.similarity.schemas import CKA_DIAGONAL

PATCHES = Patches(8, 8, 1, 4)
CONFIGS = {
    "mixer": configure("mixer", PATCHES, 10, Sizes(channels=4, depth=1)),
    "sw-mlp": configure("sw-mlp", PATCHES, 10, Sizes(channels=4, depth=2, density=0.4)),
}
TABLES = {
    "networks",
    "layers",
    "cka",
    "cka_diagonal",
    "cka_layers",
    "spectrum",
    "spectrum_outliers",
    "singular_values",
    "width_points",
    "width_line",
    "width_channels",
}
FIGURES = {
    "cka_means",
    "cka_profile",
    "cka_mixer_sw-mlp",
    "spectrum_edges",
    "spectrum_mixer",
    "spectrum_sw-mlp",
    "width",
    "width_channels",
}
A4_POINTS = (595.28, 841.89)


def checkpoint(name, folder, seed=0, epochs=1, label=None):
    path = folder / f"{label or name}.safetensors"
    module = module_of(CONFIGS[name], seed=seed)
    save_checkpoint(path, CONFIGS[name], module.state_dict(), {"seed": seed, "epochs": epochs})
    return path


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    return [load(checkpoint(name, folder)) for name in CONFIGS]


@pytest.fixture(scope="module")
def report(networks, tmp_path_factory):
    """The folder of a report on 64 images."""
    out = tmp_path_factory.mktemp("report") / "out"
    assert mx.write_report(networks, "digits", out, limit=64, batch_size=16) == out / "report.pdf"
    return out


def files_of(out):
    return {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}


def manifest_of(out):
    return json.loads((out / "manifest.json").read_text(encoding="utf-8"))


def table_of(out, name):
    with (out / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def says(text, value):
    """Whether a cell of a CSV file is this value, to the last digit."""
    value = plain(value)
    if value is None:
        return text == ""
    return float(text) == value if isinstance(value, float) else text == str(value)


def pages_of(path):
    document = pypdfium2.PdfDocument(path)
    try:
        for page in document:
            text = page.get_textpage()
            yield page.get_size(), page.render(scale=0.5).to_numpy().copy(), text.get_text_range()
            text.close()
            page.close()
    finally:
        document.close()


class TestFiles:
    def test_all_are_there(self, report):
        tables, drawings = {f"tables/{name}.csv" for name in TABLES}, {f"figures/{name}.png" for name in FIGURES}
        assert files_of(report) == tables | drawings | {"report.pdf", "report.html", "manifest.json"}

    def test_manifest_lists_them_with_their_content(self, report, networks):
        found = manifest_of(report)
        assert set(found["outputs"]) == files_of(report) - {"manifest.json"}
        for name, digest in found["outputs"].items():
            assert hashlib.sha256((report / name).read_bytes()).hexdigest() == digest
        assert [item["label"] for item in found["inputs"]] == ["mixer", "sw-mlp"]
        for item, network in zip(found["inputs"], networks, strict=True):
            assert item["sha256"] == hashlib.sha256(network.provenance.path.read_bytes()).hexdigest()
        dataset = mx.open_dataset("digits").first(64)
        assert (found["data"]["images"], found["data"]["fingerprint"]) == (64, dataset.fingerprint)
        assert found["parameters"] == {
            "position": "before-skip",
            "batch_size": 16,
            "limit": 64,
            "controls": [],
            "device": "cpu",
            "dtype": None,
            "seed": 0,
            "format": "png",
            "style": "paper",
        }

    def test_a_second_run_gives_the_same_bytes(self, report, networks, tmp_path):
        out = tmp_path / "again"
        mx.write_report(networks, "digits", out, limit=64, batch_size=16)
        assert files_of(out) == files_of(report)
        for name in files_of(out) - {"manifest.json"}:
            assert (out / name).read_bytes() == (report / name).read_bytes(), name
        first, second = manifest_of(report), manifest_of(out)
        assert {name for name in first if first[name] != second[name]} <= {"started", "seconds"}

    def test_figures_are_not_blank(self, report):
        for path in (report / "figures").iterdir():
            image = imread(path)
            assert image.std() > 0.02, path.name
            assert min(image.shape[:2]) > 200


class TestPage:
    def test_links_lead_to_files_of_the_folder(self, report):
        text = (report / "report.html").read_text(encoding="utf-8")
        links = {unquote(link) for link in re.findall(r'href="([^"#:]+)"', text)}
        assert links == files_of(report) - {"report.html"}
        assert str(report) not in text

    def test_its_findings_are_the_pdf_s(self, report):
        page = html.unescape((report / "report.html").read_text(encoding="utf-8"))
        first = "".join(next(iter(pages_of(report / "report.pdf")))[2].split())
        titles = re.findall(r'<h3 id="finding-\w+">(.*?)</h3>', page)
        assert len(titles) == 3
        for title in titles:
            assert "".join(title.split()) in first, title

    def test_means_are_those_of_the_table(self, report):
        text = (report / "report.html").read_text(encoding="utf-8")
        (row,) = table_of(report, "cka_diagonal")
        data = json.loads(text.split('<script type="application/json" id="data">')[1].split("</script>")[0])
        (mean,) = data["means"]
        assert (mean["a"], mean["b"]) == (row["network_a"], row["network_b"])
        assert mean["value"] == pytest.approx(float(row["mean"]), rel=1e-3)
        assert set(data["layers"]) == {"mixer", "sw-mlp"}
        assert len(data["layers"]["mixer"]) == sum(row["network"] == "mixer" for row in table_of(report, "spectrum"))


class TestTables:
    @pytest.mark.parametrize("name", sorted(TABLES))
    def test_columns_are_those_of_the_schema(self, name, report):
        rows = table_of(report, name)
        assert rows or name == "spectrum_outliers"
        assert all(list(row) == [column.name for column in SCHEMAS[name].columns] for row in rows)

    def test_numbers_are_those_of_the_analyses(self, report, networks):
        similarity = mx.cka(*networks, limit=64, batch_size=16)
        spectra = mx.spectrum(*networks)
        frames = {
            "networks": network_table(networks, mx.open_dataset("digits").first(64)),
            "layers": layer_table(networks),
            "cka": similarity.cells,
            "cka_diagonal": similarity.diagonal,
            "spectrum": spectra.summary,
            "singular_values": spectra.values,
            "width_points": mx.width.points(networks),
        }
        for name, frame in frames.items():
            for row, wanted in zip(table_of(report, name), frame.to_dict(orient="records"), strict=True):
                assert [column for column in row if not says(row[column], wanted[column])] == [], name

    def test_lines_are_those_of_the_networks(self, report, networks):
        omegas = {float(row["omega"]) for row in table_of(report, "width_line")}
        assert omegas == {network.omega for network in networks}
        assert {float(row["omega"]) for row in table_of(report, "width_channels")} == omegas

    def test_accuracy_is_that_on_the_images(self, report, networks):
        data = mx.open_dataset("digits").first(64).at((1, 8, 8))
        for row, network in zip(table_of(report, "networks"), networks, strict=True):
            right = network.module()(data.images).argmax(dim=1) == data.labels
            assert float(row["test_accuracy"]) == int(right.sum()) / 64
            assert int(row["parameters"]) == network.parameters

    def test_accuracy_needs_labels_and_their_classes(self, networks):
        unlabelled = mx.open_dataset("noise", shape=(1, 8, 8)).first(8)
        assert network_table(networks, unlabelled)["test_accuracy"].isna().all()
        assert network_table(networks)["test_accuracy"].isna().all()
        eleven = Dataset("more", "test", torch.zeros(8, 1, 8, 8), torch.arange(8), 11)
        assert network_table(networks, eleven)["test_accuracy"].isna().all()


class TestPages:
    def test_every_page_is_a4_and_not_blank(self, report):
        found = list(pages_of(report / "report.pdf"))
        assert len(found) >= 5
        for number, (size, pixels, text) in enumerate(found, start=1):
            assert size == pytest.approx(A4_POINTS, abs=0.5)
            assert pixels.std() > 5
            assert f"{number} / {len(found)}" in text

    def test_nothing_is_drawn_into_the_margins(self, report):
        for _, pixels, _ in pages_of(report / "report.pdf"):
            # 0.3 inches at 36 pixels an inch; the page's number stands in the middle of the foot
            assert (pixels[:, :10] == 255).all()
            assert (pixels[:, -10:] == 255).all()
            assert (pixels[:10] == 255).all()

    def test_topics_in_order(self, report):
        texts = [text for _, _, text in pages_of(report / "report.pdf")]
        assert texts[0].startswith("Networks seen as wide and sparse MLPs")
        assert texts[-1].startswith("Provenance")
        titles = [text.splitlines()[0].strip().removesuffix(", continued") for text in texts]
        order = ["Similarity", "Spectra", "Effective width"]
        assert sorted(set(titles[1:-1]), key=order.index) == order
        assert titles[1:-1] == sorted(titles[1:-1], key=order.index)

    def test_first_page_tells_the_findings(self, report):
        text = next(iter(pages_of(report / "report.pdf")))[2]
        (row, _) = table_of(report, "networks")
        mean = float(table_of(report, "cka_diagonal")[0]["mean"])
        for part in ("sw-mlp", "test accuracy", f"{float(row['test_accuracy']):.2%}", f"{mean:.3f}", "64 images"):
            assert part in text, part

    def test_last_page_tells_where_it_came_from(self, report):
        *_, (_, _, text) = pages_of(report / "report.pdf")
        text = "".join(text.split())
        found = manifest_of(report)
        for item in (*found["inputs"],):
            assert item["sha256"] in text
        assert found["data"]["fingerprint"] in text
        assert f"torch{found['versions']['torch']}" in text

    def test_figures_and_tables_are_numbered(self, report):
        text = "\n".join(text for _, _, text in pages_of(report / "report.pdf"))
        for kind in ("Figure", "Table"):
            numbers = [int(number) for number in re.findall(rf"^{kind} (\d+)\.", text, re.MULTILINE)]
            assert numbers == list(range(1, len(numbers) + 1))
            assert len(numbers) >= 4

    def test_every_layer_is_in_a_table(self, report):
        text = " ".join(" ".join(text.split()) for _, _, text in pages_of(report / "report.pdf"))
        for row in table_of(report, "spectrum"):
            layer = row["layer"].removeprefix("blocks.").replace(".mlp.", ".")
            cells = (
                row["network"],
                layer,
                row["width"],
                f"{float(row['density']):.4g}",
                f"{float(row['variance']):.4g}",
            )
            numbers = (f"{float(row['null_edge']):.4f}", f"{float(row['s_max']):.4f}")
            assert " ".join((*cells, *numbers)) in text

    def test_pdf_holds_no_dates(self, report):
        content = (report / "report.pdf").read_bytes()
        assert b"CreationDate" not in content
        assert b"ModDate" not in content


class TestRuns:
    def test_paths_and_one_network_alone(self, tmp_path):
        path = checkpoint("mixer", tmp_path)
        stages = []

        def stage(name):
            stages.append(name)
            return lambda done, total: stages.append((done, total))

        data = mx.open_dataset("digits").first(24)
        written = mx.write_report([path], data, tmp_path / "out", position="after-skip", batch_size=8, stage=stage)
        assert written.exists()
        row = table_of(tmp_path / "out", "cka_diagonal")[0]
        assert (row["relation"], row["features"]) == ("itself", "block outputs after skip, flattened")
        assert [name for name in stages if isinstance(name, str)] == ["CKA", "spectra", "figures"]
        for name in ("CKA", "spectra", "figures"):
            first = stages.index(name) + 1
            total = stages[first][1]
            assert stages[first : first + total] == [(done + 1, total) for done in range(total)]
        assert not (tmp_path / "out" / "figures" / "cka_profile.png").exists()

    def test_what_similarities_are_measured_with(self, networks, tmp_path):
        options = {"limit": 24, "batch_size": 8, "dtype": "float64", "controls": ["", "floor"], "seed": 3}
        mx.write_report(networks, "noise", tmp_path / "out", **options, style="slides")
        (row,) = table_of(tmp_path / "out", "cka_diagonal")
        data = mx.open_dataset("noise", shape=networks[0].config.input_shape, seed=3).first(24)
        double = [FeatureExtractor.of(network, dtype=torch.float64) for network in networks]
        assert row["relation"] == "floor"
        assert float(row["mean"]) == mx.cka(*double, data=data, batch_size=8).diagonal["mean"].item()
        assert "floor" in "".join(text for _, _, text in pages_of(tmp_path / "out" / "report.pdf"))
        width = imread(tmp_path / "out" / "figures" / "width.png").shape[1]
        assert width == round(TEXT * SHEETS["slides"].enlarged * SHEETS["slides"].dpi)
        with pytest.raises(UsageError, match="--device nowhere: not available here"):
            mx.write_report(networks, "digits", tmp_path / "other", device="nowhere")

    def test_finished_batches_are_kept_until_all_is_written(self, networks, report, tmp_path, monkeypatch):
        out = tmp_path / "out"
        options = {"limit": 64, "batch_size": 16, "resume": True}
        monkeypatch.setattr("mixanalysis.similarity.partial_results.SECONDS", 0.0)
        with monkeypatch.context() as patched:
            patched.setattr(writer, "write_pdf", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                mx.write_report(networks, "digits", out, **options)
        assert [path.name for path in tmp_path.iterdir()] == [".out.resume"]
        ran = []
        taps = FeatureExtractor.of(networks[0]).module.register_forward_hook(lambda *_: ran.append(1))
        mx.write_report(networks, "digits", out, **options)
        taps.remove()
        # once for the accuracy, and not for the four batches
        assert len(ran) == 1
        for name in ("cka", "cka_diagonal"):
            assert (out / f"tables/{name}.csv").read_bytes() == (report / f"tables/{name}.csv").read_bytes()
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    @pytest.mark.parametrize("broken", ["network_table", "write_pdf"])
    def test_a_failure_leaves_no_folder_and_keeps_the_old_one(self, broken, networks, tmp_path, monkeypatch):
        kept = tmp_path / "kept"
        with monkeypatch.context() as patched:
            patched.setattr(writer, "write_pdf", lambda path, _pages: path.write_text("old"))
            patched.setattr("mixanalysis.runs.folder.save_figure", lambda _f, path, _k: path.write_text("old"))
            mx.write_report(networks, "digits", kept, limit=16, batch_size=8)
            before = {name: (kept / name).read_bytes() for name in files_of(kept)}

            def fail(*_args):
                raise ZeroDivisionError

            patched.setattr(writer, broken, fail)
            for out in (kept, tmp_path / "new"):
                with pytest.raises(ZeroDivisionError):
                    mx.write_report(networks, "digits", out, limit=16, batch_size=8)
        assert {name: (kept / name).read_bytes() for name in files_of(kept)} == before
        assert list(tmp_path.iterdir()) == [kept]

    def test_names_that_others_take_for_commands(self, tmp_path):
        labels = ["=HYPERLINK(1)", "$$", "_best", "-rf", "@a"]
        paths = [checkpoint("mixer", tmp_path, seed, label=label) for seed, label in enumerate(labels)]
        mx.write_report(paths, "digits", tmp_path / "out", limit=16, batch_size=8)
        names = [row["network"] for row in table_of(tmp_path / "out", "networks")]
        assert names == ["'=HYPERLINK(1)", "$$", "_best", "'-rf", "'@a"]
        manifest = Manifest.read(tmp_path / "out")
        assert read_table(manifest, "tables/networks.csv")["network"].tolist() == labels
        assert compare(manifest, manifest).empty

    def test_no_network(self, tmp_path):
        with pytest.raises(UsageError, match=r"a report needs at least one checkpoint"):
            mx.write_report([], "digits", tmp_path / "out")

    def test_files_of_others(self, networks, tmp_path):
        (tmp_path / "mine.txt").write_text("mine")
        with pytest.raises(UsageError, match=r"holds files, but no manifest of an earlier run"):
            mx.write_report(networks, "digits", tmp_path, limit=16)
        assert files_of(tmp_path) == {"mine.txt"}

    def test_a_missing_checkpoint(self, tmp_path):
        with pytest.raises(CheckpointError, match=r"none.safetensors"):
            mx.write_report([tmp_path / "none.safetensors"], "digits", tmp_path / "out")
        assert list(tmp_path.iterdir()) == []


class TestCommands:
    def test_spectrum(self, networks, tmp_path):
        result = spectrum_report(
            networks, tmp_path / "out", Invocation("spectrum"), variance="declared", exclude=["*fc2"]
        )
        assert files_of(tmp_path / "out") == {
            "manifest.json",
            "tables/spectrum.csv",
            "tables/spectrum_outliers.csv",
            "tables/singular_values.csv",
            "figures/spectrum_edges.png",
            "figures/spectrum_mixer.png",
            "figures/spectrum_sw-mlp.png",
        }
        assert result.summary["variance_source"].unique().tolist() == ["declared"]
        assert len(result.summary) == 4

    def test_no_such_layer(self, networks, tmp_path):
        with pytest.raises(NothingToAnalyseError, match=r"no layer left to analyse for nothing; layers are called"):
            spectrum_report(networks, tmp_path / "out", Invocation("spectrum"), layers=["nothing"])
        assert list(tmp_path.iterdir()) == []

    def test_width(self, networks, tmp_path):
        result = width_report(networks[:1], [1e6, 1e8], (0.5, 4.0), tmp_path / "out", Invocation("width"))
        assert files_of(tmp_path / "out") == {
            "manifest.json",
            "tables/width_line.csv",
            "tables/width_channels.csv",
            "tables/width_optima.csv",
            "tables/width_points.csv",
            "figures/width.png",
            "figures/width_channels.png",
        }
        own = networks[0].omega
        assert result.optima["omega"].tolist() == [1e6, 1e8, own]
        assert result.optima["expansion_token"].tolist() == [0.5, 0.5, networks[0].expansion]
        assert result.lines["expansion"].unique().tolist() == [2.25, networks[0].expansion]
        assert result.points["network"].tolist() == ["mixer"]
        assert set(json.loads(to_json(result.to_json()))) == {
            "width_optima",
            "width_points",
            "width_line",
            "width_channels",
        }

    def test_width_without_networks(self, tmp_path):
        result = width_report([], [1e6], (1.0, 1.0), tmp_path / "out", Invocation("width"))
        assert result.points.empty
        assert table_of(tmp_path / "out", "width_points") == []

    def test_width_of_nothing(self, tmp_path):
        with pytest.raises(UsageError, match=r"give --omega, or checkpoints whose own Omega to use"):
            width_report([], [], (1.0, 1.0), tmp_path / "out", Invocation("width"))
        with pytest.raises(UsageError, match=r"Omega must be a positive number, got -1"):
            width_report([], [-1.0], (1.0, 1.0), tmp_path / "out", Invocation("width"))
        assert list(tmp_path.iterdir()) == []


class TestDescription:
    def test_facts_are_json(self, networks):
        for network in networks:
            found = json.loads(to_json(describe(network)))
            assert (found["label"], found["family"]) == (network.label, network.family)
            assert (found["width"], found["omega"], found["blocks"]) == (network.width, network.omega, 2)
            assert found["unused"] == []
            assert [layer["layer"] for layer in found["layers"]] == [layer.name for layer in network.layers]
            assert found["path"] == str(network.provenance.path)

    def test_facts_for_reading(self, networks):
        lines = dict(facts(networks[0]))
        assert lines["effective width"] == "m = 16"
        assert lines["density"] == "p = 0.25"
        assert lines["expansion"] == "γ = 2 (token 2, channel 2)"
        assert lines["connections"] == "Ω = 128 per layer"
        assert lines["blocks"] == "0.token, 0.channel"
        assert lines["training"] == "epochs 1, seed 0"
        assert lines["not used"] == "nothing: every tensor is used"
        assert lines["config"].startswith("patches (height 8, width 8, channels 1, size 4), classes 10, tokens 4,")


class TestDrawings:
    @staticmethod
    def diagonal(*rows):
        names = [column.name for column in CKA_DIAGONAL.columns]
        return CKA_DIAGONAL.frame(
            dict.fromkeys(names, "") | {"network_b": b, "mean": (low + high) / 2, "low": low, "high": high}
            for b, low, high in rows
        )

    def test_ranking_tells_apart_what_the_intervals_do(self):
        rows = self.diagonal(("seed", 0.8, 0.9), ("rp", 0.5, 0.6), ("dense", 0.4, 0.53), ("floor", 0.1, 0.2))
        assert ranking("mixer", rows) == (
            "In order of similarity to mixer: seed > rp ≈ dense > floor (≈ where the intervals of neighbours overlap)."
        )

    def test_ranking_without_intervals_tells_nothing_apart(self):
        rows = self.diagonal(("a", math.nan, math.nan), ("b", math.nan, math.nan))
        assert ranking("mixer", rows).startswith("In order of similarity to mixer: a ≈ b (")

    def test_many_layers_go_on_several_figures(self):
        config = configure("mixer", PATCHES, 10, Sizes(channels=4, depth=4))
        module = module_of(config)
        rows = 16
        summary = pd.DataFrame(
            {"network": ["net"] * rows, "layer": [f"l{i}" for i in range(rows)], "variance_source": "measured"}
        )
        assert sum(1 for name, _ in module.named_parameters() if "mlp" in name and name.endswith("weight")) == rows
        drawn = drawings(mx.spectra.SpectrumResult(summary, pd.DataFrame(), pd.DataFrame(), {}))
        assert [drawing.name for drawing in drawn] == ["spectrum_edges", "spectrum_net_1", "spectrum_net_2"]
        assert [len(drawing.arguments[0]) for drawing in drawn[1:]] == [12, 4]
