"""A toy corrector: one function and one row, and it is there; without the row, gone."""

import numpy as np

from helpers.commands import lem_fork
from helpers.toys import shows
from lemtools.catalogue import Option, Row
from lemtools.catalogue.correctors import CORRECTORS


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
