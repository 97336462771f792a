"""The adjoint of every linear front end is its transpose: <encode x, y> = <x, adjoint y>."""

import numpy as np
import pytest

from lemtools.catalogue import LemError
from lemtools.transforms import of

STFT = {"encoder": "stft", "rate": 8000.0}
MORLET = {"encoder": "morlet", "rate": 8000.0, "voices": 4, "lowest": 100.0}


@pytest.mark.parametrize("samples", [1, 50, 2001])
@pytest.mark.parametrize(
    "record",
    [
        {**STFT, "n_fft": 64, "hop": 16},
        {**STFT, "n_fft": 50, "hop": 25, "window_fn": "sqrt-hann"},
        {**STFT, "n_fft": 64, "hop": 20, "window_fn": "rect"},
        {**STFT, "n_fft": 512, "hop": 100, "window_fn": "blackman"},
        {**MORLET, "hop": 1},
        {**MORLET, "hop": 3},
        {**MORLET, "hop": 64},
    ],
    ids=lambda record: "-".join(str(value) for value in record.values()),
)
def test_the_adjoint_is_the_transpose(record, samples):
    front, draws = of({**record, "samples": samples}), np.random.default_rng(0)
    x = draws.standard_normal((2, 2, samples)).astype(np.float32)
    made = front.encode(x).astype(np.float64)
    y = draws.standard_normal(made.shape).astype(np.float32)
    back = front.adjoint(y).astype(np.float64)
    assert back.shape == x.shape
    scale = np.sqrt(np.sum(made**2, (1, 2, 3)) * np.sum(y.astype(np.float64) ** 2, (1, 2, 3)))
    difference = np.sum(made * y, (1, 2, 3)) - np.sum(x * back, (1, 2))
    assert (np.abs(difference) < 1e-6 * scale).all()


def test_of_middle_frames():
    front, draws = of({**STFT, "n_fft": 64, "hop": 16, "middle": 9, "samples": 700}), np.random.default_rng(1)
    x = draws.standard_normal((1, 1, 700)).astype(np.float32)
    y = draws.standard_normal((1, 2, *front.shape)).astype(np.float32)
    assert np.sum(front.encode(x) * y) == pytest.approx(np.sum(x * front.adjoint(y)), rel=1e-4)


@pytest.mark.parametrize("how", [{"compress": 0.5}, {"rms": 0.2}])
def test_what_is_not_linear_has_none(how):
    front = of({**STFT, "n_fft": 64, "hop": 16, "samples": 700, **how})
    with pytest.raises(LemError, match="not linear"):
        front.adjoint(np.zeros((1, 2, *front.shape), np.float32))
