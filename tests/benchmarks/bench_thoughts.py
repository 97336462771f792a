"""Language models with thoughts: tokens a second beside a model without them, and what the norm of what is carried is for.

    python tests/benchmarks/bench_thoughts.py [--depth 2,4] [--batch 256] [--context 64,256] [--ways bptt:64,passes:4]
                                              [--steps 30] [--loop-steps 3] [--device auto] [--dtype auto]
    python tests/benchmarks/bench_thoughts.py --norm [--task parity] [--longest 24] [--seeds 3] [--steps 300] [--lr 2e-3]

First: whole steps of lem-train lm (forward, backward, clipping, AdamW, average) on random letters that lie on the device, --batch
windows of --context tokens; a quarter of the width is thoughts. `none`: the head reads less, nothing is carried; `loop`: the
exact recurrence by the plain loop, which the kernels of nets/recurrence.py take the place of on a GPU (on a CPU there is but the
loop). Columns: model, tokens a second, that over the tokens a second of `baseline`, milliseconds a step, and on a GPU the
peak of memory in GiB. Kernels are compiled, and every step made --warm times, before the clock starts.

With --norm: a task (--task) of 1 to --longest symbols, which stand anywhere in ten times as many positions, learnt by the exact recurrence
in full, width 64, depth 1, with the norm of what is carried, its gains beginning at 1, 2 or 4, and with the identity in its place. Columns:
gain, seed, bits an answer at the end, the largest norm of a gradient, the root mean square of thoughts at the first position, at that of the
longest sequence learnt and at the last of ten times as many, and the share of right last answers of 256 sequences as long as the longest
learnt, twice, five and ten times as long.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from lemtools.device import pick
from lemtools.nets import thoughts
from lemtools.ranks import Ranks
from lemtools.train.by_length import by_length
from lemtools.train.data import Batches
from lemtools.train.prepare import prepare
from lemtools.train.settings import Settings
from lemtools.train.tasks import Parts
from lemtools.train.trainer import Trainer


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def trainer(folder: str, asked: argparse.Namespace, depth: int, context: int, way: str | None, carry: str) -> Trainer:
    """Of a model with thoughts by `way`, or without them."""
    path = Path(folder) / "letters.txt"
    if not path.exists():
        path.write_bytes(np.random.default_rng(0).integers(32, 127, 1 << 21, np.uint8).tobytes())
    options = {"context": context}
    if way is not None:
        options |= {"thoughts": 0.25, "thoughts_by": None if carry == "none" else way, "thoughts_carry": carry}
    settings = Settings(
        "lm",
        [str(path)],
        str(Path(folder) / "m.safetensors"),
        batch=asked.batch,
        depth=depth,
        holdout=0,
        steps=10_000,
        device=asked.device,
        dtype=asked.dtype,
        options=options,
    )
    return Trainer(prepare(settings), Ranks(), pick(asked.device))


def seconds(step: Callable[[int], object], warm: int, count: int, cuda: bool) -> float:
    """Seconds a step, after some to warm up."""
    for i in range(warm):
        step(i)
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    begun = time.perf_counter()
    for i in range(count):
        step(i)
    if cuda:
        torch.cuda.synchronize()
    return (time.perf_counter() - begun) / count


def speed(asked: argparse.Namespace) -> None:
    cuda = pick(asked.device).startswith("cuda")
    ways = asked.ways.split(",")
    cases = [("baseline", None, "normal", False), ("none", ways[0], "none", False)]
    for way in ways:
        cases += [(way, way, "normal", False)]
        cases += [(f"{way} loop", way, "normal", True)] if way.startswith("bptt") and cuda else []
    for depth in asked.depth:
        for context in asked.context:
            print(
                f"# depth {depth}, width {64 * depth}, {asked.batch} windows of {context} tokens, {pick(asked.device)}"
            )
            print("model", "tokens/s", "of baseline", "ms a step", *(["GiB"] if cuda else []), sep="\t", flush=True)
            first = None
            for name, way, carry, loop in cases:
                with tempfile.TemporaryDirectory() as folder:
                    run, usable = trainer(folder, asked, depth, context, way, carry), thoughts.usable
                    there = [run.to_device(Batches(run.prepared.spec)[k]) for k in range(4)]
                    thoughts.usable = (lambda *given: False) if loop else usable
                    try:
                        slow = loop or (name.startswith("bptt") and not cuda)
                        warm, count = (1, asked.loop_steps) if slow else (asked.warm, asked.steps)
                        each = seconds(lambda i, r=run, b=there: r.advance(b[i % len(b)]), warm, count, cuda)
                    finally:
                        thoughts.usable = usable
                first = first or each
                rate = asked.batch * context / each
                peak = [f"{torch.cuda.max_memory_allocated() / 2**30:.2f}"] if cuda else []
                print(name, f"{rate:,.0f}", f"{first / each:.3f}", f"{1e3 * each:.2f}", *peak, sep="\t", flush=True)
                del run, there


def sizes(run: Trainer, longest: int) -> list[float]:
    """The root mean square of thoughts at positions 1, `longest` and ten times that, of what is kept back, over and over."""
    net, batch = run.prepared.model.net, Batches(run.prepared.validation)[0]
    symbols = Parts.of(batch["target"]).symbols[:, :longest].repeat(1, 10).to(run.device)
    with torch.no_grad():
        left = net.thoughts(net.trunk, net.enter(symbols))[..., net.readable :]
    return [float(left[:, place - 1].square().mean().sqrt()) for place in (1, longest, 10 * longest)]


def norm(asked: argparse.Namespace) -> None:
    lengths = [asked.longest * times for times in (1, 2, 5, 10)]
    places = [1, asked.longest, 10 * asked.longest]
    shown = ["gain", "seed", "bits", "largest gradient", *(f"rms at {n}" for n in places)]
    print(*shown, *(f"right at {n}" for n in lengths), sep="\t", flush=True)
    for gain in (1.0, 2.0, 4.0, None):
        for seed in range(asked.seeds):
            settings = Settings(
                "lm",
                [f"task:{asked.task}"],
                "m.safetensors",
                longest=asked.longest,
                depth=1,
                batch=32,
                lr=asked.lr,
                steps=asked.steps,
                seed=seed,
                device=asked.device,
                options={"context": lengths[-1], "thoughts": 0.25, "thoughts_by": f"bptt:{asked.longest}"},
            )
            prepared = prepare(settings)
            carried = prepared.model.net.thoughts
            if gain is None:
                carried.norm = torch.nn.Identity()
            else:
                torch.nn.init.constant_(carried.norm.weight, gain)
            run, batches = Trainer(prepared, Ranks(), pick(asked.device)), Batches(prepared.spec)
            bits, largest = 0.0, 0.0
            for step in range(asked.steps):
                bits = float(run.advance(batches[step]))
                largest = max(largest, float(run.norm))
            right = [float(each.right.mean()) for each in by_length(prepared.model, lengths, 256)]
            row = [bits, largest, *sizes(run, asked.longest), *right]
            print("no norm" if gain is None else gain, seed, *(f"{v:.3g}" for v in row), sep="\t", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Language models with thoughts: speed, and the norm of what is carried."
    )
    parser.add_argument("--norm", action="store_true")
    parser.add_argument("--task", default="parity")
    parser.add_argument("--longest", type=int, default=24)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--depth", type=numbers, default=[2, 4])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--context", type=numbers, default=[64, 256])
    parser.add_argument("--ways", default="bptt:64,passes:4")
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--loop-steps", type=int, default=3)
    parser.add_argument("--warm", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    asked = parser.parse_args()
    asked.steps = asked.steps or (300 if asked.norm else 30)
    (norm if asked.norm else speed)(asked)


if __name__ == "__main__":
    main()
