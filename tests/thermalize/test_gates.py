"""Gates of lem-thermalize: what each of them sees, and the threshold that a budget sets."""

import numpy as np
import pytest
import torch

from lemtools.catalogue import LemError
from lemtools.catalogue.gates import GATES
from lemtools.denoise.contract import Scale
from lemtools.nets import build
from lemtools.nets.model import Model
from lemtools.thermalize import prepared, rollout
from lemtools.thermalize.budget import budgeted
from lemtools.thermalize.gate import distance, level
from lemtools.thermalize.states import Known, States

POINTS = 16


def on_circle(angle):
    """A closed curve [N, 1, 6] all of whose directions have the same variance."""
    return np.stack([f(k * angle) for k in (1, 2, 3) for f in (np.cos, np.sin)], -1)[:, None]


def circle():
    states = States(on_circle(np.linspace(0, 2 * np.pi, 2000, endpoint=False)).astype(np.float32), 1, Scale())
    return Known(states, states.x[:10].double())


def test_a_bias_that_the_level_does_not_see_is_a_distance():
    known, angle = circle(), np.random.default_rng(0).uniform(0, 2 * np.pi, 50)
    clean, shrunk = (known.states.encoded(size * on_circle(angle)) for size in (1.0, 0.9))
    assert level(known).level(shrunk).max() == 0
    near, far = (distance(known).score(x, torch.zeros(50, dtype=torch.float64)) for x in (clean, shrunk))
    assert near.max() < 5e-3
    off = 0.1 / 2**0.5  # the curve has an rms of 1 / sqrt 2, and its middle lies across its tangents
    assert (near < far.min()).all() and torch.allclose(far, torch.full_like(far, off), rtol=0.1)


def test_a_state_between_two_stored_ones_is_less_far_than_from_either():
    known = circle()
    x = known.states.encoded(on_circle(np.array([np.pi / 2000])))
    nearest = (known.states.x.double() - x).square().mean(1).sqrt().min()
    gate = distance(known, gate_neighbours=8, gate_noise=1e-4)
    assert gate.score(x, torch.zeros(1, dtype=torch.float64)) < 0.1 * nearest


def reading():
    """An untrained network that reads levels of states [1, 6]."""
    net = build({"net": "conv-level", "channels": 1, "low": 0.01, "high": 1.0, "width": 8, "blocks": 1, "axes": 1})
    scale = Scale(np.zeros((1, 1)), np.ones((1, 1)))
    return Model(net, {"item": [1, 6], "kind": "field", "calibration": {"clean": [[0.5, 0.01]]}}, scale, scale)


def test_the_gates_of_the_catalogue_are_functions_that_read():
    known = circle()
    x = known.states.x[::100].double()
    for name, row in GATES.items():
        reader = row.load()(known, **({"gate_model": reading()} if row.takes("gate_model") else {}))
        with_hole = x.clone()
        with_hole[3, 2] = torch.nan
        found = reader.score(with_hole, reader.level(with_hole))
        whole = reader.score(x, reader.level(x))
        assert found[3].isnan() and (torch.cat([found[:3] - whole[:3], found[4:] - whole[4:]]).abs() < 1e-9).all(), name


def remembering(steps, memory, rows=16):
    """Rows [T R, 1, L] of Gaussian states, each like the one before with that correlation."""
    rng = np.random.default_rng(3)
    fresh = rng.standard_normal((steps, rows, 1, POINTS)) * (1 - memory**2) ** 0.5
    found = [rng.standard_normal((rows, 1, POINTS))]
    for now in fresh:
        found.append(memory * found[-1] + now)
    return np.concatenate(found[1:]).astype(np.float32)


def test_a_threshold_is_doubted_where_held_out_states_are_like_those_stored_before_them():
    how = {"corrector": "wiener", "gate": "distance", "false_fire": 0.1}
    near, far = (prepared(remembering(100, memory), 16, **how).gate for memory in (0.95, 0.3))
    assert "times higher at their end" in near.doubt and "--threshold" in near.doubt and not far.doubt
    fresh = States(remembering(100, 0.3), 16, Scale()).x.double()  # any other clean states
    fires = [float((gate.score(fresh, gate.level(fresh)) > gate.threshold).double().mean()) for gate in (near, far)]
    assert fires[0] > 0.2 and fires[1] < 0.15


def drifting(states):
    """A wave that travels, and of which the second mode shrinks."""
    f = np.fft.rfft(np.asarray(states, np.float64))
    f[..., 1:3] *= np.exp(-1j * np.array([0.3, 0.4])) * np.array([1, 0.97])
    return np.fft.irfft(f, POINTS).astype(np.float32)


def waves(rows=8, steps=150):
    rng = np.random.default_rng(0)
    x, time = 2 * np.pi * np.arange(POINTS) / POINTS, np.arange(steps)[:, None, None, None]
    place = rng.uniform(0, 2 * np.pi, (rows, 2))
    f = np.cos((x - time * np.array([0.3, 0.2])[:, None]) * np.array([1, 2])[:, None] - place[..., None])
    return f.sum(2).reshape(-1, 1, POINTS).astype(np.float32)


def test_a_budget_is_spent_on_average_and_rows_differ():
    states = waves()
    thermalizer = prepared(states, 8, gate="distance", gate_neighbours=8)
    share = budgeted(thermalizer, drifting, 0.2, rows=16, steps=150)
    assert share == pytest.approx(0.2, abs=0.05)
    calls = [done.calls for done in rollout(drifting, states[-8:], 100, thermalizer)]
    assert np.mean(calls) == pytest.approx(0.2, abs=0.05)
    alone = [done.calls for done in rollout(drifting, states[-8:-7], 100, thermalizer)]
    assert (np.array(alone)[:, 0] == np.array(calls)[:, 0]).all()


def test_a_budget_counts_calls_and_not_rows_that_call():
    """A corrector of four steps spends four calls."""
    states = waves()
    thermalizer = prepared(states, 8, gate="distance", gate_neighbours=8)
    once = thermalizer.correct
    thermalizer.correct = lambda *told: (once(*told)[0], 4)
    assert budgeted(thermalizer, drifting, 0.2, rows=16, steps=150) == pytest.approx(0.2, abs=0.05)
    calls = [done.calls for done in rollout(drifting, states[-8:], 100, thermalizer)]
    assert np.mean(calls) == pytest.approx(0.2, abs=0.1) and np.max(calls) == 4


def test_a_budget_of_none_or_all_has_no_threshold():
    thermalizer = prepared(waves(), 8)
    for share in (0.0, 1.0):
        with pytest.raises(LemError, match="--always"):
            budgeted(thermalizer, drifting, share)


def test_a_trial_in_which_all_rows_die_is_an_error():
    thermalizer = prepared(waves(), 8)
    with pytest.raises(LemError, match="died at step 1"):
        budgeted(thermalizer, lambda x: x * np.float32(np.nan), 0.2, rows=4, steps=5)


def test_a_gate_gets_its_own_options_alone():
    with pytest.raises(TypeError):
        prepared(waves(), 8, gate="level", gate_noise=0.1)
    assert prepared(waves(), 8, gate="distance", gate_noise=0.1).gate.threshold > 0


def test_after_a_trial_the_threshold_alone_rations():
    states = waves()
    thermalizer = prepared(states, 8, gate="distance", gate_neighbours=8, budget=0.2)
    share = budgeted(thermalizer, drifting, 0.2, rows=16, steps=150)
    calls = [done.calls for done in rollout(drifting, states[-8:], 100, thermalizer)]
    free = prepared(states, 8, gate="distance", gate_neighbours=8, threshold=thermalizer.gate.threshold)
    assert share > 0 and np.array_equal(calls, [done.calls for done in rollout(drifting, states[-8:], 100, free)])
