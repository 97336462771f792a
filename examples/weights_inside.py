"""What examples/weights.sh measures inside small language models: activations at few bits, and each matrix broken alone.

weights_inside.py activations TEXT MODEL ...     bits a byte where the states after a block, or after every block, have few bits
weights_inside.py conditions TEXT MODEL ...      of every matrix its condition number, its error at 2 bits, and what that costs

Of the last tenth of TEXT, in windows that lie side by side. Models are of other seeds: means over them, and 95 % intervals by Student's t.
"""

import sys

import numpy as np
import torch
import torch.nn.functional as F

from lemtools.front import fragment, reconstruct
from lemtools.nets.model import load
from weights import half_width, spearman

ARMS = [f"{name}-{bits}" for bits in (8, 4, 3, 2) for name in ("absmax", "lloyd-max")]
LOSSES = {"absmax": "--quantizer absmax", "lloyd-max": "--quantizer lloyd-max --rotate"}
BATCH = 16


def broken(x: np.ndarray, arm: str) -> np.ndarray:
    """Vectors [N, W] at few bits, and recalled. arm: a quantiser and its bits a number; scales come on top."""
    name, _, bits = arm.rpartition("-")
    return np.concatenate([part.data for part in reconstruct(fragment(x, f"--bits {bits} {LOSSES[name]}"))])


def windows(net, text: str) -> torch.Tensor:
    """int64 [N, T + 1]."""
    raw = np.fromfile(text, np.uint8)
    held, span = raw[len(raw) - len(raw) // 10 :], net.context + 1
    return torch.from_numpy(held[: len(held) // span * span].reshape(-1, span).astype(np.int64))


@torch.no_grad()
def bits(net, rows: torch.Tensor, arm: str | None = None, after: tuple[int, ...] = ()) -> float:
    """Bits a byte. after: the blocks whose states are at few bits before the next reads them."""
    total = 0.0
    for part in rows.split(BATCH):
        x, last = net.hidden(part[:, :-1], 0), 0
        for block in after:
            x, last = net.trunk.run(x, last, block), block
            x = torch.from_numpy(broken(x.flatten(0, 1).numpy(), str(arm))).view_as(x)
        logits = net.resume(x, last)
        total += float(F.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum"))
    return total / np.log(2) / rows[:, 1:].numel()


def mean(values) -> str:
    x = np.asarray(values)
    wide = half_width(x)
    return f"{x.mean():+.3f}" + (f" ± {wide:.3f}" if np.isfinite(wide) else "")


def activations(text: str, *paths: str) -> None:
    """More bits a byte than with states of 32 bits, by arm and by the block whose states are at few."""
    nets = [load(path).net for path in paths]
    rows = [windows(net, text) for net in nets]
    whole = [bits(net, row) for net, row in zip(nets, rows)]
    depth = nets[0].depth
    places = [*((layer,) for layer in range(1, depth + 1)), tuple(range(1, depth + 1))]
    print(f"whole: {np.mean(whole):.3f} bits a byte; by few bits of the states, more than that")
    heads = [f"after block {place[0]}" if len(place) == 1 else "after every block" for place in places]
    print("| arm | " + " | ".join(heads) + " |\n" + "|---" * (len(places) + 1) + "|")
    for arm in ARMS:
        cells = [[bits(net, row, arm, place) - w for net, row, w in zip(nets, rows, whole)] for place in places]
        print(f"| {arm} | " + " | ".join(map(mean, cells)) + " |", flush=True)


@torch.no_grad()
def conditions(text: str, *paths: str) -> None:
    """A row a matrix, of which there is one in every model; below, over matrices and models, what goes with what."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for path in paths:
        net = load(path).net
        rows = windows(net, text)
        whole = bits(net, rows)
        for name, weight in net.named_parameters():
            if weight.ndim != 2 or name == "enter.weight":  # (vectors of tokens)
                continue
            kept = weight.clone()
            few = broken(kept.numpy(), "lloyd-max-2")
            error = float(np.square(few - kept.numpy()).sum() / kept.square().sum())
            weight.copy_(torch.from_numpy(few))
            values = torch.linalg.svdvals(kept)
            found.setdefault(name, []).append((float(values[0] / values[-1]), error, bits(net, rows) - whole))
            weight.copy_(kept)
    print("| matrix | condition number | squared error, of its own | more bits a byte |\n|---|---|---|---|")
    for name, each in found.items():
        condition, error, more = zip(*each)
        print(f"| {name} | {np.mean(condition):.0f} ({min(condition):.0f} to {max(condition):.0f}) "
              f"| {np.mean(error):.4f} | {mean(more)} |")  # fmt: skip
    condition, error, more = np.array([row for each in found.values() for row in each]).T
    print(f"\nSpearman over {len(more)} matrices: condition and loss {spearman(condition, more):+.2f}, "
          f"condition and error {spearman(condition, error):+.2f}, error and loss {spearman(error, more):+.2f}")  # fmt: skip


if __name__ == "__main__":
    {"activations": activations, "conditions": conditions}[sys.argv[1]](*sys.argv[2:])
