"""The control and the table of dense-tokens.sh: `python dense_tokens.py WHAT ...`.

pca LEARN TEST BITS OUT    of two streams of patches: TEST as it comes back from BITS bits a patch, spent on principal
                           components; bits go one by one to the component that raises the mean PSNR of LEARN most,
                           levels are Lloyd's; all is learnt from LEARN, so that nothing but the bits need be sent
table PHOTOS FOLDER        FOLDER/rvq-BITS and FOLDER/pca-BITS hold the photos as they came back; PSNR of those of
                           DEVELOPED and of the others, and what rvq is better by, photo by photo, with 95 % intervals
                           over photos
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from lemtools.compare import Comparison, pair
from lemtools.compare.summary import mean_interval
from lemtools.media import load
from lemtools.signal import Signal
from lemtools.stream import write

DEVELOPED = ["kodim01", "kodim03", "kodim07", "kodim15", "kodim19", "kodim23"]  # rvq was developed on these photos


MOST = 8  # bits a component


def lloyd(values: np.ndarray, bits: int, rounds: int = 500) -> tuple[np.ndarray, float]:
    """(levels [2^bits], their mean squared error) on values [N], sorted: Lloyd's rounds, from equally filled cells and
    from cells of equal integrals of the density's cube root (Panter & Dite 1951), the better of both."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    energy = np.square(values).sum()
    counts, places = np.histogram(values, 1000)
    root = np.concatenate([[0.0], np.cumsum(np.cbrt(counts))])
    shares = np.linspace(0, 1, 2**bits + 1)[1:-1]
    best = np.zeros(2**bits), np.inf
    for cuts in (np.quantile(values, shares), np.interp(shares, root / root[-1], places)):
        levels, edges = np.zeros(2**bits), None
        for _ in range(rounds):
            found = np.concatenate([[0], np.searchsorted(values, cuts), [len(values)]])
            if edges is not None and np.array_equal(found, edges):
                break
            edges, held = found, np.diff(found)
            levels = np.where(held, np.diff(sums[edges]) / np.maximum(held, 1), levels)
            levels.sort()
            cuts = (levels[1:] + levels[:-1]) / 2
        cells = np.searchsorted(cuts, values)
        error = float((energy - 2 * (levels[cells] * values).sum() + (levels[cells] ** 2).sum()) / len(values))
        best = min(best, (levels, error), key=lambda found: found[1])
    return best


class Components:
    """Principal components of photos' patches [n, D] in `bits` bits a patch, as the head of this file says."""

    def __init__(self, photos: list[np.ndarray], bits: int):
        patches = np.concatenate(photos)
        self.mean = patches.mean(0)
        _, axes = np.linalg.eigh(np.cov((patches - self.mean).T))
        self.axes = axes[:, ::-1][:, :bits]
        shares = [(x - self.mean) @ self.axes for x in photos]
        given = np.sort(np.concatenate(shares), axis=0)
        codes = [[lloyd(values, b)[0] for b in range(min(bits, MOST) + 1)] for values in given.T]
        errors = np.array(
            [
                [
                    [np.square(values - nearest(values, levels)).mean() for levels in code]
                    for values, code in zip(x.T, codes)
                ]
                for x in shares
            ]
        )
        rest = np.array(
            [np.square(x - self.mean).sum(1).mean() - np.square(y).sum(1).mean() for x, y in zip(photos, shares)]
        )
        self.levels = [code[b] for code, b in zip(codes, allocated(errors, rest, bits))]

    def __call__(self, patches: np.ndarray) -> np.ndarray:
        """The patches [N, D] as they come back."""
        x = (patches - self.mean) @ self.axes
        for values, levels in zip(x.T, self.levels):
            values[:] = nearest(values, levels)
        return x @ self.axes.T + self.mean


def pca(learn: str, test: str, bits: str, out: str) -> None:
    photos = [item.astype(np.float64) for signal in load([learn]) for item in signal.data]
    code = Components(photos, int(bits))

    def coded(signal: Signal) -> Signal:
        back = code(signal.data.reshape(-1, signal.data.shape[-1]).astype(np.float64))
        return replace(signal, data=back.reshape(signal.data.shape).astype(np.float32))

    with open(out, "wb", buffering=0) as file:
        write(map(coded, load([test])), file)


def nearest(values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    return levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, values)]


def allocated(errors: np.ndarray, rest: np.ndarray, bits: int) -> list[int]:
    """Bits of every component: one by one to the component that raises the mean PSNR of the photos most.

    errors: [photos, components, bits], rest: [photos], what the components leave out.
    """
    spent = [0] * errors.shape[1]

    def mean_psnr(k: int) -> float:
        tried = [b + (i == k) for i, b in enumerate(spent)]
        if tried[k] == errors.shape[2]:
            return -np.inf
        return -float(np.log(rest + errors[:, range(len(spent)), tried].sum(1)).mean())

    for _ in range(bits):
        spent[max(range(len(spent)), key=mean_psnr)] += 1
    return spent


def psnr(photo: Path, back: Path) -> float:
    comparison = Comparison(["psnr"])
    for batch in pair(load([str(photo)]), load([str(back)]), "order"):
        comparison.add(batch)
    return comparison.results()[0].mean


def table(photos: str, folder: str) -> None:
    def cell(values: list[float]) -> str:
        return "{:.2f} [{:.2f}, {:.2f}]".format(*mean_interval(values))

    names = sorted(path.stem for path in Path(photos).glob("*.png"))
    others = [name for name in names if name not in DEVELOPED]
    print("photos\tbits a patch\trvq, dB\tprincipal components, dB\trvq is better by, dB")
    for group in (DEVELOPED, others):
        for bits in sorted(int(path.name[4:]) for path in Path(folder).glob("rvq-*[0-9]")):
            ours, theirs = (
                [psnr(Path(photos, f"{name}.png"), Path(folder, f"{code}-{bits}", f"{name}.png")) for name in group]
                for code in ("rvq", "pca")
            )
            gains = np.subtract(ours, theirs)
            print(f"{len(group)}\t{bits}\t{cell(ours)}\t{cell(theirs)}\t{cell(gains)}", flush=True)


if __name__ == "__main__":
    {"pca": pca, "table": table}[sys.argv[1]](*sys.argv[2:])
