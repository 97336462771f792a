"""Runs of one network side by side, which differ by their seeds alone: as one model, whose weights have an axis of runs.

A small network leaves a GPU idle between its kernels; several of them in the same kernels take little longer than one. Each
run has its own weights, batches, clipping and average, and ends where it would have ended by itself, to rounding. One that
fails, by its gates or by a loss that is not finite, is named and leaves no model; the others go on without it. Shapes: S runs, N
items a batch.
"""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..ranks import Ranks
from ..signal import LemError
from .data import Batches
from .gates import Failed
from .run import Prepared, Run
from .settings import Settings
from .trainer import Trainer, adamw, move


@dataclass
class Beside(Prepared):
    """Runs of the same settings but for their seeds. parts: of each seed; the rest is as the first of them has it."""

    parts: tuple[Prepared, ...] = ()

    def batches(self, rank: int, world: int) -> Batches:
        if world > 1:
            raise LemError(
                "--runs: runs side by side take one process; leave torchrun out, or give each a GPU of its own"
            )
        return Stacked([part.spec for part in self.parts])

    def summary(self, device: str, world: int) -> str:
        seeds = ", ".join(str(part.settings.seed) for part in self.parts)
        return f"{super().summary(device, world)}, side by side with the seeds {seeds}"


def beside(settings: Settings, parts: list[Prepared], failed: dict[int, str]) -> Beside:
    """One run of those in `parts`. settings: what was asked for, with the pattern of their names as its output. failed: what is
    wrong with those that are not there."""
    first = parts[0]
    whole = replace(first.settings, output=settings.output, runs=settings.runs)
    fingerprint = first.fingerprint | {"runs": settings.runs}
    if settings.table is not None:  # that of each seed
        fingerprint |= {"tables": [part.fingerprint["checksum"] for part in parts]}
    same = {name: getattr(first, name) for name in ("model", "objective", "spec", "validation", "note")}
    gates = None if first.gates is None else _gates
    return Beside(
        settings=whole, fingerprint=fingerprint, run=Runs, parts=tuple(parts), gates=gates, failed=failed, **same
    )


def _gates(run: Runs) -> str:
    """What the gates found of each run, in one line. Failed where none passes them."""
    found = {}
    for part in run.going:
        try:
            found[part.settings.seed] = part.prepared.gates(part)
        except Failed as error:
            run.leave(part, error)
    return said(found)


def said(found: dict[int, str]) -> str:
    """What there is to say of seeds, in one line."""
    return "; ".join(f"seed {seed}: {what}" for seed, what in found.items())


class Stacked(Batches):
    """Batches of several runs: every tensor [S, N, ...]."""

    def __init__(self, specs):
        super().__init__(specs[0])
        self.each = [Batches(spec) for spec in specs]

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        found = [batches[step] for batches in self.each]
        return {name: torch.stack([one[name] for one in found]) for name in found[0]}


class Runs(Run):
    """Trainers whose weights, averages and moments are rows of common tensors [S, ...], in which all of them step."""

    prepared: Beside

    def __init__(self, prepared: Beside, ranks: Ranks, device: str):
        super().__init__(prepared, ranks, device)
        self.parts = [Trainer(part, ranks, device) for part in prepared.parts]
        self.failed: dict[int, str] = {}
        first = self.parts[0]
        self.weights = {
            name: nn.Parameter(torch.stack([part.weights[name].detach() for part in self.parts]))
            for name in first.weights
        }
        self.average = {name: torch.stack([part.average[name] for part in self.parts]) for name in first.average}
        for i, part in enumerate(self.parts):
            part.output = self.settings.output
            for name, weight in part.weights.items():
                weight.data, part.average[name] = self.weights[name].data[i], self.average[name][i]
        self.rest = {
            name: torch.stack([dict(part.objective.named_buffers())[name] for part in self.parts])
            for name, _ in first.objective.named_buffers()
        }
        self.optimizer = adamw(self.settings, self.weights.values())
        apart = any(getattr(part, "apart", False) for part in prepared.model.net.modules())
        self.call = self._one_by_one if apart else vmap(self._loss)
        if apart:
            self._keep_rows()
        if self.settings.compile:
            self.call = torch.compile(self.call)

    def _keep_rows(self) -> None:
        """On a GPU torch lays the weights of a recurrence into memory of their own: what is measured would be rows no more, and
        the average of that run would stand still. It remarks at every call that such weights are copied."""
        for part in self.parts:
            for module in part.prepared.model.net.modules():
                if isinstance(module, nn.RNNBase):
                    module.flatten_parameters = lambda: None
        warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")

    @property
    def going(self) -> list[Trainer]:
        """Those that have not failed."""
        return [part for part in self.parts if part.settings.seed not in self.failed]

    @property
    def outputs(self) -> list[str]:
        return [part.settings.output for part in self.going]

    def leave(self, part: Trainer, error: LemError) -> None:
        """Go on without a run, of which no model stays. Raises an error of this kind where it was the last one."""
        self.failed[part.settings.seed] = str(error)
        if not self.going:
            raise type(error)(said(self.failed))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part.settings.output)

    def _loss(self, weights: dict, rest: dict, batch: dict) -> torch.Tensor:
        """Of every item of one run, [N]."""
        return functional_call(self.parts[0].objective, (weights, rest), (batch,))

    def _one_by_one(self, weights: dict, rest: dict, batch: dict) -> torch.Tensor:
        """The same of all runs, [S, N], where a part of the network takes one run at a time."""
        runs = range(len(self.parts))
        return torch.stack(
            [self._loss(*({k: v[i] for k, v in one.items()} for one in (weights, rest, batch))) for i in runs]
        )

    def _named(self) -> dict[str, torch.Tensor]:
        """The weights, by their names in the objective."""
        return {
            name.removeprefix("objective.") if name.startswith("objective.") else f"net.{name}": weight
            for name, weight in self.weights.items()
        }

    def advance(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        with self.parts[0].autocast(), attention(self.cuda):
            losses = self.call(self._named(), self.rest, self.to_device(batch)).mean(1)
        self.optimizer.zero_grad(set_to_none=True)
        losses.sum().backward()
        norms = self._clip()
        move(self)
        for part, loss, norm in zip(self.parts, losses.detach(), norms):
            part.step, part.norm = self.step, norm
            part.losses.append(loss)
            part.norms.append(norm)
        here = losses.detach()
        if self.failed:  # (what is not finite must not be in the mean)
            here = torch.stack([loss for part, loss in zip(self.parts, here) if part.settings.seed not in self.failed])
        self.losses.append(here.mean())
        return self.losses[-1]

    @torch.no_grad()
    def _clip(self) -> torch.Tensor:
        """Norms of the gradients [S], which are clipped run by run, as nn.utils.clip_grad_norm_ does it."""
        gradients = [weight.grad for weight in self.weights.values() if weight.grad is not None]
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients]).norm(dim=0)
        if self.settings.clip:
            scale = (self.settings.clip / (norms + 1e-6)).clamp(max=1)
            for g in gradients:
                g.mul_(scale.reshape(-1, *[1] * (g.ndim - 1)))
        return norms

    def metrics(self) -> dict[str, float]:
        found = [part.metrics() for part in self.going]
        return {name: sum(one[name] for one in found) / len(found) for name in found[0]}

    def check(self) -> None:
        bad = {part.settings.seed: (part, part.wrong()) for part in self.going}
        if all(math.isfinite(step) for _, step in bad.values()):
            names = ", ".join(map(str, bad))
            raise LemError(
                f"the loss of the seeds {names} is not finite since step {int(max(step for _, step in bad.values()))}; "
                f"try --lr {self.settings.lr / 3:.2g}"
            )
        for part, step in bad.values():
            if math.isfinite(step):
                self.leave(part, LemError(f"the loss is not finite since step {int(step)}"))
                self.losses = [torch.stack(losses).mean() for losses in zip(*(one.losses for one in self.going))]
        for part in self.parts:
            part.losses, part.norms = [], []

    def validate(self) -> dict[str, float]:
        """Of every number the mean over the runs, and that of each."""
        going, out = self.going, {}
        found = [part.validate() for part in going]
        for name in found[0]:
            each = {f"{name}_{part.settings.seed}": one[name] for part, one in zip(going, found)}
            out |= {name: sum(each.values()) / len(each), **each}
        return out

    def state(self) -> dict[str, torch.Tensor]:
        for i, part in enumerate(self.parts):
            for name, weight in self.weights.items():
                moments = self.optimizer.state.get(weight, {})
                part.optimizer.state[part.weights[name]] = {
                    key: value[i] if value.ndim else value for key, value in moments.items()
                }
        return {f"{i}.{name}": value for i, part in enumerate(self.parts) for name, value in part.state().items()}

    def record(self) -> dict:
        return {"failed": {str(seed): why for seed, why in self.failed.items()}} if self.failed else {}

    def restore(self, state: dict[str, torch.Tensor], record: dict) -> None:
        self.failed = {int(seed): str(why) for seed, why in record.get("failed", {}).items()}
        for i, part in enumerate(self.parts):
            mine = {name.partition(".")[2]: value for name, value in state.items() if name.startswith(f"{i}.")}
            part.restore(mine, record)
            part.step = record["step"]
        for name, weight in self.weights.items():
            found = [part.optimizer.state.pop(part.weights[name]) for part in self.parts]
            self.optimizer.state[weight] = {
                key: torch.stack([one[key] for one in found]) if value.ndim else value
                for key, value in found[0].items()
            }
        for name, value in self.rest.items():
            for i, part in enumerate(self.parts):
                value[i] = dict(part.objective.named_buffers())[name]

    def save_model(self, kept: bool = False) -> None:
        for part in self.going:
            part.save_model(kept)

    def finish(self) -> Prepared:
        for part in self.parts:
            part.finish()
        self.prepared.failed = dict(sorted((self.prepared.failed | self.failed).items()))
        return self.prepared


def attention(cuda: bool):
    """On a CPU the plain kernel, the only one there that takes an axis of runs; on a GPU nets.attention has its own."""
    return contextlib.nullcontext() if cuda else sdpa_kernel(SDPBackend.MATH)
