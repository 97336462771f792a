"""Sounds through wavelets by lem-encode, and back: what is kept, what is said, what is refused."""

import io

import numpy as np
import pytest
import soundfile

from helpers.commands import lem_fork
from lemtools.encode import Coder
from lemtools.encode.spectra import MorletRows
from lemtools.signal import LemError, Signal
from lemtools.transforms import of
from lemtools.transforms.history import front


def audio(n=1, c=1, t=3000, rate=8000.0):
    data = np.random.default_rng(n).uniform(-0.5, 0.5, (n, c, t)).astype(np.float32)
    return Signal("audio", data, rate=rate)


def snr(a, b):
    return 10 * np.log10(np.square(a, dtype=float).sum() / np.square(a.astype(float) - b).sum())


def test_a_pipe_there_and_back(tmp_path):
    sound = audio(1, 2, 5001).data[0]
    soundfile.write(tmp_path / "a.wav", sound.T, 11025, subtype="FLOAT")
    there = lem_fork("encode", "--encoder", "morlet", "a.wav", cwd=tmp_path)
    assert there.returncode == 0 and not there.stderr
    back = lem_fork("encode", "--decode", stdin=there.stdout)
    assert back.returncode == 0 and not back.stderr
    found, rate = soundfile.read(io.BytesIO(back.stdout), dtype="float32")
    assert rate == 11025 and found.shape == (5001, 2) and snr(sound.T, found) > 120


def test_what_is_made_says_how():
    batch = audio(2, 2, 2500)
    (made,) = Coder(MorletRows(voices=8, lowest=50))(batch)
    here = front(made.history)
    assert here == of({"encoder": "morlet", "rate": 8000.0, "samples": 2500, "voices": 8, "lowest": 50.0, "hop": 1})
    assert of(here.record) == here and made.rate == 8000
    assert made.data.shape == (2, 4, *here.shape) == (2, 4, 51, 2500) and not here.zero.any()
    assert here.hz[0] == 50 and np.allclose(here.hz[8:] / here.hz[:-8], 2)
    (back,) = Coder(decode=True)(made)
    assert snr(batch.data, back.data) > 110 and front(back.history) is None


def test_rows_at_a_hop_are_not_decoded():
    (made,) = Coder(MorletRows(hop=100))(audio())
    assert made.data.shape[3] == 30 and front(made.history).frame_seconds == 100 / 8000
    with pytest.raises(LemError, match="of 100 numbers of a row one was kept .--hop 100.*--hop 1,"):
        list(Coder(decode=True)(made))


def test_silence_stays_silence():
    batch = Signal("audio", np.zeros((1, 1, 500), np.float32), rate=8000.0)
    (made,) = Coder(MorletRows())(batch)
    (back,) = Coder(decode=True)(made)
    assert not made.data.any() and not back.data.any() and back.data.shape == (1, 1, 500)


@pytest.mark.parametrize(
    "line, says",
    [
        ("--lowest 22050", "below 22050"),
        ("--lowest 0", "--lowest"),
        ("--voices 3", "--voices"),
        ("--hop 0", "--hop"),
        ("--n-fft 512", "--n-fft is for stft"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(line, says, tmp_path):
    done = lem_fork("encode", "--encoder", "morlet", *line.split(), "absent.wav", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1 and says in done.stderr.decode()
    assert not done.stdout


def test_a_sound_too_slow_for_the_lowest_row_is_named_and_the_others_are_done(tmp_path):
    for rate in (8000, 2000):
        soundfile.write(tmp_path / f"{rate}.wav", audio().data[0].T, rate, subtype="FLOAT")
    line = "encode --encoder morlet --lowest 1500 2000.wav 8000.wav -o out/"
    done = lem_fork(*line.split(), cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1
    assert "2000.wav: morlet: a lowest frequency of 1500 Hz: it lies from 1 to below 1000" in done.stderr.decode()
    assert (tmp_path / "out" / "8000.safetensors").exists()


@pytest.mark.parametrize(
    "damage, says",
    [
        ({"hop": 0}, "hop 0"),
        ({"voices": 24.5}, "voices 24.5"),
        ({"lowest": float("nan")}, "lowest"),
        ({"samples": 9}, "9]"),
    ],
)
def test_a_record_that_cannot_be_is_refused(damage, says):
    (made,) = Coder(MorletRows())(audio())
    made.history[-1].update(damage)
    with pytest.raises(LemError, match=says):
        list(Coder(decode=True)(made))
