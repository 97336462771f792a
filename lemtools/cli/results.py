"""What a command that measures gives back: lines of numbers, and a picture beside them."""

import click

from . import common


def cell(value) -> str:
    """A value as it is printed."""
    if value is None:
        return "-"
    return f"{value:.7g}" if isinstance(value, float) else common.printable(str(value))


def show(run, as_json: bool, lines: list[dict], rows: list[list[str]], heads, page=None) -> None:
    """Print results: `lines` as JSON Lines; or `rows`, separated by tabs; or, at a terminal, `page` (None: `rows`) under
    its `heads`."""
    import os

    if as_json:
        import json

        if any(isinstance(v, float) and not abs(v) < float("inf") for line in lines for v in line.values()):
            run.note("infinite or undefined values are null in JSON")
        for line in lines:
            click.echo(json.dumps(common.finite(line)))
    elif not os.isatty(1):
        for row in rows:
            click.echo("\t".join(row))
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table(*heads)
        for row in page or rows:
            table.add_row(*(each.replace("[", "\\[") for each in row))
        Console().print(table)


def picture(path: str, option: str, inputs: list[str]):
    """The Target of a PNG that an option names. UsageError where it cannot be one, LemError where it is an input."""
    import os

    from ..media import Target

    if path == "-":
        raise click.UsageError(f"{option} needs a file: standard output holds the numbers")
    stem, extension = os.path.splitext(path)
    if extension.lower() not in ("", ".png"):
        raise click.UsageError(f"{option} {path}: a picture is a PNG; name it {stem}.png")
    target = Target(path, "png")
    if target.folder or target.pattern:
        raise click.UsageError(f"{option} {path}: name one file")
    target.refuse(inputs)
    return target
