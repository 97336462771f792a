"""The local machines on a CUDA device: attention over patches, in one Triton kernel. ``fused`` launches it.

It computes what ``local`` computes. With u = q / a, and a unit e of coordinates, a logit is, up to what its query shares,

    l = (a e)^2 / b^2 log2(e) (u.k - |k|^2 / 2)

Of uint8 images e is 1 / 127.5, and a key is a vector of integers, exact in float16; only the query is rounded. u comes as
one to three float16 numbers of 11 bits each, hi + lo; products go to the tensor cores, sums are in float32. hi is rounded
to a grid on which its sums are exact, so that where logits are large (little noise, large patches: `apart`) they can be
taken relative to the running reference before lo, which is small, is added: what is lost is of the size of the difference
between a logit and the largest, not of the logit itself.

Of floats, whose quiet places are as true as their loud ones, e is chosen such that no window is longer than ``LONGEST``.
Keys too are then hi + lo, in two planes of memory: hi whole numbers, so that all sums of hi hi are exact, and lo float16.
Their |k|^2 is that of hi + lo as they are kept, so that the answer is exact for a bank that differs by 2^-13 e at most.

A program takes `block_q` queries and a share of the keys in tiles of `block_k`, keeps the sums relative to a reference
(see ``sums``), and leaves out tiles that cannot matter. Shares are merged exactly. Keys come from scratch memory, made
from a chunk of the bank: whole windows ('window'), or rows of windows ('strip'), P times smaller, in which the
windows of neighbours along an axis overlap.

Letters: S seeds, C channels, P patch size, I images of a chunk, R rows that have keys of their own (1 for a block), U
queries of a row and seed, Q = U S, T keys of a row, K elements of a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import triton
import triton.language as tl

from ..sums import EMPTY, HEADROOM

INTERPRETED = triton.knobs.runtime.interpret
LONGEST = 2000.0  # with it u.k - |k|^2 / 2 is below 2^24 halves, and |k|^2 below the square of ``layout.FOLDED``
WEIGHTS = (tl.float32, torch.float32) if INTERPRETED else (tl.bfloat16, torch.bfloat16)  # it multiplies no bfloat16
EMPTY_ = tl.constexpr(EMPTY)
HEADROOM_ = tl.constexpr(HEADROOM)


@lru_cache(maxsize=512)
def constant(values: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """int32, kept on the device: a copy to it costs more than a small kernel."""
    return torch.tensor(values, dtype=torch.int32, device=device)


def cdiv(a: int, b: int) -> int:
    """As ``triton.cdiv``, which takes two microseconds of a call."""
    return -(-a // b)


@lru_cache
def processors(device: torch.device) -> int:
    """Multiprocessors of the device."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 2


def launch(memo: dict, kernel, grid: tuple[int, ...], arguments: tuple, warps: int = 4, **constants) -> None:
    """Run a kernel on the current stream; from the second time on without Triton's look at every argument.

    memo: of launches whose integers are the same, but for those that the kernel does not specialize on. constants: in
    the order of its parameters.
    """
    aligned = [a.data_ptr() % 16 == 0 for a in arguments if isinstance(a, torch.Tensor)]
    name = (kernel.__name__, *aligned, *constants.values())
    if found := memo.get(name):
        found[(*grid, 1, 1)[:3]](*arguments, *constants.values())
        return
    assert list(constants) == kernel.arg_names[len(arguments) :], kernel.__name__
    compiled = kernel[grid](*arguments, **constants, num_warps=warps)
    if not INTERPRETED:
        memo[name] = compiled


@triton.jit
def halves(x, ROWS: tl.constexpr, COLS: tl.constexpr):
    """The upper and the lower half of [2 ROWS, COLS]: in registers of the same thread, where ROWS = 16 num_warps."""
    return tl.split(tl.permute(tl.reshape(x, [2, ROWS, COLS]), [1, 2, 0]))


@triton.jit
def sides(x, ROWS: tl.constexpr, COLS: tl.constexpr):
    """The left and the right half of [ROWS, 2 COLS]: of a product, in registers of the same thread."""
    return tl.split(tl.permute(tl.reshape(x, [ROWS, 2, COLS]), [0, 2, 1]))


@triton.jit(do_not_specialize=["keys", "tiles"])
def attend(
    query,
    key,
    bias,
    values,
    start,
    out,
    queries,
    keys,
    padded,
    pitch,
    plane,
    tiles,
    scale,
    ratio,
    budget,
    GROUP: tl.constexpr,
    STRIP: tl.constexpr,
    ROW: tl.constexpr,
    STEP: tl.constexpr,
    STEPS: tl.constexpr,
    DIGITS: tl.constexpr,
    PLANES: tl.constexpr,
    APART: tl.constexpr,
    FOLD: tl.constexpr,
    CHANNELS: tl.constexpr,
    WIDTH: tl.constexpr,
    HALF: tl.constexpr,
    RESIDENT: tl.constexpr,
    SKIP: tl.constexpr,
    STAGES: tl.constexpr,
    TILES: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Sums of BLOCK_Q queries over `tiles` tiles of keys.

    query: float16 [R, blocks, DIGITS, BLOCK_Q, K], K = STEP STEPS, DIGITS 2 or 4: one product takes all digits. key:
    float16, in one plane or two, `plane` numbers apart; key t of row r begins at r `pitch` + t // GROUP STRIP + t % GROUP
    ROW. bias: float32 [R, `padded`], |k|^2, unless FOLD: then it is in the keys. values: float32 [R, C + 1, `padded`], the
    last row ones, zeros beyond `keys`; or of type HALF [R, `padded`, WIDTH]. CHANNELS: of values. start: references [R,
    `queries`], or EMPTY. out: [splits, R, C + 3, `queries`]: reference, skipped, values, count. References are logits, or
    where APART logits / `scale`. TILES: `tiles` where the interpreter needs a constant, else 0.
    """
    block, split, r = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    rows = tl.num_programs(2)
    m = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
    n = tl.arange(0, BLOCK_K)
    both = tl.arange(0, PLANES * BLOCK_K)
    e = tl.arange(0, STEP)
    size: tl.constexpr = STEP * STEPS
    digit = (
        query
        + (r.to(tl.int64) * queries + block * BLOCK_Q) * (size * DIGITS)
        + tl.arange(0, BLOCK_Q * DIGITS)[:, None] * size
        + e[None, :]
    )
    key += r.to(tl.int64) * pitch
    ref = tl.load(start + r * queries + m)
    skipped = 0.0  # at most, of any query
    if WIDTH:
        sums = tl.zeros([BLOCK_Q, WIDTH], tl.float32)
    else:
        s0 = tl.zeros([BLOCK_Q], tl.float32)
        s1 = tl.zeros([BLOCK_Q], tl.float32)
        s2 = tl.zeros([BLOCK_Q], tl.float32)
        s3 = tl.zeros([BLOCK_Q], tl.float32)
    if RESIDENT:
        digits = ()
        for s in tl.static_range(STEPS):
            digits = digits + (tl.load(digit + s * STEP),)

    last = tl.minimum(tiles, tl.cdiv(keys, BLOCK_K) - split * tiles)
    for t in tl.range(TILES if TILES else last, num_stages=STAGES if RESIDENT else 1):
        at = (split * tiles + t) * BLOCK_K
        k = tl.minimum(at + both % BLOCK_K, keys - 1)
        if GROUP > 1:
            offset = k // GROUP * STRIP + k % GROUP * ROW
        else:
            offset = k * STRIP
        if PLANES == 2:
            offset += both // BLOCK_K * plane
        place = key + offset[:, None] + e[None, :]
        if not FOLD:
            shift = tl.load(bias + r.to(tl.int64) * padded + at + n)
        if WIDTH:  # (loads within a condition would not be fetched ahead)
            v = tl.load(values + (r.to(tl.int64) * padded + at + n)[:, None] * WIDTH + tl.arange(0, WIDTH)[None, :])
        else:
            v = values + r.to(tl.int64) * (CHANNELS + 1) * padded + at + n
            v0 = tl.load(v)
            v1 = tl.load(v + padded)
            if CHANNELS == 3:
                v2 = tl.load(v + 2 * padded)
                v3 = tl.load(v + 3 * padded)
        product = tl.zeros([DIGITS * BLOCK_Q, PLANES * BLOCK_K], tl.float32)
        if RESIDENT:
            for s in tl.static_range(STEPS):
                product = tl.dot(digits[s], tl.trans(tl.load(place + s * STEP)), product)
        else:
            for s in tl.range(STEPS, num_stages=STAGES):
                product = tl.dot(tl.load(digit + s * STEP), tl.trans(tl.load(place + s * STEP)), product)
        if DIGITS == 4:
            upper, lower = halves(product, 2 * BLOCK_Q, BLOCK_K)
            logit, second = halves(upper, BLOCK_Q, BLOCK_K)
            third, fourth = halves(lower, BLOCK_Q, BLOCK_K)
            low = second + third
        elif PLANES == 2:
            left, right = sides(product, DIGITS * BLOCK_Q, BLOCK_K)
            logit, second = halves(left, BLOCK_Q, BLOCK_K)
            third, fourth = halves(right, BLOCK_Q, BLOCK_K)
            low = second + (third + fourth)
        else:
            logit, low = halves(product, BLOCK_Q, BLOCK_K)
        if not APART:
            logit += low
        if not FOLD:
            logit += (shift * ratio)[None, :]

        if APART:
            top = tl.max(logit + low, 1)
            rise = (top - ref) * scale
        else:
            top = tl.max(logit, 1) * scale
            rise = top - ref
        highest = tl.max(rise, 0)
        matters = True
        if SKIP:
            bound = skipped + BLOCK_K * tl.exp2(tl.minimum(highest, 100.0))
            matters = bound > budget
            if not matters:
                skipped = bound
        if matters:
            if highest > HEADROOM_:
                higher = tl.maximum(top, ref)
                if APART:
                    less = tl.exp2((ref - higher) * scale)
                else:
                    less = tl.exp2(ref - higher)
                ref = higher
                if WIDTH:
                    sums *= less[:, None]
                else:
                    s0 *= less
                    s1 *= less
                    s2 *= less
                    s3 *= less
            if APART:
                weight = tl.exp2(((logit - ref[:, None]) + low) * scale)
            else:
                weight = tl.exp2(logit * scale - ref[:, None])
            if WIDTH:
                rounded = (weight.to(tl.int32, bitcast=True) & -65536).to(tl.float32, bitcast=True)  # exact in bfloat16
                sums = tl.dot(rounded.to(HALF), v, sums)
                sums = tl.dot((weight - rounded).to(HALF), v, sums)
            else:
                s0 += tl.sum(weight * v0[None, :], 1)
                s1 += tl.sum(weight * v1[None, :], 1)
                if CHANNELS == 3:
                    s2 += tl.sum(weight * v2[None, :], 1)
                    s3 += tl.sum(weight * v3[None, :], 1)

    to = out + (split * rows + r).to(tl.int64) * (CHANNELS + 3) * queries
    tl.store(to + m, ref)
    tl.store(to + queries + m, tl.zeros([BLOCK_Q], tl.float32) + skipped)
    if WIDTH:
        c = tl.arange(0, WIDTH)
        tl.store(to + (2 + c)[None, :] * queries + m[:, None], sums, mask=(c <= CHANNELS)[None, :])
    else:
        tl.store(to + 2 * queries + m, s0)
        tl.store(to + 3 * queries + m, s1)
        if CHANNELS == 3:
            tl.store(to + 4 * queries + m, s2)
            tl.store(to + 5 * queries + m, s3)


@dataclass(frozen=True)
class Tiling:
    """How a launch is cut up; changes its time, never its result.

    block_q, block_k: queries and keys of a tile. step: elements of a key that a product takes. strip: keys come from
    strips rather than whole windows. resident: a tile's queries stay in shared memory, else they are read again with
    every tile. dot: values are summed by products of the weights in two bfloat16 numbers, else one by one in float32.
    waves: programs per multiprocessor.
    """

    block_q: int = 64
    block_k: int = 128
    step: int = 32
    warps: int = 4
    stages: int = 3
    strip: bool = False
    resident: bool = True
    dot: bool = True
    waves: int = 16


def tiling(size: tuple[int, int], channels: int, queries: int, digits: int = 2, planes: int = 1) -> Tiling:
    """A choice by arithmetic, of which ``tests/benchmarks/bench_els_gpu.py`` runs the race. size: of a window, along and
    across.

    Up to P = 5 (grey: 7) a tile's queries stay in shared memory beside its keys, two programs or more a multiprocessor.
    Beyond, both are streamed. Windows cost a pass over P times more memory than strips, which many queries share.
    """
    high, wide = size
    elements, dot = channels * high * wide, channels > 1 or planes == 2
    strip = planes == 2 or (min(size) >= 7 and queries < 16 * elements)
    used = channels * wide + (2 if planes == 2 else 0)
    count = strip_row(used) * (high - 1) + used if strip else elements + 2
    steps = (16, 32, 64) if elements > 32 else (16, 32)
    step = min(steps, key=lambda n: (-(-count // n) * n * (1 + 3 / n), -n))
    if queries <= 32:
        return Tiling(16 if queries <= 16 else 32, 128 // planes, step, 4, 3, strip, False, dot)
    if planes == 2:
        tall = queries > 64 and count > 128  # of 128 queries a product is twice as high, for the same keys
        return Tiling(128 if tall else 64, 64, step, 8 if tall else 4, 2 if tall else 3, strip, count <= 224, dot)
    if count <= 96:  # (tiles of 128 keys took 200 registers: two programs a multiprocessor)
        return Tiling(64, 64, step, 4, 3, strip, True, dot)
    large = -(-queries // 128) * 128 <= 1.1 * -(-queries // 64) * 64  # else too much of the last block is empty
    large &= digits == 2  # else shared memory does not hold it
    return Tiling(128 if large else 64, 128, step, 8 if large else 4, 3, strip, False, dot)


def strip_row(used: int) -> int:
    """Elements from one row of a strip to the next, of which so many are used: a multiple of 16 bytes."""
    return -(-used // 8) * 8
