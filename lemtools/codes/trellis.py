"""Trellis-coded quantisation on a bitshift trellis with a computed codebook, tail-biting (QTIP: Tseng et al. 2024).

Sample t of a sequence is coded by b bits c_t. It decodes to table[s_t], where the state s_t is the window of the last L
bits of the code, c_t its lowest; the window reaches round the beginning to the end (tail-biting), so T samples cost
exactly b T bits and nothing besides. Adjacent windows share L - b bits: from one state 2^b lead on, into one 2^b lead.
The encoder finds the code of least squared error by the Viterbi algorithm, twice: once over the samples round the seam
with free ends, which settles the L - b bits that cross it; then over all samples with those bits at both ends.

T samples, b bits, C = P = 2^b codes of a sample, W = 2^(L - 2b): a state is the number (p, w, c), p < P, w < W, c < C;
`kept`, its L - b bits that the next window shares, is (w, c), and the same number is (p, w) of the next one.
"""

import itertools
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist

import numpy as np

STATE_BITS = 16
MAX_BITS = 6
SEAM = 64  # samples on either side of the seam that settle the bits crossing it
PIECE = 1024  # longer sequences are cut into equal pieces: the search remembers 2^(L - b) numbers a sample
# the table's spread; the best reproduction of N(0, 1) is narrower at low rates, and of the tails wider at high ones
_SPREAD = {1: 0.88, 2: 0.98, 3: 1.0}
# squared error a sample on N(0, 1), T = 128 (tests/benchmarks/bench_bits.py)
DISTORTION = {1: 0.273, 2: 0.0684, 3: 0.0172, 4: 0.00434}


def distortion(bits: int) -> float:
    """Squared error of a N(0, 1) sample; beyond the measured depths it falls by 4 a bit."""
    return DISTORTION[min(bits, 4)] * 4.0 ** -max(bits - 4, 0)


def state_bits(bits: int, length: int) -> int:
    """L: less for short codes, where the bits that cross the seam would be most of them."""
    total = bits * length
    return STATE_BITS if total >= 192 else max(2 * bits, 2 * total.bit_length() - 4)


def _mixed(x: np.ndarray, bits: int) -> np.ndarray:
    """A permutation of the numbers below 2^bits that scatters them (multiply by odd, xor with the upper half)."""
    for factor in (0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35):
        x = x * factor & (1 << bits) - 1
        x = x ^ x >> max(bits // 2, 1)
    return x


@lru_cache
def table(bits: int, states: int = STATE_BITS) -> np.ndarray:
    """float32 [2^states]: what the states decode to: each quantile of a Gaussian once, scattered.

    The quantiles' 2^bits equal parts are dealt out so that the states that follow one another's, and those that lead
    into one, lie one in each part; inside a part by a hash.
    """
    state = np.arange(1 << states, dtype=np.int64)
    rest = states - bits
    c, before, p = state & (1 << bits) - 1, state >> bits, state >> rest
    w = before & (1 << states - 2 * bits) - 1
    part = (c ^ p ^ _mixed(w, states - 2 * bits) * 0x2545F491 >> 7) & (1 << bits) - 1
    rank = part << rest | _mixed(before ^ _mixed(part + 1, rest), rest)
    inverse = NormalDist(0, _SPREAD.get(bits, 1.05)).inv_cdf
    quantiles = np.array([inverse((k + 0.5) / len(rank)) for k in range(len(rank))])
    # on a grid: the last digits of a logarithm are not the same everywhere
    return (np.rint(quantiles[rank] * 2**18) / 2**18).astype(np.float32)


def branches(bits: int, states: int) -> np.ndarray:
    """The table as [C, P, W]."""
    p, w = 1 << bits, 1 << states - 2 * bits
    return np.ascontiguousarray(table(bits, states).reshape(p, w, p).transpose(2, 0, 1))


def pieces(length: int) -> list[slice]:
    """The parts of a sequence that are coded by themselves."""
    count = -(-length // PIECE)
    ends = [i * length // count for i in range(count + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(ends)]


def decode(codes: np.ndarray, bits: int) -> np.ndarray:
    """float32 [N, T] of codes [N, T], for samples of N(0, 1)."""
    out = np.empty(codes.shape, np.float32)
    for part in pieces(codes.shape[1]):
        window = codes[:, part].astype(np.uint16)
        states = state_bits(bits, window.shape[1])
        held = 1  # codes in a window; bits beyond the 16 of a state fall off
        while held * bits < states:
            window |= np.roll(window, held, axis=1) << np.uint16(held * bits)
            held *= 2
        out[:, part] = table(bits, states)[window & np.uint16((1 << states) - 1)]
    return out


def encode(x: np.ndarray, bits: int, search: Callable[[np.ndarray, int], np.ndarray] | None = None) -> np.ndarray:
    """Codes uint8 [N, T] of x, float32 [N, T], T >= 2, of about unit variance; of sequences of zeros, zeros.

    search: does as `viterbi`, elsewhere.
    """
    codes = np.zeros(x.shape, np.uint8)
    some = np.flatnonzero(x.any(axis=1))
    if len(some):
        for part in pieces(x.shape[1]):
            codes[some, part] = (search or viterbi)(np.ascontiguousarray(x[some, part]), bits)
    return codes


def viterbi(x: np.ndarray, bits: int) -> np.ndarray:
    """Codes uint8 [N, T] of least squared error, T <= PIECE. Every implementation gives the same: float32, each sum and
    product rounded; of equal errors the first."""
    length, seam = x.shape[1], min(SEAM, x.shape[1] // 2)
    states = state_bits(bits, length)
    values = branches(bits, states)
    errors = np.empty((length + 1, 1 << states - bits), np.float32)
    codes = np.empty(x.shape, np.uint8)
    for sequence, code in zip(x, codes):
        around = np.concatenate([sequence[-seam:], sequence[:seam]])
        errors[0] = 0
        _forward(around, values, errors)
        crossing = _back(around, values, errors, int(errors[2 * seam].argmin()))[1][seam]
        errors[0] = np.inf
        errors[0, crossing] = 0
        _forward(sequence, values, errors)
        code[:] = _back(sequence, values, errors, crossing)[0]
    return codes


def _forward(x: np.ndarray, values: np.ndarray, errors: np.ndarray) -> None:
    """errors [T + 1, 2^(L - b)]: row t + 1 becomes the least squared error of samples 0 .. t by the bits kept; row 0 is
    given."""
    c, p, w = values.shape
    error, least = np.empty_like(values), np.empty((c, w), np.float32)
    for t, sample in enumerate(x):
        np.subtract(values, sample, out=error)
        np.multiply(error, error, out=error)
        error += errors[t].reshape(p, w)
        np.minimum.reduce(error, axis=1, out=least)
        errors[t + 1].reshape(w, c)[:] = least.T


def _back(x: np.ndarray, values: np.ndarray, errors: np.ndarray, kept: int) -> tuple[np.ndarray, np.ndarray]:
    """(codes [T], bits kept [T + 1]) of the best path that ends with `kept`: the errors are asked again which way it
    came."""
    c, _, w = values.shape
    codes, path = np.empty(len(x), np.int64), np.empty(len(x) + 1, np.int64)
    path[len(x)] = kept
    for t in range(len(x) - 1, -1, -1):
        window, codes[t] = divmod(kept, c)
        error = values[codes[t], :, window] - x[t]
        kept = int((error * error + errors[t, window::w]).argmin()) * w + window
        path[t] = kept
    return codes, path
