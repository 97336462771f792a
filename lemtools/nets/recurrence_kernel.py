"""The recurrence of thoughts as two Triton kernels: all positions and all blocks in one launch, and the way back in another.

Items do not meet: a program takes ROWS of them, of one of several networks that are alike, through all positions, one after another, with their vectors in registers, and reads
the weights from the cache of the device at every position. Keys and values of earlier positions lie in memory, where no
other program reads them. What a step makes is what nets.lm.Block makes, products and sums of it in float32.

Suffixes as in the layouts: D blocks, T positions, N items, H heads, F features of a head (two halves of P), W width, C hidden
features; kept [T + 1] is 1 where thoughts arrive, else 0. Weights are laid out as those of nn.Linear, [out, in], of all
blocks behind one another.
"""

from __future__ import annotations

import triton
import triton.language as tl

ROWS = 16  # items a program: the least that a product on tensor cores takes
KEYS = 16  # keys at a time
FEATURES = 32  # hidden features at a time


@triton.jit
def scale_of(x, COUNT: tl.constexpr, EPS: tl.constexpr):
    """One over the root mean square of rows, [ROWS, 1]; what is not counted is 0."""
    return 1 / tl.sqrt(tl.sum(x * x, 1) / COUNT + EPS)[:, None]


@triton.jit
def norm_back(g, x, r, COUNT: tl.constexpr):
    """The gradient of x r of the norm, r = scale_of(x), for x: g less its part along x."""
    h = x * r
    return r * (g - h * (tl.sum(g * h, 1) / COUNT)[:, None])


@triton.jit
def product(a, weight, rows, cols, inside, KIND: tl.constexpr, PRECISION: tl.constexpr):
    """a [ROWS, K] times what lies at weight + rows [K, 1] + cols [1, M]."""
    there = tl.load(weight + rows + cols, mask=inside, other=0.0)
    return tl.dot(a.to(KIND), there.to(KIND), input_precision=PRECISION)


@triton.jit
def add(where, weight, x, inside):
    """Add weight [ROWS, KEYS] times x [ROWS, BP] to what lies at where [ROWS, KEYS, BP]."""
    tl.store(where, tl.load(where, mask=inside, other=0.0) + weight[:, :, None] * x[:, None, :], mask=inside)


@triton.jit
def forward(
    entered, places, cos, sin, norms, qkv, out, gate_up, down, gains, kept, left, xs, mids, queries, keys, values, sums, logs,
    N,
    T: tl.constexpr, D: tl.constexpr, H: tl.constexpr, P: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
    READ: tl.constexpr, SAVE: tl.constexpr, SCALE: tl.constexpr, EPS: tl.constexpr,
    KIND: tl.constexpr, PRECISION: tl.constexpr,
    BW: tl.constexpr, BP: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr, FEATURES: tl.constexpr,
):  # fmt: skip
    run, row = tl.program_id(1).to(tl.int64), (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    live = row < N
    row += run * N  # among the items of all networks
    norms += run * 2 * D * W
    qkv += run * D * 3 * W * W
    out += run * D * W * W
    gate_up += run * D * 2 * C * W
    down += run * D * W * C
    gains += run * (W - READ)
    w, p, s, c = tl.arange(0, BW), tl.arange(0, BP), tl.arange(0, KEYS), tl.arange(0, FEATURES)
    in_w, in_p = w < W, p < P
    here_w, here_p = live[:, None] & in_w[None, :], live[:, None] & in_p[None, :]
    thought = in_w & (w >= READ)
    gain = tl.load(gains + w - READ, mask=thought, other=0.0)
    came = tl.zeros([ROWS, BW], tl.float32)
    for t in range(T):
        at = (row * T + t) * W
        x = tl.load(entered + at[:, None] + w[None, :], mask=here_w, other=0.0) + came
        place = tl.load(places + row * T + t, mask=live, other=0)
        turn_c = tl.load(cos + place[:, None] * P + p[None, :], mask=here_p, other=0.0)
        turn_s = tl.load(sin + place[:, None] * P + p[None, :], mask=here_p, other=0.0)
        for d in range(D):
            saved = ((row * D + d) * T + t) * W
            if SAVE:
                tl.store(xs + saved[:, None] + w[None, :], x, mask=here_w)
            n = x * scale_of(x, W, EPS) * tl.load(norms + 2 * d * W + w, mask=in_w, other=0.0)[None, :]
            down_in = in_w[:, None] & in_p[None, :]
            up_in = in_p[:, None] & in_w[None, :]
            for h in range(H):
                wide = qkv + (d * 3 * W + h * 2 * P) * W
                a, b = w[:, None], p[None, :] * W
                q1 = product(n, wide, a, b, down_in, KIND, PRECISION)
                q2 = product(n, wide + P * W, a, b, down_in, KIND, PRECISION)
                k1 = product(n, wide + W * W, a, b, down_in, KIND, PRECISION)
                k2 = product(n, wide + (W + P) * W, a, b, down_in, KIND, PRECISION)
                v1 = product(n, wide + 2 * W * W, a, b, down_in, KIND, PRECISION).to(KIND).to(tl.float32)
                v2 = product(n, wide + (2 * W + P) * W, a, b, down_in, KIND, PRECISION).to(KIND).to(tl.float32)
                qa = (q1 * turn_c - q2 * turn_s).to(KIND).to(tl.float32)
                qb = (q1 * turn_s + q2 * turn_c).to(KIND).to(tl.float32)
                ka = (k1 * turn_c - k2 * turn_s).to(KIND).to(tl.float32)
                kb = (k1 * turn_s + k2 * turn_c).to(KIND).to(tl.float32)
                first = ((row * D + d) * H + h) * T * 2 * P
                mine = first[:, None] + t * 2 * P + p[None, :]
                tl.store(keys + mine, ka.to(KIND), mask=here_p)
                tl.store(keys + mine + P, kb.to(KIND), mask=here_p)
                tl.store(values + mine, v1.to(KIND), mask=here_p)
                tl.store(values + mine + P, v2.to(KIND), mask=here_p)
                most = tl.sum(qa * ka + qb * kb, 1) * SCALE  # of the position itself; then those before it
                total = tl.full([ROWS], 1.0, tl.float32)
                o1, o2 = v1, v2
                for begin in range(0, t, KEYS):
                    before = begin + s < t
                    old = first[:, None, None] + (begin + s)[None, :, None] * 2 * P + p[None, None, :]
                    inside = live[:, None, None] & before[None, :, None] & in_p[None, None, :]
                    kx = tl.load(keys + old, mask=inside, other=0.0).to(tl.float32)
                    ky = tl.load(keys + old + P, mask=inside, other=0.0).to(tl.float32)
                    logit = tl.sum(qa[:, None, :] * kx + qb[:, None, :] * ky, 2) * SCALE
                    logit = tl.where(before[None, :], logit, -float("inf"))
                    higher = tl.maximum(most, tl.max(logit, 1))
                    less, share = tl.exp(most - higher), tl.exp(logit - higher[:, None])
                    vx = tl.load(values + old, mask=inside, other=0.0).to(tl.float32)
                    vy = tl.load(values + old + P, mask=inside, other=0.0).to(tl.float32)
                    o1 = o1 * less[:, None] + tl.sum(share[:, :, None] * vx, 1)
                    o2 = o2 * less[:, None] + tl.sum(share[:, :, None] * vy, 1)
                    total = total * less + tl.sum(share, 1)
                    most = higher
                o1 = (o1 / total[:, None]).to(KIND)
                o2 = (o2 / total[:, None]).to(KIND)
                if SAVE:
                    tl.store(queries + mine, qa.to(KIND), mask=here_p)
                    tl.store(queries + mine + P, qb.to(KIND), mask=here_p)
                    tl.store(sums + mine, o1, mask=here_p)
                    tl.store(sums + mine + P, o2, mask=here_p)
                    tl.store(logs + ((row * D + d) * H + h) * T + t, most + tl.log(total), mask=live)
                back = out + d * W * W + h * 2 * P
                x += product(o1, back, p[:, None], w[None, :] * W, up_in, KIND, PRECISION)
                x += product(o2, back + P, p[:, None], w[None, :] * W, up_in, KIND, PRECISION)
            if SAVE:
                tl.store(mids + saved[:, None] + w[None, :], x, mask=here_w)
            n = x * scale_of(x, W, EPS) * tl.load(norms + (2 * d + 1) * W + w, mask=in_w, other=0.0)[None, :]
            for begin in range(0, C, FEATURES):
                f = begin + c
                wide = gate_up + d * 2 * C * W
                inside = in_w[:, None] & (f < C)[None, :]
                gate = product(n, wide, w[:, None], f[None, :] * W, inside, KIND, PRECISION)
                up = product(n, wide + C * W, w[:, None], f[None, :] * W, inside, KIND, PRECISION)
                a = gate / (1 + tl.exp(-gate)) * up
                inside = (f < C)[:, None] & in_w[None, :]
                x += product(a, down + d * W * C, f[:, None], w[None, :] * C, inside, KIND, PRECISION)
        tl.store(left + at[:, None] + w[None, :], x, mask=here_w)
        y = tl.where(thought[None, :], x, 0.0)
        came = y * scale_of(y, W - READ, EPS) * gain[None, :] * tl.load(kept + t + 1)
        tl.debug_barrier()  # what some threads wrote of keys and values, others read from now on


@triton.jit
def backward(
    given, found, places, cos, sin, norms, qkv, out, gate_up, down, gains, kept, left, xs, mids, queries, keys, values, sums, logs,
    grown_keys, grown_values,
    N,
    T: tl.constexpr, D: tl.constexpr, H: tl.constexpr, P: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
    READ: tl.constexpr, CUT: tl.constexpr, SCALE: tl.constexpr, EPS: tl.constexpr,
    KIND: tl.constexpr, PRECISION: tl.constexpr,
    BW: tl.constexpr, BP: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr, FEATURES: tl.constexpr,
):  # fmt: skip
    run, row = tl.program_id(1).to(tl.int64), (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    live = row < N
    row += run * N  # among the items of all networks
    norms += run * 2 * D * W
    qkv += run * D * 3 * W * W
    out += run * D * W * W
    gate_up += run * D * 2 * C * W
    down += run * D * W * C
    gains += run * (W - READ)
    w, p, s, c = tl.arange(0, BW), tl.arange(0, BP), tl.arange(0, KEYS), tl.arange(0, FEATURES)
    in_w, in_p = w < W, p < P
    here_w, here_p = live[:, None] & in_w[None, :], live[:, None] & in_p[None, :]
    thought = in_w & (w >= READ)
    gain = tl.load(gains + w - READ, mask=thought, other=0.0)
    came = tl.zeros([ROWS, BW], tl.float32)  # the gradient of what the position behind is given
    for t in range(T - 1, -1, -1):
        at = (row * T + t) * W
        g = tl.load(given + at[:, None] + w[None, :], mask=here_w, other=0.0) + came
        place = tl.load(places + row * T + t, mask=live, other=0)
        turn_c = tl.load(cos + place[:, None] * P + p[None, :], mask=here_p, other=0.0)
        turn_s = tl.load(sin + place[:, None] * P + p[None, :], mask=here_p, other=0.0)
        for d in range(D - 1, -1, -1):
            saved = ((row * D + d) * T + t) * W
            x = tl.load(mids + saved[:, None] + w[None, :], mask=here_w, other=0.0)
            size = tl.load(norms + (2 * d + 1) * W + w, mask=in_w, other=0.0)[None, :]
            r = scale_of(x, W, EPS)
            n = x * r * size
            inner = tl.zeros([ROWS, BW], tl.float32)
            for begin in range(0, C, FEATURES):
                f = begin + c
                wide = gate_up + d * 2 * C * W
                inside = in_w[:, None] & (f < C)[None, :]
                gate = product(n, wide, w[:, None], f[None, :] * W, inside, KIND, PRECISION)
                up = product(n, wide + C * W, w[:, None], f[None, :] * W, inside, KIND, PRECISION)
                a = product(g, down + d * W * C, w[:, None] * C, f[None, :], inside, KIND, PRECISION)
                on = 1 / (1 + tl.exp(-gate))
                inside = (f < C)[:, None] & in_w[None, :]
                half = a * up * on * (1 + gate * (1 - on))
                inner += product(half, wide, f[:, None] * W, w[None, :], inside, KIND, PRECISION)
                half = a * gate * on
                inner += product(half, wide + C * W, f[:, None] * W, w[None, :], inside, KIND, PRECISION)
            g += norm_back(inner * size, x, r, W)
            x = tl.load(xs + saved[:, None] + w[None, :], mask=here_w, other=0.0)
            size = tl.load(norms + 2 * d * W + w, mask=in_w, other=0.0)[None, :]
            inner = tl.zeros([ROWS, BW], tl.float32)
            down_in = in_w[:, None] & in_p[None, :]
            up_in = in_p[:, None] & in_w[None, :]
            for h in range(H):
                back = out + d * W * W + h * 2 * P
                go1 = product(g, back, w[:, None] * W, p[None, :], down_in, KIND, PRECISION)
                go2 = product(g, back + P, w[:, None] * W, p[None, :], down_in, KIND, PRECISION)
                first = ((row * D + d) * H + h) * T * 2 * P
                mine = first[:, None] + t * 2 * P + p[None, :]
                qa = tl.load(queries + mine, mask=here_p, other=0.0).to(tl.float32)
                qb = tl.load(queries + mine + P, mask=here_p, other=0.0).to(tl.float32)
                ka = tl.load(keys + mine, mask=here_p, other=0.0).to(tl.float32)
                kb = tl.load(keys + mine + P, mask=here_p, other=0.0).to(tl.float32)
                va = tl.load(values + mine, mask=here_p, other=0.0).to(tl.float32)
                vb = tl.load(values + mine + P, mask=here_p, other=0.0).to(tl.float32)
                oa = tl.load(sums + mine, mask=here_p, other=0.0).to(tl.float32)
                ob = tl.load(sums + mine + P, mask=here_p, other=0.0).to(tl.float32)
                log = tl.load(logs + ((row * D + d) * H + h) * T + t, mask=live, other=0.0)
                mean = tl.sum(go1 * oa + go2 * ob, 1)
                share = tl.exp(tl.sum(qa * ka + qb * kb, 1) * SCALE - log)
                moved = share * (tl.sum(go1 * va + go2 * vb, 1) - mean) * SCALE
                gq1, gq2 = moved[:, None] * ka, moved[:, None] * kb
                gk1 = tl.load(grown_keys + mine, mask=here_p, other=0.0) + moved[:, None] * qa
                gk2 = tl.load(grown_keys + mine + P, mask=here_p, other=0.0) + moved[:, None] * qb
                gv1 = tl.load(grown_values + mine, mask=here_p, other=0.0) + share[:, None] * go1
                gv2 = tl.load(grown_values + mine + P, mask=here_p, other=0.0) + share[:, None] * go2
                for begin in range(0, t, KEYS):
                    before = begin + s < t
                    old = first[:, None, None] + (begin + s)[None, :, None] * 2 * P + p[None, None, :]
                    inside = live[:, None, None] & before[None, :, None] & in_p[None, None, :]
                    kx = tl.load(keys + old, mask=inside, other=0.0).to(tl.float32)
                    ky = tl.load(keys + old + P, mask=inside, other=0.0).to(tl.float32)
                    logit = tl.sum(qa[:, None, :] * kx + qb[:, None, :] * ky, 2) * SCALE - log[:, None]
                    shares = tl.exp(tl.where(before[None, :], logit, -float("inf")))
                    vx = tl.load(values + old, mask=inside, other=0.0).to(tl.float32)
                    vy = tl.load(values + old + P, mask=inside, other=0.0).to(tl.float32)
                    turned = tl.sum(go1[:, None, :] * vx + go2[:, None, :] * vy, 2)
                    steps = shares * (turned - mean[:, None]) * SCALE
                    gq1 += tl.sum(steps[:, :, None] * kx, 1)
                    gq2 += tl.sum(steps[:, :, None] * ky, 1)
                    add(grown_keys + old, steps, qa, inside)
                    add(grown_keys + old + P, steps, qb, inside)
                    add(grown_values + old, shares, go1, inside)
                    add(grown_values + old + P, shares, go2, inside)
                wide = qkv + (d * 3 * W + h * 2 * P) * W
                a, b = p[:, None] * W, w[None, :]
                inner += product(gq1 * turn_c + gq2 * turn_s, wide, a, b, up_in, KIND, PRECISION)
                inner += product(gq2 * turn_c - gq1 * turn_s, wide + P * W, a, b, up_in, KIND, PRECISION)
                inner += product(gk1 * turn_c + gk2 * turn_s, wide + W * W, a, b, up_in, KIND, PRECISION)
                inner += product(gk2 * turn_c - gk1 * turn_s, wide + (W + P) * W, a, b, up_in, KIND, PRECISION)
                inner += product(gv1, wide + 2 * W * W, a, b, up_in, KIND, PRECISION)
                inner += product(gv2, wide + (2 * W + P) * W, a, b, up_in, KIND, PRECISION)
            g += norm_back(inner * size, x, scale_of(x, W, EPS), W)
        tl.store(found + at[:, None] + w[None, :], g, mask=here_w)
        came = tl.zeros([ROWS, BW], tl.float32)
        if t % CUT != 0:
            y = tl.load(left + at[:, None] - W + w[None, :], mask=live[:, None] & thought[None, :], other=0.0)
            came = tl.where(thought[None, :], g * gain[None, :], 0.0) * tl.load(kept + t)
            came = norm_back(came, y, scale_of(y, W - READ, EPS), W - READ)
        tl.debug_barrier()  # what some threads added to gradients of keys and values, others read from now on
