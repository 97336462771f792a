"""lem-train frames: what a frame is, what is kept back, what is learnt, and what the record says."""

import json

import numpy as np
import pytest

from helpers.training import settings
from lemtools.nets.frames import Frames
from lemtools.nets.model import load
from lemtools.rng import generators
from lemtools.signal import LemError, Signal
from lemtools.stream import write
from lemtools.train.data import Batches
from lemtools.train.loop import train
from lemtools.train.prepare import prepare


def moving(rows=6, steps=9, places=4, kinds=5, seed=0):
    """[rows, steps, places]: all tokens go on by one place at every step; the frames of row 0 have the token K - 1."""
    x = np.random.default_rng(seed).integers(0, kinds - 1, (rows, places))
    x[0, 0] = kinds - 1
    return np.stack([np.roll(x, t, 1) for t in range(steps)], 1)


def asked(tmp_path, data=None, **more):
    """A small run on frames of several rows, step by step; or of whole sequences where `places` is given."""
    data = moving() if data is None else data
    rows, _, places = data.shape
    if "places" in more:
        np.save(tmp_path / "x.npy", data.reshape(rows, -1))
    else:
        np.save(tmp_path / "x.npy", data.swapaxes(0, 1).reshape(-1, places))
        more = {"rows": rows, **more}
    more["options"] = {"heads": 2, **more.pop("options", {})}
    return run(tmp_path, "x.npy", **more)


def run(tmp_path, name, **more):
    return settings(tmp_path, {"tokens": str(tmp_path / name)}, recipe="frames", kind="tokens", arch="frames", **more)


@pytest.mark.parametrize("context", [1, 2, 3])
def test_an_item_is_frames_of_one_row_that_follow(context, tmp_path):
    x = moving()
    one = prepare(asked(tmp_path, x, options={"context": context}, holdout=0))
    items = one.spec.items.data
    assert len(items) == 6 * (9 - context) and one.validation is None
    for i in range(len(items)):
        t, row = divmod(i, 6)
        assert items[i].dtype == np.int32 and np.array_equal(items[i], x[row, t : t + context + 1])
    assert one.model.meta["item"] == [4] and one.model.meta["net"]["vocabulary"] == 5
    assert Batches(one.spec)[0]["target"].shape == (4, context + 1, 4)


def test_sequences_are_the_same_frames(tmp_path):
    one = prepare(asked(tmp_path, holdout=6)).spec
    two = prepare(asked(tmp_path, holdout=6, places=4)).spec
    assert len(one.items) == len(two.items)
    assert all(np.array_equal(one.items.data[i], two.items.data[i]) for i in range(len(one.items)))


def test_no_frame_is_in_both_parts(tmp_path):
    x = np.arange(6 * 9 * 4).reshape(6, 9, 4)
    made = prepare(asked(tmp_path, x, holdout=7))
    learnt, back = (
        {int(part.data[i][k, 0]) for i in range(len(part)) for k in range(3)}
        for part in (made.spec.items, made.validation.items)
    )
    assert learnt and back and not learnt & back
    assert len(made.validation.items) == 12, "the last steps of all rows"


def test_what_is_validated_on_may_be_another_rollout(tmp_path):
    np.save(tmp_path / "other.npy", moving(6, 5, kinds=7, seed=1).swapaxes(0, 1).reshape(-1, 4))
    made = prepare(asked(tmp_path, validate=[str(tmp_path / "other.npy")], holdout=None))
    assert len(made.validation.items) == 6 * 3 and made.model.meta["net"]["vocabulary"] == 7


def test_the_history_says_how_many_tokens_there_are(tmp_path):
    data = moving().reshape(6, -1)
    with open(tmp_path / "x.safetensors", "wb") as file:
        write([Signal("tokens", data, depth=3, history=[{"tool": "lem-encode", "vocab": 12}])], file)
    assert prepare(run(tmp_path, "x.safetensors", places=4)).model.meta["net"]["vocabulary"] == 12


def test_what_moves_on_is_learnt_and_the_record_has_the_control(tmp_path):
    one = asked(tmp_path, moving(60, 6), steps=300, batch=16, lr=1e-2, save_every=300, ema=0.9, holdout=60, width=32)
    train(one)
    told = json.loads(open(one.log).readlines()[-1])
    x = moving(60, 6).swapaxes(0, 1)
    assert told["held_out_right"] > 0.99 and told["held_out_loss"] < 0.1
    assert told["held_out_copying"] == pytest.approx((x[-1] == x[-2]).mean())
    known = Frames(load(one.output))
    context = moving(60, 6)[:, 2:4]
    answer = known.sample(context, generators(0, range(60), 0, "frames"), temperature=0)
    assert (answer == moving(60, 6)[:, 4]).mean() > 0.99
    drawn = known.sample(context, generators(0, range(60), 0, "frames"))
    assert (drawn == moving(60, 6)[:, 4]).mean() > 0.9


@pytest.mark.parametrize(
    "more, said",
    [
        (dict(rows=3, places=4), "--rows and --places: give one of them"),
        (dict(places=5), r"^--data: items of 36 tokens are no sequences of 3 or more frames of --places 5"),
        (dict(places=18), r"no sequences of 3 or more frames of --places 18"),
        (dict(rows=7), r"^--rows 7 does not divide the 54 frames of --data"),
        (
            dict(rows=27),
            r"^none of 54 frames, 2 for each of --rows 27, has 2 successors; give a longer rollout, or other --rows$",
        ),
        (dict(holdout=600), "leaves nothing of"),
        (dict(options={"heads": 3}), r"^--arch frames: width 16 is no multiple of 2 x 3 heads"),
    ],
)
def test_what_does_not_go_together_is_refused(more, said, tmp_path):
    with pytest.raises(LemError, match=said):
        prepare(asked(tmp_path, **more))


def test_what_are_no_frames_of_tokens_is_refused(tmp_path):
    x = moving()
    x[2, 3, 1] = -1
    with pytest.raises(LemError, match="token -1; tokens are numbers from 0"):
        prepare(asked(tmp_path, x))
    np.save(tmp_path / "short.npy", np.zeros((24, 3), np.int64))
    with pytest.raises(LemError, match=r"^--validate: frames of 3 tokens, where those of --data have 4"):
        prepare(asked(tmp_path, validate=[str(tmp_path / "short.npy")], holdout=None))
    np.save(tmp_path / "x.npy", np.zeros((54, 4), np.float32))
    with pytest.raises(LemError):
        prepare(run(tmp_path, "x.npy"))
    assert not (tmp_path / "model.safetensors").exists()
