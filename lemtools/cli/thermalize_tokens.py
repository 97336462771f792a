"""lem-thermalize with tokens: its options, and what a frame of tokens is read, corrected and written by."""

import click

from ..catalogue.shared import AMONG
from . import common
from .options import chain

LOGITS = ("weigh", "sample", "expected")

options = chain(
    common.option(
        "--codebook",
        "Vectors [K, D] of tokens: a table of anybody, or an rvq model of one stage. States are then frames of tokens, "
        "which are looked up, put back as vectors, and coded again.",
        metavar="FILE",
        file=True,
    ),
    common.option("--codebook-key", "Tensor or array to read from the codebook.", metavar="NAME"),
    common.option(
        "--window",
        "Frames of tokens that a state is made of: the one that is put back, and those before it. Of --check, states of a "
        "window.",
        "whole",
        low=1,
        usual="1, and 8 for --check",
        metavar="W",
    ),
    common.option("--grid", "Width and height of a frame, for states in two directions.", "size", metavar="WxH"),
    common.option(
        "--keep-margin",
        "A place keeps its token unless its corrected vector is nearer to another code by more than that, in units of the "
        "median distance between neighbouring codes.",
        "number",
        low=0,
        usual="0, and none for weigh",
        metavar="M",
    ),
    common.option(
        "--logits",
        "What becomes of logits. weigh: their expected vectors are corrected, and tokens drawn from the probabilities weighed "
        "by how near each code is to that; sample: tokens are drawn, and these are corrected; expected: as weigh, but the "
        "nearest codes go out, also where nothing is corrected.",
        LOGITS,
        usual="weigh",
    ),
    common.option(
        "--temperature", "Of logits; at 0 the likeliest token is drawn.", "number", low=0, usual="1", metavar="T"
    ),
    *(common.option(source) for source in AMONG),
    common.option(
        "--prepare",
        "Thermalize nothing; write the windows of these frames and those of --drifted as states, clean.safetensors and "
        "drifted.safetensors in the folder --output, items of one number belong together.",
        metavar="CLEAN",
        file=True,
    ),
    common.option("--drifted", "Frames of a rollout of the same rows, for --prepare.", metavar="ROLLOUT", file=True),
    common.option(
        "--lead",
        "How many of a row's CLEAN frames stand before its first one in the ROLLOUT, for --prepare.",
        "whole",
        low=0,
        usual="0",
        metavar="C",
    ),
)


def check(memory, codebook, codebook_key, kind, window, grid, keep_margin, **others):
    """UsageError for options of tokens that do not go together."""
    if codebook is not None:
        if kind == "field":
            raise click.UsageError("--codebook and --kind field: give one of them")
        return
    if window is not None:
        raise click.UsageError("--window is for --check and for --codebook FILE")
    for name, value in (("codebook-key", codebook_key), ("grid", grid), ("keep-margin", keep_margin)):
        if value is not None:
            raise click.UsageError(f"--{name} is for tokens: --codebook FILE")
    if memory and kind not in (None, "field"):
        raise click.UsageError(f"--kind {kind} is for --check and for --codebook FILE")


def of(run, network, codebook, codebook_key, kind, rollout, window, grid, **others):
    """(codec, windows) of the states: Codec and None for fields."""
    from ..thermalize.codec import FIELDS
    from ..thermalize.tokens import Tokens, Windows

    if codebook is None and (kind == "field" or (kind is None and not (network and network.family == "frames"))):
        drawn = ("logits", "temperature", *(source.name for source in AMONG))
        if wrong := next((name for name in drawn if others[name] is not None), None):
            raise click.UsageError(f"--{wrong.replace('_', '-')} is for tokens: --codebook FILE, or --kind tokens")
        return FIELDS, None
    if codebook is None:
        return Tokens(), None
    from ..thermalize.codebook import load

    book = load(codebook, codebook_key)
    if book.twins:
        run.note(
            f"{codebook}: {book.twins} of {len(book)} codes are the same as another one; the first one of them is what goes out"
        )
    return Tokens(len(book)), Windows(book, window or 1, None if grid is None else grid[::-1])


def prepare(run, files, prepare, drifted, lead, rows, codebook, window, output, key, max_bytes, **options):
    """Write windows of clean frames and of drifted ones."""
    for name, value in (("drifted", drifted), ("codebook", codebook), ("rows", rows), ("output", output)):
        if value is None:
            raise click.UsageError(f"--prepare needs --{name}")
    if files:
        raise click.UsageError(f"{files[0]}: --prepare reads the files of --prepare and --drifted alone")
    import os

    from ..media import Target, save, store
    from ..signal import LemError
    from ..thermalize.tokens import aligned

    codec, windows = of(run, None, codebook=codebook, window=window, **options)
    how = common.how(run, kind="tokens", max_bytes=max_bytes)
    clean, other = (codec.checked(store([path], key, how)[:], f"{path}: ") for path in (prepare, drifted))
    try:
        both = aligned(clean, other, rows, windows.window, lead or 0)
        next(windows.each(both[0]))
    except LemError as error:
        raise LemError(f"{prepare}, {drifted}: {error}") from error
    os.makedirs(output, exist_ok=True)
    for frames, name in zip(both, ("clean", "drifted")):
        target = Target(os.path.join(output, f"{name}.safetensors"))
        target.refuse([], [prepare, drifted, codebook])
        save(run.progress(_documents(windows.each(frames), run.history())), target, run.note, run.error)


def _documents(steps, entry):
    """States, step by step, as what goes into one file."""
    import numpy as np

    from ..signal import Signal

    for t, states in enumerate(steps):
        place = np.arange(len(states), dtype=np.int64) + t * len(states)
        yield Signal("field", states, index=place, history=[entry])


def memory(paths, key, how, windows, codec, rows):
    """The states of the memory: frames of tokens, looked up, or what has been looked up before (--prepare)."""
    from dataclasses import replace

    from ..media import store
    from ..signal import LemError

    where = ", ".join(paths)
    try:
        frames = store(paths, key, replace(how, kind="tokens"), "--memory-key")
    except LemError as error:
        try:
            states = store(paths, key, how, "--memory-key")
        except LemError:
            raise error from None
        channels = windows.window * windows.book.dim
        if states.ndim < 3 or states.shape[1] != channels or states.dtype.kind != "f":
            wanted = f"tokens, or states of {channels} channels ({windows.window} x {windows.book.dim})"
            raise LemError(f"{where}: {wanted} are asked for ({error})") from None
        return states
    try:
        return windows.of(codec.checked(frames[:]), rows)
    except LemError as error:
        raise LemError(f"{where}: {error}") from error


def stepper(windows, thermalizer, logits, keep_margin, temperature, seed, **others):
    """What puts frames of tokens right."""
    from ..thermalize.tokens import TokenThermalizer

    given = {"logits": logits, "temperature": temperature, **{source.name: others[source.name] for source in AMONG}}
    given = {name: value for name, value in given.items() if value is not None}
    return TokenThermalizer(windows, thermalizer, keep_margin=keep_margin, seed=seed, **given)


def start(data, rows, context, where):
    """The frames [C, R, P] that a rollout starts from. context: how many the emulator looks at."""
    from ..signal import LemError

    rows = rows or len(data) / context
    if len(data) % rows or rows % 1 or len(data) < rows * context:
        what = f"{len(data)} frames, where {context} of each row are asked for"
        raise LemError(f"{where}: {what}; --rows says how many rows stand side by side")
    return data.reshape(-1, int(rows), data.shape[1])


def emulator(network, codec, start):
    """A network of lem-train frames, with the frames [C, R, P] before it."""
    from ..nets.frames import Frames
    from ..thermalize.tokens import InContext

    frames = Frames(network)
    return InContext(frames.logits, start[-frames.context :], codec.codes)
