"""Schedules, samplers, draws given a fragment and the bound on bits, each against a closed form or an enumeration."""

import math

import numpy as np
import pytest
import torch

from lemtools.denoise.bound import _surprise, bound
from lemtools.denoise.gaussian import Gaussian
from lemtools.denoise.memory import Memory
from lemtools.denoise.posterior import CLEANEST, GAIN, NOISIEST, _middle, _reflect, _step, posterior
from lemtools.denoise.samplers import ancestral, ddim, noise, noised
from lemtools.denoise.schedule import cosine, grid, log_snr
from lemtools.rng import generator

INF = np.inf


def generators(count, name="test", seed=0):
    return [generator(seed, i, 0, name) for i in range(count)]


def prior(dim=6, seed=3, condition=30.0):
    """A Gaussian of trace dim / 4 with random axes."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    values = np.geomspace(1, 1 / condition, dim)
    return Gaussian(0.2 * rng.standard_normal(dim), axes * (values / values.mean() / 4) @ axes.T)


class Finite:
    """The empirical prior in float64, by the definition: quicker on a handful than Memory is."""

    def __init__(self, rows):
        self.rows = torch.as_tensor(rows)

    def __call__(self, x, level):
        distance = torch.cdist(x / math.sqrt(level), self.rows).square()
        return torch.softmax(-distance * level / (1 - level) / 2, 1) @ self.rows


def interval(y, observed):
    return np.where(observed, y, -INF), np.where(observed, y, INF)


def assert_moments(draws, mean, covariance, bias=0.06):
    """Mean within `bias` standard deviations, variances and correlations within 2 bias, each + 4.5 standard errors."""
    std, error = np.sqrt(np.diag(covariance)), 4.5 / np.sqrt(len(draws))
    assert np.abs((draws.mean(0) - mean) / std).max() < bias + error
    assert np.abs((np.cov(draws.T) - covariance) / np.outer(std, std)).max() < 2 * bias + error * math.sqrt(2)


# ---- schedules


def test_schedules():
    t = np.linspace(0, 1, 101)
    assert cosine(0.0) == 1 and cosine(t).dtype == np.float64 and (np.diff(cosine(t)) < 0).all()
    np.testing.assert_allclose(1 - cosine(t), 1 - np.cos(t / 1.008 * np.pi / 2) ** 2, atol=1e-15)
    assert float(cosine(1.0)) == pytest.approx(math.sin(0.008 / 1.008 * math.pi / 2) ** 2, rel=1e-9)
    ends = log_snr(20.0, 0.5)
    straight = np.linspace(2 * math.log(0.5), 2 * math.log(20), 101)
    np.testing.assert_allclose(np.log(1 / ends(t) - 1), straight, atol=1e-9)
    levels = grid(4, log_snr(10, 0.1), stop=0)
    np.testing.assert_allclose(np.sqrt(1 / levels[:-1] - 1), 10 * 100 ** (-np.arange(4) / 3), rtol=1e-12)
    assert levels[-1] == 1 and grid(1).shape == (2,) and (np.diff(grid(1000)) > 0).all()
    np.testing.assert_allclose(np.sqrt(1 / log_snr()(np.array([1.0, 0.0])) - 1), [NOISIEST, CLEANEST])
    with pytest.raises(ValueError, match="one step"):
        grid(0)
    with pytest.raises(ValueError, match="cleanest"):
        log_snr(0.1, 1.0)


# ---- samplers


def test_ddim_converges_to_the_probability_flow_at_first_order():
    gaussian = prior()
    values, axes = gaussian.spectrum
    x, start = noise(generators(20), (6,), torch.float64), log_snr(30, 0.01)
    level = float(start(1.0))
    # dz = (z - mean) sigma dsigma / (s + sigma^2): each axis shrinks by sqrt(s / (s + sigma^2))
    z = (x / math.sqrt(level) - gaussian.mean) @ axes
    exact = gaussian.mean + (z * (values / (values + 900)).sqrt()) @ axes.T
    error = [float((ddim(gaussian, x, grid(k, start, stop=0)) - exact).square().mean().sqrt()) for k in (50, 100, 200)]
    assert error[2] < 0.03
    assert 1.7 < error[0] / error[1] < 2.3 and 1.7 < error[1] / error[2] < 2.3


def test_a_step_of_ddim_is_equation_12():
    """Of a denoiser that answers 0, started at 0, only fresh noise and the direction to x_t are left."""

    def nothing(x, level):
        return torch.zeros_like(x)

    now, then, x = 0.3, 0.7, noise(generators(4), (5,), torch.float64)
    n = noise(generators(4, "fresh"), (5,), torch.float64)
    for eta in (0.0, 0.5, 1.0):
        std = eta * math.sqrt((1 - then) / (1 - now) * (1 - now / then))
        seen = []
        ddim(
            nothing,
            x,
            np.array([now, then, 1.0]),
            eta=eta,
            generators=generators(4, "fresh"),
            callback=lambda k, level, x_t, x0: seen.append(x_t),
        )
        expected = math.sqrt(1 - then - std**2) * x / math.sqrt(1 - now) + std * n
        torch.testing.assert_close(seen[1], expected)


def test_ancestral_sampling_is_ddim_of_eta_1():
    gaussian, x = prior(3), noise(generators(5), (3,), torch.float64)
    levels = grid(6, log_snr(30, 0.01), stop=0)
    one = ancestral(gaussian, x, levels, generators=generators(5, "fresh"))
    other = ddim(gaussian, x, levels, eta=1.0, generators=generators(5, "fresh"))
    assert torch.equal(one, other)
    assert float((one - ddim(gaussian, x, levels)).abs().max()) > 0.1


def test_ancestral_samples_have_the_moments_of_the_prior():
    gaussian, count = prior(3), 2000
    start = noise(generators(count, "start"), (3,), torch.float64)
    x = ancestral(gaussian, start, grid(150, log_snr(30, 0.01), stop=0), generators=generators(count))
    assert_moments(x.numpy(), gaussian.mean.numpy(), gaussian.covariance.numpy(), bias=0.02)
    half = noised(x, 0.5, generators(count, "half"))
    back = ancestral(gaussian, half, grid(80, log_snr(1, 0.01), stop=0), generators=generators(count, "back"))
    assert_moments(back.numpy(), gaussian.mean.numpy(), gaussian.covariance.numpy(), bias=0.03)
    assert float((back - x).square().mean()) < 0.8 * 2 * float(gaussian.covariance.trace()) / 3  # it remembers


def test_sampler_ends_projection_and_callback():
    gaussian, seen = prior(), []
    x = noise(generators(3), (6,))
    known = torch.tensor([0.25, -0.5])

    def project(x0):
        return torch.cat([known.expand(3, 2), x0[:, 2:]], 1)

    out = ancestral(
        gaussian,
        x,
        grid(20),
        generators=generators(3),
        project=project,
        callback=lambda k, level, x_t, x0: seen.append((k, level)),
    )
    assert torch.equal(out[:, :2], known.expand(3, 2)) and [k for k, _ in seen] == list(range(20))
    assert [level for _, level in seen] == grid(20)[:-1].tolist()
    still = ancestral(gaussian, x, grid(20), generators=generators(3, seed=1), temperature=0)
    assert torch.equal(still, ancestral(gaussian, x, grid(20), generators=generators(3), temperature=0))
    pure = ddim(gaussian, x, np.array([0.0, 1.0]))  # from alpha_bar = 0, in one step: the mean
    assert torch.equal(pure, gaussian.mean.float().expand(3, 6))
    for levels in ([0.5], [0.5, 0.5], [0.5, 1.1], [-0.1, 1]):
        with pytest.raises(ValueError, match="rise"):
            ddim(gaussian, x, levels)
    with pytest.raises(ValueError, match="generator"):
        ddim(gaussian, x, grid(2), eta=1.0)
    with pytest.raises(TypeError):
        ddim(gaussian, x, grid(2), 1.0)  # options go by their names


# ---- draws given a fragment


@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_posterior_of_a_gaussian(sigma):
    gaussian, draws = prior(), 1000
    y = gaussian.mean.numpy() + 0.5 * np.random.default_rng(4).standard_normal(6)
    observed = np.array([1, 1, 0, 1, 0, 0], bool)
    low, high = interval(y, observed)
    x = posterior(gaussian, low[None], high[None], sigma=sigma, samples=draws, steps=100, generators=generators(draws))[
        0
    ]
    mean, cov = gaussian.mean.numpy(), gaussian.covariance.numpy()
    gain = cov[:, observed] @ np.linalg.inv(cov[np.ix_(observed, observed)] + sigma**2 * np.eye(3))
    mean, cov = mean + gain @ (y - mean)[observed], cov - gain @ cov[observed]
    look = ~observed if sigma == 0 else np.ones(6, bool)
    np.testing.assert_allclose(gaussian.conditional(y[None], observed[None], sigma**2)[0], mean, atol=1e-9)
    assert_moments(x[:, look], mean[look], cov[np.ix_(look, look)])
    assert (x[:, observed] == y[observed]).all() or sigma > 0


def test_posterior_of_a_gaussian_in_bins():
    gaussian, draws = prior(2, seed=8, condition=10), 1000
    low, high = np.array([-0.7, -INF]), np.array([-0.2, 0.1])
    rng = np.random.default_rng(0)
    true = rng.multivariate_normal(gaussian.mean.numpy(), gaussian.covariance.numpy(), 400_000)
    true = true[((true >= low) & (true <= high)).all(1)]
    assert len(true) > 20_000
    x = posterior(gaussian, low[None], high[None], samples=draws, steps=100, generators=generators(draws))[0]
    assert ((x >= low) & (x <= high)).all()
    assert_moments(x, true.mean(0), np.cov(true.T), bias=0.08)
    assert np.abs(np.quantile(x, [0.1, 0.5, 0.9], 0) - np.quantile(true, [0.1, 0.5, 0.9], 0)).max() < 0.05


def test_reflection_keeps_a_flat_density_flat():
    rng, count = np.random.default_rng(0), 20_000
    low, high = torch.full((count,), -0.5), torch.full((count,), 1.5)
    start = torch.from_numpy(rng.uniform(-0.5, 1.5, count))
    for std in (0.3, 5.0):
        z = _reflect(start + std * torch.from_numpy(rng.standard_normal(count)), low, high, low < high)
        gap = np.sort(z.numpy()) - np.linspace(-0.5, 1.5, count)
        assert np.abs(gap / 2).max() < 1.95 / math.sqrt(count)  # Kolmogorov-Smirnov, p = .001
    ends = torch.tensor([-1.0, -INF]), torch.tensor([INF, 1.0])
    one_sided = _reflect(torch.tensor([-2.0, 3.0]), *ends, torch.tensor(True))
    assert one_sided.tolist() == [0.0, -1.0]


@pytest.mark.parametrize("noisy", [False, True])
def test_an_interval_is_its_mean_and_standard_deviation(noisy):
    """Those of a value that is as likely everywhere in it; one that is open says nothing, but for noise, which is centred there."""
    ends = np.array([[-0.5, 1.5], [2.0, 2.25], [0.3, 0.3], [-INF, INF], [0.7, INF], [-INF, -0.4]])
    middle, spread = _middle(*torch.from_numpy(ends.T), torch.full((len(ends),), noisy))
    inside = np.linspace(ends[:3, 0], ends[:3, 1], 100_001)
    np.testing.assert_allclose(middle[:3], inside.mean(0), atol=1e-6)
    np.testing.assert_allclose(spread[:3], inside.std(0), rtol=1e-4, atol=1e-9)
    assert middle[3:].tolist() == ([0, 0.7, -0.4] if noisy else [0, 0, 0])
    assert spread[3:].tolist() == [0.0 if noisy else INF] * 3


def step(z, x0, s, then, n, y, spread, noisy):
    """_step where the value y was observed with a standard deviation `spread`, all of it float64 of one element."""
    z, x0, n, y, spread = (torch.as_tensor(v, dtype=torch.float64).reshape(-1, 1) for v in (z, x0, n, y, spread))
    open_ = torch.full_like(y, math.inf)
    return _step(z, x0, s, then, n, -open_, open_, y, spread, torch.full(y.shape, noisy))[:, 0]


@pytest.mark.parametrize("s", [0.4, 1.5])
def test_narrow_evidence_rests_where_the_mean_is_the_posterior_mean(s):
    """Of a Gaussian prior of variance v, seen as y with noise t: E[x_0 | y] = y v / (v + t^2), and z goes to y from there."""
    v, t, y, then = 0.7, 0.3, 1.3, 0.9 * s
    mean = y * v / (v + t * t)
    z = mean * (v + s * s) / v  # where the denoiser says so: E[x_0 | z] = z v / (v + s^2)
    found = float(step(z, mean, s, then, 0.0, y, t, True))
    assert found == pytest.approx(y + 0.81 * (z - y), rel=1e-12)
    for other in (mean - 0.1, mean + 0.1):  # elsewhere it is driven there
        found = float(step(other * (v + s * s) / v, other, s, then, 0.0, y, t, True))
        assert (found - y - 0.81 * (other * (v + s * s) / v - y)) * (mean - other) > 0


@pytest.mark.parametrize("s", [0.1, 0.6, 0.9])
def test_noisy_values_under_a_flat_prior_are_exact(s):
    """Where E[x_0 | z] = z, the noisy value is z and the rest of its noise: z stays distributed as N(y, spread^2 - s^2)."""
    spread, y = 1.0, 0.5
    at = float(step(y, y, s, s, 0.0, y, spread, True))
    by_z = float(step(y + 1, y + 1, s, s, 0.0, y, spread, True)) - at
    by_noise = float(step(y, y, s, s, 1.0, y, spread, True)) - at
    variance = spread**2 - s**2
    assert at == pytest.approx(y)
    assert by_z**2 * variance + by_noise**2 == pytest.approx(variance)


def test_the_multiplier_of_exact_values_holds_some_residuals():
    """Where the denoiser stays off by r, z settles at y + GAIN keep r, for steps so small that no step takes all of r."""
    y, r, s, then = 0.4, 0.25, 1.0, 0.99
    keep, z = then**2, y
    for _ in range(2000):
        z = float(step(z, y - r, s, then, 0.0, y, 0.0, False))
    assert GAIN * (1 - keep) < 1
    assert z == pytest.approx(y + GAIN * keep * r)


def test_a_noisy_value_may_be_given_by_its_one_end():
    """The middle of an interval, or its finite end, is the noisy value."""
    gaussian, y = prior(3), np.array([[0.3, -0.2, 0.5]])
    options = dict(sigma=0.3, steps=20, samples=2)
    both = posterior(gaussian, y, y, generators=generators(2), **options)
    for low, high in ((y, np.full_like(y, INF)), (np.full_like(y, -INF), y)):
        np.testing.assert_allclose(posterior(gaussian, low, high, generators=generators(2), **options), both)


def test_posterior_of_a_finite_memory_is_its_enumeration():
    rng = np.random.default_rng(0)
    rows, observed, draws = 0.5 * rng.standard_normal((20, 32)), np.arange(32) < 16, 300
    rows[1:3, :16] = rows[0, :16]  # three memories fit the fragment, seventeen do not
    low, high = interval(rows[[0, 5]], observed)
    x = posterior(Finite(rows), low, high, samples=draws, steps=100, generators=generators(2 * draws))
    nearest = np.square(x[:, :, None] - rows).sum(3).argmin(2)
    exact = Memory(rows).recall(rows[:1], observed[None], top=4)
    np.testing.assert_allclose(exact.weight[0], [1 / 3, 1 / 3, 1 / 3, 0], atol=1e-6)
    counts = np.bincount(nearest[0], minlength=20)
    assert counts[:3].sum() == draws
    assert np.abs(counts[:3] / draws - 1 / 3).max() < 0.05 + 4 * math.sqrt(2 / 9 / draws)
    assert (nearest[1] == 5).all()
    assert np.abs(x[1] - rows[5]).max() < 1e-6  # and it is the memory itself


def test_posterior_recalls_from_a_quarter():
    """Where replacement takes a wrong memory for most draws (see its docstring)."""
    rng = np.random.default_rng(0)
    rows = 0.5 * rng.standard_normal((20, 32))
    low, high = interval(rows[:10], np.arange(32) < 8)
    x = posterior(Finite(rows), low, high, samples=10, steps=200, generators=generators(100))
    right = np.square(x[:, :, None] - rows).sum(3).argmin(2) == np.arange(10)[:, None]
    assert right.mean() > 0.95


def test_memory_and_images_through_the_contract():
    rng = np.random.default_rng(1)
    store = rng.integers(0, 256, (12, 1, 4, 4), dtype=np.uint8)
    memory = Memory(store)
    whole = (store[3:5] / 255).astype(np.float32)
    low, high = interval(whole, np.arange(4)[:, None] < 2)
    for given in (np.asarray, torch.from_numpy):
        x = posterior(
            memory,
            given(low.astype(np.float32)),
            given(high.astype(np.float32)),
            samples=2,
            steps=60,
            generators=generators(4),
        )
        assert isinstance(x, type(given(low))) and x.shape == (2, 2, 1, 4, 4)
        np.testing.assert_allclose(x, np.repeat(whole[:, None], 2, 1), atol=1e-5)


def test_draws_hold_the_fragment_and_depend_on_their_generator_alone():
    gaussian, rng = prior(8), np.random.default_rng(2)
    y = rng.standard_normal((3, 8)).astype(np.float32)
    width = np.array([0, 0, 0.01, 0.2, 3, INF, INF, INF], np.float32)
    low, high = (y - width).astype(np.float32), (y + width).astype(np.float32)
    low[:, 5], high[:, 6] = y[:, 5], y[:, 6]
    own = generators(6)
    x = posterior(gaussian, low, high, samples=2, steps=30, generators=own)
    assert x.dtype == np.float32 and ((x >= low[:, None]) & (x <= high[:, None])).all()
    assert (x[:, :, :2] == y[:, None, :2]).all()
    alone = posterior(gaussian, low[1:2], high[1:2], steps=30, generators=generators(6)[3:4])
    np.testing.assert_allclose(alone[0, 0], x[1, 1], atol=1e-5)
    assert np.abs(x[1, 0, 7] - x[1, 1, 7]) > 1e-3
    cold = [posterior(gaussian, low, high, steps=30, generators=generators(3, seed=s), temperature=0) for s in (0, 1)]
    np.testing.assert_array_equal(*cold)


def test_posterior_says_what_is_wrong():
    gaussian, y = prior(), np.zeros((2, 6))
    for wrong, match in (
        (dict(generators=generators(3)), "generators"),
        (dict(steps=0), "steps"),
        (dict(samples=0), "samples"),
        (dict(temperature=-1.0), "temperature"),
        (dict(sigma=np.zeros(3)), "sigma"),
        (dict(cleanest=0.0), "cleanest"),
    ):
        with pytest.raises(ValueError, match=match):
            posterior(gaussian, y, y, **{"generators": generators(2), **wrong})
    with pytest.raises(ValueError, match="low <= high"):
        posterior(gaussian, y + 1, y, generators=generators(2))


# ---- the bound on bits


def surprise(x, mean, covariance):
    """-log density of a Gaussian, [N]."""
    r = x - mean
    square = np.einsum("ni,ij,nj->n", r, np.linalg.inv(covariance), r)
    return 0.5 * (square + np.linalg.slogdet(2 * np.pi * covariance)[1])


def excess(found, true):
    """Mean of bound - truth over the items and its standard error, per unknown value."""
    each = (found.nats - true) / found.unknown
    return each.mean(), each.std(ddof=1) / math.sqrt(len(each))


def test_bound_of_a_gaussian_is_its_entropy():
    gaussian, count = prior(), 600
    mean, cov = gaussian.mean.numpy(), gaussian.covariance.numpy()
    x = np.random.default_rng(0).multivariate_normal(mean, cov, count)
    free = np.full_like(x, INF)
    found = bound(gaussian, x, -free, free, generators=generators(count), points=32)
    more, error = excess(found, surprise(x, mean, cov))
    assert -4 * error < more < 4 * error + 0.002 and error < 0.02
    spread = (found.nats - surprise(x, mean, cov)).std()
    assert 0.8 < np.sqrt((found.error**2).mean()) / spread < 1.4  # the error that it tells is its error
    np.testing.assert_allclose(found.nats, found.prior + found.diffusion + found.reconstruction)


def test_bound_given_a_fragment():
    gaussian, count = prior(), 600
    mean, cov = gaussian.mean.numpy(), gaussian.covariance.numpy()
    x, o = np.random.default_rng(0).multivariate_normal(mean, cov, count), np.arange(6) < 3
    low, high = interval(x, o)
    gain = cov[~o][:, o] @ np.linalg.inv(cov[o][:, o])
    true = surprise(x[:, ~o], mean[~o] + (x[:, o] - mean[o]) @ gain.T, cov[~o][:, ~o] - gain @ cov[o][:, ~o])
    loose = bound(gaussian, x, low, high, generators=generators(count), points=16)
    tight = bound(gaussian, x, low, high, generators=generators(count), points=16, matching=8)
    assert (tight.unknown == 3).all()
    (more, error), (much_more, _) = excess(tight, true), excess(loose, true)
    assert -4 * error < more < 4 * error + 0.02
    assert much_more > more + 0.05  # what the exact values tell through noise is less

    def sees(x_t, level):  # a denoiser that sees the fragment: the bound is tight
        level = torch.as_tensor(level).reshape(-1, 1)
        clean = torch.cat([torch.from_numpy(x[:, o]), x_t[:, ~torch.from_numpy(o)] / level.sqrt()], 1)
        variance = np.where(o, 0.0, 1.0)
        return torch.from_numpy(
            np.concatenate(
                [
                    gaussian.conditional(c[None].numpy(), noise_var=variance[None] * float(1 / v - 1))
                    for c, v in zip(clean, level)
                ]
            )
        )

    few = 60
    x, low, high = x[:few], low[:few], high[:few]
    more, error = excess(bound(sees, x, low, high, generators=generators(few), points=16), true[:few])
    assert -4 * error < more < 4 * error + 0.01


@pytest.mark.parametrize("sharp", [0.25, 1.0])
def test_bound_over_levels_and_bins(sharp):
    """Independent 5-bit values: -log of the probability of a level, and of a level within its bin of four."""
    std, count, step, dim = 0.3, 300, 2 / 31, 8
    gaussian = Gaussian(np.zeros(dim), std**2 * np.eye(dim))
    rng = np.random.default_rng(0)
    level = np.clip(np.rint((rng.normal(0, std, (count, dim)) + 1) / step), 0, 31).astype(int)
    x, ends = level * step - 1, (np.arange(33) - 0.5) * step - 1
    cdf = np.array([0.5 * (1 + math.erf(e / std / math.sqrt(2))) for e in ends])
    cdf[[0, -1]] = 0, 1
    p = np.diff(cdf)
    free, extent = np.full_like(x, INF), (-1.0, 1.0)
    options = dict(step=step, extent=extent, generators=generators(count), cleanest=sharp * step)
    more, error = excess(bound(gaussian, x, -free, free, **options), -np.log(p[level]).sum(1))
    assert -4 * error < more < 4 * error + (0.10 if sharp == 0.25 else 0.03) and error < 0.02
    first = level // 4 * 4
    given = p[level] / p.reshape(-1, 4).sum(1)[level // 4]
    low, high = (first * step - 1, (first + 3) * step - 1)
    x = np.clip(x, low, high)
    found = bound(gaussian, x, low, high, **options)
    more, error = excess(found, -np.log(given).sum(1))
    assert found.nats.mean() / dim < 2.2 and more > -4 * error
    # where z tells nothing: one of four levels
    blurred = bound(gaussian, x, low, high, **{**options, "cleanest": 20 * step})
    assert abs(blurred.reconstruction.mean() / dim - math.log(4)) < 0.02
    assert more < 0.6  # E[x_0 | x_t] is only clipped into the bin, not the mean in it


def test_surprise_inside_a_bin_is_that_of_the_truncated_normal():
    x, n, sigma = torch.tensor([0.1, 0.1, 0.1, -0.3]), torch.tensor([0.5, -2.0, 1.0, 0.0]), 0.2
    low, high = torch.tensor([0.0, 0.0, -INF, -0.4]), torch.tensor([0.3, INF, 0.15, -0.29])
    found = _surprise(x.double(), n.double(), low.double(), high.double(), sigma, None)
    for k in range(4):
        z = float(x[k] + sigma * n[k])
        density = math.exp(-((float(x[k]) - z) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
        ends = [0.5 * (1 + math.erf((float(e) - z) / sigma / math.sqrt(2))) for e in (low[k], high[k])]
        assert float(found[k]) == pytest.approx(-math.log(density / (ends[1] - ends[0])), rel=1e-5)


def test_bound_says_what_is_wrong():
    gaussian, x = prior(), np.zeros((2, 6))
    free = np.full_like(x, INF)
    with pytest.raises(ValueError, match="even"):
        bound(gaussian, x, -free, free, generators=generators(2), points=3)
    with pytest.raises(ValueError, match="outside"):
        bound(gaussian, x, x + 1, free, generators=generators(2))
    with pytest.raises(ValueError, match="one shape"):
        bound(gaussian, x, -free, free, generators=generators(3))
