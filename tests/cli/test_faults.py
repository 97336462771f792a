"""Disks that are full, fail or go away, and outputs that are no files: one line, exit status 2, nothing half-written.

One line of every command that writes a file stands for all of them; docs/robustness.md has what is promised.
"""

import builtins
import errno
import faulthandler
import importlib
import io
import os
import re
import resource
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from helpers.commands import lem_fork
from helpers.paths import ROOT

LOADED = (  # what the forks would each have to load
    "compare.plot compare.sheet els.prepare encode.pca fragment media.describe "
    "media.tables train.loop train.recipes.rvq"
)
WRITERS = [
    "fragment in --bits 3 -o o/x.safetensors",
    "fragment in --bits 3 -o o/",
    "reconstruct f.safetensors --method decode -o o/x.safetensors",
    "reconstruct f.safetensors --method decode -o o/%d.png",
    "encode in -o o/x.safetensors",
    "encode --fit --encoder pca --dims 4 e.npy -o o/x.safetensors",
    "compare in/0.png in/1.png --plot o/x.png",
    "els --bank i.npy --prepare -o o/x.safetensors",
    "train rvq --data e.npy --stages 2 --codes 16 --steps 3 -q -o o/x.safetensors",
]
ONE_FILE = [line for line in WRITERS if "o/x" in line]


@pytest.fixture(scope="module")
def made():
    """A folder that other users may enter."""
    for module in LOADED.split():
        importlib.import_module(f"lemtools.{module}")
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    (place / "in").mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(place / f"in/{i}.png")
    np.save(place / "i.npy", rng.integers(0, 256, (50, 1, 32, 32), np.uint8))
    np.save(place / "e.npy", rng.standard_normal((400, 16)).astype("f4"))
    np.save(place / "l.npy", np.arange(50))
    np.savez(place / "z.npz", x=rng.standard_normal((40, 16)))
    soundfile.write(place / "a.flac", rng.uniform(-0.5, 0.5, 4000), 8000)
    (place / "list").write_text("in/0.png\n")
    (place / "c.toml").write_text("bits = 3\n")
    done = lem_fork("fragment", "--bits", "3", "in/0.png", "in/1.png", "-o", "f.safetensors", cwd=place)
    assert done.returncode == 0, done.stderr
    yield place
    shutil.rmtree(place)


@pytest.fixture
def place(made):
    (made / "o").mkdir()
    yield made
    if (made / "o").exists():
        (made / "o").chmod(0o755)
        shutil.rmtree(made / "o")


def run(line: str, place, prepare=None):
    tool, *words = shlex.split(line)
    return lem_fork(tool, *words, cwd=place, prepare=prepare)


def refused(done, words: str, lines: int | None = 1) -> None:
    """One line, which names the output or input and says what is wrong."""
    told = done.stderr.decode()
    assert done.returncode == 2 and re.search(rf"^lem-\w+: error: {words}\n", told, re.MULTILINE), (done, words)
    assert "defect" not in told and lines in (None, told.count("\n")), told


def no_room() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))


@pytest.mark.parametrize("line", WRITERS)
def test_no_room_for_an_output(place, line):
    refused(run(line, place, no_room), r"o/\S+: File too large", None if "o/ " in f"{line} " or "%d" in line else 1)
    assert os.listdir(place / "o") == []


def only(descriptors: int) -> None:
    """As `ulimit -n` has it; a fork has those of the tests, too."""
    os.closerange(3, 1 << 12)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))


@pytest.mark.parametrize("line", WRITERS)
def test_few_descriptors(place, line):
    done = run(line, place, lambda: only(16))
    assert done.returncode == 0 and os.listdir(place / "o"), done.stderr


def test_no_descriptor_left(place):
    refused(
        run(WRITERS[0], place, lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (6, 6))),
        r"in: Too many open files",
        None,
    )
    assert os.listdir(place / "o") == []


def as_nobody() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def entered(path: Path) -> bool:
    return all(part.stat().st_mode & stat.S_IXOTH for part in [path, *path.parents])


@pytest.mark.parametrize("line", WRITERS)
def test_a_folder_that_is_read_only(place, line):
    if os.geteuid() == 0 and not (entered(ROOT) and entered(Path(sys.prefix)) and entered(place)):
        pytest.skip("another user cannot enter the project's folder")
    (place / "o").chmod(0o555)
    words = r"o/\S+: (Permission denied|the folder o cannot be written to)"
    refused(run(line, place, as_nobody), words, None if "o/ " in f"{line} " or "%d" in line else 1)
    assert os.listdir(place / "o") == []


@pytest.mark.parametrize("moment", ["open", "replace"])
@pytest.mark.parametrize("line", WRITERS)
def test_the_folder_is_deleted_meanwhile(place, line, moment):
    """As the temporary file is opened, or as it gets its name."""

    def gone():
        whole = getattr(os, moment)

        def late(path, *rest, **more):
            if ".part" in str(path):
                shutil.rmtree("o", ignore_errors=True)
            return whole(path, *rest, **more)

        setattr(os, moment, late)

    refused(run(line, place, gone), r"o/\S+: No such file or directory", None)
    assert not (place / "o").exists() or os.listdir(place / "o") == []


@pytest.mark.parametrize("line", [line for line in WRITERS if not line.startswith("train")])
def test_two_commands_write_one_output(place, line):
    """The second one begins and ends while the first has written all but the name: each writes it whole, the last one stays."""
    assert run(line, place).returncode == 0
    alone = {path.name: path.read_bytes() for path in (place / "o").iterdir()}
    shutil.rmtree(place / "o")
    (place / "o").mkdir()

    def second():
        whole = os.replace

        def late(*paths):
            os.replace = whole
            faulthandler.cancel_dump_traceback_later()  # its thread would not be in the fork
            done = run(line, place)
            assert done.returncode == 0 and {p.name for p in (place / "o").iterdir()} >= set(alone), done.stderr
            return whole(*paths)

        os.replace = late

    done = run(line, place, second)
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    assert {path.name: path.read_bytes() for path in (place / "o").iterdir()} == alone


@pytest.mark.parametrize("line", ONE_FILE)
def test_an_output_that_is_no_file(place, line):
    with socket.socket(socket.AF_UNIX) as there:
        name = next(word for word in shlex.split(line) if word.startswith("o/x"))
        there.bind(str(place / name))
        words = "No such device or address|no ordinary file.*"
        refused(run(line, place), rf"{name}: ({words})")
        assert not [left for left in os.listdir(place / "o") if left.startswith(".") or ".state" in left]
    words = "No space left on device|no ordinary file.*"
    (place / name).unlink()
    (place / name).symlink_to("/dev/full")
    refused(run(line, place), rf"{name}: ({words})")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_standard_error_is_full(place):
    """What cannot be said changes no exit status."""
    code = "from lemtools.cli.fragment import main; main()"
    for line, status in (("nope --bits 3 -o o/x", 2), ("in -v --bits 3 -o o/x", 0)):
        shell = ["sh", "-c", f'"$0" -c "$1" {line} 2>/dev/full', sys.executable, code]
        assert subprocess.run(shell, cwd=place).returncode == status
    assert os.listdir(place / "o") == ["x"]


class Failing(io.FileIO):
    """A file on a disk, or of a server, that fails."""

    number = errno.EIO

    def read(self, *_):
        raise OSError(self.number, os.strerror(self.number))

    readinto = readall = readline = read


def failing(name: str, number: int):
    """For `prepare`: the file of this name cannot be read."""

    def prepare():
        plain = builtins.open

        def opened(path, mode="r", buffering=-1, *rest, **more):
            if os.path.basename(str(path)) != name or "r" not in mode:
                return plain(path, mode, buffering, *rest, **more)
            file = Failing(path)
            file.number = number
            return file if buffering == 0 else io.BufferedReader(file)

        builtins.open = opened

    return prepare


READERS = [
    ("in/1.png", "fragment in/1.png --bits 3 -o o/x.safetensors"),
    ("a.flac", "fragment a.flac --bits 3 -o o/x.safetensors"),
    ("z.npz", "fragment z.npz --mask .5 -o o/x.safetensors"),
    ("list", "fragment --files-from list --bits 3 -o o/x.safetensors"),
    ("f.safetensors", "info f.safetensors"),
    ("f.safetensors", "reconstruct f.safetensors --method decode -o o/x.safetensors"),
    ("e.npy", "encode --fit --encoder pca --dims 4 e.npy -o o/x.safetensors"),
    ("e.npy", "compare --train e.npy --metric nearest e.npy e.npy"),
    ("i.npy", "els --bank i.npy --prepare -o o/x.safetensors"),
    ("l.npy", "els --bank i.npy --labels l.npy --prepare -o o/x.safetensors"),
    ("e.npy", "train rvq --data e.npy --stages 2 --codes 16 --steps 3 -q -o o/x.safetensors"),
    ("c.toml", "train rvq --config c.toml --data e.npy -q -o o/x.safetensors"),
]


@pytest.mark.parametrize("name, line", READERS)
def test_a_disk_that_fails(place, name, line):
    for number, words in ((errno.EIO, "Input/output error"), (errno.ESTALE, "Stale file handle")):
        refused(run(line, place, failing(os.path.basename(name), number)), f"{name}: {words}")
        assert os.listdir(place / "o") == []


def test_an_input_that_is_deleted_meanwhile(place):
    """Between the list of a folder and its turn: reported, and the others are read."""

    def gone():
        from lemtools.media import load

        listed = load.__globals__["expand"]

        def then(*args, **more):
            files = list(listed(*args, **more))
            with open("o/1.png", "wb") as kept, open("in/1.png", "rb") as file:
                kept.write(file.read())
            os.unlink("in/1.png")
            return files

        load.__globals__["_load"].__globals__["expand"] = then

    try:
        done = run("fragment in --bits 3 -o o/", place, gone)
    finally:
        os.replace(place / "o/1.png", place / "in/1.png")
    refused(done, "in/1.png: No such file or directory")
    assert sorted(os.listdir(place / "o")) == ["0.safetensors", "2.safetensors"]
