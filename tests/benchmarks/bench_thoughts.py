"""Language models with thoughts: tokens a second beside a model without them, and what the norm of what is carried is for.

    python tests/benchmarks/bench_thoughts.py [--depth 2,4] [--batch 256] [--context 64,256] [--ways bptt:64,passes:4]
                                              [--steps 30] [--loop-steps 3] [--device auto] [--dtype auto]
    python tests/benchmarks/bench_thoughts.py --norm [--seeds 3] [--steps 240]

First: whole steps of lem-train lm (forward, backward, clipping, AdamW, average) on random letters that lie on the device, --batch
windows of --context tokens; a quarter of the width is thoughts. `none`: the head reads less, nothing is carried; `loop`: the
exact recurrence by the plain loop, which the kernels of nets/recurrence.py take the place of on a GPU (on a CPU there is but the
loop). Columns: model, tokens a second, that over the tokens a second of `baseline`, milliseconds a step, and on a GPU the
peak of memory in GiB. Kernels are compiled, and every step made --warm times, before the clock starts.

With --norm: parity of up to 40 symbols by bptt:40, width 64, depth 1, as lem-train lm --data task:parity --depth 1 learns it, with the
norm of what is carried and with the identity in its place. Columns: norm, seed, updates; bits an answer, the largest norm of a
gradient so far, the root mean square of thoughts at positions 1, 40 and 400, and the share of right last answers at 40, 80, 160 and 400
symbols (256 sequences each).
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

LENGTHS = (40, 80, 160, 400)


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


def sizes(run: Trainer) -> list[float]:
    """The root mean square of thoughts at positions 1, 40 and 400 of what is kept back, made 400 symbols long."""
    net, batch = run.prepared.model.net, Batches(run.prepared.validation)[0]
    symbols = Parts.of(batch["target"]).symbols[:, :40].repeat(1, 10).to(run.device)
    with torch.no_grad():
        left = net.thoughts(net.trunk, net.enter(symbols))[..., net.readable :]
    return [float(left[:, place - 1].square().mean().sqrt()) for place in (1, 40, 400)]


def norm(asked: argparse.Namespace) -> None:
    shown = ["norm", "seed", "updates", "bits", "largest gradient", "rms 1", "rms 40", "rms 400"]
    print(*shown, *(f"right {length}" for length in LENGTHS), sep="\t", flush=True)
    for normed in (True, False):
        for seed in range(asked.seeds):
            settings = Settings(
                "lm",
                ["task:parity"],
                "m.safetensors",
                depth=1,
                batch=32,
                steps=asked.steps,
                seed=seed,
                device=asked.device,
                options={"thoughts": 0.25, "thoughts_by": "bptt:40"},
            )
            prepared = prepare(settings)
            if not normed:
                prepared.model.net.thoughts.norm = torch.nn.Identity()
            run, largest, bits = Trainer(prepared, Ranks(), pick(asked.device)), 0.0, float("nan")
            batches = Batches(prepared.spec)
            for step in range(asked.steps + 1):
                if step in (0, asked.steps):
                    found = [float(each.right.mean()) for each in by_length(prepared.model, LENGTHS, 256)]
                    row = [bits, largest, *sizes(run), *found]
                    print("yes" if normed else "no", seed, step, *(f"{v:.3g}" for v in row), sep="\t", flush=True)
                if step < asked.steps:
                    bits = float(run.advance(batches[step]))
                    largest = max(largest, float(run.norm))


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Language models with thoughts: speed, and the norm of what is carried."
    )
    parser.add_argument("--norm", action="store_true")
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
    asked.steps = asked.steps or (240 if asked.norm else 30)
    (norm if asked.norm else speed)(asked)


if __name__ == "__main__":
    main()
