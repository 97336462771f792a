"""Codebooks that follow their data: a residual quantiser (vq.residual) learnt from batches, of files of any size.

Directions, and codebooks to begin with, come from a sample. Every step codes a batch, met with less and less noise
(vq.learn says why), and moves every code towards the mean of the residuals that it was taken for
(vq.learn.Average); codes that fall out of use move to residuals of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..ranks import Ranks, RemoteError
from ..rng import generator
from ..signal import LemError
from ..signal.layout import of_arrays
from ..vq.frame import ROWS
from ..vq.learn import BEAM, MOST_KEPT, Average, assign, blurred, gaussian_and_own, share_of_noise, strength_of_noise
from ..vq.residual import LAYOUT, RVQ
from ..vq.search import sum_codes
from . import checkpoint
from .run import Prepared, Run

GAINS = 1 << 14  # vectors to choose the levels of the gain by


@dataclass
class Quantiser:
    """A quantiser with the record of its run, in a network's place."""

    rvq: RVQ
    meta: dict

    @property
    def parameters(self) -> int:
        return sum(book.numel() for book in self.rvq.codebooks)


class Residual:
    """What an update makes small: the weighted squared error of every vector in the coordinates that are
    coded, in units of the energy of all."""

    passes, extras = 1, None

    def __init__(self, rvq: RVQ):
        self.rvq = rvq

    @property
    def device(self) -> str:
        return self.rvq.device

    def __call__(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        z, weight = self.rvq.targets(batch["target"].float())
        return self.of(z, weight, self.codes(z))

    def frozen(self, batch: dict[str, torch.Tensor]) -> None:
        """Nothing: all of it is work of one pass."""

    def codes(self, z: torch.Tensor) -> torch.Tensor:
        """Codes int64 [N, S, G] of coordinates [N, R], by a beam no wider than fits take."""
        rvq = self.rvq
        parts = zip(rvq.frame.split(z), rvq.codebooks)
        return torch.stack([assign(part, book, min(rvq.beam, BEAM)) for part, book in parts], 2)

    def of(self, z: torch.Tensor, weight: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        y = torch.cat([sum_codes(book, codes[:, :, g]) for g, book in enumerate(self.rvq.codebooks)], 1)
        return weight * (z - y).square().sum(1) / max(self.rvq.frame.energy, 1e-30)


class Codebooks(Run):
    """Codebooks that learn by decaying sums of what their codes stood for. The first process learns, all search."""

    def __init__(self, prepared: Prepared, ranks: Ranks, device: str):
        super().__init__(prepared, ranks, device)
        self.settled = -1
        self.strength = self._strength(prepared.model.rvq)
        self._take(prepared.model.rvq)
        if ranks.world > 1:
            rvq = self.rvq
            for tensor in (rvq.frame.mean, rvq.frame.basis, rvq.frame.scale, rvq.frame.variance, *rvq.codebooks):
                ranks.same(tensor)
            self._take(rvq)

    def _take(self, rvq: RVQ) -> None:
        """Go on with this quantiser, as if its codes had been used evenly."""
        self.rvq = self.prepared.model.rvq = self.prepared.objective.rvq = rvq.to(self.device)
        decay = self.settings.ema
        prior = self.settings.batch / rvq.codes / (1 - decay)  # vectors of a code in the long run
        most = len(self.prepared.spec.items)
        self.averages = [Average(book, decay, torch.Generator(), prior, most) for book in rvq.codebooks]

    @torch.no_grad()
    def _strength(self, rvq: RVQ) -> float:
        """Of the noise to begin with (vq.learn.strength_of_noise), by the codebooks to begin with."""
        data = np.asarray((self.prepared.validation or self.prepared.spec).items.data[:MOST_KEPT])
        z, weight = rvq.targets(torch.from_numpy(data.astype(np.float32)).to(rvq.device))
        draw, losses = torch.Generator().manual_seed(self.settings.seed), []
        for part, variance, book in zip(rvq.frame.split(z), rvq.frame.split(rvq.frame.variance[None]), rvq.codebooks):
            losses.append(gaussian_and_own(part, weight, variance[0].sqrt(), book, min(rvq.beam, BEAM), draw))
        return strength_of_noise(*(sum(values) for values in zip(*losses)))

    def _seeded(self, name: str) -> torch.Generator:
        """Draws of this step."""
        draw = generator(self.settings.seed, self.step, 0, name)
        return torch.Generator().manual_seed(int(draw.integers(1 << 62)))

    @torch.no_grad()
    def advance(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        rvq, objective, ranks = self.rvq, self.prepared.objective, self.ranks
        z, weight = rvq.targets(self.to_device(batch)["target"].float())
        noise = torch.randn((self.settings.batch, z.shape[1]), generator=self._seeded("noise"))
        noise = noise[ranks.rank * len(z) : (ranks.rank + 1) * len(z)].to(self.device) * rvq.frame.variance.sqrt()
        z = blurred(z, noise, share_of_noise(self.step, self.steps, self.strength))
        z, weight, codes = (torch.cat(ranks.gather(part)) for part in (z, weight, objective.codes(z)))
        loss = objective.of(z, weight, codes).sum() / (weight > 0).sum().clamp_min(1)
        draw = self._seeded("revive")
        for g, (average, part) in enumerate(zip(self.averages, rvq.frame.split(z))):
            average.generator = draw
            if ranks.first:
                average.update(part, weight, codes[:, :, g])
            ranks.same(average.codebooks)
        rvq.set_codebooks([average.codebooks for average in self.averages])
        self.step += 1
        self.losses.append(loss)
        return loss

    def metrics(self) -> dict[str, float]:
        """The share of noise."""
        return {"noise": share_of_noise(self.step - 1, self.steps, self.strength)}

    def check(self) -> None:
        """Raise LemError where a loss or a code is not finite."""
        values = [*self.losses, *(book.abs().sum() for book in self.rvq.codebooks)]
        if not bool(torch.stack(values).isfinite().all()):  # (the same in every process)
            if not self.ranks.first:
                raise RemoteError()
            raise LemError(f"the loss is not finite by step {self.step}: a vector is beyond float32; leave it out")

    def settle(self) -> None:
        """Bring what else the file holds up to date with the codebooks."""
        if self.settled != self.step:
            items = self.prepared.spec.items
            self.rvq.samples = min(self.step * self.settings.batch, len(items))
            if self.rvq.gains is not None:
                rows = np.linspace(0, len(items) - 1, min(GAINS, len(items))).astype(int)
                self.rvq.fit_gains(blocks(items.data, rows), min(self.settings.options["gains"], self.rvq.codes))
            self.settled = self.step

    def validate(self) -> dict[str, float]:
        """RVQ.report of what is kept back, in short: dead codes and perplexity of the worst stage."""
        if self.prepared.validation is None:
            return {}
        self.settle()
        found = self.rvq.report(self.prepared.validation.items.data)
        self.prepared.report = {"fitted-to": self.rvq.samples, **found}
        stages = range(1, self.rvq.stages + 1)
        return {
            "held_out_nmse": found["NMSE"],
            "held_out_cosine": found["cosine"],
            "held_out_dead": max(found[f"dead[{s}]"] for s in stages),
            "held_out_perplexity": min(found[f"perplexity[{s}]"] for s in stages),
        }

    def state(self) -> dict[str, torch.Tensor]:
        out = {f"rvq.{name}": torch.from_numpy(np.array(value)) for name, value in self.rvq.tensors().items()}
        for g, average in enumerate(self.averages):
            out |= {f"count.{g}": average.count, f"sum.{g}": average.sum, f"square.{g}": average.square}
        return out

    def record(self) -> dict:
        return {"encoder": self.rvq.card()}

    def restore(self, state: dict[str, torch.Tensor], record: dict) -> None:
        tensors = {name.removeprefix("rvq."): value.numpy() for name, value in state.items() if name[:4] == "rvq."}
        LAYOUT.check(record["encoder"], of_arrays(tensors))
        self._take(RVQ.restore(record["encoder"], tensors))
        for g, average in enumerate(self.averages):
            kept = tuple(state[f"{name}.{g}"].to(self.device) for name in ("count", "sum", "square"))
            mine = average.count, average.sum, average.square
            if [k.shape for k in kept] != [m.shape for m in mine]:
                raise ValueError(f"sums of {list(kept[1].shape)}, not {list(average.sum.shape)}")
            average.count, average.sum, average.square = kept
            average.prior *= not bool(average.square.any())  # it counts at the first update

    def save_model(self, kept: bool = False) -> None:
        """The file that lem-encode --fit writes, too, and under `lem` what it comes from."""
        self.settle()
        model = self.prepared.model
        model.meta |= {"step": self.step, "encoder": {"v": 1, "encoder": "rvq", **self.rvq.card()}}
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in self.rvq.tensors().items()}
        checkpoint.write_tensors(self.place(kept), tensors, model.meta)

    def finish(self) -> Prepared:
        self.settle()
        if self.ranks.first and self.prepared.report is None:
            self.validate()
        return self.prepared


def blocks(vectors, rows: np.ndarray) -> Callable[[], Iterator[np.ndarray]]:
    """What yields these rows of an array, afresh at every call."""
    return lambda: (np.asarray(vectors[rows[at : at + ROWS]]) for at in range(0, len(rows), ROWS))
