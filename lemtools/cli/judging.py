"""What lem-thermalize says of rollouts rather than do to them: --check, before anything is trained."""

import click

from ..catalogue import listed
from . import common, results
from .options import OUTPUT, option, written

JOBS = {
    # what is done: the options that it takes beside those of the running
    "--check": "files memory memory_key memory_rows rows window key kind max_bytes as_json",
}
ALWAYS = "quiet verbose debug"

options = common.chain(
    option(
        "--check",
        "Thermalize nothing; say whether a judge can tell the FILEs, rollouts, from held-out STATES, by single vectors (the "
        "places of a state), states, pairs and windows of states. Exit with 1 where it can by none of them.",
        "flag",
    ),
    option("--json", "Print JSON Lines, of --check.", "flag", param="as_json", section=OUTPUT),
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


OWN = ("as_json",)  # options that nothing but a job takes


def do(name: str, run, options):
    """Do the job; the exit status."""
    return {"--check": _check}[name](run, **options)


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

    clean = store(list(memory), memory_key, common.how(run, kind=kind, max_bytes=max_bytes))
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
