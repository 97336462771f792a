"""Machines against networks of sounds, the stages of els-audio.sh: `python els_audio.py STAGE DATA OUT`.

Asked: which equivariance has the machine that predicts a diffusion network of spectra: of both axes, of time alone, of
frequency alone, or none? And does it know more than the best linear filter of the same window?

The primary cell was fixed before it was run: SET fsdd, complex spectra, network a, whole samples, the machine at 20 steps
against the network at 20 and at 150, Pearson r of `both` less r of `linear`, paired over seeds, in each of 3 training seeds.
All else is secondary. Prediction: (a) both, (b) time, (c) between, none at high noise.

sounds    OUT/REP.bank.safetensors: the spectra, and REP.held.safetensors, those of sounds that no network learns from.
          fsdd: takes 2-7, held out 0-1, 8 kHz, the first .248 s as 65 x 32. esc10: folds 1-4, held out 5, the middle second of
          each clip at 22.05 kHz as 257 x 87; SIZE=els-audio: at 44.1 kHz as 513 x 173. folder: as esc10, every fifth sound held out; shorter ones
          get silence behind them and other rates are resampled, with a note
train     OUT/REP-NET-SEED.safetensors
sizes     OUT/REP-NET-SEED-MACHINE.txt: rectangles, calibrated on seeds 1000-1001 for each machine by itself, by whole samples;
          BY=cosine: step by step. Of a first run with sides 3-11, step by step, the choice ended at 3; with sides from 1 it
          agreed better at every step of the network's path, and less in whole samples. Hence by whole samples, which is
          what the primary cell asks
compare   OUT/REP-NET-SEED.jsonl: r, R^2 and mse of every seed, on the field, its magnitude, and the sound
along     OUT/REP-NET-SEED-along.jsonl: r of x0 and of the noise at every step of the network's own path
hear      OUT/hear: five seeds of network and machine as WAV and spectrograms, and whether samples copy training sounds
trace     of one sample of `both`, from which clip, frequency and time its loudest places come
table     prints it all, and OUT/table.tsv, of each network and over its runs; `another run` is the network of another training seed in place of a machine. If
          runs scatter by chance about what the network tends to, a formula that gave just that would agree with each
          run at the root of this r, and none can be asked for more

REPS: complex; root, |c|^.5 with its phase; log, the logarithm of the magnitude, standardised; morlet, complex Morlet
wavelets, 12 an octave from 100 Hz up, every 64th sample (of SET esc10: 24 from 50 Hz, every 256th), where a step of rows is a
transposition; it cannot be decoded, so nothing is heard. NETS: a, a ResNet of about
20,000 parameters with zero padding, whose window is 11 (257 rows and more: 17); b, the same with a plane that tells the row; c, a UNet;
d, as a, circular in time; w, as a, 128 wide and trained twice as long. A network's window tells it the frequency in b alone, or where it reaches an end.

Environment: SET, REPS (complex), NETS (a b c d), RUNS (0 1 2, the training seeds), STEPS (6000) and BATCH (32) of training,
SIDES of the patches that are tried (1,3-11), MACHINES, SEEDS of both and freq (10), DEVICE. QUICK=1: NETS a, RUNS 0, STEPS 1200, BATCH 8, 10 seeds, the sizes of QUICK_SIZES.
"""

import hashlib
import json
import math
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

import numpy as np

from lemtools.compare.summary import student_t
from lemtools.signal import LemError

ENV = os.environ
QUICK = ENV.get("QUICK") == "1"
SET, SIZE = ENV.get("SET", "fsdd"), ENV.get("SIZE", "")
REPS, RUNS = ENV.get("REPS", "complex").split(), ENV.get("RUNS", "0" if QUICK else "0 1 2").split()
NETS = ENV.get("NETS", "a" if QUICK else "a b c d").split()
STEPS, BATCH = (int(ENV.get(k, v)) for k, v in (("STEPS", 1200 if QUICK else 6000), ("BATCH", 8 if QUICK else 32)))
KNOWN = {  # what the environment may ask for
    "SET": "fsdd esc10 folder",
    "REPS": "complex root log morlet",
    "NETS": "a b c d w",
    "MACHINES": "both time freq none linear linear-time linear-freq linear-none is wiener",
}
SIDES, DEVICE = ENV.get("SIDES", "1,3-11"), ENV.get("DEVICE", "auto")
MACHINES = ENV.get("MACHINES", "both linear time freq none linear-time is wiener").split()
SEEDS = dict.fromkeys(("both", "freq"), range(int(ENV.get("SEEDS", 10))))  # of --against; the rest have OTHERS
OTHERS = range(10) if QUICK else range(30)
TRIES, BY = "1000-1001", ENV.get("BY", "sample")
NET_STEPS = 20, 150
HEARD_OF = "complex", "root"  # what can be decoded
HEARD = 5  # seeds of which the machines' samples are kept
QUICK_SIZES = {  # as they were found for complex-a-0, of 5, 5, 5, 3 and 2 steps, low noise first
    "both": "3x1 3x5 5x3 3x5 3x1",
    "linear": "5x11 3x11 5x11 5x11 5x11",
    "time": "3x1 11 3x5 11 1",
    "freq": "3x1 11 5x3 5x3 3x1",
    "none": "3x1 5x1 3x5 11 1x7",
    "linear-time": "3x5 7x9 7x11 7x11 1",
}
RATE = 22050  # Hz, of clips that are no digits
SECONDS = 22016 / RATE
SETS = {  # lem-encode's settings
    "fsdd": ["--n-fft", 128, "--hop", 64, "--length", 0.248],
    "esc10": ["--n-fft", 512, "--hop", 256, "--length", SECONDS],
    "els-audio": ["--preset", "els-audio"],
}
MORLET = {
    "fsdd": ["--voices", 12, "--lowest", 100, "--hop", 64, "--length", 0.248],
    "esc10": ["--voices", 24, "--lowest", 50, "--hop", 256, "--length", SECONDS],
}


def fail(text: str) -> NoReturn:
    print(f"els_audio.py: error: {text}", file=sys.stderr)
    sys.exit(2)


def check(stage: str) -> None:
    """Refuse what is not known before any work: a misspelt word would else be taken for something else, or fail late."""
    asked = {"SET": [SET], "REPS": REPS, "NETS": NETS, "MACHINES": MACHINES}
    for name, words, known in [("stage", [stage], " ".join(STAGES))] + [(k, asked[k], KNOWN[k]) for k in asked]:
        for word in words:
            if word not in known.split():
                fail(f"{name} {word} is none of {known}")


def command(*words, **more) -> subprocess.CompletedProcess:
    return subprocess.run([str(w) for w in words], check=True, stdin=subprocess.DEVNULL, **more)


def digest(path: Path) -> str:
    if not path.exists():
        fail(f"{path}: no such file; an earlier stage makes it")
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make(path: Path, settings, inputs: list[Path], work) -> None:
    """Do the work that makes a file, unless its note tells the same settings and contents of inputs."""
    note = path.with_name(path.name + ".made")
    told = json.dumps({"settings": settings, "inputs": {p.name: digest(p) for p in inputs}}, default=str)
    if path.exists() and note.exists() and note.read_text() == told:
        return
    note.unlink(missing_ok=True)
    work()
    note.write_text(told)


def sources(data: Path, out: Path) -> dict[str, list[Path]]:
    """{bank, held: files}, ascending. out: where no sound is taken from, though it lie in the folder."""
    if SET == "fsdd":
        found = {
            part: sorted((data / "fsdd").glob(f"*_[{takes}].flac")) for part, takes in (("bank", "2-7"), ("held", "01"))
        }
    elif SET == "esc10":
        clips = sorted((data / "esc10").glob("*/*.ogg"))
        found = {"bank": [p for p in clips if p.name[0] != "5"], "held": [p for p in clips if p.name[0] == "5"]}
    else:  # every fifth is held out
        every = (p for p in data.rglob("*") if out.resolve() not in p.resolve().parents)
        clips = sorted(p for p in every if p.suffix.lower() in (".wav", ".flac", ".ogg"))
        found = {"bank": [p for i, p in enumerate(clips) if i % 5], "held": clips[::5]}
    if not all(found.values()):
        fail(f"{data}: no sounds of {SET} there, or one alone; SET is fsdd, esc10 or folder")
    return found


def middles(paths: list[Path], folder: Path, seconds: float) -> list[Path]:
    """The middle of longer sounds, as WAV, each under a name of its own. Silent ones are left out where all are brought to one loudness."""
    from lemtools import save
    from lemtools.media import load
    from lemtools.signal import Signal

    folder.mkdir(exist_ok=True)
    out: list[Path] = []
    short, silent, rates = 0, 0, set()
    for path in paths:
        (clip,) = load([str(path)])
        short, rates = short + (clip.data.shape[-1] < SECONDS * clip.rate), rates | {clip.rate}
        length = round(seconds * clip.rate)
        start = max(0, (clip.data.shape[-1] - length) // 2)
        middle = np.ascontiguousarray(clip.data[..., start : start + length])
        if SIZE and not middle.any():
            silent += 1
            continue
        name = folder / f"{path.stem}.wav"
        out.append(name if name not in out else folder / f"{path.stem}-{len(out)}.wav")
        save([Signal("audio", middle, rate=clip.rate)], str(out[-1]))
    if silent:
        print(f"els_audio.py: {folder.name}: {silent} of {len(paths)} sounds are silent and left out", file=sys.stderr)
    if not SIZE and (short or rates != {RATE}):
        told = f"{short} of {len(paths)} sounds are shorter than {SECONDS:.3f} s and get silence behind them"
        print(f"els_audio.py: {folder.name}: {told}; all are brought to {RATE} Hz", file=sys.stderr)
    return out


def sounds(data: Path, out: Path) -> None:
    for part, paths in sources(data, out).items():
        which = "els-audio" if SIZE == "els-audio" else "esc10" if SET == "folder" else SET
        for rep in REPS:
            target = out / f"{rep}.{part}.safetensors"
            if rep == "morlet" and which not in MORLET:
                fail(f"no wavelets of SIZE {which}; leave morlet out of REPS")
            encoder = ["morlet", *MORLET[which]] if rep == "morlet" else ["stft", *SETS[which]]
            words = ["lem-encode", "-q", "--encoder", *encoder]
            words += [] if SET == "fsdd" else ["--mono", *([] if SIZE else ["--resample", RATE])]
            words += ["--compress", 0.5] if rep == "root" else []

            def work() -> None:
                files = paths if SET == "fsdd" else middles(paths, out / f"{part}-middles", 1.2)
                (out / f"{part}.txt").write_text("".join(f"{path}\n" for path in files))
                command(*words, "--files-from", out / f"{part}.txt", "-o", target)
                if rep == "log":
                    logarithms(target, out / "log.bank.safetensors")

            make(target, [rep, *words], paths, work)


def logarithms(path: Path, bank: Path) -> None:
    """The logarithms of the magnitudes of complex spectra, in place of them, less the bank's mean and over its deviation; 60 dB
    below the bank's rms is the floor."""
    from lemtools import save
    from lemtools.media import load
    from lemtools.signal import Signal

    batches = list(load([str(path)]))
    data = np.concatenate([b.data for b in batches])
    power = data[:, 0::2] ** 2 + data[:, 1::2] ** 2
    memo = bank.with_suffix(".json")
    if path == bank:
        floor = 1e-6 * float(power.mean())
        x = 0.5 * np.log(np.maximum(power, floor))
        memo.write_text(json.dumps([floor, float(x.mean()), float(x.std())]))
    floor, mean, std = json.loads(memo.read_text())
    x = (0.5 * np.log(np.maximum(power, floor)) - mean) / std
    save(
        [Signal("spectrum", x.astype(np.float32), rate=batches[0].rate, names=[n for b in batches for n in b.names])],
        str(path),
    )


def networks(out: Path):
    """(name, representation, kind, training seed, bank, file)."""
    for rep in REPS:
        for net in NETS:
            for run in RUNS:
                name = f"{rep}-{net}-{run}"
                yield name, rep, net, run, out / f"{rep}.bank.safetensors", out / f"{name}.safetensors"


def train(data: Path, out: Path) -> None:
    depth = 3 if SET == "fsdd" else 6
    shapes = {
        "a": ["--arch", "resnet", "--width", 24 if depth == 3 else 20, "--depth", depth],
        "c": ["--arch", "unet", "--set", "widths=[16,32,48]"],
    }
    shapes["w"] = ["--arch", "resnet", "--width", 128, "--depth", depth]
    shapes["b"], shapes["d"] = [*shapes["a"], "--set", "coordinates=frequency"], shapes["a"]
    for _, _, net, run, bank, file in networks(out):
        words = ["lem-train", "diffusion", "-q", "--data", bank, *shapes[net], "--holdout", 0, "--seed", run]
        words += ["--padding", "zeros,circular"] if net == "d" else []
        words += [
            "--steps",
            2 * STEPS if net == "w" else STEPS,
            "--batch",
            BATCH,
            "--lr",
            2e-3,
            "--ema",
            0.99 if QUICK else 0.999,
        ]
        make(file, words[4:], [bank], lambda: command(*words, "--save-every", STEPS, "--dtype", "float32", "-o", file))


def machine(name: str) -> tuple[str, str]:
    """(machine of lem-els, equivariance), as in linear-time."""
    first, _, second = name.partition("-")
    return first, second or "both"


def scales(out: Path, name: str, which: str) -> Path:
    return out / f"{name}-{which}.txt"


def sizes(data: Path, out: Path) -> None:
    for name, _, _, _, bank, file in networks(out):
        for which in MACHINES:
            asked, equivariance = machine(which)
            if asked in ("is", "wiener"):
                continue
            target = scales(out, name, which)
            if QUICK:
                shared = zip(QUICK_SIZES[which].split(), (5, 5, 5, 3, 2))
                target.write_text("".join(f"{size}\n" * steps for size, steps in shared))
                continue
            words = [
                "lem-els",
                "-q",
                "--bank",
                bank,
                "--calibrate",
                file,
                "--rectangles",
                "--by",
                BY,
                "--seeds",
                TRIES,
                "--machine",
                asked,
            ]
            words += ["--equivariance", equivariance] if asked == "linear" else []
            words += ["--sizes", SIDES, "--device", DEVICE, "-o", target]
            make(target, words, [bank, file], lambda: command(*words))


def study(out: Path, name: str, which: str, bank: Path):
    """How a machine is asked, with its own sizes."""
    from lemtools.dreams.resources import Resources
    from lemtools.dreams.study import Study
    from lemtools.els.prepare import bank as banked
    from lemtools.els.scales import parse_sizes

    asked, equivariance = machine(which)
    own = None if asked in ("is", "wiener") else parse_sizes(str(scales(out, name, which)), 20)
    return asked, Study(banked([str(bank)]), own, resources=Resources(DEVICE, 1 << 32), equivariance=equivariance)


def compare(data: Path, out: Path) -> None:
    from lemtools.dreams.against import scores
    from lemtools.media import load
    from lemtools.transforms.history import front

    for name, rep, _, _, bank, file in networks(out):
        target = out / f"{name}.jsonl"
        used = [bank, file, *(p for p in (scales(out, name, which) for which in MACHINES) if p.exists())]

        def work() -> None:
            kept, decode = {}, None
            if rep in HEARD_OF:
                decode = front(next(iter(load([str(bank)]))).history).decode
            lines = []
            for which in MACHINES:
                asked, how = study(out, name, which, bank)
                for batch in how.against([asked], str(file), list(SEEDS.get(which, OTHERS)), NET_STEPS):
                    (found,) = batch.machines.values()
                    for steps, truth in batch.network.items():
                        values = scores(truth, found, how.bank.alive, how.bank.complex)
                        if decode:
                            scale = how.like(str(file)).bank.scale
                            heard = [decode(scale.decode(x.float()).numpy()) for x in (truth, found)]
                            values["r-sound"] = [float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for a, b in zip(*heard)]
                        for k, seed in enumerate(batch.seeds):
                            lines.append(
                                {
                                    "network": name,
                                    "machine": which,
                                    "net_steps": steps,
                                    "seed": seed,
                                    **{m: float(v[k]) for m, v in values.items()},
                                }
                            )
                            kept[f"network-{steps}-{seed}"] = truth[k].numpy()
                            if seed < HEARD:
                                kept[f"{which}-{seed}"] = found[k].numpy()
            np.savez_compressed(out / f"{name}-samples.npz", **kept)
            target.write_text("".join(json.dumps(line) + "\n" for line in lines))

        make(target, [MACHINES, len(SEEDS["both"]), len(OTHERS), NET_STEPS], used, work)


def along(data: Path, out: Path) -> None:
    for name, _, _, _, bank, file in networks(out):
        target = out / f"{name}-along.jsonl"
        used = [bank, file, *(p for p in (scales(out, name, which) for which in MACHINES) if p.exists())]

        def work() -> None:
            lines = []
            for which in MACHINES:
                asked, how = study(out, name, which, bank)
                for seeds, found in how.along([asked], str(file), list(range(3 if QUICK else 10))):
                    for (_, t, metric), values in found.items():
                        lines += [
                            {"machine": which, "t": t, "metric": metric, "seed": s, "value": float(v)}
                            for s, v in zip(seeds, values)
                        ]
            target.write_text("".join(json.dumps(line) + "\n" for line in lines))

        make(target, MACHINES, used, work)


def hear(data: Path, out: Path) -> None:
    """Sounds, spectrograms and copies, of the first training run of each network."""
    from dataclasses import replace

    from lemtools import save
    from lemtools.dreams.study import Study
    from lemtools.els.prepare import bank as banked
    from lemtools.media import load

    (out / "hear").mkdir(exist_ok=True)
    for name, rep, net, run, bank, file in networks(out):
        if run != RUNS[0] or rep not in HEARD_OF:
            continue
        first = next(iter(load([str(bank)]))).take(slice(0, 1))
        scale = Study(banked([str(bank)])).like(str(file)).bank.scale
        held = next(iter(load([str(out / f"{rep}.held.safetensors")], batch=HEARD))).take(slice(0, HEARD))
        originals = out / "hear" / f"{rep}-held.safetensors"
        save([replace(held, names=None)], str(originals))
        with np.load(out / f"{name}-samples.npz") as kept:
            for which in ("network-20", *(m for m in MACHINES if f"{m}-0" in kept)):
                x = scale.decode(np.stack([kept[f"{which}-{seed}"] for seed in range(HEARD)]))
                names = [f"{rep}-{net}-seed-{seed}-{which}" for seed in range(HEARD)]
                target = out / "hear" / f"{rep}-{net}-{which}.safetensors"
                save(
                    [replace(first, data=x.astype(np.float32), names=names, label=None, index=np.arange(HEARD))],
                    str(target),
                )
                command("lem-encode", "-q", "--decode", target, "-o", f"{out / 'hear'}/")
                copies = command(
                    "lem-compare",
                    "--metric",
                    "nearest",
                    "--metric",
                    "memorised",
                    "--train",
                    bank,
                    originals,
                    target,
                    stdout=subprocess.PIPE,
                )
                print(f"{rep}-{net}\t{which}\t" + copies.stdout.decode().strip().replace("\n", "\t"))
        one, other = (out / "hear" / f"{rep}-{net}-{which}.safetensors" for which in ("network-20", MACHINES[0]))
        command(
            "lem-compare",
            "--metric",
            "nmse",
            "--pair",
            "order",
            "--plot",
            out / "hear" / f"{rep}-{net}.png",
            one,
            other,
            stdout=subprocess.PIPE,
        )


def trace(data: Path, out: Path) -> None:
    """The eight loudest places of seed 0 of `both`, for the first training run of each network."""
    from safetensors.numpy import load_file

    for name, _, _, run, bank, file in networks(out):
        target = out / f"{name}-trace.png"
        if run != RUNS[0]:
            continue
        sizes_, words = scales(out, name, "both"), ["lem-els", "-q", "--bank", bank, "--machine", "both", "--seeds", 0]
        words += ["--network", file, "--scales", sizes_, "--device", DEVICE, "--explain", target]
        make(target, words[1:], [bank, file, sizes_], lambda: command(*words, stdout=subprocess.DEVNULL))
        found = load_file(target.with_suffix(".safetensors"))
        ends, text = found["source.names.offsets"], found["source.names.utf8"].tobytes().decode()
        clips = dict(zip(found["source"].tolist(), (text[a:b] for a, b in pairwise(ends))))
        hz, ms = found["row.hz"], found["column.ms"]
        print("sample\tHz\tms\tcomes from\tHz\tms\tweight")
        loud = np.abs(found["sample"][0]).max(0)
        for place in loud.ravel().argsort()[::-1][:8]:
            r, c = np.unravel_index(place, loud.shape)
            image, row, column = (int(found[key][0, r, c]) for key in ("image", "row", "column"))
            there = f"{clips.get(image, image)}\t{hz[row]:.0f}\t{ms[column]:.0f}"
            print(f"{name} seed 0\t{hz[r]:.0f}\t{ms[c]:.0f}\t{there}\t{found['weight'][0, r, c]:.2f}")


def another(out: Path, rep: str, net: str, run: str, steps: int) -> list[float]:
    """r of every seed between the network's sample and those of the same network in other training runs, their mean."""
    paths = [out / f"{rep}-{net}-{other}-samples.npz" for other in (run, *(o for o in RUNS if o != run))]
    if len(paths) < 2 or not all(path.exists() for path in paths):
        return []
    runs = [np.load(path) for path in paths]
    keys = [key for key in runs[0].files if key.startswith(f"network-{steps}-")]
    alive = np.any([runs[0][k] != 0 for k in keys], 0)  # what is 0 for every sound does not count
    return [float(np.mean([np.corrcoef(runs[0][k][alive], o[k][alive])[0, 1] for o in runs[1:]])) for k in keys]


def interval(values) -> str:
    """Mean and 95 % t-interval over seeds."""
    x = np.asarray(values, float)
    x = x[np.isfinite(x)]
    half = student_t(0.95, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x)) if len(x) > 1 else math.nan
    return f"{x.mean():.3f} [{x.mean() - half:.3f}, {x.mean() + half:.3f}]"


def table(data: Path, out: Path) -> None:
    rows = [row for name, rep, net, run, *_ in networks(out) for row in rows_of(out, name, rep, net, run)]
    lines = [
        "\t".join([*head, *(f"{label} {interval(values)}".strip() for label, values in cells)]) for head, cells in rows
    ]
    over: dict[tuple[str, ...], list[list[tuple[str, float]]]] = {}  # of the runs of a network
    for (name, *head), cells in rows:
        means = [(label, float(np.nanmean(values))) for label, values in cells]
        over.setdefault((name.rpartition("-")[0], *head), []).append(means)
    for head, runs in over.items():
        cells = []
        for column in zip(*runs) if len(runs) > 1 else ():
            values = [value for _, value in column]
            cells.append(f"{column[0][0]} {np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})".strip())
        lines += ["\t".join([*head, *cells, f"{len(runs)} runs"])] if cells else []
    if not lines:
        fail(f"{out}: nothing is compared there; run the stages before table")
    text = "\n".join(lines) + "\n"
    (out / "table.tsv").write_text(text)
    print(text, end="")


def rows_of(out: Path, name: str, rep: str, net: str, run: str):
    """What there is of a network, as ((name, ...), [(label, a value a seed)])."""
    if not (out / f"{name}.jsonl").exists():
        return
    rows = [json.loads(line) for line in (out / f"{name}.jsonl").read_text().splitlines()]
    r = {(row["machine"], row["net_steps"], row["seed"]): row["r"] for row in rows}
    for steps in NET_STEPS:
        pairs = [(r[k], r["linear", steps, k[2]]) for k in r if k[:2] == ("both", steps) and ("linear", *k[1:]) in r]
        if pairs:
            yield (name, str(steps), "both less linear"), [("", [a - b for a, b in pairs])]
        if same := another(out, rep, net, run, steps):
            yield (name, str(steps), "another run", f"{len(same)} seeds"), [("r", same)]
        for which in MACHINES:
            mine = [row for row in rows if row["machine"] == which and row["net_steps"] == steps]
            if mine:
                known = [m for m in ("r", "r-magnitude", "r-sound", "R^2", "mse") if m in mine[0]]
                cells = [(m, [row[m] for row in mine]) for m in known]
                yield (name, str(steps), which, f"{len(mine)} seeds"), cells
    if (path := out / f"{name}-along.jsonl").exists():
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for t in (0.9, 0.65, 0.4, 0.15):
            for metric in ("r-x0", "r-eps"):
                at = [row for row in rows if row["metric"] == metric and abs(row["t"] - t) < 1e-3]
                by = [(which, [row["value"] for row in at if row["machine"] == which]) for which in MACHINES]
                yield (name, f"t {t}", metric), [(which, values) for which, values in by if values]


STAGES = {f.__name__: f for f in (sounds, train, sizes, compare, along, hear, trace, table)}

if __name__ == "__main__":
    stage, data_, out_ = sys.argv[1:]
    check(stage)
    Path(out_).mkdir(parents=True, exist_ok=True)
    try:
        STAGES[stage](Path(data_), Path(out_))
    except LemError as error:
        fail(str(error))
    except subprocess.CalledProcessError as error:  # which has said why
        sys.exit(error.returncode)
