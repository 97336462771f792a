"""The local machines' kernel on one CUDA device: right first, then its time beside the floors that it cannot go below.

    python tests/benchmarks/bench_els_gpu.py [--bank IMAGES.npy] [--only check,calls,times,race,sample] [--seconds 60]
                                             [--reference DIR]

IMAGES.npy: uint8 [N, 3, 32, 32]; else smooth random images. DIR: a checkout of the paper's released code (see
``bench_els``), whose bbels then runs on the same inputs. Everything is measured in this run: the rates of exp2, of
float32 and of float16 products, the bandwidth of a copy, and with CUDA events the median of 10 calls (fewer where one
takes over a second) after two to warm up. A call is everything from x_t to x0_hat on the device. Floors, in ms: `exp`,
one for each pair of a pixel and a patch that it sees; `gemm`, two float16 products of C P^2 elements a pair; `box`, C +
4 float32 operations for each pair of a pixel and an image's pixel (running sums); `bytes`, the bank read once. The
binding one is max(exp, min(gemm, box), bytes).

check: against the definition in float64 at pixels of every kind. calls: what a call of bbels consists of; to compare
versions of the package, run this file with PYTHONPATH set to each and --only calls. times: N = 5,000, bbels and els,
1 and 64 seeds; and N = 50. Keys are laid out once for calls with the same patch size, so these tables have calls
without it; `calls` has both. race:
ways of cutting the work of bbels, one seed, until --seconds are over. sample: N = 50,000, 19 steps with the paper's
patch sizes.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import time
from dataclasses import astuple, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
import triton
import triton.language as tl
from bench_els import reference

from lemtools.denoise.samplers import ddim
from lemtools.denoise.schedule import cosine, grid
from lemtools.els import posterior
from lemtools.els.bank import Bank
from lemtools.els.gpu import fused
from lemtools.els.local import Level
from lemtools.els.plan import axis
from lemtools.els.posterior import Local

SIDE, CHANNELS, COUNT = 32, 3, 5000
# of the paper's CIFAR-10 ResNet, low noise first
SIZES = (3, 3, 3, 3, 5, 5, 5, 7, 7, 7, 7, 9, 9, 11, 11, 13, 15, 17, 17, 17)
TIMES = {3: 0.1, 5: 0.3, 9: 0.6, 17: 0.9}  # where that list uses the size
DEVICE = torch.device("cuda")


def images(count: int, seed: int = 0) -> np.ndarray:
    """Smooth random images with a little grain, so that patches are nearly alike, as in photographs."""
    g = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, CHANNELS, SIDE // 4, SIDE // 4, generator=g)
    smooth = torch.nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic")
    grain = torch.randn(smooth.shape, generator=g)
    return (128 + 60 * smooth + 6 * grain).clamp(0, 255).to(torch.uint8).numpy()


def answer(
    bank: Bank, machine: str, size: int, x: torch.Tensor, alpha_bar: float, skip: float = 1e-6, **plan
) -> torch.Tensor:
    """x0_hat, float64 [S, C, H, W]: what ``Local`` does, with another tiling."""
    rows, cols = (axis(machine, length, size) for length in bank.item[1:])
    level = Level(alpha_bar**0.5, 1 - alpha_bar)
    found = fused.run(bank, x, level, rows, cols, skip, choose=chooser(tuple(plan.items())))
    return posterior.whole(found[0], x.shape, found[1]).mean


@cache
def chooser(plan: tuple):
    """The same function for the same plan: what a call prepares is kept by it."""
    return lambda *about: chosen(dict(plan), *about)


def chosen(plan: dict, size: tuple[int, int], channels: int, queries: int, digits: int, planes: int) -> fused.Tiling:
    """The tiling as it is, with what the race changes for blocks of queries (edges are left as they are)."""
    found = fused.tiling(size, channels, queries, digits, planes)
    return replace(found, **plan) if queries > SIDE * 64 or (queries > 64 and found.block_q > 16) else found


def noisy(bank: Bank, seeds: int, alpha_bar: float) -> torch.Tensor:
    g = torch.Generator(DEVICE).manual_seed(1)
    x0 = bank.images[torch.arange(seeds, device=DEVICE) % len(bank)].double() / 127.5 - 1
    noise = torch.randn(x0.shape, dtype=torch.float64, device=DEVICE, generator=g)
    return alpha_bar**0.5 * x0 + (1 - alpha_bar) ** 0.5 * noise


def elapsed(call) -> float:
    """ms of a call, by events on the device."""
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
    events[0].record()
    call()
    events[1].record()
    torch.cuda.synchronize()
    return events[0].elapsed_time(events[1])


def timed(call, most: int = 10) -> tuple[float, float]:
    """Median ms of a call by CUDA events, and the peak of its memory in MiB beyond what was there."""
    for _ in range(2):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        call()
        torch.cuda.synchronize()
        last = time.perf_counter() - begin
    forget()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()  # lays out its keys again
    found = []
    for _ in range(max(3, min(most, int(10 / last))) if last > 1 else most):
        found.append(elapsed(call))
    return statistics.median(found), (torch.cuda.max_memory_allocated() - before) / 2**20


def forget() -> None:
    """Give up the keys of earlier calls; versions before they were kept had none."""
    getattr(fused, "forget", lambda: None)()


def anew(call, most: int = 10) -> float:
    """Median ms of a call that finds no keys laid out, all else as ``timed`` has it."""
    found = []
    for _ in range(most):
        forget()
        torch.cuda.synchronize()
        found.append(elapsed(call))
    return statistics.median(found)


@triton.jit
def _rate(out, EXP: tl.constexpr, ROUNDS: tl.constexpr):
    x = tl.arange(0, 2048).to(tl.float32) * 1e-4 + tl.program_id(0) * 1e-6
    for _ in range(ROUNDS):
        if EXP:
            x = tl.exp2(x)
        else:
            x = x * 0.999 + 0.5
    tl.store(out + tl.program_id(0) * 2048 + tl.arange(0, 2048), x)


class Rates:
    """Of this device, measured: exp2 and float32 operations a second, float16 FLOP/s, bytes/s of reading."""

    def __init__(self):
        programs = torch.cuda.get_device_properties(DEVICE).multi_processor_count * 16
        out = torch.empty(programs * 2048, device=DEVICE)
        rounds = 1024
        ms = [timed(lambda e=e: _rate[(programs,)](out, EXP=e, ROUNDS=rounds))[0] for e in (True, False)]
        self.exp, self.float = (programs * 2048 * rounds / one * 1e3 for one in ms)
        a, b = (torch.randn(8192, 8192, device=DEVICE, dtype=torch.float16) for _ in range(2))
        self.gemm = 2 * 8192**3 / timed(lambda: a @ b)[0] * 1e3
        source = torch.empty(1 << 30, dtype=torch.uint8, device=DEVICE)
        self.bytes = 2 * source.numel() / timed(lambda: source.clone())[0] * 1e3

    def __str__(self) -> str:
        return (
            f"exp2 {self.exp / 1e12:.2f} T/s, float32 {self.float / 1e12:.1f} T FMA/s, "
            f"float16 GEMM {self.gemm / 1e12:.0f} TFLOP/s, copy {self.bytes / 1e12:.2f} TB/s"
        )

    def floors(self, machine: str, size: int, count: int, seeds: int) -> dict[str, float]:
        """In ms."""
        pairs = count * seeds * seen(machine, size)
        found = {
            "exp": pairs / self.exp,
            "gemm": pairs * 4 * CHANNELS * size**2 / self.gemm,
            "box": count * seeds * SIDE**4 * (CHANNELS + 4) / self.float,
            "bytes": count * CHANNELS * SIDE**2 / self.bytes,
        }
        found = {name: 1e3 * value for name, value in found.items()}
        return {**found, "floor": max(found["exp"], min(found["gemm"], found["box"]), found["bytes"])}


def seen(machine: str, size: int) -> int:
    """Pairs of a pixel and a place of a training image that it sees."""
    one = axis(machine, SIDE, size)
    return (len(one.queries) * len(one.keys) + len(one.alone)) ** 2


def check() -> None:
    print("\ncheck: N = 100, 2 seeds; |error| / rms(x0), maximum over 24 pixels; with --skip 0 and 1e-6")
    bank = Bank(images(100)).to(DEVICE)
    worst = 0.0
    for (size, _), machine in itertools.product(TIMES.items(), ("bbels", "els")):
        for t in (0.05, TIMES[size], 0.95):
            alpha_bar = float(cosine(t))
            x = noisy(bank, 2, alpha_bar)
            places = [(r, c) for r in (0, 1, 9, 15, 31) for c in (0, 5, 16, 31)]
            places += [(20, 20), (13, 18), (31, 30), (16, 16)]
            lines = [r for r, _ in places], [c for _, c in places]
            want = definition(bank, machine, size, x, alpha_bar, places)
            errors = []
            for skip in (0.0, 1e-6):
                found = answer(bank, machine, size, x, alpha_bar, skip)[:, :, lines[0], lines[1]]
                errors.append(float((found - want).abs().max() / want.square().mean().sqrt()))
            worst = max(worst, *errors)
            print(f"  {machine:5} P {size:2} t {t:.2f}   {errors[0]:.1e}   {errors[1]:.1e}", flush=True)
    print(f"  worst {worst:.1e}: {'ok' if worst < 1e-4 else 'WRONG'}")


def definition(bank: Bank, machine: str, size: int, x: torch.Tensor, alpha_bar: float, places) -> torch.Tensor:
    """[S, C, places] in float64: every squared difference on its own."""
    reach, circular = size // 2, machine == "els"
    keys = bank.part(0, len(bank), torch.float64, DEVICE)
    ends = [torch.nn.functional.pad(k, (reach,) * 4, mode="circular" if circular else "constant") for k in (keys, x)]
    a, columns = alpha_bar**0.5, []
    for row, col in places:
        mask = torch.zeros(SIDE, SIDE, dtype=torch.bool, device=DEVICE)
        lines = [
            torch.tensor(list(ax.keys) if c in ax.queries else [c], device=DEVICE)
            for c, ax in ((c, axis(machine, SIDE, size)) for c in (row, col))
        ]
        mask[lines[0][:, None], lines[1]] = True
        total = torch.zeros(len(x), len(keys), SIDE, SIDE, dtype=torch.float64, device=DEVICE)
        for dr, dc in itertools.product(range(size), repeat=2):
            key = ends[0][:, :, dr : dr + SIDE, dc : dc + SIDE]
            for c in range(CHANNELS):
                total += (ends[1][:, None, c, row + dr, col + dc, None, None] - a * key[:, c]).square_()
        weights = (total[:, :, mask] / (-2 * (1 - alpha_bar))).flatten(1).softmax(1)
        columns.append(weights @ keys.movedim(1, 3)[:, mask].flatten(0, 1))
    return torch.stack(columns, 2)


def times(bank: Bank, rates: Rates) -> None:
    print(f"\ntimes: N = {len(bank)}; ms, pairs in units of 1e12 a second, memory beyond the bank in MiB")
    print("  machine  P   t  seeds       ms  ms/seed   pairs   memory |   exp   gemm    box  bytes  floor  ms/floor")
    for machine, size, seeds in itertools.product(("bbels", "els"), TIMES, (1, 64)):
        alpha_bar = float(cosine(TIMES[size]))
        x = noisy(bank, seeds, alpha_bar)
        ms, memory = timed(lambda: answer(bank, machine, size, x, alpha_bar))
        floors = rates.floors(machine, size, len(bank), seeds)
        pairs = len(bank) * seeds * seen(machine, size) / ms / 1e9
        told = " ".join(f"{floors[k]:6.2f}" for k in ("exp", "gemm", "box", "bytes", "floor"))
        print(
            f"  {machine:7} {size:2} {TIMES[size]:.1f} {seeds:5} {ms:9.2f} {ms / seeds:8.3f} {pairs:7.2f} "
            f"{memory:8.0f} | {told} {ms / floors['floor']:6.1f}",
            flush=True,
        )
    few = Bank(bank.images[:50])
    print(f"\nsmall bank: N = {len(few)}; ms of one seed, of 64 for each, and their ratio (asked: <= 0.33)")
    for machine, size in itertools.product(("bbels", "els"), TIMES):
        alpha_bar = float(cosine(TIMES[size]))
        one, many = (
            timed(lambda x=noisy(few, s, alpha_bar): answer(few, machine, size, x, alpha_bar))[0] / s for s in (1, 64)
        )
        print(f"  {machine:5} P {size:2}  {one:7.3f}  {many:7.4f}  {many / one:6.3f}", flush=True)


def calls(bank: Bank) -> None:
    """By the public interface alone, so that other versions of the package can be held beside this one."""
    print(
        f"\ncalls: bbels, one seed, N = {len(bank)}; ms of a call like the last, and of one that lays out its keys "
        "anew;\n  of Python until it returns; MiB beyond the bank; on the device: launches, ms with something "
        "running, ms by kernel"
    )
    for size, t in TIMES.items():
        alpha_bar = float(cosine(t))
        machine, x = Local(bank, "bbels", size, device=DEVICE), noisy(bank, 1, alpha_bar)
        again, memory = timed(lambda: machine.posterior(x, alpha_bar))
        first = anew(lambda: machine.posterior(x, alpha_bar))
        machine.posterior(x, alpha_bar)
        begin = time.perf_counter()
        for _ in range(10):
            torch.cuda.synchronize()
            machine.posterior(x, alpha_bar)
        host = (time.perf_counter() - begin) * 100
        for what in ("again", "anew"):
            launches, busy, by = where(machine, x, alpha_bar, what == "anew")
            told = "  ".join(f"{name} {ms:.2f}" for name, ms in sorted(by.items(), key=lambda n: -n[1]))
            ms = again if what == "again" else first
            print(
                f"  P {size:2} {what:5} {ms:6.2f} ms  host {host:5.2f}  {memory:5.0f} MiB  {launches:3.0f} launches  "
                f"busy {busy:5.2f}: {told}",
                flush=True,
            )


def released(bank: Bank, folder: Path) -> None:
    """The paper's released bbels, one seed, beside ours: its loader, its batches of 256, its float32."""
    space = reference(folder)
    images = bank.images.cpu().float() / 127.5 - 1
    data = torch.utils.data.TensorDataset(images, torch.zeros(len(images), 1))
    peer = space["LocalEquivBordersScoreModule"](data, batch_size=256, schedule=space["cosine_noise_schedule"])
    print("\nreleased: ms of the released bbels, of ours, their ratio, and how far the answers are apart over rms(x0)")
    for size, t in TIMES.items():
        alpha_bar = float(cosine(t))
        x = noisy(bank, 1, alpha_bar)
        with torch.no_grad():
            theirs = timed(lambda: peer(torch.full((1,), t), x.float(), device="cuda", k=size), 3)[0]
            score = peer(torch.full((1,), t), x.float(), device="cuda", k=size)
        found = answer(bank, "bbels", size, x, alpha_bar)
        ours = timed(lambda: answer(bank, "bbels", size, x, alpha_bar))[0]
        x0 = (x + (1 - alpha_bar) * score) / alpha_bar**0.5
        off = float((x0 - found).abs().max() / found.square().mean().sqrt())
        print(f"  bbels P {size:2}  {theirs:8.1f}  {ours:7.2f}  {theirs / ours:6.1f}x  {off:.1e}", flush=True)


KERNELS = ("attend", "expand", "centres", "spread", "merge", "down", "across")


def where(machine: Local, x: torch.Tensor, alpha_bar: float, anew: bool) -> tuple[float, float, dict[str, float]]:
    """Of a call: things the device does, ms in which it does any, and ms by kernel (of streams side by side, both)."""
    rounds = 5
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(rounds):
            if anew:
                forget()
            machine.posterior(x, alpha_bar)
        torch.cuda.synchronize()
    by: dict[str, float] = {}
    spans = []
    for event in profile.events():
        if event.device_type != torch.autograd.DeviceType.CUDA or not event.device_time:
            continue
        name = next((k for k in KERNELS if event.name == k or event.name.startswith(k + "_")), "torch")
        by[name] = by.get(name, 0.0) + event.device_time / rounds / 1e3
        spans.append((event.time_range.start, event.time_range.end))
    busy, until = 0.0, float("-inf")
    for begin, end in sorted(spans):
        busy += max(0.0, end - max(begin, until))
        until = max(until, end)
    return len(spans) / rounds, busy / rounds / 1e3, by


def plans(size: int) -> list[dict]:
    """What the race runs, the default first, then what is likeliest."""
    blocks = (64, 128), (128, 128), (64, 64), (128, 64)
    small = [
        dict(block_k=k, block_q=q, warps=q // 16, stages=s, dot=dot, resident=True)
        for dot in (True, False)
        for s in (3, 2)
        for q, k in blocks
    ]
    large = [
        dict(block_q=q, warps=q // 16, block_k=k, step=step, stages=s, strip=strip)
        for s in (3, 4)
        for strip in (True, False)
        for step in (64, 32)
        for q, k in blocks
    ]
    return [{}] + (small if size <= 5 else large) + [dict(waves=w) for w in (4, 8, 32)]


def race(bank: Bank, seconds: float) -> None:
    print(
        f"\nrace: bbels, one seed, N = {len(bank)}; ms, best first, of "
        "(block_q, block_k, step, warps, stages, strip, resident, dot, waves)"
    )
    for size, share in zip(TIMES, (0.4, 0.15, 0.25, 0.2)):
        alpha_bar, table, until = float(cosine(TIMES[size])), [], time.perf_counter() + share * seconds
        x = noisy(bank, 1, alpha_bar)
        left = plans(size)
        while left and time.perf_counter() < until:
            plan = left.pop(0)
            try:
                ms = timed(lambda: answer(bank, "bbels", size, x, alpha_bar, **plan), 5)[0]
            except Exception as error:  # too much shared memory, say: that is a result
                ms = float("inf")
                print(f"  P {size}: {plan}: {type(error).__name__}: {str(error)[:80]}")
            full = astuple(chosen(plan, (size, size), CHANNELS, (SIDE - size + 1) ** 2, 2, 1))
            table.append((ms, full, "" if plan else "default"))
        for ms, plan, mark in sorted(table)[:8] + [row for row in table if row[2]]:
            print(f"  P {size:2} {ms:8.2f}  {plan} {mark}", flush=True)
        print(f"  P {size:2} {len(left)} not run")


def sample(bank: Bank, rates: Rates) -> None:
    steps = len(SIZES)
    levels = grid(steps)[1:]  # t = .95 ... .05, and 1
    left = iter(SIZES[steps - 2 :: -1])

    def denoiser(x: torch.Tensor, alpha_bar: float) -> torch.Tensor:
        size = next(left)
        torch.cuda.synchronize()
        begin = time.perf_counter()
        out = answer(bank, "bbels", size, x, float(alpha_bar))
        torch.cuda.synchronize()
        floor = rates.floors("bbels", size, len(bank), 1)["floor"]
        parts.append(f"{size}: {1e3 * (time.perf_counter() - begin):.0f}/{floor:.0f}")
        return out

    for _ in range(2):  # the second is counted
        parts: list[str] = []
        left = iter(SIZES[steps - 2 :: -1])
        g = torch.Generator(DEVICE).manual_seed(0)
        x = torch.randn(1, CHANNELS, SIDE, SIDE, dtype=torch.float64, device=DEVICE, generator=g)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        begin = time.perf_counter()
        ddim(denoiser, x, levels)
        torch.cuda.synchronize()
        seconds = time.perf_counter() - begin
    print(
        f"\nsample: bbels, N = {len(bank)}, 19 steps, one seed: {seconds:.2f} s, "
        f"{(torch.cuda.max_memory_allocated() - before) / 2**20:.0f} MiB beyond the bank; P: ms/floor"
    )
    print("  " + "  ".join(parts))


def warm(share: int, of: int, wanted: list[str]) -> None:
    """Compile what the tables need, so that the main process finds it in Triton's cache."""
    bank = Bank(images(200)).to(DEVICE)
    for size, t in list(TIMES.items())[share::of]:
        Local(bank, "bbels", size, device=DEVICE).posterior(noisy(bank, 1, float(cosine(t))), float(cosine(t)))
    if wanted == ["calls"]:
        return
    cases = [("bbels", size, 1, i / len(SIZES)) for i, size in enumerate(SIZES[:-1], 1)]
    for machine, size in itertools.product(("bbels", "els"), TIMES):
        cases += [(machine, size, seeds, TIMES[size]) for seeds in (1, 64)]
        cases += [(machine, size, 2, t) for t in (0.05, TIMES[size], 0.95)]
    for machine, size, seeds, t in cases[share::of]:
        answer(bank, machine, size, noisy(bank, seeds, float(cosine(t))), float(cosine(t)))
    for size, t in TIMES.items():
        for plan in plans(size)[1:25][share::of]:
            try:
                answer(bank, "bbels", size, noisy(bank, 1, float(cosine(t))), float(cosine(t)), **plan)
            except Exception:  # the race says what it was
                pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bank")
    parser.add_argument("--only", default="check,calls,times,race,sample")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--warm", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.warm:
        return warm(*options.warm, options.only.split(","))
    begin = time.perf_counter()
    processes = min(12, os.cpu_count() or 1)
    command = [sys.executable, __file__, "--only", options.only, "--warm"]
    started = [subprocess.Popen([*command, str(k), str(processes)]) for k in range(processes)]
    for process in started:
        process.wait(timeout=150)
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, triton {triton.__version__}; "
        f"compiled in {time.perf_counter() - begin:.0f} s by {processes} processes",
        flush=True,
    )
    rates = Rates()
    print(rates)
    wanted = options.only.split(",")
    if "check" in wanted:
        check()
    raw = np.load(options.bank) if options.bank else images(50_000)
    if {"calls", "times", "race"} & set(wanted):
        bank = Bank(raw[:COUNT]).to(DEVICE)
        if "calls" in wanted:
            calls(bank)
        if "times" in wanted:
            times(bank, rates)
        if options.reference:
            released(bank, options.reference)
        if "race" in wanted:
            race(bank, options.seconds)
    if "sample" in wanted:
        sample(Bank(raw[:50_000]).to(DEVICE), rates)
    print(f"\n{time.perf_counter() - begin:.0f} s in all")


if __name__ == "__main__":
    main()
