"""Training throughput of every recipe beside a bare PyTorch loop of the same network.

    python bench_train.py [--quick | --recall]

The peer: forward, backward and AdamW on one batch that lies on the device, without data, average of the weights, clipping or
log. Items are random 8-bit images in a file that is mapped; `share` is the rate of lem-train's loop, loader and all, over the
peer's; `synthetic` the same with one batch in place of the loader; `peak` the peer's operations a second over the dense
bfloat16 peak of an H100 (989 TFLOP/s). Then, or with --recall only, the time of one
call of the bundled network on a 768 x 512 photo.
"""

import contextlib
import itertools
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from lemtools.train.data import Batches
from lemtools.train.loop import Trainer
from lemtools.train.parallel import Ranks
from lemtools.train.prepare import prepare
from lemtools.train.settings import Settings

PEAK = 989e12
LOSS = [[{"op": "mask", "mask": (0.5, 0.9)}], [{"op": "bits", "bits": 2}]]
CASES = {
    # name: (recipe, shape of an item, settings)
    "feedforward, wheel": ("feedforward", (3, 128, 128), {"batch": 64}),
    "feedforward, small": ("feedforward", (1, 28, 28), {"batch": 256, "arch": "flat", "width": 48, "depth": 8}),
    "feedforward, mlp": ("feedforward", (1, 28, 28), {"batch": 1024, "arch": "mlp", "width": 2048, "depth": 4}),
    "recurrent": ("recurrent", (1, 28, 28), {"batch": 128}),
    "autoregressive": ("autoregressive", (1, 28, 28), {"batch": 64}),
    "diffusion, unet": ("diffusion", (3, 32, 32), {"batch": 256, "arch": "unet"}),
    "diffusion, resnet (large)": ("diffusion", (3, 32, 32), {"batch": 256, "arch": "resnet", "width": 512, "depth": 8}),
}


def rate(step, batches, steps: int, cuda: bool) -> float:
    """Seconds a step."""
    for batch in itertools.islice(batches, max(steps // 5, 3)):
        step(batch)
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if cuda else None
    begun = time.perf_counter()
    if cuda:
        marks[0].record()
    for batch in itertools.islice(batches, steps):
        step(batch)
    if not cuda:
        return (time.perf_counter() - begun) / steps
    marks[1].record()
    torch.cuda.synchronize()
    return marks[0].elapsed_time(marks[1]) / 1e3 / steps


def bare(prepared, trainer, batch) -> "callable":
    """The peer: the same network and loss, nothing else."""
    net = prepared.model.net
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, weight_decay=0.0, **({"fused": True} if trainer.cuda else {}))
    cast = torch.autocast("cuda", torch.bfloat16) if trainer.cuda else contextlib.nullcontext()

    def step(_):
        with cast:
            loss = prepared.objective(batch).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def main() -> None:
    quick, cuda = "--quick" in sys.argv, torch.cuda.is_available()
    device, steps = ("cuda", 100) if cuda else ("cpu", 3)
    if "--recall" in sys.argv:
        return recall(device, cuda)
    print("recipe\tparameters\tbatch\tms a step: bare\tsynthetic\twith loader\tshare\tTFLOP/s\tpeak", flush=True)
    for name, (recipe, item, settings) in CASES.items():
        if quick or not cuda:
            settings = settings | {"batch": 8}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "items.npy"
            count = 2_000 if item[1] > 64 else 20_000
            channels_last = np.random.default_rng(0).integers(0, 256, (count, *item[1:], item[0]), np.uint8)
            np.save(path, channels_last[..., 0] if item[0] == 1 else channels_last)
            asked = Settings(recipe, [str(path)], str(Path(folder) / "m.safetensors"), ["LOSS"], LOSS, holdout=0, **settings)
            prepared = prepare(asked)
            trainer = Trainer(prepared, Ranks(), device)
            batches = Batches(prepared.spec)
            one = trainer.to_device(batches[0])
            plain = rate(bare(prepared, trainer, one), itertools.repeat(one), steps, cuda)
            synthetic = rate(trainer.advance, itertools.repeat(one), steps, cuda)
            loader = batches.steps(0, 10**9, 14 if cuda else 0, cuda)
            full = rate(trainer.advance, loader, steps, cuda)
            del loader
            flops = prepared.flops * asked.batch / plain
            print(name, f"{prepared.model.parameters:,}", asked.batch, f"{plain * 1e3:.2f}", f"{synthetic * 1e3:.2f}",
                  f"{full * 1e3:.2f}", f"{plain / full:.3f}", f"{flops / 1e12:.1f}", f"{flops / PEAK:.3f}", sep="\t", flush=True)
    recall(device, cuda)


def recall(device: str, cuda: bool) -> None:
    """The bundled network on a photo of 768 x 512, 3 bits a colour."""
    from lemtools.denoise.evidence import evidence
    from lemtools.fragment import fragment
    from lemtools.nets.condition import Condition
    from lemtools.nets.model import load
    from lemtools.reconstruct import BUNDLED
    from lemtools.signal import Signal

    model = load(BUNDLED, device)
    photo = Signal("image", np.random.default_rng(0).integers(0, 256, (1, 3, 512, 768), np.uint8))
    (broken,) = fragment([photo], [{"op": "bits", "bits": 3}])
    condition = Condition.of(evidence(broken), model.scale, "image", device)
    model.net.to(memory_format=torch.channels_last)
    cast = torch.autocast("cuda", torch.bfloat16) if cuda else contextlib.nullcontext()

    def step(_):
        with torch.inference_mode(), cast:
            model.net(condition)

    print(f"one call on 768 x 512\t{rate(step, itertools.repeat(None), 50 if cuda else 3, cuda) * 1e3:.2f} ms")


if __name__ == "__main__":
    main()
