"""What a network adds to ridge regression, of the pairs of translate.py: --map mlp. Usage: translate_mlp.py OUT, where translate.sh has been.

Prints a line for each column and number of pairs: top-1 / with CSLS of ridge and of mlp, the mean of the draws; the paired difference with its 95 %
interval over items; and the updates that pairs left out asked for, by draw.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from lemtools.align.pairs import Paired
from lemtools.catalogue.maps import MAPS
from lemtools.signal import Signal
from translate import COLUMNS, DRAWS, HELD, MOST, interval, load, scored, short

PAIRS = (256, 1024, 4096)


def measured(data: dict[str, np.ndarray], items: str, a: str, b: str, pairs: int, draw: int) -> tuple[dict, dict, int]:
    """(every item's values by ridge, by mlp, its updates): of the draws of translate.py."""
    x, y = data[a].astype(np.float64), data[b].astype(np.float64)
    test, rest = np.flatnonzero(data["held"])[: HELD[items]], np.flatnonzero(~data["held"])
    learnt = np.random.default_rng([draw, 1]).permutation(rest)[:pairs]
    taken = Paired.of(x[learnt], y[learnt])
    net, facts = MAPS.load("mlp")(taken)
    made = MAPS.load("ridge")(taken).apply(x[test]), net.encode(Signal("embedding", x[test].astype(np.float32)))[0].data
    one, other = (scored(each - taken.mean[1], y[test] - taken.mean[1]) for each in made)
    return one, other, facts["steps"]


def main(out: Path) -> None:
    print("| | pairs | ridge | mlp | mlp less ridge | updates |\n|---|---|---|---|---|---|")
    for column, (items, a, b) in COLUMNS.items():
        if items == "images" or not (out / f"{items}.npz").exists():
            continue
        data = load(out, items)
        for pairs in dict.fromkeys(min(pairs, MOST[items]) for pairs in PAIRS):
            draws = [measured(data, items, a, b, pairs, draw) for draw in range(DRAWS)]
            tops = [np.mean([draw[side]["top1"] for draw in draws], axis=0) for side in (0, 1)]
            shares = [
                f"{short(float(np.mean(tops[side])))} / {short(float(np.mean([draw[side]['csls'] for draw in draws])))}"
                for side in (0, 1)
            ]
            gap = tops[1] - tops[0]
            told = f"{gap.mean():+.3f} ± {interval(gap):.3f}".replace("0.", ".")
            print(
                f"| {column} | {pairs} | {shares[0]} | {shares[1]} | {told} | {', '.join(str(draw[2]) for draw in draws)} |",
                flush=True,
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
