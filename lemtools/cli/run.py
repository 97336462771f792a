"""One run of a command: its notes and errors, its status, and the signal it dies of."""

import os
import signal
import sys
import time
from contextlib import contextmanager
from typing import Any

import click

from .. import __version__

_KNOWN = (OSError, MemoryError, UnicodeEncodeError, click.ClickException)  # not a defect


class Killed(BaseException):
    """A signal that ends the process once its temporary files are gone."""

    def __init__(self, number: int):
        self.number = number


class Session:
    """One run of a command: where its notes and errors go, and whether an input failed."""

    def __init__(self, name: str, quiet: bool, verbose: bool):
        self.name, self.quiet, self.verbose, self.failed = name, quiet, verbose, False

    def note(self, text: str) -> None:
        """A line on standard error, unless --quiet."""
        if not self.quiet:
            _say(f"{self.name}: {text}")

    def say(self, text: str) -> None:
        """A line on standard error, whatever the options."""
        _say(f"{self.name}: {text}")

    def detail(self, text: str) -> None:
        """A line on standard error with --verbose."""
        if self.verbose:
            _say(f"{self.name}: {text}")

    def error(self, problem) -> None:
        """One line about a bad input; the command goes on with the others and exits with 2."""
        self.failed = True
        _say(f"{self.name}: error: {one_line(problem)}")

    def history(self, **more) -> dict:
        """This stage's entry in a signal's history."""
        return {"tool": self.name, "version": __version__, "args": sys.argv[1:], **more}

    def progress(self, signals, total: int | None = None, lines: bool = False):
        """Pass batches on, and show what is done where it takes over a second and standard error is a terminal.

        total: how many items come in all, where that is known; else what `signals` has as its attribute `total`. lines:
        without a terminal, too, a line every minute.
        """
        with self.watched(total, lines) as shown:
            if shown is not None and total is None:
                shown.total = getattr(signals, "total", None)
            for batch in signals:
                yield batch
                if shown is not None:
                    shown.count += len(batch)
                    shown.within([])

    @contextmanager
    def watched(self, total: int | None = None, lines: bool = False, items: bool = True):
        """As `progress`, for work that reports by progress.steps; yields a Shown, or None where nobody looks.

        items: whether the items that are done are counted, too.
        """
        terminal = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        if self.quiet or not (terminal or lines):
            yield None
            return
        from .. import progress

        shown = Shown(self, total, terminal, items)
        try:
            with progress.heard(shown.within):
                yield shown
        finally:
            shown.close()


class Shown:
    """What stands on standard error while a command works: items done, of how many, and the time that is left."""

    def __init__(self, run: Session, total: int | None, terminal: bool, items: bool = True):
        self.run, self.total, self.terminal, self.items, self.count = run, total, terminal, items, 0
        self.before: float | None = None  # the share that was done before it began
        self.more = ""  # to stand behind it
        self.live: Any = None
        self.begun = self.last = time.monotonic()

    def within(self, levels) -> None:
        """Show where the work is; levels: the loops within the item at hand, see progress.steps."""
        from ..progress import share

        self.before = share(levels) if self.before is None else self.before
        now = time.monotonic()
        if now - self.begun < 1 or now - self.last < (0.1 if self.terminal else 60):
            return
        self.last = now
        if not self.terminal:
            self.run.note(self.words(levels, now))
            return
        if self.live is None:
            from rich.console import Console

            self.live = Console(stderr=True).status("")
            self.live.start()
        self.live.update(f"{self.run.name}: {self.words(levels, now)}")

    def words(self, levels, now: float) -> str:
        """As '3 of 24 items, rows 40 of 96, 12 s left'."""
        from ..progress import share

        part, total = share(levels), self.total
        done = (self.count + part) / total if total else part if not self.count else 0
        words = [f"{self.count} of {total} items" if total else f"{self.count} items"] if self.items else []
        words += [f"{what} {k} of {n}" for what, k, n in levels]
        if (fresh := done - (self.before or 0)) > 0 and done <= 1:
            words.append(f"{duration((now - self.begun) * (1 - done) / fresh)} left")
        elif self.count:
            words.append(f"{self.count / (now - self.begun):.3g} a second")
        return ", ".join(words) + (f": {self.more}" if self.more else "")

    def close(self) -> None:
        """Take the line away."""
        if self.live is not None:
            self.live.stop()


def duration(seconds: float) -> str:
    """Seconds in people's units: '40 s', '12 min', '20 h', '3 d'."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    for unit, length, up in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 48)):
        if seconds < up * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def amount(number: float, unit: str) -> str:
    """A number in people's units: '120 MB', '3.4 TFLOP', '1.9 M'."""
    sizes = (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))
    prefix, size = next((found for found in sizes if number >= found[1]), ("", 1.0))
    digits = f"{number / size:.0f}" if number >= 10 * size else f"{number / size:.2g}"
    return f"{digits} {prefix}{unit}".rstrip()


def one_line(problem) -> str:
    """An exception as one line a user understands."""
    text = str(problem)
    if isinstance(problem, OSError) and problem.strerror:
        text = problem.strerror if problem.filename is None else f"{os.fsdecode(problem.filename)}: {problem.strerror}"
    elif isinstance(problem, MemoryError):
        text = "out of memory; smaller images or a smaller --batch need less"
    elif isinstance(problem, UnicodeEncodeError):
        text = f"{problem.object}: a name that this locale cannot write; set LC_ALL=C.UTF-8"
    return printable(" ".join(text.split(" "))) or type(problem).__name__


def printable(text: str) -> str:
    """Control characters, line ends and undecodable bytes, as of a file's name, as \\n, \\x1b and \\udcff."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def emit(*cells: str) -> None:
    """A line of results on standard output: cells between tabs, safe to show."""
    try:
        click.echo("\t".join(map(printable, cells)))
    except OSError as error:
        raise _of_stdout(error) from None


def _of_stdout(error: OSError) -> OSError:
    """The error, which names no file, as one of standard output."""
    if error.filename is None and not isinstance(error, BrokenPipeError):
        error.filename = "standard output"
    return error


def _say(line: str) -> None:
    if sys.stderr is None:
        return
    try:
        encoding = sys.stderr.encoding or "utf-8"
        print(
            printable(line).encode(encoding, "backslashreplace").decode(encoding),
            file=sys.stderr,
            flush=True,
        )
    except OSError:
        pass


def finite(value):
    """JSON has no infinity and no NaN: null."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def main(cli: click.Command) -> None:
    """Entry point of a console script: parse, run, and end as DESIGN says (0, 1, 2, or by the signal)."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _raise_killed)
    for descriptor, way in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDWR)):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: else the next file opened would be taken for it; so it can only fail
            os.open(os.devnull, way)
    if sys.stdout is None:  # closed: what is written must fail, not vanish
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stdout.encoding.lower() != "utf-8":  # what the locale has no letter for
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    status = 2
    try:
        status = cli.main(prog_name=cli.name, standalone_mode=False)
        _flush()
    except Killed as killed:
        die(killed.number)
    except BrokenPipeError:
        die(signal.SIGPIPE)
    except click.UsageError as error:
        _say(f"{cli.name}: error: {one_line(error.format_message())} ({cli.name} --help shows the options)")
    except Exception as error:  # every other problem is one line too
        if "--debug" in sys.argv:
            import traceback

            for line in traceback.format_exc().splitlines():
                _say(line)
        # LemError by its name: its module loads numpy
        known = isinstance(error, _KNOWN) or type(error).__name__ == "LemError"
        tail = "" if known else f" ({type(error).__name__}; a defect of {cli.name}: --debug shows where)"
        _say(f"{cli.name}: error: {one_line(error)}{tail}")
    # a closed standard output must not raise again when the interpreter ends
    try:
        _flush()
    except OSError as error:
        if status == 0:
            _say(f"{cli.name}: error: {one_line(error)}")
        os._exit(2)
    sys.exit(status)


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError as error:
        raise _of_stdout(error) from None


def _raise_killed(number, frame):
    raise Killed(number)


def die(number: int) -> None:
    """End by the signal itself, so that the shell sees 128 + number."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)
