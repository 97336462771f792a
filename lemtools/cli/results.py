"""What a command that measures gives back: lines of numbers, and a picture beside them."""

import os

import click

from . import common


def cell(value) -> str:
    """A value as it is printed."""
    if value is None:
        return "-"
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def show(run, as_json: bool, lines: list[dict], rows: list[list[str]], heads, page=None, before=()) -> None:
    """Print results: `lines` as JSON Lines, or `rows` separated by tabs, or at a terminal a table under `heads`.

    What files hold is made safe to show here, and nowhere else.

    page: what the table shows instead of `rows`. before: (heads, rows) of tables that come first at a terminal.
    """
    if as_json:
        import json

        if any(isinstance(v, float) and not abs(v) < float("inf") for line in lines for v in line.values()):
            run.note("infinite or undefined values are null in JSON")
        for line in lines:
            common.emit(json.dumps(common.finite(line)))
    elif not os.isatty(1):
        for row in rows:
            common.emit(*row)
    else:
        for names, cells in (*before, (heads, page or rows)):
            _table(list(names), cells)


def _table(heads, rows: list[list[str]]) -> None:
    """A table with a header row; numbers stand to the right, columns without any value are left out."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table, kept = Table(), [i for i in range(len(heads)) if any(row[i] for row in rows)]
    for i in kept:
        table.add_column(
            Text(heads[i]), justify="right" if all(map(_is_number, (r[i] for r in rows))) else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(common.printable(row[i])) for i in kept))
    Console().print(table)


def _is_number(text: str) -> bool:
    try:
        return text in ("", "-") or float(text) is not None
    except ValueError:
        return False


def picture(path: str, option: str, inputs: list[str]):
    """The Target of a picture, or of a page, that an option names. UsageError where it cannot be one, LemError where it
    is an input."""
    from ..media import Target

    if path == "-":
        raise click.UsageError(f"{option} needs a file: standard output holds the numbers")
    what, endings = ("page is HTML", (".html", ".htm")) if option == "--html" else ("picture is a PNG", (".png",))
    stem, extension = os.path.splitext(path)
    if extension.lower() not in ("", *endings):
        raise click.UsageError(f"{option} {path}: a {what}; name it {stem}{endings[0]}")
    target = Target(path, "png")
    if target.folder or target.pattern:
        raise click.UsageError(f"{option} {path}: name one file")
    target.refuse(inputs)
    return target
