"""Thermalizing on a GPU: a step as one CUDA graph beside the time of its kernels, and a long rollout.

    python tests/benchmarks/bench_thermalize_gpu.py --out DIR [--device cuda] [--steps 100000] [--seconds 90]

Kuramoto-Sivashinsky of length 22 (examples/dynamics.py), 20,000 stored states of 16 rows, symmetries translate and
reflect, the `better` emulator of examples/thermalize.py, trained here unless DIR has it, 64 rows, `next` at every step and
the Wiener filter behind it.

agree    the device beside the CPU over 20 steps from true states, and the graph beside the same calls one by one: the
         largest difference, in units of the std
times    by CUDA events, the median of 5 runs of 200 steps: a step as a graph, and call by call; its kernels, their
         number and their time, from torch's profiler over 50 steps; the ratio of the two. Beside it what cannot be less:
         the charts read once, and the distances written and read once, at the measured bandwidth of a copy; and each part
         by itself, call by call.
command  2,000 steps as lem-thermalize takes them, logs on the host
rollout  --steps steps, or as many as --seconds are for: alive, residual, band, all, W1 of the last 1,000 steps, each 10th,
         at 1,000, 10,000, 20,000, ... steps

DIR/bench_thermalize_gpu.json has all of it, written anew after every part; a part that fails has its error there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

import numpy as np  # noqa: E402
import torch  # noqa: E402

ROWS, STORED = 64, 16
SETS = {"states": (STORED, 1250, 1, 1), "start": (ROWS, 1, 99, 1), "true": (ROWS, 100, 7, 10)}


class Bench:
    def __init__(self, out: Path, device: str, steps: int, seconds: float):
        self.out, self.device, self.steps, self.seconds = out, device, steps, seconds
        self.cuda = device.startswith("cuda")
        name = torch.cuda.get_device_name() if self.cuda else "CPU"
        self.found: dict[str, Any] = {"device": name, "torch": torch.__version__, "rows": ROWS}

    def part(self, call: Callable[[], Any]) -> None:
        """One part, and the file with all that there is so far."""
        name, begun = call.__name__, time.perf_counter()
        try:
            self.found[name] = call()
        except Exception as error:
            traceback.print_exc()
            self.found[name] = {"error": f"{type(error).__name__}: {error}"[:2000]}
        self.found.setdefault("seconds", {})[name] = round(time.perf_counter() - begun, 2)
        print(name, json.dumps(self.found[name]), flush=True)
        self.save()

    def save(self) -> None:
        (self.out / "bench_thermalize_gpu.json").write_text(json.dumps(self.found, indent=1) + "\n")

    # --- what there is

    def data(self) -> dict[str, Any]:
        for name, (rows, steps, seed, every) in SETS.items():
            path = self.out / f"ks22-{name}.npy"
            if not path.exists():
                words = ["ks22", "--rows", rows, "--steps", steps, "--seed", seed, "--every", every, "-o", path]
                subprocess.run([sys.executable, ROOT / "examples/dynamics.py", *map(str, words)], check=True)
        self.stored, self.start, self.true = (np.load(self.out / f"ks22-{name}.npy") for name in SETS)
        return {name: list(np.load(self.out / f"ks22-{name}.npy", mmap_mode="r").shape) for name in SETS}

    def emulator(self) -> dict[str, Any]:
        from lemtools.nets.emulator import Emulator
        from lemtools.nets.model import load

        path = self.out / "emulator.safetensors"
        if not path.exists():
            words = "emulator --kind field --rows 16 --width 16 --depth 2 --steps 800 --lr 2e-3 --seed 0 -q".split()
            code = "from lemtools.cli.train import main; main()"
            line = [sys.executable, "-c", code, *words, "--data", str(self.out / "ks22-states.npy"), "-o", str(path)]
            env = os.environ | {"PYTHONPATH": str(ROOT)}
            subprocess.run(line, check=True, env=env, stdout=subprocess.DEVNULL)
        self.step, self.slow = Emulator(load(str(path), self.device)), Emulator(load(str(path)))
        return {"parameters": sum(p.numel() for p in self.step.net.parameters())}

    def prepared(self) -> dict[str, Any]:
        from lemtools.thermalize import prepared

        how: dict[str, Any] = {"symmetry": ("translate", "reflect"), "every": True}
        begun = time.perf_counter()
        self.made = prepared(self.stored, STORED, device=self.device, **how)
        self.wait()
        took, chosen = time.perf_counter() - begun, self.made.correct
        self.how = {**how, "neighbours": chosen.neighbours, "ridge": chosen.ridge}
        charts = {f"{mode}": [len(c), *c.axes.shape] for (mode, _), c in self.made.known.states._charts.items()}
        return {"seconds": took, "neighbours": chosen.neighbours, "ridge": chosen.ridge, "charts": charts}

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    def loop(self, capture: bool) -> Any:
        from lemtools.thermalize.on_device import Loop

        self.made.reset()
        made = Loop(self.step, torch.from_numpy(self.start).to(self.device), self.made)
        if capture:
            made.capture()
        return made

    # --- what is measured

    def agree(self) -> dict[str, float]:
        from lemtools.thermalize import prepared

        here = prepared(self.stored, STORED, **self.how)
        std, far, levels = float(self.stored.std()), 0.0, 0.0
        true = self.true.reshape(-1, ROWS, *self.true.shape[1:])[:20]
        for before in true:
            claimed = self.slow(before) + np.float32(0.01) * before[::-1]
            there = self.made.step(*(torch.from_numpy(v.copy()).to(self.device) for v in (claimed, before)))
            mine = here.step(claimed, before)
            far = max(far, float(np.abs(there.state.cpu().numpy() - mine.state).max()) / std)
            levels = max(levels, float(np.abs(there.level.cpu().numpy() - mine.level).max()))
        found = {"device and CPU": far, "levels": levels}
        if self.cuda:
            one, other = self.loop(False), self.loop(True)
            pairs = [(one.step().state, other.step().state) for _ in range(20)]
            found["graph and calls"] = max(float((a - b).abs().max()) for a, b in pairs) / std
            found["bitwise"] = float(all(torch.equal(a, b) for a, b in pairs))
        return found

    def timed(self, call: Callable[[], Any], count: int = 200, runs: int = 5) -> float:
        """ms of a call: the median of runs."""
        for _ in range(10):
            call()
        self.wait()
        found = []
        for _ in range(runs):
            if not self.cuda:
                begun = time.perf_counter()
                for _ in range(count):
                    call()
                found.append(1e3 * (time.perf_counter() - begun) / count)
                continue
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            for _ in range(count):
                call()
            end.record()
            end.synchronize()
            found.append(begin.elapsed_time(end) / count)
        return statistics.median(found)

    def times(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        eager = self.loop(False)
        few = 200 if self.cuda else 5
        found["call by call, ms"] = self.timed(eager.step, min(few, 100), 3)
        made, states = self.made, self.made.known.states
        before = torch.from_numpy(self.start).to(self.device)
        x = states.encoded(before)
        level = made.gate.level(x)
        for name, call in {
            "emulator": lambda: self.step(before),
            "level": lambda: made.gate.level(x),
            "recall": lambda: made.correct(x, x, level, ()),
            "clean-up": lambda: made.gate.cleaned(x, level),
        }.items():
            with torch.no_grad():
                found[f"{name}, call by call, ms"] = self.timed(call, min(few, 100), 3)
        numbers = sum(len(c) * (c.axes.shape[1] + 2 * ROWS) for c in states._charts.values())
        whole = torch.zeros(1 << 26, device=self.device)
        copy = torch.empty_like(whole)
        rate = 2 * whole.nbytes / self.timed(lambda: copy.copy_(whole), 20 if self.cuda else 2, 3) / 1e6  # GB/s
        found["bandwidth of a copy, GB/s"] = rate
        found["charts read, distances written and read, ms"] = 4 * numbers / rate / 1e6
        self.found["times"] = found
        self.save()
        if not self.cuda:
            return found
        loop = self.loop(True)
        found["graph, ms"] = self.timed(loop.graph.replay)
        self.save()
        found["kernels, ms"], found["kernels"] = self.kernels(loop.graph.replay)
        found["graph / kernels"] = found["graph, ms"] / found["kernels, ms"]
        found["call by call, kernels, ms"], _ = self.kernels(eager.step)
        return found

    def kernels(self, call: Callable[[], Any], count: int = 50) -> tuple[float, float]:
        """Time, ms, and number of the kernels of a call."""
        from torch.profiler import ProfilerActivity, profile

        call()
        self.wait()
        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            for _ in range(count):
                call()
            self.wait()
        device = [e for e in seen.events() if e.device_type == torch.autograd.DeviceType.CUDA]
        table: dict[str, list[float]] = {}
        for e in device:
            table.setdefault(e.name[:90], []).append(e.device_time)
        most = sorted(table.items(), key=lambda kv: -sum(kv[1]))[:25]
        self.found.setdefault("kernels of a step, us and number", {})[getattr(call, "__name__", "call")] = {
            name: [sum(times) / count, len(times) / count] for name, times in most
        }
        return sum(e.device_time for e in device) / 1e3 / count, len(device) / count

    def command(self) -> dict[str, float]:
        from lemtools.thermalize.driver import driven, line

        steps = 2000 if self.cuda else 20
        self.made.reset()
        begun = time.perf_counter()
        start = torch.from_numpy(self.start).to(self.device)
        size = sum(
            len(json.dumps(line(t, s))) for t, (_, s) in enumerate(driven(self.step, start, steps, self.made), 1)
        )
        return {"ms a step": 1e3 * (time.perf_counter() - begun) / steps, "bytes of log": size}

    def rollout(self) -> list[dict[str, Any]]:
        os.environ["SYSTEM"] = "ks22"
        from dynamics import SYSTEMS
        from thermalize import judged

        system = SYSTEMS["ks22"]
        found: list[dict[str, Any]] = []
        try:
            loop = self.loop(self.cuda)
        except RuntimeError as error:
            found.append({"error": f"no graph: {error}"[:500]})
            loop = self.loop(False)
        marks = {t for t in (100, 1000, *range(10_000, self.steps, 10_000), self.steps) if t <= self.steps}
        kept: list[tuple[np.ndarray, np.ndarray]] = []
        begun, last = time.perf_counter(), 0.0
        advance = loop.graph.replay if loop.graph else loop.step
        for t in range(1, self.steps + 1):
            near = any(0 <= mark - t < 1000 for mark in marks) and t % 10 == 0
            before = loop.previous.cpu().numpy() if near else None
            advance()
            if near:
                kept.append((before, loop.previous.cpu().numpy()))
            late = time.perf_counter() - begun > self.seconds
            if t in marks or late:
                self.wait()
                spent = time.perf_counter() - begun
                if kept:
                    residuals = np.array([system.residual(*(v.astype(np.float64) for v in pair)) for pair in kept])
                    some = judged(self.true, np.concatenate([after for _, after in kept]), residuals)
                    line = {k: float(np.mean(v)) for k, v in some.items()}
                else:
                    line = {"finite": float(loop.alive.double().mean())}
                found.append({"steps": t, **line, "ms a step": 1e3 * (spent - last) / t})
                print(json.dumps(found[-1]), flush=True)
                self.found["rollout"] = found
                self.save()
                kept = []
                last += time.perf_counter() - begun - spent  # (judging is not stepping)
            if late:
                break
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=90)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(given.out, given.device, given.steps, given.seconds)
    for part in (bench.data, bench.emulator, bench.prepared, bench.agree, bench.times, bench.command, bench.rollout):
        bench.part(part)


if __name__ == "__main__":
    main()
