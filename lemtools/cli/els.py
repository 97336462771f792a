"""lem-els: what a convolutional diffusion model will dream, by closed formulas over its training images."""

import glob
import os

import click

from ..catalogue import Option, listed
from ..catalogue.denoisers import COMPARED, DENOISERS, EQUIVARIANCE, SCALES, SKIP, Named, named
from ..catalogue.encoding import WINDOW_FN
from ..catalogue.networks import PADDING
from . import common
from .options import INPUT, OUTPUT, RUNNING, option, written
from .types import Bytes, Label, Names, Numbers, Sides, Size

EXAMPLES = """
lem-els --bank digits.idx.gz --size 32 --prepare -o digits.bank.safetensors
lem-els --bank faces/ --machine bbels --scales 5 --seeds 0-15 -o grid.png
lem-els --bank faces/ --calibrate net.safetensors --sizes 3-9 -o scales.txt
lem-els --bank faces/ --against net.safetensors --scales scales.txt --seeds 0-99
lem-els --bank faces/ --scales scales.txt --explain map.png
"""

ASKING = ("steps", "label", "compat", "skip", "max_memory", "device", "batch", "equivariance")
ALONE = ("padding", "network")  # of --calibrate and --against the network says it
JOBS = {
    # what is done: the options that it takes, beside those that say which training images
    "sampling": (*ASKING, *ALONE, "machine", "scales", "seeds", "output", "to"),
    "--denoise": (*ASKING, *ALONE, "machine", "scales", "t", "files", "output", "to"),
    "--prepare": ("patch", "hop", "window_fn", "output"),
    "--calibrate": (*ASKING, "machine", "seeds", "sizes", "by", "monotone", "rectangles", "output"),
    "--against": (*ASKING, "machines", "scales", "seeds", "net_steps", "along", "as_json", "output"),
    "--explain": (*ASKING, *ALONE, "machine", "scales", "seeds", "as_json"),
}


@common.command("lem-els", EXAMPLES)
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path())
@option(
    "--bank",
    "Training images: folders, idx, npy or safetensors files, or spectra of lem-encode; a lone npy or safetensors file "
    "stays on disk.",
    multiple=True,
    metavar="PATH",
    file=True,
    section=INPUT,
)
@option(
    "--labels",
    "Classes of the training images: an idx, npy or text file of whole numbers, a text of names, one a line, or a COLUMN of a table that goes by name.",
    metavar="FILE[:COLUMN]",
    file=True,
    section=INPUT,
)
@option(
    "--size",
    "Resize the training images, bilinearly, to PX x PX or WIDTHxHEIGHT.",
    Size(),
    metavar="PX",
    section=INPUT,
)
@option("--grey", "Take the luma of colour images.", "flag", section=INPUT)
@common.looks("kind", "rgb", "background", "skip_bad")
@option(
    "--key",
    "Tensor or array to read from foreign files, of --bank and FILEs alike.",
    metavar="NAME",
    section=INPUT,
)
@option(
    "--label",
    "The class to dream; each: the classes in turn, one for each seed.",
    Label(),
    usual="all training images",
    metavar="K",
)
@option(
    "--machine",
    "Which formula (see lem-els(1)).",
    "choice",
    of=Named("machine"),
    usual="what --equivariance says, else bbels",
)
@option(EQUIVARIANCE)
@option(
    "--padding",
    "What lies beyond the border of the network that is predicted; two words are those of rows (frequency) and columns "
    "(time).",
    PADDING.type,
    usual="that of --network, else zeros",
)
@option(
    "--network",
    "The network of lem-train that is predicted: its padding, and of spectra its coordinates.",
    metavar="MODEL",
    file=True,
)
@option(SCALES)
@option("--steps", "Steps of the sampler.", "whole", low=1, default=20, metavar="K")
@option(
    "--seeds",
    "Seeds, as in 7, 0-99 or 1,4.",
    Numbers(highest=2**63 - 1),  # seeds are int64 on the wire
    usual="0, of --calibrate 1000-1007 (--rectangles, --by sample 1000-1001), of --against 0-99",
    metavar="A-B",
)
@option("--denoise", "Denoise each noisy image of FILE once, in place of sampling.", "flag")
@option(
    "--t",
    "Noise level of the images x_t in FILE, as the time t of the cosine schedule.",
    "number",
    low=0,
    high=1,
    usual="as lem-fragment --noise wrote",
    metavar="T",
)
@option("--prepare", "Write the training images as one file, which --bank reads without decoding images again.", "flag")
@option("--patch", "Let --prepare cut pieces of so many rows and columns.", Sides(), metavar="FxT")
@option(
    "--hop",
    "From one piece of --patch to the next; what fills no piece at the ends is left out.",
    Sides(),
    usual="half of its sides",
    metavar="FxT",
)
@option("--window-fn", "Weigh pieces of --patch by this window along both axes.", WINDOW_FN.type, usual="rect")
@option(
    "--calibrate",
    "Find the patch sizes for which the machine agrees best with this network of lem-train.",
    metavar="MODEL",
    file=True,
)
@option(
    "--sizes",
    "Patch sizes that --calibrate tries; a range stands for its odd numbers.",
    Numbers(2, 1),
    usual="3-17, as far as the images allow",
    metavar="A-B",
)
@option(
    "--by",
    "How --calibrate measures agreement with the network: cosine similarity or mean squared error, step by step on its path; "
    "or the correlation of whole samples, for which steps share sizes in five bands.",
    ("cosine", "mse", "sample"),
    default="cosine",
)
@option("--monotone", "Let the sizes that --calibrate finds never shrink as noise grows.", "flag")
@option(
    "--rectangles",
    "Let --calibrate find rectangles, by coordinate descent from the best square; --sizes are the sides it tries.",
    "flag",
)
@option(
    "--against", "Compare samples of the machines with those of a network of lem-train.", metavar="MODEL", file=True
)
@option(
    "--net-steps",
    "How many sampler steps the network of --against takes; several are compared.",
    Numbers(1, 1),
    default="20,150",
    metavar="K,...",
)
@option(
    "--along",
    "Compare with --against step by step, at the points of the network's own path, in x0 and in the noise.",
    "flag",
)
@option(
    "--machines",
    "Which machines are compared.",
    Names(Named("machine")),
    usual=f"{','.join(COMPARED['image'])}, of spectra {','.join(COMPARED['spectrum'])}",
    metavar="NAME,...",
)
@option(
    "--explain",
    "Draw where each pixel comes from (PNG), with its table as safetensors beside it.",
    metavar="MAP",
    file=True,
)
@option("--json", "Print JSON Lines.", "flag", param="as_json", section=OUTPUT)
@option("--compat", "kamb: compute as the released code of the paper does.", ("none", "kamb"), default="none")
@option(SKIP, section=RUNNING)
@option(
    "--max-memory",
    "How much memory to aim at, besides the bank and the result.",
    Bytes(),
    default="1GiB",
    metavar="BYTES",
    section=RUNNING,
)
@option(
    Option(
        "--device",
        "auto, cpu or cuda.",
        default="auto",
        env="LEM_DEVICE",
        metavar="NAME",
        words=("auto", "cpu", "cuda"),
    ),
    section=RUNNING,
)
@option(
    "--batch",
    "Seeds, or images of --denoise, a batch.",
    "whole",
    low=1,
    env="LEM_BATCH",
    usual="by memory",
    metavar="N",
    section=RUNNING,
)
@option(
    "--output",
    "Samples: a file, a folder (DIR/) or a pattern; of several one PNG is a grid. --prepare: the bank. "
    "--calibrate: the scales. --against: a sheet (PNG).",
    short="-o",
    metavar="OUT",
    file=True,
    section=OUTPUT,
)
@option("--to", "Output format.", ("safetensors", "png", "jpg", "npy"), usual="by the name's extension", section=OUTPUT)
def cli(run, files, **options):
    """Dream by formula: samples that a convolutional diffusion model would draw, from its training images alone.

    The formula is the mean of the clean pixel given the noisy patch around it, over all patches of the training images.
    Samples are float32 images named seed-N; the same seeds start the network of --against.
    """
    asked = [job for job in JOBS if job != "sampling" and options[job[2:]]]
    if len(asked) > 1:
        raise click.UsageError(f"{' and '.join(asked)}: give one of them")
    job = asked[0] if asked else "sampling"
    _refuse(job, options)
    from . import els_jobs

    return els_jobs.do(job, run, files, options)


def _refuse(job: str, options: dict) -> None:
    """UsageError for options that what is done does not take, and for machines that it is not for."""
    context = click.get_current_context()
    flags = {p.name: p.opts[-1] if p.name == "output" else p.opts[0] for p in context.command.params} | {
        "files": "FILE"
    }
    for name in (n for n in flags if n in written(context)):
        users = [other for other, taken in JOBS.items() if name in taken]
        if users and job not in users and (name != "files" or context.params["files"]):
            raise click.UsageError(f"{flags[name]} is for {listed(users)}, not {job}")
    if not options["bank"]:
        raise click.UsageError("no training images or spectra: give --bank PATH")
    for path in options["bank"]:
        if not (path == "-" or os.path.exists(path) or glob.has_magic(path)):
            raise click.UsageError(f"--bank {path}: No such file or directory")
    asked = written(context)
    if options["by"] == "sample" and options["monotone"]:
        raise click.UsageError("--by sample and --monotone: give one of them")
    if options["rectangles"] and options["monotone"]:
        raise click.UsageError(
            "--rectangles and --monotone: squares alone can be made to grow with the noise; give one"
        )
    if options["along"] and (bad := [flags[n] for n in ("net_steps", "output") if n in asked]):
        raise click.UsageError(f"{bad[0]} is for whole samples; leave it or --along out")
    if options["patch"] is None and (bad := [flags[n] for n in ("hop", "window_fn") if n in asked]):
        raise click.UsageError(f"{bad[0]} is for --patch; give both, or leave it out")
    if "padding" in asked and "network" in asked:
        raise click.UsageError("--padding and --network: the network says its padding; give one of them")
    usual = options["equivariance"] or "bbels"
    options["machine"] = options["machine"] or usual
    machines = [options["machine"]]
    if "machines" in JOBS[job]:
        machines = options["machines"] or COMPARED["image"]  # (those of spectra take the same options)
    rows = [DENOISERS[name] for name in machines]
    called = {"--explain": ("local machines", "traced"), "--calibrate": ("machines that have patches", "local")}
    if job in called and not getattr(rows[0], called[job][1]):
        what, fact = called[job]
        raise click.UsageError(f"{job} is for the {what}, {', '.join(named(fact))}")
    if "scales" in JOBS[job] and options["scales"] is None and any(row.local for row in rows):
        raise click.UsageError("which patch size? Give --scales, a number, a list or a file of --calibrate")
    for name in ("scales", "skip", "equivariance"):
        chosen = name == "equivariance" and options["machine"] == options[name]  # it says the machine
        if name in asked and not chosen and not any(row.takes(name) for row in rows):
            able = ", ".join(row.name for row in DENOISERS.rows if row.takes(name))
            raise click.UsageError(f"--{name} does nothing for {', '.join(machines)}: leave it out, or ask {able}")


def main():
    common.main(cli)


if __name__ == "__main__":
    main()
