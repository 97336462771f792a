"""Gaps by a left-to-right model from both sides: exhaustive search, the exact posterior of one token, and what nothing depends on."""

from itertools import product

import numpy as np
import pytest
import torch

from helpers.languages import KINDS, broken, log_p, model
from lemtools.fragment import fragment
from lemtools.reconstruct import Reconstructor
from lemtools.reconstruct.filling import Filler, best, resampled
from lemtools.signal import LemError, Signal


def masks(*lost, length=14):
    known = np.ones(length, bool)
    known[list(lost)] = False
    return known


def every(known_model, tokens, known):
    """{what stands in the gaps: log p of all}, by trying everything."""
    lost = np.flatnonzero(~known)
    found = {}
    for guess in product(range(KINDS), repeat=len(lost)):
        whole = tokens.copy()
        whole[lost] = guess
        found[guess] = log_p(known_model, whole)
    return found


@pytest.mark.parametrize("lost", [(5,), (5, 6, 7), (0, 1, 6), (4, 5, 9, 13), (12, 13)])
def test_a_beam_that_holds_all_finds_the_best_of_all(lost):
    """Across the end of the context (8), from the first token on and up to the last."""
    known, lm = masks(*lost), model()
    for seed in range(4):
        tokens = np.random.default_rng(seed).integers(0, KINDS, 14)
        found = every(lm, tokens, known)
        filled = Filler(lm, beam=KINDS ** len(lost), right=14).filled(tokens * known, known)
        assert tuple(filled[~known]) == max(found, key=found.get)
        assert np.array_equal(filled[known], tokens[known])


def test_what_does_not_count_does_not_matter_and_what_does_decides():
    """With `right` tokens behind a gap only those bear on it: the best of a text that ends there."""
    lm, known, differ = model(), masks(5, 6), 0
    for seed in range(12):
        tokens = np.random.default_rng(seed).integers(0, KINDS, 14)
        for right in (0, 1, 3):
            found = every(lm, tokens[: 7 + right], known[: 7 + right])
            filled = Filler(lm, beam=KINDS**2, right=right).filled(tokens * known, known)
            assert tuple(filled[5:7]) == max(found, key=found.get)
        differ += tuple(filled[5:7]) != tuple(Filler(lm, beam=KINDS**2, right=0).filled(tokens * known, known)[5:7])
    assert differ > 2


def test_a_choice_stands_on_the_left_of_the_next_gap():
    lm, known = model(), masks(3, 10)
    tokens = np.random.default_rng(3).integers(0, KINDS, 14)
    first = every(lm, tokens[:7], known[:7])
    tokens[3] = max(first, key=first.get)[0]
    second = every(lm, tokens, masks(10))
    filled = Filler(lm, beam=KINDS, right=3).filled(tokens * known, known)
    assert (filled[3], filled[10]) == (tokens[3], max(second, key=second.get)[0])


def test_a_gap_is_settled_once_so_many_tokens_behind_it_are_read():
    """Three gaps two apart, of which each sees the next one guessed beside it, but not the one after that."""
    lm, known, differ = model(), masks(3, 6, 9), 0
    for seed in range(12):
        tokens = np.random.default_rng(seed).integers(0, KINDS, 14)
        whole, left = tokens.copy(), known.copy()
        for place in (3, 6, 9):
            found = every(lm, whole[: place + 5], left[: place + 5])
            whole[place], left[place] = max(found, key=found.get)[0], True
        filled = Filler(lm, beam=KINDS**3, right=4).filled(tokens * known, known)
        assert np.array_equal(filled, whole)
        together = every(lm, tokens, known)
        differ += tuple(filled[[3, 6, 9]]) != max(together, key=together.get)
    assert differ


def test_a_small_beam_is_a_beam():
    """Of one guess it is the likeliest token, one after another: what is behind cannot matter."""
    lm, known = model(), masks(5, 6, 7)
    tokens = np.random.default_rng(1).integers(0, KINDS, 14)
    whole = tokens.copy()
    for place in (5, 6, 7):
        whole[place] = max(range(KINDS), key=lambda k: log_p(lm, np.append(whole[:place], k)))
    assert np.array_equal(Filler(lm, beam=1).filled(tokens * known, known), whole)


@pytest.mark.parametrize("lost", [(6,), (5, 8)])
def test_draws_are_the_exact_posterior_where_all_guesses_are_held(lost):
    """One lost token: p(x | left, right) by brute force; two gaps that bear on each other: both together."""
    lm, known, count = model(), masks(*lost), 500
    tokens = np.random.default_rng(5).integers(0, KINDS, 14)
    found = every(lm, tokens, known)
    p = np.exp(np.array(list(found.values())) - max(found.values()))
    signal = Signal("tokens", (tokens * known)[None].astype(np.uint8), mask=known[None], ops=[{"op": "mask"}])
    out, (step,) = Filler(lm, samples=count, beam=KINDS**2, right=14)(signal)
    assert step == f"fill: {count} draws by the model, of {KINDS**2} guesses, by up to 14 tokens behind a gap"
    for guess, want in zip(found, p / p.sum(), strict=True):
        share = (out.data[:, list(lost)] == guess).all(1).mean()
        assert abs(share - want) <= 4 * np.sqrt(want * (1 - want) / count) + 1e-9, (guess, share, want)


def test_draws_of_few_guesses_tend_to_the_posterior():
    """Of 27 ways 12 are held: the mean error is far below that of draws from the left side alone."""
    lm, known, count = model(), masks(5, 6, 7), 400
    tokens = np.random.default_rng(7).integers(0, KINDS, 14)
    found = every(lm, tokens, known)
    p = np.exp(np.array(list(found.values())) - max(found.values()))
    signal = Signal("tokens", (tokens * known)[None].astype(np.uint8), mask=known[None], ops=[{"op": "mask"}])

    def wrong(right):  # (about .12 is by chance, of 400 draws)
        out, _ = Filler(lm, samples=count, beam=12, right=right)(signal)
        share = np.array([(out.data[:, [5, 6, 7]] == guess).all(1).mean() for guess in found])
        return np.abs(share - p / p.sum()).sum() / 2

    assert wrong(14) < 0.2 and wrong(0) > 2 * wrong(14)


def test_what_stands_for_all_has_their_expected_weight():
    rng = np.random.default_rng(0)
    weights = rng.normal(0, 2, 40)
    p, total = np.exp(weights), np.zeros(40)
    for seed in range(4000):
        keep, logs = resampled(weights, 8, np.random.default_rng(seed))
        assert len(keep) == len(set(keep.tolist())) == 8
        total[keep] += np.exp(logs) / 4000
        np.testing.assert_allclose(np.exp(logs).sum(), p.sum(), rtol=1e-9)
    np.testing.assert_allclose(total, p, atol=0.06 * p.max())
    heavy = np.argsort(-weights)[:3]
    keep, logs = resampled(weights, 8, np.random.default_rng(0))
    assert set(heavy) <= set(keep) and np.allclose(logs[np.isin(keep, heavy)], weights[keep[np.isin(keep, heavy)]])
    keep, logs = resampled(weights, 40, rng)
    assert np.array_equal(np.sort(keep), np.arange(40)) and np.array_equal(logs, weights[keep])
    keep, _ = resampled(np.array([0.0, -1e9, -1e9, -1e9, -1.0]), 3, rng)
    assert sorted(keep) == [0, 4]


def test_the_best_are_the_first_of_those_that_are_alike():
    weights = np.random.default_rng(0).integers(0, 6, 200).astype(float)
    for most in (1, 7, 24, 25, 100, 200):
        keep, values = best(weights, most)
        assert np.array_equal(keep, np.argsort(-weights, kind="stable")[:most])
        assert np.array_equal(values, weights[keep])


@pytest.mark.parametrize("samples", [0, 3])
def test_an_answer_does_not_depend_on_the_others(samples):
    lm, signal = model(), broken(rows=4, keep=(0, 1, 2, 3, 6, 7, 9))
    fill = Filler(lm, samples=samples, seed=4, beam=6)
    every_one, _ = fill(signal)
    for row in range(4):
        alone, _ = fill(signal.take(np.array([row])))
        assert np.array_equal(alone.data, every_one.data.reshape(4, max(samples, 1), -1)[row])
    if samples:
        fewer, _ = Filler(lm, samples=2, seed=4, beam=6)(signal)
        assert np.array_equal(fewer.data.reshape(4, 2, -1), every_one.data.reshape(4, 3, -1)[:, :2])
        other, _ = Filler(lm, samples=samples, seed=5, beam=6)(signal)
        assert not np.array_equal(other.data, every_one.data)


def test_the_fragment_says_whether_a_text_goes_on_or_is_filled():
    lm, whole = model(), Signal("tokens", np.random.default_rng(0).integers(0, KINDS, (2, 12)).astype(np.uint8))
    recall = Reconstructor(model=lm)
    (left,) = fragment([whole], [{"op": "mask", "mask": 0.5, "mask_shape": "pixel"}], 1)
    out = recall(left)
    assert out.history[-1]["method"] == "fill" and (out.data == whole.data)[left.observed() != 0].all()
    out = recall(broken(keep=range(3)))
    assert out.history[-1]["method"] == "continue" and out.data.shape[1] == 12
    assert recall(whole).data.shape == (2, 212)
    assert Reconstructor(model=lm, top=2)(left).history[-1]["method"] == "continue"
    assert Reconstructor(model=lm, beam=2)(whole).history[-1]["method"] == "fill"
    with pytest.raises(LemError, match="^--beam is for --method fill"):
        Reconstructor(model=lm, beam=2, top=2)


def test_what_does_not_suit_is_refused():
    lm = model()
    with pytest.raises(LemError, match=f"^token 9, where the model knows 0 to {KINDS - 1}"):
        Filler(lm)(Signal("tokens", np.full((1, 3), 9, np.uint8)))
    with pytest.raises(LemError, match="goes on with tokens, not with embedding"):
        Filler(lm)(Signal("embedding", np.zeros((1, 3), np.float32)))
    coded = Signal("tokens", np.zeros((1, 3), np.uint16), history=[{"encoder": "text", "vocab": 300}])
    with pytest.raises(LemError, match=f"^tokens of 300 kinds, where the model knows {KINDS}"):
        Filler(lm)(coded)
    with pytest.raises(LemError, match="name a FILE"):
        Reconstructor("fill", model=lm).blank()


@torch.inference_mode()
def test_a_text_begins_as_after_a_line_end():
    """Where the model is one of bytes of text; else the first token may be any."""
    lm = model(256)
    lm.meta["measured"] = True
    first = Filler(lm, beam=256, right=0).filled(np.zeros(1, np.int64), np.zeros(1, bool))
    after = torch.tensor([[10]], device=lm.net.head.weight.device)
    assert first[0] == int(lm.net(after)[0, -1].argmax())
