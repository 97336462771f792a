"""Text to learn from: one long row of tokens, its last part kept back, and windows of the rest as items.

Tokens are bytes unless an encoding that was fitted before makes others of them (`Settings.codec`): a BPE makes longer
tokens, a token autoencoder vectors of K of them, a residual quantiser the codes of those vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from .. import __version__, media
from ..device import pick
from ..encode.text import is_text
from ..encode.token_ae import TokenAE
from ..nets import build
from ..nets.lm import dial
from ..nets.model import Model
from ..signal import LemError, Signal
from .data import Items, Spec, check_apart
from .objectives import OBJECTIVES
from .recipes import RECIPES, blamed, config
from .settings import Settings

STARTS = 1 << 22  # windows begin everywhere, or, in longer texts, at as many places as this
CHUNKS = 64  # chunks a window of the token autoencoder
MOST = 1024  # windows kept back, unless told
BLOCK = 8192  # chunks that are encoded at a time


class Windows:
    """Windows of a row of tokens [n], as items: the one that begins at place stride i.

    rows: places of a window. chunk: 0: items are tokens [rows]; K: [rows, K]; with `codes` [n - K + 1, S] of the chunks
    that begin at every token, [rows, S + K], codes first.
    """

    def __init__(self, tokens: np.ndarray, rows: int, stride: int, chunk: int = 0, codes: np.ndarray | None = None):
        self.tokens, self.rows, self.stride, self.chunk, self.codes = tokens, rows, stride, chunk, codes
        self.span = rows * max(chunk, 1)

    def __len__(self) -> int:
        return max(0, (len(self.tokens) - self.span) // self.stride + 1)

    @property
    def shape(self) -> tuple[int, ...]:
        width = self.chunk + (0 if self.codes is None else self.codes.shape[1])
        return (len(self), self.rows, *((width,) if width else ()))

    def __getitem__(self, i: int) -> np.ndarray:
        start = int(i) * self.stride
        found = self.tokens[start : start + self.span]
        if not self.chunk:
            return found
        found = found.reshape(self.rows, self.chunk)
        if self.codes is None:
            return found
        return np.concatenate([self.codes[start : start + self.span : self.chunk].astype(np.int32), found], 1)


@dataclass
class Text:
    """tokens [n]: uint8 or int32, below `vocabulary`. lengths [vocabulary]: bytes of each; None: not known."""

    tokens: np.ndarray
    vocabulary: int
    lengths: np.ndarray | None

    @property
    def bytes(self) -> float:
        """Of a token, on average."""
        return 1.0 if self.lengths is None else float(self.lengths[self.tokens].mean())


def read(paths: Sequence[str], bpe=None) -> Text:
    """The text of files, one after another: bytes, or the tokens that `bpe` makes of them, or tokens as they stand, of
    which it is not known how many bytes they are.

    Raises LemError for anything but whole text or tokens.
    """
    parts, vocabulary, told = [], 256 if bpe is None else bpe.vocab, True
    for signal in media.load(paths):
        where = signal.names[0] if signal.names else ", ".join(paths)
        if signal.kind != "tokens":
            raise LemError(f"{where}: {signal.kind}, where text or tokens are learnt; encode it to tokens first")
        if signal.ops or signal.mask is not None:
            raise LemError(f"{where}: a fragment; text is learnt whole")
        known = [entry["vocab"] for entry in signal.history if isinstance(entry.get("vocab"), int)]
        if bpe is None:
            vocabulary = max(vocabulary, *known, int(signal.data.max(initial=0)) + 1)
        elif known and known[-1] != bpe.vocab:
            raise LemError(f"{where}: tokens of {known[-1]} kinds, where --codec has {bpe.vocab}; give it the text")
        told = told and is_text(signal)
        made = bpe.encode(signal) if bpe is not None and not known else [signal]
        parts += [each.data.reshape(-1) for each in made]
    whole = np.concatenate(parts)
    if int(whole.min()) < 0 or int(whole.max()) >= vocabulary:
        found = f"tokens {int(whole.min())} to {int(whole.max())}"
        raise LemError(f"{', '.join(paths)}: {found}; 0 to {vocabulary - 1} are known")
    if vocabulary == 256:
        return Text(whole.astype(np.uint8, copy=False), 256, np.ones(256) if told else None)
    return Text(whole.astype(np.int32), vocabulary, None if bpe is None else lengths(bpe))


def lengths(bpe) -> np.ndarray:
    """Bytes [V] that each token stands for."""
    each = bpe.decode(Signal("tokens", np.arange(bpe.vocab)[:, None]), {})
    return np.concatenate([np.full(len(part), part.data.shape[1]) for part in each])


@dataclass
class Codecs:
    """Encodings that were fitted before, in the order in which they apply: text.Text, TokenAE, rvq.RVQ, or None."""

    bpe: object | None = None
    ae: TokenAE | None = None
    rvq: object | None = None

    def weights(self) -> np.ndarray | None:
        """Numbers by which they are known again, on any device, [M, 1]."""
        state = {} if self.ae is None else self.ae.net.state_dict()
        parts = [tensor.cpu().flatten().float().numpy() for tensor in state.values()]
        if self.rvq is not None:
            parts += [np.asarray(tensor, np.float32).ravel() for tensor in self.rvq.tensors().values()]
        return np.concatenate(parts)[:, None] if parts else None


def codecs(paths: Sequence[str], device: str = "cpu") -> Codecs:
    """Read fitted encodings, each told by its file, to work on `device`. LemError for two of a kind or other files."""
    from .. import encode

    found = Codecs()
    for path in paths:
        coder = encode.load(path)
        name = {"token-ae": "ae", "rvq": "rvq", "text": "bpe"}.get(coder.name)
        if name is None:
            raise LemError(f"--codec {path}: {coder.name} makes neither tokens of text nor codes of their vectors")
        if getattr(found, name) is not None:
            raise LemError(f"--codec {path}: the second {coder.name}; give one of each")
        if name != "bpe":
            coder.to(device)
        setattr(found, name, coder.rvq if name == "rvq" else coder)
    if found.rvq is not None and found.ae is None:
        raise LemError("--codec: an rvq quantises vectors; give the token-ae that makes them of text, too")
    return found


def tables(rvq, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """(tables [S, C, D], origin [D]) by which the vector of codes [S] is the origin plus one row of each table.

    The rows of a table have mean 0, so that the first tables alone tell the mean over what the others may say. LemError
    for a quantiser whose vectors are no such sum (one with a gain), or of another width.
    """
    if rvq.dims != dims:
        raise LemError(f"--codec: an rvq of {rvq.dims} dimensions after a token-ae of {dims}")
    if getattr(rvq, "gains", None) is not None:
        raise LemError("--codec: the vectors of an rvq with a gain are no sums over its stages; fit one without")
    stages, codes = rvq.stages * rvq.groups, rvq.codes
    ask = np.full((1 + stages * codes, stages), codes - 1)  # (all codes 0 may stand for the zero vector)
    for s in range(stages):
        ask[1 + s * codes : 1 + (s + 1) * codes, s] = np.arange(codes)
    vectors = np.asarray(rvq.decode(ask), np.float32)
    found = (vectors[1:] - vectors[0]).reshape(stages, codes, dims)
    mean = found.mean(1, keepdims=True)
    return found - mean, vectors[0] + mean.sum((0, 1))


def chunk_codes(ae: TokenAE, rvq, tokens: np.ndarray) -> np.ndarray:
    """Codes uint16 [n - K + 1, S] of the chunks that begin at every token."""
    chunks = np.lib.stride_tricks.sliding_window_view(tokens, ae.chunk)
    starts = range(0, len(chunks), BLOCK)
    return np.concatenate([rvq.encode(ae.vectors(chunks[i : i + BLOCK])).astype(np.uint16) for i in starts])


def prepare(settings: Settings) -> tuple[Model, object, Spec, Spec | None, dict]:
    """(model, objective, spec, how what is kept back is asked for or None, frozen settings) of a run on text."""
    recipe, on = RECIPES[settings.recipe], settings.on or "tokens"
    _check(settings, on)
    check_apart(settings.data, settings.validate)
    given = codecs(settings.codec or [], pick(settings.device))
    dense = settings.recipe == "lm" and on == "dense"
    if dense and given.ae is None:
        raise LemError("--on dense: of what vectors? Give --codec AE, of lem-train token-ae, and an rvq's for codes")
    if not dense and given.ae is not None:
        raise LemError("--codec: a token-ae is for --on dense")
    text = read(settings.data, given.bpe)
    if dense and given.ae.net.vocabulary != text.vocabulary:
        known = given.ae.net.vocabulary
        raise LemError(f"--codec: a token-ae of {known} tokens, where the text has {text.vocabulary}")
    record = _record(settings, text, given)
    rows, chunk = _rows(record)
    span = rows * max(chunk, 1)
    learnt, held = _split(settings, text, span, rows, max(chunk, 1), given)
    codes = (None, None)
    if given.rvq is not None:
        tables(given.rvq, given.ae.dims)  # what it cannot be used for is told before it has coded everything
        codes = tuple(None if t is None else chunk_codes(given.ae, given.rvq, t.tokens) for t in (learnt, held))
    every = max(1, len(learnt.tokens) // STARTS)
    windows = Windows(learnt.tokens, rows, every, chunk if dense else 0, codes[0])
    if not dense:
        windows = Windows(learnt.tokens, span, every)
    torch.manual_seed(settings.seed)
    with blamed(record["net"]):
        net = build(record)
    if hasattr(net, "lengths") and text.lengths is not None:
        net.lengths[: text.vocabulary] = torch.from_numpy(text.lengths).float()
    if dense:
        _fill(net, given, learnt.tokens)
    item = list(windows.shape[1:])
    model = Model(
        net,
        {
            "v": 1,
            "tool": "lem-train",
            "version": __version__,
            "recipe": settings.recipe,
            "net": record,
            "kind": "tokens",
            "item": item,
            "target": {"kind": "tokens", "item": item},
            "fragment": [],
            "classes": 0,
            "step": 0,
            "seed": settings.seed,
            "bytes": learnt.bytes,
            "measured": text.lengths is not None,
            "card": dict(settings.card),
        },
    )
    if settings.recipe == "token-ae":
        model.meta["encoder"] = {"v": 1, "encoder": "token-ae", "net": record}
    objective = OBJECTIVES[recipe.family](model)
    common = dict(seed=settings.seed, operations=[], extras=objective.extras)
    spec = Spec(Items("tokens", windows), settings.batch, **common)
    held_spec = None
    if held is not None:
        # a window for every stretch of predicted tokens: the first row of the next is the last of this
        step = span if settings.recipe == "token-ae" else span - max(chunk, 1)
        kept = Windows(held.tokens, *((rows, step, chunk, codes[1]) if dense else (span, step)))
        common["seed"] = settings.seed + 1
        held_spec = Spec(Items("tokens", kept), min(settings.batch, len(kept), 64), **common)
    frozen = settings.frozen(Items("tokens", Windows(text.tokens, span, span)), given.weights())
    return model, objective, spec, held_spec, frozen


def _check(settings: Settings, on: str) -> None:
    for name in ("fragment", "target", "labels", "crop", "augment", "pictures", "key"):
        if getattr(settings, name):
            raise LemError(f"--{name} is not for {settings.recipe}, which learns text")
    if settings.recipe != "lm" and settings.on:
        raise LemError("--on is for lm")
    nets = {"lm": "dense-lm" if on == "dense" else "lm", "token-ae": "token-ae"}
    if settings.arch not in (None, nets[settings.recipe]):
        raise LemError(f"--arch {settings.arch} is not for {settings.recipe}; there is {nets[settings.recipe]}")


def _record(settings: Settings, text: Text, given: Codecs) -> dict:
    """The network's record, what follows from the depth written out."""
    name = settings.recipe if given.ae is None else "dense-lm"
    facts = {"vocabulary": text.vocabulary}
    if given.ae is not None:
        facts = {"codec": given.ae.config}
        if given.rvq is not None:
            facts |= {"stages": given.rvq.stages * given.rvq.groups, "codes": given.rvq.codes}
    record = config(
        settings.recipe,
        "tokens",
        (1,),
        ("tokens", (1,)),
        net=name,
        width=settings.width,
        depth=settings.depth,
        options=settings.options,
        facts=facts,
    )
    if settings.recipe == "lm":
        with blamed(name):
            record |= dial(*(record[k] for k in ("depth", "width", "heads", "context")))
        if given.ae is not None and record["context"] < given.ae.chunk:
            raise LemError(f"--context {record['context']}: a vector of the --codec takes {given.ae.chunk} tokens")
        settings.lr = settings.lr or round(RECIPES["lm"].lr * (4 / record["depth"]) ** 0.5, 6)
    settings.lr = settings.lr or RECIPES[settings.recipe].lr
    return record


def _rows(record: dict) -> tuple[int, int]:
    """(places of a window, tokens of a chunk or 0)."""
    if record["net"] == "lm":
        return record["context"] + 1, 0
    if record["net"] == "dense-lm":
        return record["context"] // record["codec"]["chunk"] + 1, record["codec"]["chunk"]
    return CHUNKS, record["chunk"]


def _split(settings: Settings, text: Text, span: int, rows: int, chunk: int, given: Codecs) -> tuple[Text, Text | None]:
    """(what is learnt from, what is kept back or None): the end of the text, a tenth of it at most, or another text."""
    tokens, held = text.tokens, None
    step = span if settings.recipe == "token-ae" else span - chunk
    if settings.validate:
        held = read(settings.validate, given.bpe).tokens
        if int(held.max()) >= text.vocabulary:
            raise LemError(f"--validate: token {int(held.max())}; --data has up to {text.vocabulary - 1}")
    elif settings.holdout != 0:
        count = min(len(tokens) // 10 // step, MOST) if settings.holdout is None else settings.holdout
        cut = len(tokens) - max(count, 1) * step - (span - step)
        if cut < span:
            kept = f"windows of {span} and --holdout {max(count, 1)}"
            raise LemError(f"a text of {len(tokens)} tokens is too short for {kept}")
        tokens, held = tokens[:cut], tokens[cut:]
    for part, name in ((tokens, "--data"), (held, "--validate")):
        if part is not None and len(part) < span:
            raise LemError(
                f"{name}: {len(part)} tokens, where a window takes {span}; give more text, or less --context"
            )
    return replace(text, tokens=tokens), None if held is None else replace(text, tokens=held)


def _fill(net, given: Codecs, tokens: np.ndarray) -> None:
    """Put the codec into the network, and the coordinates of its vectors, from what is learnt alone."""
    net.codec.load_state_dict(given.ae.net.state_dict())
    chunk = net.chunk
    starts = np.linspace(0, len(tokens) - chunk, min(4 * BLOCK, len(tokens) - chunk + 1)).astype(int)
    vectors = given.ae.vectors(tokens[starts[:, None] + np.arange(chunk)])
    net.offset.copy_(torch.from_numpy(vectors.mean(0)))
    spread = vectors.std(0)
    net.gain.copy_(torch.from_numpy(1 / np.maximum(spread, 1e-3 * spread.max() + 1e-12)))
    if given.rvq is not None:
        found, origin = tables(given.rvq, net.dims)
        net.tables.copy_(torch.from_numpy(found))
        net.origin.copy_(torch.from_numpy(origin))
