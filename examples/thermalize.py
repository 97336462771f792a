"""Rollouts with and without a corrector, the stages of thermalize.sh: `python thermalize.py STAGE OUT`.

An emulator of each grade and seed is fed its own output from ROWS states of trajectories that nothing was learned from.
Every row of the table is one way of keeping it on the manifold; all see the same stored states, 20,000 of 16 trajectories.

alive       share of rows that are finite and of an rms below 3 times the largest, at the end, with a Wilson interval
residual    of a step, claimed against solved from the claimed state before: rms, median and 99 % over rows and steps, in
            units of the std; of the rows alive, dead ones counted by `alive` alone
band, all   mean |log10| of the ratio of the spectra, modes 1 to 7 and all modes, against another true rollout
W1          of the values, in units of the std
calls       of the corrector a row and step
ms          a step of all rows, the emulator's included

The row `truth` is a third true rollout: what chance leaves. `e`: the emulator's error of one step on held-out states.

Environment: SYSTEM (ks22), SEEDS (0 1 2), STEPS (10000), ROWS (64), EVERY (10: the states that are judged).
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

SYSTEM = os.environ.get("SYSTEM", "ks22")
SEEDS = [int(s) for s in os.environ.get("SEEDS", "0 1 2").split()]
STEPS, ROWS, EVERY = (int(os.environ.get(k, v)) for k, v in (("STEPS", 10_000), ("ROWS", 64), ("EVERY", 10)))
STORED = {"rows": 16, "steps": 1250}
GRADES = {
    "weak": "--width 8 --depth 1 --steps 400 --lr 2e-3",
    "better": "--width 16 --depth 2 --steps 800 --lr 2e-3",
    "noise-injected": "--width 16 --depth 2 --steps 800 --lr 2e-3 --noise-injection .02",
    "pushforward": "--width 16 --depth 2 --steps 800 --lr 2e-3 --pushforward 2",
}
SYMMETRY = {"ks22": ("translate", "reflect"), "ks64": ("translate", "reflect"), "lorenz96": ("translate",)}
# what is done after each step: options of thermalize.prepared; None: nothing
WAYS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "clip": {"corrector": "clip", "every": True, "clean": False},
    "snap, every 10th": {"corrector": "snap", "every": True, "clean": False, "budget": 0.1},
    "wiener": {"corrector": "wiener", "every": True, "clean": False},
    "memory": {"corrector": "memory", "every": True},
    "next, every 10th": {"corrector": "next", "every": True, "budget": 0.1},
    "next, every 4th": {"corrector": "next", "every": True, "budget": 0.25},
    "next, level > .01": {"corrector": "next", "threshold": 0.01, "clean": False},
    "next": {"corrector": "next", "every": True},
}
CONTROLS = ("noise-injected", "pushforward")  # emulators that are compared as they are, and corrected by one way
SOLE = "next, no emulator"


def data(out: Path) -> None:
    """OUT/SYSTEM-{states,start,true,truth}.npy: what is stored, where rollouts begin, two sets of true states."""
    wanted = {
        "states": (STORED["rows"], STORED["steps"], 1, 1),
        "start": (ROWS, 1, 99, 1),
        "true": (ROWS, max(STEPS // EVERY, 2), 7, EVERY),
        "truth": (ROWS, max(STEPS // EVERY, 2), 8, EVERY),
    }
    for name, (rows, steps, seed, every) in wanted.items():
        path = out / f"{SYSTEM}-{name}.npy"
        if not path.exists():
            words = [SYSTEM, "--rows", rows, "--steps", steps, "--seed", seed, "--every", every, "-o", path]
            subprocess.run([sys.executable, Path(__file__).parent / "dynamics.py", *map(str, words)], check=True)


def train(out: Path) -> None:
    """OUT/SYSTEM-GRADE-SEED.safetensors: the emulators."""
    for grade, words in GRADES.items():
        for seed in SEEDS:
            model = out / f"{SYSTEM}-{grade}-{seed}.safetensors"
            if not model.exists():
                given = [
                    "--data",
                    out / f"{SYSTEM}-states.npy",
                    "--kind",
                    "field",
                    "--rows",
                    STORED["rows"],
                    *words.split(),
                ]
                end = ["--seed", seed, "-q", "--log-file", model.with_suffix(".jsonl"), "-o", model]
                subprocess.run(["lem-train", "emulator", *map(str, given), *map(str, end)], check=True)


def one_step(model: Path) -> float:
    """The emulator's error on held-out states, in units of the std."""
    return float(json.loads(model.with_suffix(".jsonl").read_text().splitlines()[-1])["held_out_one_step"])


def states(out: Path, name: str) -> np.ndarray:
    return np.load(out / f"{SYSTEM}-{name}.npy")


def emulator(model: Path | None) -> Any:
    """What steps; without a model it stands still, so that the corrector alone goes on."""
    if model is None:
        return lambda x: x
    from lemtools.nets.emulator import Emulator
    from lemtools.nets.model import load

    return Emulator(load(str(model)))


def measured(out: Path, step: Any, thermalizer: Any) -> dict[str, float]:
    """One rollout from start: the columns of the table."""
    from dynamics import SYSTEMS
    from lemtools.thermalize import rollout

    system, start = SYSTEMS[SYSTEM], states(out, "start")
    kept, residuals, calls, spent = [], [], 0, 0.0
    previous, begun = start, time.perf_counter()
    for t, done in enumerate(rollout(step, start, STEPS, thermalizer), 1):
        calls += int(done.calls.sum())
        if t % EVERY == 0:
            spent += time.perf_counter() - begun
            kept.append(done.state)
            residuals.append(system.residual(previous.astype(np.float64), done.state.astype(np.float64)))
            begun = time.perf_counter()
        previous = done.state
    found = judged(states(out, "true"), np.concatenate(kept), np.array(residuals))
    return found | {"calls": calls / STEPS / len(start), "ms": 1e3 * spent / STEPS}


def judged(true: np.ndarray, got: np.ndarray, residuals: np.ndarray) -> dict[str, Any]:
    """true, got: [T R, C, ...]; residuals: [T, R]. alive: of each row."""
    from lemtools.compare.states import log_spectrum, log_spectrum_low, survival, w1

    rows = residuals.shape[1]
    found: dict[str, Any] = {"alive": survival(true[-rows:], got[-rows:])}
    left = residuals[:, found["alive"] > 0]
    if left.size:
        found["rms"], found["median"] = float(np.sqrt(np.square(left).mean())), float(np.median(left))
        found["99 %"] = float(np.quantile(left, 0.99))
    if found["alive"].all():  # a spectrum of rows that died says nothing
        few = min(len(true), len(got))
        for name, metric in (("band", log_spectrum_low), ("all", log_spectrum), ("W1", w1)):
            found[name] = float(metric(true[:few], got[:few]).value)
    return found


def table(out: Path) -> None:
    """OUT/SYSTEM-table.tsv, and printed: every way at every emulator, the mean over seeds and their standard deviation."""
    from lemtools.thermalize import prepared

    stored, rows = states(out, "states"), STORED["rows"]
    ways = {
        name: None if how is None else prepared(stored, rows, symmetry=SYMMETRY.get(SYSTEM, ()), **how)
        for name, how in {**WAYS, SOLE: {**WAYS["next"], "clean": False}}.items()
    }
    columns = ("rms", "median", "99 %", "band", "all", "W1", "calls", "ms")
    with open(out / f"{SYSTEM}-table.tsv", "w") as file:

        def put(*cells: str) -> None:
            print(*cells, sep="\t", flush=True)
            print(*cells, sep="\t", file=file, flush=True)

        put("emulator", "way", "alive", *columns)
        truth = states(out, "truth")
        put("truth", "", *cells([judged(states(out, "true"), truth, np.zeros((len(truth) // ROWS, ROWS)))], columns))
        for grade in [None, *GRADES]:
            models = [None] if grade is None else [out / f"{SYSTEM}-{grade}-{seed}.safetensors" for seed in SEEDS]
            title = "no emulator" if grade is None else f"{grade}, e = {spread([one_step(m) for m in models])}"
            for name, thermalizer in ways.items():
                if (grade is None) != (name == SOLE) or (
                    grade in CONTROLS and name not in ("none", "next, level > .01")
                ):
                    continue
                found = []
                for model in models:
                    if thermalizer is not None:
                        thermalizer.reset()
                    found.append(measured(out, emulator(model), thermalizer))
                put(title, name, *cells(found, columns))


def cells(found: list[dict[str, Any]], columns: tuple[str, ...]) -> list[str]:
    from lemtools.compare.summary import share_interval

    mean, low, high = share_interval(np.concatenate([run["alive"] for run in found]))
    alive = f"{mean:.3g}" if low is None else f"{mean:.3g} [{low:.3g}, {high:.3g}]"
    return [
        alive,
        *(spread([run[c] for run in found if c in run]) if any(c in run for run in found) else "-" for c in columns),
    ]


def spread(values: list[float]) -> str:
    text = f"{np.mean(values):.3g}"
    return text if len(values) == 1 else f"{text} +- {np.std(values, ddof=1):.2g}"


def picture(out: Path) -> None:
    """OUT/SYSTEM.png: a row of the weak emulator in time, uncorrected, by wiener and by next, beside the truth."""
    from PIL import Image

    from dynamics import SYSTEMS
    from lemtools.thermalize import prepared, rollout

    stored, start, steps = states(out, "states"), states(out, "start")[:1], 300
    step, found = emulator(out / f"{SYSTEM}-weak-{SEEDS[0]}.safetensors"), []
    true = [start[0, 0]]
    for _ in range(steps - 1):
        true.append(SYSTEMS[SYSTEM].step(true[-1][None, None].astype(np.float64))[0, 0])
    found.append(np.array(true))
    for name in ("none", "wiener", "next"):
        how = WAYS[name]
        made = None if how is None else prepared(stored, STORED["rows"], symmetry=SYMMETRY.get(SYSTEM, ()), **how)
        with np.errstate(all="ignore"):
            found.append(np.array([done.state[0, 0] for done in rollout(step, start, steps, made)]))
    limit = 3 * stored.std()
    strips = []
    for states_TL in found:
        shade = np.nan_to_num(np.clip(states_TL.T / limit, -1, 1), nan=1.0)
        colours = np.stack([np.clip(1 + shade, 0, 1), 1 - np.abs(shade), np.clip(1 - shade, 0, 1)], -1)
        strips += [np.rint(255 * colours).astype(np.uint8), np.full((6, steps, 3), 255, np.uint8)]
    image = Image.fromarray(np.concatenate(strips[:-1]))
    image.resize((2 * image.width, 2 * image.height), Image.NEAREST).save(out / f"{SYSTEM}.png")


if __name__ == "__main__":
    stages = {"data": data, "train": train, "table": table, "picture": picture}
    where = Path(sys.argv[2])
    where.mkdir(parents=True, exist_ok=True)
    stages[sys.argv[1]](where)
