"""A table of the catalogue: rows by name, in their order, and the refusals that follow from them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .errors import LemError
from .row import Option, Row


class Table(Mapping[str, Row]):
    """Rows of one kind of thing, as in Table('metric', Row(...), Row(...)).

    thing: what one of them is called. facts: values that a row has where it does not say otherwise.
    """

    def __init__(self, thing: str, *rows: Row, **facts: Any):
        self.thing, self.facts = thing, facts
        self._rows: dict[str, Row] = {}
        self._options: dict[str, tuple[Option, tuple[str, ...]]] | None = None
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Take in a row, at the end."""
        if row.name in self._rows:
            raise ValueError(f"two {self.thing}s of the name {row.name!r}")
        self._rows[row.name], self._options = row._replace(facts={**self.facts, **row.facts}), None

    @contextmanager
    def added(self, row: Row) -> Iterator[Row]:
        """A row for the length of a with statement, as in a test."""
        self.add(row)
        try:
            yield self._rows[row.name]
        finally:
            del self._rows[row.name]
            self._options = None

    def __getitem__(self, name: str) -> Row:
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows, in their order."""
        return tuple(self._rows.values())

    @property
    def shown(self) -> tuple[str, ...]:
        """The names as lists show them."""
        return tuple(row.shown or row.name for row in self.rows)

    def find(self, name: str) -> Row:
        """The row of a name that a user gave. LemError for a name that is not there, with those that are."""
        if (row := self._rows.get(name)) is None:
            hint = "".join(f"; near it: {', '.join(found)}" for found in [near(name, self)] if found)
            raise LemError(f"no {self.thing} {name!r}; there are {', '.join(self.shown)}{hint}")
        return row

    def load(self, name: str) -> Any:
        """What the row of that name makes or does it with. LemError as of `find`."""
        return self.find(name).load()

    def check_kind(self, name: str, kind: str, called: str) -> Row:
        """The row; LemError where it is not for this kind of memory. called: the thing as its user wrote it.

        A row may say the refusal better itself: its fact `refusal`, in which {kind} stands for the kind.
        """
        row = self.find(name)
        if not row.suits(kind):
            raise LemError(
                row.facts.get("refusal", f"{called} is for {listed(row.kinds)}, not {{kind}}").format(kind=kind)
            )
        return row

    def options(self) -> dict[str, tuple[Option, tuple[str, ...]]]:
        """{keyword: (option, names of the rows that take it)}, in the order in which they first occur."""
        if self._options is None:
            found: dict[str, tuple[Option, tuple[str, ...]]] = {}
            for row in self.rows:
                for option in row.options:
                    first, names = found.get(option.name, (option, ()))
                    found[option.name] = first, (*names, row.name)
            self._options = found
        return self._options

    def refused(self, option: str, name: str, called: str = "") -> str | None:
        """Why the thing of this name does not take an option (its keyword), in words; None where it does, or none does.

        called: the option that names a thing, as in '--method'; then resources are named as options, too.
        """
        if option not in (known := self.options()) or name in known[option][1]:
            return None
        flag, whom = known[option][0].flag, self.among(known[option][1])
        if whom.startswith("all but"):
            return f"{flag} is not for {called}{' ' * bool(called)}{name}"
        takers = [self[taker] for taker in known[option][1]]
        needed = dict.fromkeys(f"--{need}" for row in takers for need in row.needs)
        way = f" (with {' or '.join(needed)})" if called and needed and all(row.needs for row in takers) else ""
        return f"{flag} is for {called}{' ' * bool(called)}{whom}{way}, not {name}"

    def among(self, names: Collection[str]) -> str:
        """Some rows in words: 'a and b', or 'all but a and b' where those are fewer."""
        others = [name for name in self if name not in names]
        return f"all but {listed(others)}" if 0 < len(others) < len(names) else listed(names)


def near(word: str, known: Iterable[str]) -> list[str]:
    """The up to three known words that are nearly as like an unknown one as the most alike, which comes first."""
    from difflib import SequenceMatcher

    plain = word.lower().lstrip("-")
    alike = {each: SequenceMatcher(None, plain, each.lstrip("-")).ratio() for each in known}
    least = max(0.6, max(alike.values(), default=0) - 0.15)
    return sorted((each for each in alike if alike[each] >= least), key=lambda each: -alike[each])[:3]


def listed(words: Any) -> str:
    """'a', 'a and b', 'a, b and c'."""
    words = list(words)
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
