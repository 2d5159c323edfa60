"""The registry: what folders declare is what their modules hold."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from importlib import import_module

import pytest

from cli.test_process import HEAVY
from mixanalysis.families import DECLARATIONS, FAMILIES, LAYOUTS, SIZES, TARGETS, TRAINABLE, expansion
from mixanalysis.families.sizes import Sizes, configure
from mixanalysis.families.wide_sparse_mlp.expansion import Expansion
from mixanalysis.network import Patches

FOLDERS = {module.rpartition(".")[2]: (module, declared) for module, declared in DECLARATIONS.items()}


@pytest.fixture(params=FOLDERS.values(), ids=FOLDERS)
def folder(request):
    return request.param


def test_a_folder_holds_what_it_declares(folder):
    module, declared = folder
    tables = {"network": declared.sizes, "layouts": declared.layouts, "targets": declared.targets}
    for part, names in tables.items():
        table = "FAMILIES" if part == "network" else part.upper()
        held = getattr(import_module(f"{module}.{part}"), table) if names else ()
        assert [*names] == [*held] if isinstance(held, dict) else [*names] == [each.name for each in held]


def test_sizes_that_are_declared_exist_and_are_used_to_make_networks(folder):
    _, declared = folder
    known = {field.name for field in fields(Sizes)}
    for name, sizes in declared.sizes.items():
        assert (sizes is None) == (FAMILIES[name].configure is None)
        assert sizes is None or sizes <= known


def test_names_are_unique_and_in_order():
    assert len(SIZES) == sum(len(declared.sizes) for declared in DECLARATIONS.values()) == len(FAMILIES)
    assert len(LAYOUTS) == 1 + sum(len(declared.layouts) for declared in DECLARATIONS.values())
    assert next(iter(LAYOUTS)) == "mixanalysis"
    assert [*TARGETS] == ["timm", "flax"]
    assert expansion() is Expansion
    assert "mixer" in FAMILIES
    assert "transformer" not in FAMILIES
    with pytest.raises(KeyError, match="transformer"):
        FAMILIES["transformer"]


@pytest.mark.parametrize("family", TRAINABLE)
def test_a_made_configuration_answers_with_its_family(family):
    assert configure(family, Patches(16, 16, 1, 4), 3, Sizes()).family == family


def test_reading_the_registry_imports_nothing_heavy():
    code = f"""
import sys
from mixanalysis.families import FAMILIES, LAYOUTS, TRAINABLE
names = [*FAMILIES, *LAYOUTS, *TRAINABLE]
print(len(names) > 40, [name for name in {HEAVY} if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "True []"
