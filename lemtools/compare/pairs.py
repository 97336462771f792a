"""Which original belongs to which recalled item."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from ..signal import LemError, Signal, bits_per_element, stem
from ..transforms import Front
from ..transforms.history import apart, front
from .boundaries import Boundaries, boundaries
from .models import tensors


@dataclass
class Pair:
    """A batch of originals `a` and recalled items `b` of one shape (embeddings may differ in theirs), names, and the cost of `b` in bits per element.

    missing: bool, a's shape: the elements that the fragment did not hold exactly, the only ones to measure; None: all.
    converted: one side was images of 8 bits, and is in full scales as the other one is. front: what made these spectra,
    where it is known; parts that are 0 for every sound (the imaginary ones of DC and Nyquist) are taken from `a` in both.
    alive: bool, broadcastable to `a`: all but these parts; None: all. boundaries: of tokens that have times on both sides, whose
    items may differ in length, those of each item; `same` says whether their ids mean the same. centred: less the mean of the set, see `centred`. label: int64 [N], classes of
    the originals, where they have any.
    """

    kind: str
    a: np.ndarray
    b: np.ndarray
    rate: float | None
    names: list[str]
    bits: np.ndarray | None
    missing: np.ndarray | None = None
    converted: bool = False
    front: Front | None = None
    alive: np.ndarray | None = None
    boundaries: list[Boundaries] | None = None
    same: bool = True
    centred: bool = False
    label: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.a)


def pair(
    originals: Iterable[Signal],
    recalled: Iterable[Signal],
    by: str = "auto",
    fragments: Iterable[Signal] | None = None,
    trained: Signal | None = None,
) -> Iterator[Pair]:
    """Yield batches of pairs, matched by 'order' or by 'name' (without extension); 'auto' is order, with names checked.

    Of models the tensors that lost something, or changed (models.tensors).
    fragments: by order, the fragments of the originals; then only what they did not hold exactly is to be measured.
    trained: a batch of what a model was trained on, for its kind, rate and history. Raises LemError where one side has more
    items, a name has no partner, two items are of different kind or shape, and for sounds at two rates and spectra of two
    front ends, where both are known.
    """
    if by == "name":
        recalled = _by_name(originals := list(originals), recalled)
    sides = {"originals": originals, "recalled items": recalled, "fragments": fragments}
    begun = {side: _begun(signals) for side, signals in sides.items() if signals is not None}
    streams = {side: signals for side, (_, signals) in begun.items()}
    model = any(first is not None and first.part is not None for first, _ in begun.values())
    count, differ = 0, None
    for one, other, *fragment in tensors(streams) if model else _together(streams):
        done = _match(one, other, count)
        if trained is not None and trained.kind == one.kind:
            _check_alike(done.names[0], one, trained, "--train")
        if fragment:
            _check_alike(done.names[0], one, fragment[0], "its fragment")
            done.missing = _missing(fragment[0], done)
        for x, y in zip(one.names or (), other.names or ()):
            if by == "auto" and stem(x) != stem(y) and differ is None:
                differ = f"{x} is paired with {y}: match by name with --pair name, or accept this with --pair order"
        count += len(one)
        if differ and count > 1:  # a single pair may have two names
            raise LemError(differ)
        yield done
    if not count:
        raise LemError("nothing to compare")


def joined(pairs: list[Pair]) -> Pair:
    """One pair of all. The batches lose their items, so that one side is gone before the other one is joined. Of tokens with
    times, which may differ in length, only the boundaries are kept."""
    sides = {}
    if pairs[0].boundaries is not None:
        found = [each for pair in pairs for each in pair.boundaries or ()]
        names = [name for pair in pairs for name in pair.names]
        return replace(pairs[0], a=pairs[0].a[:0], b=pairs[0].b[:0], names=names, bits=None, boundaries=found)
    for side in ("a", "b"):
        batches = [getattr(pair, side) for pair in pairs]
        for pair in pairs:
            setattr(pair, side, None)
        sides[side] = np.concatenate(batches) if len(batches) > 1 else batches[0]
    labels = [pair.label for pair in pairs if pair.label is not None]
    label = np.concatenate(labels) if len(labels) == len(pairs) else None
    names = [name for pair in pairs for name in pair.names]
    return replace(pairs[0], **sides, names=names, bits=None, missing=None, label=label)


def centred(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """The same pairs of embeddings, less the mean of all originals; where widths differ, each side less its own. All are held.

    Values become float32, or stay float64. LemError for other kinds.
    """
    held = list(pairs)
    for pair in held:
        if pair.kind != "embedding":
            raise LemError(f"{pair.names[0]}: --centre is for embeddings, not {pair.kind}")
        if len({(p.a.shape[1:], p.b.shape[1:]) for p in (pair, held[0])}) > 1:
            raise LemError(f"{pair.names[0]}: --centre takes a set of items of one shape; these differ")
    count = sum(map(len, held))
    means = [sum(getattr(p, side).sum(0, dtype=np.float64) for p in held) / count for side in ("a", "b")]
    means[1] = means[0] if np.shape(means[0]) == np.shape(means[1]) else means[1]
    for pair in held:
        a, b = ((x - m).astype(np.result_type(x.dtype, np.float32)) for x, m in zip((pair.a, pair.b), means))
        yield replace(pair, a=a, b=b, centred=True)


def _begun(signals: Iterable[Signal]) -> tuple[Signal | None, Iterator[Signal]]:
    """The first batch, and all of them."""
    rest = iter(signals)
    first = next(rest, None)
    return first, rest if first is None else chain((first,), rest)


def _together(sides: dict[str, Iterator[Signal]]) -> Iterator[list[Signal]]:
    """Batches of as many items of all sides. LemError where one side has more."""
    cursors, count = {side: _Cursor(signals) for side, signals in sides.items()}, 0
    while all(here := [cursor.current() for cursor in cursors.values()]):
        n = min(left for _, left in here)
        count += n
        yield [cursor.take(n) for cursor in cursors.values()]
    for more, cursor in cursors.items():
        if cursor.current() is not None:
            raise LemError(f"{count} {'pairs' if len(sides) == 2 else 'of each'}, but there are more {more}")


class _Cursor:
    """A place in a sequence of batches."""

    def __init__(self, batches: Iterable[Signal]):
        self.batches, self.at = iter(batches), 0
        self.batch: Signal | None = None

    def current(self) -> tuple[Signal, int] | None:
        while self.batch is None or self.at >= len(self.batch):
            self.batch = next(self.batches, None)
            self.at = 0
            if self.batch is None:
                return None
        return self.batch, len(self.batch) - self.at

    def take(self, n: int) -> Signal:
        whole = self.at == 0 and n == len(self.batch)
        part = self.batch if whole else self.batch.take(slice(self.at, self.at + n))
        self.at += n
        return part


def _by_name(originals: list[Signal], recalled: Iterable[Signal]) -> Iterator[Signal]:
    found, partners = {}, []
    for batch in recalled:
        for i, name in enumerate(batch.names or ()):
            if stem(name) in found:
                raise LemError(f"{name}: two recalled items of that name")
            found[stem(name)] = (batch, i)
    for batch in originals:
        if batch.names is None:
            raise LemError("the originals have no names to pair by")
        for name in batch.names:
            if stem(name) not in found:
                raise LemError(f"{name}: no recalled item of that name, or two originals of it")
            partners.append(found.pop(stem(name)))
    if found:
        raise LemError(f"{next(iter(found))}: a recalled item without an original of that name")
    for where, i in partners:
        yield where.take([i])


def _match(a: Signal, b: Signal, at: int) -> Pair:
    name = (a.names or b.names or [f"item {at}"])[0]
    if a.kind != b.kind:
        sounds = {a.kind, b.kind} == {"audio", "spectrum"}
        way = "lem-encode --decode makes sounds of spectra" if sounds else "compare memories of one kind"
        raise LemError(f"{name}: the original is {a.kind}, the recalled {b.kind}; {way}")
    if a.ops:
        raise LemError(f"{name}: the original is itself a fragment; compare with the whole memory")
    timed = a.spans is not None, b.spans is not None
    if any(timed) and not all(timed):
        which, other = ("original", b) if timed[0] else ("recalled", a)
        file = f", {other.names[0]}," if other.names else ""
        way = "TextGrids, .lab of HTK, and tables with a first row of begin, end and label have them"
        raise LemError(f"{name}: the {which} has times, the other{file} has none; {way}")
    if a.data.shape[1:] != b.data.shape[1:] and not all(timed) and (a.kind != "embedding" or b.ops):
        way = "--resize, --grey or --rgb make images alike" if a.kind == "image" else "bring both to one shape"
        way = "recall it first with lem-reconstruct" if b.ops else way
        raise LemError(f"{name}: original {list(a.data.shape[1:])}, recalled {list(b.data.shape[1:])}; {way}")
    _check_alike(name, a, b, "recalled")
    x, y = a.data, b.data
    converted = a.kind == "image" and x.dtype != y.dtype
    if converted:  # both have a known full scale
        x, y = (v.astype(np.float32) / np.float32(255) if v.dtype == np.uint8 else v for v in (x, y))
    made, alive = front(a.history) or front(b.history) if a.kind == "spectrum" else None, None
    if made is not None and made.zero.any() and x.shape[1] % len(made.zero) == 0 and x.shape[2] == made.zero.shape[1]:
        alive = ~np.tile(made.zero, (x.shape[1] // len(made.zero), 1))[None, :, :, None]
        y = np.where(alive, y, x)  # no error where there can be no value
    names = a.names or b.names or [f"{i}" for i in range(at, at + len(a))]
    bits = bits_per_element(b) if b.ops or b.cost is not None else None
    found = boundaries(a, b) if all(timed) else None
    same = a.alphabet == b.alphabet and a.data.shape == b.data.shape
    return Pair(a.kind, x, y, a.rate, names, bits, None, converted, made, alive, found, same, label=a.label)


def _check_alike(name: str, original: Signal, other: Signal, called: str) -> None:
    """LemError for sounds at two rates, and for spectra of two front ends."""
    if differ := apart(original, other):
        way = "resample one of them" if original.kind == "audio" else "encode both alike"
        raise LemError(f"{name}: original {differ[0]}, {called} {differ[1]}; {way}")


def _missing(fragment: Signal, pair: Pair) -> np.ndarray:
    """Where a fragment did not hold the exact value: lost, quantised, or seen through noise."""
    from ..fragment.evidence import evidence

    known = evidence(fragment)
    if known.value.shape != pair.a.shape:
        shapes = f"original {list(pair.a.shape[1:])}, its fragment {list(known.value.shape[1:])}"
        raise LemError(f"{pair.names[0]}: {shapes}")
    noisy = (known.sigma > 0).reshape(-1, *[1] * (pair.a.ndim - 1))
    return ~known.observed | (known.width > 0) | noisy
