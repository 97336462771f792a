"""What is found without pairs: the best of many starts, its objective, and that of the same search with Gaussians in B's place.

python translate_none.py OUT [--quick | --gaussians N] [--draws N]   none.jsonl, a line for each setting and draw of it (one); none.md.
                                                           Beside the first draw 19 or N Gaussians, or as many as it takes until
                                                           one does as well. --quick: 3, and two settings alone
"""

import sys
from pathlib import Path

import numpy as np

from lemtools.align.clouds import Cloud
from lemtools.align.unpaired import GAUSSIANS, gaussian, search

sys.path.insert(0, str(Path(__file__).parent))
from resume import keep, resumed
from translate import HELD, interval, load, scored, short

FEW = 3  # Gaussians


def rotations(n: int = 2000, width: int = 40, draw: int = 0) -> tuple[np.ndarray, ...]:
    """Two noisy rotations of items in groups, in two orders, and 500 further pairs."""
    rng = np.random.default_rng(draw)
    lengths = np.geomspace(2, 0.5, width)
    z = (rng.standard_normal((40, width))[rng.integers(40, size=n)] + 0.6 * rng.standard_normal((n, width))) * lengths
    turn = np.linalg.qr(rng.standard_normal((width, width)))[0]
    x, y = (z + 0.1 * lengths * rng.standard_normal(z.shape) for _ in "ab")
    y = y @ turn
    return x[500:], rng.permutation(y[500:]), x[:500], y[:500]


def texts(out: Path, draw: int, same: bool, items: str = "sentences", a: str = "wordllama", b: str = "minilm") -> tuple:
    """(vectors of either side without partners, the same items of both in two orders or a half each, and held-out pairs)."""
    data = load(out, items)
    x, y = (data[name].astype(np.float64) for name in (a, b))
    test, rest = np.flatnonzero(data["held"])[: HELD[items]], np.flatnonzero(~data["held"])
    rng = np.random.default_rng([20 + draw, 1])
    order = rng.permutation(rest)
    one, other = (order, rng.permutation(rest)) if same else np.array_split(order, 2)
    return x[one], y[other], x[test], y[test]


SETTINGS = {
    "two noisy rotations of one space": lambda out, draw: rotations(draw=draw),
    "sentences, the same in another order": lambda out, draw: texts(out, draw, True),
    "sentences of STS-B, the same in another order": lambda out, draw: texts(out, draw, True, "stsb"),
    "sentences, others on each side": lambda out, draw: texts(out, draw, False),
    "words of wordllama and MiniLM, the same in another order": lambda out, draw: texts(out, draw, True, "words"),
    "words of GloVe and MiniLM, the same in another order": lambda out, draw: texts(out, draw, True, "words", "glove"),
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
    over = interval(np.array(values["top1"]))
    return {
        "vectors": [len(x), len(y)],
        "items": len(test_x),
        **top,
        "over": over,
        "mutual": found.mutual,
        "gaussian": chance,
    }


def main(out: Path, quick: bool, wanted: int = GAUSSIANS, draws: int = 1) -> None:
    path = out / "none.jsonl"
    done, wanted = resumed(path), FEW if quick else wanted
    for name, made in list(SETTINGS.items())[: QUICK if quick else None]:
        if "STS-B" in name and not (out / "stsb.npz").exists():
            print(f"translate_none.py: {name}: no stsb.npz; left out", file=sys.stderr)
            continue
        for draw in range(draws):
            if not any(
                decided(one, 0 if draw else wanted) for one in done if (one["setting"], one["draw"]) == (name, draw)
            ):
                one = {"setting": name, "draw": draw, **measured(*made(out, draw), 0 if draw else wanted)}
                keep(path, done, one)
    lines = [
        "| | vectors a side | top-1 / with CSLS | objective | Gaussians in B's place, the largest |",
        "|---|---|---|---|---|",
    ]
    last = {(one["setting"], one["draw"]): one for one in done}
    lines += [
        row(name, [one for key, one in last.items() if key[0] == name])
        for name in dict.fromkeys(name for name, _ in last)
    ]
    (out / "none.md").write_text(text := "\n".join(lines) + "\n")
    print(text)


def decided(one: dict, wanted: int) -> bool:
    """Whether as many Gaussians are beside it as are wanted, or one that does as well."""
    return len(one["gaussian"]) >= wanted or max(one["gaussian"]) >= one["mutual"]


def row(name: str, draws: list[dict]) -> str:
    """A line of the table: means over the draws (the least and the greatest), and the largest Gaussian of the first."""
    first, chance = draws[0], draws[0]["gaussian"]
    top, csls, mutual = (np.array([one[of] for one in draws]) for of in ("top1", "csls", "mutual"))
    each = [f" ({short(of.min())} to {short(of.max())})" if len(draws) > 1 else "" for of in (top, mutual)]
    arrived = f"{short(top.mean())} / {short(csls.mean())}{each[0]} ± {short(first['over'])}"
    verdict = "" if max(chance) < first["mutual"] else ": no alignment found"
    sides = " and ".join(map(str, first["vectors"]))
    return f"| {name} | {sides} | {arrived} | {short(mutual.mean())}{each[1]} | {short(max(chance))} of {len(chance)}{verdict} |"


if __name__ == "__main__":
    given = dict(zip(sys.argv[2:], sys.argv[3:]))
    main(
        Path(sys.argv[1]), "--quick" in sys.argv, int(given.get("--gaussians", GAUSSIANS)), int(given.get("--draws", 1))
    )
