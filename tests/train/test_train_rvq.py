"""lem-train rvq: codebooks that follow batches, against their definition, the fit in memory, and bad input."""

import json
import shlex

import numpy as np
import pytest
import torch

from helpers.commands import lem_fork, lem_together
from helpers.training import dying, files, told
from helpers.vectors import gaussian
from lemtools import encode
from lemtools.nets.model import load
from lemtools.ranks import Ranks
from lemtools.signal import LemError
from lemtools.stream.files import read_fitted
from lemtools.train import checkpoint, codebooks
from lemtools.train.data import Batches
from lemtools.train.dry import dry_run
from lemtools.train.loop import train
from lemtools.train.prepare import prepare
from lemtools.train.settings import Settings
from lemtools.vq.learn import Average, share_of_noise
from lemtools.vq.residual import LAYOUT, RVQ

SPECTRUM = 1 / np.arange(1, 17)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """2000 vectors of 16 dimensions about 1, and 500 more."""
    here = tmp_path_factory.mktemp("data")
    np.save(here / "x.npy", gaussian(2000, SPECTRUM) + 1)
    np.save(here / "held.npy", gaussian(500, SPECTRUM, 1) + 1)
    return here


def run(folder, where, **more) -> Settings:
    """A small run: 12 steps of 64, a checkpoint every 4, 2 x 16 codes."""
    plain = dict(
        recipe="rvq",
        data=[str(where / "x.npy")],
        output=str(folder / "model.safetensors"),
        steps=12,
        batch=64,
        save_every=4,
        workers=0,
        device="cpu",
        ema=0.9,
        log=str(folder / "log.jsonl"),
    )
    return Settings(**{**plain, **more, "options": {"stages": 2, "codes": 16, **more.get("options", {})}})


def result(folder) -> tuple:
    state, record, _ = checkpoint.load_state(str(folder / "model.safetensors"))
    _, tensors = read_fitted(str(folder / "model.safetensors"), lambda record, found: LAYOUT)
    tensors = {**{k: v.numpy() for k, v in state.items()}, **{f"file.{k}": v for k, v in tensors.items()}}
    return record, {k: v.tobytes() for k, v in tensors.items()}, told(folder / "log.jsonl")


# the update


def brute(z, weight, codes, books, prior, total, decay):
    """The first update by its definition (van den Oord et al. 2017, A.1): sums of residuals, one vector after the other;
    the stages in turn, twice, each on what the others leave; every mean drawn to 0 as by within / between vectors."""
    left = z - sum(books[s][codes[:, s]] for s in range(len(books)))
    own = (weight[:, None] * left**2).sum(0) / weight.sum()
    squares = prior * ((books**2).sum(1) + books.shape[1] * own)  # as the codes stand, they left as much
    books, count = books.copy(), np.full(books.shape[:2], decay * prior)
    for n, path in enumerate(codes):
        for s, c in enumerate(path):
            count[s, c] += weight[n]
    for _ in range(2):
        for s in range(len(books)):
            new, square = decay * total[s], decay * squares[s]
            for n, path in enumerate(codes):
                others = sum(books[t, c] for t, c in enumerate(path) if t != s)
                new[path[s]] += weight[n] * (z[n] - others)
                square += weight[n] * (z[n] - others) ** 2
            n, k = count[s].sum(), len(count[s])
            between = (new**2 / count[s][:, None]).sum(0) / n
            within = (square / n - between) * n / (n - k)
            ridge = within / (between - within * k / n)
            books[s] = np.where(ridge > 0, new / (count[s][:, None] + ridge), 0)
    return books, count


def test_an_update_is_the_one_of_its_definition():
    draw = np.random.default_rng(0)
    books, z = (draw.standard_normal(shape).astype(np.float32) for shape in ((3, 4, 2), (50, 2)))
    weight, codes = draw.random(50, np.float32) + 0.5, draw.integers(4, size=(50, 3))
    average = Average(torch.tensor(books), 0.9, torch.Generator(), prior=7.0)
    total = average.sum.numpy().copy()
    assert np.allclose(total, books * 7)
    average.update(*(torch.tensor(v) for v in (z, weight, codes)))
    wanted, count = brute(z, weight, codes, books, 7.0, total, 0.9)
    np.testing.assert_allclose(average.codebooks.numpy(), wanted, atol=1e-5)
    np.testing.assert_allclose(average.count.numpy(), count, rtol=1e-5)


def test_noise_fades_and_is_a_function_of_the_seed_and_the_step(tmp_path, data):
    assert [share_of_noise(i, 4, 2.0) for i in range(4)] == [1.5, 1, 0.5, 0]
    prepared = prepare(run(tmp_path, data))
    one, other = (codebooks.Codebooks(prepare(run(tmp_path, data)), Ranks(), "cpu") for _ in range(2))
    batches = Batches(prepared.spec)
    for step in (0, 1):
        assert torch.equal(one.advance(batches[step]), other.advance(batches[step]))
    assert all(torch.equal(a, b) for a, b in zip(one.rvq.codebooks, other.rvq.codebooks))
    other = codebooks.Codebooks(prepare(run(tmp_path, data, seed=1)), Ranks(), "cpu")
    other.rvq.set_codebooks(one.rvq.codebooks)
    assert not torch.equal(one._seeded("noise").get_state(), other._seeded("noise").get_state())


def test_dead_codes_are_revived_from_residuals(tmp_path, data):
    learner = codebooks.Codebooks(prepare(run(tmp_path, data, steps=40)), Ranks(), "cpu")
    rvq = learner.rvq
    far = rvq.codebooks[0].clone()
    far[:, 4:] = 1000.0  # three codes in four of every stage are where no vector is
    rvq.set_codebooks([far])
    learner._take(rvq)
    held = np.load(data / "held.npy")
    assert rvq.report(held)["dead[1]"] >= 0.7
    learner.averages[0].count[:, 4:] = 0  # that long ago
    batches = Batches(learner.prepared.spec)
    for step in range(40):
        learner.advance(batches[step])
    report = learner.rvq.report(held)
    assert report["dead[1]"] == report["dead[2]"] == 0 and report["NMSE"] < 0.5


def test_zero_vectors_teach_nothing(tmp_path, data):
    learner = codebooks.Codebooks(prepare(run(tmp_path, data)), Ranks(), "cpu")
    before = [average.count.clone() for average in learner.averages]
    loss = learner.advance({"target": torch.zeros(64, 16)})
    assert float(loss) == 0
    assert all(torch.allclose(a.count, 0.9 * b) for a, b in zip(learner.averages, before))


# runs


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, data):
    for options in ({}, {"groups": 2, "gain_shape": True, "cosine": 0.5}):
        wanted, here = tmp_path / f"wanted{len(options)}", tmp_path / f"here{len(options)}"
        wanted.mkdir()
        here.mkdir()
        train(run(wanted, data, options=options))
        for step in (4, 8):
            dying(run(here, data, options=options), step)
        lines = []
        train(run(here, data, options=options), lines.append)
        assert lines[-1] == "going on from step 4" and result(here) == result(wanted)
        again = train(run(here, data, options=options), lines.append)
        assert lines[-1] == "done already, 12 steps" and again.report["vectors"] == 200


def test_the_file_is_that_of_a_fit(tmp_path, data):
    prepared = train(run(tmp_path, data, options={"gain_shape": True, "gains": 4}, card={"licence": "none"}))
    path = prepared.settings.output
    held = np.load(data / "held.npy")
    fitted = RVQ.fit(np.load(data / "x.npy"), stages=2, codes=16, gain_shape=True, gains=4, updates=1)
    fitted.save(tmp_path / "fit.safetensors")
    (made, tensors), (record, wanted) = (
        read_fitted(str(p), lambda record, found: LAYOUT) for p in (path, tmp_path / "fit.safetensors")
    )
    assert set(made) == set(record) and {k: v.dtype for k, v in tensors.items()} == {
        k: v.dtype for k, v in wanted.items()
    }
    found = RVQ.load(path)
    assert np.array_equal(found.encode(held), prepared.model.rvq.encode(held)) and made["samples"] == 768
    assert prepared.report == {"fitted-to": 768, **found.report(prepared.validation.items.data)}
    with pytest.raises(LemError, match="codebooks, for lem-encode --model"):
        load(path)
    assert encode.load(path).name == "rvq"
    facts = json.loads(lem_fork("info", "--json", path).stdout)
    assert facts["card"]["lem"]["card"] == {"licence": "none"} and facts["problem"] is None


def test_it_beats_the_numbers_of_the_issue_but_for_the_fit_in_memory(tmp_path):
    x, held = gaussian(8000), gaussian(4000, seed=1)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "held.npy", held)
    report = train(
        run(
            tmp_path,
            tmp_path,
            validate=[str(tmp_path / "held.npy")],
            options={"stages": 4, "codes": 128},
            steps=40,
            batch=1024,
            save_every=40,
        )
    ).report
    assert report["bound-NMSE"] < report["NMSE"] <= 0.422  # of the fit, with all its updates, .419 (bench_rvq.py)
    assert max(report[f"dead[{s}]"] for s in (1, 2, 3, 4)) <= 0.02 and report["bits-nominal"] == 28


def test_clusters_are_found(tmp_path):
    """Noise of the data's own covariance does not stay."""
    draw = np.random.default_rng(0)
    centres = 10 * draw.standard_normal((16, 8))
    np.save(tmp_path / "x.npy", (centres[draw.integers(16, size=3000)] + 0.1 * draw.standard_normal((3000, 8))))
    report = train(run(tmp_path, tmp_path, options={"stages": 1}, steps=80, batch=256, save_every=80)).report
    assert report["NMSE"] < 0.08


def test_what_is_kept_back(tmp_path, data):
    asked = prepare(run(tmp_path, data))
    learnt, held = asked.spec.items.data, asked.validation.items.data
    everything = np.load(data / "x.npy")
    rows = np.concatenate([learnt[np.arange(len(learnt))], held])
    assert (len(learnt), len(held)) == (1800, 200) and np.array_equal(np.sort(rows, 0), np.sort(everything, 0))
    np.save(tmp_path / "sequences.npy", everything.reshape(20, 100, 16))
    asked = prepare(run(tmp_path, data, data=[str(tmp_path / "sequences.npy")]))
    kept = asked.validation.items.data.reshape(-1, 100, 16)
    assert len(kept) == 2 and all(any(np.array_equal(k, s) for s in everything.reshape(20, 100, 16)) for k in kept)
    assert (
        prepare(run(tmp_path, data, holdout=0)).validation is None
        and len(prepare(run(tmp_path, data, holdout=7)).validation.items) == 7
    )


def test_two_processes_learn_what_one_does(tmp_path, data):
    line = f"rvq --data {data / 'x.npy'} --codes 16 --stages 2 --groups 2 --steps 6 --batch 64 --device cpu -o {{}}"
    done = lem_fork("train", *line.format("one.safetensors").split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ends = lem_together("train", line.format("two.safetensors"), tmp_path)
    assert [code for code, _ in ends] == [0, 0], ends
    one, two = (RVQ.load(tmp_path / f"{n}.safetensors").codebooks for n in ("one", "two"))
    assert max(float((a - b).abs().max()) for a, b in zip(one, two)) < 1e-4


# the command


def test_the_command_prints_the_report_of_lem_encode(tmp_path, data):
    line = f"--codes 16 --stages 2 --cosine .5 --whiten --device cpu {{}} {data / 'x.npy'} -o {{}}.safetensors"
    settings = f"--steps 4 --batch 64 --validate {data / 'held.npy'}"
    done = lem_fork("train", "rvq", *line.format(f"{settings} --data", "a").split(), cwd=tmp_path)
    fit = lem_fork(
        "encode", *line.format(f"--encoder rvq --fit --validate {data / 'held.npy'}", "b").split(), cwd=tmp_path
    )
    assert done.returncode == fit.returncode == 0, done.stderr
    a, b = ([row.split("\t") for row in out.stdout.decode().splitlines()] for out in (done, fit))
    assert [name for name, _ in a] == [name for name, _ in b]
    apart = {name: (one, other) for (name, one), (_, other) in zip(a, b) if one != other}
    assert not {"vectors", "bits-nominal", "bound-NMSE"} & set(apart)
    assert b"lem-train: rvq: codebooks of" in done.stderr and b"a cosine of 0.9 takes" in done.stderr
    coded = lem_fork("encode", "--model", "a.safetensors", str(data / "held.npy"), "-o", "c.safetensors", cwd=tmp_path)
    assert coded.returncode == 0, coded.stderr


def test_a_dry_run_counts_the_search(tmp_path, data):
    cost = dry_run(run(tmp_path, data, flops=1e8, steps=None))
    wide = prepare(run(tmp_path, data)).model.rvq.codebooks[0].shape[2]
    # the first stage: [t, 1, |t|^2] @ [W + 2, K]; the second: every vector with its codes, and once a batch of 64 the
    # codes of the first with its own, which 8 paths look up; and the coordinates
    assert cost["flops_per_item"] == 2 * 16 * ((wide + 2) + wide + 16 * wide / 64) + 2 * 16 * wide
    assert cost["steps"] == round(1e8 / (64 * cost["flops_per_item"])) and not list(tmp_path.iterdir())


BAD = [
    ("--clip 1", "--clip is not for rvq"),
    (
        "--fragment '--bits 3'",
        "--fragment is for feedforward, recurrent, autoregressive, diffusion and classifier, not rvq",
    ),
    ("--weighting level", "--weighting is for feedforward and recurrent, not rvq"),
    ("--dtype float32", "--dtype is not for rvq"),
    ("--set depth=3", "--set depth: rvq has no 'depth'; it has stages, codes"),
    ("--set beam=.5", "--set beam=.5: it takes a whole number"),
    ("--set gains=1", "--gains must lie in 2 .. 16, not 1"),
    ("--groups 3", "16 dimensions do not divide into 3 groups; they do into 1, 2, 4, 8, 16"),
    ("--codes 2000", "1800 vectors (not counting zeros) for 2000 codes; give fewer (--codes)"),
    ("--holdout 2000", "--holdout 2000 leaves nothing of 2000 items"),
    ("--validate wide.npy", "--validate: vectors of 5 dimensions among those of 16"),
    ("--validate x.npy", "x.npy is among --data, too"),
    ("--data pixels.npy", "rvq learns codebooks of whole embeddings, not image"),
    ("--data nan.npy", "NaN or infinite values (item 3)"),
    ("--data huge.npy", "is beyond float32"),
    ("--data far.npy", "far.npy: vector 1234: its largest number is 1e+20"),  # of the data, not of what is learnt from
    ("--validate far.npy", "far.npy: vector 1234: its largest number is 1e+20"),
    ("--data zero.npy", "no vectors to fit to"),
    ("--data part.safetensors", "rvq learns codebooks of whole embeddings, not embedding fragments"),
]


@pytest.fixture(scope="module")
def bad(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("bad")
    x = np.load(data / "x.npy")
    broken, huge, far = x[:50].copy(), x[:50].astype(np.float64), x.copy()
    broken[3, 2], huge[:, 1], far[1234] = np.nan, 1e300, 1e20
    for name, array in (
        ("x", x),
        ("wide", x[:, :5]),
        ("nan", broken),
        ("huge", huge),
        ("zero", np.zeros((40, 4), np.float32)),
        ("far", far),
        ("pixels", np.zeros((4, 1, 8, 8), np.uint8)),
    ):
        np.save(folder / f"{name}.npy", array)
    assert lem_fork("fragment", "--bits", "3", "x.npy", "-o", "part.safetensors", cwd=folder).returncode == 0
    return folder


@pytest.mark.parametrize("line, says", BAD)
def test_refused_in_one_line_before_anything_is_written(line, says, bad):
    before = files(bad)
    data = "" if "--data" in line else "--data x.npy"
    words = shlex.split(f"rvq {line} {data} --steps 2 --device cpu -q -o m.safetensors")
    words += [] if "--codes" in line else ["--codes", "16"]
    done = lem_fork("train", *words, cwd=bad)
    errors = done.stderr.decode().splitlines()
    assert done.returncode == 2 and len(errors) == 1 and says in errors[0] and "a defect" not in errors[0], errors
    assert files(bad) == before


def test_options_of_codebooks_are_for_rvq_alone(bad):
    done = lem_fork("train", "diffusion", "--data", "x.npy", "--gain-shape", "-o", "m.safetensors", cwd=bad)
    assert done.returncode == 2 and b"--gain-shape is for rvq, not diffusion" in done.stderr


def test_a_vector_beyond_float32_ends_the_run(tmp_path, data):
    learner = codebooks.Codebooks(prepare(run(tmp_path, data)), Ranks(), "cpu")
    learner.advance({"target": torch.full((64, 16), 1e300, dtype=torch.float64)})
    with pytest.raises(LemError, match="the loss is not finite by step 1"):
        learner.check()
