"""What do thoughts know of the state, and how many bits of them are needed? `python thought_states.py OUT [stage ...]`.

train     OUT/ARM-SEED.safetensors: `carry`, a quarter of the width is thoughts, carried exactly; `baseline`, as large without them
streams   OUT/symbols-L.npy and OUT/states-L.npy, whole [N, L]: sequences of the task and the state at every position, for
          lem-encode --encoder thoughts --model OUT/carry-0.safetensors OUT/symbols-L.npy
probe     OUT/probe.tsv: a linear map fitted to vectors of sequences of the learnt length (ridge to one-hot states at all positions, its
          weight chosen on a fifth of these sequences) reads the last state of sequences of every length
break     OUT/break.tsv: how often the model is right where thoughts are broken before they are carried on (task_lengths.py --break)

Both tables have means over the seeds, each with sequences of its own, and the least and the most of them. What the probe reads: thoughts; those of another
sequence at the same place; the embedded symbols; the residual stream of the baseline behind its last block. `answers` and `answers of the baseline`
are what the models say themselves.

Environment: TASK (parity), RUNS (3 seeds), STEPS (300), LONGEST (24 symbols that are learnt), LENGTHS (24,48,120,240), COUNT (256 sequences of each
length), FITTED (512 to fit the probe), WAYS (losses of lem-fragment, one a line), DEVICE (cpu).
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import click
import numpy as np
import torch

from lemtools.cli.fragment import losses
from lemtools.encode.activations import Activations
from lemtools.encode.thoughts import Thoughts
from lemtools.nets.model import Model, load
from lemtools.signal import LemError, Signal
from lemtools.train.by_length import by_length, stream
from probe import fit

ENV = os.environ
TASK, DEVICE = ENV.get("TASK", "parity"), ENV.get("DEVICE", "cpu")
RUNS, STEPS, LONGEST, COUNT, FITTED = (
    int(ENV.get(name, usual))
    for name, usual in (("RUNS", 3), ("STEPS", 300), ("LONGEST", 24), ("COUNT", 256), ("FITTED", 512))
)
LENGTHS = [int(part) for part in ENV.get("LENGTHS", "24,48,120,240").split(",")]
USUAL = "\n".join(
    [
        *(f"--bits {b}" for b in (1, 2, 3, 4, 5, 6, 8, 16)),
        *(f"--bits {b} --quantizer trellis --rotate" for b in (1, 2, 3)),
        *(f"--noise {s}" for s in (0.05, 0.1, 0.2, 0.5)),
        *(f"--mask {p} --mask-shape dims" for p in (0.0625, 0.125, 0.25)),
    ]
)
WAYS = ENV.get("WAYS", USUAL).splitlines()
ARMS = {"carry": ["--thoughts", "0.25", "--thoughts-by", f"bptt:{LONGEST}"], "baseline": []}
Encode = Callable[[np.ndarray], np.ndarray]


def fail(text: str) -> NoReturn:
    print(f"thought_states.py: error: {text}", file=sys.stderr)
    sys.exit(2)


def path(out: Path, arm: str, seed: int) -> str:
    return str(out / f"{arm}-{seed}.safetensors")


def train(out: Path) -> None:
    for arm, options in ARMS.items():
        words = f"lem-train lm -q --data task:{TASK} --longest {LONGEST} --depth 1 --context {max(LENGTHS)} --batch 32 --lr 2e-3"
        words += f" --steps {STEPS} --device {DEVICE} --runs {RUNS}"
        subprocess.run([*words.split(), *options, "-o", str(out / f"{arm}-%d.safetensors")], check=True)


def drawn(model: Model, length: int, count: int, seed: int = 0, part: str = "tested") -> tuple[np.ndarray, np.ndarray]:
    """(symbols, states), whole [N, L] each."""
    made = stream(model, length, count, seed, part)
    items = np.stack([made[i] for i in range(count)])
    if not items[:, 2].all():
        raise LemError(f"task:{TASK} has no state at every position, or pauses")
    return items[:, 0], items[:, 1]


def streams(out: Path) -> None:
    model = load(path(out, "carry", 0))
    for length in LENGTHS:
        for name, array in zip(("symbols", "states"), drawn(model, length, COUNT)):
            np.save(out / f"{name}-{length}.npy", array)


def encoded(encoder: Thoughts | Activations) -> Encode:
    return lambda symbols: np.concatenate([out.data for out in encoder.encode(Signal("tokens", symbols))])


def another(encode: Encode) -> Encode:
    """What the sequence before has at each place."""
    return lambda symbols: np.roll(encode(symbols), 1, 0)


def read_by(out: Path, seed: int) -> dict[str, Encode]:
    carry, baseline = (path(out, arm, seed) for arm in ARMS)
    thoughts, net = encoded(Thoughts(carry, device=DEVICE)), load(carry).net

    def embedded(symbols: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return net.enter(torch.from_numpy(symbols).long()).numpy()

    return {
        "thoughts": thoughts,
        "thoughts of another sequence": another(thoughts),
        "embedded symbols": embedded,
        "residual stream of the baseline": encoded(Activations(lm=baseline, layer=-1, device=DEVICE)),
    }


def probed(out: Path) -> Iterator[tuple[str, list[list[float]]]]:
    """(what is read, [seed][length] shares of right last states)."""
    found: dict[str, list[list[float]]] = {}
    for seed in range(RUNS):
        models = [load(path(out, arm, seed), DEVICE) for arm in ARMS]
        states = models[0].meta["task"]["states"]
        learnt = drawn(models[0], LONGEST, FITTED, seed, "read")
        tests = [drawn(models[0], length, COUNT, seed) for length in LENGTHS]
        for name, encode in read_by(out, seed).items():
            read = fit(encode(learnt[0]), learnt[1], states)
            right = [float((read(encode(x)[:, -1]) == y[:, -1]).mean()) for x, y in tests]
            found.setdefault(name, []).append(right)
        for name, model in zip(("answers", "answers of the baseline"), models):
            found.setdefault(name, []).append([float(a.right.mean()) for a in by_length(model, LENGTHS, COUNT, seed)])
        found.setdefault("chance", []).append([1 / states] * len(LENGTHS))
    yield from found.items()


def shown(rows: list[list[float]]) -> list[str]:
    """Of [seed][length]: the mean of each length, with the least and the most."""
    return [f"{x.mean():.3f} ({x.min():.3f} to {x.max():.3f})" for x in np.array(rows).T]


def table(target: Path, head: list[str], lines: Iterator[list[str]]) -> None:
    kept = ["\t".join([*head, *map(str, LENGTHS)])]
    print(kept[0], flush=True)
    for line in lines:
        kept.append("\t".join(line))
        print(kept[-1], flush=True)
    target.write_text("\n".join(kept) + "\n")


def probe(out: Path) -> None:
    table(out / "probe.tsv", ["read"], ([name, *shown(rows)] for name, rows in probed(out)))


def broken(out: Path) -> Iterator[list[str]]:
    models = [load(path(out, "carry", seed), DEVICE) for seed in range(RUNS)]
    for way in ["-", *WAYS]:
        operations = [] if way == "-" else losses(way)
        each = [list(by_length(m, LENGTHS, COUNT, seed, broken=operations)) for seed, m in enumerate(models)]
        bits = each[0][0].bits
        yield [
            way,
            "-" if bits is None else f"{bits:g}",
            *shown([[float(a.right.mean()) for a in row] for row in each]),
        ]


def break_(out: Path) -> None:
    table(out / "break.tsv", ["broken", "bits"], broken(out))


STAGES = {"train": train, "streams": streams, "probe": probe, "break": break_}

if __name__ == "__main__":
    if len(sys.argv) < 2:
        fail("usage: thought_states.py OUT [stage ...]")
    out_, *stages_ = sys.argv[1:]
    for stage_ in stages_:
        if stage_ not in STAGES:
            fail(f"stage {stage_} is none of {' '.join(STAGES)}")
    Path(out_).mkdir(parents=True, exist_ok=True)
    try:
        for stage_ in stages_ or STAGES:
            STAGES[stage_](Path(out_))
    except LemError as error:
        fail(str(error))
    except click.ClickException as error:
        fail(f"WAYS: {error.format_message()}")
    except subprocess.CalledProcessError as error:  # which has said why
        sys.exit(error.returncode)
