"""Similarity of dissimilarities and linear predictivity: definitions, known answers, and what is refused."""

import itertools
import time

import numpy as np
import pytest

from lemtools.compare import ridge
from lemtools.compare.correlation import ROUNDING, ranks
from lemtools.compare.representations import linear_predictivity, rsa
from lemtools.rng import generator


def gaussian(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def by_hand(a, b, centred):
    """Spearman over pairs, one at a time."""
    found = []
    for x in a, b:
        x = x - x.mean(1, keepdims=True) if centred else x
        values = [
            1 - x[i] @ x[j] / np.sqrt(x[i] @ x[i] * (x[j] @ x[j])) for i, j in itertools.combinations(range(len(x)), 2)
        ]
        found.append([sum(v < w for v in values) + (sum(v == w for v in values) + 1) / 2 for w in values])
    return np.corrcoef(*found)[0, 1]


def test_rsa_is_its_definition_pair_by_pair():
    a = gaussian(12, 5)
    b = a[:, :3] + gaussian(12, 3, 1)
    assert rsa(a, b) == pytest.approx((by_hand(a, b, True), by_hand(a, b, False), None), abs=1e-12)


def test_ranks_of_equal_values_are_their_mean():
    assert ranks(np.array([3.0, 1, 3, 2, 3])).tolist() == [4, 1, 4, 2, 4]


def test_ranks_do_not_part_what_rounding_parts():
    near = np.array([0.3, 0.1 + 0.2, 0.7, 0.3 - 2e-16, 1.0])
    assert ranks(near).tolist() == [2, 3, 4, 1, 5] and ranks(near, ROUNDING).tolist() == [2, 2, 4, 2, 5]
    assert ranks(np.array([1, 1 + 4 * ROUNDING, 2]), ROUNDING).tolist() == [1, 2, 3]
    assert ranks(np.zeros(0)).tolist() == []


def test_pairs_that_are_as_unlike_are_tied():
    """Signs of 33 dimensions, each item at its own length: 1 - cosine is their Hamming distance, whole numbers."""
    rng = np.random.default_rng(0)
    a = np.where(rng.random((80, 33)) < 0.5, -1, 1)
    b = np.where(rng.random(a.shape) < 0.2, -a, a)
    upper = np.triu_indices(80, 1)
    expected = np.corrcoef(*(ranks((x @ x.T)[upper]) for x in (a, b)))[0, 1]
    found = rsa(a * rng.uniform(0.1, 3, (80, 1)), b * rng.uniform(0.1, 3, (80, 1)))
    assert found.beside == pytest.approx(expected, abs=1e-12)


def test_two_classes_are_two_dissimilarities():
    """Half of the pairs are of one class: ties broken by rounding would cost an eighth of r."""
    by, x = np.arange(60) % 2, gaussian(60, 9)
    sign = np.where(by, 1, -1)[:, None] * [[1, 2, -3.0]] * np.random.default_rng(1).uniform(0.1, 9, (60, 1))
    apart = (by[:, None] != by)[np.triu_indices(60, 1)]
    near = 1 - np.corrcoef(x + 2 * by[:, None] * np.arange(9))[np.triu_indices(60, 1)]
    expected = np.corrcoef(ranks(apart), ranks(near))[0, 1]
    assert rsa(sign, x + 2 * by[:, None] * np.arange(9)).value == pytest.approx(expected, abs=1e-12) and expected > 0.3


@pytest.mark.parametrize("exponent", [-600, 600])
def test_no_size_of_numbers_is_too_large_or_small(exponent):
    """In float64, where squares would leave its range."""
    a, b = gaussian(40, 5), gaussian(40, 5, 1)
    for measure in rsa, linear_predictivity:
        assert measure(np.ldexp(a, exponent), b) == measure(a, np.ldexp(b, exponent)) == measure(a, b)


def test_a_dimension_that_stands_still_in_a_fold_is_measured_in_the_others():
    """The mean over the folds in which it varies; here the fold of item 0, where nothing predicts it."""
    y, x = gaussian(40, 3), gaussian(40, 4, 1)
    y[:, 1:] = 0.1  # (whose mean is not exact)
    y[0, 1:] = 1.1
    found = linear_predictivity(y, x)
    assert found.value == 0  # elsewhere it is constant, so that its prediction is
    out = next(out for out, _ in ridge.apart(generator(0, 0, 0, "linear predictivity").permutation(40)) if 0 in out)
    spread = ((y[out, 1] - y[out, 1].mean()) ** 2).sum()
    assert found.beside == pytest.approx(1 - 1 / spread)


def test_a_dimension_that_stands_still_in_every_fold_is_refused():
    order = generator(0, 0, 0, "linear predictivity").permutation(40)
    y = gaussian(40, 2)
    for k, (out, _) in enumerate(ridge.apart(order)):
        y[out, 1] = k
    with pytest.raises(ValueError, match="dimension 1 of the originals is constant in every fold"):
        linear_predictivity(y, gaussian(40, 3, 1))


def test_items_that_are_alike_on_one_side_alone_are_taken():
    twice = gaussian(40, 2)
    twice[7] = twice[31]
    assert np.isfinite(linear_predictivity(gaussian(40, 3), twice)[:2]).all()
    assert np.isfinite(linear_predictivity(twice, gaussian(40, 3))[:2]).all()


def test_penalties_reach_from_none_to_the_mean():
    """Noise takes the largest, at which next to nothing is left; a map without noise the least."""
    x = gaussian(40, 20)
    assert ridge.penalties(x, gaussian(40, 200, 1), joint=True)[0] >= 18
    assert ridge.penalties(x, x[:, :1] + 0.0)[0] == 0
    noise = gaussian(40, 1, 1)
    made = [float(np.abs(each - noise.mean()).max()) for each in ridge.every(x, noise, x)]
    assert made[-1] < 1e-3 < 0.1 < made[0]


def test_rsa_of_known_sets():
    a = gaussian(300, 20)
    turned = 3 * a @ np.linalg.qr(gaussian(20, 20, 1))[0]
    assert rsa(a, turned).beside == pytest.approx(1, abs=1e-9) and rsa(a, 2 * a + 1).value == pytest.approx(1)
    assert rsa(a, turned).value < 0.99  # (a rotation moves what is constant)
    for d in 20, 7:
        assert rsa(a, gaussian(300, d, 2)) == pytest.approx((0, 0, None), abs=0.03)
    assert rsa(a.reshape(300, 4, 5), a) == rsa(a, a)


def test_a_shuffled_side_is_like_an_independent_one():
    a = gaussian(200, 12)
    b = a @ gaussian(12, 9, 1)
    assert rsa(a, b).beside > 0.5 and abs(rsa(a, b[np.random.default_rng(2).permutation(200)]).beside) < 0.05


def test_linear_predictivity_is_ridge_fold_by_fold(monkeypatch):
    """With one penalty, by the normal equations."""
    x, w = gaussian(60, 4), gaussian(4, 3, 1)
    y = x @ w + gaussian(60, 3, 2) + 5
    monkeypatch.setattr(ridge, "PENALTIES", np.array([0.5]))
    order = generator(0, 0, 0, "linear predictivity").permutation(60)
    right, explained = [], []
    for k in range(5):
        out = order[k::5]
        rest = np.setdiff1d(order, out)
        centred = x[rest] - x[rest].mean(0)
        gram = centred.T @ centred
        penalty = 0.5 * np.trace(gram) / 4
        map_ = np.linalg.solve(gram + penalty * np.eye(4), centred.T @ (y[rest] - y[rest].mean(0)))
        made = (x[out] - x[rest].mean(0)) @ map_ + y[rest].mean(0)
        right.append([np.corrcoef(made[:, j], y[out][:, j])[0, 1] for j in range(3)])
        explained.append(1 - ((made - y[out]) ** 2).sum(0) / ((y[out] - y[out].mean(0)) ** 2).sum(0))
    expected = np.median(np.mean(right, 0)), np.median(np.mean(explained, 0)), None
    assert linear_predictivity(y, x) == pytest.approx(expected)


def test_few_items_of_many_numbers_are_the_same_ridge():
    x, y, new = gaussian(20, 30), gaussian(20, 4, 1), gaussian(5, 30, 2)
    wide = list(ridge.every(x, y, new))
    centred = x - x.mean(0)
    unit = np.linalg.eigvalsh(centred @ centred.T).mean()
    for made, penalty in zip(wide, ridge.PENALTIES):
        primal = np.linalg.solve(centred.T @ centred + penalty * unit * np.eye(30), centred.T @ (y - y.mean(0)))
        np.testing.assert_allclose(made, (new - x.mean(0)) @ primal + y.mean(0), rtol=1e-4, atol=1e-6)


def test_a_map_with_as_much_noise_comes_near_its_ceiling_with_items():
    """y = W x + n of equal variance: r = sqrt(1/2) at most."""
    w, found = gaussian(30, 10, 1), []
    w /= np.linalg.norm(w, axis=0)
    for n in 60, 300, 3000:
        x = gaussian(n, 30, n)
        found.append(linear_predictivity(x @ w + gaussian(n, 10, n + 1), x))
    assert found[0].value < found[1].value < found[2].value < 0.707 + 0.02
    assert found[2] == pytest.approx((0.707, 0.5, None), abs=0.03)


def test_independent_sets_predict_nothing():
    found = linear_predictivity(gaussian(300, 20), gaussian(300, 40, 1))
    assert found.beside <= 0 and abs(found.value) < 0.06


def test_each_dimension_has_its_own_penalty():
    x = gaussian(200, 50)
    y = np.stack([x @ gaussian(50, 1, 1)[:, 0], gaussian(200, 1, 2)[:, 0]], 1)
    small, large = ridge.penalties(x, y)
    assert small < large


@pytest.mark.parametrize(
    "measure, a, b, said",
    [
        (rsa, gaussian(2, 5), gaussian(2, 5), "needs 3 to 10,000 items, not 2"),
        (rsa, np.ones((5, 4)), gaussian(5, 4), "original item 0 is constant"),
        (rsa, gaussian(5, 4), np.vstack([gaussian(4, 4), np.zeros(4)]), "recalled item 4 is constant"),
        (rsa, np.vstack([gaussian(4, 3), np.full((1, 3), 0.1)]), gaussian(5, 4), "original item 4 is constant"),
        (rsa, gaussian(10_001, 2), gaussian(10_001, 2), "needs 3 to 10,000 items, not 10,001"),
        (rsa, np.full((5, 4), np.nan), gaussian(5, 4), "original items have values that are not finite"),
        (linear_predictivity, gaussian(24, 2), gaussian(24, 2), "needs 25 items at least"),
        (linear_predictivity, np.c_[gaussian(30, 1), np.ones(30)], gaussian(30, 2), "dimension 1 of the originals is constant"),
        (
            linear_predictivity,
            np.vstack([gaussian(30, 2), gaussian(30, 2)[4:5]]),
            np.vstack([gaussian(30, 3, 1), gaussian(30, 3, 1)[4:5]]),
            "items 4 and 30 are the same in both sets",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_measured(measure, a, b, said):
    with pytest.raises(ValueError, match=said):
        measure(a, b)


def test_they_are_as_fast_as_promised():
    began = time.process_time()
    rsa(gaussian(2000, 64), gaussian(2000, 64, 1))
    between = time.process_time()
    linear_predictivity(gaussian(1000, 384), gaussian(1000, 384, 1))
    assert between - began < 8 and time.process_time() - between < 20  # (of a busy core; alone a quarter)
    print(between - began, time.process_time() - between)
