"""Translating beside a bare product, and a fit beside what it cannot do without: python tests/benchmarks/bench_translate.py [N D]

CPU time of one thread, the least of three. Translating N vectors of 256 numbers (200,000) into such of 256, as lem-encode does without
input and output, beside numpy's float32 product with the matrix alone. A fit of ridge to N pairs of D numbers (20,000 of 256) in
one pass, beside numpy's closed form in float64: the two products of centred pairs and one solution each way, all in memory at once, at a
penalty that is given; the fit looks for its own (exact leave-one-out), too.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is loaded

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lemtools.align import hub, linear
from lemtools.align.maps import Map
from lemtools.align.pairs import Paired
from lemtools.encode import Coder
from lemtools.encode.translate import Translate
from lemtools.signal import Signal

STEP = 4096  # pairs of a block


def least(work: Callable[[], object], times: int = 3) -> float:
    """Seconds of CPU time."""
    found = []
    for _ in range(times):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def translating(rng: np.random.Generator, n: int = 200_000, d: int = 256) -> None:
    x = rng.standard_normal((n, d), np.float32)
    there, back = rng.standard_normal((2, d, d))
    coder = Translate(Map((there[0], back[0]), there, back), "ridge", n)
    matrix = there.astype(np.float32)

    def translated() -> None:
        for _ in Coder(coder)(Signal("embedding", x)):
            pass

    def multiplied() -> None:
        for i in range(0, n, STEP):
            x[i : i + STEP] @ matrix

    own, bare = least(translated), least(multiplied)
    print(f"translating {d} to {d}\t{n / own / 1e6:.2f} million vectors a second of CPU time")
    print(f"a bare product\t{n / bare / 1e6:.2f} million")
    print(f"ratio of times\t{own / bare:.2f}")


def fitting(rng: np.random.Generator, n: int, d: int) -> None:
    x = rng.standard_normal((n, d), np.float32)
    y = x @ rng.standard_normal((d, d), np.float32) + rng.standard_normal((n, d), np.float32)

    def blocks():
        return ((x[i : i + STEP], y[i : i + STEP]) for i in range(0, n, STEP))

    def closed() -> None:
        a, b = (side.astype(np.float64) - side.mean(0) for side in (x, y))
        aa, ab, bb = a.T @ a, a.T @ b, b.T @ b
        np.linalg.solve(aa + np.eye(d), ab)
        np.linalg.solve(bb + np.eye(d), ab.T)

    bare = least(closed)
    for name, work in {
        "ridge": lambda: linear.ridge(Paired.read(blocks())),
        "procrustes": lambda: linear.procrustes(Paired.read(blocks())),
        f"hub of {d}": lambda: hub.fitted(["a", "b"], blocks(), d),
    }.items():
        own = least(work)
        print(f"{name}, {n} pairs of {d}\t{own:.2f} s, {own / bare:.2f} times the closed form's {bare:.2f} s")


if __name__ == "__main__":
    n, d = (int(word) for word in sys.argv[1:3]) if len(sys.argv) > 2 else (20_000, 256)
    translating(np.random.default_rng(0))
    fitting(np.random.default_rng(1), n, d)
