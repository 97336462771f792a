"""Tasks whose state is known exactly, for lem-train lm --data task:NAME: streams of symbols that are made, not read.

What makes one, (value, most) -> train.tasks.Task: value as the row's option has it, most: symbols of the longest sequence
that is ever asked for. A row has one option at most, which stands behind its name (`task:counter:7`).
"""

from .row import Option, Row
from .table import Table

PREFIX = "task:"  # of what names a task where files are named
REACH = 400  # symbols over which a network is made to be tested, where --context says nothing

TASKS = Table(
    "task",
    Row("parity", "train.tasks:parity", "whether the ones so far are odd in number; symbols 0 and 1"),
    Row(
        "counter",
        "train.tasks:counter",
        "the sum of the steps so far, modulo M; a symbol is a step, 0 to M - 1",
        options=(Option("M", "states", "whole", low=2, high=1024),),
        shown="counter:M",
    ),
    Row(
        "s5",
        "train.tasks:s5",
        "the product of the permutations of five things so far, one of 120; symbols are all permutations, or, but for "
        "the first, swaps of neighbours",
        options=(Option("WORD", "what symbols are", ("all", "swaps"), default="all"),),
        shown="s5[:swaps]",
    ),
    Row(
        "hops",
        "train.tasks:hops",
        "where K steps of a random cycle lead, which is shown pair by pair before",
        options=(Option("K", "steps", "whole", low=1, high=64),),
        shown="hops:K",
    ),
)
