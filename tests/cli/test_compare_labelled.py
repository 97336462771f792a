"""lem-compare --labels as a user meets it: from sounds to the table, and what is refused."""

import json

import numpy as np
import pytest
import soundfile

from helpers.commands import lem_fork

RATE = 8_000
EMOTIONS = {"anger": 6.0, "neutral": 0.0}  # semitones


def voice(semitones: float, seed: int) -> np.ndarray:
    """A second of three syllables at that pitch, unlike any other of its kind."""
    rng = np.random.default_rng(seed)
    t = np.arange(RATE) / RATE
    hertz = 120 * 2 ** ((semitones + rng.normal(0, 0.5) + rng.uniform(1, 2) * np.sin(4 * t)) / 12)
    phase = 2 * np.pi * np.cumsum(hertz) / RATE
    sound = sum(np.sin(k * phase) / k for k in range(1, 20)) * (0.1 + np.sin(3 * np.pi * t) ** 2)
    return 0.2 * sound + 1e-3 * rng.standard_normal(RATE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sounds of 4 speakers, their prosody, and a table of labels."""
    here = tmp_path_factory.mktemp("voices")
    (here / "wav").mkdir()
    rows = ["name\temotion\tspeaker\tsex\tsentence"]
    for s in range(4):
        for emotion, shift in EMOTIONS.items():
            for k in range(3):
                name = f"{s}-{emotion}-{k}"
                soundfile.write(
                    here / "wav" / f"{name}.wav", voice(2 * s + shift, 100 * s + 10 * k + len(emotion)), RATE
                )
                rows.append(f"{name}\t{emotion}\ts{s}\t{'fm'[s % 2]}\tt{k}")
    (here / "labels.tsv").write_text("\n".join(rows) + "\n")
    lem_fork("encode", "--encoder", "prosody", "wav", "-o", "a.safetensors", cwd=here)
    lem_fork("encode", "--encoder", "prosody", "wav", "--batch", "5", "-o", "b.safetensors", cwd=here)
    return here


def asked(*more, by="emotion", leave="speaker"):
    return "--labels", "labels.tsv", "--by", by, "--leave", leave, *more


def test_from_sounds_to_a_table(folder):
    done = lem_fork("compare", *asked("--cross", "sex", "--features", "f0_median,level"), "a.safetensors", cwd=folder)
    assert done.returncode == 0
    said = "lem-compare: a: no p is below 0.33, so of 2 nothing can be found at 0.05; more speakers are needed\n"
    assert done.stderr.decode() == said
    assert lem_fork("compare", *asked(), "a.safetensors", cwd=folder).stderr == b""
    rows = {line.split("\t")[1]: line.split("\t") for line in done.stdout.decode().splitlines()}
    assert all(len(row) == 9 and row[0] == "a" for row in rows.values())
    assert float(rows["accuracy[lda,centred]"][2]) > 0.9 and rows["accuracy[lda,centred]"][5] == "24"
    assert float(rows["shift[f0_median,anger]"][2]) == pytest.approx(6, abs=0.5)
    assert rows["interaction"][8] == "cannot tell"  # 4 speakers: no p below 1 / 3


def test_json_keys_are_frozen(folder):
    done = lem_fork("compare", *asked("--json", "--metric", "purity"), "a.safetensors", cwd=folder)
    (line, _) = [json.loads(line) for line in done.stdout.splitlines()]
    assert [*line] == "set metric name unit value low high n shuffled p verdict".split()
    assert (line["set"], line["metric"], line["name"], line["n"]) == ("a", "purity", "purity[k5]", 24)


def test_neither_batches_nor_a_pipe_change_a_byte(folder):
    outs = [lem_fork("compare", *asked("--cross", "sex"), f"{x}.safetensors", cwd=folder).stdout for x in "ab"]
    assert outs[0].replace(b"a\t", b"", 1) and outs[0].replace(b"\na\t", b"\nb\t")[1:] == outs[1][1:]
    raw = (folder / "a.safetensors").read_bytes()
    piped = lem_fork("compare", *asked("--cross", "sex"), "-", cwd=folder, stdin=raw)
    assert piped.stdout.replace(b"\n-\t", b"\na\t")[1:] == outs[0][1:]


def test_two_sets_and_a_control(folder):
    more = ("--cross", "sex", "--control", "b.safetensors", "--same", "sentence", "--bound", "3")
    done = lem_fork("compare", *asked(*more), "a.safetensors", "b.safetensors", cwd=folder)
    assert done.returncode == 0
    lines = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert list(dict.fromkeys(line[0] for line in lines)) == ["a", "b", "control", "a - b"]
    apart = {line[1]: line for line in lines if line[0] == "a - b"}
    assert float(apart["dispersion"][2]) == 0 and apart["shift"][8] in ("within 3", "cannot tell")


def error(folder, *words):
    done = lem_fork("compare", *words, cwd=folder)
    assert done.returncode == 2 and done.stdout == b""
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("lem-compare: error: ")
    return line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--by", "emotion", "a.safetensors", "b.safetensors"), "--by is for --labels FILE"),
        (("--labels", "labels.tsv", "--by", "emotion", "a.safetensors"), "--leave is missing"),
        ((*asked("--plot", "x.png"), "a.safetensors"), "--plot is for pairs of items"),
        ((*asked("--min", "psnr=3"), "a.safetensors"), "--min is for pairs of items"),
        ((*asked("--same", "sentence"), "a.safetensors"), "--same is for two sets"),
        ((*asked("--control", "b.safetensors"), "a.safetensors"), "--control is for --cross"),
        ((*asked("--metric", "psnr"), "a.safetensors"), "there are purity, accuracy, silhouette"),
        ((*asked("--metric", "interaction"), "a.safetensors"), "--cross COLUMN"),
        ((*asked(by="mood"), "a.safetensors"), "no column 'mood'; there are emotion, speaker, sex, sentence"),
        ((*asked("--cross", "sentence"), "a.safetensors"), "two values are compared"),
        ((*asked("--features", "f0,level"), "a.safetensors"), "no feature f0; there are f0_median"),
        ((*asked("--features", "f0", "--metric", "accuracy"), "a.safetensors"), "no feature f0; there are f0_median"),
        ((*asked("--neutral", "calm"), "a.safetensors"), "a has anger, neutral"),
        ((*asked(), "wav"), "audio; --labels is for embeddings"),
        ((*asked(), "a.safetensors", "a.safetensors"), "twice"),
        (("--labels", "wav/0-anger-0.wav", "--by", "a", "--leave", "b", "a.safetensors"), "no "),
        (("a.safetensors",), "Missing argument"),
    ],
)
def test_what_is_refused_is_refused_in_one_line(folder, words, said):
    assert said in error(folder, *words)


def test_labels_of_other_names(folder):
    (folder / "other.tsv").write_text("name\temotion\tspeaker\nx\ta\ts\n")
    said = error(folder, "--labels", "other.tsv", "--by", "emotion", "--leave", "speaker", "a.safetensors")
    assert said.endswith("other.tsv: no row of 0-anger-0.wav; every item needs one, by its name or path")


def test_no_torch_is_loaded(folder):
    import subprocess
    import sys

    code = (
        "import sys\nfrom lemtools.cli.compare import main\n"
        f"sys.argv = ['lem-compare', *{[*asked('--cross', 'sex')]!r}, 'a.safetensors']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=folder)
    assert done.returncode == 0, done.stderr.decode()
