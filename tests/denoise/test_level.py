"""How much noise is in a state: the maximum of the likelihood, by definition, and what it must come to."""

import numpy as np
import pytest
import torch

from lemtools.denoise.gaussian import Gaussian, _Levels


def prior(eigenvalues, seed=0):
    """(a Gaussian with these eigenvalues, draw(count, s, seed): its samples with noise of standard deviation s)."""
    rng = np.random.default_rng(seed)
    dim = len(eigenvalues)
    turn = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    mean = rng.standard_normal(dim)

    def draw(count, s, seed=1):
        rng = np.random.default_rng(seed)
        clean = mean + (rng.standard_normal((count, dim)) * np.sqrt(eigenvalues)) @ turn.T
        return clean + s * rng.standard_normal((count, dim))

    return Gaussian(mean, (turn * eigenvalues) @ turn.T), draw


FALLING = np.exp(-np.arange(48) / 2.0)


@pytest.mark.parametrize("s", [0.002, 0.01, 0.1, 0.3, 3.0])
def test_unbiased_and_as_sharp_as_can_be(s):
    """The spread of log s is that of the Cramer-Rao bound, 1 / sqrt(2 sum (v / (l + v))^2)."""
    gaussian, draw = prior(FALLING)
    found = gaussian.level(draw(2000, s))
    bound = 1 / np.sqrt(2 * np.sum((s**2 / (FALLING + s**2)) ** 2))
    assert abs(np.median(found) / s - 1) < 0.05
    assert 0.95 * bound < np.std(np.log(found)) < 1.25 * bound


@pytest.mark.parametrize("eigenvalues", [FALLING, np.full(6, 2.0), np.array([1e4, 1.0, 1e-8]), np.array([3.0])])
def test_is_the_most_likely(eigenvalues):
    """No s of a fine grid is likelier, by the density written out."""
    gaussian, draw = prior(np.asarray(eigenvalues))
    x = np.concatenate([draw(6, s, 5) for s in (0, 1e-3, 0.2, 50)])
    mean, covariance = gaussian.mean.numpy(), gaussian.covariance.numpy()

    def cost(one, s):
        system = covariance + (s**2 + 1e-300) * np.eye(len(covariance))
        return np.linalg.slogdet(system)[1] + (one - mean) @ np.linalg.solve(system, one - mean)

    for one, s in zip(x, gaussian.level(x)):
        others = [0, *np.logspace(-5, 3, 400)]
        assert cost(one, s) <= min(cost(one, other) for other in others) + 1e-6, s


def test_where_every_direction_is_large_little_noise_is_not_seen():
    gaussian, draw = prior(np.ones(40))
    assert np.mean(gaussian.level(draw(400, 0.01)) == 0) > 0.3


def test_an_eigenvalue_of_zero():
    """In a direction that nothing has, all that is there is noise; with nothing there, too, there is none."""
    gaussian = Gaussian(np.zeros(3), np.diag([1.0, 0.0, 0.0]))
    found = gaussian.level(np.array([[0.7, 0.0, 0.0], [0.7, 0.02, -0.02]]))
    assert found[0] == 0 and abs(found[1] - 0.02) < 1e-4
    assert np.allclose(Gaussian(np.zeros(2), np.zeros((2, 2))).level(np.array([[3.0, 4.0]])), 12.5**0.5)


def test_rows_do_not_depend_on_one_another():
    gaussian, draw = prior(FALLING)
    x = draw(20, 0.1)
    x[3], x[5, 0] = np.nan, np.inf
    together, alone = gaussian.level(x), np.concatenate([gaussian.level(x[i : i + 1]) for i in range(20)])
    np.testing.assert_allclose(together, alone, rtol=1e-9)
    assert np.isnan(together[[3, 5]]).all() and np.isfinite(np.delete(together, [3, 5])).all()


def test_kinds_and_shapes():
    gaussian, draw = prior(FALLING)
    shaped = Gaussian(gaussian.mean.reshape(3, 16), gaussian.covariance)
    x = draw(4, 0.1)
    found = shaped.level(torch.from_numpy(x.reshape(4, 3, 16)))
    assert isinstance(found, torch.Tensor) and found.shape == (4,)
    np.testing.assert_allclose(found.numpy(), gaussian.level(x))
    assert gaussian.level(x[:0]).shape == (0,)
    with pytest.raises(ValueError, match="x"):
        gaussian.level(x[:, :5])


SPECTRA = {
    "falling": FALLING,
    "steep": np.logspace(-14, 0, 64),
    "steps": np.repeat([1e-8, 1.0, 1e4], [31, 30, 3]),
    "zeros": np.repeat([0.0, 1.0], [20, 10]),
    "two minima": np.array([1e-8, 1.0, 1e4]),
}


def energies(eigenvalues, count=300):
    rng = np.random.default_rng(7)
    e = (eigenvalues + np.logspace(-10, 14, count)[:, None]) * rng.standard_normal((count, len(eigenvalues))) ** 2
    return e * 10 ** rng.uniform(-1, 1, e.shape)


@pytest.mark.parametrize("name", SPECTRA)
def test_the_minimum_is_found_to_nine_digits(name):
    """Where the derivative of the cost changes its sign, by bisection, also far beyond the largest eigenvalue."""
    values = SPECTRA[name]
    e = energies(values)
    v = _Levels(torch.from_numpy(values))(torch.from_numpy(e).sqrt()).numpy() ** 2
    assert np.isfinite(v).all()
    e, v = e[v > 1e-12 * values.max()], v[v > 1e-12 * values.max()]
    assert len(v) > 200 and v.max() > 1e8 * values.max()

    def slope(v):
        there = values + v[:, None]
        return ((there - e) / there**2).sum(1)

    low, high = 0.99 * v, 1.01 * v
    assert (slope(low) < 0).all() and (slope(high) > 0).all()
    for _ in range(60):
        middle = (low + high) / 2
        down = slope(middle) < 0
        low, high = np.where(down, middle, low), np.where(down, high, middle)
    np.testing.assert_allclose(v, low, rtol=1e-9)


def test_torch_and_numpy_refine_alike():
    """A GPU has the one, a CPU the other, of the same lines."""
    for values in SPECTRA.values():
        along = torch.from_numpy(energies(values)).sqrt()
        found = [_Levels(torch.from_numpy(values), xp)(along) for xp in (np, torch)]
        torch.testing.assert_close(*found, rtol=1e-9, atol=0)
