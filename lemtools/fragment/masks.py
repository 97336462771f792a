"""Lost pixels, patches, rows, spans and dimensions: `mask`.

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
from .quantise import parted


def pixel(extent, fraction, rng, size):
    """Single elements, round(fraction * count) of them, at random."""
    return _choose(math.prod(extent), fraction, rng).reshape(extent)


def patch(extent, fraction, rng, size):
    """Cells of a grid of `size` along every axis, at random; the last cells may be smaller."""
    cells = _choose_grid([-(-n // size) for n in extent], fraction, rng)
    for axis, n in enumerate(extent):
        cells = np.repeat(cells, size, axis=axis).take(range(n), axis=axis)
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


def dims(extent, fraction, rng, size):
    """Dimensions of an embedding (the last axis), at random, the same at every position."""
    return np.broadcast_to(_choose(extent[-1], fraction, rng), extent)


def mask(signal: Signal, spec: dict, draws) -> tuple[Signal, dict]:
    """Lose the fraction `mask` (0-1, or a pair) of an item in `shape`: a key of SHAPES, 'patch:SIZE' or 'span:SIZE'.

    SIZE counts elements; in sound also '20ms' or '.5s'. What an earlier mask lost stays lost.
    """
    low, high = ends(spec["mask"])
    if not 0 <= low <= high <= 1:
        raise LemError(f"--mask is the fraction lost, 0 to 1, not {shown(spec['mask'])}")
    signal, fraction = parted(signal), draw(spec["mask"], draws)
    text = spec.get("shape") or "pixel"
    name, _, size_text = text.partition(":")
    shape = SHAPES.check_kind(name, signal.kind, f"--mask-shape {name}")
    size = length(size_text, seconds(signal), f"--mask-shape {text}") if size_text else None
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


def seconds(signal: Signal) -> float | None:
    """Elements a second, where a length may be given in seconds: in sound (a spectrum's rate is not its frames')."""
    return signal.rate if signal.kind == "audio" else None


def length(text: str, rate: float | None, where: str) -> int:
    """A number of elements: '512', or, for sound (where a rate is given), '20ms' or '1.5s'; at least 1."""
    unit = next((u for u in ("ms", "s") if text.endswith(u)), "")
    if unit and rate is None:
        raise LemError(f"{where}: seconds are for sound")
    try:
        number = float(text.removesuffix(unit)) * {"ms": 0.001, "s": 1}[unit] * rate if unit else int(text)
        if number > 0:
            return max(round(number), 1)
    except (ValueError, OverflowError):
        pass
    raise LemError(f"{where}: {text!r} is not a length, as in 16{' or 20ms' if rate else ''}")


def _choose(n: int, fraction: float, rng) -> np.ndarray:
    observed = np.ones(n, bool)
    observed[rng.permutation(n)[: round(fraction * n)]] = False
    return observed


def _choose_grid(cells, fraction, rng) -> np.ndarray:
    return _choose(math.prod(cells), fraction, rng).reshape(cells)
