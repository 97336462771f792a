"""Starts by Gromov-Wasserstein: two rotations are found by them alone, and their parts by brute force."""

from statistics import NormalDist

import numpy as np
import pytest

from lemtools.align import gromov
from lemtools.align.clouds import Cloud, rounds
from lemtools.align.maps import unit

D = 24
rng = np.random.default_rng(8)


def rotations(n=400, noise=0.05, seed=0, same=False):
    """Items in groups, and the same or others of these groups turned and moved; and 200 pairs, which are in neither."""
    draw = np.random.default_rng(seed)
    groups = draw.standard_normal((30, D)) * np.geomspace(3, 0.7, D)
    turn = np.linalg.qr(draw.standard_normal((D, D)))[0]
    z = groups[draw.integers(30, size=2 * n + 200)] + 0.4 * draw.standard_normal((2 * n + 200, D))
    x, y = (z + noise * draw.standard_normal(z.shape) for _ in "ab")
    x, y = x + 1, 3 * y @ turn - 2
    return x[:n], draw.permutation(y[:n] if same else y[n : 2 * n]), x[-200:], y[-200:]


def top1(turn, a, b, x, y):
    k = len(turn.there)
    near = unit(a.place(x)[:, :k] @ turn.there) @ unit(b.place(y)[:, :k]).T
    return float((near.argmax(1) == np.arange(len(x))).mean())


def clouds(x, y):
    return Cloud.of(x, x.mean(0)), Cloud.of(y, y.mean(0))


@pytest.mark.parametrize("same, wanted", [(True, 0.95), (False, 0.85)])
def test_two_rotations_are_found_by_these_starts_alone(same, wanted):
    x, y, u, v = rotations(same=same)
    a, b = clouds(x, y)
    made = list(gromov.starts(a, b))
    each = np.mean([top1(turn, a, b, u, v) for turn in made[:-1]])
    assert len(made) == gromov.RUNS + 1 and top1(made[-1], a, b, u, v) > max(0.5, each)
    *_, (turn, _) = rounds(a, b, made[-1], np.random.default_rng(0))
    assert top1(turn, a, b, u, v) >= wanted
    again = list(gromov.starts(a, b))
    assert all(np.array_equal(one.there, other.there) for one, other in zip(made, again))


def test_an_unrelated_side_is_not(monkeypatch):
    monkeypatch.setattr(gromov, "RUNS", 4)
    x, _, u, v = rotations()
    a, b = clouds(x, rotations(seed=1)[1])
    assert max(top1(turn, a, b, u, v) for turn in gromov.starts(a, b)) < 0.05


def test_the_gradient_and_the_distortion_are_their_definitions():
    k, m = 5, 4
    one, other = (side + side.T for side in (rng.standard_normal((n, n)) for n in (k, m)))
    p, q = rng.dirichlet(np.ones(k)), rng.dirichlet(np.ones(m))
    coupling = gromov.scaled(rng.random((k, m)), p, q)
    for _ in range(50):
        coupling = gromov.scaled(coupling, p, q)
    cost = np.array(
        [
            [sum((one[i, r] - other[j, s]) ** 2 * coupling[r, s] for r in range(k) for s in range(m)) for j in range(m)]
            for i in range(k)
        ]
    )
    assert np.allclose(gromov.gradient(one, other, p, q, coupling), cost)
    assert gromov.distortion(one, other, p, q, coupling) == pytest.approx((cost * coupling).sum())


def test_steps_make_the_distortion_small_and_find_the_order(monkeypatch):
    x = rng.standard_normal((40, 6)) * np.geomspace(2, 0.5, 6)
    order = rng.permutation(40)
    y = x[order] @ np.linalg.qr(rng.standard_normal((6, 6)))[0]
    p = np.full(40, 1 / 40)
    one, other = (gromov.ranked(unit(side) @ unit(side).T) for side in (x, y))
    values = []
    for steps in (0, 5, 40):
        monkeypatch.setattr(gromov, "STEPS", steps)
        coupling = gromov.coupled(x, y, p, p)
        values.append(gromov.distortion(one, other, p, p, coupling))
    assert values[0] > values[1] > values[2] and values[2] < 0.05
    assert np.array_equal(coupling.argmax(1), np.argsort(order))
    assert np.allclose(coupling.sum(0), p) and np.allclose(coupling.sum(1), p, atol=1e-4)


@pytest.mark.parametrize("k, m", [(10, 10), (11, 8)])
def test_a_coupling_is_that_of_proximal_steps_written_out(monkeypatch, k, m):
    """Each is the entropic transport of the gradient, the coupling of before its prior; the distortion falls at every one."""
    monkeypatch.setattr(gromov, "SCALINGS", 1000)
    draw = np.random.default_rng(k + m)
    x, y = draw.standard_normal((k, 5)), draw.standard_normal((m, 7))
    p, q = draw.dirichlet(np.full(k, 9.0)), draw.dirichlet(np.full(m, 9.0))

    def transport(cost, prior):
        kernel, v = prior * np.exp(cost.min() - cost), np.ones(m)
        for _ in range(1000):
            u = p / (kernel @ v)
            v = q / (kernel.T @ u)
        return u[:, None] * kernel * v

    squares = np.array([[np.square(i - j).sum() for j in gromov.profiles(y)] for i in gromov.profiles(x)])
    coupling = transport(squares / (gromov.SORTED * gromov.FIRST), 1.0)
    one, other = (gromov.ranked(unit(side) @ unit(side).T) for side in (x, y))
    apart = np.square(one[:, None, :, None] - other[None, :, None, :])  # [i, j, k, l]
    unit_of_cost, values = gromov.SHARP * (one.var() + other.var()) / 2, []
    for _ in range(6):
        cost = np.einsum("ijkl,kl->ij", apart, coupling)
        values.append((cost * coupling).sum())
        coupling = transport(cost / unit_of_cost, coupling)
    assert np.all(np.diff(values) < 0)
    monkeypatch.setattr(gromov, "STEPS", 6)
    assert np.allclose(gromov.coupled(x, y, p, q), coupling, atol=1e-6)


def test_two_centres_have_nothing_to_rank():
    x, p, q = np.array([[1.0], [-1.0]]), np.array([0.3, 0.7]), np.array([0.6, 0.4])
    made = gromov.coupled(x, -x, p, q)
    assert np.allclose(made.sum(0), q) and np.allclose(made.sum(1), p, atol=1e-6)


def test_scaling_is_the_entropic_transport():
    """In 2 x 2 with given sums the odds ratio of the kernel stays (closed form)."""
    kernel, p, q = np.array([[2.0, 1.0], [1.0, 5.0]]), np.array([0.3, 0.7]), np.array([0.6, 0.4])
    made = gromov.scaled(kernel, p, q)
    assert np.allclose(made.sum(0), q) and np.allclose(made.sum(1), p, atol=1e-6)
    assert made[0, 0] * made[1, 1] / (made[0, 1] * made[1, 0]) == pytest.approx(10)


def test_ranks_are_as_normal_quantiles():
    near = rng.standard_normal((6, 6))
    near = near + near.T
    made, off = gromov.ranked(near), ~np.eye(6, dtype=bool)
    assert np.allclose(made, made.T) and np.allclose(made, gromov.ranked(np.exp(near)))
    order = sorted(near[np.triu_indices(6, 1)])
    wanted = {value: NormalDist().inv_cdf((2 * i + 1) / 30) for i, value in enumerate(order)}
    assert all(made[i, j] == pytest.approx(wanted[near[i, j]]) for i, j in np.argwhere(off))
    assert (made.diagonal() == made[off].max()).all()


def test_profiles_know_neither_turns_nor_order():
    x, order = rotations()[0], rng.permutation(400)
    turn = np.linalg.qr(rng.standard_normal((D, D)))[0]
    assert np.allclose(gromov.profiles(x @ turn)[order], gromov.profiles((x @ turn)[order]))
    assert np.allclose(gromov.profiles(x @ turn), gromov.profiles(x))
    cosines = np.array([[p @ q / np.linalg.norm(p) / np.linalg.norm(q) for q in x] for p in x])
    kept = np.sort(cosines[~np.eye(len(x), dtype=bool)].reshape(len(x), -1), 1)
    kept = kept[:, np.linspace(0, len(x) - 2, gromov.SORTED).astype(int)]
    assert np.allclose(gromov.profiles(x), (kept - kept.mean(0)) / kept.std(0))


def test_centres_are_the_means_of_what_is_nearest(monkeypatch):
    groups = unit(rng.standard_normal((7, D)))
    mine = rng.integers(7, size=300)
    x = unit(groups[mine] + 0.05 * rng.standard_normal((300, D)))
    made, share = gromov.centres(x, 7, np.random.default_rng(0))
    order = (unit(made) @ groups.T).argmax(1)
    assert sorted(order) == list(range(7)) and share.sum() == pytest.approx(1)
    for middle, part, group in zip(made, share, order):
        assert np.allclose(middle, x[mine == group].mean(0)) and part == pytest.approx((mine == group).mean())
    few, share = gromov.centres(x[:52], 100, np.random.default_rng(0))
    assert len(few) <= 10 and share.sum() == pytest.approx(1)
    alike, share = gromov.centres(np.repeat(x[:1], 60, axis=0), 12, np.random.default_rng(0))
    assert np.allclose(alike, x[0]) and share.sum() == pytest.approx(1)
