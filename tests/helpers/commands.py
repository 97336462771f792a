"""Running the commands as a user does: as processes, in forks, several together."""

import faulthandler
import importlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass

import pytest

from helpers.paths import ROOT


def lem(tool: str, *args, stdin: bytes | None = b"", cwd=None, env=None, ok: bool | None = True):
    """Run `lem-<tool>` as a process of its own; returns it with stdout and stderr as bytes.

    ok: True asserts exit status 0, False asserts one that is not 0, None asserts nothing.
    """
    code = f"from lemtools.cli.{tool} import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        env={**os.environ, **(env or {})},
    )
    if ok is not None:
        assert (done.returncode == 0) == ok, (args, done.returncode, done.stderr.decode())
    return done


def fork() -> int:
    """os.fork() for a test; it is left out where a GPU is seen, for a process that has touched CUDA must not be forked."""
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        pytest.skip("forks: runs where no GPU is seen")
    return os.fork()


@dataclass
class Done:
    """How a command ended; returncode as subprocess gives it: negative for a signal."""

    returncode: int
    stdout: bytes
    stderr: bytes


def lem_fork(tool: str, *args, stdin: bytes = b"", cwd=None, env=None, prepare=None, seconds: int = 30) -> Done:
    """Run `lem-<tool>` in a fork of this process: as true as a process of its own, without the start of an interpreter.

    prepare() is called in the child before the command. It is killed after `seconds`.
    """
    main = importlib.import_module(f"lemtools.cli.{tool}").main
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin)
        given.seek(0)
        child = fork()
        if child == 0:
            status = 70
            try:
                for descriptor, file in enumerate((given, out, err)):
                    os.dup2(file.fileno(), descriptor)
                sys.stdin, sys.stdout, sys.stderr = (open(i, mode, closefd=False) for i, mode in enumerate("rww"))
                signal.signal(signal.SIGINT, signal.default_int_handler)
                signal.alarm(seconds)
                faulthandler.dump_traceback_later(seconds - 1, file=2)  # says where it hangs
                os.environ.update(env or {})
                if cwd:
                    os.chdir(cwd)
                if prepare:
                    prepare()
                sys.argv = [f"lem-{tool}", *map(str, args)]
                main()
            except SystemExit as end:
                status = end.code or 0
            except BaseException:
                traceback.print_exc()
            finally:
                if sys.stderr is not None:
                    sys.stderr.flush()
                os._exit(status)
        _, status = os.waitpid(child, 0)
        for file in (out, err):
            file.seek(0)
        return Done(os.waitstatus_to_exitcode(status), out.read(), err.read())


def closed(*descriptors: int):
    """For `prepare` of lem_fork: these are closed, as the shell's >&- does it, before Python starts."""

    def close():
        for descriptor in descriptors:
            os.close(descriptor)
            setattr(sys, ("stdin", "stdout", "stderr")[descriptor], None)

    return close


def full():
    """For `prepare` of lem_fork: standard output is a full disk."""
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def lem_together(tool: str, line: str, folder, world: int = 2, begin: str = "") -> list[tuple[int, str]]:
    """`lem-<tool> line` in `world` processes that meet, as torchrun starts them: (exit status, stderr) of each.

    begin: what they do first. Not forks of this process: gloo's threads must not begin among locks that some thread of a long test run held.
    """
    code = (
        f"import faulthandler; faulthandler.dump_traceback_later(100, exit=True); {begin}\n"
        f"from lemtools.cli.{tool} import main; main()"
    )
    port, started = free_port(), []
    for rank in range(world):
        env = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port, "MASTER_ADDR": "127.0.0.1"}
        env = {**os.environ, "PYTHONPATH": str(ROOT), **{k: str(v) for k, v in env.items()}}
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", code, *shlex.split(line)],
                cwd=folder,
                env=env,
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        )
    return [(child.returncode, told) for child in started for _, told in [child.communicate()]]
