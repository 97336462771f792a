"""Training throughput of every recipe beside a bare PyTorch loop of the same network.

    python bench_train.py [--quick] [--recall] [--only NAME,NAME]

Milliseconds a step:

    bare          forward, backward and AdamW on batches that lie on the device: no data, no average of the weights, no
                  clipping, no log
    clip + EMA    the same, with both by torch's own means (clip_grad_norm_, AveragedModel): what they are bound to take
    synthetic     lem-train's step on the batches that lie on the device
    with loader   the same on batches as they come
    loader        a batch from the loader where nothing is done with it

`share` is bare over with loader. Items are random 8-bit images in a file that is mapped. Batches differ in how much of
them is lost, as they do in training: all columns but the last two go round the same CYCLE of them. `peak`: operations a
second of the bare loop over the dense bfloat16 peak of an H100 (989 TFLOP/s). Then, or with --recall only, the time of
one call of the bundled network on a 768 x 512 photo. --only: the cases whose names contain one of these.
"""

import contextlib
import itertools
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.optim import swa_utils

from lemtools.ranks import Ranks
from lemtools.train.data import Batches
from lemtools.train.prepare import prepare
from lemtools.train.settings import Settings
from lemtools.train.trainer import Trainer

PEAK = 989e12
CYCLE = 8
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


def bare(prepared, trainer, more: bool) -> "callable":
    """The peer: the same network and loss; more: with clipping and an average of the weights, too."""
    net = prepared.model.net
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, weight_decay=0.0, fused=True)
    cast = torch.autocast("cuda", torch.bfloat16) if trainer.cuda else contextlib.nullcontext()
    average = swa_utils.AveragedModel(net, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.999)) if more else None

    def step(batch):
        with cast:
            loss = prepared.objective(batch).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if more:
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        if more:
            average.update_parameters(net)

    return step


def main() -> None:
    quick, cuda = "--quick" in sys.argv, torch.cuda.is_available()
    device, steps = ("cuda", 100) if cuda else ("cpu", 3)
    if "--recall" in sys.argv:
        return recall(device, cuda)
    only = sys.argv[sys.argv.index("--only") + 1].split(",") if "--only" in sys.argv else [""]
    print(
        "recipe",
        "parameters",
        "batch",
        "ms a step: bare",
        "clip + EMA",
        "synthetic",
        "with loader",
        "loader",
        "share",
        "TFLOP/s",
        "peak",
        sep="\t",
        flush=True,
    )
    for name, (recipe, item, settings) in CASES.items():
        if not any(part in name for part in only):
            continue
        if quick or not cuda:
            settings = settings | {"batch": 8}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "items.npy"
            count = 2_000 if item[1] > 64 else 20_000
            channels_last = np.random.default_rng(0).integers(0, 256, (count, *item[1:], item[0]), np.uint8)
            np.save(path, channels_last[..., 0] if item[0] == 1 else channels_last)
            model = str(Path(folder) / "m.safetensors")
            asked = Settings(recipe, [str(path)], model, ["LOSS"], LOSS, holdout=0, **settings)
            prepared = prepare(asked)
            trainer = Trainer(prepared, Ranks(), device)
            batches = Batches(prepared.spec)
            there = [trainer.to_device(batches[k]) for k in range(CYCLE)]
            peers = [bare(prepared, trainer, more) for more in (False, True)]
            times = [rate(step, itertools.cycle(there), steps, cuda) for step in (*peers, trainer.advance)]
            with contextlib.closing(batches.steps(0, 10**9, None, device)) as made:
                times += [rate(step, made, steps, cuda) for step in (trainer.advance, lambda batch: None)]
            flops = prepared.flops * asked.batch / times[0]
            print(
                name,
                f"{prepared.model.parameters:,}",
                asked.batch,
                *(f"{t * 1e3:.2f}" for t in times),
                f"{times[0] / times[3]:.3f}",
                f"{flops / 1e12:.1f}",
                f"{flops / PEAK:.3f}",
                sep="\t",
                flush=True,
            )
    if only == [""]:
        recall(device, cuda)


def recall(device: str, cuda: bool) -> None:
    """The bundled network on a photo of 768 x 512, 3 bits a colour."""
    from lemtools.fragment import fragment
    from lemtools.fragment.evidence import evidence
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
