"""A judge beside its network alone: python tests/benchmarks/bench_judge.py [WIDTHS BLOCKS ITEMS]

What lem-compare --judge takes to see ITEMS images of 32 x 32 (10,000): a network of conv-classifier (32,64,128 and 2, as in
examples/perception.sh), untrained, on all cores, wall and CPU seconds, the least of three; beside it the same network called by itself with 256 images at a
time in PyTorch's own order of memory; and lem-compare --judge itself, which reads both sides and sees each.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lemtools.media import Target, save
from lemtools.nets.classifier import ConvClassifier
from lemtools.nets.judge import Judge
from lemtools.signal import Signal
from lemtools.train.loop import train
from lemtools.train.settings import Settings


def least(work: Callable[[], object], times: int = 3) -> tuple[float, float]:
    """Wall and CPU seconds."""
    found = []
    for _ in range(times):
        start = time.perf_counter(), time.process_time()
        work()
        found.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return min(found)


def command(folder: str) -> tuple[float, float]:
    """Wall and CPU seconds of lem-compare."""
    line = "-m lemtools.cli.compare --judge m.safetensors --labels all.npy all.safetensors all.safetensors".split()
    start = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *line], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - start[0], now.ru_utime + now.ru_stime - start[1].ru_utime - start[1].ru_stime


def main() -> None:
    widths, blocks, items = [*sys.argv[1:], *"32,64,128 2 10000".split()[len(sys.argv) - 1 :]]
    net = {"widths": [int(width) for width in widths.split(",")], "blocks": int(blocks)}
    images = np.random.default_rng(0).integers(0, 256, (int(items), 3, 32, 32), np.uint8)
    with TemporaryDirectory() as folder:
        np.save(f"{folder}/x.npy", images[:64].transpose(0, 2, 3, 1))
        np.save(f"{folder}/l.npy", np.arange(64) % 10)
        common = dict(labels=f"{folder}/l.npy", options=net, steps=1, batch=8, holdout=0, device="cpu", kind="image")
        train(Settings("classifier", [f"{folder}/x.npy"], f"{folder}/m.safetensors", **common))
        judge = Judge(f"{folder}/m.safetensors", "cpu")
        plain = ConvClassifier(3, 10, **net).eval()

        @torch.inference_mode()
        def alone() -> None:
            for start in range(0, len(images), 256):
                plain(torch.from_numpy(images[start : start + 256]).float() / 127.5 - 1)

        np.save(f"{folder}/all.npy", np.arange(len(images)) % 10)
        save([Signal("image", images)], Target(f"{folder}/all.safetensors"))
        works = {"judge": lambda: least(lambda: judge("image", images)), "network alone": lambda: least(alone)}
        for name, work in (works | {"lem-compare --judge": lambda: command(folder)}).items():
            wall, cpu = work()
            print(f"{name}\t{items} images\t{wall:.1f} s\t{cpu:.1f} s of CPU\t{torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
