"""One random generator per (seed, item, operation): results never depend on batch size, shard, worker or device."""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np


def generator(seed: int, item: int, position: int, name: str) -> np.random.Generator:
    """Return the generator of one operation on one item.

    seed: the command's `--seed`, >= 0. item: index of the item in its whole stream. position: how many operations
    the item has been through before this one. name: the operation. Two masks in a row therefore differ, whether
    they stand in one command or in two, and a stream cut into shards draws what the whole stream draws.
    """
    key = (int(seed), int(item), int(position), zlib.crc32(name.encode()))
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def generators(seed: int, items: Sequence[int] | np.ndarray, position: int, name: str) -> list[np.random.Generator]:
    """`generator` of each of `items`: the same draws, but a batch of them is seeded at once, in a tenth of the time."""
    numbers = np.asarray(items, np.int64)
    words = [int(seed), int(position), zlib.crc32(name.encode()), int(numbers.max(initial=0))]
    if max(words) >> 32:  # SeedSequence makes two words of such a number
        return [generator(seed, i, position, name) for i in numbers]
    key = np.empty((4, len(numbers)), np.uint32)
    key[0], key[1], key[2], key[3] = words[0], numbers, *words[1:3]
    seeds: Any = map(_Seeded, _states(key))  # (NumPy takes any ISeedSequence, its stub does not say so)
    return [np.random.Generator(np.random.PCG64(seed)) for seed in seeds]


class _Seeded(np.random.bit_generator.ISeedSequence):
    """What SeedSequence would tell a PCG64, known already: uint64 [4]."""

    def __init__(self, state: np.ndarray):
        self.state = state

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        return self.state


def _powers(first: int, factor: int, count: int) -> np.ndarray:
    """first * factor^k modulo 2^32 for k = 0 .. count: uint32 [count + 1, 1]."""
    return np.array([[first * pow(factor, k, 1 << 32) % (1 << 32)] for k in range(count + 1)], np.uint32)


_IN, _OUT, _HALF = _powers(0x43B0D7E5, 0x931E8875, 16), _powers(0x8B51F9DD, 0x58F38DED, 8), np.uint32(16)


def _states(key: np.ndarray) -> np.ndarray:
    """uint64 [N, 4]: SeedSequence(key[:, n]).generate_state(4, uint64) of every n; key uint32 [4, N].

    The hash of O'Neill, "Developing a seed_seq alternative" (2015), with NumPy's constants, in arithmetic modulo 2^32.
    """

    def scatter(words: np.ndarray, powers: np.ndarray) -> np.ndarray:
        words = (words ^ powers[:-1]) * powers[1:]
        return words ^ words >> _HALF

    pool = scatter(key, _IN[:5])
    for source in range(4):
        others, first = [to for to in range(4) if to != source], 4 + 3 * source
        mixed = pool[others] * np.uint32(0xCA01F9DD)
        mixed -= scatter(pool[source], _IN[first : first + 4]) * np.uint32(0x4973F715)
        pool[others] = mixed ^ mixed >> _HALF
    words = scatter(np.concatenate([pool, pool]), _OUT)
    return np.ascontiguousarray(words.T, "<u4").view("<u8").astype(np.uint64)
