"""Do memories scale beyond a small attractor? `python thermalize_scale.py OUT [--rows R] [--steps N] [--stored N ...]`.

No emulator and no training: `next` (whole stored states) and `local` (patches of them) step alone, from states of trajectories
that nothing is stored of. For Kuramoto-Sivashinsky of length 22 and 64 and Lorenz-96 of 40 variables, by the number of stored
states, of which the last tenth is held out; all of 16 trajectories.

one, rms, median   residual of the first step, and over rows and steps (every 10th): claimed against solved from the claimed
                   state before, in units of the std
alive              rows at the end that are finite and of an rms below 3 times the largest stored
ms, made           a step of all rows; seconds until the first

Lines go to OUT/scale.jsonl as they come, and what is there is not made again; the last line printed is the verdict.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from dynamics import SYSTEMS
from thermalize_jobs import STORED, SYMMETRY

COUNTS = (2500, 5000, 10_000, 20_000)  # stored states
WAYS = ("local", "next")
GOOD = 0.007  # residual up to which a memory is said to know the dynamics
EVERY, LARGE = 10, 3.0
KEYS = ("system", "way", "stored", "rows", "steps")


def data(out: Path, system: str, name: str) -> np.ndarray:
    path = out / f"{system}-{name}.npy"
    if not path.exists():
        rows, steps, seed = {"states": (STORED["rows"], STORED["steps"], 1), "start": (64, 1, 99)}[name]
        words = [system, "--rows", rows, "--steps", steps, "--seed", seed, "-o", path]
        subprocess.run([sys.executable, Path(__file__).parent / "dynamics.py", *map(str, words)], check=True)
    return np.load(path)


def measured(out: Path, system: str, way: str, stored: int, rows: int, steps: int) -> dict[str, Any]:
    """One rollout."""
    from lemtools.thermalize import prepared, rollout

    solver, side = SYSTEMS[system], STORED["rows"]
    kept, previous = data(out, system, "states")[: stored // side * side], data(out, system, "start")[:rows]
    begun = time.perf_counter()
    how = {"every": True, "clean": False, "threshold": 1.0}  # (every step, whatever its level)
    thermalizer = prepared(kept, side, corrector=way, symmetry=SYMMETRY.get(system, ()), **how)  # type: ignore[arg-type]
    made, spent, residuals = time.perf_counter() - begun, 0.0, []
    begun = time.perf_counter()
    for t, done in enumerate(rollout(lambda x: x, previous, steps, thermalizer)):
        spent += time.perf_counter() - begun
        if t % EVERY == 0:
            with np.errstate(all="ignore"):
                residuals.append(solver.residual(previous.astype(np.float64), done.state.astype(np.float64)))
        previous, begun = done.state, time.perf_counter()
    size = lambda x: np.sqrt(np.square(x.reshape(len(x), -1)).mean(1))
    with np.errstate(all="ignore"):
        alive = size(previous) < LARGE * size(kept).max()
    rms = lambda x: float(np.sqrt(np.mean(np.square(x))))
    found = {"one": rms(residuals[0]), "rms": rms(residuals), "median": float(np.median(residuals))}
    return found | {"alive": int(alive.sum()), "ms": 1e3 * spent / steps, "made": made, **chosen(thermalizer.correct)}


def chosen(corrector: Any) -> dict[str, Any]:
    """What it chose on held-out states."""
    patch = {"patch": corrector.memory.size} if hasattr(corrector, "memory") else {}
    return patch | {"neighbours": corrector.neighbours, "ridge": corrector.ridge}


def verdict(lines: list[dict[str, Any]]) -> str:
    """Of lines of as many rows and steps: by the most stored states of both lengths."""
    found = {(line["system"], line["way"]): line for line in sorted(lines, key=lambda line: line["stored"])}
    small, whole, local = (found.get(key) for key in (("ks22", "next"), ("ks64", "next"), ("ks64", "local")))
    if small is None or whole is None or local is None:
        return "no verdict: it takes next at ks22, and next and local at ks64"
    word = {(True, True): "scale", (False, True): "scale by patches alone", (True, False): "scale as a whole alone"}
    verdict = word.get((whole["rms"] <= GOOD, local["rms"] <= GOOD), "do not scale")
    return (
        f"memories {verdict}: residual {whole['rms']:.4f} at L = 64 by whole states, {local['rms']:.4f} by patches, against "
        f"{small['rms']:.4f} at L = 22, in units of the std ({local['stored']} stored states, {local['steps']} steps, "
        f"good up to {GOOD:g})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=64, help="side by side, at most 64 (64)")
    parser.add_argument("--steps", type=int, default=1000, help="of a rollout (1000)")
    parser.add_argument("--stored", type=int, nargs="+", default=COUNTS, help="states (2500 5000 10000 20000)")
    parser.add_argument("--systems", nargs="+", default=["ks22", "ks64", "lorenz96"], choices=SYSTEMS)
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "scale.jsonl"
    known = [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []
    for system in given.systems:
        for way in given.ways:
            for stored in given.stored:
                job = dict(zip(KEYS, (system, way, stored, given.rows, given.steps)))
                if any(job.items() <= line.items() for line in known):
                    continue
                known.append(job | measured(given.out, **job))
                with open(path, "a") as file:
                    file.write(json.dumps(known[-1]) + "\n")
                print(
                    *(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in known[-1].items()), flush=True
                )
    print(verdict([line for line in known if (line["rows"], line["steps"]) == (given.rows, given.steps)]))


if __name__ == "__main__":
    main()
