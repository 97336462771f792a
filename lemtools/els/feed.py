"""What ``kernel.attend`` is given, and what becomes of its sums: one Triton kernel each, since launches cost time.

A window lies `along` one axis of the image and `across` the other. Its element (d, c, e) is channel c at d along and e
across; what lies beyond a border that does not wrap is zero, in queries as in keys. A table says of each element of a
row of scratch memory: int32 [4, ...] of d, e, c and what is zero in that channel; c = -1 where there is none.

Letters as in ``kernel``.
"""

from __future__ import annotations

import triton
import triton.language as tl

FOLDED = 2048  # |k|^2 is kept in the key as two digits of this base
FOLDED_ = tl.constexpr(FOLDED)


@triton.jit
def _place(p, length, CIRCULAR: tl.constexpr):
    """Where coordinate p lies, and whether it does."""
    if CIRCULAR:
        return tl.where(p < 0, p + length, tl.where(p >= length, p - length, p)), p > -1 - length
    else:
        return p, (p >= 0) & (p < length)


@triton.jit(do_not_specialize=["rows", "per_image", "per_along", "image", "plane", "along", "across", "from_along"])
def expand(images, table, begin, out, squares, rows, pitch, per_image, per_along, image, plane, length_along,
           length_across, along, across, from_along, ELEMENTS: tl.constexpr, ROW: tl.constexpr, WIDTH: tl.constexpr,
           FOLD: tl.constexpr, CIRCULAR: tl.constexpr, BLOCK: tl.constexpr):
    """Keys: out[r, i, j, l, e], image i at place j across from begin[r] and l along from `from_along`, element e.

    begin: [R]. table: [4, WIDTH]. out: float16, `pitch` numbers a row r, all of them written: zeros beyond the keys and
    from ELEMENTS to ROW. squares: float32 [R, `rows`] sums of squares over e, unless FOLD: then they are two elements.
    """
    r = tl.program_id(1)
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    e = tl.arange(0, WIDTH)
    inside = row < rows
    i = row // per_image
    p, here = _place((row % per_along)[:, None] + from_along + tl.load(table + e)[None, :], length_along, CIRCULAR)
    q, there = _place((row % per_image // per_along + tl.load(begin + r))[:, None]
                      + tl.load(table + WIDTH + e)[None, :], length_across, CIRCULAR)
    used = here & there & (e < ELEMENTS)[None, :] & inside[:, None]
    at = i.to(tl.int64)[:, None] * image + tl.load(table + 2 * WIDTH + e)[None, :] * plane + p * along + q * across
    raw = tl.load(images + at, mask=used, other=0).to(tl.int32)
    value = tl.where(used, raw - tl.load(table + 3 * WIDTH + e)[None, :], 0)
    square = tl.sum(value * value, 1)
    if FOLD:
        value = tl.where((e == ELEMENTS)[None, :], (square // FOLDED_)[:, None], value)
        value = tl.where((e == ELEMENTS + 1)[None, :], (square % FOLDED_)[:, None], value)
    else:
        tl.store(squares + r.to(tl.int64) * rows + row, square.to(tl.float32), mask=inside)
    place = row.to(tl.int64)[:, None] * ROW + e[None, :]
    tl.store(out + r.to(tl.int64) * pitch + place, value.to(tl.float16), mask=(place < pitch) & (e < ROW)[None, :])


@triton.jit(do_not_specialize=["keys", "padded", "per_image", "per_along", "strips", "image", "plane", "along",
                               "across", "from_along"])
def centres(images, begin, centre, squares, values, bias, keys, padded, per_image, per_along, strips, image, plane,
            along, across, from_along, reach, ratio, CHANNELS: tl.constexpr, SIZE: tl.constexpr, WIDTH: tl.constexpr,
            FOLD: tl.constexpr, BLOCK: tl.constexpr):
    """Values of keys: their centre pixels less `centre`, and 1; zeros beyond the last. And ratio |k|^2, unless FOLD.

    values: [R, C + 1, `padded`], or [R, `padded`, WIDTH]. bias: float32 [R, `padded`], beyond the last key as of the
    last. squares: float32, of whole windows; or of the strips of SIZE of which a window consists, `strips` in a line of
    places along. begin and from_along: as of ``expand``, `reach` before the centre.
    """
    r = tl.program_id(1)
    t = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = t < keys
    k = tl.minimum(t, keys - 1)
    i, line, l = k // per_image, k // per_along, k % per_along
    at = i.to(tl.int64) * image + (from_along + reach + l) * along
    at += (line - i * (per_image // per_along) + tl.load(begin + r) + reach) * across
    if WIDTH:
        c = tl.arange(0, WIDTH)
        used = inside[:, None] & (c < CHANNELS)[None, :]
        raw = tl.load(images + at[:, None] + (c * plane)[None, :], mask=used, other=0).to(tl.int32)
        value = tl.where(used, raw - tl.load(centre + c, mask=c < CHANNELS, other=0)[None, :], 0)
        value = tl.where(inside[:, None] & (c == CHANNELS)[None, :], 1, value).to(tl.float32)
        place = (r.to(tl.int64) * padded + t)[:, None] * WIDTH + c[None, :]
        tl.store(values + place, value.to(values.dtype.element_ty), mask=(t < padded)[:, None])
    else:
        place = values + r.to(tl.int64) * (CHANNELS + 1) * padded + t
        for c in tl.static_range(CHANNELS):
            value = tl.load(images + at + c * plane).to(tl.int32) - tl.load(centre + c)
            tl.store(place + c * padded, tl.where(inside, value, 0).to(tl.float32), mask=t < padded)
        tl.store(place + CHANNELS * padded, inside.to(tl.float32), mask=t < padded)
    if not FOLD:
        if strips:
            square = tl.zeros([BLOCK], tl.float32)
            first = squares + r.to(tl.int64) * (keys // per_along * strips) + line * strips + l
            for d in tl.static_range(SIZE):
                square += tl.load(first + d)
        else:
            square = tl.load(squares + r.to(tl.int64) * keys + k)
        tl.store(bias + r.to(tl.int64) * padded + t, square * ratio, mask=t < padded)


@triton.jit(do_not_specialize=["count", "per_along", "seeds", "image", "plane", "along", "across", "from_along"])
def spread(digits, table, begin, out, count, blocks, per_along, seeds, image, plane, length_along, length_across, along,
           across, from_along, ratio, ELEMENTS: tl.constexpr, SIZE: tl.constexpr, DIGITS: tl.constexpr,
           FOLD: tl.constexpr, CIRCULAR: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK: tl.constexpr):
    """Queries, as ``attend`` takes them: float16 [R, `blocks`, DIGITS, BLOCK_Q, SIZE]; windows of zeros beyond `count`.

    digits: [DIGITS, S, C, H, W]. Query m is seed m % S at place m // S % `per_along` along and the rest across. table:
    [4, SIZE]. If FOLD, elements ELEMENTS and the next are what |k|^2 is multiplied with.
    """
    chunks: tl.constexpr = tl.cdiv(SIZE, BLOCK)
    block, r = tl.program_id(0) // chunks, tl.program_id(1)
    e = tl.program_id(0) % chunks * BLOCK + tl.arange(0, BLOCK)
    n = tl.arange(0, BLOCK_Q)
    m = block * BLOCK_Q + n
    c = tl.load(table + 2 * SIZE + e, mask=e < SIZE, other=-1)
    p, here = _place((m // seeds % per_along)[:, None] + from_along
                     + tl.load(table + e, mask=e < SIZE, other=0)[None, :], length_along, CIRCULAR)
    q, there = _place((m // seeds // per_along + tl.load(begin + r))[:, None]
                      + tl.load(table + SIZE + e, mask=e < SIZE, other=0)[None, :], length_across, CIRCULAR)
    used = here & there & (c >= 0)[None, :] & (m < count)[:, None]
    at = (m % seeds).to(tl.int64)[:, None] * image + c[None, :] * plane + p * along + q * across
    place = ((r.to(tl.int64) * blocks + block) * DIGITS * BLOCK_Q + n)[:, None] * SIZE + e[None, :]
    for d in tl.static_range(DIGITS):
        value = tl.load(digits + d * seeds * image + at, mask=used, other=0.0).to(tl.float32)
        if FOLD and d == 0:
            value += tl.where((e == ELEMENTS)[None, :], ratio * FOLDED_, 0.0)
            value += tl.where((e == ELEMENTS + 1)[None, :], ratio, 0.0)
        tl.store(out + place + d * BLOCK_Q * SIZE, value.to(tl.float16), mask=(e < SIZE)[None, :])


@triton.jit(do_not_specialize=["splits", "queries"])
def merge(found, start, sums, splits, queries, unit, MOST: tl.constexpr, PARTS: tl.constexpr, BLOCK: tl.constexpr):
    """Take what the programs of ``attend`` found into start [R, `queries`] and sums float64 [R, PARTS, `queries`].

    found: [`splits`, R, PARTS + 1, `queries`], each relative to its own reference, the first of its parts; logits are
    `unit` times references. MOST: `splits` where the interpreter needs a constant, else 0.
    """
    r, rows = tl.program_id(1), tl.num_programs(1)
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = m < queries
    step = rows.to(tl.int64) * (PARTS + 1) * queries
    at = found + r.to(tl.int64) * (PARTS + 1) * queries + m
    begin = tl.load(start + r * queries + m, mask=inside, other=0.0)
    highest = begin
    for s in range(MOST if MOST else splits):
        highest = tl.maximum(highest, tl.load(at + s * step, mask=inside, other=0.0))
    tl.store(start + r * queries + m, highest, mask=inside)
    kept = tl.exp2(((begin.to(tl.float64) - highest.to(tl.float64)) * unit).to(tl.float32)).to(tl.float64)
    to = sums + r.to(tl.int64) * PARTS * queries + m
    for part in tl.static_range(PARTS):
        total = tl.load(to + part * queries, mask=inside, other=0.0) * kept
        for s in range(MOST if MOST else splits):
            reference = tl.load(at + s * step, mask=inside, other=0.0).to(tl.float64)
            share = tl.exp2(((reference - highest.to(tl.float64)) * unit).to(tl.float32)).to(tl.float64)
            total += tl.load(at + s * step + (part + 1) * queries, mask=inside, other=0.0).to(tl.float64) * share
        tl.store(to + part * queries, total, mask=inside)
