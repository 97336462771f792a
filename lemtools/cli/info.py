"""lem-info: what a stream or checkpoint holds."""

import click

from . import common

EXAMPLES = """
lem-info fragments.safetensors
lem-fragment --sample --bits 3 | lem-info --json -
"""


@common.command("lem-info", EXAMPLES)
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")
def cli(run, files, as_json):
    """Print what safetensors streams hold: kind, shapes, what was taken away, history, cost, or a checkpoint's card.

    Reads headers only. Exits with 1 if a stream is cut short or damaged.
    """
    common.one_thread()
    paths = common.named_inputs(run, files, None, False, None)
    import json

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
        if as_json:
            click.echo(json.dumps(common.finite(facts)))
            continue
        for name, value in facts.items():
            if name == "problem" or value in (None, [], {}):
                continue
            many = isinstance(value, list) and name in ("ops", "history", "tensors")
            for line in value if many else [value]:
                click.echo(f"{name}\t{line if isinstance(line, str) else json.dumps(line)}")
    return 1 if cut else 0


def main():
    common.main(cli)
