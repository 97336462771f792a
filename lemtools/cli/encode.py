"""lem-encode: memories as embeddings, tokens or spectra, and back."""

import glob
import os

import click

from ..catalogue import listed
from ..catalogue.encoders import ENCODERS
from ..catalogue.shared import DEVICE
from . import common, results
from .common import option
from .options import INPUT, RUNNING, values, written

EXAMPLES = """
lem-encode --encoder patches --size 8 photo.png | lem-fragment --bits 3 > fragment.safetensors
lem-encode --encoder pca --fit --dims 64 -o faces.pca.safetensors faces/
lem-encode --model faces.pca.safetensors faces/ | lem-encode --decode --model faces.pca.safetensors -o back/ --to png
lem-encode --encoder stft sound.flac | lem-fragment --mask .5 | lem-reconstruct | lem-encode --decode > recalled.wav
lem-encode --encoder text book.txt -o bytes.safetensors
lem-encode --encoder rvq --fit --stages 4 --codes 256 embeddings.npy -o codebooks.safetensors
lem-encode --encoder translate --fit --onto others.npy embeddings.npy -o translation.safetensors
lem-encode --model translation.safetensors embeddings.npy -o translated.safetensors
lem-encode --encoder translate --fit --common 256 embeddings.npy others.npy -o hub.safetensors
lem-encode --model hub.safetensors --from embeddings embeddings.npy | lem-encode --decode --model hub.safetensors --to-space others -o theirs.npy
lem-encode --model codebooks.safetensors --patch-back --lm lm.safetensors --layer 2 held-out.txt
lem-encode --patch-back --translate ab.safetensors --lm b.safetensors --from-lm a.safetensors --layer 1 held-out.txt
"""


def _unused(row) -> list[str]:
    """Options that an encoder refuses."""
    refused = [] if row.fitted else [name for name in ("fit", "model", "as_json") if name not in row.needs]
    patched = ["patch_back"] * (row.name not in ("rvq", "translate"))
    return (
        refused
        + ["decode"] * (not row.back)
        + patched
        + ["translate", "from_lm", "from_layer", "from_codec"] * (row.name != "translate")
    )


@common.command("lem-encode", EXAMPLES, table=ENCODERS, chosen="encoder", hides=_unused)
@option(
    "--encoder",
    "Which encoder of those above.",
    "choice",
    of=ENCODERS,
    metavar="NAME",
    usual="patches, or that of the --model",
)
@option("--fit", "Fit the encoder to the input, write it to -o, and print what it reaches.", "flag")
@option("--decode", "Decode: undo the most recent encoding, or that of the --model.", "flag")
@option(
    "--patch-back",
    "Measure what the codes of --model (rvq) lose: encode a language model's activations at --layer, decode them, let "
    "the model go on from there, and print its loss for each number of stages. With --translate those of another model.",
    "flag",
)
@option(
    "--translate",
    "With --patch-back: put the activations of --from-lm, translated by this file of --encoder translate, into --lm, and print "
    "its bits a byte beside those with its own, their mean, what was not translated, and other positions' translations.",
    metavar="FILE",
    file=True,
)
@option("--from-lm", "The language model (lem-train lm) whose activations are translated.", metavar="FILE", file=True)
@option("--from-layer", "The layer of --from-lm.", "whole", metavar="K", usual="--layer")
@option("--from-codec", "The byte pairs of --from-lm, as --codec is of --lm.", metavar="FILE", file=True)
@option(
    "--model",
    "A fitted encoder, from --fit; of thoughts the language model, of features the classifier.",
    metavar="FILE",
    file=True,
)
@common.inputs()
@option("--lines", "Make every line of a text a memory.", "flag", section=INPUT)
@common.output
@option("--json", "Print what --fit reaches as JSON Lines.", "flag", param="as_json", section=RUNNING)
@option(DEVICE, section=RUNNING)
@common.seed
@common.shard
def cli(run, encoder, fit, decode, patch_back, translate, model, as_json, lines, **options):
    """Encode memories as embeddings, tokens or spectra; decode what can be inverted.

    Images become patches or principal components, texts tokens, sounds spectra or vectors, sentences vectors, vectors
    dense tokens.
    An encoder that is fitted to data (pca, rvq, byte pairs of text) is one safetensors file, written by --fit and
    read by --model. Encodings are safetensors streams; their history says how they were made, so that --decode undoes
    it.
    """
    reading = {k: options.pop(k) for k in ("files", *(o.name for o in common.READING))}
    writing = {k: options.pop(k) for k in ("output", "to", "skip_existing", "shard")}
    other = {name: options.pop(name) for name in ("from_lm", "from_layer", "from_codec")}
    _refuse(fit, decode, patch_back, model if not options["add"] else None, as_json, translate, other, **writing)
    from ..encode import load as fitted

    model = translate or model
    alone = encoder is not None and "model" in ENCODERS[encoder].needs
    coder = fitted(model) if model and not alone else None
    if coder and encoder not in (None, coder.name):
        raise click.UsageError(f"--encoder {encoder}: {model} was fitted for {coder.name}")
    wanted = "translate" if translate else "rvq"
    if patch_back and (coder is None or coder.name != wanted):
        said = "--patch-back --translate takes a map" if translate else "--patch-back is for rvq"
        raise click.UsageError(f"{said}; {model} was fitted for {coder.name if coder else encoder}")
    name = "activations" if patch_back else coder.name if coder else encoder or (None if decode else "patches")
    row = ENCODERS.get(name)
    fitting = fit or bool(row and row.of_itself and not (model or decode))
    settings = _settings(row, {**options, "model": model}, fitting, decode)
    if lines and (decode or not row.suits("tokens")):
        texts = [other.name for other in ENCODERS.rows if other.suits("tokens")]
        raise click.UsageError(f"--lines is for {listed(texts)}" + ", where they encode" * decode)
    if "device" in written(click.get_current_context()) and not _knows_devices(row, coder):
        raise click.UsageError(f"--device: {name} knows no devices; leave it out")
    coder = coder and coder.to(settings.get("device", options["device"]))
    if translate:
        return _patch_translated(run, coder, reading, lines, settings, {**other, "seed": options["seed"]}, as_json)
    if patch_back:
        return _patch_back(run, coder, reading, lines, settings, as_json)
    if fit:
        return _fit(run, row, coder, model, writing["output"], reading, lines, settings, as_json)
    if coder and not alone:
        coder = coder.asked(**{o.name: settings.pop(o.name) for o in row.options if o.name in settings})
    return _code(run, row, coder, decode, model, reading, writing, lines, settings)


def _refuse(fit, decode, patch_back, model, as_json, translate, other, output, **parts) -> None:
    """UsageError for options that do not go together. other: of the model that --translate translates from. parts: those that
    leave items out, or choose a format."""
    if translate and not (patch_back and other["from_lm"]):
        raise click.UsageError("--translate goes with --patch-back and --from-lm; to translate vectors: --model FILE")
    if not translate and any(value is not None for value in other.values()):
        raise click.UsageError(
            f"--{next(k for k, v in other.items() if v is not None).replace('_', '-')} is for --translate"
        )
    if translate and model:
        raise click.UsageError("--translate names the map: leave out --model")
    if fit and (decode or model):
        raise click.UsageError(f"--fit makes a new encoder: leave out {'--decode' if decode else '--model'}")
    if fit and (any(parts.values()) or not (output or "").endswith(".safetensors")):
        raise click.UsageError(
            "--fit writes one file from the whole input: -o FILE.safetensors, no --to, --shard or --skip-existing"
        )
    if as_json and not (fit or patch_back):
        raise click.UsageError("--json is for what --fit reaches and for --patch-back")
    if patch_back and (fit or decode or output or any(parts.values()) or not (model or translate)):
        raise click.UsageError(
            "--patch-back prints a table, of the codebooks of --model FILE or of --translate FILE: leave out --fit, "
            "--decode, -o, --to, --shard and --skip-existing"
        )


def _settings(row, options: dict, fitting: bool, decode: bool) -> dict:
    """The options that the encoder takes, {keyword: value}. UsageError for one that it does not take here.

    A file remembers what was settled by the fit; the other options say how to encode.
    """
    rows = row.options if row else ()
    taken = [o for o in rows if (o.decodes if decode else o.settled == fitting and not o.decodes)]
    for name, (source, names) in ENCODERS.options().items():
        if name in written(click.get_current_context()) and name not in [o.name for o in taken]:
            does = "is fitted" if source.settled else "decodes" if source.decodes else "encodes"
            when = f", where it {does}" if source.settled or source.decodes or decode or fitting else ""
            raise click.UsageError(f"{source.flag} is for {listed(names)}{when}")
    needs = {k: options[k] for k in (row.needs if row else ()) if k != "seed" or fitting}
    if "device" in needs:
        from ..device import pick

        try:
            needs["device"] = pick(needs["device"])
        except ValueError as error:
            raise click.UsageError(f"--device: {error}") from error
    return values(options, taken) | needs


def _knows_devices(row, coder) -> bool:
    """Whether what encodes computes where --device says; of a stream that tells only later what made it, it may."""
    from ..encode.contract import Encoder

    return type(coder).to is not Encoder.to if coder else row is None or "device" in row.needs


def _files(row, settings: dict) -> list[str]:
    """The files that options of the encoder name; of a folder those that are read, where the row says which."""
    found = []
    for path in [settings[o.name] for o in (row.options if row else ()) if o.file and settings.get(o.name)]:
        inside = glob.glob(os.path.join(glob.escape(path), f"*{row.ending}")) if row.ending else []
        found += inside if os.path.isdir(path) and row.ending else [path]
    return found


def _fit(run, row, coder, model, output, reading, lines, settings, as_json) -> None:
    from ..encode import fit_files
    from ..media import Target

    how = {"how": common.how(run, takes=row.kinds, **{o.name: reading[o.name] for o in common.LOOKS})}
    paths, _ = common.reading(run, **reading, default_sample=True)
    Target(output).refuse(paths, [*_files(row, settings), *([model] if model else [])])
    settings |= {"hub": coder} if coder else {}
    with run.watched(items=False):
        coder, report = fit_files(row.name, paths, lines=lines, reading=how, **settings)
    coder.save(output)
    if note := report.pop("note", None):
        run.say(note)
    rows = [[name, results.cell(value)] for name, value in report.items()]
    results.show(run, as_json, [report], rows, ("name", "value"))


def _code(run, row, coder, decode, model, reading, writing, lines, settings) -> None:
    """Encode or decode."""
    from ..encode import Coder, without_file
    from ..encode import lines as each_line
    from ..media import Target, save
    from ..media.repeat import rereadable

    takes, long = ((), False) if decode or row is None else (row.kinds, row.long)
    how = {"how": common.how(run, takes=takes, **{o.name: reading[o.name] for o in common.LOOKS})}
    target = Target(writing.pop("output"), writing.pop("to"), own=decode)
    if common.skip_whole(run, target, writing["skip_existing"]):
        return
    paths, signals = common.reading(
        run, **reading, **writing, target=target, default_sample=_sample(row, decode), takes=takes, long=long
    )
    target.refuse(paths, [*_files(row, settings), *([model] if model else [])])
    if coder is None and row is not None and row.of_itself and writing["shard"] and not rereadable(paths):
        raise click.UsageError(f"--shard needs files that {row.name} can read twice, or a --model from --fit: no pipes")
    if coder is None and row is not None:
        coder, signals = without_file(row.name, signals, None if decode else paths, reading=how, **settings)
    work = Coder(coder, decode=decode, history=run.history(**({"model": model} if model else {})))
    save(common.spread(run, paths, each_line(signals) if lines else signals, work, True), target, run.note, run.error)
    if coder and (remark := coder.remark()):
        run.note(remark)


def _sample(row, decode: bool) -> bool | str:
    """The bundled memory that is taken where there is no input, by what the encoder is for."""
    return not decode and ("rooster" if row is not None and row.kinds == ("audio",) else True)


HEADS = "stages", "bits", "nmse", "loss", "change"


def _patch_back(run, coder, reading, lines, settings, as_json) -> None:
    """The table: a line for the model as it is, for the mean of the activations alone, and for 1 .. S stages."""
    from ..encode import lines as each_line
    from ..encode.patch_back import patch_back_texts

    if settings.pop("flat", False):
        raise click.UsageError("--flat is for encoding activations")
    _, signals = common.reading(run, **reading)
    rows = patch_back_texts(each_line(signals) if lines else signals, coder.rvq, **settings)
    called = {None: "as it is", 0: "mean alone"}
    cells = [
        [called.get(row["stages"], str(row["stages"])), *(results.cell(row[k]) for k in HEADS[1:])] for row in rows
    ]
    results.show(run, as_json, rows, cells, HEADS)


def _patch_translated(run, coder, reading, lines, settings, other, as_json) -> None:
    """The table: a line for what is put in place of the model's own activations."""
    from ..encode import lines as each_line
    from ..encode.patch_translate import patch_translated

    if settings.pop("flat", False) or "hf" in settings:
        raise click.UsageError(
            "--translate takes two models of lem-train lm: --lm B --from-lm A, no --hf and no --flat"
        )
    if not {"lm", "layer"} <= settings.keys():
        raise click.UsageError("--translate needs the model that reads the translation, and where: --lm B --layer K")
    _, signals = common.reading(run, **reading)
    rows = patch_translated(each_line(signals) if lines else signals, coder, **settings, **other)
    cells = [[row["put"], *(results.cell(value) for value in list(row.values())[1:])] for row in rows]
    results.show(run, as_json, rows, cells, list(rows[0]))


def main():
    common.main(cli)


if __name__ == "__main__":
    main()
