"""examples/perception.py on a few small sounds and images: what is judged was not learnt, bits are counted, tables say what is there."""

import dataclasses
import importlib
import sys

import numpy as np
import pytest
import soundfile

from helpers.paths import ROOT

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def perception():
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        return importlib.import_module("perception"), importlib.import_module("perception_table")
    finally:
        sys.path.remove(str(ROOT / "examples"))


@pytest.fixture(scope="module")
def sounds(tmp_path_factory, perception):
    """Tones for digits, of two loudnesses for speakers, and a set of them that learns fast."""
    data = tmp_path_factory.mktemp("data") / "fsdd"
    data.mkdir()
    for digit in range(2):
        for speaker, gain in (("ann", 0.2), ("bob", 0.6)):
            for take in range(8):
                time = np.arange(1600 + 10 * take) / 8000
                tone = gain * np.sin(2 * np.pi * (500, 2000)[digit] * time) + 0.01 * RNG.standard_normal(len(time))
                soundfile.write(data / f"{digit}_{speaker}_{take}.flac", tone.astype(np.float32), 8000)
    which = dataclasses.replace(
        perception[0].SETS[0],
        tasks=("digit",),
        options=("--encoder log-mel --n-fft 256 --hop 160 --bands 20 --set widths=[4] --set blocks=1 --batch 8 --holdout 0",) * 2,
        updates=(3, 3),
        arms={"whole": ("whole",), "family": ("decoded-1", "recalled-2")},
        seconds=0.2,
    )  # fmt: skip
    return data.parent, which


def test_a_set_of_sounds_from_end_to_end(sounds, perception, tmp_path, monkeypatch, capsys):
    module, table = perception
    data, which = sounds
    monkeypatch.setattr(module, "QUICK", True)
    monkeypatch.setattr(module, "SEEDS", [0])
    module.run(which, data, tmp_path)
    found = np.load(tmp_path / "fsdd/judged/digit-whole.npz")
    names = found["conditions"].tolist()
    assert names == ["whole", *module.conditions(which)] and found["classes"].shape == (1, len(names), 32)
    assert np.allclose(found["deep"][0], 1) and (np.abs(found["deep"]) <= 1 + 1e-6).all()
    bits = float(np.load(tmp_path / "fsdd/conditions/decoded-1.npz")["bits"])
    assert 1 < bits < 1.05  # and the peak of each sound
    capsys.readouterr()
    before = (tmp_path / "fsdd/judges/digit-whole-0-0.safetensors").stat().st_mtime_ns
    (tmp_path / "fsdd/judged/digit-whole.npz").unlink()
    module.run(which, data, tmp_path)
    again = np.load(tmp_path / "fsdd/judged/digit-whole.npz")
    assert (again["classes"] == found["classes"]).all()
    assert (tmp_path / "fsdd/judges/digit-whole-0-0.safetensors").stat().st_mtime_ns == before
    table.tables([which], tmp_path)
    said = capsys.readouterr().out
    assert (
        "fsdd, digit: 32 items" in said and "| decoded-1 | 1.0" in said and "| family |" in said and "| deep |" in said
    )


def test_a_judge_never_learnt_from_what_it_judges(sounds, perception, tmp_path):
    module, _ = perception
    data, which = sounds
    memories, rows = which.items(data / "fsdd", tmp_path)
    module.write(memories, tmp_path / "whole.safetensors")
    line = module.learning(which, tmp_path, rows, "digit", "family", 2)
    files = [line[i + 1] for i, word in enumerate(line) if word == "--data"]
    assert len(files) == 2
    for file in files:
        takes = {int(one.names[0].split("_")[2][0]) for one in module.items(file)}
        assert takes == {0, 1, 2, 3, 6, 7}  # part 2 has the takes 4 and 5


def test_sounds_of_other_folds_are_learnt_and_never_judged(perception, tmp_path, monkeypatch):
    module, _ = perception
    data = tmp_path / "data" / "esc10"
    data.mkdir(parents=True)
    lines = ["file,target,class,fold,sample_rate,frames"]
    for i in range(12):
        name, time = f"{i:02}.wav", np.arange(3200 + i) / 16000
        soundfile.write(data / name, 0.3 * np.sin(2 * np.pi * (300, 1500)[i % 2] * time), 16000)
        lines.append(f"{name},{i % 2},{('low', 'high')[i % 2]},{(1, 5, 2)[i % 3]},16000,{3200 + i}")
    (data / "esc10.csv").write_text("\n".join(lines) + "\n")
    which = dataclasses.replace(
        module.SETS[2],
        options=("--encoder log-mel --n-fft 256 --hop 160 --bands 20 --set widths=[4] --set blocks=1 --batch 4 --holdout 0",) * 2,
        updates=(2, 2),
        arms={"whole": ("whole",), "recalled-1": ("recalled-1",)},
        seconds=0.2,
    )  # fmt: skip
    monkeypatch.setattr(module, "conditions", lambda which: {"decoded-1": module.broken("--bits 1", "decode")})
    monkeypatch.setattr(module, "SEEDS", [0])
    module.run(which, data.parent, tmp_path)
    folder = tmp_path / "esc10"
    judged, rest = (
        {one.names[0] for one in module.items(str(folder / f"{name}.safetensors"))} for name in ("whole", "rest")
    )
    assert judged == {f"{i:02}.wav" for i in (1, 4, 7, 10)} and len(rest) == 8
    for arm in which.arms:
        assert {one.names[0] for one in module.items(str(folder / f"learnt/{arm}-0.safetensors"))} == rest
    assert np.load(folder / "judged/class-recalled-1.npz")["classes"].shape == (1, 2, 4)


def test_coded_sounds_lie_where_they_were(sounds, perception):
    module, _ = perception
    data, which = sounds
    whole, _ = which.items(data / "fsdd", data)
    for codec in ("VORBIS", "OPUS"):
        made, bits = module.one_file(codec, 0.0)(which, whole)
        assert [one.data.shape for one in made] == [one.data.shape for one in whole] and bits > 1
        assert np.median([module.snr(a.data, b.data) for a, b in zip(whole, made)]) > 15


def test_minutes_are_coded_as_one_file(perception):
    """libsndfile's Vorbis ends the process where it gets as much at once."""
    module, _ = perception
    long = module.Signal("audio", RNG.normal(0, 0.1, (1, 1, 4_000_000)).astype(np.float32), rate=24000)
    (made,), bits = module.one_file("VORBIS", 1.0)(module.SETS[0], [long])
    assert made.data.shape == long.data.shape and 0 < bits < 8


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_images_on_a_sheet_lie_where_they_were(perception, form):
    module, _ = perception
    level = RNG.integers(20, 236, (50, 3, 1, 1))
    images = np.broadcast_to(level, (50, 3, 32, 32)).astype(np.uint8)
    (made,), bits = module.one_sheet(form, 90)(module.SETS[1], [module.Signal("image", images)])
    assert made.data.shape == images.shape and 0 < bits < 1
    assert np.abs(made.data.astype(int) - images).mean() < 6


def test_rank_correlation_has_a_known_answer(perception):
    _, table = perception
    x = np.array([1.0, 2, 2, 4, 5])
    assert table.ranks(x).tolist() == [1, 2.5, 2.5, 4, 5]
    assert table.spearman(x, x**3) == pytest.approx(1) and table.spearman(x, -x) == pytest.approx(-1)
    assert table.spearman(np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 4, 3])) == pytest.approx(1 - 6 * 2 / (4 * 15))


def test_what_is_constant_has_a_blank_for_a_rank_correlation(perception, capsys, recwarn):
    _, table = perception
    right = np.linspace(0, 1, 7)[:, None] > RNG.random((7, 30))
    flat, known = np.full((6, 30), 3.0), RNG.random((6, 30))
    measured = table.Measured(
        [f"c{k}" for k in range(7)], {"whole": right}, right, right * 1.0, np.full(6, 2.0), {"flat": flat, "snr": known}
    )
    table.correlations(measured)
    lines = {line.split(" | ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["| flat"] == "| flat |  |  |  |" and lines["| bits a value"] == "| bits a value |  | | |"
    assert lines["| deep"] == "| deep | 1.000 |  |  |" and lines["| agreement"].startswith(
        "| agreement | 1.000 | [+0.000,"
    )
    assert lines["| snr"].count("[") == 2 and "nan" not in "".join(lines.values()) and not recwarn.list
    table.correlations(table.Measured(**{**vars(measured), "right": {"whole": np.ones((7, 30))}}))
    assert all(line.count("[") == 0 for line in capsys.readouterr().out.splitlines()) and not recwarn.list


def test_an_interval_is_of_the_draws_that_have_a_number(perception):
    _, table = perception
    values = np.arange(101.0)
    assert table.interval(values) == "[+2.500, +97.500]"
    assert table.interval(np.append(values, [np.nan] * 5)) == "[+2.500, +97.500]"
    assert table.interval(np.append(values, [np.nan] * 6)) == ""


def test_a_missing_set_is_skipped_by_name(perception, tmp_path, capsys):
    module, _ = perception
    module.run(module.SETS[2], tmp_path, tmp_path / "out")
    assert capsys.readouterr().out == f"esc10: skipped, no {tmp_path / 'esc10'}\n"


@pytest.mark.parametrize("quick", [True, False])
def test_judges_of_whole_memories_are_there_whatever_is_asked(perception, monkeypatch, quick):
    images = next(which for which in perception[0].SETS if which.kind == "image")
    monkeypatch.setattr(perception[0], "QUICK", quick)
    monkeypatch.setattr(perception[0], "ARMS", ["tuned-2"])
    assert perception[0].arms(images) == ["whole", "tuned-2"]
    monkeypatch.setattr(perception[0], "ARMS", [])
    assert perception[0].arms(images) == (["whole", "family"] if quick else list(images.arms))
