"""The rooms import in one direction only, and importing costs nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import mixanalysis
import mixanalysis_cli
from mixanalysis.families import DECLARATIONS

PACKAGE = Path(mixanalysis.__file__).parent
COMMANDS = Path(mixanalysis_cli.__file__).parent

FLOORS = (
    ("errors", "_version"),
    ("files", "table_files", "selection", "representation", "results", "visible"),
    ("distributed",),
    ("operators",),
    ("network",),
    ("checkpoints",),
    ("families",),
    ("datasets",),
    ("features",),
    ("similarity", "spectra", "width"),
    ("training",),
    ("schemas",),
    ("report",),
    ("runs",),
    ("papers",),
    ("mixanalysis_cli",),
)
"""From the bottom up; a room imports from lower floors alone (and from itself)."""

FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}


def imported(path: Path) -> set[str]:
    """Rooms that a file imports, inside functions too."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = str(node.module)
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "mixanalysis" else [module]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "mixanalysis_cli":
                rooms.add(parts[0])
            elif parts[0] == "mixanalysis" and len(parts) > 1:
                rooms.add("_version" if parts[1] == "__version__" else parts[1])
    return rooms


FAMILIES = PACKAGE / "families"

FALLBACK = "unknown"
"""Not a family but what the machinery takes where no family's layout fits."""


def families_imported(path: Path) -> set[str]:
    """Folders of families that a file imports, inside functions too."""
    folders = {each.name for each in FAMILIES.iterdir() if (each / "__init__.py").exists()}
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    inner = [name.removeprefix("mixanalysis.families.") for name in names if name.startswith("mixanalysis.families.")]
    return {name.partition(".")[0] for name in inner} & folders


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_rooms_import_from_below_only():
    files = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]
    assert len(files) > 30
    for path in files:
        room = room_of(path)
        assert room in FLOOR, f"{path} is in no known room"
        for other in imported(path) - {room}:
            assert FLOOR[other] < FLOOR[room], f"{path}: {room} must not import {other}"


def test_a_family_imports_no_other_unless_its_folder_says_so():
    files = list(FAMILIES.glob("*/*.py"))
    assert len(files) > 30
    for path in files:
        said = ast.get_docstring(ast.parse((path.parent / "__init__.py").read_text(encoding="utf-8"))) or ""
        for other in families_imported(path) - {path.parent.name}:
            assert f"`{other}`" in said, (
                f"{path}: imports the family {other}, which its folder's docstring doesn't name"
            )


def test_what_all_families_use_knows_none_of_them():
    """The machinery, and every other room, reach a family through the registry alone."""
    machinery = list(FAMILIES.glob("*.py"))
    assert len(machinery) > 8
    for path in machinery:
        assert families_imported(path) <= {FALLBACK}, f"{path}: imports a family by name"
    others = [path for path in PACKAGE.rglob("*.py") if room_of(path) != "families"]
    for path in [*others, *COMMANDS.rglob("*.py")]:
        assert not families_imported(path), f"{path}: imports a family by name"


def modules_of(path: Path) -> set[str]:
    """Modules, and names of modules, that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


REPORTS_NOT = ("families", "checkpoints", "datasets", "features", "training", "runs", "distributed")
"""Rooms by which something is opened or run."""

RUNS_SOMETHING = ("similarity.cka", "spectra.spectrum", "width.analyse", "width.points", "width.line")


def test_a_report_runs_nothing_and_opens_nothing():
    files = [*(PACKAGE / "report").rglob("*.py")]
    assert len(files) > 20
    for path in files:
        names = modules_of(path)
        for room in REPORTS_NOT:
            opens = [name for name in names if f"{name}.".startswith(f"mixanalysis.{room}.")]
            assert not opens, f"{path}: a report is made of results; {opens[0]} is for runs/"
        for name in RUNS_SOMETHING:
            assert f"mixanalysis.{name}" not in names, f"{path}: a report is made of results; {name} is for runs/"


def test_what_all_sections_share_knows_none_of_them():
    report = PACKAGE / "report"
    topics = [path.parent.name for path in report.glob("*/section.py")]
    assert set(topics) >= {"networks", "similarity", "spectra", "width"}
    shared = [*report.glob("*.py"), *(report / "html").glob("*.py")]
    for path in shared:
        if path.name == "plot.py":  # one module for a notebook, with figures of every topic
            continue
        for name in modules_of(path):
            for topic in topics:
                assert not f"{name}.".startswith(f"mixanalysis.report.{topic}."), f"{path}: knows of {topic}"
    for topic in topics:
        for path in (report / topic).glob("*.py"):
            others = [each for each in topics if each != topic]
            for name in modules_of(path):
                for other in others:
                    assert not f"{name}.".startswith(f"mixanalysis.report.{other}."), f"{path}: knows of {other}"


def test_a_family_is_named_in_its_folder_and_the_registry_alone():
    """Names that are no ordinary words; a paper's experiments train some of them."""
    folders = (
        "resmlp",
        "gmlp",
        "paramixer",
        "patch_mlp_mixer",
        "ninformer",
        "permutator",
        "wide_mlp",
        "mlp_chain",
        "pk",
    )
    sizes = {folder: DECLARATIONS[f"mixanalysis.families.{folder}"].sizes for folder in folders}
    for path in [*PACKAGE.rglob("*.py"), *COMMANDS.rglob("*.py")]:
        if path == FAMILIES / "__init__.py" or path.is_relative_to(PACKAGE / "papers"):
            continue
        text = path.read_text(encoding="utf-8").lower()
        for folder, names in sizes.items():
            if not path.is_relative_to(FAMILIES / folder):
                assert [name for name in names if name in text] == [], f"{path}: names a family of {folder}"


def test_the_engine_knows_no_paper_and_a_paper_no_other():
    papers = PACKAGE / "papers"
    folders = [path.parent.name for path in papers.glob("*/__init__.py")]
    assert "hayase_2024" in folders
    for path in [*papers.rglob("*.py"), *COMMANDS.rglob("*.py")]:
        own = path.parent.name
        for name in modules_of(path):
            for folder in folders:
                if folder != own:
                    assert not f"{name}.".startswith(f"mixanalysis.papers.{folder}."), f"{path}: imports {folder}"


def test_every_public_name_resolves():
    for name in mixanalysis.__all__:
        assert getattr(mixanalysis, name) is not None
    rooms = {path.name.removesuffix(".py") for path in PACKAGE.iterdir()}
    names = set(mixanalysis.__all__) - {"spectra", "width", "__version__"}
    assert not names & rooms, "a public name would be shadowed by a submodule"


def test_importing_the_package_costs_no_torch():
    code = "import sys, mixanalysis; print([m for m in ('torch', 'numpy', 'pandas', 'matplotlib') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_no_library_code_prints_or_unpickles():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                assert name != "print", f"{path}: prints"
                assert name not in {"pickle.load", "pickle.loads"}, f"{path}: unpickles"
                if name == "torch.load":
                    keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                    assert keywords.get("weights_only") == "True", f"{path}: torch.load without weights_only=True"
