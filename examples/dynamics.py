"""Trajectories of chaotic systems: `python dynamics.py SYSTEM --rows R --steps T [--seed S] [--every K] -o FILE`.

ks22, ks64   Kuramoto-Sivashinsky on a ring of length 22 (64 points) or 64 (192 points); a step is time 1
lorenz96     Lorenz-96, 40 variables, forcing 8; a step is time .05
kolmogorov   two-dimensional Kolmogorov flow, Reynolds number 40, vorticity on 64 x 64 points; a step is time .5

FILE (.npy or .safetensors) gets the states float32 [T R, C, ...] of R rows side by side, each from a random start on the
attractor: item t R + r is row r after t steps (of K: t K steps), so the successor of item i is item i + R.

With --filter it is a coprocess: states come in on standard input as documents of a lemtools stream, and for each of them
the states one step later go out at once.

With --measure it writes no file; it prints mean and standard deviation, how far a step goes (rms, in units of the standard
deviation) and how long it takes in ms.

In Python, SYSTEMS[name].start(rows, seed), .step(states, steps) and .residual(previous, claimed) work on float64
[R, C, ...]. A row's bits do not depend on how many rows there are; of kolmogorov only as long as it keeps its place on a
CPU, and else to rounding, 1e-14 a step.
"""

import argparse
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import IO

import numpy as np

from equations import Kolmogorov, KuramotoSivashinsky, Lorenz96, System
from lemtools import stream
from lemtools.media import Target, save
from lemtools.signal import LemError, Signal

# std: from `python dynamics.py NAME --measure --rows 64 --steps 1000 --seed 1`, of kolmogorov --rows 16 --steps 500
SYSTEMS: dict[str, System] = {
    each.name: each
    for each in (
        KuramotoSivashinsky("ks22", (1, 64), time=1, dt=0.05, spin=200, std=1.185, length=22),
        KuramotoSivashinsky("ks64", (1, 192), time=1, dt=0.05, spin=200, std=1.309, length=64),
        Lorenz96("lorenz96", (1, 40), time=0.05, dt=0.01, spin=400, std=3.638),
        Kolmogorov("kolmogorov", (1, 64, 64), time=0.5, dt=0.05, spin=200, std=2.14),
    )
}


def rollout(system: System, rows: int, steps: int, seed: int = 0, every: int = 1) -> Iterator[np.ndarray]:
    """The states float64 [rows, C, ...] at `steps` times, `every` steps of an emulator apart."""
    states = system.start(rows, seed)
    for t in range(steps):
        if t:
            states = system.step(states, every)
        yield states


def numbered(batches: Iterable[np.ndarray]) -> Iterator[Signal]:
    """Batches as they are written: float32, items numbered through."""
    for t, states in enumerate(batches):
        yield Signal("field", states.astype(np.float32), index=np.arange(len(states)) + t * len(states))


def successors(system: System, source: IO[bytes]) -> Iterator[Signal]:
    """For each document of a stream the one of the same rows a step later; nothing of the next one is waited for."""
    for states in stream.read(stream.Source(source, "standard input")):
        if states.ops:
            raise LemError(
                "standard input: fragments; the solver steps whole states (lem-reconstruct makes them whole)"
            )
        after = system.step(states.data.astype(np.float64)).astype(np.float32)
        yield replace(states, data=after, index=states.index + len(states))


def measure(system: System, rows: int, steps: int, seed: int) -> Iterator[str]:
    """Lines NAME<TAB>VALUE, see the top of this file."""
    states, sums, begun = system.start(rows, seed), [], time.perf_counter()
    for _ in range(steps):
        before, states = states, system.step(states)
        sums.append([states.mean(), (states**2).mean(), ((states - before) ** 2).mean()])
    mean, square, moved = np.mean(sums, 0)
    std = (square - mean**2) ** 0.5
    taken = (time.perf_counter() - begun) / steps
    for name, value in (("mean", mean), ("std", std), ("step", moved**0.5 / std), ("ms", 1000 * taken)):
        yield f"{name}\t{value:.4g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    count = lambda text: max(1, int(text))
    parser.add_argument("system", choices=SYSTEMS)
    parser.add_argument("--rows", type=count, default=64, help="initial conditions, side by side (64)")
    parser.add_argument("--steps", type=count, default=100, help="states of each row (100)")
    parser.add_argument("--seed", type=int, default=0, help="of the initial conditions (0)")
    parser.add_argument("--every", type=count, default=1, help="steps from one state to the next (1)")
    parser.add_argument("--device", default="cpu", help="of kolmogorov (cpu)")
    for name in ("--filter", "--measure"):
        parser.add_argument(name, action="store_true", help="see above")
    parser.add_argument("-o", dest="out", metavar="FILE")
    given = parser.parse_args()
    system = SYSTEMS[given.system]
    if isinstance(system, Kolmogorov):
        system = replace(system, device=given.device)
    if given.measure:
        for line in measure(system, given.rows, given.steps, given.seed):
            print(line, flush=True)
        return
    if given.filter:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # whoever read the answers has ended, and so does this
        with open(0, "rb", buffering=0, closefd=False) as source, open(1, "wb", buffering=0, closefd=False) as target:
            stream.write(successors(system, source), target)
        return
    if given.out is None or not given.out.endswith((".npy", ".safetensors")):
        parser.error("-o FILE.npy or -o FILE.safetensors says where the states go")
    save(numbered(rollout(system, given.rows, given.steps, given.seed, given.every)), Target(given.out))


if __name__ == "__main__":
    try:
        main()
    except (LemError, OSError) as error:
        print(f"dynamics.py: error: {error}", file=sys.stderr)
        sys.exit(2)
