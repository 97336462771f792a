"""How much arrives of few pairs, and vectors of each side without partners: self-learning, by what it could be compared with.

python translate_few.py OUT [--quick | --again]     few.jsonl, a line for each setting and draw of pairs; few.md. --again: few-again.jsonl
                                                    and few-again.md, of other held-out items (translate.py). Both: 64 pairs of
                                                    words and 16 of sentences alone
"""

import sys
from pathlib import Path

import numpy as np

from lemtools.align.dictionary import STOPS, grown, learnt
from lemtools.align.linear import procrustes
from lemtools.align.maps import Map, unit
from lemtools.align.pairs import Paired
from lemtools.catalogue.maps import MAPS
from resume import keep, resumed
from translate import AGAIN, COLUMNS, HELD, cut, load, matched, named, scored, short

TEXTS = {column: of for column, of in COLUMNS.items() if of[0] != "images"}
PAIRS, DRAWS = (16, 64), (20, 21, 22)  # (what was tried before the rounds were settled had other draws)
HEADLINE = {"words": 64, "sentences": 16}  # pairs, of --quick and of other held-out items
ROUNDS = 8  # of the dictionary of single neighbours


def sides(rest: np.ndarray, pairs: int, same: bool, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Places of the pairs, and of the vectors without partners of either side: all others in two orders, or a half each."""
    order = rng.permutation(rest)
    learnt, others = order[:pairs], order[pairs:]
    half = len(others) // 2
    return learnt, *((others, rng.permutation(others)) if same else (others[:half], others[half:]))


def hard(pairs: Paired, a: np.ndarray, b: np.ndarray) -> Map:
    """Rounds of Procrustes on the pairs and those that are each other's nearest by CSLS."""
    found = procrustes(pairs)
    for _ in range(ROUNDS):
        near = 2 * (unit(found.apply(a) - b.mean(0)) @ unit(b - b.mean(0)).T)
        crowd = [np.partition(side, -10, axis=1)[:, -10:].mean(1) / 2 for side in (near, near.T)]
        near = near - crowd[0][:, None] - crowd[1]
        best = near.argmax(1)
        own = near.argmax(0)[best] == np.arange(len(a))
        found = procrustes(Paired.of(np.vstack([pairs.x, a[own]]), np.vstack([pairs.y, b[best[own]]])))
    return found


def measured(data: dict, items: str, names: tuple[str, str], pairs: int, same: bool, draw: int) -> dict:
    x, y = (data[name].astype(np.float64) for name in names)
    test, rest = np.flatnonzero(data["held"])[: HELD[items]], np.flatnonzero(~data["held"])
    rng = np.random.default_rng([draw, 1])
    known, one, other = sides(rest, pairs, same, rng)

    def score(found: Map, y: np.ndarray = y) -> list[float]:
        values = scored(found.apply(x[test]) - found.mean[1], y[test] - found.mean[1])
        return [float(np.mean(values[name])) for name in ("top1", "csls")]

    taken, more = Paired.of(x[known], y[known]), (x[one], y[other])
    auto = MAPS.load("auto")(taken)
    chosen = auto.facts.pop("chosen")
    rows = {"pairs alone": score(auto), "neighbours by CSLS, one each": score(hard(taken, *more))}
    found = learnt(taken, more, auto, MAPS.load(chosen))
    rows["self-learning"] = score(found)
    whole = STOPS[-1:]
    gaussian = matched(y, rng)
    controls = {
        "self-learning, shuffled pairs": (Paired.of(x[known], rng.permutation(y[known])), more, y),
        "self-learning, Gaussian for B": (Paired.of(x[known], gaussian[known]), (x[one], gaussian[other]), gaussian),
    }
    for name, (of, clouds, against) in controls.items():
        rows[name] = score(grown(of, clouds, whole)[0], against)
    middle = [np.concatenate([side[known], side[at]]).mean(0) for side, at in zip((x, y), (one, other))]
    values = scored(cut(x[test] - middle[0], y.shape[1]), y[test] - middle[1])
    rows["identity, cut or padded"] = [float(np.mean(values[name])) for name in ("top1", "csls")]
    facts = {name: found.facts[name] for name in ("rounds", "mrr-before", "mrr-after")}
    return {"vectors": [len(one), len(other)], "items": len(test), "rows": rows, **facts}


def main(out: Path, quick: bool, again: bool = False) -> None:
    path = named(out, "few.jsonl", again)
    done = resumed(path)
    there = {(one["column"], one["pairs"], one["same"], one["draw"]) for one in done}
    for same in (False,) if quick or again else (False, True):
        for draw in DRAWS[:1] if quick or same else [AGAIN * again + draw for draw in DRAWS]:
            for column, (items, *names) in TEXTS.items():
                for pairs in (HEADLINE[items],) if quick or again else PAIRS:
                    if (column, pairs, same, draw) not in there:
                        one = {"column": column, "pairs": pairs, "same": same, "draw": draw}
                        one |= measured(load(out, items, again), items, names, pairs, same, draw)
                        keep(path, done, one)
    text = "\n".join(shown([one for one in done if one["same"] == same], same) for same in (False, True))
    named(out, "few.md", again).write_text(text)
    print(text)


def shown(done: list[dict], same: bool) -> str:
    """A table, a line for each pair of spaces and number of pairs: top-1 / with CSLS, and the least and greatest top-1 of several draws."""
    if not done:
        return ""
    heads = ["", "pairs", *done[0]["rows"], "left out, before and after", "rounds"]
    out = [
        f"**{'the same' if same else 'other'} items on each side**\n",
        "| " + " | ".join(heads) + " |",
        "|---" * len(heads) + "|",
    ]
    for key in dict.fromkeys((one["column"], one["pairs"]) for one in done):
        runs = [one for one in done if (one["column"], one["pairs"]) == key]
        cells = [key[0], str(key[1])]
        for name in done[0]["rows"]:
            values = np.array([one["rows"][name] for one in runs])
            spread = f" ({short(values[:, 0].min())} to {short(values[:, 0].max())})" if len(runs) > 1 else ""
            cells.append(" / ".join(map(short, values.mean(0))) + spread)
        left = [float(np.mean([one[name] for one in runs])) for name in ("mrr-before", "mrr-after")]
        cells += [", ".join(map(short, left)), ", ".join(str(one["rounds"]) for one in runs)]
        out.append("| " + " | ".join(cells) + " |")
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--quick" in sys.argv, "--again" in sys.argv)
