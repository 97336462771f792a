"""The experiment of examples/: every arm is searched and trained alike; the controls of both tables are the same."""

import importlib
import sys

import numpy as np
import pytest

from helpers.paths import EXAMPLES
from helpers.training import images
from lemtools.cli.train import operations
from lemtools.fragment import fragment
from lemtools.media import store
from lemtools.signal import Signal


@pytest.fixture
def example(monkeypatch):
    """A module of examples/ by its name; what it reads of the environment is as given."""
    monkeypatch.syspath_prepend(EXAMPLES)

    def get(name, **environment):
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        sys.modules.pop(name, None)
        return importlib.import_module(name)

    return get


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def ended(model, loss) -> None:
    """What a run of the search leaves behind; a loss of none: it failed."""
    model.parent.mkdir(parents=True, exist_ok=True)
    if loss is None:
        model.with_suffix(".failed").touch()
    else:
        model.touch()
        model.with_suffix(".jsonl").write_text(f'{{"step": 1}}\n{{"held_out_loss": {loss}}}\n')


def test_every_arm_has_the_same_search(example, tmp_path):
    """The rates of RATES first, at an eighth of the operations of the runs proper, with everything else the same."""
    dream = example("recall_vs_dream", SETS="mnist fashion", SEEDS="0 1 2", FLOPS="1e15", BATCH="128")
    arms = {*dream.ARMS, dream.ONLY, *dream.CODES}
    search = dream.jobs(tmp_path)
    assert set(search) == {
        tmp_path / name / f"search/{arm}-{lr}.safetensors" for name in dream.SETS for arm in arms for lr in dream.RATES
    }
    for model in search:
        ended(model, abs(float(option(search[model], "--lr")) - 3e-3))
    runs = dream.jobs(tmp_path)
    assert set(runs) == {
        tmp_path / name / f"{arm}-{seed}.safetensors" for name in dream.SETS for arm in arms for seed in (0, 1, 2)
    }
    for model, words in runs.items():
        arm, seed = model.stem.rsplit("-", 1)
        assert option(words, "--seed") == seed and option(words, "--lr") == "3e-3"
        for lr in dream.RATES:
            changed = {"--lr": lr, "--seed": "9", "--flops": f"{float(option(words, '--flops')) / 8:g}"}
            wanted = list(words)
            for name, value in changed.items():
                wanted[wanted.index(name) + 1] = value
            assert search[model.parent / f"search/{arm}-{lr}.safetensors"] == wanted
        assert float(option(words, "--flops")) == 1e15 / (50 if arm in dream.CODES else 1)


@pytest.mark.parametrize(
    ("losses", "wider", "best"),
    [
        ({"1e-3": 3, "3e-3": 1, "1e-2": 2, "3e-2": None}, [], "3e-3"),
        ({"1e-3": 1, "3e-3": 2, "1e-2": 3, "3e-2": None}, ["3e-4"], "1e-3"),
        ({"1e-3": 1, "3e-3": 2, "1e-2": 3, "3e-2": None, "3e-4": 0.5}, ["1e-4"], "3e-4"),
        ({"1e-3": 3, "3e-3": 2, "1e-2": 1, "3e-2": 0.5}, ["1e-1"], "3e-2"),
        ({"1e-3": 3, "3e-3": 2, "1e-2": 1, "3e-2": "NaN"}, [], "1e-2"),
    ],
)
def test_a_search_goes_on_until_the_best_rate_is_inside(example, tmp_path, losses, wider, best):
    dream = example("recall_vs_dream", SETS="mnist")
    for lr, loss in losses.items():
        ended(tmp_path / f"search/raster-{lr}.safetensors", loss)
    assert dream.search(tmp_path, "raster") == ((wider, None) if wider else ([], best))
    for lr in wider:
        ended(tmp_path / f"search/raster-{lr}.safetensors", 9)
    assert dream.search(tmp_path, "raster") == ([], best)


def test_a_run_that_was_cut_off_is_not_finished(example, tmp_path):
    dream = example("recall_vs_dream", SETS="mnist")
    model = tmp_path / "raster-0.safetensors"
    model.touch()
    for log, done in (("", False), ('{"step": 50}\n', False), ('{"step": 50}\n{"held_out_loss": 2}\n', True)):
        model.with_suffix(".jsonl").write_text(log)
        assert dream.finished(model) == done


def test_commands_side_by_side(example, tmp_path, capfd):
    """What is asked for after others have ended is run too, once; only a search may fail."""
    dream = example("recall_vs_dream", SETS="mnist")
    dream.devices = lambda: ["", ""]
    first, second = tmp_path / "search/a", tmp_path / "b"

    def waiting() -> dict:
        found = {} if first.with_suffix(".failed").exists() else {first: ["false"]}
        return found or {second: ["sh", "-c", f"echo once >> {second}"]}

    first.parent.mkdir()
    dream.side_by_side(waiting)
    assert second.read_text() == "once\n"
    with pytest.raises(SystemExit, match="failed: false"):
        dream.side_by_side(lambda: {second: ["false"]})


def test_a_cell_has_the_interval_over_items_of_the_means_over_runs(example):
    from lemtools.compare.summary import mean_interval

    dream, gaps, gain = example("recall_vs_dream"), example("gaps"), example("gain")
    x = np.random.default_rng(0).normal(20, 3, (3, 12))
    mean, low, high = mean_interval(x.mean(0))
    assert dream.cell([*x]) == f"{mean:.4g} [{low:.4g}, {high:.4g}] +- {x.mean(1).std(ddof=1):.2g}"
    assert dream.cell([1.0, 2.0]) == "1.5 +- 0.71" and dream.cell([np.nan]) == "-"
    mean, low, high = mean_interval(x[0])
    assert gain.cell(x[0]) == f"{mean:.2f} [{low:.2f}, {high:.2f}]"
    assert gaps.cell([[v, v] for v in x[0]]) == gain.cell(x[0])  # a clip's gaps are one draw
    assert gaps.cell([[1.0], [4.0, 4.0]]).startswith("3.00 [")


def test_bits_go_where_they_lessen_the_error_most(example):
    dense = example("dense_tokens")
    normal = np.sort(np.random.default_rng(0).normal(size=20_000))
    for bits, least in ((1, 0.3634), (2, 0.1175), (3, 0.03454)):  # Max 1960
        levels, error = dense.lloyd(normal, bits)
        assert len(levels) == 2**bits and error == pytest.approx(least, rel=0.04)
    errors = np.array([[[9, 4, 2, 1.5], [4, 3.9, 0.5, 0.4], [1, 0.9, 0.8, 0.7]]])
    assert dense.allocated(errors, np.zeros(1), 2) == [2, 0, 0] and dense.allocated(errors, np.zeros(1), 9) == [3, 3, 3]
    twice = np.concatenate([errors, np.array([[[0.1, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1], [0.1, 0.001, 0, 0]]])])
    assert dense.allocated(twice, np.zeros(2), 1) == [1, 0, 0]  # means of logarithms: 9/14 and .2/.3, 13.9/14
    assert dense.allocated(twice, np.array([99, 0.0]), 1) == [0, 0, 1]  # nothing to be had in the first photo
    x = np.random.default_rng(1).normal(size=(4000, 4)) * [4, 2, 1, 0.5]
    code = dense.Components([x[:1000], x[1000:]], 6)
    found = np.square(code(x) - x).mean(0)
    assert found[0] < 16 * 0.13 and sum(len(levels).bit_length() - 1 for levels in code.levels) == 6


def test_controls_of_both_tables(example, tmp_path):
    controls = example("controls")
    train, whole = images(60, 1, 16), Signal("image", images(6, 1, 16, seed=1))
    np.save(tmp_path / "train.npy", train)
    ways = controls.controls(store([str(tmp_path / "train.npy")]), 0)
    for spec, names in (("--mask .5", [*ways][:-1]), ("--bits 2", [*ways])):
        (broken,) = fragment([whole], operations(spec), 1)
        found = {name: back for name, back, seconds in controls.recalled(ways, broken) if seconds > 0}
        assert list(found) == names
        for name, back in found.items():
            assert np.array_equal(controls.held(broken, back), back) or name == "wiener"
    head, *rows = controls.table(train, whole, ["--mask .5", "--bits 2"], 1)
    assert head[:2] == ["fragment", "control"] and all(len(row) == len(head) for row in rows)
    first = ["mean", "nearest", "recall", "gaussian = wiener", "sample", "originals"]
    assert [row[1] for row in rows] == first + [
        "mean",
        "nearest",
        "recall",
        "gaussian",
        "sample",
        "wiener",
        "originals",
    ]
