"""Classifiers: which class a memory is of, whole or what a fragment shows of it."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from ...denoise.contract import Scale
from ...media.labels import FOLDER, Classes, folders
from ...media.repeat import check_apart
from ...nets import build
from ...nets.model import Model, load
from ...signal import LemError
from .. import augment
from ..data import Items, Spec, View, held_out
from ..network import blamed, card, record
from ..objectives import Objective, unpacked
from ..run import Prepared
from ..settings import Settings, checksum
from ..trainer import Trainer
from . import values

TEMPERATURE = 2.0  # of a teacher's answers, so that what it holds for less likely counts


class Classify(Objective):
    """-log of the probability of the class. What is shown is the memory, or the decoded value of its fragment: middles of bins, and
    0 where it is lost, or was never seen in a memory that is a fragment itself.

    teachers: trained classifiers that are shown the same memory whole. Then half of the loss is T^2 KL(their probabilities || those
    learnt), all at temperature T, of several the mean of their probabilities (Hinton et al. 2015, arXiv 1503.02531; teachers that
    see more than the pupil: Lopez-Paz et al. 2016, arXiv 1511.03643)."""

    needs_fragments = False

    def __init__(self, model: Model, teachers: Sequence[Model] = ()):
        super().__init__(model, "plain")
        self.teachers = teachers

    def logits(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """[N, K]."""
        x = whole(batch)
        if "low" in batch:
            x = unpacked(batch["low"], batch["high"]).value if batch["low"].dtype == torch.uint8 else batch["value"]
        return _logits(self.model, x)

    @torch.no_grad()
    def taught(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """[N, K], the logarithms of the teachers' probabilities at the temperature."""
        x, each = whole(batch), []
        for teacher in self.teachers:
            teacher.net.to(self.device, memory_format=torch.channels_last)
            each.append((_logits(teacher, x) / TEMPERATURE).log_softmax(1))
        return torch.stack(each).logsumexp(0) - math.log(len(each))

    def frozen(self, batch: dict[str, torch.Tensor]) -> None:
        if self.teachers:
            self.taught(batch)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        logits = self.logits(batch)
        loss = F.cross_entropy(logits, batch["label"], reduction="none")
        if not self.teachers:
            return loss
        mine = (logits / TEMPERATURE).log_softmax(1)
        apart = F.kl_div(mine, self.taught(batch), reduction="none", log_target=True).sum(1)
        return (loss + TEMPERATURE**2 * apart) / 2

    def measure(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor | tuple[torch.Tensor, torch.Tensor]]:
        """The loss; the share of classes that are right."""
        logits = self.logits(batch)
        right = (logits.argmax(1) == batch["label"]).float()
        return {"loss": F.cross_entropy(logits, batch["label"], reduction="none"), "right": right}


def whole(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The memories of a batch, 0 where they were never seen."""
    return batch["target"] if "seen" not in batch else batch["target"] * batch["seen"]


def _logits(model: Model, x: torch.Tensor) -> torch.Tensor:
    return model.net(model.scale.encode(x if x.dtype == torch.uint8 else x.float())).float()


def classifier(settings: Settings) -> Prepared:
    """Read, split, build. Raises LemError for what does not go together."""
    values.check_losses(settings, Classify)
    check_apart(settings.data, settings.validate)
    items, names = _labelled(settings, settings.data, values.items_of(settings, settings.data))
    teachers = [_teacher(path, items, names, settings.outputs) for path in settings.teacher or ()]
    fingerprint = settings.fingerprint(items)
    if teachers:
        fingerprint["teachers"] = checksum(*(one.net.head.weight.detach().numpy() for one in teachers))
    steps = augment.parse(settings.augment)
    item = values.shown(settings, steps, items, None)
    if settings.validate:
        kept, rows = _validation(settings, items, names), np.arange(len(items))
    else:
        count = min(256, len(items) // 50) if settings.holdout is None else settings.holdout
        if count and items.names is not None and len(set(items.names)) < len(items):
            raise LemError(
                "--data: a memory comes several times, and would be learnt where it is kept back: give --validate, or --holdout 0"
            )
        back, rows = held_out(settings.seed, len(items), count) if count else ([], np.arange(len(items)))
        kept = items.take(back) if count else None
    learnt = items.view(rows) if kept is not None and not settings.validate else items
    model = _model(settings, items, item, rows, names)
    common = dict(operations=settings.operations, crop=settings.crop)
    spec = Spec(learnt, settings.batch, settings.seed, augment=steps, **common)
    back_spec = None
    if kept is not None:
        back_spec = Spec(kept, min(settings.batch, len(kept), 64), settings.seed + 1, **common)
    return values.tried(Prepared(settings, model, Classify(model, teachers), spec, back_spec, fingerprint, Trainer))


def _labelled(
    settings: Settings, paths: list[str], items: Items, names: list[str] | None = None
) -> tuple[Items, list[str]]:
    """The items of `paths` with their classes, and what these are called. names: of the classes that are known already,
    where the items are to validate on."""
    what, first = ", ".join(paths), names is None
    if settings.labels == FOLDER and not os.path.exists(FOLDER):
        words = folders(items.names, "--labels FILE")
        names = names or sorted(set(words))
        if strange := next((word for word in words if word not in names), None):
            raise LemError(f"--validate: a folder {strange}, of which --data has none")
        number = {name: i for i, name in enumerate(names)}
        items = replace(items, label=np.array([number[word] for word in words], np.int64))
    elif settings.labels:
        classes = Classes(settings.labels)
        if names and classes.table is None:
            raise LemError(
                f"--validate: {classes.path} has the classes of --data, in their order; give a table by names, or --holdout"
            )
        # (a memory may be learnt at several depths, each in a file of its own)
        items = replace(items, label=classes.of(len(items), items.names, again=True))
        names = names or classes.words
    if items.label is None:
        raise LemError(
            f"{what}: no classes; give --labels FILE[:COLUMN], or --labels {FOLDER} for those of the folders"
        )
    if (items.label < 0).any():
        raise LemError(f"{what}: an item of class {items.label.min()}; classes are numbers from 0")
    found = Counter(items.label.tolist())
    if len(found) < 2 and first:
        raise LemError(f"{what}: all items are of one class; there is nothing to tell apart, give items of two or more")
    return items, names or [str(k) for k in range(max(found) + 1)]


def _teacher(path: str, items: Items, names: list[str], outputs: Sequence[str]) -> Model:
    """A classifier of these memories and classes. LemError for another model, and for one of the outputs."""
    if os.path.realpath(path) in map(os.path.realpath, outputs):
        raise LemError(f"--teacher {path}: it is the output, too; give another -o")
    model = load(path)
    if model.family != "classify":
        raise LemError(f"--teacher {path}: a model of {model.meta['recipe']}, which tells no classes")
    model.check_fits(f"--teacher {path}: it", items.kind, items.item)
    was, here = model.meta.get("front") or {}, items.front or {}
    if apart := [name for name in {**was, **here} if was.get(name) != here.get(name)]:
        how = " and ".join(", ".join(f"{name} {one.get(name)}" for name in apart) for one in (was, here))
        raise LemError(
            f"--teacher {path}: its spectra were made otherwise than those of --data ({how}); make them alike"
        )
    known = model.meta.get("names") or [str(k) for k in range(model.meta["classes"])]
    if known != names:
        strange = next(iter(sorted({*known} ^ {*names})), None)
        which = "they are in another order" if strange is None else f"only one of the two has {strange!r}"
        raise LemError(
            f"--teacher {path}: it knows {len(known)} classes, and --data has {len(names)}; {which}. Give labels of the same "
            "classes in the same words, or another teacher"
        )
    model.net.eval()
    return model


def _validation(settings: Settings, items: Items, names: list[str]) -> Items:
    kept = values.items_of(settings, settings.validate)
    if kept.kind != items.kind or kept.front != items.front:
        raise LemError(f"--validate: {kept.kind}, where --data are {items.kind}; both of one kind and front end")
    if not settings.crop and kept.item != items.item:
        raise LemError(f"--validate: items of {list(kept.item)}, where those of --data are {list(items.item)}")
    kept, _ = _labelled(settings, settings.validate, kept, names)
    if kept.label is not None and kept.label.max() >= len(names):
        raise LemError(f"--validate: an item of class {kept.label.max()}; the data have up to {len(names) - 1}")
    return kept


def _model(settings: Settings, items: Items, item: tuple[int, ...], rows: np.ndarray, names: list[str]) -> Model:
    """The network, untrained. Its coordinates come from what is learnt from alone."""
    config = record(settings, items.kind, item, classes=len(names), rows=item[1] if items.kind == "spectrum" else 0)
    torch.manual_seed(settings.seed)
    with blamed(config["net"]):
        net = build(config)
    seen = None if items.seen is None else items.seen[rows]
    if items.kind == "spectrum":  # (a mel spectrum is far from 0)
        scale = Scale(*centred(View(items.data, rows), seen))
    else:
        scale = Scale(*values.moments(View(items.data, rows), items.kind, seen))
    if "item" not in config:  # of any size; of spectra, of any length
        item = (item[0], 0, 0) if items.kind == "image" else (*item[:2], 0)
    more = {} if items.front is None else {"front": items.front}
    target = {"kind": items.kind, "item": list(item)}
    meta = card(
        settings,
        config,
        items.kind,
        item,
        target=target,
        fragment=settings.fragment,
        classes=len(names),
        names=names,
        **more,
    )
    return Model(net, meta, scale, scale)


def centred(data: View, seen: np.ndarray | None) -> tuple[float, float]:
    """(offset, gain): less the mean of all elements that were seen, in units of their deviation."""
    rows = np.linspace(0, len(data) - 1, min(len(data), 1000)).astype(int)
    x = np.asarray(data[rows], np.float64)
    x = x if seen is None else x[np.broadcast_to(seen[rows], x.shape)]
    if not x.size:
        raise LemError("nothing of these spectra was ever seen")
    deviation = float(x.std())
    return float(x.mean()), 1 / deviation if deviation > 1e-7 * np.abs(x).max() else 1.0
