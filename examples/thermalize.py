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

Stages: data, train (emulators), rounds (correctors that learn the errors of each, see thermalize_train.py), networks
(denoisers), controls (emulators with what the correctors got), table, picture. The rollouts of the table are jobs that can
be cut and begun again, see thermalize_jobs.py; `show` prints the table of those that there are.

Environment: SYSTEM (ks22), SEEDS (0 1 2), STEPS (10000), ROWS (64), EVERY (10: the states that are judged), JOBS (a core
each), ONLY (words: jobs with one of them in their names alone).
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import thermalize_train as training
from thermalize_jobs import (
    ALONE,
    BLIND,
    EVERY,
    QUICK,
    ROWS,
    SEEDS,
    STEPS,
    STORED,
    SYMMETRY,
    SYSTEM,
    WAYS,
    Job,
    emulator,
    finished,
    judged,
    model_of,
    models,
    run,
    spread_out,
    states,
    thermalizer,
)

GRADES = {
    "weak": {"width": 8, "depth": 1, "steps": 400},
    "better": {"width": 16, "depth": 2, "steps": 800},
    "noise-injected": {"width": 16, "depth": 2, "steps": 800, "noise-injection": 0.02},
    "pushforward": {"width": 16, "depth": 2, "steps": 800, "pushforward": 2},
    "own-rollouts": {"width": 16, "depth": 2, "steps": 800, "own-rollouts": 4},
}
if not QUICK:
    GRADES["default"] = {"steps": 5000}  # as lem-train emulator makes it where nothing is said
CORRECTED = ("weak", "better")  # emulators that are compared in every way; the others as they are, and in some
LARGER = () if QUICK else ("compute", "labels")  # of each of those, an emulator that got what its corrector got
FEW = "next, .1 by distance" if SYSTEM in BLIND else "next, level > .01"
OTHERS = {"own": ("none",) if QUICK else ("none", FEW), "larger": ("none", "wiener")}
ONLY = os.environ.get("ONLY", "").split()
PICTURED = (
    ("weak", "none"),
    ("weak", "wiener"),
    ("weak", "next"),
    ("better", "none"),
    ("better", "wiener"),
    ("better", "next, .1 by distance"),
    ("better", "residual + wiener clean-up"),
)
COLUMNS = ("rms", "median", "99 %", "band", "all", "W1", "calls", "ms")


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
    spread_out(learned, [(out, grade, seed) for grade in GRADES for seed in SEEDS])


def learned(out: Path, grade: str, seed: int) -> None:
    given = {"data": out / f"{SYSTEM}-states.npy", "rows": STORED["rows"], "lr": 2e-3, "seed": seed}
    training.learn("emulator", model_of(out, grade, seed), **given, **GRADES[grade])  # type: ignore[arg-type]


def rounds(out: Path) -> None:
    """OUT/SYSTEM-GRADE-corrector-SEED.safetensors."""
    spread_out(training.rounds, [(out, grade, seed) for grade in CORRECTED for seed in SEEDS])


def networks(out: Path) -> None:
    """OUT/SYSTEM-{denoiser,conditional}.safetensors."""
    training.pairs(out)
    spread_out(training.denoisers, [(out, name) for name in ("denoiser", "conditional")])


def controls(out: Path) -> None:
    """OUT/SYSTEM-GRADE-{compute,labels}-SEED.safetensors."""
    training.pairs(out)
    spread_out(training.controls, [(out, grade, seed, GRADES[grade]["steps"]) for grade in CORRECTED for seed in SEEDS])


def one_step(model: Path) -> float:
    """The emulator's error on held-out states, in units of the std."""
    return float(json.loads(model.with_suffix(".jsonl").read_text().splitlines()[-1])["held_out_one_step"])


def rows_of_table() -> list[tuple[str, str]]:
    """(emulator, way), '' for no emulator."""
    found = [("", way) for way in ALONE]
    for grade in GRADES:
        others = OTHERS["larger" if grade == "default" else "own"]
        found += [(grade, way) for way in (WAYS if grade in CORRECTED else others)]
        found += [(f"{grade}-{more}", way) for more in LARGER if grade in CORRECTED for way in OTHERS["larger"]]
    return found


def table(out: Path) -> None:
    """The rollouts that are missing, and the table."""
    jobs = [Job(name, seed, way) for name, way in rows_of_table() for seed in (SEEDS if name else [0])]
    try:
        run(out, [job for job in jobs if not ONLY or any(words in job.name for words in ONLY)])
    finally:
        show(out)


def show(out: Path) -> None:
    """OUT/SYSTEM-table.tsv, and printed: every way at every emulator, the mean over seeds and their standard deviation."""
    done = finished(out)
    with open(out / f"{SYSTEM}-table.tsv", "w") as file:

        def put(*cells: str) -> None:
            print(*cells, sep="\t", flush=True)
            print(*cells, sep="\t", file=file, flush=True)

        put("emulator", "way", "seeds", "steps", "alive", *COLUMNS)
        true, truth = (states(out, name)[: max(STEPS // EVERY, 2) * ROWS] for name in ("true", "truth"))
        found = [judged(true, truth, np.zeros((len(truth) // ROWS, ROWS)))]
        put("truth", "", "", str(STEPS), *cells(found, COLUMNS))
        for name, way in rows_of_table():
            seeds = [seed for seed in SEEDS if Job(name, seed, way) in done]
            if seeds:
                lines = [done[Job(name, seed, way)] for seed in seeds]
                title = (
                    f"{name}, e = {spread([one_step(model_of(out, name, s)) for s in seeds])}"
                    if name
                    else "no emulator"
                )
                steps = sorted({line["steps"] for line in lines})
                put(title, way, " ".join(map(str, seeds)), " ".join(map(str, steps)), *cells(lines, COLUMNS))


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
    """OUT/SYSTEM.png: a row of the weak emulator in time, uncorrected, by wiener and by next, beside the truth; and `curves`."""
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
    curves(out)


def curves(out: Path) -> None:
    """OUT/SYSTEM-curves.png: the share of rows alive, and the spectra of those ways that keep all of them, first seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    true, steps = states(out, "true"), min(STEPS, 1000)
    figure = Figure(figsize=(11, 4.2), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    modes = lambda x: (np.abs(np.fft.rfft(x, norm="forward")) ** 2).mean(tuple(range(x.ndim - 1)))[1:]
    power = modes(true)
    right.loglog(np.arange(1, len(power) + 1), power, "k", linewidth=3, alpha=0.4, label="true states")
    for place, (name, way) in enumerate(PICTURED):
        job = Job(name, SEEDS[0], way)
        if way not in WAYS or not all(path.exists() for path in models(out, job)):
            continue
        alive, late = followed(out, job, steps, true[-ROWS:])
        how = {"color": f"C{place}", "linestyle": "--" if name == "weak" else "-", "label": f"{name}: {way}"}
        left.semilogx(np.arange(1, steps + 1), alive, **how)
        if alive[-1] == 1:
            right.loglog(np.arange(1, len(power) + 1), modes(late), **how)
    left.set(xlabel="step", ylabel=f"share of {ROWS} rows alive", ylim=(-0.03, 1.03))
    right.set(xlabel="mode", ylabel="power", ylim=(power.min() / 30, 3 * power.max()))
    left.legend(fontsize=8)
    right.legend(fontsize=8)
    with open(out / f"{SYSTEM}-curves.png", "wb") as file:
        FigureCanvasAgg(figure).print_png(file)


def followed(out: Path, job: Job, steps: int, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(share of rows that have always been alive [T], every 10th state of the later half)."""
    from lemtools.compare.states import survival
    from lemtools.thermalize import rollout
    from lemtools.thermalize.budget import budgeted

    step, corrector = emulator(model_of(out, job.emulator, job.seed)), thermalizer(out, job)
    if share := (WAYS[job.way] or {}).get("calls"):
        budgeted(corrector, step, share)
    alive, shares, late = np.ones(ROWS), [], []
    with np.errstate(all="ignore"):
        for t, done in enumerate(rollout(step, states(out, "start"), steps, corrector)):
            alive = alive * survival(true, done.state)
            shares.append(alive.mean())
            if 2 * t > steps and t % 10 == 0:
                late.append(done.state)
    return np.array(shares), np.concatenate(late)


if __name__ == "__main__":
    stages = {each.__name__: each for each in (data, train, rounds, networks, controls, table, show, picture)}
    where = Path(sys.argv[2])
    where.mkdir(parents=True, exist_ok=True)
    stages[sys.argv[1]](where)
