"""lem-encode --encoder translate: pairs by name or order, there and back, files, and what is refused."""

import json
import os

import numpy as np
import pytest

from helpers.commands import lem_fork
from lemtools import encode, stream
from lemtools.encode.pairing import paired
from lemtools.media import load
from lemtools.signal import LemError, Signal

rng = np.random.default_rng(5)
N, D, E = 60, 6, 4
Z = rng.standard_normal((N, E))
A = (Z @ rng.standard_normal((E, D)) + 1).astype(np.float32)
B = (2 * Z @ np.linalg.qr(rng.standard_normal((E, E)))[0] - 3).astype(np.float32)
NAMES = [f"w{i}.txt" for i in range(N)]


def signal(x, names=None):
    return Signal("embedding", x, names=names)


def write(path, x, names=None):
    with open(path, "wb") as file:
        stream.write([signal(x, names)], file)


def pairs_of(a, b):
    both = list(paired(a, b))
    return np.concatenate([x for x, _ in both]), np.concatenate([y for _, y in both])


def test_items_pair_by_order_whatever_the_batches():
    x, y = pairs_of([signal(A[:7]), signal(A[7:])], [signal(B[:40]), signal(B[40:])])
    assert np.array_equal(x, A) and np.array_equal(y, B)


@pytest.mark.parametrize("start", [0, 25])
def test_items_pair_by_name_from_where_the_order_differs(start):
    order = np.r_[:start, start + rng.permutation(N - start)]
    there = [name.replace(".txt", ".wav") for name in NAMES]  # the extension does not count
    b = [signal(B[order[i : i + 11]], [there[k] for k in order[i : i + 11]]) for i in range(0, N, 11)]
    x, y = pairs_of([signal(A[:30], NAMES[:30]), signal(A[30:], NAMES[30:])], b)
    assert np.array_equal(x, A) and np.array_equal(y, B)


def test_positions_pair_one_to_one():
    x, y = pairs_of([signal(A.reshape(12, 5, D))], [signal(B.reshape(12, 5, E))])
    assert np.array_equal(x, A) and np.array_equal(y, B)


UNPAIRED = {
    "A is longer": ([signal(A)], [signal(B[:-1])], "the input: more items than the other side's 59"),
    "B is longer": ([signal(A[:-2])], [signal(B)], "--onto: more items than the other side's 58"),
    "A alone has names": ([signal(A, NAMES)], [signal(B)], "the input has names, --onto has none"),
    "B alone has names": ([signal(A)], [signal(B, NAMES)], "--onto has names, the input has none"),
    "a name in A alone": ([signal(A, [*NAMES[:-1], "x"])], [signal(B, NAMES)], "the input: x is there alone"),
    "a name in B alone": ([signal(A[:-1], NAMES[:-1])], [signal(B, NAMES)], "--onto: w59.txt is there alone"),
    "the same, in another order": (
        [signal(A[1:], NAMES[1:])],
        [signal(B[::-1], NAMES[::-1])],
        "--onto: w0 is there alone",
    ),
    "twice in A": ([signal(A, [*NAMES[:-1], "w3"])], [signal(B, NAMES)], "the input: two items of the name w3"),
    "twice in B": ([signal(A, NAMES)], [signal(B, [*NAMES[:-1], "w3"])], "--onto: two items of the name w3"),
    "twice in B, once where the order was the same": (
        [signal(A[:30], NAMES[:30]), signal(A[30:], NAMES[30:])],
        [signal(B[:30], NAMES[:30]), signal(B[30:], ["w3", *NAMES[:30:-1]])],
        "--onto: two items of the name w3",
    ),
    "twice in A later": (
        [signal(A[:30], NAMES[:30]), signal(A[30:], [*NAMES[30:-1], "w3"])],
        [signal(B[::-1], NAMES[::-1])],
        "the input: two items of the name w3",
    ),
    "some without names": (
        [signal(A[:30], NAMES[:30]), signal(A[30:])],
        [signal(B[::-1], NAMES[::-1])],
        "the input: some items have names",
    ),
    "other lengths": ([signal(A.reshape(12, 5, D))], [signal(B.reshape(10, 6, E))], "positions pair one to one"),
    "tokens": ([Signal("tokens", np.zeros((3, 2), np.int64))], [signal(B)], "tokens; translate is fitted to whole"),
    "nothing": ([], [], "no vectors"),
}


@pytest.mark.parametrize("name", UNPAIRED)
def test_what_cannot_be_paired(name):
    a, b, said = UNPAIRED[name]
    with pytest.raises(LemError, match=said):
        list(paired(a, b))


@pytest.mark.parametrize("how", ["procrustes", "ridge", "cca", "relative", "auto"])
def test_a_file_translates_as_the_fit_does(tmp_path, how):
    made, report = encode.fit("translate", lambda: [signal(A)], onto=lambda: [signal(B)], map=how, pairs=40, seed=1)
    assert report["pairs"] == 40 and (report["width"], report["width-onto"]) == (D, E)
    assert report["map"] == how or (how == "auto" and f"mrr-{report['map']}" in report)
    made.save(path := str(tmp_path / "ab"))
    again = encode.load(path)
    (out,), (kept,) = (list(encode.encode([signal(A)], coder)) for coder in (made, again))
    assert out.data.dtype == np.float32 and np.array_equal(out.data, kept.data)
    assert out.history[-1]["encoder"] == "translate" and out.history[-1]["pairs"] == 40
    (back,), (kept,) = (list(encode.decode([signal(B)], coder)) for coder in (made, again))
    assert back.data.shape == A.shape and np.array_equal(back.data, kept.data)
    if how not in ("procrustes", "relative"):  # (A is no rotation of B)
        assert np.abs(out.data - B).max() < 1e-3 and np.abs(back.data - A).max() < 1e-3
    sequences = next(iter(encode.encode([signal(A.reshape(12, 5, D))], made)))
    assert np.allclose(sequences.data.reshape(N, E), out.data, atol=1e-5)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    here = tmp_path_factory.mktemp("translate")
    order = rng.permutation(N)
    write(here / "a.safetensors", A, NAMES)
    write(here / "b.safetensors", B[order], [NAMES[i] for i in order])
    write(here / "twice.safetensors", B, [*NAMES[:-1], "w3"])
    write(here / "other.safetensors", B, [*NAMES[:-1], "x"])
    zero, bad = A.copy(), A.copy()
    zero[7], bad[9, 1] = 0, np.nan
    zero4 = B.copy()
    zero4[3] = 0
    for name, x in (
        ("a", A),
        ("b", B),
        ("zero", zero),
        ("huge", A.astype(np.float64) * 1e60),
        ("same", np.tile(A[:1], (N, 1))),
        ("zero4", zero4),
        ("nan", bad),
        ("one", A[:1]),
        ("b1", B[:1]),
        ("four", A[:4]),
        ("b4", B[:4]),
    ):
        np.save(here / f"{name}.npy", x)
    (here / "t.txt").write_text("text\n")
    line = "--encoder translate --fit --onto b.safetensors a.safetensors -o ab.safetensors"
    done = lem_fork("encode", *line.split(), cwd=here)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"pairs\t60\nwidth\t6\nwidth-onto\t4\nmap\tcca\n" in done.stdout
    return here


def test_there_and_back_in_the_shell(bench):
    done = lem_fork("encode", "--model", "ab.safetensors", "a.npy", "-o", "b2.safetensors", cwd=bench)
    assert (done.returncode, done.stderr, done.stdout) == (0, b"", b"")
    (out,) = load([str(bench / "b2.safetensors")])
    assert np.abs(out.data - B).max() < 1e-3
    back = lem_fork("encode", "--decode", "--model", "ab.safetensors", "b2.safetensors", "-o", "a2.npy", cwd=bench)
    assert back.returncode == 0 and np.abs(np.load(bench / "a2.npy") - A).max() < 1e-3


def test_pairs_are_drawn_by_the_seed_and_printed(bench):
    line = "--encoder translate --fit --json --map ridge --pairs 20 --onto b.npy a.npy -o ab20.safetensors --seed"
    files = []
    for seed in "1", "1", "2":
        done = lem_fork("encode", *line.split(), seed, cwd=bench)
        assert json.loads(done.stdout)["pairs"] == 20 and json.loads(done.stdout)["map"] == "ridge"
        files.append((bench / "ab20.safetensors").read_bytes())
    assert files[0] == files[1] != files[2]


def test_self_learning_says_what_it_did(bench):
    line = "--encoder translate --fit --map procrustes --pairs 10 --onto b.npy --more a.safetensors --onto-more b.safetensors a.npy"
    files = []
    for _ in range(2):
        done = lem_fork("encode", *line.split(), "-o", "grown.safetensors", cwd=bench)
        assert (done.returncode, done.stderr) == (0, b""), done.stderr
        said = dict(row.split("\t") for row in done.stdout.decode().splitlines())
        assert said["map"] == "procrustes" + ", self-learnt" * (said["rounds"] != "0") and said["pairs"] == "10"
        assert {"mrr-before", "mrr-after"} <= set(said)
        files.append((bench / "grown.safetensors").read_bytes())
    assert files[0] == files[1]
    out = lem_fork("encode", "--model", "grown.safetensors", "a.npy", "-o", "grown-b.npy", cwd=bench)
    assert (out.returncode, out.stderr) == (0, b"") and np.load(bench / "grown-b.npy").shape == B.shape


FIT = "--encoder translate --fit"
REFUSED = {
    f"{FIT} a.npy": "translate needs the other side of the pairs: --onto FILE",
    f"{FIT} --onto b1.npy one.npy": "1 pairs; a map needs 2",
    f"{FIT} --onto b4.npy four.npy": "4 pairs; auto leaves pairs out and needs 5 at least: name a --map",
    f"{FIT} --onto b.npy --pairs 61 a.npy": "60 pairs; --pairs 61",
    f"{FIT} --onto b.npy --pairs 1 a.npy": "--pairs",
    f"{FIT} --onto b1.npy a.npy": "a.npy: more items than the other side's 1",
    f"{FIT} --onto b.npy a.safetensors": "a.safetensors has names, b.npy has none",
    f"{FIT} --onto twice.safetensors a.safetensors": "twice.safetensors: two items of the name w3",
    f"{FIT} --onto other.safetensors a.safetensors": "w59 is there alone",
    f"{FIT} --onto b.npy nan.npy": "nan.npy: NaN or infinite values (item 9)",
    f"{FIT} --onto b.npy zero.npy": "vector 7 of zero.npy is zero",
    f"{FIT} --onto huge.npy a.npy": "vector 0 of huge.npy has a length beyond 1e-18 to 1e+18: scale the set",
    f"{FIT} --onto same.npy a.npy": "--onto: all vectors are the same",
    f"{FIT} --onto b.npy same.npy": "the input: all vectors are the same",
    f"{FIT} --onto b.npy --more same.npy --onto-more b.npy a.npy": "--more: all vectors are the same",
    f"{FIT} --unpaired --onto same.npy a.npy": "--onto: all vectors are the same",
    f"{FIT} --onto b.npy a.npy b.npy": "b.npy: vectors of 4 numbers among such of 6",
    f"{FIT} --onto t.txt a.npy": "t.txt: tokens; translate is fitted to whole embeddings",
    f"{FIT} --onto nowhere.npy a.npy": "nowhere.npy",
    f"{FIT} --onto b.npy --map best a.npy": "best",
    f"{FIT} --onto b.npy --more a.npy a.npy": "--more and --onto-more go together",
    f"{FIT} --onto b.npy --onto-more b.npy a.npy": "--more and --onto-more go together",
    f"{FIT} --onto b.npy --more b.npy --onto-more b.npy a.npy": "vectors of 4 numbers among such of 6 in --more",
    f"{FIT} --onto b.npy --more four.npy --onto-more b.npy a.npy": "--more: 4 vectors; without pairs 50 are needed",
    f"{FIT} --onto b.npy --more a.npy --onto-more zero4.npy a.npy": "vector 3 of zero4.npy is zero",
    f"{FIT} --onto b.npy --more t.txt --onto-more b.npy a.npy": "t.txt: tokens; translate is fitted to whole embeddings",
    f"{FIT} --onto b.npy --pairs 7 --more a.npy --onto-more b.npy a.npy": "7 pairs; self-learning leaves pairs out and needs 8",
    f"{FIT} --unpaired --onto b4.npy a.npy": "--onto: 4 vectors; without pairs 50 are needed",
    f"{FIT} --unpaired --onto b.npy four.npy": "the input: 4 vectors; without pairs 50 are needed",
    f"{FIT} --unpaired --onto b.npy --pairs 20 a.npy": "--pairs is for pairs; --unpaired has none",
    f"{FIT} --unpaired --onto b.npy --map ridge a.npy": "--map is for pairs; --unpaired has none",
    f"{FIT} --unpaired a.npy": "translate needs the other side",
    f"{FIT} --unpaired --common 4 a.npy b.npy": "--unpaired is not for --common",
    "--model ab.safetensors --more b.npy a.npy": "--more is for translate, where it is fitted",
    "--encoder pca --fit --more a.npy a.npy": "--more is for translate",
    "--model ab.safetensors b.npy": "vectors of 4 numbers; this map translates from such of 6",
    "--model ab.safetensors --decode a.npy": "vectors of 6 numbers; this map translates back from such of 4",
    "--model ab.safetensors zero.npy": "vector 7 is zero",
    "--model ab.safetensors huge.npy": "vector 0 has a length beyond",
    "--model ab.safetensors --map ridge a.npy": "--map is for translate, where it is fitted",
    "--encoder translate a.npy": "--encoder translate needs its map: --model FILE, from --fit --onto",
    "--encoder pca --fit --onto b.npy a.npy": "--onto is for translate",
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_be_is_one_line_and_leaves_nothing(bench, line):
    before = set(os.listdir(bench))
    done = lem_fork("encode", *line.split(), "-o", "out.safetensors", cwd=bench)
    said = done.stderr.decode()
    assert done.returncode == 2 and done.stdout == b"" and set(os.listdir(bench)) == before
    assert said.count("\n") == 1 and said.startswith("lem-encode: error: ") and REFUSED[line] in said, said


def test_the_other_side_is_not_written_over(bench):
    held = (bench / "b.safetensors").read_bytes()
    done = lem_fork(
        "encode", *FIT.split(), "--onto", "b.safetensors", "a.safetensors", "-o", "b.safetensors", cwd=bench
    )
    assert done.returncode == 2 and b"is input and output at once" in done.stderr
    assert (bench / "b.safetensors").read_bytes() == held
