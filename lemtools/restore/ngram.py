"""Counts of symbols after those before them (n-grams), and what they say of lost symbols from both sides, exactly.

Witten and Bell's smoothing (Method C; IEEE Trans. Inf. Theory 37, 1991), each order interpolated with the one below:

    p(c | s) = (count(s c) + t(s) p(c | s')) / (count(s) + t(s))

t(s): different symbols seen after s; s': s without its first symbol; p = 1 / V below the empty context, and p(c | s) = p(c | s')
after a context never seen. So all that the past says is its longest end that was seen, of `order` symbols at most: a *state*. A
text with gaps is a hidden Markov chain of such states, and sums over all that may stand in its gaps are exact.

A state passes on what it has of symbols never seen after it to the state of its shorter end: a step takes as many operations as there
are different n-grams, not states times symbols. An *arc* is a symbol that was seen after a state.

Shapes: S states, A arcs, V symbols, T places.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

KEPT = 1 << 28  # bytes for what single symbols are after every state


class NGram:
    """sequences: whole numbers [n] below `kinds` (V), each counted by itself. order: symbols before that matter, 0 or more.

    States stand by the length of their contexts, the empty one first. Of each: back [S], its shorter end; keep [S], the share t / (count +
    t) of p(. | s'). Of each arc: state, symbol, p (p(c | s)), to (the next state); below_p, the part of p that comes from the shorter
    end, below_to, the next state after that.
    """

    def __init__(self, sequences: Iterable[np.ndarray], kinds: int, order: int = 5):
        rows = [np.asarray(row, np.int64) for row in sequences if len(row)]
        self.kinds, self.order = kinds, order
        symbols = np.concatenate(rows)
        ages = np.concatenate([np.arange(len(row)) for row in rows])  # symbols before each in its own sequence
        levels = list(_levels(symbols, ages, kinds, order))
        self.starts = np.cumsum([0, *(level["states"] for level in levels)])  # of the states of each length
        arcs = np.cumsum([0, *(len(level["symbol"]) for level in levels)])
        self.back = np.concatenate([level["back"] + (self.starts[k - 1] if k else 0) for k, level in enumerate(levels)])
        self.state = np.concatenate([level["state"] + self.starts[k] for k, level in enumerate(levels)])
        self.symbol = np.concatenate([level["symbol"] for level in levels])
        count = np.concatenate([level["count"] for level in levels])
        different, total = np.bincount(self.state), np.bincount(self.state, count)
        self.keep = different / (total + different)
        self.p, self.below_p = count / (total + different)[self.state], np.full(len(count), 1 / kinds)
        self.to, self.below_to = np.zeros(len(count), np.int64), np.zeros(len(count), np.int64)
        for k, level in enumerate(levels):
            here = slice(arcs[k], arcs[k + 1])
            if k:
                below = level["below"] + arcs[k - 1]
                self.below_p[here], self.below_to[here] = self.p[below], self.to[below]
            self.below_p[here] *= self.keep[self.state[here]]
            self.p[here] += self.below_p[here]
            longer = level["longer"]
            self.to[here] = np.where(longer >= 0, longer + self.starts[k + 1] * (k < order), self.below_to[here])
        self.first = np.searchsorted(self.state, np.arange(len(self.back) + 1))  # of the arcs of each state
        by_symbol = np.argsort(self.symbol, kind="stable")
        ends = np.searchsorted(self.symbol[by_symbol], np.arange(kinds + 1))
        self.arcs_of = [by_symbol[a:b] for a, b in pairwise(ends)]
        self.of = functools.lru_cache(max(KEPT // (16 * len(self.back)), 8))(self._of)

    # one state

    def after(self, state: int) -> tuple[np.ndarray, np.ndarray]:
        """(p(. | s) [V], the state after each symbol [V])."""
        chain = [state]
        while chain[-1]:
            chain.append(int(self.back[chain[-1]]))
        p, to = np.full(self.kinds, 1 / self.kinds), np.zeros(self.kinds, np.int64)
        for s in reversed(chain):
            arcs = slice(self.first[s], self.first[s + 1])
            p *= self.keep[s]
            p[self.symbol[arcs]], to[self.symbol[arcs]] = self.p[arcs], self.to[arcs]
        return p, to

    def at(self, before: np.ndarray) -> int:
        """The state after known symbols [n]."""
        state = 0
        for symbol in before[max(len(before) - self.order, 0) :].tolist():
            state = int(self.after(state)[1][symbol])
        return state

    # all states

    def _of(self, symbol: int) -> tuple[np.ndarray, np.ndarray]:
        """(p(c | s) [S], the next state [S]) of one symbol c after every state."""
        p, to, own = np.empty(len(self.back)), np.zeros(len(self.back), np.int64), np.full(len(self.back), -1)
        arcs = self.arcs_of[symbol]
        own[self.state[arcs]] = arcs
        for k, level in enumerate(self._of_levels()):
            lower_p = p[self.back[level]] if k else 1 / self.kinds
            arc = own[level]
            p[level] = np.where(arc >= 0, self.p[arc], self.keep[level] * lower_p)
            to[level] = np.where(arc >= 0, self.to[arc], to[self.back[level]] if k else 0)
        return p, to

    def backward(self, beta: np.ndarray, symbol: int | None) -> np.ndarray:
        """What is said of the state before a symbol [S] by what is said of the one after it; None: a lost symbol."""
        if symbol is not None:
            p, to = self.of(symbol)
            return p * beta[to]
        own = self.p * beta[self.to] - self.below_p * beta[self.below_to]
        found = np.add.reduceat(own, self.first[:-1])
        for k, level in enumerate(self._of_levels()):
            found[level] += self.keep[level] * (found[self.back[level]] if k else beta[0])
        return np.maximum(found, 0.0)  # (what is left of a difference of equal numbers may be less)

    def forward(self, alpha: np.ndarray, symbol: int | None) -> np.ndarray:
        """Weights of the state after a symbol [S] by those of the one before it; None: a lost symbol."""
        if symbol is not None:
            p, to = self.of(symbol)
            return np.bincount(to, alpha * p, len(alpha))
        passed = self._passed(alpha)
        weight = passed[self.state]
        found = np.bincount(self.to, weight * self.p, len(alpha))
        found -= np.bincount(self.below_to, weight * self.below_p, len(alpha))
        found[0] += passed[0] * self.keep[0]
        return np.maximum(found, 0.0)

    def said(self, alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
        """p(c | all that is known) [V] of a lost symbol, from the weights before it and what is said of the state after it."""
        passed = self._passed(alpha)
        weight = passed[self.state]
        each = weight * (self.p * beta[self.to] - self.below_p * beta[self.below_to])
        found = np.bincount(self.symbol, each, self.kinds) + passed[0] * self.keep[0] / self.kinds * beta[0]
        found = np.maximum(found, 0.0)
        return found / found.sum()

    def _passed(self, alpha: np.ndarray) -> np.ndarray:
        """Weights [S] with what longer states pass on: of a symbol never seen after them, the share of the shorter end."""
        passed = alpha.copy()
        for level in reversed(self._of_levels()[1:]):
            passed += np.bincount(self.back[level], self.keep[level] * passed[level], len(passed))
        return passed

    def _of_levels(self) -> list[slice]:
        return [slice(a, b) for a, b in pairwise(self.starts)]


class Segment:
    """A stretch [T] of a text with gaps, from a state on that is known: what is said of its lost symbols by what is known before,
    among and behind them, as far as that is within the stretch. symbols [T]; known [T].

    Attribute: log_p, nats of the known symbols, with the lost ones summed out.
    """

    def __init__(self, model: NGram, state: int, symbols: np.ndarray, known: np.ndarray):
        self.model, self.state = model, state
        self.asked = [int(s) if k else None for s, k in zip(symbols, known, strict=True)]
        self.block = max(int(len(self.asked) ** 0.5), 1)  # so many places lie between those whose messages are kept
        beta, self.log_p, self.kept = np.ones(len(model.back)), 0.0, {}
        for t in range(len(self.asked), 0, -1):
            if t % self.block == 0 or t == len(self.asked):
                self.kept[t] = beta
            beta = model.backward(beta, self.asked[t - 1])
            self.log_p, beta = self.log_p + np.log(beta.max()), beta / beta.max()
        self.log_p += np.log(beta[state])

    def messages(self) -> Iterator[np.ndarray]:
        """What is said of the state [S] after each place, by what comes after it; place by place."""
        for start in range(0, len(self.asked), self.block):
            stop = min(start + self.block, len(self.asked))
            last = min(t for t in self.kept if t >= stop)
            beta, made = self.kept[last], []
            for t in range(last, start, -1):
                made.append(beta)
                beta = self.model.backward(beta, self.asked[t - 1])
                beta = beta / beta.max()
            yield from made[::-1][: stop - start]

    def posterior(self) -> np.ndarray:
        """Probabilities [L, V] of each of the L lost symbols by itself."""
        alpha, found = np.zeros(len(self.model.back)), []
        alpha[self.state] = 1.0
        for symbol, beta in zip(self.asked, self.messages(), strict=True):
            if symbol is None:
                found.append(self.model.said(alpha, beta))
            alpha = self.model.forward(alpha, symbol)
            alpha /= alpha.sum()
        return np.array(found)

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        """Symbols [T], the lost ones drawn together from what is said of all."""
        state, found = self.state, []
        for symbol, beta in zip(self.asked, self.messages(), strict=True):
            p, to = self.model.after(state)
            if symbol is None:
                bound = (p * beta[to]).cumsum()
                symbol = int((bound <= generator.random() * bound[-1]).sum())
            found.append(symbol)
            state = int(to[symbol])
        return np.array(found)


def segments(known: np.ndarray, order: int) -> list[tuple[int, int]]:
    """Stretches (begin, end) of places [T] outside which nothing bears on a lost one: from one to `order` known ones behind the last."""
    lost = np.flatnonzero(~known)
    if not len(lost):
        return []
    cut = np.flatnonzero(np.diff(lost) > order) + 1
    ends = [min(int(part[-1]) + 1 + order, len(known)) for part in np.split(lost, cut)]
    return list(zip((int(part[0]) for part in np.split(lost, cut)), ends, strict=True))


def _levels(symbols: np.ndarray, ages: np.ndarray, kinds: int, order: int) -> Iterator[dict[str, Any]]:
    """Of contexts of 0, 1 ... symbols: how many states; `back` of each, among those of the level before; `state`, `symbol` and `count` of
    each arc, by state and symbol; `below`, the arc of its symbol after the shorter end, and `longer`, the state of the next level that
    its symbol makes of it, or -1."""
    place = np.arange(len(symbols))
    context = np.zeros(len(symbols), np.int64)  # the state before each place, where there are as many symbols
    arc_below = shorter = np.zeros(len(symbols), np.int64)
    for k in range(order + 1):
        valid = place[ages >= k]
        if not len(valid):
            return
        states, first, inverse = np.unique(context[valid], return_index=True, return_inverse=True)
        context[valid] = inverse
        grams, first_arc, arcs, count = np.unique(
            inverse * kinds + symbols[valid], return_index=True, return_inverse=True, return_counts=True
        )
        arc = np.zeros(len(symbols), np.int64)
        arc[valid] = arcs
        next_context = np.concatenate([[0], arc[:-1]])
        ahead = place[ages >= k + 1] if k < order else place[:0]
        made, longer = np.unique(next_context[ahead]), np.full(len(grams), -1)
        longer[made] = np.arange(len(made))
        yield {
            "states": len(states),
            "back": shorter[valid[first]],
            "state": grams // kinds,
            "symbol": grams % kinds,
            "count": count,
            "below": arc_below[valid[first_arc]],
            "longer": longer,
        }
        shorter, arc_below, context = context.copy(), arc, next_context


def log_p(model: NGram, symbols: np.ndarray, known: Sequence[bool] | np.ndarray) -> float:
    """Nats of the known symbols of a text [T], each by those before it, with the lost ones summed out."""
    known = np.asarray(known, bool)
    total, at, state = 0.0, 0, 0
    for begin, end in [*segments(known, model.order), (len(symbols), len(symbols))]:
        for symbol in symbols[at:begin].tolist():
            p, to = model.after(state)
            total, state = total + float(np.log(p[symbol])), int(to[symbol])
        if begin < end:
            total += Segment(model, state, symbols[begin:end], known[begin:end]).log_p
        at, state = end, model.at(symbols[:end][known[:end]][-model.order :] if model.order else symbols[:0])
    return total
