"""Settings that must stand before numpy and torch are loaded."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

# as the commands do: a pool of BLAS threads costs more than these small products
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# a fork of a process whose OpenMP threads have run would wait for them for ever
os.environ["OMP_NUM_THREADS"] = "1"

import pytest

with contextlib.suppress(ImportError):
    from hypothesis import HealthCheck, settings

    # how long a draw takes says how busy the machine is
    settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any machine")
pytest.register_assert_rewrite("helpers")
# rooms that compute on a GPU where there is one
ROOMS = {"codes", "denoise", "dreams", "els", "encode", "nets", "reconstruct", "restore", "train", "vq"}


# files whose few tests take long: begun first, so that no process waits for the last of them
LONG = (
    "els/test_els_kernel.py",
    "nets/test_recurrence.py",
    "docs/test_pages.py",
    "train/test_train_cli.py",
    "train/test_lm.py",
    "dreams/test_els_cli.py",
)


def pytest_collection_modifyitems(items):
    """Mark what `pytest -m gpu` runs, and put long files first."""
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.relative_to(here).as_posix() not in LONG)
    for item in items:
        if item.path.relative_to(here).parts[0] in ROOMS:
            item.add_marker("gpu")


def pytest_configure(config):
    make_folder(config)
    hide_gpus(config)


def make_folder(config):
    """Of the fork server (helpers/forkserver.py): one for all processes of a run, and of the runs that it starts."""
    if "LEM_FORK_SERVER" not in os.environ:
        folder = os.environ["LEM_FORK_SERVER"] = tempfile.mkdtemp(prefix=f"lemtests-{os.getpid()}-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def hide_gpus(config):
    """Tests run commands in forks, and a process that has touched CUDA must not be forked: GPUs are seen by `pytest -m gpu` alone.

    test_device.py starts that one in a process of its own.
    """
    if config.getoption("markexpr") != "gpu":
        os.environ.setdefault("LEM_TEST_GPUS", os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
