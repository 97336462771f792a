"""Running the commands as a user does: as processes, in forks, several together."""

import contextlib
import faulthandler
import fcntl
import importlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import pytest

import lemtools
from helpers import forkserver
from helpers.paths import ROOT

TOOLS = ("fragment", "reconstruct", "compare", "encode", "train", "els", "thermalize", "info")


@dataclass
class Done:
    """How a command ended; returncode as subprocess gives it: negative for a signal."""

    returncode: int
    stdout: bytes
    stderr: bytes


def server() -> str:
    """The socket of the fork server, which the first that asks for it starts; conftest names and removes its folder."""
    folder = os.environ["LEM_FORK_SERVER"]
    path = os.path.join(folder, "socket")
    with open(os.path.join(folder, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path):
            owner, tools = Path(folder).name.split("-")[1], Path(lemtools.__file__).parents[1]
            line = [sys.executable, forkserver.__file__, path, owner, tools]
            with open(os.path.join(folder, "said"), "wb") as said:
                begun = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
            while not os.path.exists(path):
                assert begun.poll() is None, Path(folder, "said").read_text()
                time.sleep(0.05)
    return path


def fronts() -> dict[str, str]:
    """Variables of a shell whose lem commands are begun by the fork server."""
    path = server()
    folder = Path(path).with_name("bin")
    if not folder.exists():
        new = Path(tempfile.mkdtemp(dir=folder.parent))
        for tool in TOOLS:
            code = f"import sys; sys.path.append({os.path.dirname(forkserver.__file__)!r}); import forkserver"
            (new / f"lem-{tool}").write_text(f"#!{sys.executable} -IS\n{code}; forkserver.front({tool!r})\n")
            (new / f"lem-{tool}").chmod(0o755)
        with contextlib.suppress(OSError):  # another process was first
            new.rename(folder)
    return {"LEM_FORK_SOCKET": path, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def lem(tool: str, *args, stdin: bytes = b"", cwd=None, ok: bool | None = True, **interpreter) -> Done:
    """Run `lem-<tool>`; returns its status, stdout and stderr as bytes.

    It is begun by the fork server; with own=True, or variables of its environment as env, in an interpreter of its own.
    ok: True asserts exit status 0, False asserts one that is not 0, None asserts nothing.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin)
        given.seek(0)
        if interpreter:
            code = f"from lemtools.cli.{tool} import main; main()"
            env = {**os.environ, **interpreter.get("env", {})}
            line = [sys.executable, "-c", code, *map(str, args)]
            status = subprocess.run(line, stdin=given, stdout=out, stderr=err, cwd=cwd, env=env).returncode
        else:
            descriptors = [file.fileno() for file in (given, out, err)]
            words, folder = list(map(str, args)), str(cwd or os.getcwd())
            status = forkserver.Asked(server(), tool, words, descriptors, dict(os.environ), folder).wait()
        for file in (out, err):
            file.seek(0)
        done = Done(status, out.read(), err.read())
    if ok is not None:
        assert (done.returncode == 0) == ok, (args, done.returncode, done.stderr.decode())
    return done


def fork() -> int:
    """os.fork() for a test; it is left out where a GPU is seen, for a process that has touched CUDA must not be forked."""
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        pytest.skip("forks: runs where no GPU is seen")
    return os.fork()


def lem_fork(tool: str, *args, stdin: bytes = b"", cwd=None, env=None, prepare=None, seconds: int = 30) -> Done:
    """Run `lem-<tool>` in a fork of this process: as true as a process of its own, without the start of an interpreter.

    prepare() is called in the child before the command. It is killed after `seconds`.
    """
    if tool == "train":  # its optimizer loads this, which takes seconds: here once, and not in every fork
        importlib.import_module("torch._dynamo")
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
                forkserver.heed()
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
                with contextlib.suppress(OSError):
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


def gone(pid: int) -> bool:
    """Whether no process of this number runs (any more)."""
    try:
        os.kill(pid, 0)
        with contextlib.suppress(FileNotFoundError):  # gone since, or there is no /proc
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"  # waits to be asked for
        return Path("/proc").exists()
    except ProcessLookupError:
        return True


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def lem_together(tool: str, line: str, folder, world: int = 2, begin: str = "") -> list[tuple[int, str]]:
    """`lem-<tool> line` in `world` processes that meet, as torchrun starts them: (exit status, stderr) of each.

    The fork server begins them, and not this process: gloo's threads must not begin among locks that some thread of a long
    test run held. begin: what they do first, in interpreters of their own, with all that an interpreter does at its end.
    """
    port, started = free_port(), []
    code = (
        f"import faulthandler; faulthandler.dump_traceback_later(100, exit=True); {begin}\n"
        f"from lemtools.cli.{tool} import main; main()"
    )
    with open(os.devnull, "r+b") as nothing, contextlib.ExitStack() as files:
        for rank in range(world):
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world}
            place |= {"MASTER_PORT": port, "MASTER_ADDR": "127.0.0.1"}
            env = {**os.environ, "PYTHONPATH": str(ROOT), **{k: str(v) for k, v in place.items()}}
            err, words = files.enter_context(tempfile.TemporaryFile("w+")), shlex.split(line)
            if begin:
                streams = dict(stdin=nothing, stdout=nothing, stderr=err)
                process = subprocess.Popen([sys.executable, "-c", code, *words], cwd=folder, env=env, **streams)
            else:
                descriptors = [nothing.fileno(), nothing.fileno(), err.fileno()]
                process = forkserver.Asked(server(), tool, words, descriptors, env, str(folder))
            started.append((process, err))
        ends = []
        for process, err in started:
            status = process.wait()
            err.seek(0)
            ends.append((status, err.read()))
    return ends
