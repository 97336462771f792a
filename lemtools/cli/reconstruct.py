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
    "net",
    "dream",
]

USES = {
    # option: (ways of recalling that use it, what it is for)
    "memory_key": ("recall gaussian dream", "is for a store of memories: it needs --memory"),
    "samples": ("recall gaussian dream model", "needs --memory or --model: without one the methods give one answer"),
    "sigma": ("recall gaussian", "is for recall and gaussian: it needs --memory"),
    "centred": ("recall", "is for --method recall with a --memory"),
    "unaware": ("recall", "is for --method recall with a --memory"),
    "shrink": (
        "gaussian dream",
        "is for --method gaussian, and for --method dream --prior gaussian: it needs --memory",
    ),
    "prior": ("dream", "is for --method dream with a --memory"),
    "steps": ("dream model", "is for --method dream, and for --model of a recurrent or diffusion network"),
    "temperature": ("dream model", "is for --method dream, and for --model of an autoregressive or diffusion network"),
    "label": ("model", "is for --model of a diffusion network that knows classes"),
    "tile": ("model auto", "is for networks: it needs --method net or --model"),
    "device": ("recall gaussian dream model auto", "is for what asks a --memory or a --model"),
}
OPTIONS = {
    # way of recalling: what is passed on to it
    "recall": "samples sigma centred unaware shrink device",
    "gaussian": "samples sigma centred unaware shrink device",
    "dream": "samples prior shrink steps temperature device",
    "model": "samples steps temperature label tile device",
    "auto": "tile device",
    "plain": "",
}


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
@click.option("--memory-key", metavar="NAME", help="Tensor or array to read from the STORE.")
@click.option(
    "--model",
    metavar="FILE",
    help="Network to recall with, from lem-train.  [default: the bundled one, for images with lost bits or pixels]",
)
@click.option(
    "--samples",
    type=click.IntRange(0),
    default=0,
    metavar="M",
    help="Draw M plausible memories an item instead of the mean (recall, gaussian, dream, and networks that draw).",
)
@click.option(
    "--steps",
    type=click.IntRange(1),
    metavar="K",
    help="Iterations of a recurrent network; noise levels of a diffusion model or of dream.",
)
@click.option(
    "--temperature",
    type=common.Finite(0),
    metavar="T",
    help="Spread of draws: below 1 likelier ones (dream, autoregressive and diffusion models).  [default: 1]",
)
@click.option(
    "--prior",
    default="recall",
    show_default=True,
    metavar="PRIOR",
    help="What dream takes the STORE for: recall, its memories themselves; gaussian, their mean and covariance; or "
    "mosaics of their patches, ls, els or bbels with sizes in px, as in bbels:5 (see lem-els).",
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
    help="Ridge of the covariance over its mean eigenvalue, or oas, or ledoit-wolf (gaussian; dream of one).",
)
@click.option(
    "--label",
    type=click.IntRange(0),
    metavar="K",
    help="The class to recall, for a diffusion network that was trained with --labels.  [default: any]",
)
@click.option(
    "--tile",
    type=click.IntRange(1),
    metavar="PX",
    help="Side of the tiles that large images go through a network in.  [default: by memory]",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    envvar="LEM_DEVICE",
    metavar="NAME",
    help="auto, cpu, cuda or mps (recall, gaussian, net, dream).",
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
    model,
    **options,
):
    """Recall whole memories from fragments.

    Reads fragments from lem-fragment; writes a single recalled item in its own medium (PNG, WAV, text), several as
    safetensors, or files into a folder. Observed values stay as they are, quantised ones inside their bins; but recall
    answers with what is stored, and gaussian takes quantised values for noisy ones. The history records what was done.
    """
    way = _way(method, memory, model)
    context = click.get_current_context()
    reading = {name: options.pop(name) for name in list(options) if name not in USES}
    for name, (ways, purpose) in USES.items():
        written = context.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE
        if written and way not in ways.split():
            raise click.UsageError(f"--{name.replace('_', '-')} {purpose}")
    if options["samples"] and skip_existing:
        raise click.UsageError("--skip-existing does not know the files of --samples; leave one of them out")
    if way in ("plain", "auto"):  # what asks no memory works in small pieces; a pool of BLAS threads gets in its way
        common.one_thread()
    from ..media import Target, save, store
    from ..reconstruct import Reconstructor

    target = Target(output, to, own=True)
    if common.skip_whole(run, target, skip_existing):
        return
    paths, signals = common.reading(run, **reading, shard=shard, target=target, skip_existing=skip_existing)
    target.refuse([*paths, *memory, *([model] if model else [])])
    options = {name: options[name] for name in OPTIONS[way].split()}
    if "shrink" in options:
        options["shrink"] = _ridge(options["shrink"])
    memories = None
    if memory:
        memories = store(list(memory), memory_key)
        run.detail(f"memory: {len(memories)} items of {list(memories.shape[1:])}")
    recall = Reconstructor(method, memory=memories, model=model, history=run.history(seed=seed), seed=seed, **options)

    def work(batch):
        back = recall(batch)
        entry = back.history[-1]
        run.detail(f"{len(batch)} items: {entry['method']} ({'; '.join(entry['steps']) or 'nothing to do'})")
        return back

    save(common.each(run, paths, signals, work), target)


def _way(method: str, memory: tuple[str, ...], model: str | None) -> str:
    """What answers: a store by 'recall', 'gaussian' or 'dream', a 'model', what 'auto' chooses, or a 'plain' method."""
    if memory and model:
        raise click.UsageError("--memory and --model: give one of them")
    for name, value, users in (("memory", memory, "recall gaussian dream"), ("model", model, "net dream")):
        if value and method not in ("auto", *users.split()):
            raise click.UsageError(f"--method {method} does not use a --{name}; {_listed(users.split())} do")
    if memory:
        return "recall" if method == "auto" else method
    return "model" if model or method == "net" else "auto" if method == "auto" else "plain"


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _ridge(text: str) -> float | str:
    if text in ("oas", "ledoit-wolf"):
        return text
    try:
        if 0 <= (value := float(text)) < float("inf"):
            return value
    except ValueError:
        pass
    raise click.UsageError(f"--shrink {text}: a number >= 0, oas or ledoit-wolf")


def main():
    common.main(cli)
