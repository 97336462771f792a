"""Lost samples of a sound recalled from their neighbours by autoregressive interpolation.

A. J. E. M. Janssen, R. N. J. Veldhuis and L. B. Vries, "Adaptive interpolation of discrete-time signals that can be
modeled as autoregressive processes", IEEE Trans. ASSP 34(2), 1986: fit an AR model to the signal as it stands, put the
conditional mean of the lost samples under that model in their place, repeat.

Symbols: a [p + 1] are prediction-error coefficients, a[0] = 1, of sum_k a_k x_(n-k) = e_n with white e.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

TOGETHER = 128  # lost samples of short runs that are solved for in one dense system; a longer run is Toeplitz
SCALES = .5, .75, 1  # of the order, one model each
WHITE = 1e-9    # of r[0], added to it: keeps Levinson's recursion well defined on sounds that have an empty band


def linear(y: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Linear interpolation of the lost samples (the control); beyond the outermost observed ones, the nearest value.

    y [C, T]; observed bool, broadcastable to it.  Returns [C, T] in y's dtype; a channel with nothing observed is zero.
    """
    x = np.array(y)
    n = np.arange(x.shape[-1])
    for channel, seen in zip(x, np.broadcast_to(np.asarray(observed, bool), x.shape)):
        channel[~seen] = np.interp(n[~seen], n[seen], channel[seen]) if seen.any() else 0
    return x


def fill_gaps(y: np.ndarray, observed: np.ndarray, rate: float = 44100, order: int | None = None,
              passes: int = 3) -> np.ndarray:
    """Interpolate every lost sample of a sound by Janssen's method; observed samples are returned as they are.

    y [C, T] in [-1, 1]; observed bool, broadcastable to it; rate in Hz sets the default order, 16 ms of samples (706 at
    44.1 kHz, 128 at 8 kHz).  Models of SCALES times that order, each fitted under a Hann window that reaches 4 of its
    orders to each side of the gap, are averaged, weighted by the inverse cube of their prediction error beside it.
    What a lost sample of y holds does not matter; a channel with nothing observed is zero.
    Returns [C, T] in y's dtype.
    """
    x = np.array(y)
    order = order or max(32, round(.016 * rate))
    for channel, seen in zip(x, np.broadcast_to(np.asarray(observed, bool), x.shape)):
        if not seen.any():
            channel[:] = 0
        elif not seen.all():
            start = linear(channel[None].astype(np.float64), seen[None])[0]
            models, errors = zip(*(_janssen(start, ~seen, order, scale, passes) for scale in SCALES))
            error = np.array(errors) + 1e-30
            trust = (error / error.min(0)) ** -3.0
            channel[~seen] = (np.sum(trust * models, 0) / np.sum(trust, 0))[~seen]
    return x


def levinson(r: np.ndarray) -> tuple[np.ndarray, float]:
    """Levinson-Durbin: a and e with toeplitz(r) a = (e, 0, ..., 0), a[0] = 1, for an autocorrelation r [p + 1].

    O(p^2).  Stops early, leaving the higher coefficients zero, where r is not positive definite in floating point.
    """
    order = len(r) - 1
    backwards = r[::-1].copy()
    a = np.zeros(order + 1)
    a[0], error = 1.0, float(r[0])
    for m in range(1, order + 1):
        k = -float(a[:m] @ backwards[order - m:order]) / error if error > 0 else 1.0
        if not abs(k) < 1:
            break
        a[:m + 1] += k * a[m::-1]
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
        a[:m + 1] += k * a[m::-1]
        forward, backward = (forward + k * backward)[1:], (backward + k * forward)[:-1]
    return a


def extrapolate(past: np.ndarray, count: int, a: np.ndarray) -> np.ndarray:
    """The count samples that follow past under the AR model a, innovations zero."""
    p = len(a) - 1
    x = np.concatenate([past, np.zeros(count)])
    taps = -a[:0:-1]
    for n in range(len(past), len(x)):
        x[n] = taps @ x[n - p:n]
    return x[len(past):]


def solve_toeplitz(t: np.ndarray, b: np.ndarray) -> np.ndarray:
    """x with toeplitz(t) x = b, t [n] the first column of a symmetric positive definite Toeplitz matrix.

    One Levinson recursion, O(n^2), then the Gohberg-Semencul inverse by FFT with one step of iterative refinement.
    """
    n = len(t)
    a, error = levinson(t)
    inverse = toeplitz_inverse(a, n)
    spectrum = np.fft.rfft(np.concatenate([t, t[:0:-1]]))
    x = inverse(b) / error
    residual = b - np.fft.irfft(spectrum * np.fft.rfft(x, 2 * n - 1), 2 * n - 1)[:n]
    return x + inverse(residual) / error


def toeplitz_inverse(a: np.ndarray, n: int) -> Callable[[np.ndarray], np.ndarray]:
    """The product v [..., n] -> e R^-1 v for the n x n covariance R of the stationary AR process a of innovation e.

    Gohberg and Semencul: e R^-1 = A A' - B B', A and B lower triangular Toeplitz with first columns (a_0 ... a_(n-1))
    and (0, a_(n-1) ... a_1), a zero past its order: exact at both ends, no sample before or after the n is assumed.
    """
    size = 1 << int(2 * n).bit_length()
    padded = np.zeros(n)
    padded[:len(a)] = a
    first = np.fft.rfft(padded, size)
    second = np.fft.rfft(np.concatenate([[0.0], padded[:0:-1]]), size)

    def multiply(column: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.fft.irfft(column * np.fft.rfft(v, size), size)[..., :n]

    return lambda v: multiply(first, multiply(first.conj(), v)) - multiply(second, multiply(second.conj(), v))


def conditional_mean(w: np.ndarray, lost: np.ndarray, a: np.ndarray) -> np.ndarray:
    """E[w[lost] | the rest of w] for the stationary AR process a: solves Q[lost, lost] x = -Q[lost, rest] w[rest].

    w [n], lost: increasing indices, a [p + 1] with p < n.  Q = e R^-1 is banded, and Toeplitz but for p rows an end.
    """
    n, p = len(w), len(a) - 1
    precision = toeplitz_inverse(a, n)
    rest = w.copy()
    rest[lost] = 0
    target = -precision(rest)[lost]
    span = int(lost[-1] - lost[0]) + 1
    if lost[0] >= p and lost[-1] < n - p:
        q = _autocorrelation(a, max(p, span))
        if span == len(lost) > TOGETHER:
            return solve_toeplitz(q[:span], target)
        matrix = q[np.abs(np.subtract.outer(lost, lost))]
    else:
        units = np.zeros((len(lost), n))
        units[np.arange(len(lost)), lost] = 1
        matrix = precision(units)[:, lost]
    return np.linalg.solve(matrix, target)


def _autocorrelation(x: np.ndarray, order: int) -> np.ndarray:
    size = 1 << int(len(x) + order).bit_length()
    return np.fft.irfft(np.abs(np.fft.rfft(x, size)) ** 2, size)[:order + 1]


def _clusters(gap: np.ndarray, reach: int) -> list[tuple[np.ndarray, int]]:
    """The lost indices in groups to solve for jointly, each with its longest run.

    Short runs are taken together while they start within reach of the first; a long run is a group of its own.
    """
    lost = np.flatnonzero(gap)
    groups: list[list[np.ndarray]] = []
    held = TOGETHER
    for run in np.split(lost, np.flatnonzero(np.diff(lost) > 1) + 1):
        if held + len(run) > TOGETHER or run[0] - groups[-1][0][0] > reach:
            groups.append([])
            held = 0
        groups[-1].append(run)
        held += len(run)
    return [(np.concatenate(group), max(map(len, group))) for group in groups]


def _janssen(start: np.ndarray, gap: np.ndarray, order: int, scale: float,
             passes: int) -> tuple[np.ndarray, np.ndarray]:
    """One channel [T] filled by a model of scale * order, and that model's prediction error beside each lost sample.

    The error is the mean square of the forward residual in the `order` samples after the gap and of the backward
    residual in those before it: both look through the gap, so they judge the model and what it put there.
    """
    x, error = start.copy(), np.ones(len(start))
    clusters = _clusters(gap, order)
    for _ in range(passes):
        for lost, longest in clusters:
            # Scattered losses need no long memory: with half of the samples lost, order 64 does as well as 256.
            p = round(scale * min(order, max(32, 8 * longest)))
            context = max(4 * p, 2 * longest)
            lo, hi = int(max(0, lost[0] - context)), int(min(len(x), lost[-1] + 1 + context))
            before, after = int(lost[0]) - lo, hi - 1 - int(lost[-1])
            if longest > TOGETHER and min(before, after) < p // 2:
                past = x[lo:lost[0]] if before > after else x[lost[-1] + 1:hi][::-1]
                ahead = extrapolate(past, len(lost), burg(past, min(p, len(past) // 2)))
                x[lost] = ahead if before > after else ahead[::-1]
                continue
            if longest > TOGETHER:
                p = min(p, before, after)
            w = x[lo:hi]
            p = min(p, (len(w) - len(lost)) // 2)
            r = _autocorrelation(w * np.hanning(len(w) + 2)[1:-1], p)
            if r[0] > 0:
                r[0] *= 1 + WHITE
                a = levinson(r)[0]
                w[lost - lo] = conditional_mean(w, lost - lo, a)
                near = min(order, before), min(order, after)
                seen = np.concatenate([_residual(w[before - near[0]:][::-1], a)[len(w) - before:],
                                       _residual(w[:len(w) - after + near[1]], a)[len(w) - after:]])
                error[lost] = np.mean(seen ** 2) if len(seen) else 1.0
    return x, error


def _residual(x: np.ndarray, a: np.ndarray) -> np.ndarray:
    size = 1 << int(len(x) + len(a)).bit_length()
    return np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(a, size), size)[:len(x)]
