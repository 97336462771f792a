"""The corrector `local` and its cells against their definitions: known maps, whole rings, translations, one direction and two."""

import numpy as np
import pytest
import torch

from lemtools.catalogue import LemError
from lemtools.denoise.contract import Scale
from lemtools.thermalize import prepared
from lemtools.thermalize.cells import PROBED, SIZE, Cells
from lemtools.thermalize.correctors import Following
from lemtools.thermalize.patches import Axis, Local, Patches
from lemtools.thermalize.states import Known, States

RNG = np.random.default_rng(0)


def known(values, rows, symmetry=()):
    states = States(values[: -3 * rows], rows, Scale(), symmetry)
    return Known(states, states.encoded(values[-3 * rows :]))


def trajectories(step, shape, steps=12, rows=8):
    values = [RNG.standard_normal((rows, *shape))]
    for _ in range(steps):
        values.append(step(values[-1]))
    return np.concatenate(values)


def pairs(step, shape, count, symmetry=()):
    """Known of that many steps of 8 random states each, every other one followed by what the map makes of it."""
    x = RNG.standard_normal((count, 8, *shape))
    made = known(np.stack([x, step(x)], 1).reshape(-1, *shape), 8, symmetry)
    followed = made.states.followed
    made.states.followed = followed[followed // 8 % 2 == 0]
    return made


def ring(x):
    """A linear map of the neighbours on a ring, which keeps the size of a state."""
    f = np.fft.rfft(x)
    k = np.arange(f.shape[-1]) / x.shape[-1] * 2 * np.pi
    local = 0.6 + 0.5 * np.cos(k) + 0.3j * np.sin(2 * k)
    return np.fft.irfft(f * local, x.shape[-1])


# --- cells


@pytest.mark.parametrize("count", [5, 100, SIZE * 9])
def test_few_cells_are_looked_through_all(count):
    points = torch.from_numpy(RNG.standard_normal((count, 4)).astype(np.float32))
    cells = Cells(points)
    query = torch.from_numpy(RNG.standard_normal((70, 4)))
    number, distance, there = cells.nearest(query, 5)
    exact = (query[:, None] - points[: len(cells)].double()).square().sum(2)
    assert len(cells) >= count - PROBED
    assert torch.allclose(distance, exact.sort(1).values[:, :5], rtol=1e-6)
    assert torch.allclose(exact.gather(1, number), distance, rtol=1e-6)
    assert torch.equal(there, points[number].double())


def test_of_many_cells_the_nearest_ones_hold_nearly_all_neighbours():
    points = torch.from_numpy(RNG.standard_normal((40_000, 6)).astype(np.float32))
    cells = Cells(points)
    assert len(cells.points) > PROBED and len(cells.number.unique()) == len(cells) > 39_000
    query = torch.from_numpy(RNG.standard_normal((50, 6)))
    number, distance, _ = cells.nearest(query, 20)
    exact = torch.cdist(query, points[: len(cells)].double()).topk(20, largest=False).indices
    found = (number[:, :, None] == exact[:, None]).any(2).double().mean()
    assert found > 0.9 and (distance.diff(dim=1) >= 0).all()


def test_more_neighbours_than_points_is_an_error():
    with pytest.raises(LemError, match="--neighbours"):
        Cells(torch.zeros(5, 2)).nearest(torch.zeros(1, 2, dtype=torch.float64), 6)


# --- how patches lie


@pytest.mark.parametrize("length", [7, 40, 192])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 9, 36, 192])
def test_every_place_is_in_a_block(length, size):
    axis = Axis(length, size)
    assert axis.block + 2 * axis.margin == min(size, length) == len(axis.taper)
    blocks = axis.inner(axis.starts)
    assert len(blocks.unique()) == length and (axis.blend > 0).all()
    assert torch.equal(axis.patch(axis.starts)[:, axis.margin : axis.margin + axis.block], blocks)


def test_kept_patches_are_distinct_and_spread_over_all():
    memory = Patches(known(trajectories(ring, (1, 24)), 8, ("translate",)).states, 9, 5000)
    (chart,) = memory.charts
    assert len(chart.state) == len(memory.states.followed) * 24  # (the least that is kept)
    memory = Patches(known(trajectories(ring, (1, 24), 60), 8, ("translate",)).states, 9, 5000)
    (chart,) = memory.charts
    numbers = chart.state * 24 + chart.cols
    assert len(chart.state) == 5000 == len(numbers.unique())
    assert numbers.diff().max() <= 2 * len(memory.states.followed) * 24 / 5000 + 1


# --- known answers


@pytest.mark.parametrize(("size", "symmetry"), [(9, ("translate",)), (18, ("translate",)), (9, ()), (30, ())])
def test_local_is_exact_for_a_linear_map_of_neighbours(size, symmetry):
    memory = pairs(ring, (1, 24), 12 if symmetry else 40, symmetry)
    x = torch.from_numpy(RNG.standard_normal((8, 24)) / 2)
    answer = Patches(memory.states, size, 1 << 20).followed(x, 60, 0.0)
    assert np.allclose(answer, ring(x.numpy()), atol=1e-5)


def test_patches_too_narrow_for_the_map_are_not():
    memory = pairs(ring, (1, 24), 12, ("translate",))
    x = torch.from_numpy(RNG.standard_normal((8, 24)) / 2)
    assert np.abs(Patches(memory.states, 2, 1 << 20).followed(x, 60, 0.0).numpy() - ring(x.numpy())).max() > 0.1


def rows_of_their_own(x):
    """A map on a torus of 6 x 12 that is alike along the last direction alone."""
    own = 0.5 + 0.4 * np.cos(2 * np.pi * np.arange(6) / 6)[:, None]
    return own * x + 0.4 * np.roll(x, 1, -1) + 0.3 * np.roll(x, -1, -2)


def test_in_two_directions_places_are_alike_where_the_symmetry_says_so():
    x = torch.from_numpy(RNG.standard_normal((8, 72)) / 2)
    want = rows_of_their_own(x.numpy().reshape(-1, 1, 6, 12)).reshape(8, -1)
    along = Patches(pairs(rows_of_their_own, (1, 6, 12), 12, ("translate-x",)).states, 6, 1 << 20)
    assert len(along.charts) == 1 and along.rows.margin == 0  # (no axis is longer than that but the last one)
    along = Patches(pairs(rows_of_their_own, (1, 6, 12), 60, ("translate-x",)).states, 3, 1 << 20)
    assert len(along.charts) == 6 and np.allclose(along.followed(x, 60, 0.0), want, atol=1e-5)
    both = Patches(pairs(rows_of_their_own, (1, 6, 12), 12, ("translate",)).states, 3, 1 << 20)
    assert len(both.charts) == 1 and np.abs(both.followed(x, 60, 0.0).numpy() - want).max() > 0.1


@pytest.mark.parametrize("shape", [(2, 10), (1, 4, 3)])
def test_a_patch_of_the_whole_ring_is_next(shape):
    memory = known(RNG.standard_normal((400, *shape)), 8, ("reflect",))
    memory.states.followed = memory.states.followed[:640]  # (so few are all looked through)
    x = memory.held[:8] * 0.7
    for far in (torch.inf, 0.1):
        whole = Following(memory, 40, 1e-2)
        patches = Patches(memory.states, 20, 1 << 20)
        whole.far = patches.far = far
        assert torch.allclose(patches.followed(x, 40, 1e-2), whole.regressed(x, 40, 1e-2), atol=1e-6)


def test_where_patches_move_on_by_whole_blocks_so_do_answers():
    memory = known(trajectories(lambda x: np.tanh(2 * ring(x)), (1, 24)), 8, ("translate", "reflect"))
    patches = Patches(memory.states, 9, 1 << 20)
    x = memory.held[:8]
    assert patches.cols.starts.diff().unique().tolist() == [2]
    moved = patches.followed(x.roll(2 * 5, 1), 32, 1e-3)
    assert torch.allclose(moved, patches.followed(x, 32, 1e-3).roll(2 * 5, 1), atol=1e-9)


def test_local_chooses_patches_that_see_what_the_map_sees():
    step = lambda x: np.tanh(1.7 * ring(x)) + 0.1
    memory = known(trajectories(step, (1, 24), 40), 8, ("translate",))
    made = Local(memory, None, None, None)
    found = made(memory.held[:8], memory.held[:8], torch.zeros(8), [])[0]
    assert made.memory.size > 3
    assert float((found - memory.held[8:16]).square().mean().sqrt()) < 0.05


def test_a_rows_answer_does_not_depend_on_the_others():
    values = trajectories(lambda x: np.tanh(2 * ring(x)), (1, 24), 60)
    state, before = values[-8:] + 0.1, values[-16:-8]
    made = prepared(
        values, 8, corrector="local", patch=9, neighbours=32, symmetry=("translate",), false_fire=0.05, every=True
    )
    whole = made.step(state, before).state
    made.reset()
    assert np.array_equal(made.step(state, before).state, whole)
    for rows in (1, 3):
        made.reset()
        assert np.abs(made.step(state[:rows], before[:rows]).state - whole[:rows]).max() < 1e-6


def test_what_patches_cannot_do_is_refused_in_one_line():
    with pytest.raises(LemError, match="--neighbours"):
        prepared(trajectories(ring, (1, 24)), 8, corrector="local", patch=24, neighbours=1000, threshold=0.1)
    with pytest.raises(LemError, match="--corrector local"):
        prepared(trajectories(ring, (1, 24)).reshape(-1, 1, 4, 6), 8, symmetry=("translate-x",), threshold=0.1)


def test_covariance_under_translations_in_one_of_two_directions_is_that_of_all_copies():
    values = RNG.standard_normal((40, 2, 3, 6)).astype(np.float32) + np.arange(3)[:, None]
    gaussian = States(values, 4, Scale(), ("translate-x",)).gaussian
    copies = np.concatenate([np.roll(values, k, 3) for k in range(6)]).reshape(-1, 36).astype(np.float64)
    assert np.allclose(gaussian.mean, copies.mean(0), atol=1e-6)
    assert np.allclose(gaussian.covariance, np.cov(copies.T, bias=True), atol=1e-6)
