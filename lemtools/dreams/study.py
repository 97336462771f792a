"""All that can be asked of the machines over one bank, class by class: samples, single steps, and their comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter

import numpy as np

from ..catalogue.denoisers import DENOISERS
from ..denoise.contract import Denoiser, Scale
from ..denoise.how import How
from ..denoise.samplers import ddim
from ..device import pick
from ..els import machine
from ..els.bank import Bank
from ..els.plan import Size, sides
from ..els.scales import Scales, allowed, check, levels
from ..nets.denoiser import NetworkDenoiser
from ..nets.model import Model, load
from ..signal import LemError, Signal, called
from ..transforms import unlike
from . import rectangles, whole
from .against import Samples, correlation, pixels
from .against import samples as compared
from .along import Scores, along
from .calibrate import measure, remarks
from .explain import Origins, explain
from .resources import Resources
from .sample import denoise, sample, start


@dataclass
class Study:
    """A bank and how it is asked.

    sizes: patch sizes, one a step, low noise first; None where no machine of patches is asked. label: a class, None for
    all images, or 'each': the seeds take the bank's classes in turn, seed k the (k modulo their number)-th. kamb: as in
    the paper's released code: els knows only windows that do not wrap, the noisiest step is left out, and every other
    takes the size of the one after it in noise. equivariance, padding: as of denoise.how.How; a network that is asked
    says its own padding. resources: their device may be 'auto'.
    """

    bank: Bank
    sizes: tuple[Size, ...] | None = None
    steps: int = 20
    label: int | str | None = None
    kamb: bool = False
    resources: Resources = field(default_factory=lambda: Resources("auto"))
    equivariance: str = "both"
    padding: tuple[str, str] = ("zeros", "zeros")

    def __post_init__(self):
        device = pick(self.resources.device, float64=True)
        self.resources = replace(self.resources, device=device, shown=self.bank.shown)
        self.levels = levels(self.steps, self.kamb)
        if self.label == "each" and self.bank.labels is None:
            raise LemError("the bank has no classes to take in turn; give --labels")
        if self.label is not None and self.label != "each":
            self.bank.of(self.label)
        channels, height, width = self.bank.item
        shape = f"{width} x {height} px" if self.bank.kind == "image" else f"{height} rows x {width} columns"
        images = f"{len(self.bank)} {called(self.bank.kind, len(self.bank))}, {shape}"
        self.resources.say(f"bank: {images}, channels: {channels}; {self.resources.device}")

    @property
    def how(self) -> How:
        """How machines are asked, but for their sizes."""
        more = {"equivariance": self.equivariance, "padding": self.padding}
        return self.resources.how(valid=self.kamb, **more)

    @property
    def unit(self) -> str:
        """Of patch sizes, after a number: rows and columns of a spectrum are no pixels."""
        return " px" if self.bank.kind == "image" else ""

    def like(self, path: str) -> Study:
        """The same in the coordinates and with the padding of the network in a file."""
        return self._of(self.network(path), path)

    def _of(self, model: Model, path: str) -> Study:
        words = getattr(model.net, "padding", "zeros").split(",")
        padding = words[0], words[-1]
        self.resources.say("padding of the network: {} along rows, {} along columns".format(*padding))
        bank = self.bank
        if bank.kind != "image":
            one, other = model.scale, model.target_scale
            if not all(np.array_equal(getattr(one, part), getattr(other, part)) for part in ("offset", "gain")):
                way = "a bank has one; train it without --fragment"
                raise LemError(f"{path}: the network has two scales, of its input and of its answer, and {way}")
            bank = bank.scaled(Scale(other.offset, other.gain))
        quiet = replace(self.resources, report=None)
        found = replace(self, bank=bank, padding=padding, resources=quiet)
        found.resources = self.resources
        return found

    def _check(self, names: Sequence[str], sizes: Sequence[Size]) -> None:
        """Raise LemError for a size that a machine does not allow."""
        check(names, sizes, self.bank.item, self.how, self.unit)

    def classes(self, seeds: Sequence[int]) -> Iterator[tuple[int | None, Bank, list[int]]]:
        """(class, its part of the bank, its seeds)."""
        if self.label != "each":
            yield self.label, self.bank.of(self.label), list(seeds)
            return
        known = np.unique(self.bank.labels).tolist()
        for k, label in enumerate(known):
            if mine := [seed for seed in seeds if seed % len(known) == k]:
                yield label, self.bank.of(label), mine

    def _check_classes(self, names: Sequence[str], seeds: Sequence[int]) -> None:
        """Raise LemError where a class that will be asked is too small for a machine, before anything is computed."""
        if "wiener" not in names or self.label is None:
            return
        known, counts = np.unique(self.bank.labels, return_counts=True)
        asked = {seed % len(known) for seed in seeds} if self.label == "each" else np.flatnonzero(known == self.label)
        for k in sorted(asked):
            if counts[k] < 2:
                way = "leave this machine or this class out"
                raise LemError(
                    f"wiener: class {known[k]} has one {called(self.bank.kind, 1)}, which has no covariance; {way}"
                )

    def machine(self, name: str, bank: Bank, size: Size | None = None) -> Denoiser:
        """A machine over (a class of) the bank; size: of its patches, in place of the scales."""
        if size is None and DENOISERS[name].local:
            self._check([name], self.sizes or ())
        chosen = size or (Scales(self.sizes, self.kamb) if self.sizes else 3)
        try:
            return machine(name, bank, chosen, self.how)
        except LemError:
            raise
        except ValueError as error:
            raise LemError(f"{name}: {error}") from error

    def network(self, path: str) -> Model:
        """A network that samples may be compared with. LemError for one that does not fit the bank."""
        model, kind = load(path, self.resources.device), self.bank.kind
        if model.family == "denoise" and (other := model.meta["target"]["kind"]) != kind:
            raise LemError(
                f"{path}: a network of {called(other)}, but the bank holds {called(kind)}; give one of these"
            )
        if model.family != "denoise" or model.net.conditioned:
            raise LemError(
                f"{path}: no diffusion network of whole {called(kind)} (lem-train diffusion without --fragment)"
            )
        if (made := model.meta.get("front")) and self.bank.front is not None:
            here = self.bank.front.record
            if other := unlike(here, made):
                told = ", ".join(f"{k} {made.get(k)} and here {here.get(k)}" for k in sorted(other))
                raise LemError(
                    f"{path}: trained on spectra of another front end ({told}); encode the bank as those were"
                )
        if not model.fits(kind, self.bank.item):
            item, mine = (" x ".join(str(n or "any") for n in shape) for shape in (model.meta["item"], self.bank.item))
            axes = "height x width" if kind == "image" else "rows x columns"
            raise LemError(f"{path}: for {called(kind)} of {item} (channels x {axes}), but the bank holds {mine}")
        most = -1 if self.label is None else self.bank.labels.max() if self.label == "each" else self.label
        if most >= model.net.classes:
            raise LemError(f"{path}: the network knows {model.net.classes} classes, from 0; class {most} was asked for")
        return model

    def samples(self, name: str, seeds: Sequence[int], history: dict | None = None) -> Iterator[Signal]:
        """Samples of a machine as images, see ``sample.sample``."""
        self._check_classes([name], seeds)
        for label, bank, mine in self.classes(seeds):
            asked = self.machine(name, bank)
            yield from sample(asked, bank, mine, self.levels, self._fitted(), label=label, history=history)

    def denoiser(self, name: str):
        """A function (noisy batch, alpha_bar or None, history) -> its clean means, see ``sample.denoise``."""
        if self.label == "each":
            raise LemError(f"--label each is for seeds; a noisy {called(self.bank.kind, 1)} is of one class, or of any")
        self._check_classes([name], [])
        _, bank, _ = next(self.classes([]))
        asked = self.machine(name, bank)
        return lambda noisy, alpha_bar, history: denoise(asked, bank, noisy, alpha_bar, self._fitted(), history)

    def candidates(self, name: str, sizes: Sequence[int] | None = None) -> list[int]:
        """The sides that are tried: those asked for, or 3, 5 ... 17, as far as the items allow."""
        usual = allowed(name, range(3, 18, 2), self.bank.item, self.how)
        found = list(usual if sizes is None else sizes)
        if not found:
            raise LemError(
                f"these {called(self.bank.kind)} are too small for any patch of 3{self.unit} or more; name --sizes"
            )
        return found

    def remarks(
        self, name: str, path: str, chosen: Sequence[Size], candidates: Sequence[int] | None = None
    ) -> list[str]:
        """Where the sizes that were chosen for a network lie at an end of the candidates, see ``calibrate.remarks``."""
        mine = self.like(path)

        def fits(size: Size) -> bool:
            return bool(allowed(name, [size], mine.bank.item, mine.how))

        return remarks(chosen, mine.candidates(name, candidates), fits, self.unit)

    def calibrate(
        self, name: str, path: str, seeds: Sequence[int], candidates: Sequence[int] | None = None, by: str = "cosine"
    ) -> tuple[list[int], Iterator[np.ndarray]]:
        """The sizes that are candidates, and how like the network in a file the machine is with them: scores [S, steps, K]
        of batches of seeds, for ``calibrate.choose``. candidates: None for 3, 5 ... 17, as the images allow."""
        model = self.network(path)
        mine = self._of(model, path)
        sizes = mine.candidates(name, candidates)
        mine._check([name], sizes)

        def scores() -> Iterator[np.ndarray]:
            for label, bank, part in mine.classes(seeds):
                machines = {size: mine.machine(name, bank, size) for size in sizes}
                network = NetworkDenoiser(model, label=label, clip=False)
                resources = mine._fitted(max(sizes))
                yield from measure(network, machines, bank.item, part, mine.steps, by, resources, mine._alive)

        return sizes, scores()

    def rectangles(
        self, name: str, path: str, seeds: Sequence[int], candidates: Sequence[int] | None = None, by: str = "cosine"
    ) -> Iterator[rectangles.Choice]:
        """The same for rectangles, step by step, noisiest first, see ``rectangles.descend``. candidates: of either side, those
        of `calibrate`."""
        model = self.network(path)
        mine = self._of(model, path)
        sizes = mine.candidates(name, candidates)
        if candidates is not None:
            mine._check([name], sizes)
        points, largest = [], mine._fitted(max(sizes))
        for label, bank, part in mine.classes(seeds):
            network = NetworkDenoiser(model, label=label, clip=False)

            def asked(size: rectangles.Pair, bank: Bank = bank) -> Denoiser:
                return mine.machine(name, bank, size)

            points += rectangles.path(network, asked, bank.item, part, mine.steps, mine._alive, largest)

        def fits(size: rectangles.Pair) -> bool:
            return bool(allowed(name, [size], mine.bank.item, mine.how))

        yield from rectangles.descend(points, sizes, fits, mine.steps, by, mine._alive, mine.resources)

    def whole(
        self,
        name: str,
        path: str,
        seeds: Sequence[int],
        candidates: Sequence[int] | None = None,
        rectangular: bool = False,
    ) -> whole.Choice:
        """The sizes with which whole samples agree best, see ``whole.descend``. candidates: of either side, those of
        `calibrate`; rectangular: whether rows and columns may differ."""
        model = self.network(path)
        mine = self._of(model, path)
        chosen = mine.candidates(name, candidates)
        if candidates is not None:
            mine._check([name], chosen)
        resources = replace(mine._fitted(max(chosen)), report=None)
        asked = replace(mine, resources=resources)
        walks = []  # beside the network's samples
        for label, bank, every in mine.classes(seeds):
            network = NetworkDenoiser(model, label=label, clip=False)
            for part in resources.batches(every):
                x = start(part, bank.item, resources.device, resources.shown)
                walk = whole.Walk(partial(asked.machine, name, bank), x, mine.levels)
                walks.append((walk, pixels(ddim(network, x, mine.levels), mine._alive)))

        def ordered(sizes: tuple[rectangles.Pair, ...]) -> list[rectangles.Pair]:
            return [sides(Scales(sizes, mine.kamb)(level)) for level in mine.levels[:-1]]

        def ask(sizes: tuple[rectangles.Pair, ...]) -> np.ndarray:
            every = [(truth, pixels(walk(ordered(sizes)), mine._alive)) for walk, truth in walks]
            return np.concatenate([correlation(*both).cpu().numpy() for both in every])

        def cost(sizes: tuple[rectangles.Pair, ...]) -> float:
            begun = perf_counter()
            for walk, _ in walks:
                walk(ordered(sizes), anew=True).cpu()  # (waits for the device)
            return (perf_counter() - begun) / len(seeds)

        def fits(size: rectangles.Pair) -> bool:
            return bool(allowed(name, [size], mine.bank.item, mine.how))

        return whole.descend(ask, cost, chosen, fits, mine.steps, rectangular, mine.resources.say)

    def against(
        self, names: Sequence[str], path: str, seeds: Sequence[int], net_steps: Sequence[int] = (20, 150)
    ) -> Iterator[Samples]:
        """The seeds through the network in a file and through machines, see ``against.samples``."""
        for network, machines, bank, mine in self._both(names, path, seeds):
            yield from compared(network, machines, bank.item, mine, self.levels, net_steps, self._fitted())

    def along(self, names: Sequence[str], path: str, seeds: Sequence[int]) -> Iterator[tuple[list[int], Scores]]:
        """Machines asked at the points of the network's own path, see ``along.along``."""
        for network, machines, bank, mine in self._both(names, path, seeds):
            yield from along(network, machines, bank, mine, self.levels, self._fitted())

    def _both(
        self, names: Sequence[str], path: str, seeds: Sequence[int]
    ) -> Iterator[tuple[NetworkDenoiser, dict[str, Denoiser], Bank, list[int]]]:
        """The network, the machines over a class of the bank, the class, and its seeds."""
        self._check_classes(names, seeds)
        model = self.network(path)
        asked = self._of(model, path)
        asked._check(names, self.sizes or ())
        for label, bank, mine in asked.classes(seeds):
            machines = {name: asked.machine(name, bank) for name in names}
            yield NetworkDenoiser(model, label=label, clip=False), machines, bank, mine

    def explain(self, name: str, seeds: Sequence[int]) -> Iterator[Origins]:
        """Samples of a local machine and where their pixels come from, see ``explain.explain``."""
        for _, bank, mine in self.classes(seeds):
            yield from explain(self.machine(name, bank), bank, mine, self.levels, self._fitted())

    @property
    def _alive(self):
        return self.bank.alive if self.bank.kind == "spectrum" else None

    def _fitted(self, size: Size | None = None) -> Resources:
        largest = max(self.sizes or (1,), key=lambda each: np.prod(sides(each)))
        return self.resources.fitted(self.bank.item, size or largest)
