"""How fast lem-train lm learns: beside a bare PyTorch loop of the same network, and several runs side by side.

    python bench_lm.py [--depth 2,4] [--batch 32] [--vocabulary 4096] [--runs 5] [--compile] [--nanochat FOLDER]

Tokens a second, of the same text, with CUDA events where there is a GPU:

    bare         forward, backward and AdamW on batches that lie on the device: no average of the weights, no clipping, no log
    clip + EMA   the same, with both by torch's own means
    lem-train    with batches as they come
    runs         the same, of all of --runs runs side by side (--runs of lem-train)
    nanochat     its GPT of the same depth, width, heads, vocabulary and context, in a bare loop with its own optimizer and
                 torch.compile, from a checkout in FOLDER

`share` is lem-train over bare, `gain` runs over lem-train: what one gets in the time of so many runs one after the other.
"""

import argparse
import contextlib
import itertools
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from bench_train import CYCLE, bare, rate

from lemtools.ranks import Ranks
from lemtools.train.prepare import prepare
from lemtools.train.settings import Settings


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--depth", default="2,4")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--nanochat")
    asked = parser.parse_args()
    cuda = torch.cuda.is_available()
    where = torch.cuda.get_device_name() if cuda else "CPU"
    print(f"tokens a second, batch {asked.batch}, {asked.vocabulary} tokens, {where}")
    print(
        "depth",
        "bare",
        "clip + EMA",
        "lem-train",
        "share",
        f"{asked.runs} runs",
        "gain",
        "nanochat",
        sep="\t",
        flush=True,
    )
    for depth in map(int, asked.depth.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            print(depth, *of_depth(asked, depth, Path(folder), cuda), sep="\t", flush=True)


def of_depth(asked, depth: int, folder: Path, cuda: bool) -> list[str]:
    """The cells of a row."""
    text = folder / "text.npy"
    np.save(text, np.random.default_rng(0).integers(0, asked.vocabulary, (1, 1 << 20), np.int32))
    device, steps = ("cuda", asked.steps) if cuda else ("cpu", 3)
    context = {"options": {"context": 64 * depth}}
    common = dict(
        depth=depth, batch=asked.batch, holdout=0, kind="tokens", steps=10**6, compile=asked.compile, **context
    )
    settings = Settings("lm", [str(text)], str(folder / "%d.safetensors"), device=device, **common)
    prepared = prepare(settings)
    run = prepared.run(prepared, Ranks(), device)
    batches = prepared.batches(0, 1)
    there = [run.to_device(batches[k]) for k in range(CYCLE)]
    times = [rate(bare(prepared, run, more), itertools.cycle(there), steps, cuda) for more in (False, True)]
    with contextlib.closing(batches.steps(0, 10**9, None, device)) as made:
        times.append(rate(run.advance, made, steps, cuda))
    several = prepare(Settings(**{**vars(settings), "runs": asked.runs}))
    many = several.run(several, Ranks(), device)
    with contextlib.closing(several.batches(0, 1).steps(0, 10**9, None, device)) as made:
        joint = rate(many.advance, made, steps, cuda)
    tokens = asked.batch * 64 * depth
    one, clipped, ours, all_of_them = (
        tokens / times[0],
        tokens / times[1],
        tokens / times[2],
        asked.runs * tokens / joint,
    )
    cells = [
        f"{one:,.0f}",
        f"{clipped:,.0f}",
        f"{ours:,.0f}",
        f"{ours / one:.3f}",
        f"{all_of_them:,.0f}",
        f"{all_of_them / ours:.2f}",
    ]
    return [*cells, f"{tokens / nanochat(asked, depth, there, steps):,.0f}" if asked.nanochat else ""]


def nanochat(asked, depth: int, there: list, steps: int) -> float:
    """Seconds a step of nanochat's network and optimizers."""
    sys.path.insert(0, asked.nanochat)
    from nanochat.gpt import GPT, GPTConfig

    sizes = dict(n_layer=depth, n_head=depth, n_kv_head=depth, n_embd=64 * depth, window_pattern="L")
    with torch.device("cuda"):
        net = GPT(GPTConfig(sequence_len=64 * depth, vocab_size=asked.vocabulary, **sizes))
    net.init_weights()
    made = net.setup_optimizers() if hasattr(net, "setup_optimizers") else net.setup_optimizer()
    optimizers = made if isinstance(made, (list, tuple)) else [made]
    call = torch.compile(net, dynamic=False)

    def step(batch):
        items = batch["target"].long()
        with torch.autocast("cuda", torch.bfloat16):
            loss = call(items[:, :-1].contiguous(), items[:, 1:].contiguous())
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        net.zero_grad(set_to_none=True)

    return rate(step, itertools.cycle(there), steps, True)


if __name__ == "__main__":
    main()
