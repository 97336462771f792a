"""Correctors by networks, with ones whose answers are known: a denoiser without weights, of the Gaussian N(0, 1)."""

import numpy as np
import pytest
import torch
from torch import nn

from lemtools.catalogue import LemError
from lemtools.denoise.contract import Scale
from lemtools.nets.model import Model
from lemtools.thermalize import prepared

POINTS = 12
RNG = np.random.default_rng(0)


class Normal(nn.Module):
    """Answers E[x_0 | x_t] = a x_t, of x_0 ~ N(0, I); told a fragment, its value, whatever x_t is."""

    family, predicts, classes = "denoise", "x0", 0

    def __init__(self, conditioned=False):
        super().__init__()
        self.conditioned, self.seen = conditioned, []
        self.weight = nn.Parameter(torch.zeros(1))  # (where it lies is asked)

    def forward(self, x, alpha_bar, condition=None, label=None):
        if self.conditioned:
            self.seen.append(condition)
            return condition.value
        return x * alpha_bar.sqrt().reshape(-1, 1, 1).to(x)


def model(conditioned=False, family="denoise"):
    item = [1, POINTS]
    net = Normal(conditioned)
    net.family = family
    meta = {"item": item, "kind": "field", "target": {"kind": "field", "item": item}, "fragment": [[]] * conditioned}
    scale = Scale(np.full((1, 1), 3.0, np.float32), np.full((1, 1), 0.5, np.float32))
    return Model(net, meta, scale, scale)


def states(count=400):
    return (3 + 2 * RNG.standard_normal((count, 1, POINTS))).astype(np.float32)


def made(corrector, network, **options):
    return prepared(states(), 2, corrector=corrector, model=network, every=True, clean=False, false_fire=0.1, **options)


def test_net_is_the_posterior_mean_at_the_level_that_was_read():
    thermalizer, x = made("net", model()), states(6)
    done = thermalizer.step(x)
    expected = 3 + (x - 3) / (1 + done.level[:, None, None] ** 2)  # the Wiener filter of N(3, 2^2)
    assert np.allclose(done.state, expected, atol=1e-5) and (done.calls == 1).all()


@pytest.mark.parametrize("stop", [0, 0.2])
def test_iterate_leaves_the_noise_at_which_it_stops(stop):
    x = states(2000)
    done = made("iterate", model(), noise=1.0, stop=stop, denoise_steps=200).step(x)
    assert (done.calls == 200).all()
    # N(0, 1) is as far again as the noise adds: denoised, it is N(0, 1) with what noise is left
    assert abs(((done.state - 3) / 2).std() - (1 + stop**2) ** 0.5) < 0.02
    assert np.corrcoef(done.state.ravel(), x.ravel())[0, 1] > 0.6  # half of the variance was noise


@pytest.mark.parametrize("noise", [0.5, None])
def test_iterate_draws_by_row_and_step_alone(noise):
    x = states(6) * np.array([1, 1, 2, 3, 9, 9], np.float32)[:, None, None]
    thermalizer = made("iterate", model(), noise=noise)
    whole, later = thermalizer.step(x).state, thermalizer.step(x).state
    thermalizer.reset()
    assert np.allclose(whole[:2], thermalizer.step(x[:2]).state, atol=1e-6)
    assert not np.allclose(whole, later, atol=1e-3)


@pytest.mark.parametrize("noise", [None, 0.1])
def test_conditional_is_told_the_previous_state_with_noise(noise):
    network, x, before = model(conditioned=True), 3 * states(6), states(6)  # (where no noise is read, x stays)
    done = made("conditional", network, noise=noise).step(x, before)
    off = (done.state - before) / np.sqrt(np.square(before).mean((1, 2), keepdims=True))
    assert abs(off.std() - (noise or 0)) < 0.03
    told = network.net.seen[-1].sigma
    rms = np.sqrt(np.square(before).mean((1, 2)))
    assert np.allclose(told, (noise or 0) * rms * 0.5, rtol=1e-4)


@pytest.mark.parametrize(
    ("corrector", "network", "words"),
    [
        ("net", model(conditioned=True), "is told a fragment"),
        ("iterate", model(conditioned=True), "is told a fragment"),
        ("conditional", model(), "knows of no previous state"),
        ("net", model(family="step"), "no denoiser"),
    ],
)
def test_a_network_of_another_sort_is_refused(corrector, network, words):
    with pytest.raises(LemError, match=words):
        made(corrector, network)


def test_a_network_that_is_not_asked_is_refused():
    with pytest.raises(LemError, match="does not use"):
        made("next", model())


def test_a_network_for_other_states_is_refused():
    with pytest.raises(LemError, match="not for states"):
        prepared(states().reshape(-1, 2, POINTS // 2), 2, corrector="net", model=model())


def test_iterate_cannot_stop_above_where_it_starts():
    with pytest.raises(LemError, match="--stop"):
        made("iterate", model(), noise=0.1, stop=0.2).step(states(4))
