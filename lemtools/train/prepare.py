"""From settings to all that a run needs: data, split, network, objective; and what it will cost."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from .. import __version__
from ..denoise.contract import Scale
from ..fragment import OPERATIONS
from ..media import store
from ..media.labels import labels as read_labels
from ..nets import build
from ..nets.model import Model
from ..rng import generator
from ..signal import LemError
from . import augment, pictures
from .data import Batches, Items, Spec, check_apart, read
from .objectives import OBJECTIVES, Objective
from .recipes import FRAGMENTS, RECIPES, blamed, config, moments
from .settings import Settings
from .trainer import Run, Trainer

COUNTED = 64  # items, at least, whose operations are counted
ATTENTION = ("flash_attention_for_cpu", "flash_attention", "efficient_attention", "cudnn_attention")  # torch's kernels


@dataclass
class Prepared:
    """A run before its first step. held: how items kept back are asked for, or None. run: what learns. note: what a
    person should know. report: numbers on what is kept back, of recipes that end in some."""

    settings: Settings
    model: Model
    objective: Objective
    spec: Spec
    held: Spec | None
    frozen: dict
    run: type[Run] = Trainer
    note: str | None = None
    report: dict[str, float] | None = None

    @cached_property
    def flops(self) -> float:
        """Floating-point operations of one item's forward and, where there is one, backward pass. The backward pass counts
        twice; there is none through parts that do not learn.

        The mean over the losses, of each as many items: what is left of an item makes a sequence long or short. No item
        costs more for those beside it.
        """
        losses = self.spec.each_loss()
        size = min(self.spec.batch, -(-COUNTED // len(losses)))
        count = -(-COUNTED // (size * len(losses)))
        total = 0
        for one in losses:
            for batch in Batches(replace(one, batch=size)).steps(0, count, 0, str(self.objective.device)):
                passes = self.objective.passes
                for work, times in ((self.objective, passes), (self.objective.given, 1 - passes)):
                    with torch.no_grad(), flop_counter() as counter:
                        work(batch)
                    total += times * counter.get_total_flops()
        return total / (count * size * len(losses))

    @cached_property
    def steps(self) -> int:
        """Updates of the run: as asked for, or as a budget of operations allows."""
        if self.settings.flops is None:
            return self.settings.steps
        return max(1, round(self.settings.flops / (self.flops * self.settings.batch)))

    def summary(self, device: str, world: int) -> str:
        """One line: what is trained, on what, how long."""
        among = f" ({world} processes)" if world > 1 else ""
        return (
            f"{self.settings.recipe}: {self.model.meta['net']['net']} of {self.model.parameters:,} parameters, "
            f"{len(self.spec.items):,} items, {self.steps:,} steps of {self.settings.batch} on {device}{among}"
        )

    def picture(self, trainer) -> None:
        """What is recalled of some items, beside them and their fragments, as a PNG in the folder asked for."""
        if self.settings.pictures:
            with trainer.averaged(), torch.no_grad():
                pictures.write(self, trainer, os.path.join(self.settings.pictures, f"step-{trainer.step:07d}.png"))


def flop_counter():
    """torch's counter of floating-point operations, a context; `get_total_flops()` afterwards.

    It knows attention on CPUs, too, and of causal attention counts what is done: no kernel makes the products that the
    mask would hide, which are half of them.
    """
    from torch.utils.flop_counter import FlopCounterMode

    kernels = [getattr(torch.ops.aten, f"_scaled_dot_product_{name}") for name in ATTENTION]
    return FlopCounterMode(display=False, custom_mapping={kernel: _attention(kernel) for kernel in kernels})


def _attention(kernel) -> Callable[..., int]:
    """What a kernel of attention computes: two products of its queries with the keys that they see."""
    causal_at = [argument.name for argument in kernel.default._schema.arguments].index("is_causal") - 3

    def count(query, key, value, *rest, out_shape=None, **options) -> int:
        causal = rest[causal_at] if len(rest) > causal_at else options.get("is_causal", False)
        items, heads, length, features = query
        pairs = length * (length + 1) // 2 if causal else length * key[2]
        return 2 * items * heads * pairs * (features + value[3])

    return count


def prepare(settings: Settings) -> Prepared:
    """Read, split, build. Raises LemError for what does not go together."""
    recipe = RECIPES.get(settings.recipe)
    if recipe is None:
        raise LemError(f"no recipe {settings.recipe!r}; there are {', '.join(RECIPES)}")
    for name in ("batch", "steps", "ema"):
        if getattr(settings, name) is None:
            setattr(settings, name, getattr(recipe, name))
    if recipe.family == "codebooks":
        from . import codebooks

        return codebooks.prepare(settings)
    if "tokens" in recipe.nets:
        from . import text

        prepared = Prepared(settings, *text.prepare(settings))
        _try(prepared)
        return prepared
    for name in ("on", "codec"):
        if getattr(settings, name):
            raise LemError(f"--{name} is for lm, not {settings.recipe}")
    for specification in settings.operations:
        for operation in specification:
            if operation["op"] not in OPERATIONS or operation["op"] == "downsample":
                raise LemError(
                    "--fragment: --downsample leaves no element of the memory; lem-train learns the other losses"
                )
    settings.lr = settings.lr or recipe.lr
    check_apart(settings.data, settings.validate)
    items = read(settings.data, settings.key)
    if settings.labels:
        items.label = labels(settings.labels, len(items))
    pairs = store(settings.target) if settings.target else None
    frozen = settings.frozen(items, pairs)
    if pairs is not None and len(pairs) != len(items):
        raise LemError(f"--target has {len(pairs)} items for {len(items)} of --data; they belong together one by one")
    steps = augment.parse(settings.augment)
    if (settings.crop or steps) and (items.kind != "image" or pairs is not None or items.seen is not None):
        raise LemError("--crop and --augment are for whole images that are their own target")
    item = items.item
    if settings.crop:
        _check_crop(items, settings.crop)
        item = (item[0], settings.crop, settings.crop)
    elif any(n == 0 for n in item):
        raise LemError(f"{', '.join(settings.data)}: images of several sizes; give --crop, as in --crop 128")
    for name, _ in steps:
        if augment.AUGMENT[name].crops and not settings.crop:
            raise LemError(f"--augment {name} needs a --crop")
        if augment.AUGMENT[name].square and item[1] != item[2]:
            raise LemError(f"--augment {name} turns images by 90 degrees: they must be square; give --crop")
    chosen, held, held_pairs, rows = _split(settings, items, pairs)
    model = _model(settings, recipe.family, items, pairs, item, bool(settings.crop), rows)
    objective = OBJECTIVES[recipe.family](model, settings.weighting)
    common = dict(seed=settings.seed, operations=settings.operations, crop=settings.crop, extras=objective.extras)
    spec = Spec(chosen, settings.batch, augment=steps, pairs=None if pairs is None else View(pairs, rows), **common)
    held_spec = None
    if held is not None:
        common["seed"] = settings.seed + 1
        held_spec = Spec(held, min(settings.batch, len(held), 64), pairs=held_pairs, **common)
    if settings.pictures and (held is None or model.meta["target"]["kind"] != "image"):
        raise LemError("--pictures shows images that are kept back: give --holdout N or --validate PATH")
    if items.seen is not None and getattr(model.net, "order", None) == "raster":
        raise LemError("--order raster asks for every value in turn; to learn from fragments take --order any")
    prepared = Prepared(settings, model, objective, spec, held_spec, frozen)
    _try(prepared)
    return prepared


def _try(prepared: Prepared) -> None:
    """What does not go together is found here, not on the way: every loss on one item, and the network on one."""
    batch = [Batches(replace(one, batch=1))[0] for one in prepared.spec.each_loss()][0]
    with torch.no_grad(), blamed(prepared.model.meta["net"]["net"]):
        prepared.objective(batch)


def labels(path: str, count: int) -> np.ndarray:
    """Classes of the items, int64 [count], from a file of them."""
    classes = read_labels(path)
    if len(classes) != count:
        raise LemError(f"{path}: {len(classes)} labels for {count} items")
    return classes


def _check_crop(items: Items, crop: int) -> None:
    shapes = [items.data.shape[1:]] if isinstance(items.data, np.ndarray) else [x.shape for x in items.data]
    _, height, width = min(shapes, key=lambda shape: min(shape[1:]))
    if min(height, width) < crop:
        raise LemError(f"an image of {width} x {height} is smaller than --crop {crop}")


def _split(settings: Settings, items: Items, pairs):
    """(items to learn from, items kept back or None, their pairs, rows to learn from), by the seed alone."""
    everything = np.arange(len(items))
    if settings.validate:
        held = read(settings.validate, settings.key)
        if held.kind != items.kind or pairs is not None:
            raise LemError("--validate: memories of the kind of --data, which are their own target; else use --holdout")
        if settings.crop and held.item[0] == items.item[0]:
            _check_crop(held, settings.crop)
        elif held.item != items.item:
            raise LemError(f"--validate: items of {list(held.item)} beside {list(items.item)}")
        if items.label is not None:
            held.label = np.full(len(held), -1) if held.label is None else held.label  # no class in particular
            if held.label.max() > items.label.max():
                most = items.label.max()
                raise LemError(f"--validate: an item of class {held.label.max()}; the data have up to {most}")
        return items, held, None, everything
    count = min(256, len(items) // 50) if settings.holdout is None else settings.holdout
    if not count:
        return items, None, None, everything
    if count >= len(items):
        raise LemError(f"--holdout {count} leaves nothing of {len(items)} items to learn from")
    order = generator(settings.seed, 0, 0, "holdout").permutation(len(items))
    back, rows = np.sort(order[:count]), np.sort(order[count:])
    return View.of(items, rows), items.take(back), None if pairs is None else pairs[back], rows


class View:
    """Some rows of an array, read when they are asked for: a mapped store stays on disk."""

    def __init__(self, array, rows):
        self.array, self.rows = array, rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.array[self.rows[i]]

    @classmethod
    def of(cls, items: Items, rows: np.ndarray) -> Items:
        pick = lambda a: None if a is None else a[rows]
        return Items(items.kind, cls(items.data, rows), pick(items.label), pick(items.seen))


def _model(settings: Settings, family: str, items: Items, pairs, item, any_size: bool, rows: np.ndarray) -> Model:
    """The network, untrained. Its coordinates come from the items `rows` alone: what is kept back fits nothing."""
    target = (items.kind, tuple(item))
    if pairs is not None:  # (the data are one array: images of several sizes have no --target)
        plain = "image" if pairs.ndim == 4 else "embedding"
        target = (items.kind if pairs.ndim == items.data.ndim else plain, pairs.shape[1:])
    classes = 0 if items.label is None else int(items.label.max()) + 1
    if family != "denoise" and not settings.operations:
        raise LemError(FRAGMENTS.format(settings.recipe))
    record = config(
        settings.recipe,
        items.kind,
        tuple(item),
        target,
        net=settings.arch,
        width=settings.width,
        depth=settings.depth,
        options=settings.options,
        classes=classes,
        conditioned=bool(settings.operations),
    )
    torch.manual_seed(settings.seed)
    with blamed(record["net"]):
        net = build(record)
    seen = None if items.seen is None else items.seen[rows]
    scale = Scale(*moments(View(items.data, rows), items.kind, seen))
    target_scale = scale if pairs is None else Scale(*moments(View(pairs, rows), target[0]))
    free = any_size and "item" not in record
    meta = {
        "v": 1,
        "tool": "lem-train",
        "version": __version__,
        "recipe": settings.recipe,
        "net": record,
        "kind": items.kind,
        "item": [item[0], 0, 0] if free else list(item),
        "target": {"kind": target[0], "item": [target[1][0], 0, 0] if free else list(target[1])},
        "fragment": settings.fragment,
        "classes": classes if family == "denoise" else 0,
        "step": 0,
        "seed": settings.seed,
        "card": dict(settings.card),
    }
    return Model(net, meta, scale, target_scale)


def cost(prepared: Prepared, trainer) -> dict[str, float]:
    """What the run will take, from a few steps on this device: parameters, operations, memory, time."""
    settings, cuda = prepared.settings, trainer.cuda
    batches, saved = Batches(prepared.spec, trainer.ranks.rank, trainer.ranks.world), {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    hooks = contextlib.nullcontext() if cuda else torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t)
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    with hooks:
        trainer.advance(batches[0])
    weights = 16 * prepared.model.parameters
    memory = torch.cuda.max_memory_allocated() if cuda else weights + sum(saved.values())
    begun, made = time.perf_counter(), 0.0
    for step in range(1, 4):
        at = time.perf_counter()
        batch = batches[step]
        made += time.perf_counter() - at
        trainer.advance(batch)
    if cuda:
        torch.cuda.synchronize()
    each = (time.perf_counter() - begun - (made if cuda else 0)) / 3
    return {
        "parameters": prepared.model.parameters,
        "steps": prepared.steps,
        "batch": settings.batch,
        "flops_per_item": prepared.flops,
        "flops": prepared.flops * settings.batch * prepared.steps,
        "memory_bytes": float(memory),
        "seconds_per_step": each,
        "seconds": each * prepared.steps,
        "loader_seconds_per_step": made / 3,
        "epochs": prepared.steps * settings.batch / max(len(prepared.spec.items), 1),
    }
