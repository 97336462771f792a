"""lem-els: what a convolutional diffusion model will dream, by closed formulas over its training images."""

import click

from . import common
from .types import Bytes, Label, Names, Numbers, Size

EXAMPLES = """
lem-els --bank digits.idx.gz --size 32 --prepare -o digits.bank.safetensors
lem-els --bank faces/ --machine bbels --scales 5 --seeds 0-15 -o grid.png
lem-els --bank faces/ --calibrate net.safetensors --sizes 3-9 -o scales.txt
lem-els --bank faces/ --against net.safetensors --scales scales.txt --seeds 0-99
lem-els --bank faces/ --scales scales.txt --explain map.png
"""

MACHINES = ["is", "es", "ls", "els", "bbels", "wiener"]
LOCAL = ["ls", "els", "bbels"]
TAKEN = {"scales": LOCAL, "skip": ["es", *LOCAL]}  # option: machines to which it makes a difference
USES = {
    # option: (jobs that use it, what it is for)
    "t": ("denoise", "is for --denoise"),
    "sizes": ("calibrate", "is for --calibrate"),
    "by": ("calibrate", "is for --calibrate"),
    "monotone": ("calibrate", "is for --calibrate"),
    "machines": ("against", "is for --against"),
    "net_steps": ("against", "is for --against"),
    "as_json": ("against explain", "is for --against and --explain"),
    "machine": ("sample denoise calibrate explain", "is one machine: --against takes --machines, --prepare none"),
    "scales": ("sample denoise against explain", "is for sampling, --denoise, --against and --explain"),
    "steps": ("sample denoise calibrate against explain", "is for what samples"),
    "seeds": ("sample calibrate against explain", "is for what samples"),
    "label": ("sample denoise calibrate against explain", "is for what asks a machine"),
    "skip": ("sample denoise calibrate against explain", "is for what asks a machine"),
    "max_memory": ("sample denoise calibrate against explain", "is for what asks a machine"),
    "device": ("sample denoise calibrate against explain", "is for what asks a machine"),
    "batch": ("sample denoise calibrate against explain", "is for what asks a machine"),
    "compat": ("sample denoise calibrate against explain", "is for what asks a machine"),
    "output": ("sample denoise prepare calibrate against", "is not for --explain, which names its picture itself"),
    "to": ("sample denoise", "is for samples and --denoise"),
    "files": ("denoise", "are for --denoise; the training images are --bank PATH"),
}


@common.command("lem-els", EXAMPLES)
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path())
@click.option(
    "--bank",
    multiple=True,
    metavar="PATH",
    help="Training images: folders, idx, npy or safetensors files; a lone npy or safetensors file is mapped, not read.",
)
@click.option(
    "--labels", metavar="FILE", help="Classes of the training images: an idx, npy or text file of whole numbers."
)
@click.option(
    "--size", type=Size(), metavar="PX", help="Resize the training images, bilinearly, to PX x PX or WIDTHxHEIGHT."
)
@click.option("--grey", is_flag=True, help="Take the luma of colour images.")
@click.option("--key", metavar="NAME", help="Tensor or array to read from foreign files, of --bank and FILEs alike.")
@click.option(
    "--label",
    type=Label(),
    metavar="K",
    help="The class to dream; each: seed by seed one class after the other.  [default: all training images]",
)
@click.option("--machine", type=click.Choice(MACHINES), default="bbels", show_default=True, help="Which formula.")
@click.option(
    "--scales",
    metavar="SIZES",
    help="Patch size in px: one number, one for each step (low noise first: 3,3,5,...), or a file of --calibrate.",
)
@click.option(
    "--steps", type=click.IntRange(1), default=20, show_default=True, metavar="K", help="Steps of the sampler."
)
@click.option(
    "--seeds",
    type=Numbers(highest=2**63 - 1),  # seeds are int64 on the wire
    metavar="A-B",
    help="Seeds, as in 7, 0-99 or 1,4.  [default: 0, of --calibrate 1000-1007, of --against 0-99]",
)
@click.option("--denoise", is_flag=True, help="One answer for each noisy image of FILE.")
@click.option(
    "--t",
    type=common.Finite(0, 1),
    metavar="T",
    help="Noise of the FILEs, which are x_t, the schedule's t.  [default: as lem-fragment --noise wrote]",
)
@click.option("--prepare", is_flag=True, help="Write the training images as one file that need not be decoded again.")
@click.option("--calibrate", metavar="MODEL", help="Find the patch sizes that answer most like a network of lem-train.")
@click.option(
    "--sizes",
    type=Numbers(2, 1),
    metavar="A-B",
    help="Candidates of --calibrate; of a range the odd ones.  [default: 3-17, as far as the images allow]",
)
@click.option(
    "--by",
    type=click.Choice(["cosine", "mse"]),
    default="cosine",
    show_default=True,
    help="What --calibrate takes for alike.",
)
@click.option("--monotone", is_flag=True, help="Sizes of --calibrate never shrink as noise grows.")
@click.option(
    "--against", metavar="MODEL", help="Compare samples of the machines with those of a network of lem-train."
)
@click.option(
    "--net-steps",
    type=Numbers(1, 1),
    default="20,150",
    show_default=True,
    metavar="K,...",
    help="Steps of the network.",
)
@click.option(
    "--machines",
    type=Names(MACHINES),
    default=",".join(MACHINES),
    show_default=True,
    metavar="NAME,...",
    help="Which machines are compared.",
)
@click.option(
    "--explain", metavar="MAP", help="Draw where each pixel comes from (PNG), with its table as safetensors beside it."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")
@click.option(
    "--compat",
    type=click.Choice(["none", "kamb"]),
    default="none",
    show_default=True,
    help="kamb: the choices of the paper's released code.",
)
@click.option(
    "--skip",
    type=common.Finite(0, 1, max_open=True),
    default=1e-6,
    show_default=True,
    metavar="S",
    help="Share of the weights that may be left out; 0: none.",
)
@click.option(
    "--max-memory",
    type=Bytes(),
    default="1GiB",
    show_default=True,
    metavar="BYTES",
    help="Memory to aim at, beyond the bank and the answer.",
)
@click.option(
    "--device", default="auto", show_default=True, envvar="LEM_DEVICE", metavar="NAME", help="auto, cpu or cuda."
)
@click.option(
    "--batch",
    type=click.IntRange(1),
    envvar="LEM_BATCH",
    metavar="N",
    help="Seeds, or images of --denoise, a batch.  [default: by memory]",
)
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    help="Samples: a file, a folder (DIR/) or a pattern; of several one PNG is a grid. --prepare: the bank. "
    "--calibrate: the scales. --against: a sheet (PNG).",
)
@click.option(
    "--to",
    type=click.Choice(["safetensors", "png", "jpg", "npy"]),
    help="Output format.  [default: by the name's extension]",
)
def cli(run, files, **options):
    """Dream by formula: samples that a convolutional diffusion model would draw, from its training images alone.

    The formula is the mean of the clean pixel given the noisy patch around it, over all patches of the training images.
    Samples are float32 images named seed-N; the same seeds start the network of --against.
    """
    source = click.get_current_context().get_parameter_source
    written = {name for name in options if source(name) == click.core.ParameterSource.COMMANDLINE}
    written |= {"files"} if files else set()
    named = {
        "denoise": options.pop("denoise"),
        "prepare": options.pop("prepare"),
        **{job: options[job] is not None for job in ("calibrate", "against", "explain")},
    }
    jobs = [job for job, asked in named.items() if asked] or ["sample"]
    if len(jobs) > 1:
        raise click.UsageError(f"{' and '.join(f'--{job}' for job in jobs)}: give one of them")
    job = jobs[0]
    for name, (users, purpose) in USES.items():
        if name in written and job not in users.split():
            shown = {"files": "FILEs", "as_json": "--json"}.get(name, f"--{name.replace('_', '-')}")
            raise click.UsageError(f"{shown} {purpose}")
    if not options["bank"]:
        raise click.UsageError("no training images: give --bank PATH")
    if job == "explain" and options["machine"] not in LOCAL:
        raise click.UsageError(f"--explain is for the local machines, {', '.join(LOCAL)}")
    if job == "calibrate" and options["machine"] not in LOCAL:
        raise click.UsageError(f"--calibrate is for the machines that have patches, {', '.join(LOCAL)}")
    users = options["machines"] if job == "against" else [options["machine"]]
    if options["scales"] is None and job in ("sample", "denoise", "against", "explain") and set(users) & set(LOCAL):
        raise click.UsageError("which patch size? Give --scales, a number, a list or a file of --calibrate")
    for name, able in TAKEN.items():
        if name in written and not set(users) & set(able):
            way = f"leave it out, or ask {', '.join(able)}"
            raise click.UsageError(f"--{name} does nothing for {', '.join(users)}: {way}")
    from . import els_jobs

    return els_jobs.do(job, run, files, options)


def main():
    common.main(cli)
