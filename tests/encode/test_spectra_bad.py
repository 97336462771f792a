"""Sounds that cannot become spectra, and spectra that cannot become sounds: a line each, and the others are done."""

import numpy as np
import pytest
import soundfile

from helpers.commands import lem_fork
from lemtools import stream
from lemtools.catalogue import LemError
from lemtools.encode import decode, encode, spectra
from lemtools.encode.sound import Length
from lemtools.encode.spectra import STFT
from lemtools.signal import Signal


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sounds")
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 4000).astype(np.float32)
    broken = np.where(np.arange(4000) == 100, np.float32("nan"), sound)
    kinds = {"a": sound, "b": sound * 0, "c": sound[::-1], "nan": broken, "short": sound[:10], "none": sound[:0]}
    for name, values in kinds.items():
        soundfile.write(path / f"{name}.wav", values, 8000, subtype="FLOAT")
    (path / "cut.wav").write_bytes((path / "a.wav").read_bytes()[:9000])
    (path / "empty.wav").write_bytes(b"")
    made = Signal("spectrum", np.ones((2, 2, 33, 20), np.float32), rate=8000.0)
    with open(path / "norecord.safetensors", "wb") as file:
        stream.write([made], file)
    return path


def said(folder, *line) -> list[str]:
    done = lem_fork("encode", *line, cwd=folder)
    assert done.returncode == 2
    lines = done.stderr.decode().splitlines()
    assert all(line.startswith("lem-encode: error: ") for line in lines), lines
    return [line.removeprefix("lem-encode: error: ") for line in lines]


@pytest.mark.parametrize(
    "line, says",
    [
        ("--encoder stft cut.wav", "cut.wav: WAV cut short"),
        ("--encoder stft empty.wav", "empty.wav: empty"),
        ("--encoder mel nan.wav", "nan.wav: NaN or infinite values"),
        ("--encoder stft none.wav", "none.wav: a sound of no length"),
        ("--encoder stft --rms .2 b.wav", "b.wav: silent"),
        ("--encoder stft --length 1:crop short.wav", "short.wav: 0.00125 s, shorter than --length 1:crop; 1:pad"),
        ("--encoder stft --length .1:pad a.wav", "a.wav: 0.5 s, longer than --length 0.1:pad; 0.1:crop"),
        ("--encoder stft --preset els-audio a.wav", "make 16 frames, not 173; --length S:pad"),
        ("--encoder mel --n-fft 64 a.wav", "a.wav: 80 mel bands are too many for windows of 64 samples"),
        (
            "--encoder stft norecord.safetensors",
            "norecord.safetensors: item 0 and 1 more: stft encodes audio, not spectrum",
        ),
        (
            "--decode norecord.safetensors",
            "norecord.safetensors: item 0 and 1 more: nothing in its history says what made",
        ),
        ("--decode --encoder stft norecord.safetensors", "nothing in its history says how stft made it"),
        ("--decode a.wav", "a.wav: nothing in its history says how it was encoded"),
        ("a.wav", "a.wav: patches encodes image, not audio; --encoder stft"),
    ],
)
def test_one_line_with_the_file_and_the_way_out(folder, line, says):
    (found,) = said(folder, *line.split())
    assert says in found


def test_the_others_are_done(folder, tmp_path):
    files = ["cut.wav", "a.wav", "b.wav", "nan.wav", "c.wav", "empty.wav"]
    lines = said(folder, "--encoder", "stft", "--rms", ".2", *files, "-o", f"{tmp_path}/")
    assert [line.split(":")[0] for line in lines] == ["cut.wav", "nan.wav", "empty.wav", "b.wav"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "c.safetensors"]
    lines = said(folder, "--decode", "norecord.safetensors", str(tmp_path / "a.safetensors"), "-o", f"{tmp_path}/back/")
    assert len(lines) == 1 and [path.name for path in (tmp_path / "back").iterdir()] == ["a.wav"]


def test_silence_and_sounds_shorter_than_a_window_are_no_problem(folder):
    for name in ("b", "short"):
        there = lem_fork("encode", "--encoder", "stft", f"{name}.wav", cwd=folder)
        back = lem_fork("encode", "--decode", "--to", "npy", stdin=there.stdout)
        assert there.returncode == back.returncode == 0 and not there.stderr and not back.stderr
        values = np.frombuffer(back.stdout[-4 * (10 if name == "short" else 4000) :], np.float32)
        assert np.abs(values - soundfile.read(folder / f"{name}.wav", dtype="float32")[0]).max() < 1e-6


def test_a_record_that_was_tampered_with_is_one_line(folder, tmp_path):
    from lemtools.encode import Coder
    from lemtools.encode.spectra import STFT

    sound = Signal("audio", np.ones((1, 1, 500), np.float32), rate=8000.0)
    (made,) = Coder(STFT(n_fft=64))(sound)
    for key, value in (("samples", 10**12), ("hop", 3), ("n_fft", 128), ("window_fn", "none"), ("rate", "8 kHz")):
        made.history = [{**made.history[0], key: value}]
        with open(tmp_path / "x.safetensors", "wb") as file:
            stream.write([made], file)
        (line,) = said(tmp_path, "--decode", "x.safetensors")
        assert line.startswith("x.safetensors: item 0: ")


def test_a_decoded_sound_is_finite_and_of_the_rate_on_record():
    spectra = list(encode([Signal("audio", np.ones((1, 1, 400), np.float32), rate=8000.0)], STFT(n_fft=64)))
    spectra[0].data[0, 0, 3, 3] = 3e38
    with pytest.raises(LemError, match="not finite numbers"):
        list(decode(spectra))
    spectra[0].data[0, 0, 3, 3] = 0
    spectra[0].rate = 16000.0
    with pytest.raises(LemError, match="16000 Hz whose record says 8000 Hz"):
        list(decode(spectra))


@pytest.mark.parametrize(
    "options, words",
    [
        ({"resample": 22051}, "--resample 22050 does not"),
        ({"length": "1e300"}, "at most"),
        ({"length": "1e9"}, "at most"),
    ],
)
def test_rates_and_lengths_that_no_machine_could_make(options, words):
    sound = Signal("audio", np.ones((1, 1, 400), np.float32), rate=44100.0)
    with pytest.raises(LemError, match=words):
        list(encode([sound], STFT(**options)))


@pytest.mark.parametrize("name", ["stft", "mel", "log-mel", "mfcc"])
def test_a_sound_too_loud_for_32_bits_is_one_line_and_the_others_are_done(tmp_path, name):
    """A power or a sum of many samples may be beyond the largest float32 where no sample is: no spectrum of infinities, no warning."""
    noise = np.random.default_rng(0).standard_normal((3, 4000)) * [[0.1], [1e37], [0.1]]
    for file, values in zip("abc", noise):
        soundfile.write(tmp_path / f"{file}.wav", values, 8000, subtype="FLOAT")
    (line,) = said(tmp_path, "--encoder", name, "--n-fft", "2048", "a.wav", "b.wav", "c.wav", "-o", "out/")
    assert line.startswith("b.wav: its spectrum has values beyond the largest 32-bit float")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.safetensors", "c.safetensors"]


def test_wavelets_too_large_for_32_bits_decode_to_one_line(tmp_path):
    """Rows are summed in threads of their own, which warn of nothing either."""
    noise = np.random.default_rng(0).standard_normal(4000) * 1e38
    soundfile.write(tmp_path / "b.wav", noise.clip(-3e38, 3e38), 8000, subtype="FLOAT")
    assert not lem_fork("encode", "--encoder", "morlet", "b.wav", "-o", "b.safetensors", cwd=tmp_path).stderr
    (line,) = said(tmp_path, "--decode", "b.safetensors", "-o", "back.wav")
    assert line.startswith("b.wav: decodes to values that are not finite numbers")


@pytest.mark.parametrize("rms", ["1e-31", "1e38"])
def test_an_rms_that_32_bits_cannot_hold(folder, rms):
    (line,) = said(folder, "--encoder", "stft", "--rms", rms, "a.wav")
    assert line.startswith(f"a.wav: stft: rms {float(rms)!r}: ") and "above 1e-30, to 1e+30" in line


def test_a_length_is_rounded_to_samples():
    assert [Length.read(text).samples(8000.0) for text in ("0.0012", "0.00131", "1e-9")] == [10, 10, 1]


def test_spectra_beyond_the_limit_are_refused_by_their_size_with_all_channels(monkeypatch):
    """1 + 400 / 16 frames of 33 rows, real and imaginary parts of 4 bytes: 6,864 bytes a channel."""
    monkeypatch.setattr(spectra, "MAX_BYTES", 3 * 6864)
    for channels in (3, 4):
        sound = Signal("audio", np.ones((2, channels, 400), np.float32), rate=8000.0)
        if channels == 3:
            assert len(list(encode([sound], STFT(n_fft=64)))) == 1
        else:
            with pytest.raises(LemError, match="27456 bytes of spectrum a sound; give a larger --hop"):
                list(encode([sound], STFT(n_fft=64)))
