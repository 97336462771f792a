"""Square blocks of an image as the columns of a matrix, and back; their sums; the orthonormal DCT."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


@lru_cache
def dct_matrix(size: int) -> np.ndarray:
    """Orthonormal DCT-II as a float32 [size, size] matrix: `C @ v` transforms, `C.T @ c` inverts (Ahmed 1974)."""
    k, n = np.arange(size)[:, None], np.arange(size)[None, :]
    c = np.sqrt(2 / size) * np.cos(np.pi * (2 * n + 1) * k / (2 * size))
    c[0] /= np.sqrt(2)
    return c.astype(np.float32)


def grid(shape: tuple[int, int], size: int, stride: int) -> tuple[int, int]:
    """How many whole blocks lie below each other and side by side in an image of this shape."""
    return (shape[0] - size) // stride + 1, (shape[1] - size) // stride + 1


def gather(image: np.ndarray, size: int, stride: int, order: np.ndarray | None = None) -> np.ndarray:
    """All whole blocks of a float32 image [H, W] as columns, [size * size, blocks], row by row of the grid.

    Corners lie at multiples of `stride`; slice the image to shift the grid. Column i is block `order[i]`.
    """
    nh, nw = grid(image.shape, size, stride)
    out = np.empty((size * size, nh * nw if order is None else len(order)), np.float32)
    for d in range(size * size):
        i, j = divmod(d, size)
        pixels = image[i : i + (nh - 1) * stride + 1 : stride, j : j + (nw - 1) * stride + 1 : stride]
        if order is None:
            out[d].reshape(nh, nw)[...] = pixels
        else:
            np.take(pixels.ravel(), order, out=out[d], mode="clip")
    return out


def scatter(
    blocks: np.ndarray, shape: tuple[int, int], size: int, stride: int, place: np.ndarray | None = None
) -> np.ndarray:
    """The adjoint of `gather`: float32 [H, W], every pixel the sum of what the blocks over it hold there.

    Block i of the grid is column `place[i]` (the inverse permutation of `gather`'s `order`).
    """
    nh, nw = grid(shape, size, stride)
    # One plane for each residue of the pixel's position, so that every addition runs over contiguous rows.
    planes = np.zeros((stride, stride, -(-shape[0] // stride), -(-shape[1] // stride)), np.float32)
    for d in range(size * size):
        i, j = divmod(d, size)
        column = blocks[d] if place is None else blocks[d].take(place, mode="clip")
        plane = planes[i % stride, j % stride, i // stride :, j // stride :]
        plane[:nh, :nw] += column.reshape(nh, nw)
    out = planes.transpose(2, 0, 3, 1).reshape(planes.shape[2] * stride, planes.shape[3] * stride)
    return out[: shape[0], : shape[1]]


def box_sums(x: np.ndarray, size: int) -> np.ndarray:
    """Sums over all size x size boxes inside [H, W], float64 [H - size + 1, W - size + 1]."""
    s = np.pad(x.cumsum(0, np.float64).cumsum(1), ((1, 0), (1, 0)))
    return s[size:, size:] - s[:-size, size:] - s[size:, :-size] + s[:-size, :-size]


def averaging(n: int, factor: int) -> np.ndarray:
    """Float32 [ceil(n / factor), n]: the means of consecutive cells."""
    cell = np.arange(n) // factor == np.arange(-(-n // factor))[:, None]
    return (cell / cell.sum(1, keepdims=True)).astype(np.float32)


def spread(y: np.ndarray, factor: int, shape: tuple[int, int]) -> np.ndarray:
    """Repeat every value of [C, h, w] over its cell: [C, H, W]."""
    return y.repeat(factor, 1).repeat(factor, 2)[:, : shape[0], : shape[1]]
