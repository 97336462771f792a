"""A network that moves boundaries of phones: learnt on German speakers, measured on others. `python phones_net.py WHAT DATA OUT`.

prepare    from DATA/emodb OUT/sounds/SPEAKER/SENTENCE/ID.wav with its labels beside it (ID.lab), and where the aligner puts the
           boundaries, OUT/aligned/ID.lab
folds      OUT/fold-K.safetensors, learnt from all speakers but two, by lem-train phones, and their table: every clip by the network
           that has not heard its speaker
controls   the first fold once more, but shown the sound of other boundaries between phones of the same classes; and the first two
           folds without the sentences that they are measured on, either
english    OUT/all.safetensors, learnt from all ten speakers, and the table of DATA/ae

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
from lemtools.train.settings import Settings

FOLDS = 5
BEFORE, SPECTRAL, NET = "+ constant shift", "+ spectral change", "+ network"


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


def asked(out: Path, name: str, data: Iterable[Path], validate: Iterable[Path]) -> Settings:
    """lem-train phones --data ... --aligned OUT/aligned --validate ... -o OUT/NAME."""
    learnt, kept = ([str(folder) for folder in folders] for folders in (data, validate))
    more = dict(validate=kept, aligned=[str(out / "aligned")], device="cpu", workers=0)
    return Settings("phones", learnt, str(out / f"{name}.safetensors"), **more)


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


def table(clips: Iterable[phones.Clip], arms: dict[str, dict[str, str | Mover]]) -> None:
    """arms: {name: {speaker: way}}."""
    torch.set_num_threads(1)
    aligner, errors, true, seconds, took = Aligner("none"), {arm: [] for arm in arms}, 0, 0.0, 0.0
    for clip in clips:
        begun = time.process_time()
        aligned = aligner.align(clip.sound, clip.words)
        found: Boundaries = phones.path(aligned)
        for arm, ways in arms.items():
            guess: Signal = phones.guess(refine(found, clip.sound, ways[clip.speaker]), found.phones)
            took += time.process_time() - begun  # of all arms; measuring is left out
            one = boundaries(clip.true, guess)[0]
            errors[arm].append(1e3 * one.errors)
            begun = time.process_time()
        true, seconds = true + one.true, seconds + len(clip.sound) / RATE
    print("| | boundaries | MAE, ms | median | bias | within 10 / 20 / 25 / 50 ms, % | within 20 ms, % |")
    print("|---|---|---|---|---|---|---|")
    for arm, each in errors.items():
        print(f"| {arm} {row(each, true)}")
    print()
    print(f"{seconds / took:.0f} times real time on one core: the path and all of these ways together")
    for one, two in ((BEFORE, NET), (SPECTRAL, NET)):
        gain = [np.abs(a).sum() - np.abs(b).sum() for a, b in zip(errors[one], errors[two])]
        print(f"gain of {two} over {one}, ms, paired: {phones.interval(gain, [len(x) for x in errors[one]], 2)}")


def arms(models: dict[str, Path]) -> dict[str, dict[str, str | Mover]]:
    """The arms of a table, by the networks {speaker: file}."""
    ways = {BEFORE: "constant", SPECTRAL: "spectral"}
    plain: dict[str, dict[str, str | Mover]] = {arm: dict.fromkeys(models, way) for arm, way in ways.items()}
    return plain | {NET: {speaker: Learned(str(path)) for speaker, path in models.items()}}


def folds(data: Path, out: Path) -> None:
    models: dict[str, Path] = {}
    for k, held in enumerate(speakers(out)):
        rest = [name for other in speakers(out) if other != held for name in other]
        made = train(asked(out, f"fold-{k}", sounds(out, rest), sounds(out, held)))
        models |= dict.fromkeys(held, Path(made.settings.output))
    table(phones.emodb(data), arms(models))


def controls(data: Path, out: Path) -> None:
    del data
    held, *others = speakers(out)
    rest = [name for other in others for name in other]
    run = prepared(asked(out, "deaf", sounds(out, rest), sounds(out, held)))
    for spec in (run.spec, run.validation):
        _exchange(spec.items)
    deaf = run.run(run, Ranks(), "cpu")
    batches = run.batches(0, 1)
    while deaf.step < deaf.steps:
        deaf.advance(batches[deaf.step])
    print("shown other boundaries:", {k: round(v, 3) for k, v in deaf.validate().items()})
    sums = np.zeros(2)
    for k, held in enumerate(speakers(out)[:2]):
        for half in range(2):
            kept, learnt = [], []
            for folder in sorted((out / "sounds").glob("*/*")):
                new = sorted({path.name for path in (out / "sounds").glob("*/*")}).index(folder.name) % 2 == half
                if new == (folder.parent.name in held):
                    (kept if new else learnt).append(folder)
            made = train(asked(out, f"new-{k}-{half}", learnt, kept))
            trained = made.run(made, Ranks(), "cpu")
            count = len(made.validation.items)
            found = trained.validate()
            sums += count, count * found["held_out_loss"]
            print(f"fold {k}, half {half}: {count} boundaries,", {k: round(v, 3) for k, v in found.items()}, flush=True)
    print(f"other speakers and other sentences: {sums[0]:.0f} boundaries, {sums[1] / sums[0]:.2f} ms")


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
    made = train(replace(asked(out, "all", every, []), holdout=0))
    table(phones.ae(data), arms({"": Path(made.settings.output)}))


if __name__ == "__main__":
    what, data, out = sys.argv[1:]
    ways = {"prepare": prepare, "folds": folds, "controls": controls, "english": english}
    ways[what](Path(data), Path(out))
