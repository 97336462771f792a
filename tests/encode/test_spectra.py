"""Sounds as spectra through lem-encode, and back: what is kept, what is said, what is refused."""

import io

import numpy as np
import pytest
import soundfile

from helpers.commands import lem_fork
from lemtools.encode import Coder
from lemtools.encode.sound import Alike, Length
from lemtools.encode.spectra import MFCC, STFT, LogMel, Mel
from lemtools.signal import LemError, Signal
from lemtools.transforms.history import front


def audio(n=1, c=1, t=3000, rate=8000.0, seed=0):
    data = np.random.default_rng(seed).uniform(-0.5, 0.5, (n, c, t)).astype(np.float32)
    return Signal("audio", data, rate=rate)


def snr(a, b):
    return 10 * np.log10(np.square(a, dtype=float).sum() / max(np.square(a.astype(float) - b).sum(), 1e-30))


def wave(path, t=3000, c=1, rate=8000, seed=0):
    sound = audio(1, c, t, seed=seed).data[0]
    soundfile.write(path, sound.T, rate, subtype="FLOAT")
    return sound


def coded(signal, encoder):
    return list(Coder(encoder)(signal))


def test_a_pipe_there_and_back(tmp_path):
    sound = wave(tmp_path / "a.wav", 5001, 2, 11025)
    there = lem_fork("encode", "--encoder", "stft", "a.wav", cwd=tmp_path)
    assert there.returncode == 0 and not there.stderr
    back = lem_fork("encode", "--decode", stdin=there.stdout)
    assert back.returncode == 0 and not back.stderr
    found, rate = soundfile.read(io.BytesIO(back.stdout), dtype="float32")
    assert rate == 11025 and found.shape == (5001, 2) and snr(sound.T, found) > 130
    measured = lem_fork("compare", "a.wav", "-", stdin=back.stdout, cwd=tmp_path)
    assert measured.returncode == 0 and float(measured.stdout.split(b"\t")[1]) > 130


def test_what_is_made_says_how():
    batch = audio(3, 2, 2500)
    (made,) = coded(batch, STFT(n_fft=256, hop=50, compress=0.5))
    assert made.kind == "spectrum" and made.data.shape == (3, 4, 129, 51) and made.rate == 8000
    assert front(made.history) == STFT(n_fft=256, hop=50, compress=0.5).front(2500, 8000.0)
    (back,) = Coder(decode=True)(made)
    assert back.kind == "audio" and back.rate == 8000 and snr(batch.data, back.data) > 130
    assert front(back.history) is None


def test_mono_resample_and_length_are_done_in_this_order_and_stand_in_the_record():
    pytest.importorskip("torchaudio")
    t = np.arange(8000) / 8000
    data = np.stack([np.sin(2 * np.pi * 440 * t), np.sin(2 * np.pi * 440 * t) * 0.5])[None].astype(np.float32)
    encoder = STFT(n_fft=256, mono=True, resample=11025, length="0.8")
    (made,) = coded(Signal("audio", data, rate=8000.0), encoder)
    record = front(made.history)
    assert (record.samples, record.rate, made.rate) == (8820, 11025, 11025)
    (back,) = Coder(decode=True)(made)
    wanted = 0.75 * np.sin(2 * np.pi * 440 * np.arange(8820) / 11025)
    assert back.data.shape == (1, 1, 8820) and snr(wanted[200:-200], back.data[0, 0, 200:-200]) > 50


@pytest.mark.parametrize(
    ("rate", "wanted", "samples"), [(8000, 11025, 801), (44100, 8000, 1000), (8000, 8000, 7), (3, 2, 5)]
)
def test_the_record_has_the_sizes_of_what_is_encoded(rate, wanted, samples):
    pytest.importorskip("torchaudio")
    for alike in (Alike(resample=wanted), Alike(resample=wanted, length=Length.read("0.7")), Alike(True, None, None)):
        made = alike.applied(audio(1, 2, samples, float(rate)))
        assert alike.sizes(samples, float(rate)) == (made.data.shape[-1], made.rate)


def test_no_item_is_no_problem():
    (made,) = coded(audio(0), STFT(n_fft=64))
    assert made.data.shape == (0, 2, 33, 188)
    assert next(Coder(decode=True)(made)).data.shape == (0, 1, 3000)


def test_lengths():
    x = audio(1, 1, 800).data
    assert Length.read("0.05").applied(x, 8000).shape[-1] == 400
    assert Length.read("0.2").applied(x, 8000).shape[-1] == 1600
    padded = Length.read("0.2:pad").applied(x, 8000)
    assert np.array_equal(padded[..., :800], x) and not padded[..., 800:].any()
    assert np.array_equal(Length.read("0.05:crop").applied(x, 8000), x[..., :400])
    with pytest.raises(LemError, match="shorter than --length 0.2:crop; 0.2:pad"):
        Length.read("0.2:crop").applied(x, 8000)
    with pytest.raises(LemError, match="longer than --length 0.05:pad; 0.05:crop"):
        Length.read("0.05:pad").applied(x, 8000)
    for text in ("", "x", "0", "-1", "inf", "nan", "1:both", "1:pad:crop"):
        with pytest.raises(LemError, match="--length"):
            Length.read(text)


@pytest.mark.parametrize(
    "line, says",
    [
        ("--n-fft 63", "even"),
        ("--n-fft 64 --hop 64", "cannot be inverted"),
        ("--n-fft 64 --hop 65 --window-fn rect", "cannot be inverted"),
        ("--length 1:loop", "--length 1:loop"),
        ("--compress 0", "--compress"),
        ("--window-fn kaiser", "--window-fn"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(line, says, tmp_path):
    done = lem_fork("encode", "--encoder", "stft", *line.split(), "absent.wav", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1 and says in done.stderr.decode()
    assert not done.stdout


def test_sounds_that_differ_are_said(tmp_path):
    for k, (t, c, rate) in enumerate([(3000, 1, 8000), (2000, 1, 8000), (2000, 2, 16000)]):
        wave(tmp_path / f"{k}.wav", t, c, rate, seed=k)
    done = lem_fork("encode", "--encoder", "stft", *(f"{k}.wav" for k in range(3)), "-o", "out/", cwd=tmp_path)
    said = "sounds of 3 lengths, 2 rates and 2 numbers of channels"  # lengths are seconds
    assert done.returncode == 0 and said in done.stderr.decode() and done.stderr.count(b"\n") == 1
    back = lem_fork("encode", "--decode", "out", "-o", "back/", cwd=tmp_path)
    assert back.returncode == 0 and not back.stderr
    for k in range(3):
        a, b = (soundfile.read(tmp_path / folder / f"{k}.wav", dtype="float32") for folder in (".", "back"))
        assert a[1] == b[1] and snr(a[0], b[0]) > 130
    same = lem_fork(
        "encode", "--encoder", "stft", "--length", ".3", "0.wav", "1.wav", "-o", "x.safetensors", cwd=tmp_path
    )
    assert same.returncode == 0 and not same.stderr
    rates = lem_fork(
        "encode", "--encoder", "stft", "--length", ".3", "--mono", "0.wav", "2.wav", "-o", "each/", cwd=tmp_path
    )
    assert b"sounds of 2 rates, each encoded as it is; --resample HZ makes them alike\n" in rates.stderr


def test_the_preset_of_els_audio():
    batch = audio(2, 1, 60000, rate=44100.0)
    (made,) = coded(batch, STFT(preset="els-audio"))
    record = front(made.history)
    assert made.data.shape == (2, 2, 513, 173) and (record.rms, record.middle, record.hop) == (0.2, 173, 256)
    whole = batch.data / np.sqrt(np.square(batch.data).mean(axis=(1, 2), keepdims=True)) * 0.2
    (all_frames,) = coded(Signal("audio", whole, rate=44100.0), STFT())
    first = (all_frames.data.shape[-1] - 173) // 2
    assert np.allclose(made.data, all_frames.data[..., first : first + 173], atol=1e-4)
    (back,) = Coder(decode=True)(made)
    start = first * 256
    assert snr(whole[..., start : start + 172 * 256], back.data) > 130
    (other,) = coded(batch, STFT(preset="els-audio", hop=128, middle=100))
    assert other.data.shape == (2, 2, 513, 100)


@pytest.mark.parametrize("encoder", [Mel(n_fft=256, bands=20), LogMel(n_fft=256, bands=20), MFCC(n_fft=256, bands=20)])
def test_bands_go_there_and_back(encoder):
    batch = audio(2, 2, 2500)
    (made,) = coded(batch, encoder)
    assert made.kind == "spectrum" and made.data.shape == (2, 2, 20, 40)
    assert np.array_equal(made.data, front(made.history).encode(batch.data))
    (back,) = Coder(decode=True)(made)
    assert back.kind == "audio" and back.data.shape == batch.data.shape
    alone = next(Coder(decode=True)(made.take([1])))
    assert np.array_equal(alone.data, back.data[1:])  # whatever else is in the batch
    if encoder.name != "mfcc":
        (again,) = coded(back, LogMel(n_fft=256, bands=20))
        (wanted,) = coded(batch, LogMel(n_fft=256, bands=20))
        assert np.sqrt(np.square(again.data - wanted.data).mean()) < 0.5 * wanted.data.std()


def test_settings_that_do_not_fit_one_another_are_refused():
    with pytest.raises(LemError, match="--coefficients 30: of 20 --bands"):
        MFCC(bands=20, coefficients=30)
    with pytest.raises(LemError, match="too many for windows of 64"):
        coded(audio(), Mel(n_fft=64))
    with pytest.raises(LemError, match="make 47 frames, not 173; --length S:pad"):
        coded(audio(), STFT(preset="els-audio", hop=64))
