"""--encoder phones on a toy model of tones: texts and names, alphabets, records, what is refused."""

import numpy as np
import pytest
import soundfile
import torch

from helpers.acoustics import sound, toy
from helpers.commands import lem_fork
from lemtools.denoise.contract import Scale
from lemtools.encode import encode
from lemtools.encode import phones as module
from lemtools.encode import sound as resampling
from lemtools.encode.phones import Phones
from lemtools.encode.sound import resampled
from lemtools.media import load, sounds
from lemtools.nets.boundary import ConvBoundary
from lemtools.nets.model import Model as NetworkFile
from lemtools.phones import aligner, own, pieces, words
from lemtools.phones.cepstra import MIDDLE, bands, cepstra, denoised, features
from lemtools.phones.learned import SIDE
from lemtools.phones.model import Model
from lemtools.signal import LemError, Signal, Word
from lemtools.stream import source
from lemtools.train.checkpoint import save_model

PARTS = [("SIL", 0.3), ("S", 0.2), ("IY", 0.25), ("AA", 0.3), ("S", 0.15), ("SIL", 0.3), ("AA", 0.2), ("SIL", 0.4)]
WAVE, EDGES = sound(PARTS)


class Ours:
    """In place of pocketsphinx our own path."""

    def __init__(self, folder):
        self.model = Model(folder)

    def align(self, sound, said):
        return own.align(self.model, features(cepstra(denoised(bands(sound)))), said)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(autouse=True)
def toys(place, monkeypatch):
    for where in (aligner, module):
        monkeypatch.setattr(where, "folder", lambda: place)
    monkeypatch.setattr(aligner, "Sphinx", Ours)
    monkeypatch.setattr(words.espeak, "_library", lambda: None)


@pytest.fixture
def said(tmp_path):
    """A file, or a folder of files, of texts."""

    def write(*texts, names=("a", "b", "c")):
        for name, text in zip(names, texts):
            (tmp_path / f"{name}.txt").write_text(text)
        return str(tmp_path / "a.txt") if len(texts) == 1 else str(tmp_path)

    return write


def audio(waves, rate=16_000, names=("x/a.wav", "b.flac", "c")):
    data = np.stack([np.atleast_2d(wave) for wave in waves]).astype(np.float32)
    return Signal("audio", data, rate=rate, names=None if names is None else list(names[: len(waves)]))


def test_tokens_with_times_words_and_how_they_were_made(said):
    (found,) = encode([audio([WAVE])], Phones(said("See as, ah.")), {"tool": "t"})
    assert (
        found.kind == "tokens" and found.rate is None and found.names == ["x/a.wav"] and found.data.dtype == np.uint16
    )
    assert found.alphabet.name == "arpabet" and found.depth == found.alphabet.depth == 6
    assert found.alphabet.texts(found.data[0]) == [phone for phone, _ in PARTS]
    assert np.abs(found.spans[0, 1:, 0] - EDGES).max() < 0.0081 and found.scores.shape == (1, 8)
    spans = found.spans[0]
    assert found.words == [
        [Word("see", spans[1, 0], spans[2, 1]), Word("as", spans[3, 0], spans[4, 1]), Word("ah", *spans[6])]
    ]
    entry = found.history[-1]
    assert {k: entry[k] for k in ("tool", "encoder", "engine", "refine", "gaps", "pieces")} == {
        "tool": "t",
        "encoder": "phones",
        "engine": "pocketsphinx",
        "refine": "spectral",
        "gaps": 1,
        "pieces": 1,
    }


def test_a_folder_has_a_text_for_each_and_none_depends_on_another(said):
    other, _ = sound([("SIL", 0.5), ("AA", 0.6), ("S", 0.5), ("SIL", 0.5)])
    path = said("see as ah", "as")
    together = list(encode([audio([WAVE, other])], Phones(path)))
    alone = [
        next(iter(encode([audio([wave], names=[name])], Phones(path))))
        for wave, name in ((WAVE, "a.wav"), (other, "b.wav"))
    ]
    for one, two in zip(together, alone):
        assert np.array_equal(one.data, two.data) and np.array_equal(one.spans, two.spans) and one.words == two.words
        assert np.array_equal(one.scores, two.scores) and one.history == two.history
    assert [s.index.tolist() for s in together] == [[0], [1]]


@pytest.mark.parametrize("alphabet", ["arpabet", "ipa", "kokoro"])
def test_alphabets(said, alphabet):
    (found,) = encode([audio([WAVE])], Phones(said("see as ah"), alphabet=alphabet))
    symbols = {"arpabet": "S IY AA S AA", "ipa": "s i ɑ s ɑ", "kokoro": "s i ɑ s ɑ"}[alphabet].split()  # noqa: RUF001
    pause = "SIL" if alphabet == "arpabet" else ""
    assert found.alphabet.name == alphabet
    assert [s for s in found.alphabet.texts(found.data[0]) if s != pause] == symbols


def test_phones_that_are_given_stay_as_they_are(said):
    parts = [("SIL", 0.3), ("S", 0.2), ("IY", 0.2), ("AA", 0.2), ("SIL", 0.3), ("S", 0.2), ("AA", 0.2)]
    (found,) = encode([audio([sound(parts)[0]])], Phones(phones=said("s i a | s a:")))
    assert found.alphabet.texts(found.data[0]) == ["", "s", "i", "a", "", "s", "a:"]
    assert found.alphabet.name == "ipa" and [word.text for word in found.words[0]] == ["sia", "sa:"]


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_any_rate_and_two_channels(said, rate):
    """What lies above half the rate is lost; the mean of the channels is taken."""
    wave = resampled(WAVE[None, None], 16_000, rate)[0, 0]
    both = np.stack([1.5 * wave, 0.5 * wave])
    (found,) = encode([audio([both], rate)], Phones(said("see as ah")))
    late = np.abs(found.spans[0, 1:, 0] - EDGES)
    assert (late if rate > 8_000 else late[[2, 5, 6]]).max() < 0.02  # the tones of S lie above 4 kHz


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_long_sound_is_aligned_as_the_array(said, tmp_path, monkeypatch, rate):
    """Read, resampled and cut piece by piece, in windows of 1 s."""
    for name, seconds in (("WINDOW", 1), ("LONGEST", 1.5)):
        monkeypatch.setattr(pieces, name, round(seconds * 16_000))
    for name, frames in (("MARGIN", 10), ("EARLIEST", 20)):
        monkeypatch.setattr(pieces, name, frames)
    monkeypatch.setattr(resampling, "BLOCK", 5000)
    monkeypatch.setattr(sounds, "BATCH_BYTES", 10_000)
    monkeypatch.setattr(sounds, "_BLOCK", 3000)
    wave = resampled(np.tile(WAVE, 3)[None, None], 16_000, rate)[0]
    soundfile.write(tmp_path / "a.wav", np.stack([1.5 * wave[0], 0.5 * wave[0]], 1), rate, subtype="FLOAT")
    text = said("see as ah see as ah see as ah")
    (long,), (array,) = (
        encode(load(tmp_path / "a.wav", long=way), Phones(text), {"tool": "t"}) for way in (True, False)
    )
    assert long.history == array.history and long.history[-1]["pieces"] > 2
    assert np.array_equal(long.spans, array.spans) and np.array_equal(long.scores, array.scores)
    assert np.array_equal(long.data, array.data) and long.words == array.words and long.names == array.names
    assert len(long.words[0]) == 9


def test_rates_that_hardly_have_a_factor_in_common_with_16_khz(said):
    """Taken for the nearest one that has, their times put right."""
    (found,) = encode([audio([WAVE], 15_991.0)], Phones(said("see as ah")))
    assert found.spans[0, -1, 1] == pytest.approx(len(WAVE) / 15_991, rel=1e-4)
    assert np.abs(found.spans[0, 1:, 0] - EDGES * 16_000 / 15_991).max() < 0.01


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.txt: an empty text; there is nothing to align"),
        ("\n \n", "a.txt: an empty text"),
        ("...", "a.txt: a text without words"),
        (
            "see 42",
            "a.txt: the word '42' is not in the dictionary; give its phones with --dict FILE, write it in letters",
        ),
        ("see blorg", "a.txt: the word 'blorg' is not in the dictionary; give its phones with --dict FILE"),
    ],
)
def test_texts_that_say_nothing(said, text, message):
    with pytest.raises(LemError, match=message.replace("(", r"\(")):
        list(encode([audio([WAVE])], Phones(said(text))))


def test_texts_that_are_not_there(said, tmp_path):
    with pytest.raises(LemError, match=r"c\.txt: No such file or directory; it should hold what is said"):
        list(encode([audio([WAVE], names=["c.wav"])], Phones(said("see", "as"))))
    with pytest.raises(LemError, match=r"a\.txt: the text of one sound; for several give a folder"):
        list(encode([audio([WAVE, WAVE])], Phones(said("see as ah"))))
    with pytest.raises(LemError, match="a sound without a name has no text in a folder"):
        list(encode([audio([WAVE], names=None)], Phones(str(tmp_path))))
    (tmp_path / "a.txt").write_bytes(b"caf\xe9 see")
    with pytest.raises(
        LemError, match=r"a\.txt: not UTF-8 text .*ISO-8859-1, it seems; convert it to UTF-8 first: iconv"
    ):
        list(encode([audio([WAVE])], Phones(str(tmp_path / "a.txt"))))
    (tmp_path / "a.txt").write_bytes(b"\xff\x00\x01")
    with pytest.raises(LemError, match=r"a\.txt: not UTF-8 text .*; give a text file"):
        list(encode([audio([WAVE])], Phones(str(tmp_path / "a.txt"))))


def test_a_phone_that_is_none_is_named_with_the_way_out(said):
    with pytest.raises(
        LemError, match=r"a\.txt: 'QQ' is no phone in arpabet, as most of these are; --phones takes ARPABET, IPA"
    ):
        list(encode([audio([WAVE])], Phones(phones=said("S IY QQ AA"))))


def test_silence_and_a_short_sound_have_a_fallback_that_is_named(said):
    path = said("see as ah")
    for wave in (np.zeros(16_000), np.ones(160)):
        with pytest.raises(LemError, match="(silence|too short).* --fallback even spreads the phones evenly"):
            list(encode([audio([wave])], Phones(path)))
        encoder = Phones(path, fallback="even")
        (found,) = encode([audio([wave])], encoder)
        assert found.history[-1]["engine"] == "even" and encoder.remark() == "1 of 1 aligned by even"
        np.testing.assert_allclose(np.diff(found.spans[0]), len(wave) / 16_000 / 5)


def test_another_text_is_remarked(said):
    encoder = Phones(said("as see ee"))
    list(encode([audio([WAVE])], encoder))
    assert "text and sound may not belong together in 1 of 1 (score below" in encoder.remark()
    encoder = Phones(said("see as ah"))
    list(encode([audio([WAVE])], encoder))
    assert encoder.remark() is None


def test_what_the_command_refuses(tmp_path):
    (tmp_path / "a.txt").write_text("see")
    done = lem_fork("encode", "--encoder", "phones", "--sample-name", "rooster", "-o", tmp_path / "a.TextGrid")
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1
    assert b"lem-encode: error: phones needs what is said: --text FILE.txt" in done.stderr
    done = lem_fork("encode", "--encoder", "phones", "--text", "a", "--refine", "net", "--sample-name", "rooster")
    assert done.returncode == 2 and b"--refine net: no way to refine, and no file; --refine takes none" in done.stderr


def test_the_command_takes_a_long_sound_in_pieces(tmp_path, monkeypatch):
    """What is never held may be larger than an item that is."""
    monkeypatch.setattr(sounds, "BATCH_BYTES", 10_000)
    monkeypatch.setattr(source, "MAX_ITEM", 50_000)
    soundfile.write(tmp_path / "a.wav", WAVE, 16_000)
    (tmp_path / "a.txt").write_text("see as ah")
    phones = ("--encoder", "phones", "--text", tmp_path / "a.txt")
    done = lem_fork("encode", *phones, tmp_path / "a.wav", "-o", tmp_path / "a.TextGrid")
    assert done.returncode == 0 and not done.stderr and "IntervalTier" in (tmp_path / "a.TextGrid").read_text()
    done = lem_fork("encode", *phones, "--max-bytes", "100000", tmp_path / "a.wav", "-o", tmp_path / "b.TextGrid")
    assert done.returncode == 2 and b"over 100000 bytes of sound" in done.stderr
    done = lem_fork("encode", "--encoder", "stft", tmp_path / "a.wav", "-o", tmp_path / "a.safetensors")
    assert done.returncode == 2 and b"over 50000 bytes of sound" in done.stderr


def test_the_command_itself(tmp_path):
    """It says what may not belong together, and writes a TextGrid."""
    soundfile.write(tmp_path / "a.wav", WAVE, 16_000)
    for text, note in (
        ("see as ah", b""),
        ("as see ee", b"lem-encode: text and sound may not belong together in 1 of 1"),
    ):
        (tmp_path / "a.txt").write_text(text)
        where = ("--text", tmp_path, tmp_path / "a.wav", "-o", tmp_path / "a.TextGrid")
        done = lem_fork("encode", "--encoder", "phones", *where)
        assert done.returncode == 0 and done.stderr.startswith(note) and bool(done.stderr) == bool(note)
        assert "IntervalTier" in (tmp_path / "a.TextGrid").read_text()


def test_boundaries_moved_by_a_network(said, tmp_path):
    """All by 20 ms: a network that is sure of a place, whatever it hears."""
    net = ConvBoundary([24, 2 * SIDE + 1], 6, width=8, blocks=1).eval()
    with torch.no_grad():
        net.leave.weight.zero_()
        net.expected.bias[SIDE + 4] = 1000
    meta = {
        "v": 1,
        "recipe": "phones",
        "net": {"net": "conv-boundary", "item": [24, 2 * SIDE + 1], "classes": 6, "width": 8, "blocks": 1},
        "kind": "audio",
        "item": [24, 2 * SIDE + 1],
        "target": {"kind": "audio", "item": [1]},
        "fragment": [],
    }
    path = str(tmp_path / "far.safetensors")
    save_model(NetworkFile(net, meta, Scale(0.0, 1.0), Scale(0.0, 1.0)), path)
    text = said("See as, ah.")
    (plain,), (moved,) = (encode([audio([WAVE])], Phones(text, refine=way), {}) for way in ("none", path))
    assert moved.history[-1]["refine"] == "far.safetensors"
    late = moved.spans[0, 1:, 0] - plain.spans[0, 1:, 0]
    np.testing.assert_allclose(late, 0.02 + MIDDLE, atol=0.0026)
    assert moved.spans[0, -1, 1] == plain.spans[0, -1, 1] and moved.words[0][2].begin == moved.spans[0, 6, 0]


@pytest.mark.parametrize(
    "way, match",
    [
        (
            "sharp",
            "^--refine sharp: no way to refine, and no file; --refine takes none, constant, classes, spectral, or a model of lem-train",
        ),
        ("lost.safetensors", "lost.safetensors: no such file; --refine takes none, constant"),
        (__file__, "test_encode_phones.py: not .*; --refine takes none, constant"),
        (".", r"\.: Is a directory; --refine takes none, constant"),
    ],
)
def test_what_is_no_way_to_refine(said, way, match):
    with pytest.raises(LemError, match=match):
        Phones(said("See."), refine=way)
