"""A translation that is learnt by steps: it begins as ridge regression, and a residual each way learns what is not linear; or
through a latent space (latent), with vectors that have no partners."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from ... import media
from ...align.pairs import FEWEST, WIDEST, Paired, check_varied, drawn
from ...encode.learned import begin
from ...encode.pairing import together, without_names
from ...nets import build
from ...nets.model import Model, load
from ...signal import LemError
from ..data import Items, Spec, held_out
from ..network import blamed, card, record
from ..objectives import Objective
from ..run import Prepared
from ..settings import Settings
from ..trainer import Trainer
from . import latent
from .values import tried

SIDES = ("--data", "--onto")


class Translation(Objective):
    """Squared error each way, in coordinates. With a reader, there: nats by which the reader's next-token probabilities are off
    (Kullback-Leibler) where it reads the translation in place of its own activations, per position.

    An item is a vector of A, or a sequence of them, its label that of B. reader: a language model and its layer, or None.
    """

    needs_fragments = False

    def __init__(self, model: Model, reader: tuple[torch.nn.Module, int] | None = None):
        super().__init__(model, "plain")
        self.reader = reader

    def frozen(self, batch: dict[str, torch.Tensor]) -> None:
        if self.reader is not None:
            self._read(batch["label"])

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return sum(self.measured(batch).values(), torch.zeros((), device=batch["target"].device))

    def measured(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """{there, back}, each [N]."""
        own = batch["label"]
        x, y = self.model.scale.encode(batch["target"].float()), self.model.target_scale.encode(own)
        made, returned = self.net.there(x), self.net.back(y)
        back = (returned - x).square().flatten(1).mean(1)
        if self.reader is None:
            return {"there": (made - y).square().flatten(1).mean(1), "back": back}
        with torch.no_grad():
            wanted = self._read(own).log_softmax(-1)
        got = self._read(self.model.target_scale.decode(made)).log_softmax(-1)
        return {
            "there": F.kl_div(got, wanted, reduction="none", log_target=True).sum(-1).flatten(1).mean(1),
            "back": back,
        }

    def measure(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor | tuple[torch.Tensor, torch.Tensor]]:
        return {"loss": self(batch), **self.measured(batch)}

    def _read(self, hidden: torch.Tensor) -> torch.Tensor:
        assert self.reader is not None
        net, layer = self.reader
        return net.to(hidden.device).resume(hidden, layer).float()


def translation(settings: Settings) -> Prepared:
    """Read, split, begin. Raises LemError for what does not go together."""
    if not settings.onto:
        raise LemError("translate learns pairs: what the data are paired with is --onto FILE, item by item")
    if settings.validate:
        raise LemError("--validate is not for translate, whose items are pairs: use --holdout")
    if _through_latent(settings):
        return _shared(settings)
    reader = _reader(settings)
    items, note = _pairs(settings, sequences=reader is not None)
    back, rows = _kept_back(settings, len(items))
    model = _model(settings, items, rows)
    goal = Translation(model, reader)
    spec = Spec(items.view(rows) if len(back) else items, settings.batch, settings.seed, [])
    kept = Spec(items.take(back), min(settings.batch, len(back), 64), settings.seed + 1, []) if len(back) else None
    return tried(Prepared(settings, model, goal, spec, kept, settings.fingerprint(items), Trainer, note=note))


def _through_latent(settings: Settings) -> bool:
    """Whether the network is the one with a latent space. LemError for options that contradict one another."""
    given = {name: getattr(settings, name) for name in ("unpaired", "more", "onto_more", "pairs", "reader")}
    flags = ["--" + name.replace("_", "-") for name, value in given.items() if value]
    if settings.unpaired and len(flags) > 1:
        raise LemError(f"{flags[1]} is for pairs; --unpaired has none")
    if bool(settings.more) != bool(settings.onto_more):
        raise LemError("--more and --onto-more go together: vectors of both sides are needed")
    loose = bool(settings.unpaired or settings.more)
    if loose and settings.arch not in (None, "latent"):
        raise LemError(f"{flags[0]} is for --arch latent, not {settings.arch}")
    if settings.reader and (loose or settings.arch == "latent"):
        raise LemError("--reader is for --arch adapter, of pairs")
    if settings.reader_layer is not None and settings.reader is None:
        raise LemError("--reader-layer is for --reader")
    return loose or settings.arch == "latent"


def _shared(settings: Settings) -> Prepared:
    """The run of a network with a latent space, which takes vectors without partners, too."""
    settings = replace(settings, arch="latent")
    known, kept = _unpaired(settings) if settings.unpaired else _partly(settings)
    model = latent.model(settings, known)
    goal = latent.Shared(model, (known.more[0].shape[1], known.more[1].shape[1]), len(known.pairs[0]) > 0)
    extras = goal.lines if "spread" in goal.used else None
    items = Items("embedding", *known.items())
    spec, held = Spec(items, settings.batch, settings.seed, [], extras=extras), None
    if kept is not None:
        rest = Items("embedding", *kept.items())
        held = Spec(rest, min(settings.batch, len(rest)), settings.seed + 1, [], extras=extras)
    return tried(Prepared(settings, model, goal, spec, held, settings.fingerprint(items), Trainer))


def _unpaired(settings: Settings) -> tuple[latent.Known, latent.Known | None]:
    """What is learnt from and what is kept back of it, of vectors without any pairs."""
    files = zip((settings.data, settings.onto or []), (settings.reading, None), SIDES, strict=True)
    sides = [_vectors(paths, of, reading=reading) for paths, reading, of in files]
    parts = [_kept_back(settings, len(side)) for side in sides]
    for (back, rows), of in zip(parts, SIDES, strict=True):
        if len(rows) < FEWEST:
            raise LemError(
                f"{of}: {len(rows)} vectors to learn from beside the {len(back)} of --holdout; without pairs {FEWEST} are needed at least"
            )
    none = sides[0][:0], sides[1][:0]
    kept, known = (latent.Known((sides[0][parts[0][i]], sides[1][parts[1][i]]), none) for i in (0, 1))
    return known, kept if len(parts[0][0]) else None


def _partly(settings: Settings) -> tuple[latent.Known, latent.Known | None]:
    """The same of pairs, and vectors without partners beside them."""
    items, _ = _pairs(settings, sequences=False)
    x, y = np.asarray(items.data), np.asarray(items.label)
    none = more = x[:0], y[:0]
    if settings.more and settings.onto_more:
        more = (
            _vectors(settings.more, "--more", x.shape[1]),
            _vectors(settings.onto_more, "--onto-more", y.shape[1]),
        )
    back, rows = _kept_back(settings, len(items))
    known = latent.Known(more, (x[rows], y[rows]))
    return known, latent.Known(none, (x[back], y[back])) if len(back) else None


def _kept_back(settings: Settings, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows to validate on, rows to learn from)."""
    tenth = min(max(1, count // 10), 4096)
    return held_out(settings.seed, count, tenth if settings.holdout is None else settings.holdout)


def _vectors(files: list[str], of: str, width: int | None = None, reading: media.Reading | None = None) -> np.ndarray:
    """Vectors [n, D], float32, whatever their names and order. LemError for fewer than 50, those of another width, and all the same."""
    batches = media.load(files, reading or media.Reading())
    rows = np.concatenate(list(without_names(batches, of))).astype(np.float32, copy=False)
    width = width or rows.shape[1]
    if not rows.shape[1] == width <= WIDEST:
        raise LemError(
            f"{of}: vectors of {rows.shape[1]} numbers, not {min(width, WIDEST)}" + " at most" * (width > WIDEST)
        )
    if len(rows) < FEWEST:
        raise LemError(f"{of}: {len(rows)} vectors; without pairs {FEWEST} are needed at least")
    check_varied(rows.mean(0, dtype=np.float64), rows.var(0, dtype=np.float64), of)
    return rows


def _pairs(settings: Settings, sequences: bool) -> tuple[Items, str | None]:
    """Vectors [N, D] with labels [N, E], or [N, L, D] and [N, L, E] of sequences that are read as such; paired by name, where both
    sides have names, else by order. Of sequences those of the greatest length: what a text ends with is shorter; and a note of it."""
    sides = {
        "--data": list(media.load(settings.data, settings.reading or media.Reading())),
        "--onto": list(media.load(settings.onto or [])),
    }
    length, note = 0, None
    if sequences:
        found = [batch.data.shape[1] if batch.data.ndim == 3 else 0 for side in sides.values() for batch in side]
        if not all(found):
            raise LemError("--reader reads sequences [N, L, D], of lem-encode --encoder activations without --flat")
        length = max(found)
        short = sum(len(batch) for batch in sides["--data"] if batch.data.shape[1] < length)
        note = f"sequences of fewer than {length} positions are left out: {short}" if short else None
        sides = {of: [batch for batch in side if batch.data.shape[1] == length] for of, side in sides.items()}
    x, y = (np.concatenate(part).astype(np.float32, copy=False) for part in zip(*together(sides), strict=True))
    if settings.pairs is not None:
        if sequences:
            raise LemError("--pairs is for vectors; a --reader reads sequences: give fewer of them")
        rows = drawn(len(x), settings.pairs, settings.seed)
        x, y = x[rows], y[rows]
    if max(x.shape[-1], y.shape[-1]) > WIDEST:
        raise LemError(f"vectors of {x.shape[-1]} and {y.shape[-1]} numbers; a translation takes {WIDEST} at most")
    if sequences:
        x, y = (side.reshape(-1, length, side.shape[-1]) for side in (x, y))
    return Items("embedding", x, y), note


def _reader(settings: Settings) -> tuple[torch.nn.Module, int] | None:
    if settings.reader is None:
        return None
    model = load(settings.reader, "cpu")
    if model.family != "language" or not hasattr(model.net, "resume"):
        raise LemError(f"--reader {settings.reader}: not a language model of lem-train lm")
    layer = model.net.depth - 1 if settings.reader_layer is None else settings.reader_layer
    if not 0 <= layer <= model.net.depth:
        raise LemError(f"--reader-layer {layer}: {settings.reader} has 0 to {model.net.depth}")
    return model.net.requires_grad_(False), layer


def _model(settings: Settings, items: Items, rows: np.ndarray) -> Model:
    """The network, as ridge regression of what is learnt from."""
    assert items.label is not None
    x, y = (side[rows].reshape(-1, side.shape[-1]) for side in (np.asarray(items.data), items.label))
    pairs = Paired.read([(x, y)], of=SIDES)
    width, onto = x.shape[1], y.shape[1]
    config = record(settings, "embedding", (width,), source=[width], onto=[onto])
    torch.manual_seed(settings.seed)
    with blamed(config["net"]):
        net = build(config)
    scales = begin(net, pairs)
    encoder = {"v": 1, "encoder": "translate", "map": "mlp", "count": pairs.count, "net": config}
    target = {"kind": "embedding", "item": config["onto"]}
    meta = card(settings, config, "embedding", [width], target=target, fragment=[], classes=0, encoder=encoder)
    return Model(net, meta, *scales)
