"""Options of the catalogue as options of click, and commands whose options are those of a table's rows."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import click

from ..catalogue import Option, Row, Table, listed
from .run import Killed
from .types import Amount, Bytes, Choice, Finite, Size, Whole, hint

OWN, INPUT, OUTPUT, RUNNING = "What it does", "Input", "Output", "Running"
SECTIONS = (OWN, INPUT, OUTPUT, RUNNING)


def option(*args, section: str = OWN, **kwargs) -> Callable:
    """Decorate a function with a catalogue.Option, or with one made of these arguments; it stands in this section."""
    source = args[0] if isinstance(args[0], Option) else Option(*args, **kwargs)

    def decorate(function):
        made = converted(source, section)
        function.__dict__.setdefault("__click_params__", []).append(made)
        return function

    return decorate


def chain(*decorators) -> Callable:
    """Several decorators as one."""

    def decorate(function):
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def _named(context: click.Context, param: click.Parameter, value: Any) -> Any:
    """The value of an option that names a file. UsageError for no name, as of a variable of the shell that is not set."""
    if value == "" or (isinstance(value, tuple) and "" in value):
        raise click.UsageError(f"{param.opts[0]} '': names no file")
    return value


def converted(source: Option, section: str = OWN, rows: tuple[str, ...] = ()) -> click.Option:
    """An option as click has it. rows: the things that it is for, where it is not for all."""
    kind, arguments = source.type, {"type": str}
    if kind == "flag":
        arguments = {"is_flag": True}
    elif isinstance(kind, click.ParamType) or kind in ("size", "bytes"):
        arguments = {"type": Size() if kind == "size" else Bytes() if kind == "bytes" else kind}
    elif isinstance(kind, tuple) or kind == "choice":
        arguments = {"type": Choice(list(kind if isinstance(kind, tuple) else source.of or ()))}
    elif kind in ("whole", "number"):
        open_ends = {f"{'min' if end == 'low' else 'max'}_open": True for end in source.open}
        number = Whole if kind == "whole" else Finite
        arguments = {"type": number(min=source.low, max=source.high, **open_ends)}
    elif kind in ("amount", "whole-amount"):
        arguments = {"type": Amount(source.metavar, kind == "whole-amount", source.low, source.high)}
    if source.file and source.name != "output":  # (of an output, media.Target says it)
        arguments["callback"] = _named
    if source.default is not None:
        arguments |= {"default": source.default, "show_default": kind != "flag"}
    made: Any = click.Option(
        [source.flag, *([source.short] if source.short else []), source.name],
        help=source.described() + (f"  [default: {source.usual}]" if source.usual else ""),
        multiple=source.multiple,
        metavar=source.metavar or None,
        envvar=source.env or None,
        **arguments,
    )
    made.source, made.section, made.rows = source, source.section or section, rows
    return made


class Command(click.Command):
    """A command whose options are its own and those of the rows of a table of the catalogue.

    table: None, or the table. chosen: the parameter that names one row, whose options alone --help shows when it is
    named beside it; None where all rows are at work together. narrow: --help without a row shows only what all rows
    take; else all options, each with the rows that it is for. hides: those of its own parameters that a row has no use
    for. more: other tables whose rows bring options, all of them shown with what they are for. `ctx.meta['order']` tells the order in which repeated
    options were written, as (parameter name, how often it had been written before).
    """

    def __init__(
        self,
        *args,
        table: Table | None = None,
        chosen: str | None = None,
        narrow: bool = True,
        hides: Callable[[Row], Iterable[str]] | None = None,
        more: Iterable[Table] = (),
        **kwargs,
    ):
        self.table, self.chosen, self.narrow, self.hides, self.more, self._own = table, chosen, narrow, hides, more, []
        self._made: tuple[object, list[click.Parameter]] = None, []
        super().__init__(*args, **kwargs)

    @property
    def params(self) -> list[click.Parameter]:
        """Its own parameters and the options of the rows, as the catalogue has them at this moment."""
        rows = self.table.options().values() if self.table is not None else ()
        beside = [
            source._replace(help=f"For --{table.thing} {listed(names)}: {source.help}")
            for table in self.more
            for source, names in table.options().values()
        ]
        sources = [*(p.source for p in self._own if hasattr(p, "source")), *beside, *(source for source, _ in rows)]
        now = [(source, *(source.of or ())) for source in sources], [names for _, names in rows]
        if self._made[0] != now:
            own = [converted(p.source, p.section, p.rows) if hasattr(p, "source") else p for p in self._own]
            count = len(self.table) if self.table is not None else 0
            made: list[Any] = [
                converted(s, OWN, () if len(names) == count or not self.chosen else names) for s, names in rows
            ]
            every = [*own, *map(converted, beside), *made]
            for param in made:
                param.table = self.table
            self._made = now, sorted(every, key=lambda p: (not isinstance(p, click.Argument), _place(p)))
        return self._made[1]

    @params.setter
    def params(self, own: list[click.Parameter]) -> None:
        self._own, self._made = own, (None, [])

    def parse_args(self, ctx, args):
        try:
            values, _, written = self.make_parser(ctx).parse_args(args=list(args))
        except click.NoSuchOption as error:
            every = [name for p in self.get_params(ctx) if isinstance(p, click.Option) for name in p.opts]
            said = f"No such option {error.option_name}{hint(error.option_name, every)}"
            raise click.NoSuchOption(error.option_name, said, ctx=ctx) from None
        seen: dict[str, int] = {}
        ctx.meta["order"] = order = []
        for param in written:
            order.append((param.name, seen.get(param.name, 0)))
            seen[param.name] = seen.get(param.name, 0) + 1
        ctx.meta["row"] = row = values.get(self.chosen) if self.chosen else None
        if isinstance(row, str) and row not in self.table:  # (beside --help, too)
            next(p for p in self._own if p.name == self.chosen).type_cast_value(ctx, row)
        try:
            return super().parse_args(ctx, args)
        except BrokenPipeError:  # of --help
            raise Killed(signal.SIGPIPE) from None

    def format_options(self, ctx, formatter):
        """The options by sections: all, or those of the row that was named beside --help; without one, the rows."""
        row = self.table.get(ctx.meta.get("row")) if self.table is not None else None
        by_section: dict[str, list] = {title: [] for title in SECTIONS}
        choose = self.chosen is not None and row is None
        for param in self.get_params(ctx) if row is None else self._of_row(ctx, row):
            rows = getattr(param, "rows", ())
            if isinstance(param, click.Argument) or (choose and rows and self.narrow):
                continue
            if record := param.get_help_record(ctx):
                names, text = record
                text += f"  For {listed(rows)}." if choose and rows else ""
                by_section[SECTIONS[_place(param)]].append((names, text))
        if row is not None:
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(f"{row.name}: {row.help}.")
        elif choose:
            with formatter.section(f"{self.table.thing}s".capitalize()):
                formatter.write_dl([(r.shown or r.name, r.help) for r in self.table.rows])
                formatter.write_text(f"{ctx.command_path} {self.naming} --help shows what one of them takes.")
        for title, records in by_section.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def _of_row(self, ctx, row: Row) -> Iterator[click.Parameter]:
        """The parameters that a row takes, in its order and words, after those of the command itself."""
        order = [option.name for option in row.options]
        every: list[Any] = self.get_params(ctx)
        hidden = self.hides(row) if self.hides else ()
        params = [p for p in every if (not getattr(p, "rows", ()) or row.name in p.rows) and p.name not in hidden]
        for param in sorted(params, key=lambda p: order.index(p.name) if p.name in order else -1):
            if param.name not in order:
                yield param
                continue
            source = row.options[order.index(param.name)]
            if (brought := row.facts.get(param.name)) is not None:
                source = source._replace(usual=_shown(brought))
            yield converted(source._replace(**row.facts.get("said", {}).get(param.name, {})), param.section)

    @property
    def naming(self) -> str:
        """How a row is named on the command line: 'RECIPE', '--encoder NAME'."""
        param = next(p for p in self._own if p.name == self.chosen)
        return param.metavar if isinstance(param, click.Argument) else f"{param.opts[0]} NAME"

    def format_epilog(self, ctx, formatter):
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.strip().splitlines():
                    formatter.write(" " * formatter.current_indent + line.strip() + "\n")


def _shown(value) -> str:
    """A default that a row brings."""
    if isinstance(value, Mapping):
        keys: dict = {}
        for key, name in value.items():
            keys.setdefault(name, []).append(key)
        return ", ".join(f"{name} ({', '.join(of)})" if len(keys) > 1 else str(name) for name, of in keys.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _place(param: click.Parameter) -> int:
    """Where its section stands; what click itself adds, --version and --help, is about the running."""
    return SECTIONS.index(getattr(param, "section", RUNNING if param.is_eager else OWN))


def given(context: click.Context) -> set[str]:
    """Parameters that stand on the command line or in the environment."""
    default = (click.core.ParameterSource.DEFAULT, click.core.ParameterSource.DEFAULT_MAP)
    return {name for name in context.params if context.get_parameter_source(name) not in default}


def written(context: click.Context) -> set[str]:
    """Parameters that stand on the command line."""
    line = click.core.ParameterSource.COMMANDLINE
    return {name for name in context.params if context.get_parameter_source(name) == line}


def refuse(table: Table, name: str, options: Iterable[str], called: str = "") -> None:
    """UsageError for the first of the options (by their keywords) that rows of the table take, but not this one.

    called: the option that names a row, as in '--method'.
    """
    for option in options:
        if (problem := table.refused(option, name, called)) is not None:
            raise click.UsageError(problem)


def values(options: dict, sources: Iterable[Option]) -> dict:
    """{keyword: value} of those options that were given a value, taken from click's parameters."""
    found = {source.name: options.get(source.name) for source in sources}
    return {name: value for name, value in found.items() if value is not None and value is not False and value != ()}


__all__ = [
    "INPUT", "OUTPUT", "OWN", "RUNNING", "Command", "chain", "converted", "given", "listed", "option", "refuse", "values",
    "written",
]  # fmt: skip
