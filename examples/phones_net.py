"""A network that moves boundaries of phones: learnt on German speakers, measured on others. `python phones_net.py WHAT DATA OUT`.

prepare    from DATA/emodb OUT/sounds/SPEAKER/SENTENCE/ID.wav with its labels beside it (ID.lab), and where the aligner puts the
           boundaries, OUT/aligned/ID.lab
folds      OUT/fold-K-SEED.safetensors, learnt from all speakers but two, by lem-train phones, and their table: every clip by the network
           that has not heard its speaker
controls   the first fold once more, but shown the sound of other boundaries between phones of the same classes; and the first two
           folds without the sentences that they are measured on, either
english    OUT/all-SEED.safetensors, learnt from all ten speakers, and the table of DATA/ae

Every network is trained with each of SEEDS, which decide its first weights and the order of what it learns from.
DATA is as for phones.py.
"""

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import torch

import phones
from lemtools.compare.boundaries import boundaries
from lemtools.media import Target, save
from lemtools.phones.aligner import Aligner
from lemtools.phones.cepstra import RATE
from lemtools.phones.learned import Learned
from lemtools.phones.refine import Boundaries, Mover, refine
from lemtools.ranks import Ranks
from lemtools.signal import Signal
from lemtools.signal.phones import PAUSE, nearest
from lemtools.train.loop import train
from lemtools.train.prepare import prepare as prepared
from lemtools.train.run import Prepared
from lemtools.train.settings import Settings

FOLDS, SEEDS = 5, (0, 1, 2)
BEFORE, SPECTRAL = "+ constant shift", "+ spectral change"
NETS = [f"+ network, seed {seed}" for seed in SEEDS]


def labelled(path: Path, times: np.ndarray, symbols: Sequence[str]) -> None:
    """Write phones, in ARPABET, as a .lab."""
    signal = phones.tokens([(a, b, s) for a, b, s in zip(times, times[1:], symbols)], "arpabet")
    signal.names, signal.last = [path.name], True
    save([signal], Target(str(path)))


def prepare(data: Path, out: Path) -> None:
    torch.set_num_threads(1)
    aligner = Aligner("none")
    (out / "aligned").mkdir(parents=True)
    for clip in phones.emodb(data):
        folder = out / "sounds" / clip.speaker / clip.text
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{clip.name}.wav", clip.sound, RATE, subtype="FLOAT")
        true = clip.true.spans[0]
        symbols = [nearest(symbol, "sampa") or PAUSE for symbol in clip.true.alphabet.texts(clip.true.data[0])]
        labelled(folder / f"{clip.name}.lab", np.append(true[:, 0], true[-1, 1]), symbols)
        found = phones.path(aligner.align(clip.sound, clip.words))
        labelled(out / "aligned" / f"{clip.name}.lab", found.times, found.phones)


def asked(out: Path, name: str, seed: int, data: Iterable[Path], validate: Iterable[Path]) -> Settings:
    """lem-train phones --data ... --aligned OUT/aligned --validate ... --seed SEED -o OUT/NAME-SEED.safetensors."""
    learnt, kept = ([str(folder) for folder in folders] for folders in (data, validate))
    more = dict(validate=kept, aligned=[str(out / "aligned")], device="cpu", workers=0, seed=seed)
    return Settings("phones", learnt, str(out / f"{name}-{seed}.safetensors"), **more)


def speakers(out: Path) -> list[list[str]]:
    """The speakers of each fold."""
    every = sorted(path.name for path in (out / "sounds").iterdir())
    return [every[k::FOLDS] for k in range(FOLDS)]


def sounds(out: Path, names: Iterable[str]) -> list[Path]:
    return [out / "sounds" / name for name in names]


def row(errors: list[np.ndarray], true: int) -> str:
    """Of errors in ms, an array a clip: as in phones.py."""
    e, n = np.concatenate(errors), [len(x) for x in errors]
    shares = " / ".join(f"{100 * (np.abs(e) <= k).mean():.0f}" for k in (10, 20, 25, 50))
    mae = phones.interval([np.abs(x).sum() for x in errors], n, ends=(0, np.inf))
    hits = phones.interval([(np.abs(x) <= 20).sum() for x in errors], n, 1, 100, ends=(0, 1))
    return f"| {len(e)} of {true} | {mae} | {np.median(np.abs(e)):.1f} | {e.mean():+.1f} | {shares} | {hits} |"


def over(values: Iterable[float], digits: int = 2) -> str:
    """Mean, standard deviation and range of what the seeds give."""
    each = np.array(list(values), float)
    least, most = each.min(), each.max()
    return f"{each.mean():.{digits}f} ± {each.std(ddof=1):.{digits}f} ({least:.{digits}f} to {most:.{digits}f})"


def table(clips: Iterable[phones.Clip], arms: dict[str, dict[str, str | Mover]]) -> None:
    """arms: {name: {speaker: way}}."""
    torch.set_num_threads(1)
    aligner, errors, true, seconds, took = Aligner("none"), {arm: [] for arm in arms}, 0, 0.0, 0.0
    for clip in clips:
        begun = time.process_time()
        aligned = aligner.align(clip.sound, clip.words)
        found: Boundaries = phones.path(aligned)
        took += time.process_time() - begun
        for arm, ways in arms.items():
            begun = time.process_time()
            guess: Signal = phones.guess(refine(found, clip.sound, ways[clip.speaker]), found.phones)
            took += (arm == NETS[0]) * (time.process_time() - begun)
            one = boundaries(clip.true, guess)[0]
            errors[arm].append(1e3 * one.errors)
        true, seconds = true + one.true, seconds + len(clip.sound) / RATE
    print("| | boundaries | MAE, ms | median | bias | within 10 / 20 / 25 / 50 ms, % | within 20 ms, % |")
    print("|---|---|---|---|---|---|---|")
    for arm, each in errors.items():
        print(f"| {arm} {row(each, true)}")
    print()
    print(f"{seconds / took:.0f} times real time on one core: the path and a network")
    pooled = [np.concatenate(errors[arm]) for arm in NETS]
    for name, value in SHOWN.items():
        print(f"{name}, over seeds: {over(map(value, pooled))}")
    counts = [len(x) for x in errors[BEFORE]]
    for one in (BEFORE, SPECTRAL):
        gains = {arm: [np.abs(a).sum() - np.abs(b).sum() for a, b in zip(errors[one], errors[arm])] for arm in NETS}
        for arm, gain in gains.items():
            print(f"gain of {arm} over {one}, ms, paired: {phones.interval(gain, counts, 2)}")
        print(f"gain over {one}, over seeds: {over(sum(gain) / sum(counts) for gain in gains.values())}")


SHOWN = {
    "MAE, ms": lambda e: np.abs(e).mean(),
    "median": lambda e: np.median(np.abs(e)),
    "bias": np.mean,
    "within 20 ms, %": lambda e: 100 * (np.abs(e) <= 20).mean(),
}


def arms(models: Sequence[dict[str, Path]]) -> dict[str, dict[str, str | Mover]]:
    """The arms of a table, by the networks {speaker: file} of each seed."""
    ways = {BEFORE: "constant", SPECTRAL: "spectral"}
    plain: dict[str, dict[str, str | Mover]] = {arm: dict.fromkeys(models[0], way) for arm, way in ways.items()}
    each = [{speaker: Learned(str(path)) for speaker, path in files.items()} for files in models]
    return plain | dict(zip(NETS, each))


def folds(data: Path, out: Path) -> None:
    models: list[dict[str, Path]] = [{} for _ in SEEDS]
    for k, held in enumerate(speakers(out)):
        rest = [name for other in speakers(out) if other != held for name in other]
        for seed, files in zip(SEEDS, models):
            made = train(asked(out, f"fold-{k}", seed, sounds(out, rest), sounds(out, held)))
            files |= dict.fromkeys(held, Path(made.settings.output))
    table(phones.emodb(data), arms(models))


def controls(data: Path, out: Path) -> None:
    del data
    print("| learnt | measured on | boundaries | MAE, ms | constant shift | within 20 ms, % |")
    print("|---|---|---|---|---|---|")
    held, *others = speakers(out)
    rest = [name for other in others for name in other]
    shown(
        "other boundaries", "fold 0", [deaf(asked(out, "deaf", s, sounds(out, rest), sounds(out, held))) for s in SEEDS]
    )
    sums, count = np.zeros(len(SEEDS)), 0
    for k, held in enumerate(speakers(out)[:2]):
        for half in range(2):
            kept, learnt = [], []
            for folder in sorted((out / "sounds").glob("*/*")):
                new = sorted({path.name for path in (out / "sounds").glob("*/*")}).index(folder.name) % 2 == half
                if new == (folder.parent.name in held):
                    (kept if new else learnt).append(folder)
            found = [measured(train(asked(out, f"new-{k}-{half}", seed, learnt, kept))) for seed in SEEDS]
            shown(f"without half {half} of the sentences", f"fold {k}", found)
            sums += [one["boundaries"] * one["held_out_loss"] for one in found]
            count += int(found[0]["boundaries"])
    print(f"other speakers and other sentences, {count} boundaries, MAE, ms: {over(sums / count)}")


def deaf(settings: Settings) -> dict[str, float]:
    """What is found of a network that heard other boundaries than it was told of."""
    made = prepared(settings)
    for spec in (made.spec, made.validation):
        _exchange(spec.items)
    run, batches = made.run(made, Ranks(), "cpu"), made.batches(0, 1)
    while run.step < run.steps:
        run.advance(batches[run.step])
    return {"boundaries": len(made.validation.items), **run.validate()}


def measured(made: Prepared) -> dict[str, float]:
    """What is found of a trained network."""
    return {"boundaries": len(made.validation.items), **made.run(made, Ranks(), "cpu").validate()}


def shown(learnt: str, on: str, found: Sequence[dict[str, float]]) -> None:
    """A row of the controls."""
    first = found[0]
    mae, close = (
        over(one[name] * by for one in found) for name, by in (("held_out_loss", 1), ("held_out_within_20", 100))
    )
    print(
        f"| {learnt} | {on} | {first['boundaries']} | {mae} | {first['held_out_constant']:.1f} | {close} |", flush=True
    )


def _exchange(items) -> None:
    """Give each window the sound of another one of the same classes."""
    windows, label = items.data, items.label
    rows = getattr(windows, "rows", np.arange(len(windows)))
    every = getattr(windows, "array", windows)
    rng = np.random.default_rng(0)
    for pair in {*map(tuple, label[:, :2].tolist())}:
        mine = rows[(label[:, :2] == pair).all(1)]
        other = rng.permutation(mine)
        every.of[mine], every.centres[mine] = every.of[other], every.centres[other]


def english(data: Path, out: Path) -> None:
    every = sorted((out / "sounds").iterdir())
    made = [train(replace(asked(out, "all", seed, every, []), holdout=0)) for seed in SEEDS]
    table(phones.ae(data), arms([{"": Path(one.settings.output)} for one in made]))


if __name__ == "__main__":
    what, data, out = sys.argv[1:]
    ways = {"prepare": prepare, "folds": folds, "controls": controls, "english": english}
    ways[what](Path(data), Path(out))
