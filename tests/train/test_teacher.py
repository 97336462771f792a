"""lem-train classifier --teacher: a judge of fragments learns what a judge of the whole answers."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import lemtools
from helpers.training import dying
from lemtools.fragment import fragment
from lemtools.nets.judge import Judge
from lemtools.nets.model import load
from lemtools.ranks import Ranks
from lemtools.signal import LemError, Signal
from lemtools.train import flops
from lemtools.train.loop import train
from lemtools.train.prepare import prepare
from lemtools.train.settings import Settings
from lemtools.train.trainer import Trainer

RNG = np.random.default_rng(0)
LABELS = np.arange(120) % 3
VECTORS = (RNG.standard_normal((3, 8)).astype(np.float32)[LABELS] + RNG.standard_normal((120, 8))).astype(np.float32)
TWO_BITS = dict(fragment=["--bits 2"], operations=[[{"op": "bits", "bits": 2}]])
RUN = dict(steps=20, batch=8, lr=1e-2, save_every=10, holdout=12, device="cpu", options={"width": 16, "depth": 1})


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("taught")
    lemtools.save([Signal("embedding", VECTORS)], str(folder / "x.safetensors"))
    np.save(folder / "y.npy", LABELS)
    np.save(folder / "four.npy", np.arange(120) % 4)
    for name, labels, seed in (("whole", "y", 0), ("other", "y", 1), ("four", "four", 0)):
        train(asked(folder, name, labels=str(folder / f"{labels}.npy"), seed=seed))
    return folder


def asked(folder, name, **more) -> Settings:
    given = {"labels": str(folder / "y.npy"), **RUN, **more}
    return Settings("classifier", [str(folder / "x.safetensors")], str(folder / f"{name}.safetensors"), **given)


def log_softmax(x):
    return x - np.log(np.exp(x - x.max(1, keepdims=True)).sum(1, keepdims=True)) - x.max(1, keepdims=True)


@pytest.mark.parametrize("names", [("whole",), ("whole", "other")])
def test_the_loss_is_half_the_label_s_and_half_the_teachers(here, names):
    paths = [str(here / f"{name}.safetensors") for name in names]
    run = prepare(asked(here, "taught", teacher=paths, **TWO_BITS))
    torch.nn.init.normal_(run.model.net.head.weight)
    batch = run.batches(0, 1)[0]
    found = run.objective(batch).detach().numpy()
    mine = run.objective.logits(batch).detach().numpy().astype(np.float64)
    each = [Judge(path, "cpu")("embedding", batch["target"].numpy()).logits.astype(np.float64) for path in paths]
    p = np.log(np.mean([np.exp(log_softmax(its / 2)) for its in each], axis=0))
    q = log_softmax(mine / 2)
    label = -log_softmax(mine)[np.arange(len(mine)), batch["label"].numpy()]
    np.testing.assert_allclose(found, label / 2 + 4 * (np.exp(p) * (p - q)).sum(1) / 2, rtol=1e-5)
    assert not np.allclose(mine, Judge(paths[0], "cpu")("embedding", VECTORS[:8]).logits)


def test_a_step_is_the_one_of_the_equation(here):
    """Of a linear map, whose gradient is (softmax(z) - y + T (q - p)) / 2 by its logits z (Hinton et al. 2015, equations 1 and 2, T = 2)."""
    paths = [str(here / f"{name}.safetensors") for name in ("whole", "other")]
    linear = dict(options={"depth": 0}, clip=0.0, weight_decay=0.1, steps=1)
    run = prepare(asked(here, "linear", teacher=paths, **{**RUN, **linear}, **TWO_BITS))
    torch.nn.init.normal_(run.model.net.head.weight)
    before = run.model.net.head.weight.detach().double().numpy().copy()
    batch = run.batches(0, 1)[0]
    x = run.model.scale.encode(batch["value"]).double().numpy()
    z = x @ before.T
    each = [Judge(path, "cpu")("embedding", batch["target"].numpy()).logits.astype(np.float64) for path in paths]
    p, q = np.mean([np.exp(log_softmax(its / 2)) for its in each], axis=0), np.exp(log_softmax(z / 2))
    by_logits = (np.exp(log_softmax(z)) - np.eye(3)[batch["label"].numpy()] + 2 * (q - p)) / 2
    gradient = by_logits.T @ x / len(x)
    trainer = Trainer(run, Ranks(), "cpu")
    trainer.advance(batch)
    moment = trainer.state()["moment.exp_avg.head.weight"].numpy()
    np.testing.assert_allclose(moment, gradient / 10, atol=1e-7)
    after = before * (1 - 1e-2 * 0.1) - 1e-2 * gradient / (np.abs(gradient) + 1e-8)  # AdamW, of its first step
    np.testing.assert_allclose(run.model.net.head.weight.detach().numpy(), after, atol=2e-6)
    assert all(w.grad is None for teacher in run.objective.teachers for w in teacher.net.parameters())


def test_of_a_memory_that_is_a_fragment_the_teacher_sees_what_is_there(here):
    whole = Signal("embedding", VECTORS, index=np.arange(120))
    lemtools.save(fragment([whole], [{"op": "mask", "mask": 0.5}], 0), str(here / "known-in-part.safetensors"))
    settings = asked(here, "of-half", teacher=[str(here / "whole.safetensors")])
    settings.data[:] = [str(here / "known-in-part.safetensors")]
    run = prepare(settings)
    batch, shown = run.batches(0, 1)[0], []
    batch["target"] = torch.where(batch["seen"].bool(), batch["target"], 7.0)  # what was lost says nothing
    teacher = run.objective.teachers[0]
    teacher.net.register_forward_pre_hook(lambda net, given: shown.append(given[0]))
    run.objective(batch)
    known = batch["target"].numpy() * batch["seen"].numpy()
    assert 0.2 < (known == 0).mean() < 0.8
    np.testing.assert_array_equal(shown[0].numpy(), teacher.scale.encode(torch.from_numpy(known)).numpy())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_teacher_and_pupil_are_shown_the_same_where_nothing_is_lost(tmp_path, dtype):
    images = RNG.integers(0, 256, (40, 3, 12, 12)).astype(np.uint8)
    lemtools.save([Signal("image", images)], str(tmp_path / "x.safetensors"))
    np.save(tmp_path / "y.npy", np.arange(40) % 2)
    small = dict(options={"widths": [8, 8], "blocks": 1}, holdout=0, steps=2)
    train(asked(tmp_path, "whole", **small))
    eight = dict(fragment=["--bits 8"], operations=[[{"op": "bits", "bits": 8}]])
    more = dict(teacher=[str(tmp_path / "whole.safetensors")] * 2, augment=["flip", "shift:.2"], crop=8, dtype=dtype)
    run = prepare(asked(tmp_path, "taught", **small, **more, **eight))
    shown = {}
    for name, model in zip("pab", (run.model, *run.objective.teachers)):
        model.net.register_forward_pre_hook(lambda net, given, name=name: shown.setdefault(name, given[0].clone()))
    trainer = Trainer(run, Ranks(), "cpu")
    trainer.advance(run.batches(0, 1)[0])
    with trainer.autocast():
        assert run.objective.logits(run.batches(0, 1)[0]).dtype == torch.float32  # of a logarithm
    assert shown["p"].shape == (8, 3, 8, 8)
    assert torch.equal(shown["p"], shown["a"]) and torch.equal(shown["p"], shown["b"])


def test_the_teacher_sees_the_whole_as_it_was_turned(tmp_path):
    images = RNG.integers(0, 256, (40, 1, 8, 8)).astype(np.uint8)
    lemtools.save([Signal("image", images)], str(tmp_path / "x.safetensors"))
    np.save(tmp_path / "y.npy", np.arange(40) % 2)
    small = dict(options={"widths": [8, 8], "blocks": 1}, holdout=0, steps=2)
    train(asked(tmp_path, "whole", **small))
    more = dict(teacher=[str(tmp_path / "whole.safetensors")], augment=["flip"], **TWO_BITS)
    run = prepare(asked(tmp_path, "taught", **small, **more))
    batch, seen = run.batches(0, 1)[0], []
    run.objective.teachers[0].net.register_forward_pre_hook(lambda net, given: seen.append(given[0]))
    run.objective(batch)
    turned = np.concatenate([images, images[..., ::-1]]).reshape(80, -1)
    shown = np.rint((seen[0].numpy() + 1) * 127.5).reshape(8, -1)
    assert all((turned == one).all(1).any() for one in shown)  # all eight bits, though the pupil is shown two
    assert not all((images.reshape(40, -1) == one).all(1).any() for one in shown)


def test_the_teacher_stays_and_is_not_kept(here):
    before = (here / "whole.safetensors").read_bytes()
    settings = asked(here, "taught", teacher=[str(here / "whole.safetensors")], **TWO_BITS)
    train(settings)
    assert (here / "whole.safetensors").read_bytes() == before
    plain = asked(here, "plain", **TWO_BITS)
    train(plain)
    taught, alone = (load_file(one.output) for one in (settings, plain))
    assert taught.keys() == alone.keys()
    assert any(not torch.equal(taught[name], alone[name]) for name in alone)


def test_a_run_that_died_goes_on_to_the_same_bytes(here):
    taught = dict(teacher=[str(here / "whole.safetensors")], **TWO_BITS)
    train(asked(here, "once", **taught))
    dying(asked(here, "died", **taught), 20)
    train(asked(here, "died", **taught))
    assert (here / "once.safetensors").read_bytes() == (here / "died.safetensors").read_bytes()


def test_a_run_does_not_go_on_with_another_teacher(here):
    (here / "turned.safetensors").write_bytes((here / "whole.safetensors").read_bytes())
    taught = dict(teacher=[str(here / "turned.safetensors")], **TWO_BITS)
    dying(asked(here, "half", **taught), 20)
    train(asked(here, "five", seed=5))
    (here / "turned.safetensors").write_bytes((here / "five.safetensors").read_bytes())
    (here / "second.safetensors").write_bytes((here / "whole.safetensors").read_bytes())
    both = dict(teacher=[str(here / "other.safetensors"), str(here / "second.safetensors")], **TWO_BITS)
    dying(asked(here, "of-two", **both), 20)
    (here / "second.safetensors").write_bytes((here / "five.safetensors").read_bytes())
    with pytest.raises(LemError, match="other contents of the teacher"):
        train(asked(here, "of-two", **both))
    with pytest.raises(LemError, match="other contents of the teacher"):
        train(asked(here, "half", **taught))
    with pytest.raises(LemError, match="--teacher .*turned.*, not .*whole.*other"):
        train(
            asked(here, "half", teacher=[str(here / f"{name}.safetensors") for name in ("whole", "other")], **TWO_BITS)
        )


def test_the_output_is_never_a_teacher(here):
    path, link = here / "own.safetensors", here / "link.safetensors"
    path.write_bytes((here / "whole.safetensors").read_bytes())
    link.symlink_to(path)
    for teacher in (path, link):
        with pytest.raises(LemError, match="it is the output, too; give another -o"):
            train(asked(here, "own", teacher=[str(teacher)], **TWO_BITS))
    assert path.read_bytes() == (here / "whole.safetensors").read_bytes()
    assert not (here / "own.state.safetensors").exists()


def test_a_teacher_of_other_spectra_is_refused(tmp_path):
    sounds = RNG.standard_normal((12, 1, 1600)).astype(np.float32) / 4
    lemtools.save([Signal("audio", sounds, rate=8000)], str(tmp_path / "x.safetensors"))
    np.save(tmp_path / "y.npy", np.arange(12) % 2)
    small = dict(options={"widths": [8], "blocks": 1}, holdout=0, steps=1, encoder="log-mel")
    for hop in (64, 100):
        train(asked(tmp_path, f"hop-{hop}", **small, sound={"n_fft": 256, "hop": hop, "bands": 20}))
    sound = {"n_fft": 256, "hop": 64, "bands": 20}
    prepare(asked(tmp_path, "of", **small, sound=sound, teacher=[str(tmp_path / "hop-64.safetensors")]))
    with pytest.raises(
        LemError, match=r"hop-100.*: its spectra were made otherwise than those of --data \(hop 100 and hop 64\); make"
    ):
        prepare(asked(tmp_path, "of", **small, sound=sound, teacher=[str(tmp_path / "hop-100.safetensors")]))


@pytest.fixture(scope="module")
def others(here):
    """Models that are no teachers of these vectors."""
    images = RNG.integers(0, 256, (40, 1, 8, 8)).astype(np.uint8)
    lemtools.save([Signal("image", images)], str(here / "images.safetensors"))
    lemtools.save([Signal("embedding", VECTORS[:, :6])], str(here / "narrow.safetensors"))
    np.save(here / "two.npy", np.arange(40) % 2)
    (here / "letters.txt").write_text("".join(f"{'cba'[k]}\n" for k in LABELS))
    (here / "many.txt").write_text("".join(f"a class called {k}\n" for k in range(120)))
    small = dict(holdout=0, steps=2, device="cpu", batch=8)
    data = {name: [str(here / f"{name}.safetensors")] for name in ("images", "narrow", "x")}
    conv = dict(options={"widths": [8, 8], "blocks": 1}, labels=str(here / "two.npy"))
    train(Settings("classifier", data["images"], str(here / "pictures.safetensors"), **conv, **small))
    train(Settings("classifier", data["narrow"], str(here / "six.safetensors"), labels=str(here / "y.npy"), **small))
    for name in ("letters", "many"):
        train(
            Settings(
                "classifier", data["x"], str(here / f"{name}.safetensors"), labels=str(here / f"{name}.txt"), **small
            )
        )
    train(Settings("feedforward", data["x"], str(here / "recalls.safetensors"), **TWO_BITS, **small))
    return here


def test_classes_in_another_order_are_refused(here):
    """Numbers go by size; the names of folders, of which 10 comes before 2, by letters."""
    np.save(here / "eleven.npy", np.arange(120) % 11)
    train(asked(here, "by-number", labels=str(here / "eleven.npy")))
    named = Signal("embedding", VECTORS, names=[f"{i % 11}/{i}" for i in range(120)])
    lemtools.save([named], str(here / "named.safetensors"))
    settings = asked(here, "by-folder", labels="folder", teacher=[str(here / "by-number.safetensors")])
    settings.data[:] = [str(here / "named.safetensors")]
    with pytest.raises(LemError, match="it knows 11 classes, and --data has 11; they are in another order"):
        prepare(settings)


@pytest.mark.parametrize(
    "teacher, why",
    [
        (
            "four",
            "it knows 4 classes, and --data has 3; only one of the two has '3'. Give labels of the same classes in the same",
        ),
        ("letters", "it knows 3 classes, and --data has 3; only one of the two has '0'"),
        ("many", "it knows 120 classes, and --data has 3; only one of the two has '0'"),
        ("pictures", "it was taught images of 1 channel, and is shown embeddings of 8"),
        ("six", "it was taught embeddings of 6, and is shown embeddings of 8"),
        ("recalls", "a model of feedforward, which tells no classes"),
        ("x", "not a model"),
    ],
)
def test_another_teacher_is_refused(others, teacher, why):
    with pytest.raises(LemError, match=why):
        prepare(asked(others, "other", teacher=[str(others / f"{teacher}.safetensors")], **TWO_BITS))


def test_images_of_another_number_of_channels_are_refused_with_the_way_out(others):
    model = load(str(others / "pictures.safetensors"))
    with pytest.raises(LemError, match="it was taught images of 1 channel, and is shown images of 3x8x8; --grey makes"):
        model.check_fits("it", "image", (3, 8, 8))
    with pytest.raises(LemError, match="is shown images of 4x8x8$"):
        model.check_fits("it", "image", (4, 8, 8))
    model.check_fits("it", "image", (1, 5, 9))


def test_its_operations_count(here):
    whole = str(here / "whole.safetensors")
    each = [prepare(asked(here, "count", teacher=[whole] * count, **TWO_BITS)) for count in range(3)]
    none, one, two = (flops.per_item(run.spec, run.objective) for run in each)
    assert one == pytest.approx(none * 4 / 3)  # forward alone, of a network of the same size
    assert two == pytest.approx(none * 5 / 3)
