"""tools/mutants.py: what it calls killed was noticed by a test, and what it calls survived was not."""

import importlib.util
import json
import re
import subprocess
import sys

import pytest

from helpers.paths import ROOT

SPEC = importlib.util.spec_from_file_location("mutants", ROOT / "tools" / "mutants.py")
mutants = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(mutants)

TEXT = "def twice(x):\n    y = x + x\n    return y\n\n\ndef never(x):\n    y = x + x\n    return y\n"
TESTS = """from lemtools.toy import twice


def test_twice():
    assert twice(3) == 6


def test_that_fails_anyway():
    assert twice(3) == 7
"""


def mutant(name, first, old, new, tests=("tests/test_toy.py::test_twice",)):
    rest = {"room": "toy", "file": "lemtools/toy.py", "line": first, "operator": "?", "first": first}
    return {"id": name, **rest, "old": [old], "new": [new], "tests": [[test, 0.1] for test in tests]}


def test_a_run_in_copies_of_a_tree(tmp_path, monkeypatch):
    tree, results = tmp_path / "tree", tmp_path / "results.jsonl"
    for name, text in (("lemtools/__init__.py", ""), ("lemtools/toy.py", TEXT), ("tests/test_toy.py", TESTS)):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    (tree / "tools").mkdir()
    (tree / "tools/mutants.py").write_text((ROOT / "tools/mutants.py").read_text())
    monkeypatch.setattr(mutants, "ROOT", tree)
    results.write_text('{"id": "done before"}\n')
    drawn = [
        mutant("killed", 2, "    y = x + x", "    y = x - x"),
        mutant("survived", 7, "    y = x + x", "    y = x - x"),
        mutant("import", 1, "def twice(x):", "def other(x):"),
        mutant("no test", 7, "    y = x + x", "    y = x * x", ("tests/test_toy.py::test_that_fails_anyway",)),
        mutant("error", 2, "    z = x + x", "    z = x - x"),
        mutant("done before", 2, "    y = x + x", "    y = x - x"),
    ]
    mutants.run(drawn, results, 2, 60)
    found = [json.loads(line) for line in results.read_text().splitlines()][1:]
    assert {r["id"]: r["result"] for r in found} == {
        "killed": "killed",
        "survived": "survived",
        "import": "killed",
        "no test": "no test",
        "error": "error",
    }
    assert len(found) == 5 and (tree / "lemtools/toy.py").read_text() == TEXT


def test_a_report_ends_quietly_where_its_reader_does(tmp_path):
    """As under `| head`; more lines than a pipe holds."""
    row = {"id": "a-0", "room": "a", "file": "f", "line": 1, "operator": "?", "result": "survived", "diff": "x" * 1000}
    (tmp_path / "results.jsonl").write_text((json.dumps(row) + "\n") * 300)
    command = [sys.executable, ROOT / "tools/mutants.py", "report", tmp_path / "results.jsonl"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as report:
        assert report.stdout.readline().startswith(b"| room |")
        report.stdout.close()
        assert report.stderr.read() == b""


def test_what_runs_of_a_text():
    assert mutants.program("def f(x: int) -> str: pass") == mutants.program("def f(x: 3 + 4): pass")
    assert mutants.program("x: int = 1") == mutants.program("x: str = 1") != mutants.program("x: int = 2")
    assert mutants.program("f(") is None


def test_the_interval_of_a_share():
    low, high = mutants.wilson(81, 100)  # the share p of which 81 of 100 is 1.96 standard errors away
    for p in (low, high):
        assert abs(0.81 - p) == pytest.approx(1.96 * (p * (1 - p) / 100) ** 0.5)
    assert mutants.wilson(5, 5)[1] == pytest.approx(1)


def test_its_commands_in_the_documentation_parse():
    for text in ((ROOT / "docs/testing.md").read_text(), mutants.__doc__):
        commands = re.findall(r"^ *python tools/mutants\.py (.*)$", text, re.M)
        assert len(commands) == 4
        for command in commands:
            mutants.parser().parse_args(re.split(r"  +", command)[0].split())
