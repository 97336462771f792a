"""examples/weights.sh: its measures by their definitions, and the whole of its first stage on a text of its own."""

import importlib.util
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from helpers.commands import fronts, lem
from helpers.paths import EXAMPLES

spec = importlib.util.spec_from_file_location("weights_example", EXAMPLES / "weights.py")
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)
RNG = np.random.default_rng(0)
ARMS = "absmax-2 nf4-4 trellis-2"


def test_neighbours_that_are_kept():
    """Against a loop; of the same vectors, and of their negatives, all."""
    x, y = RNG.normal(size=(2, 40, 6))

    def around(z, i):
        close = [(-(z[i] @ z[j]) / np.linalg.norm(z[i]) / np.linalg.norm(z[j]), j) for j in range(40) if j != i]
        return {j for _, j in sorted(close)[: example.NEIGHBOURS]}

    wanted = [len(around(x, i) & around(y, i)) / example.NEIGHBOURS for i in range(40)]
    assert example.kept(x, y) == pytest.approx(wanted)
    assert (example.kept(x, -3 * x) == 1).all()


def test_spearman_with_ties():
    assert (example.ranks(np.array([3.0, 1.0, 3.0, 0.0])) == [3.5, 2, 3.5, 1]).all()
    x = RNG.normal(size=50)
    assert example.spearman(x, np.exp(x)) == pytest.approx(1)
    assert example.spearman(x, -(x**3)) == pytest.approx(-1)


def test_intervals_hold_the_mean():
    """A bootstrap of normal values is as wide as the closed form."""
    x = RNG.normal(size=400)
    low, high = example.bootstrap(lambda rows: x[rows].mean(), 400)
    assert (high - low) / 2 == pytest.approx(1.96 * x.std() / 20, rel=0.08)
    assert low < x.mean() < high
    assert example.half_width(np.array([1.0, 2.0, 3.0])) == pytest.approx(4.303 / np.sqrt(3), rel=1e-3)


def test_differences_of_what_is_the_same_are_none():
    scores, x = RNG.normal(size=(2, 60))
    assert example.difference(x, x, scores) == (0, 0, 0)
    worse = x + RNG.normal(size=60) * 3
    good = scores + 0.1 * x
    mean, low, high = example.difference(good, worse, scores)
    assert 0 < low < mean < high


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data" / "text").mkdir(parents=True)
    text = "".join(RNG.choice(list("abc de"), 6000))
    (tmp_path / "data" / "text" / "tinyshakespeare.txt").write_text(text)
    return tmp_path


def run(data, *stages):
    """The script on one seed of a few updates."""
    env = {
        "PATH": f"{data}/bin:/usr/bin:/bin",
        **fronts(),
        "SEEDS": "0",
        "DEPTH": "1",
        "FLOPS": "1e9",
        "ARMS": ARMS,
        "OMP_NUM_THREADS": "1",
    }
    (data / "bin").mkdir(exist_ok=True)
    python = data / "bin" / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={":".join(sys.path)} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    env["PATH"] = f"{data}/bin:{env['PATH']}"
    line = ["bash", EXAMPLES / "weights.sh", data / "data", data / "out", "--quick", *stages]
    done = subprocess.run(line, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not here")
def test_language_models_end_in_a_table_and_go_on(data):
    text = run(data, "lm", "minilm")
    assert "minilm: skipped, no" in text
    rows = [json.loads(line) for line in (data / "out" / "lm.jsonl").read_text().splitlines()]
    names = [row["name"] for row in rows]
    assert names[0] == "whole" and names[1:] == ["absmax-2", "nf4-4", "trellis-2"]
    costs = {row["name"]: row["quantised"] for row in rows}
    assert costs["absmax-2"] == pytest.approx(2.25, abs=0.3) and costs["nf4-4"] == pytest.approx(4.25, abs=0.3)
    assert 2 < costs["trellis-2"] < 2.6
    assert text.count("\n| ") == 1 + 4 and "| whole | 32.00 | 32.00 |" in text
    held = {row["name"]: row["bits_per_byte"] for row in rows}
    assert 1 < held["whole"] < 8.1
    lines = (data / "out" / "lm.jsonl").read_text().splitlines(keepends=True)
    (data / "out" / "lm.jsonl").write_text("".join(lines[:-1]))  # the last one is measured again
    assert run(data, "lm") == "\n" + text.partition("minilm")[0].strip() + "\n"
    assert (data / "out" / "lm.jsonl").read_text() == "".join(lines)


def test_bits_a_byte_are_those_of_training(data):
    """Its own log says the same of the text that is kept back, but for the first bytes of windows."""
    text = data / "data" / "text" / "tinyshakespeare.txt"
    model = data / "lm.safetensors"
    lem(
        "train",
        "lm",
        "--data",
        text,
        "--depth",
        "1",
        "--flops",
        "1e9",
        "--holdout",
        "9",
        "--device",
        "cpu",
        "--log-file",
        data / "log",
        "-o",
        model,
    )
    said = json.loads((data / "log").read_text().splitlines()[-1])["held_out_bits_per_byte"]
    assert example.bits_per_byte(str(model), str(text)) == pytest.approx(said, abs=0.05)


@pytest.fixture(scope="module")
def inside():
    sys.path.insert(0, str(EXAMPLES))
    spec = importlib.util.spec_from_file_location("weights_inside", EXAMPLES / "weights_inside.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    sys.path.remove(str(EXAMPLES))
    return found


def test_what_is_broken_inside(data, inside, capsys, monkeypatch):
    """States that are not broken cost nothing, wherever; fewer bits change more; a matrix's condition number by its own definition."""
    text, model = data / "data" / "text" / "tinyshakespeare.txt", data / "lm.safetensors"
    lem("train", "lm", "--data", text, "--depth", "2", "--steps", "40", "--device", "cpu", "-o", model)
    net = inside.load(str(model)).net
    rows = inside.windows(net, str(text))
    whole = inside.bits(net, rows)
    assert whole == pytest.approx(example.bits_per_byte(str(model), str(text)), rel=1e-6)
    far = [abs(inside.bits(net, rows, f"lloyd-max-{bits}", (1, 2)) - whole) for bits in (8, 1)]
    assert 10 * far[0] < far[1] and far[0] < 1e-4
    inside.conditions(str(text), str(model))
    said = {line.split(" | ")[0][2:]: line.split(" | ") for line in capsys.readouterr().out.splitlines()}
    weight = net.trunk.blocks[1].out.weight.detach().numpy()
    assert float(said["trunk.blocks.1.out.weight"][1].split()[0]) == pytest.approx(np.linalg.cond(weight), abs=0.6)
    assert 0.1 < float(said["trunk.blocks.1.out.weight"][2]) < 0.13
    monkeypatch.setattr(inside, "broken", lambda x, arm: x)
    assert inside.bits(net, rows, "absmax-2", (1, 2)) == pytest.approx(whole, rel=1e-9)


def test_a_table_of_sentences(data, capsys):
    """Less noise is nearer to the whole, and its interval says so."""
    pairs = data / "pairs.csv"
    lines = [f"g\tf\t2012\t{i}\t{i / 40:.2f}\tsentence {i}\tother {i}" for i in range(200)]
    pairs.write_text("\n".join(lines) + "\n")
    example.sentences(str(pairs), str(data / "sentences.txt"))
    assert len((data / "sentences.txt").read_text().splitlines()) == 400
    with pytest.raises(SystemExit, match="holds other sentences"):
        example.sentences(str(pairs), str(data / "sentences.txt"), "50")
    first = RNG.normal(size=(200, 16))
    second = first * np.arange(200)[:, None] / 100 + RNG.normal(size=(200, 16))
    whole = np.concatenate([first, second])
    np.save(data / "whole.npy", whole)
    (data / "minilm").mkdir()
    model = data / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    from lemtools.stream import save_tensors

    save_tensors(str(model / "m.safetensors"), {"a.weight": RNG.normal(size=(8, 64)).astype(np.float32)}, {})
    for name, size in (("absmax-2", 1.5), ("trellis-2", 0.3)):
        np.save(data / "minilm" / f"{name}.npy", whole + size * RNG.normal(size=whole.shape))
        lem("fragment", "--bits", "2", model, "-o", data / "minilm" / f"{name}.safetensors")
    example.table_minilm(str(pairs), str(data))
    text = capsys.readouterr().out
    assert "200 pairs, 400 sentences" in text
    cells = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in text.splitlines() if " | " in line}
    assert float(cells["whole"][3]) == float(cells["whole"][4]) == 1
    assert 0.5 < float(cells["absmax-2"][3]) < float(cells["trellis-2"][3]) < 1
    mean, interval = cells["trellis-2 less absmax-2"][1].split(" ", 1)
    low, high = map(float, interval.strip("[] |").split(", "))
    assert 0 < low < float(mean) < high
