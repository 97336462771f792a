"""lem-encode: memories as embeddings or tokens, and back."""

import click

from . import common, results

EXAMPLES = """
lem-encode --encoder patches --size 8 photo.png | lem-fragment --bits 3 > fragment.safetensors
lem-encode --encoder pca --fit --dims 64 -o faces.pca.safetensors faces/
lem-encode --model faces.pca.safetensors faces/ | lem-encode --decode --model faces.pca.safetensors -o back/ --to png
lem-encode --encoder text book.txt -o bytes.safetensors
lem-encode --encoder rvq --fit --stages 4 --codes 256 embeddings.npy -o codebooks.safetensors
lem-encode --model codebooks.safetensors --patch-back --lm lm.safetensors --layer 2 held-out.txt
"""

ENCODERS = ["patches", "pca", "text", "rvq", "token-ae", "voice", "minilm", "activations"]

USES = {
    # option: (the encoders it is for, whether it is settled when they are fitted)
    "size": ("patches", False),
    "dims": ("pca", True),
    "whiten": ("pca rvq", True),
    "stages": ("rvq", True),
    "codes": ("rvq", True),
    "groups": ("rvq", True),
    "beam": ("rvq", True),
    "cosine": ("rvq", True),
    "gain_shape": ("rvq", True),
    "validate": ("rvq", True),
    "seed": ("rvq", True),
    "vocab": ("text", True),
    "lines": ("text token-ae minilm activations", False),
    "weights": ("voice", False),
    "hf": ("minilm activations", False),
    "lm": ("activations", False),
    "layer": ("activations", False),
    "window": ("activations", False),
    "flat": ("activations", False),
    "device": ("rvq token-ae voice minilm activations", False),
}
EITHER = ("lines",)  # ways of reading
COMMON = ("device", "seed")  # those who do not compute on one let it pass


quantiser = common.chain(  # lem-train has them, too
    click.option(
        "--stages",
        type=click.IntRange(1, 256),
        metavar="S",
        help="Codes of a vector, one after the other (rvq).  [default: 4]",
    ),
    click.option(
        "--codes",
        type=click.IntRange(2, 65536),
        metavar="K",
        help="Codes to choose from at a stage (rvq).  [default: 1024]",
    ),
    click.option(
        "--groups",
        type=click.IntRange(1),
        metavar="G",
        help="Parts that a vector is dealt to, each with all stages (rvq).  [default: 1]",
    ),
    click.option(
        "--beam",
        type=click.IntRange(1, 4096),
        metavar="B",
        help="Paths kept in the search of codes (rvq).  [default: 16]",
    ),
    click.option(
        "--cosine",
        type=common.Finite(0),
        metavar="W",
        help="Weight of 1 - cosine beside the squared error (rvq).  [default: 0]",
    ),
    click.option("--gain-shape", is_flag=True, help="Code a vector's length apart from its direction (rvq)."),
)


@common.command("lem-encode", EXAMPLES)
@common.inputs()
@click.option(
    "--encoder", type=click.Choice(ENCODERS), help="What to encode as.  [default: patches, or that of the --model]"
)
@click.option("--fit", is_flag=True, help="Fit the encoder to the input, write it to -o, and print what it reaches.")
@click.option("--decode", is_flag=True, help="Undo the latest encoding, or that of the --model.")
@click.option(
    "--patch-back",
    is_flag=True,
    help="Put the activations of a language model, decoded from the codes of the --model (rvq), back at their --layer, "
    "and print its loss by number of stages.",
)
@click.option("--model", metavar="FILE", help="A fitted encoder, from --fit.")
@click.option("--size", type=click.IntRange(1), metavar="PX", help="Side of the patches.  [default: 8]")
@click.option(
    "--dims",
    type=click.IntRange(1),
    metavar="K",
    help="Principal components to keep; without --fit or --model they are those of the input itself.  "
    "[default: all in which it varies]",
)
@click.option("--whiten", is_flag=True, help="Divide every direction by its standard deviation (pca, rvq).")
@quantiser
@click.option(
    "--validate", metavar="PATH", help="What to report a fit on (rvq).  [default: a tenth, held back from the fit]"
)
@click.option(
    "--vocab",
    type=click.IntRange(257, 65536),
    metavar="V",
    help="Tokens of the byte-pair encoding that --encoder text --fit learns.  [default: 4096]",
)
@click.option("--weights", metavar="FILE", help="Weights of --encoder voice: resemblyzer's pretrained.pt.")
@click.option(
    "--hf",
    metavar="DIR",
    help="Folder of a Hugging Face model: a causal one (activations) or a sentence encoder (minilm).",
)
@click.option("--lm", metavar="FILE", help="Language model of lem-train lm, in place of --hf (activations).")
@click.option(
    "--layer",
    type=int,
    metavar="K",
    help="Hidden states after K blocks; 0 is the embedding, -1 the last one (activations).",
)
@click.option(
    "--window",
    type=click.IntRange(1),
    metavar="L",
    help="Cut longer documents into windows of L tokens (activations).  [default: what the model takes, at most 1024]",
)
@click.option("--flat", is_flag=True, help="Every position is a memory of its own, a vector (activations).")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    envvar="LEM_DEVICE",
    metavar="NAME",
    help="auto, cpu, cuda or mps (rvq, token-ae, voice, minilm, activations).",
)
@click.option("--lines", is_flag=True, help="Every line of a text is a memory of its own.")
@click.option("--json", "as_json", is_flag=True, help="Print what --fit reaches as JSON Lines.")
@common.seed
@common.shard
@common.output
def cli(run, encoder, fit, decode, patch_back, model, as_json, **options):
    """Encode memories as embeddings or tokens; decode what can be inverted.

    Images become patches or principal components, texts tokens, sounds and sentences vectors, vectors dense tokens.
    An encoder that is fitted to data (pca, rvq, byte pairs of text) is one safetensors file, written by --fit and
    read by --model. Encodings are safetensors streams; their history says how they were made, so that --decode undoes
    it.
    """
    reading = {k: options.pop(k) for k in ("files", "files_from", "sample", "sample_name", "key", "batch", "max_bytes")}
    writing = {k: options.pop(k) for k in ("output", "to", "skip_existing", "shard")}
    _refuse(fit, decode, patch_back, model, as_json, **writing)
    from .. import encode as room

    coder = room.load(model) if model else None
    if coder and encoder not in (None, coder.name):
        raise click.UsageError(f"--encoder {encoder}: {model} was fitted for {coder.name}")
    if patch_back and coder.name != "rvq":
        raise click.UsageError(f"--patch-back is for rvq; {model} was fitted for {coder.name}")
    name = "activations" if patch_back else coder.name if coder else encoder or (None if decode else "patches")
    settings = _settings(name, options, fit, decode, model)
    coder = coder and coder.to(options["device"])
    if patch_back:
        return _patch_back(run, coder, reading, settings, as_json)
    if fit:
        return _fit(run, name, writing["output"], reading, settings, as_json)
    return _code(run, name, coder, decode, model, reading, writing, settings)


def _refuse(fit, decode, patch_back, model, as_json, output, **parts) -> None:
    """UsageError for options that do not go together. parts: those that leave items out, or choose a format."""
    if fit and (decode or model):
        raise click.UsageError(f"--fit makes a new encoder: leave out {'--decode' if decode else '--model'}")
    if fit and (any(parts.values()) or not (output or "").endswith(".safetensors")):
        raise click.UsageError(
            "--fit writes one file from the whole input: -o FILE.safetensors, no --to, --shard or --skip-existing"
        )
    if as_json and not (fit or patch_back):
        raise click.UsageError("--json is for what --fit reaches and for --patch-back")
    if patch_back and (fit or decode or output or any(parts.values()) or not model):
        raise click.UsageError(
            "--patch-back prints a table, of the codebooks of --model FILE: leave out --fit, "
            "--decode, -o, --to, --shard and --skip-existing"
        )


def _fit(run, name, output, reading, settings, as_json) -> None:
    from .. import encode as room
    from ..media import Target

    how = {k: reading[k] for k in ("key", "batch", "max_bytes") if reading[k]}
    paths, _ = common.reading(run, **reading, default_sample=True)
    Target(output).refuse([*paths, *filter(None, [settings.get("validate")])])
    coder, report = room.fit_files(name, paths, reading=how, **settings)
    coder.save(output)
    if note := report.pop("note", None):
        run.say(note)
    rows = [[name, results.cell(value)] for name, value in report.items()]
    results.show(run, as_json, [report], rows, ("name", "value"))


def _code(run, name, coder, decode, model, reading, writing, settings) -> None:
    """Encode or decode."""
    from .. import encode as room
    from ..media import Target, save

    how = {k: reading[k] for k in ("key", "batch", "max_bytes") if reading[k]}
    target = Target(writing.pop("output"), writing.pop("to"), own=decode)
    if common.skip_whole(run, target, writing["skip_existing"]):
        return
    paths, signals = common.reading(run, **reading, **writing, target=target, default_sample=not decode)
    target.refuse([*paths, *filter(None, (model, settings.get("weights"), settings.get("lm")))])
    by_line = settings.pop("lines", False)
    if coder is None and name is not None:
        coder, signals = room.without_file(name, signals, None if decode else paths, reading=how, **settings)
    work = room.Coder(coder, decode=decode, history=run.history(**({"model": model} if model else {})))
    save(common.spread(run, paths, room.lines(signals) if by_line else signals, work), target)
    if coder and (remark := coder.remark()):
        run.note(remark)


HEADS = "stages", "bits", "nmse", "loss", "change"


def _patch_back(run, coder, reading, settings, as_json) -> None:
    """The table: a line for the model as it is, for the mean of the activations alone, and for 1 .. S stages."""
    from ..encode import lines
    from ..encode.patch_back import patch_back_texts

    if settings.pop("flat", False):
        raise click.UsageError("--flat is for encoding activations")
    by_line = settings.pop("lines", False)
    _, signals = common.reading(run, **reading)
    rows = patch_back_texts(lines(signals) if by_line else signals, coder.rvq, **settings)
    called = {None: "as it is", 0: "mean alone"}
    cells = [
        [called.get(row["stages"], str(row["stages"])), *(results.cell(row[k]) for k in HEADS[1:])] for row in rows
    ]
    results.show(run, as_json, rows, cells, HEADS)


def _settings(name: str | None, options: dict, fit: bool, decode: bool, model: str | None) -> dict:
    """The options that the encoder takes, {name: value}. UsageError for one that it does not take here."""
    if name in USES["device"][0].split():
        from ..device import pick

        try:
            options["device"] = pick(options["device"])
        except ValueError as error:
            raise click.UsageError(f"--device: {error}") from error
    source = click.get_current_context().get_parameter_source
    fitting = fit or (name == "pca" and not (model or decode))
    settings = {}
    for option, value in options.items():
        encoders, settled = USES[option]
        # a file remembers what was settled by the fit; the others say how to encode
        now = not decode and name in encoders.split() and (settled == fitting or option in EITHER)
        if now and value is not None and value is not False:
            settings[option] = value
        elif not now and option not in COMMON and source(option) == click.core.ParameterSource.COMMANDLINE:
            when = ", where it is fitted" if settled else ""
            raise click.UsageError(f"--{option.replace('_', '-')} is for {' and '.join(encoders.split())}{when}")
    return settings


def main():
    common.main(cli)
