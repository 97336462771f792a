"""lem-reconstruct: recall the whole from the fragment."""

import os
import stat

import click

from ..catalogue.methods import METHODS, meant
from . import common
from .options import INPUT, refuse, written

EXAMPLES = """
lem-fragment --sample --bits 3 | lem-reconstruct > recalled.png
lem-reconstruct --method decode fragments.safetensors -o decoded/
lem-fragment --mask .75 faces/ | lem-reconstruct --memory store.safetensors -o recalled.safetensors
lem-fragment --mask .5 faces/ | lem-reconstruct --memory codes.safetensors --memory-model faces.pca.safetensors -o recalled/
lem-fragment --mask .5 faces/ | lem-reconstruct --memory faces/ --answer label --labels classes.txt -o posterior.npy
lem-fragment --mask .5 store.safetensors | lem-reconstruct --method gaussian --memory store.safetensors --samples 3 -o draws/
lem-reconstruct --model dreams.safetensors --samples 5 -o dreamt/
lem-reconstruct --model lm.safetensors --more 200 --temperature .8 beginning.txt
lem-fragment --mask .2 --mask-shape span:8 text.txt | lem-reconstruct --model lm.safetensors > whole.txt
lem-fragment --mask .2 --mask-shape span:8 text.txt | lem-reconstruct --memory book.txt > whole.txt
"""

WHOLE = {  # what says that something is lost, of kinds whose files do not
    "image": "--lost MASK.png or alpha says what is lost",
    "audio": "a fragment that is kept as .safetensors says what is lost",
}


def _unused(row) -> list[str]:
    """Options that a method refuses; `auto` chooses another method where it gets one of them."""
    if row.name == "auto":
        return []
    return [name for name in ("memory", "model") if name not in row.needs] + ["codec"] * (not row.family)


@common.command("lem-reconstruct", EXAMPLES, METHODS, "method", narrow=False, hides=_unused)
@common.inputs()
@common.option(
    "--method",
    "How to recall.",
    "choice",
    of=METHODS,
    default="auto",
    metavar="METHOD",
)
@common.option(
    "--memory",
    "Whole memories to recall from: files or folders; a lone safetensors or npy file stays on disk.",
    multiple=True,
    metavar="STORE",
    file=True,
)
@common.option(
    "--model",
    "Network to recall with, from lem-train.",
    metavar="FILE",
    usual="the bundled one, for images with lost bits or pixels",
    file=True,
)
@common.option(
    "--lost",
    "What is lost of images that come whole: a picture of the losses, white = lost, for all of them; a folder with one "
    "for each, by its name; or alpha, what is transparent.",
    metavar="MASK",
    words=("alpha",),
    file=True,
    section=INPUT,
)
@common.option(
    "--codec",
    "The encoding by which the --model was trained, a byte-pair encoding of lem-encode, or kmer:K: texts are encoded by it, and "
    "what is recalled decoded.",
    metavar="FILE",
    words=("kmer:",),
    file=True,
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
    model,
    lost,
    codec,
    **options,
):
    """Recall whole memories from fragments.

    Reads fragments from lem-fragment; with a STORE, --resize, --grey and --rgb are for its images. Writes a single
    recalled item in its own medium (PNG, WAV, text), several as safetensors, or files into a folder. Observed values
    stay as they are, quantised ones inside their bins; but recall answers with what is stored, and gaussian takes
    quantised values for noisy ones. The history records what was done. Without input, at a terminal or with /dev/null,
    --samples M of a network that draws are M samples of it; spectra of a known encoder are written as sounds into a folder
    and as WAV or FLAC.

    A model of lem-train lm goes on with a whole text, and with one that lacks its end (continue), and fills gaps between what is
    left (fill); options that only one of the two has choose it. Bytes that are no UTF-8, such as a character cut at the end, are
    written as question marks; --to safetensors has them as they are.
    """
    rows = _rows(method, memory, model, options)
    row = rows[0]
    reading = {source.name: options[source.name] for source in common.READING} | {"files": options["files"]}
    if options["samples"] and skip_existing:
        raise click.UsageError("--skip-existing does not know the files of --samples; leave one of them out")
    if (
        row.name == "auto" or not row.needs
    ):  # what asks no memory works in small pieces; a pool of BLAS threads gets in its way
        common.one_thread()
    from ..media import Target, save, store
    from ..media.labels import parted
    from ..media.store import classes, nature, sequences, sounds
    from ..reconstruct import Reconstructor
    from ..reconstruct.decoded import Decoded
    from ..signal import called
    from ..transforms.history import front

    target = Target(output, to, own=True)
    coder = None if codec is None else _coder(codec, model)
    if common.skip_whole(run, target, skip_existing):
        return
    looks = {source.name: reading[source.name] for source in common.LOOKS}
    if memory:  # fragments come as they are: it is the STORE that is made like them
        reading |= {"resize": None, "grey": False, "rgb": False}
    dreams = bool(model and options["samples"] and not lost) and _nothing(**reading)
    if dreams and shard:
        raise click.UsageError("--shard is for fragments: samples of a network have their --seed")
    paths, signals = [], []
    if not dreams:
        inputs = dict(shard=shard, target=target, skip_existing=skip_existing, lost=lost, whole=True)
        paths, signals = common.reading(run, **reading, **inputs)
    masks = [] if lost in (None, "alpha") else [lost]
    beside = [parted(options["labels"])[0]] if options["labels"] else []
    target.refuse(paths, [*memory, *options["memory_model"], *filter(None, [model, codec]), *masks, *beside])
    asked = {source.name: options[source.name] for each in rows for source in each.options}
    if asked.pop("labels", None) and asked["answer"] != "label":
        raise click.UsageError("--labels is for --answer label")
    decoders = asked.pop("memory_model", None)
    asked.pop("memory_key", None)
    if "shrink" in asked:
        asked["shrink"] = ridge(asked["shrink"])
    memories = stored = of = None
    told = {}
    if memory:
        kind = looks["kind"] if looks["kind"] in ("spectrum", "field") else None  # all others show what they are
        how = common.how(run, **looks | {"kind": kind, "batch": None})
        of = nature(list(memory), options["memory_key"], how)
        if decoders:
            memories = stored = Decoded(
                store(list(memory), options["memory_key"], how, "--memory-key", coded=True), decoders
            )
            of = stored.of
        elif row.sequences == "audio":
            memories = sounds(list(memory), options["memory_key"], how)
            run.detail(f"memory: {len(memories)} sounds")
        elif row.sequences or (len(rows) > 1 and of is not None and of.kind == "tokens"):
            memories = texts = sequences(list(memory), options["memory_key"], how)
            run.detail(f"memory: {sum(map(len, texts))} tokens in {len(texts)} texts")
        else:
            memories = stored = store(list(memory), options["memory_key"], how, "--memory-key", fragments=True)
        if asked.get("answer") == "label":
            asked["classes"], words = classes(list(memory), options["labels"], options["memory_key"], how)
            told = {} if words is None else {"classes": words}
        if memories is stored:
            run.detail(f"memory: {len(stored)} items of {list(stored.shape[1:])}, {stored.nbytes} bytes")
    pairs = coder if coder and coder.name == "text" else None
    own = dict(coder=pairs, history=run.history(seed=seed, **told), seed=seed)
    recall = Reconstructor(method, memory=memories, model=model, of=of, **own, **asked)

    whole: list[bool] = []
    sounding = target.form in ("wav", "flac") or (dreams and target.folder and not target.form)

    def work(batch):
        if batch.carried:
            yield recall(batch)
            return
        if batch.kind in WHOLE and not (batch.ops or batch.history or memory or whole):
            whole.append(True)
            what = f"a whole {called(batch.kind, 1)}, with no loss on record, comes back as it is"
            run.note(f"{what}; {WHOLE[batch.kind]}")
        for part in [batch] if coder is None or dreams else _encoded(batch, coder):
            back = recall(part)
            entry = back.history[-1]
            run.detail(f"{len(part)} items: {entry['method']} ({'; '.join(entry['steps']) or 'nothing to do'})")
            sounds = sounding and back.kind == "spectrum" and front(back.history)
            yield from _decoded(back, coder) if coder or sounds else [back]

    save(common.spread(run, paths, [recall.blank()] if dreams else signals, work), target, run.note, run.error)
    if speed := recall.speed():
        run.detail(speed)


def _rows(method: str, memory, model, options) -> list:
    """The rows of the methods of which one is meant; UsageError where what was written is not for them."""
    given = [name for name in written(click.get_current_context()) if name in options]
    row = METHODS[meant(method, bool(memory), model is not None)]
    if method == "auto" and (memory or model):
        from ..catalogue import LemError
        from ..reconstruct.asked import methods

        try:
            rows = [METHODS[name] for name in methods(method, memory=bool(memory), model=model, given=given)]
        except LemError as error:
            raise click.UsageError(str(error)) from error
        if memory or rows[0].family:
            return rows
    row = METHODS["net"] if model and not row.family else row  # whatever a network is asked by
    try:
        refuse(METHODS, row.name, given, "--method")
    except click.UsageError:
        if model:  # what is wrong with its file is said first: which options it takes is not known without it
            from ..nets.model import load

            load(model)
        raise
    return [row]


def _encoded(batch, coder):
    from ..catalogue import LemError
    from ..encode import encode
    from ..transforms.history import latest

    if latest(batch.history, coder.name) is not None:  # its tokens already
        return [batch]
    if batch.ops:
        raise LemError(
            "text with gaps, where --codec makes tokens of whole texts; encode it first, and break its tokens"
        )
    return encode([batch], coder)


def _decoded(batch, coder):
    from ..encode import decode

    return decode([batch], coder)


def _coder(path: str, model):
    """The byte-pair encoding of a file, or kmer:K."""
    from ..catalogue import LemError
    from ..encode import load
    from ..encode.kmers import Kmers

    if model is None:
        raise click.UsageError("--codec is for texts and a --model of lem-train lm")
    coder = Kmers.named(path, whole=True) or load(path)
    if coder.name not in ("text", "kmer"):
        raise LemError(
            f"--codec {path}: {coder.name}, where a byte-pair encoding of lem-encode --encoder text, or kmer:K, is needed"
        )
    return coder


def _nothing(files, files_from, sample, sample_name, **looks) -> bool:
    """Whether there is no input at all: none is named, and standard input is a terminal, /dev/null or closed."""
    if files or files_from or sample or sample_name:
        return False
    try:
        return stat.S_ISCHR(os.fstat(0).st_mode)
    except OSError:
        return True


def ridge(text: str) -> float | str:
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


if __name__ == "__main__":
    main()
