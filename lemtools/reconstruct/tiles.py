"""Frames and tiles: fragments put back at their place, cut into windows that fit into memory, and joined. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..fragment.evidence import Evidence, evidence, leaves, place
from ..progress import steps
from ..signal import Signal

GRID = 32  # px: corners of tiles and the overlap are multiples of it, so that coarser grids lie as in the whole image
ROWS = 256  # rows of an image that are looked at together, a multiple of GRID


def framed(signal: Signal) -> Signal:
    """The batch with what --crop and --keep-dims left put back in its place, all round it lost; other ops as before."""
    data, mask, codes = signal.data, signal.mask, signal.codes
    for op in reversed(signal.ops):
        if leaves(op) == "window":
            seen = np.broadcast_to(np.True_ if mask is None else mask, data.shape)
            data, mask = place(data, 0, op, signal.spatial_axes), place(seen, False, op, signal.spatial_axes)
            codes = None if codes is None else place(codes, 0, op, signal.spatial_axes)
    ops = [op for op in signal.ops if leaves(op) != "window"]
    spans = signal.spans if data.shape == signal.data.shape else None  # when what lies round it was said is not known
    return replace(signal, data=data, mask=mask, codes=codes, ops=ops, spans=spans)


def repeated(signal: Signal, samples: int) -> Signal:
    """Every item `samples` times in a row, named NAME#0, NAME#1 ... and numbered so that no two share a number."""
    counted = np.tile(np.arange(samples), len(signal))
    out = signal.take(np.arange(len(signal)).repeat(samples))
    names = None if out.names is None else [f"{name}#{m}" for name, m in zip(out.names, counted)]
    return replace(out, names=names, index=out.index * samples + counted)


def settle(values: np.ndarray, fragment: Signal, seen: Evidence, dtype: np.dtype) -> np.ndarray:
    """Recalled values [N, ...item], in units of full scale, with what was observed put back, in the memory's own type.

    fragment: framed, with `seen` its evidence. Quantised values end inside their bins, after rounding to 8 bits too;
    exact ones are those of the fragment to the last bit. Items seen through noise keep what was recalled.
    """
    free = (seen.sigma > 0).reshape(-1, *[1] * (values.ndim - 1))
    if fragment.kind == "image":
        values = np.clip(values, 0, 1)
    values = seen.hold(values)
    if dtype == np.uint8:
        low, high = (np.where(free, end, bound) for end, bound in ((0, seen.low), (1, seen.high)))
        levels = np.clip(np.rint(values * 255), np.ceil(low * 255 - 1e-3), np.floor(high * 255 + 1e-3))
        return np.clip(levels, 0, 255).astype(np.uint8)
    values = values.astype(dtype, copy=False)
    if fragment.codes is None:
        values = np.where(fragment.observed() & ~free, fragment.data, values).astype(dtype, copy=False)
    return values


def cells(signal: Signal) -> tuple[np.ndarray, np.ndarray]:
    """(means, counts), float32 [N, C, h, w], of what is observed in cells of GRID x GRID pixels; signal: framed.

    The image is read in strips: its evidence takes many times the memory of its pixels.
    """
    height, width = signal.data.shape[-2:]
    corners = np.arange(0, width, GRID)
    sums, counts = [], []
    for top in range(0, height, ROWS):
        seen = evidence(window(signal, (slice(top, top + ROWS), slice(None))))
        rows = np.arange(0, seen.value.shape[-2], GRID)
        for out, part in ((sums, seen.value * seen.observed), (counts, seen.observed)):
            out.append(np.add.reduceat(np.add.reduceat(part, rows, -2, np.float32), corners, -1, np.float32))
    total, count = np.concatenate(sums, -2), np.concatenate(counts, -2)
    return total / np.maximum(count, 1), count


@dataclass(frozen=True)
class Pieces:
    """How a batch of images goes through a network: `items` at a time where side is 0, else in tiles of `side` pixels
    with `halo` more on every side."""

    items: int
    side: int = 0
    halo: int = 0

    def __str__(self) -> str:
        return f"tiles of {self.side} px, {self.halo} px overlap" if self.side else ""


def pieces(signal: Signal, per_pixel: float, budget: float, reach: int | None, side: int | None = None) -> Pieces:
    """Whole images where one fits, else the largest tiles that do; signal: framed.

    per_pixel: bytes that the network needs; budget: bytes there are; reach: pixels beyond which nothing matters, None
    for a network that must see the whole; side: of the tiles, if any (rounded up to the grid). The overlap
    covers the reach and, where something is lost, two cells of the grid for filling it: with what `cells` says about the
    whole, a tile then is what it is in the whole image, but for rounding.
    """
    height, width = signal.data.shape[-2:]
    items = int(budget / (height * width * per_pixel))
    whole = Pieces(max(1, min(items, 1024)))
    if reach is None or (side is None and items) or (side is not None and side >= max(height, width)):
        return whole
    lost = signal.mask is not None and not signal.mask.all()
    halo = -(-(reach + 2 * GRID * lost) // GRID) * GRID
    if side is None:
        side = max(int((budget / per_pixel) ** 0.5) - 2 * halo, GRID) // GRID * GRID
    else:
        side = -(-side // GRID) * GRID
    return Pieces(1, side, halo) if side < max(height, width) else whole


Place = tuple[slice, tuple[slice, slice] | None]  # the items, and the window in them; None for whole images


def apply(recall: Callable[[Signal, Place], np.ndarray], signal: Signal, cut: Pieces, dtype: np.dtype) -> np.ndarray:
    """recall(window, place) -> array, over a framed batch as `cut` says: the same as of the whole, whose shape is signal's.

    Of a tile only the middle is kept: what lies further than the halo from it does not matter.
    """
    if not cut.side:
        rows = [slice(i, i + cut.items) for i in range(0, len(signal), cut.items)]
        parts = [recall(signal.take(items), (items, None)) for items in rows]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
    out = np.empty(signal.data.shape, dtype)
    for i in range(len(signal)):
        item = signal.take([i])
        for middle, sides, inner in steps(list(_tiles(signal.data.shape[-2:], cut)), "tiles"):
            out[(i, slice(None), *middle)] = recall(window(item, sides), (slice(i, i + 1), sides))[
                (0, slice(None), *inner)
            ]
    return out


def _tiles(shape: tuple[int, int], cut: Pieces) -> Iterator[tuple[tuple[slice, slice], ...]]:
    """(middle of a tile, its window with the halo, the middle inside the window), each as a pair of slices."""
    sides = []
    for extent in shape:
        starts = range(0, extent, cut.side)
        ends = [min(start + cut.side, extent) for start in starts]
        first = [max(0, start - cut.halo) for start in starts]
        sides.append(
            [
                (slice(a, b), slice(f, min(b + cut.halo, extent)), slice(a - f, b - f))
                for a, b, f in zip(starts, ends, first)
            ]
        )
    for row in sides[0]:
        for column in sides[1]:
            yield tuple(zip(row, column))


def corner(signal: Signal, side: int) -> Signal:
    """The upper left of a framed batch, at most side x side."""
    return window(signal, (slice(side), slice(side)))


def window(signal: Signal, sides: tuple[slice, slice]) -> Signal:
    """The part of a framed batch inside a window; a mask of one row or column stands for all."""

    def part(array):
        if array is None:
            return None
        return array[(..., *(s if n > 1 else slice(None) for s, n in zip(sides, array.shape[-2:])))]

    return replace(signal, **{k: part(getattr(signal, k)) for k in ("data", "mask", "codes")})
