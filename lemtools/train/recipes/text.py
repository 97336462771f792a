"""Networks that learn text: token by token, vector by vector, and several tokens as one vector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from ...catalogue.embeddings import EMBEDDINGS
from ...catalogue.networks import NETWORKS
from ...catalogue.operations import QUANTISERS
from ...catalogue.thoughts import BY, CARRIES, CARRY, USUAL, WAYS, dims, spelled
from ...media.repeat import check_apart
from ...nets import build
from ...nets.lm import dial
from ...nets.model import Model
from ...signal import LemError
from .. import corpus, gates, tables, texts
from ..corpus import Codecs, Corpus, Windows
from ..data import Items, Spec
from ..joint import Joint
from ..network import blamed, card, record
from ..objectives import Objective
from ..run import Prepared, Run
from ..settings import Settings
from ..trainer import Trainer
from . import streams
from .values import tried

STARTS = 1 << 22  # windows begin everywhere, or, in longer texts, at as many places as this
CHUNKS = 64  # chunks a window of the token autoencoder
Goal = Callable[[Model], Objective]  # what makes the objective of a model
MOST = 1024  # windows kept back where --holdout does not say


def language(settings: Settings) -> Prepared:
    """The next token from those before it, or the next vector of K tokens; or the state of a task."""
    if streams.named(settings):
        return streams.streams(settings, _tokens)
    codecs = corpus.codecs(settings.codec or [], settings.device)
    if settings.on == "dense" and codecs.ae is None:
        raise LemError("--on dense: of what vectors? Give --codec AE, of lem-train token-ae, and an rvq's for codes")
    if settings.on != "dense" and codecs.ae is not None:
        raise LemError("--codec: a token-ae is for --on dense")
    text = _read(settings, codecs)
    if codecs.ae is None:
        config = _tokens(settings, vocabulary=text.vocabulary)
        table = None if settings.table is None else tables.read(settings.table, text, config["width"])
        return _prepared(settings, text, codecs, config, texts.Language, places=config["context"] + 1, table=table)
    if settings.table is not None:
        raise LemError("--table: codes of an embedding are for --on tokens")
    if settings.gates is not None:
        raise LemError("--gates: it is for --on tokens")
    known, facts = codecs.ae.net.vocabulary, {"codec": codecs.ae.config}
    if known != text.vocabulary:
        raise LemError(f"--codec: a token-ae of {known} tokens, where the text has {text.vocabulary}")
    if codecs.rvq is not None:
        facts |= {"stages": codecs.rvq.stages * codecs.rvq.groups, "codes": codecs.rvq.codes}
    config = _language(settings, "dense-lm", **facts)
    if config["context"] < codecs.ae.chunk:
        raise LemError(f"--context {config['context']}: a vector of the --codec takes {codecs.ae.chunk} tokens")
    places = config["context"] // codecs.ae.chunk + 1
    return _prepared(settings, text, codecs, config, texts.Language, places, codecs.ae.chunk)


def autoencoder(settings: Settings) -> Prepared:
    """K tokens as one vector, and back."""
    codecs = corpus.codecs(settings.codec or [], settings.device)
    if codecs.ae is not None:
        raise LemError("--codec: a token-ae is for --on dense")
    text = _read(settings, codecs)
    config = _record(settings, "token-ae", vocabulary=text.vocabulary)
    prepared = _prepared(settings, text, codecs, config, texts.Autoencode, CHUNKS * config["chunk"], overlap=0)
    prepared.model.meta["encoder"] = {"v": 1, "encoder": "token-ae", "net": config}
    return prepared


def _read(settings: Settings, codecs: Codecs) -> Corpus:
    check_apart(settings.data, settings.validate)
    text = corpus.load_corpus(settings.data, codecs.tokenizer, settings.reading)
    if not np.ptp(text.tokens):
        raise LemError(
            f"{', '.join(settings.data)}: one token {int(text.tokens[0])} all along; there is nothing to learn"
        )
    return text


def _record(settings: Settings, name: str, **facts) -> dict:
    row = NETWORKS[name]
    there = [each.name for each in NETWORKS.rows if (each.family, each.reads) == (row.family, row.reads)]
    if settings.arch not in (None, *there):
        raise LemError(f"--arch {settings.arch} is not for {settings.recipe}; there is {', '.join(there)}")
    return record(settings, "tokens", net=settings.arch or name, **facts)


def _language(settings: Settings, name: str, **facts) -> dict:
    """The network's record, what follows from the depth written out."""
    config = _record(settings, name, **facts)
    with blamed(name):
        sizes = dial(*(config.get(k) for k in ("depth", "width", "heads", "context")))
    return config | {name: size for name, size in sizes.items() if name in config}


def _tokens(settings: Settings, **facts) -> dict:
    """The record of a network that reads tokens."""
    config = _language(settings, "lm", **facts)
    return config | _embedding(settings, config) | _thoughts(settings, config)


def _embedding(settings: Settings, config: dict) -> dict:
    """How tokens become vectors, what is left open filled in. LemError for what does not go together."""
    if "embedding" not in config:  # a table, whatever learns from it
        if settings.table is not None:
            raise LemError(f"--table: codes of an embedding are for --arch lm, not {config['net']}")
        return {}
    arm = EMBEDDINGS.find(config["embedding"])
    chosen = {
        "ratio": config["ratio"] != 1,
        "table": settings.table is not None,
        **{name: config[name] is not None for name in ("coding", "code_bits", "stages", "codes")},
    }
    for name in (name for name, given in chosen.items() if given):
        if problem := EMBEDDINGS.refused(name, arm.name, "--embedding"):
            raise LemError(problem)
    most = QUANTISERS[arm.packed].most if arm.packed in QUANTISERS else 0
    if config["code_bits"] is not None and config["code_bits"] > most:
        raise LemError(f"--code-bits {config['code_bits']}: {arm.name} has up to {most}")
    coding = config["coding"] or next(iter(arm.learns))
    if coding not in arm.learns:
        raise LemError(f"--coding {coding}: that of {arm.name} is {' or '.join(arm.learns)}")
    if config["width"] % config["ratio"]:
        raise LemError(
            f"--ratio {config['ratio']}: a width of {config['width']} is no multiple of it; give another, or --width"
        )
    if arm.needs and settings.table is None:
        raise LemError(f"--embedding {arm.name}: of which table? Give --table FULL, a model of lem-train lm")
    if coding == "joint" and settings.init is not None:
        raise LemError(
            "--init: a model does not keep the encoder that --coding joint goes on with; take --coding tuned"
        )
    return {"coding": coding}


def _thoughts(settings: Settings, config: dict) -> dict:
    """How thoughts are found, what is left open filled in. LemError for what does not go together."""
    if "thoughts" not in config:
        return {}
    by, carry = config["thoughts_by"], config["thoughts_carry"]
    row, _ = spelled(CARRIES, carry, CARRY.flag)
    if not config["thoughts"]:
        for flag in (BY.flag,) * (by is not None) + (CARRY.flag,) * (row.name != "normal"):
            raise LemError(f"{flag}: of what? Give --thoughts SHARE, as in --thoughts .25")
        return {}
    dims(config["width"], config["thoughts"])
    if not row.carries:
        if by is not None:
            raise LemError(f"{BY.flag} {by}: with {CARRY.flag} {carry} there are no thoughts to find; leave it out")
        return {}
    for name, count in (("batch", settings.batch), ("holdout", settings.holdout)):
        if row.name == "shuffled" and count == 1:
            raise LemError(f"{CARRY.flag} shuffled --{name} 1: among which items? Two at least are needed")
    by = USUAL if by is None else by
    spelled(WAYS, by, BY.flag)
    return {"thoughts_by": by}


def _prepared(
    settings: Settings,
    text: Corpus,
    codecs: Codecs,
    config: dict,
    objective: Goal,
    places: int,
    chunk: int = 0,
    overlap: int = 1,
    table: torch.Tensor | None = None,
) -> Prepared:
    """A run on windows of `places` tokens, or chunks of `chunk` tokens, with its network untrained.

    overlap: places that a window to validate on shares with the next one: what a window has before it predicts. table: the
    trained one of which an embedding makes its codes.
    """
    span = places * max(chunk, 1)
    stride = span - overlap * max(chunk, 1)
    learnt, kept = _split(settings, text, codecs, span, stride)
    if codecs.rvq is not None:
        corpus.tables(codecs.rvq, codecs.ae.dims)  # raises for a quantiser of no use before it codes everything
    windows = _windows(learnt, codecs, places, max(1, len(learnt.tokens) // STARTS), chunk)
    torch.manual_seed(settings.seed)
    with blamed(config["net"]):
        net = build(config)
    if hasattr(net, "lengths") and text.lengths is not None:
        net.lengths[: text.vocabulary] = torch.from_numpy(text.lengths).float()
    measured: dict = {"bytes": learnt.bytes, "measured": text.lengths is not None, "unit": text.unit}
    measured |= {"data": learnt.digest(kept), "common": learnt.known}
    if table is not None:
        seen = torch.from_numpy(np.bincount(learnt.tokens, minlength=text.vocabulary) > 0)
        facts = EMBEDDINGS.load(config["embedding"])(net.enter, table.to(settings.device), seen)
        measured |= {"table": facts} if facts else {}
        if config["coding"] == "joint":
            objective = partial(Joint, table=table, seen=seen)
    if chunk:
        _fill(net, codecs, learnt.tokens)
    item = list(windows.shape[1:])
    target = {"kind": "tokens", "item": item}
    model = Model(net, card(settings, config, "tokens", item, target=target, fragment=[], classes=0, **measured))
    goal = objective(model)
    common = dict(operations=[], extras=goal.extras)
    spec = Spec(Items("tokens", windows), settings.batch, settings.seed, **common)
    validation = None
    if kept is not None:
        items = Items("tokens", _windows(kept, codecs, places, stride, chunk))
        validation = Spec(items, min(settings.batch, len(items), 64), settings.seed + 1, **common)
        if len(items) < 2 and config.get("thoughts_carry") == "shuffled":
            raise LemError(
                f"{CARRY.flag} shuffled: one window is kept back, where two at least are needed; see --holdout"
            )
    rows = None if table is None else table.numpy()
    fingerprint = settings.fingerprint(Items("tokens", Windows(text.tokens, span, span)), codecs.weights(), rows)
    prepared = Prepared(settings, model, goal, spec, validation, fingerprint, Trainer, _said(learnt, codecs))
    if settings.gates is not None:
        prepared.gates = partial(_passed, learnt, (validation or spec).items.data)
    return tried(prepared)


def _passed(learnt: Corpus, windows: Windows, run: Run) -> str:
    """What the gates found of a run, in a line. gates.Failed where one is not passed."""
    net = run.prepared.model.meta["net"]
    learns = EMBEDDINGS[net["embedding"]].learns[net["coding"]] if "embedding" in net else ("weight",)
    found = gates.check(gates.subject(run, learnt, windows, learns))
    return f"gates passed at step {run.step}: {found}; data {run.prepared.model.meta['data']}"


def _said(learnt: Corpus, codecs: Codecs) -> str | None:
    """What a tokenizer makes of the text that is learnt."""
    if codecs.tokenizer is None:
        return None
    often = f"{100 * learnt.known:.1f} % of them {corpus.COMMON} times or more in what is learnt"
    left = getattr(codecs.tokenizer, "left", 0)
    ends = f"; {left} bases at the ends of records make none" if left else ""
    return f"{learnt.vocabulary} tokens, {often}{ends}"


def _windows(text: Corpus, codecs: Codecs, places: int, stride: int, chunk: int) -> Windows:
    codes = None if codecs.rvq is None else corpus.chunk_codes(codecs.ae, codecs.rvq, text.tokens)
    return Windows(text.tokens, places, stride, chunk, codes)


def _split(settings: Settings, text: Corpus, codecs: Codecs, span: int, stride: int) -> tuple[Corpus, Corpus | None]:
    """(what is learnt from, what is kept back or None): the end of the text, a tenth of it at most, or another text."""
    tokens, kept = text.tokens, None
    if settings.validate:
        kept = corpus.load_corpus(settings.validate, codecs.tokenizer, settings.reading).tokens
        if int(kept.max()) >= text.vocabulary:
            raise LemError(f"--validate: token {int(kept.max())}; --data has up to {text.vocabulary - 1}")
    elif settings.holdout != 0:
        count = min(len(tokens) // 10 // stride, MOST) if settings.holdout is None else settings.holdout
        cut = len(tokens) - max(count, 1) * stride - (span - stride)
        if cut < span:
            windows = f"windows of {span} and --holdout {max(count, 1)}"
            raise LemError(
                f"a text of {len(tokens)} tokens is too short for {windows}; give more, or a smaller --context"
            )
        tokens, kept = tokens[:cut], tokens[cut:]
    for part, name in ((tokens, "--data"), (kept, "--validate")):
        if part is not None and len(part) < span:
            raise LemError(
                f"{name}: {len(part)} tokens, where a window takes {span}; give more text, or less --context"
            )
    return replace(text, tokens=tokens), None if kept is None else replace(text, tokens=kept)


def _fill(net, codecs: Codecs, tokens: np.ndarray) -> None:
    """Put the codec into the network, and the coordinates of its vectors, from what is learnt alone."""
    net.codec.load_state_dict(codecs.ae.net.state_dict())
    chunk = net.chunk
    starts = np.linspace(0, len(tokens) - chunk, min(4 * corpus.BLOCK, len(tokens) - chunk + 1)).astype(int)
    vectors = codecs.ae.vectors(tokens[starts[:, None] + np.arange(chunk)])
    net.offset.copy_(torch.from_numpy(vectors.mean(0)))
    spread = vectors.std(0)
    net.gain.copy_(torch.from_numpy(1 / np.maximum(spread, 1e-3 * spread.max() + 1e-12)))
    if codecs.rvq is not None:
        found, origin = corpus.tables(codecs.rvq, net.dims)
        net.tables.copy_(torch.from_numpy(found))
        net.origin.copy_(torch.from_numpy(origin))
