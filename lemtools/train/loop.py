"""The loop: AdamW, warm-up and decay, an average of the weights, clipping, checkpoints. One for all recipes."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn

from ..denoise.device import pick
from ..signal import LemError
from . import checkpoint
from .data import Batches
from .log import Log
from .parallel import Echo, Ranks, join, leave
from .prepare import Prepared, prepare
from .settings import Settings, differences
from .stop import Stopped, signals

LOG_EVERY = 50    # steps between records, at most; the loss is only then brought from the device
AGREE_EVERY = 10  # steps between questions whether any process was told to stop


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


class Trainer:
    """A run of `prepared` on this process's device; `advance()` makes one step, `save()` writes a checkpoint."""

    def __init__(self, prepared: Prepared, ranks: Ranks, device: str):
        self.prepared, self.ranks, self.device = prepared, ranks, device
        self.settings, self.step = prepared.settings, 0
        self.cuda = device.startswith("cuda")
        settings = self.settings
        net = prepared.model.net.to(device)
        if self.cuda:
            net.to(memory_format=torch.channels_last)
            for p in net.parameters():
                if p.ndim == 4 and p.shape[1] == 1:  # (both orders at once: its gradient comes in the other, and DDP warns)
                    p.data = p.data.clone(memory_format=torch.contiguous_format)
        if settings.dtype == "auto":
            settings.dtype = "bfloat16" if self.cuda else "float32"
        self.bf16 = settings.dtype == "bfloat16"
        if self.cuda and not self.bf16:  # TF32 is not float32
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
        self.objective = prepared.objective.to(device)
        self.steps = prepared.steps  # (counting operations, where it takes that, is quickest here)
        self.weights = dict(net.named_parameters())
        self.stored = getattr(torch, settings.weights)  # type of the weights in the model's file
        self.average = {k: p.detach().clone() for k, p in self.weights.items()}
        self.optimizer = torch.optim.AdamW(
            self.weights.values(), lr=settings.lr, betas=(0.9, settings.beta2), weight_decay=settings.weight_decay,
            fused=True,  # one pass over the weights; on a CPU, too, a fifth to a third of the time of the others
        )
        self.losses: list[torch.Tensor] = []  # since the last record
        self.norms: list[torch.Tensor] = []   # of the gradients, since the last check
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

    def to_device(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {k: v.to(self.device, non_blocking=True) for k, v in batch.items()}

    def advance(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """One update. Returns (loss, norm of the gradient), on the device."""
        with self.autocast():
            loss = self.call(self.to_device(batch)).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.weights.values(), self.settings.clip or torch.inf, foreach=True)
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.settings, self.steps, self.step)
        self.optimizer.step()
        self.step += 1
        keep = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.values()), list(self.weights.values()), 1 - keep)
        self.losses.append(loss.detach())
        self.norms.append(norm)
        return loss.detach(), norm

    def check(self) -> None:
        """Raise LemError where a loss, a gradient or a weight is not finite: nothing of it goes to disk."""
        largest = torch.stack(torch._foreach_norm([p.detach() for p in self.weights.values()], torch.inf))
        count, bad = len(self.norms), math.inf
        if count:
            finite = (torch.stack(self.losses[-count:]) + torch.stack(self.norms)).isfinite().tolist()
            bad = next((self.step - count + i for i, good in enumerate(finite, 1) if not good), bad)
        self.norms = []
        if not bool(torch.isfinite(largest).all()):
            bad = min(bad, self.step)
        bad = -self.ranks.most(-bad, self.device)
        if math.isfinite(bad):
            if not self.ranks.first:
                raise Echo()
            there = os.path.exists(checkpoint.state_path(self.settings.output))
            good = f"the last good checkpoint stands in {self.settings.output}"
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
        spec = self.prepared.held
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

    def save(self) -> None:
        """The model and the state, by the first process; all must call it together."""
        losses = self.ranks.mean(torch.stack(self.losses)) if self.losses else None
        if not self.ranks.first:
            return
        state = {f"weight.{k}": p.detach() for k, p in self.weights.items()}
        state |= {f"average.{k}": e for k, e in self.average.items()}
        for name, p in self.weights.items():
            for key, value in self.optimizer.state.get(p, {}).items():
                state[f"moment.{key}.{name}"] = torch.as_tensor(value)
        if losses is not None:
            state["losses"] = losses
        record = {"step": self.step, "settings": self.prepared.frozen | {"dtype": self.settings.dtype}}
        checkpoint.save_state(self.settings.output, {k: v.cpu() for k, v in state.items()}, record)
        self.save_model()

    def save_model(self) -> None:
        """The model alone: the average of the weights."""
        self.prepared.model.meta |= {"step": self.step}
        checkpoint.save_model(self.prepared.model, self.settings.output, self.stored, self.average)

    @torch.no_grad()
    def finish(self) -> Prepared:
        """What was trained, with the network as the model's file has it."""
        for name, p in self.weights.items():
            p.copy_(self.average[name].to(self.stored))
        self.prepared.model.net.eval()
        self.prepared.model.meta |= {"step": self.step}
        return self.prepared

    def resume(self, state: dict[str, torch.Tensor], step: int) -> None:
        """Go on from a state that `save` wrote."""
        with torch.no_grad():
            for name, p in self.weights.items():
                p.copy_(state[f"weight.{name}"])
                self.average[name].copy_(state[f"average.{name}"])
                # a fused AdamW counts its steps on the device, and takes moments laid out as the weight only
                kept = {k: state.get(f"moment.{k}.{name}") for k in ("step", "exp_avg", "exp_avg_sq")}
                kept = {k: v for k, v in kept.items() if v is not None}
                like = {k: p if v.shape == p.shape else p.new_empty(v.shape) for k, v in kept.items()}
                self.optimizer.state[p] = {k: torch.empty_like(like[k]).copy_(v) for k, v in kept.items()}
        self.step, self.losses = step, list(state.get("losses", torch.zeros(0)).to(self.device))


def train(settings: Settings, tell: Callable[[str], None] = lambda line: None,
          progress: Callable[[int, int, dict], None] = lambda step, steps, record: None) -> Prepared:
    """Train by `settings`; returns what was trained, its network with the weights that the model's file holds.

    The same call again takes the run up where it stopped, with dtype 'auto' in the precision that it was begun in.

    tell: notes for a person. progress: called with (step, steps, record) for every record of the log. Raises LemError
    for settings or data that do not go together, a loss that is not finite, and memory that does not suffice; Stopped
    on SIGTERM and SIGUSR1, with the state on disk.
    """
    kind = _device(settings)
    ranks = join("cuda" if kind.startswith("cuda") else "cpu")
    try:
        with _memory(settings, ranks.world):
            return _train(settings, ranks, ranks.device(kind), tell if ranks.first else lambda line: None,
                          progress if ranks.first else lambda step, steps, record: None)
    finally:
        leave(ranks)


def _device(settings: Settings) -> str:
    try:
        return pick(settings.device, float64=settings.recipe == "diffusion")
    except ValueError as error:
        raise LemError(f"--device {settings.device}: {error}") from error


@contextlib.contextmanager
def _memory(settings: Settings, world: int) -> Iterator[None]:
    """Say what to try where memory does not suffice."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not isinstance(error, (torch.OutOfMemoryError, MemoryError)) and "allocate memory" not in str(error):
            raise
        batch = settings.batch or world
        fewer = f"--batch {batch // 2 // world * world}, or " if batch >= 2 * world else ""
        raise LemError(f"out of memory at --batch {batch}; try {fewer}a smaller --crop or --width") from None


def dry_run(settings: Settings) -> dict[str, float]:
    """What the run would take on this device: parameters, operations, memory, time; nothing is written."""
    from .prepare import cost

    device = _device(settings)
    with _memory(settings, 1):
        prepared = prepare(settings)
        return cost(prepared, Trainer(prepared, Ranks(), device))


def _train(settings: Settings, ranks: Ranks, device: str, tell, progress) -> Prepared:
    prepared, batches, found, log = ranks.together(lambda: _begin(settings, ranks), device)
    trainer = Trainer(prepared, ranks, device)
    tell(prepared.summary(device, ranks.world))
    if found is not None:
        state, record, note = found
        trainer.resume(state, record["step"])
        done = record["step"] == prepared.steps
        tell(note or (f"done already, {prepared.steps} steps" if done else f"going on from step {record['step']}"))
    if trainer.step < trainer.steps:
        with signals() as caught:
            _steps(trainer, batches, log, caught, progress)
    elif ranks.first and checkpoint.saved_step(settings.output) != trainer.step:
        trainer.save_model()  # the end came between the state and the model
    return trainer.finish()


def _begin(settings: Settings, ranks: Ranks) -> tuple[Prepared, Batches, tuple | None, Log]:
    """All that can be found wrong before the first step."""
    for path in (settings.output, settings.log):
        if path is not None:
            _check_place(path)
    if ranks.world > 1 and "-" in (*settings.data, *settings.target, *settings.validate):
        raise LemError("standard input cannot be shared by several processes; give files")
    prepared = prepare(settings)
    batches = Batches(prepared.spec, ranks.rank, ranks.world)
    found = checkpoint.load_state(settings.output)
    if found is None and os.path.exists(settings.output):
        raise LemError(f"{settings.output}: a model without the state of its run; move it away, or give another -o")
    if found is not None:
        then = found[1]["settings"]
        if settings.dtype == "auto":
            settings.dtype = then["dtype"]
        # an older state may say 'auto' itself: what that was is not known
        asked = "auto" if then["dtype"] == "auto" else settings.dtype
        if changed := differences(then, prepared.frozen | {"dtype": asked}):
            raise LemError(
                f"{settings.output}: its run has {'; '.join(changed)}. Give the same settings to go on, or another -o"
            )
    if settings.pictures:
        os.makedirs(settings.pictures, exist_ok=True)
    log = Log(settings.log if ranks.first else None, 0 if found is None else found[1]["step"])
    return prepared, batches, found, log


def _check_place(path: str) -> None:
    """Raise LemError where no file could be written."""
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise LemError(f"{path}: there is no folder {folder}")
    if os.path.isdir(path):
        raise LemError(f"{path}: a folder; name a file")
    if not os.access(folder, os.W_OK):
        raise LemError(f"{path}: the folder {folder} cannot be written to")


def _steps(trainer: Trainer, batches: Batches, log: Log, caught: list[int], progress) -> None:
    settings, ranks, first = trainer.settings, trainer.ranks, trainer.step
    begun, since = time.perf_counter(), first
    for batch in batches.steps(first, trainer.steps, settings.workers, trainer.device):
        _, norm = trainer.advance(batch)
        step, last = trainer.step, trainer.step == trainer.steps
        stop = (step % AGREE_EVERY == 0 or ranks.world == 1) and bool(ranks.most(len(caught), trainer.device))
        due = last or step % settings.save_every == 0
        told = due or step % LOG_EVERY == 0
        if told or stop:
            trainer.check()
        if told:
            mean = ranks.mean(torch.stack(trainer.losses).mean())
            seconds = time.perf_counter() - begun
            record = {"step": step, "loss": float(mean), "lr": rate(settings, trainer.steps, step - 1),
                      "gradient": float(norm), "items_per_second": (step - since) * settings.batch / seconds,
                      "seconds_per_step": seconds / (step - since)}
            if due and ranks.first:
                record |= trainer.validate()
            log.write(record)  # before the state: to take a run up drops what the log has beyond it, but adds nothing
            progress(step, trainer.steps, record)
            trainer.losses, begun, since = [], time.perf_counter(), step
        if due or stop:
            trainer.save()
        if due and ranks.first:
            trainer.prepared.picture(trainer)
        if stop and not last:
            raise Stopped(caught[0] if caught else signal.SIGTERM, step, ranks.first)
