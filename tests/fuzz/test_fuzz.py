"""The fuzzer finds nothing, and finds what is planted. It runs in an interpreter of its own, which forks."""

import os
import random
import subprocess
import sys

from helpers.mutate import WAYS, mutated
from helpers.paths import ROOT


def fuzz(*words: str, begin: str = "") -> tuple[int, str]:
    """(exit status, output) of `python -m tests.fuzz`; begin: what is done before."""
    code = f"import runpy, sys; sys.argv = {['fuzz', *words]!r}\n{begin}\nrunpy.run_module('tests.fuzz', run_name='__main__')"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=env)
    return done.returncode, done.stdout + done.stderr


def test_hostile_inputs_end_in_one_line():
    status, told = fuzz("1500", "--commands", "60", "--seed", "13")
    assert status == 0, told
    assert told.startswith("1500 inputs: 0 faults") and "60 commands: 0 faults" in told


def test_a_planted_defect_is_found():
    """Files are believed, whatever they say."""
    unchecked = "from lemtools.signal import Layout; Layout.check = Layout.check_values = lambda *_: None"
    status, told = fuzz("300", "--files", "*.enc", begin=unchecked)
    assert status == 1 and "vq/residual.py" in told, told


def test_the_same_number_is_the_same_input():
    raw = b"P5 2 2 255\n....some text, and more, 1 2 3\n" * 3
    for form in ("text", "head", "bytes"):
        for number in range(50):
            first, again = (mutated(raw, form, random.Random(f"0 {number}")) for _ in range(2))
            assert first == again
    assert {"safetensors", "png", "npy", "text", "head", "gzip", "bytes"} == set(WAYS)
