"""Autoregressive models of a sound: how they are fitted, and the lost samples that they make most likely.

Symbols: a [p + 1] are prediction-error coefficients, a[0] = 1, of sum_k a_k x_(n-k) = e_n with white e.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

TOGETHER = 128  # lost samples of short runs that are solved for in one dense system; a longer run is Toeplitz
LOCAL = np.hanning(35)[1:-1] / np.hanning(35).sum()  # the window of the local prediction error
FLOOR = 0.2  # of the mean prediction error, added to the local one
WHITE = 1e-9  # of r[0], added to it: keeps Levinson's recursion well defined on sounds that have an empty band


def levinson(r: np.ndarray) -> tuple[np.ndarray, float]:
    """Levinson-Durbin: a and e with toeplitz(r) a = (e, 0, ..., 0), a[0] = 1, for an autocorrelation r [p + 1].

    O(p^2).  Stops early, leaving the higher coefficients zero, where r is not positive definite in floating point.
    """
    order = len(r) - 1
    backwards = r[::-1].copy()
    a = np.zeros(order + 1)
    a[0], error = 1.0, float(r[0])
    for m in range(1, order + 1):
        k = -float(a[:m] @ backwards[order - m : order]) / error if error > 0 else 1.0
        if not abs(k) < 1:
            break
        a[: m + 1] += k * a[m::-1]
        error *= 1 - k * k
    return a, error


def burg(x: np.ndarray, order: int) -> np.ndarray:
    """AR coefficients a [order + 1] by Burg's method (1967): no window, so it predicts past the end of x better."""
    forward, backward = x[1:], x[:-1]
    a = np.zeros(order + 1)
    a[0] = 1.0
    for m in range(1, order + 1):
        energy = forward @ forward + backward @ backward
        if energy <= 1e-20 * (x @ x):
            break
        k = -2 * (forward @ backward) / energy
        a[: m + 1] += k * a[m::-1]
        forward, backward = (forward + k * backward)[1:], (backward + k * forward)[:-1]
    return a


def extrapolate(past: np.ndarray, count: int, a: np.ndarray) -> np.ndarray:
    """The count samples that follow past under the AR model a, innovations zero."""
    p = len(a) - 1
    x = np.concatenate([past, np.zeros(count)])
    taps = -a[:0:-1]
    for n in range(len(past), len(x)):
        x[n] = taps @ x[n - p : n]
    return x[len(past) :]


def continued(past: np.ndarray, count: int, order: int) -> np.ndarray:
    """The count samples that follow past [n] under the model of order (n // 2 at most) that Burg's method fits to it."""
    return extrapolate(past, count, burg(past, min(order, len(past) // 2)))


def cross_faded(before: np.ndarray, after: np.ndarray, count: int, order: int) -> np.ndarray:
    """The count samples between before and after: each continued by a model of its own, cross-faded by a squared cosine."""
    fade = np.cos(np.pi / 2 * (np.arange(count) + 0.5) / count) ** 2
    return fade * continued(before, count, order) + (1 - fade) * continued(after[::-1], count, order)[::-1]


def fitted(w: np.ndarray, order: int) -> np.ndarray:
    """AR coefficients a [order + 1] of w [n] under a Hann window, by the autocorrelation method; of silence (1, 0, ...)."""
    r = autocorrelation(w * np.hanning(len(w) + 2)[1:-1], order)
    r[0] *= 1 + WHITE
    return levinson(r)[0]


def toeplitz_solver(t: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The function b -> x with toeplitz(t) x = b, t [n] the first column of a symmetric positive definite matrix.

    One Levinson recursion, O(n^2); then for each b the Gohberg-Semencul inverse by FFT and one iterative refinement.
    """
    n = len(t)
    a, error = levinson(t)
    inverse = toeplitz_inverse(a / np.sqrt(error), n)
    spectrum = np.fft.rfft(np.concatenate([t, t[:0:-1]]))

    def solve(b: np.ndarray) -> np.ndarray:
        x = inverse(b)
        return x + inverse(b - np.fft.irfft(spectrum * np.fft.rfft(x, 2 * n - 1), 2 * n - 1)[:n])

    return solve


def solve_banded_toeplitz(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """x with toeplitz(q) x = b, q [n] the autocorrelation of a [p + 1], p < n: O(p^2 + n log n), not O(n^2).

    The matrix is the corner of a circulant C of size n + p or more, one that suits the FFT.  x solves it if C (x, 0) =
    (b, y) for some y, that is if y makes the end of C^-1 (b, y) zero: a Toeplitz system in the first column of C^-1.
    """
    n, size = len(b), fast_size(len(b) + len(a) - 1)
    power = np.abs(np.fft.rfft(a, size)) ** 2
    corner = toeplitz_solver(np.fft.irfft(1 / power, size)[: size - n])

    def solve(b: np.ndarray) -> np.ndarray:
        x = np.fft.irfft(np.fft.rfft(b, size) / power, size)
        y = np.concatenate([np.zeros(n), -corner(x[n:])])
        return (x + np.fft.irfft(np.fft.rfft(y) / power, size))[:n]

    x = solve(b)
    return x + solve(b - np.fft.irfft(power * np.fft.rfft(x, size), size)[:n])


def toeplitz_inverse(a: np.ndarray, n: int) -> Callable[[np.ndarray], np.ndarray]:
    """The product v [..., n] -> e R^-1 v for the n x n covariance R of the stationary AR process a of innovation e.

    Gohberg and Semencul: e R^-1 = A A' - B B', A and B lower triangular Toeplitz with first columns (a_0 ... a_(n-1))
    and (0, a_(n-1) ... a_1), a zero past its order: exact at both ends, no sample before or after the n is assumed.
    """
    size = 1 << int(2 * n).bit_length()
    padded = np.zeros(n)
    padded[: len(a)] = a
    first = np.fft.rfft(padded, size)
    second = np.fft.rfft(np.concatenate([[0.0], padded[:0:-1]]), size)

    def multiply(column: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.fft.irfft(column * np.fft.rfft(v, size), size)[..., :n]

    return lambda v: multiply(first, multiply(first.conj(), v)) - multiply(second, multiply(second.conj(), v))


def conditional_mean(w: np.ndarray, lost: np.ndarray, a: np.ndarray) -> np.ndarray:
    """E[w[lost] | the rest of w] for the stationary AR process a: solves Q[lost, lost] x = -Q[lost, rest] w[rest].

    w [n], lost: increasing indices, a [p + 1] with p < n.  Q = e R^-1 is banded, and Toeplitz but for p rows an end:
    lost samples that lie p from both ends depend on the p samples to each side of them and no others.
    """
    n, p = len(w), len(a) - 1
    rest = w.copy()
    rest[lost] = 0
    span = int(lost[-1] - lost[0]) + 1
    if lost[0] >= p and lost[-1] < n - p:
        q = autocorrelation(a, max(p, span))
        near = rest[lost[0] - p : lost[-1] + 1 + p]
        size = fast_size(len(near) + p)
        band = np.zeros(size)
        band[: p + 1], band[size - p :] = q[: p + 1], q[p:0:-1]
        target = -np.fft.irfft(np.fft.rfft(near, size) * np.fft.rfft(band), size)[lost - lost[0] + p]
        if span == len(lost) > TOGETHER:
            return solve_banded_toeplitz(a, target) if 0 < p < span else toeplitz_solver(q[:span])(target)
        matrix = q[np.abs(np.subtract.outer(lost, lost))]
    else:
        precision = toeplitz_inverse(a, n)
        target = -precision(rest)[lost]
        units = np.zeros((len(lost), n))
        units[np.arange(len(lost)), lost] = 1
        matrix = precision(units)[:, lost]
    return np.linalg.solve(matrix, target)


def weighted_least_squares(
    w: np.ndarray, lost: np.ndarray, order: int, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """AR coefficients a [order + 1] of w [n], and w[lost] under them, by weighted least squares on prediction errors.

    Both minimise the sum of error^2 / variance [2, n - order] over forward and backward errors, the fit under a Hann
    window too.  variance is then set to the local mean of error^2: the excitation of speech comes in pulses.
    """
    windows = np.lib.stride_tricks.sliding_window_view
    rows = windows(w, order + 1)
    n = len(rows)
    normal = np.zeros((order + 1, order + 1))
    for side, v in zip((rows[:, ::-1], rows), variance):
        normal += (side * (np.hanning(n + 2)[1:-1] / v)[:, None]).T @ side
    normal[np.diag_indices(order + 1)] += WHITE * normal[0, 0]
    a = np.ones(order + 1)
    a[1:] = np.linalg.solve(normal[1:, 1:], -normal[1:, 0])

    touched = np.arange(max(0, lost[0] - order), min(n, lost[-1] + 1))  # rows that hold lost samples
    rest = w.copy()
    rest[lost] = 0
    rest = windows(rest, order + 1)[touched]
    tap = lost - touched[:, None]
    tap = np.where((tap >= 0) & (tap <= order), tap, order + 1)
    precision, target = np.zeros((len(lost), len(lost))), np.zeros(len(lost))
    for taps, v in zip((a[::-1], a), variance):
        local = np.convolve(np.pad((rows @ taps) ** 2, len(LOCAL) // 2, "edge"), LOCAL, "valid")
        v[:] = local + FLOOR * local.mean() + WHITE * np.mean(w * w)
    variance /= variance.mean()
    for taps, v in zip((a[::-1], a), variance):
        errors = np.append(taps, 0)[tap]
        weighted = errors / v[touched, None]
        precision += weighted.T @ errors
        target -= weighted.T @ (rest @ taps)
    return a, np.linalg.solve(precision, target)


def autocorrelation(x: np.ndarray, order: int) -> np.ndarray:
    """sum_n x_n x_(n+k) for k = 0 ... order."""
    size = fast_size(len(x) + order)
    return np.fft.irfft(np.abs(np.fft.rfft(x, size)) ** 2, size)[: order + 1]


def fast_size(n: int) -> int:
    """The smallest 2^i 3^j 5^k that is n or more: a length for which the FFT is fast."""
    return min(odd << int(-(-n // odd) - 1).bit_length() for odd in (3**j * 5**k for j in range(4) for k in range(3)))
