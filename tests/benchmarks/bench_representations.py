"""CPU time of what compares two sets of representations: python tests/benchmarks/bench_representations.py [REPEATS]

rsa of 2,000 items of 384 numbers, by both dissimilarities, and beside eight subjects; linear predictivity of 1,000 items, 384 numbers
from 384; and with ten classes the probe, neural collapse, class means and clusters of 2,000. The least of REPEATS (3), one thread.
Beside it the bare products of rsa, two of 2,000 x 384 x 2,000 a dissimilarity.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is loaded

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lemtools.compare.classes import ami, mmcr, nc1, probe
from lemtools.compare.representations import linear_predictivity, rsa
from lemtools.compare.subjects import Subjects


def seconds(work, repeats: int) -> float:
    """The least CPU time of some runs."""
    found = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def main(repeats: int) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 2000, 384))
    few, by = a[:1000], rng.integers(0, 10, 2000)
    rdm = rng.random((8, 2000, 2000))
    people = Subjects(np.triu(rdm, 1) + np.triu(rdm, 1).swapaxes(1, 2), "rdm")
    for name, work in {
        "two products of 2,000 x 384 x 2,000, twice": lambda: [x @ x.T for x in (a, b, a, b)],
        "rsa, 2,000": lambda: rsa(a, b),
        "rsa, 2,000, beside 8 subjects": lambda: rsa(a, b, rdm=people),
        "linear-predictivity, 1,000, 384 from 384": lambda: linear_predictivity(few, b[:1000]),
        "probe, 2,000 x 384": lambda: probe(a, b, classes=by),
        "nc1, 2,000 x 384": lambda: nc1(a, b, classes=by),
        "mmcr, 2,000 x 384": lambda: mmcr(a, b, classes=by),
        "ami@10, 2,000 x 384": lambda: ami(a, b, classes=by),
    }.items():
        print(f"{name}\t{seconds(work, repeats):.2f} s", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
