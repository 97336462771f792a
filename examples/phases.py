"""How the geometry of a small language model's vectors moves while it learns, and at which depth what can be read of them.

    phases.py curves|turns|depth TEXT OUT

The models are those of phases.sh, OUT/DECAY-SEED.safetensors, kept at every EVERY-th update; what is measured is on the last tenth of TEXT, of
which they learnt nothing. Probes are linear (probe.py), fitted to the first six tenths of that part, and tested on the rest.

curves  OUT/curves.jsonl and a table: by update the bits a byte, RankMe (Garrido et al. 2023), the effective rank of the covariance and
        the exponent of its eigenvalues (alpha-ReQ, Agrawal et al. 2022) of the vectors that the head reads, at places evenly spaced in the
        second half of the context; and what a probe reads of them: the kind of the next byte, and how common the word is that just ended
turns   whether there are three phases (Li et al. 2025): a fall of the rank, a rise, and a fall again. Where a phase ends is taken from the mean
        curve of the other seeds, the two updates between which the rank rises most; by how much the rank changes in each phase from the seed
        itself: so a curve that only shakes has no phases
depth   what a probe reads, by layer (0 is the embedding), of the last model and of the untrained one, of

    features   the residual stream behind a block
    signs      of these, about their mean: a bit a dimension
    units      of the block's hidden layer, gated
    active     which of them have an open gate: a bit a unit (He et al. 2021, networks as hash encoders)

        The concepts stand at the head of concepts.py; a probe is fitted to as many places of each class, and tested on as many. Controls: chance;
        classes in random order; the last four bytes, one-hot. `distinct`: the share of places with a code that no other has.

Means over seeds with their 95 % interval (Student's t). ITEMS (4000) vectors fit a probe, half as many test it; half as many contexts are read for curves.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from concepts import CLASSES, FITTED, Data, Vectors, ends, picked, read
from lemtools.compare.spectral import Spectrum, alpha_req, exp_entropy
from lemtools.denoise.moments import student_t
from lemtools.nets.lm import LM
from lemtools.nets.model import load
from lemtools.rng import generator
from lemtools.signal import LemError
from lemtools.train.checkpoint import kept_path
from probe import fit
from resume import keep, resumed

ENV = os.environ
SEEDS = [int(word) for word in ENV.get("SEEDS", "0 1 2").split()]
DECAYS = ENV.get("DECAYS", "cosine").split()
STEPS, EVERY, ITEMS = (int(ENV.get(name, usual)) for name, usual in (("STEPS", 1500), ("EVERY", 20), ("ITEMS", 4000)))
READINGS = ("features", "signs", "units", "active")
CODES = ("signs", "active")  # bits
SHAPES = ("rankme", "effective_rank", "alpha")  # numbers of the geometry


def probed(x: np.ndarray, places: np.ndarray, classes: np.ndarray, name: str, shuffled: int | None = None) -> float:
    """Share of the classes that a probe of vectors x, of those places, reads. shuffled: fitted to classes in random order, that of a seed."""
    fitted, tested = picked(classes, name, ITEMS)
    flat = classes.ravel()
    wanted = flat[fitted]
    if shuffled is not None:
        wanted = generator(shuffled, 0, 0, "classes in random order").permutation(wanted)
    # items in the order of a draw: the fifth by which the weight is chosen is no other part of the text
    order = generator(0, 0, 0, "order of a probe").permutation(len(fitted))
    rows = np.searchsorted(places, fitted[order])
    made = fit(x[rows][:, None], wanted[order][:, None], CLASSES[name])
    return float((made(x[np.searchsorted(places, tested)]) == flat[tested]).mean())


# curves


def updates() -> list[int]:
    """Those that are measured: all of the first five, then about half as much again each time."""
    every, found = list(range(0, STEPS + 1, EVERY)), [0]
    for step in every[1:]:
        if step <= 5 * EVERY or step >= 1.4 * found[-1]:
            found.append(step)
    return sorted({*found, every[-1]})


def geometry(x: np.ndarray) -> dict[str, float]:
    """RankMe, the effective rank and alpha-ReQ of vectors [N, D]."""
    whole = Spectrum(x)
    alpha = alpha_req(x, x, spectra=(whole, whole)).value
    return dict(zip(SHAPES, (exp_entropy(whole.raw), exp_entropy(whole.eigenvalues), alpha), strict=True))


def measured(net: LM, data: Data) -> dict[str, float]:
    windows, classes = data.part(ITEMS // 8)
    span = data.span
    spaced = np.arange(span // 2, span, max(span // 8, 1))
    shape = (np.arange(len(windows))[:, None] * span + spaced).ravel()
    wanted = {name: np.concatenate(picked(classes[name], name, ITEMS)) for name in ("next", "word")}
    places = np.unique(np.concatenate([shape, *wanted.values()]))
    vectors, bits = read(net, windows, places, units=False)
    x = vectors["head", 0]
    found = {"bits": float(bits.mean()), **geometry(x[np.searchsorted(places, shape)])}
    return found | {name: probed(x, places, classes[name], name) for name in wanted}


def curves(data: Data, out: Path) -> list[dict]:
    """A result of every model and update, kept in OUT/curves.jsonl."""
    path = out / "curves.jsonl"
    done = resumed(path)
    known = {(one["decay"], one["seed"], one["step"]) for one in done}
    for decay in DECAYS:
        for seed in SEEDS:
            for step in updates():
                if (decay, seed, step) not in known:
                    net = load(kept_path(str(out / f"{decay}-{seed}.safetensors"), step)).net
                    keep(path, done, {"decay": decay, "seed": seed, "step": step, **measured(net, data)})
    return done


def over_seeds(values: np.ndarray, digits: int = 3, sign: str = "") -> str:
    """The mean of one value a seed, and its 95 % interval."""
    shape = f"{sign}.{digits}f"
    if len(values) < 2:
        return f"{values.mean():{shape}}"
    half = student_t(0.95, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():{shape}} [{values.mean() - half:{shape}}, {values.mean() + half:{shape}}]"


def curve(done: list[dict], decay: str, key: str) -> np.ndarray:
    """[seeds, updates]"""
    found = {(one["seed"], one["step"]): one[key] for one in done if one["decay"] == decay}
    return np.array([[found[seed, step] for step in updates()] for seed in SEEDS])


def show_curves(data: Data, out: Path) -> Iterator[list[str]]:
    done = curves(data, out)
    keys = {"bits": 3, "rankme": 1, "effective_rank": 1, "alpha": 2, "next": 3, "word": 3}
    for decay in DECAYS:
        yield [f"{decay}: update", *keys]
        columns = [[over_seeds(x, digits) for x in curve(done, decay, key).T] for key, digits in keys.items()]
        yield from ([str(step), *cells] for step, *cells in zip(updates(), *columns, strict=True))


def turns(y: np.ndarray) -> tuple[int, int]:
    """(i, j), i <= j, between which a curve [T] rises most."""
    best, low, found = 0.0, 0, (0, 0)
    for j, value in enumerate(y):
        if value < y[low]:
            low = j
        if value - y[low] > best:
            best, found = value - y[low], (low, j)
    return found


def show_turns(data: Data, out: Path) -> Iterator[list[str]]:
    done = curves(data, out)
    yield ["", "first turn", "second turn", "before", "between", "after"]
    for decay in DECAYS:
        for key in SHAPES:
            y = np.log(curve(done, decay, key)) * (
                -1 if key == "alpha" else 1
            )  # (an exponent falls where a rank rises)
            found, changes = [], []
            for seed in range(len(SEEDS)):
                i, j = turns(np.delete(y, seed, 0).mean(0) if len(SEEDS) > 1 else y[0])
                found.append((updates()[i], updates()[j]))
                changes.append(y[seed, [i, j, -1]] - y[seed, [0, i, j]])
            where = [", ".join(map(str, sorted({pair[k] for pair in found}))) for k in (0, 1)]
            yield [f"{decay}: {key}", *where, *(over_seeds(x, 3, "+") for x in np.array(changes).T)]


# depth


def layers(vectors: Vectors, fitted: np.ndarray) -> Vectors:
    """Features, signs, units and active units of every layer. fitted: places whose mean the signs are about."""
    features = {layer: x for (name, layer), x in vectors.items() if name == "features"}
    signs = {("signs", layer): (x > x[fitted].mean(0)).astype(np.float32) for layer, x in features.items()}
    found = {key: x for key, x in vectors.items() if key[0] != "head"} | signs
    return {key: found[key] for key in sorted(found, key=lambda key: (READINGS.index(key[0]), key[1]))}


def read_of(data: Data, net: LM, seed: int, trained: bool) -> dict[str, dict[str, float]]:
    """{reading and layer: {concept: share right}} of one model; of a trained one the controls, too, and how many codes stand alone."""
    chosen = {name: picked(found, name, ITEMS) for name, found in data.classes.items()}
    places = np.unique(np.concatenate([part for pair in chosen.values() for part in pair]))
    first = places < int(len(data.windows) * FITTED) * data.span
    vectors = layers(read(net, data.windows, places)[0], first)

    def concepts_of(x: np.ndarray, shuffled: int | None = None) -> dict[str, float]:
        return {name: probed(x, places, found, name, shuffled) for name, found in data.classes.items()}

    found = {f"{name} {layer}": concepts_of(x) for (name, layer), x in vectors.items()}
    if trained:
        found["classes in random order"] = concepts_of(vectors["features", net.depth], shuffled=seed)
        found["last four bytes"] = concepts_of(ends(data.windows)[places])
        found["chance"] = {name: 1 / count for name, count in CLASSES.items()}
        codes = {key: x for key, x in vectors.items() if key[0] in CODES}
        found |= {f"distinct {name} {layer}": {"": distinct(x)} for (name, layer), x in codes.items()}
    return found


def depths(data: Data, out: Path) -> dict[tuple[bool, str], list[dict[str, float]]]:
    """{(trained, reading and layer): of every seed the shares by concept}, kept in OUT/depth.jsonl."""
    path, last = out / "depth.jsonl", updates()[-1]
    done = resumed(path)
    known = {(one["seed"], one["step"]) for one in done}
    for seed in SEEDS:
        for step in (last, 0):
            if (seed, step) not in known:
                net = load(kept_path(str(out / f"{DECAYS[0]}-{seed}.safetensors"), step)).net
                keep(path, done, {"seed": seed, "step": step, "read": read_of(data, net, seed, step > 0)})
    found: dict[tuple[bool, str], list[dict[str, float]]] = {}
    for one in sorted(done, key=lambda one: (-one["step"], one["seed"])):
        if one["seed"] in SEEDS and one["step"] in (0, last):
            for name, shares in one["read"].items():
                found.setdefault((one["step"] > 0, name), []).append(shares)
    return found


def first_depth(gains: np.ndarray) -> np.ndarray:
    """Of every seed the first layer that has 95 % of the greatest gain, of gains [layers, seeds]."""
    return (gains >= 0.95 * gains.max(0)).argmax(0)


def distinct(codes: np.ndarray) -> float:
    """Share of codes [N, D] of 0 and 1 that no other item has."""
    packed = np.packbits(codes.astype(bool), axis=1)
    _, count = np.unique(packed, axis=0, return_counts=True)
    return float((count == 1).sum() / len(packed))


def show_depth(data: Data, out: Path) -> Iterator[list[str]]:
    found = depths(data, out)
    yield ["", *CLASSES]
    for (trained, name), shares in found.items():
        cells = [over_seeds(np.array([one[key] for one in shares])) for key in shares[0]]
        yield [name if trained else f"untrained: {name}", *cells]
    tall = sum(trained and name.startswith("features") for trained, name in found)
    for bits, numbers in (("signs", "features"), ("active", "units")):
        pairs = list(zip(found[True, f"{bits} {tall - 1}"], found[True, f"{numbers} {tall - 1}"], strict=True))
        less = [np.array([one[key] - other[key] for one, other in pairs]) for key in CLASSES]
        yield [f"{bits} less {numbers}, layer {tall - 1}", *(over_seeds(values, 3, "+") for values in less)]
    cells = []
    for key in CLASSES:
        by_layer = [[one[key] for one in found[True, f"features {layer}"]] for layer in range(tall)]
        depth = first_depth(np.array(by_layer) - [one[key] for one in found[True, "chance"]])
        cells.append(", ".join(map(str, sorted(set(depth.tolist())))))
    yield ["layer with 95 % of the most, by seed", *cells]


STAGES = {"curves": show_curves, "turns": show_turns, "depth": show_depth}


def main(given: list[str]) -> int:
    if len(given) != 3 or given[0] not in STAGES:
        print(f"phases.py: error: usage: phases.py {'|'.join(STAGES)} TEXT OUT", file=sys.stderr)
        return 2
    stage, text, out = given
    torch.set_num_threads(int(ENV.get("OMP_NUM_THREADS", "1")))
    try:
        net = load(str(Path(out) / f"{DECAYS[0]}-{SEEDS[0]}.safetensors")).net
        for row in STAGES[stage](Data(text, net.context), Path(out)):
            print(*row, sep="\t", flush=True)
    except (LemError, OSError) as error:
        print(f"phases.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
