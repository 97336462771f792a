"""Hostile inputs for every reader: files that the tools made, changed by seed, in forks of this process.

    python -m tests.fuzz 30000 --seed 1 --commands 2000

A fault is a way to end that is promised to no one: an error that is not one line (LemError or OSError), a signal, more
than 20 s of the processor, more than 1 GiB beyond what the unchanged file takes; of a command also any status but 0 and
2 (1 where that says something: of lem-info a damaged stream, of lem-thermalize --check, --report and --strict), "a defect
of", and a file under the output's name though the command failed. They are reported once for every place in the code,
with the numbers of the inputs; --only NUMBER runs one again and shows it. The exit status is 1 where there were faults.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib
import json
import os
import random
import resource
import select
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from typing import Any, NamedTuple

for name, setting in (("OMP_NUM_THREADS", "1"), ("OPENBLAS_NUM_THREADS", "1"), ("CUDA_VISIBLE_DEVICES", "")):
    os.environ[name] = (
        setting  # before torch is loaded: a process that has touched a GPU, or runs threads, is not forked
    )
sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]

from helpers.corpus import Corpus, File  # noqa: E402
from helpers.mutate import mutated  # noqa: E402

SECONDS, WALL, BEYOND = 20, 150, 1 << 30  # of the processor; on the clock; bytes
BATCH = 16  # inputs a fork
GOOD = ("LemError", "OSError", "FileNotFoundError", "IsADirectoryError", "PermissionError")


class Fault(NamedTuple):
    """number: of the input. what: the form, the reader or command, and how it ended. place: in the code."""

    number: int
    what: str
    place: str


class Input(NamedTuple):
    """One changed file, and who reads it."""

    number: int
    file: File
    raw: bytes
    rng: random.Random

    def placed(self, folder: str) -> str:
        """Written into a folder; its path."""
        path = os.path.join(folder, "x" + os.path.splitext(self.file.name)[1])
        with open(path, "wb") as file:
            file.write(self.raw)
        return path


def changed(corpus: Corpus, seed: int, number: int, commands: bool) -> Input:
    """Input `number` of a seed, whatever came before it."""
    rng = random.Random(f"{seed} {number} {commands}")
    file = rng.choice([file for file in corpus.files if not commands or file.commands])
    with open(os.path.join(corpus.folder, file.name), "rb") as plain:
        return Input(number, file, mutated(plain.read(), file.form, rng), rng)


def place_of(error: BaseException) -> str:
    """The innermost line of ours that an error went through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/lemtools/" in f.filename]
    if not frames:
        return "?"
    return f"{frames[-1].filename.rpartition('/lemtools/')[2]}:{frames[-1].name}"


def limit(seconds: float) -> None:
    """Let this process die after so much more of the processor, and before it takes all memory."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime + seconds) + 1, resource.RLIM_INFINITY))


def limit_memory() -> None:
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    most = pages * resource.getpagesize() + 3 * BEYOND
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def peak() -> int:
    """Most memory that this process had, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def read_one(one: Input, folder: str) -> tuple[str, str] | None:
    """(what, place) of a fault of one reader; None where all is well."""
    reader = one.rng.choice(one.file.readers)
    what, before = f"{one.file.name} {reader.__qualname__.removesuffix('.<locals>.read')}", peak()
    try:
        reader(one.placed(folder))
    except Exception as error:
        if type(error).__name__ not in GOOD:
            return f"{what}: {type(error).__name__}: {str(error)[:90]!r}", place_of(error)
        if "\n" in str(error):
            return f"{what}: several lines: {str(error)[:90]!r}", place_of(error)
    if peak() - before > BEYOND:
        return f"{what}: {(peak() - before) >> 20} MiB", "memory"
    return None


def readers_child(corpus: Corpus, seed: int, numbers: list[int], out: int) -> None:
    """In a fork: read the inputs one after the other, a line of JSON for each."""
    limit_memory()
    os.dup2(os.open(os.devnull, os.O_RDWR), 2)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            os.write(out, (json.dumps(["begin", number]) + "\n").encode())
            limit(SECONDS)
            fault = read_one(changed(corpus, seed, number, False), folder)
            os.write(out, (json.dumps(["end", number, fault]) + "\n").encode())


def command_line(one: Input, folder: str, corpus: Corpus) -> list[str]:
    line = one.rng.choice(one.file.commands)
    words = shlex.split(line)
    path = one.placed(folder)
    return [word.format(x=path, d=corpus.folder, o=os.path.join(folder, "out")) for word in words]


def run(words: list[str], folder: str) -> tuple[int, str, int]:
    """(exit status, standard error, peak memory) of a command in a fork; the status of a signal is negative."""
    told = os.path.join(folder, ".told")
    child = os.fork()
    if child == 0:
        status = 70
        try:
            limit_memory()
            limit(SECONDS)
            signal.alarm(WALL)
            for descriptor, path in ((0, os.devnull), (1, os.devnull), (2, told)):
                os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), descriptor)
            sys.stdin, sys.stdout, sys.stderr = (open(i, mode, closefd=False) for i, mode in enumerate("rww"))
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.argv = ["lem-" + words[0], *words[1:]]
            importlib.import_module(f"lemtools.cli.{words[0]}").main()
        except SystemExit as end:
            status = end.code if type(end.code) is int else 0 if end.code is None else 70
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    _, status, usage = os.wait4(child, 0)
    with open(told, errors="replace") as file:
        return os.waitstatus_to_exitcode(status), file.read(), 1024 * usage.ru_maxrss


def fault_of(words: list[str], folder: str, most: int) -> tuple[str, str] | None:
    """(what, place) of a fault of one command."""
    before = set(os.listdir(folder))
    status, told, memory = run(words, folder)
    left = sorted(set(os.listdir(folder)) - before - {".told"})
    said = "lem-" + " ".join(words)[:200]
    wanted = (0, 1, 2) if words[0] == "info" or {"--check", "--report", "--strict"} & set(words) else (0, 2)
    if "Traceback" in told or "a defect of" in told or "out of memory" in told:
        *_, last = told.strip().splitlines() or [""]
        _, again, _ = run([*words, "--debug"], folder)
        frames = [
            line.strip() for line in again.splitlines() if "/lemtools/" in line and line.strip().startswith("File")
        ]
        where = frames[-1].rpartition("/lemtools/")[2] if frames else "?"
        name, _, function = where.replace('"', "").partition(", ")
        return f"{said}: {last[:150]}", f"{name}:{function.rpartition('in ')[2]}"
    if status not in wanted:
        return f"{said}: exit status {status}: {told[:150]!r}", "status"
    if memory > most + BEYOND:
        return f"{said}: {memory >> 20} MiB", "memory"
    half = [
        name
        for name in left
        if name.startswith(".") or (status not in (0, 1) and os.path.isfile(os.path.join(folder, name)))
    ]
    if half:
        return f"{said}: exit status {status}, and left {half}", "left"
    if len(told.splitlines()) > 40:
        return f"{said}: {len(told.splitlines())} lines", "lines"
    return None


def commands_child(corpus: Corpus, seed: int, numbers: list[int], out: int, peaks: dict[str, int]) -> None:
    """In a fork: run whole commands on the inputs, each in a fork of its own."""
    for number in numbers:
        os.write(out, (json.dumps(["begin", number]) + "\n").encode())
        with tempfile.TemporaryDirectory() as folder:
            one = changed(corpus, seed, number, True)
            words = command_line(one, folder, corpus)
            fault = fault_of(words, folder, peaks["all"])
        os.write(out, (json.dumps(["end", number, fault]) + "\n").encode())


class Pool:
    """Forks at work, and what they found."""

    def __init__(self, processes: int, child: Any):
        self.processes, self.child = processes, child
        self.running: dict[int, tuple[int, list[int], list[str]]] = {}  # pipe: (process, inputs left, [text so far])
        self.faults: list[Fault] = []
        self.done = 0

    def start(self, numbers: list[int]) -> None:
        r, w = os.pipe()
        process = os.fork()
        if process == 0:
            status = 1
            try:
                os.close(r)
                self.child(numbers, w)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(w)
        self.running[r] = (process, list(numbers), [""])

    def wait(self) -> list[list[int]]:
        """Take in what comes; returns batches that are to be begun again, their fork having died at an input."""
        again = []
        ready, _, _ = select.select(list(self.running), [], [])
        for pipe in ready:
            process, left, text = self.running[pipe]
            raw = os.read(pipe, 1 << 16)
            text[0] += raw.decode()
            *lines, text[0] = text[0].split("\n")
            for line in lines:
                what, number, *rest = json.loads(line)
                if what == "end":
                    left.remove(number)
                    self.done += 1
                    if rest[0]:
                        self.faults.append(Fault(number, *rest[0]))
            if raw:
                continue
            del self.running[pipe]
            os.close(pipe)
            _, status = os.waitpid(process, 0)
            if left:  # the fork died at the first one that is left
                end = os.waitstatus_to_exitcode(status)
                name = signal.Signals(-end).name if end < 0 else f"status {end}"
                self.faults.append(Fault(left[0], f"killed: {name}", f"killed {name}"))
                self.done += 1
                again.append(left[1:])
        return [numbers for numbers in again if numbers]

    def go(self, count: int, batch: int, progress: bool) -> None:
        todo = [list(range(i, min(i + batch, count))) for i in range(0, count, batch)][::-1]
        told = time.monotonic()
        while todo or self.running:
            while todo and len(self.running) < self.processes:
                self.start(todo.pop())
            todo += self.wait()
            if progress and time.monotonic() - told > 20:
                told = time.monotonic()
                print(
                    f"{self.done} of {count}, {len({f.place for f in self.faults})} places", file=sys.stderr, flush=True
                )


def report(kind: str, count: int, faults: list[Fault]) -> None:
    """One line for all, and one for each place."""
    print(f"{count} {kind}: {len(faults)} faults in {len({f.place for f in faults})} places")
    for place, times in Counter(f.place for f in faults).most_common():
        first = next(f for f in sorted(faults) if f.place == place)
        numbers = ", ".join(str(f.number) for f in sorted(faults) if f.place == place)
        print(f"  {place}\t{times}\t[{numbers[:60]}]\t{first.what}")


def show(corpus: Corpus, seed: int, number: int, commands: bool) -> None:
    """Run one input in this process, and show its traceback. The file stays in a folder."""
    folder = tempfile.mkdtemp()
    one = changed(corpus, seed, number, commands)
    if commands:
        words = command_line(one, folder, corpus)
        print("lem-" + shlex.join(words))
        print(*run([*words, "--debug"], folder))
        return
    reader = one.rng.choice(one.file.readers)
    print(one.file.name, reader.__qualname__, one.placed(folder))
    try:
        print(reader(one.placed(folder)))
    except Exception:
        traceback.print_exc()


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    asked.add_argument("inputs", type=int, help="changed files for the readers")
    asked.add_argument("--commands", type=int, default=0, help="changed files for whole commands")
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    asked.add_argument(
        "--only", type=int, help="this one alone, with its traceback (of the commands where INPUTS is 0)"
    )
    asked.add_argument("--files", default="*", help="of the files only those whose names look so")
    given = asked.parse_args()
    import lemtools.cli.compare
    import lemtools.cli.els_jobs
    import lemtools.cli.thermalize
    import lemtools.compare.comparison
    import lemtools.compare.rollouts
    import lemtools.encode.activations
    import lemtools.reconstruct.learned  # noqa: F401  readers that commands load when they run

    folder = tempfile.mkdtemp(prefix="lem-fuzz-")
    try:
        corpus = Corpus(folder)
        corpus.files = [file for file in corpus.files if fnmatch.fnmatch(file.name, given.files)]
        if given.only is not None:
            show(corpus, given.seed, given.only, not given.inputs)
            return 0
        pool = Pool(given.processes, lambda numbers, out: readers_child(corpus, given.seed, numbers, out))
        pool.go(given.inputs, BATCH, sys.stderr.isatty() or given.inputs > 5000)
        report("inputs", given.inputs, pool.faults)
        peaks = {"all": peak()}
        both = Pool(given.processes, lambda numbers, out: commands_child(corpus, given.seed, numbers, out, peaks))
        both.go(given.commands, BATCH, sys.stderr.isatty() or given.commands > 500)
        report("commands", given.commands, both.faults)
        return int(bool(pool.faults or both.faults))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
