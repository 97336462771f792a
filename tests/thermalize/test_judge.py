"""The judge of rollouts: what only pairs show is seen in pairs, truth is not seen, and every number by its definition."""

import numpy as np
import pytest
import torch

from lemtools.catalogue import LemError
from lemtools.thermalize.judge import Units, _auc, _axes, check, interval

ROWS, STEPS, DIM = 8, 200, 3


def wandering(seed, rows=ROWS, steps=STEPS, keep=0.9):
    """States [T R, C, 1] that keep a share of the state before, N(0, 1) each."""
    rng = np.random.default_rng(seed)
    x = [rng.standard_normal((rows, DIM, 1))]
    for _ in range(steps - 1):
        x.append(keep * x[-1] + (1 - keep**2) ** 0.5 * rng.standard_normal(x[-1].shape))
    return np.concatenate(x).astype(np.float32)


def seen(memory, *rollouts, rows=ROWS, **how):
    return {s.grain: s for s in check(memory, ROWS, rollouts, rows, **how)}


def shuffled(values, rows=ROWS):
    x = values.reshape(-1, rows, *values.shape[1:])
    return x[np.random.default_rng(0).permutation(len(x))].reshape(values.shape)


def test_what_states_do_not_show_pairs_and_windows_do():
    found = seen(wandering(1), shuffled(wandering(2)), window=4)
    assert list(found) == ["state", "pair", "window"]  # a state is a single place
    assert not found["state"].visible
    assert found["pair"].visible and found["pair"].judge != "linear" and found["pair"].auc > 0.85
    assert found["window"].visible and found["window"].low > 0.7


def test_truth_is_not_seen():
    """In one of 20, by any granularity: the intervals hold together."""
    cries = [any(s.visible for s in seen(wandering(2 * k), wandering(2 * k + 1), window=3).values()) for k in range(12)]
    assert sum(cries) <= 1


def test_states_that_are_nearer_than_clean_ones_are_seen_too():
    memory = wandering(1)
    found = seen(memory, memory[: 60 * ROWS].reshape(60, ROWS, DIM, 1)[:, [0, 2, 4, 6, 0, 2, 4, 6]].reshape(-1, DIM, 1))
    assert found["state"].visible and found["state"].judge == "distance" and found["state"].high < 0.2


def test_vectors_of_a_codebook_are_clean_at_any_drift():
    """Places that agree in clean states and not in drifted ones: every vector is one of the codes."""
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((6, 4)).astype(np.float32)
    clean = codes[rng.integers(0, 6, (ROWS * STEPS, 1))].repeat(5, 1)
    drifted = codes[rng.integers(0, 6, (ROWS * STEPS, 5))]
    found = seen(clean, drifted, kind="embedding", window=2)
    assert list(found) == ["vector", "state", "pair"]
    assert not found["vector"].visible and found["state"].visible and found["pair"].visible


def test_of_few_rows_stretches_of_time_are_the_units():
    memory = wandering(1, rows=1, steps=4000)
    drifted = shuffled(wandering(2, rows=2, steps=1000), rows=2)
    found = {s.grain: s for s in check(memory, 1, [drifted], 2, window=3)}
    assert found["pair"].visible and not found["state"].visible
    assert (found["pair"].clean, found["pair"].drifted) == (8, 8)


def test_an_auc_is_how_often_a_pair_of_items_is_in_order_a_row_with_a_row():
    rng = np.random.default_rng(0)
    low, high = rng.integers(0, 5, 40), rng.integers(1, 7, 30)
    clean, drifted = (
        Units(torch.from_numpy(v)[:, None], rng.permutation(np.arange(len(v)) % n)) for v, n in ((low, 4), (high, 3))
    )
    each = _auc(lambda x: x[:, 0], clean, drifted)
    for i in range(4):
        for j in range(3):
            a, b = low[clean.unit == i][:, None], high[drifted.unit == j]
            assert each[i, j] == pytest.approx(((b > a) + 0.5 * (b == a)).mean())


def test_the_interval_of_an_auc_covers_it():
    """Rows of one number each, as in the formula of DeLong; the AUC of N(0, 1) and N(1, 1) is Phi(1 / sqrt(2))."""
    rng, inside = np.random.default_rng(0), 0
    for _ in range(400):
        a, b = rng.standard_normal(12), 1 + rng.standard_normal(15)
        _, low, high = interval((b > a[:, None]).astype(float), 0.95)
        inside += low <= 0.7602 <= high
    assert 0.92 < inside / 400 < 0.98
    assert interval(np.ones((3, 4)), 0.95) == (1, 1, 1)


def test_wide_items_keep_their_spread_and_what_noise_adds_elsewhere():
    rng = np.random.default_rng(0)
    base = torch.from_numpy(rng.standard_normal((3, 600))).float()
    x = torch.from_numpy(rng.standard_normal((50, 3))).float() @ base
    axes = _axes(x)
    assert axes.shape == (600, 512) and torch.allclose(axes.T @ axes, torch.eye(512), atol=1e-4)
    assert torch.allclose((x @ axes).square().sum(1), x.square().sum(1), rtol=1e-3)
    noise = torch.from_numpy(rng.standard_normal((50, 600))).float()
    assert 0.7 < float((noise @ axes).square().mean() * 512 / 600) < 1


def test_states_that_are_not_finite_are_left_out():
    blown = shuffled(wandering(2))
    blown[-40 * ROWS :] = np.nan
    blown[3::ROWS] = np.inf
    found = seen(wandering(1), blown, window=3)
    assert found["pair"].visible and found["pair"].drifted == 3


@pytest.mark.parametrize(
    ("memory", "rollout", "words"),
    [
        (wandering(1), wandering(2)[:, :2], r"\[2, 1\], the memory of \[3, 1\]"),
        (wandering(1)[:-1], wandering(2), "the memory: 1599 states are no whole number of steps"),
        (wandering(1)[:400], wandering(2), "the held-out tenth of the memory, 5 steps, is too short"),
        (wandering(1), wandering(2)[: 3 * ROWS], "a rollout, 3 steps, is too short"),
        (wandering(1), np.full_like(wandering(2), np.nan), "the rollouts: fewer than two rows"),
    ],
)
def test_what_cannot_be_judged_is_said(memory, rollout, words):
    with pytest.raises(LemError, match=words):
        check(memory, ROWS, [rollout], ROWS, window=6)
