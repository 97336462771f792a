"""Lost samples of a sound recalled from their neighbours by autoregressive interpolation.

A. J. E. M. Janssen, R. N. J. Veldhuis and L. B. Vries, "Adaptive interpolation of discrete-time signals that can be
modeled as autoregressive processes", IEEE Trans. ASSP 34(2), 1986: fit an AR model to the signal as it stands, put the
conditional mean of the lost samples under that model in their place, repeat.  At low rates the innovations also
have a variance that changes with time, estimated from the prediction error as in iteratively reweighted least squares.

Symbols: a [p + 1] are prediction-error coefficients, a[0] = 1, of sum_k a_k x_(n-k) = e_n with white e.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..progress import steps

TOGETHER = 128  # lost samples of short runs that are solved for in one dense system; a longer run is Toeplitz
SCALES = 1, 0.75, 0.5  # of the order, one model each
SCATTERED = 16  # samples: where the longest run is shorter, averaging models gains < .1 dB: the first one alone
WEIGHTED = 128, 512  # the order and the lost samples up to which weighted least squares, O(n p^2 + n m^2), is cheap
LOCAL = np.hanning(35)[1:-1] / np.hanning(35).sum()  # the window of the local prediction error
FLOOR = 0.2  # of the mean prediction error, added to the local one
WHITE = 1e-9  # of r[0], added to it: keeps Levinson's recursion well defined on sounds that have an empty band


def linear(y: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Linear interpolation of the lost samples (the control); beyond the outermost observed ones, the nearest value.

    y [C, T]; observed bool, broadcastable to it.  Returns [C, T] in y's dtype; a channel with nothing observed is zero.
    """
    x = np.array(y)
    n = np.arange(x.shape[-1])
    for channel, seen in zip(x, np.broadcast_to(np.asarray(observed, bool), x.shape)):
        channel[~seen] = np.interp(n[~seen], n[seen], channel[seen]) if seen.any() else 0
    return x


def fill_gaps(
    y: np.ndarray, observed: np.ndarray, rate: float = 44100, order: int | None = None, passes: int = 3
) -> np.ndarray:
    """Interpolate every lost sample of a sound by Janssen's method; observed samples are returned as they are.

    y [C, T] in [-1, 1]; observed bool, broadcastable to it; rate in Hz sets the default order, 16 ms of samples (706 at
    44.1 kHz, 128 at 8 kHz); passes are those of the first model.  Models of SCALES times that order, each fitted under
    a Hann window that reaches 4 of its orders to each side of the gap, are averaged, weighted by the inverse cube of
    their prediction error beside it.  Up to the sizes WEIGHTED a model also follows the local level of the excitation.
    What a lost sample of y holds does not matter; a channel with nothing observed is zero.
    Returns [C, T] in y's dtype.
    """
    x = np.array(y)
    order = order or max(32, round(0.016 * rate))
    for channel, seen in zip(x, np.broadcast_to(np.asarray(observed, bool), x.shape)):
        if not seen.any():
            channel[:] = 0
        elif not seen.all():
            model = linear(channel[None].astype(np.float64), seen[None])[0]
            models: list[np.ndarray] = []
            errors: list[np.ndarray] = []
            for scale in steps(
                SCALES, "models"
            ):  # each starts from the one before it, so one pass is enough after the first
                model, error = _janssen(model, ~seen, order, scale, 1 if models else passes)
                models.append(model)
                errors.append(error + 1e-30)
            trust = (np.array(errors) / np.min(errors, 0)) ** -3.0
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

    The matrix is the corner of a circulant C of size n + p.  x solves it if C (x, 0) = (b, y) for some y [p], that is
    if y makes the last p of C^-1 (b, y) zero: a Toeplitz system in the first column of C^-1.
    """
    n, size = len(b), len(b) + len(a) - 1
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
            return solve_banded_toeplitz(a, target) if 0 < p < span else toeplitz_solver(q[:span])(target)
        matrix = q[np.abs(np.subtract.outer(lost, lost))]
    else:
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


def _autocorrelation(x: np.ndarray, order: int) -> np.ndarray:
    size = 1 << int(len(x) + order).bit_length()
    return np.fft.irfft(np.abs(np.fft.rfft(x, size)) ** 2, size)[: order + 1]


def _clusters(gap: np.ndarray, reach: int) -> list[tuple[np.ndarray, int]]:
    """The lost indices in groups to solve for jointly, each with its longest run.

    Short runs are taken together while they start within reach of the first; a long run is a group by itself.
    """
    lost = np.flatnonzero(gap)
    groups: list[list[np.ndarray]] = []
    count = TOGETHER
    for run in np.split(lost, np.flatnonzero(np.diff(lost) > 1) + 1):
        if count + len(run) > TOGETHER or run[0] - groups[-1][0][0] > reach:
            groups.append([])
            count = 0
        groups[-1].append(run)
        count += len(run)
    return [(np.concatenate(group), max(map(len, group))) for group in groups]


def _janssen(
    start: np.ndarray, gap: np.ndarray, order: int, scale: float, passes: int
) -> tuple[np.ndarray, np.ndarray]:
    """One channel [T] filled by a model of scale * order, and that model's prediction error beside each lost sample.

    The error is the mean square of the forward residual in the `order` samples after the gap and of the backward
    residual in those before it: both look through the gap, so they judge the model and what it put there.
    """
    x, error = start.copy(), np.ones(len(start))
    clusters = [c for c in _clusters(gap, order) if scale == SCALES[0] or c[1] >= SCATTERED]
    for _ in range(passes):
        for lost, longest in steps(clusters, "gaps"):
            # Scattered losses need no long memory: with half of the samples lost, order 64 does as well as 256.
            p = round(scale * min(order, max(32, 8 * longest)))
            context = max(4 * p, 2 * longest)
            lo, hi = int(max(0, lost[0] - context)), int(min(len(x), lost[-1] + 1 + context))
            before, after = int(lost[0]) - lo, hi - 1 - int(lost[-1])
            if longest > TOGETHER and min(before, after) < p // 2:
                past = x[lo : lost[0]] if before > after else x[lost[-1] + 1 : hi][::-1]
                ahead = extrapolate(past, len(lost), burg(past, min(p, len(past) // 2)))
                x[lost] = ahead if before > after else ahead[::-1]
                continue
            if longest > TOGETHER:
                p = min(p, before, after)
            w = x[lo:hi]
            p = min(p, (len(w) - len(lost)) // 2)
            r = _autocorrelation(w * np.hanning(len(w) + 2)[1:-1], p)
            if r[0] <= 0:
                continue
            small = order <= WEIGHTED[0] and len(lost) <= WEIGHTED[1]
            if small and longest >= SCATTERED and 4 * p <= len(w) - len(lost):
                variance = np.ones((2, len(w) - p))
                for _ in range(2):  # the first with the variance all alike
                    a, w[lost - lo] = weighted_least_squares(w, lost - lo, p, variance)
            else:
                r[0] *= 1 + WHITE
                a = levinson(r)[0]
                w[lost - lo] = conditional_mean(w, lost - lo, a)
            ahead = w[: lost[-1] + 1 - lo + min(order, after)]
            behind = w[max(0, before - order) :][::-1]
            seen = np.concatenate([_residual(ahead, a, min(order, after)), _residual(behind, a, min(order, before))])
            error[lost] = np.mean(seen**2) if len(seen) else 1.0
    return x, error


def _residual(x: np.ndarray, a: np.ndarray, count: int) -> np.ndarray:
    """The last count samples of x's prediction error, zeros before x."""
    x = x[-(count + len(a)) :]
    size = 1 << int(len(x) + len(a)).bit_length()
    return np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(a, size), size)[len(x) - count : len(x)]
