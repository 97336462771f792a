"""What survives for a machine's perception: what examples/perception.sh makes and measures. Usage: perception.py DATA OUT [STAGE ...]

Stages: fsdd (spoken digits and their speakers), cifar10, esc10, table. Of a set SET, OUT/SET holds

    whole.safetensors, labels.tsv   the memories that are judged (FSDD: all 480; ESC-10: all 400; CIFAR-10: the first test images)
    train.safetensors               of CIFAR-10, images to learn from, with labels
    conditions/NAME.safetensors     the memories decoded, recalled, or coded by a peer; NAME.npz: their bits and errors
    judges/TASK-ARM-FOLD-SEED.*     models of lem-train classifier, one for each part of a cross-validation, and seed
    judged/TASK-ARM.npz             what these see: classes int16 [seeds, conditions, items], -1 - class where it is the right one; deep,
                                    the cosine of the last layer's features to the original's [conditions, items], mean over seeds

Whatever is there is not made again, and a judge that was stopped goes on: so does the same command. Dials, in the environment:
SEEDS='0 1 2', DEVICE=cpu, JOBS=1 (judges that are taught side by side), ARMS='whole family' and TASKS=digit (all, where
not given), QUICK=1. A judge never learnt from what it judges: FSDD in four parts of two takes each, ESC-10 fold 5.
"""

import csv
import io
import itertools
import os
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

import lemtools
from lemtools.cli.fragment import losses
from lemtools.cli.train import cli as train
from lemtools.compare.distortion import psnr
from lemtools.compare.judged import Verdict, deep
from lemtools.compare.perceptual import ssim
from lemtools.compare.sound import log_spectral_distance, snr
from lemtools.encode.sound import Alike
from lemtools.fragment import fragment
from lemtools.nets.judge import Judge
from lemtools.reconstruct import Reconstructor
from lemtools.signal import Signal, bits_per_element
from lemtools.stream import whole_file

QUICK = bool(os.environ.get("QUICK"))
SEEDS = [int(seed) for seed in os.environ.get("SEEDS", "0" if QUICK else "0 1 2").split()]
DEVICE = os.environ.get("DEVICE", "cpu")
ARMS, TASKS = (os.environ.get(name, "").split() for name in ("ARMS", "TASKS"))
JOBS = int(os.environ.get("JOBS", "1"))
BLOCK = 1 << 16  # samples written at a time
SILENCE = 0.02  # seconds between sounds that are coded as one file
COLUMNS = 40  # images side by side in a sheet that is coded as one file

Rows = list[dict[str, str]]
Coder = Callable[["Set", list[Signal]], tuple[list[Signal], float]]


# --- files


def items(*paths: str) -> list[Signal]:
    """One by one."""
    return [batch.take([i]) for batch in lemtools.load(list(paths)) for i in range(len(batch))]


def read(which: "Set", folder: Path, name: str = "whole") -> list[Signal]:
    """The memories that are judged, those that are learnt from alone (rest), or those of a condition: sounds one by one, images as one
    batch."""
    path = str(folder / (f"{name}.safetensors" if name in ("whole", "rest") else f"conditions/{name}.safetensors"))
    return items(path) if which.kind == "audio" else list(lemtools.load(path, batch=1 << 20))


def forgotten(signal: Signal) -> Signal:
    """Without what was done to it, which a judge could be told by."""
    return replace(signal, history=[], cost=None)


def write(signals: list[Signal], path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # (that sounds of several lengths are a stream of documents)
        lemtools.save(signals, str(path))


def keep(path: Path, **arrays) -> None:
    with whole_file(str(path)) as file:
        np.savez(file, **arrays)


# --- the sets


@dataclass(frozen=True)
class Set:
    """kind: 'audio' or 'image'. tasks: columns of labels. parts: how many are judged, by judges of the others. options: of lem-train
    classifier, and updates of a judge, and both in --quick. depths: of the bits; scale: theirs. arms: what each learns from, conditions or options of
    lem-train. seconds: to which sounds are cut or filled for their judge."""

    name: str
    kind: str
    tasks: tuple[str, ...]
    parts: int
    items: Callable[[Path, Path], tuple[list[Signal], Rows]]
    options: tuple[str, str]
    updates: tuple[int, int]
    depths: range
    arms: dict[str, tuple[str, ...]]
    seconds: float = 0.0
    scale: str | None = None

    def updates_of(self, arm: str) -> int:
        """Of its judges: twice as many where several forms of a sound are learnt."""
        return self.updates[QUICK] * (2 if self.kind == "audio" and len(self.arms[arm]) > 1 else 1)


def fsdd(data: Path, out: Path) -> tuple[list[Signal], Rows]:
    sounds = items(*sorted(map(str, data.glob("*.flac"))))
    rows = []
    for sound in sounds:
        digit, speaker, _ = Path(sound.names[0]).stem.split("_")
        rows.append(
            {"name": sound.names[0], "part": str(take_of(sound) // 2), "digit": f"digit-{digit}", "speaker": speaker}
        )
    return sounds, rows


def take_of(sound: Signal) -> int:
    """The number of the take, of FSDD's names."""
    return int(Path(sound.names[0]).stem.split("_")[2])


def esc10(data: Path, out: Path) -> tuple[list[Signal], Rows]:
    """At 16 kHz. Part 0 is the data's fold 5, which is judged and comes first; the rest, part 1, is learnt."""
    with open(data / "esc10.csv", newline="") as file:
        table = sorted(csv.DictReader(file), key=lambda row: row["fold"] != "5")
    alike = Alike.read(True, 16000, "5")
    sounds = [alike.applied(one) for row in table for one in lemtools.load(str(data / row["file"]))]
    sounds = [replace(sound, names=[row["file"]]) for sound, row in zip(sounds, table)]
    return sounds, [
        {"name": row["file"], "part": "0" if row["fold"] == "5" else "1", "class": row["class"]} for row in table
    ]


def cifar10(data: Path, out: Path) -> tuple[list[Signal], Rows]:
    """The first 1,000 test images; beside them OUT/train.safetensors is written, of 50,000 (in --quick 300 and 5,000)."""
    from PIL import Image

    names = (data / "classes.txt").read_text().split()

    def images(split: str, count: int) -> Signal:
        sheets = (Image.open(data / f"{split}_{i:03d}.webp").convert("RGB") for i in range(-(-count // 500)))
        x = np.concatenate([np.asarray(sheet).reshape(-1, 32, 32, 3) for sheet in sheets])[:count]
        label = np.load(data / "labels.npz")[split][:count].astype(np.int64)
        words = [f"{names[k]}/{split}-{i:05d}" for i, k in enumerate(label)]
        return Signal("image", np.ascontiguousarray(x.transpose(0, 3, 1, 2)), label=label, names=words)

    if not (out / "train.safetensors").exists():
        write([images("train", 5000 if QUICK else 50_000)], out / "train.safetensors")
    test = images("test", 300 if QUICK else 1000)
    return [test], [{"name": name, "part": "0", "class": name.split("/")[0]} for name in test.names]


MEL = "--encoder log-mel --n-fft {} --hop {} --bands {} --rms .1 --set widths=[16,32,64] --set blocks=1"
LEARN = "--batch 32 --lr 2e-3 --ema .99 --holdout 0 --dtype bfloat16 --save-every 200"
SOUND_ARMS = {
    "whole": ("whole",),
    **{f"{how}-{bits}": (f"{how}-{bits}",) for bits in (1, 2) for how in ("decoded", "recalled", "remembered")},
    "all-1": ("whole", "decoded-1", "recalled-1", "remembered-1"),
    "family": tuple(f"decoded-{bits}" for bits in range(1, 9)),
}
WHOLE = "the judge of whole memories of the same part and seed"
EVERY = "those judges of every seed, each as a teacher"
ON = ("--init", WHOLE)  # it goes on, for as many updates again
IMAGES = "--augment flip --augment shift:.125 --lr 3e-3 --weight-decay .05 --holdout 0 --dtype bfloat16 --set "
LARGE = IMAGES + "widths=[32,64,128] --set blocks=2 --batch 256 --warmup 300 --ema .998"
SMALL = IMAGES + "widths=[16,32,64] --set blocks=1 --batch 64 --warmup 50 --ema .99"
IMAGE_ARMS = {
    "whole": ("whole",),
    "decoded-2": ("whole", "--fragment", "--bits 2"),
    "family": ("whole", "--fragment", "--bits 1-8"),
    "recalled-2": ("recalled-2",),
    "all-2": ("whole", "decoded-2", "recalled-2"),
    "tuned-2": ("whole", "--fragment", "--bits 2", EVERY, *ON),
    "again": ("whole", *ON),
}
SETS = [
    Set(
        *("fsdd", "audio", ("digit", "speaker"), 4, fsdd, (f"{MEL.format(256, 160, 40)} {LEARN}",) * 2, (400, 150)),
        depths=range(1, 9),
        arms=SOUND_ARMS,
        seconds=1.0,
        scale="peak",
    ),
    Set(
        *("cifar10", "image", ("class",), 1, cifar10, (LARGE, SMALL), (6000, 400)),
        depths=range(1, 8),
        arms=IMAGE_ARMS,
    ),
    Set(
        *("esc10", "audio", ("class",), 1, esc10, (f"{MEL.format(1024, 640, 40)} {LEARN}",) * 2, (400, 150)),
        depths=range(1, 9),
        arms={arm: learnt for arm, learnt in SOUND_ARMS.items() if arm in ("whole", "recalled-1", "family")},
        seconds=5.0,
        scale="peak",
    ),
]


# --- conditions: what is done to the memories


def broken(text: str, method: str) -> Coder:
    """Fragments, by options of lem-fragment, decoded or recalled."""

    return lambda which, whole: recalled(which, whole, text, Reconstructor(method))


def recalled(which: Set, whole: list[Signal], text: str, recall: Reconstructor) -> tuple[list[Signal], float]:
    scale = f" --scale {which.scale}" if which.scale and text.startswith("--bits") else ""
    out, first = [], 0
    for signal in whole:
        index = np.arange(first, first := first + len(signal), dtype=np.int64)
        (left,) = fragment([replace(signal, index=index)], losses(text + scale), 0)
        out.append(recall(left))
    return out, mean_bits(out)


def remembered(bits: int) -> Coder:
    """Recalled with the sounds of the other parts as a store, none of its own take."""

    def made(which: Set, whole: list[Signal]) -> tuple[list[Signal], float]:
        parts = np.array([take_of(signal) // 2 for signal in whole])
        out: list[Signal] = list(whole)
        for part in np.unique(parts):
            memory = [whole[i].data[0] for i in np.flatnonzero(parts != part)]
            here = np.flatnonzero(parts == part)
            found, _ = recalled(
                which, [whole[i] for i in here], f"--bits {bits}", Reconstructor("power", memory=memory)
            )
            for i, one in zip(here, found):
                out[i] = one
        return out, mean_bits(out)

    return made


def mean_bits(signals: list[Signal]) -> float:
    """Bits a value, over all values."""
    sizes = [np.prod(signal.whole_shape) for signal in signals]
    total = sum(float(bits_per_element(signal).sum()) * size for signal, size in zip(signals, sizes))
    return total / sum(len(signal) * size for signal, size in zip(signals, sizes))


def one_file(codec: str, quality: float) -> Coder:
    """Sounds in one Ogg file, silence between them, so that its headers hardly count; silence counts for nothing, its bits do."""

    def made(which: Set, whole: list[Signal]) -> tuple[list[Signal], float]:
        import soundfile

        rate = int(whole[0].rate)
        gap = np.zeros(round(SILENCE * rate), np.float32)
        line = np.concatenate([part for signal in whole for part in (gap, signal.data[0, 0])])
        file = io.BytesIO()
        how = {"format": "OGG", "subtype": codec, "compression_level": quality}
        with soundfile.SoundFile(file, "w", rate, 1, **how) as out_file:
            for at in range(0, len(line), BLOCK):  # libsndfile's Vorbis ends by a fault where it gets minutes at once
                out_file.write(line[at : at + BLOCK])
        size = file.tell()
        file.seek(0)
        back, _ = soundfile.read(file, dtype="float32")
        back = np.pad(back[: len(line)], (0, max(0, len(line) - len(back))))
        out, at = [], 0
        for signal in whole:
            at += len(gap)
            out.append(replace(signal, data=back[None, None, at : (at := at + signal.data.shape[-1])]))
        return out, 8 * size / sum(signal.data.size for signal in whole)

    return made


def one_sheet(form: str, quality: int) -> Coder:
    """Images on one sheet."""

    def made(which: Set, whole: list[Signal]) -> tuple[list[Signal], float]:
        from PIL import Image

        (signal,) = whole
        n, c, h, w = signal.data.shape
        rows = -(-n // COLUMNS)
        tiles = np.concatenate([signal.data, np.zeros((rows * COLUMNS - n, c, h, w), np.uint8)])
        sheet = tiles.reshape(rows, COLUMNS, c, h, w).transpose(0, 3, 1, 4, 2).reshape(rows * h, COLUMNS * w, c)
        file = io.BytesIO()
        Image.fromarray(sheet).save(file, form, quality=quality)
        back = np.asarray(Image.open(file).convert("RGB")).reshape(rows, h, COLUMNS, w, c).transpose(0, 2, 4, 1, 3)
        data = np.ascontiguousarray(back.reshape(-1, c, h, w)[:n])
        return [replace(signal, data=data)], 8 * file.tell() / signal.data.size

    return made


def every_condition(which: Set) -> dict[str, Coder]:
    """All but whole, in the order of the table."""
    ways = {"decoded": "decode", "recalled": "auto"}
    found = {f"{how}-{bits}": broken(f"--bits {bits}", way) for how, way in ways.items() for bits in which.depths}
    if which.parts > 1:
        found |= {f"remembered-{bits}": remembered(bits) for bits in (1, 2)}
    if which.kind == "image":
        for form in ("jpeg", "webp"):
            found |= {f"{form}-{q}": one_sheet(form, q) for q in (1, 5, 10, 20, 40, 60, 75, 90)}
        for share in (0.25, 0.5, 0.75):
            found |= {
                f"lost-{share}": broken(f"--mask {share}", "decode"),
                f"mended-{share}": broken(f"--mask {share}", "auto"),
            }
    else:
        found |= {f"opus-{q}": one_file("OPUS", q) for q in (1.0, 0.98, 0.96, 0.93, 0.9)}
        found |= {f"vorbis-{q}": one_file("VORBIS", q) for q in (1.0, 0.9, 0.7, 0.4, 0.0)}
        found |= {
            f"lost-{share}": broken(f"--mask {share} --mask-shape span:20ms", "decode") for share in (0.1, 0.3, 0.5)
        }
        found |= {f"noisy-{sigma}": broken(f"--noise {sigma}", "decode") for sigma in (0.003, 0.01, 0.03)}
    return found


def conditions(which: Set) -> dict[str, Coder]:
    """Those that are measured; in --quick every third of each kind, from the heaviest loss on."""
    found, some = every_condition(which), set()
    for kind in {name.split("-")[0] for name in found}:
        some.update([name for name in found if name.startswith(kind + "-")][::3])
    return {name: code for name, code in found.items() if not QUICK or name in some}


def make(which: Set, folder: Path, whole: list[Signal]) -> None:
    """The conditions that are not there yet, and their bits and errors."""
    (folder / "conditions").mkdir(exist_ok=True)
    for name, code in conditions(which).items():
        path = folder / f"conditions/{name}.safetensors"
        if not path.with_suffix(".npz").exists():
            made, bits = code(which, whole)
            write([forgotten(signal) for signal in made], path)
            keep(path.with_suffix(".npz"), bits=bits, **errors(which, whole, made))


def errors(which: Set, whole: list[Signal], made: list[Signal]) -> dict[str, np.ndarray]:
    """Of every item: PSNR and SSIM, or SNR in dB and the log-spectral distance in dB."""
    if which.kind == "image":
        metrics = {"psnr": lambda a, b: psnr(a, b, peak=255), "ssim": lambda a, b: ssim(a, b, peak=255)}
    else:
        metrics = {"snr": snr, "lsd": lambda a, b: log_spectral_distance(a, b, n_fft=256, hop=64)}
    pairs = list(zip(whole, made))
    return {name: np.concatenate([metric(a.data, b.data) for a, b in pairs]) for name, metric in metrics.items()}


# --- judges


def shown(which: Set, signals: list[Signal]) -> Signal:
    """What a judge is shown: sounds of one length."""
    if which.kind == "image":
        return signals[0]
    length = round(which.seconds * signals[0].rate)
    rows = [signal.data[0, :, :length] for signal in signals]
    data = np.stack([np.pad(row, ((0, 0), (0, length - row.shape[-1]))) for row in rows])
    return Signal("audio", data, rate=signals[0].rate, names=[signal.names[0] for signal in signals])


def arms(which: Set) -> list[str]:
    """Those of ARMS, and judges of whole memories, with which all are compared; in --quick these and a family of depths alone."""
    asked = ARMS or (("whole", "family") if QUICK else which.arms)
    return [arm for arm in which.arms if arm == "whole" or arm in asked]


def tasks(which: Set) -> list[str]:
    return [task for task in which.tasks if not TASKS or task in TASKS]


def place(folder: Path, task: str, arm: str, part: int, seed: int) -> Path:
    """Where a judge lies that learnt from the other parts."""
    return folder / f"judges/{task}-{arm}-{part}-{seed}.safetensors"


def teach(which: Set, folder: Path, rows: Rows) -> None:
    """Train the judges that are not there, JOBS at a time; after the others those that learn from a judge of whole memories."""
    lines: dict[bool, list[list[str]]] = {False: [], True: []}
    for task, arm, part in itertools.product(tasks(which), arms(which), range(which.parts)):
        updates = which.updates_of(arm)
        left = [seed for seed in SEEDS if not finished(place(folder, task, arm, part, seed), updates)]
        data = learning(which, folder, rows, task, arm, part) if left else []
        for seed in left:
            line = f"{which.options[QUICK]} --steps {updates} --seed {seed} --device {DEVICE} -q"
            whole = {one: str(place(folder, task, "whole", part, one)) for one in SEEDS}
            stands = {WHOLE: [whole[seed]], EVERY: [word for one in whole.values() for word in ("--teacher", one)]}
            words = [given for word in data for given in stands.get(word, [word])]
            output = str(place(folder, task, arm, part, seed))
            lines[words != data].append(["classifier", *line.split(), *words, "-o", output])
    (folder / "judges").mkdir(exist_ok=True)
    for some in lines.values():
        side_by_side(taught, some)


def side_by_side(work: Callable, jobs: list) -> list:
    """What `work` makes of each, JOBS of them at a time."""
    if JOBS == 1:
        return [work(job) for job in jobs]
    with ProcessPoolExecutor(JOBS, get_context("spawn")) as pool:
        return list(pool.map(work, jobs))


def changed(job: tuple[str, str, Signal]) -> Signal:
    """Of (set, condition, images): what the condition makes of them."""
    name, condition, images = job
    which = next(which for which in SETS if which.name == name)
    return forgotten(every_condition(which)[condition](which, [images])[0][0])


def taught(line: list[str]) -> None:
    train.main(line, "lem-train", standalone_mode=False)


def finished(path: Path, updates: int) -> bool:
    """Whether a judge has made all its updates."""
    return path.exists() and Judge(str(path), "cpu").meta["step"] == updates


def learning(which: Set, folder: Path, rows: Rows, task: str, arm: str, part: int) -> list[str]:
    """Options of lem-train: what an arm learns from, a file a condition; of sounds, those of the other parts."""
    learnt = [word for word in which.arms[arm] if word in ("whole", *every_condition(which))]
    options = [word for word in which.arms[arm] if word not in learnt]
    (folder / "learnt").mkdir(exist_ok=True)
    if which.kind == "image":
        whole = folder / "train.safetensors"
        paths = {name: whole if name == "whole" else folder / f"learnt/{name}.safetensors" for name in learnt}
        for name, path in paths.items():
            if not path.exists():
                write(
                    side_by_side(changed, [(which.name, name, b) for b in lemtools.load(str(whole), batch=1000)]), path
                )
        return [*(word for path in paths.values() for word in ("--data", str(path))), "--labels", "folder", *options]
    paths = {name: folder / f"learnt/{name}-{part}.safetensors" for name in learnt}
    if not all(path.exists() for path in paths.values()):
        others = [one for one, row in zip(read(which, folder), rows) if row["part"] != str(part)]
        others += read(which, folder, "rest") if (folder / "rest.safetensors").exists() else []
        for name, path in paths.items():
            if not path.exists():
                made = others if name == "whole" else every_condition(which)[name](which, others)[0]
                write([shown(which, [forgotten(one) for one in made])], path)
    data = [word for path in paths.values() for word in ("--data", str(path))]
    return [*data, "--labels", f"{folder / 'labels.tsv'}:{task}"]


def judge(which: Set, folder: Path, rows: Rows, task: str, arm: str) -> None:
    """Classes that the judges see in every condition, each item by the judge that did not learn from it; features alike."""
    path = folder / f"judged/{task}-{arm}.npz"
    path.parent.mkdir(exist_ok=True)
    names = ["whole", *conditions(which)]
    if path.exists():
        there = np.load(path)
        if there["seeds"].tolist() == SEEDS and there["conditions"].tolist() == names:
            return
    parts = np.array([int(row["part"]) for row in rows])
    classes = np.zeros((len(SEEDS), len(names), len(rows)), np.int16)
    cosines = np.zeros((len(names), len(rows)))
    seen = {name: shown(which, read(which, folder, name)) for name in names}
    for seed, part in itertools.product(SEEDS, range(which.parts)):
        one = Judge(str(place(folder, task, arm, part, seed)), DEVICE)
        here = np.flatnonzero(parts == part)
        truth = one.numbers([rows[i][task] for i in here])
        original = one(which.kind, seen["whole"].data[here], seen["whole"].rate)
        for k, name in enumerate(names):
            found = one(which.kind, seen[name].data[here], seen[name].rate)
            classes[SEEDS.index(seed), k, here] = np.where(found.classes == truth, -1 - found.classes, found.classes)
            cosines[k, here] += deep(truth, truth, Verdict(original, found, truth), one.net.count) / len(SEEDS)
    keep(path, conditions=names, seeds=SEEDS, classes=classes, deep=cosines)


def run(which: Set, data: Path, out: Path) -> None:
    source, folder = data / which.name, out / which.name
    if not source.is_dir():
        print(f"{which.name}: skipped, no {source}")
        return
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "whole.safetensors").exists():
        memories, rows = which.items(source, folder)
        table = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
        (folder / "labels.tsv").write_text("\n".join(table) + "\n")
        if rest := [one for one, row in zip(memories, rows) if int(row["part"]) >= which.parts]:
            write(rest, folder / "rest.safetensors")
        write(memories[: len(memories) - len(rest)], folder / "whole.safetensors")
    with open(folder / "labels.tsv", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if int(row["part"]) < which.parts]
    make(which, folder, read(which, folder))
    teach(which, folder, rows)
    for task, arm in itertools.product(tasks(which), arms(which)):
        judge(which, folder, rows, task, arm)
    print(f"{which.name}: done", flush=True)


def main() -> None:
    data, out, *stages = sys.argv[1:]
    known = {which.name: which for which in SETS}
    for stage in stages or [*known, "table"]:
        if stage == "table":
            from perception_table import tables

            tables(SETS, Path(out))
        elif stage in known:
            run(known[stage], Path(data), Path(out))
        else:
            sys.exit(f"perception.py: no stage {stage}; there are {', '.join(known)}, table")


if __name__ == "__main__":
    main()
