"""What lem-thermalize says of a memory, a gate, a budget and inputs that are not what somebody took them for."""

import json

import numpy as np
import pytest

from helpers.commands import lem_fork
from lemtools.denoise.contract import Scale
from lemtools.nets import build
from lemtools.nets.model import Model
from lemtools.train.checkpoint import save_model

ROWS, STEPS = 8, 150
RATES = np.array([1, 2**0.5, 3**0.5])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """states.npy: three oscillators, all of whose directions have the same variance; two.npz of two arrays; models of an emulator."""
    here = tmp_path_factory.mktemp("doubts")
    phase = 2 * np.pi * np.random.default_rng(0).random((1, ROWS, 3))
    angle = phase + 0.2 * RATES * np.arange(STEPS)[:, None, None]
    states = np.stack([np.cos(angle), np.sin(angle)], -1).reshape(-1, 6, 1).astype(np.float32)
    np.save(here / "states.npy", states)
    np.save(here / "start.npy", states[-ROWS:])
    np.save(here / "few.npy", states[: 6 * ROWS])
    np.save(here / "same.npy", np.repeat(states[:1], 40, 0))
    np.savez(here / "two.npz", a=states, b=states)
    item = {"kind": "field", "item": [6, 1]}
    for name, size in (("step", 1.0), ("pascal", 1e5)):
        net = {"net": "conv-step", "channels": 6, "width": 4, "blocks": 1, "side": 1, "axes": 1}
        meta = {"v": 1, "tool": "lem-train", "version": "0", "recipe": "emulator", "net": net, **item, "target": item}
        meta |= {"fragment": [], "classes": 0, "step": 1, "seed": 0, "card": {}}
        scale = Scale(np.zeros((6, 1)), np.full((6, 1), 2**0.5 / size))
        save_model(Model(build(net), meta, scale, scale), str(here / f"{name}.safetensors"))
    return here


def run(place, *args, **how):
    done = lem_fork("thermalize", *args, cwd=place, **how)
    return done.returncode, done.stderr.decode()


NUMBERS = ("--neighbours", 16, "--ridge", 1e-3)
MEMORY = ("--memory", "states.npy", "--memory-rows", ROWS, *NUMBERS)
STEP = ("--rollout", "step.safetensors", "--steps", 4, "start.npy", "-o", "out.npy")


def test_a_gate_that_sees_little_and_a_budget_that_is_not_spent_are_noted(place):
    rc, said = run(place, *MEMORY, *STEP)
    assert rc == 0 and "--gate level sees little: 1 % of clean states read " in said
    for more in (("--gate", "distance"), ("--threshold", 1), ("--always",)):
        assert run(place, *MEMORY, *STEP, *more) == (0, "")
    rc, said = run(place, *MEMORY, *STEP, "--budget", 0.9)
    assert rc == 0 and "--budget 0.9: above a level of" in said and "another --gate may" in said


def test_states_that_do_not_stand_in_order_are_noted(place):
    always = ("--memory", "states.npy", *STEP, "--always", *NUMBERS)
    assert run(place, *always, "--memory-rows", ROWS) == (0, "")
    rc, said = run(place, *always, "--memory-rows", 1)
    assert rc == 0 and "--corrector next is " in said and "the order that --rows says" in said
    rc, said = run(place, *always, "--memory-rows", 1, "--symmetry", "reflect")
    assert rc == 0 and "or a --symmetry is none of theirs" in said


def test_a_whole_rollout_that_is_taken_for_one_step_is_noted(place):
    one = (*MEMORY, "--always", "-o", "out.npy")
    rc, said = run(place, *one, "states.npy")
    assert rc == 0 and f"states.npy: taken for one step of {ROWS * STEPS} rows; --rows R says" in said
    assert run(place, *one, "--rows", ROWS, "states.npy") == (0, "")


def test_few_states_are_enough_where_no_threshold_is_asked_for(place):
    few = ("--memory", "few.npy", "--rows", ROWS, *STEP)
    rc, said = run(place, *few)
    assert rc == 2 and "give a larger --false-fire, or a --threshold" in said
    assert run(place, *few, "--always", "--log", "log.jsonl")[0] == 0
    assert {a for line in open(place / "log.jsonl") for a in json.loads(line)["action"]} == {"corrected"}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--memory", "same.npy", "--always"), "same.npy: all stored states are the same"),
        (("--memory", "two.npz"), "two.npz: several arrays (a, b); pick one with --memory-key"),
        (("--memory", "few.npy", "--gate", "distance", "--gate-neighbours", 99), "--gate-neighbours 99: there are 32 "),
        (("--memory", "few.npy", "--always", "--neighbours", 99), "few.npy: 100 neighbours are asked for among 24 "),
        (
            ("--memory", "states.npy", "--corrector", "net", "--model", "step.safetensors"),
            "--model step.safetensors: a",
        ),
    ],
)
def test_what_is_wrong_is_named_by_its_file_or_option(place, args, said):
    rc, told = run(place, *args, "--rows", ROWS, *STEP)
    assert rc == 2 and told.startswith(f"lem-thermalize: error: {said}"), told


def test_an_emulator_of_other_states_is_named_with_the_start(place):
    for memory in ((), (*MEMORY, "--always")):
        rc, said = run(place, *memory, "--rollout", "pascal.safetensors", "--steps", 2, "start.npy", "-o", "no.npy")
        assert (
            rc == 2
            and "start.npy: states of mean" in said
            and "where --rollout pascal.safetensors learned from" in said
        )
    np.save(place / "long.npy", np.zeros((2, 6, 5), np.float32))
    rc, said = run(place, "--rollout", "step.safetensors", "--steps", 2, "long.npy", "-o", "no.npy")
    assert (
        rc == 2
        and "long.npy: states of [6, 5], where --rollout step.safetensors was trained on those of [6, 1]" in said
    )
    assert not (place / "no.npy").exists()
