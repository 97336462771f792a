"""A symmetry that states clearly do not have is doubted, and one that they have is not."""

import numpy as np
import pytest

from lemtools.thermalize.symmetry import CHANCE, doubts

BOTH = ("translate", "reflect")


def waves(seed, rows=12, steps=60, length=16, channels=1):
    """Travelling waves of random places, both ways, [T R, C, L]: translations and u(x) -> -u(-x) are symmetries."""
    rng = np.random.default_rng(seed)
    x, time = 2 * np.pi * np.arange(length) / length, np.arange(steps)[:, None, None, None]
    found = np.zeros((steps, rows, channels, length))
    for mode in (1, 2):
        size, phase, speed = rng.uniform(0.5, 1, (rows, channels, 1)), *rng.uniform(-6, 6, (2, rows, channels, 1))
        found = found + size * np.cos(mode * x + phase + speed * time)
    return found.reshape(-1, channels, length)


def test_what_is_true_is_not_doubted():
    assert not any(doubts(waves(seed), 12, names) for seed in range(15) for names in (BOTH, ("reflect",)))
    for rows in (3, 1):  # stretches of time
        noise = np.random.default_rng(rows).standard_normal((300 * rows, 1, 16))
        assert not doubts(noise, rows, BOTH) and not doubts(noise, rows, ("reflect",))


def test_a_place_that_is_preferred():
    wave = 0.5 * np.sin(2 * np.pi * np.arange(16) / 16)
    found = doubts(waves(0) + wave, 12, BOTH)
    assert set(found) == {"translate"} and "sine 1 of the values" in found["translate"]
    noise = np.random.default_rng(0).standard_normal((720, 1, 16)) * (1 + wave)
    assert "of the squares" in doubts(noise, 12, BOTH)["translate"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda u: u + 0.5, "mean of channel 0"),
        (lambda u: u + 0.4 * u**2 - 0.4 * (u**2).mean(), "of channel 0"),
        (lambda u: np.exp(u), "of channel 0"),
    ],
)
def test_an_asymmetry(change, words):
    found = doubts(change(waves(0)), 12, BOTH)
    assert set(found) == {"reflect"} and words in found["reflect"]


def test_without_translations_the_mirrored_place_has_to_be_alike():
    shape = np.sin(2 * np.pi * np.arange(16) / 16 + 2 * np.pi / 32)  # -u(-x) about the middle of the ring
    assert not doubts(waves(0) + shape, 12, ("reflect",))
    found = doubts(waves(0) + np.cos(2 * np.pi * (np.arange(16) + 0.5) / 16), 12, ("reflect",))
    assert "at some places" in found["reflect"]


def test_channels_and_two_directions():
    rng = np.random.default_rng(0)
    plane = rng.standard_normal((600, 2, 8, 6))
    assert not doubts(plane, 12, ("reflect",))
    plane[:, 1] += 0.3
    assert "channel 1" in doubts(plane, 12, ("reflect",))["reflect"]
    wave = np.cos(2 * np.pi * np.arange(6) / 6)
    told = doubts(rng.standard_normal((600, 2, 8, 6)) + wave, 12, ("translate-x",))["translate-x"]
    assert "cosine 1 of the values of channel" in told and "along axis 1" in told
    upright = rng.standard_normal((600, 2, 8, 6)) + np.cos(2 * np.pi * np.arange(8) / 8)[:, None]
    assert (
        not doubts(upright, 12, ("translate-x",)) and "along axis 0" in doubts(upright, 12, ("translate",))["translate"]
    )
    assert "at some places" in doubts(upright, 12, ("translate-x", "reflect"))["reflect"]
    many = waves(0, channels=2)
    many[:, 1] **= 2
    assert "channel 1" in doubts(many, 12, BOTH)["reflect"]


def test_chance_is_kept():
    """White noise of few units, where the normal distribution would cry."""
    rng, cries = np.random.default_rng(0), 0
    for _ in range(300):
        cries += bool(doubts(rng.standard_normal((8, 1, 8)) ** 3, 8, ("translate",)))
    assert cries <= 300 * CHANCE * 5


def test_constant_and_zero_states_are_no_fault():
    assert not doubts(np.zeros((40, 1, 8)), 4, BOTH)
    assert set(doubts(np.ones((40, 1, 8)), 4, BOTH)) == {"reflect"}
