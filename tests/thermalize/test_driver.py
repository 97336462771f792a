"""What goes through a thermalizer as batches of signals: steps, numbers, scales, logs."""

import numpy as np
import pytest

from lemtools.denoise.contract import Scale
from lemtools.signal import LemError, Signal
from lemtools.thermalize import Step
from lemtools.thermalize.driver import check_scale, driven, filtered, line, outgoing

RNG = np.random.default_rng(0)


class Halver:
    """Stands in for a thermalizer: halves what differs from the state before, and remembers what it was shown."""

    scale = Scale(0.0, 1.0)

    def __init__(self):
        self.shown = []

    def step(self, state, previous):
        self.shown.append((state, previous))
        rows = len(state)
        alive = np.isfinite(state).reshape(rows, -1).all(1)
        after = state if previous is None else (state + previous) / 2
        action = np.where(alive, "corrected", "dead").astype(object)
        level = np.where(alive, 0.5, np.nan)
        return Step(after.astype(np.float32), level, action, np.zeros(rows), np.ones(rows, np.int64))


def states(steps=4, rows=3):
    return RNG.standard_normal((steps * rows, 1, 32)).astype(np.float32)


def test_one_long_file_or_a_document_a_step_is_the_same():
    x = states()
    long = list(filtered([Signal("field", x)], Halver(), 3))
    parts = list(filtered((Signal("field", part) for part in x.reshape(4, 3, 1, 32)), Halver()))
    assert len(long) == len(parts) == 4
    assert all((a[0].data == b[0].data).all() for a, b in zip(long, parts))
    expected = x.reshape(4, 3, 1, 32).copy()
    for t in range(1, 4):
        expected[t] = (expected[t] + expected[t - 1]) / 2  # by the state as it went out
    assert all((signal.data == wanted).all() for (signal, _), wanted in zip(long, expected))


def test_nothing_of_the_next_step_is_waited_for():
    seen = []

    def batches():
        for k in range(3):
            seen.append(k)
            yield Signal("field", states(1))

    steps = filtered(batches(), Halver())
    for k in range(3):
        next(steps)
        assert seen == list(range(k + 1))


def test_every_row_keeps_its_own_last_state():
    stand = Halver()
    x = states(3, 2)
    list(filtered([Signal("field", x)], stand, 2))
    assert stand.shown[0][1] is None
    assert (stand.shown[2][1] == (x[2:4] + x[:2]) / 2).all()


def test_a_rollout_is_fed_what_was_corrected():
    start = states(1, 2)
    found = [step.state for _, step in driven(lambda x: 2 * x, start, 3, Halver())]
    x = start
    for each in found:
        x = (2 * x + x) / 2
        assert (each == x).all()
    assert len(found) == 3


def test_what_goes_out_is_numbered_through_and_keeps_its_history_short():
    entry, seen = {"tool": "lem-thermalize"}, []
    x = states(7, 2).reshape(7, 2, 1, 32)
    batches = (Signal("field", part, index=np.array([5, 5]), history=[{"tool": "a"}, entry]) for part in x)
    out = list(outgoing(filtered(batches, Halver()), 3, entry, lambda number, step: seen.append(number)))
    assert [s.index.tolist() for s in out] == [[0, 1], [2, 3]] and seen == [1, 2, 3, 4, 5, 6, 7]
    assert [s.history for s in out] == [[{"tool": "a"}, entry]] * 2
    (one,) = outgoing(driven(lambda x: x, x[0], 1, None), 1, entry, lambda number, step: None)
    assert one.history == [entry] and one.last is None and one.kind == "field"


def test_a_line_of_the_log():
    x = states(1, 2)
    x[1, 0, 4] = np.nan
    (found,) = (line(7, step) for _, step in filtered([Signal("field", x)], Halver()))
    assert found == {
        "step": 7,
        "level": [0.5, None],
        "action": ["corrected", "dead"],
        "displacement": [0.0, 0.0],
        "calls": [1, 1],
    }


def test_what_is_no_rollout_is_refused():
    one = lambda rows, length=32: Signal("field", RNG.standard_normal((rows, 1, length)).astype(np.float32))
    for batches, rows, said in (
        ([one(2), one(3)], None, r"3 states of \[1, 32\] after 2 states of \[1, 32\]"),
        ([one(2), one(2, 16)], None, r"2 states of \[1, 16\] after 2 states of \[1, 32\]"),
        ([one(4)], 3, "a document of 4 states, where --rows says that 3 stand side by side .*--memory-rows"),
        ([Signal("embedding", np.zeros((2, 3), np.float32))], None, "embedding, not states"),
        ([Signal("field", np.zeros((1, 1, 8), np.float32), ops=[{"op": "noise", "sigma": 1.0}])], None, "fragments"),
    ):
        with pytest.raises(LemError, match=f"x.st: {said}"):
            list(filtered(batches, Halver(), rows, "x.st"))


def test_an_ensemble_of_small_states_is_of_their_scale_and_other_units_are_not():
    rng, mean, std = np.random.default_rng(0), np.array([[0.0], [0.0], [24.0]]), np.array([[8.0], [9.0], [8.5]])
    scale = Scale(mean, 1 / std)
    ensemble = mean + std * np.array([[0.5], [-1.0], [0.1]]) + 1e-3 * rng.standard_normal((20, 3, 1))
    check_scale(ensemble, scale, "x")
    check_scale(ensemble[:1], scale, "x")
    for rows in (2, 20):
        states = mean + std * rng.standard_normal((rows, 3, 1))
        check_scale(states, scale, "x")
        for other in (1e-3, 1e3):
            with pytest.raises(LemError, match="x: states of mean"):
                check_scale(other * states, scale, "x")


@pytest.mark.parametrize("shape", [(6, 2, 32), (2, 2, 8, 8)])
def test_another_scale_is_told_with_both(shape):
    mean, std = np.array([2.0, 0.0]), np.array([4.0, 1.0])
    extra = (1,) * (len(shape) - 2)
    scale = Scale(mean.reshape(2, *extra), 1 / std.reshape(2, *extra))
    good = RNG.standard_normal(shape) * std.reshape(2, *extra) + mean.reshape(2, *extra)
    check_scale(good, scale, "x")
    check_scale(1.5 * good, scale, "x")
    for bad, said in (
        (100 * good, "std .* in channel 0"),
        (good / 100, "std .* in channel 0"),
        ((good - mean.reshape(2, *extra)) / 4, "where the memory has mean 2 and std 4 in channel 0"),
        (good + 20, "22.* where the memory has mean 2 and std 4 in channel 0"),
    ):
        with pytest.raises(LemError, match=f"x: states of mean .*{said}"):
            check_scale(bad, scale, "x")
    dead = good.copy()
    dead[0, 0] = np.inf
    check_scale(dead, scale, "x")  # (dead rows are left out)
    check_scale(dead[:1], scale, "x")
    check_scale(np.full((1, 2, *extra), 2.0), scale, "x")  # of one number there is no std
