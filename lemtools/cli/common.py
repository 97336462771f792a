"""What every command shares: its options and its inputs."""

import functools
import os
import signal

import click

from .. import __version__
from ..catalogue import Option, Table
from ..catalogue.shared import IMAGES, KIND, SKIP_BAD
from .options import INPUT, OUTPUT, RUNNING, Command, chain, option
from .run import Killed, Session, emit, finite, main, printable
from .types import Amount, Finite

__all__ = ["RUNNING", "Amount", "Command", "Finite", "Killed", "chain", "emit", "finite", "main", "option", "printable"]


def command(
    name: str,
    examples: str,
    table: Table | None = None,
    chosen: str | None = None,
    narrow: bool = True,
    hides=None,
    more=(),
):
    """Decorate a function as the command `name`; `examples` are shown by --help and run by the tests.

    table, chosen, narrow, hides, more: as of options.Command.
    """
    running = chain(
        option("--quiet", "No notes and no progress on standard error.", "flag", short="-q", section=RUNNING),
        option("--verbose", "Say more on standard error.", "flag", short="-v", section=RUNNING),
        option("--debug", "Show the traceback of an error.", "flag", section=RUNNING),
        click.version_option(__version__, "--version", prog_name=name),
    )
    settings = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

    def decorate(function):
        made = functools.partial(Command, table=table, chosen=chosen, narrow=narrow, hides=hides, more=more)
        own = function.__dict__.pop("__click_params__", [])
        body = _guarded(name, running(function))
        body.__click_params__ = [*function.__click_params__, *own]  # (from the last to the first)
        return click.command(name, cls=made, epilog=examples, context_settings=settings)(body)

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


def inputs(nargs: int = -1):
    """FILE... and how it is read."""
    return chain(
        click.argument("files", metavar="[FILE]...", nargs=nargs, type=click.Path()),
        *(option(source, section=INPUT) for source in READING),
    )


LOOKS = (  # how inputs are looked at: the fields of media.Reading
    Option(
        "--key",
        "Tensor or array to read from a foreign safetensors or npz file, or tier of a TextGrid.",
        metavar="NAME",
    ),
    KIND,
    *IMAGES,
    SKIP_BAD,
    Option("--batch", "Items a batch.", "whole", low=1, env="LEM_BATCH", metavar="N", usual="about 16 MiB"),
    Option(
        "--max-bytes",
        "Refuse a document or file larger than this, and an item that decodes to more.",
        "bytes",
        env="LEM_MAX_BYTES",
        metavar="N",
        usual="16 GiB, an item 512 MiB",
    ),
)
READING = (
    Option("--files-from", "Read further input names from FILE, one a line; - is stdin.", metavar="FILE", file=True),
    Option("--sample", "Take the bundled photo as input.", "flag"),
    Option("--sample-name", "Take this bundled memory as input.", "choice", of=("kodim23", "rooster")),
    *LOOKS,
)
FORMATS = ("safetensors", "png", "jpg", "wav", "flac", "txt", "textgrid", "lab", "json", "npy")

shard = option(
    "--shard",
    "Only the items K, K + N, K + 2 N, ..., counted from 0; K is 0 to N - 1. auto reads both from SLURM's array.",
    metavar="K/N",
    words=("auto",),
    section=RUNNING,
)
seed = option(
    "--seed", "Seed of all random draws.", "whole", low=0, default=0, env="LEM_SEED", metavar="N", section=RUNNING
)
output = chain(
    option(
        "--output",
        "A file, a folder (DIR/), a pattern ('out-%05d.png'), or - for stdout.",
        short="-o",
        metavar="OUT",
        file=True,
        section=OUTPUT,
    ),
    option("--to", "Output format.", FORMATS, usual="by the name's extension", section=OUTPUT),
    option("--skip-existing", "Leave out items whose output file is there already.", "flag", section=OUTPUT),
)


def one_thread() -> None:
    """Keep numpy's BLAS to one thread, where starting its pool would cost more than the command itself."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def looks(*names: str):
    """Those options of LOOKS."""
    return chain(*(option(source, section=INPUT) for source in LOOKS if source.name in names))


def looked(*, grey=False, rgb=False, resize=None, **others) -> dict:
    """The fields of media.Reading that the options of LOOKS ask for."""
    if grey and rgb:
        raise click.UsageError("--grey and --rgb: give one of them")
    fields = {"size": resize, "colour": "grey" if grey else "rgb" if rgb else None, **others}
    return {name: value for name, value in fields.items() if value is not None}


def how(run: Session, **options):
    """The media.Reading that the options of LOOKS ask for."""
    from ..media import Reading

    return Reading(note=run.note, **looked(**options))


def reading(
    run: Session,
    files,
    files_from,
    sample,
    sample_name,
    *,
    shard=None,
    target=None,
    skip_existing=False,
    default_sample: bool | str = False,
    **looks,
):
    """(paths, batches) of a command's inputs. Without any: stdin, or at a terminal the sample (`default_sample`: True, or
    its name) or the short help.

    looks: the options of LOOKS, and fields of media.Reading.
    """
    paths = named_inputs(run, files, files_from, sample, sample_name, default_sample)
    from .. import media

    wanted = _wanted(paths, shard, target if skip_existing else None)
    return paths, media.load(paths, how(run, **looks), wanted=wanted, report=run.error)


def named_inputs(run: Session, files, files_from, sample, sample_name, default_sample: bool | str = False) -> list[str]:
    """The input paths of a command. default_sample: whether it takes a sample where there is none, or the name of one."""
    from ..media import inputs_named
    from ..media import sample as sample_path

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
        name = default_sample if isinstance(default_sample, str) else "kodim23"
        run.note(f"no input; taking the bundled {'photo' if name == 'kodim23' else 'sound'} ({name})")
        paths = [sample_path(name)]
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


def each(run: Session, paths, signals, work):
    """Yield work(batch) for every batch; of several inputs, one that it does not suit is reported and left out."""
    return spread(run, paths, signals, lambda batch: [work(batch)])


def spread(run: Session, paths, signals, work, apart: bool = False):
    """As `each`, where work(batch) yields any number of batches.

    apart: of a batch that it does not suit, the items are tried one by one, so that one of them spoils no other.
    """
    from ..signal import LemError

    for batch in run.progress(signals):
        begun = False
        try:
            for made in work(batch):
                begun = True
                yield made
        except LemError as problem:
            if _lone(paths) or batch.part is not None:  # (of a model with a part that fails, nothing is left)
                raise _of(batch, problem) from problem
            if begun or not apart or len(batch) == 1:
                run.error(_of(batch, problem))
                continue
            yield from _one_by_one(run, batch, work)


def _one_by_one(run: Session, batch, work):
    """The items of a batch, each by itself; where none of them can be done for one reason, that is said once."""
    from ..signal import LemError

    wrong: list[tuple] = []
    for k in range(len(batch)):
        item = batch.take([k])
        try:
            yield from list(work(item))
        except LemError as problem:
            wrong.append((item, problem))
    if len(wrong) == len(batch) and len({str(problem) for _, problem in wrong}) == 1:
        run.error(_of(batch, wrong[0][1]))
        return
    for item, problem in wrong:
        run.error(_of(item, problem))


def _of(batch, problem: Exception) -> Exception:
    """The error, with the name of the first item, or that of its file, before it."""
    from ..signal import LemError

    more = f" and {len(batch) - 1} more" if len(batch) > 1 else ""
    where = f"{batch.origin}: " if batch.origin else ""
    return LemError(f"{batch.names[0] if batch.names else f'{where}item {batch.index[0]}'}{more}: {problem}")


def _lone(paths) -> bool:
    """One file or pipe, whose failure is the command's."""
    return len(paths) == 1 and not os.path.isdir(paths[0])
