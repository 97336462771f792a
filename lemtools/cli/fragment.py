"""lem-fragment: break memories."""

import click

from . import common

EXAMPLES = """
lem-fragment --sample --bits 3 | lem-reconstruct > recalled.png
lem-fragment --mask .5 --mask-shape patch:16 photo.png -o fragment.png
lem-fragment --bits 1-6 --mask 0-.9 --seed 7 photos/ -o fragments.safetensors
lem-fragment --mask .05 --mask-shape span:20ms -v rooster.flac | lem-reconstruct > mended.wav
lem-fragment --bits 2 --quantizer trellis --rotate vectors.npy -o vectors.safetensors
"""

# option: (operation it starts, or the one it binds to; the name of the parameter)
BINDS = {
    "bits": ("bits", "bits"),
    "quantizer": ("bits", "quantizer"),
    "scale": ("bits", "scale"),
    "rotate": ("bits", "rotate"),
    "mask": ("mask", "mask"),
    "mask_shape": ("mask", "shape"),
    "keep_dims": ("keep-dims", "keep"),
    "downsample": ("downsample", "factor"),
    "crop": ("crop", "crop"),
    "noise": ("noise", "sigma"),
    "clamp": ("noise", "clamp"),
}
STARTS = ("bits", "mask", "keep_dims", "downsample", "crop", "noise")


# what is taken away, in the order written
losses = common.chain(
    click.option(
        "--bits",
        type=common.Amount("B", whole=True),
        multiple=True,
        metavar="B",
        help="Keep B bits a value, 1-16: the top bits of images and sound; embeddings are quantised by their rms.",
    ),
    click.option(
        "--quantizer",
        type=click.Choice(["uniform", "lloyd-max", "trellis"]),
        multiple=True,
        help="How the --bits before it places its levels; trellis codes whole embeddings, at 1-6 bits.  "
        "[default: uniform]",
    ),
    click.option(
        "--rotate",
        is_flag=True,
        help="Turn embeddings by a random rotation, fixed by --seed, before the --bits before it.",
    ),
    click.option(
        "--scale",
        type=click.Choice(["full", "peak", "rms"]),
        multiple=True,
        help="What the --bits before it spans: full scale, the item's peak, or its rms as a Gaussian.",
    ),
    click.option(
        "--mask",
        type=common.Amount("P"),
        multiple=True,
        metavar="P",
        help="Lose the fraction P of the elements.",
    ),
    click.option(
        "--mask-shape",
        multiple=True,
        metavar="SHAPE",
        help="How the --mask before it loses: pixel, patch:S, block, rows, half, span[:S], dims.  [default: pixel]",
    ),
    click.option(
        "--keep-dims",
        type=click.IntRange(1),
        multiple=True,
        metavar="K",
        help="Keep the first K dimensions.",
    ),
    click.option(
        "--downsample",
        type=click.IntRange(2),
        multiple=True,
        metavar="F",
        help="Divide the resolution by F.",
    ),
    click.option(
        "--crop",
        multiple=True,
        metavar="WxH[+X+Y]",
        help="Keep a window; for sound a length, as in 1.5s.",
    ),
    click.option(
        "--noise",
        type=common.Amount("SIGMA"),
        multiple=True,
        metavar="SIGMA",
        help="Add Gaussian noise: in full scales (images, sound) or rms of the item.",
    ),
    click.option(
        "--clamp",
        is_flag=True,
        help="Clip the --noise before it to the range of images or sound.",
    ),
)


@common.command("lem-fragment", EXAMPLES)
@common.inputs()
@losses
@click.option(
    "--device",
    envvar="LEM_DEVICE",
    metavar="NAME",
    help="Where torch codes --quantizer trellis: auto, cuda, mps or cpu; the codes are the same.  [default: no torch]",
)
@common.seed
@common.shard
@common.output
def cli(run, output, to, skip_existing, seed, shard, device, **options):
    """Break memories: fewer bits, lost pixels, lost time, lost dimensions.

    Operations apply in the order written; A-B as a value draws per item. Reads images, sounds, text, arrays and
    streams; writes fragments as safetensors, with all that was lost on record, or shows them as PNG or WAV.
    """
    operations = ordered(click.get_current_context().meta["order"], options)
    reading = {
        k: options[k]
        for k in (
            "files",
            "files_from",
            "sample",
            "sample_name",
            "key",
            "batch",
            "max_bytes",
        )
    }
    trellis = [o for o in operations if o.get("quantizer") == "trellis"]
    if device and not trellis and click.get_current_context().get_parameter_source("device").name == "COMMANDLINE":
        raise click.UsageError("--device is for --quantizer trellis")
    common.one_thread()
    if device and trellis:
        from ..vq.viterbi import searcher

        try:
            search = searcher(device)
        except ValueError as error:
            raise click.UsageError(f"--device {device}: {error}") from error
        for operation in trellis:
            operation["search"] = search
    from ..fragment import fragment
    from ..media import Target, save
    from ..signal import bits_per_element

    target = Target(output, to)
    if common.skip_whole(run, target, skip_existing):
        return
    paths, signals = common.reading(
        run,
        **reading,
        shard=shard,
        target=target,
        skip_existing=skip_existing,
        default_sample=True,
    )
    target.refuse(paths)
    entry = run.history(seed=seed)

    def work(whole):
        (batch,) = fragment([whole], operations, seed)
        batch.history = [*batch.history, entry]
        if run.verbose:
            for i, cost in enumerate(bits_per_element(batch)):
                name = batch.names[i] if batch.names else f"item {batch.index[i]}"
                run.detail(f"{name}: {cost:.4g} bits per element")
        return batch

    save(common.each(run, paths, signals, work), target)


def ordered(order: list[tuple[str, int]], options: dict) -> list[dict]:
    """The operations as written: every option that binds goes to the operation before it."""
    operations: list[dict] = []
    for name, k in order:
        if name not in BINDS:
            continue
        operation, parameter = BINDS[name]
        value = options[name][k] if isinstance(options[name], tuple) else options[name]
        if name in STARTS:
            operations.append({"op": operation, parameter: value})
        elif not operations or operations[-1]["op"] != operation:
            raise click.UsageError(f"--{name.replace('_', '-')} belongs right after a --{operation}")
        else:
            operations[-1][parameter] = value
    if not operations:
        raise click.UsageError(
            "nothing to take away: give --bits, --mask, --keep-dims, --downsample, --crop or --noise"
        )
    return operations


@click.command("lem-fragment", cls=common.Command, add_help_option=False)
@losses
def fragment_options(**options):
    """The options alone, for who writes down a loss as lem-fragment would be told it."""


def main():
    common.main(cli)
