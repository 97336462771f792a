"""Settings that must stand before numpy and torch are loaded."""

import os

# as the commands do: a pool of BLAS threads costs more than these small products
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# a fork of a process whose OpenMP threads have run would wait for them for ever
os.environ["OMP_NUM_THREADS"] = "1"

import pytest

pytest.register_assert_rewrite("helpers")
