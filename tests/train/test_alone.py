"""Two runs that would write one model: the second one is refused for as long as the first one lives."""

import contextlib
import errno
import fcntl
import os
import shlex
import signal

import pytest

import lemtools.train.loop
import lemtools.train.recipes.rvq  # noqa: F401  what the forks would each have to load
from helpers.commands import fork, lem_fork
from lemtools.signal import LemError
from lemtools.train import checkpoint

RUN = "rvq --data embedding.npy --stages 1 --codes 4 --batch 8 --steps 2 -q"


@contextlib.contextmanager
def another(path):
    """A process that trains the model `path`, until it is killed."""
    ready, tell = os.pipe()
    child = fork()
    if child == 0:
        with checkpoint.alone(str(path)):
            os.write(tell, b"1")
            signal.pause()
        os._exit(0)
    os.read(ready, 1)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_one_run_a_model(tmp_path, kept):
    (tmp_path / "link").symlink_to("m.safetensors")
    with another(tmp_path / "m.safetensors"):
        for name in ("m.safetensors", "link"):
            done = lem_fork("train", *shlex.split(RUN), "-o", name, cwd=tmp_path)
            assert done.returncode == 2 and done.stderr.decode() == (
                f"lem-train: error: {name}: another lem-train writes this model now; wait for it, or give another -o\n"
            )
        assert not list(tmp_path.glob("m.*"))
        done = lem_fork("train", *shlex.split(RUN), "-o", "other.safetensors", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    # the other one was killed: its lock is nobody's
    done = lem_fork("train", *shlex.split(RUN), "-o", "m.safetensors", cwd=tmp_path)
    assert done.returncode == 0 and not list(tmp_path.glob(".*")), done.stderr


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", none)
    with checkpoint.alone(str(tmp_path / "m.safetensors")):
        pass
    assert not list(tmp_path.iterdir())


def test_the_lock_of_a_run_that_just_ended(tmp_path, monkeypatch):
    """Opened before that one took its name away, locked afterwards: a third run would not see it."""
    take = fcntl.lockf

    def late(file, *how):
        os.unlink(tmp_path / ".m.safetensors.lock")
        return take(file, *how)

    monkeypatch.setattr(fcntl, "lockf", late)
    with pytest.raises(LemError, match="another lem-train"), checkpoint.alone(str(tmp_path / "m.safetensors")):
        pass


@pytest.mark.parametrize("name", ["/dev/full", "pipe"])
def test_a_model_is_an_ordinary_file(tmp_path, kept, name):
    os.mkfifo(tmp_path / "pipe")
    done = lem_fork("train", *shlex.split(RUN), "-o", name, cwd=tmp_path)
    assert done.returncode == 2 and f"{name}: no ordinary file".encode() in done.stderr
    assert not os.path.exists("/dev/full.state.safetensors")
