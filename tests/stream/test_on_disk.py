"""Arrays that stay in their file: rows as of a numpy array, and an error where the file is cut or cannot be read."""

import errno
import importlib
import os
import pickle
import shlex

import numpy as np
import pytest

from helpers.commands import lem_fork
from lemtools.media import store
from lemtools.signal import LemError
from lemtools.stream import OnDisk

RNG = np.random.default_rng(0)
BEGIN = 37  # bytes before the array


def kept(path, array, **how) -> OnDisk:
    path.write_bytes(bytes(BEGIN) + array.tobytes() + b"and more")
    return OnDisk(str(path), BEGIN, array.dtype, array.shape, **how)


INDICES = [
    0,
    -1,
    np.int64(3),
    slice(None),
    slice(2, 5),
    slice(5, 2),
    slice(1, None, 2),
    slice(None, None, -1),
    [3, 1, 1, 2],
    np.array([5, 6, 0, 1, 2, -1]),
    np.array([[0, 1], [4, 2]]),
    np.array([], np.int64),
    np.arange(7) % 3 == 0,
]


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_rows_are_those_of_a_numpy_array(tmp_path, index, moved):
    lying = RNG.standard_normal((7, 3, 4, 2)).astype("f4")
    there = lying.transpose(0, 3, 1, 2) if moved else lying
    rows = kept(tmp_path / "x", lying, moved=moved)
    assert rows.shape == there.shape and len(rows) == 7 and rows.nbytes == there.nbytes and rows.ndim == 4
    assert rows[index].shape == there[index].shape and np.array_equal(rows[index], there[index])
    again = pickle.loads(pickle.dumps(rows))  # as a worker that is not forked gets it
    assert np.array_equal(again[index], there[index])


def test_other_looks_at_the_same_numbers(tmp_path):
    array = RNG.integers(0, 1000, (6, 4, 5), np.int32)
    rows = kept(tmp_path / "x", array)
    assert np.array_equal(np.asarray(rows.reshape(-1, 5)), array.reshape(-1, 5))
    assert np.array_equal(rows.cut(2, 5)[:], array[2:5]) and rows.cut(4, 4)[:].shape == (0, 4, 5)
    assert np.array_equal([*rows], array) and np.array_equal(np.asarray(rows, np.float64), array)
    for bad in (6, -7, [0, 6], [-7]):
        with pytest.raises(IndexError):
            rows[bad]
    with pytest.raises(ValueError, match="cannot be read as"):
        rows.reshape(7, 5)


@pytest.mark.parametrize("index", [5, slice(None), [0, 5]], ids=repr)
def test_a_file_that_is_cut_meanwhile(tmp_path, index):
    rows = kept(tmp_path / "x", np.ones((6, 4), "f4"))
    os.truncate(tmp_path / "x", BEGIN + 5 * 16 + 3)
    with pytest.raises(LemError, match="x: cut short while it was read"):
        rows[index]
    assert (rows[:5] == 1).all()


def test_a_disk_that_fails_meanwhile(tmp_path, monkeypatch):
    rows = kept(tmp_path / "x", np.ones((6, 4), "f4"))

    def stale(*_):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(os, "preadv", stale)
    with pytest.raises(OSError, match="handle") as raised:
        rows[1]
    assert raised.value.filename == str(tmp_path / "x")


def test_a_long_read_comes_in_parts(tmp_path, monkeypatch):
    array = RNG.standard_normal((5, 33)).astype("f4")
    rows, whole = kept(tmp_path / "x", array), os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, views, at: whole(file, [views[0].cast("B")[:50]], at))
    assert np.array_equal(rows[:], array) and np.array_equal(rows[[4, 0]], array[[4, 0]])


COMMANDS = [
    "compare --metric nearest --train x.npy q.npy q.npy",
    "reconstruct --memory x.npy f.safetensors -o out.safetensors",
    "els --bank i.npy --scales 3 --steps 2 -o out.png",
    "train rvq --data x.npy --stages 1 --codes 4 --steps 5 -o out.safetensors",
    "train feedforward --data x.npy --fragment '--mask .5' --steps 5 -o out.safetensors",
]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_whose_file_is_cut_meanwhile(tmp_path, line):
    """Cut behind its back, once it was looked at: a mapped file kills the process there."""
    np.save(tmp_path / "x.npy", RNG.standard_normal((3000, 40)).astype("f4"))
    np.save(tmp_path / "q.npy", RNG.standard_normal((5, 40)).astype("f4"))
    np.save(tmp_path / "i.npy", RNG.integers(0, 256, (600, 1, 16, 16), np.uint8))
    lose = lem_fork("fragment", "--mask", ".5", "q.npy", "-o", "f.safetensors", cwd=tmp_path)
    assert lose.returncode == 0
    for module in (
        "compare.training",
        "reconstruct.remember",
        "dreams.sample",
        "els.bank",
        "train.loop",
        "train.trainer",
        "train.recipes.rvq",
    ):
        importlib.import_module(f"lemtools.{module}")
    tool, *words = shlex.split(line)
    name = "i.npy" if "i.npy" in words else "x.npy"

    def cut():
        made = store.__globals__["_of_npy"]

        def then(source, how):
            found = made(source, how)
            os.truncate(name, 6000)
            return found

        store.__globals__["_of_npy"] = then

    done = lem_fork(tool, *words, cwd=tmp_path, prepare=cut)
    assert done.returncode == 2 and done.stderr.decode().splitlines()[-1] == (
        f"lem-{tool}: error: {name}: cut short while it was read"
    )
    assert not [p for p in os.listdir(tmp_path) if p.startswith(("out", "."))]
