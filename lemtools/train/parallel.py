"""Several processes as one run: torchrun's environment, gloo or NCCL (Li et al. 2020, DistributedDataParallel)."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist


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

    def any(self, flag: bool, device: str) -> bool:
        """Whether the flag is up in any process; all must ask together."""
        if self.world == 1:
            return flag
        value = torch.tensor(float(flag), device=device)
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return bool(value)

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
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    return ranks


def leave(ranks: Ranks) -> None:
    if ranks.world > 1 and dist.is_initialized():
        dist.destroy_process_group()
