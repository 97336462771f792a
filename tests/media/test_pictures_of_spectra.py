"""Spectra as pictures."""

import numpy as np
from PIL import Image

from helpers.commands import lem_fork
from lemtools.media import Target, save
from lemtools.media.spectrogram import DEPTH, picture
from lemtools.signal import Signal


def test_levels_are_those_of_the_power_and_low_frequencies_lie_at_the_bottom():
    pair = np.zeros((2, 3, 4), np.float32)
    pair[:, 0, 1] = 3, 4  # the loudest, 0 dB, in the lowest row
    pair[1, 2, 3] = 5 * 10 ** (-DEPTH / 2 / 20)  # half way down
    pair[0, 1, 0] = 5e-5  # 100 dB below
    shown = picture(pair)
    assert shown.dtype == np.uint8 and shown.shape == (1, 3, 4)
    assert shown[0, 2, 1] == 255 and shown[0, 0, 3] == 128 and np.count_nonzero(shown) == 2


def test_what_is_no_pair_is_shown_from_its_least_to_its_largest():
    shown = picture(np.array([[[-2.0, 0.0], [2.0, 1.0]]], np.float32))
    assert shown[0].tolist() == [[255, 191], [0, 128]]
    assert not picture(np.full((1, 2, 2), -3.0)).any() and not picture(np.zeros((2, 2, 2))).any()


def test_a_spectrum_is_written_as_a_picture(tmp_path):
    data = np.random.default_rng(0).standard_normal((1, 4, 9, 7)).astype(np.float32)
    save([Signal("spectrum", data, rate=8000.0, last=True)], Target(str(tmp_path / "s.png")))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "s.png")), picture(data[0])[0])
    done = lem_fork("encode", "--encoder", "stft", "--sample-name", "rooster", "-o", "r.jpg", cwd=tmp_path)
    assert done.returncode == 0 and not done.stderr and Image.open(tmp_path / "r.jpg").size[1] == 513
