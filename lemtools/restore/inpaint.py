"""Lost pixels and lost resolution of images, filled in without training.

Lost pixels: three steps, coarse to fine, each starting from the last. All but the first re-impose what was observed.

1. Pull-push (Gortler et al. 1996): averages of the observed pixels on ever coarser grids, interpolated back down.
2. Iterated projection (Guleryuz 2006): hard thresholding of the 16x16 DCT on shifted tilings, the threshold falling.
3. A Gaussian mixture of 8x8 blocks learned from the image itself (as in Yu, Sapiro & Mallat 2012), but solved for all
   blocks at once: with the class k and the weight w of every block fixed, the lost pixels minimise the sum over blocks
   of w b' (S_k + floor I)^-1 b, b without its mean. That is one sparse linear system (conjugate gradients); as blocks
   overlap, it carries information further than a block. Then classes are drawn up and the system solved once more.

Lost resolution: Kriging from the box averages, then step 3 with the mixture learned from the small image (natural
images look alike across scales: Glasner, Bagon & Irani 2009), solved along all changes that keep the averages.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..progress import steps
from .blocks import averaging, box_sums, dct_matrix, gather, grid, scatter, spread

# Lengths in pixels; thresholds and variances in units of the standard deviation of what was observed.
TILE, PASSES, THRESHOLDS = 16, 8, (1.5, 0.1)  # passes where every pixel is observed, see _project
BLOCK, STRIDE, ROUNDS, STEPS = 8, 2, 2, 7
ANGLES, BLOCKS_PER_ANGLE = 16, 128
FLOOR = 8e-3  # of the mean squared gradient: variance that the model leaves unexplained, see _refine
UPSAMPLE_FLOOR = 0.08  # the same for resolution, where what is unexplained is a whole octave
CORRELATION = 0.95  # of neighbouring pixels, where an image starts from its box averages
FREEDOM = 8.0  # of Student's t: a block far from its class counts less
SHRINK = 20.0  # blocks' worth of the mean covariance mixed into that of each class
BAND = 8192  # blocks worked on at a time: bounds the memory and feeds the threads
THREADS = 2

_Map = Callable[[Callable, Iterable], list]


def inpaint(y: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Recall the lost pixels of an image.

    y: float32 [C, H, W], full scale [0, 1]; its values at lost pixels are ignored. observed: bool, [H, W], [1, H, W] or
    [C, H, W]. Returns float32 [C, H, W]: y where observed; elsewhere within the observed range widened by a tenth, and
    inside [0, 1] unless y itself leaves it. A channel of which nothing is left is the mean of the others' pixels; where
    nothing is left at all, 0.5. ValueError where the shapes do not fit or an observed value is not finite.
    """
    y, observed = np.asarray(y, np.float32), np.asarray(observed, bool)
    if y.ndim != 3 or observed.shape not in {y.shape[1:], (1, *y.shape[1:]), y.shape}:
        raise ValueError(f"image {y.shape} and mask {observed.shape}: expected [C, H, W] and [H, W] or [1 or C, H, W]")
    observed = np.broadcast_to(observed, y.shape)
    if observed.all():
        return y.copy()
    seen = y[observed]
    if not np.isfinite(seen).all():
        raise ValueError("an observed pixel is not finite")
    if not seen.size:
        return np.full_like(y, 0.5)
    low, high, mean, scale = seen.min(), seen.max(), seen.mean(dtype=np.float64), seen.std(dtype=np.float64)
    if high - low < 1e-6:
        return np.where(observed, y, np.float32(mean))
    # In these units the result does not depend on the image's brightness and contrast.
    known = np.where(observed, (y - np.float32(mean)) / np.float32(scale), 0).astype(np.float32)
    x = np.stack([_pull_push(k, o.astype(np.float32)) for k, o in zip(known, observed)])
    with ThreadPoolExecutor(THREADS) as pool:
        mapped = _mapper(pool, x)
        x = _project(x, known, observed, mapped)
        x = _refine(x, observed, mapped)
    margin = (high - low) / 10
    x = x * np.float32(scale) + np.float32(mean)
    x = np.clip(x, max(low - margin, min(low, 0)), min(high + margin, max(high, 1)))
    return np.where(observed, y, x)


def upsample(y: np.ndarray, factor: int, shape: tuple[int, int]) -> np.ndarray:
    """Recall an image from its box averages.

    y: float32 [C, h, w], full scale [0, 1], the means over cells of factor x factor pixels (at the lower and right edge
    over what there is: h = ceil(H / factor)) of an image [C, H, W], (H, W) = shape. Returns float32 [C, H, W], whose
    means over the cells are y; single pixels may leave [0, 1] a little. ValueError where the shapes do not fit or a
    value is not finite.
    """
    y = np.asarray(y, np.float32)
    if factor < 1 or y.ndim != 3 or y.shape[1:] != tuple(-(-n // factor) for n in shape):
        raise ValueError(f"averages {y.shape} over {factor} x {factor} pixels are not those of an image {tuple(shape)}")
    if not np.isfinite(y).all():
        raise ValueError("an average is not finite")
    down, across = (averaging(n, factor) for n in shape)
    mean, scale = np.float32(y.mean(dtype=np.float64)), np.float32(y.std(dtype=np.float64))
    if factor == 1 or scale < 1e-6:
        return spread(y, factor, shape)
    small = (y - mean) / scale
    free = lambda v: v - spread(down @ v @ across.T, factor, v.shape[1:])
    x = _kriging(down) @ small @ _kriging(across).T
    guide = small.mean(0)
    if min(*guide.shape, *shape) >= 2 * BLOCK:
        with ThreadPoolExecutor(THREADS) as pool:
            mapped = _mapper(pool, x)
            floor = max(UPSAMPLE_FLOOR * _roughness(small), 1e-6)
            bands = list(_bands(guide.shape))
            precision, log_det = _learn(guide, bands, _orientations(guide, bands), floor, mapped)
            for r in steps(range(ROUNDS), "rounds"):
                view = (slice(None), slice(r % STRIDE, None), slice(r % STRIDE, None))
                guide = np.ascontiguousarray(x[view].mean(0))
                bands = list(_bands(guide.shape))
                labels = mapped(lambda band: _classify(_blocks(guide, band), precision, log_det, floor), bands)
                system = _system(guide, bands, labels, precision, floor, mapped)
                x = _solve(x, view, free, 1.0, precision, system, mapped)
    x = x * scale + mean
    # What rounding has left.
    return x + spread(y - down @ x @ across.T, factor, shape)


def _kriging(average: np.ndarray) -> np.ndarray:
    """[n, cells]: signals of correlation CORRELATION ** distance given their cells' means, which it keeps."""
    i = np.arange(average.shape[1])
    c = CORRELATION ** np.abs(i[:, None] - i) @ average.T.astype(np.float64)
    rows = np.linalg.solve(average @ c, c.T).T
    return (rows / rows.sum(1, keepdims=True)).astype(np.float32)


def _mapper(pool: ThreadPoolExecutor, x: np.ndarray) -> _Map:
    """Where a plane of [C, H, W] is worth it, the pool's map."""
    if x[0].size < 4 * BAND:
        return lambda f, items: [f(i) for i in items]
    return lambda f, items: list(pool.map(f, items))


def _pull_push(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Fill [H, W] where weight < 1 from the next coarser grid, recursively; zero where there is nothing at all."""
    if weight.min() >= 1 or x.size == 1:
        return x
    h, w = x.shape
    ends = ((0, h % 2), (0, w % 2))
    cells = ((h + 1) // 2, 2, (w + 1) // 2, 2)
    total = np.pad(weight, ends).reshape(cells).sum((1, 3))
    mean = np.pad(x * weight, ends).reshape(cells).sum((1, 3)) / np.maximum(total, 1e-9)
    coarse = _pull_push(mean.astype(np.float32), np.minimum(total, 1))
    return weight * x + (1 - weight) * _double(_double(coarse).T).T[:h, :w]


def _double(x: np.ndarray) -> np.ndarray:
    """Linear interpolation of cell centres to half the cell size along the first axis, [n, W] -> [2n, W]."""
    p = np.pad(x, ((1, 1), (0, 0)), mode="edge")
    return np.stack([0.75 * x + 0.25 * p[:-2], 0.75 * x + 0.25 * p[2:]], 1).reshape(-1, x.shape[1])


def _project(x: np.ndarray, known: np.ndarray, observed: np.ndarray, mapped: _Map) -> np.ndarray:
    """Guleryuz 2006: alternate DCT thresholding, on four tilings that shift, with the known pixels; [C, H, W]."""
    dct, (first, last) = dct_matrix(TILE), THRESHOLDS
    half = TILE // 2
    # What was observed spreads about as far as pixels lie apart, one pass after the other.
    passes = int(min(PASSES / np.sqrt(observed.mean()), 4 * PASSES))
    for k in steps(range(passes), "passes"):
        threshold = first * (last / first) ** (k / (passes - 1))
        shift = 3 * k % half
        jobs = [(c, i + shift, j + shift) for c in range(len(x)) for i in (0, half) for j in (0, half)]
        framed = np.pad(x, ((0, 0), (TILE, TILE), (TILE, TILE)), mode="symmetric")
        parts = mapped(lambda job: _threshold(framed[job[0]], dct, job[1:], threshold), jobs)
        total = np.zeros((2, *x.shape), np.float32)
        for (c, *_), part in zip(jobs, parts):
            total[:, c] += part
        x = np.where(observed, known, total[0] / total[1])
    return x


def _threshold(x: np.ndarray, dct: np.ndarray, shift: tuple[int, int], threshold: float) -> np.ndarray:
    """Hard thresholding on one tiling of [H, W], given in a frame as wide as a tile.

    Returns [2, H, W] without the frame: the weighted result and its weights. A tile weighs one over the number of
    coefficients that it keeps, its mean among them (Guleryuz 2007).
    """
    n, (i, j) = len(dct), shift
    h, w = x.shape[0] - 2 * n, x.shape[1] - 2 * n
    tall, wide = -(-(h + i) // n), -(-(w + j) // n)
    x = np.ascontiguousarray(x[n - i : n - i + tall * n, n - j : n - j + wide * n])
    # The transform stays in the image's layout: along the rows, then along the columns.
    c = dct @ (x.reshape(-1, wide, n) @ dct.T).reshape(tall, n, wide * n)
    tiles = c.reshape(tall, n, wide, n)
    keep = np.abs(tiles) > threshold
    keep[:, 0, :, 0] = True
    tiles *= keep
    weight = 1 / keep.sum((1, 3), dtype=np.float32)[:, None, :, None]
    out = np.empty((2, tall, n, wide, n), np.float32)
    np.multiply(((dct.T @ c).reshape(-1, wide, n) @ dct).reshape(tiles.shape), weight, out=out[0])
    out[1] = weight
    return out.reshape(2, tall * n, wide * n)[:, i : i + h, j : j + w]


def _refine(x: np.ndarray, observed: np.ndarray, mapped: _Map) -> np.ndarray:
    """Step 3 of the module's description, on [C, H, W]. The channels share the model, which their mean teaches."""
    # The fewer pixels were observed, the less the estimate that teaches the model is worth.
    floor = max(FLOOR * _roughness(x) / observed.mean(), 1e-6)
    h, w = x.shape[1:]
    # A rim of lost pixels, so that every pixel lies in blocks of every round, and the smallest image holds a block.
    rim = [(STRIDE, max(STRIDE, BLOCK - n)) for n in (h, w)]
    x = np.pad(x, ((0, 0), *rim), mode="symmetric")
    lost = (~np.pad(observed, ((0, 0), *rim))).astype(np.float32)
    precision = log_det = None
    for r in steps(range(ROUNDS), "rounds"):
        # Rounds differ in the grid of the blocks, in the same way along both axes.
        view = (slice(None), slice(r % STRIDE, None), slice(r % STRIDE, None))
        guide = np.ascontiguousarray(x[view].mean(0))
        bands = list(_bands(guide.shape))
        if precision is None:
            labels = _orientations(guide, bands)
        else:
            labels = mapped(lambda band: _classify(_blocks(guide, band), precision, log_det, floor), bands)
        precision, log_det = _learn(guide, bands, labels, floor, mapped)
        system = _system(guide, bands, labels, precision, floor, mapped)
        diagonal = _assemble(lost, view, system, lambda k, b: np.diag(precision[k])[:, None] * np.ones_like(b), mapped)
        x = _solve(x, view, lost.__mul__, lost / np.maximum(diagonal, 1e-6), precision, system, mapped)
    return x[:, STRIDE : STRIDE + h, STRIDE : STRIDE + w]


def _roughness(x: np.ndarray) -> float:
    """Mean squared gradient of [C, H, W]."""
    return sum(float((d * d).mean()) for d in (np.diff(x, axis=1), np.diff(x, axis=2)) if d.size)


def _bands(shape: tuple[int, int]) -> Iterable[tuple[int, int]]:
    """The grid of blocks in bands of whole rows: (first row of the grid, number of rows)."""
    nh, nw = grid(shape, BLOCK, STRIDE)
    step = max(BAND // nw, 1)
    return ((top, min(step, nh - top)) for top in range(0, nh, step))


def _rows(band: tuple[int, int]) -> slice:
    """The rows of the image that a band of blocks covers."""
    top, rows = band
    return slice(top * STRIDE, (top + rows - 1) * STRIDE + BLOCK)


def _blocks(image: np.ndarray, band: tuple[int, int], order: np.ndarray | None = None) -> np.ndarray:
    """The blocks of a band of [H, W] without their means, as columns (in this order)."""
    b = gather(image[_rows(band)], BLOCK, STRIDE, order)
    b -= b.mean(0)
    return b


def _orientations(image: np.ndarray, bands: list) -> list[np.ndarray]:
    """First classes of the blocks of [H, W], band by band: flat, unoriented, and the angle otherwise.

    From the structure tensor over the block (Foerstner & Guelch 1987): energy, coherence and angle.
    """
    nh, nw = grid(image.shape, BLOCK, STRIDE)
    angles = int(np.clip(nh * nw // BLOCKS_PER_ANGLE, 1, ANGLES))
    gy, gx = np.diff(image, axis=0)[:, :-1], np.diff(image, axis=1)[:-1]
    xx, yy, xy = (box_sums(g, BLOCK - 1)[::STRIDE, ::STRIDE] for g in (gx * gx, gy * gy, gx * gy))
    energy = xx + yy
    coherence = np.hypot(xx - yy, 2 * xy) / np.maximum(energy, 1e-12)
    turn = np.arctan2(2 * xy, xx - yy) / (2 * np.pi) + 0.5
    label = np.minimum((turn * angles).astype(np.intp), angles - 1)
    label[coherence < 0.4] = angles
    label[energy < np.quantile(energy, 0.2)] = angles + 1
    return [label[top : top + rows].ravel() for top, rows in bands]


def _classify(blocks: np.ndarray, precision: np.ndarray, log_det: np.ndarray, floor: float) -> np.ndarray:
    """The class of each block under which it is most likely, as Student's t."""
    best, label = np.full(blocks.shape[1], np.inf, np.float32), np.zeros(blocks.shape[1], np.intp)
    for k, (p, l) in enumerate(zip(precision, log_det)):
        cost = (FREEDOM + len(p)) * np.log1p(_energy(blocks, p, floor) / FREEDOM) + np.float32(l)
        better = cost < best
        best[better], label[better] = cost[better], k
    return label


def _energy(blocks: np.ndarray, precision: np.ndarray, floor: float) -> np.ndarray:
    """b' (S + floor I)^-1 b of each block; the precision is kept multiplied by the floor, to be near 1 in size."""
    return np.einsum("dn,dn->n", precision @ blocks, blocks) / np.float32(floor)


def _learn(guide: np.ndarray, bands: list, labels: list, floor: float, mapped: _Map) -> tuple[np.ndarray, np.ndarray]:
    """Of every class, floor * (S + floor I)^-1 off the mean, float32 [K, D, D], and log det(S + floor I)."""
    classes = 1 + max(int(label.max()) for label in labels)

    def moments(job: tuple) -> tuple[np.ndarray, np.ndarray]:
        band, label = job
        order, ends = _sort(label, classes)
        b = _blocks(guide, band, order)
        return np.stack([b[:, a:z] @ b[:, a:z].T for a, z in itertools.pairwise(ends)]), np.diff(ends)

    sums, counts = zip(*mapped(moments, zip(bands, labels)))
    s, n = np.sum(sums, 0, dtype=np.float64), np.sum(counts, 0)[:, None, None]
    s = (s + SHRINK * s.sum(0) / n.sum()) / (n + SHRINK)
    # A block turned by half a turn is as likely, and so is its negative.
    s = (s + s[:, ::-1, ::-1]) / 2 + floor * np.eye(BLOCK**2)
    centre = np.eye(BLOCK**2) - 1 / BLOCK**2
    return (floor * centre @ np.linalg.inv(s) @ centre).astype(np.float32), np.linalg.slogdet(s)[1]


def _sort(label: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The order that sorts blocks by class, and where in it each class begins and the last one ends."""
    order = np.argsort(label.astype(np.uint8), kind="stable")
    return order, np.concatenate([[0], np.bincount(label, minlength=classes).cumsum()])


def _system(guide: np.ndarray, bands: list, labels: list, precision: np.ndarray, floor: float, mapped: _Map) -> list:
    """For every band: (band, (order by class, its inverse, ends of the classes, Student's weights in that order))."""

    def weigh(job: tuple) -> tuple:
        band, label = job
        order, ends = _sort(label, len(precision))
        b = _blocks(guide, band, order)
        energy = np.concatenate([_energy(b[:, a:z], p, floor) for p, a, z in zip(precision, ends, ends[1:])])
        return band, (order, np.argsort(order), ends, (FREEDOM + len(b)) / (FREEDOM + energy))

    return mapped(weigh, zip(bands, labels))


def _assemble(v: np.ndarray, view: tuple, system: list, product: Callable, mapped: _Map) -> np.ndarray:
    """Sum over all blocks, put back in place, of weight * product(class, blocks of v[view]); [C, H, W] -> [C, H, W]."""

    def part(job: tuple) -> np.ndarray:
        c, (band, (order, place, ends, weight)) = job
        image = v[view][c, _rows(band)]
        b = gather(image, BLOCK, STRIDE, order)
        for k, (a, z) in enumerate(itertools.pairwise(ends)):
            b[:, a:z] = product(k, b[:, a:z])
        b *= weight
        return scatter(b, image.shape, BLOCK, STRIDE, place)

    jobs = [(c, one) for c in range(len(v)) for one in system]
    out = np.zeros_like(v)
    for (c, (band, _)), piece in zip(jobs, mapped(part, jobs)):
        out[view][c, _rows(band)] += piece
    return out


def _solve(
    x: np.ndarray,
    view: tuple,
    free: Callable[[np.ndarray], np.ndarray],
    precondition: np.ndarray | float,
    precision: np.ndarray,
    system: list,
    mapped: _Map,
) -> np.ndarray:
    """Conjugate gradients from x [C, H, W], each channel its own system, along what the projection `free` lets pass."""
    multiply = lambda v: free(_assemble(v, view, system, lambda k, b: precision[k] @ b, mapped))
    inner = lambda a, b: (a * b).sum((1, 2), keepdims=True)
    residual = -multiply(x)
    z = precondition * residual
    direction, size = z, inner(residual, z)
    for _ in steps(range(STEPS), "steps"):
        q = multiply(direction)
        step = size / np.maximum(inner(direction, q), 1e-20)
        x = x + step * direction
        residual -= step * q
        z = precondition * residual
        last, size = size, inner(residual, z)
        direction = z + size / np.maximum(last, 1e-20) * direction
    return x
