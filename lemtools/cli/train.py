"""lem-train: train small networks to recall."""

import shlex
import sys

import click

from ..catalogue.recipes import RECIPES
from . import common, config, results
from .fragment import losses
from .options import OUTPUT, RUNNING, given, refuse
from .run import amount, duration
from .types import OneOf

EXAMPLES = """
lem-train feedforward --data photos/ --crop 128 --fragment '--bits 1-6 --mask 0-.9' -o model.safetensors
lem-train diffusion --data faces.npy --steps 20000 --pictures pictures/ -o dreams.safetensors
lem-train recurrent --data digits.idx.gz --fragment '--mask .75' --dry-run -o model.safetensors
lem-train lm --data book.txt --depth 2 -o small.safetensors
lem-train rvq --data embeddings.npy --stages 4 --codes 256 -o codebooks.safetensors
torchrun --nproc-per-node 2 --no-python lem-train feedforward --config run.toml -o model.safetensors
"""


@common.command("lem-train", EXAMPLES, RECIPES, "recipe")
@click.argument("recipe", metavar="RECIPE", type=OneOf(RECIPES))
@common.option(
    "--config",
    "Options from a TOML file; those on the command line come first.",
    metavar="FILE",
    param="path",
    file=True,
    section=RUNNING,
)
@common.option(
    "--dry-run", "Print parameters, operations, memory and time, and train nothing.", "flag", section=RUNNING
)
@common.option(
    "--output", "Where the model goes, a .safetensors file.", short="-o", metavar="MODEL", file=True, section=OUTPUT
)
def cli(run, recipe, path, dry_run, output, **options):
    """Train a small network to recall the whole from the fragment.

    Writes a checkpoint at every interval; the same command again goes on where it stopped, and so it does after
    kill -9. SIGTERM and SIGUSR1 write a checkpoint and end it. lem-reconstruct --model uses what it learnt.
    """
    context = click.get_current_context()
    names = given(context)
    if path is not None:
        options = config.merged(context, path, config.read(path), options, names)
    refuse(RECIPES, recipe, sorted(names))
    asked = _settings(recipe, output, {name: options[name] for name in names & set(options)})
    if dry_run:
        from ..train.dry import dry_run as estimate

        for name, value in estimate(asked).items():
            common.emit(name, f"{value:.6g}" if isinstance(value, float) else str(value), *_people(name, value))
        return None
    from ..ranks import RemoteError
    from ..train.beside import said
    from ..train.gates import Failed
    from ..train.loop import Stopped, train

    with run.watched(items=False) as shown:

        def record(step: int, steps: int, numbers: dict) -> None:
            known = "  ".join(f"{k} {v:.4g}" for k, v in numbers.items() if k != "step")
            if step < steps:
                run.detail(f"step {step} of {steps}: {known}")
            else:
                found = {k: v for k, v in numbers.items() if k.startswith(("loss", "held_out"))}
                run.note(f"step {step} of {steps}: " + ", ".join(f"{k} {v:.4g}" for k, v in found.items()))
            if shown is not None:
                shown.more = known

        try:
            trained = train(asked, run.note, record)
        except RemoteError:
            return 2
        except Failed as failed:
            run.say(str(failed))
            return 1
        except Stopped as stopped:
            if stopped.first:
                kept = f"{asked.output} and its state are written, the same command goes on"
                run.say(f"stopped at step {stopped.step}; {kept}")
            raise common.Killed(stopped.number) from None
    if (report := trained.report) is not None:
        results.show(run, False, [], [[name, results.cell(value)] for name, value in report.items()], ("name", "value"))
    if trained.failed:
        run.say(said(trained.failed))
        return 1
    return None


def _settings(recipe: str, output: str | None, chosen: dict):
    """What was chosen, by keyword, as settings of a run: those of the run itself, and properties of what learns."""
    from ..catalogue.training import SOUNDS
    from ..train.network import option
    from ..train.settings import FIELDS, Settings

    fields = {
        name: list(value) if isinstance(value, tuple) else value for name, value in chosen.items() if name in FIELDS
    }
    sound = {each.name: chosen[each.name] for each in SOUNDS if each.name in chosen and each.name not in FIELDS}
    properties = dict(option(text) for text in fields.pop("options", ()))
    rest = {name: value for name, value in chosen.items() if name not in FIELDS and name not in sound}
    fields |= {"options": properties | rest, "sound": sound or None}
    fields["operations"] = [operations(text) for text in fields.get("fragment", ())]
    card = dict(_pair(text) for text in fields.pop("card", ()))
    fields["card"] = card | {"command": shlex.join(["lem-train", *sys.argv[1:]])}
    return Settings(**{"data": [], **fields, "recipe": recipe, "output": output})


def _people(name: str, value: float) -> list[str]:
    """A number of a dry run as people say it, where that is another way."""
    if "seconds" in name:
        return [duration(value)]
    unit = {"parameters": "", "flops_per_item": "FLOP", "flops": "FLOP", "memory_bytes": "B"}.get(name)
    return [] if unit is None else [amount(value, unit)]


def operations(text: str) -> list[dict]:
    """lem-fragment's options, as text, to its operations."""
    try:
        return losses(text)
    except ValueError as error:
        raise click.UsageError(f"--fragment {text!r}: {error}") from error
    except click.UsageError as error:
        problem = f"--fragment {text!r}: {error.format_message()}"
        raise click.UsageError(f"{problem}; lem-fragment --help shows these options") from error


def _pair(text: str) -> tuple[str, str]:
    name, sep, value = text.partition("=")
    if not sep or not name:
        raise click.UsageError(f"--card {text}: NAME=TEXT, as in licence='CC BY 4.0'")
    return name, value


def main():
    common.main(cli)


if __name__ == "__main__":
    main()
