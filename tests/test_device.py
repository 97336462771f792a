"""The GPU gives what the CPU gives. Skipped by name where there is no CUDA."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from helpers.paths import ROOT
from lemtools.denoise.gaussian import Gaussian
from lemtools.denoise.memory import Memory

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.skipif(not os.path.exists("/dev/nvidiactl"), reason="no CUDA device")
def test_all_that_is_marked_gpu_in_a_process_that_sees_it():
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    if env.pop("LEM_TEST_GPUS") == "all":
        del env["CUDA_VISIBLE_DEVICES"]
    else:
        env["CUDA_VISIBLE_DEVICES"] = os.environ["LEM_TEST_GPUS"]
    line = [sys.executable, "-m", "pytest", "-n", "4", "-m", "gpu", "tests"]
    done = subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-6000:] + done.stderr[-2000:]


def blobs(n, d=300, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, 20)) @ rng.standard_normal((20, d)) / 5 + rng.standard_normal((n, d)) / 3).astype(
        np.float32
    )


@needs_cuda
@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_recall_agrees(dtype):
    store = blobs(5000)
    store = np.clip(store * 40 + 127, 0, 255).astype(np.uint8) if dtype == np.uint8 else store
    query = store[:64] / np.float32(255 if dtype == np.uint8 else 1)
    mask = np.random.default_rng(1).random(query.shape) < 0.3
    for options in ({}, {"sigma": 0.5}, {"sigma": 0.5, "centred": True}, {"unaware": True}):
        here, there = (Memory(store, device=d).recall(query, mask, **options) for d in ("cpu", "cuda"))
        assert (here.index == there.index).all()
        assert np.abs(here.mean - there.mean).max() < 1e-5 and np.abs(here.log_sum - there.log_sum).max() < 1e-5


@needs_cuda
@pytest.mark.gpu
def test_denoisers_agree():
    store, x = blobs(3000), blobs(32, seed=3)
    gaussians = [Gaussian.fit(store, device=d) for d in ("cpu", "cuda")]
    memories = [Memory(store, device=d) for d in ("cpu", "cuda")]
    for alpha_bar in (1.0, 0.9999, 0.5, 0.01, 0.0):
        for here, there in (gaussians, memories):
            assert np.abs(here(x, alpha_bar) - there(x, alpha_bar)).max() < 1e-4
    mask = np.random.default_rng(1).random(x.shape) < 0.4
    here, there = (g.conditional(x, mask) for g in gaussians)
    assert np.abs(here - there).max() < 1e-4
    draws = [g.sample(x, mask, samples=2, generators=[np.random.default_rng(i) for i in range(32)]) for g in gaussians]
    assert np.isfinite(draws[1]).all() and draws[0].shape == draws[1].shape
