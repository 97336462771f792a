"""Codes of 1-16 bits as bytes, most significant bit first."""

from functools import lru_cache

import numpy as np


def packed_size(count: int, bits: int) -> int:
    """Bytes that `count` codes of `bits` bits take."""
    return (int(count) * int(bits) + 7) // 8


_BLOCK = 1 << 16  # codes packed at a time: a bit takes a byte on the way


def pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """Pack 1-D codes < 2**bits into bytes, most significant bit first; the last byte is padded with zeros."""
    wide = np.dtype(np.uint8 if bits <= 8 else ">u2")
    if bits in (8, 16):
        return codes.astype(wide).view(np.uint8)
    out = np.empty(packed_size(len(codes), bits), np.uint8)
    for i in range(0, len(codes), _BLOCK):  # a block ends on a whole byte
        block = codes[i : i + _BLOCK].astype(wide).view(np.uint8).reshape(-1, wide.itemsize)
        packed = np.packbits(np.unpackbits(block, axis=1)[:, 8 * wide.itemsize - bits :])
        out[i * bits // 8 : i * bits // 8 + len(packed)] = packed
    return out


def unpack(data: np.ndarray, count: int, bits: int) -> np.ndarray:
    """Inverse of `pack`: `count` codes from bytes uint8 [packed_size(count, bits)]; uint8 up to 8 bits, else uint16."""
    wide = np.dtype(np.uint8 if bits <= 8 else ">u2")
    if bits in (8, 16):
        return data[: count * wide.itemsize].view(wide).astype(wide.newbyteorder("="))
    out = np.empty(count, wide.newbyteorder("="))
    for i in range(0, count, _BLOCK):
        n = min(_BLOCK, count - i)
        padded = np.zeros((n, 8 * wide.itemsize), np.uint8)
        block = data[i * bits // 8 :][: packed_size(n, bits)]
        padded[:, 8 * wide.itemsize - bits :] = np.unpackbits(block, count=n * bits).reshape(n, bits)
        out[i : i + n] = np.packbits(padded).view(wide)
    return out


def pack_rows(codes: np.ndarray, bits: int) -> np.ndarray:
    """Pack codes [N, D] < 2**bits row by row: uint8 [N, bytes], each row padded with zeros to a whole byte."""
    count, dims = codes.shape
    if dims * bits % 8 == 0:
        return pack(codes.reshape(-1), bits).reshape(count, dims * bits // 8)
    parts = []
    for i in range(0, count, step := max(1, _BLOCK // dims)):
        block = codes[i : i + step]
        flat = np.unpackbits(pack(block.reshape(-1), bits), count=block.size * bits)
        parts.append(np.packbits(flat.reshape(len(block), dims * bits), axis=1))
    return np.concatenate(parts) if parts else np.zeros((0, packed_size(dims, bits)), np.uint8)


def unpack_rows(data: np.ndarray, dims: int, bits: int) -> np.ndarray:
    """Inverse of `pack_rows`: codes [N, dims] from uint8 [N, bytes]; uint8 up to 8 bits, else uint16."""
    count = len(data)
    if dims * bits % 8:  # without the gaps between rows
        data = np.packbits(np.unpackbits(data, axis=1, count=dims * bits))
    data = np.ascontiguousarray(data).reshape(-1)
    if bits in (1, 2, 4):  # a byte is a few whole codes
        return _few(bits)[data].reshape(-1)[: count * dims].reshape(count, dims)
    return unpack(data, count * dims, bits).reshape(count, dims)


@lru_cache
def _few(bits: int) -> np.ndarray:
    """uint8 [256, 8 / bits]: the codes of each byte."""
    return unpack(np.arange(256, dtype=np.uint8), 256 * 8 // bits, bits).reshape(256, -1)
