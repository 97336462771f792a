"""A fork server: a process that has loaded the libraries of the commands, and forks once for every command asked of it.

A start of Python that loads torch costs seconds, and one that trains loads as much again; a fork costs milliseconds. No
test has run in the server and it has no threads, so a command begins there as in an interpreter of its own: lemtools is
loaded anew. As a script this file is the server. It imports the standard library alone,
for `front` stands for a command in a shell.
"""

import atexit
import contextlib
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback

LIBRARIES = (
    "numpy.ma", "numpy.random", "numpy.fft", "click", "rich.progress", "PIL.Image", "PIL.PngImagePlugin", "soundfile",
    "safetensors.numpy", "torch", "torch.distributed", "torch.nn.parallel", "torch._dynamo", "torchaudio",
)  # fmt: skip


# --- who asks


class Asked:
    """A command that was begun: pid, and wait() for its exit status as subprocess gives it."""

    def __init__(self, path: str, tool: str, args, descriptors, env: dict, cwd: str):
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.connect(path)
        request = {"tool": tool, "args": list(args), "env": env, "cwd": cwd}
        socket.send_fds(self.connection, [b">"], descriptors)
        self.connection.sendall(json.dumps(request).encode() + b"\n")
        self.pid = self.answer()

    def answer(self) -> int:
        line = b""
        while not line.endswith(b"\n"):
            piece = self.connection.recv(1)
            if not piece:
                raise ConnectionError("the fork server of the tests ended")
            line += piece
        return int(line)

    def wait(self, seconds: float = 100) -> int:
        if not select.select([self.connection], [], [], seconds)[0]:
            os.kill(self.pid, signal.SIGKILL)
        with self.connection:
            return self.answer()


def front(tool: str) -> None:
    """This process is `lem-<tool>` as its parent sees it: signals and the status pass through."""
    asked = Asked(os.environ["LEM_FORK_SOCKET"], tool, sys.argv[1:], (0, 1, 2), dict(os.environ), os.getcwd())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(asked.pid, number))
    nothing = os.open(os.devnull, os.O_RDWR)  # else a pipe would seem to have a reader or writer more
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    status = asked.wait(600)
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


# --- the server


def serve(path: str, owner: int) -> dict:
    """Fork for whoever asks, until the process `owner` or the socket is gone; returns in a fork, with what it is to run."""
    for name in LIBRARIES:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path + ".new")
    listener.listen(64)
    os.rename(path + ".new", path)
    while os.path.exists(path) and alive(owner):
        if select.select([listener], [], [], 2)[0]:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                return watched(connection)
            connection.close()
    sys.exit()


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def watched(connection: socket.socket) -> dict:
    """Fork the command, wait for it, and tell how it ended; returns in the command, which has what its asker gave it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, descriptors, *_ = socket.recv_fds(connection, 1, 3)
    asked = json.loads(connection.makefile().readline())
    child = os.fork()
    if child == 0:
        connection.close()
        for to, descriptor in enumerate(descriptors):
            os.dup2(descriptor, to)
            os.close(descriptor)
        return asked
    for descriptor in descriptors:
        os.close(descriptor)
    connection.sendall(b"%d\n" % child)
    _, status = os.waitpid(child, 0)
    connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def heed() -> None:
    """Signals mean what they usually do, also where the tests run in the background or under nohup, which ignore some."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def become(asked: dict) -> None:
    """Signals, environment, folder, arguments and streams of the command."""
    heed()
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    sys.argv = [f"lem-{asked['tool']}", *asked["args"]]
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)


def run(asked: dict) -> int:
    """The exit status of the command, as Python finds it."""
    try:
        importlib.import_module(f"lemtools.cli.{asked['tool']}").main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.path[0] = sys.argv[3]
    asked = serve(sys.argv[1], int(sys.argv[2]))
    become(asked)
    status = run(asked)
    # what the end of Python does, but for taking down all libraries: seconds, in a fork
    threading._shutdown()
    atexit._run_exitfuncs()
    for file in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, AttributeError, ValueError):
            file.flush()
    os._exit(status)
