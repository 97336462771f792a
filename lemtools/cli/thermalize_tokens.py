"""lem-thermalize with tokens: its options, and what a frame of tokens is read, corrected and written by."""

import click

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


def of(run, codebook, codebook_key, kind, rollout, window, grid, **others):
    """(codec, windows) of the states: Codec and None for fields."""
    from ..thermalize.codec import FIELDS
    from ..thermalize.tokens import Tokens, Windows

    if codebook is None and kind in (None, "field"):
        if wrong := next((name for name in ("logits", "temperature") if others[name] is not None), None):
            raise click.UsageError(f"--{wrong} is for tokens: --codebook FILE, or --kind tokens")
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


def memory(paths, key, how, windows, codec, rows):
    """(states of the memory, what it holds in words): frames of tokens, looked up, or states that are so already."""
    from dataclasses import replace

    from ..media import store
    from ..signal import LemError

    where = ", ".join(paths)
    try:
        tokens = store(paths, key, replace(how, kind="tokens"))
    except LemError as error:
        try:
            return store(paths, key, how)
        except LemError:
            raise error from None
    try:
        return windows.of(codec.checked(tokens[:]), rows)
    except LemError as error:
        raise LemError(f"{where}: {error}") from error


def stepper(windows, thermalizer, logits, keep_margin, temperature, seed, **others):
    """What puts frames of tokens right."""
    from ..thermalize.tokens import TokenThermalizer

    given = {"logits": logits, "temperature": temperature}
    given = {name: value for name, value in given.items() if value is not None}
    return TokenThermalizer(windows, thermalizer, keep_margin=keep_margin, seed=seed, **given)


def start(data, rows, context, where):
    """The frames [C, R, P] that a rollout starts from. context: how many the emulator looks at."""
    from ..signal import LemError

    rows = rows or len(data) // context or len(data)
    if len(data) % rows or len(data) // rows < context:
        what = f"{len(data)} frames of {rows} rows side by side"
        raise LemError(
            f"{where}: {what} are no {context} frames or more to start from; --rows says how many stand side by side"
        )
    return data.reshape(-1, rows, data.shape[1])
