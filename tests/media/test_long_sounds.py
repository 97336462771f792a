"""Inputs as bytes on the disk, and long sounds that are read in pieces: the same bytes and samples as at once."""

import io
import os

import numpy as np
import pytest
import soundfile

from lemtools.media import Reading, load, sounds
from lemtools.media import raw as module
from lemtools.media.raw import Cursor, Raw
from lemtools.signal import LemError, Long, Signal
from lemtools.stream import Source

RNG = np.random.default_rng(11)
WAVE = (0.3 * np.sin(np.arange(30_000)[:, None] * [0.05, 0.07])).astype(np.float32)


def encoded(form: str, **options) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, WAVE, 44_100, format=form, **options)
    return out.getvalue()


@pytest.fixture
def small(monkeypatch):
    """Sounds of more than 40,000 bytes are long, and are read 5,000 values at a time."""
    monkeypatch.setattr(sounds, "BATCH_BYTES", 40_000)
    monkeypatch.setattr(sounds, "_BLOCK", 5_000)


def whole(long: Long) -> np.ndarray:
    return np.concatenate([*long.blocks()], axis=1)[None]


def raws(tmp_path, body: bytes, skip: int = 0):
    """The same bytes from a file and from a pipe, behind `skip` that were read."""
    path = tmp_path / "x"
    path.write_bytes(body)
    with open(path, "rb", buffering=0) as file:
        file.seek(skip)
        source = Source(file, "x")
        source.peek(5)
        on_disk = Raw.of(source)
    yield on_disk  # the file is closed
    yield Raw.of(Source(io.BytesIO(body[skip:]), "x"))


@pytest.mark.parametrize("skip", [0, 100])
def test_slices_are_those_of_the_bytes(tmp_path, monkeypatch, skip):
    monkeypatch.setattr(module, "PIECE", 64)
    body = RNG.bytes(1000)
    for raw in raws(tmp_path, body, skip):
        left = body[skip:]
        assert len(raw) == len(left)
        for a, b in [(0, 5), (7, 7), (9, 3), (800, 2000), (5000, 6000), (None, None), (-5, None)]:
            assert raw[a:b] == left[a:b]
        part = raw.part(100, 700)
        assert len(part) == 600 and part[5:900] == left[105:700]
        for at in (0, 300, 363, 590):
            assert part.holds(left[100 + at : 110 + at], at) and not part.holds(left[100 + at : 110 + at], at + 1)
        assert all(part.holds(left[100 + at : 110 + at], 0) for at in range(590)) and not part.holds(left[695:705], 0)
        raw.mend(50, b"abcd")
        mended = left[:50] + b"abcd" + left[54:]
        assert all(raw[a:b] == mended[a:b] for a, b in [(0, 900), (51, 53), (52, 60), (40, 51), (54, 60), (40, 50)])


def test_a_cursor_is_a_file(tmp_path):
    body = RNG.bytes(300)
    for raw in raws(tmp_path, body):
        cursor, file = Cursor(raw), io.BytesIO(body)
        for offset, whence, count in [(10, 0, 20), (5, 1, 400), (-30, 2, 10), (0, 0, 300), (400, 0, 3)]:
            assert cursor.seek(offset, whence) == file.seek(offset, whence) == cursor.tell()
            assert cursor.read(count) == file.read(count) and cursor.tell() == file.tell()


def test_what_the_disk_refuses_is_its_own_error(tmp_path, small, monkeypatch):
    """And no 'cut short'."""
    (tmp_path / "a.wav").write_bytes(encoded("WAV"))
    (signal,) = load(tmp_path / "a.wav", Reading(long=True))

    read = os.pread
    for good in (0, 60_000):  # bytes

        def fails(file, count, at, good=good):
            if at >= good:
                raise OSError(5, "Input/output error")
            return read(file, count, at)

        monkeypatch.setattr(module.os, "pread", fails)
        with pytest.raises(OSError, match="Input/output error.*a.wav"):
            whole(signal.data)


@pytest.mark.parametrize(
    "form, options",
    [
        ("WAV", {"subtype": "FLOAT"}),
        ("WAV", {"subtype": "PCM_16"}),
        ("RF64", {"subtype": "PCM_24"}),
        ("FLAC", {"subtype": "PCM_24"}),
        ("OGG", {"subtype": "VORBIS"}),
        ("MP3", {"subtype": "MPEG_LAYER_III"}),
    ],
)
def test_a_long_sound_is_the_array_in_pieces(tmp_path, small, form, options):
    (tmp_path / "x").write_bytes(encoded(form, **options))
    (array,), (long,) = load(tmp_path / "x"), load(tmp_path / "x", Reading(long=True))
    assert isinstance(long.data, Long) and long.rate == array.rate and long.last
    assert (long.data.shape, long.data.nbytes, len(long)) == (array.data.shape, array.data.nbytes, 1)
    assert np.array_equal(whole(long.data), array.data) and np.array_equal(whole(long.data), array.data)
    assert max(block.size for block in long.data.blocks()) <= 5_000


def test_a_chain_is_one_long_sound(tmp_path, small):
    (tmp_path / "x").write_bytes(2 * encoded("OGG"))
    (array,), (long,) = load(tmp_path / "x"), load(tmp_path / "x", Reading(long=True))
    assert array.data.shape == (1, 2, 60_000) and np.array_equal(whole(long.data), array.data)


def test_a_short_sound_is_an_array(tmp_path):
    (tmp_path / "x").write_bytes(encoded("WAV"))
    (signal,) = load(tmp_path / "x", Reading(long=True))
    assert isinstance(signal.data, np.ndarray)


def test_from_a_pipe_and_of_unknown_length(tmp_path, small):
    """As ffmpeg writes it."""
    body = encoded("WAV", subtype="PCM_16")
    at = body.index(b"data") + 4
    body = body[:4] + b"\xff" * 4 + body[8:at] + b"\xff" * 4 + body[at + 4 :]
    (tmp_path / "x").write_bytes(body)
    (array,), (long,) = load(tmp_path / "x"), load(tmp_path / "x", Reading(long=True))
    assert array.data.shape == (1, 2, 30_000) and np.array_equal(whole(long.data), array.data)
    os.mkfifo(tmp_path / "pipe")
    if (child := os.fork()) == 0:
        (tmp_path / "pipe").write_bytes(body)
        os._exit(0)
    (piped,) = load(tmp_path / "pipe", Reading(long=True))
    os.waitpid(child, 0)
    assert np.array_equal(whole(piped.data), array.data)


def test_what_is_left_out_and_what_is_taken(small):
    long = Signal("audio", Long(2, 9, lambda: iter(())), rate=1.0, names=["a"])
    assert long.take([0]).data is long.data and len(long.take([])) == 0 and len(long.take(slice(0, 0))) == 0
    assert repr(long) == "<Signal: 1 audio item of 2 x 9 float32 at 1 Hz>"


def test_others_of_several_are_not_put_together_with_it(tmp_path, small):
    for name in "abc":
        (tmp_path / name).write_bytes(encoded("WAV"))
    batches = list(load(tmp_path, Reading(long=True, batch=8, wanted=lambda i, name: i != 1)))
    assert [len(batch) for batch in batches] == [1, 1] and [int(b.index[0]) for b in batches] == [0, 2]
    assert [batch.last for batch in batches] == [None, True]


def test_what_is_wrong_with_it_is_found_before_it_is_taken(tmp_path, small):
    body = encoded("WAV", subtype="FLOAT")
    bad = body[:-400] + np.float32(np.nan).tobytes() + body[-396:]
    (tmp_path / "x").write_bytes(bad)
    with pytest.raises(LemError, match="x: NaN or infinite values"):
        list(load(tmp_path / "x", Reading(long=True)))
    (tmp_path / "x").write_bytes(encoded("WAV", subtype="PCM_16"))
    with pytest.raises(LemError, match="over 200000 bytes of sound; raise --max-bytes"):
        list(load(tmp_path / "x", Reading(long=True, max_bytes=200_000)))
    (tmp_path / "x").write_bytes(body)
    (signal,) = load(tmp_path / "x", Reading(long=True))
    os.truncate(tmp_path / "x", 100_000)
    with pytest.raises(LemError, match="x: WAV cut short"):
        whole(signal.data)
