"""The library as a notebook uses it: what the commands do, for whatever is at hand.

Every function takes paths, arrays, pictures, tensors, Signals, or any number of them, and gives back a `Stream` of
Signals that is made when it is gone through.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from ..catalogue import LemError
from ..catalogue.encoders import ENCODERS
from ..signal import Signal
from .inputs import Stream, signals
from .losses import Operation, operations, text
from .table import Table

__all__ = ["Stream", "Table", "compare", "encode", "fragment", "load", "reconstruct", "save", "train"]


def load(x: Any, *, kind: str | None = None, rate: float | None = None, **reading: Any) -> Stream:
    """Memories or fragments as a Stream.

    Parameters
    ----------
    x : path, array, torch tensor, Pillow image, bytes of text, Signal, or several of them
        A path is a str or Path: a file, a folder, or a pattern such as "photos/*.png".
    kind, rate : of arrays whose type and shape do not say it; sounds and spectra need their rate in Hz.
    reading : options of `lemtools.media.load`, as in batch=8 or key="embeddings".
    """
    return signals(x, kind=kind, rate=rate, **reading)


def save(x: Any, path: str | os.PathLike[str], *, to: str | None = None) -> int:
    """Write memories or fragments; returns how many.

    path : a file, its format by the extension; a folder ("out/", or a Path without extension) with a file an item; or a
        pattern ("out-%05d.png"). to : a format, in place of the extension's.
    """
    from ..media import Target
    from ..media import save as write

    batches = iter(signals(x))
    first = next(batches, None)
    if first is None:
        return 0
    name = os.fspath(path)
    if isinstance(path, PurePath) and not path.suffix and to is None and not name.endswith("/"):
        name += "/"
    return int(write(itertools.chain([first], batches), Target(name, to, own=not first.ops)))


def fragment(x: Any, losses: Sequence[Operation] | None = None, /, *, seed: int = 0, **words: Any) -> Stream:
    """What is left of memories after bits, pixels, dimensions or time spans are taken away.

    Parameters
    ----------
    x : anything that `load` takes.
    losses : list of dict, optional
        Operations, as `lemtools.fragment.fragment` takes them; or else
    words :
        bits=3, mask=.5, noise=.1, keep_dims=64, downsample=2, crop="64x64", each followed by what belongs to it, as in
        mask=.5, mask_shape="patch:8". Their order is the order of the losses; a pair (low, high) draws for each item.
    seed : int
        With an item's index it fixes every draw, whatever the batches.

    Raises
    ------
    LemError for a loss that does not suit the kind of memory, when the Stream is gone through.
    """
    from ..fragment import fragment as apply

    if losses is not None and words:
        raise LemError("give the losses as a list or as keywords, not both")
    asked = list(losses) if losses is not None else operations(words)
    if not asked:
        raise LemError("nothing to take away: give a loss, as in fragment(x, bits=3)")
    whole, entry = signals(x), _entry("fragment", seed=seed)
    return Stream(lambda: _noted(apply(whole, asked, seed), entry), f"fragments, {text(asked)}")


def reconstruct(
    x: Any, method: str = "auto", *, model: Any = None, memory: Any = None, seed: int = 0, **options: Any
) -> Stream:
    """Whole memories recalled from fragments.

    Parameters
    ----------
    x : fragments, or anything that `load` takes.
    method : 'auto' chooses by what was lost; else as lem-reconstruct --method.
    model : path of a network from `train` or lem-train.
    memory : whole memories to recall from; a lone array or .npy file is not copied.
    options : of the method, as lem-reconstruct has them (samples=3, steps=20, device="cuda").
    """
    from ..reconstruct import Reconstructor

    entry = _entry("reconstruct", seed=seed)
    model = os.fspath(model) if isinstance(model, os.PathLike) else model
    recall = Reconstructor(method, memory=_store(memory), model=model, history=entry, seed=seed, **options)
    broken = signals(x)
    return Stream(lambda: map(recall, broken), f"recalled by {recall.method}")


def encode(x: Any, encoder: Any = None, *, decode: bool = False, lines: bool = False, **settings: Any) -> Stream:
    """Memories as embeddings or tokens; with `decode`, back.

    Parameters
    ----------
    x : anything that `load` takes.
    encoder : a name (see lem-encode), the path of a fitted encoder, or an encoder of `lemtools.encode`. None: patches;
        to decode, the one in the history.
    lines : every line of a text is a memory.
    settings : of the encoder, as in encode(x, "pca", dims=8), which is fitted to x itself.
    """
    from ..encode import coder as coding
    from ..encode import fitting
    from ..encode.text import lines as each_line

    whole = signals(x)
    source = Stream(lambda: each_line(whole), repr(whole)[1:-1]) if lines else whole
    coder = encoder if encoder is not None or decode else "patches"
    if isinstance(coder, os.PathLike) or (isinstance(coder, str) and coder.endswith(".safetensors")):
        coder = fitting.load(os.fspath(coder))
    elif isinstance(coder, str):
        row = ENCODERS.find(coder)
        if row.of_itself and not decode:
            coder = fitting.fit(coder, lambda: source, **settings)[0]
        elif row.made:
            raise LemError(f"{coder} needs {row.made.split(':')[0]}: give the path of their file")
        else:
            coder = row.load()(**settings)
    entry, code = _entry("encode"), coding.decode if decode else coding.encode
    return Stream(lambda: code(source, coder, history=entry), "decoded" if decode else f"encoded by {coder.name}")


def compare(
    original: Any,
    recalled: Any,
    metrics: str | Iterable[str] | None = None,
    *,
    by: str = "auto",
    fragments: Any = None,
    train: Any = None,
    peak: float | None = None,
) -> Table:
    """How much came back: a table of means over items, each with its 95 % interval.

    Parameters
    ----------
    original, recalled : anything that `load` takes, as many items on each side.
    metrics : names of lem-compare, as in "psnr,ssim" or ["psnr"]. None: the usual ones of the kind.
    by : how items are matched: 'order', 'name', or 'auto', by order with the names checked.
    fragments : measure only what these did not hold exactly.
    train : the memories that a model was trained on, for nearest, memorised and mosaic. peak : range of the values.
    """
    from ..compare import Comparison, pair

    comparison = Comparison(metrics, peak=peak, train=_store(train))
    kept = None if fragments is None else signals(fragments)
    for both in pair(signals(original), signals(recalled), by, kept):
        comparison.add(both)
    results = comparison.results()
    return Table(results, comparison.notes(results))


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
    from ..cli.fragment import losses as parsed
    from ..train.loop import train as run
    from ..train.settings import Settings

    model = os.fspath(output)
    options = [fragment] if isinstance(fragment, str | Mapping) else list(fragment)
    texts = [option if isinstance(option, str) else text(operations(option)) for option in options]
    asked = Settings(
        recipe,
        _paths(data, model),
        model,
        fragment=texts,
        operations=[parsed(option) for option in texts],
        **settings,
    )
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


def _store(memory: Any) -> Any:
    """Memories to look up as one array; that of files may be mapped."""
    import numpy as np

    if memory is None or isinstance(memory, np.ndarray):
        return memory
    things = memory if isinstance(memory, list | tuple) else [memory]
    if all(isinstance(thing, str | os.PathLike) for thing in things):
        from ..media import store

        return store([os.fspath(thing) for thing in things])
    return signals(memory).numpy()


def _paths(data: Any, model: str) -> list[str]:
    """Files to learn from; of what is none, a file beside the model."""
    things = data if isinstance(data, list | tuple) else [data]
    if all(isinstance(thing, str | os.PathLike) for thing in things):
        return [os.fspath(thing) for thing in things]
    path = f"{model.removesuffix('.safetensors')}.data.safetensors"
    save(data, path)
    return [path]
