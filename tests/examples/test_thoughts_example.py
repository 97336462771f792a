"""examples/thoughts.py: its table over numbers that are known, what it refuses, and one arm from end to end."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples/thoughts.py"


@pytest.fixture
def script(monkeypatch):
    for name, value in {"TASKS": "parity", "ARMS": "baseline carry", "RUNS": "3", "TEXT": "book.txt"}.items():
        monkeypatch.setenv(name, value)
    spec = importlib.util.spec_from_file_location("thoughts_example", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_has_means_over_seeds_and_pairs_them(script, tmp_path, capsys):
    head = "model network parameters task length right low high all chance majority".split()
    for arm, right in (("baseline", (0.5, 0.55, 0.6)), ("carry", (1.0, 1.0, 1.0))):
        rows = [
            f"{arm}-{seed} lm 107200 parity {length} {share} 0 0 0 .5 .5".split()
            for seed, share in enumerate(right)
            for length in (40, 80, 160, 400)
        ]
        (tmp_path / "parity").mkdir(exist_ok=True)
        (tmp_path / f"parity/{arm}.tsv").write_text("".join("\t".join(row) + "\n" for row in (head, *rows)))
    (tmp_path / "text").mkdir()
    for arm, bits in (("baseline", (2.0, 2.5, 3.0)), ("carry", (1.9, 2.35, 2.8))):
        record = {f"held_out_bits_per_byte_{seed}": value for seed, value in enumerate(bits)}
        (tmp_path / f"text/{arm}.jsonl").write_text("{}\n" + json.dumps(record) + "\n")
    script.plot(tmp_path)
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG") and not (tmp_path / "picture.part").exists()
    script.table(tmp_path)
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert lines[1][:3] == ["parity", "baseline", "107200"] and lines[1][3].startswith("0.550 [0.426, 0.674]")
    assert lines[2][3] == "1.000 [1.000, 1.000]" and lines[2][7] == ".5"
    assert lines[4][1:4] == ["baseline", "10000", "2.500 [1.258, 3.742]"]
    assert lines[5][4].startswith("-0.150 [")  # pairs of a seed: -.1, -.15 and -.2
    assert (tmp_path / "table.tsv").read_text().splitlines() == ["\t".join(line) for line in lines]


@pytest.mark.parametrize(
    "words, variables, says",
    [
        (["tables"], {}, "stage tables is none of train lengths text plot table"),
        ([], {"ARMS": "carried"}, "ARMS carried is none of baseline"),
        (["text"], {}, "set TEXT=FILE"),
        (["plot"], {}, "no lengths were measured there; first train and lengths"),
        (["train"], {"TASKS": "sum", "RUNS": "1", "STEPS": "1"}, "no task 'sum'"),
    ],
)
def test_what_is_not_known_is_refused(words, variables, says, tmp_path):
    line = [sys.executable, str(SCRIPT), str(tmp_path), *words]
    done = subprocess.run(line, env={**os.environ, **variables}, capture_output=True, text=True)
    assert done.returncode == 2 and says.lower() in done.stderr.lower()
    assert "Traceback" not in done.stderr


def test_one_arm_from_end_to_end(tmp_path):
    variables = {
        "TASKS": "parity",
        "ARMS": "none",
        "RUNS": "2",
        "STEPS": "2",
        "DEPTH": "1",
        "WIDTH": "32",
        "COUNT": "8",
    }
    line = ["bash", str(SCRIPT.with_suffix(".sh")), str(tmp_path)]
    done = subprocess.run(line, env={**os.environ, **variables}, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    last = done.stdout.splitlines()[-1].split("\t")
    assert last[:2] == ["parity", "none"] and len(last) == 8
