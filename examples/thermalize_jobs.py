"""The rollouts of thermalize.py, each a job: an emulator, a seed, a way of keeping it on the manifold.

Jobs run side by side in JOBS processes. What one found is appended to OUT/SYSTEM-results.jsonl as a line, after 1,000,
2,500 and 5,000 steps and at the end; of a job the last line counts. Where one stands lies in OUT/SYSTEM-jobs, so that a
run that is cut, and begun again, makes only what is missing.
"""

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.format import open_memmap

sys.path.insert(0, str(Path(__file__).parent))

SYSTEM = os.environ.get("SYSTEM", "ks22")
SEEDS = [int(s) for s in os.environ.get("SEEDS", "0 1 2").split()]
STEPS, ROWS, EVERY = (int(os.environ.get(k, v)) for k, v in (("STEPS", 10_000), ("ROWS", 64), ("EVERY", 10)))
JOBS = int(os.environ.get("JOBS", os.cpu_count() or 1))
QUICK = bool(os.environ.get("QUICK"))  # a few ways alone, and correctors of two short rounds
STORED = {"rows": 16, "steps": 1250}
MARKS = (1000, 2500, 5000)
PAUSE = 30.0  # seconds between two records of where a rollout stands
SYMMETRY = {
    "ks22": ("translate", "reflect"),
    "ks64": ("translate", "reflect"),
    "lorenz96": ("translate",),
    "kolmogorov": ("translate-x",),  # what pushes it changes along y
}
WHOLE = ("next", "memory", "snap")  # correctors that compare whole states, in two directions without translations
LARGE = ("ks64", "lorenz96", "kolmogorov")  # systems that are compared by patches, too
BLIND = ("lorenz96",)  # of a flat spectrum, in which the level of noise cannot be read: the distance is the gate
# what is done after each step: options of thermalize.prepared, `model` by what it is; 'calls': so many a row and step, by a
# threshold that a trial sets; 'oracle': every K-th step the state is the solver's, from the state before; None: nothing
WAYS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "clip": {"corrector": "clip", "every": True, "clean": False},
    "spectral cap": {"corrector": "cap", "every": True, "clean": False},
    "snap, every 10th": {"corrector": "snap", "every": True, "clean": False, "budget": 0.1},
    "wiener": {"corrector": "wiener", "every": True, "clean": False},
    "net, level > .02": {"corrector": "net", "model": "denoiser", "threshold": 0.02},
    "net, level > .05": {"corrector": "net", "model": "denoiser", "threshold": 0.05},
    "net": {"corrector": "net", "model": "denoiser", "every": True},
    "conditional, level > .02": {"corrector": "conditional", "model": "conditional", "threshold": 0.02, "noise": 0.02},
    "conditional": {"corrector": "conditional", "model": "conditional", "every": True, "noise": 0.02},
    "iterate, .1 to .04": {
        "corrector": "iterate",
        "model": "denoiser",
        "threshold": 0.04,
        "noise": 0.1,
        "stop": 0.04,
        "denoise_steps": 6,
    },
    "memory": {"corrector": "memory", "every": True},
    "next, every 10th": {"corrector": "next", "every": True, "budget": 0.1},
    "next, every 4th": {"corrector": "next", "every": True, "budget": 0.25},
    "next, level > .01": {"corrector": "next", "threshold": 0.01, "clean": False},
    "next, .1 by level": {"corrector": "next", "calls": 0.1},
    "next, .1 by distance": {"corrector": "next", "gate": "distance", "calls": 0.1},
    "next, .3 by distance": {"corrector": "next", "gate": "distance", "calls": 0.29},
    "next, .5 by distance": {"corrector": "next", "gate": "distance", "calls": 0.48},
    "next": {"corrector": "next", "every": True},
    "residual": {"corrector": "residual", "model": "corrector", "every": True, "clean": False},
    "residual + wiener clean-up": {"corrector": "residual", "model": "corrector", "every": True},
    "residual, .3 by distance": {"corrector": "residual", "model": "corrector", "gate": "distance", "calls": 0.29},
    "residual, .5 by distance": {"corrector": "residual", "model": "corrector", "gate": "distance", "calls": 0.48},
    "oracle, every 10th": {"oracle": 10},
    "oracle, every 4th": {"oracle": 4},
}
if SYSTEM in LARGE:
    WAYS |= {
        "local, every 10th": {"corrector": "local", "every": True, "budget": 0.1},
        "local": {"corrector": "local", "every": True},
    }
if SYSTEM in BLIND:
    WAYS = {way: how for way, how in WAYS.items() if "level" not in way and "iterate" not in way}
    WAYS["net, .3 by distance"] = {"corrector": "net", "model": "denoiser", "gate": "distance", "calls": 0.29}
if QUICK:
    WAYS = {
        way: WAYS[way] for way in ("none", "clip", "wiener", "next, every 4th", "next", "residual + wiener clean-up")
    }
SOLE = "next, no emulator"
ALONE = {SOLE: "next"} | ({"local, no emulator": "local"} if "local" in WAYS else {})
SLOW = ("iterate", "conditional", "net,", "local", "memory", "next")  # by their names; these begin first
STOOD = ("state", "residuals", "calls", "spent", "steps", "credit")


class Job(NamedTuple):
    """emulator: as in the names of the models, '' for none. way: a key of WAYS or of ALONE."""

    emulator: str
    seed: int
    way: str

    @property
    def name(self) -> str:
        return f"{self.emulator or 'none'}-{self.seed}-{''.join(c if c.isalnum() else '_' for c in self.way)}"


def states(out: Path, name: str) -> np.ndarray:
    return np.load(out / f"{SYSTEM}-{name}.npy")


def model_of(out: Path, emulator: str, seed: int) -> Path:
    return out / f"{SYSTEM}-{emulator}-{seed}.safetensors"


def emulator(model: Path | None) -> Any:
    """What steps; without a model it stands still, so that the corrector alone goes on."""
    if model is None:
        return lambda x: x
    from lemtools.nets.emulator import Emulator
    from lemtools.nets.model import load

    return Emulator(load(str(model)))


class Oracle:
    """In place of a Thermalizer: at every K-th step the solver's state after the previous one, which costs a call."""

    def __init__(self, every: int):
        self.every, self.steps, self.credit = every, 0, np.zeros(0)

    def step(self, state: np.ndarray, previous: np.ndarray) -> Any:
        from dynamics import SYSTEMS
        from lemtools.thermalize import Step

        self.steps += 1
        now = self.steps % self.every == 0
        if now:
            state = SYSTEMS[SYSTEM].step(previous.astype(np.float64)).astype(np.float32)
        none = np.zeros(len(state))
        return Step(state, none, none, none, np.full(len(state), int(now)))


def models(out: Path, job: Job) -> list[Path]:
    """The networks that it needs."""
    found = [model_of(out, job.emulator, job.seed)] if job.emulator else []
    name = (WAYS.get(job.way) or {}).get("model")
    if name == "corrector":
        found.append(model_of(out, f"{job.emulator}-corrector", job.seed))
    elif name is not None:
        found.append(out / f"{SYSTEM}-{name}.safetensors")
    return found


def thermalizer(out: Path, job: Job) -> Any:
    """What corrects; None for nothing."""
    how = {**WAYS[ALONE[job.way]], "clean": False} if job.way in ALONE else WAYS[job.way]  # type: ignore[dict-item]
    if how is None:
        return None
    if "oracle" in how:
        return Oracle(how["oracle"])
    path = str(models(out, job)[-1]) if "model" in how else None
    return made(out, path, tuple((k, v) for k, v in how.items() if k not in ("model", "calls")))


@lru_cache(maxsize=1)
def made(out: Path, model: str | None, how: tuple[tuple[str, Any], ...]) -> Any:
    from lemtools.nets.model import load
    from lemtools.thermalize import prepared

    network, stored, given = None if model is None else load(model), states(out, "states"), dict(how)
    whole = given["corrector"] in WHOLE or given.get("gate") == "distance"
    symmetry = () if whole and stored.ndim > 3 else SYMMETRY.get(SYSTEM, ())
    return prepared(stored, STORED["rows"], symmetry=symmetry, model=network, **given)


def measured(out: Path, job: Job) -> None:
    """The rollout of a job from where it stands, its lines appended."""
    from dynamics import SYSTEMS
    from lemtools.thermalize import rollout
    from lemtools.thermalize.budget import budgeted

    step = emulator(model_of(out, job.emulator, job.seed) if job.emulator else None)
    corrector, system = thermalizer(out, job), SYSTEMS[SYSTEM]
    if share := (WAYS.get(job.way) or {}).get("calls"):
        budgeted(corrector, step, share)
    residuals, calls, spent, t = [], 0, 0.0, 0
    previous = states(out, "start")
    there = out / f"{SYSTEM}-jobs" / f"{job.name}-{STEPS}.npz"
    there.parent.mkdir(exist_ok=True)
    if corrector is not None:
        corrector.steps, corrector.credit = 0, corrector.credit[:0]
    if there.exists():
        with np.load(there) as found:
            previous, residuals, calls, spent, t, credit = (found[name] for name in STOOD)
        residuals, calls, spent, t = [*residuals], int(calls), float(spent), int(t)
        if corrector is not None:
            corrector.steps = t
            corrector.credit = credit if isinstance(corrector, Oracle) else _tensor(credit)
    shape = (-(-STEPS // EVERY), *previous.shape)
    kept = open_memmap(there.with_suffix(".npy"), "r+" if t else "w+", np.float32, shape)
    begun = saved = time.perf_counter()
    for done in rollout(step, previous, STEPS - t, corrector):
        t += 1
        calls += int(done.calls.sum())
        if looked_at(t):
            spent += time.perf_counter() - begun
            kept[(t - 1) // EVERY] = done.state
            with np.errstate(all="ignore"):
                residuals.append(system.residual(previous.astype(np.float64), done.state.astype(np.float64)))
            begun = time.perf_counter()
        previous = done.state
        if t in MARKS or t == STEPS:
            got = kept[: len(residuals)].reshape(-1, *previous.shape[1:])
            found = judged(states(out, "true"), got, np.array(residuals))
            put(out, job, t, found | {"calls": calls / t / len(previous), "ms": 1e3 * spent / t})
        if t % EVERY == 0 and time.perf_counter() - saved > PAUSE and t < STEPS:
            credit = np.zeros(0) if corrector is None else np.asarray(corrector.credit)
            kept.flush()
            record(there, (previous, np.array(residuals), calls, spent, t, credit))
            saved = begun = time.perf_counter()
            if os.getppid() == 1:  # whoever asked for it has ended
                raise SystemExit
    for path in (there, there.with_suffix(".npy")):
        path.unlink(missing_ok=True)


def looked_at(t: int) -> bool:
    """Of every EVERY steps one, each time an earlier one: what is done at every 10th step is not judged there alone."""
    block, place = divmod(t - 1, EVERY)
    return place == -(block + 1) % EVERY


def _tensor(credit: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(credit)


def record(path: Path, values: tuple) -> None:
    part = path.with_suffix(".part.npz")
    np.savez(part, **dict(zip(STOOD, values)))
    part.replace(path)


def put(out: Path, job: Job, steps: int, found: dict[str, Any]) -> None:
    """A line of the results."""
    line = {**job._asdict(), "rows": ROWS, "steps": steps} | {
        k: v.astype(int).tolist() if isinstance(v, np.ndarray) else v for k, v in found.items()
    }
    with open(results(out), "a") as file:
        file.write(json.dumps(line) + "\n")
    shown = "  ".join(f"{k} {v:.3g}" for k, v in found.items() if not isinstance(v, np.ndarray))
    print(f"{job.name}  {steps} steps  alive {np.mean(found['alive']):.3g}  {shown}", file=sys.stderr, flush=True)


def results(out: Path) -> Path:
    return out / f"{SYSTEM}-results.jsonl"


def finished(out: Path) -> dict[Job, dict[str, Any]]:
    """The last line of every job, of rollouts of so many rows and no more than STEPS steps."""
    found: dict[Job, dict[str, Any]] = {}
    if results(out).exists():
        for text in results(out).read_text().splitlines():
            line = json.loads(text)
            job = Job(line["emulator"], line["seed"], line["way"])
            if line["rows"] == ROWS and line["steps"] <= STEPS and line["steps"] >= found.get(job, line)["steps"]:
                found[job] = line | {"alive": np.array(line["alive"], float)}
    return found


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


def run(out: Path, jobs: list[Job]) -> None:
    """All that are not done, the slow ones first."""
    done = {job for job, line in finished(out).items() if line["steps"] == STEPS}
    rank = lambda job: next((i for i, words in enumerate(SLOW) if words in job.way), len(SLOW))
    spread_out(measured, [(out, job) for job in sorted(jobs, key=rank) if job not in done])


def spread_out(work: Callable[..., None], each: Iterable[tuple]) -> None:
    """work(*arguments) for each, JOBS at a time, in processes of one thread; what fails is told, and the others go on."""
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    each = [(work, arguments) for arguments in each]
    failed = []
    if len(each) == 1 or JOBS == 1:
        failed = [_one(one) for one in each]
    elif each:
        with multiprocessing.get_context("spawn").Pool(min(JOBS, len(each))) as pool:
            failed = list(pool.imap_unordered(_one, each, chunksize=1))
    if any(failed):
        sys.exit("\n".join(filter(None, failed)))


def _one(task: tuple) -> str | None:
    work, arguments = task
    try:
        work(*arguments)
    except Exception as error:
        return f"{work.__name__} {' '.join(map(str, arguments[1:]))}: {error!r}"
    return None
