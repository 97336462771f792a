"""What a comparison found, as a table."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import Any

from ..catalogue import LemError
from ..compare import Result


class Table:
    """Rows of results: `table["psnr"]` is the mean of one, `rows()` all as dicts, `notes` what they leave out.

    A row: name, mean, low and high, the ends of the mean's 95 % interval over the items (None where there is none),
    n items, unit, and better, 'higher' or 'lower'.
    """

    def __init__(self, results: Sequence[Result], notes: Sequence[str] = ()):
        self.results, self.notes = list(results), list(notes)

    def rows(self) -> list[dict[str, Any]]:
        """One dict a metric."""
        return [
            {"name": r.name, "mean": r.mean, "low": r.low, "high": r.high, "n": len(r.items), "unit": r.unit}
            | {"better": r.better}
            for r in self.results
        ]

    def __getitem__(self, name: str) -> float:
        """The mean of a metric, by its name as asked for (psnr) or as printed (psnr-rgb)."""
        for result in self.results:
            if name.lower().replace("_", "-") in (result.metric.lower(), result.name.lower()):
                return result.mean
        raise KeyError(f"no {name!r}; there are {', '.join(self.keys())}")

    def keys(self) -> list[str]:
        """The metrics as asked for."""
        return [result.metric for result in self.results]

    def values(self, name: str) -> Any:
        """One value an item [N] of a metric; empty where the set has one number."""
        for result in self.results:
            if name in (result.metric, result.name):
                return result.values
        raise LemError(f"no {name!r}; there are {', '.join(self.keys())}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.results)

    def __repr__(self) -> str:
        lines = [("metric", "mean", "95 % interval", "items"), *self._cells()]
        wide = [max(map(len, column)) for column in zip(*lines)]
        return "\n".join("  ".join(map(str.ljust, line, wide)).rstrip() for line in lines)

    def _repr_html_(self) -> str:
        def row(cells: Sequence[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        head = row(("metric", "mean", "95 % interval", "items"), "th")
        return f"<table>{head}{''.join(row(cells, 'td') for cells in self._cells())}</table>"

    def _cells(self) -> list[tuple[str, str, str, str]]:
        return [
            (
                r.name,
                f"{r.mean:.6g}" + (f" {r.unit}" if r.unit else ""),
                "" if r.low is None else f"{r.low:.6g} to {r.high:.6g}",
                str(len(r.items)),
            )
            for r in self.results
        ]
