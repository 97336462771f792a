"""Tables of examples/phones.sh: `python phones.py WHAT DATA ...`.

prepare DATA OUT   from DATA/emodb_2s the phones that are given (OUT/phones/ID.txt) and the true times (OUT/true/ID.tsv)
fit DATA           the shifts of phones.refine, from all clips of DATA/emodb (or DATA/emodb_2s)
table DATA [SET]   how far boundaries lie from labels, for each of the sets that DATA holds: emodb_2s, emodb, ae, praatio; and espeak, where
                   espeakng-loader is installed
score DATA         whether the score tells texts that belong to a sound from others, of the same sets

Sets: emodb_2s, 56 clips of Emo-DB, FLAC and tables; emodb, all 535 as github sylaschacko/voice-emotion-analysis has them (wav/,
lablaut/); ae, the demonstration of EMU-webApp (WAV and _annot.json), 7 English sentences; praatio, two more, of praatIO (examples/files).
"""

import ctypes
import json
import re
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch

from lemtools.compare.boundaries import boundaries
from lemtools.compare.summary import ratio_interval
from lemtools.encode.phones import DOUBTFUL
from lemtools.encode.sound import resampled
from lemtools.media import load
from lemtools.phones import own
from lemtools.phones.aligner import Aligned, Aligner
from lemtools.phones.cepstra import RATE
from lemtools.phones.model import folder
from lemtools.phones.refine import SHIFTS, Boundaries, fitted, pairs, refine
from lemtools.phones.words import Entry, Lexicon, given
from lemtools.signal import Alphabet, Signal
from lemtools.signal.phones import KINDS, PAUSE, nearest
from lemtools.signal.segments import segments, shared

SILENT = ("(", "(gef", "[+eng")  # labels of Emo-DB for what is not speech
LEAST = 0.03  # s of a phone that the cut at 2 s leaves over


class Clip(NamedTuple):
    """name; which text it is; speaker, whose clips are not learnt from where this one is aligned ('': all are others'); sound [T] at
    16 kHz; what is said; and the true phones as tokens with spans."""

    name: str
    text: str
    speaker: str
    sound: np.ndarray
    words: list[Entry]
    true: Signal


# --- data


def merged(rows: list[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """Labels of Emo-DB as phones: a closure (_p) and its release (!p), aspiration (pasp), and what has a modifier alone (+lar, -sth)
    or no label belong to the phone before."""
    found: list[tuple[float, float, str]] = []
    for begin, end, label in rows:
        first = label.split()[0] if label.split() else ""
        plain = re.sub(r"[+-].*", "", first.lstrip("_!"))
        if first == ".":
            break
        if first in SILENT:
            found.append((begin, end, ""))
        elif (
            not plain
            or plain.endswith("asp")
            or plain in ("hoe", "dsap", "gas")
            or (first.startswith("!") and found and found[-1][2] == plain)
        ):
            if found:
                found[-1] = (found[-1][0], end, found[-1][2])
        else:
            found.append((begin, end, plain))
    return found


def tokens(rows: list[tuple[float, float, str]], alphabet: str) -> Signal:
    """One item of labels (begin, end, symbol)."""
    made = Alphabet(alphabet, tuple(sorted({symbol for *_, symbol in rows} | {""})))
    return Signal(
        "tokens",
        made.ids(symbol for *_, symbol in rows)[None],
        spans=np.array([row[:2] for row in rows])[None],
        alphabet=made,
    )


def read(path: Path) -> np.ndarray:
    """The mean of the channels at 16 kHz."""
    wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return resampled(wave.T[None].mean(1, keepdims=True), rate, RATE)[0, 0]


def german(name: str, sound: np.ndarray, rows: list[tuple[float, float, str]]) -> Clip | None:
    """A clip of Emo-DB, which was cut at 2 s; its phones are given, a word from pause to pause."""
    end = len(sound) / RATE
    kept = [(a, min(b, end), label) for a, b, label in merged(rows) if a < end - LEAST]
    if not kept:
        return None
    words = given(" ".join(label or "|" for *_, label in kept))
    return Clip(name, name[2:5], name[:2], sound, words, tokens(kept, "sampa"))


def emodb_2s(data: Path) -> Iterator[Clip]:
    for path in sorted((data / "emodb_2s/flac").glob("*.flac")):
        lines = (data / f"emodb_2s/phones/{path.stem}.tsv").read_text("utf-8").splitlines()[1:]
        cells = [(line + "\t").split("\t")[:3] for line in lines]
        yield german(path.stem, read(path), [(float(a), float(b), label) for a, b, label in cells])


def emodb(data: Path) -> Iterator[Clip]:
    for path in sorted((data / "emodb/wav").glob("*.wav")):
        file = next((data / "emodb/lablaut").glob(f"{path.stem}*"), None)
        if file is None:
            continue
        text = re.split(r"\n#\s*\n", file.read_text("latin-1").replace("\r", ""))[1]
        marks = [re.match(r"\s*([\d.]+)\s+-?\d+ ?([^\t;]*)", line) for line in text.splitlines()]
        points = [(float(mark[1]), mark[2]) for mark in marks if mark]
        rows = [(a, b, label) for (a, label), (b, _) in pairwise(points)]
        if (clip := german(path.stem, read(path), rows)) is not None:
            yield clip


def ae(data: Path) -> Iterator[Clip]:
    lexicon = Lexicon(f"{folder()}/cmudict-en-us.dict")
    for path in sorted((data / "ae").glob("*.wav")):
        (true,) = load([str(path.with_name(path.stem + "_annot.json"))])
        levels = json.loads(path.with_name(path.stem + "_annot.json").read_text("utf-8"))["levels"]
        words = next(level for level in levels if level["name"] == "Word")["items"]
        texts = [label["value"] for item in words for label in item["labels"] if label["name"] == "Text"]
        symbols = true.alphabet.texts(true.data[0])
        rows: list[tuple[float, float, str]] = []
        for (begin, end), symbol in zip(true.spans[0].tolist(), symbols):
            if symbol == "H" and rows:  # aspiration, of the stop before it
                rows[-1] = (rows[-1][0], end, rows[-1][2])
            else:
                rows.append((begin, end, symbol))
        yield Clip(path.stem, path.stem, "", read(path), lexicon.words(" ".join(texts)), tokens(rows, "sampa"))


SENTENCES = (
    "the old man walked slowly along the river",
    "please close the window before you leave the room",
    "she found seven small boxes under the kitchen table",
    "a cold wind came down from the mountains last night",
    "we never thought that the train would be so late",
    "his brother teaches music at a school in the city",
    "fresh bread and good cheese are all that I need",
    "the children were playing with a yellow ball",
    "nobody knows where the path through the forest ends",
    "two large ships left the harbour early this morning",
)
VOICES = ("en-us", "en-gb", "en-us+f3", "en-gb-scotland")


def espeak(data: Path) -> Iterator[Clip]:
    """SENTENCES as VOICES of espeak-ng speak them, with its own times of phones."""
    if find_spec("espeakng_loader") is None:
        return
    lexicon = Lexicon(f"{folder()}/cmudict-en-us.dict")
    for voice in VOICES:
        for number, text in enumerate(SENTENCES):
            wave, rows = spoken(voice, text)
            sound = resampled(wave[None, None], 22_050, RATE)[0, 0]
            yield Clip(f"{voice}-{number}", text, "", sound, lexicon.words(text), tokens(rows, "ipa"))


class Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique", ctypes.c_uint),
        ("position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    )


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))
PHONEME, RATE_ESPEAK = 7, 22_050
_LIBRARY: list = []


def spoken(voice: str, text: str) -> tuple[np.ndarray, list[tuple[float, float, str]]]:
    """(sound at 22,050 Hz, its phones) by espeak-ng."""
    if not _LIBRARY:
        loader = import_module("espeakng_loader")
        library = ctypes.CDLL(loader.get_library_path())
        library.espeak_Initialize(
            2, 0, str(loader.get_data_path()).encode(), 1 | 2
        )  # synchronous; events of phones, in IPA
        _LIBRARY.append(library)
    (library,), samples, marks = _LIBRARY, [], []

    def heard(wave, count, events):
        if wave and count:
            samples.append(np.ctypeslib.as_array(wave, (count,)).copy())
        at = 0
        while events[at].type:
            if events[at].type == PHONEME:
                marks.append((events[at].sample / RATE_ESPEAK, events[at].name.decode("utf-8", "replace").strip("ˈˌ")))
            at += 1
        return 0

    kept = CALLBACK(heard)
    library.espeak_SetSynthCallback(kept)
    library.espeak_SetVoiceByName(voice.encode())
    raw = text.encode() + b"\0"
    library.espeak_Synth(raw, len(raw), 0, 1, 0, 1, None, None)
    library.espeak_Synchronize()
    wave = np.concatenate(samples).astype(np.float32) / 32768
    edges = [begin for begin, _ in marks[1:]] + [len(wave) / RATE_ESPEAK]
    rows = [(begin, end, name) for (begin, name), end in zip(marks, edges) if end > begin]
    return wave, [row if nearest(row[2], "ipa") else (*row[:2], "") for row in rows]


def praatio(data: Path) -> Iterator[Clip]:
    lexicon = Lexicon(f"{folder()}/cmudict-en-us.dict")
    for name, phones, words in (("mary", "mary", "mary"), ("bobby", "bobby_phones", "bobby_words")):
        (true,), (said,) = (
            load([str(data / f"praatio/{file}.TextGrid")], key=key)
            for file, key in ((phones, "phone"), (words, "word"))
        )
        symbols = true.alphabet.texts(true.data[0])
        rows = [(begin, end, symbol) for (begin, end), symbol in zip(true.spans[0].tolist(), symbols)]
        text = " ".join(said.alphabet.texts(said.data[0]))
        yield Clip(
            name, name, "", read(data / f"praatio/{name}.wav"), lexicon.words(text), tokens(rows, true.alphabet.name)
        )


SETS = {"emodb_2s": emodb_2s, "emodb": emodb, "ae": ae, "praatio": praatio, "espeak": espeak}


# --- what is found


class Found(NamedTuple):
    """A clip, its path and how that was found, our own path, and the seconds that the first took."""

    clip: Clip
    path: Aligned
    ours: Aligned
    seconds: float


class OwnPath(Aligner):
    """Our own path in place of pocketsphinx."""

    def _path(self, sound, streams, words):
        return own.align(self.model, streams, words), {"engine": "viterbi"}


def found(clips: list[Clip]) -> list[Found]:
    torch.set_num_threads(1)
    aligner, ours, timed, rows = Aligner("none"), OwnPath("none"), Aligner("spectral"), []
    for clip in clips:
        begun = time.process_time()
        timed.align(clip.sound, clip.words)
        took = time.process_time() - begun
        rows.append(Found(clip, aligner.align(clip.sound, clip.words), ours.align(clip.sound, clip.words), took))
    return rows


def path(aligned: Aligned) -> Boundaries:
    return Boundaries(np.append(aligned.spans[:, 0], aligned.spans[-1, 1]), aligned.phones)


def guess(times: np.ndarray, phones: list[str]) -> Signal:
    return tokens([(a, b, phone) for a, b, phone in zip(times, times[1:], phones)], "arpabet")


def late(rows: list[Found]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ms from each boundary of a path to its label, the classes of the phones that end and begin there), of those that match."""
    every: list[tuple[float, int, int]] = []
    for row in rows:
        end = len(row.clip.sound) / RATE
        true, found = segments(row.clip.true, 0, end), segments(guess(*path(row.path)), 0, end)
        for i, j in shared(true, found):
            (ending,), (beginning,) = pairs([found.phones[j], found.phones[j + 1]])
            every.append((1e3 * (true.begins[i + 1] - found.begins[j + 1]), ending, beginning))
    table = np.array(every)
    return table[:, 0], table[:, 1].astype(int), table[:, 2].astype(int)


# --- arms


def class_means(clips: list[Clip]) -> dict[str, float]:
    """Mean duration of a phone by class, in s; of silence, that of the silence before the first phone."""
    held: dict[str, list[float]] = {"silence": [float(clip.true.spans[0, 0, 0]) for clip in clips]}
    for clip in clips:
        symbols = clip.true.alphabet.texts(clip.true.data[0])
        for symbol, (begin, end) in zip(symbols, clip.true.spans[0]):
            kind = KINDS[nearest(symbol, clip.true.alphabet.name) or PAUSE]
            if kind != "silence":
                held.setdefault(kind, []).append(float(end - begin))
    return {kind: float(np.mean(values)) for kind, values in held.items()}


def by_duration(row: Found, means: dict[str, float]) -> Signal:
    """Each phone as long as its class is on average, all scaled to the sound, silence at both ends."""
    phones = [PAUSE, *(phone for word in row.clip.words for phone in word.spoken[0]), PAUSE]
    usual = float(np.mean([*means.values()]))  # of a class that was not learnt
    times = np.cumsum([0.0, *(means.get(KINDS[phone], usual) for phone in phones)])
    return guess(times * (len(row.clip.sound) / RATE / times[-1]), phones)


def evenly(row: Found) -> Signal:
    phones = [phone for word in row.clip.words for phone in word.spoken[0]]
    return guess(np.linspace(0, len(row.clip.sound) / RATE, len(phones) + 1), phones)


ARMS = (
    "even spreading",
    "durations by class mean",
    "pocketsphinx",
    "+ constant shift",
    "+ shift by class pair",
    "+ spectral change",
    "our own path + spectral change",
)


def arms(row: Found, shifts: np.ndarray, means: dict[str, float]) -> dict[str, Signal]:
    def refined(aligned: Aligned, way: str) -> Signal:
        return guess(refine(path(aligned), row.clip.sound, way, shifts), aligned.phones)

    ways = [refined(row.path, way) for way in ("none", "constant", "classes", "spectral")]
    return dict(zip(ARMS, [evenly(row), by_duration(row, means), *ways, refined(row.ours, "spectral")]))


def interval(sums, counts, digits: int = 1, scale: float = 1.0, ends=(-np.inf, np.inf)) -> str:
    """Sum over count of all utterances, with its 95 % interval over utterances."""
    mean, low, high = ratio_interval(np.array(sums, float), np.array(counts, float), ends=ends)
    limits = "" if low is None else f" [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"
    return f"{scale * mean:.{digits}f}{limits}"


def by_speaker(errors: list[np.ndarray], speakers: list[str]) -> str:
    """The mean absolute error of utterances [N], with its 95 % interval over their speakers [N]."""
    each = {who: np.concatenate([e for e, s in zip(errors, speakers) if s == who]) for who in sorted({*speakers})}
    return interval([np.abs(e).sum() for e in each.values()], [len(e) for e in each.values()], ends=(0, np.inf))


def shown(rows: list[Found], others: dict[str, tuple[np.ndarray, dict[str, float]]]) -> None:
    """The table of some clips. others: {speaker: (shifts, durations) of the other speakers}."""
    errors: dict[str, list[np.ndarray]] = {arm: [] for arm in ARMS}
    true = 0
    for row in rows:
        for arm, signal in arms(row, *others[row.clip.speaker]).items():
            found = boundaries(row.clip.true, signal)[0]
            errors[arm].append(1e3 * found.errors)
        true += found.true
    print("| | boundaries | MAE, ms | median | bias | within 10 / 20 / 25 / 50 ms, % | within 20 ms, % |")
    print("|---|---|---|---|---|---|---|")
    for arm, each in errors.items():
        e, n = np.concatenate(each), [len(x) for x in each]
        shares = " / ".join(f"{100 * (np.abs(e) <= k).mean():.0f}" for k in (10, 20, 25, 50))
        mae, hits = (
            interval([np.abs(x).sum() for x in each], n, ends=(0, np.inf)),
            interval([(np.abs(x) <= 20).sum() for x in each], n, 1, 100, (0, 1)),
        )
        print(
            f"| {arm} | {len(e)} of {true} | {mae} | {np.median(np.abs(e)):.1f} | {e.mean():+.1f} | {shares} | {hits} |"
        )
    print()
    for one, two in (
        ("+ constant shift", "+ shift by class pair"),
        ("+ constant shift", "+ spectral change"),
        ("+ shift by class pair", "+ spectral change"),
    ):
        gain = [np.abs(a).sum() - np.abs(b).sum() for a, b in zip(errors[one], errors[two])]
        print(f"gain of {two} over {one}, ms, paired: {interval(gain, [len(x) for x in errors[one]], 2)}")
    speakers = [row.clip.speaker for row in rows]
    for arm in ARMS[2:] if len({*speakers}) > 1 else ():
        print(f"{arm}, MAE, ms, interval over speakers: {by_speaker(errors[arm], speakers)}")
    print()


def table(data: Path, only: str | None = None) -> None:
    for name, clips in SETS.items():
        if only not in (None, name) or not (name == "espeak" or (data / name).is_dir()):
            continue
        rows = found(list(clips(data)))
        if not rows:
            continue
        if name.startswith("emodb"):
            others = {}
            for speaker in {row.clip.speaker for row in rows}:
                rest = [row for row in rows if row.clip.speaker != speaker]
                others[speaker] = fitted(*late(rest)), class_means([row.clip for row in rest])
        else:
            others = {"": (SHIFTS, class_means(learning(data)))}
        answered = [
            row for row in rows if row.path.record["engine"] == "pocketsphinx" and row.path.record["retries"] == 0
        ]
        seconds = sum(len(row.clip.sound) for row in rows) / RATE
        ways: dict[str, int] = {}
        for row in rows:
            way = f"{row.path.record['engine']}, {row.path.record['retries']} retries"
            ways[way] = ways.get(way, 0) + 1
        print(
            f"## {name}: {len(rows)} clips, {seconds:.0f} s; {ways}; {seconds / sum(row.seconds for row in rows):.0f} times real time\n"
        )
        print(f"{len(answered)} clips that pocketsphinx answers at once\n")
        shown(answered, others)
        if len(answered) < len(rows):
            print(f"all {len(rows)} clips\n")
            shown(rows, others)


def auc(right: list[float], wrong: list[float]) -> float:
    """The share of pairs of which the right one has more (ties count half)."""
    a, b = np.array(right)[:, None], np.array(wrong)[None]
    return float((a > b).mean() + (a == b).mean() / 2)


def score(data: Path) -> None:
    """Right texts against the same phones in another order, and against another sentence's."""
    aligner = Aligner("none", even=True)
    for name, clips in SETS.items():
        if not (name == "espeak" or (data / name).is_dir()):
            continue
        rng, every = np.random.default_rng(0), list(clips(data))
        held: dict[str, list[float]] = {"right": [], "shuffled": [], "other": []}
        for clip in every:
            strange = [other for other in every if other.text != clip.text]
            phones = [phone for word in clip.words for phone in word.spoken[0]]
            mixed = [Entry("", (tuple(rng.permutation(phones).tolist()),))]
            texts = {"right": clip.words, "shuffled": mixed, "other": strange[rng.integers(len(strange))].words}
            for what, words in texts.items():
                value = aligner.align(clip.sound, words).record["score"]
                held[what].append(-99.0 if value is None else value)
        if not every:
            continue
        right = np.array(held["right"])
        print(f"{name}: {len(every)} clips; right median {np.median(right):.2f}, least {right.min():.2f};", end=" ")
        for what in ("shuffled", "other"):
            wrong = np.array(held[what])
            print(
                f"{what} median {np.median(wrong):.2f}, most {wrong.max():.2f}, AUC {auc(held['right'], held[what]):.3f};",
                end=" ",
            )
        print(
            f"below {DOUBTFUL:g}: "
            + ", ".join(f"{what} {100 * (np.array(values) < DOUBTFUL).mean():.1f} %" for what, values in held.items())
        )


def learning(data: Path) -> list[Clip]:
    """The German clips that there are."""
    return list((emodb if (data / "emodb").is_dir() else emodb_2s)(data))


def fit(data: Path) -> None:
    shifts = fitted(*late(found(learning(data))))
    print(np.array2string(shifts, formatter={"float": "{:.1f}".format}, separator=", "))


def prepare(data: Path, out: Path) -> None:
    for part in ("phones", "true"):
        (out / part).mkdir(parents=True, exist_ok=True)
    for clip in emodb_2s(data):
        text = " | ".join(" ".join(word.symbols) for word in clip.words)
        (out / "phones" / f"{clip.name}.txt").write_text(text + "\n", "utf-8")
        symbols = clip.true.alphabet.texts(clip.true.data[0])
        lines = [f"{a:.6f}\t{b:.6f}\t{symbol}\n" for symbol, (a, b) in zip(symbols, clip.true.spans[0])]
        (out / "true" / f"{clip.name}.tsv").write_text("start\tend\tlabel\n" + "".join(lines), "utf-8")


if __name__ == "__main__":
    what, data, *rest = sys.argv[1:]
    {"prepare": prepare, "fit": fit, "table": table, "score": score}[what](
        Path(data), *map(Path if what == "prepare" else str, rest)
    )
