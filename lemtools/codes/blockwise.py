"""Quantisers of models' weights, as the literature has them: each block of some values of a row has a scale of its own.

absmax       symmetric: q = round(x / a (2^(b-1) - 1)), a the greatest magnitude of the block (LLM.int8(), Dettmers et al. 2022)
zero-point   affine: q = round(x / s) + z of 0 .. 2^b - 1, s = (greatest - least) / (2^b - 1), z a whole number, so that 0 is kept
nf4          16 quantiles of N(0, 1), scaled to [-1, 1], one of them 0 (QLoRA, Dettmers et al. 2023, section 3)
"""

from statistics import NormalDist

import numpy as np


def blocks(length: int, block: int) -> int:
    """Blocks of a vector; the last one may be shorter."""
    return -(-length // block)


def in_blocks(x: np.ndarray, block: int, fill: float | bool = 0) -> np.ndarray:
    """[..., D] as [..., blocks, block], with `fill` behind the end."""
    count = blocks(x.shape[-1], block)
    room = np.full((*x.shape[:-1], count * block), fill, x.dtype)
    room[..., : x.shape[-1]] = x
    return room.reshape(*x.shape[:-1], count, block)


def along(each: np.ndarray, block: int, length: int) -> np.ndarray:
    """A number a block, [..., blocks], at every place of the vectors, [..., D]."""
    return np.repeat(each, block, axis=-1)[..., :length]


def absmax(bits: int, domain: str) -> np.ndarray:
    """Levels [2**bits], ascending, -1 to 1, symmetric about 0, of which the last stands twice. domain: 'signed'."""
    most = 2 ** (bits - 1) - 1
    return np.minimum(np.arange(-most, most + 2) / most, 1.0)


def zero_point(bits: int, domain: str) -> np.ndarray:
    """Levels [2**bits], ascending, 0 to 1, both ends among them. domain: 'unit'."""
    return np.arange(2**bits) / (2**bits - 1)


def nf4(bits: int, domain: str) -> np.ndarray:
    """Levels [16], ascending, -1 to 1. domain: 'signed'.

    Quantiles of N(0, 1) at evenly spaced probabilities from 1/2 to the mean of 1 - 1/30 and 1 - 1/32: 8 above 0, 7 below it.
    """
    half, normal = 2 ** (bits - 1), NormalDist()
    end = 1 - (1 / (4 * half - 2) + 1 / (4 * half)) / 2
    up, down = ([normal.inv_cdf(end + (0.5 - end) * i / n) for i in range(n)] for n in (half, half - 1))
    return np.array([*(-x for x in down), 0.0, *reversed(up)]) / up[0]


def zeros_of(low: np.ndarray, span: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """uint8: the code of 0 where codes 0 .. 2**bits - 1 cover [low, low + span], low <= 0; 0 where there is no span."""
    steps = -low / np.where(span > 0, span, 1) * (2.0**bits - 1)
    return np.rint(np.clip(steps, 0, 2.0**bits - 1)).astype(np.uint8)
