"""What needs no training beside what does: `python controls.py TRAIN TEST SEED 'FRAGMENT OPTIONS' ...`, rows as TSV.

TRAIN, TEST: files of images (npy, idx, ...), uint8. FRAGMENT OPTIONS: as for lem-fragment: '--mask .5', '--bits 2'.

mean         the mean of the training images
nearest      the training image nearest to what is observed
recall       associative recall, the softmax over all training images (automatic sigma)
wiener       the linear estimate of least mean square error from what is observed, under the mean and covariance
             (OAS) of the training images; quantised values are taken for noisy ones, of variance width^2 / 12
gaussian     the Gaussian conditional mean: the same, then kept inside the bins. Of exact values Wiener's estimate is
             the Gaussian conditional mean, so where nothing is quantised there is one row for both
sample       one draw from that Gaussian posterior
originals    the floor of each metric that has one: what the originals get

Every row but wiener's holds what is observed: exact values as they are, quantised ones inside their bins. PSNR is that
of the missing elements: lost ones, and quantised ones. `s/image` is the time to recall on the CPU, without what is
prepared once.
"""

import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

from lemtools.cli.train import operations
from lemtools.compare import Comparison, pair
from lemtools.fragment import fragment
from lemtools.fragment.evidence import evidence
from lemtools.media import load, store
from lemtools.reconstruct import Reconstructor
from lemtools.signal import Signal

METRICS = ["ssim", "frechet-pca", "frechet-patch", "nearest", "nearest-patch", "memorised", "mosaic"]


def controls(train, seed: int) -> dict[str, Callable[[Signal], np.ndarray]]:
    """{name: fragments -> uint8 [N, ...]}. train: an array [N, ...], or one on disk."""
    mean = np.rint(np.asarray(train).mean(0, dtype=np.float64)).astype(np.uint8)
    ways = {
        "nearest": Reconstructor("recall", memory=train, sigma=1e-6, device="cpu"),
        "recall": Reconstructor("recall", memory=train, device="cpu"),
        "gaussian": Reconstructor("gaussian", memory=train, shrink="oas", device="cpu"),
        "sample": Reconstructor("gaussian", memory=train, shrink="oas", device="cpu", samples=1, seed=seed),
    }
    ways["wiener"] = ways["gaussian"]
    rows = {name: lambda broken, way=way: way(broken).data for name, way in ways.items()}
    return {"mean": lambda broken: np.broadcast_to(mean, (len(broken), *mean.shape)).copy(), **rows}


def measured(whole: Signal, broken: Signal, back: np.ndarray, train: np.ndarray) -> dict[str, float]:
    """{name: mean} of all metrics, floors too."""
    out = {}
    for metrics, fragments in (["psnr"], [broken]), (METRICS, None):
        comparison = Comparison(metrics, train=train)
        for batch in pair([whole], [Signal("image", back)], "order", fragments):
            comparison.add(batch)
        out |= {r.name: r.mean for r in comparison.results()}
    return out


def held(broken: Signal, back: np.ndarray) -> np.ndarray:
    """What was recalled, uint8, with what was observed in its place."""
    return np.rint(evidence(broken).hold(back / np.float32(255)) * 255).astype(np.uint8)


def recalled(ways: dict[str, Callable], broken: Signal) -> Iterator[tuple[str, np.ndarray, float]]:
    """(name, what was recalled, held to what is observed but for wiener's, seconds an image) of each of the controls.

    wiener's row is left out where nothing is quantised: it is gaussian's.
    """
    for name, way in ways.items():
        if name == "wiener" and not evidence(broken).width.any():
            continue
        way(broken.take([0]))  # what is prepared once
        begun = time.perf_counter()
        back = way(broken)
        seconds = (time.perf_counter() - begun) / len(broken)
        yield name, back if name == "wiener" else held(broken, back), seconds


def table(train: np.ndarray, whole: Signal, specs: list[str], seed: int) -> Iterator[list]:
    """Rows of cells, the head first."""
    ways, names = controls(train, seed), None
    for spec in specs:
        (broken,) = fragment([whole], operations(spec), seed)
        both, floor = not evidence(broken).width.any(), {}
        for name, back, seconds in recalled(ways, broken):
            found = measured(whole, broken, back, train)
            floor = {n.replace("_floor", ""): v for n, v in found.items() if "_floor" in n}
            if names is None:
                names = [n for n in found if "_floor" not in n]
                yield ["fragment", "control", *names, "s/image"]
            shown = "gaussian = wiener" if name == "gaussian" and both else name
            yield [spec, shown, *(f"{found[n]:.4g}" for n in names), f"{seconds:.2g}"]
        yield [spec, "originals", *(f"{floor[n]:.4g}" if n in floor else "" for n in names), ""]


def main() -> None:
    if len(sys.argv) < 5:
        sys.exit(__doc__.splitlines()[0])
    train, test, seed, *specs = sys.argv[1:]
    batches = list(load([test]))
    whole = Signal("image", np.concatenate([s.data for s in batches]))
    for row in table(store([train]), whole, specs, int(seed)):
        print(*row, sep="\t", flush=True)


if __name__ == "__main__":
    main()
