"""What the papers leave out: memories that are superposed, and classes that are learnt one after the other. After capacity.sh.

python capacity_controls.py OUT [--quick]    controls.jsonl, a line for each control and seed; controls.md

Superposed, Willshaw: patterns of 10 of 1,000 units in one matrix of bits (Willshaw et al. 1969), asked for by 5 of their units; right is
the whole pattern and nothing else. Beside it a list of the patterns, of log2 of 1,000 over 10 bits each, at as many bits.
Superposed, sparse distributed memory (Kanerva 1988): images of a bit a pixel (above its median) in counters of 8 bits at hard
locations, which are other images; a location takes part within a radius in Hamming distance on what is observed, which is chosen,
for each number of locations and fragment, by memories that are not among those reported. Right: of all that were stored the image itself is nearest to
what is read.
Class after class: 10,000 images sorted by class, seen once, 64 principal components; the share of 5,000 test images whose class
is right. Keys, rates of learning and the components are chosen on other images.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lemtools.denoise.memory import Memory
from lemtools.encode import decode
from lemtools.encode import load as coder_of
from lemtools.media import load

sys.path.insert(0, str(Path(__file__).parent))
from capacity import FEW, SEEDS, cell
from resume import keep, resumed

UNITS, ACTIVE = 1000, 10
PATTERNS = (250, 500, 1000, 1500, 2000, 4000)
STORED, ASKED = 1000, 200  # images in a sparse distributed memory, and how many are asked for
LOCATIONS, SHARES = (125, 1000, 4000), (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
HEADS, KEYS, KEY = 32, 256, 8  # codebooks, keys of each, numbers of a key
RATES = 10.0 ** np.arange(-5, 2)
Rule = Callable[[np.ndarray], np.ndarray]


# --- superposed


def willshaw(count: int, seed: int) -> dict[str, float]:
    """Share of whole patterns from half of their units, in the matrix and in a list of as many bits, as long as it holds them."""
    rng = np.random.default_rng((2, seed))
    units = np.argsort(rng.random((count, UNITS), np.float32), 1)[:, :ACTIVE]
    patterns = np.zeros((count, UNITS), np.float32)
    np.put_along_axis(patterns, units, 1, 1)
    matrix = (patterns.T @ patterns > 0).astype(np.float32)
    cues = np.zeros_like(patterns)
    np.put_along_axis(cues, units[:, : ACTIVE // 2], 1, 1)
    whole = cues @ matrix == ACTIVE // 2  # all units of the cue are connected to it
    near = cues @ patterns.T
    alone = (near.max(1) == ACTIVE // 2) & ((near == near.max(1, keepdims=True)).sum(1) == 1)
    matrix_bits = UNITS * (UNITS + 1) // 2
    each = math.log2(math.comb(UNITS, ACTIVE))
    return {
        "matrix": float((whole == (patterns > 0)).all(1).mean()),
        "list": float(alone.mean()),
        "bits a pattern, matrix": matrix_bits / count,
        "bits a pattern, list": each,
    }


def distributed(images: np.ndarray, others: np.ndarray, locations: int, seed: int) -> dict[str, list[float]]:
    """{fragment: [share of right images, radius in bits, bits a memory]} by the best radius; images, others: bool [N, D]."""
    rng, width = np.random.default_rng((3, seed)), images.shape[1]
    stored = images[rng.choice(len(images), STORED, replace=False)] * 2.0 - 1
    address = others[rng.choice(len(others), locations, replace=False)] * 2.0 - 1
    tried, asked = np.split(rng.choice(STORED, 2 * ASKED, replace=False), 2)
    far = (width - stored @ address.T) / 2
    found = {}
    random = np.argsort(rng.random((STORED, width)), 1)
    half = np.broadcast_to(np.arange(width) < width // 2, (STORED, width))
    masks = {"50 % of pixels": random < width // 2, "lower half": half, "90 % of pixels": random < width // 10}
    radii = [float(np.quantile(far, share)) for share in SHARES]
    counters = [np.clip((far <= radius).T.astype(float) @ stored, -127, 127) for radius in radii]

    def right(which: np.ndarray, mask: np.ndarray, k: int) -> float:
        cue, seen = stored[which] * mask[which], mask[which].sum(1, keepdims=True)
        near = (seen - cue @ address.T) / 2 <= radii[k] * seen / width
        read = np.sign(near.astype(float) @ counters[k])
        return float(((read @ stored.T).argmax(1) == which).mean())

    for name, mask in masks.items():
        best = int(np.argmax([right(tried, mask, k) for k in range(len(radii))]))
        found[name] = [right(asked, mask, best), radii[best], locations * width * 8 / STORED]
    return found


def both(bits: dict[str, np.ndarray], locations: int, seed: int) -> dict[str, list[float]]:
    """Of images, and of patterns that are drawn at random, half of their bits lost."""
    rng = np.random.default_rng((6, seed))
    random = {name: rng.random((5000, bits[name].shape[1])) < 0.5 for name in ("stored", "others")}
    found = distributed(bits["stored"], bits["others"], locations, seed)
    alone = distributed(random["stored"], random["others"], locations, seed)["50 % of pixels"]
    return found | {"random patterns, 50 %": alone}


# --- class after class


def softmax(x: np.ndarray, y: np.ndarray, rate: float) -> Rule:
    """One pass of stochastic gradient descent, an item at a time."""
    weights = np.zeros((x.shape[1] + 1, 10))
    for row, k in zip(np.c_[x, np.ones(len(x))], y, strict=True):
        p = row @ weights
        p = np.exp(p - p.max())
        p /= p.sum()
        p[k] -= 1
        weights -= rate * np.outer(row, p)
    return lambda new: np.c_[new, np.ones(len(new))] @ weights


def means(x: np.ndarray, y: np.ndarray) -> Rule:
    """The nearest mean of a class."""
    centre = np.stack([x[y == k].mean(0) for k in range(10)])
    return lambda new: 2 * new @ centre.T - (centre**2).sum(1)


def least_squares(x: np.ndarray, y: np.ndarray) -> Rule:
    """Ridge regression on the classes, of sums that are added up."""
    row = np.c_[x, np.ones(len(x))]
    weights = np.linalg.solve(row.T @ row + np.eye(row.shape[1]), row.T @ np.eye(10)[y])
    return lambda new: np.c_[new, np.ones(len(new))] @ weights


class Bottleneck:
    """Fixed keys (Träuble et al. 2023): each of the codebooks sees a random projection and knows its nearest key. others: what the
    keys are fitted to, by k-means, without classes."""

    def __init__(self, others: np.ndarray, seed: int):
        rng = np.random.default_rng((4, seed))
        self.axes = rng.standard_normal((HEADS, others.shape[1], KEY)) / math.sqrt(KEY)
        self.keys = []
        for axes in self.axes:
            z = others @ axes
            keys = z[rng.choice(len(z), KEYS, replace=False)]
            for _ in range(5):
                near = self._nearest(z, keys)
                sums = np.zeros_like(keys)
                np.add.at(sums, near, z)
                count = np.bincount(near, minlength=KEYS)[:, None]
                keys = np.where(count > 0, sums / np.maximum(count, 1), keys)
            self.keys.append(keys)

    @staticmethod
    def _nearest(z: np.ndarray, keys: np.ndarray) -> np.ndarray:
        return ((keys**2).sum(1) - 2 * z @ keys.T).argmin(1)

    def places(self, x: np.ndarray) -> np.ndarray:
        """[N, HEADS]: the keys of vectors."""
        return np.stack([self._nearest(x @ a, k) for a, k in zip(self.axes, self.keys, strict=True)], 1)

    def descent(self, places: np.ndarray, y: np.ndarray, rate: float) -> Callable[[np.ndarray], np.ndarray]:
        """Values by one pass of gradient descent on the softmax of their mean."""
        values, heads = np.zeros((HEADS, KEYS, 10)), np.arange(HEADS)
        for place, k in zip(places, y, strict=True):
            p = values[heads, place].mean(0)
            p = np.exp(p - p.max())
            p /= p.sum()
            p[k] -= 1
            values[heads, place] -= rate * p
        return lambda new: values[heads, new].mean(1)

    def counts(self, places: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """Values are the logarithms of how often a class had the key."""
        values, heads = np.full((HEADS, KEYS, 10), 0.1), np.arange(HEADS)
        np.add.at(values, (heads[None], places, y[:, None]), 1)
        values = np.log(values / values.sum(2, keepdims=True))
        return lambda new: values[heads, new].mean(1)


def kept(memories: np.ndarray, classes: np.ndarray) -> Rule:
    """The posterior of classes by all memories, as lem-reconstruct --answer label has it."""
    memory = Memory(memories)
    return lambda new: np.concatenate(
        [memory.recall(new[i : i + 500], classes=classes).mean for i in range(0, len(new), 500)]
    )


def learnt(sets: dict[str, tuple[np.ndarray, np.ndarray]], seed: int) -> dict[str, list[float]]:
    """{rule: [share of right classes, bits held beside the components]}."""
    rng = np.random.default_rng((5, seed))
    (stored, coded), y = sets["stored"][0], sets["stored"][1]
    some = rng.permutation(len(y))[:FEW]
    some = some[np.argsort(y[some], kind="stable")]  # class after class
    x, y = stored[some], y[some]
    (others, v), (new, wanted) = sets["others"], sets["asked"]
    spread = others.std(0)
    width, wide = x.shape[1], 32
    early = np.sort(rng.permutation(len(v))[:2500])
    early = early[np.argsort(v[early], kind="stable")]
    late = np.setdiff1d(np.arange(len(v)), early)

    def right(rule: Rule, rows: np.ndarray, classes: np.ndarray) -> float:
        return float((rule(rows).argmax(1) == classes).mean())

    def best(make: Callable[[np.ndarray, np.ndarray, float], Rule], rows: np.ndarray, held: np.ndarray) -> float:
        """The rate that serves other images best, class after class."""
        return max(RATES, key=lambda rate: right(make(rows[early], v[early], rate), held[late], v[late]))

    bottleneck = Bottleneck(others / spread, seed)
    a, b, c = (bottleneck.places(rows / spread) for rows in (x, others, new))
    keys = HEADS * KEYS * KEY * wide + HEADS * width * KEY * wide
    found = {
        "softmax, by gradient descent, rate .1": [
            right(softmax(x / spread, y, 0.1), new / spread, wanted),
            (width + 1) * 10 * wide,
        ],
        "softmax, by gradient descent": [
            right(softmax(x / spread, y, best(softmax, others / spread, others / spread)), new / spread, wanted),
            (width + 1) * 10 * wide,
        ],
        "key-value bottleneck, by gradient descent": [
            right(bottleneck.descent(a, y, best(bottleneck.descent, b, b)), c, wanted),
            keys + HEADS * KEYS * 10 * wide,
        ],
        "key-value bottleneck, by counts": [right(bottleneck.counts(a, y), c, wanted), keys + HEADS * KEYS * 10 * 16],
        "class means": [right(means(x, y), new, wanted), 10 * width * wide],
        "least squares, sums added up": [
            right(least_squares(x, y), new, wanted),
            ((width + 1) * (width + 2) // 2 + (width + 1) * 10) * 64,
        ],
        "all vectors kept": [right(kept(x, y), new, wanted), FEW * width * wide],
        "all codes kept, 64 bits each": [right(kept(coded[some], y), new, wanted), FEW * 64],
    }
    return {name: [share, bits] for name, (share, bits) in found.items()}


def vectors(out: Path) -> dict[str, tuple]:
    """Components and classes: of what is stored as they are and as decoded from 64 bits, of others, and of what is asked."""
    pca, rvq = (coder_of(str(out / f"64.{name}.safetensors")) for name in ("pca", "rvq"))

    def of(path: str, coder=None) -> tuple[np.ndarray, np.ndarray]:
        batches = list(load([str(out / path)]))
        if coder is not None:
            made = (
                (pca.encode(batch) for batch in batches)
                if coder is pca
                else (decode([batch], coder) for batch in batches)
            )
            return np.concatenate([b.data for each in made for b in each]), np.concatenate([b.label for b in batches])
        return np.concatenate([b.data for b in batches]), np.concatenate([b.label for b in batches])

    whole, classes = of("64.stored.safetensors")
    return {
        "stored": ((whole, of("64.rvq.codes.safetensors", rvq)[0]), classes),
        "others": of("64.others.safetensors"),
        "asked": of("asked.safetensors", pca),
    }


def main(out: Path) -> None:
    path = out / "controls.jsonl"
    done = resumed(path)
    known = {(one["control"], one["size"], one["seed"]) for one in done}
    pixels = {
        name: np.concatenate([b.data for b in load([str(out / f"{name}.safetensors")])])
        for name in ("stored", "others")
    }
    median = np.median(pixels["others"].reshape(len(pixels["others"]), -1), axis=0)
    bits = {name: each.reshape(len(each), -1) > median for name, each in pixels.items()}
    sets = vectors(out)
    jobs = [("willshaw", size, lambda size, seed: willshaw(size, seed)) for size in PATTERNS]
    jobs += [("distributed", size, lambda size, seed: both(bits, size, seed)) for size in LOCATIONS]
    jobs += [("classes", FEW, lambda size, seed: learnt(sets, seed))]
    for control, size, job in jobs:
        for seed in range(SEEDS):
            if (control, size, seed) not in known:
                keep(path, done, {"control": control, "size": size, "seed": seed, "found": job(size, seed)})
    text = written(done)
    (out / "controls.md").write_text(text)
    print(text)


def written(done: list[dict]) -> str:
    def of(control: str, size: int) -> list[dict]:
        return [one["found"] for one in done if (one["control"], one["size"]) == (control, size)]

    text = [
        "**Willshaw's matrix, 500,500 bits**\n",
        "| patterns | bits a pattern | whole, from half | in a list | bits a pattern |",
        "|---|---|---|---|---|",
    ]
    for size in PATTERNS:
        mine = of("willshaw", size)
        cells = (cell([one[name] for one in mine]) for name in ("matrix", "list"))
        bits = [f"{mine[0][f'bits a pattern, {name}']:,.0f}" for name in ("matrix", "list")]
        text.append(f"| {size:,} | {bits[0]} | {next(cells)} | {next(cells)} | {bits[1]} |")
    text += [
        "",
        f"**Sparse distributed memory, {STORED:,} images**\n",
        "| locations | bits a memory | " + " | ".join(of("distributed", LOCATIONS[0])[0]) + " |",
        "|---" * (2 + len(of("distributed", LOCATIONS[0])[0])) + "|",
    ]
    for size in LOCATIONS:
        mine = of("distributed", size)
        cells = [cell([one[lost][0] for one in mine]) for lost in mine[0]]
        text.append(f"| {size:,} | {next(iter(mine[0].values()))[2]:,.0f} | " + " | ".join(cells) + " |")
    text += ["", "**Class after class**\n", "| | right class | kbit in all |", "|---|---|---|"]
    mine = of("classes", FEW)
    for name in mine[0]:
        text.append(f"| {name} | {cell([one[name][0] for one in mine])} | {mine[0][name][1] / 1000:,.0f} |")
    return "\n".join(text) + "\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
