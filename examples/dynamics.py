"""Trajectories of chaotic systems: `python dynamics.py SYSTEM --rows R --steps T [--seed S] [--every K] -o FILE`.

ks22, ks64   Kuramoto-Sivashinsky on a ring of length 22 (64 points) or 64 (192 points); a step is time 1
lorenz96     Lorenz-96, 40 variables, forcing 8; a step is time .05
kolmogorov   two-dimensional Kolmogorov flow, Reynolds number 40, vorticity on 64 x 64 points; a step is time .5

FILE (.npy or .safetensors) gets the states float32 [T R, C, ...] of R rows side by side, each from a random start on the
attractor: item t R + r is row r after t steps (of K: t K steps), so the successor of item i is item i + R.

With --measure it writes no file; it prints mean, standard deviation, how
far a step goes (rms, in units of the standard deviation) and the time that a step takes.

In Python, SYSTEMS[name].start(rows, seed), .step(states, steps) and .residual(previous, claimed) work on float64
[R, C, ...]. A row's bits do not depend on how many rows there are; of kolmogorov only as long as it keeps its place on a
CPU, and else to rounding, 1e-14 a step.
"""

import argparse
import io
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from equations import Kolmogorov, KuramotoSivashinsky, Lorenz96, System
from lemtools.signal import LemError
from lemtools.stream import save_tensors, whole_file, write_all

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


def write(path: str, states: np.ndarray) -> None:
    """A .npy or .safetensors file of the states, whole or not at all."""
    if path.endswith(".safetensors"):
        save_tensors(path, {"states": states}, {})
        return
    body = io.BytesIO()
    np.lib.format.write_array_header_1_0(body, np.lib.format.header_data_from_array_1_0(states))
    with whole_file(path) as file:
        write_all(file, [body.getvalue(), states.reshape(-1).view(np.uint8).data])


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
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("-o", dest="out", metavar="FILE")
    given = parser.parse_args()
    system = SYSTEMS[given.system]
    if isinstance(system, Kolmogorov):
        system = replace(system, device=given.device)
    if given.measure:
        for line in measure(system, given.rows, given.steps, given.seed):
            print(line, flush=True)
        return
    if given.out is None or not given.out.endswith((".npy", ".safetensors")):
        parser.error("-o FILE.npy or -o FILE.safetensors says where the states go")
    states = np.empty((given.steps, given.rows, *system.shape), np.float32)
    for t, at in enumerate(rollout(system, given.rows, given.steps, given.seed, given.every)):
        states[t] = at
    write(given.out, states.reshape(-1, *system.shape))


if __name__ == "__main__":
    try:
        main()
    except (LemError, OSError) as error:
        print(f"dynamics.py: error: {error}", file=sys.stderr)
        sys.exit(2)
