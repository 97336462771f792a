"""One random generator per (seed, item, operation): results never depend on batch size, shard, worker or device."""

import zlib

import numpy as np


def generator(seed: int, item: int, position: int, name: str) -> np.random.Generator:
    """Return the generator of one operation on one item.

    seed: the command's `--seed`, >= 0. item: index of the item in its whole stream. position: how many operations
    the item has been through before this one. name: the operation. Two masks in a row therefore differ, whether
    they stand in one command or in two, and a stream cut into shards draws what the whole stream draws.
    """
    key = (int(seed), int(item), int(position), zlib.crc32(name.encode()))
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))
