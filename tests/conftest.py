"""Shared by the tests: where the data sets lie, and running commands as a user does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DATA = Path(os.environ.get("LEM_DATA", HERE.parent.parent / "shared" / "data"))


def data_dir(name: str) -> Path:
    """Folder of a data set; the test is skipped, by that name, where it is absent."""
    path = DATA / name
    if not path.is_dir():
        pytest.skip(f"data set {name} is not here (LEM_DATA)")
    return path


def lem(tool: str, *args, stdin: bytes | None = b"", cwd=None, env=None, ok: bool | None = True):
    """Run `lem-<tool>` as a process of its own; returns it with stdout and stderr as bytes.

    ok: True asserts exit status 0, False asserts one that is not 0, None asserts nothing.
    """
    code = f"from lemtools.cli.{tool} import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *map(str, args)], input=stdin, capture_output=True, cwd=cwd,
                          env={**os.environ, **(env or {})})
    if ok is not None:
        assert (done.returncode == 0) == ok, (args, done.returncode, done.stderr.decode())
    return done
