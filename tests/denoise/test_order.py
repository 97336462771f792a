"""Whether states stand in the order that is said."""

import numpy as np
import pytest

from lemtools.denoise.order import misplaced


def waves(rows, steps=100, turn=0.2):
    phase = 2 * np.pi * np.random.default_rng(0).random((rows, 1))
    angle = phase + turn * np.arange(steps)[:, None, None] + np.arange(8) * np.pi / 4
    return (1e5 + 50 * np.cos(angle)).reshape(-1, 1, 8)


@pytest.mark.parametrize("rows", [1, 2, 8, 30])
def test_other_rows_than_there_are_are_doubted(rows):
    states = waves(rows)
    assert misplaced(states, rows) == ""
    for wrong in {1, 2 * rows, 5 * rows} - {rows}:
        assert misplaced(states, wrong).startswith(
            f"states {rows} apart differ by 0.2 standard deviations, and those {wrong} "
        )


def test_a_system_that_comes_back_or_has_no_memory_is_not_doubted():
    for rows in (1, 4):
        assert misplaced(waves(rows, turn=2 * np.pi / 16), rows) == ""
        assert misplaced(np.random.default_rng(0).standard_normal((400, 1, 3)), rows) == ""
    assert misplaced(np.zeros((40, 1, 3)), 4) == misplaced(waves(4, 1), 4) == misplaced(waves(4)[:5], 4) == ""


def test_a_system_that_comes_back_is_in_order():
    """Exactly, after six steps, of states that are as any two from one step to the next."""
    cycle = np.random.default_rng(0).standard_normal((6, 20, 8))
    assert misplaced(np.tile(cycle, (10, 1, 1)).reshape(-1, 8), 20) == ""
