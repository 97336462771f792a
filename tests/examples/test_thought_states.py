"""examples/thought_states.py: both tables of a model whose thoughts are known."""

import os
import subprocess
import sys

import numpy as np
import pytest

from helpers import parity
from helpers.commands import lem_fork
from helpers.paths import EXAMPLES
from lemtools.nets import build
from lemtools.nets.model import Model
from lemtools.train.checkpoint import save_model

SCRIPT = EXAMPLES / "thought_states.py"


@pytest.fixture
def out(tmp_path):
    known = parity.model()
    save_model(known, str(tmp_path / "carry-0.safetensors"))
    net = {name: value for name, value in known.meta["net"].items() if not name.startswith("thoughts")}
    save_model(Model(build(net).eval(), known.meta | {"net": net}), str(tmp_path / "baseline-0.safetensors"))
    return tmp_path


def run(out, *stages, **more) -> subprocess.CompletedProcess:
    env = {"RUNS": "1", "LONGEST": "8", "LENGTHS": "8,40", "COUNT": "60", "FITTED": "60", **more}
    line = [sys.executable, str(SCRIPT), str(out), *stages]
    return subprocess.run(line, env={**os.environ, **env}, capture_output=True, text=True)


def rows(text: str) -> dict[str, list[float]]:
    """{first cell: the means in the last two}"""
    cells = [line.split("\t") for line in text.splitlines()[1:]]
    return {row[0]: [float(cell.split()[0]) for cell in row[-2:]] for row in cells}


def test_thoughts_tell_the_state_and_the_controls_do_not(out):
    done = run(out, "probe")
    assert (done.returncode, done.stderr) == (0, "") and (out / "probe.tsv").read_text() == done.stdout
    found = rows(done.stdout)
    assert found["thoughts"] == found["answers"] == [1, 1] and found["chance"] == [0.5, 0.5]
    for name in ("thoughts of another sequence", "embedded symbols"):
        assert all(0.2 < share < 0.8 for share in found[name]), name


def test_a_sign_needs_one_bit_in_the_table(out):
    done = run(out, "break", WAYS="--bits 1\n--mask 1")
    assert (done.returncode, done.stderr) == (0, "") and (out / "break.tsv").read_text() == done.stdout
    assert [line.split("\t")[:2] for line in done.stdout.splitlines()[1:]] == [
        ["-", "-"],
        ["--bits 1", "24"],
        ["--mask 1", "8"],
    ]
    found = rows(done.stdout)
    assert found["-"] == found["--bits 1"] == [1, 1] and max(found["--mask 1"]) < 0.8


def test_streams_go_through_lem_encode(out):
    assert run(out, "streams").returncode == 0
    symbols, states = (np.load(out / f"{name}-40.npy") for name in ("symbols", "states"))
    assert symbols.shape == states.shape == (60, 40) and np.array_equal(states, symbols.cumsum(1) % 2)
    line = ["--encoder", "thoughts", "--model", "carry-0.safetensors", "--device", "cpu", "symbols-40.npy"]
    done = lem_fork("encode", *line, "-o", "thoughts.npy", cwd=out)
    assert (done.returncode, done.stderr) == (0, b"")
    assert np.array_equal(np.load(out / "thoughts.npy")[..., 0] < 0, states)


def test_what_it_does_not_know_is_one_line(out):
    for stages, more, says in (
        (["probes"], {}, "stage probes is none of train streams probe break"),
        (["probe"], {"LENGTHS": "900"}, "900 positions, where there are 64"),
        (["break"], {"WAYS": "--bits 99"}, "1-16"),
        (["break"], {"WAYS": "--bit 2"}, "No such option"),
        (["probe"], {"RUNS": "2"}, "carry-1.safetensors"),
    ):
        done = run(out, *stages, **more)
        assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1, done.stderr
