"""Rollouts by true states: numbers by their definitions, and verdicts that are fair."""

import numpy as np
import pytest

from lemtools.catalogue import LemError
from lemtools.compare.rollouts import Judge, _ends
from lemtools.compare.states import log_spectrum, log_spectrum_low, w1

ROWS, STEPS, LENGTH = 8, 40, 16
X = 2 * np.pi * np.arange(LENGTH) / LENGTH


def solve(x):
    return np.roll(x, 1, -1)


def waves(seed, rows=ROWS, steps=STEPS, off=0.0, size=1.0, channels=1):
    """A white spectrum that travels, [T R, C, L]; `off`: noise of every claim, `size`: of the second mode."""
    rng = np.random.default_rng(seed)
    x = [rng.standard_normal((rows, channels, LENGTH)) + size * np.cos(2 * X)]
    for _ in range(steps - 1):
        now = solve(x[-1])
        x.append(now + off * rng.standard_normal(now.shape))
    return np.concatenate(x).astype(np.float32)


def judge(**how):
    return Judge(
        waves(0, **{k: v for k, v in how.items() if k == "channels"}),
        ROWS,
        solve,
        **{k: v for k, v in how.items() if k != "channels"},
    )


def test_numbers_are_those_of_the_metrics():
    true, got = waves(0, channels=2), waves(1, off=0.1, channels=2)
    found = Judge(true, ROWS, solve).judged("a", got, ROWS)
    a, b = true[ROWS:], got[ROWS:]  # the first state is no step's answer
    for value, metric in ((found.band, log_spectrum_low), (found.every, log_spectrum), (found.w1, w1)):
        assert value == pytest.approx(metric(a, b).value, rel=1e-9)
    off = got[ROWS:].astype(float) - solve(got[:-ROWS])
    std = a.std((0, 2))
    each = np.sqrt((np.square(off).mean(2) / std**2).mean(1)).reshape(STEPS - 1, ROWS)
    assert found.residual == pytest.approx(
        (np.sqrt(np.square(each).mean()), np.median(each), np.quantile(each, 0.99)), rel=1e-5
    )
    assert found.square == pytest.approx(np.square(each).mean(0), rel=1e-5)


def test_of_long_rollouts_steps_are_judged_that_are_evenly_spaced_with_the_last():
    got = waves(1)
    got[-1, 0, 3] = np.nan
    found = judge(most=7).judged("a", got, ROWS)
    assert found.alive.tolist() == [True] * 7 + [False]
    assert len(judge(most=7)._taken(got, ROWS)[0]) == 7


def test_rows_that_died_are_counted_and_leave_no_spectrum():
    got = waves(1, off=0.1)
    whole = judge().judged("a", got, ROWS)
    got.reshape(STEPS, ROWS, 1, LENGTH)[20:, 2] = np.nan
    got.reshape(STEPS, ROWS, 1, LENGTH)[30:, 5] *= 100
    found = judge().judged("a", got, ROWS)
    assert found.alive.tolist() == [True, True, False, True, True, False, True, True]
    assert found.band is found.every is found.w1 is None
    kept = found.alive
    assert np.isnan(found.square[~kept]).all() and np.array_equal(found.square[kept], whole.square[kept])
    assert found.share[0] == 0.75 and 0.4 < found.share[1] < 0.75 < found.share[2] < 0.95
    dead = judge().judged("a", np.full_like(got, np.nan), ROWS)
    assert not dead.alive.any() and dead.residual is None


def test_a_solver_gets_all_rows_and_none_that_is_dead():
    def careful(x):
        assert x.shape == (ROWS, 1, LENGTH) and np.isfinite(x).all()
        return solve(x)

    got = waves(1)
    got.reshape(STEPS, ROWS, 1, LENGTH)[20:, 0] = np.nan
    found = Judge(waves(0), ROWS, careful).judged("a", got, ROWS)
    assert found.alive.sum() == ROWS - 1 and found.residual[0] == 0


def verdict(candidate, control, **how):
    it = judge(**how)
    return it.against(it.judged("a", candidate, ROWS), it.judged("b", control, ROWS))


def test_alive_comes_first():
    bad = waves(1)
    bad.reshape(STEPS, ROWS, 1, LENGTH)[30:, :6] = np.inf
    assert verdict(waves(1, off=0.3), bad).said == "better"
    assert verdict(bad, waves(1, off=0.3)).said == "worse"
    one = waves(1, off=0.01)
    one[-1] = np.nan  # a row of eight is no proof, and the other rows are
    found = verdict(one, waves(1, off=0.3))
    assert found.said == "better" and found.alive[0] == -1 / 8 and found.residual[2] < -1


def test_a_residual_does_not_pay_for_a_spectrum():
    right = waves(1, off=0.2)
    for size in (3.0, 4.0):
        found = verdict(waves(1, off=0.02, size=size), right)
        assert found.said == "no better" and "the band is worse" in found.why
        assert found.residual[2] < -0.9 and found.band[1] > (0 if size > 3 else -0.05)  # (a doubt is enough)
    assert verdict(right, right).said == "no better"


def test_rows_are_paired():
    """Every row a little better, where rows differ a lot."""
    rng = np.random.default_rng(0)
    size = np.exp(2 * rng.standard_normal(ROWS))[:, None, None]
    one, other = waves(1), waves(1)
    for values, share in ((one, 0.004), (other, 0.005)):
        noise = np.random.default_rng(5).standard_normal(values.shape)
        values += (share * np.tile(size, (STEPS, 1, 1)) * noise).astype(np.float32)
    found = verdict(one, other)
    assert found.residual[1:] == pytest.approx([np.log10(0.8)] * 2, abs=0.01)


def test_chance_is_no_victory():
    it = judge()
    found = [it.judged(str(k), waves(k, off=0.1), ROWS) for k in range(1, 17)]
    assert sum(it.against(a, b).said == "better" for a, b in zip(found, found[8:] + found[:8])) <= 2


def test_of_few_rows_the_interval_is_as_wide_as_students():
    """Percentiles of a bootstrap over 5 rows alone hold 84 % of what they should."""
    for rows, t in ((5, 2.776), (8, 2.365), (64, 1.998)):
        x = np.random.default_rng(rows).standard_normal(rows)
        draws = np.random.default_rng(1).standard_normal(200_000) * x.std() / rows**0.5 + x.mean()
        value, low, high = _ends(x.mean(), draws, rows)
        half = t * x.std(ddof=1) / rows**0.5
        assert (value - low, high - value) == pytest.approx((half, half), rel=0.03)


def test_the_best_control():
    it = judge()
    dead = waves(1)
    dead[-1] = np.nan
    made = {"noisy": waves(1, off=0.2), "fine": waves(1, off=0.02), "dead": dead, "gone": np.full_like(dead, np.nan)}
    found = {name: it.judged(name, values, ROWS) for name, values in made.items()}
    assert it.best(list(found.values())).name == "fine"
    assert it.best([found["gone"], found["dead"]]).name == "dead"


def test_few_rows_tell_nothing():
    it = judge()
    few = [it.judged(name, waves(1, rows=3, off=off), 3) for name, off in (("a", 0.01), ("b", 0.5))]
    assert it.against(*few).said == "no better" and "too few" in it.against(*few).why


def test_what_cannot_be_judged_is_said():
    for values, words in (
        (np.zeros((40, 1, 16)), "constant"),
        (np.full((40, 1, 16), np.nan), "NaN"),
        (np.zeros((40, 16)), "a spectrum needs"),
        (waves(0)[:-1], "whole number of steps"),
    ):
        with pytest.raises(LemError, match=words):
            Judge(values, ROWS, solve)
    for values, rows, words in (
        (waves(1)[..., :8], ROWS, r"a: states of \[1, 8\], where the true ones are of \[1, 16\]"),
        (waves(1), 7, "a: 320 states are no whole number"),
        (waves(1)[:ROWS], ROWS, "a: one step has no residual"),
    ):
        with pytest.raises(LemError, match=words):
            judge().judged("a", values, rows)
    it = judge()
    with pytest.raises(LemError, match="a has 8 rows, b 4"):
        it.against(it.judged("a", waves(1), 8), it.judged("b", waves(1), 4))
