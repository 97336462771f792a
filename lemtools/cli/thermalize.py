"""lem-thermalize: keep a rollout on the manifold."""

import contextlib

import click

from ..catalogue.correctors import CORRECTORS
from ..catalogue.gates import GATES
from ..catalogue.shared import DEVICE
from . import common, judging
from . import thermalize_beside as beside
from . import thermalize_doubts as doubts
from . import thermalize_tokens as tokens
from .options import INPUT, OUTPUT, RUNNING, refuse, written
from .types import Names

EXAMPLES = """
lem-thermalize --memory states.safetensors --rows 64 drifted.safetensors -o mended.safetensors
lem-thermalize --memory states.safetensors --rows 64 --exec './step 64' --steps 1000 start.safetensors -o rollout.safetensors
lem-thermalize --check --memory states.safetensors --rows 64 rollout.safetensors
lem-thermalize --report true.npy --rows 64 --candidate mended=rollout.safetensors --control drifted.safetensors --solver './step 64'
lem-thermalize --memory states.safetensors --memory-rows 64 --corrector wiener --log log.jsonl < states.pipe > next.pipe
lem-thermalize --codebook codes.npy --window 2 --memory tokens.npy --rows 64 drifted.npy -o mended.npy
"""
SYMMETRIES = ("translate", "translate-x", "reflect")
MEMORY = (
    *(
        "memory_key",
        "memory_rows",
        "model",
        "corrector",
        "symmetry",
        "gate",
        *GATES.options(),
        "false_fire",
        "threshold",
        "budget",
        "max_calls",
    ),
    *("always", "no_clean", *CORRECTORS.options()),
)  # what nothing is done with where no memory is given


@common.command("lem-thermalize", EXAMPLES, CORRECTORS, "corrector", narrow=False, more=(GATES,))
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path())
@common.option(
    "--memory",
    "States of the system itself, as a solver makes them, in time order: files or folders.",
    multiple=True,
    metavar="STATES",
    file=True,
)
@common.option("--memory-key", "Tensor or array to read from the STATES.", metavar="NAME")
@common.option(
    "--model",
    "Network for the correctors that ask one, of lem-train diffusion, or of lem-train corrector for residual.",
    metavar="FILE",
    file=True,
)
@common.option(
    "--rows",
    "Rows that stand side by side in the STATES, and in files that are read: item t R + r is row r at step t. 1 for a "
    "single trajectory.",
    "whole",
    low=1,
    metavar="R",
)
@common.option("--memory-rows", "Rows of the STATES, where the input has others.", "whole", low=1, metavar="R")
@common.option("--corrector", "What puts a state back.", "choice", of=CORRECTORS, default="next")
@common.option(
    "--symmetry",
    "Symmetries of the STATES, parted by commas: translate (on a ring, in each direction), translate-x (in the last "
    "direction alone), reflect (mirrored, with the other sign).",
    Names(list(SYMMETRIES)),
    words=SYMMETRIES,
    metavar="NAME",
)
@common.option("--gate", "What says that a state has left the manifold.", "choice", of=GATES, default="level")
@common.option(
    "--false-fire",
    "Share of clean states above the threshold.",
    "number",
    low=0,
    high=1,
    open=("low", "high"),
    default=0.01,
    metavar="P",
)
@common.option(
    "--threshold",
    "What the gate has to read for the corrector to be called: a level of noise, or a distance, in standard deviations.",
    "number",
    low=0,
    metavar="S",
    usual="by --false-fire",
)
@common.option(
    "--budget",
    "Calls of the corrector a row and step on average. Of an emulator a trial sets the threshold that spends as much; with "
    "--always, with --threshold and of states that are read, a row saves them up, and has no more.",
    "number",
    low=0,
    metavar="B",
)
@common.option("--max-calls", "Calls a row in one step, at most.", "whole", low=1, default=1, metavar="N")
@common.option("--always", "Call the corrector at every step, whatever the level.", "flag")
@common.option("--no-clean", "Leave out the Wiener filter that takes away what noise is left.", "flag")
@tokens.options
@common.option(
    "--exec",
    "Emulator: a command that answers every document of states on its standard input with the next states on its "
    "standard output, flushed. The FILE is where it starts. A shell runs it only where it has pipes, variables or patterns.",
    param="command",
    metavar="COMMAND",
)
@common.option(
    "--rollout",
    "Emulator: a network of lem-train emulator, or of lem-train frames for tokens. The FILE is where it starts.",
    metavar="EMULATOR",
    file=True,
)
@common.option("--steps", "Steps of the emulator.", "whole", low=1, metavar="N")
@common.option(
    DEVICE._replace(
        help="Where states are compared, and the networks are computed: auto, cpu or cuda.", section=RUNNING
    )
)
@common.option(
    "--timeout",
    "Seconds after which a COMMAND that says nothing is taken for dead.",
    "number",
    low=0,
    open=("low",),
    usual="600",
    metavar="S",
)
@common.option("--every", "Write every K-th step only.", "whole", low=1, default=1, metavar="K", section=OUTPUT)
@beside.options
@judging.options
@common.option("--strict", "Exit with 1 if a row is not finite at some step.", "flag", section=RUNNING)
@common.looks("key", "max_bytes")
@common.option(
    "--kind",
    "What the inputs are: field, states of simulations; tokens; embedding, logits of tokens [rows, places, codes], or for "
    "--check vectors, [N, D] or [N, L, D].",
    ("field", "tokens", "embedding"),
    usual="field, or tokens with a --codebook",
    section=INPUT,
)
@common.seed
@common.output
def cli(run, files, output, to, skip_existing, log, claims, previous, every, strict, **options):
    """Keep states of a rollout on the manifold of those that a memory has.

    Reads states, a document a step of all rows, and answers each at once; or runs an emulator for some steps, fed with its
    own states as they were corrected. What is not noisy stays as it is, but for a Wiener filter; rows that are not finite
    are passed on.
    """
    if asked := judging.job(click.get_current_context().params):
        return judging.do(asked, run, click.get_current_context().params)
    refuse(CORRECTORS, options["corrector"], written(click.get_current_context()), "--corrector")
    refuse(GATES, options["gate"], written(click.get_current_context()), "--gate")
    _check(every=every, **options)
    beside.check(claims, previous, options["steps"], options["codebook"])
    from ..media import Target, save
    from ..signal import LemError
    from ..thermalize.driver import line, outgoing

    target = Target(output, to)
    if common.skip_whole(run, target, skip_existing):
        return None
    paths = common.named_inputs(run, files, None, False, None)
    if "-" in options["memory"] and "-" in paths:
        raise click.UsageError("only one input can be standard input: the STATES or the FILE")
    read = [
        *options["memory"],
        *(options[name] for name in ("model", "gate_model", "rollout", "codebook") if options[name]),
    ]
    target.refuse(paths, read)
    network = _network(**options)
    codec, windows = tokens.of(run, network, **options)
    if codec.kind == "tokens" and (claims or previous):
        raise click.UsageError("--claims and --previous are for states of simulations, not for tokens of a --codebook")
    thermalizer = _thermalizer(run, codec, windows, **options) if options["memory"] else None
    if codec.kind == "tokens":
        thermalizer = tokens.stepper(windows, thermalizer, **options)
    dead: dict[int, int] = {}
    told = Tally()
    wanted = {"log": log, "claims": claims, "previous": previous}
    with beside.written(run, target, [*paths, *read], options["seed"], wanted) as (write, claimed, before):

        def seen(number, step):
            write(line(number, step))
            told.add(step)
            if number % every == 0:
                claimed(step.claimed)
                before(step.previous)
            for row in (step.action == "dead").nonzero()[0].tolist():
                if row not in dead:
                    dead[row] = number
                    run.note(f"row {row} is not finite from step {number} on")

        if options["steps"] is None:
            steps = _filtered(run, paths, codec, thermalizer, options)
        else:
            steps = _driven(run, paths, codec, thermalizer, network, options)
        with contextlib.closing(steps):  # also where nobody takes what is written: the emulator ends with it
            signals = outgoing(steps, every, run.history(seed=options["seed"]), seen)
            if not save(run.progress(signals), target, run.note, run.error):
                raise LemError(f"--every {every}: there were fewer steps; nothing is written")
    if thermalizer is not None and options["memory"]:
        run.detail(str(told))
    return 1 if strict and dead else None


class Tally:
    """What a thermalizer did in all."""

    def __init__(self):
        self.steps, self.places, self.calls, self.flagged = 0, 0, 0, set()

    def add(self, step):
        self.steps += 1
        self.places += len(step.calls)
        self.calls += int(step.calls.sum())
        self.flagged.update((step.action == "flagged").nonzero()[0].tolist())

    def __str__(self):
        told = f"{self.steps:,} steps of {self.places // max(self.steps, 1)} rows"
        told = f"{told}, {self.calls / max(self.places, 1):.3g} calls a row and step"
        if self.flagged:
            told = f"{told}; {len(self.flagged)} rows flagged, above the threshold even when they were corrected"
        return told


def _check(memory, command, rollout, steps, every, timeout, threshold, rows, memory_rows, **options):
    """UsageError for options that do not go together."""
    tokens.check(memory, **options)
    emulator = "exec" if command is not None else "rollout" if rollout is not None else None
    if not memory:
        if emulator is None:
            raise click.UsageError("--memory STATES: states of a solver, or of data, say where the manifold is")
        if wrong := [name for name in MEMORY if name in written(click.get_current_context())]:
            raise click.UsageError(
                f"--{wrong[0].replace('_', '-')} is for --memory STATES; without any, nothing is corrected"
            )
    elif rows is None and memory_rows is None:
        raise click.UsageError("--rows R: how many rows stand side by side in the STATES; 1 for a single trajectory")
    if command is not None and rollout is not None:
        raise click.UsageError("--exec and --rollout: give one of them")
    if emulator and steps is None:
        raise click.UsageError(f"--{emulator} needs --steps N")
    if steps is not None and not emulator:
        raise click.UsageError("--steps is for --exec COMMAND and --rollout EMULATOR")
    if timeout is not None and emulator != "exec":
        raise click.UsageError("--timeout is for --exec COMMAND")
    if steps is not None and every > steps:
        raise click.UsageError(f"--every {every} of --steps {steps} writes nothing")
    if threshold is not None and "false_fire" in written(click.get_current_context()):
        raise click.UsageError("--threshold and --false-fire: give one of them")


def _thermalizer(
    run, codec, windows, memory, memory_key, memory_rows, rows, model, corrector, symmetry, max_bytes, device, **options
):
    from ..device import pick
    from ..media import store
    from ..nets.model import load
    from ..signal import LemError
    from ..thermalize import prepared

    how = common.how(run, kind="field", max_bytes=max_bytes)
    if windows is None:
        states = store(list(memory), memory_key, how, "--memory-key")
    else:
        states = tokens.memory(list(memory), memory_key, how, windows, codec, memory_rows or rows)
    place = pick(device, float64=True)
    own = (*CORRECTORS[corrector].options, *GATES[options["gate"]].options)
    asked = {source.name: options[source.name] for source in own}
    for name in ("gate", "false_fire", "threshold", "budget", "max_calls", "seed"):
        asked[name] = options[name]
    if asked.get("gate_model"):
        asked["gate_model"] = load(asked["gate_model"], place)
    try:
        made = prepared(
            states,
            memory_rows or rows,
            corrector=corrector,
            model=load(model, place) if model else None,
            symmetry=tuple(symmetry or ()),
            clean=not options["no_clean"],
            every=options["always"],
            device=place,
            **asked,
        )
    except LemError as error:
        networks = {"--model": model, "--gate-model": options["gate_model"]}
        raise LemError(doubts.blamed(str(error), memory, networks)) from error
    doubts.memory(run, states, memory_rows or rows, made, tuple(symmetry or ()), corrector=corrector, **options)
    return made


def _filtered(run, paths, codec, thermalizer, options):
    from ..media import load
    from ..media.how import shown
    from ..thermalize.driver import filtered

    rows = options["rows"]
    how = common.how(
        run,
        key=options["key"],
        kind=options["kind"] or codec.kind,
        max_bytes=options["max_bytes"],
        batch=rows or 1 << 40,
        loop=True,
    )
    where = ", ".join(map(shown, paths))
    steps = filtered(load(paths, how), thermalizer, rows, where, codec)
    return steps if rows else doubts.steps(run, steps, where)


def _driven(run, paths, codec, thermalizer, network, options):
    import numpy as np
    import torch

    from ..media import store
    from ..media.how import shown
    from ..nets.emulator import Emulator
    from ..thermalize.driver import driven

    where = ", ".join(map(shown, paths))
    how = common.how(run, kind=codec.kind, max_bytes=options["max_bytes"])
    start = codec.state(np.asarray(store(paths, options["key"], how)))
    if codec.kind == "tokens":
        context = network.net.context if network is not None and network.family == "frames" else 1
        start = tokens.start(codec.checked(start, f"{where}: "), options["rows"], context, where)
        thermalizer.begin(start)
    else:
        start = start[None]
    free = options["threshold"] is None and not options["always"]
    if codec.kind == "field" and free and 0 < (options["budget"] or 0) < 1:
        from ..thermalize.budget import ROWS, budgeted

        with _emulator(run, codec, network, start, where=where, **options) as step:
            share = budgeted(thermalizer, step, options["budget"], len(start[-1]) if network is None else ROWS)
        doubts.budget(run, options["gate"], options["budget"], thermalizer.gate.threshold, share)
    with _emulator(run, codec, network, start, where=where, **options) as step:
        begin = start[-1]
        if isinstance(step, Emulator) and codec.kind == "field":  # from here on everything stays where it is computed
            begin = torch.from_numpy(begin).to(step.device)
        yield from driven(step, begin, options["steps"], thermalizer, where, codec)


def _network(rollout, device, **options):
    """That of --rollout, where it is computed."""
    if rollout is None:
        return None
    from ..device import pick
    from ..nets.model import load

    return load(rollout, pick(device, float64=True))


@contextlib.contextmanager
def _emulator(run, codec, network, start, command, timeout, **options):
    """What makes the next states of states. start: [C, R, ...], the last of them the first that it is asked to go on from."""
    if network is not None:
        if codec.kind == "tokens":
            yield tokens.emulator(network, codec, start)
        else:
            from ..nets.emulator import Emulator
            from ..signal import LemError
            from ..thermalize.codec import check_scale

            made = Emulator(network)
            if start.shape[2:] != made.item:
                wanted = f"where --rollout {options['rollout']} was trained on those of {list(made.item)}"
                raise LemError(f"{options['where']}: states of {list(start.shape[2:])}, {wanted}")
            check_scale(start[-1], network.scale, options["where"], f"--rollout {options['rollout']} learned from")
            yield made
        return
    from ..thermalize.process import TIMEOUT, Coprocess

    process = Coprocess(command, timeout or TIMEOUT, codec)
    if process.shell:
        run.detail("--exec: a shell runs it, /bin/sh -c")
    with process:
        for before in start[:-1]:
            process.step(before)
        yield process.step
    if process.stopped:
        run.note(process.stopped)


def main():
    common.main(cli)


if __name__ == "__main__":
    main()
