"""Spectra learnt from sounds: what is learnt, what stands in the checkpoint, what does not count, what is refused."""

import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from helpers.commands import lem_fork
from helpers.training import TINY, dying, result
from lemtools import transforms
from lemtools.cli.train import operations
from lemtools.encode import encode
from lemtools.encode.spectra import STFT as Encoder
from lemtools.fragment import apply
from lemtools.media import Reading
from lemtools.nets.denoiser import NetworkDenoiser
from lemtools.nets.model import load
from lemtools.nets.parts import counted
from lemtools.reconstruct import reconstruct
from lemtools.signal import LemError, Signal
from lemtools.train import objectives, sounds
from lemtools.train.data import Batches, load_items
from lemtools.train.loop import train
from lemtools.train.prepare import prepare
from lemtools.train.settings import Settings

STFT = {"n_fft": 16, "hop": 4, "length": "0.0125"}  # 100 samples at 8 kHz: 26 frames of 9 rows
FRONT = {"encoder": "stft", "rate": 8000.0, "samples": 100, "n_fft": 16, "hop": 4, "window_fn": "hann", "compress": 1.0}


def nothing():
    """For `prepare` of lem_fork: standard input is /dev/null."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def wave(path, samples=100, channels=1, rate=8000, seed=0):
    x = np.random.default_rng(seed).uniform(-0.5, 0.5, (samples, channels)).astype(np.float32)
    soundfile.write(path, x, rate, subtype="FLOAT")
    return x.T


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sounds").mkdir()
    for k in range(12):
        wave(tmp_path / "sounds" / f"{k:02}.wav", 90 + 2 * k, seed=k)  # some are shorter, some longer
    return tmp_path / "sounds"


def settings(tmp_path, data, **more):
    plain = dict(recipe="diffusion", data=[str(data)], output=str(tmp_path / "model.safetensors"), arch="resnet")
    plain |= dict(steps=12, batch=4, save_every=4, workers=0, device="cpu", holdout=2, log=str(tmp_path / "log.jsonl"))
    return Settings(**{**plain, "encoder": "stft", "sound": STFT, **TINY["resnet"], **more})


def test_what_is_learnt_is_what_the_encoder_makes(folder):
    items = sounds.spectra([str(folder)], None, sounds.coder("stft", STFT))
    assert items.front == FRONT and items.kind == "spectrum" and items.item == (2, 9, 26) and len(items) == 12
    for k in range(12):
        x = np.zeros((1, 1, 100), np.float32)
        whole = soundfile.read(folder / f"{k:02}.wav", dtype="float32")[0][:100]
        x[0, 0, : len(whole)] = whole
        assert np.array_equal(items.data[k], transforms.of(FRONT).encode(x)[0])
    assert not list(folder.parent.glob("lem-train-*")), "the file of spectra has no name"


def test_a_file_of_spectra_is_as_good(tmp_path, folder):
    line = ["--encoder", "stft", "--n-fft", "16", "--hop", "4", "--length", "0.0125", "-o", "spectra.safetensors"]
    assert lem_fork("encode", *line, str(folder), cwd=tmp_path).returncode == 0
    one, two = (prepare(settings(tmp_path, folder)), None)
    two = prepare(settings(tmp_path, tmp_path / "spectra.safetensors", encoder=None, sound=None))
    assert one.model.meta["front"] == two.model.meta["front"] == FRONT
    assert one.model.scale.gain == two.model.scale.gain
    a, b = Batches(one.spec)[3], Batches(two.spec)[3]
    assert all(torch.equal(a[name], b[name]) for name in a)
    shutil.copy(tmp_path / "spectra.safetensors", tmp_path / "again.safetensors")
    several = load_items([str(tmp_path / f"{name}.safetensors") for name in ("spectra", "again")])
    assert several.front == FRONT and len(several) == 24


def test_batches_of_workers_are_the_same(tmp_path, folder):
    spec = prepare(settings(tmp_path, folder)).spec
    wanted = [Batches(spec)[step] for step in range(4)]
    for a, b in zip(Batches(spec).steps(0, 4, 2, "cpu"), wanted, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in b)


def test_a_run_that_died_ends_as_one_that_did_not(tmp_path, folder):
    for name in ("whole", "died"):
        (tmp_path / name).mkdir()
    train(settings(tmp_path / "whole", folder))
    asked = settings(tmp_path / "died", folder)
    dying(asked, 8)
    train(asked)
    assert result(tmp_path / "died") == result(tmp_path / "whole")
    assert load(asked.output).front == transforms.of(FRONT)
    with pytest.raises(LemError, match="its run has --hop 4, not 8; shape of an item"):
        train(settings(tmp_path / "died", folder, sound={**STFT, "hop": 8}))


def test_parts_that_are_always_0_count_in_nothing(tmp_path, folder):
    """Neither in the unit, nor in the loss, nor in what the network is shown; in its answer they are 0."""
    prepared = prepare(settings(tmp_path, folder))
    items, net = prepared.spec.items, prepared.model.net
    part = counted(transforms.of(FRONT), 2)
    assert part.shape == (2, 9, 1) and not part[1, [0, 8]].any() and part.sum() == 16
    assert counted(transforms.of(FRONT), 4).sum() == 32
    x = np.asarray(items.rows(np.arange(len(items))), np.float64)
    assert not x[:, 1, [0, 8]].any()
    assert prepared.model.scale.gain == pytest.approx(1 / np.sqrt(np.square(x).sum() / (len(x) * 16 * 26)))
    torch.nn.init.normal_(net.last.weight)
    batch = Batches(prepared.spec)[0]
    batch["target"] = batch["target"].clone()
    loss = prepared.objective(batch)
    alpha_bar = prepared.objective.alpha_bar(batch["time"].double())
    a, b = (level.sqrt().float().reshape(-1, 1, 1, 1) for level in (alpha_bar, 1 - alpha_bar))
    there = torch.from_numpy(part)
    shown = (a * batch["target"] * prepared.model.scale.gain + b * batch["noise"]) * there
    error = (net(shown, alpha_bar) - batch["noise"]).square()
    torch.testing.assert_close(loss, error[:, there.expand(2, 9, 26)].mean(1))
    batch["noise"][:, 1, 0] += 5
    torch.testing.assert_close(prepared.objective(batch), loss)
    denoiser, x_t = NetworkDenoiser(prepared.model), torch.randn(3, 2, 9, 26)
    other = torch.where(there, x_t, 7.0)
    assert torch.equal(denoiser(x_t, 0.3), denoiser(other, 0.3)) and not denoiser(x_t, 0.3)[:, 1, [0, 8]].any()
    assert torch.equal(denoiser(x_t, 1.0), x_t)
    estimate = objectives.Estimate(prepared.model, "plain")
    torch.testing.assert_close(estimate.mean(torch.ones(2, 2, 9, 26)), torch.ones(2))


def test_a_record_that_does_not_fit_is_damage(tmp_path, folder):
    train(settings(tmp_path, folder, steps=1))
    from lemtools.train.checkpoint import write_tensors

    model = load(str(tmp_path / "model.safetensors"))
    for record, words in (
        ({**FRONT, "n_fft": 32}, "a front end of 17 rows, where its items are \\[2, 9, 26\\]"),
        ({**FRONT, "encoder": "pca"}, "which makes no spectra"),
        ("stft", "its front end is no object"),
    ):
        path = str(tmp_path / "other.safetensors")
        write_tensors(path, model.tensors(), {**model.meta, "front": record})
        with pytest.raises(LemError, match=f"other.safetensors: .*{words}"):
            load(path)


@pytest.mark.parametrize(
    "made, line, words",
    [
        (dict(samples=50), "--length .0125:crop", "a.wav: 0.00625 s, shorter than --length 0.0125:crop"),
        (
            dict(samples=90),
            "",
            "rate 8000.0, where .*a.wav has 8000.0|samples 9[0-9], where .*a.wav has 90; --length S",
        ),
        (dict(rate=16000), "--length .0125", "rate 8000.0, where .*a.wav has 16000.0; --resample HZ makes them alike"),
        (dict(channels=2), "--length .0125", "spectra of .*2, 9, 26.*, where .*a.wav has .*4, 9, 26.*; --mono"),
        ("cut", "--length .0125", "a.wav: .*cut short"),
        ("empty", "--length .0125", "a.wav: empty"),
        ("NaN", "--length .0125", "a.wav: NaN or infinite values"),
        ("text", "--length .0125", "a.wav: tokens; --encoder stft makes spectra of sounds: leave it out"),
        ("", "--hop 32", "cannot be inverted: .*take a hop of 13 or less"),
        ("", "--n-fft 15", "of 15 samples: it is an even number"),
        ("", "--voices-of 3", "No such option"),
        ("", "--length x", "--length x: it takes S, S:pad or S:crop"),
        ("", "--length .0125 --target sounds", "--encoder makes what is learnt of sounds.*leave out --target"),
    ],
)
def test_one_line_for_what_is_wrong(tmp_path, folder, made, line, words):
    path = folder / "a.wav"
    if isinstance(made, dict):
        wave(path, **{"samples": 100, **made})
    elif made == "NaN":
        soundfile.write(path, np.full(100, np.nan, np.float32), 8000, subtype="FLOAT")
    elif made == "cut":
        wave(path, 4000)
        path.write_bytes(path.read_bytes()[:300])
    elif made:
        path.write_text("" if made == "empty" else "a text in place of a sound\n")
    data = [str(path), *(str(p) for p in sorted(folder.glob("[0-9]*.wav")))] if made else [str(folder)]
    ways = [part for one in data for part in ("--data", one)]
    usual = [] if "--n-fft" in line else ["--n-fft", "16"]
    usual += [] if "--hop" in line else ["--hop", "4"]
    done = lem_fork(
        "train", "diffusion", *ways, "--encoder", "stft", *usual, *line.split(), "-o", "m.safetensors", cwd=tmp_path
    )
    (said,) = done.stderr.decode().splitlines()
    assert done.returncode == 2 and said.startswith("lem-train: error: ") and re.search(words, said), said
    assert not (tmp_path / "m.safetensors").exists()


def test_options_of_sounds_go_with_an_encoder(tmp_path, folder):
    for more, words in (
        (dict(encoder=None), "--n-fft says how sounds become spectra: give --encoder"),
        (dict(encoder="pca"), "--encoder pca makes no spectra of sounds; stft"),
        (dict(sound={"voices": 3}, encoder="patches"), "makes no spectra"),
    ):
        with pytest.raises(LemError, match=words):
            prepare(settings(tmp_path, folder, **more))
    with pytest.raises(LemError, match="00.wav: audio cannot be learnt from: give --encoder, as in --encoder stft"):
        prepare(settings(tmp_path, folder, encoder=None, sound=None))
    line = ["feedforward", "--data", str(folder), "--hop", "4", "-o", "m.safetensors", "--fragment", "--mask .5"]
    done = lem_fork("train", *line, cwd=tmp_path)
    assert done.returncode == 2 and b"give --encoder" in done.stderr
    done = lem_fork("train", "lm", *line[1:-2], cwd=tmp_path)
    assert (
        done.returncode == 2 and b"--hop is for feedforward, recurrent, diffusion and classifier, not lm" in done.stderr
    )


def test_spectra_of_two_front_ends_are_not_learnt_together(tmp_path, folder):
    def encoded(name, *more):
        line = ["--encoder", "stft", "--n-fft", "16", *more, "-o", f"{name}.safetensors", str(folder)]
        assert lem_fork("encode", *line, cwd=tmp_path).returncode == 0

    for hop in ("4", "2"):
        encoded(hop, "--hop", hop, "--length", "0.0125")
    encoded("s", "--hop", "4", "--window-fn", "sine", "--length", "0.0125")
    with pytest.raises(LemError, match="window_fn sine where hann is that of the first; learn those of one front end"):
        load_items([str(tmp_path / "4.safetensors"), str(tmp_path / "s.safetensors")], Reading())
    encoded("l", "--hop", "4", "--length", "0.0127")
    with pytest.raises(LemError, match=r"samples 102 where 100 is .* \(lem-encode --length makes sounds as long\)$"):
        load_items([str(tmp_path / "4.safetensors"), str(tmp_path / "l.safetensors")], Reading())
    whole = settings(tmp_path, tmp_path / "4.safetensors", encoder=None, sound=None)
    with pytest.raises(LemError, match="--validate: hop 2 where 4 is that of --data"):
        prepare(replace(whole, validate=[str(tmp_path / "2.safetensors")], holdout=None))


def test_from_waves_to_a_checkpoint_to_waves(tmp_path, folder):
    line = [
        "diffusion",
        "--data",
        str(folder),
        "--encoder",
        "stft",
        "--n-fft",
        "16",
        "--hop",
        "4",
        "--length",
        "0.0125",
    ]
    line += ["--arch", "resnet", "--width", "8", "--depth", "1", "--steps", "2", "--batch", "4", "-o", "m.safetensors"]
    done = lem_fork("train", *line, "--padding", "zeros,circular", "--set", "coordinates=frequency", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = lem_fork("info", "--json", "m.safetensors", cwd=tmp_path)
    assert b'"front": {"encoder": "stft", "rate": 8000.0, "samples": 100' in done.stdout
    assert b'"padding": "zeros,circular", "coordinates": "frequency"' in done.stdout
    line = ["--model", "m.safetensors", "--samples", "3", "--steps", "2", "-o", "dreamt/"]
    done = lem_fork("reconstruct", *line, cwd=tmp_path, prepare=nothing)
    assert done.returncode == 0 and not done.stderr, done.stderr
    made = [soundfile.read(path, dtype="float32") for path in sorted((tmp_path / "dreamt").iterdir())]
    assert len(made) == 3 and all(rate == 8000 and x.shape == (100,) and x.any() for x, rate in made)
    assert not np.array_equal(made[0][0], made[1][0])


def test_rows_above_a_frequency_are_lost_as_by_lem_fragment(tmp_path, folder):
    recipe = {"recipe": "feedforward", "arch": "flat", **TINY["flat"]}
    text = "--lowpass 1000-3000"
    made = settings(tmp_path, folder, fragment=[text], operations=[operations(text)], **recipe)
    prepared = prepare(made)
    batch = Batches(prepared.spec)[0]
    rows = np.arange(9) * 500  # Hz
    for observed in batch["observed"].numpy():
        lost = ~observed.any(axis=(0, 2))
        assert np.array_equal(observed, np.broadcast_to(~lost[:, None], observed.shape))
        assert not lost[rows <= 1000].any() and lost[rows > 3000].all() and (np.diff(lost.astype(int)) >= 0).all()
    train(made)
    (whole,) = encode([Signal("audio", np.ones((1, 1, 100), np.float32), rate=8000.0)], Encoder(n_fft=16, hop=4))
    for operation, notes in (
        ({"op": "lowpass", "lowpass": 1000.0}, []),
        ({"op": "mask", "mask": 0.5}, ["mask: not among what model.safetensors was trained on"]),
    ):
        (out,) = reconstruct([apply(whole, operation)], "net", model=made.output, device="cpu")
        assert [step for step in out.history[-1]["steps"][1:] if "not among" in step] == notes
