"""Denoisers that learn chosen noise levels."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.training import settings, states
from lemtools.signal import LemError
from lemtools.train.prepare import prepare


def asked(tmp_path, **more):
    np.save(tmp_path / "x.npy", states())
    paths = {"field": str(tmp_path / "x.npy")}
    plain = settings(tmp_path, paths, recipe="diffusion", kind="field", arch="resnet", fragment=(), **more)
    return replace(plain, kind="field")


def test_levels_are_even_in_their_logarithm(tmp_path):
    goal = prepare(asked(tmp_path, levels=(0.01, 1.0))).objective
    alpha_bar = goal.alpha_bar(torch.linspace(0, 1, 5, dtype=torch.float64))
    assert torch.allclose((1 / alpha_bar - 1).sqrt().log10(), torch.linspace(-2, 0, 5, dtype=torch.float64))
    one = prepare(asked(tmp_path, levels=0.5)).objective
    assert torch.allclose(one.alpha_bar(torch.rand(3, dtype=torch.float64)), torch.tensor(0.8, dtype=torch.float64))
    usual = prepare(asked(tmp_path)).objective.alpha_bar(torch.tensor([0.0, 0.5], dtype=torch.float64))
    assert torch.allclose(usual, torch.cos(torch.tensor([0.0, 0.5 / 1.008 * np.pi / 2], dtype=torch.float64)) ** 2)


def test_levels_that_are_none_are_refused(tmp_path):
    with pytest.raises(LemError, match="--levels 0-1: A-B with 0 < A <= B"):
        prepare(asked(tmp_path, levels=(0.0, 1.0)))
    other = replace(asked(tmp_path, levels=(0.1, 1.0)), recipe="feedforward", arch="flat")
    with pytest.raises(LemError, match="--levels is for diffusion"):
        prepare(other)
