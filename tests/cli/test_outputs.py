"""What is printed and written: nothing is lost without a word, and nothing that a file holds acts on the terminal."""

import json
import os
import re

import numpy as np
import pytest
import soundfile
from PIL import Image

from helpers.commands import closed, full, lem, lem_fork
from lemtools import stream
from lemtools.signal import Signal

EVIL = "\x1b]0;title\x07 \x9b31m\ncomplete\ttrue\r\u202e"


@pytest.fixture
def place(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)).save(tmp_path / "a.png")
    assert lem_fork("fragment", "--bits", "3", "a.png", "-o", "f.safetensors", cwd=tmp_path).returncode == 0
    return tmp_path


def document(path, names: list[str], change=lambda text: text) -> None:
    """A stream of images with these names, its record changed by hand."""
    signal = Signal("image", np.zeros((len(names), 1, 4, 4), np.uint8), names=names)
    signal.last = True
    raw = b"".join(bytes(part) for part in stream.document(signal))
    size = int.from_bytes(raw[:8], "little")
    head = json.loads(raw[8 : 8 + size])
    head["__metadata__"]["lem"] = json.dumps(change(json.loads(head["__metadata__"]["lem"])))
    text = json.dumps(head).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + size :])


COMMANDS = [
    "fragment a.png --bits 3",
    "fragment --help",
    "reconstruct f.safetensors --method decode",
    "encode a.png",
    "compare a.png a.png",
    "compare --json a.png a.png",
    "compare --version",
    "info f.safetensors",
    "info --json f.safetensors",
    "train --help",
]


@pytest.mark.parametrize("line", COMMANDS)
@pytest.mark.parametrize("fault, problem", [(closed(1), b"Bad file descriptor"), (full, b"No space left on device")])
def test_results_that_cannot_be_printed(place, line, fault, problem):
    done = lem_fork(*line.split(), cwd=place, prepare=fault)
    words = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and re.fullmatch(rb"lem-\w+: error: (standard output: )?" + problem, words), done.stderr


def test_the_list_of_commands_that_cannot_be_printed():
    code = "import runpy; runpy.run_module('lemtools', run_name='__main__')"
    import subprocess
    import sys

    for out in (">&-", ">/dev/full"):
        done = subprocess.run(["sh", "-c", f'"$0" -c "$1" {out}', sys.executable, code], capture_output=True)
        assert done.returncode == 2 and done.stderr.startswith(b"lemtools: error: standard output: ")


def test_without_standard_error(place):
    done = lem_fork("fragment", "--bits", "3", "a.png", cwd=place, prepare=closed(2))
    assert done.returncode == 0 and len(done.stdout) > 500
    assert lem_fork("fragment", "--bits", "3", "nope", cwd=place, prepare=closed(2)).returncode == 2
    assert lem_fork("compare", "a.png", "a.png", cwd=place, prepare=closed(0, 2)).returncode == 0
    assert lem_fork("compare", "a.png", "a.png", cwd=place, prepare=closed(0, 1, 2)).returncode == 2


def safe(text: bytes, lines: int | None = None) -> bool:
    """No control characters but tabs and line ends of our own."""
    return not re.search(r"[^\t\n -~\u00a1-\uffff]|\u202e", text.decode()) and lines in (None, text.count(b"\n"))


def test_what_files_hold_is_safe_to_show(place):
    document(place / "kind", ["a"], lambda lem: lem | {"kind": EVIL})
    document(place / "history", ["a"], lambda lem: lem | {"history": [{EVIL: EVIL}], "rate": EVIL})
    document(place / "names", [EVIL, EVIL + "2"])
    assert lem_fork("compare", "--items", "names", "names", cwd=place).stdout.count(b"complete") == 4
    for line in ("info kind", "info --json kind", "info history", "fragment --bits 3 kind", "compare names history"):
        done = lem_fork(*line.split(), cwd=place)
        assert safe(done.stdout) and safe(done.stderr), (line, done)
        assert b"\ncomplete\ttrue\n" not in done.stdout.rpartition(b"\nbits_per")[0]
    done = lem_fork("compare", "--metric", "mse", "--items", "names", "names", cwd=place)
    assert done.returncode == 0 and safe(done.stdout, 3) and b"\\x1b]0;title\\x07" in done.stdout
    done = lem_fork("fragment", "--bits", "3", "-v", "names", cwd=place)
    assert done.returncode == 0 and safe(done.stderr, 2)
    Image.new("L", (5, 5)).save(place / EVIL, "PNG")
    for line in (["fragment", "--bits", "3", "--debug", "-o", "x.wav", EVIL], ["fragment", "--bits", EVIL, "a.png"]):
        done = lem_fork(*line, cwd=place)
        assert done.returncode == 2 and safe(done.stderr)


def test_a_locale_of_ascii(place):
    """Names keep their bytes; what cannot be printed is escaped."""
    os.rename(place / "a.png", place / "é.png")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    lem("fragment", "--bits", "3", "é.png", "-o", "out/", cwd=place, env=ascii_only)
    assert os.listdir(place / "out") == ["é.safetensors"]
    document(place / "names", ["é.png"])
    lem("fragment", "--bits", "3", "names", "-o", "two/", cwd=place, env=ascii_only)
    assert os.listdir(place / "two") == ["é.safetensors"]
    done = lem("compare", "--items", "--metric", "mse", "é.png", "é.png", cwd=place, env=ascii_only)
    assert done.stdout.decode().count("é.png") == 1 and done.stdout.count(b"\n") == 2
    latin = ascii_only | {"PYTHONIOENCODING": "latin-1"}
    document(place / "names", ["日本"])
    done = lem("compare", "--items", "--metric", "mse", "names", "names", cwd=place, env=latin)
    assert b"\\u65e5\\u672c" in done.stdout


def test_a_sound_beyond_full_scale_is_not_clipped_without_a_word(tmp_path):
    for name, most in (("loud", 3), ("fair", 1)):
        soundfile.write(tmp_path / f"{name}.wav", most * np.sin(np.arange(800) * np.pi / 8), 8000, subtype="FLOAT")
    done = lem_fork("fragment", "--bits", "8", "loud.wav", "-o", "q.wav", cwd=tmp_path)
    assert (
        done.stderr.count(b"\n") == 1 and b"loud.wav: reaches 3 times full scale, to which --bits clips" in done.stderr
    )
    for line in ("--bits 8 --scale peak loud.wav", "--mask .5 loud.wav", "--bits 8 fair.wav"):
        assert lem_fork("fragment", *line.split(), "-o", "q.wav", cwd=tmp_path).stderr == b"", line


def test_masks_of_the_names_of_the_images(place):
    """What is read beside the images does not come out again, so that its names may be theirs."""
    for folder in ("photos", "masks"):
        (place / folder).mkdir()
        os.link(place / "a.png", place / folder / "a.png")
    line = "reconstruct --method decode --lost masks photos -o out/"
    done = lem_fork(*line.split(), cwd=place)
    assert done.returncode == 0 and os.listdir(place / "out") == ["a.png"], done.stderr


def test_one_output_that_cannot_be_written(place):
    long = "m" * 250
    for name in ("a", long, "z"):
        (place / "d").mkdir(exist_ok=True)
        os.link(place / "a.png", place / f"d/{name}.png")
    for line in ("fragment --bits 3 d -o out/", "encode d -o enc/", "reconstruct --method decode names -o rec/"):
        if "names" in line:
            document(place / "names", ["a.png", f"{long}mmm.png", "../z.png", "z.png", "z.jpg"])
        done = lem_fork(*line.split(), cwd=place)
        out = line.rsplit(" ", 1)[1]
        assert done.returncode == 2 and f"{out}{long}".encode() in done.stderr and b"name too long" in done.stderr
        assert sorted(name.partition(".")[0] for name in os.listdir(place / out)) == ["a", "z"]
    assert b"leads out of the folder" in done.stderr and b"two items would go into" in done.stderr
    (place / "wall").touch()
    document(place / "names", ["wall/a.png", "b.png"])
    done = lem_fork("reconstruct", "--method", "decode", "names", "-o", "./", cwd=place)
    assert done.returncode == 2 and b"wall" in done.stderr and (place / "b.png").exists()


def test_a_full_disk_ends_the_run(place, monkeypatch):
    """Not one line for each of a thousand items."""
    from lemtools.media import Target, save
    from lemtools.media import save as module

    def no_room(file, buffers):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lemtools.stream.write_all", no_room)
    told: list[Exception] = []
    signal = Signal("image", np.zeros((5, 1, 4, 4), np.uint8))
    with pytest.raises(OSError, match="No space left"):
        save([signal], Target(f"{place}/out/"), report=told.append)
    assert not told and os.listdir(place / "out") == [] and module is save


BEYOND = ["1" + "0" * 60, "-1" + "0" * 60, "1" + "0" * 5000, "1e60", f"1-1{'0' * 60}"]
LINES = [
    "fragment a.png -o o.safetensors --bits 3 --batch",
    "fragment a.png -o o.safetensors --bits 3 --resize",
    "fragment a.png -o o.safetensors --bits 3 --seed",
    "fragment a.png -o o.safetensors --bits 3 --max-bytes",
    "fragment a.png -o o.safetensors --bits 3 --shard",
    "fragment a.png -o o.safetensors --bits",
    "fragment a.png -o o.safetensors --noise",
    "fragment a.png -o o.safetensors --mask .5 --mask-shape",
    "encode a.png -o o.safetensors --size",
    "compare a.png a.png --peak",
    "compare a.png a.png --min",
    "compare a.png a.png --plot p.png --rows",
]


@pytest.mark.parametrize("line", LINES)
def test_numbers_beyond_all_bounds(place, line):
    for value in BEYOND:
        done = lem_fork(*line.split(), value, cwd=place, seconds=20)
        words = done.stderr.decode()
        assert done.returncode in (0, 2) and "defect" not in words and words.count("\n") <= 1, (
            value[:70],
            words[-300:],
        )
