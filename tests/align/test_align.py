"""Maps between spaces from pairs: known answers, leave-one-out by brute force, and what auto makes of them."""

import math

import numpy as np
import pytest

from lemtools.align import choose, linear, relative
from lemtools.align.maps import Map, unit
from lemtools.align.pairs import SAMPLE, Paired
from lemtools.catalogue.maps import MAPS
from lemtools.signal import LemError

rng = np.random.default_rng(18)
TRIED = [row.name for row in MAPS.rows if row.tried]


def rotation(n, m=None):
    return np.linalg.qr(rng.standard_normal((n, n)))[0][:, : m or n]


def spaces(n, d=12, e=9, noise=0.3):
    """Two views of the same 6 numbers an item, with a mean and a decaying spectrum."""
    z = rng.standard_normal((n, 6)) * [3, 2.5, 2, 1.5, 1, 1]
    a, b = z @ rng.standard_normal((6, d)) + 2, z @ rng.standard_normal((6, e)) - 1
    return a + noise * rng.standard_normal(a.shape), b + noise * rng.standard_normal(b.shape)


def top1(found: Map, x, y):
    near = unit(found.apply(x) - found.mean[1]) @ unit(y - found.mean[1]).T
    return float((near.argmax(1) == np.arange(len(x))).mean())


def test_procrustes_recovers_a_rotation_its_scale_and_offset():
    x = rng.standard_normal((40, 16)) * np.linspace(3, 0.5, 16) + 1
    turn = rotation(16)
    y = 2.5 * x @ turn - 4
    found = linear.procrustes(Paired.of(x, y))
    new = rng.standard_normal((20, 16))
    assert np.allclose(found.there, 2.5 * turn, atol=1e-10) and np.allclose(found.back, turn.T / 2.5, atol=1e-10)
    assert np.abs(found.apply(new) - (2.5 * new @ turn - 4)).max() < 1e-5
    assert np.abs(found.apply(found.apply(new), back=True) - new).max() < 1e-5


def test_procrustes_of_few_pairs_and_other_widths_moves_only_what_they_span():
    x, y = spaces(5)
    found = linear.procrustes(Paired.of(x, y))
    values = np.linalg.svd(found.there, compute_uv=False)
    assert found.facts["rank"] == 4 and np.allclose(values[:4], values[0]) and values[4] < 1e-10


@pytest.mark.parametrize("n", [5, 40])
@pytest.mark.parametrize("d, e", [(12, 9), (9, 12)])
def test_the_scale_of_procrustes_is_that_of_least_squares_each_way(n, d, e):
    x, y = spaces(n, d, e, noise=1)
    found = linear.procrustes(Paired.of(x, y))
    a, b = x - x.mean(0), y - y.mean(0)
    for one, other, way in ((a, b, found.there), (b, a, found.back)):
        scaled = [np.sum((other - s * one @ way) ** 2) for s in (0.99, 1, 1.01)]
        assert scaled[1] < min(scaled[0], scaled[2])


@pytest.mark.parametrize("n, d", [(30, 4), (8, 20)])
def test_ridge_is_its_closed_form_and_its_penalty_the_best_by_brute_force(n, d):
    x, y = spaces(n, d=d, e=5, noise=1)
    found = linear.ridge(Paired.of(x, y))
    a, b = x - x.mean(0), y - y.mean(0)
    k = found.facts["penalty"]
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    assert np.allclose(found.there, (vt.T * s / (s**2 + k)) @ u.T @ b, atol=1e-6)
    grid = linear.GRID * s[0] ** 2
    brute = []
    for penalty in grid:
        errors = []
        for i in range(n):
            rest = np.arange(n) != i
            p, q = x[rest] - x[rest].mean(0), y[rest] - y[rest].mean(0)
            left, values, right = np.linalg.svd(p, full_matrices=False)
            w = (right.T * values / (values**2 + penalty)) @ left.T @ q
            errors.append(np.mean((y[i] - y[rest].mean(0) - (x[i] - x[rest].mean(0)) @ w) ** 2))
        brute.append(np.mean(errors))
        assert linear.left_out(u, s, b, penalty) == pytest.approx(brute[-1], rel=1e-3)
        if penalty > 1e-7 * grid[20]:  # (below, so few pairs leave few of the digits)
            assert linear.left_out(u, s, b, penalty) == pytest.approx(brute[-1], rel=1e-6)
    assert brute[int(np.argmin(np.abs(grid - k)))] <= min(brute) * (1 + 1e-5)


def test_cca_finds_the_correlations_that_were_made():
    n, made = 200_000, [0.9, 0.5, 0.1]
    z = rng.standard_normal((n, 3))
    x = np.hstack([z, rng.standard_normal((n, 1))]) @ rng.standard_normal((4, 4))
    w = z * made + rng.standard_normal((n, 3)) * np.sqrt(1 - np.square(made))
    y = w @ rng.standard_normal((3, 3))
    found = linear.cca(Paired.of(x, y))
    assert found.facts["correlation-first"] == pytest.approx(0.9, abs=0.01)
    assert found.facts["correlations"] == pytest.approx(1.5, abs=0.02)


def power(square, by):
    values, axes = np.linalg.eigh(square)
    return axes * np.maximum(values, 1e-300) ** by @ axes.T


def test_cca_is_its_definition_each_way():
    """From sums of squares: whitened with the penalty of its side, turned, roots of the correlations, B's whitening undone."""
    x, y = spaces(40, noise=1)
    y = 5 * y
    pairs = Paired.of(x, y)
    found = linear.cca(pairs)
    a, b = x - x.mean(0), y - y.mean(0)
    k, l = found.facts["penalty"], found.facts["penalty-back"]
    assert (k, l) == linear.penalties(pairs) and not 0.5 < k / l < 2
    aa, bb = a.T @ a + k * np.eye(12), b.T @ b + l * np.eye(9)
    u, s, vt = np.linalg.svd(power(aa, -0.5) @ a.T @ b @ power(bb, -0.5), full_matrices=False)
    assert np.allclose(found.there, power(aa, -0.5) @ (u * np.sqrt(s)) @ vt @ power(bb, 0.5))
    assert np.allclose(found.back, power(bb, -0.5) @ (vt.T * np.sqrt(s)) @ u.T @ power(aa, 0.5))


def test_cca_of_a_rotation_is_the_rotation(monkeypatch):
    x = rng.standard_normal((60, 7))
    turn = rotation(7)
    found = linear.cca(Paired.of(x, x @ turn))
    assert np.allclose(found.there, turn, atol=1e-4)
    x, y = spaces(50)
    monkeypatch.setattr(linear, "POWER", 1)
    assert np.allclose(
        linear.cca(pairs := Paired.of(x, y)).there, linear.ridge(pairs).there
    )  # (full weight: regression)


def test_sharpness_is_that_of_leaving_pairs_out_by_brute_force():
    x, y = spaces(14, noise=0.5)
    a, b = x - x.mean(0), y - y.mean(0)
    found = {}
    for sharp in relative.SHARPNESS:
        ranks = []
        for i in range(len(a)):
            weights = np.exp(sharp * (unit(a) @ unit(a)[i]))
            near = []
            for j in range(len(b)):
                others = [k for k in range(len(a)) if k not in (i, j)]
                made = weights[others] @ b[others]
                near.append(made @ b[j] / np.linalg.norm(made) / np.linalg.norm(b[j]))
            ranks.append(1 / (1 + sum(v > near[i] for v in near)))
        found[sharp] = np.mean(ranks)
    assert relative.sharpness(a, b) == max(found, key=found.get)


def test_relative_has_a_sharpness_each_way():
    x, y = spaces(10)
    found = Map((x.mean(0), y.mean(0)), anchors=(x - x.mean(0), y - y.mean(0)), sharp=(1.0, 50.0))
    cosines = unit(y - y.mean(0)) @ unit(y - y.mean(0)).T
    weights = np.exp(50 * cosines)
    assert np.allclose(found.apply(y, back=True), weights / weights.sum(1, keepdims=True) @ x, atol=1e-3)


def test_relative_is_the_weighted_mean_of_the_anchors():
    x, y = spaces(10)
    found = relative.relative(Paired.of(x, y))
    new = rng.standard_normal((3, 12)) + 2
    mean, sharp = x.mean(0), found.facts["sharpness"]
    for row, made in zip(new, found.apply(new), strict=True):
        cosines = [(row - mean) @ (a - mean) / np.linalg.norm(row - mean) / np.linalg.norm(a - mean) for a in x]
        weights = np.exp(sharp * np.array(cosines))
        assert np.allclose(made, weights @ y / weights.sum(), atol=1e-5)


@pytest.mark.parametrize("name", [*TRIED, "auto"])
def test_new_items_are_found_and_of_shuffled_pairs_by_chance(name):
    x, y = spaces(900, d=20, e=16, noise=0.1)
    fitted = MAPS.find(name).load()
    assert top1(fitted(Paired.of(x[:300], y[:300])), x[300:500], y[300:500]) > (0.2 if name == "relative" else 0.7)
    shuffled = fitted(Paired.of(x[:300], rng.permutation(y[:300])))
    assert top1(shuffled, x[300:], y[300:]) < 0.02  # chance is 1/600


@pytest.mark.parametrize("name", [*TRIED, "auto"])
def test_the_batch_makes_no_difference(name):
    x, y = spaces(40)
    found = MAPS.find(name).load()(Paired.of(x, y))
    whole = found.apply(x)
    assert whole.dtype == np.float32
    assert np.allclose(np.concatenate([found.apply(x[i : i + 1]) for i in range(40)]), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TRIED)
def test_a_large_mean_costs_no_more_than_the_digits_of_what_comes_in_and_goes_out(name):
    x, y = ((1e4 + 0.1 * side).astype(np.float32).astype(np.float64) for side in spaces(60))
    found = MAPS.load(name)(Paired.of(x, y))
    for back, (one, other) in ((False, (x, y)), (True, (y, x))):
        exact = MAPS.load(name)(Paired.of(x - x.mean(0), y - y.mean(0)))  # (its means are next to 0)
        wanted = exact.apply(one - one.mean(0), back) + other.mean(0)
        assert np.abs(found.apply(one.astype(np.float32), back) - wanted).max() < 2e-3  # float32 steps of 1e-3 there


@pytest.mark.parametrize("name", TRIED)
def test_what_float32_cannot_hold_is_refused_and_not_made_nan(name):
    x, y = spaces(30)
    found = MAPS.load(name)(Paired.of(x, 1e60 * y))
    with pytest.raises(LemError, match="more than float32 holds"):
        found.apply(x)


def stretched(n):
    """The same 16 numbers an item, turned: those that are strong in A are weak in B, which is no rotation of it then."""
    z, lengths = rng.standard_normal((n, 16)), np.geomspace(0.1, 3, 16)
    noise = 0.02 * rng.standard_normal((2, n, 16))
    return z * lengths @ rotation(16) + noise[0], z * lengths[::-1] @ rotation(16) + noise[1]


@pytest.mark.parametrize("turned, expected", [(True, "procrustes"), (False, "ridge")])
def test_auto_takes_the_first_map_that_is_as_good_as_the_best_and_says_so(turned, expected):
    x = rng.standard_normal((60, 30))
    x, y = (x, x @ rotation(30) + 0.5 * rng.standard_normal(x.shape)) if turned else stretched(200)
    pairs = Paired.of(x, y)
    found = choose.auto(pairs)
    ranks = {name: choose.left_out(pairs, MAPS.load(name)) for name in TRIED}
    assert {f"mrr-{name}": pytest.approx(r.mean()) for name, r in ranks.items()}.items() <= found.facts.items()
    best = max(ranks.values(), key=np.mean)
    good = [name for name, r in ranks.items() if np.mean(best - r) <= np.std(best - r, ddof=1) / np.sqrt(len(x))]
    assert found.facts["chosen"] == good[0] == expected
    assert np.allclose(found.there, MAPS.load(expected)(pairs).there)


@pytest.mark.parametrize("behind, chosen", [(0.9, "procrustes"), (1.1, "cca")])
def test_as_good_is_within_one_standard_error_of_the_paired_difference(monkeypatch, behind, chosen):
    """The simplest map is 0.1 behind the best on average; the others lose less in the mean, but by more than their error."""
    x, y = spaces(40)
    gap = 0.1 + np.tile([1, -1], 20) * 0.1 * np.sqrt(39) / behind  # its mean is `behind` standard errors
    ranks = {"procrustes": 5 - gap, "cca": np.full(40, 5.0), "ridge": np.full(40, 4.99), "relative": np.full(40, 4.99)}
    maps = {id(MAPS.load(name)): name for name in TRIED}
    monkeypatch.setattr(choose, "left_out", lambda pairs, fitted: ranks[maps[id(fitted)]])
    assert choose.auto(Paired.of(x, y)).facts["chosen"] == chosen


def test_the_rank_among_a_thousand_is_told_from_fewer():
    x = rng.standard_normal((3000, 60))
    y = 0.4 * x + rng.standard_normal(x.shape)
    told = choose.left_out(Paired.of(x[:2000], y[:2000]), linear.procrustes).mean()
    found = linear.procrustes(Paired.of(x[:2000], y[:2000]))
    near = unit(found.apply(x[2000:]) - found.mean[1]) @ unit(y[2000:] - found.mean[1]).T
    true = np.mean(1 / (1 + (near > near.diagonal()[:, None]).sum(1)))
    assert 0.2 < true < 0.6 and told == pytest.approx(true, abs=0.06)


def test_ranks_of_pairs_left_out_are_their_definition(monkeypatch):
    monkeypatch.setattr(choose, "MOST", 1)
    x, y = spaces(40, noise=1)
    order = np.random.default_rng(18).permutation(40)
    out = np.sort(order[:8])
    found = linear.procrustes(Paired.of(np.delete(x, out, 0), np.delete(y, out, 0)))
    near = unit(found.apply(x[out]) - found.mean[1]) @ unit(y[out] - found.mean[1]).T
    middles = [np.mean([near[i, j] for j in range(8) if j != i]) for i in range(8)]
    apart = [near[i, j] - middles[i] for i in range(8) for j in range(8) if j != i]
    shares = [(sum(v > near[i, i] - middles[i] for v in apart) + 0.5) / 57 for i in range(8)]
    assert np.ptp(middles) > 0.01 and max(shares) > 0.02
    assert np.allclose(choose.left_out(Paired.of(x, y), linear.procrustes), [choose.expected(p) for p in shares])


@pytest.mark.parametrize("p", [1e-12, 1e-4, 0.02, 0.5, 1.0])
def test_the_expected_reciprocal_rank_is_that_of_a_binomial(p):
    terms = [math.comb(50, k) * p**k * (1 - p) ** (50 - k) / (1 + k) for k in range(51)]
    assert choose.expected(p, 50) == pytest.approx(sum(terms))


def test_left_out_pairs_are_ranked_among_themselves_by_a_map_that_never_saw_them():
    x, y = spaces(20)
    seen = []

    def fitted(pairs):
        seen.append(pairs)
        return linear.procrustes(pairs)

    ranks = choose.left_out(Paired.of(x, y), fitted)
    assert len(ranks) == 20 and ((ranks > 0) & (ranks <= 1)).all() and len(seen) == choose.MOST
    for pairs in seen:
        rows = {tuple(row) for row in pairs.x}
        out = [i for i in range(20) if tuple(x[i]) not in rows]
        assert (
            len(rows) == len(pairs.x)
            and len(out) in (3, 4)
            and np.allclose(pairs.mean[0], np.delete(x, out, 0).mean(0))
        )
    first = [i for i in range(20) if tuple(x[i]) not in {tuple(row) for row in seen[0].x}]
    assert len(first) == 4


def test_auto_needs_five_pairs():
    x, y = spaces(4)
    with pytest.raises(LemError, match="4 pairs; auto leaves pairs out and needs 5"):
        choose.auto(Paired.of(x, y))


# --- pairs


def blocks(x, y, step):
    return ((x[i : i + step], y[i : i + step]) for i in range(0, len(x), step))


def test_moments_are_those_of_all_pairs_in_any_blocks():
    x, y = spaces(SAMPLE + 900)
    found = [Paired.read(blocks(x, y, step)) for step in (7, 1000, 9000)]
    for pairs in found:
        assert pairs.count == len(x) and np.allclose(pairs.mean[0], x.mean(0)) and np.allclose(pairs.mean[1], y.mean(0))
        assert np.allclose(pairs.covariance, np.cov(np.hstack([x, y]).T, bias=True))
        assert np.allclose(pairs.parts[1], (x - x.mean(0)).T @ (y - y.mean(0)) / len(x))
        assert len(pairs.x) == SAMPLE and np.array_equal(pairs.x, found[0].x) and np.array_equal(pairs.y, found[0].y)
    at = {tuple(row): i for i, row in enumerate(x)}
    places = [at[tuple(row)] for row in found[0].x]
    assert places == sorted(places) and np.array_equal(found[0].y, y[places])  # pairs stay pairs, in their order


def test_pairs_are_drawn_by_the_seed():
    x, y = spaces(500)
    drawn = [Paired.read(blocks(x, y, step), pairs=50, seed=seed) for step, seed in ((500, 1), (3, 1), (500, 2))]
    assert [pairs.count for pairs in drawn] == [50] * 3
    assert np.array_equal(drawn[0].x, drawn[1].x) and not np.array_equal(drawn[0].x, drawn[2].x)
    assert np.allclose(drawn[0].mean[1], drawn[0].y.mean(0)) and len({tuple(row) for row in drawn[0].x}) == 50


def test_of_many_pairs_that_are_drawn_the_sample_is_of_all_of_them():
    x = np.arange(1.0, 3 * SAMPLE + 1)[:, None]
    found = Paired.read(blocks(x, x, 5000), pairs=2 * SAMPLE)
    assert found.count == 2 * SAMPLE and len(found.x) <= SAMPLE
    assert abs(found.x.mean() / found.mean[0][0] - 1) < 0.01 and found.x.max() > 2.9 * SAMPLE


def test_a_vector_is_drawn_as_often_as_any_other():
    x = np.arange(1.0, 41)[:, None]
    count = sum(np.isin(x[:, 0], Paired.read(blocks(x, x, 9), pairs=10, seed=seed).x[:, 0]) for seed in range(400))
    assert count.sum() == 4000 and abs(count - 100).max() < 5 * np.sqrt(400 * 0.25 * 0.75)


BAD = {
    "zero": (lambda x: x.__setitem__((7, slice(None)), 0), "vector 7 of A is zero"),
    "nan": (lambda x: x.__setitem__((9, 1), np.nan), "vector 9 of A is not finite"),
    "infinite": (lambda x: x.__setitem__((9, 1), -np.inf), "vector 9 of A is not finite"),
    "long": (lambda x: x.__setitem__(4, 1e200), "vector 4 of A has a length beyond 1e-18 to 1e\\+18: scale the set$"),
    "short": (lambda x: x.__setitem__(5, 1e-200), "vector 5 of A has a length beyond"),
    "the same": (lambda x: x.__setitem__(slice(None), x[0].copy()), "^A: all vectors are the same"),
    "the same but for rounding": (lambda x: x.__setitem__(slice(None), 3 + 1e-9 * x), "^A: all vectors are the same"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_vectors_are_named(name):
    x, y = spaces(20)
    change, said = BAD[name]
    change(x)
    with pytest.raises(LemError, match=said):
        Paired.read(blocks(x, y, 6))


@pytest.mark.parametrize("scale", [1e-16, 1e16])
def test_small_and_large_vectors_are_vectors(scale):
    x, y = (side.astype(np.float32) * np.float32(scale) for side in spaces(20))
    assert Paired.read(blocks(x, y, 6)).count == 20


def test_too_few_pairs_and_too_wide_vectors():
    x, y = spaces(20)
    with pytest.raises(LemError, match="1 pairs; a map needs 2"):
        Paired.read(blocks(x[:1], y[:1], 6))
    with pytest.raises(LemError, match="20 pairs; --pairs 30"):
        Paired.read(blocks(x, y, 6), pairs=30)
    with pytest.raises(LemError, match="4096 at most"):
        Paired.read([(np.ones((2, 5000)), y[:2])])
    with pytest.raises(LemError, match="vectors of 11 numbers among such of 12 in A"):
        Paired.read([(x, y), (x[:, :11], y)])
