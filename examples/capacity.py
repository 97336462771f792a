"""What a memory keeps at how many bits: right memory and PSNR, by bits a memory and by their number. After capacity.sh.

python capacity.py images DATA OUT [--quick]   stored, others and asked .safetensors of FashionMNIST
python capacity.py table OUT [--quick]         capacity.jsonl, a line for each store, number and seed; capacity.md, capacity.png
"""

import gzip
import math
import sys
from pathlib import Path

import numpy as np

from lemtools.compare.summary import mean_interval
from lemtools.denoise.memory import Memory
from lemtools.encode import decode
from lemtools.encode import load as coder_of
from lemtools.fragment import fragment
from lemtools.fragment.evidence import evidence
from lemtools.media import load
from lemtools.media.store import store
from lemtools.reconstruct import reconstruct
from lemtools.reconstruct.decoded import Decoded
from lemtools.signal import Signal
from lemtools.stream import write

sys.path.insert(0, str(Path(__file__).parent))
from resume import keep, resumed

FEW = 10_000  # images that are stored with --quick
COUNTS, QUICK = (1_000, 3_000, 10_000, 60_000), (1_000, 10_000)
SEEDS, ASKED = 5, 200  # memories that are asked for with each seed
LOST = {
    "50 % of pixels": [{"op": "mask", "mask": 0.5}],
    "lower half": [{"op": "mask", "mask": 0.5, "shape": "half"}],
    "90 % of pixels": [{"op": "mask", "mask": 0.9}],
}
STORES = {  # name: (file of the codes, models, the bits that name a memory, scale included)
    "all, 8 bits a pixel": ("stored", (), 6272),
    "1 bit a pixel": ("784.pixels.codes", (), 784),
    "rvq, 24 of 8 bits": ("192.rvq.codes", ("128.pca", "192.rvq"), 192),
    "rvq, 16 of 8 bits": ("128.rvq.codes", ("128.pca", "128.rvq"), 128),
    "trellis, 64 of 2 bits": ("128.trellis.codes", ("64.pca",), 144),
    "uniform, 64 of 2 bits": ("128.uniform.codes", ("white.pca",), 144),
    "rvq, 8 of 8 bits": ("64.rvq.codes", ("64.pca", "64.rvq"), 64),
}
SHARP = 1e-4  # noise, so little that the nearest memory is all of the softmax
NEAREST = 200  # memories whose likelihood is found
ALIKE = "uniform, 64 of 2 bits"  # the store that is asked by the likelihood, too


def images(data: Path, out: Path, quick: bool) -> None:
    """stored, training images in an order of their own; others, the first half of the test images, for encoders to be fitted
    to; asked, the second half, for what learns classes: each with its classes."""
    pixels, classes = read(data, "train")
    order = np.random.default_rng(0).permutation(len(pixels))[: FEW if quick else None]
    test, labels = read(data, "t10k")
    half = len(test) // 2
    sets = {"others": (test[:half], labels[:half]), "asked": (test[half:], labels[half:])}
    for name, (values, label) in (sets | {"stored": (pixels[order], classes[order])}).items():
        new = out / f"{name}.new"
        with open(new, "wb") as file:
            write([Signal("image", np.ascontiguousarray(values), label=label)], file)
        new.rename(out / f"{name}.safetensors")


def read(data: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 [N, 1, 28, 28], classes [N])."""
    raw = gzip.decompress((data / f"{part}-images-idx3-ubyte.gz").read_bytes())
    label = gzip.decompress((data / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    pixels = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 1, 28, 28)
    return pixels, np.frombuffer(label, np.uint8, offset=8).astype(np.int64)


def memories(out: Path, name: str) -> np.ndarray:
    """What a store of STORES decodes to, uint8 [N, 1, 28, 28]."""
    codes, models, _ = STORES[name]
    path = str(out / f"{codes}.safetensors")
    if models:
        return Decoded(store([path], coded=True), [str(out / f"{model}.safetensors") for model in models])[:]
    return np.asarray(store([path], fragments=True)[:])


def recalled(
    held: np.ndarray, whole: np.ndarray, seed: int, mean: bool = True
) -> dict[str, tuple[float, float | None]]:
    """{fragment: (share of right memories, PSNR of what was lost)} of memories `held`, which were images `whole`. mean: the
    PSNR is that of the softmax over all memories; without, which is faster, there is none."""
    asked = np.random.default_rng((1, seed)).choice(len(whole), ASKED, replace=False)
    memory, found = Memory(held), {}
    for name, operations in LOST.items():
        (broken,) = fragment([Signal("image", whole[asked])], operations, seed)
        seen = evidence(broken)
        back = memory.recall(seen.value, seen.observed, None if mean else SHARP)
        error = np.square(back.mean - whole[asked] / 255.0)[~seen.observed].mean()
        right = float((back.index[:, 0] == asked).mean())
        found[name] = right, -10 * math.log10(max(error, 1e-12)) if mean else None
    return found


def likely(held: np.ndarray, whole: np.ndarray, seed: int, error: np.ndarray) -> dict[str, tuple[float, float]]:
    """The same where memories lie about the fragment with a Gaussian error of this covariance [D, D], of which the observed part
    counts: the likeliest of the NEAREST, and its PSNR."""
    asked = np.random.default_rng((1, seed)).choice(len(whole), ASKED, replace=False)
    values, found = held.reshape(len(held), -1) / np.float32(255), {}
    for name, operations in LOST.items():
        (broken,) = fragment([Signal("image", whole[asked])], operations, seed)
        seen = evidence(broken)
        query, mask = seen.value.reshape(ASKED, -1), seen.observed.reshape(ASKED, -1)
        energy = mask.astype(np.float32) @ (values**2).T - 2 * (query * mask) @ values.T
        near = np.argpartition(energy, NEAREST, 1)[:, :NEAREST]
        best = np.empty(ASKED, np.int64)
        for item, (q, m) in enumerate(zip(query, mask, strict=True)):
            apart = (q - values[near[item]])[:, m].astype(np.float64)
            root = np.linalg.cholesky(error[np.ix_(m, m)])
            best[item] = near[item][np.square(np.linalg.solve(root, apart.T)).sum(0).argmin()]
        lost = np.square(values[best] - whole[asked].reshape(ASKED, -1) / 255.0)[~mask].mean()
        found[name] = float((best == asked).mean()), -10 * math.log10(max(lost, 1e-12))
    return found


def error_of(out: Path) -> np.ndarray:
    """Covariance [D, D] of what ALIKE's codes of other images are off, images with 1 as full scale."""
    codes = fragment(load([str(out / "white.others.safetensors")]), [{"op": "bits", "bits": 2}])
    back = np.concatenate(
        [b.data for b in decode(reconstruct(codes, "decode"), coder_of(str(out / "white.pca.safetensors")))]
    )
    true = np.asarray(store([str(out / "others.safetensors")])[:])
    off = (back.reshape(len(back), -1) - true.reshape(len(true), -1) * 1.0) / 255
    return np.cov(off.T) + 1e-4 * np.eye(off.shape[1])


def table(out: Path, quick: bool) -> None:
    path = out / "capacity.jsonl"
    done = resumed(path)
    known = {(one["store"], one["count"], one["seed"]) for one in done}
    whole = np.asarray(store([str(out / "stored.safetensors")])[:])
    for name, (codes, _, bits) in STORES.items():
        if not (out / f"{codes}.safetensors").exists():
            continue
        held, error = memories(out, name), None
        for count in QUICK if quick else COUNTS:
            for seed in range(SEEDS):
                some = np.sort(np.random.default_rng((0, seed)).choice(len(whole), count, replace=False))
                ways = {name: lambda some=some, seed=seed: recalled(held[some], whole[some], seed, len(some) == FEW)}
                if name == ALIKE and count == FEW:
                    error = error_of(out) if error is None else error
                    ways[f"{name}, by likelihood"] = lambda some=some, seed=seed: likely(
                        held[some], whole[some], seed, error
                    )
                for called, way in ways.items():
                    if (called, count, seed) not in known:
                        keep(path, done, {"store": called, "bits": bits, "count": count, "seed": seed, "found": way()})
    text = written(done, encoders(out))
    (out / "capacity.md").write_text(text)
    print(text)
    plot(done, out / "capacity.png")


def encoders(out: Path) -> dict[str, int]:
    """{store: bits of the encoders that all of its memories share}, and of the covariance that a likelihood needs."""
    sizes = {
        name: 8 * sum((out / f"{model}.safetensors").stat().st_size for model in models)
        for name, (codes, models, _) in STORES.items()
        if (out / f"{codes}.safetensors").exists()
    }
    return sizes | {f"{ALIKE}, by likelihood": sizes.get(ALIKE, 0) + 32 * 784 * 785 // 2}


def cell(values: list[float], ends: tuple[float, float] = (0, 1)) -> str:
    """The mean over seeds and its interval."""
    mean, low, high = mean_interval(np.array(values), ends=ends)
    short = (lambda v: f"{v:.3f}".lstrip("0") if v < 1 else "1.000") if ends == (0, 1) else (lambda v: f"{v:.2f}")
    return short(mean) if low is None or low == high else f"{short(mean)} [{short(low)}, {short(high)}]"


def written(done: list[dict], shared: dict[str, int]) -> str:
    """Two tables: all stores at one number, and right memory by number. shared: bits of their encoders."""
    text = [
        f"**{FEW:,} memories**\n",
        "| store | bits a memory | encoder, over all | " + " | ".join(f"{lost}: right | PSNR" for lost in LOST) + " |",
    ]
    text += ["|---" * (3 + 2 * len(LOST)) + "|"]
    for name in dict.fromkeys(one["store"] for one in done):
        mine = [one for one in done if one["store"] == name and one["count"] == FEW]
        cells = []
        for lost in LOST:
            right, db = zip(*(one["found"][lost] for one in mine), strict=True)
            exact = min(db) > 100
            cells += [cell(list(right)), "exact" if exact else cell(list(db), (-math.inf, math.inf))]
        text.append(f"| {name} | {mine[0]['bits']:,} | {shared[name] / FEW:,.0f} | " + " | ".join(cells) + " |")
    for lost in LOST:
        counts = sorted({one["count"] for one in done})
        text += [
            "",
            f"**Right memory by number, {lost} lost**\n",
            "| store | " + " | ".join(f"{n:,}" for n in counts) + " |",
        ]
        text += ["|---" * (1 + len(counts)) + "|"]
        for name in STORES:
            rows = [
                [one["found"][lost][0] for one in done if (one["store"], one["count"]) == (name, n)] for n in counts
            ]
            if all(rows):
                text.append(f"| {name} | " + " | ".join(cell(row) for row in rows) + " |")
    return "\n".join(text) + "\n"


def plot(done: list[dict], path: Path) -> None:
    """Right memory against bits, for the least and the largest number of memories."""
    from matplotlib.figure import Figure

    counts = sorted({one["count"] for one in done})
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    marks = {"rvq": "o-", "trellis": "^", "uniform": "s", "1 bit": "D", "all": "*"}
    for axes, lost in zip(figure.subplots(1, 3, sharey=True), LOST, strict=True):
        for count, colour in ((FEW, "tab:blue"), (counts[-1], "tab:red")) if counts[-1] > FEW else ((FEW, "tab:blue"),):
            mine = [one for one in done if one["count"] == count and one["store"] in STORES]
            for kind, mark in marks.items():
                points: dict[int, list[float]] = {}
                for one in (one for one in mine if one["store"].startswith(kind)):
                    points.setdefault(one["bits"], []).append(one["found"][lost][0])
                bits = sorted(points)
                label = f"{kind}, {count:,}" if axes.get_subplotspec().is_first_col() else None
                axes.plot(bits, [np.mean(points[b]) for b in bits], mark, color=colour, label=label, ms=5, lw=1)
        axes.axvline(math.log2(counts[-1]), color="grey", lw=0.8, ls=":")
        axes.set(xscale="log", title=f"{lost} lost", xlabel="bits a memory")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("right memory")
    figure.legend(fontsize=7, loc="outside right center")
    figure.savefig(part := path.with_suffix(".part"), format="png", dpi=120, metadata={"Software": None})
    part.rename(path)


if __name__ == "__main__":
    if sys.argv[1] == "images":
        images(Path(sys.argv[2]), Path(sys.argv[3]), "--quick" in sys.argv)
    else:
        table(Path(sys.argv[2]), "--quick" in sys.argv)
