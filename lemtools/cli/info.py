"""lem-info: what a stream or checkpoint holds."""

import json

import click

from . import common, results

EXAMPLES = """
lem-info fragments.safetensors
lem-fragment --sample --bits 3 | lem-info --json -
"""


@common.command("lem-info", EXAMPLES)
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path())
@common.option("--json", "Print JSON Lines.", "flag", param="as_json", section=common.OUTPUT)
def cli(run, files, as_json):
    """Print what safetensors streams hold: kind, shapes, what was taken away, history, cost, or a checkpoint's card.

    Reads headers only. Exits with 1 if a stream is cut short or damaged.
    """
    common.one_thread()
    paths = common.named_inputs(run, files, None, False, None)
    from ..media.describe import describe

    cut = False
    for path in paths:
        try:
            facts = describe(path)
        except (ValueError, OSError) as problem:
            run.error(problem)
            continue
        if facts["problem"]:
            cut = True
            run.say(facts["problem"])
        rows = [
            [name, line if isinstance(line, str) else json.dumps(line)]
            for name, value in facts.items()
            if name != "problem" and value not in (None, [], {})
            for line in _lines(name, value)
        ]
        results.show(run, as_json, [facts], rows, ("name", "value"))
    return 1 if cut else 0


def _lines(name, value):
    """A fact as a person reads it, a line each."""
    if name == "calibration" and isinstance(value, dict):
        whole = {key: part for key, part in value.items() if not isinstance(part, list)}
        listed = {key: part for key, part in value.items() if isinstance(part, list)}
        rows = [whole, *(row for row in listed.get("table", []) if isinstance(row, dict))]
        pairs = [pair for pair in listed.get("clean", []) if isinstance(pair, list)]
        clean = ["clean states: a share of " + " above ".join(map(str, pair)) for pair in pairs]
        return ["  ".join(f"{key} {part}" for key, part in row.items()) for row in rows] + clean
    return value if isinstance(value, list) and name in ("ops", "history", "tensors") else [value]


def main():
    common.main(cli)


if __name__ == "__main__":
    main()
