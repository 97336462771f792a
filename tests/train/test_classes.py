"""lem-train classifier: it learns classes that there are, of whole memories and of fragments, and refuses what has none."""

import json

import numpy as np
import pytest
from safetensors.torch import load_file

import lemtools
from helpers.commands import lem
from helpers.training import dying
from lemtools.fragment import fragment
from lemtools.nets.judge import Judge
from lemtools.signal import LemError, Signal
from lemtools.train.data import held_out
from lemtools.train.loop import train
from lemtools.train.prepare import prepare
from lemtools.train.recipes.classes import Classify
from lemtools.train.settings import Settings

RNG = np.random.default_rng(0)
LABELS = np.arange(240) % 3
ROW, COLUMN = np.indices((8, 8))
PATTERNS = np.stack([(ROW % 2), (COLUMN % 2), (ROW + COLUMN) % 2])[:, None]  # lines across, lines down, a chessboard
BARS = (200 * PATTERNS[LABELS] + RNG.integers(0, 40, (240, 1, 8, 8))).astype(np.uint8)
SMALL = {"widths": [8, 8], "blocks": 1}
RUN = dict(steps=60, batch=16, lr=1e-2, save_every=20, holdout=30, device="cpu", options=SMALL)


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bars")
    lemtools.save(
        [Signal("image", BARS, names=[f"{'abc'[k]}/{i}" for i, k in enumerate(LABELS)])], str(folder / "x.safetensors")
    )
    np.save(folder / "labels.npy", LABELS)
    lines = [
        "name\tplace\tnumber",
        *(f"{'abc'[k]}/{i}\t{['left', 'middle', 'right'][k]}\t{k}" for i, k in enumerate(LABELS)),
    ]
    (folder / "labels.tsv").write_text("\n".join(lines) + "\n")
    return folder


def asked(bars, out, labels="labels.npy", **more) -> Settings:
    labels = labels if labels in ("folder", None) else str(bars / labels)
    return Settings(
        "classifier", [str(bars / "x.safetensors")], str(out / "m.safetensors"), labels=labels, **{**RUN, **more}
    )


def test_it_learns_what_there_is_to_learn(bars, tmp_path):
    train(asked(bars, tmp_path, log=str(tmp_path / "log")))
    last = json.loads((tmp_path / "log").read_text().splitlines()[-1])
    assert last["held_out_right"] == 1 and last["held_out_loss"] < 0.3
    judge = Judge(str(tmp_path / "m.safetensors"))
    assert (judge("image", BARS).classes == LABELS).all() and judge.names == ["0", "1", "2"]
    half = BARS.astype(np.float32) / 255
    np.testing.assert_allclose(judge("image", half).logits, judge("image", BARS).logits, atol=1e-4)


@pytest.mark.parametrize(
    "labels, names", [("labels.tsv:place", ["left", "middle", "right"]), ("folder", ["a", "b", "c"])]
)
def test_classes_have_names(bars, tmp_path, labels, names):
    train(asked(bars, tmp_path, labels, steps=2))
    judge = Judge(str(tmp_path / "m.safetensors"))
    assert judge.names == names and judge.numbers([names[2], names[0]]).tolist() == [2, 0]
    with pytest.raises(LemError, match="class 'top', which .* was not taught; it knows " + ", ".join(names)):
        judge.numbers(["top"])


def test_what_is_shown_of_a_fragment_is_its_decoded_value(bars, tmp_path):
    operations = [[{"op": "bits", "bits": 2}, {"op": "mask", "mask": 0.25}]]
    run = prepare(asked(bars, tmp_path, fragment=["--bits 2 --mask .25"], operations=operations))
    batch = run.batches(0, 1)[0]
    seen = []
    run.model.net.register_forward_pre_hook(lambda net, given: seen.append(given[0]))
    run.objective(batch)
    (left,) = fragment(
        [Signal("image", batch["target"].numpy(), index=np.arange(16))], operations[0], run.settings.seed
    )
    np.testing.assert_allclose(seen[0].numpy(), 2 * left.data.astype(float) / 255 - 1, atol=3e-3)


def test_a_run_that_died_ends_with_the_same_bytes(bars, tmp_path):
    for name in ("whole", "died"):
        (tmp_path / name).mkdir()
    train(asked(bars, tmp_path / "whole", labels="labels.tsv:place"))
    dying(asked(bars, tmp_path / "died", labels="labels.tsv:place"), 40)
    train(asked(bars, tmp_path / "died", labels="labels.tsv:place"))
    one, other = ((tmp_path / name / "m.safetensors").read_bytes() for name in ("whole", "died"))
    assert one == other and "head.weight" in load_file(tmp_path / "died/m.safetensors")


def test_what_has_no_classes_is_refused(bars, tmp_path):
    for labels, said in (
        (None, "no classes; give --labels FILE"),
        (
            "folder",
            "items that lie in no folders, as far as their names say: give the folder that holds these, or --labels FILE",
        ),
    ):
        settings = asked(bars, tmp_path, labels)
        if labels == "folder":
            lemtools.save([Signal("image", BARS)], str(tmp_path / "plain.safetensors"))
            settings.data[:] = [str(tmp_path / "plain.safetensors")]
        with pytest.raises(LemError, match=said):
            prepare(settings)
    for found, said in (
        (np.ones(240, int), "all items are of one class"),
        (LABELS[:-1], "239 labels for 240 items"),
    ):
        np.save(tmp_path / "l.npy", found)
        with pytest.raises(LemError, match=said):
            prepare(asked(bars, tmp_path, tmp_path / "l.npy"))


def test_a_loss_that_leaves_no_element_is_refused(bars, tmp_path):
    smaller = dict(fragment=["--downsample 2"], operations=[[{"op": "downsample", "downsample": 2}]])
    with pytest.raises(LemError, match="--downsample leaves no element of the memory"):
        prepare(asked(bars, tmp_path, **smaller))


def test_one_class_is_refused_however_it_is_called(bars, tmp_path):
    (tmp_path / "l.txt").write_text("left\n" * 240)
    settings = asked(bars, tmp_path, tmp_path / "l.txt")
    lemtools.save([Signal("image", BARS, names=[f"a/{i}" for i in range(240)])], str(tmp_path / "x.safetensors"))
    folder = asked(bars, tmp_path, "folder")
    folder.data[:] = [str(tmp_path / "x.safetensors")]
    for one in (settings, folder):
        with pytest.raises(LemError, match="all items are of one class"):
            prepare(one)


def test_labels_that_come_with_the_memories(bars, tmp_path):
    """Whole numbers from 0; those to validate on are among them, and of one size and rate with the data."""

    def stored(name, label, data=BARS):
        lemtools.save([Signal("image", data[: len(label)], label=np.array(label))], str(tmp_path / name))
        return str(tmp_path / name)

    def run(data, *validate):
        settings = asked(bars, tmp_path, None, validate=list(validate))
        settings.data[:] = [data]
        return prepare(settings)

    data = stored("data.safetensors", [0, 1, 2] * 20)
    found = run(data, stored("v.safetensors", [2, 1, 0]))
    assert found.validation.items.label.tolist() == [2, 1, 0] and found.model.meta["names"] == ["0", "1", "2"]
    assert found.validation.batch == 3 and found.validation.seed == found.spec.seed + 1
    with pytest.raises(LemError, match="--validate: an item of class 3; the data have up to 2"):
        run(data, stored("v.safetensors", [0, 3]))
    with pytest.raises(LemError, match=r"--validate: items of \[1, 8, 4\], where those of --data are \[1, 8, 8\]"):
        run(data, stored("v.safetensors", [0, 1], np.ascontiguousarray(BARS[..., :4])))
    with pytest.raises(LemError, match="v.safetensors is among --data, too|data.safetensors is among --data, too"):
        run(data, data)
    with pytest.raises(LemError, match="an item of class -1; classes are numbers from 0"):
        run(stored("negative.safetensors", [0, 1, -1] * 20))


def test_one_in_fifty_is_kept_back(bars, tmp_path):
    assert len(prepare(asked(bars, tmp_path, holdout=None)).validation.items) == 240 // 50


def test_sounds_to_validate_on_have_the_rate_of_the_data(tmp_path):
    for name, rate in (("a", 8000), ("b", 16000)):
        sounds = RNG.standard_normal((12, 1, 1600)).astype(np.float32) / 4
        lemtools.save(
            [Signal("audio", sounds, rate=rate, label=np.arange(12) % 2)], str(tmp_path / f"{name}.safetensors")
        )
    more = dict(
        encoder="log-mel", sound={"n_fft": 256, "hop": 64, "bands": 20}, validate=[str(tmp_path / "b.safetensors")]
    )
    settings = Settings(
        "classifier", [str(tmp_path / "a.safetensors")], str(tmp_path / "m.safetensors"), **{**RUN, **more}
    )
    with pytest.raises(LemError, match="--validate: .*of one kind and front end|16000"):
        prepare(settings)


def test_validation_has_classes_of_its_own(bars, tmp_path):
    lemtools.save(
        [Signal("image", BARS[:9], names=[f"v/{'abcd'[k]}/{i}" for i, k in enumerate([0, 1, 2] * 3)])],
        str(tmp_path / "v.safetensors"),
    )
    run = prepare(asked(bars, tmp_path, "folder", validate=[str(tmp_path / "v.safetensors")]))
    assert run.validation.items.label.tolist() == [0, 1, 2] * 3
    lemtools.save([Signal("image", BARS[:2], names=["v/a/0", "v/d/1"])], str(tmp_path / "w.safetensors"))
    with pytest.raises(LemError, match="a folder d, of which --data has none"):
        prepare(asked(bars, tmp_path, "folder", validate=[str(tmp_path / "w.safetensors")]))


def test_validation_on_items_of_one_class(bars, tmp_path):
    """It says what is right of these; labels in an order can be those of the data alone."""
    lemtools.save([Signal("image", BARS[:9], names=[f"v/a/{i}" for i in range(9)])], str(tmp_path / "v.safetensors"))
    settings = asked(bars, tmp_path, "folder", validate=[str(tmp_path / "v.safetensors")])
    assert (prepare(settings).validation.items.label == 0).all()
    with pytest.raises(
        LemError, match="--validate: .*labels.npy has the classes of --data, in their order; give a table"
    ):
        prepare(asked(bars, tmp_path, validate=[str(tmp_path / "v.safetensors")]))


def test_names_in_the_order_of_the_items(bars, tmp_path):
    (tmp_path / "l.txt").write_text("\n".join(["left", "middle", "right"][k] for k in LABELS))
    run = prepare(asked(bars, tmp_path, tmp_path / "l.txt"))
    assert run.model.meta["names"] == ["left", "middle", "right"]
    other = prepare(asked(bars, tmp_path))
    assert (run.batches(0, 1)[0]["label"] == other.batches(0, 1)[0]["label"]).all()


def test_a_family_of_depths_in_files_of_their_own(bars, tmp_path):
    """Each memory as often as there are files, under one name; none of them is kept back while another is learnt."""
    data = [str(bars / "x.safetensors")] * 2
    settings = asked(bars, tmp_path, "labels.tsv:place", holdout=0)
    settings.data[:] = data
    assert prepare(settings).spec.items.label.tolist() == LABELS.tolist() * 2
    settings = asked(bars, tmp_path, "labels.tsv:place", holdout=30)
    settings.data[:] = data
    with pytest.raises(LemError, match="a memory comes several times, .*: give --validate, or --holdout 0"):
        prepare(settings)


def test_embeddings_and_a_linear_map(tmp_path):
    x = RNG.standard_normal((200, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "l.npy", (x[:, 2] > 0).astype(int))
    line = "classifier --data x.npy --labels l.npy --set depth=0 --steps 300 --batch 32 --lr 5e-2 --ema .9 --device cpu -o m.safetensors -q"
    assert lem("train", *line.split(), cwd=tmp_path).returncode == 0
    judge = Judge(str(tmp_path / "m.safetensors"))
    assert (judge("embedding", x).classes == (x[:, 2] > 0)).mean() > 0.97
    with pytest.raises(LemError, match="was taught embeddings of 6, and is shown embeddings of 5"):
        judge("embedding", x[:, :5])


@pytest.mark.parametrize("shape", [(6,), (1, 4, 5)])
def test_coordinates_come_from_what_is_learnt_from(tmp_path, shape):
    """Whatever the items kept back are, the scale of the others is the same."""
    kind, (back, rows) = "embedding" if len(shape) == 1 else "spectrum", held_out(0, 60, 20)
    x = RNG.normal(3, 2, (60, *shape)).astype(np.float32)
    scales = []
    for i in range(2):
        x[back] *= 1 + 99 * i
        lemtools.save([Signal(kind, x, label=np.arange(60) % 2)], str(tmp_path / f"{i}.safetensors"))
        path, out = str(tmp_path / f"{i}.safetensors"), str(tmp_path / "m.safetensors")
        options = {"width": 4} if kind == "embedding" else SMALL
        scales.append(
            prepare(Settings("classifier", [path], out, **{**RUN, "holdout": 20, "options": options})).model.scale
        )
    for name in ("offset", "gain"):
        np.testing.assert_array_equal(*(np.asarray(getattr(scale, name)) for scale in scales))
    if kind == "spectrum":
        assert scales[0].offset == pytest.approx(x[rows].mean(dtype=float), abs=1e-6)
        assert scales[0].gain == pytest.approx(1 / x[rows].std(dtype=float))


@pytest.mark.parametrize("shape", [(6,), (1, 4, 5)])
def test_coordinates_of_fragments_are_of_what_was_seen(tmp_path, shape):
    kind, x = "embedding" if len(shape) == 1 else "spectrum", RNG.normal(3, 2, (60, *shape)).astype(np.float32)

    def stored(x, mask=0.4):
        (left,) = fragment([Signal(kind, x, label=np.arange(60) % 2)], [{"op": "mask", "mask": mask}], 0)
        lemtools.save([left], str(tmp_path / "x.safetensors"))
        return np.broadcast_to(left.mask, x.shape).astype(bool)

    def scale():
        more = {**RUN, "holdout": 0, "options": {"width": 4} if kind == "embedding" else SMALL}
        return prepare(
            Settings("classifier", [str(tmp_path / "x.safetensors")], str(tmp_path / "m.safetensors"), **more)
        ).model.scale

    seen = stored(x)
    mean = x.mean(where=seen, dtype=float) if kind == "spectrum" else x.mean(0, where=seen, dtype=float)
    assert 0.2 < seen.mean() < 0.8
    np.testing.assert_allclose(scale().offset, mean, atol=1e-5)
    stored(np.full_like(x, 3))
    assert scale().gain == 1
    if kind == "spectrum":
        with pytest.raises(LemError, match="nothing of these spectra was ever seen"):
            stored(x, 1.0)
            scale()


def test_the_loss_is_the_cross_entropy(bars, tmp_path):
    run = prepare(asked(bars, tmp_path))
    batch = run.batches(0, 1)[0]
    logits = run.objective.logits(batch).detach().numpy().astype(float)
    want = np.log(np.exp(logits).sum(1)) - logits[np.arange(16), batch["label"].numpy()]
    np.testing.assert_allclose(run.objective(batch).detach(), want, rtol=1e-5)
    assert isinstance(run.objective, Classify)
