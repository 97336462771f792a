"""The local machines on spectra of sounds, on one CUDA device: right first, then their time beside floors and plain PyTorch.

    python tests/benchmarks/bench_els_spectra_gpu.py [--only check,times,race] [--seconds 60] [--count 320]

Spectra are synthetic, gliding tones (see ``bench_els_spectra``), `--count` of [2, 257, 87] and of [2, 513, 173]. All is measured in
this run: rates and floors as ``bench_els_gpu`` has them, times with CUDA events, the median of up to 10 calls after two to
warm up; a call is everything from x_t to x0_hat on the device, of one seed, that finds its keys laid out if they fit
`--memory`. Floors, in ms: `exp`, one for each pair of a pixel and a patch that it sees; `gemm`, one float16 product of C P^2
elements a pair. The kernel does four of them, since queries and keys have two digits each.

check: |error| / rms(x0) against the definition in float64, the largest at pixels of every kind: corners, edges, others. times:
ours, floors, and the plain path in PyTorch where --plain asks for it. race: ways of cutting the work up.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache

import torch
import triton
from bench_els_gpu import Rates, timed
from bench_els_spectra import sounds

from lemtools.denoise.schedule import cosine
from lemtools.els import posterior
from lemtools.els.bank import Bank
from lemtools.els.gpu import fused
from lemtools.els.local import Level
from lemtools.els.plan import axis, rules

DEVICE = torch.device("cuda")
SHAPES = {"257x87": (257, 87), "513x173": (513, 173)}
TIMES = 0.05, 0.4, 0.9


def noisy(bank: Bank, t: float) -> tuple[torch.Tensor, float]:
    alpha_bar = float(cosine(t))
    g = torch.Generator(DEVICE).manual_seed(1)
    x0 = bank.part(0, 1, torch.float64, DEVICE)
    noise = torch.randn(x0.shape, dtype=torch.float64, device=DEVICE, generator=g)
    return alpha_bar**0.5 * x0 + (1 - alpha_bar) ** 0.5 * noise, alpha_bar


def plan(bank: Bank, word: str, size: tuple[int, int]):
    return [axis(*about) for about in zip(rules(word), bank.item[1:], size)]


@cache
def chooser(changes: tuple):
    """The default tiling, changed for what has many queries; the same function for the same changes."""

    def choose(size, channels, queries, digits, planes):
        found = fused.tiling(size, channels, queries, digits, planes)
        return replace(found, **dict(changes)) if queries > 32 else found

    return choose


def answer(bank: Bank, word: str, size: tuple[int, int], x, alpha_bar: float, memory: int, **changes) -> torch.Tensor:
    """x0_hat, float64 [S, C, H, W]."""
    level, axes = Level(alpha_bar**0.5, 1 - alpha_bar), plan(bank, word, size)
    found = fused.run(bank, x, level, *axes, 1e-6, memory, chooser(tuple(changes.items())))
    return posterior.whole(found[0], x.shape, found[1]).mean


def definition(bank: Bank, word: str, size: tuple[int, int], x, alpha_bar: float, places) -> torch.Tensor:
    """[S, C, places] in float64: every squared difference on its own."""
    keys = bank.part(0, len(bank), torch.float64, DEVICE)
    reach, axes, columns = [n // 2 for n in size], plan(bank, word, size), []
    ends = [torch.nn.functional.pad(k, (reach[1],) * 2 + (reach[0],) * 2) for k in (keys, x)]
    for place in places:
        lines = [list(ax.keys) if c in ax.queries else [c] for c, ax in zip(place, axes)]
        first, count = [line[0] for line in lines], [len(line) for line in lines]
        total = torch.zeros(len(x), len(keys), *count, dtype=torch.float64, device=DEVICE)
        for r in range(size[0]):
            for c in range(size[1]):
                part = ends[0][:, :, first[0] + r :, first[1] + c :][:, :, : count[0], : count[1]]
                query = ends[1][:, None, :, place[0] + r, place[1] + c, None, None]
                total += (query - alpha_bar**0.5 * part).square_().sum(2)
        weights = (total / (-2 * (1 - alpha_bar))).flatten(1).softmax(1)
        values = keys[:, :, first[0] :, first[1] :][:, :, : count[0], : count[1]]
        columns.append(weights @ values.movedim(1, 3).reshape(-1, keys.shape[1]))
    return torch.stack(columns, 2)


def check(name: str, bank: Bank, memory: int) -> None:
    (height, width), worst = bank.item[1:], 0.0
    cases = ("time", (9, 9)), ("both", (9, 9)), ("both", (3, 9)), ("freq", (5, 5)), ("none", (9, 3))
    for word, size in cases if name == "257x87" else cases[:1]:
        for t in TIMES:
            x, alpha_bar = noisy(bank, t)
            places = [
                (r, c) for r in (0, 2, height // 9, height // 3, height - 1) for c in (0, 3, width // 2, width - 2)
            ]
            want = definition(bank, word, size, x, alpha_bar, places)
            found = answer(bank, word, size, x, alpha_bar, memory)[:, :, [r for r, _ in places], [c for _, c in places]]
            error = float((found - want).abs().max() / want.square().mean().sqrt())
            worst = max(worst, error)
            print(f"check {name} {word:5} {size[0]}x{size[1]} t {t:.2f}   {error:.1e}", flush=True)
    print(f"check {name} worst {worst:.1e}: {'ok' if worst < 1e-4 else 'WRONG'}", flush=True)


def floors(bank: Bank, word: str, size: tuple[int, int], rates: Rates) -> tuple[float, float]:
    """(exp, gemm), ms."""
    pairs = len(bank)
    for along in plan(bank, word, size):
        pairs *= len(along.queries) * len(along.keys) + len(along.alone)
    return 1e3 * pairs / rates.exp, 1e3 * pairs * 2 * bank.item[0] * size[0] * size[1] / rates.gemm


def times(name: str, bank: Bank, rates: Rates, memory: int, plain: bool) -> None:
    print(
        f"times {name}, N = {len(bank)}, one seed: ms; MiB beyond the bank; floors exp, gemm; ms / gemm; plain PyTorch, ms"
    )
    words = ("time", "both", "freq", "none") if name == "257x87" else ("time",)
    for word in words:
        for size in ((3, 3), (5, 5), (9, 9), (3, 9), (9, 3)) if word in ("time", "both") else ((9, 9),):
            for t in (0.4,) if size != (9, 9) else TIMES:
                x, alpha_bar = noisy(bank, t)
                ms, used = timed(lambda: answer(bank, word, size, x, alpha_bar, memory))
                exp, gemm = floors(bank, word, size, rates)
                told = ""
                if plain and t == 0.4 and word == "time":
                    machine = posterior.Local(bank, rules(word), size, device="cuda", memory=memory)
                    machine._fused = lambda *_: None
                    told = f"{timed(lambda machine=machine: machine.posterior(x.float(), alpha_bar), 5)[0]:9.1f}"
                print(
                    f"  {word:5} {size[0]}x{size[1]} t {t:.2f} {ms:9.2f} {used:7.0f} {exp:7.2f} {gemm:7.2f} {ms / gemm:6.1f} {told}",
                    flush=True,
                )


def plans() -> list[dict]:
    """What the race runs."""
    tiles = (64, 64, 4), (128, 64, 8), (128, 32, 4), (64, 32, 4), (128, 128, 8), (64, 128, 4)
    keys = "block_q", "block_k", "warps", "step", "stages", "resident"
    rest = [(step, stages, resident) for step in (32, 64, 16) for stages in (3, 4, 2) for resident in (False, True)]
    return [dict(zip(keys, (*tile, *more))) for more in rest for tile in tiles]


def race(name: str, bank: Bank, memory: int, seconds: float, every: list[dict]) -> None:
    for word in ("time", "both"):
        (x, alpha_bar), begin, table = noisy(bank, 0.4), time.perf_counter(), []
        for change in every:
            if time.perf_counter() - begin < seconds / 2:
                try:
                    ms = timed(lambda: answer(bank, word, (9, 9), x, alpha_bar, memory, **change), 3)[0]
                except Exception as error:  # too much shared memory, say: that is a result
                    print(f"  {change}: {type(error).__name__}", flush=True)
                    continue
                table.append((ms, change))
        for ms, change in sorted(table, key=lambda row: row[0])[:8]:
            print(f"race {name} {word} 9x9 {ms:8.2f} {change}, of {len(table)}", flush=True)


def warm(share: int, of: int, wanted: list[str]) -> None:
    """Compile what the tables need, so that the main process finds it in Triton's cache."""
    bank = Bank(sounds(4, *SHAPES["257x87"]), kind="spectrum").to(DEVICE)
    sizes = (3, 3), (5, 5), (9, 9), (3, 9), (9, 3)
    for word, size in [(word, size) for word in ("time", "both", "freq", "none") for size in sizes][share::of]:
        answer(bank, word, size, *noisy(bank, 0.4), 1 << 30)
    for change in plans()[share::of] if "race" in wanted else ():
        for word in ("time", "both"):
            with contextlib.suppress(Exception):  # the race says what it was
                answer(bank, word, (9, 9), *noisy(bank, 0.4), 1 << 30, **change)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="check,times,race")
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--count", type=int, default=320)
    parser.add_argument("--memory", type=int, default=4 << 30)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--warm", type=int, nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    wanted = asked.only.split(",")
    if asked.warm:
        return warm(*asked.warm, wanted)
    begin, processes = time.perf_counter(), min(14, os.cpu_count() or 1)
    command = [sys.executable, __file__, "--only", asked.only, "--warm"]
    started = [subprocess.Popen([*command, str(k), str(processes)]) for k in range(processes)]
    for process in started:
        process.wait(timeout=300)
    print(f"compiled in {time.perf_counter() - begin:.0f} s by {processes} processes", flush=True)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, triton {triton.__version__}", flush=True)
    rates = Rates()
    print(rates, flush=True)
    for name in asked.shapes.split(","):
        rows, columns = SHAPES[name]
        bank = Bank(sounds(asked.count, rows, columns), kind="spectrum").to(DEVICE)
        begin = time.perf_counter()
        if "check" in wanted:
            check(name, bank, asked.memory)
        if "race" in wanted and name == "257x87":
            race(name, bank, asked.memory, asked.seconds, plans())
        if "times" in wanted:
            times(name, bank, rates, asked.memory, asked.plain)
        print(f"{name}: {time.perf_counter() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
