"""What thermalize.py trains besides emulators: correctors in rounds, the controls that get what they got, and denoisers.

A corrector learns from (previous, claimed, solved): the state from which an emulator stepped, what it said, and what the
solver says. In round 0 the emulator makes 4 steps from stored states; in every later round it is corrected by the newest
corrector, with and without the Wiener filter, for HORIZONS steps, of which 30 are kept. Every round adds files, and learns
on from all of them.

Controls, both as large as emulator and corrector together, and with as many updates:

GRADE-compute   learned from the stored states
GRADE-labels    learned from the stored states and from all that the solver said to the corrector
"""

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from thermalize_jobs import QUICK, STORED, SYMMETRY, SYSTEM, emulator, model_of, states

HORIZONS = (30,) if QUICK else (30, 100, 300)
STARTS, TRUE = 128, 2000  # rows of a corrected rollout, of the bare one
UPDATES = 400 if QUICK else 1000  # of a corrector, in each round
CORRECTOR = {"width": 16, "depth": 2}
DENOISER = "--arch unet --padding circular --set widths=[24,48] --levels .001-1 --steps 3000 --batch 64 --lr 1e-3"
FAR = 3.0  # times the largest rms of a stored state: from there on it has left


def learn(recipe: str, model: Path, steps: int, **options: Any) -> None:
    """`lem-train`, printed; not where the model is there with so many updates. A list is an option given several times."""
    log = model.with_suffix(".jsonl")
    if model.exists() and log.exists() and json.loads(log.read_text().splitlines()[-1])["step"] >= steps:
        return
    words = ["lem-train", recipe, "--kind", "field", "--steps", steps]
    for name, value in options.items():
        for each in value if isinstance(value, list) else [value]:
            words += [f"--{name}", each]
    words += ["-q", "--log-file", log, "-o", model]
    print(shlex.join(map(str, words)), flush=True)
    subprocess.run([*map(str, words)], check=True)


def rounds(out: Path, grade: str, seed: int) -> None:
    """OUT/SYSTEM-GRADE-corrector-SEED.safetensors, and what it learned from."""
    from lemtools.nets.model import load
    from lemtools.thermalize import prepared

    model, newest = model_of(out, grade, seed), model_of(out, f"{grade}-corrector", seed)
    if newest.exists():
        return
    stored = states(out, "states")
    files: dict[str, list[Path]] = {"data": [], "drift": [], "target": []}
    corrector = None
    for number in range(len(HORIZONS) + 1):
        name = lambda what: out / f"{SYSTEM}-{grade}-{what}-{seed}-{number}.npy"
        if not name("target").exists():
            rng = np.random.default_rng([seed, number])
            picked = stored[rng.choice(len(stored), TRUE if number == 0 else STARTS, replace=False)]
            if number == 0:
                found = [claims(model, picked, 4, 1, None)]
            else:
                found = []
                for clean in (False, True):
                    how = {"corrector": "residual", "every": True, "clean": clean, "symmetry": SYMMETRY.get(SYSTEM, ())}
                    made = prepared(stored, STORED["rows"], model=load(str(corrector)), **how)
                    horizon = HORIZONS[number - 1]
                    found.append(claims(model, picked, horizon, horizon // 30, made))
            for what, array in zip(("data", "drift", "target"), solved(stored, found)):
                np.save(name(what), array)
        for what, paths in files.items():
            paths.append(name(what))
        before, corrector = corrector, out / f"{SYSTEM}-{grade}-round-{seed}-{number}.safetensors"
        begin = {} if before is None else {"init": before}
        learn("corrector", corrector, UPDATES, **files, **CORRECTOR, **begin, lr=2e-3, seed=seed)
    newest.write_bytes(corrector.read_bytes())  # type: ignore[union-attr]


def claims(model: Path, start: np.ndarray, steps: int, every: int, thermalizer: Any) -> tuple[np.ndarray, np.ndarray]:
    """(previous, claimed), each [T, R, C, ...], of every `every`-th step of a rollout: those of `lem-thermalize --claims
    --previous --every`."""
    from lemtools.thermalize import rollout

    with np.errstate(all="ignore"):
        found = list(rollout(emulator(model), start, steps, thermalizer))[every - 1 :: every]
    return np.stack([done.previous for done in found]), np.stack([done.claimed for done in found])


def solved(stored: np.ndarray, found: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, ...]:
    """(previous, claimed, solved), each [N, C, ...], of all pairs of states that are not far from those stored."""
    from dynamics import SYSTEMS

    rms = lambda x: np.sqrt(np.square(x).reshape(len(x), -1).mean(1))
    parts = []
    for pair in found:
        previous, claimed = (x.reshape(-1, *x.shape[2:]) for x in pair)
        most = FAR * rms(stored).max()
        near = (rms(previous) < most) & (rms(claimed) < most)  # (not where they are no numbers)
        previous, claimed = previous[near], claimed[near]
        after = SYSTEMS[SYSTEM].step(previous.astype(np.float64)).astype(np.float32)
        good = np.isfinite(after).reshape(len(after), -1).all(1)
        parts.append((previous[good], claimed[good], after[good]))
    return tuple(np.concatenate(each) for each in zip(*parts))


def sized(out: Path, grade: str, seed: int) -> int:
    """The width of an emulator of two blocks with as many parameters as emulator and corrector have together, or more."""
    from lemtools.nets import build
    from lemtools.nets.model import load

    models = [load(str(model_of(out, name, seed))) for name in (grade, f"{grade}-corrector")]
    wanted, made = sum(model.parameters for model in models), dict(models[0].meta["net"], blocks=2)
    for width in range(1, 1000):
        made["width"] = width
        if sum(p.numel() for p in build(made).parameters()) >= wanted:
            return width
    raise SystemExit(f"no emulator has {wanted} parameters")


def controls(out: Path, grade: str, seed: int, updates: int) -> None:
    """OUT/SYSTEM-GRADE-{compute,labels}-SEED.safetensors. updates: of the emulator."""
    total = updates + UPDATES * (len(HORIZONS) + 1)
    common = {"width": sized(out, grade, seed), "depth": 2, "lr": 2e-3, "seed": seed}
    learn(
        "emulator",
        model_of(out, f"{grade}-compute", seed),
        total,
        data=out / f"{SYSTEM}-states.npy",
        rows=STORED["rows"],
        **common,
    )
    pairs(out)
    files = {
        what: [
            out / f"{SYSTEM}-pairs-{what}.npy",
            *sorted(out.glob(f"{SYSTEM}-{grade}-{what}-{seed}-*.npy")),
        ]
        for what in ("data", "target")
    }
    learn("emulator", model_of(out, f"{grade}-labels", seed), total, **files, **common)


def pairs(out: Path) -> None:
    """The stored states as pairs, in OUT/SYSTEM-pairs-{data,target}.npy."""
    stored, rows = states(out, "states"), STORED["rows"]
    for name, array in (("data", stored[:-rows]), ("target", stored[rows:])):
        path = out / f"{SYSTEM}-pairs-{name}.npy"
        if not path.exists():
            part = path.with_name(f"part-{os.getpid()}-{path.name}")
            np.save(part, array)
            part.replace(path)


def denoisers(out: Path, name: str) -> None:
    """OUT/SYSTEM-{denoiser,conditional}.safetensors: the posterior mean, the same told the previous state."""
    how: dict[str, Any] = {}
    words = shlex.split(DENOISER)
    for flag, value in zip(words[::2], words[1::2]):
        how[flag[2:]] = value
    steps = int(how.pop("steps"))
    if name == "denoiser":
        learn("diffusion", out / f"{SYSTEM}-denoiser.safetensors", steps, data=out / f"{SYSTEM}-states.npy", **how)
        return
    files = {what: out / f"{SYSTEM}-pairs-{what}.npy" for what in ("data", "target")}
    learn("diffusion", out / f"{SYSTEM}-conditional.safetensors", steps, **files, fragment="--noise .001-.1", **how)
