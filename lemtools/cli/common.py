"""What every command shares: its options and its inputs."""

import functools
import os
import signal

import click

from .. import __version__
from .run import Killed, Session, finite, main, printable

__all__ = ["Killed", "finite", "main", "printable"]


class Command(click.Command):
    """A click command that remembers the order in which repeated options were written: `ctx.meta['order']`.

    The order is a list of (parameter name, how often it had been written before).
    """

    def parse_args(self, ctx, args):
        _, _, written = self.make_parser(ctx).parse_args(args=list(args))
        seen: dict[str, int] = {}
        ctx.meta["order"] = order = []
        for param in written:
            order.append((param.name, seen.get(param.name, 0)))
            seen[param.name] = seen.get(param.name, 0) + 1
        try:
            return super().parse_args(ctx, args)
        except BrokenPipeError:  # of --help
            raise Killed(signal.SIGPIPE) from None

    def format_epilog(self, ctx, formatter):
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.strip().splitlines():
                    formatter.write(" " * formatter.current_indent + line.strip() + "\n")


def command(name: str, examples: str):
    """Decorate a function as the command `name`; `examples` are shown by --help and run by the tests."""

    def decorate(function):
        function = click.option("--debug", is_flag=True, help="Show the traceback of an error.")(function)
        function = click.option("-v", "--verbose", is_flag=True, help="Say more on standard error.")(function)
        function = click.option(
            "-q",
            "--quiet",
            is_flag=True,
            help="No notes and no progress on standard error.",
        )(function)
        function = click.version_option(__version__, "--version", prog_name=name)(function)
        settings = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
        return click.command(name, cls=Command, epilog=examples, context_settings=settings)(_guarded(name, function))

    return decorate


def _guarded(name: str, function):
    """Run a command's body; its end is a status or a signal, never click's guess (EPIPE and Ctrl-C as exit 1)."""

    @functools.wraps(function)
    def body(**options):
        options.pop("debug")  # read where the error is caught: parsing may fail before
        run = Session(name, options.pop("quiet"), options.pop("verbose"))
        try:
            status = function(run=run, **options)
        except BrokenPipeError:
            raise Killed(signal.SIGPIPE) from None
        return 2 if run.failed else status or 0

    return body


def chain(*options):
    """Several options as one decorator."""

    def decorate(function):
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def inputs(nargs: int = -1):
    """FILE... and how it is read."""
    return chain(
        click.argument("files", metavar="[FILE]...", nargs=nargs, type=click.Path()),
        click.option(
            "--files-from",
            metavar="FILE",
            help="Read further input names from FILE, one a line; - is stdin.",
        ),
        click.option("--sample", is_flag=True, help="Take the bundled photo as input."),
        click.option(
            "--sample-name",
            type=click.Choice(["kodim23", "rooster"]),
            help="Take this bundled memory as input.",
        ),
        click.option(
            "--key",
            metavar="NAME",
            help="Tensor or array to read from a foreign safetensors or npz file.",
        ),
        click.option(
            "--batch",
            type=click.IntRange(1),
            envvar="LEM_BATCH",
            metavar="N",
            help="Items a batch.  [default: about 16 MiB]",
        ),
        click.option(
            "--max-bytes",
            type=click.IntRange(1),
            envvar="LEM_MAX_BYTES",
            metavar="N",
            help="Refuse a document or file larger than this.  [default: 16 GiB]",
        ),
    )


shard = click.option(
    "--shard",
    metavar="K/N",
    help="Only every N-th item, from item K = 0 ... N-1; auto reads SLURM's array.",
)
seed = click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    envvar="LEM_SEED",
    metavar="N",
    help="Seed of all random draws.",
)
output = chain(
    click.option(
        "-o",
        "--output",
        metavar="OUT",
        help="A file, a folder (DIR/), a pattern ('out-%05d.png'), or - for stdout.",
    ),
    click.option(
        "--to",
        type=click.Choice(["safetensors", "png", "jpg", "wav", "flac", "txt", "npy"]),
        help="Output format.  [default: by the name's extension]",
    ),
    click.option(
        "--skip-existing",
        is_flag=True,
        help="Leave out items whose output file is there already.",
    ),
)


def one_thread() -> None:
    """Keep numpy's BLAS to one thread, where starting its pool would cost more than the command itself."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def reading(
    run: Session,
    files,
    files_from,
    sample,
    sample_name,
    key,
    batch,
    max_bytes,
    *,
    shard=None,
    target=None,
    skip_existing=False,
    default_sample=False,
):
    """(paths, batches) of a command's inputs. Without any: stdin, or at a terminal the sample or the short help."""
    paths = named_inputs(run, files, files_from, sample, sample_name, default_sample)
    from .. import media

    wanted = _wanted(paths, shard, target if skip_existing else None)
    options = {"batch": batch, "key": key, "wanted": wanted} | ({"max_bytes": max_bytes} if max_bytes else {})
    return paths, media.load(paths, report=run.error, **options)


def named_inputs(run: Session, files, files_from, sample, sample_name, default_sample=False) -> list[str]:
    """The input paths of a command."""
    from ..media import inputs_named
    from ..media.load import sample as sample_path

    paths = inputs_named(files, files_from)
    if sample or sample_name:
        paths.append(sample_path(sample_name or "kodim23"))
    if not paths:
        if not os.isatty(0):
            return ["-"]
        if not default_sample:
            context = click.get_current_context()
            click.echo(
                context.get_usage() + f"\nTry '{run.name} --help', or --sample for a bundled memory.",
                err=True,
            )
            context.exit(2)
        run.note("no input; taking the bundled photo (kodim23)")
        paths = [sample_path("kodim23")]
    return paths


def _wanted(paths, shard: str | None, existing):
    """The test load() applies to each item: in this shard, and not written yet."""
    k, n = _shard(shard, paths)
    if n == 1 and existing is None:
        return None

    def wanted(index: int, name: str | None) -> bool:
        if index % n != k:
            return False
        if existing is None or not (existing.folder or existing.pattern):
            return True
        return not existing.is_there(index, name)

    return wanted


def _shard(text: str | None, paths) -> tuple[int, int]:
    if text is None:
        return 0, 1
    if "-" in paths:
        raise click.UsageError("--shard needs files: standard input is not shared between shards")
    if auto := text == "auto":
        variables = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT")
        if not all(v in os.environ for v in variables):
            raise click.UsageError(f"--shard auto needs {' and '.join(variables)}, which SLURM sets in an array job")
        text = "/".join(os.environ[v] for v in variables)
    try:
        k, n = (int(part) for part in text.split("/"))
        if auto:
            k -= int(os.environ.get("SLURM_ARRAY_TASK_MIN", 0))
        if 0 <= k < n:
            return k, n
    except ValueError:
        pass
    raise click.UsageError(f"--shard {text}: K/N with 0 <= K < N, or auto")


def skip_whole(run: Session, target, skip_existing: bool) -> bool:
    """True where the one output file is there already and --skip-existing asks to leave it."""
    if skip_existing and target.stdout:
        raise click.UsageError("--skip-existing needs files: name them with -o")
    if skip_existing and not (target.stdout or target.folder or target.pattern) and os.path.exists(target.out):
        run.note(f"{target.out} is there already; skipped")
        return True
    return False


class Finite(click.FloatRange):
    """A number in a range, neither NaN nor infinite."""

    def convert(self, value, param, ctx):
        value = super().convert(value, param, ctx)
        if value is not None and not abs(value) < float("inf"):
            self.fail(f"{value} is not a finite number", param, ctx)
        return value


def each(run: Session, paths, signals, work):
    """Yield work(batch) for every batch; of several inputs, one that it does not suit is reported and left out."""
    return spread(run, paths, signals, lambda batch: [work(batch)])


def spread(run: Session, paths, signals, work):
    """As `each`, where work(batch) yields any number of batches."""
    from ..signal import LemError

    for batch in run.progress(signals):
        try:
            yield from work(batch)
        except LemError as problem:
            more = f" and {len(batch) - 1} more" if len(batch) > 1 else ""
            error = LemError(f"{batch.names[0] if batch.names else f'item {batch.index[0]}'}{more}: {problem}")
            if _lone(paths):
                raise error from problem
            run.error(error)


def _lone(paths) -> bool:
    """One file or pipe, whose failure is the command's."""
    return len(paths) == 1 and not os.path.isdir(paths[0])


class Amount(click.ParamType):
    """A number, or A-B for a draw per item."""

    def __init__(self, name: str, whole: bool = False):
        self.name, self.whole = name, whole

    def convert(self, value, param, ctx):
        if not isinstance(value, str):
            return value
        import re

        match = re.fullmatch(r"(\d*\.?\d+(?:e[-+]?\d+)?)(?:-(\d*\.?\d+(?:e[-+]?\d+)?))?", value.lower())
        kind = int if self.whole else float
        try:
            low, high = kind(match[1]), kind(match[2] or match[1])
            if high > 1e30:
                raise ValueError
        except (TypeError, ValueError):
            self.fail(
                f"{value!r} is not a {'whole ' if self.whole else ''}number, nor A-B for a draw per item",
                param,
                ctx,
            )
        if low > high:
            self.fail(f"{value!r}: the lower end comes first", param, ctx)
        return low if match[2] is None else (low, high)
