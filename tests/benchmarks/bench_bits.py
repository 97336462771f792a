"""Bit depth of embeddings: error of the quantisers beside the rate-distortion limit, and how fast a trellis is coded.

    python tests/benchmarks/bench_bits.py [--device cpu|cuda] [--count 2048] [--dims 128] [--bits 1 2 3 4]

Every number is of fragments as they travel: `lem-fragment --bits B` in memory, through the wire, decoded. NMSE is the
mean over vectors of squared error over squared norm, after +- its standard error. Gaussian: independent N(0, 1).
Anisotropic: independent Gaussians of variance ~ 1/i along the axes; its limit is reverse water-filling at the same
bits. The cost in bits an element counts the fp16 norm of each vector.

Without a GPU the trellis takes the time: a second for some 50 vectors and core. On a device it is also timed, best of
three, wall time from arrays to codes, in vectors a second.
"""

import argparse
import time

import numpy as np

from lemtools.codes import decode, trellis
from lemtools.fragment import apply
from lemtools.signal import Signal, bits_per_element, from_tensors, to_tensors

ARMS = {
    "uniform": {"quantizer": "uniform"},
    "uniform, rotated": {"quantizer": "uniform", "rotate": True},
    "Lloyd-Max": {"quantizer": "lloyd-max"},
    "Lloyd-Max, rotated": {"quantizer": "lloyd-max", "rotate": True},
    "trellis": {"quantizer": "trellis"},
    "trellis, rotated": {"quantizer": "trellis", "rotate": True},
}


def water_filling(variances: np.ndarray, bits: float) -> float:
    """Least NMSE of a Gaussian with these variances at `bits` a dimension (Cover & Thomas, 10.3.3)."""
    low, high = 0.0, variances.max()
    for _ in range(100):
        level = (low + high) / 2
        rate = np.log2(np.maximum(variances / level, 1)).mean() / 2
        low, high = (level, high) if rate > bits else (low, level)
    return np.minimum(variances, level).sum() / variances.sum()


def error(x: np.ndarray, spec: dict) -> tuple[float, float, float]:
    """(NMSE, its standard error, bits an element)."""
    sent = apply(Signal("embedding", x), {"op": "bits", **spec})
    tensors, meta = to_tensors(sent)
    got = from_tensors({k: v for k, (_, v) in tensors.items()}, meta)
    each = np.square(x - got.data, dtype=np.float64).sum(1) / np.square(x, dtype=np.float64).sum(1)
    return each.mean(), each.std() / len(x) ** 0.5, bits_per_element(got).mean()


def table(title: str, x: np.ndarray, variances: np.ndarray, depths: list[int], search) -> None:
    print("\t".join([f"{title}, {len(x)} x {x.shape[1]}, NMSE", *(f"{b} bit{'s' * (b > 1)}" for b in depths)]))
    print("\t".join(["limit", *(f"{water_filling(variances, b):.4f}" for b in depths)]), flush=True)
    cost = 0.0
    for name, spec in ARMS.items():
        row = [name]
        for b in depths:
            mean, spread, bits = error(x, {"bits": b, **spec, "search": search})
            row.append(f"{mean:.4f} ± {spread:.4f}" if mean >= 0.1 else f"{mean:.5f} ± {spread:.5f}")
            cost = max(cost, bits - b)
        print("\t".join(row), flush=True)
    print(f"norm, beside the codes\t{cost:.4g} bits an element\n", flush=True)


def speed(dims: int, depths: list[int], search, count: int) -> None:
    x = np.random.default_rng(2).standard_normal((count, dims)).astype(np.float32)
    ways = (
        {"numpy": (trellis.viterbi, min(count, 64)), "device": (search, count)}
        if search
        else {"numpy": (trellis.viterbi, min(count, 64))}
    )
    print("\t".join([f"trellis, {dims} dimensions, vectors/s", *(f"{b}" for b in depths)]))
    for name, (code, most) in ways.items():
        row = [name]
        for b in depths:
            first = code(x[:8], b)
            assert np.array_equal(first, trellis.viterbi(x[:8], b)), "the codes differ from numpy's"
            best = min(_time(code, x[:most], b) for _ in range(3 if name == "device" else 1))
            row.append(f"{most / best:.0f}")
        print("\t".join(row), flush=True)
    op = {"bits": depths[-1], "quantizer": "trellis", "domain": "gaussian", "scale": np.ones(count)}
    codes = np.random.default_rng(3).integers(0, 2 ** depths[-1], x.shape).astype(np.uint8)
    print(f"decoded by numpy\t{count / _time(decode, codes, op):.0f}")


def _time(function, *args) -> float:
    begun = time.perf_counter()
    function(*args)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", help="code with torch there; default: numpy")
    parser.add_argument("--count", type=int, default=2048, help="vectors a table")
    parser.add_argument("--timed", type=int, help="vectors to time on the device; default 256, on CUDA 20480")
    parser.add_argument("--dims", type=int, default=128)
    parser.add_argument("--bits", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--tables", nargs="+", default=["gaussian", "anisotropic", "speed"])
    args = parser.parse_args()
    search = None
    if args.device:
        from lemtools.vq.viterbi import searcher

        search = searcher(args.device)
    white, slope = np.ones(args.dims), 1 / np.arange(1, args.dims + 1)
    rng = np.random.default_rng(1)
    if "gaussian" in args.tables:
        x = rng.standard_normal((args.count, args.dims)).astype(np.float32)
        table("Gaussian", x, white, args.bits, search)
    if "anisotropic" in args.tables:
        x = (rng.standard_normal((args.count, args.dims)) * np.sqrt(slope)).astype(np.float32)
        table("variance 1/i", x, slope, args.bits, search)
    if "speed" in args.tables:
        timed = args.timed or (20480 if (args.device or "").startswith("cuda") else 256)
        speed(args.dims, args.bits, search, timed)


if __name__ == "__main__":
    main()
