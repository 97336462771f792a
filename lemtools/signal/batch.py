"""The one thing that travels between the tools: a batch of memories or of fragments."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, NoReturn, cast

import numpy as np

from ..catalogue import LemError
from . import spoken
from .long import Long
from .part import Part
from .show import Shown
from .spoken import Alphabet, Word

KINDS = {
    # kind: (axes that `data` may have, how many of them lead: items, and channels where there are any)
    "image": ((4,), 2),
    "audio": ((3,), 2),
    "spectrum": ((4,), 2),
    "field": ((3, 4), 2),
    "embedding": ((2, 3), 1),  # [N, D]: the dimensions; [N, L, D]: positions and dimensions
    "tokens": ((2,), 1),
}
_PLACES = cast(np.ndarray, None)  # what `index` is until it is counted
ROUNDING = 1e-5  # by how much float images may leave [0, 1]
PER_ITEM = (
    "data",
    "mask",
    "codes",
    "label",
    "index",
    "cost",
    "tokens",
    "spans",
    "scores",
)  # fields that are arrays [N, ...]
_LISTS = ("names", "words")  # fields that are lists of N
_JOINED = tuple(name for name in PER_ITEM if name != "index")


@dataclass(repr=False)
class Signal(Shown):
    """One batch of N items of one shape.

    kind   'image', 'audio', 'spectrum', 'field', 'embedding' or 'tokens'.
    data   image [N, C, H, W] uint8, or float32 with 1 as full scale; audio [N, C, T] float32, full scale 1 (one long sound
           may be a Long, for those who ask for it);
           spectrum [N, C, F, T] float32; field (states of a simulation) [N, C, L] or [N, C, H, W] float32 of any
           range, a channel a quantity; embedding [N, D] or [N, L, D] float; tokens [N, L] integer.
           In a fragment: the decoded value (middle of the bin or centroid), 0 where it is lost.
    mask   None, or bool [N, ...] that broadcasts to `data`: True observed, False lost.
    codes  None, or integers shaped like `data`: its quantised form, described by the last `bits` operation.
    ops    what was taken away, in order: dicts with `op` and all its parameters; empty for a whole memory. A value that
           is an array [N, ...] belongs to the items one by one.
    index  int64 [N]: place of each item in its whole stream; the random generators depend on it.
    cost   None, or float64 [N]: bits per element of the whole memory that the fragment this was recalled from took.
    tokens None, or the integers [N] or [N, L] that the positions of an embedding stand for.
    depth  None, or the bits that a value of `data` truly has: tokens below 2**depth travel packed, float32 of depth 16
           whose lower half is 0 as bfloat16. Where the values have more after all, they travel as they are.
    spans  None, or float64 [N, L, 2]: when each token of tokens [N, L] begins and ends, in seconds from the beginning of its
           sound, one after another; gaps between them say nothing.
    scores None, or float32 [N, L]: how well each token fits its sound; more is better.
    words  None, or the words of each item, each with its text, begin and end.
    alphabet  None, or what the ids of tokens stand for, the same for all items.
    part   None, or what of a model the batch holds; see Part.
    last   True: the stream ends here; None: not known.
    origin None, or the file that it was read from, as messages call it; it does not travel.

    Raises LemError where the fields do not fit together, for images of more than 4 channels, and, where `index` is left
    to be counted, for float images outside [0, 1]. (What the tools make of a batch may lie outside, as noisy images do.)
    """

    kind: str
    data: np.ndarray
    mask: np.ndarray | None = None
    codes: np.ndarray | None = None
    label: np.ndarray | None = None
    names: list[str] | None = None
    ops: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    rate: float | None = None
    index: np.ndarray = _PLACES
    cost: np.ndarray | None = None
    last: bool | None = None
    tokens: np.ndarray | None = None
    depth: int | None = None
    spans: np.ndarray | None = None
    scores: np.ndarray | None = None
    words: list[list[Word]] | None = None
    alphabet: Alphabet | None = None
    part: Part | None = None
    origin: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        dims, _ = KINDS.get(self.kind) or _fail(f"unknown kind {self.kind!r}; known are {', '.join(KINDS)}")
        if self.data.ndim not in dims:
            raise LemError(
                f"{self.kind} data is an array with {' or '.join(map(str, dims))} axes, not {self.data.ndim}"
            )
        if 0 in self.data.shape[1:]:
            raise LemError(f"{self.kind} items of shape {list(self.data.shape[1:])} hold nothing")
        if self.kind == "image" and self.data.shape[1] > 4:
            c, way = self.data.shape[1], "for channels that come last, data.transpose(0, 3, 1, 2)"
            raise LemError(f"images are [N, C, H, W] of 1 to 4 channels, not {c} in {list(self.data.shape)}; {way}")
        if self.index is None:  # new, not one made from another
            if self.kind == "image" and self.data.dtype.kind == "f" and self.data.size:
                _check_range(float(self.data.min()), float(self.data.max()))
            self.index = np.arange(len(self.data), dtype=np.int64)
        if self.mask is not None:
            fits = self.mask.ndim == self.data.ndim and all(
                m == d or (i > 0 and m == 1) for i, (m, d) in enumerate(zip(self.mask.shape, self.data.shape))
            )
            if not fits:
                raise LemError(f"mask {list(self.mask.shape)} does not fit data {list(self.data.shape)}")
            if self.mask.dtype != bool:  # (0 and 1 would be places, where what is observed is packed)
                raise LemError(f"a mask of {self.mask.dtype}; it is bool, True where observed: give mask.astype(bool)")
        if self.tokens is not None and not (self.kind == "embedding" and self.tokens.shape == self.data.shape[:-1]):
            raise LemError(f"token ids {list(self.tokens.shape)} do not fit {self.kind} {list(self.data.shape)}")
        spoken.check(self.kind, self.data, self.spans, self.scores, self.words, self.alphabet)
        if self.part is not None:
            self.part.check(self.kind, self.data)

    def __len__(self) -> int:
        return len(self.data)

    @property
    def spatial_axes(self) -> tuple[int, ...]:
        """Negative axes of `data` along which an item extends in space, time or dimension: where masks and crops act."""
        return tuple(range(KINDS[self.kind][1] - self.data.ndim, 0))

    @property
    def whole_shape(self) -> tuple[int, ...]:
        """Shape of one item before anything was taken away."""
        return next((tuple(op["shape"]) for op in self.ops if "shape" in op), self.data.shape[1:])

    @property
    def whole_dtype(self) -> np.dtype:
        """Type of the values before anything was taken away."""
        return np.dtype(next((op["dtype"] for op in self.ops if "dtype" in op), self.data.dtype))

    @property
    def carried(self) -> bool:
        """Whether it is a part of a model that nothing is taken from."""
        return self.part is not None and self.kind == "tokens"

    @property
    def code_op(self) -> dict[str, Any] | None:
        """The operation that `codes` belong to."""
        if self.codes is None:
            return None
        found: dict[str, Any] = next(op for op in reversed(self.ops) if op["op"] == "bits")
        return found

    def observed(self) -> np.ndarray:
        """The mask at full shape, bool like `data`."""
        mask = np.True_ if self.mask is None else self.mask
        return np.broadcast_to(mask, self.data.shape)

    def take(self, items: Any) -> "Signal":
        """The items selected by a slice or an integer array, with all that belongs to them."""
        items = np.atleast_1d(np.arange(len(self))[items])

        def pick(value: Any) -> Any:
            return value[items] if isinstance(value, np.ndarray | Long) else value

        lists: dict[str, Any] = {name: getattr(self, name) for name in _LISTS}
        lists = {name: None if each is None else [each[i] for i in items] for name, each in lists.items()}
        return replace(
            self,
            **{name: pick(getattr(self, name)) for name in PER_ITEM},
            **lists,
            ops=[{k: pick(v) for k, v in op.items()} for op in self.ops],
            last=None,
        )

    def unlike(self, other: "Signal") -> str | None:
        """What keeps two batches from being one, apart from their items; None where nothing does."""
        for name in ("kind", "rate", "depth", "alphabet", "part", "history"):
            if getattr(self, name) != getattr(other, name):
                return name
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in PER_ITEM}
        pairs |= {name: (getattr(self, name) is None, getattr(other, name) is None) for name in _LISTS}
        if [op.keys() for op in self.ops] != [op.keys() for op in other.ops]:
            return "ops"
        for i, (one, two) in enumerate(zip(self.ops, other.ops)):
            pairs |= {f"ops.{i}.{key}": (one[key], two[key]) for key in one}
        return next((name for name, (one, two) in pairs.items() if not _joins(one, two)), None)

    @classmethod
    def concat(cls, signals: Sequence["Signal"]) -> "Signal":
        """The items of several batches as one batch; those whose `index` is that of an item before are numbered anew.

        Raises LemError where anything but their items differs.
        """
        if not signals:
            raise LemError("no batches to put together")
        first, *others = signals
        for other in others:
            if (name := first.unlike(other)) is not None:
                raise LemError(f"batches that differ in {name} cannot be one; keep them apart, as in a list")
        if not others:
            return first

        def join(values: list[Any]) -> Any:
            return np.concatenate(values) if isinstance(values[0], np.ndarray) else values[0]

        lists: dict[str, Any] = {name: [getattr(signal, name) for signal in signals] for name in _LISTS}
        lists = {name: None if each[0] is None else [*chain(*each)] for name, each in lists.items()}
        return replace(
            first,
            **{name: join([getattr(s, name) for s in signals]) for name in _JOINED},
            **lists,
            ops=[{key: join([s.ops[i][key] for s in signals]) for key in op} for i, op in enumerate(first.ops)],
            index=np.concatenate(list(distinct([s.index for s in signals]))),
            last=signals[-1].last,
            origin=first.origin if len({signal.origin for signal in signals}) == 1 else None,
        )


def distinct(indices: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The places of items [N] of batches that are put together, so that each draws by itself.

    Those of a batch stay as they are unless one of them stands in a batch before; then they go on behind all of these.
    """
    before: list[np.ndarray] = []
    free = 0
    for index in indices:
        low, high = (int(index.min()), int(index.max())) if len(index) else (free, free - 1)
        if low < free and any(np.isin(index, other).any() for other in before):
            index = np.arange(free, free + len(index), dtype=np.int64)
            high = free + len(index) - 1
        free = max(free, high + 1)
        before.append(index)
        yield index


def _joins(one: Any, two: Any) -> bool:
    """Whether two values of a field can be one: arrays by type and items' shape, all else by equality."""
    if isinstance(one, np.ndarray) and isinstance(two, np.ndarray):
        return one.dtype == two.dtype and bool(one.shape[1:] == two.shape[1:])
    return type(one) is type(two) and bool(one == two)


def _check_range(low: float, high: float) -> None:
    if low < -ROUNDING or high > 1 + ROUNDING:
        way = (
            "divide by 255, or give uint8" if low >= 0 and 1.5 < high <= 255 else "divide by their full scale, or clip"
        )
        raise LemError(f"float images must lie in [0, 1], not in [{low:.4g}, {high:.4g}]; {way}")


def _fail(message: str) -> NoReturn:
    raise LemError(message)
