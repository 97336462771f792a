"""Emulators that are processes, of any language: states go out on their standard input, the next states come back."""

from __future__ import annotations

import contextlib
import io
import os
import re
import select
import shlex
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Any

import numpy as np

from .. import stream
from ..signal import LemError, Signal
from .codec import FIELDS, Codec

TIMEOUT = 600.0  # s
SHELL = ["/bin/sh", "-c"]
_GRACE = 5.0  # s to end of its own accord, once nothing more is asked
_LINES = 20  # of its standard error that are kept
_PARTS = re.compile(r"""\\.|'[^']*'|"(?:\\.|[^"\\])*"|.""", re.DOTALL)
_MARKS = set("|&;<>()$`*?[~\n")  # what means something to a shell outside quotes; within double ones $ and ` do


class Coprocess:
    """A process that answers every batch of states on its standard input with the next states on its standard output.

    command: as in a shell, whose quotes are understood; a shell (/bin/sh) runs it only where it asks for one, by a pipe, a
    redirection, a variable or a pattern (`shell`). called: the option that named it, in errors. timeout: s without a byte, in or out, after which it is taken for dead.

    A context manager: the process runs while it is entered. Both ways a batch is one document of a stream, and an answer
    may be a plain safetensors document, too, with one float tensor. It must be written out (flushed) before the next
    batch is asked for. What the process says on its standard error is passed on. It leads a process group of its own, which
    is ended with it, also where an exception or a signal ends this program. `stopped` says afterwards how it ended, where
    that was not well.
    """

    def __init__(self, command: str, timeout: float = TIMEOUT, codec: Codec = FIELDS, called: str = "--exec"):
        self.command, self.timeout, self.codec, self.called, self.steps = command, timeout, codec, called, 0
        self.words = words(command, called)
        self.shell = self.words[:2] == SHELL
        self.stopped = ""

    def __enter__(self) -> Coprocess:
        streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        try:
            self.process = subprocess.Popen(self.words, bufsize=0, process_group=0, **streams)
        except OSError as error:
            raise LemError(
                f"{self.words[0]}: {error.strerror or error}; {self.called} {_short(self.command)}"
            ) from error
        self.pipes = _Pipes(self.process, self.timeout)
        self.source = stream.Source(self.pipes, "its answer")
        self.answers = stream.read(self.source, made=self.codec.made, loop=True, whole=self.codec.whole)
        return self

    def step(self, states: np.ndarray) -> np.ndarray:
        """The states [R, C, ...] float32 that follow these; NaN goes both ways.

        Raises LemError where the process has ended or is silent, with its last words, and where its answer is no
        document, or one of another shape.
        """
        states = self.codec.state(states)
        place = np.arange(len(states), dtype=np.int64) + self.steps * len(states)
        if self.pipes.speaks() and self.source.peek(1):
            raise self._problem(f"wrote {self._shown()} before it was asked")
        self.pipes.send(stream.document(Signal(self.codec.kind, states, index=place)))
        try:
            answer = next(self.answers, None)
        except TimeoutError:
            raise self._problem(f"was silent for {self.timeout:g} s (does it flush what it writes?)") from None
        except LemError as error:
            if not self.pipes.over:
                way = f"only {self.codec.thing} go to its standard output, what it says to its standard error"
                raise self._problem(f"wrote what is no document of {self.codec.thing} ({error}); {way}") from error
            answer = None
        if answer is None:
            raise self._died()
        if answer.ops:
            raise self._problem("answered fragments; whole states are asked for")
        try:
            found = self.codec.claimed(answer.data, states)
        except LemError as error:
            raise self._problem(str(error)) from error
        self.steps += 1
        return found

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._close()
        finally:
            self._kill()

    def _close(self) -> None:
        """Say that nothing more comes, and wait until it has ended."""
        self.pipes.deadline = self.pipes.grace = time.monotonic() + min(_GRACE, self.timeout)
        self.pipes.waiting.extend(map(memoryview, stream.end(self.codec.kind)))
        more = None
        with contextlib.suppress(TimeoutError):
            self.pipes.finish()
            self.pipes.hang_up()
            with contextlib.suppress(LemError):  # (its stream need not have an end)
                more = next(self.answers, None)
            while self.pipes.read(1 << 16):
                pass
        if more is not None:
            raise self._problem(f"answered more often than it was asked, which was {self._times()}")
        if not self.pipes.over:
            self.stopped = f"{_short(self.command)}: did not end when its input did; it was stopped"
        elif status := self._status():
            self.stopped = str(self._problem(status))

    def _kill(self) -> None:
        """Leave nothing of it: its whole group ends."""
        try:
            for number, seconds in ((signal.SIGTERM, 1.0), (signal.SIGKILL, 5.0)):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(seconds)
                    break
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.pipes.close()

    def _status(self) -> str:
        """How it ended, in words; '' where that was well."""
        try:
            status = self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            return "closed its standard output"
        if status < 0:
            return f"was killed by {signal.Signals(-status).name}"
        return f"ended with exit status {status}" if status else ""

    def _died(self) -> LemError:
        return self._problem(f"{self._status() or 'ended with exit status 0'} after {self._times()}")

    def _times(self) -> str:
        return f"{self.steps} answer{'' if self.steps == 1 else 's'}"

    def _problem(self, what: str) -> LemError:
        """An error, with the last line that it said."""
        self.pipes.hear()
        said = self.pipes.last_line()
        return LemError(f"{_short(self.command)}: {what}{': ' * bool(said)}{said}")

    def _shown(self) -> str:
        begun = self.source.ahead + (os.read(self.pipes.back, 40) if self.pipes.speaks() else b"")
        return repr(begun.decode("utf-8", "replace"))


class _Pipes(io.RawIOBase):
    """What a process answers, as a file. While somebody waits for that, what is still to be sent goes out and what the
    process says on its standard error is passed on, so that no pipe is ever full with nobody at its other end."""

    def __init__(self, process: subprocess.Popen[bytes], timeout: float):
        files = (process.stdin, process.stdout, process.stderr)
        self.files = [file for file in files if file is not None]
        self.to, self.back, self.said = (file.fileno() for file in self.files)
        os.set_blocking(self.to, False)
        self.waiting: deque[memoryview] = deque()
        self.lines: deque[bytes] = deque([b""], _LINES)
        self.timeout, self.over, self.dumb = timeout, False, False
        self.deadline = time.monotonic() + timeout
        self.grace = float("inf")  # when it has to have ended at the latest

    def fileno(self) -> int:
        return self.back

    def readable(self) -> bool:
        return True

    def readinto(self, view: Any) -> int:
        """As of any file; 0 once the process has closed its output."""
        while not self._move(True):
            pass
        got = os.readv(self.back, [view])
        self.over = not got
        return got

    def send(self, buffers: Iterable[Any]) -> None:
        """Let these bytes go out; they do while an answer is waited for."""
        self.waiting.extend(memoryview(buffer).cast("B") for buffer in buffers)
        self._moved()

    def finish(self) -> None:
        """Wait until all has gone out."""
        while self.waiting and not self.over:
            self._move(False)

    def speaks(self) -> bool:
        """Whether there is something to read, or never will be."""
        poll = select.poll()
        poll.register(self.back, select.POLLIN)
        return bool(poll.poll(0))

    def hear(self) -> None:
        """Take what it says on its standard error, until it says no more."""
        poll, until = select.poll(), time.monotonic() + 1
        poll.register(self.said, select.POLLIN)
        while not self.dumb and time.monotonic() < until and poll.poll(100):
            self._hear()

    def last_line(self) -> str:
        """The last line it said that is not empty."""
        lines = (line.decode("utf-8", "replace").strip() for line in reversed(self.lines))
        return next(filter(None, lines), "")

    def hang_up(self) -> None:
        """Close its input."""
        self.waiting.clear()
        self.files[0].close()

    def close(self) -> None:
        for file in getattr(self, "files", ()):
            file.close()
        super().close()

    def _moved(self) -> None:
        self.deadline = min(time.monotonic() + self.timeout, self.grace)

    def _move(self, reading: bool) -> bool:
        """Wait until something can move, and move it; True where there is an answer to be read. TimeoutError where nothing
        but words came for too long."""
        poll = select.poll()
        if reading:
            poll.register(self.back, select.POLLIN)
        if not self.dumb:
            poll.register(self.said, select.POLLIN)
        if self.waiting:
            poll.register(self.to, select.POLLOUT)
        left = self.deadline - time.monotonic()
        ready = dict(poll.poll(1000 * left)) if left > 0 else {}
        if not ready:
            raise TimeoutError
        if self.said in ready:
            self._hear()
        if self.waiting and self.to in ready:
            self._say()
        if reading and self.back in ready:
            self._moved()
            return True
        return False

    def _say(self) -> None:
        try:
            sent = os.writev(self.to, list(self.waiting)[:16])
        except BlockingIOError:
            return
        except BrokenPipeError:  # what it answers, and how it ends, says more
            self.waiting.clear()
            return
        self._moved()
        while sent:
            view = self.waiting.popleft()
            if sent < len(view):
                self.waiting.appendleft(view[sent:])
            sent = max(sent - len(view), 0)

    def _hear(self) -> None:
        heard = os.read(self.said, 1 << 16)
        self.dumb = not heard
        with contextlib.suppress(OSError):
            os.write(2, heard)
        first, *more = heard.split(b"\n")
        self.lines[-1] = (self.lines[-1] + first)[-1000:]
        self.lines.extend(line[-1000:] for line in more)


def words(command: str, called: str = "--exec") -> list[str]:
    """A command as the words of a process: those of /bin/sh where it has what only a shell understands, that is pipes,
    redirections, variables and patterns that are not quoted. Raises LemError where there is none, and for an open quote."""
    parts = _PARTS.findall(command)
    marks = ({"$", "`"} if part[0] == '"' else _MARKS if len(part) == 1 else set() for part in parts)
    if any(mark & set(part) for mark, part in zip(marks, parts)) or re.match(r"\s*\w+=", command):
        return [*SHELL, command]
    try:
        found = shlex.split(command)
    except ValueError as error:
        raise LemError(f"{called} {_short(command)}: {str(error).lower()}") from error
    if not found:
        raise LemError(f"{called}: no command; name a program that steps states, as in {called} 'python step.py'")
    return found


def _short(command: str) -> str:
    return command if len(command) <= 60 else f"{command[:20]} ... {command[-36:]}"
