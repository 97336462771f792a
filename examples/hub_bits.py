"""Thoughts as an interchange format: of how many bits may a hub vector be, and are these fewer than the text's? After hub.sh.

python hub_bits.py OUT [--quick]     hub-bits.jsonl, a line for each draw; hub-bits.md

A hub of three models' sentences (hub.py), by 2,500 of them. Held-out sentences go from a model through the hub into another; on the way a
vector is broken, as a fragment that is sent. Asked: whether the sentence's own vector of the other model is the nearest to where it lands.
Beside that, the bits of the sentence itself: as UTF-8, by itself through xz, and its share of all held-out sentences in one xz; and the bits of a number for
each of the sentences asked among, which is all that this question needs.
"""

import lzma
import sys
from itertools import permutations
from pathlib import Path

import numpy as np

import lemtools
from lemtools.align.hub import fitted
from lemtools.vq.residual import RVQ

sys.path.insert(0, str(Path(__file__).parent))
import hub as table
from resume import keep, resumed

WIDTHS, BITS, STAGES, CODES = (64, 256), (1, 2, 3, 4, 6), (1, 2, 4, 8, 16), 256
NORM = 16  # bits of a vector's norm, where it is kept
TRELLIS = 4  # bits a number, at most; more by equal-mass bins


def broken(vectors: np.ndarray, bits: int) -> np.ndarray:
    """As lem-fragment --bits B --quantizer trellis --rotate and lem-reconstruct give them back."""
    quantizer = "trellis" if bits <= TRELLIS else "lloyd-max"
    fragment = lemtools.fragment(vectors.astype(np.float32), bits=bits, quantizer=quantizer, rotate=True)
    return np.concatenate([part.data for part in lemtools.reconstruct(fragment)])


def formats(learnt: np.ndarray, there: np.ndarray, quick: bool) -> dict[str, tuple[float, np.ndarray]]:
    """{name: (bits a vector, the vectors as they come back)} of hub vectors [N, W]."""
    width = there.shape[1]
    found = {f"{width} numbers of 32 bits": (32.0 * width, there)}
    for bits in BITS[:2] if quick else BITS:
        found[f"{width} numbers, {bits} bits each"] = (float(bits * width + NORM), broken(there, bits))
    asked = STAGES[:2] if quick else STAGES
    residual = RVQ.fit(learnt.astype(np.float32), stages=max(asked), codes=CODES)
    codes = residual.encode(there.astype(np.float32))
    for stages in asked:  # the first of one code's
        made = residual.decode(codes[:, :stages], stages=stages)
        found[f"{width} numbers as {stages} codes of {CODES}"] = (stages * np.log2(CODES), made)
    return found


def measured(data: dict[str, np.ndarray], held: np.ndarray, draw: int, quick: bool) -> dict[str, list[float]]:
    """{format: [bits a vector, share found, mean over all ways between two models, its half interval over items]}."""
    translate = table.translate
    test, rest = np.flatnonzero(held)[: translate.HELD["sentences"]], np.flatnonzero(~held)
    learnt = np.random.default_rng([draw, 1]).permutation(rest)[: translate.MOST["sentences"]]
    rows: dict[str, list[float]] = {}
    for width in WIDTHS[:1] if quick else WIDTHS:
        maps = fitted(list(table.SPACES), [tuple(data[name][learnt] for name in table.SPACES)], width).maps
        found: dict[str, list] = {}
        sent = {a: formats(maps[a].apply(data[a][learnt]), maps[a].apply(data[a][test]), quick) for a in table.SPACES}
        for a, b in permutations(table.SPACES, 2):
            for name, (bits, made) in sent[a].items():
                arrived = maps[b].apply(made.astype(np.float64), back=True) - maps[b].mean[0]
                hits = table.recall_cosine(data[b][test] - maps[b].mean[0], arrived)
                found.setdefault(name, [bits, []])[1].append(hits)
        for name, (bits, hits) in found.items():
            each = np.mean(hits, axis=0)
            rows[name] = [bits, float(each.mean()), translate.interval(each)]
    return rows


def texts(lines: list[str]) -> dict[str, float]:
    """{way: bits a sentence} of the sentences themselves."""
    every = [line.encode() for line in lines]
    alone = [len(lzma.compress(line, format=lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2}])) for line in every]
    together = len(lzma.compress(b"\n".join(every), preset=9 | lzma.PRESET_EXTREME))
    return {
        "the sentence, UTF-8": 8 * float(np.mean([len(line) for line in every])),
        "the sentence by itself, xz without its header": 8 * float(np.mean(alone)),
        f"its share of {len(lines):,} sentences in one xz": 8 * together / len(lines),
        f"a number for each of {len(lines):,}": float(np.log2(len(lines))),
    }


def main(out: Path, quick: bool) -> None:
    data, held = table.load(out, "sentences")
    path = out / "hub-bits.jsonl"
    done = resumed(path)
    for draw in range(len(done), 1 if quick else table.translate.DRAWS):
        keep(path, done, measured(data, held, draw, quick))
    text = shown(done, out, held)
    (out / "hub-bits.md").write_text(text)
    print(text)


def shown(done: list[dict], out: Path, held: np.ndarray) -> str:
    """By bits: what a vector takes and what is found by it, the mean of the draws, their least and greatest; and what the text takes."""
    short, translate = table.translate.short, table.translate
    sentences = (out / "sentences.txt").read_text("utf8").rstrip("\n").split("\n")
    there = [sentences[i] for i in np.flatnonzero(held)[: translate.HELD["sentences"]]]
    cells = []
    for name, (bits, *_) in done[0].items():
        found, halves = np.array([one[name][1:] for one in done]).T
        spread = f"({short(found.min())} to {short(found.max())})"
        cells.append((bits, f"| {name} | {bits:,.0f} | {short(found.mean())} {spread} ± {short(halves.max())} |"))
    cells += [(bits, f"| {name} | {bits:,.0f} | |") for name, bits in texts(there).items()]
    head = ["| what is sent | bits | found |", "|---|---|---|"]
    return "\n".join([*head, *(cell for _, cell in sorted(cells, key=lambda cell: cell[0]))]) + "\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--quick" in sys.argv)
