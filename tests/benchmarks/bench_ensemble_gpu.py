"""Recall of images by the network and by the default (`ensemble`) on one GPU: time an image, their ratio, peak memory.

    python tests/benchmarks/bench_ensemble_gpu.py [--side 512x768] [--batch 1,8] [--bits 3,4,5,6] [--lost 0.5]
                                                  [--piece 64,256,1024] [--large 4000x6000] [--device cuda]

Images are smooth random ones with some grain, made here, of the size of Kodak's. First what shrinkage is on the device
beside NumPy's on one thread: time an image, and how far the answers are apart. Then whole batches in memory, as
`lem-reconstruct` hands them on, from fragment to 8-bit image: the median of --rounds calls after one to warm up, by a clock that
waits for the device; peaks of memory are what torch holds on the device. --lost: beside bits, of 5 bits with this
share of pixels lost, whose inpainting stays on the CPU. --piece: MiB that blocks of pixels take at a time. --large: one
image of this size from 4 bits, and its peak.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the commands do

import numpy as np
import torch

from lemtools.codes import bounds
from lemtools.fragment import fragment
from lemtools.reconstruct import Reconstructor, shrink
from lemtools.restore import smooth
from lemtools.signal import Signal


def images(count: int, height: int, width: int, seed: int = 0) -> Signal:
    """Smooth random images with edges and a little grain."""
    g = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, -(-height // 32), -(-width // 32), generator=g)
    waves = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")
    steps = torch.nn.functional.interpolate(coarse.sign(), size=(height, width))
    data = 128 + 40 * waves + 20 * steps + 4 * torch.randn(waves.shape, generator=g)
    return Signal("image", data.clamp(0, 255).to(torch.uint8).numpy())


def broken(whole: Signal, bits: int, lost: float = 0.0) -> Signal:
    """The fragment that `lem-fragment` makes of it."""
    operations: list[dict] = [{"op": "mask", "mask": lost}] if lost else []
    (out,) = fragment([whole], [*operations, {"op": "bits", "bits": bits}], 0)
    return out


class Clock:
    """Times calls on a device and tells the peak of its memory."""

    def __init__(self, device: str, rounds: int):
        self.rounds, self.cuda = rounds, torch.device(device).type == "cuda"

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    def __call__(self, call: Callable[[], object]) -> tuple[float, float]:
        """(median ms, peak MiB beyond what was held before); nan without CUDA."""
        call()
        self.wait()
        before = 0
        if self.cuda:
            torch.cuda.empty_cache()
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
        took = []
        for _ in range(self.rounds):
            begin = time.perf_counter()
            call()
            self.wait()
            took.append(1e3 * (time.perf_counter() - begin))
        return statistics.median(took), (torch.cuda.max_memory_allocated() - before) / 2**20 if self.cuda else np.nan


def shrinkage(sizes: tuple[int, int], batches: list[int], depths: list[int], pieces: list[int], options) -> None:
    clock, device = Clock(options.device, options.rounds), torch.device(options.device)
    print("\nshrinkage alone: ms an image; apart, in levels of 255: largest, mean, and the share of other 8-bit values")
    print("  bits  batch  piece MiB   device     NumPy   ratio  peak MiB  apart")
    for bits in depths:
        signal = broken(images(max(batches), *sizes), bits)
        assert signal.codes is not None and signal.code_op is not None
        low, high = (end / np.float32(255) for end in bounds(signal.codes, signal.code_op))
        smooth.dequantize(low[0, :, :64, :64], high[0, :, :64, :64])  # makes its table
        begin = time.perf_counter()
        want = smooth.dequantize(low[0], high[0])
        here = 1e3 * (time.perf_counter() - begin)
        for batch in batches:
            for piece in pieces:
                shrink.PIECE = piece << 20
                ends = low[:batch], high[:batch]
                ms, peak = clock(lambda ends=ends: shrink.dequantize(*ends, None, smooth.LEVEL, device=device))
                found = 255 * shrink.dequantize(*ends, None, smooth.LEVEL, device=device)[0]
                off = np.abs(found - 255 * want)
                other = (np.rint(found) != np.rint(255 * want)).mean()
                print(
                    f"  {bits:4}  {batch:5}  {piece:9}  {ms / batch:7.2f}  {here:8.1f}  {here * batch / ms:6.1f}  "
                    f"{peak:8.0f}  {off.max():.2g}, {off.mean():.1e}, {other:.1e}",
                    flush=True,
                )
    shrink.PIECE = max(pieces) << 20


def recall(what: str, signal: Signal, options) -> None:
    """One line: both methods, and the default as it is without the device's half."""
    clock, made = Clock(options.device, options.rounds), {"device": options.device}
    net, both = (Reconstructor(name, **made) for name in ("net", "ensemble"))
    count = len(signal)
    alone, least = clock(lambda: net(signal))
    ms, peak = clock(lambda: both(signal))
    told = f"{alone / count:8.2f}  {ms / count:8.2f}  {ms / alone:6.2f}  {least:8.0f}  {peak:8.0f}"
    if options.before:
        on, shrink.on = shrink.on, lambda device: None
        begin = time.perf_counter()
        both(signal)
        told += f"  {1e3 * (time.perf_counter() - begin) / count:8.1f}"
        shrink.on = on
    print(f"  {what:24} {count:5}  {told}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", default="512x768", help="height x width")
    parser.add_argument("--batch", default="1,8")
    parser.add_argument("--bits", default="3,4,5,6")
    parser.add_argument("--lost", type=float, default=0.5)
    parser.add_argument("--piece", default="64,256,1024")
    parser.add_argument("--large", default="4000x6000", help="'' for none")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--before", action="store_true", help="also the default with shrinkage by NumPy, one call")
    options = parser.parse_args()
    height, width = map(int, options.side.split("x"))
    batches, depths, pieces = (
        [int(n) for n in text.split(",")] for text in (options.batch, options.bits, options.piece)
    )
    name = torch.cuda.get_device_name() if torch.device(options.device).type == "cuda" else options.device
    print(f"{name}, torch {torch.__version__}, {height} x {width}")
    shrinkage((height, width), batches, depths, pieces, options)
    print("\nrecall: ms an image, peak MiB on the device" + ("; last: shrinkage by NumPy" if options.before else ""))
    print("  fragment                 batch       net  ensemble   ratio  net MiB    ens MiB")
    for batch in batches:
        whole = images(batch, height, width)
        for bits in depths:
            recall(f"{bits} bits", broken(whole, bits), options)
        if options.lost:
            recall(f"5 bits, {options.lost:.0%} lost", broken(whole, 5, options.lost), options)
    if options.large:
        height, width = map(int, options.large.split("x"))
        options.rounds = 1
        recall(f"4 bits, {height} x {width}", broken(images(1, height, width), 4), options)


if __name__ == "__main__":
    main()
