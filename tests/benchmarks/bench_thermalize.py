"""Thermalizing on a CPU, as ratios to a step of the emulator in the same run: python tests/benchmarks/bench_thermalize.py

    --out DIR [--rounds 40] [--emulator MODEL]

Kuramoto-Sivashinsky of length 22 (examples/dynamics.py), 20,000 stored states of 16 rows, 64 rows, one thread; the
emulator is the `better` grade of examples/thermalize.py, trained here unless DIR has it or --emulator names one. CPU time
of this thread, which neighbours on the machine disturb less than wall time, the calls taking turns: the least and the
median of --rounds, and both over the emulator's.

level      Gaussian.level, what the gate reads; clean-up: the Wiener filter
step       all of Thermalizer.step where nothing is called, with and without the clean-up
recall     `next` of all rows: of stored states alone, and with the symmetries translate and reflect
search     of a recall with symmetries the search for neighbours alone; all: by the distances to all states
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is loaded
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from lemtools.nets.emulator import Emulator  # noqa: E402
from lemtools.nets.model import load  # noqa: E402
from lemtools.thermalize import prepared, states  # noqa: E402

ROWS, STORED = 64, 16
SETS = {"states": (STORED, 1250, 1), "start": (ROWS, 1, 99)}


def given(out: Path, model: Path | None) -> tuple[np.ndarray, np.ndarray, Emulator]:
    """Stored states, states to go on from, and the emulator; what is not there is made."""
    for name, (rows, steps, seed) in SETS.items():
        if not (path := out / f"ks22-{name}.npy").exists():
            words = ["ks22", "--rows", rows, "--steps", steps, "--seed", seed, "-o", path]
            subprocess.run([sys.executable, ROOT / "examples/dynamics.py", *map(str, words)], check=True)
    model = model or out / "emulator.safetensors"
    if not model.exists():
        words = "emulator --kind field --rows 16 --width 16 --depth 2 --steps 800 --lr 2e-3 --seed 0 -q".split()
        code = "from lemtools.cli.train import main; main()"
        line = [sys.executable, "-c", code, *words, "--data", str(out / "ks22-states.npy"), "-o", str(model)]
        subprocess.run(line, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    stored, start = (np.load(out / f"ks22-{name}.npy") for name in SETS)
    return stored, start, Emulator(load(str(model)))


def calls(stored: np.ndarray, start: np.ndarray, emulator: Emulator) -> dict[str, Callable[[], Any]]:
    def made(**how: Any) -> Any:
        return prepared(stored, STORED, **how)

    plain, turned = (made(every=True, symmetry=s) for s in ((), ("translate", "reflect")))
    cleaned, bare = (made(corrector="wiener", threshold=1e3, clean=clean) for clean in (True, False))
    claimed, known = emulator(start), turned.known.states
    x, before = known.encoded(claimed), known.encoded(start)
    level, count = turned.gate.level(x), turned.correct.neighbours + 1
    there = [(chart, known.moved(before[rows], shift)) for rows, chart, shift in known.charts(before, True)]

    def search(few: int) -> None:
        usual, states.FEW = states.FEW, few
        for chart, z in there:
            chart.nearest(z, count)
        states.FEW = usual

    return {
        "emulator": lambda: emulator(start),
        "level": lambda: turned.gate.level(x),
        "clean-up": lambda: turned.gate.cleaned(x, level),
        "step, no call, no clean-up": lambda: bare.step(claimed, start),
        "step, no call": lambda: cleaned.step(claimed, start),
        "recall": lambda: plain.correct(x, before, level, ()),
        "recall, symmetries": lambda: turned.correct(x, before, level, ()),
        "search, symmetries": lambda: search(states.FEW),
        "search, symmetries, all": lambda: search(1 << 60),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--emulator", type=Path)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    timed = calls(*given(asked.out, asked.emulator))
    times: dict[str, list[float]] = {name: [] for name in timed}
    for turn in range(asked.rounds + 2):
        for name, call in timed.items():
            begun = time.thread_time()
            call()
            if turn > 1:  # two to warm up
                times[name].append(1e3 * (time.thread_time() - begun))
    least, middle = min(times["emulator"]), statistics.median(times["emulator"])
    print("call", "least, ms", "median, ms", "least / emulator", "median / emulator", sep="\t")
    for name, values in times.items():
        low, half = min(values), statistics.median(values)
        print(name, f"{low:.2f}", f"{half:.2f}", f"{low / least:.2f}", f"{half / middle:.2f}", sep="\t")


if __name__ == "__main__":
    main()
