"""Training as a library: batches, objectives, checkpoints, resuming, fragments only, augmentation."""

import contextlib
import os
import shutil
import signal
import time
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from helpers.commands import fork, lem_fork
from helpers.training import Died, dying, files, images, result, settings, spectra, states, told, vectors
from lemtools.catalogue.recipes import RECIPES
from lemtools.cli.train import operations
from lemtools.fragment import fragment
from lemtools.fragment.evidence import evidence
from lemtools.media.labels import Classes
from lemtools.nets.condition import Condition
from lemtools.nets.model import load
from lemtools.ranks import Ranks
from lemtools.rng import generator
from lemtools.signal import LemError, Signal
from lemtools.train import augment, checkpoint, data, flops, loop, network, objectives, ring
from lemtools.train.data import Batches, Items, Spec
from lemtools.train.dry import dry_run
from lemtools.train.flops import ATTENTION, COUNTED, flop_counter
from lemtools.train.loop import train
from lemtools.train.prepare import prepare
from lemtools.train.recipes.values import moments
from lemtools.train.settings import FREE, Settings
from lemtools.train.trainer import Trainer, rate

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")


# batches


def spec(kind="image", texts=("--bits 1-6 --mask 0-.9", "--mask .5 --mask-shape patch:2"), **more) -> Spec:
    array = {"image": images, "embedding": vectors, "spectrum": spectra}[kind]()
    plain = dict(items=Items(kind, array), batch=6, seed=3, operations=[operations(t) for t in texts])
    return Spec(**{**plain, "extras": objectives.Denoise.extras, **more})


def same(a, b):
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)


def test_batches_depend_on_seed_and_step_alone():
    crops = augment.parse(["dihedral", "zoom"])
    for one in (spec(), spec("embedding", ("--bits 2", "--noise .1 --keep-dims 5")), spec(crop=6, augment=crops)):
        whole = Batches(one)
        wanted = [whole[s] for s in range(5, 9)]
        assert all(same(a, b) for a, b in zip(Batches(one).steps(5, 9, 0), wanted, strict=True))
        for world in (2, 3):
            parts = [Batches(one, rank, world)[7] for rank in range(world)]
            assert same({k: torch.cat([p[k] for p in parts]) for k in parts[0]}, wanted[2])
        assert not torch.equal(wanted[0]["target"], wanted[1]["target"])
        other = Batches(Spec(**{**vars(one), "seed": 4}))[5]
        assert not torch.equal(other["target"], wanted[0]["target"])
    with pytest.raises(LemError, match="--batch 6 does not divide among 4 processes; give a multiple of 4"):
        Batches(spec(), 0, 4)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=cuda)])
@pytest.mark.parametrize("workers, message", [(1, 1), (2, 5000), (2, 10**6)])  # batches sent one by one, by a few, all
def test_batches_of_worker_processes_are_the_same(workers, message, device, monkeypatch):
    monkeypatch.setattr(data, "MESSAGE", message)
    for one in (spec(crop=6), spec("embedding", ("--bits 2", "--noise .1"))):
        wanted = [Batches(one)[step] for step in range(2, 11)]
        for number in (0, workers):
            got = list(Batches(one).steps(2, 11, number, device))
            assert all(part.device.type == device for batch in got for part in batch.values())
            assert all(same({k: v.cpu() for k, v in a.items()}, b) for a, b in zip(got, wanted, strict=True))


def test_batches_lie_in_one_piece():
    batches = [
        {"bytes": torch.arange(5, dtype=torch.uint8), "none": torch.zeros(0, 3), "mask": torch.ones(1, 3) > 0},
        {"number": torch.tensor(2.5, dtype=torch.float64), "label": torch.arange(3), "x": torch.rand(2, 7).T},
    ]
    places, size = ring.layout(batches)
    flat = torch.full((size,), 77, dtype=torch.uint8)
    for batch, there in zip(batches, ring.views(flat, places)):
        for name, place in there.items():
            place.copy_(batch[name])
    assert all(same(a, b) for a, b in zip(ring.views(flat, places), batches, strict=True))
    starts = [first for one in places for _, _, _, first, end in one if end > first]
    assert starts == [0, 64, 128, 192, 256] and size == 320


class Numbers:
    """Batch `step` holds its number, slowly made where asked; every fifth is longer than the others."""

    def __getitem__(self, step):
        time.sleep(0.02 * (step % 3 == 0))
        return {"x": torch.full((40 if step % 5 == 4 else 8,), float(step))}


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=cuda)])
@pytest.mark.parametrize("several", [1, 3])
def test_a_ring_gives_every_batch_once_in_order_also_those_too_long_for_it(several, device):
    rounds = 3 * (ring.AHEAD * 2 + ring.SPARE) * several
    found = list(ring.Ring(Numbers(), 7, 7 + rounds, several, several * 64, 2).on(device, None))
    assert [b["x"].tolist() for b in found] == [Numbers()[s]["x"].tolist() for s in range(7, 7 + rounds)]


def test_no_worker_writes_where_the_device_may_still_read():
    made, lost = ring.Ring(Numbers(), 0, 60, 1, 64, 2), 0
    loader = torch.utils.data.DataLoader(
        made, batch_size=None, sampler=range(60), num_workers=2, prefetch_factor=ring.AHEAD, collate_fn=ring._as_it_is
    )
    for message, _ in enumerate(loader):
        time.sleep(0.03)  # workers run ahead as far as they may
        kept = [made.memory[m % made.slots].view(torch.float32)[0] == m for m in range(message + 1) if m % 5 != 4]
        lost = len(kept) - sum(kept)
        assert all(
            made.memory[m % made.slots].view(torch.float32)[0] == m
            for m in range(max(message + 1 - ring.SPARE, 0), message + 1)
            if m % 5 != 4
        )
    assert lost > 30  # (what is older is written over)


def test_workers_nobody_asked_for_are_as_many_as_shared_memory_holds(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    told, size = [], ring.layout([Batches(spec(batch=8))[0]])[1]
    monkeypatch.setattr(data, "MESSAGE", 1)
    monkeypatch.setattr(data, "Ring", lambda *given: told.append(given[-1]) or SimpleNamespace(on=lambda *_: []))
    for places in (100, ring.SPARE + 2 * ring.AHEAD, ring.SPARE):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, n=places: SimpleNamespace(free=n * size))
        assert list(Batches(spec(batch=8)).steps(0, 0, None, "cuda")) == []
    assert told == [6, 2]


def test_too_little_shared_memory_is_told_before_a_worker_dies(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(LemError, match="take 2,048 bytes of shared memory, 1,000 are free: fewer --workers"):
        ring.shared(8, 256)


@pytest.mark.parametrize(
    "asked, device, world, made_by",
    [
        (None, "cuda:1", 1, 6),
        (None, "cuda", 2, 2),
        (None, "cuda", 4, 0),
        (None, "cpu", 1, 0),
        (3, "cpu", 1, 3),
    ],
)
def test_worker_processes_by_the_cores_that_may_be_used(asked, device, world, made_by, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    told = []
    monkeypatch.setattr(data, "Ring", lambda *given: told.append(given[-1]) or SimpleNamespace(on=lambda *_: []))
    assert list(Batches(spec(batch=8), 0, world).steps(0, 0, asked, device)) == [] and told == [made_by] * (made_by > 0)


def test_every_item_comes_once_an_epoch():
    one = spec(batch=8)
    seen = torch.cat([Batches(one)[s]["target"] for s in range(5)])
    assert sorted(x.numpy().tobytes() for x in seen) == sorted(x.tobytes() for x in one.items.data)


def conditions(kind, array, texts, monkeypatch) -> tuple[Condition, list[Condition]]:
    """What the objective makes of a batch of the loader, and what the evidence says of each of its items."""
    one = spec(kind, texts, items=Items(kind, array), batch=12)
    offset, gain = moments(array, kind)
    objective = object.__new__(objectives.Estimate)
    torch.nn.Module.__init__(objective)
    from lemtools.denoise.contract import Scale

    scale = Scale(offset, gain)
    objective.model = type("Model", (), {"scale": scale, "target_scale": scale, "meta": {"kind": kind}})
    batches = Batches(one)
    target, condition, _ = objective.unpack(batches[1])
    alone = []
    for k, place in enumerate(range(12, 24)):
        row = batches._order(place // len(array))[place % len(array)]
        which = generator(3, place, 0, "item").integers(len(texts))
        signal = Signal(kind, array[row][None], index=np.array([place]))
        (broken,) = fragment([signal], one.operations[which], 3)
        alone.append(Condition.of(evidence(broken), scale, kind))
        assert np.abs(target[k].numpy() - scale.encode(array[row])).max() < 1e-6
    return condition, alone


FLOATS = images(40, 3).astype(np.float32) / 255


@pytest.mark.parametrize(
    "kind, array, texts",
    [
        ("image", images(40, 3), ["--bits 1-7"]),
        ("image", images(40, 3), ["--mask 0-.9"]),
        ("image", images(40, 3), ["--bits 1-8 --mask 0-.9", "--mask .5 --mask-shape block --bits 2"]),
        ("image", images(40, 3), ["--bits 3 --crop 5x4", "--crop 6x6+1+2", "--mask .3"]),
        ("image", images(40, 3), ["--bits 2 --quantizer lloyd-max", "--mask .4"]),
        ("image", images(40, 3), ["--bits 5 --bits 3 --quantizer lloyd-max"]),
        ("image", images(40, 3), ["--bits 3", "--noise .1", "--bits 2 --noise 0-.2 --mask .5"]),
        ("image", FLOATS, ["--bits 1-7 --mask .3", "--noise .1"]),
        ("embedding", vectors(), ["--bits 1-4"]),
        ("embedding", vectors(), ["--bits 2 --quantizer lloyd-max --mask .3", "--bits 3 --scale peak"]),
        ("embedding", vectors(), ["--keep-dims 5 --noise .2"]),
        ("spectrum", spectra(), ["--bits 1-4 --mask .5", "--noise .1"]),
    ],
)
def test_network_is_told_in_training_what_it_will_be_told_in_use(kind, array, texts, monkeypatch):
    """The packed way of a batch to the device gives the Condition that lem-reconstruct makes of the same fragments."""
    condition, alone = conditions(kind, array, texts, monkeypatch)
    for name in ("value", "known", "low", "high", "sigma"):
        got, wanted = getattr(condition, name), torch.cat([getattr(c, name) for c in alone])
        assert got.shape == wanted.shape and torch.equal(got.isfinite(), wanted.isfinite()), name
        finite = wanted.isfinite()
        assert torch.equal(got[~finite], wanted[~finite])
        assert (got[finite] - wanted[finite]).abs().max() < 2e-6, name


def test_two_bytes_an_element_where_they_say_all():
    for texts, small in ((["--bits 1-6 --mask .5", "--crop 4x4"], True), (["--bits 3", "--noise .1"], False)):
        batch = Batches(spec(texts=texts))[0]
        assert (batch["low"].dtype == torch.uint8) == small and ("sigma" in batch) != small


def test_images_of_several_depths_share_their_full_scale(tmp_path):
    np.save(tmp_path / "a.npy", images(2))
    np.save(tmp_path / "b.npy", images(2).astype(np.float32) / 255)
    items = data.load_items([str(tmp_path / "a.npy"), str(tmp_path / "b.npy")])
    assert items.data.dtype == np.float32 and np.abs(items.data[:2] - items.data[2:]).max() < 1e-6


# recipes


EVERY = [(row.name, kind, None) for row in RECIPES.rows for kind in row.kinds if row.family and kind != "tokens"]
EVERY += [("feedforward", "image", "mlp"), ("feedforward", "image", "flat"), ("diffusion", "image", "unet")]


def trained_on_one_batch(asked: Settings, steps: int):
    prepared = prepare(asked)
    trainer = Trainer(prepared, Ranks(), "cpu")
    batch, reached, losses = Batches(prepared.spec)[0], set(), []
    for _ in range(steps):
        losses.append(float(trainer.advance(batch)))
        reached |= {k for k, p in trainer.weights.items() if p.grad is not None and float(p.grad.abs().sum()) > 0}
    return trainer, batch, losses, reached


@pytest.mark.parametrize("recipe, kind, arch", EVERY)
def test_overfits_one_batch_and_every_parameter_learns(recipe, kind, arch, tmp_path, kept):
    asked = settings(
        tmp_path,
        kept,
        recipe=recipe,
        kind=kind,
        arch=arch,
        steps=60,
        lr=1e-2,
        warmup=0,
        decay="constant",
        fragment=["--bits 3 --mask .5"],
    )
    trainer, _, losses, reached = trained_on_one_batch(asked, 40)
    assert np.mean(losses[-3:]) < (losses[0] - 0.3 if recipe == "autoregressive" else 0.8 * losses[0])
    assert reached == set(trainer.weights)


def test_opponent_colours_are_learnt_from(tmp_path):
    """--set opponent=true: the planes reach the first layer, learn, and come back from the file."""
    np.save(tmp_path / "colour.npy", images(40, 3))
    options = dict([network.option(text) for text in ("widths=[8]", "blocks=[1]", "shuffle=1", "opponent=true")])
    asked = settings(
        tmp_path, {"image": str(tmp_path / "colour.npy")}, arch="conv", options=options, lr=1e-2, fragment=["--bits 6"]
    )
    prepared = train(asked)
    model = load(asked.output)
    assert model.net.opponent and model.meta["net"]["opponent"] is True and model.net.enter.in_channels == 3 + 9 + 9 + 3
    first = prepare(settings(tmp_path, {"image": str(tmp_path / "colour.npy")}, arch="conv", options=options)).model.net
    assert ((first.enter.weight - model.net.enter.weight).abs().amax((0, 2, 3))[12:21] > 1e-4).all()
    assert torch.equal(prepared.model.net.enter.weight, model.net.enter.weight)


@pytest.mark.parametrize("recipe, kind, arch", [e for e in EVERY if e[2] is None])
def test_model_file_holds_the_averaged_weights(recipe, kind, arch, tmp_path, kept):
    asked = settings(tmp_path, kept, recipe=recipe, kind=kind, arch=arch, steps=6, lr=1e-2)
    prepared = train(asked)
    model = load(asked.output)
    state, record, _ = checkpoint.load_state(asked.output)
    assert record["step"] == model.meta["step"] == 6 and model.meta["recipe"] == recipe and model.meta["kind"] == kind
    assert model.meta["fragment"] == asked.fragment and model.fits(
        kind, prepared.spec.items.data[0].shape[-len(model.meta["item"]) :]
    )
    average = {k.removeprefix("average."): v for k, v in state.items() if k.startswith("average.")}
    assert average and any(not torch.equal(v, state[f"weight.{k}"]) for k, v in average.items())
    batch = Batches(prepared.spec)[0]
    mine = type(prepared.objective)(model)
    renamed = {f"net.{k}": v for k, v in average.items()}
    with torch.no_grad():
        wanted = torch.func.functional_call(prepared.objective, renamed, (batch,))
        assert torch.equal(mine(batch), wanted)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_is_returned_is_what_the_file_holds(dtype, tmp_path, kept):
    asked = settings(tmp_path, kept, lr=1e-2, weights=dtype)
    for prepared in (train(asked), train(settings(tmp_path, kept, lr=1e-2, weights=dtype))):  # made, and found done
        mine, filed = prepared.model, load(asked.output)
        assert mine.meta == filed.meta and mine.meta["step"] == 12 and not mine.net.training
        assert all(torch.equal(v, filed.tensors()[k]) for k, v in mine.tensors().items())
    raw = checkpoint.load_state(asked.output)[0]["weight.enter.weight"]
    assert not torch.equal(raw, filed.net.enter.weight)


def test_auto_is_the_precision_that_a_run_was_begun_in(tmp_path, kept):
    """As if it had been begun on CUDA: the same command goes on in bfloat16; another dtype is refused by name."""
    dying(settings(tmp_path, kept, dtype="bfloat16"), 9)
    assert checkpoint.load_state(str(tmp_path / "model.safetensors"))[1]["settings"]["dtype"] == "bfloat16"
    with pytest.raises(LemError, match=r"its run has --dtype bfloat16, not float32\. Give the same"):
        train(settings(tmp_path, kept, dtype="float32"))
    prepared = train(settings(tmp_path, kept))
    whole = tmp_path / "whole"
    whole.mkdir()
    train(settings(whole, kept, dtype="bfloat16"))
    assert prepared.settings.dtype == "bfloat16" and result(tmp_path) == result(whole)
    fresh = settings(tmp_path, kept, output=str(tmp_path / "fresh.safetensors"), log=None)
    train(fresh)
    assert checkpoint.load_state(fresh.output)[1]["settings"]["dtype"] == "float32"


@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_a_state_that_says_auto_is_gone_on_from(dtype, tmp_path, kept, tmp_path_factory):
    """As all did before the precision itself was written down."""
    wanted = whole_run(tmp_path_factory, kept)
    asked = settings(tmp_path, kept, dtype=dtype)
    dying(asked, 9)
    tensors, record, _ = checkpoint.load_state(asked.output)
    record["settings"]["dtype"] = "auto"
    checkpoint.write_tensors(checkpoint.state_path(asked.output), tensors, record)
    lines = []
    train(settings(tmp_path, kept, dtype=dtype), lines.append)
    assert lines[-1] == "going on from step 8" and result(tmp_path) == wanted
    assert checkpoint.load_state(asked.output)[1]["settings"]["dtype"] == "float32"


def test_average_of_weights_by_its_definition(tmp_path, kept):
    trainer = Trainer(prepare(settings(tmp_path, kept, ema=0.5)), Ranks(), "cpu")
    name = "enter.weight"
    expected = trainer.weights[name].detach().clone()
    for step in range(12):
        trainer.advance(Batches(trainer.prepared.spec)[step])
        decay = min(0.5, (2 + step) / (11 + step))
        expected = decay * expected + (1 - decay) * trainer.weights[name].detach()
    assert torch.allclose(trainer.average[name], expected, atol=1e-6)


def test_learning_rate():
    asked = Settings("feedforward", [], "", lr=1.0, warmup=4)
    assert [rate(asked, 104, s) for s in (0, 1, 3, 4)] == [0.25, 0.5, 1.0, 1.0]
    assert abs(rate(asked, 104, 54) - 0.5) < 1e-12 and 0 < rate(asked, 104, 103) < 1e-3
    assert rate(replace(asked, decay="exponential:0.5"), 104, 5) == 0.5**5
    assert rate(replace(asked, decay="constant"), 104, 103) == 1.0


def test_noise_counts_among_what_a_fragment_leaves_open(tmp_path, kept):
    """An item seen through noise must not outweigh the others by the width of bins that tell nothing."""
    objective = prepare(settings(tmp_path, kept, fragment=["--noise .2"])).objective
    heavy, light = (Batches(spec(texts=[t]))[0] for t in ("--noise .2", "--bits 8"))
    weight = [objective.weights(objective.unpack(b)[1], None, torch.Size([6, 1, 8, 8])).mean() for b in (heavy, light)]
    assert weight[0] < weight[1] / 100


def test_an_embedding_recalls_an_image(tmp_path, kept):
    for recipe in ("feedforward", "recurrent", "diffusion"):
        folder = tmp_path / recipe
        folder.mkdir()
        asked = settings(
            folder,
            kept,
            recipe=recipe,
            kind="embedding",
            arch=None,
            target=[kept["image"]],
            steps=4,
            pictures=str(folder / "p"),
        )
        train(asked)
        assert load(asked.output).meta["target"] == {"kind": "image", "item": [1, 8, 8]}
        assert [p.name for p in (folder / "p").iterdir()] == ["step-0000004.png"]


def test_coordinates_have_unit_variance_where_seen():
    for kind, array in (("embedding", vectors()), ("spectrum", spectra())):
        seen = np.random.default_rng(0).random(array.shape) < 0.5
        offset, gain = moments(np.where(seen, array, 1e3), kind, seen)
        inside = np.where(seen, (array - offset) * gain, 0)
        assert abs(np.square(inside).sum() / seen.sum() - 1) < 1e-4
        assert kind == "spectrum" or np.abs(inside.sum(0) / seen.sum(0)).max() < 1e-4
    assert moments(np.full((9, 4), 1.1, np.float32), "embedding")[1] == 1.0


def test_labels_of_idx_and_npy(tmp_path):
    import gzip

    wanted = np.arange(40) % 3
    raw = b"\0\0\x08\1" + (40).to_bytes(4, "big") + wanted.astype(np.uint8).tobytes()
    (tmp_path / "l.idx").write_bytes(raw)
    (tmp_path / "l.idx.gz").write_bytes(gzip.compress(raw))
    np.save(tmp_path / "l.npy", wanted)
    for name in ("l.idx", "l.idx.gz", "l.npy"):
        assert (Classes(str(tmp_path / name)).of(40, None) == wanted).all()
    with pytest.raises(LemError, match="40 labels for 41 items"):
        Classes(str(tmp_path / "l.npy")).of(41, None)
    np.save(tmp_path / "l.npy", wanted - 0.5)
    with pytest.raises(LemError, match="whole numbers"):
        Classes(str(tmp_path / "l.npy"))


def test_classes_are_learnt(tmp_path, kept):
    np.save(tmp_path / "l.npy", np.arange(40) % 3)
    asked = settings(tmp_path, kept, recipe="diffusion", arch="resnet", fragment=(), labels=str(tmp_path / "l.npy"))
    train(asked)
    assert load(asked.output).meta["classes"] == load(asked.output).net.classes == 3


# what a run costs


def operations_of(tmp_path, kept, **more):
    return prepare(settings(tmp_path, kept, **more)).flops


def test_operations_are_those_counted_by_hand(tmp_path, kept):
    """Two a multiplication, and the backward pass twice the forward one."""
    mlp = (3 * 8 + 1) * 8 + 2 * 8 * 8 + 8 * 8
    assert operations_of(tmp_path, kept, kind="embedding", arch="mlp") == 3 * 2 * mlp
    flat = 9 * 64 * (5 * 8 + 2 * 8 * 8 + 8)
    assert operations_of(tmp_path, kept) == 3 * 2 * flat


def test_attention_counts_on_a_cpu(tmp_path, kept):
    """All 8 values are asked for, in 16 tokens: attention is two products of 8 features for each pair that is seen."""
    prepared = prepare(
        settings(tmp_path, kept, recipe="autoregressive", kind="embedding", arch=None, fragment=["--mask 1"])
    )
    linear = []
    for layer in prepared.model.net.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.register_forward_hook(lambda m, i, o: linear.append(2 * i[0].numel() * m.out_features))
    total = prepared.flops / 3
    attention = total - sum(linear) / COUNTED
    assert attention == 2 * 2 * (16 * 17 // 2) * 8


@pytest.mark.parametrize("kernel", ATTENTION)
def test_every_kernel_of_attention_counts_alike(kernel):
    """Where each has its is_causal is read from its own signature: by place, by name, or left out."""
    op = getattr(torch.ops.aten, f"_scaled_dot_product_{kernel}")
    names = [a.name for a in op.default._schema.arguments]
    shapes, at = [(3, 2, 5, 4)] * 3, names.index("is_causal") - 3
    whole, half = 3 * 2 * 2 * 2 * 25 * 4, 3 * 2 * 2 * 2 * 15 * 4
    count = flops._attention(op)
    assert count(*shapes) == count(*shapes, *[0] * at, False) == whole
    assert count(*shapes, *[0] * at, True) == count(*shapes, is_causal=True) == half


def test_operations_are_the_mean_over_the_losses(tmp_path, kept):
    """Of sequences, too, in batches of any size: an item is not run at the length of the one beside it."""
    losses = ["--bits 2", "--mask .5", "--mask .75", "--mask .9"]
    runs = dict(recipe="autoregressive", arch=None)
    alone = [operations_of(tmp_path, kept, **runs, fragment=[loss]) for loss in losses]
    assert alone[0] > 1.9 * alone[1] and alone[1] < alone[2] < alone[3]  # of a lost value more is asked
    for batch, seed in ((4, 0), (128, 2)):
        prepared = prepare(settings(tmp_path, kept, **runs, fragment=losses, batch=batch, seed=seed))
        assert prepared.flops == pytest.approx(np.mean(alone), rel=1e-12)
    with torch.no_grad(), flop_counter() as counter:
        prepared.objective(Batches(prepared.spec)[0])
    assert 3 * counter.get_total_flops() / 128 == pytest.approx(prepared.flops, rel=0.1)


def test_what_is_kept_back_fits_nothing(tmp_path, kept):
    """The coordinates come from the items that are learnt from alone."""
    prepared = prepare(settings(tmp_path, kept, kind="embedding", arch="mlp", holdout=20))
    learnt = np.stack([prepared.spec.items.data[i] for i in range(20)])
    assert np.allclose(prepared.model.scale.offset, learnt.mean(0), atol=1e-6)
    assert not np.allclose(prepared.model.scale.offset, np.load(kept["embedding"]).mean(0), atol=1e-3)


def test_a_budget_of_operations_gives_the_steps(tmp_path, kept):
    each = operations_of(tmp_path, kept)
    prepared = prepare(settings(tmp_path, kept, steps=None, flops=each * 4 * 7.2))
    assert prepared.steps == 7 and Trainer(prepared, Ranks(), "cpu").steps == 7


def test_dry_run_tells_and_writes_nothing(tmp_path, kept):
    before = files(tmp_path)
    cost = dry_run(settings(tmp_path, kept))
    # entering 5 x 8, a block of two 8 x 8, leaving 8 x 1, all of 3 x 3, with biases
    assert cost["parameters"] == 9 * (5 * 8 + 2 * 64 + 8) + 8 + 16 + 1 and cost["steps"] == 12
    assert cost["flops"] == cost["flops_per_item"] * 48 and cost["memory_bytes"] > 16 * cost["parameters"]
    assert cost["seconds"] == pytest.approx(12 * cost["seconds_per_step"]) and cost["epochs"] == pytest.approx(48 / 36)
    assert files(tmp_path) == before


# stopping and going on


def whole_run(tmp_path_factory, kept, **more):
    folder = tmp_path_factory.mktemp("whole")
    train(settings(folder, kept, **more))
    return result(folder)


@pytest.fixture
def often(monkeypatch):
    """A record every two steps."""
    monkeypatch.setattr(loop, "LOG_EVERY", 2)


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, kept, tmp_path_factory, often):
    wanted = whole_run(tmp_path_factory, kept)
    assert wanted[0] == 12 and [r["step"] for r in wanted[2]] == [2, 4, 6, 8, 10, 12]
    assert [r["step"] for r in wanted[2] if "held_out_psnr" in r] == [4, 8, 12]
    asked = settings(tmp_path, kept)
    for step in (2, 6, 6, 8, 12):  # each time it dies, the next one goes on from the last checkpoint
        dying(asked, step)
    lines = []
    train(asked, lines.append)
    assert lines[-1] == "going on from step 8" and result(tmp_path) == wanted


@pytest.mark.parametrize(
    "recipe, kind",
    [
        ("autoregressive", "embedding"),
        ("diffusion", "image"),
        ("recurrent", "spectrum"),
        ("emulator", "field"),
        ("thermalizer", "field"),
    ],
)
def test_every_recipe_resumes_bit_for_bit(recipe, kind, tmp_path, kept, tmp_path_factory):
    more = dict(recipe=recipe, kind=kind, arch=None, steps=6, save_every=3)
    wanted = whole_run(tmp_path_factory, kept, **more)
    dying(settings(tmp_path, kept, **more), 4)
    train(settings(tmp_path, kept, **more))
    assert result(tmp_path) == wanted


def test_moments_are_laid_out_as_the_weights_are(tmp_path, kept):
    def trainer():
        prepared = prepare(settings(tmp_path, kept, recipe="diffusion", kind="image", arch="unet"))
        prepared.model.net.to(memory_format=torch.channels_last)  # as on CUDA, whose AdamW takes no other
        return Trainer(prepared, Ranks(), "cpu"), Batches(prepared.spec)

    first, batches = trainer()
    first.advance(batches[0])
    first.save()
    state, record, _ = checkpoint.load_state(first.settings.output)
    second, _ = trainer()
    second.resume(state, record)
    apart = 0
    for (name, p), q in zip(first.weights.items(), second.weights.values()):
        for key, value in first.optimizer.state[p].items():
            again = second.optimizer.state[q][key]
            assert torch.equal(again, value) and again.stride() == value.stride(), (name, key)
            apart += not value.is_contiguous()
    assert apart
    for one in (first, second):
        one.advance(batches[1])
    assert all(torch.equal(a, b) for a, b in zip(first.weights.values(), second.weights.values()))


def test_death_at_any_rename_loses_one_interval_at_most(tmp_path, kept, tmp_path_factory, monkeypatch):
    wanted = whole_run(tmp_path_factory, kept)
    real, calls = os.replace, []

    def replace(*args):
        calls.append(args)
        if len(calls) == at:
            raise Died
        real(*args)

    for at in range(2, 10):  # the log, then the state, the previous one and the model of every checkpoint
        folder = tmp_path / str(at)
        folder.mkdir()
        calls.clear()
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", replace)
            with contextlib.suppress(Died):
                train(settings(folder, kept))
            assert len(calls) == at
        written = {p.name for p in folder.iterdir()}
        assert not [n for n in written if n.endswith(".part") and "previous" not in n]
        asked, lines = settings(folder, kept), []
        train(asked, lines.append)
        assert result(folder) == wanted


def forked(work) -> int:
    child = fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            work()
            os._exit(0)
        os._exit(1)
    return child


def test_kill_9_at_random_moments(tmp_path, kept, tmp_path_factory):
    more = dict(steps=60, save_every=3)
    wanted = whole_run(tmp_path_factory, kept, **more)
    asked, rng, killed, status = settings(tmp_path, kept, **more), np.random.default_rng(0), 0, None
    for patience in (*rng.uniform(0.02, 0.4, 8), 60):
        child = forked(lambda: train(asked))
        end = time.monotonic() + patience
        while time.monotonic() < end and (done := os.waitpid(child, os.WNOHANG)) == (0, 0):
            time.sleep(0.005)
        if done == (0, 0):
            os.kill(child, signal.SIGKILL)
            done = os.waitpid(child, 0)
            killed += 1
        status = os.waitstatus_to_exitcode(done[1])
    assert killed and status == 0 and result(tmp_path) == wanted


def test_damaged_state(tmp_path, kept, tmp_path_factory):
    wanted = whole_run(tmp_path_factory, kept)
    asked = settings(tmp_path, kept)
    dying(asked, 9)
    state, previous = (tmp_path / f"model.{n}.safetensors" for n in ("state", "previous"))
    state.write_bytes(state.read_bytes()[:-100])
    good = previous.read_bytes()
    lines = dying(asked, 6)  # and again before the next checkpoint: the good one must still be there
    assert len([n for n in lines if "not a whole state" in n and n.endswith(f"going on from {previous}, step 4")]) == 1
    assert previous.read_bytes() == good
    dying(asked, 12)  # a checkpoint was written at 8 in place of the damaged one
    _, record, note = checkpoint.load_state(asked.output)
    assert (record["step"], note) == (8, None) and previous.read_bytes() == good
    train(asked)
    assert result(tmp_path) == wanted
    for path in (state, previous):
        path.write_bytes(path.read_bytes()[:200])
    before = files(tmp_path)
    with pytest.raises(LemError, match="not a whole state.*no earlier one; move it away to begin again"):
        train(asked)
    assert files(tmp_path) == before


@pytest.mark.parametrize("place", [0.3, 0.6, 0.95])
def test_a_flipped_bit_in_a_state_is_noticed_and_the_one_before_is_gone_on_from(
    place, tmp_path, kept, tmp_path_factory
):
    wanted = whole_run(tmp_path_factory, kept)
    asked = settings(tmp_path, kept)
    dying(asked, 9)
    state = tmp_path / "model.state.safetensors"
    raw = bytearray(state.read_bytes())
    header = 8 + int.from_bytes(raw[:8], "little")
    raw[header + int(place * (len(raw) - header))] ^= 64
    state.write_bytes(raw)
    lines = []
    train(asked, lines.append)
    assert any("not a whole state" in line and "step 4" in line for line in lines), lines
    assert result(tmp_path) == wanted


def test_other_settings_or_data_are_refused_by_name(tmp_path, kept):
    asked = settings(tmp_path, kept)
    dying(asked, 9)
    before = files(tmp_path)
    with pytest.raises(LemError, match=r"its run has --batch 4, not 8; --lr 0.001, not 0.0005\. Give the same"):
        train(settings(tmp_path, kept, lr=5e-4, batch=8))
    with pytest.raises(LemError, match=r"--set lost unset, not 0\.1"):
        train(settings(tmp_path, kept, options={"lost": 0.1}))
    assert files(tmp_path) == before
    other = images()
    other[-1, 0, 0, 0] += 1
    np.save(kept["image"], other)
    with pytest.raises(LemError, match=r"its run has other contents of the data\. Give"):
        train(asked)
    np.save(kept["image"], images(41))
    with pytest.raises(LemError, match="number of items 40, not 41"):
        train(asked)


def test_where_it_runs_and_what_it_tells_may_differ(tmp_path, kept, tmp_path_factory):
    wanted = whole_run(tmp_path_factory, kept)
    dying(settings(tmp_path, kept), 9)
    (tmp_path / "log.jsonl").rename(tmp_path / "other.jsonl")
    free = dict(workers=1, log=str(tmp_path / "other.jsonl"), pictures=str(tmp_path / "p"), save_every=6)
    assert set(free) < set(FREE)
    train(settings(tmp_path, kept, **free))
    (tmp_path / "log.jsonl").write_text("")
    assert result(tmp_path)[:2] == wanted[:2] and (tmp_path / "p" / "step-0000012.png").read_bytes()[1:4] == b"PNG"


def test_a_finished_run_called_again_does_nothing(tmp_path, kept):
    asked, lines = settings(tmp_path, kept), []
    train(asked)
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.iterdir() if p.name.startswith("model")}
    train(asked, lines.append)
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in before} == before
    assert lines[-1] == "done already, 12 steps"
    (tmp_path / "model.safetensors").unlink()  # killed between the state and the model
    train(asked)
    assert (tmp_path / "model.safetensors").read_bytes() == before[tmp_path / "model.safetensors"][1]
    assert len(told(asked.log)) == 3


def test_a_model_without_its_state_is_not_overwritten(tmp_path, kept):
    (tmp_path / "model.safetensors").write_bytes(b"precious")
    with pytest.raises(LemError, match="a model without the state of its run"):
        train(settings(tmp_path, kept))
    assert (tmp_path / "model.safetensors").read_bytes() == b"precious"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_stops_with_a_checkpoint(number, tmp_path, kept, tmp_path_factory, monkeypatch, often):
    wanted = whole_run(tmp_path_factory, kept)
    asked, advance = settings(tmp_path, kept), Trainer.advance

    def interrupted(self, batch):
        if self.step == 4:
            os.kill(os.getpid(), number)
        return advance(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "advance", interrupted)
        with pytest.raises(loop.Stopped) as stopped:
            train(asked)
    assert (stopped.value.number, stopped.value.step) == (number, 5) and signal.getsignal(number) == signal.SIG_DFL
    assert checkpoint.load_state(asked.output)[1]["step"] == load(asked.output).meta["step"] == 5
    train(asked)
    assert result(tmp_path) == wanted


def test_a_loss_that_is_not_finite_leaves_the_last_good_checkpoint(tmp_path, kept, monkeypatch):
    asked, error, count = settings(tmp_path, kept), objectives.Estimate._error, []

    def broken(self, *args):
        count.append(1)
        return error(self, *args) * (float("nan") if len(count) > 3 else 1)  # of a trial and two good steps

    dying(asked, 5)
    before = files(tmp_path)
    monkeypatch.setattr(objectives.Estimate, "_error", broken)
    with pytest.raises(LemError, match=r"since step 7; the last good checkpoint stands in .*\. Try --lr 0.00033"):
        train(asked)
    after = files(tmp_path)
    assert {k: v for k, v in after.items() if "model" in k} == {k: v for k, v in before.items() if "model" in k}


def test_weights_that_overflow_are_not_saved(tmp_path, kept):
    with pytest.raises(LemError, match=r"not finite since step \d; no checkpoint was written yet"):
        train(settings(tmp_path, kept, lr=1e30, warmup=0, save_every=12))
    assert not list(tmp_path.glob("model*"))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
    ],
)
def test_out_of_memory_names_a_batch_to_try(error, tmp_path, kept, monkeypatch):
    def advance(self, batch):
        raise error

    monkeypatch.setattr(Trainer, "advance", advance)
    for work in (train, dry_run):
        with pytest.raises(LemError, match="out of memory at --batch 4; try --batch 2, or a smaller --crop or --width"):
            work(settings(tmp_path, kept))
    with pytest.raises(LemError, match="out of memory at --batch 1; try a smaller"):
        train(settings(tmp_path, kept, batch=1))


def test_other_errors_of_torch_are_not_taken_for_memory(tmp_path, kept, monkeypatch):
    def advance(self, batch):
        raise RuntimeError("some defect")

    monkeypatch.setattr(Trainer, "advance", advance)
    with pytest.raises(RuntimeError, match="some defect"):
        train(settings(tmp_path, kept))


# memories that are fragments


def fragments(array, kind, text, garbage=0):
    """Items that were seen in part, with what was not seen set to `garbage`."""
    (broken,) = fragment([Signal(kind, array)], operations(text), 0)
    seen = np.ascontiguousarray(broken.observed())
    return Items(kind, np.where(seen, array, np.asarray(garbage).astype(array.dtype)), None, seen)


@pytest.mark.parametrize("recipe, kind", [(r, k) for r, k, a in EVERY if a is None and RECIPES[r].takes("fragment")])
def test_of_fragments_only_what_was_seen_matters(recipe, kind, tmp_path, kept, monkeypatch):
    array = {"image": images, "embedding": vectors, "spectrum": spectra, "field": states}[kind]()
    more, ends = dict(recipe=recipe, kind=kind, arch=None, fragment=["--bits 4 --mask .3"], lr=1e-2), []
    for garbage in (0, 200):
        items = fragments(array, kind, "--mask .5", garbage)
        monkeypatch.setattr("lemtools.train.recipes.values.load_items", lambda *args: items)
        trainer, _, losses, reached = trained_on_one_batch(settings(tmp_path, kept, **more), 12)
        ends.append((losses, {k: p.detach().numpy().tobytes() for k, p in trainer.weights.items()}))
    assert ends[0] == ends[1] and ends[0][0][-1] < ends[0][0][0] and reached == set(trainer.weights)


def test_fragments_teach_what_no_one_saw_whole(tmp_path):
    """Vectors on a plane, half of each never seen: the estimate of the other half beats the mean by far."""
    whole = vectors(600)
    np.save(tmp_path / "whole.npy", whole)
    lem_fork("fragment", tmp_path / "whole.npy", "--mask", ".5", "-o", tmp_path / "half.safetensors")
    paths = {"embedding": str(tmp_path / "half.safetensors")}
    asked = settings(
        tmp_path,
        paths,
        kind="embedding",
        arch="mlp",
        fragment=["--mask .4"],
        steps=250,
        batch=64,
        lr=3e-3,
        save_every=250,
        width=48,
    )
    train(asked)
    items, model = data.load_items(asked.data), load(asked.output)
    assert items.seen is not None and 0.45 < items.seen.mean() < 0.55 and np.abs(items.data[~items.seen]).max() == 0
    signal = Signal("embedding", items.data, mask=items.seen)
    condition = Condition.of(evidence(signal), model.scale, "embedding")
    with torch.no_grad():
        recalled = model.scale.decode(model.net(condition)).numpy()
    lost = ~items.seen
    error, mean = (np.square(whole - x)[lost].mean() for x in (recalled, model.scale.offset[None]))
    assert error < 0.4 * mean


def test_psnr_is_over_what_was_seen(tmp_path, kept, monkeypatch):
    items = fragments(images(), "image", "--mask .7", 99)
    monkeypatch.setattr("lemtools.train.recipes.values.load_items", lambda *args: items)
    prepared = prepare(settings(tmp_path, kept))
    batch = Batches(prepared.spec)[0]
    with torch.no_grad():
        told, out = prepared.objective.measure(batch)["psnr"], prepared.objective.recalled(batch).clamp(-1, 1).numpy()
    for k, seen in enumerate(batch["seen"].numpy()):
        error = np.square((out[k] + 1) / 2 - batch["target"][k].numpy() / 255)[seen].mean()
        assert abs(float(told[k]) + 10 * np.log10(error)) < 1e-3


def test_raster_order_needs_wholes(tmp_path, kept, monkeypatch):
    items = fragments(vectors(), "embedding", "--mask .5")
    monkeypatch.setattr("lemtools.train.recipes.values.load_items", lambda *args: items)
    options = {"heads": 1, "order": "raster"}
    with pytest.raises(LemError, match="take --order any"):
        prepare(settings(tmp_path, kept, recipe="autoregressive", kind="embedding", arch=None, options=options))


# images seen otherwise


def test_crops_lie_inside_the_image():
    image = np.arange(12 * 9).reshape(1, 12, 9).astype(np.uint8)
    places = set()
    for seed in range(200):
        crop = augment.augment(image, 8, (), np.random.default_rng(seed))
        top, left = divmod(int(crop[0, 0, 0]), 9)
        assert np.array_equal(crop, image[:, top : top + 8, left : left + 8])
        places.add((top, left))
    assert places == {(t, x) for t in range(5) for x in range(2)}
    with pytest.raises(LemError, match="9 x 12 is smaller than --crop 10"):
        augment.augment(image, 10, (), np.random.default_rng(0))


def test_symmetries_of_the_square_and_mirror():
    image = np.arange(16).reshape(1, 4, 4)
    eight = {
        augment.augment(image, 0, augment.parse(["dihedral"]), np.random.default_rng(s)).tobytes() for s in range(100)
    }
    turned = [np.rot90(image, k, (1, 2)) for k in range(4)]
    assert eight == {np.ascontiguousarray(x).tobytes() for t in turned for x in (t, t[..., ::-1])} and len(eight) == 8
    two = {augment.augment(image, 0, augment.parse(["flip"]), np.random.default_rng(s)).tobytes() for s in range(50)}
    assert two == {image.tobytes(), np.ascontiguousarray(image[..., ::-1]).tobytes()}


def test_grey_is_luma():
    image = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    always = augment.augment(image, 0, augment.parse(["grey:1"]), np.random.default_rng(0))
    from PIL import Image

    luma = np.asarray(Image.fromarray(image.transpose(1, 2, 0)).convert("L")).astype(int)
    assert always.dtype == np.uint8 and (always[0] == always[1]).all() and np.abs(always[0] - luma).max() <= 1
    some = [augment.augment(image, 0, augment.parse(["grey:.3"]), np.random.default_rng(s)) for s in range(400)]
    assert abs(np.mean([(x != image).any() for x in some]) - 0.3) < 0.08
    assert np.array_equal(augment.augment(image[:1], 0, augment.parse(["grey:1"]), np.random.default_rng(0)), image[:1])


@pytest.mark.parametrize("scale", [1, 1 / 255])
def test_zoom_keeps_the_size_and_shows_more(scale):
    image = images(1, 3, 32)[0] * (np.uint8(1) if scale == 1 else np.float32(scale))
    out = augment.augment(image, 8, augment.parse(["zoom:.25"]), np.random.default_rng(0))
    assert out.shape == (3, 8, 8) and out.dtype == image.dtype
    wanted = image.reshape(3, 8, 4, 8, 4).mean((2, 4))  # the whole image, at a quarter
    assert np.abs(out - wanted)[:, 1:-1, 1:-1].max() < 3 * scale


@pytest.mark.parametrize(
    "text",
    [
        "turn",
        "zoom:0",
        "zoom:.5-2",
        "zoom:.9-.5",
        "zoom:.1-.2-.3",
        "grey:x",
        "grey:.1-.2",
        "grey:nan",
        "flip:.3",
        "shift:1.5",
        "shift:.1-.2",
        "dihedral:1",
    ],
)
def test_augment_refuses(text):
    with pytest.raises(LemError, match=f"--augment {text}: "):
        augment.parse([text])
    assert augment.parse(["flip", "zoom", "zoom:.7", "grey"]) == (
        ("flip", ()),
        ("zoom", (0.5, 1)),
        ("zoom", (0.7,)),
        ("grey", (0.2,)),
    )


def test_shift_moves_and_mirrors_what_comes_in():
    """Every shift of up to two pixels in either direction, and no other; against NumPy's own padding."""
    image = np.arange(3 * 8 * 9).reshape(3, 8, 9).astype(np.uint8)
    wide = np.pad(image, ((0, 0), (2, 2), (2, 2)), "reflect")
    wanted = {np.ascontiguousarray(wide[:, y : y + 8, x : x + 9]).tobytes() for y in range(5) for x in range(5)}
    steps = augment.parse(["shift:.25"])
    shown = [augment.augment(image, 0, steps, np.random.default_rng(s)) for s in range(400)]
    assert {x.tobytes() for x in shown} == wanted and shown[0].shape == image.shape
    line = augment.augment(image[:, :1], 0, augment.parse(["shift:1"]), np.random.default_rng(0))
    assert line.shape == (3, 1, 9) and np.isin(line, image[:, :1]).all()


def test_zoom_and_crop_take_one_window_in_turn():
    """A window of the image as the steps before left it; without zoom the crop comes first."""
    image = np.arange(12 * 11).reshape(1, 12, 11).astype(np.uint8)
    for texts in (["zoom:1", "dihedral"], ["dihedral", "zoom:1"], ["dihedral"]):
        shown = {
            augment.augment(image, 11, augment.parse(texts), np.random.default_rng(s)).tobytes() for s in range(200)
        }
        windows = [image[:, t : t + 11] for t in range(2)]
        turned = [np.rot90(w, k, (1, 2)) for w in windows for k in range(4)]
        assert shown == {np.ascontiguousarray(x).tobytes() for t in turned for x in (t, t[..., ::-1])}


def test_a_run_starts_from_a_trained_model(tmp_path, kept):
    first = settings(tmp_path, kept)
    train(first)
    trained = load(first.output).net.state_dict()
    again = settings(tmp_path, kept, init=first.output, output=str(tmp_path / "again.safetensors"), lr=1e-12)
    train(again)
    after = load(again.output).net.state_dict()
    assert all(torch.allclose(trained[k], after[k], atol=1e-6) for k in trained)
    wider = settings(tmp_path, kept, init=first.output, output=str(tmp_path / "wider.safetensors"), width=16)
    with pytest.raises(LemError, match="--init .*model.safetensors: it is another network: width 8, not 16"):
        train(wider)


def test_nothing_of_a_failed_run_is_left_when_its_group_ends(tmp_path, kept, monkeypatch):
    """What uses the group, freed after it while the error is on its way, waited for ever in some runs."""
    from torch import distributed
    from torch.distributed import nn  # noqa: F401  (see lemtools.ranks.join)
    from torch.nn.parallel import DistributedDataParallel

    begun, left = [], []

    def leave(ranks):
        gone = [ref() for ref in begun]
        left.extend(one for one in gone if one is not None)

    class Wrapped(DistributedDataParallel):
        def __init__(self, *about, **more):
            super().__init__(*about, **more)
            begun.append(weakref.ref(self))

    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    monkeypatch.setattr(loop, "join", lambda device: Ranks(0, 2))
    monkeypatch.setattr(loop, "leave", leave)
    monkeypatch.setattr(torch.nn.parallel, "DistributedDataParallel", Wrapped)
    try:
        with pytest.raises(LemError, match="not finite"):
            train(settings(tmp_path, kept, lr=1e30, warmup=0, steps=9))
    finally:
        distributed.destroy_process_group()
    assert begun and not left
