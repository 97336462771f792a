"""Quantisers of one value at a time: three tables over the codes, the level of a code and its bin's two ends."""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from ..catalogue import loaded
from ..catalogue.operations import QUANTISERS
from .blockwise import along

Place = Callable[[int, str], np.ndarray]  # levels by bits and domain

_AT_A_TIME = 1 << 21  # values
MAX_BITS = 16
MAX_FITTED_BITS = 8  # a fitted codebook travels with its item: beyond 256 levels it would cost more than it saves

# Step of the uniform quantiser with least squared error for N(0, 1), 2**bits levels symmetric about 0 (Max 1960).
UNIFORM_STEP = {
    1: 1.5957691175402033,
    2: 0.9956866786840602,
    3: 0.5860194397670933,
    4: 0.335200597032966,
    5: 0.188138780537179,
    6: 0.1040630065972492,
    7: 0.05686766959855408,
    8: 0.030762385386362057,
    9: 0.016498955058073656,
    10: 0.008785467255861464,
    11: 0.004649842694182915,
    12: 0.002448413532608819,
    13: 0.0012836212073359268,
    14: 0.0006704515726632899,
    15: 0.00034905660268423134,
    16: 0.00018122255285487663,
}


# where the outermost bins end; of 'uint8' the number before the least one
ENDS = {"uint8": (-1.0, 255.0), "unit": (0.0, 1.0), "signed": (-1.0, 1.0), "gaussian": (-np.inf, np.inf)}


def _normal(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Density and upper tail of N(0, 1) at t."""
    tail = np.array([math.erfc(x / math.sqrt(2)) / 2 for x in t])
    return np.exp(-(t**2) / 2) / math.sqrt(2 * math.pi), tail


@lru_cache
def lloyd_max_gaussian(bits: int) -> np.ndarray:
    """Levels [2**bits] of the least-squares quantiser of N(0, 1), ascending (Max 1960; Lloyd 1982).

    Every level is the centroid of its bin, every bin edge the midpoint of two levels. Up to 8 bits this is solved
    by Newton's method on the positive half; above, the companding limit (Panter & Dite 1951), which is within
    0.5 % of the optimum there, is used as it stands.
    """
    half = 2 ** (bits - 1)
    # Optimal point density is proportional to the cube root of the source density, which is N(0, 3).
    from statistics import NormalDist

    inverse = NormalDist(0, math.sqrt(3)).inv_cdf
    levels = np.array([inverse((half + i + 0.5) / (2 * half)) for i in range(half)])
    if bits <= 8:
        for _ in range(60):
            edges = np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2])
            density, tail = _normal(edges)
            density_right, tail_right = np.append(density[1:], 0.0), np.append(tail[1:], 0.0)
            mass = tail - tail_right
            centroid = (density - density_right) / mass
            # d centroid_i / d edge: density at the edge times distance from edge to centroid, over the mass.
            left = density * (centroid - edges) / mass
            right = density_right * (np.append(edges[1:], 0.0) - centroid) / mass
            jacobian = np.eye(half)
            rows = np.arange(half)
            jacobian[rows[1:], rows[1:] - 1] -= left[1:] / 2
            jacobian[rows[1:], rows[1:]] -= left[1:] / 2
            jacobian[rows[:-1], rows[:-1]] -= right[:-1] / 2
            jacobian[rows[:-1], rows[:-1] + 1] -= right[:-1] / 2
            step = np.linalg.solve(jacobian, levels - centroid)
            levels = levels - step
            if np.abs(step).max() < 1e-8:  # quadratic convergence: what is left is its square
                break
    return np.concatenate([-levels[::-1], levels])


def distortion(bits: int, quantizer: str) -> float:
    """Squared error of a N(0, 1) value by the quantiser of the 'gaussian' domain, over its bins in closed form."""
    return _distortion(QUANTISERS.load(quantizer), bits)


@lru_cache
def _distortion(place: Place, bits: int) -> float:
    levels, low, high = _placed(place, bits, "gaussian")
    (below, tail_below), (above, tail_above) = _normal(low), _normal(high)
    mass, first = tail_below - tail_above, below - above
    ends = [np.where(np.isinf(t), 0, t) * d for t, d in ((low, below), (high, above))]
    return float((mass * (1 + levels**2) + ends[0] - ends[1] - 2 * levels * first).sum())


def fit_levels(values: np.ndarray, bits: int, domain: str) -> np.ndarray:
    """Fit 2**bits levels to one item's values by Lloyd's iteration, from the uniform quantiser's levels.

    values: any shape, in the domain's units ('uint8' integers, 'unit' [0, 1], 'signed' [-1, 1]). Returns float32
    [2**bits], ascending; whole numbers for 'uint8', float16-exact otherwise, since the codebook travels.
    """
    low, high, bins = {"uint8": (-0.5, 255.5, 256), "unit": (0.0, 1.0, 4096), "signed": (-1.0, 1.0, 4096)}[domain]
    counts, edges = np.histogram(np.clip(values, low, high), bins=bins, range=(low, high))
    centres = (edges[1:] + edges[:-1]) / 2
    mass = np.concatenate([[0], np.cumsum(counts)]).astype(np.float64)
    moment = np.concatenate([[0], np.cumsum(counts * centres)])
    levels = low + (np.arange(2**bits) + 0.5) * (high - low) / 2**bits
    for _ in range(200):
        cut = np.searchsorted(centres, (levels[1:] + levels[:-1]) / 2, side="right")
        cut = np.concatenate([[0], cut, [bins]])
        m, s = np.diff(mass[cut]), np.diff(moment[cut])
        new = np.where(m > 0, s / np.maximum(m, 1), levels)
        if np.array_equal(new, levels):
            break
        levels = new
    levels = np.sort(np.rint(levels) if domain == "uint8" else levels.astype(np.float16))
    return levels.astype(np.float32)


def _between(levels: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    middle = (levels[1:] + levels[:-1]) / 2
    return np.concatenate([[low], middle]), np.concatenate([middle, [high]])


def uniform(bits: int, domain: str) -> np.ndarray:
    """Levels [2**bits] in the middle of equal bins; of 'uint8' [2**min(bits, 8)], bins of whole numbers."""
    codes = np.arange(2**bits, dtype=np.float64)
    if domain == "uint8":
        shift = max(8 - bits, 0)
        return (np.arange(256 >> shift) << shift).astype(np.float64) + (1 << shift >> 1)
    if domain == "gaussian":
        return (codes + 0.5 - 2 ** (bits - 1)) * UNIFORM_STEP[bits]
    unit = (codes + 0.5) / 2**bits
    return 2 * unit - 1 if domain == "signed" else unit


def lloyd_max(bits: int, domain: str) -> np.ndarray:
    """Levels [2**bits] of least squared error for N(0, 1); in the other domains they are fitted to each item."""
    return lloyd_max_gaussian(bits)


def fixed_table(bits: int, quantizer: str, domain: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(levels, low ends, high ends), each [2**bits], of a quantiser that does not depend on the item."""
    row = QUANTISERS.find(quantizer)
    return _placed(row.load(), bits, domain, loaded(row.edges) if row.edges else None)


@lru_cache
def _placed(
    place: Place, bits: int, domain: str, edges: Place | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """fixed_table of the levels place(bits, domain) and, where its bins do not end half way between these, their ends."""
    levels = place(bits, domain)
    if edges is not None:
        ends = edges(bits, domain)
        return levels, ends[:-1], ends[1:]
    if place is not uniform or domain == "gaussian":
        return (levels, *_ends(levels, domain))
    if domain == "uint8":
        shift = max(8 - bits, 0)
        low = levels - (1 << shift >> 1)
        return levels, low, low + (1 << shift) - 1
    low, high = np.arange(2**bits) / 2**bits, np.arange(1, 2**bits + 1) / 2**bits
    return (levels, 2 * low - 1, 2 * high - 1) if domain == "signed" else (levels, low, high)


def _ends(levels: np.ndarray, domain: str) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of the bins of ascending levels: half way between two; of 'uint8' whole numbers."""
    low, high = _between(levels, *ENDS[domain])
    return (np.floor(low) + 1, np.floor(high)) if domain == "uint8" else (low, high)


def _groups(op: dict[str, Any], shape: tuple[int, ...]) -> Iterator[tuple[slice | np.ndarray, int, np.ndarray | None]]:
    """Yield (rows, bits, levels or None) over sets of items that share one table, some _AT_A_TIME values at a time: in float64 a
    large array would be several more of its size."""
    count = shape[0]
    step = max(_AT_A_TIME // max(math.prod(shape[1:]), 1), 1)
    bits = np.broadcast_to(np.asarray(op["bits"]), (count,))
    for b in sorted(set(bits.tolist())):
        rows = np.flatnonzero(bits == b)
        if op.get("levels") is None:
            for at in range(0, len(rows), step):
                yield slice(at, at + step) if len(rows) == count else rows[at : at + step], int(b), None
        else:
            for row in rows:
                yield slice(row, row + 1), int(b), op["levels"][row, : 2 ** int(b)]


def spread(op: dict[str, Any], shape: tuple[int, ...], name: str = "scale", rows: Any = slice(None)) -> np.ndarray:
    """A parameter by item, [N] or [N, C], or by block, [..., blocks], as float64 that broadcasts to values of `shape`."""
    each = np.asarray(op[name], np.float64)[rows]
    if op.get("block"):
        return along(each, op["block"], shape[-1])
    return each.reshape(*each.shape, *[1] * (len(shape) - each.ndim))


def _scaled(op: dict[str, Any], rows: slice | np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    return None if op.get("scale") is None else spread(op, shape, "scale", rows)


def _shifted(op: dict[str, Any], rows: slice | np.ndarray, shape: tuple[int, ...], bits: int) -> np.ndarray | float:
    """Where 0 lies in the domain 'unit': with a scale, values are (x - shift) scale."""
    return 0.0 if op.get("zero") is None else spread(op, shape, "zero", rows) / (2.0**bits - 1)


def code_dtype(op: dict[str, Any]) -> type[np.uint8 | np.uint16]:
    return np.uint8 if np.max(op["bits"], initial=1) <= 8 else np.uint16


def encode(values: np.ndarray, op: dict[str, Any]) -> np.ndarray:
    """Quantise values [N, ...] by `op`; returns codes of the same shape, uint8 or uint16. NaN is not allowed."""
    codes = np.empty(values.shape, code_dtype(op))
    domain, quantizer = op["domain"], op["quantizer"]
    for rows, bits, levels in _groups(op, values.shape):
        x, row = values[rows], QUANTISERS.find(quantizer)
        if levels is None and quantizer != "uniform" and not row.edges:
            levels = row.load()(bits, domain)
        if domain == "uint8":
            if levels is None:
                codes[rows] = x >> max(8 - bits, 0)
            else:
                middle = (levels[1:] + levels[:-1]) / 2
                codes[rows] = np.searchsorted(middle, np.arange(256), side="left").astype(codes.dtype)[x]
            continue
        scale = _scaled(op, rows, values.shape)
        if scale is not None:  # in float64, so that rounding puts no value into its neighbour's bin
            x = np.divide(x, scale, out=np.zeros(x.shape), where=scale > 0)
            x += _shifted(op, rows, values.shape, bits)
        if row.edges:
            codes[rows] = np.searchsorted(fixed_table(bits, quantizer, domain)[1][1:], x, side="right")
            continue
        if levels is not None:
            levels = levels.astype(np.float64)
            codes[rows] = np.searchsorted((levels[1:] + levels[:-1]) / 2, x, side="left")
            continue
        # One uniform rule: position on the grid of 2**bits steps, floored (then shifted: -1e-30 + 1 would round to 1),
        # the ends taking what lies beyond.
        slope, offset = {
            "unit": (2.0**bits, 0.0),
            "signed": (2.0 ** (bits - 1), 2.0 ** (bits - 1)),
            "gaussian": (1 / UNIFORM_STEP[bits], 2.0 ** (bits - 1)),
        }[domain]
        codes[rows] = np.clip(np.floor(x * slope) + offset, 0, 2**bits - 1)
    return codes


def _look_up(codes: np.ndarray, op: dict[str, Any], which: tuple[int, ...]) -> list[np.ndarray]:
    out = [np.empty(codes.shape, np.float32) for _ in which]
    for rows, bits, levels in _groups(op, codes.shape):
        if levels is None:
            tables = fixed_table(bits, op["quantizer"], op["domain"])
        else:
            levels = levels.astype(np.float64)
            tables = (levels, *_ends(levels, op["domain"]))
        scale, shift = _scaled(op, rows, codes.shape), _shifted(op, rows, codes.shape, bits)
        for array, k in zip(out, which):
            # lost elements of a fragment have code 0, and a damaged one may hold codes beyond a table of 256
            if scale is None:
                array[rows] = tables[k].astype(np.float32).take(codes[rows], mode="clip")
            else:
                with np.errstate(invalid="ignore", over="ignore"):
                    array[rows] = (tables[k].take(codes[rows], mode="clip") - shift) * scale
    return out


def decode(codes: np.ndarray, op: dict[str, Any]) -> np.ndarray:
    """Values [N, ...] of codes [N, ...]: the middle of the bin (uniform) or its level; uint8 or float32."""
    if op["domain"] == "uint8" and op["quantizer"] == "uniform" and np.ndim(op["bits"]) == 0:
        shift = max(8 - int(op["bits"]), 0)
        return ((codes << shift) + (1 << shift >> 1)).astype(np.uint8, copy=False)
    (values,) = _look_up(codes, op, (0,))
    return values.astype(np.uint8) if op["domain"] == "uint8" else values


def bounds(codes: np.ndarray, op: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Ends (low, high), float32 [N, ...], of the bins that the original values are known to lie in.

    In 'uint8' both ends are whole numbers that the value can take; elsewhere the bin is low <= value <= high, for
    values within the domain (what lies beyond full scale was clipped to it). Bins at the ends of the 'gaussian' domain
    are infinite. An item whose scale is 0 has bins [0, 0].
    """
    low, high = _look_up(codes, op, (1, 2))
    rows = (-1, *[1] * (codes.ndim - 1))
    scale, slack = op.get("scale"), op.get("slack")
    if scale is not None:
        # the product with the scale was rounded: one step outwards, so that the original is inside for certain
        low, high = _outwards(low, high)
        none = np.broadcast_to(spread(op, codes.shape) == 0, low.shape)
        low[none] = high[none] = 0
    if slack is not None:
        slack = np.asarray(slack, np.float32).reshape(rows)
        low, high = low - slack, high + slack
        if op["domain"] != "uint8":
            low, high = _outwards(low, high)
        if scale is None:
            least, most = {"uint8": (0, 255), "unit": (0, 1), "signed": (-1, 1)}[op["domain"]]
            low, high = np.maximum(low, np.float32(least)), np.minimum(high, np.float32(most))
    return low, high


def _outwards(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.nextafter(low, np.float32(-np.inf)), np.nextafter(high, np.float32(np.inf))
