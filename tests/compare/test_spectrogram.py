"""Pictures of sounds and spectra: what is bright where, the axes, one scale of colours; and what is zero counts nowhere."""

import io

import numpy as np
import pytest
from PIL import Image

from lemtools.compare import Comparison, measure, pair
from lemtools.compare.plot import Plot, picture
from lemtools.compare.spectrogram import BELOW, HEIGHT, LEFT, WIDTH, loudest, of_sound, of_spectrum, ticks
from lemtools.signal import Signal
from lemtools.transforms import of

RECORD = {"tool": "lem-encode", "encoder": "stft", "rate": 8000, "samples": 4096, "n_fft": 256, "hop": 64}
FRONT = of(RECORD)


def tone(hz, level=0.5, samples=4096):
    return (level * np.sin(2 * np.pi * hz * np.arange(samples) / 8000))[None, None].astype(np.float32)


def spectrum(sound):
    return Signal("spectrum", FRONT.encode(sound), rate=8000.0, history=[dict(RECORD)])


@pytest.mark.parametrize("hz", [500, 3000])
def test_a_tone_is_bright_at_its_height(hz):
    for drawn in (of_sound(tone(hz)[0], 8000), of_spectrum(spectrum(tone(hz)).data[0], 1.0, FRONT)):
        assert drawn.shape == (HEIGHT + BELOW, LEFT + WIDTH, 3)
        rows = drawn[:HEIGHT, LEFT:].astype(int).sum(axis=(1, 2))
        assert abs((HEIGHT - 1 - np.argmax(rows)) / (HEIGHT - 1) - hz / 4000) < 0.03
        assert (drawn[:HEIGHT, :LEFT] != 255).any() and (drawn[HEIGHT:, LEFT:] != 255).any()  # numbers at both axes


def test_bands_and_cepstra_are_drawn_with_row_0_below():
    bands = np.zeros((1, 8, 6), np.float32)
    bands[0, 1] = 1
    drawn = picture("spectrum", bands, 8000.0).astype(int).sum(axis=2)
    coloured = np.flatnonzero((drawn != drawn[0, 0]).any(axis=1)) / (len(drawn) - 1)
    assert 0.75 <= coloured.mean() <= 0.9


def test_all_pictures_of_a_row_have_one_scale():
    one = spectrum(tone(1000)).data[0]
    full = loudest(one)
    assert of_spectrum(one, full).max() >= 248 and of_spectrum(1e-5 * one, full).max() <= 16  # 100 dB below
    half = of_spectrum(0.01 * one, full).max(axis=(0, 1))
    assert (half < of_spectrum(one, full).max(axis=(0, 1))).all()
    assert of_spectrum(np.zeros_like(one), 0.0).max() <= 16


def test_ticks_are_round():
    assert ticks(4000).tolist() == [0, 1000, 2000, 3000, 4000]
    assert ticks(11025).tolist() == [0, 5000, 10000]
    np.testing.assert_allclose(ticks(0.37), [0, 0.1, 0.2, 0.3])


def drawn(a, b):
    plot, comparison = Plot(), Comparison("mse")
    for both in pair([a], [b]):
        plot.add(both, comparison)
        comparison.add(both)
    file = io.BytesIO()
    plot.draw(file, comparison, comparison.results())
    return plot, np.asarray(Image.open(file))


@pytest.mark.parametrize("kind", ["audio", "spectrum"])
def test_the_sheet_has_both_and_their_difference(kind):
    made = spectrum if kind == "spectrum" else lambda x: Signal("audio", x, rate=8000.0)
    plot, page = drawn(made(tone(1000)), made(tone(1000) + tone(3000)))
    one, other, error = (plot.columns[c][0] for c in ("original", "recalled", "difference"))
    assert kind == "audio" or plot.scales == [loudest(spectrum(tone(1000)).data[0])]
    assert page.shape[1] > 3 * (LEFT + WIDTH)
    low, high = round(HEIGHT * 0.75), round(HEIGHT * 0.25)
    dark = 40

    def bright(picture, row):
        return picture[row - 3 : row + 4, LEFT + 40 : LEFT + WIDTH - 40, 0].max() > 200

    assert bright(one, low) and bright(other, low) and not bright(error, low)
    assert not bright(one, high) and bright(other, high) and bright(error, high)
    assert one[2:6, LEFT + 60 : LEFT + 190, 0].max() < dark + 80


def test_parts_that_are_zero_for_every_sound_count_in_no_metric():
    a = spectrum(tone(700))
    b = Signal("spectrum", a.data.copy(), rate=8000.0)
    b.data[:, 1, 0] = b.data[:, 1, -1] = 100  # imaginary parts of DC and Nyquist
    found = {r.name: r.mean for r in measure(a, b, "nmse,sqnr,cosine,mse")}
    assert found["nmse"] == 0 and found["mse"] == 0 and found["sqnr"] == np.inf and found["cosine"] == pytest.approx(1)
    b.data[:, 0, 0] += 1  # the real part counts
    assert measure(a, b, "nmse")[0].mean > 0
    error = b.data.astype(float) - a.data
    error = np.concatenate([error[:, 0].ravel(), error[:, 1, 1:-1].ravel()])  # means are over what is left
    found = {r.name: r.mean for r in measure(a, b, "mse,mae,max-abs")}
    assert found["mse"] == pytest.approx(np.mean(error**2)) and found["mae"] == pytest.approx(np.mean(abs(error)))
    assert found["max_abs"] == pytest.approx(1)
    a.history = []  # of what nobody knows how it was made everything counts
    assert measure(a, b, "nmse")[0].mean > 1
