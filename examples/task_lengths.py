#!/usr/bin/env python3
"""How often are models of a task right, by the length of the sequence?

Usage: task_lengths.py MODEL... [--lengths 40,80,160,400] [--count 1024] [--seed 0] [--device auto]

MODEL is one of lem-train lm --data task:NAME. A line each: model, network, parameters, task, length, share of right last answers
with its 95 % interval, share of all answers that are right, chance, and the share of the most common state.
"""

import argparse

from lemtools.compare.summary import share_interval
from lemtools.device import pick
from lemtools.nets.model import load
from lemtools.signal import LemError
from lemtools.train.by_length import LENGTHS, by_length

COLUMNS = "model network parameters task length right low high all chance majority"


def main() -> None:
    parser = argparse.ArgumentParser(description="How often are models of a task right, by the length of the sequence?")
    parser.add_argument("models", metavar="MODEL", nargs="+")
    parser.add_argument("--lengths", type=lambda text: [int(part) for part in text.split(",")], default=list(LENGTHS))
    parser.add_argument("--count", type=int, default=1024, help="sequences of each length")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    print("\t".join(COLUMNS.split()))
    for path in asked.models:
        try:
            model = load(path, pick(asked.device))
            for found in by_length(model, asked.lengths, asked.count, asked.seed):
                facts = (path, model.meta["net"]["net"], model.parameters, model.meta["task"]["task"], found.length)
                numbers = (*share_interval(found.right), found.share, found.chance, found.majority)
                print("\t".join([*map(str, facts), *(f"{number:.3f}" for number in numbers)]), flush=True)
        except LemError as error:
            raise SystemExit(f"task_lengths.py: error: {path}: {error}") from error


if __name__ == "__main__":
    main()
