"""What examples/lm.sh counts and prints. Usage: lm.py runs|recovered|quantiser|patch ...

Networks and quantisers work on DEVICE (auto, cpu, cuda ...), as lem-train does.
"""

import json
import os
import sys
from collections import Counter

import numpy as np
import torch

from lemtools.device import pick
from lemtools.encode.patch_back import patch_back
from lemtools.encode.token_ae import TokenAE, recovered
from lemtools.fragment import fragment
from lemtools.nets.model import load
from lemtools.signal import Signal, bits_per_element
from lemtools.vq.residual import RVQ

DEVICE = os.environ.get("DEVICE", "auto")


def parts(path: str) -> tuple[np.ndarray, np.ndarray]:
    """(bytes to learn from, the last tenth)."""
    raw = np.fromfile(path, np.uint8)
    return np.split(raw, [len(raw) - len(raw) // 10])


def runs(name: str, key: str, model: str, *seeds: str) -> None:
    """Mean and standard deviation over seeds of what the last record of each log has."""
    last = [json.loads(open(f"{model}-{seed}.jsonl").read().splitlines()[-1]) for seed in seeds]
    values = np.array([record[key] for record in last])
    size = load(f"{model}-{seeds[0]}.safetensors").parameters
    spread = f"{values.std(ddof=1):.3f}" if len(values) > 1 else "one seed"
    print(f"{name}\t{values.mean():.3f}\t{spread}\t{last[0]['step']}\t{size}")


def recovered_table(path: str, *models: str) -> None:
    """Share of the tokens of the last tenth that come back, exact to the count."""
    _, held = parts(path)
    learnt = Counter(parts(path)[0].tolist())
    share = np.array([learnt[c] + 1 for c in range(256)]) / (sum(learnt.values()) + 256)
    print(f"unigram: {-np.log2(share[held]).mean():.2f} bits a token; by chance right: {share[held].mean():.4f}")
    for i, model in enumerate(models):
        ae = TokenAE.load(model).to(DEVICE)
        tokens = held[: len(held) // (64 * ae.chunk) * 64 * ae.chunk].reshape(-1, 64 * ae.chunk)
        found = recovered(ae, tokens, noises=(0.1, 0.3, 0.5, 1.0))
        if not i:
            print("K\tlatent", *found, *(f"bits a token at {b}" for b in (8, 4, 3)), sep="\t")
        costs = [f"{cost(ae, tokens, b):g}" for b in (8, 4, 3)]
        print(ae.chunk, ae.dims, *(f"{share:.5f}" for share in found.values()), *costs, sep="\t")


def cost(ae: TokenAE, tokens: np.ndarray, bits: int) -> float:
    """Bits a token of latents at so many bits a number, with the norm that travels beside each vector."""
    latents = Signal("embedding", ae.vectors(tokens[:1].reshape(-1, ae.chunk)))
    (coarse,) = fragment([latents], [{"op": "bits", "bits": bits}], 0)
    return float(bits_per_element(coarse).mean()) * ae.dims / ae.chunk


def report(made, held: np.ndarray) -> None:
    """What a quantiser does to vectors that it was not fitted to."""
    for name, value in made.report(held).items():
        print(f"{name}\t{value:.4g}")


def quantiser(path: str, model: str, out: str, stages: str, codes: str) -> None:
    """A residual quantiser of the vectors of the text, those that begin at any token of what is learnt from."""
    ae, (learnt, held) = TokenAE.load(model).to(DEVICE), parts(path)
    learnt = learnt[: len(learnt) - len(held) // 10]  # windows that a model keeps back begin before the last tenth
    starts = np.linspace(0, len(learnt) - ae.chunk, min(len(learnt) // 2, 1 << 17)).astype(int)
    chunks = held[: len(held) // ae.chunk * ae.chunk].reshape(-1, ae.chunk)
    vectors = ae.vectors(chunks)
    if os.path.exists(out):
        made = RVQ.load(out, pick(DEVICE))
    else:
        seen = ae.vectors(learnt[starts[:, None] + np.arange(ae.chunk)])
        made = RVQ.fit(seen, stages=int(stages), codes=int(codes), device=pick(DEVICE))
        made.save(out)
    report(made, vectors)
    for s in range(1, made.stages + 1):
        share = (ae.tokens(made.decode(made.encode(vectors), stages=s)) == chunks).mean()
        print(f"tokens recovered by {s} stages\t{share:.4f}")


def patch(path: str, model: str, layer: str, stages: str, codes: str, windows: int = 512) -> None:
    """Rate, distortion and loss at a layer: quantised as fitted to what is learnt from, put back in the last tenth."""
    net, (learnt, held), layer = load(model, pick(DEVICE)).net, parts(path), int(layer)
    span = net.context + 1
    held = held[: len(held) // span * span].reshape(-1, span)[:windows]
    starts = np.linspace(0, len(learnt) - span, 4 * windows).astype(int)

    @torch.no_grad()
    def activations(rows: np.ndarray) -> np.ndarray:
        """[N T, W] of tokens [N, T]."""
        asked = torch.from_numpy(rows.astype(np.int64)).split(16)
        return torch.cat([net.hidden(part.to(pick(DEVICE)), layer).flatten(0, 1).cpu() for part in asked]).numpy()

    vectors = activations(learnt[starts[:, None] + np.arange(span - 1)])
    made = RVQ.fit(vectors, stages=int(stages), codes=int(codes), device=pick(DEVICE))
    report(made, activations(held[:64, :-1]))
    print(f"layer {layer} of {net.depth}, {vectors.shape[1]} dimensions, {held[:, 1:].size} tokens of the last tenth")
    print("stages\tbits a vector\tNMSE\tloss, bits a token\tchange")
    for row in patch_back(net, layer, made, held):
        name = {None: "as it is", 0: "the mean alone"}.get(row["stages"], row["stages"])
        bits = "" if row["bits"] is None else f"{row['bits']:g}"
        print(f"{name}\t{bits}\t{row['nmse']:.4f}\t{row['loss']:.4f}\t{row['change']:+.4f}")


if __name__ == "__main__":
    commands = {"recovered": recovered_table} | {f.__name__: f for f in (runs, quantiser, patch)}
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    commands[sys.argv[1]](*sys.argv[2:])
