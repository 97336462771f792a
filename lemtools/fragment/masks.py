"""Lost pixels, patches, rows, bands, spans and dimensions: `mask`.

A shape is one function `(extent, fraction, generator, size) -> observed, bool [*extent]` and one line in `SHAPES`.
`extent` is the item's size along its spatial axes: (H, W) of an image, (F, T) of a spectrum, (T,) of sound,
(L,) of tokens, (D,) or (L, D) of embeddings. Channels are lost together. The number lost is exact, not on average.
"""

import math
from dataclasses import replace

import numpy as np

from ..catalogue.operations import SHAPES
from ..signal import LemError, Signal
from .draws import draw, ends, shown
from .lengths import axes, length, sides
from .quantise import parted


def pixel(extent, fraction, rng, size):
    """Single elements, round(fraction * count) of them, at random."""
    return _choose(math.prod(extent), fraction, rng).reshape(extent)


def patch(extent, fraction, rng, size):
    """Cells of a grid, `size` along each of the axes, at random; the last cells may be smaller."""
    count = math.prod(extent)
    if 0 < round(fraction * count) < count and all(side >= n for n, side in zip(extent, size)):
        raise LemError(
            f"--mask {fraction:g}: the patch is as large as the item, all or nothing would be lost; give a smaller one"
        )
    cells = _choose_grid([-(-n // side) for n, side in zip(extent, size)], fraction, rng)
    for axis, (n, side) in enumerate(zip(extent, size)):
        cells = np.repeat(cells, min(side, n), axis=axis).take(range(n), axis=axis)
    return cells


def block(extent, fraction, rng, size):
    """One box with the item's proportions that holds `fraction` of it, at a random place."""
    sides = [min(round(n * fraction ** (1 / len(extent))), n) for n in extent]
    corner = [int(rng.integers(0, n - side + 1)) for n, side in zip(extent, sides)]
    observed = np.ones(extent, bool)
    observed[tuple(slice(c, c + s) for c, s in zip(corner, sides))] = False
    return observed


def rows(extent, fraction, rng, size):
    """Whole rows (the first spatial axis), at random."""
    kept = _choose(extent[0], fraction, rng)
    return np.broadcast_to(kept.reshape(-1, *[1] * (len(extent) - 1)), extent)


def half(extent, fraction, rng, size):
    """The last ceil(fraction * n) rows of an image, samples of a sound, dimensions or positions: the lower part."""
    observed = np.ones(extent, bool)
    observed[extent[0] - math.ceil(round(fraction * extent[0], 9)) :] = False
    return observed


def span(extent, fraction, rng, size):
    """Runs of `size` along time (the last axis) that stay apart, as many as hold the fraction; without a size, one."""
    n = extent[-1]
    lost = round(fraction * n)
    if 0 < lost < n < (size or 0):
        raise LemError(f"--mask {fraction:g}: a run of {size} is longer than the item, which has {n}")
    length = min(size or lost, n)
    count = -(-lost // length) if length else 0
    # free samples left over are dealt out between the runs, one at least between neighbours
    free = n - count * length
    if free < count - 1:
        most = (n + 1) // (length + 1) * length / n
        raise LemError(f"--mask {fraction:g}: runs of {length} that stay apart lose at most {most:.4g} of {n}")
    kept = np.ones(n, bool)
    slots = np.sort(rng.integers(0, free - max(count - 1, 0) + 1, count)) + np.arange(count)
    for i, slot in enumerate(slots):
        kept[slot + i * length : slot + (i + 1) * length] = False
    return np.broadcast_to(kept, extent)


def band(extent, fraction, rng, size):
    """Runs of `size` rows (the first spatial axis) that stay apart, as span has them of frames; without a size, one."""
    return np.broadcast_to(span(extent[:1], fraction, rng, size)[:, None], extent)


def dims(extent, fraction, rng, size):
    """Dimensions of an embedding (the last axis), at random, the same at every position."""
    return np.broadcast_to(_choose(extent[-1], fraction, rng), extent)


def mask(signal: Signal, spec: dict, draws) -> tuple[Signal, dict]:
    """Lose the fraction `mask` (0-1, or a pair) of an item in `shape`: a key of SHAPES, with its size as 'span:16'.

    A size counts elements, or is a time ('20ms' of sound and of the frames of spectra) or, along the rows of spectra,
    '500hz'; the sides of a patch are one number or two, see `lengths.sides`. What an earlier mask lost stays lost.
    """
    low, high = ends(spec["mask"])
    if not 0 <= low <= high <= 1:
        raise LemError(f"--mask is the fraction lost, 0 to 1, not {shown(spec['mask'])}")
    signal, fraction = parted(signal), draw(spec["mask"], draws)
    text = spec.get("shape") or "pixel"
    name, _, size_text = text.partition(":")
    shape = SHAPES.check_kind(name, signal.kind, f"--mask-shape {name}")
    size = _size(size_text, signal, shape.along, f"--mask-shape {text}") if size_text else None
    if (size and not shape.size) or (not size and shape.size == "needs"):
        problem = f"{name} needs a size, as in {name}:8" if shape.size else "takes no size"
        raise LemError(f"--mask-shape {text}: {problem}")
    extent = tuple(signal.data.shape[a] for a in signal.spatial_axes)
    each = np.broadcast_to(fraction, (len(signal),))
    lead = [1] * (signal.data.ndim - 1 - len(extent))
    observed = np.empty((len(signal), *lead, *extent), bool)
    lose = shape.load()
    for i, rng in enumerate(draws):
        observed[i] = lose(extent, float(each[i]), rng, size)
    if signal.mask is not None:
        observed = observed & signal.mask
    data = signal.data * observed
    codes = None if signal.codes is None else signal.codes * observed
    return replace(signal, data=data, codes=codes, mask=observed), {"mask": fraction, "mask_shape": text}


def _size(text: str, signal: Signal, along: str, where: str) -> int | list[int]:
    """The size of a shape: along the 'last' or the 'first' axis, or a list of one for each axis ('all')."""
    if along == "all":
        return sides(text, signal, where)
    return length(text, axes(signal)[0 if along == "first" else -1], where)


def _choose(n: int, fraction: float, rng) -> np.ndarray:
    observed = np.ones(n, bool)
    observed[rng.permutation(n)[: round(fraction * n)]] = False
    return observed


def _choose_grid(cells, fraction, rng) -> np.ndarray:
    return _choose(math.prod(cells), fraction, rng).reshape(cells)
