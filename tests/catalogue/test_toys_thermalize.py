"""A toy corrector and a toy gate: one function and one row, and it is there; without the row, gone."""

import json

import numpy as np

from helpers.commands import lem_fork
from helpers.toys import shows
from lemtools.catalogue import Option, Row
from lemtools.catalogue.correctors import CORRECTORS
from lemtools.catalogue.gates import GATES


def shrunk(known, *, share=0.5):
    return lambda x, previous, level, generators: (share * x, 1)


TOY = Row(
    "shrunk",
    shrunk,
    "a share of the state",
    options=(Option("--share", "How much of it.", "number", low=0, high=1, metavar="S"),),
    needs=("memory",),
)


def test_a_toy_corrector(tmp_path):
    states = np.random.default_rng(0).standard_normal((400, 1, 8)).astype(np.float32)
    np.save(tmp_path / "states.npy", states)
    np.save(tmp_path / "some.npy", states[:10])
    assert shows("shrunk", "thermalize") == (False, False)
    memory = ("--memory", "states.npy", "--rows", 10, "--false-fire", 0.1)
    command = ("thermalize", *memory, "--always", "--no-clean", "some.npy", "-o", "out.npy")
    with CORRECTORS.added(TOY):
        assert shows("shrunk", "thermalize") == shows("--share", "thermalize", "--corrector", "shrunk") == (True, True)
        done = lem_fork(*command, "--corrector", "shrunk", "--share", 0.25, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        mean = states[:360].mean()  # the last tenth of the steps is held out
        assert abs(np.load(tmp_path / "out.npy") - (mean + 0.25 * (states[:10] - mean))).max() < 1e-5
        done = lem_fork(*command, "--corrector", "snap", "--share", 0.25, cwd=tmp_path)
        assert done.returncode == 2 and b"--share is for --corrector shrunk" in done.stderr
    assert shows("shrunk", "thermalize") == (False, False)
    done = lem_fork(*command, "--corrector", "shrunk", cwd=tmp_path)
    assert done.returncode == 2 and b"'shrunk' is not one of" in done.stderr


def loud(known, *, loudness=1.0):
    from lemtools.thermalize.gate import Reader

    return Reader(lambda x: 0 * x[:, 0], lambda x, level: loudness * x.abs().amax(1))


GATE = Row(
    "loud",
    loud,
    "the largest value of a state",
    options=(Option("--loudness", "How much it counts.", "number", low=0, metavar="S"),),
    needs=("memory",),
)


def test_a_toy_gate(tmp_path):
    states = np.random.default_rng(0).standard_normal((400, 1, 8)).astype(np.float32)
    states[:10, 0, 0] = np.where(np.arange(10) < 3, 9, 0)
    np.save(tmp_path / "states.npy", states)
    np.save(tmp_path / "some.npy", states[:10])
    command = (
        "thermalize",
        "--memory",
        "states.npy",
        "--rows",
        10,
        "--threshold",
        8,
        "--corrector",
        "snap",
        "some.npy",
    )
    command = (*command, "-o", "out.npy", "--log", "log.jsonl")
    with GATES.added(GATE):
        assert shows("loud", "thermalize") == (True, True)
        done = lem_fork(*command, "--gate", "loud", "--loudness", 2, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        (line,) = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
        assert line["calls"][:3] == [1, 1, 1] and min(line["score"][:3]) > 16 * states.std() ** -1 * 0.9
    assert shows("loud", "thermalize") == (False, False)
    done = lem_fork(*command, "--gate", "loud", cwd=tmp_path)
    assert done.returncode == 2 and b"'loud' is not one of" in done.stderr
