"""lem-els: sampling, calibration, comparison with networks, explanation, and what it refuses."""

import gzip
import io
import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

from helpers.commands import lem_fork, lem_together
from helpers.machines import kind, window
from helpers.manual import LINES, stages
from lemtools import stream
from lemtools.cli.els_jobs import SEEDS
from lemtools.denoise.contract import Scale
from lemtools.denoise.samplers import ddim, noise
from lemtools.denoise.schedule import cosine, grid
from lemtools.device import pick
from lemtools.dreams import sample as sampling
from lemtools.dreams.against import Agreement, Samples, median_interval, samples, scores
from lemtools.dreams.calibrate import choose, growing, measure, remarks
from lemtools.dreams.explain import columns, explain, table
from lemtools.dreams.resources import SEEDS as SEEDS_AT_A_TIME
from lemtools.dreams.resources import Resources
from lemtools.dreams.study import Study
from lemtools.els import machine
from lemtools.els.bank import Bank
from lemtools.els.plan import LOCAL
from lemtools.els.prepare import bank as read_bank
from lemtools.els.scales import Scales, allowed, levels, parse_sizes, time
from lemtools.media.labels import labels as read_labels
from lemtools.media.pixels import luma, resize
from lemtools.nets.diffusion import ResNet
from lemtools.nets.model import Model, load
from lemtools.reconstruct.dream import Dreamer
from lemtools.rng import generator
from lemtools.signal import LemError, Signal
from lemtools.train.checkpoint import save_model


def waves(count: int = 12, size: int = 8, channels: int = 1) -> np.ndarray:
    """Smooth images, each with frequencies of its own: uint8 [count, channels, size, size]."""
    y, x = np.mgrid[:size, :size]
    k = np.arange(count)[:, None, None]
    grey = 127 + 60 * (np.sin(x * (0.3 + 0.1 * k) + k) + np.cos(y * (0.5 + 0.07 * k)))
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[:, None], channels, 1)


def network(path, channels: int = 1, classes: int = 0, item=(0, 0), **more) -> None:
    """An untrained ResNet, as lem-train writes one."""
    torch.manual_seed(0)
    options = {"channels": channels, "width": 4, "blocks": 1, "classes": classes, **more}
    shape = [channels, *item]
    meta = {
        "v": 1,
        "tool": "lem-train",
        "version": "0",
        "recipe": "diffusion",
        "net": {"net": "resnet", **options},
        "kind": "image",
        "item": shape,
        "target": {"kind": "image", "item": shape},
        "fragment": [],
        "classes": classes,
        "step": 0,
        "seed": 0,
        "card": {},
    }
    save_model(Model(ResNet(**options), meta), str(path))


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A folder with banks, labels and networks."""
    here = tmp_path_factory.mktemp("els")
    images = waves()
    np.save(here / "bank.npy", images)
    np.save(here / "colour.npy", waves(channels=3))
    np.save(here / "labels.npy", np.arange(12) % 3)
    (here / "labels.txt").write_text("0 1 2\n" * 4)
    (here / "lone.txt").write_text("0 1 0 1 2 " + "0 " * 7)
    head = b"\0\0\x08\1" + (12).to_bytes(4, "big")
    (here / "labels.idx.gz").write_bytes(gzip.compress(head + bytes(k % 3 for k in range(12))))
    (here / "folder").mkdir()
    for k, image in enumerate(images):
        Image.fromarray(image[0]).save(here / "folder" / f"{k:02}.png")
    network(here / "net.safetensors")
    network(here / "classes.safetensors", classes=3)
    network(here / "rgb.safetensors", channels=3)
    network(here / "large.safetensors", item=(16, 16))
    # what the examples of the manual name
    faces = np.random.default_rng(0).integers(0, 256, (4, 12, 10), np.uint8)
    (here / "faces").mkdir()
    for k, face in enumerate(faces):
        Image.fromarray(face).save(here / "faces" / f"{k}.png")
    digits = np.zeros((3, 28, 28), np.uint8)
    digits[:, 5:20, 9:13] = 255
    sizes = b"".join(n.to_bytes(4, "big") for n in digits.shape)
    (here / "digits.idx.gz").write_bytes(gzip.compress(b"\0\0\x08\3" + sizes + digits.tobytes()))
    return here


def els(bench, *args, stdin: bytes = b"", ok: bool = True):
    """lem-els on a CPU, which must succeed unless another status is expected."""
    one = {"env": {"LEM_DEVICE": "cpu"}, "prepare": lambda: torch.set_num_threads(1)}
    done = lem_fork("els", *args, cwd=bench, stdin=stdin, **one)
    assert not ok or done.returncode == 0, done.stderr.decode()
    return done


def wire(raw: bytes) -> Signal:
    """All batches of a stream as one."""
    signals = list(stream.read(stream.Source(io.BytesIO(raw), "x")))
    joined = {k: np.concatenate([getattr(s, k) for s in signals]) for k in ("data", "index")}
    label = None if signals[0].label is None else np.concatenate([s.label for s in signals])
    return replace(signals[0], **joined, label=label, names=[n for s in signals for n in s.names or ()])


def started(seeds, item=(1, 8, 8)) -> torch.Tensor:
    return noise([generator(k, 0, 0, "els") for k in seeds], item)


class Recorder:
    """A denoiser that remembers what it was asked."""

    scale = Scale.image()

    def __init__(self, size=None):
        self.size, self.asked = size, []

    def __call__(self, x, alpha_bar):
        self.asked.append((time(alpha_bar), self.size and self.size(alpha_bar), x.clone()))
        return 0.5 * x


# --- sampling


def test_a_sample_is_ddim_over_the_machine(bench):
    bank, sizes = Bank(waves()), (3, 3, 5, 7)
    for name in ("bbels", "is", "wiener"):
        want = ddim(machine(name, bank, Scales(sizes)), started([0, 3, 4]), grid(4))
        (found,) = Study(bank, sizes, 4, resources=Resources("cpu")).samples(name, [0, 3, 4])
        assert np.array_equal(found.data, (want / 2 + 0.5).numpy()) and found.data.dtype == np.float32
    done = els(bench, "--bank", "bank.npy", "--steps", "4", "--seeds", "0,3-4", "--machine", "wiener")
    sent = wire(done.stdout)
    assert np.allclose(sent.data, found.data, atol=1e-6)
    assert (sent.kind, sent.names, sent.index.tolist()) == ("image", ["seed-0", "seed-3", "seed-4"], [0, 3, 4])
    assert sent.history[-1]["tool"] == "lem-els" and sent.history[-1]["sizes"] is None
    sent = wire(els(bench, "--bank", "bank.npy", "--scales", "3,3,5,7", "--steps", "4", "--to", "safetensors").stdout)
    assert sent.history[-1]["sizes"] == [3, 3, 5, 7]


@pytest.mark.parametrize("name", LOCAL)
def test_seeds_do_not_depend_on_the_batch(name):
    bank = Bank(waves())
    together, one, some = (
        np.concatenate(
            [s.data for s in Study(bank, (3,) * 5, 5, resources=Resources(batch=batch)).samples(name, seeds)]
        )
        for batch, seeds in ((5, range(5)), (1, range(5)), (2, [4, 1]))
    )
    assert np.abs(together - one).max() < 1e-5 and np.abs(together[[4, 1]] - some).max() < 1e-5
    assert np.abs(together[0] - together[1]).max() > 0.05


def test_seeds_beyond_the_memory_go_in_batches(bench):
    assert Resources().fitted((3, 32, 32), 17).batch == SEEDS_AT_A_TIME["cpu"]
    large, small = (Resources("cuda:0", memory).fitted((3, 32, 32), 17).batch for memory in (1 << 30, 1 << 26))
    assert large > small and Resources(batch=3).fitted((3, 32, 32), 17).batch == 3
    done = els(
        bench, "--bank", "bank.npy", "--scales", "3", "--steps", "2", "--seeds", "0-2", "--max-memory", "1K", "-v"
    )
    assert len(wire(done.stdout)) == 3
    steps = [line for line in done.stderr.decode().splitlines() if "step" in line]
    assert len(steps) == 6 and steps[0].startswith(
        "lem-els: seeds 0 to 0, step 1 of 2: t 1, patch 3, skipping moves x0 by"
    )


def test_a_device_without_float64_is_passed_over(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    bank = Bank(waves())
    assert Study(bank).resources.device == "cpu"
    with pytest.raises(LemError, match="device mps knows no float64, in which this is computed; take cpu$"):
        Study(bank, resources=Resources("mps"))
    assert pick("auto") == pick("mps") == "mps"
    store = bank.images[:, :, :4, :4]
    assert Dreamer(store, prior="recall").device == "mps"
    for prior in ("bbels:3", "gaussian"):
        assert Dreamer(store, prior=prior).device == "cpu"


def test_each_class_in_turn(bench):
    bank, labels = waves(), np.arange(12) % 3
    args = ("--bank", "bank.npy", "--labels", "labels.npy", "--scales", "3", "--steps", "3")
    sent = wire(els(bench, *args, "--seeds", "0-4", "--label", "each").stdout)
    assert sent.index.tolist() == [0, 3, 1, 4, 2] and (sent.label == sent.index % 3).all()
    for label in range(3):
        mine = Bank(bank[labels == label])
        (want,) = Study(mine, (3,) * 3, 3).samples("bbels", [k for k in range(5) if k % 3 == label])
        assert np.abs(sent.data[sent.label == label] - want.data).max() < 1e-5
    alone = wire(els(bench, *args, "--seeds", "1,4", "--label", "1").stdout)
    assert np.abs(alone.data - sent.data[sent.label == 1]).max() < 1e-5


def test_the_released_code_s_choices():
    sizes = tuple(range(3, 43, 2))
    asked = Recorder(Scales(sizes, shifted=True))
    ((_seeds, _x),) = sampling.batches(asked, (1, 8, 8), [7], levels(20, kamb=True), Resources())
    assert len(asked.asked) == 19
    for step, (t, size, _) in zip(range(19, 0, -1), asked.asked):
        assert t == pytest.approx(step / 20) and size == sizes[step]
    assert torch.equal(asked.asked[0][2], started([7]))
    plain = Recorder(Scales(sizes))
    list(sampling.batches(plain, (1, 8, 8), [7], levels(20), Resources()))
    assert [size for _, size, _ in plain.asked] == list(reversed(sizes))
    study = Study(Bank(waves()), (3,) * 20, kamb=True)
    assert study.machine("els", study.bank).valid and np.array_equal(study.levels, grid(20)[1:])


def test_scales_between_the_steps_and_from_files(tmp_path):
    found = Scales((3, 5, 7, 9))
    assert [found(float(cosine(t))) for t in (0, 0.1, 0.25, 0.37, 0.38, 0.5, 0.8, 1)] == [3, 3, 3, 3, 5, 5, 7, 9]
    assert found(1.0) == 3 and found(0.0) == 9
    assert parse_sizes("5", 3) == (5, 5, 5) and parse_sizes("3, 3,5", 3) == (3, 3, 5)
    file = tmp_path / "scales.txt"
    file.write_text("# sizes\n3\t0.5\t.9\n\n5 1 .8\n")
    assert parse_sizes(str(file), 2) == (3, 5)
    for made, other in (("none", True), ("kamb", False)):
        file.write_text(f"# compat unknown\n# compat {made}\n3\n5\n")
        assert parse_sizes(str(file), 2, not other) == (3, 5)
        with pytest.raises(LemError, match=f"found with --compat {made}, .* calibrate again"):
            parse_sizes(str(file), 2, other)
    with pytest.raises(LemError, match="2 sizes for 20 steps; give one a step, or --steps 2"):
        parse_sizes(str(file), 20, True)
    file.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    with pytest.raises(LemError, match="not a list of scales"):
        parse_sizes(str(file), 2)


def test_pictures_of_several_seeds_are_a_grid(bench):
    args = ("--bank", "bank.npy", "--scales", "3", "--steps", "2", "--seeds", "0-5")
    els(bench, *args, "-o", "grid.png")
    page = np.asarray(Image.open(bench / "grid.png"))
    assert page.shape == (3 * 9 - 1, 2 * 9 - 1) and page.dtype == np.uint8
    sent = wire(els(bench, *args).stdout)
    want = np.rint(sent.data.clip(0, 1) * 255)[:, 0]
    for k in range(6):
        assert np.abs(page[k // 2 * 9 :, k % 2 * 9 :][:8, :8] - want[k]).max() <= 1
    els(bench, *args, "-o", "dir/")
    assert sorted(p.name for p in (bench / "dir").iterdir()) == [f"seed-{k}.png" for k in range(6)]
    single = els(bench, *args[:-1], "3")
    assert np.asarray(Image.open(io.BytesIO(single.stdout))).shape == (8, 8)


def test_a_grid_of_all_classes_is_in_the_order_of_the_seeds(bench):
    args = (
        "--bank",
        "bank.npy",
        "--labels",
        "labels.npy",
        "--label",
        "each",
        "--scales",
        "3",
        "--steps",
        "2",
        "--seeds",
        "0-3",
    )
    page = np.asarray(Image.open(io.BytesIO(els(bench, *args, "--to", "png").stdout))).astype(int)
    sent = wire(els(bench, *args).stdout)
    want = np.rint(sent.data[np.argsort(sent.index)].clip(0, 1) * 255)[:, 0]
    assert sent.index.tolist() == [0, 3, 1, 2]
    for k in range(4):
        assert np.abs(page[k // 2 * 9 :, k % 2 * 9 :][:8, :8] - want[k]).max() <= 1


def test_one_step_of_noisy_images(bench):
    x = started([1, 2, 3])
    values = Signal("image", (x / 2 + 0.5).numpy(), index=np.arange(len(x)), last=True)
    raw = b"".join(bytes(part) for part in stream.document(values))
    args = ("--bank", "bank.npy", "--denoise", "--scales", "5", "--machine", "els")
    sent = wire(els(bench, *args, "--t", ".6", stdin=raw).stdout)
    asked = machine("els", Bank(waves()), 5)
    assert np.abs(sent.data - (asked(x, float(cosine(0.6))) / 2 + 0.5).numpy()).max() < 1e-5
    broken = lem_fork("fragment", "--noise", ".1-.4", "bank.npy", cwd=bench).stdout
    sent, given = wire(els(bench, *args, stdin=broken).stdout), wire(broken)
    sigma = np.asarray(given.ops[0]["sigma"], np.float64)
    assert len(set(sigma)) == 12 and not sent.ops and len(sent.history) == 2
    for k in (0, 7):
        alpha_bar = 1 / (1 + (2 * sigma[k]) ** 2)
        x_t = np.sqrt(alpha_bar) * (2 * given.data[k : k + 1] - 1)
        want = asked(torch.from_numpy(x_t).float(), alpha_bar) / 2 + 0.5
        assert np.abs(sent.data[k] - want.numpy()[0]).max() < 1e-4


def test_noisy_images_are_arrays_of_coordinates_or_streams_of_values(bench):
    """x_t has no bounds: an array of floats is x_t itself, a float image of a stream (x_t + 1) / 2."""
    x = 3 * started([1, 2, 3])
    want = (machine("bbels", Bank(waves()), 5)(x, float(cosine(0.6))) / 2 + 0.5).numpy()
    assert x.min() < -2 and x.max() > 2
    np.save(bench / "x.npy", x.numpy().astype(np.float64))
    np.save(bench / "last.npy", x.numpy().transpose(0, 2, 3, 1))
    np.savez(bench / "x.npz", x=x.numpy(), other=np.zeros((2, 3)))
    save_file({"x": x.numpy(), "other": np.zeros((2, 3))}, bench / "two.safetensors")
    save_file({"x": x.numpy()}, bench / "foreign.safetensors")
    line = "--bank bank.npy --denoise --scales 5 --t .6 "
    for file in ("x.npy", "last.npy", "--key x x.npz", "--key x two.safetensors", "foreign.safetensors"):
        done = els(bench, *(line + file).split(), "--to", "safetensors")
        assert np.abs(wire(done.stdout).data - want).max() < 1e-5
        assert done.stderr.count(b"\n") == 1 and b"read as x_t itself" in done.stderr
    piped = els(bench, *line.split(), "--to", "npy", stdin=(bench / "x.npy").read_bytes())
    assert np.abs(np.load(io.BytesIO(piped.stdout)) - want).max() < 1e-5
    np.save(bench / "values.npy", waves() / np.float32(255))
    sent = els(bench, *(line + "values.npy").split(), "-o", "answers/").stderr.decode()
    assert sent.count("\n") == 1 and "read as x_t itself" in sent
    broken = els(bench, *(line + "two.safetensors").split(), ok=False).stderr.decode()
    assert broken.startswith("lem-els: error: two.safetensors: several float tensors (") and "--key" in broken


def test_of_several_noisy_files_the_good_ones_are_answered(bench):
    line = "--bank bank.npy --denoise --scales 3 --t .3 folder/03.png faces/0.png folder/04.png -o several/"
    done = els(bench, *line.split(), ok=False)
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1 and b"0.png" in done.stderr
    assert sorted(p.name for p in (bench / "several").iterdir()) == ["03.png", "04.png"]


# --- the bank


def test_a_prepared_bank_stays_on_disk_and_holds_what_it_should(bench):
    els_args = (
        "--bank",
        "folder",
        "--labels",
        "labels.idx.gz",
        "--size",
        "16",
        "--prepare",
        "-o",
        "x.bank.safetensors",
    )
    els(bench, *els_args)
    bank = read_bank([str(bench / "x.bank.safetensors")])
    assert isinstance(bank.images, stream.OnDisk) and bank.images.dtype == np.uint8
    assert (bank.labels == np.arange(12) % 3).all() and bank.item == (1, 16, 16)
    for image, small in zip(bank.images, waves()):
        assert np.array_equal(image[0], np.asarray(Image.fromarray(small[0]).resize((16, 16), Image.BILINEAR)))
    (whole,) = stream.read(stream.Source(open(bench / "x.bank.safetensors", "rb", buffering=0), "x"))
    assert whole.names == [f"{k:02}.png" for k in range(12)] and whole.history[-1]["tool"] == "lem-els"


def test_banks_of_several_files_and_channels(bench):
    paths = [str(bench / "folder"), str(bench / "bank.npy")]
    both = read_bank(paths, size=(8, 8))
    assert len(both) == 24 and np.array_equal(both.images[12:], waves()) and both.names[12] == "#12"
    grey = read_bank([str(bench / "colour.npy"), paths[1]], grey=True)
    assert grey.item == (1, 8, 8) and np.array_equal(grey.images[:12], grey.images[12:])
    rgb = np.random.default_rng(1).integers(0, 256, (2, 3, 5, 4), np.uint8)
    want = [np.asarray(Image.fromarray(x.transpose(1, 2, 0)).convert("L")).astype(int) for x in rgb]
    assert np.abs(luma(rgb)[:, 0] - np.stack(want)).max() <= 1 and np.array_equal(luma(rgb[1]), luma(rgb)[1])
    small = resize(rgb, (8, 10))
    assert np.array_equal(
        small[1].transpose(1, 2, 0), np.asarray(Image.fromarray(rgb[1].transpose(1, 2, 0)).resize((8, 10), 2))
    )
    for name in ("labels.npy", "labels.txt", "labels.idx.gz"):
        assert read_labels(str(bench / name)).tolist() == [0, 1, 2] * 4


# --- several processes


def test_two_processes_share_a_bank(bench):
    line = "--bank bank.npy --machine bbels --scales 3 --steps 3 --seeds 0-2 --device cpu "
    els(bench, *line.split(), "-o", "one.safetensors")
    assert lem_together("els", line + "-o two.safetensors", bench) == [(0, ""), (0, "")]
    one, two = (wire((bench / f"{n}.safetensors").read_bytes()).data for n in ("one", "two"))
    assert 0 < np.abs(one).max() and np.abs(one - two).max() < 1e-5
    wrong = "lem-els: error: the bank has no labels, so none of its images is of class 1; give --labels\n"
    assert lem_together("els", line + "--label 1 -o three.safetensors", bench) == [(2, wrong), (2, "")]


# --- calibration


@pytest.mark.parametrize("by", ["cosine", "mse"])
def test_calibration_finds_the_sizes_of_a_machine(by):
    bank, sizes = Bank(waves()), (3, 5, 5, 7, 3, 5)
    truth = machine("bbels", bank, Scales(sizes))
    candidates = {size: machine("bbels", bank, size) for size in (7, 3, 5)}
    found = np.concatenate(list(measure(truth, candidates, bank.item, range(3), 6, by, Resources(batch=2))))
    assert found.shape == (3, 6, 3)
    chosen = choose(found, list(candidates), by)
    assert chosen.sizes == list(sizes) and chosen.candidates == [3, 5, 7]
    best = chosen.score[range(6), [chosen.candidates.index(size) for size in sizes]]
    assert np.allclose(best, 1 if by == "cosine" else 0, atol=1e-9)
    assert choose(found, list(candidates), by, monotone=True).sizes == sorted(
        choose(found, list(candidates), by, monotone=True).sizes
    )


def test_the_best_growing_list_is_that_of_brute_force():
    rng = np.random.default_rng(3)
    for trial in range(30):
        gain = rng.integers(0, 4, (5, 4)).astype(float) if trial % 2 else rng.standard_normal((5, 4))
        path = growing(gain)
        lists = [p for p in itertools.product(range(4), repeat=5) if list(p) == sorted(p)]
        totals = [sum(gain[i, k] for i, k in enumerate(p)) for p in lists]
        assert tuple(path) in lists
        assert sum(gain[i, k] for i, k in enumerate(path)) == pytest.approx(max(totals))


def test_a_calibration_is_what_scales_reads(bench):
    args = ("--bank", "bank.npy", "--calibrate", "net.safetensors", "--steps", "3", "--seeds", "0-1")
    els(bench, *args, "--sizes", "3-7", "--monotone", "-o", "scales.txt")
    lines = (bench / "scales.txt").read_text().splitlines()
    assert (
        lines[-4] == "# size\tt\tcosine[3]\tcosine[5]\tcosine[7]"
        and [len(x.split("\t")) for x in lines[-3:]] == [5] * 3
    )
    assert lines[1] == "# machine bbels, steps 3, seeds 0,1" and not {*SEEDS["--calibrate"]} & {*SEEDS["--against"]}
    sizes = parse_sizes(str(bench / "scales.txt"), 3)
    assert list(sizes) == sorted(sizes) and set(sizes) <= {3, 5, 7}
    assert [line.split("\t")[1] for line in lines[-3:]] == ["0.3333", "0.6667", "1"]
    els(bench, "--bank", "bank.npy", "--scales", "scales.txt", "--steps", "3", "-o", "one.png")
    kamb = els(bench, *args, "--compat", "kamb", "--machine", "els", "--sizes", "3-5").stdout.decode()
    assert "\n# compat kamb\n" in kamb and "\n# compat none\n" in (bench / "scales.txt").read_text()
    wrong = els(bench, "--bank", "bank.npy", "--scales", "scales.txt", "--steps", "3", "--compat", "kamb", ok=False)
    assert wrong.returncode == 2 and b"scales.txt: found with --compat none" in wrong.stderr
    usual = els(bench, *args, "--by", "mse").stdout.decode().splitlines()
    assert usual[-4].endswith("mse[11]\tmse[13]\tmse[15]")  # 17 px are too many for 8 x 8


def test_a_choice_at_the_end_of_the_candidates_is_noted(bench):
    scores = np.zeros((1, 4, 3))
    scores[0, range(4), (2, 1, 2, 0)] = 1
    found = choose(scores, [3, 5, 7])

    def said(machine: str, side: int, sizes, candidates=(3, 5, 7)) -> list[str]:
        return remarks(sizes, candidates, lambda size: bool(allowed(machine, [size], (1, side, side))), " px")

    smallest, largest = said("bbels", 8, found.sizes)
    assert "at 1 of 4 steps the choice is the smallest candidate, 3 px" in smallest
    assert "at 2 of 4 steps the choice is the largest candidate, 7 px" in largest
    assert said("els", 7, found.sizes) == [smallest]  # larger ones do not fit
    assert said("bbels", 8, [5]) == [] and said("bbels", 8, [3], [3]) == []
    (side,) = said("bbels", 8, [(5, 7), (5, 5), (3, 1)], (1, 3, 5, 7))
    assert "at 1 of 3 steps a side of the choice is the largest candidate, 7 px" in side
    args = ("--bank", "bank.npy", "--calibrate", "net.safetensors", "--steps", "2", "--seeds", "0", "--sizes", "3-5")
    for way in ((), ("--rectangles",), ("--by", "sample")):
        assert b"candidate, " in els(bench, *args, *way).stderr and els(bench, *args, *way, "-q").stderr == b""


# --- comparison


def test_a_network_beyond_the_range_of_images_is_noted():
    still, wild = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    still[0, 0, 0, 0], wild[0, 0, 0, :2] = 1.002, torch.tensor([-3.0, 1.5])
    agreement = Agreement()
    agreement.add(Samples([0, 1], {20: still, 150: wild}, {"is": still}))
    (remark,) = agreement.remarks()
    assert remark.startswith("the network's samples of 150 steps leave [-1, 1]: 6.2 % of their values do, as far as 3;")


def test_long_work_says_where_it_is_every_minute(monkeypatch):
    from lemtools.cli import run
    from lemtools.cli.run import Session

    clock, said = [0.0], []
    monkeypatch.setattr(run.time, "monotonic", lambda: clock[0])
    session = Session("lem-els", False, False)
    monkeypatch.setattr(session, "note", said.append)

    def slow(x_t, alpha_bar):
        clock[0] += 40
        return x_t

    list(session.progress((x for _, x in sampling.batches(slow, (1, 8, 8), [7], grid(4), Resources())), 1, lines=True))
    assert [line.split(", ")[:2] for line in said] == [["0 of 1 items", "steps 2 of 4"], ["1 of 1 items", "0 s left"]]


def test_a_network_that_is_the_machine_is_predicted():
    bank = Bank(waves())
    machines = {name: machine(name, bank, 5) for name in ("is", "bbels")}
    comparison = Agreement()
    for batch in samples(machine("bbels", bank, 5), machines, bank.item, range(5), grid(4), (4, 6), Resources(batch=2)):
        assert len(batch) in (1, 2)
        comparison.add(batch)
    rows = {(row.machine, row.net_steps, row.metric): row for row in comparison.rows()}
    assert rows["bbels", 4, "r"].value == pytest.approx(1) and rows["bbels", 4, "mse"].value == 0
    assert rows["bbels", 4, "R^2"].low == 1 and rows["bbels", 6, "r"].value < 1
    assert rows["bbels", 4, "beats-is"].value == 1 and ("is", 4, "beats-is") not in rows
    assert rows["is", 4, "r"].seeds == 5


def test_a_network_answers_without_being_clipped(bench):
    """As the paper has it; with zeros for eps the sample is the start itself, over a, far beyond [-1, 1]."""
    net = ResNet(channels=1, width=4, blocks=1)
    torch.nn.init.zeros_(net.last.weight)
    torch.nn.init.zeros_(net.last.bias)
    network(bench / "zero.safetensors")
    save_model(replace(load(str(bench / "zero.safetensors")), net=net), str(bench / "zero.safetensors"))
    study = Study(Bank(waves()), (3,) * 3, 3)
    (batch,) = study.against(["bbels"], str(bench / "zero.safetensors"), [0, 1], [2])
    assert torch.allclose(batch.network[2], started([0, 1]) / float(np.sqrt(cosine(1.0))), rtol=1e-4)
    with pytest.raises(LemError, match="too large"):
        study.calibrate("els", str(bench / "zero.safetensors"), [0], [9])


def test_a_class_too_small_for_a_gaussian_is_told_first():
    lone = Study(Bank(waves(), [0] * 11 + [1]), (3,) * 3, 3, label="each")
    with pytest.raises(LemError, match="wiener: class 1 has one image"):
        next(lone.against(["is", "wiener"], "no network is read", [0, 1], [2]))
    assert len(next(lone.samples("wiener", [0, 2]))) == 2  # no seed of that class


def test_scores_by_their_definitions():
    rng = np.random.default_rng(0)
    y = rng.standard_normal((3, 2, 4, 4))
    m = 0.5 * y + rng.standard_normal(y.shape) + 0.2
    m[2] = 1.0
    found = scores(torch.from_numpy(y), torch.from_numpy(m))
    for k in range(2):
        r = np.corrcoef(y[k].ravel(), m[k].ravel())[0, 1]
        assert found["r"][k] == pytest.approx(r) and found["r^2"][k] == pytest.approx(r * r)
        error = ((y[k] - m[k]) ** 2).sum()
        assert found["R^2"][k] == pytest.approx(1 - error / ((y[k] - y[k].mean()) ** 2).sum())
        assert found["mse"][k] == pytest.approx(error / 32) and found["R^2"][k] < found["r^2"][k]
    assert np.isnan(found["r"][2]) and np.isfinite(found["mse"][2])
    comparison = Agreement()
    comparison.add(Samples([0, 1, 2], {20: torch.from_numpy(y)}, {"els": torch.from_numpy(m)}))
    assert {row.metric: row.seeds for row in comparison.rows()} == {"r": 2, "r^2": 2, "R^2": 3, "mse": 3}
    with pytest.raises(LemError, match="not finite"):
        comparison.add(Samples([0], {20: torch.full((1, 2, 4, 4), torch.inf)}, {}))


def test_intervals_are_those_of_the_bootstrap():
    values = np.random.default_rng(2).standard_normal(101)
    median, low, high = median_interval(values)
    assert median == np.median(values) and low < median < high and (median, low, high) == median_interval(values)
    half = 1.96 * 1.2533 / np.sqrt(101)  # of a median of normal values, asymptotically
    assert 0.6 * half < (high - low) / 2 < 1.6 * half
    assert median_interval(np.array([3.0])) == (3.0, None, None) and np.isnan(median_interval(np.array([]))[0])


def test_what_against_prints_and_draws(bench):
    args = (
        "--bank",
        "bank.npy",
        "--against",
        "net.safetensors",
        "--scales",
        "3",
        "--steps",
        "3",
        "--seeds",
        "0-2",
        "--net-steps",
        "2,4",
        "--machines",
        "is,bbels",
    )
    done = els(bench, *args, "-o", "sheet.png")
    rows = [line.split("\t") for line in done.stdout.decode().splitlines()]
    metrics = ["r", "r^2", "R^2", "mse"]
    want = [
        f"{m}[{name},{steps}]"
        for name in ("is", "bbels")
        for steps in (2, 4)
        for m in metrics + ["beats-is"] * (name != "is")
    ]
    assert [row[0] for row in rows] == want and {row[4] for row in rows} == {"3"}
    assert all(float(row[2]) <= float(row[1]) <= float(row[3]) for row in rows if "beats" not in row[0])
    sheet = Image.open(bench / "sheet.png")
    assert sheet.size[0] < sheet.size[1]  # three seeds, four rows
    lines = [json.loads(line) for line in els(bench, *args, "--json").stdout.splitlines()]
    assert list(lines[0]) == ["name", "machine", "net_steps", "metric", "value", "low", "high", "seeds"]
    assert lines[-1]["metric"] == "beats-is" and lines[-1]["low"] is None
    assert [f"{line['value']:.7g}" for line in lines] == [row[1] for row in rows]
    labelled = ("--against", "classes.safetensors", "--labels", "labels.txt", "--label", "each")
    more = els(bench, *args, *labelled, "--seeds", "0-3").stdout.decode().splitlines()
    assert len(more) == len(rows) and more[0].endswith("\t4")


# --- explanation


def test_where_pixels_come_from_where_it_is_known():
    """Windows over everything recall whole images; windows of one pixel paint black and white."""
    rng = np.random.default_rng(1)
    bank = Bank(rng.integers(0, 2, (6, 1, 8, 8), np.uint8) * 255)
    for origin in explain(machine("ls", bank, Scales((15,) * 20)), bank, range(4), grid(20), Resources(batch=3)):
        assert origin.equal.all() and origin.weight.min() > 0.999
        for k in range(len(origin)):
            (source,) = np.unique(origin.image[k])
            assert np.abs(origin.sample[k] - (bank.images[source] / 127.5 - 1)).max() < 1e-4
            assert (origin.row[k] == np.arange(8)[:, None]).all() and (origin.column[k] == np.arange(8)).all()
    flat = Bank(np.stack([np.full((3, 8, 8), value, np.uint8) for value in (0, 255)]), [4, 4])
    (origin,) = explain(machine("ls", flat, Scales((1,) * 20)), flat, [0, 1], grid(20), Resources())
    assert origin.equal.all() and (origin.image == (origin.sample[:, 0] > 0)).all()
    assert 0.2 < origin.image.mean() < 0.8
    facts = origin.facts()
    assert (
        facts[0]["equal"] == 1 and facts[0]["weight"] > 0.999 and facts[0]["traced"] == 1 and facts[0]["sources"] == 2
    )


@pytest.mark.parametrize("name", LOCAL)
def test_origins_by_brute_force(name):
    """The nearest admissible patch of every pixel, found by looking at all of them."""
    images, sizes = waves(5), (3, 5, 5, 5)
    whole = Bank(images, [0, 1, 1, 1, 1])
    bank = whole.of(1)
    (origin,) = explain(machine(name, bank, Scales(sizes)), bank, [5, 6], grid(4), Resources())
    x, places = images / 127.5 - 1, list(itertools.product(range(8), range(8)))
    for k, (r, c) in itertools.product(range(2), places):
        if name == "bbels":
            seen = [p for p in places if kind(p[0], 8, 3) == kind(r, 8, 3) and kind(p[1], 8, 3) == kind(c, 8, 3)]
        else:
            seen = [(r, c)] if name == "ls" else places
        q = window(origin.sample[k].astype(float), r, c, 3, name == "els")
        far = {(i, *p): ((q - window(x[i], *p, 3, name == "els")) ** 2).sum() for i in range(1, 5) for p in seen}
        found = origin.nearest_image[k, r, c], origin.nearest_row[k, r, c], origin.nearest_column[k, r, c]
        assert far[found] <= min(far.values()) + 1e-5
        value = x[found[0], 0, found[1], found[2]]
        assert origin.equal[k, r, c] == (abs(value - origin.sample[k, 0, r, c]) <= 1 / 255 + 1e-6)
        here = origin.image[k, r, c], origin.row[k, r, c], origin.column[k, r, c]
        assert here in far and origin.mosaic[k, 0, r, c] == pytest.approx(x[here[0], 0, here[1], here[2]])
    sure = origin.weight > 0.9999
    assert np.abs(origin.sample[:, 0] - origin.mosaic[:, 0])[sure].max(initial=0) < 1e-3
    saved = table(origin, whole)
    assert set(saved["source"]) == set(np.unique(origin.image)) <= {1, 2, 3, 4}
    pictures, notes = columns(origin, whole)
    assert pictures["traced to"][0].shape == (8, 8, 3) and set(notes) == set(pictures)
    colours = np.unique(pictures["traced to"][0].reshape(-1, 3), axis=0)
    assert len(colours) == origin.facts()[0]["sources"] + (not origin.traced[0].all())
    assert np.array_equal((pictures["traced to"][1] == 235).all(2), origin.weight[1] < 0.5)


def test_what_explain_prints_and_writes(bench):
    args = ("--bank", "folder", "--scales", "3", "--steps", "6", "--seeds", "0-2", "--explain", "map.png")
    rows = [line.split("\t") for line in els(bench, *args).stdout.decode().splitlines()]
    assert [row[0] for row in rows] == ["seed-0", "seed-1", "seed-2", "mean"]
    saved = load_file(bench / "map.safetensors")
    assert saved["image"].shape == saved["row"].shape == saved["weight"].shape == (3, 8, 8)
    assert saved["sample"].shape == (3, 1, 8, 8) and saved["seed"].tolist() == [0, 1, 2]
    assert float(rows[1][1]) == pytest.approx(saved["equal"][1].mean())
    assert float(rows[3][2]) == pytest.approx(saved["weight"].mean(), rel=1e-5)
    assert float(rows[0][3]) == pytest.approx((saved["weight"][0] >= 0.5).mean())
    sure = saved["weight"][0] >= 0.5
    assert float(rows[0][4]) == pytest.approx(saved["equal"][0][sure].mean(), nan_ok=True)
    assert int(rows[2][5]) == len(np.unique(saved["image"][2][saved["weight"][2] >= 0.5]))
    ends = saved["source.names.offsets"]
    names = [bytes(saved["source.names.utf8"][a:b]).decode() for a, b in itertools.pairwise(ends)]
    assert names == [f"{k:02}.png" for k in saved["source"]]
    assert min(Image.open(bench / "map.png").size) > 300
    lines = [json.loads(line) for line in els(bench, *args, "--json").stdout.splitlines()]
    assert (
        list(lines[0]) == ["name", "equal", "weight", "traced", "equal_traced", "sources"]
        and lines[3]["name"] == "mean"
    )


# --- what is refused


BAD = {
    "no bank": ("--scales 3", "no training images or spectra: give --bank PATH"),
    "no scales": ("--bank bank.npy", "which patch size? Give --scales"),
    "even patch": ("--bank bank.npy --scales 4", "a patch of 4 px has no centre"),
    "large patch": ("--bank bank.npy --scales 17", "too large for bbels on 8 x 8 px: at most 15"),
    "large patch of els": ("--bank bank.npy --scales 9 --machine els", "too large for els on 8 x 8 px: at most 7"),
    "large candidate": ("--bank bank.npy --calibrate net.safetensors --sizes 3-17", "a patch of 17 px is too large"),
    "scales of a wrong length": ("--bank bank.npy --scales 3,5", "--scales: 2 sizes for 20 steps"),
    "scales that are none": ("--bank bank.npy --scales nope", "nor a file that is there"),
    "a class without images": (
        "--bank bank.npy --labels labels.npy --label 7 --scales 3",
        "no image of the bank is of class 7",
    ),
    "a class without labels": ("--bank bank.npy --label 1 --scales 3", "the bank has no labels"),
    "no classes in turn": ("--bank bank.npy --label each --scales 3", "no classes to take in turn"),
    "labels of another bank": (
        "--bank colour.npy --bank bank.npy --grey --labels labels.npy --scales 3",
        "12 labels for more",
    ),
    "labels that are none": ("--bank bank.npy --labels bank.npy/x --scales 3", "bank.npy/x"),
    "images as labels": ("--bank bank.npy --labels folder/00.png --scales 3", "no labels: an idx, npy or text file"),
    "two shapes": ("--bank bank.npy --bank colour.npy --scales 3", "a bank holds one shape (--grey makes it one"),
    "two sizes": ("--bank bank.npy --bank faces --scales 3", "a bank holds one shape (--size makes it one"),
    "another aspect": ("--bank faces --size 8 --scales 3", "would be distorted"),
    "NaN": ("--bank nan.safetensors --scales 3", "NaN or infinite values (item 3)"),
    "vectors": ("--bank vectors.npy --scales 3", "embeddings; a bank holds images or spectra"),
    "fragments": ("--bank broken.safetensors --scales 3", "fragments; a bank holds whole images"),
    "a map beside a model": (
        "--bank bank.npy --machine bbels --scales 3 --explain net.png",
        "net.safetensors: is there already and holds something else",
    ),
    "network of another shape": (
        "--bank bank.npy --against large.safetensors --scales 3",
        "for images of 1 x 16 x 16 (channels",
    ),
    "network of other channels": (
        "--bank bank.npy --calibrate rgb.safetensors",
        "for images of 3 x any x any",
    ),
    "network without classes": (
        "--bank bank.npy --labels labels.npy --label 1 --against net.safetensors --scales 3",
        "knows 0 classes",
    ),
    "no network": ("--bank bank.npy --against bank.npy --scales 3", "not a whole safetensors file"),
    "two jobs": ("--bank bank.npy --prepare --explain m.png", "--prepare and --explain: give one of them"),
    "option of another job": ("--bank bank.npy --scales 3 --monotone", "--monotone is for --calibrate, not sampling"),
    "files without use": ("--bank bank.npy --scales 3 folder/00.png", "FILE is for --denoise, not sampling"),
    "explain without patches": ("--bank bank.npy --machine is --explain m.png", "--explain is for the local machines"),
    "scales without patches": (
        "--bank bank.npy --machine wiener --scales 3",
        "--scales does nothing for wiener: leave it out, or ask ls, els, bbels",
    ),
    "scales for nothing": (
        "--bank bank.npy --against net.safetensors --machines is,es --scales 3",
        "--scales does nothing for is, es: leave it out",
    ),
    "nothing to skip": (
        "--bank bank.npy --machine is --skip 0",
        "--skip does nothing for is: leave it out, or ask es, ls, els, bbels",
    ),
    "a map as a JPEG": ("--bank bank.npy --scales 3 --explain m.jpg", "m.jpg: a picture is a PNG; name it m.png"),
    "a sheet as an array": (
        "--bank bank.npy --scales 3 --against net.safetensors -o s.npy",
        "s.npy: a picture is a PNG; name it s.png",
    ),
    "a machine that is none": (
        "--bank bank.npy --against net.safetensors --machines is,foo",
        "'foo' is none of is, es",
    ),
    "seeds": ("--bank bank.npy --scales 3 --seeds 4-2", "whole numbers from 0"),
    "a seed that no stream holds": (
        "--bank bank.npy --scales 3 --seeds 9223372036854775808",
        "'9223372036854775808': whole numbers from 0 to 9223372036854775807",
    ),
    "a seed of many digits": (f"--bank bank.npy --scales 3 --seeds {'9' * 5000}", "9 ...': whole numbers from 0"),
    "many seeds": ("--bank bank.npy --scales 3 --seeds 0-999999,2000000", "at most 1000000 of them"),
    "many steps": ("--bank bank.npy --scales 3 --against net.safetensors --net-steps 1000001", "from 1 to 1000000"),
    "memory": ("--bank bank.npy --scales 3 --max-memory lots", "bytes, as in 512M"),
    "one step of kamb": ("--bank bank.npy --scales 3 --steps 1 --compat kamb", "at least 2 steps"),
    "no noise level": ("--bank bank.npy --scales 3 --denoise folder/00.png", "how much noise is in it?"),
    "noise level twice": ("--bank bank.npy --scales 3 --denoise --t .2 noisy.safetensors", "leave out --t"),
    "noisy images of another shape": (
        "--bank bank.npy --scales 3 --denoise --t .2 faces/0.png",
        "the bank holds images of",
    ),
    "other losses": ("--bank bank.npy --scales 3 --denoise broken.safetensors", "other losses than noise"),
    "a form for no images": (
        "--bank bank.npy --scales 3 -o x.wav",
        "samples do not fit a wav; there are safetensors, png, jpg, npy; of spectra, lem-encode --decode makes sounds",
    ),
    "a map where its table goes": (
        "--bank bank.npy --scales 3 --explain m.safetensors",
        "a picture is a PNG; name it m.png",
    ),
    "device without a machine": (
        "--bank bank.npy --prepare --device cpu -o x.safetensors",
        "--device is for sampling, --denoise, --calibrate, --against and --explain, not --prepare",
    ),
    "a bank as a picture": ("--bank bank.npy --prepare -o x.png", "a bank is one file"),
    "output that is input": ("--bank bank.npy --scales 3 -o bank.npy", "input and output at once"),
    "one image for a Gaussian": ("--bank folder/00.png --machine wiener", "one image has no covariance"),
    "a class of one image for a Gaussian": (
        "--bank bank.npy --labels lone.txt --label each --against classes.safetensors --scales 3 --seeds 0-5",
        "wiener: class 2 has one image",
    ),
    "samples of a class of one image": (
        "--bank bank.npy --labels lone.txt --label each --machine wiener --seeds 0-5 -o lone/",
        "wiener: class 2 has one image",
    ),
    "no such device": ("--bank bank.npy --scales 3 --device tpu", "device tpu is not here"),
}


@pytest.fixture(scope="module")
def worse(bench):
    nan = waves().astype(np.float32) / 255
    nan[3, 0, 2, 2] = np.nan
    with open(bench / "nan.safetensors", "wb", buffering=0) as file:
        stream.write_one([Signal("image", nan, last=True)], file)
    np.save(bench / "vectors.npy", np.zeros((4, 9), np.float32))
    for name, loss in (("broken", "--bits=3"), ("noisy", "--noise=.1")):
        assert lem_fork("fragment", loss, "bank.npy", "-o", f"{name}.safetensors", cwd=bench).returncode == 0
    return bench


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_nothing_written(worse, case):
    line, said = BAD[case]
    before = {p: p.stat().st_mtime_ns for p in worse.rglob("*")}
    done = els(worse, *line.split(), ok=False)
    text = done.stderr.decode()
    assert done.returncode == 2 and done.stdout == b"" and text.count("\n") == 1, text
    assert text.startswith("lem-els: error: ") and said in text and "defect" not in text, text
    assert {p: p.stat().st_mtime_ns for p in worse.rglob("*")} == before


def test_nothing_is_written_when_an_input_fails_on_the_way(worse):
    done = lem_fork(
        "els", "--bank", "folder", "--bank", "nan.safetensors", "--prepare", "-o", "y.bank.safetensors", cwd=worse
    )
    assert done.returncode == 2 and not (worse / "y.bank.safetensors").exists()


# --- the manual


def test_examples_of_the_manual_run(bench):
    """One after the other, since one uses what another made; fewer seeds and steps of the network."""
    lines = [line for where, line in LINES if where == "lem-els.1"]
    assert len(lines) >= 6
    order = sorted(lines, key=lambda line: ("--calibrate" not in line, lines.index(line)))
    network(bench / "net.safetensors")
    for line in order:
        given = b""
        for name, *arguments in stages(line):
            if name == "lem-els":
                short = ["--seeds", "0-1"] if "--seeds" in arguments or "--calibrate" in arguments else []
                short += ["--net-steps", "2"] if "--against" in arguments else []
                done = els(bench, *arguments, *short, stdin=given)
            else:
                done = lem_fork(name[4:], *arguments, stdin=given, cwd=bench)
            given = done.stdout
        if "--against" in line or "--explain" in line:
            assert done.stdout.count(b"\n") > 1
        else:
            assert (bench / arguments[arguments.index("-o") + 1]).exists()
