"""Batches on their way from the processes that make them to the device: through a ring of shared memory.

A worker writes a message, some batches in one piece, into its place of the ring; what it sends is where they lie. On the
way no memory is mapped or pinned and no thread wants the interpreter: each took the training process milliseconds, more
than the step of a small network leaves.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from collections.abc import Iterator, Sequence

import torch

from ..signal import LemError

Batch = dict[str, torch.Tensor]
Layout = list[list[tuple[str, torch.dtype, torch.Size, int, int]]]  # of each batch: name, type, shape, first, last byte

ALIGNED = 64  # bytes: where a tensor may begin in a message, as torch's own do
MESSAGE = 1 << 20  # bytes of a message, at most, if that is a batch or more
AHEAD = 2  # messages that a worker makes ahead
SPARE = 4  # messages that the device may be behind


def layout(batches: Sequence[Batch]) -> tuple[Layout, int]:
    """Where the tensors of some batches lie in a message, and its bytes."""
    places, size = [], 0
    for batch in batches:
        places.append([])
        for name, part in batch.items():
            places[-1].append((name, part.dtype, part.shape, size, size + part.nbytes))
            size += -(-part.nbytes // ALIGNED) * ALIGNED
    return places, size


def views(flat: torch.Tensor, places: Layout) -> list[Batch]:
    """The batches of a message uint8 [bytes], in its memory."""
    return [{name: flat[a:b].view(dtype).view(shape) for name, dtype, shape, a, b in one} for one in places]


class Ring(torch.utils.data.Dataset):
    """Messages of `several` batches each, of the steps from `first` to before `last`; item k is written where message
    k - slots was.

    batches: what `batches[step]` makes. size: bytes of a place; a message that is longer is sent as it is.
    """

    def __init__(self, batches, first: int, last: int, several: int, size: int, workers: int):
        self.batches, self.steps, self.several, self.workers = batches, range(first, last), several, workers
        self.slots = AHEAD * workers + SPARE  # (as many as the loader has ordered at a time, and those in use)
        self.memory = shared(self.slots, -(-size // ALIGNED) * ALIGNED)

    def __len__(self) -> int:
        return -(-len(self.steps) // self.several)

    def __getitem__(self, message: int) -> Layout | list[Batch]:
        """Write a message; in a worker."""
        made = [self.batches[s] for s in self.steps[message * self.several : (message + 1) * self.several]]
        places, size = layout(made)
        if size > self.memory.shape[1]:
            return made
        for batch, there in zip(made, views(self.memory[message % self.slots], places)):
            for name, place in there.items():
                place.copy_(batch[name])
        return places

    def on(self, device: str, start) -> Iterator[Batch]:
        """Yield the batches on `device`. start: called by each worker as it begins."""
        loader = torch.utils.data.DataLoader(
            self,
            batch_size=None,
            sampler=range(len(self)),
            num_workers=self.workers,
            prefetch_factor=AHEAD,
            collate_fn=_as_it_is,
            worker_init_fn=start,
        )
        with pinned(self.memory, device) if device.startswith("cuda") else contextlib.nullcontext():
            copied: dict[int, torch.cuda.Event] = {}
            for message, found in enumerate(loader):
                if found and isinstance(found[0], dict):
                    yield from ({name: part.to(device) for name, part in batch.items()} for batch in found)
                else:
                    yield from views(self._copy(message, found, device, copied), found)
                if message + 1 - SPARE in copied:  # a worker is about to write there
                    copied.pop(message + 1 - SPARE).synchronize()

    def _copy(self, message: int, found: Layout, device: str, copied: dict) -> torch.Tensor:
        """A message on the device; `copied` gets the event of a copy that goes on behind."""
        flat = self.memory[message % self.slots, : found[-1][-1][-1]]
        if not device.startswith("cuda"):
            return flat.clone().to(device)
        flat = flat.to(device, non_blocking=True)
        copied[message] = torch.cuda.current_stream(device).record_event()
        return flat


@contextlib.contextmanager
def pinned(memory: torch.Tensor, device: str) -> Iterator[None]:
    """The GPU reads this memory by itself."""
    failed = int(torch.cuda.cudart().cudaHostRegister(memory.data_ptr(), memory.nbytes, 0))
    if failed:
        raise LemError(f"CUDA cannot pin {memory.nbytes:,} bytes (error {failed}): fewer --workers take less, 0 none")
    try:
        yield
    finally:
        torch.cuda.synchronize(device)
        torch.cuda.cudart().cudaHostUnregister(memory.data_ptr())


def free() -> float:
    """Bytes of shared memory for this process among those of a run on this machine."""
    with contextlib.suppress(OSError):
        return shutil.disk_usage("/dev/shm").free / int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return math.inf


def most_workers(size: int) -> float:
    """As many as places of `size` bytes for their messages leave room for."""
    return max((free() / size - SPARE) // AHEAD, 0)


def shared(slots: int, size: int) -> torch.Tensor:
    """uint8 [slots, size] for all processes. Raises LemError where there is not so much: a process that wrote beyond
    would be killed."""
    if (there := free()) < slots * size:
        raise LemError(
            f"batches on their way take {slots * size:,} bytes of shared memory, {there:,.0f} are free: "
            "fewer --workers or a smaller --batch take less"
        )
    return torch.empty(slots, size, dtype=torch.uint8).share_memory_()


def _as_it_is(found):
    return found
