"""What a network learns from: memories, and batches of them that are a pure function of (seed, step).

Nothing depends on the number of workers, on the ranks that share a batch, or on where a run was resumed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from .. import media
from ..fragment import fragment
from ..fragment.evidence import evidence
from ..rng import generator, generators
from ..signal import LemError, Signal
from ..transforms import unlike as differing
from ..transforms.history import front as made_by
from .augment import augment
from .ring import MESSAGE, Ring, layout, most_workers

LEARNT = ("image", "spectrum", "field", "embedding")
ALIKE = {"image": " (--grey and --rgb make images alike)", "spectrum": " (lem-encode --mono makes spectra of one)"}
MOST = 12  # processes that make batches by default, at most; more have not been of use yet


@dataclass
class Items:
    """Memories to learn from.

    kind: 'image', 'spectrum', 'embedding', 'tokens' or 'audio'. data: [N, ...item], maybe of a file (stream.OnDisk), or a list of images
    [C, H, W] of several sizes; windows of a text (corpus.Windows) or of sounds (boundaries.Windows); states in a row (rollout.Stretches). label: int64 [N], or, of boundaries, float32 [N, 4] (boundaries.Learnt), of a translation what each becomes, or None. seen: bool like data where
    the memories are themselves fragments, else None: only what it marks is ever learnt from. front: of spectra, the record
    of what made them of sounds (transforms), or None. names: of the items, where all have one.
    """

    kind: str
    data: np.ndarray | list[np.ndarray]
    label: np.ndarray | None = None
    seen: np.ndarray | None = None
    front: dict | None = None
    names: list[str] | None = None

    def __len__(self) -> int:
        return len(self.data)

    @property
    def item(self) -> tuple[int, ...]:
        """Shape of one item; 0 for sides that differ."""
        if hasattr(self.data, "shape"):
            return tuple(self.data.shape[1:])
        shapes = np.array([x.shape for x in self.data])
        return tuple(int(s[0]) if (s == s[0]).all() else 0 for s in shapes.T)

    def take(self, rows: np.ndarray) -> Items:
        """Some of the items; of a file they are read."""
        return replace(self.view(rows), data=self.rows(rows))

    def rows(self, rows: np.ndarray) -> np.ndarray | list[np.ndarray]:
        """The memories of some items, read: of an array [n, ...item], else a list."""
        data = self.data.array if isinstance(self.data, View) else self.data
        return self.data[rows] if hasattr(data, "dtype") else [self.data[i] for i in rows]

    def view(self, rows: np.ndarray) -> Items:
        """Some of the items, read when they are used."""
        label, seen = (None if a is None else a[rows] for a in (self.label, self.seen))
        return Items(self.kind, View(self.data, rows), label, seen, self.front)


class View:
    """Some rows of an array, read when they are used: a store stays on disk."""

    def __init__(self, array, rows: np.ndarray):
        self.array, self.rows = array, rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.array[self.rows[i]]


def held_out(seed: int, items: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(`count` rows to validate on, rows to learn from), each ascending, by the seed alone."""
    if count >= items:
        raise LemError(f"--holdout {count} leaves nothing of {items} items to learn from")
    order = generator(seed, 0, 0, "holdout").permutation(items)
    return np.sort(order[:count]), np.sort(order[count:])


def load_items(paths: Sequence[str], how: media.Reading | None = None) -> Items:
    """The memories in files and folders. A lone .npy or safetensors file of whole memories stays on disk.

    Images of several sizes make a list. Fragments are taken as what they are: decoded values, and what of them is seen.
    Raises LemError for sound (its spectra can be learnt: sounds.spectra), tokens, several kinds or channel counts, and for
    spectra of several front ends.
    """
    if (
        len(paths) == 1
        and (signal := media.on_disk(paths[0], how and how.key, how)) is not None
        and signal.kind in LEARNT
    ):
        return Items(signal.kind, signal.data, signal.label, front=_front(signal, paths), names=signal.names)
    first, batches, fragments, front = None, [], False, None
    for signal in media.load(paths, replace(how or media.Reading(), takes=LEARNT)):
        first = first or signal
        fragments = fragments or bool(signal.ops)
        if signal.kind not in LEARNT:
            way = "give --encoder, as in --encoder stft" if signal.kind == "audio" else "lem-train learns values"
            raise LemError(f"{_name(signal, paths)}: {signal.kind} cannot be learnt from: {way}")
        there, here = first.data, signal.data
        if signal.kind != first.kind or here.shape[1] != there.shape[1] or here.ndim != there.ndim:
            way = ALIKE.get(signal.kind, "") if signal.kind == first.kind else ""
            raise LemError(
                f"{_name(signal, paths)}: {signal.kind} of shape {list(here.shape[1:])} among {first.kind} of "
                f"{list(there.shape[1:])}; train on memories of one kind and number of channels{way}"
            )
        here = _front(signal, paths)
        if signal is not first and here != front:
            way = " (lem-encode --length makes sounds as long)" if differing(here or {}, front or {}) == [] else ""
            raise LemError(
                f"{_name(signal, paths)}: {unlike(here, front)} the first; learn those of one front end{way}"
            )
        front = here
        batches.append(signal)
    label = None
    if all(s.label is not None for s in batches):
        label = np.concatenate([s.label for s in batches]).astype(np.int64)
    names = [name for s in batches for name in s.names] if all(s.names is not None for s in batches) else None
    if fragments:
        return replace(_fragments(batches, label, paths, front), names=names)
    if len({s.data.dtype for s in batches}) > 1:  # images of 8 and of more bits, say: full scale is 1 then
        for s in batches:
            s.data = s.data / np.float32(255) if s.data.dtype == np.uint8 and s.kind == "image" else s.data
    if len({s.data.shape[1:] for s in batches}) == 1:
        return Items(first.kind, np.concatenate([s.data for s in batches]), label, front=front, names=names)
    if first.kind != "image":
        raise LemError(f"{', '.join(paths)}: {first.kind} of several shapes; they must all have one")
    return Items("image", [x for s in batches for x in s.data], label, names=names)


def _front(signal: Signal, paths) -> dict | None:
    """The record of the front end that made a batch of spectra, where their history says so."""
    if signal.kind != "spectrum" or (made := made_by(signal.history)) is None:
        return None
    try:
        made.check_spectrum(np.empty((0, *signal.whole_shape), np.float32))
    except LemError as error:
        raise LemError(f"{_name(signal, paths)}: {error}") from error
    return made.record


def unlike(here: dict | None, there: dict | None) -> str:
    """How one front end differs from another, in words."""
    here, there = here or {}, there or {}
    return ", ".join(
        f"{key} {here.get(key)} where {there.get(key)} is that of" for key in differing(here, there, ())[:1]
    )


def _fragments(batches: list[Signal], label, paths, front: dict | None) -> Items:
    if len({s.whole_shape for s in batches}) > 1:
        raise LemError(f"{', '.join(paths)}: fragments of memories of several shapes; they must all have one")
    known = [evidence(s) for s in batches]
    value, seen = (np.concatenate([getattr(e, name) for e in known]) for name in ("value", "observed"))
    if batches[0].kind == "image" and all(s.whole_dtype == np.uint8 for s in batches):
        value = np.rint(value * 255).astype(np.uint8)
    return Items(batches[0].kind, value, label, seen, front)


def _name(signal: Signal, paths) -> str:
    return signal.names[0] if signal.names else ", ".join(paths)


@dataclass
class Spec:
    """How batches are made. Everything in it is fixed before the first step.

    operations: the losses, one list of lem-fragment's operations drawn for each item; empty: nothing is taken away.
    crop: side of a random crop of images, or 0. augment: (name, amount) of augment.AUGMENT, in order. extras(rng, item
    shape): what an objective draws for an item. pairs: what is to be recalled, item by item, where that is not the item
    itself.
    """

    items: Items
    batch: int
    seed: int
    operations: list[list[dict]]
    crop: int = 0
    augment: tuple[tuple[str, tuple[float, float]], ...] = ()
    extras: Callable[[np.random.Generator, tuple[int, ...]], dict] | None = None
    pairs: np.ndarray | None = None

    def each_loss(self) -> list[Spec]:
        """The same with one loss alone, for each of them."""
        return [replace(self, operations=[one]) for one in self.operations] or [self]


class Batches(torch.utils.data.Dataset):
    """Batch `step`, as a dict of tensors: the share of one rank of `world`.

    target [n, ...item] (uint8 or float32); low, high [n, ...item]: the interval of every value, uint8 where the target
    is (low > high: lost), else float32 with value, width and sigma as well; label [n]; seen; what the objective
    draws.
    """

    def __init__(self, spec: Spec, rank: int = 0, world: int = 1):
        if spec.batch % world:
            raise LemError(f"--batch {spec.batch} does not divide among {world} processes; give a multiple of {world}")
        self.spec, self.rank, self.world, self.share = spec, rank, world, spec.batch // world
        self.orders: dict[int, np.ndarray] = {}

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self.orders:
            self.orders = {k: v for k, v in self.orders.items() if k == epoch - 1}
            self.orders[epoch] = generator(self.spec.seed, epoch, 0, "epoch").permutation(len(self.spec.items))
        return self.orders[epoch]

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        spec, items = self.spec, self.spec.items
        place = step * spec.batch + self.rank * self.share + np.arange(self.share)
        rows = np.array([self._order(int(p // len(items)))[p % len(items)] for p in place])
        drawn = spec.extras or spec.operations or spec.crop or spec.augment
        draws = generators(spec.seed, place, 0, "item") if drawn else []
        whole = items.rows(rows)
        seen = None if items.seen is None else items.seen[rows]
        if spec.crop or spec.augment:
            whole = [augment(x, spec.crop, spec.augment, rng) for x, rng in zip(whole, draws)]
        data = np.stack(whole) if isinstance(whole, list) else whole
        out = {"target": data} | self._fragments(data, place, draws, seen)
        if spec.pairs is not None:
            out["target"] = spec.pairs[rows]
        elif seen is not None:
            out["seen"] = seen
        if items.label is not None:
            out["label"] = items.label[rows]
        if spec.extras is not None:
            each = [spec.extras(rng, out["target"].shape[1:]) for rng in draws]
            out |= {name: np.stack([d[name] for d in each]) for name in each[0]}
        return {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in out.items()}

    def _fragments(self, data: np.ndarray, place: np.ndarray, draws, seen) -> dict[str, np.ndarray]:
        """What is left of the items. An item's loss is drawn among the specifications."""
        spec = self.spec
        if not spec.operations:
            return {}
        which = np.array([rng.integers(len(spec.operations)) for rng in draws])
        small = data.dtype == np.uint8 and all(map(fits_bytes, spec.operations))
        out: dict[str, np.ndarray] = {}
        for k in np.unique(which):
            rows = np.flatnonzero(which == k)
            mask = None if seen is None else seen[rows]
            shown = data[rows] if mask is None else data[rows] * mask
            made = spec.items.front
            signal = Signal(
                spec.items.kind,
                shown,
                mask=mask,
                index=place[rows].astype(np.int64),
                rate=made and made.get("rate"),
                history=[made] if made else [],
            )
            (left,) = fragment([signal], spec.operations[k], spec.seed)
            for name, part in pack(left, small).items():
                out.setdefault(name, np.empty((len(data), *part.shape[1:]), part.dtype))[rows] = part
        return out

    def steps(self, first: int, last: int, workers: int | None, device: str = "cpu") -> Iterator[dict]:
        """Yield the batches of the steps from `first` to `last` on `device`, made ahead by `workers` processes.

        workers: 0: this process makes them, one by one. None: for a GPU one for every core but two, no more than shared
        memory holds the batches of; else 0.
        """
        cuda = device.startswith("cuda")
        chosen = workers is not None
        if not chosen:
            here = int(os.environ.get("LOCAL_WORLD_SIZE", self.world))  # (torchrun's) processes of this machine
            workers = min(MOST, max(_cores() // here - 2, 0)) if cuda else 0
        if workers:
            size = layout([self[first]])[1]
            several = max(1, MESSAGE // size)
            workers = workers if chosen else int(min(workers, most_workers(several * size)))
        if not workers:
            yield from ({name: part.to(device) for name, part in self[step].items()} for step in range(first, last))
            return
        yield from Ring(self, first, last, several, several * size, workers).on(device, _quiet)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quiet(worker: int) -> None:
    """Ctrl-C and a scheduler's signals are the main process's matter; and a worker needs one thread."""
    import signal

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)


def fits_bytes(operations: list[dict]) -> bool:
    """Whether all they leave of 8-bit images is exact values, lost ones, and bins of 2^k levels around the value."""
    quantizers = [op.get("quantizer") or "uniform" for op in operations if op["op"] == "bits"]
    return quantizers in ([], ["uniform"]) and all(op["op"] != "noise" for op in operations)


def pack(signal: Signal, small: bool) -> dict[str, np.ndarray]:
    """Evidence as it travels to the device: all of it, or, if small (see `fits_bytes`), two bytes an element."""
    if small and all(op["op"] in ("bits", "mask") for op in signal.ops):
        return dict(zip(("low", "high"), _bytes(signal)))  # in whole numbers, many times faster
    known = evidence(signal)
    if small:
        low, high = (np.rint(np.clip(end, 0, 1) * 255).astype(np.uint8) for end in (known.low, known.high))
        low[~known.observed], high[~known.observed] = 255, 0
        return {"low": low, "high": high}
    return {name: getattr(known, name) for name in ("value", "low", "high", "width", "sigma", "observed")}


def _bytes(signal: Signal) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) of the intervals, uint8; 255 and 0 where the value is lost."""
    if signal.codes is None:
        low = signal.data
        high = low.copy()
    else:
        bits = np.broadcast_to(np.asarray(signal.code_op["bits"], np.uint8), (len(signal),))
        rest = np.maximum(8 - bits.astype(np.int64), 0).astype(np.uint8).reshape(-1, *[1] * (signal.data.ndim - 1))
        low = np.left_shift(signal.codes.astype(np.uint8, copy=False), rest)
        high = low | (np.left_shift(np.uint16(1), rest.astype(np.uint16)) - 1).astype(np.uint8)
    if signal.mask is not None:
        seen = np.broadcast_to(signal.mask, low.shape)
        low, high = np.where(seen, low, np.uint8(255)), np.where(seen, high, np.uint8(0))
    return low, high
