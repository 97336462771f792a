"""Moments in pieces against numpy's own over the whole."""

import numpy as np
import pytest
import torch

from lemtools.denoise.moments import Moments


def rows(n=600, d=7, offset=0.0):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + offset


@pytest.mark.parametrize("first", [1, 50, 600])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_pieces_give_the_moments_of_the_whole(kind, first):
    x, moments = rows(offset=1e6), Moments()
    for piece in (x[:first], x[first:first], x[first:]):
        moments.add(piece if kind == "numpy" else torch.from_numpy(piece))
    assert moments.count == 600
    np.testing.assert_allclose(moments.mean, x.mean(0), rtol=1e-14)
    # (what is left of the digits of the numbers themselves, 1e6 away from zero)
    np.testing.assert_allclose(moments.covariance, np.cov(x.T, bias=True), atol=1e-7)
    np.testing.assert_allclose(moments.variance, x.var(0), atol=1e-7)


def test_a_far_first_piece_costs_few_digits():
    x = np.concatenate([np.full((1, 3), 1e4), rows(100_000, 3)])
    moments = Moments()
    moments.add(x[:1])
    moments.add(x[1:])
    np.testing.assert_allclose(moments.covariance, np.cov(x.T, bias=True), rtol=1e-8)  # five digits of sixteen


def test_float32_rows_are_summed_in_float64():
    x = rows(4000, 5).astype(np.float32)
    for moments, pieces in ((Moments(), torch.from_numpy(x).split(100)), (Moments(single=True), np.split(x, 40))):
        for piece in pieces:
            moments.add(piece)
        assert moments.mean.dtype in (np.float64, torch.float64)
        np.testing.assert_allclose(moments.covariance, np.cov(x.T.astype(np.float64), bias=True), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(moments.mean, x.mean(0, np.float64), atol=1e-7)


def test_an_origin_may_be_given():
    x, moments = rows(), Moments(np.full(7, 0.5))
    moments.add(x)
    assert (moments.origin == 0.5).all()
    np.testing.assert_allclose(moments.covariance, np.cov(x.T, bias=True), rtol=1e-12, atol=1e-12)


def test_numbers_that_were_not_seen_do_not_count():
    x, seen = rows(), np.random.default_rng(1).random((600, 7)) < 0.4
    seen[:, 3] = False  # never
    moments = Moments(full=False)
    for i in range(0, 600, 200):
        moments.add(np.where(seen, x, 1e9)[i : i + 200], seen[i : i + 200])
    for k in range(7):
        mine = x[seen[:, k], k]
        assert moments.count[k] == len(mine)
        assert moments.mean[k] == pytest.approx(mine.mean() if len(mine) else 0, rel=1e-12)
        assert moments.variance[k] == pytest.approx(mine.var() if len(mine) else 0, rel=1e-12)


def test_equal_rows_have_no_variance():
    moments = Moments(full=False)
    moments.add(np.full((9, 2), 1.1))
    moments.add(np.full((3, 2), 1.1))
    assert (moments.variance < 1e-30).all() and moments.mean == pytest.approx(1.1)
