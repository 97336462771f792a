"""Machines against networks, the stages of els-table.sh: `python els_table.py STAGE DATA OUT`.

banks     OUT/SET.bank.safetensors: the training images, MNIST and FashionMNIST resized to 32 x 32 px as in the paper,
          FashionMNIST and CIFAR-10 with their classes
train     OUT/SET-ARCH-PADDING.safetensors: networks in the paper's shape
scales    OUT/…-scales.txt: the patch sizes at which the machine that fits the padding is most like the network
compare   OUT/…-against.jsonl and …-sheet.png: all machines against the network, the same seeds
table     prints OUT/table.tsv

Only the machine that fits a network's padding is calibrated (zeros: bbels, circular: els); the local machines beside it, ls
and the other of the two, are run with its sizes, which favours it: sizes of their own might suit them better.

What is there already is not made again where it came from the same command, settings and inputs, which are noted beside
it (FILE.made); lem-train itself refuses to go on with other ones than a network's: give another OUT. Networks go on the
GPUs that CUDA_VISIBLE_DEVICES leaves, one on each.

Environment: SETS, STEPS of training (28000; the paper's 300 epochs are 140,000), LR (3e-4, falling to 0 by a cosine; the
paper 1e-4 times .999965 a step), WIDTH of the ResNet (256; the UNet's widths follow), SEEDS (0-99), TRIES (1000-1009, the
seeds of the calibration), IMAGES of a bank (all). A network learns from the bank, but for the images that lem-train keeps back.
"""

import hashlib
import json
import os
import queue
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

SETS = os.environ.get("SETS", "mnist fashion cifar").split()
STEPS, WIDTH, IMAGES = (int(os.environ.get(k, v)) for k, v in (("STEPS", 28_000), ("WIDTH", 256), ("IMAGES", 0)))
LR, SEEDS, TRIES = (os.environ.get(k, v) for k, v in (("LR", "3e-4"), ("SEEDS", "0-99"), ("TRIES", "1000-1009")))
NETWORKS = {
    # network: medians of r with the machine in its name, of 100 seeds, as the paper gives them for 150 and 20 steps
    "mnist-resnet-zeros": (0.94, 0.94),
    "mnist-resnet-circular": (0.77, 0.73),
    "mnist-unet-zeros": (0.89, 0.84),
    "fashion-resnet-zeros": (0.94, 0.90),
    "fashion-unet-zeros": (0.93, 0.91),
    "cifar-resnet-zeros": (0.95, 0.90),
    "cifar-resnet-circular": (0.94, 0.90),
    "cifar-unet-zeros": (0.90, 0.82),
}
MACHINE = {"zeros": "bbels", "circular": "els"}


def networks() -> list[str]:
    return [name for name in NETWORKS if name.split("-")[0] in SETS]


def command(*words, **more) -> subprocess.CompletedProcess:
    return subprocess.run([str(w) for w in words], check=True, stdin=subprocess.DEVNULL, **more)


def digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make(path: Path, words: list, inputs: list[Path], work, **settings) -> None:
    """Do the work that makes a file, unless it is there and the words of its command, the contents of its inputs and the
    settings are those that its note tells."""
    record = {
        "command": [w.name if isinstance(w, Path) else str(w) for w in words],
        "settings": settings,
        "inputs": {p.name: digest(p) for p in inputs},
    }
    note, told = path.with_name(path.name + ".made"), json.dumps(record, indent=1)
    if path.exists() and note.exists() and note.read_text() == told:
        return
    note.unlink(missing_ok=True)  # what comes of work that is broken off is not taken for whole
    work()
    note.write_text(told)


def banks(data: Path, out: Path) -> None:
    from lemtools.media import load

    def parts(name: str, folder: Path) -> dict[str, np.ndarray]:
        if name == "cifar":
            from recall_vs_dream import sheets

            with np.load(folder / "labels.npz") as file:
                return {"bank": sheets(folder, "train"), "labels": file["train"].astype(np.int64)}
        found = {"bank": np.concatenate([s.data for s in load([str(folder / "train-images-idx3-ubyte.gz")])])[:, 0]}
        if name == "fashion":  # (the paper's networks for MNIST know no classes)
            import gzip

            raw = gzip.decompress((folder / "train-labels-idx1-ubyte.gz").read_bytes())
            found["labels"] = np.frombuffer(raw, np.uint8, offset=8).astype(np.int64)
        return found

    for name in SETS:
        folder = data / {"mnist": "mnist", "fashion": "fashion-mnist", "cifar": "cifar10"}[name]
        bank, words = out / f"{name}.bank.safetensors", ["lem-els", "--prepare", "--bank", out / f"{name}-bank.npy"]
        words += [] if name == "mnist" else ["--labels", out / f"{name}-labels.npy"]
        words += ["--size", 32, "-o", bank]

        def work() -> None:
            for option, values in parts(name, folder).items():
                np.save(out / f"{name}-{option}.npy", values[: IMAGES or None])
            command(*words)

        sources = sorted(p for p in folder.iterdir() if "train" in p.name or p.name == "labels.npz")
        make(bank, words, sources, work, images=IMAGES)


def train(data: Path, out: Path) -> None:
    def work(name: str, more: dict) -> None:
        which, arch, padding = name.split("-")
        shape = (
            ["--width", WIDTH, "--depth", 6]
            if arch == "resnet"
            else ["--set", f"widths={[WIDTH // 4, WIDTH // 2, WIDTH]}".replace(" ", "")]
        )
        command(
            "lem-train",
            "diffusion",
            "-q",
            "--data",
            out / f"{which}.bank.safetensors",
            "--arch",
            arch,
            "--padding",
            padding,
            *shape,
            "--batch",
            128,
            "--steps",
            STEPS,
            "--lr",
            LR,
            "--ema",
            ".999",
            "--save-every",
            max(STEPS // 4, 1),
            "--log-file",
            out / f"{name}.jsonl",
            "-o",
            out / f"{name}.safetensors",
            **more,
        )

    on_every_gpu(work)


def scales(data: Path, out: Path) -> None:
    def work(name: str, more: dict) -> None:
        which, _, padding = name.split("-")
        bank, network, sizes = inputs(out, name)
        words = [
            "lem-els",
            "--bank",
            bank,
            "--machine",
            MACHINE[padding],
            *labels(which),
            "--calibrate",
            network,
            "--seeds",
            TRIES,
            "-o",
            sizes,
        ]
        make(sizes, words, [bank, network], lambda: command(*words, **more))

    on_every_gpu(work)


def compare(data: Path, out: Path) -> None:
    def work(name: str, more: dict) -> None:
        bank, network, sizes = inputs(out, name)
        words = [
            "lem-els",
            "--bank",
            bank,
            *labels(name.split("-")[0]),
            "--against",
            network,
            "--scales",
            sizes,
            "--seeds",
            SEEDS,
            "--json",
            "-o",
            out / f"{name}-sheet.png",
        ]
        found = out / f"{name}-against.jsonl"
        make(
            found,
            words,
            [bank, network, sizes],
            lambda: found.write_bytes(command(*words, stdout=subprocess.PIPE, **more).stdout),
        )

    on_every_gpu(work)


def inputs(out: Path, name: str) -> tuple[Path, Path, Path]:
    """Bank, network, sizes."""
    return out / f"{name.split('-')[0]}.bank.safetensors", out / f"{name}.safetensors", out / f"{name}-scales.txt"


def labels(which: str) -> list[str]:
    return [] if which == "mnist" else ["--label", "each"]


def gpus() -> list[str]:
    """The GPUs that may be used, by the names by which CUDA_VISIBLE_DEVICES knows them."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [str(k) for k in range(count)] if named is None else [n.strip() for n in named.split(",")][:count]


def on_every_gpu(work) -> None:
    """work(network, options of subprocess.run) for all networks, side by side on the GPUs, else one by one."""
    free: queue.Queue = queue.Queue()
    for gpu in gpus() or [None]:
        free.put(gpu)

    def one(name: str) -> None:
        gpu = free.get()
        try:
            work(name, {} if gpu is None else {"env": {**os.environ, "CUDA_VISIBLE_DEVICES": gpu}})
        finally:
            free.put(gpu)

    with ThreadPoolExecutor(free.qsize()) as pool:
        for done in [pool.submit(one, name) for name in networks()]:
            done.result()


def table(data: Path, out: Path) -> None:
    lines = ["network\tnet steps\tmachine\tmedian r\tr^2\tR^2\tmse\tr above is\tpaper"]
    for name in networks():
        path, values = out / f"{name}-against.jsonl", {}
        for line in path.read_text().splitlines() if path.exists() else ():
            row = json.loads(line)
            values.setdefault((-row["net_steps"], row["machine"]), {})[row["metric"]] = row
        fits = MACHINE[name.split("-")[2]]
        for (steps, machine), row in sorted(values.items(), key=lambda item: item[0][0]):
            cells = [f"{row['r']['value']:.3f} [{row['r']['low']:.3f}, {row['r']['high']:.3f}]"]
            cells += [f"{row[metric]['value']:.3f}" for metric in ("r^2", "R^2", "mse")]
            cells += [f"{row['beats-is']['value']:.2f}" if "beats-is" in row else ""]
            paper = dict(zip((150, 20), NETWORKS[name])).get(-steps) if machine == fits else None
            lines.append("\t".join([name, str(-steps), machine, *cells, "" if paper is None else f"{paper:.2f}"]))
    text = "\n".join(lines) + "\n"
    (out / "table.tsv").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    stage, data_, out_ = sys.argv[1:]
    Path(out_).mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(Path(__file__).parent))
    {f.__name__: f for f in (banks, train, scales, compare, table)}[stage](Path(data_), Path(out_))
