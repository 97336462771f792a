"""Thermalize: neighbours and correctors against their definitions, the gate's rate, budgets, rows that do not know each other."""

import numpy as np
import pytest
import torch

from lemtools.catalogue import LemError
from lemtools.denoise.contract import Scale
from lemtools.thermalize import Thermalizer, prepared, rollout
from lemtools.thermalize.boxes import Boxes
from lemtools.thermalize.correctors import Following, analog, cap, clip, fitted, local, snap, wiener
from lemtools.thermalize.gate import Gate
from lemtools.thermalize.states import Chart, Known, States

RNG = np.random.default_rng(0)
POINTS = 16


def waves(steps=140, rows=8, seed=0):
    """A travelling wave in two modes, of random places and sizes, that neither grows nor shrinks: [T R, 1, L] float32."""
    rng = np.random.default_rng(seed)
    x = 2 * np.pi * np.arange(POINTS) / POINTS
    place, size = rng.uniform(0, 2 * np.pi, (rows, 2)), rng.uniform(0.5, 1.5, (rows, 2))
    time = np.arange(steps)[:, None, None, None]
    phase = x - place[:, :, None] - time * np.array([0.3, 0.2])[:, None]
    return (
        (size[..., None] * np.sin(phase * np.array([1, 2])[:, None])).sum(2).reshape(-1, 1, POINTS).astype(np.float32)
    )


def step(states):
    """The exact next states of `waves`."""
    f = np.fft.rfft(np.asarray(states, np.float64))
    return np.fft.irfft(f * np.exp(-1j * np.array([0.0, 0.3, 0.4, *[0.0] * (POINTS // 2 - 2)])), POINTS).astype(
        np.float32
    )


def known(values, rows, symmetry=(), scale=None):
    states = States(values[: -3 * rows], rows, scale or Scale(), symmetry)
    return Known(states, states.encoded(values[-3 * rows :]))


# --- neighbours


@pytest.mark.parametrize("few", [0, 1 << 30], ids=["boxes", "all"])
@pytest.mark.parametrize("size", [30, 1000, 25_000])  # (of blocks of 8, 8 and 16)
def test_nearest_are_those_of_the_definition(monkeypatch, few, size):
    monkeypatch.setattr("lemtools.thermalize.states.FEW", few)
    states = torch.from_numpy(RNG.standard_normal((size, 6)).astype(np.float32))
    states[size // 2 :][:15] = states[:15]  # duplicates
    query = torch.from_numpy(RNG.standard_normal((37, 6)))
    number, distance, there = Chart(states, None).nearest(query, 9)
    exact = (query[:, None] - states.double()).square().sum(2)
    assert torch.allclose(distance, exact.topk(9, largest=False).values, rtol=1e-5)
    assert torch.allclose(exact.gather(1, number), distance, rtol=1e-5)
    assert there.shape == (37, 9, 6)


@pytest.mark.parametrize(
    ("axes", "fall", "probed", "share"), [(3, 0, 16, 8), (3, 0, 1, 2), (12, 2, 4, 1), (12, 0, 16, 8)]
)
def test_boxes_find_the_nearest_or_say_that_they_are_not_sure(monkeypatch, axes, fall, probed, share):
    """Points on and off a thin set, some of them alike, and numbers of them that fill no box."""
    monkeypatch.setattr("lemtools.thermalize.boxes.PROBED", probed)
    monkeypatch.setattr("lemtools.thermalize.boxes.SHARE", share)
    draws = np.random.default_rng(3)
    points = torch.from_numpy((draws.standard_normal((5003, axes)) * np.logspace(0, -fall, axes)).astype(np.float32))
    points[700:790] = points[:90]
    query = torch.cat([points[:40], points[40:60] * 1.3, torch.zeros(2, axes), 50 * points[60:65]])
    boxes = Boxes(points)
    for count in (1, 9, 33):
        number, unsure = boxes.near(query, count, 16)
        exact = (query[:, None].double() - points.double()).square().sum(2)
        have = exact.gather(1, number).sort(1).values[:, :count]
        assert all(len(set(row)) == len(row) for row in number[~unsure].tolist())
        wanted = exact.sort(1).values[:, :count]
        assert torch.allclose(have[~unsure], wanted[~unsure], rtol=1e-9)
        if axes == 3:
            assert unsure.double().mean() < 0.2


def test_distances_leave_out_a_millionth_of_the_variance_and_no_more():
    size = torch.tensor([1.0, 0.1, 1e-5])
    states = torch.from_numpy(RNG.standard_normal((400, 3)).astype(np.float32)) * size
    assert Chart(states, None).axes.shape == (3, 2)


def test_more_neighbours_than_states_is_an_error():
    with pytest.raises(LemError, match="--neighbours"):
        Chart(torch.zeros(5, 2), None).nearest(torch.zeros(1, 2, dtype=torch.float64), 6)


def rarely(mode):
    """States of a wave whose largest mode is 3 at three of 150 steps, and never among those held out."""
    rng, x = np.random.default_rng(0), 2 * np.pi * np.arange(POINTS) / POINTS
    phase = rng.uniform(0, 2 * np.pi, (150, 4, 1))
    number = np.where(np.isin(np.arange(150), (20, 21, 22)), 3, 1)[:, None, None]
    values = np.cos(number * x + phase) + 0.05 * rng.standard_normal((150, 4, POINTS))
    return values.reshape(-1, 1, POINTS).astype(np.float32), np.cos(mode * x)[None, None].astype(np.float32)


@pytest.mark.parametrize("corrector", ["next", "memory"])
def test_a_state_that_few_stored_ones_are_like_ends_no_rollout(corrector):
    states, now = rarely(3)
    how = {"corrector": corrector, "symmetry": ("translate",), "every": True}
    assert prepared(states, 4, threshold=0.0, **how).step(now, now).calls.tolist() == [1]
    with pytest.raises(LemError, match="40 neighbours.*whose largest mode is the same|41 neighbours.*the same"):
        prepared(states, 4, threshold=0.0, neighbours=40, **how)


def test_a_rare_state_has_as_few_neighbours_as_there_are_and_takes_none_from_others():
    states, now = rarely(3)
    made = prepared(states, 4, threshold=0.0, symmetry=("translate",), gate="distance", gate_neighbours=100)
    assert made.correct.neighbours in (16, 32, 64) and made.known.states.least(True) < 64
    step = made.step(np.concatenate([now, states[:1]]), np.concatenate([now, states[:1]]))
    assert np.isfinite(step.state).all() and np.isfinite(step.more["score"]).all() and step.calls.tolist() == [1, 1]


@pytest.mark.parametrize("shift", [0, 1, 5])
def test_a_state_moved_by_whole_points_is_rolled(shift):
    memory = known(waves(), 8, ("translate",))
    x = memory.states.x[:5].double()
    moved = memory.states.moved(x, torch.full((5,), shift / POINTS, dtype=torch.float64))
    assert torch.allclose(moved, x.roll(shift, 1), atol=1e-12)


def test_covariance_under_translations_is_that_of_all_their_copies():
    values = RNG.standard_normal((40, 2, 8)).astype(np.float32) + [[1.0], [3.0]]
    gaussian = States(values, 4, Scale(), ("translate",)).gaussian
    copies = np.concatenate([np.roll(values, k, 2) for k in range(8)]).reshape(-1, 16).astype(np.float64)
    assert np.allclose(gaussian.mean, copies.mean(0), atol=1e-6)
    assert np.allclose(gaussian.covariance, np.cov(copies.T, bias=True), atol=1e-6)


def test_reflected_states_are_followed_by_reflected_successors():
    values = waves(20, 4)
    states = States(values, 4, Scale(), ("reflect",))
    assert torch.equal(states.x[80:], -states.x[:80].flip(1))
    assert torch.equal(states.x[states.followed + 4][76:], -states.x[states.followed + 4][:76].flip(1))


def test_neighbours_are_stored_ones_whatever_is_asked_and_stored():
    """What is not finite has none that are near, and values that float32 cannot square are values."""
    query = torch.full((2, 6), torch.nan, dtype=torch.float64)
    query[1] = torch.inf
    for size in (1.0, 1e30):
        states = size * torch.from_numpy(RNG.standard_normal((48, 6)).astype(np.float32))
        for x in (query, states[:3].double()):
            number, _, _ = Chart(states, None).nearest(x, 5)
            assert ((number >= 0) & (number < 48)).all()


# --- correctors


def test_next_is_exact_for_a_linear_map():
    turn, _ = np.linalg.qr(RNG.standard_normal((6, 6)))
    turn = 0.98 * turn
    values = [RNG.standard_normal((20, 6))]
    for _ in range(40):
        values.append(values[-1] @ turn)
    memory = known(np.concatenate(values).reshape(-1, 1, 6), 20)
    query = torch.from_numpy(RNG.standard_normal((30, 6)) / 2)
    answer = Following(memory, 40, 0.0).regressed(query, 40, 0.0)
    assert np.allclose(answer, query.numpy() @ turn, atol=1e-5)


def test_next_follows_translations():
    memory = known(waves(), 8, ("translate",))
    following = Following(memory, None, None)
    x = memory.held[:8]
    one = following.regressed(x, following.neighbours, following.ridge)
    move = torch.linspace(0, 1, 8, dtype=torch.float64)
    other = following.regressed(memory.states.moved(x, move), following.neighbours, following.ridge)
    assert torch.allclose(other, memory.states.moved(one, move), atol=1e-6)
    assert (one - memory.held[8:16]).square().mean().sqrt() < 0.02


def test_far_from_all_states_next_is_the_mean_of_successors():
    memory = known(waves(), 8)
    following = Following(memory, 16, 1e-3)
    far = following.regressed(1e3 * memory.held[:2], 16, 1e-3)
    assert far.abs().max() < 4


def test_local_is_the_posterior_mean_of_the_gaussian_of_the_neighbours():
    memory = known(RNG.standard_normal((200, 1, 5)), 4)
    x, level = torch.from_numpy(RNG.standard_normal((7, 5))), torch.linspace(0.1, 1, 7, dtype=torch.float64)
    answer, calls = local(memory, 12)(x, None, level, [])
    assert calls == 1
    for row, noise, back in zip(x, level, answer):
        near = memory.states.x.double()[(memory.states.x.double() - row).square().sum(1).argsort()[:12]]
        mean, cov = near.mean(0), np.cov(near.T)
        expected = mean + torch.from_numpy(cov @ np.linalg.inv(cov + float(noise) ** 2 * np.eye(5))) @ (row - mean)
        assert torch.allclose(back, expected, atol=1e-5)


@pytest.mark.parametrize("item", [(2, 8), (1, 7), (2, 4, 5)])
def test_capped_modes_keep_their_phase_and_no_more_than_the_largest_size(item):
    axes = tuple(range(2, 1 + len(item)))
    memory = known(RNG.standard_normal((60, *item)).astype(np.float32), 4)
    x = torch.from_numpy(RNG.standard_normal((7, int(np.prod(item)))) * np.geomspace(0.1, 10, 7)[:, None])
    back, calls = cap(memory)(x, None, torch.zeros(7, dtype=torch.float64), [])
    modes = lambda v: np.fft.fftn(np.asarray(v, np.float64).reshape(-1, *item), axes=axes)
    most, before, after = np.abs(modes(memory.states.x)).max(0), modes(x), modes(back)
    small = np.abs(before) <= most
    assert calls == 1 and small.any() and not small.all()
    assert np.allclose(after, np.where(small, before, before / np.abs(before) * most), atol=1e-6)
    inside = memory.states.x[:5].double()
    assert torch.allclose(cap(memory)(inside, None, torch.zeros(5), [])[0], inside, atol=1e-9)


def test_wiener_snap_and_clip_by_their_definitions():
    memory = known(RNG.standard_normal((200, 2, 3)), 4)
    x, level = torch.from_numpy(3 * RNG.standard_normal((7, 6))), torch.full((7,), 0.5, dtype=torch.float64)
    states, gaussian = memory.states.x.double(), memory.states.gaussian
    gain = gaussian.covariance @ torch.linalg.inv(gaussian.covariance + 0.25 * torch.eye(6))
    assert torch.allclose(
        wiener(memory)(x, None, level, [])[0], gaussian.mean + (x - gaussian.mean) @ gain.T, atol=1e-9
    )
    nearest = states[torch.cdist(x, states).argmin(1)]
    assert torch.allclose(snap(memory)(x, None, level, [])[0], nearest)
    for channel in (slice(0, 3), slice(3, 6)):
        low, high = states[:, channel].min(), states[:, channel].max()
        assert torch.equal(clip(memory)(x, None, level, [])[0][:, channel], x[:, channel].clamp(low, high))


def test_an_analog_is_a_stored_successor_drawn_by_its_rank():
    memory, rows = known(RNG.standard_normal((200, 1, 6)), 4), 4000
    x, level = torch.from_numpy(RNG.standard_normal((1, 6))), torch.zeros(rows, dtype=torch.float64)
    states = memory.states.x.double()
    order = torch.cdist(x, states[:-4]).argsort(1)[0, :3]
    draws = [np.random.default_rng([7, i]) for i in range(rows)]
    got, _ = analog(memory, 3)(torch.zeros(rows, 6), x.expand(rows, 6), level, draws)
    share = (got[:, None] == states[order + 4]).all(2).double().mean(0)
    assert float(share.sum()) == 1.0
    assert torch.allclose(share, torch.tensor([6, 3, 2], dtype=torch.float64) / 11, atol=0.03)
    alone, _ = analog(memory, 1)(x, x, level[:1], draws[:1])
    assert torch.equal(alone[0], states[order[0] + 4])


def test_local_regression_by_fewer_points_than_axes_is_the_definition():
    """Ridge regression, weighted, by one least-squares problem a row."""
    z, there, goal = (RNG.standard_normal(shape) for shape in ((3, 9), (3, 6, 9), (3, 5, 4)))
    distance = np.square(there - z[:, None]).sum(2)
    order = distance.argsort(1)
    there, distance = np.take_along_axis(there, order[..., None], 1), np.take_along_axis(distance, order, 1)
    got = fitted(*map(torch.from_numpy, (z, there, distance, goal)), 0.1, np.inf)
    for row in range(3):
        weight = (1 - (distance[row, :5] / distance[row, 5]) ** 1.5) ** 3
        weight /= weight.sum()
        middle, aim, root = weight @ there[row, :5], weight @ goal[row], np.sqrt(weight)[:, None]
        left, right = root * (there[row, :5] - middle), root * (goal[row] - aim)
        ridge = np.sqrt(0.1 * np.square(left).sum() / 9) * np.eye(9)
        slope = np.linalg.lstsq(np.vstack([left, ridge]), np.vstack([right, np.zeros((9, 4))]), rcond=None)[0]
        assert np.allclose(got[row], aim + (z[row] - middle) @ slope, atol=1e-9)


# --- gate and loop


def test_the_gate_fires_for_the_share_of_clean_states_that_it_is_set_to():
    gaussian = known(RNG.standard_normal((4000, 1, 4)) * [1, 1, 0.05, 0.05], 4).states.gaussian
    clean = torch.from_numpy(RNG.standard_normal((4000, 4)) * [1, 1, 0.05, 0.05])
    gate = Gate.calibrated(gaussian, clean[:2000], 0.1)
    assert 0.07 < float((gate.level(clean[2000:]) > gate.threshold).double().mean()) < 0.13
    with pytest.raises(LemError, match="held-out"):
        Gate.calibrated(gaussian, clean[:9], 0.1)


def noisy(size):
    """An emulator that adds noise of that size to what is right."""
    rng = np.random.default_rng(1)
    return lambda states: step(states) + size * rng.standard_normal(states.shape).astype(np.float32)


def run(thermalizer, emulator, steps=50, rows=8):
    start, out, truth = waves(1, rows, seed=5), [], []
    truth = start
    for done in rollout(emulator, start, steps, thermalizer):
        out.append(done)
        truth = step(truth)
    return out, truth


@pytest.mark.parametrize("corrector", ["wiener", "memory", "next", "snap", "clip"])
def test_a_noisy_emulator_is_kept_on_the_manifold(corrector):
    thermalizer = prepared(waves(120, 30), 30, corrector=corrector, symmetry=("translate",), false_fire=0.05)
    out, _ = run(thermalizer, noisy(0.05))
    bare, _ = run(None, noisy(0.05))

    def off(states):  # rms of the modes that no wave has
        return np.abs(np.fft.rfft(states)[..., 3:]).mean()

    assert sum(done.calls.sum() for done in out) > 0
    assert off(out[-1].state) < 0.3 * off(bare[-1].state)
    assert set(out[-1].action) <= {"nothing", "corrected", "flagged"}


def test_nothing_is_done_to_a_clean_rollout_but_by_false_fires():
    thermalizer = prepared(waves(120, 30), 30, corrector="snap", threshold=0.02, symmetry=("translate",))
    out, truth = run(thermalizer, step)
    assert sum(done.calls.sum() for done in out) == 0 and np.abs(out[-1].state - truth).max() < 1e-3


def test_a_rows_answer_does_not_depend_on_the_others():
    states = waves()
    moved = waves(1, 24, seed=3) + 0.1 * RNG.standard_normal((24, 1, POINTS)).astype(np.float32)
    before = waves(1, 24, seed=3)
    for corrector in ("wiener", "memory", "next", "analog", "snap"):
        whole = prepared(states, 8, corrector=corrector, every=True).step(moved, before)
        again = prepared(states, 8, corrector=corrector, every=True).step(moved, before)
        assert np.array_equal(whole.state, again.state)
        part = prepared(states, 8, corrector=corrector, every=True).step(moved[:5], before[:5])
        assert np.abs(part.state - whole.state[:5]).max() < 1e-6


@pytest.mark.parametrize("budget", [0.0, 0.1, 0.5])
def test_a_budget_is_the_mean_of_calls_at_most(budget):
    thermalizer = prepared(waves(), 8, corrector="wiener", every=True, budget=budget)
    calls = np.mean([done.calls for done in run(thermalizer, noisy(0.1), 40)[0]], axis=0)
    assert (calls <= budget).all() and (calls >= budget - 1 / 40 - 1e-9).all()


def test_calls_of_a_step_end_at_their_most_and_a_row_that_stays_noisy_is_flagged():
    thermalizer = prepared(waves(), 8, corrector="clip", threshold=1e-3, max_calls=3)
    out = thermalizer.step(waves(1, 8) + np.float32(0.2) * RNG.standard_normal((8, 1, POINTS)).astype(np.float32))
    assert (out.calls == 3).all() and (out.action == "flagged").all()


def test_a_row_that_is_not_finite_is_dead_and_leaves_the_others_alone():
    def blows(states):
        out = step(states)
        out[2] = np.inf
        return out

    thermalizer = prepared(waves(), 8)
    out, _ = run(thermalizer, blows)
    alone, _ = run(prepared(waves(), 8), step)
    assert all(done.action[2] == "dead" and np.isnan(done.state[2]).all() for done in out)
    others = [0, 1, 3, 4, 5, 6, 7]
    assert np.array_equal(out[-1].state[others], alone[-1].state[others])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
def test_an_answer_that_is_not_finite_is_none(bad):
    thermalizer = prepared(waves(), 8, corrector="wiener", every=True)
    whole, plain = thermalizer.correct, thermalizer.step(waves(1, 8))

    def broken(x, previous, level, draws):
        answer, calls = whole(x, previous, level, draws)
        answer[2] = bad
        return answer, calls

    thermalizer.correct = broken
    thermalizer.reset()
    done = thermalizer.step(waves(1, 8))
    assert done.action[2] == "flagged" and done.calls[2] == 1 and np.isfinite(done.state).all()
    others = [0, 1, 3, 4, 5, 6, 7]
    assert np.array_equal(done.state[others], plain.state[others])


def test_numpy_and_torch_come_back_as_they_went_in():
    thermalizer, states = prepared(waves(), 8), waves(2, 8)
    one = thermalizer(states[8:], states[:8])
    thermalizer.reset()
    other = thermalizer(torch.from_numpy(states[8:]), torch.from_numpy(states[:8]))
    assert isinstance(one, np.ndarray) and isinstance(other, torch.Tensor) and np.array_equal(one, other.numpy())
    assert thermalizer(states[8:].astype(np.float64), states[:8]).dtype == np.float64


def test_the_first_state_has_no_previous_one_and_is_only_cleaned():
    thermalizer = prepared(waves(), 8, corrector="next", every=True)
    assert isinstance(thermalizer, Thermalizer)
    assert (thermalizer.step(waves(1, 8)).calls == 0).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rows": 9}, "whole number of steps"),
        ({"states": waves(3, 8)}, "too few to hold some out"),
        ({"states": np.where(np.arange(POINTS) == 3, np.nan, waves())}, "NaN"),
        ({"symmetry": ("turn",)}, "no symmetry 'turn'"),
        ({"symmetry": ("translate",), "states": waves().reshape(-1, 1, 4, 4)}, "one direction"),
        ({"corrector": "net"}, "--model"),
        ({"corrector": "nxt"}, "near it"),
        ({"neighbours": 1000}, "--neighbours"),
        ({"max_calls": 0}, "--max-calls"),
        ({"budget": -1.0}, "--budget"),
        ({"false_fire": 1e-5}, "held-out"),
        ({"false_fire": 2.0}, "between 0 and 1"),
    ],
)
def test_what_does_not_suit_is_refused_in_one_line(change, words):
    given = {"states": waves(), "rows": 8} | change
    with pytest.raises(LemError, match=words) as error:
        prepared(given.pop("states"), **given)
    assert "\n" not in str(error.value)


def test_states_of_another_shape_are_refused():
    with pytest.raises(LemError, match="the memory has"):
        prepared(waves(), 8).step(waves()[:8, :, :10])


# --- what a CUDA graph can hold, and devices


@pytest.mark.parametrize("corrector", ["wiener", "memory", "next", "analog", "snap", "clip"])
@pytest.mark.parametrize("how", [{"every": True}, {"budget": 0.5}, {"threshold": 0.05}])
def test_a_step_that_waits_for_no_number_is_the_same(corrector, how):
    made = [
        prepared(waves(), 8, corrector=corrector, symmetry=("translate", "reflect"), **how, **MORE.get(corrector, {}))
        for _ in range(2)
    ]
    made[1].known.states.masked = True
    assert made[1].static and not made[0].static
    states = [waves(1, 24, seed=3)]
    for t in range(6):
        claimed = states[-1] + 0.1 * RNG.standard_normal((24, 1, POINTS)).astype(np.float32)
        claimed[5 + t :: 9, 0, t] = np.nan
        one, other = (m.step(claimed, states[-1] if t else None) for m in made)
        np.testing.assert_allclose(one.state, other.state, atol=1e-6)
        np.testing.assert_allclose(one.level, other.level, atol=1e-12)
        assert (one.calls == other.calls).all() and (one.action == other.action).all()
        states.append(one.state)


MORE = {"next": {"neighbours": 16, "ridge": 1e-3}}


def test_a_rollout_of_tensors_is_that_of_arrays():
    start, made = waves(1, 5, seed=5), prepared(waves(), 8, every=True, **MORE["next"])
    arrays = list(rollout(lambda x: step(x), start, 6, made))
    made.reset()
    tensors = list(rollout(lambda x: torch.from_numpy(step(x.numpy())), torch.from_numpy(start), 6, made))
    for one, other in zip(arrays, tensors):
        assert isinstance(other.action, torch.Tensor)
        back = other.numpy()
        assert np.array_equal(one.state, back.state) and np.array_equal(one.claimed, back.claimed)
        assert np.array_equal(one.previous, back.previous) and one.told().keys() == back.told().keys()
        assert all(np.array_equal(a, back.told()[name]) for name, a in one.told().items())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("corrector", ["wiener", "memory", "next", "analog", "snap", "clip"])
def test_a_gpu_answers_what_the_cpu_does_call_by_call_and_as_a_graph(corrector):
    # (a threshold above rounding, by which the two differ)
    how = {
        "corrector": corrector,
        "symmetry": ("translate", "reflect"),
        "every": True,
        "budget": 0.5,
        "threshold": 0.05,
    }
    here, there = (prepared(waves(), 8, device=d, **how, **MORE.get(corrector, {})) for d in ("cpu", "cuda"))
    start = torch.from_numpy(waves(1, 24, seed=3))
    start[7] = torch.nan

    def turned(x):
        return x.roll(1, 2) * 1.01

    runs = [list(rollout(turned, start.to(m.known.states.device), 8, m)) for m in (here, there)]
    there.reset()
    runs.append(list(rollout(turned, start.cuda(), 8, there, capture=True)))
    assert there.captured or corrector == "analog"
    for steps in zip(*runs):
        one, *others = (done.numpy() for done in steps)
        for other in others:
            np.testing.assert_allclose(one.state, other.state, atol=1e-5)
            assert (one.calls == other.calls).all() and (one.action == other.action).all()
