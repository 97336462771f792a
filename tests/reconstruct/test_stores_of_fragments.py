"""Recall from memories that are fragments: the same as brute force over what they decode to."""

import os
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.commands import lem
from lemtools.catalogue import LemError
from lemtools.encode import decode, encode
from lemtools.encode.dense import Dense
from lemtools.encode.pca import PCA
from lemtools.fragment import fragment
from lemtools.fragment.evidence import evidence
from lemtools.media import large, load
from lemtools.media.kept import kept
from lemtools.media.store import store
from lemtools.reconstruct import reconstruct
from lemtools.reconstruct.decoded import Decoded
from lemtools.signal import Signal
from lemtools.stream import write

RNG = np.random.default_rng(3)
VECTORS = Signal("embedding", (RNG.standard_normal((40, 24)) @ RNG.standard_normal((24, 24)) + 1).astype(np.float32))
IMAGES = Signal("image", RNG.integers(0, 256, (40, 1, 7, 6)).astype(np.uint8))
SOUNDS = Signal("audio", RNG.uniform(-1, 1, (20, 1, 50)).astype(np.float32), rate=8000.0)
LOST = [{"op": "mask", "mask": 0.5}]


def by_hand(query, observed, memories, sigma):
    """Posterior mean of a query under equally likely memories seen through noise, by the definition, in float64."""
    energy = ((query - memories) ** 2 * observed).reshape(len(memories), -1).sum(1) / (2 * sigma**2)
    weight = np.exp(energy.min() - energy)
    return np.tensordot(weight / weight.sum(), memories, 1)


def same_as_by_hand(whole, memory, decoded, known=1, sigma=0.4):
    """Recall from `memory` beside the sum over `decoded`, full scale 1."""
    (broken,) = fragment([whole], LOST, 1)
    seen = evidence(broken)
    (found,) = reconstruct([broken], "recall", memory=memory, sigma=sigma)
    unit = 255.0 if decoded.dtype == np.uint8 else 1.0
    for item in range(len(whole)):
        value, observed = seen.value[item].astype(np.float64), seen.observed[item] * known
        wanted = by_hand(value, observed, decoded / unit, sigma)
        assert np.allclose(found.data[item] / unit, wanted, atol=0.51 / 255 if unit > 1 else 1e-5)


EMBEDDING = [
    {"bits": 1},
    {"bits": 3, "quantizer": "lloyd-max"},
    {"bits": 2, "quantizer": "trellis"},
    {"bits": 2, "quantizer": "trellis", "rotate": True},
    {"bits": 4, "rotate": True},
    {"bits": (1, 6)},
    {"bits": 11},
    {"bits": 4, "block": 8},
    {"bits": 3, "quantizer": "absmax", "block": 7},
    {"bits": 5, "quantizer": "zero-point", "block": 8},
    {"bits": 4, "quantizer": "nf4"},
    {"bits": 3, "scale": "peak"},
]
CASES = [
    *((VECTORS, spec) for spec in EMBEDDING),
    (Signal("embedding", VECTORS.data.reshape(10, 4, 24)), {"bits": 2, "quantizer": "trellis"}),
    *((IMAGES, spec) for spec in ({"bits": 1}, {"bits": 3}, {"bits": 2, "quantizer": "lloyd-max"}, {"bits": (1, 7)})),
    *((SOUNDS, spec) for spec in ({"bits": 4}, {"bits": 5, "quantizer": "mu-law"}, {"bits": 3, "scale": "peak"})),
]


@pytest.mark.parametrize("whole, spec", CASES, ids=lambda case: case.kind if isinstance(case, Signal) else str(case))
def test_codes_of_every_quantiser_are_kept_and_recalled_from(whole, spec):
    (held,) = fragment([whole], [{"op": "bits", **spec}], 2)
    memory = kept([held.take(slice(0, 7)), held.take(slice(7, None))], "store")
    assert memory.shape == whole.data.shape and memory.dtype == held.data.dtype
    some = np.array([5, 0, 9, 5])
    for rows in (slice(None), slice(2, 9), some, 3):
        assert (memory[rows] == held.data[rows]).all()
    assert (np.asarray(memory) == held.data).all()
    same_as_by_hand(whole, memory, held.data, sigma=0.4 if whole.kind != "embedding" else 2.0)


def test_what_is_held_are_the_codes_and_their_scales():
    (held,) = fragment([VECTORS], [{"op": "bits", "bits": 3}], 0)
    assert kept([held], "store").nbytes == 40 * (24 * 3 // 8 + 2)
    (held,) = fragment([IMAGES], [{"op": "bits", "bits": 1}], 0)
    assert kept([held], "store").nbytes == 40 * 6  # 42 bits


@pytest.mark.parametrize("operations", [["keep"], ["bits", "keep"], ["keep", "bits"], ["trellis", "keep"]])
def test_dimensions_that_the_memories_lost_are_not_compared(operations):
    there = {
        "keep": {"op": "keep-dims", "keep": 9},
        "bits": {"op": "bits", "bits": 2},
        "trellis": {"op": "bits", "bits": 2, "quantizer": "trellis"},
    }
    (held,) = fragment([VECTORS], [there[name] for name in operations], 0)
    memory, known = kept([held], "store"), np.arange(24) < 9
    assert memory.shape == (40, 24) and (memory.known == known).all()
    assert (memory[:][:, :9] == held.data).all() and not memory[:][:, 9:].any()
    same_as_by_hand(VECTORS, memory, memory[:].astype(np.float64), known, sigma=2.0)
    (found,) = reconstruct([replace(VECTORS, data=memory[:] + 3 * ~known)], "recall", memory=memory)
    assert np.allclose(found.data, memory[:], atol=1e-5)  # an exact match by what is known, whatever stands elsewhere
    (broken,) = fragment([VECTORS], LOST, 1)
    for method in ("gaussian", "dream"):
        with pytest.raises(LemError, match="9 of 24 dimensions are kept; --method .* needs all of them"):
            list(reconstruct([broken], method, memory=memory))


def saved(coder, path):
    coder.save(str(path))
    return str(path)


@pytest.fixture(scope="module")
def coders(tmp_path_factory):
    """Paths of a pca of the images and of codebooks of its components, and the batches encoded by one and by both."""
    folder = tmp_path_factory.mktemp("coders")
    pca, _ = PCA.fit(lambda: [IMAGES], dims=12)
    (vectors,) = encode([IMAGES], pca)
    rvq, _ = Dense.fit(lambda: [vectors], stages=3, codes=8, device="cpu")
    (tokens,) = encode([vectors], rvq)
    return [saved(pca, folder / "pca.safetensors"), saved(rvq, folder / "rvq.safetensors")], vectors, tokens, (pca, rvq)


@pytest.mark.parametrize("losses", [[], [{"op": "bits", "bits": 2}], [{"op": "keep-dims", "keep": 5}]], ids=str)
def test_components_are_decoded_to_images(coders, losses):
    (pca, _), vectors, _, (coder, _) = coders
    (held,) = fragment([vectors], losses, 0) if losses else [vectors]
    (plain,) = reconstruct([held], "decode") if losses else [vectors]
    (decoded,) = decode([plain], coder)
    memory = Decoded(kept([held], "store"), [pca])
    assert memory.shape == IMAGES.data.shape and (memory[:] == decoded.data).all()
    same_as_by_hand(IMAGES, memory, decoded.data)


@pytest.mark.parametrize("turned", [False, True])
def test_dense_tokens_of_components_are_decoded_by_both_files_in_any_order(coders, turned):
    paths, _, tokens, (pca, rvq) = coders
    (decoded,) = decode(decode([tokens], rvq), pca)
    memory = Decoded(kept([tokens], "store"), paths[::-1] if turned else paths)
    assert memory.nbytes == 40 * 2  # three codes of 3 bits
    assert (memory[:] == decoded.data).all() and (memory[np.array([3, 1])] == decoded.data[[3, 1]]).all()
    same_as_by_hand(IMAGES, memory, decoded.data)


@pytest.mark.parametrize("method", ["gaussian", "dream"])
def test_other_methods_take_them_for_the_memories_that_they_decode_to(coders, method):
    paths, _, tokens, (pca, rvq) = coders
    (decoded,) = decode(decode([tokens], rvq), pca)
    (broken,) = fragment([IMAGES.take(slice(0, 2))], LOST, 1)
    options = {"steps": 5, "samples": 1} if method == "dream" else {}
    one, other = (
        next(reconstruct([broken], method, memory=each, **options)).data
        for each in (Decoded(kept([tokens], "store"), paths), decoded.data)
    )
    assert np.abs(one.astype(int) - other).max() <= 1


def test_codes_of_another_codebook_or_without_one_are_refused(coders, tmp_path):
    paths, vectors, tokens, _ = coders
    other, _ = Dense.fit(lambda: [Signal("embedding", vectors.data[::-1])], stages=3, codes=8, device="cpu")
    path = saved(other, tmp_path / "other.safetensors")
    (broken,) = fragment([IMAGES], LOST, 1)
    with pytest.raises(LemError, match="other.safetensors: another rvq than that which encoded the memories"):
        Decoded(kept([tokens], "store"), [path, paths[0]])
    white, _ = PCA.fit(lambda: [IMAGES], dims=12, whiten=True)  # the same tensors
    with pytest.raises(LemError, match="white.safetensors: another pca than that which encoded the memories"):
        Decoded(kept([vectors], "store"), [saved(white, tmp_path / "white.safetensors")])
    with pytest.raises(LemError, match=r"pca \(.*\) cannot decode memories that are encoded by rvq: name its file"):
        Decoded(kept([tokens], "store"), paths[:1])
    with pytest.raises(LemError, match=r"rvq \(.*\) cannot decode memories that are not encoded"):
        Decoded(kept([IMAGES], "store"), paths[1:])
    memory = kept([vectors], "store")
    with pytest.raises(LemError, match="cannot recall images of .*; name what decodes it: --memory-model FILE"):
        list(reconstruct([broken], "recall", memory=memory, of=memory.one))
    with pytest.raises(LemError, match="tokens, without a distance.* or what decodes the tokens: --memory-model FILE"):
        list(reconstruct([broken], "recall", memory=kept([tokens], "store")))


@pytest.mark.parametrize(
    "operations, words",
    [
        (LOST, "fragments of --mask; a store takes whole memories, and fragments of --bits and --keep-dims"),
        ([{"op": "bits", "bits": 2}, *LOST], "fragments of --mask"),
        ([{"op": "noise", "sigma": 0.1}], "fragments of --noise"),
    ],
)
def test_fragments_that_have_not_all_elements_are_refused(operations, words):
    (held,) = fragment([VECTORS], operations, 0)
    with pytest.raises(LemError, match=words):
        kept([held], "store")


@pytest.mark.parametrize(
    "one, other, words",
    [
        ({"bits": 2}, {"bits": 3}, "differ in bits"),
        ({"bits": 2}, {"bits": 2, "rotate": True}, "differ in what was taken away"),
        ({"bits": 2}, {"bits": (2, 3)}, "differ in bits"),
        ({"bits": 4}, {"bits": 4, "block": 8}, "differ in what was taken away"),
    ],
)
def test_fragments_that_were_made_otherwise_are_no_store(one, other, words):
    batches = [next(fragment([VECTORS], [{"op": "bits", **spec}], 0)) for spec in (one, other)]
    with pytest.raises(LemError, match=f"{words}; a store holds such as were made alike"):
        kept(batches, "store")
    with pytest.raises(LemError, match="differ in what encoded them"):
        other_pca, _ = PCA.fit(lambda: [IMAGES.take(slice(0, 20))], dims=12)
        kept([next(encode([IMAGES], pca)) for pca in (PCA.fit(lambda: [IMAGES], dims=12)[0], other_pca)], "store")
    with pytest.raises(LemError, match="differ in kind"):
        kept([batches[0], next(fragment([IMAGES], [{"op": "bits", "bits": 2}], 0))], "store")


def written(path, *signals):
    with open(path, "wb") as file:
        write(list(signals), file)
    return str(path)


def test_other_readers_of_stores_refuse_fragments(tmp_path):
    (held,) = fragment([VECTORS], [{"op": "bits", "bits": 2}], 0)
    path = written(tmp_path / "held.safetensors", held)
    assert (store([path], fragments=True)[:] == held.data).all()
    with pytest.raises(LemError, match="fragments; a store holds whole memories"):
        store([path])


def test_the_command_recalls_from_codes_and_writes_nothing_where_it_cannot(coders, tmp_path):
    paths, _, tokens, _ = coders
    codes = written(tmp_path / "codes.safetensors", tokens)
    query = written(tmp_path / "query.safetensors", *fragment([IMAGES], LOST, 1))
    out = tmp_path / "out.npy"
    ask = ["--memory", codes, query, "-o", str(out)]
    for wrong in (["--memory-model", paths[0]], []):
        done = lem("reconstruct", *ask, *wrong, ok=False)
        assert done.returncode == 2 and done.stderr.count(b"\n") == 1 and not out.exists()
    done = lem("reconstruct", *ask, "--memory-model", paths[0], "--memory-model", paths[1])
    (found,) = reconstruct(fragment([IMAGES], LOST, 1), "recall", memory=Decoded(kept([tokens], "store"), paths))
    assert done.stderr == b"" and (np.load(out).reshape(found.data.shape) == found.data).all()


def test_a_store_may_be_a_pipe_but_what_decodes_it_may_not(coders, tmp_path):
    """As --memory <(...) makes one: it is there, and can be read once."""
    paths, vectors, *_ = coders
    (kept_vectors,) = fragment([vectors], [{"op": "bits", "bits": 2}], 0)
    codes = written(tmp_path / "codes.safetensors", kept_vectors)
    query = written(tmp_path / "query.safetensors", *fragment([IMAGES], LOST, 1))

    def pipe(path):
        place = tmp_path / f"pipe{len([*tmp_path.iterdir()])}"
        os.mkfifo(place)

        def feed():
            with suppress(BrokenPipeError):
                place.write_bytes(Path(path).read_bytes())

        threading.Thread(target=feed, daemon=True).start()
        return place

    def asked(memory, decoder, out, *more):
        return lem("reconstruct", "--memory", memory, "--memory-model", decoder, query, "-o", out, *more, ok=None)

    plain, piped = (tmp_path / f"{name}.npy" for name in ("plain", "piped"))
    lem("reconstruct", "--memory", codes, "--memory-model", paths[0], query, "-o", plain)
    assert asked(pipe(codes), paths[0], piped).stderr == b""
    assert (np.load(piped) == np.load(plain)).all()
    for memory, decoder, more, said in (
        (codes, pipe(paths[0]), (), "a pipe or device, which can be read only once; save it as a file"),
        (pipe(codes), paths[0], ("--answer", "label"), "labels are of memories in files, which can be read twice"),
    ):
        done = asked(memory, decoder, tmp_path / "none.npy", *more)
        assert done.returncode == 2 and done.stderr.decode().endswith(f": {said}\n")
    assert not (tmp_path / "none.npy").exists()


def test_large_documents_of_codes_are_read_in_pieces(tmp_path, monkeypatch):
    """The same memories, whether they are unpacked at once or some at a time."""
    names = [f"{i}é" for i in range(40)]
    own = Signal("tokens", RNG.integers(0, 32, (40, 3)).astype(np.uint8), depth=5, names=names, label=np.arange(40))
    whole = [*fragment([VECTORS], [{"op": "bits", "bits": 3}, {"op": "keep-dims", "keep": 5}], 0), own]
    whole += [next(fragment([IMAGES], [{"op": "bits", "bits": bits}], 0)) for bits in (1, 5)]
    monkeypatch.setattr(large, "LEAST", 0)
    for batch in whole:
        path = written(tmp_path / "codes.safetensors", replace(batch, last=True))
        for size in (None, 1, 8, 16):
            parts = list(load([path], batch=size))
            most = 40 if size is None else max(size, 8) if batch is own else size
            assert [len(part) for part in parts] == [most] * (40 // most) + [40 % most] * (40 % most > 0)
            assert [bool(part.last) for part in parts] == [False] * (len(parts) - 1) + [True]
            back = Signal.concat([replace(part, last=None, origin=None) for part in parts])
            for name in ("data", "codes", "label", "index"):
                assert np.array_equal(getattr(back, name), getattr(batch, name)), name
            assert back.names == batch.names and back.history == batch.history
            for one, other in zip(back.ops, batch.ops, strict=True):
                assert one.keys() >= {k for k, v in other.items() if v is not None}
                assert all(np.array_equal(one[k], v) for k, v in other.items() if v is not None)
