"""What lem-thermalize notes of a memory, a gate, a budget and an input that may not be what they are taken for."""

import contextlib

BLIND, ASTRAY = 0.3, 0.5  # standard deviations: a threshold, and an error of a corrector, that are worth a note
UNSPENT = 0.5  # of a budget: so much less, or more, is worth one


def blamed(error, memory, networks):
    """What an error says, after the files that it is about."""
    if error.startswith("the network is for "):
        error = f"--model: {error}"
    for option, path in networks.items():
        if path is not None and error.startswith(f"{option}: "):
            return f"{option} {path}{error.removeprefix(option)}"
    return error if error.startswith("--") else f"{', '.join(memory)}: {error}"


def memory(run, states, rows, made, symmetry, corrector, gate, threshold, budget, always, false_fire, **options):
    """States out of order, symmetries that they do not look, a threshold that is too low, a gate that sees little, a corrector
    that does not know what comes next."""
    from ..denoise.order import misplaced
    from ..thermalize.symmetry import doubts

    if said := misplaced(states, rows):
        run.note(
            f"{rows} rows of the stored states: {said}; do they stand side by side as --rows or --memory-rows says?"
        )
    for name, what in doubts(states, rows, symmetry).items():
        run.note(f"--symmetry {name}: the stored states do not look it ({what}); is it one of the system?")
    level = (
        f"; a {gate} above {made.gate.threshold:.3g} is none of theirs" if made.gate.threshold < float("inf") else ""
    )
    run.detail(f"memory: {len(states)} states of {list(states.shape[1:])}{level}")
    if made.gate.doubt and not always:
        run.note(made.gate.doubt)
    if threshold is None and not always and not budget and made.gate.threshold > BLIND:
        seen = f"{100 * false_fire:g} % of clean states read {made.gate.threshold:.2g} standard deviations or more"
        run.note(
            f"--gate {gate} sees little: {seen}, and what reads less is not corrected; try another --gate, or a --budget"
        )
    if (error := getattr(made.correct, "error", None)) is None:
        return
    told = f"--corrector {corrector} is {error:.2g} standard deviations off after a few steps from held-out states"
    if error > ASTRAY:
        said = "they do not stand in the order that --rows says" + ", or a --symmetry is none of theirs" * bool(
            symmetry
        )
        run.note(f"{told}: too few are stored for it, or {said}")
    else:
        run.detail(told)


def budget(run, gate, asked, threshold, share):
    """What a trial spent of a budget."""
    told = f"--budget {asked:g}: above a {gate} of {threshold:.4g} the corrector is called"
    told = f"{told}; in the trial {share:.3g} times a row and step"
    if abs(share - asked) > UNSPENT * asked:
        run.note(f"{told}, since this gate does not tell more states apart; another --gate may")
    else:
        run.detail(told)


def steps(run, steps, where):
    """The same steps; a note where there was one alone, of many rows, since it may have been meant as many steps."""
    seen = []
    with contextlib.closing(steps):
        for each in steps:
            seen = [*seen[:1], len(each[0])]
            yield each
    if len(seen) == 1 and seen[0] > 1:
        run.note(
            f"{where}: taken for one step of {seen[0]} rows; --rows R says how many stand side by side in each of many steps"
        )
