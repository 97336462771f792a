#!/usr/bin/env python3
"""How often are models of a task right, by the length of the sequence?

Usage: task_lengths.py MODEL... [--lengths 40,80,160,400] [--count 1024] [--seed 0] [--device auto] [--break '--bits 2']...

MODEL is one of lem-train lm --data task:NAME. A line each: model, network, parameters, task, length, share of right last answers
with its 95 % interval, share of all answers that are right, chance, the share of the most common state, and how thoughts are broken with the
bits that one takes then.

--break, as often as wanted, breaks what every position hands on by operations of lem-fragment: '--bits 2', '--noise .5', '--mask .5
--mask-shape dims'; a - in its place is a line for thoughts as they are, and what is measured without it.
"""

import argparse

import click

from lemtools.cli.fragment import losses
from lemtools.compare.summary import share_interval
from lemtools.device import pick
from lemtools.nets.model import Model, load
from lemtools.signal import LemError
from lemtools.train.by_length import LENGTHS, Answered, by_length

COLUMNS = "model network parameters task length right low high all chance majority broken bits"


def main() -> None:
    parser = argparse.ArgumentParser(description="How often are models of a task right, by the length of the sequence?")
    parser.add_argument("models", metavar="MODEL", nargs="+")
    parser.add_argument("--lengths", type=lambda text: [int(part) for part in text.split(",")], default=list(LENGTHS))
    parser.add_argument("--count", type=int, default=1024, help="sequences of each length")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--break", dest="broken", action="append", metavar="LOSSES", help="how thoughts are broken")
    asked = parser.parse_args()
    ways = asked.broken or ["-"]
    print("\t".join(COLUMNS.split()))
    for path in asked.models:
        try:
            model = load(path, pick(asked.device))
            for way in ways:
                broken = [] if way == "-" else losses(way)
                for found in by_length(model, asked.lengths, asked.count, asked.seed, broken=broken):
                    print("\t".join(line(path, model, found, way)), flush=True)
        except LemError as error:
            where = (
                "" if str(error).startswith(path) else f"{path}: "
            )  # (of a file that cannot be read, the error has it)
            parser.exit(2, f"task_lengths.py: error: {where}{error}\n")
        except click.ClickException as error:
            parser.exit(2, f"task_lengths.py: error: --break: {error.format_message()}\n")


def line(path: str, model: Model, found: Answered, way: str) -> list[str]:
    facts = (path, model.meta["net"]["net"], model.parameters, model.meta["task"]["task"], found.length)
    numbers = (*share_interval(found.right), found.share, found.chance, found.majority)
    bits = "-" if found.bits is None else f"{found.bits:g}"
    return [*map(str, facts), *(f"{number:.3f}" for number in numbers), way, bits]


if __name__ == "__main__":
    main()
