"""Tokens a second of a language model that writes: lem-reconstruct's way beside a bare PyTorch loop of the same network.

    python bench_generate.py [--quick] [--device cpu|cuda] [--depth N] [--rows N] [--vocabulary N]

The network is lem-train lm's of that depth, with weights as they are drawn: how fast it is does not depend on what it says.

    no cache     all tokens before, again for every token
    bare         a cache; the next token by multinomial, on the device: no draw by seed, nothing else
    step         the network alone, token after token, by nets.step: on CUDA one graph
    continue     lem-reconstruct --method continue: draws by the seed in float64 on the CPU, each row's own
    among        the same with --top 50 --top-p .9 --typical .9

All go on from one token, as far as the context reaches and then from half of it on, but for `step`, which begins anew. The last column is the
number over that of `bare`. The aim is 2,000 tokens a second of `continue` for depth 4 at one row on an H100.
"""

import argparse
import time

import numpy as np
import torch

from lemtools.nets import build
from lemtools.nets.model import Model
from lemtools.nets.reader import begins
from lemtools.nets.step import Step
from lemtools.reconstruct.continuing import Continuer
from lemtools.signal import Signal


def seconds(work, device: str) -> float:
    """Of the faster of two runs, after one that warms up."""
    found = []
    for _ in range(3):
        begun = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - begun)
    return min(found[1:])


@torch.inference_mode()
def uncached(net, rows: int, count: int, device: str) -> None:
    tokens = torch.zeros(rows, 1, dtype=torch.int64, device=device)
    for place in range(1, count + 1):
        logits = net(tokens[:, begins(place, net.context) :])[:, -1]
        tokens = torch.cat([tokens, logits.softmax(-1).multinomial(1)], 1)


@torch.inference_mode()
def bare(net, rows: int, count: int, device: str) -> None:
    tokens, caches, begun = torch.zeros(rows, 1, dtype=torch.int64, device=device), None, 0
    for place in range(1, count + 1):
        if caches is None or begins(place, net.context) != begun:
            caches, begun = net.caches(), begins(place, net.context)
            logits = net.after(tokens[:, begun:], caches)
        else:
            logits = net.after(tokens[:, -1:], caches)
        tokens = torch.cat([tokens, logits.softmax(-1).multinomial(1)], 1)


class Steps:
    """The network alone."""

    @torch.inference_mode()
    def __init__(self, net, rows: int, device: str):
        self.token = torch.zeros(rows, 1, dtype=torch.int64, device=device)
        self.caches = net.caches()
        net.said(self.token, self.caches)
        self.step = Step(net, self.caches)

    @torch.inference_mode()
    def run(self, count: int) -> None:
        for _ in range(count):
            if self.step.used == self.step.slots:
                self.step.begin(self.caches)
            self.token = self.step(self.token).argmax(-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few tokens, to see that it runs")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--vocabulary", type=int, default=256)
    asked = parser.parse_args()
    device, rows, count = asked.device, asked.rows, 40 if asked.quick else 1000
    torch.manual_seed(0)
    config = {"net": "lm", "vocabulary": asked.vocabulary, "depth": asked.depth}
    net = build(config).eval().to(device)
    torch.nn.init.normal_(net.head.weight, std=0.1)
    meta = {"recipe": "lm", "kind": "tokens", "net": config, "item": [net.context + 1]}
    prompt = Signal("tokens", np.zeros((rows, 1), np.uint8))
    plain, among = (
        Continuer(Model(net, meta), more=count, device=device, **how)
        for how in ({}, {"top": 50, "top_p": 0.9, "typical": 0.9})
    )
    steps = Steps(net, rows, device)
    cases = {
        "no cache": lambda: uncached(net, rows, count // 4, device),
        "bare": lambda: bare(net, rows, count, device),
        "step": lambda: steps.run(count),
        "continue": lambda: plain(prompt),
        "among": lambda: among(prompt),
    }
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}; depth {asked.depth}, width {net.trunk.width}, context {net.context}, {rows} rows, {count} tokens")
    made = {"no cache": rows * (count // 4)}
    speed = {case: made.get(case, rows * count) / seconds(work, device) for case, work in cases.items()}
    print("\ttokens a second\tover bare")
    for case, found in speed.items():
        print(f"{case}\t{found:.0f}\t{found / speed['bare']:.2f}")


if __name__ == "__main__":
    main()
