"""Maps without pairs: two noisy rotations of one space are found, a Gaussian is not, and the parts by their definitions."""

import numpy as np
import pytest

from lemtools import encode
from lemtools.align import gromov, unpaired
from lemtools.align.clouds import Cloud, Turn
from lemtools.align.maps import unit
from lemtools.signal import LemError, Signal

D = 24


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Fewer starts and Gaussians than in use."""
    monkeypatch.setattr(unpaired, "AXES", 3)
    monkeypatch.setattr(unpaired, "MATCHED", 3)
    monkeypatch.setattr(unpaired, "PROFILES", 2)
    monkeypatch.setattr(gromov, "RUNS", 2)
    monkeypatch.setattr(gromov, "CENTRES", 30)
    monkeypatch.setattr(unpaired, "GAUSSIANS", 3)
    monkeypatch.setattr(unpaired, "HEATS", (unpaired.Heat(150, 8, 8, 3),))


def rotations(n=260, noise=0.02, seed=0):
    """Items that lie in groups, and the same turned and moved, in another order; the order; noise on both sides."""
    rng = np.random.default_rng(seed)
    groups = rng.standard_normal((30, D)) * np.geomspace(3, 0.7, D)
    z = groups[rng.integers(30, size=n)] + 0.5 * rng.standard_normal((n, D))
    turn, order = np.linalg.qr(rng.standard_normal((D, D)))[0], rng.permutation(n)
    x, y = z + noise * rng.standard_normal((n, D)) + 1, 3 * (z + noise * rng.standard_normal((n, D))) @ turn - 2
    return x, y[order], order


def found_own(found, x, y, order):
    near = unit(found.apply(x[order]) - found.mean[1]) @ unit(y - found.mean[1]).T
    return float((near.argmax(1) == np.arange(len(y))).mean())


def test_two_noisy_rotations_of_one_space_are_found():
    x, y, order = rotations()
    found = unpaired.aligned(x, y)
    assert found_own(found, x, y, order) >= 0.95
    assert found.facts["mutual"] > found.facts["mutual-gaussian"] > 0 and found.facts["starts"] == 8 + 2 + 3
    made = found.apply(x) - found.mean[1]
    assert np.sqrt(np.square(made).sum(1).mean()) == pytest.approx(
        np.sqrt(np.square(y - y.mean(0)).sum(1).mean()), rel=1e-4
    )
    back = found.apply(y, back=True)
    assert np.sqrt(np.square(back - x[order]).mean()) < 0.5 * x.std()
    again = unpaired.aligned(x, y)
    assert np.array_equal(found.there, again.there) and np.array_equal(found.back, again.back)


def test_a_gaussian_is_not_aligned_with():
    x, y, _ = rotations()
    rng = np.random.default_rng(1)
    other = rng.multivariate_normal(y.mean(0), np.cov(y.T), len(y))
    with pytest.raises(LemError, match=r"no alignment found: 0\.\d+ of the vectors .* some pairs are needed"):
        unpaired.aligned(x, other)


def test_starts_pair_leading_axes_in_order_with_all_signs(monkeypatch):
    monkeypatch.setattr(unpaired, "AXES", 3)
    monkeypatch.setattr(unpaired, "MATCHED", 2)
    x, y, _ = rotations()
    made = [turn.there for turn in unpaired.by_axes(Cloud.of(x, x.mean(0)), Cloud.of(y, y.mean(0)))]
    assert len({turn.tobytes() for turn in made}) == len(made) == 3 * 3 * 4
    for turn in made:
        rows, columns = np.nonzero(turn)
        assert len(rows) == 2 and (np.diff(columns) > 0).all() and set(np.abs(turn[rows, columns])) == {1}


def test_gaussians_have_the_mean_and_the_covariance_and_nothing_else():
    y = rotations(6000)[1]
    one, other = (unpaired.gaussian(y, number) for number in (0, 1))
    assert np.allclose(one.mean, y.mean(0), atol=0.4) and not np.array_equal(one.rows, other.rows)
    of = Cloud.of(y, y.mean(0))
    assert np.allclose(one.values, of.values, rtol=0.3, atol=0.01)
    third = [
        (side.rows[:, 0].astype(float) ** 4).mean() / (side.rows[:, 0].astype(float) ** 2).mean() ** 2
        for side in (one, of)
    ]
    assert len(one.rows) == 6000 and abs(third[0] - third[1]) > 0.05


def test_a_fit_without_pairs_looks_at_no_names():
    x, y, order = rotations()
    names = [f"w{i}" for i in range(len(x))]
    wrong = [names[i] for i in np.random.default_rng(0).permutation(len(x))]
    sides = [
        Signal("embedding", x.astype(np.float32), names=names),
        Signal("embedding", y.astype(np.float32), names=wrong),
    ]
    made, report = encode.fit("translate", lambda: sides[:1], onto=lambda: sides[1:], unpaired=True)
    assert report["map"] == "unpaired" and report["pairs"] == 0
    assert found_own(made.found, x, y, order) >= 0.95


def test_starts_of_few_axes_are_not_crowded_out_by_those_of_many(monkeypatch):
    """More axes are stronger in the heats, right or wrong: either kind has finalists of its own, and the objective chooses."""
    few = [Turn(np.eye(4), np.eye(4), 0.0) for _ in range(6)]
    many = [Turn(np.eye(9), np.eye(9), 1.0) for _ in range(6)]
    ended = []

    def rounds(a, b, turn, draw):
        ended.append(turn)
        yield turn, 0.5 if len(turn.there) == 4 else 0.1

    monkeypatch.setattr(unpaired, "STARTS", ((lambda a, b: few,), (lambda a, b: many,)))
    monkeypatch.setattr(unpaired, "strengthened", lambda x, y, turn, a, b, heat: turn)
    monkeypatch.setattr(unpaired, "rounds", rounds)
    cloud = Cloud.of(np.random.default_rng(0).standard_normal((60, 9)), np.zeros(9))
    found = unpaired.search(cloud, cloud)
    assert [len(turn.there) for turn in ended] == [4] * 3 + [9] * 3
    assert len(found.turn.there) == 4 and found.mutual == 0.5 and found.starts == 12
