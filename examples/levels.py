"""Levels of noise as a network and as one Gaussian read them: `python levels.py MODEL STATES FRESH`.

MODEL of lem-train thermalizer; STATES that it learned from, of which the first nine tenths fit the Gaussian; FRESH: states of
other trajectories, at most 4,096 of which get noise. A line for each level s: median of what is read, standard deviation of
its logarithm, AUC against states without noise, and the share above the level that 1 % of those exceed; for the network, then
for the Gaussian. Levels in standard deviations; a reading of 0 counts as 1e-6 in the logarithm.
"""

import argparse

import numpy as np

from lemtools.denoise.gaussian import Gaussian
from lemtools.nets.level import Level
from lemtools.nets.model import load

LEVELS = 0.002, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 1.0
COLUMNS = "median", "log-sd", "AUC", "above"


def auc(clean: np.ndarray, noisy: np.ndarray) -> float:
    """The probability that a noisy state reads more than a clean one; of equal ones half of it."""
    clean = np.sort(clean)
    return float(
        (np.searchsorted(clean, noisy, "left") + np.searchsorted(clean, noisy, "right")).mean() / 2 / len(clean)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="of lem-train thermalizer")
    parser.add_argument("states", help="that it learned from (.npy)")
    parser.add_argument("fresh", help="of other trajectories (.npy)")
    given = parser.parse_args()
    network, states = Level(load(given.model)), np.load(given.states)
    fresh = np.load(given.fresh)[:4096].astype(np.float64)
    stored = states[: len(states) * 9 // 10].astype(np.float64)
    mean, std = stored.mean(), stored.std()
    flat = (stored.reshape(len(stored), -1) - mean) / std
    gaussian = Gaussian(flat.mean(0), np.cov(flat.T))
    readers = (
        lambda x: np.concatenate([network(part) for part in np.array_split(x, 16)]),
        lambda x: gaussian.level(((x - mean) / std).reshape(len(x), -1)),
    )
    clean = [read(fresh) for read in readers]
    print("s", *(f"{name} {column}" for name in ("network", "Gaussian") for column in COLUMNS), sep="\t")
    for s in LEVELS:
        noisy = fresh + s * std * np.random.default_rng(1).standard_normal(fresh.shape)
        cells = [f"{s:g}"]
        for read, still in zip(readers, clean):
            found = read(noisy)
            spread, above = np.std(np.log(np.maximum(found, 1e-6))), (found > np.quantile(still, 0.99)).mean()
            cells += [f"{np.median(found):.4f}", f"{spread:.3f}", f"{auc(still, found):.3f}", f"{above:.2f}"]
        print("\t".join(cells), flush=True)


if __name__ == "__main__":
    main()
