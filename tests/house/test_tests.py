"""How the tests are laid out: what they share lies in tests/helpers, and no test imports another."""

import ast

import pytest

from helpers.paths import ROOT

TESTS = [path for path in sorted((ROOT / "tests").rglob("*.py")) if path.parent.name != "benchmarks"]
MODULES = {path.stem for path in TESTS if path.parent.name != "helpers"} | {"tests", ".", ".."}


def imported(text: str) -> set[str]:
    """The first name of every module that a text imports, at the top and inside functions."""
    out = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            out |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            out.add("." * node.level or node.module.partition(".")[0])
    return out


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_test_imports_another(path):
    assert not imported(path.read_text("utf-8")) & MODULES, (
        "move what is shared to tests/helpers, fixtures to a conftest.py"
    )


def test_an_import_of_a_test_would_be_noticed():
    assert not imported("import os, signal\nfrom helpers.signals import same") & MODULES
    for line in (
        "from test_tests import x",
        "import conftest",
        "def f():\n    from test_cli import lem",
        "from . import x",
    ):
        assert imported(line) & MODULES, line


def test_names_of_test_files_are_unique():
    """Pytest imports them by their names alone."""
    names = [path.name for path in TESTS if path.name.startswith("test_")]
    assert len(names) == len(set(names))
