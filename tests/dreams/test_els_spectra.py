"""lem-els with spectra: banks, coordinates and padding of a network, what counts, samples that become sounds again."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from helpers.commands import lem_fork
from lemtools import stream
from lemtools.denoise.contract import Scale
from lemtools.denoise.how import How
from lemtools.denoise.samplers import ddim
from lemtools.denoise.schedule import cosine, grid
from lemtools.dreams.against import Agreement, Samples, correlation
from lemtools.dreams.along import along, rows
from lemtools.dreams.rectangles import Points, descend, path, text
from lemtools.dreams.resources import Resources
from lemtools.dreams.sample import start
from lemtools.dreams.show import magnitude, picture
from lemtools.dreams.study import Study
from lemtools.els import machine
from lemtools.els.bank import Bank
from lemtools.els.prepare import bank as read_bank
from lemtools.els.scales import Scales, parse_sizes
from lemtools.media.sounds import wav
from lemtools.nets.diffusion import ResNet
from lemtools.nets.model import Model
from lemtools.signal import LemError, Signal
from lemtools.train.checkpoint import save_model

STFT = {"encoder": "stft", "rate": 8000.0, "samples": 28, "n_fft": 16, "hop": 4, "window_fn": "hann", "compress": 1.0}
ENCODED = {"tool": "lem-encode", "version": "0", "args": ["--encoder", "stft"], **STFT}
ITEM = (2, 9, 8)


def chirps(count: int = 10) -> np.ndarray:
    """Spectra of rising tones: float32 [count, 2, 9, 8], the imaginary parts of the outermost rows zero."""
    k, f, t = np.ogrid[:count, :9, :8]
    level = 5 * np.exp(-((f - 2 - 0.05 * k * t - 0.3 * k) ** 2) / 2)
    out = np.stack([level * np.cos(f * t + k), level * np.sin(f * t + k)], 1).astype(np.float32)
    out[:, 1, [0, -1]] = 0
    return out


def network(
    path, gain: float, other: float | None = None, padding: str = "zeros", kind: str = "spectrum", **more
) -> Model:
    """An untrained ResNet, as lem-train writes one for spectra."""
    torch.manual_seed(0)
    options = {"channels": 2, "width": 4, "blocks": 1}
    meta = {
        "v": 1,
        "tool": "lem-train",
        "version": "0",
        "recipe": "diffusion",
        "net": {"net": "resnet", **options, "padding": padding},
        "kind": kind,
        "item": [2, 9, 0],
        "target": {"kind": kind, "item": [2, 9, 0]},
        "fragment": [],
        "classes": 0,
        **more,
    }
    model = Model(ResNet(**options, padding=padding), meta, Scale(0.0, other or gain), Scale(0.0, gain))
    save_model(model, str(path))
    return model


def written(path, data, history=ENCODED, rate=8000.0, kind="spectrum", **more) -> None:
    signal = Signal(kind, data, history=[history] if history else [], rate=rate, last=True, **more)
    with open(path, "wb", buffering=0) as file:
        stream.write_one([signal], file)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    here = tmp_path_factory.mktemp("spectra")
    written(here / "bank.safetensors", chirps(), label=np.arange(10) % 2, names=[f"clip {k}" for k in range(10)])
    network(here / "net.safetensors", 0.5)
    network(here / "circular.safetensors", 0.5, padding="circular")
    network(here / "two.safetensors", 0.5, other=0.25)
    network(here / "image.safetensors", 2.0, kind="image")
    network(here / "alike.safetensors", 0.5, front={**STFT, "samples": 500})
    network(here / "hop.safetensors", 0.5, front={**STFT, "hop": 8})
    tall = {"item": [2, 17, 0], "target": {"kind": "spectrum", "item": [2, 17, 0]}}
    network(here / "tall.safetensors", 0.5, **tall)
    network(here / "long-window.safetensors", 0.5, front={**STFT, "n_fft": 32}, **tall)
    written(here / "other.safetensors", chirps(2), {**ENCODED, "hop": 8})
    damaged = {key: value for key, value in ENCODED.items() if key != "samples"}
    written(here / "damaged.safetensors", chirps(2), damaged)
    written(here / "longer.safetensors", chirps(2), {**ENCODED, "samples": 30})
    written(here / "fast.safetensors", chirps(2), rate=16000.0)
    (here / "sound.wav").write_bytes(wav(np.zeros((1, 100), np.float32), 8000.0))
    written(here / "long.safetensors", np.zeros((2, 2, 9, 12), np.float32))
    written(here / "images.safetensors", np.zeros((2, 2, 9, 8), np.float32), None, None, "image")
    return here


def els(bench, line: str, stdin: bytes = b"", ok: bool = True):
    one = {"env": {"LEM_DEVICE": "cpu"}, "prepare": lambda: torch.set_num_threads(1)}
    done = lem_fork("els", *line.split(), cwd=bench, stdin=stdin, **one)
    assert done.returncode == (0 if ok else 2), done.stderr.decode()
    return done


def read(raw: bytes) -> Signal:
    (signal,) = stream.read(stream.Source(io.BytesIO(raw), "x"))
    return signal


def test_a_bank_of_spectra_is_mapped_and_knows_where_it_came_from(bench):
    bank = read_bank([str(bench / "bank.safetensors")])
    assert isinstance(bank.images, stream.OnDisk) and (bank.kind, bank.rate) == ("spectrum", 8000.0)
    assert bank.history == [ENCODED] and bank.names[3] == "clip 3" and bank.labels.tolist() == [0, 1] * 5
    els(bench, "--bank bank.safetensors --bank bank.safetensors --prepare -o twice.safetensors")
    twice = read_bank([str(bench / "twice.safetensors")])
    assert len(twice) == 20 and twice.history[0] == ENCODED and twice.history[1]["tool"] == "lem-els"
    assert np.array_equal(twice.images[10:], chirps()) and twice.complex


def test_a_bank_comes_from_sounds_by_one_pipe_and_its_dreams_become_sounds(bench):
    """Tones in, WAVs out."""
    g, t = np.random.default_rng(0), np.arange(200) / 8000
    tones = np.stack([np.sin(2 * np.pi * f * t) * g.uniform(0.2, 0.5) for f in (700, 900, 1200, 1500)])
    sounds = Signal("audio", tones[:, None].astype(np.float32), rate=8000.0, last=True)
    with open(bench / "tones.safetensors", "wb", buffering=0) as file:
        stream.write_one([sounds], file)
    made = lem_fork("encode", *"--encoder stft --n-fft 16 --hop 4 tones.safetensors".split(), cwd=bench).stdout
    els(bench, "--bank - --prepare -o tones.bank.safetensors", stdin=made)
    line = "--bank tones.bank.safetensors --equivariance time --scales 9x5 --steps 3 --seeds 0-1"
    done = lem_fork("encode", "--decode", "-o", "dreamt/", stdin=els(bench, line).stdout, cwd=bench)
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (bench / "dreamt").iterdir())
    assert len(names) == 2 and all(name.endswith(".wav") for name in names)
    assert (bench / "dreamt" / names[0]).stat().st_size in (44 + 2 * 200, 44 + 4 * 200, 58 + 4 * 200)


def test_long_spectra_are_cut_into_weighted_pieces(bench):
    els(bench, "--bank bank.safetensors --prepare --patch 4x5 --hop 2x3 --window-fn hann -o pieces.safetensors")
    pieces, data = read_bank([str(bench / "pieces.safetensors")]), chirps()
    assert pieces.item == (2, 4, 5) and len(pieces) == 10 * 3 * 2 and pieces.labels[6:12].tolist() == [1] * 6
    assert pieces.names[:3] == ["clip 0@0,0", "clip 0@0,3", "clip 0@2,0"] and pieces.history[-1]["hop"] == [2, 3]
    weights = np.outer(np.hanning(5)[:-1], np.hanning(6)[:-1])
    for k, (item, r, c) in enumerate((i, r, c) for i in range(10) for r in (0, 2, 4) for c in (0, 3)):
        assert np.allclose(pieces.images[k], data[item, :, r : r + 4, c : c + 5] * weights, atol=1e-6), k
    els(bench, "--bank bank.safetensors --prepare --patch 9x4 -o whole.safetensors")
    plain = read_bank([str(bench / "whole.safetensors")])
    assert len(plain) == 30 and np.array_equal(plain.images[4], data[1, :, :, 2:6])


def test_pieces_of_spectra_of_several_lengths_are_one_bank(bench, tmp_path):
    """How long a sound was matters where whole spectra are compared, and for none of its pieces."""
    g = np.random.default_rng(0)
    long = g.standard_normal((2, 2, 9, 13)).astype(np.float32)
    written(tmp_path / "long.safetensors", long, {**ENCODED, "samples": 48}, names=["x", "y"], label=np.zeros(2, int))
    line = f"--bank {bench}/bank.safetensors --bank {tmp_path}/long.safetensors --prepare --patch 9x4 --hop 9x4"
    assert els(tmp_path, f"{line} -o pieces.safetensors").stderr == b""
    found = read_bank([str(tmp_path / "pieces.safetensors")])
    want = [chirps()[i, :, :, c : c + 4] for i in range(10) for c in (0, 4)]
    want += [long[i, :, :, c : c + 4] for i in range(2) for c in (0, 4, 8)]
    assert np.array_equal(found.images, want) and found.names[-1] == "y@0,8" and found.history[0] == ENCODED
    written(
        tmp_path / "short.safetensors",
        long[:1, :, :, :3],
        {**ENCODED, "samples": 8},
        names=["z"],
        label=np.zeros(1, int),
    )
    done = els(tmp_path, f"{line} --bank {tmp_path}/short.safetensors -o more.safetensors", ok=False)
    assert done.stderr.startswith(b"lem-els: error: z: no piece of 9 x 4 in 9 x 3 (rows x columns)")
    written(tmp_path / "hop.safetensors", long, {**ENCODED, "samples": 96, "hop": 8}, label=np.zeros(2, int))
    done = els(tmp_path, f"{line} --bank {tmp_path}/hop.safetensors -o more.safetensors", ok=False)
    assert b"made by another encoder than the first (hop, samples differ)" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir() if "more" in p.name) == []


def test_samples_are_spectra_with_the_history_of_the_bank(bench):
    sent = read(els(bench, "--bank bank.safetensors --scales 3x5 --equivariance time --steps 4 --seeds 0,3").stdout)
    assert (sent.kind, sent.rate, sent.data.dtype) == ("spectrum", 8000.0, np.float32)
    assert (
        sent.history[0] == ENCODED and sent.history[1]["machine"] == "time" and sent.history[1]["sizes"] == [[3, 5]] * 4
    )
    assert sent.history[1]["padding"] == ["zeros", "zeros"] and sent.index.tolist() == [0, 3]
    assert not sent.data[:, 1, [0, -1]].any() and sent.data[:, 0, 0].any()
    bank = Bank(chirps(), kind="spectrum")
    want = ddim(machine("time", bank, Scales(((3, 5),) * 4)), start([0, 3], ITEM, shown=bank.alive), grid(4))
    want = bank.scale.decode(want).numpy() * bank.alive.numpy()
    assert np.abs(sent.data - want).max() < 1e-5 * np.abs(want).max()


def test_coordinates_and_padding_are_those_of_the_network(bench):
    line = "--bank bank.safetensors --scales 3 --equivariance both --steps 3 --network "
    given = Bank(chirps(), kind="spectrum").scaled(Scale(0.0, 0.5))
    for name, rule in (("net", "bbels"), ("circular", "els")):
        sent = read(els(bench, f"{line}{name}.safetensors").stdout)
        want = (
            ddim(machine(rule, given, 3), start([0], ITEM, shown=given.alive), grid(3)).numpy()
            / 0.5
            * given.alive.numpy()
        )
        assert np.abs(sent.data - want).max() < 1e-5 * np.abs(want).max()
    padded = read(els(bench, "--bank bank.safetensors --scales 3 --machine both --steps 3 --padding circular").stdout)
    assert padded.history[-1]["padding"] == ["circular", "circular"]
    study = Study(read_bank([str(bench / "bank.safetensors")]), (3,), 1)
    like = study.like(str(bench / "circular.safetensors"))
    assert like.padding == ("circular", "circular") and like.bank.scale.gain == 0.5 and study.bank.scale.gain != 0.5
    wide = replace(like, padding=("zeros", "circular"))
    assert wide.machine("time", wide.bank, 3).rules == ("ls", "els")
    assert study.like(str(bench / "alike.safetensors")).bank.scale.gain == 0.5
    for asked in (study, like):  # a network is not shown what is zero for every sound, and the machine neither
        x = start([0], ITEM, shown=asked.resources.shown)
        assert not x[0, 1, [0, 8]].any() and torch.equal(x[0, 1, 1:8], start([0], ITEM)[0, 1, 1:8]) and x[0, 0].all()
    assert Study(Bank(chirps(), kind="spectrum"), (3,), 1).resources.shown is None
    with pytest.raises(LemError, match="two.safetensors: the network has two scales"):
        study.like(str(bench / "two.safetensors"))


def test_one_step_of_noisy_spectra(bench):
    broken = lem_fork("fragment", "--noise", ".5", "bank.safetensors", cwd=bench).stdout
    given = read(broken)
    sent = read(els(bench, "--bank bank.safetensors --scales 3 --machine time --denoise", stdin=broken).stdout)
    bank, std = Bank(chirps(), kind="spectrum"), np.asarray(given.ops[0]["std"], np.float64)
    alpha_bar = 1 / (1 + (bank.scale.gain * std) ** 2)
    x = np.sqrt(alpha_bar)[:, None, None, None] * bank.scale.gain * given.data.astype(np.float64)
    want = machine("time", bank, 3)(x, alpha_bar) / bank.scale.gain
    assert np.abs(sent.data - want).max() < 1e-4 * np.abs(want).max() and sent.kind == "spectrum" and not sent.ops


@pytest.mark.parametrize("rows", [9, 6])
def test_what_counts_are_the_elements_that_are_not_zero_in_all_of_the_bank(rows):
    """Of the network's and of the machine's samples; rows that are zero in all of it have no magnitudes either."""
    made = chirps()
    made[:, :, rows:] = 0
    bank, g = Bank(made, kind="spectrum"), np.random.default_rng(0)
    y, m = (torch.from_numpy(g.standard_normal((3, *ITEM))) for _ in range(2))
    agreement = Agreement(bank)
    agreement.add(Samples([0, 1, 2], {20: y}, {"both": m}))
    found = {row.metric: row.value for row in agreement.rows()}
    alive = bank.alive.numpy()
    assert alive.sum() == 2 * rows * 8 - (16 if rows == 9 else 8)
    want = np.median([np.corrcoef(a[alive], b[alive])[0, 1] for a, b in zip(y.numpy(), m.numpy())])
    assert found["r"] == pytest.approx(want) and agreement.remarks() == []
    both = [(a[alive], b[alive]) for a, b in zip(y.numpy() + 0.5, m.numpy())]
    shifted = Agreement(bank)
    shifted.add(Samples([0, 1, 2], {20: y + 0.5}, {"both": m}))
    others = {row.metric: row.value for row in shifted.rows()}
    assert others["R^2"] == pytest.approx(
        np.median([1 - np.sum((a - b) ** 2) / np.sum((a - a.mean()) ** 2) for a, b in both])
    )
    assert others["mse"] == pytest.approx(np.median([np.mean((a - b) ** 2) for a, b in both]))
    sizes = [np.hypot(*np.moveaxis(v.numpy() * alive, 1, 0))[:, :rows].reshape(3, -1) for v in (y, m)]
    assert found["r-magnitude"] == pytest.approx(np.median([np.corrcoef(a, b)[0, 1] for a, b in zip(*sizes)]))
    assert float(correlation(torch.ones(1, 4), torch.ones(1, 4)).isnan())
    images = Agreement(Bank(np.zeros((2, 1, 3, 3), np.uint8)))
    images.add(Samples([0], {2: torch.full((1, 1, 3, 3), 2.0)}, {}))
    assert "leave [-1, 1]" in images.remarks()[0]


def test_step_by_step_a_network_that_is_the_machine_agrees():
    bank = Bank(chirps(), kind="spectrum")
    truth = machine("time", bank, 3)
    machines = {"time": machine("time", bank, 3), "none": machine("none", bank, 3)}
    found = rows([scores for _, scores in along(truth, machines, bank, range(3), grid(4), Resources(batch=2))])
    values = {row.name: row for row in found}
    assert [row.t for row in found[:8:2]] == [1, 0.75, 0.5, 0.25] and values["r-x0[time,0.5]"].seeds == 3
    assert all(values[f"{m}[time,{t}]"].value == pytest.approx(1) for m in ("r-x0", "r-eps") for t in (1, 0.5, 0.25))
    assert values["r-eps[none,0.25]"].value < 1 > values["r-x0[none,0.25]"].value
    x = start([0], ITEM)
    x0 = truth(x, float(cosine(1.0)))
    other, alive = machines["none"](x, float(cosine(1.0))), bank.alive.flatten()
    r = np.corrcoef(x0.flatten()[alive], other.flatten()[alive])[0, 1]
    (scores,) = [s for _, s in along(truth, machines, bank, [0], grid(4), Resources())]
    assert scores["none", 1.0, "r-x0"][0] == pytest.approx(r, abs=1e-5)


def test_agreement_along_a_path_is_its_definition():
    """The path of DDIM and both correlations written out, of two filters that stand for network and machine."""
    bank = Bank(chirps(), kind="spectrum")
    alive, levels = bank.alive.numpy(), [float(cosine(t)) for t in (1, 2 / 3, 1 / 3)]
    truth = lambda x, a: torch.tanh(x * a) + 0.1 * x.roll(1, 3)
    other = lambda x, a: 0.7 * truth(x, a) + 0.2 * x.roll(1, 2)
    x, want = start(range(3), ITEM).double(), {}
    for level, then in zip(levels, [*levels[1:], 1.0]):
        a, b = level**0.5, (1 - level) ** 0.5
        x0, answer = truth(x, level), other(x, level)
        noise = [(x - a * v) / b for v in (x0, answer)]
        for name, (y, m) in (("r-x0", (x0, answer)), ("r-eps", noise)):
            want[level, name] = [np.corrcoef(p.numpy()[alive], q.numpy()[alive])[0, 1] for p, q in zip(y, m)]
        x = then**0.5 * x0 + (1 - then) ** 0.5 * noise[0]
    ((_, scores),) = along(truth, {"filter": other}, bank, range(3), grid(3), Resources())
    for (level, name), values in want.items():
        t = round(float(np.arccos(level**0.5) * 2 / np.pi * 1.008), 6)
        np.testing.assert_allclose(scores["filter", t, name], values, atol=1e-5)
    for row in rows([scores]):
        assert row.value == pytest.approx(np.median(scores["filter", row.t, row.metric]))


@pytest.mark.parametrize("by", ["cosine", "mse"])
def test_the_rectangles_of_a_machine_are_found(by):
    """From the best square by single sides; where one side alone does not help, the square is what is found."""
    bank, sizes = Bank(chirps(), kind="spectrum"), ((1, 5), (3, 5), (5, 3))
    truth = machine("both", bank, Scales(sizes))
    parts = list(path(truth, lambda size: machine("both", bank, size), ITEM, [0, 1], 3, bank.alive, Resources(batch=1)))
    choices = list(descend(parts, [1, 3, 5, 7], lambda size: True, 3, by, bank.alive, Resources()))
    assert [choice.size for choice in reversed(choices)] == list(sizes)
    assert all(choice.score == pytest.approx(float(by == "cosine"), abs=1e-9) for choice in choices)
    assert all(4 < choice.tried <= 16 and choice.square[0] == choice.square[1] for choice in choices)
    lines = text(choices, by, 2, False, ["made so"]).splitlines()
    assert (
        lines[0] == "# made so"
        and "sizes tried" in lines[1]
        and lines[4].startswith(f"# size\tt\t{by}\tseconds\tsquare")
    )
    assert [line.split("\t")[0] for line in lines[5:]] == ["1x5", "3x5", "5x3"]


def test_descent_goes_one_side_at_a_time_and_ends_where_neither_helps():
    """A landscape instead of a machine: r is that of a valley, and sizes that do not fit are passed over."""
    best, asked = (7, 1), []

    class Landscape:
        def __init__(self, size):
            self.size = size

        def __call__(self, x, alpha_bar):
            asked.append(self.size)
            far = (self.size[0] - best[0]) ** 2 + 2 * (self.size[1] - best[1]) ** 2
            return x + far * torch.ones_like(x)

    x = torch.zeros(2, 1, 4, 4)
    points = [Points([x], [torch.zeros(2, 16, dtype=torch.float64)], Landscape)]
    (choice,) = descend(points, [1, 3, 5, 7, 9], lambda size: size != (7, 7), 1, "mse", None, Resources())
    # no noise is taken out of a point at alpha_bar next to 0, so that mse is far^2 times a constant
    assert choice.square == (3, 3) and choice.size == best and (7, 7) not in asked
    assert len(asked) == len(set(asked)) == choice.tried


def test_what_lem_els_prints_of_spectra(bench, tmp_path):
    line = "--bank bank.safetensors --against net.safetensors --scales 3x5 --steps 3 --seeds 0-2 --machines "
    done = els(bench, f"{line}both,time,linear,wiener --net-steps 2 -o sheet.png")
    names = [line.split("\t")[0] for line in done.stdout.decode().splitlines()]
    assert (
        names[:5] == ["r[both,2]", "r^2[both,2]", "R^2[both,2]", "mse[both,2]", "r-magnitude[both,2]"]
        and len(names) == 20
    )
    assert min(Image.open(bench / "sheet.png").size) > 100 and done.stderr == b""
    usual = els(bench, line.replace("--machines", "--net-steps 2")).stdout.decode()
    assert {n.split("[")[1].split(",")[0] for n in usual.split() if "[" in n} == set(
        "both time freq none linear is wiener".split()
    )
    steps = els(bench, f"{line}time,linear --along --equivariance time --json").stdout.decode().splitlines()
    found = [json.loads(each) for each in steps]
    assert [each["name"] for each in found[:3]] == ["r-x0[time,1]", "r-eps[time,1]", "r-x0[time,0.6667]"]
    assert list(found[0]) == ["name", "machine", "t", "metric", "value", "low", "high", "seeds"] and len(found) == 12
    els(
        bench,
        "--bank bank.safetensors --calibrate net.safetensors --rectangles --equivariance time --sizes 1-5 --steps 2 -o s.txt",
    )
    head = (bench / "s.txt").read_text().splitlines()
    assert (
        head[1] == "# machine time, equivariance time, steps 2, seeds 1000,1001"
        and len(parse_sizes(str(bench / "s.txt"), 2)) == 2
    )
    fitted = "--bank bank.safetensors --against net.safetensors --scales s.txt --steps 2 --net-steps 2 --machines time"
    flattered = els(bench, f"{fitted} --seeds 1001-1003").stderr.decode()
    assert flattered.count("\n") == 1 and "s.txt: the sizes were found on 1 of these 3 seeds, which" in flattered
    assert els(bench, f"{fitted} --seeds 1002-1003").stderr == b""
    els(
        bench,
        "--bank bank.safetensors --calibrate net.safetensors --by sample --machine both --sizes 1-5 --steps 2 -o b.txt",
    )
    head = (bench / "b.txt").read_text()
    assert "by r of whole samples, means over 2 seeds" in head and len(parse_sizes(str(bench / "b.txt"), 2)) == 2
    els(bench, "--bank bank.safetensors --scales s.txt --steps 2 --machine time --seeds 0-3 -o grid.png")
    assert Image.open(bench / "grid.png").mode == "L"
    els(
        bench, "--bank bank.safetensors --scales 3 --steps 4 --machine time --network net.safetensors --explain map.png"
    )
    saved = load_file(bench / "map.safetensors")
    assert saved["image"].shape == (1, 9, 8) and (saved["row"] == np.arange(9)[:, None]).all()
    assert np.array_equal(saved["row.hz"], np.arange(9) * 500) and np.array_equal(
        saved["column.ms"], np.arange(8) * 0.5
    )


def test_provenance_of_cepstra_has_times_and_no_frequencies(bench, tmp_path):
    record = {"encoder": "mfcc", "rate": 8000.0, "samples": 28, "n_fft": 64, "hop": 4, "bands": 8, "coefficients": 6}
    written(tmp_path / "bank.safetensors", chirps()[:, :1, :6, :], {**ENCODED, **record})
    els(tmp_path, "--bank bank.safetensors --scales 3 --steps 2 --machine time --explain map.png")
    saved = load_file(tmp_path / "map.safetensors")
    assert np.array_equal(saved["column.ms"], np.arange(8) * 0.5) and "row.hz" not in saved


def test_pictures_of_spectra_are_their_magnitude_low_frequencies_below():
    bank, x = Bank(chirps(), kind="spectrum"), np.zeros((4, 3, 2), np.float32)
    x[:2, 0, 0], x[2:, 2, 1] = [18, 24], [0.3, 0.4]
    assert np.allclose(magnitude(x)[0, 0, 0], 30) and magnitude(x).shape == (2, 3, 2)
    shown = picture(x, bank)
    assert shown.shape == (6, 2) and shown[2, 0] == 255 and shown[3, 1] == round(255 * np.log1p(5) / np.log1p(300))
    assert (shown > 0).sum() == 2
    real = Bank(chirps()[:, :1], kind="spectrum")
    assert picture(np.zeros((1, 2, 2), np.float32), real).tolist() == [[128, 128]] * 2


def test_classes_of_spectra_are_asked_in_turn(bench):
    line = "--bank bank.safetensors --label each --scales 3 --steps 2 --machine time --seeds 0-1"
    signals = list(stream.read(stream.Source(io.BytesIO(els(bench, line).stdout), "x")))
    assert [s.label.tolist() for s in signals] == [[0], [1]]
    bank = Bank(chirps(), np.arange(10) % 2, kind="spectrum")
    want = ddim(machine("time", bank.of(1), 3), start([1], ITEM, shown=bank.alive), grid(2)).numpy() / bank.scale.gain
    assert np.abs(signals[1].data - want * bank.alive.numpy()).max() < 1e-4 * np.abs(want).max()


def test_the_best_candidate_of_the_study_is_that_of_squares():
    study = Study(Bank(chirps(), kind="spectrum"), None, 2, resources=Resources("cpu"))
    assert study.candidates("both") == [3, 5, 7, 9, 11, 13, 15, 17] and study.candidates("els") == [3, 5, 7]
    assert replace(study, padding=("circular", "zeros")).candidates("both") == [3, 5, 7, 9]


def test_calibration_of_spectra_speaks_of_rows_and_columns(bench):
    line = "--bank bank.safetensors --calibrate net.safetensors --machine both --steps 2 --seeds 1000 --sizes "
    done = els(bench, f"{line}1-3 -v")
    assert b"# patch sizes, rows x columns, low noise first, by cosine, medians over 1 seed\n" in done.stdout
    assert b"candidate, " in done.stderr and b" px" not in done.stdout + done.stderr


BAD = {
    "a damaged record": ("--bank damaged.safetensors --scales 3", "damaged.safetensors: damaged record of stft"),
    "another encoder": (
        "--bank bank.safetensors --bank other.safetensors --prepare -o x.safetensors",
        "made by another encoder than the first (hop differ); encode all alike",
    ),
    "another length of the same frames": (
        "--bank bank.safetensors --bank longer.safetensors --prepare -o x.safetensors",
        "a sound of 30 samples among those of 28; a bank holds one length (lem-encode --length makes it one)",
    ),
    "another rate": (
        "--bank bank.safetensors --bank fast.safetensors --prepare -o x.safetensors",
        "16000 Hz among 8000 Hz; a bank holds one rate",
    ),
    "another length": (
        "--bank bank.safetensors --bank long.safetensors --prepare -o x.safetensors",
        "among spectra of 9 rows x 8 columns, 2 channels; a bank holds one shape (lem-encode --length makes it one)",
    ),
    "pieces that do not fit": (
        "--bank bank.safetensors --prepare --patch 32x1024 -o x.safetensors",
        "no piece of 32 x 1024 in 9 x 8 (rows x columns); give a smaller --patch",
    ),
    "a window of nothing": (
        "--bank bank.safetensors --prepare --window-fn hann -o x.safetensors",
        "--window-fn is for --patch; give both, or leave it out",
    ),
    "a patch that is none": (
        "--bank bank.safetensors --prepare --patch 3y4 -o x.safetensors",
        "rows x columns, as in 32x1024",
    ),
    "sounds": (
        "--bank sound.wav --scales 3",
        "sounds; a bank holds images or spectra; lem-encode --encoder stft makes spectra of sounds",
    ),
    "images among spectra": (
        "--bank bank.safetensors --bank images.safetensors --prepare -o x.safetensors",
        "images in a bank of spectra; a bank holds one kind",
    ),
    "a network of images": (
        "--bank bank.safetensors --scales 3 --against image.safetensors",
        "image.safetensors: a network of images, but the bank holds spectra; give one of these",
    ),
    "a network of another front end": (
        "--bank bank.safetensors --scales 3 --against hop.safetensors",
        "hop.safetensors: trained on spectra of another front end (hop 8 and here 4); encode the bank as those were",
    ),
    "a network of another window": (
        "--bank bank.safetensors --scales 3 --network long-window.safetensors",
        "long-window.safetensors: trained on spectra of another front end (n_fft 32 and here 16)",
    ),
    "a network of more rows": (
        "--bank bank.safetensors --scales 3 --network tall.safetensors",
        "for spectra of 2 x 17 x any (channels x rows x columns), but the bank holds 2 x 9 x 8",
    ),
    "noisy spectra of another hop": (
        "--bank bank.safetensors --scales 3 --denoise other.safetensors --t .5 -o x.safetensors",
        "spectra with hop 8, and the bank holds those with hop 4; encode both alike",
    ),
    "noisy spectra of another rate": (
        "--bank bank.safetensors --scales 3 --denoise fast.safetensors --t .5 -o x.safetensors",
        "spectra at 16000 Hz, and the bank holds those at 8000 Hz; encode both alike",
    ),
    "pixels of spectra": (
        "--bank bank.safetensors --scales 3 --size 32 --grey",
        "bank.safetensors: spectrum; --size and --grey are for whole images",
    ),
    "two scales": ("--bank bank.safetensors --scales 3 --network two.safetensors", "the network has two scales"),
    "padding twice": (
        "--bank bank.safetensors --scales 3 --network net.safetensors --padding zeros",
        "--padding and --network: the network says its padding",
    ),
    "padding of a network that says it": (
        "--bank bank.safetensors --scales 3 --against net.safetensors --padding zeros",
        "--padding is for sampling, --denoise and --explain, not --against",
    ),
    "a padding that is none": (
        "--bank bank.safetensors --scales 3 --padding mirror",
        "'mirror' is not one of 'zeros', 'circular', 'zeros,circular'",
    ),
    "equivariance of a machine that has its own": (
        "--bank bank.safetensors --scales 3 --machine bbels --equivariance time",
        "--equivariance does nothing for bbels: leave it out, or ask linear",
    ),
    "samples that grow": (
        "--bank bank.safetensors --calibrate net.safetensors --by sample --monotone",
        "--by sample and --monotone",
    ),
    "rectangles that grow": (
        "--bank bank.safetensors --calibrate net.safetensors --rectangles --monotone",
        "--rectangles and --monotone",
    ),
    "samples along a path": (
        "--bank bank.safetensors --scales 3 --against net.safetensors --along --net-steps 20",
        "--net-steps is for whole samples",
    ),
    "an even side": ("--bank bank.safetensors --scales 3x4 --machine time", "a patch of 3x4 has no centre"),
    "a large side": (
        "--bank bank.safetensors --scales 3x19 --machine time",
        "too large for time on 9 rows of 8 columns: at most 17x17",
    ),
    "a linear map of pixels": (
        "--bank bank.safetensors --scales 3 --machine linear --explain map.png",
        "--explain is for the local machines, ls, els, bbels, both, time, freq, none",
    ),
}


def test_errors_speak_of_spectra_not_of_images():
    bad = chirps(3)
    bad[1, 0, 4, 4] = np.nan
    labels = np.arange(3)
    study = Study(Bank(chirps(3), labels=labels, kind="spectrum"), label="each")
    noisy = Signal("spectrum", chirps(1)[..., 1:])
    for words, broken in (
        ("spectrum 1 of the bank has values that are not finite", lambda: Bank(bad, kind="spectrum")),
        ("2 labels for the 3 spectra of the bank", lambda: Bank(chirps(3), labels=labels[:2], kind="spectrum")),
        ("a bank holds spectra \\[N", lambda: Bank(chirps(3)[0], kind="spectrum")),
        ("no spectrum of the bank is of class 7", lambda: Bank(chirps(3), labels=labels, kind="spectrum").of(7)),
        ("none of its spectra is of class 7", lambda: Bank(chirps(3), kind="spectrum").of(7)),
        ("one spectrum has no covariance", lambda: machine("wiener", Bank(chirps(1), kind="spectrum"), 3, How())),
        ("class 0 has one spectrum", lambda: list(study.samples("wiener", [0, 1, 2]))),
        ("a noisy spectrum is of one class", lambda: study.denoiser("is")),
        ("the bank holds spectra of", lambda: replace(study, label=None).denoiser("is")(noisy, 0.5, None)),
    ):
        with pytest.raises(LemError, match=words):
            broken()


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(bench, case):
    line, said = BAD[case]
    text = els(bench, line, ok=False).stderr.decode()
    assert text.count("\n") == 1 and text.startswith("lem-els: error: ") and said in text, text
