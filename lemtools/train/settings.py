"""All that a run is told, and the part of it that fixes its result."""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass, field

import numpy as np

from .data import Items

# what may differ when a run is taken up again: where it runs and what it tells, not what comes out
FREE = ("output", "workers", "device", "log", "pictures", "save_every", "compile")


@dataclass
class Settings:
    """A run. recipe: of recipes.RECIPES. data, target, validate: files and folders; key: the tensor or array to read of
    foreign ones. labels: a file of classes to learn, too. fragment: lem-fragment's options as text, operations: the
    same, parsed; one of them is drawn for each item.

    crop: side of random crops of images; 0: whole ones. augment: as augment.parse takes it. arch, width, depth,
    options: the network (recipes.config). weighting: 'level', 'log' or 'plain' (objectives). holdout: items kept back
    for validation where no `validate` names others; None: 1 in 50, at most 256, of text and for rvq 1 in 10. steps:
    updates; None: by recipe; flops: in their place, a budget of floating-point operations, forward and backward,
    padding included. batch: items an update, of all processes together; None: by recipe. lr: highest rate of AdamW;
    weight_decay, beta2: of the same. decay: 'cosine', 'constant', 'exponential:R' (R a step). warmup: steps. ema: decay
    of the average of the weights, or of codebooks' sums; None: by recipe. clip: norm of the gradient; 0: none. dtype:
    'auto', 'float32', 'bfloat16'. weights: their type in the model's file, 'float32' or 'float16'. save_every: steps
    between checkpoints; log: a JSON Lines file; pictures: a folder for PNGs of what is recalled. on: 'tokens' or
    'dense', of lm; codec: files of encodings fitted before (text.codecs). card: free text by key, kept with the model.
    """

    recipe: str
    data: list[str]
    output: str
    fragment: list[str] = field(default_factory=list)
    operations: list[list[dict]] = field(default_factory=list)
    target: list[str] = field(default_factory=list)
    validate: list[str] = field(default_factory=list)
    key: str | None = None
    labels: str | None = None
    crop: int = 0
    augment: list[str] = field(default_factory=list)
    arch: str | None = None
    width: int | None = None
    depth: int | None = None
    options: dict = field(default_factory=dict)
    weighting: str = "level"
    holdout: int | None = None
    steps: int | None = None
    flops: float | None = None
    batch: int | None = None
    lr: float | None = None
    decay: str = "cosine"
    warmup: int | None = None
    weight_decay: float = 0.0
    beta2: float = 0.99
    ema: float | None = None
    clip: float = 1.0
    dtype: str = "auto"
    weights: str = "float32"
    compile: bool = False
    seed: int = 0
    save_every: int = 1000
    workers: int | None = None
    device: str = "auto"
    log: str | None = None
    pictures: str | None = None
    on: str | None = None
    codec: list[str] | None = None
    card: dict = field(default_factory=dict)

    def frozen(self, items: Items, pairs: np.ndarray | None = None) -> dict:
        """What must be the same for the run to go on: settings; count and shape of the data, a checksum of some."""
        plain = {k: v for k, v in asdict(self).items() if k not in (*FREE, "operations", "card")}
        found = checksum(items.data, pairs, items.label)
        return plain | {"items": len(items), "item": list(items.item), "checksum": found}


def checksum(*arrays) -> int:
    """CRC-32 over up to 64 items, spread over the set, of each array that is there."""
    value = 0
    for array in arrays:
        count = 0 if array is None else len(array)
        for i in np.linspace(0, count - 1, min(count, 64)).astype(int):
            value = zlib.crc32(np.ascontiguousarray(array[i]).tobytes(), value)
    return value


def differences(then: dict, now: dict) -> list[str]:
    """Settings that are not what they were, as '--lr 0.001, not 0.0005'."""
    facts = {"items": "number of items", "item": "shape of an item"}
    out = []
    for key in {**then, **now}:
        if then.get(key) != now.get(key):
            name = facts.get(key) or "--" + {"options": "set"}.get(key, key).replace("_", "-")
            values = f"{name} {then.get(key)}, not {now.get(key)}"
            out.append("other contents of the data" if key == "checksum" else values)
    return out
