"""lem-reconstruct: recall the whole from the fragment."""

import click

from . import common

EXAMPLES = """
lem-fragment --sample --bits 3 | lem-reconstruct > recalled.png
lem-reconstruct --method decode fragments.safetensors -o decoded/
lem-fragment --mask .75 faces/ | lem-reconstruct --memory store.safetensors -o recalled.safetensors
lem-fragment --mask .5 store.safetensors | lem-reconstruct --method gaussian --memory store.safetensors --samples 3 -o draws/
"""

METHODS = [
    "auto",
    "decode",
    "zero",
    "replicate",
    "linear",
    "inpaint",
    "smooth",
    "recall",
    "gaussian",
]


@common.command("lem-reconstruct", EXAMPLES)
@common.inputs()
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="auto",
    show_default=True,
    help="How to recall; auto chooses by what was taken away.",
)
@click.option(
    "--memory",
    multiple=True,
    metavar="STORE",
    help="Whole memories to recall from: files or folders; a lone safetensors or npy file is mapped, not read.",
)
@click.option(
    "--memory-key", metavar="NAME", help="Tensor or array to read from the STORE."
)
@click.option(
    "--samples",
    type=click.IntRange(0),
    default=0,
    metavar="M",
    help="Draw M plausible memories an item instead of the mean (recall, gaussian).",
)
@click.option(
    "--sigma",
    type=common.Finite(0),
    metavar="S",
    help="Standard deviation of the observed values about the truth, in full scales or an embedding's own units; "
    "0 is exact (recall, gaussian).  [default: by the fragment's operations]",
)
@click.option(
    "--centred",
    is_flag=True,
    help="Compare by correlation: offset and contrast do not count (recall).",
)
@click.option(
    "--unaware",
    is_flag=True,
    help="Compare lost values as zeros: the literature's control (recall).",
)
@click.option(
    "--shrink",
    default="1e-4",
    show_default=True,
    metavar="R",
    help="Ridge of the covariance over its mean eigenvalue, or oas, or ledoit-wolf (gaussian).",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    envvar="LEM_DEVICE",
    metavar="NAME",
    help="auto, cpu, cuda or mps (recall, gaussian).",
)
@common.seed
@common.shard
@common.output
def cli(
    run,
    output,
    to,
    skip_existing,
    seed,
    shard,
    method,
    memory,
    memory_key,
    samples,
    sigma,
    centred,
    unaware,
    shrink,
    device,
    **reading,
):
    """Recall whole memories from fragments.

    Reads fragments from lem-fragment; writes a single recalled item in its own medium (PNG, WAV, text), several as
    safetensors, or files into a folder. Observed values stay as they are, quantised ones inside their bins; but recall
    answers with what is stored, and gaussian takes quantised values for noisy ones. The history tells what was done.
    """
    if samples and not memory:
        raise click.UsageError(
            "--samples needs --memory: without one the methods give one answer"
        )
    for flag, on in (("--centred", centred), ("--unaware", unaware)):
        if on and (not memory or method == "gaussian"):
            raise click.UsageError(f"{flag} is for --method recall with a --memory")
    context = click.get_current_context()
    for name in ("memory_key", "sigma", "shrink", "device"):
        if (
            not memory
            and context.get_parameter_source(name)
            == click.core.ParameterSource.COMMANDLINE
        ):
            raise click.UsageError(
                f"--{name.replace('_', '-')} is for recall and gaussian: it needs --memory"
            )
    if samples and skip_existing:
        raise click.UsageError(
            "--skip-existing does not know the files of --samples; leave one of them out"
        )
    if not memory:  # what does not ask a memory works in small pieces; a pool of BLAS threads only gets in its way
        common.one_thread()
    from ..media import Target, save, store
    from ..reconstruct import FROM_MEMORY, Reconstructor

    target = Target(output, to, own=True)
    if common.skip_whole(run, target, skip_existing):
        return
    paths, signals = common.reading(
        run, **reading, shard=shard, target=target, skip_existing=skip_existing
    )
    target.refuse([*paths, *memory])
    options = {}
    memories = None
    if memory and (method == "auto" or method in FROM_MEMORY):
        memories = store(list(memory), memory_key)
        run.detail(f"memory: {len(memories)} items of {list(memories.shape[1:])}")
        shrink = shrink if shrink in ("oas", "ledoit-wolf") else _number(shrink)
        options = {
            "samples": samples,
            "sigma": sigma,
            "centred": centred,
            "unaware": unaware,
            "shrink": shrink,
            "device": device,
        }
    elif memory:
        raise click.UsageError(
            f"--method {method} does not use a --memory; recall and gaussian do"
        )
    recall = Reconstructor(
        method, memory=memories, history=run.history(seed=seed), seed=seed, **options
    )

    def work(batch):
        back = recall(batch)
        entry = back.history[-1]
        run.detail(
            f"{len(batch)} items: {entry['method']} ({'; '.join(entry['steps']) or 'nothing to do'})"
        )
        return back

    save(common.each(run, paths, signals, work), target)


def _number(text: str) -> float:
    try:
        if 0 <= (value := float(text)) < float("inf"):
            return value
    except ValueError:
        pass
    raise click.UsageError(f"--shrink {text}: a number >= 0, oas or ledoit-wolf")


def main():
    common.main(cli)
