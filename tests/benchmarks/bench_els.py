"""lem-els on a CPU against the paper's released code, and against the definition in float64.

    python tests/benchmarks/bench_els.py [--reference DIR] [--images 200] [--threads 2] [--t .5]

DIR: a checkout of github.com/Kambm/convolutional_diffusion, of which utils/idealscore.py alone is run; without it the
ratio is left out. Every row: machine, patch size, seconds of the released code, ours, their ratio, ns a core spends on
a pair of pixel and patch, the floor (two to the power of every pair's logit, at the rate measured here), and the largest
difference from the definition over 64 pixels in units of rms(x0).
"""

import argparse
import os
import sys
import time
import types
from pathlib import Path

import numpy as np
import torch

if "PYTHONPATH" not in os.environ:  # (which may name another version)
    sys.path.insert(0, str(Path(__file__).parents[2]))

from lemtools.denoise.schedule import cosine
from lemtools.els.bank import Bank
from lemtools.els.posterior import Local


def reference(folder: Path):
    """The released module, with stand-ins for the plotting and download packages that it imports and does not use."""
    for name in (
        "torchvision",
        "torchvision.transforms",
        "torchvision.datasets",
        "torchvision.models",
        "matplotlib",
        "matplotlib.pyplot",
        "matplotlib.cm",
    ):
        sys.modules.setdefault(name, types.ModuleType(name))
    for name in ("transforms", "datasets", "models"):
        setattr(sys.modules["torchvision"], name, sys.modules[f"torchvision.{name}"])
    space = {}
    exec(compile((folder / "utils" / "idealscore.py").read_text(), "idealscore.py", "exec"), space)
    return space


def best(work, times: int) -> float:
    """Seconds of the quickest of `times` calls, after one to warm up."""
    work()
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def definition(bank: np.ndarray, x: np.ndarray, alpha_bar: float, size: int, pixels) -> np.ndarray:
    """x0_hat of bbels at interior pixels, float64 [len(pixels), C]."""
    d = size // 2
    keys = np.lib.stride_tricks.sliding_window_view(bank, (size, size), (2, 3))  # [N, C, h, w, P, P]
    out = []
    for r, c in pixels:
        q = x[:, r - d : r + d + 1, c - d : c + d + 1]
        logits = np.zeros((keys.shape[0], *keys.shape[2:4]))
        for k in range(len(q)):
            for i in range(size):
                for j in range(size):
                    logits -= (q[k, i, j] - np.sqrt(alpha_bar) * keys[:, k, :, :, i, j]) ** 2
        logits /= 2 * (1 - alpha_bar)
        w = np.exp(logits - logits.max())
        out.append((w[:, None] * keys[:, :, :, :, d, d]).sum((0, 2, 3)) / w.sum())
    return np.array(out)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--t", type=float, default=0.5)
    parser.add_argument("--sizes", type=int, nargs="*", default=[3, 9, 17])
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    g = np.random.default_rng(0)
    coarse = g.random((asked.images, 3, 8, 8))  # random images that are smooth, as photos are
    raw = torch.nn.functional.interpolate(torch.from_numpy(coarse), size=(32, 32), mode="bicubic").clamp(0, 1)
    raw = (raw * 255).round().to(torch.uint8).numpy()
    bank, alpha_bar = raw / 127.5 - 1, float(cosine(asked.t))
    x = np.sqrt(alpha_bar) * bank[:1] + np.sqrt(1 - alpha_bar) * g.standard_normal((1, 3, 32, 32))
    powers = torch.randn(1 << 18)
    rate = 2**18 / best(lambda: torch.exp2(powers), 50)
    print(
        f"{asked.images} images of 32 x 32 x 3, one seed, t = {asked.t}, {asked.threads} threads; "
        f"2^x {rate / 1e9:.2f} G/s"
    )
    print("machine\tsize\treleased s\tours s\tratio\tns core/pair\tfloor s\tlargest difference")
    peer = None
    if asked.reference:
        space = reference(asked.reference)
        data = torch.utils.data.TensorDataset(torch.from_numpy(bank).float(), torch.zeros(len(bank), 1))
        peer = space["LocalEquivBordersScoreModule"](data, batch_size=256, schedule=space["cosine_noise_schedule"])
    for size in asked.sizes:
        inner = 32 - 2 * (size // 2)
        pairs = asked.images * inner**4
        machine = Local(Bank(raw), "bbels", size)
        ours = best(lambda: machine(x, alpha_bar), 5)
        theirs = float("nan")
        if peer:
            t, tx = torch.full((1,), asked.t), torch.from_numpy(x).float()
            with torch.no_grad():
                theirs = best(lambda: peer(t, tx.clone(), device="cpu", k=size), 1)
        d = size // 2
        pixels = [(d + int(r), d + int(c)) for r, c in g.integers(0, inner, (64, 2))]
        want = definition(bank, x[0], alpha_bar, size, pixels)
        found = machine(x, alpha_bar)
        off = max(np.abs(found[0, :, r, c] - w).max() for (r, c), w in zip(pixels, want)) / np.sqrt((found**2).mean())
        print(
            f"bbels\t{size}\t{theirs:.3f}\t{ours:.3f}\t{theirs / ours:.1f}\t"
            f"{ours * asked.threads / pairs * 1e9:.2f}\t{pairs / rate / asked.threads:.3f}\t{off:.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
