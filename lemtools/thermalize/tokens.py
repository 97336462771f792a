"""Tokens through a thermalizer: frames are looked up in a codebook, put right as states, and coded again.

Shapes: R rows of P places; K codes of D numbers; W frames a window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ..nets.draw import draw, likely
from ..rng import generators
from ..signal import LemError, Signal
from .codebook import CELLS, NEVER, Codebook, log_softmax
from .codec import Codec
from .loop import Thermalizer
from .step import ACTIONS, Step

LOGITS = ("weigh", "sample", "expected")


class Windows:
    """Between frames of tokens [R, P] and states float32 [R, W D, P], or [R, W D, H, W] where the places have a `grid` (H, W):
    the vectors of W frames one upon the other as channels, the newest one last."""

    def __init__(self, book: Codebook, window: int = 1, grid: tuple[int, int] | None = None):
        if window < 1:
            raise LemError(f"--window {window}: a state is one frame or more")
        self.book, self.window, self.grid = book, window, grid

    def states(self, frames: list[torch.Tensor]) -> np.ndarray:
        """States of W frames of vectors, each float64 [R, P, D], the oldest first."""
        rows, places, _ = frames[0].shape
        x = torch.cat(frames, 2).transpose(1, 2).float().contiguous()
        return x.reshape(rows, -1, *self._extent(places)).numpy()

    def newest(self, states: np.ndarray) -> torch.Tensor:
        """The vectors of the last frame, float64 [R, P, D]."""
        x = torch.from_numpy(states).reshape(*states.shape[:2], -1)[:, -self.book.dim :]
        return x.transpose(1, 2).double()

    def of(self, tokens: np.ndarray, rows: int) -> np.ndarray:
        """The states of all windows of frames [T R, P] of R rows side by side: item t R + r ends with row r's frame t + W - 1."""
        steps = len(tokens) // rows
        if len(tokens) % rows or steps < self.window:
            raise LemError(
                f"{len(tokens)} frames of {rows} rows side by side are no window of {self.window} frames; --rows says how many stand side by side"
            )
        frames = tokens.reshape(steps, rows, -1)
        each = steps - self.window + 1
        return self.states(
            [self.book.vectors(frames[k : k + each].reshape(each * rows, -1)) for k in range(self.window)]
        )

    def each(self, frames: np.ndarray) -> Iterator[np.ndarray]:
        """The states of all windows of frames [T, R, P], those of all rows that end at one step after another."""
        for end in range(self.window, len(frames) + 1):
            yield self.states([self.book.vectors(frame) for frame in frames[end - self.window : end]])

    def _extent(self, places: int) -> tuple[int, ...]:
        if self.grid is None:
            return (places,)
        if self.grid[0] * self.grid[1] != places:
            raise LemError(f"--grid {'x'.join(map(str, self.grid[::-1]))}: a frame has {places} places")
        return self.grid


def aligned(
    clean: np.ndarray, drifted: np.ndarray, rows: int, window: int, lead: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Clean frames [T R, P] of R rows side by side, and drifted ones, as frames [S, R, P] of the same steps.

    lead: how many clean frames of a row stand before its first drifted one, which they are put in front of, too. Both end where
    either does. LemError for other rows or places, and for fewer steps than a window of so many frames.
    """
    if clean.shape[1] != drifted.shape[1]:
        raise LemError(f"frames of {clean.shape[1]} places, and drifted ones of {drifted.shape[1]}")
    if uneven := [x for x in (clean, drifted) if len(x) % rows]:
        raise LemError(f"{len(uneven[0])} frames are no whole number of steps of {rows} rows side by side")
    one, other = (x.reshape(-1, rows, x.shape[1]) for x in (clean, drifted))
    if len(one) < lead:
        raise LemError(f"--lead {lead}, where each row has {len(one)} clean frames")
    other = np.concatenate([one[:lead], other])
    steps = min(len(one), len(other))
    if steps < window:
        raise LemError(f"{steps} steps that both have are no window of {window} frames")
    return one[:steps], other[:steps]


class Tokens(Codec):
    """Frames of tokens, integers [R, P], and logits of them, float [R, P, K]. codes: K; None: not known."""

    kind, thing, whole = "tokens", "frames", True

    def __init__(self, codes: int | None = None):
        self.codes = codes

    def taken(self, signal: Signal, where: str) -> Signal:
        if signal.kind not in ("tokens", "embedding", "field") or (signal.kind != "tokens" and signal.data.ndim != 3):
            raise LemError(
                f"{where}: {signal.kind} {list(signal.data.shape)}, neither tokens [R, P] nor logits [R, P, K]"
            )
        return replace(signal, data=self.checked(signal.data, f"{where}: ", signal.index))

    def check(self, data: np.ndarray, thermalizer: Any, where: str) -> None:
        self.checked(data, f"{where}: ")

    def made(self, array: np.ndarray) -> Signal:
        if array.dtype.kind in "iu":
            return Signal("tokens", array.reshape(len(array), -1))
        return Signal("embedding", array.reshape(len(array), -1, array.shape[-1]))

    def state(self, x: Any) -> np.ndarray:
        return np.ascontiguousarray(x)

    def claimed(self, answer: Any, shown: np.ndarray, who: str = "") -> np.ndarray:
        data = np.asarray(answer)
        whole = data.dtype.kind in "iu"
        if data.shape[: 2 if data.ndim > 2 else None] != shown.shape or data.ndim != (2 if whole else 3):
            what = f"{'tokens' if whole else 'logits'} {list(data.shape)} to frames {list(shown.shape)}"
            raise LemError(f"{who}answered {what}; tokens are [R, P], logits [R, P, K]")
        return self.checked(data, f"{who}answered ")

    def checked(self, data: np.ndarray, before: str = "", index: np.ndarray | None = None) -> np.ndarray:
        """Tokens or logits, which LemError refuses where the codebook has no such code, or others. index: numbers of the items."""
        if data.dtype.kind == "f":
            if self.codes is not None and data.shape[2] != self.codes:
                raise LemError(f"{before}logits of {data.shape[2]} codes, where the codebook has {self.codes}")
            return data
        if self.codes is not None and data.size and not (data.min() >= 0 and data.max() < self.codes):
            item = int(np.flatnonzero(((data < 0) | (data >= self.codes)).any(1))[0])
            worst = data[item][(data[item] < 0) | (data[item] >= self.codes)][0]
            raise LemError(
                f"{before}token {worst} in item {item if index is None else index[item]}; the codebook has 0 to {self.codes - 1}"
            )
        if self.codes is not None and self.codes - 1 > np.iinfo(data.dtype).max:
            raise LemError(f"{before}tokens of {data.dtype}, too small for {self.codes} codes; store them as int32")
        return data

    def alive(self, x: np.ndarray) -> np.ndarray:
        if x.dtype.kind != "f":
            return np.ones(len(x), bool)
        most = x.max(2)
        return (np.isfinite(most) & ~np.isnan(x).any(2)).all(1)

    def dead(self, x: np.ndarray, alive: np.ndarray) -> np.ndarray:
        return super().dead(x, alive) if x.dtype.kind == "f" else x


class TokenThermalizer:
    """Frames of tokens in, frames of tokens out: `step` as of a Thermalizer.

    windows: how frames become states, the states of `thermalizer`. It judges and corrects the window that ends with the
    claimed frame, those before it as they went out; what goes out is the window's last frame, each place with the code that is
    nearest to its corrected vector. Until there are W frames, and without a thermalizer, all stays as it is claimed.

    A frame may be claimed by its logits [R, P, K], at `temperature` (0: the likeliest), of those tokens that `top`, `top_p` and
    `typical` leave (nets.draw.likely; None: all). logits:

    - sample    tokens are drawn, and these are claimed
    - expected  the vectors sum_k p_k e_k are claimed; where nothing is corrected their nearest codes go out
    - weigh     these are claimed, too; of a row that is not corrected the tokens are drawn from p, as in `sample` and by the
                same draws; of one that is, from p weighed by how near the codes are to the corrected vector (Codebook.weighed)

    keep_margin: a place keeps the token that it would have uncorrected unless its corrected vector is nearer to the new one by
    more than that, distance against distance, in units of the codebook's median distance between neighbours (None: always
    the new one, of those that are as near its own).

    A row without usable logits is dead: it repeats its last frame. Draws belong to (seed, row, step).
    Step.more: flips [R], the share of places changed against what would have gone out uncorrected; margin [R], the median over
    the places of how much farther than the nearest code the second one is, in the same units.
    """

    def __init__(
        self,
        windows: Windows | None,
        thermalizer: Thermalizer | None = None,
        *,
        logits: str = LOGITS[0],
        keep_margin: float | None = None,
        temperature: float = 1.0,
        top: int | None = None,
        top_p: float | None = None,
        typical: float | None = None,
        seed: int = 0,
    ):
        if logits not in LOGITS:
            raise LemError(f"no way {logits!r} with logits; there are {', '.join(LOGITS)}")
        if windows is None and (thermalizer is not None or logits == "expected"):
            raise LemError("tokens are corrected, or expected, by their vectors: --codebook FILE")
        if not temperature >= 0 or (keep_margin is not None and not keep_margin >= 0):
            raise LemError("a temperature and a margin are 0 or more")
        self.windows, self.thermalizer, self.logits = windows, thermalizer, logits
        self.margin, self.temperature, self.seed = keep_margin, temperature, seed
        self.among = (top, top_p, typical)
        self.reset()

    def reset(self) -> None:
        """Forget the rows: the next frames are the first of theirs."""
        self.steps = 0
        self.before: deque[torch.Tensor] = deque(maxlen=self.windows.window if self.windows else 0)
        if self.thermalizer is not None:
            self.thermalizer.reset()

    def begin(self, frames: np.ndarray) -> None:
        """The frames [C, R, P] that come before the first step."""
        self.reset()
        if self.windows:
            self.before.extend(self.windows.book.vectors(frame) for frame in frames)

    def step(self, state: np.ndarray, previous: np.ndarray | None = None) -> Step:
        """state: tokens [R, P] or logits [R, P, K]. previous: the frame before, None at the first."""
        if previous is None:
            self.begin(np.zeros((0, *state.shape[:2]), np.int64))
        elif self.windows is not None and not self.before:
            self.begin(previous[None])
        claim = self._claim(state)
        tokens, alive, more = claim.tokens.clone(), claim.alive, {}
        done = _untouched(state)
        if self.windows is not None:
            x = claim.vectors
            if self.thermalizer is not None and len(self.before) >= self.windows.window - 1:
                done = self._thermalized(claim)
                moved = torch.from_numpy(alive & ((done.displacement if claim.log_p is None else done.calls) > 0))
                x = torch.where(moved[:, None, None], self.windows.newest(done.state), x)
                if bool(moved.any()):
                    tokens[moved] = self._coded(claim, x, moved)
            near = self.windows.book.nearest(x.flatten(0, 1))[1].reshape(*tokens.shape, 2)
            margin = np.median(near[..., 1] - near[..., 0], 1) / self.windows.book.unit
            more["margin"] = np.where(alive, margin, np.nan)
        more["flips"] = np.where(alive, (tokens != claim.tokens).double().mean(1).numpy(), 0.0)
        out = self._typed(tokens.numpy(), alive, state, previous)
        if self.windows is not None:
            self.before.append(self.windows.book.vectors(out))
        self.steps += 1
        return done._replace(state=out, action=np.where(alive, done.action, ACTIONS[3]), more={**done.more, **more})

    def _claim(self, state: np.ndarray) -> Claim:
        """What a frame says before anything is corrected; its dead rows with the tokens 0."""
        book = self.windows.book if self.windows is not None else None
        if state.dtype.kind != "f":
            tokens = torch.from_numpy(state.astype(np.int64))
            return Claim(tokens, book.vectors(state) if book else None, np.ones(len(state), bool))
        alive = Tokens().alive(state)
        usable = np.where(alive[:, None, None], state, 0)
        log_p = torch.from_numpy(log_softmax(usable, self.temperature))
        if any(self.among):
            log_p = likely(log_p, 1.0, *self.among).log().clamp(min=NEVER)
        if self.logits == "expected" and book:
            vectors = book.expected(log_p.flatten(0, 1)).reshape(*log_p.shape[:2], -1)
            return Claim(book.nearest(vectors.flatten(0, 1))[0][:, 0].reshape(log_p.shape[:2]), vectors, alive)
        tokens = self._drawn(log_p, np.arange(len(state)))
        if book is None or self.logits == "sample":
            return Claim(tokens, book.table[tokens] if book else None, alive)
        vectors = book.expected(log_p.flatten(0, 1)).reshape(*log_p.shape[:2], -1)
        return Claim(tokens, vectors, alive, log_p)

    def _thermalized(self, claim: Claim) -> Step:
        """The step of the windows that end with the claimed vectors."""
        assert self.windows is not None and self.thermalizer is not None
        frames, window = list(self.before), self.windows.window
        now = torch.where(torch.from_numpy(claim.alive)[:, None, None], claim.vectors, torch.nan)
        state = self.windows.states([*frames[len(frames) - window + 1 :], now])
        return self.thermalizer.step(state, self.windows.states(frames) if len(frames) == window else None)

    def _drawn(self, log_p: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
        """Tokens of log p [R, P, K], at one step always by the same draws of the rows with these numbers [R]."""
        return torch.from_numpy(draw(log_p, generators(self.seed, rows, self.steps, "frames")))

    def _coded(self, claim: Claim, x: torch.Tensor, moved: torch.Tensor) -> torch.Tensor:
        """The tokens of corrected vectors [R, P, D], of those rows."""
        assert self.windows is not None
        book, places, margin = self.windows.book, x.shape[1], self.margin
        to, own = x[moved].flatten(0, 1), claim.tokens[moved].flatten()
        if claim.log_p is None:
            new, margin = book.nearest(to)[0][:, 0], margin or 0.0
        else:
            new = torch.empty_like(own).reshape(-1, places)
            for part in torch.arange(len(new)).split(max(CELLS // (len(book) * places), 1)):
                rows = moved.nonzero()[part, 0]
                log_p = book.weighed(claim.log_p[rows].flatten(0, 1), x[rows].flatten(0, 1))
                new[part] = self._drawn(log_p.reshape(len(part), places, -1), rows.numpy())
            new = new.flatten()
        if margin is not None:
            new = torch.where(book.distance(to, own) - book.distance(to, new) > margin * book.unit, new, own)
        return new.reshape(-1, places)

    def _typed(
        self, tokens: np.ndarray, alive: np.ndarray, state: np.ndarray, previous: np.ndarray | None
    ) -> np.ndarray:
        """The frame as it goes out, of the type that came in."""
        if previous is not None:
            tokens = np.where(alive[:, None], tokens, previous)
        elif not alive.all():
            row = int(np.flatnonzero(~alive)[0])
            raise LemError(f"row {row}: the first logits are not finite, and there is no frame to go on from")
        kinds = [x.dtype for x in (previous, state) if x is not None and x.dtype.kind in "iu"]
        dtype = kinds[0] if kinds else np.min_scalar_type(state.shape[2] - 1)
        if tokens.max() > np.iinfo(dtype).max:
            raise LemError(
                f"token {tokens.max()} is beyond {dtype}, the type of the frames before; store them as int32"
            )
        return tokens.astype(dtype)


@dataclass(frozen=True)
class Claim:
    """Of a frame: tokens int64 [R, P] that go out where nothing is corrected, their vectors or those expected [R, P, D], the
    rows that live bool [R]; where p may be weighed, log p [R, P, K]."""

    tokens: torch.Tensor
    vectors: Any
    alive: np.ndarray
    log_p: Any = None


def _untouched(state: np.ndarray) -> Step:
    rows = len(state)
    none, nothing = np.full(rows, np.nan), np.full(rows, ACTIONS[0], dtype=object)
    return Step(state, none, nothing, np.zeros(rows), np.zeros(rows, np.int64))


class InContext:
    """A network that is shown C frames, as an emulator that is shown the last of them.

    logits: tokens [R, C, P] to logits [R, P, k]. start: [C, R, P]. codes: K; where the network knows less than that, as its
    training data had no more, the others are never drawn. None: as many as it knows.
    """

    def __init__(self, logits: Callable[[np.ndarray], Any], start: np.ndarray, codes: int | None = None):
        self.logits, self.codes = logits, codes
        self.frames: deque[np.ndarray] = deque(start[:-1], maxlen=len(start))

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        self.frames.append(frame)
        answer = np.asarray(self.logits(np.stack(list(self.frames), 1)))
        unknown = max((self.codes or 0) - answer.shape[-1], 0)
        return np.pad(answer, ((0, 0), (0, 0), (0, unknown)), constant_values=-np.inf) if unknown else answer
