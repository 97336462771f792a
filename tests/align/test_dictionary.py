"""Self-learning from few pairs: what it recovers, when it is left alone, and the rounds by their definitions."""

import tracemalloc

import numpy as np
import pytest

from lemtools.align import clouds, dictionary, linear
from lemtools.align.clouds import Cloud, Turn, rounds
from lemtools.align.maps import unit
from lemtools.align.pairs import Paired, read_side
from lemtools.signal import LemError

D, E = 24, 20


def views(n, seed=0, noise=0.05):
    """Two views of the same items: of B the first 20 directions of A, turned, with noise. Items lie in groups, which is what can be recognised."""
    rng = np.random.default_rng(seed)
    made = np.random.default_rng(99)
    groups, turn = (
        made.standard_normal((30, D)) * np.geomspace(3, 0.5, D),
        np.linalg.qr(made.standard_normal((E, E)))[0],
    )
    z = groups[rng.integers(30, size=n)] + 0.4 * rng.standard_normal((n, D))
    return z + 1, z[:, :E] @ turn + noise * rng.standard_normal((n, E)) - 2


def top1(found, x, y):
    near = unit(found.apply(x) - found.mean[1]) @ unit(y - found.mean[1]).T
    return float((near.argmax(1) == np.arange(len(x))).mean())


def test_few_pairs_and_other_items_on_each_side_find_the_turn():
    (x, y), (a, _), (_, b), (u, v) = views(9), views(600, 1), views(500, 2), views(200, 3)
    pairs = Paired.of(x, y)
    before = linear.procrustes(pairs)
    found = dictionary.learnt(pairs, (a, b), before, linear.procrustes)
    assert found.facts["rounds"] in dictionary.STOPS and found.facts["mrr-after"] > found.facts["mrr-before"]
    assert top1(before, u, v) < 0.4 and top1(found, u, v) > 0.7
    back = unit(found.apply(v, back=True) - found.mean[0]) @ unit(u - found.mean[0]).T
    assert (back.argmax(1) == np.arange(200)).mean() > 0.5
    assert np.allclose(found.mean[0], np.concatenate([x, a]).mean(0))  # the means are of all that is known
    again = dictionary.learnt(pairs, (a, b), before, linear.procrustes)
    assert np.array_equal(found.there, again.there) and np.array_equal(found.back, again.back)


def test_what_does_harm_is_left_alone():
    (x, y), (a, _), (u, v) = views(60), views(300, 1), views(200, 3)
    other = np.random.default_rng(4).standard_normal((300, E)) * np.geomspace(0.2, 4, E)  # nothing of B's
    pairs = Paired.of(x, y)
    made = linear.procrustes(pairs)
    found = dictionary.learnt(pairs, (a, other), made, linear.procrustes)
    assert found is made and found.facts["rounds"] == 0 and top1(found, u, v) > 0.8
    assert found.facts["mrr-before"] > found.facts["mrr-after"]


def test_shuffled_pairs_stay_at_chance():
    (x, y), (a, _), (_, b), (u, v) = views(10), views(300, 1), views(300, 2), views(300, 3)
    pairs = Paired.of(x, np.roll(y, 3, axis=0))
    found = dictionary.learnt(pairs, (a, b), linear.procrustes(pairs), linear.procrustes)
    assert top1(found, u, v) < 0.05 and found.facts["mrr-after"] < 0.2


def test_ranks_of_pairs_left_out_are_their_definition(monkeypatch):
    (x, y), (a, _), (_, b) = views(11, noise=1), views(80, 1), views(90, 2)
    monkeypatch.setattr(dictionary, "CROWD", 30)
    pairs, crowd = Paired.of(x, y), b[np.linspace(0, 89, 30).astype(int)]
    seen = []

    def again(rest):
        seen.append(rest)
        return linear.procrustes(rest)

    ranks = dictionary.left_out(pairs, (a, b), again)
    assert ranks.shape == (4, 11) and len(seen) == 5 and sum(11 - len(rest.x) for rest in seen) == 11
    at = 0
    for rest in seen:
        made = linear.procrustes(rest)
        kept = {tuple(row) for row in rest.x}
        out = [i for i in np.random.default_rng(18).permutation(11) if tuple(x[i]) not in kept]
        for i in out:
            p, q = made.apply(x[i : i + 1])[0] - made.mean[1], np.vstack([y[i : i + 1], crowd]) - made.mean[1]
            cosines = q @ p / np.linalg.norm(q, axis=1)
            assert ranks[0, at] == pytest.approx(1 / (1 + (cosines[1:] > cosines[0] + 1e-9).sum()))
            at += 1
    assert ranks[0].min() < 0.5


def test_a_turn_without_weights_is_the_rotation_of_procrustes(monkeypatch):
    monkeypatch.setattr(clouds, "WHITEN", 0)
    monkeypatch.setattr(clouds, "POWER", 0)
    x, y = views(200)
    a, b = Cloud.of(x, x.mean(0)), Cloud.of(y, y.mean(0))
    cross = a.place(x)[:, :E].T @ b.place(y) / 200
    u, s, vt = np.linalg.svd(cross)
    turn = Turn.fitted(cross, a, b)
    assert np.allclose(turn.there, u @ vt) and np.allclose(turn.back, turn.there.T)
    assert turn.strength == pytest.approx(s.sum())


def test_weights_stretch_both_sides_and_are_undone():
    x, y = views(300)
    a, b = Cloud.of(x, x.mean(0)), Cloud.of(y, y.mean(0))
    cross = (a.place(x).T @ b.place(y) / 300)[:5, :5]
    p, q = (np.diag((v[:5] + clouds.FLOOR * v[:5].mean()) ** -clouds.WHITEN) for v in (a.values, b.values))
    u, s, vt = np.linalg.svd(p @ cross @ q)
    middle = u @ np.diag(np.sqrt(s)) @ vt
    turn = Turn.fitted(cross, a, b)
    assert np.allclose(turn.there, p @ middle @ np.linalg.inv(q))
    assert np.allclose(turn.back, q @ middle.T @ np.linalg.inv(p))


def test_axes_are_principal_ones_of_directions():
    x, _ = views(300)
    a = Cloud.of(x, x.mean(0))
    directions = unit(x - x.mean(0))
    assert (
        np.allclose(a.axes.T @ directions.T @ directions / 300 @ a.axes, np.diag(a.values))
        and (np.diff(a.values) <= 0).all()
    )
    assert np.allclose(a.place(x), directions @ a.axes) and np.allclose(a.rows, a.place(x), atol=1e-6)


def test_a_vector_has_as_many_partners_as_wanted():
    near = np.random.default_rng(0).uniform(-1, 1, (300, 300)).astype(np.float32)
    for wanted in (10, 2):
        sharp = 20.0
        for _ in range(30):
            weight, sharp = clouds._partners(near, sharp, wanted)
        assert np.allclose(weight.sum(1), 1, atol=1e-5) and np.mean(1 / (weight**2).sum(1)) == pytest.approx(
            wanted, rel=0.02
        )


def test_directions_grow_to_all_of_the_narrower_side():
    (x, y), (a, _), (_, b) = views(10), views(200, 1), views(200, 2)
    one, other = Cloud.of(a, a.mean(0)), Cloud.of(b, b.mean(0))
    known = one.place(x).T @ other.place(y) / 10
    sizes = [
        turn.there.shape
        for turn, _ in rounds(one, other, Turn.fitted(known[:4, :4], one, other), np.random.default_rng(0), known)
    ]
    assert (
        len(sizes) == clouds.ROUNDS
        and sizes == sorted(sizes)
        and sizes[0] == (4, 4)
        and sizes[clouds.GROWING - 1] == (E, E)
    )


def test_no_more_is_held_however_many_vectors_there_are():
    x, y = views(20)
    pairs = Paired.of(x, y)
    more = tuple(side.astype(np.float32) for side in (views(20_000, 1)[0], views(20_000, 2)[1]))
    tracemalloc.start()
    dictionary.grown(pairs, more, (1,))
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 60e6  # all cosines would take 1.6e9


def test_vectors_of_one_side_are_read_in_any_blocks_and_drawn_by_the_seed(monkeypatch):
    x = views(300)[0]
    read = [read_side((x[i : i + step] for i in range(0, 300, step)), "A") for step in (7, 300)]
    assert np.array_equal(read[0], x.astype(np.float32)) and np.array_equal(*read)
    monkeypatch.setattr("lemtools.align.pairs.CLOUD", 60)
    drawn = [
        read_side((x[i : i + s] for i in range(0, 300, s)), "A", seed=seed) for s, seed in ((7, 1), (300, 1), (300, 2))
    ]
    assert len(drawn[0]) == 60 and np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])


def test_too_few_and_bad_vectors():
    (x, y), (a, b) = views(7), views(60)
    with pytest.raises(LemError, match="7 pairs; self-learning leaves pairs out and needs 8"):
        dictionary.learnt(pairs := Paired.of(x, y), (a, b), linear.procrustes(pairs), linear.procrustes)
    with pytest.raises(LemError, match="--more: 49 vectors; without pairs 50 are needed"):
        read_side([a[:49]], "--more")
    with pytest.raises(LemError, match="vectors of 24 numbers among such of 20 in --more"):
        read_side([a], "--more", width=20)
    with pytest.raises(LemError, match="--more: all vectors are the same"):
        read_side([np.ones((60, 3)), np.ones((9, 3))], "--more")
    a[30] = 0
    with pytest.raises(LemError, match="vector 30 of --more is zero"):
        read_side([a[:20], a[20:]], "--more")
