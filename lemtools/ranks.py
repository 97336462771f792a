"""Several processes as one run: torchrun's environment, gloo or NCCL (Li et al. 2020, DistributedDataParallel)."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

from .signal import LemError

T = TypeVar("T")


class RemoteError(LemError):
    """Something went wrong; another process reports it."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """The one that writes files and says things."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """Each process of a host takes a GPU of its own."""
        return f"cuda:{self.local}" if name == "cuda" and self.world > 1 else name

    def most(self, value: float, device: str) -> float:
        """The greatest value of any process; all must ask together."""
        if self.world == 1:
            return value
        most = torch.tensor(float(value), device=device)
        dist.all_reduce(most, dist.ReduceOp.MAX)
        return float(most)

    def together(self, work: Callable[[], T], device: str) -> T:
        """work(); where it fails in some process it ends in all: one raises what went wrong, the others RemoteError."""
        done: list[T] = []
        problem = None
        try:
            done.append(work())
        except (LemError, OSError) as error:
            problem = error
        first = self.most(0 if problem is None else self.world - self.rank, device)
        if first:
            raise problem if problem is not None and first == self.world - self.rank else RemoteError()
        return done[0]

    def gather(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """What every process gave, one shape, in their order; all must ask together."""
        if self.world == 1:
            return [tensor]
        every = [torch.empty_like(tensor) for _ in range(self.world)]
        dist.all_gather(every, tensor.contiguous())
        return every

    def same(self, tensor: torch.Tensor) -> torch.Tensor:
        """What the first process has of a tensor, in place; all must ask together."""
        if self.world > 1:
            dist.broadcast(tensor, 0)
        return tensor

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """The mean over the processes; all must ask together."""
        if self.world > 1:
            value = value.clone()
            dist.all_reduce(value)
            value /= self.world
        return value


def join(device: str) -> Ranks:
    """Meet the other processes that torchrun started; alone where there are none. device: 'cuda' or 'cpu'."""
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return Ranks()
    ranks = Ranks(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", 0)))
    if device == "cuda":
        torch.cuda.set_device(ranks.local)
    # DistributedDataParallel imports it, and its functions have the group of that time as a default: imported later
    # than the group began, they would keep it, and its threads, beyond destroy_process_group, into the end of Python
    from torch.distributed import nn  # noqa: F401

    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    return ranks


def leave(ranks: Ranks) -> None:
    """End the group and its threads, once nothing of a run is left that uses it."""
    if ranks.world > 1 and dist.is_initialized():
        dist.destroy_process_group()
