"""lem-train: train small networks to recall."""

import os
import shlex
import sys

import click

from ..catalogue.encoders import RESIDUAL
from . import common, config, results
from .fragment import losses

EXAMPLES = """
lem-train feedforward --data photos/ --crop 128 --fragment '--bits 1-6 --mask 0-.9' -o model.safetensors
lem-train diffusion --data faces.npy --steps 20000 --pictures pictures/ -o dreams.safetensors
lem-train recurrent --data digits.idx.gz --fragment '--mask .75' --dry-run -o model.safetensors
lem-train lm --data book.txt --depth 2 -o small.safetensors
lem-train rvq --data embeddings.npy --stages 4 --codes 256 -o codebooks.safetensors
torchrun --nproc-per-node 2 --no-python lem-train feedforward --config run.toml -o model.safetensors
"""

RECIPES = ["feedforward", "recurrent", "autoregressive", "diffusion", "lm", "token-ae", "rvq"]
PROPERTIES = tuple(source.name for source in RESIDUAL)  # of rvq's quantiser
FOR = {  # options of some recipes alone
    "weighting": ("feedforward", "recurrent"),
    "labels": ("diffusion",),
    "context": ("lm",),
    "chunk": ("token-ae",),
    "codec": ("lm", "token-ae"),
    **dict.fromkeys(PROPERTIES, ("rvq",)),
}
RVQ = {  # all that rvq, which has no network, takes
    "recipe",
    "data",
    "key",
    "validate",
    "holdout",
    "steps",
    "flops",
    "batch",
    "ema",
    "workers",
    "device",
    "save_every",
    "log",
    "card",
    "path",
    "dry_run",
    "output",
    "seed",
    "options",
    "quiet",
    "verbose",
    "debug",
    *PROPERTIES,
}


@common.command("lem-train", EXAMPLES)
@click.argument("recipe", metavar="RECIPE", type=click.Choice(RECIPES))
@click.option(
    "--data",
    multiple=True,
    metavar="PATH",
    help="Memories to learn from: files, folders; a lone npy or safetensors file is mapped, not read. Fragments are "
    "learnt from by what they hold. lm and token-ae learn text, as bytes, or tokens, rvq embeddings.",
)
@click.option("--key", metavar="NAME", help="Tensor or array to read from a foreign file.")
@click.option(
    "--fragment",
    multiple=True,
    metavar="OPTIONS",
    help="What is lost, written as for lem-fragment: '--bits 1-6 --mask 0-.9'. Of several, every item draws one.",
)
@click.option(
    "--target",
    multiple=True,
    metavar="PATH",
    help="What is to be recalled, item by item.  [default: the data themselves]",
)
@click.option("--labels", metavar="FILE", help="Classes of the data, an array of whole numbers; diffusion only.")
@click.option("--validate", multiple=True, metavar="PATH", help="Memories to validate on.")
@click.option(
    "--holdout",
    type=click.IntRange(0),
    metavar="N",
    help="Items of the data kept back to validate on; of text, windows at its end.  [default: 1 in 50, at most 256, of "
    "text and for rvq 1 in 10]",
)
@click.option("--crop", type=click.IntRange(8), metavar="PX", help="Learn from random windows of images.")
@click.option(
    "--augment",
    multiple=True,
    metavar="NAME[:A-B]",
    help="flip, dihedral, grey[:SHARE] or zoom[:A-B]: show images otherwise, too.",
)
@click.option("--arch", metavar="NET", help="The network.  [default: by recipe and kind]")
@click.option(
    "--width",
    type=click.IntRange(1),
    metavar="N",
    help="Features a layer; of conv and unet: --set widths=[...].",
)
@click.option(
    "--depth",
    type=click.IntRange(1),
    metavar="N",
    help="Layers or blocks; of conv: --set blocks=[...]. Of lm the one dial: width, heads, context and rate follow.",
)
@click.option(
    "--on",
    type=click.Choice(["tokens", "dense"]),
    help="What lm predicts: the next token, or the next vector of K tokens.  [default: tokens]",
)
@click.option(
    "--codec",
    multiple=True,
    metavar="FILE",
    help="Encodings of text that were fitted before, by which it is learnt (lm, token-ae).",
)
@click.option("--context", type=click.IntRange(1), metavar="N", help="Tokens that lm sees.  [default: 64 a layer]")
@click.option("--chunk", type=click.IntRange(1), metavar="K", help="Tokens in a vector (token-ae).  [default: 4]")
@common.chain(*(common.option(source) for source in RESIDUAL))
@click.option(
    "--padding",
    type=click.Choice(["zeros", "circular"]),
    help="What lies beyond the border (diffusion).  [default: zeros]",
)
@click.option(
    "--predict", type=click.Choice(["eps", "x0", "v"]), help="What a denoising network answers.  [default: eps]"
)
@click.option(
    "--order",
    type=click.Choice(["any", "raster"]),
    help="In which order values are recalled (autoregressive).  [default: any]",
)
@click.option("--set", "options", multiple=True, metavar="NAME=VALUE", help="Any other property of the network.")
@click.option(
    "--weighting",
    type=click.Choice(["level", "log", "plain"]),
    default="level",
    show_default=True,
    help="Divide an item's squared error by the variance that its fragment leaves (level), take the logarithm of that "
    "(log), or neither (plain); feedforward and recurrent.",
)
@click.option("--steps", type=click.IntRange(1), metavar="N", help="Updates.  [default: 10000, for rvq 1000]")
@click.option(
    "--flops", type=common.Finite(1), metavar="F", help="As many updates as F floating-point operations allow."
)
@click.option("--batch", type=click.IntRange(1), metavar="N", help="Items an update, of all processes together.")
@click.option(
    "--lr",
    type=common.Finite(0, 1e30, min_open=True),
    metavar="R",
    help="Highest learning rate.  [default: by recipe]",
)
@click.option(
    "--decay",
    default="cosine",
    show_default=True,
    metavar="HOW",
    help="Of the learning rate: cosine, constant or exponential:R, R a step.",
)
@click.option(
    "--warmup",
    type=click.IntRange(0),
    metavar="N",
    help="Updates of linear warm-up.  [default: 5 %, at most 500]",
)
@click.option("--weight-decay", type=common.Finite(0), default=0.0, show_default=True, metavar="W", help="Of AdamW.")
@click.option("--beta2", type=common.Finite(0, 0.99999), default=0.99, show_default=True, metavar="B", help="Of AdamW.")
@click.option(
    "--ema",
    type=common.Finite(0, 0.999999),
    metavar="D",
    help="Decay of the average of the weights, which is what is kept; of rvq, of the sums whose means the codes are.  "
    "[default: .999, for rvq .99]",
)
@click.option(
    "--clip",
    type=common.Finite(0),
    default=1.0,
    show_default=True,
    metavar="G",
    help="Greatest norm of a gradient; 0: any.",
)
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="Of products and convolutions; auto is bfloat16 on CUDA.",
)
@click.option(
    "--weights",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="Type of the weights in the model's file.",
)
@click.option("--compile", is_flag=True, help="Compile the network (torch.compile).")
@click.option(
    "--workers",
    type=click.IntRange(0),
    metavar="N",
    help="Processes that make batches.  [default: by the machine]",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    envvar="LEM_DEVICE",
    metavar="NAME",
    help="auto, cpu, cuda or mps.",
)
@click.option(
    "--save-every",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    metavar="N",
    help="Updates between checkpoints.",
)
@click.option(
    "--log-file",
    "log",
    metavar="FILE",
    help="Write a record every 50 updates and at checkpoints, JSON Lines.",
)
@click.option("--pictures", metavar="DIR", help="At every checkpoint, a PNG of what is recalled of items kept back.")
@click.option("--card", multiple=True, metavar="NAME=TEXT", help="A line of the model card, kept with the model.")
@click.option(
    "--config", "path", metavar="FILE", help="Options from a TOML file; those on the command line come first."
)
@click.option("--dry-run", is_flag=True, help="Print parameters, operations, memory and time, and train nothing.")
@click.option("-o", "--output", metavar="MODEL", help="Where the model goes, a .safetensors file.")
@common.seed
def cli(run, recipe, path, dry_run, options, card, **settings):
    """Train a small network to recall the whole from the fragment.

    Recipes: feedforward (one step), recurrent (one block, iterated), autoregressive (element by element), diffusion
    (from noise), lm (text, token by token), token-ae (K tokens as one vector), rvq (vectors as codes, for lem-encode).
    Writes a checkpoint at every interval; the same command again goes on where it stopped, and so it does after
    kill -9. SIGTERM and SIGUSR1 write a checkpoint and end it. lem-reconstruct --model uses what it learnt.
    """
    context = click.get_current_context()
    given = config.given(context)
    if path is not None:
        settings = config.merged(context, path, dict(settings, options=options, card=card), given)
        options, card = settings.pop("options"), settings.pop("card")
    for name in sorted(given):
        recipes = FOR.get(name, ())
        if recipe not in (recipes or RECIPES) or (recipe == "rvq" and name not in RVQ):
            only = f"for {' and '.join(recipes)}, not {recipe}" if recipes else "not for rvq, which learns no network"
            raise click.UsageError(f"--{config.spelt(context, name)} is {only}")
    from ..ranks import RemoteError
    from ..train.loop import Stopped, train
    from ..train.network import option
    from ..train.settings import Settings

    chosen = dict(option(text) for text in options)
    for name in ("padding", "predict", "order", "context", "chunk", *PROPERTIES):
        value, key = settings.pop(name), {"predict": "predicts"}.get(name, name)
        if value not in (None, False) and recipe in FOR.get(name, RECIPES) and (name in given or key not in chosen):
            chosen[key] = value
    settings["crop"] = settings["crop"] or 0
    settings["codec"] = list(settings["codec"]) or None
    settings |= {k: list(settings[k]) for k in ("data", "fragment", "target", "validate", "augment")}
    asked = Settings(
        recipe=recipe,
        **settings,
        operations=[operations(text) for text in settings["fragment"]],
        options=chosen,
        card=dict(_pair(text) for text in card) | {"command": shlex.join(["lem-train", *sys.argv[1:]])},
    )
    if dry_run:
        from ..train.dry import dry_run as estimate

        for name, value in estimate(asked).items():
            click.echo(f"{name}\t{value:.6g}" if isinstance(value, float) else f"{name}\t{value}")
        return None
    show = Progress(run)
    try:
        report = train(asked, run.note, show).report
    except RemoteError:
        return 2
    except Stopped as stopped:
        show.close()
        if stopped.first:
            kept = f"{asked.output} and its state are written, the same command goes on"
            run.say(f"stopped at step {stopped.step}; {kept}")
        raise common.Killed(stopped.number) from None
    finally:
        show.close()
    if report is not None:
        results.show(run, False, [], [[name, results.cell(value)] for name, value in report.items()], ("name", "value"))
    return None


class Progress:
    """The last record, on one line of a terminal; with --verbose every record."""

    def __init__(self, run):
        self.run, self.live = run, None
        dumb = os.environ.get("TERM") == "dumb" or not sys.stderr.isatty()
        self.shown = not run.quiet and not dumb

    def __call__(self, step: int, steps: int, record: dict) -> None:
        left = (steps - step) * (record.get("seconds_per_step") or 0)
        known = "  ".join(f"{k} {v:.4g}" for k, v in record.items() if k not in ("step", "seconds_per_step"))
        line = f"{step} of {steps}, {left:.0f} s left: {known}"
        self.run.detail(line)
        if self.shown and not self.run.verbose:
            if self.live is None:
                from rich.console import Console

                self.live = Console(stderr=True).status("")
                self.live.start()
            self.live.update(line)

    def close(self) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None


def operations(text: str) -> list[dict]:
    """lem-fragment's options, as text, to its operations."""
    try:
        return losses(text)
    except ValueError as error:
        raise click.UsageError(f"--fragment {text!r}: {error}") from error
    except click.UsageError as error:
        raise click.UsageError(f"--fragment {text!r}: {error.format_message()}") from error


def _pair(text: str) -> tuple[str, str]:
    name, sep, value = text.partition("=")
    if not sep or not name:
        raise click.UsageError(f"--card {text}: NAME=TEXT, as in licence='CC BY 4.0'")
    return name, value


def main():
    common.main(cli)


if __name__ == "__main__":  # python -m lemtools.cli.train, as torchrun -m has it
    main()
