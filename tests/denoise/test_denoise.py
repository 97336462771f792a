"""The denoiser contract, associative recall and the Gaussian, each against its definition in float64."""

import gzip
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from lemtools.denoise.contract import Scale, split
from lemtools.denoise.gaussian import Gaussian
from lemtools.denoise.memory import Memory
from lemtools.denoise.store import Store


def softmax_by_definition(memories, query, mask, sigma, a=1.0, centred=False):
    """Mean, posterior, log sum, energies: one query and one memory at a time, float64."""
    posterior, logs, energies = [], [], []
    mask = np.broadcast_to(mask, query.shape).astype(bool)
    precision = 1.0 / np.broadcast_to(sigma, query.shape) ** 2
    for q, m, w in zip(query, mask, precision):
        energy = []
        for k in memories:
            if centred:
                root = np.sqrt(w[m])
                design = np.stack([root, root * k[m]], 1)
                offset_only = np.linalg.lstsq(design[:, :1], root * q[m], rcond=None)[0]
                fit = np.linalg.lstsq(design, root * q[m], rcond=None)[0]
                fit = fit if fit[1] > 0 else np.array([offset_only[0], 0.0])
                energy.append(0.5 * np.sum((root * q[m] - design @ fit) ** 2))
            else:
                energy.append(0.5 * np.sum(w[m] * (q[m] - a * k[m]) ** 2))
        logit = -np.array(energy)
        p = np.exp(logit - logit.max())
        energies.append(energy)
        posterior.append(p / p.sum())
        logs.append(logit.max() + np.log(p.sum()))
    posterior = np.array(posterior)
    return posterior @ memories, posterior, np.array(logs), np.array(energies)


def covariance(rng, dim):
    factor = rng.standard_normal((dim, dim))
    return factor @ factor.T / dim + 0.1 * np.eye(dim)


# ---- contract


def test_package_import_is_light():
    code = "import sys, lemtools.denoise; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_split_keeps_float64_and_says_what_is_wrong():
    _a, b = split(1.0 - 1e-12, 3)
    assert b.dtype == torch.float64 and b.shape == (3,) and abs(b[0].item() / 1e-12 - 1) < 1e-3
    assert split(np.array([[0.25], [1.0]]), 2)[1].tolist() == [0.75, 0.0]
    with pytest.raises(TypeError, match="float64"):
        split(np.float32([0.5]), 1)
    with pytest.raises(ValueError, match="one per item"):
        split(np.array([0.5, 0.5]), 3)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        split(math.nan, 1)


def test_scale():
    rng = np.random.default_rng(0)
    assert Scale.image().encode(np.array([0, 255], np.uint8)).tolist() == [-1.0, 1.0]
    assert Scale.image().decode(torch.tensor([-1.0, 0.0])).tolist() == [0.0, 0.5]
    for scale in (Scale(), Scale.image(), Scale.centred(0.25, 0.5)):  # 8 bits are v / 255, of both libraries
        levels = np.arange(256, dtype=np.uint8)
        for given in (levels, torch.from_numpy(levels)):
            assert scale.encode(given).dtype in (np.float32, torch.float32)
            np.testing.assert_allclose(scale.encode(given), scale.encode(levels / 255), atol=1e-6)
            np.testing.assert_allclose(scale.decode(scale.encode(given)), levels / 255, atol=1e-6)
    x = rng.standard_normal((500, 6)) @ rng.standard_normal((6, 6)) + 3
    values, vectors = np.linalg.eigh(np.cov(x.T))
    white = Scale.whitened(x.mean(0), values, vectors)
    np.testing.assert_allclose(np.cov(white.encode(x).T), np.eye(6), atol=1e-10)
    np.testing.assert_allclose(white.decode(white.encode(x)), x, atol=1e-10)
    standard = Scale.centred(x.mean(0), x.std(0))
    np.testing.assert_allclose(standard.encode(x).std(0), 1, atol=1e-12)


def test_store_mean_rows_and_tiles(tmp_path):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, (37, 3, 4, 5), dtype=np.uint8)
    np.save(tmp_path / "store.npy", array)
    expected = 2 * (array.reshape(37, 60) / 255) - 1
    for source in (array, torch.from_numpy(array), np.load(tmp_path / "store.npy", mmap_mode="r")):
        store = Store(source, Scale.image(), tile=10)
        np.testing.assert_allclose(store.mean, expected.mean(0), atol=1e-7)
        np.testing.assert_allclose(store.rows([36, 2]).reshape(2, 60), expected[[36, 2]], atol=1e-15)
        assert [start for start, _ in store.tiles()] == [0, 10, 20, 30]
        np.testing.assert_allclose(torch.cat([t for _, t in store.tiles(torch.float64)]), expected, atol=1e-15)
    with pytest.raises(ValueError, match="N >= 1"):
        Store(np.zeros((0, 3)))


# ---- softmax over stored patterns


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("sigma", [0.02, 0.3, 3.0])
@pytest.mark.parametrize("tile", [1, 7, 100])
def test_recall_equals_the_definition(tile, sigma, centred):
    rng = np.random.default_rng(1)
    memories = rng.random((80, 40))
    query = memories[:4] + 0.2 * rng.standard_normal((4, 40))
    mask = rng.random((4, 40)) < 0.5
    deviation = sigma * (0.5 + rng.random((4, 40)))
    mean, posterior, log_sum, energies = softmax_by_definition(memories, query, mask, deviation, centred=centred)
    found = Memory(memories, tile=tile).recall(query, mask, deviation, centred=centred, top=3)
    np.testing.assert_allclose(found.mean, mean, atol=1e-6)
    order = np.argsort(energies, axis=1, kind="stable")[:, :3]
    np.testing.assert_array_equal(found.index, order)
    np.testing.assert_allclose(found.weight, np.take_along_axis(posterior, order, 1), atol=1e-6)
    np.testing.assert_allclose(found.log_sum, log_sum, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.effective, 1 / (posterior**2).sum(1), rtol=1e-5)


@pytest.mark.parametrize("alpha_bar", [1e-8, 0.01, 0.5, 0.99, 1 - 1e-13])
def test_memory_denoiser_equals_the_definition(alpha_bar):
    rng = np.random.default_rng(2)
    memories = rng.integers(0, 256, (90, 2, 4, 4), dtype=np.uint8)
    coordinates = 2 * (memories.reshape(90, 32) / 255) - 1
    x = math.sqrt(alpha_bar) * coordinates[:5] + math.sqrt(1 - alpha_bar) * rng.standard_normal((5, 32))
    expected, *_ = softmax_by_definition(coordinates, x, True, math.sqrt(1 - alpha_bar), math.sqrt(alpha_bar))
    memory = Memory(memories, Scale.image(), tile=32)
    result = memory(x.reshape(5, 2, 4, 4), alpha_bar)
    assert result.shape == (5, 2, 4, 4) and result.dtype == np.float64
    np.testing.assert_allclose(result.reshape(5, 32), expected, atol=1e-6)
    single = memory(torch.from_numpy(x[2:3]).reshape(1, 2, 4, 4).float(), alpha_bar)  # batch size changes nothing
    assert isinstance(single, torch.Tensor) and single.dtype == torch.float32
    np.testing.assert_allclose(single.reshape(-1), expected[2], atol=1e-5)


@pytest.mark.parametrize("make", [lambda m: Memory(m), lambda m: Gaussian.fit(m)])
def test_limits_of_alpha_bar_are_exact(make):
    rng = np.random.default_rng(3)
    memories, x = rng.random((30, 3, 2)), rng.standard_normal((3, 3, 2))
    result = make(memories)(x, np.array([0.0, 1.0, 0.5]))
    np.testing.assert_allclose(result[0], memories.mean(0), atol=1e-7)
    np.testing.assert_array_equal(result[1], x[1])
    assert not np.allclose(result[2], x[2]) and np.isfinite(result[2]).all()


def test_duplicates_share_the_weight_equally():
    rng = np.random.default_rng(4)
    memories = rng.integers(0, 256, (200, 30), dtype=np.uint8)
    memories[[50, 121, 180]] = memories[7]
    memories[100:140:2, :10] = memories[3, :10]  # 21 ties on the first ten: more than the candidates
    memory = Memory(memories, tile=60)
    found = memory.recall(memories[[7]], top=5)
    assert found.index[0, :4].tolist() == [7, 50, 121, 180]
    np.testing.assert_allclose(found.weight[0], [0.25, 0.25, 0.25, 0.25, 0], atol=1e-12)
    mask = np.arange(30) < 10
    tied = memory.recall(memories[[3]], mask[None], samples=2000, generators=[np.random.default_rng(0)])
    assert tied.effective[0] == pytest.approx(21, rel=1e-9) and tied.weight[0, 0] == pytest.approx(1 / 21, rel=1e-9)
    group = np.r_[3, np.arange(100, 140, 2)]
    np.testing.assert_allclose(tied.mean[0], (memories[group] / 255).mean(0), atol=1e-7)
    assert set(tied.sampled[0]) == set(group.tolist())


def test_exact_fragment_beats_one_grey_level():
    """A difference of one level in 3072 values, beside a constant of the full range: lost in float32 products."""
    memories = np.full((40, 3072), 255, np.uint8)
    memories[np.arange(40), np.arange(40)] = 254
    found = Memory(memories).recall(memories[[30]], top=2)
    assert found.index[0, 0] == 30 and found.weight[0, 0] == pytest.approx(1)


def test_nothing_observed_recalls_the_mean():
    memories = np.random.default_rng(5).random((25, 8))
    for centred in (False, True):
        found = Memory(memories).recall(np.full((1, 8), np.nan), np.zeros((1, 8)), centred=centred)
        np.testing.assert_allclose(found.mean[0], memories.mean(0), atol=1e-12)
        assert found.effective[0] == pytest.approx(25)


def test_centred_recall_ignores_gain_and_offset_and_unaware_does_not_use_the_mask():
    rng = np.random.default_rng(6)
    memories, mask = rng.random((60, 50)), rng.random((60, 50)) < 0.3
    memories[9] = 0.4  # a constant explains nothing
    found = Memory(memories).recall(0.2 * memories + 5, mask, centred=True)
    right = np.arange(60) != 9
    np.testing.assert_array_equal(found.index[right, 0], np.arange(60)[right])
    found = Memory(memories).recall(memories, mask, unaware=True)
    expected = ((memories * mask)[:, None] - memories[None]) ** 2
    np.testing.assert_array_equal(found.index[:, 0], expected.sum(-1).argmin(1))


def test_automatic_sigma_is_the_distance_to_the_nearest_over_four():
    rng = np.random.default_rng(7)
    memories, query, mask = rng.random((40, 12)), rng.random((3, 12)), rng.random((3, 12)) < 0.7
    found = Memory(memories).recall(query, mask)
    nearest = np.sqrt((mask[:, None] * (query[:, None] - memories) ** 2).sum(-1)).min(1)
    np.testing.assert_allclose(found.sigma, nearest / 4, rtol=1e-9)
    again = Memory(memories).recall(query, mask, found.sigma)
    np.testing.assert_allclose(found.mean, again.mean, atol=1e-9)


@pytest.mark.parametrize("sigma", [0.15, 1.0])
def test_samples_follow_the_posterior_and_only_their_generator(sigma):
    rng = np.random.default_rng(8)
    memories, query = rng.random((50, 10)), rng.random((2, 10))
    _, posterior, *_ = softmax_by_definition(memories, query, True, sigma)
    found = Memory(memories, tile=9).recall(
        query, None, sigma, samples=20000, generators=[np.random.default_rng(i) for i in (1, 2)]
    )
    alone = Memory(memories, tile=50).recall(
        query[1:], None, sigma, samples=20000, generators=[np.random.default_rng(2)]
    )
    np.testing.assert_array_equal(found.sampled[1], alone.sampled[0])
    for drawn, p in zip(found.sampled, posterior):
        frequency = np.bincount(drawn, minlength=50) / 20000
        assert (np.abs(frequency - p) < 5 * np.sqrt(p * (1 - p) / 20000) + 1e-4).all()


def test_mask_shared_by_channels_and_bad_arguments():
    rng = np.random.default_rng(9)
    images, mask = rng.random((20, 3, 4, 4)), rng.random((20, 1, 4, 4)) < 0.5
    memory = Memory(images)
    np.testing.assert_array_equal(
        memory.recall(images, mask).mean, memory.recall(images, np.broadcast_to(mask, images.shape)).mean
    )
    with pytest.raises(ValueError, match="expected"):
        memory.recall(images[:, :2])
    with pytest.raises(ValueError, match="does not fit"):
        memory.recall(images, mask[:7])
    with pytest.raises(ValueError, match="mask must hold"):
        memory.recall(images, mask * 0.5)
    with pytest.raises(ValueError, match="sigma"):
        memory.recall(images, mask, 0.0)
    with pytest.raises(ValueError, match="not finite"):
        memory.recall(images * np.nan, mask)
    with pytest.raises(ValueError, match="generator"):
        memory.recall(images, mask, samples=2)
    with pytest.raises(ValueError, match="centred"):
        memory.recall(images, mask, centred=True, unaware=True)


def test_memory_of_one_gaussian_blob_is_nearly_the_gaussian():
    rng = np.random.default_rng(10)
    blob = rng.standard_normal((40000, 2)) * [1.0, 0.5] + [2.0, -1.0]
    exact = Gaussian(np.array([2.0, -1.0]), np.diag([1.0, 0.25]))
    x = rng.standard_normal((8, 2)) + [1.2, -0.6]
    np.testing.assert_allclose(Memory(blob)(x, 0.4), exact(x, 0.4), atol=0.05)


def test_documented_example():
    import doctest

    import lemtools.denoise.memory as module

    done = doctest.testmod(module)
    assert done.attempted and not done.failed


# ---- Gaussian


@pytest.mark.parametrize("alpha_bar", [1e-9, 0.3, 1 - 1e-9])
def test_wiener_filter_equals_the_closed_form(alpha_bar):
    rng = np.random.default_rng(11)
    cov, mean, x = covariance(rng, 12), rng.standard_normal(12), rng.standard_normal((5, 12))
    a, noise = math.sqrt(alpha_bar), 1 - alpha_bar
    expected = mean + a * np.linalg.solve(alpha_bar * cov + noise * np.eye(12), (x - a * mean).T).T @ cov
    np.testing.assert_allclose(Gaussian(mean, cov)(x, alpha_bar), expected, atol=1e-9)


def test_fit_equals_numpy_and_shrinkage_its_formula():
    rng = np.random.default_rng(12)
    for count in (200, 9):  # also fewer memories than dimensions
        data = rng.standard_normal((count, 15)) @ rng.standard_normal((15, 15)) + 100
        store = Store(data, tile=7)
        cov = np.cov(data.T, bias=True)
        level = np.trace(cov) / 15
        fitted = Gaussian.fit(store, 0.01)
        np.testing.assert_allclose(fitted.covariance, cov + 0.01 * level * np.eye(15), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(fitted.mean, data.mean(0), rtol=1e-7)
        centred = data - data.mean(0)
        distance = np.sum((cov - level * np.eye(15)) ** 2)
        ledoit = min(1, sum(np.sum((np.outer(v, v) - cov) ** 2) for v in centred) / count**2 / distance)
        oas = min(1, ((1 - 2 / 15) * np.sum(cov**2) + np.trace(cov) ** 2) / ((count + 1 - 2 / 15) * distance))
        for name, r in (("ledoit-wolf", ledoit), ("oas", oas)):
            np.testing.assert_allclose(
                Gaussian.fit(store, name).covariance, (1 - r) * cov + r * level * np.eye(15), rtol=1e-7, atol=1e-9
            )
    for name in ("mle", "zca"):
        with pytest.raises(ValueError, match="unknown shrinkage"):
            Gaussian.fit(data, name)


def test_a_singular_covariance_is_enough_where_that_of_the_observed_is_not():
    """Two memories span a line: one exact element says all of the others; two say it twice, which is refused."""
    direction = np.array([1.0, -2.0, 0.5, 3.0])
    gaussian = Gaussian(np.zeros(4), np.outer(direction, direction))
    y = np.array([[0.7, 9.0, 9.0, 9.0]])
    found = gaussian.conditional(y, np.array([[1, 0, 0, 0]]))
    np.testing.assert_allclose(found, 0.7 * direction[None], atol=1e-9)
    with pytest.raises(ValueError, match="singular"):
        gaussian.conditional(y, np.array([[1, 1, 0, 0]]))


def test_a_scale_does_not_change():
    with pytest.raises(AttributeError):
        Scale.image().gain = 3.0


def conditional_by_definition(mean, cov, y, mask, noise):
    """Posterior mean and covariance from the blocks of the joint of x and y."""
    o = mask.astype(bool)
    gain = cov[:, o] @ np.linalg.inv(cov[np.ix_(o, o)] + np.diag(noise[o]))
    return mean + gain @ (y[o] - mean[o]), cov - gain @ cov[o]


@pytest.mark.parametrize("kept", [0.0, 0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("noisy", [False, True])
def test_conditional_equals_the_block_inverse(kept, noisy):
    rng = np.random.default_rng(13)
    cov, mean, y = covariance(rng, 20), rng.standard_normal(20), rng.standard_normal((6, 20))
    mask = rng.random((6, 20)) < kept
    mask[4] = mask[1]
    noise = np.where(rng.random((6, 20)) < 0.7, 0.3, 0.0) if noisy else np.zeros((6, 20))
    result = Gaussian(mean, cov).conditional(np.where(mask, y, np.nan), mask, noise)
    for i in range(6):
        expected, _ = conditional_by_definition(mean, cov, y[i], mask[i], noise[i])
        np.testing.assert_allclose(result[i], expected, atol=1e-9)
    exact = mask & (noise == 0)
    np.testing.assert_array_equal(result[exact], y[exact])


@pytest.mark.parametrize("kept", [0.3, 0.8])
@pytest.mark.parametrize("noise_var", [0.0, 0.5])
def test_posterior_samples_have_the_closed_form_moments(kept, noise_var):
    rng = np.random.default_rng(14)
    cov, mean, y = covariance(rng, 6), rng.standard_normal(6), rng.standard_normal((2, 6))
    mask, draws = rng.random((2, 6)) < kept, 40000
    gaussian = Gaussian(mean, cov)
    generators = [np.random.default_rng(i) for i in (5, 6)]
    result = gaussian.sample(y, mask, noise_var, samples=draws, generators=generators)
    assert result.shape == (2, draws, 6)
    for i in range(2):
        expected, spread = conditional_by_definition(mean, cov, y[i], mask[i], np.full(6, noise_var))
        np.testing.assert_allclose(result[i].mean(0), expected, atol=5 * math.sqrt(cov.max() / draws))
        np.testing.assert_allclose(np.cov(result[i].T), spread, atol=8 * cov.max() / math.sqrt(draws))
    alone = gaussian.sample(y[1:], mask[1:], noise_var, samples=draws, generators=[np.random.default_rng(6)])
    np.testing.assert_allclose(alone[0], result[1], atol=1e-9)


def test_singular_covariance_is_refused_in_words():
    with pytest.raises(ValueError, match="singular"):
        Gaussian(np.zeros(3), np.zeros((3, 3))).conditional(np.ones((1, 3)), np.array([[1, 0, 0]]))


# ---- real data


def mnist(count):
    from helpers.paths import data_dir

    with gzip.open(data_dir("mnist") / "train-images-idx3-ubyte.gz") as f:
        return np.frombuffer(f.read(16 + count * 784), np.uint8, offset=16).reshape(count, 1, 28, 28)


def test_mnist_recall_reaches_the_ceiling_of_exact_ties():
    images = mnist(400)
    for lost in (14, 22):
        mask = np.ones((1, 1, 28, 28))
        mask[:, :, 28 - lost :] = 0
        _, group, size = np.unique(
            images[:, :, : 28 - lost].reshape(400, -1), axis=0, return_inverse=True, return_counts=True
        )
        found = Memory(images).recall(images, mask)
        np.testing.assert_allclose(found.effective, size[group.reshape(-1)], rtol=1e-6)
        assert (found.index[:, 0] == np.arange(400)).mean() >= len(size) / 400 - 0.002


def test_gaussian_recalls_mnist_better_than_its_mean():
    images = mnist(1500) / 255
    mask = np.random.default_rng(0).random((50, 1, 28, 28)) < 0.5
    gaussian = Gaussian.fit(images[:1450], 1e-3)
    error = lambda x: ((x - images[1450:])[~mask] ** 2).mean()
    assert error(gaussian.conditional(images[1450:], mask)) < 0.3 * error(images[:1450].mean(0)[None])
