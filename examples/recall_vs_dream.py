"""Recall against dream, the stages of recall-vs-dream.sh: `python recall_vs_dream.py STAGE DATA OUT`.

Arms: networks of equal size (+-5 %) and equal operations of training, the learning rate of each chosen by the loss on
training items kept back, at SEARCH operations a run: among RATES, and then among the next ones of LADDER until the best
one has a worse neighbour on both sides. Every network learns all FRAGMENTS at once and is told what is lost.

feedforward   one call, the posterior mean (squared error)
recurrent     one block, eight times, the posterior mean
any-order     autoregressive, in an order drawn for each item, what is observed first
raster        autoregressive, in raster order: it cannot see what lies below. The control
diffusion     a denoiser that is told the fragment; ancestral sampling in 50 calls
fragments     feedforward, but trained on fragments only: half of the pixels of each training image, always the same
              half

and from a fragmented embedding, the first 64 principal components at 1-4 bits: `embedding` recalls the embedding,
`image` the image; both with a fiftieth of the operations.

PSNR is that of the missing elements, lost or quantised, of one answer and of a mean of DRAWS (one answer where there is
no more than one), beside the same minus that of one answer of feedforward, image by image. s/image: of all test images
as one batch, networks on a GPU that PER processes share (one call in bfloat16, all else in float32), controls on the
CPU. GFLOP/image: of one answer; of a sequence, all its places at once. [a, b]: 95 % interval of the mean over images
(of the mean over the seeds of each); +-: standard deviation over the seeds. The row `originals` holds the floor of each
metric of sets, of SETS_OF_ORIGINALS sets of as many training images: mean +- standard deviation.

Environment: SETS, SEEDS, FLOPS (a run, 2e14), SEARCH (a run of the search, an eighth of that), TRAIN and TEST (how many
items; all, 100), DRAWS (of a mean, 16), PER (processes a GPU, 3), BATCH (128), METRICS (of sets; those of controls.py;
with none the table takes minutes).
"""

import itertools
import json
import math
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

SETS = os.environ.get("SETS", "mnist fashion cifar").split()
SEEDS = [int(s) for s in os.environ.get("SEEDS", "0 1 2").split()]
FLOPS = float(os.environ.get("FLOPS", 2e14))
SEARCH = float(os.environ.get("SEARCH", FLOPS / 8))
TRAIN, TEST, DRAWS = (int(os.environ.get(k, v)) for k, v in (("TRAIN", 0), ("TEST", 100), ("DRAWS", 16)))
PER, BATCH = (int(os.environ.get(k, v)) for k, v in (("PER", 3), ("BATCH", 128)))
RATES = ("1e-3", "3e-3", "1e-2", "3e-2")
LADDER = [f"{m}e-{e}" for e in (5, 4, 3, 2, 1) for m in (1, 3)]  # of rates: as far as a search goes
SETS_OF_ORIGINALS = 10
FRAGMENTS = {
    "2 bits": "--bits 2",
    "50 %": "--mask .5",
    "75 %": "--mask .75",
    "90 %": "--mask .9",
    "lower half": "--mask .5 --mask-shape half",
}
ARMS = {
    "feedforward": "feedforward --arch conv --set widths=[32,64,96] --set blocks=[2,1,1,1,2] --set shuffle=1 "
    "--set lost=1.0",
    "recurrent": "recurrent --width 84",
    "any-order": "autoregressive --width 96 --depth 4",
    "raster": "autoregressive --width 96 --depth 4 --order raster",
    "diffusion": "diffusion --arch unet --set widths=[32,64,112] --predict v",
}
ONLY = "fragments"
CODES = dict.fromkeys(("embedding", "image"), "feedforward --arch mlp --width 256 --depth 3")
BITS, COMPONENTS = (1, 2, 3, 4), 64


# --- data


def data(source: Path, out: Path) -> None:
    """OUT/SET/: train.npy, test.npy (uint8), half.safetensors (fragments of train), codes-{train,test}.npy, pca.npz."""
    from lemtools.media import load

    names = {"mnist": "mnist", "fashion": "fashion-mnist"}
    for name in SETS:
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "pca.npz").exists():
            continue
        flat = {}
        for split, file, most in (("train", "train", TRAIN), ("test", "t10k", TEST)):
            if name == "cifar":
                images = sheets(source / "cifar10", split)
            else:
                path = source / names[name] / f"{file}-images-idx3-ubyte.gz"
                images = np.concatenate([s.data for s in load([str(path)])])[:, 0]
            images = images[: most or None]
            np.save(folder / f"{split}.npy", images)
            flat[split] = images.reshape(len(images), -1) / np.float32(255)
        half = ["--mask", ".5", "--seed", "77", f"{folder}/train.npy", "-o", f"{folder}/half.safetensors"]
        subprocess.run(["lem-fragment", "-q", *half], check=True, stdin=subprocess.DEVNULL)
        train, test = flat["train"], flat["test"]
        mean = train.mean(0)
        _values, vectors = np.linalg.eigh(np.cov(train[:20_000].T))
        axes = np.ascontiguousarray(vectors[:, ::-1][:, :COMPONENTS]).astype(np.float32)
        np.save(folder / "codes-train.npy", (train - mean) @ axes)
        np.save(folder / "codes-test.npy", (test - mean) @ axes)
        np.savez(folder / "pca.npz", mean=mean, axes=axes)


def sheets(folder: Path, split: str) -> np.ndarray:
    from PIL import Image

    files = sorted(folder.glob(f"{split}_*.webp"))
    return np.concatenate([np.asarray(Image.open(f).convert("RGB")).reshape(-1, 32, 32, 3) for f in files])


# --- training


def arms(folder: Path) -> dict[str, tuple[list[str], float, int]]:
    """{arm: (network, data and losses as arguments of lem-train, operations, batch)}, of all arms."""
    losses = list(itertools.chain.from_iterable(("--fragment", f) for f in FRAGMENTS.values()))
    images = ["--data", f"{folder}/train.npy"]
    codes = ["--data", f"{folder}/codes-train.npy", "--fragment", "--bits 1-4"]
    made = {arm: (words.split() + images + losses, FLOPS, BATCH) for arm, words in ARMS.items()}
    made[ONLY] = (ARMS["feedforward"].split() + ["--data", f"{folder}/half.safetensors"] + losses, FLOPS, BATCH)
    for arm, words in CODES.items():
        target = ["--target", f"{folder}/train.npy"] if arm == "image" else []
        made[arm] = (words.split() + codes + target, FLOPS / 50, 4 * BATCH)
    return made


def jobs(out: Path) -> dict[Path, list[str]]:
    """{model: arguments of lem-train} of all that can run now: an arm's search for a rate, or then its runs proper."""
    made = {}
    for folder in (out / name for name in SETS):
        for arm, (words, flops, batch) in arms(folder).items():
            rates, best = search(folder, arm)
            runs = [(f"search/{arm}-{lr}", lr, SEARCH * flops / FLOPS, 9) for lr in rates]
            if best:
                runs = [(f"{arm}-{seed}", best, flops, seed) for seed in SEEDS]
            for run, lr, budget, seed in runs:
                more = ["--lr", lr, "--flops", f"{budget:g}", "--seed", str(seed), "--batch", str(batch)]
                made[folder / f"{run}.safetensors"] = [*words, *more]
    return made


def tried(folder: Path, arm: str) -> dict[str, float]:
    """{rate: loss on the items kept back} of an arm's runs that came to their end; inf of those that diverged."""
    losses = {}
    for lr in LADDER:
        model = folder / f"search/{arm}-{lr}.safetensors"
        if model.with_suffix(".failed").exists():
            losses[lr] = math.inf
        elif finished(model):
            loss = json.loads(model.with_suffix(".jsonl").read_text().splitlines()[-1])["held_out_loss"]
            losses[lr] = math.inf if loss is None or math.isnan(loss) else loss
    return losses


def search(folder: Path, arm: str) -> tuple[list[str], str | None]:
    """(the rates still to be tried, none) or (none, the best), which has a worse neighbour tried on both sides."""
    losses = tried(folder, arm)
    if rates := [lr for lr in RATES if lr not in losses]:
        return rates, None
    best = min(losses, key=losses.get)
    at = LADDER.index(best)
    if rates := [lr for lr in LADDER[max(at - 1, 0) : at + 2] if lr not in losses]:
        return rates, None
    if math.isinf(losses[best]):
        sys.exit(f"{folder.name}, {arm}: no run of the search came to its end")
    return [], best


def train(source: Path, out: Path) -> None:
    """The searches and the runs, a run as soon as its rate is known; one that diverges in the search is the worst."""

    def waiting() -> dict[Path, list[str]]:
        todo = {model: words for model, words in jobs(out).items() if not finished(model)}
        return {model: command(model, todo[model]) for model in sorted(todo, key=turn)}

    def turn(model: Path) -> tuple[bool, str]:
        return model.parent.name != "search", model.stem.rsplit("-", 1)[1]

    side_by_side(waiting)


def command(model: Path, words: list[str]) -> list[str]:
    model.parent.mkdir(exist_ok=True)
    log = ["--log-file", str(model.with_suffix(".jsonl"))]
    return ["lem-train", *words, "-q", "--save-every", "1000000", "--workers", workers(), *log, "-o", str(model)]


def finished(model: Path) -> bool:
    """A run is finished when its model is there and its state says so."""
    log = model.with_suffix(".jsonl")
    return model.exists() and log.exists() and '"held_out_loss"' in log.read_text()


def devices() -> list[str]:
    import torch

    return [str(i) for i in range(torch.cuda.device_count())] * PER or [""]


def workers() -> str:
    return str(max((os.cpu_count() or 1) // max(len(devices()), 1) - 1, 0)) if devices() != [""] else "0"


def side_by_side(waiting: Callable[[], dict[Path, list[str]]]) -> None:
    """Run the command of every file that is asked for, one at a time in every slot, and ask again whenever one has
    ended. Of a search a command may fail; that is put on record as FILE.failed."""
    free, busy, begun, started, todo = devices(), {}, time.time(), set(), waiting()
    while todo or busy:
        while todo and free:
            slot, made = free.pop(0), next(iter(todo))
            words = todo.pop(made)
            started.add(made)
            env = {**os.environ, "CUDA_VISIBLE_DEVICES": slot} if slot else dict(os.environ)
            busy[subprocess.Popen(words, env=env)] = (slot, words, made)
        for process in [p for p in busy if p.poll() is not None]:
            slot, words, made = busy.pop(process)
            free.append(slot)
            if process.returncode and made.parent.name == "search":
                made.with_suffix(".failed").touch()
            elif process.returncode:
                for other in busy:
                    other.terminate()
                sys.exit(f"failed: {shlex.join(words)}")
            todo = {made: words for made, words in waiting().items() if made not in started}
            name = f"{made.parent.name}/{made.name}"
            print(f"{time.time() - begun:.0f} s\t{len(todo) + len(busy)} to go\t{name}", file=sys.stderr, flush=True)
        time.sleep(0.2)


# --- recall


def recall(source: Path, out: Path) -> None:
    """OUT/SET/ARM-SEED.npz of every trained model: what it recalls of the test images' fragments, and at what cost."""
    names = [f"{arm}-{seed}" for arm in (*ARMS, ONLY, *CODES) for seed in SEEDS]
    models = [out / name / f"{run}.safetensors" for name in SETS for run in names]
    # the slow ones first
    models.sort(key=lambda m: ("order" not in m.name and "raster" not in m.name, m.parent.name != "cifar", m.name))
    recall_one = [sys.executable, __file__, "recall-one", str(source)]

    def waiting() -> dict[Path, list[str]]:
        return {m: [*recall_one, str(m)] for m in models if finished(m) and not m.with_suffix(".npz").exists()}

    side_by_side(waiting)


def recall_one(source: Path, path: Path) -> None:
    import torch

    from lemtools.nets.model import load
    from lemtools.reconstruct.learned import NetworkRecaller

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    folder, arm = path.parent, path.stem.rsplit("-", 1)[0]
    kept = {}
    if arm in CODES:
        from lemtools.signal import Signal

        codes = Signal("embedding", np.load(folder / "codes-test.npy"))
        for bits in BITS:
            (broken,) = broke(codes, f"--bits {bits}")
            kept[f"{bits} bits|one"] = NetworkRecaller(load(str(path)))(broken)[0].data
    else:
        whole = tests(folder)
        for name, spec in FRAGMENTS.items():
            (broken,) = broke(whole, spec)
            kept |= {f"{name}|{k}": v for k, v in one(path, broken, whole).items()}
    np.savez(path.with_suffix(".tmp.npz"), **kept)
    os.replace(path.with_suffix(".tmp.npz"), path.with_suffix(".npz"))


def one(path: Path, broken, whole) -> dict:
    """Of one network and one fragment: one draw of every item, the mean of DRAWS, bits, seconds, operations."""
    import torch

    from lemtools.fragment.evidence import evidence
    from lemtools.nets.condition import Condition
    from lemtools.nets.model import load
    from lemtools.reconstruct.learned import LEVELS, NetworkRecaller
    from lemtools.train.flops import flop_counter

    model = load(str(path), "cuda" if torch.cuda.is_available() else "cpu")
    draws = {} if model.family == "estimate" else {"samples": 1}
    NetworkRecaller(model, **draws)(broken.take(np.arange(1)))  # what is prepared once
    begun = time.perf_counter()
    single = NetworkRecaller(model, **draws)(broken)[0].data
    seconds = (time.perf_counter() - begun) / len(broken)
    means = {}
    if draws:
        many = NetworkRecaller(model, samples=DRAWS)(broken)[0].data
        means["mean"] = np.rint(many.reshape(len(broken), DRAWS, *many.shape[1:]).mean(1)).astype(np.uint8)
    condition = Condition.of(evidence(broken), model.scale, "image", next(model.net.parameters()).device)
    target = torch.from_numpy(whole.data).to(condition.value.dtype) / 127.5 - 1  # (CUDA would round otherwise)
    target = target.to(condition.value.device)
    with flop_counter() as counter, torch.inference_mode():
        part = condition.each(lambda t: t[:1])
        if model.family == "estimate":
            model.net(part)
        elif model.family == "sequence":
            model.net.log_prob(target[:1], part, model.net.orders([np.random.default_rng(0)]).to(target.device))
        else:
            model.net(target[:1], torch.full((1,), 0.5, dtype=torch.float64), part)
    flops = counter.get_total_flops() * (LEVELS if model.family == "denoise" else 1)
    out = {"one": single, **means, "seconds": seconds, "flops": flops, "parameters": model.parameters}
    return out | {"bits": surprise(model, target, condition)}


def surprise(model, target, condition) -> np.ndarray:
    """Bits a missing 8-bit value, given the fragment, of every item (its bits over the mean number of missing values,
    so that the mean is that of all values): exact for a sequence in one order an item, else a bound."""
    import torch

    from lemtools.denoise.bound import bound
    from lemtools.nets.denoiser import NetworkDenoiser
    from lemtools.rng import generator

    draws = [generator(0, i, 0, "bits") for i in range(len(target))]
    if model.family == "sequence":
        nats = []
        for k in range(0, len(target), 50):
            part = condition.each(lambda t: t[k : k + 50])
            order = model.net.orders(draws[k : k + 50]).to(target.device)
            with torch.inference_mode():
                nats.append(-model.net.log_prob(target[k : k + 50], part, order).double())
        unknown = float(model.net.unknown(condition).double().sum()) / len(target)
        return torch.cat(nats).cpu().numpy() / unknown / math.log(2)
    if model.family == "denoise":
        with torch.inference_mode():
            found = bound(
                NetworkDenoiser(model, condition),
                target,
                condition.low,
                condition.high,
                generators=draws,
                step=2 / 255,
                extent=(-1.0, 1.0),
            )
        return found.nats / found.unknown.mean() / math.log(2)
    return np.full(len(target), math.nan)


def broke(whole, spec: str):
    from lemtools.cli.train import operations
    from lemtools.fragment import fragment

    return list(fragment([whole], operations(spec), seed=1))


def tests(folder: Path):
    from lemtools.signal import Signal

    images = np.load(folder / "test.npy")
    return Signal("image", images[:, None] if images.ndim == 3 else np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


# --- tables


def table(source: Path, out: Path) -> None:
    """OUT/table.tsv, and printed: the rates searched, then every arm over the images and the seeds, beside the controls.
    What has not been recalled yet is left out."""
    import controls
    from lemtools.compare import Comparison, pair
    from lemtools.media import store
    from lemtools.signal import Signal

    metrics = os.environ.get("METRICS", " ".join(controls.METRICS)).split()

    def found(metrics: list[str], whole, back: np.ndarray, memories, fragments=None) -> list:
        if not metrics:
            return []
        comparison = Comparison(metrics, train=memories)
        for batch in pair([whole], [Signal("image", back)], "order", None if fragments is None else [fragments]):
            comparison.add(batch)
        return comparison.results()

    def measured(whole, broken, back, mean, memories) -> dict:
        (one,), (many,) = (found(["psnr"], whole, what, None, broken) for what in (back, mean))
        sets = {r.name: r.mean for r in found(metrics, whole, back, memories) if "_floor" not in r.name}
        return {"PSNR of one": one.values, "PSNR of mean": many.values, **sets}

    def originals(memories) -> list[dict]:
        """Floors, each of a set of as many training images as there are test images."""
        size = len(whole)
        parts = [Signal("image", memories[k * size : (k + 1) * size]) for k in range(SETS_OF_ORIGINALS)]
        distances = [metric for metric in metrics if metric.startswith("frechet")]
        each = [found(distances, part, part.data, None) for part in parts if len(part) == size]
        return [{r.name.replace("_floor", ""): r.mean for r in results if "_floor" in r.name} for results in each]

    with open(out / "table.tsv", "w") as file:

        def put(*cells):
            line = "\t".join(str(c) for c in cells)
            print(line, flush=True)
            file.write(line + "\n")

        for name in SETS:
            for arm in arms(out / name):
                losses = tried(out / name, arm)
                if losses:
                    best = min(losses, key=losses.get)
                    put(name, "rate", arm, best, "of", *(f"{lr} ({loss:.4g})" for lr, loss in losses.items()))
        head = None
        for name in SETS:
            folder = out / name
            whole, memories = tests(folder), store([str(folder / "train.npy")])
            ways, floors = controls.controls(memories, 0), originals(memories)
            for loss, spec in FRAGMENTS.items():
                (broken,) = broke(whole, spec)
                rows = {"originals": floors}
                for control, back, seconds in controls.recalled(ways, broken):
                    rows[control] = [measured(whole, broken, back, back, memories) | {"s/image": seconds}]
                    if control == "sample":  # its mean is the row above
                        del rows[control][0]["PSNR of mean"]
                for arm in [*ARMS, ONLY]:
                    rows[arm] = []
                    for path in recalled(folder, arm):
                        with np.load(path) as kept:
                            got = {k.split("|")[1]: kept[k] for k in kept.files if k.startswith(f"{loss}|")}
                        rows[arm].append(
                            measured(whole, broken, got["one"], got.get("mean", got["one"]), memories)
                            | {
                                "bits a missing value": got["bits"],
                                "s/image": float(got["seconds"]),
                                "GFLOP/image": float(got["flops"]) / 1e9,
                                "parameters": float(got["parameters"]),
                            }
                        )
                beside(rows)
                names = list(dict.fromkeys(k for r in rows.values() for row in r for k in row))
                if names != head:
                    put("set", "lost", "arm", *names)
                    head = names
                for arm, runs in rows.items():
                    if runs:
                        put(name, loss, arm, *(cell([row.get(k, math.nan) for row in runs]) for k in names))
        codes(out, put)


def beside(rows: dict[str, list[dict]]) -> None:
    """Add to every run, image by image, what its PSNR is more than that of one answer of feedforward."""
    if not rows["feedforward"]:
        return
    standard = np.mean([run["PSNR of one"] for run in rows["feedforward"]], axis=0)
    for arm, runs in rows.items():
        for run in runs:
            for what in ("one", "mean"):
                if f"PSNR of {what}" in run and arm != "feedforward":
                    run[f"{what}, more than feedforward"] = run[f"PSNR of {what}"] - standard


def recalled(folder: Path, arm: str) -> list[Path]:
    """What there is of an arm, a file a seed."""
    return [path for path in (folder / f"{arm}-{seed}.npz" for seed in SEEDS) if path.exists()]


def cell(runs: list) -> str:
    """Of a number a run, or of one an image a run: the mean, with its interval over images and deviation over runs."""
    from lemtools.compare.summary import mean_interval

    values = np.array([np.atleast_1d(run) for run in runs], np.float64)  # [seeds, images] or [seeds, 1]
    if np.isnan(values).all():
        return "-"
    mean, low, high = mean_interval(values.mean(0))
    text = f"{mean:.4g}" if low is None else f"{mean:.4g} [{low:.4g}, {high:.4g}]"
    return text + (f" +- {values.mean(1).std(ddof=1):.2g}" if len(runs) > 1 else "")


def codes(out: Path, put) -> None:
    """From fragmented embeddings: the embedding (NMSE, cosine) and the image (PSNR over all of it). Controls: decoding,
    the Gaussian conditional mean, and linear inversion of the whole embedding."""
    from lemtools.reconstruct import Reconstructor
    from lemtools.signal import Signal

    put("set", "fragment", "arm", "NMSE of the embedding", "cosine", "PSNR of the image")
    for name in SETS:
        folder = out / name
        pca, truth, whole = np.load(folder / "pca.npz"), np.load(folder / "codes-test.npy"), tests(folder).data
        gaussian = Reconstructor("gaussian", memory=np.load(folder / "codes-train.npy"), shrink="oas", device="cpu")

        def image(code):
            values = np.rint((code @ pca["axes"].T + pca["mean"]).clip(0, 1) * 255)
            values = values.reshape(len(code), *np.load(folder / "test.npy", mmap_mode="r").shape[1:])
            return values[:, None] if values.ndim == 3 else values.transpose(0, 3, 1, 2)

        def psnr(images):  # of every image
            error = ((images.astype(float) - whole) ** 2).reshape(len(whole), -1).mean(1)
            return 10 * np.log10(255**2 / error)

        def row(code):
            cosine = (code * truth).sum(1) / np.linalg.norm(code, axis=1) / np.linalg.norm(truth, axis=1)
            energy = (truth**2).sum(1).mean()  # so that the mean over images is the error of all over the energy of all
            return ((code - truth) ** 2).sum(1) / energy, cosine, psnr(image(code))

        put(name, "whole", "linear inversion", 0, 1, cell([psnr(image(truth))]))
        for bits in BITS:
            (broken,) = broke(Signal("embedding", truth), f"--bits {bits}")
            for control, code in (("decode", broken.data), ("gaussian", gaussian(broken).data)):
                put(name, f"{bits} bits", control, *(cell([v]) for v in row(code)))
            for arm in CODES:
                found = []
                for path in recalled(folder, arm):
                    with np.load(path) as kept:
                        got = kept[f"{bits} bits|one"]
                    found.append(row(got) if arm == "embedding" else (math.nan, math.nan, psnr(got)))
                if found:
                    put(name, f"{bits} bits", arm, *(cell([f[k] for f in found]) for k in range(3)))


def sheet(source: Path, out: Path) -> None:
    """OUT/sheet.png, two test images of every set and fragment: the whole, what is left, what every arm recalls (of
    any-order and diffusion one draw, then the mean)."""
    from PIL import Image

    rows = []
    for name in SETS:
        whole = tests(out / name)
        for loss, spec in FRAGMENTS.items():
            (broken,) = broke(whole, spec)
            for item in (0, 1):
                cells = [whole.data[item], broken.data[item]]
                for arm in [*ARMS, ONLY]:
                    with np.load(out / name / f"{arm}-{SEEDS[0]}.npz") as kept:
                        cells.append(kept[f"{loss}|one"][item])
                        if arm in ("any-order", "diffusion"):
                            cells.append(kept[f"{loss}|mean"][item])
                big = [np.broadcast_to(c, (3, *c.shape[1:])).transpose(1, 2, 0) for c in cells]
                room = [(34 - n) // 2 for n in whole.data.shape[-2:]]  # of 28 px as of 32
                margin = ((room[0], room[0]), (room[1], room[1]), (0, 0))
                rows.append(np.concatenate([np.pad(c, margin, constant_values=255) for c in big], 1))
    grid = Image.fromarray(np.concatenate(rows))
    grid.resize((2 * grid.width, 2 * grid.height), Image.NEAREST).save(out / "sheet.png")


if __name__ == "__main__":
    stages = {"data": data, "train": train, "recall": recall, "recall-one": recall_one, "table": table, "sheet": sheet}
    stages[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
