"""What is gained, item by item: `python gain.py PLAIN BETTER`, the output of two runs of `lem-compare --items`, on the
same items; of several metrics the first. Printed: the mean of both and that of the differences, each with its 95 %
interval over items.
"""

import sys

import numpy as np

from lemtools.compare.summary import mean_interval


def items(path: str) -> dict[str, float]:
    rows = [line.split("\t") for line in open(path, encoding="utf-8").read().splitlines()]
    return {item: float(value) for metric, value, low, _high, item in rows if metric == rows[0][0] and not low}


def cell(values: np.ndarray) -> str:
    mean, low, high = mean_interval(values)
    return f"{mean:.2f}" if low is None else f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    plain, better = (items(path) for path in sys.argv[1:])
    if not plain or list(plain) != list(better):
        sys.exit("the two runs are not of the same items")
    a, b = np.array(list(plain.values())), np.array(list(better.values()))
    print(cell(a), cell(b), cell(b - a), sep="\t")


if __name__ == "__main__":
    main()
