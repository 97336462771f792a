"""How long a step of the local machines takes on spectra, on a CPU, beside what its operations alone would take.

    python tests/benchmarks/bench_els_spectra.py [--bank spectra.safetensors] [--threads 2]

Without --bank they are 320 synthetic sounds of a few gliding tones, as [2, 65, 32] complex numbers. Printed for each machine,
size and time t of the cosine schedule: seconds, CPU seconds, and the floor, which is one product of all windows with all
keys and one 2^x a pair, at the rates that this machine reaches on blocks that fit its cache.
"""

import argparse
import time

import numpy as np
import torch

from lemtools.denoise.schedule import cosine
from lemtools.els import machine
from lemtools.els.bank import Bank
from lemtools.els.plan import axis, rules
from lemtools.els.prepare import bank as read
from lemtools.els.scales import parse_size


def sounds(count: int = 320, rows: int = 65, columns: int = 32) -> np.ndarray:
    """Spectra of gliding tones with overtones, float32 [count, 2, rows, columns]."""
    g = np.random.default_rng(0)
    window, hop = 2 * (rows - 1), rows - 1
    t = np.arange(window + hop * (columns - 1)) / 8000
    base, glide = g.uniform(90, 250, (count, 1)), g.uniform(-200, 200, (count, 1))
    phase = 2 * np.pi * (base * t + glide * t**2 / 2)
    waves = sum(np.sin(k * phase + g.uniform(0, 6, (count, 1))) / k for k in range(1, 12)) * np.exp(-8 * t)
    waves += 0.01 * g.standard_normal(waves.shape)
    frames = np.lib.stride_tricks.sliding_window_view(waves, window, 1)[:, ::hop] * np.hanning(window + 1)[:-1]
    found = np.fft.rfft(frames).transpose(0, 2, 1)
    return np.stack([found.real, found.imag], 1).astype(np.float32)


def best(work, times: int = 3) -> tuple[float, float]:
    """(seconds, CPU seconds) of the quickest of `times` calls, after one to warm up."""
    work()
    found = []
    for _ in range(times):
        begun, cpu = time.perf_counter(), time.process_time()
        work()
        found.append((time.perf_counter() - begun, time.process_time() - cpu))
    return min(wall for wall, _ in found), min(cpu for _, cpu in found)


def floor(word: str, bank: Bank, size: tuple[int, int], rates: tuple[float, float]) -> float:
    """Seconds of one core for products and powers alone."""
    rows, cols = (axis(*each) for each in zip(rules(word), bank.item[1:], size))
    pairs = len(bank)
    for along in (rows, cols):
        pairs *= len(along.queries) * len(along.keys) + len(along.alone)
    return pairs * (2 * bank.item[0] * size[0] * size[1] / rates[0] + 1 / rates[1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bank")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--machines", nargs="*", default=["time", "both"])
    parser.add_argument("--sizes", nargs="*", default=["3", "9", "3x9", "9x3"])
    parser.add_argument("--t", type=float, nargs="*", default=[0.9, 0.4, 0.15])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    a, b, powers = torch.randn(512, 512), torch.randn(512, 512), torch.randn(1 << 16)
    rates = 2 * 512**3 / best(lambda: a @ b, 20)[1], 2**16 / best(lambda: torch.exp2(powers), 200)[1]
    torch.set_num_threads(asked.threads)
    bank = read([asked.bank]) if asked.bank else Bank(sounds(), kind="spectrum")
    shape = " x ".join(map(str, bank.item))
    print(
        f"{len(bank)} spectra of {shape}, one seed, {asked.threads} threads; {rates[0] / 1e9:.0f} GFLOP/s, 2^x {rates[1] / 1e9:.2f} G/s"
    )
    print("machine\tsize\tt\tseconds\tCPU seconds\tfloor, CPU seconds")
    g = np.random.default_rng(1)
    for word in asked.machines:
        for text in asked.sizes:
            size = parse_size(text)
            sides = (size, size) if isinstance(size, int) else size
            for t in asked.t:
                alpha_bar = float(cosine(t))
                noise = torch.from_numpy(g.standard_normal((1, *bank.item))).float()
                x = alpha_bar**0.5 * bank.part(0, 1, torch.float32) + (1 - alpha_bar) ** 0.5 * noise
                denoise = machine(word, bank, size)
                wall, cpu = best(lambda: denoise(x, alpha_bar))
                print(f"{word}\t{text}\t{t}\t{wall:.3f}\t{cpu:.3f}\t{floor(word, bank, sides, rates):.3f}", flush=True)


if __name__ == "__main__":
    main()
