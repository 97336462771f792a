"""A diffusion network learns the Wiener filter of a Gaussian field: the closed form is the best that any denoiser can do."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.training import settings
from lemtools.denoise.gaussian import Gaussian
from lemtools.nets.denoiser import NetworkDenoiser
from lemtools.nets.model import load
from lemtools.train.loop import train

POINTS = 16


def field(count, seed):
    """(Gaussian states [N, 1, L] on a ring, their covariance [L, L]): the power of mode k is exp(-.7 k)."""
    power = np.exp(-0.7 * np.abs(np.fft.fftfreq(POINTS, 1 / POINTS)))
    white = np.fft.fft(np.random.default_rng(seed).standard_normal((count, 1, POINTS)))
    away = (np.arange(POINTS)[:, None] - np.arange(POINTS)) % POINTS
    return np.fft.ifft(white * np.sqrt(power)).real.astype(np.float32), np.fft.ifft(power).real[away]


NETWORKS = {
    "mlp-denoiser": dict(width=64, depth=1, steps=400, lr=5e-3, ema=0.98),
    "resnet": dict(width=32, depth=3, steps=1500, lr=2e-3, ema=0.998, options={"padding": "circular"}),
}


@pytest.mark.parametrize("arch", ["mlp-denoiser", pytest.param("resnet", marks=pytest.mark.slow)])
def test_within_5_percent_of_the_closed_form(tmp_path, arch):
    """Mean squared error over the Wiener filter's, where what does nothing is 9 to 560 % off."""
    np.save(tmp_path / "x.npy", field(4000, 0)[0])
    more = dict(
        recipe="diffusion", kind="field", arch=arch, fragment=(), batch=64, holdout=0, log=None, save_every=10_000
    )
    asked = settings(tmp_path, {"field": str(tmp_path / "x.npy")}, **more, **NETWORKS[arch])
    train(replace(asked, kind="field"))  # (an array of numbers is no field of its own accord)
    model = load(str(tmp_path / "model.safetensors"))
    values, covariance = field(4000, 9)
    offset, gain = (float(np.ravel(v)[0]) for v in (model.scale.offset, model.scale.gain))
    wiener, network = Gaussian(np.full((1, POINTS), -offset * gain), covariance * gain**2), NetworkDenoiser(model)
    x = (values.astype(np.float64) - offset) * gain
    for s in (0.1, 0.2, 0.5, 1.0, 2.0):
        alpha_bar = 1 / (1 + s**2)
        noisy = alpha_bar**0.5 * (x + s * np.random.default_rng(1).standard_normal(x.shape))
        found, best = (np.mean((denoise(noisy, alpha_bar) - x) ** 2) for denoise in (network, wiener))
        assert found < 1.05 * best, (s, found / best)
        assert s**2 > 1.08 * best
