"""All that can be asked of the machines over one bank, class by class: samples, single steps, and their comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..catalogue.denoisers import DENOISERS
from ..denoise.contract import Denoiser
from ..device import pick
from ..els import machine
from ..els.bank import Bank
from ..els.scales import Scales, allowed, check, levels
from ..nets.denoiser import NetworkDenoiser
from ..nets.model import Model, load
from ..signal import LemError, Signal
from .against import Samples
from .against import samples as compared
from .calibrate import measure
from .explain import Origins, explain
from .resources import Resources
from .sample import denoise, sample


@dataclass
class Study:
    """A bank and how it is asked.

    sizes: patch sizes, one a step, low noise first; None where no machine of patches is asked. label: a class, None for
    all images, or 'each': the seeds take the bank's classes in turn, seed k the (k modulo their number)-th. kamb: as in
    the paper's released code: els knows only windows that do not wrap, the noisiest step is left out, and every other
    takes the size of the one after it in noise. resources: their device may be 'auto'.
    """

    bank: Bank
    sizes: tuple[int, ...] | None = None
    steps: int = 20
    label: int | str | None = None
    kamb: bool = False
    resources: Resources = field(default_factory=lambda: Resources("auto"))

    def __post_init__(self):
        self.resources = replace(self.resources, device=pick(self.resources.device, float64=True))
        self.levels = levels(self.steps, self.kamb)
        if self.label == "each" and self.bank.labels is None:
            raise LemError("the bank has no classes to take in turn; give --labels")
        if self.label is not None and self.label != "each":
            self.bank.of(self.label)
        channels, height, width = self.bank.item
        images = f"{len(self.bank)} images, {width} x {height} px"
        self.resources.say(f"bank: {images}, channels: {channels}; {self.resources.device}")

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
                raise LemError(f"wiener: class {known[k]} has one image, which has no covariance; {way}")

    def machine(self, name: str, bank: Bank, size: int | None = None) -> Denoiser:
        """A machine over (a class of) the bank; size: of its patches, in place of the scales."""
        if size is None and DENOISERS[name].local:
            check([name], self.sizes, *bank.item[1:])
        chosen = size or (Scales(self.sizes, self.kamb) if self.sizes else 3)
        try:
            return machine(name, bank, chosen, self.resources.how(valid=self.kamb))
        except LemError:
            raise
        except ValueError as error:
            raise LemError(f"{name}: {error}") from error

    def network(self, path: str) -> Model:
        """A network that samples may be compared with. LemError for one that does not fit the bank."""
        model = load(path, self.resources.device)
        if model.family != "denoise" or model.meta["target"]["kind"] != "image" or model.net.conditioned:
            raise LemError(f"{path}: no diffusion network of whole images (lem-train diffusion without --fragment)")
        if not model.fits("image", self.bank.item):
            item, mine = (" x ".join(str(n or "any") for n in shape) for shape in (model.meta["item"], self.bank.item))
            raise LemError(f"{path}: for images of {item} (channels x height x width), but the bank holds {mine}")
        most = -1 if self.label is None else self.bank.labels.max() if self.label == "each" else self.label
        if most >= model.net.classes:
            raise LemError(f"{path}: the network knows {model.net.classes} classes, from 0; class {most} was asked for")
        return model

    def samples(self, name: str, seeds: Sequence[int], history: dict | None = None) -> Iterator[Signal]:
        """Samples of a machine as images, see ``sample.sample``."""
        self._check_classes([name], seeds)
        for label, bank, mine in self.classes(seeds):
            asked = self.machine(name, bank)
            yield from sample(asked, bank.item, mine, self.levels, self._fitted(), label=label, history=history)

    def denoiser(self, name: str):
        """A function (noisy batch, alpha_bar or None, history) -> its clean means, see ``sample.denoise``."""
        if self.label == "each":
            raise LemError("--label each is for seeds; a noisy image is of one class, or of any")
        self._check_classes([name], [])
        _, bank, _ = next(self.classes([]))
        asked = self.machine(name, bank)
        return lambda noisy, alpha_bar, history: denoise(asked, bank.item, noisy, alpha_bar, self._fitted(), history)

    def calibrate(
        self, name: str, path: str, seeds: Sequence[int], candidates: Sequence[int] | None = None, by: str = "cosine"
    ) -> tuple[list[int], Iterator[np.ndarray]]:
        """The sizes that are candidates, and how like the network in a file the machine is with them: scores [S, steps, K]
        of batches of seeds, for ``calibrate.choose``. candidates: None for 3, 5 ... 17, as the images allow."""
        usual = allowed(name, range(3, 18, 2), *self.bank.item[1:])
        sizes = list(usual if candidates is None else candidates)
        if not sizes:
            raise LemError("these images are too small for any patch of 3 px or more; name --sizes")
        check([name], sizes, *self.bank.item[1:])
        model = self.network(path)

        def scores() -> Iterator[np.ndarray]:
            for label, bank, mine in self.classes(seeds):
                machines = {size: self.machine(name, bank, size) for size in sizes}
                network = NetworkDenoiser(model, label=label, clip=False)
                yield from measure(network, machines, bank.item, mine, self.steps, by, self._fitted(max(sizes)))

        return sizes, scores()

    def against(
        self, names: Sequence[str], path: str, seeds: Sequence[int], net_steps: Sequence[int] = (20, 150)
    ) -> Iterator[Samples]:
        """The seeds through the network in a file and through machines, see ``against.samples``."""
        self._check_classes(names, seeds)
        model = self.network(path)
        check(names, self.sizes or (), *self.bank.item[1:])
        for label, bank, mine in self.classes(seeds):
            machines = {name: self.machine(name, bank) for name in names}
            network = NetworkDenoiser(model, label=label, clip=False)
            yield from compared(network, machines, bank.item, mine, self.levels, net_steps, self._fitted())

    def explain(self, name: str, seeds: Sequence[int]) -> Iterator[Origins]:
        """Samples of a local machine and where their pixels come from, see ``explain.explain``."""
        for _, bank, mine in self.classes(seeds):
            yield from explain(self.machine(name, bank), bank, mine, self.levels, self._fitted())

    def _fitted(self, size: int | None = None) -> Resources:
        return self.resources.fitted(self.bank.item, size or max(self.sizes or (1,)))
