"""lem-encode --encoder translate --common: a hub of several spaces, in, out, joined, and what is refused."""

import json
import os

import numpy as np
import pytest

import lemtools as lem
from helpers.commands import lem_fork
from lemtools import encode, stream
from lemtools.encode.pairing import together
from lemtools.media import load
from lemtools.signal import LemError, Signal
from lemtools.stream.files import ENCODER, load_tensors

rng = np.random.default_rng(6)
N = 80
Z = rng.standard_normal((N, 5))
SPACES = {
    name: (scale * Z @ np.linalg.qr(rng.standard_normal((d, d)))[0][:5] + scale).astype(np.float32)
    for name, d, scale in (("a", 5, 1), ("b", 5, 3), ("c", 8, 0.5), ("d", 6, 2))
}
NAMES = [f"w{i}" for i in range(N)]


def signal(x, names=None):
    return Signal("embedding", x, names=names)


def write(path, x, names=None):
    with open(path, "wb") as file:
        stream.write([signal(x, names)], file)


def tensors(path):
    return load_tensors(str(path), ENCODER, "an encoder")[1]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    here = tmp_path_factory.mktemp("hub")
    for name, x in SPACES.items():
        order = rng.permutation(N)
        write(here / f"{name}.safetensors", x[order], [NAMES[i] for i in order])
        np.save(here / f"{name}.npy", x)
    (here / "other").mkdir()
    np.save(here / "other/a.npy", SPACES["a"])
    np.save(here / "short.npy", SPACES["b"][:-1])
    np.save(here / "one.npy", SPACES["a"][:1])
    np.save(here / "two.npy", SPACES["b"][:1])
    zero, bad = SPACES["b"].copy(), SPACES["b"].copy()
    zero[7], bad[9, 1] = 0, np.nan
    np.save(here / "zero.npy", zero)
    np.save(here / "nan.npy", bad)
    np.save(here / "same.npy", np.ones((N, 7)))
    write(here / "stranger.safetensors", SPACES["b"], [*NAMES[:-1], "x"])
    run(here, f"{FIT} --common 5 a.safetensors b.safetensors c.safetensors -o hub.safetensors")
    run(here, f"{FIT} --map ridge --onto b.npy a.npy -o ab.safetensors")
    run(here, f"{FIT} --common 4 a.npy b.npy -o hub4.safetensors")
    run(here, "--model ab.safetensors a.npy -o b2.safetensors")
    return here


FIT = "--encoder translate --fit"


def run(here, line):
    done = lem_fork("encode", *line.split(), cwd=here)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr
    return done.stdout.decode()


def test_in_and_out_in_the_shell(bench):
    for name in "abc":
        run(bench, f"--model hub.safetensors --from {name} {name}.safetensors -o {name}h.safetensors")
        (h,) = load([str(bench / f"{name}h.safetensors")])
        assert h.data.shape == (N, 5) and h.data.dtype == np.float32 and h.history[-1]["from"] == name
        for to in "abc":
            out = run(bench, f"--decode --model hub.safetensors --to-space {to} {name}h.safetensors -o out.safetensors")
            (back,) = load([str(bench / "out.safetensors")])
            assert out == "" and np.abs(back.data - SPACES[to][[NAMES.index(n) for n in back.names]]).max() < 1e-4
        run(bench, f"--decode --model hub.safetensors {name}h.safetensors -o same.safetensors")  # where it came from
        assert np.abs(load_one(bench / "same.safetensors") - load_one(bench / f"{name}.safetensors")).max() < 1e-4


def load_one(path):
    (batch,) = load([str(path)])
    return batch.data


def test_what_the_fit_says(bench):
    said = run(bench, f"{FIT} --json --common 3 --pairs 40 --seed 2 a.npy b.npy c.npy -o three.safetensors")
    row = json.loads(said)
    assert row.items() >= {"items": 40, "width": 3, "width-a": 5, "width-c": 8, "axes": 3}.items()
    assert all(0 <= row[f"apart-{name}"] < 1e-6 for name in "abc")


def test_one_more_joins_and_the_others_stay_as_they_are(bench):
    said = run(
        bench,
        f"{FIT} --json --model hub.safetensors --add d.safetensors --pairs 30 a.safetensors c.safetensors -o more.safetensors",
    )
    row = json.loads(said)
    assert row.items() >= {"pairs": 30, "width": 6, "width-hub": 5}.items() and row["map"] in (
        "procrustes",
        "cca",
        "ridge",
    )
    before, after = tensors(bench / "hub.safetensors"), tensors(bench / "more.safetensors")
    assert len(after) == len(before) + 4
    assert all(held.tobytes() == after[name].tobytes() and held.dtype == np.float64 for name, held in before.items())
    run(bench, "--model more.safetensors --from d d.npy -o dh.safetensors")
    run(bench, "--model more.safetensors --from b b.npy -o bh.safetensors")  # (no member that it was joined by)
    joined, other = (load_one(bench / f"{name}h.safetensors") for name in "db")
    assert np.linalg.norm(joined - other) < 0.1 * np.linalg.norm(other)
    run(bench, f"{FIT} --model hub.safetensors --map ridge --add d.npy a.npy -o more.safetensors")
    run(bench, "--model more.safetensors --from d d.npy -o dh.safetensors")
    run(bench, "--decode --model more.safetensors --to-space b dh.safetensors -o db.npy")
    assert np.abs(np.load(bench / "db.npy") - SPACES["b"]).max() < 1e-2
    run(bench, "--model hub.safetensors --from a a.npy -o ah.safetensors")  # vectors of the hub as it was before
    run(bench, "--decode --model more.safetensors --to-space d ah.safetensors -o ad.npy")
    assert np.abs(np.load(bench / "ad.npy") - SPACES["d"]).max() < 1e-2


def test_the_same_command_writes_the_same_bytes(bench):
    files = []
    for _ in range(2):
        run(bench, f"{FIT} --common 3 --pairs 40 a.npy b.npy -o again.safetensors")
        files.append((bench / "again.safetensors").read_bytes())
    assert files[0] == files[1]


def test_from_python_and_in_sequences():
    hub = lem.fit({name: SPACES[name] for name in "abc"}, "translate", common=5)
    (h,) = lem.encode(SPACES["a"].reshape(16, 5, 5), hub, from_space="a")
    assert h.data.shape == (16, 5, 5)
    (flat,) = lem.encode(SPACES["a"], hub, from_space="a")
    assert np.allclose(h.data.reshape(N, 5), flat.data, atol=1e-6)
    (back,) = lem.encode(h, hub, decode=True, to_space="c")
    assert np.abs(back.data.reshape(N, 8) - SPACES["c"]).max() < 1e-4
    more = lem.fit({"b": SPACES["b"]}, "translate", hub=hub, add={"d": SPACES["d"]}, map="ridge")
    (out,) = lem.encode(flat, more, decode=True, to_space="d")
    assert np.abs(out.data - SPACES["d"]).max() < 1e-2
    with pytest.raises(LemError, match="no space 'd' in this hub; it has a, b and c"):
        lem.encode(SPACES["d"], hub, from_space="d")
    with pytest.raises(LemError, match="takes several inputs by name"):
        lem.fit(SPACES["a"], "translate", common=5)


def test_three_sets_match_by_name_from_where_the_order_differs():
    x, y, z = (SPACES[name] for name in "abc")
    order, other = rng.permutation(N), np.r_[:20, 20 + rng.permutation(N - 20)]
    found = list(
        together({
            "a": [signal(x[:30], NAMES[:30]), signal(x[30:], NAMES[30:])],
            "b": [signal(y[order], [NAMES[i] for i in order])],
            "c": [signal(z[other[i : i + 7]], [NAMES[k] for k in other[i : i + 7]]) for i in range(0, N, 7)],
        })
    )  # fmt: skip
    for i, whole in enumerate((x, y, z)):
        assert np.array_equal(np.concatenate([block[i] for block in found]), whole)


FULL = "--model hub.safetensors"
REFUSED = {
    f"{FIT} --common 4 a.npy": "a hub of 1 space; name 2 files at least",
    f"{FIT} --common 11 a.npy b.npy": "a hub of 11 numbers; its spaces have 10 together",
    f"{FIT} --common 4 a.npy other/a.npy": "two spaces of the name a",
    f"{FIT} --common 4 a.npy -": "standard input has no name",
    f"{FIT} --common 4 a.npy short.npy": "a.npy: more items than the other side's 79",
    f"{FIT} --common 4 one.npy two.npy": "1 items; a map needs 2",
    f"{FIT} --common 4 --pairs 90 a.npy b.npy": "80 items; --pairs 90",
    f"{FIT} --common 4 a.safetensors b.npy": "a.safetensors has names, b.npy has none",
    f"{FIT} --common 4 a.safetensors stranger.safetensors": "is there alone",
    f"{FIT} --common 4 a.npy zero.npy": "vector 7 of zero.npy is zero",
    f"{FIT} --common 4 a.npy same.npy": "same: all vectors are the same",
    f"{FIT} {FULL} --add same.npy a.npy": "same: all vectors are the same",
    f"{FIT} --common 4 a.npy nan.npy": "nan.npy: NaN or infinite values (item 9)",
    f"{FIT} --common 4 --onto b.npy a.npy": "--onto is not for --common",
    f"{FIT} --common 4 --map ridge a.npy b.npy": "--map is not for --common",
    f"{FIT} --common 4 --add d.npy a.npy b.npy": "--add is not for --common",
    f"{FIT} {FULL} a.npy": "leave out --model",
    f"{FIT} --add d.npy a.npy": "--add joins a hub: --model HUB, from --fit --common",
    f"{FIT} --model ab.safetensors --add d.npy a.npy": "--add joins a hub",
    f"{FIT} {FULL} --add other/a.npy b.npy": "--add a: the hub has a space of this name",
    f"{FIT} {FULL} --add d.npy short.npy": "no space 'short' in this hub; it has a, b and c",
    f"{FIT} {FULL} --add d.npy --map relative a.npy": "a space joins a hub by a matrix",
    f"{FIT} {FULL} --add one.npy a.npy": "more items than the other side's 1",
    f"{FIT} --from a --common 4 a.npy b.npy": "--from is for translate, where it encodes",
    f"{FULL} a.npy": "say whose vectors these are: --from a or b or c",
    f"{FULL} --from x a.npy": "no space 'x' in this hub; it has a, b and c",
    f"{FULL} --from c a.npy": "vectors of 5 numbers; c has such of 8",
    f"{FULL} --from b zero.npy": "vector 7 is zero",
    f"{FULL} --from a --to-space b a.npy": "--to-space is for translate, where it decodes",
    f"--decode {FULL} a.npy": "say into which space of the hub: --to-space a or b or c",
    f"--decode {FULL} --to-space x a.npy": "no space 'x' in this hub",
    f"--decode {FULL} --to-space a c.npy": "vectors of 8 numbers; the hub has such of 5",
    f"--decode {FULL} --from a a.npy": "--from is for translate, where it encodes",
    "--decode --model hub.safetensors --to-space a h4.safetensors": "vectors of another hub",
    "--decode --model ab.safetensors h4.safetensors": "vectors of a hub, not of the space that this map translates into",
    f"--decode {FULL} --to-space a b2.safetensors": "vectors of another hub",
    "--model ab.safetensors --from a a.npy": "'a' names a space of a hub; this is a map of two",
}  # fmt: skip


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_be_is_one_line_and_leaves_nothing(bench, line):
    run(bench, "--model hub4.safetensors --from a a.npy -o h4.safetensors")
    before = set(os.listdir(bench))
    done = lem_fork("encode", *line.split(), "-o", "out2.safetensors", cwd=bench)
    said = done.stderr.decode()
    assert done.returncode == 2 and done.stdout == b"" and set(os.listdir(bench)) == before, said
    assert said.count("\n") == 1 and said.startswith("lem-encode: error: ") and REFUSED[line] in said, said


def test_a_hub_is_not_written_over_by_what_grows_from_it(bench):
    held = (bench / "hub.safetensors").read_bytes()
    done = lem_fork("encode", *f"{FIT} {FULL} --add d.npy a.npy -o hub.safetensors".split(), cwd=bench)
    assert done.returncode == 2 and b"is input and output at once" in done.stderr
    assert (bench / "hub.safetensors").read_bytes() == held


def test_a_damaged_record_is_one_line(bench):
    record, held = load_tensors(str(bench / "hub.safetensors"), ENCODER, "an encoder")
    from lemtools.stream.files import write_fitted

    for change in ({"spaces": ["a", "b"]}, {"spaces": ["a", "a", "b"]}, {"width": 6}, {"members": 4}):
        write_fitted(str(bench / "bad.safetensors"), record | change, held)
        with pytest.raises(LemError, match="damaged record of translate"):
            encode.load(str(bench / "bad.safetensors"))
    (bench / "bad.safetensors").unlink()
