"""What judges closed loops of frames, and the frames themselves, by brute force."""

import importlib.util

import numpy as np

from helpers.paths import ROOT

_spec = importlib.util.spec_from_file_location("sprites", ROOT / "examples/sprites.py")
sprites = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sprites)


def test_auc_is_the_share_of_pairs_in_order_and_half_of_ties():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, 40), rng.integers(2, 8, 30)
    want = ((b[:, None] > a) + (b[:, None] == a) / 2).mean()
    assert abs(sprites.auc(a, b) - want) < 1e-12


def test_sprites_move_by_their_speed_and_stay_inside():
    frames = [sprites.pictures(3, 40, t) for t in range(60)]
    x = np.stack(frames).astype(int)
    assert (x.max((2, 3)) > 0).all() and (x[1:] != x[:-1]).any((2, 3)).all(), "no row ever stands still"
    period = 2 * (sprites.SIDE - sprites.SPRITE)
    assert np.array_equal(sprites.pictures(3, 40, 5 + period), frames[5])


def test_the_nearest_is_that_of_brute_force():
    rng = np.random.default_rng(1)
    x, among = rng.standard_normal((30, 5)), rng.standard_normal((20, 5))
    far = np.linalg.norm(x[:, None] - among, axis=2)
    number, distance = sprites.nearest(x, among)
    assert np.array_equal(number, far.argmin(1))
    np.testing.assert_allclose(distance, far.min(1), atol=1e-6)


def test_a_judge_tells_what_differs_and_not_what_is_alike():
    rng = np.random.default_rng(2)
    alike = [rng.integers(0, 4, (300, 6)) for _ in range(2)]
    assert abs(sprites.judged(*alike, 0) - 0.5) < 0.12
    assert sprites.judged(alike[0], alike[1] + (np.arange(6) == 2), 0) > 0.6
