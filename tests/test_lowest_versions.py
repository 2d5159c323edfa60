"""The oldest versions that are promised: a file of them for CI, made from the project's metadata."""

from __future__ import annotations

import re
import tomllib

import pages

LOWEST = pages.ROOT / "constraints-lowest.txt"

HEADER = "# The lowest version of each direct dependency that pyproject.toml allows; a test compares the two files.\n"


PROJECT = tomllib.loads((pages.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def lowest() -> str:
    required = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]
    pairs = [re.fullmatch(r"([\w-]+)>=([\d.]+)", each) for each in required]
    assert all(pairs), "a direct dependency has one lower bound"
    return HEADER + "".join(f"{pair[1]}=={pair[2]}\n" for pair in pairs if pair)


def test_the_file_of_lowest_versions_is_that_of_the_metadata():
    assert LOWEST.read_text(encoding="utf-8") == lowest()


def test_extras_ask_for_no_older_versions_than_the_tests_have():
    bounds: dict[str, set[str]] = {}
    for required in [each for extra in PROJECT["optional-dependencies"].values() for each in extra]:
        name, _, bound = required.partition(">=")
        bounds.setdefault(name, set()).add(bound)
    assert {name: found for name, found in bounds.items() if len(found) > 1} == {}
