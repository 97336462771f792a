"""Thoughts against networks without them, on tasks whose state is known: `python thoughts.py OUT [stage ...]`.

Asked: does what is carried from token to token let a network of fixed depth follow a state for longer than it was taught?

train     OUT/TASK/ARM-SEED.safetensors: symbols of sequences up to 40, the state at every position
lengths   OUT/TASK/ARM.tsv: the share of right last answers at 40, 80, 160 and 400 symbols (task_lengths.py)
text      OUT/text/ARM-SEED.safetensors, of the file that TEXT names: bits a byte that are kept back, as the log has them
plot      OUT/picture.png: the share of right last answers by length, of each task and arm; a line the mean over seeds, a band least to greatest
table     prints all, and OUT/table.tsv: means over seeds with 95 % intervals (of two seeds their range), and paired differences from `baseline`

Arms, all of one depth and width but `wide`:

baseline   a transformer
wide       a quarter wider
carry      a quarter of the width is thoughts, carried exactly
shuffled   those of another item of the batch, in training and in the test: what remains is no carried state
reset      carried, and forgotten at every 8th position
none       a quarter of the width that the head does not read, nothing carried
passes-K   carried lax: K passes over all positions at once
pause      four blank positions after every symbol: the operations of passes-4
gru, delta a GRU, and a linear recurrence by products of reflections, with as many weights: what a state is worth
end, end-states, end-carry   the state asked for at the end alone: a transformer; the same that learns the state at every position
           by a second head; thoughts

Environment: TASKS (parity counter:7 s5 hops:2), ARMS (all of the above), RUNS (5 seeds), STEPS (10000), LR (1e-3), BATCH (32), DEPTH (2), WIDTH (64 a
layer), COUNT (1024 sequences of each length), TEXT,
TEXT_ARMS (baseline wide carry none passes-4 gru), JOBS (1), DEVICE. QUICK=1: parity by baseline, carry, shuffled, passes-4 and gru; depth 1, 2 seeds, 1000
steps.
"""

import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import numpy as np

from lemtools.compare.summary import student_t

ENV = os.environ
QUICK = ENV.get("QUICK") == "1"
QUARTER = ["--thoughts", 0.25]
EXACT = [*QUARTER, "--thoughts-by", "bptt:64"]
END = ["--asked", "end"]
ARMS: dict[str, list] = {
    "baseline": [],
    "wide": ["wide"],
    "carry": EXACT,
    "shuffled": [*EXACT, "--thoughts-carry", "shuffled"],
    "reset": [*EXACT, "--thoughts-carry", "reset:8"],
    "none": [*QUARTER, "--thoughts-carry", "none"],
    **{f"passes-{k}": [*QUARTER, "--thoughts-by", f"passes:{k}"] for k in (1, 2, 4, 8)},
    "pause": ["--pause", 4],
    "gru": ["--arch", "gru-lm"],
    "delta": ["--arch", "delta-lm"],
    "end": END,
    "end-states": [*END, "--states"],
    "end-carry": [*END, *EXACT],
}
OF_TASKS = {"pause", "end", "end-states", "end-carry"}  # not of texts
TASKS = ENV.get("TASKS", "parity" if QUICK else "parity counter:7 s5 hops:2").split()
CHOSEN = ENV.get("ARMS", "baseline carry shuffled passes-4 gru" if QUICK else " ".join(ARMS)).split()
TEXT, TEXT_ARMS = ENV.get("TEXT"), ENV.get("TEXT_ARMS", "baseline wide carry none passes-4 gru").split()
RUNS, STEPS, BATCH, DEPTH, COUNT = (
    int(ENV.get(name, quick if QUICK else full))
    for name, quick, full in (
        ("RUNS", 2, 5),
        ("STEPS", 1000, 10000),
        ("BATCH", 32, 32),
        ("DEPTH", 1, 2),
        ("COUNT", 256, 1024),
    )
)
WIDTH = int(ENV.get("WIDTH", 64 * DEPTH))
JOBS, DEVICE = int(ENV.get("JOBS", 1)), ENV.get("DEVICE", "auto")
LR = ENV.get("LR", "1e-3")  # the thoughts of one seed in two learn no parity at 4e-3, lem-train's own at depth 1
LENGTHS = (40, 80, 160, 400)
LAST = "text"  # the folder of texts, among those of tasks


def fail(text: str) -> NoReturn:
    print(f"thoughts.py: error: {text}", file=sys.stderr)
    sys.exit(2)


def check(stages: list[str]) -> None:
    for name, words, known in (
        ("stage", stages, STAGES),
        ("ARMS", CHOSEN, ARMS),
        ("TEXT_ARMS", TEXT_ARMS, [arm for arm in ARMS if arm not in OF_TASKS]),
    ):
        for word in words:
            if word not in known:
                fail(f"{name} {word} is none of {' '.join(known)}")
    if LAST in stages and TEXT is None:
        fail("stage text: of which text? Set TEXT=FILE")


def folder(out: Path, task: str) -> Path:
    return out / task.replace(":", "-")


def models(out: Path, task: str, arm: str) -> list[Path]:
    paths = (folder(out, task) / f"{arm}-{seed}.safetensors" for seed in range(RUNS))
    return [path for path in paths if path.exists()]


def learn(out: Path, task: str, arm: str, data: str) -> None:
    """Train an arm with every seed; what is trained already is not trained again. A seed whose loss is not finite is named, and leaves
    the others."""
    options, width = ARMS[arm], WIDTH
    if options == ["wide"]:
        options, width = [], WIDTH * 5 // 4
    there = folder(out, task)
    there.mkdir(parents=True, exist_ok=True)
    words = ["lem-train", "lm", "-q", "--data", data, "--depth", DEPTH, "--width", width, "--steps", STEPS]
    words += ["--lr", LR, "--batch", BATCH, *options, "--device", DEVICE, "--save-every", max(STEPS // 4, 1)]
    words += ["--runs", RUNS, "-o", there / f"{arm}-%d.safetensors", "--log-file", there / f"{arm}.jsonl"]
    done = subprocess.run([str(word) for word in words])
    if done.returncode != 1:
        done.check_returncode()


def side_by_side(work, jobs: list[tuple]) -> None:
    with ThreadPoolExecutor(JOBS) as pool:
        for _ in pool.map(lambda job: work(*job), jobs):
            pass


def train(out: Path) -> None:
    side_by_side(learn, [(out, task, arm, f"task:{task}") for task in TASKS for arm in CHOSEN])


def text(out: Path) -> None:
    side_by_side(learn, [(out, LAST, arm, TEXT) for arm in TEXT_ARMS])


def lengths(out: Path) -> None:
    def ask(task: str, arm: str) -> None:
        paths, target = models(out, task, arm), folder(out, task) / f"{arm}.tsv"
        words = [sys.executable, Path(__file__).parent / "task_lengths.py", *paths]
        words += ["--lengths", ",".join(map(str, LENGTHS)), "--count", COUNT, "--device", DEVICE]
        found = subprocess.run([str(word) for word in words], check=True, stdout=subprocess.PIPE).stdout
        target.write_bytes(found)

    side_by_side(ask, [(task, arm) for task in TASKS for arm in CHOSEN])


def interval(values) -> str:
    """Mean over seeds, and its 95 % t-interval; of fewer than three the least and the greatest."""
    x = np.asarray(values, float)
    if len(x) < 3:
        return f"{x.mean():.3f} ({x.min():.3f} to {x.max():.3f})"
    half = student_t(0.95, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x))
    return f"{x.mean():.3f} [{x.mean() - half:.3f}, {x.mean() + half:.3f}]"


def table(out: Path) -> None:
    lines = ["\t".join(["task", "arm", "parameters", *map(str, LENGTHS), "chance"])]
    for task in TASKS:
        for arm in CHOSEN:
            path = folder(out, task) / f"{arm}.tsv"
            if not path.exists():
                continue
            head, *rows = (line.split("\t") for line in path.read_text().splitlines())
            found = [dict(zip(head, row)) for row in rows]
            by = {n: [float(row["right"]) for row in found if row["length"] == str(n)] for n in LENGTHS}
            chance = next(row["chance"] for row in found)
            lines.append("\t".join([task, arm, found[0]["parameters"], *(interval(by[n]) for n in LENGTHS), chance]))
    lines += of_texts(out)
    (out / "table.tsv").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def plot(out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    tasks = [task for task in TASKS if any((folder(out, task) / f"{arm}.tsv").exists() for arm in CHOSEN)]
    if not tasks:
        fail(f"{out}: no lengths were measured there; first train and lengths")
    figure, panes = plt.subplots(
        1, len(tasks), figsize=(4 * len(tasks), 4), layout="constrained", sharey=True, squeeze=False
    )
    for pane, task in zip(panes[0], tasks, strict=True):
        for place, arm in enumerate(CHOSEN):
            path = folder(out, task) / f"{arm}.tsv"
            if not path.exists():
                continue
            head, *rows = (line.split("\t") for line in path.read_text().splitlines())
            found = [dict(zip(head, row)) for row in rows]
            by = np.array([[float(r["right"]) for r in found if r["length"] == str(n)] for n in LENGTHS])
            pane.fill_between(LENGTHS, by.min(1), by.max(1), color=f"C{place % 10}", alpha=0.15, linewidth=0)
            pane.plot(LENGTHS, by.mean(1), color=f"C{place % 10}", marker="o", markersize=3, label=arm)
        pane.axhline(float(found[0]["chance"]), color="grey", linewidth=0.8, linestyle="--")
        pane.set(title=task, xscale="log", xlabel="symbols", xticks=LENGTHS, xticklabels=LENGTHS)
        pane.minorticks_off()
    panes[0][0].set(ylabel="right last answers", ylim=(0, 1.02))
    named = {label: line for pane in panes[0] for line, label in zip(*pane.get_legend_handles_labels())}
    shown = [arm for arm in CHOSEN if arm in named]
    figure.legend([named[arm] for arm in shown], shown, fontsize=9, loc="outside right upper")
    part = out / "picture.part"
    figure.savefig(part, format="png", dpi=110, metadata={"Software": None})
    plt.close(figure)
    part.replace(out / "picture.png")


def of_texts(out: Path) -> list[str]:
    """Bits a byte of every arm at each checkpoint, and by how much it differs from the baseline of the same seed and update."""
    found: dict[str, dict[int, list[float]]] = {}
    for arm in TEXT_ARMS:
        log = folder(out, LAST) / f"{arm}.jsonl"
        for record in map(json.loads, log.read_text().splitlines() if log.exists() else []):
            each = [record.get(f"held_out_bits_per_byte_{seed}") for seed in range(RUNS)]
            if None not in each:
                found.setdefault(arm, {})[record.get("step", STEPS)] = each
    base = found.get("baseline", {})
    lines = ["text\tarm\tupdates\tbits a byte\tless baseline"] if base else []
    for arm, steps in found.items() if base else ():
        for step, bits in steps.items():
            less = interval(np.subtract(bits, base[step])) if arm != "baseline" and step in base else ""
            lines.append("\t".join([str(TEXT or LAST), arm, str(step), interval(bits), less]))
    return lines


STAGES = {f.__name__: f for f in (train, lengths, text, plot, table)}

if __name__ == "__main__":
    out_, *stages_ = sys.argv[1:]
    stages_ = stages_ or [name for name in STAGES if name != LAST or TEXT]
    check(stages_)
    Path(out_).mkdir(parents=True, exist_ok=True)
    try:
        for stage_ in stages_:
            STAGES[stage_](Path(out_))
    except subprocess.CalledProcessError as error:  # which has said why
        sys.exit(error.returncode)
