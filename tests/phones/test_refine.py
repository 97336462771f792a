"""Finer boundaries: tones with known edges, order kept, shifts fitted to known ones."""

import numpy as np
import pytest

from lemtools.phones.cepstra import MIDDLE
from lemtools.phones.refine import CLASSES, SHIFTS, WAYS, Boundaries, fitted, pairs, refine

RATE = 16_000


def tones(edges, seconds=1.0):
    """A sound that changes its pitch at the edges, in seconds."""
    t = np.arange(round(seconds * RATE)) / RATE
    hz = np.array([400, 2100, 900, 3000])[np.searchsorted(edges, t, side="right") % 4]
    return (0.2 * np.sin(2 * np.pi * np.cumsum(hz) / RATE)).astype(np.float32)


def test_spectral_finds_the_edges_of_tones():
    edges = np.array([0.2513, 0.5127, 0.7764])
    times = np.concatenate([[0], edges + [-0.009, 0.008, -0.007], [1]])
    phones = ["AA", "IY", "UW", "AA"]
    found = refine(Boundaries(times, phones), tones(edges), "spectral", np.zeros_like(SHIFTS))
    np.testing.assert_allclose(found[1:-1], edges, atol=0.005)


@pytest.mark.parametrize("way", WAYS)
def test_order_is_kept_and_the_ends_stay(way):
    rng = np.random.default_rng(5)
    times = np.concatenate([[0], np.sort(rng.choice(np.arange(1, 100), 60, replace=False)) / 100, [1]])
    phones = list(rng.choice(["AA", "S", "T", "N", "SIL", "CH"], 61))
    found = refine(Boundaries(times, phones), tones([0.3]), way, np.full_like(SHIFTS, 30.0))
    assert found[0] == 0 and found[-1] == 1 and (np.diff(found) >= 0).all()
    middles = (times[1:] + times[:-1]) / 2
    assert (found[1:-1] >= middles[:-1]).all() and (found[1:-1] <= middles[1:]).all()
    if way == "none":
        assert (found == times).all()


def test_shifts_by_class():
    phones = ["SIL", "CH", "AA", "JH", "N", "SIL"]
    times = np.arange(7) * 0.1
    assert [[CLASSES[i] for i in row] for row in pairs(phones)] == [
        ["silence", "fricative", "vowel", "fricative", "nasal"],
        ["stop", "vowel", "stop", "nasal", "silence"],
    ]
    moved = refine(Boundaries(times, phones), tones([0.3]), "classes") - times
    np.testing.assert_allclose(moved[1:-1] * 1000, SHIFTS[pairs(phones)])
    assert np.allclose(refine(Boundaries(times, phones), tones([0.3]), "constant")[1:-1], times[1:-1] + MIDDLE)


def test_a_table_is_fitted_to_shifts_that_are_known():
    rng = np.random.default_rng(0)
    true = rng.normal(5, 5, SHIFTS.shape)
    a, b = rng.integers(0, len(CLASSES), (2, 40_000))
    found = fitted(true[a, b] + rng.laplace(0, 1, len(a)), a, b)
    np.testing.assert_allclose(found, true, atol=0.25)
    few = fitted(np.array([0.0] * 99 + [10.0]), np.array([0] * 99 + [1]), np.array([0] * 99 + [1]))
    assert few[1, 1] == pytest.approx(10 / 11) and few[2, 2] == 0


def test_a_sound_of_one_phone_and_a_short_one():
    for seconds in (0.01, 1.0):
        assert refine(Boundaries(np.array([0, seconds]), ["AA"]), tones([0.3], seconds), "spectral").tolist() == [
            0,
            seconds,
        ]
