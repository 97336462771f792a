"""Does a memory recall what it stores? The share of fragments whose nearest memory is the item itself.

    python stored.py DATA [--quick]

The first N images of CIFAR-10 and MNIST are stored. Fragments: the bottom ceil(f H) rows lost, or random pixels lost
(shared by the channels). `aware` compares what is observed only; `unaware`, the control of the literature, takes lost values
for zeros. `ceiling`: what exact ties allow, the mean of 1 / (number of memories equal on the observed).
N = 50: mean over 20 seeded subsets of the first 10,000, with its standard deviation. N = 10,000: every tenth item is asked
for, at rows .9 all of them; of the control every hundredth.
"""

import gzip
import math
import sys
import tempfile
from pathlib import Path

import numpy as np

from lemtools.denoise.memory import Memory

sys.path.insert(0, str(Path(__file__).parent))
from data import cifar

ROWS, RANDOM = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], [0.5, 0.75, 0.9, 0.95, 0.99]


def load(data: Path) -> dict[str, np.ndarray]:
    """{name: uint8 [10000, C, H, W]}."""
    with tempfile.TemporaryDirectory() as folder:
        cifar(data, Path(folder))
        colour = np.load(Path(folder) / "cifar-10k.npy").transpose(0, 3, 1, 2)
    raw = gzip.open(next((data / "mnist").glob("train-images*.gz"))).read()
    grey = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 1, 28, 28)[:10_000]
    return {"CIFAR-10": np.ascontiguousarray(colour), "MNIST": grey}


def observed(kind: str, f: float, count: int, side: int, seed: int) -> np.ndarray:
    """Masks [count or 1, 1, H, W], True where observed."""
    if kind == "rows":
        mask = np.ones((1, 1, side, side), bool)
        mask[:, :, side - math.ceil(round(f * side, 9)) :] = False
        return mask
    rng, mask = np.random.default_rng(seed), np.ones((count, side * side), bool)
    for row in mask:
        row[rng.permutation(side * side)[: round(f * side * side)]] = False
    return mask.reshape(count, 1, side, side)


def recalled(store: np.ndarray, mask: np.ndarray, asked: np.ndarray, **how) -> float:
    """Share of the items asked for that are the nearest memory of their fragment."""
    memory, right = Memory(store), []
    for at in range(0, len(asked), 500):
        part = mask if len(mask) == 1 else mask[at : at + 500]
        right.append(memory.recall(store[asked[at : at + 500]], part, **how).index[:, 0] == asked[at : at + 500])
    return float(np.concatenate(right).mean())


def ceiling(store: np.ndarray, mask: np.ndarray, asked: np.ndarray) -> float:
    """Mean of 1 / (memories that equal the item on what is observed), by comparing bytes."""
    flat, share = store.reshape(len(store), -1), []
    full = np.broadcast_to(mask, (len(mask), *store.shape[1:])).reshape(len(mask), -1)
    if len(mask) == 1:
        _, group, size = np.unique(flat[:, full[0]], axis=0, return_inverse=True, return_counts=True)
        return float((1 / size[group.reshape(-1)][asked]).mean())
    for row, item in zip(full, asked):
        left = np.arange(len(store))
        for some in np.array_split(np.flatnonzero(row), max(1, row.sum() // 16)):
            left = left[(flat[left[:, None], some] == flat[item, some]).all(1)]
            if len(left) == 1:
                break
        share.append(1 / len(left))
    return float(np.mean(share))


def main() -> None:
    data, quick = Path(sys.argv[1]), "--quick" in sys.argv
    sets = load(data)
    subsets = 3 if quick else 20
    print("data\tN\tlost\tunaware\taware\tceiling")
    for name, images in sets.items():
        side = images.shape[2]
        for kind, f in [("rows", f) for f in ROWS] + [("random", f) for f in RANDOM]:
            values = []
            for seed in range(subsets):
                store = images[np.sort(np.random.default_rng(seed).choice(len(images), 50, replace=False))]
                mask, all_of_them = observed(kind, f, 50, side, 100 + seed), np.arange(50)
                values.append(
                    [
                        recalled(store, mask, all_of_them, unaware=True),
                        recalled(store, mask, all_of_them),
                        ceiling(store, mask, all_of_them),
                    ]
                )
            cells = [f"{m:.3f} +- {s:.3f}" for m, s in zip(np.mean(values, 0), np.std(values, 0, ddof=1))]
            print(name, 50, f"{kind} {f:g}", *cells, sep="\t", flush=True)
        for kind, f in [("rows", f) for f in ((0.5, 0.9) if quick else ROWS)] + [
            ("random", f) for f in ((0.9,) if quick else RANDOM)
        ]:
            asked = np.arange(0, len(images), 100 if quick else 1 if (kind, f) == ("rows", 0.9) else 10)
            mask = observed(kind, f, len(asked), side, 7)
            few = slice(None, None, max(1, len(asked) // 100))
            control = recalled(images, mask if len(mask) == 1 else mask[few], asked[few], unaware=True)
            cells = [f"{v:.4f}" for v in (control, recalled(images, mask, asked), ceiling(images, mask, asked))]
            print(name, len(images), f"{kind} {f:g}", *cells, sep="\t", flush=True)
    noisy(sets["CIFAR-10"], quick)


def noisy(images: np.ndarray, quick: bool) -> None:
    """Recall from clamp(|x + n|, 0, 1), sigma .5."""
    rng, memory, right = np.random.default_rng(0), Memory(images), {}
    store = images.reshape(len(images), -1).astype(np.float32) / 255
    for at in range(0, 1000 if quick else len(images), 500):
        asked = np.arange(at, at + 500)
        noise = rng.normal(0, 0.5, images[asked].shape).astype(np.float32)
        query = np.clip(np.abs(images[asked] / np.float32(255) + noise), 0, 1)
        found = {
            "dot product": (query.reshape(500, -1) @ store.T).argmax(1),
            "dot product on 2v - 1": ((2 * query.reshape(500, -1) - 1) @ (2 * store - 1).T).argmax(1),
            "distance": memory.recall(query, sigma=0.5).index[:, 0],
            "centred": memory.recall(query, sigma=0.5, centred=True).index[:, 0],
        }
        for name, index in found.items():
            right.setdefault(name, []).append(index == asked)
    print("\nCIFAR-10, N = 10,000, query clamp(|x + n|), sigma .5\tright")
    for name, values in right.items():
        print(name, f"{np.concatenate(values).mean():.4f}", sep="\t")


if __name__ == "__main__":
    main()
