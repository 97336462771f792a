"""Change one thing in the code, run the tests, and see whether one of them fails: which changes does no test notice?

    pip install cosmic-ray coverage                        for `record` and `sample` alone; `run` needs pytest and nothing else
    python tools/mutants.py record build/mut tests/codes   which test runs which lines, and how long it takes
    python tools/mutants.py sample build/mut codes els     100 mutants of each room, by seed -> build/mut/sample.jsonl
    python tools/mutants.py run build/mut/sample.jsonl build/mut/results.jsonl --jobs 8
    python tools/mutants.py report build/mut/results.jsonl --equivalent build/mut/equivalent.txt

A mutant is one change that one of cosmic-ray's operators makes to one file of a room (the Triton kernels are left out, and
so is what changes nothing that runs: annotations, text that parses to the same program). It is killed when a test fails or
the time runs out, and survives otherwise. Its tests are those that were seen to run the changed statement, then those that
run its file; tests of the room itself and quick ones come first. `run` works in copies of the tree, skips what the file of
results has, and first runs all these tests without a change: one that fails there counts for nothing. What a test runs in
a process that is no fork of its own (the commands of most tests) is not recorded: such tests count only if they also run the file here.
"""

import argparse
import ast
import contextlib
import itertools
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0"]
CPU = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
# by pytest's exit status: 4, a test that is no longer found, since its file could not be imported
RESULTS = {None: "timeout", 0: "survived", 1: "killed", 2: "killed", 4: "killed", 5: "no test"}
TOLD = "LEM_MUTANTS_TOLD"  # file to which pytest tells how the tests went
LEFT_OUT = ("gpu",)  # folders of a room: kernels, which no test on a CPU sees as they are
COVERAGE = """[run]
parallel = true
data_file = {folder}/lines
source = lemtools
patch = _exit
"""


# what pytest tells: this file is a plugin of it, too


def function(nodeid: str) -> str:
    """Pytest's name of a test function, without its parameters."""
    return nodeid.partition("[")[0]


def pytest_runtest_setup(item) -> None:
    """Under coverage: what runs from now on, in forks as well, is run by this test."""
    if "coverage" in sys.modules:
        from coverage import Coverage

        if Coverage.current():
            Coverage.current().switch_context(function(item.nodeid))


def pytest_runtest_logreport(report) -> None:
    """One line for each part of each test: its function, outcome and seconds."""
    if TOLD in os.environ:
        with open(os.environ[TOLD], "a") as file:
            file.write(json.dumps([function(report.nodeid), report.outcome, report.duration]) + "\n")


def told(path: Path) -> tuple[dict[str, float], set[str]]:
    """({test function: seconds, of all its parameters}, those of which a part failed)."""
    seconds: dict[str, float] = defaultdict(float)
    failed = set()
    for line in path.read_text().splitlines() if path.exists() else ():
        test, outcome, took = json.loads(line)
        seconds[test] += took
        failed |= {test} if outcome == "failed" else set()
    return seconds, failed


# record: which test function runs which lines


def record(folder: Path, tests: list[str]) -> None:
    """Run the tests under coverage; folder/lines.* has the lines of each test function, folder/seconds its seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "coverage.ini"
    settings.write_text(COVERAGE.format(folder=folder.resolve()))
    paths = os.pathsep.join([str(ROOT / "tools"), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, **CPU, "PYTHONPATH": paths, TOLD: str(folder.resolve() / "seconds")}
    for test in tests:
        command = [sys.executable, "-m", "coverage", "run", f"--rcfile={settings}", *PYTEST[1:], "-p", "mutants"]
        subprocess.run([*command, test], cwd=ROOT, env=env, check=False)


def recorded(folder: Path) -> tuple[dict[str, dict[int, set[str]]], dict[str, float]]:
    """What `record` saw: {file: {line: tests}} and {test: seconds}; a test that failed is none."""
    from coverage import CoverageData
    from coverage.exceptions import DataError

    seconds, failed = told(folder / "seconds")
    seconds = {test: s for test, s in seconds.items() if test not in failed}
    seen: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for path in folder.glob("lines.*"):
        data = CoverageData(str(path))
        try:
            data.read()
        except DataError:  # of a process that was killed while it wrote
            continue
        for file in data.measured_files():
            name = str(Path(file).relative_to(ROOT))
            for line, contexts in data.contexts_by_lineno(file).items():
                seen[name][line] |= {test for test in contexts if test in seconds}
    return seen, seconds


# sample: mutants of a room


def spared(tree: ast.AST) -> set[int]:
    """Lines that hold nothing but annotations or imports for types, and so change nothing that runs."""
    out: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            out |= set(range(node.lineno, node.end_lineno + 1))
    return out


@lru_cache(4)
def program(text: str) -> str | None:
    """What runs of a text: its syntax tree without annotations; None where it is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(text)
            compile(tree, "mutant", "exec")
    except (SyntaxError, ValueError):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
    return ast.dump(tree)


def sites(path: Path) -> list[tuple[Path, str, int, int]]:
    """All changes that the operators can make to a file: (file, operator, occurrence, line)."""
    import cosmic_ray.plugins
    from cosmic_ray.ast import ast_nodes, get_ast

    text = path.read_text("utf-8")
    nodes, without, out = list(ast_nodes(get_ast(text))), spared(ast.parse(text)), []
    for name in sorted(cosmic_ray.plugins.operator_names()):
        operator = cosmic_ray.plugins.get_operator(name)
        if operator.arguments():  # wants names of variables
            continue
        lines = [start[0] for node in nodes for start, _ in operator().mutation_positions(node)]
        out += [(path, name, number, line) for number, line in enumerate(lines) if line not in without]
    return out


def mutant(path: Path, name: str, occurrence: int, line: int) -> dict | None:
    """One change as the lines that it changes; None where what runs is the same, or is no Python."""
    import cosmic_ray.plugins
    from cosmic_ray.mutating import mutate_code

    text = path.read_text("utf-8")
    changed = mutate_code(text, cosmic_ray.plugins.get_operator(name)(), occurrence)
    if changed is None or program(changed) in (None, program(text)):
        return None
    old, new = text.splitlines(), changed.splitlines()
    first = next(i for i, (a, b) in enumerate(zip([*old, None], [*new, None])) if a != b)
    rest = min(len(old), len(new)) - first
    last = next(i for i in range(rest + 1) if i == rest or old[-1 - i] != new[-1 - i])
    return {
        "file": str(path.relative_to(ROOT)),
        "line": line,
        "operator": name.partition("/")[2],
        "first": first + 1,
        "old": old[first : len(old) - last],
        "new": new[first : len(new) - last],
    }


def statement(tree: ast.AST, line: int) -> tuple[range, ast.stmt | None]:
    """Lines of the innermost statement (its head, where it has a body) at a line, and it."""
    best: tuple[range, ast.stmt | None] = range(line, line + 1), None
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and node.lineno <= line <= node.end_lineno:
            body = getattr(node, "body", None)
            end = body[0].lineno if isinstance(body, list) and body else node.end_lineno + 1
            if node.lineno <= line < max(end, node.lineno + 1):
                best = range(node.lineno, max(end, node.lineno + 1)), node
    return best


def tests_of(mutant: dict, seen: dict[int, set[str]], seconds: dict[str, float], room: str, budget: float) -> list:
    """Ids of the tests to run and their seconds: first those of the statement, then those of the names it binds, then of the file."""
    text = (ROOT / mutant["file"]).read_text("utf-8")
    tree = ast.parse(text)
    lines, node = statement(tree, mutant["line"])
    if isinstance(node, ast.FunctionDef):
        lines = range(node.lineno, node.end_lineno + 1)
    bound = [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)] if node else []
    uses = {n.lineno for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id in bound}
    tiers = [set().union(*(seen.get(i, set()) for i in where)) for where in (lines, uses, list(seen))]
    own = lambda test: not test.startswith(f"tests/{room}/")
    out: list[list] = []
    for tier in tiers:
        for test in sorted(tier - {t for t, _ in out}, key=lambda t: (own(t) and seconds[t] > 1, seconds[t], t)):
            if sum(s for _, s in out) + seconds[test] <= budget or not out:
                out.append([test, round(seconds[test], 2)])
    return out


def sample(folder: Path, rooms: list[str], count: int, seed: int, budget: float) -> None:
    """Draw `count` mutants of each room and write them, in an order in which any first part is a fair sample of all."""
    seen, seconds = recorded(folder)
    drawn = []
    for room in rooms:
        files = [f for f in sorted((ROOT / "lemtools" / room).rglob("*.py")) if not set(f.parts) & set(LEFT_OUT)]
        everything = [site for file in files for site in sites(file)]
        shuffled = random.Random(f"{seed} {room}").sample(everything, len(everything))
        changes = itertools.islice(filter(None, (mutant(*site) for site in shuffled)), count)
        for number, change in enumerate(changes):
            tests = tests_of(change, seen[change["file"]], seconds, room, budget)
            drawn.append({"id": f"{room}-{number:03d}", "room": room, **change, "tests": tests})
        print(f"{room}\t{len(everything)} places and operators\t{number + 1} mutants", file=sys.stderr)
    drawn.sort(key=lambda m: m["id"].rpartition("-")[2])
    (folder / "sample.jsonl").write_text("".join(json.dumps(m) + "\n" for m in drawn))


# run: in copies of the tree


def diff(mutant: dict) -> str:
    """The change as text."""
    return "\n".join([*(f"-{line}" for line in mutant["old"]), *(f"+{line}" for line in mutant["new"])])


def mutated(text: str, mutant: dict) -> str:
    """The file's text with the change, where its lines are now; ValueError where there are no such lines any more."""
    lines, old = text.splitlines(), mutant["old"]
    places = [i for i in range(len(lines)) if lines[i : i + len(old)] == old]
    if not places:
        raise ValueError(f"{mutant['file']} has no longer what the mutant {mutant['id']} was made from")
    start = min(places, key=lambda i: abs(i - mutant["first"] + 1))
    lines[start : start + len(old)] = mutant["new"]
    return "\n".join(lines) + "\n"


def pytest(
    tree: Path, arguments: list[str], limit: float, more: dict[str, str] | None = None
) -> tuple[int | None, str]:
    """(exit status, None where the time ran out; what it printed) of pytest in a tree, with all that it started."""
    paths = [str(tree), str(tree / "tools"), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, **CPU, "PYTHONPATH": os.pathsep.join(paths), **(more or {})}
    env["LEM_DATA"] = str(tree / "no-data")  # as in CI
    with tempfile.TemporaryFile("w+") as said:
        child = subprocess.Popen(
            [*PYTEST, *arguments],
            cwd=tree,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            status = child.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        said.seek(0)
        return status, said.read()


def copy(where: Path) -> Path:
    """A copy of the tree without what is ignored or large and not used by tests of rooms."""
    left_out = shutil.ignore_patterns(".git", "build", "shared", "__pycache__", ".*_cache", ".hypothesis", ".venv")
    shutil.copytree(ROOT, where, ignore=left_out, symlinks=True)
    return where


def sound(tree: Path, tests: set[str], jobs: int) -> set[str]:
    """Those of the tests that pass when nothing is changed, run beside one another as the mutants will be."""
    files = defaultdict(list)
    for test in tests:
        files[test.partition("::")[0]].append(test)

    def passing(names: list[str]) -> set[str]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "seconds"
            status, _ = pytest(tree, ["-p", "mutants", *names], 400, {TOLD: str(file)})
            if status == 4 and len(names) > 1:  # one of them is there no more
                return set().union(*(passing([name]) for name in names))
            seconds, failed = told(file)
            return set(seconds) - failed

    with ThreadPoolExecutor(jobs) as pool:
        return set().union(*pool.map(passing, files.values()))


def run(mutants: list[dict], results: Path, jobs: int, seconds: float) -> None:
    """Run the tests of each mutant that has no result yet, `jobs` at once; none is begun after `seconds`."""
    began = time.monotonic()
    done = {json.loads(line)["id"] for line in results.read_text().splitlines()} if results.exists() else set()
    waiting = iter([m for m in mutants if m["id"] not in done])
    lock = threading.Lock()
    with tempfile.TemporaryDirectory(prefix="mutants-") as home:
        tests = {test for m in mutants if m["id"] not in done for test, _ in m["tests"]}
        good = sound(copy(Path(home) / "whole"), tests, jobs)
        bad = sorted(tests - good)
        print(f"{len(good)} of {len(tests)} tests pass unchanged; without: {bad}", file=sys.stderr, flush=True)

        def one(mutant: dict, tree: Path, stamp: int) -> dict:
            path = tree / mutant["file"]
            text, start = path.read_text("utf-8"), time.monotonic()
            names = [test for test, _ in mutant["tests"] if test in good]
            limit = 40 + 3 * sum(s for _, s in mutant["tests"])
            try:
                path.write_text(mutated(text, mutant), "utf-8")
                os.utime(path, (stamp, stamp))  # a compiled file is taken for this one if the time and the size agree
                status, said = pytest(tree, ["-x", *names], limit) if names else (5, "")
            except ValueError as error:
                status, said = -1, str(error)
            finally:
                path.write_text(text, "utf-8")
                os.utime(path, (stamp + 1, stamp + 1))
            result = RESULTS.get(status, "error")
            by = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))]
            keep = {key: mutant[key] for key in ("id", "room", "file", "line", "operator")}
            took = round(time.monotonic() - start, 1)
            why = " ".join(by)[:300] if result != "error" else said[-300:]
            return {**keep, "diff": diff(mutant), "result": result, "seconds": took, "by": why, "tests": len(names)}

        def worker(number: int) -> None:
            tree, stamp = copy(Path(home) / f"{number}"), 10**9
            while time.monotonic() - began < seconds:
                with lock:
                    mutant = next(waiting, None)
                if mutant is None:
                    return
                line = one(mutant, tree, stamp := stamp + 2)
                with lock, results.open("a") as file:
                    file.write(json.dumps(line) + "\n")

        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(worker, range(jobs)))


# report


def wilson(killed: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """The interval of Wilson (1927) of a share."""
    p, middle = killed / of, z * z / (2 * of)
    half = z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return (p + middle - half) / (1 + 2 * middle), (p + middle + half) / (1 + 2 * middle)


def report(results: Path, equivalent: set[str]) -> None:
    """A table of the rooms, then the survivors that are not named as equivalent."""
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    print("| room | mutants | killed | equivalent | survived | killed of those that are not equivalent (95 %) |")
    print("|---|---|---|---|---|---|")
    for room in [*dict.fromkeys(sorted(r["room"] for r in rows)), "all"]:
        of = [r for r in rows if room in (r["room"], "all")]
        killed = sum(r["result"] in ("killed", "timeout") for r in of)
        same = sum(r["result"] == "survived" and r["id"] in equivalent for r in of)
        low, high = wilson(killed, len(of) - same)
        share = f"{100 * killed / (len(of) - same):.1f} % ({100 * low:.1f} to {100 * high:.1f})"
        print(f"| {room} | {len(of)} | {killed} | {same} | {len(of) - killed - same} | {share} |")
    for r in rows:
        if r["result"] not in ("killed", "timeout") and r["id"] not in equivalent:
            print(f"\n{r['id']} {r['file']}:{r['line']} {r['operator']} {r['result']}\n{r['diff']}")


def parser() -> argparse.ArgumentParser:
    """Of the four commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("record", help="which test runs which lines (needs coverage)")
    verb.add_argument("folder", type=Path)
    verb.add_argument("tests", nargs="+")
    verb = verbs.add_parser("sample", help="draw mutants by seed (needs cosmic-ray and coverage)")
    verb.add_argument("folder", type=Path)
    verb.add_argument("rooms", nargs="+")
    verb.add_argument("--count", type=int, default=100, help="mutants of a room [100]")
    verb.add_argument("--seed", type=int, default=0)
    verb.add_argument("--budget", type=float, default=40, help="seconds of tests for a mutant [40]")
    verb = verbs.add_parser("run", help="run the tests of each mutant")
    verb.add_argument("sample", type=Path)
    verb.add_argument("results", type=Path)
    verb.add_argument("--jobs", type=int, default=2)
    verb.add_argument("--seconds", type=float, default=math.inf, help="begin none after this time")
    verb = verbs.add_parser("report", help="killed and survived, by room")
    verb.add_argument("results", type=Path)
    verb.add_argument(
        "--equivalent", type=Path, help="file with a line for each mutant that changes nothing: id, reason"
    )
    return parser


def main() -> None:
    given = parser().parse_args()
    if given.verb == "record":
        record(given.folder, given.tests)
    elif given.verb == "sample":
        sample(given.folder, given.rooms, given.count, given.seed, given.budget)
    elif given.verb == "run":
        read = [json.loads(line) for line in given.sample.read_text().splitlines()]
        run(read, given.results, given.jobs, given.seconds)
    else:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it without a word
        lines = given.equivalent.read_text().splitlines() if given.equivalent else []
        report(given.results, {line.split()[0] for line in lines if line.strip()})


if __name__ == "__main__":
    main()
