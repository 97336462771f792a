"""Networks that recall values: of images, spectra and embeddings, whole or themselves fragments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ...denoise.contract import Scale
from ...denoise.moments import Moments, of_channels
from ...fragment import OPERATIONS
from ...media import store
from ...media.labels import Classes
from ...media.repeat import check_apart
from ...nets import build
from ...nets.model import Model
from ...nets.parts import counted
from ...signal import LemError
from ...transforms import of
from .. import augment, objectives, sounds
from ..data import Batches, Items, Spec, View, held_out, load_items, unlike
from ..network import FRAGMENTS, blamed, card, record
from ..run import Prepared
from ..settings import Settings
from ..trainer import Trainer


def estimate(settings: Settings) -> Prepared:
    """The estimate of the whole from a fragment, in one step or in several."""
    return prepare(settings, objectives.Estimate)


def sequence(settings: Settings) -> Prepared:
    """Value by value, each from those before it."""
    return prepare(settings, objectives.Sequence)


def denoise(settings: Settings) -> Prepared:
    """The memory behind noise, with or without a fragment."""
    return prepare(settings, objectives.Denoise)


@dataclass
class Split:
    """Items to learn from, and items kept back or None; what is to be recalled of each where that is another array;
    rows: those that are learnt from."""

    learnt: Items
    kept: Items | None
    rows: np.ndarray
    pairs: Sequence | None = None
    kept_pairs: np.ndarray | None = None


def prepare(settings: Settings, objective: type[objectives.Objective]) -> Prepared:
    """Read, split, build. Raises LemError for what does not go together."""
    check_losses(settings, objective)
    check_apart(settings.data, settings.validate)
    items = items_of(settings, settings.data)
    if settings.encoder is not None and settings.target:
        raise LemError("--encoder makes what is learnt of sounds, which is then its own target: leave out --target")
    if settings.labels:
        items = replace(items, label=Classes(settings.labels).of(len(items), items.names))
    pairs = store(settings.target) if settings.target else None
    fingerprint = settings.fingerprint(items, pairs)
    if pairs is not None and len(pairs) != len(items):
        raise LemError(f"--target has {len(pairs)} items for {len(items)} of --data; they belong together one by one")
    steps = augment.parse(settings.augment)
    item = shown(settings, steps, items, pairs)
    split = _split(settings, items, pairs)
    model = _model(settings, items, pairs, item, split.rows)
    if settings.pictures and (split.kept is None or model.meta["target"]["kind"] != "image"):
        raise LemError("--pictures shows images that are kept back: give --holdout N or --validate PATH")
    if items.seen is not None and getattr(model.net, "order", None) == "raster":
        raise LemError("--order raster predicts every value in turn; to learn from fragments take --order any")
    goal = objective(model, settings.weighting)
    if settings.levels is not None:
        low, high = settings.levels if isinstance(settings.levels, list | tuple) else (settings.levels,) * 2
        if not 0 < low <= high:
            raise LemError(f"--levels {low:g}-{high:g}: A-B with 0 < A <= B, as in .001-1")
        goal.levels = low, high
    common = dict(operations=settings.operations, crop=settings.crop, extras=goal.extras)
    spec = Spec(split.learnt, settings.batch, settings.seed, augment=steps, pairs=split.pairs, **common)
    kept = None
    if split.kept is not None:
        size = min(settings.batch, len(split.kept), 64)
        kept = Spec(split.kept, size, settings.seed + 1, pairs=split.kept_pairs, **common)
    return tried(Prepared(settings, model, goal, spec, kept, fingerprint, Trainer))


def items_of(settings: Settings, paths: list[str]) -> Items:
    """The memories in files and folders; of sounds their spectra."""
    coder = sounds.coder(settings.encoder, settings.sound)
    return load_items(paths, settings.reading) if coder is None else sounds.spectra(paths, settings.reading, coder)


def tried(prepared: Prepared) -> Prepared:
    """The same, once the loss of one item was computed for every kind of fragment: what does not go together is found
    before the first step."""
    batch = [Batches(replace(one, batch=1))[0] for one in prepared.spec.each_loss()][0]
    with torch.no_grad(), blamed(prepared.model.meta["net"]["net"]):
        prepared.objective(batch)
    return prepared


def check_losses(settings: Settings, objective: type[objectives.Objective]) -> None:
    for operation in (operation for specification in settings.operations for operation in specification):
        row = OPERATIONS.find(operation["op"])
        if row.leaves == "other" and not row.masked:  # (of the other kinds it is refused by what it is for)
            raise LemError(
                f"--fragment: --{operation['op']} leaves no element of the memory; lem-train learns the other losses"
            )
    if objective.needs_fragments and not settings.operations:
        raise LemError(FRAGMENTS.format(settings.recipe))


def shown(settings: Settings, steps: augment.Steps, items: Items, pairs) -> tuple[int, ...]:
    """The shape in which items are shown, cropped and augmented."""
    if (settings.crop or steps) and (items.kind != "image" or pairs is not None or items.seen is not None):
        raise LemError("--crop and --augment are for whole images that are their own target")
    item = items.item
    if settings.crop:
        _check_crop(items, settings.crop)
        item = (item[0], settings.crop, settings.crop)
    elif any(n == 0 for n in item):
        raise LemError(
            f"{', '.join(settings.data)}: images of several sizes; give --crop, as in --crop 128, or --resize"
        )
    for name, _ in steps:
        if augment.AUGMENT[name].crops and not settings.crop:
            raise LemError(f"--augment {name} needs a --crop")
        if augment.AUGMENT[name].square and item[1] != item[2]:
            raise LemError(f"--augment {name} turns images by 90 degrees: they must be square; give --crop")
    return tuple(item)


def _check_crop(items: Items, crop: int) -> None:
    shapes = [x.shape for x in items.data] if isinstance(items.data, list) else [items.data.shape[1:]]
    _, height, width = min(shapes, key=lambda shape: min(shape[1:]))
    if min(height, width) < crop:
        raise LemError(f"an image of {width} x {height} is smaller than --crop {crop}")


def _split(settings: Settings, items: Items, pairs: np.ndarray | None) -> Split:
    """By the seed alone."""
    if settings.validate:
        return Split(items, _validation(settings, items, pairs), np.arange(len(items)))
    count = min(256, len(items) // 50) if settings.holdout is None else settings.holdout
    if not count:
        return Split(items, None, np.arange(len(items)), pairs)
    back, rows = held_out(settings.seed, len(items), count)
    learnt = items.view(rows)
    if pairs is None:
        return Split(learnt, items.take(back), rows)
    return Split(learnt, items.take(back), rows, View(pairs, rows), pairs[back])


def _validation(settings: Settings, items: Items, pairs: np.ndarray | None) -> Items:
    """The items of --validate."""
    kept = items_of(settings, settings.validate)
    if kept.front != items.front:
        raise LemError(f"--validate: {unlike(kept.front, items.front)} --data; one front end makes both")
    if kept.kind != items.kind or pairs is not None:
        raise LemError("--validate: memories of the kind of --data, which are their own target; else use --holdout")
    if settings.crop and kept.item[0] == items.item[0]:
        _check_crop(kept, settings.crop)
    elif kept.item != items.item:
        raise LemError(f"--validate: items of {list(kept.item)}, where those of --data are {list(items.item)}")
    if items.label is None:
        return kept
    label = np.full(len(kept), -1) if kept.label is None else kept.label  # no class in particular
    if label.max() > items.label.max():
        most = items.label.max()
        raise LemError(f"--validate: an item of class {label.max()}; the data have up to {most}")
    return replace(kept, label=label)


def _model(settings: Settings, items: Items, pairs, item: tuple[int, ...], rows: np.ndarray) -> Model:
    """The network, untrained. Its coordinates come from the items `rows` alone: what is kept back fits nothing."""
    kind, shape = items.kind, item
    if pairs is not None:  # (the data are one array: images of several sizes have no --target)
        kind = items.kind if pairs.ndim == items.data.ndim else "image" if pairs.ndim == 4 else "embedding"
        shape = tuple(pairs.shape[1:])
    classes = 0 if items.label is None else int(items.label.max()) + 1
    config = record(settings, items.kind, item, shape, classes=classes, conditioned=bool(settings.operations))
    torch.manual_seed(settings.seed)
    with blamed(config["net"]):
        net = build(config)
    seen = None if items.seen is None else items.seen[rows]
    front = items.front if pairs is None else None
    kept = None if front is None else counted(of(front), item[0])
    scale = Scale(*moments(View(items.data, rows), items.kind, seen, kept))
    target_scale = scale if pairs is None else Scale(*moments(View(pairs, rows), kind))
    item, shape = ((s[0], 0, 0) if settings.crop and "item" not in config else s for s in (item, shape))
    meta = card(
        settings,
        config,
        items.kind,
        item,
        target={"kind": kind, "item": list(shape)},
        fragment=settings.fragment,
        classes=getattr(net, "classes", 0),
        **({} if front is None else {"front": front}),
    )
    return Model(net, meta, scale, target_scale)


PIECE = 1 << 24  # numbers that are looked at together


def moments(data, kind: str, seen=None, kept=None) -> tuple:
    """(offset, gain) of the coordinates of such memories: images 2v - 1; embeddings less their mean, in units of their
    rms about it; spectra in units of their rms; each channel of a field less its mean, in units of its rms about it.

    kept: bool that broadcasts to an item, which parts count; None: all."""
    if kind == "image":
        return 0.5, 2.0
    rows = np.linspace(0, len(data) - 1, min(len(data), 10_000)).astype(int)
    if kind == "field":
        x = np.asarray(data[rows], np.float64)
        return tuple(v.astype(np.float32) for v in of_channels(x, None if seen is None else seen[rows]))
    item = np.shape(data[0])
    size, most = int(np.prod(item)), 0.0
    found = Moments(np.zeros(size) if kind == "spectrum" else None, full=False)
    for start in range(0, len(rows), max(1, PIECE // size)):
        part = rows[start : start + max(1, PIECE // size)]
        x = np.asarray(data[part], np.float64).reshape(len(part), -1)
        found.add(x, None if seen is None else seen[part].reshape(len(part), -1))
        most = max(most, float(np.abs(x).max()))
    mean = np.zeros(size) if kind == "spectrum" else found.mean
    weights = found.count + np.zeros(size)
    if kept is not None:
        weights = weights * np.broadcast_to(kept, item).reshape(-1)
    rms = np.sqrt(np.average(found.variance + (found.mean - mean) ** 2, weights=weights))
    gain = float(1 / rms) if rms > 1e-7 * most else 1.0  # memories that are all alike have no unit
    return 0.0 if kind == "spectrum" else mean.reshape(item).astype(np.float32), gain
