"""Recall by a trained network: one call of an estimator, or draws from a sequence model or a denoiser, and their mean.

Whatever the network answers, what the fragment holds stays: exact values to the last bit, quantised ones in their bins.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import fields, replace
from math import prod

import numpy as np
import torch

from ..denoise.samplers import ancestral, noise
from ..denoise.schedule import grid
from ..device import pick
from ..fragment.evidence import Evidence, evidence, foreign
from ..nets.condition import Condition
from ..nets.conv import fill
from ..nets.denoiser import NetworkDenoiser
from ..nets.grid import rings
from ..nets.model import Model, load
from ..signal import LemError, Signal, those
from ..transforms import unlike
from ..transforms.history import front
from . import sounds, tiles
from .dream import CALLS, MOST_ROWS, Dreamer, budget, drawn, dream, footprint, in_words, rows_of
from .held import Bound, held, held_ancestral

PROBE = 64  # px: side of the piece on which a network's need of memory is measured
Beside = Callable[[np.ndarray, Evidence, tiles.Place], np.ndarray]
LEVELS = 50  # noise levels of a conditioned denoiser
PLAIN = 200  # bytes an element takes besides: evidence, condition, answer, and what makes them


OTHERS = {  # families that recall nothing: what they do, what takes them
    "step": ("an emulator, which makes steps", "lem-thermalize"),
    "correct": ("a corrector, which mends steps", "lem-thermalize"),
    "frames": ("a model of frames, which makes steps", "lem-thermalize"),
    "level": ("a thermalizer, which reads levels of noise", ""),
    "boundary": ("a model of boundaries, which moves them", "lem-encode --refine"),
    "classify": ("a classifier, which tells classes", "lem-compare --judge"),
    "translate": ("a translation of vectors, which are no fragments", "lem-encode --model"),
}


class NetworkRecaller:
    """A trained network made ready; called with a batch of fragments, it answers (recalled, steps).

    model: a ``Model``, or the path of one. samples: 0 for the mean (of networks that draw: of 16 draws), else draws an
    item, named NAME#0 ... NAME#M-1. steps: iterations of a recurrent network, or noise levels of a denoiser; None: as
    it was trained, or the sampler's own number. temperature: of draws, 1 being the posterior. seed: of the draws.
    device: 'auto', 'cpu', 'cuda', 'mps'. dtype: 'float32', 'bfloat16' (autocast) or 'auto', bfloat16 for one call on
    images on CUDA, else float32. tile: side in pixels of the pieces that images go through in, for networks that take
    any size; None: by memory. label: the class to recall, of a denoiser that knows classes; None: any.

    Attributes: method, 'net', or 'dream' for a denoiser trained without fragments; identity: the file's name and the
    first digits of its SHA-256. Raises LemError for a file that is no model and for options that do not suit its
    network.
    """

    def __init__(
        self,
        model: Model | str,
        *,
        samples: int = 0,
        steps: int | None = None,
        temperature: float | None = None,
        seed: int = 0,
        device: str = "auto",
        dtype: str = "auto",
        tile: int | None = None,
        label: int | None = None,
    ):
        self.device = torch.device(pick(device))
        model, self.name, self.identity = identified(model)
        if model.family in OTHERS:
            what, way = OTHERS[model.family]
            raise LemError(f"{self.name}: {what} and recalls no fragments{way and f'; see {way}'}")
        if model.meta["kind"] == "tokens":
            way = "; --method continue goes on with tokens" if hasattr(model.net, "after") else ""
            raise LemError(f"{self.name}: a model of text ({model.meta['recipe']}), which recalls no fragments{way}")
        self.net, self.meta = model.net.to(self.device).eval(), model.meta
        self.model, self.family, self.target = model, model.family, model.meta["target"]
        self.samples, self.steps, self.seed, self.tile, self.label = samples, steps, seed, tile, label
        self.temperature = 1.0 if temperature is None else temperature
        self.conditioned = self.family != "denoise" or self.net.conditioned
        self.method = "net" if self.conditioned else "dream"
        self.same = self.target == {"kind": self.meta["kind"], "item": list(self.meta["item"])}
        self.convolutional = len(self.meta["item"]) == 3 and 0 in self.meta["item"]
        one_call = self.family == "estimate"
        half = dtype == "bfloat16" or (
            dtype == "auto" and self.device.type == "cuda" and one_call and self.meta["kind"] == "image"
        )
        self.dtype = torch.bfloat16 if half else torch.float32
        self._check_options(one_call, temperature)

    def _check_options(self, one_call: bool, temperature: float | None) -> None:
        if one_call and self.samples:
            raise LemError(f"{self.name} gives one answer: --samples is for autoregressive and diffusion models")
        if one_call and temperature is not None:
            raise LemError(f"{self.name} gives one answer: --temperature is for autoregressive and diffusion models")
        if self.steps is not None and not (self.family == "denoise" or getattr(self.net, "steps", None)):
            raise LemError(f"{self.name} has no number of steps: --steps is for recurrent and diffusion models")
        whole = not one_call or not self.convolutional or getattr(self.net, "reach", None) is None
        if self.tile is not None and whole:
            raise LemError(f"{self.name} does not go in tiles: --tile is for convolutional models of one call")
        classes = getattr(self.net, "classes", 0)
        if self.label is not None and not self.label < classes:
            known = f"knows classes 0 to {classes - 1}" if classes else "knows no classes"
            raise LemError(f"{self.name} {known}: --label {self.label} is none of them")

    def __call__(self, signal: Signal) -> tuple[Signal, list[str]]:
        """(recalled, steps). Sounds are recalled by their spectra, where those are what it knows (see sounds). LemError where
        the model was made for other memories, or its answer is not finite."""
        if signal.kind == "audio" and self.model.front is not None and len(signal) and self.same:
            self._check_sound(signal)
            return sounds.recalled(self.model.front, signal, self._recall, self._windows(), self.samples)
        return self._recall(signal)

    def _recall(self, signal: Signal, hold: sounds.Hold | None = None) -> tuple[Signal, list[str]]:
        whole = tiles.framed(signal)
        self._check(signal, whole)
        dtype = np.dtype(np.uint8 if self.target["kind"] == "image" else np.float32)
        dtype = signal.whole_dtype if self.same else dtype
        if not len(signal):
            data, steps = np.zeros((0, *(whole.data.shape[1:] if self.same else self.target["item"])), dtype), []
        elif self.family == "estimate":
            data, steps = self._estimate(whole, dtype)
        else:
            data, steps = self._draw(signal, whole, dtype, hold)
        out = tiles.repeated(whole, self.samples) if self.samples else whole
        kept = {} if self.same else {"kind": self.target["kind"], "rate": None}
        return replace(out, data=data, mask=None, codes=None, ops=[], **kept), [*steps, *self._notes(signal)]

    # --- what fits

    def _check(self, signal: Signal, whole: Signal) -> None:
        item = whole.data.shape[1:]
        if not (self.model.fits(signal.kind, item) or self._grey(signal.kind, item) or self._longer(signal.kind, item)):
            raise LemError(
                f"{self.name} recalls {those(self.meta['kind'], self.meta['item'])}, not "
                f"{those(signal.kind, item)}; train one for it with lem-train"
            )
        mine, made = self.model.front, front(signal.history) if signal.kind == "spectrum" else None
        if mine is not None and made is not None:
            known, there = mine.record, made.record
            for key in unlike(known, there, ("samples", "middle")):
                differ = f"{key} {there.get(key)}, where {self.name} knows spectra of {key} {known.get(key)}"
                raise LemError(f"{differ}; encode the sound as those were, or train a network of such spectra")
        if (other := foreign(signal.ops)) is not None:
            raise LemError(
                f"{self.name} takes fragments that hold elements of their memory, not of --{other}; "
                "recall them without --model"
            )

    def _longer(self, kind: str, item: tuple[int, ...]) -> bool:
        """Of spectra a convolutional network takes any number of frames."""
        return kind == "spectrum" == self.meta["kind"] and not self._fixed and list(item[:-1]) == self.meta["item"][:-1]

    @property
    def _fixed(self) -> bool:
        """Whether the network takes items of one size alone."""
        return "channels" not in self.meta["net"]

    def _windows(self) -> sounds.Windows:
        """In how many frames it can be asked."""
        usual, net = self.meta["item"][-1], self.net
        field = getattr(net, "receptive_field", None)
        reach = field // 2 if field else getattr(net, "reach", usual)
        around = "circular" in getattr(net, "padding", "") and rings(net.padding, 2)[1]
        return sounds.Windows(
            usual, self._fixed, 0 if self._fixed else reach, net.multiple if around and hasattr(net, "multiple") else 1
        )

    def _check_sound(self, signal: Signal) -> None:
        """LemError for sounds of another rate or number of channels than those whose spectra it knows."""
        rate, channels = self.model.front.rate, self.meta["item"][0] // len(self.model.front.zero)
        if signal.rate != rate:
            there = "no rate" if signal.rate is None else f"{signal.rate:g} Hz"
            raise LemError(f"{there}, where {self.name} knows sounds of {rate:g} Hz; resample it first")
        if signal.data.shape[1] != channels:
            several = f"{signal.data.shape[1]} channel{'s' * (signal.data.shape[1] != 1)}"
            raise LemError(f"{several}, where {self.name} knows sounds of {channels}; recall them one by one")

    def blank(self) -> Signal:
        """A fragment of which all is lost, of a memory as it knows them: its draws are samples. LemError for a network that
        gives one answer, or that takes any size."""
        if self.family == "estimate":
            raise LemError(f"{self.name} gives one answer to a fragment, and none without: name a FILE")
        item = tuple(self.target["item"])
        if not self.same or 0 in item:
            what = "recalls one kind from another" if not self.same else "takes any size"
            raise LemError(f"{self.name} {what}: it has no samples of its own; name a FILE")
        kind, mine = self.meta["kind"], self.model.front
        made = [] if mine is None else [{"tool": "lem-train", "model": self.identity, **mine.record}]
        data = np.zeros((1, *item), np.uint8 if kind == "image" else np.float32)
        lost = np.zeros((1,) * data.ndim, bool)
        rate = None if mine is None else float(mine.rate)
        return Signal(kind, data, mask=lost, history=made, rate=rate, last=True)

    def _grey(self, kind: str, item: tuple[int, ...]) -> bool:
        """Grey images go through a model of colours as three equal channels."""
        return kind == "image" and self.same and item[0] == 1 and self.model.fits(kind, (3, *item[1:]))

    def _notes(self, signal: Signal) -> list[str]:
        """A step for every loss that the model never saw; a crop is a loss of pixels like others."""
        known = " ".join(map(str, self.meta["fragment"]))
        seen = set(re.findall(r"--([a-z-]+)", known))
        if not seen:
            return []
        seen |= {"crop", "keep-dims"} if "mask" in seen else set()
        losses = {
            op["op"] for op in signal.ops if op.get("mask_shape") not in seen
        }  # (a mask made by --lowpass says so)
        usual = ["uniform", *known.split()]
        losses |= {op["quantizer"] for op in signal.ops if op.get("quantizer", "uniform") not in usual}
        return [f"{name}: not among what {self.name} was trained on" for name in sorted(losses - seen)]

    # --- what the network says

    def _condition(self, seen: Evidence, width: int) -> Condition:
        """The evidence in the network's coordinates; one channel stands for `width`."""
        if self.meta["kind"] == "image" and seen.value.shape[1] < width:
            wide = {f.name: getattr(seen, f.name).repeat(width, 1) for f in fields(seen) if f.name != "sigma"}
            seen = replace(seen, **wide)
        return Condition.of(seen, self.model.scale, self.meta["kind"], self.device)

    def _values(self, x: torch.Tensor, fragment: Signal) -> np.ndarray:
        """The network's answer in units of full scale, float32 on the CPU; for grey images, its channels' mean."""
        values = self.model.target_scale.decode(x.detach().float().cpu()).numpy()
        if self.model.counted is not None and self.same:
            values = values * self.model.counted.numpy()
        if not np.isfinite(values).all():
            raise LemError(
                f"{self.name}: its answer is not finite (NaN); its training may have diverged: take another checkpoint"
            )
        return values if not self.same or values.shape[1] == fragment.data.shape[1] else values.mean(1, keepdims=True)

    def _autocast(self):
        return torch.autocast(self.device.type, torch.bfloat16) if self.dtype == torch.bfloat16 else nullcontext()

    def _asked(self, condition: Condition) -> torch.Tensor:
        """One call of an estimator; steps only where they were asked for."""
        more = {} if self.steps is None else {"steps": self.steps}
        with torch.inference_mode(), self._autocast():
            return self.net(condition, **more)

    def _estimate(self, whole: Signal, dtype: np.dtype, beside: Beside | None = None) -> tuple[np.ndarray, list[str]]:
        """One call of an estimator; beside: (values, evidence, place) -> values that are put into the fragment's intervals."""
        channels = self.meta["item"][0]
        grids: dict[int, torch.Tensor] = {}

        def recall(window: Signal, place: tiles.Place) -> np.ndarray:
            seen = evidence(window)
            condition = self._condition(seen, channels)
            items, sides = place
            if sides is not None:
                if items.start not in grids:
                    grids.clear()
                    grids[items.start] = self._coarse(whole.take(items), channels)
                here = (slice(s.start // tiles.GRID, -(-s.stop // tiles.GRID)) for s in sides)
                condition = replace(condition, coarse=grids[items.start][(..., *here)])
            values = self._values(self._asked(condition), window)
            return self._put(values if beside is None else beside(values, seen, place), window, seen, dtype)

        probe = tiles.corner(whole.take([0]), PROBE) if self.convolutional else whole.take([0])
        need = footprint(self.net, lambda: self._asked(self._condition(evidence(probe), channels)))
        need += PLAIN * max(prod(probe.data.shape[1:]), 1)
        pieces = tiles.Pieces(max(1, min(int(budget(self.device) / need), MOST_ROWS)))
        if self.convolutional:
            pieces = tiles.pieces(
                whole,
                need / prod(probe.data.shape[-2:]),
                budget(self.device),
                getattr(self.net, "reach", None),
                self.tile,
            )
        parts = [
            f"net: one call of {self.name}",
            *([f"{self.steps} steps"] if self.steps is not None else []),
            *([str(pieces)] if pieces.side else []),
            *(["bfloat16"] if self.dtype == torch.bfloat16 else []),
        ]
        return tiles.apply(recall, whole, pieces, dtype), [", ".join(parts)]

    def _coarse(self, whole: Signal, width: int) -> torch.Tensor:
        """The first guess for an image on cells of GRID pixels, in coordinates: tiles fill larger holes from it."""
        means, counts = tiles.cells(whole)
        means, counts = (np.broadcast_to(x, (1, max(width, x.shape[1]), *x.shape[2:])) for x in (means, counts))
        means = np.ascontiguousarray(self.model.scale.encode(means), np.float32)
        return fill(*(torch.from_numpy(np.array(x)).to(self.device) for x in (means, counts)))

    def _put(self, values: np.ndarray, fragment: Signal, seen: Evidence, dtype: np.dtype) -> np.ndarray:
        """An estimate in the memory's own type, with what was observed in its place."""
        if self.same:
            return tiles.settle(values, fragment, seen, dtype)
        return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8) if dtype == np.uint8 else values.astype(dtype)

    def _draw(
        self, signal: Signal, whole: Signal, dtype: np.dtype, hold: sounds.Hold | None = None
    ) -> tuple[np.ndarray, list[str]]:
        """Draws, or their mean, of a sequence model or a denoiser; hold: what a denoiser's estimates are held to besides."""
        seen, channels, how = evidence(whole), self.meta["item"][0], []

        def one(items: np.ndarray, generators: list[np.random.Generator]) -> np.ndarray:
            condition = self._condition(rows_of(seen, items), channels)
            if self.family == "sequence":
                x, step = self._sequence(condition, generators)
            else:
                bound = None if hold is None else lambda values: hold(values, items)
                x, step = self._denoise(condition, generators, bound)
            how[:] = [step]
            return self._values(x, whole)

        probe = self._condition(rows_of(seen, np.zeros(1, int)), channels)
        need = self._need(probe) + PLAIN * prod(whole.data.shape[1:])
        rows = max(1, min(int(budget(self.device) / need), MOST_ROWS))
        values = drawn(signal, one, samples=self.samples, seed=self.seed, name=self.method, rows=rows)
        items = np.arange(len(whole)).repeat(self.samples or 1)
        data = self._put(values, whole.take(items), rows_of(seen, items), dtype)
        return data, [f"{self.method}: {in_words(self.samples)} of {self.name}, {how[0]}"]

    def _need(self, condition: Condition) -> float:
        """Bytes of activations of one item."""
        if self.family == "sequence":
            order = self.net.orders([np.random.default_rng(0)]).to(self.device)
            return footprint(self.net, lambda: self.net.log_prob(condition.value, condition, order), keeps=True)
        level = torch.full((1,), 0.5, dtype=torch.float64)
        x = torch.zeros((1, *self._target_item(condition)), device=self.device)
        seen = condition if self.conditioned else None
        return footprint(self.net, lambda: self.net(x, level, seen))

    def _target_item(self, condition: Condition) -> tuple[int, ...]:
        return tuple(condition.value.shape[1:]) if self.same else tuple(self.target["item"])

    def _sequence(self, condition: Condition, generators: list[np.random.Generator]) -> tuple[torch.Tensor, str]:
        """One draw for every item of the condition; of a model of any order, each in its own order."""
        order = self.net.orders(generators).to(self.device)
        with torch.inference_mode(), self._autocast():
            x = self.net.sample(condition, order, generators, self.temperature)
        how = "in an order drawn for each" if self.net.order == "any" else f"in {self.net.order} order"
        return x, f"{how}, temperature {self.temperature:g}"

    def _denoise(
        self, condition: Condition, generators: list[np.random.Generator], hold: Bound | None = None
    ) -> tuple[torch.Tensor, str]:
        """One draw for every item: of a denoiser that sees the fragment from noise, of one that does not by `dream`."""
        half = torch.bfloat16 if self.dtype == torch.bfloat16 else None
        if not self.conditioned and self.meta["kind"] == "spectrum" and not bool(condition.sigma.any()):
            plain = NetworkDenoiser(self.model, label=self.label, dtype=half)
            return held_ancestral(plain, condition, generators, self.steps or CALLS, self.temperature, hold)
        if not self.conditioned:
            denoiser = held(NetworkDenoiser(self.model, label=self.label, dtype=half), hold)
            return dream(denoiser, condition, generators, self.steps, self.temperature)
        steps = self.steps or LEVELS
        x = self.temperature * noise(generators, self._target_item(condition), device=self.device)
        x = ancestral(
            held(NetworkDenoiser(self.model, condition, self.label, dtype=half), hold),
            x,
            grid(steps),
            generators=generators,
            temperature=self.temperature,
            project=condition.hold if self.same else None,
        )
        kept = ", what was observed held at each" if self.same else ""
        return x, f"ancestral sampling, {steps} calls each{kept}, temperature {self.temperature:g}"


def network(memory=None, model=None, **options) -> NetworkRecaller:
    """What recalls by a network."""
    return NetworkRecaller(model, **options)


def dreamer(memory=None, model=None, **options) -> Dreamer | NetworkRecaller:
    """What dreams: of a store of memories, or by a network that was trained without fragments."""
    return Dreamer(memory, **options) if memory is not None else NetworkRecaller(model, **options)


def identified(model: Model | str) -> tuple[Model, str, str]:
    """(a model or that of a path, its name, its name with the first digits of its SHA-256)."""
    if isinstance(model, Model):
        return model, "the model", "the model"
    name = os.path.basename(os.fsdecode(model))
    return load(model), name, f"{name} sha256:{digest(model)[:12]}"


def digest(path: str) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
