"""lem-train phones: bursts of noise with known edges, sounds kept back whole, how the model is used, what is refused."""

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.commands import lem, lem_fork
from helpers.edges import SECONDS, corpus, lab, noise
from helpers.training import dying, result, settings
from lemtools.catalogue import LemError
from lemtools.media import Reading, Target, save
from lemtools.nets.boundary import ConvBoundary, places
from lemtools.nets.model import load
from lemtools.phones.cepstra import MIDDLE
from lemtools.phones.learned import HOP, SIDE, Learned, frames, middles, windows
from lemtools.phones.refine import CLASSES, Boundaries, refine
from lemtools.signal import Alphabet, Signal
from lemtools.train.boundaries import Windows, read
from lemtools.train.loop import train
from lemtools.train.prepare import prepare


@pytest.fixture
def paths(tmp_path):
    return dict(zip(("audio", "aligned"), corpus(tmp_path)))


def asked(tmp_path, paths, **more):
    return settings(tmp_path, paths, recipe="phones", kind="audio", arch="conv-boundary", **more)


# what is learnt from


def test_pairs_are_the_labelled_and_the_aligned_times(paths):
    learnt = read([paths["audio"]], [paths["aligned"]], Reading())
    label, centres, row = learnt.items.label, learnt.items.data.centres, 0
    for number in range(12):
        _, phones, edges = noise(number)
        lines = (Path(paths["aligned"]) / f"s{number:02}.lab").read_text().splitlines()[1:]
        said = np.array([int(line.split()[0]) / 1e7 for line in lines])
        mine = slice(row, row := row + len(edges))
        assert (learnt.of[mine] == number).all()
        middle = centres[mine] * HOP
        assert np.abs(middle - said - MIDDLE).max() <= HOP / 2 + 1e-9
        np.testing.assert_allclose(middle + label[mine, 2] * HOP, edges, atol=1e-6)
        np.testing.assert_allclose(middle + label[mine, 3] * HOP, said + MIDDLE, atol=1e-6)
        kinds = {"AA": "vowel", "S": "fricative", "N": "nasal"}
        told = [[CLASSES.index(kinds[phone]) for phone in pair] for pair in pairwise(phones)]
        assert label[mine, :2].tolist() == told
    assert row == len(learnt.of) == len(learnt.items)


def test_windows_lie_around_their_middles():
    spectra = [np.arange(100, dtype=np.float32)[:, None] + [0, 1000], np.full((5, 2), 7, np.float32)]
    data = Windows(spectra, np.array([0, 0, 1]), np.array([50, 2, 4]))
    assert data.shape == (3, 2, 2 * SIDE + 1) and len(data) == 3
    assert data[0][0].tolist() == list(range(50 - SIDE, 51 + SIDE))
    assert (data[1][1] - 1000).tolist() == [0] * (SIDE - 2) + list(range(SIDE + 3))
    assert np.array_equal(data[np.array([2, 0])], np.stack([data[2], data[0]])) and (data[2] == 7).all()
    assert (
        data[0].shape == (2, 2 * SIDE + 1)
        and Windows(spectra, np.array([0]), np.array([98]))[0][0, -SIDE:].tolist() == [99] * SIDE
    )
    assert data[np.zeros(0, int)].shape == (0, 2, 2 * SIDE + 1)


def test_an_answer_is_the_mean_place():
    logits = torch.full((3, 9), -50.0)
    logits[0, 0] = logits[1, 4] = logits[2, 7] = logits[2, 8] = 50
    assert places(logits).tolist() == [-4, 0, 3.5]


def test_what_is_kept_back_are_whole_sounds(tmp_path, paths):
    prepared = prepare(asked(tmp_path, paths, holdout=5))
    of = read([paths["audio"]], [paths["aligned"]], Reading()).of
    learnt, kept = (set(of[spec.items.data.rows]) for spec in (prepared.spec, prepared.validation))
    assert not learnt & kept and len(kept) == 5 and learnt | kept == set(range(12))
    assert len(prepared.spec.items) + len(prepared.validation.items) == len(of)
    other = tmp_path / "other"
    other.mkdir()
    more = dict(zip(("audio", "aligned"), corpus(other, 3, seed=1)))
    for part in ("audio", "aligned"):
        for file in Path(more[part]).iterdir():
            file.rename(file.with_name("o" + file.name))
    both = replace(asked(tmp_path, paths), aligned=[paths["aligned"], more["aligned"]], validate=[more["audio"]])
    prepared = prepare(both)
    assert len(prepared.spec.items) == len(of)
    assert len(prepared.validation.items) == len(read([more["audio"]], [more["aligned"]], Reading()).of)


# what is learnt


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(model's file, its folder, the last record) of a run on 40 sounds."""
    folder = tmp_path_factory.mktemp("trained")
    paths = dict(zip(("audio", "aligned"), corpus(folder, 40)))
    torch.set_num_threads(1)
    more = dict(steps=150, batch=32, holdout=10, lr=5e-3, width=16, save_every=150)
    made = asked(folder, paths, **more)
    train(made)
    return made.output, paths, json.loads(Path(made.log).read_text().splitlines()[-1])


def test_edges_of_noise_are_found(trained):
    """Of sounds kept back: much nearer than the aligner with the constant shift."""
    last = trained[2]
    assert last["held_out_constant"] > 9 and last["held_out_loss"] < 4
    assert last["held_out_within_20"] > 0.97 > 0.9 > last["held_out_constant_within_20"] - 0.1


def test_the_same_edges_through_refine(trained):
    """A sound that was never seen, through the way that lem-encode takes; alone as with the others."""
    wave, phones, edges = noise(77_777)
    times = np.concatenate([[0], np.round(edges - MIDDLE + 0.015, 2), [SECONDS]])
    way = Learned(trained[0])
    found = refine(Boundaries(times, phones), wave, way)
    assert np.abs(found[1:-1] - edges).mean() < 0.004 < 0.01 < np.abs(times[1:-1] + MIDDLE - edges).mean()
    each = [way(times[i : i + 1], phones[i - 1 : i + 1], wave)[0] for i in range(1, len(times) - 1)]
    np.testing.assert_allclose(way(times[1:-1], phones, wave), each, atol=1e-6)


def test_the_network_hears_the_sound_and_knows_the_classes(trained):
    """Without the sound, or with other classes, it says something else."""
    net = load(trained[0]).net
    wave, phones, edges = noise(5)
    spectra = frames(wave)
    x = torch.from_numpy(windows(spectra, middles(edges - MIDDLE, len(spectra))))
    pair = torch.tensor([[0, 3]] * len(x))
    with torch.no_grad():
        said, louder, other = places(net(x, pair)), places(net(x + 5, pair)), places(net(x, pair.flip(1)))
        blind = places(net(torch.zeros_like(x), pair))
    assert torch.allclose(said, louder, atol=1e-3)
    assert (said - other).abs().max() > 0.05 and (said - blind).abs().max() > 0.2
    with torch.no_grad():
        net.expected.weight.zero_()  # the classes change what is heard, too, not the expectation alone
        assert (places(net(x, pair)) - places(net(x, pair.flip(1)))).abs().max() > 0.05


def test_what_becomes_of_windows_does_not_depend_on_the_batch():
    torch.manual_seed(0)
    net = ConvBoundary([24, 33], 6, width=8).eval()
    x, pair = torch.randn(50, 24, 33), torch.randint(0, 6, (50, 2))
    with torch.no_grad():
        whole = places(net(x, pair))
        parts = torch.cat([places(net(a, b)) for a, b in zip(x.split(7), pair.split(7))])
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)


def test_killed_and_run_again_it_ends_in_the_same_bytes(tmp_path, paths):
    whole = tmp_path / "whole"
    whole.mkdir()
    train(asked(whole, paths))
    dying(asked(tmp_path, paths), 6)
    train(asked(tmp_path, paths))
    assert result(tmp_path) == result(whole)
    names = ("model.safetensors",)
    assert all((tmp_path / name).read_bytes() == (whole / name).read_bytes() for name in names)


# what is refused


def refused(tmp_path, paths, match, **more):
    with pytest.raises(LemError, match=match):
        prepare(replace(asked(tmp_path, paths), **more))


def test_bad_data_are_refused_in_a_line(tmp_path, paths):
    refused(tmp_path, paths, "^--aligned: where an aligner put the boundaries; lem-encode", aligned=None)
    (Path(paths["aligned"]) / "s03.lab").unlink()
    refused(tmp_path, paths, "s03.wav: not among --aligned; lem-encode --encoder phones --refine none aligns it$")
    (Path(paths["audio"]) / "s02.lab").unlink()
    refused(tmp_path, paths, "s02.wav: no labels beside it; a TextGrid")
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(Path(paths["audio"]) / "s00.wav", bare)
    refused(tmp_path, paths, "no labels", data=[str(bare)])
    refused(tmp_path, paths, "no sounds; boundaries are learnt from", data=[paths["aligned"]])
    refused(tmp_path, paths, "leaves nothing of", holdout=12, **_whole(tmp_path))


def _whole(tmp_path):
    (tmp_path / "again").mkdir()
    audio, aligned = corpus(tmp_path / "again")
    return {"data": [audio], "aligned": [aligned]}


def test_what_else_lies_in_the_folders(tmp_path, paths):
    """Sounds that lack labels or an alignment, and pictures, are left out where that is asked for, each with a note."""
    (Path(paths["audio"]) / "s02.lab").unlink()
    (Path(paths["aligned"]) / "s03.lab").unlink()
    (Path(paths["audio"]) / "s.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    said: list[str] = []
    learnt = read([paths["audio"]], [paths["aligned"]], Reading(skip_bad=True, note=said.append))
    assert learnt.of[-1] == 9 and len(learnt.items.data.spectra) == 10
    for match in ("s02.wav: no labels", "s03.wav: not among --aligned", "s.png"):
        assert any(note.startswith("left out: ") and match in note for note in said), said
    (Path(paths["audio"]) / "s.png").unlink()
    refused(tmp_path, paths, "s02.wav: no labels beside it")
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "s00.txt").write_text("what is said\n")
    refused(tmp_path, paths, r"s00\.txt: no phones with times, which --aligned takes; --key", aligned=[str(texts)])


def test_labels_in_milliseconds_are_refused(tmp_path, paths):
    for file in Path(paths["audio"]).glob("*.lab"):
        _, phones, edges = noise(int(file.stem[1:]))
        lab(file, phones, 1000 * np.array(edges), 1000 * SECONDS)
    refused(tmp_path, paths, "half of the labels lie more than .* s from --aligned; are their times in seconds")


def test_labels_of_other_names_are_refused(tmp_path, paths):
    for file in Path(paths["audio"]).glob("*.lab"):
        lab(file, ["house", "tree", "river", "cloud", "mill"], [0.1, 0.2, 0.3, 0.4])
    refused(tmp_path, paths, "s00.lab: no phones with times, which --data takes; --key picks a tier$")
    for file in Path(paths["audio"]).glob("*.lab"):
        lab(file, ["P", "T", "K", "P", "T"], [0.1, 0.2, 0.3, 0.4])
    refused(tmp_path, paths, "no boundary of the labels matches one of --aligned; are they phones")
    double = tmp_path / "double"
    shutil.copytree(paths["audio"], double / "a")
    refused(tmp_path, paths, "two files of labels are called s00", data=[paths["audio"], str(double)])


def test_an_alignment_that_was_refined_is_refused(tmp_path, paths):
    (Path(paths["aligned"]) / "s00.lab").unlink()
    record = {"encoder": "phones", "refine": "spectral"}
    _, phones, edges = noise(0)
    made = Alphabet("arpabet", tuple(sorted(set(phones))))
    times = np.array([0, *edges, SECONDS])
    spans = np.stack([times[:-1], times[1:]], 1)[None]
    signal = Signal(
        "tokens",
        made.ids(phones)[None],
        names=["s00.wav"],
        spans=spans,
        alphabet=made,
        depth=made.depth,
        history=[record],
        last=True,
    )
    save([signal], Target(str(Path(paths["aligned"]) / "s00.json")))
    refused(tmp_path, paths, "boundaries that are refined already; align with --refine none")


def test_an_alignment_between_frames_is_remarked(paths):
    """A TextGrid and a .lab do not say how they were made."""
    said = []
    read([paths["audio"]], [paths["aligned"]], Reading(note=said.append))
    assert said == []
    for path in Path(paths["aligned"]).glob("*.lab"):
        shutil.copy(Path(paths["audio"]) / path.name, path)  # as if refined, to the label itself
    read([paths["audio"]], [paths["aligned"]], Reading(note=said.append))
    assert len(said) == 1 and "lie between frames of 10 ms: were they refined?" in said[0]


@pytest.mark.parametrize("side", [4, 2])
def test_windows_have_a_middle(tmp_path, paths, side):
    refused(
        tmp_path, paths, f"^--arch conv-boundary: side {side}, frames 33: a window has a middle", options={"side": side}
    )


def test_models_of_other_recipes_are_no_refinement(tmp_path, kept):
    train(settings(tmp_path, kept, steps=2))
    with pytest.raises(LemError, match="a model of feedforward, which moves no boundaries; lem-train phones makes one"):
        Learned(str(tmp_path / "model.safetensors"))


def test_the_command_line(tmp_path, paths):
    out = tmp_path / "m.safetensors"
    words = ["phones", "--data", paths["audio"], "--aligned", paths["aligned"], "--steps", "3", "--width", "8"]
    done = lem("train", *words, "--device", "cpu", "-q", "-o", out)
    assert done.returncode == 0 and not done.stderr and load(str(out)).family == "boundary"
    done = lem_fork("reconstruct", "--model", out, "--sample", "-o", tmp_path / "y.png")
    assert done.returncode == 2 and b"recalls no fragments; see lem-encode --refine" in done.stderr
    assert done.stderr.count(b"\n") == 1
