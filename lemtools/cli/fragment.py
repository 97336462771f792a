"""lem-fragment: break memories."""

import click

from ..catalogue.operations import OPERATIONS, SHAPES
from . import common
from .options import INPUT, written

EXAMPLES = """
lem-fragment --sample --bits 3 | lem-reconstruct > recalled.png
lem-fragment --mask .5 --mask-shape patch:16 photo.png -o fragment.png
lem-fragment --bits 1-6 --mask 0-.9 --seed 7 photos/ -o fragments.safetensors
lem-fragment --mask .05 --mask-shape span:20ms -v rooster.flac | lem-reconstruct > mended.wav
lem-fragment --bits 2 --quantizer trellis --rotate vectors.npy -o vectors.safetensors
"""


@common.command("lem-fragment", EXAMPLES, OPERATIONS)
@common.inputs()
@common.option(
    "--tensors",
    "Read a model, a folder with config.json or one file of tensors, and take from those tensors alone whose names match: linear weights, or where none match, tables and kernels.",
    multiple=True,
    metavar="GLOB",
    usual="* of a folder",
    section=INPUT,
)
@common.option(
    "--device",
    "Where torch codes --quantizer trellis: auto, cuda, mps or cpu; the codes are the same.",
    usual="no torch",
    env="LEM_DEVICE",
    metavar="NAME",
    words=("auto", "cpu", "cuda", "mps"),
    section=common.RUNNING,
)
@common.seed
@common.shard
@common.output
def cli(run, output, to, skip_existing, seed, shard, device, tensors, **options):
    """Break memories: fewer bits, lost pixels, lost time, lost dimensions.

    Operations apply in the order written; A-B as a value draws per item. Reads images, sounds, text, arrays and
    streams; writes fragments as safetensors, with all that was lost on record, or shows them as PNG or WAV.
    """
    operations = ordered(click.get_current_context().meta["order"], options)
    reading = {source.name: options[source.name] for source in common.READING} | {"files": options["files"]}
    trellis = [o for o in operations if o.get("quantizer") == "trellis"]
    if device and not trellis and "device" in written(click.get_current_context()):
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
        tensors=tensors,
        takes=_suited(operations),
    )
    target.refuse(paths)
    entry = run.history(seed=seed)

    clips = any(op["op"] == "bits" and op.get("scale") in (None, "full") for op in operations)
    said: list[str] = []

    def work(whole):
        if clips and not said and whole.kind == "audio" and not whole.ops and (most := abs(whole.data).max()) > 1:
            said.append(f"{whole.names[0] if whole.names else 'a sound'}: reaches {most:.3g} times full scale")
            run.note(f"{said[0]}, to which --bits clips it; --scale peak keeps all of it")
        (batch,) = fragment([whole], operations, seed)
        batch.history = [*batch.history, entry]
        if run.verbose and batch.part is not None:
            if not batch.carried:
                run.detail(f"{batch.part.name}: {bits_per_element(batch).mean():.4g} bits per element")
        elif run.verbose:
            for i, cost in enumerate(bits_per_element(batch)):
                name = batch.names[i] if batch.names else f"item {batch.index[i]}"
                run.detail(f"{name}: {cost:.4g} bits per element")
        return batch

    save(common.each(run, paths, signals, work), target, run.note, run.error)


def _suited(operations: list[dict]) -> tuple[str, ...]:
    """The kinds of memory that all operations, and the shapes of their masks, are for."""
    from ..signal import KINDS

    rows = [OPERATIONS[op["op"]] for op in operations]
    rows += [SHAPES[name] for op in operations if (name := (op.get("shape") or "").partition(":")[0]) in SHAPES]
    return tuple(kind for kind in KINDS if all(row.suits(kind) for row in rows))


def ordered(order: list[tuple[str, int]], options: dict) -> list[dict]:
    """The operations as written: the first option of each starts it, the others belong to the latest one before them."""
    every = {option.name: (row, option) for row in OPERATIONS.rows for option in row.options}
    operations: list[dict] = []
    for name, k in order:
        if name not in every:
            continue
        row, option = every[name]
        value = options[name][k] if isinstance(options[name], tuple) else options[name]
        if option is row.options[0]:
            operations.append({"op": row.name, name: value})
        elif not operations or operations[-1]["op"] != row.name:
            raise click.UsageError(f"{option.flag} belongs right after a {row.options[0].flag}")
        else:
            operations[-1][name] = value
    if not operations:
        starts = [row.options[0].flag for row in OPERATIONS.rows]
        raise click.UsageError(f"nothing to take away: give {', '.join(starts[:-1])} or {starts[-1]}")
    return operations


def losses(text: str) -> list[dict]:
    """The operations that a text asks for, written as on the command line: '--bits 1-6 --mask .5'."""
    import shlex

    command = common.Command("lem-fragment", table=OPERATIONS, add_help_option=False)
    context = command.make_context("lem-fragment", shlex.split(text))
    return ordered(context.meta["order"], context.params)


def main():
    common.main(cli)


if __name__ == "__main__":
    main()
