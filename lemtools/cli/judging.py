"""What lem-thermalize does with rollouts but thermalize them: --check before anything is trained, --report when it has run, and
--prepare between them, the windows to train with."""

import contextlib
import os

import click

from ..catalogue import listed
from . import common, results
from . import thermalize_tokens as tokens
from .options import OUTPUT, option, written

JOBS = {
    # what is done: the options that it takes beside those of the running
    "--check": "files memory memory_key memory_rows rows window key kind max_bytes as_json",
    "--report": "candidate control solver timeout rows memory_rows memory_key key max_bytes seed as_json",
    "--prepare": "drifted lead rows codebook codebook_key window grid key max_bytes output",
}
ALWAYS = "quiet verbose debug"
OWN = ("as_json", "candidate", "control", "solver", "drifted", "lead")  # options that nothing but a job takes


class Named(click.ParamType):
    """NAME=FILE, or a FILE whose name without folder and extension is the name."""

    name = "rollout"

    def convert(self, value, param, ctx):
        name, equal, path = value.partition("=")
        if equal and name and path and "/" not in name:
            return name, path
        return os.path.splitext(os.path.basename(value))[0] or value, value


ROLLOUT = "a rollout, of the same starts as the others: item t R + r is row r at step t, and no step is left out."
options = common.chain(
    option(
        "--check",
        "Thermalize nothing; say whether a judge can tell the FILEs, rollouts, from held-out STATES, by single vectors (the "
        "places of a state), states, pairs and windows of states. Exit with 1 where it can by none of them.",
        "flag",
    ),
    option(
        "--report",
        "Thermalize nothing; judge rollouts by TRUE states: rows alive, residual of a step, spectra and values, and whether "
        "a --candidate beats every --control. Exit with 1 where none does.",
        metavar="TRUE",
        file=True,
    ),
    option("--candidate", f"Of --report: {ROLLOUT}", Named(), multiple=True, metavar="[NAME=]FILE", file=True),
    option(
        "--control",
        "Of --report: a rollout that a candidate has to beat.",
        Named(),
        multiple=True,
        metavar="[NAME=]FILE",
        file=True,
    ),
    option(
        "--solver",
        "Of --report: a command that answers states with those one step later, as of --exec, for the residuals.",
        metavar="COMMAND",
    ),
    option("--json", "Print JSON Lines, of --check and --report.", "flag", param="as_json", section=OUTPUT),
)


def job(options) -> str | None:
    """The option of JOBS that is asked for. UsageError for options that it does not take, or that need one."""
    asked = [name for name in JOBS if options[name[2:]]]
    if len(asked) > 1:
        raise click.UsageError(f"{' and '.join(asked)}: give one of them")
    context = click.get_current_context()
    flags = {p.name: p.opts[-1] if p.name == "output" else p.opts[0] for p in context.command.params}
    taken = {name: words.split() for name, words in JOBS.items()}
    for name in sorted(written(context) - {"files"}):
        if asked and name not in (asked[0][2:], *taken[asked[0]], *ALWAYS.split()):
            raise click.UsageError(f"{flags[name]} does nothing with {asked[0]}: leave it out")
        users = [each for each, words in taken.items() if name in words and name in OWN]
        if not asked and users:
            raise click.UsageError(f"{flags[name]} is for {listed(users)}")
    return asked[0] if asked else None


def do(name: str, run, options):
    """Do the job; the exit status."""
    return {"--check": _check, "--report": _report, "--prepare": tokens.prepare}[name](run, **options)


def _check(run, files, memory, memory_key, memory_rows, rows, window, key, kind, max_bytes, as_json, **others):
    if not memory:
        raise click.UsageError("--check needs --memory STATES: clean states of a solver, or of data")
    if rows is None and memory_rows is None:
        raise click.UsageError("--rows R: how many rows stand side by side in the FILEs; 1 for a single trajectory")
    kind, window = kind or "field", window or 8
    if window < 2:
        raise click.UsageError("--window 1: a window of --check has 2 states or more")
    paths = common.named_inputs(run, files, None, False, None)
    if [*memory, *paths].count("-") > 1:
        raise click.UsageError("only one input can be standard input")
    from ..media import store
    from ..media.how import shown
    from ..signal import LemError
    from ..thermalize.judge import ENOUGH, check

    clean = store(list(memory), memory_key, common.how(run, kind=kind, max_bytes=max_bytes), "--memory-key")
    looped = common.how(run, kind=kind, max_bytes=max_bytes, loop=True)
    drifted = [store([path], key, looped) for path in paths]
    try:
        found = check(clean, memory_rows or rows, drifted, rows or memory_rows, kind=kind, window=window)
    except LemError as error:
        raise LemError(f"{', '.join(map(shown, (*memory, *paths)))}: {error}") from error
    if min(memory_rows or rows, rows or memory_rows) < ENOUGH:
        run.note(
            f"fewer than {ENOUGH} rows: stretches of time are taken for independent, and the intervals may be too narrow"
        )
    lines, table = [], []
    for seen in found:
        run.detail(f"{seen.grain}: " + ", ".join(f"{name} {value:.3f}" for name, value in seen.chosen.items()))
        said = "visible" if seen.visible else "invisible at this granularity"
        numbers = {"auc": seen.auc, "low": seen.low, "high": seen.high}
        lines.append({"granularity": seen.grain, **numbers, "judge": seen.judge, "visible": seen.visible})
        lines[-1] |= {"clean_rows": seen.clean, "drifted_rows": seen.drifted}
        table.append(
            [seen.grain, *(f"{v:.4f}" for v in numbers.values()), seen.judge, str(seen.clean), str(seen.drifted), said]
        )
    heads = ("granularity", "AUC", "low", "high", "judge", "clean rows", "drifted rows", "")
    results.show(run, as_json, lines, table, heads)
    return 0 if any(seen.visible for seen in found) else 1


def _report(
    run,
    files,
    report,
    candidate,
    control,
    solver,
    timeout,
    rows,
    memory_rows,
    memory_key,
    key,
    max_bytes,
    seed,
    as_json,
    **others,
):
    if files:
        raise click.UsageError(f"{files[0]}: --report takes rollouts as --candidate and --control")
    every = [*candidate, *control]
    for name, given in (("candidate", candidate), ("control", control)):
        if not given:
            raise click.UsageError(f"--report needs --{name} [NAME=]FILE")
    if rows is None:
        raise click.UsageError("--rows R: how many rows stand side by side in the rollouts")
    names = ["true", *(name for name, _ in every)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise click.UsageError(f"two rollouts are called {twice[0]}: name them, as in --control other=FILE")
    if [report, *(path for _, path in every)].count("-") > 1:
        raise click.UsageError("only one input can be standard input")
    if timeout is not None and solver is None:
        raise click.UsageError("--timeout is for the --solver COMMAND")
    from ..compare.rollouts import Judge
    from ..media import store
    from ..media.how import shown
    from ..signal import LemError
    from ..thermalize.process import TIMEOUT, Coprocess

    how = common.how(run, kind="field", max_bytes=max_bytes, loop=True)
    true = store([report], memory_key or key, how, "--memory-key")
    with contextlib.ExitStack() as running:
        process = None
        if solver is not None:
            process = running.enter_context(Coprocess(solver, timeout or TIMEOUT, called="--solver"))
        else:
            run.note("no --solver: residuals are not judged, and a rollout off the attractor may pass")
        try:
            judge = Judge(true, memory_rows or rows, process and process.step, seed=seed)
        except ValueError as error:
            raise LemError(f"{shown(report)}: {error}") from error
        found = {name: judge.judged(name, store([path], key, how), rows) for name, path in every}
    if process is not None and process.stopped:
        run.note(process.stopped)
    candidates, controls = ([found[name] for name, _ in given] for given in (candidate, control))
    verdicts = [judge.against(one, other) for one in candidates for other in controls]
    _show(
        run,
        [("true", judge.itself), *(("candidate", c) for c in candidates), *(("control", c) for c in controls)],
        verdicts,
        as_json,
    )
    return _concluded(run, candidates, controls, verdicts, judge)


def _show(run, judged, verdicts, as_json):
    heads = ("rollout", "what", "alive", "low", "high", "residual", "median", "99 %", "band", "all", "W1")
    lines, table, said = [], [], []
    for what, each in judged:
        residual = each.residual or (None, None, None)
        numbers = [*each.share, *residual, each.band, each.every, each.w1]
        keys = ("alive", "alive_low", "alive_high", "residual", "residual_median", "residual_99", "band", "all", "w1")
        lines.append({"rollout": each.name, "what": what, **dict(zip(keys, numbers)), "rows": len(each.alive)})
        table.append([each.name, what, *(_cell(v) for v in numbers)])
    for each in verdicts:
        three = {name: getattr(each, name) for name in ("alive", "residual", "band", "both")}
        ends = {
            f"{k}{end}": None if v is None else v[i]
            for k, v in three.items()
            for i, end in enumerate(("", "_low", "_high"))
        }
        lines.append(
            {"candidate": each.candidate, "control": each.control, "verdict": each.said, "why": each.why, **ends}
        )
        said.append([each.candidate, each.control, each.said, each.why])
    if os.isatty(1) and not as_json:
        results.show(run, False, [], [], ("candidate", "control", "verdict", "why"), said, before=[(heads, table)])
        return
    results.show(run, as_json, lines, [*table, *said], heads)


def _cell(value) -> str:
    return "-" if value is None else f"{value:.4g}"


def _concluded(run, candidates, controls, verdicts, judge) -> int:
    """Say what came out in one line; 0 where a candidate beats every control."""
    best = judge.best(controls).name
    left = {
        each.name: [v.control for v in verdicts if v.candidate == each.name and v.said != "better"]
        for each in candidates
    }
    for name, unbeaten in left.items():
        if not unbeaten:
            run.note(f"{name} beats every control; the best of them is {best}")
            return 0
    name = judge.best(candidates).name
    run.note(f"{name} does not beat {listed(left[name])}; the best control is {best}")
    return 1
