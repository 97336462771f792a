"""What learns: a network by AdamW on its gradients, with warm-up, decay, clipping and an average of its weights."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from ..ranks import Ranks, RemoteError
from ..signal import Layout, LemError, Tensor
from . import checkpoint, pictures
from .data import Batches
from .run import Prepared, Run
from .settings import Settings


def rate(settings: Settings, steps: int, step: int) -> float:
    """Learning rate of a step: linear warm-up, then the decay."""
    warmup = min(500, steps // 20) if settings.warmup is None else settings.warmup
    if step < warmup:
        return settings.lr * (step + 1) / warmup
    if settings.decay == "cosine":
        return settings.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))
    if settings.decay == "constant":
        return settings.lr
    return settings.lr * float(settings.decay.partition(":")[2]) ** step


def adamw(settings: Settings, weights: Iterable[torch.Tensor]) -> torch.optim.AdamW:
    """The optimizer of all runs. One pass over the weights: on a CPU, too, a fifth to a third of the time of the others."""
    betas = (0.9, settings.beta2)
    return torch.optim.AdamW(weights, lr=settings.lr, betas=betas, weight_decay=settings.weight_decay, fused=True)


@torch.no_grad()
def move(run: Any) -> None:
    """Make the step that the gradients of a run's weights ask for, at the rate of this step, and take it into their average."""
    for group in run.optimizer.param_groups:
        group["lr"] = rate(run.settings, run.steps, run.step)
    run.optimizer.step()
    run.step += 1
    keep = min(run.settings.ema, (1 + run.step) / (10 + run.step))
    torch._foreach_lerp_(list(run.average.values()), list(run.weights.values()), 1 - keep)


class Trainer(Run):
    """A network that learns by AdamW, and the average of its weights, which is what is kept."""

    def __init__(self, prepared: Prepared, ranks: Ranks, device: str):
        super().__init__(prepared, ranks, device)
        settings = self.settings
        self.output = settings.output  # beside which the state lies
        net = prepared.model.net.to(device)
        if self.cuda:
            net.to(memory_format=torch.channels_last)
            for p in net.parameters():
                if p.ndim == 4 and p.shape[1] == 1:  # (both orders at once: its gradient comes in the other: DDP warns)
                    p.data = p.data.clone(memory_format=torch.contiguous_format)
        self.bf16 = settings.dtype == "bfloat16"
        if self.cuda and not self.bf16:  # TF32 is not float32
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
        self.objective = prepared.objective.to(device)
        self.own = dict(net.named_parameters())
        beside = {k: p for k, p in self.objective.named_parameters() if not k.startswith("net.")}
        self.weights = self.own | {f"objective.{k}": p for k, p in beside.items()}
        self.kept = {k: b for k, b in net.state_dict().items() if k not in self.own}  # no gradient changes these
        self.stored = getattr(torch, settings.weights)  # type of the weights in the model's file
        self.average = {k: p.detach().clone() for k, p in self.weights.items()}
        self.optimizer = adamw(settings, self.weights.values())
        self.norms: list[torch.Tensor] = []  # of the gradients, since the last check
        self.call: nn.Module = self.objective
        if settings.compile:
            self.call = torch.compile(self.call)
        if ranks.world > 1:
            self.call = nn.parallel.DistributedDataParallel(
                self.call, device_ids=[ranks.local] if self.cuda else None, gradient_as_bucket_view=True
            )

    def autocast(self):
        kind = "cuda" if self.cuda else "cpu"
        return torch.autocast(kind, torch.bfloat16) if self.bf16 else contextlib.nullcontext()

    def advance(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        with self.autocast():
            loss = self.call(self.to_device(batch)).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.norm = torch.nn.utils.clip_grad_norm_(self.weights.values(), self.settings.clip or torch.inf, foreach=True)
        move(self)
        self.losses.append(loss.detach())
        self.norms.append(self.norm)
        return loss.detach()

    def metrics(self) -> dict[str, float]:
        return {"lr": rate(self.settings, self.steps, self.step - 1), "gradient": float(self.norm)}

    def wrong(self) -> float:
        """The step since which a loss, a gradient or a weight is not finite; infinite where all are."""
        largest = torch.stack(torch._foreach_norm([p.detach() for p in self.weights.values()], torch.inf))
        count, bad = len(self.norms), math.inf
        if count:
            finite = (torch.stack(self.losses[-count:]) + torch.stack(self.norms)).isfinite().tolist()
            bad = next((self.step - count + i for i, good in enumerate(finite, 1) if not good), bad)
        self.norms = []
        if not bool(torch.isfinite(largest).all()):
            bad = min(bad, self.step)
        return -self.ranks.most(-bad, self.device)

    def check(self) -> None:
        """Raise LemError where a loss, a gradient or a weight is not finite."""
        bad = self.wrong()
        if math.isfinite(bad):
            if not self.ranks.first:
                raise RemoteError()
            there = os.path.exists(checkpoint.state_path(self.output))
            good = f"the last good checkpoint stands in {self.output}"
            kept = good if there else "no checkpoint was written yet"
            raise LemError(f"the loss is not finite since step {int(bad)}; {kept}. Try --lr {self.settings.lr / 3:.2g}")

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The network with the average of its weights."""

        def swap():
            for p, e in zip(self.weights.values(), self.average.values()):
                p.data, e.data = e.data, p.data

        swap()
        try:
            yield
        finally:
            swap()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Means over the items kept back, with the averaged weights: the loss, and what else the objective measures.

        Of what it measures as two parts, the ratio of their sums.
        """
        spec = self.prepared.validation
        if spec is None:
            return {}
        batches, sums = Batches(spec), {}
        with self.averaged(), self.autocast():
            for step in range(math.ceil(len(spec.items) / spec.batch)):
                batch = self.to_device(batches[step])
                fresh = min(spec.batch, len(spec.items) - step * spec.batch)
                for name, parts in self.objective.measure(batch).items():
                    values, counts = parts if isinstance(parts, tuple) else (parts, torch.ones_like(parts))
                    total = sums.setdefault(name, [0.0, 0.0])
                    for i, part in enumerate((values, counts)):
                        total[i] += float(part[:fresh].cpu().double().sum())  # (MPS knows no float64)
        return {f"held_out_{name}": total / over for name, (total, over) in sums.items()}

    def picture(self) -> None:
        """What is recalled of some items, beside them and their fragments, as a PNG in the folder of pictures."""
        if self.settings.pictures:
            path = os.path.join(self.settings.pictures, f"step-{self.step:07d}.png")
            with self.averaged(), torch.no_grad():
                pictures.write(self.prepared, self.to_device, path)

    def settle(self) -> None:
        """Bring what else the network holds up to date with the averaged weights."""
        with self.averaged():
            self.objective.settle()

    def state(self) -> dict[str, torch.Tensor]:
        self.settle()
        state = {f"weight.{k}": p.detach() for k, p in self.weights.items()}
        state |= {f"average.{k}": e for k, e in self.average.items()}
        state |= {f"buffer.{k}": b for k, b in self.kept.items()}
        for name, p in self.weights.items():
            for key, value in self.optimizer.state.get(p, {}).items():
                state[f"moment.{key}.{name}"] = torch.as_tensor(value)
        return state

    def save_model(self, kept: bool = False) -> None:
        """The model alone: the average of the weights."""
        self.settle()
        self.prepared.model.meta |= {"step": self.step}
        average = {k: self.average[k] for k in self.own}
        checkpoint.save_model(self.prepared.model, self.place(kept), self.stored, average)

    @torch.no_grad()
    def finish(self) -> Prepared:
        """What was trained, with the network as the model's file has it."""
        self.settle()
        for name, p in self.own.items():
            p.copy_(self.average[name])
        for kept in (*self.own.values(), *self.kept.values()):
            kept.copy_(kept.to(self.stored) if kept.is_floating_point() else kept)
        self.prepared.model.net.eval()
        self.prepared.model.meta |= {"step": self.step}
        return self.prepared

    def restore(self, state: dict[str, torch.Tensor], record: dict) -> None:
        wanted = {}
        for name, p in self.weights.items():
            same = Tensor("float", " ".join(map(str, p.shape)))
            wanted |= {
                f"weight.{name}": same,
                f"average.{name}": same,
                f"moment.step.{name}": Tensor("float", "", needed=False),
            }
            wanted |= {f"moment.{k}.{name}": same._replace(needed=False) for k in ("exp_avg", "exp_avg_sq")}
        for name, b in self.kept.items():  # (states of before have none)
            wanted[f"buffer.{name}"] = Tensor("any", " ".join(map(str, b.shape)), needed=False)
        found = {k: ("F32" if v.is_floating_point() else "I64", tuple(v.shape)) for k, v in state.items()}
        Layout(tensors=wanted).check({}, found)
        for name, b in self.kept.items():
            b.copy_(state.get(f"buffer.{name}", b))
        for name, p in self.weights.items():
            p.copy_(state[f"weight.{name}"])
            self.average[name].copy_(state[f"average.{name}"])
            # a fused AdamW counts its steps on the device, and takes moments laid out as the weight only
            kept = {k: state.get(f"moment.{k}.{name}") for k in ("step", "exp_avg", "exp_avg_sq")}
            kept = {k: v for k, v in kept.items() if v is not None}
            like = {k: p if v.shape == p.shape else p.new_empty(v.shape) for k, v in kept.items()}
            self.optimizer.state[p] = {k: torch.empty_like(like[k]).copy_(v) for k, v in kept.items()}
