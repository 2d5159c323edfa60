"""The documentation: the tutorial runs as it stands, pages name every name, and generated tables can be made."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import generated
import pytest
from typer.testing import CliRunner

import mixanalysis as mx
import pages
from mixanalysis import spectra
from mixanalysis.checkpoints import containers, dcp
from mixanalysis.families import FAMILIES, LAYOUTS
from mixanalysis.runs.schemas import SCHEMAS
from mixanalysis.similarity.estimators.estimator import Estimator
from mixanalysis.similarity.estimators.measures import MEASURES
from mixanalysis.spectra import nulls
from mixanalysis_cli.app import app

DOCS = pages.ROOT / "docs"
PAGES = {page.name: page for page in sorted(DOCS.glob("*.md"))}
NOT_PLACES = {"changelog.md", "contributing.md"}
"""Pages that include a file whose links are seen from elsewhere."""


def test_the_tutorial_runs_in_order(tmp_path, monkeypatch):
    shutil.copytree(pages.ROOT / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    blocks = pages.blocks(PAGES["tutorial.md"])
    modules = [block for block in blocks if block.language == "python" and "class OwnMixer" in block.text]
    (module,) = modules
    (tmp_path / "own.py").write_text(module.text)
    names: dict[str, object] = {"nn": __import__("torch").nn}
    printed, ran = "", 0
    for block in blocks:
        if block.language == "bash":
            assert block.text.startswith("mixanalysis ")
            result = CliRunner().invoke(app, shlex.split(block.text)[1:])
            assert result.exit_code == 0, result.output
            printed, ran = result.stdout, ran + 1
        elif block.language == "text":
            assert not pages.unsaid(block.text, printed)
        elif block is not module:
            exec(block.text, names)
    assert ran == 8
    assert names["result"].matrix.shape == (4, 4)
    assert names["beside"].matrix.shape == (4, 6)
    assert set(names["result"].cells["status"]) == {"ok"}
    outliers = mx.spectrum(mx.load("mine.safetensors")).summary["outliers"]
    assert int((outliers > 0).sum()) == 1  # the page says so


@pytest.mark.parametrize("page", [name for name in PAGES if name not in NOT_PLACES])
def test_links_and_pictures_lead_somewhere(page):
    assert [path for path in pages.links(PAGES[page]) if not path.exists()] == []


def test_every_page_is_in_the_table_of_contents():
    (toc,) = re.findall(r"```\{toctree\}\n:hidden:\n\n(.*?)```", PAGES["index.md"].read_text(), re.DOTALL)
    assert sorted(f"{name}.md" for name in toc.split()) == sorted(set(PAGES) - {"index.md"})


def test_every_public_name_is_documented():
    text = PAGES["api.md"].read_text()
    whole = {"plot", "spectra", "width"}  # each of its names, or the module as such
    wanted = [name for name in mx.__all__ if name not in whole | {"__version__"}]
    wanted += [name for name in spectra.__all__ if name not in mx.__all__]
    modules = re.findall(r"^\.\. automodule:: (\S+)\n   :members:", text, re.MULTILINE)
    named = {path.rpartition(".")[2] for path in re.findall(r"^\.\. auto\w+:: (\S+)$", text, re.MULTILINE)}
    undocumented = [name for name in wanted if name not in named]
    assert [name for name in undocumented if getattr(mx, name).__module__ not in modules] == []
    assert "mixanalysis.width" in modules


def test_every_figure_of_the_example_is_in_the_gallery():
    shown = set(re.findall(r"figures/(\w+)[-_\w]*\.png", PAGES["gallery.md"].read_text()))
    stems = {path.stem.partition("_")[0] for path in (pages.ROOT / "reports/example/figures").glob("*.png")}
    assert {name.partition("_")[0] for name in shown} == stems


@pytest.mark.parametrize("name", generated.TABLES)
def test_table_made_from_the_code(name):
    text = generated.TABLES[name]()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) > 5
    assert all(re.match(r"\| .* \|$", row) for row in rows)


def test_tables_have_what_they_should():
    assert [name for name in LAYOUTS if f"| `{name}` |" not in generated.layouts()] == []
    sought = [name for layout in LAYOUTS.values() for name in layout.sought]
    assert [name for name in sought if name not in generated.layouts()] == []
    assert [name for name in FAMILIES if f"`{name}`" not in generated.families()] == []
    columns = [column for schema in SCHEMAS.values() for column in schema.columns]
    assert [column.name for column in columns if f"| `{column.name}` |" not in generated.schemas()] == []
    commands = [command.name for command in app.registered_commands]
    assert [name for name in commands if f"## mixanalysis {name}\n" not in generated.commands()] == []
    assert "| `--data` | Images: " in generated.commands()


def test_pages_ask_for_tables_that_exist():
    asked = {name for page in PAGES.values() for name in re.findall(r"<!-- table: ([\w-]+) -->", page.read_text())}
    assert asked == set(generated.TABLES) - {"layouts_in_short"}


@pytest.mark.parametrize("module", [containers, dcp], ids=["files", "folders"])
def test_every_container_is_on_the_page_of_formats(module):
    formats = re.findall(r'Container\("([^"]+)"', Path(module.__file__).read_text(encoding="utf-8"))
    assert formats
    assert [name for name in formats if f"| `{name}` |" not in PAGES["formats.md"].read_text()] == []


@pytest.mark.parametrize("name", ["minibatch", "minibatch-biased", "full", "full-biased"])
def test_estimators_are_named_as_they_are(name):
    spelled = Estimator.of(name).name.removeprefix("cka/kernel=linear/")
    assert re.search(rf"^\| `{name}`[^|]*\| `{spelled}` \|", PAGES["estimators.md"].read_text(), re.MULTILINE)


def test_laws_are_named_as_they_are():
    source = "".join(path.read_text(encoding="utf-8") for path in Path(nulls.__file__).parent.glob("*.py"))
    names = {name.strip(" {}") for name in re.findall(r'(?:name = |name=f|Null\()"(?:\{null\.name\})?([^"]+)"', source)}
    assert len(names) == 8
    assert [name for name in names if f"`{name}`" not in PAGES["estimators.md"].read_text()] == []


@pytest.mark.parametrize("name", MEASURES)
def test_companions_are_named_as_they_are(name):
    assert f"| `{name}` | `{MEASURES[name].identifier}` |" in PAGES["estimators.md"].read_text()


def test_citation_file():
    text = (pages.ROOT / "CITATION.cff").read_text()
    project = tomllib.loads((pages.ROOT / "pyproject.toml").read_text())["project"]
    top = dict(re.findall(r"^([\w-]+):[ ]?(.*)$", text, re.MULTILINE))
    assert set(top) >= {
        "cff-version",
        "message",
        "title",
        "authors",
        "type",
        "version",
        "license",
        "preferred-citation",
    }
    assert (top["cff-version"], top["type"], top["title"]) == ("1.2.0", "software", project["name"])
    assert (top["version"], top["license"]) == (mx.__version__, project["license"])
    (paper,) = re.findall(r"^preferred-citation:\n((?:  .*\n)+)", text, re.MULTILINE)
    assert re.search(r"^  type: conference-paper$", paper, re.MULTILINE)
    assert "arXiv:2306.01470" in paper
    assert re.findall(r"family-names: (\w+)", paper) == ["Hayase", "Karakida"]
    assert "\t" not in text
    assert all(re.match(r" *(- )?[\w-]+:( .+)?$|  *- .+$", line) for line in text.splitlines() if line)


def test_changelog_names_every_command_and_version():
    text = (pages.ROOT / "CHANGELOG.md").read_text()
    assert [command.name for command in app.registered_commands if f"`{command.name}`" not in text] == []
    headings = re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert set(re.findall(r"^### (\w+)$", text, re.MULTILINE)) <= {
        "Added", "Changed", "Deprecated", "Removed", "Fixed", "Security",
    }  # fmt: skip


def test_readme_tables_are_made_by_a_script(tmp_path):
    copy = tmp_path / "clone"
    for part in ("docs", "README.md"):
        source = pages.ROOT / part
        copy.mkdir(exist_ok=True)
        shutil.copytree(source, copy / part) if source.is_dir() else shutil.copy(source, copy / part)
    readme = copy / "README.md"
    readme.write_text(re.sub(r"\| `timm-mixer` .*\n", "", readme.read_text()))
    subprocess.run([sys.executable, copy / "docs/generated.py"], check=True)
    assert readme.read_text() == (pages.ROOT / "README.md").read_text()
