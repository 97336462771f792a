"""lem-thermalize with tokens: the filter, a coprocess, a network and the loop in Python are one; windows for training; bad input."""

import io
import json
import sys

import numpy as np
import pytest

from helpers.commands import lem_fork
from helpers.paths import ROOT
from lemtools import stream
from lemtools.media import Target, save
from lemtools.signal import Signal
from lemtools.thermalize import prepared, rollout
from lemtools.thermalize.codebook import Codebook
from lemtools.thermalize.driver import filtered
from lemtools.thermalize.tokens import InContext, Tokens, TokenThermalizer, Windows

K, PLACES, ROWS = 9, 6, 4
TABLE = np.random.default_rng(0).standard_normal((K, 3)).astype(np.float32)
# an emulator that moves every token by one place, wrong at one of ten; logits with a word behind it, as plain safetensors
STEP = """
import sys
import numpy as np
from lemtools import stream
from lemtools.signal import Signal
from safetensors.numpy import save

def step(x):
    return np.where((7 * x + np.arange(x.shape[1])) % 10 == 3, (x + 1) % 9, np.roll(x, 1, 1)).astype(x.dtype)

def logits(x):
    return (6 * np.eye(9)[step(x)] - np.arange(9)).astype(np.float32)

if __name__ == "__main__":
    with open(0, "rb", buffering=0) as source, open(1, "wb", buffering=0) as target:
        for batch in stream.read(stream.Source(source, "standard input"), loop=True):
            answer = logits(batch.data) if sys.argv[1:] else step(batch.data)
            target.write(save({"next": np.ascontiguousarray(answer)}))
"""


def frames(rows, steps, seed):
    """A pair of tokens on a ring [T R, P], uint8."""
    rng = np.random.default_rng(seed)
    place, kind = rng.integers(0, PLACES, rows), rng.integers(0, 2, rows)
    out = np.zeros((steps, rows, PLACES), np.uint8)
    for t in range(steps):
        out[t, range(rows), (place + t) % PLACES] = 1 + 2 * kind
        out[t, range(rows), (place + t + 1) % PLACES] = 2 + 2 * kind
    return out.reshape(-1, PLACES)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    here = tmp_path_factory.mktemp("tokens")
    np.save(here / "codes.npy", TABLE)
    np.save(here / "memory.npy", frames(20, 20, 0))
    np.save(here / "start.npy", frames(ROWS, 2, 5).astype(np.int32))
    (here / "step.py").write_text(STEP)
    return here


@pytest.fixture(scope="module")
def emulator(place):
    code = {"__name__": "step"}
    exec((place / "step.py").read_text(), code)
    return code


BOOK = ("--codebook", "codes.npy")
MEMORY = (*BOOK, "--window", 2, "--memory", "memory.npy", "--memory-rows", 20, "--false-fire", 0.1)
CORRECTOR = ("--neighbours", 16, "--ridge", 1e-3)


def run(place, *args, **how):
    return lem_fork("thermalize", *args, cwd=place, env={"PYTHONPATH": str(ROOT)}, **how)


def made(**options):
    windows = Windows(Codebook(TABLE), 2)
    inner = prepared(windows.of(frames(20, 20, 0), 20), 20, false_fire=0.1, neighbours=16, ridge=1e-3)
    return TokenThermalizer(windows, inner, **options)


def start(place):
    return np.load(place / "start.npy").reshape(2, ROWS, PLACES)


def ahead(place, step, stepper, steps=6):
    """What the loop in Python answers, and what it did."""
    stepper.begin(start(place))
    done = list(rollout(step, start(place)[-1], steps, stepper, Tokens(K)))
    return np.concatenate([s.state for s in done]), done


def error(done, *said):
    text = done.stderr.decode()
    assert done.returncode == 2, text
    (line,) = text.splitlines()
    assert line.startswith("lem-thermalize: error: ") and all(word in line for word in said), line


def test_a_coprocess_is_the_loop_in_python(place, emulator):
    """Of tokens and of logits; each start frame is shown to it, the last one is what it goes on from."""
    loop = (*MEMORY, *CORRECTOR, "--rows", ROWS, "--steps", 6, "start.npy")
    done = run(place, *loop, "--exec", f"{sys.executable} step.py", "-o", "tokens.npy", "--log", "log.jsonl")
    assert (done.returncode, done.stderr) == (0, b"")
    wanted, steps = ahead(place, emulator["step"], made())
    found = np.load(place / "tokens.npy")
    assert found.dtype == np.int32 and found.tobytes() == wanted.tobytes()
    lines = [json.loads(text) for text in open(place / "log.jsonl")]
    assert [*lines[0]][-2:] == ["margin", "flips"] and {"level", "action", "calls"} < {*lines[0]}
    for line, step in zip(lines, steps, strict=True):
        assert line["flips"] == step.more["flips"].tolist() and line["margin"] == step.more["margin"].tolist()
    assert sum(sum(line["flips"]) for line in lines) > 0
    logits = ("--exec", f"{sys.executable} step.py logits", "--seed", 3, "-o", "logits.npy", "--temperature", 0.5)
    done = run(place, *loop, *logits, "--logits", "sample", "--keep-margin", 0.2)
    assert done.returncode == 0, done.stderr
    stepper = made(logits="sample", temperature=0.5, keep_margin=0.2, seed=3)
    assert np.load(place / "logits.npy").tobytes() == ahead(place, emulator["logits"], stepper)[0].tobytes()


def test_the_filter_is_the_loop_in_python(place):
    """A document a step, or a file of all; frames of tokens or logits; what stands in a plain file of another library."""
    from safetensors.numpy import save_file

    sequence = frames(ROWS, 10, 8)
    sequence[3::7, 2] = 8
    wanted = [s.data for s, _ in filtered([Signal("tokens", sequence)], made(), ROWS, codec=Tokens(K))]
    pipe = io.BytesIO()
    stream.write((Signal("tokens", part) for part in sequence.reshape(-1, ROWS, PLACES)), pipe)
    done = run(place, *MEMORY, *CORRECTOR, stdin=pipe.getvalue())
    assert done.returncode == 0, done.stderr
    batches = list(stream.read(stream.Source(io.BytesIO(done.stdout), "x")))
    assert [b.data.tobytes() for b in batches] == [w.tobytes() for w in wanted]
    assert {(b.kind, b.data.dtype.name) for b in batches} == {("tokens", "uint8")}
    save_file({"z": np.ascontiguousarray(sequence.reshape(-1, 2, 3)), "y": TABLE}, place / "plain.safetensors")
    plain = ("--rows", ROWS, "--key", "z", "plain.safetensors", "-o", "long.npy")
    done = run(place, *MEMORY, *CORRECTOR, *plain)
    assert done.returncode == 0, done.stderr
    assert np.load(place / "long.npy").tobytes() == np.concatenate(wanted).tobytes()
    logits = (5 * np.eye(K)[sequence]).astype(np.float32)
    pipe = io.BytesIO()
    stream.write((Signal("embedding", part) for part in logits.reshape(-1, ROWS, PLACES, K)), pipe)
    done = run(place, *MEMORY, *CORRECTOR, "--kind", "embedding", "--temperature", 0, stdin=pipe.getvalue())
    batches = list(stream.read(stream.Source(io.BytesIO(done.stdout), "x")))
    assert {b.kind for b in batches} == {"tokens"} and len(batches) == 10


def test_a_network_of_frames_in_the_loop(place):
    """With a memory and without; where it starts from several frames, from the last ones."""
    import torch

    from lemtools.denoise.contract import Scale
    from lemtools.nets import build
    from lemtools.nets.frames import Frames
    from lemtools.nets.model import Model, load
    from lemtools.rng import generators
    from lemtools.train.checkpoint import save_model

    record = {"net": "frames", "vocabulary": 5, "places": PLACES, "context": 2, "depth": 1, "width": 16, "heads": 2}
    torch.manual_seed(0)
    net = build(record)
    torch.nn.init.normal_(net.head.weight, std=0.5)
    meta = {"v": 1, "recipe": "frames", "net": record, "kind": "tokens", "item": [PLACES], "fragment": [], "classes": 0}
    meta["target"] = {"kind": "tokens", "item": [PLACES]}
    save_model(Model(net, meta, Scale(), Scale()), str(place / "frames.safetensors"))
    network = Frames(load(str(place / "frames.safetensors")))
    assert network.vocabulary < K  # (what its data do not have it does not know, and never draws)
    loop = ("--rollout", "frames.safetensors", "--steps", 4, "--device", "cpu", "start.npy")
    done = run(place, *loop, "-o", "alone.npy")
    assert done.returncode == 0, done.stderr
    context, drawn = start(place), []
    for t in range(4):
        sample = network.sample(context.transpose(1, 0, 2), generators(0, range(ROWS), t, "frames"))
        context = np.stack([context[1], sample])
        drawn.append(sample)
    assert np.load(place / "alone.npy").tobytes() == np.concatenate(drawn).astype(np.int32).tobytes()
    done = run(place, *MEMORY, *CORRECTOR, *loop, "-o", "kept.npy")
    assert done.returncode == 0, done.stderr
    wanted, _ = ahead(place, InContext(network.logits, start(place), K), made(), 4)
    assert np.load(place / "kept.npy").tobytes() == wanted.tobytes()
    np.save(place / "one.npy", np.load(place / "start.npy")[:3])
    error(run(place, *loop[:-1], "one.npy"), "one.npy: 3 frames, where 2 of each row are asked for")
    error(run(place, *loop[:-1], "--rows", 3, "one.npy"), "one.npy: 3 frames", "--rows")


def test_windows_that_belong_together(place):
    clean, drifted = frames(ROWS, 12, 1), frames(ROWS, 9, 2)
    for name, data in (("clean.npy", clean), ("drifted.npy", drifted)):
        np.save(place / name, data)
    job = ("--prepare", "clean.npy", "--drifted", "drifted.npy", "--rows", ROWS, *BOOK, "--window", 2)
    done = run(place, *job, "--lead", 1, "-o", "windows")
    assert (done.returncode, done.stderr) == (0, b"")
    windows, found = Windows(Codebook(TABLE), 2), {}
    for name in ("clean", "drifted"):
        source = stream.Source(open(place / f"windows/{name}.safetensors", "rb", buffering=0), "x")
        (batch,) = stream.read(source)
        assert batch.kind == "field" and batch.index.tolist() == list(range(9 * ROWS))
        found[name] = batch.data
    assert found["clean"].tobytes() == windows.of(clean[: 10 * ROWS], ROWS).tobytes()
    joined = np.concatenate([clean[:ROWS], drifted])
    assert found["drifted"].tobytes() == windows.of(joined, ROWS).tobytes()
    memory = (*BOOK, "--window", 2, "--memory", "windows/clean.safetensors", "--memory-rows", ROWS, "--threshold", 0.1)
    few = ("--neighbours", 8, "--ridge", 1e-3)
    assert run(place, *memory, *few, "--rows", ROWS, "clean.npy", "-o", "same.npy").returncode == 0
    error(run(place, *job[:4], *job[6:], "-o", "w"), "--prepare needs --rows")
    error(
        run(place, *job, "-o", "w", "start.npy"),
        "start.npy: --prepare reads the files of --prepare and --drifted alone",
    )
    error(run(place, *job, "-o", "w", "--budget", 1), "--budget does nothing with --prepare")
    error(run(place, *job, "--lead", 99, "-o", "w"), "clean.npy, drifted.npy: --lead 99")
    error(run(place, *job[:-1], 50, "-o", "w"), "9 steps that both have are no window of 50 frames")
    error(run(place, *job[:5], 7, *job[6:], "-o", "w"), "48 frames are no whole number of steps of 7 rows")
    assert not (place / "w").exists()


def test_what_is_wrong_is_one_line(place):
    wrong = np.load(place / "start.npy")
    wrong[5, 2] = K
    np.save(place / "wrong.npy", wrong)
    np.save(place / "twins.npy", np.repeat(TABLE[:3], 3, 0))
    np.save(place / "long.npy", np.zeros((300, 2), np.float32) + np.arange(300, dtype=np.float32)[:, None])
    save(
        [Signal("embedding", np.zeros((4, PLACES, 5), np.float32), last=True)], Target(str(place / "five.safetensors"))
    )
    one, before = ("--rows", ROWS), set(place.iterdir())
    error(run(place, *MEMORY, *CORRECTOR, *one, "wrong.npy"), "wrong.npy: token 9 in item 5; the codebook has 0 to 8")
    bad = (*BOOK, "--memory", "wrong.npy", *one, "start.npy")
    error(run(place, *bad), "wrong.npy: token 9 in item 5")
    np.save(place / "shallow.npy", np.zeros((80, 4, PLACES), np.float32))
    error(run(place, *bad[:3], "shallow.npy", *bad[4:]), "shallow.npy: tokens, or states of 3 channels (1 x 3)")
    error(
        run(place, *MEMORY, *CORRECTOR, "--kind", "embedding", "five.safetensors"),
        "five.safetensors: logits of 5 codes, where the codebook has 9",
    )
    error(run(place, *MEMORY, "--codebook", "twins.npy", *one, "start.npy"), "twins.npy: 9 of the 9 codes are the same")
    error(run(place, *MEMORY, "--codebook", "long.npy", *one, "start.npy"), "memory.npy", "too small for 300 codes")
    error(run(place, *MEMORY, "--grid", "4x4", *one, "start.npy"), "--grid 4x4: a frame has 6 places")
    error(run(place, "--memory", "memory.npy", "--keep-margin", 1, *one, "start.npy"), "--keep-margin is for tokens")
    error(run(place, "--memory", "memory.npy", "--logits", "weigh", *one, "start.npy"), "--logits is for tokens")
    error(
        run(place, "--memory", "memory.npy", "--kind", "tokens", *one, "start.npy"),
        "--kind tokens is for",
        "--codebook",
    )
    error(run(place, *MEMORY, "--kind", "field", *one, "start.npy"), "--codebook and --kind field")
    error(
        run(place, "--kind", "tokens", "--exec", "cat", "--steps", 1, "--budget", 1, "start.npy"),
        "--budget is for --memory",
    )
    error(
        run(place, "--exec", "cat", "--kind", "tokens", "--logits", "expected", "--steps", 1, "start.npy"), "--codebook"
    )
    error(run(place, "--drifted", "start.npy", *MEMORY, *one, "start.npy"), "--drifted is for --prepare")
    (place / "bad.py").write_text(STEP.replace("np.roll(x, 1, 1)", "99 + 0 * x"))
    loop = ("--rows", ROWS, "--steps", 3, "--exec", f"{sys.executable} bad.py", "start.npy")
    error(run(place, *MEMORY, *CORRECTOR, *loop), "bad.py: answered token 99 in item 0; the codebook has 0 to 8")
    left = {path.name for path in set(place.iterdir()) - before}
    assert left <= {"five.safetensors", "shallow.npy", "bad.py"}  # what is made here, and no output
