"""Known answers of the geometry of embeddings, and its cost: python tests/benchmarks/bench_geometry.py [N D]

First what each metric should give on data of known geometry, beside what it gives (three seeds: mean, and the spread
between them). Then CPU time of the spectrum and of CKA for N x D float32 (100,000 x 768), beside numpy's SVD of the
whole set in float64, which needs it in memory at once; one thread each.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is loaded

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lemtools import codes
from lemtools.compare import geometry, similarity, spectral

SEEDS = 3


def isotropic(rng: np.random.Generator) -> dict[str, float]:
    x = rng.standard_normal((2048, 512))
    s = spectral.Spectrum(x), spectral.Spectrum(x)
    return {
        f"{name}, isotropic 2048 x 512": metric(x, x, spectra=s).value
        for name, metric in (
            ("RankMe", spectral.rankme),
            ("participation ratio", spectral.participation_ratio),
            ("condition", spectral.condition),
        )
    }


def independent(rng: np.random.Generator) -> dict[str, float]:
    a, b = rng.standard_normal((2, 2000, 500))
    cka = similarity.cka(a, b)
    name = "independent 2000 x 500"
    return {
        f"CKA biased, {name}": cka.beside,
        f"CKA debiased, {name}": cka.value,
        f"mutual 10-NN, {name}": geometry.mutual_knn(a, b).mean(),
    }


def bits(rng: np.random.Generator) -> dict[str, float]:
    """Rotated Lloyd-Max codes of a 1/i spectrum: the neighbours that are kept, and what CKA says of it."""
    x = rng.standard_normal((3000, 256)) * np.arange(1, 257) ** -0.5
    y = x @ (rotation := np.linalg.qr(rng.standard_normal((256, 256)))[0])
    out = {}
    for depth in (1, 2, 3, 4):
        op = {"bits": depth, "quantizer": "lloyd-max", "domain": "gaussian", "scale": np.sqrt((y**2).mean(1))}
        z = codes.decode(codes.encode(y, op), op) @ rotation.T
        out[f"mutual 10-NN by cosine, {depth} bit, 1/i 3000 x 256"] = geometry.mutual_knn_cosine(x, z).mean()
        out[f"CKA debiased, {depth} bit"] = similarity.cka(x, z).value
    return out


EXPECTED = {
    "RankMe": 494.7, "participation": 409.5, "condition": 2.98, "CKA biased": 500 / 2500, "CKA debiased, ind": 0,
    "mutual 10-NN, ind": 10 / 1999, "mutual 10-NN by cosine, 1": 0.39, "mutual 10-NN by cosine, 2": 0.67,
    "mutual 10-NN by cosine, 3": 0.82, "mutual 10-NN by cosine, 4": 0.90, "CKA debiased, 1": 0.944,
}  # fmt: skip


def main(n: int = 100_000, d: int = 768) -> None:
    for case in (isotropic, independent, bits):
        found = [case(np.random.default_rng(seed)) for seed in range(SEEDS)]
        for name in found[0]:
            values = [f[name] for f in found]
            wanted = next((f"{v:.4g}" for start, v in EXPECTED.items() if name.startswith(start)), "-")
            print(f"{name}\t{wanted}\t{np.mean(values):.4g}\t{max(values) - min(values):.2g}")
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.standard_normal((min(5000, n - i), d), np.float32) for i in range(0, n, 5000)])
    y = x + rng.standard_normal(d, np.float32)
    cost = {}
    for name, call in {
        "spectrum": lambda: spectral.Spectrum(x).values,
        "numpy.linalg.svd, float64": lambda: np.linalg.svd(x - x.mean(0, dtype=np.float64), compute_uv=False),
        "CKA, both": lambda: similarity.cka(x, y),
    }.items():
        start = time.process_time()
        call()
        cost[name] = time.process_time() - start
        print(f"{name}, {n} x {d}\t{cost[name]:.1f} s CPU")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
