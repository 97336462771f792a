"""What ``kernel.attend`` takes: one Triton kernel each, since launches cost time.

A window lies `along` one axis of the image and `across` the other. Its element (d, c, e) is channel c at d along and e
across; what lies beyond a border that does not wrap is zero, in queries as in keys. A table says of each element of a
row of scratch memory: int32 [4, ...] of d, e, c and what is zero in that channel; c = -1 where there is none.

`lines`, int32 [R, 3], says of each row where its windows begin across, and how far apart pixels of an image are along
and across. ALONG and ACROSS: whether these axes go round.

Letters as in ``kernel``.
"""

from __future__ import annotations

import triton
import triton.language as tl

FOLDED = 2048  # |k|^2 is kept in the key as two digits of this base
FOLDED_ = tl.constexpr(FOLDED)


@triton.jit
def _line(lines, r):
    return tl.load(lines + 3 * r), tl.load(lines + 3 * r + 1), tl.load(lines + 3 * r + 2)


@triton.jit
def _place(p, length, CIRCULAR: tl.constexpr):
    """Where coordinate p lies, and whether it does."""
    if CIRCULAR:
        return tl.where(p < 0, p + length, tl.where(p >= length, p - length, p)), p > -1 - length
    else:
        return p, (p >= 0) & (p < length)


@triton.jit
def _window(
    images,
    table,
    lines,
    r,
    row,
    inside,
    per_image,
    per_along,
    image,
    plane,
    length_along,
    length_across,
    from_along,
    ELEMENTS: tl.constexpr,
    WIDTH: tl.constexpr,
    ALONG: tl.constexpr,
    ACROSS: tl.constexpr,
):
    """Elements of the rows `row` of keys as the images have them, zeros beyond; and which are there."""
    begin, along, across = _line(lines, r)
    e = tl.arange(0, WIDTH)
    p, here = _place((row % per_along)[:, None] + from_along + tl.load(table + e)[None, :], length_along, ALONG)
    q, there = _place(
        (row % per_image // per_along + begin)[:, None] + tl.load(table + WIDTH + e)[None, :], length_across, ACROSS
    )
    used = here & there & (e < ELEMENTS)[None, :] & inside[:, None]
    at = (row // per_image).to(tl.int64)[:, None] * image + tl.load(table + 2 * WIDTH + e)[None, :] * plane
    return tl.load(images + at + p * along + q * across, mask=used, other=0), used


@triton.jit(do_not_specialize=["rows", "per_image", "per_along", "image", "plane", "from_along"])
def expand(
    images,
    table,
    lines,
    out,
    squares,
    rows,
    pitch,
    per_image,
    per_along,
    image,
    plane,
    length_along,
    length_across,
    from_along,
    ELEMENTS: tl.constexpr,
    ROW: tl.constexpr,
    WIDTH: tl.constexpr,
    FOLD: tl.constexpr,
    ALONG: tl.constexpr,
    ACROSS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Keys: out[r, i, j, l, e], image i at place j across from where lines[r] begin and l along from `from_along`.

    table: [4, WIDTH]. out: float16, `pitch` numbers a row r, all of them written: zeros beyond the keys and
    from ELEMENTS to ROW. squares: float32 [R, `rows`] sums of squares over e, unless FOLD: then they are two elements.
    """
    r = tl.program_id(1)
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    e = tl.arange(0, WIDTH)
    inside = row < rows
    raw, used = _window(
        images,
        table,
        lines,
        r,
        row,
        inside,
        per_image,
        per_along,
        image,
        plane,
        length_along,
        length_across,
        from_along,
        ELEMENTS,
        WIDTH,
        ALONG,
        ACROSS,
    )
    value = tl.where(used, raw.to(tl.int32) - tl.load(table + 3 * WIDTH + e)[None, :], 0)
    square = tl.sum(value * value, 1)
    if FOLD:
        value = tl.where((e == ELEMENTS)[None, :], (square // FOLDED_)[:, None], value)
        value = tl.where((e == ELEMENTS + 1)[None, :], (square % FOLDED_)[:, None], value)
    else:
        tl.store(squares + r.to(tl.int64) * rows + row, square.to(tl.float32), mask=inside)
    place = row.to(tl.int64)[:, None] * ROW + e[None, :]
    tl.store(out + r.to(tl.int64) * pitch + place, value.to(tl.float16), mask=(place < pitch) & (e < ROW)[None, :])


@triton.jit(do_not_specialize=["rows", "per_image", "per_along", "image", "plane", "from_along"])
def expand_floats(
    images,
    table,
    lines,
    out,
    rows,
    pitch,
    apart,
    per_image,
    per_along,
    image,
    plane,
    length_along,
    length_across,
    from_along,
    ELEMENTS: tl.constexpr,
    ROW: tl.constexpr,
    WIDTH: tl.constexpr,
    ALONG: tl.constexpr,
    ACROSS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The same of floats: whole numbers, and `apart` numbers further what is left of them. Elements ELEMENTS and the next of
    every row are its sum of squares."""
    r = tl.program_id(1)
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    e = tl.arange(0, WIDTH)
    value, _ = _window(
        images,
        table,
        lines,
        r,
        row,
        row < rows,
        per_image,
        per_along,
        image,
        plane,
        length_along,
        length_across,
        from_along,
        ELEMENTS,
        WIDTH,
        ALONG,
        ACROSS,
    )
    whole = tl.floor(value + 0.5)
    left = (value - whole).to(tl.float16)
    kept = whole.to(tl.float64) + left.to(tl.float64)
    square = tl.sum(kept * kept, 1)
    rest = square - tl.floor((square / FOLDED_).to(tl.float32)).to(tl.float64) * FOLDED_
    high = ((square - rest) / FOLDED_).to(tl.float32)
    low = tl.floor(rest.to(tl.float32) + 0.5)
    first, second = (e == ELEMENTS)[None, :], (e == ELEMENTS + 1)[None, :]
    whole = tl.where(first, high[:, None], tl.where(second, low[:, None], whole))
    left = tl.where(second, (rest - low.to(tl.float64)).to(tl.float16)[:, None], left)
    place = row.to(tl.int64)[:, None] * ROW + e[None, :]
    inside = (place < pitch) & (e < ROW)[None, :]
    tl.store(out + r.to(tl.int64) * pitch + place, whole.to(tl.float16), mask=inside)
    tl.store(out + apart + r.to(tl.int64) * pitch + place, left, mask=inside)


@triton.jit
def _centre(lines, r, k, per_image, per_along, image, from_along, reach_along, reach_across):
    """Where keys k have their centre pixels, in the first channel."""
    begin, along, across = _line(lines, r)
    at = (k // per_image).to(tl.int64) * image + (from_along + reach_along + k % per_along) * along
    return at + (k % per_image // per_along + begin + reach_across) * across


@triton.jit(do_not_specialize=["keys", "padded", "per_image", "per_along", "strips", "image", "plane", "from_along"])
def centres(
    images,
    lines,
    centre,
    squares,
    values,
    bias,
    keys,
    padded,
    per_image,
    per_along,
    strips,
    image,
    plane,
    from_along,
    reach_along,
    reach_across,
    CHANNELS: tl.constexpr,
    SIZE: tl.constexpr,
    WIDTH: tl.constexpr,
    FOLD: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Values of keys: their centre pixels less `centre`, and 1; zeros beyond the last. And |k|^2, unless FOLD.

    values: [R, C + 1, `padded`], or [R, `padded`, WIDTH]. bias: float32 [R, `padded`], beyond the last key as of the
    last. squares: float32, of whole windows; or of the strips of SIZE of which a window consists, `strips` in a line of
    places along. lines and from_along: as of ``expand``, `reach_across` and `reach_along` before the centre.
    """
    r = tl.program_id(1)
    t = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = t < keys
    k = tl.minimum(t, keys - 1)
    line, l = k // per_along, k % per_along
    at = _centre(lines, r, k, per_image, per_along, image, from_along, reach_along, reach_across)
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
        tl.store(bias + r.to(tl.int64) * padded + t, square, mask=t < padded)


@triton.jit(do_not_specialize=["keys", "padded", "per_image", "per_along", "image", "plane", "from_along"])
def centres_of_floats(
    images,
    lines,
    values,
    keys,
    padded,
    per_image,
    per_along,
    image,
    plane,
    from_along,
    reach_along,
    reach_across,
    CHANNELS: tl.constexpr,
    DIGITS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Values of keys [R, `padded`, WIDTH] as DIGITS numbers of 8 bits: the first of each channel, the second, the third; then 1."""
    r = tl.program_id(1)
    t = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = t < keys
    k = tl.minimum(t, keys - 1)
    at = _centre(lines, r, k, per_image, per_along, image, from_along, reach_along, reach_across)
    c = tl.arange(0, WIDTH)
    used = inside[:, None] & (c < DIGITS * CHANNELS)[None, :]
    value = tl.load(images + at[:, None] + (c % CHANNELS * plane)[None, :], mask=used, other=0.0)
    for d in tl.static_range(DIGITS - 1):
        digit = (value.to(tl.int32, bitcast=True) & -65536).to(tl.float32, bitcast=True)
        value = tl.where((c // CHANNELS > d)[None, :], value - digit, value)
    value = (value.to(tl.int32, bitcast=True) & -65536).to(tl.float32, bitcast=True)
    value = tl.where(inside[:, None] & (c == DIGITS * CHANNELS)[None, :], 1.0, value)
    place = (r.to(tl.int64) * padded + t)[:, None] * WIDTH + c[None, :]
    tl.store(values + place, value.to(values.dtype.element_ty), mask=(t < padded)[:, None])


@triton.jit(do_not_specialize=["count", "per_along", "seeds", "image", "plane", "from_along"])
def spread(
    u,
    table,
    lines,
    out,
    count,
    blocks,
    per_along,
    seeds,
    image,
    plane,
    length_along,
    length_across,
    from_along,
    power,
    digit,
    ratio,
    SIZE: tl.constexpr,
    DIGITS: tl.constexpr,
    GRID: tl.constexpr,
    ALONG: tl.constexpr,
    ACROSS: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Queries, as ``attend`` takes them: float16 [R, `blocks`, DIGITS, BLOCK_Q, SIZE]; windows of zeros beyond `count`.

    u: float64 [S, C, H, W]; `power` u is the sum of the digits, of which, if GRID, the first is a multiple of `digit`;
    a fourth is zero. Query m is seed m % S at place m // S % `per_along` along and the rest across. table: [4, SIZE];
    elements of no channel are `ratio` times its last row, which is what |k|^2 is multiplied with.
    """
    chunks: tl.constexpr = tl.cdiv(SIZE, BLOCK)
    block, r = tl.program_id(0) // chunks, tl.program_id(1)
    begin, along, across = _line(lines, r)
    e = tl.program_id(0) % chunks * BLOCK + tl.arange(0, BLOCK)
    n = tl.arange(0, BLOCK_Q)
    m = block * BLOCK_Q + n
    c = tl.load(table + 2 * SIZE + e, mask=e < SIZE, other=-1)
    p, here = _place(
        (m // seeds % per_along)[:, None] + from_along + tl.load(table + e, mask=e < SIZE, other=0)[None, :],
        length_along,
        ALONG,
    )
    q, there = _place(
        (m // seeds // per_along + begin)[:, None] + tl.load(table + SIZE + e, mask=e < SIZE, other=0)[None, :],
        length_across,
        ACROSS,
    )
    fold = tl.where(c < 0, tl.load(table + 3 * SIZE + e, mask=e < SIZE, other=0), 0) * ratio
    used = here & there & (c >= 0)[None, :] & (m < count)[:, None]
    at = (m % seeds).to(tl.int64)[:, None] * image + c[None, :] * plane + p * along + q * across
    place = ((r.to(tl.int64) * blocks + block) * DIGITS * BLOCK_Q + n)[:, None] * SIZE + e[None, :]
    rest = tl.load(u + at, mask=used, other=0.0).to(tl.float64) * power
    for d in tl.static_range(DIGITS):
        if d == 3:
            value = tl.zeros([BLOCK_Q, BLOCK], tl.float16)
        elif GRID and d == 0:
            value = (tl.floor((rest / digit).to(tl.float32) + 0.5) * digit).to(tl.float16)
        else:
            value = rest.to(tl.float32).to(tl.float16)
        rest -= value.to(tl.float64)
        if d == 0:
            value += fold.to(tl.float16)[None, :]
        tl.store(out + place + d * BLOCK_Q * SIZE, value, mask=(e < SIZE)[None, :])
