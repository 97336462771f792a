"""What lem-compare --labels finds of an interaction that is known: how often, and whether its intervals hold the truth.

    python tests/benchmarks/bench_labelled.py [sets of each kind, 150]

Sets of S speakers, half of them on each side, five classes, five items a cell, one number an item, spread 1 within a cell.
size: the root mean square over the classes of how far their shifts from the first lie apart between the sides. spread:
of the speakers' own shifts. found: share of the sets with p <= .05 (of size 0, at most .05 should be). low, high: share of the
sets whose interval of the size does not begin above it, or end below it (.975 or more should be).
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lemtools.compare import resampling, shifts
from lemtools.compare.groups import Groups

CLASSES, EACH = ["neutral", "a", "b", "c", "d"], 5
WAY = np.array([0.0, 1, -1, 1, -1])


def made(speakers: int, size: float, spread: float, seed: int) -> Groups:
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(speakers), len(CLASSES) * EACH)
    by = np.tile(np.repeat(np.arange(len(CLASSES)), EACH), speakers)
    side = (np.arange(speakers) >= speakers // 2).astype(int)
    own = spread * rng.standard_normal((speakers, len(CLASSES))) * np.abs(WAY)
    mean = 3 * rng.standard_normal(speakers)[who] + rng.standard_normal(len(CLASSES))[by] + size * WAY[by] * side[who]
    x = (mean + own[who, by] + rng.standard_normal(len(who)))[:, None]
    return Groups("", x, by, who, CLASSES, [str(s) for s in range(speakers)], side, ("f", "m"))


def measured(groups: Groups) -> tuple[float, float, float, float]:
    """(p, size squared, ends of the interval of the size)."""
    found = shifts.interaction(groups, 0)
    square = float(found.size(np.ones((1, len(groups.speakers))))[0])
    drawn = found.size(resampling.resamples(groups))
    low, high = resampling.interval(np.sqrt(np.maximum(drawn - (np.nanmean(drawn) - square), 0)), len(groups.speakers))
    return found.p, square, low, high


def main(count: int = 150) -> None:
    print("speakers\tsize\tspread\tmean_square\tfound\tlow\thigh")
    for speakers in (10, 24):
        for size, spread in ((0, 0.3), (0, 0.8), (0.5, 0.3), (0.5, 0.8), (1, 0.3), (1, 0.8)):
            p, square, low, high = np.array([measured(made(speakers, size, spread, seed)) for seed in range(count)]).T
            shares = np.mean(p <= 0.05), np.mean(low <= size), np.mean(high >= size)
            print(
                speakers,
                size,
                spread,
                f"{square.mean():.3f}",
                *(f"{share:.2f}" for share in shares),
                sep="\t",
                flush=True,
            )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
