"""Small data sets, small runs, and what a run comes to."""

import contextlib
import json

import numpy as np

from lemtools.catalogue.recipes import RECIPES
from lemtools.cli.train import operations
from lemtools.nets.model import load
from lemtools.train import checkpoint
from lemtools.train.data import load_items
from lemtools.train.loop import train
from lemtools.train.settings import Settings


def images(n=40, c=1, side=8, seed=0):
    """Planes of random slope: what is lost can be told from what is left."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    slope = rng.uniform(-60, 60, (n, c, 2, 1, 1))
    return np.rint(128 + slope[:, :, 0] * x + slope[:, :, 1] * y).astype(np.uint8)


def vectors(n=40, d=8, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, 2)) @ rng.standard_normal((2, d)) + 3).astype(np.float32)


def spectra(n=40, seed=0):
    return vectors(n, 2 * 8 * 4, seed).reshape(n, 2, 8, 4) - 3


def states(rows=5, steps=8, seed=0):
    """A rollout [steps * rows, 1, 8] of rows side by side: what moves on by one place and fades."""
    x = np.random.default_rng(seed).standard_normal((rows, 1, 8))
    found = [0.9**t * np.roll(x, t, -1) for t in range(steps)]
    return np.concatenate(found).astype(np.float32)


TINY = {
    "flat": {"width": 8, "depth": 1},
    "conv": {"options": {"widths": [8], "blocks": [1], "shuffle": 1}},
    "mlp": {"width": 8, "depth": 1},
    "gru": {"width": 8, "options": {"steps": 2}},
    "transformer": {"width": 8, "depth": 1, "options": {"heads": 1, "mixtures": 2}},
    "resnet": {"width": 8, "depth": 1},
    "mlp-denoiser": {"width": 16, "depth": 1},
    "unet": {"options": {"widths": [8, 8]}},
    "conv-step": {"width": 8, "depth": 1},
    "mlp-step": {"width": 8, "depth": 1},
    "frames": {"width": 16, "depth": 1, "options": {"heads": 2}},
    "conv-correct": {"width": 8, "depth": 1},
    "mlp-correct": {"width": 8, "depth": 1},
    "conv-level": {"width": 8, "depth": 1},
    "mlp-level": {"width": 8, "depth": 1},
    "conv-boundary": {"width": 8, "depth": 1},
    "conv-classifier": {"options": {"widths": [8, 8], "blocks": 1}},
    "mlp-classifier": {"width": 16, "depth": 1},
    "adapter": {"width": 8, "depth": 1},
    "latent": {"width": 8, "depth": 1, "options": {"latent": 6}},
}


def settings(tmp_path, paths, *, recipe="feedforward", kind="image", arch="flat", fragment=("--mask .5",), **more):
    """A small run in `tmp_path`: 12 steps, a checkpoint every 4."""
    arch, fragment = arch or RECIPES[recipe].arch[kind], fragment if RECIPES[recipe].takes("fragment") else ()
    plain = dict(
        recipe=recipe,
        data=[paths[kind]],
        output=str(tmp_path / "model.safetensors"),
        fragment=list(fragment),
        operations=[operations(text) for text in fragment],
        arch=arch,
        steps=12,
        batch=4,
        save_every=4,
        workers=0,
        device="cpu",
        holdout=4,
        log=str(tmp_path / "log.jsonl"),
    )
    if recipe == "thermalizer":
        plain["kind"] = kind  # (where nothing is said, numbers are states)
    if recipe == "classifier":
        labels = tmp_path / "labels.npy"
        np.save(labels, np.arange(len(load_items([paths[kind]]))) % 3)
        plain["labels"] = str(labels)
    if recipe == "translate":
        other = tmp_path / "other.npy"
        np.save(other, np.abs(load_items([paths[kind]]).data[:][:, ::-1] - 3))
        plain["onto"] = [str(other)]
    if RECIPES[recipe].takes("aligned"):
        plain["aligned"] = [paths["aligned"]]
    if RECIPES[recipe].takes("drift") and "drift" not in more:
        plain |= {"drift": [paths[kind]], "target": [paths["solved"]]}
    return Settings(**{**plain, **{k: dict(v) if isinstance(v, dict) else v for k, v in TINY[arch].items()}, **more})


def told(path) -> list[dict]:
    """The records of a log, without what the clock says."""
    records = [json.loads(line) for line in open(path)]
    return [{k: v for k, v in r.items() if "second" not in k} for r in records]


def result(tmp_path) -> tuple:
    """All that a run comes to: weights, averages, moments, what stands in the model, the log."""
    state, record, _ = checkpoint.load_state(str(tmp_path / "model.safetensors"))
    model = load(str(tmp_path / "model.safetensors"))
    tensors = {**state, **{f"model.{k}": v for k, v in model.tensors().items()}}
    return record["step"], {k: v.numpy().tobytes() for k, v in tensors.items()}, told(tmp_path / "log.jsonl")


def files(folder) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


class Died(BaseException):
    """As good as kill -9: nothing catches it."""


def dying(asked: Settings, step: int) -> list[str]:
    """Train until the first record from `step` on, and die between the log and the checkpoint."""

    def die(at, steps, record):
        if at >= step:
            raise Died

    lines = []
    with contextlib.suppress(Died):
        train(asked, lines.append, die)
    return lines
