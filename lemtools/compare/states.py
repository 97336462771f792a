"""Sets of states, as a simulation makes them: are their values and spectra those of the originals, and which survived?

A set is [N, C, ...], a quantity a channel. Every channel is judged in its own unit and counts the same, so quantities
of any scale may stand side by side.

Floors are taken between the first and the second half of the originals, in their order: states that follow each other
are nearly copies, so halves that interleave would be nearly copies, too, and their distance no floor. Distances between
samples shrink as 1 / sqrt(N); that of the halves is divided by sqrt(2), and so is what two independent sets of N states
have. Both halves come from the same trajectories: where these do not visit all states, the floor is too low.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .distortion import paired
from .summary import Whole

_TILE = 1 << 20  # elements taken to float64 at a time
NO_POWER = 1e-12  # of the power of all modes: what rounding to float32 may make
LIMIT = 3.0  # times the largest rms of the originals, beyond which a state is lost


def _halves(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last items of x [N, ...], as many each; of an odd N the one in the middle is left out."""
    return x[: len(x) // 2], x[(len(x) + 1) // 2 :]


def _tiles(x: np.ndarray) -> Iterator[np.ndarray]:
    """The items of x [N, ...] in float64, some at a time."""
    step = max(1, _TILE // x[0].size)
    for i in range(0, len(x), step):
        yield x[i : i + step].astype(np.float64)


def _states(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sets, checked. ValueError unless [N, C, ...], of one shape, and the originals finite."""
    a, b = paired(a, b)
    if a.ndim < 3:
        raise ValueError(f"states are [N, C, ...], a quantity a channel, not {list(a.shape)}")
    if not all(np.isfinite(x).all() for x in _tiles(a)):
        raise ValueError("the originals are not finite")
    return a, b


def _whole(found: list[tuple[float, float | None]], k: int | None = None) -> Whole:
    """The mean over channels of (value, distance of the two halves; None where there is one item)."""
    value, halves = zip(*found)
    return Whole(float(np.mean(value)), None if None in halves else float(np.mean(halves)) / math.sqrt(2), k)


def wasserstein(u: np.ndarray, v: np.ndarray) -> float:
    """Wasserstein-1 distance of two sets of as many numbers [n], both in ascending order, in their unit.

    Exact: the mean distance of the i-th of one to the i-th of the other, in float64. inf or nan where one is not finite.
    """
    total = 0.0
    for i in range(0, len(u), _TILE):
        total += float(np.abs(u[i : i + _TILE].astype(np.float64) - v[i : i + _TILE]).sum())
    return total / len(u)


def w1(a: np.ndarray, b: np.ndarray) -> Whole:
    """Wasserstein-1 distance of the values of each channel, in the originals' standard deviations of it. `w1`.

    The mean over channels; floor beside it. Values moved by one deviation get 1. It sees the values of all items and
    places as one set, and neither where nor when they are. inf or nan where a recalled value is not finite. ValueError
    where a channel of the originals is constant.
    """
    a, b = _states(a, b)
    found: list[tuple[float, float | None]] = []
    for c in range(a.shape[1]):
        u, v, *parts = (np.sort(x[:, c], axis=None) for x in (a, b, *_halves(a)))
        if u[0] == u[-1]:
            raise ValueError(f"channel {c} of the originals is constant: it has no deviation to measure in")
        unit = float(u.std(dtype=np.float64))
        found.append((wasserstein(u, v) / unit, wasserstein(*parts) / unit if len(a) > 1 else None))
    return _whole(found)


def shells(extent: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(wavenumber, weight) of each coefficient of a real FFT (`rfftn`) over an extent (L,) or (H, W).

    The wavenumber is a whole number of cycles, in two directions per longer side, rounded; so shells are rings of width
    1, the corners of the plane included. The weight is 2 where a coefficient stands also for its mirror image, else 1.
    """
    cycles = [np.fft.fftfreq(n) * max(extent) for n in extent[:-1]] + [np.fft.rfftfreq(extent[-1]) * max(extent)]
    k = np.rint(np.sqrt(sum(x**2 for x in np.meshgrid(*cycles, indexing="ij")))).astype(int)
    weight = np.full(k.shape, 2.0)
    weight[..., 0] = 1
    if extent[-1] % 2 == 0:
        weight[..., -1] = 1
    return k, weight


def power(x: np.ndarray) -> np.ndarray:
    """Mean over items x [N, C, L] or [N, C, H, W] of the power [C, modes] at wavenumbers 1, 2, ...

    As of `shells`; in two directions the sum over a ring. The square of the values' unit, the modes adding up to the
    mean square about each item's mean. inf or nan of a set that is not finite.
    """
    extent = x.shape[2:]
    k, weight = shells(extent)
    sums = np.zeros((x.shape[1], *k.shape))
    axes = tuple(range(2, x.ndim))
    with np.errstate(invalid="ignore", over="ignore"):
        for part in _tiles(x):
            # less one of its values, a constant item is 0 and its power too, not that of rounding
            part -= part[(..., *[slice(1)] * len(extent))]
            z = np.fft.rfftn(part, axes=axes)
            sums += (z.real**2 + z.imag**2).sum(0)
        sums *= weight / (len(x) * math.prod(extent) ** 2)
    return np.stack([np.bincount(k.ravel(), s.ravel(), k.max() + 1)[1:] for s in sums])


def _apart(p: np.ndarray, q: np.ndarray, used: np.ndarray) -> float:
    """Mean of |log10(q / p)| over the modes used [modes]; inf where one of them is 0, nan where no mode is used."""
    if not used.any():
        return math.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.abs(np.log10(q[used]) - np.log10(p[used])).mean())


def log_spectrum(a: np.ndarray, b: np.ndarray, *, k: int | None = None) -> Whole:
    """Mean over modes of |log10(P_recalled / P_original)|, P the mean power of a set at a wavenumber. `log_spectrum`.

    Modes 1 to k, all but 0 where it is None, as `power` counts them; the mean over channels; floor beside it. .3 is a
    factor of 2. Modes are left out where neither set has power, up to 1e-12 of the power of all its modes. Where one set
    has power and the other is exactly 0, the value is inf; it is large, and depends on rounding, where the other one has
    that of rounding only. inf or nan where a recalled value is not finite. ValueError where a channel of the originals is
    constant in space, or neither set has power in any mode asked for.
    """
    a, b = _states(a, b)
    if a.ndim not in (3, 4):
        raise ValueError(f"a spectrum needs [N, C, L] or [N, C, H, W], not {list(a.shape)}")
    if math.prod(a.shape[2:]) < 2:
        raise ValueError("items of a single place have no modes")
    whole, recalled = power(a), power(b)
    halves = [power(x) for x in _halves(a)] if len(a) > 1 else None
    last = min(k or whole.shape[1], whole.shape[1])
    found: list[tuple[float, float | None]] = []
    for c, (p, q) in enumerate(zip(whole, recalled)):
        if not p.any():
            raise ValueError(f"channel {c} of the originals is constant in space: it has no spectrum")
        there = p > NO_POWER * p.sum()
        used = there | ~(q <= NO_POWER * q.sum())  # so that nan is not left out
        used[last:] = False
        if not used.any():
            raise ValueError(f"channel {c} of neither set has power in the modes 1 to {last}")
        floor = None if halves is None else _apart(halves[0][c], halves[1][c], used & there)
        found.append((_apart(p, q, used), floor))
    return _whole(found, last)


def log_spectrum_low(a: np.ndarray, b: np.ndarray, *, k: int = 7) -> Whole:
    """`log_spectrum` of the modes 1 to k, at most as many as there are. `log_spectrum[1-7]`."""
    return log_spectrum(a, b, k=k)


def survival(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether each recalled item [N] is alive, 1 or 0; the mean is the share. `survival`.

    Alive: all its values are finite, and in no channel is its rms above 3 times the largest rms of an original.
    ValueError where a channel of the originals is 0 everywhere, which gives no scale.
    """
    a, b = _states(a, b)
    limit = LIMIT * np.concatenate([rms(x) for x in _tiles(a)]).max(0)
    if not limit.all():
        raise ValueError(f"channel {int(np.argmin(limit))} of the originals is 0 everywhere: it has no scale")
    # nan is not below anything
    return np.concatenate([(rms(x) <= limit).all(1) for x in _tiles(b)]).astype(np.float64)


def rms(x: np.ndarray) -> np.ndarray:
    """[n, C] of x [n, C, ...]; inf or nan where a value is."""
    with np.errstate(over="ignore"):
        return np.sqrt(np.square(x).mean(axis=tuple(range(2, x.ndim))))
