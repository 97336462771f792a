"""What a run would take on this device, from a few steps in memory."""

from __future__ import annotations

import contextlib
import time

import torch

from ..ranks import Ranks
from .loop import within_memory
from .prepare import prepare
from .run import Run
from .settings import Settings, device_of


def dry_run(settings: Settings) -> dict[str, float]:
    """Parameters, operations, memory, time of the run; nothing is written."""
    device = device_of(settings)
    with within_memory(settings, 1):
        prepared = prepare(settings)
        return cost(prepared.run(prepared, Ranks(), device))


def cost(run: Run) -> dict[str, float]:
    """The same, measured in four steps of `run`."""
    prepared, cuda = run.prepared, run.cuda
    batches, batch, saved = prepared.batches(run.ranks.rank, run.ranks.world), run.settings.batch, {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    hooks = contextlib.nullcontext() if cuda else torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t)
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    with hooks:
        run.advance(batches[0])
    runs = len(run.settings.outputs)
    weights = 16 * prepared.model.parameters * runs
    memory = torch.cuda.max_memory_allocated() if cuda else weights + sum(saved.values())
    begun, made = time.perf_counter(), 0.0
    for step in range(1, 4):
        at = time.perf_counter()
        items = batches[step]
        made += time.perf_counter() - at
        run.advance(items)
    if cuda:
        torch.cuda.synchronize()
    each = (time.perf_counter() - begun - (made if cuda else 0)) / 3
    return {
        "parameters": prepared.model.parameters,
        "steps": run.steps,
        "batch": batch,
        "flops_per_item": prepared.flops,
        "flops": prepared.flops * batch * run.steps * runs,
        "memory_bytes": float(memory),
        "seconds_per_step": each,
        "seconds": each * run.steps,
        "loader_seconds_per_step": made / 3,
        "epochs": run.steps * batch / max(len(prepared.spec.items), 1),
    }
