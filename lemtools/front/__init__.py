"""The library as a notebook uses it: what the commands do, for whatever is at hand.

Every function takes paths, arrays, pictures, tensors, Signals, or any number of them, and gives back a `Stream` of
Signals that is made when it is gone through.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..catalogue import LemError
from ..catalogue.encoders import ENCODERS
from ..catalogue.methods import METHODS
from ..signal import Signal, called
from .inputs import Stream, Words, signals
from .losses import known, operations, text
from .saving import save
from .table import Table
from .words import SEED, chosen, note, public, unknown, value

__all__ = ["Stream", "Table", "compare", "encode", "fit", "fragment", "load", "reconstruct", "save", "train"]


@public
def load(
    x: Any,
    *,
    kind: str | None = None,
    rate: float | None = None,
    key: str | None = None,
    resize: int | tuple[int, int] | None = None,
    grey: bool = False,
    rgb: bool = False,
    background: str | None = None,
    skip_bad: bool = False,
    **reading: Any,
) -> Stream:
    """Memories or fragments as a Stream.

    Parameters
    ----------
    x : path, array, torch tensor, Pillow image, bytes of text, Signal, or several of them
        A path is a str or Path: a file, a folder, or a pattern such as "photos/*.png".
    kind : 'image', 'audio', 'spectrum', 'embedding', 'tokens' or 'text'
        What it is, where its type and shape, or its bytes, do not say it.
    rate : of sounds [T], [C, T] or [N, C, T] and of spectra that are arrays, in Hz.
    key : which tensor, array or column of a file.
    resize : PX or (width, height) that images get; of another aspect, they are cut to it in their middle.
    grey, rgb : take the luma of colour images; give grey ones three equal channels.
    background : the colour that transparent pixels are laid on; white, if not said.
    skip_bad : leave out files that cannot be read, with a warning.
    reading : batch=8, items a batch, and max_bytes=..., as of the commands.
    """
    words = {"kind": kind, "rate": rate, "key": key, "resize": resize, "grey": grey, "rgb": rgb}
    return signals(x, Words.checked({**words, "background": background, "skip_bad": skip_bad, **reading}))


@public
def fragment(x: Any, losses: Any = None, /, *, seed: int = 0, **words: Any) -> Stream:
    """What is left of memories after bits, pixels, dimensions or time spans are taken away.

    Parameters
    ----------
    x : anything that `load` takes.
    losses : str, dict or list of dict, optional
        Options of lem-fragment, as in "--bits 3 --mask .5", or operations, as in {"op": "bits", "bits": 3}.
    words :
        In their place: bits=3, mask=.5, noise=.1, keep_dims=64, downsample=2, crop="64x64", each followed by what
        belongs to it, as in mask=.5, mask_shape="patch:8". Their order is the order of the losses; a pair (low, high) draws for each item.
    seed : int
        With an item's index it fixes every draw, whatever the batches.

    Raises
    ------
    LemError for a loss that does not suit the kind of memory, when the Stream is gone through.
    """
    from ..fragment import fragment as apply

    if losses is not None and words:
        raise LemError("give the losses as a list or as keywords, not both")
    asked, seed = operations(words if losses is None else losses), value(SEED, seed, "seed")
    if not asked:
        raise LemError("nothing to take away: give a loss, as in fragment(x, bits=3)")
    whole, entry = signals(x), _entry("fragment", seed=seed)
    return Stream(lambda: _noted(apply(whole, asked, seed), entry), f"fragments, {text(asked)}", whole.sources)


def _with_losses(signature: inspect.Signature) -> inspect.Signature:
    """The keywords of all losses in place of `words`, for help and completion."""
    *own, _ = signature.parameters.values()
    return signature.replace(
        parameters=[*own, *(inspect.Parameter(w, inspect.Parameter.KEYWORD_ONLY, default=None) for w in known())]
    )


fragment.__signature__ = _with_losses(inspect.signature(fragment))  # type: ignore[attr-defined]


@public
def reconstruct(
    x: Any,
    method: str = "auto",
    *,
    model: Any = None,
    memory: Any = None,
    lost: Any = None,
    seed: int = 0,
    **options: Any,
) -> Stream:
    """Whole memories recalled from fragments.

    Parameters
    ----------
    x : fragments, or anything that `load` takes.
    method : 'auto' chooses by what was lost; else as lem-reconstruct --method.
    model : path of a network from `train` or lem-train.
    memory : memories to recall from, whole or fragments, as `load` takes them; a lone .npy file is not copied.
    lost : what is lost of whole images, white or True in a mask: its path, or a folder with one for each by its name; an
        array [H, W]; a Pillow image; or 'alpha', what is transparent.
    options : of the method, as lem-reconstruct has them (samples=3, steps=20, device="cuda").
    """
    from ..reconstruct import Reconstructor
    from ..reconstruct.asked import methods
    from ..reconstruct.decoded import Decoded
    from .recall import classes, is_whole, lose, nature, sequences, store

    seed, entry = value(SEED, seed, "seed"), _entry("reconstruct", seed=seed)
    model = os.fspath(model) if isinstance(model, os.PathLike) else model
    of = nature(memory, options.get("memory_key"))
    given = [name for name, each in options.items() if each is not None]
    kind = "other" if of is None else of.kind
    row = METHODS[methods(method, memory=memory is not None, model=model, kind=kind, given=given)[0]]
    row = METHODS["net"] if model is not None and not row.family else row  # whatever a network is asked by
    asked = chosen(METHODS, row.name, "method", options)
    key, decoders = asked.pop("memory_key", None), asked.pop("memory_model", None)
    memories: Any = (
        sequences(memory, row.sequences, key)
        if row.sequences
        else store(memory, key, fragments=True, coded=bool(decoders))
    )
    if decoders:
        memories = Decoded(memories, decoders)
        of = memories.of
    labels = asked.pop("labels", None)
    if labels and asked.get("answer") != "label":
        raise LemError("labels is for answer='label'")
    if asked.get("answer") == "label":
        asked["classes"] = classes(memory, labels, key)
    recall = Reconstructor(method, memory=memories, model=model, of=of, history=entry, seed=seed, **asked)
    broken = lose(x, lost)

    def work() -> Iterator[Signal]:
        whole = False
        for batch in broken:
            if memory is None and not whole and is_whole(batch):
                whole = True
                image, sound = "lost=MASK or 'alpha'", "a fragment that is kept as .safetensors"
                what = f"a whole {called(batch.kind, 1)}, with no loss on record, comes back as it is"
                note(f"{what}; {image if batch.kind == 'image' else sound} says what is lost")
            yield recall(batch)

    return Stream(work, f"recalled by {recall.method}", broken.sources)


@public
def encode(x: Any, encoder: Any = None, *, decode: bool = False, lines: bool = False, **settings: Any) -> Stream:
    """Memories as embeddings, tokens or spectra; with `decode`, back.

    Parameters
    ----------
    x : anything that `load` takes.
    encoder : a name (see lem-encode), what `fit` returned, or the path of a fitted encoder. None: patches; to decode, the
        one that made the Stream x, or the one in the history.
    lines : every line of a text is a memory.
    settings : of the encoder, as in encode(x, "stft", hop=128), or encode(x, "pca", dims=8), which is fitted to x itself.
    """
    from ..encode import coder as coding
    from ..encode import fitting

    source = _lines(x) if lines else signals(x)
    coder: Any = encoder if encoder is not None else source.encoder if decode else "patches"
    if isinstance(coder, os.PathLike) or (isinstance(coder, str) and coder.endswith(".safetensors")):
        coder = fitting.load(os.fspath(coder))
    elif isinstance(coder, str):
        row = ENCODERS.find(coder)
        if lines and (decode or not row.suits("tokens")):
            raise LemError(f"lines is for encoders of text, not for {coder}" + " that decode" * decode)
        if row.of_itself and not decode:
            coder, settings = _fitted(source, coder, settings), {}
        elif row.made:
            raise LemError(f"{coder} needs {row.made.split(':')[0]}: give what fit(x, {coder!r}) returns, or a path")
        else:
            own = [option.name for option in row.options if not option.settled and not decode]
            coder, settings = row.load()(**chosen(ENCODERS, coder, "encoder", settings, own)), {}
    if settings and (name := str(getattr(coder, "name", ""))) in ENCODERS and ENCODERS[name].fitted:
        own = [option.name for option in ENCODERS[name].options if not option.settled and option.decodes == decode]
        coder, settings = coder.asked(**chosen(ENCODERS, name, "encoder", settings, own)), {}
    if settings:
        raise LemError(f"{next(iter(settings))} is for an encoder by its name" + ", where it encodes" * decode)
    if not (coder is None or hasattr(coder, "encode")):
        raise LemError(f"encoder={coder!r}: it takes a name, a path, or what fit returns")
    entry, code = _entry("encode"), coding.decode if decode else coding.encode
    what = "decoded" if decode else f"encoded by {coder.name}"
    return Stream(lambda: code(source, coder, history=entry), what, source.sources, None if decode else coder)


@public
def fit(x: Any, encoder: str, *, lines: bool = False, **settings: Any) -> Any:
    """An encoder fitted to memories, for `encode(y, encoder)` and `encode(codes, encoder, decode=True)`.

    x : anything that `load` takes; it is gone through several times. Of several spaces a dict, as in fit({"A": x, "B": y},
        "translate", common=256), and fit({"A": x}, "translate", hub=hub, add={"C": z}) for one more.
    encoder : 'pca', 'rvq', 'text' or 'translate'. lines : every line of a text is a memory. settings : of the encoder, as in
        fit(x, "pca", dims=8). Its `save(path)` keeps it.
    """
    return _fitted(x if isinstance(x, Mapping) else _lines(x) if lines else signals(x), encoder, settings)


def _fitted(source: Any, name: str, settings: dict[str, Any]) -> Any:
    from ..encode import fitting

    own = [option.name for option in ENCODERS.find(name).options if option.settled]
    inputs = "validate", "onto", "more", "onto_more", "add"
    others = {key: settings.pop(key) for key in inputs if settings.get(key) is not None}
    hub = {"hub": settings.pop("hub")} if "add" in others and settings.get("hub") is not None else {}
    taken = chosen(ENCODERS, name, "encoder", settings, own) | hub
    taken |= {key: _sources(x) for key, x in others.items()}
    return fitting.fit(name, _sources(source), **taken)[0]


def _sources(x: Any) -> Any:
    """What yields the batches of an input, or by name what yields those of each."""
    return {name: _sources(each) for name, each in x.items()} if isinstance(x, Mapping) else lambda: signals(x)


def _lines(x: Any) -> Stream:
    from ..encode.text import lines

    whole = signals(x)
    return Stream(lambda: lines(whole), repr(whole)[9:-1], whole.sources)


@public
def compare(
    original: Any,
    recalled: Any,
    metrics: str | Iterable[str] | None = None,
    *,
    by: str = "auto",
    where: str = "all",
    fragment: Any = None,
    fragments: Any = None,
    train: Any = None,
    peak: float | None = None,
    centre: bool = False,
    rdm: Any = None,
    labels: Any = None,
) -> Table:
    """How much came back: a table of means over items, each with its 95 % interval.

    Parameters
    ----------
    original, recalled : anything that `load` takes, as many items on each side.
    metrics : names of lem-compare, as in "psnr,ssim" or ["psnr"]. None: the usual ones of the kind.
    by : how items are matched: 'order', 'name', or 'auto', by order with the names checked.
    where, fragment : with where='missing', measure only what the fragment did not hold exactly.
    fragments : the same as fragment and where='missing'.
    train : the memories that a model was trained on, for nearest, memorised and mosaic. peak : range of the values.
    centre : take the mean of the originals from both sides first, of embeddings.
    labels : classes of the originals, for probe, nc1, mmcr and ami: numbers or words in their order, or a file as of lem-compare --labels.
    rdm : dissimilarities [S, N, N] or [S, sessions, N, N] of the N items by S subjects, or a npy file of them, for rsa.
    """
    from ..compare import Comparison, centred, pair
    from ..compare.subjects import subjects
    from ..media.labels import given_labels
    from .recall import nature, store

    for word, given, known_words in (("by", by, ("auto", "order", "name")), ("where", where, ("all", "missing"))):
        if given not in known_words:
            raise unknown(f"value of {word}", given, known_words)
    if fragments is not None:
        fragment, where = fragments if fragment is None else fragment, "missing"
    if (fragment is not None) != (where == "missing"):
        raise LemError("fragment=... and where='missing' go together: measured is what the fragment did not hold")
    if peak is not None and not (isinstance(peak, int | float) and 0 < peak < float("inf")):
        raise LemError(f"peak={peak!r}: it takes a number above 0")
    if metrics is not None and not isinstance(metrics, str):
        metrics = list(metrics) if isinstance(metrics, Iterable) else [metrics]
        if not all(isinstance(name, str) for name in metrics):
            raise LemError(f"metrics={metrics!r}: it takes names, as in 'psnr,ssim' or ['psnr']")
    classes = given_labels(os.fspath(labels)) if isinstance(labels, str | os.PathLike) else labels
    comparison = Comparison(metrics, peak=peak, train=store(train), rdm=subjects(rdm), classes=classes)
    kept = None if fragment is None else signals(fragment)
    pairs = pair(signals(original), signals(recalled), by, kept, nature(train))
    for both in centred(pairs) if centre else pairs:
        comparison.add(both)
    results = comparison.results()
    return Table(results, comparison.notes(results))


@public
def train(
    recipe: str,
    data: Any,
    output: str | os.PathLike[str],
    *,
    fragment: str | Mapping[str, Any] | Sequence[Any] = (),
    note: Callable[[str], None] | None = None,
    progress: Callable[[int, int, dict[str, Any]], None] | None = None,
    **settings: Any,
) -> str:
    """Train a network, or codebooks; returns the path of the model, as `reconstruct(x, model=...)` takes it.

    Parameters
    ----------
    recipe : of lem-train, as 'feedforward' or 'diffusion'.
    data : paths; or anything that `load` takes, which is kept beside the model, so that the same call resumes the run.
    output : the model's file, NAME.safetensors.
    fragment : losses to learn from: lem-fragment's options as text, or keywords, as in dict(bits=(1, 6), mask=.5); of a
        list, one is drawn for each item.
    settings : of `lemtools.train.settings.Settings`, as in steps=500, device="cpu".
    note, progress : called with lines for a person, and with (step, steps, record).
    """
    from ..train.loop import train as run
    from .training import losses_of, paths_of, settings_of

    texts, parsed = losses_of(fragment)
    made = settings_of(recipe, settings)  # before anything is written
    model = os.fspath(output)
    asked = made(data=paths_of(data, model), output=model, fragment=texts, operations=parsed)
    run(asked, note or (lambda line: None), progress or (lambda step, steps, record: None))
    return model


def _entry(tool: str, **more: Any) -> dict[str, Any]:
    """This step in the history of a batch."""
    from .. import __version__

    return {"tool": f"lemtools.{tool}", "version": __version__, **more}


def _noted(batches: Iterable[Signal], entry: dict[str, Any]) -> Iterator[Signal]:
    for batch in batches:
        batch.history = [*batch.history, entry]
        yield batch
