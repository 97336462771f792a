"""Thoughts of a language model of lem-train lm: dimensions of its residual stream that the head does not read, and that are added
to the input of the next position.

WAYS are how the thoughts of all positions of a text are found, CARRIES what arrives of them; both take a number behind a
colon where their row has `number`, the least that it may be. What does a way, (thoughts, trunk, embedded, past, places) -> what the last
block leaves, is `exact` where it is the recurrence itself. What does a carry, (number, places, items) -> (sources, kept),
says of T places how thoughts arrive at N items there: sources, whole [T, N], the items that they come from, or None where each has
its own; kept, bool [T], whether anything arrives, or None where something always does. Where nothing ever does it says so: `carries`
is False, and there is nothing to find.
"""

from __future__ import annotations

from .errors import LemError
from .row import Option, Row
from .table import Table

USUAL = "bptt:64"
UNIT = 8  # thoughts are a multiple of so many dimensions, as matrix products on a GPU like them
WAYS = Table(
    "way of thoughts",
    Row(
        "bptt",
        "nets.thoughts:one_by_one",
        "one position after another: the exact recurrence; gradients of thoughts are cut before every K-th",
        shown="bptt:K",
        facts={"exact": True},
    ),
    Row(
        "passes",
        "nets.thoughts:all_at_once",
        "all positions at once, K times after the first: a position sees what its neighbour thought a pass before",
        shown="passes:K",
    ),
    number=1,
    exact=False,
)
CARRIES = Table(
    "carry of thoughts",
    Row("normal", "nets.thoughts:normal", "the thoughts of the position before"),
    Row("shuffled", "nets.thoughts:shuffled", "those of another item of the batch, drawn anew at every position"),
    Row(
        "reset",
        "nets.thoughts:reset",
        "nothing at every N-th position",
        shown="reset:N",
        facts={"number": 1},
    ),
    Row("none", "nets.thoughts:none", "never anything", facts={"carries": False}),
    number=None,
    carries=True,
)
THOUGHTS = Option(
    "--thoughts",
    "Share of the width that is thoughts: the head does not read them, and they are added to the input of the next position.",
    "number",
    low=0,
    high=1,
    open=("low", "high"),
    metavar="SHARE",
    usual="none",
)
BY = Option(
    "--thoughts-by",
    "How thoughts are found: bptt:K, position after position, with gradients cut before every K-th; passes:K, all positions at "
    "once, K times after the first.",
    metavar="WAY:K",
    usual=USUAL,
    words=tuple(f"{row.name}:" for row in WAYS.rows),
)
CARRY = Option(
    "--thoughts-carry",
    "What arrives of them: normal, or for control those of other items of the batch (shuffled), nothing at every N-th position "
    "(reset:N), or nothing (none).",
    metavar="CARRY",
    usual="normal",
    words=tuple(f"{row.name}:" if row.number else row.name for row in CARRIES.rows),
)


def spelled(table: Table, text: object, flag: str) -> tuple[Row, int | None]:
    """(row, number) of what a user wrote, as in 'bptt:64' or 'normal'. LemError for what the table has not."""
    name, _, number = str(text).partition(":")
    row = table.get(name)
    if row is None or (row.number is None) != (":" not in str(text)) or (row.number and not number.isdecimal()):
        raise LemError(f"{flag} {str(text)[:40]}: it takes {', '.join(table.shown)}")
    if row.number is None:
        return row, None
    if not row.number <= int(number) < 2**31:
        raise LemError(f"{flag} {str(text)[:40]}: a whole number from {row.number} on stands behind the colon")
    return row, int(number)


def dims(width: int, share: float) -> int:
    """Dimensions of `width` that are thoughts: the multiple of UNIT that is nearest to that share, one unit at least. LemError
    where none would be left to read."""
    found = max(UNIT, round(width * share / UNIT) * UNIT)
    if found >= width:
        raise LemError(
            f"--thoughts {share:g}: {found} of {width} dimensions leave none to the head; give less, or --width"
        )
    return found
