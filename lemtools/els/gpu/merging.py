"""What becomes of the sums that the programs of ``kernel.attend`` and ``corners`` found: one Triton kernel."""

from __future__ import annotations

import triton
import triton.language as tl

from ..sums import EMPTY

EMPTY_ = tl.constexpr(EMPTY)


@triton.jit(do_not_specialize=["splits", "queries", "count", "seeds", "first", "total"])
def merge(
    found,
    start,
    pixels,
    state,
    splits,
    queries,
    count,
    seeds,
    first,
    total,
    plane,
    unit,
    MOST: tl.constexpr,
    PARTS: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Take what the programs of ``attend`` found into start [R, `queries`], and into state at the queries' pixels.

    found: [`splits`, R, PARTS, `queries`], each relative to its own reference, the first of its parts; logits are
    `unit` times references. state: float64 [PARTS, `total`]: reference (a logit), skipped, values, count. pixels:
    int32 [R, `count` / S] places in an image of `plane` pixels; `first`: number of the first seed. MOST: passes over
    SPLITS of the splits where the interpreter needs a constant, else 0.
    """
    r, rows = tl.program_id(1), tl.num_programs(1)
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    s = tl.arange(0, SPLITS)
    inside = m < queries
    step = rows.to(tl.int64) * PARTS * queries
    at = found + r.to(tl.int64) * PARTS * queries + s.to(tl.int64)[:, None] * step + m[None, :]
    begin = tl.load(start + r * queries + m, mask=inside, other=EMPTY_)
    highest = begin
    for k in range(MOST if MOST else tl.cdiv(splits, SPLITS)):
        used = (k * SPLITS + s < splits)[:, None] & inside[None, :]
        highest = tl.maximum(highest, tl.max(tl.load(at + k * SPLITS * step, mask=used, other=EMPTY_), 0))
    tl.store(start + r * queries + m, highest, mask=inside)
    high = highest.to(tl.float64)
    kept = tl.exp2(((begin.to(tl.float64) - high) * unit).to(tl.float32)).to(tl.float64)
    inside = m < count
    pixel = tl.load(pixels + r * (count // seeds) + m // seeds, mask=inside, other=0)
    to = state + pixel + (first + m % seeds).to(tl.int64) * plane
    tl.store(to, high * unit, mask=inside)
    for part in tl.static_range(1, PARTS):
        sums = tl.load(to + part * total, mask=inside, other=0.0) * kept
        for k in range(MOST if MOST else tl.cdiv(splits, SPLITS)):
            used = (k * SPLITS + s < splits)[:, None] & inside[None, :]
            reference = tl.load(at + k * SPLITS * step, mask=used, other=EMPTY_).to(tl.float64)
            share = tl.exp2(((reference - high[None, :]) * unit).to(tl.float32)).to(tl.float64)
            value = tl.load(at + k * SPLITS * step + part * queries, mask=used, other=0.0).to(tl.float64)
            sums += tl.sum(value * share, 0)
        tl.store(to + part * total, sums, mask=inside)
