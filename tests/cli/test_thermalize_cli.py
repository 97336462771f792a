"""lem-thermalize: the filter, the loop with a coprocess and the one in Python are one; and whatever can go wrong."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from helpers.commands import fronts, gone, lem_fork
from helpers.paths import ROOT
from lemtools import stream
from lemtools.media import Target, load, save
from lemtools.signal import Signal

ROWS, LENGTH = 6, 16
# an emulator of waves that travel: it lets them grow and adds what they do not have
STEP = """
import sys
from dataclasses import replace
import numpy as np
from lemtools import stream

def step(x):
    return (np.float32(1.01) * np.roll(x, 1, -1) + np.float32(0.05) * np.sin(7 * x)).astype(np.float32)

if __name__ == "__main__":
    with open(0, "rb", buffering=0) as source, open(1, "wb", buffering=0) as target:
        batches = stream.read(stream.Source(source, "standard input"), loop=True)
        stream.write((replace(b, data=step(b.data)) for b in batches), target)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """states.npy, 40 steps of 6 rows; start.safetensors, 4 others; step.py."""
    here = tmp_path_factory.mktemp("thermalize")
    rng = np.random.default_rng(0)
    x = 2 * np.pi * np.arange(LENGTH) / LENGTH
    strong, phase = 1 + 0.2 * rng.random((ROWS + 4, 3, 1)), 2 * np.pi * rng.random((ROWS + 4, 3, 1))

    def waves(t):
        modes = np.arange(1, 4)[:, None]
        u = (strong * np.cos(modes * (x - 2 * np.pi * t / LENGTH) + phase)).sum(1)
        return (u + 0.01 * rng.standard_normal(u.shape))[:, None].astype(np.float32)

    whole = np.stack([waves(t) for t in range(40)])
    np.save(here / "states.npy", whole[:, :ROWS].reshape(-1, 1, LENGTH))
    save([Signal("field", whole[0, ROWS:], last=True)], Target(str(here / "start.safetensors")))
    (here / "step.py").write_text(STEP)
    return here


@pytest.fixture(scope="module")
def step(place):
    code = {"__name__": "step"}
    exec((place / "step.py").read_text(), code)
    return code["step"]


def made(place):
    from lemtools.thermalize import prepared

    return prepared(np.load(place / "states.npy"), ROWS, false_fire=0.1)


def run(place, *args, **how):
    gate = () if "--threshold" in args else ("--false-fire", 0.1)
    return lem_fork("thermalize", "--memory", "states.npy", *gate, *args, cwd=place, **how)


def looped(place, *args, exec="step.py", **how):
    command = f"{sys.executable} {exec}"
    rows = () if "--memory-rows" in args else ("--memory-rows", ROWS)
    start = () if any(str(a).startswith("start") for a in args) else ("start.safetensors",)
    env = {"PYTHONPATH": str(ROOT), **how.pop("env", {})}
    return run(place, *rows, "--exec", command, "--steps", 12, *start, *args, env=env, **how)


def read(path):
    return [b.data for b in stream.read(stream.Source(open(path, "rb", buffering=0), "x"))]


def documents(raw):
    return list(stream.read(stream.Source(io.BytesIO(raw), "x"), loop=True))


def start_of(place):
    return read(place / "start.safetensors")[0]


def one_line(done, *said, status=2):
    text = done.stderr.decode()
    assert done.returncode == status, text
    (line,) = (each for each in text.splitlines() if each.startswith("lem-thermalize: error: "))
    assert all(word in line for word in said), line


def test_claims_and_previous_states_line_up_with_what_is_written(place, step):
    """What went into the emulator, what came out of it, and what was made of it."""
    from lemtools.thermalize import rollout

    beside = ("--claims", "claimed.safetensors", "--previous", "previous.npy")
    done = looped(place, "-o", "out.safetensors", *beside, "--every", 3)
    assert (done.returncode, done.stderr) == (0, b"")
    ((found,), (claimed,)) = (read(place / f"{name}.safetensors") for name in ("out", "claimed"))
    previous = np.load(place / "previous.npy")
    assert found.shape == claimed.shape == previous.shape == (16, 1, LENGTH)
    assert claimed.tobytes() == step(previous).tobytes() and not np.array_equal(claimed, found)
    start = start_of(place)
    whole = [start, *(each.state for each in rollout(step, start, 12, made(place)))]
    assert previous.tobytes() == np.concatenate(whole[2:12:3]).tobytes()
    assert found.tobytes() == np.concatenate(whole[3:13:3]).tobytes()
    one = looped(place, "-o", "out.safetensors", *beside)  # from the first step on
    assert one.returncode == 0
    assert np.load(place / "previous.npy").tobytes() == np.concatenate(whole[:-1]).tobytes()


def test_claims_of_a_filter_are_what_came_in(place):
    states = np.load(place / "states.npy")[: 4 * ROWS]
    np.save(place / "drifted.npy", states + np.float32(0.1))
    done = run(place, "--rows", ROWS, "drifted.npy", "-o", "mended.npy", "--claims", "claimed.npy", "--every", 2)
    assert (done.returncode, done.stderr) == (0, b"")
    came = (states + np.float32(0.1)).reshape(4, ROWS, 1, LENGTH)
    assert np.load(place / "claimed.npy").tobytes() == came[1::2].tobytes()


def test_exec_is_the_loop_in_python(place, step):
    from lemtools.thermalize import rollout

    done = looped(place, "-o", "out.safetensors", "--log", "log.jsonl")
    assert (done.returncode, done.stderr) == (0, b"")
    (found,) = read(place / "out.safetensors")
    steps = list(rollout(step, start_of(place), 12, made(place)))
    assert found.tobytes() == np.concatenate([each.state for each in steps]).tobytes()
    assert sum(each.calls.sum() for each in steps) > 12  # there was something to do
    lines = [json.loads(text) for text in open(place / "log.jsonl")]
    assert [list(each) for each in lines] == [["step", "level", "action", "displacement", "calls", "score"]] * 12
    assert [each["step"] for each in lines] == list(range(1, 13))
    for written, each in zip(lines, steps):
        for name in ("level", "action", "displacement", "calls"):
            assert written[name] == getattr(each, name).tolist()
    piped = looped(place)
    assert b"".join(b.data.tobytes() for b in documents(piped.stdout)) == found.tobytes()
    assert [b.index.tolist() for b in documents(piped.stdout)] == np.arange(48).reshape(12, 4).tolist()
    assert documents(piped.stdout)[3].history[-1]["seed"] == 0


def test_the_filter_is_the_loop_in_python(place, step):
    """A document a step, or one long file."""
    thermalizer, x, previous, drifted, wanted = made(place), start_of(place), None, [], []
    for _ in range(8):
        drifted.append(x)
        previous = thermalizer.step(x, previous).state
        wanted.append(previous)
        x = step(previous)
    pipe = io.BytesIO()
    stream.write((Signal("field", each) for each in drifted), pipe)
    done = run(place, "--memory-rows", ROWS, stdin=pipe.getvalue())
    assert [b.data.tobytes() for b in documents(done.stdout)] == [each.tobytes() for each in wanted], done.stderr
    np.save(place / "long.npy", np.concatenate(drifted))
    done = run(place, "--memory-rows", ROWS, "--rows", 4, "long.npy", "-o", "mended.safetensors")
    assert done.returncode == 0 and read(place / "mended.safetensors")[0].tobytes() == np.concatenate(wanted).tobytes()
    done = run(place, "--memory-rows", ROWS, "--rows", 4, "--every", 3, "long.npy", "-o", "some.npy")
    assert np.load(place / "some.npy").tobytes() == np.concatenate([wanted[2], wanted[5]]).tobytes()


def test_a_closed_loop_of_two_pipes(place, step, tmp_path):
    """Nobody holds a step back: the emulator's next state needs it. Ended by whoever listens, which ends all."""
    there, back = tmp_path / "there", tmp_path / "back"
    os.mkfifo(there)
    os.mkfifo(back)
    line = f"""
        (cat start.safetensors; cat {back}) | lem-thermalize --memory states.npy --memory-rows {ROWS} --false-fire .1 |
            tee {there} | {sys.executable} step.py > {back} 2>/dev/null
    """
    env = {**os.environ, **fronts(), "PYTHONPATH": str(ROOT)}
    loop = subprocess.Popen(["sh", "-c", line], cwd=place, env=env, stderr=subprocess.PIPE, process_group=0)
    thermalizer, x, previous = made(place), start_of(place), None
    try:
        with open(there, "rb", buffering=0) as file:
            batches = stream.read(stream.Source(file, "x"), loop=True)
            for _ in range(25):
                previous = thermalizer.step(x, previous).state
                found = next(batches)
                assert found.data.tobytes() == previous.tobytes()
                assert len(found.history) == 1
                x = step(previous)
        loop.wait(20)
    finally:
        if loop.poll() is None:
            os.killpg(loop.pid, signal.SIGKILL)


def test_a_network_in_the_loop(place):
    from lemtools.nets.emulator import Emulator
    from lemtools.nets.model import load as model
    from lemtools.thermalize import rollout

    train = ("emulator", "--data", "states.npy", "--rows", ROWS, "--steps", 3, "--width", 4, "--device", "cpu")
    assert lem_fork("train", *train, "-q", "-o", "emulator.safetensors", cwd=place, seconds=60).returncode == 0
    command = ("--memory-rows", ROWS, "--rollout", "emulator.safetensors", "--steps", 5, "--device", "cpu")
    done = run(place, *command, "start.safetensors", "-o", "out.npy")
    assert done.returncode == 0, done.stderr
    steps = rollout(Emulator(model(str(place / "emulator.safetensors"))), start_of(place), 5, made(place))
    assert np.load(place / "out.npy").tobytes() == np.concatenate([each.state for each in steps]).tobytes()
    one_line(
        run(place, "--memory-rows", ROWS, "--rollout", "start.safetensors", "--steps", 5, "start.safetensors"),
        "start.safetensors: not a model",
    )


def test_a_row_that_blows_up_stops_and_the_others_go_on(place):
    code = STEP.replace("return (", "x[2] *= np.float32(1e38) * np.abs(x[2]).max()\n    return (", 1)
    (place / "bad.py").write_text(code)
    arguments = ("-o", "blown.safetensors", "--log", "blown.jsonl")
    done = looped(place, *arguments, exec="bad.py")
    assert done.returncode == 0
    assert done.stderr.decode().splitlines()[-1].startswith("lem-thermalize: row 2 is not finite from step ")
    found = documents((place / "blown.safetensors").read_bytes())[0].data.reshape(12, 4, 1, LENGTH)
    assert np.isnan(found[-1, 2]).all() and np.isfinite(found[:, [0, 1, 3]]).all()
    last = [json.loads(text) for text in open(place / "blown.jsonl")][-1]
    assert last["action"][2] == "dead" and last["level"][2] is None and "dead" not in last["action"][3:]
    assert looped(place, *arguments, "--strict", exec="bad.py").returncode == 1
    whole = start_of(place)
    whole[1, 0, 3] = np.nan
    pipe = io.BytesIO()
    stream.write([Signal("field", whole)] * 3, pipe)
    for strict in ((), ("--strict",)):
        done = run(place, "--memory-rows", ROWS, *strict, stdin=pipe.getvalue())
        assert done.returncode == len(strict)
        assert done.stderr == b"lem-thermalize: row 1 is not finite from step 1 on\n"
        assert len(documents(done.stdout)) == 3
        assert documents(done.stdout)[0].data[1].tobytes() == whole[1].tobytes()


def test_what_is_wrong_is_one_line(place):
    rows, whole = ("--memory-rows", ROWS), start_of(place)
    np.save(place / "short.npy", whole[..., :8])
    np.save(place / "loud.npy", 100 * whole)
    np.save(place / "nan.npy", np.where(whole > 2, np.nan, whole))
    np.save(place / "few.npy", np.load(place / "states.npy")[: 3 * ROWS])
    np.save(place / "odd.npy", np.load(place / "states.npy")[:-1])
    for name, said in (
        ("short.npy", ("[1, 8]", "[1, 16]")),
        ("loud.npy", ("loud.npy: states of mean", "where the memory has mean", "std")),
    ):
        one_line(run(place, *rows, name), *said)
        one_line(
            run(place, *rows, "--exec", f"{sys.executable} step.py", "--steps", 3, name, env={"PYTHONPATH": str(ROOT)}),
            *said,
        )
    one_line(run(place, *rows, "--exec", "cat", "--steps", 3, "nan.npy"), "nan.npy: NaN or infinite values")
    one_line(run(place, *rows, stdin=b""), "standard input: empty")
    one_line(run(place, "--rows", 5, "start.safetensors"), "a document of 4 states, where --rows says that 5")
    pipe = io.BytesIO()
    stream.write((Signal("field", whole[:n]) for n in (4, 3)), pipe)
    one_line(run(place, *rows, stdin=pipe.getvalue()), "3 states of [1, 16] after 4 states of [1, 16]")
    raw = io.BytesIO()
    stream.write((Signal("field", whole) for _ in range(3)), raw)
    for cut in (len(raw.getvalue()) - 600, len(raw.getvalue()) // 2, 40):
        one_line(run(place, *rows, stdin=raw.getvalue()[:cut]), "standard input: ", "cut")
    one_line(lem_fork("thermalize", "--memory", "-", *rows, cwd=place), "only one input can be standard input")
    lone = lambda *args: lem_fork("thermalize", *args, cwd=place)
    one_line(lone("--rows", 4, "start.safetensors"), "--memory STATES")
    one_line(lone("--memory", "states.npy", "start.safetensors"), "--rows R", "1 for a single trajectory")
    one_line(lone("--memory", "odd.npy", "--rows", ROWS, "start.safetensors"), "odd.npy: ", "rows")
    one_line(lone("--memory", "few.npy", "--rows", ROWS, "start.safetensors"), "few.npy: 3 steps of 6 rows are too few")
    one_line(run(place, *rows, "--neighbours", 10**6, "start.safetensors"), "neighbours")
    one_line(run(place, *rows, "--exec", "cat", "start.safetensors"), "--exec needs --steps")
    one_line(run(place, *rows, "--steps", 3, "start.safetensors"), "--steps is for --exec COMMAND")
    one_line(run(place, *rows, "--timeout", 3, "start.safetensors"), "--timeout is for --exec COMMAND")
    one_line(
        run(place, *rows, "--exec", "cat", "--rollout", "x", "--steps", 3, "start.safetensors"), "give one of them"
    )
    one_line(
        run(place, *rows, "--corrector", "wiener", "--ridge", 1, "start.safetensors"), "--ridge is for --corrector next"
    )
    one_line(run(place, *rows, "--corrector", "net", "start.safetensors"), "needs a network: --model")
    one_line(run(place, *rows, "--threshold", 1, "--false-fire", 0.2, "start.safetensors"), "give one of them")
    one_line(run(place, *rows, "--every", 3, "start.safetensors", "-o", "none.npy"), "fewer steps")
    one_line(run(place, *rows, "start.safetensors", "-o", "start.safetensors"), "is input and output at once")
    one_line(
        run(place, *rows, "start.safetensors", "-o", "x.npy", "--log", "states.npy"), "states.npy: is input and output"
    )
    one_line(run(place, *rows, "start.safetensors", "-o", "x.npy", "--log", "x.npy"), "would both write x.npy")
    both = ("--log", "log.txt", "--claims", "./log.txt")
    one_line(
        run(place, *rows, "start.safetensors", "-o", "x.npy", *both), "--claims and --log would both write ./log.txt"
    )
    one_line(
        run(place, *rows, "start.safetensors", "-o", "x.npy", "--claims", "states.npy"),
        "states.npy: is input and output",
    )
    one_line(run(place, *rows, "start.safetensors", "-o", "x.npy", "--claims", "-"), "--claims -: name one file")
    one_line(run(place, *rows, "start.safetensors", "-o", "x.npy", "--previous", "p.npy"), "--previous is for --exec")
    assert not any((place / name).exists() for name in ("x.npy", "p.npy", "log.txt"))
    assert not {"none.npy", "x.npy"} & set(os.listdir(place))


@pytest.mark.parametrize(
    "code, said",
    [
        ("import sys; sys.exit('no weights.pt')", "ended with exit status 1 after 0 answers: no weights.pt"),
        ("import os; os.kill(os.getpid(), 11)", "was killed by SIGSEGV after 0 answers"),
        ("import time; time.sleep(60)", "was silent for 0.5 s"),
        ("print('hello, world')", "no document"),
    ],
)
def test_a_coprocess_that_fails(place, code, said):
    (place / "fails.py").write_text(code)
    done = looped(place, "--timeout", 0.5, "-o", "fails.safetensors", exec="fails.py")
    one_line(done, "fails.py", said)
    assert not (place / "fails.safetensors").exists() and not [n for n in os.listdir(place) if n.endswith(".part")]
    if "sys.exit" in code:
        assert b"no weights.pt\nlem-thermalize: error" in done.stderr  # passed on, then said again


def test_killed_it_leaves_nothing_under_the_name(place, tmp_path):
    log, out = tmp_path / "log", tmp_path / "out.safetensors"
    emulator = ("--exec", f"{sys.executable} step.py", "--steps", 10**6, "start.safetensors")
    memory = ("--memory", "states.npy", "--memory-rows", ROWS, "--false-fire", 0.1)
    code = "from lemtools.cli.thermalize import main; main()"
    words = map(str, (sys.executable, "-c", code, *memory, *emulator, "-o", out, "--log", log))
    process = subprocess.Popen(words, cwd=place, env=os.environ | {"PYTHONPATH": str(ROOT)})
    while not (log.exists() and log.stat().st_size > 2000):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not out.exists()
    assert all(json.loads(text) for text in log.read_text().splitlines()[:-1])


def test_a_pipe_that_is_closed_ends_it(place):
    """As into head: it dies of SIGPIPE, silently, and so does the coprocess, which would not end of its own accord."""
    emulator = f"echo $$ >&2; {sys.executable} step.py; sleep 60"
    memory = f"--memory states.npy --memory-rows {ROWS} --false-fire .1"
    line = f"lem-thermalize {memory} --exec '{emulator}' --steps 1000000 start.safetensors | head -c 3000 | wc -c"
    env = {**os.environ, **fronts(), "PYTHONPATH": str(ROOT)}
    words = ["bash", "-c", f"{line}; echo ${{PIPESTATUS[0]}}"]
    done = subprocess.run(words, cwd=place, env=env, capture_output=True, text=True)
    assert done.stdout.split() == ["3000", str(128 + signal.SIGPIPE)]
    (number,) = done.stderr.split()  # it said no more
    assert gone(int(number))


def test_states_of_another_file_format_start_it(place):
    """Plain safetensors of another library, and the memory by its key."""
    from safetensors.numpy import save_file

    whole = start_of(place)
    save_file({"u": whole, "other": whole[:, :, :4]}, place / "start_foreign.safetensors")
    save_file({"u": np.load(place / "states.npy"), "v": whole}, place / "memory_foreign.safetensors")
    done = looped(place, "--key", "u", "start_foreign.safetensors", "-o", "a.npy")
    assert done.returncode == 0, done.stderr
    (place / "b.npy").unlink(missing_ok=True)
    command = (
        "--memory",
        "memory_foreign.safetensors",
        "--memory-key",
        "u",
        "--rows",
        ROWS,
        "--false-fire",
        0.1,
        "--exec",
        f"{sys.executable} step.py",
    )
    done = lem_fork(
        "thermalize",
        *command,
        "--steps",
        12,
        "--key",
        "u",
        "start_foreign.safetensors",
        "-o",
        "b.npy",
        cwd=place,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    looped(place, "-o", "c.npy")
    assert (place / "a.npy").read_bytes() == (place / "b.npy").read_bytes() == (place / "c.npy").read_bytes()
    assert next(iter(load([str(place / "c.npy")], kind="field"))).kind == "field"


def test_what_was_done_in_all_is_told(place):
    done = run(place, "--rows", ROWS, "--always", "--verbose", "--log", "all.jsonl", "states.npy", "-o", "all.npy")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(text) for text in (place / "all.jsonl").read_text().splitlines()]
    calls = sum(map(sum, (line["calls"] for line in lines))) / (40 * ROWS)
    assert f"40 steps of {ROWS} rows, {calls:.3g} calls a row and step" in done.stderr.decode() and calls > 0.9
