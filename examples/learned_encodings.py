"""What examples/learned-encodings.sh searches and prints. Usage: learned_encodings.py search|table ...

    search MODEL LEARNT HELD CODEC OUT.json    the best at each number of stored bits, chosen on LEARNT, measured on HELD
    table RESULT.json ...                      bits a byte of every arm at sizes that are the same for all

DEVICE is where networks work, WINDOWS how many of HELD are measured; with FULL the search knows more ways.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np

from lemtools.rng import generator
from lemtools.signal import LemError

CHOOSING = 32  # windows on which is chosen
SIZES = 8  # of the table
DRAWS = 10_000  # of the bootstrap
BLOCK = 8  # windows that are drawn together, those of one passage


def search(path: str, learnt: str, held: str, codec: str, out: str) -> None:
    """One model: its envelope, with the bits of every window for paired intervals."""
    import torch

    from lemtools.device import pick
    from lemtools.nets.model import load
    from lemtools.train import storing
    from lemtools.train.corpus import codecs, load_corpus

    torch.set_num_threads(1)
    device = pick(os.environ.get("DEVICE", "auto"))
    model = load(path, device)
    tokenizer = codecs([codec]).tokenizer
    choosing, measuring = (
        storing.windows(model, load_corpus([name], tokenizer), count, device)
        for name, count in ((learnt, CHOOSING), (held, int(os.environ.get("WINDOWS", "64"))))
    )
    quick = storing.ways(scalar=(1, 2, 3, 4, 6, 8), trellis=(2,), stages=(2,))
    ways = storing.WAYS if os.environ.get("FULL") else quick
    line = storing.envelope(storing.search(model, choosing, measuring, ways))
    _, sizes = storing.costs(model.net, measuring)
    name, seed = Path(path).stem.rsplit("-", 1)
    found = {
        "arm": name,
        "seed": int(seed),
        "data": model.meta["data"],
        "as_trained": storing.cost(model.net, measuring),
        "ends": storing.ends(line),
        "sizes": sizes.tolist(),
        "line": [
            {"bits": p.bits, "learnt": p.learnt, "loss": p.loss, "chosen": p.chosen, "each": p.each.tolist()}
            for p in line
        ],
    }
    Path(out).write_text(json.dumps(found))


def best(result: dict, bits: float) -> dict | None:
    """What an envelope has within so many bits: the last that fits, which the learnt text takes fewest bits by."""
    return max((p for p in result["line"] if p["bits"] <= bits), key=lambda p: p["bits"], default=None)


def compared(arms: dict[str, dict[int, dict]], arm: str, bits: float) -> tuple[float, float, float] | None:
    """(difference of an arm from full in bits a byte at this size, low, high): 95 %, by a bootstrap that draws seeds and
    passages, the same of both, and is rather too wide than too narrow (Owen 2007, The pigeonhole bootstrap). None where one
    of the two does not fit."""
    seeds = sorted(set(arms[arm]) & set(arms["full"]))
    pairs = [(best(arms[arm][s], bits), best(arms["full"][s], bits)) for s in seeds]
    if not seeds or any(p is None for pair in pairs for p in pair):
        return None
    apart = np.array([np.subtract(a["each"], b["each"]) for a, b in pairs])  # [seeds, windows]
    sizes = np.array(arms["full"][seeds[0]]["sizes"])
    starts = np.arange(0, apart.shape[1], BLOCK)
    bits_, bytes_ = np.add.reduceat(apart, starts, 1), np.add.reduceat(sizes, starts)
    draws = generator(0, 0, 0, "learned encodings")
    found = np.empty(DRAWS)
    for i in range(DRAWS):
        rows, passages = draws.integers(len(seeds), size=len(seeds)), draws.integers(len(starts), size=len(starts))
        found[i] = bits_[np.ix_(rows, passages)].sum(1).mean() / bytes_[passages].sum()
    return (float(apart.sum(1).mean() / sizes.sum()), *np.quantile(found, (0.025, 0.975)).tolist())


def table(*paths: str) -> None:
    """Of every arm, by seeds: as trained, in float32; then at each size the best, and how far it is from full."""
    results = [json.loads(Path(path).read_text()) for path in paths]
    if len(texts := {result["data"] for result in results}) != 1:
        raise LemError(f"models of {len(texts)} texts ({', '.join(sorted(texts))}); arms are compared on one")
    arms: dict[str, dict[int, dict]] = {}
    for result in results:
        arms.setdefault(result["arm"], {})[result["seed"]] = result
    if "full" not in arms:
        raise LemError("no result of the full table, with which all others are compared")
    print(f"data of all arms\t{texts.pop()}")
    least = max(r["line"][0]["bits"] for r in arms["full"].values())
    most = max(r["line"][-1]["bits"] for r in results)
    smallest = min(r["line"][0]["bits"] for r in results)
    sizes = np.unique(np.geomspace(min(smallest, least), most, SIZES).round().astype(int))
    print("arm-ratio", "seeds", "as trained", *(f"{size / 8e3:.0f} kB" for size in sizes), "ends at", sep="\t")
    for arm, runs in sorted(arms.items()):
        cells = []
        for size in sizes:
            there = [best(run, size) for run in runs.values()]
            mean = None if None in there else np.mean([p["loss"] for p in there])
            apart = None if mean is None or arm == "full" else compared(arms, arm, size)
            shown = "" if apart is None else f" ({apart[0]:+.3f}, {apart[1]:+.3f} to {apart[2]:+.3f})"
            cells.append("-" if mean is None else f"{mean:.3f}{shown}")
        ends = sorted({run["ends"].split(",")[0] for run in runs.values()} - {""})
        trained = np.mean([run["as_trained"] for run in runs.values()])
        print(arm, len(runs), f"{trained:.3f}", *cells, " or ".join(ends) or "no end of the search", sep="\t")


def main(words: list[str]) -> int:
    stages = {"search": search, "table": table}
    if len(words) < 2 or words[0] not in stages:
        print(__doc__.split("\n\n")[0], file=sys.stderr)
        return 2
    try:
        stages[words[0]](*words[1:])
    except (LemError, OSError) as error:
        print(f"learned_encodings.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
