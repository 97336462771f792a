"""lem-encode: patches, principal components, text, voices; what is wired, kept in files, and refused."""

import io
import json
import os

import numpy as np
import pytest

from helpers.commands import lem_fork
from helpers.paths import data_dir
from lemtools import encode as room
from lemtools import stream
from lemtools.encode import dense, patches, pca, text
from lemtools.media import load, sample
from lemtools.signal import LemError, Signal, bits_per_element, from_tensors, to_tensors
from lemtools.stream.files import write_fitted
from lemtools.transforms.history import latest

rng = np.random.default_rng(0)


def images(n=3, c=3, h=13, w=10, dtype=np.uint8) -> Signal:
    data = rng.integers(0, 256, (n, c, h, w), np.uint8)
    return Signal("image", data if dtype == np.uint8 else data.astype(np.float32) / 255, last=True)


def through(signal: Signal) -> Signal:
    """What comes out of a pipe."""
    raw = io.BytesIO()
    stream.write([signal], raw)
    raw.seek(0)
    (out,) = stream.read(stream.Source(raw, "pipe"))
    return out


# --- what travels


SHAPES = [(1, 1, 1), (3, 5, 7), (4, 4, 10), (2, 9, 16), (5, 3, 8), (1, 300_001, 13)]


@pytest.mark.parametrize("n, length, depth", SHAPES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_tokens_travel_packed(n, length, depth, dtype):
    if depth > 8 * np.dtype(dtype).itemsize:
        return
    data = rng.integers(0, 2**depth, (n, length)).astype(dtype)
    signal = Signal("tokens", data, depth=depth, last=True)
    tensors, _ = to_tensors(signal)
    assert tensors["packed"][1].shape == (-(-n * length * depth // 8),)
    back = through(signal)
    assert back.data.dtype == dtype and np.array_equal(back.data, data) and back.depth == depth
    assert bits_per_element(signal).tolist() == [depth] * n


def test_tokens_are_packed_most_significant_bit_first():
    tensors, meta = to_tensors(Signal("tokens", np.array([[5, 2, 7], [1, 0, 6]]), depth=3))
    assert tensors["packed"][1].tolist() == [0b10101011, 0b10010001, 0b10000000]
    assert (meta["depth"], meta["shape"], meta["dtype"]) == (3, [3], "I64")


@pytest.mark.parametrize("depth, length", [(3, 5), (7, 4), (8, 3), (10, 3), (1, 1)])
def test_batches_of_packed_tokens_become_one_file_without_gaps(tmp_path, depth, length):
    parts = [rng.integers(0, 2**depth, (n, length)).astype(np.uint16) for n in (1, 4, 8, 1, 1, 13, 2)]
    starts = np.cumsum([0, *map(len, parts)])
    signals = [Signal("tokens", p, depth=depth, index=i + np.arange(len(p))) for i, p in zip(starts, parts)]
    with open(tmp_path / "one", "wb", buffering=0) as file:
        stream.write_one(signals, file, str(tmp_path))
    (back,) = load([str(tmp_path / "one")])
    assert np.array_equal(back.data, np.concatenate(parts))
    with open(tmp_path / "one", "rb", buffering=0) as file:
        header = stream.read_header(stream.Source(file, "one"))
    assert header.tensors["packed"][1] == (-(-30 * length * depth // 8),)


def test_tokens_too_large_for_their_depth_travel_as_they_are():
    signal = Signal("tokens", np.array([[5, 8]], np.uint16), depth=3, last=True)
    tensors, meta = to_tensors(signal)
    assert set(tensors) == {"data"} and meta["depth"] == 3
    assert through(signal).data.tolist() == [[5, 8]]


HARM = [{"depth": 17}, {"depth": 0}, {"depth": "7"}, {"depth": 4}, {"shape": [6]}, {"dtype": "F32"}]


@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_record_of_packed_tokens_is_refused(harm):
    tensors, meta = to_tensors(Signal("tokens", rng.integers(0, 8, (3, 5)), depth=3))
    with pytest.raises(LemError):
        from_tensors({k: v for k, (_, v) in tensors.items()}, meta | harm)


def test_bfloat16_stays_bfloat16_while_its_values_are():
    wide = rng.standard_normal((2, 3, 4)).astype(np.float32)
    narrow = (wide.view(np.uint32) >> 16 << 16).view(np.float32)
    tensors, _ = to_tensors(Signal("embedding", narrow, depth=16, last=True))
    assert tensors["data"][0] == "BF16"
    back = through(Signal("embedding", narrow, depth=16, last=True))
    assert back.data.dtype == np.float32 and np.array_equal(back.data, narrow) and back.depth == 16
    assert bits_per_element(back)[0] == 16
    tensors, _ = to_tensors(Signal("embedding", wide, depth=16))
    assert tensors["data"][0] == "F32" and np.array_equal(tensors["data"][1], wide)


def test_token_ids_stay_with_their_items(tmp_path):
    ids = np.arange(12, dtype=np.int32).reshape(3, 4)
    signal = Signal("embedding", rng.standard_normal((3, 4, 2)).astype(np.float32), tokens=ids, depth=16)
    assert np.array_equal(through(signal).tokens, ids) and signal.take([2, 0]).tokens.tolist() == ids[[2, 0]].tolist()
    with open(tmp_path / "one", "wb", buffering=0) as file:
        stream.write_one([signal, signal.take([1])], file, str(tmp_path))
    (back,) = load([str(tmp_path / "one")])
    assert back.tokens.tolist() == [*ids.tolist(), ids[1].tolist()]
    assert bits_per_element(signal)[0] == 32  # they do not help to decode
    with pytest.raises(LemError, match="token ids"):
        Signal("embedding", signal.data, tokens=ids[:, :3])


# --- patches


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("size", [1, 4, 5, 16])
def test_patches_invert(size, dtype):
    whole = images(dtype=dtype)
    (coded,) = room.encode([whole], patches.Patches(size))
    rows, columns = -(-13 // size), -(-10 // size)
    assert coded.data.shape == (3, rows * columns, 3 * size * size) and coded.data.dtype == np.float32
    (back,) = room.decode([through(coded)])
    assert back.kind == "image" and back.data.dtype == dtype and np.array_equal(back.data, whole.data)


def test_patches_lie_in_reading_order():
    whole = Signal("image", np.arange(48, dtype=np.uint8).reshape(1, 1, 6, 8))
    (coded,) = patches.Patches(2).encode(whole)
    for place, (y, x) in enumerate((y, x) for y in (0, 2, 4) for x in (0, 2, 4, 6)):
        assert np.rint(coded.data[0, place] * 255).tolist() == whole.data[0, 0, y : y + 2, x : x + 2].ravel().tolist()


# --- principal components


def test_moments_are_those_of_the_whole_in_any_pieces():
    x = rng.standard_normal((500, 7)) * np.arange(1, 8) + 1e4
    moments = pca.Moments()
    for piece in np.split(x, [1, 3, 90, 400]):
        moments.add(piece)
    assert moments.count == 500 and moments.mean == pytest.approx(x.mean(0), rel=1e-12)
    assert moments.covariance == pytest.approx(np.cov(x.T, bias=True), rel=1e-7, abs=1e-7)


def test_components_are_the_eigenvectors_of_the_covariance():
    x = (rng.standard_normal((400, 6)) @ rng.standard_normal((6, 6))).astype(np.float32)
    coder, report = room.fit("pca", lambda: [Signal("embedding", x[:150]), Signal("embedding", x[150:])], dims=3)
    values, axes = np.linalg.eigh(np.cov(x.T, bias=True))
    assert coder.spectrum == pytest.approx(values[::-1], rel=1e-4)
    assert np.abs(np.diag(coder.components @ axes[:, ::-1][:, :3])) == pytest.approx(np.ones(3), abs=1e-4)
    assert report["variance-kept"] == pytest.approx(values[3:].sum() / values.sum(), rel=1e-4)
    (coded,) = room.encode([Signal("embedding", x)], coder)
    assert np.cov(coded.data.T, bias=True) == pytest.approx(np.diag(values[:2:-1]), abs=1e-3 * values[-1])
    (back,) = room.decode([through(coded)], coder)
    # the error is the variance that was left out
    assert ((back.data - x) ** 2).sum(1).mean() == pytest.approx(values[:3].sum(), rel=1e-3)


def test_whitened_components_have_variance_one_and_invert(tmp_path):
    x = (rng.standard_normal((300, 5, 4)) * [9, 3, 1, 0.1]).astype(np.float32)
    coder, _ = room.fit("pca", lambda: [Signal("embedding", x)], whiten=True)
    coder.save(str(tmp_path / "pca.safetensors"))
    coder = room.load(str(tmp_path / "pca.safetensors"))
    (coded,) = room.encode([Signal("embedding", x)], coder)
    assert coded.data.shape == (300, 5, 4)
    assert np.cov(coded.data.reshape(-1, 4).T, bias=True) == pytest.approx(np.eye(4), abs=1e-3)
    (back,) = room.decode([coded], coder)
    assert back.data == pytest.approx(x, abs=1e-4)


def test_components_of_images_are_decoded_to_images():
    whole = images(40, 1, 5, 6)
    coder, report = room.fit("pca", lambda: [whole])
    assert report["dims"] == report["rank"] == 30
    (coded,) = room.encode([whole], coder)
    (back,) = room.decode([coded], coder)
    assert back.kind == "image" and back.data.dtype == np.uint8 and np.array_equal(back.data, whole.data)


@pytest.mark.parametrize("settings, said", [({"dims": 9}, "vary in 3"), ({"dims": 5, "whiten": True}, "whitened")])
def test_more_components_than_there_are_is_an_error(settings, said):
    flat = np.zeros((50, 8), np.float32)
    flat[:, :3] = rng.standard_normal((50, 3))
    with pytest.raises(LemError, match=said):
        room.fit("pca", lambda: [Signal("embedding", flat)], **settings)


# --- text


def test_bytes_are_tokens_of_eight_bits():
    raw = np.frombuffer("naïve ☃\n".encode(), np.uint8)[None]
    (coded,) = room.encode([Signal("tokens", raw, last=True)], text.Text())
    assert np.array_equal(coded.data, raw) and bits_per_element(coded)[0] == 8
    (back,) = room.decode([through(coded)])
    assert np.array_equal(back.data, raw) and back.cost[0] == 8


def test_byte_pairs_restore_every_byte(tmp_path):
    pytest.importorskip("tokenizers", reason="extra llm: tokenizers")
    words = "the cat sat on the mat; naïve ☃ 'tis\t\r\n  the end.\n\n"
    raw = np.frombuffer((words * 20).encode(), np.uint8)[None]
    coder, report = room.fit("text", lambda: [Signal("tokens", raw)], vocab=280)
    assert report == {"texts": 1, "bytes": raw.size, "vocab": 280, "bits-a-token": 9}
    coder.save(str(tmp_path / "bpe.safetensors"))
    coder = room.load(str(tmp_path / "bpe.safetensors"))
    # also what it never saw, control characters and characters of four bytes
    odd = np.frombuffer("zebra \x01\x7f 日本語 🦓 \u2028 é\n".encode(), np.uint8)[None]
    for whole in (raw, odd):
        (coded,) = room.encode([Signal("tokens", whole, last=True)], coder)
        assert coded.data.max() < 280 and coded.depth == 9
        (back,) = room.decode([through(coded)], coder)
        assert np.array_equal(back.data, whole)
        assert back.cost[0] == pytest.approx(coded.data.size * 9 / whole.size)
    assert coded.data.size < odd.size + 1 and room.encode([Signal("tokens", raw)], coder)
    # a window may begin inside a character
    (coded,) = room.encode([Signal("tokens", odd)], coder)
    cuts = np.split(coded.data, range(3, coded.data.shape[1], 3), axis=1)
    parts = [coder.decode(Signal("tokens", cut), {})[0].data for cut in cuts]
    assert np.array_equal(np.concatenate(parts, axis=1), odd)


def test_byte_pairs_say_what_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(LemError, match=r"needs tokenizers: pip install 'lemtools\[llm\]'"):
        room.fit("text", lambda: [Signal("tokens", np.full((1, 9), 97, np.uint8))])


def test_lines_are_memories_of_their_own():
    raw = np.frombuffer(b"one\n\n  \ntwo\r\nthree", np.uint8)[None]
    made = list(room.lines([Signal("tokens", raw, names=["t.txt"], last=True)]))
    assert [s.data.shape for s in made] == [(2, 3), (1, 5)] and [s.last for s in made] == [None, True]
    assert [n for s in made for n in s.names] == ["t.txt#0", "t.txt#1", "t.txt#2"]
    assert [i for s in made for i in s.index] == [0, 1, 2]


# --- dense tokens


def correlated(n=900, d=12) -> np.ndarray:
    x = rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -1.0
    return (x @ np.linalg.qr(rng.standard_normal((d, d)))[0] + 3).astype(np.float32)


@pytest.fixture(scope="module")
def coder(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("rvq") / "rvq.safetensors")
    made, report = room.fit("rvq", lambda: [Signal("embedding", correlated())], stages=2, codes=16, groups=2, beam=4)
    made.save(path)
    assert report["bits-nominal"] == 16 and report["bound-NMSE"] < report["NMSE"] < 1
    return room.load(path)


@pytest.mark.parametrize("shape", [(7,), (3, 5), (4, 1)])
def test_dense_tokens_are_codes_a_vector_and_invert(coder, shape):
    x = correlated(int(np.prod(shape))).reshape(*shape, 12)
    (coded,) = room.encode([Signal("embedding", x, last=True)], coder)
    assert coded.kind == "tokens" and coded.data.shape == (shape[0], 4 * (shape[1] if len(shape) > 1 else 1))
    coded = through(coded)
    (back,) = room.decode([coded], coder)
    flat = coder.rvq.encode(x.reshape(-1, 12))
    assert np.array_equal(coded.data.reshape(-1, 4), flat) and coded.depth == 4
    assert np.array_equal(back.data, coder.rvq.decode(flat).reshape(x.shape))
    # 4 codes of 4 bits a vector of 12 numbers
    assert back.cost == pytest.approx(np.full(shape[0], 16 / 12)) and bits_per_element(coded)[0] == 4


def test_what_is_held_back_is_not_fitted_to_however_it_is_batched():
    x = np.arange(50, dtype=np.float32)[:, None]
    cuts = ([x], np.split(x, [3, 11, 12, 40]))
    for back, want in ((True, [9, 19, 29, 39, 49]), (False, [i for i in range(50) if i % 10 < 9])):
        for cut in cuts:
            got = np.concatenate(list(dense.part(lambda: [Signal("embedding", c) for c in cut], back)()))
            assert got[:, 0].tolist() == want
    text_of_20 = Signal("embedding", np.arange(40, dtype=np.float32).reshape(2, 20, 1))
    (ends,) = dense.part(lambda: [text_of_20], True)()
    assert ends[:, 0].tolist() == [18, 19, 38, 39]


def test_zero_vectors_come_back_zero(coder):
    x = correlated(5)
    x[2] = 0
    (coded,) = room.encode([Signal("embedding", x)], coder)
    (back,) = room.decode([coded], coder)
    assert not back.data[2].any() and back.data[[0, 1, 3, 4]].any(1).all()


# --- voices


def test_the_mel_bank_is_that_of_torchaudio():
    from torchaudio.functional import melscale_fbanks

    from lemtools.transforms.mel import filters

    bank = melscale_fbanks(201, 0, 8000, 40, 16_000, norm="slaney", mel_scale="slaney").T.numpy()
    assert filters(40, 400, 16000) == pytest.approx(bank, abs=1e-7)


def chirp() -> np.ndarray:
    t = np.arange(48_000) / 16_000
    return (0.1 * np.sin(2 * np.pi * (120 * t + 40 * t * t)) * (1 + np.sin(2 * np.pi * 3 * t))).astype(np.float32)


def test_the_front_end_is_that_of_librosa():
    import torch

    from lemtools.encode.voice import mel_power
    from lemtools.transforms.mel import filters

    mels = mel_power(torch.from_numpy(chirp())[None], torch.from_numpy(filters(40, 400, 16000)))[0].numpy()
    assert mels.shape == (301, 40)
    for (frame, band), value in LIBROSA.items():
        assert mels[frame, band] == pytest.approx(value, rel=2e-4), (frame, band)


# librosa 0.11: feature.melspectrogram(y=chirp(), sr=16000, n_fft=400, hop_length=160, n_mels=40)[band, frame]
LIBROSA = {
    (0, 1): 0.4657375,
    (7, 1): 4.89579,
    (100, 3): 0.09068511,
    (200, 4): 0.1208531,
    (299, 5): 0.09684157,
    (300, 6): 0.01365125,
}


def test_pieces_of_a_voice_are_those_of_resemblyzer(tmp_path):
    voice = untrained(tmp_path)
    # its compute_partial_slices(n, rate=1.3, min_coverage=.75), run by hand
    assert [voice.starts(n) for n in PIECES] == list(PIECES.values())


PIECES = {1: [0], 4768: [0], 28800: [0], 32000: [0, 77], 48000: [0, 77, 154], 100000: [0, 77, 154, 231, 308, 385, 462]}


def untrained(folder):
    """The encoder with random weights, as resemblyzer's file holds them."""
    import torch

    from lemtools.encode.voice import GE2E, Voice

    torch.manual_seed(0)
    state = GE2E().state_dict() | {"similarity_weight": torch.ones(1), "similarity_bias": torch.zeros(1)}
    torch.save({"step": 1, "model_state": state}, folder / "weights.pt")
    return Voice(str(folder / "weights.pt"))


def test_a_voice_is_a_vector_of_norm_one_and_silence_is_zero(tmp_path):
    voice = untrained(tmp_path)
    sound = np.stack([chirp(), 0.01 * chirp(), 0 * chirp()])[:, None]
    (out,) = room.encode([Signal("audio", sound, rate=16_000.0)], voice)
    assert out.kind == "embedding" and out.data.shape == (3, 256) and out.rate is None
    assert np.linalg.norm(out.data, axis=1) == pytest.approx([1, 1, 0], abs=1e-6) and out.data.min() >= 0
    stereo = Signal("audio", np.repeat(sound[:1], 2, 1), rate=16_000.0)
    assert voice.encode(stereo)[0].data[0] == pytest.approx(out.data[0], abs=1e-6)


def test_the_published_voice_gives_the_recorded_vector():
    path = published("resemblyzer", "pretrained.pt")
    from lemtools.encode.voice import Voice

    (out,) = Voice(path).encode(Signal("audio", chirp()[None, None], rate=16_000.0))
    # resemblyzer 0.1.4 itself on librosa 0.11: embed_utterance(normalize_volume(chirp(), -30, increase_only=True))
    largest = {9: 0.2795115, 20: 0.2345527, 11: 0.2166619, 224: 0.2154577, 173: 0.2133244, 10: 0.1928053}
    assert {i: out.data[0, i] for i in largest} == pytest.approx(largest, abs=2e-5)
    assert out.data.sum() == pytest.approx(9.162083, abs=2e-4)


def published(package: str, *path: str) -> str:
    """A file of an installed package, found without importing it; the test is skipped, by that name, without it."""
    from importlib.util import find_spec

    if (found := find_spec(package)) is None:
        pytest.skip(f"package {package} is not installed")
    return os.path.join(os.path.dirname(found.origin), *path)


def test_the_same_speaker_is_nearer_than_another():
    folder = data_dir("fsdd")
    from lemtools.encode.voice import Voice

    files = [str(folder / f"{d}_{who}_0.flac") for who in ("george", "jackson", "theo") for d in range(3)]
    out = np.concatenate([s.data for s in room.encode(load(files), Voice(published("resemblyzer", "pretrained.pt")))])
    alike, same = out @ out.T, np.kron(np.eye(3), np.ones((3, 3))) > 0
    assert alike[same & ~np.eye(9, dtype=bool)].mean() > alike[~same].mean() + 0.05


# --- histories, files, refusals


def test_encodings_are_undone_from_the_last_to_the_first():
    whole = images()
    (one,) = room.encode([whole], patches.Patches(4), {"tool": "lem-encode"})
    coder, _ = room.fit("pca", lambda: [one])
    (two,) = room.encode([one], coder)
    assert [e["encoder"] for e in two.history] == ["patches", "pca"]
    assert latest(two.history)["encoder"] == "pca"
    with pytest.raises(LemError, match="fitted pca; name its file"):
        list(room.decode([two]))
    (back,) = room.decode([two], coder)
    assert latest(back.history)["encoder"] == "patches"
    (whole_again,) = room.decode([through(back)])
    assert np.array_equal(whole_again.data, whole.data) and latest(whole_again.history) is None


def test_a_file_of_another_kind_is_told(tmp_path):
    (tmp_path / "text.safetensors").write_text("hello there")
    for name, said in (("none", "no such file"), ("text.safetensors", "not a whole safetensors file")):
        with pytest.raises(LemError, match=said):
            room.load(str(tmp_path / name))
    write_fitted(str(tmp_path / "x.safetensors"), {"v": 1, "encoder": "pca", "kind": "image"}, {"mean": np.ones(3)})
    with pytest.raises(LemError, match="damaged record of pca"):
        room.load(str(tmp_path / "x.safetensors"))
    write_fitted(str(tmp_path / "x.safetensors"), {"v": 2, "encoder": "pca"}, {})
    with pytest.raises(LemError, match="newer lemtools"):
        room.load(str(tmp_path / "x.safetensors"))


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    here = tmp_path_factory.mktemp("encode")
    np.save(here / "v.npy", rng.standard_normal((60, 8)).astype(np.float32))
    np.save(here / "w.npy", rng.standard_normal((60, 6)).astype(np.float32))
    bad = rng.standard_normal((60, 8)).astype(np.float32)
    bad[17, 3] = np.nan
    np.save(here / "nan.npy", bad)
    (here / "t.txt").write_text("one line\nand another\n")
    np.savez(here / "z.npz", a=np.zeros((9, 8), np.float32), b=np.ones((9, 8), np.float32))
    np.save(here / "k.npy", np.full((3, 2), 300))
    np.save(here / "i.npy", np.zeros((3, 5), np.int64))
    np.save(here / "j.npy", np.full((3, 2), 8))
    line = "--encoder rvq --fit --codes 8 --stages 2 --device cpu v.npy -o rvq.safetensors"
    done = lem_fork("encode", *line.split(), cwd=here)
    assert done.returncode == 0 and b"\nNMSE\t" in done.stdout, done.stderr.decode()
    assert b"2 x 8 codes = 6 bits for 8 dimensions" in done.stderr and b"takes at least" in done.stderr
    done = lem_fork("encode", "--encoder", "pca", "--fit", "--dims", "3", "v.npy", "-o", "v.safetensors", cwd=here)
    assert done.returncode == 0, done.stderr.decode()
    assert [line.split("\t")[0] for line in done.stdout.decode().splitlines()] == [
        "vectors",
        "width",
        "dims",
        "rank",
        "variance-kept",
    ]
    return here


REFUSED = {
    "nan.npy --encoder pca --dims 2": "NaN or infinite values (item 17)",
    "nan.npy --encoder pca --fit": "NaN or infinite values (item 17)",
    "v.npy": "patches encodes image, not embedding",
    "t.txt --encoder pca --dims 2": "not tokens",
    "w.npy --model v.safetensors": "vectors of 6 numbers; this pca was fitted to such of 8",
    "w.npy --decode --model v.safetensors": "vectors of 6 numbers; this pca makes 3",
    "v.npy --decode": "nothing in its history says how it was encoded",
    "v.npy --encoder pca": "needs --dims K",
    "v.npy --encoder pca --dims 9": "vary in 8 directions",
    "v.npy --model v.safetensors --dims 2": "--dims is for pca, where it is fitted",
    "v.npy --model v.safetensors --encoder text": "was fitted for pca",
    "v.npy --model t.txt": "not a whole safetensors file",
    "v.npy --size 3 --encoder pca --dims 2": "--size is for patches",
    "--sample --encoder patches --fit": "patches is not fitted to data",
    "v.npy --decode --encoder pca": "--encoder pca needs its components: --model FILE, from --fit",
    "v.npy --encoder rvq": "rvq needs its codebooks: --model FILE, from --fit",
    "v.npy --encoder rvq --fit --codes 100": "54 vectors (not counting zeros) for 100 codes",
    "v.npy --encoder rvq --fit --codes 8 --groups 3": "8 dimensions do not divide into 3 groups",
    "nan.npy --encoder rvq --fit --codes 8": "NaN or infinite values (item 17)",
    "t.txt --encoder rvq --fit --codes 8": "rvq is fitted to whole embeddings, not tokens",
    "w.npy --model rvq.safetensors": "vectors of 6 dimensions, where 8 were fitted",
    "v.npy --decode --model rvq.safetensors": "rvq decodes tokens, not embedding",
    "i.npy --decode --model rvq.safetensors": "5 codes an item; this codebook makes 2 a vector",
    "j.npy --decode --model rvq.safetensors": "of another codebook, or damaged",
    "t.txt --model rvq.safetensors": "rvq encodes embedding, not tokens",
    "v.npy --model rvq.safetensors --stages 3": "--stages is for rvq, where it is fitted",
    "t.txt --encoder voice": "voice needs its weights",
    "--sample-name rooster --encoder voice --weights t.txt": "not a file of weights",
    "t.txt --encoder activations --hf nowhere --layer 1": "nothing is fetched",
    "t.txt --encoder minilm --hf nowhere": "nothing is fetched",
    "t.txt --encoder thoughts": "thoughts need a model that has some: --model FILE",
    "t.txt --encoder thoughts --model t.txt": "t.txt",
    "v.npy --encoder thoughts --fit": "thoughts is not fitted to data",
    "v.npy --json --encoder pca --dims 2": "--json is for what --fit reaches",
    "v.npy --fit --decode": "leave out --decode",
    "v.npy --encoder rvq --fit --codes 8 --to npy": "no --to, --shard or --skip-existing",
    "v.npy --model rvq.safetensors --patch-back --skip-existing": "--to, --shard and --skip-existing",
    "v.npy --encoder rvq --fit --codes 8 --validate v.npy": "--validate: v.npy is among the input, too",
    "z.npz --key a --encoder rvq --fit --codes 8 --validate z.npz": "z.npz is among the input, too",
    "v.npy --encoder pca --dims 2 --device cpu": "--device: pca knows no devices; leave it out",
    "v.npy --model v.safetensors --device cpu": "--device: pca knows no devices; leave it out",
    "--sample --encoder patches --fit --device cpu": "--device: patches knows no devices; leave it out",
    "k.npy --encoder text": "bytes of text are needed, not other tokens",
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_be_is_one_line_and_leaves_nothing(bench, line):
    before = set(os.listdir(bench))
    done = lem_fork("encode", *line.split(), "-o", "out.safetensors", cwd=bench)
    said = done.stderr.decode()
    assert done.returncode == 2 and done.stdout == b"" and set(os.listdir(bench)) == before
    assert said.count("\n") == 1 and said.startswith("lem-encode: error: ") and REFUSED[line] in said


def test_a_pipe_can_be_fitted_and_encoded_at_once(bench):
    raw = (bench / "v.npy").read_bytes()
    done = lem_fork("encode", "--encoder", "pca", "--dims", "3", "-", stdin=raw, cwd=bench)
    assert done.returncode == 0, done.stderr.decode()
    (piped,) = stream.read(stream.Source(io.BytesIO(done.stdout), "x"))
    lem_fork("encode", "--model", "v.safetensors", "v.npy", "-o", "c.safetensors", cwd=bench)
    (filed,) = load([str(bench / "c.safetensors")])
    assert np.array_equal(piped.data, filed.data) and piped.data.shape == (60, 3)


def test_a_fit_is_not_written_over_what_it_is_reported_on(bench):
    held = (bench / "v.npy").read_bytes()
    (bench / "held.safetensors").write_bytes(held)
    line = "--encoder rvq --fit --codes 8 --validate held.safetensors -o held.safetensors --device cpu v.npy"
    done = lem_fork("encode", *line.split(), cwd=bench)
    assert done.returncode == 2 and b"held.safetensors: is input and output at once" in done.stderr
    assert (bench / "held.safetensors").read_bytes() == held


def test_what_a_fit_is_reported_on_is_read_as_its_input_is(bench):
    np.savez(bench / "held.npz", a=np.load(bench / "v.npy"), b=np.zeros((60, 3)))
    np.savez(bench / "learnt.npz", a=np.load(bench / "v.npy")[::-1], b=np.zeros((60, 3)))
    line = "--encoder rvq --fit --codes 8 --key a --validate held.npz learnt.npz -o key.safetensors --device cpu"
    done = lem_fork("encode", *line.split(), cwd=bench)
    assert done.returncode == 0 and b"vectors\t60\n" in done.stdout, done.stderr


def test_a_fit_prints_json(bench):
    done = lem_fork("encode", "--encoder", "pca", "--fit", "--json", "v.npy", "-o", "j.safetensors", cwd=bench)
    (report,) = map(json.loads, done.stdout.splitlines())
    assert report == {"vectors": 60, "width": 8, "dims": 8, "rank": 8, "variance-kept": pytest.approx(1)}


def test_a_photo_goes_through_patches_and_back(bench):
    coded = lem_fork("encode", sample("kodim23"), "--size", "7", cwd=bench)
    back = lem_fork("encode", "--decode", "-o", "back.png", stdin=coded.stdout, cwd=bench)
    assert (back.returncode, back.stderr) == (0, b"")
    whole, again = (next(load([str(p)])).data for p in (sample("kodim23"), bench / "back.png"))
    assert np.array_equal(whole, again)
