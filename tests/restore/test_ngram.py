"""n-grams by their definition, and what they say of lost symbols by trying everything that may stand there."""

from itertools import product

import numpy as np
import pytest

from lemtools.restore.ngram import NGram, Segment, log_p, segments

KINDS = 4
RNG = np.random.default_rng(0)
MEMORY = [RNG.integers(0, 3, 40), RNG.integers(0, 3, 7), RNG.integers(1, 3, 1), np.zeros(0, int)]  # (3 never occurs)


def witten_bell(before, symbol, order):
    """p(symbol | before), from counts of every context."""
    p = 1 / KINDS
    for k in range(min(order, len(before)) + 1):
        context, counts = list(before[len(before) - k :]), {}
        for row in map(np.ndarray.tolist, MEMORY):
            for i in range(k, len(row)):
                if row[i - k : i] == context:
                    counts[row[i]] = counts.get(row[i], 0) + 1
        if counts:
            p = (counts.get(symbol, 0) + len(counts) * p) / (sum(counts.values()) + len(counts))
    return p


def joint(symbols, order):
    return np.prod([witten_bell(symbols[:i], symbols[i], order) for i in range(len(symbols))])


ORDERS = pytest.mark.parametrize("order", [0, 1, 2, 3, 6])


@ORDERS
def test_probabilities_are_those_of_the_definition(order):
    model, rng = NGram(MEMORY, KINDS, order), np.random.default_rng(1)
    for _ in range(30):
        before = rng.integers(0, KINDS, rng.integers(0, 9))
        state = model.at(before)
        p, to = model.after(state)
        np.testing.assert_allclose(p, [witten_bell(before.tolist(), c, order) for c in range(KINDS)], atol=1e-13)
        assert [model.at(np.append(before, c)) for c in range(KINDS)] == to.tolist()
    for symbol in range(KINDS):
        p, to = model.of(symbol)
        one = [model.after(state) for state in range(len(p))]
        np.testing.assert_allclose(p, [each[0][symbol] for each in one], atol=1e-14)
        assert to.tolist() == [each[1][symbol] for each in one]


@ORDERS
def test_lost_symbols_are_those_of_all_that_may_stand_there(order):
    model, rng = NGram(MEMORY, KINDS, order), np.random.default_rng(2)
    for lost in ([3, 4, 5, 8], [0, 1, 11], [2], []):
        symbols, known = rng.integers(0, KINDS, 12), np.ones(12, bool)
        known[lost] = False
        want, total = np.zeros((len(lost), KINDS)), 0.0
        for guess in product(range(KINDS), repeat=len(lost)):
            symbols[lost] = guess
            p = joint(symbols.tolist(), order)
            want[range(len(lost)), guess] += p
            total += p
        np.testing.assert_allclose(log_p(model, symbols, known), np.log(total), atol=1e-10)
        symbols[lost], found = 0, []
        for begin, end in segments(known, order):
            found += list(Segment(model, model.at(symbols[:begin]), symbols[begin:end], known[begin:end]).posterior())
        if lost:
            np.testing.assert_allclose(found, want / total, atol=1e-12)


def test_what_only_ends_a_text_is_no_context():
    """Nothing was seen after 0: what follows it is said by no context at all."""
    model = NGram([np.array([1, 1, 0])], 2, 1)
    assert model.at(np.array([0])) == 0 and len(model.back) == 2
    np.testing.assert_allclose(model.after(model.at(np.array([0])))[0], [(1 + 2 / 2) / 5, (2 + 2 / 2) / 5])
    np.testing.assert_allclose(model.after(model.at(np.array([1])))[0], [(1 + 2 * 0.4) / 4, (1 + 2 * 0.6) / 4])


def test_draws_are_of_all_lost_symbols_together():
    model, count = NGram(MEMORY, KINDS, 2), 4000
    symbols, known = np.array([1, 0, 0, 2, 0, 1, 2]), np.array([1, 0, 0, 1, 0, 1, 1], bool)
    stretch = Segment(model, model.at(symbols[:1]), symbols[1:], known[1:])
    found = np.array([stretch.draw(np.random.default_rng(i)) for i in range(count)])
    assert (found[:, known[1:]] == symbols[1:][known[1:]]).all()
    p = {}
    for guess in product(range(KINDS), repeat=3):
        symbols[~known] = guess
        p[guess] = joint(symbols.tolist(), 2)
    for guess, each in p.items():
        want = each / sum(p.values())
        share = (found[:, ~known[1:]] == guess).all(1).mean()
        assert abs(share - want) <= 4.5 * np.sqrt(want * (1 - want) / count) + 1e-9


def test_what_is_kept_of_a_long_stretch_is_enough():
    """Messages are kept at every sixth of 40 places; those between are computed again."""
    model, rng = NGram(MEMORY, KINDS, 3), np.random.default_rng(3)
    symbols, known = rng.integers(0, 3, 40), rng.random(40) < 0.5
    stretch = Segment(model, 0, symbols, known)
    beta, all_of_them = np.ones(len(model.back)), []
    for symbol in stretch.asked[::-1]:
        all_of_them.append(beta)
        beta = model.backward(beta, symbol)
        beta = beta / beta.max()
    assert len(stretch.kept) < 10
    np.testing.assert_allclose(list(stretch.messages()), all_of_them[::-1], atol=1e-12)


def test_stretches_end_where_nothing_more_bears_on_what_is_lost():
    known = np.ones(30, bool)
    known[[4, 7, 11, 20, 29]] = False
    assert segments(known, 3) == [(4, 11), (11, 15), (20, 24), (29, 30)]
    assert segments(known, 4) == [(4, 16), (20, 25), (29, 30)]
    assert segments(np.ones(5, bool), 2) == []
