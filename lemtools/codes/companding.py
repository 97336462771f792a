"""Companded quantisers of sound: bins that are equal in the logarithm of the amplitude.

The continuous mu-law, of which ITU-T G.711 (1988) tabulates a piecewise linear form at 8 bits:

    F(x) = sign(x) ln(1 + mu |x|) / ln(1 + mu),  x in [-1, 1],  mu = 2**bits - 1

2**bits equal bins of F over [-1, 1], two of which meet at zero; the level of a bin is where F is in its middle.
"""

import numpy as np


def mu_law(bits: int, domain: str) -> np.ndarray:
    """Levels [2**bits], ascending, in [-1, 1]. domain: 'signed'."""
    return expand((np.arange(2**bits) + 0.5) / 2 ** (bits - 1) - 1, bits)


def mu_law_edges(bits: int, domain: str) -> np.ndarray:
    """Ends [2**bits + 1] of the bins, ascending, from -1 to 1, numbers that float32 holds. domain: 'signed'."""
    return expand(np.arange(2**bits + 1) / 2 ** (bits - 1) - 1, bits).astype(np.float32).astype(np.float64)


def expand(y: np.ndarray, bits: int) -> np.ndarray:
    """F^-1(y), float64 in [-1, 1]; odd, and exact at -1, 0 and 1."""
    mu = 2.0**bits - 1
    x = np.expm1(np.abs(y) * np.log1p(mu)) / mu
    return np.sign(y) * np.minimum(np.where(np.abs(y) == 1, 1.0, x), 1.0)
