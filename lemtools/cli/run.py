"""One run of a command: its notes and errors, its status, and the signal it dies of."""

import os
import signal
import sys

import click

from .. import __version__


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

    def progress(self, signals):
        """Pass batches on; where standard error is a terminal and it takes over a second, count items there."""
        if self.quiet or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
            yield from signals
            return
        import time

        begun, count, live = time.monotonic(), 0, None
        try:
            for batch in signals:
                yield batch
                count += len(batch)
                if live is None and time.monotonic() - begun > 1:
                    from rich.console import Console

                    live = Console(stderr=True).status("")
                    live.start()
                if live is not None:
                    live.update(f"{self.name}: {count} items, {count / (time.monotonic() - begun):.3g} a second")
        finally:
            if live is not None:
                live.stop()


def one_line(problem) -> str:
    """An exception as one line a user understands."""
    text = str(problem)
    if isinstance(problem, OSError) and problem.strerror:
        text = problem.strerror if problem.filename is None else f"{os.fsdecode(problem.filename)}: {problem.strerror}"
    elif isinstance(problem, MemoryError):
        text = "out of memory; try a smaller --batch"
    return printable(" ".join(text.split(" "))) or type(problem).__name__


def printable(text: str) -> str:
    """Control characters, line ends and undecodable bytes, as of a file's name, as \\n, \\x1b and \\udcff."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


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
    status = 2
    try:
        status = cli.main(prog_name=cli.name, standalone_mode=False)
        sys.stdout and sys.stdout.flush()
    except Killed as killed:
        die(killed.number)
    except BrokenPipeError:
        die(signal.SIGPIPE)
    except click.UsageError as error:
        _say(f"{cli.name}: error: {one_line(error.format_message())} ({cli.name} --help shows the options)")
    except Exception as error:  # every other problem is one line too
        if "--debug" in sys.argv:
            import traceback

            traceback.print_exc()
        # LemError by its name: its module loads numpy
        known = isinstance(error, (OSError, MemoryError, click.ClickException)) or type(error).__name__ == "LemError"
        tail = "" if known else f" ({type(error).__name__}; a defect of {cli.name}: --debug shows where)"
        _say(f"{cli.name}: error: {one_line(error)}{tail}")
    # a closed standard output must not raise again when the interpreter ends
    try:
        sys.stdout and sys.stdout.flush()
    except OSError as error:
        if status == 0:
            _say(f"{cli.name}: error: standard output: {one_line(error)}")
        os._exit(2)
    sys.exit(status)


def _raise_killed(number, frame):
    raise Killed(number)


def die(number: int) -> None:
    """End by the signal itself, so that the shell sees 128 + number."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)
