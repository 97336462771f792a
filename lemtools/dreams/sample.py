"""Samples of a denoiser seed by seed, and single steps of it, as signals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from ..denoise.contract import Denoiser
from ..denoise.samplers import ddim, noise
from ..els.bank import Bank
from ..els.plan import said
from ..els.scales import time
from ..fragment.evidence import evidence
from ..media.pixels import to_uint8
from ..rng import generator
from ..signal import LemError, Signal, called
from ..transforms.history import apart
from .resources import Resources
from .show import picture


def start(
    seeds: Sequence[int],
    item: Sequence[int],
    device: str | torch.device = "cpu",
    shown: torch.Tensor | None = None,
) -> torch.Tensor:
    """x_T [S, ...item] of the seeds: a generator each, the same for machines and networks, for any batch and device. shown:
    bool of the item's shape, what has noise (all), for a network is not shown what is zero for every sound."""
    x = noise([generator(seed, 0, 0, "els") for seed in seeds], item, device=device)
    return x if shown is None else x * shown.to(x)


def batches(
    denoiser: Denoiser, item: Sequence[int], seeds: Sequence[int], levels: np.ndarray, resources: Resources
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """(seeds, samples [S, ...item] in coordinates), DDIM with eta 0; a line a step is reported."""
    for part in resources.batches(seeds):
        x = start(part, item, resources.device, resources.shown)
        yield part, ddim(denoiser, x, levels, callback=reporting(denoiser, part, len(levels) - 1, resources))


def reporting(denoiser: Denoiser, seeds: Sequence[int], steps: int, resources: Resources):
    """What a sampler calls after every step; None where nobody listens."""

    def callback(step: int, alpha_bar: float, x: torch.Tensor, x0: torch.Tensor) -> None:
        size, error = getattr(denoiser, "size", None), getattr(denoiser, "error", None)
        size = size(alpha_bar) if callable(size) else size
        more = "" if size is None else f", patch {said(size)}"
        more += "" if error is None else f", skipping moves x0 by at most {error:.2g}"
        resources.say(f"seeds {seeds[0]} to {seeds[-1]}, step {step + 1} of {steps}: t {time(alpha_bar):.4g}{more}")

    return None if resources.report is None else callback


def sample(
    denoiser: Denoiser,
    bank: Bank,
    seeds: Sequence[int],
    levels: np.ndarray,
    resources: Resources,
    *,
    label: int | None = None,
    history: dict | None = None,
) -> Iterator[Signal]:
    """Samples as items of the bank's kind: float32, not clamped; an item's number is its seed, its name seed-N; label: their
    class. Spectra have the bank's history, so that they become sounds as those do; what is zero in all of it is zero."""
    before = bank.history if bank.kind == "spectrum" else []
    for part, x in batches(denoiser, bank.item, seeds, levels, resources):
        x = x if bank.kind == "image" else x * bank.alive.to(x)
        data = np.ascontiguousarray(denoiser.scale.decode(x).float().cpu().numpy())
        labels = None if label is None else np.full(len(part), label, np.int64)
        yield Signal(
            bank.kind,
            data,
            label=labels,
            names=[f"seed-{seed}" for seed in part],
            index=np.array(part, np.int64),
            history=[*before, *([] if history is None else [history])],
            rate=bank.rate,
        )


def denoise(
    denoiser: Denoiser,
    bank: Bank,
    noisy: Signal,
    alpha_bar: float | None,
    resources: Resources,
    history: dict | None = None,
) -> Signal:
    """E[x_0 | x_t] of a batch of noisy items of the bank's kind.

    noisy: x_t itself, as values (of images v = (x + 1) / 2), at `alpha_bar`; or items to which lem-fragment added noise:
    then x_t is a times their coordinates, and alpha_bar is known, of images 1 / (1 + 4 sigma^2). Raises LemError for other
    fragments and shapes.
    """
    if noisy.kind != bank.kind or tuple(noisy.data.shape[1:]) != bank.item:
        raise LemError(
            f"{noisy.kind} of {list(noisy.data.shape[1:])}; the bank holds {called(bank.kind)} of {list(bank.item)}"
        )
    if other := apart(noisy, bank):
        raise LemError("spectra {}, and the bank holds those {}; encode both alike".format(*other))
    x = torch.from_numpy(np.ascontiguousarray(denoiser.scale.encode(noisy.data), np.float32)).to(resources.device)
    if noisy.ops:
        op = noisy.ops[0]
        if len(noisy.ops) > 1 or op["op"] != "noise" or op.get("clamp"):
            raise LemError("fragments with other losses than noise, or clamped noise; lem-reconstruct recalls them")
        if alpha_bar is not None:
            raise LemError("this fragment says how much noise was added; leave out --t")
        gain = float(denoiser.scale.gain)
        alpha_bar = 1 / (1 + (gain * evidence(noisy).sigma.astype(np.float64)) ** 2)
        x = x * torch.from_numpy(np.sqrt(alpha_bar)).to(x)[:, None, None, None]
    elif alpha_bar is None:
        raise LemError("how much noise is in it? Give --t T, or what lem-fragment --noise writes")
    level = np.broadcast_to(np.asarray(alpha_bar, np.float64), (len(x),))
    x0 = torch.cat([denoiser(x[rows], level[rows].copy()) for rows in resources.batches(range(len(x)))])
    data = np.ascontiguousarray(denoiser.scale.decode(x0).float().cpu().numpy())
    more = [] if history is None else [history]
    return replace(noisy, data=data, ops=[], history=[*noisy.history, *more])


def grid(signals: Iterable[Signal], bank: Bank, gap: int = 1) -> Signal:
    """All items as one picture of 8 bits, by their numbers, row by row on white, about as high as wide."""
    signals = list(signals)
    order = np.argsort(np.concatenate([s.index for s in signals]), kind="stable")
    data = np.concatenate([s.data for s in signals])[order]
    if bank.kind == "image":
        pictures = to_uint8(data)
    else:
        pictures = np.stack([picture(bank.scale.encode(x), bank)[None] for x in data])
    count, channels, height, width = pictures.shape
    across = max(1, round(np.sqrt(count * height / width)))
    down = -(-count // across)
    page = np.full((channels, down * (height + gap) - gap, across * (width + gap) - gap), 255, np.uint8)
    for k, each in enumerate(pictures):
        top, left = k // across * (height + gap), k % across * (width + gap)
        page[:, top : top + height, left : left + width] = each
    return Signal("image", page[None], names=["grid"], history=signals[0].history, last=True)
