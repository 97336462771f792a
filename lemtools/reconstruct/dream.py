"""Draws of what a memory may have been: their bookkeeping for any model, and dreams under a store of memories.

A dream is a sample of the posterior by a denoiser that knows nothing of fragments: any denoiser will do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import torch
from torch import nn

from ..catalogue.denoisers import DENOISERS
from ..denoise.contract import Denoiser, Scale
from ..denoise.how import How
from ..denoise.moments import Moments, of_channels
from ..denoise.posterior import ALGORITHM, posterior
from ..denoise.posterior import STEPS as CALLS
from ..denoise.store import Store
from ..device import pick
from ..els.bank import unit_gain
from ..els.scales import Scales, parse_size
from ..els.scales import check as check_sizes
from ..fragment.evidence import Evidence, evidence
from ..nets.condition import Condition
from ..rng import generator
from ..signal import LemError, Signal
from . import tiles
from .remember import known_of

MEAN_OF = 16  # draws that a mean is made of
LIVE = 6  # outputs as large as the largest that a network holds at once, and its layers borrow
BUDGET = 704 << 20  # bytes for activations on a CPU: 24 megapixels then take less than 2 GB in all
MOST_ROWS = 1024
SIZE = r"\d{1,9}(x\d{1,9})?"  # of a patch, a square or rows and columns


def rows_of(seen: Evidence, items: np.ndarray) -> Evidence:
    """The evidence of the items selected by an integer array."""
    return Evidence(*(getattr(seen, f.name)[items] for f in fields(seen)))


def budget(device: torch.device) -> float:
    """Bytes that a network's activations may take: half of what is free on a GPU."""
    return torch.cuda.mem_get_info(device)[0] / 2 if device.type == "cuda" else BUDGET


def footprint(net: nn.Module, call: Callable[[], object], keeps: bool = False) -> float:
    """Bytes of activations of call(), estimated from what the layers give out; keeps: all of it stays (sequences)."""
    sizes = [0]

    def note(module, inputs, out):
        if isinstance(out, torch.Tensor):
            sizes.append(out.numel() * out.element_size())

    hooks = [layer.register_forward_hook(note) for layer in net.modules() if not any(layer.children())]
    try:
        with torch.inference_mode():
            call()
    finally:
        for hook in hooks:
            hook.remove()
    return float(sum(sizes) if keeps else LIVE * max(sizes))


def drawn(
    signal: Signal,
    one: Callable[[np.ndarray, list[np.random.Generator]], np.ndarray],
    *,
    samples: int,
    seed: int,
    name: str,
    rows: int,
) -> np.ndarray:
    """float32 [N * samples, ...], the draws of every item one after the other; samples = 0: [N, ...], means of MEAN_OF.

    one(items, generators) -> [R, ...] draws for the items of these numbers, at most `rows` of them at a time. Every
    draw has its generator, so that neither the batch nor the number of draws changes it.
    """
    many, position, out = samples or MEAN_OF, len(signal.ops), None
    for start in range(0, len(signal) * many, rows):
        row = np.arange(start, min(start + rows, len(signal) * many))
        items, numbers = row // many, row % many
        own = [generator(seed, int(signal.index[i]), position, f"{name}#{m}") for i, m in zip(items, numbers)]
        values = one(items, own)
        if out is None:
            out = np.zeros((len(signal) * (samples or 1), *values.shape[1:]), np.float32)
        if samples:
            out[row] = values
        else:
            np.add.at(out, items, values / np.float32(many))
    return out


def in_words(samples: int) -> str:
    """What `drawn` gives, in words."""
    return f"{samples} draws" if samples else f"mean of {MEAN_OF} draws"


def dream(
    denoiser: Denoiser,
    condition: Condition,
    generators: list[np.random.Generator],
    steps: int | None,
    temperature: float,
) -> tuple[torch.Tensor, str]:
    """One posterior draw [N, ...item], in coordinates, for every item of the condition; and how it was made."""
    steps = CALLS if steps is None else steps
    x = posterior(
        denoiser,
        condition.low,
        condition.high,
        sigma=condition.sigma,
        steps=steps,
        generators=generators,
        temperature=temperature,
    )
    return x[:, 0], f"{ALGORITHM}, {steps} calls each, temperature {temperature:g}"


class Dreamer:
    """Dreams of a store of memories; called with a batch of fragments, it answers (recalled, steps), as `NetworkRecaller` does.

    memory: [N, ...item], uint8 or float. prior: one of the catalogue's DENOISERS: 'recall', the memories themselves; 'gaussian', their mean and
    covariance with the ridge `shrink`; or of images, spectra and fields a machine of patches with their sizes, as in 'bbels:5',
    'time:3x9' or, low noise first, 'bbels:3,5,9': mosaics of their patches (lem-els). samples: 0 for the mean of 16 draws, else draws an
    item. steps: calls of the denoiser a draw. Raises LemError for a store or a fragment that does not suit.
    """

    def __init__(
        self,
        memory,
        *,
        prior: str = "recall",
        shrink: float | str = 1e-4,
        samples: int = 0,
        steps: int | None = None,
        temperature: float | None = None,
        seed: int = 0,
        device: str = "auto",
    ):
        name, _, sizes = prior.partition(":")
        self.row = DENOISERS.get(name)
        fits = self.row is not None and self.row.prior
        if not fits or bool(sizes) != self.row.local or not re.fullmatch(rf"({SIZE}(,{SIZE})*)?", sizes):
            whole, local = (
                [row.name for row in DENOISERS.rows if row.prior and row.local == local] for local in (False, True)
            )
            known = f"{', '.join(whole)}, and {', '.join(local)} with sizes, as in bbels:5"
            raise LemError(f"no prior {prior!r}; there are {known}")
        self.sizes = tuple(parse_size(size) for size in sizes.split(",")) if sizes else ()
        known_of(memory, "--method dream")
        self.memory, self.prior, self.shrink, self.samples, self.steps = memory, prior, shrink, samples, steps
        self.temperature, self.seed = 1.0 if temperature is None else temperature, seed
        self.kind: str | None = None
        self.denoiser: Denoiser | None = None
        self.device = pick(device, float64=not self.row.plain)

    def __call__(self, signal: Signal) -> tuple[Signal, list[str]]:
        """(recalled, steps): the mean of draws, or the draws, of every item."""
        whole = tiles.framed(signal)
        seen, item = evidence(whole), tuple(self.memory.shape[1:])
        if whole.data.shape[1:] != item:
            raise LemError(f"memories of shape {list(item)} cannot recall items of {list(whole.data.shape[1:])}")
        if signal.kind != self.kind:
            self.kind, self.denoiser = signal.kind, self._prepare(signal.kind)
        out, how = tiles.repeated(whole, self.samples) if self.samples else whole, [""]

        def one(items: np.ndarray, generators: list[np.random.Generator]) -> np.ndarray:
            condition = Condition.of(rows_of(seen, items), self.denoiser.scale, signal.kind)
            x, how[0] = dream(self.denoiser, condition, generators, self.steps, self.temperature)
            return self.denoiser.scale.decode(x).numpy()

        if len(signal):
            rows = max(1, min(MOST_ROWS, BUDGET // (64 * self.memory[0].size)))
            values = drawn(signal, one, samples=self.samples, seed=self.seed, name="dream", rows=rows)
            items = np.arange(len(whole)).repeat(self.samples or 1)
            out = replace(out, data=tiles.settle(values, whole.take(items), rows_of(seen, items), signal.whole_dtype))
        ridge = f", shrink {self.shrink}" if self.row.takes("shrink") else ""
        step = f"dream: {in_words(self.samples)} under {len(self.memory)} memories ({self.prior}{ridge}), {how[0]}"
        return replace(out, mask=None, codes=None, ops=[]), [step]

    def _prepare(self, kind: str) -> Denoiser:
        """The store as a denoiser, in coordinates whose spread is about 1."""
        if not self.row.suits(kind):
            raise LemError(f"--prior {self.prior} is of patches of images, not of {kind}")
        scale = Scale.image() if kind == "image" else _centred(self.memory)
        if kind == "field" and self.row.local:  # (places are alike)
            scale = Scale(*of_channels(np.asarray(self.memory)))
        if kind == "spectrum" and self.row.local:
            scale = Scale(0.0, unit_gain(self.memory))
        try:
            if self.sizes:
                check_sizes([self.row.name], self.sizes, (0, *(2 * self.memory.shape[2:])[-2:]))
            how = How(self.device, size=Scales(self.sizes) if self.sizes else 3, shrink=self.shrink)
            return self.row.load()(Store(self.memory, scale, device=self.device), how)
        except ValueError as error:
            raise LemError(f"memory: {error}") from error


def _centred(memory) -> Scale:
    """Coordinates less the mean memory and over the standard deviation about it (one number), read piece by piece."""
    rows, moments = max(1, (1 << 22) // memory[0].size), Moments(full=False)
    for start in range(0, len(memory), rows):
        moments.add(np.asarray(memory[start : start + rows], np.float64).reshape(-1, memory[0].size))
    mean = moments.mean.astype(np.float32).reshape(memory.shape[1:])
    return Scale.centred(mean, float(np.sqrt(moments.variance.mean())) or 1.0)
