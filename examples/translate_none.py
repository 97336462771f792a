"""What is found without pairs: the best of many starts, its objective, and that of the same search with Gaussians in B's place.

python translate_none.py OUT [--quick | --gaussians N]     none.jsonl, a line for each setting; none.md. Of 19 or N Gaussians, or as
                                                           many as it takes until one does as well. --quick: 3, and two settings alone
"""

import sys
from pathlib import Path

import numpy as np

from lemtools.align.clouds import Cloud
from lemtools.align.unpaired import GAUSSIANS, gaussian, search

sys.path.insert(0, str(Path(__file__).parent))
from resume import keep, resumed
from translate import HELD, load, scored, short

FEW = 3  # Gaussians


def rotations(n: int = 2000, width: int = 40) -> tuple[np.ndarray, ...]:
    """Two noisy rotations of items in groups, in two orders, and 500 further pairs."""
    rng = np.random.default_rng(0)
    lengths = np.geomspace(2, 0.5, width)
    z = (rng.standard_normal((40, width))[rng.integers(40, size=n)] + 0.6 * rng.standard_normal((n, width))) * lengths
    turn = np.linalg.qr(rng.standard_normal((width, width)))[0]
    x, y = (z + 0.1 * lengths * rng.standard_normal(z.shape) for _ in "ab")
    y = y @ turn
    return x[500:], rng.permutation(y[500:]), x[:500], y[:500]


def texts(out: Path, same: bool, items: str = "sentences", a: str = "wordllama", b: str = "minilm") -> tuple:
    """(vectors of either side without partners, the same items of both in two orders or a half each, and held-out pairs)."""
    data = load(out, items)
    x, y = (data[name].astype(np.float64) for name in (a, b))
    test, rest = np.flatnonzero(data["held"])[: HELD[items]], np.flatnonzero(~data["held"])
    rng = np.random.default_rng([20, 1])
    order = rng.permutation(rest)
    one, other = (order, rng.permutation(rest)) if same else np.array_split(order, 2)
    return x[one], y[other], x[test], y[test]


SETTINGS = {
    "two noisy rotations of one space": lambda out: rotations(),
    "sentences, the same in another order": lambda out: texts(out, True),
    "sentences of STS-B, the same in another order": lambda out: texts(out, True, "stsb"),
    "sentences, others on each side": lambda out: texts(out, False),
    "words of wordllama and MiniLM, the same in another order": lambda out: texts(out, True, "words"),
    "words of GloVe and MiniLM, the same in another order": lambda out: texts(out, True, "words", "glove"),
}
QUICK = 2  # settings, the first of them


def measured(x: np.ndarray, y: np.ndarray, test_x: np.ndarray, test_y: np.ndarray, gaussians: int) -> dict:
    a, b = (Cloud.of(side.astype(np.float64), side.mean(0, dtype=np.float64)) for side in (x, y))
    found = search(a, b)
    k = len(found.turn.there)
    values = scored(a.place(test_x)[:, :k] @ found.turn.there, b.place(test_y)[:, :k])
    chance: list[float] = []
    while len(chance) < gaussians and max(chance, default=0.0) < found.mutual:
        chance.append(search(a, gaussian(y, len(chance))).mutual)
    top = {name: float(np.mean(values[name])) for name in ("top1", "csls")}
    return {"vectors": [len(x), len(y)], "items": len(test_x), **top, "mutual": found.mutual, "gaussian": chance}


def main(out: Path, quick: bool, wanted: int = GAUSSIANS) -> None:
    path = out / "none.jsonl"
    done, wanted = resumed(path), FEW if quick else wanted
    there = {one["setting"] for one in done if len(one["gaussian"]) >= wanted or max(one["gaussian"]) >= one["mutual"]}
    for name, made in list(SETTINGS.items())[: QUICK if quick else None]:
        if "STS-B" in name and not (out / "stsb.npz").exists():
            print(f"translate_none.py: {name}: no stsb.npz; left out", file=sys.stderr)
        elif name not in there:
            one = {"setting": name, **measured(*made(out), wanted)}
            keep(path, done, one)
    lines = [
        "| | vectors a side | top-1 / with CSLS | objective | Gaussians in B's place, the largest |",
        "|---|---|---|---|---|",
    ]
    for one in {one["setting"]: one for one in done}.values():
        sides, chance = " and ".join(map(str, one["vectors"])), one["gaussian"]
        arrived = f"{short(one['top1'])} / {short(one['csls'])}"
        verdict = "" if max(chance) < one["mutual"] else ": no alignment found"
        beside = f"{short(one['mutual'])} | {short(max(chance))} of {len(chance)}{verdict}"
        lines.append(f"| {one['setting']} | {sides} | {arrived} | {beside} |")
    (out / "none.md").write_text(text := "\n".join(lines) + "\n")
    print(text)


if __name__ == "__main__":
    asked = sys.argv[sys.argv.index("--gaussians") + 1] if "--gaussians" in sys.argv else GAUSSIANS
    main(Path(sys.argv[1]), "--quick" in sys.argv, int(asked))
