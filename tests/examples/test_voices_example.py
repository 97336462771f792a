"""examples/voices.py: labels from names, and tables of one's own. What it synthesises needs espeak-ng, and is not run here."""

import importlib.util
import shutil
import subprocess
import sys

import numpy as np
import pytest

from helpers.paths import EXAMPLES
from lemtools.encode.coder import encode
from lemtools.encode.prosody import Prosody
from lemtools.media import Target, load, save
from lemtools.signal import Signal

spec = importlib.util.spec_from_file_location("voices_example", EXAMPLES / "voices.py")
voices = importlib.util.module_from_spec(spec)
spec.loader.exec_module(voices)
HEADER = "name\temotion\tspeaker\tsex\tsentence\n"


def touch(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_labels_are_read_from_the_names_of_emo_db(tmp_path):
    data = touch(tmp_path / "wav", "03a01Fa.wav", "16b10Wb.flac", "08a02Nc.wav", "SOURCE.txt")
    voices.labels(data, tmp_path)
    assert (tmp_path / "labels.tsv").read_text() == (
        HEADER + "03a01Fa\thappiness\t03\tmale\ta01\n"
        "08a02Nc\tneutral\t08\tfemale\ta02\n"
        "16b10Wb\tanger\t16\tfemale\tb10\n"
    )


def test_a_table_of_ones_own_comes_first_and_another_is_added(tmp_path):
    data, other = touch(tmp_path / "a", "x.wav"), touch(tmp_path / "b", "y.wav")
    (data / "labels.tsv").write_text("sex\tname\temotion\tspeaker\tsentence\tmore\nf\tx\tjoy\ts\tt\t1\n")
    (other / "labels.tsv").write_text(HEADER + "y\tjoy\tr\tm\tt\n")
    voices.labels(data, tmp_path)
    voices.add(other, tmp_path)
    assert (tmp_path / "labels.tsv").read_text() == HEADER + "x\tjoy\ts\tf\tt\ny\tjoy\tr\tm\tt\n"


@pytest.mark.parametrize(
    ("names", "table", "said"),
    [
        ((), None, "no .wav and no .flac"),
        (("what.wav",), None, "what.wav: no name of Emo-DB; write"),
        (("what.wav",), "name\temotion\nwhat\tjoy\n", "no column sentence, sex, speaker"),
    ],
)
def test_what_has_no_labels_is_said_in_one_line(tmp_path, names, table, said):
    data = touch(tmp_path / "wav", *names)
    if table:
        (data / "labels.tsv").write_text(table)
    with pytest.raises(SystemExit, match=said) as caught:
        voices.labels(data, tmp_path)
    assert "\n" not in str(caught.value) and not (tmp_path / "labels.tsv").exists()


def test_rules_are_the_same_for_both_sexes_and_voices_are_for_all():
    assert set(voices.RULES) == set(voices.EMOTIONS.values()) and len(voices.VOICES) == 10
    assert sum(voice.startswith("f") for voice in voices.VOICES.values()) == 5
    assert all(voices.VOICES[speaker].startswith("m") for speaker in voices.MALE)


def test_a_missing_espeak_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(SystemExit, match="pip install espeakng-loader"):
        voices.Espeak()


@pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="espeakng-loader is not installed")
def test_the_same_sounds_every_time(tmp_path):
    data = touch(tmp_path / "wav", "03a01Fa.wav", "16a01Na.wav")
    voices.labels(data, tmp_path)
    sounds = []
    for _ in range(2):  # (a library that is started twice in one process goes on where it was)
        subprocess.run([sys.executable, EXAMPLES / "voices.py", "speak", data, tmp_path], check=True)
        sounds.append({path.name: path.read_bytes() for path in tmp_path.rglob("*.wav") if path.stat().st_size})
        for kind in ("rules", "halved"):
            shutil.rmtree(tmp_path / kind)
    assert sounds[0] == sounds[1] and len(sounds[0]) == 4
    assert len((tmp_path / "labels.tsv").read_text().splitlines()) == 7


def test_features_are_taken_out_with_their_names_and_units(tmp_path):
    t = np.arange(16_000) / 16_000
    for number, pitch in enumerate((110, 170)):
        voice = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 9)) * 0.1
        save(
            [Signal("audio", np.float32(voice)[None, None], rate=16_000, last=True)],
            Target(str(tmp_path / f"{number}.wav")),
        )
    (whole,) = load([str(tmp_path / "0.wav"), str(tmp_path / "1.wav")])
    (made,) = encode([whole], Prosody())
    save([made], Target(str(tmp_path / "a.prosody.safetensors")))
    voices.without("level,rate", tmp_path)
    (left,) = load([str(tmp_path / "a.prosody.safetensors")])
    assert left.history[-1]["features"] == ["f0_median", "f0_range", "tilt", "voiced"]
    assert left.history[-1]["units"][2] == "dB an octave" and left.names == whole.names
    np.testing.assert_array_equal(left.data, made.data[:, [0, 1, 3, 5]])
    with pytest.raises(SystemExit, match="no feature loudness; there are f0_median"):
        voices.without("loudness", tmp_path)
